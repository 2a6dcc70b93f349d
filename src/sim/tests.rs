//! Simulations with a known answer: of a textbook, or of how the parts are meant to work together.

mod outcomes;
mod queueing;
mod rollouts;
mod scaling;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use taffrail_loadtest::recording::{Recording, Service};
use taffrail_loadtest::scenario::{
    self, App, Executor, Load, Pacing, Placing, Scenario, Span, Stage,
};

use super::{Hpa, Of, Plan, PlanError, Source, play};
use crate::engine::{Objective, ServiceSpec};
use crate::hpa::{Behavior, MetricSpec, ResourceTarget, Spec, Target};
use crate::model::id::ServiceId;
use crate::model::matcher::Matchers;
use crate::model::selector::Selector;
use taffrail_loadtest::arrivals::plan::Plan as LoadPlan;

const NAMESPACE: &str = "shop";

/// A pod with four workers that take 40 ms each, of which little is CPU: it answers 100 requests a second at most.
fn app() -> App {
    App {
        workers: 4,
        queue: 512,
        service_time: Span::from_millis(40),
        service_cv: 1.0,
        cpu_share: 0.025,
        cpu_request: 500,
        startup: Some(Span::from_secs(4)),
        drain: Span::from_secs(5),
        calls: None,
        redis: false,
        token: None,
        version: "v1.0".to_owned(),
    }
}

/// A load of stages `(name, rate at its end, seconds)` on `service`.
fn load(service: &str, stages: &[(&str, f64, u64)]) -> Load {
    let stage = |(name, target, seconds): &(&str, f64, u64)| Stage {
        name: Some((*name).to_owned()),
        target: *target,
        duration: Span::from_secs(*seconds),
    };
    Load {
        service: service.to_owned(),
        executor: Executor::RampingArrivalRate {
            start_rate: stages.first().map_or(0.0, |(_, rate, _)| *rate),
            stages: stages.iter().map(stage).collect(),
        },
        arrivals: Placing::Poisson,
        max_in_flight: 10_000,
        graceful_stop: Span::from_secs(10),
        start_time: Span::default(),
        pacing: Pacing::default(),
    }
}

/// One service `users` under such a load.
fn scenario(app: App, stages: &[(&str, f64, u64)]) -> Scenario {
    let service = scenario::Service {
        app: Some(app),
        ..scenario::Service::default()
    };
    Scenario {
        name: "test".to_owned(),
        seed: 1,
        services: BTreeMap::from([("users".to_owned(), service)]),
        scenarios: BTreeMap::from([("main".to_owned(), load("users", stages))]),
        ..Scenario::default()
    }
}

/// What measures the service at `place`, over 30 s, every 5 s.
fn source(name: &str, place: usize) -> Source {
    Source {
        spec: ServiceSpec {
            id: ServiceId::new(NAMESPACE, name),
            interval: Duration::from_secs(5),
            window: Duration::from_secs(30),
            objective: Some(Objective {
                quantile: 0.95,
                latency: Duration::from_millis(250),
            }),
            has_requests: true,
        },
        of: Of::Pods {
            service: place,
            matchers: Matchers::default(),
            in_flight: true,
            cpu: true,
            has_token: false,
        },
    }
}

fn latency_metric() -> MetricSpec {
    MetricSpec::External {
        metric: "request_latency_ms".to_owned(),
        target: Target::Value(250_000),
    }
}

fn cpu_metric() -> MetricSpec {
    MetricSpec::Resource {
        resource: "cpu".to_owned(),
        container: None,
        target: ResourceTarget::Utilization(70),
    }
}

/// An HPA from 2 to 10 replicas on these metrics of `service`, which shrinks after a minute.
fn hpa(service: &str, metrics: Vec<MetricSpec>) -> Hpa {
    let selector = |metric: &MetricSpec| match metric {
        MetricSpec::External { .. } => {
            Selector::parse(&format!("service={service},quantile=0.95")).unwrap()
        }
        _ => Selector::default(),
    };
    let mut behavior = Behavior::default();
    behavior.scale_down.stabilization = Duration::from_secs(60);
    Hpa {
        namespace: NAMESPACE.to_owned(),
        name: service.to_owned(),
        selectors: metrics.iter().map(selector).collect(),
        spec: Spec {
            min_replicas: 2,
            max_replicas: 10,
            metrics,
            behavior: Some(behavior),
        },
    }
}

fn plan(scenario: Scenario, sources: Vec<Source>, hpa: Option<Hpa>) -> Result<Plan, PlanError> {
    let loads = LoadPlan::all(&scenario, |_| Err(std::io::ErrorKind::NotFound.into())).unwrap();
    let autoscalers = hpa
        .map(|hpa| ("users".to_owned(), hpa))
        .into_iter()
        .collect();
    Plan::new(scenario, loads, sources, autoscalers, "test")
}

/// The service is measured and has an HPA on latency and CPU.
fn scaled(scenario: Scenario) -> Plan {
    let hpa = hpa("users", vec![cpu_metric(), latency_metric()]);
    plan(scenario, vec![source("users", 0)], Some(hpa)).unwrap()
}

/// A fixed number of replicas, which nobody measures.
fn fixed(mut scenario: Scenario, replicas: u32) -> Plan {
    scenario
        .preconditions
        .replicas
        .insert("users".to_owned(), replicas);
    plan(scenario, Vec::new(), None).unwrap()
}

fn run(plan: &Plan) -> Recording {
    play(plan, &mut |_| ControlFlow::Continue(()))
}

fn users(recording: &Recording) -> &Service {
    &recording.services["users"]
}

/// The 0.95-quantile of the requests of these seconds, in milliseconds.
fn p95_ms(service: &Service, seconds: std::ops::Range<usize>) -> f64 {
    let latencies = service.load.latencies_of(seconds);
    latencies
        .quantile(0.95)
        .map_or(0.0, |latency| latency.as_secs_f64() * 1000.0)
}
