//! What a target can do wrong: each costs one scrape, is named by its reason, and is over in time.

use std::sync::Arc;
use std::time::Duration;

use taffrail::model::health::{Failure, FailureReason};
use taffrail::source::scrape::{BODY_BYTES_MAX, Fetcher, ScrapeSpec, Shared};
use tokio::net::TcpListener;

use super::{PAGE, PATIENCE, eventually, fetch, fetch_again, fetcher, gzip, spec, spec_of};
use crate::fixtures::rogue::{self, Peer, Rogue};

const DEADLINE: Duration = Duration::from_millis(100);

fn hurried(port: u16) -> ScrapeSpec {
    ScrapeSpec {
        timeout: DEADLINE,
        ..spec(port)
    }
}

/// The failure of a scrape answered with these bytes, the connection then closed.
async fn failure_of(wire: impl Into<Vec<u8>>) -> Failure {
    let wire = wire.into();
    let server = Rogue::serving(move |mut peer: Peer| {
        let wire = wire.clone();
        async move {
            peer.request().await;
            peer.write(&wire).await;
        }
    })
    .await;
    fetch(spec(server.port)).await.unwrap_err()
}

#[tokio::test]
async fn nobody_listening_is_refused() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let failure = fetch(spec(port)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Refused);
    assert!(!failure.message.contains("127.0.0.1"), "{failure}");
}

#[tokio::test]
async fn one_deadline_covers_connecting_answering_and_the_whole_page() {
    // Never even takes the connection: the kernel does, and then there is silence.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let failure = fetch(hurried(silent.local_addr().unwrap().port()))
        .await
        .unwrap_err();
    assert_eq!(failure.reason, FailureReason::Timeout);
    assert_eq!(failure.message, "within 100ms the target did not answer");

    let slow_head = Rogue::serving(|peer| drip(peer, b"HTTP/1.1 200 OK\r\n", b"X: y\r\n")).await;
    let failure = fetch(hurried(slow_head.port)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Timeout);

    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let slow_body = Rogue::serving(|peer| drip(peer, head, b"7")).await;
    let failure = fetch(hurried(slow_body.port)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Timeout);
    assert!(
        failure.message.contains("bytes of the page had come"),
        "{failure}"
    );
    eventually("the socket is closed", || slow_body.closed() == 1).await;
}

/// Answers a request and goes on a little at a time.
async fn drip(mut peer: Peer, first: &'static [u8], then: &'static [u8]) {
    peer.request().await;
    let mut more = peer.write(first).await;
    while more {
        tokio::time::sleep(Duration::from_millis(3)).await;
        more = peer.write(then).await;
    }
}

#[tokio::test]
async fn a_target_that_does_not_speak_tls_runs_into_the_deadline_too() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut spec = ScrapeSpec {
        timeout: DEADLINE,
        ..spec_of(&format!("https://127.0.0.1:{port}/metrics"))
    };
    spec.tls.insecure_skip_verify = true;
    let failure = fetch(spec).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Timeout);
    assert_eq!(failure.message, "within 100ms there was no connection");
}

#[tokio::test]
async fn targets_that_hang_take_no_room_from_those_that_answer() {
    let shared = Arc::new(Shared::with_room_for(1));
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent_port = silent.local_addr().unwrap().port();
    let mut hanging = Fetcher::new(spec(silent_port), Arc::clone(&shared));
    let hanging = tokio::spawn(async move { hanging.fetch().await.map(|_| ()) });
    let (_taken, _) = silent.accept().await.unwrap();

    let healthy = Rogue::answering(|_, _| rogue::page(PAGE)).await;
    let mut fetcher = Fetcher::new(spec(healthy.port), shared);
    assert_eq!(fetch_again(&mut fetcher).await.unwrap(), PAGE);
    hanging.abort();
}

