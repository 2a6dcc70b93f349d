//! Requests: those a Redis server answers itself, and those apps report through it.

use taffrail::model::health::FailureReason;
use taffrail::source::redis::{HistogramKey, Measure, RedisSpec, ReportedRead, SumKey, Unit};

use super::{Reader, backlog_spec, only, read_once, server_spec, spec_at};
use crate::fixtures::redis_server::{RedisServer, Rogue, run};

#[tokio::test]
async fn the_servers_own_requests_are_counted_per_command_with_a_histogram() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut reader = Reader::start(server_spec(server.port, Some(&["get"])));
    run(&mut client, "GET visits");
    let before = reader
        .until(|outcome| {
            outcome
                .as_ref()
                .is_ok_and(|reading| !reading.series.is_empty())
        })
        .await
        .unwrap();
    let start = only(&before);
    for _ in 0..250 {
        run(&mut client, "GET visits");
    }
    let after = reader
        .until(|outcome| {
            outcome
                .as_ref()
                .is_ok_and(|reading| only(reading).count == 251.0)
        })
        .await
        .unwrap();
    let end = only(&after);

    assert_eq!(start.key, end.key);
    assert!(start.sum.unwrap() < end.sum.unwrap());
    assert!(end.sum.unwrap() < 1.0, "seconds, not microseconds: {end:?}");
    assert_eq!(before.bounds_of(start), after.bounds_of(end));
    let counts = after.counts_of(end);
    assert_eq!(*counts.last().unwrap(), 251.0);
    assert!(counts.is_sorted(), "{counts:?}");
    assert_eq!(*after.bounds_of(end).last().unwrap(), f64::INFINITY);
    // A GET takes microseconds: nearly all are within a millisecond.
    let within_1ms = after
        .bounds_of(end)
        .iter()
        .zip(counts)
        .rfind(|(bound, _)| **bound <= 0.0011)
        .unwrap();
    assert!(200.0 < *within_1ms.1, "{counts:?}");
}

#[tokio::test]
async fn every_bound_a_real_server_prints_is_one_of_ours_and_a_slow_command_is_beyond_the_last() {
    let server = RedisServer::start(&["--enable-debug-command", "yes"]);
    let mut client = server.client();
    for iterations in [
        0_u64, 10, 100, 1_000, 3_000, 10_000, 30_000, 100_000, 1_000_000, 10_000_000,
    ] {
        let script = format!("for i=1,{iterations} do end");
        redis::cmd("EVAL")
            .arg(script)
            .arg(0)
            .exec(&mut client)
            .unwrap();
    }
    for nap in ["0.3", "1.2"] {
        run(&mut client, &format!("DEBUG SLEEP {nap}"));
    }
    let printed = run(&mut client, "LATENCY HISTOGRAM eval debug");
    let reading = read_once(server_spec(server.port, Some(&["eval", "debug"])))
        .await
        .unwrap();

    let redis::Value::Array(printed) = printed else {
        panic!("{printed:?}");
    };
    let mut compared = 0;
    for entry in printed.iter().skip(1).step_by(2) {
        let redis::Value::Array(entry) = entry else {
            panic!("{entry:?}");
        };
        let (redis::Value::Int(calls), redis::Value::Array(buckets)) = (&entry[1], &entry[3])
        else {
            panic!("{entry:?}");
        };
        let series = reading
            .series
            .iter()
            .find(|series| series.count == *calls as f64)
            .unwrap();
        for pair in buckets.chunks(2) {
            let (redis::Value::Int(bound), redis::Value::Int(count)) = (&pair[0], &pair[1]) else {
                panic!("{pair:?}");
            };
            // Redis files all that is slower than half a second here, the two naps of 1.2 s too.
            if *bound == 1_073_741 {
                continue;
            }
            let at = reading
                .bounds_of(series)
                .iter()
                .position(|ours| (ours * 1e6).round() as i64 == *bound);
            let at = at.unwrap_or_else(|| panic!("{bound} is none of our bounds"));
            assert_eq!(reading.counts_of(series)[at], *count as f64);
            compared += 1;
        }
    }
    assert!(
        4 <= compared,
        "too few bounds to prove anything: {printed:?}"
    );
    let naps = reading
        .series
        .iter()
        .find(|series| series.count == 2.0)
        .unwrap();
    let counts = reading.counts_of(naps);
    assert_eq!(
        counts[counts.len() - 2..],
        [1.0, 2.0],
        "the long nap is beyond half a second"
    );
    assert!(1.5 <= naps.sum.unwrap());
}

#[tokio::test]
async fn administration_and_our_own_reads_are_left_out() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    for command in [
        "SET a 1",
        "CONFIG GET port",
        "INFO",
        "CLIENT LIST",
        "PING",
        "ACL WHOAMI",
        "SLOWLOG LEN",
        "COMMAND COUNT",
    ] {
        run(&mut client, command);
    }
    let mut reader = Reader::start(server_spec(server.port, None));
    for _ in 0..3 {
        let reading = reader.next().await.unwrap();
        assert_eq!(only(&reading).count, 1.0, "the SET alone: {reading:?}");
    }
}

