//! How many replicas the load needs, `n*(t)`, by what the scenario says that a pod can take. It is the oracle that real
//! autoscaling is compared with: it knows the curve, and it takes no time.

use super::context::Context;
use super::draft::Untold;
use crate::scenario::{Executor, Load, Scenario};

/// Over how many seconds to each side the offered requests are averaged where the curve is not known: without that,
/// chance alone would ask for a pod more in every other second.
const SMOOTHING: usize = 5;

/// Slack before one more pod is needed: 600 requests a second at 120 for a pod are 5 pods, whatever binary fractions say.
const SLACK: f64 = 1e-6;

/// How long before its end the end of a second is looked at, so that a jump there is not seen yet.
const EXACT: f64 = 1e-9;

/// The replicas that the service needs in each second of the run, at least one.
pub(super) fn needed(context: &Context<'_>) -> Result<Vec<u32>, Untold> {
    let demand = context.spec().and_then(|service| service.demand);
    let demand = demand.filter(|demand| 0.0 < demand.rps_per_pod);
    let per_pod = demand
        .ok_or_else(|| {
            Untold::unknown(
                "the scenario does not say what a pod can take; write `demand.rpsPerPod`",
            )
        })?
        .rps_per_pod;
    let loads = context.recording.scenario.scenarios.values();
    let loads: Vec<_> = loads.filter(|load| load.service == context.name).collect();
    let drawn = loads.iter().all(|load| rate(load, 0.0).is_some());
    let offered: Vec<f64> = context
        .service
        .load
        .slots
        .iter()
        .map(|slot| slot.counts.offered as f64)
        .collect();
    let seconds = 0..(context.end_s().ceil() as usize);
    let rate = |second: usize| match drawn && !loads.is_empty() {
        true => loads
            .iter()
            .filter_map(|load| rate(load, second as f64 + 0.5))
            .sum(),
        false => mean_around(&offered, second),
    };
    Ok(seconds
        .map(|second| (rate(second) / per_pod - SLACK).ceil().max(1.0) as u32)
        .collect())
}

fn mean_around(offered: &[f64], second: usize) -> f64 {
    let end = (second + SMOOTHING + 1).min(offered.len());
    let around = offered
        .get(second.saturating_sub(SMOOTHING)..end)
        .unwrap_or_default();
    around.iter().sum::<f64>() / around.len().max(1) as f64
}

/// The intended rate of a load at a moment of the run, in requests per second; `None` where no formula tells it.
fn rate(load: &Load, t_s: f64) -> Option<f64> {
    let t_s = t_s - load.start_time.seconds();
    let within = |duration_s: f64, rate: f64| {
        let within = 0.0 <= t_s && t_s < duration_s;
        Some(if within { rate } else { 0.0 })
    };
    match &load.executor {
        Executor::RampingArrivalRate { start_rate, stages } => {
            let mut from = *start_rate;
            let mut start_s = 0.0;
            for stage in stages {
                let duration_s = stage.duration.seconds();
                if 0.0 <= t_s && start_s <= t_s && t_s < start_s + duration_s {
                    return Some(from + (stage.target - from) * (t_s - start_s) / duration_s);
                }
                start_s += duration_s;
                from = stage.target;
            }
            Some(0.0)
        }
        Executor::Sine {
            mean,
            amplitude,
            period,
            duration,
        } => {
            let phase = std::f64::consts::TAU * t_s / period.seconds();
            within(duration.seconds(), mean + amplitude * phase.sin())
        }
        Executor::Bursts {
            base,
            burst,
            every,
            length,
            duration,
        } => {
            let since_s = t_s.rem_euclid(every.seconds());
            let rate = if since_s < length.seconds() {
                burst
            } else {
                base
            };
            within(duration.seconds(), *rate)
        }
        Executor::Replay { .. } | Executor::ConstantVus { .. } => None,
    }
}

/// The most replicas that the load on a service needs at any second; `None` where the scenario does not tell.
pub(super) fn peak(scenario: &Scenario, name: &str) -> Option<u32> {
    let per_pod = scenario.services.get(name)?.demand?.rps_per_pod;
    let loads: Vec<_> = scenario
        .scenarios
        .values()
        .filter(|load| load.service == name)
        .collect();
    let ends = loads
        .iter()
        .map(|load| Some(load.start_time.seconds() + duration_s(&load.executor)?));
    let end_s = ends
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .reduce(f64::max)?;
    let rate = |second: usize| {
        // Both ends of the second, as a ramp is highest where it ends.
        let at = |t_s: f64| loads.iter().filter_map(|load| rate(load, t_s)).sum::<f64>();
        at(second as f64).max(at(second as f64 + 1.0 - EXACT))
    };
    let most = (0..end_s.ceil() as usize).map(rate).fold(0.0, f64::max);
    (0.0 < per_pod).then(|| (most / per_pod - SLACK).ceil().max(1.0) as u32)
}

/// How long an executor sends; `None` where only its file tells, or nothing does.
fn duration_s(executor: &Executor) -> Option<f64> {
    match executor {
        Executor::RampingArrivalRate { stages, .. } => {
            Some(stages.iter().map(|stage| stage.duration.seconds()).sum())
        }
        Executor::Sine { duration, .. } | Executor::Bursts { duration, .. } => {
            Some(duration.seconds())
        }
        Executor::Replay { .. } | Executor::ConstantVus { .. } => None,
    }
}
