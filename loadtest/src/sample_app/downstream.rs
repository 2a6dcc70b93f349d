//! The call that every request makes to another service: over connections that are kept, to each of its backends in
//! turn, and with a deadline that counts the wait for a connection. A call that fails fails the request; it is never
//! tried again, because a service that is slow is not helped by more calls.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Request, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::config::Config;
use super::metrics::Metrics;
use super::orders::Dials;
use crate::clock;

/// A connection is used this long at most. Behind the one address of a Service it stays with one backend, and a new
/// backend would never see a request.
const AGE_MAX: Duration = Duration::from_secs(15);

/// How often a name is looked up again: the time for which a cluster's DNS lets an answer be kept.
const LOOKUP_PERIOD: Duration = Duration::from_secs(5);

/// How a call ended, as a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Ended {
    /// A whole answer with a status below 400.
    Ok,
    /// No backend, no connection, a broken one, or another status.
    Failed,
    /// No whole answer in time.
    Timeout,
}

impl Ended {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
            Self::Timeout => "timeout",
        }
    }
}

/// The other service, for all requests.
pub(super) struct Downstream {
    host: HeaderValue,
    deadline: Duration,
    places: Semaphore,
    idle: Mutex<Vec<Connection>>,
    dials: Arc<Dials>,
    metrics: Arc<Metrics>,
}

/// A connection to one backend.
struct Connection {
    backend: SocketAddr,
    opened: Instant,
    sender: SendRequest<Empty<Bytes>>,
}

impl Downstream {
    /// The service that `config` names, whose backends `dials` hold; `None` when there is none. A name is looked up,
    /// and again every few seconds until `stop`.
    pub(super) fn start(
        config: &Config,
        dials: &Arc<Dials>,
        metrics: &Arc<Metrics>,
        stop: &CancellationToken,
    ) -> Result<Option<Self>, &'static str> {
        let Some(name) = &config.downstream else {
            return Ok(None);
        };
        if config.downstream_connections == 0
            || Semaphore::MAX_PERMITS < config.downstream_connections
        {
            return Err("downstream connections must be at least 1");
        }
        let host = HeaderValue::from_str(name).map_err(
            |_| "the downstream must be HOST:PORT, or a name when orders say where it is",
        )?;
        if name.contains(':') {
            let (name, dials, stop) = (name.clone(), Arc::clone(dials), stop.clone());
            tokio::spawn(async move { stop.run_until_cancelled(look_up(&name, &dials)).await });
        }
        Ok(Some(Self {
            host,
            deadline: config.downstream_timeout,
            places: Semaphore::new(config.downstream_connections),
            idle: Mutex::default(),
            dials: Arc::clone(dials),
            metrics: Arc::clone(metrics),
        }))
    }

    /// One call, counted with the time it took.
    pub(super) async fn call(&self) -> Ended {
        let start = clock::instant();
        let ended = match tokio::time::timeout_at(start + self.deadline, self.exchange()).await {
            Ok(Some(())) => Ended::Ok,
            Ok(None) => Ended::Failed,
            Err(_) => Ended::Timeout,
        };
        self.metrics.count_call(ended, clock::instant() - start);
        ended
    }

    /// Sends and reads the whole answer; `None` when that fails. A connection that is not given back is closed, which
    /// is what becomes of one whose answer came too late.
    async fn exchange(&self) -> Option<()> {
        let _place = self.places.acquire().await.ok()?;
        let backend = self.dials.next_backend()?;
        let mut connection = match self.take_idle(backend) {
            Some(connection) => connection,
            None => Connection::open(backend).await.ok()?,
        };
        let mut request = Request::new(Empty::new());
        request
            .headers_mut()
            .insert(header::HOST, self.host.clone());
        let response = connection.sender.send_request(request).await.ok()?;
        let good = response.status().as_u16() < 400;
        let mut body = response.into_body();
        while let Some(frame) = body.frame().await {
            frame.ok()?;
        }
        self.idle().push(connection);
        good.then_some(())
    }

    /// A kept connection to `backend` that can be used, dropping those that no request may use any more.
    fn take_idle(&self, backend: SocketAddr) -> Option<Connection> {
        let now = clock::instant();
        let mut idle = self.idle();
        idle.retain(|connection| {
            connection.sender.is_ready()
                && now.duration_since(connection.opened) < AGE_MAX
                && self.dials.is_backend(connection.backend)
        });
        let place = idle
            .iter()
            .position(|connection| connection.backend == backend)?;
        Some(idle.swap_remove(place))
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Connection>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Connection {
    async fn open(backend: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(backend).await?;
        stream.set_nodelay(true)?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        // An error of the connection reaches the request that was on it; without one it is of no interest.
        tokio::spawn(async move { drop(connection.await) });
        Ok(Self {
            backend,
            opened: clock::instant(),
            sender,
        })
    }
}

/// Keeps the backends at what `name` stands for. What was known last stays known while DNS is away.
async fn look_up(name: &str, dials: &Dials) {
    loop {
        if let Ok(found) = tokio::net::lookup_host(name).await {
            dials.set_backends(found.collect());
        }
        tokio::time::sleep(LOOKUP_PERIOD).await;
    }
}
