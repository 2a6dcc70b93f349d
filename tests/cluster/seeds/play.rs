//! A scenario on stage, in a namespace of its own: its objects are applied, the load is sent to the Services' endpoints,
//! what the scenario does is done as its users would do it, and somebody watches. What is seen becomes a recording on the
//! scenario's clock; nothing is judged here.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use futures_util::future::{join_all, try_join_all};
use serde_json::{Value, json};
use taffrail_loadtest::arrivals::plan::Plan;
use taffrail_loadtest::clock;
use taffrail_loadtest::discovery::{self, Backends};
use taffrail_loadtest::engine::{Engine, Ready, resolve};
use taffrail_loadtest::measured::Measured;
use taffrail_loadtest::observe::{Observed, Observer};
use taffrail_loadtest::recording::{
    About, Event, EventKind, Generator, Recording, SCHEMA_VERSION, Tier,
};
use taffrail_loadtest::scenario::{
    self, Action, Executor, Load, ObjectName, Observe, Scenario, Span, Target,
};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::cast::{self, Role};
use super::{SPEED, pace};
use crate::harness::{Cluster, NodePort, Redis, sample};
use crate::service;

/// A watch that says nothing for so long is lost, on the wall's clock: a busy machine takes its time.
const MAX_GAP: Span = Span::from_secs(10);

/// How often the metrics are read, on the wall's clock.
const READ_EVERY: Span = Span::from_secs(1);

/// Until every HPA has decided and every pod is ready, on the wall's clock.
const AT_REST: Span = Span::from_secs(90);

/// Longer than any test, on the scenario's clock.
const FOR_EVER: Span = Span::from_secs(3_600);

/// A scenario whose services run.
pub(super) struct Stage<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: String,
    scenario: &'a Scenario,
    redis: Option<Redis>,
    /// Where each service is that another calls.
    ports: BTreeMap<String, NodePort>,
}

/// A load that waits for the clock.
struct Sender {
    service: String,
    ready: Ready,
    /// Looked for until the load has ended.
    _backends: Backends,
}

impl<'a> Stage<'a> {
    /// Applies everything, and waits until each service has the replicas that it begins with. A wrong token is still the
    /// right one: an HPA that has never known all of its metrics wants no number of replicas at all.
    pub(super) async fn set(cluster: &'a Cluster, scenario: &'a Scenario) -> anyhow::Result<Self> {
        let mut apps = scenario
            .services
            .values()
            .filter_map(|service| service.app.as_ref());
        let redis = match apps.any(|app| app.redis) {
            true => Some(Redis::start(&cluster.logs_dir()).await?),
            false => None,
        };
        let mut stage = Self {
            cluster,
            namespace: cluster.namespace(&scenario.name).await?,
            scenario,
            redis,
            ports: BTreeMap::new(),
        };
        for name in scenario.services.keys() {
            stage.apply(&[sample::service(name)]).await?;
        }
        stage.open_ports().await?;
        for role in stage.roles()? {
            stage.apply(&[role.deployment()]).await?;
            stage.apply(&role.metrics_with_token()?).await?;
            stage.apply(&[role.hpa()]).await?;
        }
        for role in stage.roles()? {
            let replicas = i32::try_from(role.replicas())?;
            service::ready(cluster, &stage.namespace, role.name, replicas).await?;
        }
        Ok(stage)
    }

    /// Plays it from the first look to the last answer.
    pub(super) async fn run(&mut self) -> anyhow::Result<Recording> {
        let client = self.cluster.admin();
        let live = self.observed(1.0)?;
        let observer = Observer::start(&client, &live).await?;
        observer.preconditions(&live, |_| ()).await?;
        for role in self.roles()? {
            self.apply(&role.metrics()?).await?;
        }
        let loads = live.scenarios.iter();
        let senders = loads.map(|(name, load)| self.sender(&live, name, load));
        let senders = try_join_all(senders).await?;
        let zero = clock::instant();
        let sent = join_all(senders.into_iter().map(|sender| sender.send(zero)));
        let sent = async { anyhow::Ok(sent.await) };
        let (sent, ()) = tokio::try_join!(sent, self.act(zero))?;
        let seen = pace::told(observer.finish(zero));
        recording(&self.observed(SPEED)?, sent.into_iter().collect(), seen)
    }

