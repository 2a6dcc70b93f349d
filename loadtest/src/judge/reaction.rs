//! How soon something happened: checks 1 to 8. Each waits for a moment; how long a wait may be, and what is known of it,
//! is judged in one place, [`Wait`].

use std::ops::Range;

use super::context::Context;
use super::draft::{Draft, Limit, Untold, at, number, seconds};
use super::waited::{Happened, Wait, Waited, first, for_good};
use super::{Finding, Outcome};
use crate::recording::{Gap, Metric};
use crate::scenario::Anchor;
use crate::scenario::assertion::{
    DecisionLatency, NoScaleInBefore, TimeToFirstScaleOut, TimeToMetricBreach, TimeToReady,
    TimeToReplicas, TimeToScaleIn, TimeToTraffic,
};
use crate::steps::Change;

/// The ratio to the target within which an HPA does nothing, where it was not told another.
const TOLERANCE: f64 = 0.1;

/// How often a metric is read where the scenario does not say: as often as the observer does by default.
const METRIC_INTERVAL_S: f64 = 2.0;

/// A read may be late by as much as two others take before what lies between two reads counts as not seen.
const READS_MISSED_MAX: f64 = 3.0;

/// 1. From a moment to the metric's being above its target.
pub(super) fn time_to_metric_breach(
    context: &Context<'_>,
    draft: Draft,
    check: &TimeToMetricBreach,
) -> Result<Finding, Untold> {
    let from_s = context.anchor(&check.from)?;
    let metric = metric(context)?;
    let waited = breach(
        metric,
        from_s..context.end_s(),
        tolerance(context, check.tolerance),
    );
    let wait = Wait {
        from_s,
        from: check.from.to_string(),
        what: format!("{} was above its target", metric.name),
        max_s: check.max.seconds(),
        resolution_s: match waited {
            Waited::For(happened) => read_resolution(context, happened),
            Waited::InVain { .. } => 0.0,
        },
    };
    wait.judge(context, draft, waited)
}

/// 2. From the metric's being above its target to the HPA's wanting more.
pub(super) fn decision_latency(
    context: &Context<'_>,
    draft: Draft,
    check: &DecisionLatency,
) -> Result<Finding, Untold> {
    let from_s = context.anchor(&check.from)?;
    let breach = metric_breach(context, from_s, check.tolerance)?;
    let resolution_s = read_resolution(context, breach);
    if resolution_s < breach.at_s - breach.since_s {
        return Err(unseen("the metric", breach.since_s));
    }
    let desired = context.desired()?;
    // The HPA reads the metric at other moments than the observer: it may have seen the breach before.
    let before = desired.at(breach.since_s);
    let before = before.ok_or_else(|| unseen("what the HPA wanted", breach.since_s))?;
    let waited = first(desired, breach.since_s..context.end_s(), |n| before < n);
    let wait = Wait {
        from_s: breach.at_s,
        from: "the metric was above its target".into(),
        what: format!("the HPA wanted more than {before} pods"),
        max_s: check.max.seconds(),
        resolution_s,
    };
    wait.judge(context, draft, waited)
}

/// 3. From a moment to the HPA's wanting more.
pub(super) fn time_to_first_scale_out(
    context: &Context<'_>,
    draft: Draft,
    check: &TimeToFirstScaleOut,
) -> Result<Finding, Untold> {
    let from_s = context.anchor(&check.from)?;
    let desired = context.desired()?;
    let before = desired
        .at(from_s)
        .ok_or_else(|| unseen("what the HPA wanted", from_s))?;
    let waited = first(desired, from_s..context.end_s(), |n| before < n);
    let what = format!("the HPA wanted more than {before} pods");
    watched(from_s, &check.from, what, check.max.seconds()).judge(context, draft, waited)
}

