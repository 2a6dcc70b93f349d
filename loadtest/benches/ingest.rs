//! The engine with 1,000 targets, each with five series of twelve buckets: taking in one read of one target, and making
//! a snapshot of all of them.
//!
//! `cargo bench --bench ingest` prints a table in CPU time, measured once every window is full.
//! With `-- --check` it fails when a limit is exceeded. The limits are several times what was measured on a small
//! virtual machine, so that they hold on any and only a real slowdown breaks them.

#[path = "common/rounds.rs"]
mod rounds;

use std::process::ExitCode;
use std::time::Duration;

use taffrail::engine::snapshot::{Snapshot, State};
use taffrail::engine::{Engine, Objective, ServiceSpec, WIDEST_WINDOW};
use taffrail::model::id::{ServiceId, TargetId};
use taffrail::model::reading::{Batch, Reading, SeriesReading};
use taffrail::model::time::Timestamp;

use rounds::{ROUNDS, cpu_seconds, median};

/// Targets in all, however they are spread over services.
const TARGETS: usize = 1_000;

/// Series of one target.
const SERIES: u64 = 5;

const BOUNDS: [f64; 12] = [
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    f64::INFINITY,
];

/// From one read of a target to its next.
const INTERVAL: Duration = Duration::from_secs(5);

/// Reads until nothing in the engine grows any more: its widest window is full.
const READS: u64 = WIDEST_WINDOW.as_secs() / INTERVAL.as_secs() + 2;

/// A read of one target. At this, 10,000 targets read every five seconds would take a fiftieth of a core.
const INGEST_US_MAX: f64 = 10.0;

/// A snapshot of 1,000 targets. It is made once a second, on the thread that takes in every read.
const EVALUATE_MS_MAX: f64 = 5.0;

/// The same when requests are few and six windows are tried, the widest twenty times as wide as the first.
const EVALUATE_QUIET_MS_MAX: f64 = 20.0;

/// Everything the engine does for 1,000 targets in one interval: 1,000 reads and five snapshots.
const INTERVAL_MS_MAX: f64 = 25.0;

/// Memory of one target with full windows.
const TARGET_KB_MAX: f64 = 50.0;

/// An engine with its targets, and what they will say next.
struct Fleet {
    engine: Engine,
    batches: Vec<Batch>,
    /// Requests that each bucket counts from one read to the next.
    step: f64,
    now: Timestamp,
}

impl Fleet {
    /// `services` that share the targets evenly, every window full, each target answering `step` requests for each
    /// series and bucket between two reads.
    fn settled(services: usize, step: f64) -> Self {
        let ids: Vec<ServiceId> = (0..services)
            .map(|nth| ServiceId::new("shop", &format!("service-{nth}")))
            .collect();
        let mut engine = Engine::default();
        engine.configure(ids.iter().map(spec));
        let mut fleet = Self {
            engine,
            batches: (0..TARGETS)
                .map(|nth| batch(&ids[nth % services], nth))
                .collect(),
            step,
            now: Timestamp::from_ms(0) + INTERVAL,
        };
        for _ in 0..READS {
            fleet.read_all();
        }
        fleet
    }

    /// One read of every target, spread over an interval as real ones are.
    fn read_all(&mut self) {
        for batch in &mut self.batches {
            batch.at = batch.at + INTERVAL;
            count(&mut batch.reading, self.step);
            let outcome = self.engine.ingest(batch);
            assert_eq!(u64::from(outcome.accepted), SERIES, "{outcome:?}");
        }
        self.now = self.now + INTERVAL;
    }

    fn evaluate(&mut self) -> Snapshot {
        let snapshot = self.engine.evaluate(self.now);
        assert!(snapshot.services().all(|view| view.state == State::Ok));
        snapshot
    }

    /// The most windows that a service needed.
    fn windows(&mut self) -> usize {
        let snapshot = self.evaluate();
        snapshot
            .services()
            .map(|view| view.windows.len())
            .max()
            .unwrap_or_default()
    }
}

fn spec(id: &ServiceId) -> ServiceSpec {
    ServiceSpec {
        id: id.clone(),
        interval: INTERVAL,
        window: Duration::from_secs(30),
        objective: Some(Objective {
            quantile: 0.95,
            latency: Duration::from_millis(250),
        }),
        has_requests: true,
    }
}

