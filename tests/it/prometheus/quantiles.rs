//! The quantile of single histograms, ordinary and odd: Prometheus holds them, and both are asked for many quantiles.
//!
//! Counts that differ by float noise alone are left out: Prometheus flattens them since 2.49, which older ones do not
//! know. The unit test beside [`histogram_quantile`] has them.

use std::collections::BTreeMap;
use std::fmt::Write;

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use taffrail::engine::quantile::histogram_quantile;
use taffrail::exposition::{Format, Limits, PageReader, Want};
use taffrail::model::reading::Reading;
use taffrail::model::time::Timestamp;

use crate::fixtures::prometheus_server::PrometheusServer;

const INF: f64 = f64::INFINITY;

/// When the histograms were scraped.
const AT: Timestamp = Timestamp::from_ms(1_700_000_000_000);

/// How many histograms are drawn.
const DRAWN: usize = 300;

/// Both compute the same terms in the same order; this is a few units in the last place.
const ROUNDING: f64 = 1e-14;

/// Every quantile that people ask for, the edges, and what is none.
const ASKED: [f64; 14] = [
    0.0,
    1e-9,
    0.01,
    0.25,
    0.5,
    0.75,
    0.9,
    0.95,
    0.99,
    0.999,
    1.0,
    f64::NAN,
    -0.1,
    1.1,
];

/// Buckets as they stand in a page: bounds as they are written, and counts.
type Written = Vec<(String, f64)>;

/// What both are asked of, in order; a histogram's number is its `id` label.
#[derive(Default)]
struct Histograms {
    page: String,
    ours: Vec<(Vec<f64>, Vec<f64>)>,
}

impl Histograms {
    fn push(&mut self, written: &[(String, f64)], bounds: Vec<f64>, counts: Vec<f64>) {
        let id = self.ours.len();
        for (bound, count) in written {
            let at = AT.seconds();
            let _ = writeln!(
                self.page,
                "h_bucket{{id=\"{id}\",le=\"{bound}\"}} {count} {at}"
            );
        }
        self.ours.push((bounds, counts));
    }

    fn push_ascending(&mut self, buckets: &[(f64, f64)]) {
        let (bounds, counts) = buckets.iter().copied().unzip();
        let written: Written = buckets
            .iter()
            .map(|(bound, count)| (written(*bound), *count))
            .collect();
        self.push(&written, bounds, counts);
    }

    /// Asserts that both give the same answers; returns how many of ours were a number.
    async fn check(mut self) -> usize {
        self.page.push_str("# EOF\n");
        let prometheus = PrometheusServer::holding(&self.page).await;
        let mut numbers = 0;
        for q in ASKED {
            let answers = prometheus
                .query(&format!("histogram_quantile({}, h_bucket)", written(q)), AT)
                .await;
            let theirs: BTreeMap<usize, f64> = answers
                .iter()
                .map(|answer| (answer.label("id").parse().unwrap(), answer.value()))
                .collect();
            assert_eq!(theirs.len(), self.ours.len());
            for (id, (bounds, counts)) in self.ours.iter().enumerate() {
                let ours = histogram_quantile(q, bounds, counts);
                // What Prometheus calls NaN or infinite is absent here.
                let theirs = Some(theirs[&id]).filter(|value| value.is_finite());
                let agree = match (ours, theirs) {
                    (Some(ours), Some(theirs)) => (ours - theirs).abs() <= ROUNDING * theirs.abs(),
                    (ours, theirs) => ours == theirs,
                };
                assert!(
                    agree,
                    "the {q} quantile of {counts:?} at {bounds:?}: ours {ours:?}, theirs {theirs:?}"
                );
                numbers += usize::from(ours.is_some());
            }
        }
        numbers
    }
}

/// A number as Prometheus reads it.
fn written(number: f64) -> String {
    if number.is_infinite() {
        return if 0.0 < number { "+Inf" } else { "-Inf" }.to_owned();
    }
    number.to_string()
}

fn buckets() -> impl Strategy<Value = Vec<(f64, f64)>> {
    let bound = prop_oneof![
        4 => 0.001f64..10.0,
        1 => -10.0f64..0.0,
        1 => prop::sample::select(vec![0.0, 0.005, 0.1, 0.25, 0.5, 1.0, 2.5, 1e-7, 1e9]),
    ];
    let bounds = prop::collection::vec(bound, 0..12);
    let has_infinity = prop::bool::weighted(0.95);
    // Mostly zeros in some, so that buckets are empty at either end.
    let step = prop_oneof![Just(0.0), (0u32..1000).prop_map(f64::from), 0.0f64..5.0];
    let steps = prop::collection::vec(step, 13);
    // Counts rise, as they do on an honest page, or lie anywhere.
    let is_cumulative = prop::bool::weighted(0.7);
    (bounds, has_infinity, steps, is_cumulative).prop_map(
        |(mut bounds, has_infinity, steps, is_cumulative)| {
            bounds.sort_by(f64::total_cmp);
            bounds.dedup();
            if has_infinity || bounds.is_empty() {
                bounds.push(INF);
            }
            let mut below = 0.0;
            let count = |step| {
                below = if is_cumulative { below + step } else { step };
                below
            };
            bounds
                .into_iter()
                .zip(steps.into_iter().map(count))
                .collect()
        },
    )
}

