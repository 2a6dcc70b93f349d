//! Serves the page of a run that goes on, so that Prometheus can scrape it. Whoever runs writes the page as often as it
//! likes; here it is only handed out.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{self, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_util::sync::CancellationToken;

use crate::report::exposition::CONTENT_TYPE;

/// Connections at once: some Prometheus servers, and somebody with curl. More wait.
const CONNECTIONS_MAX: usize = 16;

/// How long a client may take for the head of its request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// How long a connection lives, so that clients that never leave do not keep the others out.
const CONNECTION_MAX: Duration = Duration::from_secs(300);

/// How long to wait when no connection can be accepted, as without free file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Hands out the newest `page` at `/metrics` until `stop` is cancelled. Connections that are open then are closed.
pub async fn serve(
    listener: TcpListener,
    page: watch::Receiver<Arc<String>>,
    stop: CancellationToken,
) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let next = async {
            let place = Arc::clone(&places).acquire_owned().await;
            (listener.accept().await, place)
        };
        let (accepted, place) = tokio::select! {
            () = stop.cancelled() => return,
            next = next => next,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        let (page, stop) = (page.clone(), stop.clone());
        tokio::spawn(async move {
            let _place = place;
            let service = service_fn(|request| {
                let response = answer(&request, &page);
                async move { Ok::<_, Infallible>(response) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            let connection = pin!(connection);
            // What breaks here is the client's doing, and it will ask again.
            tokio::select! {
                () = stop.cancelled() => {}
                _ = tokio::time::timeout(CONNECTION_MAX, connection) => {}
            }
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    page: &watch::Receiver<Arc<String>>,
) -> Response<Full<Bytes>> {
    let (status, kind, body) = match (request.uri().path(), request.method()) {
        ("/metrics", &Method::GET | &Method::HEAD) => {
            let page = Arc::clone(&page.borrow());
            (
                StatusCode::OK,
                CONTENT_TYPE,
                Bytes::copy_from_slice(page.as_bytes()),
            )
        }
        ("/metrics", _) => (
            StatusCode::METHOD_NOT_ALLOWED,
            "text/plain",
            Bytes::from_static(b"only GET\n"),
        ),
        _ => (
            StatusCode::NOT_FOUND,
            "text/plain",
            Bytes::from_static(b"see /metrics\n"),
        ),
    };
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::*;

    async fn get(address: std::net::SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn the_newest_page_is_handed_out_until_the_end() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (pages, page) = watch::channel(Arc::new("first 1\n".to_owned()));
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve(listener, page, stop.clone()));
        assert!(
            get(address, "/metrics")
                .await
                .ends_with("\r\n\r\nfirst 1\n")
        );
        pages.send_replace(Arc::new("second 2\n".to_owned()));
        let answer = get(address, "/metrics").await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\nsecond 2\n"),
            "{answer}"
        );
        assert!(
            answer
                .to_lowercase()
                .contains("content-type: text/plain; version=0.0.4"),
            "{answer}"
        );
        assert!(get(address, "/").await.starts_with("HTTP/1.1 404"));
        stop.cancel();
        server.await.unwrap();
    }
}
