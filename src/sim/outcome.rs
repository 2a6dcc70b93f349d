//! What came of one service under one HPA, in the figures by which HPAs are compared. It is the checks' own arithmetic
//! without their limits, and the bill of an [`Oracle`] beside that of the HPA. A figure that cannot be told is absent.

use std::ops::Range;
use std::time::Duration;

use serde::Serialize;
use taffrail_loadtest::judge;
use taffrail_loadtest::recording::{Recording, Service};
use taffrail_loadtest::scenario::assertion::{
    Direction, ErrorBudget, Failures, FlapCount, ScaleEvents, SloViolation, TimeToFirstScaleOut,
};
use taffrail_loadtest::scenario::{Anchor, Check, Quantile, Scope, Share, Slo, Span};

use super::Oracle;

/// Two scale events of opposite directions are a flap when they are at most this far apart, as the check `flap_count`
/// has it: Kubernetes' own stabilization when shrinking.
const FLAP_WINDOW: Duration = Duration::from_secs(300);

const HOUR_S: f64 = 3600.0;

/// What came of one service under one HPA. Times are of the loads: what was before the first request does not count.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// Requests that should have started.
    pub requests: u64,
    /// The share of them that failed, were not sent, or took longer than the objective's latency; within 0 and 1.
    /// `None` without an objective or a request.
    pub bad_share: Option<f64>,
    /// Minutes in which the objective was missed, as the check `slo_violation_seconds` counts them.
    pub violation_minutes: Option<f64>,
    /// Pods times hours, each pod from the moment it was wanted: what is paid for.
    pub pod_hours: f64,
    /// What [`Oracle::pod_hours`] says for the same load.
    pub oracle_pod_hours: Option<f64>,
    /// The one through the other.
    pub cost_ratio: Option<f64>,
    /// How often the HPA changed what it wanted.
    pub scale_events: Option<u32>,
    /// How often it turned within five minutes, as the check `flap_count` counts.
    pub flaps: Option<u32>,
    /// From the moment at which the load needs more pods than there were at first to the HPA's wanting more, in
    /// seconds; zero when it wanted more before. Where no oracle says what is needed, from the first breach of the
    /// objective.
    pub first_scale_out_s: Option<f64>,
    /// The most replicas that the HPA wanted, over the most that the oracle had, less one.
    pub overshoot: Option<f64>,
    /// The most replicas.
    pub max_replicas: Option<u32>,
    /// The mean of the replicas over time.
    pub mean_replicas: f64,
    /// For how long there were as many as the HPA allows, in seconds.
    pub seconds_at_max: Option<f64>,
}

impl Outcome {
    /// What came of `service`; `None` where the recording does not have it. `slo` is what its requests are held
    /// against, [`Plan::slo`](super::Plan::slo) of the plan that was played, and `oracle` what the pods are.
    #[must_use]
    pub fn of(
        recording: &Recording,
        service: &str,
        slo: Option<Slo>,
        oracle: Option<&Oracle>,
    ) -> Option<Self> {
        let run = 0.0..end_s(recording, recording.services.get(service)?);
        Self::within(recording, service, slo, oracle, (&Scope::Run, run))
    }

    /// The same of one stage of the service's load, as [`of`](Self::of) the whole run.
    #[must_use]
    pub fn of_stage(
        recording: &Recording,
        service: &str,
        slo: Option<Slo>,
        oracle: Option<&Oracle>,
        stage: &str,
    ) -> Option<Self> {
        let end_s = end_s(recording, recording.services.get(service)?);
        let span = recording.stage(stage, service)?;
        let run = span.start_s..span.end_s.min(end_s);
        let scope = Scope::Stage(stage.to_owned());
        Self::within(recording, service, slo, oracle, (&scope, run))
    }

