//! The services of a file: where they are met, what is asked of them, and how they behave where they are played.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use http::Uri;
use http::header::{HeaderName, HeaderValue};

use super::fields::{Fields, NAME_BYTES_MAX};
use super::node::Value;
use crate::measured::LATENCY_MAX;
use crate::scenario::{
    App, Calls, Connections, Demand, Discovery, Http, HttpVersion, ObjectName, Observe,
    OnEndpointAdd, Request, Service, Span, Target,
};

/// Kinds of requests of a service: each has its own histogram.
const REQUESTS_MAX: usize = 64;

/// Headers of a request.
const HEADERS_MAX: usize = 64;

/// Bytes of a header's value and of a path: what servers take in a line.
const LINE_BYTES_MAX: usize = 8 * 1024;

/// Bytes of a body, which is kept in memory and in the report.
const BODY_BYTES_MAX: usize = 64 * 1024;

/// Addresses written down for a service.
const ADDRESSES_MAX: usize = 1_000;

/// Connections to one backend: a process may often have 1,024 open files.
pub(crate) const CONNECTIONS_MAX: usize = 10_000;

/// Connections to one backend unless the scenario says otherwise; see [`crate::engine::Config::new`].
const CONNECTIONS_DEFAULT: usize = 128;

/// Connections opened before the clock starts unless the scenario says otherwise.
const PRECONNECT_DEFAULT: usize = 4;

/// How long a request may take: not less than what is told apart of its start, nor longer than any latency is known.
pub(crate) const TIMEOUTS: RangeInclusive<Span> =
    Span::from_millis(1)..=Span::from_secs(LATENCY_MAX.as_secs());

/// Workers and waiting requests of a played pod.
const APP_MAX: usize = 100_000;

/// Reads a service. `include` is told of an HPA or of metrics that are in another file.
pub(super) fn read(fields: &mut Fields<'_, '_>) -> Service {
    Service {
        target: target(fields),
        requests: fields.each("requests", REQUESTS_MAX, request),
        observe: fields.inside("observe", observe).flatten(),
        demand: fields
            .inside("demand", |demand| {
                demand
                    .need("rpsPerPod")
                    .map(|rps_per_pod| Demand { rps_per_pod })
            })
            .flatten(),
        app: fields.inside("app", |app| read_app(app, &default_app())),
        hpa: object(fields, "hpa"),
        metrics: object(fields, "metrics"),
    }
}

/// A mapping as it is, or the path of a file with one.
fn object(fields: &mut Fields<'_, '_>, name: &'static str) -> Option<serde_json::Value> {
    let node = fields.node(name)?;
    if !matches!(node.value, Value::Map(_) | Value::Text(_)) {
        let kind = node.kind();
        fields.wrong(
            name,
            format!("must be an object or the path of a YAML file, and is {kind}"),
        );
        return None;
    }
    Some(node.json())
}

/// A target, as its URL alone or as a mapping.
fn target(fields: &mut Fields<'_, '_>) -> Option<Target> {
    if let Value::Text(_) = fields.node("target")?.value {
        let url = fields.parsed("target", read_url)?;
        let discovery = discovery_of(&url);
        return Some(Target {
            url,
            discovery,
            connections: default_connections(),
            http: default_http(),
        });
    }
    fields.inside("target", |target| {
        let url = target.parsed("url", read_url);
        if !target.has("url") {
            target.need::<String>("url");
        }
        let refresh = target.inside("dns", |dns| dns.or("refresh", DNS_REFRESH));
        let connections = target.inside("connections", connections);
        let http = target.inside("http", http);
        let discovery = discovery(target, refresh);
        let url = url?;
        Some(Target {
            discovery: discovery.unwrap_or_else(|| discovery_of(&url)),
            connections: connections.unwrap_or_else(default_connections),
            http: http.unwrap_or_else(default_http),
            url,
        })
    })?
}

/// How often a host is looked up again: the time to live of a headless Service's names.
const DNS_REFRESH: Span = Span::from_secs(5);

/// How the backends of a host are found when nothing is said: by a watch behind a Service, else by its name.
pub(crate) fn discovery_of(url: &str) -> Discovery {
    let host = url
        .parse::<Uri>()
        .ok()
        .and_then(|url| url.host().map(str::to_owned));
    match host.as_deref() {
        Some(host) if host.ends_with(".svc") || host.ends_with(".svc.cluster.local") => {
            Discovery::Endpoints
        }
        Some(host) if host == "localhost" || is_address(host) => Discovery::Static,
        _ => Discovery::Dns {
            refresh: DNS_REFRESH,
        },
    }
}

fn is_address(host: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.parse::<std::net::IpAddr>().is_ok()
}

