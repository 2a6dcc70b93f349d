//! What was found, in sentences: why this signal, target, window and behavior, how sure all of it is, and what to measure
//! when it is not. It weighs nothing; how the command ends follows from it.

use serde_json::json;
use taffrail_loadtest::cli::ExitStatus;
use taffrail_loadtest::report::text;

use super::candidate::{Candidate, DOWN_DEFAULT_S, Growth, Signal, TOLERANCE_DEFAULT};
use super::fit::{Estimate, Fit, FitError};
use super::frontier::Figures;
use super::inputs::{Known, Source};
use super::points::Observed;
use super::search::{Found, SLOWDOWN, Tried};
use crate::config::autoscaler;
use crate::hpa;

/// Per cent in one.
const PERCENT: f64 = 100.0;

/// A load at which latency is asked whether it hears anything, as a share of what a pod takes.
const LOW_LOAD: f64 = 0.5;

/// How much further than it was a load is to be measured, at most.
const FURTHER_MAX: f64 = 4.0;

/// Traffic shorter than this, in seconds, is no day, and hardly the time in which an HPA shrinks.
const TRAFFIC_SHORT_S: usize = 3600;

/// Requests that may be slow, of all that there are, below which their share is chance.
const SLOW_FEW: f64 = 20.0;

/// Pods that a measurement is done with: few, so that little load is enough, and not one, so that they share it.
const MEASURED_PODS: f64 = 2.0;

/// What to say of it, and how the command ends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Advice {
    pub(super) status: ExitStatus,
    /// Whether the HPA there is stays: nothing that was found is better.
    pub(super) keeps_present: bool,
    /// What to do, in a sentence.
    pub(super) headline: String,
    /// What a pod takes and how that is known.
    pub(super) pod: Vec<String>,
    /// Why each part of the recommendation is as it is.
    pub(super) reasons: Vec<String>,
    /// How sure it is.
    pub(super) sure: Vec<String>,
    /// What to measure to be surer.
    pub(super) measure: Vec<String>,
}

impl Advice {
    pub(super) fn new(known: &Known, found: &Found) -> Self {
        let objective = &known.aims.objective;
        let is_sure = known.fit().is_none_or(Fit::is_sure);
        let stays = stays(known, found);
        let (_, confirmed) = recommended(found, stays.is_some());
        let status = match confirmed.bad_share <= objective.budget() {
            false => ExitStatus::Failed,
            true if is_sure => ExitStatus::Passed,
            true => ExitStatus::ObservationLost,
        };
        Self {
            status,
            keeps_present: stays.is_some(),
            headline: headline(known, found, status),
            pod: pod(known),
            // They are of another HPA than the one that stays.
            reasons: match stays {
                Some(_) => Vec::new(),
                None => reasons(known, found),
            },
            sure: sure(known, found),
            measure: measure(known),
        }
    }
}

impl Known {
    /// The fit, where what a pod takes was fitted.
    pub(super) fn fit(&self) -> Option<&Fit> {
        match &self.source {
            Source::Fitted(fit) => Some(fit),
            Source::Told => None,
        }
    }

    /// The objective in words: `p95 within 250 ms`.
    pub(super) fn objective_told(&self) -> String {
        let objective = &self.aims.objective;
        text::objective(objective.quantile, objective.latency_ms())
    }

    /// From a rise of load to a pod that takes its share of it, in seconds: the window's middle, the HPA's next look, and
    /// the pod's start.
    pub(super) fn lead_s(&self, window_s: u32) -> f64 {
        let startup_s = self
            .workload
            .app()
            .and_then(|app| app.startup)
            .map_or(0.0, |startup| startup.as_secs_f64());
        f64::from(window_s) / 2.0 + hpa::SYNC_PERIOD.as_secs_f64() / 2.0 + startup_s
    }
}

/// The figures of the HPA there is, where nothing that was found is better.
fn stays(known: &Known, found: &Found) -> Option<Figures> {
    let (present, _) = found.present?;
    present
        .is_as_good(&found.chosen.figures, &known.aims.objective)
        .then_some(present)
}

/// The figures of the HPA that is recommended, and those on seeds that it was not chosen by.
pub(super) fn recommended(found: &Found, keeps_present: bool) -> (Figures, Figures) {
    let present = found.present.filter(|_| keeps_present);
    present.unwrap_or((found.chosen.figures, found.confirmed))
}

