//! What the checks of cost are told.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::{Scope, Share};

/// For [`Check::PodSeconds`](crate::scenario::Check::PodSeconds).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PodSeconds {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The most pods times seconds.
    pub max: f64,
}

/// For [`Check::Cost`](crate::scenario::Check::Cost).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cost {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// What a pod costs in an hour.
    pub price_per_pod_hour: f64,
    /// The most, in the price's currency.
    pub max: f64,
}

/// For [`Check::PodSecondsRatio`](crate::scenario::Check::PodSecondsRatio).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PodSecondsRatio {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The largest ratio.
    pub max: f64,
}

/// For [`Check::UnderProvisioning`](crate::scenario::Check::UnderProvisioning) and
/// [`Check::OverProvisioning`](crate::scenario::Check::OverProvisioning). At least one of the two is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Provisioning {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The largest mean, by how much of the need.
    pub accuracy: Option<f64>,
    /// The largest share of time.
    pub timeshare: Option<Share>,
}
