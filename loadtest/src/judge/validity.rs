//! Whether the experiment itself was sound: the load was sent, somebody looked, the traffic reached every backend, and
//! nobody changed the system meanwhile. A premise that does not hold makes findings *inconclusive*; it never makes the
//! system fail. Which findings rest on which premise is said here, and applied by [`verdict`](super::verdict).

mod spread;

use self::spread::backend_spread;
use super::context::ended_s;
use super::{Finding, Group, Outcome};
use crate::measured::{LATE, Slot};
use crate::recording::{GeneratorSecond, Recording, Service, Stage, Tier};
use crate::scenario::{Action, Scenario};

/// The share of a stage's requests that must be sent within [`LATE`] of their moment.
const OFFERED_MIN: f64 = 0.99;

/// So many requests of a stage may be late or lost however few it has: of 60 one is more than a hundredth, and says as
/// little of the other 59 as one of 6,000 does.
const LOST_BORNE: u64 = 1;

/// How late one in a hundred requests may be taken up, in milliseconds: well below any objective that a user feels.
const LAG_P99_MAX_MS: f64 = 10.0;

/// The share of its CPU that the generator may use: above it, it waits for itself.
pub(crate) const CPU_MAX: f64 = 0.8;

/// Over how many seconds the generator's CPU is taken: a single busy second is seen by [`Premise::SendLag`].
const CPU_WINDOW: usize = 10;

/// How long nothing may be seen where a scenario does not say, in seconds: a sync period of the HPA.
const GAP_MAX_S: f64 = 15.0;

/// From when a response is late where the scenario has no objective, in seconds.
const LATE_RESPONSE_S: f64 = 1.0;

/// By how long the first look may follow the first request, in seconds: who polls does not look at the same moment.
const FIRST_LOOK_S: f64 = 5.0;

/// How long before its moment somebody may already begin with a rollout, in seconds.
const ROLLOUT_EARLY_S: f64 = 30.0;

/// Checks that the system alone can fail, whatever the load was.
const INDEPENDENT: [&str; 6] = [
    "never_above_max",
    "never_below_min",
    "scale_step",
    "fail_safe",
    "metric_health",
    "hpa_conditions",
];

/// What an experiment rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Premise {
    /// Nearly all requests of a stage were sent at their moment.
    OfferedLoad,
    /// Requests were taken up at once.
    SendLag,
    /// The generator had CPU to spare.
    GeneratorCpu,
    /// Nothing was out of sight for long.
    ObservationGap,
    /// Every backend had its share of the requests.
    BackendSpread,
    /// Before the first request the system was as small and quiet as the scenario says.
    Preconditions,
    /// Nobody changed the specs meanwhile.
    SpecUnchanged,
}

impl Premise {
    const ALL: [Self; 7] = [
        Self::OfferedLoad,
        Self::SendLag,
        Self::GeneratorCpu,
        Self::ObservationGap,
        Self::BackendSpread,
        Self::Preconditions,
        Self::SpecUnchanged,
    ];

    /// The name of its findings.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::OfferedLoad => "offered_load",
            Self::SendLag => "send_lag",
            Self::GeneratorCpu => "generator_cpu",
            Self::ObservationGap => "observation_gap",
            Self::BackendSpread => "backend_spread",
            Self::Preconditions => "preconditions",
            Self::SpecUnchanged => "spec_unchanged",
        }
    }

    /// The premise that a finding of [`judge`] is about; `None` for any other finding.
    #[must_use]
    pub fn of(finding: &Finding) -> Option<Self> {
        let name = bare(&finding.name);
        let found = Self::ALL
            .into_iter()
            .find(|premise| premise.as_str() == name);
        found.filter(|_| finding.group == Group::Validity)
    }

    /// Whether a finding says nothing without this premise.
    #[must_use]
    pub fn carries(self, finding: &Finding) -> bool {
        let name = bare(&finding.name);
        let of_clients = matches!(
            finding.group,
            Group::Slo | Group::Threshold | Group::Baseline
        ) || name == "metric_accuracy";
        let of_failures = matches!(name, "error_rate" | "scale_event_errors")
            || name.starts_with("http_req_failed");
        match (self, finding.group) {
            (_, Group::Validity) | (Self::ObservationGap, Group::Slo | Group::Threshold) => false,
            // A request that was sent late only ever seems slower: what was fast enough all the same was fast enough,
            // and whether it failed has nothing to do with it.
            (Self::SendLag, _) => of_clients && !of_failures && finding.outcome == Outcome::Fail,
            // What was seen was seen, whatever else was not.
            (Self::ObservationGap, _) => {
                finding.outcome == Outcome::Pass || !INDEPENDENT.contains(&name)
            }
            (Self::SpecUnchanged, _) => true,
            _ => !INDEPENDENT.contains(&name),
        }
    }
}

