//! The HPA controller's part: reads the metrics as it does, decides as it does, beside a shadow that has CPU alone.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde::Deserialize;

use crate::clock;
use crate::config::autoscaler;
use crate::hpa::{Answer, Autoscaler, Decision, MetricSpec, Observation, Path, Spec, Usage};
use crate::model::quantity;
use crate::model::time::Timestamp;

use super::fleet::{CPU_REQUEST_MILLI, Fleet};
use super::timeline::Proposal;
use super::{NAMESPACE, SERVICE};

/// How often the HPA controller looks: its `--horizontal-pod-autoscaler-sync-period`.
pub(super) const SYNC_PERIOD: Duration = Duration::from_secs(15);

/// How long one read may take: the controller sets no limit, but the API answers from memory.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// Over how long CPU is averaged, as metrics-server does at most.
const CPU_WINDOW: Duration = Duration::from_secs(15);

/// The HPA and its shadow.
pub(super) struct Scaler {
    reader: Reader,
    hpa: Autoscaler,
    cpu_only: Autoscaler,
    cpu_only_replicas: u32,
    cpu: CpuMeter,
}

/// What one look at metrics and pods showed.
#[derive(Clone, Debug, Default)]
pub(super) struct Seen {
    pub(super) latency_ms: Option<f64>,
    pub(super) rate: Option<f64>,
    pub(super) cpu_percent: Option<f64>,
    pub(super) cpu_only_replicas: u32,
}

/// What one sync came to.
#[derive(Clone, Debug)]
pub(super) struct Decided {
    pub(super) decision: Decision,
    pub(super) replicas: u32,
    pub(super) metric: Option<String>,
    pub(super) proposals: Vec<Proposal>,
}

impl Scaler {
    pub(super) fn new(yaml: &str, reader: Reader) -> anyhow::Result<Self> {
        let spec = autoscaler::from_yaml(yaml).context("the demo's HPA")?;
        let is_resource = |metric: &MetricSpec| matches!(metric, MetricSpec::Resource { .. });
        let cpu_metrics: Vec<MetricSpec> = spec
            .metrics
            .iter()
            .filter(|metric| is_resource(metric))
            .cloned()
            .collect();
        let cpu_only = Spec {
            metrics: cpu_metrics,
            ..spec.clone()
        };
        let cpu_only_replicas = u32::try_from(spec.min_replicas).unwrap_or(1);
        Ok(Self {
            reader,
            hpa: Autoscaler::new(spec),
            cpu_only: Autoscaler::new(cpu_only),
            cpu_only_replicas,
            cpu: CpuMeter::default(),
        })
    }

    pub(super) fn spec(&self) -> &Spec {
        self.hpa.spec()
    }

    pub(super) fn replicas_min(&self) -> u32 {
        u32::try_from(self.spec().min_replicas).unwrap_or(1)
    }

    /// What the HPA could read now.
    pub(super) async fn look(&mut self, fleet: &Fleet) -> Seen {
        self.cpu.read(fleet);
        let selector = format!("service={SERVICE},quantile=0.95");
        let latency = self.reader.read("request_latency_ms", &selector).await;
        let rate = self
            .reader
            .read("request_rate", &format!("service={SERVICE}"))
            .await;
        let total = |milli: Result<Vec<i64>, String>| {
            milli
                .ok()
                .map(|values| values.iter().sum::<i64>() as f64 / 1000.0)
        };
        let used: Vec<f64> = self.cpu.used(fleet).into_values().collect();
        let mean = (!used.is_empty()).then(|| used.iter().sum::<f64>() / used.len() as f64);
        Seen {
            latency_ms: total(latency),
            rate: total(rate),
            cpu_percent: mean.map(|milli| milli / CPU_REQUEST_MILLI as f64 * 100.0),
            cpu_only_replicas: self.cpu_only_replicas,
        }
    }

