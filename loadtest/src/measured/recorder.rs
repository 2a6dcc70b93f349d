//! What a run remembers, and how it forgets: full histograms only for the seconds whose requests are still under way,
//! sparse ones for those that are over, totals for everything. It is told what happened; it reads no clock.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use super::{Counts, ErrorClass, LATE, Latencies, Measured, Progress, Slot};
use crate::arrivals::Arrivals;

/// Endpoints told apart in a report. A long run over pods that come and go must not grow without end; above this,
/// requests count in the totals only.
const ENDPOINTS_MAX: usize = 4_096;

/// A request that has ended.
#[derive(Debug)]
pub struct Finished {
    /// When it should have started, from the start of the run.
    pub intended: Duration,
    /// How long after that it was taken up.
    pub lag: Duration,
    /// From when it should have started to its end.
    pub latency: Duration,
    /// From when it was sent to its end, if it was sent.
    pub raw: Option<Duration>,
    /// The last endpoint that was tried.
    pub endpoint: Option<SocketAddr>,
    /// Whether a second connection was tried.
    pub retried: bool,
    /// A good answer, what was wrong, or `None` when it was given up because the run was interrupted.
    pub outcome: Option<Result<(), ErrorClass>>,
}

/// Everything recorded so far.
#[derive(Debug)]
pub struct Recorder {
    report: Measured,
    /// The seconds after those in `report.slots`, in order.
    open: VecDeque<OpenSlot>,
    /// No request of an earlier second will be offered any more, so those can be published and folded.
    upcoming: u64,
    /// The second that is published next.
    next_published: u64,
    /// The last second of the profile: a request at its very end counts there, and not as a second of its own.
    last_second: u64,
    in_flight: u64,
}

#[derive(Debug, Default)]
struct OpenSlot {
    counts: Counts,
    latencies: Latencies,
}

impl Recorder {
    /// A recorder of a load that sends `arrivals`, each with `timeout` at most, on a clock that is `pace` times as fast.
    pub fn new(arrivals: &Arrivals, timeout: Duration, pace: f64) -> Self {
        let duration = arrivals.duration().mul_f64(pace);
        let last_ns = duration.saturating_sub(Duration::from_nanos(1));
        Self {
            report: Measured {
                planned: arrivals.planned(),
                timeout,
                ..Measured::default()
            },
            open: VecDeque::new(),
            upcoming: 0,
            next_published: 0,
            last_second: last_ns.as_secs(),
            in_flight: 0,
        }
    }

    /// Tells that the next request that is offered should start at `intended`.
    pub fn expect_next(&mut self, intended: Duration) {
        self.upcoming = intended.as_secs();
    }

    /// Counts a request whose moment has come, and says whether it may be sent; if not, it counts as dropped.
    pub fn offer(&mut self, intended: Duration, in_flight_max: usize) -> bool {
        let sent = self.in_flight < in_flight_max as u64;
        self.in_flight += u64::from(sent);
        let slot = self.slot(intended);
        slot.counts.offered += 1;
        slot.counts.dropped += u64::from(!sent);
        sent
    }

    /// Counts a request that was offered and has ended.
    pub fn finished(&mut self, request: &Finished) {
        self.in_flight -= 1;
        self.report.lag.record(request.lag);
        self.report.late += u64::from(LATE < request.lag);
        self.report.retried += u64::from(request.retried);
        self.count_endpoint(request);
        let answered = matches!(request.outcome, Some(Ok(()) | Err(ErrorClass::Timeout)));
        if answered {
            self.report.latency.record(request.latency);
        }
        if let (true, Some(raw)) = (answered, request.raw) {
            self.report.raw.record(raw);
        }
        let slot = self.slot(request.intended);
        if answered {
            slot.latencies.record(request.latency);
        }
        match request.outcome {
            Some(Ok(())) => slot.counts.ok += 1,
            Some(Err(class)) => slot.counts.count_error(class),
            None => slot.counts.unfinished += 1,
        }
    }

    /// Tells that `second` has begun: publishes the seconds that ended a whole second ago, and folds those of which
    /// every request has ended.
    pub fn advance(&mut self, second: u64) -> Vec<Progress> {
        let published = self.publish_before(second.saturating_sub(1));
        self.fold_before(second.saturating_sub(1));
        published
    }

    /// The report, and the seconds that were not published yet. Nothing may be under way any more.
    pub fn finish(&mut self, elapsed: Duration, interrupted: bool) -> (Measured, Vec<Progress>) {
        let end = (self.report.slots.len() + self.open.len()) as u64;
        self.upcoming = u64::MAX;
        let rest = self.publish_before(end);
        self.fold_before(end);
        self.report.elapsed = elapsed;
        self.report.interrupted = interrupted;
        for slot in &self.report.slots {
            self.report.counts.add(&slot.counts);
        }
        (std::mem::take(&mut self.report), rest)
    }

    fn publish_before(&mut self, end: u64) -> Vec<Progress> {
        let end = end.min(self.upcoming).min(self.last_second + 1);
        let seconds = self.next_published..end.max(self.next_published);
        self.next_published = seconds.end;
        seconds.map(|second| self.progress(second)).collect()
    }

    fn progress(&self, second: u64) -> Progress {
        let in_flight = self.in_flight;
        let index = usize::try_from(second)
            .ok()
            .and_then(|second| second.checked_sub(self.report.slots.len()));
        let Some(slot) = index.and_then(|index| self.open.get(index)) else {
            return Progress {
                second,
                counts: Counts::default(),
                p50: None,
                p95: None,
                p99: None,
                in_flight,
            };
        };
        let mut latencies = slot.latencies.clone();
        latencies.record_many(Duration::from_secs(1), slot.counts.pending());
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| latencies.quantile(q));
        Progress {
            second,
            counts: slot.counts,
            p50,
            p95,
            p99,
            in_flight,
        }
    }

    /// Folds the leading seconds before `end` whose requests have all ended. The timeout ends every request, so the
    /// number of open seconds is bounded by it.
    fn fold_before(&mut self, end: u64) {
        let end = end.min(self.upcoming).min(self.last_second + 1);
        while (self.report.slots.len() as u64) < end {
            match self.open.front() {
                Some(slot) if 0 < slot.counts.pending() => return,
                Some(slot) => self
                    .report
                    .slots
                    .push(Slot::new(slot.counts, &slot.latencies)),
                None => self.report.slots.push(Slot::default()),
            }
            self.open.pop_front();
        }
    }

    /// The open slot of a moment. Its second is never folded: either the moment is still to come, or its request is
    /// under way.
    fn slot(&mut self, intended: Duration) -> &mut OpenSlot {
        let second = intended.as_secs().min(self.last_second);
        let index = usize::try_from(second)
            .unwrap_or(usize::MAX)
            .saturating_sub(self.report.slots.len());
        if self.open.len() <= index {
            self.open.resize_with(index + 1, OpenSlot::default);
        }
        &mut self.open[index]
    }

    fn count_endpoint(&mut self, request: &Finished) {
        let Some(address) = request.endpoint else {
            return;
        };
        let endpoints = &mut self.report.endpoints;
        if !endpoints.contains_key(&address) && ENDPOINTS_MAX <= endpoints.len() {
            return;
        }
        let counts = endpoints.entry(address).or_default();
        match request.outcome {
            Some(Ok(())) => counts.ok += 1,
            Some(Err(_)) => counts.errors += 1,
            None => {}
        }
    }
}
