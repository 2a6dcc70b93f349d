//! A real HPA's life under the adapter, written down and decided again: the model of `taffrail replay`, which is that of
//! the simulator, must come to what the real controller did.

mod recorder;

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use taffrail::model::time::Timestamp;
use taffrail::replay::compare::{RecordedConditions, Verdict, compare};
use taffrail::replay::recording::Recording;
use taffrail::replay::syncs::Decided;
use taffrail_loadtest::profile::Profile;

use self::recorder::Recorder;
use crate::adapter;
use crate::harness::{Cluster, Load, Table, hpa, table, until};
use crate::service;

/// Enough for load to be felt, measured and acted upon on a slow machine.
const SOON: Duration = Duration::from_secs(90);

/// How long the HPA keeps its highest recommendation, and how long it takes for one more pod, in seconds. Odd, where the
/// controller looks every two: what it did so long ago is a second from the edge, unless the machine stands still.
const STABILIZATION_S: u64 = 7;
const PERIOD_S: u64 = 5;

/// How exactly the moment of a sync is known: to the controller it is when it began, here when it read.
const EDGE: Duration = Duration::from_millis(300);

/// Differences at an edge that may be: one turn of the load has so many moments that a window ends.
const EDGES_MAX: usize = 2;

pub(crate) fn tests() -> Table {
    table!("replays"; ; alone:
        what_a_real_hpa_decided_is_what_the_model_decides,
    )
}

async fn what_a_real_hpa_decided_is_what_the_model_decides(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = cluster.namespace("replay").await?;
    service::run(cluster, &namespace, "web", 1).await?;
    let kubectl = cluster.kubectl();
    kubectl.apply(&namespace, &metrics().to_string()).await?;
    until("the rate to be served", SOON, async || {
        let read = adapter::read(cluster, &namespace, "request_rate", "service=web");
        read.await?.map_err(anyhow::Error::msg)
    })
    .await?;
    let recorder = Recorder::start(cluster, &namespace, "web").await?;
    let lived = live(cluster, &namespace, &recorder).await;
    let document = recorder.document(&spec());
    recorder.end(cluster).await?;
    lived?;

    let recording = Recording::parse(&document.to_string())?;
    let verdicts = compare(&recording)?;
    agree(&verdicts).with_context(|| document.to_string())
}

/// Out under load, held while its metrics are gone, and in again.
async fn live(cluster: &Cluster, namespace: &str, recorder: &Recorder) -> anyhow::Result<()> {
    let kubectl = cluster.kubectl();
    let autoscaler = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": spec(),
    });
    kubectl.apply(namespace, &autoscaler.to_string()).await?;
    decided(recorder, 2).await?;
    let profile = Profile::constant(18.0, SOON * 4)?;
    let load = Load::start_even(cluster.admin(), namespace, "web", &profile)?;
    replicas(cluster, namespace, 4).await?;
    let in_namespace = format!("--namespace={namespace}");
    kubectl
        .run(["delete", "requestmetrics/web", &in_namespace])
        .await?;
    decided(recorder, 3).await?;
    kubectl.apply(namespace, &metrics().to_string()).await?;
    decided(recorder, 3).await?;
    load.stop().await?;
    replicas(cluster, namespace, 1).await?;
    decided(recorder, 2).await
}

/// What describes the service, with a window that forgets load soon and lets the test be short.
fn metrics() -> Value {
    let mut object = service::object("web");
    object["spec"]["window"] = "4s".into();
    object
}

/// By the rate, with a latency beside it, and with all that an HPA remembers: policies, and a window for either way.
fn spec() -> Value {
    let external = |name: &str, labels: Value, target: Value| {
        json!({"type": "External", "external": {
            "metric": {"name": name, "selector": {"matchLabels": labels}}, "target": target,
        }})
    };
    json!({
        "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
        "minReplicas": 1,
        "maxReplicas": 6,
        "metrics": [
            external("request_rate", json!({"service": "web"}), json!({"type": "AverageValue", "averageValue": "5"})),
            external(
                "request_latency_ms",
                json!({"service": "web", "quantile": "0.95"}),
                json!({"type": "Value", "value": "2000"}),
            ),
        ],
        "behavior": {
            "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": PERIOD_S}]},
            "scaleDown": {
                "stabilizationWindowSeconds": STABILIZATION_S,
                "policies": [{"type": "Pods", "value": 2, "periodSeconds": PERIOD_S}],
            },
        },
    })
}

/// Waits until the HPA has read both of its metrics so often again.
async fn decided(recorder: &Recorder, times: usize) -> anyhow::Result<()> {
    let wanted = recorder.reads() + 2 * times;
    until("the HPA to read", SOON, async || {
        let reads = recorder.reads();
        ensure!(wanted <= reads, "{reads} reads");
        Ok(())
    })
    .await
}

async fn replicas(cluster: &Cluster, namespace: &str, wanted: i32) -> anyhow::Result<()> {
    until("replicas", SOON, async || {
        let replicas = hpa::replicas(&service::deployment(cluster, namespace, "web").await?);
        ensure!(replicas == wanted, "{replicas} instead of {wanted}");
        Ok(())
    })
    .await
}

/// Every decision is the model's, but for those at an edge that the clocks do not tell.
fn agree(verdicts: &[Verdict]) -> anyhow::Result<()> {
    let wrong: Vec<&Verdict> = verdicts
        .iter()
        .filter(|verdict| verdict.agrees() != Some(true))
        .collect();
    let (edges, wrong): (Vec<&Verdict>, Vec<&Verdict>) = wrong
        .into_iter()
        .partition(|verdict| is_edge(verdicts, verdict));
    ensure!(
        wrong.is_empty() && edges.len() <= EDGES_MAX,
        "{wrong:#?}, {edges:#?}"
    );
    let ways = |is: fn(i32, i32) -> bool| {
        let moved = |verdict: &&Verdict| match verdict.decided {
            Decided::Replicas(to) => is(verdict.decision.current, to),
            Decided::Unclear => false,
        };
        verdicts.iter().filter(moved).count()
    };
    // The test is none unless there was something to decide.
    let (out, held, back) = (
        ways(|from, to| from < to),
        ways(|from, to| from == to),
        ways(|from, to| to < from),
    );
    ensure!(
        3 <= out && 5 <= held && 1 <= back,
        "{out} out, {held} held, {back} in"
    );
    let others = verdicts
        .iter()
        .filter(|verdict| matches!(verdict.conditions, RecordedConditions::Other(_)));
    let others: Vec<&Verdict> = others.collect();
    ensure!(others.is_empty(), "other conditions: {others:#?}");
    Ok(())
}

/// Whether a window or a period of the HPA, begun by an earlier decision, ends so near that one clock says before and the
/// other after.
fn is_edge(verdicts: &[Verdict], at: &Verdict) -> bool {
    let ends = |began: Timestamp| {
        [STABILIZATION_S, PERIOD_S]
            .map(Duration::from_secs)
            .into_iter()
            .any(|lasts| {
                let end = began + lasts;
                end.max(at.at).since(end.min(at.at)) <= EDGE
            })
    };
    verdicts.iter().any(|earlier| ends(earlier.at))
}
