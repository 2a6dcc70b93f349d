//! The accept loop: TLS, HTTP/2 or HTTP/1.1 by ALPN, limits at every stage, and a drain at the end.
//!
//! hyper is driven by hand because `axum::serve` sets none of its limits, and because hyper-util's `auto` builder waits
//! without any limit for the first byte after the handshake. What a request may cost is [`super::guard`]'s matter.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulConnection;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;

use super::auth::Peer;
use super::guard::HEADER_BYTES_MAX;
use super::tls::ALPN_H2;

/// The most bytes of request headers that are buffered: twice what [`super::guard`] lets pass, which refuses the rest
/// with a reason. Beyond this bound hyper answers by itself, with a bare 431 that no `Status` can be put into; so it
/// does with more than 100 header fields on HTTP/1.1, and with a bare 400 where there is no HTTP to be read. On
/// HTTP/1.1 it looks at the bound between two reads, so that up to as much again may pass.
const HEADER_BUFFER_BYTES_MAX: u32 = 2 * HEADER_BYTES_MAX as u32;

/// The most response bytes that wait in one HTTP/2 stream for a client that does not read.
const SEND_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// How often an HTTP/2 client is asked whether it is still there, and how long it may take to answer.
const PING_INTERVAL: Duration = Duration::from_secs(30);
const PING_TIMEOUT: Duration = Duration::from_secs(10);

/// The pause after an accept error that will not pass by itself, such as no descriptors left: without it the loop
/// would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// How long an idle connection may take to close: enough for a request that crossed our goodbye on its way, and all
/// that a client gets that never says a word.
const GOODBYE: Duration = Duration::from_secs(1);

/// What one connection, and all of them, may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ConnectionLimits {
    /// Connections at once; one more is closed unheard. Kubernetes needs a few for each of its API servers.
    pub connections: usize,
    /// The last so many of them are short-lived: whoever sits on one without asking is closed after `idle_in_reserve`.
    /// So a flood of silent connections never keeps the aggregator out for longer than that.
    pub reserve: usize,
    /// For the TLS handshake, from the first byte.
    pub handshake: Duration,
    /// For the headers of one HTTP/1.1 request, and for the first request of any connection. It also closes an
    /// HTTP/1.1 connection that was kept alive, so it must not be short.
    pub headers: Duration,
    /// Without a request on an HTTP/2 connection.
    pub idle: Duration,
    /// The same on a connection of the reserve.
    pub idle_in_reserve: Duration,
    /// Requests at once on one HTTP/2 connection.
    pub streams: u32,
    /// For connections to finish what they are at, when the server stops.
    pub drain: Duration,
}

/// What became of connections so far.
#[derive(Debug, Default)]
pub struct ConnectionCounts {
    /// Open now.
    pub open: AtomicUsize,
    /// Accepted so far.
    pub accepted: AtomicU64,
    /// Closed unheard because there were too many.
    pub refused: AtomicU64,
    /// TLS handshakes that failed or took too long.
    pub handshakes_failed: AtomicU64,
    /// Errors of accepting itself.
    pub accept_errors: AtomicU64,
}

/// How a drain ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Drained {
    /// Connections that were cut because they took longer than [`ConnectionLimits::drain`].
    pub cut: usize,
}

/// An address that others can reach.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "{0} is not a loopback address: clients are not authenticated outside a cluster, so whoever reaches the API could \
     read every metric; listen on 127.0.0.1 or [::1]"
)]
pub struct NotLoopback(pub SocketAddr);

/// One connection's place: counts it as open for as long as it lives.
struct Open(Arc<ConnectionCounts>);

/// One connection's requests that have no answer yet.
struct Busy(Arc<watch::Sender<usize>>);

/// What every connection needs.
#[derive(Clone)]
struct Shared {
    acceptor: TlsAcceptor,
    router: Router,
    limits: ConnectionLimits,
    counts: Arc<ConnectionCounts>,
    draining: CancellationToken,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            connections: 512,
            reserve: 64,
            handshake: Duration::from_secs(5),
            headers: Duration::from_secs(30),
            idle: Duration::from_secs(90),
            idle_in_reserve: Duration::from_secs(5),
            streams: 100,
            drain: Duration::from_secs(10),
        }
    }
}

