//! A scenario: which load goes to which services, how the services behave where they are played rather than met, what
//! happens meanwhile, and what must hold. One file drives all three tiers: virtual time, processes on one machine, and a
//! cluster with its own HPA controller. This is the resolved form, in which every default is filled in;
//! [`mod@file`] reads the form that people write.

pub mod anchor;
pub mod assertion;
pub mod file;
pub mod quantity;
pub mod secrets;
pub mod span;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::anchor::{Anchor, Scope};
pub use self::assertion::{Assertion, Check};
pub use self::file::FileError;
pub use self::quantity::{Quantile, Share};
pub use self::span::Span;

/// A whole scenario.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scenario {
    /// Its name, in reports and as the name of the only service where none is named.
    pub name: String,
    /// What it shows, in a sentence or two.
    pub description: String,
    /// Seed of everything drawn: equal seeds send equal requests at equal moments.
    pub seed: u64,
    /// The services under load, by name.
    pub services: BTreeMap<String, Service>,
    /// The loads, by name.
    pub scenarios: BTreeMap<String, Load>,
    /// What is done meanwhile, in order of time.
    pub events: Vec<Event>,
    /// The default of every check of latency.
    pub slo: Option<Slo>,
    /// What must hold.
    pub assertions: Vec<Assertion>,
    /// The same in k6's words: `http_req_duration{stage:high}` to `p(95)<300`.
    pub thresholds: BTreeMap<String, Vec<Threshold>>,
    /// How often it is run, and how often it must pass.
    pub run: Repeat,
    /// What must be so before the first request.
    pub preconditions: Preconditions,
    /// When to stop for the sake of whoever uses the service.
    pub safety: Safety,
    /// Where reports go.
    pub report: Outputs,
}

impl Scenario {
    /// Whether something in it may end a run before its time: its safety, or a threshold that aborts.
    #[must_use]
    pub fn may_end_early(&self) -> bool {
        let mut thresholds = self.thresholds.values().flatten();
        self.safety.max_error_rate < 1.0 || thresholds.any(|threshold| threshold.abort_on_fail)
    }
}

/// A service under load.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Service {
    /// Where it is met: needed for a cluster or for a server that runs already.
    pub target: Option<Target>,
    /// What is asked of it. One `GET /` when empty.
    pub requests: Vec<Request>,
    /// The HPA to observe.
    pub observe: Option<Observe>,
    /// What a pod can take, for the checks that compare with what was needed.
    pub demand: Option<Demand>,
    /// How it behaves where it is played: on one machine, and in virtual time.
    pub app: Option<App>,
    /// The HPA where it is played: a HorizontalPodAutoscaler as it would be applied to a cluster. Not read here.
    pub hpa: Option<serde_json::Value>,
    /// How it is measured where it is played: what tells the adapter where latency and rate come from. Not read here.
    pub metrics: Option<serde_json::Value>,
}

/// Where a service is met.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Scheme, host, port, and the path that requests without one have.
    pub url: String,
    /// How its backends are found.
    pub discovery: Discovery,
    /// How connections are kept.
    pub connections: Connections,
    /// How requests are sent.
    pub http: Http,
}

/// How backends are found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Discovery {
    /// The host's addresses, looked up once.
    Static,
    /// These addresses, whatever the host is.
    Addresses(Vec<String>),
    /// The host's addresses, looked up again every so often.
    Dns {
        /// How often.
        refresh: Span,
    },
    /// The ready endpoints of the Service that the host names, by a watch.
    Endpoints,
}

/// How connections are kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Connections {
    /// To one backend at most.
    pub per_endpoint: usize,
    /// A connection is closed after this long, give or take the jitter; `None` keeps it.
    pub max_age: Option<Span>,
    /// Share of `max_age` by which each connection's own age varies, so that not all close at once; within 0 and 1.
    pub max_age_jitter: f64,
    /// A connection is closed after this many requests; 0 keeps it.
    pub max_requests: u64,
    /// What a new backend means for the connections there are.
    pub on_endpoint_add: OnEndpointAdd,
    /// Opened to each backend before the clock starts.
    pub preconnect: usize,
}

/// What a new backend means for the connections there are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum OnEndpointAdd {
    /// It gets its share of the requests at once.
    #[default]
    Rebalance,
    /// It gets a share only as old connections end, as behind a cluster IP.
    Keep,
}

