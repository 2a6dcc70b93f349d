//! What is played: a scenario, and what of it is not the load generator's to read, resolved: how services are measured,
//! and their HPAs. Everything that cannot be played is refused here, so that a run has nothing left to refuse.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use taffrail_loadtest::arrivals::plan::Plan as LoadPlan;
use taffrail_loadtest::measured::recorder::Recorder;
use taffrail_loadtest::recording::{self, Stage};
use taffrail_loadtest::sample_app::TOKEN_HEADER;
use taffrail_loadtest::scenario::file::default_http;
use taffrail_loadtest::scenario::secrets::has_variable;
use taffrail_loadtest::scenario::{self, Action, App, Scenario, Slo};
use taffrail_loadtest::service_time::ServiceTimes;

use crate::engine::ServiceSpec;
use crate::hpa::{self, MetricSpec, told};
use crate::model::matcher::Matchers;
use crate::model::selector::Selector;

use super::adapter::{Adapter, Redis};
use super::clients::{Bounds, Clients};
use super::notes::{Kept, Notes};
use super::requests::Requests;
use super::scaler::Scaler;
use super::service::{Service, Version};
use super::world::World;
use super::{NANOS_PER_S, nanos};

/// Pods of one service at once: what an adapter reads of one, and more than a simulation says anything true of.
const REPLICAS_MAX: u32 = 10_000;

/// How long the system is left alone before the first request, at least: pods are warm a minute after they are ready.
const LEAD_MIN: Duration = Duration::from_secs(75);

/// The window of an objective that a `RequestMetrics` document says, which says none: that of a scenario that says none.
const SLO_WINDOW: Duration = Duration::from_secs(10);

/// To what that window is widened where it holds too few requests.
const SLO_WINDOW_MAX: Duration = Duration::from_secs(60);

/// How often metrics are looked at where the scenario does not say.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// The same in a run of more than [`LOOKS_MAX`] looks: hardly more often than something new is read, and often enough for
/// the checks to take it for an unbroken watch.
const LOOK_EVERY_MAX: Duration = Duration::from_secs(5);

/// Looks in which everything is seen twice: six hours of them, and more than any picture shows.
const LOOKS_MAX: u32 = 10_800;

/// What is played.
#[derive(Clone, Debug)]
pub struct Plan {
    pub(super) scenario: Scenario,
    loads: Vec<LoadPlan>,
    pub(super) sources: Vec<Source>,
    pub(super) autoscalers: BTreeMap<String, Hpa>,
    /// The version of the program, for the recording.
    pub(super) version: String,
}

/// Something that is measured: what one `RequestMetrics` document says.
#[derive(Clone, Debug)]
pub struct Source {
    /// Windows, objective, identity.
    pub spec: ServiceSpec,
    /// What is read.
    pub of: Of,
}

/// What is read.
#[derive(Clone, Debug)]
pub enum Of {
    /// The pods of a service of the scenario.
    Pods {
        /// Its place among the scenario's services, in the order of their names.
        service: usize,
        /// Which of the histogram's series count.
        matchers: Matchers,
        /// Whether requests in flight are read.
        in_flight: bool,
        /// Whether CPU seconds are read.
        cpu: bool,
        /// Whether scrapes have a token.
        has_token: bool,
    },
    /// The requests of the Redis server that visits are counted in.
    Redis,
}

/// An HPA.
#[derive(Clone, Debug)]
pub struct Hpa {
    /// Its namespace, which is that of the metrics it reads.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// What it asks for.
    pub spec: hpa::Spec,
    /// What each metric of the spec is selected by; empty where it is not an external one.
    pub selectors: Vec<Selector>,
}

/// Why a scenario cannot be played in virtual time.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum PlanError {
    /// A service has no model.
    #[error("service {0} has no `app`, which says how its pods behave: virtual time has no other")]
    NoApp(String),
    /// A name that is none of a service.
    #[error("{by} speaks of service {service}, which the scenario does not have")]
    NoService {
        /// What speaks of it.
        by: String,
        /// The name.
        service: String,
    },
    /// A service that waits for itself.
    #[error(
        "service {0} calls, by way of others, itself: its requests would wait for each other for ever"
    )]
    Circle(String),
    /// An app that cannot be.
    #[error("service {service}: {problem}")]
    App {
        /// The service.
        service: String,
        /// What is wrong.
        problem: String,
    },
    /// No load at all.
    #[error("the scenario has no load")]
    NoLoad,
    /// A metric that nothing here stands for.
    #[error("HPA {hpa}: {metric} is not simulated; external metrics, metrics of pods, and CPU are")]
    Metric {
        /// The HPA.
        hpa: String,
        /// The metric.
        metric: String,
    },
    /// Too many pods.
    #[error("service {0} may have more than {REPLICAS_MAX} pods")]
    Replicas(String),
}

