//! The aggregated API: discovery, reads, health, over TLS.
//!
//! Every answer comes from memory: documents that are written once at start, and the latest [`Snapshot`]; only a metric
//! that is not ours may be read from a [`delegate`]. Nothing here waits for a source, so discovery, which is how
//! Kubernetes judges the adapter's health, answers even when every source is down. No answer ever carries
//! `Retry-After`: the HPA controller would sleep that long in one of the five workers that all HPAs of a cluster share.
//!
//! | room | what is in it |
//! |---|---|
//! | [`read`] | a metric, a namespace and a selector to an `ExternalMetricValueList` |
//! | [`custom`] | a metric of pods, a service or a namespace to a `MetricValueList` |
//! | [`delegate`] | metrics that are not ours, read from another adapter |
//! | [`explain`] | why HPAs have the replicas they have, asked of whoever watches them |
//! | [`group`], [`discovery`], [`openapi`] | which groups and versions there are, and their documents |
//! | [`health`] | `/livez`, `/readyz`, `/healthz` |
//! | [`own`] | `/metrics`, what the program says of itself |
//! | [`guard`] | what every request goes through: limits, admission, deadline, panics, the event |
//! | [`auth`] | who asks, and whether they may |
//! | [`accept`], [`query`], [`status`], [`reply`] | content negotiation, query strings, errors, bodies |
//! | [`server`], [`tls`] | the accept loop, the serving certificate |

pub mod auth;
pub mod delegate;
pub mod explain;
pub mod server;
pub mod tls;

mod accept;
mod custom;
mod discovery;
mod group;
mod guard;
mod health;
mod openapi;
mod own;
mod query;
mod read;
mod reply;
mod status;

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::from_fn_with_state;
use axum::response::Response;
use axum::routing::get;
use http::Uri;
use tokio::sync::{Semaphore, watch};

use crate::engine::snapshot::{Metric, Snapshot};

use auth::Guard;
use delegate::Delegate;
use discovery::Documents;
use explain::Explains;
use status::Status;

pub use group::{Extras, GroupVersion};
pub use own::OwnMetrics;

/// The path below which external metrics are served.
pub const GROUP_VERSION_PATH: &str = GroupVersion::External.path();

/// What one request may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Reads whose answer has not left yet; one more is a 429. Discovery and health are not counted, so that a flood
    /// of reads cannot make the API seem down. 400 is what Kubernetes' own servers allow.
    pub reads_in_flight: usize,
    /// How long one request may take; then it is a 504. Kubernetes would wait for 60 s, and all HPAs with it.
    pub deadline: Duration,
    /// How old the snapshot may be; then reads are a 503. It is made every second, so after ten of them something is
    /// broken, and the HPA acts on any number however stale.
    pub snapshot_age_max: Duration,
}

/// What a request reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resource {
    /// A metric of ours.
    Own(Metric),
    /// A metric that is not ours: the delegate's to answer, to be late with and to fail.
    Delegated,
}

/// One answered request, for counters and histograms.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RequestEvent {
    /// The group and version that was asked; that of external metrics for what is of none, such as health.
    pub group: GroupVersion,
    /// What was read, also when no answer came in time; absent for discovery, health, and a name that nobody serves.
    pub resource: Option<Resource>,
    /// In the words of Kubernetes' own servers: `LIST` for a read of an external metric, `WATCH` for a refused watch of one,
    /// else `GET`, as for a custom metric, or `OTHER`.
    pub verb: &'static str,
    /// The HTTP status code.
    pub code: u16,
    /// From the request's arrival to its answer, without sending it.
    pub took: Duration,
    /// The age of the oldest read behind the answer's items, when it has any.
    pub age: Option<Duration>,
}

/// What is told of each request. It is called on the request's path, so it must be quick.
pub type Observer = Arc<dyn Fn(RequestEvent) + Send + Sync>;

/// What all requests share.
pub struct AppState {
    snapshots: watch::Receiver<Arc<Snapshot>>,
    limits: Limits,
    observer: Observer,
    reads: Arc<Semaphore>,
    /// What is served, and its documents.
    served: &'static [GroupVersion],
    documents: Documents,
    /// Nobody where nobody else can ask: a run on one machine, at a loopback address.
    guard: Option<Arc<Guard>>,
    delegate: Option<Arc<Delegate>>,
    explains: Option<Arc<dyn Explains>>,
    own: Option<OwnMetrics>,
    explaining: Arc<Semaphore>,
    /// Lists of explanations.
    listing: Arc<Semaphore>,
    /// Set once when every service had a chance to be known; see [`health`].
    settled: AtomicBool,
    /// When somebody first asked whether they are, and there was a snapshot.
    settling_since: OnceLock<Instant>,
    draining: AtomicBool,
}

// === impl AppState ===

