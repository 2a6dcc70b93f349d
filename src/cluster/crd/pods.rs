//! `spec.source.pods` of the custom resource.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::KubeSchema;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use super::{NO_DURATION, SecretValue, Tls, Unit, is_duration, is_within};

/// The name of a metric: no blanks, and no braces, as in a line that was copied whole.
const METRIC: &str = r"^[^\s{}]+$";

/// A label's value.
const LABEL_VALUE: &str = r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$";

/// A label's key, its prefix a DNS name.
const LABEL_KEY: &str =
    r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";

/// What a URL's path and query are made of.
const PATH: &str = r"^[-/?A-Za-z0-9._~!$&'()*+,;=:@%]+$";

/// Pods of the same namespace that serve a page of metrics over HTTP.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[x_kube(validation = Rule::new("!has(self.bearerToken) || !has(self.basicAuth)").message("a request has one of bearerToken and basicAuth"))]
#[serde(rename_all = "camelCase")]
pub struct Pods {
    /// Which pods of the object's namespace, by their labels, as in a Deployment.
    pub selector: LabelSelector,
    /// The port of the page: a number, or the name that a container gives it.
    #[serde(default = "default_port")]
    #[schemars(schema_with = "port_schema")]
    #[x_kube(validation = Rule::new("type(self) == int ? 1 <= self && self <= 65535 : size(self) <= 15 && self.matches('^([0-9]+-)*[0-9]*[a-z][a-z0-9]*(-[a-z0-9]+)*$')")
        .message("must be a number from 1 to 65535, or the name of a container's port: at most 15 of a-z, 0-9 and -, with a letter"))]
    pub port: IntOrString,
    /// How the page is served: http or https.
    #[serde(default)]
    pub scheme: Scheme,
    /// The path of the page, with its query if it needs one.
    #[serde(default = "default_path")]
    #[schemars(length(min = 1, max = 1024), regex(pattern = PATH))]
    pub path: String,
    /// The request histogram, or a summary, which gives a rate and a mean but no quantiles. Found by itself when the
    /// page has just one histogram besides those of runtimes.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = METRIC))]
    pub histogram: Option<String>,
    /// The unit of the histogram. When not given: milliseconds for one whose name ends in _milliseconds or _ms, and
    /// seconds for every other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Which of the histogram's series count: matchers with =, !=, =~ and !~, such as route!="/healthz".
    #[serde(rename = "where", skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub matchers: Option<String>,
    /// A gauge of requests in flight. Completions saturate under overload; requests in flight go on rising.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = METRIC))]
    pub in_flight: Option<String>,
    /// A counter of CPU seconds, such as process_cpu_seconds_total.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), regex(pattern = METRIC))]
    pub cpu: Option<String>,
    /// The deadline of one read, four fifths of the interval and at most 5s when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(
        validation = Rule::new(is_duration("self")).message(NO_DURATION),
        validation = Rule::new(is_within("1ms", "5m")).message("must be from 1ms to the interval")
    )]
    pub timeout: Option<String>,
    /// Ask for a compressed page. Dearer for both ends; for slow links only.
    #[serde(default)]
    pub gzip: bool,
    /// Headers sent with every request.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 16))]
    pub headers: BTreeMap<String, SecretValue>,
    /// Authorization: Bearer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bearer_token: Option<SecretValue>,
    /// Authorization: Basic.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub basic_auth: Option<BasicAuth>,
    /// How pods that speak https are verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// Labels that pods must have.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[x_kube(validation = Rule::new("(has(self.matchLabels) && 0 < size(self.matchLabels)) || (has(self.matchExpressions) && 0 < size(self.matchExpressions))")
    .message("an empty selector would select every pod; write matchLabels, such as {app: users}"))]
#[serde(rename_all = "camelCase")]
pub struct LabelSelector {
    /// These labels with these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub match_labels: BTreeMap<String, LabelValue>,
    /// Further requirements.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub match_expressions: Vec<LabelRequirement>,
}

/// A label's value.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[schemars(inline)]
pub struct LabelValue(#[schemars(length(max = 63), regex(pattern = LABEL_VALUE))] pub String);

/// One requirement on one label.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[x_kube(validation = Rule::new("(self.operator in ['In', 'NotIn']) == (has(self.values) && 0 < size(self.values))")
    .message("In and NotIn need values, Exists and DoesNotExist take none"))]
pub struct LabelRequirement {
    /// The label's key.
    #[schemars(length(min = 1, max = 317), regex(pattern = LABEL_KEY))]
    pub key: String,
    /// What must hold of its value.
    pub operator: LabelOperator,
    /// The values of In and NotIn.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub values: Vec<LabelValue>,
}

/// What must hold of a label's value.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[expect(
    missing_docs,
    reason = "a variant's text would be printed as a choice of its own"
)]
pub enum LabelOperator {
    In,
    NotIn,
    Exists,
    DoesNotExist,
}

/// With TLS or without.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
#[serde(rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "a variant's text would be printed as a choice of its own"
)]
pub enum Scheme {
    #[default]
    Http,
    Https,
}

/// Authorization: Basic.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct BasicAuth {
    /// The user, without a colon.
    pub username: SecretValue,
    /// The password.
    pub password: SecretValue,
}

fn default_port() -> IntOrString {
    IntOrString::String("metrics".to_owned())
}

fn default_path() -> String {
    "/metrics".to_owned()
}

fn port_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({"x-kubernetes-int-or-string": true})
}