    /// One sync of the HPA, and of its shadow.
    pub(super) async fn sync(&mut self, now: Timestamp, fleet: &Fleet) -> Decided {
        let used = self.cpu.used(fleet);
        let mut answers = Vec::new();
        for metric in self.spec().metrics.clone() {
            answers.push(match &metric {
                MetricSpec::External { metric: name, .. } => {
                    let selector = format!("service={SERVICE},quantile=0.95");
                    self.reader.read(name, &selector).await.map(Answer::Values)
                }
                _ => Ok(per_pod(&used, now)),
            });
        }
        let observed = Observation {
            spec_replicas: fleet.replicas() as i32,
            status_replicas: fleet.replicas() as i32,
            pods: fleet
                .pods()
                .iter()
                .map(super::fleet::Pod::observed)
                .collect(),
            answers,
        };
        let decision = self.hpa.reconcile(now, &observed);
        self.sync_shadow(now, used.values().sum());
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
            decision,
        }
    }

    /// The shadow sees the same CPU demand, spread over the pods it would have. That favours it: with fewer pods less
    /// would be answered, and less CPU be used.
    fn sync_shadow(&mut self, now: Timestamp, demand_milli: f64) {
        let replicas = self.cpu_only_replicas;
        let share = demand_milli / f64::from(replicas.max(1));
        let used: BTreeMap<String, f64> =
            (0..replicas).map(|i| (format!("pod-{i}"), share)).collect();
        let long_ago = Timestamp::from_ms(-3_600_000);
        let pod = |name: &String| crate::hpa::Pod {
            name: name.clone(),
            phase: crate::hpa::Phase::Running,
            deleted: false,
            started: Some(long_ago),
            readiness: Some(crate::hpa::Readiness {
                status: crate::hpa::ReadyStatus::True,
                since: long_ago,
            }),
            requests: [("cpu".to_owned(), CPU_REQUEST_MILLI)].into(),
        };
        let observed = Observation {
            spec_replicas: replicas as i32,
            status_replicas: replicas as i32,
            pods: used.keys().map(pod).collect(),
            answers: vec![Ok(per_pod(&used, now))],
        };
        let desired = self.cpu_only.reconcile(now, &observed).desired;
        self.cpu_only_replicas = u32::try_from(desired).unwrap_or(replicas);
    }
}

fn per_pod(used_milli: &BTreeMap<String, f64>, now: Timestamp) -> Answer {
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

/// A client of the API that asks as the HPA controller does, over TLS.
pub(super) struct Reader {
    client: reqwest::Client,
    base: String,
}

/// The part of an `ExternalMetricValueList` that the HPA looks at.
#[derive(Deserialize)]
struct List {
    items: Vec<ListItem>,
}

#[derive(Deserialize)]
struct ListItem {
    value: String,
}

/// The part of a `Status` that ends up in the HPA's events.
#[derive(Deserialize)]
struct Status {
    message: String,
}

impl Reader {
    pub(super) fn new(address: SocketAddr, ca_pem: &str) -> anyhow::Result<Self> {
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(ca_pem.as_bytes())?])
            .https_only(true)
            .timeout(READ_TIMEOUT)
            .no_proxy()
            .build()?;
        let base = format!(
            "https://{address}/apis/external.metrics.k8s.io/v1beta1/namespaces/{NAMESPACE}"
        );
        Ok(Self { client, base })
    }

    /// The items' values in thousandths, or what the API says in their stead.
    pub(super) async fn read(&self, metric: &str, selector: &str) -> Result<Vec<i64>, String> {
        let url = reqwest::Url::parse_with_params(
            &format!("{}/{metric}", self.base),
            [("labelSelector", selector)],
        )
        .map_err(|error| error.to_string())?;
        let request = self
            .client
            .get(url)
            .header("Accept", "application/vnd.kubernetes.protobuf, */*");
        let answer = request.send().await.map_err(|error| error.to_string())?;
        if !answer.status().is_success() {
            let code = answer.status();
            return Err(answer
                .json::<Status>()
                .await
                .map_or_else(|_| code.to_string(), |status| status.message));
        }
        let list: List = answer.json().await.map_err(|error| error.to_string())?;
        if list.items.is_empty() {
            return Err("no metrics returned from external metrics API".to_owned());
        }
        list.items
            .iter()
            .map(|item| quantity::parse_milli(&item.value).map_err(|error| error.to_string()))
            .collect()
    }
}
