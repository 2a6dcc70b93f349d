//! Not judged yet.
use super::Finding;
use super::context::Context;
use super::draft::{Draft, Untold};
use crate::scenario::assertion::*;
pub(super) fn recovery_time(
    _: &Context<'_>,
    _: Draft,
    _: &SloRecoveryTime,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn violation_seconds(
    _: &Context<'_>,
    _: Draft,
    _: &SloViolation,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn violation_ratio(
    _: &Context<'_>,
    _: Draft,
    _: &SloViolation,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn error_budget(_: &Context<'_>, _: Draft, _: &ErrorBudget) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn latency(_: &Context<'_>, _: Draft, _: &Latency) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn error_rate(_: &Context<'_>, _: Draft, _: &ErrorRate) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn scale_event_errors(
    _: &Context<'_>,
    _: Draft,
    _: &ScaleEventErrors,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
pub(super) fn cold_start_penalty(
    _: &Context<'_>,
    _: Draft,
    _: &ColdStartPenalty,
) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
