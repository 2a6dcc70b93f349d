//! What can be read: paths and their parameters.

use crate::api::{GroupVersion, explain};

/// Name, place, whether it must be there, and what it is.
pub(super) type Parameter = (&'static str, &'static str, bool, &'static str);

/// A path that can be read.
pub(super) struct Read {
    pub(super) path: String,
    pub(super) description: &'static str,
    pub(super) id: String,
    pub(super) tag: String,
    pub(super) action: &'static str,
    /// The kind of what is answered.
    pub(super) kind: &'static str,
    pub(super) parameters: Vec<Parameter>,
}

const NAMESPACE: Parameter = (
    "namespace",
    "path",
    true,
    "the namespace of the HorizontalPodAutoscaler",
);

const METRIC: Parameter = (
    "metric",
    "path",
    true,
    "the metric's name, as discovery lists it",
);

const SERIES: Parameter = (
    "labelSelector",
    "query",
    false,
    "which of the metric's series; all when empty",
);

const OF_PODS: Parameter = (
    "labelSelector",
    "query",
    false,
    "which pods, where the name is *; all when empty",
);

const CUSTOM_SERIES: Parameter = (
    "metricLabelSelector",
    "query",
    false,
    "which of the metric's series; all when empty",
);

const AT: Parameter = (
    "at",
    "query",
    false,
    "a time of RFC 3339: the newest sync that was not after it; the newest of all when empty",
);

const PRETTY: Parameter = ("pretty", "query", false, "true for an indented answer");

/// All there is to read of a group and version.
pub(super) fn reads(one: GroupVersion) -> Vec<Read> {
    match one {
        GroupVersion::External => vec![external()],
        GroupVersion::CustomV1Beta2 => custom(one, "V1beta2"),
        GroupVersion::CustomV1Beta1 => custom(one, "V1beta1"),
        GroupVersion::Explain => explanations(),
    }
}

fn external() -> Read {
    Read {
        path: format!(
            "{}/namespaces/{{namespace}}/{{metric}}",
            GroupVersion::External.path()
        ),
        description: "read the current values of an external metric",
        id: "listExternalMetricsV1beta1NamespacedExternalMetricValue".to_owned(),
        tag: "externalMetrics_v1beta1".to_owned(),
        action: "list",
        kind: GroupVersion::External.list_kind(),
        parameters: vec![NAMESPACE, METRIC, SERIES, PRETTY],
    }
}

fn custom(one: GroupVersion, version: &str) -> Vec<Read> {
    let read = |below: &str, of: &str, description, own: &[Parameter]| Read {
        path: format!("{}/namespaces/{{namespace}}/{below}/{{metric}}", one.path()),
        description,
        id: format!("readCustomMetrics{version}{of}MetricValue"),
        tag: format!("customMetrics_{}", one.version()),
        action: "get",
        kind: one.list_kind(),
        parameters: [&[NAMESPACE], own, &[METRIC, CUSTOM_SERIES, PRETTY]].concat(),
    };
    let name = |what| ("name", "path", true, what);
    vec![
        read(
            "pods/{name}",
            "NamespacedPod",
            "read the current values of a metric of pods",
            &[name("the pod's name, or * for several"), OF_PODS],
        ),
        read(
            "requestmetrics.taffrail.dev/{name}",
            "NamespacedRequestMetrics",
            "read the current value of a metric of a service",
            &[name("the name of the RequestMetrics")],
        ),
        read(
            "metrics",
            "Namespace",
            "read the current value of a metric of all services of a namespace",
            &[],
        ),
    ]
}

fn explanations() -> Vec<Read> {
    let one = GroupVersion::Explain;
    let read = |path, description, verb: &str, action, kind, own: &[Parameter]| Read {
        path,
        description,
        id: format!("{verb}ExplainV1alpha1NamespacedExplanation"),
        tag: "explain_v1alpha1".to_owned(),
        action,
        kind,
        parameters: [&[NAMESPACE], own, &[PRETTY]].concat(),
    };
    let list = explain::path("{namespace}");
    let name = (
        "name",
        "path",
        true,
        "the name of the HorizontalPodAutoscaler",
    );
    vec![
        read(
            format!("{list}/{{name}}"),
            "say why a HorizontalPodAutoscaler has the replicas it has",
            "read",
            "get",
            explain::KIND,
            &[name, AT],
        ),
        read(
            list,
            "say why the HorizontalPodAutoscalers of a namespace have the replicas they have",
            "list",
            "list",
            one.list_kind(),
            &[],
        ),
    ]
}
