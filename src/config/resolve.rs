//! From what a person wrote to what the program acts on: defaults filled in, rules checked against each other.

use std::time::Duration;

use http::HeaderName;

use crate::engine::{Objective, ServiceSpec, WIDEST_WINDOW};
use crate::exposition::Want;
use crate::model::id::{ServiceId, TargetId};
use crate::model::matcher::Matchers;
use crate::source::SourceSpec;
use crate::source::redis::{
    BacklogRead, Connection, HistogramKey, Measure, RedisSpec, ReportedRead, ServerRead, SumKey,
    Unit,
};
use crate::source::scrape::{Auth, Endpoint, ScrapeSpec, default_timeout};
use crate::source::secret::SecretRef;
use crate::source::tls::{IdentityFiles, TlsSpec};

use super::document::{self, At, RequestMetrics, SecretValue};
use super::{API_VERSION, Service};

/// Long enough for six scrapes, so that one lost scrape moves a rate little; short enough for an HPA, which looks
/// every 15 s, to see a change at its second look.
const DEFAULT_WINDOW: Duration = Duration::from_secs(30);

/// Three scrapes between two looks of the HPA.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(5);

/// More often costs targets more than it tells anybody.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// A window must hold two reads even when one is late.
const WINDOW_INTERVALS_MIN: u32 = 2;

/// The most static targets of one document; a larger fleet is for the cluster's discovery.
const TARGETS_MAX: usize = 1_000;

/// The longest name that is a label value, as `service` has to be.
const NAME_BYTES_MAX: usize = 63;

/// What is wrong with a field, and at which line of its document.
pub(super) struct Wrong {
    pub(super) line: Option<u64>,
    pub(super) message: String,
}

type Checked<T> = Result<T, Wrong>;

/// Resolves one document.
pub(super) fn resolve(document: RequestMetrics) -> Checked<Service> {
    check_kind(&document)?;
    let id = document.id();
    check_name("metadata.name", &id.name)?;
    check_name("metadata.namespace", &id.namespace)?;
    let spec = document.spec;
    let (window, interval) = timing(spec.window.as_ref(), spec.interval.as_ref())?;
    let objective = spec.objective.map(objective).transpose()?;
    let line = line_of(&spec.source);
    let source = spec.source.value;
    if source.prometheus.is_some() {
        return Err(wrong(
            line,
            "spec.source.prometheus is not read yet; use pods or redis",
        ));
    }
    let (sources, has_requests) = match (source.pods, source.redis) {
        (Some(pods), None) => (pods_sources(&id, interval, pods, line)?, true),
        (None, Some(redis)) => {
            let spec = redis_source(&id, interval, redis, line)?;
            let has_requests = spec.server.is_some() || spec.reported.is_some();
            (vec![SourceSpec::Redis(spec)], has_requests)
        }
        _ => {
            return Err(wrong(
                line,
                "spec.source needs exactly one of pods and redis",
            ));
        }
    };
    Ok(Service {
        spec: ServiceSpec {
            id,
            interval,
            window,
            objective,
            has_requests,
        },
        sources,
    })
}

fn check_kind(document: &RequestMetrics) -> Checked<()> {
    let RequestMetrics {
        api_version, kind, ..
    } = document;
    if api_version.value != API_VERSION {
        return Err(wrong(
            line_of(api_version),
            format!(
                "apiVersion is {:?} and must be {API_VERSION}",
                api_version.value
            ),
        ));
    }
    if kind.value != "RequestMetrics" {
        return Err(wrong(
            line_of(kind),
            format!("kind is {:?} and must be RequestMetrics", kind.value),
        ));
    }
    Ok(())
}

/// A DNS label: it becomes a label value and a path segment.
fn check_name(field: &str, name: &str) -> Checked<()> {
    let is_alphanumeric = |b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = name.as_bytes();
    let is_sound = bytes.first().is_some_and(is_alphanumeric)
        && bytes.last().is_some_and(is_alphanumeric)
        && bytes.iter().all(|b| is_alphanumeric(b) || *b == b'-')
        && bytes.len() <= NAME_BYTES_MAX;
    if is_sound {
        return Ok(());
    }
    let message = format!(
        "{field} is {name:?} and must be at most {NAME_BYTES_MAX} of a-z, 0-9 and -, beginning and ending with a letter or digit"
    );
    Err(wrong(None, message))
}

