//! What every request goes through, on one screen. Who may pass is [`super::auth`]'s matter.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::FutureExt;
use http::header::CONNECTION;
use http::{HeaderMap, HeaderValue, Method, Version};
use http_body_util::BodyExt;
use tokio::time::{Instant, timeout_at};

use crate::clock;

use super::read::About;
use super::status::Status;
use super::{AppState, GROUP_VERSION_PATH, GroupVersion, RequestEvent, auth, query, reply};

/// The longest path with query that is looked at. The longest selector, each byte of it percent-encoded, would not
/// fit; one that an HPA writes fits ten times.
const URI_BYTES_MAX: usize = 8 * 1024;

/// The most that the header fields of a request may count, as RFC 9113 section 6.5.2 counts: name, value and 32 bytes
/// for each. What Kubernetes sends is a tenth of it. It is one bound for both versions of HTTP; what [`super::server`]
/// lets hyper buffer is more, so that the answer is a Status.
pub(super) const HEADER_BYTES_MAX: usize = 32 * 1024;

/// The most of an unwanted body that is read on HTTP/2: what Kubernetes' own servers read of any. Beyond it the stream
/// is reset behind its answer, with NO_ERROR, as RFC 9113 section 8.1 has it.
const BODY_BYTES_DISCARDED: usize = 3 * 1024 * 1024;

/// Limits, admits, runs, renders and reports one request.
pub(super) async fn guard(
    State(state): State<Arc<AppState>>,
    mut request: Request,
    next: Next,
) -> Response {
    let began = clock::instant();
    let refused = refuse(&request);
    let verb = verb(&request);
    let group = group(request.uri().path());
    let method = request.method().clone();
    let indent = reply::wants_indent(request.uri(), request.headers());

    let about = Arc::<About>::default();
    request.extensions_mut().insert(Arc::clone(&about));

    let until = Instant::from_std(began) + state.limits.deadline;
    let is_http1 = request.version() < Version::HTTP_2;
    if !is_http1 && !request.body().is_end_stream() {
        let body = std::mem::take(request.body_mut());
        tokio::spawn(timeout_at(until, discard(body)));
    }
    let mut response = match refused {
        Some(status) => status.into_response(),
        None => run(&state, request, next, until).await,
    };
    Status::render(&mut response, &method, indent);
    if is_http1 && state.draining.load(Ordering::Relaxed) {
        // The client's next request goes to another replica. On HTTP/2 the connection says so itself when it closes.
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(CONNECTION, close);
    }

    (state.observer)(RequestEvent {
        group,
        resource: about.resource(),
        verb,
        code: response.status().as_u16(),
        took: began.elapsed(),
        age: about.age(),
    });
    response
}

/// The answer, within the deadline, and also when the handler panics: that costs one request, not the connection.
async fn run(state: &AppState, request: Request, next: Next, until: Instant) -> Response {
    let uri = request.uri().clone();
    let answer = async {
        match admit(state, request).await {
            Ok(request) => next.run(request).await,
            Err(status) => status.into_response(),
        }
    };
    let answer = AssertUnwindSafe(answer).catch_unwind();
    match timeout_at(until, answer).await {
        Ok(Ok(response)) => response,
        Ok(Err(_)) => {
            tracing::error!(path = uri.path(), "Request panicked");
            Status::internal().into_response()
        }
        Err(_) => Status::timeout().into_response(),
    }
}

/// Reads a body that nobody wants to its end, or as much of it as is bearable, beside the answer: HTTP/2 resets a
/// stream that is answered while its request goes on and is not read any more, and many a client then reports the reset
/// and not the answer.
async fn discard(mut body: Body) {
    let mut left = BODY_BYTES_DISCARDED;
    while let Some(Ok(frame)) = body.frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        let Some(rest) = left.checked_sub(bytes) else {
            return;
        };
        left = rest;
    }
}

/// The request of somebody who may make it, before it is routed: whether a path exists is nobody's to know who may not
/// ask. Behind this line nothing says any more who asks, so nothing there can believe a header that anybody may send;
/// only whether it is the HPA controller, whose reads are what HPAs decide on, goes with the request.
async fn admit(state: &AppState, request: Request) -> Result<Request, Status> {
    let (mut parts, body) = request.into_parts();
    match &state.guard {
        Some(guard) => {
            let asker = guard.admit(&parts).await?;
            guard.drop_identity(&mut parts.headers);
            parts.extensions.insert(asker);
        }
        None => auth::drop_identity(&mut parts.headers),
    }
    Ok(Request::from_parts(parts, body))
}

/// What is refused before it is routed. Other methods never reach a handler, whatever they carry.
fn refuse(request: &Request) -> Option<Status> {
    let uri = request.uri();
    let uri_bytes = uri.path().len() + uri.query().map_or(0, str::len);
    if URI_BYTES_MAX < uri_bytes {
        return Some(Status::uri_too_long(URI_BYTES_MAX));
    }
    if HEADER_BYTES_MAX < header_bytes(request.headers()) {
        return Some(Status::headers_too_large(HEADER_BYTES_MAX));
    }
    let reads = matches!(*request.method(), Method::GET | Method::HEAD);
    (reads && !request.body().is_end_stream()).then(Status::unwanted_body)
}

fn header_bytes(headers: &HeaderMap) -> usize {
    let fields = headers.iter();
    fields
        .map(|(name, value)| name.as_str().len() + value.len() + 32)
        .sum()
}

/// The group and version that a path is of; those of external metrics where it is of none.
fn group(path: &str) -> GroupVersion {
    let mut all = GroupVersion::ALL.into_iter();
    all.find(|one| one.has(path))
        .unwrap_or(GroupVersion::External)
}

/// The verb as Kubernetes' request metrics name it.
fn verb(request: &Request) -> &'static str {
    let uri = request.uri();
    let is_metric = uri
        .path()
        .strip_prefix(GROUP_VERSION_PATH)
        .is_some_and(|rest| rest.starts_with("/namespaces/"));
    match *request.method() {
        Method::GET if is_metric && query::is_watch(uri.query().unwrap_or_default()) => "WATCH",
        Method::GET if is_metric => "LIST",
        Method::GET | Method::HEAD => "GET",
        _ => "OTHER",
    }
}

#[cfg(test)]
mod tests;
