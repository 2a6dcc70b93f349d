//! What came of a load: plain data, and the questions one asks of it. Latency is always from the moment at which a
//! request should have started, unless it is called raw. Something is kept for each second of the run, sparsely,
//! so that any stretch of it can be judged afterwards.

pub mod recorder;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use hdrhistogram::Histogram;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The longest latency told apart; above it, all are this long. Longer than any timeout that a request should have.
pub const LATENCY_MAX: Duration = Duration::from_secs(600);

/// A request sent later than this after its moment was not delivered as planned: the generator was too slow.
pub const LATE: Duration = Duration::from_millis(100);

/// How long an endpoint is young after its first good answer, for the cost of a cold start.
pub const YOUNG: Duration = Duration::from_secs(30);

/// Three significant digits: a latency is known to a thousandth of itself, for 150 KiB a histogram.
const DIGITS: u8 = 3;

/// Why a request has no good answer.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum ErrorClass {
    /// The list of endpoints was empty.
    #[serde(rename = "no_endpoint")]
    NoEndpoint,
    /// No connection could be opened.
    #[serde(rename = "connect")]
    Connect,
    /// The connection broke before the whole answer was there.
    #[serde(rename = "broken")]
    Broken,
    /// There was no whole answer in time, counted from when the request should have started.
    #[serde(rename = "timeout")]
    Timeout,
    /// The answer's status was 400 to 499.
    #[serde(rename = "status_4xx")]
    ClientStatus,
    /// The answer's status was 500 to 599.
    #[serde(rename = "status_5xx")]
    ServerStatus,
    /// The answer was whole and its status fine, but it was not what the scenario expects.
    #[serde(rename = "unexpected")]
    Unexpected,
}

impl ErrorClass {
    /// Every class, in the order of reports.
    pub const ALL: [Self; 7] = [
        Self::NoEndpoint,
        Self::Connect,
        Self::Broken,
        Self::Timeout,
        Self::ClientStatus,
        Self::ServerStatus,
        Self::Unexpected,
    ];

    /// The word for it in reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::NoEndpoint => "no_endpoint",
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Timeout => "timeout",
            Self::ClientStatus => "status_4xx",
            Self::ServerStatus => "status_5xx",
            Self::Unexpected => "unexpected",
        }
    }
}

/// How many requests ended in which way. Every request is in exactly one field, or still under way.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counts {
    /// Requests that should have started: all the others together.
    pub offered: u64,
    /// Answered in time with a status below 400.
    pub ok: u64,
    /// Not sent, because too many were in flight.
    pub dropped: u64,
    /// Given up because the run was interrupted.
    pub unfinished: u64,
    /// By class; those without any are left out.
    #[serde(with = "by_class")]
    #[schemars(with = "BTreeMap<ErrorClass, u64>")]
    errors: [u64; ErrorClass::ALL.len()],
}

