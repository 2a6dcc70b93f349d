//! `taffrail lint --cluster`: what only a cluster shows, and what somebody without rights is told.

use std::path::Path;
use std::process::Output;

use anyhow::{Context, ensure};
use serde_json::{Value, json};
use tokio::process::Command;

use crate::adapter;
use crate::harness::{Cluster, Table, sample, table, until};
use crate::service::{self, SOON};

pub(crate) fn tests() -> Table {
    table!("lint";
        what_lint_says_of_the_api_server_it_says_itself,
        a_cluster_shows_what_files_cannot,
        a_missing_right_is_named_and_the_rest_is_checked,
    )
}

/// HPAs whose names say whether an API server takes them; tests/it/lint.rs holds lint to them.
const REFUSED: &str = include_str!("../data/lint/refused.yaml");

async fn what_lint_says_of_the_api_server_it_says_itself(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("lint-refused").await?;
    let create = ["create", "--dry-run=server", "--output=name"];
    let from = ["--filename=-", "--namespace", &namespace];
    let args = create.iter().chain(&from);
    let output = cluster.kubectl().try_run_with(args, REFUSED).await?;
    let taken: Vec<&str> = output
        .stdout
        .lines()
        .filter_map(|line| line.split_once('/'))
        .map(|(_, name)| name)
        .collect();
    let expected: Vec<&str> = REFUSED
        .lines()
        .filter_map(|line| line.strip_prefix("metadata: {name: "))
        .filter(|rest| rest.starts_with("taken"))
        .filter_map(|rest| rest.split(['}', ',']).next())
        .collect();
    ensure!(
        taken == expected,
        "{taken:#?} and not {expected:#?}: {}",
        output.stderr
    );
    Ok(())
}

/// Lints a namespace with the kubeconfig of `kubectl`.
async fn lint(kubeconfig: &Path, namespace: &str) -> anyhow::Result<(Value, Output)> {
    let output = Command::new(env!("CARGO_BIN_EXE_taffrail"))
        .args([
            "lint",
            "--cluster",
            "--format=json",
            "--namespace",
            namespace,
        ])
        .arg("--kubeconfig")
        .arg(kubeconfig)
        .output()
        .await?;
    let report = serde_json::from_slice(&output.stdout).with_context(|| format!("{output:?}"))?;
    Ok((report, output))
}

/// The findings of a rule.
fn of_rule<'r>(report: &'r Value, rule: &str) -> Vec<&'r Value> {
    let findings = report["findings"].as_array().into_iter().flatten();
    findings.filter(|finding| finding["rule"] == rule).collect()
}

/// An HPA of `target` on a latency of the service of this name.
fn hpa(name: &str, target: &str, service: &str) -> String {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": target},
            "minReplicas": 1,
            "maxReplicas": 4,
            "metrics": [
                {"type": "External", "external": {
                    "metric": {"name": "request_latency_ms", "selector": {"matchLabels": {"service": service}}},
                    "target": {"type": "Value", "value": "250"},
                }},
                {"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70},
                }},
            ],
        },
    })
    .to_string()
}

async fn a_cluster_shows_what_files_cannot(cluster: &Cluster) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = cluster.namespace("lint").await?;
    service::run(cluster, &namespace, "web", 1).await?;
    let mut idle = sample::deployment("idle", 1, &[]);
    idle["spec"]["template"]["spec"]["containers"][0]["resources"] = json!({});
    let kubectl = cluster.kubectl();
    for manifest in [
        idle.to_string(),
        hpa("web", "web", "web"),
        hpa("web-too", "web", "web"),
        hpa("gone", "gone", "web"),
        hpa("idle", "idle", "idle"),
    ] {
        kubectl.apply(&namespace, &manifest).await?;
    }
    // The controller looks now and then, and the adapter reads twice before it has a value.
    until("everything to be found", SOON, async || {
        let (report, output) = lint(kubectl.kubeconfig(), &namespace).await?;
        let is_at = |rule: &str, object: &str| {
            of_rule(&report, rule).iter().any(|finding| {
                finding["object"]
                    .as_str()
                    .is_some_and(|said| said.ends_with(object))
            })
        };
        for (rule, object) in [
            ("target-missing", "/gone"),
            ("two-hpas", "/web-too"),
            ("requests-missing", "/idle"),
            ("selector-matches-nothing", "/idle"),
            ("metric-unknown", "/idle"),
            ("hpa-cannot-scale", "/gone"),
            // The harness applies the Deployment with its replicas, as people do.
            ("replicas-set", "/web"),
        ] {
            ensure!(
                is_at(rule, object),
                "{rule} of {object} is not found: {report:#}"
            );
        }
        let unknown = of_rule(&report, "metric-unknown");
        ensure!(
            unknown.iter().any(|finding| finding["what"]
                .as_str()
                .is_some_and(|said| said.contains("404"))),
            "{unknown:#?}"
        );
        ensure!(
            of_rule(&report, "adapter-unavailable").is_empty(),
            "{report:#}"
        );
        ensure!(!is_at("metric-unknown", "/web"), "{report:#}");
        ensure!(report["unread"] == json!([]), "{report:#}");
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(())
    })
    .await
}

async fn a_missing_right_is_named_and_the_rest_is_checked(cluster: &Cluster) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = cluster.namespace("lint-rights").await?;
    let kubectl = cluster.kubectl();
    kubectl.apply(&namespace, &hpa("web", "web", "web")).await?;
    let in_namespace = format!("--namespace={namespace}");
    let role = [
        "create",
        "role",
        "reader",
        "--verb=list",
        "--resource=horizontalpodautoscalers.autoscaling",
    ];
    kubectl
        .run(role.iter().chain(&[in_namespace.as_str()]))
        .await?;
    let binding = [
        "create",
        "rolebinding",
        "reader",
        "--role=reader",
        "--user=lena",
    ];
    kubectl
        .run(binding.iter().chain(&[in_namespace.as_str()]))
        .await?;
    let lena = cluster.kubectl_as("lena", None)?;
    until("the right to count", SOON, async || {
        let (report, output) = lint(lena.kubeconfig(), &namespace).await?;
        let unread = report["unread"].to_string();
        ensure!(
            unread.contains("no right to list deployments.apps in namespace"),
            "{report:#}"
        );
        ensure!(
            unread.contains("apiservices.apiregistration.k8s.io"),
            "{report:#}"
        );
        ensure!(!unread.contains("horizontalpodautoscalers"), "{report:#}");
        ensure!(
            unread.contains("metrics of external.metrics.k8s.io"),
            "{report:#}"
        );
        let unknown = of_rule(&report, "metric-unknown");
        ensure!(
            unknown.is_empty(),
            "who may not ask cannot know: {report:#}"
        );
        ensure!(
            !of_rule(&report, "hpa-cannot-scale").is_empty(),
            "{report:#}"
        );
        ensure!(
            of_rule(&report, "target-missing").is_empty(),
            "who cannot list cannot know: {report:#}"
        );
        ensure!(output.status.code() == Some(1), "{output:?}");
        Ok(())
    })
    .await?;
    let nobody = cluster.kubectl_as("nobody", None)?;
    let (report, output) = lint(nobody.kubeconfig(), &namespace).await?;
    ensure!(
        report["unread"]
            .to_string()
            .contains("horizontalpodautoscalers"),
        "{report:#}"
    );
    ensure!(output.status.code() == Some(2), "{output:?}");
    Ok(())
}
