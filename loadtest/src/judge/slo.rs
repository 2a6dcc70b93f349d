//! Whether users were served well: checks 9 to 16. A request that failed is slower than any limit, unless a check says
//! otherwise, and a window that holds too few requests says nothing.

mod scaling;
mod violation;

use std::ops::Range;
use std::time::Duration;

pub(super) use self::scaling::{cold_start_penalty, scale_event_errors};
use self::violation::is_violated;
pub(super) use self::violation::{violation_ratio, violation_seconds};
use super::Finding;
use super::context::{Context, SLOT_S};
use super::draft::{Draft, Limit, Untold, at, number, seconds};
use super::window::{Objective, Windows, latency as shown, quantile_of, told_apart, word};
use crate::measured::{Counts, ErrorClass, Slot};
use crate::scenario::Quantile;
use crate::scenario::assertion::{ErrorBudget, ErrorRate, FailureClass, Latency, SloRecoveryTime};

/// How exactly a latency is told, as a share of itself: as the histograms that it comes from.
const LATENCY_RESOLUTION: f64 = 0.001;

/// 9. From the first breach of the objective to its being met again for good.
pub(super) fn recovery_time(
    context: &Context<'_>,
    draft: Draft,
    check: &SloRecoveryTime,
) -> Result<Finding, Untold> {
    let from_s = context.anchor(&check.from)?;
    let objective = Objective::new(context, check)?;
    let windows = context.windows(objective);
    let run = from_s..context.end_s();
    let draft = draft.unit("s").resolution(SLOT_S);
    let limit = Limit::AtMost(check.max.seconds());
    let quantile = objective.word();
    let within = shown(objective.target.seconds());
    let Some((breach_s, first)) = windows.first_breach(run.clone()) else {
        all_told(context, &windows, &run)?;
        let told = format!(
            "{quantile} was never above {within} after {} {}",
            check.from,
            at(from_s)
        );
        return Ok(draft.resolution(0.0).over(run).judged(0.0, limit, told));
    };
    let hold = check.hold.seconds().ceil() as usize;
    let rest = first..windows.seconds(&run).end;
    let took = |t_s: f64| (t_s - breach_s).max(0.0);
    // What is unknown may have been good or bad, and only what holds either way is told.
    let [earliest, latest] =
        [false, true].map(|unknown| recovered_s(&windows, rest.clone(), hold, unknown).map(took));
    let stopped = context.recording.about.interrupted.then_some(took(run.end));
    let earliest = earliest.or(stopped);
    let draft = draft.over(breach_s..breach_s + latest.unwrap_or(took(run.end)));
    let max_s = check.max.seconds() + SLOT_S;
    match (earliest, latest) {
        (Some(earliest), latest)
            if earliest <= max_s
                && latest.is_none_or(|latest| max_s < latest)
                && latest != Some(earliest) =>
        {
            Err(Untold::unknown(format!(
                "whether {quantile} was back within {within} in time could not be told: the first breach was {}, and \
                 windows from {} after it on held too few requests or were never there",
                at(breach_s),
                seconds(earliest)
            )))
        }
        (_, Some(latest)) => {
            let told = format!(
                "{quantile} was back within {within} {} after the first breach {}",
                seconds(latest),
                at(breach_s)
            );
            Ok(draft.judged(latest, limit, told))
        }
        _ => {
            let told = format!(
                "{quantile} was above {within} from {} on and not back for {} within the run",
                seconds(breach_s),
                check.hold
            );
            Ok(draft.judged(f64::INFINITY, limit, told))
        }
    }
}

/// 12. The share of requests that were bad.
pub(super) fn error_budget(
    context: &Context<'_>,
    draft: Draft,
    check: &ErrorBudget,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let target = check
        .target
        .or(context.recording.scenario.slo.map(|slo| slo.target));
    let target =
        target.ok_or_else(|| Untold::unknown("neither the check nor `slo` says a target"))?;
    let slots = slots(context, &scope);
    let counts = sum(slots);
    let ended = ended(&counts)?;
    let good: u64 = slots.iter().map(|slot| good_within(slot, *target)).sum();
    let bad = ended - good;
    let ratio = bad as f64 / ended as f64;
    let told = format!(
        "{bad} of {ended} requests, {}, failed or took longer than {}",
        percent(ratio),
        shown(target.seconds())
    );
    let limit = Limit::AtMost(1.0 - check.objective.get());
    Ok(draft.over(scope).judged(ratio, limit, told))
}

