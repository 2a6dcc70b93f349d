//! How steady replicas were: turns, changes, steps. A scale event is a change of what the HPA wants; what it takes to get
//! there, and how long, is judged elsewhere.

use std::ops::Range;

use super::Finding;
use super::context::{Context, SLOT_S};
use super::draft::{Draft, Limit, Untold, amount, at, seconds};
use crate::scenario::assertion::{
    Churn, Direction, FailSafe, FlapCount, Monotonic, NoReaction, ScaleEvents, ScaleStep,
};
use crate::steps::Change;

/// How far apart the receipts of two changes may be from the changes themselves, in seconds. Two steps of a policy's
/// period apart must not look like one because the first was seen late.
const RECEIPT_S: f64 = 1.0;

/// Turns: two consecutive events of opposite sign, at most a window apart.
pub(super) fn flap_count(
    context: &Context<'_>,
    draft: Draft,
    check: &FlapCount,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let events = events(context, &scope)?;
    let window_s = check.window.seconds();
    let flaps: Vec<_> = events
        .windows(2)
        .filter_map(|pair| match pair {
            [a, b] if a.is_up() != b.is_up() && b.t_s - a.t_s <= window_s => Some((a, b)),
            _ => None,
        })
        .collect();
    let limit = Limit::AtMost(f64::from(check.max));
    let (range, told) = match flaps.first() {
        None => (
            scope,
            format!("the HPA did not turn within {}", check.window),
        ),
        Some((first, second)) => (
            first.t_s..second.t_s,
            format!(
                "the HPA turned {} within {}: first {}, then {}",
                times(flaps.len()),
                check.window,
                step(first),
                step(second),
            ),
        ),
    };
    Ok(draft.over(range).judged(flaps.len() as f64, limit, told))
}

/// How many scale events there were.
pub(super) fn scale_events(
    context: &Context<'_>,
    draft: Draft,
    check: &ScaleEvents,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let mut events = events(context, &scope)?;
    events.retain(|event| goes(check.direction, event));
    let limit = Limit::AtMost(f64::from(check.max));
    let way = match check.direction {
        Direction::Any => "",
        Direction::Up => " out",
        Direction::Down => " in",
    };
    let told = format!("the HPA scaled{way} {}", times(events.len()));
    Ok(draft.over(scope).judged(events.len() as f64, limit, told))
}

/// The replicas that came or went: the sum of all changes without their signs.
pub(super) fn replica_churn(
    context: &Context<'_>,
    draft: Draft,
    check: &Churn,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let (churn, _) = churn(&events(context, &scope)?);
    let told = format!("{churn} replicas were added or taken away");
    let limit = Limit::AtMost(f64::from(check.max));
    Ok(draft
        .unit("pods")
        .over(scope)
        .judged(churn as f64, limit, told))
}

/// The churn above what the way from the first to the last number takes; 0 when replicas went only one way.
pub(super) fn churn_excess(
    context: &Context<'_>,
    draft: Draft,
    check: &Churn,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let (churn, net) = churn(&events(context, &scope)?);
    let excess = churn - net.unsigned_abs();
    let told = format!(
        "{churn} replicas were added or taken away for a difference of {net}, {excess} more than that takes"
    );
    let limit = Limit::AtMost(f64::from(check.max));
    Ok(draft
        .unit("pods")
        .over(scope)
        .judged(excess as f64, limit, told))
}

/// No event of the other sign.
pub(super) fn monotonic(
    context: &Context<'_>,
    draft: Draft,
    check: &Monotonic,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let events = events(context, &scope)?;
    let (up, down): (Vec<&Change>, Vec<&Change>) = events.iter().partition(|event| event.is_up());
    let against = match check.direction {
        Direction::Up => &down,
        Direction::Down => &up,
        // Whichever way it mostly went is the one that it should have gone.
        Direction::Any if up.len() < down.len() => &up,
        Direction::Any => &down,
    };
    let (range, told) = match against.first() {
        None => (scope, "replicas went only one way".to_owned()),
        Some(first) => (
            first.t_s..scope.end,
            format!(
                "the HPA turned back {}: first {}",
                times(against.len()),
                step(first)
            ),
        ),
    };
    Ok(draft
        .over(range)
        .judged(against.len() as f64, Limit::AtMost(0.0), told))
}

/// The changes of one direction within any period, against what is allowed of the replicas at its beginning.
pub(super) fn scale_step(
    context: &Context<'_>,
    draft: Draft,
    check: &ScaleStep,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let mut events = events(context, &scope)?;
    events.retain(|event| goes(check.direction, event));
    let period_s = (check.period.seconds() - RECEIPT_S).max(0.0);
    let worst = events
        .iter()
        .map(|first| {
            let within = events.iter().filter(|event| {
                event.is_up() == first.is_up()
                    && first.t_s <= event.t_s
                    && event.t_s <= first.t_s + period_s
            });
            let sum: u64 = within.map(|event| event.delta().unsigned_abs()).sum();
            (first, sum as f64, allowed(check, first.from))
        })
        .max_by(|a, b| (a.1 - a.2).total_cmp(&(b.1 - b.2)));
    let Some((first, sum, allowed)) = worst else {
        return Err(Untold::moot("the HPA did not scale"));
    };
    if check.pods.is_none() && check.percent.is_none() {
        return Err(Untold::unknown("the check says neither pods nor percent"));
    }
    let told = format!(
        "{} were {} within {} {}, from {}",
        amount(sum, "replicas"),
        if first.is_up() { "added" } else { "taken away" },
        check.period,
        at(first.t_s),
        first.from,
    );
    let range = first.t_s..(first.t_s + check.period.seconds()).min(scope.end);
    Ok(draft
        .unit("pods")
        .over(range)
        .judged(sum, Limit::AtMost(allowed), told))
}

