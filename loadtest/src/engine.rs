//! A run: sends each request at its moment whether or not earlier ones were answered, over connections that it owns, to
//! endpoints that may come and go meanwhile; or, told so, lets each of a number of users ask again when answered. Latency
//! counts from the moment a request should have started. It does not judge what it measures.
//!
//! ```text
//! one schedule --> thread k of n takes every n-th request ----> its connections, by endpoint
//!                  (one async runtime each, nothing shared)     its recorder -- once a second --> gathered
//! ```

mod connection;
mod core;
mod endpoints;
mod gather;
mod pacer;
mod request;
pub mod resolve;
mod tls;

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread::{self, JoinHandle, available_parallelism};
use std::time::Duration;

use http::{HeaderValue, StatusCode, Uri};
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::{CancellationToken, DropGuard};

use self::core::{Assignment, Told};
use self::gather::Gathering;
use self::pacer::Alarm;
pub use self::request::{Path, RequestKind, Template};
pub use self::tls::{Error as TlsError, Tls};
use crate::arrivals::Arrivals;
use crate::arrivals::plan::{Plan, Schedule};
use crate::clock;
use crate::measured::recorder::Recorder;
use crate::measured::{Measured, Progress, SoFar};
use crate::scenario::{HttpVersion, OnEndpointAdd, Pacing};

/// Requests per second that a thread is given before there is another: an eighth of what one can send, so that a burst
/// or a slow machine does not make requests late.
const RATE_PER_THREAD: f64 = 5_000.0;

/// What is sent, and within which bounds. Bounds hold for all threads together: each has its share of them.
#[derive(Debug, Clone)]
pub struct Config {
    /// The value of the `Host` header, or what stands for it in HTTP/2.
    pub host: HeaderValue,
    /// The kinds of requests; at least one.
    pub requests: Vec<RequestKind>,
    /// Statuses of good answers; empty means all below 400.
    pub expect: Vec<StatusCode>,
    /// The protocol's version; without TLS, HTTP/2 is spoken because the server is known to.
    pub version: HttpVersion,
    /// Whom to trust where connections are encrypted.
    pub tls: Option<Tls>,
    /// How long a request may take, from the moment it should have started.
    pub timeout: Duration,
    /// How long requests under way may take when the load has ended.
    pub graceful_stop: Duration,
    /// Requests in flight at most; above it they are dropped, and counted. Users of a closed loop always send theirs.
    pub max_in_flight: usize,
    /// Connections to one endpoint at most; requests above it wait their turn, which counts into their latency.
    pub connections_per_endpoint: usize,
    /// Idle connections kept to one endpoint at most.
    pub idle_per_endpoint: usize,
    /// Connections opened to an endpoint before the first request.
    pub preconnect: usize,
    /// How old a connection gets.
    pub max_age: Option<Duration>,
    /// Share of `max_age` by which each connection's own age varies, to either side; within 0 and 1.
    pub max_age_jitter: f64,
    /// Requests that a connection is used for; 0 is any number.
    pub max_requests: u64,
    /// What a new endpoint means for the connections there are.
    pub on_endpoint_add: OnEndpointAdd,
    /// How exactly requests start at their moment.
    pub pacing: Pacing,
    /// Seed of all that is drawn: kinds of requests, ages of connections.
    pub seed: u64,
    /// Threads that send; without it as many as the rate needs, and at most one per core.
    pub threads: Option<NonZeroUsize>,
    /// How many seconds of the record pass in one second of the wall's: above 1 where the whole system runs faster than
    /// it will be told of. Only where things are on the record's clock changes; latencies are what they were.
    pub pace: f64,
    /// Whether what is known [so far](Engine::with_so_far) has each second, too. It is copied every second.
    pub tell_seconds: bool,
}

/// When requests start: at moments that are known before, whatever becomes of the others; whenever one of a number of
/// users was answered; or both at once, as where a service has a load of either kind.
#[derive(Debug, Clone, Default)]
pub struct Load {
    arrivals: Option<Arrivals>,
    users: Vec<Users>,
}

/// Users who ask again when they are answered, from the beginning to the end.
#[derive(Debug, Clone, Copy)]
struct Users {
    count: usize,
    begin: Duration,
    end: Duration,
}

/// An engine that is ready to run once.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    progress: Option<mpsc::Sender<Progress>>,
    so_far: Option<watch::Sender<SoFar>>,
    unreachable: Arc<Notify>,
}

/// An engine whose connections are open and whose threads wait for the clock to start. Dropping it ends them.
#[derive(Debug)]
pub struct Ready {
    config: Arc<Config>,
    load: Load,
    threads: Vec<JoinHandle<()>>,
    alarms: Vec<Arc<Notify>>,
    begin: watch::Sender<Option<Instant>>,
    told: mpsc::UnboundedReceiver<(usize, Told)>,
    gathering: Gathering,
    cancel: CancellationToken,
    given_up: CancellationToken,
    _ends_with_this: DropGuard,
}

/// Which part of everything a thread has.
#[derive(Debug, Clone, Copy)]
struct Share {
    index: usize,
    of: usize,
}

