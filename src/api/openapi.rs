//! The API's own description, in OpenAPI 2.0 and 3.0, as Kubernetes' aggregator collects it.
//!
//! Types of Kubernetes itself (times, quantities, list metadata) are written out in place: were they named as
//! Kubernetes names them, the aggregator would have to merge our definition with its own.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use serde_json::{Value, json};

use super::discovery::plain;
use super::status::Status;
use super::{AppState, GROUP, GROUP_VERSION_PATH, VERSION};

/// The schemas' names, unique in the whole cluster.
const VALUE: &str = "dev.taffrail.external_metrics.v1beta1.ExternalMetricValue";
const LIST: &str = "dev.taffrail.external_metrics.v1beta1.ExternalMetricValueList";

/// `/openapi/v2`.
pub(super) async fn v2(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    plain(&state.documents.openapi_v2, &request)
}

/// `/openapi/v3`: which documents there are.
pub(super) async fn v3(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    plain(&state.documents.openapi_v3, &request)
}

/// `/openapi/v3/apis/external.metrics.k8s.io/v1beta1`.
pub(super) async fn v3_group(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    plain(&state.documents.openapi_v3_group, &request)
}

pub(super) fn v2_content() -> Value {
    let parameter = |name: &str, place: &str, required: bool, description: &str| {
        json!({
            "name": name, "in": place, "required": required, "type": "string", "description": description,
            "uniqueItems": true,
        })
    };
    let mut operation = operation();
    operation["produces"] = json!(["application/json"]);
    operation["schemes"] = json!(["https"]);
    operation["responses"] = json!({
        "200": {"description": "OK", "schema": {"$ref": format!("#/definitions/{LIST}")}},
    });
    let path = metric_path();
    json!({
        "swagger": "2.0",
        "info": info(),
        "paths": {path: {
            "get": operation,
            "parameters": PARAMETERS.map(|(name, place, required, text)| parameter(name, place, required, text)),
        }},
        "definitions": schemas(&format!("#/definitions/{VALUE}")),
    })
}

/// The list of documents. The hash makes a changed document a new address.
pub(super) fn v3_content(hash: &str) -> Value {
    let path = GROUP_VERSION_PATH.trim_start_matches('/');
    let url = format!("/openapi/v3{GROUP_VERSION_PATH}?hash={hash}");
    json!({"paths": {path: {"serverRelativeURL": url}}})
}

pub(super) fn v3_group_content() -> Value {
    let parameter = |name: &str, place: &str, required: bool, description: &str| {
        json!({
            "name": name, "in": place, "required": required, "description": description,
            "schema": {"type": "string"},
        })
    };
    let mut operation = operation();
    operation["responses"] = json!({"200": {
        "description": "OK",
        "content": {"application/json": {"schema": {"$ref": format!("#/components/schemas/{LIST}")}}},
    }});
    let path = metric_path();
    json!({
        "openapi": "3.0.0",
        "info": info(),
        "paths": {path: {
            "get": operation,
            "parameters": PARAMETERS.map(|(name, place, required, text)| parameter(name, place, required, text)),
        }},
        "components": {"schemas": schemas(&format!("#/components/schemas/{VALUE}"))},
    })
}

/// Name, place, whether it must be there, and what it is.
const PARAMETERS: [(&str, &str, bool, &str); 4] = [
    (
        "namespace",
        "path",
        true,
        "the namespace of the HorizontalPodAutoscaler",
    ),
    (
        "metric",
        "path",
        true,
        "the metric's name, as discovery lists it",
    ),
    (
        "labelSelector",
        "query",
        false,
        "which of the metric's series; all when empty",
    ),
    ("pretty", "query", false, "true for an indented answer"),
];

fn metric_path() -> String {
    format!("{GROUP_VERSION_PATH}/namespaces/{{namespace}}/{{metric}}")
}

fn info() -> Value {
    json!({"title": "Taffrail", "version": concat!("v", env!("CARGO_PKG_VERSION"))})
}

fn operation() -> Value {
    json!({
        "description": "read the current values of an external metric",
        "operationId": "listExternalMetricsV1beta1NamespacedExternalMetricValue",
        "tags": ["externalMetrics_v1beta1"],
        "x-kubernetes-action": "list",
        "x-kubernetes-group-version-kind": kind("ExternalMetricValueList"),
    })
}

fn kind(kind: &str) -> Value {
    json!({"group": GROUP, "version": VERSION, "kind": kind})
}

fn schemas(value_ref: &str) -> Value {
    json!({
        VALUE: {
            "description": "one series of an external metric, and its value",
            "type": "object",
            "required": ["metricName", "metricLabels", "timestamp", "value"],
            "properties": {
                "metricName": {"type": "string", "description": "the metric's name"},
                "metricLabels": {
                    "type": "object",
                    "additionalProperties": {"type": "string"},
                    "description": "the labels of the series",
                },
                "timestamp": {
                    "type": "string",
                    "format": "date-time",
                    "description": "when the oldest read behind the value was made",
                },
                "window": {
                    "type": "integer",
                    "format": "int64",
                    "description": "the seconds that the value is of; absent for what is of an instant",
                },
                "value": {"type": "string", "description": "a Kubernetes quantity, such as 412500m for 412.5"},
            },
            "x-kubernetes-group-version-kind": [kind("ExternalMetricValue")],
        },
        LIST: {
            "description": "the series of an external metric",
            "type": "object",
            "required": ["items"],
            "properties": {
                "apiVersion": {"type": "string", "description": "the group and version"},
                "kind": {"type": "string", "description": "ExternalMetricValueList"},
                "metadata": {"type": "object", "description": "always empty"},
                "items": {
                    "type": "array",
                    "items": {"$ref": value_ref},
                    "description": "the series; a HorizontalPodAutoscaler adds them up",
                },
            },
            "x-kubernetes-group-version-kind": [kind("ExternalMetricValueList")],
        },
    })
}
