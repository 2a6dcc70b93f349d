//! What was seen of a service as lines over time: a point a second, in the units of the charts. A quantile is of the
//! trailing window that the objective speaks of, so that a line is over the objective where a band says so.

use std::time::Duration;

use super::svg::Point;
use crate::measured::Measured;
use crate::recording::Service;
use crate::scenario::Slo;
use crate::steps::Steps;

/// The window of quantiles where no objective says another: short enough to see a step, long enough for a quantile.
const WINDOW_S: usize = 10;

/// Over how long the load is averaged to tell what it needed: single requests need no pod of their own.
const NEED_WINDOW_S: usize = 30;

/// Answers above a quantile for it to mean anything.
const ABOVE_MIN: f64 = 10.0;

/// The lines of a service's load.
#[derive(Debug)]
pub(super) struct Series {
    /// Requests that should have started, per second.
    pub(super) intended: Vec<Point>,
    /// Requests sent, per second.
    pub(super) sent: Vec<Point>,
    /// Good answers to them, per second.
    pub(super) ok: Vec<Point>,
    /// Failed ones, per second.
    pub(super) errors: Vec<Point>,
    /// Quantiles of latency in milliseconds, with the quantile, from the lowest.
    pub(super) quantiles: Vec<(f64, Vec<Point>)>,
    /// Where the objective did not hold, in seconds.
    pub(super) violations: Vec<(f64, f64)>,
    /// Replicas that the load needed, where what a pod can take is declared.
    pub(super) needed: Vec<Point>,
}

impl Series {
    /// The lines of `service`.
    pub(super) fn of(service: &Service, slo: Option<&Slo>, rps_per_pod: Option<f64>) -> Self {
        let load = &service.load;
        let line = |value: &dyn Fn(&crate::measured::Slot) -> u64| {
            let values = load.slots.iter().map(|slot| Some(value(slot) as f64));
            middles().zip(values).collect()
        };
        let mut judged = vec![0.5, 0.95, 0.99];
        judged.extend(slo.map(|slo| slo.quantile));
        judged.sort_by(f64::total_cmp);
        judged.dedup();
        Self {
            intended: line(&|slot| slot.counts.offered),
            sent: line(&|slot| slot.counts.offered - slot.counts.dropped),
            ok: line(&|slot| slot.counts.ok),
            errors: line(&|slot| slot.counts.errors() + slot.counts.dropped),
            quantiles: quantiles(load, slo, &judged),
            violations: slo.map_or(Vec::new(), |slo| violations(load, slo)),
            needed: rps_per_pod.map_or(Vec::new(), |rps| needed(load, rps)),
        }
    }
}

/// A number that changes in steps, as points from one change to the next.
pub(super) fn of_steps(steps: &Steps, end_s: f64) -> Vec<Point> {
    let spans = steps.spans(0.0..end_s);
    spans.map(|span| (span.from_s, span.value.map(f64::from))).collect()
}

/// The middle of each second of the run.
fn middles() -> impl Iterator<Item = f64> {
    (0u32..).map(|second| f64::from(second) + 0.5)
}

fn quantiles(load: &Measured, slo: Option<&Slo>, judged: &[f64]) -> Vec<(f64, Vec<Point>)> {
    let window_s = slo.map_or(WINDOW_S, |slo| seconds(slo.window.seconds()));
    let mut lines: Vec<(f64, Vec<Point>)> = judged.iter().map(|q| (*q, Vec::new())).collect();
    for end in 1..=load.slots.len() {
        let latencies = load.latencies_of(end.saturating_sub(window_s)..end);
        for (q, line) in &mut lines {
            let ms = latencies.quantile(*q).map(|latency| latency.as_secs_f64() * 1e3);
            line.push((end as f64, ms));
        }
    }
    lines
}

/// The stretches in which a trailing window did not meet the objective. A request without a good answer is slower than any
/// objective. A window with too few requests is widened as far as the objective allows, and else says nothing.
fn violations(load: &Measured, slo: &Slo) -> Vec<(f64, f64)> {
    let requests_min = (ABOVE_MIN / (1.0 - slo.quantile).max(f64::EPSILON)).ceil() as u64;
    let mut violations: Vec<(f64, f64)> = Vec::new();
    for end in 1..=load.slots.len() {
        let offered = |window_s: usize| -> u64 {
            let slots = &load.slots[end.saturating_sub(window_s)..end];
            slots.iter().map(|slot| slot.counts.offered).sum()
        };
        let widths = seconds(slo.window.seconds())..=seconds(slo.max_window.seconds().max(slo.window.seconds()));
        let Some(window_s) = widths.into_iter().find(|width| requests_min <= offered(*width)) else {
            continue;
        };
        let within = load.latencies_of(end.saturating_sub(window_s)..end).count_within(Duration::from(*slo.target));
        if slo.quantile <= within as f64 / offered(window_s) as f64 {
            continue;
        }
        let to_s = end as f64;
        match violations.last_mut() {
            Some((_, until_s)) if *until_s == to_s - 1.0 => *until_s = to_s,
            _ => violations.push((to_s - 1.0, to_s)),
        }
    }
    violations
}

fn needed(load: &Measured, rps_per_pod: f64) -> Vec<Point> {
    let offered: Vec<u64> = load.slots.iter().map(|slot| slot.counts.offered).collect();
    let need = |end: usize| {
        let window = &offered[end.saturating_sub(NEED_WINDOW_S)..end];
        let rate = window.iter().sum::<u64>() as f64 / window.len().max(1) as f64;
        (rate / rps_per_pod).ceil()
    };
    let points = (1..=offered.len()).map(|end| (end as f64 - 1.0, Some(need(end))));
    let mut steps: Vec<Point> = points.collect();
    steps.dedup_by(|next, before| next.1 == before.1);
    steps
}

/// Whole seconds, at least one.
fn seconds(seconds: f64) -> usize {
    (seconds.round() as usize).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_judged_line_is_over_the_objective_where_the_band_is() {
        let recording = fixture::recording();
        let slo = recording.scenario.slo.unwrap();
        let series = Series::of(&recording.services["users"], Some(&slo), Some(120.0));
        let [(from_s, to_s)] = series.violations[..] else {
            panic!("one violation, not {:?}", series.violations);
        };
        assert!((120.0..123.0).contains(&from_s) && (157.0..172.0).contains(&to_s), "{from_s} to {to_s}");
        let (_, judged) = &series.quantiles[1];
        let over = judged.iter().filter(|(_, ms)| ms.is_some_and(|ms| 300.0 < ms));
        let over: Vec<f64> = over.map(|(t_s, _)| *t_s).collect();
        assert!(over.iter().all(|t_s| from_s <= *t_s && *t_s <= to_s), "{over:?}");
        assert_eq!(series.needed.iter().map(|need| need.1).max_by(|a, b| a.partial_cmp(b).unwrap()), Some(Some(6.0)));
    }

    #[test]
    fn failures_alone_are_a_violation() {
        let recording = fixture::recording();
        let mut load = recording.services["users"].load.clone();
        for slot in &mut load.slots[500..520] {
            for _ in 0..slot.counts.offered / 10 {
                slot.counts.ok -= 1;
                slot.counts.offered += 1;
                slot.counts.dropped += 2;
            }
        }
        let slo = recording.scenario.slo.unwrap();
        let fast = |v: &(f64, f64)| 490.0 < v.0;
        assert!(violations(&load, &slo).iter().any(fast));
        assert!(!violations(&recording.services["users"].load, &slo).iter().any(fast));
    }
}
