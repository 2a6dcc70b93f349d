//! The pods: processes of this very program, started, found ready, drained and ended as a Deployment and a kubelet
//! would. Only ready pods get requests and are scraped.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use futures_util::future::join_all;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::watch;

use crate::clock;
use crate::hpa;
use crate::model::time::Timestamp;

use super::Pace;
use super::timeline::PodState;

/// The CPU each pod requests, in thousandths of a core. Ample, as people set it: that is why CPU says little of latency.
pub(super) const CPU_REQUEST_MILLI: i64 = 500;

/// How long a pod's start takes after its process is up, in the HPA's time: caches to fill, connections to open.
const STARTUP: Duration = Duration::from_secs(4);

/// How long a pod that was taken out may go on answering what it has, on the wall's clock.
const DRAIN: Duration = Duration::from_secs(2);

/// How long one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// What the sample app does: four workers that wait 40 ms for each request on average, with a heavy tail, and burn
/// one millisecond of CPU. So a pod answers 100 requests a second at most, and then uses a tenth of a core.
const APP: [&str; 8] = [
    "--workers",
    "4",
    "--service-time",
    "40ms",
    "--service-cv",
    "1.0",
    "--cpu-share",
    "0.025",
];

/// The ticks of `/proc/PID/stat`: `USER_HZ`, 100 everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

/// All pods, oldest first.
pub(super) struct Fleet {
    pace: Pace,
    program: Option<PathBuf>,
    redis: Option<SocketAddr>,
    pods: Vec<Pod>,
    named: u32,
    endpoints: watch::Sender<Vec<SocketAddr>>,
}

/// One pod.
pub(super) struct Pod {
    name: String,
    process: Child,
    /// Closing it asks the pod to end.
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    address: Option<SocketAddr>,
    started: Timestamp,
    ready_since: Option<Timestamp>,
    drain_until: Option<Instant>,
}

impl Fleet {
    pub(super) fn new(pace: Pace, redis: Option<SocketAddr>) -> Self {
        let (endpoints, _) = watch::channel(Vec::new());
        Self {
            pace,
            program: std::env::current_exe().ok(),
            redis,
            pods: Vec::new(),
            named: 0,
            endpoints,
        }
    }

    /// The addresses of the ready pods, kept up to date.
    pub(super) fn endpoints(&self) -> watch::Receiver<Vec<SocketAddr>> {
        self.endpoints.subscribe()
    }

    /// Ready pods, which are those to scrape.
    pub(super) fn targets(&self) -> Vec<SocketAddr> {
        self.pods
            .iter()
            .filter(|pod| pod.is_ready())
            .filter_map(|pod| pod.address)
            .collect()
    }

    /// Pods that are not on their way out.
    pub(super) fn replicas(&self) -> u32 {
        self.pods
            .iter()
            .filter(|pod| pod.drain_until.is_none())
            .count() as u32
    }

    pub(super) fn ready(&self) -> u32 {
        self.pods.iter().filter(|pod| pod.is_ready()).count() as u32
    }

    pub(super) fn all_ready(&self) -> bool {
        self.ready() == self.replicas()
    }

    pub(super) fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// Starts or takes out pods until there are `replicas`. The youngest go first, as in a ReplicaSet.
    pub(super) fn scale(&mut self, replicas: u32) -> anyhow::Result<()> {
        while self.replicas() < replicas {
            let pod = self.start()?;
            self.pods.push(pod);
        }
        let surplus = self.replicas().saturating_sub(replicas) as usize;
        let now = clock::instant();
        for pod in self
            .pods
            .iter_mut()
            .rev()
            .filter(|pod| pod.drain_until.is_none())
            .take(surplus)
        {
            pod.drain_until = Some(now + DRAIN);
        }
        self.publish();
        Ok(())
    }

    fn start(&mut self) -> anyhow::Result<Pod> {
        self.named += 1;
        let program = self
            .program
            .as_ref()
            .context("the path of this program, which the pods are started from")?;
        let startup = format!("{}ms", self.pace.wall(STARTUP).as_millis());
        let mut command = Command::new(program);
        command.arg("demo-pod").args(APP).args([
            "--startup-delay",
            &startup,
            "--seed",
            &self.named.to_string(),
        ]);
        if let Some(redis) = self.redis {
            command.args([
                "--redis-host",
                &redis.ip().to_string(),
                "--redis-port",
                &redis.port().to_string(),
            ]);
        }
        let mut process = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting a pod from {}", program.display()))?;
        let stdout = process.stdout.take().context("a pod's standard output")?;
        Ok(Pod {
            name: format!("users-{}", self.named),
            stdin: process.stdin.take(),
            stdout: BufReader::new(stdout).lines(),
            process,
            address: None,
            started: self.pace.now(),
            ready_since: None,
            drain_until: None,
        })
    }

