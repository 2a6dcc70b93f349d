//! The verdict over a [`Recording`]: each check with its value, its limit, how exactly it could be told, and a sentence.
//! Pure: the same recording gives the same verdict, today and in a year.
//!
//! A check *fails* only on what was seen. Where the experiment itself was not valid, because the load was not delivered
//! or nobody looked, the verdict is *inconclusive*, which is neither.

mod bounds;
mod context;
mod cost;
mod cut_short;
mod demand;
mod draft;
pub(crate) mod drawn;
#[cfg(test)]
mod fixture;
mod health;
mod reaction;
mod slo;
mod stability;
mod waited;
mod window;

pub mod baseline;
pub mod lint;
pub mod threshold;
pub mod validity;
pub mod verdict;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::context::Context;
use self::draft::{Draft, Untold};
use crate::recording::Recording;
use crate::scenario::Check;
use crate::scenario::assertion::{Assertion, Whole};

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The check's name with what tells it from others of its kind, as `slo_recovery_time[high]`. It holds no measured
    /// number, so that a history of runs can follow it.
    pub name: String,
    /// The service it is about; empty when it is about the run.
    pub service: String,
    /// What it belongs to.
    pub group: Group,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the limit lies within the resolution of the value: a pass that might have been none.
    pub marginal: bool,
    /// What was found, in `unit`; `None` when it never happened or could not be told.
    pub value: Option<f64>,
    /// What was wanted, as it would be written: `<= 150 s`, `2 to 4`.
    pub limit: String,
    /// The unit of `value`: `s`, `ms`, `pods`, or empty for a ratio or a count.
    pub unit: String,
    /// How exactly `value` could be told, in `unit`.
    pub resolution: f64,
    /// The stretch of the run that it is about, in seconds, for a report to mark.
    pub from_s: Option<f64>,
    /// Its end.
    pub to_s: Option<f64>,
    /// The whole of it in one sentence for people.
    pub sentence: String,
}

/// What a check belongs to, in the order of reports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// How soon something happened.
    Reaction,
    /// Whether users were served well.
    Slo,
    /// How many replicas there were.
    Bounds,
    /// How steady they were.
    Stability,
    /// What they cost.
    Cost,
    /// How the metric and the controller did.
    Health,
    /// A threshold in k6's words.
    Threshold,
    /// Whether the experiment itself was sound.
    Validity,
    /// Against an earlier run.
    Baseline,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It could not be told, because the experiment was not valid there.
    Inconclusive,
    /// It has nothing to say about this run.
    Skipped,
}

impl Finding {
    /// A finding that says nothing yet.
    fn blank(name: String, service: &str, group: Group) -> Self {
        Self {
            name,
            service: service.to_owned(),
            group,
            outcome: Outcome::Skipped,
            marginal: false,
            value: None,
            limit: String::new(),
            unit: String::new(),
            resolution: 0.0,
            from_s: None,
            to_s: None,
            sentence: String::new(),
        }
    }
}

/// Holds a run against what its scenario says must hold: a finding per assertion in the order of the scenario, after
/// those that are always checked.
#[must_use]
pub fn judge(recording: &Recording) -> Vec<Finding> {
    let names = recording.services.keys();
    let contexts: BTreeMap<_, _> = names
        .filter_map(|name| Some((name.as_str(), Context::new(recording, name)?)))
        .collect();
    let first = contexts.keys().next().copied().unwrap_or_default();
    let mut findings: Vec<_> = contexts
        .values()
        .flat_map(|context| always(context, first))
        .collect();
    for assertion in &recording.scenario.assertions {
        match contexts.get(assertion.service.as_deref().unwrap_or(first)) {
            Some(context) => findings.extend(check(context, &assertion.check)),
            None => findings.push(unmet(assertion)),
        }
    }
    distinguish(&mut findings);
    findings
}

