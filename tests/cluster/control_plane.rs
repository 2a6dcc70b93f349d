//! The control plane itself: that the harness gives what the other tests stand on.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, ListParams, PostParams};
use serde_json::json;

use crate::harness::{Cluster, HpaSettings, Table, pki, table, until};

/// Enough for a process to begin.
const SOON: Duration = Duration::from_secs(10);

pub(crate) fn tests() -> Table {
    table!("control_plane";
        a_user_may_do_what_rbac_allows_and_no_more,
        foreign_and_expired_certificates_are_refused;
        alone:
        a_restarted_api_server_comes_back_with_its_data,
        the_controllers_take_other_settings_of_the_hpa,
    )
}

async fn a_restarted_api_server_comes_back_with_its_data(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("restart").await?;
    let maps = Api::<ConfigMap>::namespaced(cluster.admin(), &namespace);
    let map = serde_json::from_value(json!({"metadata": {"name": "kept"}, "data": {"a": "b"}}))?;
    maps.create(&PostParams::default(), &map).await?;
    let [_, before, _] = cluster.control_plane_ids().await;

    cluster.stop_api_server().await?;
    cluster.start_api_server().await?;

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
    until(
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

async fn foreign_and_expired_certificates_are_refused(cluster: &Cluster) -> anyhow::Result<()> {
    let admin = pki::client("admin", Some("system:masters"));
    let mut expired = admin.clone();
    expired.not_after = rcgen::date_time_ymd(2020, 1, 1);
    let foreign = pki::Authority::new("kubernetes")?;
    let cases = [
        ("good", cluster.pki().cluster.sign(&admin)?, true),
        ("expired", cluster.pki().cluster.sign(&expired)?, false),
        ("foreign", foreign.sign(&admin)?, false),
        (
            "front proxy's",
            cluster.pki().front_proxy.sign(&admin)?,
            false,
        ),
    ];
    for (what, identity, good) in cases {
        let maps = Api::<ConfigMap>::default_namespaced(cluster.client_with(&identity).await?);
        let listed = maps.list(&ListParams::default()).await;
        let refused = matches!(&listed, Err(kube::Error::Api(status)) if status.code == 401);
        assert_eq!(
            (listed.is_ok(), refused),
            (good, !good),
            "{what}: {listed:?}"
        );
    }
    Ok(())
}

async fn the_controllers_take_other_settings_of_the_hpa(cluster: &Cluster) -> anyhow::Result<()> {
    let fast = HpaSettings {
        sync_period: Duration::from_millis(500),
        ..HpaSettings::default()
    };
    cluster.restart_controllers(fast).await?;
    let [_, _, controllers] = cluster.control_plane_ids().await;
    let id = controllers.context("no controllers")?;
    // A process that has just begun is for a moment still the one that began it.
    until("its flags", SOON, async || {
        let flags = std::fs::read_to_string(format!("/proc/{id}/cmdline"))?;
        ensure!(flags.contains("sync-period=500ms"), "{flags}");
        Ok(())
    })
    .await?;
    // They work: a namespace gets its service account from them.
    cluster.namespace("settings").await?;
    Ok(())
}