impl Plan {
    /// Checks that all of it can be played. `loads` are the plans of its loads, `sources` are what the services' `metrics` say, and `autoscalers` what their
    /// `hpa` says, by the service's name.
    ///
    /// # Errors
    /// The first thing that cannot.
    pub fn new(
        scenario: Scenario,
        loads: Vec<LoadPlan>,
        sources: Vec<Source>,
        autoscalers: BTreeMap<String, Hpa>,
        version: &str,
    ) -> Result<Self, PlanError> {
        let plan = Self {
            scenario,
            loads,
            sources,
            autoscalers,
            version: version.to_owned(),
        };
        plan.check_services()?;
        plan.check_loads()?;
        plan.check_events()?;
        Ok(plan)
    }

    /// How long the loads last, from the first request's moment.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.loads
            .iter()
            .map(LoadPlan::end)
            .max()
            .unwrap_or_default()
    }

    /// What the requests of a service are held against: the scenario's objective, or else that by which the service is
    /// measured; `None` where neither says one.
    #[must_use]
    pub fn slo(&self, service: &str) -> Option<Slo> {
        let place = self
            .scenario
            .services
            .keys()
            .position(|name| name == service);
        let is_of = |source: &&Source| matches!(source.of, Of::Pods { service, .. } if Some(service) == place);
        let mut measured = self.sources.iter().filter(is_of).filter_map(|source| {
            let objective = source.spec.objective?;
            Some(Slo {
                quantile: objective.quantile,
                target: objective.latency.into(),
                window: SLO_WINDOW.into(),
                max_window: SLO_WINDOW_MAX.into(),
            })
        });
        self.scenario.slo.or_else(|| measured.next())
    }

    /// The names of the services, in their order.
    pub fn services(&self) -> impl Iterator<Item = &str> {
        self.scenario.services.keys().map(String::as_str)
    }

    /// What is to be scaled, in the order of their names: the services that have an HPA.
    pub fn scaled(&self) -> impl Iterator<Item = &str> {
        self.autoscalers.keys().map(String::as_str)
    }

    /// The same with another HPA of a service.
    ///
    /// # Errors
    /// When it cannot be played.
    pub fn with_hpa(&self, service: &str, hpa: Hpa) -> Result<Self, PlanError> {
        let mut plan = self.clone();
        plan.autoscalers.insert(service.to_owned(), hpa);
        plan.check_services()?;
        Ok(plan)
    }

    /// The loads, as they are sent.
    pub(super) fn load_plans(&self) -> &[LoadPlan] {
        &self.loads
    }

    /// The stages of all loads, in order of their beginning.
    pub(super) fn stages(&self) -> Vec<Stage> {
        let stages = self.loads.iter().flat_map(|load| &load.stages);
        let mut stages: Vec<Stage> = stages.cloned().collect();
        stages.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
        stages
    }

    // --- Checks.

    fn check_services(&self) -> Result<(), PlanError> {
        for (name, service) in &self.scenario.services {
            let app = service
                .app
                .as_ref()
                .ok_or_else(|| PlanError::NoApp(name.clone()))?;
            self.check_app(name, app)?;
            if REPLICAS_MAX < self.replicas_at_first(name) {
                return Err(PlanError::Replicas(name.clone()));
            }
        }
        for (service, hpa) in &self.autoscalers {
            self.place(service, || format!("HPA {}", hpa.name))?;
            if i32::try_from(REPLICAS_MAX).is_ok_and(|max| max < hpa.spec.max_replicas) {
                return Err(PlanError::Replicas(service.clone()));
            }
            let is_played = |metric: &&MetricSpec| match metric {
                MetricSpec::Object { .. } => false,
                MetricSpec::Resource { resource, .. } => resource == "cpu",
                MetricSpec::External { .. } | MetricSpec::Pods { .. } => true,
            };
            if let Some(metric) = hpa.spec.metrics.iter().find(|metric| !is_played(metric)) {
                return Err(PlanError::Metric {
                    hpa: hpa.name.clone(),
                    metric: metric.to_string(),
                });
            }
        }
        Ok(())
    }

    fn check_app(&self, service: &str, app: &App) -> Result<(), PlanError> {
        let problem = |problem: String| PlanError::App {
            service: service.to_owned(),
            problem,
        };
        ServiceTimes::new(app.service_time.seconds(), app.service_cv, 0)
            .map_err(|why| problem(why.to_owned()))?;
        if app.workers == 0 {
            return Err(problem("workers must be at least 1".to_owned()));
        }
        if !(0.0..=1.0).contains(&app.cpu_share) {
            return Err(problem("cpuShare must be between 0 and 1".to_owned()));
        }
        let Some(calls) = &app.calls else {
            return Ok(());
        };
        if calls.connections == 0 {
            return Err(problem("calls.connections must be at least 1".to_owned()));
        }
        let mut callee = calls.service.as_str();
        for _ in 0..=self.scenario.services.len() {
            self.place(callee, || format!("service {service}"))?;
            let app = self
                .scenario
                .services
                .get(callee)
                .and_then(|service| service.app.as_ref());
            match app.and_then(|app| app.calls.as_ref()) {
                Some(calls) => callee = &calls.service,
                None => return Ok(()),
            }
        }
        Err(PlanError::Circle(service.to_owned()))
    }

    fn check_loads(&self) -> Result<(), PlanError> {
        if self.loads.is_empty() {
            return Err(PlanError::NoLoad);
        }
        for load in &self.loads {
            self.place(&load.service, || format!("load {}", load.load))?;
        }
        Ok(())
    }

    fn check_events(&self) -> Result<(), PlanError> {
        for event in &self.scenario.events {
            let by = || format!("event {}", event.name);
            match &event.action {
                Action::Rollout { service, app } => {
                    self.place(service, by)?;
                    self.check_app(service, app)?;
                }
                Action::Undo { service } => drop(self.place(service, by)?),
                Action::Change {
                    service, slowdown, ..
                } => {
                    self.place(service, by)?;
                    if !(slowdown.is_finite() && 0.0 < *slowdown) {
                        let problem = format!("slowdown {slowdown} must be above zero");
                        return Err(PlanError::App {
                            service: service.clone(),
                            problem,
                        });
                    }
                }
                Action::Mark | Action::StopRedis | Action::StopMetrics => {}
            }
        }
        Ok(())
    }

    /// The place of a service among all.
    fn place(&self, service: &str, by: impl Fn() -> String) -> Result<usize, PlanError> {
        let place = self
            .scenario
            .services
            .keys()
            .position(|name| name == service);
        place.ok_or_else(|| PlanError::NoService {
            by: by(),
            service: service.to_owned(),
        })
    }

    // --- The world as it begins.

    /// Everything, set up and waiting for the first request.
    pub(super) fn world(&self) -> World<'_> {
        let names = self.scenario.services.keys();
        let kept = names.map(|name| Kept::new(name, self.recorder(name), self.seen(name)));
        let kept = kept.collect();
        let look_every = self
            .scenario
            .services
            .values()
            .filter_map(|service| service.observe.as_ref());
        let look_every = look_every
            .map(|observe| *observe.metric_interval)
            .min()
            .unwrap_or((self.duration() / LOOKS_MAX).clamp(LOOK_EVERY, LOOK_EVERY_MAX));
        let mut world = World {
            plan: self,
            now: 0,
            queue: Default::default(),
            services: Vec::new(),
            pods: Vec::new(),
            loads: self.loads(),
            requests: Requests::default(),
            adapter: Adapter::new(self.sources.clone(), self.apps()),
            redis: Redis {
                is_up: true,
                commands: 0,
            },
            notes: Notes::new(kept, self),
            look_every: nanos(look_every).max(NANOS_PER_S),
            asks_at: vec![i64::MAX; self.scenario.services.len() + 1],
            is_first: true,
        };
        for (name, service) in &self.scenario.services {
            world.services.push(self.service(name, service));
        }
        world.begin(-nanos((*self.scenario.preconditions.quiet).max(LEAD_MIN)));
        world
    }

    /// The names of the services, where an HPA asks for single pods of one.
    fn apps(&self) -> Vec<Arc<str>> {
        let mut metrics = self.autoscalers.values().flat_map(|hpa| &hpa.spec.metrics);
        if !metrics.any(|metric| matches!(metric, MetricSpec::Pods { .. })) {
            return Vec::new();
        }
        self.scenario
            .services
            .keys()
            .map(|name| name.as_str().into())
            .collect()
    }

    /// When the last answer can come.
    pub(super) fn end(&self) -> i64 {
        let ends = self
            .loads
            .iter()
            .map(|load| nanos(load.end() + self.graceful_stop(load)));
        ends.max().unwrap_or(0)
    }

    fn graceful_stop(&self, load: &LoadPlan) -> Duration {
        let load = self.scenario.scenarios.get(&load.load);
        load.map_or(Duration::ZERO, |load| *load.graceful_stop)
    }

    /// When, within a period, something happens for the first time that in a cluster would begin whenever it does: from
    /// the seed, so that other seeds show other moments.
    pub(super) fn phase(&self, number: usize, period: i64) -> i64 {
        let drawn = scattered(self.scenario.seed.wrapping_add(number as u64));
        // To the millisecond, in which the HPA's clock counts.
        (drawn % (period as u64 / 1_000_000)) as i64 * 1_000_000
    }

    fn service(&self, name: &str, service: &scenario::Service) -> Service {
        let mut made = Service::new(name, self.replicas_at_first(name));
        if let Some(app) = &service.app {
            made.versions.push(self.version(app));
            made.scaler = self.autoscalers.get(name).map(|hpa| Scaler::new(hpa, name));
        }
        made
    }

    /// How the pods of a version behave.
    pub(super) fn version(&self, app: &App) -> Version {
        let callee = app.calls.as_ref().and_then(|calls| {
            let place = self
                .scenario
                .services
                .keys()
                .position(|name| *name == calls.service);
            Some((place?, calls.clone()))
        });
        Version {
            app: app.clone(),
            calls: callee,
        }
    }

    fn replicas_at_first(&self, service: &str) -> u32 {
        let declared = self.scenario.preconditions.replicas.get(service).copied();
        let fewest = self
            .autoscalers
            .get(service)
            .map(|hpa| hpa.spec.min_replicas);
        declared
            .or(fewest.and_then(|fewest| u32::try_from(fewest).ok()))
            .unwrap_or(1)
    }

    fn loads(&self) -> Vec<Clients> {
        self.loads.iter().map(|load| self.clients(load)).collect()
    }

    fn clients(&self, load: &LoadPlan) -> Clients {
        let service = self.scenario.services.get(&load.service);
        let place = self
            .scenario
            .services
            .keys()
            .position(|name| *name == load.service);
        let bounds = Bounds {
            timeout: timeout(service),
            max_in_flight: self
                .scenario
                .scenarios
                .get(&load.load)
                .map_or(usize::MAX, |load| load.max_in_flight),
            graceful_stop: self.graceful_stop(load),
        };
        Clients::new(
            place.unwrap_or(0),
            service.is_some_and(has_token),
            load,
            &bounds,
        )
    }

    /// What is measured of a service: all its loads together.
    fn recorder(&self, service: &str) -> Recorder {
        let loads = || self.loads.iter().filter(|load| load.service == service);
        let timeout = timeout(self.scenario.services.get(service));
        let is_closed = |load: &LoadPlan| load.arrivals().is_none();
        if loads().any(is_closed) {
            return Recorder::closed(self.duration(), timeout).prompt();
        }
        let planned = loads().filter_map(LoadPlan::planned).sum();
        Recorder::new(planned, self.duration(), timeout).prompt()
    }

    fn seen(&self, name: &str) -> recording::Service {
        let hpa = self.autoscalers.get(name);
        recording::Service {
            autoscaler: hpa.map(|hpa| told::autoscaler(&hpa.namespace, &hpa.name, &hpa.spec)),
            metrics: hpa.map(metrics).unwrap_or_default(),
            ..recording::Service::default()
        }
    }
}

