//! What came of a load: plain data, and the questions one asks of it. Latency is always from the moment at which a
//! request should have started, unless it is called raw. Something is kept for each second of the run, sparsely,
//! so that any stretch of it can be judged afterwards.

mod gathered;
mod latencies;
pub mod recorder;
mod slot;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::latencies::{Latencies, Quantile};
pub use self::slot::{Slot, SlotEndpoint};

/// The longest latency told apart; above it, all are this long. Longer than any timeout that a request should have.
pub const LATENCY_MAX: Duration = Duration::from_secs(600);

/// A request sent later than this after its moment was not delivered as planned: the generator was too slow.
pub const LATE: Duration = Duration::from_millis(100);

/// How long an endpoint is young after its first good answer, for the cost of a cold start.
pub const YOUNG: Duration = Duration::from_secs(30);

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

    /// Whether no more ended than were offered, and few enough to be added up.
    pub(crate) fn is_sound(&self) -> bool {
        let ended = [self.ok, self.dropped, self.unfinished];
        let all = ended.into_iter().chain(self.errors);
        let sum = all.map(u128::from).sum::<u128>();
        sum <= u128::from(self.offered) && self.offered < 1 << 40
    }

    /// Requests that are still under way.
    #[must_use]
    pub fn pending(&self) -> u64 {
        let ended = self.ok + self.dropped + self.unfinished + self.errors();
        self.offered.saturating_sub(ended)
    }

    /// Requests that failed: those with an error, and those dropped, whose user got nothing either.
    #[must_use]
    pub fn failed(&self) -> u64 {
        self.errors() + self.dropped
    }

    pub(crate) fn count(&mut self, outcome: Result<(), ErrorClass>) {
        match outcome {
            Ok(()) => self.ok += 1,
            Err(class) => self.count_error(class),
        }
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

/// What one endpoint was asked and how it answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointCounts {
    /// Its number in [`SlotEndpoint::index`].
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

/// What came of a load until now, for counters that only grow: also of the seconds that are not published yet.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SoFar {
    /// How the requests ended, whose moment has come.
    pub counts: Counts,
    /// Those taken up later than [`LATE`] after it.
    pub late: u64,
    /// How long they took, as in [`Measured::latency`].
    pub latency: Latencies,
    /// What came of each kind of request, as in [`Measured::requests`].
    pub requests: BTreeMap<String, RequestMeasured>,
    /// Each second that is published, as in [`Measured::slots`], also while requests of it are under way. Empty unless
    /// [`Config::tell_seconds`](crate::engine::Config::tell_seconds) asks for it.
    pub slots: Vec<Slot>,
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
    /// Requests taken up later than [`LATE`] after they should have started, by our own fault.
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
    /// Whether the loop was closed: each user asked again when it was answered. Then a request should start when it is
    /// sent, `latency` hides what a slow server kept from being asked, and `planned` is what was offered.
    #[serde(default)]
    pub closed: bool,
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

    /// How the requests ended that should have started within these seconds of the run.
    #[must_use]
    pub fn counts_of(&self, seconds: Range<usize>) -> Counts {
        let mut sum = Counts::default();
        let slots = self.slots_of(seconds).iter();
        slots.for_each(|slot| sum.add(&slot.counts));
        sum
    }

    /// The latencies of the requests that should have started within these seconds of the run.
    #[must_use]
    pub fn latencies_of(&self, seconds: Range<usize>) -> Latencies {
        let slots = self.slots_of(seconds).iter();
        slots.flat_map(Slot::latencies).collect()
    }

    /// The same of those alone that a young endpoint answered; see [`YOUNG`].
    #[must_use]
    pub fn young_of(&self, seconds: Range<usize>) -> Latencies {
        let slots = self.slots_of(seconds).iter();
        slots.flat_map(Slot::young).collect()
    }

    /// The `q`-quantile of the requests that should have started within these seconds, a [failed](Counts::failed) one
    /// being slower than any answer; `None` when none of them has ended. Requests that were under way when the run was
    /// interrupted are left out: nobody knows what would have become of them.
    #[must_use]
    pub fn quantile_with_failures(&self, seconds: Range<usize>, q: f64) -> Option<Quantile> {
        let counts = self.counts_of(seconds.clone());
        // The latencies hold timeouts too, but every good answer came before them.
        self.latencies_of(seconds)
            .quantile_with_failures(q, counts.ok, counts.failed())
    }

    fn slots_of(&self, seconds: Range<usize>) -> &[Slot] {
        let end = seconds.end.min(self.slots.len());
        self.slots.get(seconds.start..end).unwrap_or_default()
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

    fn second(ok_ms: impl IntoIterator<Item = u64>, failed: &[ErrorClass]) -> Slot {
        let dense = latencies(ok_ms);
        let mut counts = Counts {
            offered: dense.count() + failed.len() as u64,
            ok: dense.count(),
            ..Counts::default()
        };
        failed.iter().for_each(|class| counts.count_error(*class));
        Slot::new(counts, &dense)
    }

    fn measured(slots: impl IntoIterator<Item = Slot>) -> Measured {
        Measured {
            slots: slots.into_iter().collect(),
            ..Measured::default()
        }
    }

    #[test]
    fn seconds_merge_into_the_quantile_of_all_their_requests() {
        let measured = measured([second(1..=90, &[]), second(1000..=1009, &[])]);
        assert_eq!(measured.latencies_of(0..2).count(), 100);
        close(measured.latencies_of(0..9).quantile(0.9), 90.0);
        close(measured.latencies_of(1..2).quantile(0.0), 1000.0);
        assert_eq!(measured.latencies_of(5..9).count(), 0);
        assert_eq!(measured.counts_of(1..9).ok, 10);
    }

    #[test]
    fn a_failed_request_is_slower_than_any_answer() {
        let errors = [ErrorClass::ServerStatus; 5];
        let measured = measured([second(1..=95, &errors), second(1..=5, &[])]);
        let answered = |seconds, q| {
            let quantile = measured.quantile_with_failures(seconds, q).unwrap();
            close(quantile.answered(), 95.0);
            assert!(quantile.is_within(Duration::from_millis(96)));
        };
        // The 95th of a hundred is still an answer, and so is the hundredth of 105.
        answered(0..1, 0.95);
        answered(0..2, 0.952);
        for (seconds, q) in [(0..1, 0.951), (0..1, 1.0), (0..2, 0.96)] {
            let quantile = measured.quantile_with_failures(seconds, q);
            assert_eq!(quantile, Some(Quantile::Failed), "q {q}");
        }
        assert!(!Quantile::Failed.is_within(Duration::MAX));
        assert_eq!(measured.quantile_with_failures(2..9, 0.5), None);
    }

    #[test]
    fn a_timeout_fails_although_its_time_is_known() {
        let mut slot = second([10, 20, 30, 1000], &[]);
        slot.counts.ok = 3;
        slot.counts.count_error(ErrorClass::Timeout);
        let measured = measured([slot]);
        close(measured.latencies_of(0..1).max(), 1000.0);
        let at = |q| measured.quantile_with_failures(0..1, q).unwrap();
        close(at(0.75).answered(), 30.0);
        assert_eq!(at(0.76), Quantile::Failed);
    }

    #[test]
    fn what_was_dropped_failed_and_what_was_interrupted_is_not_known() {
        let mut slot = second([10, 20], &[]);
        (slot.counts.offered, slot.counts.dropped) = (5, 1);
        slot.counts.unfinished = 2;
        let measured = measured([slot]);
        let at = |q| measured.quantile_with_failures(0..1, q).unwrap();
        close(at(0.66).answered(), 20.0);
        assert_eq!(at(0.67), Quantile::Failed);
    }

    #[test]
    fn a_timeout_is_within_no_limit() {
        let mut measured = Measured {
            timeout: Duration::from_secs(1),
            latency: latencies([10, 1000]),
            ..Measured::default()
        };
        measured.counts = Counts {
            offered: 4,
            ok: 1,
            dropped: 1,
            ..Counts::default()
        };
        measured.counts.count_error(ErrorClass::Timeout);
        measured.counts.count_error(ErrorClass::Connect);
        let half_a_second = Duration::from_millis(500);
        assert_eq!(measured.share_within(half_a_second), Some(0.25));
        assert_eq!(measured.share_within(Duration::from_secs(5)), Some(0.25));
        assert_eq!(measured.share_delivered(), Some(0.75));
        assert_eq!(measured.counts.pending(), 0);
    }
}
