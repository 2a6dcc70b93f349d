//! Which statuses are written now: few, and those that say something new first. Pure: time is an argument.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::cluster::bucket::Bucket;
use crate::model::id::ServiceId;

use super::desired::Difference;

/// Writes a second, of all objects together. 5,000 objects whose numbers all move are gone round in four minutes, which
/// for the API server is the load of one busy controller.
pub(super) const WRITES_PER_SECOND: f64 = 20.0;

/// Writes that may come at once: a namespace's services, when their database stops.
pub(super) const WRITES_BURST: u32 = 40;

/// Between two writes of one object when something happened. Of a faster to and fro the last one counts.
pub(super) const CHANGE_EVERY: Duration = Duration::from_secs(1);

/// Between two writes of one object when only its numbers moved: the HPA looks every 15 s, so whoever compares the two
/// needs no more.
pub(super) const VALUES_EVERY: Duration = Duration::from_secs(15);

/// After a refusal that concerns one object, until it is tried again: what the API server does not take now it will
/// hardly take in a second.
pub(super) const REFUSED_RETRY: Duration = Duration::from_secs(60);

/// What is to be written, and what was when.
#[derive(Debug)]
pub(super) struct Schedule {
    slots: BTreeMap<ServiceId, Slot>,
    bucket: Bucket,
}

#[derive(Debug, Default)]
struct Slot {
    /// The newest attempt.
    tried: Option<Instant>,
    /// Refused until then.
    held_until: Option<Instant>,
    /// How far the status is behind, and since when.
    behind: Option<(Difference, Instant)>,
}

// === impl Schedule ===

impl Schedule {
    pub(super) fn new() -> Self {
        Self {
            slots: BTreeMap::new(),
            bucket: Bucket::new(WRITES_PER_SECOND, WRITES_BURST),
        }
    }

    /// Says how far the status of an object is from what it should be.
    pub(super) fn is_behind(&mut self, id: &ServiceId, by: Difference, now: Instant) {
        if by == Difference::None {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.behind = None;
            }
            return;
        }
        let slot = self.slots.entry(id.clone()).or_default();
        slot.behind = match slot.behind {
            Some((before, since)) if by <= before => Some((by, since)),
            _ => Some((by, now)),
        };
    }

    /// The objects to write now: changes first, then the one that has waited longest since it was written. Each counts
    /// as tried, whatever becomes of it.
    pub(super) fn take(&mut self, now: Instant) -> Vec<ServiceId> {
        let mut due: Vec<_> = self
            .slots
            .iter()
            .filter(|(_, slot)| slot.is_due(now))
            .filter_map(|(id, slot)| Some((slot.behind?, slot.tried, id)))
            .map(|((by, since), tried, id)| ((Reverse(by), tried, since), id))
            .collect();
        due.sort();
        due.truncate(self.bucket.take(due.len(), now));
        let taken: Vec<ServiceId> = due.into_iter().map(|(_, id)| id.clone()).collect();
        for id in &taken {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.tried = Some(now);
                slot.behind = None;
            }
        }
        taken
    }

    /// The API server does not take this object's status.
    pub(super) fn hold(&mut self, id: &ServiceId, now: Instant) {
        let slot = self.slots.entry(id.clone()).or_default();
        slot.held_until = Some(now + REFUSED_RETRY);
    }

    /// The object is gone, or another by the same name.
    pub(super) fn forget(&mut self, id: &ServiceId) {
        self.slots.remove(id);
    }
}

// === impl Slot ===

