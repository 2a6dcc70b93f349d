//! A recording against the model: sync by sync, what the HPA did and what [`crate::hpa`] would have done.

use super::recording::{Recording, RecordingError};
use super::syncs::{Decided, check_reads, observe, spec_at, syncs};
use crate::hpa::{Autoscaler, Conditions, Decision, MetricSpec, Path};
use crate::model::time::Timestamp;

/// One sync, as it was and as it should have been.
#[derive(Debug)]
pub struct Verdict {
    /// When the HPA decided.
    pub at: Timestamp,
    /// Whether it read metrics for it.
    pub read: bool,
    /// What it decided.
    pub decided: Decided,
    /// What the model decides.
    pub decision: Decision,
    /// How the model came to it, for a reader.
    pub why: String,
    /// The conditions recorded after the sync, beside the model's.
    pub conditions: RecordedConditions,
}

/// The conditions recorded after a sync.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RecordedConditions {
    /// There are none, which says nothing of the model.
    Unrecorded,
    /// They are the model's.
    Same,
    /// They are not the model's, but these, as `type=status/reason`.
    Other(String),
}

impl Verdict {
    /// Whether model and HPA agree on the replicas; `None` when nobody can tell what the HPA decided.
    pub fn agrees(&self) -> Option<bool> {
        match self.decided {
            Decided::Replicas(replicas) => Some(replicas == self.decision.desired),
            Decided::Unclear => None,
        }
    }
}

/// Replays `recording`. What the HPA did, not what the model would have, is where the next sync begins.
///
/// # Errors
///
/// A recording that contradicts itself, or has a spec that no HPA could have.
pub fn compare(recording: &Recording) -> Result<Vec<Verdict>, RecordingError> {
    let specs = recording.specs()?;
    let request = recording.cpu_request_milli()?;
    check_reads(recording, &specs)?;
    let syncs = syncs(recording, &specs);
    let Some((_, first)) = specs.first() else {
        return Ok(Vec::new());
    };
    let mut autoscaler = Autoscaler::new(first.clone());
    let mut verdicts = Vec::with_capacity(syncs.len());
    for (index, sync) in syncs.iter().enumerate() {
        let spec = spec_at(&specs, sync.began).unwrap_or(first);
        let observed = observe(recording, request, spec, sync);
        let decision = autoscaler.follow(sync.at, spec, &observed, sync.decided.replicas());
        let next = syncs.get(index + 1).map(|next| next.began);
        verdicts.push(Verdict {
            at: sync.at,
            read: !sync.reads.is_empty(),
            decided: sync.decided,
            why: why(&autoscaler.spec().metrics, &decision),
            conditions: recorded_conditions(recording, next, &decision.conditions),
            decision,
        });
    }
    Ok(verdicts)
}

/// The conditions recorded last before `next`, and whether they are `ours`.
fn recorded_conditions(
    recording: &Recording,
    next: Option<Timestamp>,
    ours: &Conditions,
) -> RecordedConditions {
    let recorded = recording
        .status
        .iter()
        .rfind(|status| next.is_none_or(|next| status.t.timestamp() < next))
        .filter(|status| !status.conditions.is_empty());
    let Some(recorded) = recorded else {
        return RecordedConditions::Unrecorded;
    };
    let theirs = recorded
        .conditions
        .iter()
        .map(|(kind, (status, reason))| format!("{kind}={status}/{reason}"));
    let theirs = theirs.collect::<Vec<_>>().join(" ");
    if theirs == listed(ours) {
        RecordedConditions::Same
    } else {
        RecordedConditions::Other(theirs)
    }
}

/// Conditions as `type=status/reason`, by type.
pub fn listed(conditions: &Conditions) -> String {
    let each = conditions.iter().map(|(kind, condition)| {
        let status = if condition.status { "True" } else { "False" };
        format!("{kind}={status}/{}", condition.reason)
    });
    each.collect::<Vec<_>>().join(" ")
}

/// How a decision came about.
fn why(metrics: &[MetricSpec], decision: &Decision) -> String {
    let proposals = |proposals: &[_]| {
        let each = metrics
            .iter()
            .zip(proposals)
            .map(|(metric, proposal)| match proposal {
                Err(error) => format!("{metric}: {error}"),
                Ok(crate::hpa::Proposal {
                    replicas,
                    ratio: Some(ratio),
                    ..
                }) => {
                    format!("{metric} wants {replicas} at {ratio:.3} of its target")
                }
                Ok(crate::hpa::Proposal { replicas, .. }) => format!("{metric} wants {replicas}"),
            });
        each.collect::<Vec<_>>().join(", ")
    };
    match &decision.path {
        Path::Disabled => "the target has no replicas".to_owned(),
        Path::AboveMax => "there are more replicas than maxReplicas".to_owned(),
        Path::BelowMin => "there are fewer replicas than minReplicas".to_owned(),
        Path::Failed { proposals: each } => proposals(each),
        Path::Metrics {
            proposals: each,
            stabilized,
            limited,
            ..
        } => {
            format!("{}; {stabilized}; {limited}", proposals(each))
        }
    }
}
