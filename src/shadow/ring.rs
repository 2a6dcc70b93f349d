//! The syncs of one HPA, as many as fit. Kept is what was seen; what was decided is decided again when somebody asks,
//! from the state before the oldest sync on. So a sync costs little to keep, and what is said of it cannot differ from
//! what the arithmetic says.
//!
//! An hour of an HPA with a latency and CPU whose values change each time is 73 KB with 3 pods and 86 KB with 100, if
//! the pods stay: about 300 bytes a sync, and 2 KB of the HPA itself. `the_memory_of_an_hour_is_as_documented` adds up
//! what each sync holds alone, by size and length, without the allocator's own share. To take a sync in is 0.3 ms with 20 pods in a build without
//! optimization, and to decide an hour again 15 ms;
//! `an_hour_is_decided_again_in_little_time_and_a_sync_taken_in_in_less` prints both.

use std::collections::VecDeque;
use std::time::Duration;

use super::observe::{Observed, observe};
use super::seen::{Id, Wanted};
use super::sync::{Agreement, Sync};
use crate::hpa::{Autoscaler, Decision, Memory, SYNC_PERIOD};
use crate::model::time::Timestamp;
use crate::story::Facts;
use crate::story::facts::{ChangeByOthers, HISTORY_MAX, Past, Real};

/// So long after a sync there must have been another: two periods, less what the controller is late at times.
const UNSEEN_AFTER: Duration = Duration::from_secs(29);

/// Most syncs that are kept of one HPA: an hour of them.
pub const SYNCS_MAX: usize = 240;

/// What is known of one sync.
#[derive(Clone, Debug)]
pub struct Known {
    /// The sync itself.
    pub facts: Facts,
    /// How it stands to what the HPA did.
    pub agreement: Agreement,
    /// What was presumed for it, since nobody saw it: a clause each.
    pub presumed: Vec<String>,
    /// The replicas that the sync before had left, where somebody else changed them in between.
    pub changed_by_others: Option<i32>,
    /// Since when the HPA is watched.
    pub since: Timestamp,
    /// The oldest sync that is kept.
    pub oldest: Timestamp,
    /// The newest one.
    pub newest: Timestamp,
    /// How many are kept.
    pub syncs: usize,
    /// In how many of them the HPA decided otherwise.
    pub parted: usize,
}

/// Why nothing is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum NotKnown {
    /// There is no such HPA, or it reads no metric of ours.
    Autoscaler,
    /// It is watched, but has not synced yet.
    Yet {
        /// Since when.
        since: Timestamp,
    },
    /// There is no room for it.
    NoRoom,
    /// What is kept begins later.
    Before {
        /// Since when it is watched.
        since: Timestamp,
        /// The oldest sync that is kept.
        oldest: Timestamp,
    },
}

/// What a sync came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Outcome {
    /// How the decisions stand to each other.
    pub agreement: Agreement,
    /// Whether somebody else had changed the replicas before it.
    pub is_changed_by_others: bool,
}

/// The syncs of one HPA.
#[derive(Clone, Debug)]
pub struct Ring {
    since: Timestamp,
    /// When its status was last seen again after the watch was lost.
    seen_again: Option<Timestamp>,
    /// Whether the HPA had not synced yet when it was first seen, so that it remembers nothing more.
    is_from_its_beginning: bool,
    /// Before the oldest sync.
    begin: State,
    /// After the newest.
    end: State,
    syncs: VecDeque<Sync>,
    /// How each of them came out.
    agreements: VecDeque<Agreement>,
    bytes: usize,
}

/// An HPA between two syncs.
#[derive(Clone, Debug)]
struct State {
    hpa: Autoscaler,
    /// The replicas that the last sync left.
    left: Option<i32>,
    /// The last sync.
    last: Option<Sync>,
    last_change: Option<Past>,
    /// The last change that was not the HPA's.
    by_others: Option<ChangeByOthers>,
}

/// One sync, decided again.
struct Stepped {
    observed: Observed,
    memory: Memory,
    decision: Decision,
    changed_by_others: Option<i32>,
}

// === impl Ring ===

impl Ring {
    /// Of an HPA that is watched since `since`.
    pub(super) fn new(since: Timestamp, wanted: &Wanted, is_from_its_beginning: bool) -> Self {
        let state = State {
            hpa: Autoscaler::new(wanted.spec.clone()),
            left: None,
            last: None,
            last_change: None,
            by_others: None,
        };
        Self {
            since,
            seen_again: None,
            is_from_its_beginning,
            begin: state.clone(),
            end: state,
            syncs: VecDeque::new(),
            agreements: VecDeque::new(),
            bytes: 0,
        }
    }