/// 4. From each scale-out to as many more ready pods.
pub(super) fn time_to_ready(
    context: &Context<'_>,
    draft: Draft,
    check: &TimeToReady,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let max_s = check.max.seconds();
    let outs: Vec<Change> = context
        .desired()?
        .changes(scope)
        .filter(Change::is_up)
        .collect();
    if outs.is_empty() {
        return Err(Untold::moot("the HPA did not scale out"));
    }
    let mut waits = Vec::new();
    for out in &outs {
        if let Some(wait_s) = ready_after(context, out, max_s)? {
            waits.push((wait_s, out.t_s));
        }
    }
    waits.sort_by(|a, b| a.0.total_cmp(&b.0));
    let rank = (check.stat.fraction() * waits.len() as f64).ceil() as usize;
    let Some((wait_s, out_s)) = waits.get(rank.saturating_sub(1)).copied() else {
        return Err(Untold::unknown(
            "no scale-out had the time to be ready before it was taken back or the run ended",
        ));
    };
    let draft = draft
        .unit("s")
        .over(out_s..(out_s + wait_s).min(context.end_s()));
    let limit = Limit::AtMost(max_s);
    if wait_s.is_infinite() {
        let told = format!("the pods of the scale-out {} were never ready", at(out_s));
        return Ok(draft.without_value(limit, Outcome::Fail, told));
    }
    let which = if rank == waits.len() {
        "the slowest".into()
    } else {
        check.stat.to_string()
    };
    let told = format!(
        "{which} of {} scale-outs, that {}, had its pods ready after {}",
        waits.len(),
        at(out_s),
        seconds(wait_s)
    );
    Ok(draft.judged(wait_s, limit, told))
}

/// 5. From a new backend's being ready to its first good answer.
pub(super) fn time_to_traffic(
    context: &Context<'_>,
    draft: Draft,
    check: &TimeToTraffic,
) -> Result<Finding, Untold> {
    let from_s = context.anchor(&check.from)?;
    let max_s = check.max.seconds();
    let (mut known, mut young) = (Vec::new(), 0);
    for (address, backend) in &context.service.backends {
        let Some(ready_s) = backend.ready.iter().map(|gap| gap.from_s).reduce(f64::min) else {
            continue;
        };
        if ready_s <= from_s {
            continue;
        }
        let gone_s = backend
            .ready
            .iter()
            .map(|gap| gone_s(gap, context))
            .fold(ready_s, f64::max);
        match first_answer(context, address) {
            // Endpoints are seen by a watch, which may be behind the first answer itself.
            Some(first_s) => known.push(((first_s - ready_s).max(0.0), ready_s, address)),
            None if max_s < gone_s - ready_s => known.push((f64::INFINITY, ready_s, address)),
            None => young += 1,
        }
    }
    let worst = known.iter().max_by(|a, b| a.0.total_cmp(&b.0));
    let Some((wait_s, ready_s, address)) = worst.copied() else {
        return Err(match young {
            0 => Untold::moot(format!("no backend became ready after {}", check.from)),
            _ => Untold::unknown("the new backends were not there for long enough to have traffic"),
        });
    };
    let draft = draft
        .unit("s")
        .over(ready_s..(ready_s + wait_s).min(context.end_s()));
    if wait_s.is_infinite() {
        let told = format!(
            "backend {address}, ready {}, never gave an answer",
            at(ready_s)
        );
        return Ok(draft.without_value(Limit::AtMost(max_s), Outcome::Fail, told));
    }
    let told = format!(
        "the slowest of {} new backends, {address}, gave its first answer {} after it was ready {}",
        known.len(),
        seconds(wait_s),
        at(ready_s)
    );
    Ok(draft.judged(wait_s, Limit::AtMost(max_s), told))
}

/// 6. From a moment to so many ready pods.
pub(super) fn time_to_replicas(
    context: &Context<'_>,
    draft: Draft,
    check: &TimeToReplicas,
) -> Result<Finding, Untold> {
    let from_s = context.anchor(&check.from)?;
    let waited = first(context.ready()?, from_s..context.end_s(), |n| check.n <= n);
    let what = format!("{} pods were ready", check.n);
    watched(from_s, &check.from, what, check.max.seconds()).judge(context, draft, waited)
}