impl Config {
    /// `GET path` for `host`, with bounds that fit a test on one machine.
    #[must_use]
    pub fn new(host: HeaderValue, path: Uri) -> Self {
        Self {
            host,
            requests: vec![RequestKind::get(path.into())],
            expect: Vec::new(),
            version: HttpVersion::Http1,
            tls: None,
            timeout: Duration::from_secs(10),
            graceful_stop: Duration::from_secs(30),
            max_in_flight: 10_000,
            // A process may often have 1,024 open files; this leaves room for several endpoints.
            connections_per_endpoint: 128,
            idle_per_endpoint: 32,
            preconnect: 4,
            max_age: None,
            max_age_jitter: 0.0,
            max_requests: 0,
            on_endpoint_add: OnEndpointAdd::Rebalance,
            pacing: Pacing::Millisecond,
            seed: 0,
            threads: None,
            pace: 1.0,
            tell_seconds: false,
        }
    }

    /// A moment of the run, on the record's clock.
    fn told(&self, moment: Duration) -> Duration {
        moment.mul_f64(self.pace)
    }

    /// The same the other way round.
    fn wall(&self, told: Duration) -> Duration {
        told.div_f64(self.pace)
    }

    /// How many threads send `load`. Each needs something of every bound.
    fn threads_for(&self, load: &Load) -> usize {
        let cores = || available_parallelism().map_or(1, NonZeroUsize::get);
        let (by_itself, at_most) = match &load.arrivals {
            Some(arrivals) => {
                let rate = arrivals.planned() as f64 / arrivals.duration().as_secs_f64().max(1.0);
                let wanted = (rate / RATE_PER_THREAD).ceil() as usize;
                (wanted.min(cores()), self.max_in_flight)
            }
            None => (cores(), load.users()),
        };
        let threads = self.threads.map_or(by_itself, NonZeroUsize::get);
        threads
            .min(at_most)
            .min(self.connections_per_endpoint)
            .max(1)
    }
}

impl Load {
    /// This many users, who ask for so long.
    #[must_use]
    pub fn closed(users: usize, duration: Duration) -> Self {
        let users = Users {
            count: users,
            begin: Duration::ZERO,
            end: duration,
        };
        Self {
            arrivals: None,
            users: vec![users],
        }
    }

    /// Several loads on one service as one: it is one server that feels them.
    #[must_use]
    pub fn together<'p>(plans: impl IntoIterator<Item = &'p Plan>) -> Self {
        let (mut arrivals, mut users) = (Vec::new(), Vec::new());
        for plan in plans {
            match plan.schedule {
                Schedule::Open { .. } => arrivals.extend(plan.arrivals()),
                Schedule::Closed {
                    users: count,
                    start: begin,
                    end,
                } => users.push(Users { count, begin, end }),
            }
        }
        let merged = match arrivals.len() {
            0 | 1 => arrivals.pop(),
            _ => Some(Arrivals::merged(arrivals)),
        };
        Self {
            arrivals: merged,
            users,
        }
    }

    /// How long it lasts: the last request starts at this moment or before.
    #[must_use]
    pub fn duration(&self) -> Duration {
        let ends = self.users.iter().map(|users| users.end);
        let open = self.arrivals.as_ref().map(Arrivals::duration);
        ends.chain(open).max().unwrap_or_default()
    }

    /// The users of all closed loops.
    fn users(&self) -> usize {
        self.users.iter().map(|users| users.count).sum()
    }

    fn recorder(&self, config: &Config) -> Recorder {
        let duration = config.told(self.duration());
        let recorder = match &self.arrivals {
            Some(arrivals) if self.users.is_empty() => {
                Recorder::new(arrivals.planned(), duration, config.timeout)
            }
            _ => Recorder::closed(duration, config.timeout),
        };
        recorder.with_kinds(config.requests.iter().map(|kind| kind.name.as_str()))
    }
}

impl From<Arrivals> for Load {
    fn from(arrivals: Arrivals) -> Self {
        Self {
            arrivals: Some(arrivals),
            users: Vec::new(),
        }
    }
}