impl Slot {
    fn is_due(&self, now: Instant) -> bool {
        let Some((by, _)) = self.behind else {
            return false;
        };
        let every = match by {
            Difference::Change => CHANGE_EVERY,
            Difference::None | Difference::Values => VALUES_EVERY,
        };
        self.tried.is_none_or(|tried| tried + every <= now)
            && self.held_until.is_none_or(|until| until <= now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::HashMap;

    fn id(n: usize) -> ServiceId {
        ServiceId::new("shop", &format!("s{n:04}"))
    }

    fn seconds(start: Instant, s: f64) -> Instant {
        start + Duration::from_secs_f64(s)
    }

    #[test]
    fn what_says_nothing_new_is_never_written() {
        let start = crate::clock::instant();
        let mut schedule = Schedule::new();
        for s in 0..100 {
            schedule.is_behind(&id(0), Difference::None, seconds(start, f64::from(s)));
            assert!(schedule.take(seconds(start, f64::from(s))).is_empty());
        }
        assert!(schedule.slots.is_empty());
    }

    #[test]
    fn a_change_is_written_at_once_and_numbers_every_fifteen_seconds() {
        let start = crate::clock::instant();
        let mut schedule = Schedule::new();
        let mut written = Vec::new();
        for tenth in 0..400 {
            let s = f64::from(tenth) / 10.0;
            let by = if (200..230).contains(&tenth) {
                Difference::Change
            } else {
                Difference::Values
            };
            schedule.is_behind(&id(0), by, seconds(start, s));
            if !schedule.take(seconds(start, s)).is_empty() {
                written.push(s);
            }
        }
        assert_eq!(written, [0.0, 15.0, 20.0, 21.0, 22.0, 37.0]);
    }

    #[test]
    fn changes_go_before_numbers_and_the_oldest_before_the_newer() {
        let start = crate::clock::instant();
        let mut schedule = Schedule::new();
        for n in 0..100 {
            let by = if n % 10 == 0 {
                Difference::Change
            } else {
                Difference::Values
            };
            let now = seconds(start, (100 - n) as f64 / 100.0);
            schedule.is_behind(&id(n), by, now);
        }
        let taken = schedule.take(seconds(start, 2.0));
        assert_eq!(taken.len(), WRITES_BURST as usize);
        let changes: Vec<ServiceId> = (0..10).rev().map(|n| id(10 * n)).collect();
        assert_eq!(taken[..10], changes);
        assert_eq!(taken[10], id(99));
    }

    #[test]
    fn a_refused_object_waits_and_one_that_is_new_by_its_name_does_not() {
        let start = crate::clock::instant();
        let mut schedule = Schedule::new();
        let is_taken = |schedule: &mut Schedule, s: f64| {
            schedule.is_behind(&id(0), Difference::Change, seconds(start, s));
            !schedule.take(seconds(start, s)).is_empty()
        };
        assert!(is_taken(&mut schedule, 0.0));
        schedule.hold(&id(0), start);
        assert!(!is_taken(&mut schedule, 59.0));
        assert!(is_taken(&mut schedule, 60.0));
        schedule.hold(&id(0), seconds(start, 60.0));
        schedule.forget(&id(0));
        assert!(is_taken(&mut schedule, 60.1));
    }

    #[test]
    fn five_thousand_objects_are_gone_round_without_a_flood() {
        let start = crate::clock::instant();
        let mut schedule = Schedule::new();
        let mut first: HashMap<ServiceId, u32> = HashMap::new();
        // A look takes two seconds here, which the burst has room for.
        for second in (0..260).step_by(2) {
            let now = seconds(start, f64::from(second));
            (0..5_000).for_each(|n| schedule.is_behind(&id(n), Difference::Values, now));
            for id in schedule.take(now) {
                first.entry(id).or_insert(second);
            }
        }
        assert_eq!(first.len(), 5_000);
        assert!(first.values().all(|second| *second <= 250));
    }

    proptest! {
        #[test]
        fn no_bound_is_ever_passed_and_no_change_waits_while_below(
            ticks in proptest::collection::vec((1u64..3_000, proptest::collection::vec((0usize..60, 1u8..3), 0..60)), 1..60),
        ) {
            let start = crate::clock::instant();
            let mut schedule = Schedule::new();
            let mut last: HashMap<ServiceId, u64> = HashMap::new();
            let mut writes: Vec<u64> = Vec::new();
            let mut now_ms = 0;
            for (wait_ms, wants) in ticks {
                now_ms += wait_ms;
                let now = start + Duration::from_millis(now_ms);
                let mut wanted = HashMap::new();
                for (n, by) in wants {
                    let by = if by == 2 { Difference::Change } else { Difference::Values };
                    schedule.is_behind(&id(n), by, now);
                    wanted.insert(id(n), by);
                }
                let taken = schedule.take(now);
                for id in &taken {
                    if let Some(before) = last.insert(id.clone(), now_ms) {
                        prop_assert!(CHANGE_EVERY.as_millis() as u64 <= now_ms - before);
                    }
                    writes.push(now_ms);
                }
                let in_span = |span: u64| writes.iter().filter(|at| now_ms - span <= **at).count() as f64;
                for span in [0, 1_000, 10_000].map(|span: u64| span.min(now_ms)) {
                    let bound = f64::from(WRITES_BURST) + WRITES_PER_SECOND * span as f64 / 1000.0;
                    prop_assert!(in_span(span) <= bound + 1e-6);
                }
                let is_below = in_span(2_000.min(now_ms)) < f64::from(WRITES_BURST);
                for (id, by) in wanted {
                    let tried = last.get(&id).is_some_and(|at| now_ms - at < 1_000);
                    prop_assert!(by != Difference::Change || tried || !is_below, "{} waits", id);
                }
            }
        }
    }
}
