//! The node: binds pods that nobody has bound, and runs their containers as processes, each pod on an address of its own.
//! It is a kubelet and a scheduler as small as the tests allow, true in what controllers and servers see of a pod: phases,
//! conditions and their times, probes, restarts, grace, tokens and volumes. It has no images, cgroups, init containers
//! or exec; a pod that asks for what is not there says so in its status.
//!
//! All pods share one network: a container listens on its pod's address (`status.podIP`), not on all addresses.

mod container;
mod environment;
mod pod;
mod probe;
mod status;
mod volumes;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::Context;
use futures_util::StreamExt;
use k8s_openapi::api::core::v1::{Node as NodeObject, Pod};
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, ResourceExt};
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::sandbox::NODE_ADDRESS;

/// The node's name.
pub(crate) const NODE_NAME: &str = "node";

/// The first address of pods; those before it are the node's and its servers'.
const FIRST_POD_ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 200, 1, 1);

/// What all pods share.
pub(crate) struct Node {
    /// The API, with all rights.
    pub(crate) client: Client,
    /// Where volumes are kept.
    pub(crate) dir: PathBuf,
    /// Where the logs of containers go.
    pub(crate) logs_dir: PathBuf,
    /// Where the programs of the images are.
    pub(crate) programs_dir: PathBuf,
    /// Addresses given so far; none is given twice, so a late packet reaches nobody else.
    addresses: AtomicU32,
    processes: Mutex<BTreeMap<ContainerName, u32>>,
}

/// Which container of which pod.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct ContainerName {
    pub(crate) namespace: String,
    pub(crate) pod: String,
    pub(crate) container: String,
}

impl Node {
    /// The processes that run, by container.
    pub(crate) fn processes(&self) -> MutexGuard<'_, BTreeMap<ContainerName, u32>> {
        self.processes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// The log of a container.
    pub(crate) fn log(&self, name: &ContainerName) -> PathBuf {
        let ContainerName {
            namespace,
            pod,
            container,
        } = name;
        self.logs_dir
            .join(format!("pod-{namespace}-{pod}-{container}.log"))
    }

    fn next_address(&self) -> Ipv4Addr {
        let given = self.addresses.fetch_add(1, Ordering::Relaxed);
        Ipv4Addr::from(u32::from(FIRST_POD_ADDRESS) + given)
    }
}

/// The running kubelet; dropping it kills its pods.
pub(crate) struct Kubelet {
    node: Arc<Node>,
    tasks: JoinSet<()>,
}

impl Kubelet {
    /// Registers the node and starts to look after pods.
    pub(crate) async fn start(
        client: Client,
        dir: PathBuf,
        logs_dir: PathBuf,
        programs_dir: PathBuf,
    ) -> anyhow::Result<Self> {
        register(&client).await.context("registering the node")?;
        let node = Arc::new(Node {
            client,
            dir,
            logs_dir,
            programs_dir,
            addresses: AtomicU32::new(0),
            processes: Mutex::default(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(look_after(Arc::clone(&node)));
        Ok(Self { node, tasks })
    }

    /// What its pods share.
    pub(crate) fn node(&self) -> &Arc<Node> {
        &self.node
    }

    /// Kills all pods, and leaves their objects as they are.
    pub(crate) async fn stop(&mut self) {
        self.tasks.shutdown().await;
    }
}

async fn register(client: &Client) -> anyhow::Result<()> {
    let nodes = Api::<NodeObject>::all(client.clone());
    let node = serde_json::from_value(json!({
        "metadata": {"name": NODE_NAME, "labels": {"kubernetes.io/hostname": NODE_NAME}},
    }))?;
    nodes.create(&PostParams::default(), &node).await?;
    let room = json!({"cpu": "64", "memory": "64Gi", "pods": "1000"});
    let status = json!({"status": {
        "addresses": [{"type": "InternalIP", "address": NODE_ADDRESS}],
        "capacity": room,
        "allocatable": room,
        "conditions": [{"type": "Ready", "status": "True", "reason": "KubeletReady"}],
    }});
    nodes
        .patch_status(
            NODE_NAME,
            &PatchParams::default(),
            &Patch::Strategic(status),
        )
        .await?;
    Ok(())
}

/// Hands every pod's changes to the task of that pod, for as long as it is polled.
async fn look_after(node: Arc<Node>) {
    let pods = Api::<Pod>::all(node.client.clone());
    let mut changes = watcher(pods, watcher::Config::default())
        .default_backoff()
        .boxed();
    let mut tasks = JoinSet::new();
    let mut known: HashMap<String, watch::Sender<Option<Pod>>> = HashMap::new();
    let mut listed = HashSet::new();
    // Errors are those of an API server that is away: the watcher tries again.
    while let Some(change) = changes.next().await {
        match change {
            Ok(watcher::Event::Init) => listed.clear(),
            Ok(watcher::Event::InitApply(pod)) => {
                listed.extend(pod.uid());
                hand_over(&node, &mut known, &mut tasks, pod);
            }
            // A pod that was deleted while nobody watched is not in the new list.
            Ok(watcher::Event::InitDone) => known.retain(|uid, pod| {
                let there = listed.contains(uid);
                if !there {
                    pod.send_replace(None);
                }
                there
            }),
            Ok(watcher::Event::Apply(pod)) => hand_over(&node, &mut known, &mut tasks, pod),
            Ok(watcher::Event::Delete(pod)) => {
                let known = pod.uid().and_then(|uid| known.remove(&uid));
                if let Some(known) = known {
                    known.send_replace(None);
                }
            }
            Err(_) => {}
        }
        while tasks.try_join_next().is_some() {}
    }
}

fn hand_over(
    node: &Arc<Node>,
    known: &mut HashMap<String, watch::Sender<Option<Pod>>>,
    tasks: &mut JoinSet<()>,
    pod: Pod,
) {
    let Some(uid) = pod.uid() else { return };
    match known.get(&uid) {
        Some(known) => {
            known.send_replace(Some(pod));
        }
        None => {
            let (sender, receiver) = watch::channel(Some(pod.clone()));
            known.insert(uid, sender);
            tasks.spawn(pod::run(Arc::clone(node), pod, receiver));
        }
    }
}
