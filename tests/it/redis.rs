//! Reading Redis, against a real redis-server wherever one can be made to behave as wanted.

use std::sync::Arc;
use std::time::Duration;

use taffrail::model::health::{Failure, FailureReason};
use taffrail::model::id::{ServiceId, TargetId};
use taffrail::model::reading::{Backlog, Reading, SeriesReading, Update};
use taffrail::source::redis::{
    self as source, BacklogRead, Connection, Measure, Pool, RedisSpec, ServerRead,
};
use taffrail::source::secret::SecretStore;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

mod requests;

mod backlogs;

mod access;

mod faults;

/// Far longer than a read takes, far shorter than a test run is patient.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running reader and what it says.
struct Reader {
    updates: mpsc::Receiver<Update>,
    _stop: DropGuard,
}

impl Reader {
    fn start(spec: RedisSpec) -> Self {
        Self::start_in(spec, Arc::new(Pool::new(SecretStore::default())))
    }

    fn start_in(spec: RedisSpec, pool: Arc<Pool>) -> Self {
        let (sender, updates) = mpsc::channel(1);
        let stop = CancellationToken::new();
        tokio::spawn(source::run(spec, pool, sender, stop.clone()));
        Self {
            updates,
            _stop: stop.drop_guard(),
        }
    }

    async fn next(&mut self) -> Result<Reading, Failure> {
        let update = tokio::time::timeout(PATIENCE, self.updates.recv())
            .await
            .expect("an update in time")
            .expect("a running reader");
        match update {
            Update::Read(batch) => Ok(batch.reading),
            Update::Failed { failure, .. } => Err(failure),
            Update::Begins(target) => panic!("{target} was never read for something else"),
        }
    }

    /// The first outcome that is wanted; others are passed over.
    async fn until(
        &mut self,
        wanted: impl Fn(&Result<Reading, Failure>) -> bool,
    ) -> Result<Reading, Failure> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let outcome = self.next().await;
                if wanted(&outcome) {
                    return outcome;
                }
            }
        })
        .await
        .expect("the wanted outcome in time")
    }
}

fn spec_at(port: u16) -> RedisSpec {
    RedisSpec {
        target: TargetId::new(&ServiceId::new("shop", "visits"), "redis"),
        connection: Connection::new("127.0.0.1", port),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(5),
        server: None,
        reported: None,
        backlog: Vec::new(),
    }
}

fn server_spec(port: u16, commands: Option<&[&str]>) -> RedisSpec {
    RedisSpec {
        server: Some(ServerRead {
            commands: commands.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
        }),
        ..spec_at(port)
    }
}

fn backlog_spec(port: u16, reads: &[(&str, Measure)]) -> RedisSpec {
    let backlog = reads
        .iter()
        .enumerate()
        .map(|(i, (key, measure))| BacklogRead {
            key: (*key).to_owned(),
            label: Some(format!("{i}-{key}")),
            measure: measure.clone(),
        })
        .collect();
    RedisSpec {
        backlog,
        ..spec_at(port)
    }
}

fn pending(group: &str) -> Measure {
    Measure::Pending {
        group: group.to_owned(),
    }
}

fn lag(group: &str) -> Measure {
    Measure::Lag {
        group: group.to_owned(),
    }
}

async fn read_once(spec: RedisSpec) -> Result<Reading, Failure> {
    Reader::start(spec).next().await
}

/// The one series of a reading of one command.
fn only(reading: &Reading) -> &SeriesReading {
    let [series] = reading.series.as_slice() else {
        panic!("one series, not {:?}", reading.series);
    };
    series
}

fn items(backlogs: &[Backlog]) -> Vec<Result<f64, FailureReason>> {
    backlogs
        .iter()
        .map(|backlog| backlog.items.clone().map_err(|failure| failure.reason))
        .collect()
}
