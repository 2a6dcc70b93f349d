//! `taffrail explain` beside a real HPA that the adapter watches, at moments when the reason is known: at rest, scaled by
//! latency, at its maximum, held by stabilization, without its metric, switched off, scaled by hand, beside another HPA of
//! the same pods, and without its target.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use taffrail::model::time::Timestamp;
use tokio::process::Command;

use crate::adapter;
use crate::harness::{Cluster, Table, sample, table, until};
use crate::scaling::Scene;

/// Enough for load to be felt, measured, acted upon and told on a slow machine.
const SOON: Duration = Duration::from_secs(120);

pub(crate) fn tests() -> Table {
    table!("explain";
        each_moment_is_explained_by_its_reason,
        an_hpa_that_can_do_nothing_is_explained_by_what_keeps_it,
    )
}

/// What the command tells of the HPA `users`.
async fn explain(cluster: &Cluster, namespace: &str, more: &[&str]) -> anyhow::Result<Value> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command.args(["explain", "hpa/users", "-o", "json", "-n", namespace]);
    command
        .args(more)
        .arg("--kubeconfig")
        .arg(cluster.kubectl().kubeconfig());
    let output = command.kill_on_drop(true).output().await?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{said}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Waits until the adapter explains the HPA in these words, and returns everything it tells.
async fn until_told(cluster: &Cluster, namespace: &str, words: &[&str]) -> anyhow::Result<Value> {
    until("the reason", SOON, async || {
        let told = explain(cluster, namespace, &[]).await?;
        let headline = told["explanation"]["headline"]
            .as_str()
            .context("a headline")?;
        ensure!(told["source"] == "adapter", "{}", told["notes"]);
        ensure!(
            words.iter().all(|word| headline.contains(word)),
            "{headline}"
        );
        Ok(told)
    })
    .await
}

/// When the sync was that is told of.
fn time(told: &Value) -> anyhow::Result<Timestamp> {
    let text = told["facts"]["at"].as_str().context("no time")?;
    Timestamp::from_rfc3339(text).context("not a time")
}

async fn each_moment_is_explained_by_its_reason(cluster: &Cluster) -> anyhow::Result<()> {
    // No request takes less than 100 ms, however many pods there are, and the target is below.
    let args = [
        "--workers=8",
        "--service-time=100ms",
        "--service-cv=0",
        "--cpu-share=0",
    ];
    let scene = Scene::start(cluster, "explain", &args, "500m", "60").await?;
    let namespace = scene.namespace();
    let told = until_told(
        cluster,
        namespace,
        &["users has 1 replica, its minReplicas"],
    )
    .await?;
    assert_eq!(told["facts"]["outcome"]["desiredReplicas"], 1);
    assert_eq!(
        told["explanation"]["changes"].as_array().map(Vec::is_empty),
        Some(false)
    );

    // Scaled by latency, one pod in 30 s: long enough to be asked about each, and shorter than what is waited for.
    let slow = json!({"spec": {"behavior": {"scaleUp": {
        "policies": [{"type": "Pods", "value": 1, "periodSeconds": 30}]}}}});
    scene.patch("hpa", &slow).await?;
    let load = scene.load(8.0)?;
    let told = until_told(
        cluster,
        namespace,
        &["users has 2 replicas", "p95", "over target 60 ms asked for"],
    )
    .await?;
    let metrics = told["facts"]["metrics"].as_array().context("metrics")?;
    assert!(
        metrics
            .iter()
            .any(|metric| 1.0 < metric["ratio"].as_f64().unwrap_or(0.0)),
        "{metrics:?}"
    );
    let (scaled_at, replica) = (time(&told)?, told["record"]["replica"].clone());

    let told = until_told(
        cluster,
        namespace,
        &["users has 3 replicas, its maxReplicas: p95"],
    )
    .await?;
    let warnings = told["explanation"]["warnings"]
        .as_array()
        .context("warnings")?;
    assert!(
        warnings.iter().any(|warning| warning["id"] == "atMax"),
        "{warnings:?}"
    );
    let changes = told["explanation"]["changes"]
        .as_array()
        .context("changes")?;
    assert!(
        changes
            .iter()
            .any(|change| change["kind"] == "noMore" && change["why"] == "bound"),
        "{changes:?}"
    );

    // Longer than this test: what holds the pods is then known.
    let wait = json!({"spec": {"behavior": {"scaleDown": {"stabilizationWindowSeconds": 900}}}});
    scene.patch("hpa", &wait).await?;
    load.stop().await?;
    let told = until_told(
        cluster,
        namespace,
        &[
            "users has 3 replicas because",
            "scaling down follows the highest of 900 s",
            "p95 0 ms under target",
        ],
    )
    .await?;
    let held = &told["facts"]["outcome"]["stabilized"]["heldBy"];
    let left = held["leftSeconds"].as_f64().context("what is left")?;
    assert!(0.0 < left && left <= 900.0, "{held}");
    let changes = told["explanation"]["changes"]
        .as_array()
        .context("changes")?;
    let waiting = changes
        .iter()
        .find(|change| change["kind"] == "waiting")
        .context("what waits")?;
    // As the latency fell there may have been a proposal in between, which then holds.
    assert!(waiting["to"].as_i64().is_some_and(|to| to < 3), "{waiting}");
    let after = waiting["afterSeconds"].as_f64().context("until when")?;
    // It is the recommendation that holds which must leave the window.
    assert!((after - left).abs() <= 15.0, "{after} {left}");

    // The adapter remembers. Each replica has its own time of a sync, and any of them may answer.
    let at = scaled_at.to_rfc3339().context("a time of this century")?;
    until("the replica that told of it", SOON, async || {
        let past = explain(cluster, namespace, &["--at", &at]).await?;
        ensure!(
            past["record"]["replica"] == replica,
            "another one answered, which may have seen the sync at another time"
        );
        assert_eq!(time(&past)?, scaled_at);
        assert_eq!(past["facts"]["outcome"]["desiredReplicas"], 2);
        Ok(())
    })
    .await
}

