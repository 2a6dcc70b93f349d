//! The five systems of `deploy/samples` as the API server takes them: every render is valid to the last field and asks for
//! nothing that the strictest profile warns of, the roles of a team allow what they say and no more, and a system runs in a
//! namespace whose name begins with a digit. How they scale is in `rollouts`, `scaling` and `seeds`.

use std::process::Command;

use anyhow::{Context, ensure};

use crate::adapter;
use crate::harness::{Cluster, Table, bin_dir, table, until};
use crate::service::{self, SOON};

/// The root of the repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every overlay, and the namespaces that it is for.
const OVERLAYS: [(&str, &[&str]); 8] = [
    ("visits/overlays/dev", &["visits-dev"]),
    ("visits/overlays/prod", &["visits-prod"]),
    ("hello/overlays/dev", &["hello-dev"]),
    ("hello/overlays/prod", &["hello-prod"]),
    (
        "invoices/overlays/dev",
        &["invoices-dev", "payments-dev"],
    ),
    (
        "invoices/overlays/prod",
        &["invoices-prod", "payments-prod"],
    ),
    ("users-and-shifts/overlays/dev", &["7shifts-dev"]),
    ("users-and-shifts/overlays/prod", &["7shifts-prod"]),
];

/// What the group of a team may do in its namespace, and what it may not: the arguments of `kubectl auth can-i`.
const MAY: &[&[&str]] = &[
    &["get", "deployments.apps"],
    &["list", "deployments.apps"],
    &["watch", "deployments.apps"],
    &["patch", "deployments.apps"],
    &["update", "deployments.apps"],
    &["list", "replicasets.apps"],
    &["list", "request_latency_ms.external.metrics.k8s.io"],
    &["get", "horizontalpodautoscalers.autoscaling"],
    &["get", "requestmetrics.taffrail.dev"],
];
const MAY_NOT: &[&[&str]] = &[
    &["delete", "deployments.apps"],
    &["create", "deployments.apps"],
    &["patch", "replicasets.apps"],
    &["create", "pods/exec"],
    &["get", "pods"],
    &["get", "secrets"],
    &["list", "secrets"],
    &["patch", "horizontalpodautoscalers.autoscaling"],
    &["update", "requestmetrics.taffrail.dev"],
    &["create", "rolebindings.rbac.authorization.k8s.io"],
];

pub(crate) fn tests() -> Table {
    table!("samples";
        every_sample_is_valid_and_asks_for_nothing_that_is_warned_of,
        a_team_deploys_and_reads_in_its_own_namespace_only,
        a_namespace_that_begins_with_a_digit_scales_and_its_hpas_are_readable,
        an_app_behind_a_token_runs_and_shows_it_nowhere,
    )
}

/// What kustomize makes of a directory below `deploy/samples`, for namespaces of this test in place of those it names.
async fn rendered(
    cluster: &Cluster,
    directory: &str,
    namespaces: &[&str],
) -> anyhow::Result<(String, Vec<String>)> {
    let directory = format!("{ROOT}/deploy/samples/{directory}");
    let mut text = cluster.kubectl().run(["kustomize", &directory]).await?;
    let mut made = Vec::new();
    for wanted in namespaces {
        ensure!(text.contains(wanted), "{directory} is not for {wanted}");
        let namespace = cluster.namespace(wanted).await?;
        text = text.replace(wanted, &namespace);
        made.push(namespace);
    }
    Ok((text, made))
}

/// The documents of `text` that are of one of these kinds.
fn of_kinds(text: &str, kinds: &[&str]) -> String {
    let is_wanted = |document: &&str| {
        let mut lines = document.lines();
        lines.any(|line| {
            line.strip_prefix("kind: ")
                .is_some_and(|kind| kinds.contains(&kind))
        })
    };
    let wanted: Vec<&str> = text.split("\n---\n").filter(is_wanted).collect();
    wanted.join("\n---\n")
}

/// The chart `internal`, as Helm renders it for an environment.
fn chart(environment: &str) -> anyhow::Result<String> {
    let helm = bin_dir().context("no programs")?.join("helm");
    let chart = format!("{ROOT}/deploy/samples/internal/chart");
    let values = format!("{ROOT}/deploy/samples/internal/env/{environment}.yaml");
    let output = Command::new(helm)
        .args(["template", "internal", &chart, "--values", &values])
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    Ok(String::from_utf8(output.stdout)?)
}

/// Has the API server judge all of `text`, which is for a namespace that warns of what the restricted profile refuses.
async fn judged(cluster: &Cluster, namespace: &str, text: &str) -> anyhow::Result<()> {
    let apply = ["apply", "--dry-run=server", "--validate=strict"];
    let input = ["--namespace", namespace, "--filename=-"];
    let args = apply.iter().chain(&input);
    let output = cluster.kubectl().try_run_with(args, text).await?;
    ensure!(output.success, "{}", output.stderr);
    // A Deployment is taken, whatever its pods ask for: only a warning says that none will come.
    ensure!(!output.stderr.contains("Warning"), "{}", output.stderr);
    Ok(())
}

