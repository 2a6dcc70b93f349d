//! What is played for every candidate: a service and all that it calls, the traffic on it, and what its HPA has to keep.
//! It makes plans of virtual time and plays none.

use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};
use taffrail_loadtest::arrivals::plan::Plan as LoadPlan;
use taffrail_loadtest::scenario::{
    self, App, Executor, Load, ObjectName, Observe, Pacing, Placing, Scenario, Slo, Span, Stage,
};

use super::candidate::Subject;
use super::curve::{Balancing, Curve, Objective};
use super::fit::Fit;
use super::traffic::{Part, Traffic};
use crate::sim::Plan;
use crate::simulate::resolve;

/// The load that counts.
const TRAFFIC: &str = "traffic";

/// The load before it, which does not count: an HPA that begins with the right number of pods and no memory would seem
/// better or worse than it is.
const WARM_UP: &str = "warm-up";

/// How long that is: longer than the window of any candidate, and pods that an HPA took away before the first request
/// are back by then.
const WARM_UP_S: u64 = 120;

/// How long requests under way may take at the end.
const GRACEFUL_STOP: Span = Span::from_secs(10);

/// How full pods are at the beginning, as a share of what they can take.
const FULL: f64 = 0.8;

/// How often metrics are looked at beside the HPA, which reads them itself: hardly ever, since nobody reads that here.
const LOOK_EVERY: Span = Span::from_secs(3600);

/// The window over which an objective is held, where nothing else is said: that of scenarios.
const SLO_WINDOW: Span = Span::from_secs(10);

/// To what it is widened where requests are few.
const SLO_WINDOW_MAX: Span = Span::from_secs(60);

/// How long a pod has to end.
const DRAIN: Span = Span::from_secs(5);

/// What of an app says how much of its time is CPU.
const CPU_SHARE: &str = "cpuShare";

/// Requests that may wait in a pod whose own bound is not known.
const QUEUE: usize = 512;

/// Everything that is the same for all candidates.
#[derive(Clone, Debug)]
pub(super) struct Workload {
    /// Without the loads on the service.
    base: Scenario,
    pub(super) service: String,
    pub(super) traffic: Traffic,
    pub(super) subject: Subject,
    /// The load on a pod at which the objective is just met.
    pub(super) limit: f64,
    /// The `RequestMetrics` documents that say how it is measured.
    metrics: Value,
}

/// One play.
#[derive(Clone, Debug)]
pub(super) struct Run<'a> {
    pub(super) hpa: &'a Value,
    pub(super) window_s: u32,
    pub(super) part: &'a Part,
    pub(super) seed: u64,
    /// How many times as slow the service is as it is known to be.
    pub(super) slowdown: f64,
}

impl Workload {
    /// The workload of `service` in `base`, which has an `app`.
    pub(super) fn new(
        mut base: Scenario,
        service: &str,
        traffic: Traffic,
        subject: Subject,
        limit: f64,
    ) -> anyhow::Result<Self> {
        let Some(held) = base.services.get_mut(service) else {
            bail!("there is no service {service}");
        };
        let metrics = held.metrics.take().map_or_else(
            || default_metrics(&subject),
            |metrics| with_namespace(metrics, &subject),
        );
        base.scenarios.retain(|_, load| load.service != service);
        let later = Span::from_secs(WARM_UP_S);
        let shifted = |span: Span| Span::from(*span + *later);
        for load in base.scenarios.values_mut() {
            load.start_time = shifted(load.start_time);
        }
        for event in &mut base.events {
            event.at = shifted(event.at);
            event.until = event.until.map(shifted);
        }
        for service in base.services.values_mut() {
            service.observe = Some(Observe {
                hpa: ObjectName::default(),
                metric_interval: LOOK_EVERY,
                max_gap: LOOK_EVERY,
            });
        }
        base.slo = Some(slo(&subject.objective, base.slo));
        base.assertions.clear();
        base.thresholds.clear();
        Ok(Self {
            base,
            service: service.to_owned(),
            traffic,
            subject,
            limit,
            metrics,
        })
    }

    /// What the service's requests are held against.
    pub(super) fn slo(&self) -> Option<Slo> {
        self.base.slo
    }

    /// How the service behaves.
    pub(super) fn app(&self) -> Option<&App> {
        self.base.services.get(&self.service)?.app.as_ref()
    }

    /// Whether other loads and events belong to certain moments of the traffic, so that no part can be played alone.
    pub(super) fn is_one_piece(&self) -> bool {
        !(self.base.scenarios.is_empty() && self.base.events.is_empty())
    }