#[tokio::test]
async fn with_latency_tracking_off_there_are_means_but_no_buckets() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    run(&mut client, "GET a");
    // What was recorded so far is still printed, but grows no more.
    run(&mut client, "CONFIG SET latency-tracking no");
    run(&mut client, "GET a");
    let reading = read_once(server_spec(server.port, Some(&["get"])))
        .await
        .unwrap();
    let series = only(&reading);
    assert_eq!((series.count, series.n_buckets), (2.0, 0));
    assert!(series.sum.is_some());
}

/// Nothing older than 7.0 can be installed here, so this server is a script: it answers as Redis 6.2 does.
#[tokio::test]
async fn a_server_older_than_7_0_has_means_but_no_buckets() {
    let old = Rogue::start(|input| {
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let mut answer = String::new();
        if input.contains("SETNAME") {
            answer += "+OK\r\n";
        }
        if input.contains("PING") {
            answer += "+PONG\r\n";
        }
        if input.contains("commandstats") {
            answer += &bulk("# Commandstats\r\ncmdstat_get:calls=3,usec=6,usec_per_call=2.00\r\n");
            // 6.2 answers an unknown section with an empty one.
            answer += &bulk("");
            answer += "-ERR Unknown subcommand or wrong number of arguments for 'HISTOGRAM'. Try LATENCY HELP.\r\n";
        }
        (answer.into_bytes(), 1)
    });
    let reading = read_once(server_spec(old.address.port(), None))
        .await
        .unwrap();
    let series = only(&reading);
    assert_eq!(
        (series.count, series.sum, series.n_buckets),
        (3.0, Some(6e-6), 0)
    );
}

fn reported_spec(port: u16) -> RedisSpec {
    RedisSpec {
        reported: Some(ReportedRead {
            requests: Some("app:requests".to_owned()),
            histogram: Some(HistogramKey {
                key: "app:latency".to_owned(),
                unit: Unit::Milliseconds,
                cumulative: false,
                buckets: Some(vec![50.0, 100.0, 250.0]),
            }),
            sum: Some(SumKey {
                key: "app:seconds".to_owned(),
                unit: Unit::Seconds,
            }),
        }),
        ..spec_at(port)
    }
}

#[tokio::test]
async fn what_apps_report_is_one_series_whose_layout_never_changes() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    for command in [
        "INCRBY app:requests 7",
        "HINCRBY app:latency 50 7",
        "INCRBYFLOAT app:seconds 0.25",
    ] {
        run(&mut client, command);
    }
    let mut reader = Reader::start(reported_spec(server.port));
    let first = reader.next().await.unwrap();
    assert_eq!((only(&first).count, only(&first).sum), (7.0, Some(0.25)));
    assert_eq!(first.bounds, [0.05, 0.1, 0.25, f64::INFINITY]);
    assert_eq!(first.counts, [7.0, 7.0, 7.0, 7.0]);

    for command in [
        "HINCRBY app:latency 250 2",
        "HINCRBY app:latency +Inf 1",
        "INCRBY app:requests 3",
    ] {
        run(&mut client, command);
    }
    let later = reader
        .until(|outcome| {
            outcome
                .as_ref()
                .is_ok_and(|reading| only(reading).count == 10.0)
        })
        .await
        .unwrap();
    assert_eq!(only(&later).key, only(&first).key);
    assert_eq!(later.bounds, first.bounds);
    assert_eq!(later.counts, [7.0, 7.0, 9.0, 10.0]);
}

#[tokio::test]
async fn a_report_that_is_missing_or_not_one_fails_and_names_its_key() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    let mut reader = Reader::start(reported_spec(server.port));
    use FailureReason::{Malformed, NotFound, TooLarge};
    let many = (0..600)
        .map(|field| format!("HSET app:latency {field} 1"))
        .collect::<Vec<_>>()
        .join(";");
    for (commands, reason, named) in [
        ("", NotFound, "app:latency"),
        ("HSET app:latency secret 1", Malformed, "app:latency"),
        (
            "SET app:latency secret",
            NotFound,
            "app:latency: the key holds another type",
        ),
        (
            "DEL app:latency;HSET app:latency 50 1",
            NotFound,
            "app:requests",
        ),
        ("SET app:requests secret", Malformed, "app:requests"),
        (many.as_str(), TooLarge, "app:latency"),
    ] {
        for command in commands.split(';').filter(|command| !command.is_empty()) {
            run(&mut client, command);
        }
        let failure = reader
            .until(|outcome| {
                outcome.as_ref().is_err_and(|failure| {
                    failure.reason == reason && failure.message.contains(named)
                })
            })
            .await
            .unwrap_err();
        assert!(!failure.message.contains("secret"), "{failure}");
    }
}

#[tokio::test]
async fn our_own_reads_of_a_backlog_are_no_requests_of_the_server() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    run(&mut client, "RPUSH jobs a");
    let spec = RedisSpec {
        server: server_spec(server.port, None).server,
        ..backlog_spec(server.port, &[("jobs", Measure::Auto)])
    };
    let mut reader = Reader::start(spec);
    for _ in 0..3 {
        let reading = reader.next().await.unwrap();
        assert_eq!(only(&reading).count, 1.0, "the RPUSH alone");
        assert_eq!(reading.backlogs[0].items, Ok(1.0));
    }
}
