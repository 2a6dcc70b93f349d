//! A stand-in for an external metrics adapter that takes its time: what ours must never be. It stands behind the real
//! aggregation layer and answers the real HPA controller.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use http::{StatusCode, Uri};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::harness::{Cluster, https};

/// Where it listens.
const ADDRESS: &str = "10.200.0.4";

const API: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// The stand-in; dropping it ends it, and leaves an APIService that leads nowhere.
pub(super) struct SlowAdapter {
    reads: Arc<AtomicUsize>,
    _tasks: JoinSet<()>,
}

impl SlowAdapter {
    /// Takes the place of the adapter in the cluster, and answers every read of a metric with 1 after `answer_time`.
    pub(super) async fn start(
        cluster: &Cluster,
        namespace: &str,
        answer_time: Duration,
    ) -> anyhow::Result<Self> {
        let name = format!("slow.{namespace}.svc");
        let reads = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&reads);
        let tasks = https::serve(cluster.pki(), ADDRESS, &[&name], move |request| {
            answer(request.uri().clone(), answer_time, Arc::clone(&counted))
        })
        .await?;
        let kubectl = cluster.kubectl();
        kubectl.apply(namespace, &objects().to_string()).await?;
        let patch = json!({"spec": {
            "service": {"namespace": namespace, "name": "slow"},
            "caBundle": BASE64.encode(cluster.pki().cluster.pem()),
        }})
        .to_string();
        let service = "apiservice/v1beta1.external.metrics.k8s.io";
        kubectl
            .run(["patch", service, "--type=merge", "--patch", &patch])
            .await?;
        Ok(Self {
            reads,
            _tasks: tasks,
        })
    }

    /// Reads of a metric so far.
    pub(super) fn reads(&self) -> usize {
        self.reads.load(Ordering::Relaxed)
    }
}

async fn answer(uri: Uri, answer_time: Duration, reads: Arc<AtomicUsize>) -> (StatusCode, Value) {
    let Some(metric) = uri.path().strip_prefix(API) else {
        return (StatusCode::NOT_FOUND, json!({}));
    };
    if metric.is_empty() {
        let list = json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "external.metrics.k8s.io/v1beta1", "resources": []});
        return (StatusCode::OK, list);
    }
    reads.fetch_add(1, Ordering::Relaxed);
    tokio::time::sleep(answer_time).await;
    let item = json!({
        "metricName": "redis_backlog",
        "metricLabels": {},
        "timestamp": "2026-01-01T00:00:00Z",
        "value": "1",
    });
    let list = json!({
        "kind": "ExternalMetricValueList",
        "apiVersion": "external.metrics.k8s.io/v1beta1",
        "metadata": {},
        "items": [item],
    });
    (StatusCode::OK, list)
}

/// A Service whose address is given by hand.
fn objects() -> Value {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "slow"},
        "spec": {"ports": [{"name": "https", "port": 443}]},
    });
    let endpoints = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "slow", "labels": {"kubernetes.io/service-name": "slow"}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": 443}],
        "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": true}}],
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [service, endpoints]})
}
