//! Whether users were served well: checks 9 to 16. A request that failed is slower than any limit, unless a check says
//! otherwise, and a window that holds too few requests says nothing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::Finding;
use super::context::{Context, SLOT_S};
use super::draft::{Draft, Limit, Untold, amount, at, number, seconds};
use super::window::{Objective, Windows, latency as shown, quantile_of, word};
use crate::measured::{Counts, ErrorClass, Slot};
use crate::scenario::assertion::{
    ColdStartPenalty, ErrorBudget, ErrorRate, FailureClass, Latency, ScaleEventErrors,
    SloRecoveryTime, SloViolation,
};
use crate::scenario::{Quantile, Share};

/// How exactly a latency is told, as a share of itself: as the histograms that it comes from.
const LATENCY_RESOLUTION: f64 = 0.001;

/// The quantile by which young pods are compared with old ones.
const COLD_QUANTILE: f64 = 0.95;

/// 9. From the first breach of the objective to its being met again for good.
pub(super) fn recovery_time(
    context: &Context<'_>,
    draft: Draft,
    check: &SloRecoveryTime,
) -> Result<Finding, Untold> {
    let from_s = context.anchor(&check.from)?;
    let objective = Objective::new(
        context,
        check.quantile,
        check.target,
        check.window,
        check.max_window,
        check.failures,
    )?;
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
        return Ok(draft.over(run).judged(0.0, limit, told));
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

/// 10. Seconds in which the objective was missed.
pub(super) fn violation_seconds(
    context: &Context<'_>,
    draft: Draft,
    check: &SloViolation,
) -> Result<Finding, Untold> {
    let (scope, objective) = violation_terms(context, check)?;
    let seen = Violations::count(context, &scope, objective, check.max_error);
    let draft = draft.unit("s").resolution(SLOT_S).over(seen.marked(&scope));
    let most = seen.bad + seen.unknown;
    if (seen.bad as f64) <= check.max && check.max < most as f64 {
        return Err(seen.untold());
    }
    Ok(draft.judged(
        seen.bad as f64,
        Limit::AtMost(check.max),
        seen.told(objective),
    ))
}

/// 11. The same as a share of the seconds that could be told.
pub(super) fn violation_ratio(
    context: &Context<'_>,
    draft: Draft,
    check: &SloViolation,
) -> Result<Finding, Untold> {
    let (scope, objective) = violation_terms(context, check)?;
    let seen = Violations::count(context, &scope, objective, check.max_error);
    let known = seen.good + seen.bad;
    let all = (known + seen.unknown) as f64;
    let [least, most] = [seen.bad, seen.bad + seen.unknown].map(|bad| bad as f64 / all);
    if known == 0 || (least <= check.max && check.max < most) {
        return Err(seen.untold());
    }
    let draft = draft
        .resolution(SLOT_S / known as f64)
        .over(seen.marked(&scope));
    let ratio = seen.bad as f64 / known as f64;
    let told = format!("{}, {} of them", seen.told(objective), number(ratio));
    Ok(draft.judged(ratio, Limit::AtMost(check.max), told))
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

/// 15. Requests that failed near a scale-in or a new backend.
pub(super) fn scale_event_errors(
    context: &Context<'_>,
    draft: Draft,
    check: &ScaleEventErrors,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let within_s = check.within.seconds();
    let replicas = &context.service.replicas;
    // A pod that is ready is an endpoint a moment later; where endpoints are not seen, that is as near as it gets.
    let backends = if replicas.endpoints.is_empty() {
        &replicas.ready
    } else {
        &replicas.endpoints
    };
    let ins = context
        .desired()?
        .changes(scope.clone())
        .filter(|change| !change.is_up());
    let adds = backends
        .changes(scope.clone())
        .filter(|change| change.is_up());
    let events: Vec<f64> = ins.chain(adds).map(|change| change.t_s).collect();
    if events.is_empty() {
        return Err(Untold::moot(
            "there was neither a scale-in nor a new backend",
        ));
    }
    let is_near = |second: usize| {
        let start_s = second as f64;
        events
            .iter()
            .any(|t_s| t_s - within_s < start_s + SLOT_S && start_s <= t_s + within_s)
    };
    let near = context.slots(&scope).filter(|second| is_near(*second));
    let failed: u64 = near
        .map(|second| {
            failed_in(
                &context.service.load.slots[second].counts,
                FailureClass::Any,
            )
        })
        .sum();
    let told = format!(
        "{failed} requests failed within {} of {} scale-ins and new backends",
        seconds(within_s),
        events.len()
    );
    Ok(draft
        .over(scope)
        .judged(failed as f64, Limit::AtMost(check.max as f64), told))
}

/// 16. How much slower young pods are than old ones in the same seconds.
pub(super) fn cold_start_penalty(
    context: &Context<'_>,
    draft: Draft,
    check: &ColdStartPenalty,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let timeout = context.service.load.timeout;
    let (mut young, mut old) = (BTreeMap::new(), BTreeMap::new());
    for slot in slots(context, &scope)
        .iter()
        .filter(|slot| slot.young().next().is_some())
    {
        let young_here: BTreeMap<Duration, u64> = slot.young().collect();
        for (latency, count) in slot.latencies() {
            let of_young = young_here.get(&latency).copied().unwrap_or(0).min(count);
            *young.entry(latency).or_insert(0) += of_young;
            // Timeouts are among the latencies and are no answers.
            if timeout.is_zero() || latency < timeout {
                *old.entry(latency).or_insert(0) += count - of_young;
            }
        }
    }
    if young.is_empty() {
        return Err(Untold::moot("no pod was young"));
    }
    let [young, old] = [young, old].map(|latencies| quantile_of_answers(&latencies, COLD_QUANTILE));
    let [young_s, old_s] = [young?, old?];
    let ratio = young_s / old_s;
    let told = format!(
        "p95 of young pods was {}, {} times that of the others in the same seconds, {}",
        shown(young_s),
        number(ratio),
        shown(old_s)
    );
    let draft = draft
        .resolution(2.0 * LATENCY_RESOLUTION * ratio)
        .over(scope);
    Ok(draft.judged(ratio, Limit::AtMost(check.max), told))
}

/// Seconds by how the objective was met in them.
#[derive(Debug, Default)]
struct Violations {
    good: usize,
    bad: usize,
    unknown: usize,
    /// The longest stretch of bad seconds.
    longest: Range<usize>,
}

impl Violations {
    fn count(
        context: &Context<'_>,
        scope: &Range<f64>,
        objective: Objective,
        max_error: Option<Share>,
    ) -> Self {
        let windows = context.windows(objective);
        let mut seen = Self::default();
        let mut current = 0..0;
        for second in windows.seconds(scope) {
            let slot = &context.service.load.slots[second];
            match is_violated(&windows, slot, second, max_error) {
                Some(true) => {
                    let start = if current.end == second {
                        current.start
                    } else {
                        second
                    };
                    current = start..second + 1;
                    if seen.longest.len() < current.len() {
                        seen.longest = current.clone();
                    }
                    seen.bad += 1;
                }
                Some(false) => seen.good += 1,
                None => seen.unknown += 1,
            }
        }
        seen
    }

    /// What a report marks: the longest stretch, or all that was looked at.
    fn marked(&self, scope: &Range<f64>) -> Range<f64> {
        match self.longest.is_empty() {
            true => scope.clone(),
            false => self.longest.start as f64..self.longest.end as f64,
        }
    }

    fn told(&self, objective: Objective) -> String {
        format!(
            "{} of {} were not served within {} at {}",
            amount(self.bad as f64, "s"),
            amount((self.good + self.bad) as f64, "s"),
            shown(objective.target.seconds()),
            objective.word()
        )
    }

    fn untold(&self) -> Untold {
        Untold::unknown(format!(
            "{} missed the objective, and {} had too few requests to tell",
            seconds(self.bad as f64),
            seconds(self.unknown as f64)
        ))
    }
}

/// Whether users were not served well in a second; `None` where that is unknown. Where nobody asked, nobody was not.
fn is_violated(
    windows: &Windows,
    slot: &Slot,
    second: usize,
    max_error: Option<Share>,
) -> Option<bool> {
    if 0 < slot.counts.offered
        && slot.counts.ok == 0
        && 0 < failed_in(&slot.counts, FailureClass::Any)
    {
        return Some(true);
    }
    if let Some(window) = windows.of_second(second) {
        let too_many = max_error.is_some_and(|max| max.get() < window.failed_share);
        return Some(too_many || windows.misses(second) == Some(true));
    }
    // The first requests of a run are too few for a window of their own; the first one that can be told holds them.
    (slot.counts.offered == 0 || windows.is_told_later(second)).then_some(false)
}

fn violation_terms(
    context: &Context<'_>,
    check: &SloViolation,
) -> Result<(Range<f64>, Objective), Untold> {
    let objective = Objective::new(
        context,
        check.quantile,
        check.target,
        check.window,
        check.max_window,
        check.failures,
    )?;
    Ok((context.scope(&check.scope)?, objective))
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
    let within = slot
        .latencies()
        .take_while(|(latency, _)| *latency <= target);
    within
        .map(|(_, count)| count)
        .sum::<u64>()
        .min(slot.counts.ok)
}

fn failed_in(counts: &Counts, class: FailureClass) -> u64 {
    match class {
        FailureClass::Any => counts.errors() + counts.dropped,
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

fn quantile_of_answers(latencies: &BTreeMap<Duration, u64>, q: f64) -> Result<f64, Untold> {
    let total: u64 = latencies.values().sum();
    let enough = super::window::enough(q);
    if total < enough {
        return Err(too_few(total, enough));
    }
    let rank = (q * total as f64).ceil() as u64;
    let mut below = 0;
    let reached = latencies.iter().find(|(_, count)| {
        below += **count;
        rank <= below
    });
    reached
        .map(|(latency, _)| latency.as_secs_f64())
        .ok_or_else(|| too_few(total, enough))
}

fn too_few(total: u64, enough: u64) -> Untold {
    Untold::unknown(format!(
        "{total} requests are too few for this quantile, which takes {enough}"
    ))
}

fn percent(ratio: f64) -> String {
    format!("{} %", number(ratio * 100.0))
}
