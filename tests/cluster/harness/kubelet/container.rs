//! One container: its process from start to end, its probes, and its restarts. It tells what it sees through [`State`] and
//! never speaks to the API server itself.

use std::net::Ipv4Addr;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use k8s_openapi::api::core::v1::{Container, Pod};
use taffrail::clock;
use taffrail::model::time::Timestamp;
use tokio::process::Command;
use tokio::sync::watch;

use super::environment::{self, Start};
use super::probe::{self, Target};
use super::{ContainerName, Node};
use crate::harness::process::Process;

/// Between two attempts to resolve what a container refers to, or to restart it: a kubelet's 10 s would only delay tests.
const RETRY: Duration = Duration::from_secs(1);

/// The longest pause between restarts, doubled from [`RETRY`]; a kubelet's is 5 min.
const RESTART_PAUSE_MAX: Duration = Duration::from_secs(8);

/// Mounts a fresh /run and into it, or onto what is there, a pod's volumes; then becomes the program. For a volume below
/// /etc that becomes a directory of links to the machine's own, in which directories can be made.
const MOUNT_AND_RUN: &str = r#"
mount -t tmpfs tmpfs /run || exit 125
while [ "$1" != -- ]; do
  case $2 in /etc/*)
    if [ ! -e /run/etc ]; then
      mkdir /run/etc && mount --bind /etc /run/etc && mount -t tmpfs tmpfs /etc && ln -s /run/etc/* /etc/ || exit 125
    fi
  esac
  mkdir -p "$2" && mount --bind "$1" "$2" || exit 125
  shift 2
done
shift
exec "$@"
"#;

/// What is to be seen of a container.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct State {
    /// Whether it runs, ran, or waits.
    pub(super) phase: Phase,
    /// How it ended the last time.
    pub(super) last_end: Option<End>,
    /// Whether its startup probe has succeeded.
    pub(super) started: bool,
    /// Whether its readiness probe says so.
    pub(super) ready: bool,
    /// Starts after the first.
    pub(super) restarts: u32,
}

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Phase {
    /// Not running now, with a reason and a message.
    Waiting(&'static str, String),
    /// Running since.
    Running(Timestamp),
    /// Never to run again.
    Ended(End),
}

impl Default for Phase {
    fn default() -> Self {
        Self::Waiting("ContainerCreating", String::new())
    }
}

/// How a process ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct End {
    pub(super) code: i32,
    pub(super) signal: Option<i32>,
    pub(super) started: Timestamp,
    pub(super) finished: Timestamp,
}

/// The states of a pod's containers, in the order of its spec.
pub(super) type States = Arc<watch::Sender<Vec<State>>>;

/// What a container is asked to do; it ends when told to, at the latest after the grace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Run,
    EndWithin(Duration),
}

/// One container of a pod.
pub(super) struct Runner {
    pub(super) node: Arc<Node>,
    pub(super) pod: Pod,
    pub(super) container: Container,
    pub(super) index: usize,
    pub(super) name: ContainerName,
    pub(super) address: Ipv4Addr,
    /// What is mounted, and where.
    pub(super) mounts: Vec<(PathBuf, String)>,
    pub(super) states: States,
    pub(super) orders: watch::Receiver<Order>,
}

impl Runner {
    /// Runs the container until it is told to end or its policy has it ended.
    pub(super) async fn run(mut self) {
        let mut orders = self.orders.clone();
        let ordered = async move {
            // An error means that the pod is gone, and this with it.
            let _ = orders.wait_for(|order| *order != Order::Run).await;
        };
        tokio::pin!(ordered);
        let mut pause = RETRY;
        loop {
            let start = tokio::select! {
                start = self.resolved() => start,
                () = &mut ordered => return self.end_unstarted(),
            };
            let end = self.run_once(start).await;
            let told = *self.orders.borrow() != Order::Run;
            if told || !self.restarts_after(end.as_ref()) {
                return self.ended(end);
            }
            self.change(|state| {
                state.phase = Phase::Waiting("CrashLoopBackOff", format!("restarted in {pause:?}"));
                state.last_end = end;
                state.restarts += 1;
            });
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = &mut ordered => return self.end_unstarted(),
            }
            pause = (2 * pause).min(RESTART_PAUSE_MAX);
        }
    }

    /// Waits for what the container refers to.
    async fn resolved(&self) -> Start {
        loop {
            let (pod, container) = (&self.pod, &self.container);
            match environment::resolve(&self.node, pod, container, self.address).await {
                Ok(start) => return start,
                Err(error) => self.change(|state| {
                    state.phase =
                        Phase::Waiting("CreateContainerConfigError", format!("{error:#}"));
                }),
            }
            tokio::time::sleep(RETRY).await;
        }
    }

    /// From the start of the process to its end; `None` when it could not be started.
    async fn run_once(&mut self, start: Start) -> Option<End> {
        let log = self.node.log(&self.name);
        let name = format!("container {}", self.name.container);
        let mut process = Process::start(&name, self.command(start), &log).ok()?;
        let started = clock::now();
        if let Some(id) = process.id() {
            self.node.processes().insert(self.name.clone(), id);
        }
        self.change(|state| state.phase = Phase::Running(started));
        let status = self.until_end(&mut process).await;
        self.node.processes().remove(&self.name);
        self.change(|state| (state.ready, state.started) = (false, false));
        Some(End::of(status.ok()?, started))
    }

    /// Probes the process until it ends, by itself, as ordered, or because a probe says that it is unhealthy.
    async fn until_end(&mut self, process: &mut Process) -> anyhow::Result<ExitStatus> {
        let mut orders = self.orders.clone();
        // Fused, since they may have ended the container and then are looked at once more.
        let probes = self.probe().fuse();
        tokio::pin!(probes);
        let grace = tokio::select! {
            status = process.wait() => return status,
            () = &mut probes => self.grace(),
            Ok(order) = orders.wait_for(|order| *order != Order::Run) => match *order {
                Order::EndWithin(grace) => grace,
                Order::Run => self.grace(),
            },
        };
        // Probes go on meanwhile: until it ends, whether it is ready is what its probe says.
        let end = async {
            let start = clock::instant();
            if let Some(pause) = self.pause_before_end() {
                tokio::time::sleep(pause.min(grace)).await;
            }
            process.stop(grace.saturating_sub(start.elapsed())).await
        };
        tokio::pin!(end);
        tokio::select! {
            status = &mut end => status,
            () = &mut probes => end.await,
        }
    }

    /// Probes until the container is unhealthy.
    async fn probe(&self) {
        let target = Target {
            address: self.address,
            container: &self.container,
        };
        if let Some(startup) = &self.container.startup_probe {
            let mut healthy = true;
            probe::watch(startup, &target, |verdict| {
                healthy = verdict.is_ok();
                false
            })
            .await;
            if !healthy {
                return;
            }
        }
        let readiness = self.container.readiness_probe.as_ref();
        self.change(|state| (state.started, state.ready) = (true, readiness.is_none()));
        let ready = async {
            if let Some(probe) = readiness {
                let verdict = |verdict: anyhow::Result<()>| {
                    self.change(|state| state.ready = verdict.is_ok());
                    true
                };
                probe::watch(probe, &target, verdict).await;
            }
            std::future::pending::<()>().await;
        };
        let alive = async {
            match &self.container.liveness_probe {
                Some(probe) => probe::watch(probe, &target, |verdict| verdict.is_ok()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ready => {}
            () = alive => {}
        }
    }

    fn command(&self, start: Start) -> Command {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", MOUNT_AND_RUN, "sh"]);
        for (from, to) in &self.mounts {
            command.arg(from).arg(to);
        }
        command
            .arg("--")
            .arg(start.program)
            .args(start.args)
            .env_clear()
            .envs(start.environment);
        if let Some(dir) = &self.container.working_dir {
            command.current_dir(dir);
        }
        command
    }

    /// How long the container wants to wait before it is asked to end.
    fn pause_before_end(&self) -> Option<Duration> {
        let hook = self.container.lifecycle.as_ref()?.pre_stop.as_ref()?;
        let seconds = hook.sleep.as_ref()?.seconds;
        Some(Duration::from_secs(u64::try_from(seconds).ok()?))
    }

    fn grace(&self) -> Duration {
        let spec = self.pod.spec.as_ref();
        let seconds = spec.and_then(|spec| spec.termination_grace_period_seconds);
        let seconds = seconds.and_then(|seconds| u64::try_from(seconds).ok());
        Duration::from_secs(seconds.unwrap_or(30))
    }

    fn restarts_after(&self, end: Option<&End>) -> bool {
        let policy = self
            .pod
            .spec
            .as_ref()
            .and_then(|spec| spec.restart_policy.as_deref());
        match policy {
            Some("Never") => false,
            Some("OnFailure") => end.is_none_or(|end| end.code != 0),
            _ => true,
        }
    }

    fn end_unstarted(&self) {
        self.ended(None);
    }

    fn ended(&self, end: Option<End>) {
        self.change(|state| {
            let end = end.or(state.last_end.take());
            state.phase = Phase::Ended(end.unwrap_or_else(End::unstarted));
        });
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        self.states.send_if_modified(|states| {
            let state = &mut states[self.index];
            let before = state.clone();
            change(state);
            *state != before
        });
    }
}

impl End {
    fn of(status: ExitStatus, started: Timestamp) -> Self {
        // As shells and runtimes have it, a signal's number comes above 128.
        let code = status.code().or(status.signal().map(|signal| 128 + signal));
        Self {
            code: code.unwrap_or_default(),
            signal: status.signal(),
            started,
            finished: clock::now(),
        }
    }

    /// Of a container that never ran.
    fn unstarted() -> Self {
        let now = clock::now();
        Self {
            code: 137,
            signal: None,
            started: now,
            finished: now,
        }
    }
}

impl Drop for Runner {
    /// The task may be dropped while its process runs, which then is killed.
    fn drop(&mut self) {
        self.node.processes().remove(&self.name);
    }
}
