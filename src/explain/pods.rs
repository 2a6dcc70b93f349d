//! The pods that an HPA counts, with what they request, and what metrics-server says that they use.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::ask::{AskError, Right, ask, encoded};
use crate::cluster::connect::Cluster;
use crate::hpa::{Answer, MetricSpec, Phase, Pod, Readiness, ReadyStatus, Spec, Usage};
use crate::model::quantity::parse_milli;
use crate::model::time::Timestamp;

/// Pods in one answer of the API server: a few megabytes.
const PAGE: usize = 500;

/// Most such answers: no HPA is known to have so many pods.
const PAGES_MAX: usize = 20;

/// The pods of a selector, with what they request of the resources that `spec` scales on.
pub(super) async fn list(
    cluster: &Cluster,
    namespace: &str,
    selector: &str,
    spec: &Spec,
) -> Result<Vec<Pod>, AskError> {
    let mut pods = Vec::new();
    let mut next = String::new();
    for _ in 0..PAGES_MAX {
        let path = format!(
            "/api/v1/namespaces/{}/pods?limit={PAGE}&labelSelector={}&continue={}",
            encoded(namespace),
            encoded(selector),
            encoded(&next)
        );
        let list: Value = ask(cluster, &path, Right::new("list", "", "pods", namespace)).await?;
        let items = list.get("items").and_then(Value::as_array);
        pods.extend(
            items
                .into_iter()
                .flatten()
                .filter_map(|item| pod(item, spec)),
        );
        let more = list.pointer("/metadata/continue").and_then(Value::as_str);
        match more.filter(|more| !more.is_empty()) {
            Some(more) => more.clone_into(&mut next),
            None => break,
        }
    }
    Ok(pods)
}

/// What the pods of a selector use of a resource: all their containers, or the one that is meant.
pub(super) async fn usage(
    cluster: &Cluster,
    namespace: &str,
    selector: &str,
    resource: &str,
    container: Option<&str>,
) -> Result<Answer, AskError> {
    let path = format!(
        "/apis/metrics.k8s.io/v1beta1/namespaces/{}/pods?labelSelector={}",
        encoded(namespace),
        encoded(selector)
    );
    let right = Right::new("list", "metrics.k8s.io", "pods", namespace);
    let list: Value = ask(cluster, &path, right).await?;
    usage_in(&list, resource, container).map_err(AskError::NotFound)
}

/// What a list of metrics-server says. One pod without the container that is meant is enough for no usage to be known, as
/// for the HPA.
//= metrics/client.go getContainerMetrics
fn usage_in(list: &Value, resource: &str, container: Option<&str>) -> Result<Answer, String> {
    let items = list.get("items").and_then(Value::as_array);
    let mut usage = BTreeMap::new();
    for item in items.into_iter().flatten() {
        if let Some(container) = container.filter(|name| containers(item, Some(*name)).is_empty()) {
            let pod = item.pointer("/metadata/name").and_then(Value::as_str);
            return Err(format!(
                "metrics-server knows no container {container} of pod {}, and the HPA takes that for no value at all",
                pod.unwrap_or_default()
            ));
        }
        usage.extend(used(item, resource, container));
    }
    Ok(Answer::PerPod(usage))
}

/// The containers of a pod's usage that are meant.
fn containers<'a>(item: &'a Value, container: Option<&str>) -> Vec<&'a Value> {
    let all = item.get("containers").and_then(Value::as_array);
    let is_meant = |one: &&Value| {
        container.is_none_or(|name| one.get("name").and_then(Value::as_str) == Some(name))
    };
    all.into_iter().flatten().filter(is_meant).collect()
}

fn pod(item: &Value, spec: &Spec) -> Option<Pod> {
    let text = |path: &str| item.pointer(path).and_then(Value::as_str);
    let conditions = item.pointer("/status/conditions").and_then(Value::as_array);
    let mut conditions = conditions.into_iter().flatten();
    let ready =
        conditions.find(|condition| condition.get("type").and_then(Value::as_str) == Some("Ready"));
    let readiness = ready.and_then(|ready| {
        let text = |key: &str| ready.get(key).and_then(Value::as_str);
        Some(Readiness {
            status: match text("status") {
                Some("True") => ReadyStatus::True,
                Some("False") => ReadyStatus::False,
                _ => ReadyStatus::Unknown,
            },
            since: text("lastTransitionTime").and_then(Timestamp::from_rfc3339)?,
        })
    });
    let mut pod = Pod {
        name: text("/metadata/name")?.to_owned(),
        phase: match text("/status/phase") {
            None | Some("Pending") => Phase::Pending,
            Some("Succeeded") => Phase::Succeeded,
            Some("Failed") => Phase::Failed,
            // Of a lost node's pod the phase is unknown: it was running.
            Some(_) => Phase::Running,
        },
        deleted: text("/metadata/deletionTimestamp").is_some(),
        started: text("/status/startTime").and_then(Timestamp::from_rfc3339),
        readiness,
        requests: BTreeMap::new(),
        container_requests: BTreeMap::new(),
    };
    for metric in &spec.metrics {
        let MetricSpec::Resource {
            resource,
            container,
            ..
        } = metric
        else {
            continue;
        };
        if let Some(container) = container {
            // Told apart even where it requests nothing: its share is not that of the pod.
            pod.container_requests.entry(container.clone()).or_default();
        }
        if let Some(milli) = request(item, resource, container.as_deref()) {
            pod.set_request(resource, container.as_deref(), milli);
        }
    }
    Some(pod)
}

