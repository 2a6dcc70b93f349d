//! The loops around the scrapes: their rhythm, their end, and the set of them.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderName;
use taffrail::clock;
use taffrail::model::health::FailureReason;
use taffrail::model::reading::Update;
use taffrail::source::reach::Reach;
use taffrail::source::scrape::{self, ScrapeSpec, Shared};
use taffrail::source::secret::{SecretRef, SecretStore};
use taffrail::source::{SourceSpec, Sources};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::{PAGE, PATIENCE, eventually, spec, target};
use crate::fixtures::rogue::{self, Rogue};

/// A loop in the background; the receiver of its updates, and its stop.
fn start(
    spec: ScrapeSpec,
) -> (
    mpsc::Receiver<Update>,
    CancellationToken,
    tokio::task::JoinHandle<()>,
) {
    let (sender, updates) = mpsc::channel(4);
    let stop = CancellationToken::new();
    let task = tokio::spawn(scrape::run(
        spec,
        Arc::new(Shared::default()),
        sender,
        stop.clone(),
    ));
    (updates, stop, task)
}

async fn next(updates: &mut mpsc::Receiver<Update>) -> Update {
    tokio::time::timeout(PATIENCE, updates.recv())
        .await
        .expect("an update in time")
        .expect("a running loop")
}

fn named(name: &str, port: u16) -> ScrapeSpec {
    ScrapeSpec {
        target: target(name),
        ..spec(port)
    }
}

