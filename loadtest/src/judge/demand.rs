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
    let speed = context.recording.about.speed();
    let slots = context.service.load.slots.iter();
    let offered: Vec<f64> = slots
        .map(|slot| slot.counts.offered as f64 * speed)
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
        .map(|second| replicas(rate(second), per_pod))
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
            let quiet_s = every.seconds() - length.seconds();
            let rate = if since_s < quiet_s { base } else { burst };
            within(duration.seconds(), *rate)
        }
        Executor::Replay { .. } | Executor::ConstantVus { .. } => None,
    }
}

/// The most replicas that the load on a service needs at any second before `until_s`; `None` where the scenario does not
/// tell.
pub(super) fn peak(scenario: &Scenario, name: &str, until_s: f64) -> Option<u32> {
    let loads = scenario
        .scenarios
        .values()
        .filter(|load| load.service == name);
    let ends = loads.map(|load| Some(load.start_time.seconds() + duration_s(&load.executor)?));
    let end_s = ends
        .collect::<Option<Vec<_>>>()?
        .into_iter()
        .reduce(f64::max)?;
    // Both ends of each second, as a ramp is highest where it ends.
    let seconds = 0..end_s.min(until_s).ceil() as usize;
    let moments = seconds.flat_map(|second| [second as f64, second as f64 + 1.0 - EXACT]);
    let within = moments.filter(|t_s| *t_s < until_s);
    within.filter_map(|t_s| at(scenario, name, t_s)).max()
}

/// The replicas that the load on a service needs at a moment; `None` where the scenario does not tell.
pub(super) fn at(scenario: &Scenario, name: &str, t_s: f64) -> Option<u32> {
    let per_pod = scenario.services.get(name)?.demand?.rps_per_pod;
    let loads = scenario
        .scenarios
        .values()
        .filter(|load| load.service == name);
    let rates = loads
        .map(|load| rate(load, t_s))
        .collect::<Option<Vec<_>>>()?;
    (0.0 < per_pod).then(|| replicas(rates.iter().sum(), per_pod))
}

fn replicas(rate: f64, per_pod: f64) -> u32 {
    (rate / per_pod - SLACK).ceil().max(1.0) as u32
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::fixture::{Fixture, SERVICE};
    use super::*;
    use crate::arrivals::plan::Plan;
    use crate::recording::Recording;
    use crate::scenario::{Pacing, Placing, Span, Stage};

    fn load(executor: Executor) -> Load {
        Load {
            service: SERVICE.into(),
            executor,
            arrivals: Placing::default(),
            max_in_flight: 100,
            graceful_stop: Span::default(),
            start_time: Span::from_secs(10),
            pacing: Pacing::default(),
        }
    }

    fn stage(target: f64, seconds: u64) -> Stage {
        Stage {
            name: None,
            target,
            duration: Span::from_secs(seconds),
        }
    }

    /// A run whose load begins at 10 s, and in which 100 requests a second were offered whatever was intended.
    fn run(executor: Executor) -> Recording {
        let add = |recording: &mut Recording| {
            recording
                .scenario
                .scenarios
                .insert("main".into(), load(executor));
        };
        Fixture::new(40).demand(50.0).with(add).recording()
    }

    fn at(recording: &Recording, seconds: [usize; 4]) -> [u32; 4] {
        let needed = needed(&Context::new(recording, SERVICE).unwrap()).unwrap();
        assert_eq!(needed.len(), 40);
        seconds.map(|second| needed[second])
    }

    #[test]
    fn the_need_follows_the_curve_and_not_chance() {
        let stages = vec![stage(100.0, 10), stage(600.0, 0), stage(600.0, 10)];
        let ramp = run(Executor::RampingArrivalRate {
            start_rate: 0.0,
            stages,
        });
        // 0 to 100 in 10 s, then exactly twelve pods' worth; before and after, one.
        assert_eq!(at(&ramp, [5, 11, 19, 20]), [1, 1, 2, 12]);
        assert_eq!(at(&ramp, [21, 29, 30, 39]), [12, 12, 1, 1]);
        assert_eq!(peak(&ramp.scenario, SERVICE, f64::INFINITY), Some(12));

        let bursts = run(Executor::Bursts {
            base: 50.0,
            burst: 200.0,
            every: Span::from_secs(10),
            length: Span::from_secs(2),
            duration: Span::from_secs(30),
        });
        assert_eq!(at(&bursts, [17, 18, 19, 20]), [1, 4, 4, 1]);
        assert_eq!(peak(&bursts.scenario, SERVICE, f64::INFINITY), Some(4));

        let sine = run(Executor::Sine {
            mean: 100.0,
            amplitude: 50.0,
            period: Span::from_secs(20),
            duration: Span::from_secs(30),
        });
        assert_eq!(at(&sine, [15, 25, 9, 39]), [3, 2, 1, 3]);
        assert_eq!(peak(&sine.scenario, SERVICE, f64::INFINITY), Some(3));
    }

    #[test]
    fn the_curve_is_the_one_that_is_sent() {
        let stages = vec![stage(100.0, 10), stage(600.0, 0), stage(20.0, 10)];
        let executors = [
            Executor::RampingArrivalRate {
                start_rate: 7.0,
                stages,
            },
            Executor::Bursts {
                base: 5.0,
                burst: 80.0,
                every: Span::from_secs(10),
                length: Span::from_secs(4),
                duration: Span::from_secs(27),
            },
            Executor::Sine {
                mean: 100.0,
                amplitude: 50.0,
                period: Span::from_secs(20),
                duration: Span::from_secs(30),
            },
        ];
        for load in executors.map(load) {
            let plan = Plan::new("main", &load, 1, None).unwrap();
            for second in 0..50u32 {
                let t_s = f64::from(second) + 0.5;
                let sent = plan.rate_at(Duration::from_secs_f64(t_s)).unwrap();
                let told = rate(&load, t_s).unwrap();
                assert!((sent - told).abs() < 1e-6, "{told}, not {sent}, at {t_s} s");
            }
        }
    }

    #[test]
    fn without_a_curve_the_offered_requests_tell() {
        let users = run(Executor::ConstantVus {
            vus: 3,
            duration: Span::from_secs(30),
        });
        assert_eq!(at(&users, [0, 10, 20, 39]), [2, 2, 2, 2]);
        assert_eq!(peak(&users.scenario, SERVICE, f64::INFINITY), None);
    }
}
