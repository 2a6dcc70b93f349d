//! The conditions of an HPA's status, with the reasons in Kubernetes' own words and messages in ours.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::spec::MetricSpec;

/// The three conditions. Each is `None` until the HPA has set it, and stays as it was when a sync says nothing of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// Whether the target can be scaled now, or is held by stabilization.
    pub able_to_scale: Option<Condition>,
    /// Whether a replica count can be calculated.
    pub scaling_active: Option<Condition>,
    /// Whether a bound or a rate cut what the metrics want.
    pub scaling_limited: Option<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    /// `True` or `False`.
    pub status: bool,
    /// Why, in one word.
    pub reason: Reason,
    /// Why, for a reader.
    pub message: String,
}

/// The `reason` of a condition; the variants are Kubernetes' words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(
    missing_docs,
    reason = "each word is its own description, and the API's, not ours"
)]
pub enum Reason {
    SucceededGetScale,
    ReadyForNewScale,
    ScaleDownStabilized,
    ScaleUpStabilized,
    SucceededRescale,
    ValidMetricFound,
    ScalingDisabled,
    FailedGetExternalMetric,
    FailedGetObjectMetric,
    FailedGetPodsMetric,
    FailedGetResourceMetric,
    FailedGetContainerResourceMetric,
    TooFewReplicas,
    TooManyReplicas,
    ScaleUpLimit,
    ScaleDownLimit,
    DesiredWithinRange,
}

// === impl Conditions ===

impl Conditions {
    /// The conditions that are set, with their types, in the order Kubernetes lists them.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Condition)> {
        [
            ("AbleToScale", &self.able_to_scale),
            ("ScalingActive", &self.scaling_active),
            ("ScalingLimited", &self.scaling_limited),
        ]
        .into_iter()
        .filter_map(|(kind, condition)| Some((kind, condition.as_ref()?)))
    }
}

// === impl Condition ===

impl Condition {
    /// A condition that holds.
    pub(super) fn holds(reason: Reason, message: impl Into<String>) -> Option<Self> {
        Some(Self {
            status: true,
            reason,
            message: message.into(),
        })
    }

    /// A condition that does not hold.
    pub(super) fn fails(reason: Reason, message: impl Into<String>) -> Option<Self> {
        Some(Self {
            status: false,
            reason,
            message: message.into(),
        })
    }
}

// === impl Reason ===

impl Reason {
    /// The reason for a metric that gave no replica count.
    pub fn failed(metric: &MetricSpec) -> Self {
        match metric {
            MetricSpec::External { .. } => Self::FailedGetExternalMetric,
            MetricSpec::Object { .. } => Self::FailedGetObjectMetric,
            MetricSpec::Pods { .. } => Self::FailedGetPodsMetric,
            MetricSpec::Resource {
                container: None, ..
            } => Self::FailedGetResourceMetric,
            MetricSpec::Resource {
                container: Some(_), ..
            } => Self::FailedGetContainerResourceMetric,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The variants are named as Kubernetes spells them.
        fmt::Debug::fmt(self, f)
    }
}
