//! How many replicas there were: checks 17 to 23. Where nobody looked for a while, the sentence says for how long; where
//! nobody ever looked, nothing can be told.

use std::ops::Range;

use super::Finding;
use super::context::Context;
use super::demand;
use super::draft::{Draft, Limit, Untold, at, number, seconds};
use super::waited::{Wait, for_good};
use crate::scenario::assertion::{
    PeakReplicas, Reference, ReplicaRatio, ReplicasWithin, SettlingTime, Whole,
};
use crate::steps::{Span, Steps};

/// The last part of a stretch, whose most usual number of replicas is the settled one.
const SETTLED_S: f64 = 60.0;

/// One of the numbers that have a bound: what it is, as the subject of a sentence, and the bound.
type Bounded<'a> = (&'static str, &'a Steps, u32);

/// On which side of its bound a number must not be.
#[derive(Debug, Clone, Copy)]
enum Side {
    Above,
    Below,
}

impl Side {
    /// How far a number is past its bound; at most 0 when it is not.
    fn past(self, value: u32, bound: u32) -> i64 {
        match self {
            Self::Above => i64::from(value) - i64::from(bound),
            Self::Below => i64::from(bound) - i64::from(value),
        }
    }

    fn limit(self, bound: u32) -> Limit {
        match self {
            Self::Above => Limit::AtMost(f64::from(bound)),
            Self::Below => Limit::AtLeast(f64::from(bound)),
        }
    }

    fn word(self) -> &'static str {
        match self {
            Self::Above => "at most",
            Self::Below => "at least",
        }
    }
}

/// 17. Never more than the HPA's `maxReplicas`.
pub(super) fn never_above_max(
    context: &Context<'_>,
    draft: Draft,
    check: &Whole,
) -> Result<Finding, Untold> {
    let autoscaler = context.autoscaler()?;
    let max = autoscaler.max_replicas;
    let replicas = &context.service.replicas;
    let bounded = [
        ("the HPA wanted", &replicas.desired, max),
        ("the scale target was told", &replicas.spec, max),
        // A rollout has some pods above what is wanted, and that is its right.
        (
            "there were ready",
            &replicas.ready,
            max.saturating_add(autoscaler.max_surge),
        ),
    ];
    never(context, draft, check, Side::Above, &bounded)
}

/// 18. Never fewer than the HPA's `minReplicas`. Ready pods are not looked at: a pod that fails is not the HPA's doing.
pub(super) fn never_below_min(
    context: &Context<'_>,
    draft: Draft,
    check: &Whole,
) -> Result<Finding, Untold> {
    let min = context.autoscaler()?.min_replicas;
    let replicas = &context.service.replicas;
    let bounded = [
        ("the HPA wanted", &replicas.desired, min),
        ("the scale target was told", &replicas.spec, min),
    ];
    never(context, draft, check, Side::Below, &bounded)
}

