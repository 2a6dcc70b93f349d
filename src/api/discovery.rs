//! What there is: groups, versions and metrics, in the legacy and in the aggregated form.
//!
//! The documents depend on nothing but the program, so they are written once. Metrics are listed whether or not any
//! service has them: the aggregator takes these documents for a sign of life, and an empty list for a fault.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::HeaderValue;
use serde_json::{Value, json};

use crate::engine::snapshot::Metric;

use super::accept::{self, Form};
use super::reply::Document;
use super::status::Status;
use super::{AppState, GROUP, GROUP_VERSION, GROUP_VERSION_PATH, VERSION, openapi};

/// The media type of aggregated discovery; without its parameters the aggregator would not take the answer for it.
const AGGREGATED: HeaderValue = HeaderValue::from_static(
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
);

/// Every document of the API.
#[derive(Debug)]
pub(super) struct Documents {
    groups: Document,
    aggregated: Document,
    group: Document,
    resources: Document,
    paths: Document,
    version: Document,
    pub(super) openapi_v2: Document,
    pub(super) openapi_v3: Document,
    pub(super) openapi_v3_group: Document,
}

impl Documents {
    pub(super) fn new() -> Self {
        let openapi_v3_group = Document::json(&openapi::v3_group_content());
        Self {
            groups: Document::json(&groups_content()),
            aggregated: Document::of_type(AGGREGATED, &aggregated_content()),
            group: Document::json(&group_content()),
            resources: Document::json(&resources_content()),
            paths: Document::json(&paths_content()),
            version: Document::json(&version_content()),
            openapi_v2: Document::json(&openapi::v2_content()),
            openapi_v3: Document::json(&openapi::v3_content(openapi_v3_group.hash())),
            openapi_v3_group,
        }
    }
}

/// `/apis`.
pub(super) async fn groups(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    let document = match accept::discovery_form(request.headers()) {
        Some(Form::Plain) => &state.documents.groups,
        Some(Form::Aggregated) => &state.documents.aggregated,
        None => return Err(Status::not_acceptable()),
    };
    Ok(document.answer(request.uri(), request.headers()))
}

/// `/apis/external.metrics.k8s.io`.
pub(super) async fn group(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    plain(&state.documents.group, &request)
}

/// `/apis/external.metrics.k8s.io/v1beta1`: also how Kubernetes asks whether we are there.
pub(super) async fn resources(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    plain(&state.documents.resources, &request)
}

/// `/`.
pub(super) async fn paths(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    plain(&state.documents.paths, &request)
}

/// `/version`.
pub(super) async fn version(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    plain(&state.documents.version, &request)
}

/// A document that exists in plain JSON only.
pub(super) fn plain(document: &Document, request: &Request) -> Result<Response, Status> {
    if !accept::takes_json(request.headers()) {
        return Err(Status::not_acceptable());
    }
    Ok(document.answer(request.uri(), request.headers()))
}

fn group_version() -> Value {
    json!({"groupVersion": GROUP_VERSION, "version": VERSION})
}

fn groups_content() -> Value {
    json!({
        "kind": "APIGroupList",
        "apiVersion": "v1",
        "groups": [{"name": GROUP, "versions": [group_version()], "preferredVersion": group_version()}],
    })
}

fn group_content() -> Value {
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [group_version()],
        "preferredVersion": group_version(),
    })
}

/// `get` alone, although a read is a `list` to the authorizer: controllers crawl what can be listed or deleted.
fn resources_content() -> Value {
    let resource = |metric: Metric| {
        json!({
            "name": metric.name(),
            "singularName": "",
            "namespaced": true,
            "kind": "ExternalMetricValueList",
            "verbs": ["get"],
        })
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": GROUP_VERSION,
        "resources": Metric::ALL.map(resource),
    })
}

/// The same for the aggregator. A resource without `responseKind` would be dropped by clients.
fn aggregated_content() -> Value {
    let resource = |metric: Metric| {
        json!({
            "resource": metric.name(),
            "responseKind": {"group": GROUP, "version": VERSION, "kind": "ExternalMetricValueList"},
            "scope": "Namespaced",
            "singularResource": "",
            "verbs": ["get"],
        })
    };
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": [{
            "metadata": {"name": GROUP, "creationTimestamp": null},
            "versions": [{
                "version": VERSION,
                "resources": Metric::ALL.map(resource),
                "freshness": "Current",
            }],
        }],
    })
}

fn paths_content() -> Value {
    let group = format!("/apis/{GROUP}");
    let openapi_v3_group = format!("/openapi/v3{GROUP_VERSION_PATH}");
    json!({"paths": [
        "/apis", group, GROUP_VERSION_PATH, "/healthz", "/livez", "/openapi/v2", "/openapi/v3", openapi_v3_group,
        "/readyz", "/version",
    ]})
}

/// The fields of Kubernetes' own `/version` that mean something here.
fn version_content() -> Value {
    json!({
        "major": env!("CARGO_PKG_VERSION_MAJOR"),
        "minor": env!("CARGO_PKG_VERSION_MINOR"),
        "gitVersion": concat!("v", env!("CARGO_PKG_VERSION")),
        "platform": format!("{}/{}", std::env::consts::OS, std::env::consts::ARCH),
    })
}
