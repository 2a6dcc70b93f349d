//! Everything that was seen of one run, on one clock: the load, the replicas, the metric, the conditions, the marks. The
//! cluster's observer, the local tier and the simulator write it; checks and reports read it, and it is the JSON report,
//! so a run can be judged again, and drawn again, without traffic. Plain data: it judges nothing.
//!
//! Times are seconds from the moment of the first intended request; what was seen before has a negative time.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::measured::Measured;
use crate::scenario::Scenario;
use crate::steps::Steps;

/// The version of the JSON. It grows when a reader of the former version would misread what it finds.
pub const SCHEMA_VERSION: u32 = 1;

/// One run of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Recording {
    /// [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// What was run, when and where.
    pub about: About,
    /// The scenario as it was run, without its secrets.
    pub scenario: Scenario,
    /// The stages of all loads, in order of their beginning.
    pub stages: Vec<Stage>,
    /// What was seen of each service, by its name in the scenario.
    pub services: BTreeMap<String, Service>,
    /// How the generator itself did.
    pub generator: Generator,
    /// What happened, in order of time.
    pub events: Vec<Event>,
}

/// What was run, when and where.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct About {
    /// Where the scenario was played.
    pub tier: Tier,
    /// Which try of a repeated scenario this is, from 1.
    pub attempt: u32,
    /// When the first request was due, in RFC 3339; `None` in virtual time.
    pub started: Option<String>,
    /// How long the loads last, in seconds.
    pub duration_s: f64,
    /// Whether the run was told to stop before its end.
    pub interrupted: bool,
    /// Why it stopped before its end by a rule of the scenario's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<Ended>,
    /// The version of the program that wrote this.
    pub version: String,
    /// Other facts, as `kubernetes: v1.36.3`; they are shown, and none but [`About::SPEED`] is judged.
    pub facts: BTreeMap<String, String>,
}

/// A rule of the scenario that ended a run, with what was seen, in a sentence.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// Its safety: too many requests failed for too long.
    Safety(String),
    /// A threshold with `abortOnFail` that did not hold.
    Threshold(String),
}

/// Where a scenario was played.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tier {
    /// Time, pods and requests were computed: a simulation.
    Virtual,
    /// Real processes and real requests on one machine, with a model of the HPA.
    Local,
    /// A real cluster with its own HPA controller.
    #[default]
    Cluster,
}

/// A stage of a load.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stage {
    /// Its name; stages without one are named by what they send, as `50/s` and `ramp to 600/s`.
    pub name: String,
    /// The load it belongs to, by its name in the scenario.
    pub load: String,
    /// The service it is for.
    pub service: String,
    /// When it begins, in seconds.
    pub start_s: f64,
    /// When it ends, in seconds; not before it begins.
    pub end_s: f64,
}

/// What was seen of one service.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Service {
    /// The requests and their answers.
    pub load: Measured,
    /// The HPA's spec, at the beginning.
    pub autoscaler: Option<Autoscaler>,
    /// Replicas as each place tells them.
    pub replicas: Replicas,
    /// The HPA's metrics, in the order of its spec.
    pub metrics: Vec<Metric>,
    /// The HPA's conditions, each change with the time it was seen.
    pub conditions: Vec<Condition>,
    /// Each backend that had requests or was an endpoint, by its address.
    pub backends: BTreeMap<String, Backend>,
    /// Stretches in which something was not observed.
    pub gaps: Vec<Gap>,
    /// Changes of a spec while the run went on: of the HPA, or of the pods' template.
    pub spec_changes: Vec<SpecChange>,
}

/// The replicas of a service, from each place that tells them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Replicas {
    /// `status.desiredReplicas` of the HPA.
    pub desired: Steps,
    /// `status.currentReplicas` of the HPA.
    pub current: Steps,
    /// `spec.replicas` of the scale target.
    pub spec: Steps,
    /// `status.readyReplicas` of the scale target.
    pub ready: Steps,
    /// Endpoints that are ready and not terminating.
    pub endpoints: Steps,
}

/// What an HPA is told to do.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Autoscaler {
    /// Its namespace; empty where there is no cluster.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The fewest replicas.
    pub min_replicas: u32,
    /// The most replicas.
    pub max_replicas: u32,
    /// How many pods above the spec a rollout may have; 25 % of the spec rounded up where a Deployment does not say.
    pub max_surge: u32,
    /// How often the controller looks, in seconds; 15 unless the controller manager's flag says otherwise, which
    /// cannot be read from outside.
    pub sync_period_s: f64,
    /// The ratio to the target within which nothing is done, when the metric is above it: 0.1 by default.
    pub tolerance_up: f64,
    /// The same when the metric is below the target.
    pub tolerance_down: f64,
    /// How it grows.
    pub scale_up: Rules,
    /// How it shrinks.
    pub scale_down: Rules,
}

/// The rules of one direction.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Rules {
    /// The highest (shrinking) or lowest (growing) recommendation of this many seconds counts.
    pub stabilization_s: f64,
    /// What may change within a period. Empty means no limit.
    pub policies: Vec<Policy>,
    /// Whether the policy that allows the least counts, or the direction is switched off.
    pub select: Select,
}

