//! One HTTP server that stands for a service under test: a finite number of workers behind a bounded queue, service
//! times with a heavy tail, of which a share is CPU really burned and the rest is waiting. It reports itself at
//! `/metrics`, knows when it is ready, calls another service and counts visits in Redis when told where, and drains
//! when it is stopped. It can be a bad version of itself: one that is never ready, fails, or gets slow while it runs.

mod config;
mod downstream;
mod metrics;
mod orders;
mod visits;
mod work;

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub use self::config::{Config, Secret, flags};
use self::downstream::{Downstream, Ended};
pub use self::metrics::BOUNDS_S as LATENCY_BOUNDS_S;
use self::metrics::{Format, Metrics};
pub use self::orders::Dials;
pub use self::visits::VISITS_KEY;
use self::visits::Visits;
use self::work::{Refused, Workers};
use crate::clock;

/// The page that it serves, in the words of who reads it: where it is, and what its series are called.
pub const PAGE: [(&str, &str); 5] = [
    ("path", "/metrics"),
    ("scheme", "http"),
    ("histogram", "http_request_duration_seconds"),
    ("inFlight", "http_requests_in_flight"),
    ("cpu", "process_cpu_seconds_total"),
];

/// Connections at once: far above any load here, and below the 4,096 sockets that Debian queues for a listener.
const CONNECTIONS_MAX: usize = 4_096;

/// A client has this long to send a request's head, so that silent connections end.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);

/// After an accept failed, which is mostly for want of file descriptors, others get this long to close theirs.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The header that carries the token, when one is wanted.
pub const TOKEN_HEADER: &str = "x-auth-token";

/// What all connections share.
struct App {
    config: Config,
    /// `None` for one that never is.
    ready_at: Option<Instant>,
    draining: AtomicBool,
    workers: Workers,
    metrics: Arc<Metrics>,
    visits: Option<Visits>,
    downstream: Option<Downstream>,
    dials: Arc<Dials>,
}

/// Serves `listener` until `shutdown` completes, then refuses new connections, reports itself as not ready, and returns
/// once every request under way is answered, or when the drain timeout of `config` is over.
///
/// # Errors
/// When `config` makes no sense: no worker, a mean of zero, shares outside 0 and 1, a half-given Redis.
pub async fn run(
    listener: TcpListener,
    config: Config,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    run_with(listener, config, Arc::default(), shutdown).await
}

/// The same, doing meanwhile what `dials` say.
///
/// # Errors
/// As [`run`].
pub async fn run_with(
    listener: TcpListener,
    config: Config,
    dials: Arc<Dials>,
    shutdown: impl Future<Output = ()>,
) -> io::Result<()> {
    let stop = CancellationToken::new();
    let _guard = stop.clone().drop_guard();
    let metrics = Arc::new(Metrics::new(clock::since_epoch(), &config.app_version));
    let nonsense = |reason| io::Error::new(io::ErrorKind::InvalidInput, reason);
    let app = Arc::new(App {
        ready_at: (!config.never_ready).then(|| clock::instant() + config.startup_delay),
        draining: AtomicBool::new(false),
        workers: Workers::new(&config).map_err(nonsense)?,
        visits: Visits::start(&config, Arc::clone(&metrics), &stop)?,
        downstream: Downstream::start(&config, &dials, &metrics, &stop).map_err(nonsense)?,
        dials,
        metrics,
        config,
    });
    let graceful = GracefulShutdown::new();
    accept(listener, &app, &graceful, shutdown).await;
    app.draining.store(true, Ordering::Relaxed);
    let _ = tokio::time::timeout(app.config.drain_timeout, graceful.shutdown()).await;
    Ok(())
}

