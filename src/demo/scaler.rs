//! The HPA controller's part: reads the metrics as it does, and decides as it does.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::clock;
use crate::config::autoscaler;
use crate::hpa::{
    Answer, Autoscaler, Decision, MetricSpec, Observation, Path, ResourceTarget, Spec, Usage,
};
use crate::model::time::Timestamp;

use super::fleet::Fleet;
use super::reader::Reader;
use super::timeline::Proposal;

pub(super) use crate::hpa::SYNC_PERIOD;

/// Over how long CPU is averaged, as metrics-server does at most.
const CPU_WINDOW: Duration = Duration::from_secs(15);

/// An HPA as it would be applied to a cluster.
#[derive(Clone, Debug)]
pub(super) struct Hpa {
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) spec: Spec,
    /// The label selector of each metric of the spec, as it is sent; empty where it has none.
    pub(super) selectors: Vec<String>,
}

/// One HPA at work.
pub(super) struct Scaler {
    reader: Reader,
    namespace: String,
    selectors: Vec<String>,
    hpa: Autoscaler,
    cpu: CpuMeter,
}

/// One metric at one look.
#[derive(Clone, Debug, Default)]
pub(super) struct Look {
    /// The value in the target's unit: that of the metric, or per cent of the CPU requested.
    pub(super) value: Option<f64>,
    /// How old it was by its own timestamp.
    pub(super) age: Option<Duration>,
    /// What was said in its stead.
    pub(super) error: Option<String>,
}

/// What one sync came to.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub(super) observed: Observation,
    pub(super) decision: Decision,
    pub(super) replicas: u32,
    pub(super) metric: Option<String>,
    pub(super) proposals: Vec<Proposal>,
}

impl Hpa {
    /// Reads the object, whose name and namespace are `name` and `default` where it has none.
    pub(super) fn read(object: &Value, name: &str) -> anyhow::Result<Self> {
        let spec = autoscaler::from_value(object)?;
        let text = |pointer: &str, or: &str| {
            let text = object.pointer(pointer).and_then(Value::as_str);
            text.unwrap_or(or).to_owned()
        };
        let metrics = object.pointer("/spec/metrics").and_then(Value::as_array);
        let metrics = metrics.map(Vec::as_slice).unwrap_or_default();
        let mut selectors: Vec<String> = metrics
            .iter()
            .map(selector)
            .collect::<anyhow::Result<_>>()?;
        selectors.resize(spec.metrics.len(), String::new());
        for metric in &spec.metrics {
            let is_cpu = matches!(
                metric,
                MetricSpec::Resource { resource, container: None, target: ResourceTarget::Utilization(_) }
                    if resource == "cpu"
            );
            if !is_cpu && !matches!(metric, MetricSpec::External { .. }) {
                bail!(
                    "{} is not played here; external metrics and CPU utilization are",
                    metric.name()
                );
            }
        }
        Ok(Self {
            namespace: text("/metadata/namespace", "default"),
            name: text("/metadata/name", name),
            spec,
            selectors,
        })
    }

    pub(super) fn replicas_min(&self) -> u32 {
        u32::try_from(self.spec.min_replicas).unwrap_or(1)
    }
}

/// The label selector of a metric, as the controller writes it into its request.
fn selector(metric: &Value) -> anyhow::Result<String> {
    let Some(selector) = metric.pointer("/external/metric/selector") else {
        return Ok(String::new());
    };
    if selector.get("matchExpressions").is_some() {
        bail!("a metric's matchExpressions are not played here; write matchLabels");
    }
    let labels = selector.get("matchLabels").and_then(Value::as_object);
    let label = |(name, value): (&String, &Value)| {
        let value = value
            .as_str()
            .context("a label's value is a text in quotes")?;
        Ok(format!("{name}={value}"))
    };
    let labels: anyhow::Result<Vec<String>> = labels.into_iter().flatten().map(label).collect();
    Ok(labels?.join(","))
}

impl Scaler {
    pub(super) fn new(hpa: Hpa, reader: Reader) -> Self {
        Self {
            reader,
            namespace: hpa.namespace,
            selectors: hpa.selectors,
            hpa: Autoscaler::new(hpa.spec),
            cpu: CpuMeter::default(),
        }
    }

    pub(super) fn spec(&self) -> &Spec {
        self.hpa.spec()
    }

    /// What the HPA could read now, for each metric of its spec.
    pub(super) async fn look(&mut self, fleet: &Fleet) -> Vec<Look> {
        self.cpu.read(fleet);
        let mut looks = Vec::new();
        for (metric, selector) in self.hpa.spec().metrics.iter().zip(&self.selectors) {
            looks.push(match metric {
                MetricSpec::External { metric, .. } => self.read(metric, selector).await,
                _ => Look {
                    value: self.cpu.percent(fleet),
                    ..Look::default()
                },
            });
        }
        looks
    }

