//! The engine as its owner sees it: reads in, a snapshot out.

use std::time::Duration;

use crate::model::health::{Failure, FailureReason};
use crate::model::id::{ServiceId, TargetId};
use crate::model::reading::{Backlog, Batch, Reading, SeriesReading};
use crate::model::selector::{Operator, Requirement, Selector};
use crate::model::time::Timestamp;

use super::snapshot::{Refusal, Snapshot, State};
use super::{Engine, Ingested, Objective, ServiceSpec};

const INF: f64 = f64::INFINITY;
const FINE: [f64; 4] = [0.1, 0.25, 0.5, INF];

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_ms((seconds * 1000.0) as i64)
}

fn users() -> ServiceId {
    ServiceId::new("shop", "users")
}

fn mk_spec(id: &ServiceId) -> ServiceSpec {
    ServiceSpec {
        id: id.clone(),
        interval: Duration::from_secs(5),
        window: Duration::from_secs(30),
        objective: Some(Objective {
            quantile: 0.95,
            latency: Duration::from_millis(250),
        }),
        has_requests: true,
    }
}

fn mk_engine() -> Engine {
    let mut engine = Engine::default();
    engine.configure([mk_spec(&users())]);
    engine
}

/// One series with these cumulative counts, the last being all requests, each of which took 0.2 s.
fn mk_series(reading: &mut Reading, key: u64, bounds: &[f64], counts: &[f64]) {
    let count = counts.last().copied().unwrap_or(0.0);
    reading.series.push(SeriesReading {
        key,
        first_bucket: reading.bounds.len() as u32,
        n_buckets: bounds.len() as u32,
        count,
        sum: Some(count * 0.2),
    });
    reading.bounds.extend_from_slice(bounds);
    reading.counts.extend_from_slice(counts);
}

fn mk_batch(target: &str, at_s: f64, counts: &[f64]) -> Batch {
    let mut reading = Reading::default();
    mk_series(&mut reading, 1, &FINE, counts);
    mk_batch_of(target, at_s, reading)
}

fn mk_batch_of(target: &str, at_s: f64, reading: Reading) -> Batch {
    Batch {
        target: TargetId::new(&users(), target),
        at: at(at_s),
        took: Duration::from_millis(2),
        reading,
    }
}

/// Reads a target every 5 s from `from_s` to `to_s`, its counts rising by `step` from `base` each time.
fn run_target(
    engine: &mut Engine,
    target: &str,
    from_s: f64,
    to_s: f64,
    base: [f64; 4],
    step: [f64; 4],
) {
    let mut reads = 0.0;
    while from_s + reads * 5.0 <= to_s {
        let counts: Vec<f64> = base
            .iter()
            .zip(step)
            .map(|(base, step)| base + step * reads)
            .collect();
        engine.ingest(&mk_batch(target, from_s + reads * 5.0, &counts));
        reads += 1.0;
    }
}

fn selector(pairs: &[(&str, &str)]) -> Selector {
    let requirement = |(key, value): &(&str, &str)| Requirement {
        key: (*key).to_owned(),
        operator: Operator::In(vec![(*value).to_owned()]),
    };
    Selector::new(pairs.iter().map(requirement).collect())
}

fn value(snapshot: &Snapshot, metric: &str, labels: &[(&str, &str)]) -> Result<f64, Refusal> {
    let items = snapshot.read("shop", metric, &selector(labels))?;
    assert_eq!(items.len(), 1, "{items:?}");
    Ok(items[0].value)
}

#[track_caller]
fn check(snapshot: &Snapshot, metric: &str, expect: f64) {
    let got = value(snapshot, metric, &[("service", "users")]).unwrap();
    assert!(
        (got - expect).abs() < 1e-6,
        "{metric} is {got}, not {expect}"
    );
}

#[track_caller]
fn check_absent(snapshot: &Snapshot, because: &str) {
    match value(snapshot, "request_rate", &[("service", "users")]) {
        Err(Refusal::Absent(message)) => assert!(message.contains(because), "{message}"),
        other => panic!("expected absence because of {because:?}, got {other:?}"),
    }
}

