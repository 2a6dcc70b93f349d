//! The whole line: users send load to real processes, the adapter reads their latency, the unmodified HPA controller reads
//! it through the API server and scales the processes. The objects are those of `deploy/samples/users`, with windows short
//! enough for a test.
//!
//! Nothing here asserts how long scaling takes: a test says in which direction replicas go and why, and looks at every
//! version of the objects for what must never happen.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, ListParams};
use serde_json::{Value, json};
use taffrail::clock;
use taffrail_loadtest::profile::Profile;

use crate::adapter;
use crate::harness::{Cluster, Load, Record, Table, hpa, sample, table, until};

/// Enough for processes to start and be seen by everybody on a slow machine.
const SOON: Duration = Duration::from_secs(30);

/// Enough for load to be felt, measured and acted upon on a slow machine.
const SCALED: Duration = Duration::from_secs(90);

/// Longer than the HPAs here keep their highest recommendation, which is 5 s, by more than a look of the controller.
const OUTLASTS_STABILIZATION: Duration = Duration::from_secs(8);

/// Longer than any test needs load: each stops its own.
const LOAD: Duration = Duration::from_secs(300);

/// The CPU target of the sample HPA.
const CPU_TARGET_PERCENT: i32 = 70;

/// How often the adapter reads pods here.
const INTERVAL: Duration = Duration::from_secs(1);

/// What a restarted API server itself takes, once ready, to learn anew which adapters there are and where their pods are.
/// Nothing of it is in our hands: the adapter's own values are never more than an interval old.
const AGGREGATOR: Duration = Duration::from_secs(10);

/// How long the API server stays away: several intervals, and longer than it takes to lose every watch.
const AWAY: Duration = Duration::from_secs(3);

const LATENCY: &str = "request_latency_ms";
const SELECTOR: &str = "service=users,quantile=0.95";

pub(crate) fn tests() -> Table {
    table!("scaling";
        latency_scales_out_while_cpu_is_low_and_in_again_without_load,
        cpu_scales_out_while_latency_is_fine,
        describe_hpa_says_why_a_metric_is_absent;
        alone:
        a_restarted_adapter_costs_no_replica,
        a_restarted_api_server_costs_no_replica_and_no_value_is_made_up,
    )
}

/// Everything in a namespace: the sample's RequestMetrics and HPA with a service of their own.
pub(crate) struct Scene<'a> {
    cluster: &'a Cluster,
    namespace: String,
}

impl<'a> Scene<'a> {
    /// One ready pod with `args` that requests so much CPU, and an HPA of 1 to 3 replicas with this latency target.
    pub(crate) async fn start(
        cluster: &'a Cluster,
        purpose: &str,
        args: &[&str],
        cpu: &str,
        target_ms: &str,
    ) -> anyhow::Result<Self> {
        adapter::installed(cluster).await?;
        let namespace = cluster.namespace(purpose).await?;
        let scene = Self { cluster, namespace };
        let mut app = sample::deployment("users", 1, args);
        let container = &mut app["spec"]["template"]["spec"]["containers"][0];
        container["resources"]["requests"]["cpu"] = cpu.into();
        for object in [app, sample::service("users")] {
            let kubectl = cluster.kubectl();
            kubectl.apply(&scene.namespace, &object.to_string()).await?;
        }
        scene.apply_sample("requestmetrics.yaml").await?;
        // A short window forgets load soon, and lets the tests be short.
        let short =
            json!({"spec": {"window": "5s", "interval": format!("{}s", INTERVAL.as_secs())}});
        scene.patch("requestmetrics", &short).await?;
        scene.until_read(SOON, |value| value == 0.0).await?;
        scene.apply_sample("hpa.yaml").await?;
        let mut limits = json!({"spec": {
            "minReplicas": 1,
            "maxReplicas": 3,
            "behavior": {
                "scaleUp": {"policies": [{"type": "Pods", "value": 1, "periodSeconds": 5}]},
                "scaleDown": {"stabilizationWindowSeconds": 5},
            },
        }});
        // A merge patch replaces lists, so the whole list is given.
        limits["spec"]["metrics"] = scene.metrics(target_ms).await?;
        scene.patch("hpa", &limits).await?;
        Ok(scene)
    }

    /// The HPA's metrics with another latency target.
    async fn metrics(&self, target_ms: &str) -> anyhow::Result<Value> {
        let hpa = self.hpas().get("users").await?;
        let mut metrics = serde_json::to_value(hpa.spec.metrics)?;
        let external = &mut metrics[1]["external"];
        ensure!(external["metric"]["name"] == LATENCY, "{external}");
        external["target"]["value"] = target_ms.into();
        Ok(metrics)
    }

    async fn apply_sample(&self, file: &str) -> anyhow::Result<()> {
        let file = format!("{}/deploy/samples/users/{file}", env!("CARGO_MANIFEST_DIR"));
        let args = ["apply", "--namespace", &self.namespace, "--filename", &file];
        self.cluster.kubectl().run(args).await?;
        Ok(())
    }

