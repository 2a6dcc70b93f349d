//! The endpoints of one thread and the connections to them: which endpoint the next request goes to, a connection to it,
//! and what happens to both when the list of endpoints changes or a connection gets old. An HTTP/1.1 connection is lent
//! to one request at a time and comes back when the answer was read whole; one that does not come back is closed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg32;
use tokio::sync::{Notify, Semaphore};
use tokio::time::Instant;

use super::connection::{Lifetime, Opening, Sender};
use super::request::Body;
use super::{Config, Share};
use crate::clock;
use crate::scenario::{HttpVersion, OnEndpointAdd};

/// Requests on one HTTP/2 connection at once; the least that RFC 9113 (6.5.2) recommends a server to allow.
const STREAMS_MAX: usize = 100;

/// How long is waited for connections that are opened beforehand. One that takes longer is no use to anybody yet, and the
/// clock of a whole run waits for it.
const PATIENCE_MAX: Duration = Duration::from_secs(1);

/// Why an endpoint gave no connection. Nothing was sent in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checkout {
    /// The endpoint left the list.
    Removed,
    /// The connection could not be opened.
    Refused,
}

/// The endpoints of now, and whose turn it is.
#[derive(Debug)]
pub(super) struct Balancer {
    policy: Rc<Policy>,
    endpoints: RefCell<Vec<Rc<Endpoint>>>,
    next: Cell<usize>,
}

/// What holds for the connections of every endpoint.
#[derive(Debug)]
struct Policy {
    opening: Opening,
    on_add: OnEndpointAdd,
    connections: usize,
    idle: usize,
    preconnect: usize,
    patience: Duration,
    max_age: Option<Duration>,
    jitter: f64,
    max_requests: Option<u64>,
    ages: RefCell<Pcg32>,
    /// How many times a connection became idle, to know which is idle longest.
    returns: Cell<u64>,
}

/// One endpoint and the connections to it.
#[derive(Debug)]
pub(super) struct Endpoint {
    address: SocketAddr,
    policy: Rc<Policy>,
    /// A permit per request that may be under way; closed when the endpoint leaves the list.
    permits: Semaphore,
    /// HTTP/1.1 connections without a request, the one that is idle longest first.
    idle: RefCell<VecDeque<Connection>>,
    /// HTTP/2 connections that take requests.
    shared: RefCell<Vec<Shared>>,
    is_opening: Cell<bool>,
    opened: Notify,
}

#[derive(Debug)]
struct Connection {
    sender: Sender,
    lifetime: Lifetime,
    /// Its place in the order in which connections became idle.
    returned: u64,
}

#[derive(Debug)]
struct Shared {
    connection: Connection,
    streams: Rc<Cell<usize>>,
}

/// A connection, or a stream of one, lent to one request.
#[derive(Debug)]
pub(super) struct Lease {
    connection: Connection,
    permit: Permit,
}

/// That a request may be under way at an endpoint, and the stream that it takes.
#[derive(Debug)]
struct Permit {
    endpoint: Rc<Endpoint>,
    streams: Option<Rc<Cell<usize>>>,
}

impl Balancer {
    /// The endpoints of the thread that has this share of everything.
    pub(super) fn new(config: &Config, share: Share) -> Self {
        let ages = Pcg32::seed_from_u64(config.seed.rotate_left(1) ^ share.index as u64);
        let policy = Policy {
            opening: Opening {
                version: config.version,
                tls: config.tls.clone(),
            },
            on_add: config.on_endpoint_add,
            connections: share.of_total(config.connections_per_endpoint).max(1),
            idle: share.of_total(config.idle_per_endpoint),
            preconnect: share.of_total(config.preconnect),
            patience: config.timeout.min(PATIENCE_MAX),
            max_age: config.max_age,
            jitter: config.max_age_jitter.clamp(0.0, 1.0),
            max_requests: (0 < config.max_requests).then_some(config.max_requests),
            ages: RefCell::new(ages),
            returns: Cell::new(0),
        };
        Self {
            policy: Rc::new(policy),
            endpoints: RefCell::default(),
            // Each thread begins at another endpoint, so that few requests are spread evenly, too.
            next: Cell::new(share.index),
        }
    }

    /// Makes `addresses` the list: keeps the endpoints that stay, closes those that left, and returns the new ones.
    pub(super) fn replace(&self, addresses: &[SocketAddr]) -> Vec<Rc<Endpoint>> {
        let before = self.endpoints.take();
        let (mut now, mut added) = (Vec::<Rc<Endpoint>>::new(), Vec::new());
        for address in addresses {
            if now.iter().any(|endpoint| endpoint.address == *address) {
                continue;
            }
            let kept = before.iter().find(|endpoint| endpoint.address == *address);
            now.push(kept.map_or_else(
                || {
                    added.push(Rc::new(Endpoint::new(*address, &self.policy)));
                    Rc::clone(&added[added.len() - 1])
                },
                Rc::clone,
            ));
        }
        for endpoint in before {
            if !addresses.contains(&endpoint.address) {
                endpoint.close();
            }
        }
        self.endpoints.replace(now);
        added
    }

