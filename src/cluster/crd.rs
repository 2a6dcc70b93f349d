//! The `RequestMetrics` custom resource, as the API server knows it: fields with their descriptions, which are what
//! `kubectl explain` prints, defaults, limits, and rules in CEL with messages for people. An object that passes here
//! may still be refused by [`crate::config::object`], which has the last word: what no schema can say, such as whether
//! a regular expression is one. Tests hold that the two know the same fields.
//!
//! Every text and list has an upper limit: the API server reckons the cost of a rule from the largest input, and
//! refuses a definition whose rules could cost too much.
#![expect(
    unreachable_pub,
    reason = "the derive puts copies of these types into functions, `pub` and all"
)]

mod pods;
mod redis;
mod status;
#[cfg(test)]
mod tests;

use anyhow::Context;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::{CustomResource, CustomResourceExt, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use self::pods::{
    BasicAuth, LabelOperator, LabelRequirement, LabelSelector, LabelValue, Pods, Scheme,
};
pub use self::redis::{BacklogKey, Measure, Redis, RedisServer, Reported, ReportedHistogram};
pub use self::status::{RequestMetricsStatus, ServedValue, Targets};

/// A duration that both Go's parser, which the rules use, and ours read. At most 20 characters, so that no sum of them
/// overflows. In rules rather than as a pattern, so that a message can go with it.
const DURATION: &str = "^([0-9]{1,6}([.][0-9]{1,3})?(us|ms|s|m|h))+$";

/// The message for what is no duration.
const NO_DURATION: &str = "must be a duration such as 30s or 250ms";

/// The name of a Secret.
const SECRET_NAME: &str = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$";

/// A key of a Secret.
const SECRET_KEY: &str = r"^[-._a-zA-Z0-9]+$";

/// What is said of a quantile out of range, with the number that was meant for those most written in per cent. Spelt
/// out, since a text made of the number would have no upper limit to the API server.
const QUANTILE_MEANT: &str = "self == 95.0 ? 'must be above 0 and below 1; did you mean 0.95?' : \
    self == 99.0 ? 'must be above 0 and below 1; did you mean 0.99?' : \
    self == 99.9 ? 'must be above 0 and below 1; did you mean 0.999?' : \
    self == 90.0 ? 'must be above 0 and below 1; did you mean 0.9?' : \
    self == 50.0 ? 'must be above 0 and below 1; did you mean 0.5?' : \
    'must be above 0 and below 1; most take 0.95'";

/// Formats that the derive writes and Kubernetes does not know.
const STRANGE_FORMATS: [&str; 1] = ["uint32"];

/// What to read and what was promised.
#[derive(CustomResource, KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[kube(
    group = "taffrail.dev",
    version = "v1alpha1",
    kind = "RequestMetrics",
    plural = "requestmetrics",
    singular = "requestmetrics",
    shortname = "rm",
    namespaced,
    status = "RequestMetricsStatus",
    derive = "PartialEq",
    doc = "One service whose request latency and request rate a HorizontalPodAutoscaler can scale on. Its name is the `service` label of the external metrics request_latency_ms, request_rate, request_concurrency, slow_request_ratio and redis_backlog.",
    validation = Rule::new("!self.metadata.name.contains('.') && size(self.metadata.name) <= 63")
        .message("metadata.name is the service label of the metrics, so it must have at most 63 characters and no dot"),
    printcolumn(name = "Latency", type_ = "string", json_path = ".status.latency", description = "The objective's quantile of the request latency, over the window"),
    printcolumn(name = "Objective", type_ = "string", json_path = ".spec.objective.latency", description = "The latency that was promised"),
    printcolumn(name = "RPS", type_ = "string", json_path = ".status.requestRate", description = "Requests per second, over the window"),
    printcolumn(name = "Targets", type_ = "string", json_path = ".status.targets.summary", description = "Targets that answer, of all"),
    printcolumn(name = "State", type_ = "string", json_path = ".status.state", description = "ok, no_traffic, partial or unknown; nothing is served while unknown"),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    printcolumn(name = "Quantile", type_ = "number", json_path = ".spec.objective.quantile", description = "The quantile that the objective is for", priority = 1),
    printcolumn(name = "Window", type_ = "string", json_path = ".spec.window", description = "The window of rates and quantiles", priority = 1),
    printcolumn(name = "Message", type_ = "string", json_path = ".status.conditions[?(@.type==\"Ready\")].message", description = "Why it is ready or not", priority = 1)
)]
#[x_kube(
    validation = Rule::new(format!("!({} && {}) || duration(self.interval) + duration(self.interval) <= duration(self.window)", is_duration("self.interval"), is_duration("self.window")))
        .message("window must be at least twice the interval, since a rate needs two reads"),
    validation = Rule::new(is_within_interval("pods"))
        .message("source.pods.timeout must not be longer than the interval"),
    validation = Rule::new(is_within_interval("redis"))
        .message("source.redis.timeout must not be longer than the interval")
)]
#[serde(rename_all = "camelCase")]
pub struct RequestMetricsSpec {
    /// Where the numbers come from: exactly one of pods and redis.
    #[x_kube(validation = Rule::new("has(self.pods) != has(self.redis)").message("write exactly one of pods and redis"))]
    pub source: Source,
    /// The window of rates and quantiles, from 200ms to 10m and at least twice the interval.
    #[serde(default = "default_window")]
    #[schemars(length(max = 20))]
    #[x_kube(
        validation = Rule::new(is_duration("self")).message(NO_DURATION),
        validation = Rule::new(is_within("200ms", "10m")).message("must be from 200ms to 10m")
    )]
    pub window: String,
    /// How often each target is read, from 100ms to 5m.
    #[serde(default = "default_interval")]
    #[schemars(length(max = 20))]
    #[x_kube(
        validation = Rule::new(is_duration("self")).message(NO_DURATION),
        validation = Rule::new(is_within("100ms", "5m")).message("must be from 100ms to 5m")
    )]
    pub interval: String,
    /// What the users were promised. Without it request_latency_ms needs a quantile in its selector, and
    /// slow_request_ratio is not served.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objective: Option<Objective>,
}

