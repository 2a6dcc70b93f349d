//! What a pod's status says, from the states of its containers. Pure, but for the time that the caller gives.

use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff;
use serde_json::{Value, json};
use taffrail::model::time::Timestamp;

use super::container::{End, Phase, State};
use crate::harness::sandbox::NODE_ADDRESS;

/// Readiness, and since when it is so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    pub(super) ready: bool,
    pub(super) since: Timestamp,
}

impl Ready {
    /// After another look at `states`.
    pub(super) fn after(self, states: &[State], now: Timestamp) -> Self {
        let ready = states.iter().all(|state| state.ready);
        match ready == self.ready {
            true => self,
            false => Self { ready, since: now },
        }
    }
}

/// The whole status.
pub(super) fn of(
    pod: &Pod,
    address: &str,
    start: Timestamp,
    ready: Ready,
    states: &[State],
) -> Value {
    let condition = |kind: &str, ready: bool, since: Timestamp| {
        let mut condition = json!({
            "type": kind,
            "status": if ready { "True" } else { "False" },
            "lastTransitionTime": time(since),
            "reason": null,
            "message": null,
        });
        if !ready {
            condition["reason"] = "ContainersNotReady".into();
            condition["message"] = "containers are not ready".into();
        }
        condition
    };
    let containers = pod.spec.iter().flat_map(|spec| &spec.containers);
    let containers: Vec<Value> = containers
        .zip(states)
        .map(|(container, state)| {
            let image = container.image.as_deref().unwrap_or_default();
            container_status(&container.name, image, state)
        })
        .collect();
    json!({
        "phase": phase(states),
        "startTime": time(start),
        "hostIP": NODE_ADDRESS,
        "hostIPs": [{"ip": NODE_ADDRESS}],
        "podIP": address,
        "podIPs": [{"ip": address}],
        "conditions": [
            condition("Initialized", true, start),
            condition("ContainersReady", ready.ready, ready.since),
            condition("Ready", ready.ready, ready.since),
        ],
        "containerStatuses": containers,
    })
}

fn phase(states: &[State]) -> &'static str {
    let ended: Vec<&End> = states
        .iter()
        .filter_map(|state| match &state.phase {
            Phase::Ended(end) => Some(end),
            Phase::Waiting(..) | Phase::Running(_) => None,
        })
        .collect();
    if ended.len() == states.len() {
        return match ended.iter().all(|end| end.code == 0) {
            true => "Succeeded",
            false => "Failed",
        };
    }
    let waits_for_its_first_start =
        |state: &State| matches!(state.phase, Phase::Waiting(..)) && state.last_end.is_none();
    match states.iter().any(waits_for_its_first_start) {
        true => "Pending",
        false => "Running",
    }
}

fn container_status(name: &str, image: &str, state: &State) -> Value {
    let now = match &state.phase {
        Phase::Waiting(reason, message) => {
            json!({"waiting": {"reason": reason, "message": message}})
        }
        Phase::Running(since) => json!({"running": {"startedAt": time(*since)}}),
        Phase::Ended(end) => json!({"terminated": terminated(end)}),
    };
    let mut status = json!({
        "name": name,
        "image": image,
        "imageID": image,
        "ready": state.ready,
        "started": state.started,
        "restartCount": state.restarts,
        "state": now,
    });
    if let Some(end) = &state.last_end {
        status["lastState"] = json!({"terminated": terminated(end)});
    }
    status
}

fn terminated(end: &End) -> Value {
    json!({
        "exitCode": end.code,
        "signal": end.signal,
        "reason": if end.code == 0 { "Completed" } else { "Error" },
        "startedAt": time(end.started),
        "finishedAt": time(end.finished),
    })
}

fn time(at: Timestamp) -> Time {
    Time(jiff::Timestamp::from_millisecond(at.ms()).unwrap_or_default())
}
