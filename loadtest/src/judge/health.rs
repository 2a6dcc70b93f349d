//! Not judged yet.

use super::Finding;
use super::context::Context;
use super::draft::{Draft, Untold};
use crate::scenario::assertion::{HpaConditions, MetricAccuracy, MetricHealth};

pub(super) fn metric_accuracy(
    _: &Context<'_>,
    _: Draft,
    _: &MetricAccuracy,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn metric_health(_: &Context<'_>, draft: &Draft, _: &MetricHealth) -> Vec<Finding> {
    vec![draft.clone().untold(Untold::unknown("not judged yet"))]
}

pub(super) fn hpa_conditions(_: &Context<'_>, draft: &Draft, _: &HpaConditions) -> Vec<Finding> {
    vec![draft.clone().untold(Untold::unknown("not judged yet"))]
}
