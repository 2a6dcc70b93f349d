//! What a test is given: the cluster with its clients, its processes, and namespaces of the test's own.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::Client;
use kube::api::{Api, DeleteParams, PostParams};
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinSet;

use super::control_plane::{self, ControlPlane, HpaSettings};
use super::kubectl::{Kubeconfig, Kubectl};
use super::kubelet::{ContainerName, Kubelet, Node};
use super::pki::{self, Identity, Pki};
use super::{resource_metrics, sandbox, wait};

/// Until the controllers have given a new namespace its service account.
const NAMESPACE_TIME_MAX: Duration = Duration::from_secs(30);

/// Until the pods of a deleted namespace have ended, whose requests under way have a grace of 30 s by default.
const PODS_GONE_TIME_MAX: Duration = Duration::from_secs(60);

/// The running cluster as one test has it: what runs is shared, and the namespaces are the test's own.
pub(crate) struct Cluster {
    shared: Arc<Shared>,
    /// Those that the test made and that are not gone yet.
    namespaces: Mutex<Vec<String>>,
}

/// What runs.
struct Shared {
    bin_dir: PathBuf,
    dir: PathBuf,
    pki: Arc<Pki>,
    admin: Client,
    kubectl: Kubectl,
    control_plane: Mutex<ControlPlane>,
    node: Arc<Node>,
    kubelet: Mutex<Kubelet>,
    resource_metrics: Mutex<JoinSet<()>>,
    /// Counts namespaces and kubeconfig files, so that none is used twice.
    made: AtomicUsize,
}

impl Cluster {
    /// Starts it with its files in `dir`.
    pub(crate) async fn start(bin_dir: &Path, dir: &Path) -> anyhow::Result<Self> {
        let pki = Arc::new(Pki::new()?);
        let identity = pki
            .cluster
            .sign(&pki::client("admin", Some("system:masters")))?;
        let kubeconfig = Kubeconfig::new(&pki, &identity);
        let admin = kubeconfig.client().await?;
        let kubectl = Kubectl::new(bin_dir, dir.join("admin.kubeconfig"), &kubeconfig)?;
        let control_plane = ControlPlane::start(bin_dir, dir, &pki, admin.clone()).await?;
        let logs_dir = control_plane::logs_dir(dir);
        let volumes = dir.join("pods");
        let kubelet = Kubelet::start(admin.clone(), volumes, logs_dir, sandbox::programs_dir());
        let kubelet = kubelet.await?;
        let node = Arc::clone(kubelet.node());
        let resource_metrics = resource_metrics::start(&node, &pki, &kubectl).await?;
        let shared = Shared {
            bin_dir: bin_dir.to_owned(),
            dir: dir.to_owned(),
            pki,
            admin,
            kubectl,
            control_plane: Mutex::new(control_plane),
            node,
            kubelet: Mutex::new(kubelet),
            resource_metrics: Mutex::new(resource_metrics),
            made: AtomicUsize::new(0),
        };
        Ok(Self {
            shared: Arc::new(shared),
            namespaces: Mutex::default(),
        })
    }

