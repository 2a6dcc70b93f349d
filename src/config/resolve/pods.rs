//! `spec.source.pods` to the targets that are scraped.

use std::collections::BTreeSet;
use std::time::Duration;

use http::HeaderName;

use super::selector;
use crate::config::document::{At, Pods, Port};
use crate::config::field::{self, Checked, Origin, line_of, wrong};
use crate::config::selection::{PodPort, PodSelection, Scraping};
use crate::exposition::Want;
use crate::model::id::{ServiceId, TargetId};
use crate::model::matcher::Matchers;
use crate::source::SourceSpec;
use crate::source::scrape::{Auth, Endpoint, default_timeout};
use crate::source::secret::SecretRef;

/// The most static targets of one document; a larger fleet is for the cluster's discovery.
const TARGETS_MAX: usize = 1_000;

/// The port that is read when none is named: the name that most give to it.
const DEFAULT_PORT_NAME: &str = "metrics";

/// The longest name of a port, as Kubernetes validates it.
const PORT_NAME_BYTES_MAX: usize = 15;

/// The page that is read when no path is given, where nearly everybody has it.
const DEFAULT_PATH: &str = "/metrics";

/// What all targets of a document have in common.
pub(super) fn scraping(pods: &Pods, interval: Duration, origin: Origin<'_>) -> Checked<Scraping> {
    let want = want(pods)?;
    let timeout = super::timeout("spec.source.pods.timeout", pods.timeout.as_ref(), interval)?
        .unwrap_or_else(|| default_timeout(interval));
    let tls = pods
        .tls
        .as_ref()
        .map(|tls| field::tls("spec.source.pods.tls", tls, origin))
        .transpose()?
        .unwrap_or_default();
    Ok(Scraping {
        interval,
        timeout,
        want,
        headers: headers(pods, origin)?,
        auth: auth(pods, origin)?,
        tls,
        gzip: pods.gzip,
    })
}

/// The pods that an object selects; `line` is where `spec.source` stands.
pub(super) fn selection(
    pods: &Pods,
    scraping: Scraping,
    line: Option<u64>,
) -> Checked<PodSelection> {
    if let Some(target) = pods.targets.first() {
        let message = "spec.source.pods.targets is for a file; an object selects pods of its namespace with spec.source.pods.selector";
        return Err(wrong(line_of(target), message));
    }
    let Some(selector) = &pods.selector else {
        let message = "spec.source.pods.selector is missing; write the labels of the pods, such as matchLabels: {app: users}";
        return Err(wrong(line, message));
    };
    let path = pods.path.as_deref().unwrap_or(DEFAULT_PATH);
    let page = Endpoint::parse(&url(pods, "pod")?).map_err(|_| {
        let message =
            format!("spec.source.pods.path is {path:?} and must be a path such as /metrics");
        wrong(line, message)
    })?;
    Ok(PodSelection {
        selector: selector::resolve(selector)?,
        port: pods
            .port
            .as_ref()
            .map_or_else(|| Ok(PodPort::Name(DEFAULT_PORT_NAME.to_owned())), port)?,
        scheme: page.scheme,
        path_and_query: page.path_and_query,
        scraping,
    })
}

/// The number or the name of a port, as a container may have it.
fn port(written: &At<Port>) -> Checked<PodPort> {
    let refuse = |what: String| {
        let message = format!("spec.source.pods.port is {what}");
        Err(wrong(line_of(written), message))
    };
    match &written.value {
        Port::Number(number) => match u16::try_from(*number) {
            Ok(port) if 0 < port => Ok(PodPort::Number(port)),
            _ => refuse(format!("{number} and must be from 1 to 65535")),
        },
        Port::Name(name) if name.parse::<u64>().is_ok() => {
            refuse(format!("{name:?}; write a number without quotes"))
        }
        Port::Name(name) if is_port_name(name) => Ok(PodPort::Name(name.clone())),
        Port::Name(name) => refuse(format!(
            "{name:?} and must be a number, or a name of at most {PORT_NAME_BYTES_MAX} of a-z, 0-9 and -"
        )),
    }
}

/// As Kubernetes has it: with a letter, no hyphen at an end and no two in a row.
fn is_port_name(name: &str) -> bool {
    name.len() <= PORT_NAME_BYTES_MAX
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && name.split('-').all(|part| !part.is_empty())
}

/// One source for each target of a file; `line` is where `spec.source` stands.
pub(super) fn sources(
    id: &ServiceId,
    pods: &Pods,
    scraping: &Scraping,
    line: Option<u64>,
) -> Checked<Vec<SourceSpec>> {
    check_targets(pods, line)?;
    let mut seen = BTreeSet::new();
    let mut sources = Vec::with_capacity(pods.targets.len());
    for written in &pods.targets {
        let endpoint = endpoint(written, pods)?;
        // The address without its query, in which a token may hide; that does not tell two targets apart.
        let target = TargetId::new(id, &endpoint.to_string());
        if !seen.insert(target.clone()) {
            let message = format!("{} stands twice in spec.source.pods.targets", target.name);
            return Err(wrong(line_of(written), message));
        }
        sources.push(scraping.source(target, endpoint));
    }
    Ok(sources)
}

