//! What is served, as metrics: made from the latest snapshot when somebody looks, so that a service costs nothing
//! between two looks. What an HPA would be refused has no series here either.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use crate::clock;
use crate::engine::snapshot::{Metric, ServiceView, Snapshot};
use crate::model::time::Timestamp;

/// The states a service can be in, each a series that is 0 or 1.
const STATES: [&str; 4] = ["ok", "no_traffic", "partial", "unknown"];

/// The quantiles that people draw beside each other, whichever one the objective has.
const QUANTILES: [(&str, f64); 4] = [("0.5", 0.5), ("0.9", 0.9), ("0.95", 0.95), ("0.99", 0.99)];

/// Values of one service, told apart by a further label.
type Labelled<'s> = Vec<(&'s str, f64)>;

/// Every service of the latest snapshot.
#[derive(Debug)]
pub(super) struct Services {
    snapshots: watch::Receiver<Arc<Snapshot>>,
}

impl Services {
    pub(super) fn new(snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        Self { snapshots }
    }
}

/// A gauge's name, its help, and its value for a service at an instant.
type Plain = (
    &'static str,
    &'static str,
    fn(&ServiceView, Timestamp) -> Option<f64>,
);

/// The gauges with no label but namespace and service.
const PLAIN: [Plain; 9] = [
    (
        "taffrail_request_rate",
        "Requests per second, as served",
        |service, _| service.request_rate(),
    ),
    (
        "taffrail_request_concurrency",
        "Mean requests in flight, as served",
        |service, _| service.concurrency(),
    ),
    (
        "taffrail_request_cpu_seconds",
        "CPU seconds per request",
        |service, _| service.cpu_per_request_s(),
    ),
    (
        "taffrail_request_latency_seconds",
        "The objective's quantile of the latency, as served",
        |service, _| service.objective_latency_s(),
    ),
    (
        "taffrail_objective_latency_seconds",
        "The promised latency",
        |service, _| Some(service.objective?.latency.as_secs_f64()),
    ),
    (
        "taffrail_objective_quantile",
        "The quantile of the requests that the latency is promised to",
        |service, _| Some(service.objective?.quantile),
    ),
    (
        "taffrail_metric_age_seconds",
        "Age of the oldest read behind the served values",
        |service, now| is_served(service).then(|| now.since(service.at).as_secs_f64()),
    ),
    (
        "taffrail_cold_targets",
        "Targets whose processes have just begun, so that their latencies count only where there are too few others",
        |service, _| Some(f64::from(service.coverage.cold)),
    ),
    (
        "taffrail_objective_bound_missing",
        "1 where no bucket bound lies on the objective, so that the slow share is an estimate",
        |service, _| {
            service
                .objective
                .map(|_| flag(service.missing_bound().is_some()))
        },
    ),
];

impl Collector for Services {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let now = clock::now();
        for (name, help, value) in PLAIN {
            plain(&mut encoder, name, help, &snapshot, |service| {
                value(service, now)
            })?;
        }
        for (name, help, label, values) in LABELLED {
            labelled(&mut encoder, name, help, label, &snapshot, values)?;
        }
        Ok(())
    }
}

/// A gauge's name, its help, its further label, and its values for a service.
type Several = (
    &'static str,
    &'static str,
    &'static str,
    fn(&ServiceView) -> Labelled<'_>,
);

/// The gauges with a label more.
const LABELLED: [Several; 5] = [
    (
        "taffrail_metric_value",
        "What an HPA that selects the service is answered, in the metric's own unit; backlogs of several keys added up",
        "metric",
        |service| {
            let value = |metric: Metric| Some((metric.name(), service.value(metric)?));
            Metric::ALL.into_iter().filter_map(value).collect()
        },
    ),
    (
        "taffrail_request_latency_quantile_seconds",
        "Quantiles of the latency, as they would be served",
        // Not "quantile", which is a summary's own.
        "q",
        |service| {
            let value = |(label, q)| Some((label, service.latency_s(q)?));
            QUANTILES.into_iter().filter_map(value).collect()
        },
    ),
    (
        "taffrail_backlog_items",
        "Items waiting under a Redis key",
        "key",
        |service| {
            let backlogs = service.backlogs.iter();
            let known = backlogs.filter_map(|one| Some((&*one.key, *one.items.as_ref().ok()?)));
            known.collect()
        },
    ),
    (
        "taffrail_service_state",
        "1 for the state the service is in",
        "state",
        |service| {
            let is = |state| (state, flag(service.state.as_str() == state));
            STATES.map(is).to_vec()
        },
    ),
    (
        "taffrail_targets",
        "Targets, by how they stand",
        "standing",
        |service| {
            let coverage = &service.coverage;
            let standings = [
                ("known", coverage.known),
                ("starting", coverage.starting),
                ("unknown", coverage.unknown),
                ("not_ready", coverage.not_ready),
                ("leaving", coverage.leaving),
            ];
            standings
                .map(|(standing, n)| (standing, f64::from(n)))
                .to_vec()
        },
    ),
];

/// Whether anything of it is served now.
fn is_served(service: &ServiceView) -> bool {
    service.base().is_some() || service.backlogs.iter().any(|one| one.items.is_ok())
}

/// A gauge's way to say yes or no.
fn flag(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

/// One gauge a service, where it has a value.
fn plain(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    snapshot: &Snapshot,
    value: impl Fn(&ServiceView) -> Option<f64>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for service in snapshot.services() {
        if let Some(value) = value(service) {
            let labels = [
                ("namespace", service.id.namespace.as_ref()),
                ("service", service.id.name.as_ref()),
            ];
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}

/// Several gauges a service, told apart by `label`.
fn labelled(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    snapshot: &Snapshot,
    values: fn(&ServiceView) -> Labelled<'_>,
) -> Result<(), fmt::Error> {
    let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
    for service in snapshot.services() {
        for (which, value) in values(service) {
            let labels = [
                ("namespace", service.id.namespace.as_ref()),
                ("service", service.id.name.as_ref()),
                (label, which),
            ];
            ConstGauge::new(value).encode(family.encode_family(&labels)?)?;
        }
    }
    Ok(())
}
