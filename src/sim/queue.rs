//! What is to happen, in order of time; what falls on one moment happens in the order in which it was planned, so that
//! a run is the same every time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;

use super::requests::Ref;

/// Something that happens at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    /// The work of a request is done, apart from what it calls.
    Worked(Ref),
    /// A request gets the connection that it waited for.
    Dial(Ref),
    /// A user of a closed loop asks again.
    User(u32),
    /// Nobody waits for the answers of a load any more.
    GiveUp(u32),
    /// A pod becomes ready.
    Ready(u32),
    /// A pod that was taken out ends, whatever it has.
    Kill(u32),
    /// The adapter reads a target.
    Scrape(u32),
    /// The adapter publishes a snapshot.
    Tick,
    /// Whoever watches the run reads the metrics.
    Look,
    /// Usage of CPU is measured.
    Measure,
    /// An HPA syncs: the one of this service.
    Sync(u32),
    /// The scenario does something.
    Act(u32),
    /// What it did is over.
    Over(u32),
}

/// An event and when it happens.
#[derive(Debug, PartialEq, Eq)]
struct Due {
    at: i64,
    number: u64,
    event: Event,
}

impl Ord for Due {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Due {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Everything that is planned.
#[derive(Debug, Default)]
pub(super) struct Queue {
    due: BinaryHeap<Reverse<Due>>,
    planned: u64,
}

impl Queue {
    /// Plans `event` for `at`, in nanoseconds.
    pub(super) fn push(&mut self, at: i64, event: Event) {
        self.planned += 1;
        self.due.push(Reverse(Due {
            at,
            number: self.planned,
            event,
        }));
    }

    /// When the next event is due.
    pub(super) fn next_at(&self) -> Option<i64> {
        self.due.peek().map(|Reverse(due)| due.at)
    }

    /// The next event.
    pub(super) fn pop(&mut self) -> Option<Event> {
        self.due.pop().map(|Reverse(due)| due.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_planned() {
        let mut queue = Queue::default();
        for (at, n) in [(5, 0), (3, 1), (5, 2), (-1, 3), (3, 4)] {
            queue.push(at, Event::Act(n));
        }
        let order: Vec<_> = std::iter::from_fn(|| queue.pop()).collect();
        assert_eq!(order, [3, 1, 4, 0, 2].map(Event::Act));
    }
}
