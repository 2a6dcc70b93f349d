//! One HPA that is watched: from reads and versions of its object to syncs.
//!
//! A sync shows in two ways. The HPA controller reads its metrics here, one after the other; and when it is done it
//! writes the HPA's status, if anything of that is new. So a sync with reads ends with the next version of the status,
//! or when the next sync begins, or when none came for as long as a slow API server may take; and a new status without
//! any reads before it is a sync as well: its reads went to another replica, or it needed none.

use std::sync::Arc;

use super::ring::{Outcome, Ring};
use super::seen::{Object, Pods, Read, Status, Wanted};
use super::sync::{Answered, Sync};
use crate::hpa::Pod;
use crate::hpa::sync::{DECISION_DELAY, begins_another};
use crate::model::selector::Selector;
use crate::model::time::Timestamp;

/// One HPA, and what is remembered of it.
#[derive(Clone, Debug)]
pub(super) struct Watched {
    uid: Box<str>,
    wanted: Arc<Wanted>,
    status: Arc<Status>,
    /// What selects its target's pods; `None` while the target's scale could not be read.
    selector: Option<Arc<Selector>>,
    /// A sync that is not over.
    open: Option<Open>,
    /// Whether what its object says now would be heard.
    is_seen: bool,
    ring: Ring,
}

/// A sync that is not over.
#[derive(Clone, Debug)]
struct Open {
    last: Timestamp,
    wanted: Arc<Wanted>,
    reads: Box<[Option<Answered>]>,
    pods: Option<Pods>,
}

// === impl Watched ===

impl Watched {
    /// An HPA that is seen for the first time.
    pub(super) fn new(now: Timestamp, object: Object) -> Self {
        let is_from_its_beginning = object.status.current.is_none();
        Self {
            ring: Ring::new(now, &object.wanted, is_from_its_beginning),
            uid: object.uid,
            wanted: Arc::new(object.wanted),
            status: Arc::new(object.status),
            selector: None,
            open: None,
            is_seen: true,
        }
    }

    /// What it is to do.
    pub(super) fn wanted(&self) -> &Wanted {
        &self.wanted
    }

    /// Its syncs.
    pub(super) fn ring(&self) -> &Ring {
        &self.ring
    }

    /// What it takes beside its syncs, in bytes.
    pub(super) fn own_bytes(&self) -> usize {
        size_of::<Self>() + self.wanted.bytes() + self.ring.state_bytes()
    }