/// A name without what tells it from others of its kind.
fn bare(name: &str) -> &str {
    name.split(['[', ' ']).next().unwrap_or(name)
}

/// Every premise, with what was seen of it.
#[must_use]
pub fn judge(recording: &Recording) -> Vec<Finding> {
    let mut findings = Vec::new();
    if recording.about.tier == Tier::Virtual {
        findings.extend(
            Premise::ALL[..4]
                .iter()
                .map(|premise| by_construction(*premise)),
        );
    } else {
        findings.extend(
            recording
                .stages
                .iter()
                .filter_map(|stage| offered_load(recording, stage)),
        );
        findings.extend(
            recording
                .services
                .iter()
                .map(|(name, service)| send_lag(name, service)),
        );
        findings.push(generator_cpu(recording));
        let services = recording.services.keys();
        findings.extend(services.flat_map(|name| observation_gaps(recording, name)));
    }
    findings.extend(
        recording
            .stages
            .iter()
            .filter_map(|stage| backend_spread(recording, stage)),
    );
    findings.extend(
        recording
            .services
            .keys()
            .filter_map(|name| preconditions(recording, name)),
    );
    findings.extend(
        recording
            .services
            .iter()
            .map(|(name, service)| spec_unchanged(&recording.scenario, name, service)),
    );
    findings
}

/// Requests of this second that were dropped by the system's fault, because answers came late, and not because the
/// scenario allows too few in flight or the generator did not get around to sending them.
///
/// With `n` requests a second and answers within `t`, `n t` are in flight. Where that is less than the limit, the limit
/// was reached because answers took longer. Where time ran faster, a second of the recording holds as many times fewer.
#[must_use]
pub fn dropped_by_lateness(recording: &Recording, service: &str, slot: &Slot) -> u64 {
    let scenario = &recording.scenario;
    let late_s = scenario
        .slo
        .map_or(LATE_RESPONSE_S, |slo| slo.target.seconds());
    let loads = scenario
        .scenarios
        .values()
        .filter(|load| load.service == service);
    let limit: usize = loads.map(|load| load.max_in_flight).sum();
    let sent = slot.counts.offered - slot.counts.dropped;
    let generator_late = sent < slot.late * 10;
    let per_s = slot.counts.offered as f64 * recording.about.speed();
    let room = per_s * late_s <= limit as f64;
    if room && !generator_late {
        slot.counts.dropped
    } else {
        0
    }
}

fn blank(premise: Premise, tag: &str, service: &str) -> Finding {
    let name = match tag {
        "" => premise.as_str().to_owned(),
        tag => format!("{}[{tag}]", premise.as_str()),
    };
    Finding::blank(name, service, Group::Validity)
}

fn outcome(holds: bool) -> Outcome {
    if holds {
        Outcome::Pass
    } else {
        Outcome::Inconclusive
    }
}

fn by_construction(premise: Premise) -> Finding {
    Finding {
        sentence: "in virtual time every request is sent at its moment and everything is seen"
            .to_owned(),
        ..blank(premise, "", "")
    }
}

/// V1. A stage without length, which is a jump, has none.
fn offered_load(recording: &Recording, stage: &Stage) -> Option<Finding> {
    let slots = slots_of(recording, stage.start_s, stage.end_s, &stage.service);
    if stage.end_s <= stage.start_s {
        return None;
    }
    let mut finding = Finding {
        limit: format!(">= {OFFERED_MIN}, or all but {LOST_BORNE}"),
        from_s: Some(stage.start_s),
        to_s: Some(stage.end_s),
        ..blank(Premise::OfferedLoad, &stage.name, &stage.service)
    };
    let offered: u64 = slots.iter().map(|slot| slot.counts.offered).sum();
    if offered == 0 {
        finding.sentence = format!("no request was due in {}", stage.name);
        return Some(finding);
    }
    let late: u64 = slots.iter().map(|slot| slot.late).sum();
    let ours =
        |slot: &Slot| slot.counts.dropped - dropped_by_lateness(recording, &stage.service, slot);
    let dropped: u64 = slots.iter().map(ours).sum();
    let lost = late + dropped;
    let share = offered.saturating_sub(lost) as f64 / offered as f64;
    finding.value = Some(share);
    finding.outcome = outcome(OFFERED_MIN <= share || lost <= LOST_BORNE && lost < offered);
    finding.sentence = format!(
        "{:.2} % of the {offered} requests of {} were sent within {} ms of their moment; {late} were late, {dropped} not \
         sent though answers were not late",
        share * 100.0,
        stage.name,
        LATE.as_millis(),
    );
    Some(finding)
}