impl Engine {
    /// An engine that sends what `config` says.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            progress: None,
            so_far: None,
            unreachable: Arc::default(),
        }
    }

    /// Sends each second of the run here once it is known. A full channel loses seconds rather than hold up the run.
    #[must_use]
    pub fn with_progress(mut self, progress: mpsc::Sender<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Keeps here what came of the load until now, a second after it happened.
    #[must_use]
    pub fn with_so_far(mut self, so_far: watch::Sender<SoFar>) -> Self {
        self.so_far = Some(so_far);
        self
    }

    /// Notifies this whenever an endpoint gave no connection, so that whoever keeps the list looks again.
    #[must_use]
    pub fn with_unreachable(mut self, unreachable: Arc<Notify>) -> Self {
        self.unreachable = unreachable;
        self
    }

    /// Sends `load` to `endpoints`, whose list may change meanwhile, and says what came of it when the last request is
    /// answered.
    ///
    /// Connections are opened before the clock starts. Several engines on one clock are [prepared](Self::prepare) first
    /// and then [started](Ready::start) together. A removed endpoint gets no further requests and loses its
    /// connections once what is under way on them ends; a new one gets its share at once, or as connections end. When
    /// `cancel` is cancelled, nothing more is sent, and what is under way has half a second to end. When this future is
    /// dropped, everything ends at once.
    ///
    /// # Panics
    /// When the machine has no thread or no file left for one.
    pub async fn run(
        self,
        load: impl Into<Load>,
        endpoints: watch::Receiver<Vec<SocketAddr>>,
        cancel: CancellationToken,
    ) -> Measured {
        let ready = self.prepare(load, endpoints, cancel).await;
        ready.start(clock::instant()).await
    }

    /// Has everything ready for [`run`](Self::run) but the clock: threads, and the connections that are opened
    /// beforehand, as far as they are open within a second.
    ///
    /// # Panics
    /// As [`run`](Self::run) does.
    pub async fn prepare(
        self,
        load: impl Into<Load>,
        endpoints: watch::Receiver<Vec<SocketAddr>>,
        cancel: CancellationToken,
    ) -> Ready {
        let (load, config) = (load.into(), Arc::new(self.config));
        let of = config.threads_for(&load);
        let (tell, mut told) = mpsc::unbounded_channel();
        let (begin, start) = watch::channel(None);
        let given_up = CancellationToken::new();
        let ends = given_up.clone().drop_guard();
        let alarms: Vec<Arc<Notify>> = (0..of).map(|_| Arc::default()).collect();
        let mut threads: Vec<JoinHandle<()>> = Vec::new();
        for (index, alarm) in alarms.iter().enumerate() {
            let assignment = Assignment {
                config: Arc::clone(&config),
                load: load.clone(),
                share: Share { index, of },
                alarm: match config.pacing {
                    Pacing::Millisecond => Alarm::Timer,
                    Pacing::Precise => Alarm::Pacer(Arc::clone(alarm)),
                },
                endpoints: endpoints.clone(),
                unreachable: Arc::clone(&self.unreachable),
                start: start.clone(),
                told: tell.clone(),
                cancel: cancel.clone(),
            };
            let given_up = given_up.clone();
            threads.push(spawn(format!("load-{index}"), move || {
                play(assignment, &given_up);
            }));
        }
        drop(tell);
        for _ in 0..of {
            // Until the clock starts, a thread has nothing else to tell.
            let _ = told.recv().await;
        }
        let recorder = load.recorder(&config);
        let mut gathering = Gathering::new(recorder, of, self.progress, self.so_far);
        gathering.tell_seconds = config.tell_seconds;
        Ready {
            config,
            load,
            threads,
            alarms,
            begin,
            told,
            gathering,
            cancel,
            given_up,
            _ends_with_this: ends,
        }
    }
}

impl Ready {
    /// Sends the load, whose clock is at zero at `zero`, and says what came of it, as [`Engine::run`] does. A `zero`
    /// that has passed makes the first requests late, which their latencies count.
    ///
    /// # Panics
    /// As [`Engine::run`] does.
    pub async fn start(mut self, zero: Instant) -> Measured {
        self.begin.send_replace(Some(zero));
        if let (Pacing::Precise, Some(arrivals)) = (self.config.pacing, self.load.arrivals) {
            let (alarms, stop) = (self.alarms, self.given_up.clone());
            let pace = move || pacer::run(arrivals, zero, &alarms, &stop);
            self.threads.push(spawn("load-pacer".to_owned(), pace));
        }
        while let Some((index, told)) = self.told.recv().await {
            self.gathering.hear(index, told);
        }
        // The pacer may still wait for moments that nobody needs any more.
        self.given_up.cancel();
        self.threads.into_iter().for_each(join);
        let elapsed = clock::instant().saturating_duration_since(zero);
        let elapsed = self.config.told(elapsed);
        self.gathering.finish(elapsed, self.cancel.is_cancelled())
    }
}

impl Share {
    /// This part of a number; all parts together are the number.
    fn of_total(self, total: usize) -> usize {
        total / self.of + usize::from(self.index < total % self.of)
    }
}

fn spawn(name: String, work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    thread::Builder::new()
        .name(name)
        .spawn(work)
        .expect("the machine has a thread left")
}

/// Waits for a thread that is about to end. What it panicked with is ours to pass on.
fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        resume_unwind(panic);
    }
}

/// Ends every thread when this one panics: else the others would wait for it, or send what nobody will be told of.
struct EndsAll<'a>(&'a CancellationToken);

impl Drop for EndsAll<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            self.0.cancel();
        }
    }
}

/// One thread of the load, from its beginning to its end.
fn play(assignment: Assignment, given_up: &CancellationToken) {
    let _told_of_a_panic = EndsAll(given_up);
    let runtime = Builder::new_current_thread()
        .enable_all()
        .build_local(LocalOptions::default())
        .expect("the machine has a file left for a runtime");
    runtime.block_on(given_up.run_until_cancelled(core::play(assignment)));
}

#[cfg(test)]
mod tests;