/// The first read of a target, before anything was counted.
fn batch(service: &ServiceId, nth: usize) -> Batch {
    let n_buckets = BOUNDS.len() as u32;
    let series = (0..SERIES).map(|key| SeriesReading {
        key,
        first_bucket: key as u32 * n_buckets,
        n_buckets,
        count: 0.0,
        sum: Some(0.0),
    });
    let n_counts = BOUNDS.len() * SERIES as usize;
    Batch {
        target: TargetId::new(service, &format!("pod-{nth}")),
        // Spread over the interval before the first evaluation.
        at: Timestamp::from_ms(0) + INTERVAL.mul_f64(nth as f64 / TARGETS as f64),
        took: Duration::from_millis(2),
        reading: Reading {
            series: series.collect(),
            bounds: BOUNDS.repeat(SERIES as usize),
            counts: vec![0.0; n_counts],
            in_flight: Some(3.0),
            ..Reading::default()
        },
    }
}

/// Counts `step` more requests in every bucket's own range.
fn count(reading: &mut Reading, step: f64) {
    for series in &mut reading.series {
        let first = series.first_bucket as usize;
        let counts = &mut reading.counts[first..first + series.n_buckets as usize];
        counts
            .iter_mut()
            .enumerate()
            .for_each(|(nth, count)| *count += step * (nth + 1) as f64);
        series.count += step * BOUNDS.len() as f64;
        series.sum = series.sum.map(|sum| sum + step);
    }
}

/// One line of the table, and whether it is within its limit.
fn line(what: &str, value: f64, unit: &str, limit: Option<f64>) -> bool {
    let shown = limit.map_or(String::new(), |limit| format!("{limit} {unit}"));
    println!("{what:<62} {value:>9.2} {unit:<3} {shown:>9}");
    limit.is_none_or(|limit| value <= limit)
}

/// CPU milliseconds that one run takes, the median of all rounds.
fn milliseconds<T>(mut run: impl FnMut() -> T) -> f64 {
    1e3 * median((0..ROUNDS).map(|_| cpu_seconds(&mut run)))
}

/// Resident memory of this process in kB; absent where there is no `/proc`.
fn resident_kb() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

fn table() -> bool {
    println!(
        "{:<62} {:>9} {:<3} {:>9}",
        "CPU time, medians", "", "", "limit"
    );
    let before_kb = resident_kb();
    let mut one = Fleet::settled(1, 100.0);
    let target_kb = before_kb
        .zip(resident_kb())
        .map(|(before, after)| (after - before) / TARGETS as f64);
    let reads_ms = milliseconds(|| one.read_all());
    let mut ok = line(
        "taking in one read of one target",
        1e3 * reads_ms / TARGETS as f64,
        "us",
        Some(INGEST_US_MAX),
    );
    assert_eq!(one.windows(), 1);
    let one_ms = milliseconds(|| one.evaluate());
    ok &= line(
        "a snapshot of 1 service with 1,000 targets",
        one_ms,
        "ms",
        Some(EVALUATE_MS_MAX),
    );
    drop(one);
    let mut busy = Fleet::settled(100, 100.0);
    assert_eq!(busy.windows(), 1);
    let busy_ms = milliseconds(|| busy.evaluate());
    ok &= line(
        "a snapshot of 100 services with 10 targets each",
        busy_ms,
        "ms",
        Some(EVALUATE_MS_MAX),
    );
    drop(busy);
    // A request in seventeen reads is too few for any quantile: every window is tried, up to the widest.
    let mut quiet = Fleet::settled(100, 0.001);
    let what = format!(
        "the same with few requests, so that {} windows are tried",
        quiet.windows()
    );
    let quiet_ms = milliseconds(|| quiet.evaluate());
    ok &= line(&what, quiet_ms, "ms", Some(EVALUATE_QUIET_MS_MAX));
    ok &= line(
        "an interval of 1,000 targets: 1,000 reads, 5 snapshots",
        reads_ms + 5.0 * one_ms,
        "ms",
        Some(INTERVAL_MS_MAX),
    );
    if let Some(kb) = target_kb {
        ok &= line(
            "memory of one target, its windows full",
            kb,
            "kB",
            Some(TARGET_KB_MAX),
        );
    }
    ok
}

fn main() -> ExitCode {
    let flag = |name: &str| std::env::args().any(|argument| argument == name);
    // Run as a test: there is nothing to measure.
    if !flag("--bench") {
        return ExitCode::SUCCESS;
    }
    let within_limits = table();
    if flag("--check") && !within_limits {
        eprintln!("a limit is exceeded");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
