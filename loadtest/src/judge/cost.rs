//! Not judged yet.

use super::Finding;
use super::context::Context;
use super::draft::{Draft, Untold};
use crate::scenario::assertion::{Cost, PodSeconds, PodSecondsRatio, Provisioning};

pub(super) fn pod_seconds(_: &Context<'_>, _: Draft, _: &PodSeconds) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn cost(_: &Context<'_>, _: Draft, _: &Cost) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn pod_seconds_ratio(
    _: &Context<'_>,
    _: Draft,
    _: &PodSecondsRatio,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn under_provisioning(_: &Context<'_>, draft: &Draft, _: &Provisioning) -> Vec<Finding> {
    vec![draft.clone().untold(Untold::unknown("not judged yet"))]
}

pub(super) fn over_provisioning(_: &Context<'_>, draft: &Draft, _: &Provisioning) -> Vec<Finding> {
    vec![draft.clone().untold(Untold::unknown("not judged yet"))]
}