#[test]
fn rate_quantile_mean_and_slow_share_come_from_one_window() {
    let mut engine = mk_engine();
    // 20 requests a second: half within 0.1 s, four fifths within 0.25 s, all within 0.5 s.
    run_target(
        &mut engine,
        "a",
        0.0,
        60.0,
        [1e6; 4],
        [50.0, 80.0, 100.0, 100.0],
    );
    let snapshot = engine.evaluate(at(60.0));
    check(&snapshot, "request_rate", 20.0);
    check(&snapshot, "request_latency_ms", 250.0 + 250.0 * 0.75);
    check(&snapshot, "slow_request_ratio", 0.2);
    check(&snapshot, "request_concurrency", 20.0 * 0.2);
    assert_eq!(
        value(&snapshot, "request_latency_ms", &[("quantile", "0.5")]).unwrap(),
        100.0
    );
    assert!(
        (value(&snapshot, "request_latency_ms", &[("quantile", "mean")]).unwrap() - 200.0).abs()
            < 1e-6
    );
}

#[test]
fn buckets_are_added_before_the_quantile_so_a_busy_target_weighs_more() {
    let mut engine = mk_engine();
    run_target(
        &mut engine,
        "busy",
        0.0,
        60.0,
        [1e6; 4],
        [990.0, 990.0, 990.0, 990.0],
    );
    run_target(
        &mut engine,
        "idle",
        0.0,
        60.0,
        [1e6; 4],
        [0.0, 0.0, 10.0, 10.0],
    );
    let snapshot = engine.evaluate(at(60.0));
    // One request in a hundred is slow: the mean of both targets' own quantiles would be some 290 ms.
    check(&snapshot, "request_latency_ms", 100.0 * 0.95 / 0.99);
}

#[test]
fn a_single_read_yields_nothing_rather_than_a_zero() {
    let mut engine = mk_engine();
    engine.ingest(&mk_batch("a", 10.0, &[5.0; 4]));
    check_absent(&engine.evaluate(at(11.0)), "read twice");
}

#[test]
fn no_target_and_no_answer_are_absent_and_say_so() {
    let mut engine = mk_engine();
    check_absent(&engine.evaluate(at(0.0)), "no targets");
    let target = TargetId::new(&users(), "a");
    engine.expect(&target, at(0.0));
    engine.fail(
        &target,
        Failure::new(FailureReason::Refused, "10.1.2.3:80 refused"),
        at(1.0),
    );
    let snapshot = engine.evaluate(at(2.0));
    check_absent(&snapshot, "1 refused");
    let message = value(&snapshot, "request_latency_ms", &[])
        .unwrap_err()
        .message()
        .to_owned();
    assert!(
        !message.contains("10.1.2.3"),
        "an address leaks into the HPA's events: {message}"
    );
}

#[test]
fn no_traffic_is_zero_because_that_is_knowledge() {
    let mut engine = mk_engine();
    run_target(&mut engine, "a", 0.0, 60.0, [7.0; 4], [0.0; 4]);
    let snapshot = engine.evaluate(at(60.0));
    assert_eq!(
        snapshot.service("shop", "users").unwrap().state,
        State::NoTraffic
    );
    check(&snapshot, "request_rate", 0.0);
    check(&snapshot, "request_latency_ms", 0.0);
    check(&snapshot, "slow_request_ratio", 0.0);
}

#[test]
fn an_app_that_has_shown_no_series_yet_has_no_traffic() {
    let mut engine = mk_engine();
    for read in 0..5 {
        engine.ingest(&mk_batch_of("a", f64::from(read) * 5.0, Reading::default()));
    }
    let snapshot = engine.evaluate(at(20.0));
    check(&snapshot, "request_rate", 0.0);
    // Its first request brings the series, which then counts from zero.
    engine.ingest(&mk_batch("a", 25.0, &[30.0; 4]));
    let rate = value(&engine.evaluate(at(25.0)), "request_rate", &[]).unwrap();
    assert!((0.99..=1.01).contains(&rate), "{rate}");
}