/// How requests are sent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Http {
    /// The protocol's version.
    pub version: HttpVersion,
    /// How long a request may take, from the moment it should have started.
    pub timeout: Span,
    /// Statuses that are good answers; empty means all below 400.
    pub expect: Vec<u16>,
    /// A PEM file with the authorities that the server's certificate may come from, instead of the machine's.
    pub ca: Option<String>,
    /// The name that the certificate must have, when it is not the URL's host.
    pub server_name: Option<String>,
}

/// The protocol's version.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum HttpVersion {
    /// One request at a time on a connection.
    #[default]
    #[serde(rename = "1.1")]
    Http1,
    /// Many at once; over TLS by ALPN, else with prior knowledge.
    #[serde(rename = "2")]
    Http2,
}

/// A kind of request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Its name in reports.
    pub name: String,
    /// How often it is sent, against the weights of the others.
    pub weight: u32,
    /// The method.
    pub method: String,
    /// Path and query; `{{seq}}` is the number of the request in its load, from 0.
    pub path: String,
    /// Headers. A value such as `Bearer ${env:TOKEN}` is read from the environment, and shown as it is written here.
    pub headers: BTreeMap<String, String>,
    /// The body, in which `{{seq}}` and `${env:NAME}` are replaced, too.
    pub body: Option<String>,
    /// What a good answer's body holds; `None` takes any.
    pub expect_body: Option<String>,
}

/// The HPA to observe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Observe {
    /// Where and what it is called.
    pub hpa: ObjectName,
    /// How often its metrics are read, as it reads them.
    pub metric_interval: Span,
    /// A watch that says nothing for this long has lost what it watches.
    pub max_gap: Span,
}

/// An object of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ObjectName {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

/// What a pod can take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Demand {
    /// Requests per second that a pod answers within the objective.
    pub rps_per_pod: f64,
}

/// How a service behaves where it is played: the sample app, as process or as a model of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct App {
    /// Requests that a pod works on at once.
    pub workers: usize,
    /// Requests that may wait in a pod; others get a 503.
    pub queue: usize,
    /// Mean service time, without waiting for a worker, a downstream or Redis.
    pub service_time: Span,
    /// Coefficient of variation of the service time, which is lognormal.
    pub service_cv: f64,
    /// Share of the service time that is CPU burned.
    pub cpu_share: f64,
    /// CPU that a pod requests, in thousandths of a core.
    pub cpu_request: u32,
    /// From a pod's start to its being ready; `None` for one that never is.
    pub startup: Option<Span>,
    /// How long a pod that is taken out may go on with what it has.
    pub drain: Span,
    /// The service that every request calls before it is answered.
    pub calls: Option<Calls>,
    /// Whether every request counts a visit in Redis.
    pub redis: bool,
    /// The token that requests and scrapes must have in `X-Auth-Token`; `${env:NAME}` is read from the environment.
    pub token: Option<String>,
    /// The version, for a rollout to differ from.
    pub version: String,
}

/// A call that every request makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Calls {
    /// Which service of the scenario.
    pub service: String,
    /// Connections of one pod to it at most; calls above it wait.
    pub connections: usize,
    /// How long a call may take, with its wait for a connection; after that the request fails with a 503.
    pub timeout: Span,
}

/// Something that is done to the system at a moment, where the system is played; in a cluster it is only marked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// When, from the first request's moment.
    pub at: Span,
    /// When it is over, for checks that speak of it.
    pub until: Option<Span>,
    /// Its name, which `event(NAME)` in a check refers to.
    pub name: String,
    /// What is done.
    pub action: Action,
}

/// What is done to the system.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Action {
    /// Nothing: the moment has a name, and somebody else does something.
    Mark,
    /// A service gets another version, pod by pod, as a Deployment's rolling update does it.
    Rollout {
        /// Which service.
        service: String,
        /// The new version, whole.
        app: Box<App>,
    },
    /// A service goes back to the version before its last rollout.
    Undo {
        /// Which service.
        service: String,
    },
    /// The pods of a service, those there are and those to come, behave otherwise from now on, as when what is behind
    /// them got slow.
    Change {
        /// Which service.
        service: String,
        /// Times as slow as `app.serviceTime` says; 1 is as before.
        slowdown: f64,
        /// Only so many of the pods that serve then, the oldest, as when their node is busy; `None` is all of them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pods: Option<u32>,
    },
    /// Redis is gone until `until`.
    StopRedis,
    /// The adapter has no values until `until`.
    StopMetrics,
}

