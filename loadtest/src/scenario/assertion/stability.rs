//! What the checks are told that look at how steady replicas are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Scope, Span};

/// For [`Check::FlapCount`](crate::scenario::Check::FlapCount).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlapCount {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// How far apart two events may be to be one flap.
    #[serde(default = "stabilization")]
    pub window: Span,
    /// The most.
    pub max: u32,
}

/// Which way replicas change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Either.
    #[default]
    Any,
    /// More.
    Up,
    /// Fewer.
    Down,
}

impl Direction {
    /// What it adds to a check's name: nothing for either.
    #[must_use]
    pub fn tag(self) -> String {
        let word = match self {
            Self::Any => "",
            Self::Up => "up",
            Self::Down => "down",
        };
        word.into()
    }
}

/// For [`Check::ScaleEvents`](crate::scenario::Check::ScaleEvents).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleEvents {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// Which of them count.
    #[serde(default)]
    pub direction: Direction,
    /// The most.
    pub max: u32,
}

/// For [`Check::ReplicaChurn`](crate::scenario::Check::ReplicaChurn) and [`Check::ChurnExcess`](crate::scenario::Check::ChurnExcess).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The most replicas, come or gone.
    pub max: u32,
}

/// For [`Check::Monotonic`](crate::scenario::Check::Monotonic).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Monotonic {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The only way that it may go; `any` asks that it goes only one way, whichever.
    #[serde(default)]
    pub direction: Direction,
}

/// For [`Check::ScaleStep`](crate::scenario::Check::ScaleStep). Where both are given, the larger of the two is allowed, as an HPA
/// does it by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleStep {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// Which changes count.
    #[serde(default)]
    pub direction: Direction,
    /// The most replicas within a period.
    pub pods: Option<u32>,
    /// The most within a period in percent of the replicas at its beginning.
    pub percent: Option<f64>,
    /// The period.
    pub period: Span,
}

/// For [`Check::NoReaction`](crate::scenario::Check::NoReaction).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoReaction {
    /// The stretch in which something happens that must not count.
    pub scope: Scope,
    /// How long after its end nothing may happen either.
    #[serde(default)]
    pub after: Span,
}

/// For [`Check::FailSafe`](crate::scenario::Check::FailSafe).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailSafe {
    /// The stretch in which the metric was taken away.
    pub during: Scope,
    /// Whether `desired` must not increase, either.
    #[serde(default)]
    pub hold: bool,
}

/// The default of an HPA's stabilization for scale-in.
fn stabilization() -> Span {
    Span::from_secs(300)
}
