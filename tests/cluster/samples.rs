//! The five systems of `deploy/samples` as the API server takes them: every render is valid to the last field and asks for
//! nothing that the strictest profile warns of, the roles of a team allow what they say and no more, and the pages can be
//! followed. How the systems scale is in `rollouts`, `scaling` and `seeds`.

#[path = "../it/samples/page.rs"]
mod page;

use std::process::Command;

use anyhow::{Context, ensure};

use crate::adapter;
use crate::harness::{Cluster, Table, bin_dir, table, until};
use crate::service::SOON;

/// The root of the repository.
const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Every overlay, and the namespaces that it is for.
const OVERLAYS: [(&str, &[&str]); 8] = [
    ("visits/overlays/dev", &["visits-dev"]),
    ("visits/overlays/prod", &["visits-prod"]),
    ("hello/overlays/dev", &["hello-dev"]),
    ("hello/overlays/prod", &["hello-prod"]),
    ("invoices/overlays/dev", &["invoices-dev", "payments-dev"]),
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
        the_page_of_visits_can_be_followed,
        the_page_of_hello_can_be_followed_and_shows_its_token_nowhere,
        the_page_of_invoices_can_be_followed,
        the_page_of_internal_can_be_followed,
        the_page_of_users_and_shifts_can_be_followed_in_a_namespace_that_begins_with_a_digit,
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
    // A Deployment is taken, whatever its pods ask for: only a warning says that none will come. That kubectl has not made
    // the namespace itself, which some samples bring along, is no word about them.
    let warned = output.stderr.lines().find(|line| {
        line.contains("Warning")
            && !line.contains("kubectl.kubernetes.io/last-applied-configuration")
    });
    ensure!(warned.is_none(), "{}", output.stderr);
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
        ensure!(
            !can(question, invoices).await?,
            "may {question:?} elsewhere"
        );
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

/// Follows a page from its first command to its last, and has `more` look at what came of it; then its namespaces go.
async fn followed(
    cluster: &Cluster,
    system: &str,
    namespaces: &[&str],
    more: impl AsyncFnOnce() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let commands = page::commands(&format!("deploy/samples/{system}/README.md"), "sh cluster");
    let result = match shell(cluster, &commands).await {
        Ok(()) => more().await,
        Err(failed) => Err(failed),
    };
    let delete = ["delete", "namespace", "--ignore-not-found", "--wait=false"];
    let args = delete.iter().chain(namespaces);
    cluster.kubectl().run(args).await?;
    result
}

/// Runs lines until one fails, in the repository's root, as somebody who may do everything.
async fn shell(cluster: &Cluster, script: &str) -> anyhow::Result<()> {
    let tools = bin_dir().context("no programs")?;
    let home = tempfile::tempdir()?;
    let output = tokio::process::Command::new("bash")
        .args(["-c", &format!("set -euxo pipefail\n{script}")])
        .current_dir(ROOT)
        .env("PATH", format!("{}:/usr/bin:/bin", tools.display()))
        .env("HOME", home.path())
        .env("KUBECONFIG", cluster.kubectl().kubeconfig())
        .kill_on_drop(true)
        .output()
        .await?;
    let said = [&output.stdout, &output.stderr].map(|said| String::from_utf8_lossy(said));
    ensure!(output.status.success(), "{}", said.join("\n"));
    Ok(())
}

async fn nothing() -> anyhow::Result<()> {
    Ok(())
}

async fn the_page_of_visits_can_be_followed(cluster: &Cluster) -> anyhow::Result<()> {
    let namespaces = ["visits-dev", "visits-prod"];
    followed(cluster, "visits", &namespaces, async || {
        // Redis has started with what its script tells it, as the one user that it is to have.
        let wait = ["rollout", "status", "statefulset/db", "--timeout=60s"];
        let here = ["--namespace", "visits-dev"];
        cluster.kubectl().run(wait.iter().chain(&here)).await?;
        Ok(())
    })
    .await
}

async fn the_page_of_hello_can_be_followed_and_shows_its_token_nowhere(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespaces = ["hello-dev", "hello-prod"];
    // Part of the token of the overlay, and of the one that the page rotates it to.
    let tokens = ["W1w1@", "-rotated"];
    followed(cluster, "hello", &namespaces, async || {
        let here = ["--namespace", "hello-dev"];
        let describe = ["describe", "pods,requestmetrics"];
        let said = cluster.kubectl().run(describe.iter().chain(&here)).await?;
        ensure!(said.contains("hello-token"), "{said}");
        let mut told = vec![said];
        for name in cluster.processes("hello-dev").keys() {
            let log = cluster.log("hello-dev", &name.pod, "hello");
            ensure!(log.contains("listening on"), "{log}");
            told.push(log);
        }
        ensure!(2 < told.len(), "no pods");
        for told in told {
            let is_shown = tokens.iter().any(|token| told.contains(token));
            ensure!(!is_shown, "the token is shown: {told}");
        }
        Ok(())
    })
    .await
}

async fn the_page_of_invoices_can_be_followed(cluster: &Cluster) -> anyhow::Result<()> {
    let namespaces = [
        "invoices-dev",
        "payments-dev",
        "invoices-prod",
        "payments-prod",
    ];
    followed(cluster, "invoices", &namespaces, nothing).await
}

async fn the_page_of_internal_can_be_followed(cluster: &Cluster) -> anyhow::Result<()> {
    let namespaces = ["internal-dev", "internal-prod"];
    followed(cluster, "internal", &namespaces, async || {
        // Both releases of one chart are there, and differ as they should.
        for (namespace, expected) in [("internal-dev", "false"), ("internal-prod", "true")] {
            let path = "jsonpath={.spec.template.spec.containers[0].env[?(@.name=='PROD')].value}";
            let get = [
                "get",
                "deployment/internal",
                "--output",
                path,
                "--namespace",
            ];
            let prod = cluster
                .kubectl()
                .run(get.iter().chain(&[namespace]))
                .await?;
            ensure!(prod == expected, "{prod} in {namespace}");
        }
        Ok(())
    })
    .await
}

async fn the_page_of_users_and_shifts_can_be_followed_in_a_namespace_that_begins_with_a_digit(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespaces = ["7shifts-dev", "7shifts-prod"];
    followed(cluster, "users-and-shifts", &namespaces, async || {
        // The bad version is gone, and its setting with it.
        let here = ["--namespace", "7shifts-dev"];
        let image = [
            "get",
            "deployment/users",
            "--output=jsonpath={.spec.template.spec.containers[0]}",
        ];
        let container = cluster.kubectl().run(image.iter().chain(&here)).await?;
        ensure!(
            container.contains("taffrail-sample-app:v1.1") && !container.contains("NEVER_READY"),
            "{container}"
        );
        // The latency of nobody's requests against 250 ms, and a share of the CPU that is asked for: no float is among them.
        let get = ["get", "hpa", "users"];
        let table = until("both metrics", SOON, async || {
            let table = cluster.kubectl().run(get.iter().chain(&here)).await?;
            ensure!(
                table.contains(" 0/250") && table.contains("%/70%"),
                "{table}"
            );
            Ok(table)
        })
        .await?;
        ensure!(!table.contains('.'), "a float: {table}");
        Ok(())
    })
    .await
}
