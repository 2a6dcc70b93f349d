//! Not judged yet.
use super::Finding;
use super::context::Context;
use super::draft::{Draft, Untold};
use crate::scenario::assertion::*;
pub(super) fn time_to_metric_breach(
    _: &Context<'_>,
    _: Draft,
    _: &TimeToMetricBreach,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn decision_latency(
    _: &Context<'_>,
    _: Draft,
    _: &DecisionLatency,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn time_to_first_scale_out(
    _: &Context<'_>,
    _: Draft,
    _: &TimeToFirstScaleOut,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn time_to_ready(_: &Context<'_>, _: Draft, _: &TimeToReady) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn time_to_traffic(
    _: &Context<'_>,
    _: Draft,
    _: &TimeToTraffic,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn time_to_replicas(
    _: &Context<'_>,
    _: Draft,
    _: &TimeToReplicas,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn time_to_scale_in(
    _: &Context<'_>,
    _: Draft,
    _: &TimeToScaleIn,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn no_scale_in_before(
    _: &Context<'_>,
    _: Draft,
    _: &NoScaleInBefore,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
/// x
pub(super) struct Breach {
    pub(super) at_s: f64,
}
pub(super) fn metric_breach(_: &Context<'_>, _: f64, _: Option<f64>) -> Result<Breach, Untold> {
    Err(Untold::unknown("not judged yet"))
}
