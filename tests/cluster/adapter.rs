//! The adapter as a user installs it: from the manifests in `deploy/`, with exactly their rights, behind the real
//! aggregation layer.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::Client;
use kube::api::{Api, ListParams};
use kube::core::Status;
use serde_json::Value;
use tokio::sync::Mutex;

use crate::harness::{Cluster, REDIS_NETWORK, Table, is_ready, table, until};

/// Where the adapter is installed.
pub(crate) const NAMESPACE: &str = "taffrail";

/// What is installed.
const MANIFESTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/manifests");

/// The path of every metric.
const METRICS: &str = "/apis/external.metrics.k8s.io/v1beta1";

/// The APIServices of the manifests.
const API_SERVICES: [&str; 2] = [
    "v1beta1.external.metrics.k8s.io",
    "v1alpha1.explain.taffrail.dev",
];

/// Enough for two replicas to start, share a certificate, and be believed by the aggregation layer, which looks again
/// every 30 s at the latest.
const INSTALLED: Duration = Duration::from_secs(90);

/// Held by the test that installs.
static INSTALLING: Mutex<()> = Mutex::const_new(());

pub(crate) fn tests() -> Table {
    table!("adapter";
        the_manifests_install_an_adapter_that_the_api_server_believes,
        a_read_of_a_namespace_without_objects_says_so,
    )
}

/// Installs the adapter, or finds it installed, and waits until the API server believes it.
pub(crate) async fn installed(cluster: &Cluster) -> anyhow::Result<()> {
    // Two that create one object at a time are one too many for kubectl, also where the other is another test's.
    let _turn = INSTALLING.lock().await;
    until("the manifests to be taken", INSTALLED, async || {
        cluster.kubectl().run(["apply", "-k", MANIFESTS]).await
    })
    .await?;
    allow_redis(cluster).await?;
    for apiservice in API_SERVICES {
        available(cluster, apiservice).await?;
    }
    until("two replicas", INSTALLED, async || {
        let pods = replicas(cluster).await?;
        let ready = pods.iter().filter(|pod| is_ready(pod)).count();
        ensure!(ready == 2, "{ready} replicas are ready");
        Ok(())
    })
    .await
}

/// Lets objects read the tests' own Redis servers, from the beginning, so that no test has to change the adapter for
/// it. Applying the manifests again keeps a variable that they do not name.
async fn allow_redis(cluster: &Cluster) -> anyhow::Result<()> {
    let allowed = format!("TAFFRAIL_ALLOW_REDIS={REDIS_NETWORK}");
    let set = [
        "set",
        "env",
        "deployment/taffrail",
        "--namespace=taffrail",
        &allowed,
    ];
    cluster.kubectl().run(set).await?;
    rolled_out(cluster).await
}

/// Waits until the API server believes what is behind an APIService.
pub(crate) async fn available(cluster: &Cluster, apiservice: &str) -> anyhow::Result<()> {
    let services = Api::<APIService>::all(cluster.admin());
    let what = format!("{apiservice} to be available");
    until(&what, INSTALLED, async || {
        let service = services.get(apiservice).await?;
        let conditions = service.status.and_then(|status| status.conditions);
        let available = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition.type_ == "Available")
            .context("no condition yet")?;
        ensure!(available.status == "True", "{:?}", available.message);
        Ok(())
    })
    .await
}

/// The adapter's pods.
pub(crate) async fn replicas(cluster: &Cluster) -> anyhow::Result<Vec<Pod>> {
    let pods = Api::<Pod>::namespaced(cluster.admin(), NAMESPACE);
    Ok(pods.list(&ListParams::default()).await?.items)
}

