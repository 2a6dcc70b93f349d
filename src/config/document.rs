//! What a person writes: the `RequestMetrics` document, field by field, as YAML.
//!
//! A field that is not listed here is an error: a mistyped `objectve` must not silently mean "no objective".

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{self, IgnoredAny, Visitor};
use serde::{Deserialize, Deserializer};
use serde_saphyr::Spanned;

/// A value and the line it stands at, for errors.
pub type At<T> = Spanned<T>;

/// Whose document it is: what every Kubernetes object says of itself, read before the rest and whatever the rest holds.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
pub struct Header {
    /// `taffrail.dev/v1alpha1`.
    pub api_version: At<String>,
    /// `RequestMetrics`.
    pub kind: At<String>,
    /// Name and namespace.
    pub metadata: Metadata,
}

/// The part of `metadata` that counts; Kubernetes puts much more there.
#[derive(Deserialize, Debug)]
pub struct Metadata {
    /// The service's name: the `service` label of its metrics.
    pub name: At<String>,
    /// Its namespace; `default` when not given.
    pub namespace: Option<At<String>>,
}

/// One service and how its requests are read.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct RequestMetrics {
    /// In the [`Header`].
    pub api_version: IgnoredAny,
    /// In the [`Header`].
    pub kind: IgnoredAny,
    /// In the [`Header`].
    pub metadata: IgnoredAny,
    /// What to read and what was promised.
    pub spec: Spec,
    /// What `kubectl get -o yaml` prints beside the spec; nobody's wish, so passed over.
    pub status: Option<IgnoredAny>,
}

/// What to read and what was promised.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Spec {
    /// Exactly one source.
    pub source: At<Source>,
    /// The window of rates and quantiles, `30s` when not given.
    pub window: Option<At<String>>,
    /// How often targets are read, `5s` when not given.
    pub interval: Option<At<String>>,
    /// What the users were promised.
    pub objective: Option<Objective>,
}

/// The share `quantile` of requests is answered within `latency`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Objective {
    /// Above 0 and below 1.
    pub quantile: At<f64>,
    /// Such as `250ms`.
    pub latency: At<String>,
}

/// Where the numbers come from.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Source {
    /// Pages of metrics over HTTP.
    pub pods: Option<Pods>,
    /// A Redis server.
    pub redis: Option<Redis>,
    /// A query API: known, and not yet read.
    pub prometheus: Option<IgnoredAny>,
}

/// Pages of metrics over HTTP.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Pods {
    /// Which pods of the object's namespace; not in a file.
    pub selector: Option<At<LabelSelector>>,
    /// Which port of them, `metrics` when not given; goes with the selector.
    pub port: Option<At<Port>>,
    /// Addresses: `HOST:PORT` or a whole URL; in a file only.
    #[serde(default)]
    pub targets: Vec<At<String>>,
    /// `http` (the default) or `https`, for targets written without one.
    pub scheme: Option<At<String>>,
    /// `/metrics` when not given, for targets written without one.
    pub path: Option<String>,
    /// The request histogram; found by itself when the page has just one.
    pub histogram: Option<At<String>>,
    /// `seconds` or `milliseconds`; told by the histogram's name when not given.
    pub unit: Option<At<String>>,
    /// Series matchers: `route!="/healthz"`.
    #[serde(rename = "where")]
    pub matchers: Option<At<String>>,
    /// A gauge of requests in flight.
    pub in_flight: Option<At<String>>,
    /// A counter of CPU seconds.
    pub cpu: Option<At<String>>,
    /// The deadline of one scrape.
    pub timeout: Option<At<String>>,
    /// Ask for gzip: dearer for both ends, for slow links only.
    #[serde(default)]
    pub gzip: bool,
    /// Request headers.
    #[serde(default)]
    pub headers: BTreeMap<String, At<SecretValue>>,
    /// `Authorization: Bearer`.
    pub bearer_token: Option<At<SecretValue>>,
    /// `Authorization: Basic`.
    pub basic_auth: Option<BasicAuth>,
    /// How `https` targets are verified.
    pub tls: Option<At<Tls>>,
}

/// Labels that pods must have, as in a Deployment.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct LabelSelector {
    /// These labels with these values.
    #[serde(default)]
    pub match_labels: BTreeMap<String, String>,
    /// Further requirements.
    #[serde(default)]
    pub match_expressions: Vec<At<LabelRequirement>>,
}

/// One requirement on one label.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct LabelRequirement {
    /// The label's key.
    pub key: String,
    /// `In`, `NotIn`, `Exists` or `DoesNotExist`.
    pub operator: String,
    /// The values of `In` and `NotIn`.
    #[serde(default)]
    pub values: Vec<String>,
}

