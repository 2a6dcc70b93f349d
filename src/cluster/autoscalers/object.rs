//! An HPA's object to what the shadow needs of it.

use kube::api::DynamicObject;
use serde_json::Value;

use super::targets::Target;
use crate::config::autoscaler;
use crate::engine::snapshot::Metric;
use crate::hpa::MetricSpec;
use crate::shadow::{Id, Object, Status, Wanted};
use crate::story::facts::ScaleTarget;

/// Whose object it is.
pub(super) fn id(object: &DynamicObject) -> Option<Id> {
    let metadata = &object.metadata;
    let (namespace, name) = (metadata.namespace.as_ref()?, metadata.name.as_ref()?);
    Some(Id::new(namespace, name))
}

/// What the HPA scales, is to do and did; `None` for one that reads no metric of ours, or none that the arithmetic
/// knows.
pub(super) fn read(object: &DynamicObject) -> Option<(Target, Object)> {
    let data = &object.data;
    let spec = autoscaler::from_value(data).ok()?;
    if !spec.metrics.iter().any(is_ours) {
        return None;
    }
    let selectors = autoscaler::selectors(data).ok()?;
    let mut selectors: Vec<String> = selectors.iter().map(ToString::to_string).collect();
    selectors.resize(spec.metrics.len(), String::new());
    let text = |key: &str| {
        let text = data.pointer(&format!("/spec/scaleTargetRef/{key}"));
        text.and_then(Value::as_str).unwrap_or_default().to_owned()
    };
    let target = Target {
        api_version: text("apiVersion"),
        kind: text("kind"),
        name: text("name"),
    };
    let read = Object {
        uid: object.metadata.uid.as_deref().unwrap_or_default().into(),
        wanted: Wanted {
            target: ScaleTarget {
                kind: target.kind.clone(),
                name: target.name.clone(),
            },
            spec,
            selectors,
        },
        status: Status::of(data.get("status").unwrap_or(&Value::Null)),
    };
    Some((target, read))
}

/// Whether a metric may be one that is served here: external ones, and those that custom metrics have names for.
fn is_ours(metric: &MetricSpec) -> bool {
    !matches!(metric, MetricSpec::Resource { .. }) && Metric::from_name(metric.name()).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn hpa(metrics: &Value) -> DynamicObject {
        let object = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "users", "namespace": "shop", "uid": "one"},
            "spec": {
                "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"},
                "maxReplicas": 5,
                "metrics": metrics,
            },
            "status": {"currentReplicas": 2, "desiredReplicas": 3},
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_hpa_that_reads_a_metric_of_ours_is_read_with_its_selectors() {
        let object = hpa(&json!([
            {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            {"type": "External", "external": {
                "metric": {"name": "Request_Latency_ms", "selector": {"matchLabels": {"service": "users", "quantile": "0.95"}}},
                "target": {"type": "Value", "value": "250"},
            }},
        ]));
        assert_eq!(id(&object), Some(Id::new("shop", "users")));
        let (target, read) = read(&object).unwrap();
        assert_eq!((&*target.api_version, &*target.name), ("apps/v1", "web"));
        assert_eq!(read.wanted.selectors, ["", "quantile=0.95,service=users"]);
        let of = read
            .wanted
            .metric("request_latency_ms", "quantile=0.95,service=users");
        assert_eq!(of, Some(1));
        assert_eq!(read.status.current, Some(2));
    }

    #[test]
    fn an_hpa_that_reads_nothing_of_ours_is_passed_over() {
        let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
        let other = json!({"type": "External", "external": {
            "metric": {"name": "queue_length"}, "target": {"type": "Value", "value": "5"},
        }});
        assert!(read(&hpa(&json!([cpu, other]))).is_none());
        assert!(read(&hpa(&json!([]))).is_none());
    }
}
