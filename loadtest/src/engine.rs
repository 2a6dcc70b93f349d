//! A run: sends each request at its moment whether or not earlier ones were answered, over HTTP/1.1 connections that it
//! owns, to endpoints that may come and go meanwhile. Latency counts from the moment a request should have started. It
//! does not judge what it measures, and it speaks plain HTTP only.

mod endpoints;

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::endpoints::{Balancer, Checkout};
use crate::arrivals::Arrivals;
use crate::clock;
use crate::measured::recorder::{self, Recorder};
use crate::measured::{ErrorClass, Measured, Progress};

/// After an interruption, requests under way have this long to finish: enough for most, and still prompt for a human.
const INTERRUPT_GRACE: Duration = Duration::from_millis(500);

/// Endpoints tried for one request that never left us because the endpoint was removed under it. Removal is rare;
/// a request that meets it this often has no endpoint to go to.
const PICKS_MAX: usize = 8;

/// The most requests that are sent without letting other tasks run, when the pacer is behind.
const BURST_MAX: usize = 64;

/// How requests are spread over endpoints.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Balance {
    /// Each endpoint in turn.
    #[default]
    RoundRobin,
    /// The one with fewer requests in flight, of two drawn at random.
    LeastOfTwo,
}

/// What is sent, and within which bounds.
#[derive(Debug, Clone)]
pub struct Config {
    /// The value of the `Host` header.
    pub host: HeaderValue,
    /// Path and query of every request.
    pub path: Uri,
    /// Further headers. Mark secret values as sensitive, and they are not printed.
    pub headers: HeaderMap,
    /// How long a request may take, from the moment it should have started.
    pub timeout: Duration,
    /// Requests in flight at most; above it they are dropped, and counted.
    pub max_in_flight: usize,
    /// Connections to one endpoint at most; requests above it wait their turn, which counts into their latency.
    pub connections_per_endpoint: usize,
    /// Idle connections kept to one endpoint at most.
    pub idle_per_endpoint: usize,
    /// Connections opened to an endpoint before the first request.
    pub preconnect: usize,
    /// How requests are spread.
    pub balance: Balance,
    /// Seed of the draws of [`Balance::LeastOfTwo`].
    pub seed: u64,
    /// How many seconds of the report pass in one second of the wall's: above 1 where the whole system runs faster than
    /// it will be told of. Only where things are on the report's clock changes; latencies are what they were.
    pub pace: f64,
}

impl Config {
    /// `GET path` for `host`, with bounds that fit a test on one machine.
    #[must_use]
    pub fn new(host: HeaderValue, path: Uri) -> Self {
        Self {
            host,
            path,
            headers: HeaderMap::new(),
            timeout: Duration::from_secs(10),
            max_in_flight: 10_000,
            // A process may often have 1,024 open files; this leaves room for several endpoints.
            connections_per_endpoint: 128,
            idle_per_endpoint: 32,
            preconnect: 4,
            balance: Balance::RoundRobin,
            seed: 0,
            pace: 1.0,
        }
    }

    fn request(&self) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.method_mut() = Method::GET;
        *request.uri_mut() = self.path.clone();
        *request.headers_mut() = self.headers.clone();
        request
            .headers_mut()
            .insert(header::HOST, self.host.clone());
        request
    }
}

/// An engine that is ready to run once.
#[derive(Debug)]
pub struct Engine {
    config: Config,
    progress: Option<mpsc::Sender<Progress>>,
}

/// What all tasks of a run share.
struct Run {
    config: Config,
    balancer: Balancer,
    recorder: Mutex<Recorder>,
    start: Instant,
    /// Ends every request at once.
    stop: CancellationToken,
}

/// What is known of a request while it is under way, also when its deadline cuts it off.
#[derive(Default)]
struct Trace {
    endpoint: Option<SocketAddr>,
    sent: Option<Instant>,
    retried: bool,
}

