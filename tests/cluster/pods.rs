//! Pods on the test's own node: what controllers and the adapter see of them must be what a real node shows, or every test
//! that builds on it proves nothing.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::core::v1::{Pod, Service};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::json;
use taffrail_loadtest::cluster::service::Selected;
use taffrail_loadtest::profile::Profile;

use crate::harness::{Cluster, Load, Table, is_ready, sample, table, until};

/// Enough for a process to start and be seen by everybody on a slow machine.
const SOON: Duration = Duration::from_secs(30);

/// Enough for the HPA controller to see what burns, and to act.
const SCALED: Duration = Duration::from_secs(90);

pub(crate) fn tests() -> Table {
    table!("pods";
        a_deployment_has_real_pods_with_addresses_that_answer,
        a_pod_is_ready_when_its_probe_says_so_and_not_before,
        a_deleted_pod_gets_sigterm_and_goes,
        a_container_that_ends_is_started_again,
        an_unhealthy_container_is_started_again,
        a_pod_that_lacks_a_secret_says_so_and_starts_once_it_is_there,
        a_pod_has_a_token_of_its_service_account;
        alone:
        pods_run_on_while_the_api_server_is_away,
        the_hpa_scales_on_cpu_that_is_really_burned,
    )
}

async fn a_deployment_has_real_pods_with_addresses_that_answer(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("deployment").await?;
    let kubectl = cluster.kubectl();
    let app = sample::deployment("web", 2, &[]).to_string();
    kubectl.apply(&namespace, &app).await?;
    let service = sample::service("web").to_string();
    kubectl.apply(&namespace, &service).await?;

    let endpoints = until("two ready endpoints", SOON, async || {
        let endpoints = endpoints(cluster, &namespace).await?;
        ensure!(endpoints.len() == 2, "{endpoints:?}");
        Ok(endpoints)
    })
    .await?;

    let pods = pods(cluster, &namespace).await?;
    let addresses: BTreeSet<String> = pods.iter().map(address).collect();
    let served: BTreeSet<String> = endpoints.iter().map(|at| at.ip().to_string()).collect();
    assert_eq!(addresses, served);
    assert_eq!(cluster.processes(&namespace).len(), 2);
    for endpoint in endpoints {
        let page = reqwest::get(format!("http://{endpoint}/metrics")).await?;
        assert!(
            page.text().await?.contains("_bucket"),
            "no histogram at {endpoint}"
        );
    }
    Ok(())
}

async fn a_pod_is_ready_when_its_probe_says_so_and_not_before(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("ready").await?;
    let app = sample::deployment("slow", 1, &["--startup-delay=4s"]).to_string();
    cluster.kubectl().apply(&namespace, &app).await?;
    let pod = until("a ready pod", SOON, async || {
        let pods = pods(cluster, &namespace).await?;
        let pod = pods.into_iter().find(is_ready);
        pod.context("no pod is ready")
    })
    .await?;
    let status = pod.status.context("no status")?;
    let condition = status.conditions.into_iter().flatten();
    let since = condition
        .filter(|condition| condition.type_ == "Ready")
        .find_map(|condition| condition.last_transition_time)
        .context("no time")?;
    let containers = status.container_statuses.context("no containers")?;
    let running = containers[0].state.clone().and_then(|state| state.running);
    let started = running
        .and_then(|running| running.started_at)
        .context("not running")?;
    // Times have whole seconds on the wire, so one of the four may be cut off.
    let seconds = since.0.duration_since(started.0).as_secs();
    assert!((3..10).contains(&seconds), "ready after {seconds} s");
    Ok(())
}

async fn a_deleted_pod_gets_sigterm_and_goes(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("deleted").await?;
    let (name, process) = one_pod(cluster, &namespace, sample::pod_spec(&[])).await?;
    let api = Api::<Pod>::namespaced(cluster.admin(), &namespace);
    api.delete(&name, &DeleteParams::default()).await?;
    until("the pod to be gone", SOON, async || {
        let left = api.get_opt(&name).await?;
        ensure!(left.is_none(), "it is there");
        Ok(())
    })
    .await?;
    assert_eq!(cluster.processes(&namespace).len(), 0);
    assert!(!std::path::Path::new(&format!("/proc/{process}")).exists());
    Ok(())
}