/// Holds one service of a run against one check, whatever its scenario asks: for figures that are compared rather than
/// limited. Empty where the recording has no such service.
#[must_use]
pub fn ask(recording: &Recording, service: &str, asked: &Check) -> Vec<Finding> {
    let context = Context::new(recording, service);
    context.map_or_else(Vec::new, |context| check(&context, asked))
}

/// The bounds of the HPA, unless the scenario speaks of them itself; nothing where no HPA was seen.
fn always(context: &Context<'_>, first: &str) -> Vec<Finding> {
    if context.service.autoscaler.is_none() {
        return Vec::new();
    }
    let checks = [
        Check::NeverAboveMax(Whole::default()),
        Check::NeverBelowMin(Whole::default()),
    ];
    let asserted = context.recording.scenario.assertions.iter();
    let own =
        asserted.filter(|asserted| asserted.service.as_deref().unwrap_or(first) == context.name);
    let wanted = checks
        .iter()
        .filter(|check| !own.clone().any(|own| own.check == **check));
    wanted.flat_map(|wanted| check(context, wanted)).collect()
}

/// One check, as far as the run went.
fn check(context: &Context<'_>, check: &Check) -> Vec<Finding> {
    let seen = seen(context, check).into_iter();
    seen.map(|finding| cut_short::taken_back(context, check, finding))
        .collect()
}

/// What was seen of one check. Most have one finding; those with several limits have one for each.
fn seen(context: &Context<'_>, check: &Check) -> Vec<Finding> {
    let draft = || context.draft(check.title(), group_of(check));
    let judged: Result<Finding, Untold> = match check {
        Check::TimeToMetricBreach(check) => {
            reaction::time_to_metric_breach(context, draft(), check)
        }
        Check::DecisionLatency(check) => reaction::decision_latency(context, draft(), check),
        Check::TimeToFirstScaleOut(check) => {
            reaction::time_to_first_scale_out(context, draft(), check)
        }
        Check::TimeToReady(check) => reaction::time_to_ready(context, draft(), check),
        Check::TimeToTraffic(check) => reaction::time_to_traffic(context, draft(), check),
        Check::TimeToReplicas(check) => reaction::time_to_replicas(context, draft(), check),
        Check::TimeToScaleIn(check) => reaction::time_to_scale_in(context, draft(), check),
        Check::NoScaleInBefore(check) => reaction::no_scale_in_before(context, draft(), check),
        Check::SloRecoveryTime(check) => slo::recovery_time(context, draft(), check),
        Check::SloViolationSeconds(check) => slo::violation_seconds(context, draft(), check),
        Check::SloViolationRatio(check) => slo::violation_ratio(context, draft(), check),
        Check::ErrorBudget(check) => slo::error_budget(context, draft(), check),
        Check::Latency(check) => slo::latency(context, draft(), check),
        Check::ErrorRate(check) => slo::error_rate(context, draft(), check),
        Check::ScaleEventErrors(check) => slo::scale_event_errors(context, draft(), check),
        Check::ColdStartPenalty(check) => slo::cold_start_penalty(context, draft(), check),
        Check::NeverAboveMax(check) => bounds::never_above_max(context, draft(), check),
        Check::NeverBelowMin(check) => bounds::never_below_min(context, draft(), check),
        Check::PeakReplicas(check) => bounds::peak_replicas(context, draft(), check),
        Check::ReplicasWithin(check) => bounds::replicas_within(context, draft(), check),
        Check::OvershootRatio(check) => bounds::overshoot_ratio(context, draft(), check),
        Check::UndershootRatio(check) => bounds::undershoot_ratio(context, draft(), check),
        Check::SettlingTime(check) => bounds::settling_time(context, draft(), check),
        Check::FlapCount(check) => stability::flap_count(context, draft(), check),
        Check::ScaleEvents(check) => stability::scale_events(context, draft(), check),
        Check::ReplicaChurn(check) => stability::replica_churn(context, draft(), check),
        Check::ChurnExcess(check) => stability::churn_excess(context, draft(), check),
        Check::Monotonic(check) => stability::monotonic(context, draft(), check),
        Check::ScaleStep(check) => stability::scale_step(context, draft(), check),
        Check::NoReaction(check) => stability::no_reaction(context, draft(), check),
        Check::FailSafe(check) => stability::fail_safe(context, draft(), check),
        Check::PodSeconds(check) => cost::pod_seconds(context, draft(), check),
        Check::Cost(check) => cost::cost(context, draft(), check),
        Check::PodSecondsRatio(check) => cost::pod_seconds_ratio(context, draft(), check),
        Check::UnderProvisioning(check) => {
            return cost::under_provisioning(context, &draft(), check);
        }
        Check::OverProvisioning(check) => return cost::over_provisioning(context, &draft(), check),
        Check::MetricHealth(check) => return health::metric_health(context, &draft(), check),
        Check::MetricAccuracy(check) => health::metric_accuracy(context, draft(), check),
        Check::HpaConditions(check) => return health::hpa_conditions(context, &draft(), check),
    };
    vec![judged.unwrap_or_else(|untold| draft().untold(untold))]
}

