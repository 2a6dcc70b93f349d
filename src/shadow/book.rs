//! Every HPA that is watched, within bounds: how many, how many syncs of each, and how much memory for all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::ring::{Known, NotKnown, Outcome, Ring};
use super::seen::{Id, Object, Pods, Read, Wanted};
use super::sync::Agreement;
use super::watched::Watched;
use crate::model::selector::Selector;
use crate::model::time::Timestamp;

/// Most HPAs that are watched. A controller with its usual rate of 20 reads a second can keep 300 HPAs of one external
/// metric at their period of 15 s; this is three times as many.
pub const AUTOSCALERS_MAX: usize = 1_000;

/// Most HPAs of one namespace that are watched: whoever may make HPAs in one must not take the room of all others, and a
/// controller can hardly keep more of them at their period.
pub const PER_NAMESPACE_MAX: usize = 250;

/// Most that the metrics, selectors and rules of one HPA may take, in bytes, as [`Wanted::bytes`] counts: one with ten
/// metrics takes two thousand, and an object may have a million.
pub const WANTED_BYTES_MAX: usize = 8 * 1024;

/// What the book may hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// HPAs that are watched.
    pub autoscalers: usize,
    /// HPAs of one namespace that are watched.
    pub per_namespace: usize,
    /// Bytes for all of them, as [`Book::bytes`] counts. A third of the least memory that the manifests give: 330 HPAs
    /// with an hour each. With more of them, or with pods that come and go, it is less than an hour. At most half is for
    /// what HPAs take without a sync, so that those that are watched always have some.
    pub bytes: usize,
}

/// Every HPA that is watched.
#[derive(Debug, Default)]
pub struct Book {
    limits: Limits,
    watched: BTreeMap<Id, Watched>,
    /// Those that there was no room for, so that each counts once; of all and of each namespace as many as may be watched.
    refused: BTreeSet<Id>,
    bytes: usize,
    counts: Counts,
}

/// What happened, for counters.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Counts {
    /// Syncs by how the decisions stood to each other, in the order of [`Agreement::ALL`].
    pub decisions: [u64; Agreement::ALL.len()],
    /// Syncs before which somebody else had changed the replicas.
    pub changes_by_others: u64,
    /// Syncs forgotten before their hour, for want of room.
    pub forgotten_syncs: u64,
    /// HPAs not watched, for want of room: each once, however often its object changes.
    pub refused_autoscalers: u64,
    /// HPAs not watched, since their namespace has as many as it may: each once.
    pub refused_of_namespace: u64,
    /// HPAs not watched, since what they want is too large: each once.
    pub refused_too_large: u64,
}

/// Why an HPA is not watched.
#[derive(Clone, Copy)]
enum Refused {
    Full,
    Namespace,
    TooLarge,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            autoscalers: AUTOSCALERS_MAX,
            per_namespace: PER_NAMESPACE_MAX,
            bytes: 24 * 1024 * 1024,
        }
    }
}

// === impl Book ===

