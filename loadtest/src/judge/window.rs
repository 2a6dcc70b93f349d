//! Quantiles of latency over a window that trails behind each second of a run. One sliding histogram goes along the run
//! once, however long the window is, so a run of hours takes as many steps as it has distinct latencies in its seconds.
//!
//! A window says something only when it holds enough requests; one that does not reaches further back, and one that
//! still does not is unknown, which is neither good nor bad.

use std::ops::Range;
use std::time::Duration;

use super::context::Context;
use super::draft::Untold;
use crate::measured::Slot;
use crate::scenario::assertion::{Failures, SloRecoveryTime, SloViolation};
use crate::scenario::{Quantile, Span};

/// So many requests must lie above a quantile for a window to tell it: 200 requests for the 0.95-quantile, 1,000 for the
/// 0.99-quantile.
const ABOVE_MIN: f64 = 10.0;

/// Leading bits that tell two latencies apart, as in the histograms that they come from: a thousandth.
const BITS: u32 = 11;

/// Buckets up to the longest `u32` of microseconds.
const BUCKETS: usize = (((u32::BITS - BITS + 1) << (BITS - 1)) + (1 << (BITS - 1))) as usize;

/// Buckets that are summed up together, so that a quantile is found without looking at each.
const GROUP: usize = 256;

/// An objective of latency, with what a check says of it put in the scenario's place.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Objective {
    /// Above 0 and at most 1.
    pub(super) quantile: f64,
    /// The latency that the quantile must not be above.
    pub(super) target: Span,
    /// Over how long the quantile is taken.
    pub(super) window: Span,
    /// To what a window is widened that holds too few requests; not below `window`.
    pub(super) max_window: Span,
    /// What a failed request counts as.
    pub(super) failures: Failures,
}

/// The quantile of the window that ends at each second, in seconds; infinite where it lies among the failed requests,
/// `None` where there were too few to tell.
#[derive(Debug)]
pub(super) struct Windows {
    target_s: f64,
    /// The window that ends with second `n`, at `n + 1` seconds, from its first second on.
    windows: Vec<Option<Window>>,
    /// Whether a second is part of its own window or the next one that could be told.
    told_later: Vec<bool>,
}

/// A window that could be told.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Window {
    /// When it begins, in seconds.
    pub(super) start_s: f64,
    /// The quantile in seconds; infinite among the failed.
    pub(super) quantile_s: f64,
    /// The share of failed requests, whether or not the quantile counts them.
    pub(super) failed_share: f64,
}

/// What a check says of its objective; the scenario's objective says the rest.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Said {
    pub(super) quantile: Option<Quantile>,
    pub(super) target: Option<Span>,
    pub(super) window: Option<Span>,
    pub(super) max_window: Option<Span>,
    pub(super) failures: Failures,
}

impl From<&SloRecoveryTime> for Said {
    fn from(check: &SloRecoveryTime) -> Self {
        Self {
            quantile: check.quantile,
            target: check.target,
            window: check.window,
            max_window: check.max_window,
            failures: check.failures,
        }
    }
}

impl From<&SloViolation> for Said {
    fn from(check: &SloViolation) -> Self {
        Self {
            quantile: check.quantile,
            target: check.target,
            window: check.window,
            max_window: check.max_window,
            failures: check.failures,
        }
    }
}

impl Objective {
    /// That of the scenario.
    pub(super) fn of_scenario(context: &Context<'_>) -> Result<Self, Untold> {
        Self::new(context, Said::default())
    }

    /// What a check says, and that of the scenario for the rest.
    pub(super) fn new(context: &Context<'_>, said: impl Into<Said>) -> Result<Self, Untold> {
        let (said, slo) = (said.into(), context.recording.scenario.slo);
        let missing = |what| Untold::unknown(format!("neither the check nor `slo` says {what}"));
        let quantile = said.quantile.map(Quantile::fraction);
        let quantile = quantile.or(slo.map(|slo| slo.quantile));
        let target = said.target.or(slo.map(|slo| slo.target));
        let window = said.window.or(slo.map(|slo| slo.window));
        let window = window.ok_or_else(|| missing("a window"))?;
        let max_window = said.max_window.or(slo.map(|slo| slo.max_window));
        Ok(Self {
            quantile: quantile.ok_or_else(|| missing("a quantile"))?,
            target: target.ok_or_else(|| missing("a target"))?,
            window,
            max_window: max_window.unwrap_or(window).max(window),
            failures: said.failures,
        })
    }