/// Refuses an address that others can reach, for as long as the API does not know who asks.
///
/// # Errors
/// [`NotLoopback`], with the reason.
pub fn require_loopback(address: SocketAddr) -> Result<(), NotLoopback> {
    if address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(NotLoopback(address))
}

/// Serves `router` on `listener` until `shutdown` completes; then accepts nobody, and gives the connections
/// [`ConnectionLimits::drain`] to finish.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<ServerConfig>,
    router: Router,
    limits: ConnectionLimits,
    counts: Arc<ConnectionCounts>,
    shutdown: impl Future<Output = ()>,
) -> Drained {
    let shared = Shared {
        acceptor: TlsAcceptor::from(tls),
        router,
        limits,
        counts,
        draining: CancellationToken::new(),
    };
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);
    let mut failing = false;
    loop {
        tokio::select! {
            () = &mut shutdown => break,
            Some(done) = connections.join_next() => if let Err(error) = done {
                tracing::error!(%error, "Connection panicked");
            },
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    failing = false;
                    shared.admit(stream, &mut connections);
                }
                Err(error) => shared.accept_failed(&error, &mut failing).await,
            }
        }
    }
    drop(listener);
    shared.draining.cancel();
    let all_done = async { while connections.join_next().await.is_some() {} };
    let _ = timeout(limits.drain, all_done).await;
    // Dropping the set cuts whoever is left.
    Drained {
        cut: connections.len(),
    }
}

// === impl Shared ===

impl Shared {
    /// Takes a connection in, or closes it at once: a client that is told so can go elsewhere, one that waits in a
    /// queue holds up an HPA worker.
    fn admit(&self, stream: TcpStream, connections: &mut JoinSet<()>) {
        let open = self.counts.open.load(Ordering::Relaxed);
        if self.limits.connections <= open {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let in_reserve = self.limits.connections <= open + self.limits.reserve;
        let place = Open::new(&self.counts);
        let shared = self.clone();
        connections.spawn(async move {
            shared.connection(stream, in_reserve).await;
            drop(place);
        });
    }

    async fn accept_failed(&self, error: &io::Error, failing: &mut bool) {
        self.counts.accept_errors.fetch_add(1, Ordering::Relaxed);
        if is_of_one_connection(error) {
            return;
        }
        if !*failing {
            tracing::warn!(%error, "Cannot accept connections");
            *failing = true;
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }

    /// One connection, from its first byte to its last.
    async fn connection(&self, stream: TcpStream, in_reserve: bool) {
        // Answers are one small write each; waiting to fill a packet would only delay them.
        let _ = stream.set_nodelay(true);
        let handshake = timeout(self.limits.handshake, self.acceptor.accept(stream));
        let stream = tokio::select! {
            done = handshake => done,
            () = self.draining.cancelled() => return,
        };
        let Ok(Ok(stream)) = stream else {
            self.counts
                .handshakes_failed
                .fetch_add(1, Ordering::Relaxed);
            return;
        };
        let session = stream.get_ref().1;
        let is_h2 = session.alpn_protocol() == Some(ALPN_H2);
        let peer = Arc::new(Peer::new(session.peer_certificates()));
        let busy = Arc::new(watch::Sender::new(0));
        let router = self.router.clone();
        let answers = Arc::clone(&busy);
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(Arc::clone(&peer));
            let answering = Busy::new(&answers);
            let answer = router.clone().oneshot(request.map(Body::new));
            async move {
                let response = answer.await;
                drop(answering);
                Ok::<_, Infallible>(response.unwrap_or_else(|never| match never {}))
            }
        });
        let io = TokioIo::new(stream);
        let requests = busy.subscribe();
        if is_h2 {
            let connection = self.http2().serve_connection(io, service);
            self.drive(connection, requests, in_reserve).await;
        } else {
            let connection = self.http1(in_reserve).serve_connection(io, service);
            self.drive(connection, requests, in_reserve).await;
        }
    }

