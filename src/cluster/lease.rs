//! Which replica writes status: an election on one Lease in the adapter's own namespace. Everything else every replica
//! does by itself, so an election that fails costs fresh status and nothing more.
//!
//! The Lease comes from the manifests, empty; `get` and `update` on its name are the only rights needed, since a right
//! to create cannot be limited to a name. Who holds it is decided in [`election`] without trusting any other clock.

use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, PostParams};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;

use super::request::{RequestError, within_deadline};

mod election;

use election::{Election, LEASE, Move, Record};

/// A replica's part in the election.
#[derive(Debug)]
pub struct Candidate {
    api: Api<Lease>,
    name: String,
    election: Election,
    /// The origin of the election's time, which is monotonic.
    started: Instant,
    holds_until: watch::Sender<Option<Instant>>,
    is_broken: bool,
}

/// Whether this replica may act now.
#[derive(Clone, Debug)]
pub struct Leadership {
    holds_until: watch::Receiver<Option<Instant>>,
}

// === impl Leadership ===

impl Leadership {
    /// Whether this replica holds the Lease, by its own clock: false once the Lease could be another's, even while the
    /// renewal is under way or nothing answers.
    pub fn is_leader(&self) -> bool {
        let until = *self.holds_until.borrow();
        until.is_some_and(|until| clock::instant() < until)
    }
}

// === impl Candidate ===

impl Candidate {
    /// For the Lease `name` in `namespace`. `identity` must be the replica's own, such as its pod's name.
    pub fn new(
        client: Client,
        namespace: &str,
        name: impl Into<String>,
        identity: impl Into<Arc<str>>,
    ) -> (Self, Leadership) {
        let (holds_until, receiver) = watch::channel(None);
        let candidate = Self {
            api: Api::namespaced(client, namespace),
            name: name.into(),
            election: Election::new(identity.into()),
            started: clock::instant(),
            holds_until,
            is_broken: false,
        };
        let leadership = Leadership {
            holds_until: receiver,
        };
        (candidate, leadership)
    }

    /// Takes part until `stop`, and then gives the Lease back so that another need not wait for its end.
    pub async fn run(mut self, stop: CancellationToken) {
        loop {
            let wait = match self.round().await {
                Ok(wait) => {
                    self.is_broken = false;
                    wait
                }
                Err(error) => {
                    self.say(&error);
                    election::RETRY
                }
            };
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(wait) => {}
            }
        }
        // First stop acting, then let others begin.
        self.holds_until.send_replace(None);
        if let Err(error) = self.release().await {
            self.say(&error);
        }
    }

    /// Reads the Lease, and writes it if it can be taken or has to be renewed.
    async fn round(&mut self) -> Result<Duration, RequestError> {
        let lease = within_deadline(self.api.get(&self.name)).await?;
        let now = self.now();
        let found = Record::of(lease.spec.as_ref());
        let record = match self.election.step(now, &found) {
            Move::Wait(wait) => {
                self.publish();
                return Ok(wait);
            }
            Move::Write(record) => record,
        };
        // The hold counts from before the request was sent: others count from when they saw what it wrote.
        match self.write(lease, &record).await {
            Ok(()) => self.election.written(now, record),
            Err(error) if error.is_conflict() => self.election.lost(),
            Err(error) => return Err(error),
        }
        self.publish();
        Ok(self.election.next_step())
    }

    async fn release(&mut self) -> Result<(), RequestError> {
        if !self.election.holds(self.now()) {
            return Ok(());
        }
        let lease = within_deadline(self.api.get(&self.name)).await?;
        match self.election.release(&Record::of(lease.spec.as_ref())) {
            Some(record) => self.write(lease, &record).await,
            None => Ok(()),
        }
    }

    /// Refused when the Lease has changed since it was read, by its resource version.
    async fn write(&self, mut lease: Lease, record: &Record) -> Result<(), RequestError> {
        let spec = lease.spec.get_or_insert_default();
        record.put(spec);
        within_deadline(self.api.replace(&self.name, &PostParams::default(), &lease)).await?;
        Ok(())
    }

    fn publish(&self) {
        let until = self
            .election
            .holds_until()
            .map(|until| self.started + until);
        let held = self.holds_until.send_replace(until).is_some();
        match (held, until.is_some()) {
            (false, true) => info!(lease = %self.name, "This replica writes status"),
            (true, false) => info!(lease = %self.name, "Another replica writes status"),
            _ => {}
        }
    }

    fn say(&mut self, error: &RequestError) {
        if !self.is_broken {
            warn!(
                lease = %self.name,
                %error,
                "Cannot take part in the election of who writes status; the manifests create the Lease"
            );
        }
        self.is_broken = true;
    }

    fn now(&self) -> Duration {
        clock::instant().duration_since(self.started)
    }
}

// === impl Record ===

impl Record {
    fn of(spec: Option<&LeaseSpec>) -> Self {
        let Some(spec) = spec else {
            return Self::default();
        };
        Self {
            holder: spec
                .holder_identity
                .as_deref()
                .filter(|holder| !holder.is_empty())
                .map(Arc::from),
            renewed: spec.renew_time.as_ref().map(|at| at.0.as_microsecond()),
            lasts: spec
                .lease_duration_seconds
                .and_then(|seconds| u64::try_from(seconds).ok())
                .map(Duration::from_secs),
            transitions: spec.lease_transitions.unwrap_or(0),
        }
    }

    /// Times are written for people and for other clients; none is ever compared with a clock here.
    fn put(&self, spec: &mut LeaseSpec) {
        let now = jiff::Timestamp::from_millisecond(clock::now().ms())
            .ok()
            .map(MicroTime);
        let is_taken_over = spec.holder_identity.as_deref() != self.holder.as_deref();
        if is_taken_over {
            spec.acquire_time.clone_from(&now);
        }
        spec.holder_identity = Some(self.holder.as_deref().unwrap_or_default().to_owned());
        spec.lease_duration_seconds = i32::try_from(LEASE.as_secs()).ok();
        spec.lease_transitions = Some(self.transitions);
        spec.renew_time = now;
    }
}