    /// Opens what is opened beforehand to endpoints that come while the load goes on. Those that keep what there is
    /// wait for what is needed.
    pub(super) fn is_preconnecting(&self) -> bool {
        self.policy.on_add == OnEndpointAdd::Rebalance
    }

    /// The endpoint for the next request, another than `avoid` when there is one; `None` when the list is empty.
    pub(super) fn pick(&self, avoid: Option<SocketAddr>) -> Option<Rc<Endpoint>> {
        let endpoints = self.endpoints.borrow();
        let count = endpoints.len();
        if count == 0 {
            return None;
        }
        if self.policy.on_add == OnEndpointAdd::Keep && avoid.is_none() {
            let waiting = endpoints
                .iter()
                .filter_map(|endpoint| Some((endpoint.waiting()?, endpoint)));
            if let Some((_, endpoint)) = waiting.min_by_key(|(order, _)| *order) {
                return Some(Rc::clone(endpoint));
            }
        }
        let mut index = self.next.get() % count;
        match avoid {
            Some(avoid) if endpoints[index].address == avoid => index = (index + 1) % count,
            // A second try takes nobody's turn: else, of two endpoints, every request would begin at the broken one.
            Some(_) => {}
            None => self.next.set(index + 1),
        }
        Some(Rc::clone(&endpoints[index]))
    }

    /// Closes idle connections that are too old, as a server would see it: no request comes to end them.
    pub(super) fn prune(&self, now: Instant) {
        for endpoint in self.endpoints.borrow().iter() {
            let lives = |connection: &Connection| !connection.lifetime.is_over(now);
            endpoint.idle.borrow_mut().retain(lives);
            endpoint
                .shared
                .borrow_mut()
                .retain(|shared| lives(&shared.connection));
        }
    }
}

impl Policy {
    /// How long a connection that is opened now may live: the age varies evenly by the jitter to both sides.
    fn lifetime(&self, now: Instant) -> Lifetime {
        let until = self.max_age.map(|age| {
            let spread = 1.0 + self.jitter * (2.0 * self.ages.borrow_mut().random::<f64>() - 1.0);
            now + age.mul_f64(spread)
        });
        Lifetime {
            until,
            requests: self.max_requests,
        }
    }
}

