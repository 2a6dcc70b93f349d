//! What to read of a Redis server, and how to reach it: resolved values, checked once. Nothing here does I/O except
//! [`Connection::from_env`], which reads the environment through [`crate::clock::env`].

use std::collections::BTreeSet;
use std::time::Duration;

use super::backlog::label_from_key;
use crate::model::id::TargetId;
use crate::model::unit::Unit;
use crate::source::secret::{SecretKey, SecretRef};
use crate::source::tls::TlsSpec;

/// Where Redis listens unless told otherwise.
pub const DEFAULT_PORT: u16 = 6379;
/// Backlogs of one target. Each is one or two commands of one pipeline; more would hold up the server's other clients.
pub const BACKLOGS_MAX: usize = 256;
/// Bytes of a key's name. Keys are names here, not data; the commands of one pipeline must stay small.
pub const KEY_BYTES_MAX: usize = 1024;
/// Bounds of one reported histogram. Request histograms have about a dozen; this leaves room for native-like layouts.
pub const BUCKETS_MAX: usize = 512;

/// One Redis server to read for one service.
#[derive(Clone, PartialEq, Debug)]
pub struct RedisSpec {
    /// Who the numbers belong to.
    pub target: TargetId,
    /// How to reach the server. Targets with equal connections share one socket.
    pub connection: Connection,
    /// From one read to the next.
    pub interval: Duration,
    /// For a whole read: waiting for the shared connection, connecting, all commands.
    pub timeout: Duration,
    /// Read the requests the Redis server itself answers. Not together with `reported`.
    pub server: Option<ServerRead>,
    /// Read the requests that apps write into Redis. Not together with `server`.
    pub reported: Option<ReportedRead>,
    /// Read how many items wait.
    pub backlog: Vec<BacklogRead>,
}

/// How to reach one Redis server. Holds references to secrets, never a secret.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Connection {
    /// A host name, resolved again for every new connection, or an IP address.
    pub host: String,
    /// The TCP port.
    pub port: u16,
    /// The ACL user; `default` when absent.
    pub username: Option<SecretRef>,
    /// The password, read again for every new connection.
    pub password: Option<SecretRef>,
    /// The logical database.
    pub db: u32,
    /// TLS, when set.
    pub tls: Option<TlsSpec>,
}

/// The requests of the Redis server itself.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct ServerRead {
    /// Only these commands (`get`, `xread`; `xgroup` stands for all its subcommands, `xgroup|create` for one). Absent:
    /// every command except those that administer the server and those that the backlogs of the same source are read
    /// with.
    pub commands: Option<Vec<String>>,
}

/// The requests that apps write into Redis because they cannot be scraped. At least one of `requests` and `histogram`.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct ReportedRead {
    /// A counter of requests: a string that apps `INCR`. Absent: the histogram's total.
    pub requests: Option<String>,
    /// A histogram of latencies: a hash of bound to count.
    pub histogram: Option<HistogramKey>,
    /// A counter of the time spent on all requests: a string that apps `INCRBYFLOAT`.
    pub sum: Option<SumKey>,
}

/// A histogram that apps keep as a hash of upper bound to count; `+Inf` is the bound of the slowest.
#[derive(Clone, PartialEq, Debug)]
pub struct HistogramKey {
    /// The hash.
    pub key: String,
    /// The unit of its bounds.
    pub unit: Unit,
    /// Whether each count includes those of lower bounds, as in Prometheus. Not when an app increments just one field
    /// a request, the usual way. A cumulative hash must be written in one transaction.
    pub cumulative: bool,
    /// The finite bounds the app uses, in its unit, ascending; a bound without a field counts zero. Without them the
    /// bounds are the fields that exist, and the layout changes (so the window starts afresh) when one first appears.
    pub buckets: Option<Vec<f64>>,
}

/// A counter of time spent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SumKey {
    /// The string that holds it.
    pub key: String,
    /// Its unit.
    pub unit: Unit,
}

/// Items waiting under one key. Key patterns would be a second kind of this.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BacklogRead {
    /// The Redis key.
    pub key: String,
    /// The `key` label it is served under; made of the key when absent, see [`label_from_key`].
    pub label: Option<String>,
    /// What to count.
    pub measure: Measure,
}

/// What counts as waiting.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Measure {
    /// The length of a list, set, sorted set, hash or stream; the value of a string. A missing key is zero items.
    #[default]
    Auto,
    /// As `Auto`, but a string is an error.
    Length,
    /// Entries of a stream delivered to this consumer group and not yet acknowledged.
    Pending {
        /// The consumer group.
        group: String,
    },
    /// Entries of a stream not yet delivered to this consumer group, as Redis says it. After deletions Redis sometimes
    /// cannot know, and then it is unknown; Redis 7.0 may also go on counting entries deleted before delivery.
    Lag {
        /// The consumer group.
        group: String,
    },
    /// The value of a string that is a number. A missing key is an error: a counter nobody wrote is not zero.
    Number,
}

