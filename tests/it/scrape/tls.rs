//! Targets behind TLS: verified by default, and everything that must not pass.

use taffrail::model::health::FailureReason;
use taffrail::source::scrape::ScrapeSpec;
use taffrail::source::tls::{Authorities, IdentityFiles, TlsSpec};

use super::{PAGE, fetch, fetch_again, fetcher, spec_of};
use crate::fixtures::authority::Authority;
use crate::fixtures::rogue::{self, Rogue};

const ADDRESS: &str = "127.0.0.1";

fn spec(server: &Rogue, tls: TlsSpec) -> ScrapeSpec {
    ScrapeSpec {
        tls,
        ..spec_of(&format!("https://{ADDRESS}:{}/metrics", server.port))
    }
}

fn trusting(authority: &Authority) -> TlsSpec {
    TlsSpec {
        ca: Some(Authorities::File(authority.ca_file())),
        ..TlsSpec::default()
    }
}

async fn server(tls: std::sync::Arc<rustls::ServerConfig>) -> Rogue {
    Rogue::answering_tls(tls, |_, _| rogue::page(PAGE)).await
}

#[tokio::test]
async fn a_target_of_an_own_authority_is_read_over_one_connection() {
    let authority = Authority::new();
    let server = server(authority.server(ADDRESS)).await;
    let mut fetcher = fetcher(spec(&server, trusting(&authority)));
    for _ in 0..3 {
        assert_eq!(fetch_again(&mut fetcher).await.unwrap(), PAGE);
    }
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_a_wrong_name_or_a_past_date_is_refused() {
    let (authority, other) = (Authority::new(), Authority::new());
    // Both authorities have the same name, as one has that was made anew.
    for (tls, trusted, part) in [
        (authority.server(ADDRESS), &other, "CA file"),
        (authority.server("app.shop.svc"), &authority, "name"),
        (authority.expired_server(ADDRESS), &authority, "expired"),
    ] {
        let server = server(tls).await;
        let failure = fetch(spec(&server, trusting(trusted))).await.unwrap_err();
        assert_eq!(failure.reason, FailureReason::Tls, "{failure}");
        assert!(failure.message.contains(part), "{failure}");
        assert!(server.requests().is_empty());
    }
}

#[tokio::test]
async fn another_name_or_no_verification_at_all_must_be_asked_for() {
    let authority = Authority::new();
    let server = server(authority.server("app.shop.svc")).await;
    let named = TlsSpec {
        server_name: Some("app.shop.svc".to_owned()),
        ..trusting(&authority)
    };
    assert_eq!(fetch(spec(&server, named)).await.unwrap(), PAGE);
    let unverified = TlsSpec {
        insecure_skip_verify: true,
        ..TlsSpec::default()
    };
    assert_eq!(fetch(spec(&server, unverified)).await.unwrap(), PAGE);
}

#[tokio::test]
async fn a_target_that_wants_a_client_certificate_is_shown_one() {
    let authority = Authority::new();
    let server = server(authority.server_for_known_clients(ADDRESS)).await;
    let pair = authority.client("taffrail");
    let known = TlsSpec {
        identity: Some(IdentityFiles {
            cert_file: pair.cert_file,
            key_file: pair.key_file,
        }),
        ..trusting(&authority)
    };
    assert_eq!(fetch(spec(&server, known)).await.unwrap(), PAGE);
    let failure = fetch(spec(&server, trusting(&authority)))
        .await
        .unwrap_err();
    assert!(
        // The target may hang up before its reason has come.
        [FailureReason::Tls, FailureReason::Disconnected].contains(&failure.reason),
        "{failure}"
    );
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_plain_target_is_not_taken_for_one_with_tls() {
    let server = Rogue::serving(|mut peer| async move {
        peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
        peer.request().await;
    })
    .await;
    let authority = Authority::new();
    let failure = fetch(spec(&server, trusting(&authority)))
        .await
        .unwrap_err();
    assert_eq!(failure.reason, FailureReason::Tls);
}

#[tokio::test]
async fn a_rotated_authority_is_trusted_from_the_next_connection_on() {
    let (old, new) = (Authority::new(), Authority::new());
    let server = server(new.server(ADDRESS)).await;
    let mut fetcher = fetcher(spec(&server, trusting(&old)));
    let failure = fetch_again(&mut fetcher).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Tls);
    std::fs::write(old.ca_file(), old.ca_pem() + &new.ca_pem()).unwrap();
    assert_eq!(fetch_again(&mut fetcher).await.unwrap(), PAGE);
}
