//! The parts of a recorder that grow while requests are under way: one second of the load, and the endpoints that had
//! requests, by number.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;

use crate::measured::gathered::Gathered;
use crate::measured::{Counts, EndpointCounts, ErrorClass, Slot, SlotEndpoint, YOUNG};

/// Endpoints told apart. A long run over pods that come and go must not grow without end; above this, requests count
/// in the totals only.
const ENDPOINTS_MAX: usize = 4_096;

/// A second of which requests are still under way. Most have no young endpoint, and on a thread that gives its seconds
/// away many have no latency either.
#[derive(Debug, Default)]
pub(super) struct OpenSlot {
    pub(super) counts: Counts,
    pub(super) late: u64,
    pub(super) latencies: Gathered,
    pub(super) young: Gathered,
    /// What the endpoints did that had requests, ascending: of all that a long run knows, few are there at once.
    endpoints: Vec<SlotEndpoint>,
}

/// The endpoints that had requests, by number.
#[derive(Debug, Default)]
pub(super) struct Endpoints {
    indices: HashMap<SocketAddr, u16>,
    known: Vec<Known>,
}

/// An endpoint by its number among those of one recorder: looked up once, and not for each request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EndpointIndex(u16);

#[derive(Debug)]
struct Known {
    address: SocketAddr,
    counts: EndpointCounts,
    /// It was there before the first request, so it is never young.
    was_there: bool,
}

/// An endpoint that has just ended a request.
#[derive(Debug, Clone, Copy)]
pub(super) struct Counted {
    pub(super) index: u16,
    pub(super) young: bool,
}

impl OpenSlot {
    pub(super) fn count_endpoint(&mut self, index: u16, outcome: Result<(), ErrorClass>) {
        let endpoint = self.endpoint(index);
        match outcome {
            Ok(()) => endpoint.ok += 1,
            Err(_) => endpoint.errors += 1,
        }
    }

    /// Adds what another recorder knew of the same second; `indices` says which of our numbers each of its numbers is.
    pub(super) fn add(&mut self, other: &Self, indices: &[Option<u16>]) {
        self.counts.add(&other.counts);
        self.late += other.late;
        self.latencies.add(&other.latencies);
        self.young.add(&other.young);
        for theirs in &other.endpoints {
            let Some(index) = ours(theirs, indices) else {
                continue;
            };
            let own = self.endpoint(index);
            own.ok += theirs.ok;
            own.errors += theirs.errors;
        }
    }

    /// The same as it is kept when nothing is under way any more.
    pub(super) fn folded(&self) -> Slot {
        Slot {
            counts: self.counts,
            late: self.late,
            latencies: self.latencies.sparse(),
            young: self.young.sparse(),
            endpoints: self.endpoints.as_slice().into(),
        }
    }

    /// Becomes a second without requests, and keeps its memory.
    pub(super) fn clear(&mut self) {
        self.counts = Counts::default();
        self.late = 0;
        self.latencies.clear();
        self.young.clear();
        self.endpoints.clear();
    }

    fn endpoint(&mut self, index: u16) -> &mut SlotEndpoint {
        let place = self.endpoints.partition_point(|known| known.index < index);
        if self
            .endpoints
            .get(place)
            .is_none_or(|known| known.index != index)
        {
            let new = SlotEndpoint {
                index,
                ..SlotEndpoint::default()
            };
            self.endpoints.insert(place, new);
        }
        &mut self.endpoints[place]
    }
}

impl Endpoints {
    /// The number of an endpoint, a new one if it has none; `None` above the bound.
    pub(super) fn index(&mut self, address: SocketAddr) -> Option<EndpointIndex> {
        self.known_mut(address)
            .map(|known| EndpointIndex(known.counts.index))
    }

    pub(super) fn was_there(&mut self, address: SocketAddr) {
        if let Some(known) = self.known_mut(address) {
            known.was_there = true;
        }
    }

    /// Counts a request of an endpoint that ended at `ended`; `None` when the number is not of this recorder.
    pub(super) fn count(
        &mut self,
        EndpointIndex(index): EndpointIndex,
        ended: Duration,
        outcome: Result<(), ErrorClass>,
    ) -> Option<Counted> {
        let known = self.known.get_mut(usize::from(index))?;
        let ended_s = ended.as_secs_f64();
        match outcome {
            Ok(()) => known.counts.ok += 1,
            Err(_) => known.counts.errors += 1,
        }
        if outcome.is_ok() {
            known.heard(ended_s);
        }
        let first_ok_s = known.counts.first_ok_s;
        let is_new = first_ok_s.is_none_or(|first| ended_s < first + YOUNG.as_secs_f64());
        Some(Counted {
            index: known.counts.index,
            young: !known.was_there && is_new,
        })
    }

    /// The number of an endpoint of another recorder, where it gave its first good answer at `first_ok_s`.
    pub(super) fn known(&mut self, address: SocketAddr, first_ok_s: Option<f64>) -> Option<u16> {
        let known = self.known_mut(address)?;
        if let Some(first_ok_s) = first_ok_s {
            known.heard(first_ok_s);
        }
        Some(known.counts.index)
    }

    /// Counts what another recorder counted in one second.
    pub(super) fn add(&mut self, slot: &OpenSlot, indices: &[Option<u16>]) {
        for theirs in &slot.endpoints {
            let index = ours(theirs, indices);
            let known = index.and_then(|index| self.known.get_mut(usize::from(index)));
            let Some(known) = known else { continue };
            known.counts.ok += u64::from(theirs.ok);
            known.counts.errors += u64::from(theirs.errors);
        }
    }

    /// Every endpoint in the order of the numbers, and when it gave its first good answer.
    pub(super) fn numbered(&self) -> Vec<(SocketAddr, Option<f64>)> {
        let known = self.known.iter();
        known
            .map(|known| (known.address, known.counts.first_ok_s))
            .collect()
    }

    /// Those that had requests.
    pub(super) fn counted(&self) -> BTreeMap<SocketAddr, EndpointCounts> {
        let known = self.known.iter();
        known
            .filter(|known| 0 < known.counts.ok + known.counts.errors)
            .map(|known| (known.address, known.counts))
            .collect()
    }

    fn known_mut(&mut self, address: SocketAddr) -> Option<&mut Known> {
        let next = u16::try_from(self.known.len()).ok();
        let next = next.filter(|next| usize::from(*next) < ENDPOINTS_MAX);
        let index = match self.indices.get(&address) {
            Some(index) => *index,
            None => {
                let index = next?;
                self.indices.insert(address, index);
                self.known.push(Known {
                    address,
                    counts: EndpointCounts {
                        index,
                        ..EndpointCounts::default()
                    },
                    was_there: false,
                });
                index
            }
        };
        self.known.get_mut(usize::from(index))
    }
}

impl Known {
    /// It gave a good answer at `at_s`. Requests do not end in the order in which they are counted, so the earliest is
    /// looked for.
    fn heard(&mut self, at_s: f64) {
        let first = self.counts.first_ok_s.get_or_insert(at_s);
        *first = first.min(at_s);
    }
}

/// Our number of an endpoint of another recorder; `None` where it is not told apart.
fn ours(theirs: &SlotEndpoint, indices: &[Option<u16>]) -> Option<u16> {
    *indices.get(usize::from(theirs.index))?
}
