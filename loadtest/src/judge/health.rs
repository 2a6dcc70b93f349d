//! How the metric and the controller did: whether values came, how old they were, whether they agree with what clients
//! saw, and whether the HPA could use them.

use std::ops::Range;

use super::Finding;
use super::context::Context;
use super::draft::{Draft, Limit, Untold, at, number, seconds};
use super::window::{Objective, Said};
use crate::recording::{Condition, Metric, Read};
use crate::scenario::Span;
use crate::scenario::assertion::{Failures, HpaConditions, MetricAccuracy, MetricHealth};

/// Within how much of what clients saw a metric lies, where a check does not say. A server does not see the way to it.
const ONE_SIDED: (f64, f64) = (0.5, 1.1);

/// How exactly a value's age is known, in seconds: the API writes whole seconds.
const TIMESTAMP_S: f64 = 1.0;

/// How often a metric is read where a scenario does not say, in seconds.
const READ_EVERY_S: f64 = 2.0;

/// The reason that an HPA has when it got no external metric.
const NO_METRIC: &str = "FailedGetExternalMetric";

/// A condition over a stretch.
struct Held<'a> {
    from_s: f64,
    to_s: f64,
    condition: &'a Condition,
}

/// The oldest value, the longest time without one, and how many reads failed.
pub(super) fn metric_health(
    context: &Context<'_>,
    draft: &Draft,
    check: &MetricHealth,
) -> Vec<Finding> {
    let found = context.scope(&check.scope).and_then(|scope| {
        let metric = read_metric(context, &scope)?;
        Ok((scope, metric))
    });
    let (scope, reads) = match found {
        Ok(found) => found,
        Err(untold) => return vec![draft.clone().untold(untold)],
    };
    let age = check
        .max_age
        .map(|max| age(&draft.part("age"), &scope, &reads, max));
    let gap = check
        .max_gap
        .map(|max| gap(context, draft.part("gap"), &scope, &reads, max));
    let errors = check
        .max_errors
        .map(|max| errors(draft.part("errors"), &scope, &reads, max));
    [age, gap, errors].into_iter().flatten().collect()
}

fn age(draft: &Draft, scope: &Range<f64>, reads: &[&Read], max: Span) -> Finding {
    let ages = reads
        .iter()
        .filter_map(|read| Some((read.age_s?, read.t_s)));
    let Some((age_s, t_s)) = ages.max_by(|a, b| a.0.total_cmp(&b.0)) else {
        let why = Untold::unknown("no value of the metric said how old it is");
        return draft.clone().untold(why);
    };
    let told = format!(
        "the oldest value of the metric was {} old, {}",
        seconds(age_s),
        at(t_s)
    );
    let draft = draft
        .clone()
        .unit("s")
        .resolution(TIMESTAMP_S)
        .over(scope.clone());
    draft.judged(age_s, Limit::AtMost(max.seconds()), told)
}

fn gap(
    context: &Context<'_>,
    draft: Draft,
    scope: &Range<f64>,
    reads: &[&Read],
    max: Span,
) -> Finding {
    let good = reads
        .iter()
        .filter(|read| read.value.is_some())
        .map(|read| read.t_s);
    let starts = std::iter::once(scope.start).chain(good.clone());
    let gaps = starts
        .zip(good.chain([scope.end]))
        .map(|(from_s, to_s)| from_s..to_s);
    let longest = gaps.max_by(|a, b| (a.end - a.start).total_cmp(&(b.end - b.start)));
    let longest = longest.unwrap_or(scope.clone());
    let gap_s = longest.end - longest.start;
    let told = format!(
        "there was no value of the metric for {} from {} on",
        seconds(gap_s),
        seconds(longest.start)
    );
    let observe = context.spec().and_then(|service| service.observe.as_ref());
    let every_s = observe.map_or(READ_EVERY_S, |observe| observe.metric_interval.seconds());
    let draft = draft.unit("s").resolution(every_s).over(longest);
    draft.judged(gap_s, Limit::AtMost(max.seconds()), told)
}