/// V2.
fn send_lag(name: &str, service: &Service) -> Finding {
    let mut finding = Finding {
        limit: format!("<= {LAG_P99_MAX_MS} ms"),
        unit: "ms".to_owned(),
        ..blank(Premise::SendLag, "", name)
    };
    let Some(lag) = service.load.lag.quantile(0.99) else {
        finding.sentence = format!("no request was sent to {name}");
        return finding;
    };
    let lag_ms = lag.as_secs_f64() * 1e3;
    finding.value = Some(lag_ms);
    finding.resolution = lag_ms * 0.001; // the histogram's three digits
    finding.outcome = outcome(lag_ms <= LAG_P99_MAX_MS);
    finding.sentence = format!(
        "99 % of the requests to {name} were taken up within {lag_ms:.1} ms of their moment; at most {LAG_P99_MAX_MS} ms \
         tell the generator from the system"
    );
    finding
}

/// V3.
fn generator_cpu(recording: &Recording) -> Finding {
    let generator = &recording.generator;
    let mut finding = Finding {
        limit: format!("<= {CPU_MAX}, never throttled"),
        ..blank(Premise::GeneratorCpu, "", "")
    };
    let within = |second: &&GeneratorSecond| {
        0.0 < second.t_s && second.t_s <= recording.about.duration_s.ceil()
    };
    let seconds: Vec<_> = generator.seconds.iter().filter(within).collect();
    if seconds.is_empty() || generator.cores <= 0.0 {
        finding.sentence = "the generator's CPU was not measured".to_owned();
        return finding;
    }
    let mean = |window: &[&GeneratorSecond]| {
        window.iter().map(|second| second.cpu).sum::<f64>() / window.len() as f64
    };
    let busiest = seconds
        .windows(CPU_WINDOW.min(seconds.len()))
        .map(mean)
        .fold(0.0, f64::max);
    let share = busiest / generator.cores;
    let throttled: u64 = seconds
        .iter()
        .map(|second| u64::from(second.throttled))
        .sum();
    finding.value = Some(share);
    finding.outcome = outcome(share <= CPU_MAX && throttled == 0);
    finding.sentence = format!(
        "the generator used {:.0} % of its {} cores in its busiest {CPU_WINDOW} s and was throttled {throttled} times",
        share * 100.0,
        generator.cores,
    );
    finding
}

/// V4.
fn observation_gaps(recording: &Recording, name: &str) -> Vec<Finding> {
    let service = &recording.services[name];
    let observe = recording.scenario.services.get(name);
    let observe = observe.and_then(|service| service.observe.as_ref());
    let max_s = observe.map_or(GAP_MAX_S, |observe| observe.max_gap.seconds());
    let finding = Finding {
        limit: format!("<= {max_s} s"),
        unit: "s".to_owned(),
        ..blank(Premise::ObservationGap, "", name)
    };
    if service.autoscaler.is_none() && service.gaps.is_empty() {
        let sentence = format!("nothing but its requests was looked at of {name}");
        return vec![Finding {
            sentence,
            ..finding
        }];
    }
    let end_s = ended_s(recording);
    let mut gaps: Vec<_> = service
        .gaps
        .iter()
        .map(|gap| {
            (
                gap.from_s.max(0.0),
                gap.to_s.unwrap_or(end_s).min(end_s),
                &*gap.what,
            )
        })
        .filter(|(from_s, to_s, _)| from_s < to_s)
        .collect();
    if gaps.is_empty() {
        return vec![Finding {
            value: Some(0.0),
            outcome: Outcome::Pass,
            sentence: format!("nothing of {name} was out of sight"),
            ..finding
        }];
    }
    // Each that is too long puts other checks in doubt; of the others the longest tells enough.
    gaps.sort_by(|a, b| (b.1 - b.0).total_cmp(&(a.1 - a.0)));
    let too_long = gaps
        .iter()
        .filter(|(from_s, to_s, _)| max_s < to_s - from_s)
        .count();
    let told = gaps.into_iter().take(too_long.max(1));
    told.map(|(from_s, to_s, what)| {
        let gap_s = to_s - from_s;
        let what = if what.is_empty() { "something" } else { what };
        Finding {
            value: Some(gap_s),
            outcome: outcome(gap_s <= max_s),
            from_s: Some(from_s),
            to_s: Some(to_s),
            sentence: format!(
                "{what} of {name} was out of sight for {gap_s:.0} s from {from_s:.0} s on; {max_s} s are borne"
            ),
            ..finding.clone()
        }
    })
    .collect()
}

