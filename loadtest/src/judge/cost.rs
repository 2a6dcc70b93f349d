//! What replicas cost, alone and against what the load needed.

use std::ops::Range;

use super::Finding;
use super::context::{Context, SLOT_S};
use super::demand::needed;
use super::draft::{Draft, Limit, Untold, amount, number};
use crate::scenario::assertion::{Cost, PodSeconds, PodSecondsRatio, Provisioning};

/// The share of a stretch that may be unknown for its mean to stand for the whole.
const UNKNOWN_MAX: f64 = 0.1;

/// Seconds in an hour.
const HOUR_S: f64 = 3600.0;

/// The ready replicas integrated over a stretch.
struct Total {
    pod_s: f64,
    /// What the unknown part may change of it.
    resolution: f64,
    scope: Range<f64>,
}

/// A second in which the ready replicas were known.
struct Second {
    ready: f64,
    needed: f64,
}

/// The seconds of a stretch, and how exactly they are known.
struct Seconds {
    known: Vec<Second>,
    /// Changes of the ready replicas, each known to a second.
    changes: usize,
    /// The same times how many replicas each was, as a share of what was needed.
    changed: f64,
    scope: Range<f64>,
}

/// Pods times seconds.
pub(super) fn pod_seconds(
    context: &Context<'_>,
    draft: Draft,
    check: &PodSeconds,
) -> Result<Finding, Untold> {
    let total = total(context, context.scope(&check.scope)?)?;
    let told = format!(
        "the ready replicas make {}",
        amount(total.pod_s, "pod seconds")
    );
    Ok(draft
        .unit("pod s")
        .resolution(total.resolution)
        .over(total.scope)
        .judged(total.pod_s, Limit::AtMost(check.max), told))
}

/// The same in money.
pub(super) fn cost(context: &Context<'_>, draft: Draft, check: &Cost) -> Result<Finding, Untold> {
    let total = total(context, context.scope(&check.scope)?)?;
    let price = check.price_per_pod_hour / HOUR_S;
    let told = format!(
        "{} at {} for an hour of a pod cost {}",
        amount(total.pod_s, "pod seconds"),
        number(check.price_per_pod_hour),
        number(total.pod_s * price),
    );
    Ok(draft
        .resolution(total.resolution * price)
        .over(total.scope)
        .judged(total.pod_s * price, Limit::AtMost(check.max), told))
}

/// Against the pods that an oracle would have had, which follows the demand at once: above 1 is waste, below is want.
pub(super) fn pod_seconds_ratio(
    context: &Context<'_>,
    draft: Draft,
    check: &PodSecondsRatio,
) -> Result<Finding, Untold> {
    let seconds = seconds(context, context.scope(&check.scope)?)?;
    let ready: f64 = seconds.known.iter().map(|second| second.ready).sum();
    let needed: f64 = seconds.known.iter().map(|second| second.needed).sum();
    let told = format!(
        "there were {} times the pods that the load needed: {} pod seconds for {}",
        number(ready / needed),
        number(ready),
        number(needed),
    );
    Ok(draft
        .resolution(seconds.changed / seconds.known.len() as f64)
        .over(seconds.scope)
        .judged(ready / needed, Limit::AtMost(check.max), told))
}

/// `(1/T) * integral of max(n* - s, 0) / n*`, and the share of time in which `s < n*`.
pub(super) fn under_provisioning(
    context: &Context<'_>,
    draft: &Draft,
    check: &Provisioning,
) -> Vec<Finding> {
    provisioning(context, draft, check, "few", |second| {
        second.needed - second.ready
    })
}

/// `(1/T) * integral of max(s - n*, 0) / n*`, and the share of time in which `n* < s`.
pub(super) fn over_provisioning(
    context: &Context<'_>,
    draft: &Draft,
    check: &Provisioning,
) -> Vec<Finding> {
    provisioning(context, draft, check, "many", |second| {
        second.ready - second.needed
    })
}

fn provisioning(
    context: &Context<'_>,
    draft: &Draft,
    check: &Provisioning,
    few: &str,
    wrong_by: impl Fn(&Second) -> f64,
) -> Vec<Finding> {
    let seconds = context
        .scope(&check.scope)
        .and_then(|scope| seconds(context, scope));
    let seconds = match seconds {
        Ok(seconds) => seconds,
        Err(untold) => return vec![draft.clone().untold(untold)],
    };
    let length = seconds.known.len() as f64;
    let wrong: Vec<f64> = seconds
        .known
        .iter()
        .map(|second| wrong_by(second).max(0.0) / second.needed)
        .collect();
    let accuracy = check.accuracy.map(|max| {
        let mean = wrong.iter().sum::<f64>() / length;
        let told = format!(
            "there were {} % too {few} pods on average",
            number(mean * 100.0)
        );
        let draft = draft.part("accuracy").resolution(seconds.changed / length);
        draft
            .over(seconds.scope.clone())
            .judged(mean, Limit::AtMost(max), told)
    });
    let timeshare = check.timeshare.map(|max| {
        let share = wrong.iter().filter(|wrong| 0.0 < **wrong).count() as f64 / length;
        let told = format!(
            "for {} % of the time there were too {few} pods",
            number(share * 100.0)
        );
        let draft = draft
            .part("timeshare")
            .resolution(seconds.changes as f64 * SLOT_S / length);
        draft
            .over(seconds.scope.clone())
            .judged(share, Limit::AtMost(max.get()), told)
    });
    accuracy.into_iter().chain(timeshare).collect()
}

fn total(context: &Context<'_>, scope: Range<f64>) -> Result<Total, Untold> {
    let length_s = scope.end - scope.start;
    let (sum, known_s) = context.ready()?.integral(scope.clone());
    enough(known_s, length_s)?;
    let mean = sum / known_s;
    Ok(Total {
        pod_s: mean * length_s,
        resolution: mean * (length_s - known_s),
        scope,
    })
}

/// Each whole second of a stretch in which the ready replicas were known at its middle.
fn seconds(context: &Context<'_>, scope: Range<f64>) -> Result<Seconds, Untold> {
    let needed = needed(context)?;
    let ready = context.ready()?;
    let whole = scope.start.max(0.0).ceil() as usize
        ..(scope.end.floor().max(0.0) as usize).min(needed.len());
    let length = whole.len();
    let second = |at: usize| {
        Some(Second {
            ready: f64::from(ready.at(at as f64 + 0.5)?),
            needed: f64::from(needed[at]),
        })
    };
    let known: Vec<_> = whole.filter_map(second).collect();
    enough(known.len() as f64, length as f64)?;
    let needed_at = |t_s: f64| {
        needed
            .get(t_s.max(0.0) as usize)
            .map_or(1.0, |n| f64::from(*n))
    };
    let changes: Vec<_> = ready.changes(scope.clone()).collect();
    let share = changes
        .iter()
        .map(|change| change.delta().unsigned_abs() as f64 / needed_at(change.t_s));
    Ok(Seconds {
        known,
        changes: changes.len(),
        changed: share.sum::<f64>() * SLOT_S,
        scope,
    })
}

fn enough(known_s: f64, length_s: f64) -> Result<(), Untold> {
    match 0.0 < known_s && length_s * (1.0 - UNKNOWN_MAX) <= known_s {
        true => Ok(()),
        false => Err(Untold::unknown(format!(
            "the ready replicas were known for {} of {}",
            amount(known_s, "s"),
            amount(length_s, "s"),
        ))),
    }
}
