//! etcd, kube-apiserver and kube-controller-manager as processes on the node's address, as a cluster of one node has them:
//! RBAC on, aggregation on, and only those controllers that the tests need. It knows nothing of pods.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::Request;
use kube::Client;
use tokio::process::Command;

use super::kubectl::Kubeconfig;
use super::pki::{self, Pki};
use super::process::Process;
use super::sandbox::NODE_ADDRESS;
use super::wait;

/// The API server's port.
pub(crate) const API_PORT: u16 = 6443;

/// etcd's address. It needs no TLS: the network is our own.
const ETCD: &str = "http://127.0.0.1:2379";

/// Until the API server answers; it takes 5 to 10 seconds on two cores that do nothing else.
const READY_TIME_MAX: Duration = Duration::from_secs(120);

/// The time each process has to end in order. No request is worth waiting longer for.
const STOP_GRACE: Duration = Duration::from_secs(5);

/// Those controllers that the tests need; each more costs memory and requests.
const CONTROLLERS: &str = "clusterrole-aggregation-controller,deployment-controller,disruption-controller,\
    endpointslice-controller,garbage-collector-controller,horizontal-pod-autoscaler-controller,job-controller,\
    namespace-controller,replicaset-controller,root-ca-certificate-publisher-controller,serviceaccount-controller,\
    statefulset-controller";

/// How the HPA controller behaves: fast enough for a test, where a cluster's defaults take minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct HpaSettings {
    /// Between two looks at each HPA; 15 s by default in a cluster.
    pub(crate) sync_period: Duration,
    /// How long the highest recommendation is kept; 5 min by default, and an HPA's `behavior` has its own.
    pub(crate) downscale_stabilization: Duration,
    /// How long after a pod's start its CPU counts only when the pod is Ready; 5 min by default.
    pub(crate) cpu_initialization_period: Duration,
    /// How long after a pod's start a change to Ready is still its first; 30 s by default.
    pub(crate) initial_readiness_delay: Duration,
}

impl Default for HpaSettings {
    fn default() -> Self {
        Self {
            sync_period: Duration::from_secs(2),
            downscale_stabilization: Duration::from_secs(5),
            cpu_initialization_period: Duration::from_secs(10),
            initial_readiness_delay: Duration::from_secs(5),
        }
    }
}

/// The running control plane.
pub(crate) struct ControlPlane {
    bin_dir: PathBuf,
    dir: PathBuf,
    admin: Client,
    etcd: Process,
    api_server: Process,
    /// Whether a test has stopped the API server.
    is_stopped: bool,
    controllers: Process,
    hpa: HpaSettings,
}

impl ControlPlane {
    /// Starts all of it, with its files in `dir`, and waits until the API server is ready.
    pub(crate) async fn start(
        bin_dir: &Path,
        dir: &Path,
        pki: &Arc<Pki>,
        admin: Client,
    ) -> anyhow::Result<Self> {
        write_files(dir, pki)?;
        let etcd = start_etcd(bin_dir, dir)?;
        let mut api_server = start_api_server(bin_dir, dir)?;
        wait_ready(&mut api_server, &admin).await?;
        let hpa = HpaSettings::default();
        let controllers = start_controllers(bin_dir, dir, hpa)?;
        Ok(Self {
            bin_dir: bin_dir.to_owned(),
            dir: dir.to_owned(),
            admin,
            etcd,
            api_server,
            is_stopped: false,
            controllers,
            hpa,
        })
    }

    /// Kills the API server, as a crash does, and leaves it so.
    pub(crate) async fn stop_api_server(&mut self) -> anyhow::Result<()> {
        self.is_stopped = true;
        self.api_server.kill().await?;
        Ok(())
    }

    /// Starts an API server that was stopped, on the same address and data, and waits until it is ready.
    pub(crate) async fn start_api_server(&mut self) -> anyhow::Result<()> {
        self.api_server = start_api_server(&self.bin_dir, &self.dir)?;
        self.is_stopped = false;
        wait_ready(&mut self.api_server, &self.admin).await
    }

    /// Starts the controllers anew, with other settings of the HPA controller.
    pub(crate) async fn restart_controllers(&mut self, hpa: HpaSettings) -> anyhow::Result<()> {
        self.controllers.stop(STOP_GRACE).await?;
        self.controllers = start_controllers(&self.bin_dir, &self.dir, hpa)?;
        self.hpa = hpa;
        Ok(())
    }

    /// Undoes what a test has changed. An error when a process has ended that should run.
    pub(crate) async fn restore(&mut self) -> anyhow::Result<()> {
        self.etcd.check()?;
        self.controllers.check()?;
        if self.is_stopped {
            self.start_api_server().await?;
        }
        self.api_server.check()?;
        if self.hpa != HpaSettings::default() {
            self.restart_controllers(HpaSettings::default()).await?;
        }
        Ok(())
    }

    /// Ends all of it; what does not end in time is killed.
    pub(crate) async fn stop(&mut self) {
        for process in [&mut self.controllers, &mut self.api_server, &mut self.etcd] {
            // Nothing can be done about one that does not even die; the namespace's end takes it along.
            let _ = process.stop(STOP_GRACE).await;
        }
    }

    /// The ids of etcd, the API server and the controllers, in this order.
    pub(crate) fn ids(&self) -> [Option<u32>; 3] {
        [&self.etcd, &self.api_server, &self.controllers].map(Process::id)
    }
}

/// Where the processes' logs lie.
pub(crate) fn logs_dir(dir: &Path) -> PathBuf {
    dir.join("logs")
}