    /// The word for its quantile, as `p95`.
    pub(super) fn word(&self) -> String {
        word(self.quantile)
    }
}

impl Windows {
    /// The windows of these slots.
    pub(super) fn new(slots: &[Slot], objective: Objective) -> Self {
        let mut sliding = Sliding::new(slots, objective.failures);
        let [window, widest] =
            [objective.window, objective.max_window].map(|span| whole_seconds(span).max(1));
        let enough = enough(objective.quantile);
        let windows: Vec<Option<Window>> = (0..slots.len())
            .map(|second| {
                let end = second + 1;
                sliding.push(second);
                let [latest, earliest] =
                    [window, widest].map(|seconds| end.saturating_sub(seconds));
                sliding.shrink(earliest, latest, enough);
                // A window that would begin before the run is shorter than asked for, and is told all the same if it can be.
                (enough <= sliding.requests).then(|| Window {
                    start_s: sliding.start as f64,
                    quantile_s: sliding.quantile(objective.quantile),
                    failed_share: sliding.failed_share(),
                })
            })
            .collect();
        Self {
            target_s: told_apart(*objective.target).as_secs_f64(),
            told_later: told_later(&windows),
            windows,
        }
    }

    /// The window that ends with this second of the run.
    pub(super) fn of_second(&self, second: usize) -> Option<Window> {
        self.windows.get(second).copied().flatten()
    }

    /// Whether the window that ends with this second misses the objective; `None` where that is unknown.
    pub(super) fn misses(&self, second: usize) -> Option<bool> {
        self.of_second(second)
            .map(|window| self.target_s < window.quantile_s)
    }

    /// The first window that misses the objective, of those that end within `range`: when it starts, but not before the
    /// range, and the second with which it ends.
    pub(super) fn first_breach(&self, range: Range<f64>) -> Option<(f64, usize)> {
        let second = self
            .seconds(&range)
            .find(|second| self.misses(*second) == Some(true))?;
        let start_s = self.of_second(second)?.start_s;
        Some((start_s.max(range.start), second))
    }

    /// Whether a second, whose own window cannot be told, is part of the next one that can.
    pub(super) fn is_told_later(&self, second: usize) -> bool {
        self.told_later.get(second).copied().unwrap_or(false)
    }

    /// The seconds that end within `range`, without its start.
    pub(super) fn seconds(&self, range: &Range<f64>) -> Range<usize> {
        // Saturating casts are meant: nothing is before the run.
        let start = range.start.floor() as usize;
        start..(range.end.floor() as usize).clamp(start, self.windows.len().max(start))
    }
}

/// The requests of neighbouring seconds, of which one can be added at the end and others taken from the beginning.
struct Sliding<'a> {
    slots: &'a [Slot],
    failures: Failures,
    /// The first second that is in it.
    start: usize,
    /// Requests whose end is known; those that failed among them unless they are excluded.
    requests: u64,
    /// Those of them with a good answer.
    good: u64,
    /// Those that failed, excluded or not.
    failed: u64,
    counts: Vec<u64>,
    groups: Vec<u64>,
}

impl<'a> Sliding<'a> {
    fn new(slots: &'a [Slot], failures: Failures) -> Self {
        Self {
            slots,
            failures,
            start: 0,
            requests: 0,
            good: 0,
            failed: 0,
            counts: vec![0; BUCKETS],
            groups: vec![0; BUCKETS.div_ceil(GROUP)],
        }
    }

    fn push(&mut self, second: usize) {
        let slot = &self.slots[second];
        self.requests += requests(slot, self.failures);
        self.good += slot.counts.ok;
        self.failed += slot.counts.failed();
        for (latency, count) in slot.latencies() {
            let bucket = bucket(latency);
            self.counts[bucket] += count;
            self.groups[bucket / GROUP] += count;
        }
    }

    /// Takes seconds from the beginning: all before `earliest`, and those before `latest` without which there are still
    /// enough requests.
    fn shrink(&mut self, earliest: usize, latest: usize, enough: u64) {
        while self.start < latest {
            let slot = &self.slots[self.start];
            let left = self.requests - requests(slot, self.failures);
            if earliest <= self.start && left < enough {
                return;
            }
            self.requests = left;
            self.good -= slot.counts.ok;
            self.failed -= slot.counts.failed();
            for (latency, count) in slot.latencies() {
                let bucket = bucket(latency);
                self.counts[bucket] -= count;
                self.groups[bucket / GROUP] -= count;
            }
            self.start += 1;
        }
    }

