//! One connection to one Redis server: opened with a deadline from outside, asked in pipelines, and cut off when it says
//! too much. redis-rs encodes commands and decodes replies; the socket is ours, because its own connections keep reading
//! a reply after the caller has given up on it.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use redis::{Value, parse_redis_value_async};
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::fault;
use super::pool::Pool;
use super::request::Request;
use super::spec::Connection;
use crate::clock;
use crate::model::health::{Failure, FailureReason};
use crate::source::reach::Purpose;
use crate::source::secret::SecretStore;
use crate::source::tls::{self, TlsSpec};

/// Bytes of all replies of one read. A server with every command in use says about 100 KiB; decoded, a reply of only
/// the smallest values takes some twenty times its bytes, so this also keeps a hostile server's cost near 20 MiB.
pub(super) const REPLY_BYTES_MAX: usize = 1024 * 1024;

/// After this a connection is replaced, so that a changed DNS record, password or certificate is noticed.
const AGE_MAX: Duration = Duration::from_secs(5 * 60);

/// What a server said to one request: a value, or its refusal.
pub(super) type Reply = Result<Value, Failure>;

/// One connection.
pub(super) struct Link {
    socket: Metered,
    opened: Instant,
    /// No reply is outstanding: the next byte will answer the next request.
    in_sync: bool,
}

/// What both TCP and TLS are.
trait Socket: AsyncRead + AsyncWrite + Send + Unpin {}

/// A socket from which only so much may be read.
struct Metered {
    inner: Box<dyn Socket>,
    bytes_left: usize,
    /// Why reading ended, which the decoder above would lose.
    failure: Option<Failure>,
}

impl Link {
    /// Connects, if the server may be read, and says who we are.
    ///
    /// # Errors
    /// `forbidden`, `refused`, `tls`, `unauthorized`, or whatever the first answers give.
    pub(super) async fn open(connection: &Connection, pool: &Pool) -> Result<Self, Failure> {
        let Pool { secrets, reach, .. } = pool;
        let tcp = reach
            .connect(&connection.host, connection.port, Purpose::Redis)
            .await
            .map_err(|error| error.into_failure(fault::from_connect))?;
        // Requests are whole pipelines; waiting for more to send would only delay them.
        tcp.set_nodelay(true)
            .map_err(|error| fault::from_connect(&error))?;
        let inner: Box<dyn Socket> = match &connection.tls {
            Some(tls) => Box::new(encrypt(tcp, &connection.host, tls, secrets).await?),
            None => Box::new(tcp),
        };
        let mut link = Self {
            socket: Metered {
                inner,
                bytes_left: REPLY_BYTES_MAX,
                failure: None,
            },
            opened: clock::instant(),
            in_sync: true,
        };
        link.introduce(connection, secrets).await?;
        Ok(link)
    }

    /// Whether it may serve another read: nothing outstanding, and not too old.
    pub(super) fn is_fit(&self) -> bool {
        self.in_sync && clock::instant().duration_since(self.opened) <= AGE_MAX
    }

    /// Starts a read: a fresh allowance of bytes, and proof that the server would answer an app. `INFO` alone is no such
    /// proof: it works while the server loads its data, with all counters at zero.
    ///
    /// # Errors
    /// As [`Link::ask`], and the server's refusal.
    pub(super) async fn begin(&mut self) -> Result<(), Failure> {
        self.socket.bytes_left = REPLY_BYTES_MAX;
        self.ask_one(&Request::Ping).await?.map(drop)
    }

    /// Sends one request and waits for its reply.
    ///
    /// # Errors
    /// As [`Link::ask`].
    pub(super) async fn ask_one(&mut self, request: &Request<'_>) -> Result<Reply, Failure> {
        let replies = self.ask(std::slice::from_ref(request)).await?;
        replies
            .into_iter()
            .next()
            .ok_or_else(|| fault::malformed(request))
    }

