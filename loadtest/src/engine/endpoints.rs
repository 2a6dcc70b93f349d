//! Connections by endpoint: which endpoint the next request goes to, a connection to it, and what happens to both when
//! the list of endpoints changes. A connection is lent to one request at a time and comes back when the answer was
//! read whole; one that does not come back is closed.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg32;
use tokio::net::TcpStream;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::{Balance, Config};

/// A connection ready for a request.
type Connection = SendRequest<Empty<Bytes>>;

/// Why an endpoint gave no connection. Nothing was sent in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Checkout {
    /// The endpoint left the list.
    Removed,
    /// The connection could not be opened.
    Refused,
}

/// The endpoints of now, and whose turn it is.
pub(super) struct Balancer {
    balance: Balance,
    connections: usize,
    idle: usize,
    state: Mutex<Turn>,
}

struct Turn {
    endpoints: Vec<Arc<Endpoint>>,
    next: usize,
    rng: Pcg32,
}

/// One endpoint and the connections to it.
pub(super) struct Endpoint {
    address: SocketAddr,
    connections: usize,
    /// A permit per open or opening connection that is lent; closed when the endpoint leaves the list.
    permits: Arc<Semaphore>,
    idle_max: usize,
    idle: Mutex<Vec<Connection>>,
}

/// A connection lent to one request.
pub(super) struct Lease {
    connection: Connection,
    endpoint: Arc<Endpoint>,
    _permit: OwnedSemaphorePermit,
}

impl Balancer {
    pub(super) fn new(config: &Config) -> Self {
        Self {
            balance: config.balance,
            connections: config
                .connections_per_endpoint
                .clamp(1, Semaphore::MAX_PERMITS),
            idle: config.idle_per_endpoint,
            state: Mutex::new(Turn {
                endpoints: Vec::new(),
                next: 0,
                rng: Pcg32::seed_from_u64(config.seed),
            }),
        }
    }

    /// Makes `addresses` the list: keeps the endpoints that stay, closes those that left, and returns the new ones.
    pub(super) fn replace(&self, addresses: &[SocketAddr]) -> Vec<Arc<Endpoint>> {
        let mut state = lock(&self.state);
        let before = std::mem::take(&mut state.endpoints);
        let mut added = Vec::new();
        for address in addresses {
            if state
                .endpoints
                .iter()
                .any(|endpoint| endpoint.address == *address)
            {
                continue;
            }
            let kept = before.iter().find(|endpoint| endpoint.address == *address);
            let endpoint = kept.map_or_else(
                || Endpoint::new(*address, self.connections, self.idle),
                Arc::clone,
            );
            if kept.is_none() {
                added.push(Arc::clone(&endpoint));
            }
            state.endpoints.push(endpoint);
        }
        for endpoint in before {
            if !addresses.contains(&endpoint.address) {
                endpoint.close();
            }
        }
        added
    }

    /// The endpoint for the next request, another than `avoid` when there is one; `None` when the list is empty.
    pub(super) fn pick(&self, avoid: Option<SocketAddr>) -> Option<Arc<Endpoint>> {
        let mut state = lock(&self.state);
        let count = state.endpoints.len();
        if count == 0 {
            return None;
        }
        let mut index = match self.balance {
            Balance::RoundRobin => state.next % count,
            Balance::LeastOfTwo => {
                let (a, b) = (
                    state.rng.random_range(0..count),
                    state.rng.random_range(0..count),
                );
                if state.endpoints[b].in_flight() < state.endpoints[a].in_flight() {
                    b
                } else {
                    a
                }
            }
        };
        match avoid {
            Some(avoid) if state.endpoints[index].address == avoid => index = (index + 1) % count,
            // A second try takes nobody's turn: else, of two endpoints, every request would begin at the broken one.
            Some(_) => {}
            None => state.next = index + 1,
        }
        Some(Arc::clone(&state.endpoints[index]))
    }
}

impl Endpoint {
    fn new(address: SocketAddr, connections: usize, idle_max: usize) -> Arc<Self> {
        let permits = Arc::new(Semaphore::new(connections));
        Arc::new(Self {
            address,
            connections,
            permits,
            idle_max,
            idle: Mutex::default(),
        })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Opens `count` connections, within `patience`, and keeps those that could be opened. What fails here fails again,
    /// and is counted, when a request needs it.
    pub(super) async fn preconnect(self: Arc<Self>, count: usize, patience: Duration) {
        let opening = async {
            for _ in 0..count.min(self.idle_max) {
                let Ok(connection) = open(self.address).await else {
                    return;
                };
                self.keep(connection);
            }
        };
        let _ = tokio::time::timeout(patience, opening).await;
    }

    /// A connection that is ready: an idle one, or a new one, once fewer than the bound are lent. First come, first
    /// served.
    pub(super) async fn checkout(self: Arc<Self>) -> Result<Lease, Checkout> {
        let permit = Arc::clone(&self.permits)
            .acquire_owned()
            .await
            .map_err(|_| Checkout::Removed)?;
        loop {
            let idle = lock(&self.idle).pop();
            let connection = match idle {
                // The server may have closed it meanwhile; then the next one will do.
                Some(mut idle) => match idle.ready().await {
                    Ok(()) => idle,
                    Err(_) => continue,
                },
                None => open(self.address).await.map_err(|_| Checkout::Refused)?,
            };
            return Ok(Lease {
                connection,
                endpoint: self,
                _permit: permit,
            });
        }
    }

    fn in_flight(&self) -> usize {
        self.connections - self.permits.available_permits()
    }

    fn keep(&self, connection: Connection) {
        let mut idle = lock(&self.idle);
        if idle.len() < self.idle_max && !self.permits.is_closed() && !connection.is_closed() {
            idle.push(connection);
        }
    }

    /// Takes no further request. Idle connections close now, lent ones when their answer is there.
    fn close(&self) {
        self.permits.close();
        lock(&self.idle).clear();
    }
}

impl Lease {
    pub(super) fn connection(&mut self) -> &mut Connection {
        &mut self.connection
    }

    /// Returns the connection for the next request, after the answer was read to its end.
    pub(super) fn give_back(self) {
        self.endpoint.keep(self.connection);
    }
}

/// Opens a connection and starts the task that drives it, which ends when the connection is dropped or closed.
async fn open(address: SocketAddr) -> anyhow::Result<Connection> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // An error of the connection reaches the request that was on it; without one it is of no interest.
    tokio::spawn(async move { drop(connection.await) });
    Ok(sender)
}

/// Nothing panics while holding these locks, so a poisoned one would still hold a whole value.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