fn errors(draft: Draft, scope: &Range<f64>, reads: &[&Read], max: u32) -> Finding {
    let failed: Vec<_> = reads.iter().filter(|read| read.value.is_none()).collect();
    let why = failed.first().map(|read| {
        let error = read.error.as_deref().unwrap_or("there was no value");
        format!(", first {}: {error}", at(read.t_s))
    });
    let told = format!(
        "{} of {} reads of the metric failed{}",
        failed.len(),
        reads.len(),
        why.unwrap_or_default()
    );
    let limit = Limit::AtMost(f64::from(max));
    draft
        .over(scope.clone())
        .judged(failed.len() as f64, limit, told)
}

/// The share of reads whose value lies around what clients saw in the window that ends when the value was taken. Only good
/// answers count: a server does not measure those that it never gave.
pub(super) fn metric_accuracy(
    context: &Context<'_>,
    draft: Draft,
    check: &MetricAccuracy,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let metric = context.service.metric().ok_or_else(no_metric)?;
    let unit_s = unit_s(metric)?;
    let said = Said {
        quantile: check.quantile,
        target: Some(Span::default()), // which is no part of this
        window: check.window,
        max_window: None,
        failures: Failures::Exclude,
    };
    let objective = Objective::new(context, said)?;
    let windows = context.windows(objective);
    let reads = metric.reads.iter().filter(|read| scope.contains(&read.t_s));
    let mut ratios: Vec<f64> = reads
        .filter_map(|read| {
            let taken_s = read.t_s - read.age_s.unwrap_or(0.0);
            if taken_s < 1.0 {
                return None;
            }
            let second = taken_s as usize - 1; // the last one that had ended
            let seen = windows
                .of_second(second)
                .filter(|seen| 0.0 < seen.quantile_s)?;
            Some(read.value? * unit_s / seen.quantile_s)
        })
        .collect();
    if ratios.is_empty() {
        return Err(Untold::unknown(format!(
            "there was no value of the metric beside a {} of enough requests",
            objective.word()
        )));
    }
    ratios.sort_unstable_by(f64::total_cmp);
    let (low, high) = check.tolerance.map_or(ONE_SIDED, |by| (1.0 - by, 1.0 + by));
    let within = ratios
        .iter()
        .filter(|ratio| low <= **ratio && **ratio <= high)
        .count();
    let share = within as f64 / ratios.len() as f64;
    let told = format!(
        "{} % of {} values of the metric were between {} and {} times the {} of the clients; half of them were at most \
         {} times it",
        number(share * 100.0),
        ratios.len(),
        number(low),
        number(high),
        objective.word(),
        number(ratios[(ratios.len() - 1) / 2]),
    );
    Ok(draft
        .over(scope)
        .judged(share, Limit::AtLeast(check.min.get()), told))
}

/// `ScalingActive` and `AbleToScale` hold in all known seconds, with an external metric; `ScalingLimited` does not for
/// longer than allowed.
pub(super) fn hpa_conditions(
    context: &Context<'_>,
    draft: &Draft,
    check: &HpaConditions,
) -> Vec<Finding> {
    let scope = context.scope(&check.scope).and_then(|scope| {
        let settled = scope.start + check.settle.seconds()..scope.end;
        match settled.start < settled.end {
            true => Ok(settled),
            false => Err(Untold::unknown(format!(
                "{} is over before it has settled",
                check.scope
            ))),
        }
    });
    let scope = match scope {
        Ok(scope) => scope,
        Err(untold) => return vec![draft.clone().untold(untold)],
    };
    let conditions = &context.service.conditions;
    let healthy = healthy(draft, conditions, &scope);
    let limited = check
        .max_limited
        .map(|max| limited(draft.part("limited"), conditions, &scope, max));
    std::iter::once(healthy).chain(limited).collect()
}

