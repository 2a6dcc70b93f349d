//! What others know and are asked for when somebody looks: whether the API is ready, whether this replica leads, and which
//! HPAs there are. Each is told where to ask once it exists; until then, and where it never does, it has no series.

use std::fmt;
use std::sync::{Arc, OnceLock};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use crate::model::time::Timestamp;

use super::Metrics;

/// An HPA that reads metrics which are served here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Autoscaler {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// When it was last seen to sync.
    pub last_sync: Option<Timestamp>,
    /// What it reads: a metric's name, and the service that its selector names, if it names a single one. No pair twice.
    pub metrics: Vec<(&'static str, String)>,
}

/// Says which checks of readiness there are, and which pass.
type Checks = Box<dyn Fn() -> Vec<(&'static str, bool)> + Send + Sync>;
/// Says whether this replica leads.
type Leads = Box<dyn Fn() -> bool + Send + Sync>;
/// Says which HPAs there are.
type Autoscalers = Box<dyn Fn() -> Vec<Autoscaler> + Send + Sync>;

/// Whom to ask.
#[derive(Default)]
pub(super) struct Asked {
    checks: OnceLock<Checks>,
    leads: OnceLock<(String, Leads)>,
    autoscalers: OnceLock<Autoscalers>,
}

impl Metrics {
    /// Readiness is asked of `checks`, which gives each check's name, of a fixed set, and whether it passes. Only the first
    /// call counts, as for the others here.
    pub fn ask_readiness(
        &self,
        checks: impl Fn() -> Vec<(&'static str, bool)> + Send + Sync + 'static,
    ) {
        // A second one is a mistake of ours, and costs no more than its being ignored.
        let _ = self.asked.checks.set(Box::new(checks));
    }

    /// Whether this replica holds the Lease `name` is asked of `leads`.
    pub fn ask_leadership(&self, name: String, leads: impl Fn() -> bool + Send + Sync + 'static) {
        let _ = self.asked.leads.set((name, Box::new(leads)));
    }

    /// The HPAs are asked of `autoscalers`, which bounds them.
    pub fn ask_autoscalers(
        &self,
        autoscalers: impl Fn() -> Vec<Autoscaler> + Send + Sync + 'static,
    ) {
        let _ = self.asked.autoscalers.set(Box::new(autoscalers));
    }
}

impl Asked {
    /// As Kubernetes' own components say it of theirs.
    fn encode_checks(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(checks) = self.checks.get() else {
            return Ok(());
        };
        let mut family = encoder.encode_descriptor(
            "kubernetes_healthcheck",
            "1 while the check passes",
            None,
            MetricType::Gauge,
        )?;
        for (name, passes) in checks() {
            let labels = [("name", name), ("type", "readyz")];
            flag(passes).encode(family.encode_family(&labels)?)?;
        }
        Ok(())
    }

    /// As client-go says it of the Leases it takes part in.
    fn encode_leadership(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some((name, leads)) = self.leads.get() else {
            return Ok(());
        };
        let mut family = encoder.encode_descriptor(
            "leader_election_master_status",
            "1 on the replica that holds the Lease, which writes status and events",
            None,
            MetricType::Gauge,
        )?;
        flag(leads()).encode(family.encode_family(&[("name", name.as_str())])?)
    }

    fn encode_autoscalers(&self, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Some(autoscalers) = self.autoscalers.get() else {
            return Ok(());
        };
        let autoscalers = autoscalers();
        let mut read = encoder.encode_descriptor(
            "taffrail_autoscaler_metric",
            "Which HPA reads which metric of which service; no service where its selector does not name a single one",
            None,
            MetricType::Info,
        )?;
        for autoscaler in &autoscalers {
            for (metric, service) in &autoscaler.metrics {
                let labels = [
                    ("namespace", autoscaler.namespace.as_ref()),
                    ("horizontalpodautoscaler", autoscaler.name.as_ref()),
                    ("metric", metric),
                    ("service", service.as_str()),
                ];
                read.encode_info(&labels)?;
            }
        }
        let mut synced = encoder.encode_descriptor(
            "taffrail_autoscaler_last_sync_timestamp_seconds",
            "When this replica last saw the HPA sync, in seconds since the epoch",
            None,
            MetricType::Gauge,
        )?;
        for autoscaler in &autoscalers {
            let Some(at) = autoscaler.last_sync else {
                continue;
            };
            let labels = [
                ("namespace", autoscaler.namespace.as_ref()),
                ("horizontalpodautoscaler", autoscaler.name.as_ref()),
            ];
            ConstGauge::new(at.seconds()).encode(synced.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

impl fmt::Debug for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asked").finish_non_exhaustive()
    }
}

/// The same, as the registry keeps it.
#[derive(Debug)]
pub(super) struct Collected(pub(super) Arc<Asked>);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.0.encode_checks(&mut encoder)?;
        self.0.encode_leadership(&mut encoder)?;
        self.0.encode_autoscalers(&mut encoder)
    }
}

fn flag(holds: bool) -> ConstGauge<i64> {
    ConstGauge::new(i64::from(holds))
}
