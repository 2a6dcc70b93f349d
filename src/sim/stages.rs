//! The stages of a scenario's loads on the clock of the run, and the curves along which they send.

use std::time::Duration;

use taffrail_loadtest::profile::{self, Profile, ProfileError};
use taffrail_loadtest::recording::Stage;
use taffrail_loadtest::scenario::{Executor, Load, Scenario};

/// The stages of all loads, in order of their beginning. A load without any is one stage.
pub(super) fn of(scenario: &Scenario) -> Vec<Stage> {
    let mut stages = Vec::new();
    for (name, load) in &scenario.scenarios {
        let mut start = *load.start_time;
        for (number, (stage, lasts)) in (1..).zip(parts(load)) {
            let end = start + lasts;
            stages.push(Stage {
                name: stage.unwrap_or_else(|| number.to_string()),
                load: name.clone(),
                service: load.service.clone(),
                start_s: start.as_secs_f64(),
                end_s: end.as_secs_f64(),
            });
            start = end;
        }
    }
    stages.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    stages
}

fn parts(load: &Load) -> Vec<(Option<String>, Duration)> {
    match &load.executor {
        Executor::RampingArrivalRate { stages, .. } => stages
            .iter()
            .map(|stage| (stage.name.clone(), *stage.duration))
            .collect(),
        Executor::Sine { duration, .. }
        | Executor::Bursts { duration, .. }
        | Executor::ConstantVus { duration, .. } => {
            vec![(None, **duration)]
        }
        Executor::Replay { .. } => Vec::new(),
    }
}

/// The curve of a load; `None` for a closed loop, which has none.
pub(super) fn curve(load: &Load) -> Option<Result<Profile, ProfileError>> {
    match &load.executor {
        Executor::RampingArrivalRate { start_rate, stages } => {
            let stages = stages.iter().map(|stage| profile::Stage {
                target: stage.target,
                duration: *stage.duration,
            });
            Some(Profile::new(*start_rate, stages.collect()))
        }
        _ => None,
    }
}
