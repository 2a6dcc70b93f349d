//! One service as a team would run it: an app behind a Service, the `RequestMetrics` object that describes it, and what
//! is said of that object. The windows are short, so that a test sees the end of one.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::Api;
use serde_json::{Value, json};
use taffrail::cluster::crd::RequestMetrics;
use taffrail_loadtest::profile::Profile;

use crate::harness::{Cluster, Load, sample, until};

/// The window of [`object`].
pub(crate) const WINDOW: Duration = Duration::from_secs(10);

/// Enough for processes to start, to be read twice and for a window to fill on a slow machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Longer than any test: a test ends its load itself.
const FOR_EVER: Duration = Duration::from_secs(600);

/// An object that selects `app: NAME`.
pub(crate) fn object(name: &str) -> Value {
    json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "RequestMetrics",
        "metadata": {"name": name},
        "spec": {
            "source": {"pods": {
                "selector": {"matchLabels": {"app": name}},
                "port": "http",
                "histogram": "http_request_duration_seconds",
            }},
            "interval": "1s",
            "window": "10s",
            "objective": {"quantile": 0.95, "latency": "250ms"},
        },
    })
}

/// Applies the app, its Service and its object, and waits until all replicas are ready.
pub(crate) async fn run(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    replicas: u32,
) -> anyhow::Result<()> {
    // A worker more than the load needs, and hardly any CPU: a busy machine must not look like a slow service.
    let args = ["--workers=8", "--service-time=20ms", "--cpu-share=0.02"];
    for manifest in [
        sample::deployment(name, replicas, &args),
        sample::service(name),
        object(name),
    ] {
        cluster
            .kubectl()
            .apply(namespace, &manifest.to_string())
            .await?;
    }
    ready(cluster, namespace, name, i32::try_from(replicas)?).await
}

/// Waits until a Deployment has so many replicas, all of them ready.
pub(crate) async fn ready(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    wanted: i32,
) -> anyhow::Result<()> {
    let what = format!("{wanted} ready replicas of {name}");
    until(&what, SOON, async || {
        let status = deployment(cluster, namespace, name)
            .await?
            .status
            .unwrap_or_default();
        let seen = (status.replicas, status.ready_replicas);
        ensure!(seen == (Some(wanted), Some(wanted)), "{seen:?}");
        Ok(())
    })
    .await
}

/// The Deployment as it is.
pub(crate) async fn deployment(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
) -> anyhow::Result<Deployment> {
    let deployments = Api::<Deployment>::namespaced(cluster.admin(), namespace);
    Ok(deployments.get(name).await?)
}

/// So many requests a second, evenly spaced, until it is dropped.
pub(crate) fn steady(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    rate: f64,
) -> anyhow::Result<Load> {
    let profile = Profile::constant(rate, FOR_EVER)?;
    Load::start_even(cluster.admin(), namespace, name, &profile)
}

/// Waits until the object's condition is answered so, and gives its sentence.
pub(crate) async fn condition(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    wanted: [&str; 3],
) -> anyhow::Result<String> {
    let [question, answer, reason] = wanted;
    let objects = Api::<RequestMetrics>::namespaced(cluster.admin(), namespace);
    let what = format!("{question} of {name} to be {answer} because of {reason}");
    until(&what, SOON, async || {
        let status = objects.get(name).await?.status.context("no status")?;
        let is_it = |condition: &&Condition| condition.type_ == question;
        let condition = status.conditions.iter().find(is_it);
        let condition = condition.with_context(|| format!("{status:?}"))?;
        let seen = (&*condition.status, &*condition.reason);
        ensure!(seen == (answer, reason), "{condition:?}");
        Ok(condition.message.clone())
    })
    .await
}