impl AppState {
    /// The state of an API that answers whoever asks from `snapshots`.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        let limits = Limits::default();
        Self {
            snapshots,
            limits,
            observer: Arc::new(|_| {}),
            reads: Arc::new(Semaphore::new(limits.reads_in_flight)),
            served: GroupVersion::served(Extras::default()),
            documents: Documents::new(GroupVersion::served(Extras::default())),
            guard: None,
            delegate: None,
            explains: None,
            own: None,
            explaining: Arc::new(Semaphore::new(explain::AT_ONCE)),
            listing: Arc::new(Semaphore::new(explain::LISTS_AT_ONCE)),
            settled: AtomicBool::new(false),
            settling_since: OnceLock::new(),
            draining: AtomicBool::new(false),
        }
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: Limits) -> Self {
        self.reads = Arc::new(Semaphore::new(limits.reads_in_flight));
        self.limits = limits;
        self
    }

    /// The same with someone who is told of each request.
    #[must_use]
    pub fn observed_by(mut self, observer: Observer) -> Self {
        self.observer = observer;
        self
    }

    /// The same with `served`, of [`GroupVersion::served`].
    #[must_use]
    pub fn serving(mut self, served: &'static [GroupVersion]) -> Self {
        (self.served, self.documents) = (served, Documents::new(served));
        self
    }

    /// The same behind a guard: every request is authenticated and authorized before it is routed, but for health.
    #[must_use]
    pub fn guarded_by(mut self, guard: Arc<Guard>) -> Self {
        self.guard = Some(guard);
        self
    }

    /// The same with another adapter behind it, which is asked for metrics that are not ours.
    #[must_use]
    pub fn delegating_to(mut self, delegate: Arc<Delegate>) -> Self {
        self.delegate = Some(delegate);
        self
    }

    /// The same with someone who watches HPAs, is told what they read, and says why they have the replicas they have.
    #[must_use]
    pub fn explained_by(mut self, explains: Arc<dyn Explains>) -> Self {
        self.explains = Some(explains);
        self
    }

    /// Makes `/readyz` fail, so that no new connections are sent here while the old ones are served out, and closes each
    /// HTTP/1.1 connection after its next answer.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Relaxed);
    }

    /// Reads whose answers have not left yet.
    pub fn reads_in_flight(&self) -> usize {
        self.limits
            .reads_in_flight
            .saturating_sub(self.reads.available_permits())
    }

    /// That a path leads nowhere, and which would not.
    fn nothing_at(&self, uri: &Uri) -> Status {
        let path = uri.path();
        let below = match self.served.iter().find(|one| one.has(path)) {
            None | Some(GroupVersion::External) => {
                format!("{GROUP_VERSION_PATH}/namespaces/NAMESPACE/METRIC")
            }
            Some(GroupVersion::Explain) => {
                return Status::not_found(format!(
                    "there is nothing at {path}; explanations are at {}, below it at NAME",
                    explain::path("NAMESPACE")
                ));
            }
            Some(custom) => format!(
                "{}/namespaces/NAMESPACE, below it at pods/*/METRIC, {}/NAME/METRIC and metrics/METRIC",
                custom.path(),
                custom::REQUEST_METRICS
            ),
        };
        Status::not_found(format!(
            "there is nothing at {path}; metrics are at {below}"
        ))
    }

    /// The latest snapshot.
    fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }
}

impl fmt::Debug for AppState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

// === impl Resource ===

impl Resource {
    /// The metric's name; of those that are passed on one word for all, since names of others are no labels of ours.
    pub fn name(self) -> &'static str {
        match self {
            Self::Own(metric) => metric.name(),
            Self::Delegated => "delegated",
        }
    }
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            reads_in_flight: 400,
            deadline: Duration::from_secs(2),
            snapshot_age_max: Duration::from_secs(10),
        }
    }
}

/// Every path of the API.
pub fn router(state: Arc<AppState>) -> Router {
    let mut routes = Router::new();
    for (path, document) in state.documents.plain() {
        let document = Arc::clone(document);
        let answer = move |request: Request| {
            let answer = discovery::plain(&document, &request);
            async move { answer }
        };
        routes = if path.starts_with("/apis/") {
            with_slash(routes, path, answer)
        } else {
            routes.route(path, get(answer))
        };
    }
    for one in state.served {
        routes = reads(routes, *one);
    }
    let routes = with_slash(routes, "/apis", discovery::groups);
    health::routes(routes)
        .route("/metrics", get(own::read))
        .fallback(unknown_path)
        .method_not_allowed_fallback(unknown_method)
        .layer(from_fn_with_state(Arc::clone(&state), guard::guard))
        .with_state(state)
}

/// The paths below which a group and version is read.
fn reads(routes: Router<Arc<AppState>>, one: GroupVersion) -> Router<Arc<AppState>> {
    let namespace = format!("{}/namespaces/{{namespace}}", one.path());
    match one {
        GroupVersion::External => {
            return routes.route(&format!("{namespace}/{{metric}}"), get(read::read));
        }
        GroupVersion::Explain => return explain::routes(routes),
        GroupVersion::CustomV1Beta2 | GroupVersion::CustomV1Beta1 => {}
    }
    routes
        .route(
            &format!("{namespace}/metrics/{{metric}}"),
            get(move |state, path, request| custom::read_namespace(one, state, path, request)),
        )
        .route(
            &format!("{namespace}/{{resource}}/{{name}}/{{metric}}"),
            get(move |state, path, request| custom::read_object(one, state, path, request)),
        )
}

/// A route that Kubernetes' own servers answer with and without a slash at the end.
fn with_slash<T: 'static>(
    routes: Router<Arc<AppState>>,
    path: &str,
    handler: impl Handler<T, Arc<AppState>>,
) -> Router<Arc<AppState>> {
    routes
        .route(path, get(handler.clone()))
        .route(&format!("{path}/"), get(handler))
}

async fn unknown_path(
    State(state): State<Arc<AppState>>,
    request: Request,
) -> Result<Response, Status> {
    Err(state.nothing_at(request.uri()))
}

async fn unknown_method(request: Request) -> Result<Response, Status> {
    Err(Status::method_not_allowed(format!(
        "{} is not allowed on {}: what is here can only be read",
        request.method(),
        request.uri().path()
    )))
}