    pub(crate) async fn patch(&self, kind: &str, patch: &Value) -> anyhow::Result<()> {
        let patch = patch.to_string();
        let object = format!("{kind}/users");
        let args = ["patch", &object, "--type=merge", "--patch", &patch];
        let args = args.into_iter().chain(["--namespace", &self.namespace]);
        self.cluster.kubectl().run(args).await?;
        Ok(())
    }

    fn hpas(&self) -> Api<HorizontalPodAutoscaler> {
        Api::namespaced(self.cluster.admin(), &self.namespace)
    }

    fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.cluster.admin(), &self.namespace)
    }

    /// Where it all is.
    pub(crate) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// So many requests a second.
    pub(crate) fn load(&self, rate: f64) -> anyhow::Result<Load> {
        let profile = Profile::constant(rate, LOAD)?;
        Load::start(self.cluster.admin(), &self.namespace, "users", &profile)
    }

    /// All numbers of replicas from here on.
    async fn replicas(&self) -> anyhow::Result<Record<i32>> {
        Record::start(self.deployments(), "users", hpa::replicas).await
    }

    async fn until_replicas(&self, is_enough: impl Fn(i32) -> bool) -> anyhow::Result<()> {
        until("other replicas", SCALED, async || {
            let replicas = hpa::replicas(&self.deployments().get("users").await?);
            if !is_enough(replicas) {
                let describe = ["describe", "hpa", "users", "--namespace", &self.namespace];
                anyhow::bail!(
                    "{replicas}\n{}",
                    self.cluster.kubectl().run(describe).await?
                );
            }
            Ok(())
        })
        .await
    }

    /// Waits until the API server answers a read of the latency with a value that is wanted.
    async fn until_read(&self, within: Duration, is_wanted: fn(f64) -> bool) -> anyhow::Result<()> {
        until("the latency", within, async || {
            let read = adapter::read(self.cluster, &self.namespace, LATENCY, SELECTOR).await?;
            let value = read.map_err(anyhow::Error::msg)?;
            ensure!(is_wanted(value), "{value}");
            Ok(())
        })
        .await
    }

    /// Load under which the HPA wants as many replicas as it may have: no request takes less than 100 ms, however many
    /// pods there are, and the target is below. Whoever takes a pod away then has believed something untrue.
    async fn full(cluster: &'a Cluster, purpose: &str) -> anyhow::Result<(Self, Load)> {
        let args = [
            "--workers=8",
            "--service-time=100ms",
            "--service-cv=0",
            "--cpu-share=0",
        ];
        let scene = Self::start(cluster, purpose, &args, "500m", "60").await?;
        let load = scene.load(8.0)?;
        scene.until_replicas(|replicas| replicas == 3).await?;
        scene.until_read(SOON, |value| 60.0 < value).await?;
        Ok((scene, load))
    }
}

async fn latency_scales_out_while_cpu_is_low_and_in_again_without_load(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    // Two workers of 100 ms answer 20 requests a second, and burn a hundredth of that time.
    let args = [
        "--workers=2",
        "--service-time=100ms",
        "--service-cv=0.5",
        "--cpu-share=0.01",
    ];
    let scene = Scene::start(cluster, "latency", &args, "500m", "250").await?;
    let cpu = Record::start(scene.hpas(), "users", hpa::cpu_percent).await?;

    let load = scene.load(26.0)?;
    scene.until_replicas(|replicas| 2 <= replicas).await?;
    let cpu: Vec<i32> = cpu.seen().into_iter().flatten().collect();
    assert!(!cpu.is_empty(), "the HPA saw no CPU");
    assert!(
        cpu.iter().all(|percent| *percent < CPU_TARGET_PERCENT),
        "{cpu:?}"
    );

    let report = load.stop().await?;
    assert!(0 < report.counts.ok, "{report:?}");
    scene.until_replicas(|replicas| replicas == 1).await
}

async fn cpu_scales_out_while_latency_is_fine(cluster: &Cluster) -> anyhow::Result<()> {
    // Twenty requests of 15 ms of CPU are 300 m, of 100 m requested; nobody waits for a worker.
    let args = [
        "--workers=64",
        "--service-time=15ms",
        "--service-cv=0",
        "--cpu-share=1",
    ];
    let scene = Scene::start(cluster, "cpu", &args, "100m", "20000").await?;
    let latency = Record::start(scene.hpas(), "users", hpa::external).await?;

    let _load = scene.load(20.0)?;
    scene.until_replicas(|replicas| 2 <= replicas).await?;
    scene
        .until_read(SOON, |value| 0.0 < value && value < 20_000.0)
        .await?;
    let seen: Vec<String> = latency.seen().into_iter().flatten().collect();
    assert!(!seen.is_empty(), "the HPA saw no latency");
    for value in seen {
        let milli = value.strip_suffix('m').map(str::parse::<f64>);
        let ms = milli.map_or_else(|| value.parse(), |milli| milli.map(|milli| milli / 1000.0));
        assert!(ms? < 20_000.0, "{value}");
    }
    Ok(())
}

