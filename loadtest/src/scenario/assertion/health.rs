//! What the checks of the metric and of the controller are told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Quantile, Scope, Share, Span};

/// For [`Check::MetricHealth`](crate::scenario::Check::MetricHealth). At least one of the three limits is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricHealth {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The oldest that a value may be by its own timestamp.
    pub max_age: Option<Span>,
    /// The longest time without a good read.
    pub max_gap: Option<Span>,
    /// The most failed reads.
    pub max_errors: Option<u32>,
}

/// For [`Check::MetricAccuracy`](crate::scenario::Check::MetricAccuracy).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MetricAccuracy {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The quantile that the metric is; the scenario's objective when `None`.
    pub quantile: Option<Quantile>,
    /// Over how long the adapter takes it; the scenario's objective when `None`.
    pub window: Option<Span>,
    /// Both ways, as a share of what clients saw. When `None`, from 0.5 to 1.1 times that: a server does not see the way
    /// to it, so its latencies are the shorter ones.
    pub tolerance: Option<f64>,
    /// The share of seconds in which it must be so.
    pub min: Share,
}

/// For [`Check::HpaConditions`](crate::scenario::Check::HpaConditions).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HpaConditions {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// How much of its beginning is left out.
    #[serde(default)]
    pub settle: Span,
    /// The longest time at the HPA's limits; `None` for any.
    pub max_limited: Option<Span>,
}