    /// Sends what the load of this name sends, but steadily so many a second, until it is dropped.
    pub(super) async fn crowd(
        &self,
        load: &str,
        rate: f64,
    ) -> anyhow::Result<AbortOnDropHandle<(String, Measured)>> {
        let live = self.observed(1.0)?;
        let mut steady = live.scenarios.get(load).context("no such load")?.clone();
        let stage = scenario::Stage {
            name: None,
            target: rate,
            duration: FOR_EVER,
        };
        steady.executor = Executor::RampingArrivalRate {
            start_rate: rate,
            stages: vec![stage],
        };
        let sender = self.sender(&live, load, &steady).await?;
        let sent = tokio::spawn(sender.send(clock::instant()));
        Ok(AbortOnDropHandle::new(sent))
    }

    /// A service's part as it is now.
    pub(super) fn role<'s>(&'s self, name: &'s str) -> anyhow::Result<Role<'s>> {
        let service = self.scenario.services.get(name);
        let service = service.with_context(|| format!("there is no service {name}"))?;
        let app = service.app.as_ref().context("no app")?;
        let redis = self.redis.as_ref().filter(|_| app.redis);
        let calls = app.calls.as_ref();
        let calls = calls.and_then(|calls| self.ports.get(&calls.service));
        Ok(Role {
            name,
            service,
            app,
            redis: redis.map(Redis::address),
            calls: calls.map(NodePort::address),
            is_ordered: cast::is_ordered(self.scenario, name),
        })
    }

    /// Applies objects to the stage's namespace.
    pub(super) async fn apply(&self, objects: &[Value]) -> anyhow::Result<()> {
        let kubectl = self.cluster.kubectl();
        for object in objects {
            kubectl.apply(&self.namespace, &object.to_string()).await?;
        }
        Ok(())
    }

