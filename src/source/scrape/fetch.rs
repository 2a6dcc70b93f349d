//! One target's page, fetched: a request on a kept-alive connection, an answer checked before its body is received, all
//! under one deadline. What the page says is of no interest here.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, TRANSFER_ENCODING};
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::Empty;
use hyper::body::Incoming;
use rustls::ClientConfig;

use super::body::{self, Coding};
use super::connection::Connection;
use super::failure::{self, Progress};
use super::request;
use super::shared::{Page, Share, Shared};
use super::spec::{Scheme, ScrapeSpec};
use crate::exposition::Format;
use crate::model::health::{Failure, FailureReason};

/// Fetches one target's pages, one at a time.
#[derive(Debug)]
pub struct Fetcher {
    spec: ScrapeSpec,
    shared: Arc<Shared>,
    share: Arc<Share>,
    /// Kept from the last page that came whole.
    connection: Option<Connection>,
    /// Kept so that it stays among the shared ones between connections.
    tls: Option<Arc<ClientConfig>>,
}

impl Fetcher {
    /// Connects to nobody yet.
    pub fn new(spec: ScrapeSpec, shared: Arc<Shared>) -> Self {
        Self {
            share: shared.share(&spec.target.service.namespace),
            spec,
            shared,
            connection: None,
            tls: None,
        }
    }

    /// The target's page as it is now.
    ///
    /// The deadline covers everything: secrets, connecting, TLS, headers, waiting for room, body. After any failure the
    /// connection is closed, so that nothing of a broken answer is taken for the next one and nobody drains an
    /// endless one.
    ///
    /// # Errors
    /// Why there is no page, by reason.
    pub async fn fetch(&mut self) -> Result<Page<'_>, Failure> {
        let timeout = self.spec.timeout;
        let mut progress = Progress::Connecting;
        match tokio::time::timeout(timeout, self.attempt(&mut progress)).await {
            Ok(fetched) => fetched,
            Err(_) => Err(failure::timed_out(timeout, progress)),
        }
    }

    async fn attempt(&mut self, progress: &mut Progress) -> Result<Page<'_>, Failure> {
        let headers = request::headers(&self.spec, &self.shared.secrets)?;
        let (connection, answer) = self.send(&headers, progress).await?;
        check_status(answer.status(), &self.spec)?;
        let content_type = answer.headers().get(CONTENT_TYPE);
        let format = Format::from_content_type(content_type.and_then(|value| value.to_str().ok()))?;
        let coding = Coding::of(answer.headers(), self.spec.gzip)?;
        let is_measured = is_measured(answer.headers());
        *progress = Progress::AwaitingRoom;
        let mut page = self.shared.page(format, &self.share).await;
        *progress = Progress::Receiving(0);
        let bytes_max = self.spec.body_bytes_max;
        body::receive(answer.into_body(), coding, bytes_max, &mut page, progress).await?;
        // HTTP says that nothing is missing, so a last line without its end is whole; without that it may be cut.
        if is_measured
            && format == Format::Text
            && page.bytes.last().is_some_and(|last| *last != b'\n')
        {
            page.bytes.push(b'\n');
        }
        self.connection = Some(connection);
        Ok(page)
    }

    /// Sends the request, on the kept connection if it still stands. A target may close that just as the request goes
    /// out, which says nothing about its health: then the request is sent once more on a new one.
    async fn send(
        &mut self,
        headers: &HeaderMap,
        progress: &mut Progress,
    ) -> Result<(Connection, Response<Incoming>), Failure> {
        if let Some(mut kept) = self.connection.take()
            && kept.is_open().await
        {
            *progress = Progress::AwaitingAnswer;
            match kept.send(self.request(headers)).await {
                Ok(answer) => return Ok((kept, answer)),
                Err(error) if error.is_parse() => return Err(failure::no_answer(&error)),
                Err(_) => *progress = Progress::Connecting,
            }
        }
        if self.spec.endpoint.scheme == Scheme::Https {
            self.tls = Some(self.shared.tls.get(&self.spec.tls)?);
        }
        let mut fresh = Connection::open(&self.spec, self.tls.as_ref(), &self.shared.reach).await?;
        *progress = Progress::AwaitingAnswer;
        match fresh.send(self.request(headers)).await {
            Ok(answer) => Ok((fresh, answer)),
            Err(error) => Err(failure::no_answer(&error)),
        }
    }

    fn request(&self, headers: &HeaderMap) -> Request<Empty<Bytes>> {
        let mut request = Request::new(Empty::new());
        *request.uri_mut() = self.spec.endpoint.path_and_query.clone().into();
        *request.headers_mut() = headers.clone();
        request
    }
}

/// Whether HTTP itself tells where the body ends: by its length, or by a last chunk. Any other transfer coding ends
/// with the connection, whatever length stands beside it.
fn is_measured(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TRANSFER_ENCODING);
    match codings.iter().next_back() {
        Some(coding) => coding
            .to_str()
            .ok()
            .and_then(|codings| codings.rsplit(',').next())
            .is_some_and(|last| last.trim().eq_ignore_ascii_case("chunked")),
        None => headers.contains_key(CONTENT_LENGTH),
    }
}

fn check_status(status: StatusCode, spec: &ScrapeSpec) -> Result<(), Failure> {
    let code = status.as_u16();
    let (reason, message) = match status {
        StatusCode::OK => return Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => (
            FailureReason::Unauthorized,
            format!("answered {code}; {}", spec.credentials()),
        ),
        _ if status.is_redirection() => (
            FailureReason::Status,
            format!("answered {code}, a redirect, which is never followed: name the final address"),
        ),
        _ => (FailureReason::Status, format!("answered {code}")),
    };
    Err(Failure::new(reason, message))
}
