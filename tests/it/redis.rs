//! Reading Redis, against a real redis-server wherever one can be made to behave as wanted.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taffrail::model::health::{Failure, FailureReason};
use taffrail::model::id::{ServiceId, TargetId};
use taffrail::model::reading::{Backlog, Reading, SeriesReading, Update};
use taffrail::source::redis::{
    self as source, BacklogRead, Connection, HistogramKey, Measure, Pool, RedisSpec, RedisTls,
    ReportedRead, ServerRead, SumKey, TlsIdentity, Unit,
};
use taffrail::source::secret::SecretRef;
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::fixtures::redis_server::{RedisServer, Rogue, run};

/// Far longer than a read takes, far shorter than a test run is patient.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running reader and what it says.
struct Reader {
    updates: mpsc::Receiver<Update>,
    _stop: DropGuard,
}

impl Reader {
    fn start(spec: RedisSpec) -> Self {
        Self::start_in(spec, Arc::new(Pool::new()))
    }

    fn start_in(spec: RedisSpec, pool: Arc<Pool>) -> Self {
        let (sender, updates) = mpsc::channel(1);
        let stop = CancellationToken::new();
        tokio::spawn(source::run(spec, pool, sender, stop.clone()));
        Self {
            updates,
            _stop: stop.drop_guard(),
        }
    }

    async fn next(&mut self) -> Result<Reading, Failure> {
        let update = tokio::time::timeout(PATIENCE, self.updates.recv())
            .await
            .expect("an update in time")
            .expect("a running reader");
        match update {
            Update::Read(batch) => Ok(batch.reading),
            Update::Failed { failure, .. } => Err(failure),
        }
    }

    /// The first outcome that is wanted; others are passed over.
    async fn until(
        &mut self,
        wanted: impl Fn(&Result<Reading, Failure>) -> bool,
    ) -> Result<Reading, Failure> {
        tokio::time::timeout(PATIENCE, async {
            loop {
                let outcome = self.next().await;
                if wanted(&outcome) {
                    return outcome;
                }
            }
        })
        .await
        .expect("the wanted outcome in time")
    }
}

fn spec_at(port: u16) -> RedisSpec {
    RedisSpec {
        target: TargetId::new(&ServiceId::new("shop", "visits"), "redis"),
        connection: Connection::new("127.0.0.1", port),
        interval: Duration::from_millis(100),
        timeout: Duration::from_secs(5),
        server: None,
        reported: None,
        backlog: Vec::new(),
    }
}

fn server_spec(port: u16, commands: Option<&[&str]>) -> RedisSpec {
    RedisSpec {
        server: Some(ServerRead {
            commands: commands.map(|names| names.iter().map(|&name| name.to_owned()).collect()),
        }),
        ..spec_at(port)
    }
}

fn backlog_spec(port: u16, reads: &[(&str, Measure)]) -> RedisSpec {
    let backlog = reads
        .iter()
        .enumerate()
        .map(|(i, (key, measure))| BacklogRead {
            key: (*key).to_owned(),
            label: Some(format!("{i}-{key}")),
            measure: measure.clone(),
        })
        .collect();
    RedisSpec {
        backlog,
        ..spec_at(port)
    }
}

fn pending(group: &str) -> Measure {
    Measure::Pending {
        group: group.to_owned(),
    }
}

fn lag(group: &str) -> Measure {
    Measure::Lag {
        group: group.to_owned(),
    }
}

async fn read_once(spec: RedisSpec) -> Result<Reading, Failure> {
    Reader::start(spec).next().await
}

/// The one series of a reading of one command.
fn only(reading: &Reading) -> &SeriesReading {
    let [series] = reading.series.as_slice() else {
        panic!("one series, not {:?}", reading.series);
    };
    series
}

