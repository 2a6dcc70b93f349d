//! The start, when something is wrong and when nothing is; the certificate; the end.

use std::net::TcpListener;
use std::process::Output;
use std::time::Duration;

use tempfile::TempDir;

use super::{address, document, is_rate_of, read_of, steady_target};
use crate::fixtures::adapter::{self, Adapter, eventually};
use crate::fixtures::authority::Authority;

/// The most a stop may take: a second of not being ready, ten for connections, and a slow machine.
const STOP_MAX: Duration = Duration::from_secs(20);

/// Runs it with documents that end it, or arguments that do.
async fn failed_start(documents: &str, args: &[&str]) -> String {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("config.yaml");
    std::fs::write(&config, documents).unwrap();
    let mut command = adapter::bare_command(&config);
    let ended = command.args(args).output();
    let Output { status, stderr, .. } = tokio::time::timeout(STOP_MAX, ended)
        .await
        .expect("it ends by itself")
        .unwrap();
    let said = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{said}");
    said
}

#[tokio::test]
async fn a_configuration_that_is_wrong_from_the_start_ends_it_with_the_line() {
    let wrong =
        document("users", &["127.0.0.1:1".to_owned()]).replace("latency: 250ms", "latency: 250");
    let said = failed_start(&wrong, &["--listen", "127.0.0.1:0"]).await;
    for words in [
        "config.yaml",
        "line 9:",
        "shop/users",
        "spec.objective.latency",
    ] {
        assert!(said.contains(words), "no {words:?} in {said}");
    }
}

#[tokio::test]
async fn an_address_that_others_can_reach_is_refused_with_the_reason() {
    let good = document("users", &["127.0.0.1:1".to_owned()]);
    for listen in ["0.0.0.0:0", "[::]:0", "192.0.2.1:6443"] {
        let said = failed_start(&good, &["--listen", listen]).await;
        for words in ["--listen", "not a loopback address", "not authenticated"] {
            assert!(said.contains(words), "no {words:?} in {said}");
        }
    }
}

#[tokio::test]
async fn an_address_that_is_taken_is_named_and_its_owners_authority_stays() {
    let dir = TempDir::new().unwrap();
    let ca = dir.path().join("ca.pem");
    std::fs::write(&ca, "the owner's").unwrap();
    let owner = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = owner.local_addr().unwrap().to_string();
    let good = document("users", &["127.0.0.1:1".to_owned()]);
    let args = ["--listen", &taken, "--tls-ca-out", ca.to_str().unwrap()];
    let said = failed_start(&good, &args).await;
    assert!(said.contains("--listen") && said.contains(&taken), "{said}");
    assert_eq!(std::fs::read_to_string(&ca).unwrap(), "the owner's");
}

#[tokio::test]
async fn a_file_that_does_not_exist_is_named() {
    let good = document("users", &["127.0.0.1:1".to_owned()]);
    let args = [
        "--tls-cert-file",
        "/nowhere/a.pem",
        "--tls-key-file",
        "/nowhere/a.key",
    ];
    let said = failed_start(&good, &args).await;
    assert!(
        said.contains("--tls-cert-file") && said.contains("/nowhere/a.pem"),
        "{said}"
    );
}

#[tokio::test]
async fn a_certificate_that_is_replaced_on_disk_is_served_without_a_restart() {
    let (first, second) = (Authority::new(), Authority::new());
    let (pair, next) = (first.client("127.0.0.1"), second.client("127.0.0.1"));
    let files = [&pair.cert_file, &pair.key_file].map(|file| file.to_str().unwrap());
    let adapter = Adapter::serving_as("", files, &first.ca_pem()).await;
    assert_eq!(adapter.get("/livez").await.code, 200);
    assert!(
        adapter
            .get_trusting(&second.ca_pem(), "/livez")
            .await
            .is_err()
    );

    // Between the two copies the files do not belong together, which only delays it.
    std::fs::copy(&next.cert_file, &pair.cert_file).unwrap();
    std::fs::copy(&next.key_file, &pair.key_file).unwrap();
    let trusted = eventually(async || adapter.get_trusting(&second.ca_pem(), "/livez").await.ok());
    assert_eq!(trusted.await.expect("the new certificate").code, 200);
    assert!(
        adapter
            .get_trusting(&first.ca_pem(), "/livez")
            .await
            .is_err()
    );
}

#[tokio::test]
async fn sigterm_fails_readiness_first_then_answers_what_it_has_and_ends() {
    let target = steady_target().await;
    let mut adapter = Adapter::serving(&document("users", &[address(&target)])).await;
    let rate = read_of("request_rate", "service=users");
    adapter.wait_for_value(&rate, is_rate_of(1)).await;
    adapter.ready().await;

    adapter.terminate();
    let began = taffrail::clock::instant();
    let unready = eventually(async || {
        let ready = adapter.get_plain("/readyz").await;
        (ready.code == 500).then_some(ready.body)
    });
    assert!(unready.await.unwrap().contains("shutting down"));
    // Whoever still comes is answered, until nobody can come any more: nothing is cut in between.
    let mut answered = 0;
    let refused = loop {
        match adapter.try_get(&rate).await {
            Ok(answer) => assert_eq!(answer.code, 200, "{}", answer.body),
            Err(error) => break error,
        }
        answered += 1;
    };
    assert!(refused.is_connect(), "{refused:?}");
    assert!(0 < answered, "nobody was answered while it was not ready");
    assert_eq!(adapter.ended().await.code(), Some(0), "{}", adapter.log());
    assert!(began.elapsed() < STOP_MAX);
    adapter.logged(&["Stopped"]).await;
}

#[tokio::test]
async fn the_api_answers_for_as_long_as_the_drain_delay_after_the_signal() {
    let mut adapter = Adapter::serving_with("", &["--drain-delay", "2500ms"]).await;
    let began = taffrail::clock::instant();
    adapter.terminate();
    while adapter.try_get("/livez").await.is_ok() {}
    assert!(Duration::from_millis(2500) <= began.elapsed());
    assert_eq!(adapter.ended().await.code(), Some(0), "{}", adapter.log());
    let said = failed_start("", &["--drain-delay", "soon"]).await;
    assert!(said.contains("--drain-delay"), "{said}");
}

#[tokio::test]
async fn a_silent_connection_does_not_hold_up_the_end_and_a_second_signal_ends_it_at_once() {
    let mut adapter = Adapter::serving("").await;
    let _silent = std::net::TcpStream::connect(adapter.api).unwrap();
    adapter.terminate();
    assert_eq!(adapter.ended().await.code(), Some(0), "{}", adapter.log());

    let mut adapter = Adapter::serving("").await;
    adapter.terminate();
    adapter.logged(&["Draining"]).await;
    adapter.terminate();
    assert_eq!(adapter.ended().await.code(), Some(130), "{}", adapter.log());
}