async fn an_hpa_that_can_do_nothing_is_explained_by_what_keeps_it(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = cluster.namespace("explain-absent").await?;
    let app = sample::deployment("users", 2, &[]).to_string();
    cluster.kubectl().apply(&namespace, &app).await?;
    let mut hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "users"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "users"},
            "minReplicas": 1, "maxReplicas": 5,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "request_latency_ms",
                           "selector": {"matchLabels": {"service": "users", "quantile": "0.95"}}},
                "target": {"type": "Value", "value": "250"}}}],
        },
    });
    cluster
        .kubectl()
        .apply(&namespace, &hpa.to_string())
        .await?;
    let words = [
        "users has 2 replicas and keeps them: its only metric has no value",
        "no RequestMetrics",
    ];
    let told = until_told(cluster, &namespace, &words).await?;
    assert_eq!(told["facts"]["outcome"]["way"], "failed");

    let in_namespace = format!("--namespace={namespace}");
    let scale = async |replicas: &str| {
        let to = format!("--replicas={replicas}");
        let args = ["scale", "deployment/users", &to, &in_namespace];
        cluster.kubectl().run(args).await
    };
    scale("0").await?;
    let words = ["users has 0 replicas, which switches autoscaling off"];
    let told = until_told(cluster, &namespace, &words).await?;
    assert_eq!(told["facts"]["outcome"]["way"], "disabled");
    scale("3").await?;
    let words = ["users has 3 replicas and keeps them"];
    let told = until_told(cluster, &namespace, &words).await?;
    let since = told["explanation"]["since"]
        .as_str()
        .context("since when")?;
    assert!(
        since.starts_with("somebody else than the HPA changed them from 0 to 3"),
        "{since}"
    );

    hpa["metadata"]["name"] = "second".into();
    cluster
        .kubectl()
        .apply(&namespace, &hpa.to_string())
        .await?;
    let words = ["the HPA reads no metric", "AmbiguousSelector"];
    until_told(cluster, &namespace, &words).await?;

    let delete = ["delete", "deployment/users", &in_namespace];
    cluster.kubectl().run(delete).await?;
    let words = ["nothing scales Deployment users", "not found"];
    until_told(cluster, &namespace, &words).await?;
    Ok(())
}
