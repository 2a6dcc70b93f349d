//! What checks reckon with, as lines for reports to draw: so a line is over the objective where a check says so.

use super::context::Context;
use super::demand;
use super::window::{Objective, Windows};
use crate::measured::Slot;
use crate::recording::Recording;
use crate::scenario::Slo;
use crate::scenario::assertion::Failures;

/// For each second the `quantile` of the window that ends with it, in seconds: infinite where it lies among failed
/// requests, `None` where there are too few to tell. The window is the objective's.
pub(crate) fn quantiles(slots: &[Slot], slo: &Slo, quantile: f64) -> Vec<Option<f64>> {
    let objective = Objective {
        quantile,
        target: slo.target,
        window: slo.window,
        max_window: slo.max_window,
        failures: Failures::default(),
    };
    let windows = Windows::new(slots, objective);
    let seconds = 0..slots.len();
    seconds
        .map(|second| windows.of_second(second).map(|window| window.quantile_s))
        .collect()
}

/// The replicas that a service needed in each second; nothing where the scenario does not say what a pod can take.
pub(crate) fn needed(recording: &Recording, service: &str) -> Vec<u32> {
    let context = Context::new(recording, service);
    context
        .and_then(|context| demand::needed(&context).ok())
        .unwrap_or_default()
}