fn headline(known: &Known, found: &Found, status: ExitStatus) -> String {
    let chosen = &found.chosen;
    let objective = &known.aims.objective;
    let what = format!(
        "{} at {}, {}",
        chosen.candidate.signal.told(),
        chosen.candidate.target_told(objective),
        chosen.candidate.rest_told()
    );
    if let Some(present) = stays(known, found) {
        return format!(
            "Keep the HPA there is: the best that was found beside it, {what}, {}.",
            against(&chosen.figures, &present)
        );
    }
    let kept = match status {
        ExitStatus::Failed => "No HPA that was tried keeps the objective; this one misses it least",
        ExitStatus::ObservationLost => "Too little was seen to be sure; with care, take",
        _ => "Take",
    };
    format!("{kept}: {what}.")
}

fn pod(known: &Known) -> Vec<String> {
    let aims = &known.aims;
    let mut told = vec![format!(
        "A pod takes {}/s with {}; from {}/s on its line grows for ever.",
        rate(aims.limit),
        known.objective_told(),
        rate(aims.curve.capacity()),
    )];
    let curve = format!(
        "{} {} and a service time of {} (coefficient of variation {:.1})",
        aims.curve.workers,
        if aims.curve.workers == 1 {
            "worker"
        } else {
            "workers"
        },
        text::latency(aims.curve.service_s * 1000.0),
        aims.curve.service_cv,
    );
    match known.fit() {
        None => told.push(format!("That follows from what was said of it: {curve}.")),
        Some(fit) => told.push(format!(
            "That was fitted to latencies at {} loads from {} to {}/s on a pod, of which it is {:.0} % off: like {curve}.",
            fit.points.len(),
            rate(fit.seen.0),
            rate(fit.seen.1),
            fit.residual * PERCENT,
        )),
    }
    if let Some(startup) = known.fit().and_then(|fit| fit.startup) {
        told.push(format!(
            "Nine of ten pods were ready within {} s of being wanted (± {} s, {} pods).",
            rate(startup.seconds),
            rate(startup.resolution_s),
            startup.pods
        ));
    } else if let Some(startup) = known.workload.app().and_then(|app| app.startup) {
        told.push(format!(
            "A pod is ready {} s after it was wanted.",
            rate(startup.as_secs_f64())
        ));
    }
    told
}

// --- Reasons.

fn reasons(known: &Known, found: &Found) -> Vec<String> {
    let chosen = &found.chosen;
    let mut reasons = vec![signal(known, chosen)];
    reasons.extend(target(known, chosen));
    reasons.extend(latency_alone(known, found));
    reasons.extend(window(known, &chosen.candidate));
    reasons.push(down(found));
    reasons.extend(tolerance(found));
    if chosen.candidate.growth == Growth::DoubleInAMinute {
        let text = "At most the double within a minute: what new pods do to latency shows only after they are there, and until \
                    then it would ask for more and more.";
        reasons.push(text.to_owned());
    }
    reasons.extend(net(known, &chosen.candidate));
    reasons.extend(kept(known));
    reasons.extend(most(known));
    reasons
}

fn signal(known: &Known, chosen: &Tried) -> String {
    let elasticity = elasticity(known, 1.0);
    match chosen.candidate.signal {
        Signal::Rate => "Requests per second: their sum does not depend on how many pods there are, so the HPA goes to the right \
                         number at once and does not swing. It is blind to a pod that suddenly takes less."
            .to_owned(),
        Signal::RateAndLatency => format!(
            "Requests per second lead: their sum does not depend on how many pods there are, so the HPA goes to the right number \
             at once and does not swing. Latency stands beside them at the objective, for the day on which a pod takes less \
             than now; there it grows by {elasticity:.1} % for each per cent of load."
        ),
        Signal::Concurrency => "Requests in flight: they grow with load and with whatever makes a pod slower, and faster than load, \
                                so the target stays well below what a pod can hold."
            .to_owned(),
        Signal::Latency | Signal::SlowShare => format!(
            "Of everything that was tried, users' own waiting did best here, though it grows by {elasticity:.1} % for each per cent \
             of load at the objective; watch it for swings."
        ),
        Signal::Cpu => "CPU grows with load here as nothing else does, and every cluster has it. It says nothing of waiting for others."
            .to_owned(),
    }
}

