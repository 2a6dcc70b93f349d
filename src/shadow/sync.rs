//! One sync as it is kept: what was seen of it, and nothing that can be worked out again. How the shadow's decision
//! stands to the real one is judged here.

use std::collections::HashSet;
use std::sync::Arc;

use super::seen::{Pods, Served, Status, Wanted};
use crate::hpa::{Decision, MetricSpec, Pod};
use crate::model::time::Timestamp;

/// What the HPA was answered here, for one metric.
pub type Answered = Result<Served, Arc<str>>;

/// One sync of an HPA.
#[derive(Clone, Debug)]
pub struct Sync {
    /// When it decided: the time of its last read, or else that at which its status was seen.
    pub at: Timestamp,
    /// What it was to do.
    pub wanted: Arc<Wanted>,
    /// What was answered here to each metric of the spec; `None` for one that was not read here.
    pub reads: Box<[Option<Answered>]>,
    /// What the status said after it.
    pub status: Arc<Status>,
    /// Whether the HPA's status was seen then: while the watch is lost, `status` is that of an earlier sync.
    pub is_status_seen: bool,
    /// The pods there were; `None` where nobody lists them.
    pub pods: Option<Pods>,
}

/// How the shadow's decision stands to the HPA's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Agreement {
    /// It is the same number of replicas.
    Agreed,
    /// It is not, and everything that counts was seen.
    Parted,
    /// It is not, but something that may count was not seen here and was presumed.
    PartedUnseen,
    /// It is not, but the HPA may remember what was before this shadow began, or while it saw no status.
    PartedEarly,
    /// What the HPA decided is not known.
    Unclear,
}

// === impl Sync ===

impl Sync {
    /// `spec.replicas` of the scale when it began; `None` where the HPA could not say.
    pub fn current(&self) -> Option<i32> {
        self.status.current
    }

    /// What the HPA decided, as far as that was seen.
    pub fn decided(&self) -> Option<i32> {
        let decided = self.status.decided(&self.wanted.spec);
        decided.filter(|_| self.is_status_seen)
    }

    /// The heap that it alone holds, in bytes, what `before` holds as well not counted. Without the allocator's own
    /// share.
    pub(super) fn bytes(&self, before: Option<&Self>) -> usize {
        let shares = |is_same: &dyn Fn(&Self) -> bool| before.is_some_and(is_same);
        let mut bytes = size_of::<Self>() + size_of_val(&*self.reads);
        bytes += self.reads.iter().flatten().map(answer_bytes).sum::<usize>();
        if !shares(&|before| Arc::ptr_eq(&before.wanted, &self.wanted)) {
            bytes += self.wanted.bytes();
        }
        if !shares(&|before| Arc::ptr_eq(&before.status, &self.status)) {
            bytes += size_of::<Status>() + size_of_val(&*self.status.metrics);
            let is_new =
                |before: &Self| !Arc::ptr_eq(&before.status.conditions, &self.status.conditions);
            if before.is_none_or(is_new) {
                bytes += size_of_val(&*self.status.conditions);
                let texts = self.status.conditions.iter();
                bytes += texts
                    .map(|one| {
                        one.kind.len() + one.status.len() + one.reason.len() + one.message.len()
                    })
                    .sum::<usize>();
            }
        }
        bytes
            + pods_bytes(
                self.pods.as_ref(),
                before.and_then(|before| before.pods.as_ref()),
            )
    }
}

fn answer_bytes(answer: &Answered) -> usize {
    match answer {
        Ok(served) => size_of_val(&*served.values_milli),
        Err(message) => message.len(),
    }
}

fn pods_bytes(pods: Option<&Pods>, before: Option<&Pods>) -> usize {
    let Some(pods) = pods else { return 0 };
    if before.is_some_and(|before| Arc::ptr_eq(before, pods)) {
        return 0;
    }
    let known: HashSet<*const Pod> = before
        .into_iter()
        .flat_map(|before| before.iter())
        .map(Arc::as_ptr)
        .collect();
    let new = pods.iter().filter(|pod| !known.contains(&Arc::as_ptr(pod)));
    size_of_val(&**pods)
        + new
            .map(|pod| size_of::<Pod>() + pod.name.len())
            .sum::<usize>()
}

// === impl Agreement ===

impl Agreement {
    /// Every one, in the order of their names.
    pub const ALL: [Self; 5] = [
        Self::Agreed,
        Self::Parted,
        Self::PartedEarly,
        Self::PartedUnseen,
        Self::Unclear,
    ];

    /// As a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Agreed => "agreed",
            Self::Parted => "parted",
            Self::PartedEarly => "parted_early",
            Self::PartedUnseen => "parted_unseen",
            Self::Unclear => "unclear",
        }
    }

    /// Whether the HPA decided otherwise.
    pub fn is_parted(self) -> bool {
        matches!(self, Self::Parted | Self::PartedEarly | Self::PartedUnseen)
    }

    /// Of a `decision` beside what the HPA decided. `since` is when the shadow began to watch an HPA that had synced
    /// before, or to see its status again.
    pub(super) fn of(
        sync: &Sync,
        decision: &Decision,
        since: Option<Timestamp>,
        presumed: &[String],
    ) -> Self {
        let is_early = since.is_some_and(|since| sync.at.since(since) < sync.wanted.spec.memory());
        match sync.decided() {
            None => Self::Unclear,
            Some(real) if real == decision.desired => Self::Agreed,
            Some(_) if is_early => Self::PartedEarly,
            Some(_) if !presumed.is_empty() => Self::PartedUnseen,
            Some(_) => Self::Parted,
        }
    }

    /// Why the decisions differ, as far as is known: a clause.
    pub(super) fn cause(self, sync: &Sync, presumed: &[String]) -> Option<String> {
        if self == Self::Agreed {
            return None;
        }
        if !sync.is_status_seen {
            return Some(
                "its status was not being seen, since the watch of HPAs was lost".to_owned(),
            );
        }
        // The HPA's own word is worth more than any guess.
        if let Some(condition) = sync.status.failure("AbleToScale") {
            return Some(format!("{}: {}", condition.reason, condition.message));
        }
        Some(match self {
            Self::PartedEarly => {
                "the HPA may remember recommendations and changes from before the adapter watched it, or from while its \
                 watch was lost"
                    .to_owned()
            }
            Self::PartedUnseen => presumed.join("; "),
            _ => unlike_shown(sync).unwrap_or_else(|| {
                "everything that counts was seen, so its controller may have been restarted lately, or run with other \
                 flags than the defaults (tolerance, stabilization, CPU initialization)"
                    .to_owned()
            }),
        })
    }
}

/// A metric that was answered here and that the HPA's status does not have.
fn unlike_shown(sync: &Sync) -> Option<String> {
    let mut reads = sync.reads.iter().enumerate();
    let (index, _) = reads.find(|(index, read)| {
        matches!(read, Some(Ok(_))) && sync.status.metric(*index).is_none()
    })?;
    let name = sync
        .wanted
        .spec
        .metrics
        .get(index)
        .map_or("", MetricSpec::name);
    Some(format!(
        "{name} was answered here, but the HPA's status has no value of it: the answer may not have reached it"
    ))
}
