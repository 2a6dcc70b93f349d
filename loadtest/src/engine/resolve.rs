//! What the engine is told of a service: the one place where a scenario's words become an engine's. Secrets have been
//! put in by then, so nothing here may be printed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, anyhow};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};

use super::{Config, RequestKind, Template, Tls};
use crate::scenario::file::default_request;
use crate::scenario::{Executor, Http, Load, Pacing, Request, Service, Target};

/// The engine's configuration for a service whose variables are replaced, under these loads. `max_age` is how old a
/// connection may get where new backends are only seen by new connections.
///
/// # Errors
/// What no URL, status, certificate or request may be.
pub fn config(
    service: &Service,
    target: &Target,
    loads: &[&Load],
    max_age: Option<Duration>,
    seed: u64,
) -> anyhow::Result<Config> {
    let url: Uri = target.url.parse().context("target.url is no URL")?;
    let authority = url.authority().context("target.url names no host")?;
    let host = HeaderValue::from_str(authority.as_str()).context("the host cannot be a header")?;
    let statuses = target
        .http
        .expect
        .iter()
        .map(|status| StatusCode::from_u16(*status));
    let connections = &target.connections;
    let ages = [connections.max_age.map(|age| *age), max_age];
    let precise = loads.iter().any(|load| load.pacing == Pacing::Precise);
    Ok(Config {
        requests: kinds(&service.requests)?,
        expect: statuses.collect::<Result<_, _>>().context("http.expect")?,
        version: target.http.version,
        tls: tls(&url, &target.http)?,
        timeout: *target.http.timeout,
        graceful_stop: loads
            .iter()
            .map(|load| *load.graceful_stop)
            .max()
            .unwrap_or_default(),
        max_in_flight: loads.iter().map(|load| in_flight_max(load)).sum(),
        connections_per_endpoint: connections.per_endpoint,
        preconnect: connections.preconnect,
        max_age: ages.into_iter().flatten().min(),
        max_age_jitter: connections.max_age_jitter,
        max_requests: connections.max_requests,
        on_endpoint_add: connections.on_endpoint_add,
        pacing: if precise {
            Pacing::Precise
        } else {
            Pacing::Millisecond
        },
        seed,
        ..Config::new(host, Uri::from_static("/"))
    })
}

/// How many requests of a load may be under way: no user has two.
fn in_flight_max(load: &Load) -> usize {
    match load.executor {
        Executor::ConstantVus { vus, .. } => vus,
        _ => load.max_in_flight,
    }
}

/// What is asked: one `GET /` where nothing is said.
///
/// # Errors
/// What no request may be, by the request's name.
pub fn kinds(requests: &[Request]) -> anyhow::Result<Vec<RequestKind>> {
    let default = [default_request()];
    let requests = if requests.is_empty() {
        &default
    } else {
        requests
    };
    let several = 1 < requests.len();
    let kinds = requests.iter().map(|request| {
        kind(request, several).with_context(|| format!("request `{}`", request.name))
    });
    kinds.collect()
}

/// Whom to trust, when the URL asks for encryption.
fn tls(url: &Uri, http: &Http) -> anyhow::Result<Option<Tls>> {
    if url.scheme_str() != Some("https") {
        return Ok(None);
    }
    let host = url.host().unwrap_or_default();
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let name = http.server_name.as_deref().unwrap_or(host);
    let ca = http.ca.as_deref().map(Path::new);
    Ok(Some(Tls::new(name, ca, http.version)?))
}

/// A kind of request. Only where there are several is each measured by its name.
fn kind(request: &Request, several: bool) -> anyhow::Result<RequestKind> {
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let header: HeaderName = name
            .parse()
            .with_context(|| format!("`{name}` is no header"))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| anyhow!("header `{name}` has a value that no header may have"))?;
        value.set_sensitive(true);
        headers.append(header, value);
    }
    let path = super::Path::new(&request.path).context("the path cannot be requested")?;
    Ok(RequestKind {
        name: if several {
            request.name.clone()
        } else {
            String::new()
        },
        weight: request.weight,
        method: request
            .method
            .parse()
            .context("no method such as GET or POST")?,
        headers,
        body: request.body.as_deref().map(Template::new),
        expect_body: request.expect_body.clone(),
        ..RequestKind::get(path)
    })
}