fn timeout(service: Option<&scenario::Service>) -> Duration {
    let target = service.and_then(|service| service.target.as_ref());
    *target.map_or(default_http().timeout, |target| target.http.timeout)
}

/// Whether the service's requests have the token that its app wants.
fn has_token(service: &scenario::Service) -> bool {
    let Some(token) = service.app.as_ref().and_then(|app| app.token.as_ref()) else {
        return true;
    };
    let sends = |request: &scenario::Request| {
        let mut headers = request.headers.iter();
        headers.any(|(name, sent)| name.eq_ignore_ascii_case(TOKEN_HEADER) && is_right(sent, token))
    };
    !service.requests.is_empty() && service.requests.iter().all(sends)
}

/// Whether the token that is sent is the one that the app wants. What a variable stands for is taken to be right: virtual
/// time reads no environment, so that a file gives the same bytes everywhere.
pub(crate) fn is_right(sent: &str, wanted: &str) -> bool {
    sent == wanted || has_variable(sent) || has_variable(wanted)
}

/// A number that has nothing in common with its neighbours' (the finalizer of SplitMix64).
fn scattered(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The metrics of an HPA, of which nothing was read yet.
fn metrics(hpa: &Hpa) -> Vec<recording::Metric> {
    let metrics = hpa.spec.metrics.iter().zip(&hpa.selectors);
    let metric =
        |(metric, selector): (&MetricSpec, &Selector)| told::metric(metric, selector.to_string());
    metrics.map(metric).collect()
}