async fn every_sample_is_valid_and_asks_for_nothing_that_is_warned_of(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let profile = [
        "pod-security.kubernetes.io/enforce=restricted",
        "pod-security.kubernetes.io/warn=restricted",
    ];
    let strict = async |namespace: &str| {
        let label = ["label", "namespace", namespace];
        let args = label.iter().chain(&profile);
        cluster.kubectl().run(args).await
    };
    for (directory, namespaces) in OVERLAYS {
        let (text, made) = rendered(cluster, directory, namespaces).await?;
        for namespace in &made {
            strict(namespace).await?;
        }
        // The objects name their namespaces; those that do not are none's.
        let namespace = made.first().context("no namespace")?;
        let judged = match made.len() {
            1 => judged(cluster, namespace, &text).await,
            _ => judged(cluster, "", &text).await,
        };
        judged.with_context(|| directory.to_owned())?;
    }
    for environment in ["dev", "prod"] {
        let namespace = cluster.namespace("internal").await?;
        strict(&namespace).await?;
        let text = chart(environment)?;
        judged(cluster, &namespace, &text)
            .await
            .with_context(|| format!("internal, {environment}"))?;
    }

    // The warning would come if there were something to warn of.
    let namespace = cluster.namespace("loose").await?;
    strict(&namespace).await?;
    let loose = chart("dev")?.replace("runAsNonRoot: true", "runAsNonRoot: false");
    let said = judged(cluster, &namespace, &loose).await;
    let said = said.err().context("no warning")?.to_string();
    ensure!(said.contains("runAsNonRoot"), "{said}");
    Ok(())
}

async fn a_team_deploys_and_reads_in_its_own_namespace_only(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let both = ["invoices-dev", "payments-dev"];
    let (text, made) = rendered(cluster, "invoices/overlays/dev", &both).await?;
    let roles = of_kinds(&text, &["Role", "RoleBinding"]);
    let [invoices, payments] = &made[..] else {
        anyhow::bail!("two namespaces")
    };
    cluster.kubectl().apply("", &roles).await?;
    let ann = cluster.kubectl_as("ann", Some("team-payments"))?;
    let can = async |question: &[&str], namespace: &str| {
        let asked = ["auth", "can-i", "--namespace", namespace];
        let said = ann.try_run(asked.iter().chain(question)).await?.stdout;
        anyhow::Ok(said.trim() == "yes")
    };
    until("the roles to count", SOON, async || {
        ensure!(can(MAY[0], payments).await?, "not yet");
        Ok(())
    })
    .await?;
    for question in MAY {
        ensure!(can(question, payments).await?, "may not {question:?}");
        ensure!(!can(question, invoices).await?, "may {question:?} elsewhere");
    }
    for question in MAY_NOT {
        ensure!(!can(question, payments).await?, "may {question:?}");
    }

    // And as the API answers: nothing is known here of the one, and nothing is said there of the other.
    let read = async |namespace: &str| {
        let path = format!(
            "/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/request_latency_ms?labelSelector=service%3Dpayments"
        );
        anyhow::Ok(ann.try_run(["get", "--raw", &path]).await?.stderr)
    };
    let (own, other) = (read(payments).await?, read(invoices).await?);
    ensure!(other.contains("Forbidden"), "{other}");
    ensure!(own.contains("NotFound"), "{own}");
    Ok(())
}

async fn a_namespace_that_begins_with_a_digit_scales_and_its_hpas_are_readable(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let directory = "users-and-shifts/overlays/dev";
    let (text, made) = rendered(cluster, directory, &["7shifts-dev"]).await?;
    let namespace = &made[0];
    ensure!(namespace.starts_with('7'), "{namespace}");
    // One of the two is enough to see.
    cluster.kubectl().apply("", &text).await?;
    service::ready(cluster, namespace, "users", 1).await?;
    let get = ["get", "hpa", "users", "--namespace", namespace];
    let table = until("both metrics", SOON, async || {
        let table = cluster.kubectl().run(get).await?;
        // The latency of nobody's requests, of 250 ms; and a share of the CPU that is asked for.
        ensure!(table.contains(" 0/250"), "{table}");
        ensure!(table.contains("%/70%"), "{table}");
        Ok(table)
    })
    .await?;
    ensure!(!table.contains('.'), "a float: {table}");
    Ok(())
}

async fn an_app_behind_a_token_runs_and_shows_it_nowhere(cluster: &Cluster) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let (text, made) = rendered(cluster, "hello/overlays/dev", &["hello-dev"]).await?;
    let namespace = &made[0];
    cluster.kubectl().apply("", &text).await?;
    service::ready(cluster, namespace, "hello", 2).await?;
    // The adapter was let in with it, so it is the right one.
    let selector = "service=hello,quantile=0.95";
    until("a latency", SOON, async || {
        let read = adapter::read(cluster, namespace, "request_latency_ms", selector).await?;
        ensure!(read == Ok(0.0), "{read:?}");
        Ok(())
    })
    .await?;
    for name in cluster.processes(namespace).keys() {
        let log = cluster.log(namespace, &name.pod, "hello");
        ensure!(log.contains("listening on"), "{log}");
        ensure!(!log.contains("W1w1@"), "the token is shown: {log}");
    }
    let describe = ["describe", "pods,requestmetrics", "--namespace", namespace];
    let said = cluster.kubectl().run(describe).await?;
    ensure!(said.contains("hello-token"), "{said}");
    ensure!(!said.contains("W1w1@"), "the token is shown: {said}");
    Ok(())
}
