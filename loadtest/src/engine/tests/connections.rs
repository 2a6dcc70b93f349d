//! Connections: how they are opened, how long they live, and what a new endpoint means for them.

use std::path::Path as FilePath;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls_pki_types::PrivateKeyDer;
use tokio_rustls::TlsAcceptor;

use super::witness::Witness;
use super::*;

const HTTP2: HttpVersion = HttpVersion::Http2;

/// Authorities in a file, and a server for `shop.test` whose certificate they gave.
fn authority(version: HttpVersion, directory: &FilePath) -> (std::path::PathBuf, TlsAcceptor) {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let file = directory.join("ca.pem");
    std::fs::write(&file, ca.pem()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["shop.test".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &ca).unwrap();
    let provider = Arc::new(ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).unwrap(),
        )
        .unwrap();
    if version == HTTP2 {
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    }
    (file, TlsAcceptor::from(Arc::new(config)))
}

#[tokio::test]
async fn both_versions_are_spoken_over_tls_to_whom_the_authority_vouches_for() {
    let directory = tempfile::tempdir().unwrap();
    for version in [HttpVersion::Http1, HTTP2] {
        let (ca, acceptor) = authority(version, directory.path());
        let server = Witness::speaking(version, Some(acceptor), Duration::ZERO).await;
        let asking = |tls| Config {
            version,
            tls: Some(tls),
            ..config()
        };
        let tls = Tls::new("shop.test", Some(&ca), version).unwrap();
        let measured = run(asking(tls), "100@200ms", vec![server.address]).await;
        assert_eq!(measured.counts.ok, 20, "{version:?}: {:?}", measured.counts);
        let seen = server.seen();
        let spoken = match version {
            HttpVersion::Http1 => http::Version::HTTP_11,
            HttpVersion::Http2 => http::Version::HTTP_2,
        };
        assert!(
            seen.iter()
                .all(|request| request.version == spoken && request.host == "test")
        );

        let other_name = Tls::new("other.test", Some(&ca), version).unwrap();
        let measured = run(asking(other_name), "100@100ms", vec![server.address]).await;
        assert_eq!(measured.counts.errors_of(ErrorClass::Connect), 10);
        let (other_ca, _) = authority(version, directory.path());
        let not_vouched = Tls::new("shop.test", Some(&other_ca), version).unwrap();
        let measured = run(asking(not_vouched), "100@100ms", vec![server.address]).await;
        assert_eq!(measured.counts.errors_of(ErrorClass::Connect), 10);
    }
    // A server that does not agree on HTTP/2 is not spoken to in it.
    let (ca, acceptor) = authority(HttpVersion::Http1, directory.path());
    let server = Witness::speaking(HttpVersion::Http1, Some(acceptor), Duration::ZERO).await;
    let config = Config {
        version: HTTP2,
        tls: Some(Tls::new("shop.test", Some(&ca), HTTP2).unwrap()),
        ..config()
    };
    let measured = run(config, "100@100ms", vec![server.address]).await;
    assert_eq!(measured.counts.errors_of(ErrorClass::Connect), 10);
}

#[test]
fn authorities_that_are_none_are_refused_by_the_files_name() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("empty.pem");
    std::fs::write(&file, "no certificate").unwrap();
    for path in [&file, &directory.path().join("missing.pem")] {
        let error = Tls::new("shop.test", Some(path), HTTP2)
            .unwrap_err()
            .to_string();
        assert!(error.contains(path.to_str().unwrap()), "{error}");
    }
    let error = Tls::new("no name", None, HTTP2).unwrap_err().to_string();
    assert!(error.contains("no name"), "{error}");
}

#[tokio::test]
async fn many_requests_share_one_connection_of_http_2() {
    // The answers take so long that all requests are under way at once.
    let delay = Duration::from_millis(700);
    let server = Witness::speaking(HTTP2, None, delay).await;
    let config = Config {
        version: HTTP2,
        connections_per_endpoint: 1,
        ..config()
    };
    let measured = run(config, "160@500ms", vec![server.address]).await;
    assert_eq!(measured.counts.ok, 80, "{:?}", measured.counts);
    assert_eq!(server.by_connection(), [80]);
    let best = measured.latency.quantile(0.0).unwrap();
    assert!(Duration::from_millis(699) <= best, "{best:?}");
    // One at a time it would be the better part of a minute.
    assert!(
        measured.elapsed < Duration::from_secs(20),
        "{:?}",
        measured.elapsed
    );
}

#[tokio::test]
async fn a_connection_ends_when_it_was_used_enough_or_is_old() {
    let server = Witness::start().await;
    let used = Config {
        max_requests: 7,
        ..config()
    };
    let measured = run(used, "200@500ms", vec![server.address]).await;
    assert_eq!((measured.counts.ok, measured.retried), (100, 0));
    let by_connection = server.by_connection();
    assert_eq!(by_connection.iter().max(), Some(&7));

    for version in [HttpVersion::Http1, HTTP2] {
        best_of_tries(async || {
            let server = Witness::speaking(version, None, Duration::ZERO).await;
            let aging = Config {
                version,
                preconnect: 1,
                max_age: Some(Duration::from_millis(200)),
                max_age_jitter: 0.5,
                ..config()
            };
            let measured = run(aging, "100@1500ms", vec![server.address]).await;
            assert_eq!((measured.counts.ok, measured.retried), (150, 0));
            // None lives for longer than 300 ms; while the machine stands still, none is opened either.
            match server.by_connection().len() {
                5.. => Ok(()),
                connections => Err(format!("{version:?}: {connections}")),
            }
        })
        .await;
    }
}

