//! What the engine is told of a service: the one place where a scenario's words become an engine's. Secrets have been
//! put in by then, so nothing here may be printed.

use anyhow::{Context, bail, ensure};
use http::{HeaderMap, HeaderName, HeaderValue, Uri};

use crate::engine::Config;
use crate::scenario::file::default_request;
use crate::scenario::{HttpVersion, Service, Target};

/// The engine's configuration for a service whose variables are replaced.
pub(super) fn of(
    service: &Service,
    target: &Target,
    max_in_flight: usize,
    seed: u64,
) -> anyhow::Result<Config> {
    let url: Uri = target.url.parse().context("target.url is no URL")?;
    ensure!(url.scheme_str() == Some("http"), "https is not supported yet, use http");
    ensure!(target.http.version == HttpVersion::Http1, "HTTP/2 is not supported yet");
    let authority = url.authority().context("target.url names no host")?;
    let default = [default_request()];
    let requests = if service.requests.is_empty() {
        &default
    } else {
        service.requests.as_slice()
    };
    let [request] = requests else {
        bail!("several kinds of requests are not supported yet");
    };
    ensure!(
        request.method == "GET" && request.body.is_none(),
        "only GET without a body is supported yet"
    );
    let mut headers = HeaderMap::new();
    for (name, value) in &request.headers {
        let header: HeaderName = name.parse().with_context(|| format!("`{name}` is no header"))?;
        let mut value = HeaderValue::from_str(value)
            .map_err(|_| anyhow::anyhow!("header `{name}` has a value that no header may have"))?;
        value.set_sensitive(true);
        headers.append(header, value);
    }
    let host = HeaderValue::from_str(authority.as_str()).context("the host cannot be a header")?;
    let path = request.path.parse().context("the path cannot be requested")?;
    Ok(Config {
        headers,
        max_in_flight,
        timeout: *target.http.timeout,
        connections_per_endpoint: target.connections.per_endpoint,
        preconnect: target.connections.preconnect,
        seed,
        ..Config::new(host, path)
    })
}
