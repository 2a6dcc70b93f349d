//! Not judged yet.
use super::Finding;
use super::context::Context;
use super::draft::{Draft, Untold};
use crate::scenario::assertion::*;
pub(super) fn never_above_max(_: &Context<'_>, _: Draft, _: &Whole) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn never_below_min(_: &Context<'_>, _: Draft, _: &Whole) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn peak_replicas(
    _: &Context<'_>,
    _: Draft,
    _: &PeakReplicas,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn replicas_within(
    _: &Context<'_>,
    _: Draft,
    _: &ReplicasWithin,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn overshoot_ratio(
    _: &Context<'_>,
    _: Draft,
    _: &ReplicaRatio,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn undershoot_ratio(
    _: &Context<'_>,
    _: Draft,
    _: &ReplicaRatio,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn settling_time(
    _: &Context<'_>,
    _: Draft,
    _: &SettlingTime,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
