//! How many requests per second a pod takes within an objective, by trying: a few pods of the service are played under
//! a constant load, and the highest that meets the objective is looked for. It is what an oracle knows of a service.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use taffrail_loadtest::arrivals::plan::Plan as LoadPlan;
use taffrail_loadtest::judge;
use taffrail_loadtest::scenario::assertion::ErrorBudget;
use taffrail_loadtest::scenario::{
    self, App, Check, Executor, Load, Pacing, Placing, Scenario, Scope, Share, Slo, Span, Stage,
};

use super::{Plan, play};

/// Pods that are tried together. Requests go to each in turn, so several take more each than one alone does; beyond
/// this many it makes hardly a difference.
const PODS: u32 = 4;

/// Requests of a trial: where one in twenty may be slow, the share of slow ones is then known to a tenth of itself.
const REQUESTS: f64 = 6_000.0;

/// Requests before them, for lines to become as long as they do at that load.
const WARM_UP: f64 = 600.0;

/// The lowest utilization that is tried: a service that misses its objective here misses it with any number of pods.
const LOWEST: f64 = 0.02;

/// Trials by which the capacity is narrowed down: to a hundredth of what a pod could do if nothing ever waited.
const TRIALS: usize = 7;

/// The utilization of the services that are called: they must not be what is short here.
const CALLED: f64 = 0.3;

/// All trials draw alike, whatever the seed of the scenario: another seed has the same oracle.
const SEED: u64 = 1;

/// The stage of a trial that counts.
const TRIED: &str = "tried";

/// Requests per second that a pod of `service` takes within `slo`, given how all services behave; `None` when it misses
/// the objective under hardly any load.
pub(super) fn of(apps: &BTreeMap<String, App>, service: &str, slo: Slo) -> Option<f64> {
    let most = most(apps, service)?;
    let meets = |utilization: f64| meets(apps, service, slo, most * utilization);
    if !meets(LOWEST) {
        return None;
    }
    let (mut low, mut high) = (LOWEST, 1.0);
    for _ in 0..TRIALS {
        let middle = (low + high) / 2.0;
        if meets(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    Some(most * low)
}

/// Requests per second that a pod could answer if none ever waited: a worker is held until the call is answered, and a
/// connection for the call.
fn most(apps: &BTreeMap<String, App>, service: &str) -> Option<f64> {
    let app = apps.get(service)?;
    let workers = app.workers as f64 / held_s(apps, service)?;
    let Some(calls) = &app.calls else {
        return Some(workers);
    };
    let connections = calls.connections as f64 / held_s(apps, &calls.service)?;
    Some(workers.min(connections))
}

/// For how long a request holds a worker on average, in seconds; `None` where services call each other in a circle.
fn held_s(apps: &BTreeMap<String, App>, service: &str) -> Option<f64> {
    let mut held_s = 0.0;
    let mut next = service;
    for _ in 0..apps.len() {
        let app = apps.get(next)?;
        held_s += app.service_time.seconds();
        match &app.calls {
            Some(calls) => next = &calls.service,
            None => return Some(held_s),
        }
    }
    None
}

fn meets(apps: &BTreeMap<String, App>, service: &str, slo: Slo, per_pod: f64) -> bool {
    let Some(plan) = trial(apps, service, slo, per_pod) else {
        return false;
    };
    let recording = play(&plan, &mut |_| ControlFlow::Continue(()));
    let budget = Check::ErrorBudget(ErrorBudget {
        scope: Scope::Stage(TRIED.to_owned()),
        target: Some(slo.target),
        objective: Share::default(),
    });
    let findings = judge::ask(&recording, service, &budget);
    let bad = findings.first().and_then(|finding| finding.value);
    bad.is_some_and(|bad| bad <= 1.0 - slo.quantile)
}

/// A constant load on a few pods of the service, which is not scaled.
fn trial(apps: &BTreeMap<String, App>, service: &str, slo: Slo, per_pod: f64) -> Option<Plan> {
    let rate = per_pod * f64::from(PODS);
    let mut scenario = Scenario {
        seed: SEED,
        slo: Some(slo),
        ..Scenario::default()
    };
    for (name, app) in apps {
        let mut app = app.clone();
        // Requests here have no headers.
        app.token = None;
        let replicas = if name == service {
            PODS
        } else {
            let busy = rate * held_s(apps, name)? / app.workers as f64;
            (busy / CALLED).ceil().max(1.0) as u32
        };
        let service = scenario::Service {
            app: Some(app),
            ..scenario::Service::default()
        };
        scenario
            .preconditions
            .replicas
            .insert(name.clone(), replicas);
        scenario.services.insert(name.clone(), service);
    }
    let stage = |name: Option<&str>, requests: f64| {
        Some(Stage {
            name: name.map(str::to_owned),
            target: rate,
            duration: Duration::try_from_secs_f64((requests / rate).ceil())
                .ok()?
                .into(),
        })
    };
    let load = Load {
        service: service.to_owned(),
        executor: Executor::RampingArrivalRate {
            start_rate: rate,
            stages: vec![stage(None, WARM_UP)?, stage(Some(TRIED), REQUESTS)?],
        },
        arrivals: Placing::Poisson,
        max_in_flight: usize::MAX,
        graceful_stop: Span::default(),
        start_time: Span::default(),
        pacing: Pacing::default(),
    };
    scenario.scenarios.insert(TRIED.to_owned(), load);
    let loads = LoadPlan::all(&scenario, |_| Err(std::io::ErrorKind::NotFound.into())).ok()?;
    Plan::new(scenario, loads, Vec::new(), BTreeMap::new(), "").ok()
}
