//! What a HorizontalPodAutoscaler says of itself.

use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::{
    HorizontalPodAutoscaler, HorizontalPodAutoscalerCondition, MetricStatus,
};

/// A condition; `None` before the controller has set it.
pub(crate) fn condition<'a>(
    hpa: &'a HorizontalPodAutoscaler,
    kind: &str,
) -> Option<&'a HorizontalPodAutoscalerCondition> {
    let conditions = hpa.status.iter().flat_map(|status| &status.conditions);
    conditions
        .flatten()
        .find(|condition| condition.type_ == kind)
}

/// The CPU it saw last, in percent of what its pods request.
pub(crate) fn cpu_percent(hpa: &HorizontalPodAutoscaler) -> Option<i32> {
    metrics(hpa).find_map(|metric| metric.resource.as_ref()?.current.average_utilization)
}

/// The external metric it saw last, by `value` or, divided by the pods, by `averageValue`.
pub(crate) fn external(hpa: &HorizontalPodAutoscaler) -> Option<String> {
    metrics(hpa).find_map(|metric| {
        let current = &metric.external.as_ref()?.current;
        let quantity = current.value.as_ref().or(current.average_value.as_ref())?;
        Some(quantity.0.clone())
    })
}

/// How many pods the Deployment is to have.
pub(crate) fn replicas(deployment: &Deployment) -> i32 {
    deployment.spec.replicas.unwrap_or_default()
}

fn metrics(hpa: &HorizontalPodAutoscaler) -> impl Iterator<Item = &MetricStatus> {
    let metrics = hpa.status.iter().flat_map(|status| &status.current_metrics);
    metrics.flatten()
}