    /// Sends all requests at once and waits for one reply each, in their order. Dropped halfway or failed, the link is
    /// no longer fit.
    ///
    /// # Errors
    /// `disconnected`, `tls`, `too_large`, `malformed`: the connection is of no more use. A server that refuses and hangs
    /// up, as one with too many clients does, fails with its refusal.
    pub(super) async fn ask(&mut self, requests: &[Request<'_>]) -> Result<Vec<Reply>, Failure> {
        self.in_sync = false;
        let mut bytes = Vec::new();
        for request in requests {
            request.encode(&mut bytes);
        }
        let sent = self.socket.write_all(&bytes).await;
        let replies = self.receive(requests).await?;
        sent.map_err(|error| fault::from_io(&error))?;
        self.in_sync = true;
        Ok(replies)
    }

    async fn receive(&mut self, requests: &[Request<'_>]) -> Result<Vec<Reply>, Failure> {
        let mut decoder = Default::default();
        let mut replies: Vec<Reply> = Vec::with_capacity(requests.len());
        for request in requests {
            match parse_redis_value_async(&mut decoder, &mut self.socket).await {
                Ok(Value::ServerError(error)) => {
                    replies.push(Err(fault::from_server(&error, request)));
                }
                Ok(value) => replies.push(Ok(value)),
                Err(error) => {
                    let refusal = replies.into_iter().find_map(Reply::err);
                    let failure = self
                        .socket
                        .failure
                        .take()
                        .unwrap_or_else(|| decoding(&error, request));
                    return Err(refusal.unwrap_or(failure));
                }
            }
        }
        match requests.last() {
            // More than was asked for: whatever it answers, it is not our next request.
            Some(last) if !decoder.buffer().is_empty() => Err(fault::malformed(last)),
            _ => Ok(replies),
        }
    }

    async fn introduce(
        &mut self,
        connection: &Connection,
        secrets: &SecretStore,
    ) -> Result<(), Failure> {
        let mut requests = Vec::with_capacity(4);
        if let Some(password) = &connection.password {
            let username = connection.username.as_ref();
            requests.push(Request::Auth {
                username: username.map(|user| user.read(secrets)).transpose()?,
                password: password.read(secrets)?,
            });
        }
        if connection.db != 0 {
            requests.push(Request::Select(connection.db));
        }
        requests.extend([Request::SetName, Request::Ping]);
        let replies = self.ask(&requests).await?;
        for (request, reply) in requests.iter().zip(replies) {
            // A user may be denied to name itself and still read all we need.
            if !matches!(request, Request::SetName) {
                reply?;
            }
        }
        Ok(())
    }
}

async fn encrypt(
    tcp: TcpStream,
    host: &str,
    tls: &TlsSpec,
    secrets: &SecretStore,
) -> Result<tokio_rustls::client::TlsStream<TcpStream>, Failure> {
    let config = tls::build(tls, secrets)?;
    let host = tls.server_name.as_deref().unwrap_or(host);
    let name = ServerName::try_from(host.to_owned()).map_err(|_| {
        Failure::new(
            FailureReason::Tls,
            format!("{host:?} is no name that a certificate can have"),
        )
    })?;
    TlsConnector::from(Arc::new(config))
        .connect(name, tcp)
        .await
        .map_err(|error| fault::from_handshake(&error))
}

/// Why decoding ended though the socket did not fail: it was closed, or what came is not Redis' protocol.
fn decoding(error: &redis::RedisError, request: &Request<'_>) -> Failure {
    if error.is_io_error() {
        fault::from_io(&io::ErrorKind::UnexpectedEof.into())
    } else {
        fault::malformed(request)
    }
}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Socket for S {}

impl AsyncRead for Metered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.bytes_left == 0 {
            self.failure = Some(Failure::new(
                FailureReason::TooLarge,
                format!("the answers to one read passed {REPLY_BYTES_MAX} bytes"),
            ));
            return Poll::Ready(Err(io::ErrorKind::FileTooLarge.into()));
        }
        let before = buf.filled().len();
        let outcome = ready!(Pin::new(&mut self.inner).poll_read(cx, buf));
        match &outcome {
            Ok(()) => {
                let read = buf.filled().len() - before;
                self.bytes_left = self.bytes_left.saturating_sub(read);
            }
            Err(error) => self.failure = Some(fault::from_io(error)),
        }
        Poll::Ready(outcome)
    }
}

impl AsyncWrite for Metered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use tokio::io::AsyncReadExt;

    use super::*;

    /// What a link makes of a server that reads a PING, says `says` and hangs up.
    fn answer(says: Vec<u8>) -> Result<Reply, Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (ours, mut theirs) = tokio::io::duplex(64 * 1024);
            let mut link = Link {
                socket: Metered {
                    inner: Box::new(ours),
                    bytes_left: REPLY_BYTES_MAX,
                    failure: None,
                },
                opened: clock::instant(),
                in_sync: true,
            };
            let server = async move {
                let mut asked = [0; 64];
                let _ = theirs.read(&mut asked).await;
                let _ = theirs.write_all(&says).await;
            };
            // The link goes once it has failed: a server that still talks must notice.
            let client = async move {
                let reply = link.ask_one(&Request::Ping).await;
                assert_eq!(link.in_sync, reply.is_ok());
                reply
            };
            let (reply, ()) = tokio::join!(client, server);
            reply
        })
    }

    #[test]
    fn an_answer_that_is_cut_short_or_not_redis_fails_with_its_reason() {
        use FailureReason::{Disconnected, Malformed, TooLarge};
        let endless_line = [b"+".to_vec(), vec![b'a'; 2 * REPLY_BYTES_MAX]].concat();
        let endless_bulk = [b"$536870912\r\n".to_vec(), vec![0; 2 * REPLY_BYTES_MAX]].concat();
        let endless_array = [b"*1000000000\r\n".to_vec(), b":1\r\n".repeat(400_000)].concat();
        for (says, reason) in [
            (b"".to_vec(), Disconnected),
            (b"$5\r\nab".to_vec(), Disconnected),
            (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), Malformed),
            (b"<html>".to_vec(), Malformed),
            (b":twelve\r\n".to_vec(), Malformed),
            (b"+PONG\r\n+PONG\r\n".to_vec(), Malformed),
            (b"*1\r\n".repeat(200), Malformed),
            (endless_line, TooLarge),
            (endless_bulk, TooLarge),
            (endless_array, TooLarge),
        ] {
            let shown = String::from_utf8_lossy(&says[..says.len().min(20)]).into_owned();
            assert_eq!(answer(says).unwrap_err().reason, reason, "{shown}");
        }
    }

    #[test]
    fn a_server_that_refuses_and_hangs_up_fails_with_its_refusal() {
        let reply = answer(b"-LOADING not yet\r\n".to_vec()).unwrap();
        assert_eq!(reply.unwrap_err().reason, FailureReason::NotReady);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(512))]

        #[test]
        fn no_answer_whatever_makes_it_panic(
            says in proptest::collection::vec(
                prop_oneof![
                    Just(b"\r\n".to_vec()),
                    "[-+:$*%~>|=!,#_(][-0-9]{0,20}(\r\n)?".prop_map(String::into_bytes),
                    proptest::collection::vec(any::<u8>(), 0..8),
                ],
                0..12,
            )
        ) {
            let _ = answer(says.concat());
        }
    }
}
