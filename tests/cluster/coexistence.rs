//! Beside another adapter: metrics that are not ours are read from it, and its absence costs only them. No other adapter
//! can run here, so a small server of this test plays one. What it asks of whoever calls is real: the API server reviews
//! the token and the right, as it does for any adapter that stands behind the aggregation layer.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::header::AUTHORIZATION;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::authentication::v1::TokenReview;
use k8s_openapi::api::authorization::v1::SubjectAccessReview;
use kube::Client;
use kube::api::{Api, PostParams};
use serde_json::{Value, json};
use taffrail::clock;
use tokio::task::JoinSet;

use crate::adapter;
use crate::harness::{Cluster, Table, https, table, until};
use crate::service::{self, SOON};

/// Where the other adapter is: an address of its own, as a pod's would be.
const ADDRESS: &str = "10.200.0.8";

/// The one metric that it has, and its value: enough for five replicas at ten each.
const METRIC: &str = "queue_length";
const VALUE: u32 = 42;

/// How long the replicas are watched once it is gone: some syncs of the HPA controller.
const HELD: Duration = Duration::from_secs(10);

pub(crate) fn tests() -> Table {
    table!("coexistence";; alone:
        an_hpa_reads_another_adapters_metric_through_ours,
    )
}

/// The other adapter, until it is dropped.
async fn other(cluster: &Cluster) -> anyhow::Result<JoinSet<()>> {
    let api_server = cluster.admin();
    let answer = move |request: Request<Incoming>| {
        let api_server = api_server.clone();
        async move { answer(&api_server, &request).await }
    };
    https::serve(cluster.pki(), ADDRESS, &[ADDRESS], answer).await
}

/// Its one value, to whom the cluster's rules allow it.
async fn answer(api_server: &Client, request: &Request<Incoming>) -> (StatusCode, Value) {
    let path = request.uri().path();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    let [
        "apis",
        "external.metrics.k8s.io",
        "v1beta1",
        "namespaces",
        namespace,
        METRIC,
    ] = parts[..]
    else {
        return (StatusCode::NOT_FOUND, status(404, "no such metric"));
    };
    match allowed(api_server, request.headers(), namespace).await {
        Ok(()) => (StatusCode::OK, value()),
        Err(error) => (StatusCode::FORBIDDEN, status(403, &format!("{error:#}"))),
    }
}

fn value() -> Value {
    json!({"kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {},
        "items": [{"metricName": METRIC, "metricLabels": {}, "timestamp": "2024-01-01T00:00:00Z",
                   "value": VALUE.to_string()}]})
}

fn status(code: u16, message: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code, "message": message})
}

/// Asks the API server who has this token, and whether that one may read the metric.
async fn allowed(api_server: &Client, headers: &HeaderMap, namespace: &str) -> anyhow::Result<()> {
    let forwarded = headers
        .keys()
        .find(|name| name.as_str().starts_with("x-remote-"));
    ensure!(
        forwarded.is_none(),
        "{forwarded:?}: only the front proxy speaks for others"
    );
    let bearer = headers.get(AUTHORIZATION).context("no token")?.to_str()?;
    let token = bearer.strip_prefix("Bearer ").context("no bearer token")?;
    let review: TokenReview =
        serde_json::from_value(json!({"metadata": {}, "spec": {"token": token}}))?;
    let reviews = Api::<TokenReview>::all(api_server.clone());
    let status = reviews
        .create(&PostParams::default(), &review)
        .await?
        .status
        .context("no status")?;
    ensure!(status.authenticated == Some(true), "{:?}", status.error);
    let user = status.user.context("no user")?;
    let review: SubjectAccessReview = serde_json::from_value(json!({"metadata": {}, "spec": {
        "user": user.username, "groups": user.groups,
        "resourceAttributes": {"group": "external.metrics.k8s.io", "version": "v1beta1", "resource": METRIC,
                               "verb": "list", "namespace": namespace},
    }}))?;
    let reviews = Api::<SubjectAccessReview>::all(api_server.clone());
    let status = reviews
        .create(&PostParams::default(), &review)
        .await?
        .status
        .context("no status")?;
    ensure!(status.allowed, "{:?} may not", user.username);
    Ok(())
}

