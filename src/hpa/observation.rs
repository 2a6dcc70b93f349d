//! What an HPA sees in one sync: the scale, the pods, and an answer for each of its metrics.
//!
//! Plain data, so that a live loop, a simulation, a recording and the shadow of a real HPA can all make one.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::time::{Timestamp, seconds};

/// What an HPA sees in one sync.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Observation {
    /// `spec.replicas` of the scale: how many are wanted now.
    pub spec_replicas: i32,
    /// `status.replicas` of the scale: how many there are.
    pub status_replicas: i32,
    /// The pods that the scale's selector matches.
    pub pods: Vec<Pod>,
    /// An answer for each of [`Spec::metrics`](super::Spec::metrics), in that order; a missing one counts as failed.
    pub answers: Vec<Result<Answer, String>>,
}

/// A metric that was read. An `Err` in its place says why it could not be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Answer {
    /// The items of an External metric, or the one value of an Object metric, in thousandths.
    #[serde(rename = "itemsMilli")]
    Values(Vec<i64>),
    /// What each pod uses, by the pod's name: for Pods and Resource metrics.
    #[serde(rename = "perPod")]
    PerPod(BTreeMap<String, Usage>),
}

/// What one pod uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// In thousandths.
    pub milli: i64,
    /// The end of the time over which it was measured.
    pub at: Timestamp,
    /// How long that time was.
    #[serde(rename = "windowSeconds", with = "seconds")]
    pub window: Duration,
}

/// A pod, as far as the HPA looks at it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its name, which metrics refer to.
    pub name: String,
    /// `status.phase`.
    pub phase: Phase,
    /// Whether it is being deleted (`metadata.deletionTimestamp` is set).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub deleted: bool,
    /// `status.startTime`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started: Option<Timestamp>,
    /// The `Ready` condition; a pod without it is starting.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readiness: Option<Readiness>,
    /// What the whole pod requests of the resources that are scaled on, in thousandths, by the resource's name.
    #[serde(
        rename = "requestsMilli",
        default,
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub requests: BTreeMap<String, i64>,
    /// What each of its containers requests, by the container's name: for metrics that mean one of them. Empty where its
    /// containers are not told apart, as of a pod that has one.
    #[serde(
        rename = "containerRequestsMilli",
        default,
        skip_serializing_if = "BTreeMap::is_empty"
    )]
    pub container_requests: BTreeMap<String, BTreeMap<String, i64>>,
}

/// `status.phase` of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Phase {
    /// Not yet started.
    Pending,
    /// Running.
    Running,
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
}

/// The `Ready` condition of a pod.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Readiness {
    /// Its `status`.
    pub status: ReadyStatus,
    /// Since when that holds (`lastTransitionTime`).
    pub since: Timestamp,
}

/// `status` of the `Ready` condition. The HPA asks in one place whether it is `True` and in another whether it is
/// `False`, so that a pod of unknown readiness is neither.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReadyStatus {
    /// Ready.
    True,
    /// Not ready.
    False,
    /// Its node has not reported for a while.
    Unknown,
}

// === impl Pod ===

impl Pod {
    /// What it requests of a resource, or what its `container` does, in thousandths; `None` where nothing is.
    pub fn request(&self, resource: &str, container: Option<&str>) -> Option<i64> {
        let requests = match container {
            Some(container) if !self.container_requests.is_empty() => {
                self.container_requests.get(container)?
            }
            _ => &self.requests,
        };
        requests.get(resource).copied()
    }

    /// Takes what it, or its `container`, is to request of a resource, in thousandths.
    pub fn set_request(&mut self, resource: &str, container: Option<&str>, milli: i64) {
        let requests = match container {
            Some(container) => self
                .container_requests
                .entry(container.to_owned())
                .or_default(),
            None => &mut self.requests,
        };
        requests.insert(resource.to_owned(), milli);
    }

    /// Whether it counts where only ready pods do; a pod that is being deleted does.
    //= replica_calculator.go getReadyPodsCount
    pub fn is_ready(&self) -> bool {
        self.phase == Phase::Running
            && self
                .readiness
                .is_some_and(|readiness| readiness.status == ReadyStatus::True)
    }
}
