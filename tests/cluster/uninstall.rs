//! Taking the adapter away again: with the documented commands, nothing is left and nothing is stuck. An APIService with
//! nobody behind it is what holds up every namespace of a cluster, so these tests delete namespaces.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{Api, DeleteParams};
use serde_json::json;

use crate::adapter;
use crate::harness::{Cluster, Table, sample, table, until};

/// Enough for the pods of a namespace to end, which have a grace of 30 s, and for the namespace controller's retries.
const GONE: Duration = Duration::from_secs(120);

const PAGE: &str = include_str!("../../deploy/docs/uninstall.md");

pub(crate) fn tests() -> Table {
    table!("uninstall";
        a_namespace_goes_while_the_adapter_is_up;
        alone:
        the_documented_order_leaves_nothing_behind,
        the_opposite_order_holds_up_every_namespace_until_the_apiservice_goes,
    )
}

async fn a_namespace_goes_while_the_adapter_is_up(cluster: &Cluster) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = used(cluster, "going").await?;
    gone(cluster, &namespace).await
}

async fn the_documented_order_leaves_nothing_behind(cluster: &Cluster) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = used(cluster, "left").await?;
    let commands = documented();
    assert!(
        commands[0].contains(&"apiservice"),
        "the APIService does not go first: {commands:?}"
    );
    uninstall(cluster, &commands).await?;
    nothing_is_left(cluster).await?;
    // One that used it, and one that never knew it.
    gone(cluster, &namespace).await?;
    let other = cluster.namespace("other").await?;
    gone(cluster, &other).await
}

async fn the_opposite_order_holds_up_every_namespace_until_the_apiservice_goes(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespaces = Api::<Namespace>::all(cluster.admin());
    let bystander = cluster.namespace("bystander").await?;
    for name in [adapter::NAMESPACE, &bystander] {
        namespaces.delete(name, &DeleteParams::default()).await?;
    }
    // That of the adapter says so once its pods have ended; whoever is deleted from then on is held up with it.
    let late = cluster.namespace("late").await?;
    until("the adapter's namespace to be held up", GONE, async || {
        is_held_up(&namespaces.get(adapter::NAMESPACE).await?)
    })
    .await?;
    namespaces.delete(&late, &DeleteParams::default()).await?;
    until("another namespace to be held up", GONE, async || {
        is_held_up(&namespaces.get(&late).await?)
    })
    .await?;

    uninstall(cluster, &documented()).await?;
    for name in [adapter::NAMESPACE, &bystander, &late] {
        gone(cluster, name).await?;
    }
    nothing_is_left(cluster).await
}

/// A namespace with pods and an object of ours.
async fn used(cluster: &Cluster, purpose: &str) -> anyhow::Result<String> {
    let namespace = cluster.namespace(purpose).await?;
    let object = json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "RequestMetrics",
        "metadata": {"name": "web"},
        "spec": {"source": {"pods": {"selector": {"matchLabels": {"app": "web"}}, "port": "http"}}},
    });
    for object in [sample::deployment("web", 1, &[]), object] {
        let kubectl = cluster.kubectl();
        kubectl.apply(&namespace, &object.to_string()).await?;
    }
    let read = async || {
        let read = adapter::read(cluster, &namespace, "request_rate", "service=web").await?;
        read.map_err(anyhow::Error::msg)
    };
    until("a rate", GONE, read).await?;
    Ok(namespace)
}

/// Takes the adapter away, whatever of it is there.
pub(crate) async fn removed(cluster: &Cluster) -> anyhow::Result<()> {
    uninstall(cluster, &documented()).await?;
    nothing_is_left(cluster).await
}

/// The words of each kubectl command of the section, without kubectl itself.
fn documented() -> Vec<Vec<&'static str>> {
    let section = PAGE
        .split("\n## Plain manifests\n")
        .nth(1)
        .unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let commands = section
        .lines()
        .filter_map(|line| line.strip_prefix("kubectl "));
    commands
        .map(|command| command.split_whitespace().collect())
        .collect()
}

/// Runs the commands from the repository's root, where cargo starts tests.
async fn uninstall(cluster: &Cluster, commands: &[Vec<&str>]) -> anyhow::Result<()> {
    ensure!(!commands.is_empty(), "the page has no commands");
    for command in commands {
        cluster.kubectl().run(command).await?;
    }
    Ok(())
}

pub(crate) async fn nothing_is_left(cluster: &Cluster) -> anyhow::Result<()> {
    let kinds = "apiservices,customresourcedefinitions,namespaces,clusterroles,clusterrolebindings,\
        roles,rolebindings,leases,secrets,serviceaccounts,poddisruptionbudgets,services,deployments,pods";
    let get = ["get", kinds, "--all-namespaces", "--output=name"];
    let ours = "--selector=app.kubernetes.io/name=taffrail";
    let left = cluster.kubectl().run(get.iter().chain([&ours])).await?;
    assert_eq!(left, "");
    let crds = ["get", "customresourcedefinitions", "--output=name"];
    let crds = cluster.kubectl().run(crds).await?;
    assert!(!crds.contains("taffrail"), "{crds}");
    Ok(())
}

/// Deletes a namespace, if it is there, and waits until it is gone, finalizers and all.
pub(crate) async fn gone(cluster: &Cluster, name: &str) -> anyhow::Result<()> {
    let namespaces = Api::<Namespace>::all(cluster.admin());
    if namespaces.get_opt(name).await?.is_some() {
        namespaces.delete(name, &DeleteParams::default()).await?;
    }
    until("the namespace to be gone", GONE, async || {
        let left = namespaces.get_opt(name).await?;
        ensure!(left.is_none(), "{left:?}");
        Ok(())
    })
    .await
}

/// Whether the namespace controller cannot tell what is in a namespace, because an API does not answer.
fn is_held_up(namespace: &Namespace) -> anyhow::Result<()> {
    let status = namespace.status.as_ref().context("no status")?;
    let failed = status.conditions.iter().flatten().any(|condition| {
        condition.type_ == "NamespaceDeletionDiscoveryFailure" && condition.status == "True"
    });
    ensure!(failed, "{:?}", status.conditions);
    Ok(())
}
