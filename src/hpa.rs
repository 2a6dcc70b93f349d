//! The HorizontalPodAutoscaler's arithmetic, as Kubernetes 1.36 does it.
//!
//! An [`Autoscaler`] is one HPA: it is given what the HPA would see each sync, and says what the HPA would do and why.
//! It never scales anything, reads nothing and keeps no clock, so that a demo, a simulation, a recording and the shadow
//! of a real HPA can all drive it. Lines that begin with `//=` name the function of
//! `kubernetes/pkg/controller/podautoscaler` that the next one follows.
//!
//! ```text
//! observation --> replicas: a proposal per metric --> the highest --> behavior: stabilize, limit --> decision
//! ```
//!
//! Not here: `HPAScaleToZero` (alpha, off by default), so no replicas means that the HPA is switched off; and what goes
//! wrong before there is anything to observe, with its reasons (`FailedGetScale`, `FailedUpdateScale`, `InvalidSelector`,
//! `AmbiguousSelector`, `InvalidMetricSourceType`), which is for whoever reads and writes the cluster to say.

pub mod behavior;
pub mod conditions;
pub mod observation;
pub mod replicas;
pub mod spec;
pub mod sync;
pub mod told;

#[cfg(test)]
mod tests;

pub use behavior::{Limited, Memory, Recommendation, ScaleEvent, Stabilized};
pub use conditions::{Condition, Conditions, Reason};
pub use observation::{Answer, Observation, Phase, Pod, Readiness, ReadyStatus, Usage};
pub use replicas::{Current, Exclusion, Proposal};
pub use spec::{
    Behavior, MetricSpec, Policy, PolicyUnit, ResourceTarget, Rules, Select, Spec, Target,
    Tolerances,
};

use std::time::Duration;

use self::replicas::{Context, propose};
use crate::model::time::Timestamp;

/// How often the HPA controller looks, unless its `--horizontal-pod-autoscaler-sync-period` says otherwise.
pub const SYNC_PERIOD: Duration = Duration::from_secs(15);

/// One HPA: its spec, and what it remembers from sync to sync.
#[derive(Clone, Debug)]
pub struct Autoscaler {
    spec: Spec,
    memory: Memory,
    conditions: Conditions,
}

/// What an HPA does in one sync, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// When.
    pub at: Timestamp,
    /// The replicas there were to be before.
    pub current: i32,
    /// The replicas there are to be now.
    pub desired: i32,
    /// How the number came about.
    pub path: Path,
    /// The conditions after this sync.
    pub conditions: Conditions,
}

/// How a decision came about.
#[derive(Clone, Debug, PartialEq)]
pub enum Path {
    /// The target has no replicas, which means that somebody switched it off.
    Disabled,
    /// There were more replicas than the most: they are set to it, and no metric is read.
    AboveMax,
    /// There were fewer replicas than the fewest: they are set to it, and no metric is read.
    BelowMin,
    /// Metrics were read, but too many failed: the replicas stay.
    Failed {
        /// What each metric proposed.
        proposals: Vec<Result<Proposal, String>>,
    },
    /// Metrics decided.
    Metrics {
        /// What each metric proposed.
        proposals: Vec<Result<Proposal, String>>,
        /// Which proposal won: an index into the spec's metrics.
        winner: usize,
        /// What it became in view of earlier ones.
        stabilized: Stabilized,
        /// What bounds and rates left of that.
        limited: Limited,
    },
}

// === impl Autoscaler ===

impl Autoscaler {
    /// An HPA that has not synced yet.
    pub fn new(spec: Spec) -> Self {
        Self::resume(spec, Memory::default())
    }

    /// An HPA that remembers what another did. The conditions it has not set yet are unknown.
    pub fn resume(spec: Spec, memory: Memory) -> Self {
        Self {
            spec,
            memory,
            conditions: Conditions::default(),
        }
    }

    /// The spec it follows.
    pub fn spec(&self) -> &Spec {
        &self.spec
    }

    /// What it remembers.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Follows another spec from the next sync on; what it remembers stays, as when an HPA is edited.
    pub fn set_spec(&mut self, spec: Spec) {
        self.spec = spec;
    }

    /// Does one sync, and takes it that the target is scaled as decided.
    pub fn reconcile(&mut self, now: Timestamp, observed: &Observation) -> Decision {
        let decision = self.decide(now, observed);
        self.scaled(now, decision.current, decision.desired);
        decision
    }

    /// Does one sync beside the real HPA: decides by `spec` on what was seen, and takes it that the target was scaled as
    /// the real one had it. Where that is not known, its own decision stands in.
    pub fn follow(
        &mut self,
        now: Timestamp,
        spec: &Spec,
        observed: &Observation,
        real: Option<i32>,
    ) -> Decision {
        if *spec != self.spec {
            self.set_spec(spec.clone());
        }
        let decision = self.decide(now, observed);
        self.scaled(now, decision.current, real.unwrap_or(decision.desired));
        decision
    }

    /// Notes that the HPA changed the target's replicas, for rates to count. What others change is not told.
    pub fn scaled(&mut self, now: Timestamp, from: i32, to: i32) {
        if from != to {
            self.memory
                .scaled(now, self.spec.behavior.as_ref(), from, to);
        }
    }