#[tokio::test]
async fn drawn_histograms_have_the_quantiles_prometheus_gives_them() {
    let mut runner = TestRunner::deterministic();
    let mut histograms = Histograms::default();
    for _ in 0..DRAWN {
        histograms.push_ascending(&buckets().new_tree(&mut runner).unwrap().current());
    }
    let numbers = histograms.check().await;
    assert!(DRAWN * ASKED.len() / 2 < numbers, "{numbers} numbers only");
}

#[tokio::test]
async fn odd_histograms_have_the_quantiles_prometheus_gives_them() {
    let mut histograms = Histograms::default();
    let odd: &[&[(f64, f64)]] = &[
        // No request, only `+Inf`, no `+Inf`.
        &[(0.1, 0.0), (0.5, 0.0), (INF, 0.0)],
        &[(INF, 0.0)],
        &[(INF, 5.0)],
        &[(0.1, 3.0), (0.5, 5.0)],
        &[(0.1, 3.0)],
        // All in the first bucket, all in the last finite one, all in `+Inf`.
        &[(0.1, 7.0), (0.5, 7.0), (INF, 7.0)],
        &[(0.1, 0.0), (0.5, 7.0), (INF, 7.0)],
        &[(0.1, 0.0), (0.5, 0.0), (INF, 7.0)],
        // Counts fall: between buckets, in `+Inf`, to nothing.
        &[
            (0.1, 2.0),
            (1.0, 1.0),
            (10.0, 5.0),
            (100.0, 4.0),
            (1e3, 9.0),
            (INF, 8.0),
        ],
        &[(0.1, 5.0), (0.5, 9.0), (INF, 7.0)],
        &[(0.1, 5.0), (0.5, 0.0), (INF, 0.0)],
        // The lowest bound is zero, or negative, or all are.
        &[(0.0, 4.0), (0.5, 8.0), (INF, 8.0)],
        &[(-1.0, 4.0), (0.5, 8.0), (INF, 8.0)],
        &[(-2.0, 3.0), (-1.0, 4.0), (INF, 4.0)],
        &[(-2.0, 0.0), (-1.0, 4.0), (INF, 9.0)],
        &[(-INF, 3.0), (1.0, 4.0), (INF, 9.0)],
        &[(-INF, 3.0), (INF, 9.0)],
        // Counts that no float holds exactly, the smallest and the largest.
        &[(0.1, 0.1), (0.2, 0.3), (0.3, 0.7), (INF, 1.1)],
        &[(0.1, 1e-300), (0.5, 2e-300), (INF, 3e-300)],
        &[(0.1, 1e15), (0.5, 9e15), (INF, 9.007e15)],
    ];
    odd.iter()
        .for_each(|buckets| histograms.push_ascending(buckets));
    histograms.check().await;
}

#[tokio::test]
async fn bounds_written_in_two_ways_are_one_bucket_as_for_prometheus() {
    let pages: [&[(&str, f64)]; 4] = [
        &[("0.1", 3.0), ("1e-1", 4.0), ("0.5", 9.0), ("+Inf", 9.0)],
        &[
            ("0.10", 1.0),
            ("0.1", 2.0),
            ("0.100", 3.0),
            ("1", 6.0),
            ("1.0", 1.0),
            ("+Inf", 8.0),
        ],
        &[("0.1", 3.0), ("0.5", 9.0), ("+Inf", 4.0), ("Inf", 5.0)],
        // In no order.
        &[("+Inf", 9.0), ("2.5", 8.0), ("0.5", 5.0), ("1", 6.0)],
    ];
    let mut histograms = Histograms::default();
    for buckets in pages {
        let mut page = String::new();
        for (bound, count) in buckets {
            let _ = writeln!(page, "h_bucket{{le=\"{bound}\"}} {count}");
        }
        let want = Want {
            histogram: Some("h".to_owned()),
            ..Want::default()
        };
        let mut reading = Reading::default();
        PageReader::new(want, Limits::default())
            .read(page.as_bytes(), Format::Text, &mut reading)
            .unwrap();
        let written: Written = buckets
            .iter()
            .map(|(bound, count)| ((*bound).to_owned(), *count))
            .collect();
        histograms.push(&written, reading.bounds, reading.counts);
    }
    let numbers = histograms.check().await;
    assert_eq!(numbers, pages.len() * 11);
}