/// 7. From a moment to the HPA's wanting so few for good.
pub(super) fn time_to_scale_in(
    context: &Context<'_>,
    draft: Draft,
    check: &TimeToScaleIn,
) -> Result<Finding, Untold> {
    let [from_s, until_s] = [context.anchor(&check.from)?, context.anchor(&check.until)?];
    if until_s <= from_s {
        return Err(Untold::unknown(format!(
            "there is no time between {} and {}",
            check.from, check.until
        )));
    }
    let waited = for_good(context.desired()?, from_s..until_s, |n| n <= check.to);
    let what = format!("the HPA wanted {} pods or fewer for good", check.to);
    watched(from_s, &check.from, what, check.max.seconds()).judge(context, draft, waited)
}

/// 8. No scale-in for so long after a moment.
pub(super) fn no_scale_in_before(
    context: &Context<'_>,
    draft: Draft,
    check: &NoScaleInBefore,
) -> Result<Finding, Untold> {
    let from_s = context.anchor(&check.from)?;
    let (due_s, end_s) = (from_s + check.min.seconds(), context.end_s());
    let limit = Limit::AtLeast(check.min.seconds());
    let draft = draft.unit("s");
    let desired = context.desired()?;
    let mut gaps = desired
        .spans(from_s..due_s.min(end_s))
        .filter(|span| span.value.is_none());
    let after = |change: &Change| !change.is_up() && from_s < change.t_s;
    let first_in = desired.changes(from_s..end_s).find(after);
    let early_gap = gaps.find(|gap| first_in.is_none_or(|change| gap.from_s < change.t_s));
    match (first_in, early_gap) {
        // What was seen too early was too early, whatever happened out of sight before.
        (Some(change), gap) if gap.is_none() || change.t_s < due_s => {
            let waited_s = change.t_s - from_s;
            let told = format!(
                "the HPA wanted fewer pods, {} instead of {}, {} after {} {}",
                change.to,
                change.from,
                seconds(waited_s),
                check.from,
                at(from_s)
            );
            Ok(draft.over(from_s..change.t_s).judged(waited_s, limit, told))
        }
        (_, Some(gap)) => Err(unseen("what the HPA wanted", gap.from_s)),
        _ if end_s < due_s => Err(Untold::unknown(format!(
            "the HPA did not scale in, but the run ended {} after {}",
            seconds(end_s - from_s),
            check.from
        ))),
        _ => {
            let told = format!(
                "the HPA did not scale in after {} {}",
                check.from,
                at(from_s)
            );
            Ok(draft
                .over(from_s..end_s)
                .without_value(limit, Outcome::Pass, told))
        }
    }
}

/// The first moment from `from_s` on at which the metric was above its target, by the HPA's tolerance where none is given.
pub(super) fn metric_breach(
    context: &Context<'_>,
    from_s: f64,
    tolerance_: Option<f64>,
) -> Result<Happened, Untold> {
    let metric = metric(context)?;
    match breach(
        metric,
        from_s..context.end_s(),
        tolerance(context, tolerance_),
    ) {
        Waited::For(happened) => Ok(happened),
        Waited::InVain { unseen_s: None } => Err(Untold::moot(format!(
            "{} was never above its target",
            metric.name
        ))),
        Waited::InVain { .. } => Err(Untold::unknown(format!(
            "{} was not seen above its target, but not always seen",
            metric.name
        ))),
    }
}

/// How exactly a moment is told that was seen between two reads: to the time between them, unless reads are missing there.
fn read_resolution(context: &Context<'_>, happened: Happened) -> f64 {
    let observe = context.spec().and_then(|spec| spec.observe.as_ref());
    let interval_s = observe.map_or(METRIC_INTERVAL_S, |observe| {
        observe.metric_interval.seconds()
    });
    (happened.at_s - happened.since_s).min(READS_MISSED_MAX * interval_s)
}

