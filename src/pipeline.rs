//! The loop that owns the engine.
//!
//! Everything that can wake it is one [`Event`]. The loop feeds the engine, and on every tick
//! publishes a snapshot; nothing else holds the engine, so there is no lock around it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::config::Service;
use crate::engine::Engine;
use crate::engine::snapshot::{ServiceView, Snapshot, State};
use crate::metrics::Metrics;
use crate::model::id::ServiceId;
use crate::model::reading::Update;
use crate::source::Sources;
use crate::source::reach::Reach;
use crate::source::secret::SecretStore;

/// A snapshot every second: a fifteenth of the HPA's sync period, so a read is at most that much older than it could be.
pub const TICK: Duration = Duration::from_secs(1);

/// Updates that may wait for the engine. It takes a microsecond or two for each, so a full queue means that it stands
/// still; sources then wait, and their scrapes with them.
pub const UPDATES_MAX: usize = 4_096;

/// Updates taken in between two looks at the other events.
const UPDATES_AT_ONCE: usize = 256;

/// Everything that wakes the loop.
enum Event {
    /// The wanted services changed.
    Desired(Arc<Vec<Service>>),
    /// Targets were read, or could not be.
    Updates,
    /// Time for a snapshot.
    Tick,
}

/// What a service's bucket bounds mean for its objective.
#[derive(PartialEq, Debug)]
enum Bounds {
    /// One is at the objective, and a finite one above it.
    Exact,
    /// The highest finite one is at the objective: the slow share is exact, and no quantile exceeds the objective.
    Highest,
    /// None is at the objective: the nearest on its two sides, in seconds.
    Between {
        below: Option<f64>,
        above: Option<f64>,
    },
    /// The objective is above the highest finite one, in seconds, which no quantile exceeds.
    Beyond(f64),
    /// Nothing is known of them now.
    Unknown,
}

/// What the loop is wired to.
#[derive(Debug)]
pub struct Wiring {
    /// The services wanted, with their targets.
    pub desired: watch::Receiver<Arc<Vec<Service>>>,
    /// Where snapshots are published.
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    /// What happened is counted here.
    pub metrics: Arc<Metrics>,
    /// The Kubernetes Secrets that sources need; empty without a cluster.
    pub secrets: SecretStore,
    /// Who may be connected to.
    pub reach: Reach,
}

/// Runs until `stop`, then ends every source.
pub async fn run(wiring: Wiring, stop: CancellationToken) {
    let Wiring {
        mut desired,
        snapshots,
        metrics,
        secrets,
        reach,
    } = wiring;
    let (sender, mut updates) = mpsc::channel(UPDATES_MAX);
    let mut heart = Heart {
        engine: Engine::default(),
        sources: Sources::new(sender, secrets, reach),
        metrics,
        services: BTreeSet::new(),
        incomplete: Vec::new(),
    };
    let mut ticks = tokio::time::interval(TICK);
    // After a pause one snapshot is as good as the missed ones.
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut arrived = Vec::with_capacity(UPDATES_AT_ONCE);
    let first = desired.borrow_and_update().clone();
    heart.want(&first);
    loop {
        let event = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            Ok(()) = desired.changed() => Event::Desired(desired.borrow_and_update().clone()),
            _ = ticks.tick() => Event::Tick,
            _ = updates.recv_many(&mut arrived, UPDATES_AT_ONCE) => Event::Updates,
        };
        match event {
            Event::Desired(services) => heart.want(&services),
            Event::Updates => arrived.drain(..).for_each(|update| heart.take(update)),
            Event::Tick => heart.publish(&snapshots),
        }
    }
    // Nobody receives from here on, which ends a source that waits to send.
    drop(updates);
    heart.sources.shutdown().await;
}

/// The engine and what surrounds it.
struct Heart {
    engine: Engine,
    sources: Sources,
    metrics: Arc<Metrics>,
    /// The services wanted.
    services: BTreeSet<ServiceId>,
    /// Services whose bucket bounds do not suffice for their objective, as last logged.
    incomplete: Vec<ServiceId>,
}

impl Heart {
    fn want(&mut self, services: &[Service]) {
        let now = clock::now();
        let wanted: BTreeSet<ServiceId> = services
            .iter()
            .map(|service| service.spec.id.clone())
            .collect();
        for gone in std::mem::take(&mut self.services).difference(&wanted) {
            self.metrics.forget(gone);
        }
        self.services = wanted;
        self.engine
            .configure(services.iter().map(|service| service.spec.clone()));
        let mut sources = Vec::new();
        for service in services {
            for source in &service.sources {
                let target = source.target();
                let phase = service.phases.get(target).copied().unwrap_or_default();
                self.engine.expect(target, phase, now);
                if let Some(pod) = service.pods.get(target) {
                    self.engine.identify(target, pod.clone());
                }
                sources.push(source.clone());
            }
        }
        for gone in self.sources.apply(sources) {
            self.engine.forget(&gone);
        }
    }

    fn take(&mut self, update: Update) {
        match update {
            // What a source said before it was stopped may still arrive.
            Update::Read(batch) if self.sources.has(&batch.target) => {
                let outcome = self.engine.ingest(&batch);
                self.metrics.read(&batch, outcome);
            }
            Update::Failed {
                target,
                at,
                took,
                failure,
            } if self.sources.has(&target) => {
                self.metrics.failed(&target, took, failure.reason);
                self.engine.fail(&target, failure, at);
            }
            Update::Begins(target) if self.sources.has(&target) => {
                self.engine.begin_anew(&target, clock::now());
            }
            Update::Read(_) | Update::Failed { .. } | Update::Begins(_) => {}
        }
    }

