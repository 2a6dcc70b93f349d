//! Reads of `custom.metrics.k8s.io`: metrics of pods, of a `RequestMetrics`, and of a namespace, as a `MetricValueList`
//! in either version of the group.
//!
//! What a service's value is, this does not decide: it is the external metric's, so an HPA may read either.

use std::sync::Arc;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use serde::Serialize;
use serde_json::{Value as Json, json};

use crate::engine::snapshot::{Item, Metric, PodItem, Pods, Snapshot};
use crate::model::quantity;
use crate::model::selector::{Operator, Requirement, Selector};

use super::query::Query;
use super::read::{Answer, from_snapshot, parse_selector};
use super::reply::List;
use super::status::Status;
use super::{AppState, GroupVersion, reply};

/// The resource of `RequestMetrics` objects, as a path names it.
pub(super) const REQUEST_METRICS: &str = "requestmetrics.taffrail.dev";

/// What metrics are of: the resource, whether it is of a namespace, and which metrics it has.
pub(super) const PARENTS: [(&str, bool, &[Metric]); 3] = [
    ("namespaces", false, &Metric::ALL),
    ("pods", true, &Metric::OF_PODS),
    (REQUEST_METRICS, true, &Metric::ALL),
];

/// What a path asks for.
#[derive(Debug)]
enum Wanted {
    Pods(String),
    RequestMetrics(String),
    Namespace,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    described_object: Described<'a>,
    #[serde(flatten)]
    metric: Named,
    timestamp: Option<String>,
    #[serde(flatten)]
    window: Option<Window>,
    value: String,
}

/// An object, and the version of its kind.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Described<'a> {
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    namespace: Option<&'a str>,
    name: &'a str,
    api_version: &'static str,
}

/// The metric and the selector of its series, which is null without one.
#[derive(Serialize)]
#[serde(untagged)]
enum Named {
    #[serde(rename_all = "camelCase")]
    V1Beta1 {
        metric_name: &'static str,
        selector: Json,
    },
    V1Beta2 {
        metric: NameAndSelector,
    },
}

#[derive(Serialize)]
struct NameAndSelector {
    name: &'static str,
    selector: Json,
}

/// In seconds.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
enum Window {
    /// v1beta1.
    Window(u64),
    /// v1beta2.
    WindowSeconds(u64),
}

/// `/namespaces/NAMESPACE/RESOURCE/NAME/METRIC`.
pub(super) async fn read_object(
    one: GroupVersion,
    state: State<Arc<AppState>>,
    path: Result<Path<(String, String, String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let path = path.ok().map(|Path((namespace, resource, name, metric))| {
        let wanted = match resource.as_str() {
            "pods" => Ok(Wanted::Pods(name)),
            REQUEST_METRICS => Ok(Wanted::RequestMetrics(name)),
            _ => Err(Status::not_found(format!(
                "there are no metrics of {resource}; there are those of pods and of {REQUEST_METRICS}"
            ))),
        };
        (namespace, wanted, metric)
    });
    read(one, &state, path, request)
}

/// `/namespaces/NAMESPACE/metrics/METRIC`.
pub(super) async fn read_namespace(
    one: GroupVersion,
    state: State<Arc<AppState>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let path = path.ok();
    let path = path.map(|Path((namespace, metric))| (namespace, Ok(Wanted::Namespace), metric));
    read(one, &state, path, request)
}

fn read(
    one: GroupVersion,
    state: &AppState,
    path: Option<(String, Result<Wanted, Status>, String)>,
    request: Request,
) -> Response {
    let (request, _) = request.into_parts();
    let answer = answer(one, state, path, &request);
    answer.unwrap_or_else(IntoResponse::into_response)
}

fn answer(
    one: GroupVersion,
    state: &AppState,
    path: Option<(String, Result<Wanted, Status>, String)>,
    request: &Parts,
) -> Result<Response, Status> {
    let Some((namespace, wanted, metric)) = path else {
        return Err(Status::not_found("the path is not UTF-8".to_owned()));
    };
    // The router takes an empty segment for a name.
    if namespace.is_empty() || metric.is_empty() {
        return Err(state.nothing_at(&request.uri));
    }
    let wanted = wanted?;
    let own = Metric::from_name(&metric);
    from_snapshot(state, request, own, |snapshot, query| {
        let series = parse_selector(&query.metric_label_selector)?;
        let items = items(snapshot, &namespace, &wanted, &metric, query, &series)?;
        let content = list(one, &namespace, &wanted, &metric, &series, &items)?;
        let indent = reply::wants_indent(&request.uri, &request.headers);
        Ok(Answer {
            body: reply::write(&content, indent),
            oldest: items.iter().map(|of| of.item.at).min(),
        })
    })
}

/// What is asked for, by the name of the object that it is of.
fn items(
    snapshot: &Snapshot,
    namespace: &str,
    wanted: &Wanted,
    metric: &str,
    query: &Query<'_>,
    series: &Selector,
) -> Result<Vec<PodItem>, Status> {
    let one = |name: &str, item| {
        vec![PodItem {
            name: name.into(),
            item,
        }]
    };
    Ok(match wanted {
        Wanted::Pods(name) if name == "*" => {
            let pods = parse_selector(&query.label_selector)?;
            snapshot.read_pods(namespace, metric, Pods::Matching(&pods), series)?
        }
        Wanted::Pods(name) => snapshot.read_pods(namespace, metric, Pods::Named(name), series)?,
        Wanted::RequestMetrics(name) if name == "*" => {
            return Err(Status::bad_request(format!(
                "{REQUEST_METRICS} are read one at a time, by name"
            )));
        }
        Wanted::RequestMetrics(name) => {
            let series = of_service(series, name);
            one(name, snapshot.read_one(namespace, metric, &series)?)
        }
        Wanted::Namespace => one(namespace, snapshot.read_one(namespace, metric, series)?),
    })
}

/// The same series, of one service.
fn of_service(series: &Selector, name: &str) -> Selector {
    let service = Requirement {
        key: "service".to_owned(),
        operator: Operator::In(vec![name.to_owned()]),
    };
    let others = series.requirements().iter().cloned();
    Selector::new([service].into_iter().chain(others).collect())
}

fn list<'a>(
    one: GroupVersion,
    namespace: &'a str,
    wanted: &Wanted,
    metric: &str,
    series: &Selector,
    items: &'a [PodItem],
) -> Result<List<Value<'a>>, Status> {
    let name = Metric::from_name(metric).map_or("", Metric::name);
    let selector = label_selector(series);
    let value = |PodItem { name: of, item }: &'a PodItem| {
        Some(Value {
            described_object: wanted.described(namespace, of),
            metric: Named::new(one, name, selector.clone()),
            timestamp: reply::whole_seconds(item.at),
            window: Window::of(one, item),
            value: quantity::from_value(item.value)?,
        })
    };
    let items: Option<Vec<Value<'a>>> = items.iter().map(value).collect();
    let Some(items) = items else {
        return Err(Status::no_quantity(metric, namespace));
    };
    Ok(List::new(one, items))
}

