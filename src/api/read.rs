//! Reads of `external.metrics.k8s.io`: a metric of a namespace, as an `ExternalMetricValueList`. One that is not ours is
//! the delegate's, if there is one. What an HPA was answered is told to whoever explains it. What is the same for custom
//! metrics ([`super::custom`]) is here as well.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::StatusCode;
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http_body_util::Full;
use serde::ser::{Serialize, SerializeMap, Serializer};
use tokio::sync::OwnedSemaphorePermit;

use crate::clock;
use crate::engine::snapshot::{Item, Metric, Snapshot};
use crate::model::quantity;
use crate::model::selector::Selector;
use crate::model::time::Timestamp;

use super::delegate::{self, Delegate, Passed};
use super::query::Query;
use super::reply::List;
use super::status::Status;
use super::{AppState, GroupVersion, Limits, Resource, accept, explain, reply};

/// What a read is about, as far as it came. It comes with the request from [`super::guard`], which looks at it also when
/// the read did not end in time.
#[derive(Debug, Default)]
pub(super) struct About {
    resource: OnceLock<Resource>,
    age: OnceLock<Duration>,
}

/// A body, and when the oldest read behind it was made.
pub(super) struct Answer {
    pub(super) body: Vec<u8>,
    pub(super) oldest: Option<Timestamp>,
}

#[derive(serde::Serialize)]
#[serde(rename_all = "camelCase")]
struct Value<'a> {
    metric_name: &'static str,
    metric_labels: Labels<'a>,
    timestamp: Option<String>,
    /// In this group and version the field is `window`; `windowSeconds` is another group's.
    #[serde(skip_serializing_if = "Option::is_none")]
    window: Option<u64>,
    value: String,
}

struct Labels<'a>(&'a [(&'static str, Arc<str>)]);

/// An answer that counts as in flight until it was sent or its connection is gone: that is what holds memory when
/// clients do not read.
struct InFlight {
    body: Full<Bytes>,
    _permit: OwnedSemaphorePermit,
}

pub(super) async fn read(
    State(state): State<Arc<AppState>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let (request, _) = request.into_parts();
    let answer = answer(&state, path, &request).await;
    answer.unwrap_or_else(IntoResponse::into_response)
}

async fn answer(
    state: &AppState,
    path: Result<Path<(String, String)>, PathRejection>,
    request: &Parts,
) -> Result<Response, Status> {
    let Ok(Path((namespace, metric))) = path else {
        return Err(Status::not_found("the path is not UTF-8".to_owned()));
    };
    // The router takes an empty segment for a namespace.
    if namespace.is_empty() {
        return Err(state.nothing_at(&request.uri));
    }
    let own = Metric::from_name(&metric);
    match &state.delegate {
        Some(delegate) if own.is_none() && !delegate::was_passed_on(&request.headers) => {
            pass(delegate, &namespace, &metric, request).await
        }
        _ => from_snapshot(state, request, own, |snapshot, query| {
            let selector = parse_selector(&query.label_selector)?;
            let items = snapshot.read(&namespace, &metric, &selector);
            explain::tell(
                state, request, snapshot, &namespace, &metric, &selector, &items,
            );
            let items = items?;
            let content = list(&metric, &namespace, &items)?;
            let indent = reply::wants_indent(&request.uri, &request.headers);
            Ok(Answer {
                body: reply::write(&content, indent),
                oldest: items.iter().map(|item| item.at).min(),
            })
        }),
    }
}

/// The answer of the delegate, which takes none of the places of our own reads.
async fn pass(
    delegate: &Arc<Delegate>,
    namespace: &str,
    metric: &str,
    request: &Parts,
) -> Result<Response, Status> {
    if !accept::takes_json(&request.headers) {
        return Err(Status::not_acceptable());
    }
    // What no adapter may be asked, such as a watch, is refused here; the selector is the delegate's to judge.
    let query = request.uri.query();
    Query::parse(query.unwrap_or_default())?;
    About::of(request).is_of(Resource::Delegated);
    let Passed { answer, place } = delegate.read(namespace, metric, query).await?;
    let body = InFlight {
        body: Full::new(answer.body),
        _permit: place,
    };
    let mut response = reply::json(answer.code, Body::new(body));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, answer.content_type);
    Ok(response)
}

/// The answer that `compose` makes of our own snapshot, in which `metric` is, if the name is one of ours.
pub(super) fn from_snapshot(
    state: &AppState,
    request: &Parts,
    metric: Option<Metric>,
    compose: impl FnOnce(&Snapshot, &Query<'_>) -> Result<Answer, Status>,
) -> Result<Response, Status> {
    let about = About::of(request);
    if let Some(metric) = metric {
        about.is_of(Resource::Own(metric));
    }
    let Ok(permit) = Arc::clone(&state.reads).try_acquire_owned() else {
        return Err(Status::too_many_reads());
    };
    if !accept::takes_json(&request.headers) {
        return Err(Status::not_acceptable());
    }
    let query = Query::parse(request.uri.query().unwrap_or_default())?;
    let now = clock::now();
    let snapshot = state.snapshot();
    if metric.is_some() {
        is_fresh(&snapshot, now, &state.limits).map_err(Status::unavailable)?;
    }
    let Answer { body, oldest } = compose(&snapshot, &query)?;
    if let Some(oldest) = oldest {
        about.is_as_old_as(now.since(oldest));
    }
    let body = InFlight {
        body: Full::new(body.into()),
        _permit: permit,
    };
    Ok(reply::json(StatusCode::OK, Body::new(body)))
}

/// A selector of a query, decoded.
pub(super) fn parse_selector(text: &str) -> Result<Selector, Status> {
    Selector::parse(text).map_err(|error| Status::bad_request(error.to_string()))
}

/// Whether numbers of `snapshot` may still be served.
///
/// # Errors
/// Why not, as a sentence.
pub(super) fn is_fresh(snapshot: &Snapshot, now: Timestamp, limits: &Limits) -> Result<(), String> {
    if snapshot.at() == Timestamp::default() {
        return Err("no metrics have been evaluated yet".to_owned());
    }
    let age = now.since(snapshot.at());
    if age <= limits.snapshot_age_max {
        return Ok(());
    }
    Err(format!(
        "metrics were last evaluated {} s ago, and at most {} s are served",
        age.as_secs(),
        limits.snapshot_age_max.as_secs()
    ))
}

/// The answer's content. One value that has no Quantity makes the whole answer absent: the HPA adds items up, and
/// would take the rest for the sum.
fn list<'a>(metric: &str, namespace: &str, items: &'a [Item]) -> Result<List<Value<'a>>, Status> {
    let metric_name = Metric::from_name(metric).map_or("", Metric::name);
    let values: Option<Vec<Value<'a>>> = items
        .iter()
        .map(|item| Value::new(metric_name, item))
        .collect();
    let Some(values) = values else {
        return Err(Status::no_quantity(metric, namespace));
    };
    Ok(List::new(GroupVersion::External, values))
}