fn timing(
    window: Option<&At<String>>,
    interval: Option<&At<String>>,
) -> Checked<(Duration, Duration)> {
    let interval_line = interval.and_then(line_of);
    let window_line = window.and_then(line_of);
    let interval = duration("spec.interval", interval)?.unwrap_or(DEFAULT_INTERVAL);
    let window = duration("spec.window", window)?
        .unwrap_or(DEFAULT_WINDOW.max(interval * WINDOW_INTERVALS_MIN));
    if interval < INTERVAL_MIN {
        return Err(wrong(
            interval_line,
            format!("spec.interval must be at least {}", text(INTERVAL_MIN)),
        ));
    }
    if WIDEST_WINDOW < window {
        return Err(wrong(
            window_line,
            format!("spec.window must be at most {}", text(WIDEST_WINDOW)),
        ));
    }
    if window < interval * WINDOW_INTERVALS_MIN {
        let message = format!(
            "spec.window ({}) must be at least {WINDOW_INTERVALS_MIN} times spec.interval ({}), since a rate needs two reads",
            text(window),
            text(interval)
        );
        return Err(wrong(window_line.or(interval_line), message));
    }
    Ok((window, interval))
}

fn objective(objective: document::Objective) -> Checked<Objective> {
    let quantile = objective.quantile.value;
    if !(0.0 < quantile && quantile < 1.0) {
        let message = format!(
            "spec.objective.quantile is {quantile} and must lie between 0 and 1, such as 0.95"
        );
        return Err(wrong(line_of(&objective.quantile), message));
    }
    let latency = parse_duration("spec.objective.latency", &objective.latency)?;
    if latency.is_zero() {
        return Err(wrong(
            line_of(&objective.latency),
            "spec.objective.latency must be above 0, such as 250ms",
        ));
    }
    Ok(Objective { quantile, latency })
}

// === pods ===

fn pods_sources(
    id: &ServiceId,
    interval: Duration,
    pods: document::Pods,
    line: Option<u64>,
) -> Checked<Vec<SourceSpec>> {
    if let Some(selector) = &pods.selector {
        let message = "spec.source.pods.selector needs a cluster; in a file, list the addresses in spec.source.pods.targets";
        return Err(wrong(line_of(selector), message));
    }
    if pods.targets.is_empty() {
        return Err(wrong(
            line,
            "spec.source.pods.targets is empty; list addresses such as 10.0.0.7:8080",
        ));
    }
    if TARGETS_MAX < pods.targets.len() {
        let message = format!(
            "{} targets are listed, at most {TARGETS_MAX} are read for one document",
            pods.targets.len()
        );
        return Err(wrong(line, message));
    }
    let template = scrape_template(id, interval, &pods)?;
    let mut sources: Vec<SourceSpec> = Vec::with_capacity(pods.targets.len());
    for target in &pods.targets {
        let endpoint = endpoint(target, &pods)?;
        let spec = ScrapeSpec {
            target: TargetId::new(id, &endpoint.to_string()),
            endpoint,
            ..template.clone()
        };
        if sources.iter().any(|other| other.target() == &spec.target) {
            return Err(wrong(
                line_of(target),
                format!("target {} is listed twice", target.value),
            ));
        }
        sources.push(SourceSpec::Scrape(spec));
    }
    Ok(sources)
}

/// What all targets of a document have in common.
fn scrape_template(
    id: &ServiceId,
    interval: Duration,
    pods: &document::Pods,
) -> Checked<ScrapeSpec> {
    let matchers = match &pods.matchers {
        Some(matchers) => Matchers::parse(&matchers.value).map_err(|error| {
            wrong(
                line_of(matchers),
                format!("spec.source.pods.where: {error}"),
            )
        })?,
        None => Matchers::default(),
    };
    let want = Want {
        histogram: pods.histogram.clone(),
        matchers,
        in_flight: pods.in_flight.clone(),
        cpu: pods.cpu.clone(),
    };
    let nowhere =
        Endpoint::parse("http://localhost/").map_err(|error| wrong(None, error.to_string()))?;
    let spec = ScrapeSpec::new(TargetId::new(id, ""), nowhere, interval, want);
    Ok(ScrapeSpec {
        timeout: duration("spec.source.pods.timeout", pods.timeout.as_ref())?
            .unwrap_or(spec.timeout)
            .min(interval),
        headers: headers(pods)?,
        auth: auth(pods)?,
        tls: pods
            .tls
            .as_ref()
            .map(|tls| tls_spec("spec.source.pods.tls", tls))
            .transpose()?
            .unwrap_or_default(),
        gzip: pods.gzip,
        ..spec
    })
}