/// Writes the keys and certificates that the processes read.
fn write_files(dir: &Path, pki: &Pki) -> anyhow::Result<()> {
    let api_server = pki.cluster.sign(&pki::server(&[
        NODE_ADDRESS,
        "kubernetes.default.svc",
        "localhost",
    ])?)?;
    let front_proxy = pki.front_proxy.sign(&pki::client(pki::FRONT_PROXY, None))?;
    let controllers = pki
        .cluster
        .sign(&pki::client("system:kube-controller-manager", None))?;
    let files = [
        ("ca.crt", pki.cluster.pem().to_owned()),
        ("front-proxy-ca.crt", pki.front_proxy.pem().to_owned()),
        ("api-server.crt", api_server.certificate),
        ("api-server.key", api_server.key),
        ("front-proxy.crt", front_proxy.certificate),
        ("front-proxy.key", front_proxy.key),
        ("tokens.key", pki.service_accounts.serialize_pem()),
        ("tokens.pub", pki.service_accounts.public_key_pem()),
        (
            "controllers.kubeconfig",
            Kubeconfig::new(pki, &controllers).to_text(),
        ),
    ];
    std::fs::create_dir_all(logs_dir(dir)).context("making a directory for logs")?;
    for (name, text) in files {
        std::fs::write(dir.join(name), text).with_context(|| format!("writing {name}"))?;
    }
    Ok(())
}

fn start_etcd(bin_dir: &Path, dir: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new(bin_dir.join("etcd"));
    command
        .arg(flag("data-dir", dir.join("etcd").display()))
        .arg(flag("listen-client-urls", ETCD))
        .arg(flag("advertise-client-urls", ETCD))
        .arg(flag("listen-peer-urls", "http://127.0.0.1:2380"))
        // A test's data need not outlive the machine's crash.
        .arg("--unsafe-no-fsync")
        .arg("--log-level=warn");
    start("etcd", command, dir)
}

fn start_api_server(bin_dir: &Path, dir: &Path) -> anyhow::Result<Process> {
    let file = |name: &str| dir.join(name).display().to_string();
    let mut command = Command::new(bin_dir.join("kube-apiserver"));
    command
        .arg(flag("etcd-servers", ETCD))
        .arg(flag("bind-address", NODE_ADDRESS))
        .arg(flag("advertise-address", NODE_ADDRESS))
        .arg(flag("secure-port", API_PORT))
        // Nothing routes these addresses: pods are reached by their own.
        .arg("--service-cluster-ip-range=10.201.0.0/16")
        .arg("--authorization-mode=Node,RBAC")
        .arg(flag("tls-cert-file", file("api-server.crt")))
        .arg(flag("tls-private-key-file", file("api-server.key")))
        .arg(flag("client-ca-file", file("ca.crt")))
        .arg("--service-account-issuer=https://kubernetes.default.svc")
        .arg(flag("service-account-key-file", file("tokens.pub")))
        .arg(flag("service-account-signing-key-file", file("tokens.key")))
        .arg(flag(
            "requestheader-client-ca-file",
            file("front-proxy-ca.crt"),
        ))
        .arg(flag("requestheader-allowed-names", pki::FRONT_PROXY))
        .arg("--requestheader-username-headers=X-Remote-User")
        .arg("--requestheader-uid-headers=X-Remote-Uid")
        .arg("--requestheader-group-headers=X-Remote-Group")
        .arg("--requestheader-extra-headers-prefix=X-Remote-Extra-")
        .arg(flag("proxy-client-cert-file", file("front-proxy.crt")))
        .arg(flag("proxy-client-key-file", file("front-proxy.key")))
        .arg("--enable-aggregator-routing=true")
        .arg("--profiling=false");
    start("kube-apiserver", command, dir)
}

fn start_controllers(bin_dir: &Path, dir: &Path, hpa: HpaSettings) -> anyhow::Result<Process> {
    let file = |name: &str| dir.join(name).display().to_string();
    let seconds = |name: &str, time: Duration| {
        flag(
            &format!("horizontal-pod-autoscaler-{name}"),
            format!("{}ms", time.as_millis()),
        )
    };
    let mut command = Command::new(bin_dir.join("kube-controller-manager"));
    command
        .arg(flag("kubeconfig", file("controllers.kubeconfig")))
        .arg(flag("controllers", CONTROLLERS))
        .arg("--use-service-account-credentials=true")
        .arg(flag("root-ca-file", file("ca.crt")))
        .arg("--leader-elect=false")
        .arg("--bind-address=127.0.0.1")
        // A limit on its own requests only slows the tests.
        .arg("--kube-api-qps=200")
        .arg("--kube-api-burst=400")
        .arg("--profiling=false")
        .arg(seconds("sync-period", hpa.sync_period))
        .arg(seconds(
            "downscale-stabilization",
            hpa.downscale_stabilization,
        ))
        .arg(seconds(
            "cpu-initialization-period",
            hpa.cpu_initialization_period,
        ))
        .arg(seconds(
            "initial-readiness-delay",
            hpa.initial_readiness_delay,
        ));
    start("kube-controller-manager", command, dir)
}

fn start(name: &str, mut command: Command, dir: &Path) -> anyhow::Result<Process> {
    // Some programs write to where they are started.
    command.current_dir(dir);
    Process::start(name, command, &logs_dir(dir).join(format!("{name}.log")))
}

fn flag(name: &str, value: impl Display) -> String {
    format!("--{name}={value}")
}

async fn wait_ready(api_server: &mut Process, admin: &Client) -> anyhow::Result<()> {
    let ready = wait::until("the API server to be ready", READY_TIME_MAX, async || {
        if let Err(ended) = api_server.check() {
            return Ok(Err(ended));
        }
        let request = Request::get("/readyz")
            .body(Vec::new())
            .context("asking whether it is ready")?;
        admin.request_text(request).await?;
        Ok(Ok(()))
    });
    ready.await?
}
