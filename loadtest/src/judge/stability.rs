//! Not judged yet.

use super::Finding;
use super::context::Context;
use super::draft::{Draft, Untold};
use crate::scenario::assertion::{
    Churn, FailSafe, FlapCount, Monotonic, NoReaction, ScaleEvents, ScaleStep,
};

pub(super) fn flap_count(_: &Context<'_>, _: Draft, _: &FlapCount) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn scale_events(_: &Context<'_>, _: Draft, _: &ScaleEvents) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn replica_churn(_: &Context<'_>, _: Draft, _: &Churn) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn churn_excess(_: &Context<'_>, _: Draft, _: &Churn) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn monotonic(_: &Context<'_>, _: Draft, _: &Monotonic) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn scale_step(_: &Context<'_>, _: Draft, _: &ScaleStep) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn no_reaction(_: &Context<'_>, _: Draft, _: &NoReaction) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}

pub(super) fn fail_safe(_: &Context<'_>, _: Draft, _: &FailSafe) -> Result<Finding, Untold> {
    Err(Untold::unknown("not judged yet"))
}