/// V6, as far as a recording shows it: a run in a cluster does not start before.
fn preconditions(recording: &Recording, name: &str) -> Option<Finding> {
    let service = &recording.services[name];
    let autoscaler = service.autoscaler.as_ref()?;
    let declared = &recording.scenario.preconditions;
    let wanted = declared
        .replicas
        .get(name)
        .copied()
        .unwrap_or(autoscaler.min_replicas);
    let mut finding = Finding {
        limit: wanted.to_string(),
        unit: "pods".to_owned(),
        ..blank(Premise::Preconditions, "", name)
    };
    let at_first = |steps: &crate::steps::Steps| {
        let first = steps.steps().iter().find(|step| step.value.is_some());
        let soon = first.filter(|step| 0.0 <= step.t_s && step.t_s <= FIRST_LOOK_S);
        steps.at(0.0).or(soon.and_then(|step| step.value))
    };
    let (desired, ready) = (
        at_first(&service.replicas.desired),
        at_first(&service.replicas.ready),
    );
    let quiet_s = declared.quiet.seconds();
    let last = service.replicas.desired.changes(-quiet_s..0.0).last();
    finding.value = ready.map(f64::from);
    finding.outcome = outcome(desired == Some(wanted) && ready == Some(wanted) && last.is_none());
    let shown =
        |replicas: Option<u32>| replicas.map_or("an unknown number".to_owned(), |n| n.to_string());
    finding.sentence = match last {
        Some(change) => format!(
            "the HPA of {name} still scaled {:.0} s before the first request; it must be quiet for {quiet_s} s",
            -change.t_s
        ),
        None => format!(
            "at the first request {} replicas of {name} were ready and {} wanted by the HPA; {wanted} of each are the \
             precondition",
            shown(ready),
            shown(desired)
        ),
    };
    Some(finding)
}

/// V7. A rollout of the scenario's own is expected to change the pods, and nothing else.
fn spec_unchanged(scenario: &Scenario, name: &str, service: &Service) -> Finding {
    if service.autoscaler.is_none() {
        return Finding {
            sentence: format!("nothing but its requests was looked at of {name}"),
            ..blank(Premise::SpecUnchanged, "", name)
        };
    }
    let rollouts = scenario.events.iter().filter(|event| match &event.action {
        Action::Rollout { service, .. } | Action::Undo { service } => service == name,
        _ => false,
    });
    let from_s = rollouts
        .map(|event| event.at.seconds() - ROLLOUT_EARLY_S)
        .reduce(f64::min);
    let expected = |object: &str, t_s: f64| {
        !object.starts_with("HorizontalPodAutoscaler") && from_s.is_some_and(|from_s| from_s <= t_s)
    };
    let unexpected = service
        .spec_changes
        .iter()
        .find(|change| !expected(&change.object, change.t_s));
    let blank = blank(Premise::SpecUnchanged, "", name);
    match unexpected {
        None => Finding {
            outcome: Outcome::Pass,
            sentence: format!("nobody changed a spec of {name}"),
            ..blank
        },
        Some(change) => Finding {
            outcome: Outcome::Inconclusive,
            from_s: Some(change.t_s),
            sentence: format!(
                "{} changed at {:.0} s: {}",
                change.object, change.t_s, change.text
            ),
            ..blank
        },
    }
}

/// The seconds that begin within these, of a service.
fn slots_of<'a>(recording: &'a Recording, from_s: f64, to_s: f64, service: &str) -> &'a [Slot] {
    let Some(service) = recording.services.get(service) else {
        return &[];
    };
    let slots = &service.load.slots;
    let second = |t_s: f64| (t_s.max(0.0).ceil() as usize).min(slots.len());
    slots.get(second(from_s)..second(to_s)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