    /// The newest sync.
    pub(super) fn newest(&self) -> Option<&Sync> {
        self.syncs.back()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.syncs.len()
    }

    /// Their heap, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The heap of what the HPA remembers before the oldest and after the newest, in bytes.
    pub(super) fn state_bytes(&self) -> usize {
        self.begin.bytes() + self.end.bytes()
    }

    /// From now on its status is seen again: what the HPA remembers of before is not known.
    pub(super) fn see_again(&mut self, now: Timestamp) {
        self.seen_again = Some(now);
    }

    /// Takes in a sync, and says what came of it. The oldest goes when there are too many.
    pub(super) fn push(&mut self, sync: Sync) -> Outcome {
        let stepped = self.end.step(&sync);
        let outcome = stepped.map_or(
            Outcome {
                agreement: Agreement::Unclear,
                is_changed_by_others: false,
            },
            |stepped| Outcome {
                agreement: self.agreement(&sync, &stepped),
                is_changed_by_others: stepped.changed_by_others.is_some(),
            },
        );
        self.bytes += sync.bytes(self.syncs.back());
        self.syncs.push_back(sync);
        self.agreements.push_back(outcome.agreement);
        if SYNCS_MAX < self.syncs.len() {
            self.drop_oldest();
        }
        outcome
    }

    /// Forgets the oldest sync, but not what follows from it.
    pub(super) fn drop_oldest(&mut self) {
        let Some(oldest) = self.syncs.pop_front() else {
            return;
        };
        self.agreements.pop_front();
        self.begin.step(&oldest);
        // What it shared with the next is now that one's own.
        let next = self.syncs.front();
        let with_it = oldest.bytes(None) + next.map_or(0, |next| next.bytes(Some(&oldest)));
        let without = next.map_or(0, |next| next.bytes(None));
        self.bytes = (self.bytes + without).saturating_sub(with_it);
    }

    /// The newest sync at or before `at`, or the newest of all.
    ///
    /// # Errors
    /// Why none is known.
    pub fn explain(&self, id: &Id, at: Option<Timestamp>) -> Result<Known, NotKnown> {
        let since = self.since;
        let (Some(oldest), Some(newest)) = (self.syncs.front(), self.syncs.back()) else {
            return Err(NotKnown::Yet { since });
        };
        let (oldest, newest) = (oldest.at, newest.at);
        let count = match at {
            None => self.syncs.len(),
            Some(at) => self.syncs.partition_point(|sync| sync.at <= at),
        };
        let mut state = self.begin.clone();
        let mut history = VecDeque::new();
        for (index, sync) in self.syncs.iter().take(count).enumerate() {
            let is_it = index + 1 == count;
            let last_change = state.last_change.clone();
            let Some(stepped) = state.step(sync) else {
                continue;
            };
            if is_it {
                let mut facts = facts(id, sync, &stepped);
                facts.last_change = last_change;
                facts.changed_by_others = state.by_others;
                facts.history = history.into();
                // A sync that came out so once stays so, whatever of what was before it is forgotten.
                let agreement = self.agreements.get(index).copied();
                let agreement = agreement.unwrap_or(Agreement::Unclear);
                tell_parting(&mut facts, agreement, sync, &stepped);
                return Ok(Known {
                    facts,
                    agreement,
                    presumed: stepped.observed.presumed,
                    changed_by_others: stepped.changed_by_others,
                    since,
                    oldest,
                    newest,
                    syncs: self.syncs.len(),
                    parted: self.agreements.iter().filter(|one| one.is_parted()).count(),
                });
            }
            if count <= index + 1 + HISTORY_MAX {
                history.push_back(past(id, sync, &stepped));
            }
        }
        Err(if count == 0 {
            NotKnown::Before { since, oldest }
        } else {
            NotKnown::Yet { since }
        })
    }

    fn agreement(&self, sync: &Sync, stepped: &Stepped) -> Agreement {
        let began = (!self.is_from_its_beginning).then_some(self.since);
        let since = self.seen_again.or(began);
        Agreement::of(sync, &stepped.decision, since, &stepped.observed.presumed)
    }
}

// === impl State ===

impl State {
    /// Its heap but for what it shares with the syncs, in bytes.
    fn bytes(&self) -> usize {
        let Memory {
            recommendations,
            ups,
            downs,
        } = self.hpa.memory();
        let spec = self.hpa.spec();
        let past = self.last_change.iter();
        size_of_val(&**recommendations)
            + size_of_val(&**ups)
            + size_of_val(&**downs)
            + size_of_val(&*spec.metrics)
            + past
                .map(|past| size_of_val(&*past.values_milli))
                .sum::<usize>()
    }

