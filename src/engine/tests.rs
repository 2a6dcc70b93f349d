//! The engine as its owner sees it: reads in, a snapshot out. What is said of a service is here; how counters become
//! increases is in [`counters`], which targets count in [`targets`], and what of pods that come and go in [`phases`]; single
//! [`pods`] are apart.

mod counters;
mod phases;
mod pods;
mod targets;

use std::time::Duration;

use crate::model::health::{Failure, FailureReason};
use crate::model::id::{ServiceId, TargetId};
use crate::model::phase::Phase;
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
