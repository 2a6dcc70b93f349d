//! One run of a scenario in a namespace of its own: objects are applied, the load is sent to the Services' endpoints, what
//! the scenario does is done as its users would do it, and somebody watches.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use futures_util::future::{join_all, try_join_all};
use serde_json::json;
use taffrail_loadtest::arrivals::Arrivals;
use taffrail_loadtest::arrivals::plan::Plan;
use taffrail_loadtest::clock;
use taffrail_loadtest::discovery::{self, Backends};
use taffrail_loadtest::engine::{Engine, resolve};
use taffrail_loadtest::measured::Measured;
use taffrail_loadtest::observe::{Observed, Observer};
use taffrail_loadtest::recording::{
    About, Event, EventKind, Generator, Recording, SCHEMA_VERSION, Tier,
};
use taffrail_loadtest::scenario::{self, Action, ObjectName, Observe, Scenario, Span, Target};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::cast::Role;
use super::{SPEED, orders, pace};
use crate::harness::{Cluster, Redis};
use crate::service;

/// A watch that says nothing for so long is lost, on the wall's clock: a busy machine takes its time.
const MAX_GAP: Span = Span::from_secs(10);

/// How often the metrics are read, on the wall's clock.
const READ_EVERY: Span = Span::from_secs(1);

/// A scenario on stage.
struct Stage<'a> {
    cluster: &'a Cluster,
    namespace: String,
    redis: Option<Redis>,
}

/// A load that is ready to be sent.
struct Sender {
    service: String,
    engine: Engine,
    arrivals: Arrivals,
    backends: Backends,
}

/// Plays it once.
pub(super) async fn play(
    cluster: &Cluster,
    scenario: &Scenario,
    attempt: u32,
) -> anyhow::Result<Recording> {
    let mut stage = Stage::set(cluster, scenario).await?;
    let live = stage.observed(scenario, 1.0)?;
    let namespace = stage.namespace.clone();
    let calls = orders::tell_backends(cluster, &namespace, &live);
    let recording = stage.run(scenario, &live, attempt);
    let recording = tokio::select! {
        recording = recording => recording?,
        told = calls => match told? {},
    };
    stage.clear().await?;
    Ok(recording)
}

impl<'a> Stage<'a> {
    /// Applies everything, and waits until each service has the replicas that it begins with.
    async fn set(cluster: &'a Cluster, scenario: &Scenario) -> anyhow::Result<Self> {
        let namespace = cluster.namespace(&scenario.name).await?;
        let mut apps = scenario
            .services
            .values()
            .filter_map(|service| service.app.as_ref());
        let redis = match apps.any(|app| app.redis) {
            true => Some(Redis::start(&cluster.logs_dir()).await?),
            false => None,
        };
        for (name, service) in &scenario.services {
            let app = service.app.as_ref().context("no app")?;
            let role = Role::of(scenario, name, redis.as_ref());
            for object in role.objects(service, app)? {
                cluster
                    .kubectl()
                    .apply(&namespace, &object.to_string())
                    .await?;
            }
        }
        for (name, service) in &scenario.services {
            let hpa = service.hpa.as_ref().context("no HPA")?;
            let replicas = hpa["spec"]["minReplicas"].as_i64().unwrap_or(1);
            service::ready(cluster, &namespace, name, i32::try_from(replicas)?).await?;
        }
        Ok(Self {
            cluster,
            namespace,
            redis,
        })
    }

    /// From the first look to the last answer.
    async fn run(
        &mut self,
        scenario: &Scenario,
        live: &Scenario,
        attempt: u32,
    ) -> anyhow::Result<Recording> {
        let client = self.cluster.admin();
        let observer = Observer::start(&client, live).await?;
        observer.preconditions(live, |_| ()).await?;
        for (name, service) in &scenario.services {
            for document in Role::of(scenario, name, self.redis.as_ref()).metrics(service)? {
                let kubectl = self.cluster.kubectl();
                kubectl
                    .apply(&self.namespace, &document.to_string())
                    .await?;
            }
        }
        if live
            .services
            .values()
            .any(|service| service.app.as_ref().is_some_and(|app| app.calls.is_some()))
        {
            tokio::time::sleep(orders::HEARD).await;
        }
        let senders = live.scenarios.keys().map(|load| self.sender(live, load));
        let senders = try_join_all(senders).await?;
        let zero = clock::instant();
        let loads = async { anyhow::Ok(join_all(senders.into_iter().map(Sender::send)).await) };
        let (measured, ()) = tokio::try_join!(loads, self.act(scenario, zero))?;
        let observed = pace::told(observer.finish(zero));
        let told = self.observed(scenario, SPEED)?;
        recording(&told, attempt, measured.into_iter().collect(), observed)
    }

    /// The scenario with where its services are met and watched, on a clock that is so many times as fast as the wall's.
    fn observed(&self, scenario: &Scenario, speed: f64) -> anyhow::Result<Scenario> {
        let mut scenario = scenario.clone();
        for (name, service) in &mut scenario.services {
            service.target = Some(self.target(name)?);
            service.observe = Some(Observe {
                hpa: ObjectName {
                    namespace: self.namespace.clone(),
                    name: name.clone(),
                },
                metric_interval: READ_EVERY.mul_f64(speed).into(),
                max_gap: MAX_GAP.mul_f64(speed).into(),
            });
        }
        Ok(scenario)
    }