/// The adapter's Deployment as an operator changes it to have a delegate, whose authority is in a ConfigMap.
fn delegating() -> Value {
    json!({"spec": {"template": {"spec": {
        "volumes": [{"name": "delegate", "configMap": {"name": "delegate-ca"}}],
        "containers": [{
            "name": "taffrail",
            "env": [
                {"name": "TAFFRAIL_DELEGATE", "value": format!("https://{ADDRESS}")},
                {"name": "TAFFRAIL_DELEGATE_CA_FILE", "value": "/run/delegate/ca.crt"},
            ],
            "volumeMounts": [{"name": "delegate", "mountPath": "/run/delegate", "readOnly": true}],
        }],
    }}}})
}

/// What the other adapter wants of ours: the right to read its metrics.
fn reader() -> Value {
    json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": "taffrail-delegate"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "taffrail-metrics-reader"},
        "subjects": [{"kind": "ServiceAccount", "name": "taffrail", "namespace": adapter::NAMESPACE}],
    })
}

fn hpa() -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "workers"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "workers"},
            "minReplicas": 1,
            "maxReplicas": 8,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": METRIC},
                "target": {"type": "AverageValue", "averageValue": "10"},
            }}],
        },
    })
}

async fn an_hpa_reads_another_adapters_metric_through_ours(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let other = other(cluster).await?;
    let map = json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "delegate-ca"},
        "data": {"ca.crt": cluster.pki().cluster.pem()},
    });
    let kubectl = cluster.kubectl();
    adapter::installed(cluster).await?;
    kubectl.apply(adapter::NAMESPACE, &map.to_string()).await?;
    let namespace = cluster.namespace("delegated").await?;
    let result = adapter::changed(cluster, &delegating(), async || {
        // Not before it is allowed, as the other adapter sees to.
        let refused = adapter::read(cluster, &namespace, METRIC, "").await?;
        ensure!(refused.is_err(), "{refused:?}");
        kubectl.apply("default", &reader().to_string()).await?;
        passed_through(cluster, &namespace, other).await
    })
    .await;
    for left in [
        ["clusterrolebinding/taffrail-delegate", "--ignore-not-found"],
        ["configmap/delegate-ca", "--namespace=taffrail"],
    ] {
        kubectl.run(["delete"].iter().chain(&left)).await?;
    }
    result
}

async fn passed_through(
    cluster: &Cluster,
    namespace: &str,
    other: JoinSet<()>,
) -> anyhow::Result<()> {
    until("the other adapter's value", SOON, async || {
        let read = adapter::read(cluster, namespace, METRIC, "").await?;
        ensure!(read == Ok(f64::from(VALUE)), "{read:?}");
        Ok(())
    })
    .await?;
    service::run(cluster, namespace, "workers", 1).await?;
    cluster
        .kubectl()
        .apply(namespace, &hpa().to_string())
        .await?;
    service::ready(cluster, namespace, "workers", 5).await?;

    drop(other);
    let refused = until("the loss to be said", SOON, async || {
        let read = adapter::read(cluster, namespace, METRIC, "").await?;
        read.err().context("it is still read")
    })
    .await?;
    ensure!(
        refused.contains("not a metric of Taffrail's own"),
        "{refused}"
    );
    let mut waits = Vec::new();
    let began = clock::instant();
    while began.elapsed() < HELD {
        // Our own are served as ever, and nobody waits.
        let asked = clock::instant();
        let own = adapter::read(cluster, namespace, "request_rate", "service=workers").await?;
        ensure!(own == Ok(0.0), "{own:?}");
        waits.push(asked.elapsed());
        let spec = service::deployment(cluster, namespace, "workers")
            .await?
            .spec;
        let replicas = spec.replicas;
        ensure!(replicas == Some(5), "{replicas:?}: the HPA must hold");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    // The median: a machine that stands still delays a read or two, a delegate that is waited for would delay them all.
    waits.sort();
    let median = waits[waits.len() / 2];
    ensure!(median < Duration::from_secs(1), "{waits:?}");
    Ok(())
}