/// The endpoint of `HOST:PORT` or of a whole URL.
fn endpoint(target: &At<String>, pods: &document::Pods) -> Checked<Endpoint> {
    let url = if target.value.contains("://") {
        target.value.clone()
    } else {
        let scheme = pods
            .scheme
            .as_ref()
            .map_or("http", |scheme| scheme.value.as_str());
        let path = pods
            .path
            .as_ref()
            .map_or("/metrics", |path| path.value.as_str());
        let slash = if path.starts_with('/') { "" } else { "/" };
        format!("{scheme}://{}{slash}{path}", target.value)
    };
    // The URL itself is not repeated: a token may hide in its query.
    Endpoint::parse(&url).map_err(|error| {
        wrong(
            line_of(target),
            format!("this entry of spec.source.pods.targets {error}"),
        )
    })
}

fn headers(pods: &document::Pods) -> Checked<Vec<(HeaderName, SecretRef)>> {
    let header = |(name, value): (&String, &At<SecretValue>)| {
        let field = format!("spec.source.pods.headers.{name}");
        let name = HeaderName::from_bytes(name.as_bytes())
            .map_err(|_| wrong(line_of(value), format!("{field}: this is no header name")))?;
        Ok((name, secret(&field, value)?))
    };
    pods.headers.iter().map(header).collect()
}

fn auth(pods: &document::Pods) -> Checked<Option<Auth>> {
    match (&pods.bearer_token, &pods.basic_auth) {
        (None, None) => Ok(None),
        (Some(token), None) => Ok(Some(Auth::Bearer(secret(
            "spec.source.pods.bearerToken",
            token,
        )?))),
        (None, Some(basic)) => Ok(Some(Auth::Basic {
            username: secret("spec.source.pods.basicAuth.username", &basic.username)?,
            password: secret("spec.source.pods.basicAuth.password", &basic.password)?,
        })),
        (Some(token), Some(_)) => Err(wrong(
            line_of(token),
            "spec.source.pods has bearerToken and basicAuth; a request has one of them",
        )),
    }
}

fn tls_spec(field: &str, tls: &document::Tls) -> Checked<TlsSpec> {
    let identity = match (&tls.cert_file, &tls.key_file) {
        (None, None) => None,
        (Some(cert), Some(key)) => Some(IdentityFiles {
            cert_file: cert.into(),
            key_file: key.into(),
        }),
        _ => {
            return Err(wrong(
                None,
                format!("{field}: certFile and keyFile belong together"),
            ));
        }
    };
    Ok(TlsSpec {
        ca_file: tls.ca_file.as_ref().map(Into::into),
        server_name: tls.server_name.clone(),
        insecure_skip_verify: tls.insecure_skip_verify,
        identity,
    })
}

// === redis ===

fn redis_source(
    id: &ServiceId,
    interval: Duration,
    redis: document::Redis,
    line: Option<u64>,
) -> Checked<RedisSpec> {
    let spec = RedisSpec {
        target: TargetId::new(id, "redis"),
        connection: connection(&redis)?,
        interval,
        timeout: duration("spec.source.redis.timeout", redis.timeout.as_ref())?
            .unwrap_or_else(|| default_timeout(interval)),
        server: redis.server.map(|server| ServerRead {
            commands: server.commands,
        }),
        reported: redis.reported.map(reported).transpose()?,
        backlog: redis.backlog.iter().map(backlog).collect::<Checked<_>>()?,
    };
    let target = TargetId::new(id, &format!("redis://{}", spec.connection.address()));
    let spec = RedisSpec { target, ..spec };
    spec.check()
        .map_err(|error| wrong(line, format!("spec.source.redis: {error}")))?;
    Ok(spec)
}

fn connection(redis: &document::Redis) -> Checked<Connection> {
    let base = match &redis.address {
        Some(address) => at_address(address)?,
        None => Connection::from_env().map_err(|error| {
            wrong(
                None,
                format!("spec.source.redis.address is not given, and {error}"),
            )
        })?,
    };
    let from = |field: &str, value: &Option<At<SecretValue>>| {
        value
            .as_ref()
            .map(|value| secret(&format!("spec.source.redis.{field}"), value))
            .transpose()
    };
    let db = u32::try_from(redis.database).map_err(|_| {
        wrong(
            None,
            format!(
                "spec.source.redis.database is {} and must be 0 or more",
                redis.database
            ),
        )
    })?;
    Ok(Connection {
        username: from("username", &redis.username)?.or(base.username),
        password: from("password", &redis.password)?.or(base.password),
        db,
        tls: redis
            .tls
            .as_ref()
            .map(|tls| tls_spec("spec.source.redis.tls", tls))
            .transpose()?
            .or(base.tls),
        ..base
    })
}

