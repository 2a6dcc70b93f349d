//! What a cluster does while it is under load, as the plain data of a recording: what the HPA wants and why, the replicas
//! that its target has, the endpoints that take requests, and the metrics as the HPA reads them. Objects are watched, not
//! polled, and everything is stamped with the moment it was received, on one monotonic clock. What could not be read is
//! unknown, never zero. It changes nothing and judges nothing.

mod autoscaler;
mod follow;
mod metric;
mod quantity;
mod ready;
mod seen;
mod target;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kube::Client;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::seen::Seen;
use crate::clock;
use crate::cluster::rights::Denied;
use crate::cluster::service::NoEndpoints;
use crate::recording;
use crate::scenario::Scenario;

pub use self::ready::Unmet;
pub use self::seen::{Live, LiveMetric};

/// How long the first look at everything may take. Later ones are gaps.
const FIRST_LOOK_MAX: Duration = Duration::from_secs(30);

/// Between two looks whether something has been seen that is waited for.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// What watches the services of a scenario; dropping it ends that.
pub struct Observer {
    began: Instant,
    services: BTreeMap<String, Arc<Mutex<Seen>>>,
    _tasks: JoinSet<()>,
}

/// What was seen of a whole run.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Observed {
    /// Each observed service by its name in the scenario, with no load yet.
    pub services: BTreeMap<String, recording::Service>,
    /// What happened, in order of time.
    pub events: Vec<recording::Event>,
    /// What a reader should know: what was left out, and why.
    pub notes: Vec<String>,
}

/// Why nothing can be observed.
#[derive(Debug, thiserror::Error)]
pub enum ObserveError {
    /// RBAC stands in the way.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The API server does not answer, or answers with an error.
    #[error("reading {what}: {why}")]
    Unreachable {
        /// The object.
        what: String,
        /// What was said.
        why: String,
    },
    /// An object that the scenario names is not there.
    #[error("there is no {0}; correct observe.hpa or apply the object first")]
    Missing(String),
    /// The Service has no such port.
    #[error(transparent)]
    NoEndpoints(#[from] NoEndpoints),
}

impl ObserveError {
    /// Whether the cluster could not be reached or does not allow what is needed, rather than the scenario being wrong.
    #[must_use]
    pub fn is_access(&self) -> bool {
        matches!(self, Self::Denied(_) | Self::Unreachable { .. })
    }
}

impl Observer {
    /// Begins to watch every service of `scenario` that says what to observe, and returns once each was seen whole.
    ///
    /// # Errors
    /// When an object is missing, the API server cannot be reached, or does not allow what is needed.
    pub async fn start(client: &Client, scenario: &Scenario) -> Result<Self, ObserveError> {
        let mut observer = Self {
            began: clock::instant(),
            services: BTreeMap::new(),
            _tasks: JoinSet::new(),
        };
        for (name, service) in &scenario.services {
            let Some(observe) = &service.observe else {
                continue;
            };
            let url = service.target.as_ref().map(|target| target.url.as_str());
            let followed = follow::Plan::new(client, observe, url).await?;
            let seen = followed.begin(observer.began, &mut observer._tasks);
            observer.services.insert(name.clone(), seen);
        }
        observer.first_look().await?;
        Ok(observer)
    }

    async fn first_look(&self) -> Result<(), ObserveError> {
        let end = clock::instant() + FIRST_LOOK_MAX;
        loop {
            let unseen = self.services.values().find_map(|seen| lock(seen).unseen());
            let Some(unseen) = unseen else { return Ok(()) };
            if end <= clock::instant() {
                return Err(ObserveError::Unreachable {
                    what: unseen,
                    why: format!("nothing was seen of it within {FIRST_LOOK_MAX:?}"),
                });
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits until everything is as the scenario wants it before the first request: replicas desired and ready at what is
    /// declared, or else at the HPA's minimum, no rollout under way, and an HPA that was quiet for long enough.
    /// `waiting` is told what is not so, each time that changes.
    ///
    /// # Errors
    /// What was still not so when the time was over.
    pub async fn preconditions(
        &self,
        scenario: &Scenario,
        mut waiting: impl FnMut(&[String]),
    ) -> Result<(), Unmet> {
        let wanted = &scenario.preconditions;
        let end = clock::instant() + *wanted.timeout;
        let mut told = Vec::new();
        loop {
            let (t_s, now) = (self.t_s(clock::instant()), clock::since_epoch());
            let mut unmet = Vec::new();
            for (name, seen) in &self.services {
                let replicas = wanted.replicas.get(name).copied();
                let quiet_s = wanted.quiet.seconds();
                let problems = ready::problems(&lock(seen), replicas, quiet_s, t_s, now);
                unmet.extend(
                    problems
                        .into_iter()
                        .map(|problem| format!("{name}: {problem}")),
                );
            }
            if unmet.is_empty() {
                return Ok(());
            }
            if end <= clock::instant() {
                return Err(Unmet {
                    after: wanted.timeout,
                    problems: unmet,
                });
            }
            if unmet != told {
                waiting(&unmet);
                told = unmet;
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    /// What is known now, by service.
    #[must_use]
    pub fn live(&self) -> BTreeMap<String, Live> {
        let t_s = self.t_s(clock::instant());
        let live =
            |(name, seen): (&String, &Arc<Mutex<Seen>>)| (name.clone(), lock(seen).live(t_s));
        self.services.iter().map(live).collect()
    }

    /// Ends it, and gives what was seen with times from `zero`, the first request's moment.
    #[must_use]
    pub fn finish(self, zero: Instant) -> Observed {
        let end_s = self.t_s(clock::instant());
        let zero_s = zero.checked_duration_since(self.began).map_or_else(
            || -(self.began - zero).as_secs_f64(),
            |before| before.as_secs_f64(),
        );
        let mut observed = Observed::default();
        for (name, seen) in &self.services {
            let whole = std::mem::take(&mut *lock(seen));
            let (service, mut events, notes) = whole.finish(zero_s, end_s);
            for event in &mut events {
                event.service = Some(name.clone());
            }
            observed.events.append(&mut events);
            observed
                .notes
                .extend(notes.into_iter().map(|note| format!("{name}: {note}")));
            observed.services.insert(name.clone(), service);
        }
        observed.events.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
        observed
    }

    fn t_s(&self, now: Instant) -> f64 {
        now.saturating_duration_since(self.began).as_secs_f64()
    }
}

/// The tasks hold a client, and the client credentials.
impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Observer")
            .field("services", &self.services.keys())
            .finish_non_exhaustive()
    }
}

/// Nothing panics while holding it, so a poisoned lock would still hold true figures.
fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}