impl Book {
    /// An empty one.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            ..Self::default()
        }
    }

    /// Takes an HPA as its object says it now, with the pods that it counts.
    pub fn apply(&mut self, now: Timestamp, id: &Id, object: Object, pods: Option<Pods>) {
        let is_another = self.watched.get(id).is_some_and(|known| !known.is(&object));
        let is_too_large = WANTED_BYTES_MAX < object.wanted.bytes();
        if is_another || (is_too_large && self.watched.contains_key(id)) {
            self.remove(id);
        }
        if !self.watched.contains_key(id) {
            self.add(now, id, object);
            return;
        }
        self.change(id, |watched| watched.apply(now, object, pods));
    }

    fn add(&mut self, now: Timestamp, id: &Id, object: Object) {
        if let Some(why) = self.refusal(id, &object.wanted) {
            self.refuse(id, why);
            return;
        }
        self.refused.remove(id);
        let watched = Watched::new(now, object);
        self.bytes += watched.bytes();
        self.watched.insert(id.clone(), watched);
        self.make_room();
    }

    /// Why there is no room for an HPA, if there is none.
    fn refusal(&self, id: &Id, wanted: &Wanted) -> Option<Refused> {
        if WANTED_BYTES_MAX < wanted.bytes() {
            return Some(Refused::TooLarge);
        }
        if self.limits.autoscalers <= self.watched.len() {
            return Some(Refused::Full);
        }
        if self.limits.per_namespace <= self.of_namespace(&id.namespace).count() {
            return Some(Refused::Namespace);
        }
        let own = self.watched.values().map(Watched::own_bytes).sum::<usize>();
        (self.limits.bytes / 2 < own).then_some(Refused::Full)
    }

    fn refuse(&mut self, id: &Id, why: Refused) {
        let from = Id::new(&id.namespace, "");
        let of_namespace = self.refused.range(from..);
        let of_namespace = of_namespace.take_while(|other| other.namespace == id.namespace);
        let has_room = self.refused.len() < self.limits.autoscalers
            && of_namespace.count() < self.limits.per_namespace;
        if has_room && self.refused.insert(id.clone()) {
            *match why {
                Refused::Full => &mut self.counts.refused_autoscalers,
                Refused::Namespace => &mut self.counts.refused_of_namespace,
                Refused::TooLarge => &mut self.counts.refused_too_large,
            } += 1;
        }
    }

    /// The watch is lost: what HPAs do is not known until [`see_again`](Self::see_again).
    pub fn lose(&mut self) {
        self.watched.values_mut().for_each(Watched::lose);
    }

    /// The watch is back.
    pub fn see_again(&mut self, now: Timestamp) {
        let all = self.watched.values_mut();
        all.for_each(|watched| watched.see_again(now));
    }

    /// Forgets an HPA that is gone, or reads no metric of ours any more.
    pub fn remove(&mut self, id: &Id) {
        self.refused.remove(id);
        if let Some(gone) = self.watched.remove(id) {
            self.bytes -= gone.bytes();
        }
    }

    /// Forgets every HPA that is not among `ids`, which are all there are.
    pub fn retain(&mut self, ids: &BTreeSet<Id>) {
        self.refused.retain(|id| ids.contains(id));
        let gone: Vec<Id> = self
            .watched
            .keys()
            .filter(|id| !ids.contains(id))
            .cloned()
            .collect();
        for id in &gone {
            self.remove(id);
        }
    }

    /// Which HPA made a read: the only one that has such a metric. The controller does not say for whom it reads, so a
    /// read of a metric that several HPAs share is nobody's: their statuses alone tell of it, as of a read that another
    /// replica answered.
    pub fn whose<'b>(&'b self, read: &'b Read) -> Option<&'b Id> {
        let of_namespace = self.of_namespace(&read.namespace);
        let mut readers = of_namespace.filter(|(_, watched)| watched.has(read));
        let (id, _) = readers.next()?;
        readers.next().is_none().then_some(id)
    }

    /// Takes what selects an HPA's pods, as its target's scale has it.
    pub fn select(&mut self, id: &Id, selector: Arc<Selector>) {
        if let Some(watched) = self.watched.get_mut(id) {
            watched.select(selector);
        }
    }

    /// What selects an HPA's pods, as far as is known.
    pub fn selector(&self, id: &Id) -> Option<Arc<Selector>> {
        self.watched.get(id)?.selector().cloned()
    }

    /// Takes a read that an HPA made, with the pods there were then.
    pub fn read(&mut self, id: &Id, read: Read, pods: Option<Pods>) {
        self.change(id, |watched| watched.read(read, pods));
    }

    /// Ends the syncs that are over by now.
    pub fn tick(&mut self, now: Timestamp) {
        let mut outcomes = Vec::new();
        for watched in self.watched.values_mut() {
            let before = watched.bytes();
            outcomes.extend(watched.tick(now));
            self.bytes = self.bytes + watched.bytes() - before;
        }
        for outcome in outcomes {
            self.count(outcome);
        }
        self.make_room();
    }

    /// What is known of an HPA's newest sync, or of the newest one at or before `at`.
    ///
    /// # Errors
    /// Why nothing is.
    pub fn explain(&self, id: &Id, at: Option<Timestamp>) -> Result<Known, NotKnown> {
        self.known(id)?.explain(id, at)
    }

    /// The syncs of an HPA. A copy of them costs little, and lets the book go on while they are looked at.
    ///
    /// # Errors
    /// Why it has none: it is not watched.
    pub fn known(&self, id: &Id) -> Result<&Ring, NotKnown> {
        match self.watched.get(id) {
            Some(watched) => Ok(watched.ring()),
            None if self.refused.contains(id) => Err(NotKnown::NoRoom),
            None => Err(NotKnown::Autoscaler),
        }
    }

    /// The HPAs of a namespace that are watched, in the order of their names.
    pub fn names<'b>(&'b self, namespace: &'b str) -> impl Iterator<Item = &'b Id> {
        self.of_namespace(namespace).map(|(id, _)| id)
    }

    /// Every HPA that is watched, with what it wants and when it was last seen to sync.
    pub fn all(&self) -> impl Iterator<Item = (&Id, &Wanted, Option<Timestamp>)> {
        let all = self.watched.iter();
        all.map(|(id, watched)| {
            let newest = watched.ring().newest();
            (id, watched.wanted(), newest.map(|sync| sync.at))
        })
    }

    /// How many HPAs are watched.
    pub fn len(&self) -> usize {
        self.watched.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.watched.is_empty()
    }

    /// How many syncs are kept.
    pub fn syncs(&self) -> usize {
        self.watched
            .values()
            .map(|watched| watched.ring().len())
            .sum()
    }

    /// The bytes that all HPAs take, most of them for their syncs: what each holds, by size and length.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// What happened since this was last asked.
    pub fn take_counts(&mut self) -> Counts {
        std::mem::take(&mut self.counts)
    }

    fn of_namespace<'b>(
        &'b self,
        namespace: &'b str,
    ) -> impl Iterator<Item = (&'b Id, &'b Watched)> {
        let from = Id::new(namespace, "");
        let range = self.watched.range(from..);
        range.take_while(move |(id, _)| *id.namespace == *namespace)
    }

    fn change(&mut self, id: &Id, change: impl FnOnce(&mut Watched) -> Option<Outcome>) {
        let Some(watched) = self.watched.get_mut(id) else {
            return;
        };
        let before = watched.bytes();
        let outcome = change(watched);
        self.bytes = self.bytes + watched.bytes() - before;
        if let Some(outcome) = outcome {
            self.count(outcome);
        }
        self.make_room();
    }

    fn count(&mut self, outcome: Outcome) {
        let index = Agreement::ALL
            .iter()
            .position(|one| *one == outcome.agreement);
        if let Some(count) = index.and_then(|index| self.counts.decisions.get_mut(index)) {
            *count += 1;
        }
        self.counts.changes_by_others += u64::from(outcome.is_changed_by_others);
    }

    /// Forgets the oldest syncs of whoever has most, so that nobody's history is lost to another's.
    fn make_room(&mut self) {
        while self.limits.bytes < self.bytes {
            let all = self.watched.values_mut();
            let Some(largest) = all
                .filter(|watched| 0 < watched.ring().len())
                .max_by_key(|watched| watched.ring().bytes())
            else {
                return;
            };
            let before = largest.bytes();
            largest.ring_mut().drop_oldest();
            self.bytes = (self.bytes + largest.bytes()).saturating_sub(before);
            self.counts.forgotten_syncs += 1;
        }
    }
}
