//! One thread of a load: its own runtime, connections and recorder, so that nothing is shared on the way of a request.
//! It takes every n-th request of the one schedule, sends each at its moment, and tells once a second what came of them.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use http::Request;
use tokio::sync::{Notify, mpsc, watch};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::endpoints::{Balancer, Checkout};
use super::pacer::Alarm;
use super::request::{Body, Requests};
use super::{Config, Load, Share, Users};
use crate::arrivals::Arrivals;
use crate::clock;
use crate::measured::ErrorClass;
use crate::measured::recorder::{Finished, Part, Recorder};

/// After an interruption, requests under way have this long to finish: enough for most, and still prompt for a human.
const INTERRUPT_GRACE: Duration = Duration::from_millis(500);

/// Endpoints tried for one request that never left us because the endpoint was removed under it. Removal is rare;
/// a request that meets it this often has no endpoint to go to.
const PICKS_MAX: usize = 8;

/// The most requests that are sent without letting other tasks run, when the pacer is behind.
const BURST_MAX: usize = 64;

/// A user of a closed loop who found no server asks again after this long, and not at once for ever.
const USER_PAUSE: Duration = Duration::from_millis(100);

/// What a thread tells.
#[derive(Debug)]
pub(super) enum Told {
    /// Its connections are open.
    Ready,
    /// What came of its requests since it last told, now that this second has begun.
    Second(u64, Part),
    /// Everything that was not told yet. Nothing more comes.
    Done(Box<Recorder>),
}

/// What a thread is given.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) config: Arc<Config>,
    pub(super) load: Load,
    pub(super) share: Share,
    pub(super) alarm: Alarm,
    pub(super) endpoints: watch::Receiver<Vec<SocketAddr>>,
    /// Told when an endpoint gave no connection.
    pub(super) unreachable: Arc<Notify>,
    /// When the clock starts, once every thread is ready.
    pub(super) start: watch::Receiver<Option<Instant>>,
    pub(super) told: mpsc::UnboundedSender<(usize, Told)>,
    /// Nothing more is to be sent.
    pub(super) cancel: CancellationToken,
}

/// What the tasks of a thread share.
struct Core {
    config: Arc<Config>,
    requests: Requests,
    share: Share,
    balancer: Balancer,
    recorder: RefCell<Recorder>,
    unreachable: Arc<Notify>,
    start: Instant,
    /// When the next request of the arrivals should start, as it is told; none is left at the maximum.
    next: Cell<Duration>,
    /// Whether users ask as well, of whom nobody knows when they do.
    has_users: bool,
    /// Set when no request will be begun any more; then `idle` tells that none is under way.
    ending: Cell<bool>,
    idle: Notify,
}

/// What is known of a request while it is under way, also when its deadline cuts it off.
#[derive(Default)]
struct Trace {
    endpoint: Option<SocketAddr>,
    sent: Option<Instant>,
    retried: bool,
}

/// Opens the connections, waits for the start, plays this thread's share of the load, and tells.
pub(super) async fn play(assignment: Assignment) {
    let Assignment {
        config,
        load,
        share,
        alarm,
        mut endpoints,
        unreachable,
        mut start,
        told,
        cancel,
    } = assignment;
    let balancer = Balancer::new(&config, share);
    let opening: Vec<_> = balancer
        .replace(&endpoints.borrow_and_update())
        .into_iter()
        .map(|endpoint| (endpoint.address(), endpoint.preconnect()))
        .collect();
    let (there, opening): (Vec<_>, Vec<_>) = opening.into_iter().unzip();
    cancel.run_until_cancelled(join_all(opening)).await;
    let _ = told.send((share.index, Told::Ready));
    let Ok(started) = start.wait_for(Option::is_some).await.map(|start| *start) else {
        return;
    };
    let Some(start) = started else { return };
    let mut recorder = load.recorder(&config);
    recorder.were_there(there);
    let core = Rc::new(Core {
        requests: Requests::new(&config),
        config,
        share,
        balancer,
        recorder: RefCell::new(recorder),
        unreachable,
        start,
        next: Cell::new(Duration::ZERO),
        has_users: !load.users.is_empty(),
        ending: Cell::new(false),
        idle: Notify::new(),
    });
    tokio::task::spawn_local(Rc::clone(&core).follow(endpoints));
    let telling = tokio::task::spawn_local(Rc::clone(&core).tell(told.clone()));
    let sending = async {
        let first = load.arrivals.as_ref().map_or(0, Arrivals::planned);
        tokio::join!(
            core.pace(load.arrivals, &alarm),
            core.users(&load.users, first)
        );
    };
    cancel.run_until_cancelled(sending).await;
    core.end(&cancel).await;
    telling.abort();
    // The other tasks hold the core until the runtime is gone, so the recorder is taken out of it.
    let empty = Recorder::new(0, Duration::ZERO, Duration::ZERO);
    let recorder = core.recorder.replace(empty);
    let _ = told.send((share.index, Told::Done(Box::new(recorder))));
}