fn at_address(address: &At<String>) -> Checked<Connection> {
    let (host, port) = address
        .value
        .rsplit_once(':')
        .unwrap_or((&address.value, "6379"));
    let port = port.parse().ok().filter(|port| 0 < *port);
    match port {
        Some(port) if !host.is_empty() && !address.value.contains('/') => {
            Ok(Connection::new(host.trim_matches(['[', ']']), port))
        }
        _ => Err(wrong(
            line_of(address),
            "spec.source.redis.address must be HOST:PORT, such as redis:6379",
        )),
    }
}

fn reported(reported: document::Reported) -> Checked<ReportedRead> {
    let unit = match reported
        .histogram
        .as_ref()
        .and_then(|histogram| histogram.unit.as_ref())
    {
        None => Unit::Seconds,
        Some(unit) => match unit.value.as_str() {
            "seconds" => Unit::Seconds,
            "milliseconds" => Unit::Milliseconds,
            other => {
                let message = format!(
                    "spec.source.redis.reported.histogram.unit is {other:?} and must be seconds or milliseconds"
                );
                return Err(wrong(line_of(unit), message));
            }
        },
    };
    let histogram = reported.histogram.map(|histogram| HistogramKey {
        key: histogram.key,
        unit,
        cumulative: histogram.cumulative,
        buckets: histogram.buckets,
    });
    Ok(ReportedRead {
        requests: reported.requests,
        histogram,
        sum: reported.sum.map(|key| SumKey { key, unit }),
    })
}

fn backlog(backlog: &At<document::BacklogKey>) -> Checked<BacklogRead> {
    let document::BacklogKey {
        key,
        label,
        measure,
        group,
    } = &backlog.value;
    let group = |measure: &str| {
        group.clone().ok_or_else(|| {
            wrong(
                line_of(backlog),
                format!("measure {measure} of key {key} needs the consumer group: set group"),
            )
        })
    };
    let measure = match measure.as_ref().map(|measure| measure.value.as_str()) {
        None => Measure::Auto,
        Some("length") => Measure::Length,
        Some("number") => Measure::Number,
        Some("pending") => Measure::Pending {
            group: group("pending")?,
        },
        Some("lag") => Measure::Lag {
            group: group("lag")?,
        },
        Some(other) => {
            let message = format!(
                "measure of key {key} is {other:?} and must be length, pending, lag or number"
            );
            return Err(wrong(line_of(backlog), message));
        }
    };
    Ok(BacklogRead {
        key: key.clone(),
        label: label.clone(),
        measure,
    })
}

// === small things ===

fn secret(field: &str, value: &At<SecretValue>) -> Checked<SecretRef> {
    match value.value.clone() {
        SecretValue {
            secret_key_ref: Some(_),
            ..
        } => Err(wrong(
            line_of(value),
            format!("{field}.secretKeyRef needs a cluster; use file or env"),
        )),
        SecretValue {
            file: Some(file),
            env: None,
            value: None,
            ..
        } => Ok(SecretRef::File(file.into())),
        SecretValue {
            file: None,
            env: Some(env),
            value: None,
            ..
        } => Ok(SecretRef::Env(env)),
        SecretValue {
            file: None,
            env: None,
            value: Some(value),
            ..
        } => Ok(SecretRef::Literal(value)),
        SecretValue { .. } => Err(wrong(
            line_of(value),
            format!("{field} needs exactly one of file, env and value"),
        )),
    }
}

fn duration(field: &str, written: Option<&At<String>>) -> Checked<Option<Duration>> {
    written
        .map(|written| parse_duration(field, written))
        .transpose()
}

fn parse_duration(field: &str, written: &At<String>) -> Checked<Duration> {
    humantime::parse_duration(&written.value).map_err(|_| {
        wrong(
            line_of(written),
            format!(
                "{field} is {:?} and must be a duration such as 30s or 250ms",
                written.value
            ),
        )
    })
}

fn text(duration: Duration) -> String {
    humantime::format_duration(duration).to_string()
}

fn line_of<T>(value: &At<T>) -> Option<u64> {
    Some(value.referenced.line()).filter(|line| 0 < *line)
}

fn wrong(line: Option<u64>, message: impl Into<String>) -> Wrong {
    Wrong {
        line,
        message: message.into(),
    }
}
