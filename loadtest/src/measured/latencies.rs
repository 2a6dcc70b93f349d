//! Many durations, kept as how often each occurred, and the quantiles of them. What is kept is exact to a thousandth;
//! how it came about, and when, is not known here.

use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LATENCY_MAX;

/// Three significant digits: a latency is known to a thousandth of itself, for 150 KiB a histogram.
const DIGITS: u8 = 3;

/// How many leading bits of a value these digits keep: two values that share them are one.
const BITS: u32 = 11;

/// The largest value that has a bucket of its own, in microseconds: what is above it counts as [`LATENCY_MAX`].
const COVERED_MAX: u64 = (1 << 30) - 1;

/// Microseconds and how often, ascending.
pub(super) type Pairs = Box<[(u32, u32)]>;

/// A quantile of requests some of which may have failed. A failed one is slower than any answer, so these are ordered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quantile {
    /// The latency of a good answer.
    Answered(Duration),
    /// It lies among the requests that had no good answer: longer than any limit.
    Failed,
}

impl Quantile {
    /// Whether it is at most `limit`.
    #[must_use]
    pub fn is_within(self, limit: Duration) -> bool {
        self <= Self::Answered(limit)
    }

    /// The latency; `None` when it lies among the failed.
    #[must_use]
    pub fn answered(self) -> Option<Duration> {
        match self {
            Self::Answered(latency) => Some(latency),
            Self::Failed => None,
        }
    }
}

/// Durations from a microsecond to [`LATENCY_MAX`], each known to a thousandth of itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "Sparse", into = "Sparse")]
#[schemars(with = "Sparse")]
pub struct Latencies(Histogram<u64>);

/// Microseconds and how often, ascending.
type Sparse = Vec<(u64, u64)>;

impl Default for Latencies {
    fn default() -> Self {
        let high = u64::try_from(LATENCY_MAX.as_micros()).unwrap_or(u64::MAX);
        Self(
            Histogram::new_with_bounds(1, high, DIGITS)
                .expect("1 us to 600 s at 3 digits are bounds that HDR takes"),
        )
    }
}

impl Latencies {
    /// How many there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.len()
    }

    /// The `q`-quantile, `q` within 0 and 1; `None` when there are none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_micros(self.0.value_at_quantile(q)))
    }

    /// The longest; `None` when there are none.
    #[must_use]
    pub fn max(&self) -> Option<Duration> {
        self.quantile(1.0)
    }

    /// The mean; `None` when there are none.
    #[must_use]
    pub fn mean(&self) -> Option<Duration> {
        (!self.0.is_empty()).then(|| Duration::from_secs_f64(self.0.mean() / 1e6))
    }

    /// How many are at most `limit`, give or take those within a thousandth of it.
    #[must_use]
    pub fn count_within(&self, limit: Duration) -> u64 {
        self.0.count_between(0, micros(limit).min(self.0.high()))
    }

    /// The `q`-quantile among `good` answers, the shortest of these latencies, and `failed` requests, which are slower
    /// than any answer; `None` when there is neither.
    #[must_use]
    pub fn quantile_with_failures(&self, q: f64, good: u64, failed: u64) -> Option<Quantile> {
        let total = good + failed;
        let rank = rank(q, total);
        match total {
            0 => None,
            _ if good < rank => Some(Quantile::Failed),
            _ => self.at_rank(rank).map(Quantile::Answered),
        }
    }

    /// The latency of which `rank` latencies are at most that long, itself one of them; `None` when there are fewer.
    fn at_rank(&self, rank: u64) -> Option<Duration> {
        let mut below = 0;
        let reached = self.0.iter_recorded().find(|step| {
            below += step.count_since_last_iteration();
            rank <= below
        });
        reached.map(|step| Duration::from_micros(step.value_iterated_to()))
    }

    /// Adds all of `other`.
    pub(crate) fn add(&mut self, other: &Self) {
        // Equal bounds, so every value of the other fits.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(micros(latency));
    }

    pub(crate) fn record_many(&mut self, latency: Duration, count: u64) {
        self.0.saturating_record_n(micros(latency), count);
    }

    /// Adds what [`sparse`](Self::sparse) told of others.
    pub(crate) fn add_pairs(&mut self, pairs: &[(u32, u32)]) {
        for (micros, count) in pairs {
            self.0
                .saturating_record_n(u64::from(*micros), u64::from(*count));
        }
    }

    /// The recorded values and their counts, shortest first: a second of them takes a few KiB, a histogram 150.
    pub(crate) fn sparse(&self) -> Pairs {
        let pair = |value: u64, count: u64| {
            (
                u32::try_from(value).unwrap_or(u32::MAX),
                u32::try_from(count).unwrap_or(u32::MAX),
            )
        };
        self.0
            .iter_recorded()
            .map(|step| pair(step.value_iterated_to(), step.count_since_last_iteration()))
            .collect()
    }
}

impl FromIterator<(Duration, u64)> for Latencies {
    fn from_iter<I: IntoIterator<Item = (Duration, u64)>>(counted: I) -> Self {
        let mut latencies = Self::default();
        for (latency, count) in counted {
            latencies.record_many(latency, count);
        }
        latencies
    }
}

impl From<Sparse> for Latencies {
    fn from(pairs: Sparse) -> Self {
        let mut latencies = Self::default();
        for (value, count) in pairs {
            latencies.0.saturating_record_n(value, count);
        }
        latencies
    }
}

impl From<Latencies> for Sparse {
    fn from(latencies: Latencies) -> Self {
        let steps = latencies.0.iter_recorded();
        steps
            .map(|step| (step.value_iterated_to(), step.count_since_last_iteration()))
            .collect()
    }
}

/// A latency as [`Latencies::sparse`] tells it, in microseconds: the longest of those that share its bucket.
pub(super) fn grouped(latency: Duration) -> u32 {
    let micros = micros(latency);
    let covered = if COVERED_MAX < micros {
        self::micros(LATENCY_MAX)
    } else {
        micros
    };
    let value = covered as u32;
    let bits = u32::BITS - value.leading_zeros();
    value | ((1 << bits.saturating_sub(BITS)) - 1)
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The rank of the `q`-quantile among `count` values, from 1: the smallest that has the share `q` at or below it.
pub(super) fn rank(q: f64, count: u64) -> u64 {
    ((q.clamp(0.0, 1.0) * count as f64).ceil() as u64).max(1)
}