/// What a pod requests: for itself, else the sum of what its containers and sidecars do. `None` where one does not.
//= replica_calculator.go calculateRequests
fn request(pod: &Value, resource: &str, container: Option<&str>) -> Option<i64> {
    let of = |holder: &Value| {
        let request = holder.pointer("/resources/requests")?.get(resource)?;
        parse_milli(request.as_str()?).ok()
    };
    let whole = pod.get("spec").and_then(of).filter(|_| container.is_none());
    if whole.is_some() {
        return whole;
    }
    let list = |key: &str| {
        let list = pod
            .pointer(&format!("/spec/{key}"))
            .and_then(Value::as_array);
        list.map(Vec::as_slice).unwrap_or_default()
    };
    let is_sidecar = |container: &&Value| {
        container.get("restartPolicy").and_then(Value::as_str) == Some("Always")
    };
    let all = list("containers")
        .iter()
        .chain(list("initContainers").iter().filter(is_sidecar));
    let meant = all.filter(|one| {
        container.is_none_or(|name| one.get("name").and_then(Value::as_str) == Some(name))
    });
    meant
        .map(of)
        .try_fold(0_i64, |sum, request| sum.checked_add(request?))
}

/// What one pod uses; `None` where metrics-server does not say it of all that is meant.
fn used(item: &Value, resource: &str, container: Option<&str>) -> Option<(String, Usage)> {
    let text = |path: &str| item.pointer(path).and_then(Value::as_str);
    let mut milli = None;
    for one in containers(item, container) {
        let usage = parse_milli(one.pointer("/usage")?.get(resource)?.as_str()?).ok()?;
        milli = Some(milli.unwrap_or(0_i64).saturating_add(usage));
    }
    let usage = Usage {
        milli: milli?,
        at: text("/timestamp").and_then(Timestamp::from_rfc3339)?,
        window: text("/window").and_then(|window| humantime::parse_duration(window).ok())?,
    };
    Some((text("/metadata/name")?.to_owned(), usage))
}

/// The same usage for each pod that is measured, where only the average is known.
pub(super) fn each(pods: &[Pod], milli: i64, at: Timestamp) -> BTreeMap<String, Usage> {
    /// metrics-server's own resolution.
    const WINDOW: Duration = Duration::from_secs(15);
    let measured = pods
        .iter()
        .filter(|pod| pod.phase == Phase::Running && !pod.deleted);
    let usage = Usage {
        milli,
        at,
        window: WINDOW,
    };
    measured.map(|pod| (pod.name.clone(), usage)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_pod_requests_what_its_containers_and_sidecars_do() {
        let requests = |cpu: &str| json!({"requests": {"cpu": cpu}});
        let pod = json!({"spec": {
            "containers": [
                {"name": "web", "resources": requests("500m")},
                {"name": "log", "resources": requests("0.1")},
            ],
            "initContainers": [
                {"name": "setup", "resources": requests("4")},
                {"name": "mesh", "restartPolicy": "Always", "resources": requests("50m")},
            ],
        }});
        assert_eq!(request(&pod, "cpu", None), Some(650));
        assert_eq!(request(&pod, "cpu", Some("log")), Some(100));
        assert_eq!(request(&pod, "memory", None), None);
        let whole = json!({"spec": {"resources": requests("2"), "containers": [{"name": "web"}]}});
        assert_eq!(request(&whole, "cpu", None), Some(2000));
        let lacking = json!({"spec": {"containers": [
            {"name": "web", "resources": requests("500m")}, {"name": "log"}]}});
        assert_eq!(request(&lacking, "cpu", None), None);
    }

    #[test]
    fn a_container_that_is_meant_is_told_apart_from_its_pod() {
        let spec = crate::config::autoscaler::from_value(&json!({"maxReplicas": 9, "metrics": [
            {"type": "Resource", "resource": {
                "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            {"type": "ContainerResource", "containerResource": {
                "name": "cpu", "container": "log", "target": {"type": "Utilization", "averageUtilization": 70}}},
        ]}))
        .unwrap();
        let mut item = json!({
            "metadata": {"name": "users-1"},
            "spec": {"containers": [
                {"name": "web", "resources": {"requests": {"cpu": "500m"}}},
                {"name": "log", "resources": {"requests": {"cpu": "100m"}}},
            ]},
        });
        let of_both = pod(&item, &spec).unwrap();
        assert_eq!(of_both.request("cpu", None), Some(600));
        assert_eq!(of_both.request("cpu", Some("log")), Some(100));
        item["spec"]["containers"][1]["resources"] = json!({});
        let of_one = pod(&item, &spec).unwrap();
        assert_eq!(
            of_one.request("cpu", Some("log")),
            None,
            "not its pod's share"
        );
    }

    #[test]
    fn what_a_pod_uses_is_what_all_its_containers_use() {
        let item = json!({
            "metadata": {"name": "users-1"}, "timestamp": "2026-11-21T10:00:00Z", "window": "15.043s",
            "containers": [{"name": "web", "usage": {"cpu": "123456789n"}}, {"name": "log", "usage": {"cpu": "1m"}}],
        });
        let (name, usage) = used(&item, "cpu", None).unwrap();
        assert_eq!((name.as_str(), usage.milli), ("users-1", 125));
        assert_eq!(used(&item, "cpu", Some("log")).unwrap().1.milli, 1);
        assert!(used(&item, "memory", None).is_none());
        let list = json!({"items": [item]});
        let error = usage_in(&list, "cpu", Some("other")).unwrap_err();
        assert!(
            error.contains("no container other of pod users-1"),
            "{error}"
        );
    }
}