/// That none of these is ever past its bound; tells of the one that is furthest.
fn never(
    context: &Context<'_>,
    draft: Draft,
    check: &Whole,
    side: Side,
    bounded: &[Bounded<'_>],
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let extremes = bounded.iter().filter_map(|(what, steps, bound)| {
        let span = extreme(steps, &scope, |value| side.past(value, *bound))?;
        let value = span.value?;
        Some((side.past(value, *bound), what, value, *bound, span))
    });
    let worst = extremes.reduce(|a, b| if b.0 <= a.0 { a } else { b });
    let (_, what, value, bound, span) = worst.ok_or_else(nobody_looked)?;
    let told = format!(
        "{what} {value} pods {}, first {}{}",
        side.word(),
        at(span.from_s.max(0.0)),
        unseen(&context.service.replicas.desired, &scope)
    );
    let draft = draft.unit("pods").over(span.from_s..span.to_s);
    Ok(draft.judged(f64::from(value), side.limit(bound), told))
}

/// 19. The most that the HPA wanted.
pub(super) fn peak_replicas(
    context: &Context<'_>,
    draft: Draft,
    check: &PeakReplicas,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let desired = context.desired()?;
    let peak = extreme(desired, &scope, i64::from).ok_or_else(nobody_looked)?;
    let value = peak.value.ok_or_else(nobody_looked)?;
    let told = format!(
        "the HPA wanted {value} pods at most, first {}",
        at(peak.from_s)
    );
    let told = told + &unseen(desired, &scope);
    let draft = draft.unit("pods").over(peak.from_s..peak.to_s);
    Ok(draft.judged(f64::from(value), between(check.between), told))
}

/// 20. Ready pods within two bounds all the time.
pub(super) fn replicas_within(
    context: &Context<'_>,
    draft: Draft,
    check: &ReplicasWithin,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let scope = scope.start + check.settle.seconds()..scope.end;
    if scope.end <= scope.start {
        return Err(Untold::unknown(format!(
            "{} is over before {} have passed",
            check.scope, check.settle
        )));
    }
    let ready = context.ready()?;
    let [min, max] = check.between.map(i64::from);
    let outside = |value: u32| (min - i64::from(value)).max(i64::from(value) - max);
    let worst = extreme(ready, &scope, outside).ok_or_else(nobody_looked)?;
    let value = worst.value.ok_or_else(nobody_looked)?;
    let told = match outside(value) {
        ..=0 => format!("the ready pods stayed within bounds, with {value} nearest to one"),
        _ => format!(
            "{value} pods were ready from {} to {}",
            number(worst.from_s),
            seconds(worst.to_s)
        ),
    };
    let told = told + &unseen(ready, &scope);
    let draft = draft.unit("pods").over(worst.from_s..worst.to_s);
    Ok(draft.judged(f64::from(value), between(check.between), told))
}

/// 21. How many more the HPA wanted at most than was right.
pub(super) fn overshoot_ratio(
    context: &Context<'_>,
    draft: Draft,
    check: &ReplicaRatio,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let desired = context.desired()?;
    let (right, how) = right_number(context, &scope, check.against)?;
    let peak = extreme(desired, &scope, i64::from).ok_or_else(nobody_looked)?;
    let value = peak.value.ok_or_else(nobody_looked)?;
    let ratio = f64::from(value) / f64::from(right) - 1.0;
    let told = format!(
        "the HPA wanted {value} pods at most where {right} {how}, {} times as many again",
        number(ratio)
    );
    let told = told + &unseen(desired, &scope);
    Ok(draft
        .over(peak.from_s..peak.to_s)
        .judged(ratio, Limit::AtMost(check.max), told))
}

/// 22. How far the HPA fell below what was right, once it had wanted as many.
pub(super) fn undershoot_ratio(
    context: &Context<'_>,
    draft: Draft,
    check: &ReplicaRatio,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let desired = context.desired()?;
    let (right, how) = right_number(context, &scope, check.against)?;
    let reached = desired
        .spans(scope.clone())
        .find(|span| span.value.is_some_and(|value| right <= value));
    let Some(reached) = reached else {
        return Err(Untold::moot(format!(
            "the HPA never wanted the {right} pods that {how}"
        )));
    };
    let after = reached.from_s..scope.end;
    let low = extreme(desired, &after, |value| -i64::from(value)).ok_or_else(nobody_looked)?;
    let value = low.value.ok_or_else(nobody_looked)?;
    let ratio = (1.0 - f64::from(value) / f64::from(right)).max(0.0);
    let told = format!(
        "once it had wanted {right} pods, which {how}, the HPA wanted {value} at least, {} of them too few",
        number(ratio)
    );
    let told = told + &unseen(desired, &after);
    Ok(draft
        .over(low.from_s..low.to_s)
        .judged(ratio, Limit::AtMost(check.max), told))
}

/// 23. How long it took to come near the number at the end for good.
pub(super) fn settling_time(
    context: &Context<'_>,
    draft: Draft,
    check: &SettlingTime,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let desired = context.desired()?;
    let last = desired
        .spans(scope.clone())
        .last()
        .and_then(|span| span.value);
    let last = last.ok_or_else(|| {
        Untold::unknown(format!(
            "nobody saw what the HPA wanted at the end of {}",
            check.scope
        ))
    })?;
    let waited = for_good(desired, scope.clone(), |value| {
        value.abs_diff(last) <= check.band
    });
    let wait = Wait {
        from_s: scope.start,
        from: format!("the beginning of {}", check.scope),
        what: match check.band {
            0 => format!("the HPA had settled on {last} pods"),
            band => format!("the HPA had settled within {band} of {last} pods"),
        },
        max_s: check.max.seconds(),
        resolution_s: 0.0,
    };
    wait.judge(context, draft, waited)
}

/// The first of the known stretches within `range` whose number weighs most.
fn extreme(steps: &Steps, range: &Range<f64>, weight: impl Fn(u32) -> i64) -> Option<Span> {
    let known = steps
        .spans(range.clone())
        .filter_map(|span| Some((weight(span.value?), span)));
    let heaviest = known.reduce(|a, b| if b.0 <= a.0 { a } else { b });
    heaviest.map(|(_, span)| span)
}

/// How many replicas are right for a stretch, and why, as the end of a sentence about them.
fn right_number(
    context: &Context<'_>,
    scope: &Range<f64>,
    against: Option<Reference>,
) -> Result<(u32, &'static str), Untold> {
    let has_demand = context.spec().is_some_and(|spec| spec.demand.is_some());
    let default = if has_demand {
        Reference::Needed
    } else {
        Reference::Settled
    };
    match against.unwrap_or(default) {
        Reference::Needed => {
            let needed = demand::needed(context)?;
            let within = needed.get(context.slots(scope)).unwrap_or_default();
            let most = within.iter().copied().max().ok_or_else(nobody_looked)?;
            Ok((most, "were needed"))
        }
        Reference::Settled => {
            let settled = settled(context.desired()?, scope).ok_or_else(nobody_looked)?;
            Ok((settled.max(1), "were settled on"))
        }
    }
}

/// The number that held for the longest time of the last minute; the larger of two that held equally long.
fn settled(steps: &Steps, scope: &Range<f64>) -> Option<u32> {
    let last = (scope.end - SETTLED_S).max(scope.start)..scope.end;
    let mut held: Vec<(u32, f64)> = Vec::new();
    for span in steps.spans(last) {
        let Some(value) = span.value else { continue };
        match held.iter_mut().find(|(of, _)| *of == value) {
            Some((_, seconds)) => *seconds += span.seconds(),
            None => held.push((value, span.seconds())),
        }
    }
    let longest = held
        .into_iter()
        .max_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
    longest.map(|(value, _)| value)
}

fn between(bounds: [u32; 2]) -> Limit {
    let [min, max] = bounds.map(f64::from);
    Limit::Between(min, max)
}

/// For how long nobody looked, as the end of a sentence; nothing where somebody always did.
fn unseen(steps: &Steps, range: &Range<f64>) -> String {
    let (_, known_s) = steps.integral(range.clone());
    let unseen_s = range.end - range.start - known_s;
    // Sums of seconds are not exact; less than a millisecond is nothing.
    match unseen_s < 1e-3 {
        true => String::new(),
        false => format!(" (nobody looked for {})", seconds(unseen_s)),
    }
}

fn nobody_looked() -> Untold {
    Untold::unknown("nobody looked at the replicas then")
}

#[cfg(test)]
mod tests;