    /// Does what is due: finds pods ready, ends those that have drained. Says what happened.
    pub(super) async fn step(&mut self) -> anyhow::Result<Vec<String>> {
        let mut events = Vec::new();
        let (now, instant) = (self.pace.now(), clock::instant());
        for pod in &mut self.pods {
            if pod.drain_until.is_none()
                && let Some(status) = pod.process.try_wait().context("looking after a pod")?
            {
                bail!("pod {} ended by itself: {status}", pod.name);
            }
            if pod.drain_until.is_some_and(|until| until <= instant) {
                pod.stdin = None;
            }
        }
        // All at once: a pod that hangs must not keep the others from being found ready.
        let starting = self
            .pods
            .iter_mut()
            .filter(|pod| pod.state() == PodState::Starting);
        let probed = join_all(starting.map(|pod| async {
            let ready = pod.probe().await;
            (pod, ready)
        }));
        for (pod, _) in probed.await.into_iter().filter(|(_, ready)| *ready) {
            pod.ready_since = Some(now);
            events.push(format!("{} is ready", pod.name));
        }
        self.pods.retain_mut(|pod| {
            let ended = pod.stdin.is_none() && !matches!(pod.process.try_wait(), Ok(None));
            if ended {
                events.push(format!("{} has ended", pod.name));
            }
            !ended
        });
        self.publish();
        Ok(events)
    }

    fn publish(&self) {
        let targets = self.targets();
        self.endpoints.send_if_modified(|current| {
            let changed = *current != targets;
            *current = targets;
            changed
        });
    }
}

impl Pod {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn state(&self) -> PodState {
        match (self.drain_until, self.ready_since) {
            (Some(_), _) => PodState::Draining,
            (None, Some(_)) => PodState::Ready,
            (None, None) => PodState::Starting,
        }
    }

    fn is_ready(&self) -> bool {
        self.state() == PodState::Ready
    }

    /// The pod as the HPA sees it.
    pub(super) fn observed(&self) -> hpa::Pod {
        let (status, since) = match self.ready_since {
            Some(since) => (hpa::ReadyStatus::True, since),
            None => (hpa::ReadyStatus::False, self.started),
        };
        hpa::Pod {
            name: self.name.clone(),
            phase: hpa::Phase::Running,
            deleted: self.drain_until.is_some(),
            started: Some(self.started),
            readiness: Some(hpa::Readiness { status, since }),
            requests: [("cpu".to_owned(), CPU_REQUEST_MILLI)].into(),
        }
    }

    /// CPU seconds its process has used, as the kubelet would read them. The fields are of proc_pid_stat(5).
    pub(super) fn cpu_s(&self) -> Option<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()?)).ok()?;
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        let ticks = |field: usize| {
            fields
                .get(field - 3)
                .and_then(|text| text.parse::<f64>().ok())
        };
        Some((ticks(14)? + ticks(15)?) / TICKS_PER_SECOND)
    }

    /// Asks the pod whether it is ready; its address is known once it has said it.
    async fn probe(&mut self) -> bool {
        if self.address.is_none() {
            let line = tokio::time::timeout(PROBE_TIMEOUT, self.stdout.next_line()).await;
            self.address = line
                .ok()
                .and_then(Result::ok)
                .flatten()
                .and_then(|line| line.parse().ok());
        }
        let Some(address) = self.address else {
            return false;
        };
        tokio::time::timeout(PROBE_TIMEOUT, is_ready(address))
            .await
            .unwrap_or(false)
    }
}

/// One `GET /readyz`, as a kubelet sends it.
async fn is_ready(address: SocketAddr) -> bool {
    let answer = async {
        let mut stream = TcpStream::connect(address).await?;
        stream
            .write_all(b"GET /readyz HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n")
            .await?;
        let mut head = [0; 12];
        stream.read_exact(&mut head).await?;
        std::io::Result::Ok(head)
    };
    answer.await.is_ok_and(|head| head.ends_with(b" 200"))
}
