//! What was seen of a service as lines over time: a point a second, in the units of the charts. A quantile is of the
//! trailing window that the objective speaks of, so that a line is over the objective where a band says so. Rates are
//! those at which requests came: where time ran faster, a second of the recording is a fraction of the wall's.

use super::svg::Point;
use crate::judge::drawn;
use crate::measured::Slot;
use crate::recording::Recording;
use crate::scenario::{Slo, Span};
use crate::steps::Steps;

/// The window of quantiles where no objective says another: short enough to see a step, long enough for a quantile.
const WINDOW: Slo = Slo {
    quantile: 0.95,
    target: Span::from_secs(1),
    window: Span::from_secs(10),
    max_window: Span::from_secs(60),
};

/// The lines of a service's load.
#[derive(Debug)]
pub(super) struct Series {
    /// How many seconds of the recording passed in one in which requests were counted.
    pub(super) speed: f64,
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
    /// The lines of a service.
    pub(super) fn of(recording: &Recording, name: &str) -> Self {
        let slots = recording
            .services
            .get(name)
            .map_or(&[][..], |service| &service.load.slots);
        let slo = recording.scenario.slo;
        let speed = recording.about.speed();
        let line = |value: &dyn Fn(&Slot) -> u64| {
            let values = slots.iter().map(|slot| Some(value(slot) as f64 * speed));
            middles().zip(values).collect()
        };
        let mut judged = vec![0.5, 0.95, 0.99];
        judged.extend(slo.map(|slo| slo.quantile));
        judged.sort_by(f64::total_cmp);
        judged.dedup();
        let quantiles = judged
            .into_iter()
            .map(|q| (q, quantile(slots, &slo.unwrap_or(WINDOW), q)));
        let quantiles: Vec<(f64, Vec<Point>)> = quantiles.collect();
        let over = |slo: Slo| {
            let judged = quantiles.iter().find(|(q, _)| *q == slo.quantile);
            judged.map(|(_, line)| violations(line, slo.target.seconds() * 1e3))
        };
        Self {
            speed,
            intended: line(&|slot| slot.counts.offered),
            sent: line(&|slot| slot.counts.offered - slot.counts.dropped),
            ok: line(&|slot| slot.counts.ok),
            errors: line(&|slot| slot.counts.errors() + slot.counts.dropped),
            violations: slo.and_then(over).unwrap_or_default(),
            quantiles,
            needed: needed(recording, name),
        }
    }
}

/// A number that changes in steps, as points from one change to the next.
pub(super) fn of_steps(steps: &Steps, end_s: f64) -> Vec<Point> {
    let spans = steps.spans(0.0..end_s);
    spans
        .map(|span| (span.from_s, span.value.map(f64::from)))
        .collect()
}

/// The middle of each second of the run.
fn middles() -> impl Iterator<Item = f64> {
    (0u32..).map(|second| f64::from(second) + 0.5)
}

/// A quantile in milliseconds, at the end of its window.
fn quantile(slots: &[Slot], slo: &Slo, q: f64) -> Vec<Point> {
    let ends = (1u32..).map(f64::from);
    let values = drawn::quantiles(slots, slo, q).into_iter();
    ends.zip(values.map(|seconds| seconds.map(|seconds| seconds * 1e3)))
        .collect()
}

/// The stretches of seconds whose window is over the limit.
fn violations(line: &[Point], limit_ms: f64) -> Vec<(f64, f64)> {
    let is_over = |point: &Point| point.1.is_some_and(|ms| limit_ms < ms);
    let stretches = line
        .chunk_by(|a, b| is_over(a) == is_over(b))
        .filter(|stretch| is_over(&stretch[0]));
    stretches
        .map(|stretch| (stretch[0].0 - 1.0, stretch[stretch.len() - 1].0))
        .collect()
}

fn needed(recording: &Recording, name: &str) -> Vec<Point> {
    let starts = (0u32..).map(f64::from);
    let values = drawn::needed(recording, name).into_iter();
    let mut steps: Vec<Point> = starts.zip(values.map(|n| Some(f64::from(n)))).collect();
    steps.dedup_by(|next, before| next.1 == before.1);
    steps
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured::ErrorClass;
    use crate::recording::About;
    use crate::report::fixture;

    #[test]
    fn the_judged_line_is_over_the_objective_where_the_band_is() {
        let recording = fixture::recording();
        let series = Series::of(&recording, "users");
        let [(from_s, to_s)] = series.violations[..] else {
            panic!("one violation, not {:?}", series.violations);
        };
        assert!(
            (120.0..123.0).contains(&from_s) && (157.0..172.0).contains(&to_s),
            "{from_s} to {to_s}"
        );
        let (_, judged) = &series.quantiles[1];
        let over = judged
            .iter()
            .filter(|(_, ms)| ms.is_some_and(|ms| 300.0 < ms));
        let over: Vec<f64> = over.map(|(t_s, _)| *t_s).collect();
        assert!(
            over.iter().all(|t_s| from_s <= *t_s && *t_s <= to_s),
            "{over:?}"
        );
        let most = series
            .needed
            .iter()
            .filter_map(|need| need.1)
            .fold(0.0, f64::max);
        assert!(
            (5.0..=6.0).contains(&most),
            "600 requests per second at 120 a pod are not {most} pods"
        );
    }

    #[test]
    fn rates_are_those_at_which_requests_came_however_fast_time_ran() {
        let mut recording = fixture::recording();
        let highest = |recording: &Recording| {
            let intended = Series::of(recording, "users").intended;
            intended
                .into_iter()
                .filter_map(|(_, rate)| rate)
                .fold(0.0, f64::max)
        };
        let told = highest(&recording);
        let facts = &mut recording.about.facts;
        facts.insert(About::SPEED.to_owned(), "10".to_owned());
        assert_eq!(highest(&recording), 10.0 * told);
    }

    #[test]
    fn failures_alone_are_a_violation() {
        let mut recording = fixture::recording();
        let late = |recording: &Recording| {
            let series = Series::of(recording, "users");
            series.violations.iter().any(|(from_s, _)| 490.0 < *from_s)
        };
        assert!(!late(&recording));
        let slots = &mut recording.services.get_mut("users").unwrap().load.slots;
        for slot in &mut slots[500..520] {
            let failed = slot.counts.ok / 10;
            slot.counts.ok -= failed;
            (0..failed).for_each(|_| slot.counts.count_error(ErrorClass::ServerStatus));
        }
        assert!(late(&recording));
    }
}
