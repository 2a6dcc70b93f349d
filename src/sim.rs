//! A scenario in virtual time: arrivals, pods, the adapter and the HPA on a clock of its own, a day of which passes in
//! seconds. It plays what runs, and measures and decides with the real parts.
//!
//! ```text
//! arrivals --> pods: lines, workers, calls --> what they count --> the real engine --> the real HPA --+
//!              ^                                                                                      |
//!              +------------------- a Deployment's arithmetic <--- replicas <-------------------------+
//! ```
//!
//! Modelled: when a request arrives and ends (`flow`), pods that start, become ready and drain (`world`), rollouts
//! (`deployment`). Taken as it is: the arrivals and the measuring of the load generator, [`crate::engine`] behind the
//! reads of the API (`adapter`), and [`crate::hpa`] (`scaler`).
//!
//! Not modelled: the network, which takes no time; CPU that is short, since a pod burns what it burns however many
//! share a node; nodes, and pods for which there is none; probes, since a pod is an endpoint the moment it is ready.
//!
//! The same plan gives the same recording. Nothing here reads a clock or draws without a seed.

mod adapter;
mod capacity;
mod clients;
mod deployment;
mod flow;
mod notes;
mod oracle;
mod outcome;
mod plan;
mod pod;
mod queue;
mod requests;
mod scaler;
mod service;
mod world;

#[cfg(test)]
mod tests;

use std::ops::ControlFlow;
use std::time::Duration;

use taffrail_loadtest::recording::Recording;

pub use self::oracle::Oracle;
pub use self::outcome::Outcome;
pub(crate) use self::plan::is_right;
pub use self::plan::{Hpa, Of, Plan, PlanError, Source};

use crate::model::time::Timestamp;

/// Times within a run are counted in nanoseconds, in which arrivals are placed.
const NANOS_PER_S: i64 = 1_000_000_000;

/// When the first request is due by the clock that the engine and the HPA are told of, in milliseconds: late enough
/// that whatever was there before has a time above zero, which stands for "not known".
const EPOCH_MS: i64 = 100_000_000;

/// Plays `plan`. `watch` is told now and then how far the run is, in seconds of its own clock and below zero before
/// the first request; when it breaks, the run ends there.
pub fn play(plan: &Plan, watch: &mut dyn FnMut(f64) -> ControlFlow<()>) -> Recording {
    let mut world = plan.world();
    let interrupted = world.run(plan.end(), watch);
    let now = world.now;
    world.notes.finish(plan, now, interrupted)
}

/// The moment `nanos` of a run, by the clock of the engine and the HPA.
fn timestamp(nanos: i64) -> Timestamp {
    Timestamp::from_ms(EPOCH_MS + nanos.div_euclid(1_000_000))
}

fn nanos(span: Duration) -> i64 {
    i64::try_from(span.as_nanos()).unwrap_or(i64::MAX)
}

fn seconds(nanos: i64) -> f64 {
    nanos as f64 / NANOS_PER_S as f64
}
