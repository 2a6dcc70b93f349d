//! One run of a scenario against services that are there: discovery, an engine per service, all of them on one clock, and
//! whoever observes beside them, to a [`Recording`]. It judges nothing and writes no file.

mod generator;
mod live;

use std::collections::BTreeMap;
use std::sync::Arc;

use futures_util::future::join_all;
use kube::Client;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::live::{Followed, Live};
use crate::arrivals::plan::Plan;
use crate::clock;
use crate::discovery::{self, Backends, DiscoveryError};
use crate::engine::{Engine, Load, Ready, resolve};
use crate::measured::{Measured, Progress, SoFar};
use crate::observe::{ObserveError, Observer, Unmet};
use crate::recording::{self, About, Event, EventKind, Recording, SCHEMA_VERSION, Tier};
use crate::scenario::Scenario;

/// Seconds of progress that may wait to be printed.
const PROGRESS_CAPACITY: usize = 64;

/// Why there is no recording.
#[derive(Debug, thiserror::Error)]
pub(super) enum PlayError {
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error("before the first request: {0}")]
    Preconditions(#[from] Unmet),
    #[error("interrupted before the first request")]
    Interrupted,
    /// The scenario asks for something that cannot be sent.
    #[error("service `{service}`: {why}")]
    Invalid { service: String, why: String },
}

/// What a run takes.
#[derive(Debug)]
pub(super) struct Play<'s> {
    /// As it is shown: no variable is replaced.
    pub(super) scenario: &'s Scenario,
    /// As it is sent.
    pub(super) expanded: &'s Scenario,
    pub(super) plans: &'s [Plan],
    /// Which try this is, from 1.
    pub(super) attempt: u32,
    /// Where the page goes that Prometheus reads while it runs.
    pub(super) page: Option<watch::Sender<Arc<String>>>,
    pub(super) cancel: CancellationToken,
}

/// A service that is ready to be loaded.
struct Loaded {
    name: String,
    engine: Engine,
    load: Load,
    backends: Backends,
    so_far: watch::Receiver<SoFar>,
}

/// A service whose engine waits for the clock.
struct Waiting {
    name: String,
    ready: Ready,
    backends: Backends,
}