    /// Runs a connection until it ends, is idle for too long, or the server stops.
    async fn drive<C: GracefulConnection>(
        &self,
        connection: C,
        requests: watch::Receiver<usize>,
        in_reserve: bool,
    ) {
        let mut connection = pin!(connection);
        let (first, idle) = if in_reserve {
            (self.limits.idle_in_reserve, self.limits.idle_in_reserve)
        } else {
            (self.limits.headers, self.limits.idle)
        };
        // A connection's own errors are the client's: it went away, or spoke no HTTP.
        tokio::select! {
            _ = &mut connection => {}
            () = self.draining.cancelled() => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
            () = idle_for(requests, first, idle) => {
                connection.as_mut().graceful_shutdown();
                let _ = timeout(GOODBYE, connection).await;
            }
        }
    }

    fn http1(&self, in_reserve: bool) -> http1::Builder {
        let headers = if in_reserve {
            self.limits.idle_in_reserve
        } else {
            self.limits.headers
        };
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(headers)
            .max_buf_size(HEADER_BUFFER_BYTES_MAX as usize);
        builder
    }

    fn http2(&self) -> http2::Builder<TokioExecutor> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .max_concurrent_streams(self.limits.streams)
            .max_header_list_size(HEADER_BUFFER_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES_MAX)
            .keep_alive_interval(PING_INTERVAL)
            .keep_alive_timeout(PING_TIMEOUT);
        builder
    }
}

/// Completes when there was no request for a while: for `first` before the first one, for `idle` after any other.
async fn idle_for(mut requests: watch::Receiver<usize>, first: Duration, idle: Duration) {
    let mut limit = first;
    // The sender lives in the connection, which is gone before its end could be seen here.
    while requests.wait_for(|n| *n == 0).await.is_ok() {
        if timeout(limit, requests.changed()).await.is_err() {
            return;
        }
        limit = idle;
    }
    std::future::pending::<()>().await;
}

/// Whether an accept error concerns only the connection that was being accepted, so that the next may succeed at once.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionRefused
            | io::ErrorKind::Interrupted
    )
}

// === impl Open, Busy ===

impl Open {
    fn new(counts: &Arc<ConnectionCounts>) -> Self {
        counts.open.fetch_add(1, Ordering::Relaxed);
        counts.accepted.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(counts))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Busy {
    fn new(requests: &Arc<watch::Sender<usize>>) -> Self {
        requests.send_modify(|n| *n += 1);
        Self(Arc::clone(requests))
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.send_modify(|n| *n -= 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_loopback_addresses_may_be_listened_on() {
        for address in [
            "127.0.0.1:6443",
            "127.9.9.9:1",
            "[::1]:6443",
            "[::ffff:127.0.0.1]:1",
        ] {
            assert_eq!(
                require_loopback(address.parse().expect("an address")),
                Ok(())
            );
        }
        for address in [
            "0.0.0.0:6443",
            "10.0.0.1:1",
            "[::]:6443",
            "[::ffff:10.0.0.1]:1",
        ] {
            let error = require_loopback(address.parse().expect("an address"));
            let message = error.expect_err(address).to_string();
            assert!(message.contains("not authenticated"), "{message}");
        }
    }

    #[test]
    fn running_out_of_descriptors_pauses_and_a_lost_connection_does_not() {
        let no_descriptors = io::Error::from_raw_os_error(24); // EMFILE on Linux and macOS
        assert!(!is_of_one_connection(&no_descriptors));
        assert!(is_of_one_connection(
            &io::ErrorKind::ConnectionAborted.into()
        ));
    }

    #[tokio::test]
    async fn a_connection_is_idle_only_while_no_request_is_under_way() {
        let requests = Arc::new(watch::Sender::new(0));
        let ms = Duration::from_millis;
        let mut idle = pin!(idle_for(requests.subscribe(), ms(60), ms(20)));
        let busy = Busy::new(&requests);
        assert!(
            timeout(ms(200), &mut idle).await.is_err(),
            "a request is under way"
        );
        drop(busy);
        assert!(
            timeout(ms(2000), &mut idle).await.is_ok(),
            "none is any more"
        );
    }

    #[tokio::test]
    async fn a_connection_without_a_first_request_is_idle_after_a_limit_of_its_own() {
        let requests = watch::Sender::new(0);
        let (soon, late) = (Duration::from_millis(20), Duration::from_secs(3600));
        let idle = idle_for(requests.subscribe(), soon, late);
        assert!(timeout(Duration::from_secs(2), idle).await.is_ok());
        let idle = idle_for(requests.subscribe(), late, soon);
        assert!(timeout(Duration::from_millis(100), idle).await.is_err());
    }
}
