//! What is known of one sync of one HPA, as plain data: what it saw, remembered and decided, and what became of it.
//!
//! This is what the adapter keeps and serves, and what a command without the adapter gathers by itself. In JSON, times are
//! RFC 3339 in UTC, fields that end in `Seconds` are seconds, and those in `Milli` thousandths of the metric's own unit.
//! Facts hold all that the arithmetic needs, so that [`Facts::again`] decides exactly as was decided, or as would be if
//! one of them were another. Nothing is judged here.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::hpa::replicas::{Context, excluded};
use crate::hpa::{
    Answer, Autoscaler, Condition, Conditions, Current, Decision, Exclusion, Limited, Memory,
    Observation, Path, Pod, Proposal, Reason, Spec,
};
use crate::model::time::{Timestamp, maybe_seconds, seconds};

/// Most earlier syncs that [`Facts::history`] should have: at the usual 15 s they are ten minutes, longer than any start of
/// a pod that a verdict waits for.
pub const HISTORY_MAX: usize = 40;

/// One sync of one HPA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Facts {
    /// The HPA's namespace.
    pub namespace: String,
    /// The HPA's name.
    pub name: String,
    /// What it scales.
    pub target: ScaleTarget,
    /// When it synced.
    pub at: Timestamp,
    /// What it asks for.
    pub spec: Spec,
    /// `spec.replicas` of the scale before the sync: how many were wanted.
    pub spec_replicas: i32,
    /// `status.replicas` of the scale: how many there were.
    pub status_replicas: i32,
    /// The pods that the scale's selector matches.
    pub pods: Vec<Pod>,
    /// What came of each of the spec's metrics, in that order.
    pub metrics: Vec<MetricFacts>,
    /// What it remembered when the sync began. `None` where nobody watched it before: then what stabilization and
    /// policies made of the metrics' proposals is not known, and [`outcome`](Self::outcome) ends with the winner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<Memory>,
    /// What follows from all this by the HPA's arithmetic.
    pub outcome: Outcome,
    /// What the HPA itself says and did, where that was read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub real: Option<Real>,
    /// The latest sync that changed the replicas, however long ago, where one was seen. Not this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_change: Option<Past>,
    /// The latest change of the replicas that was not the HPA's, however long ago, where one was seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_by_others: Option<ChangeByOthers>,
    /// Earlier syncs, oldest first, at most [`HISTORY_MAX`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Past>,
}

/// What an HPA scales.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ScaleTarget {
    /// Such as `Deployment`.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// What came of one metric.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricFacts {
    /// The metric's or the resource's name, as the spec has it.
    pub name: String,
    /// Its selector as it is sent; empty where it has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub selector: String,
    /// What was read; `None` where nothing was, or the read failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub answer: Option<Answer>,
    /// How much is known of the value, in the adapter's word (such as `ok`, `partial` or `no traffic`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub state: Option<String>,
    /// How old the oldest read behind the value was.
    #[serde(
        rename = "ageSeconds",
        with = "maybe_seconds",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub age: Option<Duration>,
    /// The replicas it proposes, before any limit; `None` where it has no proposal. May be negative when the metric is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub proposed_replicas: Option<i32>,
    /// The value over its target, as the tolerance judged it: 1 is on target.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ratio: Option<f64>,
    /// Whether the ratio is so near 1 that nothing is proposed but what there is.
    #[serde(default)]
    pub within_tolerance: bool,
    /// The value as the HPA's status shows it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub current: Option<Current>,
    /// Why it has no answer or no proposal: what the API said, or what the arithmetic found.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The pods that it does not count, or not as they are, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excluded: Vec<Excluded>,
}

/// A pod that a metric does not count, or not as it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Excluded {
    /// Its name.
    pub pod: String,
    /// Why.
    pub why: Exclusion,
}

/// What was decided, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Outcome {
    /// The replicas there are to be; without memory those there are, where metrics decide.
    pub desired_replicas: i32,
    /// By which way.
    pub way: Way,
    /// Which metric won: an index into [`Facts::metrics`]. Only where metrics decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<usize>,
    /// What the winner's proposal became in view of earlier ones. Only where metrics decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stabilized: Option<Stabilization>,
    /// What bounds and rates left of that. Only where metrics decided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limited: Option<Limited>,
    /// The conditions after it.
    pub conditions: Vec<ConditionFacts>,
}

/// The way a decision came about; [`hpa::Path`](Path) without what else is in [`Facts`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Way {
    /// The target has no replicas: autoscaling is switched off.
    Disabled,
    /// There were more than the most: no metric is read.
    AboveMax,
    /// There were fewer than the fewest: no metric is read.
    BelowMin,
    /// Too many metrics failed: the replicas stay.
    Failed,
    /// Metrics decided.
    Metrics,
}

