//! What a run remembers, and how it forgets: full histograms only for the seconds whose requests are still under way,
//! sparse ones for those that are over, totals for everything. It is told what happened; it reads no clock and sends
//! nothing, so it serves a run in virtual time as well.
//!
//! A load on several threads has a recorder on each, which gives away what it has once a second, and one that gathers.

mod open;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

pub use self::open::EndpointIndex;
use self::open::{Endpoints, OpenSlot};
use super::{ErrorClass, LATE, Latencies, Measured, Progress, RequestMeasured, Slot, SoFar};

/// Pairs of value and count that the seconds of a run may have together: 16 MB, which is half an hour at 2,000 requests
/// per second. Above it, the oldest seconds keep their latencies to two digits instead of three.
const PAIRS_MAX: usize = 2_000_000;

/// A request that has ended.
#[derive(Debug, Clone)]
pub struct Finished {
    /// When it should have started, from the start of the run; as it was offered.
    pub intended: Duration,
    /// Which kind it was, as it was offered.
    pub kind: usize,
    /// How long after it should have started it was taken up.
    pub lag: Duration,
    /// From when it should have started to its end. A timeout takes at least the timeout.
    pub latency: Duration,
    /// From when it was sent to its end; `None` if it was not sent.
    pub raw: Option<Duration>,
    /// The last endpoint that was tried; `None` when there was none to try, or it is not told apart.
    pub endpoint: Option<EndpointIndex>,
    /// Whether a second connection was tried.
    pub retried: bool,
    /// A good answer, or what was wrong.
    pub outcome: Result<(), ErrorClass>,
}

/// Everything recorded so far.
///
/// Every request is [offered](Self::offer) when its moment has come and, unless it was dropped, has
/// [finished](Self::finished) once. Requests that never finish are unfinished when the run does. Every second, [time is told](Self::advance): else
/// every second of the run keeps its histogram.
#[derive(Debug)]
pub struct Recorder {
    /// The folded seconds and their sums; `planned`, `raw`, `lag` and `retried` are of all that happened.
    measured: Measured,
    kinds: Vec<(String, RequestMeasured)>,
    endpoints: Endpoints,
    /// The seconds that are not in `measured.slots` yet; a second without requests is missing.
    open: BTreeMap<u64, OpenSlot>,
    /// The memory of a second that is over, for the next one.
    spare: OpenSlot,
    /// Every request is sent at its very moment, so that none lags, and its latency is also the time since then.
    is_prompt: bool,
    /// No request of an earlier second will be offered any more, so those can be published and folded.
    upcoming: u64,
    /// The second that is published next.
    next_published: u64,
    /// The last second of the load: a request at its very end counts there, and not as a second of its own.
    last_second: u64,
    in_flight: u64,
    /// How many pairs the folded seconds have, and how many of those seconds are coarse already.
    pairs: usize,
    coarse: usize,
}

/// What one thread's recorder knows since it was last asked.
#[derive(Debug)]
pub(crate) struct Part {
    open: BTreeMap<u64, OpenSlot>,
    /// Every endpoint that it numbers, in the order of its numbers, and when it gave its first good answer.
    endpoints: Vec<(SocketAddr, Option<f64>)>,
    /// What came of each kind of request since it was last asked, in the order of their names.
    kinds: Vec<RequestMeasured>,
    pub(crate) upcoming: u64,
    pub(crate) in_flight: u64,
}

impl Recorder {
    /// A recorder of an open load of `planned` requests within `duration`, each of which may take `timeout` at most.
    #[must_use]
    pub fn new(planned: u64, duration: Duration, timeout: Duration) -> Self {
        let last = duration.saturating_sub(Duration::from_nanos(1));
        Self {
            measured: Measured {
                planned,
                timeout,
                ..Measured::default()
            },
            kinds: Vec::new(),
            endpoints: Endpoints::default(),
            open: BTreeMap::new(),
            spare: OpenSlot::default(),
            is_prompt: false,
            upcoming: 0,
            next_published: 0,
            last_second: last.as_secs(),
            in_flight: 0,
            pairs: 0,
            coarse: 0,
        }
    }

    /// The same of a closed loop, where nobody knows before how many requests there will be.
    #[must_use]
    pub fn closed(duration: Duration, timeout: Duration) -> Self {
        let mut recorder = Self::new(0, duration, timeout);
        recorder.measured.closed = true;
        recorder
    }

    /// The same in virtual time, where every request is sent at its very moment: what follows from that is not counted
    /// for each of them.
    #[must_use]
    pub fn prompt(mut self) -> Self {
        self.is_prompt = true;
        self
    }

