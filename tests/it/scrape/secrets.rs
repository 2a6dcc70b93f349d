//! Targets that want to know who asks.

use http::HeaderName;
use taffrail::model::health::FailureReason;
use taffrail::source::scrape::{Auth, ScrapeSpec};
use taffrail::source::secret::SecretRef;
use tempfile::NamedTempFile;

use super::{PAGE, fetch, fetch_again, fetcher, spec};
use crate::fixtures::rogue::{self, Rogue};

/// A server whose page is only for requests with this header line.
async fn guarded_by(line: &'static str) -> Rogue {
    Rogue::answering(move |head, _| {
        let known = head.lines().any(|sent| {
            let (name, value) = sent.split_once(": ").unwrap_or_default();
            let (wanted_name, wanted_value) = line.split_once(": ").unwrap();
            name.eq_ignore_ascii_case(wanted_name) && value == wanted_value
        });
        if known {
            rogue::page(PAGE)
        } else {
            rogue::answer("401 Unauthorized", "", "who are you?")
        }
    })
    .await
}

fn with_token(port: u16, token: SecretRef) -> ScrapeSpec {
    ScrapeSpec {
        headers: vec![(HeaderName::from_static("x-auth-token"), token)],
        ..spec(port)
    }
}

fn literal(value: &str) -> SecretRef {
    SecretRef::Literal(value.to_owned())
}

#[tokio::test]
async fn a_custom_header_opens_the_door_and_a_wrong_one_is_named_but_not_shown() {
    let server = guarded_by("X-Auth-Token: &^@$").await;
    let right = with_token(server.port, literal("&^@$"));
    assert_eq!(fetch(right).await.unwrap(), PAGE);

    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "wrong-&^@$").unwrap();
    let wrong = with_token(server.port, SecretRef::File(file.path().to_owned()));
    let failure = fetch(wrong).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Unauthorized);
    for part in ["401", "x-auth-token", file.path().to_str().unwrap()] {
        assert!(failure.message.contains(part), "{failure}");
    }
    assert!(!failure.message.contains("&^@$"), "{failure}");

    let failure = fetch(spec(server.port)).await.unwrap_err();
    assert!(failure.message.contains("no credentials"), "{failure}");
}

#[tokio::test]
async fn bearer_and_basic_authentication_are_understood() {
    let server = guarded_by("Authorization: Bearer a.b-c~d+e/f==").await;
    let bearer = ScrapeSpec {
        auth: Some(Auth::Bearer(literal("a.b-c~d+e/f=="))),
        ..spec(server.port)
    };
    assert_eq!(fetch(bearer).await.unwrap(), PAGE);

    let server = guarded_by("Authorization: Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==").await;
    let basic = |password| ScrapeSpec {
        auth: Some(Auth::Basic {
            username: literal("Aladdin"),
            password: literal(password),
        }),
        ..spec(server.port)
    };
    assert_eq!(fetch(basic("open sesame")).await.unwrap(), PAGE);
    let failure = fetch(basic("open barley")).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Unauthorized);
    assert!(
        failure.message.contains("basic authentication"),
        "{failure}"
    );
    assert!(!failure.message.contains("barley"), "{failure}");
}

#[tokio::test]
async fn a_rotated_secret_is_sent_from_the_next_scrape_on() {
    let server = guarded_by("X-Auth-Token: second").await;
    let file = NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "first\n").unwrap();
    let mut fetcher = fetcher(with_token(
        server.port,
        SecretRef::File(file.path().to_owned()),
    ));
    let failure = fetch_again(&mut fetcher).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Unauthorized);
    std::fs::write(file.path(), "second\n").unwrap();
    assert_eq!(fetch_again(&mut fetcher).await.unwrap(), PAGE);
}

#[tokio::test]
async fn without_its_secret_a_request_is_not_sent() {
    let server = guarded_by("X-Auth-Token: any").await;
    let file = NamedTempFile::new().unwrap();
    let path = file.path().to_owned();
    let mut fetcher = fetcher(with_token(server.port, SecretRef::File(path.clone())));
    std::fs::write(&path, "hush\r\nX-Evil: 1").unwrap();
    let failure = fetch_again(&mut fetcher).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Unauthorized);
    assert!(!failure.message.contains("hush"), "{failure}");
    drop(file);
    let failure = fetch_again(&mut fetcher).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Unauthorized);
    assert!(
        failure.message.contains(path.to_str().unwrap()),
        "{failure}"
    );
    assert_eq!(server.connections(), 0);
}
