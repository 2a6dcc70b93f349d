//! Assertions 58 and 59, and what keeps the server up: limits of connections, slow and silent clients, the drain.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use taffrail::api::server::ConnectionLimits;
use taffrail::api::tls::ServingCert;
use taffrail::api::{GROUP_VERSION_PATH, Limits};
use taffrail::clock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::fixture::{Answer, Api, client, client_builder, shop};

/// How long anything may take that should happen soon.
const SOON: Duration = Duration::from_secs(10);

pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    let done = tokio::time::timeout(SOON, future).await;
    done.unwrap_or_else(|_| panic!("{what} took more than {SOON:?}"))
}

/// Limits short enough to be waited for.
fn impatient() -> ConnectionLimits {
    ConnectionLimits {
        handshake: Duration::from_millis(100),
        headers: Duration::from_millis(100),
        idle: Duration::from_millis(100),
        drain: Duration::from_millis(200),
        ..ConnectionLimits::default()
    }
}

async fn with_connections(limits: ConnectionLimits) -> Api {
    Api::with(shop(clock::now()), Limits::default(), limits).await
}

/// A handshake by hand.
pub(crate) async fn handshake(
    api: &Api,
    versions: &[&'static SupportedProtocolVersion],
    alpn: &[&[u8]],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    let ca = api.cert.ca_pem().expect("it was made");
    let ca = CertificateDer::from_pem_slice(ca.as_bytes()).expect("a certificate");
    roots.add(ca).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .expect("ring has them")
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.to_vec()).collect();
    let stream = TcpStream::connect(api.address).await?;
    // The name that the aggregator expects.
    let name = ServerName::try_from("taffrail.shop.svc").expect("a name");
    TlsConnector::from(Arc::new(config))
        .connect(name, stream)
        .await
}

pub(crate) const BOTH: &[&SupportedProtocolVersion] =
    &[&rustls::version::TLS13, &rustls::version::TLS12];

/// Reads until the server closes, which it must do soon; a reset counts as closing.
async fn closed(mut stream: impl AsyncReadExt + Unpin) -> Vec<u8> {
    let mut read = Vec::new();
    let _ = soon("closing the connection", stream.read_to_end(&mut read)).await;
    read
}

#[tokio::test]
async fn assertion_58_tls_1_2_and_1_3_with_both_protocols_are_accepted() {
    let api = Api::start().await;
    for (version, spoken) in [
        (&rustls::version::TLS12, ProtocolVersion::TLSv1_2),
        (&rustls::version::TLS13, ProtocolVersion::TLSv1_3),
    ] {
        for alpn in [&b"h2"[..], b"http/1.1"] {
            let stream = handshake(&api, &[version], &[alpn])
                .await
                .expect("a handshake");
            let (_, session) = stream.get_ref();
            assert_eq!(session.protocol_version(), Some(spoken));
            assert_eq!(session.alpn_protocol(), Some(alpn));
        }
    }
    let stream = handshake(&api, BOTH, &[b"http/1.1", b"h2"])
        .await
        .expect("a handshake");
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/request_rate");
    for (builder, version) in [
        (client_builder(api.cert.ca_pem()), http::Version::HTTP_2),
        (
            client_builder(api.cert.ca_pem()).http1_only(),
            http::Version::HTTP_11,
        ),
    ] {
        let client = builder.build().expect("a client");
        let answer = client.get(api.url(&path)).send().await.expect("an answer");
        assert_eq!((answer.version(), answer.status().as_u16()), (version, 200));
    }
}

#[tokio::test]
async fn assertion_58_tls_1_1_is_refused() {
    let api = Api::start().await;
    let mut hello = vec![3, 2]; // TLS 1.1
    hello.extend([7; 32]); // random
    hello.push(0); // no session
    hello.extend([0, 4, 0xc0, 0x13, 0x00, 0x2f]); // ECDHE-RSA and RSA with AES-128-CBC-SHA
    hello.extend([1, 0]); // no compression
    hello.extend([0, 8, 0, 13, 0, 4, 0, 2, 4, 1]); // one extension: signatures by RSA with SHA-256
    let mut record = vec![
        22,
        3,
        1,
        0,
        hello.len() as u8 + 4,
        1,
        0,
        0,
        hello.len() as u8,
    ];
    record.extend(hello);
    let mut stream = TcpStream::connect(api.address).await.expect("a connection");
    stream.write_all(&record).await.expect("it is open");
    let answer = closed(stream).await;
    assert_eq!(answer.first(), Some(&21), "an alert: {answer:?}");
    assert_eq!(answer.last(), Some(&70), "protocol_version: {answer:?}");
}

#[tokio::test]
async fn a_client_of_another_authority_does_not_connect() {
    let api = Api::start().await;
    let other = Api::start().await;
    let answer = client(other.cert.ca_pem())
        .get(api.url("/livez"))
        .send()
        .await;
    assert!(answer.is_err());
}