#[tokio::test]
async fn without_room_a_scrape_waits_for_its_deadline_and_no_longer() {
    let head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n";
    let slow = Rogue::serving(|peer| drip(peer, head, b"7")).await;
    let shared = Arc::new(Shared::with_room_for(1));
    let mut holding = Fetcher::new(spec(slow.port), Arc::clone(&shared));
    let healthy = Rogue::answering(|_, _| rogue::page(PAGE)).await;
    let mut waiting = Fetcher::new(hurried(healthy.port), Arc::clone(&shared));

    let held = tokio::spawn(async move { holding.fetch().await.map(|_| ()) });
    let wait = async {
        // Until the slow page has its slot, the other's scrapes succeed.
        loop {
            match fetch_again(&mut waiting).await {
                Err(failure) if failure.message.contains("too many other pages") => break failure,
                _ => {}
            }
        }
    };
    let failure = tokio::time::timeout(PATIENCE, wait).await.unwrap();
    assert_eq!(failure.reason, FailureReason::Timeout);
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
    let mut next = Fetcher::new(spec(healthy.port), shared);
    assert_eq!(fetch_again(&mut next).await.unwrap(), PAGE);
}

#[tokio::test]
async fn a_kept_connection_that_closes_as_the_request_goes_out_is_tried_once_more() {
    let server = Rogue::serving(|mut peer| async move {
        peer.request().await;
        peer.write(&rogue::page(PAGE)).await;
        // Takes the next request and hangs up without a word.
        peer.request().await;
    })
    .await;
    let mut fetcher = fetcher(spec(server.port));
    for scrape in 0..3 {
        assert_eq!(fetch_again(&mut fetcher).await.unwrap(), PAGE, "{scrape}");
    }
    assert_eq!(server.connections(), 3);
    assert_eq!(server.requests().len(), 5);
}

#[tokio::test]
async fn a_new_connection_that_closes_without_an_answer_is_a_failure() {
    let server = Rogue::serving(|mut peer| async move {
        peer.request().await;
    })
    .await;
    let failure = fetch(spec(server.port)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Disconnected);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn any_status_but_200_is_a_failure_that_names_it() {
    for (status, reason) in [
        ("204 No Content", FailureReason::Status),
        ("206 Partial Content", FailureReason::Status),
        ("404 Not Found", FailureReason::Status),
        ("429 Too Many Requests", FailureReason::Status),
        ("500 Internal Server Error", FailureReason::Status),
        ("503 Service Unavailable", FailureReason::Status),
        ("401 Unauthorized", FailureReason::Unauthorized),
        ("403 Forbidden", FailureReason::Unauthorized),
    ] {
        let failure = failure_of(rogue::answer(status, "", "")).await;
        assert_eq!(failure.reason, reason, "{status}");
        assert!(failure.message.contains(&status[..3]), "{failure}");
    }
}

#[tokio::test]
async fn a_redirect_is_never_followed() {
    let elsewhere = Rogue::answering(|_, _| rogue::page(PAGE)).await;
    let port = elsewhere.port;
    for status in [
        "301 Moved Permanently",
        "302 Found",
        "307 Temporary Redirect",
    ] {
        let location = format!("Location: http://127.0.0.1:{port}/metrics\r\n");
        let failure = failure_of(rogue::answer(status, &location, "")).await;
        assert_eq!(failure.reason, FailureReason::Status);
        assert!(failure.message.contains("redirect"), "{failure}");
    }
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn a_flood_of_early_hints_ends_at_the_deadline() {
    let server = Rogue::serving(|mut peer| async move {
        peer.request().await;
        while peer.write(b"HTTP/1.1 103 Early Hints\r\n\r\n").await {}
    })
    .await;
    let failure = fetch(hurried(server.port)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Timeout);
}

#[tokio::test]
async fn headers_are_bounded_and_an_answer_must_be_http() {
    let long = format!("X-Long: {}\r\n", "x".repeat(1024 * 1024));
    let many = "X: y\r\n".repeat(1000);
    for headers in [long, many] {
        let failure = failure_of(rogue::answer("200 OK", &headers, PAGE)).await;
        assert_eq!(failure.reason, FailureReason::TooLarge);
    }
    let failure = failure_of("+OK redis here\r\n\r\n").await;
    assert_eq!(failure.reason, FailureReason::Malformed);
}

#[tokio::test]
async fn a_length_above_the_limit_is_refused_before_the_page_is_received() {
    let server = Rogue::serving(|mut peer| async move {
        peer.request().await;
        let length = BODY_BYTES_MAX + 1;
        peer.write(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").as_bytes())
            .await;
        peer.request().await;
    })
    .await;
    let failure = fetch(spec(server.port)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::TooLarge);
    eventually("the socket is closed", || server.closed() == 1).await;
}

#[tokio::test]
async fn an_endless_page_is_cut_off_and_not_drained() {
    let server = Rogue::serving(|mut peer| async move {
        peer.request().await;
        peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            .await;
        let chunk = format!("10000\r\n{}\r\n", "7".repeat(0x10000));
        while peer.write(chunk.as_bytes()).await {}
    })
    .await;
    let shared = Arc::new(Shared::default());
    let spec = ScrapeSpec {
        body_bytes_max: 3 * 1024 * 1024,
        ..spec(server.port)
    };
    let mut fetcher = Fetcher::new(spec, Arc::clone(&shared));
    let failure = fetcher.fetch().await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::TooLarge);
    eventually("the writer is cut off", || server.closed() == 1).await;
    assert_eq!(shared.idle_bytes(), 0);
}

#[tokio::test]
async fn a_gzip_bomb_ends_at_the_limit_of_unpacked_bytes() {
    let bomb = gzip(&vec![0; 10 * 1024 * 1024]);
    assert!(bomb.len() < 64 * 1024);
    let server =
        Rogue::answering(move |_, _| rogue::answer("200 OK", "Content-Encoding: gzip\r\n", &bomb))
            .await;
    let packed = ScrapeSpec {
        gzip: true,
        body_bytes_max: 1024 * 1024,
        ..spec(server.port)
    };
    let failure = fetch(packed).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::TooLarge);
}

#[tokio::test]
async fn a_page_packed_without_being_asked_for_is_refused() {
    for coding in ["gzip", "br", "deflate"] {
        let headers = format!("Content-Encoding: {coding}\r\n");
        let failure = failure_of(rogue::answer("200 OK", &headers, gzip(b"up 1\n"))).await;
        assert_eq!(failure.reason, FailureReason::Malformed);
    }
}

#[tokio::test]
async fn a_page_that_is_cut_short_is_dropped_whole() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nup 1\n\r\n";
    for (wire, reason) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nup 1\n".to_owned(),
            FailureReason::Disconnected,
        ),
        (chunked.to_owned(), FailureReason::Disconnected),
        (format!("{chunked}9\r\ndown"), FailureReason::Disconnected),
        (
            format!("{chunked}zz\r\ndown 0\n\r\n"),
            FailureReason::Malformed,
        ),
    ] {
        let failure = failure_of(wire.clone()).await;
        assert_eq!(failure.reason, reason, "{wire:?}: {failure}");
    }
}

