//! `spec.source.redis` of the custom resource.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{NO_DURATION, SecretValue, Tls, Unit, is_duration, is_within};

/// `HOST`, `HOST:PORT`, an IPv6 address, and one in brackets with or without a port. In a rule, so that a message can
/// go with it; a class stands for each backslash, which CEL would take for its own.
const ADDRESS: &str = "self.matches('^([[][0-9A-Fa-f:.]+[]](:[0-9]{1,5})?|[^][:/ ]+(:[0-9]{1,5})?|[0-9A-Fa-f]*:[0-9A-Fa-f]*:[0-9A-Fa-f:.]*)$')";

/// The `key` label of a backlog.
const BACKLOG_LABEL: &str = r"^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$";

/// A Redis server and what to read from it.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[x_kube(
    validation = Rule::new("!has(self.server) || !has(self.reported)").message("server and reported are two kinds of requests; write one of them"),
    validation = Rule::new("has(self.server) || has(self.reported) || (has(self.backlog) && 0 < size(self.backlog))").message("write server, reported or backlog"),
    validation = Rule::new("!has(self.username) || has(self.password)").message("username needs a password: Redis takes no user without one")
)]
#[serde(rename_all = "camelCase")]
pub struct Redis {
    /// HOST:PORT, such as redis:6379; the port is 6379 when not given.
    #[schemars(length(min = 1, max = 261))]
    #[x_kube(
        validation = Rule::new("!self.contains('@')").message("must be HOST:PORT; a user and a password go into username and password"),
        validation = Rule::new("!self.contains('://')").message("must be HOST:PORT without a scheme; TLS is spoken when tls is set, if only to {}"),
        validation = Rule::new(ADDRESS).message("must be HOST:PORT, such as redis:6379")
    )]
    pub address: String,
    /// An ACL user.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub username: Option<SecretValue>,
    /// The password.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub password: Option<SecretValue>,
    /// The database of reported and backlog.
    #[serde(default)]
    #[schemars(range(min = 0, max = 65535))]
    pub database: i64,
    /// Speak TLS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
    /// The deadline of one read, four fifths of the interval and at most 5s when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    #[x_kube(
        validation = Rule::new(is_duration("self")).message(NO_DURATION),
        validation = Rule::new(is_within("1ms", "5m")).message("must be from 1ms to the interval")
    )]
    pub timeout: Option<String>,
    /// The Redis server's own requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<RedisServer>,
    /// Requests that apps write into Redis because they cannot be scraped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reported: Option<Reported>,
    /// Lengths of queues, served as redis_backlog.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 256))]
    pub backlog: Vec<BacklogKey>,
}

/// The Redis server's own requests.
#[derive(JsonSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct RedisServer {
    /// Only these commands; all when not given, but administration commands and those that backlogs are read with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256), inner(length(min = 1, max = 64)))]
    pub commands: Option<Vec<String>>,
}

/// Requests that apps write into Redis.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[x_kube(validation = Rule::new("has(self.requests) || has(self.histogram)").message("reported needs requests or histogram"))]
pub struct Reported {
    /// The key of a counter of requests.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub requests: Option<String>,
    /// A hash of bucket bound to count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub histogram: Option<ReportedHistogram>,
    /// The key of a counter of time spent, in the histogram's unit.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub sum: Option<String>,
}

/// A hash of bucket bound to count.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
pub struct ReportedHistogram {
    /// The hash's key.
    #[schemars(length(min = 1, max = 1024))]
    pub key: String,
    /// The unit of its bounds, seconds when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<Unit>,
    /// Whether each count includes those of the lower bounds.
    #[serde(default)]
    pub cumulative: bool,
    /// The finite bounds the app uses, ascending; the hash's own fields when not given.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512), extend("x-kubernetes-list-type" = "set"))]
    #[x_kube(validation = Rule::new("self.isSorted()").message("bounds must ascend"))]
    pub buckets: Option<Vec<f64>>,
}

/// One queue.
#[derive(KubeSchema, Serialize, Deserialize, Clone, PartialEq, Debug)]
#[x_kube(validation = Rule::new("has(self.group) == (has(self.measure) && self.measure in ['pending', 'lag'])")
    .message("the measures pending and lag need the consumer group, and only they take one"))]
pub struct BacklogKey {
    /// The Redis key.
    #[schemars(length(min = 1, max = 1024))]
    pub key: String,
    /// The `key` label it is served under, when the key itself is no label value.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63), regex(pattern = BACKLOG_LABEL))]
    pub label: Option<String>,
    /// What to count. When not given, the length of whatever the key holds, or the number it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measure: Option<Measure>,
    /// The consumer group of pending and lag.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 1024))]
    pub group: Option<String>,
}

/// What of a queue is counted.
#[derive(JsonSchema, Serialize, Deserialize, Clone, Copy, PartialEq, Eq, Debug)]
#[serde(rename_all = "lowercase")]
#[expect(
    missing_docs,
    reason = "a variant's text would be printed as a choice of its own"
)]
pub enum Measure {
    Length,
    Pending,
    Lag,
    Number,
}