fn items(backlogs: &[Backlog]) -> Vec<Result<f64, FailureReason>> {
    backlogs
        .iter()
        .map(|backlog| backlog.items.clone().map_err(|failure| failure.reason))
        .collect()
}

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
async fn a_password_is_wanted_and_its_absence_and_falseness_are_told_apart() {
    let server = RedisServer::start_with_password("s3cret&^@$");
    let with = |password: Option<&str>| {
        let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
        spec.connection.password = password.map(|password| SecretRef::Literal(password.to_owned()));
        spec
    };
    let missing = read_once(with(None)).await.unwrap_err();
    assert_eq!(missing.reason, FailureReason::Unauthorized);
    assert!(missing.message.contains("wants a password"), "{missing}");
    let wrong = read_once(with(Some("guess"))).await.unwrap_err();
    assert_eq!(wrong.reason, FailureReason::Unauthorized);
    assert!(wrong.message.contains("refused"), "{wrong}");
    assert!(!format!("{wrong:?} {:?}", with(Some("guess"))).contains("guess"));
    let right = read_once(with(Some("s3cret&^@$"))).await.unwrap();
    assert_eq!(items(&right.backlogs), [Ok(0.0)]);
}

#[tokio::test]
async fn a_rotated_password_is_read_again() {
    let server = RedisServer::start_with_password("old");
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "new\n").unwrap();
    let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
    spec.connection.password = Some(SecretRef::File(file.path().to_owned()));
    let mut reader = Reader::start(spec);
    assert_eq!(
        reader.next().await.unwrap_err().reason,
        FailureReason::Unauthorized
    );
    std::fs::write(file.path(), "old\n").unwrap();
    reader.until(Result::is_ok).await.unwrap();
}

#[tokio::test]
async fn a_user_with_the_documented_rights_can_read_all_and_a_lesser_one_is_told_what_is_missing() {
    let server = RedisServer::start(&[]);
    let mut client = server.client();
    run(&mut client, "RPUSH jobs a b");
    run(
        &mut client,
        "ACL SETUSER taffrail on >pw resetkeys ~jobs ~app:* +ping +client|setname +info +latency|histogram \
         +getrange +hlen +hgetall +type +llen +scard +zcard +xlen +xpending +xinfo|groups",
    );
    run(&mut client, "ACL SETUSER lesser on >pw ~jobs +ping +type");
    let as_user = |mut spec: RedisSpec, user: &str| {
        spec.connection.username = Some(SecretRef::Literal(user.to_owned()));
        spec.connection.password = Some(SecretRef::Literal("pw".to_owned()));
        spec
    };
    let reads = [
        ("jobs", Measure::Auto),
        ("jobs", lag("workers")),
        ("private", Measure::Auto),
    ];
    let mut spec = as_user(backlog_spec(server.port, &reads), "taffrail");
    spec.server = Some(ServerRead::default());
    let reading = read_once(spec).await.unwrap();
    assert_eq!(
        items(&reading.backlogs),
        [
            Ok(2.0),
            Err(FailureReason::NotFound),
            Err(FailureReason::Unauthorized)
        ]
    );
    assert!(reading.series.iter().all(|series| 0 < series.n_buckets));

    let lesser = read_once(as_user(backlog_spec(server.port, &reads[..1]), "lesser"))
        .await
        .unwrap();
    let failure = lesser.backlogs[0].items.clone().unwrap_err();
    assert_eq!(failure.reason, FailureReason::Unauthorized);
    assert!(failure.message.contains("LLEN jobs"), "{failure}");
    let failure = read_once(as_user(server_spec(server.port, None), "lesser"))
        .await
        .unwrap_err();
    assert!(failure.message.contains("INFO"), "{failure}");
}