async fn a_container_that_ends_is_started_again(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("crash").await?;
    let (name, process) = one_pod(cluster, &namespace, sample::pod_spec(&[])).await?;
    let id = rustix::process::Pid::from_raw(i32::try_from(process)?).context("no id")?;
    rustix::process::kill_process(id, rustix::process::Signal::KILL)?;
    let api = Api::<Pod>::namespaced(cluster.admin(), &namespace);
    until("a restarted container", SOON, async || {
        let pod = api.get(&name).await?;
        let status = pod
            .status
            .clone()
            .and_then(|status| status.container_statuses);
        let status = status.and_then(|mut all| all.pop()).context("no status")?;
        let end = status.last_state.and_then(|state| state.terminated);
        let seen = (
            status.restart_count,
            end.map(|end| end.exit_code),
            is_ready(&pod),
        );
        ensure!(seen == (1, Some(137), true), "{seen:?}");
        Ok(())
    })
    .await?;
    assert_ne!(
        cluster.processes(&namespace).values().next(),
        Some(&process)
    );
    assert_eq!(
        cluster
            .log(&namespace, &name, "app")
            .matches("listening")
            .count(),
        2
    );
    Ok(())
}

async fn an_unhealthy_container_is_started_again(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("unhealthy").await?;
    let mut spec = sample::pod_spec(&[]);
    // Nobody listens there.
    spec["containers"][0]["livenessProbe"] =
        json!({"tcpSocket": {"port": 81}, "periodSeconds": 1, "failureThreshold": 2});
    apply_pod(cluster, &namespace, spec).await?;
    let api = Api::<Pod>::namespaced(cluster.admin(), &namespace);
    until("a restarted container", SOON, async || {
        let status = api.get("one").await?.status.context("no status")?;
        let containers = status.container_statuses.context("no containers")?;
        ensure!(1 <= containers[0].restart_count, "{containers:?}");
        Ok(())
    })
    .await
}

async fn a_pod_that_lacks_a_secret_says_so_and_starts_once_it_is_there(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("secret").await?;
    let mut spec = sample::pod_spec(&[]);
    let from = json!({"secretKeyRef": {"name": "app", "key": "token"}});
    let token = json!({"name": "APP_AUTH_TOKEN", "valueFrom": from});
    spec["containers"][0]["env"]
        .as_array_mut()
        .context("no list")?
        .push(token);
    apply_pod(cluster, &namespace, spec).await?;
    let api = Api::<Pod>::namespaced(cluster.admin(), &namespace);
    until("a message", SOON, async || {
        let seen = serde_json::to_string(&api.get("one").await?.status)?;
        ensure!(
            seen.contains("key token of secret app is not there"),
            "{seen}"
        );
        Ok(())
    })
    .await?;
    let create = [
        "create",
        "secret",
        "generic",
        "app",
        "--from-literal=token=hush",
    ];
    let create = create.into_iter().chain(["--namespace", &namespace]);
    cluster.kubectl().run(create).await?;
    let pod = ready_pod(cluster, &namespace, "one").await?;
    let page = format!("http://{}:{}/metrics", address(&pod), sample::PORT);
    assert_eq!(reqwest::get(&page).await?.status(), 401);
    let client = reqwest::Client::new();
    let allowed = client
        .get(&page)
        .header("X-Auth-Token", "hush")
        .send()
        .await?;
    assert_eq!(allowed.status(), 200);
    Ok(())
}

async fn pods_run_on_while_the_api_server_is_away(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("away").await?;
    let (name, process) = one_pod(cluster, &namespace, sample::pod_spec(&[])).await?;
    let api = Api::<Pod>::namespaced(cluster.admin(), &namespace);
    let page = format!(
        "http://{}:{}/metrics",
        address(&api.get(&name).await?),
        sample::PORT
    );
    cluster.stop_api_server().await?;
    assert_eq!(reqwest::get(&page).await?.status(), 200);
    cluster.start_api_server().await?;
    // The same process, and a node that takes new pods as before.
    assert_eq!(
        cluster.processes(&namespace).values().next(),
        Some(&process)
    );
    let app = sample::deployment("after", 1, &[]).to_string();
    cluster.kubectl().apply(&namespace, &app).await?;
    until("a second ready pod", SOON, async || {
        let ready = pods(cluster, &namespace)
            .await?
            .iter()
            .filter(|pod| is_ready(pod))
            .count();
        ensure!(ready == 2, "{ready} are ready");
        Ok(())
    })
    .await
}

async fn a_pod_has_a_token_of_its_service_account(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("token").await?;
    let (_, process) = one_pod(cluster, &namespace, sample::pod_spec(&[])).await?;
    let dir = format!("/proc/{process}/root/run/secrets/kubernetes.io/serviceaccount");
    let token = std::fs::read_to_string(format!("{dir}/token"))?;
    assert_eq!(
        std::fs::read_to_string(format!("{dir}/namespace"))?,
        namespace
    );
    assert_eq!(
        std::fs::read_to_string(format!("{dir}/ca.crt"))?,
        cluster.pki().cluster.pem()
    );
    let review = json!({
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenReview",
        "metadata": {},
        "spec": {"token": token},
    });
    let create = ["create", "--output", "json", "--filename", "-"];
    let reviewed = cluster
        .kubectl()
        .run_with(create, &review.to_string())
        .await?;
    let reviewed: serde_json::Value = serde_json::from_str(&reviewed)?;
    let user = format!("system:serviceaccount:{namespace}:default");
    assert_eq!(reviewed["status"]["user"]["username"], user.as_str());

    let mut spec = sample::pod_spec(&[]);
    spec["automountServiceAccountToken"] = false.into();
    let bare = cluster.namespace("no-token").await?;
    let (_, process) = one_pod(cluster, &bare, spec).await?;
    assert!(!std::path::Path::new(&format!("/proc/{process}/root/run/secrets")).exists());
    Ok(())
}

