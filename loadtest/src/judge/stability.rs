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
    let shrinks = match check.direction {
        Direction::Up => false,
        Direction::Down => true,
        // Whichever way it mostly went is the one that it should have gone.
        Direction::Any => up.len() < down.len(),
    };
    let against = if shrinks { &up } else { &down };
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome::{Fail, Inconclusive, Pass, Skipped};
    use super::super::fixture::Fixture;

    /// A run of ten minutes in which the HPA wanted these.
    fn desired(seen: &[(f64, u32)]) -> Fixture {
        Fixture::new(600).desired(seen)
    }

    fn up_and_down() -> Fixture {
        desired(&[(-60.0, 2), (100.0, 5), (250.0, 3), (560.0, 4)])
    }

    #[test]
    fn a_turn_is_a_flap_only_within_the_window() {
        let finding = up_and_down().finding(json!({"flap_count": {"max": 0}}));
        assert_eq!((finding.outcome, finding.value), (Fail, Some(1.0)));
        assert_eq!((finding.from_s, finding.to_s), (Some(100.0), Some(250.0)));
        assert_eq!(
            finding.sentence,
            "the HPA turned once within 5m: first from 2 to 5 at 100 s, then from 5 to 3 at 250 s; the limit is 0"
        );
        for (max, window, outcome) in [(1, "300s", Pass), (0, "149s", Pass), (1, "310s", Fail)] {
            let finding =
                up_and_down().finding(json!({"flap_count": {"max": max, "window": window}}));
            assert_eq!(finding.outcome, outcome, "{}", finding.sentence);
        }
        let same_way = desired(&[(-60.0, 2), (100.0, 5), (115.0, 8)]);
        assert_eq!(
            same_way.finding(json!({"flap_count": {"max": 0}})).outcome,
            Pass
        );
    }

    #[test]
    fn scale_events_count_by_their_direction() {
        for (direction, count) in [("any", 3.0), ("up", 2.0), ("down", 1.0)] {
            let at_most = |max: f64| {
                let check = json!({"scale_events": {"direction": direction, "max": max as u32}});
                up_and_down().finding(check)
            };
            assert_eq!(
                (at_most(count).outcome, at_most(count).value),
                (Pass, Some(count))
            );
            assert_eq!(at_most(count - 1.0).outcome, Fail);
        }
        let first = up_and_down().stage("high", 0.0, 200.0);
        let finding = first.finding(json!({"scale_events": {"scope": "stage(high)", "max": 1}}));
        assert_eq!(finding.outcome, Pass, "events of other stages do not count");
    }

    #[test]
    fn churn_counts_every_replica_and_its_excess_those_for_nothing() {
        let churn = up_and_down().finding(json!({"replica_churn": {"max": 5}}));
        assert_eq!((churn.outcome, churn.value), (Fail, Some(6.0)));
        let excess = up_and_down().finding(json!({"churn_excess": {"max": 4}}));
        assert_eq!((excess.outcome, excess.value), (Pass, Some(4.0)));
        let straight = desired(&[(-60.0, 2), (100.0, 5), (115.0, 8)]);
        assert_eq!(
            straight.finding(json!({"churn_excess": {"max": 0}})).value,
            Some(0.0)
        );
    }

    #[test]
    fn monotonic_allows_one_way() {
        let outcome = |seen: &[(f64, u32)], direction: &str| {
            let check = json!({"monotonic": {"direction": direction}});
            desired(seen).finding(check).outcome
        };
        let up = [(-60.0, 2), (100.0, 5), (115.0, 8)];
        let down = [(-60.0, 8), (100.0, 5), (115.0, 2)];
        assert_eq!(
            [
                outcome(&up, "up"),
                outcome(&up, "any"),
                outcome(&up, "down")
            ],
            [Pass, Pass, Fail]
        );
        assert_eq!(
            [
                outcome(&down, "up"),
                outcome(&down, "any"),
                outcome(&down, "down")
            ],
            [Fail, Pass, Pass]
        );
        let finding = up_and_down().finding(json!({"monotonic": {}}));
        assert_eq!((finding.outcome, finding.value), (Fail, Some(1.0)));
        assert!(
            finding.sentence.contains("first from 5 to 3 at 250 s"),
            "{}",
            finding.sentence
        );
    }

    #[test]
    fn a_step_is_what_one_period_brings() {
        let check =
            |period: &str| json!({"scale_step": {"pods": 4, "percent": 100, "period": period}});
        // The second change is seen a little less than a period after the first.
        let doubled = desired(&[(-60.0, 2), (100.0, 4), (114.6, 8)]);
        let finding = doubled.finding(check("15s"));
        assert_eq!(
            (finding.outcome, finding.value),
            (Pass, Some(4.0)),
            "{}",
            finding.sentence
        );
        let finding = doubled.finding(check("60s"));
        assert_eq!(
            (finding.outcome, finding.value),
            (Fail, Some(6.0)),
            "{}",
            finding.sentence
        );
        let jumped = desired(&[(-60.0, 2), (100.0, 9)]).finding(check("15s"));
        assert_eq!((jumped.outcome, jumped.limit.as_str()), (Fail, "<= 4 pods"));
        let tenth = json!({"scale_step": {"percent": 10, "direction": "down", "period": "60s"}});
        let shrunk = |to| {
            desired(&[(-60.0, 30), (100.0, to)])
                .finding(tenth.clone())
                .outcome
        };
        assert_eq!([shrunk(27), shrunk(26), shrunk(30)], [Pass, Fail, Skipped]);
    }

    #[test]
    fn a_blip_must_have_no_consequence() {
        let blip = |seconds: u32| Fixture::new(seconds).stage("blip", 100.0, 110.0);
        let check = |after: &str| json!({"no_reaction": {"scope": "stage(blip)", "after": after}});
        let late = blip(600).desired(&[(-60.0, 2), (140.0, 3)]);
        assert_eq!(late.finding(check("10s")).outcome, Pass);
        let finding = late.finding(check("60s"));
        assert_eq!((finding.outcome, finding.value), (Fail, Some(1.0)));
        assert_eq!((finding.from_s, finding.to_s), (Some(100.0), Some(170.0)));
        let before = blip(600).desired(&[(-60.0, 2), (90.0, 3)]);
        assert_eq!(before.finding(check("60s")).outcome, Pass);
        assert_eq!(
            blip(120).finding(check("60s")).outcome,
            Inconclusive,
            "the run was over too soon"
        );
    }

    #[test]
    fn replicas_are_kept_while_the_metric_is_missing() {
        let values = [(0.0, Some(100.0)), (100.0, None), (200.0, Some(100.0))];
        let outcome = |seen: &[(f64, u32)], hold: bool| {
            let run = desired(seen)
                .metric(&values)
                .event("down", 100.0, Some(220.0));
            run.finding(json!({"fail_safe": {"during": "event(down)", "hold": hold}}))
                .outcome
        };
        assert_eq!(outcome(&[(-60.0, 4), (150.0, 3)], false), Fail);
        assert_eq!(
            outcome(&[(-60.0, 4), (100.5, 3)], false),
            Pass,
            "that was decided before"
        );
        assert_eq!(
            outcome(&[(-60.0, 4), (210.0, 3)], false),
            Pass,
            "the metric was back"
        );
        assert_eq!(outcome(&[(-60.0, 4), (150.0, 5)], false), Pass);
        assert_eq!(outcome(&[(-60.0, 4), (150.0, 5)], true), Fail);

        let check = json!({"fail_safe": {"during": "event(down)"}});
        let never = desired(&[(-60.0, 4)]).event("down", 100.0, Some(200.0));
        assert_eq!(
            never.finding(check.clone()).outcome,
            Inconclusive,
            "nobody read the metric"
        );
        let there = never.metric(&[(0.0, Some(100.0))]);
        assert_eq!(
            there.finding(check).outcome,
            Skipped,
            "it was never missing"
        );
    }

    #[test]
    fn what_nobody_saw_was_not_steady() {
        let unseen = || Fixture::new(600).unseen(-61.0, 601.0);
        for check in [
            json!({"flap_count": {"max": 0}}),
            json!({"scale_events": {"max": 0}}),
            json!({"replica_churn": {"max": 0}}),
            json!({"churn_excess": {"max": 0}}),
            json!({"monotonic": {}}),
            json!({"scale_step": {"pods": 1, "period": "15s"}}),
            json!({"no_reaction": {"scope": "run"}}),
        ] {
            assert_eq!(
                unseen().finding(check.clone()).outcome,
                Inconclusive,
                "{check}"
            );
        }
    }
}
