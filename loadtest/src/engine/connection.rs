//! One connection: opened over TCP and perhaps TLS, in either version of HTTP, driven by a task of its own on the thread
//! that opened it, and ended by age or by how much it was used.

use std::future::Future;
use std::net::SocketAddr;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::{TrySendError, http1, http2};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use super::request::Body;
use super::tls::Tls;
use crate::scenario::HttpVersion;

/// Where a connection is opened, and how.
#[derive(Debug, Clone)]
pub(super) struct Opening {
    pub(super) version: HttpVersion,
    pub(super) tls: Option<Tls>,
}

/// How long a connection may live.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lifetime {
    /// When it is too old; `None` when it never is.
    pub(super) until: Option<Instant>,
    /// Requests that it may still be given; `None` when there is no limit.
    pub(super) requests: Option<u64>,
}

/// The sending end of a connection. Dropping the last clone closes it once what is under way has ended.
#[derive(Debug)]
pub(super) enum Sender {
    /// One request at a time.
    Http1(http1::SendRequest<Body>),
    /// Any number at once.
    Http2(http2::SendRequest<Body>),
}

/// Spawns what HTTP/2 needs on the thread of the connection.
#[derive(Debug, Clone, Copy)]
struct OnThisThread;

impl Opening {
    /// Opens a connection and starts the task that drives it, which ends when the connection is dropped or closed.
    pub(super) async fn open(&self, address: SocketAddr) -> anyhow::Result<Sender> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        match &self.tls {
            Some(tls) => self.shake(tls.connect(stream).await?).await,
            None => self.shake(stream).await,
        }
    }

    async fn shake<S>(&self, stream: S) -> anyhow::Result<Sender>
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let stream = TokioIo::new(stream);
        // An error of the connection reaches the requests that were on it; without any it is of no interest.
        Ok(match self.version {
            HttpVersion::Http1 => {
                let (sender, connection) = http1::handshake(stream).await?;
                tokio::task::spawn_local(async move { drop(connection.await) });
                Sender::Http1(sender)
            }
            HttpVersion::Http2 => {
                let (sender, connection) = http2::handshake(OnThisThread, stream).await?;
                tokio::task::spawn_local(async move { drop(connection.await) });
                Sender::Http2(sender)
            }
        })
    }
}

impl Lifetime {
    pub(super) fn is_over(&self, now: Instant) -> bool {
        self.requests == Some(0) || self.until.is_some_and(|until| until <= now)
    }

    pub(super) fn count(&mut self) {
        self.requests = self.requests.map(|left| left.saturating_sub(1));
    }
}

impl Sender {
    pub(super) fn is_closed(&self) -> bool {
        match self {
            Self::Http1(sender) => sender.is_closed(),
            Self::Http2(sender) => sender.is_closed(),
        }
    }

    /// Waits until a request can be sent, and says whether the connection is still there.
    pub(super) async fn is_ready(&mut self) -> bool {
        match self {
            Self::Http1(sender) => sender.ready().await.is_ok(),
            Self::Http2(sender) => sender.ready().await.is_ok(),
        }
    }

    /// The same connection again, where requests can share one.
    pub(super) fn shared(&self) -> Option<Self> {
        match self {
            Self::Http1(_) => None,
            Self::Http2(sender) => Some(Self::Http2(sender.clone())),
        }
    }

    /// Sends; what was not sent comes back with the error.
    pub(super) async fn send(
        &mut self,
        request: Request<Body>,
    ) -> Result<Response<Incoming>, TrySendError<Request<Body>>> {
        match self {
            Self::Http1(sender) => sender.try_send_request(request).await,
            Self::Http2(sender) => sender.try_send_request(request).await,
        }
    }
}

impl<F> hyper::rt::Executor<F> for OnThisThread
where
    F: Future + 'static,
    F::Output: 'static,
{
    fn execute(&self, work: F) {
        tokio::task::spawn_local(work);
    }
}
