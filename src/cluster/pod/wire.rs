//! A pod as the API server sends it: the fields that are needed and no other. What is not named here is skipped by the
//! decoder, `metadata.managedFields` first of all.

use std::borrow::Cow;
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::Resource;
use kube::api::ObjectMeta;
use kube::core::NamespaceResourceScope;
use serde::{Deserialize, Deserializer};

use super::{Counted, READY_FELL_AFTER};
use crate::hpa;
use crate::model::time::Timestamp;

/// A pod, trimmed.
#[derive(Clone, Deserialize, Debug)]
pub(in crate::cluster) struct WirePod {
    /// Name, namespace, UID, labels, versions and times; nothing else of it is ever set.
    #[serde(deserialize_with = "trimmed")]
    pub(in crate::cluster) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: Spec,
    #[serde(default)]
    pub(super) status: Status,
}

#[derive(Clone, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    #[serde(default)]
    pub(super) host_network: bool,
    #[serde(default)]
    containers: Vec<Container>,
    #[serde(default)]
    init_containers: Vec<Container>,
}

#[derive(Clone, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Container {
    #[serde(default)]
    ports: Vec<Port>,
    /// `Always` for a sidecar among the init containers.
    restart_policy: Option<String>,
}

#[derive(Clone, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Port {
    name: Option<String>,
    container_port: u16,
    protocol: Option<String>,
}

#[derive(Clone, Deserialize, Debug, Default)]
#[serde(rename_all = "camelCase")]
pub(super) struct Status {
    pub(super) phase: Option<String>,
    start_time: Option<Time>,
    #[serde(rename = "podIP")]
    pub(super) pod_ip: Option<String>,
    #[serde(default)]
    conditions: Vec<Condition>,
}

#[derive(Clone, Deserialize, Debug)]
#[serde(rename_all = "camelCase")]
struct Condition {
    #[serde(rename = "type")]
    kind: String,
    status: String,
    last_transition_time: Option<Time>,
}

/// The fields of `metadata` that are needed.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Trimmed {
    name: Option<String>,
    namespace: Option<String>,
    uid: Option<String>,
    resource_version: Option<String>,
    labels: Option<BTreeMap<String, String>>,
    creation_timestamp: Option<Time>,
    deletion_timestamp: Option<Time>,
}

fn trimmed<'de, D: Deserializer<'de>>(deserializer: D) -> Result<ObjectMeta, D::Error> {
    let Trimmed {
        name,
        namespace,
        uid,
        resource_version,
        labels,
        creation_timestamp,
        deletion_timestamp,
    } = Trimmed::deserialize(deserializer)?;
    Ok(ObjectMeta {
        name,
        namespace,
        uid,
        resource_version,
        labels,
        creation_timestamp,
        deletion_timestamp,
        ..ObjectMeta::default()
    })
}

/// An instant of the API.
pub(in crate::cluster) fn timestamp(time: &Time) -> Timestamp {
    Timestamp::from_ms(time.0.as_millisecond())
}

impl Spec {
    /// The TCP ports by name. Kubernetes has a name once in a pod.
    pub(super) fn ports(&self) -> BTreeMap<String, u16> {
        let sidecars = self
            .init_containers
            .iter()
            .filter(|container| container.restart_policy.as_deref() == Some("Always"));
        let ports = self
            .containers
            .iter()
            .chain(sidecars)
            .flat_map(|container| &container.ports)
            .filter(|port| port.protocol.as_deref().is_none_or(|name| name == "TCP"));
        ports
            .filter_map(|port| Some((port.name.clone()?, port.container_port)))
            .collect()
    }
}

impl Status {
    /// When the pod became Ready, if it ever did, by what its conditions still tell. Of one that is not Ready any more
    /// only the beginning is known: it counts as Ready since it was initialized, since readiness that fails under load
    /// is when its numbers matter most.
    pub(super) fn ready_since(&self) -> Option<Timestamp> {
        let ready = self.condition("Ready")?;
        let changed = ready.changed()?;
        if ready.status == "True" {
            return Some(changed);
        }
        let begun = ["Initialized", "PodScheduled"].iter().find_map(|kind| {
            let condition = self.condition(kind)?;
            condition.changed().filter(|_| condition.status == "True")
        })?;
        (READY_FELL_AFTER < changed.since(begun)).then_some(begun)
    }

    /// What an HPA counts the pod by.
    pub(super) fn counted(&self) -> Counted {
        let readiness = self.condition("Ready").and_then(|ready| {
            Some(hpa::Readiness {
                status: match ready.status.as_str() {
                    "True" => hpa::ReadyStatus::True,
                    "False" => hpa::ReadyStatus::False,
                    _ => hpa::ReadyStatus::Unknown,
                },
                since: ready.changed()?,
            })
        });
        Counted {
            phase: match self.phase.as_deref() {
                None | Some("Pending") => hpa::Phase::Pending,
                Some("Succeeded") => hpa::Phase::Succeeded,
                Some("Failed") => hpa::Phase::Failed,
                // Of a lost node's pod the phase is unknown, and its readiness as well: it was running.
                Some(_) => hpa::Phase::Running,
            },
            started: self.start_time.as_ref().map(timestamp),
            readiness,
        }
    }

    fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions
            .iter()
            .find(|condition| condition.kind == kind)
    }
}

impl Condition {
    fn changed(&self) -> Option<Timestamp> {
        self.last_transition_time.as_ref().map(timestamp)
    }
}

impl Resource for WirePod {
    type DynamicType = ();
    type Scope = NamespaceResourceScope;

    fn kind((): &()) -> Cow<'_, str> {
        "Pod".into()
    }

    fn group((): &()) -> Cow<'_, str> {
        "".into()
    }

    fn version((): &()) -> Cow<'_, str> {
        "v1".into()
    }

    fn plural((): &()) -> Cow<'_, str> {
        "pods".into()
    }

    fn meta(&self) -> &ObjectMeta {
        &self.metadata
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        &mut self.metadata
    }
}
