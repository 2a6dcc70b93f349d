//! `custom.metrics.k8s.io` behind the real aggregation layer: what the component of the manifests adds, who may read it,
//! and a real HPA that scales on a metric of pods.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use kube::api::Api;
use serde_json::{Value, json};
use taffrail_loadtest::profile::Profile;

use crate::adapter;
use crate::harness::{Cluster, Load, Table, sample, table, until};
use crate::service;

/// The APIServices of the component.
const API_SERVICES: [&str; 2] = [
    "v1beta2.custom.metrics.k8s.io",
    "v1beta1.custom.metrics.k8s.io",
];

/// Its role, and the binding of that.
const ROLE: &str = "taffrail-custom-metrics-reader";

/// Two reads of a pod, syncs of the HPA, and a slow machine.
const SCALED: Duration = Duration::from_secs(100);

pub(crate) fn tests() -> Table {
    table!("custom";
        ;
        alone:
        an_hpa_scales_on_a_metric_of_pods_once_custom_metrics_are_switched_on,
    )
}

async fn an_hpa_scales_on_a_metric_of_pods_once_custom_metrics_are_switched_on(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = cluster.namespace("custom").await?;
    let scaled = async {
        switch_on(cluster).await?;
        scales(cluster, &namespace).await
    };
    let scaled = scaled.await;
    switch_off(cluster).await?;
    scaled
}

/// Installs the adapter with the component, as an overlay of somebody's own has it.
async fn switch_on(cluster: &Cluster) -> anyhow::Result<()> {
    let overlay = Path::new(env!("CARGO_TARGET_TMPDIR")).join("custom-metrics");
    std::fs::create_dir_all(&overlay)?;
    // Kustomize takes no absolute path.
    let up = "../".repeat(overlay.components().count() - 1);
    let kustomize = format!("{up}{}/deploy/kustomize", env!("CARGO_MANIFEST_DIR"));
    let kustomization = format!(
        "resources: [{kustomize}/base]\ncomponents: [{kustomize}/components/custom-metrics]\n"
    );
    std::fs::write(overlay.join("kustomization.yaml"), kustomization)?;
    let overlay = overlay.to_str().context("a path that is no text")?;
    cluster.kubectl().run(["apply", "-k", overlay]).await?;
    adapter::rolled_out(cluster).await?;
    for name in API_SERVICES {
        adapter::available(cluster, name).await?;
    }
    Ok(())
}

/// Deletes what the component added, its APIServices first: while nobody serves them, no namespace can be deleted.
async fn switch_off(cluster: &Cluster) -> anyhow::Result<()> {
    let kubectl = cluster.kubectl();
    let delete = async |kind: &str, name: &str| {
        let delete = ["delete", kind, "--ignore-not-found", name];
        kubectl.run(delete).await
    };
    for apiservice in API_SERVICES {
        delete("apiservice", apiservice).await?;
    }
    for kind in ["clusterrolebinding", "clusterrole"] {
        delete(kind, ROLE).await?;
    }
    adapter::installed(cluster).await?;
    adapter::rolled_out(cluster).await
}

async fn scales(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let kubectl = cluster.kubectl();
    let requestmetrics = service::object("web");
    let hpa = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{"type": "Pods", "pods": {
                "metric": {"name": "request_rate"},
                "target": {"type": "AverageValue", "averageValue": "10"},
            }}],
        },
    });
    for object in [
        sample::deployment("web", 1, &["--service-time=5ms"]),
        sample::service("web"),
        requestmetrics,
        hpa,
    ] {
        kubectl.apply(namespace, &object.to_string()).await?;
    }
    let load = Profile::constant(40.0, Duration::from_secs(300))?;
    let load = Load::start(cluster.admin(), namespace, "web", &load)?;
    let deployments = Api::<Deployment>::namespaced(cluster.admin(), namespace);
    until("three replicas", SCALED, async || {
        let deployment = deployments.get("web").await?;
        let replicas = deployment.spec.replicas;
        let described = kubectl
            .run(["-n", namespace, "describe", "hpa", "web"])
            .await?;
        ensure!(replicas == Some(3), "{replicas:?}: {described}");
        Ok(())
    })
    .await?;
    of_each_pod_and_of_their_service(cluster, namespace).await?;
    let report = load.stop().await?;
    assert!(0 < report.counts.ok, "{report:?}");
    only_who_may_reads(cluster, namespace).await
}

/// What the pods answer is what their service answers, in either version.
async fn of_each_pod_and_of_their_service(
    cluster: &Cluster,
    namespace: &str,
) -> anyhow::Result<()> {
    let read = async |version: &str, of: &str| {
        let group = "/apis/custom.metrics.k8s.io";
        let path = format!("{group}/{version}/namespaces/{namespace}/{of}/request_rate");
        let list = cluster.kubectl().run(["get", "--raw", &path]).await?;
        let list: Value = serde_json::from_str(&list)?;
        let items = list["items"].as_array().context("no items")?;
        anyhow::Ok(items.len())
    };
    until("a rate of each of three pods", SCALED, async || {
        let pods = read("v1beta2", "pods/*").await?;
        ensure!(pods == 3, "{pods} pods");
        Ok(())
    })
    .await?;
    for of in ["requestmetrics.taffrail.dev/web", "metrics"] {
        for version in ["v1beta1", "v1beta2"] {
            assert_eq!(read(version, of).await?, 1, "{version} {of}");
        }
    }
    Ok(())
}

/// A user without rights is refused by name of the resource, and one who is bound to the reader's role is not.
async fn only_who_may_reads(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let path =
        format!("/apis/custom.metrics.k8s.io/v1beta2/namespaces/{namespace}/pods/*/request_rate");
    let user = cluster.kubectl_as("custom-reader", None)?;
    let refused = user.try_run(["get", "--raw", &path]).await?;
    assert!(
        !refused.success && refused.stderr.contains("pods/request_rate"),
        "{}",
        refused.stderr
    );
    let binding = [
        "-n",
        namespace,
        "create",
        "rolebinding",
        "reads",
        "--clusterrole=taffrail-custom-metrics-reader",
        "--user=custom-reader",
    ];
    cluster.kubectl().run(binding).await?;
    until("the role to be known", SCALED, async || {
        user.run(["get", "--raw", &path]).await
    })
    .await?;
    Ok(())
}