impl Engine {
    /// An engine that sends what `config` says.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self {
            config,
            progress: None,
        }
    }

    /// Sends each second of the run here once it is known. A full channel loses seconds rather than hold up the run.
    #[must_use]
    pub fn with_progress(mut self, progress: mpsc::Sender<Progress>) -> Self {
        self.progress = Some(progress);
        self
    }

    /// Sends `arrivals` to `endpoints`, whose list may change meanwhile, and reports when the last one is answered.
    ///
    /// Connections are opened before the clock starts. A removed endpoint gets no further requests and loses its
    /// connections once what is under way on them ends; a new one gets its share at once. When `cancel` is cancelled,
    /// nothing more is sent, and what is under way has half a second to end.
    pub async fn run(
        self,
        mut arrivals: Arrivals,
        mut endpoints: watch::Receiver<Vec<SocketAddr>>,
        cancel: CancellationToken,
    ) -> Measured {
        let balancer = Balancer::new(&self.config);
        let first = balancer.replace(&endpoints.borrow_and_update());
        let opening: TaskTracker = TaskTracker::new();
        for endpoint in first {
            opening.spawn(endpoint.preconnect(self.config.preconnect, self.config.timeout));
        }
        opening.close();
        cancel.run_until_cancelled(opening.wait()).await;

        let run = Arc::new(Run {
            recorder: Mutex::new(Recorder::new(
                &arrivals,
                self.config.timeout,
                self.config.pace,
            )),
            balancer,
            config: self.config,
            start: clock::instant(),
            stop: CancellationToken::new(),
        });
        let guard = run.stop.clone().drop_guard();
        tokio::spawn(until_stopped(
            run.stop.clone(),
            follow(Arc::clone(&run), endpoints),
        ));
        tokio::spawn(until_stopped(
            run.stop.clone(),
            publish(Arc::clone(&run), self.progress.clone()),
        ));

        let tracker = TaskTracker::new();
        let interrupted = cancel
            .run_until_cancelled(pace(&run, &mut arrivals, &tracker))
            .await
            .is_none();
        tracker.close();
        if interrupted || cancel.run_until_cancelled(tracker.wait()).await.is_none() {
            let _ = tokio::time::timeout(INTERRUPT_GRACE, tracker.wait()).await;
            run.stop.cancel();
            tracker.wait().await;
        }
        drop(guard);
        let elapsed = run.told(clock::instant() - run.start);
        let (report, rest) = run.recorder().finish(elapsed, cancel.is_cancelled());
        send(self.progress.as_ref(), rest);
        report
    }
}

impl Run {
    /// The recorder. Nothing panics while holding it, so a poisoned lock would still hold true figures.
    fn recorder(&self) -> MutexGuard<'_, Recorder> {
        self.recorder.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A moment of the run, on the report's clock.
    fn told(&self, moment: Duration) -> Duration {
        moment.mul_f64(self.config.pace)
    }

    /// One request, to its end. It records itself exactly once, whatever happens.
    async fn request(self: Arc<Self>, intended: Duration) {
        let should_start = self.start + intended;
        let lag = clock::instant().saturating_duration_since(should_start);
        let mut trace = Trace::default();
        let exchange = tokio::time::timeout_at(
            should_start + self.config.timeout,
            self.exchange(&mut trace),
        );
        let outcome = self.stop.run_until_cancelled(exchange).await;
        let now = clock::instant();
        let outcome = outcome.map(|in_time| in_time.unwrap_or(Err(ErrorClass::Timeout)));
        self.recorder().finished(&recorder::Finished {
            intended: self.told(intended),
            lag,
            latency: now - should_start,
            raw: trace.sent.map(|sent| now - sent),
            endpoint: trace.endpoint,
            retried: trace.retried,
            outcome,
        });
    }