    /// One external metric as it is now.
    pub(super) async fn read(&self, metric: &str, selector: &str) -> Look {
        match self.reader.read(&self.namespace, metric, selector).await {
            Ok(items) => {
                let milli: i64 = items.iter().map(|item| item.milli).sum();
                let oldest = items.iter().filter_map(|item| item.at).min();
                Look {
                    value: Some(milli as f64 / 1000.0),
                    age: oldest.map(|at| clock::now().since(at)),
                    error: None,
                }
            }
            Err(error) => Look {
                error: Some(error),
                ..Look::default()
            },
        }
    }

    /// Thousandths of a core that all ready pods use.
    pub(super) fn cpu_milli(&self, fleet: &Fleet) -> f64 {
        self.cpu.used(fleet).values().sum()
    }

    /// One sync of the HPA.
    pub(super) async fn sync(&mut self, now: Timestamp, fleet: &Fleet) -> Decided {
        let used = self.cpu.used(fleet);
        let mut answers = Vec::new();
        for (metric, selector) in self.hpa.spec().metrics.iter().zip(&self.selectors) {
            answers.push(match metric {
                MetricSpec::External { metric, .. } => {
                    let items = self.reader.read(&self.namespace, metric, selector).await;
                    items.map(|items| Answer::Values(items.iter().map(|item| item.milli).collect()))
                }
                _ => Ok(per_pod(&used, now)),
            });
        }
        let observed = Observation {
            spec_replicas: fleet.spec() as i32,
            status_replicas: fleet.replicas() as i32,
            pods: fleet
                .pods()
                .iter()
                .map(super::fleet::Pod::observed)
                .collect(),
            answers,
        };
        let decision = self.hpa.reconcile(now, &observed);
        let replicas = u32::try_from(decision.desired).unwrap_or(0);
        let names: Vec<String> = self
            .spec()
            .metrics
            .iter()
            .map(|metric| metric.name().to_owned())
            .collect();
        let (proposals, winner) = match &decision.path {
            Path::Metrics {
                proposals, winner, ..
            } => (proposals.as_slice(), names.get(*winner).cloned()),
            Path::Failed { proposals } => (proposals.as_slice(), None),
            _ => (&[][..], None),
        };
        let proposals = names
            .iter()
            .zip(proposals)
            .map(|(name, proposal)| Proposal {
                metric: name.clone(),
                replicas: proposal
                    .as_ref()
                    .ok()
                    .and_then(|proposal| u32::try_from(proposal.replicas).ok()),
            });
        Decided {
            replicas,
            metric: winner,
            proposals: proposals.collect(),
            observed,
            decision,
        }
    }
}

/// What pods use, as `metrics.k8s.io` tells it.
pub(super) fn per_pod(used_milli: &BTreeMap<String, f64>, now: Timestamp) -> Answer {
    let usage = |milli: &f64| Usage {
        milli: milli.round() as i64,
        at: now,
        window: CPU_WINDOW,
    };
    Answer::PerPod(
        used_milli
            .iter()
            .map(|(name, milli)| (name.clone(), usage(milli)))
            .collect(),
    )
}

/// Measures what pods use, once a second, as a kubelet and metrics-server would.
#[derive(Default)]
struct CpuMeter {
    /// For each pod the readings of the last window: when, and CPU seconds so far.
    readings: HashMap<String, Vec<(Instant, f64)>>,
}

impl CpuMeter {
    fn read(&mut self, fleet: &Fleet) {
        let now = clock::instant();
        self.readings
            .retain(|name, _| fleet.pods().iter().any(|pod| pod.name() == name));
        for pod in fleet.pods() {
            let Some(cpu_s) = pod.cpu_s() else { continue };
            let readings = self.readings.entry(pod.name().to_owned()).or_default();
            readings.push((now, cpu_s));
            readings.retain(|(at, _)| now.duration_since(*at) <= CPU_WINDOW / 3);
        }
    }

    /// Per cent of what they request that ready pods use on average; `None` when nothing is known of any.
    fn percent(&self, fleet: &Fleet) -> Option<f64> {
        let used = self.used(fleet);
        let requested = |name: &String| {
            let pod = fleet.pods().iter().find(|pod| pod.name() == name)?;
            Some(pod.cpu_request_milli() as f64)
        };
        let requested: f64 = used.keys().filter_map(requested).sum();
        (0.0 < requested).then(|| used.values().sum::<f64>() / requested * 100.0)
    }

    /// Thousandths of a core that each ready pod uses.
    fn used(&self, fleet: &Fleet) -> BTreeMap<String, f64> {
        let is_ready = |name: &str| {
            fleet
                .pods()
                .iter()
                .any(|pod| pod.name() == name && pod.observed().is_ready())
        };
        let used = self
            .readings
            .iter()
            .filter(|(name, _)| is_ready(name))
            .filter_map(|(name, readings)| {
                let ((from, before), (to, after)) = (readings.first()?, readings.last()?);
                let span_s = to.duration_since(*from).as_secs_f64();
                (0.0 < span_s).then(|| (name.clone(), (after - before) / span_s * 1000.0))
            });
        used.collect()
    }
}
