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
use crate::engine::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::model::id::ServiceId;
use crate::model::reading::Update;
use crate::source::Sources;

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

/// What the loop is wired to.
#[derive(Debug)]
pub struct Wiring {
    /// The services wanted, with their targets.
    pub desired: watch::Receiver<Arc<Vec<Service>>>,
    /// Where snapshots are published.
    pub snapshots: watch::Sender<Arc<Snapshot>>,
    /// What happened is counted here.
    pub metrics: Arc<Metrics>,
}

/// Runs until `stop`, then ends every source.
pub async fn run(wiring: Wiring, stop: CancellationToken) {
    let Wiring {
        mut desired,
        snapshots,
        metrics,
    } = wiring;
    let (sender, mut updates) = mpsc::channel(UPDATES_MAX);
    let mut heart = Heart {
        engine: Engine::default(),
        sources: Sources::new(sender),
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
    /// Services without a bucket bound at their objective, as last logged.
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
        let sources: Vec<_> = services
            .iter()
            .flat_map(|service| &service.sources)
            .cloned()
            .collect();
        for source in &sources {
            self.engine.expect(source.target(), now);
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

    /// Says once for each service that its slow share and its quantile near the objective are estimates, and which
    /// bucket bound would make them exact.
    fn note_missing_bounds(&mut self, snapshot: &Snapshot) {
        let mut incomplete = Vec::new();
        for service in snapshot.services() {
            let Some((below, above)) = service.missing_bound() else {
                continue;
            };
            if !self.incomplete.contains(&service.id) {
                let objective_s = service
                    .objective
                    .map(|objective| objective.latency.as_secs_f64());
                warn!(service = %service.id, objective_s, below_s = below, above_s = above,
                    "No bucket bound at the objective: the share of slow requests is an estimate. Add one to the histogram");
            }
            incomplete.push(service.id.clone());
        }
        for mended in self.incomplete.iter().filter(|id| !incomplete.contains(id)) {
            info!(service = %mended, "The histogram has a bucket bound at the objective now, or no requests");
        }
        self.incomplete = incomplete;
    }
}