fn discovery(target: &mut Fields<'_, '_>, refresh: Option<Span>) -> Option<Discovery> {
    let dns = Discovery::Dns {
        refresh: refresh.unwrap_or(DNS_REFRESH),
    };
    let addresses: Vec<String> = target.list("addresses", ADDRESSES_MAX);
    for address in &addresses {
        if address.parse::<std::net::SocketAddr>().is_err() {
            target.wrong(
                "addresses",
                format!("`{address}` is no address such as 127.0.0.1:8080"),
            );
        }
    }
    let written = target.parsed("discovery", |text| match text {
        "endpoints" => Ok(Discovery::Endpoints),
        "static" => Ok(Discovery::Static),
        "dns" => Ok(dns.clone()),
        _ => Err(format!("`{text}` is not one of endpoints, dns, static")),
    });
    match (addresses.is_empty(), written, refresh) {
        (false, None | Some(Discovery::Static), None) => Some(Discovery::Addresses(addresses)),
        (false, ..) => {
            target.wrong("addresses", "are for discovery: static alone");
            None
        }
        (true, None, Some(_)) => Some(dns),
        (true, written, _) => written,
    }
}

/// Connections as a scenario has them that says nothing of them.
#[must_use]
pub fn default_connections() -> Connections {
    Connections {
        per_endpoint: CONNECTIONS_DEFAULT,
        max_age: Some(Span::from_secs(30)),
        max_age_jitter: 0.2,
        max_requests: 0,
        on_endpoint_add: OnEndpointAdd::Rebalance,
        preconnect: PRECONNECT_DEFAULT,
    }
}

fn connections(fields: &mut Fields<'_, '_>) -> Connections {
    let default = default_connections();
    let max_age = fields.get::<Span>("maxAge");
    let per_endpoint = fields.within("perEndpoint", 1..=CONNECTIONS_MAX, default.per_endpoint);
    let adds = [
        ("rebalance", OnEndpointAdd::Rebalance),
        ("keep", OnEndpointAdd::Keep),
    ];
    let preconnect = match fields.node("preconnect").map(|node| &node.value) {
        Some(Value::Bool(true)) | None => default.preconnect.min(per_endpoint),
        Some(Value::Bool(false)) => 0,
        Some(_) => fields.within("preconnect", 0..=per_endpoint, default.preconnect),
    };
    Connections {
        per_endpoint,
        max_age: max_age.or(default.max_age).filter(|age| !age.is_zero()),
        max_age_jitter: fields.within("maxAgeJitter", 0.0..=1.0, default.max_age_jitter),
        max_requests: fields.or("maxRequests", 0),
        on_endpoint_add: fields.word("onEndpointAdd", &adds).unwrap_or_default(),
        preconnect,
    }
}

/// How requests are sent when nothing is said.
#[must_use]
pub fn default_http() -> Http {
    Http {
        version: HttpVersion::Http1,
        timeout: Span::from_secs(5),
        expect: Vec::new(),
        ca: None,
        server_name: None,
    }
}

fn http(fields: &mut Fields<'_, '_>) -> Http {
    let versions = [("1.1", HttpVersion::Http1), ("2", HttpVersion::Http2)];
    let timeout = fields.within("timeout", TIMEOUTS, default_http().timeout);
    let expect: Vec<u16> = fields.list("expect", 100);
    if expect.iter().any(|status| !(100..=599).contains(status)) {
        fields.wrong("expect", "must be a list of statuses between 100 and 599");
    }
    Http {
        version: fields.word("version", &versions).unwrap_or_default(),
        timeout,
        expect,
        ca: fields.get("ca"),
        server_name: fields.get("serverName"),
    }
}

/// A URL with scheme and host, without a password.
pub(crate) fn read_url(text: &str) -> Result<String, String> {
    // The text may hold a password, so what is wrong is said without it.
    let url: Uri = text
        .parse()
        .map_err(|_| "is no URL such as http://users.shop.svc:8080/".to_owned())?;
    match (url.scheme_str(), url.authority()) {
        (_, Some(authority)) if authority.as_str().contains('@') => {
            Err("must not hold a password; give it in a header as ${env:NAME}".to_owned())
        }
        (Some("http" | "https"), Some(_)) => Ok(text.to_owned()),
        _ => Err("must begin with http:// or https:// and name a host".to_owned()),
    }
}

/// The request of a service that says nothing of requests.
pub(crate) fn default_request() -> Request {
    Request {
        name: "get".to_owned(),
        weight: 1,
        method: "GET".to_owned(),
        path: "/".to_owned(),
        headers: BTreeMap::new(),
        body: None,
        expect_body: None,
    }
}

