//! What the checks are told that look at how many replicas there are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Scope, Span};

/// For checks that have no limit of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Whole {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
}

/// For [`Check::PeakReplicas`](crate::scenario::Check::PeakReplicas).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeakReplicas {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The fewest and the most.
    pub between: [u32; 2],
}

/// For [`Check::ReplicasWithin`](crate::scenario::Check::ReplicasWithin).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicasWithin {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// How much of its beginning is left out.
    #[serde(default)]
    pub settle: Span,
    /// The fewest and the most.
    pub between: [u32; 2],
}

/// How many replicas are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// Those that the offered rate needs by `demand.rpsPerPod`.
    Needed,
    /// Those that were wanted for most of the last 60 s of the stretch.
    Settled,
}

/// For [`Check::OvershootRatio`](crate::scenario::Check::OvershootRatio) and
/// [`Check::UndershootRatio`](crate::scenario::Check::UndershootRatio).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReplicaRatio {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// What is right; `needed` where the scenario tells the demand and `settled` elsewhere when `None`.
    pub against: Option<Reference>,
    /// The largest ratio; 0 is exactly right.
    pub max: f64,
}

/// For [`Check::SettlingTime`](crate::scenario::Check::SettlingTime).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettlingTime {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// How many more or fewer than at its end count as the same.
    #[serde(default)]
    pub band: u32,
    /// The longest time.
    pub max: Span,
}
