//! The real Prometheus beside ours: on the same samples the answers are the same.
//!
//! What Prometheus stored is read back, point by point, and fed to the engine; then both are asked the same question of
//! the same instant. That leaves out when each of them scraped and compares the arithmetic alone. Where ours differs on
//! purpose ([`taffrail::engine`] says where), the data here keep clear of it:
//!
//! - A window's start belongs to it for Prometheus before 3.0, and not for us and later ones: no sample lies on it.
//! - A series born on a target that was already read counts from zero for us: series are there from the first read.
//! - A bucket that overtook its old count before the first read after a restart: restarts come after much traffic.
//! - Prometheus limits each series at its zero, we the sum of a target's: young targets have one series.
//! - A read that is overdue ends the window for us: the newest ones are in time.
//! - A service without traffic has a latency of 0 for us, and NaN for Prometheus: there is traffic.

mod live;
mod quantiles;
mod recorded;

use std::collections::BTreeMap;
use std::time::Duration;

use taffrail::engine::snapshot::Snapshot;
use taffrail::engine::{Engine, Objective, ServiceSpec};
use taffrail::model::id::{ServiceId, TargetId};
use taffrail::model::reading::{Batch, Reading, SeriesReading};
use taffrail::model::selector::{Operator, Requirement, Selector};
use taffrail::model::time::Timestamp;

use crate::fixtures::prometheus_server::{PrometheusServer, Series};

const NAMESPACE: &str = "shop";
const HISTOGRAM: &str = "http_request_duration_seconds";
const QUANTILES: [f64; 4] = [0.5, 0.9, 0.95, 0.99];

/// Both add up the same numbers, in a different order.
const ROUNDING: f64 = 1e-9;

/// The same windows for all services of a comparison.
#[derive(Clone, Copy, Debug)]
struct Windows {
    window: Duration,
    interval: Duration,
}

/// Labels of one histogram, without its name and `le`.
type Labels = BTreeMap<String, String>;

/// One histogram as one read found it.
#[derive(Default)]
struct Histogram {
    buckets: Vec<(f64, f64)>,
    sum: Option<f64>,
    count: f64,
}

/// Histograms by service, target and time.
type Reads = BTreeMap<(String, String, Timestamp), BTreeMap<Labels, Histogram>>;

impl Windows {
    /// What Prometheus stored until `at`: the window, and as much again, so that windows do not begin with the data.
    async fn stored(self, prometheus: &PrometheusServer, at: Timestamp) -> Vec<Series> {
        let range_ms = 2 * self.window.as_millis();
        let selector = format!("{{__name__=~\"{HISTOGRAM}_(bucket|sum|count)\"}}[{range_ms}ms]");
        prometheus.query(&selector, at).await
    }

    /// Our answers for what Prometheus stored until `at`.
    fn snapshot(self, stored: &[Series], at: Timestamp) -> Snapshot {
        let reads = reads(stored);
        let mut engine = Engine::default();
        engine.configure(reads.keys().map(|(service, ..)| self.spec(service)));
        let mut keys = BTreeMap::new();
        for ((service, target, at), histograms) in &reads {
            let mut reading = Reading::default();
            for (labels, histogram) in histograms {
                let n = keys.len() as u64;
                histogram.push_to(&mut reading, *keys.entry(labels).or_insert(n));
            }
            let outcome = engine.ingest(&Batch {
                target: TargetId::new(&ServiceId::new(NAMESPACE, service), target),
                at: *at,
                took: Duration::ZERO,
                reading,
            });
            assert_eq!(outcome.accepted as usize, histograms.len(), "{outcome:?}");
        }
        engine.evaluate(at)
    }

    fn spec(self, service: &str) -> ServiceSpec {
        ServiceSpec {
            id: ServiceId::new(NAMESPACE, service),
            interval: self.interval,
            window: self.window,
            objective: Some(Objective {
                quantile: 0.95,
                latency: Duration::from_millis(250),
            }),
            has_requests: true,
        }
    }

    /// Asserts that both answer alike at `at`: the four quantiles, the mean, the rate, the concurrency and the share of
    /// slow requests of every service. Returns our snapshot.
    async fn check_same(self, prometheus: &PrometheusServer, at: Timestamp) -> Snapshot {
        let stored = self.stored(prometheus, at).await;
        let on_the_edge = |series: &&Series| {
            let start = at - self.window;
            series.samples.iter().any(|(time, _)| *time == start)
        };
        assert!(
            stored.iter().find(on_the_edge).is_none(),
            "a sample lies on the window's start, which versions of Prometheus judge differently"
        );
        let snapshot = self.snapshot(&stored, at);
        for (metric, label, promql) in self.questions() {
            let theirs = prometheus.query(&promql, at).await;
            assert_eq!(theirs.len(), snapshot.services().count(), "{promql}");
            for answer in theirs {
                let service = answer.label("service");
                let ours = value(&snapshot, metric, service, label.as_deref(), self.window);
                let theirs = answer.value();
                assert!(
                    (ours - theirs).abs() <= ROUNDING * theirs.abs() + f64::EPSILON,
                    "{metric} {label:?} of {service} at {at}: ours {ours}, theirs {theirs}"
                );
            }
        }
        snapshot
    }

