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
use crate::hpa::{self, told::surge};
use crate::model::time::Timestamp;

use super::Pace;
use super::timeline::PodState;

/// How long one probe may take.
const PROBE_TIMEOUT: Duration = Duration::from_millis(500);

/// The ticks of `/proc/PID/stat`: `USER_HZ`, 100 everywhere.
const TICKS_PER_SECOND: f64 = 100.0;

/// What a pod is: how its process is started, and what the cluster would be told of it.
#[derive(Clone)]
pub(super) struct Template {
    /// Flags of the sample app.
    pub(super) args: Vec<String>,
    /// Its environment, for what must not stand on a command line.
    pub(super) env: Vec<(&'static str, String)>,
    /// CPU that a pod requests, in thousandths of a core.
    pub(super) cpu_request_milli: i64,
    /// How long a pod that was taken out may go on answering what it has, on the wall's clock.
    pub(super) drain: Duration,
}

/// A version of the pods, as a ReplicaSet is one.
#[derive(Clone)]
struct Revision {
    number: u32,
    template: Template,
}

/// All pods of a service, oldest first, and how many there are to be.
pub(super) struct Fleet {
    pace: Pace,
    program: Option<PathBuf>,
    service: String,
    /// How many there are to be, of either revision.
    spec: u32,
    revision: Revision,
    /// The revision before the last rollout, to which [`undo`](Self::undo) goes back.
    former: Option<Revision>,
    revisions: u32,
    /// Times as slow as their template says, and what else every pod is told, those to come too.
    slowdown: f64,
    orders: String,
    pods: Vec<Pod>,
    named: u32,
    endpoints: watch::Sender<Vec<SocketAddr>>,
}

/// One pod.
pub(super) struct Pod {
    name: String,
    revision: u32,
    cpu_request_milli: i64,
    drain: Duration,
    process: Child,
    /// Closing it asks the pod to end.
    stdin: Option<ChildStdin>,
    stdout: Lines<BufReader<ChildStdout>>,
    /// Times as slow as the others.
    slowdown: f64,
    /// The orders it has.
    told: String,
    address: Option<SocketAddr>,
    started: Timestamp,
    ready_since: Option<Timestamp>,
    drain_until: Option<Instant>,
}

impl Fleet {
    pub(super) fn new(pace: Pace, service: &str, template: Template) -> Self {
        let (endpoints, _) = watch::channel(Vec::new());
        Self {
            pace,
            program: std::env::current_exe().ok(),
            service: service.to_owned(),
            spec: 0,
            revision: Revision {
                number: 1,
                template,
            },
            former: None,
            revisions: 1,
            slowdown: 1.0,
            orders: String::new(),
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
        self.ready_pods().map(|(_, address)| address).collect()
    }

    /// Ready pods by name, with their addresses.
    pub(super) fn ready_pods(&self) -> impl Iterator<Item = (&str, SocketAddr)> {
        self.pods
            .iter()
            .filter(|pod| pod.is_ready())
            .filter_map(|pod| Some((pod.name(), pod.address?)))
    }

    /// How many there are to be: `spec.replicas` of the Deployment.
    pub(super) fn spec(&self) -> u32 {
        self.spec
    }

    /// Pods that are not on their way out.
    pub(super) fn replicas(&self) -> u32 {
        self.count(|_| true)
    }

    pub(super) fn ready(&self) -> u32 {
        self.count(Pod::is_ready)
    }

    pub(super) fn all_ready(&self) -> bool {
        self.ready() == self.replicas()
    }

    pub(super) fn pods(&self) -> &[Pod] {
        &self.pods
    }

    /// From now on there are to be so many. The youngest go first, as in a ReplicaSet.
    pub(super) fn scale(&mut self, replicas: u32) -> anyhow::Result<()> {
        let room = (replicas + surge(replicas)).saturating_sub(self.replicas());
        let grows = self.spec < replicas;
        self.spec = replicas;
        // In the middle of a rollout both revisions grow by their shares, so that a bad one does not get all that is new.
        if let (true, Some(former)) = (grows, self.former.clone()) {
            let (old, all) = (
                self.count(|pod| pod.revision == former.number),
                self.replicas(),
            );
            let share = (f64::from(room) * f64::from(old) / f64::from(all.max(1))).round() as u32;
            self.start(&former, if old == 0 { 0 } else { share })?;
        }
        self.reconcile()
    }

    /// Replaces the pods by those of another template, a few at a time.
    pub(super) fn roll_out(&mut self, template: Template) -> anyhow::Result<()> {
        self.revisions += 1;
        let revision = Revision {
            number: self.revisions,
            template,
        };
        self.former = Some(std::mem::replace(&mut self.revision, revision));
        self.reconcile()
    }

    /// Goes back to the template before the last rollout. Pods of it that are still there stay.
    pub(super) fn undo(&mut self) -> anyhow::Result<()> {
        let former = self.former.take().context("there was no rollout to undo")?;
        self.former = Some(std::mem::replace(&mut self.revision, former));
        self.reconcile()
    }

    /// How slow every pod is to be, and what else it is to be told, one order a line; those that have these orders
    /// already hear nothing.
    pub(super) fn order(&mut self, slowdown: f64, orders: String) {
        (self.slowdown, self.orders) = (slowdown, orders);
    }

    /// Has the first so many ready pods be so much slower than others; with 1 all are as others again.
    pub(super) fn slow_down(&mut self, slowdown: f64, pods: usize) {
        if slowdown == 1.0 {
            self.pods.iter_mut().for_each(|pod| pod.slowdown = 1.0);
            return;
        }
        let serves = |pod: &&mut Pod| pod.state() == PodState::Ready;
        let first = self.pods.iter_mut().filter(serves).take(pods);
        first.for_each(|pod| pod.slowdown = slowdown);
    }

    /// Does what a Deployment's controller does with the default strategy: up to a quarter more pods than there are to
    /// be, rounded up, and never fewer ready ones than three quarters, rounded up.
    fn reconcile(&mut self) -> anyhow::Result<()> {
        let current = self.revision.clone();
        let is_new = |pod: &Pod| pod.revision == current.number;
        let old = self.count(|pod| !is_new(pod));
        let room = if old == 0 { 0 } else { surge(self.spec) };
        let missing = self.spec.saturating_sub(self.count(is_new));
        let allowed = (self.spec + room).saturating_sub(self.replicas());
        self.start(&current, missing.min(allowed))?;
        self.take_out(self.count(is_new).saturating_sub(self.spec), is_new);
        let ready_min = self.spec - self.spec / 4;
        let not_ready_new = self.count(|pod| is_new(pod) && !pod.is_ready());
        let dispensable = self.replicas().saturating_sub(ready_min + not_ready_new);
        // Those that are not ready serve nobody, and go first.
        self.take_out(dispensable, |pod| !is_new(pod) && !pod.is_ready());
        self.take_out(self.ready().saturating_sub(ready_min), |pod| !is_new(pod));
        self.publish();
        Ok(())
    }

    fn count(&self, which: impl Fn(&Pod) -> bool) -> u32 {
        let staying = self.pods.iter().filter(|pod| pod.drain_until.is_none());
        staying.filter(|pod| which(pod)).count() as u32
    }

    fn take_out(&mut self, count: u32, which: impl Fn(&Pod) -> bool) {
        let now = clock::instant();
        let staying = self
            .pods
            .iter_mut()
            .rev()
            .filter(|pod| pod.drain_until.is_none() && which(pod));
        for pod in staying.take(count as usize) {
            pod.drain_until = Some(now + pod.drain);
        }
    }

    fn start(&mut self, revision: &Revision, count: u32) -> anyhow::Result<()> {
        for _ in 0..count {
            let pod = self.start_one(revision)?;
            self.pods.push(pod);
        }
        Ok(())
    }

    fn start_one(&mut self, revision: &Revision) -> anyhow::Result<Pod> {
        self.named += 1;
        let program = self
            .program
            .as_ref()
            .context("the path of this program, which the pods are started from")?;
        let template = &revision.template;
        let mut process = Command::new(program)
            .arg("demo-pod")
            .args(&template.args)
            .args(["--seed", &self.named.to_string()])
            .envs(template.env.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting a pod from {}", program.display()))?;
        let stdout = process.stdout.take().context("a pod's standard output")?;
        Ok(Pod {
            name: format!("{}-{}", self.service, self.named),
            revision: revision.number,
            cpu_request_milli: template.cpu_request_milli,
            drain: template.drain,
            stdin: process.stdin.take(),
            stdout: BufReader::new(stdout).lines(),
            slowdown: 1.0,
            told: String::new(),
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
        let (slowdown, orders) = (self.slowdown, &self.orders);
        join_all(self.pods.iter_mut().map(|pod| {
            let orders = format!("slowdown {}\n{orders}", slowdown * pod.slowdown);
            async move { pod.tell(&orders).await }
        }))
        .await;
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
        self.reconcile()?;
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

    pub(super) fn cpu_request_milli(&self) -> i64 {
        self.cpu_request_milli
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
            requests: [("cpu".to_owned(), self.cpu_request_milli)].into(),
            container_requests: [].into(),
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

    /// Gives the pod its orders, once. What it cannot be told now it is told at the next step.
    async fn tell(&mut self, orders: &str) {
        let Some(stdin) = self.stdin.as_mut().filter(|_| self.told != orders) else {
            return;
        };
        let told = async {
            stdin.write_all(orders.as_bytes()).await?;
            stdin.flush().await
        };
        if let Ok(Ok(())) = tokio::time::timeout(PROBE_TIMEOUT, told).await {
            orders.clone_into(&mut self.told);
        }
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