    fn roles(&self) -> anyhow::Result<Vec<Role<'_>>> {
        let names = self.scenario.services.keys();
        names.map(|name| self.role(name)).collect()
    }

    /// Gives every service that another calls an address that pods can be started with.
    async fn open_ports(&mut self) -> anyhow::Result<()> {
        let apps = self.scenario.services.values();
        for app in apps.filter_map(|service| service.app.as_ref()) {
            let Some(calls) = &app.calls else { continue };
            let port = NodePort::open(self.cluster.admin(), &self.namespace, &calls.service);
            self.ports.insert(calls.service.clone(), port.await?);
        }
        Ok(())
    }

    /// The scenario with where its services are met and watched, on a clock that is so many times as fast as the wall's.
    fn observed(&self, speed: f64) -> anyhow::Result<Scenario> {
        let mut scenario = self.scenario.clone();
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
        scenario.preconditions.timeout = AT_REST.mul_f64(speed).into();
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

    async fn sender(&self, live: &Scenario, name: &str, load: &Load) -> anyhow::Result<Sender> {
        let service = &live.services[&load.service];
        let target = service.target.as_ref().context("no target")?;
        let plan = Plan::new(name, &pace::faster(load)?, live.seed, None)?;
        let arrivals = plan.arrivals().context("a closed loop")?;
        let mut config = resolve::config(service, target, &[load], None, live.seed)?;
        config.pace = SPEED;
        let backends = discovery::start(target, Some(&self.cluster.admin())).await?;
        let (addresses, cancel) = (backends.addresses.clone(), CancellationToken::new());
        let engine = Engine::new(config);
        Ok(Sender {
            service: load.service.clone(),
            ready: engine.prepare(arrivals, addresses, cancel).await,
            _backends: backends,
        })
    }

    /// Does what the scenario says, at its moments after `zero`.
    async fn act(&mut self, zero: Instant) -> anyhow::Result<()> {
        let events = &self.scenario.events;
        let begins = events.iter().map(|event| (event.at, event, true));
        let ends = events
            .iter()
            .filter_map(|event| Some((event.until?, event, false)));
        let mut moments: Vec<_> = begins.chain(ends).collect();
        moments.sort_by_key(|(at, ..)| *at);
        for (at, event, begins) in moments {
            tokio::time::sleep_until(zero + *pace::wall(at)).await;
            let acted = match (&event.action, begins) {
                (Action::Rollout { service, app }, true) => {
                    let args = self.role(service)?.args(app);
                    self.roll_out(service, &args).await
                }
                (Action::Undo { service }, true) => self.undo(service).await,
                (Action::StopRedis, begins) => self.redis(begins).await,
                (
                    Action::Change {
                        service,
                        slowdown,
                        pods: None,
                    },
                    begins,
                ) => {
                    let slowdown = if begins { *slowdown } else { 1.0 };
                    self.apply(&[cast::slow(service, slowdown)]).await
                }
                (Action::StopMetrics | Action::Change { pods: Some(_), .. }, _) => {
                    bail!("{} is not played here", event.name)
                }
                (Action::Rollout { .. } | Action::Undo { .. }, false) | (Action::Mark, _) => Ok(()),
            };
            acted.with_context(|| event.name.clone())?;
        }
        Ok(())
    }

    async fn redis(&mut self, is_gone: bool) -> anyhow::Result<()> {
        let redis = self.redis.as_mut().context("no Redis")?;
        match is_gone {
            true => redis.stop().await,
            false => redis.start_again().await,
        }
    }

    async fn roll_out(&self, service: &str, args: &[String]) -> anyhow::Result<()> {
        let path = "/spec/template/spec/containers/0/args";
        let patch = json!([{"op": "replace", "path": path, "value": args}]).to_string();
        let deployment = format!("deployment/{service}");
        self.kubectl(&["patch", &deployment, "--type=json", "--patch", &patch])
            .await
    }

    async fn undo(&self, service: &str) -> anyhow::Result<()> {
        let deployment = format!("deployment/{service}");
        self.kubectl(&["rollout", "undo", &deployment]).await
    }

    async fn kubectl(&self, args: &[&str]) -> anyhow::Result<()> {
        let namespace = format!("--namespace={}", self.namespace);
        let args = args.iter().copied().chain([&*namespace]);
        self.cluster.kubectl().run(args).await?;
        Ok(())
    }
}

impl Sender {
    async fn send(self, zero: Instant) -> (String, Measured) {
        (self.service, self.ready.start(zero).await)
    }
}

/// All of it on the scenario's clock.
fn recording(
    scenario: &Scenario,
    mut sent: BTreeMap<String, Measured>,
    mut seen: Observed,
) -> anyhow::Result<Recording> {
    let plans = Plan::all(scenario, |_| Err(std::io::ErrorKind::Unsupported.into()))?;
    let mut stages: Vec<_> = plans.iter().flat_map(|plan| plan.stages.clone()).collect();
    stages.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
    let duration = plans.iter().map(Plan::end).max().unwrap_or_default();
    for (name, service) in &mut seen.services {
        service.load = sent.remove(name).unwrap_or_default();
    }
    let mut events = seen.events;
    events.extend(scenario.events.iter().map(mark));
    events.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
    Ok(Recording {
        schema_version: SCHEMA_VERSION,
        about: About {
            tier: Tier::Cluster,
            attempt: 1,
            duration_s: duration.as_secs_f64(),
            facts: BTreeMap::from([(About::SPEED.to_owned(), SPEED.to_string())]),
            ..About::default()
        },
        scenario: scenario.redacted(),
        stages,
        services: seen.services,
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