fn healthy(draft: &Draft, conditions: &[Condition], scope: &Range<f64>) -> Finding {
    let [active, able] =
        ["ScalingActive", "AbleToScale"].map(|type_| held(conditions, type_, scope));
    if active.is_empty() || able.is_empty() {
        let missing = if active.is_empty() {
            "ScalingActive"
        } else {
            "AbleToScale"
        };
        let why = Untold::unknown(format!("the HPA's condition {missing} was not seen"));
        return draft.clone().untold(why);
    }
    let bad = |held: &&Held<'_>| {
        held.condition.status == Some(false) || held.condition.reason == NO_METRIC
    };
    let mut bad: Vec<_> = active.iter().chain(&able).filter(bad).collect();
    bad.sort_by(|a, b| a.from_s.total_cmp(&b.from_s));
    // Both conditions may be bad at once: that time counts once.
    let mut until_s = scope.start;
    let mut bad_s = 0.0;
    for held in &bad {
        bad_s += (held.to_s - held.from_s.max(until_s)).max(0.0);
        until_s = until_s.max(held.to_s);
    }
    let told = match bad.first() {
        None => "the HPA was able and active all the time".to_owned(),
        Some(first) => format!(
            "the HPA could not scale for {}: {}, {} was not true, {} ({})",
            seconds(bad_s),
            at(first.from_s),
            first.condition.type_,
            first.condition.reason,
            first.condition.message,
        ),
    };
    let range = bad
        .first()
        .map_or(scope.clone(), |first| first.from_s..until_s);
    let draft = draft.clone().unit("s").over(range);
    draft.judged(bad_s, Limit::AtMost(0.0), told)
}

fn limited(draft: Draft, conditions: &[Condition], scope: &Range<f64>, max: Span) -> Finding {
    let held = held(conditions, "ScalingLimited", scope);
    if held.is_empty() {
        let why = Untold::unknown("the HPA's condition ScalingLimited was not seen");
        return draft.untold(why);
    }
    let limited: Vec<_> = held
        .iter()
        .filter(|held| held.condition.status == Some(true))
        .collect();
    let limited_s: f64 = limited.iter().map(|held| held.to_s - held.from_s).sum();
    let why = limited
        .first()
        .map(|first| format!(", first {}: {}", at(first.from_s), first.condition.reason));
    let told = format!(
        "the HPA was at its limits for {}{}",
        seconds(limited_s),
        why.unwrap_or_default()
    );
    let draft = draft.unit("s").over(scope.clone());
    draft.judged(limited_s, Limit::AtMost(max.seconds()), told)
}

/// What a condition was over a stretch: each change holds until the next of its type.
fn held<'a>(conditions: &'a [Condition], type_: &str, scope: &Range<f64>) -> Vec<Held<'a>> {
    let of_type: Vec<_> = conditions
        .iter()
        .filter(|condition| condition.type_ == type_)
        .collect();
    let ends = of_type
        .iter()
        .skip(1)
        .map(|condition| condition.t_s)
        .chain([scope.end]);
    let held = of_type.iter().zip(ends).map(|(condition, end_s)| Held {
        from_s: condition.t_s.max(scope.start),
        to_s: end_s.min(scope.end),
        condition,
    });
    held.filter(|held| held.from_s < held.to_s).collect()
}

/// The reads of the metric within a stretch; at least one.
fn read_metric<'a>(context: &Context<'a>, scope: &Range<f64>) -> Result<Vec<&'a Read>, Untold> {
    let metric = context.service.metric().ok_or_else(no_metric)?;
    let reads: Vec<_> = metric
        .reads
        .iter()
        .filter(|read| scope.contains(&read.t_s))
        .collect();
    match reads.is_empty() {
        true => Err(Untold::unknown(format!(
            "the metric {} was not read there",
            metric.name
        ))),
        false => Ok(reads),
    }
}

fn no_metric() -> Untold {
    Untold::unknown("no metric of the HPA was observed")
}