impl Wanted {
    fn described<'a>(&self, namespace: &'a str, name: &'a str) -> Described<'a> {
        let (kind, api_version) = match self {
            Self::Pods(_) => ("Pod", "v1"),
            Self::RequestMetrics(_) => ("RequestMetrics", "taffrail.dev/v1alpha1"),
            Self::Namespace => ("Namespace", "v1"),
        };
        let is_namespaced = !matches!(self, Self::Namespace);
        Described {
            kind,
            namespace: is_namespaced.then_some(namespace),
            name,
            api_version,
        }
    }
}

impl Named {
    fn new(one: GroupVersion, name: &'static str, selector: Json) -> Self {
        if one == GroupVersion::CustomV1Beta2 {
            let metric = NameAndSelector { name, selector };
            return Self::V1Beta2 { metric };
        }
        Self::V1Beta1 {
            metric_name: name,
            selector,
        }
    }
}

impl Window {
    /// Absent for what is of an instant.
    fn of(one: GroupVersion, item: &Item) -> Option<Self> {
        let seconds = Some(item.window.as_secs()).filter(|seconds| 0 < *seconds)?;
        Some(if one == GroupVersion::CustomV1Beta2 {
            Self::WindowSeconds(seconds)
        } else {
            Self::Window(seconds)
        })
    }
}

/// A selector as objects hold it; null for the one that selects everything, and for what objects cannot say.
fn label_selector(selector: &Selector) -> Json {
    let expression = |requirement: &Requirement| {
        let (operator, values) = match &requirement.operator {
            Operator::In(values) => ("In", values.as_slice()),
            Operator::NotIn(values) => ("NotIn", values.as_slice()),
            Operator::Exists => ("Exists", &[][..]),
            Operator::DoesNotExist => ("DoesNotExist", &[][..]),
            Operator::GreaterThan(_) | Operator::LessThan(_) => return None,
        };
        let mut expression = json!({"key": requirement.key, "operator": operator});
        if !values.is_empty() {
            expression["values"] = json!(values);
        }
        Some(expression)
    };
    let requirements = selector.requirements();
    let expressions: Option<Vec<Json>> = requirements.iter().map(expression).collect();
    match expressions {
        Some(expressions) if !expressions.is_empty() => json!({"matchExpressions": expressions}),
        _ => Json::Null,
    }
}