#[tokio::test]
async fn a_target_is_read_again_and_again_and_each_batch_says_when() {
    let server = Rogue::answering(|_, _| rogue::page(PAGE)).await;
    let started = clock::now();
    let (mut updates, _stop, _task) = start(named("pod-1", server.port));
    let mut before = started;
    for _ in 0..5 {
        let Update::Read(batch) = next(&mut updates).await else {
            panic!("the target is healthy");
        };
        assert_eq!(batch.target, target("pod-1"));
        assert!(before <= batch.at && batch.at <= clock::now());
        assert!(batch.took < PATIENCE);
        assert_eq!(batch.reading.counts, [3.0, 4.0]);
        assert_eq!(batch.reading.series[0].sum, Some(0.5));
        before = batch.at;
    }
    assert!(Duration::from_millis(60) <= before.since(started));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_failure_is_told_once_an_interval_and_a_recovery_is_seen() {
    let server = Rogue::answering(|_, nth| match nth {
        0..3 => rogue::answer("503 Service Unavailable", "", ""),
        _ => rogue::page(PAGE),
    })
    .await;
    let (mut updates, _stop, _task) = start(named("pod-1", server.port));
    for _ in 0..3 {
        let Update::Failed {
            target: whose,
            failure,
            ..
        } = next(&mut updates).await
        else {
            panic!("the target is down");
        };
        assert_eq!(whose, target("pod-1"));
        assert_eq!(failure.reason, FailureReason::Status);
    }
    assert!(matches!(next(&mut updates).await, Update::Read(_)));
}

#[tokio::test]
async fn a_page_that_cannot_be_read_is_a_failure_and_the_connection_stays() {
    let server = Rogue::answering(|_, nth| match nth {
        0 => rogue::page("<html>please log in</html>"),
        1 => rogue::page("other_total 1\n"),
        _ => rogue::page(PAGE),
    })
    .await;
    let (mut updates, _stop, _task) = start(spec(server.port));
    for reason in [FailureReason::Malformed, FailureReason::NotFound] {
        let Update::Failed { failure, .. } = next(&mut updates).await else {
            panic!("there is no histogram in the page");
        };
        assert_eq!(failure.reason, reason, "{failure}");
    }
    assert!(matches!(next(&mut updates).await, Update::Read(_)));
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_slow_target_is_never_read_twice_at_once() {
    let server = Rogue::serving(|mut peer| async move {
        while peer.request().await.is_some() {
            // Two and a half intervals.
            tokio::time::sleep(Duration::from_millis(50)).await;
            peer.write(&rogue::page(PAGE)).await;
        }
    })
    .await;
    let (mut updates, _stop, _task) = start(spec(server.port));
    for _ in 0..4 {
        assert!(matches!(next(&mut updates).await, Update::Read(_)));
    }
    // A second scrape beside the first would have needed a second connection.
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn a_loop_ends_at_once_when_stopped_in_the_middle_of_a_scrape() {
    let server = Rogue::serving(|mut peer| async move {
        peer.request().await;
        // Never answers; notices when the client goes.
        peer.request().await;
    })
    .await;
    let (mut updates, stop, task) = start(spec(server.port));
    eventually("the request is out", || server.requests().len() == 1).await;
    stop.cancel();
    task.await.unwrap();
    assert!(updates.recv().await.is_none());
    eventually("the socket is closed", || server.closed() == 1).await;
}

#[tokio::test]
async fn a_loop_nobody_listens_to_ends() {
    let server = Rogue::answering(|_, _| rogue::page(PAGE)).await;
    let (updates, _stop, task) = start(spec(server.port));
    drop(updates);
    tokio::time::timeout(PATIENCE, task).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_dead_target_costs_one_attempt_an_interval() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let attempts = tokio::spawn(async move {
        let mut attempts = 0;
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
            attempts += 1;
            if attempts == 5 {
                break;
            }
        }
    });
    let started = clock::instant();
    let (mut updates, _stop, _task) = start(spec(port));
    for _ in 0..5 {
        assert!(matches!(next(&mut updates).await, Update::Failed { .. }));
    }
    attempts.await.unwrap();
    // Five attempts lie four intervals apart, the second perhaps half a one after the first.
    assert!(Duration::from_millis(70) <= clock::instant() - started);
}

#[tokio::test]
async fn the_running_loops_follow_what_is_desired() {
    let a = Rogue::answering(|_, _| rogue::page(PAGE)).await;
    let b = Rogue::answering(|_, _| rogue::page(PAGE)).await;
    let (sender, mut updates) = mpsc::channel(4);
    let listening = tokio::spawn(async move { while updates.recv().await.is_some() {} });
    let mut sources = Sources::new(sender, SecretStore::default(), Reach::anywhere());
    let (spec_a, spec_b) = (named("a", a.port), named("b", b.port));

    let both = [spec_a.clone(), spec_b].map(SourceSpec::Scrape).to_vec();
    assert!(sources.apply(both).is_empty());
    eventually("both are read", || {
        2 <= a.requests().len() && 2 <= b.requests().len()
    })
    .await;

    // One stays as it is, the other goes.
    let gone = sources.apply(vec![SourceSpec::Scrape(spec_a.clone())]);
    assert_eq!(gone, [target("b")]);
    assert!(sources.has(&target("a")) && !sources.has(&target("b")));
    eventually("b is let go", || b.closed() == 1).await;
    let (reads_a, reads_b) = (a.requests().len(), b.requests().len());
    eventually("a is still read", || reads_a + 2 <= a.requests().len()).await;
    assert_eq!(a.connections(), 1);
    assert_eq!(b.requests().len(), reads_b);

    // Read differently from now on, by one loop as before.
    let token = HeaderName::from_static("x-auth-token");
    let changed = ScrapeSpec {
        headers: vec![(token, SecretRef::Literal("&^@$".to_owned()))],
        ..spec_a
    };
    assert!(sources.apply(vec![SourceSpec::Scrape(changed)]).is_empty());
    eventually("the token is sent", || {
        a.requests().iter().any(|head| head.contains("&^@$"))
    })
    .await;
    eventually("the old loop is gone", || a.closed() == 1).await;
    assert_eq!(a.connections(), 2);

    sources.shutdown().await;
    listening.await.unwrap();
    eventually("a is let go", || a.closed() == 2).await;
}