    /// Decides one sync, and takes over what the HPA made of it; `None` where too little of it is known to decide.
    fn step(&mut self, sync: &Sync) -> Option<Stepped> {
        let observed = observe(sync)?;
        self.repeat(sync.at);
        let memory = self.hpa.memory().clone();
        let real = sync.decided();
        let current = observed.observation.spec_replicas;
        // One that could not even read its target's scale remembers nothing of the sync.
        let before = real.is_none().then(|| self.hpa.clone());
        let spec = &sync.wanted.spec;
        let decision = self.hpa.follow(sync.at, spec, &observed.observation, real);
        if let Some(before) = before {
            self.hpa = before;
        }
        // The HPA itself scaled, in a status that nobody saw, as while the watch was lost.
        let has_scaled_unseen = real == Some(current)
            && self
                .last
                .as_ref()
                .is_some_and(|last| last.status.last_scale < sync.status.last_scale);
        let changed_by_others = self
            .left
            .filter(|left| *left != current && sync.is_status_seen && !has_scaled_unseen);
        if let Some(from) = changed_by_others {
            self.by_others = Some(ChangeByOthers {
                at: sync.at,
                from,
                to: current,
            });
        }
        let left = real.unwrap_or(current);
        // What an unseen sync left is not known, and so neither whether somebody else changes it.
        self.left = sync.is_status_seen.then_some(left);
        self.last = Some(sync.clone());
        let stepped = Stepped {
            observed,
            memory,
            decision,
            changed_by_others,
        };
        if left != current {
            // The name is of no account in short.
            self.last_change = Some(past(&Id::new("", ""), sync, &stepped));
        }
        Some(stepped)
    }

    /// Where no sync was seen for long before `at`, those in between were as the last one that was: its reads went to
    /// another replica, and a status that is not written is one that would say nothing new. What the HPA remembers of
    /// them is the newest.
    fn repeat(&mut self, at: Timestamp) {
        let Some(last) = &self.last else { return };
        let is_steady = self.left == last.current();
        if !is_steady || at.since(last.at) < UNSEEN_AFTER {
            return;
        }
        let Some(observed) = observe(last) else {
            return;
        };
        let (spec, real) = (&last.wanted.spec, last.decided());
        self.hpa
            .follow(at - SYNC_PERIOD, spec, &observed.observation, real);
    }
}

/// The facts of a sync, without what was before it.
fn facts(id: &Id, sync: &Sync, stepped: &Stepped) -> Facts {
    let Wanted {
        target,
        spec,
        selectors,
    } = &*sync.wanted;
    let whose = (&*id.namespace, &*id.name, target.clone());
    let observation = &stepped.observed.observation;
    let memory = Some(stepped.memory.clone());
    let mut facts = Facts::new(whose, spec, observation, memory, &stepped.decision);
    for (index, metric) in facts.metrics.iter_mut().enumerate() {
        metric.selector = selectors.get(index).cloned().unwrap_or_default();
        if let Some(Some(Ok(served))) = sync.reads.get(index) {
            metric.state = served.state.map(str::to_owned);
            metric.age = served.oldest.map(|oldest| sync.at.since(oldest));
        }
    }
    facts.real = Some(Real {
        current_replicas: observation.spec_replicas,
        // A sync that fails leaves the replicas, and in the status what an earlier one wanted.
        desired_replicas: sync.decided().unwrap_or(observation.spec_replicas),
        last_scale_time: sync.status.last_scale,
        conditions: sync.status.conditions.to_vec(),
        parted: None,
    });
    facts
}

/// Says where the decisions part, and what may be the cause.
fn tell_parting(facts: &mut Facts, agreement: Agreement, sync: &Sync, stepped: &Stepped) {
    let cause = agreement.cause(sync, &stepped.observed.presumed);
    let (Some(cause), Some(real)) = (cause, &mut facts.real) else {
        return;
    };
    let ours = stepped.decision.desired;
    real.parted = Some(match sync.decided() {
        Some(theirs) => {
            format!("the HPA decided {theirs}, where this arithmetic gives {ours}: {cause}")
        }
        None if !sync.is_status_seen => {
            format!("what the HPA decided is not known, and this arithmetic gives {ours}: {cause}")
        }
        None => format!("the HPA decided nothing: {cause}"),
    });
}

/// A sync in short, with the replicas that it really left.
fn past(id: &Id, sync: &Sync, stepped: &Stepped) -> Past {
    let short = facts(id, sync, stepped).in_short();
    Past {
        desired_replicas: sync.decided().unwrap_or(short.desired_replicas),
        ..short
    }
}