    /// The same cluster for another test.
    pub(crate) fn for_test(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            namespaces: Mutex::default(),
        }
    }

    /// The API, as somebody who may do everything.
    pub(crate) fn admin(&self) -> Client {
        self.shared.admin.clone()
    }

    /// kubectl, as somebody who may do everything.
    pub(crate) fn kubectl(&self) -> &Kubectl {
        &self.shared.kubectl
    }

    /// The API, as a user with the rights that RBAC gives it.
    pub(crate) async fn client_as(
        &self,
        user: &str,
        group: Option<&str>,
    ) -> anyhow::Result<Client> {
        self.kubeconfig_of(user, group)?.client().await
    }

    /// The API, as whoever has this certificate.
    pub(crate) async fn client_with(&self, identity: &Identity) -> anyhow::Result<Client> {
        Kubeconfig::new(&self.shared.pki, identity).client().await
    }

    /// kubectl, as a user with the rights that RBAC gives it.
    pub(crate) fn kubectl_as(&self, user: &str, group: Option<&str>) -> anyhow::Result<Kubectl> {
        let file = self
            .shared
            .dir
            .join(format!("user-{}.kubeconfig", self.next()));
        Kubectl::new(
            &self.shared.bin_dir,
            file,
            &self.kubeconfig_of(user, group)?,
        )
    }

    /// The authorities, for certificates good and bad.
    pub(crate) fn pki(&self) -> &Pki {
        &self.shared.pki
    }

    /// A namespace of the test's own, which is deleted after it. `purpose` is part of its name.
    pub(crate) async fn namespace(&self, purpose: &str) -> anyhow::Result<String> {
        let name = format!("{purpose}-{}", self.next());
        let namespace = serde_json::from_value(json!({"metadata": {"name": name}}))?;
        Api::<Namespace>::all(self.admin())
            .create(&PostParams::default(), &namespace)
            .await
            .with_context(|| format!("creating namespace {name}"))?;
        self.namespaces.lock().await.push(name.clone());
        let accounts = Api::<ServiceAccount>::namespaced(self.admin(), &name);
        wait::until("a service account", NAMESPACE_TIME_MAX, async || {
            Ok(accounts.get("default").await?)
        })
        .await?;
        Ok(name)
    }

    /// Kills the API server, until [`Self::start_api_server`].
    pub(crate) async fn stop_api_server(&self) -> anyhow::Result<()> {
        self.shared
            .control_plane
            .lock()
            .await
            .stop_api_server()
            .await
    }

    /// Starts the API server after [`Self::stop_api_server`], and waits until it is ready.
    pub(crate) async fn start_api_server(&self) -> anyhow::Result<()> {
        self.shared
            .control_plane
            .lock()
            .await
            .start_api_server()
            .await
    }

    /// Starts the controllers anew; after the test they get their default settings back.
    pub(crate) async fn restart_controllers(&self, hpa: HpaSettings) -> anyhow::Result<()> {
        let mut control_plane = self.shared.control_plane.lock().await;
        control_plane.restart_controllers(hpa).await
    }

    /// The ids of etcd, the API server and the controllers, in this order.
    pub(crate) async fn control_plane_ids(&self) -> [Option<u32>; 3] {
        self.shared.control_plane.lock().await.ids()
    }

    /// The processes of a namespace's containers, by container.
    pub(crate) fn processes(&self, namespace: &str) -> BTreeMap<ContainerName, u32> {
        let mut processes = self.shared.node.processes().clone();
        processes.retain(|name, _| name.namespace == namespace);
        processes
    }

    /// What a container has written so far, over all its starts; empty before the first.
    pub(crate) fn log(&self, namespace: &str, pod: &str, container: &str) -> String {
        let name = ContainerName {
            namespace: namespace.to_owned(),
            pod: pod.to_owned(),
            container: container.to_owned(),
        };
        std::fs::read_to_string(self.shared.node.log(&name)).unwrap_or_default()
    }

    /// Where all logs are.
    pub(crate) fn logs_dir(&self) -> PathBuf {
        control_plane::logs_dir(&self.shared.dir)
    }

    /// Deletes what a test made, undoes what it changed, and says if it left the cluster broken.
    pub(crate) async fn tidy(&self) -> anyhow::Result<()> {
        self.shared.control_plane.lock().await.restore().await?;
        let made = std::mem::take(&mut *self.namespaces.lock().await);
        let namespaces = Api::<Namespace>::all(self.admin());
        for name in &made {
            // A test may have deleted its own.
            if namespaces.get_opt(name).await?.is_some() {
                namespaces.delete(name, &DeleteParams::default()).await?;
            }
        }
        // The objects may take longer; only processes would disturb the next test.
        wait::until("pods to end", PODS_GONE_TIME_MAX, async || {
            let left: Vec<_> = made.iter().map(|name| self.processes(name)).collect();
            anyhow::ensure!(left.iter().all(BTreeMap::is_empty), "running: {left:?}");
            Ok(())
        })
        .await
    }

    /// Ends every process.
    pub(crate) async fn stop(&self) {
        self.shared.resource_metrics.lock().await.shutdown().await;
        self.shared.kubelet.lock().await.stop().await;
        self.shared.control_plane.lock().await.stop().await;
    }

    fn kubeconfig_of(&self, user: &str, group: Option<&str>) -> anyhow::Result<Kubeconfig> {
        let identity = self.shared.pki.cluster.sign(&pki::client(user, group))?;
        Ok(Kubeconfig::new(&self.shared.pki, &identity))
    }

    fn next(&self) -> usize {
        self.shared.made.fetch_add(1, Ordering::Relaxed)
    }
}