    /// Asserts that every bucket of `snapshot` holds as many requests as Prometheus says.
    async fn check_same_buckets(self, prometheus: &PrometheusServer, snapshot: &Snapshot) {
        let range_ms = self.window.as_millis();
        let promql = format!("sum by (service, le) (increase({HISTOGRAM}_bucket[{range_ms}ms]))");
        let theirs = prometheus.query(&promql, snapshot.at()).await;
        let base = |service: &str| {
            let view = snapshot.service(NAMESPACE, service);
            view.unwrap().base().unwrap()
        };
        let buckets: usize = snapshot
            .services()
            .map(|service| base(&*service.id.name).bounds.len())
            .sum();
        assert_eq!(theirs.len(), buckets);
        for bucket in theirs {
            let (service, bound) = (bucket.label("service"), bucket.label("le"));
            let (base, le): (_, f64) = (base(service), bound.parse().unwrap());
            let i = base.bounds.iter().position(|bound| *bound == le).unwrap();
            let (ours, theirs) = (base.counts[i], bucket.value());
            assert!(
                (ours - theirs).abs() <= ROUNDING * theirs,
                "bucket {bound} of {service}: ours {ours}, theirs {theirs}"
            );
        }
    }

    /// What both are asked: our metric with its `quantile` label, and the same in PromQL and in our unit.
    fn questions(self) -> Vec<(&'static str, Option<String>, String)> {
        let range_ms = self.window.as_millis();
        let rate =
            |part: &str| format!("sum by (service) (rate({HISTOGRAM}_{part}[{range_ms}ms]))");
        let (count, sum, fast) = (rate("count"), rate("sum"), rate("bucket{le=\"0.25\"}"));
        let mut questions = vec![
            ("request_rate", None, count.clone()),
            ("request_concurrency", None, sum.clone()),
            ("slow_request_ratio", None, format!("1 - {fast} / {count}")),
            (
                "request_latency_ms",
                Some("mean".to_owned()),
                format!("1000 * {sum} / {count}"),
            ),
        ];
        questions.extend(QUANTILES.map(|q| {
            let promql = format!("1000 * {}", self.quantile(q));
            ("request_latency_ms", Some(q.to_string()), promql)
        }));
        questions
    }

    /// The quantile of each service in PromQL, in seconds.
    fn quantile(self, q: f64) -> String {
        let range_ms = self.window.as_millis();
        format!(
            "histogram_quantile({q}, sum by (service, le) (rate({HISTOGRAM}_bucket[{range_ms}ms])))"
        )
    }
}

impl Histogram {
    fn push_to(&self, reading: &mut Reading, key: u64) {
        let mut buckets = self.buckets.clone();
        buckets.sort_by(|(a, _), (b, _)| a.total_cmp(b));
        reading.series.push(SeriesReading {
            key,
            first_bucket: reading.bounds.len() as u32,
            n_buckets: buckets.len() as u32,
            count: self.count,
            sum: self.sum,
        });
        for (bound, count) in buckets {
            reading.bounds.push(bound);
            reading.counts.push(count);
        }
    }
}

/// Puts the samples of one page together again: those of one target and one time.
fn reads(stored: &[Series]) -> Reads {
    let mut reads = Reads::new();
    for series in stored {
        let mut labels = series.labels.clone();
        let name = labels.remove("__name__").unwrap();
        let bound = labels.remove("le");
        for (at, value) in &series.samples {
            let read = (
                series.label("service").to_owned(),
                series.label("instance").to_owned(),
                *at,
            );
            let histogram = reads
                .entry(read)
                .or_default()
                .entry(labels.clone())
                .or_default();
            match (&bound, name.ends_with("_sum")) {
                (Some(bound), _) => histogram.buckets.push((bound.parse().unwrap(), *value)),
                (None, true) => histogram.sum = Some(*value),
                (None, false) => histogram.count = *value,
            }
        }
    }
    reads
}

/// Our answer, which must be of the base window: a wider one would be of other requests.
fn value(
    snapshot: &Snapshot,
    metric: &str,
    service: &str,
    quantile: Option<&str>,
    window: Duration,
) -> f64 {
    let requirement = |key: &str, value: &str| Requirement {
        key: key.to_owned(),
        operator: Operator::In(vec![value.to_owned()]),
    };
    let requirements = [("service", Some(service)), ("quantile", quantile)];
    let requirements = requirements
        .into_iter()
        .filter_map(|(key, value)| Some(requirement(key, value?)));
    let selector = Selector::new(requirements.collect());
    let items = snapshot.read(NAMESPACE, metric, &selector).unwrap();
    assert_eq!((items.len(), items[0].window), (1, window), "{items:?}");
    items[0].value
}