impl Counts {
    /// All requests without a good answer, apart from those dropped or unfinished.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.iter().sum()
    }

    /// Requests that failed in this way.
    #[must_use]
    pub fn errors_of(&self, class: ErrorClass) -> u64 {
        self.errors[class as usize]
    }

    /// Requests that are still under way.
    #[must_use]
    pub fn pending(&self) -> u64 {
        self.offered - self.ok - self.dropped - self.unfinished - self.errors()
    }

    pub(crate) fn count_error(&mut self, class: ErrorClass) {
        self.errors[class as usize] += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.offered += other.offered;
        self.ok += other.ok;
        self.dropped += other.dropped;
        self.unfinished += other.unfinished;
        for (sum, count) in self.errors.iter_mut().zip(other.errors) {
            *sum += count;
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

    pub(crate) fn record(&mut self, latency: Duration) {
        self.0.saturating_record(micros(latency));
    }

    pub(crate) fn record_many(&mut self, latency: Duration, count: u64) {
        self.0.saturating_record_n(micros(latency), count);
    }

    /// The recorded values and their counts, shortest first: a second of them takes a few KiB, a histogram 150.
    pub(crate) fn sparse(&self) -> Box<[(u32, u32)]> {
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

/// Errors as a map from the class's word.
mod by_class {
    use serde::{Deserializer, Serializer};

    use super::{BTreeMap, Deserialize, ErrorClass};

    type Errors = [u64; ErrorClass::ALL.len()];

    pub(super) fn serialize<S: Serializer>(
        errors: &Errors,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let counted = ErrorClass::ALL
            .into_iter()
            .zip(errors)
            .filter(|(_, count)| **count != 0);
        serializer.collect_map(counted)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Errors, D::Error> {
        let counted = BTreeMap::<ErrorClass, u64>::deserialize(deserializer)?;
        Ok(ErrorClass::ALL.map(|class| counted.get(&class).copied().unwrap_or(0)))
    }
}

/// A duration as seconds.
mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer, de};

    pub(super) fn serialize<S: Serializer>(
        duration: &Duration,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(duration.as_secs_f64())
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Duration, D::Error> {
        Duration::try_from_secs_f64(f64::deserialize(deserializer)?).map_err(de::Error::custom)
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// The requests that should have started within one second of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    /// How they ended.
    pub counts: Counts,
    /// Those sent more than [`LATE`] after they should have started.
    pub late: u64,
    /// Microseconds and how often, ascending.
    latencies: Box<[(u32, u32)]>,
    /// The same of those alone that a young endpoint answered; see [`YOUNG`].
    young: Box<[(u32, u32)]>,
    /// What each endpoint did with them.
    pub endpoints: Box<[SlotEndpoint]>,
}

/// What one endpoint did with the requests of one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotEndpoint {
    /// [`EndpointCounts::index`] of the endpoint.
    pub index: u16,
    /// Good answers.
    pub ok: u32,
    /// Failed requests.
    pub errors: u32,
}

impl Slot {
    pub(crate) fn new(counts: Counts, latencies: &Latencies) -> Self {
        Self {
            counts,
            latencies: latencies.sparse(),
            ..Self::default()
        }
    }

    /// The latencies and how often each occurred, ascending. Those of timeouts are among them.
    pub fn latencies(&self) -> impl Iterator<Item = (Duration, u64)> {
        durations(&self.latencies)
    }

    /// The latencies of answers by young endpoints and how often each occurred, ascending; see [`YOUNG`].
    pub fn young(&self) -> impl Iterator<Item = (Duration, u64)> {
        durations(&self.young)
    }

    /// The `q`-quantile of the latencies; `None` when there are none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total: u64 = self
            .latencies
            .iter()
            .map(|(_, count)| u64::from(*count))
            .sum();
        let rank = ((q.clamp(0.0, 1.0) * total as f64).ceil() as u64).max(1);
        let mut below = 0;
        let reached = self.latencies.iter().find(|(_, count)| {
            below += u64::from(*count);
            rank <= below
        });
        reached.map(|(value, _)| Duration::from_micros(u64::from(*value)))
    }
}

fn durations(pairs: &[(u32, u32)]) -> impl Iterator<Item = (Duration, u64)> {
    pairs
        .iter()
        .map(|(value, count)| (Duration::from_micros(u64::from(*value)), u64::from(*count)))
}

/// What one endpoint was asked and how it answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointCounts {
    /// Its number, in the order in which endpoints had their first request.
    pub index: u16,
    /// When it gave its first good answer, in seconds from the start of the run; `None` when it never did.
    pub first_ok_s: Option<f64>,
    /// Requests that it answered in time with a status below 400.
    pub ok: u64,
    /// Requests that it was the last to be tried for, and that failed.
    pub errors: u64,
}

/// One second of a run that is still going: the requests that should have started within it.
///
/// It is published a second after that second has ended. Requests without an answer by then count among the quantiles
/// with the second they have waited at least, so a stalled server shows at once.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// Which second of the run, from 0.
    pub second: u64,
    /// How its requests ended so far.
    pub counts: Counts,
    /// The 0.5-quantile of latency.
    pub p50: Option<Duration>,
    /// The 0.95-quantile of latency.
    pub p95: Option<Duration>,
    /// The 0.99-quantile of latency.
    pub p99: Option<Duration>,
    /// Requests in flight now, from any second.
    pub in_flight: u64,
}

/// What came of the requests of one kind.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RequestMeasured {
    /// How they ended.
    pub counts: Counts,
    /// How long they took, from the moment they should have started.
    pub latency: Latencies,
}

/// A whole load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// Requests of the whole profile; more than were offered when the run was interrupted.
    pub planned: u64,
    /// How the offered requests ended.
    pub counts: Counts,
    /// Requests sent again on another connection, since nothing of them had been sent on the first.
    pub retried: u64,
    /// Requests sent later than [`LATE`] after they should have started, by our own fault.
    pub late: u64,
    /// From the moment a request should have started to its whole answer. Good answers count, and timeouts with the
    /// time they took; other errors do not, because a fast error is not a fast answer.
    pub latency: Latencies,
    /// From sending the request, for the same answers; what a tool says that forgets the wait before. For comparison.
    pub raw: Latencies,
    /// How long after it should have started each request was taken up: the generator's own fault.
    pub lag: Latencies,
    /// Each second of the run by the moment its requests should have started.
    pub slots: Vec<Slot>,
    /// By endpoint; those past a bound are left out.
    pub endpoints: BTreeMap<SocketAddr, EndpointCounts>,
    /// By the name of the kind of request, where there are several.
    pub requests: BTreeMap<String, RequestMeasured>,
    /// From the start of the run to the last answer.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub elapsed: Duration,
    /// How long a request had at most.
    #[serde(with = "seconds")]
    #[schemars(with = "f64")]
    pub timeout: Duration,
    /// Whether the run was told to stop before its end.
    pub interrupted: bool,
}

