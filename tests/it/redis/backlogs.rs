//! Items waiting, and what keeps their number from being known.

use taffrail::model::health::FailureReason;
use taffrail::source::redis::Measure;

use super::{Reader, backlog_spec, items, lag, pending, read_once};
use crate::fixtures::redis_server::{RedisServer, run};

#[tokio::test]
async fn every_kind_of_backlog_is_counted() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    for command in [
        "RPUSH list a b c",
        "SADD set a b",
        "ZADD zset 1 a 2 b 3 c 4 d",
        "HSET hash a 1",
        "SET number 12.5",
        "XADD stream 1-1 k v",
        "XADD stream 2-1 k v",
        "XADD stream 3-1 k v",
        "XGROUP CREATE stream workers 0",
        "XREADGROUP GROUP workers w1 COUNT 2 STREAMS stream >",
        "XACK stream workers 1-1",
    ] {
        run(&mut client, command);
    }
    let reads = [
        ("list", Measure::Auto),
        ("set", Measure::Length),
        ("zset", Measure::Auto),
        ("hash", Measure::Auto),
        ("number", Measure::Number),
        ("number", Measure::Auto),
        ("stream", Measure::Auto),
        ("stream", pending("workers")),
        ("stream", lag("workers")),
        ("nothing", Measure::Auto),
    ];
    let reading = read_once(backlog_spec(server.port, &reads)).await.unwrap();
    let wanted = [3.0, 2.0, 4.0, 1.0, 12.5, 12.5, 3.0, 1.0, 1.0, 0.0];
    assert_eq!(items(&reading.backlogs), wanted.map(Ok));
    assert_eq!(&*reading.backlogs[7].key, "7-stream");
    assert!(reading.series.is_empty());
}

#[tokio::test]
async fn a_backlog_that_cannot_be_known_is_an_error_of_its_own() {
    use FailureReason::{Malformed, NotFound, NotReady};
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    for command in [
        "RPUSH list a",
        "SET text many",
        "XADD stream 1-1 k v",
        "XADD stream 2-1 k v",
        "XADD stream 3-1 k v",
        "XGROUP CREATE stream workers 0",
        "XREADGROUP GROUP workers w1 COUNT 1 STREAMS stream >",
        // An entry not yet delivered goes: Redis cannot tell any more how many are left.
        "XDEL stream 2-1",
    ] {
        run(&mut client, command);
    }
    redis::cmd("SET")
        .arg("long")
        .arg("1".repeat(1_000_000))
        .exec(&mut client)
        .unwrap();
    let reads = [
        ("stream", lag("workers")),
        ("stream", lag("others")),
        ("stream", pending("others")),
        ("nothing", lag("workers")),
        ("nothing", pending("workers")),
        ("nothing", Measure::Number),
        ("list", Measure::Number),
        ("list", lag("workers")),
        ("text", Measure::Number),
        ("text", Measure::Auto),
        ("text", Measure::Length),
        ("long", Measure::Number),
        ("list", Measure::Auto),
    ];
    let mut reader = Reader::start(backlog_spec(server.port, &reads));
    let wanted = [
        Err(NotReady),
        Err(NotFound),
        Err(NotFound),
        Err(NotFound),
        Err(NotFound),
        Err(NotFound),
        Err(NotFound),
        Err(NotFound),
        Err(Malformed),
        Err(Malformed),
        Err(NotFound),
        Err(Malformed),
        Ok(1.0),
    ];
    assert_eq!(items(&reader.next().await.unwrap().backlogs), wanted);
    // The group catches up, and Redis knows again. Its number may count the deleted entry, as that of 7.0 does.
    run(&mut client, "XREADGROUP GROUP workers w1 STREAMS stream >");
    reader
        .until(|outcome| {
            outcome
                .as_ref()
                .is_ok_and(|reading| reading.backlogs[0].items.is_ok())
        })
        .await
        .unwrap();
}