fn request(fields: &mut Fields<'_, '_>) -> Option<Request> {
    let default = default_request();
    let path = fields.get::<String>("path");
    let method = fields.or("method", default.method);
    if http::Method::from_bytes(method.as_bytes()).is_err() || NAME_BYTES_MAX < method.len() {
        fields.wrong("method", "is no method such as GET or POST");
    }
    let path = path.unwrap_or(default.path);
    if !path.starts_with('/') || LINE_BYTES_MAX < path.len() || path.contains(char::is_whitespace) {
        fields.wrong(
            "path",
            format!("must begin with / and be without blanks, in {LINE_BYTES_MAX} bytes at most"),
        );
    }
    let name = fields.name("name").unwrap_or_else(|| path.clone());
    let headers = headers(fields);
    let [body, expect_body] = ["body", "expectBody"].map(|field| {
        let text = fields.get::<String>(field)?;
        if BODY_BYTES_MAX < text.len() {
            fields.wrong(
                field,
                format!("{} bytes are more than {BODY_BYTES_MAX}", text.len()),
            );
        }
        Some(text)
    });
    Some(Request {
        name,
        weight: fields.within("weight", 1..=1_000_000, 1),
        method,
        path,
        headers,
        body,
        expect_body,
    })
}

/// Headers. No message repeats a value, which may be a secret.
fn headers(fields: &mut Fields<'_, '_>) -> BTreeMap<String, String> {
    let mut headers = BTreeMap::new();
    for (name, node) in fields.entries("headers", HEADERS_MAX) {
        let value = match &node.value {
            Value::Text(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => {
                fields.note(node.line, "headers", format!("`{name}` must be a text"));
                continue;
            }
        };
        let is_name = name.len() <= NAME_BYTES_MAX && name.parse::<HeaderName>().is_ok();
        if !is_name || LINE_BYTES_MAX < value.len() || HeaderValue::from_str(&value).is_err() {
            fields.note(
                node.line,
                "headers",
                format!(
                    "`{}` has a name or a value that no header may have",
                    name.escape_debug()
                ),
            );
        }
        headers.insert(name.clone(), value);
    }
    headers
}

fn observe(fields: &mut Fields<'_, '_>) -> Option<Observe> {
    let interval = fields.or("metricInterval", Span::from_secs(2));
    let max_gap = fields.or("maxGap", Span::from_secs(15));
    for (name, span) in [("metricInterval", interval), ("maxGap", max_gap)] {
        if span.as_millis() < 100 {
            fields.wrong(name, format!("{span} is shorter than 100ms"));
        }
    }
    let hpa = fields.inside("hpa", |hpa| {
        let (namespace, name) = (hpa.need("namespace"), hpa.need("name"));
        Some(ObjectName {
            namespace: namespace?,
            name: name?,
        })
    });
    if hpa.is_none() {
        fields.note(
            fields.line(),
            "hpa",
            "is missing; write `hpa: { namespace: shop, name: users }`",
        );
    }
    Some(Observe {
        hpa: hpa??,
        metric_interval: interval,
        max_gap,
    })
}

/// A pod of which nothing is said: the sample app's own defaults, and half a core.
pub(super) fn default_app() -> App {
    App {
        workers: 4,
        queue: 512,
        service_time: Span::from_millis(60),
        service_cv: 0.8,
        cpu_share: 0.03,
        cpu_request: 500,
        startup: Some(Span::default()),
        drain: Span::from_secs(20),
        calls: None,
        redis: false,
        token: None,
        version: "v1".to_owned(),
    }
}

/// Reads an app that is like `base` where nothing is said.
pub(super) fn read_app(fields: &mut Fields<'_, '_>, base: &App) -> App {
    let startup = match fields.node("startup").map(|node| &node.value) {
        Some(Value::Text(text)) if text == "never" => None,
        Some(_) => Some(fields.or("startup", Span::default())),
        None => base.startup,
    };
    App {
        workers: fields.within("workers", 1..=APP_MAX, base.workers),
        queue: fields.within("queue", 0..=APP_MAX, base.queue),
        service_time: fields.or("serviceTime", base.service_time),
        service_cv: fields.within("serviceCv", 0.0..=10.0, base.service_cv),
        cpu_share: fields.within("cpuShare", 0.0..=1.0, base.cpu_share),
        cpu_request: fields.within("cpuRequest", 1..=1_000_000, base.cpu_request),
        startup,
        drain: fields.or("drain", base.drain),
        calls: fields
            .inside("calls", calls)
            .unwrap_or_else(|| base.calls.clone()),
        redis: fields.or("redis", base.redis),
        token: fields.get("token").or_else(|| base.token.clone()),
        version: fields
            .name("version")
            .unwrap_or_else(|| base.version.clone()),
    }
}

fn calls(fields: &mut Fields<'_, '_>) -> Option<Calls> {
    let connections = fields.within("connections", 1..=CONNECTIONS_MAX, 10);
    let timeout = fields.or("timeout", Span::from_secs(1));
    Some(Calls {
        service: fields.need("service")?,
        connections,
        timeout,
    })
}