#[tokio::test]
async fn a_last_line_without_its_end_is_whole_where_http_says_so() {
    for (wire, page) in [
        ("Content-Length: 4\r\n\r\nup 1", "up 1\n"),
        (
            "Transfer-Encoding: chunked\r\n\r\n4\r\nup 1\r\n0\r\n\r\n",
            "up 1\n",
        ),
        // Only the end of the connection ends these, which a crash does too.
        ("Connection: close\r\n\r\nup 1", "up 1"),
        (
            "Transfer-Encoding: identity\r\nConnection: close\r\n\r\nup 1",
            "up 1",
        ),
    ] {
        let wire = format!("HTTP/1.1 200 OK\r\n{wire}");
        let server = Rogue::serving(move |mut peer: Peer| {
            let wire = wire.clone();
            async move {
                peer.request().await;
                peer.write(wire.as_bytes()).await;
            }
        })
        .await;
        assert_eq!(fetch(spec(server.port)).await.unwrap(), page);
    }
}

#[tokio::test]
async fn a_login_page_is_no_page_of_metrics() {
    let html = "Content-Type: text/html; charset=utf-8\r\n";
    let failure = failure_of(rogue::answer("200 OK", html, "<html>hush</html>")).await;
    assert_eq!(failure.reason, FailureReason::Malformed);
    assert!(!failure.message.contains("hush"));
}

#[tokio::test]
async fn after_every_failure_the_next_scrape_starts_on_a_fresh_connection() {
    let server = Rogue::answering(|_, nth| match nth % 2 {
        // A failed answer with more behind it, which must not be taken for the next answer.
        0 => [
            rogue::answer("503 Busy", "", "x"),
            rogue::page("stolen 1\n"),
        ]
        .concat(),
        _ => rogue::page(PAGE),
    })
    .await;
    let mut fetcher = fetcher(spec(server.port));
    for _ in 0..3 {
        let failure = fetch_again(&mut fetcher).await.unwrap_err();
        assert_eq!(failure.reason, FailureReason::Status);
        assert_eq!(fetch_again(&mut fetcher).await.unwrap(), PAGE);
    }
}