fn target(known: &Known, chosen: &Tried) -> Option<String> {
    let load = known.aims.load(&chosen.candidate)?;
    let lead_s = known.lead_s(chosen.candidate.window_s);
    let growth = known.workload.traffic.growth(lead_s.ceil() as usize);
    let share = load / known.aims.limit * PERCENT;
    let spare = (known.aims.limit / load - 1.0) * PERCENT;
    Some(format!(
        "The target keeps a pod at {share:.0} % of what it takes ({} of {}/s). The {spare:.0} % above it are for the {lead_s:.0} s until \
         a new pod is there, in which this traffic grows by up to {:.0} %, and for the tolerance.",
        rate(load),
        rate(known.aims.limit),
        growth * PERCENT
    ))
}

/// By how many per cent latency grows for one of load, at a share of the highest load.
fn elasticity(known: &Known, share: f64) -> f64 {
    let aims = &known.aims;
    aims.curve
        .elasticity(aims.limit * share, aims.pods, aims.objective.quantile)
}

/// The highest elasticity that a feedback with so many syncs of delay survives without swinging ever wider: 2 cos(d pi /
/// (2 d + 1)), of the recursion x(k+1) = x(k) - e x(k-d) (Levin and May, 1976).
fn elasticity_max(delay_syncs: f64) -> f64 {
    2.0 * (delay_syncs * std::f64::consts::PI / (2.0 * delay_syncs + 1.0)).cos()
}

fn latency_alone(known: &Known, found: &Found) -> Option<String> {
    if matches!(found.chosen.candidate.signal, Signal::Latency) {
        return None;
    }
    let delay = (known.lead_s(known.aims.window_s) / hpa::SYNC_PERIOD.as_secs_f64()).round();
    let (low, high) = (elasticity(known, LOW_LOAD), elasticity(known, 1.0));
    let max = elasticity_max(delay);
    let how = match (low < 0.1, max < high) {
        (true, true) => "deaf at low load and violent at the objective",
        (true, false) => "deaf at low load",
        (false, true) => "violent at the objective",
        (false, false) => "no better",
    };
    let best = best_of(found, Signal::Latency).map(|best| {
        format!(
            " The best of them here, {}, {}.",
            best.candidate.target_told(&known.aims.objective),
            against(&best.figures, &found.chosen.figures)
        )
    });
    Some(format!(
        "A latency target alone would be {how}: it grows by {low:.2} % for each per cent of load at half of what a pod takes, and by \
         {high:.1} % at the objective, where more than {max:.2} % swings with {delay:.0} syncs of delay.{}",
        best.unwrap_or_default()
    ))
}

/// The best candidate of a signal: that which misses the objective least, and is cheapest among equals.
fn best_of(found: &Found, signal: Signal) -> Option<&Tried> {
    let of_signal = found
        .tried
        .iter()
        .filter(|tried| tried.candidate.signal == signal);
    of_signal.min_by(|a, b| {
        a.figures
            .bad_share
            .total_cmp(&b.figures.bad_share)
            .then(a.figures.pod_hours.total_cmp(&b.figures.pod_hours))
    })
}

/// Figures against those of the chosen one, as a clause.
fn against(figures: &Figures, chosen: &Figures) -> String {
    let costs = (figures.pod_hours / chosen.pod_hours - 1.0) * PERCENT;
    let costs = match costs {
        costs if costs.abs() < 0.5 => "costs the same".to_owned(),
        costs if costs < 0.0 => format!("costs {:.0} % less", -costs),
        costs => format!("costs {costs:.0} % more"),
    };
    format!(
        "{costs} with {} of requests over the objective instead of {}",
        text::percent(figures.bad_share),
        text::percent(chosen.bad_share)
    )
}

fn window(known: &Known, chosen: &Candidate) -> Option<String> {
    if chosen.signal == Signal::Cpu {
        return None;
    }
    let requests = known.workload.traffic.mean() * f64::from(chosen.window_s);
    let noise = PERCENT * 2.0 / requests.max(1.0).sqrt();
    let before = match chosen.window_s {
        same if same == known.aims.window_s => "as before".to_owned(),
        _ => format!("instead of {} s", known.aims.window_s),
    };
    Some(format!(
        "A window of {} s, {before}: a rise shows after half of it, and at the mean rate of this traffic it tells the rate to {noise:.0} %.",
        chosen.window_s
    ))
}

/// The candidate that differs from the chosen one in this alone, if it was played.
fn sibling(found: &Found, other: Candidate) -> Option<&Tried> {
    found.tried.iter().find(|tried| tried.candidate == other)
}

