//! Reads Redis servers: the requests they answer ([`ServerRead`]), the requests apps report through them
//! ([`ReportedRead`]), and how many items wait in them ([`BacklogRead`]). One loop per target, one shared connection per
//! server, read-only commands only; every one of them is in `redis/request.rs`.
//!
//! A user that may do just this, and nothing more (leave out what is not read; the keys are those of the configuration):
//!
//! ```text
//! ACL SETUSER taffrail on >PASSWORD resetkeys ~jobs ~latency +ping +client|setname
//!   +info +latency|histogram                                           # server
//!   +getrange +hlen +hgetall                                           # reported
//!   +type +llen +scard +zcard +hlen +xlen +getrange +xpending +xinfo|groups   # backlog
//! ```
//!
//! On a server older than Redis 7.0, or one with `latency-tracking no`, commands have no histograms: their series come
//! without buckets, so there are rates and means but no quantiles, and the log says so once.
//!
//! Read is one server at one address. Sentinel and Cluster (an address that is asked for, a server per slot) would be
//! further kinds of [`Connection`]; key patterns a further kind of [`BacklogRead`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use self::link::Link;
use self::pool::Slot;
use self::server::{Depth, Findings};
use super::schedule;
use crate::clock;
use crate::model::health::{Failure, FailureReason};
use crate::model::reading::{Batch, Reading, Update};

pub use self::backlog::label_from_key;
pub use self::pool::Pool;
pub use self::spec::{
    BACKLOGS_MAX, BUCKETS_MAX, BacklogRead, Connection, DEFAULT_PORT, HistogramKey, KEY_BYTES_MAX,
    Measure, RedisSpec, ReportedRead, ServerRead, SpecError, SumKey,
};
pub use crate::model::unit::Unit;

mod spec;

mod server;

mod reported;

mod backlog;

mod pool;

mod link;

mod request;

mod fault;

/// The shortest interval: more often would load a server that answers one command at a time.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// What the log has said of a target, so that it says changes only.
#[derive(Default)]
struct Told {
    failing: Option<FailureReason>,
    mean_only: bool,
    /// Whether the commands that were never called are told: once, since a rare one may come at any time.
    never_called: bool,
}

/// Reads one target until `stop`, once an interval, the first time after a part of the interval that differs from target
/// to target. There is never a second one beside it.
pub async fn run(
    spec: RedisSpec,
    pool: Arc<Pool>,
    updates: mpsc::Sender<Update>,
    stop: CancellationToken,
) {
    stop.run_until_cancelled(read_for_ever(&spec, &pool, &updates))
        .await;
}

/// Ends only when nobody takes updates any more.
async fn read_for_ever(spec: &RedisSpec, pool: &Pool, updates: &mpsc::Sender<Update>) {
    let period = spec.interval.max(INTERVAL_MIN);
    let mut ticks = schedule::begin(&spec.target, period).await;
    let mut slot = None;
    let mut told = Told::default();
    loop {
        let started = clock::instant();
        let outcome = attempt(spec, pool, &mut slot).await;
        let took = started.elapsed();
        told.log(spec, &outcome);
        if updates.send(update(spec, took, outcome)).await.is_err() {
            return;
        }
        ticks.tick().await;
    }
}

/// One read within the spec's timeout. Reads of targets that share a server wait for each other, on their own time.
async fn attempt(
    spec: &RedisSpec,
    pool: &Pool,
    slot: &mut Option<Arc<Slot>>,
) -> Result<(Reading, Findings), Failure> {
    let slot = match slot {
        Some(slot) => slot,
        None => slot.insert(pool.slot(&spec.connection)?),
    };
    timeout(spec.timeout, read(spec, slot, pool))
        .await
        .unwrap_or_else(|_| {
            Err(Failure::new(
                FailureReason::Timeout,
                format!("no answer within {:?}", spec.timeout),
            ))
        })
}