/// No scale event from the beginning of the stretch until some time after its end.
pub(super) fn no_reaction(
    context: &Context<'_>,
    draft: Draft,
    check: &NoReaction,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let end_s = scope.end + check.after.seconds();
    let seen = scope.start..end_s.min(context.end_s());
    let events = events(context, &seen)?;
    if events.is_empty() && seen.end + SLOT_S < end_s {
        return Err(Untold::unknown(format!(
            "the run ended {} after {}, and {} is to be looked at",
            seconds(seen.end - scope.end),
            check.scope,
            check.after,
        )));
    }
    let told = match events.first() {
        None => format!("the HPA did not react to {}", check.scope),
        Some(first) => format!(
            "the HPA reacted to {} {}: first {}",
            check.scope,
            times(events.len()),
            step(first)
        ),
    };
    Ok(draft
        .over(seen)
        .judged(events.len() as f64, Limit::AtMost(0.0), told))
}

/// No scale-in while the metric cannot be read, and, where the check says so, no scale-out.
pub(super) fn fail_safe(
    context: &Context<'_>,
    draft: Draft,
    check: &FailSafe,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.during)?;
    let outages = outages(context, &scope)?;
    let (Some(first), Some(last)) = (outages.first(), outages.last()) else {
        return Err(Untold::moot(format!(
            "the metric could be read all through {}",
            check.during
        )));
    };
    let range = first.start..last.end;
    let mut events = Vec::new();
    for outage in &outages {
        events.extend(self::events(context, outage)?);
    }
    events.retain(|event| check.hold || !event.is_up());
    let told = match events.first() {
        None => "the HPA kept its replicas while the metric could not be read".to_owned(),
        Some(first) => format!(
            "the HPA scaled {} while the metric could not be read: first {}",
            times(events.len()),
            step(first)
        ),
    };
    Ok(draft
        .over(range)
        .judged(events.len() as f64, Limit::AtMost(0.0), told))
}

/// The stretches of `scope` in which the metric could not be read: from a second after the first failed read, as what the
/// HPA decided just before is seen a little later, to the next good one.
fn outages(context: &Context<'_>, scope: &Range<f64>) -> Result<Vec<Range<f64>>, Untold> {
    let metric = context.service.metric();
    let reads = metric
        .map(|metric| metric.reads.as_slice())
        .unwrap_or_default();
    let within: Vec<_> = reads
        .iter()
        .filter(|read| scope.contains(&read.t_s))
        .collect();
    if within.is_empty() {
        return Err(Untold::unknown("the metric was not read"));
    }
    let mut outages = Vec::new();
    for reads in within.chunk_by(|a, b| a.value.is_some() == b.value.is_some()) {
        let (Some(first), None) = (reads.first(), reads.first().and_then(|read| read.value)) else {
            continue;
        };
        let next = within
            .iter()
            .find(|read| first.t_s < read.t_s && read.value.is_some());
        let end_s = next.map_or(scope.end, |read| read.t_s);
        let outage = first.t_s + RECEIPT_S..end_s;
        if outage.start < outage.end {
            outages.push(outage);
        }
    }
    Ok(outages)
}

/// The scale events of a stretch in which `desired` was seen.
fn events(context: &Context<'_>, range: &Range<f64>) -> Result<Vec<Change>, Untold> {
    let (_, known_s) = context.desired()?.integral(range.clone());
    match 0.0 < known_s {
        true => context.scale_events(range.clone()),
        false => Err(Untold::unknown(
            "the HPA's desired replicas were not seen there",
        )),
    }
}

fn goes(direction: Direction, event: &Change) -> bool {
    match direction {
        Direction::Any => true,
        Direction::Up => event.is_up(),
        Direction::Down => !event.is_up(),
    }
}

/// The sum of changes without their signs, and with them.
fn churn(events: &[Change]) -> (u64, i64) {
    let deltas = events.iter().map(Change::delta);
    (deltas.clone().map(i64::unsigned_abs).sum(), deltas.sum())
}

/// The replicas that may come or go within a period that begins with `from`. An HPA rounds a percentage up, both ways.
fn allowed(check: &ScaleStep, from: u32) -> f64 {
    let pods = check.pods.map(f64::from);
    // A hair less, so that 10 % of 30 is 3 and not 4.
    let percent = check
        .percent
        .map(|percent| (f64::from(from) * percent / 100.0 - 1e-9).ceil());
    pods.into_iter().chain(percent).fold(0.0, f64::max)
}

fn step(change: &Change) -> String {
    format!("from {} to {} {}", change.from, change.to, at(change.t_s))
}

fn times(count: usize) -> String {
    match count {
        1 => "once".into(),
        2 => "twice".into(),
        count => format!("{count} times"),
    }
}
