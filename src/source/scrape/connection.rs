//! One connection to a target: TCP, TLS where asked for, and HTTP/1.1 on it. It serves one request at a time and is
//! kept alive from scrape to scrape. Dropping it closes the socket at once, whatever is still on its way.

use std::sync::Arc;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_util::task::AbortOnDropHandle;

use super::failure;
use super::spec::ScrapeSpec;
use crate::model::health::{Failure, FailureReason};
use crate::source::reach::{Purpose, Reach};

/// Bytes of hyper's read buffer, and so also of an answer's headers. Its default of 400 KiB stays at some 137 KiB for
/// every kept-alive target after an 87 KB page; with this a target takes some 23 KiB, for the same CPU time.
const READ_BUFFER_BYTES: usize = 16 * 1024;

/// An open connection.
#[derive(Debug)]
pub(super) struct Connection {
    sender: http1::SendRequest<Empty<Bytes>>,
    /// Moves bytes between the socket, which it owns, and `sender`.
    _driver: AbortOnDropHandle<()>,
}

impl Connection {
    /// Connects to the target, if it may be; with TLS when there is a configuration for it.
    ///
    /// # Errors
    /// `forbidden`, `refused`, `timeout`, `tls` or `disconnected`.
    pub(super) async fn open(
        spec: &ScrapeSpec,
        tls: Option<&Arc<ClientConfig>>,
        reach: &Reach,
    ) -> Result<Self, Failure> {
        let endpoint = &spec.endpoint;
        // A host that is an IP address, as a pod's is, needs no resolver.
        let stream = reach
            .connect(&endpoint.host, endpoint.port, Purpose::Page)
            .await
            .map_err(|error| error.into_failure(failure::not_connected))?;
        // A request is one small write; there is nothing to gather it with. Failing to say so costs only time.
        let _ = stream.set_nodelay(true);
        let Some(tls) = tls else {
            return Self::start(stream).await;
        };
        let name = spec.tls.server_name.as_ref().unwrap_or(&endpoint.host);
        let name = ServerName::try_from(name.clone()).map_err(|_| {
            let message = "the name to expect in the certificate is no host name";
            Failure::new(FailureReason::Tls, message)
        })?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
            .map_err(|error| failure::no_tls(&error))?;
        Self::start(stream).await
    }

    async fn start<S>(stream: S) -> Result<Self, Failure>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(READ_BUFFER_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| failure::no_answer(&error))?;
        // Its error is also the answer's, or that of the next request.
        let driver = tokio::spawn(async move { drop(driver.await) });
        Ok(Self {
            sender,
            _driver: AbortOnDropHandle::new(driver),
        })
    }

    /// Whether another request can be sent: the target has not closed the connection since the last answer.
    pub(super) async fn is_open(&mut self) -> bool {
        self.sender.ready().await.is_ok()
    }

    /// Sends a request and awaits the head of its answer.
    pub(super) async fn send(
        &mut self,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        self.sender.send_request(request).await
    }
}