/// What is wrong with a spec.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SpecError {
    /// `REDIS_PORT` is neither a port nor an address that ends in one.
    #[error("REDIS_PORT must be a port, as in 6379")]
    Port,
    /// Nothing to read, or two kinds of requests.
    #[error("a redis source needs server, reported or backlog, and not both server and reported")]
    Sources,
    /// `reported` without a counter and without a histogram.
    #[error("reported needs requests or histogram")]
    ReportedNothing,
    /// `commands` without a command would count no request ever.
    #[error("server.commands: list at least one command, or leave commands out for all")]
    Commands,
    /// Too many backlogs.
    #[error("at most {BACKLOGS_MAX} backlogs are read of one source")]
    Backlogs,
    /// A key that is empty or too long.
    #[error("a redis key must have 1 to {KEY_BYTES_MAX} bytes")]
    Key,
    /// A label that Kubernetes would refuse in a selector.
    #[error(
        "backlog label {0:?} must be 1 to 63 letters, digits, '-', '_' or '.', a letter or digit at both ends"
    )]
    Label(String),
    /// Two backlogs under one label.
    #[error("two backlogs have the label {0:?}: give them a label each")]
    SameLabel(String),
    /// Unusable bounds.
    #[error("buckets must be 1 to {BUCKETS_MAX} finite numbers, ascending")]
    Buckets,
}

impl RedisSpec {
    /// Checks what types do not: distinct labels, names within their bounds.
    ///
    /// # Errors
    /// The first mistake found.
    pub fn check(&self) -> Result<(), SpecError> {
        let requests = usize::from(self.server.is_some()) + usize::from(self.reported.is_some());
        if requests == 2 || (requests == 0 && self.backlog.is_empty()) {
            return Err(SpecError::Sources);
        }
        let commands = self.server.as_ref().and_then(|s| s.commands.as_ref());
        if commands.is_some_and(Vec::is_empty) {
            return Err(SpecError::Commands);
        }
        if let Some(reported) = &self.reported {
            reported.check()?;
        }
        check_backlogs(&self.backlog)
    }
}

impl ReportedRead {
    fn check(&self) -> Result<(), SpecError> {
        if self.requests.is_none() && self.histogram.is_none() {
            return Err(SpecError::ReportedNothing);
        }
        let keys = [
            self.requests.as_deref(),
            self.histogram
                .as_ref()
                .map(|histogram| histogram.key.as_str()),
            self.sum.as_ref().map(|sum| sum.key.as_str()),
        ];
        keys.into_iter().flatten().try_for_each(check_key)?;
        match self
            .histogram
            .as_ref()
            .and_then(|histogram| histogram.buckets.as_deref())
        {
            Some(buckets) => check_buckets(buckets),
            None => Ok(()),
        }
    }
}

impl BacklogRead {
    /// The `key` label this backlog is served under.
    pub fn label(&self) -> String {
        self.label
            .clone()
            .unwrap_or_else(|| label_from_key(&self.key))
    }
}

impl Connection {
    /// A plain connection to database 0, without a user.
    pub fn new(host: &str, port: u16) -> Self {
        Self {
            host: host.to_owned(),
            port,
            username: None,
            password: None,
            db: 0,
            tls: None,
        }
    }

    /// What `REDIS_HOST`, `REDIS_PORT`, `REDIS_USERNAME` and `REDIS_PASSWORD` say; `localhost` and 6379 where they say
    /// nothing. An empty variable is an absent one: charts set `REDIS_PASSWORD=""` for a server without a password.
    ///
    /// # Errors
    /// [`SpecError::Port`].
    pub fn from_env() -> Result<Self, SpecError> {
        Self::from_variables(crate::clock::env)
    }