/// What the API server answers to a read of a metric, as an HPA reads it: the sum of its items, or the message. It is
/// kubectl that asks: the client tries a 503 again for minutes, and an HPA does not.
pub(crate) async fn read(
    cluster: &Cluster,
    namespace: &str,
    metric: &str,
    selector: &str,
) -> anyhow::Result<Result<f64, String>> {
    let path = path(namespace, metric, selector);
    let answer = cluster.kubectl().try_run(["get", "--raw", &path]).await?;
    if !answer.success {
        return Ok(Err(answer.stderr));
    }
    sum(&serde_json::from_str(&answer.stdout)?).map(Ok)
}

/// As [`read`], as somebody else, with all that is said of a refusal.
pub(crate) async fn read_as(
    client: &Client,
    namespace: &str,
    metric: &str,
    selector: &str,
) -> anyhow::Result<Result<f64, Box<Status>>> {
    let request = Request::get(path(namespace, metric, selector)).body(Vec::new())?;
    match client.request(request).await {
        Err(kube::Error::Api(refused)) => Ok(Err(refused)),
        answer => sum(&answer?).map(Ok),
    }
}

/// The path of a metric of a namespace.
fn path(namespace: &str, metric: &str, selector: &str) -> String {
    let encoded = form(selector);
    format!("{METRICS}/namespaces/{namespace}/{metric}?labelSelector={encoded}")
}

/// The sum of a list's values.
fn sum(list: &Value) -> anyhow::Result<f64> {
    let items = list["items"].as_array().context("no items")?;
    let values = items.iter().map(|item| {
        let text = item["value"].as_str().context("a value is no text")?;
        text.parse::<f64>().or_else(|_| {
            let milli = text.strip_suffix('m').context("another suffix")?;
            anyhow::Ok(milli.parse::<f64>()? / 1000.0)
        })
    });
    values.sum()
}

/// Runs `test` with an adapter whose Deployment is changed by `patch`, as an operator would change it, and changes it
/// back, whatever comes of the test.
pub(crate) async fn changed(
    cluster: &Cluster,
    patch: &Value,
    test: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    installed(cluster).await?;
    let patch = patch.to_string();
    let kubectl = cluster.kubectl();
    let change = [
        "patch",
        "deployment/taffrail",
        "--namespace=taffrail",
        "--patch",
        &patch,
    ];
    kubectl.run(change).await?;
    let result = match rolled_out(cluster).await {
        Ok(()) => test().await,
        Err(error) => Err(error),
    };
    let undo = [
        "rollout",
        "undo",
        "deployment/taffrail",
        "--namespace=taffrail",
    ];
    kubectl.run(undo).await?;
    // The test's own failure is the better story.
    result.and(rolled_out(cluster).await)
}

/// Waits until only replicas of the Deployment's newest version run.
pub(crate) async fn rolled_out(cluster: &Cluster) -> anyhow::Result<()> {
    let status = [
        "rollout",
        "status",
        "deployment/taffrail",
        "--namespace=taffrail",
        "--timeout=90s",
    ];
    cluster.kubectl().run(status).await?;
    Ok(())
}

/// The text as a value in a query.
fn form(text: &str) -> String {
    text.replace('=', "%3D")
        .replace(',', "%2C")
        .replace(' ', "+")
}

async fn the_manifests_install_an_adapter_that_the_api_server_believes(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    installed(cluster).await?;
    let list = cluster.kubectl().run(["get", "--raw", METRICS]).await?;
    let list: Value = serde_json::from_str(&list)?;
    let names = list["resources"].as_array().context("no resources")?;
    assert!(
        names
            .iter()
            .any(|resource| resource["name"] == "request_latency_ms"),
        "{list}"
    );
    Ok(())
}

async fn a_read_of_a_namespace_without_objects_says_so(cluster: &Cluster) -> anyhow::Result<()> {
    installed(cluster).await?;
    let namespace = cluster.namespace("empty").await?;
    let refused = read(cluster, &namespace, "request_rate", "service=users").await?;
    let message = refused.expect_err("nothing to read");
    assert!(message.contains("no RequestMetrics"), "{message}");
    Ok(())
}
