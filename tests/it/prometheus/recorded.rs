//! The whole way from counters to answers, on samples that were made up: targets old and young, read at odd moments,
//! with reads that failed and processes that began anew. Prometheus holds the samples as if it had scraped them.

use std::fmt::Write;
use std::time::Duration;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use taffrail::model::time::Timestamp;

use super::{HISTOGRAM, Windows};
use crate::fixtures::prometheus_server::PrometheusServer;

/// The instant that is asked for.
const AT: Timestamp = Timestamp::from_ms(1_700_000_000_000);

const WINDOWS: Windows = Windows {
    window: Duration::from_secs(30),
    interval: Duration::from_secs(5),
};

/// How many services are drawn, each of up to four targets.
const SERVICES: usize = 100;

/// Upper bounds of all histograms, 0.25 among them for the share of slow requests.
const BOUNDS: [&str; 6] = ["0.05", "0.1", "0.25", "0.5", "1", "+Inf"];

/// What an old target has counted in each bucket before its first read here: more than it counts here, so that every
/// counter falls when the process begins anew, and none is extended to its zero.
const OLD: u64 = 1_000_000;

/// Requests a read that each service has at least, for its 0.99 quantile to be judged in the base window.
const BUSY: u64 = 100;

/// One target as it is drawn.
#[derive(Clone, Debug)]
struct Target {
    /// From one read to the next, before jitter.
    interval_ms: i64,
    /// How long before [`AT`] the newest read was, in thousandths of the interval.
    phase: i64,
    /// How much each spacing is off, in thousandths, newest first.
    jitter: Vec<i64>,
    history: History,
    /// How requests are spread over buckets; all zero for an idle target.
    weights: [u64; BOUNDS.len()],
    /// How busy it was before each read, oldest first.
    load: Vec<u64>,
}

#[derive(Clone, Debug)]
enum History {
    /// It was there long before, with this many series.
    Old {
        series: usize,
        /// Which reads failed, newest first.
        failed: Vec<bool>,
        /// How long before [`AT`] it began anew, if it did.
        restarted_ms: Option<i64>,
    },
    /// It was born this many reads ago.
    Young { reads: usize },
}

/// One series while it is written.
struct Counters {
    buckets: [u64; BOUNDS.len()],
    sum: f64,
}

impl Target {
    /// When it was read, oldest first.
    fn reads(&self) -> Vec<Timestamp> {
        let mut ago_ms = self.interval_ms * self.phase / 1000 + 1;
        let mut times = Vec::new();
        for (n, jitter) in self.jitter.iter().enumerate() {
            let is_read = match &self.history {
                // The newest two are there, or the end would be overdue.
                History::Old { failed, .. } => n < 2 || !failed[n],
                History::Young { reads } => n < *reads,
            };
            if is_read {
                times.push(Timestamp::from_ms(AT.ms() - ago_ms));
            }
            ago_ms += self.interval_ms * (1000 + jitter) / 1000;
        }
        times.reverse();
        times
    }

    fn series(&self) -> Vec<Counters> {
        let n = match self.history {
            History::Old { series, .. } => series,
            History::Young { .. } => 1,
        };
        (0..n).map(|_| self.begin()).collect()
    }

    fn begin(&self) -> Counters {
        match self.history {
            History::Old { .. } => Counters {
                buckets: [OLD; BOUNDS.len()],
                sum: OLD as f64,
            },
            History::Young { .. } => Counters::ZERO,
        }
    }

    /// Writes its reads as samples that say their time.
    fn write(&self, service: usize, target: usize, page: &mut String) {
        for (n, mut counters) in self.series().into_iter().enumerate() {
            let labels = format!("service=\"s{service}\",instance=\"t{target}\",route=\"/{n}\"");
            let mut last = None;
            for (read, at) in self.reads().into_iter().enumerate() {
                if self.began_anew(last, at) {
                    counters = Counters::ZERO;
                }
                // The first read shows what a young process has counted so far: nothing.
                if last.is_some() {
                    counters.add(&self.weights, n, self.load[read]);
                }
                counters.write(&labels, at, page);
                last = Some(at);
            }
        }
    }

