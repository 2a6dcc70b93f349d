//! What is said of a `RequestMetrics` object: what `kubectl get requestmetrics` shows. Only its shape; when and by whom
//! it is written is decided elsewhere.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What is known of the service, as it was when something of it last changed. The metrics themselves are served by
/// external.metrics.k8s.io and are newer.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub struct RequestMetricsStatus {
    /// The generation of the spec that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
    /// True is good, and the first that is not is where to begin. SpecValid: this generation is in force.
    /// SecretsReadable: the Secrets that the spec refers to have been read. PodsFound: the selector selects pods that
    /// can be read. SourcesReachable: the targets answer. HistogramFound: their pages have the request histogram.
    /// ObjectiveResolvable: a bucket bound lies at the objective. Ready: values are served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".into()]))]
    pub conditions: Vec<Condition>,
    /// ok; no_traffic: all targets answer and there were no requests, so latency and rate are 0; partial: a few
    /// targets are unknown; unknown: nothing is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub state: Option<String>,
    /// The objective's quantile of the request latency, such as 243ms.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub latency: Option<String>,
    /// Requests per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub request_rate: Option<String>,
    /// The targets, counted by how they stand.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub targets: Option<Targets>,
    /// What an HPA reads.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub values: Vec<ServedValue>,
}

/// The targets of a service, counted by how they stand.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug, Default)]
pub struct Targets {
    /// Those that answer.
    pub up: u32,
    /// All that should.
    pub total: u32,
    /// Those too new to count.
    pub starting: u32,
    /// Those that are going and count until their last requests are in.
    pub leaving: u32,
    /// up/total, such as 3/3.
    #[schemars(length(max = 32))]
    pub summary: String,
}

/// One value that an HPA reads.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Eq, Debug)]
pub struct ServedValue {
    /// The external metric.
    #[schemars(length(max = 63))]
    pub metric: String,
    /// Its labels besides service.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 8))]
    pub labels: BTreeMap<String, String>,
    /// A quantity; absent while nothing is served.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 32))]
    pub value: Option<String>,
    /// As the state of the whole; or widened: requests were too few for the window, so a wider one was taken.
    #[schemars(length(max = 32))]
    pub state: String,
    /// Why nothing is served, or how far the value can be trusted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 512))]
    pub message: Option<String>,
}

impl Targets {
    /// The counts with their summary.
    pub fn new(up: u32, total: u32, starting: u32, leaving: u32) -> Self {
        Self {
            up,
            total,
            starting,
            leaving,
            summary: format!("{up}/{total}"),
        }
    }
}

/// A list of conditions, as Kubernetes has them everywhere.
fn conditions(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": 16,
        "items": {
            "type": "object",
            "required": ["type", "status", "reason", "message", "lastTransitionTime"],
            "properties": {
                "type": {"type": "string", "maxLength": 316, "description": "What is asked."},
                "status": {"type": "string", "enum": ["True", "False", "Unknown"], "description": "The answer."},
                "reason": {"type": "string", "minLength": 1, "maxLength": 1024, "description": "The answer's reason, in one word."},
                "message": {"type": "string", "maxLength": 32768, "description": "The answer's reason, for people."},
                "lastTransitionTime": {"type": "string", "format": "date-time", "description": "Since when the answer is this one."},
                "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0, "description": "The generation of the spec that the answer is about."},
            },
        },
    })
}