/// Accepts connections until `shutdown`; each is served by its own task. The listener closes on return.
async fn accept(
    listener: TcpListener,
    app: &Arc<App>,
    graceful: &GracefulShutdown,
    shutdown: impl Future<Output = ()>,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut shutdown = pin!(shutdown);
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = &mut shutdown => return,
            next = next => next,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Only a delay is lost when the socket does not take the option.
        let _ = stream.set_nodelay(true);
        let app = Arc::clone(app);
        let service = service_fn(move |request| {
            let app = Arc::clone(&app);
            async move { Ok::<_, Infallible>(app.answer(request).await) }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            let _place = place;
            // What breaks here is the client's doing; the request, if there was one, has counted itself.
            drop(connection.await);
        });
    }
}

impl App {
    async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        match request.uri().path() {
            "/healthz" => plain(StatusCode::OK, "ok\n"),
            "/readyz" if self.is_ready() => plain(StatusCode::OK, "ready\n"),
            "/readyz" => plain(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            "/metrics" if !self.is_allowed(&request) => {
                plain(StatusCode::UNAUTHORIZED, "unauthorized\n")
            }
            "/metrics" => self.page(&request),
            path => {
                // Paths come from anyone; as labels they would be without bound.
                let route = if path == "/" { "/" } else { "other" };
                let mut observed = self.metrics.observe(route, request.method());
                let response = self.serve(route, &request).await;
                observed.code = response.status();
                response
            }
        }
    }

    async fn serve(&self, route: &str, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !self.is_allowed(request) {
            return plain(StatusCode::UNAUTHORIZED, "unauthorized\n");
        }
        if route != "/" {
            return plain(StatusCode::NOT_FOUND, "not found\n");
        }
        if !self.has_started() {
            return plain(StatusCode::SERVICE_UNAVAILABLE, "starting\n");
        }
        // Held until the answer: what the app waits for keeps a worker busy, as a thread that blocks does.
        let _worker = match self.workers.work(self.dials.slowdown()).await {
            Ok(worker) => worker,
            Err(Refused) => {
                self.metrics.count_refused();
                return plain(StatusCode::SERVICE_UNAVAILABLE, "queue full\n");
            }
        };
        if let Some(visits) = &self.visits {
            visits.count().await;
        }
        if let Some(downstream) = &self.downstream {
            match downstream.call().await {
                Ended::Ok => {}
                Ended::Failed => return plain(StatusCode::BAD_GATEWAY, "downstream failed\n"),
                Ended::Timeout => {
                    return plain(StatusCode::SERVICE_UNAVAILABLE, "downstream too slow\n");
                }
            }
        }
        if self.workers.fails() {
            return plain(StatusCode::INTERNAL_SERVER_ERROR, "failed\n");
        }
        plain(StatusCode::OK, "hello\n")
    }

    fn page(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        let accept = request
            .headers()
            .get(header::ACCEPT)
            .and_then(|accept| accept.to_str().ok());
        let format = Format::negotiate(accept);
        let mut response = plain(
            StatusCode::OK,
            self.metrics.page(format, clock::process_cpu()),
        );
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static(format.content_type()),
        );
        if request.method() != Method::GET {
            *response.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
        }
        response
    }

    fn has_started(&self) -> bool {
        let now = clock::instant();
        self.ready_at.is_some_and(|ready_at| ready_at <= now)
    }

    fn is_ready(&self) -> bool {
        self.has_started() && !self.draining.load(Ordering::Relaxed)
    }

    /// Whether the request has every secret that is wanted.
    fn is_allowed(&self, request: &Request<Incoming>) -> bool {
        let given = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
        let token = self
            .config
            .auth_token
            .as_ref()
            .is_none_or(|token| given(TOKEN_HEADER).is_some_and(|given| token.is(given)));
        let bearer = self.config.bearer.as_ref().is_none_or(|bearer| {
            let given = given("authorization").and_then(|value| value.strip_prefix(b"Bearer "));
            given.is_some_and(|given| bearer.is(given))
        });
        token && bearer
    }
}

fn plain(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    response
}

#[cfg(test)]
mod tests;