    fn target(&self, service: &str) -> anyhow::Result<Target> {
        Ok(serde_json::from_value(json!({
            "url": format!("http://{service}.{}.svc/", self.namespace),
            "discovery": "endpoints",
            "connections": {
                "perEndpoint": 64, "maxAge": null, "maxAgeJitter": 0.0, "maxRequests": 0,
                "onEndpointAdd": "rebalance", "preconnect": 1,
            },
            "http": {"version": "1.1", "timeout": "5s", "expect": []},
        }))?)
    }

    async fn sender(&self, scenario: &Scenario, name: &str) -> anyhow::Result<Sender> {
        let load = &scenario.scenarios[name];
        let service = &scenario.services[&load.service];
        let target = service.target.as_ref().context("no target")?;
        let plan = Plan::new(name, &pace::faster(load)?, scenario.seed, None)?;
        let mut config = resolve::config(service, target, &[load], None, scenario.seed)?;
        config.pace = SPEED;
        Ok(Sender {
            service: load.service.clone(),
            engine: Engine::new(config),
            arrivals: plan.arrivals().context("a closed loop")?,
            backends: discovery::start(target, Some(&self.cluster.admin())).await?,
        })
    }

    /// Does what the scenario says, at its moments after `zero`.
    async fn act(&mut self, scenario: &Scenario, zero: Instant) -> anyhow::Result<()> {
        let begins = scenario.events.iter().map(|event| (event.at, event, true));
        let ends = scenario
            .events
            .iter()
            .filter_map(|event| Some((event.until?, event, false)));
        let mut moments: Vec<_> = begins.chain(ends).collect();
        moments.sort_by_key(|(at, ..)| *at);
        for (at, event, begins) in moments {
            tokio::time::sleep_until(zero + *pace::wall(at)).await;
            match (&event.action, begins) {
                (Action::Rollout { service, app }, true) => {
                    let role = Role::of(scenario, service, self.redis.as_ref());
                    self.roll_out(service, &role.args(app)).await?;
                }
                (Action::Undo { service }, true) => {
                    let deployment = format!("deployment/{service}");
                    self.kubectl(&["rollout", "undo", &deployment]).await?;
                }
                (Action::StopRedis, _) => {
                    let redis = self.redis.as_mut().context("no Redis")?;
                    match begins {
                        true => redis.stop().await?,
                        false => redis.start_again().await?,
                    }
                }
                (Action::Change { service, slowdown }, begins) => {
                    let slowdown = if begins { *slowdown } else { 1.0 };
                    let order = format!("slowdown {slowdown}\n");
                    orders::give(
                        self.cluster,
                        &self.namespace,
                        service,
                        orders::SLOWDOWN,
                        &order,
                    )
                    .await?;
                }
                (Action::StopMetrics, _) => bail!("{} is not played here", event.name),
                (Action::Rollout { .. } | Action::Undo { .. }, false) | (Action::Mark, _) => {}
            }
        }
        Ok(())
    }

    async fn roll_out(&self, service: &str, args: &[String]) -> anyhow::Result<()> {
        let path = "/spec/template/spec/containers/0/args";
        let patch = json!([{"op": "replace", "path": path, "value": args}]).to_string();
        let deployment = format!("deployment/{service}");
        self.kubectl(&["patch", &deployment, "--type=json", "--patch", &patch])
            .await
    }

    async fn kubectl(&self, args: &[&str]) -> anyhow::Result<()> {
        let namespace = format!("--namespace={}", self.namespace);
        let args = args.iter().copied().chain([&*namespace]);
        self.cluster.kubectl().run(args).await?;
        Ok(())
    }

    /// Frees the machine for the next run.
    async fn clear(&self) -> anyhow::Result<()> {
        let delete = ["delete", "namespace", &self.namespace, "--wait=false"];
        self.cluster.kubectl().run(delete).await?;
        Ok(())
    }
}

impl Sender {
    async fn send(self) -> (String, Measured) {
        let addresses = self.backends.addresses.clone();
        let load = self
            .engine
            .run(self.arrivals, addresses, CancellationToken::new());
        (self.service, load.await)
    }
}

/// All of it on the scenario's clock.
fn recording(
    scenario: &Scenario,
    attempt: u32,
    mut measured: BTreeMap<String, Measured>,
    mut observed: Observed,
) -> anyhow::Result<Recording> {
    let plans = Plan::all(scenario, |_| Err(std::io::ErrorKind::Unsupported.into()))?;
    let mut stages: Vec<_> = plans.iter().flat_map(|plan| plan.stages.clone()).collect();
    stages.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    let duration = plans.iter().map(Plan::end).max().unwrap_or_default();
    for (name, service) in &mut observed.services {
        service.load = measured.remove(name).unwrap_or_default();
    }
    let mut events = observed.events;
    events.extend(scenario.events.iter().map(mark));
    events.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
    Ok(Recording {
        schema_version: SCHEMA_VERSION,
        about: About {
            tier: Tier::Cluster,
            attempt,
            duration_s: duration.as_secs_f64(),
            ..About::default()
        },
        scenario: scenario.redacted(),
        stages,
        services: observed.services,
        // The test and its cluster are one process, whose CPU says nothing of the generator.
        generator: Generator::default(),
        events,
    })
}

fn mark(event: &scenario::Event) -> Event {
    Event {
        t_s: event.at.seconds(),
        service: None,
        kind: EventKind::Mark,
        name: event.name.clone(),
        until_s: event.until.map(Span::seconds),
        text: event.name.clone(),
    }
}