    /// Tells the kinds of requests apart, by their place in `names`. Without names, or with one, all are of one kind.
    #[must_use]
    pub fn with_kinds<'a>(mut self, names: impl IntoIterator<Item = &'a str>) -> Self {
        let kinds = names.into_iter();
        self.kinds = kinds
            .map(|name| (name.to_owned(), RequestMeasured::default()))
            .collect();
        if self.kinds.len() == 1 {
            self.kinds.clear();
        }
        self
    }

    /// Tells that these endpoints were there before the first request: they are not young when they first answer.
    pub fn were_there(&mut self, endpoints: impl IntoIterator<Item = SocketAddr>) {
        for address in endpoints {
            self.endpoints.was_there(address);
        }
    }

    /// As which endpoint the requests of this one are counted; `None` above the bound of those told apart.
    pub fn endpoint(&mut self, address: SocketAddr) -> Option<EndpointIndex> {
        self.endpoints.index(address)
    }

    /// Tells that the next request that is offered should start at `intended`.
    pub fn expect_next(&mut self, intended: Duration) {
        self.upcoming = intended.as_secs();
    }

    /// Counts a request whose moment has come, and says whether it may be sent; if not, because `in_flight_max` are
    /// under way, it counts as dropped.
    pub fn offer(&mut self, intended: Duration, kind: usize, in_flight_max: usize) -> bool {
        let sent = self.in_flight < in_flight_max as u64;
        self.in_flight += u64::from(sent);
        if let Some((_, kind)) = self.kinds.get_mut(kind) {
            kind.counts.offered += 1;
            kind.counts.dropped += u64::from(!sent);
        }
        let slot = self.slot(intended);
        slot.counts.offered += 1;
        slot.counts.dropped += u64::from(!sent);
        sent
    }

    /// Counts a request that was offered and has ended.
    pub fn finished(&mut self, request: &Finished) {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.measured.retried += u64::from(request.retried);
        let answered = matches!(request.outcome, Ok(()) | Err(ErrorClass::Timeout));
        if !self.is_prompt {
            self.measured.lag.record(request.lag);
            if let (true, Some(raw)) = (answered, request.raw) {
                self.measured.raw.record(raw);
            }
        }
        if let Some((_, kind)) = self.kinds.get_mut(request.kind) {
            kind.counts.count(request.outcome);
            if answered {
                kind.latency.record(request.latency);
            }
        }
        let ended = request.intended + request.latency;
        let endpoint = request.endpoint;
        let endpoint =
            endpoint.and_then(|index| self.endpoints.count(index, ended, request.outcome));
        let slot = self.slot(request.intended);
        slot.counts.count(request.outcome);
        slot.late += u64::from(LATE < request.lag);
        if answered {
            slot.latencies.record(request.latency);
        }
        if let Some(endpoint) = endpoint {
            slot.count_endpoint(endpoint.index, request.outcome);
            if endpoint.young && request.outcome.is_ok() {
                slot.young.record(request.latency);
            }
        }
    }

    /// Tells that `second` has begun: publishes the seconds that ended a whole second ago, and folds those of which
    /// every request has ended.
    pub fn advance(&mut self, second: u64) -> Vec<Progress> {
        let published = self.publish_before(second.saturating_sub(1));
        self.fold_before(second.saturating_sub(1));
        published
    }

    /// The same for whoever does not ask how far it is: nothing is told of the seconds, which saves computing it.
    pub fn pass(&mut self, second: u64) {
        let end = self.publishable(second.saturating_sub(1));
        self.next_published = self.next_published.max(end);
        self.fold_before(second.saturating_sub(1));
    }

    /// What was measured, and the seconds that were not published yet. What is still under way is unfinished.
    #[must_use]
    pub fn finish(mut self, elapsed: Duration, interrupted: bool) -> (Measured, Vec<Progress>) {
        let end = self
            .open
            .last_key_value()
            .map_or(0, |(second, _)| second + 1);
        let end = end.max(self.measured.slots.len() as u64);
        self.upcoming = u64::MAX;
        self.in_flight = 0;
        for slot in self.open.values_mut() {
            slot.counts.unfinished += slot.counts.pending();
        }
        let rest = self.publish_before(end);
        self.fold_before(end);
        let mut measured = self.measured;
        if self.is_prompt {
            let ended = measured.counts.ok + measured.counts.errors();
            measured.lag.record_many(Duration::ZERO, ended);
            measured.raw = measured.latency.clone();
        }
        measured.elapsed = elapsed;
        measured.interrupted = interrupted;
        if measured.closed {
            measured.planned = measured.counts.offered;
        }
        measured.endpoints = self.endpoints.counted();
        for (name, mut kind) in self.kinds {
            kind.counts.unfinished += kind.counts.pending();
            measured.requests.insert(name, kind);
        }
        (measured, rest)
    }

    /// Requests that were offered, not dropped, and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> u64 {
        self.in_flight
    }

    /// Gives away the seconds recorded since it was last asked; the totals stay until the end.
    pub(crate) fn take_part(&mut self) -> Part {
        Part {
            open: std::mem::take(&mut self.open),
            endpoints: self.endpoints.numbered(),
            kinds: self
                .kinds
                .iter_mut()
                .map(|(_, kind)| std::mem::take(kind))
                .collect(),
            upcoming: self.upcoming,
            in_flight: self.in_flight,
        }
    }

    /// Adds what another recorder knew since it was last asked.
    pub(crate) fn absorb(&mut self, part: Part) {
        let indices: Vec<Option<u16>> = part
            .endpoints
            .iter()
            .map(|(address, first_ok_s)| self.endpoints.known(*address, *first_ok_s))
            .collect();
        for (second, slot) in part.open {
            self.endpoints.add(&slot, &indices);
            self.open.entry(second).or_default().add(&slot, &indices);
        }
        for ((_, own), part) in self.kinds.iter_mut().zip(&part.kinds) {
            own.counts.add(&part.counts);
            own.latency.add(&part.latency);
        }
    }

    /// Adds the totals of another recorder, which has given away its seconds.
    pub(crate) fn absorb_totals(&mut self, other: &Self) {
        self.measured.lag.add(&other.measured.lag);
        self.measured.raw.add(&other.measured.raw);
        self.measured.retried += other.measured.retried;
    }

    /// Tells how far all recorders together are.
    pub(crate) fn expect(&mut self, upcoming: u64, in_flight: u64) {
        (self.upcoming, self.in_flight) = (upcoming, in_flight);
    }

    /// Everything until now.
    #[must_use]
    pub fn so_far(&self) -> SoFar {
        let mut so_far = SoFar {
            counts: self.measured.counts,
            late: self.measured.late,
            latency: self.measured.latency.clone(),
            requests: self.kinds.iter().cloned().collect(),
            slots: Vec::new(),
        };
        for slot in self.open.values() {
            so_far.counts.add(&slot.counts);
            so_far.late += slot.late;
            slot.latencies.add_to(&mut so_far.latency);
        }
        so_far
    }

    /// Every second that is published, also those of which requests are still under way.
    pub(crate) fn published(&self) -> Vec<Slot> {
        let folded = self.measured.slots.iter().cloned();
        let open = self.measured.slots.len() as u64..self.next_published;
        let open = open.map(|second| self.open.get(&second).map(OpenSlot::folded));
        folded.chain(open.map(Option::unwrap_or_default)).collect()
    }

    fn publish_before(&mut self, end: u64) -> Vec<Progress> {
        let end = self.publishable(end);
        let seconds = self.next_published..end.max(self.next_published);
        self.next_published = seconds.end;
        seconds.map(|second| self.progress(second)).collect()
    }

    /// The end of the seconds before `end` of which no request will be offered any more.
    fn publishable(&self, end: u64) -> u64 {
        end.min(self.upcoming).min(self.last_second + 1)
    }

    fn progress(&self, second: u64) -> Progress {
        let folded = usize::try_from(second)
            .ok()
            .and_then(|at| self.measured.slots.get(at));
        let (counts, latencies) = match (self.open.get(&second), folded) {
            (Some(open), _) => {
                let mut latencies = Latencies::default();
                open.latencies.add_to(&mut latencies);
                latencies.record_many(Duration::from_secs(1), open.counts.pending());
                (open.counts, latencies)
            }
            (None, Some(folded)) => (folded.counts, folded.latencies().collect()),
            (None, None) => Default::default(),
        };
        let [p50, p95, p99] = [0.5, 0.95, 0.99].map(|q| latencies.quantile(q));
        Progress {
            second,
            counts,
            p50,
            p95,
            p99,
            in_flight: self.in_flight,
        }
    }

    /// Folds the leading seconds before `end` whose requests have all ended. The timeout ends every request, so the
    /// number of open seconds is bounded by it.
    fn fold_before(&mut self, end: u64) {
        let end = self.publishable(end);
        while (self.measured.slots.len() as u64) < end {
            let second = self.measured.slots.len() as u64;
            match self.open.remove(&second) {
                Some(open) if 0 < open.counts.pending() => {
                    self.open.insert(second, open);
                    return;
                }
                Some(mut open) => {
                    self.fold(&open);
                    open.clear();
                    self.spare = open;
                }
                None => self.fold(&OpenSlot::default()),
            }
        }
    }

    fn fold(&mut self, open: &OpenSlot) {
        let slot = open.folded();
        self.measured.counts.add(&slot.counts);
        self.measured.late += slot.late;
        self.measured.latency.add_pairs(&slot.latencies);
        self.pairs += slot.size();
        self.measured.slots.push(slot);
        while PAIRS_MAX < self.pairs && self.coarse < self.measured.slots.len() {
            let oldest = &mut self.measured.slots[self.coarse];
            self.pairs -= oldest.size();
            oldest.coarsen();
            self.pairs += oldest.size();
            self.coarse += 1;
        }
    }

    /// The open slot of a moment. Its second is never folded: either the moment is still to come, or its request is
    /// under way.
    fn slot(&mut self, intended: Duration) -> &mut OpenSlot {
        let second = intended.as_secs().min(self.last_second);
        let spare = &mut self.spare;
        self.open
            .entry(second)
            .or_insert_with(|| std::mem::take(spare))
    }
}

#[cfg(test)]
mod tests;