impl Core {
    /// Launches every request of this thread at its moment.
    async fn pace(self: &Rc<Self>, arrivals: Option<Arrivals>, alarm: &Alarm) {
        let mut burst = 0;
        let mine = (0..)
            .zip(arrivals.into_iter().flatten())
            .skip(self.share.index)
            .step_by(self.share.of);
        for (number, at) in mine {
            let intended = Duration::from_nanos(at);
            let should_start = self.start + intended;
            if clock::instant() < should_start {
                self.expect_next(self.config.told(intended));
                alarm.until(should_start).await;
                burst = 0;
            } else if BURST_MAX <= burst {
                tokio::task::yield_now().await;
                burst = 0;
            }
            burst += 1;
            let kind = self.requests.kind(number);
            let in_flight_max = self.share.of_total(self.config.max_in_flight);
            if self
                .recorder
                .borrow_mut()
                .offer(self.config.told(intended), kind, in_flight_max)
            {
                let core = Rc::clone(self);
                tokio::task::spawn_local(async move { core.request(number, kind, intended).await });
            }
        }
        self.expect_next(Duration::MAX);
    }

    /// The next request of the arrivals. Where users ask as well, a second is over once it is over for both.
    fn expect_next(&self, next: Duration) {
        self.next.set(next);
        if !self.has_users {
            self.recorder.borrow_mut().expect_next(next);
        }
    }

    /// Starts this thread's users when they begin, and ends with the last of them. Their requests are numbered from
    /// `first` on.
    async fn users(self: &Rc<Self>, groups: &[Users], first: u64) {
        let all: usize = groups.iter().map(|users| users.count).sum();
        let each = groups
            .iter()
            .flat_map(|users| std::iter::repeat_n(*users, users.count));
        let mine = (first..).zip(each);
        for (number, users) in mine.skip(self.share.index).step_by(self.share.of) {
            tokio::task::spawn_local(Rc::clone(self).user(number, all, users));
        }
        if let Some(end) = groups.iter().map(|users| users.end).max() {
            tokio::time::sleep_until(self.start + end).await;
        }
    }

    /// Asks again when answered. Each of `all` users has every `all`-th number.
    async fn user(self: Rc<Self>, first: u64, all: usize, users: Users) {
        tokio::time::sleep_until(self.start + users.begin).await;
        for number in (first..).step_by(all) {
            let intended = clock::instant().saturating_duration_since(self.start);
            if users.end <= intended || self.ending.get() {
                return;
            }
            let kind = self.requests.kind(number);
            let told = self.config.told(intended);
            self.recorder.borrow_mut().offer(told, kind, usize::MAX);
            let outcome = self.request(number, kind, intended).await;
            if let Err(ErrorClass::NoEndpoint | ErrorClass::Connect) = outcome {
                tokio::time::sleep(USER_PAUSE).await;
            }
        }
    }