/// Which of the policies counts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Select {
    /// The one that allows the most.
    #[default]
    Max,
    /// The one that allows the least.
    Min,
    /// None: the direction is switched off.
    Disabled,
}

/// How much may change within a period.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Policy {
    /// Pods, or percent of the replicas at the period's beginning.
    pub kind: PolicyKind,
    /// How many.
    pub value: u32,
    /// The period in seconds.
    pub period_s: f64,
}

/// The unit of a policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PolicyKind {
    /// Replicas.
    Pods,
    /// Percent of the replicas.
    Percent,
}

/// One metric of an HPA and what was read of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Metric {
    /// Its name, as `request_latency_ms` or `cpu`.
    pub name: String,
    /// The label selector of an external metric, as it is sent.
    pub selector: String,
    /// Where it comes from.
    pub kind: MetricKind,
    /// The target: a value, an average per pod, or percent for CPU.
    pub target: f64,
    /// Whether the target is an average per pod.
    pub is_average: bool,
    /// What was read, in order of time.
    pub reads: Vec<Read>,
}

/// Where a metric comes from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// `external.metrics.k8s.io`.
    #[default]
    External,
    /// CPU or memory of the pods.
    Resource,
    /// Anything else an HPA can read.
    Other,
}

/// One read of a metric.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Read {
    /// When the answer was there, in seconds.
    pub t_s: f64,
    /// The value, in the target's unit; `None` when there was none.
    pub value: Option<f64>,
    /// How old the value was by its own timestamp, in seconds.
    pub age_s: Option<f64>,
    /// What was said in its stead.
    pub error: Option<String>,
}

/// A condition of the HPA from a moment on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Condition {
    /// When it was seen.
    pub t_s: f64,
    /// Its type, as `ScalingActive`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether it is True; `None` for Unknown.
    pub status: Option<bool>,
    /// Its reason, as `FailedGetExternalMetric`.
    pub reason: String,
    /// The same for people.
    pub message: String,
}

/// A backend: usually a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Backend {
    /// The pod's name, where it is known.
    pub pod: Option<String>,
    /// When it was a ready endpoint.
    pub ready: Vec<Gap>,
}

/// A stretch of time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Gap {
    /// From, in seconds.
    pub from_s: f64,
    /// To, in seconds; `None` while it lasts at the end of the run.
    pub to_s: Option<f64>,
    /// What it is about: what was not observed, for a gap.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub what: String,
}

/// A spec that changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpecChange {
    /// When it was seen.
    pub t_s: f64,
    /// Which object, as `HorizontalPodAutoscaler shop/users`.
    pub object: String,
    /// What changed, in a sentence.
    pub text: String,
}

/// How the generator did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Generator {
    /// The CPU it may use, in cores: its quota, or the machine's.
    pub cores: f64,
    /// Each second of the run.
    pub seconds: Vec<GeneratorSecond>,
    /// How the backends were found: `endpoints`, `dns`, `static`; by service.
    pub discovery: BTreeMap<String, String>,
    /// What a reader should know, such as a fallback that was taken.
    pub notes: Vec<String>,
}

/// One second of the generator.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GeneratorSecond {
    /// When it ended, in seconds.
    pub t_s: f64,
    /// CPU used within it, in cores.
    pub cpu: f64,
    /// Periods of the quota within it in which the generator was throttled.
    pub throttled: u32,
    /// Requests in flight at its end, of all services.
    pub in_flight: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// When, in seconds.
    pub t_s: f64,
    /// The service it is about.
    pub service: Option<String>,
    /// What kind of thing it is.
    pub kind: EventKind,
    /// The name of a mark, which `event(NAME)` refers to; empty otherwise.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub name: String,
    /// When it is over, for what lasts: an adapter that was down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_s: Option<f64>,
    /// What happened, in a sentence.
    pub text: String,
}

/// What kind of thing happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EventKind {
    /// Something that the scenario did, or that its user marked.
    Mark,
    /// The HPA scaled.
    Scaled,
    /// A backend came or went.
    Endpoint,
    /// A condition changed, or a Kubernetes Event told something.
    Told,
}

impl About {
    /// The fact that says how many seconds of the recording passed in one of the wall's.
    pub const SPEED: &str = "speed";

    /// How many seconds of the recording passed in one of the wall's: 1 where nothing is said. A rate of the recording
    /// times this is the rate at which requests came.
    #[must_use]
    pub fn speed(&self) -> f64 {
        let told = self
            .facts
            .get(Self::SPEED)
            .and_then(|speed| speed.parse().ok());
        told.filter(|speed: &f64| speed.is_finite() && 0.0 < *speed)
            .unwrap_or(1.0)
    }
}

impl Service {
    /// The metric that checks speak of: the first external one, or else the first.
    #[must_use]
    pub fn metric(&self) -> Option<&Metric> {
        let external = |metric: &&Metric| metric.kind == MetricKind::External;
        self.metrics.iter().find(external).or(self.metrics.first())
    }
}

impl Recording {
    /// The stage with this name, of this service where several have one.
    #[must_use]
    pub fn stage(&self, name: &str, service: &str) -> Option<&Stage> {
        let named = || self.stages.iter().filter(|stage| stage.name == name);
        named()
            .find(|stage| stage.service == service)
            .or_else(|| named().next())
    }
}
