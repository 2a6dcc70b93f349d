//! What `taffrail tune -o` writes, as kubectl takes it: the HPA there is, with what changed and nothing else.

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use taffrail::config::autoscaler;
use tokio::process::Command;

use crate::harness::{Cluster, Table, table};

/// A minute of load that two pods of the service cannot take.
const TRAFFIC: &str = "t_seconds,rps\n0,30\n20,90\n60,30\n";

pub(crate) fn tests() -> Table {
    table!("tune";
        kubectl_changes_an_hpa_as_the_patch_says_and_nothing_else,
    )
}

async fn kubectl_changes_an_hpa_as_the_patch_says_and_nothing_else(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("tune").await?;
    let kubectl = cluster.kubectl();
    kubectl.apply(&namespace, &present().to_string()).await?;
    let of_hpa = ["hpa", "users", "--namespace", &namespace];
    let read = async || -> anyhow::Result<Value> {
        let text = kubectl
            .run(["get"].iter().chain(&of_hpa).chain(&["--output=json"]))
            .await?;
        serde_json::from_str(&text).context("an HPA")
    };
    let before = read().await?;

    let folder = tempfile::tempdir()?;
    let [hpa, traffic, better] =
        ["hpa.json", "day.csv", "better.yaml"].map(|name| folder.path().join(name));
    std::fs::write(&hpa, before.to_string())?;
    std::fs::write(&traffic, TRAFFIC)?;
    let output = Command::new(env!("CARGO_BIN_EXE_taffrail"))
        .arg("tune")
        .arg(&traffic)
        .args([
            "--app=workers: 2, serviceTime: 50ms, startup: 5s",
            "--objective=250ms",
        ])
        .args(["--budget=16", "--plain", "--hpa"])
        .arg(&hpa)
        .arg("--output")
        .arg(&better)
        .output()
        .await?;
    ensure!(better.exists(), "{output:?}");
    let patch = std::fs::read_to_string(&better)?;
    // Behind it may be what is to be done about the window.
    let patch = autoscaler::object_from_yaml(patch.split("\n---\n").next().unwrap_or_default())?;

    let patch_file = format!("--patch-file={}", better.display());
    kubectl
        .run(
            ["patch"]
                .iter()
                .chain(&of_hpa)
                .chain(&[patch_file.as_str()]),
        )
        .await?;
    let patched = read().await?;
    // All that the patch says is in force, and what it does not say is as it was.
    let spec = |field: &str| [&before, &patch, &patched].map(|hpa| hpa["spec"][field].clone());
    for field in [
        "minReplicas",
        "maxReplicas",
        "metrics",
        "behavior",
        "scaleTargetRef",
    ] {
        let [_, said, now] = spec(field);
        ensure!(
            !said.is_null() && now == said,
            "{field}: {now:#} and not {said:#}"
        );
    }
    for field in ["minReplicas", "scaleTargetRef"] {
        let [then, _, now] = spec(field);
        ensure!(now == then, "{field}: {now:#} and not {then:#}");
    }
    for field in ["labels", "annotations", "uid"] {
        let [then, now] = [&before, &patched].map(|hpa| &hpa["metadata"][field]);
        ensure!(now == then, "{field}: {now:#} and not {then:#}");
    }
    let metrics = &patched["spec"]["metrics"];
    ensure!(*metrics != before["spec"]["metrics"], "nothing changed");
    ensure!(
        metrics.to_string().contains("redis_backlog"),
        "what was not played is gone: {metrics:#}"
    );

    // It is a whole object as well, and says the same as one.
    let filename = format!("--filename={}", better.display());
    kubectl
        .run(["apply", "--server-side", "--force-conflicts", &filename])
        .await?;
    let applied = read().await?;
    ensure!(applied["spec"] == patched["spec"], "{:#}", applied["spec"]);
    Ok(())
}

/// An HPA with what a patch might lose: labels, a metric that cannot be played, rules of its own.
fn present() -> Value {
    let label = json!({"matchLabels": {"service": "users"}});
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "users", "labels": {"team": "shop"}, "annotations": {"shop/note": "as agreed"}},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "users-web"},
            "minReplicas": 3,
            "maxReplicas": 40,
            "metrics": [
                {"type": "External", "external": {
                    "metric": {"name": "request_rate", "selector": label},
                    "target": {"type": "AverageValue", "averageValue": "2"},
                }},
                {"type": "External", "external": {
                    "metric": {"name": "redis_backlog", "selector": label},
                    "target": {"type": "AverageValue", "averageValue": "30"},
                }},
            ],
            "behavior": {"scaleDown": {
                "stabilizationWindowSeconds": 900,
                "policies": [{"type": "Pods", "value": 1, "periodSeconds": 120}],
            }},
        },
    })
}