impl Play<'_> {
    /// Plays the scenario once. `cluster` is needed where endpoints are followed or an HPA is observed.
    pub(super) async fn run(&self, cluster: Option<&Client>) -> Result<Recording, PlayError> {
        let observed = self
            .expanded
            .services
            .values()
            .any(|service| service.observe.is_some());
        let observer = match cluster {
            Some(client) if observed => Some(Arc::new(self.observe(client).await?)),
            _ => None,
        };
        let (progress, seconds) = mpsc::channel(PROGRESS_CAPACITY);
        let loaded = self.load(cluster, &progress).await?;
        drop(progress);
        let about = Facts::of(&loaded);
        let so_far = loaded
            .iter()
            .map(|one| (one.name.clone(), one.so_far.clone()))
            .collect();
        let waiting = self.prepare(loaded).await;
        let zero = clock::instant();
        let live = Live {
            recording: self.recording(zero, BTreeMap::new(), recording::Generator::default()),
            so_far,
            observer: observer.clone(),
            page: self.page.clone(),
            cancel: self.cancel.clone(),
        };
        let printing = tokio::spawn(live.follow(seconds));
        let generator = generator::Sampler::start(zero);
        let measured = send(waiting, zero).await;
        let mut generator = generator.finish().await;
        // The engines have dropped their senders, so the printer ends; it cannot panic.
        let Followed { in_flight, ended } = printing.await.unwrap_or_default();
        for second in &mut generator.seconds {
            second.in_flight = in_flight.get(&(second.t_s as u64)).copied().unwrap_or(0);
        }
        generator.discovery = about.discovery;
        generator.notes = about.notes;
        let mut recording = self.recording(zero, measured, generator);
        recording.about.ended = ended;
        // Whoever followed the run has ended with it.
        if let Some(observer) = observer.and_then(Arc::into_inner) {
            attach(&mut recording, observer, zero);
        }
        Ok(recording)
    }

    async fn observe(&self, client: &Client) -> Result<Observer, PlayError> {
        let observer = Observer::start(client, self.expanded).await?;
        let waiting = |missing: &[String]| eprintln!("waiting: {}", missing.join("; "));
        let ready = observer.preconditions(self.expanded, waiting);
        match self.cancel.run_until_cancelled(ready).await {
            Some(ready) => ready?,
            None => return Err(PlayError::Interrupted),
        }
        Ok(observer)
    }

    /// An engine, its moments and its backends for every service under load. Several loads of one service are merged,
    /// since it is one server that feels them.
    async fn load(
        &self,
        cluster: Option<&Client>,
        progress: &mpsc::Sender<(String, Progress)>,
    ) -> Result<Vec<Loaded>, PlayError> {
        let mut loaded = Vec::new();
        for (name, service) in &self.expanded.services {
            let invalid = |why: &str| PlayError::Invalid {
                service: name.clone(),
                why: why.to_owned(),
            };
            let plans: Vec<&Plan> = self
                .plans
                .iter()
                .filter(|plan| plan.service == *name)
                .collect();
            if plans.is_empty() {
                continue;
            }
            let load = Load::together(plans);
            let Some(target) = &service.target else {
                return Err(invalid(
                    "has no target; write `target: http://users.shop.svc:8080/`",
                ));
            };
            let backends = discovery::start(target, cluster).await?;
            let loads = self.expanded.scenarios.values();
            let loads: Vec<_> = loads.filter(|load| load.service == *name).collect();
            let max_age = backends.max_age.map(|age| *age);
            let mut config = resolve::config(service, target, &loads, max_age, self.expanded.seed)
                .map_err(|error| invalid(&format!("{error:#}")))?;
            config.tell_seconds = self.expanded.may_end_early();
            let (sender, seconds) = mpsc::channel(PROGRESS_CAPACITY);
            let (tell, so_far) = watch::channel(SoFar::default());
            tokio::spawn(forward(name.clone(), seconds, progress.clone()));
            loaded.push(Loaded {
                name: name.clone(),
                engine: Engine::new(config)
                    .with_progress(sender)
                    .with_so_far(tell)
                    .with_unreachable(backends.again()),
                so_far,
                load,
                backends,
            });
        }
        Ok(loaded)
    }

    /// Has all engines ready. None starts before the last is, since all are on one clock.
    async fn prepare(&self, loaded: Vec<Loaded>) -> Vec<Waiting> {
        let preparing = loaded.into_iter().map(async |one| {
            let (addresses, cancel) = (one.backends.addresses.clone(), self.cancel.clone());
            Waiting {
                name: one.name,
                ready: one.engine.prepare(one.load, addresses, cancel).await,
                backends: one.backends,
            }
        });
        join_all(preparing).await
    }

    fn recording(
        &self,
        zero: Instant,
        measured: BTreeMap<String, Measured>,
        generator: recording::Generator,
    ) -> Recording {
        let mut stages: Vec<_> = self
            .plans
            .iter()
            .flat_map(|plan| plan.stages.clone())
            .collect();
        stages.sort_by(|a, b| a.start_s.total_cmp(&b.start_s));
        let duration = self.plans.iter().map(Plan::end).max().unwrap_or_default();
        let interrupted = measured.values().any(|measured| measured.interrupted);
        let service = |(name, load)| {
            let service = recording::Service {
                load,
                ..recording::Service::default()
            };
            (name, service)
        };
        Recording {
            schema_version: SCHEMA_VERSION,
            about: About {
                tier: Tier::Cluster,
                attempt: self.attempt,
                started: Some(wall_clock(zero)),
                duration_s: duration.as_secs_f64(),
                interrupted,
                ended: None,
                version: env!("CARGO_PKG_VERSION").to_owned(),
                facts: BTreeMap::new(),
            },
            scenario: self.scenario.redacted(),
            stages,
            services: measured.into_iter().map(service).collect(),
            generator,
            events: self.marks(),
        }
    }

    /// The scenario's events: who plays a cluster from outside only marks them.
    fn marks(&self) -> Vec<Event> {
        let mark = |event: &crate::scenario::Event| Event {
            t_s: event.at.seconds(),
            service: None,
            kind: EventKind::Mark,
            name: event.name.clone(),
            until_s: event.until.map(super::super::scenario::span::Span::seconds),
            text: format!("{} is due by the scenario", event.name),
        };
        self.scenario.events.iter().map(mark).collect()
    }
}

/// Runs all engines beside each other, from `zero` on.
async fn send(waiting: Vec<Waiting>, zero: Instant) -> BTreeMap<String, Measured> {
    let starting = waiting.into_iter().map(|one| async move {
        let measured = one.ready.start(zero).await;
        // Backends are searched until the load has ended.
        drop(one.backends);
        (one.name, measured)
    });
    let running: JoinSet<_> = starting.collect();
    running.join_all().await.into_iter().collect()
}

/// What discovery said, for the report.
struct Facts {
    discovery: BTreeMap<String, String>,
    notes: Vec<String>,
}

impl Facts {
    fn of(loaded: &[Loaded]) -> Self {
        let how = |one: &Loaded| (one.name.clone(), one.backends.how.clone());
        Self {
            discovery: loaded.iter().map(how).collect(),
            notes: loaded
                .iter()
                .flat_map(|one| one.backends.notes.clone())
                .collect(),
        }
    }
}

/// Puts what was seen of the cluster beside the load.
fn attach(recording: &mut Recording, observer: Observer, zero: Instant) {
    let observed = observer.finish(zero);
    for (name, mut seen) in observed.services {
        let service = recording.services.entry(name).or_default();
        seen.load = std::mem::take(&mut service.load);
        *service = seen;
    }
    recording.events.extend(observed.events);
    recording.events.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
    recording.generator.notes.extend(observed.notes);
}

/// Passes the seconds of one service on with its name.
async fn forward(
    service: String,
    mut seconds: mpsc::Receiver<Progress>,
    to: mpsc::Sender<(String, Progress)>,
) {
    while let Some(second) = seconds.recv().await {
        if to.send((service.clone(), second)).await.is_err() {
            return;
        }
    }
}

/// A moment of the monotonic clock in RFC 3339.
fn wall_clock(moment: Instant) -> String {
    let ago = clock::instant().saturating_duration_since(moment);
    let since_epoch = clock::since_epoch().saturating_sub(ago);
    let seconds = i64::try_from(since_epoch.as_secs()).unwrap_or_default();
    jiff::Timestamp::new(seconds, 0)
        .unwrap_or_default()
        .to_string()
}