    /// All that it takes, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.own_bytes() + self.ring.bytes()
    }

    /// Its syncs, to forget some.
    pub(super) fn ring_mut(&mut self) -> &mut Ring {
        &mut self.ring
    }

    /// What selects its pods.
    pub(super) fn selector(&self) -> Option<&Arc<Selector>> {
        self.selector.as_ref()
    }

    /// Takes what selects its pods.
    pub(super) fn select(&mut self, selector: Arc<Selector>) {
        self.selector = Some(selector);
    }

    /// Whether an object is the one that is watched, and not another of its name.
    pub(super) fn is(&self, object: &Object) -> bool {
        *self.uid == *object.uid
    }

    /// Whether it reads such a metric.
    pub(super) fn has(&self, read: &Read) -> bool {
        self.wanted.metric(read.metric, &read.selector).is_some()
    }

    /// The watch is lost: until it is back, what the HPA does is not known.
    pub(super) fn lose(&mut self) {
        self.is_seen = false;
    }

    /// The watch is back.
    pub(super) fn see_again(&mut self, now: Timestamp) {
        if !std::mem::replace(&mut self.is_seen, true) {
            self.ring.see_again(now);
        }
    }

    /// Takes a new version of the object; says what came of a sync that this ends.
    pub(super) fn apply(
        &mut self,
        now: Timestamp,
        object: Object,
        pods: Option<Pods>,
    ) -> Option<Outcome> {
        if *self.wanted != object.wanted {
            if self.wanted.target != object.wanted.target {
                self.selector = None;
            }
            self.wanted = Arc::new(object.wanted);
        }
        if *self.status == object.status {
            return None;
        }
        let mut status = object.status;
        if status.conditions == self.status.conditions {
            status.conditions = Arc::clone(&self.status.conditions);
        }
        self.status = Arc::new(status);
        let open = self.open.take().unwrap_or_else(|| Open {
            last: now,
            reads: vec![None; self.wanted.spec.metrics.len()].into(),
            wanted: Arc::clone(&self.wanted),
            pods,
        });
        self.close(open)
    }

    /// Takes a read that it made, and the pods there were then; says what came of the sync before, if that ends with
    /// it.
    pub(super) fn read(&mut self, read: Read, pods: Option<Pods>) -> Option<Outcome> {
        let Read {
            at,
            metric,
            selector,
            answer,
            ..
        } = read;
        let had = self.wanted.times(metric, &selector);
        let ended = self.open.take_if(|open| {
            let seen = open.times_read(metric, &selector);
            begins_another(open.last, at, had, seen)
        });
        let outcome = ended.and_then(|open| self.close(open));
        let pods = pods.map(|pods| self.share(pods));
        let answer = answer.map_err(|message| self.share_message(message));
        let open = self.open.get_or_insert_with(|| Open {
            last: at,
            reads: vec![None; self.wanted.spec.metrics.len()].into(),
            wanted: Arc::clone(&self.wanted),
            pods: None,
        });
        open.last = at;
        open.pods = pods.or_else(|| open.pods.take());
        if let Some(index) = open.free(metric, &selector) {
            open.reads[index] = Some(answer);
        }
        outcome
    }

    /// Ends a sync whose status has nothing new to say; says what came of it.
    pub(super) fn tick(&mut self, now: Timestamp) -> Option<Outcome> {
        let over = self
            .open
            .take_if(|open| DECISION_DELAY <= now.since(open.last));
        over.and_then(|open| self.close(open))
    }

    /// Keeps a sync that is over. One before the HPA ever wrote a status tells nothing yet.
    fn close(&mut self, open: Open) -> Option<Outcome> {
        self.status.current?;
        let pods = open.pods.map(|pods| self.share(pods));
        Some(self.ring.push(Sync {
            at: open.last,
            wanted: open.wanted,
            reads: open.reads,
            status: Arc::clone(&self.status),
            is_status_seen: self.is_seen,
            pods,
        }))
    }

    /// The list of pods with what it has in common with the last one.
    fn share(&self, pods: Pods) -> Pods {
        let before = self.open.as_ref().and_then(|open| open.pods.as_ref());
        let kept = self.ring.newest().and_then(|newest| newest.pods.as_ref());
        let Some(before) = before.or(kept) else {
            return pods;
        };
        if **before == *pods {
            return Arc::clone(before);
        }
        // They come in the order of their names; out of it some would only be held twice.
        let known = |pod: &Arc<Pod>| {
            let place = before
                .binary_search_by(|known| known.name.cmp(&pod.name))
                .ok()?;
            before.get(place).filter(|known| *known == pod)
        };
        pods.iter()
            .map(|pod| Arc::clone(known(pod).unwrap_or(pod)))
            .collect()
    }

    /// A message with the one before, where it is the same.
    fn share_message(&self, message: Arc<str>) -> Arc<str> {
        let newest = self.ring.newest();
        let mut known = newest.into_iter().flat_map(|newest| newest.reads.iter());
        known
            .find_map(|read| match read {
                Some(Err(known)) if *known == message => Some(Arc::clone(known)),
                _ => None,
            })
            .unwrap_or(message)
    }
}

// === impl Open ===

impl Open {
    fn times_read(&self, metric: &str, selector: &str) -> usize {
        let places = self.places(metric, selector);
        places.filter(|index| self.reads[*index].is_some()).count()
    }

    /// The first metric of that name and selector that was not read yet.
    fn free(&self, metric: &str, selector: &str) -> Option<usize> {
        let mut places = self.places(metric, selector);
        places.find(|index| self.reads[*index].is_none())
    }

    fn places(&self, metric: &str, selector: &str) -> impl Iterator<Item = usize> {
        self.wanted.metrics(metric, selector)
    }
}