/// The share of the second endpoint, which comes in the middle, of the requests after that; `None` when the machine stood
/// still and there are none.
async fn share_of_a_new_endpoint(config: Config) -> Option<f64> {
    let (old, new) = (
        Server::start(200, at_once).await,
        Server::start(200, at_once).await,
    );
    let (sender, endpoints) = watch::channel(vec![old.address]);
    let engine = Engine::new(config);
    let running = tokio::spawn(engine.run(arrivals("100@2s"), endpoints, CancellationToken::new()));
    let before = once_served(100, || old.served()).await;
    sender.send_replace(vec![old.address, new.address]);
    let measured = running.await.unwrap();
    assert_eq!(measured.counts.ok, 200);
    // What the endpoint did is told second by second, and its answers are those of a young one.
    let by_new = new.served() as u64;
    let counted = |address| {
        measured
            .endpoints
            .get(address)
            .map_or(0, |counts| counts.ok)
    };
    assert_eq!(counted(&new.address), by_new);
    assert_eq!(measured.young_of(0..9).count(), by_new);
    if let Some(counts) = measured.endpoints.get(&new.address) {
        let slots = measured.slots.iter().flat_map(|slot| &slot.endpoints);
        let of_new = slots.filter(|endpoint| endpoint.index == counts.index);
        assert_eq!(
            of_new.map(|endpoint| u64::from(endpoint.ok)).sum::<u64>(),
            by_new
        );
        assert!(0.9 < counts.first_ok_s.unwrap());
    }
    (before < 200).then(|| by_new as f64 / (200 - before) as f64)
}

#[tokio::test]
async fn a_new_endpoint_gets_its_share_at_once_or_as_connections_end() {
    let keeping = || Config {
        on_endpoint_add: OnEndpointAdd::Keep,
        ..config()
    };
    let by_and_by = Config {
        max_requests: 4,
        ..keeping()
    };
    // When the machine stands still, requests pile up, and all of them go to the new connections or to the old.
    for (config, shares) in [
        (config(), 0.3..0.7),
        (by_and_by, 0.2..0.8),
        (keeping(), 0.0..0.1),
    ] {
        best_of_tries(
            async || match share_of_a_new_endpoint(config.clone()).await {
                Some(share) if shares.contains(&share) => Ok(()),
                share => Err(format!("{:?}: {share:?}", config.on_endpoint_add)),
            },
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn engines_on_one_clock_start_together_though_an_endpoint_of_one_never_answers() {
    let directory = tempfile::tempdir().unwrap();
    let (ca, _) = authority(HttpVersion::Http1, directory.path());
    // The kernel takes connections for it, and nobody ever shakes hands on them.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let waiting = Config {
        tls: Some(Tls::new("shop.test", Some(&ca), HttpVersion::Http1).unwrap()),
        timeout: Duration::from_secs(3600),
        graceful_stop: Duration::from_millis(100),
        ..config()
    };
    let server = Server::start(200, at_once).await;
    let preparing = async |config, endpoint| {
        let (_sender, endpoints) = watch::channel(vec![endpoint]);
        Engine::new(config)
            .prepare(arrivals("10@1s"), endpoints, CancellationToken::new())
            .await
    };
    let both = async {
        let silent = preparing(waiting, silent.local_addr().unwrap()).await;
        (silent, preparing(config(), server.address).await)
    };
    let patience = Duration::from_secs(20);
    let (waiting, ready) = tokio::time::timeout(patience, both).await.unwrap();
    let zero = clock::instant() + Duration::from_secs(1);
    let waiting = tokio::spawn(waiting.start(zero));
    let ready = tokio::spawn(ready.start(zero));
    tokio::time::sleep(Duration::from_millis(500)).await;
    let early = server.served();
    if clock::instant() < zero {
        assert_eq!(early, 0, "requests were sent before the clock was at zero");
    }
    let (waiting, ready) = (waiting.await.unwrap(), ready.await.unwrap());
    let since = clock::instant() - zero;
    assert_eq!((waiting.counts.unfinished, ready.counts.ok), (10, 10));
    for elapsed in [waiting.elapsed, ready.elapsed] {
        // The last request is due at its end.
        assert!(
            Duration::from_secs(1) <= elapsed && elapsed <= since,
            "{elapsed:?}"
        );
    }
}

#[tokio::test]
async fn a_server_that_closes_at_once_meets_no_storm_of_connections() {
    for version in [HttpVersion::Http1, HTTP2] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepted = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&accepted);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::Relaxed);
                drop(stream);
            }
        });
        let config = Config {
            version,
            ..config()
        };
        let beforehand = config.preconnect;
        let measured = run(config, "20@500ms", vec![address]).await;
        assert_eq!(measured.counts.errors(), 10, "{version:?}: {measured:?}");
        // Each request is tried twice.
        let accepted = accepted.load(Ordering::Relaxed);
        assert!(accepted <= beforehand + 2 * 10, "{version:?}: {accepted}");
    }
}

#[tokio::test]
async fn a_connection_that_is_too_old_when_it_is_opened_is_used_once() {
    for version in [HttpVersion::Http1, HTTP2] {
        let server = Witness::speaking(version, None, Duration::ZERO).await;
        let config = Config {
            version,
            max_age: Some(Duration::ZERO),
            ..config()
        };
        let measured = run(config, "40@500ms", vec![server.address]).await;
        assert_eq!(
            (measured.counts.ok, measured.retried),
            (20, 0),
            "{version:?}"
        );
        assert_eq!(server.by_connection(), [1; 20], "{version:?}");
    }
}
