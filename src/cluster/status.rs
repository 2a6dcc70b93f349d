//! Writes what `kubectl get requestmetrics` shows, and has changes told as events. One replica does so, the one that
//! holds the Lease; what it says was computed from its own reads, as the others' would be.
//!
//! Nothing waits for this room: while the API server is away or refuses, metrics are served as ever, and the status is
//! written when it can be. What to say is decided in `desired` and `conditions`, when in `schedule`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use kube::Client;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::clock;
use crate::engine::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::model::id::ServiceId;

use super::crd::RequestMetricsStatus;
use super::discover::{Finding, Findings};
use super::events::{Announcer, Told};
use super::lease::Leadership;
use super::request::RequestError;

mod conditions;
mod desired;
#[cfg(test)]
mod fixture;
mod schedule;
mod write;

use desired::{Facts, desired, difference};
use schedule::Schedule;
use write::{Outcome, Statuses};

/// How often statuses are compared with what they should be: a snapshot comes as often.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How often the statuses are read, beside when this replica begins to write them: somebody may have edited one, or a
/// replica that lost the Lease may have been late.
const READ_EVERY: Duration = Duration::from_secs(600);

/// Writes under way at a time: enough for the bound on writes a second where one takes 200 ms.
const WRITES_AT_ONCE: usize = 4;

/// Objects looked at between two chances for the runtime's other tasks: about a millisecond.
const LOOKS_AT_ONCE: usize = 128;

/// The first pause after the API server could not be asked, doubled with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);

/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// What the loop is wired to.
#[derive(Debug)]
pub struct Wiring {
    /// What discovery found.
    pub findings: watch::Receiver<Arc<Findings>>,
    /// The newest values.
    pub snapshots: watch::Receiver<Arc<Snapshot>>,
    /// Whether this replica is the one that writes.
    pub leadership: Leadership,
    /// Writes are counted here.
    pub metrics: Arc<Metrics>,
    /// The name of this replica, for events.
    pub instance: String,
}

/// Keeps the status of every object, until `stop`.
pub async fn run(client: Client, wiring: Wiring, stop: CancellationToken) {
    let mut ticks = tokio::time::interval(LOOK_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut writer = Writer::new(client, wiring);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        // A round that is cut short has written what it has written.
        tokio::select! {
            () = stop.cancelled() => return,
            () = writer.round() => {}
        }
    }
}

/// What this replica has written and may write.
struct Writer {
    wiring: Wiring,
    statuses: Statuses,
    announcer: Announcer,
    /// What the API server has, as far as is known here.
    written: BTreeMap<ServiceId, Written>,
    /// When that was last read; `None` until this replica has begun.
    read_at: Option<Instant>,
    schedule: Schedule,
    told: Told,
    pause: Pause,
}

#[derive(Debug)]
struct Written {
    uid: Arc<str>,
    status: Option<RequestMetricsStatus>,
    is_refused: bool,
}

/// The time after a failure in which nothing is asked of the API server.
#[derive(Debug, Default)]
struct Pause {
    length: Option<Duration>,
    until: Option<Instant>,
    said: Option<&'static str>,
}

// === impl Writer ===

impl Writer {
    fn new(client: Client, wiring: Wiring) -> Self {
        Self {
            statuses: Statuses::new(client.clone()),
            announcer: Announcer::new(client, wiring.instance.clone()),
            written: BTreeMap::new(),
            read_at: None,
            schedule: Schedule::new(),
            told: Told::default(),
            pause: Pause::default(),
            wiring,
        }
    }

    async fn round(&mut self) {
        if !self.wiring.leadership.is_leader() {
            self.rest();
            return;
        }
        if self.pause.is_on(clock::instant()) || !self.is_read().await {
            return;
        }
        let findings = Arc::clone(&self.wiring.findings.borrow());
        let snapshot = Arc::clone(&self.wiring.snapshots.borrow());
        self.forget_others(&findings);
        self.look(&findings, &snapshot).await;
        self.write(&findings, &snapshot).await;
        self.announce().await;
    }

    /// Another replica writes: what it writes is not known here.
    fn rest(&mut self) {
        if self.read_at.take().is_some() {
            self.written.clear();
            self.schedule = Schedule::new();
            self.told = Told::default();
        }
    }

    /// Reads the statuses when it is time. Without having read them nothing may be written: times would be lost, and
    /// events told again.
    async fn is_read(&mut self) -> bool {
        let now = clock::instant();
        if self.read_at.is_some_and(|at| now < at + READ_EVERY) {
            return true;
        }
        let read = match self.statuses.read().await {
            Ok(read) => read,
            Err(error) => {
                self.pause.begin(&error, "list on requestmetrics", now);
                return false;
            }
        };
        self.pause.end();
        for (id, uid, status) in read {
            let is_known = self.written.get(&id).is_some_and(|known| known.uid == uid);
            if !is_known && let Some(status) = &status {
                self.told.assume(&id, &status.conditions);
            }
            let written = Written {
                uid,
                status,
                is_refused: false,
            };
            self.written.insert(id, written);
        }
        self.read_at = Some(now);
        true
    }

    /// Drops what is known of objects that are gone.
    fn forget_others(&mut self, findings: &Findings) {
        let (schedule, told) = (&mut self.schedule, &mut self.told);
        self.written.retain(|id, written| {
            let finding = findings.objects.get(id);
            let is_same = finding.is_some_and(|finding| finding.uid == written.uid);
            if !is_same {
                schedule.forget(id);
                told.forget(id);
            }
            is_same
        });
    }

