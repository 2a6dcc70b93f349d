//! What the checks of how users are served are told. What they do not say of the objective, the scenario says.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Anchor, Quantile, Scope, Share, Span};

/// What a request that failed does to a quantile.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Failures {
    /// It is longer than any answer: who got none waits for ever.
    #[default]
    Infinite,
    /// It does not count.
    Exclude,
}

/// For [`Check::SloRecoveryTime`](crate::scenario::Check::SloRecoveryTime).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SloRecoveryTime {
    /// The moment from which a breach is looked for.
    #[serde(default)]
    pub from: Anchor,
    /// How long latency must stay good to be called recovered.
    pub hold: Span,
    /// The quantile; the scenario's objective when `None`, as for the next three.
    pub quantile: Option<Quantile>,
    /// The latency that it must not be above.
    pub target: Option<Span>,
    /// Over how long it is taken.
    pub window: Option<Span>,
    /// To what a window is widened that holds too few requests.
    pub max_window: Option<Span>,
    /// What a failed request counts as.
    #[serde(default)]
    pub failures: Failures,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::SloViolationSeconds`](crate::scenario::Check::SloViolationSeconds) and
/// [`Check::SloViolationRatio`](crate::scenario::Check::SloViolationRatio).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SloViolation {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The quantile; the scenario's objective when `None`, as for the next three.
    pub quantile: Option<Quantile>,
    /// The latency that it must not be above.
    pub target: Option<Span>,
    /// Over how long it is taken.
    pub window: Option<Span>,
    /// To what a window is widened that holds too few requests.
    pub max_window: Option<Span>,
    /// What a failed request counts as.
    #[serde(default)]
    pub failures: Failures,
    /// The share of failed requests above which a second is a violation; `None` leaves that to the quantile.
    pub max_error: Option<Share>,
    /// The most: seconds, or a share of them.
    pub max: f64,
}

/// For [`Check::ErrorBudget`](crate::scenario::Check::ErrorBudget).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorBudget {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// A request that took longer is bad; the scenario's objective when `None`.
    pub target: Option<Span>,
    /// The share that must be good.
    pub objective: Share,
}

/// For [`Check::Latency`](crate::scenario::Check::Latency).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// How much of its beginning is left out.
    #[serde(default)]
    pub settle: Span,
    /// The quantile; the scenario's objective when `None`.
    pub stat: Option<Quantile>,
    /// What a failed request counts as.
    #[serde(default)]
    pub failures: Failures,
    /// The longest; the scenario's objective when `None`.
    pub max: Option<Span>,
}

/// Which failed requests count.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FailureClass {
    /// All without a good answer, those dropped because answers were late among them.
    #[default]
    #[serde(rename = "any")]
    Any,
    /// Answered with a status of 400 to 499.
    #[serde(rename = "4xx")]
    ClientStatus,
    /// Answered with a status of 500 to 599.
    #[serde(rename = "5xx")]
    ServerStatus,
    /// Not answered in time.
    #[serde(rename = "timeout")]
    Timeout,
    /// No connection could be opened, or there was nothing to connect to.
    #[serde(rename = "connect")]
    Connect,
    /// The connection broke.
    #[serde(rename = "broken")]
    Broken,
    /// The answer was not what the scenario expects.
    #[serde(rename = "unexpected")]
    Unexpected,
    /// Not sent, because too many were in flight.
    #[serde(rename = "dropped")]
    Dropped,
}

impl FailureClass {
    /// What it adds to a check's name: nothing for all.
    #[must_use]
    pub fn tag(self) -> String {
        let word = match self {
            Self::Any => "",
            Self::ClientStatus => "4xx",
            Self::ServerStatus => "5xx",
            Self::Timeout => "timeout",
            Self::Connect => "connect",
            Self::Broken => "broken",
            Self::Unexpected => "unexpected",
            Self::Dropped => "dropped",
        };
        word.into()
    }
}

/// For [`Check::ErrorRate`](crate::scenario::Check::ErrorRate).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ErrorRate {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// Which failures count.
    #[serde(default)]
    pub class: FailureClass,
    /// The largest share of the requests offered.
    pub max: Share,
}

/// For [`Check::ScaleEventErrors`](crate::scenario::Check::ScaleEventErrors).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ScaleEventErrors {
    /// The stretch whose events count.
    #[serde(default)]
    pub scope: Scope,
    /// How near to an event, before or after it.
    pub within: Span,
    /// The most failed requests.
    pub max: u64,
}

/// For [`Check::ColdStartPenalty`](crate::scenario::Check::ColdStartPenalty).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColdStartPenalty {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The largest ratio; 1 is no penalty.
    pub max: f64,
}