/// One read over the server's connection. It is taken out of its slot meanwhile, so whatever ends this early, the timeout
/// included, closes it: no late reply can be taken for the answer to a later request.
async fn read(spec: &RedisSpec, slot: &Slot, pool: &Pool) -> Result<(Reading, Findings), Failure> {
    let mut held = slot.lock().await;
    if let Some(mut link) = held.take().filter(Link::is_fit) {
        match read_over(spec, &mut link).await {
            // Closed while it idled, by the server's `timeout` or a restart: that says nothing of the server now.
            Err(failure) if failure.reason == FailureReason::Disconnected => {}
            outcome => {
                *held = worth_keeping(link, &outcome);
                return outcome;
            }
        }
    }
    let mut link = Link::open(&spec.connection, pool).await?;
    let outcome = read_over(spec, &mut link).await;
    *held = worth_keeping(link, &outcome);
    outcome
}

/// A refused user connects anew, which reads the password again: it may have been rotated.
fn worth_keeping<T>(link: Link, outcome: &Result<T, Failure>) -> Option<Link> {
    let is_refused =
        matches!(outcome, Err(failure) if failure.reason == FailureReason::Unauthorized);
    (link.is_fit() && !is_refused).then_some(link)
}

/// All that the spec wants. Requests that cannot be read fail the whole read, since a reading without them would look
/// like no traffic; a backlog that cannot be read fails alone.
async fn read_over(spec: &RedisSpec, link: &mut Link) -> Result<(Reading, Findings), Failure> {
    link.begin().await?;
    let mut reading = Reading::default();
    let mut findings = Findings {
        depth: Depth::Histograms,
        never_called: Vec::new(),
    };
    if let Some(server) = &spec.server {
        let replies = link.ask(&server::REQUESTS).await?;
        let replies = replies
            .try_into()
            .map_err(|_| Failure::new(FailureReason::Malformed, "answers are missing"))?;
        let ours = backlog::commands(&spec.backlog);
        findings = server::read(server, &ours, replies, &mut reading)?;
    }
    if let Some(reported) = &spec.reported {
        reported::read(reported, link, &mut reading).await?;
    }
    reading.backlogs = backlog::read(&spec.backlog, link).await?;
    Ok((reading, findings))
}

fn update(
    spec: &RedisSpec,
    took: Duration,
    outcome: Result<(Reading, Findings), Failure>,
) -> Update {
    let target = spec.target.clone();
    let at = clock::now();
    match outcome {
        Ok((reading, _)) => Update::Read(Batch {
            target,
            at,
            took,
            reading,
        }),
        Err(failure) => Update::Failed {
            target,
            at,
            took,
            failure: Failure::new(
                failure.reason,
                format!("redis {}: {}", spec.connection.address(), failure.message),
            ),
        },
    }
}

impl Told {
    fn log(&mut self, spec: &RedisSpec, outcome: &Result<(Reading, Findings), Failure>) {
        let target = &spec.target;
        let failing = outcome.as_ref().err().map(|failure| failure.reason);
        match outcome {
            Err(failure) if self.failing != failing => {
                warn!(%target, %failure, "Redis read failed");
            }
            Ok(_) if self.failing.is_some() => info!(%target, "Redis answers again"),
            Ok(_) | Err(_) => {}
        }
        self.failing = failing;
        if let Ok((_, findings)) = outcome {
            self.log_findings(spec, findings);
        }
    }

    fn log_findings(&mut self, spec: &RedisSpec, findings: &Findings) {
        let target = &spec.target;
        let mean_only = findings.depth == Depth::MeanOnly;
        if mean_only && !self.mean_only {
            warn!(
                %target,
                address = %spec.connection.address(),
                "Redis keeps no latency histograms (older than 7.0, latency-tracking is off, or LATENCY HISTOGRAM is \
                 not permitted): rate and mean only, no quantiles"
            );
        }
        self.mean_only = mean_only;
        if !self.never_called && !findings.never_called.is_empty() {
            let commands = findings.never_called.join(", ");
            warn!(%target, "No command {commands} was called since the server started: check server.commands");
        }
        self.never_called = true;
    }
}