/// A port of a pod.
#[derive(PartialEq, Eq, Debug)]
pub enum Port {
    /// By number.
    Number(i64),
    /// By the name that a container gives it.
    Name(String),
}

/// `Authorization: Basic`.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct BasicAuth {
    /// The user.
    pub username: At<SecretValue>,
    /// The password.
    pub password: At<SecretValue>,
}

/// How a TLS server is verified, and how we identify ourselves.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tls {
    /// Authorities to trust, PEM, from a Secret; in an object only.
    pub ca: Option<CaValue>,
    /// Authorities to trust, PEM; the system's when not given. Files are named in a file only.
    pub ca_file: Option<String>,
    /// The name to expect in the certificate instead of the address.
    pub server_name: Option<String>,
    /// Trust anybody. Never a default.
    #[serde(default)]
    pub insecure_skip_verify: bool,
    /// Our certificate, PEM.
    pub cert_file: Option<String>,
    /// Its key, PEM.
    pub key_file: Option<String>,
}

/// Where authorities come from.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct CaValue {
    /// A Kubernetes Secret.
    pub secret_key_ref: SecretKeyRef,
}

/// One key of a Secret in the object's namespace.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct SecretKeyRef {
    /// The Secret.
    pub name: String,
    /// The key within it.
    pub key: String,
}

/// Where a secret comes from: exactly one field.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct SecretValue {
    /// A file, read again at every use; in a file only.
    pub file: Option<String>,
    /// An environment variable of the adapter; in a file only.
    pub env: Option<String>,
    /// The value itself, for what is no secret.
    pub value: Option<String>,
    /// A Kubernetes Secret; in an object only.
    pub secret_key_ref: Option<SecretKeyRef>,
}

/// A Redis server and what to read from it.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Redis {
    /// `HOST:PORT`; in a file `REDIS_HOST` and `REDIS_PORT` when not given.
    pub address: Option<At<String>>,
    /// An ACL user; in a file `REDIS_USERNAME` when neither it nor the address is given.
    pub username: Option<At<SecretValue>>,
    /// The password; in a file `REDIS_PASSWORD` when neither it nor the address is given.
    pub password: Option<At<SecretValue>>,
    /// The database of `reported` and `backlog`, 0 when not given.
    pub database: Option<At<i64>>,
    /// Speak TLS.
    pub tls: Option<At<Tls>>,
    /// The deadline of one read.
    pub timeout: Option<At<String>>,
    /// The server's own requests.
    pub server: Option<RedisServer>,
    /// What apps write into Redis because they cannot be scraped.
    pub reported: Option<Reported>,
    /// Lengths of queues.
    #[serde(default)]
    pub backlog: Vec<At<BacklogKey>>,
}

/// The Redis server's own requests.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct RedisServer {
    /// Only these; all when not given, but administration commands and those the source itself reads backlogs with.
    pub commands: Option<Vec<String>>,
}

/// Keys that apps write.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Reported {
    /// A counter of requests.
    pub requests: Option<String>,
    /// A hash of bucket bound to count.
    pub histogram: Option<ReportedHistogram>,
    /// A counter of time spent, in the histogram's unit (seconds without one).
    pub sum: Option<String>,
}

/// A hash of bucket bound to count.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct ReportedHistogram {
    /// The hash.
    pub key: String,
    /// `seconds` (the default) or `milliseconds`.
    pub unit: Option<At<String>>,
    /// Whether each count includes those of the lower bounds.
    #[serde(default)]
    pub cumulative: bool,
    /// The finite bounds the app uses, ascending; the hash's own fields when not given.
    pub buckets: Option<Vec<f64>>,
}

/// One queue.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct BacklogKey {
    /// The Redis key.
    pub key: String,
    /// The `key` label, when the key itself is no label value.
    pub label: Option<String>,
    /// `length` (the default), `pending`, `lag` or `number`.
    pub measure: Option<At<String>>,
    /// The consumer group of `pending` and `lag`.
    pub group: Option<String>,
}

impl<'de> Deserialize<'de> for Port {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(PortVisitor)
    }
}

struct PortVisitor;

impl Visitor<'_> for PortVisitor {
    type Value = Port;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the number or the name of a port")
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Port, E> {
        Ok(Port::Number(number))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Port, E> {
        // Beyond the numbers of ports in any case.
        Ok(Port::Number(i64::try_from(number).unwrap_or(i64::MAX)))
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Port, E> {
        Ok(Port::Name(name.to_owned()))
    }
}

/// Says nothing: the value may be a secret.
impl fmt::Debug for SecretValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretValue(..)")
    }
}