fn check_targets(pods: &Pods, line: Option<u64>) -> Checked<()> {
    if let Some(selector) = &pods.selector {
        let message = "spec.source.pods.selector needs a cluster; in a file, list the addresses in spec.source.pods.targets";
        return Err(wrong(line_of(selector), message));
    }
    if let Some(port) = &pods.port {
        let message = "spec.source.pods.port goes with a selector, which needs a cluster; in a file, write the port of each of spec.source.pods.targets";
        return Err(wrong(line_of(port), message));
    }
    if pods.targets.is_empty() {
        let message = "spec.source.pods.targets is empty; list addresses such as 10.0.0.7:8080";
        return Err(wrong(line, message));
    }
    if TARGETS_MAX < pods.targets.len() {
        let message = format!(
            "spec.source.pods.targets has {} entries, at most {TARGETS_MAX} are read for one document",
            pods.targets.len()
        );
        return Err(wrong(line, message));
    }
    Ok(())
}

fn want(pods: &Pods) -> Checked<Want> {
    let matchers = match &pods.matchers {
        Some(written) => Matchers::parse(&written.value).map_err(|error| {
            let message = format!("spec.source.pods.where: {error}");
            wrong(line_of(written), message)
        })?,
        None => Matchers::default(),
    };
    Ok(Want {
        histogram: metric("histogram", pods.histogram.as_ref())?,
        matchers,
        in_flight: metric("inFlight", pods.in_flight.as_ref())?,
        cpu: metric("cpu", pods.cpu.as_ref())?,
        unit: pods
            .unit
            .as_ref()
            .map(|unit| field::unit("spec.source.pods.unit", unit))
            .transpose()?,
    })
}

/// The name of a metric. Any UTF-8 may be one, but blanks and braces are those of a line copied whole, or of a selector.
fn metric(field: &str, written: Option<&At<String>>) -> Checked<Option<String>> {
    let Some(written) = written else {
        return Ok(None);
    };
    let name = &written.value;
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c == '{' || c == '}') {
        let message = format!(
            "spec.source.pods.{field} is {name:?} and must be the name of a metric, without blanks or braces"
        );
        return Err(wrong(line_of(written), message));
    }
    Ok(Some(name.clone()))
}

/// The endpoint of `HOST:PORT` or of a whole URL.
fn endpoint(target: &At<String>, pods: &Pods) -> Checked<Endpoint> {
    let url = if target.value.contains("://") {
        target.value.clone()
    } else {
        url(pods, &target.value)?
    };
    // The URL itself is not repeated: a token may hide in its query.
    Endpoint::parse(&url).map_err(|error| {
        let message = format!("this entry of spec.source.pods.targets {error}");
        wrong(line_of(target), message)
    })
}

/// The URL of the page at an address.
fn url(pods: &Pods, authority: &str) -> Checked<String> {
    let path = pods.path.as_deref().unwrap_or(DEFAULT_PATH);
    let slash = if path.starts_with('/') { "" } else { "/" };
    Ok(format!("{}://{authority}{slash}{path}", scheme(pods)?))
}

fn scheme(pods: &Pods) -> Checked<&str> {
    match &pods.scheme {
        None => Ok("http"),
        Some(scheme) if ["http", "https"].contains(&scheme.value.as_str()) => Ok(&scheme.value),
        Some(scheme) => {
            let message = format!(
                "spec.source.pods.scheme is {:?} and must be http or https",
                scheme.value
            );
            Err(wrong(line_of(scheme), message))
        }
    }
}

fn headers(pods: &Pods, origin: Origin<'_>) -> Checked<Vec<(HeaderName, SecretRef)>> {
    let mut headers: Vec<(HeaderName, SecretRef)> = Vec::with_capacity(pods.headers.len());
    for (name, value) in &pods.headers {
        let field = format!("spec.source.pods.headers.{name}");
        let refuse = |what: &str| Err(wrong(line_of(value), format!("{field}: {what}")));
        let Ok(name) = HeaderName::from_bytes(name.as_bytes()) else {
            return refuse("this is no header name");
        };
        // YAML tells X-Token from x-token, HTTP does not.
        if headers.iter().any(|(other, _)| *other == name) {
            return refuse("a second header of this name");
        }
        headers.push((name, field::secret(&field, value, origin)?));
    }
    Ok(headers)
}

fn auth(pods: &Pods, origin: Origin<'_>) -> Checked<Option<Auth>> {
    match (&pods.bearer_token, &pods.basic_auth) {
        (None, None) => Ok(None),
        (Some(token), None) => {
            let token = field::secret("spec.source.pods.bearerToken", token, origin)?;
            Ok(Some(Auth::Bearer(token)))
        }
        (None, Some(basic)) => Ok(Some(Auth::Basic {
            username: field::secret(
                "spec.source.pods.basicAuth.username",
                &basic.username,
                origin,
            )?,
            password: field::secret(
                "spec.source.pods.basicAuth.password",
                &basic.password,
                origin,
            )?,
        })),
        (Some(token), Some(_)) => Err(wrong(
            line_of(token),
            "spec.source.pods has bearerToken and basicAuth; a request has one of them",
        )),
    }
}
