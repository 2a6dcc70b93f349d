//! What the conformance tests have: a namespace with metrics of any value, and pods that are ready when a test says so.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::adapter;
use crate::harness::{Cluster, Record, Redis, hpa, sample, until};

/// Enough for anything that takes no more than a few looks of a controller, on a slow machine.
pub(super) const SOON: Duration = Duration::from_secs(60);

/// A node that is not there: pods bound to it stay as the test says.
const NOWHERE: &str = "nowhere";

/// How an HPA compares.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target {
    /// With the value itself.
    Value(&'static str),
    /// With the value divided by the pods.
    Average(&'static str),
}

/// A namespace with a Redis whose numbers are metrics.
pub(super) struct Bench<'a> {
    cluster: &'a Cluster,
    pub(super) namespace: String,
    pub(super) redis: Redis,
}

impl<'a> Bench<'a> {
    /// One in which each of `keys` is a backlog of the service `work`.
    pub(super) async fn start(
        cluster: &'a Cluster,
        purpose: &str,
        keys: &[String],
    ) -> anyhow::Result<Self> {
        adapter::installed(cluster).await?;
        let bench = Self {
            cluster,
            namespace: cluster.namespace(purpose).await?,
            redis: Redis::start(&cluster.logs_dir()).await?,
        };
        let backlog: Vec<Value> = keys
            .iter()
            .map(|key| json!({"key": key, "measure": "number"}))
            .collect();
        bench
            .apply(&json!({
                "apiVersion": "taffrail.dev/v1alpha1",
                "kind": "RequestMetrics",
                "metadata": {"name": "work"},
                "spec": {
                    "source": {"redis": {"address": bench.redis.address(), "backlog": backlog}},
                    "window": "2s",
                    "interval": "1s",
                },
            }))
            .await?;
        Ok(bench)
    }

    /// One with a single backlog `jobs`, and a Deployment `work` of so many ready pods.
    pub(super) async fn of_jobs(
        cluster: &'a Cluster,
        purpose: &str,
        jobs: &str,
        replicas: u32,
    ) -> anyhow::Result<Self> {
        let bench = Self::start(cluster, purpose, &["jobs".to_owned()]).await?;
        bench.redis.set("jobs", jobs)?;
        bench.apply(&deployment("work", replicas)).await?;
        bench.pods("work", replicas, replicas as usize).await?;
        Ok(bench)
    }

    pub(super) async fn apply(&self, object: &Value) -> anyhow::Result<()> {
        let kubectl = self.cluster.kubectl();
        kubectl.apply(&self.namespace, &object.to_string()).await?;
        Ok(())
    }

    /// Waits until the Deployment has its pods, and makes so many of them ready.
    pub(super) async fn pods(&self, name: &str, replicas: u32, ready: usize) -> anyhow::Result<()> {
        let deployments = self.deployments();
        until("pods", SOON, async || {
            let status = deployments.get(name).await?.status;
            let there = status.and_then(|status| status.replicas).unwrap_or(0);
            ensure!(u32::try_from(there)? == replicas, "{there} are there");
            Ok(())
        })
        .await?;
        let pods = Api::<Pod>::namespaced(self.cluster.admin(), &self.namespace);
        let of_deployment = ListParams::default().labels(&format!("app={name}"));
        for pod in pods.list(&of_deployment).await?.items.iter().take(ready) {
            let status = json!({"status": {
                "phase": "Running",
                "conditions": [{"type": "Ready", "status": "True"}],
            }});
            let patch = Patch::Strategic(status);
            pods.patch_status(&pod.name_any(), &PatchParams::default(), &patch)
                .await?;
        }
        Ok(())
    }

    pub(super) fn deployments(&self) -> Api<Deployment> {
        Api::namespaced(self.cluster.admin(), &self.namespace)
    }

    pub(super) async fn hpa(&self, name: &str) -> anyhow::Result<HorizontalPodAutoscaler> {
        let hpas = Api::namespaced(self.cluster.admin(), &self.namespace);
        Ok(hpas.get(name).await?)
    }

    /// All numbers of replicas from here on.
    pub(super) async fn replicas(&self) -> anyhow::Result<Record<i32>> {
        Record::start(self.deployments(), "work", hpa::replicas).await
    }

    pub(super) async fn until_replicas(&self, wanted: i32) -> anyhow::Result<()> {
        until("replicas", SOON, async || {
            let replicas = hpa::replicas(&self.deployments().get("work").await?);
            ensure!(replicas == wanted, "{replicas} instead of {wanted}");
            Ok(())
        })
        .await
    }

    /// Waits until ScalingActive is so, for this reason, and gives its message.
    pub(super) async fn until_active(&self, status: &str, reason: &str) -> anyhow::Result<String> {
        until(reason, SOON, async || {
            let hpa = self.hpa("work").await?;
            let active = hpa::condition(&hpa, "ScalingActive").context("no condition yet")?;
            let seen = (active.status.as_str(), active.reason.as_deref());
            ensure!(seen == (status, Some(reason)), "{active:?}");
            Ok(active.message.clone().unwrap_or_default())
        })
        .await
    }
}

/// A Deployment whose pods have no processes.
pub(super) fn deployment(name: &str, replicas: u32) -> Value {
    let mut deployment = sample::deployment(name, replicas, &[]);
    let pod = &mut deployment["spec"]["template"]["spec"];
    pod["nodeName"] = NOWHERE.into();
    // Nobody is there who could wait for them to end.
    pod["terminationGracePeriodSeconds"] = 0.into();
    deployment
}

/// An HPA of the Deployment of the same name.
pub(super) fn autoscaler(name: &str, metrics: &[Value]) -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": 20,
            "metrics": metrics,
        },
    })
}

/// The sum of some backlogs of `service`.
pub(super) fn backlog(service: &str, keys: &[String], target: Target) -> Value {
    let target = match target {
        Target::Value(value) => json!({"type": "Value", "value": value}),
        Target::Average(value) => json!({"type": "AverageValue", "averageValue": value}),
    };
    let selector = json!({
        "matchLabels": {"service": service},
        "matchExpressions": [{"key": "key", "operator": "In", "values": keys}],
    });
    json!({"type": "External", "external": {
        "metric": {"name": "redis_backlog", "selector": selector},
        "target": target,
    }})
}

/// One pod for each job.
pub(super) fn jobs_of(service: &str) -> Value {
    backlog(service, &["jobs".to_owned()], Target::Average("1"))
}

/// Several objects as one.
pub(super) fn list(items: &[Value]) -> Value {
    json!({"apiVersion": "v1", "kind": "List", "items": items})
}
