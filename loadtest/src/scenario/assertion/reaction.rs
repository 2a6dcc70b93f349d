//! What the checks of reaction are told: `from` is the moment from which something is timed, `max` or `min` the limit.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Anchor, Quantile, Scope, Span};

/// For [`Check::TimeToMetricBreach`](crate::scenario::Check::TimeToMetricBreach).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeToMetricBreach {
    /// The moment from which it is timed.
    #[serde(default)]
    pub from: Anchor,
    /// By which share of the target the metric must be above it; the HPA's own tolerance when `None`.
    pub tolerance: Option<f64>,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::DecisionLatency`](crate::scenario::Check::DecisionLatency).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DecisionLatency {
    /// The moment from which the metric is looked at.
    #[serde(default)]
    pub from: Anchor,
    /// By which share of the target the metric must be above it; the HPA's own tolerance when `None`.
    pub tolerance: Option<f64>,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::TimeToFirstScaleOut`](crate::scenario::Check::TimeToFirstScaleOut).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeToFirstScaleOut {
    /// The moment from which it is timed.
    #[serde(default)]
    pub from: Anchor,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::TimeToReady`](crate::scenario::Check::TimeToReady).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeToReady {
    /// The stretch whose scale-outs count.
    #[serde(default)]
    pub scope: Scope,
    /// Which of the times is held against the limit.
    #[serde(default = "worst")]
    pub stat: Quantile,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::TimeToTraffic`](crate::scenario::Check::TimeToTraffic).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeToTraffic {
    /// Backends that became ready after this moment count.
    #[serde(default)]
    pub from: Anchor,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::TimeToReplicas`](crate::scenario::Check::TimeToReplicas).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeToReplicas {
    /// How many must be ready.
    pub n: u32,
    /// The moment from which it is timed.
    #[serde(default)]
    pub from: Anchor,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::TimeToScaleIn`](crate::scenario::Check::TimeToScaleIn).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeToScaleIn {
    /// To this many, or fewer.
    pub to: u32,
    /// The moment from which it is timed.
    #[serde(default)]
    pub from: Anchor,
    /// Until when it must stay so.
    #[serde(default = "end")]
    pub until: Anchor,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::NoScaleInBefore`](crate::scenario::Check::NoScaleInBefore).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoScaleInBefore {
    /// The moment from which it is timed.
    #[serde(default)]
    pub from: Anchor,
    /// The shortest time.
    pub min: Span,
}

fn worst() -> Quantile {
    Quantile::MAX
}

fn end() -> Anchor {
    Anchor::End
}