/// What a check belongs to in reports.
fn group_of(check: &Check) -> Group {
    match check {
        Check::TimeToMetricBreach(_)
        | Check::DecisionLatency(_)
        | Check::TimeToFirstScaleOut(_)
        | Check::TimeToReady(_)
        | Check::TimeToTraffic(_)
        | Check::TimeToReplicas(_)
        | Check::TimeToScaleIn(_)
        | Check::NoScaleInBefore(_) => Group::Reaction,
        Check::SloRecoveryTime(_)
        | Check::SloViolationSeconds(_)
        | Check::SloViolationRatio(_)
        | Check::ErrorBudget(_)
        | Check::Latency(_)
        | Check::ErrorRate(_)
        | Check::ScaleEventErrors(_)
        | Check::ColdStartPenalty(_) => Group::Slo,
        Check::NeverAboveMax(_)
        | Check::NeverBelowMin(_)
        | Check::PeakReplicas(_)
        | Check::ReplicasWithin(_)
        | Check::OvershootRatio(_)
        | Check::UndershootRatio(_)
        | Check::SettlingTime(_) => Group::Bounds,
        Check::FlapCount(_)
        | Check::ScaleEvents(_)
        | Check::ReplicaChurn(_)
        | Check::ChurnExcess(_)
        | Check::Monotonic(_)
        | Check::ScaleStep(_)
        | Check::NoReaction(_)
        | Check::FailSafe(_) => Group::Stability,
        Check::PodSeconds(_)
        | Check::Cost(_)
        | Check::PodSecondsRatio(_)
        | Check::UnderProvisioning(_)
        | Check::OverProvisioning(_) => Group::Cost,
        Check::MetricHealth(_) | Check::MetricAccuracy(_) | Check::HpaConditions(_) => {
            Group::Health
        }
    }
}

/// An assertion about a service that the recording does not have.
fn unmet(assertion: &Assertion) -> Finding {
    let service = assertion.service.clone().unwrap_or_default();
    let why = Untold::unknown(format!("the recording has no service `{service}`"));
    Draft::new(
        assertion.check.title(),
        &service,
        group_of(&assertion.check),
    )
    .untold(why)
}

/// Findings of one name and service are numbered, so that a history of runs can tell them apart.
fn distinguish(findings: &mut [Finding]) {
    let mut seen: BTreeMap<(String, String), usize> = BTreeMap::new();
    for finding in findings {
        let times = seen
            .entry((finding.service.clone(), finding.name.clone()))
            .or_default();
        *times += 1;
        if 1 < *times {
            finding.name = format!("{} #{times}", finding.name);
        }
    }
}

#[cfg(test)]
mod tests;