#[test]
fn a_counter_reset_counts_from_zero() {
    let mut engine = mk_engine();
    run_target(&mut engine, "a", 0.0, 30.0, [1000.0; 4], [50.0; 4]);
    // The process began anew and has answered 60 since: the lowest bucket alone does not tell.
    let outcome = engine.ingest(&mk_batch("a", 35.0, &[60.0; 4]));
    assert_eq!(
        outcome,
        Ingested {
            accepted: 1,
            resets: 1,
            ..Ingested::default()
        }
    );
    run_target(&mut engine, "a", 40.0, 45.0, [110.0; 4], [50.0; 4]);
    let rate = value(&engine.evaluate(at(45.0)), "request_rate", &[]).unwrap();
    // The window 15..45 holds 20..45: 50, 50, 60, 50, 50 in 25 s, extended to 30.
    assert!((rate - 260.0 / 25.0).abs() < 1e-6, "{rate}");
}

#[test]
fn a_changed_layout_without_a_restart_adds_nothing_it_counted_before() {
    let mut engine = mk_engine();
    run_target(&mut engine, "a", 0.0, 30.0, [1e6; 4], [50.0; 4]);
    for read in 1..=6 {
        let mut reading = Reading::default();
        let n = 1e6 + 300.0 + f64::from(read) * 50.0;
        mk_series(&mut reading, 1, &[0.25, INF], &[n, n]);
        let outcome = engine.ingest(&mk_batch_of("a", 30.0 + f64::from(read) * 5.0, reading));
        assert_eq!(outcome.relaid, u32::from(read == 1));
    }
    let rate = value(&engine.evaluate(at(60.0)), "request_rate", &[]).unwrap();
    assert!((8.0..=10.1).contains(&rate), "{rate}");
}

#[test]
fn a_bucket_that_wobbles_is_no_reset_and_makes_up_no_load() {
    let mut engine = mk_engine();
    let mut inconsistent = 0;
    for read in 0..13 {
        let n = f64::from(read) * 100.0;
        let wobble = if read % 3 == 1 { 1000.0 } else { 0.0 };
        let counts = [1e6 + n / 2.0 - wobble, 2e6 + n, 2e6 + n, 2e6 + n];
        let outcome = engine.ingest(&mk_batch("a", f64::from(read) * 5.0, &counts));
        assert_eq!(outcome.resets, 0);
        inconsistent += outcome.inconsistent;
    }
    assert_eq!(inconsistent, 8, "each fall and each return");
    let snapshot = engine.evaluate(at(60.0));
    check(&snapshot, "request_rate", 20.0);
    let base = snapshot.service("shop", "users").unwrap().base().unwrap();
    assert!(base.counts[0] <= base.counts[3] + 1e-6, "{base:?}");
}

#[test]
fn requests_and_buckets_that_are_kept_apart_are_reset_apart() {
    let mut engine = mk_engine();
    let read = |at_s: f64, count: f64, buckets: f64| {
        let mut reading = Reading::default();
        mk_series(&mut reading, 1, &FINE, &[buckets; 4]);
        reading.series[0].count = count;
        mk_batch_of("redis", at_s, reading)
    };
    for i in 0..6 {
        let n = f64::from(i) * 50.0;
        engine.ingest(&read(f64::from(i) * 5.0, 1e6 + n, 1e6 + n));
    }
    // The hash of buckets is deleted, then the counter of requests is.
    engine.ingest(&read(30.0, 1e6 + 300.0, 50.0));
    engine.ingest(&read(35.0, 50.0, 100.0));
    for i in 8..12 {
        let n = f64::from(i) * 50.0;
        engine.ingest(&read(f64::from(i) * 5.0, n - 300.0, n - 250.0));
        let snapshot = engine.evaluate(at(f64::from(i) * 5.0));
        let rate = value(&snapshot, "request_rate", &[]).unwrap();
        let base = snapshot.service("shop", "users").unwrap().base().unwrap();
        assert!(rate <= 10.1 && base.counts[3] <= 310.0, "{rate} {base:?}");
    }
}

