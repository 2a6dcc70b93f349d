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
use super::custom::PARENTS;
use super::reply::Document;
use super::status::Status;
use super::{AppState, GroupVersion, explain, openapi};

/// The resource of one explanation.
const EXPLANATION: &str = "explanation";

/// The media type of aggregated discovery; without its parameters the aggregator would not take the answer for it.
const AGGREGATED: HeaderValue = HeaderValue::from_static(
    "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList",
);

/// Every document of the API.
#[derive(Debug)]
pub(super) struct Documents {
    groups: Document,
    aggregated: Document,
    plain: Vec<(String, Arc<Document>)>,
}

impl Documents {
    pub(super) fn new(served: &[GroupVersion]) -> Self {
        let mut plain = Vec::new();
        let mut add = |path: &str, content: &Value| {
            let document = Arc::new(Document::json(content));
            plain.push((path.to_owned(), Arc::clone(&document)));
            document
        };
        let mut described = Vec::new();
        for versions in groups_of(served) {
            let group = format!("/apis/{}", versions[0].group());
            add(&group, &group_content(versions));
        }
        for one in served {
            add(one.path(), &resources_content(*one));
            let path = openapi::v3_path(*one);
            described.push((*one, add(&path, &openapi::v3_group_content(*one))));
        }
        let hashes: Vec<_> = described
            .iter()
            .map(|(one, document)| (*one, document.hash()))
            .collect();
        add("/openapi/v2", &openapi::v2_content(served));
        add("/openapi/v3", &openapi::v3_content(&hashes));
        add("/version", &version_content());
        let paths = paths_content(plain.iter().map(|(path, _)| path.as_str()));
        plain.push(("/".to_owned(), Arc::new(Document::json(&paths))));
        Self {
            groups: Document::json(&groups_content(served)),
            aggregated: Document::of_type(AGGREGATED, &aggregated_content(served)),
            plain,
        }
    }

    /// Those that exist in plain JSON only, by path.
    pub(super) fn plain(&self) -> &[(String, Arc<Document>)] {
        &self.plain
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

/// A document that exists in plain JSON only.
pub(super) fn plain(document: &Document, request: &Request) -> Result<Response, Status> {
    if !accept::takes_json(request.headers()) {
        return Err(Status::not_acceptable());
    }
    Ok(document.answer(request.uri(), request.headers()))
}

/// The versions of each group.
fn groups_of(served: &[GroupVersion]) -> impl Iterator<Item = &[GroupVersion]> {
    served.chunk_by(|one, next| one.group() == next.group())
}

fn groups_content(served: &[GroupVersion]) -> Value {
    let groups: Vec<Value> = groups_of(served).map(group).collect();
    json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups})
}

fn group_content(versions: &[GroupVersion]) -> Value {
    let mut content = group(versions);
    content["kind"] = json!("APIGroup");
    content["apiVersion"] = json!("v1");
    content
}

/// A group with its versions, of which the first is preferred.
fn group(versions: &[GroupVersion]) -> Value {
    let version =
        |one: &GroupVersion| json!({"groupVersion": one.name(), "version": one.version()});
    let all: Vec<Value> = versions.iter().map(version).collect();
    json!({"name": versions[0].group(), "versions": all, "preferredVersion": all[0]})
}

/// Every resource of metrics by name, and whether it is of a namespace. One of custom metrics is a metric of a kind of
/// object.
fn resources(one: GroupVersion) -> Vec<(String, bool)> {
    if one == GroupVersion::External {
        return Metric::ALL
            .map(|metric| (metric.name().to_owned(), true))
            .into();
    }
    let of_parent = |parent: &(&str, bool, &[Metric])| {
        let (parent, namespaced, metrics) = *parent;
        let name = |metric: &Metric| (format!("{parent}/{}", metric.name()), namespaced);
        metrics.iter().map(name).collect::<Vec<_>>()
    };
    PARENTS.iter().flat_map(of_parent).collect()
}

/// Of metrics `get` alone, although an external read is a `list` to the authorizer: controllers crawl what can be
/// listed or deleted. Explanations can be listed, and nothing more that would make them objects to anybody.
fn resources_content(one: GroupVersion) -> Value {
    let resource = |(name, namespaced): (String, bool)| {
        json!({
            "name": name,
            "singularName": "",
            "namespaced": namespaced,
            "kind": one.list_kind(),
            "verbs": ["get"],
        })
    };
    let resources: Vec<Value> = match one {
        GroupVersion::Explain => vec![json!({
            "name": explain::RESOURCE,
            "singularName": EXPLANATION,
            "namespaced": true,
            "kind": explain::KIND,
            "verbs": ["get", "list"],
        })],
        _ => resources(one).into_iter().map(resource).collect(),
    };
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": one.name(),
        "resources": resources,
    })
}

/// The same for the aggregator.
fn aggregated_content(served: &[GroupVersion]) -> Value {
    let version = |one: &GroupVersion| {
        json!({
            "version": one.version(),
            "resources": aggregated_resources(*one),
            "freshness": "Current",
        })
    };
    let group = |versions: &[GroupVersion]| {
        json!({
            "metadata": {"name": versions[0].group(), "creationTimestamp": null},
            "versions": versions.iter().map(version).collect::<Vec<_>>(),
        })
    };
    json!({
        "kind": "APIGroupDiscoveryList",
        "apiVersion": "apidiscovery.k8s.io/v2",
        "metadata": {},
        "items": groups_of(served).map(group).collect::<Vec<_>>(),
    })
}

/// A resource without `responseKind` would be dropped by clients. The parent of custom metrics is not served here, so
/// its kind is empty, as the aggregator makes it of a plain list.
fn aggregated_resources(one: GroupVersion) -> Vec<Value> {
    let kind = json!({"group": one.group(), "version": one.version(), "kind": one.list_kind()});
    if one == GroupVersion::External {
        let resource = |metric: Metric| {
            json!({
                "resource": metric.name(),
                "responseKind": kind,
                "scope": "Namespaced",
                "singularResource": "",
                "verbs": ["get"],
            })
        };
        return Metric::ALL.map(resource).into();
    }
    if one == GroupVersion::Explain {
        return vec![json!({
            "resource": explain::RESOURCE,
            "responseKind": {"group": one.group(), "version": one.version(), "kind": explain::KIND},
            "scope": "Namespaced",
            "singularResource": EXPLANATION,
            "verbs": ["get", "list"],
        })];
    }
    let subresource = |metric: &Metric| json!({"subresource": metric.name(), "responseKind": kind, "verbs": ["get"]});
    let resource = |(parent, namespaced, metrics): &(&str, bool, &[Metric])| {
        json!({
            "resource": parent,
            "responseKind": {"group": "", "version": "", "kind": ""},
            "scope": if *namespaced { "Namespaced" } else { "Cluster" },
            "singularResource": "",
            "verbs": [],
            "subresources": metrics.iter().map(subresource).collect::<Vec<_>>(),
        })
    };
    PARENTS.iter().map(resource).collect()
}

fn paths_content<'p>(documents: impl Iterator<Item = &'p str>) -> Value {
    let mut paths: Vec<&str> = documents
        .chain(["/apis", "/healthz", "/livez", "/readyz"])
        .collect();
    paths.sort_unstable();
    json!({"paths": paths})
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