/// 13. A quantile of latency over a stretch.
pub(super) fn latency(
    context: &Context<'_>,
    draft: Draft,
    check: &Latency,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let scope = scope.start + check.settle.seconds()..scope.end;
    let slo = context.recording.scenario.slo;
    let q = check
        .stat
        .map(Quantile::fraction)
        .or(slo.map(|slo| slo.quantile));
    let max = check.max.or(slo.map(|slo| slo.target));
    let (Some(q), Some(max)) = (q, max) else {
        return Err(Untold::unknown(
            "neither the check nor `slo` says a quantile and its limit",
        ));
    };
    let value_ms = quantile_of(slots(context, &scope), q, check.failures)? * 1e3;
    let limit = Limit::AtMost(max.seconds() * 1e3);
    let failed = match value_ms.is_infinite() {
        true => ", for more requests failed than that leaves out",
        false => "",
    };
    let told = format!("{} was {}{failed}", word(q), shown(value_ms / 1e3));
    let resolution = if value_ms.is_finite() {
        value_ms * LATENCY_RESOLUTION
    } else {
        0.0
    };
    Ok(draft
        .unit("ms")
        .resolution(resolution)
        .over(scope)
        .judged(value_ms, limit, told))
}

/// 14. The share of requests that failed.
pub(super) fn error_rate(
    context: &Context<'_>,
    draft: Draft,
    check: &ErrorRate,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let counts = sum(slots(context, &scope));
    let ended = ended(&counts)?;
    let failed = failed_in(&counts, check.class);
    let ratio = failed as f64 / ended as f64;
    let how = match check.class {
        FailureClass::Any => String::new(),
        class => format!(" ({})", class.tag()),
    };
    let told = format!(
        "{failed} of {ended} requests failed{how}, {}",
        percent(ratio)
    );
    Ok(draft
        .over(scope)
        .judged(ratio, Limit::AtMost(check.max.get()), told))
}

/// The moment from which on all windows of `hold` seconds meet the objective, where an unknown window is a miss if
/// `unknown` says so. Windows past the end are unknown too, unless the run ended in a miss.
fn recovered_s(
    windows: &Windows,
    seconds: Range<usize>,
    hold: usize,
    unknown: bool,
) -> Option<f64> {
    let mut met_from = None;
    for second in seconds {
        if windows.misses(second).unwrap_or(unknown) {
            met_from = None;
            continue;
        }
        let from = *met_from.get_or_insert(second);
        if hold <= second - from {
            return Some((from + 1) as f64);
        }
    }
    met_from.filter(|_| !unknown).map(|from| (from + 1) as f64)
}

/// That nothing of the run is unknown.
fn all_told(context: &Context<'_>, windows: &Windows, run: &Range<f64>) -> Result<(), Untold> {
    let slots = &context.service.load.slots;
    let mut seconds = windows.seconds(run);
    let unknown =
        seconds.find(|second| is_violated(windows, &slots[*second], *second, None).is_none());
    match unknown {
        None => Ok(()),
        Some(second) => Err(Untold::unknown(format!(
            "the window that ends {} held too few requests to tell",
            at((second + 1) as f64)
        ))),
    }
}

fn slots<'a>(context: &Context<'a>, range: &Range<f64>) -> &'a [Slot] {
    context
        .service
        .load
        .slots
        .get(context.slots(range))
        .unwrap_or_default()
}

fn sum(slots: &[Slot]) -> Counts {
    let mut sum = Counts::default();
    slots.iter().for_each(|slot| sum.add(&slot.counts));
    sum
}

/// Requests whose end is known: those given up when the run was interrupted are not.
fn ended(counts: &Counts) -> Result<u64, Untold> {
    match counts.ok + failed_in(counts, FailureClass::Any) {
        0 => Err(Untold::moot("no request was offered")),
        ended => Ok(ended),
    }
}

/// Good answers of a second within `target`. The latencies hold timeouts too, but every good answer came before them.
fn good_within(slot: &Slot, target: Duration) -> u64 {
    let target = told_apart(target);
    let within = slot
        .latencies()
        .take_while(|(latency, _)| *latency <= target);
    let within: u64 = within.map(|(_, count)| count).sum();
    within.min(slot.counts.ok)
}

fn failed_in(counts: &Counts, class: FailureClass) -> u64 {
    match class {
        FailureClass::Any => counts.failed(),
        FailureClass::ClientStatus => counts.errors_of(ErrorClass::ClientStatus),
        FailureClass::ServerStatus => counts.errors_of(ErrorClass::ServerStatus),
        FailureClass::Timeout => counts.errors_of(ErrorClass::Timeout),
        FailureClass::Connect => {
            counts.errors_of(ErrorClass::Connect) + counts.errors_of(ErrorClass::NoEndpoint)
        }
        FailureClass::Broken => counts.errors_of(ErrorClass::Broken),
        FailureClass::Unexpected => counts.errors_of(ErrorClass::Unexpected),
        FailureClass::Dropped => counts.dropped,
    }
}

fn percent(ratio: f64) -> String {
    format!("{} %", number(ratio * 100.0))
}

#[cfg(test)]
mod tests;