fn down(found: &Found) -> String {
    let chosen = &found.chosen;
    let down_s = chosen.candidate.down_s;
    let others: Vec<String> = [60, 120, DOWN_DEFAULT_S, 600]
        .into_iter()
        .filter(|other| *other != down_s)
        .filter_map(|down_s| {
            sibling(
                found,
                Candidate {
                    down_s,
                    ..chosen.candidate
                },
            )
        })
        .map(|other| {
            format!(
                "{} s {}",
                other.candidate.down_s,
                against(&other.figures, &chosen.figures)
            )
        })
        .collect();
    let default = if down_s == DOWN_DEFAULT_S {
        ", as Kubernetes has it"
    } else {
        ""
    };
    match others.is_empty() {
        true => format!("It shrinks after {down_s} s{default}."),
        false => format!(
            "It shrinks after {down_s} s{default}; {}.",
            others.join("; ")
        ),
    }
}

fn tolerance(found: &Found) -> Option<String> {
    let chosen = &found.chosen;
    let milli = chosen.candidate.tolerance_milli;
    if milli == TOLERANCE_DEFAULT {
        return None;
    }
    let usual = Candidate {
        tolerance_milli: TOLERANCE_DEFAULT,
        ..chosen.candidate
    };
    let usual = sibling(found, usual).map(|usual| {
        format!(
            " The usual 10 % {}.",
            against(&usual.figures, &chosen.figures)
        )
    });
    Some(format!(
        "It grows from {} % above the target on: Kubernetes' tolerance of 10 % leaves up to two of twenty pods missing. That takes \
         Kubernetes 1.35 or later.{}",
        f64::from(milli) / 10.0,
        usual.unwrap_or_default()
    ))
}

fn net(known: &Known, chosen: &Candidate) -> Option<String> {
    if chosen.signal == Signal::Cpu {
        return None;
    }
    let (net, per_load) = known
        .workload
        .subject
        .cpu_percent
        .zip(known.aims.cpu_percent)?;
    Some(format!(
        "CPU at {net} % is a net: at the highest load that it takes a pod uses {:.0} % of its request.",
        per_load * known.aims.limit
    ))
}

/// What stays beside the recommended metrics, and was not played.
fn kept(known: &Known) -> Option<String> {
    let subject = &known.workload.subject;
    if subject.kept.is_empty() {
        return None;
    }
    let spec = json!({"spec": {"maxReplicas": subject.max, "metrics": subject.kept}});
    let metrics = autoscaler::from_value(&spec).ok()?.metrics;
    let told: Vec<String> = metrics.iter().map(ToString::to_string).collect();
    Some(format!(
        "As before, it scales on what could not be played, too, and may then have more pods than is said here: {}.",
        told.join(", ")
    ))
}

fn most(known: &Known) -> Option<String> {
    let before = known.max_before?;
    Some(format!(
        "maxReplicas goes from {before} to {}: the peak of {}/s needs {} pods that are full, and a target below that needs more.",
        known.workload.subject.max,
        rate(known.workload.traffic.peak()),
        (known.workload.traffic.peak() / known.aims.limit).ceil()
    ))
}

// --- How sure.

fn sure(known: &Known, found: &Found) -> Vec<String> {
    let objective = &known.aims.objective;
    let keeps_present = stays(known, found).is_some();
    let (tuned, held) = recommended(found, keeps_present);
    let mut sure = vec![format!(
        "On {} seeds that it was not chosen by, with all of the traffic, {} of requests are over the objective ({} on those that it was \
         chosen by); {} may be.",
        held.plays,
        text::percent(held.bad_share),
        text::percent(tuned.bad_share),
        text::percent(objective.budget())
    )];
    // The one there is was not played with a slower service.
    if !keeps_present {
        sure.push(format!(
            "If the service were {:.0} % slower, as after an unlucky release, {} would be over it, with {:.0} % more pods.",
            (SLOWDOWN - 1.0) * PERCENT,
            text::percent(found.slower.bad_share),
            (found.slower.pod_hours / tuned.pod_hours - 1.0).max(0.0) * PERCENT,
        ));
    }
    let finalists = found.tried.iter().filter(|tried| 1 < tried.figures.plays);
    if finalists.count() <= 1 {
        let text = "Only one candidate was played on more than one seed: with a higher --budget it is chosen among several.";
        sure.push(text.to_owned());
    }
    sure.extend(little(known));
    if let Some(fit) = known.fit() {
        let Estimate { low, high, .. } = fit.limit;
        sure.push(match fit.is_sure() {
            true => format!("What a pod takes is known: between {} and {}/s.", rate(low), rate(high)),
            false => format!(
                "What a pod takes is not known: {}, since load never went above {}/s on a pod. The least of that was played.",
                if high <= FURTHER_MAX * fit.seen.1 {
                    format!("between {} and {}/s", rate(low), rate(high))
                } else {
                    format!("{}/s at least and perhaps many times that", rate(low))
                },
                rate(fit.seen.1)
            ),
        });
    }
    sure.push(
        "This is a simulation: pods are alike, asked in turn, and CPU is never short. Compare the latency after the change with \
         what is said here."
            .to_owned(),
    );
    sure
}

