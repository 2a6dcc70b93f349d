//! One service on stage: its pods, its HPA, and what tells the adapter how it is measured. What the scenario says of it
//! for a cluster is resolved here for one machine.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::Value;
use taffrail_loadtest::sample_app;
use taffrail_loadtest::scenario::{App, Scenario, Service};

use crate::config;
use crate::engine::snapshot::Snapshot;
use crate::source::SourceSpec;

use super::super::fleet::{Fleet, Template};
use super::super::reader::Reader;
use super::super::scaler::{Hpa, Scaler};
use super::super::{Pace, visits};

/// How long a pod that was taken out may still be asked, on the wall's clock: the load follows its endpoints at once,
/// and other services at the next step.
const LEAVE: Duration = Duration::from_millis(300);

/// One service.
pub(super) struct Part {
    pub(super) name: String,
    pub(super) fleet: Fleet,
    pub(super) hpa: Option<Hpa>,
    pub(super) scaler: Option<Scaler>,
    /// How many pods it begins with.
    pub(super) replicas_at_first: u32,
    /// Times as slow as its app says.
    slowdown: f64,
    app: App,
    former: Option<App>,
    objects: Vec<config::Object>,
    pace: Pace,
    redis: Option<SocketAddr>,
}

impl Part {
    /// Whether a service can be played here at this speed, as far as that is known before anything is started.
    ///
    /// # Errors
    /// What is missing, or is not played.
    pub(super) fn check(name: &str, scenario: &Scenario, speed: f64) -> anyhow::Result<()> {
        let service = scenario.services.get(name).context("is no service")?;
        app(service)?;
        let hpa = service.hpa.as_ref().map(|object| Hpa::read(object, name));
        hpa.transpose().context("hpa")?;
        let mut apps = scenario
            .services
            .values()
            .filter_map(|service| service.app.as_ref());
        // Where it will be is known when it is started.
        let redis = apps
            .any(|app| app.redis)
            .then_some(([127, 0, 0, 1], 1).into());
        objects(name, service, speed, redis).map(drop)
    }

    pub(super) fn new(
        name: &str,
        scenario: &Scenario,
        pace: Pace,
        redis: Option<SocketAddr>,
        reader: Reader,
    ) -> anyhow::Result<Self> {
        let service = scenario.services.get(name).context("is no service")?;
        let declared = scenario.preconditions.replicas.get(name).copied();
        let app = app(service)?.clone();
        let hpa = service.hpa.as_ref().map(|object| Hpa::read(object, name));
        let hpa = hpa.transpose().context("hpa")?;
        Ok(Self {
            name: name.to_owned(),
            fleet: Fleet::new(pace, name, template(&app, pace, redis)),
            replicas_at_first: declared.unwrap_or(hpa.as_ref().map_or(1, Hpa::replicas_min)),
            scaler: hpa.clone().map(|hpa| Scaler::new(hpa, reader)),
            hpa,
            slowdown: 1.0,
            app,
            former: None,
            objects: objects(name, service, pace.speed, redis)?,
            pace,
            redis,
        })
    }

    /// Whether the adapter has read everything that it is to read of it.
    pub(super) fn is_known(&self, snapshot: &Snapshot) -> bool {
        self.objects.iter().all(|object| {
            let id = &object.service.spec.id;
            let known = snapshot.service(&id.namespace, &id.name);
            // A scrape that is refused has been made; whoever plays a wrong token waits for nothing more.
            known.is_some()
        })
    }

    /// What the adapter is to read: as in a cluster, the ready pods that the object selects, which are all here.
    pub(super) fn measured(&self) -> impl Iterator<Item = config::Service> {
        self.objects.iter().map(|object| {
            let mut service = object.service.clone();
            if let Some(selection) = &object.pods {
                let id = &service.spec.id;
                let source = |(name, address): (&str, SocketAddr)| -> SourceSpec {
                    let target = config::PodSelection::target(id, name, name);
                    selection.source(target, address.ip(), address.port())
                };
                service.sources = self.fleet.ready_pods().map(source).collect();
            }
            service
        })
    }

    /// Tells the pods how slow they are, and where the service is that they call.
    pub(super) fn give_orders(&mut self, addresses: &BTreeMap<String, Vec<SocketAddr>>) {
        let mut orders = String::new();
        if let Some(calls) = &self.app.calls {
            orders += "backends";
            for address in addresses.get(&calls.service).into_iter().flatten() {
                // Writing to a text cannot fail.
                let _ = write!(orders, " {address}");
            }
            orders += "\n";
        }
        self.fleet.order(self.slowdown, orders);
    }

    /// What it does takes so many times as long: everywhere, or with the first so many pods that are ready.
    pub(super) fn slow_down(&mut self, slowdown: f64, pods: Option<u32>) {
        match pods {
            None => self.slowdown = slowdown,
            Some(pods) => self.fleet.slow_down(slowdown, pods as usize),
        }
    }

    pub(super) fn roll_out(&mut self, app: &App) -> anyhow::Result<()> {
        self.former = Some(std::mem::replace(&mut self.app, app.clone()));
        self.fleet.roll_out(template(app, self.pace, self.redis))
    }