    /// The documents with another window, where they are of pods.
    pub(super) fn metrics(&self, window_s: u32) -> Value {
        let mut metrics = self.metrics.clone();
        match metrics.get_mut("items").and_then(Value::as_array_mut) {
            Some(items) => items
                .iter_mut()
                .for_each(|document| set_window(document, window_s)),
            None => set_window(&mut metrics, window_s),
        }
        metrics
    }

    /// What is played.
    pub(super) fn plan(&self, run: &Run<'_>) -> anyhow::Result<Plan> {
        let mut scenario = self.base.clone();
        scenario.seed = run.seed;
        let traffic = self.traffic.part(run.part);
        if let Some(service) = scenario.services.get_mut(&self.service) {
            service.hpa = Some(run.hpa.clone());
            service.metrics = Some(self.metrics(run.window_s));
            if let Some(app) = &mut service.app {
                let slower_s = app.service_time.seconds() * run.slowdown;
                app.service_time = Duration::try_from_secs_f64(slower_s)
                    .context("the service is too slow to be played")?
                    .into();
            }
        }
        let replicas = (traffic.first() / (FULL * self.limit)).ceil().max(1.0) as i32;
        let replicas = replicas.clamp(self.subject.min, self.subject.max.max(self.subject.min));
        let replicas = u32::try_from(replicas).unwrap_or(1);
        scenario
            .preconditions
            .replicas
            .entry(self.service.clone())
            .or_insert(replicas);
        let warm_up = Executor::RampingArrivalRate {
            start_rate: traffic.first(),
            stages: vec![Stage {
                name: Some(WARM_UP.to_owned()),
                target: traffic.first(),
                duration: Span::from_secs(WARM_UP_S),
            }],
        };
        let replay = Executor::Replay {
            file: TRAFFIC.to_owned(),
            speed: 1.0,
            scale: 1.0,
        };
        scenario
            .scenarios
            .insert(WARM_UP.to_owned(), self.load(warm_up, 0));
        scenario
            .scenarios
            .insert(TRAFFIC.to_owned(), self.load(replay, WARM_UP_S));
        let text = traffic.text();
        let (plan, _) = resolve::plan(scenario, |name| match name {
            TRAFFIC => Ok(text.clone()),
            _ => Err(std::io::ErrorKind::NotFound.into()),
        })?;
        Ok(plan)
    }

    fn load(&self, executor: Executor, start_s: u64) -> Load {
        Load {
            service: self.service.clone(),
            executor,
            arrivals: Placing::Poisson,
            max_in_flight: usize::MAX,
            graceful_stop: GRACEFUL_STOP,
            start_time: Span::from_secs(start_s),
            pacing: Pacing::default(),
        }
    }
}

/// The objective as a scenario has it.
fn slo(objective: &Objective, said: Option<Slo>) -> Slo {
    Slo {
        quantile: objective.quantile,
        target: Duration::try_from_secs_f64(objective.latency_s)
            .unwrap_or(Duration::MAX)
            .into(),
        window: said.map_or(SLO_WINDOW, |slo| slo.window),
        max_window: said.map_or(SLO_WINDOW_MAX, |slo| slo.max_window),
    }
}

/// The documents in the namespace of the HPA, which reads metrics of its own namespace only.
fn with_namespace(mut metrics: Value, subject: &Subject) -> Value {
    let Some(namespace) = &subject.namespace else {
        return metrics;
    };
    if let Some(items) = metrics.get_mut("items").and_then(Value::as_array_mut) {
        for item in items {
            item["metadata"]["namespace"] = json!(namespace);
        }
        return metrics;
    }
    if metrics.get("spec").is_none() {
        metrics = json!({"metadata": {"name": subject.service}, "spec": metrics});
    }
    metrics["metadata"]["namespace"] = json!(namespace);
    metrics
}

fn set_window(document: &mut Value, window_s: u32) {
    // A document may be its spec alone.
    let spec = match document.get("spec") {
        Some(_) => &mut document["spec"],
        None => document,
    };
    if spec.pointer("/source/pods").is_some() {
        spec["window"] = json!(format!("{window_s}s"));
    }
}