/// What there is too little of in the traffic.
fn little(known: &Known) -> Vec<String> {
    let traffic = &known.workload.traffic;
    let mut little = Vec::new();
    if traffic.seconds() < TRAFFIC_SHORT_S {
        little.push(format!(
            "The traffic is {} of one day: of other hours nothing is known. A day of the busiest week tells more.",
            text::span(traffic.seconds() as f64)
        ));
    }
    let may_be_slow = traffic.requests() * known.aims.objective.budget();
    if may_be_slow < SLOW_FEW {
        little.push(format!(
            "It has {:.0} requests, of which {may_be_slow:.1} may be slow: so few that chance decides.",
            traffic.requests()
        ));
    }
    little
}

fn measure(known: &Known) -> Vec<String> {
    let mut measure = Vec::new();
    let Some(fit) = known.fit() else {
        if known.aims.cpu_percent.is_none() {
            let text = "How CPU grows with load: say cpuShare, the share of the service time that is CPU, and cpuRequest, in \
                        thousandths of a core; until then candidates are played without CPU.";
            measure.push(text.to_owned());
        }
        return measure;
    };
    if !fit.is_sure() {
        let further = fit
            .limit
            .high
            .min(fit.seen.1 * FURTHER_MAX)
            .max(fit.seen.1 * 1.5);
        measure.push(ramp(
            &known.workload.service,
            known.aims.objective.latency_ms(),
            fit.seen.1,
            further,
        ));
    }
    if fit.cpu_percent.is_none() {
        let text = "How CPU grows with load: add the column cpu_percent, or --cpu-request with the adapter's samples; until then \
                    candidates are played without CPU.";
        measure.push(text.to_owned());
    }
    measure
}

/// How to measure what a pod takes, from one load on a pod to another.
fn ramp(service: &str, latency_ms: f64, from: f64, to: f64) -> String {
    let [from, to] = [from, to].map(|load| (load * MEASURED_PODS).ceil());
    format!(
        "What a pod takes: hold {service} at {MEASURED_PODS} pods (minReplicas and maxReplicas {MEASURED_PODS}), then\n  \
         taffrail-loadtest run --url http://{service}/ --profile \"{from}->{to}@10m\" --objective {latency_ms}ms --json run.json\n\
         and give run.json in the place of what was given now."
    )
}

/// What to say where not even a curve can be fitted.
pub(super) fn too_little(
    error: &FitError,
    service: &str,
    observed: &Observed,
    latency_ms: f64,
) -> String {
    let most = observed
        .points
        .iter()
        .map(|point| point.load)
        .fold(0.0, f64::max);
    let most = if 0.0 < most { most } else { 1.0 };
    format!(
        "{service}: too little was seen to say what a pod takes: {error}.\n\nWhat to measure\n{}\n",
        ramp(service, latency_ms, most, most * FURTHER_MAX)
    )
}

/// A rate, or another number of which three digits are enough.
pub(super) fn rate(value: f64) -> String {
    match value {
        value if 100.0 <= value => format!("{value:.0}"),
        value if 10.0 <= value => text::number((value * 10.0).round() / 10.0),
        value => text::number((value * 100.0).round() / 100.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_feedback_survives_less_the_later_it_is() {
        for (delay, expected) in [(0.0, 2.0), (1.0, 1.0), (2.0, 0.618), (4.0, 0.347)] {
            assert!((elasticity_max(delay) - expected).abs() < 1e-3, "{delay}");
        }
    }

    #[test]
    fn figures_are_told_with_as_many_digits_as_they_have() {
        assert_eq!(
            [rate(123.4), rate(12.34), rate(1.234), rate(50.0)],
            ["123", "12.3", "1.23", "50"]
        );
    }
}