#[test]
fn a_bound_that_appears_with_its_first_request_is_seen_at_once() {
    let mut engine = mk_engine();
    for i in 0..14 {
        let n = f64::from(i) * 50.0;
        let mut reading = Reading::default();
        if i < 12 {
            mk_series(&mut reading, 1, &[0.05, INF], &[n, n]);
        } else {
            // From here on half of the requests take five seconds, a bound that nothing had reached before.
            let slow = f64::from(i - 11) * 25.0;
            mk_series(&mut reading, 1, &[0.05, 5.0, INF], &[n - slow, n, n]);
        }
        let outcome = engine.ingest(&mk_batch_of("redis", f64::from(i) * 5.0, reading));
        assert_eq!((outcome.relaid, outcome.resets), (0, 0));
    }
    let snapshot = engine.evaluate(at(65.0));
    check(&snapshot, "request_rate", 10.0);
    let p95 = value(&snapshot, "request_latency_ms", &[]).unwrap();
    assert!(2000.0 < p95, "{p95}");
}

#[test]
fn a_new_series_of_a_known_target_counts_from_zero_but_not_after_a_page_with_holes() {
    let mut engine = mk_engine();
    for read in 0..12 {
        let mut reading = Reading::default();
        mk_series(&mut reading, 1, &FINE, &[0.0; 4]);
        if read == 11 {
            mk_series(&mut reading, 2, &FINE, &[30.0; 4]);
        }
        engine.ingest(&mk_batch_of("a", f64::from(read) * 5.0, reading));
    }
    let rate = value(&engine.evaluate(at(55.0)), "request_rate", &[]).unwrap();
    assert!((0.99..=1.21).contains(&rate), "{rate}");

    let mut engine = mk_engine();
    for read in 0..12 {
        let mut reading = Reading {
            bad_lines: u32::from(read < 11),
            ..Reading::default()
        };
        mk_series(&mut reading, 1, &FINE, &[0.0; 4]);
        if read == 11 {
            mk_series(&mut reading, 2, &FINE, &[1e6; 4]);
        }
        engine.ingest(&mk_batch_of("a", f64::from(read) * 5.0, reading));
    }
    check(&engine.evaluate(at(55.0)), "request_rate", 0.0);
}

#[test]
fn the_window_widens_while_requests_are_too_few_for_the_quantile() {
    let mut engine = mk_engine();
    // One request in 5 s: 6 in the base window, and 0.95 wants 60.
    run_target(&mut engine, "a", 0.0, 600.0, [1e6; 4], [0.0, 1.0, 1.0, 1.0]);
    let snapshot = engine.evaluate(at(600.0));
    let items = snapshot
        .read("shop", "request_latency_ms", &Selector::default())
        .unwrap();
    assert_eq!(items[0].window, Duration::from_secs(480));
    assert!((items[0].value - (100.0 + 150.0 * 0.95)).abs() < 1e-6);
    // A rate needs no more requests than there were.
    assert_eq!(
        snapshot
            .read("shop", "request_rate", &Selector::default())
            .unwrap()[0]
            .window,
        Duration::from_secs(30)
    );
}

#[test]
fn a_few_unknown_targets_leave_a_partial_value_and_many_leave_none() {
    let mut engine = mk_engine();
    for i in 0..10 {
        let until = if i == 0 { 60.0 } else { 100.0 };
        run_target(
            &mut engine,
            &format!("t{i}"),
            0.0,
            until,
            [1e6; 4],
            [50.0; 4],
        );
    }
    let snapshot = engine.evaluate(at(100.0));
    assert_eq!(
        snapshot.service("shop", "users").unwrap().state,
        State::Partial { known: 9, of: 10 }
    );
    check(&snapshot, "request_rate", 90.0);

    let mut engine = mk_engine();
    for i in 0..10 {
        let until = if i < 3 { 60.0 } else { 100.0 };
        run_target(
            &mut engine,
            &format!("t{i}"),
            0.0,
            until,
            [1e6; 4],
            [50.0; 4],
        );
    }
    check_absent(
        &engine.evaluate(at(100.0)),
        "3 of 10 targets cannot be read",
    );
}

