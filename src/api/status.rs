//! Errors as Kubernetes says them: a `Status` object whose message ends up in the HPA's conditions and events.

use axum::response::{IntoResponse, Response};
use http::{Method, StatusCode};
use serde::Serialize;

use crate::engine::snapshot::Refusal;

use super::reply;

/// A failed request. As a response it is only a mark: [`super::guard`] writes the body, in one place for all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Status {
    code: StatusCode,
    reason: &'static str,
    message: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Wire<'a> {
    kind: &'static str,
    api_version: &'static str,
    metadata: reply::Empty,
    status: &'static str,
    message: &'a str,
    reason: &'static str,
    code: u16,
}

impl Status {
    /// 404: no such path, metric or series, or a value that nobody knows now.
    pub(super) fn not_found(message: String) -> Self {
        Self::new(StatusCode::NOT_FOUND, "NotFound", message)
    }

    /// 404: a value that cannot be written.
    pub(super) fn no_quantity(metric: &str, namespace: &str) -> Self {
        Self::not_found(format!(
            "{metric} in namespace {namespace} has a value that no Quantity can hold"
        ))
    }

    /// 400: a question that cannot be understood, or has more than one answer.
    pub(super) fn bad_request(message: String) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401: somebody who is not who they say.
    pub(super) fn unauthorized(message: String) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    /// 403: somebody who may not.
    pub(super) fn forbidden(message: String) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// 405.
    pub(super) fn method_not_allowed(message: String) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
    }

    /// 406: nothing in `Accept` that is offered.
    pub(super) fn not_acceptable() -> Self {
        let message = "only application/json is offered".to_owned();
        Self::new(StatusCode::NOT_ACCEPTABLE, "NotAcceptable", message)
    }

    /// 413: a read came with a body.
    pub(super) fn unwanted_body() -> Self {
        let message = "a read has no body".to_owned();
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "RequestEntityTooLarge",
            message,
        )
    }

    /// 414.
    pub(super) fn uri_too_long(bytes_max: usize) -> Self {
        let message = format!("a path with its query may have at most {bytes_max} bytes");
        Self::new(StatusCode::URI_TOO_LONG, "RequestURITooLong", message)
    }

    /// 429: too many reads at once.
    pub(super) fn too_many_reads() -> Self {
        let message = "too many reads are in flight".to_owned();
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
    }

    /// 431.
    pub(super) fn headers_too_large(bytes_max: usize) -> Self {
        let message = format!("the headers of a request may have at most {bytes_max} bytes");
        Self::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "RequestHeaderFieldsTooLarge",
            message,
        )
    }

    /// 500: a defect of ours.
    pub(super) fn internal() -> Self {
        let message = "the adapter failed on this request; its log says more".to_owned();
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// 500: whether somebody may could not be found out, so they may not.
    pub(super) fn unreviewed(message: String) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// 503: nothing that may still be served.
    pub(super) fn unavailable(message: String) -> Self {
        Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "ServiceUnavailable",
            message,
        )
    }

    /// 504: the deadline passed.
    pub(super) fn timeout() -> Self {
        let message = "the adapter did not answer within its deadline".to_owned();
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
    }

    fn new(code: StatusCode, reason: &'static str, message: String) -> Self {
        Self {
            code,
            reason,
            message,
        }
    }

    /// Puts the body into a response that was made from a status; leaves the headers, such as `Allow`.
    pub(super) fn render(response: &mut Response, method: &Method, indent: bool) {
        let Some(status) = response.extensions_mut().remove::<Self>() else {
            return;
        };
        let body = reply::write(&status.wire(), indent);
        let rendered = reply::json(status.code, body);
        response.headers_mut().extend(rendered.headers().clone());
        if method != Method::HEAD {
            *response.body_mut() = rendered.into_body();
        }
    }

    fn wire(&self) -> Wire<'_> {
        Wire {
            kind: "Status",
            api_version: "v1",
            metadata: reply::Empty {},
            status: "Failure",
            message: &self.message,
            reason: self.reason,
            code: self.code.as_u16(),
        }
    }
}

impl From<Refusal> for Status {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::NotFound(message) | Refusal::Absent(message) => Self::not_found(message),
            Refusal::Ambiguous(message) => Self::bad_request(message),
        }
    }
}

impl IntoResponse for Status {
    fn into_response(self) -> Response {
        let mut response = self.code.into_response();
        response.extensions_mut().insert(self);
        response
    }
}
