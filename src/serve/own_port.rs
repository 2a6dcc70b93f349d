//! The second port: our own metrics and health without TLS, for a Prometheus and a probe beside us. In a cluster the API's
//! port has them too, for whoever is let in.
//!
//! HTTP/1.1 only, and bounded like the API: connections, and the time a client may take to say what it wants.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, get_service};
use http::StatusCode;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::api::{AppState, router};

/// Connections at once: a few Prometheus servers and a kubelet have one each.
const CONNECTIONS_MAX: usize = 32;

/// How long a client may take for a request's headers; it also closes a connection that was kept alive for nothing.
const HEADERS_TIMEOUT: Duration = Duration::from_secs(60);

/// The pause after a failed accept, which is mostly for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Serves `/metrics`, `/healthz`, `/livez` and `/readyz` on `listener`, for ever.
pub(super) async fn serve(listener: TcpListener, state: Arc<AppState>) {
    let app = pages(state);
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else {
            return;
        };
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "A connection to our own metrics could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let service = TowerToHyperService::new(app.clone());
        tokio::spawn(async move {
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new())
                .header_read_timeout(HEADERS_TIMEOUT);
            // A client that breaks off is its own business.
            let _ = http.serve_connection(TokioIo::new(stream), service).await;
            drop(place);
        });
    }
}

fn pages(state: Arc<AppState>) -> Router {
    let api = Arc::clone(&state);
    let page = move || {
        let page = api.own_metrics();
        async move { page.ok_or(StatusCode::NOT_FOUND) }
    };
    let health = router(state);
    Router::new()
        .route("/metrics", get(page))
        .route("/healthz", get_service(health.clone()))
        .route("/livez", get_service(health.clone()))
        .route("/readyz", get_service(health))
}
