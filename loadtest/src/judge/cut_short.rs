//! What a run that was told to stop can still tell. Some checks fail for good on what was seen, as one replica too many
//! does. Others hold or fail at the end of their stretch only, and where that was not reached, nothing can be told.

use super::context::{Context, ended_s};
use super::draft::{at, seconds};
use super::{Finding, Group, Outcome};
use crate::recording::{Ended, Recording};
use crate::scenario::{Check, Scope};

/// Takes back a failure that the rest of the run could have turned into a pass.
pub(super) fn taken_back(context: &Context<'_>, check: &Check, mut finding: Finding) -> Finding {
    let scope = decided_by(check, &finding).filter(|scope| context.is_cut_short(scope));
    if let (Outcome::Fail, Some(scope)) = (finding.outcome, scope) {
        finding.outcome = Outcome::Inconclusive;
        finding.sentence += &before_the_end_of(context.recording, scope);
    }
    finding
}

/// The end of a sentence about a part of `scope`.
pub(super) fn before_the_end_of(recording: &Recording, scope: &Scope) -> String {
    let stopped = at(ended_s(recording));
    let before = match scope {
        Scope::Run => "its end".to_owned(),
        scope => format!("the end of {scope}"),
    };
    format!(". It does not count: the run was told to stop {stopped}, before {before}")
}

/// What is found of a run that did not come to its end: otherwise nothing in a report for CI might say so.
pub(super) fn completion(recording: &Recording) -> Option<Finding> {
    let about = &recording.about;
    if !about.interrupted {
        return None;
    }
    let end_s = ended_s(recording);
    let (outcome, sentence) = match &about.ended {
        Some(Ended::Safety(why) | Ended::Threshold(why)) => (Outcome::Fail, why.clone()),
        None => {
            let [end, whole] = [end_s, about.duration_s].map(seconds);
            let told = format!("the run was told to stop after {end} of {whole}");
            (Outcome::Inconclusive, told)
        }
    };
    Some(Finding {
        outcome,
        value: Some(end_s),
        unit: "s".to_owned(),
        limit: seconds(about.duration_s),
        from_s: Some(end_s),
        to_s: Some(about.duration_s),
        sentence,
        ..Finding::blank("run_completed".to_owned(), "", Group::Validity)
    })
}

/// The stretch at whose end alone a failure is one; `None` where it stays one whatever comes after.
fn decided_by<'c>(check: &'c Check, finding: &Finding) -> Option<&'c Scope> {
    let is_below = |least: u32| finding.value.is_some_and(|value| value < f64::from(least));
    match check {
        Check::PeakReplicas(check) if is_below(check.between[0]) => Some(&check.scope),
        // Of one of several quantiles: a later one may be sooner. The slowest stays the slowest.
        Check::TimeToReady(check) if check.stat.fraction() < 1.0 => Some(&check.scope),
        Check::OvershootRatio(check) | Check::UndershootRatio(check) => Some(&check.scope),
        Check::SettlingTime(check) => Some(&check.scope),
        Check::SloViolationRatio(check) => Some(&check.scope),
        Check::ErrorBudget(check) => Some(&check.scope),
        Check::Latency(check) => Some(&check.scope),
        Check::ErrorRate(check) => Some(&check.scope),
        Check::ColdStartPenalty(check) => Some(&check.scope),
        Check::PodSecondsRatio(check) => Some(&check.scope),
        Check::UnderProvisioning(check) | Check::OverProvisioning(check) => Some(&check.scope),
        Check::MetricAccuracy(check) => Some(&check.scope),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