    fn from_variables(variable: impl Fn(&str) -> Option<String>) -> Result<Self, SpecError> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let secret = |name: &str| set(name).map(|_| SecretRef::Env(name.to_owned()));
        Ok(Self {
            host: set("REDIS_HOST").unwrap_or_else(|| "localhost".to_owned()),
            port: set("REDIS_PORT").map_or(Ok(DEFAULT_PORT), |text| port_from_variable(&text))?,
            username: secret("REDIS_USERNAME"),
            password: secret("REDIS_PASSWORD"),
            db: 0,
            tls: None,
        })
    }

    /// The Kubernetes Secrets it needs.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretKey> {
        let login = self.username.iter().chain(&self.password);
        let authorities = self.tls.iter().filter_map(TlsSpec::secret);
        login.filter_map(SecretRef::kubernetes).chain(authorities)
    }

    /// `host:port`, for a person.
    pub fn address(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

/// `6379`, or `tcp://10.0.0.7:6379`: Kubernetes sets the latter in every pod of a namespace that has a Service named
/// `redis` (service links), so a pod that relies on the default would otherwise not start.
fn port_from_variable(text: &str) -> Result<u16, SpecError> {
    let port = match text.strip_prefix("tcp://") {
        Some(address) => address.rsplit(':').next().unwrap_or_default(),
        None => text,
    };
    port.parse().map_err(|_| SpecError::Port)
}

fn check_backlogs(backlogs: &[BacklogRead]) -> Result<(), SpecError> {
    if BACKLOGS_MAX < backlogs.len() {
        return Err(SpecError::Backlogs);
    }
    let mut labels = BTreeSet::new();
    for backlog in backlogs {
        check_key(&backlog.key)?;
        if let Measure::Pending { group } | Measure::Lag { group } = &backlog.measure {
            check_key(group)?;
        }
        let label = backlog.label();
        // A label made of the key is always fit; only a written one can be wrong.
        if label_from_key(&label) != label {
            return Err(SpecError::Label(label));
        }
        if !labels.insert(label.clone()) {
            return Err(SpecError::SameLabel(label));
        }
    }
    Ok(())
}

fn check_key(key: &str) -> Result<(), SpecError> {
    if key.is_empty() || KEY_BYTES_MAX < key.len() {
        return Err(SpecError::Key);
    }
    Ok(())
}

fn check_buckets(buckets: &[f64]) -> Result<(), SpecError> {
    let fit = !buckets.is_empty()
        && buckets.len() <= BUCKETS_MAX
        && buckets.iter().all(|bound| bound.is_finite())
        && buckets.is_sorted_by(|low, high| low < high);
    if fit { Ok(()) } else { Err(SpecError::Buckets) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::id::ServiceId;

    fn spec(backlog: Vec<BacklogRead>) -> RedisSpec {
        RedisSpec {
            target: TargetId::new(&ServiceId::new("shop", "visits"), "redis"),
            connection: Connection::new("localhost", DEFAULT_PORT),
            interval: Duration::from_secs(5),
            timeout: Duration::from_secs(2),
            server: None,
            reported: None,
            backlog,
        }
    }

    fn backlog(key: &str, label: Option<&str>) -> BacklogRead {
        BacklogRead {
            key: key.to_owned(),
            label: label.map(str::to_owned),
            measure: Measure::Auto,
        }
    }

    #[test]
    fn the_environment_fills_a_connection_and_a_secret_stays_a_reference() {
        let connection = Connection::from_variables(|name| match name {
            "REDIS_HOST" => Some("db".to_owned()),
            "REDIS_PORT" => Some("6380".to_owned()),
            "REDIS_USERNAME" => Some(String::new()),
            "REDIS_PASSWORD" => Some("hush".to_owned()),
            _ => None,
        })
        .unwrap();
        assert_eq!(connection.address(), "db:6380");
        assert_eq!(connection.username, None);
        assert_eq!(
            connection.password,
            Some(SecretRef::Env("REDIS_PASSWORD".to_owned()))
        );
        assert!(!format!("{connection:?}").contains("hush"));
    }

    #[test]
    fn without_variables_it_is_localhost_and_a_service_link_is_understood() {
        let of = |port: Option<&str>| {
            Connection::from_variables(|name| {
                port.filter(|_| name == "REDIS_PORT").map(str::to_owned)
            })
        };
        assert_eq!(of(None), Ok(Connection::new("localhost", 6379)));
        assert_eq!(of(Some("tcp://10.0.0.7:6390")).unwrap().port, 6390);
        assert_eq!(of(Some("70000")), Err(SpecError::Port));
        assert_eq!(of(Some("redis")), Err(SpecError::Port));
    }

    #[test]
    fn keys_that_make_the_same_label_must_be_named() {
        let clash = spec(vec![backlog("a:b", None), backlog("a/b", None)]);
        assert_eq!(clash.check(), Err(SpecError::SameLabel("a-b".to_owned())));
        let named = spec(vec![backlog("a:b", None), backlog("a/b", Some("a-slash"))]);
        assert_eq!(named.check(), Ok(()));
        let odd = spec(vec![backlog("a", Some("-a"))]);
        assert_eq!(odd.check(), Err(SpecError::Label("-a".to_owned())));
    }

    #[test]
    fn a_spec_that_reads_nothing_or_two_kinds_of_requests_is_refused() {
        assert_eq!(spec(vec![]).check(), Err(SpecError::Sources));
        let mut both = spec(vec![]);
        both.server = Some(ServerRead::default());
        assert_eq!(both.check(), Ok(()));
        both.reported = Some(ReportedRead::default());
        assert_eq!(both.check(), Err(SpecError::Sources));
        both.server = None;
        assert_eq!(both.check(), Err(SpecError::ReportedNothing));
    }

    #[test]
    fn bounds_must_ascend() {
        for (buckets, fit) in [
            (vec![0.1, 0.2], true),
            (vec![], false),
            (vec![0.2, 0.1], false),
            (vec![0.1, 0.1], false),
            (vec![0.1, f64::INFINITY], false),
            (vec![f64::NAN], false),
        ] {
            assert_eq!(check_buckets(&buckets).is_ok(), fit, "{buckets:?}");
        }
    }
}