impl Measured {
    /// Requests with a good answer within `limit`, from the moment they should have started.
    #[must_use]
    pub fn within(&self, limit: Duration) -> u64 {
        // From the timeout on, the latencies hold timeouts too; every good answer came before it.
        if self.timeout <= limit {
            self.counts.ok
        } else {
            self.latency.count_within(limit)
        }
    }

    /// The share of offered requests with a good answer within `limit`; `None` when none was offered. Errors and drops
    /// are not within any limit.
    #[must_use]
    pub fn share_within(&self, limit: Duration) -> Option<f64> {
        (0 < self.counts.offered).then(|| self.within(limit) as f64 / self.counts.offered as f64)
    }

    /// The share of offered requests that were sent, and not [`late`](Self::late); `None` when none was offered.
    /// Below 0.99 a run says little of the server.
    #[must_use]
    pub fn share_delivered(&self) -> Option<f64> {
        let lost = self.counts.dropped + self.late;
        (0 < self.counts.offered)
            .then(|| self.counts.offered.saturating_sub(lost) as f64 / self.counts.offered as f64)
    }

    /// The latencies of the requests that should have started within these seconds of the run.
    #[must_use]
    pub fn latencies_of(&self, seconds: Range<usize>) -> Latencies {
        let mut sum = Latencies::default();
        let end = seconds.end.min(self.slots.len());
        for slot in self.slots.get(seconds.start..end).unwrap_or_default() {
            for (value, count) in &slot.latencies {
                sum.record_many(Duration::from_micros(u64::from(*value)), u64::from(*count));
            }
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn latencies(millis: impl IntoIterator<Item = u64>) -> Latencies {
        let mut latencies = Latencies::default();
        millis
            .into_iter()
            .for_each(|ms| latencies.record(Duration::from_millis(ms)));
        latencies
    }

    fn close(actual: Option<Duration>, expected_ms: f64) {
        let actual = actual.unwrap().as_secs_f64() * 1e3;
        assert!(
            (actual / expected_ms - 1.0).abs() < 0.002,
            "{actual} ms, not {expected_ms} ms"
        );
    }

    #[test]
    fn quantiles_are_known_to_a_thousandth() {
        let latencies = latencies(1..=1000);
        close(latencies.quantile(0.5), 500.0);
        close(latencies.quantile(0.95), 950.0);
        close(latencies.max(), 1000.0);
        close(latencies.mean(), 500.5);
        assert_eq!(latencies.count_within(Duration::from_millis(250)), 250);
        assert_eq!(Latencies::default().quantile(0.5), None);
    }

    #[test]
    fn a_second_kept_sparsely_has_the_same_quantiles() {
        let dense = latencies((1..=997).map(|n| n * n % 997 + 1));
        let slot = Slot::new(Counts::default(), &dense);
        for q in [0.0, 0.5, 0.95, 0.99, 1.0] {
            assert_eq!(slot.quantile(q), dense.quantile(q), "q {q}");
        }
        assert_eq!(Slot::default().quantile(0.5), None);
    }

    #[test]
    fn seconds_merge_into_the_quantile_of_all_their_requests() {
        let slots = [latencies(1..=90), latencies(1000..=1009)];
        let slots = slots
            .iter()
            .map(|slot| Slot::new(Counts::default(), slot))
            .collect();
        let report = Measured {
            slots,
            ..Measured::default()
        };
        assert_eq!(report.latencies_of(0..2).count(), 100);
        close(report.latencies_of(0..9).quantile(0.9), 90.0);
        close(report.latencies_of(1..2).quantile(0.0), 1000.0);
        assert_eq!(report.latencies_of(5..9).count(), 0);
    }

    #[test]
    fn a_timeout_is_within_no_limit() {
        let mut report = Measured {
            timeout: Duration::from_secs(1),
            latency: latencies([10, 1000]),
            ..Measured::default()
        };
        report.counts = Counts {
            offered: 4,
            ok: 1,
            dropped: 1,
            ..Counts::default()
        };
        report.counts.count_error(ErrorClass::Timeout);
        report.counts.count_error(ErrorClass::Connect);
        assert_eq!(report.share_within(Duration::from_millis(500)), Some(0.25));
        assert_eq!(report.share_within(Duration::from_secs(5)), Some(0.25));
        assert_eq!(report.share_delivered(), Some(0.75));
        assert_eq!(report.counts.pending(), 0);
    }
}
