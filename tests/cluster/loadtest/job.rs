//! The load generator as a Job of its user's, from the manifests in `deploy/loadtest`: with the rights that it needs and no
//! others, and with an exit code that says what came of the checks.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use taffrail_loadtest::cli::ExitStatus;

use super::scene::{Scene, by_rate};
use super::{MANIFESTS, SOON};
use crate::harness::{Cluster, sample, until};
use crate::service;
use crate::tenancy::rights;

/// A run of a minute, and as long again before and after it, on a slow machine.
const ENDED: Duration = Duration::from_secs(180);

/// Everything that the manifests allow, and nothing else.
const RIGHTS: [&str; 11] = [
    "get horizontalpodautoscalers.autoscaling any",
    "get services any",
    "list *.external.metrics.k8s.io any",
    "list deployments.apps any",
    "list endpointslices.discovery.k8s.io any",
    "list horizontalpodautoscalers.autoscaling any",
    "list statefulsets.apps any",
    "watch deployments.apps any",
    "watch endpointslices.discovery.k8s.io any",
    "watch horizontalpodautoscalers.autoscaling any",
    "watch statefulsets.apps any",
];

/// What nobody may fear of a check.
const NEVER: [&[&str]; 8] = [
    &["patch", "horizontalpodautoscalers.autoscaling"],
    &["update", "deployments.apps"],
    &["patch", "deployments.apps/web", "--subresource=scale"],
    &["update", "statefulsets.apps", "--subresource=scale"],
    &["delete", "pods"],
    &["create", "pods"],
    &["get", "secrets"],
    &["list", "configmaps"],
];

pub(super) async fn the_manifests_run_a_job_with_exactly_the_rights_it_needs(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let scene = Scene::start(cluster, "job").await?;
    let pods = Api::<Pod>::namespaced(cluster.admin(), &scene.namespace);
    let web = pods.list(&ListParams::default()).await?;
    let address = web
        .iter()
        .find_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    let address = address.context("web has no address")?;
    // There is no DNS here, so the load goes to the one pod.
    let url = format!("--url=http://{address}:{}/", sample::PORT);
    let args = json!(["run", url, "--profile=10@2s", "--allow-external"]);
    install(&scene, &Run::Args(args)).await?;

    let account = format!(
        "system:serviceaccount:{}:taffrail-loadtest",
        scene.namespace
    );
    let nobody = format!("system:serviceaccount:{}:nobody", scene.namespace);
    let common = rights(cluster, &nobody, &scene.namespace).await?;
    until("the rights to be in force", SOON, async || {
        let given = rights(cluster, &account, &scene.namespace).await?;
        let given: BTreeSet<&str> = given.difference(&common).map(String::as_str).collect();
        ensure!(given == BTreeSet::from(RIGHTS), "{given:?}");
        Ok(())
    })
    .await?;
    let elsewhere: BTreeSet<String> = rights(cluster, &account, "default").await?;
    assert_eq!(
        elsewhere,
        rights(cluster, &nobody, "default").await?,
        "its own namespace only"
    );
    let in_namespace = format!("--namespace={}", scene.namespace);
    for question in NEVER {
        let asked = ["auth", "can-i", "--as", &account, &in_namespace];
        let asked = asked.iter().chain(question);
        let said = cluster.kubectl().try_run(asked).await?.stdout;
        assert_eq!(said.trim(), "no", "{question:?}");
    }

    // Whether a busy machine sent them in time is not the question here.
    let (_, log) = ended(&scene).await?;
    assert!(log.contains("20 offered of 20 planned"), "{log}");
    Ok(())
}

