//! A server that remembers what it was asked, in either version of HTTP, with TLS or without.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, Version};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::scenario::HttpVersion;

pub(super) struct Witness {
    pub(super) address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
}

/// A request that was asked.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    /// Which connection it came by, from 0.
    pub(super) connection: usize,
    pub(super) method: Method,
    pub(super) version: Version,
    pub(super) path: String,
    pub(super) token: String,
    pub(super) host: String,
    pub(super) body: String,
}

/// What it answers with.
#[derive(Clone, Copy)]
struct Manner {
    version: HttpVersion,
    delay: Duration,
}

impl Witness {
    pub(super) async fn start() -> Self {
        Self::speaking(HttpVersion::Http1, None, Duration::ZERO).await
    }

    pub(super) async fn speaking(
        version: HttpVersion,
        tls: Option<TlsAcceptor>,
        delay: Duration,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen: Arc<Mutex<Vec<Seen>>> = Arc::default();
        let seeing = Arc::clone(&seen);
        let manner = Manner { version, delay };
        tokio::spawn(async move {
            for connection in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                let (seen, tls) = (Arc::clone(&seeing), tls.clone());
                tokio::spawn(async move {
                    match tls {
                        None => serve(stream, manner, connection, seen).await,
                        Some(tls) => {
                            // A client that trusts nobody goes away.
                            if let Ok(stream) = tls.accept(stream).await {
                                serve(stream, manner, connection, seen).await;
                            }
                        }
                    }
                });
            }
        });
        Self { address, seen }
    }

    pub(super) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }

    /// How many requests came by each connection that had any.
    pub(super) fn by_connection(&self) -> Vec<usize> {
        let mut counts = Vec::new();
        for request in self.seen() {
            if counts.len() <= request.connection {
                counts.resize(request.connection + 1, 0);
            }
            counts[request.connection] += 1;
        }
        counts.retain(|count| 0 < *count);
        counts
    }
}

async fn serve<S>(stream: S, manner: Manner, connection: usize, seen: Arc<Mutex<Vec<Seen>>>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = service_fn(move |request: Request<Incoming>| {
        let seen = Arc::clone(&seen);
        async move {
            let request = read(request, connection).await;
            if !manner.delay.is_zero() {
                tokio::time::sleep(manner.delay).await;
            }
            let response = answer(&request);
            seen.lock().unwrap().push(request);
            Ok::<_, Infallible>(response)
        }
    });
    let stream = TokioIo::new(stream);
    // It ends when the client goes.
    match manner.version {
        HttpVersion::Http1 => {
            let _ = http1::Builder::new()
                .serve_connection(stream, service)
                .await;
        }
        HttpVersion::Http2 => {
            let server = http2::Builder::new(TokioExecutor::new());
            let _ = server.serve_connection(stream, service).await;
        }
    }
}

async fn read(request: Request<Incoming>, connection: usize) -> Seen {
    let (head, body) = request.into_parts();
    let header = |name| {
        let value = head.headers.get(name);
        value.map_or("", |value| value.to_str().unwrap()).to_owned()
    };
    let body = body.collect().await.unwrap().to_bytes();
    Seen {
        connection,
        version: head.version,
        token: header("x-auth-token"),
        host: head
            .uri
            .authority()
            .map_or(header("host"), ToString::to_string),
        path: head.uri.path().to_owned(),
        method: head.method,
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

/// 204 below `/nothing`, else 200 with the path in the body.
fn answer(request: &Seen) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(format!("this is {}", request.path)));
    if request.path.starts_with("/nothing") {
        *response.status_mut() = StatusCode::NO_CONTENT;
        *response.body_mut() = Full::default();
    }
    response
}
