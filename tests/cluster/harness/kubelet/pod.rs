//! One pod, from its binding to its deletion: volumes, containers, and a status that is written whenever it changes.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use kube::api::{Api, DeleteParams, Patch, PatchParams, PostParams, Preconditions};
use serde_json::{Value, json};
use taffrail::clock;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::container::{Order, Phase, Runner, State, States};
use super::status::{self, Ready};
use super::volumes::Volumes;
use super::{ContainerName, NODE_NAME, Node};

/// Between two attempts at the API server, which may be away.
const RETRY: Duration = Duration::from_millis(250);

/// Between two looks at the sources of volumes; a kubelet takes up to a minute.
const REFRESH: Duration = Duration::from_secs(2);

/// Runs a pod until it is gone. Dropping this kills its processes.
pub(super) async fn run(node: Arc<Node>, pod: Pod, mut changes: watch::Receiver<Option<Pod>>) {
    let pods = Api::namespaced(node.client.clone(), &pod.namespace().unwrap_or_default());
    let Some(pod) = bound(&pods, pod, &mut changes).await else {
        return;
    };
    let states = match &pod.spec {
        Some(spec) => vec![State::default(); spec.containers.len()],
        None => return,
    };
    let worker = Worker {
        address: node.next_address(),
        states: Arc::new(watch::Sender::new(states)),
        node,
        pods,
        pod,
    };
    tokio::select! {
        () = worker.run(changes.clone()) => {}
        // Gone without a grace: nothing is left to be told.
        _ = changes.wait_for(Option::is_none) => {}
    }
}

/// Binds the pod to this node, unless somebody else has it or it goes away.
async fn bound(
    pods: &Api<Pod>,
    mut pod: Pod,
    changes: &mut watch::Receiver<Option<Pod>>,
) -> Option<Pod> {
    loop {
        let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
        match node {
            Some(NODE_NAME) => return Some(pod),
            Some(_) => return None,
            None => {}
        }
        let name = pod.name_any();
        let binding = json!({
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"name": name, "uid": pod.uid()},
            "target": {"apiVersion": "v1", "kind": "Node", "name": NODE_NAME},
        });
        let params = PostParams::default();
        let bind = pods.create_subresource("binding", &name, &params, &binding);
        // Whatever it says, what counts is what the pod says next.
        let _: Result<Value, kube::Error> = bind.await;
        let _ = tokio::time::timeout(RETRY, changes.changed()).await;
        pod = changes.borrow_and_update().clone()?;
    }
}

struct Worker {
    node: Arc<Node>,
    pods: Api<Pod>,
    pod: Pod,
    address: Ipv4Addr,
    states: States,
}

impl Worker {
    async fn run(self, mut changes: watch::Receiver<Option<Pod>>) {
        let (orders, ordered) = watch::channel(Order::Run);
        let life = self.live(ordered);
        let report = self.report();
        tokio::pin!(life, report);
        let told = async {
            let deleted = |pod: &Option<Pod>| {
                pod.as_ref()
                    .is_some_and(|pod| pod.metadata.deletion_timestamp.is_some())
            };
            if let Ok(pod) = changes.wait_for(deleted).await {
                let grace = pod
                    .as_ref()
                    .and_then(|pod| pod.metadata.deletion_grace_period_seconds);
                let grace = grace.and_then(|grace| u64::try_from(grace).ok());
                orders.send_replace(Order::EndWithin(Duration::from_secs(grace.unwrap_or(0))));
            }
        };
        // A pod whose containers have ended by themselves stays until it is deleted.
        let ended = async { tokio::join!(told, life) };
        tokio::select! {
            _ = ended => {}
            () = &mut report => {}
        }
        self.delete().await;
    }