/// A pair from an authority of its own, as files.
fn write_pair(dir: &std::path::Path, names: &[&str]) -> String {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = rcgen::KeyPair::generate().expect("a key");
    let cert = rcgen::CertificateParams::new(names).expect("legal names");
    let cert = cert.self_signed(&key).expect("a certificate");
    std::fs::write(dir.join("tls.crt"), cert.pem()).expect("a file");
    std::fs::write(dir.join("tls.key"), key.serialize_pem()).expect("a file");
    cert.pem()
}

#[tokio::test]
async fn assertion_59_a_replaced_certificate_is_used_by_new_handshakes_alone() {
    let dir = tempfile::tempdir().expect("a directory");
    let names = ["127.0.0.1", "taffrail.shop.svc"];
    let first = write_pair(dir.path(), &names);
    let (chain, key) = (dir.path().join("tls.crt"), dir.path().join("tls.key"));
    let cert = ServingCert::from_files(&chain, &key)
        .await
        .expect("a sound pair");
    let api = Api::with_cert(
        shop(clock::now()),
        Limits::default(),
        ConnectionLimits::default(),
        cert,
    )
    .await;
    let followed = Arc::clone(&api.cert);
    let following = tokio::spawn(async move { followed.follow(Duration::from_millis(10)).await });

    let before = client(Some(&first));
    let answer = async |client: &reqwest::Client| client.get(api.url("/livez")).send().await;
    assert_eq!(answer(&before).await.expect("an answer").status(), 200);
    let second = write_pair(dir.path(), &names);
    soon("the new certificate", async {
        while answer(&client(Some(&second))).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    let kept = answer(&before).await.expect("the old connection lives on");
    assert_eq!(kept.status(), 200);
    assert!(
        answer(&client(Some(&first))).await.is_err(),
        "new handshakes show the new one"
    );
    following.abort();
}

#[tokio::test]
async fn a_connection_that_stays_silent_is_closed() {
    let api = with_connections(impatient()).await;
    let silent = TcpStream::connect(api.address).await.expect("a connection");
    closed(silent).await;
    assert_eq!(api.counts.handshakes_failed.load(Ordering::Relaxed), 1);
    for alpn in [&b"http/1.1"[..], b"h2"] {
        let stream = handshake(&api, BOTH, &[alpn]).await.expect("a handshake");
        closed(stream).await;
    }
}

#[tokio::test]
async fn an_idle_http_2_connection_is_closed() {
    let api = with_connections(impatient()).await;
    assert_eq!(api.get("/livez").await.code, 200);
    soon("closing the idle connection", async {
        while 0 < api.counts.open.load(Ordering::Relaxed) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(
        api.get("/livez").await.code,
        200,
        "the client connects again"
    );
}

#[tokio::test]
async fn headers_that_never_end_are_given_up() {
    let api = with_connections(impatient()).await;
    let mut slow = handshake(&api, BOTH, &[b"http/1.1"])
        .await
        .expect("a handshake");
    slow.write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\nX-Slow: ")
        .await
        .expect("it is open");
    closed(slow).await;
}

#[tokio::test]
async fn headers_that_are_too_large_are_refused() {
    let api = Api::start().await;
    let http1 = client_builder(api.cert.ca_pem()).http1_only();
    let http1 = http1.build().expect("a client");
    for client in [&api.client, &http1] {
        let with = |bytes: usize| {
            let request = client.get(api.url("/livez"));
            request.header("x-large", "x".repeat(bytes))
        };
        assert_eq!(Answer::of(with(31 * 1024)).await.code, 200);
        for bytes in [33 * 1024, 40 * 1024] {
            let message = Answer::of(with(bytes))
                .await
                .refused(431, "RequestHeaderFieldsTooLarge");
            assert!(message.contains("32768"), "{message}");
        }
        // More than is buffered: the connection may be gone before the answer was read.
        let huge = with(512 * 1024).send().await;
        assert!(huge.map_or(true, |answer| answer.status() == 431));
        assert_eq!(Answer::of(with(1)).await.code, 200);
    }
}

#[tokio::test]
async fn a_body_of_any_size_that_nobody_wants_is_answered_on_http_2() {
    let api = Api::start().await;
    let url = api.url(&format!(
        "{GROUP_VERSION_PATH}/namespaces/shop/request_rate"
    ));
    for bytes in [1, 1024 * 1024, 4 * 1024 * 1024] {
        let body = || vec![b'x'; bytes];
        let posted = Answer::of(api.client.post(&url).body(body())).await;
        posted.refused(405, "MethodNotAllowed");
        let read = Answer::of(api.client.get(&url).body(body())).await;
        read.refused(413, "RequestEntityTooLarge");
        assert_eq!(Answer::of(api.client.get(&url)).await.code, 200);
    }
    assert_eq!(
        api.counts.accepted.load(Ordering::Relaxed),
        1,
        "one connection"
    );
}

#[tokio::test]
async fn plain_http_is_no_way_in() {
    let api = Api::start().await;
    let mut plain = TcpStream::connect(api.address).await.expect("a connection");
    plain
        .write_all(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .expect("it is open");
    let answer = closed(plain).await;
    assert!(!answer.starts_with(b"HTTP"), "{answer:?}");
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_and_silent_ones_in_the_reserve_give_way() {
    let limits = ConnectionLimits {
        connections: 3,
        reserve: 1,
        idle_in_reserve: Duration::from_millis(200),
        ..ConnectionLimits::default()
    };
    let api = with_connections(limits).await;
    let connect = async || handshake(&api, BOTH, &[b"h2"]).await;
    let _kept = (
        connect().await.expect("1 of 3"),
        connect().await.expect("2 of 3"),
    );
    let _in_reserve = connect().await.expect("3 of 3");
    assert!(connect().await.is_err(), "a fourth");
    assert_eq!(api.counts.refused.load(Ordering::Relaxed), 1);
    soon("a place in the reserve", async {
        while api.client.get(api.url("/livez")).send().await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

/// A server with one path, whose handler says that it was entered and then waits to be released.
async fn with_slow_handler(limits: ConnectionLimits) -> (Api, Arc<Notify>, Arc<Notify>) {
    let (entered, release) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (enters, waits) = (Arc::clone(&entered), Arc::clone(&release));
    let handler = move || async move {
        enters.notify_one();
        waits.notified().await;
        "finished"
    };
    let router = axum::Router::new().route("/slow", axum::routing::get(handler));
    (Api::of_router(router, limits).await, entered, release)
}

#[tokio::test]
async fn a_drain_finishes_what_is_under_way_and_accepts_nobody() {
    for http1 in [false, true] {
        let (mut api, entered, release) = with_slow_handler(ConnectionLimits::default()).await;
        let builder = client_builder(api.cert.ca_pem());
        let builder = if http1 { builder.http1_only() } else { builder };
        let request = builder.build().expect("a client").get(api.url("/slow"));
        let under_way = tokio::spawn(Answer::of(request));
        soon("the request", entered.notified()).await;
        let address = api.address;
        let served = api.stop();
        soon("closing the door", async {
            while TcpStream::connect(address).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
        release.notify_one();
        let answer = soon("the answer", under_way).await.expect("no panic");
        assert_eq!((answer.code, answer.body.as_str()), (200, "finished"));
        assert_eq!(soon("the drain", served).await.expect("no panic").cut, 0);
    }
}

#[tokio::test]
async fn answers_after_the_signal_tell_http_1_clients_to_go_elsewhere() {
    let api = Api::start().await;
    let http1 = client_builder(api.cert.ca_pem()).http1_only();
    let http1 = http1.build().expect("a client");
    let get = async |client: &reqwest::Client, path| Answer::of(client.get(api.url(path))).await;
    assert!(
        !get(&http1, "/livez")
            .await
            .headers
            .contains_key("connection")
    );
    api.state.drain();
    for path in ["/livez", GROUP_VERSION_PATH, "/nowhere"] {
        let answer = get(&http1, path).await;
        assert_eq!(answer.header("connection"), "close", "{path}");
        let answer = get(&api.client, path).await;
        assert!(
            !answer.headers.contains_key("connection"),
            "{path} on HTTP/2"
        );
    }
    assert_eq!(
        api.counts.accepted.load(Ordering::Relaxed),
        4,
        "3 of HTTP/1.1"
    );
}

#[tokio::test]
async fn a_drain_closes_idle_connections_at_once() {
    let mut api = Api::start().await;
    assert_eq!(api.get("/livez").await.code, 200);
    let began = clock::instant();
    let drained = soon("the drain", api.stop()).await.expect("no panic");
    assert_eq!(drained.cut, 0);
    assert!(began.elapsed() < ConnectionLimits::default().drain / 2);
}

#[tokio::test]
async fn a_drain_does_not_wait_for_ever() {
    let limits = ConnectionLimits {
        drain: Duration::from_millis(100),
        ..ConnectionLimits::default()
    };
    let (mut api, entered, _never_released) = with_slow_handler(limits).await;
    let request = api.client.get(api.url("/slow")).send();
    let stuck = tokio::spawn(request);
    soon("the request", entered.notified()).await;
    let drained = soon("the drain", api.stop()).await.expect("no panic");
    assert_eq!(drained.cut, 1);
    assert!(soon("the cut", stuck).await.expect("no panic").is_err());
}
