//! What the adapter says of a real HPA that scales by its metric: the numbers are those of the HPA's own status, what
//! somebody else does to the replicas is told apart, a decision that the arithmetic does not give is said and counted,
//! and only who may reads any of it.
//!
//! The HPA has no `behavior`, so it keeps recommendations as long as its controller's flag says: a few seconds here.
//! The adapter cannot know that flag, and takes the default of five minutes. That is the decision that parts.

use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use kube::ResourceExt;
use kube::api::Api;
use serde_json::{Value, json};

use crate::adapter;
use crate::harness::{Cluster, Record, Table, hpa, table, until};
use crate::service;

/// Two reads of a pod, syncs of the HPA, and a slow machine.
const SCALED: Duration = Duration::from_secs(90);

/// Requests a second that one pod is for.
const PER_POD: f64 = 10.0;

const GROUP: &str = "/apis/explain.taffrail.dev/v1alpha1";

pub(crate) fn tests() -> Table {
    table!("shadow";
        an_hpa_is_explained_step_by_step_and_where_it_parts_that_is_said,
        an_explanation_is_for_who_may_view_the_namespace,
    )
}

/// A version of the HPA's status: current and desired replicas, and the average rate.
type Step = (Option<i32>, i32, Option<String>);

fn step(hpa: &HorizontalPodAutoscaler) -> Step {
    let status = hpa.status.as_ref();
    (
        status.and_then(|status| status.current_replicas),
        status.map_or(0, |status| status.desired_replicas),
        hpa::external(hpa),
    )
}

/// An HPA of 1 to 4 replicas, one for every ten requests a second.
fn autoscaler() -> Value {
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "web"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
            "minReplicas": 1,
            "maxReplicas": 4,
            "metrics": [{"type": "External", "external": {
                "metric": {"name": "request_rate", "selector": {"matchLabels": {"service": "web"}}},
                "target": {"type": "AverageValue", "averageValue": PER_POD.to_string()},
            }}],
        },
    })
}

/// A service with one pod and its HPA.
async fn start(cluster: &Cluster, purpose: &str) -> anyhow::Result<String> {
    adapter::installed(cluster).await?;
    let namespace = cluster.namespace(purpose).await?;
    service::run(cluster, &namespace, "web", 1).await?;
    until("a rate", SCALED, async || {
        let rate = adapter::read(cluster, &namespace, "request_rate", "service=web").await?;
        rate.map_err(anyhow::Error::msg)
    })
    .await?;
    let kubectl = cluster.kubectl();
    kubectl.apply(&namespace, &autoscaler().to_string()).await?;
    Ok(namespace)
}

fn path(namespace: &str) -> String {
    format!("{GROUP}/namespaces/{namespace}/explanations/web")
}

/// What one replica or the other says now.
async fn explained(cluster: &Cluster, namespace: &str) -> anyhow::Result<Value> {
    let raw = ["get", "--raw", &path(namespace)];
    Ok(serde_json::from_str(&cluster.kubectl().run(raw).await?)?)
}

/// The syncs that an explanation tells of, oldest first: its history and itself, as replicas before and after, and the
/// total rate in thousandths.
fn syncs(explained: &Value) -> Vec<(i64, i64, Option<i64>)> {
    let facts = &explained["facts"];
    let history = facts["history"].as_array().into_iter().flatten();
    let mut syncs: Vec<_> = history
        .map(|past| {
            (
                past["specReplicas"].as_i64().unwrap_or(-1),
                past["desiredReplicas"].as_i64().unwrap_or(-1),
                past["valuesMilli"][0].as_i64(),
            )
        })
        .collect();
    let real = &facts["real"];
    syncs.push((
        real["currentReplicas"].as_i64().unwrap_or(-1),
        real["desiredReplicas"].as_i64().unwrap_or(-1),
        facts["metrics"][0]["answer"]["itemsMilli"][0].as_i64(),
    ));
    syncs
}

/// Whether a total is that of which the HPA's status shows the average. The status does not say over how many replicas.
fn is_total_of(total: Option<i64>, average: Option<i64>) -> bool {
    let (Some(total), Some(average)) = (total, average) else {
        return false;
    };
    (1..=4).any(|replicas| (total as f64 / f64::from(replicas)).ceil() as i64 == average)
}

/// A quantity as the HPA writes it, in thousandths.
fn milli(quantity: &str) -> Option<i64> {
    taffrail::model::quantity::parse_milli(quantity).ok()
}