/// What earlier recommendations made of the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Stabilization {
    /// What the metrics want now.
    pub from: i32,
    /// What is aimed at.
    pub to: i32,
    /// `ReadyForNewScale`, `ScaleUpStabilized` or `ScaleDownStabilized`.
    pub reason: Reason,
    /// The earlier recommendation that holds the longest, where one does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_by: Option<Held>,
}

/// An earlier recommendation that holds the replicas where they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Held {
    /// When it was made.
    pub at: Timestamp,
    /// How many replicas it wanted.
    pub replicas: i32,
    /// How long it still holds, from the sync's time on.
    #[serde(rename = "leftSeconds", with = "seconds")]
    pub left: Duration,
}

/// A condition of the HPA's status.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConditionFacts {
    /// `AbleToScale`, `ScalingActive` or `ScalingLimited`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    /// Why, in one word of Kubernetes'.
    pub reason: String,
    /// Why, for a reader.
    pub message: String,
}

/// What the HPA's own status says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Real {
    /// `status.currentReplicas`.
    pub current_replicas: i32,
    /// `status.desiredReplicas`.
    pub desired_replicas: i32,
    /// `status.lastScaleTime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_scale_time: Option<Timestamp>,
    /// `status.conditions`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<ConditionFacts>,
    /// Where its decision is another than [`Outcome`]: how they differ, and what may be the cause, as a sentence.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parted: Option<String>,
}

/// An earlier sync in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Past {
    /// When.
    pub at: Timestamp,
    /// The replicas there were to be before.
    pub spec_replicas: i32,
    /// The replicas there were to be after.
    pub desired_replicas: i32,
    /// The pods that were Running and Ready.
    pub ready_pods: u32,
    /// What each metric read, as [`read_milli`](MetricFacts::read_milli) has it, in the spec's order.
    pub values_milli: Vec<Option<i64>>,
    /// Which metric won.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub winner: Option<usize>,
}

/// A change of the replicas by somebody else than the HPA, such as `kubectl scale`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeByOthers {
    /// The sync that found it: it was made since the one before.
    pub at: Timestamp,
    /// What the HPA had left.
    pub from: i32,
    /// What the sync found.
    pub to: i32,
}

// === impl Facts ===

impl Facts {
    /// The facts of the sync in which `decision` was made of `observed` by an HPA of `spec` that remembered `memory`
    /// when it began. What the arithmetic does not know is left empty: selectors, states and ages of metrics, what the
    /// real HPA did, and what was before.
    pub fn new(
        (namespace, name, target): (&str, &str, ScaleTarget),
        spec: &Spec,
        observed: &Observation,
        memory: Option<Memory>,
        decision: &Decision,
    ) -> Self {
        Self {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            target,
            at: decision.at,
            spec: spec.clone(),
            spec_replicas: observed.spec_replicas,
            status_replicas: observed.status_replicas,
            pods: observed.pods.clone(),
            metrics: metrics(spec, observed, decision),
            outcome: match memory {
                Some(_) => Outcome::from(decision),
                None => Outcome::without_memory(decision),
            },
            memory,
            real: None,
            last_change: None,
            changed_by_others: None,
            history: Vec::new(),
        }
    }

    /// What the HPA saw.
    pub fn observation(&self) -> Observation {
        let unread = || "the metric was not read".to_owned();
        let answer = |metric: &MetricFacts| match &metric.answer {
            Some(answer) => Ok(answer.clone()),
            None => Err(metric.error.clone().unwrap_or_else(unread)),
        };
        Observation {
            spec_replicas: self.spec_replicas,
            status_replicas: self.status_replicas,
            pods: self.pods.clone(),
            answers: self.metrics.iter().map(answer).collect(),
        }
    }

    /// The HPA as it was when the sync began; one without memory where that is not known.
    pub fn autoscaler(&self) -> Autoscaler {
        Autoscaler::resume(self.spec.clone(), self.memory.clone().unwrap_or_default())
    }

    /// The decision once more, by the same arithmetic.
    pub fn again(&self) -> Decision {
        self.autoscaler().decide(self.at, &self.observation())
    }

    /// The replicas there are to be after the sync: what the real HPA left, where it parted from the arithmetic.
    pub fn replicas(&self) -> i32 {
        match &self.real {
            Some(real) if real.parted.is_some() => real.desired_replicas,
            _ => self.outcome.desired_replicas,
        }
    }

    /// How many pods were Running and Ready: what a ratio multiplies.
    pub fn ready_pods(&self) -> u32 {
        let ready = self.pods.iter().filter(|pod| pod.is_ready()).count();
        u32::try_from(ready).unwrap_or(u32::MAX)
    }

    /// This sync in short, for the history of later ones.
    pub fn in_short(&self) -> Past {
        Past {
            at: self.at,
            spec_replicas: self.spec_replicas,
            desired_replicas: self.outcome.desired_replicas,
            ready_pods: self.ready_pods(),
            values_milli: self.metrics.iter().map(MetricFacts::read_milli).collect(),
            winner: self.outcome.winner,
        }
    }
}