async fn the_hpa_scales_on_cpu_that_is_really_burned(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = cluster.namespace("cpu").await?;
    let kubectl = cluster.kubectl();
    // Ten requests a second of 25 ms of CPU are 250 m, of 100 m requested.
    let args = ["--service-time=25ms", "--service-cv=0", "--cpu-share=1"];
    let hpa = json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 3,
            "metrics": [{"type": "Resource", "resource": {
                "name": "cpu",
                "target": {"type": "Utilization", "averageUtilization": 70},
            }}],
        },
    });
    for object in [
        sample::deployment("web", 1, &args),
        sample::service("web"),
        hpa,
    ] {
        kubectl.apply(&namespace, &object.to_string()).await?;
    }
    until("an endpoint", SOON, async || {
        let endpoints = endpoints(cluster, &namespace).await?;
        ensure!(endpoints.len() == 1, "{endpoints:?}");
        Ok(())
    })
    .await?;
    let load = Profile::constant(10.0, Duration::from_secs(300))?;
    let load = Load::start(cluster.admin(), &namespace, "web", &load)?;
    replicas_become(cluster, &namespace, 3).await?;
    let report = load.stop().await?;
    assert!(0 < report.counts.ok, "{report:?}");
    replicas_become(cluster, &namespace, 1).await
}

async fn replicas_become(cluster: &Cluster, namespace: &str, wanted: i32) -> anyhow::Result<()> {
    let deployments = Api::<Deployment>::namespaced(cluster.admin(), namespace);
    until(&format!("{wanted} ready replicas"), SCALED, async || {
        let deployment = deployments.get("web").await?;
        let status = deployment.status.unwrap_or_default();
        let seen = (status.replicas, status.ready_replicas);
        if seen != (Some(wanted), Some(wanted)) {
            let hpa = ["describe", "hpa", "web", "--namespace", namespace];
            anyhow::bail!("{seen:?}\n{}", cluster.kubectl().run(hpa).await?);
        }
        Ok(())
    })
    .await
}

/// A ready pod named `one` of this spec, and the id of its process.
async fn one_pod(
    cluster: &Cluster,
    namespace: &str,
    spec: serde_json::Value,
) -> anyhow::Result<(String, u32)> {
    apply_pod(cluster, namespace, spec).await?;
    ready_pod(cluster, namespace, "one").await?;
    let processes = cluster.processes(namespace);
    let process = processes.values().next().context("no process")?;
    Ok(("one".to_owned(), *process))
}

async fn apply_pod(
    cluster: &Cluster,
    namespace: &str,
    spec: serde_json::Value,
) -> anyhow::Result<()> {
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "one"}, "spec": spec});
    cluster.kubectl().apply(namespace, &pod.to_string()).await?;
    Ok(())
}

async fn ready_pod(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Pod> {
    let api = Api::<Pod>::namespaced(cluster.admin(), namespace);
    until("the pod to be ready", SOON, async || {
        let pod = api.get(name).await?;
        ensure!(is_ready(&pod), "{}", serde_json::to_string(&pod.status)?);
        Ok(pod)
    })
    .await
}

async fn pods(cluster: &Cluster, namespace: &str) -> anyhow::Result<Vec<Pod>> {
    let api = Api::<Pod>::namespaced(cluster.admin(), namespace);
    Ok(api.list(&ListParams::default()).await?.items)
}

async fn endpoints(cluster: &Cluster, namespace: &str) -> anyhow::Result<Vec<SocketAddr>> {
    let services = Api::<Service>::namespaced(cluster.admin(), namespace);
    let http = Selected::new(&services.get("web").await?, 80)?;
    let slices = Api::<EndpointSlice>::namespaced(cluster.admin(), namespace);
    let slices = slices.list(&ListParams::default()).await?;
    Ok(http.ready(&slices).into_keys().collect())
}

fn address(pod: &Pod) -> String {
    let address = pod.status.clone().and_then(|status| status.pod_ip);
    address.unwrap_or_else(|| format!("{} has no address", pod.name_any()))
}
