//! Servers that are gone, not ready, frozen, or no Redis at all.

use std::sync::atomic::Ordering;
use std::time::Duration;

use taffrail::model::health::FailureReason;
use taffrail::source::redis::Measure;

use super::{PATIENCE, Reader, backlog_spec, only, read_once, server_spec};
use crate::fixtures::redis_server::{RedisServer, Rogue, run};

#[tokio::test]
async fn a_killed_server_fails_and_a_restarted_one_is_read_again_from_zero() {
    let mut server = RedisServer::start(&[]);
    let mut client = server.client();
    for _ in 0..100 {
        run(&mut client, "GET a");
    }
    let mut reader = Reader::start(server_spec(server.port, Some(&["get"])));
    let before = reader.next().await.unwrap();
    assert_eq!(only(&before).count, 100.0);
    server.kill();
    let failure = reader.until(Result::is_err).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Refused, "{failure}");
    server.launch_again(&[]);
    server.wait_for("+PONG");
    run(&mut server.client(), "GET a");
    let after = reader
        .until(|outcome| {
            outcome
                .as_ref()
                .is_ok_and(|reading| !reading.series.is_empty())
        })
        .await
        .unwrap();
    assert_eq!(
        only(&after).count,
        1.0,
        "counters as the server says them, not added up"
    );
    assert_eq!(only(&after).key, only(&before).key);
}

#[tokio::test]
async fn a_connection_the_server_closed_while_it_idled_is_no_failure() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
    // Long enough that the connection idles when it is closed, also on a loaded machine.
    spec.interval = Duration::from_millis(500);
    let mut reader = Reader::start(spec);
    for _ in 0..3 {
        reader.next().await.unwrap();
        run(&mut client, "CLIENT KILL TYPE normal SKIPME yes");
    }
}

#[tokio::test]
async fn a_server_that_loads_its_data_is_not_ready_rather_than_idle() {
    let args = ["--enable-debug-command", "yes", "--dbfilename", "slow.rdb"];
    // A tenth of a second for each of 200 keys: loading lasts until the test kills it.
    let slow = [
        "--key-load-delay",
        "100000",
        "--loading-process-events-interval-bytes",
        "1024",
    ];
    let mut server = RedisServer::start(&args);
    let mut client = server.client();
    run(&mut client, "DEBUG POPULATE 200 key 2000");
    run(&mut client, "SAVE");
    drop(client);
    server.kill();
    server.launch_again(&slow);
    server.wait_for("-LOADING");
    for spec in [
        server_spec(server.port, None),
        backlog_spec(server.port, &[("jobs", Measure::Auto)]),
    ] {
        let failure = read_once(spec).await.unwrap_err();
        assert_eq!(failure.reason, FailureReason::NotReady, "{failure}");
    }
}

#[tokio::test]
async fn a_server_blocked_by_a_script_is_not_ready() {
    let server = RedisServer::start(&["--busy-reply-threshold", "20"]);
    let mut client = server.client();
    // Ends with an error when the server is killed.
    std::thread::spawn(move || {
        redis::cmd("EVAL")
            .arg("while true do end")
            .arg(0)
            .exec(&mut client)
    });
    server.wait_for("-BUSY");
    let failure = read_once(server_spec(server.port, None)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::NotReady, "{failure}");
}

#[tokio::test]
async fn a_replica_that_lost_its_primary_is_not_ready() {
    // Nobody listens on port 1.
    let args = [
        "--replicaof",
        "127.0.0.1 1",
        "--replica-serve-stale-data",
        "no",
    ];
    let server = RedisServer::launch(&args);
    server.wait_for("-MASTERDOWN");
    let failure = read_once(server_spec(server.port, None)).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::NotReady, "{failure}");
}

#[tokio::test]
async fn a_frozen_server_times_out_and_is_read_again_once_it_thaws() {
    let server = RedisServer::start(&[]);
    let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
    spec.timeout = Duration::from_millis(300);
    let mut reader = Reader::start(spec);
    reader.until(Result::is_ok).await.unwrap();
    server.signal("STOP");
    let failure = reader.until(Result::is_err).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Timeout, "{failure}");
    server.signal("CONT");
    reader.until(Result::is_ok).await.unwrap();
}

#[tokio::test]
async fn no_server_and_no_such_host_are_refused() {
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut spec = backlog_spec(port, &[("jobs", Measure::Auto)]);
    assert_eq!(
        read_once(spec.clone()).await.unwrap_err().reason,
        FailureReason::Refused
    );
    spec.connection.host = "no-such-host.invalid".to_owned();
    assert_eq!(
        read_once(spec).await.unwrap_err().reason,
        FailureReason::Refused
    );
}

#[tokio::test]
async fn a_server_with_its_maximum_of_clients_is_not_ready() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    run(&mut client, "CONFIG SET maxclients 1");
    let failure = read_once(backlog_spec(server.port, &[("jobs", Measure::Auto)]))
        .await
        .unwrap_err();
    assert_eq!(failure.reason, FailureReason::NotReady, "{failure}");
}

#[tokio::test]
async fn a_rogue_server_is_cut_off_before_it_costs_memory() {
    /// What sockets buffer on both sides of loopback, several times over; a 512 MB reply is far beyond it.
    const SENT_MAX: usize = 64 * 1024 * 1024;
    let rogues: [(&str, Rogue); 2] = [
        (
            "a bulk of 512 MB",
            Rogue::start(|_| {
                let mut piece = b"$536870912\r\n".to_vec();
                piece.resize(64 * 1024, 0);
                (piece, 8 * 1024)
            }),
        ),
        (
            "a line without end",
            Rogue::start(|_| ([vec![b'+'], vec![b'a'; 64 * 1024]].concat(), 8 * 1024)),
        ),
    ];
    for (what, rogue) in &rogues {
        let mut reader = Reader::start(backlog_spec(
            rogue.address.port(),
            &[("jobs", Measure::Auto)],
        ));
        let failure = reader.next().await.unwrap_err();
        assert_eq!(failure.reason, FailureReason::TooLarge, "{what}: {failure}");
        drop(reader);
        let deadline = tokio::time::timeout(PATIENCE, async {
            while rogue.closed.load(Ordering::SeqCst) < rogue.connections.load(Ordering::SeqCst) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        });
        deadline
            .await
            .unwrap_or_else(|_| panic!("{what}: the connection stays open"));
        let connections = rogue.connections.load(Ordering::SeqCst);
        let sent = rogue.sent.load(Ordering::SeqCst);
        assert!(
            sent < connections * SENT_MAX,
            "{what}: {sent} bytes were taken on {connections} connections"
        );
    }
}

#[tokio::test]
async fn a_web_server_in_the_place_of_redis_is_malformed() {
    let web = Rogue::start(|_| {
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n<html>secret</html>".to_vec(),
            1,
        )
    });
    let failure = read_once(backlog_spec(web.address.port(), &[("jobs", Measure::Auto)]))
        .await
        .unwrap_err();
    assert_eq!(failure.reason, FailureReason::Malformed);
    assert!(!failure.message.contains("secret"), "{failure}");
}
