//! What each check is told, in the order of [`Check`](super::Check). A limit is `max` (at most) or `min` (at least), or
//! `between` (both); `from` is the moment from which something is timed, `scope` the stretch that is looked at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::scenario::Span;
use crate::scenario::anchor::{Anchor, Scope};
use crate::scenario::quantity::{Quantile, Share};

/// For [`Check::TimeToMetricBreach`](super::Check::TimeToMetricBreach).
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

/// For [`Check::DecisionLatency`](super::Check::DecisionLatency).
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

/// For [`Check::TimeToFirstScaleOut`](super::Check::TimeToFirstScaleOut).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeToFirstScaleOut {
    /// The moment from which it is timed.
    #[serde(default)]
    pub from: Anchor,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::TimeToReady`](super::Check::TimeToReady).
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

/// For [`Check::TimeToTraffic`](super::Check::TimeToTraffic).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TimeToTraffic {
    /// Backends that became ready after this moment count.
    #[serde(default)]
    pub from: Anchor,
    /// The longest time.
    pub max: Span,
}

/// For [`Check::TimeToReplicas`](super::Check::TimeToReplicas).
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

/// For [`Check::TimeToScaleIn`](super::Check::TimeToScaleIn).
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

/// For [`Check::NoScaleInBefore`](super::Check::NoScaleInBefore).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoScaleInBefore {
    /// The moment from which it is timed.
    #[serde(default)]
    pub from: Anchor,
    /// The shortest time.
    pub min: Span,
}

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

/// For [`Check::SloRecoveryTime`](super::Check::SloRecoveryTime).
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

/// For [`Check::SloViolationSeconds`](super::Check::SloViolationSeconds) and
/// [`Check::SloViolationRatio`](super::Check::SloViolationRatio).
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

/// For [`Check::ErrorBudget`](super::Check::ErrorBudget).
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

/// For [`Check::Latency`](super::Check::Latency).
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

/// For [`Check::ErrorRate`](super::Check::ErrorRate).
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

/// For [`Check::ScaleEventErrors`](super::Check::ScaleEventErrors).
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

/// For [`Check::ColdStartPenalty`](super::Check::ColdStartPenalty).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ColdStartPenalty {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The largest ratio; 1 is no penalty.
    pub max: f64,
}

/// For checks that have no limit of their own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Whole {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
}

/// For [`Check::PeakReplicas`](super::Check::PeakReplicas).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PeakReplicas {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The fewest and the most.
    pub between: [u32; 2],
}

/// For [`Check::ReplicasWithin`](super::Check::ReplicasWithin).
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

/// For [`Check::OvershootRatio`](super::Check::OvershootRatio) and
/// [`Check::UndershootRatio`](super::Check::UndershootRatio).
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

/// For [`Check::SettlingTime`](super::Check::SettlingTime).
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

/// For [`Check::FlapCount`](super::Check::FlapCount).
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

/// For [`Check::ScaleEvents`](super::Check::ScaleEvents).
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

/// For [`Check::ReplicaChurn`](super::Check::ReplicaChurn) and [`Check::ChurnExcess`](super::Check::ChurnExcess).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Churn {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The most replicas, come or gone.
    pub max: u32,
}

/// For [`Check::Monotonic`](super::Check::Monotonic).
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

/// For [`Check::ScaleStep`](super::Check::ScaleStep). Where both are given, the larger of the two is allowed, as an HPA
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

/// For [`Check::NoReaction`](super::Check::NoReaction).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NoReaction {
    /// The stretch in which something happens that must not count.
    pub scope: Scope,
    /// How long after its end nothing may happen either.
    #[serde(default)]
    pub after: Span,
}

/// For [`Check::FailSafe`](super::Check::FailSafe).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FailSafe {
    /// The stretch in which the metric was taken away.
    pub during: Scope,
    /// Whether `desired` must not increase, either.
    #[serde(default)]
    pub hold: bool,
}

/// For [`Check::PodSeconds`](super::Check::PodSeconds).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PodSeconds {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The most pods times seconds.
    pub max: f64,
}

/// For [`Check::Cost`](super::Check::Cost).
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

/// For [`Check::PodSecondsRatio`](super::Check::PodSecondsRatio).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PodSecondsRatio {
    /// The stretch that is looked at.
    #[serde(default)]
    pub scope: Scope,
    /// The largest ratio.
    pub max: f64,
}

/// For [`Check::UnderProvisioning`](super::Check::UnderProvisioning) and
/// [`Check::OverProvisioning`](super::Check::OverProvisioning). At least one of the two is given.
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

/// For [`Check::MetricHealth`](super::Check::MetricHealth). At least one of the three limits is given.
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

/// For [`Check::MetricAccuracy`](super::Check::MetricAccuracy).
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

/// For [`Check::HpaConditions`](super::Check::HpaConditions).
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

fn worst() -> Quantile {
    Quantile::MAX
}

fn end() -> Anchor {
    Anchor::End
}

/// The default of an HPA's stabilization for scale-in.
fn stabilization() -> Span {
    Span::from_secs(300)
}