    /// Does one sync, but leaves it to the caller to say how the target was [`scaled`](Self::scaled): for the shadow of
    /// an HPA that may have decided otherwise.
    //= horizontal.go reconcileAutoscaler
    pub fn decide(&mut self, now: Timestamp, observed: &Observation) -> Decision {
        let current = observed.spec_replicas;
        self.conditions.able_to_scale =
            Condition::holds(Reason::SucceededGetScale, "the target's scale was read");
        self.memory.begin(now, current);
        let (desired, path) = if current == 0 {
            self.conditions.scaling_active = Condition::fails(
                Reason::ScalingDisabled,
                "the target has no replicas: autoscaling is off until it has some",
            );
            (current, Path::Disabled)
        } else if self.spec.max_replicas < current {
            (self.spec.max_replicas, Path::AboveMax)
        } else if current < self.spec.min_replicas {
            (self.spec.min_replicas, Path::BelowMin)
        } else {
            self.follow_metrics(now, observed)
        };
        if desired != current {
            self.conditions.able_to_scale = Condition::holds(
                Reason::SucceededRescale,
                format!("the target was scaled to {desired}"),
            );
        }
        Decision {
            at: now,
            current,
            desired,
            path,
            conditions: self.conditions.clone(),
        }
    }

    /// The metrics' part of a sync.
    //= horizontal.go computeReplicasForMetrics, normalizeDesiredReplicas, normalizeDesiredReplicasWithBehaviors
    fn follow_metrics(&mut self, now: Timestamp, observed: &Observation) -> (i32, Path) {
        let current = observed.spec_replicas;
        let proposals = proposals(now, &self.spec, observed);
        let winner = winner(&proposals);
        let failed = first_failure(&proposals);
        let (winner, wanted) = match (winner, failed) {
            // A metric that fails might have wanted more, so nothing goes down without it.
            (Some((_, wanted)), Some(failed)) if wanted < current => {
                return self.fail(current, failed, proposals);
            }
            (None, Some(failed)) => return self.fail(current, failed, proposals),
            // An HPA without metrics cannot be: the API server fills in CPU.
            (None, None) => return (current, Path::Failed { proposals }),
            (Some(winner), _) => winner,
        };
        let metric = self
            .spec
            .metrics
            .get(winner)
            .map(ToString::to_string)
            .unwrap_or_default();
        self.conditions.scaling_active = Condition::holds(
            Reason::ValidMetricFound,
            format!("the replica count comes from {metric}"),
        );
        let behavior = self.spec.behavior.as_ref();
        let stabilized = self.memory.stabilize(now, behavior, current, wanted.max(0));
        let limited = self.memory.limit(now, &self.spec, current, stabilized.to);
        self.conditions.able_to_scale = Condition::holds(stabilized.reason, stabilized.to_string());
        self.conditions.scaling_limited = if limited.to == stabilized.to {
            Condition::fails(limited.reason, limited.to_string())
        } else {
            Condition::holds(limited.reason, limited.to_string())
        };
        (
            limited.to,
            Path::Metrics {
                proposals,
                winner,
                stabilized,
                limited,
            },
        )
    }

    /// Leaves the replicas as they are, for what the `failed` metric says.
    fn fail(
        &mut self,
        current: i32,
        failed: (usize, String),
        proposals: Vec<Result<Proposal, String>>,
    ) -> (i32, Path) {
        let (index, error) = failed;
        if let Some(metric) = self.spec.metrics.get(index) {
            self.conditions.scaling_active = Condition::fails(
                Reason::failed(metric),
                format!("no replica count from {metric}: {error}"),
            );
        }
        (current, Path::Failed { proposals })
    }
}

/// What each metric proposes.
fn proposals(now: Timestamp, spec: &Spec, observed: &Observation) -> Vec<Result<Proposal, String>> {
    let context = Context {
        now,
        observed,
        tolerances: spec.tolerances(),
    };
    let unread = Err("the metric was not read".to_owned());
    let answers = observed.answers.iter().chain(std::iter::repeat(&unread));
    spec.metrics
        .iter()
        .zip(answers)
        .map(|(metric, answer)| propose(context, metric, answer))
        .collect()
}

/// The highest proposal with its index; of equal ones the first, but of zeros the last, as the controller's loop has it.
//= horizontal.go computeReplicasForMetrics
fn winner(proposals: &[Result<Proposal, String>]) -> Option<(usize, i32)> {
    let mut best = None;
    for (index, proposal) in proposals.iter().enumerate() {
        if let Ok(Proposal { replicas, .. }) = *proposal
            && best.is_none_or(|(_, highest)| highest == 0 || highest < replicas)
        {
            best = Some((index, replicas));
        }
    }
    best
}

/// The first metric that gave no proposal, and why.
fn first_failure(proposals: &[Result<Proposal, String>]) -> Option<(usize, String)> {
    let failures = proposals.iter().enumerate();
    failures
        .filter_map(|(index, proposal)| Some((index, proposal.as_ref().err()?.clone())))
        .next()
}