/// What came of each metric. Where none was read, none has an answer, whatever was observed.
fn metrics(spec: &Spec, observed: &Observation, decision: &Decision) -> Vec<MetricFacts> {
    let proposals: &[Result<Proposal, String>] = match &decision.path {
        Path::Disabled | Path::AboveMax | Path::BelowMin => &[],
        Path::Failed { proposals } | Path::Metrics { proposals, .. } => proposals,
    };
    let context = Context {
        now: decision.at,
        observed,
        tolerances: spec.tolerances(),
    };
    let each = spec.metrics.iter().enumerate().map(|(index, metric)| {
        let answer = observed.answers.get(index);
        let mut facts = MetricFacts {
            name: metric.name().to_owned(),
            answer: answer.and_then(|answer| answer.as_ref().ok().cloned()),
            ..MetricFacts::default()
        };
        match proposals.get(index) {
            None => {}
            Some(Err(error)) => facts.error = Some(error.clone()),
            Some(Ok(proposal)) => {
                facts.proposed_replicas = Some(proposal.replicas);
                facts.ratio = proposal.ratio;
                facts.within_tolerance = proposal.within_tolerance;
                facts.current = Some(proposal.current);
            }
        }
        let excluded = answer.map(|answer| excluded(context, metric, answer));
        let named = excluded.unwrap_or_default().into_iter();
        facts.excluded = named
            .map(|(pod, why)| Excluded {
                pod: pod.to_owned(),
                why,
            })
            .collect();
        facts
    });
    each.collect()
}

// === impl MetricFacts ===

impl MetricFacts {
    /// The value as it is compared with the target, in thousandths: the total, the average of a replica or pod, or the
    /// utilization in per cent times 1000.
    pub fn value_milli(&self) -> Option<i64> {
        match self.current? {
            Current::Value(milli) => Some(milli),
            Current::AverageValue(milli) => milli,
            Current::Utilization { percent, .. } => Some(i64::from(percent) * 1000),
        }
    }

    /// What was read, in thousandths: the total of an External or Object metric, else as
    /// [`value_milli`](Self::value_milli).
    pub fn read_milli(&self) -> Option<i64> {
        match self.answer.as_ref()? {
            Answer::Values(items) => {
                let sum = |sum: i64, item: &i64| sum.saturating_add(*item);
                Some(items.iter().fold(0, sum))
            }
            Answer::PerPod(_) => self.value_milli(),
        }
    }
}

// === impl Real ===

impl Real {
    /// The condition of this type, where it does not hold.
    pub fn failure(&self, kind: &str) -> Option<&ConditionFacts> {
        let mut conditions = self.conditions.iter();
        conditions.find(|condition| condition.kind == kind && condition.status == "False")
    }

    /// Why the HPA reads no metric at all, where that is so: which pods are its own is not clear to it.
    pub fn refused_selector(&self) -> Option<&ConditionFacts> {
        let refused = self.failure("ScalingActive")?;
        matches!(
            refused.reason.as_str(),
            "AmbiguousSelector" | "InvalidSelector"
        )
        .then_some(refused)
    }
}

// === impl Outcome ===

impl Outcome {
    /// What of a decision does not hang on what was before: nothing that stabilization and policies did to a proposal.
    fn without_memory(decision: &Decision) -> Self {
        let outcome = Self::from(decision);
        if outcome.way != Way::Metrics {
            return outcome;
        }
        Self {
            desired_replicas: decision.current,
            stabilized: None,
            limited: None,
            conditions: Vec::new(),
            ..outcome
        }
    }
}

impl From<&Decision> for Outcome {
    fn from(decision: &Decision) -> Self {
        let mut outcome = Self {
            desired_replicas: decision.desired,
            way: Way::Metrics,
            winner: None,
            stabilized: None,
            limited: None,
            conditions: conditions(&decision.conditions),
        };
        match &decision.path {
            Path::Disabled => outcome.way = Way::Disabled,
            Path::AboveMax => outcome.way = Way::AboveMax,
            Path::BelowMin => outcome.way = Way::BelowMin,
            Path::Failed { .. } => outcome.way = Way::Failed,
            Path::Metrics {
                winner,
                stabilized,
                limited,
                ..
            } => {
                outcome.winner = Some(*winner);
                outcome.stabilized = Some(Stabilization {
                    from: stabilized.from,
                    to: stabilized.to,
                    reason: stabilized.reason,
                    held_by: stabilized.held_by.map(|(held, left)| Held {
                        at: held.at,
                        replicas: held.replicas,
                        left,
                    }),
                });
                outcome.limited = Some(*limited);
            }
        }
        outcome
    }
}

fn conditions(conditions: &Conditions) -> Vec<ConditionFacts> {
    let each = conditions.iter().map(|(kind, condition)| {
        let Condition {
            status,
            reason,
            message,
        } = condition;
        ConditionFacts {
            kind: kind.to_owned(),
            status: if *status { "True" } else { "False" }.to_owned(),
            reason: reason.to_string(),
            message: message.clone(),
        }
    });
    each.collect()
}