/// One HPA may not have the pods that it needs, one loses its metric, and one does as it should. A check of each says so
/// that does not depend on how busy the machine is.
pub(super) async fn a_job_ends_with_99_where_the_hpa_misbehaves_and_not_where_it_does_not(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let [few, more] = [2, 4].map(|most| by_rate(most, &Value::Null));
    let (too_low, blind, right) = tokio::try_join!(
        Scene::with_hpa(cluster, "job-too-low", &few),
        Scene::with_hpa(cluster, "job-blind", &more),
        Scene::with_hpa(cluster, "job-right", &more),
    )?;
    let limited =
        json!({"hpa_conditions": {"scope": "stage(busy)", "settle": "20s", "max_limited": "5s"}});
    let gap = json!({"metric_health": {"scope": "stage(busy)", "max_gap": "10s"}});
    let enough = json!({"peak_replicas": {"between": [3, 4]}});
    for (scene, check) in [(&too_low, limited), (&blind, gap), (&right, enough)] {
        let scenario = scenario(&scene.namespace, &check).to_string();
        install(scene, &Run::Scenario(scenario)).await?;
    }
    // Once the load is felt, and half a minute before it ends.
    service::ready(cluster, &blind.namespace, "web", 3).await?;
    let namespace = format!("--namespace={}", blind.namespace);
    let delete = ["delete", "requestmetrics/web", &namespace];
    cluster.kubectl().run(delete).await?;

    for (scene, said) in [
        (&too_low, "the HPA was at its limits for"),
        (&blind, "there was no value of the metric for"),
    ] {
        let (code, log) = ended(scene).await?;
        ensure!(
            code == Some(i32::from(ExitStatus::Failed.code())),
            "{code:?}: {log}"
        );
        ensure!(log.contains(said), "{log}");
    }
    let (code, log) = ended(&right).await?;
    let good =
        [ExitStatus::Passed, ExitStatus::NotDelivered].map(|status| i32::from(status.code()));
    ensure!(
        code.is_some_and(|code| good.contains(&code)),
        "{code:?}: {log}"
    );
    Ok(())
}

/// Load for three pods, and what must hold.
fn scenario(namespace: &str, check: &Value) -> Value {
    json!({
        "apiVersion": "loadtest/v1",
        "name": "web",
        "target": {"url": format!("http://web.{namespace}.svc/"), "discovery": "endpoints"},
        "observe": {"hpa": {"namespace": namespace, "name": "web"}, "metricInterval": "1s"},
        "scenarios": {"main": {"startRate": 12, "stages": [{"name": "busy", "target": 12, "duration": "60s"}]}},
        "preconditions": {"quiet": "1s", "timeout": "60s"},
        "assertions": [check],
        "safety": {"allowNamespaces": [namespace]},
    })
}

/// Waits until the Job of a scene has ended, and gives its exit code and its log.
async fn ended(scene: &Scene<'_>) -> anyhow::Result<(Option<i32>, String)> {
    let jobs = Api::<Job>::namespaced(scene.cluster.admin(), &scene.namespace);
    until("the job to end", ENDED, async || {
        let status = jobs.get("taffrail-loadtest").await?.status;
        let status = status.unwrap_or_default();
        ensure!(
            status.succeeded == Some(1) || status.failed == Some(1),
            "{status:?}"
        );
        Ok(())
    })
    .await?;
    let pods = Api::<Pod>::namespaced(scene.cluster.admin(), &scene.namespace);
    let ours = ListParams::default().labels("app.kubernetes.io/name=taffrail-loadtest");
    let pod = pods.list(&ours).await?.items.pop().context("no pod")?;
    let states = pod
        .status
        .as_ref()
        .and_then(|status| status.container_statuses.as_ref());
    let state = states.and_then(|states| states.first()?.state.as_ref());
    let code = state.and_then(|state| Some(state.terminated.as_ref()?.exit_code));
    let log = scene
        .cluster
        .log(&scene.namespace, &pod.name_any(), "loadtest");
    Ok((code, log))
}

/// What the Job is to run.
enum Run {
    /// These arguments.
    Args(Value),
    /// This scenario.
    Scenario(String),
}

/// Installs the load generator for a service of the scene's namespace, by a kustomization of its user's own.
async fn install(scene: &Scene<'_>, run: &Run) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let up = dir
        .path()
        .components()
        .skip(1)
        .map(|_| "../")
        .collect::<String>();
    let base = format!("{up}{}", MANIFESTS.trim_start_matches('/'));
    let mut kustomization = json!({
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": scene.namespace,
        "resources": [base],
    });
    match run {
        Run::Args(args) => {
            let patch = json!([
                {"op": "replace", "path": "/spec/template/spec/containers/0/args", "value": args},
            ]);
            kustomization["patches"] =
                json!([{"target": {"kind": "Job"}, "patch": patch.to_string()}]);
        }
        Run::Scenario(scenario) => {
            std::fs::write(dir.path().join("scenario.yaml"), scenario)?;
            kustomization["configMapGenerator"] = json!([{
                "name": "taffrail-loadtest", "behavior": "replace", "files": ["scenario.yaml"],
                "options": {"disableNameSuffixHash": true},
            }]);
        }
    }
    std::fs::write(
        dir.path().join("kustomization.yaml"),
        kustomization.to_string(),
    )?;
    let dir = dir.path().display().to_string();
    scene.cluster.kubectl().run(["apply", "-k", &dir]).await?;
    Ok(())
}