    /// Compares every status with what it should be.
    async fn look(&mut self, findings: &Findings, snapshot: &Snapshot) {
        for (n, (id, finding)) in findings.objects.iter().enumerate() {
            if n % LOOKS_AT_ONCE == LOOKS_AT_ONCE - 1 {
                tokio::task::yield_now().await;
            }
            let new = self.desired(id, finding, snapshot);
            let by = difference(self.status(id), &new);
            self.schedule.is_behind(id, by, clock::instant());
        }
    }

    async fn write(&mut self, findings: &Findings, snapshot: &Snapshot) {
        let due = self.schedule.take(clock::instant());
        let due: Vec<(ServiceId, Arc<str>, RequestMetricsStatus)> = due
            .into_iter()
            .filter_map(|id| {
                let finding = findings.objects.get(&id)?;
                let status = self.desired(&id, finding, snapshot);
                Some((id, Arc::clone(&finding.uid), status))
            })
            .collect();
        let (statuses, leadership) = (&self.statuses, &self.wiring.leadership);
        let writes = due.into_iter().map(|(id, uid, status)| async move {
            // The Lease may be lost between the first of a burst and the last.
            if !leadership.is_leader() {
                return None;
            }
            let outcome = statuses.write(&id, &uid, &status).await;
            Some((id, uid, status, outcome))
        });
        let done: Vec<_> = futures_util::stream::iter(writes)
            .buffer_unordered(WRITES_AT_ONCE)
            .filter_map(std::future::ready)
            .collect()
            .await;
        for (id, uid, status, outcome) in done {
            self.wiring.metrics.status_written(outcome.as_str());
            self.take_in(id, uid, status, outcome);
        }
    }

    fn take_in(
        &mut self,
        id: ServiceId,
        uid: Arc<str>,
        status: RequestMetricsStatus,
        outcome: Outcome,
    ) {
        let now = clock::instant();
        match outcome {
            Outcome::Written => {
                self.pause.end();
                let written = Written {
                    uid,
                    status: Some(status),
                    is_refused: false,
                };
                self.written.insert(id, written);
            }
            // Discovery will say so too; until then it must not be tried every second.
            Outcome::Gone => self.schedule.hold(&id, now),
            Outcome::Conflict => {}
            Outcome::Refused(error) => {
                self.schedule.hold(&id, now);
                let written = self.written.entry(id.clone()).or_insert(Written {
                    uid,
                    status: None,
                    is_refused: false,
                });
                if !std::mem::replace(&mut written.is_refused, true) {
                    warn!(object = %id, %error, "The status of an object is refused");
                }
            }
            Outcome::Failed(error) => {
                let right = "patch on requestmetrics/status";
                self.pause.begin(&error, right, now);
            }
        }
    }

    /// Tells what the API server has been told and nobody was yet.
    async fn announce(&mut self) {
        for (id, written) in &self.written {
            let Some(status) = &written.status else {
                continue;
            };
            for notice in self.told.news(id, &status.conditions, clock::instant()) {
                self.announcer.announce(id, &written.uid, notice).await;
            }
        }
    }

    fn desired(
        &self,
        id: &ServiceId,
        finding: &Finding,
        snapshot: &Snapshot,
    ) -> RequestMetricsStatus {
        let facts = Facts {
            id,
            finding,
            snapshot,
        };
        desired(facts, self.status(id), clock::now())
    }

    fn status(&self, id: &ServiceId) -> Option<&RequestMetricsStatus> {
        self.written.get(id)?.status.as_ref()
    }
}

// === impl Pause ===

impl Pause {
    fn is_on(&self, now: Instant) -> bool {
        self.until.is_some_and(|until| now < until)
    }

    /// Begins a pause, twice as long as the last one. Failures of one burst make one pause.
    fn begin(&mut self, error: &RequestError, right: &'static str, now: Instant) {
        if self.is_on(now) {
            return;
        }
        let length = self
            .length
            .map_or(PAUSE_MIN, |last| (last * 2).min(PAUSE_MAX));
        self.length = Some(length);
        self.until = Some(now + length);
        let (kind, advice) = match error {
            RequestError::Refused {
                code: 401 | 403, ..
            } => ("forbidden", right),
            _ => ("away", "it is tried again"),
        };
        if self.said != Some(kind) {
            self.said = Some(kind);
            match kind {
                "forbidden" => {
                    warn!(%error, allow = advice, "The status of objects cannot be written");
                }
                _ => warn!(%error, "The status of objects cannot be written; {advice}"),
            }
        }
    }

    fn end(&mut self) {
        if self.said.is_some() {
            info!("The status of objects can be written again");
        }
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_bound_and_end_with_a_success() {
        let start = clock::instant();
        let mut pause = Pause::default();
        let mut now = start;
        let mut lengths = Vec::new();
        for _ in 0..7 {
            pause.begin(&RequestError::Late, "list", now);
            let until = pause.until.expect("a pause");
            lengths.push((until - now).as_secs());
            // Another failure of the same burst.
            pause.begin(&RequestError::Late, "list", now);
            assert_eq!(pause.until, Some(until));
            now = until;
            assert!(!pause.is_on(now));
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 30, 30]);
        pause.end();
        pause.begin(&RequestError::Late, "list", now);
        assert_eq!(pause.until, Some(now + PAUSE_MIN));
    }
}
