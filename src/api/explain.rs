//! `explain.taffrail.dev/v1alpha1`: why an HPA has the replicas it has, now or at some time of the last hour, as an
//! object of the HPA's name. Who knows is behind [`Explains`]; here are the paths, the form, and what is told of each
//! read.
//!
//! An explanation is worked out when it is asked for, in a few milliseconds: off the threads that answer HPAs, and a
//! few at a time.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Request, State};
use axum::response::Response;
use axum::routing::get;
use http::request::Parts;
use http::{StatusCode, Uri};
use serde::Serialize;
use serde_json::{Map, Value};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::engine::snapshot::{Item, Metric, Refusal, Snapshot};
use crate::model::quantity::milli_from_value;
use crate::model::selector::Selector;
use crate::model::time::Timestamp;

pub(super) use crate::story::document::{KIND, RESOURCE};

use super::auth::Asker;
use super::query::{self, Query};
use super::reply::List;
use super::status::Status;
use super::{AppState, GroupVersion, accept, reply};

/// Explanations that are worked out at a time; one more is a 429. People ask for them, and one takes milliseconds.
pub(super) const AT_ONCE: usize = 4;

/// Lists that are worked out at a time: each takes as long as [`LISTED_MAX`] explanations, and must keep nobody from one.
pub(super) const LISTS_AT_ONCE: usize = 1;

/// Most explanations in one list: a second of a processor. Without facts one has some kilobytes, however many pods its HPA
/// has, so all of them are a megabyte or less. The list says how many more there are.
pub const LISTED_MAX: usize = 100;

/// Who watches HPAs.
pub trait Explains: Send + Sync {
    /// Takes note of what the HPA controller was answered. It is called on the request's path, so it must not wait.
    fn read(&self, read: MetricRead);

    /// Why the HPA has the replicas it has: the newest sync at or before `at`, or the newest of all.
    ///
    /// # Errors
    /// Why nothing is known, as a sentence.
    fn explain(
        &self,
        namespace: &str,
        name: &str,
        at: Option<Timestamp>,
    ) -> Result<Explained, String>;

    /// The newest of each HPA of a namespace of which something is known, in the order of their names: the first
    /// [`LISTED_MAX`], and how many HPAs more there are. They come without facts, which may have thousands of pods each.
    /// Between two HPAs it asks whether the answer `is_wanted` still, and else stops.
    fn explain_all(&self, namespace: &str, is_wanted: &dyn Fn() -> bool)
    -> (Vec<Explained>, usize);
}

/// What one HPA was answered.
#[derive(Clone, PartialEq, Debug)]
pub struct MetricRead {
    /// When.
    pub at: Timestamp,
    /// In which namespace.
    pub namespace: Arc<str>,
    /// What it read.
    pub metric: Metric,
    /// The selector, in canonical form.
    pub selector: String,
    /// The items, or the message of the refusal.
    pub answer: Result<ReadItems, Arc<str>>,
}

/// The items of an answer, as the HPA adds them up.
#[derive(Clone, PartialEq, Debug)]
pub struct ReadItems {
    /// Each item's value in thousandths.
    pub values_milli: Box<[i64]>,
    /// When the oldest read behind them was made.
    pub oldest: Option<Timestamp>,
    /// The state of the one service they are of; see [`State::as_str`](crate::engine::snapshot::State::as_str).
    pub state: Option<&'static str>,
}

