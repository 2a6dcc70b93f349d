//! What is sent to a service: its loads in this run's time, and how the scenario wants requests to be sent, resolved for
//! processes on one machine. All of it is known before anything is started, so that what cannot be played is refused
//! at once.

use std::net::SocketAddr;

use anyhow::Context;
use taffrail_loadtest::arrivals::plan::Plan;
use taffrail_loadtest::engine::{self, Engine, Ready, resolve};
use taffrail_loadtest::measured::{Measured, SoFar};
use taffrail_loadtest::scenario::file::{default_connections, default_http};
use taffrail_loadtest::scenario::{
    Connections, Discovery, Http, HttpVersion, Load, Scenario, Service, Span, Target,
};
use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// The loads on one service, together.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) service: String,
    pub(super) config: engine::Config,
    pub(super) load: engine::Load,
}

/// A load whose connections are open and that waits for the clock.
pub(super) struct Waiting {
    service: String,
    ready: Ready,
    /// What came of it until now.
    pub(super) so_far: watch::Receiver<SoFar>,
}

impl Sending {
    /// What is sent to each service of a scenario whose variables are replaced, by these plans of its loads.
    ///
    /// # Errors
    /// What cannot be sent, by its service or load.
    pub(super) fn all(
        scenario: &Scenario,
        plans: &[Plan],
        speed: f64,
    ) -> anyhow::Result<Vec<Self>> {
        let mut all = Vec::new();
        for (name, service) in &scenario.services {
            let mine = plans.iter().filter(|plan| plan.service == *name);
            let faster = mine.map(|plan| plan.faster(speed));
            let faster: Vec<Plan> = faster.collect::<Result<_, _>>()?;
            if faster.is_empty() {
                continue;
            }
            let loads = scenario.scenarios.values();
            let loads: Vec<&Load> = loads.filter(|load| load.service == *name).collect();
            let target = target(name, service, speed);
            let config = resolve::config(service, &target, &loads, None, scenario.seed)
                .with_context(|| format!("service {name}"))?;
            all.push(Self {
                service: name.clone(),
                config: engine::Config {
                    pace: speed,
                    tell_seconds: scenario.may_end_early(),
                    ..config
                },
                load: engine::Load::together(&faster),
            });
        }
        Ok(all)
    }

    /// Opens connections to `endpoints`, which may come and go.
    pub(super) async fn prepare(
        &self,
        endpoints: watch::Receiver<Vec<SocketAddr>>,
        stop: CancellationToken,
    ) -> Waiting {
        let (tell, so_far) = watch::channel(SoFar::default());
        let engine = Engine::new(self.config.clone()).with_so_far(tell);
        Waiting {
            service: self.service.clone(),
            ready: engine.prepare(self.load.clone(), endpoints, stop).await,
            so_far,
        }
    }
}

impl Waiting {
    pub(super) fn service(&self) -> &str {
        &self.service
    }

    /// Sends it from `zero` on, and says to which service and what came of it.
    pub(super) async fn start(self, zero: Instant) -> (String, Measured) {
        (self.service, self.ready.start(zero).await)
    }
}

/// The target that the scenario names, as it is here: pods speak HTTP/1.1 in the clear. Connections get as old as they
/// would in a cluster, on the scenario's clock; how long a request may take is on the wall's, as latencies are.
fn target(name: &str, service: &Service, speed: f64) -> Target {
    let (connections, http) = match &service.target {
        Some(target) => (target.connections.clone(), target.http.clone()),
        None => (default_connections(), default_http()),
    };
    Target {
        url: format!("http://{name}/"),
        discovery: Discovery::Endpoints,
        connections: Connections {
            max_age: connections
                .max_age
                .map(|age| Span::from(age.div_f64(speed))),
            ..connections
        },
        http: Http {
            version: HttpVersion::Http1,
            ..http
        },
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    fn sending(rest: &str) -> anyhow::Result<Vec<Sending>> {
        let text = format!(
            "apiVersion: loadtest/v1\nname: shop\nseed: 7\nservices: {{shop: {{target: {{url: 'https://shop.example/', \
             connections: {{maxAge: 20s, perEndpoint: 8}}, http: {{expect: [409], timeout: 3s}}}}}}}}\n{rest}"
        );
        let scenario = Scenario::read("shop.yaml", &text, |_| unreachable!("no other file"))?;
        let plans = Plan::all(&scenario, |trace| match trace {
            "day.csv" => Ok("0,10\n30,20\n60,0\n".to_owned()),
            _ => Err(io::ErrorKind::NotFound.into()),
        })?;
        Sending::all(&scenario, &plans, 10.0)
    }

    #[test]
    fn requests_are_sent_as_the_scenario_says() {
        let load = "scenarios: {a: {service: shop, gracefulStop: 4s, stages: [{target: 5, duration: 60s}]}}";
        let all = sending(load).unwrap();
        let [sending] = &all[..] else {
            panic!("one load, not {all:?}");
        };
        let config = &sending.config;
        assert_eq!(config.expect, [StatusCode::CONFLICT]);
        assert_eq!((config.seed, config.connections_per_endpoint), (7, 8));
        assert_eq!(config.timeout, Duration::from_secs(3));
        assert_eq!(config.graceful_stop, Duration::from_secs(4));
        assert_eq!(config.max_age, Some(Duration::from_secs(2)));
        assert!(config.tls.is_none(), "pods speak in the clear");
        assert_eq!(sending.load.duration(), Duration::from_secs(6));
    }

    #[test]
    fn all_loads_of_a_service_are_one_whatever_their_kind() {
        let loads = "scenarios:
  a: {service: shop, stages: [{target: 5, duration: 60s}]}
  b: {service: shop, executor: replay, file: day.csv, startTime: 20s}
  c: {service: shop, executor: constant-vus, vus: 2, duration: 200s, maxInFlight: 70}
";
        let all = sending(loads).unwrap();
        let [sending] = &all[..] else {
            panic!("one load, not {all:?}");
        };
        assert_eq!(sending.load.duration(), Duration::from_secs(20));
        let bounds = [IN_FLIGHT, IN_FLIGHT, 2];
        assert_eq!(sending.config.max_in_flight, bounds.iter().sum::<usize>());
        let error = sending_error(&loads.replace("day.csv", "night.csv"));
        assert!(
            error.starts_with("load `b`: reading night.csv: "),
            "{error}"
        );
    }

    /// What a load may have in flight that says nothing of it.
    const IN_FLIGHT: usize = 10_000;

    fn sending_error(rest: &str) -> String {
        format!("{:#}", sending(rest).unwrap_err())
    }
}
