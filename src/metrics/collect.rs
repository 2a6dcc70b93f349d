//! What is served, as metrics: made from the latest snapshot when somebody looks.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::sync::watch;

use crate::clock;
use crate::engine::snapshot::{ServiceView, Snapshot};

/// The states a service can be in, each a series that is 0 or 1.
const STATES: [&str; 4] = ["ok", "no_traffic", "partial", "unknown"];

/// A gauge with one label beside namespace and service.
type Labelled = (&'static str, f64);

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

impl Collector for Services {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let snapshot = Arc::clone(&self.snapshots.borrow());
        let now = clock::now();
        plain(
            &mut encoder,
            "taffrail_request_rate",
            "Requests per second, as served",
            &snapshot,
            ServiceView::request_rate,
        )?;
        plain(
            &mut encoder,
            "taffrail_request_concurrency",
            "Mean requests in flight, as served",
            &snapshot,
            ServiceView::concurrency,
        )?;
        let help = "CPU seconds per request";
        plain(
            &mut encoder,
            "taffrail_request_cpu_seconds",
            help,
            &snapshot,
            ServiceView::cpu_per_request_s,
        )?;
        let help = "The objective's quantile of the latency, as served";
        plain(
            &mut encoder,
            "taffrail_request_latency_seconds",
            help,
            &snapshot,
            ServiceView::objective_latency_s,
        )?;
        let help = "The promised latency";
        plain(
            &mut encoder,
            "taffrail_objective_latency_seconds",
            help,
            &snapshot,
            |service| Some(service.objective?.latency.as_secs_f64()),
        )?;
        let help = "Age of the oldest read behind the served values";
        plain(
            &mut encoder,
            "taffrail_metric_age_seconds",
            help,
            &snapshot,
            |service| service.base().map(|_| now.since(service.at).as_secs_f64()),
        )?;
        let help =
            "1 where no bucket bound lies on the objective, so that the slow share is an estimate";
        plain(
            &mut encoder,
            "taffrail_objective_bound_missing",
            help,
            &snapshot,
            |service| {
                service
                    .objective
                    .map(|_| f64::from(u8::from(service.missing_bound().is_some())))
            },
        )?;
        labelled(
            &mut encoder,
            "taffrail_service_state",
            "1 for the state the service is in",
            "state",
            &snapshot,
            |service| {
                STATES.map(|state| (state, f64::from(u8::from(service.state.as_str() == state))))
            },
        )?;
        labelled(
            &mut encoder,
            "taffrail_targets",
            "Targets, by how they stand",
            "standing",
            &snapshot,
            |service| {
                let coverage = &service.coverage;
                [
                    ("known", coverage.known),
                    ("starting", coverage.starting),
                    ("unknown", coverage.unknown),
                ]
                .map(|(standing, n)| (standing, f64::from(n)))
            },
        )
    }
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
fn labelled<const N: usize>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    label: &str,
    snapshot: &Snapshot,
    values: impl Fn(&ServiceView) -> [Labelled; N],
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