impl Endpoint {
    fn new(address: SocketAddr, policy: &Rc<Policy>) -> Self {
        let streams = match policy.opening.version {
            HttpVersion::Http1 => 1,
            HttpVersion::Http2 => STREAMS_MAX,
        };
        let permits_max = policy
            .connections
            .saturating_mul(streams)
            .min(Semaphore::MAX_PERMITS);
        Self {
            address,
            policy: Rc::clone(policy),
            permits: Semaphore::new(permits_max),
            idle: RefCell::default(),
            shared: RefCell::default(),
            is_opening: Cell::new(false),
            opened: Notify::new(),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens the connections that are opened beforehand, and keeps those that could be. What fails here fails again,
    /// and is counted, when a request needs it.
    pub(super) async fn preconnect(self: Rc<Self>) {
        let opening = async {
            for _ in 0..self.policy.preconnect.min(self.policy.connections) {
                let Ok(connection) = self.open().await else {
                    return;
                };
                self.keep(connection);
            }
        };
        let _ = tokio::time::timeout(self.policy.patience, opening).await;
    }

    /// A connection that is ready: an idle one, or a new one, once fewer requests than the bound are under way. First
    /// come, first served.
    pub(super) async fn checkout(self: Rc<Self>) -> Result<Lease, Checkout> {
        let Ok(permit) = self.permits.acquire().await else {
            return Err(Checkout::Removed);
        };
        permit.forget();
        let mut permit = Permit {
            endpoint: Rc::clone(&self),
            streams: None,
        };
        let connection = match self.policy.opening.version {
            HttpVersion::Http1 => self.alone().await?,
            HttpVersion::Http2 => {
                let (connection, streams) = self.together().await?;
                permit.streams = Some(streams);
                connection
            }
        };
        Ok(Lease { connection, permit })
    }

    /// A connection for one request.
    async fn alone(&self) -> Result<Connection, Checkout> {
        loop {
            // Behind a cluster IP every connection is used in turn; else the one used last is the warmest.
            let idle = match self.policy.on_add {
                OnEndpointAdd::Keep => self.idle.borrow_mut().pop_front(),
                OnEndpointAdd::Rebalance => self.idle.borrow_mut().pop_back(),
            };
            let Some(mut idle) = idle else {
                return Box::pin(self.open()).await;
            };
            // It may be too old, or the server may have closed it meanwhile; then the next one will do.
            let is_over = idle.lifetime.until.is_some() && idle.lifetime.is_over(clock::instant());
            if !is_over && idle.sender.is_ready().await {
                return Ok(idle);
            }
        }
    }

    /// A stream of the connection with the fewest. One connection is opened at a time: those who wait for it share it.
    /// Nobody opens more than one: whoever opened it uses it, also when it is too old already.
    async fn together(&self) -> Result<(Connection, Rc<Cell<usize>>), Checkout> {
        loop {
            if self.permits.is_closed() {
                return Err(Checkout::Removed);
            }
            if let Some(stream) = self.stream(clock::instant()) {
                return Ok(stream);
            }
            if self.is_opening.replace(true) {
                self.opened.notified().await;
                continue;
            }
            let _opening = Opens(self);
            let mut shared = Shared::new(Box::pin(self.open()).await?);
            let stream = shared.stream().ok_or(Checkout::Refused)?;
            self.shared.borrow_mut().push(shared);
            return Ok(stream);
        }
    }

    fn stream(&self, now: Instant) -> Option<(Connection, Rc<Cell<usize>>)> {
        let mut all = self.shared.borrow_mut();
        all.retain(|shared| {
            !shared.connection.lifetime.is_over(now) && !shared.connection.sender.is_closed()
        });
        let least = all.iter_mut().min_by_key(|shared| shared.streams.get());
        least
            .filter(|shared| shared.streams.get() < STREAMS_MAX)?
            .stream()
    }

    /// Opens a connection, which nobody wants any more when the endpoint was removed meanwhile. A request that does this
    /// boxes it: few do, and the handshakes that may be part of it are larger than all else that a request waits with.
    async fn open(&self) -> Result<Connection, Checkout> {
        let opened = self.policy.opening.open(self.address).await;
        if self.permits.is_closed() {
            return Err(Checkout::Removed);
        }
        Ok(Connection {
            sender: opened.map_err(|_| Checkout::Refused)?,
            lifetime: self.policy.lifetime(clock::instant()),
            returned: 0,
        })
    }

    /// The order in which this endpoint's turn comes where what is open is used first; `None` when nothing is.
    fn waiting(&self) -> Option<u64> {
        if self.permits.available_permits() == 0 {
            return None;
        }
        let shared = self.shared.borrow();
        let streams = shared.iter().map(|shared| shared.streams.get()).min();
        let streams = streams.filter(|streams| *streams < STREAMS_MAX);
        let idle = self
            .idle
            .borrow()
            .front()
            .map(|connection| connection.returned);
        idle.or(streams.map(|streams| streams as u64))
    }

    fn keep(&self, mut connection: Connection) {
        if self.permits.is_closed() || connection.sender.is_closed() {
            return;
        }
        if connection.sender.shared().is_some() {
            self.shared.borrow_mut().push(Shared::new(connection));
            return;
        }
        let mut idle = self.idle.borrow_mut();
        if idle.len() < self.policy.idle {
            connection.returned = self.policy.returns.get();
            self.policy.returns.set(connection.returned + 1);
            idle.push_back(connection);
        }
    }

    /// Takes no further request. Idle connections close now, lent ones when their answer is there.
    fn close(&self) {
        self.permits.close();
        self.opened.notify_waiters();
        self.idle.take();
        self.shared.take();
    }
}

impl Shared {
    fn new(connection: Connection) -> Self {
        let streams = Rc::default();
        Self {
            connection,
            streams,
        }
    }

    /// One more stream, with the count of those that there are. `None` when the connection cannot be shared.
    fn stream(&mut self) -> Option<(Connection, Rc<Cell<usize>>)> {
        let sender = self.connection.sender.shared()?;
        self.connection.lifetime.count();
        self.streams.set(self.streams.get() + 1);
        let stream = Connection {
            sender,
            lifetime: self.connection.lifetime,
            returned: 0,
        };
        Some((stream, Rc::clone(&self.streams)))
    }
}

/// Whoever opens a connection that others wait for; they wake up also when that is given up.
struct Opens<'a>(&'a Endpoint);

impl Drop for Opens<'_> {
    fn drop(&mut self) {
        self.0.is_opening.set(false);
        self.0.opened.notify_waiters();
    }
}

impl Lease {
    /// Sends; what was not sent comes back with the error.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        self.connection.sender.send(request).await
    }

    /// Returns the connection for the next request, after the answer was read to its end.
    pub(super) fn give_back(mut self) {
        let lifetime = &mut self.connection.lifetime;
        lifetime.count();
        let is_aging = lifetime.until.is_some();
        let is_over =
            lifetime.requests == Some(0) || is_aging && lifetime.is_over(clock::instant());
        if !is_over && self.permit.streams.is_none() {
            self.permit.endpoint.keep(self.connection);
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(streams) = &self.streams {
            streams.set(streams.get() - 1);
        }
        self.endpoint.permits.add_permits(1);
    }
}