#[tokio::test]
async fn tls_is_spoken_with_an_own_authority_and_a_stranger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = dir.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let authority = |name: &str| {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(Vec::new()).unwrap();
        params
            .distinguished_name
            .push(rcgen::DnType::CommonName, name);
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        rcgen::CertifiedIssuer::self_signed(params, key).unwrap()
    };
    let (own, other) = (authority("own"), authority("other"));
    let key = rcgen::KeyPair::generate().unwrap();
    let leaf = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()])
        .unwrap()
        .signed_by(&key, &own)
        .unwrap();
    let ca_file = file("ca.pem", &own.pem());
    let other_file = file("other.pem", &other.pem());
    let cert_file = file("cert.pem", &leaf.pem());
    let key_file = file("key.pem", &key.serialize_pem());
    let arg = |path: &std::path::PathBuf| path.to_str().unwrap().to_owned();
    let server = RedisServer::launch(&[
        "--port",
        "0",
        "--tls-port",
        "PORT",
        "--tls-cert-file",
        &arg(&cert_file),
        "--tls-key-file",
        &arg(&key_file),
        "--tls-ca-cert-file",
        &arg(&ca_file),
    ]);
    server.wait_for_port();

    let with = |tls: RedisTls| {
        let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
        spec.connection.tls = Some(tls);
        spec
    };
    let identity = Some(TlsIdentity {
        cert_file,
        key_file,
    });
    let trusting = RedisTls {
        ca_file: Some(ca_file),
        insecure_skip_verify: false,
        identity,
    };
    let reading = read_once(with(trusting.clone())).await.unwrap();
    assert_eq!(items(&reading.backlogs), [Ok(0.0)]);

    let wary = RedisTls {
        ca_file: Some(other_file.clone()),
        ..trusting.clone()
    };
    assert_eq!(
        read_once(with(wary)).await.unwrap_err().reason,
        FailureReason::Tls
    );
    let careless = RedisTls {
        ca_file: Some(other_file),
        insecure_skip_verify: true,
        ..trusting.clone()
    };
    assert!(read_once(with(careless)).await.is_ok());
    // Redis asks for a client certificate unless told otherwise.
    let nameless = RedisTls {
        identity: None,
        ..trusting.clone()
    };
    assert_eq!(
        read_once(with(nameless)).await.unwrap_err().reason,
        FailureReason::Tls
    );
    let no_file = RedisTls {
        ca_file: Some("no/such/ca.pem".into()),
        ..trusting
    };
    let failure = read_once(with(no_file)).await.unwrap_err();
    assert!(failure.message.contains("no/such/ca.pem"), "{failure}");
}

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
    let mut reader = Reader::start(backlog_spec(server.port, &[("jobs", Measure::Auto)]));
    for _ in 0..5 {
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
async fn a_frozen_server_times_out_and_is_read_again_once_it_thaws() {
    let server = RedisServer::start(&[]);
    let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
    spec.timeout = Duration::from_millis(300);
    let mut reader = Reader::start(spec);
    reader.next().await.unwrap();
    server.signal("STOP");
    let failure = reader.until(Result::is_err).await.unwrap_err();
    assert_eq!(failure.reason, FailureReason::Timeout, "{failure}");
    server.signal("CONT");
    reader.until(Result::is_ok).await.unwrap();
}

#[tokio::test]
async fn targets_of_one_server_share_one_connection() {
    let server = RedisServer::start(&[]);
    let pool = Arc::new(Pool::new());
    let mut readers: Vec<Reader> = (0..5)
        .map(|i| {
            let mut spec = backlog_spec(server.port, &[("jobs", Measure::Auto)]);
            spec.target.name = format!("redis-{i}").into();
            Reader::start_in(spec, Arc::clone(&pool))
        })
        .collect();
    for reader in &mut readers {
        reader.next().await.unwrap();
    }
    let clients = run(&mut server.client(), "CLIENT LIST");
    let redis::Value::BulkString(clients) = clients else {
        panic!("{clients:?}");
    };
    let clients = String::from_utf8(clients).unwrap();
    assert_eq!(clients.matches("name=taffrail").count(), 1, "{clients}");
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
    let server = RedisServer::start(&["--maxclients", "1"]);
    let _client = server.client();
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