    pub(super) fn undo(&mut self) -> anyhow::Result<()> {
        if let Some(former) = self.former.take() {
            self.former = Some(std::mem::replace(&mut self.app, former));
        }
        self.fleet.undo()
    }
}

fn app(service: &Service) -> anyhow::Result<&App> {
    let app = service.app.as_ref();
    app.context("has no `app`, which says how its pods behave")
}

/// The pods of an app.
fn template(app: &App, pace: Pace, redis: Option<SocketAddr>) -> Template {
    let mut args = sample_app::flags(app, pace.speed);
    if app.redis {
        args.extend(redis.into_iter().flat_map(visits::flags));
    }
    let token = app
        .token
        .iter()
        .map(|token| ("APP_AUTH_TOKEN", token.clone()));
    Template {
        args,
        env: token.collect(),
        cpu_request_milli: i64::from(app.cpu_request),
        drain: LEAVE,
    }
}

/// The `RequestMetrics` objects of a service.
fn objects(
    name: &str,
    service: &Service,
    speed: f64,
    redis: Option<SocketAddr>,
) -> anyhow::Result<Vec<config::Object>> {
    let documents = config::documents_of(service.metrics.as_ref(), name).into_iter();
    let objects = documents.map(|document| {
        // The adapter reads the pods' own page here, and would find nothing on it.
        match config::unlike_played(&document, name, &sample_app::PAGE) {
            Some(unlike) => bail!("{unlike}"),
            None => object(document, speed, redis),
        }
    });
    objects.collect::<anyhow::Result<_>>().context("metrics")
}

/// A `RequestMetrics` object as a cluster would have it, in this run's time, with this machine's Redis.
fn object(
    mut document: Value,
    speed: f64,
    redis: Option<SocketAddr>,
) -> anyhow::Result<config::Object> {
    if let Some(Value::Object(source)) = document.pointer_mut("/spec/source/redis") {
        let redis = redis.context("reads Redis, but no app of the scenario uses it")?;
        source.insert("address".to_owned(), redis.to_string().into());
        // The cluster's Redis wants them, and the one that is started here knows no user.
        source.retain(|field, _| field != "username" && field != "password");
    }
    let read = |document: &Value| {
        let read = config::object(&document.to_string());
        read.map_err(|problem| anyhow::anyhow!(problem.message))
    };
    // What it does not say has a default, which is shortened as well.
    let spec = read(&document)?.service.spec;
    if let Some(Value::Object(fields)) = document.pointer_mut("/spec") {
        for (name, span) in [("window", spec.window), ("interval", spec.interval)] {
            let shorter = format!("{}ms", span.div_f64(speed).as_millis());
            fields.insert(name.to_owned(), shorter.into());
        }
    }
    read(&document).with_context(|| format!("{speed} times as fast"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checked(service: &str, speed: f64) -> Result<(), String> {
        let text = format!(
            "name: shop\nservices: {{shop: {{{service}}}}}\nscenarios: {{main: {{profile: 1@1s}}}}\n"
        );
        let scenario = Scenario::read("s.yaml", &text, |_| unreachable!("no other file")).unwrap();
        Part::check("shop", &scenario, speed).map_err(|error| format!("{error:#}"))
    }

    #[test]
    fn metrics_without_head_window_and_interval_are_played_as_elsewhere() {
        let metrics = "source: {pods: {selector: {matchLabels: {app: shop}}}}, objective: {quantile: 0.95, latency: 1s}";
        checked(
            &format!("app: {{workers: 2}}, metrics: {{{metrics}}}"),
            10.0,
        )
        .unwrap();
    }

    #[test]
    fn what_cannot_be_played_is_known_before_anything_is_started() {
        let pods = "source: {pods: {selector: {matchLabels: {app: shop}}}}";
        let metrics = |rest: &str| {
            format!(
                "app: {{workers: 2}}, metrics: {{{rest}, objective: {{quantile: 0.95, latency: 1s}}}}"
            )
        };
        let cases = [
            ("requests: []".to_owned(), "has no `app`"),
            (
                metrics("source: {redis: {server: {}}}"),
                "metrics: reads Redis, but no app of the scenario uses it",
            ),
            (metrics("source: {pods: {}}"), "metrics: spec.source.pods"),
            (
                metrics(&format!("{pods}, window: 1s, interval: 500ms")),
                "metrics: 10 times as fast: spec.interval",
            ),
            (
                metrics("source: {pods: {selector: {matchLabels: {app: shpo}}}}"),
                "metrics: selector.matchLabels.app is \"shpo\", and that of the pods that are played is \"shop\"",
            ),
            (
                metrics(
                    "source: {pods: {selector: {matchLabels: {app: shop}}, histogram: http_server_seconds}}",
                ),
                "metrics: histogram is \"http_server_seconds\"",
            ),
            (
                "app: {workers: 2}, hpa: {spec: {maxReplicas: 0}}".to_owned(),
                "hpa: ",
            ),
        ];
        for (service, expected) in cases {
            let error = checked(&service, 10.0).unwrap_err();
            assert!(error.starts_with(expected), "{service}: {error}");
        }
    }
}