#[test]
fn new_targets_do_not_make_the_rest_unknown() {
    let mut engine = mk_engine();
    run_target(&mut engine, "old", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    for i in 0..9 {
        engine.expect(&TargetId::new(&users(), &format!("new{i}")), at(58.0));
        engine.ingest(&mk_batch(&format!("new{i}"), 59.0, &[0.0; 4]));
    }
    let snapshot = engine.evaluate(at(60.0));
    let coverage = &snapshot.service("shop", "users").unwrap().coverage;
    assert_eq!(
        (coverage.known, coverage.starting, coverage.unknown),
        (1, 9, 0)
    );
    check(&snapshot, "request_rate", 10.0);
    // Those that still were not read twice when their time is up count as unknown.
    run_target(&mut engine, "old", 65.0, 75.0, [2e6; 4], [50.0; 4]);
    check_absent(&engine.evaluate(at(75.0)), "9 of 10 targets cannot be read");
}

#[test]
fn stale_reads_are_never_served() {
    let mut engine = mk_engine();
    run_target(&mut engine, "a", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    check(&engine.evaluate(at(72.0)), "request_rate", 10.0);
    check_absent(&engine.evaluate(at(72.6)), "nothing was read");
}

#[test]
fn a_forgotten_targets_requests_leave_the_window_as_they_age() {
    let mut engine = mk_engine();
    run_target(&mut engine, "stays", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    run_target(&mut engine, "goes", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    engine.forget(&TargetId::new(&users(), "goes"));
    check(&engine.evaluate(at(60.0)), "request_rate", 20.0);
    // Its load goes to the one that stays; the sum is the same throughout, neither a dip nor a ghost.
    for read in 1..=7 {
        let now_s = 60.0 + f64::from(read) * 5.0;
        engine.ingest(&mk_batch(
            "stays",
            now_s,
            &[1e6 + 600.0 + f64::from(read) * 100.0; 4],
        ));
        let rate = value(&engine.evaluate(at(now_s)), "request_rate", &[]).unwrap();
        assert!((18.0..=22.0).contains(&rate), "{rate} at {now_s}");
    }
    let snapshot = engine.evaluate(at(95.0));
    check(&snapshot, "request_rate", 20.0);
    assert_eq!(
        snapshot.service("shop", "users").unwrap().coverage.total(),
        1
    );
    let late = engine.ingest(&mk_batch("goes", 96.0, &[1e6; 4]));
    assert_eq!(
        late.accepted, 1,
        "after its last request left the window the same name is a new target"
    );
}

#[test]
fn a_late_read_of_a_forgotten_target_does_not_bring_it_back() {
    let mut engine = mk_engine();
    run_target(&mut engine, "goes", 0.0, 20.0, [1e6; 4], [50.0; 4]);
    engine.forget(&TargetId::new(&users(), "goes"));
    assert_eq!(
        engine.ingest(&mk_batch("goes", 21.0, &[2e6; 4])).unwanted,
        1
    );
    check_absent(&engine.evaluate(at(21.0)), "no targets");
}

#[test]
fn a_target_of_which_something_else_is_read_begins_anew() {
    let mut engine = mk_engine();
    let target = TargetId::new(&users(), "a");
    run_target(&mut engine, "a", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    engine.begin_anew(&target, at(61.0));
    // What the loop before read last, and then other series with counters of their own.
    let late = engine.ingest(&mk_batch("a", 60.9, &[1e6; 4]));
    assert_eq!(late.out_of_order, 1);
    for read in 0..6 {
        let (at_s, count) = (61.0 + f64::from(read) * 5.0, 9e6 + f64::from(read) * 10.0);
        let mut reading = Reading::default();
        mk_series(&mut reading, 2, &FINE, &[count; 4]);
        engine.ingest(&mk_batch_of("a", at_s, reading));
        let snapshot = engine.evaluate(at(at_s));
        if read == 0 {
            check_absent(&snapshot, "read twice");
        } else {
            let rate = value(&snapshot, "request_rate", &[]).unwrap();
            assert!(rate <= 2.0, "{rate} at {at_s}");
        }
    }
}

#[test]
fn a_target_that_is_back_is_a_new_one_at_once() {
    let mut engine = mk_engine();
    let target = TargetId::new(&users(), "a");
    run_target(&mut engine, "a", 0.0, 20.0, [1e6; 4], [50.0; 4]);
    engine.forget(&target);
    engine.expect(&target, at(21.0));
    check_absent(&engine.evaluate(at(21.0)), "read twice");
    run_target(&mut engine, "a", 22.0, 52.0, [5e6; 4], [50.0; 4]);
    check(&engine.evaluate(at(52.0)), "request_rate", 10.0);
}

#[test]
fn different_layouts_meet_on_their_common_bounds() {
    let mut engine = mk_engine();
    let coarse = [0.25, 1.0, INF];
    for read in 0..13 {
        let n = f64::from(read) * 50.0;
        engine.ingest(&mk_batch(
            "fine",
            f64::from(read) * 5.0,
            &[1e6, 1e6 + n * 0.9, 1e6 + n, 1e6 + n],
        ));
        let mut reading = Reading::default();
        mk_series(&mut reading, 1, &coarse, &[1e6 + n * 0.9, 1e6 + n, 1e6 + n]);
        engine.ingest(&mk_batch_of("coarse", f64::from(read) * 5.0, reading));
    }
    let snapshot = engine.evaluate(at(60.0));
    let service = snapshot.service("shop", "users").unwrap();
    assert_eq!(service.base().unwrap().bounds.as_ref(), [0.25, INF]);
    assert_eq!(service.base().unwrap().layouts, 2);
    check(&snapshot, "slow_request_ratio", 0.1);
    assert_eq!(service.missing_bound(), None);
}

#[test]
fn a_bound_missing_at_the_objective_is_reported_with_its_neighbours() {
    let mut engine = mk_engine();
    let spec = mk_spec(&users());
    let objective = Objective {
        quantile: 0.95,
        latency: Duration::from_millis(300),
    };
    engine.configure([ServiceSpec {
        objective: Some(objective),
        ..spec
    }]);
    run_target(&mut engine, "a", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    let snapshot = engine.evaluate(at(60.0));
    assert_eq!(
        snapshot.service("shop", "users").unwrap().missing_bound(),
        Some((Some(0.25), Some(0.5)))
    );
}

#[test]
fn with_an_in_flight_gauge_the_rate_is_of_arrivals() {
    let mut engine = mk_engine();
    for read in 0..13 {
        let mut reading = Reading {
            in_flight: Some(f64::from(read) * 5.0),
            ..Reading::default()
        };
        mk_series(&mut reading, 1, &FINE, &[1e6 + f64::from(read) * 50.0; 4]);
        engine.ingest(&mk_batch_of("a", f64::from(read) * 5.0, reading));
    }
    let snapshot = engine.evaluate(at(60.0));
    // 10 a second are answered, and in 25 s another 25 queued up.
    check(&snapshot, "request_rate", 10.0 + 25.0 / 30.0);
    check(&snapshot, "request_concurrency", 47.5);
}

#[test]
fn cpu_per_request_survives_a_restart_and_is_absent_where_a_target_does_not_say() {
    let mut engine = mk_engine();
    for read in 0..13 {
        let n = f64::from(read) * 50.0;
        // The process restarts after the ninth read; it burns 2 ms a request before and after.
        let cpu = if read < 9 {
            100.0 + n * 0.002
        } else {
            (n - 400.0) * 0.002
        };
        let mut reading = Reading {
            cpu_seconds: Some(cpu),
            ..Reading::default()
        };
        mk_series(&mut reading, 1, &FINE, &[1e6 + n; 4]);
        engine.ingest(&mk_batch_of("a", f64::from(read) * 5.0, reading));
    }
    let cpu = |engine: &mut Engine| {
        let snapshot = engine.evaluate(at(60.0));
        snapshot
            .service("shop", "users")
            .unwrap()
            .cpu_per_request_s()
    };
    assert!(
        (cpu(&mut engine).unwrap() - 0.002).abs() < 1e-4,
        "{:?}",
        cpu(&mut engine)
    );
    run_target(&mut engine, "silent", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    assert_eq!(cpu(&mut engine), None);
}

#[test]
fn a_summary_has_a_mean_and_no_quantile() {
    let mut engine = mk_engine();
    for read in 0..13 {
        let count = 1e6 + f64::from(read) * 50.0;
        let series = SeriesReading {
            key: 1,
            count,
            sum: Some(count * 0.2),
            ..SeriesReading::default()
        };
        engine.ingest(&mk_batch_of(
            "a",
            f64::from(read) * 5.0,
            Reading {
                series: vec![series],
                ..Reading::default()
            },
        ));
    }
    let snapshot = engine.evaluate(at(60.0));
    check(&snapshot, "request_rate", 10.0);
    assert!(
        (value(&snapshot, "request_latency_ms", &[("quantile", "mean")]).unwrap() - 200.0).abs()
            < 1e-6
    );
    let refusal = value(&snapshot, "request_latency_ms", &[]).unwrap_err();
    assert!(refusal.message().contains("quantile=mean"), "{refusal:?}");
}

#[test]
fn a_few_requests_without_buckets_do_not_hide_the_quantile_of_the_others() {
    let mut engine = mk_engine();
    for read in 0..13 {
        let n = 1e6 + f64::from(read) * 100.0;
        engine.ingest(&mk_batch("a", f64::from(read) * 5.0, &[n; 4]));
        let plain = SeriesReading {
            key: 1,
            count: 1e6 + f64::from(read) * 20.0,
            sum: Some(1.0),
            ..SeriesReading::default()
        };
        let reading = Reading {
            series: vec![plain],
            ..Reading::default()
        };
        engine.ingest(&mk_batch_of("b", f64::from(read) * 5.0, reading));
    }
    let snapshot = engine.evaluate(at(60.0));
    check(&snapshot, "request_rate", 24.0);
    check(&snapshot, "request_latency_ms", 95.0);
}

#[test]
fn damaged_numbers_are_refused_and_counted() {
    let mut engine = mk_engine();
    for counts in [[f64::NAN; 4], [-1.0; 4], [INF; 4]] {
        assert_eq!(engine.ingest(&mk_batch("a", 0.0, &counts)).accepted, 0);
        engine = mk_engine();
    }
    let mut reading = Reading::default();
    mk_series(&mut reading, 1, &[0.5, 0.1, INF], &[1.0; 3]);
    assert_eq!(engine.ingest(&mk_batch_of("a", 0.0, reading)).refused, 1);
}

#[test]
fn a_clock_that_stepped_back_begins_anew_instead_of_going_silent() {
    let mut engine = mk_engine();
    run_target(&mut engine, "a", 7200.0, 7260.0, [1e6; 4], [50.0; 4]);
    run_target(&mut engine, "a", 3600.0, 3660.0, [2e6; 4], [50.0; 4]);
    check(&engine.evaluate(at(3660.0)), "request_rate", 10.0);
}

#[test]
fn a_read_that_comes_late_is_dropped_and_counted() {
    let mut engine = mk_engine();
    run_target(&mut engine, "a", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    assert_eq!(
        engine.ingest(&mk_batch("a", 59.0, &[2e6; 4])).out_of_order,
        1
    );
    check(&engine.evaluate(at(60.0)), "request_rate", 10.0);
}

#[test]
fn several_services_are_merged_into_one_latency_or_refused() {
    let mut engine = Engine::default();
    let (a, b) = (ServiceId::new("shop", "a"), ServiceId::new("shop", "b"));
    engine.configure([mk_spec(&a), mk_spec(&b)]);
    for read in 0..13 {
        for (service, fast) in [(&a, 1.0), (&b, 0.0)] {
            let n = f64::from(read) * 50.0;
            let mut reading = Reading::default();
            mk_series(
                &mut reading,
                1,
                &FINE,
                &[1e6 + n * fast, 1e6 + n * fast, 1e6 + n, 1e6 + n],
            );
            let target = TargetId::new(service, "t");
            engine.ingest(&Batch {
                target,
                at: at(f64::from(read) * 5.0),
                took: Duration::from_millis(2),
                reading,
            });
        }
    }
    let snapshot = engine.evaluate(at(60.0));
    assert!(
        (value(&snapshot, "request_latency_ms", &[("quantile", "0.5")]).unwrap() - 100.0).abs()
            < 1e-6
    );
    assert_eq!(
        snapshot
            .read("shop", "request_rate", &Selector::default())
            .unwrap()
            .len(),
        2
    );
    let two = Selector::new(vec![Requirement {
        key: "quantile".into(),
        operator: Operator::In(vec!["0.5".into(), "0.9".into()]),
    }]);
    assert!(matches!(
        snapshot.read("shop", "request_latency_ms", &two),
        Err(Refusal::Ambiguous(_))
    ));
}

#[test]
fn other_namespaces_and_other_names_yield_nothing() {
    let mut engine = mk_engine();
    run_target(&mut engine, "a", 0.0, 60.0, [1e6; 4], [50.0; 4]);
    let snapshot = engine.evaluate(at(60.0));
    let all = Selector::default();
    assert!(matches!(
        snapshot.read("bank", "request_rate", &all),
        Err(Refusal::NotFound(_))
    ));
    assert!(matches!(
        snapshot.read("shop", "no_such", &all),
        Err(Refusal::NotFound(_))
    ));
    for labels in [
        [("service", "other")],
        [("route", "x")],
        [("quantile", "2")],
        [("quantile", "inf")],
    ] {
        let metric = if labels[0].0 == "quantile" {
            "request_latency_ms"
        } else {
            "request_rate"
        };
        assert!(
            matches!(
                snapshot.read("shop", metric, &selector(&labels)),
                Err(Refusal::NotFound(_))
            ),
            "{labels:?}"
        );
    }
}

#[test]
fn a_backlog_that_is_not_known_hides_only_itself() {
    let mut engine = Engine::default();
    engine.configure([ServiceSpec {
        objective: None,
        has_requests: false,
        ..mk_spec(&users())
    }]);
    for read in 0..3 {
        let lag = Err(Failure::new(FailureReason::NotFound, "the lag is NULL"));
        let backlogs = vec![
            Backlog {
                key: "jobs".into(),
                items: Ok(42.0),
            },
            Backlog {
                key: "events".into(),
                items: lag,
            },
        ];
        engine.ingest(&mk_batch_of(
            "redis",
            f64::from(read) * 5.0,
            Reading {
                backlogs,
                ..Reading::default()
            },
        ));
    }
    let snapshot = engine.evaluate(at(10.0));
    assert_eq!(
        value(&snapshot, "redis_backlog", &[("key", "jobs")]),
        Ok(42.0)
    );
    let why =
        "redis_backlog of service shop/users is not known, because key events: the lag is NULL";
    assert_eq!(
        value(&snapshot, "redis_backlog", &[("key", "events")]),
        Err(Refusal::Absent(why.to_owned()))
    );
    let advice = format!("{why}; the other keys can be read one by one: select a key");
    assert_eq!(
        value(&snapshot, "redis_backlog", &[]),
        Err(Refusal::Absent(advice))
    );
    assert!(matches!(
        value(&snapshot, "redis_backlog", &[("key", "none")]),
        Err(Refusal::NotFound(_))
    ));
    assert!(matches!(
        value(&snapshot, "request_rate", &[]),
        Err(Refusal::Absent(_))
    ));
    assert!(matches!(
        value(
            &engine.evaluate(at(30.0)),
            "redis_backlog",
            &[("key", "jobs")]
        ),
        Err(Refusal::Absent(_))
    ));
}

#[test]
fn a_flood_of_series_costs_only_its_own_target() {
    let mut engine = mk_engine();
    let mut reading = Reading::default();
    for key in 0..5_000 {
        mk_series(&mut reading, key, &FINE, &[1.0; 4]);
    }
    let outcome = engine.ingest(&mk_batch_of("flood", 0.0, reading));
    assert_eq!((outcome.accepted, outcome.over_limit), (2_000, 3_000));
}