    fn within(
        recording: &Recording,
        service: &str,
        slo: Option<Slo>,
        oracle: Option<&Oracle>,
        (scope, run): (&Scope, Range<f64>),
    ) -> Option<Self> {
        let seen = recording.services.get(service)?;
        let ask = |check: &Check| value(recording, service, check);
        let spec = &seen.replicas.spec;
        let (pod_s, known_s) = spec.integral(run.clone());
        let pod_hours = pod_s / HOUR_S;
        let oracle_pod_hours =
            oracle.map(|oracle| oracle.pod_hours(run.end) - oracle.pod_hours(run.start));
        let most = seen.autoscaler.as_ref().map(|hpa| hpa.max_replicas);
        let wanted = seen.replicas.desired.max(run.clone());
        Some(Self {
            requests: offered(seen, &run),
            bad_share: slo.and_then(|slo| ask(&bad(slo, scope))),
            violation_minutes: slo
                .and_then(|slo| ask(&violation(slo, scope)))
                .map(|s| s / 60.0),
            pod_hours,
            oracle_pod_hours,
            cost_ratio: oracle_pod_hours
                .filter(|hours| 0.0 < *hours)
                .map(|hours| pod_hours / hours),
            scale_events: ask(&events(scope)).map(|count| count as u32),
            flaps: ask(&flaps(scope)).map(|count| count as u32),
            first_scale_out_s: match oracle {
                Some(oracle) => first_scale_out(seen, oracle, &run),
                None => slo.and_then(|_| ask(&after_breach())),
            },
            overshoot: oracle.zip(wanted).map(|(oracle, wanted)| {
                f64::from(wanted) / f64::from(oracle.max_pods_within(&run)) - 1.0
            }),
            max_replicas: spec.max(run.clone()),
            mean_replicas: if 0.0 < known_s { pod_s / known_s } else { 0.0 },
            seconds_at_max: most.map(|most| {
                let at_max = spec.spans(run).filter(|span| Some(most) <= span.value);
                at_max.map(|span| span.seconds()).sum()
            }),
        })
    }
}

/// When the run ended: with its loads, or when it was told to.
fn end_s(recording: &Recording, seen: &Service) -> f64 {
    let planned = recording.about.duration_s;
    if recording.about.interrupted {
        planned.min(seen.load.slots.len() as f64)
    } else {
        planned
    }
}

/// Requests that should have started within a stretch.
fn offered(seen: &Service, run: &Range<f64>) -> u64 {
    let seconds = run.start.max(0.0).floor() as usize..run.end.max(0.0).ceil() as usize;
    let slots = seen.load.slots.iter().skip(seconds.start);
    slots
        .take(seconds.len())
        .map(|slot| slot.counts.offered)
        .sum()
}

/// What a check without a limit finds.
fn value(recording: &Recording, service: &str, check: &Check) -> Option<f64> {
    let findings = judge::ask(recording, service, check);
    findings.first()?.value.filter(|value| value.is_finite())
}

fn bad(slo: Slo, scope: &Scope) -> Check {
    Check::ErrorBudget(ErrorBudget {
        scope: scope.clone(),
        target: Some(slo.target),
        objective: Share::default(),
    })
}

fn violation(slo: Slo, scope: &Scope) -> Check {
    Check::SloViolationSeconds(SloViolation {
        scope: scope.clone(),
        quantile: Quantile::from_percent(slo.quantile * 100.0).ok(),
        target: Some(slo.target),
        window: Some(slo.window),
        max_window: Some(slo.max_window),
        failures: Failures::Infinite,
        max_error: None,
        max: f64::INFINITY,
    })
}

fn events(scope: &Scope) -> Check {
    Check::ScaleEvents(ScaleEvents {
        scope: scope.clone(),
        direction: Direction::Any,
        max: u32::MAX,
    })
}

fn flaps(scope: &Scope) -> Check {
    Check::FlapCount(FlapCount {
        scope: scope.clone(),
        window: FLAP_WINDOW.into(),
        max: u32::MAX,
    })
}

fn after_breach() -> Check {
    Check::TimeToFirstScaleOut(TimeToFirstScaleOut {
        from: Anchor::FirstBreach,
        max: Span::from(Duration::MAX),
    })
}

fn first_scale_out(seen: &Service, oracle: &Oracle, run: &Range<f64>) -> Option<f64> {
    let at_first = seen.replicas.spec.at(run.start)?;
    let needed_s = oracle.first_above_within(at_first, run)?;
    let mut changes = seen.replicas.desired.changes(run.clone());
    let out = changes.find(|change| at_first < change.to)?;
    Some((out.t_s - needed_s).max(0.0))
}