    fn failed_share(&self) -> f64 {
        self.failed as f64 / (self.good + self.failed).max(1) as f64
    }

    /// The `q`-quantile in seconds. Timeouts are among the latencies, but every good answer came before them.
    fn quantile(&self, q: f64) -> f64 {
        let rank = ((q * self.requests as f64).ceil() as u64).max(1);
        if self.good < rank {
            return f64::INFINITY;
        }
        let mut below = 0;
        let group = self.groups.iter().position(|count| {
            below += count;
            rank <= below
        });
        let Some(group) = group else {
            return f64::INFINITY;
        };
        below -= self.groups[group];
        let counts = self
            .counts
            .iter()
            .enumerate()
            .skip(group * GROUP)
            .take(GROUP);
        let mut reached = counts.skip_while(|(_, count)| {
            below += **count;
            below < rank
        });
        reached
            .next()
            .map_or(f64::INFINITY, |(bucket, _)| highest(bucket) as f64 / 1e6)
    }
}

fn told_later(windows: &[Option<Window>]) -> Vec<bool> {
    let mut next = None;
    let backwards = windows.iter().enumerate().rev().map(|(second, window)| {
        next = window.or(next);
        next.is_some_and(|window: Window| window.start_s <= second as f64)
    });
    let mut told: Vec<bool> = backwards.collect();
    told.reverse();
    told
}

/// The `q`-quantile of all requests of these slots, in seconds; infinite where it lies among the failed.
pub(super) fn quantile_of(slots: &[Slot], q: f64, failures: Failures) -> Result<f64, Untold> {
    let mut sliding = Sliding::new(slots, failures);
    (0..slots.len()).for_each(|second| sliding.push(second));
    let (requests, enough) = (sliding.requests, enough(q));
    match enough <= requests {
        true => Ok(sliding.quantile(q)),
        false => Err(Untold::unknown(format!(
            "{requests} requests are too few for {}, which takes {enough}",
            word(q)
        ))),
    }
}

/// So many requests must a window hold for the `q`-quantile: ten must lie above it.
pub(super) fn enough(q: f64) -> u64 {
    // The largest of all needs no more than one; the rounding keeps 10 / (1 - 0.95) at 200.
    match q < 1.0 {
        true => (ABOVE_MIN / (1.0 - q) - 1e-6).ceil() as u64,
        false => 1,
    }
}

/// The word for a quantile, as `p95`.
pub(super) fn word(q: f64) -> String {
    match q < 1.0 {
        true => format!("p{}", super::draft::number(q * 100.0)),
        false => "the longest".into(),
    }
}

/// A quantile for people.
pub(super) fn latency(seconds: f64) -> String {
    match seconds.is_finite() {
        true => super::draft::amount(seconds * 1e3, "ms"),
        false => "no answer".into(),
    }
}

/// The requests of a second whose end is known.
fn requests(slot: &Slot, failures: Failures) -> u64 {
    match failures {
        Failures::Infinite => slot.counts.ok + slot.counts.failed(),
        Failures::Exclude => slot.counts.ok,
    }
}

/// A span in seconds, rounded up: windows are made of whole seconds.
fn whole_seconds(span: Span) -> usize {
    span.seconds().ceil() as usize
}

/// The longest latency that cannot be told from this one: what is within that is within the limit.
pub(super) fn told_apart(limit: Duration) -> Duration {
    Duration::from_micros(highest(bucket(limit)))
}

/// The bucket of a latency: exact below 2,048 microseconds, then to eleven leading bits.
fn bucket(latency: Duration) -> usize {
    let micros = u32::try_from(latency.as_micros()).unwrap_or(u32::MAX);
    let shift = (u32::BITS - micros.leading_zeros()).saturating_sub(BITS);
    ((shift << (BITS - 1)) + (micros >> shift)) as usize
}

/// The longest latency of a bucket.
fn highest(bucket: usize) -> u64 {
    let half = 1 << (BITS - 1);
    let shift = (bucket / half).saturating_sub(1);
    let leading = bucket - shift * half;
    (((leading + 1) << shift) - 1) as u64
}

#[cfg(test)]
mod tests;
