//! Reads pods over HTTP: one loop per target, which fetches its page at its own place on the interval's grid, reads it
//! and sends an [`Update`]. A dead target costs one attempt an interval. Nothing is kept here of what pages say; the
//! loop remembers only whether its target is up and which metrics its page lacks, to log the change and not the state.
//!
//! A page is read where it is received, on the runtime's own threads: even one of 16 MiB is read in some milliseconds,
//! which is less than handing it to another thread would be worth.

mod body;
mod connection;
mod failure;
mod fetch;
mod request;
mod shared;
mod spec;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

pub use self::fetch::Fetcher;
pub use self::shared::{LARGE_PAGE_BYTES, LARGE_PAGES_AT_ONCE, PAGES_AT_ONCE, Page, Shared};
pub use self::spec::{
    Auth, BODY_BYTES_MAX, Endpoint, EndpointError, Scheme, ScrapeSpec, TIMEOUT_MAX, default_timeout,
};
use super::schedule;
use crate::clock;
use crate::exposition::PageReader;
use crate::model::health::Failure;
use crate::model::id::TargetId;
use crate::model::reading::{Batch, Missing, Reading, Update};
use crate::model::time::Timestamp;

/// No target is read more often, whatever its spec says: an interval of zero would be a loop without a pause.
const INTERVAL_MIN: Duration = Duration::from_millis(10);

/// Reads `spec`'s target until `stop`, or until nobody receives `updates`. A scrape never starts before the one before
/// it has ended; one that lasts past the next's time skips it.
pub async fn run(
    spec: ScrapeSpec,
    shared: Arc<Shared>,
    updates: mpsc::Sender<Update>,
    stop: CancellationToken,
) {
    // Dropped wherever it stands, the loop closes its connection and gives its page back.
    stop.run_until_cancelled(keep_scraping(spec, shared, updates))
        .await;
}

async fn keep_scraping(spec: ScrapeSpec, shared: Arc<Shared>, updates: mpsc::Sender<Update>) {
    let interval = spec.interval.max(INTERVAL_MIN);
    let mut ticks = schedule::begin(&spec.target, interval).await;
    let mut target = Target::new(spec, shared);
    while updates.send(target.scrape().await).await.is_ok() {
        ticks.tick().await;
    }
}

/// A target as its loop knows it.
struct Target {
    id: TargetId,
    /// For the log.
    endpoint: Endpoint,
    fetcher: Fetcher,
    reader: PageReader,
    health: Health,
    /// The names of the metrics that a page may lack, for the log.
    in_flight: Option<String>,
    cpu: Option<String>,
    /// What the last page that could be read lacked.
    missing: Missing,
}

/// Whether a target is up, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Health {
    Unknown,
    Up,
    Down,
}

impl Target {
    fn new(spec: ScrapeSpec, shared: Arc<Shared>) -> Self {
        Self {
            id: spec.target.clone(),
            endpoint: spec.endpoint.clone(),
            in_flight: spec.want.in_flight.clone(),
            cpu: spec.want.cpu.clone(),
            missing: Missing::default(),
            reader: PageReader::new(spec.want.clone(), spec.page_limits),
            fetcher: Fetcher::new(spec, shared),
            health: Health::Unknown,
        }
    }

    async fn scrape(&mut self) -> Update {
        let started = clock::instant();
        let read = self.read().await;
        let took = clock::instant() - started;
        self.note(read.as_ref().err());
        if let Ok((_, reading)) = &read {
            self.note_missing(reading.missing);
        }
        match read {
            Ok((at, reading)) => Update::Read(Batch {
                target: self.id.clone(),
                at,
                took,
                reading,
            }),
            Err(failure) => Update::Failed {
                target: self.id.clone(),
                at: clock::now(),
                took,
                failure,
            },
        }
    }

    async fn read(&mut self) -> Result<(Timestamp, Reading), Failure> {
        let page = self.fetcher.fetch().await?;
        let at = clock::now();
        let mut reading = Reading::default();
        self.reader.read(&page.bytes, page.format, &mut reading)?;
        Ok((at, reading))
    }

    /// Logs when a target goes down and when it comes back, with the reason of the first failure. A target that is up
    /// from the start is no news.
    fn note(&mut self, failure: Option<&Failure>) {
        let before = self.health;
        self.health = if failure.is_some() {
            Health::Down
        } else {
            Health::Up
        };
        let (target, endpoint) = (&self.id, &self.endpoint);
        match failure {
            Some(failure) if before != Health::Down => {
                warn!(%target, %endpoint, reason = %failure.reason, error = %failure.message, "Target is down");
            }
            None if before == Health::Down => info!(%target, %endpoint, "Target is up again."),
            _ => {}
        }
    }

    /// Logs once which metrics a page lacks, and again only after they were there in between.
    fn note_missing(&mut self, missing: Missing) {
        let new = missing.since(self.missing);
        self.missing = missing;
        let (target, endpoint) = (&self.id, &self.endpoint);
        if let Some(gauge) = self.in_flight.as_deref().filter(|_| new.in_flight) {
            warn!(%target, %endpoint, gauge, "The page has no such gauge; check spec.source.pods.inFlight.");
        }
        if let Some(counter) = self.cpu.as_deref().filter(|_| new.cpu) {
            warn!(%target, %endpoint, counter, "The page has no such counter; check spec.source.pods.cpu.");
        }
    }
}