/// What one of a latency metric is in seconds, by its name's end.
fn unit_s(metric: &Metric) -> Result<f64, Untold> {
    match metric.name.rsplit('_').next() {
        Some("ms" | "milliseconds") => Ok(1e-3),
        Some("s" | "seconds") => Ok(1.0),
        _ => Err(Untold::unknown(format!(
            "{} is no latency by its name, which would end with _ms or _seconds",
            metric.name
        ))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome::{Fail, Inconclusive, Pass};
    use super::super::fixture::Fixture;

    fn measured(values: &[(f64, Option<f64>)]) -> Fixture {
        Fixture::new(300).metric(values)
    }

    #[test]
    fn a_metric_is_fresh_complete_and_without_errors() {
        let check = json!({"metric_health": {"max_age": "5s", "max_gap": "10s", "max_errors": 3}});
        let outcomes = |run: Fixture| {
            let findings = run.findings(check.clone());
            let names: Vec<_> = findings
                .iter()
                .map(|finding| finding.name.as_str())
                .collect();
            assert_eq!(
                names,
                [
                    "metric_health[age]",
                    "metric_health[gap]",
                    "metric_health[errors]"
                ]
            );
            [
                findings[0].outcome,
                findings[1].outcome,
                findings[2].outcome,
            ]
        };
        assert_eq!(
            outcomes(measured(&[(0.0, Some(100.0))])),
            [Pass, Pass, Pass]
        );
        let gone = measured(&[(0.0, Some(100.0)), (100.0, None), (120.0, Some(100.0))]);
        assert_eq!(outcomes(gone), [Pass, Fail, Fail]);
        let mut old = measured(&[(0.0, Some(100.0))]);
        old.service().metrics[0].reads[70].age_s = Some(9.0);
        assert_eq!(outcomes(old), [Fail, Pass, Pass]);
    }

    #[test]
    fn a_gap_is_told_with_where_it_was_and_its_resolution() {
        let gone = measured(&[(0.0, Some(100.0)), (100.0, None), (120.0, Some(100.0))]);
        let gap = |max: &str| gone.finding(json!({"metric_health": {"max_gap": max}}));
        let finding = gap("22s");
        assert_eq!(
            (finding.value, finding.from_s, finding.to_s),
            (Some(22.0), Some(98.0), Some(120.0))
        );
        assert_eq!((finding.outcome, finding.marginal), (Pass, true));
        assert_eq!((gap("30s").outcome, gap("30s").marginal), (Pass, false));
        assert_eq!(gap("15s").outcome, Fail);
        let errors = gone.finding(json!({"metric_health": {"max_errors": 0}}));
        assert!(
            errors
                .sentence
                .contains("10 of 150 reads of the metric failed, first at 100 s: 404"),
            "{}",
            errors.sentence
        );
        let never = Fixture::new(300).finding(json!({"metric_health": {"max_errors": 0}}));
        assert_eq!(never.outcome, Inconclusive);
    }

    #[test]
    fn a_metric_agrees_with_what_clients_saw() {
        // Clients see 100 ms all the time.
        let outcome = |value: f64, tolerance: Option<f64>| {
            let check = json!({"metric_accuracy": {"tolerance": tolerance, "min": 0.9}});
            measured(&[(0.0, Some(value))]).finding(check).outcome
        };
        for (value, one_sided, both_ways) in [
            (45.0, Fail, Fail),
            (60.0, Pass, Fail),
            (105.0, Pass, Pass),
            (125.0, Fail, Pass),
        ] {
            assert_eq!(outcome(value, None), one_sided, "{value} ms");
            assert_eq!(
                outcome(value, Some(0.3)),
                both_ways,
                "{value} ms within 30 %"
            );
        }
        let half = measured(&[(0.0, Some(100.0)), (150.0, Some(300.0))]);
        let finding = half.finding(json!({"metric_accuracy": {"min": 0.6}}));
        assert_eq!(finding.outcome, Fail);
        assert!(
            (finding.value.unwrap() - 0.5).abs() < 0.01,
            "{}",
            finding.sentence
        );
        assert!(
            finding
                .sentence
                .contains("between 0.5 and 1.1 times the p95"),
            "{}",
            finding.sentence
        );
    }

    #[test]
    fn a_value_is_compared_with_the_window_that_it_is_of() {
        // The latency jumps at 100 s, the metric with it, and both are 20 s old when they are read.
        let mut run = Fixture::new(300)
            .load(100, 300, 100, 200)
            .metric(&[(0.0, Some(100.0)), (124.0, Some(200.0))]);
        for read in &mut run.service().metrics[0].reads {
            read.age_s = Some(20.0);
        }
        let finding = run
            .finding(json!({"metric_accuracy": {"window": "1s", "tolerance": 0.1, "min": 0.95}}));
        assert_eq!(finding.outcome, Pass, "{}", finding.sentence);
    }

    #[test]
    fn accuracy_needs_a_latency_and_requests() {
        let check = json!({"metric_accuracy": {"min": 0.9}});
        let mut rate = measured(&[(0.0, Some(100.0))]);
        rate.service().metrics[0].name = "request_rate".into();
        assert_eq!(rate.finding(check.clone()).outcome, Inconclusive);
        let idle = measured(&[(0.0, Some(100.0))]).load(0, 300, 0, 0);
        assert_eq!(idle.finding(check.clone()).outcome, Inconclusive);
        assert_eq!(Fixture::new(300).finding(check).outcome, Inconclusive);
    }

    fn conditions() -> Fixture {
        Fixture::new(300)
            .condition(-10.0, "ScalingActive", Some(true), "ValidMetricFound")
            .condition(-10.0, "AbleToScale", Some(true), "ReadyForNewScale")
            .condition(-10.0, "ScalingLimited", Some(false), "DesiredWithinRange")
    }

    #[test]
    fn an_hpa_must_be_able_in_all_known_seconds() {
        let check = |settle: &str| json!({"hpa_conditions": {"settle": settle}});
        assert_eq!(conditions().finding(check("0s")).outcome, Pass);
        let failing = conditions()
            .condition(
                20.0,
                "ScalingActive",
                Some(false),
                "FailedGetExternalMetric",
            )
            .condition(30.0, "AbleToScale", Some(false), "FailedGetScale")
            .condition(50.0, "ScalingActive", Some(true), "ValidMetricFound")
            .condition(60.0, "AbleToScale", Some(true), "ReadyForNewScale");
        let finding = failing.finding(check("0s"));
        assert_eq!(
            (finding.outcome, finding.value),
            (Fail, Some(40.0)),
            "{}",
            finding.sentence
        );
        assert_eq!((finding.from_s, finding.to_s), (Some(20.0), Some(60.0)));
        assert!(
            finding.sentence.contains("FailedGetExternalMetric"),
            "{}",
            finding.sentence
        );
        assert_eq!(
            failing.finding(check("60s")).outcome,
            Pass,
            "it had settled by then"
        );
        let unknown = conditions()
            .condition(20.0, "ScalingActive", None, "")
            .condition(50.0, "ScalingActive", Some(true), "ValidMetricFound");
        assert_eq!(
            unknown.finding(check("0s")).outcome,
            Pass,
            "unknown is not false"
        );
        assert_eq!(Fixture::new(300).finding(check("0s")).outcome, Inconclusive);
        assert_eq!(conditions().finding(check("300s")).outcome, Inconclusive);
    }

    #[test]
    fn the_time_at_the_limits_is_limited() {
        let limited = conditions()
            .condition(100.0, "ScalingLimited", Some(true), "TooManyReplicas")
            .condition(160.0, "ScalingLimited", Some(false), "DesiredWithinRange");
        let outcome = |max: &str| {
            let findings = limited.findings(json!({"hpa_conditions": {"max_limited": max}}));
            assert_eq!(findings[1].name, "hpa_conditions[limited]");
            (findings[1].outcome, findings[1].value)
        };
        assert_eq!(outcome("60s"), (Pass, Some(60.0)));
        assert_eq!(outcome("59s"), (Fail, Some(60.0)));
    }
}