    /// One request that was offered, to its end. It records itself exactly once, unless the run is given up.
    async fn request(
        &self,
        number: u64,
        kind: usize,
        intended: Duration,
    ) -> Result<(), ErrorClass> {
        let should_start = self.start + intended;
        let lag = clock::instant().saturating_duration_since(should_start);
        let mut trace = Trace::default();
        let deadline = should_start + self.config.timeout;
        let exchange = self.exchange(number, kind, &mut trace);
        let in_time = tokio::time::timeout_at(deadline, exchange).await;
        let now = clock::instant();
        let outcome = match in_time {
            // It came in while this machine stood still, and nobody could say meanwhile that its time was over.
            Ok(Ok(())) if deadline < now => Err(ErrorClass::Timeout),
            Ok(outcome) => outcome,
            Err(_) => Err(ErrorClass::Timeout),
        };
        if outcome == Err(ErrorClass::Timeout) && trace.sent.is_none() {
            // An address that nobody has any more does not refuse: nothing comes back from it at all.
            self.unreachable.notify_one();
        }
        let mut recorder = self.recorder.borrow_mut();
        let endpoint = trace.endpoint.and_then(|tried| recorder.endpoint(tried));
        recorder.finished(&Finished {
            intended: self.config.told(intended),
            kind,
            lag,
            latency: now - should_start,
            raw: trace.sent.map(|sent| now - sent),
            endpoint,
            retried: trace.retried,
            outcome,
        });
        if self.ending.get() && recorder.in_flight() == 0 {
            self.idle.notify_one();
        }
        outcome
    }

    /// Finds a connection, sends, and reads the whole answer. What could not be sent is tried once more elsewhere;
    /// what may have been sent is not, because the server may have acted on it.
    async fn exchange(
        &self,
        number: u64,
        kind: usize,
        trace: &mut Trace,
    ) -> Result<(), ErrorClass> {
        let mut request: Request<Body> = self.requests.request(kind, number);
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
                Err(Checkout::Refused) => {
                    self.unreachable.notify_one();
                    ErrorClass::Connect
                }
                Ok(mut lease) => {
                    trace.sent = Some(clock::instant());
                    match lease.send(request).await {
                        Ok(response) => {
                            let outcome = self.requests.check(kind, response).await;
                            if outcome != Err(ErrorClass::Broken) {
                                lease.give_back();
                            }
                            return outcome;
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

    /// Follows the list of endpoints as it changes, until its sender is gone.
    async fn follow(self: Rc<Self>, mut endpoints: watch::Receiver<Vec<SocketAddr>>) {
        while endpoints.changed().await.is_ok() {
            let added = self.balancer.replace(&endpoints.borrow_and_update());
            if self.balancer.is_preconnecting() {
                for endpoint in added {
                    tokio::task::spawn_local(endpoint.preconnect());
                }
            }
        }
    }

    /// Tells what came of each second once the next has begun, and ends connections that are too old meanwhile.
    async fn tell(self: Rc<Self>, told: mpsc::UnboundedSender<(usize, Told)>) {
        for second in 1u64.. {
            let begins = Duration::from_secs(second);
            tokio::time::sleep_until(self.start + self.config.wall(begins)).await;
            self.balancer.prune(clock::instant());
            let mut recorder = self.recorder.borrow_mut();
            if self.has_users {
                recorder.expect_next(begins.min(self.next.get()));
            }
            let _ = told.send((self.share.index, Told::Second(second, recorder.take_part())));
        }
    }

    /// Waits for what is under way: as long as the load allows, and shortly when it was interrupted.
    async fn end(&self, cancel: &CancellationToken) {
        self.ending.set(true);
        let idle = async {
            while 0 < self.recorder.borrow().in_flight() {
                self.idle.notified().await;
            }
        };
        tokio::pin!(idle);
        let graceful = tokio::time::timeout(self.config.graceful_stop, &mut idle);
        if cancel.run_until_cancelled(graceful).await.is_none() {
            let _ = tokio::time::timeout(INTERRUPT_GRACE, idle).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept of one request that is under way, as it is spawned.
    async fn spawned(core: Rc<Core>, number: u64, kind: usize, intended: Duration) {
        let _ = core.request(number, kind, intended).await;
    }

    fn size_of<F>(_: fn(Rc<Core>, u64, usize, Duration) -> F) -> usize {
        std::mem::size_of::<F>()
    }

    #[test]
    fn a_request_under_way_takes_little_memory() {
        // Ten thousand wait when a server stalls, and what they took is not given back soon.
        let size = size_of(spawned);
        assert!(size <= 3 * 1024, "{size} bytes");
    }
}
