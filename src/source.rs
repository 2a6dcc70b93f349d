//! Loops that read targets and say what they saw. [`Sources`] keeps one loop running for each configured target and
//! knows nothing of what they read; what they say goes to the engine's owner over one bounded channel.

pub mod reach;
pub mod redis;
pub mod scrape;
pub mod secret;
pub mod tls;

mod schedule;

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::reach::Reach;
use self::redis::RedisSpec;
use self::scrape::ScrapeSpec;
use self::secret::SecretStore;
use crate::model::id::TargetId;
use crate::model::reading::Update;

/// One target, and how it is read.
#[derive(Clone, PartialEq, Debug)]
pub enum SourceSpec {
    /// A page over HTTP.
    Scrape(ScrapeSpec),
    /// A Redis server.
    Redis(RedisSpec),
}

/// The running loops, one for each target. Without [`Sources::shutdown`] they end when nobody receives their updates.
#[derive(Debug)]
pub struct Sources {
    running: BTreeMap<TargetId, Running>,
    tasks: TaskTracker,
    shared: Shared,
    updates: mpsc::Sender<Update>,
}

/// What loops of a kind have in common.
#[derive(Clone, Debug)]
struct Shared {
    pages: Arc<scrape::Shared>,
    redis: Arc<redis::Pool>,
}

#[derive(Debug)]
struct Running {
    spec: SourceSpec,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl SourceSpec {
    /// Whether both read the same counters. How they get at them, and how often, makes no difference.
    fn reads_the_same(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Scrape(a), Self::Scrape(b)) => a.want == b.want,
            (Self::Redis(a), Self::Redis(b)) => {
                a.server == b.server
                    && a.reported == b.reported
                    && a.connection.db == b.connection.db
            }
            _ => false,
        }
    }

    /// Who is read.
    pub fn target(&self) -> &TargetId {
        match self {
            Self::Scrape(spec) => &spec.target,
            Self::Redis(spec) => &spec.target,
        }
    }
}

impl Sources {
    /// Nothing runs yet; everything read will be sent to `updates`. What sources need of Kubernetes Secrets they take
    /// from `secrets`; nobody is connected to whom `reach` does not allow.
    pub fn new(updates: mpsc::Sender<Update>, secrets: SecretStore, reach: Reach) -> Self {
        Self {
            running: BTreeMap::new(),
            tasks: TaskTracker::new(),
            shared: Shared {
                pages: Arc::new(scrape::Shared::new(secrets.clone()).within(reach.clone())),
                redis: Arc::new(redis::Pool::new(secrets).within(reach)),
            },
            updates,
        }
    }

    /// Makes the running loops those of `desired`: starts what is new, stops what is gone, starts anew what is read
    /// differently, and leaves alone what is as before. Of two specs for one target the later counts. To be called
    /// within a runtime.
    ///
    /// Returns the targets that went away, for the engine to forget. What they said before may still be on its way in
    /// the channel, so its receiver asks [`Sources::has`] before it believes an update.
    pub fn apply(&mut self, desired: Vec<SourceSpec>) -> Vec<TargetId> {
        let desired: BTreeMap<_, _> = desired
            .into_iter()
            .map(|spec| (spec.target().clone(), spec))
            .collect();
        let mut gone = Vec::new();
        self.running.retain(|target, running| {
            let stays = desired.contains_key(target);
            if !stays {
                running.stop.cancel();
                gone.push(target.clone());
            }
            stays
        });
        for (target, spec) in desired {
            let previous = match self.running.get(&target) {
                Some(running) if running.spec == spec => continue,
                _ => self.running.remove(&target),
            };
            let started = self.start(spec, previous);
            self.running.insert(target, started);
        }
        gone
    }

    /// Whether a target is among those last applied.
    pub fn has(&self, target: &TargetId) -> bool {
        self.running.contains_key(target)
    }

    /// Stops every loop and waits for their end, which none delays.
    pub async fn shutdown(self) {
        for running in self.running.values() {
            running.stop.cancel();
        }
        self.tasks.close();
        self.tasks.wait().await;
    }

    /// Starts a loop, once the target's previous one has ended: a target is never read by two. One that reads something
    /// else says so in between, so that nothing the previous one sent is taken for its own.
    fn start(&self, spec: SourceSpec, previous: Option<Running>) -> Running {
        let stop = CancellationToken::new();
        let begins = previous
            .as_ref()
            .is_some_and(|previous| !previous.spec.reads_the_same(&spec))
            .then(|| Update::Begins(spec.target().clone()));
        let updates = self.updates.clone();
        let source = read(
            spec.clone(),
            self.shared.clone(),
            self.updates.clone(),
            stop.clone(),
        );
        let task = self.tasks.spawn(async move {
            if let Some(previous) = previous {
                previous.stop.cancel();
                // A loop that panicked has ended too.
                let _ = previous.task.await;
            }
            if let Some(begins) = begins {
                // Nobody receives any more only when everything ends.
                let _ = updates.send(begins).await;
            }
            source.await;
        });
        Running { spec, stop, task }
    }
}

/// One target's loop, of its kind.
async fn read(
    spec: SourceSpec,
    shared: Shared,
    updates: mpsc::Sender<Update>,
    stop: CancellationToken,
) {
    match spec {
        SourceSpec::Scrape(spec) => scrape::run(spec, shared.pages, updates, stop).await,
        SourceSpec::Redis(spec) => redis::run(spec, shared.redis, updates, stop).await,
    }
}
