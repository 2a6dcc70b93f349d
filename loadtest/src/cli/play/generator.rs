//! How the generator itself does while it runs: its CPU second by second, and how often its quota held it up. Beside a
//! run, so it must cost nothing: one look a second.

use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::clock;
use crate::recording::{Generator, GeneratorSecond};
use crate::scenario::file::read_bounded;

/// Where a container's kernel counts the periods in which it was held up.
const CPU_STAT: &str = "/sys/fs/cgroup/cpu.stat";

/// Bytes of that file: twenty short lines.
const CPU_STAT_BYTES_MAX: u64 = 64 * 1024;

/// Seconds that are kept: as long as a profile may be.
const SECONDS_MAX: usize = 7 * 24 * 3600;

/// Looks at this process once a second until it is told to stop.
#[derive(Debug)]
pub(super) struct Sampler {
    stop: CancellationToken,
    seconds: AbortOnDropHandle<Vec<GeneratorSecond>>,
}

impl Sampler {
    /// Counts seconds from `zero`.
    pub(super) fn start(zero: Instant) -> Self {
        let stop = CancellationToken::new();
        let seconds = tokio::spawn(sample(zero, stop.clone()));
        Self {
            stop,
            seconds: AbortOnDropHandle::new(seconds),
        }
    }

    /// What was seen until now.
    pub(super) async fn finish(self) -> Generator {
        self.stop.cancel();
        // The quota of the container counts, where there is one.
        let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
        Generator {
            cores,
            seconds: self.seconds.await.unwrap_or_default(),
            ..Generator::default()
        }
    }
}

async fn sample(start: Instant, stop: CancellationToken) -> Vec<GeneratorSecond> {
    let mut seconds = Vec::new();
    let mut before = (start, clock::process_cpu(), throttled());
    while seconds.len() < SECONDS_MAX {
        let next = start + Duration::from_secs(seconds.len() as u64 + 1);
        let stopped = stop
            .run_until_cancelled(tokio::time::sleep_until(next))
            .await
            .is_none();
        let now = (clock::instant(), clock::process_cpu(), throttled());
        seconds.extend(second(start, before, now));
        before = now;
        if stopped {
            break;
        }
    }
    seconds
}

/// What happened between two looks; `None` when there was no time between them.
fn second(
    start: Instant,
    before: (Instant, Duration, u64),
    now: (Instant, Duration, u64),
) -> Option<GeneratorSecond> {
    let elapsed = now.0.saturating_duration_since(before.0).as_secs_f64();
    (0.0 < elapsed).then(|| GeneratorSecond {
        t_s: now.0.saturating_duration_since(start).as_secs_f64(),
        cpu: now.1.saturating_sub(before.1).as_secs_f64() / elapsed,
        throttled: u32::try_from(now.2.saturating_sub(before.2)).unwrap_or(u32::MAX),
        in_flight: 0,
    })
}

/// Periods in which this container was held up so far; 0 where nobody counts them.
fn throttled() -> u64 {
    let text = read_bounded(CPU_STAT.as_ref(), CPU_STAT_BYTES_MAX).unwrap_or_default();
    let count = text
        .lines()
        .find_map(|line| line.strip_prefix("nr_throttled "));
    count
        .and_then(|count| count.trim().parse().ok())
        .unwrap_or(0)
}