    /// Whether it began anew between two reads, both of which are in the window.
    fn began_anew(&self, last: Option<Timestamp>, at: Timestamp) -> bool {
        let (
            Some(last),
            History::Old {
                restarted_ms: Some(ago_ms),
                ..
            },
        ) = (last, &self.history)
        else {
            return false;
        };
        let restarted = Timestamp::from_ms(AT.ms() - ago_ms);
        AT - WINDOWS.window < last && last < restarted && restarted <= at
    }
}

impl Counters {
    const ZERO: Self = Self {
        buckets: [0; BOUNDS.len()],
        sum: 0.0,
    };

    /// Counts `load` times the weights, which are turned by `turn` buckets: series of a target differ.
    fn add(&mut self, weights: &[u64; BOUNDS.len()], turn: usize, load: u64) {
        for i in 0..BOUNDS.len() {
            let more = weights[(i + turn) % BOUNDS.len()] * load;
            self.buckets[i] += more;
            self.sum += more as f64 * 0.07 * (i + 1) as f64;
        }
    }

    fn write(&self, labels: &str, at: Timestamp, page: &mut String) {
        let Self { buckets, sum } = self;
        let mut below = 0;
        for (bound, count) in BOUNDS.iter().zip(buckets) {
            below += count;
            let _ = writeln!(
                page,
                "{HISTOGRAM}_bucket{{{labels},le=\"{bound}\"}} {below} {at}"
            );
        }
        let _ = writeln!(page, "{HISTOGRAM}_sum{{{labels}}} {sum} {at}");
        let _ = writeln!(page, "{HISTOGRAM}_count{{{labels}}} {below} {at}");
    }
}

fn target() -> impl Strategy<Value = Target> {
    // A minute of reads at the shortest interval.
    const READS: usize = 60;
    let old = (
        1usize..4,
        prop::collection::vec(prop::bool::weighted(0.2), READS),
        prop::option::of(1_000i64..29_000),
    );
    let history = prop_oneof![
        old.prop_map(|(series, failed, restarted_ms)| History::Old {
            series,
            failed,
            restarted_ms,
        }),
        (3usize..READS).prop_map(|reads| History::Young { reads }),
    ];
    let weight = prop_oneof![Just(0u64), 0u64..30];
    let weights = prop_oneof![
        1 => Just([0; BOUNDS.len()]),
        4 => prop::array::uniform(weight),
    ];
    (
        1_000i64..5_000,
        0i64..1_000,
        // Little enough that a read which is due is never taken for overdue: 1.1 mean spacings.
        prop::collection::vec(-40i64..40, READS),
        history,
        weights,
        prop::collection::vec(1u64..10, READS),
    )
        .prop_map(
            |(interval_ms, phase, jitter, history, weights, load)| Target {
                interval_ms,
                phase,
                jitter,
                history,
                weights,
                load,
            },
        )
}

#[tokio::test]
async fn drawn_fleets_have_the_answers_prometheus_gives() {
    let mut runner = TestRunner::deterministic();
    let mut page = String::new();
    for service in 0..SERVICES {
        let targets = prop::collection::vec(target(), 1..4);
        for (n, mut target) in targets
            .new_tree(&mut runner)
            .unwrap()
            .current()
            .into_iter()
            .enumerate()
        {
            if n == 0 {
                target.weights[service % BOUNDS.len()] += BUSY;
            }
            target.write(service, n, &mut page);
        }
    }
    page.push_str("# EOF\n");
    let prometheus = PrometheusServer::holding(&page).await;
    let snapshot = WINDOWS.check_same(&prometheus, AT).await;
    assert_eq!(snapshot.services().count(), SERVICES);
    WINDOWS.check_same_buckets(&prometheus, &snapshot).await;
}