    /// Finds a connection, sends, and reads the whole answer. What could not be sent is tried once more elsewhere;
    /// what may have been sent is not, because the server may have acted on it.
    async fn exchange(&self, trace: &mut Trace) -> Result<(), ErrorClass> {
        let mut request = self.config.request();
        let mut failed: Option<ErrorClass> = None;
        for _ in 0..PICKS_MAX {
            let Some(endpoint) = self
                .balancer
                .pick(trace.endpoint.filter(|_| failed.is_some()))
            else {
                return Err(failed.unwrap_or(ErrorClass::NoEndpoint));
            };
            trace.endpoint = Some(endpoint.address());
            let class = match endpoint.checkout().await {
                Err(Checkout::Removed) => continue,
                Err(Checkout::Refused) => ErrorClass::Connect,
                Ok(mut lease) => {
                    trace.sent = Some(clock::instant());
                    match lease.connection().try_send_request(request).await {
                        Ok(response) => {
                            let status = read_whole(response).await?;
                            lease.give_back();
                            return judge(status);
                        }
                        Err(mut error) => match error.take_message() {
                            Some(unsent) => request = unsent,
                            None => return Err(ErrorClass::Broken),
                        },
                    }
                    trace.sent = None;
                    ErrorClass::Broken
                }
            };
            if failed.is_some() {
                return Err(class);
            }
            failed = Some(class);
            trace.retried = true;
        }
        Err(failed.unwrap_or(ErrorClass::NoEndpoint))
    }
}

/// Launches every request at its moment. Sleeping is in whole milliseconds, so those due within one go out together.
async fn pace(run: &Arc<Run>, arrivals: &mut Arrivals, tracker: &TaskTracker) {
    let mut burst = 0;
    for at in arrivals {
        let intended = Duration::from_nanos(at);
        let should_start = run.start + intended;
        if clock::instant() < should_start {
            run.recorder().expect_next(run.told(intended));
            tokio::time::sleep_until(should_start).await;
            burst = 0;
        } else if BURST_MAX <= burst {
            tokio::task::yield_now().await;
            burst = 0;
        }
        burst += 1;
        if run
            .recorder()
            .offer(run.told(intended), run.config.max_in_flight)
        {
            tracker.spawn(Arc::clone(run).request(intended));
        }
    }
    run.recorder().expect_next(Duration::MAX);
}

/// Follows the list of endpoints as it changes, until its sender is gone.
async fn follow(run: Arc<Run>, mut endpoints: watch::Receiver<Vec<SocketAddr>>) {
    while endpoints.changed().await.is_ok() {
        let added = run.balancer.replace(&endpoints.borrow_and_update());
        for endpoint in added {
            tokio::spawn(endpoint.preconnect(run.config.preconnect, run.config.timeout));
        }
    }
}

/// Publishes each second once it is known, and lets the recorder fold what is over.
async fn publish(run: Arc<Run>, progress: Option<mpsc::Sender<Progress>>) {
    for second in 2u64.. {
        tokio::time::sleep_until(run.start + Duration::from_secs(second).div_f64(run.config.pace))
            .await;
        let published = run.recorder().advance(second);
        send(progress.as_ref(), published);
    }
}

fn send(progress: Option<&mpsc::Sender<Progress>>, seconds: impl IntoIterator<Item = Progress>) {
    let Some(progress) = progress else { return };
    for second in seconds {
        // A reader that is slow or gone must not hold up the run; the report has every second anyway.
        let _ = progress.try_send(second);
    }
}

async fn until_stopped(stop: CancellationToken, work: impl Future<Output = ()>) {
    stop.run_until_cancelled(work).await;
}

/// Reads the body to its end and drops it, so that the connection can be used again.
async fn read_whole(response: http::Response<Incoming>) -> Result<StatusCode, ErrorClass> {
    let (head, mut body) = response.into_parts();
    while let Some(frame) = body.frame().await {
        frame.map_err(|_| ErrorClass::Broken)?;
    }
    Ok(head.status)
}

fn judge(status: StatusCode) -> Result<(), ErrorClass> {
    match status.as_u16() {
        400..=499 => Err(ErrorClass::ClientStatus),
        500.. => Err(ErrorClass::ServerStatus),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests;
