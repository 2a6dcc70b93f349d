//! `/metrics`: what the program says of itself, to whoever may `get` that path by the cluster's rules, as of any
//! Kubernetes component. What is on the page is not known here; whoever starts the API brings it.

use std::fmt;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::response::Response;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};

use super::status::Status;
use super::{AppState, reply};

/// A page of metrics, made anew for each request. It is made on the request's path, so it must be quick.
pub struct OwnMetrics {
    /// Its media type, which is a legal header value.
    pub content_type: &'static str,
    /// Makes it, given the reads in flight.
    pub page: Box<dyn Fn(usize) -> String + Send + Sync>,
}

impl OwnMetrics {
    fn answer(&self, reads_in_flight: usize) -> Response {
        let mut response = reply::text(StatusCode::OK, (self.page)(reads_in_flight));
        let content_type = HeaderValue::from_static(self.content_type);
        response.headers_mut().insert(CONTENT_TYPE, content_type);
        response
    }
}

impl fmt::Debug for OwnMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OwnMetrics")
            .field("content_type", &self.content_type)
            .finish_non_exhaustive()
    }
}

/// The page, where there is one.
pub(super) async fn read(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    state
        .own_metrics()
        .ok_or_else(|| state.nothing_at(request.uri()))
}

impl AppState {
    /// The same with a page of metrics at `/metrics`.
    #[must_use]
    pub fn telling(mut self, own: OwnMetrics) -> Self {
        self.own = Some(own);
        self
    }

    /// The page of now, for a port on which anybody may read it; absent where there is none.
    pub fn own_metrics(&self) -> Option<Response> {
        let own = self.own.as_ref()?;
        Some(own.answer(self.reads_in_flight()))
    }
}
