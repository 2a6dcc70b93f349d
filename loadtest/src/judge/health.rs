//! How the metric and the controller did: whether values came, how old they were, whether they agree with what clients
//! saw, and whether the HPA could use them.

use std::ops::Range;

use super::Finding;
use super::context::Context;
use super::draft::{Draft, Limit, Untold, at, number, seconds};
use super::window::Objective;
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
        format!("; the first {}: {error}", at(read.t_s))
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
    let any = Some(Span::default()); // a target is no part of this
    let (quantile, window) = (check.quantile, check.window);
    let objective = Objective::new(context, quantile, any, window, None, Failures::Exclude)?;
    let windows = context.windows(objective);
    let reads = metric.reads.iter().filter(|read| scope.contains(&read.t_s));
    let mut ratios: Vec<f64> = reads
        .filter_map(|read| {
            let taken_s = read.t_s - read.age_s.unwrap_or(0.0);
            let second = (taken_s.floor() - 1.0).max(0.0) as usize;
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