// === impl About ===

impl About {
    /// What the guard looks at. Without a guard nobody does.
    pub(super) fn of(request: &Parts) -> Arc<Self> {
        let about = request.extensions.get::<Arc<Self>>();
        about.cloned().unwrap_or_default()
    }

    // A request reads once, so the first word is the only one.
    pub(super) fn is_of(&self, resource: Resource) {
        self.resource.get_or_init(|| resource);
    }

    fn is_as_old_as(&self, age: Duration) {
        self.age.get_or_init(|| age);
    }

    pub(super) fn resource(&self) -> Option<Resource> {
        self.resource.get().copied()
    }

    /// Of the oldest read behind the answer.
    pub(super) fn age(&self) -> Option<Duration> {
        self.age.get().copied()
    }
}

// === impl Value ===

impl<'a> Value<'a> {
    fn new(metric_name: &'static str, item: &'a Item) -> Option<Self> {
        let window = item.window.as_secs();
        Some(Self {
            metric_name,
            metric_labels: Labels(&item.labels),
            timestamp: reply::whole_seconds(item.at),
            window: (0 < window).then_some(window),
            value: quantity::from_value(item.value)?,
        })
    }
}

impl Serialize for Labels<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (key, value) in self.0 {
            map.serialize_entry(key, value.as_ref())?;
        }
        map.end()
    }
}

// === impl InFlight ===

impl HttpBody for InFlight {
    type Data = Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<hyper::body::Frame<Bytes>, Self::Error>>> {
        std::pin::Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(value: f64) -> Item {
        Item {
            labels: vec![("service", "web".into())],
            at: Timestamp::from_ms(1_787_393_730_999),
            window: Duration::from_secs(60),
            value,
        }
    }

    fn written(items: &[Item]) -> String {
        let list = list("REQUEST_rate", "shop", items).expect("values that a Quantity can hold");
        String::from_utf8(reply::write(&list, false)).expect("JSON is UTF-8")
    }

    #[test]
    fn an_answer_is_written_as_kubernetes_writes_it() {
        assert_eq!(
            written(&[item(412.5)]),
            concat!(
                r#"{"kind":"ExternalMetricValueList","apiVersion":"external.metrics.k8s.io/v1beta1","metadata":{},"#,
                r#""items":[{"metricName":"request_rate","metricLabels":{"service":"web"},"#,
                r#""timestamp":"2026-08-22T10:15:30Z","window":60,"value":"412500m"}]}"#,
                "\n"
            )
        );
    }

    #[test]
    fn what_is_of_an_instant_has_no_window() {
        let instant = Item {
            window: Duration::ZERO,
            ..item(1.0)
        };
        assert!(!written(&[instant]).contains("window"));
    }

    #[test]
    fn one_value_that_no_quantity_can_hold_makes_the_answer_absent() {
        for value in [f64::NAN, f64::INFINITY, -1.0, 9.3e15] {
            let items = [item(1.0), item(value)];
            let answer = list("request_rate", "shop", &items);
            let status = answer.err().expect("an absent answer");
            assert!(format!("{status:?}").contains("no Quantity"), "{value}");
        }
    }
}
