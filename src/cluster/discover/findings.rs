//! What discovery found for each object, for whoever writes its status: what is wrong with it, which pods it selects and
//! which of them are no targets, and which secrets are missing.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::model::id::ServiceId;

/// Pods named in a finding as examples of what is left out: enough for a person to look at one.
pub const EXAMPLES_MAX: usize = 5;

/// Revisions counted apart: a Deployment has two during a rollout, three when it is corrected in the middle.
pub const REVISIONS_MAX: usize = 4;

/// What was found for every object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// By object. One that is not here does not exist, or is left out.
    pub objects: BTreeMap<ServiceId, Finding>,
    /// Whether objects are left out, since too many exist.
    pub is_full: bool,
}

/// What was found for one object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Finding {
    /// The object's UID: one of the same name later is another.
    pub uid: Arc<str>,
    /// The generation this is about, for `observedGeneration`.
    pub generation: i64,
    /// The generation that is served: another than `generation` when that is wrong and an earlier one was right; `None`
    /// when none was right.
    pub in_force: Option<i64>,
    /// What is wrong with the generation this is about.
    pub problem: Option<String>,
    /// What became of its pods; `None` for an object that selects none.
    pub pods: Option<PodsFound>,
    /// Secrets that have no value, a sentence for each that says what to do.
    pub secrets: Vec<String>,
}

/// What became of the pods of an object.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct PodsFound {
    /// Whether the pods of its namespace were listed completely once. Until then no pods means nothing.
    pub is_synced: bool,
    /// Why the pods shown may not be those of now, and what to do about it.
    pub problem: Option<String>,
    /// Pods that the selector selects.
    pub matched: usize,
    /// Targets that were never Ready.
    pub starting: usize,
    /// Targets that are or were Ready.
    pub ready: usize,
    /// Targets that were told to end.
    pub leaving: usize,
    /// Pods that are no targets, by reason.
    pub left_out: BTreeMap<LeftOut, usize>,
    /// Some of those, by name: the first by reason, then by age.
    pub examples: Vec<(Box<str>, LeftOut)>,
    /// Targets by `pod-template-hash`: more than one during a rollout. The most frequent [`REVISIONS_MAX`].
    pub revisions: BTreeMap<String, Revision>,
}

/// Targets of one revision of a Deployment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Revision {
    /// Those that were never Ready.
    pub starting: usize,
    /// Those that are or were Ready.
    pub ready: usize,
    /// Those that were told to end.
    pub leaving: usize,
}

/// Why a selected pod is no target.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum LeftOut {
    /// Its address is its node's, where others listen too.
    HostNetwork,
    /// None of its containers names the port.
    NoPort,
    /// More are selected than one object, or all of a namespace, may have.
    TooMany,
    /// Its address is another pod's by now.
    AddressTaken,
    /// It has no address yet.
    NoAddress,
    /// Its containers have ended.
    Over,
}

impl LeftOut {
    /// Whether somebody has to do something about it. The others are ordinary moments of a pod's life.
    pub fn is_problem(self) -> bool {
        matches!(self, Self::HostNetwork | Self::NoPort | Self::TooMany)
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::HostNetwork => {
                "uses its node's network (hostNetwork), where it cannot be told from others; it is not read"
            }
            Self::NoPort => "has no container that names the port; correct spec.source.pods.port or the pod",
            Self::TooMany => "is beyond the number of pods one object, or all of a namespace, may have; split it",
            Self::AddressTaken => "has lost its address to another pod",
            Self::NoAddress => "has no address yet",
            Self::Over => "has ended",
        })
    }
}

impl Revision {
    /// All its targets.
    pub fn targets(self) -> usize {
        self.starting + self.ready + self.leaving
    }
}