    /// From the first volume to the end of the last container.
    async fn live(&self, ordered: watch::Receiver<Order>) {
        let dir = self.node.dir.join(self.pod.uid().unwrap_or_default());
        let mut volumes = Volumes::new(dir, self.address);
        let mut orders = ordered.clone();
        let containers = tokio::select! {
            containers = self.prepared(&mut volumes, &ordered) => containers,
            _ = orders.wait_for(|order| *order != Order::Run) => return,
        };
        let mut tasks = JoinSet::new();
        for container in containers {
            tasks.spawn(container.run());
        }
        let refresh = async {
            loop {
                tokio::time::sleep(REFRESH).await;
                // What cannot be read now stays as it was.
                let _ = volumes.refresh(&self.node, &self.pod).await;
            }
        };
        tokio::select! {
            _ = tasks.join_all() => {}
            () = refresh => {}
        }
    }

    /// Waits until the volumes are there, and says in the status what is missing.
    async fn prepared(
        &self,
        volumes: &mut Volumes,
        orders: &watch::Receiver<Order>,
    ) -> Vec<Runner> {
        loop {
            let prepared = match volumes.refresh(&self.node, &self.pod).await {
                Ok(()) => self.runners(volumes, orders),
                Err(error) => Err(error),
            };
            match prepared {
                Ok(runners) => return runners,
                Err(error) => self.states.send_modify(|states| {
                    for state in states {
                        state.phase = Phase::Waiting("CreateContainerError", format!("{error:#}"));
                    }
                }),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    fn runners(
        &self,
        volumes: &Volumes,
        orders: &watch::Receiver<Order>,
    ) -> anyhow::Result<Vec<Runner>> {
        let spec = self.pod.spec.clone().unwrap_or_default();
        if spec
            .init_containers
            .is_some_and(|containers| !containers.is_empty())
        {
            anyhow::bail!("the node does not know init containers");
        }
        let containers = spec.containers.into_iter().enumerate();
        containers
            .map(|(index, container)| {
                Ok(Runner {
                    node: Arc::clone(&self.node),
                    pod: self.pod.clone(),
                    index,
                    name: ContainerName {
                        namespace: self.pod.namespace().unwrap_or_default(),
                        pod: self.pod.name_any(),
                        container: container.name.clone(),
                    },
                    address: self.address,
                    mounts: volumes.mounts(&container)?,
                    states: Arc::clone(&self.states),
                    orders: orders.clone(),
                    container,
                })
            })
            .collect()
    }

    /// Writes the status whenever it changes; ends when the pod is not there any more.
    async fn report(&self) {
        let start = clock::now();
        let mut ready = Ready {
            ready: false,
            since: start,
        };
        let mut states = self.states.subscribe();
        loop {
            let seen = states.borrow_and_update().clone();
            ready = ready.after(&seen, clock::now());
            let address = self.address.to_string();
            let status = status::of(&self.pod, &address, start, ready, &seen);
            while let Err(error) = self.write(&status).await {
                if is_gone(&error) {
                    return;
                }
                tokio::time::sleep(RETRY).await;
            }
            if states.changed().await.is_err() {
                return;
            }
        }
    }

    async fn write(&self, status: &Value) -> Result<(), kube::Error> {
        // With the uid, a new pod of the same name is not taken for this one.
        let patch =
            Patch::Strategic(json!({"metadata": {"uid": self.pod.uid()}, "status": status}));
        let name = self.pod.name_any();
        self.pods
            .patch_status(&name, &PatchParams::default(), &patch)
            .await?;
        Ok(())
    }

    /// Removes the object, now that its processes have ended.
    async fn delete(&self) {
        let params = DeleteParams {
            grace_period_seconds: Some(0),
            preconditions: Some(Preconditions {
                uid: self.pod.uid(),
                ..Preconditions::default()
            }),
            ..DeleteParams::default()
        };
        let name = self.pod.name_any();
        while let Err(error) = self.pods.delete(&name, &params).await {
            if is_gone(&error) {
                return;
            }
            tokio::time::sleep(RETRY).await;
        }
    }
}

/// Whether the pod is not there any more. A conflict is no sign of it; one with a new pod of the same name lasts until the
/// watch says that this one is gone.
fn is_gone(error: &kube::Error) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == 404)
}