/// One explanation.
#[derive(Clone, PartialEq, Debug)]
pub struct Explained {
    /// The HPA's namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// When the sync was that is explained.
    pub at: Timestamp,
    /// What is said of it, by field.
    pub content: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Object<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: Metadata<'a>,
    #[serde(flatten)]
    content: &'a Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Metadata<'a> {
    name: &'a str,
    namespace: &'a str,
    /// When the sync was: `kubectl get` shows how long ago.
    creation_timestamp: Option<String>,
}

/// The path of a namespace's explanations.
pub(super) fn path(namespace: &str) -> String {
    format!(
        "{}/namespaces/{namespace}/{RESOURCE}",
        GroupVersion::Explain.path()
    )
}

/// The paths of explanations.
pub(super) fn routes(routes: Router<Arc<AppState>>) -> Router<Arc<AppState>> {
    let list = path("{namespace}");
    let one = format!("{list}/{{name}}");
    routes
        .route(&list, get(read_all))
        .route(&one, get(read_one))
}

/// Tells of a read of an HPA, where somebody watches HPAs.
pub(super) fn tell(
    state: &AppState,
    request: &Parts,
    snapshot: &Snapshot,
    namespace: &str,
    metric: &str,
    selector: &Selector,
    answer: &Result<Vec<Item>, Refusal>,
) {
    let is_of_hpa = request.extensions.get::<Asker>() == Some(&Asker::HpaController);
    let (Some(explains), true, Some(metric)) =
        (&state.explains, is_of_hpa, Metric::from_name(metric))
    else {
        return;
    };
    let answer = match answer {
        Ok(items) => read_items(snapshot, namespace, items),
        Err(refusal) => Err(refusal.message().into()),
    };
    explains.read(MetricRead {
        at: clock::now(),
        namespace: namespace.into(),
        metric,
        selector: selector.to_string(),
        answer,
    });
}

fn read_items(snapshot: &Snapshot, namespace: &str, items: &[Item]) -> Result<ReadItems, Arc<str>> {
    let values = items.iter().map(|item| milli_from_value(item.value));
    let values = values.collect::<Option<Box<[i64]>>>();
    let service = match items {
        [item] => item.labels.iter().find(|(key, _)| *key == "service"),
        _ => None,
    };
    let service = service.and_then(|(_, name)| snapshot.service(namespace, name));
    Ok(ReadItems {
        values_milli: values.ok_or("the value is one that no Quantity can hold")?,
        oldest: items.iter().map(|item| item.at).min(),
        state: service.map(|service| service.state.as_str()),
    })
}

async fn read_one(
    State(state): State<Arc<AppState>>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Result<Response, Status> {
    let Ok(Path((namespace, name))) = path else {
        return Err(Status::not_found("the path is not UTF-8".to_owned()));
    };
    let (request, _) = request.into_parts();
    // The router takes an empty segment for a name.
    if namespace.is_empty() || name.is_empty() {
        return Err(state.nothing_at(&request.uri));
    }
    let at = at(&request.uri)?;
    let ask = move |explains: &dyn Explains| explains.explain(&namespace, &name, at);
    let explained = ask_aside(&state, &state.explaining, &request, ask)
        .await?
        .map_err(Status::not_found)?;
    let indent = reply::wants_indent(&request.uri, &request.headers);
    Ok(reply::json(
        StatusCode::OK,
        reply::write(&explained.object(), indent),
    ))
}

async fn read_all(
    State(state): State<Arc<AppState>>,
    path: Result<Path<String>, PathRejection>,
    request: Request,
) -> Result<Response, Status> {
    let Ok(Path(namespace)) = path else {
        return Err(Status::not_found("the path is not UTF-8".to_owned()));
    };
    let (request, _) = request.into_parts();
    if namespace.is_empty() {
        return Err(state.nothing_at(&request.uri));
    }
    if at(&request.uri)?.is_some() {
        return Err(Status::bad_request(
            "at is for one HPA: ask for it by its name".to_owned(),
        ));
    }
    // A thread cannot be dropped as this future is at its deadline, or when the client is gone: it has to be told.
    let stop = CancellationToken::new();
    let _stop_with_the_request = stop.clone().drop_guard();
    let ask =
        move |explains: &dyn Explains| explains.explain_all(&namespace, &|| !stop.is_cancelled());
    let (explained, more) = ask_aside(&state, &state.listing, &request, ask).await?;
    let objects: Vec<_> = explained.iter().map(Explained::object).collect();
    let indent = reply::wants_indent(&request.uri, &request.headers);
    let list = List::new(GroupVersion::Explain, objects).with_more(more);
    Ok(reply::json(StatusCode::OK, reply::write(&list, indent)))
}

/// Asks on a thread of its own, if one of `permits` is left.
async fn ask_aside<T: Send + 'static>(
    state: &AppState,
    permits: &Arc<Semaphore>,
    request: &Parts,
    ask: impl FnOnce(&dyn Explains) -> T + Send + 'static,
) -> Result<T, Status> {
    if !accept::takes_json(&request.headers) {
        return Err(Status::not_acceptable());
    }
    let query = request.uri.query().unwrap_or_default();
    if query::is_watch(query) {
        return Err(Status::method_not_allowed(
            "explanations cannot be watched: ask again".to_owned(),
        ));
    }
    Query::parse(query)?;
    let Some(explains) = state.explains.clone() else {
        return Err(Status::unavailable("nobody watches HPAs here".to_owned()));
    };
    let Ok(permit) = Arc::clone(permits).try_acquire_owned() else {
        return Err(Status::too_many_reads());
    };
    let work = spawn_blocking(move || {
        let answer = ask(&*explains);
        drop(permit);
        answer
    });
    work.await.map_err(|_| Status::internal())
}

/// The time that `at` names.
fn at(uri: &Uri) -> Result<Option<Timestamp>, Status> {
    let Some(raw) = uri.query().and_then(|raw| query::raw_value(raw, "at")) else {
        return Ok(None);
    };
    // An offset begins with a plus, which few people think of encoding.
    let text = query::unescape(raw, b'+');
    let at = text.as_deref().and_then(Timestamp::from_rfc3339);
    match at {
        // Times are shown in whole seconds, so one without a fraction stands for all of its second.
        Some(at) if at.ms() % 1000 == 0 => Ok(Some(at + Duration::from_millis(999))),
        Some(at) => Ok(Some(at)),
        None => Err(Status::bad_request(
            "at must be a time of RFC 3339, such as 2026-11-21T10:15:00Z".to_owned(),
        )),
    }
}

impl Explained {
    fn object(&self) -> Object<'_> {
        Object {
            kind: KIND,
            api_version: GroupVersion::Explain.name(),
            metadata: Metadata {
                name: &self.name,
                namespace: &self.namespace,
                creation_timestamp: reply::whole_seconds(self.at),
            },
            content: &self.content,
        }
    }
}