/// A load on one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Load {
    /// Which service.
    pub service: String,
    /// When each request starts.
    pub executor: Executor,
    /// How requests are placed on the curve.
    pub arrivals: Placing,
    /// Requests in flight at most; those above are dropped, and counted.
    pub max_in_flight: usize,
    /// How long requests under way may take when the load has ended.
    pub graceful_stop: Span,
    /// When it begins.
    pub start_time: Span,
    /// How exactly requests start at their moment.
    pub pacing: Pacing,
}

/// How exactly requests start at their moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Pacing {
    /// To a millisecond, for little CPU.
    #[default]
    Millisecond,
    /// To some microseconds, by a thread that does nothing else.
    Precise,
}

/// How requests are placed on the curve.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Placing {
    /// As independent users do, with exactly as many.
    #[default]
    Poisson,
    /// Evenly.
    Uniform,
}

/// When requests start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Executor {
    /// Open loop along stages; a constant rate is one stage.
    RampingArrivalRate {
        /// The rate before the first stage, in requests per second.
        start_rate: f64,
        /// The stages.
        stages: Vec<Stage>,
    },
    /// Open loop along a sine around a mean.
    Sine {
        /// The mean, in requests per second.
        mean: f64,
        /// How far above and below it, at most the mean.
        amplitude: f64,
        /// From crest to crest.
        period: Span,
        /// How long in all.
        duration: Span,
    },
    /// Open loop with bursts above a base.
    Bursts {
        /// Between bursts, in requests per second.
        base: f64,
        /// Within them.
        burst: f64,
        /// From the beginning of one to that of the next.
        every: Span,
        /// How long each is.
        length: Span,
        /// How long in all.
        duration: Span,
    },
    /// Open loop along a recorded trace.
    Replay {
        /// A file with a line per interval: seconds, and requests per second.
        file: String,
        /// How many times as fast.
        speed: f64,
        /// What its rates are multiplied by.
        scale: f64,
    },
    /// Closed loop: each user asks again when it was answered.
    ConstantVus {
        /// How many users.
        vus: usize,
        /// How long.
        duration: Span,
    },
}

/// A stage of a ramp.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stage {
    /// Its name; `None` for one that checks do not speak of.
    pub name: Option<String>,
    /// The rate at its end, in requests per second.
    pub target: f64,
    /// How long the way there takes; zero jumps.
    pub duration: Span,
}

/// A latency objective over a window.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Slo {
    /// Within 0 and 1.
    pub quantile: f64,
    /// The latency that the quantile must not be above.
    pub target: Span,
    /// Over how long the quantile is taken.
    pub window: Span,
    /// To what a window is widened that holds too few requests.
    pub max_window: Span,
}

/// A threshold as k6 writes it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Threshold {
    /// As `p(95)<300`.
    pub threshold: String,
    /// Whether the run ends when it does not hold.
    pub abort_on_fail: bool,
    /// How long after the start that is looked at.
    pub delay_abort_eval: Span,
}

/// How often a scenario is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Repeat {
    /// How often.
    pub repeat: u32,
    /// How often it must pass.
    pub pass: u32,
}

impl Default for Repeat {
    fn default() -> Self {
        Self { repeat: 1, pass: 1 }
    }
}

/// What must be so before the first request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Preconditions {
    /// Replicas, desired and ready, by service; `minReplicas` where none is said.
    pub replicas: BTreeMap<String, u32>,
    /// How long the HPA must have been quiet.
    pub quiet: Span,
    /// How long this is waited for.
    pub timeout: Span,
}

impl Default for Preconditions {
    fn default() -> Self {
        Self {
            replicas: BTreeMap::new(),
            quiet: Span::from_secs(60),
            timeout: Span::from_secs(600),
        }
    }
}

/// When to stop for the sake of whoever uses the service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Safety {
    /// The run stops when a larger share of the requests fails; within 0 and 1. 1 never stops.
    pub max_error_rate: f64,
    /// For this long.
    pub for_: Span,
    /// Namespaces whose services may be loaded.
    pub allow_namespaces: Vec<String>,
}

impl Default for Safety {
    fn default() -> Self {
        Self {
            max_error_rate: 1.0,
            for_: Span::from_secs(30),
            allow_namespaces: Vec::new(),
        }
    }
}

/// Where reports go; what has no place is not written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Outputs {
    /// A file for the recording and the verdict.
    pub json: Option<String>,
    /// A file for CI.
    pub junit: Option<String>,
    /// A file for people.
    pub html: Option<String>,
    /// A file for Prometheus, of the whole run.
    pub openmetrics: Option<String>,
    /// An address at which Prometheus finds the run while it goes on.
    pub prometheus: Option<String>,
}
