//! `spec.source.redis` to one Redis server and what is read from it.

use std::net::Ipv6Addr;
use std::time::Duration;

use crate::config::document::{At, BacklogKey, Redis, Reported, ReportedHistogram, SecretValue};
use crate::config::field::{self, Checked, Origin, line_of, wrong};
use crate::model::id::{ServiceId, TargetId};
use crate::source::redis::{
    BacklogRead, Connection, DEFAULT_PORT, HistogramKey, Measure, RedisSpec, ReportedRead,
    ServerRead, SpecError, SumKey, Unit,
};
use crate::source::scrape::default_timeout;

/// The source; `line` is where `spec.source` stands.
pub(super) fn source(
    id: &ServiceId,
    interval: Duration,
    redis: Redis,
    line: Option<u64>,
    origin: Origin<'_>,
) -> Checked<RedisSpec> {
    let connection = connection(&redis, line, origin)?;
    let timeout = super::timeout(
        "spec.source.redis.timeout",
        redis.timeout.as_ref(),
        interval,
    )?
    .unwrap_or_else(|| default_timeout(interval));
    let spec = RedisSpec {
        target: TargetId::new(id, &format!("redis://{}", connection.address())),
        connection,
        interval,
        timeout,
        server: redis.server.map(|server| ServerRead {
            commands: server.commands,
        }),
        reported: redis.reported.map(reported).transpose()?,
        backlog: redis.backlog.iter().map(backlog).collect::<Checked<_>>()?,
    };
    spec.check().map_err(|error| {
        // What is wrong with a label is wrong at its last use.
        let at = match &error {
            SpecError::Label(label) | SpecError::SameLabel(label) => spec
                .backlog
                .iter()
                .rposition(|backlog| backlog.label() == *label)
                .and_then(|index| line_of(&redis.backlog[index])),
            _ => line,
        };
        wrong(at, format!("spec.source.redis: {error}"))
    })?;
    Ok(spec)
}

fn connection(redis: &Redis, line: Option<u64>, origin: Origin<'_>) -> Checked<Connection> {
    let base = match (&redis.address, origin) {
        (Some(address), _) => at_address(address)?,
        (None, Origin::Object { .. }) => {
            let message =
                "spec.source.redis.address is missing; name the server, such as redis:6379";
            return Err(wrong(line, message));
        }
        (None, Origin::File) => Connection::from_env().map_err(|error| {
            let message = format!("spec.source.redis.address is not given, and {error}");
            wrong(line, message)
        })?,
    };
    let secret = |field: &str, written: &Option<At<SecretValue>>| {
        written
            .as_ref()
            .map(|written| field::secret(&format!("spec.source.redis.{field}"), written, origin))
            .transpose()
    };
    let tls = redis
        .tls
        .as_ref()
        .map(|tls| field::tls("spec.source.redis.tls", tls, origin))
        .transpose()?;
    let password = secret("password", &redis.password)?.or(base.password);
    if let (Some(username), None) = (&redis.username, &password) {
        let message =
            "spec.source.redis.username needs a password: Redis takes no user without one";
        return Err(wrong(line_of(username), message));
    }
    Ok(Connection {
        username: secret("username", &redis.username)?.or(base.username),
        password,
        db: redis.database.as_ref().map_or(Ok(0), database)?,
        tls: tls.or(base.tls),
        ..base
    })
}

fn database(written: &At<i64>) -> Checked<u32> {
    u32::try_from(written.value).map_err(|_| {
        let message = format!(
            "spec.source.redis.database is {} and must be 0 or more, and no more than a server has",
            written.value
        );
        wrong(line_of(written), message)
    })
}

/// `HOST`, `HOST:PORT`, `[IPV6]` or `[IPV6]:PORT`. What is written is not repeated: somebody may have put a password
/// into it, as in a URL.
fn at_address(written: &At<String>) -> Checked<Connection> {
    let refuse = |what: &str| {
        let message =
            format!("spec.source.redis.address must be HOST:PORT, such as redis:6379{what}");
        Err(wrong(line_of(written), message))
    };
    let address = written.value.as_str();
    if address.contains('@') {
        return refuse("; a user and a password go into username and password");
    }
    if address.contains("://") {
        return refuse(", without a scheme; TLS is spoken when tls is set, if only to {}");
    }
    let (host, port) = match address.strip_prefix('[') {
        Some(bracketed) => match bracketed.split_once(']') {
            Some((host, "")) => (host, None),
            Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or_default())),
            None => return refuse(""),
        },
        None if address.parse::<Ipv6Addr>().is_ok() => (address, None),
        None => match address.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (address, None),
        },
    };
    let port = port.map_or(Some(DEFAULT_PORT), |port| {
        port.parse().ok().filter(|port| 0 < *port)
    });
    match port {
        Some(port) if !host.is_empty() && !host.contains(['/', ' ']) => {
            Ok(Connection::new(host, port))
        }
        _ => refuse(""),
    }
}

fn reported(reported: Reported) -> Checked<ReportedRead> {
    let unit = match reported.histogram.as_ref().and_then(|h| h.unit.as_ref()) {
        None => Unit::Seconds,
        Some(written) => field::unit("spec.source.redis.reported.histogram.unit", written)?,
    };
    let histogram = reported.histogram.map(|histogram| {
        let ReportedHistogram {
            key,
            unit: _,
            cumulative,
            buckets,
        } = histogram;
        HistogramKey {
            key,
            unit,
            cumulative,
            buckets,
        }
    });
    Ok(ReportedRead {
        requests: reported.requests,
        histogram,
        sum: reported.sum.map(|key| SumKey { key, unit }),
    })
}

fn backlog(written: &At<BacklogKey>) -> Checked<BacklogRead> {
    let BacklogKey {
        key,
        label,
        measure,
        group,
    } = &written.value;
    let refuse = |message: String| Err(wrong(line_of(written), message));
    let measure = measure.as_ref().map(|measure| measure.value.as_str());
    let measure = match (measure, group) {
        (None, None) => Measure::Auto,
        (Some("length"), None) => Measure::Length,
        (Some("number"), None) => Measure::Number,
        (Some("pending"), Some(group)) => Measure::Pending {
            group: group.clone(),
        },
        (Some("lag"), Some(group)) => Measure::Lag {
            group: group.clone(),
        },
        (Some(measure @ ("pending" | "lag")), None) => {
            return refuse(format!(
                "measure {measure} of key {key:?} needs the consumer group: set group"
            ));
        }
        (None | Some("length" | "number"), Some(_)) => {
            return refuse(format!(
                "key {key:?} has a consumer group, which only the measures pending and lag look at"
            ));
        }
        (Some(other), _) => {
            return refuse(format!(
                "measure of key {key:?} is {other:?} and must be length, pending, lag or number"
            ));
        }
    };
    Ok(BacklogRead {
        key: key.clone(),
        label: label.clone(),
        measure,
    })
}