/// How a service is measured of which nobody says how.
fn default_metrics(subject: &Subject) -> Value {
    let mut metadata = json!({"name": subject.service});
    if let Some(namespace) = &subject.namespace {
        metadata["namespace"] = json!(namespace);
    }
    json!({
        "apiVersion": crate::config::API_VERSION,
        "kind": "RequestMetrics",
        "metadata": metadata,
        "spec": {
            "source": {"pods": {
                "selector": {"matchLabels": {"app": subject.service}},
                "inFlight": "http_requests_in_flight",
            }},
            "objective": {
                "quantile": subject.objective.quantile,
                "latency": format!("{}us", (subject.objective.latency_s * 1e6).round()),
            },
        }
    })
}

/// A scenario of a service that behaves as a fit says.
pub(super) fn fitted(name: &str, fit: &Fit, service_time: Duration, startup: Duration) -> Scenario {
    let curve = fit.curve();
    // All of a request's time counts as CPU, and the pod requests as much as makes that the per cent that were seen.
    let request = fit
        .cpu_percent
        .map(|percent| curve.service_s * 1000.0 * 100.0 / percent);
    let app = App {
        workers: curve.workers as usize,
        queue: QUEUE,
        service_time: service_time.into(),
        service_cv: curve.service_cv,
        cpu_share: if request.is_some() { 1.0 } else { 0.0 },
        cpu_request: request.map_or(1000, |request| (request.round() as u32).max(1)),
        startup: Some(startup.into()),
        drain: DRAIN,
        calls: None,
        redis: false,
        token: None,
        version: "v1".to_owned(),
    };
    let service = scenario::Service {
        app: Some(app),
        ..scenario::Service::default()
    };
    Scenario {
        name: name.to_owned(),
        services: [(name.to_owned(), service)].into(),
        ..Scenario::default()
    }
}

/// A scenario of which only the app is said, in the words of a scenario: `workers: 2, serviceTime: 40ms`. CPU of which
/// nothing is said there is not known, and not what a scenario takes for usual: a target is to be made of it.
pub(super) fn of_app(name: &str, app: &str) -> anyhow::Result<Scenario> {
    let text = format!("{{name: {name}, app: {{{app}}}, scenarios: {{main: {{profile: 1@1s}}}}}}");
    let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
    let mut scenario = Scenario::read("--app", &text, none)
        .context("what --app says is as in a scenario: `workers: 2, serviceTime: 40ms`")?;
    let held = scenario.services.get_mut(name);
    if let Some(said) = held.and_then(|service| service.app.as_mut())
        && !app.contains(CPU_SHARE)
    {
        said.cpu_share = 0.0;
    }
    Ok(scenario)
}

/// The curve of an app, without what it calls but with the time that this takes.
pub(super) fn curve(scenario: &Scenario, service: &str) -> anyhow::Result<Curve> {
    let app = |name: &str| {
        scenario
            .services
            .get(name)
            .and_then(|service| service.app.as_ref())
    };
    let own = app(service).with_context(|| {
        format!("service {service} has no `app`, which says how its pods behave; add a run or samples, from which that is fitted")
    })?;
    let (mut workers, mut service_s) = (own.workers, own.service_time.seconds());
    let mut next = own.calls.as_ref();
    // A circle of calls is refused where it is played.
    for _ in 0..scenario.services.len() {
        let Some((calls, callee)) = next.and_then(|calls| Some((calls, app(&calls.service)?)))
        else {
            break;
        };
        workers = workers.min(calls.connections);
        service_s += callee.service_time.seconds();
        next = callee.calls.as_ref();
    }
    Ok(Curve {
        workers: u32::try_from(workers).unwrap_or(u32::MAX).max(1),
        service_s,
        service_cv: own.service_cv,
        balancing: Balancing::InTurn,
    })
}

/// CPU of a pod of an app in per cent of its request, for one request per second.
pub(super) fn cpu_percent(app: &App) -> Option<f64> {
    let percent = app.service_time.seconds() * app.cpu_share * 1000.0
        / f64::from(app.cpu_request.max(1))
        * 100.0;
    (0.0 < percent).then_some(percent)
}

/// The traffic of a scenario on one of its services.
pub(super) fn traffic(
    scenario: &Scenario,
    service: &str,
    scale: f64,
    read: impl Fn(&str) -> std::io::Result<String>,
) -> anyhow::Result<Traffic> {
    let loads = LoadPlan::all(scenario, read)?;
    let own: Vec<&LoadPlan> = loads
        .iter()
        .filter(|load| load.service == service)
        .collect();
    if own.is_empty() {
        bail!(
            "the scenario has no load on {service}; choose another with --service, or add a trace"
        );
    }
    Traffic::of_loads(&own, scale).with_context(|| {
        format!(
            "the users of {service} wait for answers, so its rate is not known before; add a trace"
        )
    })
}
