//! What is sent to a service: its load in this run's time, and how the scenario wants requests to be sent, resolved for
//! processes on one machine. All of it is known before anything is started, so that what cannot be played is refused
//! at once.

use anyhow::{Context, bail};
use taffrail_loadtest::arrivals::Arrivals;
use taffrail_loadtest::arrivals::plan::Plan;
use taffrail_loadtest::engine::{self, resolve};
use taffrail_loadtest::scenario::file::{default_connections, default_http};
use taffrail_loadtest::scenario::{
    Connections, Discovery, Executor, Http, HttpVersion, Load, Scenario, Service, Span, Target,
};

/// The load on one service.
#[derive(Clone, Debug)]
pub(super) struct Sending {
    pub(super) service: String,
    pub(super) config: engine::Config,
    pub(super) arrivals: Arrivals,
}

impl Sending {
    /// What is sent to each service of a scenario whose variables are replaced.
    ///
    /// # Errors
    /// A load that is not played here, by its name.
    pub(super) fn all(scenario: &Scenario, speed: f64) -> anyhow::Result<Vec<Self>> {
        let mut all: Vec<Self> = Vec::new();
        for (name, load) in &scenario.scenarios {
            let sending =
                Self::new(name, load, scenario, speed).with_context(|| format!("load {name}"))?;
            if all.iter().any(|other| other.service == sending.service) {
                bail!(
                    "load {name}: service {} has two loads, and one is played here",
                    sending.service
                );
            }
            all.push(sending);
        }
        Ok(all)
    }

    fn new(name: &str, load: &Load, scenario: &Scenario, speed: f64) -> anyhow::Result<Self> {
        let service = scenario.services.get(&load.service);
        let service = service.with_context(|| format!("no service {}", load.service))?;
        let plan = Plan::new(name, &faster(load, speed)?, scenario.seed, None)?;
        let target = target(&load.service, service, speed);
        let config = resolve::config(service, &target, &[load], None, scenario.seed)?;
        Ok(Self {
            service: load.service.clone(),
            config: engine::Config {
                pace: speed,
                ..config
            },
            arrivals: plan.arrivals().context("an open loop has arrivals")?,
        })
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

/// The load with its times divided by `speed`; rates stay.
fn faster(load: &Load, speed: f64) -> anyhow::Result<Load> {
    let shorter = |span: &mut Span| *span = Span::from(span.div_f64(speed));
    let mut load = load.clone();
    shorter(&mut load.start_time);
    match &mut load.executor {
        Executor::RampingArrivalRate { stages, .. } => {
            stages
                .iter_mut()
                .for_each(|stage| shorter(&mut stage.duration));
        }
        Executor::Sine {
            period, duration, ..
        } => [period, duration].into_iter().for_each(shorter),
        Executor::Bursts {
            every,
            length,
            duration,
            ..
        } => {
            [every, length, duration].into_iter().for_each(shorter);
        }
        Executor::Replay { .. } => {
            bail!("a trace is not played here yet; run it in virtual time or in a cluster")
        }
        Executor::ConstantVus { .. } => {
            bail!("a closed loop is not played here; write an arrival rate")
        }
    }
    Ok(load)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::StatusCode;

    use super::*;

    fn sending(rest: &str) -> anyhow::Result<Vec<Sending>> {
        let text = format!(
            "apiVersion: loadtest/v1\nname: shop\nseed: 7\nservices: {{shop: {{target: {{url: 'https://shop.example/', \
             connections: {{maxAge: 20s, perEndpoint: 8}}, http: {{expect: [409], timeout: 3s}}}}}}}}\n{rest}"
        );
        let scenario = Scenario::read("shop.yaml", &text, |_| unreachable!("no other file"))?;
        Sending::all(&scenario, 10.0)
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
        assert_eq!(sending.arrivals.duration(), Duration::from_secs(6));
    }

    #[test]
    fn what_is_not_played_here_is_refused_by_its_name() {
        let open = "{service: shop, stages: [{target: 5, duration: 60s}]}";
        for (loads, expected) in [
            (
                "{a: {service: shop, executor: constant-vus, vus: 2, duration: 60s}}".to_owned(),
                "load a: a closed loop is not played here",
            ),
            (
                format!("{{a: {open}, b: {open}}}"),
                "load b: service shop has two loads",
            ),
        ] {
            let error = sending(&format!("scenarios: {loads}")).unwrap_err();
            assert!(format!("{error:#}").starts_with(expected), "{error:#}");
        }
    }
}
