//! What one read of one target yielded.
//!
//! A [`Reading`] is flat so that a reader can clear and refill it without allocating: the cumulative buckets of all
//! series lie one after another, each [`SeriesReading`] saying which stretch is its own.

use std::sync::Arc;
use std::time::Duration;

use super::health::Failure;
use super::id::TargetId;
use super::time::Timestamp;

/// One read of one target, and when.
#[derive(Clone, PartialEq, Debug)]
pub struct Batch {
    /// Who was read.
    pub target: TargetId,
    /// When its answer was complete.
    pub at: Timestamp,
    /// How long the read took, from its start to here.
    pub took: Duration,
    /// What it said.
    pub reading: Reading,
}

/// What a source can say to the engine's owner.
#[derive(Clone, PartialEq, Debug)]
pub enum Update {
    /// From here on the target is read for something else, such as another histogram: its counters so far and those to
    /// come are not of one kind.
    Begins(TargetId),
    /// A target was read.
    Read(Batch),
    /// A target could not be read.
    Failed {
        /// Who.
        target: TargetId,
        /// When.
        at: Timestamp,
        /// How long the attempt took.
        took: Duration,
        /// Why.
        failure: Failure,
    },
}

/// The numbers of one page or one Redis server. Counters are as the target reported them: raw and cumulative.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Reading {
    /// One entry a series of the request histogram (a label set without `le`; a command, for a Redis server).
    pub series: Vec<SeriesReading>,
    /// Upper bounds in seconds, series after series, ascending within one, the last of each `+Inf`.
    pub bounds: Vec<f64>,
    /// Cumulative counts, one for each of `bounds`.
    pub counts: Vec<f64>,
    /// Requests in flight at this instant, summed over the gauge's matching series.
    pub in_flight: Option<f64>,
    /// CPU seconds consumed so far (a counter).
    pub cpu_seconds: Option<f64>,
    /// Items waiting, by key.
    pub backlogs: Vec<Backlog>,
    /// Lines of wanted families that could not be read and were left out.
    pub bad_lines: u32,
    /// Which metrics were asked for and are not there at all: probably misspelt.
    pub missing: Missing,
}

/// Metrics beside the histogram that were asked for and of which a page has no line. One whose lines are there and
/// cannot be read is not missing.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Missing {
    /// The gauge of requests in flight.
    pub in_flight: bool,
    /// The counter of CPU seconds.
    pub cpu: bool,
}

/// One series of the request histogram.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct SeriesReading {
    /// A hash of the labels without `le`, the same in every read of the target.
    pub key: u64,
    /// Where its buckets start in [`Reading::bounds`] and [`Reading::counts`].
    pub first_bucket: u32,
    /// How many buckets it has. Zero for a summary, or a Redis server without latency histograms.
    pub n_buckets: u32,
    /// Requests so far: `_count`, or the `+Inf` bucket where there is no `_count`.
    pub count: f64,
    /// Seconds spent on them so far: `_sum`. Absent where the target does not say.
    pub sum: Option<f64>,
}

/// Items waiting under one Redis key.
#[derive(Clone, PartialEq, Debug)]
pub struct Backlog {
    /// The `key` label: the key, made fit for a label value.
    pub key: Arc<str>,
    /// How many, or why that is unknown (a NULL lag, a wrong type). A missing list is zero items; that is knowledge.
    pub items: Result<f64, Failure>,
}

impl Reading {
    /// Empties it, keeping the memory.
    pub fn clear(&mut self) {
        self.series.clear();
        self.bounds.clear();
        self.counts.clear();
        self.in_flight = None;
        self.cpu_seconds = None;
        self.backlogs.clear();
        self.bad_lines = 0;
        self.missing = Missing::default();
    }

    /// The bounds of one series.
    pub fn bounds_of(&self, series: &SeriesReading) -> &[f64] {
        stretch(&self.bounds, series)
    }

    /// The cumulative counts of one series.
    pub fn counts_of(&self, series: &SeriesReading) -> &[f64] {
        stretch(&self.counts, series)
    }
}

impl Missing {
    /// What is missing now and was not `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            in_flight: self.in_flight && !before.in_flight,
            cpu: self.cpu && !before.cpu,
        }
    }
}

/// A series' own stretch; empty when a hand-made reading points past its end.
fn stretch<'r>(values: &'r [f64], series: &SeriesReading) -> &'r [f64] {
    let first = series.first_bucket as usize;
    values
        .get(first..first + series.n_buckets as usize)
        .unwrap_or(&[])
}