async fn an_hpa_is_explained_step_by_step_and_where_it_parts_that_is_said(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = start(cluster, "shadow").await?;
    let hpas = Api::<HorizontalPodAutoscaler>::namespaced(cluster.admin(), &namespace);
    let steps = Record::start(hpas, "web", step).await?;

    // Out: every change is told with the numbers of the HPA's status.
    let load = service::steady(cluster, &namespace, "web", 2.6 * PER_POD)?;
    let (told, seen) = until(
        "three replicas, and how they came about",
        SCALED,
        async || {
            let seen = steps.seen();
            let told = explained(cluster, &namespace).await?;
            ensure!(
                told["facts"]["specReplicas"] == 3,
                "{}",
                told["explanation"]["headline"]
            );
            Ok((told, seen))
        },
    )
    .await?;
    let changes: Vec<&Step> = seen
        .iter()
        .filter(|(current, desired, _)| current.is_some_and(|current| current < *desired))
        .collect();
    ensure!(!changes.is_empty(), "nothing changed: {seen:?}");
    let syncs_told = syncs(&told);
    for (current, desired, value) in changes {
        let average = value.as_deref().and_then(milli);
        let from = i64::from(current.unwrap_or(-1));
        let is_it = |told: &&(i64, i64, Option<i64>)| {
            (told.0, told.1) == (from, i64::from(*desired)) && is_total_of(told.2, average)
        };
        ensure!(
            syncs_told.iter().any(|told| is_it(&told)),
            "{from} to {desired} at {average:?} is not in {syncs_told:?}"
        );
    }
    let (names, metric) = (&told["metadata"], &told["facts"]["metrics"][0]);
    assert_eq!(
        (&names["name"], &names["namespace"]),
        (&json!("web"), &json!(namespace))
    );
    assert_eq!(metric["selector"], "service=web");
    ensure!(told["explanation"]["headline"].is_string(), "{told}");
    the_past_is_told_too(cluster, &namespace, &told).await?;

    // By hand: that is nobody's decision, and the HPA takes it back.
    let scale = [
        "scale",
        "deployment/web",
        "--replicas=4",
        "--namespace",
        &namespace,
    ];
    cluster.kubectl().run(scale).await?;
    until("the change by hand to be told", SCALED, async || {
        let told = syncs(&explained(cluster, &namespace).await?);
        let by_hand = told
            .windows(2)
            .find(|pair| pair[0].1 == 3 && pair[1].0 == 4);
        ensure!(by_hand.is_some(), "{told:?}");
        Ok(())
    })
    .await?;

    // In: sooner than the defaults would have it.
    load.stop().await?;
    until("the parting to be said", SCALED, async || {
        let told = explained(cluster, &namespace).await?;
        ensure!(
            told["facts"]["real"]["desiredReplicas"] == 1,
            "{}",
            told["facts"]["real"]
        );
        ensure!(
            0 < told["partedCount"].as_u64().context("no count")?,
            "{}",
            told["record"]
        );
        Ok(())
    })
    .await?;
    until(
        "the parting and the hand to be counted",
        SCALED,
        async || {
            for pod in adapter::replicas(cluster).await? {
                let page = own_metrics(&pod).await?;
                for counter in [
                    "taffrail_shadow_decisions_total{outcome=\"parted\"}",
                    "taffrail_shadow_decisions_total{outcome=\"agreed\"}",
                    "taffrail_shadow_changes_by_others_total",
                ] {
                    let line = page.lines().find_map(|line| line.strip_prefix(counter));
                    let count: f64 = line
                        .with_context(|| format!("no {counter}"))?
                        .trim()
                        .parse()?;
                    ensure!(0.0 < count, "{}: {counter} is {count}", pod.name_any());
                }
            }
            Ok(())
        },
    )
    .await
}

/// The last change, asked for by its time of the replica that told of it.
async fn the_past_is_told_too(
    cluster: &Cluster,
    namespace: &str,
    told: &Value,
) -> anyhow::Result<()> {
    let change = &told["facts"]["lastChange"];
    let at = change["at"].as_str().context("no change was told")?;
    let raw = format!("{}?at={at}", path(namespace));
    until("the replica that told of it", SCALED, async || {
        let past = cluster.kubectl().run(["get", "--raw", &raw]).await?;
        let past: Value = serde_json::from_str(&past)?;
        ensure!(
            past["record"]["replica"] == told["record"]["replica"],
            "another one"
        );
        // `at` is to the millisecond, as the sync's own time is.
        assert_eq!(past["facts"]["at"], at);
        assert_eq!(past["facts"]["specReplicas"], change["specReplicas"]);
        assert_eq!(
            past["facts"]["real"]["desiredReplicas"],
            change["desiredReplicas"]
        );
        Ok(())
    })
    .await?;
    let long_ago = format!("{}?at=2020-01-01T00:00:00Z", path(namespace));
    let refused = cluster
        .kubectl()
        .try_run(["get", "--raw", &long_ago])
        .await?;
    ensure!(refused.stderr.contains("begins at"), "{}", refused.stderr);
    Ok(())
}

async fn own_metrics(pod: &k8s_openapi::api::core::v1::Pod) -> anyhow::Result<String> {
    let status = pod.status.as_ref().context("no status")?;
    let address = status.pod_ip.as_ref().context("no address")?;
    let page = reqwest::get(format!("http://{address}:9464/metrics")).await?;
    Ok(page.text().await?)
}

async fn an_explanation_is_for_who_may_view_the_namespace(cluster: &Cluster) -> anyhow::Result<()> {
    let namespace = start(cluster, "viewed").await?;
    let in_namespace = format!("--namespace={namespace}");
    until("an explanation", SCALED, async || {
        explained(cluster, &namespace).await
    })
    .await?;

    let jane = cluster.kubectl_as("jane", None)?;
    let refused = jane.try_run(["get", "--raw", &path(&namespace)]).await?;
    ensure!(refused.stderr.contains("(Forbidden)"), "{}", refused.stderr);
    let bind = [
        "create",
        "rolebinding",
        "viewer",
        "--clusterrole=taffrail-view",
        "--user=jane",
        &in_namespace,
    ];
    cluster.kubectl().run(bind).await?;
    // As people ask, by name and all of them; what kubectl knows of the group comes from discovery.
    until("jane to see it", SCALED, async || {
        let get = ["get", "explanations", "--output=name", &in_namespace];
        let seen = jane.run(get).await?;
        ensure!(
            seen.trim() == "explanation.explain.taffrail.dev/web",
            "{seen}"
        );
        Ok(())
    })
    .await?;
    let get = [
        "get",
        "explanation/web",
        "--output=jsonpath={.explanation.headline}",
        &in_namespace,
    ];
    ensure!(!jane.run(get).await?.is_empty(), "it says nothing");
    let missing = jane
        .try_run(["get", "explanation/other", &in_namespace])
        .await?;
    ensure!(
        missing.stderr.contains("no HorizontalPodAutoscaler"),
        "{}",
        missing.stderr
    );
    Ok(())
}
