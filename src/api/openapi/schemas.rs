//! Of what form the answers are. The schemas' names are unique in the whole cluster.

use serde_json::{Map, Value, json};

use crate::api::{GroupVersion, explain};

/// A kind, in the words of Kubernetes.
pub(super) fn kind(one: GroupVersion, kind: &str) -> Value {
    json!({"group": one.group(), "version": one.version(), "kind": kind})
}

/// The schemas of a value and of a list of them; references begin with `prefix`.
pub(super) fn schemas(one: GroupVersion, prefix: &str) -> Map<String, Value> {
    let kinds = one.list_kind();
    let value_kind = kinds.trim_end_matches("List");
    let value_name = name(one, value_kind);
    let mut value = match one {
        GroupVersion::External => external_value(),
        GroupVersion::CustomV1Beta2 | GroupVersion::CustomV1Beta1 => custom_value(one),
        GroupVersion::Explain => explanation(),
    };
    value["type"] = json!("object");
    value["x-kubernetes-group-version-kind"] = json!([kind(one, value_kind)]);
    let (of_list, of_items) = match one {
        GroupVersion::External => (
            "the series of an external metric",
            "the series; a HorizontalPodAutoscaler adds them up",
        ),
        GroupVersion::CustomV1Beta2 | GroupVersion::CustomV1Beta1 => {
            ("a metric of objects", "the objects, none of them twice")
        }
        GroupVersion::Explain => (
            "why the HorizontalPodAutoscalers of a namespace have the replicas they have",
            "each by the name of its HorizontalPodAutoscaler",
        ),
    };
    let list = json!({
        "description": of_list,
        "type": "object",
        "required": ["items"],
        "properties": {
            "apiVersion": {"type": "string", "description": "the group and version"},
            "kind": {"type": "string", "description": kinds},
            "metadata": {"type": "object", "description": "always empty"},
            "items": {
                "type": "array",
                "items": {"$ref": format!("{prefix}{value_name}")},
                "description": of_items,
            },
        },
        "x-kubernetes-group-version-kind": [kind(one, kinds)],
    });
    Map::from_iter([(value_name, value), (name(one, kinds), list)])
}

/// The name of a kind's schema.
pub(super) fn name(one: GroupVersion, kind: &str) -> String {
    let group = match one {
        GroupVersion::External => "external_metrics",
        GroupVersion::CustomV1Beta2 | GroupVersion::CustomV1Beta1 => "custom_metrics",
        GroupVersion::Explain => "explain",
    };
    format!("dev.taffrail.{group}.{}.{kind}", one.version())
}

fn external_value() -> Value {
    json!({
        "description": "one series of an external metric, and its value",
        "required": ["metricName", "metricLabels", "timestamp", "value"],
        "properties": {
            "metricName": metric_name(),
            "metricLabels": {
                "type": "object",
                "additionalProperties": {"type": "string"},
                "description": "the labels of the series",
            },
            "timestamp": timestamp(),
            "window": window(),
            "value": quantity(),
        },
    })
}

fn custom_value(one: GroupVersion) -> Value {
    let text = |description: &str| json!({"type": "string", "description": description});
    let object = json!({
        "type": "object",
        "description": "what the value is of",
        "properties": {
            "kind": text("Pod, RequestMetrics or Namespace"),
            "namespace": text("its namespace; absent for a namespace itself"),
            "name": text("its name"),
            "apiVersion": text("the version of its kind"),
        },
    });
    let selector = json!({
        "type": "object",
        "nullable": true,
        "description": "the metricLabelSelector of the request; null without one",
    });
    let mut properties = json!({
        "describedObject": object,
        "timestamp": timestamp(),
        "value": quantity(),
    });
    let named = if one == GroupVersion::CustomV1Beta2 {
        properties["metric"] = json!({
            "type": "object",
            "description": "the metric",
            "required": ["name"],
            "properties": {"name": metric_name(), "selector": selector},
        });
        properties["windowSeconds"] = window();
        "metric"
    } else {
        properties["metricName"] = metric_name();
        properties["selector"] = selector;
        properties["window"] = window();
        "metricName"
    };
    json!({
        "description": "a metric of one object, and its value",
        "required": ["describedObject", named, "timestamp", "value"],
        "properties": properties,
    })
}

/// What lies in the fields is for people and for the program's own commands, so their form is not promised here.
fn explanation() -> Value {
    let open = |description: &str| {
        json!({
            "type": "object",
            "description": description,
            "x-kubernetes-preserve-unknown-fields": true,
        })
    };
    json!({
        "description": "why a HorizontalPodAutoscaler has the replicas it has",
        "properties": {
            "apiVersion": {"type": "string", "description": "the group and version"},
            "kind": {"type": "string", "description": explain::KIND},
            "metadata": {
                "type": "object",
                "description": "name and namespace of the HorizontalPodAutoscaler, and when it synced",
            },
            "explanation": open("what happened in the sync, and what would change it"),
            "facts": open(
                "what the HorizontalPodAutoscaler saw, remembered and decided; only where one is read, not in lists",
            ),
            "keptSince": {
                "type": "string",
                "format": "date-time",
                "description": "when the oldest sync was that can be asked for",
            },
            "partedCount": {
                "type": "integer",
                "format": "int64",
                "description": "how many of the syncs kept the HorizontalPodAutoscaler decided otherwise than is worked out here",
            },
            "record": open("how much this replica of the adapter knows, and since when"),
        },
    })
}

fn metric_name() -> Value {
    json!({"type": "string", "description": "the metric's name"})
}

fn timestamp() -> Value {
    json!({
        "type": "string",
        "format": "date-time",
        "description": "when the oldest read behind the value was made",
    })
}

fn window() -> Value {
    json!({
        "type": "integer",
        "format": "int64",
        "description": "the seconds that the value is of; absent for what is of an instant",
    })
}

fn quantity() -> Value {
    json!({"type": "string", "description": "a Kubernetes quantity, such as 412500m for 412.5"})
}