/// The share `quantile` of requests is answered within `latency`.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct Objective {
    /// The share of requests, above 0 and below 1, such as 0.95.
    #[x_kube(validation = Rule::new("0.0 < self && self < 1.0").message(Message::Expression(
QUANTILE_MEANT.into()
    )))]
    pub quantile: f64,
    /// The latency they are answered within, such as 250ms, at most 10m. A bucket bound of the histogram at this
    /// latency makes slow_request_ratio exact.
    #[schemars(length(max = 20))]
    #[x_kube(
        validation = Rule::new(is_duration("self")).message(NO_DURATION),
        validation = Rule::new(is_within("1us", "10m")).message("must be from 1us to 10m")
    )]
    pub latency: String,
}

/// Where the numbers come from.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Source {
    /// Pods of the same namespace that serve a page of metrics over HTTP.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pods: Option<Pods>,
    /// A Redis server: its own requests, requests that apps report through it, and the lengths of queues.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,
}

/// The unit an app counts time in.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "a variant's text would be printed as a choice of its own"
)]
pub enum Unit {
    Seconds,
    Milliseconds,
}

/// Where a secret comes from: exactly one of its fields.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[x_kube(validation = Rule::new("has(self.value) != has(self.secretKeyRef)").message("write exactly one of secretKeyRef and value"))]
#[serde(rename_all = "camelCase")]
pub struct SecretValue {
    /// The value itself. Whoever may read this object reads it too, so only for what is no secret.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// A key of a Secret in the same namespace, which the adapter must be allowed to get.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// One key of a Secret in the same namespace.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct SecretKeyRef {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_NAME))]
    pub name: String,
    /// The key within its data.
    #[schemars(length(min = 1, max = 253), regex(pattern = SECRET_KEY))]
    pub key: String,
}

/// How a server that speaks TLS is verified.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The name to expect in the certificate instead of the address that is connected to.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub server_name: Option<String>,
    /// Trust anybody: traffic is encrypted, but to whom is unknown.
    #[serde(default)]
    pub insecure_skip_verify: bool,
    /// The authorities to trust; those of the adapter's machine when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca: Option<Ca>,
}

/// Authorities to trust, in PEM.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Ca {
    /// A key of a Secret in the same namespace, which the adapter must be allowed to get.
    pub secret_key_ref: SecretKeyRef,
}

/// The definition that a cluster is given once.
///
/// # Errors
/// None in practice: tests make it.
pub fn definition() -> anyhow::Result<CustomResourceDefinition> {
    let mut definition = serde_json::to_value(RequestMetrics::crd())?;
    tidy(&mut definition);
    Ok(serde_json::from_value(definition)?)
}

/// The definition as YAML, the same bytes every time.
///
/// # Errors
/// As [`definition`].
pub fn yaml() -> anyhow::Result<String> {
    serde_saphyr::to_string(&definition()?).context("writing the definition as YAML")
}

/// Leaves out what the derive adds and is better not there. Without `nullable` the API server drops a null, so neither
/// rules nor readers need think of one.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            fields.remove("nullable");
            if let Some(Value::Array(choices)) = fields.get_mut("enum") {
                choices.retain(|choice| !choice.is_null());
            }
            let format = fields.get("format").and_then(Value::as_str);
            if format.is_some_and(|format| STRANGE_FORMATS.contains(&format)) {
                fields.remove("format");
            }
            fields.values_mut().for_each(tidy);
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

fn is_duration(field: &str) -> String {
    format!("{field}.matches('{DURATION}')")
}

/// A range of a duration. What is none has a message already.
fn is_within(low: &str, high: &str) -> String {
    let is_duration = is_duration("self");
    format!(
        "!{is_duration} || (duration('{low}') <= duration(self) && duration(self) <= duration('{high}'))"
    )
}

/// The timeout of a source is no longer than the interval.
fn is_within_interval(source: &str) -> String {
    let timeout = format!("self.source.{source}.timeout");
    let (is_timeout, is_interval) = (is_duration(&timeout), is_duration("self.interval"));
    format!(
        "!has(self.source.{source}) || !has({timeout}) || !({is_timeout} && {is_interval}) \
         || duration({timeout}) <= duration(self.interval)"
    )
}

fn default_window() -> String {
    "30s".to_owned()
}

fn default_interval() -> String {
    "5s".to_owned()
}
