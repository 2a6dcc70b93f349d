//! The control plane itself: that the harness gives what the other tests stand on.

use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::harness::{Cluster, Table, table};

pub(crate) fn tests() -> Table {
    table!("control_plane";
        a_restarted_api_server_comes_back_with_its_data,
        a_user_may_do_what_rbac_allows_and_no_more,
    )
}

async fn a_restarted_api_server_comes_back_with_its_data(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("restart").await?;
    let maps = Api::<ConfigMap>::namespaced(cluster.admin(), &namespace);
    let map = serde_json::from_value(json!({"metadata": {"name": "kept"}, "data": {"a": "b"}}))?;
    maps.create(&PostParams::default(), &map).await?;
    let [_, before, _] = cluster.control_plane_ids().await;

    cluster.restart_api_server().await?;

    let [_, after, _] = cluster.control_plane_ids().await;
    assert_ne!(before, after);
    let kept = maps.get("kept").await?;
    assert_eq!(kept.data.context("no data")?["a"], "b");
    Ok(())
}

async fn a_user_may_do_what_rbac_allows_and_no_more(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("rbac").await?;
    let client = cluster.client_as("jane", Some("readers")).await?;
    let maps = Api::<ConfigMap>::namespaced(client, &namespace);
    let refused = maps.list(&ListParams::default()).await;
    assert!(
        matches!(&refused, Err(kube::Error::Api(status)) if status.code == 403),
        "{refused:?}"
    );
    let binding = [
        "create",
        "rolebinding",
        "view",
        "--clusterrole=view",
        "--group=readers",
        "--namespace",
    ];
    cluster
        .kubectl()
        .run(binding.iter().chain([&namespace.as_str()]))
        .await?;
    crate::harness::until(
        "the role to be known",
        Duration::from_secs(10),
        async || Ok(maps.list(&ListParams::default()).await?),
    )
    .await?;
    let jane = cluster.kubectl_as("jane", Some("readers"))?;
    let may_delete = [
        "auth",
        "can-i",
        "delete",
        "configmaps",
        "--namespace",
        &namespace,
    ];
    let answer = jane.try_run(may_delete).await?;
    assert_eq!((answer.success, answer.stdout.trim()), (false, "no"));
    Ok(())
}