async fn a_restarted_adapter_costs_no_replica(cluster: &Cluster) -> anyhow::Result<()> {
    let (scene, _load) = Scene::full(cluster, "adapter").await?;
    let replicas = scene.replicas().await?;
    let kubectl = cluster.kubectl();
    let before = names(cluster).await?;

    let target = ["deployment/taffrail", "--namespace", adapter::NAMESPACE];
    kubectl
        .run(["rollout", "restart"].iter().chain(&target))
        .await?;
    kubectl
        .run(["rollout", "status", "--timeout=90s"].iter().chain(&target))
        .await?;
    let rolled = names(cluster).await?;
    assert!(
        rolled.iter().all(|name| !before.contains(name)),
        "{rolled:?}"
    );
    scene.until_read(SOON, |value| 60.0 < value).await?;

    // Both at once: for a while nobody answers at all.
    let pods = Api::<Pod>::namespaced(cluster.admin(), adapter::NAMESPACE);
    let at_once = DeleteParams::default().grace_period(0);
    pods.delete_collection(&at_once, &ListParams::default())
        .await?;
    until("nobody to answer", SOON, async || {
        let read = adapter::read(cluster, &scene.namespace, LATENCY, SELECTOR).await?;
        ensure!(read.is_err(), "{read:?}");
        Ok(())
    })
    .await?;
    adapter::installed(cluster).await?;
    scene.until_read(SCALED, |value| 60.0 < value).await?;
    settle(&scene).await?;
    assert_eq!(replicas.seen(), [3]);
    Ok(())
}

async fn a_restarted_api_server_costs_no_replica_and_no_value_is_made_up(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let (scene, _load) = Scene::full(cluster, "api-server").await?;
    let replicas = scene.replicas().await?;
    let pages = pages(cluster).await?;
    assert_eq!(pages.len(), 2, "{pages:?}");

    cluster.stop_api_server().await?;
    let away = clock::instant();
    while away.elapsed() < AWAY {
        all_serve(&pages, &scene.namespace).await?;
    }
    cluster.start_api_server().await?;
    all_serve(&pages, &scene.namespace).await?;
    scene
        .until_read(INTERVAL + AGGREGATOR, |value| 60.0 < value)
        .await?;
    all_serve(&pages, &scene.namespace).await?;
    settle(&scene).await?;
    assert_eq!(replicas.seen(), [3]);
    Ok(())
}

async fn describe_hpa_says_why_a_metric_is_absent(cluster: &Cluster) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = cluster.namespace("absent").await?;
    let scene = Scene { cluster, namespace };
    let app = sample::deployment("users", 1, &[]).to_string();
    cluster.kubectl().apply(&scene.namespace, &app).await?;
    scene.apply_sample("hpa.yaml").await?;
    until("the message", SOON, async || {
        let describe = ["describe", "hpa", "users", "--namespace", &scene.namespace];
        let described = cluster.kubectl().run(describe).await?;
        ensure!(described.contains("FailedGetExternalMetric"), "{described}");
        ensure!(described.contains("no RequestMetrics"), "{described}");
        Ok(())
    })
    .await
}

/// Waits until the HPA has decided on the metric again, and long enough for whatever it believed before to act.
async fn settle(scene: &Scene<'_>) -> anyhow::Result<()> {
    until("the HPA to decide", SOON, async || {
        let hpa = scene.hpas().get("users").await?;
        let active = hpa::condition(&hpa, "ScalingActive").context("no condition yet")?;
        ensure!(active.status == "True", "{active:?}");
        hpa::external(&hpa).context("it has no latency")
    })
    .await?;
    tokio::time::sleep(OUTLASTS_STABILIZATION).await;
    Ok(())
}

/// The names of the adapter's pods that are not on their way out.
async fn names(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let replicas = adapter::replicas(cluster).await?;
    let staying = replicas
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    Ok(staying.map(ResourceExt::name_any).collect())
}

/// Where each adapter shows its own metrics.
async fn pages(cluster: &Cluster) -> anyhow::Result<Vec<String>> {
    let replicas = adapter::replicas(cluster).await?;
    let staying = replicas
        .iter()
        .filter(|pod| pod.metadata.deletion_timestamp.is_none());
    let addresses = staying.filter_map(|pod| pod.status.as_ref()?.pod_ip.as_ref());
    Ok(addresses
        .map(|address| format!("http://{address}:9464/metrics"))
        .collect())
}

/// Every adapter serves a latency that requests can have had, which is 100 ms at least: not zero, and not nothing.
async fn all_serve(pages: &[String], namespace: &str) -> anyhow::Result<()> {
    for url in pages {
        let page = reqwest::get(url).await?.text().await?;
        let of_users = format!("namespace=\"{namespace}\"");
        let mut lines = page.lines();
        let line = lines.find(|line| {
            line.starts_with("taffrail_request_latency_seconds{") && line.contains(&of_users)
        });
        let value: f64 = line
            .and_then(|line| line.rsplit(' ').next())
            .with_context(|| format!("{url} has no latency"))?
            .parse()?;
        ensure!(0.05 < value, "{url}: {value}");
    }
    Ok(())
}