    fn publish(&mut self, snapshots: &watch::Sender<Arc<Snapshot>>) {
        let snapshot = Arc::new(self.engine.evaluate(clock::now()));
        self.note_missing_bounds(&snapshot);
        snapshots.send_replace(snapshot);
    }

    /// Says once for each service that its slow share and its quantile near the objective are estimates, or that its
    /// quantile cannot exceed the objective, and which bucket bound would mend that. A service of which nothing is known now is neither worse nor mended.
    fn note_missing_bounds(&mut self, snapshot: &Snapshot) {
        let mut incomplete = Vec::new();
        for service in snapshot.services() {
            let was_incomplete = self.incomplete.contains(&service.id);
            let bounds = Bounds::of(service);
            let is_incomplete = match bounds {
                Bounds::Exact => false,
                Bounds::Between { .. } | Bounds::Beyond(_) | Bounds::Highest => true,
                Bounds::Unknown => was_incomplete,
            };
            if is_incomplete != was_incomplete {
                bounds.log(service);
            }
            if is_incomplete {
                incomplete.push(service.id.clone());
            }
        }
        self.incomplete = incomplete;
    }
}

impl Bounds {
    fn of(service: &ServiceView) -> Self {
        match service.missing_bound() {
            Some((Some(highest), None)) => Self::Beyond(highest),
            Some((below, above)) => Self::Between { below, above },
            None if matches!(service.state, State::Unknown(_)) => Self::Unknown,
            None if is_highest(service) => Self::Highest,
            None => Self::Exact,
        }
    }

    fn log(&self, service: &ServiceView) {
        let id = &service.id;
        let objective_s = service
            .objective
            .map(|objective| objective.latency.as_secs_f64());
        match self {
            Self::Exact => {
                info!(service = %id, "The histogram has a bucket bound at the objective now, or no requests");
            }
            Self::Highest => {
                warn!(service = %id, objective_s,
                    "The objective is the highest finite bucket bound: slow_request_ratio is exact, but no quantile exceeds \
                     that bound, so request_latency_ms can never be above its target; add bounds above it");
            }
            Self::Between { below, above } => {
                warn!(service = %id, objective_s, below_s = below, above_s = above,
                    "No bucket bound at the objective: the share of slow requests is an estimate. Add one to the histogram");
            }
            Self::Beyond(highest_s) => {
                warn!(service = %id, objective_s,
                    "No bucket bound above the objective: request_latency_ms can never exceed {} ms, so a breach cannot be \
                     seen; add bounds above it", highest_s * 1000.0);
            }
            Self::Unknown => {}
        }
    }
}

/// Whether no finite bucket bound lies above the objective, and one on it.
fn is_highest(service: &ServiceView) -> bool {
    let objective_s = service
        .objective
        .map(|objective| objective.latency.as_secs_f64());
    let finite = |bound: &f64| bound.is_finite();
    let highest = service
        .base()
        .and_then(|base| base.bounds.iter().copied().rfind(finite));
    highest.is_some() && highest == objective_s
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Objective;
    use crate::engine::snapshot::{Coverage, Merged};
    use crate::model::time::Timestamp;

    fn service(bounds: &[f64], objective_ms: u64) -> ServiceView {
        ServiceView {
            id: ServiceId::new("shop", "users"),
            objective: Some(Objective {
                quantile: 0.95,
                latency: Duration::from_millis(objective_ms),
            }),
            at: Timestamp::default(),
            state: State::Ok,
            coverage: Coverage::default(),
            windows: vec![Merged {
                window: Duration::from_secs(30),
                requests: 100.0,
                judged: 100.0,
                busy_s: None,
                cpu_s: None,
                bounds: bounds.into(),
                counts: vec![100.0; bounds.len()],
                layouts: 1,
            }],
            in_flight: None,
            backlogs: Vec::new(),
            pods: Vec::new(),
        }
    }

    fn unknown() -> ServiceView {
        ServiceView {
            state: State::Unknown("its targets cannot be read".to_owned()),
            windows: Vec::new(),
            ..service(&[], 300)
        }
    }

    #[test]
    fn an_objective_between_two_bounds_is_another_matter_than_one_above_all() {
        let bounds = [0.1, 0.25, 0.5, f64::INFINITY];
        assert_eq!(Bounds::of(&service(&bounds, 250)), Bounds::Exact);
        let between = Bounds::Between {
            below: Some(0.25),
            above: Some(0.5),
        };
        assert_eq!(Bounds::of(&service(&bounds, 300)), between);
        assert_eq!(Bounds::of(&service(&bounds, 700)), Bounds::Beyond(0.5));
        assert_eq!(Bounds::of(&service(&bounds, 500)), Bounds::Highest);
        assert_eq!(Bounds::of(&unknown()), Bounds::Unknown);
    }

    #[tokio::test]
    async fn a_service_that_cannot_be_read_is_not_mended() {
        let (sender, _updates) = mpsc::channel(1);
        let mut heart = Heart {
            engine: Engine::default(),
            sources: Sources::new(sender, SecretStore::default(), Reach::anywhere()),
            metrics: Arc::new(Metrics::new(watch::channel(Arc::default()).1)),
            services: BTreeSet::new(),
            incomplete: Vec::new(),
        };
        let bounds = [0.25, 0.5, f64::INFINITY];
        let id = service(&bounds, 300).id;
        for (view, incomplete) in [
            (unknown(), vec![]),
            (service(&bounds, 300), vec![id.clone()]),
            (unknown(), vec![id.clone()]),
            (service(&bounds, 700), vec![id.clone()]),
            (service(&bounds, 500), vec![id]),
            (service(&bounds, 250), vec![]),
        ] {
            heart.note_missing_bounds(&Snapshot::new(Timestamp::default(), vec![view]));
            assert_eq!(heart.incomplete, incomplete);
        }
    }
}
