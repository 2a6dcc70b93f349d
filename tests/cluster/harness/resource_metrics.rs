//! `metrics.k8s.io/v1beta1`, pods only: what the containers' processes really burn and hold, read from /proc, served over
//! HTTPS behind the API server's aggregation layer. Which pods are meant, and what a selector says, is asked of the API
//! server itself, so nothing is parsed here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, StatusCode, Uri};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use taffrail::clock;
use taffrail::model::time::Timestamp;
use tokio::task::JoinSet;

use super::https;
use super::kubectl::Kubectl;
use super::kubelet::{ContainerName, Node};
use super::pki::Pki;

/// Where it listens: an address of its own, as a pod's would be.
const ADDRESS: &str = "10.200.0.2";

/// Between two samples.
const SAMPLE_EVERY: Duration = Duration::from_secs(1);

/// Samples kept; CPU is counted over the time from the first to the last. Ticks of 10 ms make that exact to 5 millicores.
const SAMPLES: usize = 3;

/// The kernel counts CPU time in ticks of this many milliseconds, on every architecture (`USER_HZ` is 100).
const TICK_MS: u64 = 10;

/// Pages of memory, in kilobytes.
const PAGE_KB: u64 = 4;

/// What makes the API server ask us: the registration, and a Service whose address is given by hand.
const OBJECTS: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: resource-metrics}
spec:
  ports: [{name: https, port: 443}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: resource-metrics
  labels: {kubernetes.io/service-name: resource-metrics}
addressType: IPv4
ports: [{name: https, port: 443}]
endpoints:
- addresses: [10.200.0.2]
  conditions: {ready: true}
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {namespace: kube-system, name: resource-metrics}
"#;

/// What a process had used by a moment.
#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Timestamp,
    id: u32,
    cpu_ms: u64,
    memory_kb: u64,
}

type Samples = BTreeMap<ContainerName, VecDeque<Sample>>;

struct Server {
    node: Arc<Node>,
    samples: Mutex<Samples>,
}

/// Registers the API, then samples and serves for as long as the tasks live.
pub(crate) async fn start(
    node: &Arc<Node>,
    pki: &Pki,
    kubectl: &Kubectl,
) -> anyhow::Result<JoinSet<()>> {
    let server = Arc::new(Server {
        node: Arc::clone(node),
        samples: Mutex::default(),
    });
    let asked = Arc::clone(&server);
    let mut tasks = https::serve(pki, ADDRESS, &[ADDRESS], move |request| {
        answer(Arc::clone(&asked), request)
    })
    .await?;
    kubectl.apply("kube-system", OBJECTS).await?;
    tasks.spawn(sample(server));
    Ok(tasks)
}

async fn sample(server: Arc<Server>) {
    let mut due = tokio::time::interval(SAMPLE_EVERY);
    loop {
        due.tick().await;
        let processes = server.node.processes().clone();
        let mut samples = server.samples();
        samples.retain(|name, _| processes.contains_key(name));
        for (name, id) in processes {
            let of = samples.entry(name).or_default();
            // A restarted container starts from nothing.
            of.retain(|sample| sample.id == id);
            of.extend(read(id));
            while SAMPLES < of.len() {
                of.pop_front();
            }
        }
    }
}

/// `None` when the process has just ended.
fn read(id: u32) -> Option<Sample> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    // The program's name, in parentheses, may have blanks in it; state is the third field, and the next here the first.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    let (user, system, pages) = (number(14)?, number(15)?, number(24)?);
    Some(Sample {
        at: clock::now(),
        id,
        cpu_ms: (user + system) * TICK_MS,
        memory_kb: pages * PAGE_KB,
    })
}

async fn answer(server: Arc<Server>, request: Request<Incoming>) -> (StatusCode, Value) {
    match server.answer(request.uri()).await {
        Ok(Some(body)) => (StatusCode::OK, body),
        Ok(None) => (StatusCode::NOT_FOUND, failure(404, "not found")),
        Err(error) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            failure(500, &format!("{error:#}")),
        ),
    }
}

impl Server {
    fn samples(&self) -> MutexGuard<'_, Samples> {
        self.samples.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, uri: &Uri) -> anyhow::Result<Option<Value>> {
        let Some(path) = uri.path().strip_prefix("/apis/metrics.k8s.io/v1beta1") else {
            return Ok(None);
        };
        let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
        let client = self.node.client.clone();
        let (pods, name) = match parts[..] {
            [] => return Ok(Some(resources())),
            ["pods"] => (Api::<Pod>::all(client), None),
            ["namespaces", namespace, "pods"] => (Api::namespaced(client, namespace), None),
            ["namespaces", namespace, "pods", name] => {
                (Api::namespaced(client, namespace), Some(name))
            }
            _ => return Ok(None),
        };
        if let Some(name) = name {
            let pod = pods.get_opt(name).await?;
            return Ok(pod.and_then(|pod| self.metrics(&pod)));
        }
        let query = uri.query().unwrap_or_default();
        let selector = form_value(query, "labelSelector");
        let wanted = ListParams::default().labels(&selector);
        let items: Vec<Value> = pods
            .list(&wanted)
            .await?
            .iter()
            .filter_map(|pod| self.metrics(pod))
            .collect();
        Ok(Some(json!({
            "kind": "PodMetricsList",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {},
            "items": items,
        })))
    }

    /// `None` before every container has two samples.
    fn metrics(&self, pod: &Pod) -> Option<Value> {
        let samples = self.samples();
        let mut containers = Vec::new();
        let mut window = (Timestamp::from_ms(i64::MAX), Timestamp::from_ms(0));
        for container in &pod.spec.as_ref()?.containers {
            let of = samples.get(&ContainerName {
                namespace: pod.namespace()?,
                pod: pod.name_any(),
                container: container.name.clone(),
            })?;
            let (first, last) = (of.front()?, of.back()?);
            let span_ms = u64::try_from(last.at.ms() - first.at.ms()).ok()?;
            let millicores = (1000 * (last.cpu_ms - first.cpu_ms)).checked_div(span_ms)?;
            containers.push(json!({"name": container.name, "usage": {
                "cpu": format!("{millicores}m"),
                "memory": format!("{}Ki", last.memory_kb),
            }}));
            window = (window.0.min(first.at), window.1.max(last.at));
        }
        let timestamp = jiff::Timestamp::from_millisecond(window.1.ms()).ok()?;
        Some(json!({
            "kind": "PodMetrics",
            "apiVersion": "metrics.k8s.io/v1beta1",
            "metadata": {
                "name": pod.name_any(),
                "namespace": pod.namespace()?,
                "labels": pod.labels(),
            },
            "timestamp": Time(timestamp),
            "window": format!("{}ms", window.1.ms() - window.0.ms()),
            "containers": containers,
        }))
    }
}

fn resources() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": "metrics.k8s.io/v1beta1",
        "resources": [{
            "name": "pods",
            "singularName": "",
            "namespaced": true,
            "kind": "PodMetrics",
            "verbs": ["get", "list"],
        }],
    })
}

fn failure(code: u16, message: &str) -> Value {
    json!({
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "message": message,
    })
}

/// A value of a query, percent-decoded; empty when it is not there.
fn form_value(query: &str, name: &str) -> String {
    let url = reqwest::Url::parse(&format!("http://query/?{query}"));
    let value = url.ok().and_then(|url| {
        let mut pairs = url.query_pairs();
        pairs
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.into_owned())
    });
    value.unwrap_or_default()
}
