//! An HPA as checks need it: its spec with every default filled in as Kubernetes fills it in, its metrics, and what its
//! status says of each. Pure.

use k8s_openapi::api::autoscaling::v2::{
    HPAScalingRules, HorizontalPodAutoscaler, HorizontalPodAutoscalerSpec, MetricIdentifier,
    MetricSpec, MetricStatus, MetricTarget, MetricValueStatus,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

use super::quantity::number;
use crate::recording::{Autoscaler, Metric, MetricKind, Policy, PolicyKind, Rules, Select};

/// The controller manager's `--horizontal-pod-autoscaler-sync-period`, unless it is told otherwise.
const SYNC_PERIOD_S: f64 = 15.0;

/// The controller manager's `--horizontal-pod-autoscaler-tolerance`, unless it is told otherwise.
const TOLERANCE: f64 = 0.1;

/// How long a period may last where an HPA says nothing: the API's default for both directions.
const PERIOD_S: f64 = 15.0;

/// The API's default for shrinking; growing has none.
const DOWN_STABILIZATION_S: f64 = 300.0;

/// The spec with its defaults, all but `max_surge`: that one is the target's.
pub fn spec(hpa: &HorizontalPodAutoscaler) -> Autoscaler {
    let spec = &hpa.spec;
    let behavior = spec.behavior.as_ref();
    let up = behavior.and_then(|behavior| behavior.scale_up.as_ref());
    let down = behavior.and_then(|behavior| behavior.scale_down.as_ref());
    let max_replicas = count(spec.max_replicas);
    Autoscaler {
        namespace: hpa.metadata.namespace.clone().unwrap_or_default(),
        name: hpa.metadata.name.clone().unwrap_or_default(),
        min_replicas: spec.min_replicas.map_or(1, count),
        max_replicas,
        max_surge: 0,
        sync_period_s: SYNC_PERIOD_S,
        tolerance_up: tolerance(up),
        tolerance_down: tolerance(down),
        scale_up: rules(up, 0.0, &[all(), pods(4)]),
        scale_down: rules(down, DOWN_STABILIZATION_S, &[all()]),
    }
}

fn all() -> Policy {
    Policy {
        kind: PolicyKind::Percent,
        value: 100,
        period_s: PERIOD_S,
    }
}

fn pods(value: u32) -> Policy {
    Policy {
        kind: PolicyKind::Pods,
        value,
        period_s: PERIOD_S,
    }
}

fn rules(given: Option<&HPAScalingRules>, stabilization_s: f64, default: &[Policy]) -> Rules {
    let policies = given.and_then(|rules| rules.policies.as_ref());
    let policies = policies.filter(|policies| !policies.is_empty());
    let policies = policies.map(|policies| {
        let policies = policies.iter().map(|policy| Policy {
            kind: match policy.type_.as_str() {
                "Pods" => PolicyKind::Pods,
                _ => PolicyKind::Percent,
            },
            value: count(policy.value),
            period_s: f64::from(policy.period_seconds),
        });
        policies.collect()
    });
    let seconds = given.and_then(|rules| rules.stabilization_window_seconds);
    let select = given.and_then(|rules| rules.select_policy.as_deref());
    Rules {
        stabilization_s: seconds.map_or(stabilization_s, f64::from),
        policies: policies.unwrap_or_else(|| default.to_vec()),
        select: match select {
            Some("Min") => Select::Min,
            Some("Disabled") => Select::Disabled,
            _ => Select::Max,
        },
    }
}

fn tolerance(given: Option<&HPAScalingRules>) -> f64 {
    let tolerance = given.and_then(|rules| rules.tolerance.as_ref());
    tolerance.and_then(number).unwrap_or(TOLERANCE)
}

/// The API takes no number below zero here.
pub(super) fn count(replicas: i32) -> u32 {
    u32::try_from(replicas).unwrap_or_default()
}

/// What changed between two specs, in a sentence.
pub(super) fn change(
    before: &HorizontalPodAutoscalerSpec,
    after: &HorizontalPodAutoscalerSpec,
) -> String {
    let mut changes = Vec::new();
    let (old, new) = (
        before.min_replicas.unwrap_or(1),
        after.min_replicas.unwrap_or(1),
    );
    if old != new {
        changes.push(format!("minReplicas is {new}, was {old}"));
    }
    let (old, new) = (before.max_replicas, after.max_replicas);
    if old != new {
        changes.push(format!("maxReplicas is {new}, was {old}"));
    }
    for (is_same, what) in [
        (before.metrics == after.metrics, "metrics"),
        (before.behavior == after.behavior, "behavior"),
        (
            before.scale_target_ref == after.scale_target_ref,
            "scaleTargetRef",
        ),
    ] {
        if !is_same {
            changes.push(format!("{what} changed"));
        }
    }
    changes.join("; ")
}

/// How many replicas the HPA wants; `None` before it has decided for the first time, for which the API has nothing but a
/// zero. A zero is a decision where there may be none, and where the HPA is switched off with its target.
pub(super) fn desired(hpa: &HorizontalPodAutoscaler) -> Option<u32> {
    let status = hpa.status.as_ref()?;
    // The API fills in zeros before the controller has looked for the first time.
    let conditions = status.conditions.as_ref()?;
    let is_off = conditions.iter().any(|condition| {
        condition.type_ == "ScalingActive" && condition.reason.as_deref() == Some("ScalingDisabled")
    });
    let may_be_none = is_off || hpa.spec.min_replicas == Some(0);
    let desired = count(status.desired_replicas);
    (0 < desired || may_be_none).then_some(desired)
}

/// The metrics of a spec, in its order, with nothing read.
pub(super) fn metrics(spec: &HorizontalPodAutoscalerSpec) -> Vec<Metric> {
    spec.metrics.iter().flatten().map(metric).collect()
}

fn metric(spec: &MetricSpec) -> Metric {
    let (name, selector, kind, target) = if let Some(external) = &spec.external {
        let MetricIdentifier { name, selector } = &external.metric;
        let selector = selector.as_ref().map(selector_text).unwrap_or_default();
        (name, selector, MetricKind::External, Some(&external.target))
    } else if let Some(resource) = &spec.resource {
        (
            &resource.name,
            String::new(),
            MetricKind::Resource,
            Some(&resource.target),
        )
    } else if let Some(resource) = &spec.container_resource {
        (
            &resource.name,
            String::new(),
            MetricKind::Resource,
            Some(&resource.target),
        )
    } else if let Some(pods) = &spec.pods {
        (
            &pods.metric.name,
            String::new(),
            MetricKind::Other,
            Some(&pods.target),
        )
    } else if let Some(object) = &spec.object {
        (
            &object.metric.name,
            String::new(),
            MetricKind::Other,
            Some(&object.target),
        )
    } else {
        (&spec.type_, String::new(), MetricKind::Other, None)
    };
    Metric {
        name: name.clone(),
        selector,
        kind,
        target: target.and_then(target_value).unwrap_or_default(),
        is_average: target.is_some_and(|target| target.average_value.is_some()),
        reads: Vec::new(),
    }
}

fn target_value(target: &MetricTarget) -> Option<f64> {
    let utilization = target.average_utilization.map(f64::from);
    let value = target.value.as_ref().or(target.average_value.as_ref());
    utilization.or_else(|| value.and_then(number))
}

/// What the controller saw last of the metric `index` of the spec; `None` where it saw nothing. The status lists metrics in
/// the order of the spec, and one that could not be read has an entry without content.
pub(super) fn current(hpa: &HorizontalPodAutoscaler, index: usize, metric: &Metric) -> Option<f64> {
    let status = hpa.status.as_ref()?.current_metrics.as_ref()?.get(index)?;
    let (name, value) = seen(status)?;
    (*name == metric.name).then_some(())?;
    let quantity = match metric.is_average {
        true => value.average_value.as_ref(),
        false => value.value.as_ref(),
    };
    let utilization = value.average_utilization.map(f64::from);
    match metric.kind {
        MetricKind::Resource if !metric.is_average => utilization,
        _ => quantity.and_then(number),
    }
}

fn seen(status: &MetricStatus) -> Option<(&String, &MetricValueStatus)> {
    if let Some(resource) = &status.resource {
        Some((&resource.name, &resource.current))
    } else if let Some(resource) = &status.container_resource {
        Some((&resource.name, &resource.current))
    } else if let Some(external) = &status.external {
        Some((&external.metric.name, &external.current))
    } else if let Some(pods) = &status.pods {
        Some((&pods.metric.name, &pods.current))
    } else {
        let object = status.object.as_ref()?;
        Some((&object.metric.name, &object.current))
    }
}

/// The selector as the controller sends it: requirements in the order of their keys, and of their values within. An HPA
/// without one sends the empty string.
fn selector_text(selector: &LabelSelector) -> String {
    let labels = selector.match_labels.iter().flatten();
    let mut requirements: Vec<(&String, String)> = labels
        .map(|(key, value)| (key, format!("{key}={value}")))
        .collect();
    let expressions = selector.match_expressions.iter().flatten();
    requirements.extend(expressions.map(|expression| (&expression.key, requirement(expression))));
    requirements.sort_by_key(|(key, _)| *key);
    let texts: Vec<String> = requirements.into_iter().map(|(_, text)| text).collect();
    texts.join(",")
}

fn requirement(expression: &LabelSelectorRequirement) -> String {
    let key = &expression.key;
    let mut values = expression.values.clone().unwrap_or_default();
    values.sort_unstable();
    let values = values.join(",");
    match expression.operator.as_str() {
        "In" => format!("{key} in ({values})"),
        "NotIn" => format!("{key} notin ({values})"),
        "DoesNotExist" => format!("!{key}"),
        _ => key.clone(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn hpa(spec: &Value, status: &Value) -> HorizontalPodAutoscaler {
        let mut spec = spec.clone();
        spec["scaleTargetRef"] = json!({"kind": "Deployment", "name": "users"});
        let object = json!({
            "metadata": {"name": "users", "namespace": "shop"}, "spec": spec, "status": status,
        });
        serde_json::from_value(object).unwrap()
    }

    #[test]
    fn an_hpa_that_says_nothing_behaves_as_kubernetes_has_it() {
        let bare = spec(&hpa(
            &json!({"maxReplicas": 10}),
            &json!({"desiredReplicas": 1}),
        ));
        let expected = Autoscaler {
            namespace: "shop".to_owned(),
            name: "users".to_owned(),
            min_replicas: 1,
            max_replicas: 10,
            max_surge: 0,
            sync_period_s: 15.0,
            tolerance_up: 0.1,
            tolerance_down: 0.1,
            scale_up: Rules {
                stabilization_s: 0.0,
                policies: vec![all(), pods(4)],
                select: Select::Max,
            },
            scale_down: Rules {
                stabilization_s: 300.0,
                policies: vec![all()],
                select: Select::Max,
            },
        };
        assert_eq!(bare, expected);
    }

    #[test]
    fn what_a_behavior_says_counts_and_the_rest_is_default() {
        let behavior = json!({
            "scaleUp": {"tolerance": "50m", "selectPolicy": "Min",
                "policies": [{"type": "Pods", "value": 2, "periodSeconds": 60}]},
            "scaleDown": {"stabilizationWindowSeconds": 0, "selectPolicy": "Disabled"},
        });
        let given = hpa(
            &json!({"minReplicas": 2, "maxReplicas": 4, "behavior": behavior}),
            &json!({"desiredReplicas": 2}),
        );
        let given = spec(&given);
        assert_eq!((given.tolerance_up, given.tolerance_down), (0.05, 0.1));
        assert_eq!(given.scale_up.select, Select::Min);
        assert_eq!(given.scale_up.stabilization_s, 0.0);
        let policy = Policy {
            period_s: 60.0,
            ..pods(2)
        };
        assert_eq!(given.scale_up.policies, [policy]);
        assert_eq!(given.scale_down.stabilization_s, 0.0);
        assert_eq!(given.scale_down.policies, [all()]);
        assert_eq!(given.scale_down.select, Select::Disabled);
    }

    #[test]
    fn a_selector_is_written_as_the_controller_writes_it() {
        let selector = json!({
            "matchLabels": {"service": "users", "quantile": "0.95"},
            "matchExpressions": [
                {"key": "zone", "operator": "In", "values": ["b", "a"]},
                {"key": "old", "operator": "DoesNotExist"},
                {"key": "app", "operator": "Exists"},
                {"key": "tier", "operator": "NotIn", "values": ["x"]},
            ],
        });
        let selector: LabelSelector = serde_json::from_value(selector).unwrap();
        let expected = "app,!old,quantile=0.95,service=users,tier notin (x),zone in (a,b)";
        assert_eq!(selector_text(&selector), expected);
    }

    #[test]
    fn metrics_have_their_targets_and_what_the_status_says_of_each() {
        let cpu =
            json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}});
        let metric =
            json!({"name": "request_rate", "selector": {"matchLabels": {"service": "users"}}});
        let external =
            json!({"metric": metric, "target": {"type": "AverageValue", "averageValue": "500m"}});
        let metric_specs = json!([
            {"type": "Resource", "resource": cpu},
            {"type": "External", "external": external},
        ]);
        // The first could not be read.
        let status = json!({"desiredReplicas": 1, "currentMetrics": [
            {"type": ""},
            {"type": "External", "external": {"metric": metric, "current": {"averageValue": "1500m"}}},
        ]});
        let hpa = hpa(&json!({"maxReplicas": 3, "metrics": metric_specs}), &status);
        let metrics = metrics(&hpa.spec);
        assert_eq!(
            (metrics[0].kind, metrics[0].target),
            (MetricKind::Resource, 70.0)
        );
        assert_eq!(
            (&*metrics[1].selector, metrics[1].target),
            ("service=users", 0.5)
        );
        assert!(metrics[1].is_average && !metrics[0].is_average);
        assert_eq!(current(&hpa, 0, &metrics[0]), None);
        assert_eq!(current(&hpa, 1, &metrics[1]), Some(1.5));
        assert_eq!(current(&hpa, 2, &metrics[1]), None);
    }
}