/// The metric that the HPA scales on.
fn metric<'a>(context: &Context<'a>) -> Result<&'a Metric, Untold> {
    let metric = context
        .service
        .metric()
        .filter(|metric| !metric.reads.is_empty());
    metric.ok_or_else(|| Untold::unknown("the metric was not read"))
}

fn tolerance(context: &Context<'_>, own: Option<f64>) -> f64 {
    let autoscaler = context.service.autoscaler.as_ref();
    own.or(autoscaler.map(|autoscaler| autoscaler.tolerance_up))
        .unwrap_or(TOLERANCE)
}

/// The first read within `range` above the target, and the last good one before it.
fn breach(metric: &Metric, range: Range<f64>, tolerance: f64) -> Waited {
    let limit = metric.target * (1.0 + tolerance);
    let (mut last_good_s, mut unseen_s) = (None, None);
    for read in metric.reads.iter().take_while(|read| read.t_s < range.end) {
        match read.value {
            Some(value) if limit < value && range.start <= read.t_s => {
                let since_s = last_good_s
                    .unwrap_or(range.start)
                    .clamp(range.start, read.t_s);
                return Waited::For(Happened {
                    since_s,
                    at_s: read.t_s,
                });
            }
            Some(_) => last_good_s = Some(read.t_s),
            None if range.start <= read.t_s => unseen_s = unseen_s.or(Some(read.t_s)),
            None => {}
        }
    }
    Waited::InVain { unseen_s }
}

/// How long after a scale-out as many more pods were ready; infinite when they never were although there was time, `None`
/// when it was taken back, or the run ended, before it was due.
fn ready_after(context: &Context<'_>, out: &Change, max_s: f64) -> Result<Option<f64>, Untold> {
    let (ready, end_s) = (context.ready()?, context.end_s());
    let before = ready
        .at(out.t_s)
        .ok_or_else(|| unseen("how many pods were ready", out.t_s))?;
    let wanted = before + (out.to - out.from);
    let back_s = context
        .desired()?
        .changes(out.t_s..end_s)
        .find(|change| !change.is_up())
        .map(|change| change.t_s);
    let until_s = back_s.unwrap_or(end_s);
    match first(ready, out.t_s..until_s, |n| wanted <= n) {
        Waited::For(happened)
            if happened.since_s <= out.t_s + max_s && out.t_s + max_s < happened.at_s =>
        {
            match happened.since_s < happened.at_s {
                true => Err(unseen("how many pods were ready", happened.since_s)),
                false => Ok(Some(happened.at_s - out.t_s)),
            }
        }
        Waited::For(happened) => Ok(Some(happened.at_s - out.t_s)),
        Waited::InVain {
            unseen_s: Some(unseen_s),
        } if unseen_s <= out.t_s + max_s => Err(unseen("how many pods were ready", unseen_s)),
        Waited::InVain { .. } => Ok((out.t_s + max_s < until_s).then_some(f64::INFINITY)),
    }
}

/// When a backend stopped being ready, or the run ended.
fn gone_s(ready: &Gap, context: &Context<'_>) -> f64 {
    ready.to_s.unwrap_or(context.end_s())
}

/// When a backend gave its first good answer. Some observers know backends by their address alone, without a port.
fn first_answer(context: &Context<'_>, address: &str) -> Option<f64> {
    let endpoints = &context.service.load.endpoints;
    let endpoint = endpoints
        .iter()
        .find(|(of, _)| of.to_string() == address || of.ip().to_string() == address);
    endpoint.and_then(|(_, counts)| counts.first_ok_s)
}

/// A wait for what a watch tells at once.
fn watched(from_s: f64, from: &Anchor, what: String, max_s: f64) -> Wait {
    Wait {
        from_s,
        from: from.to_string(),
        what,
        max_s,
        resolution_s: 0.0,
    }
}

fn unseen(what: &str, t_s: f64) -> Untold {
    Untold::unknown(format!("nobody saw {what} at {} s", number(t_s)))
}
