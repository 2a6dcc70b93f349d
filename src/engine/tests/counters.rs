//! Raw counters to increases: restarts, new series, changed bounds, and numbers that cannot be.

use super::*;

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
fn a_flood_of_series_costs_only_its_own_target() {
    let mut engine = mk_engine();
    let mut reading = Reading::default();
    for key in 0..5_000 {
        mk_series(&mut reading, key, &FINE, &[1.0; 4]);
    }
    let outcome = engine.ingest(&mk_batch_of("flood", 0.0, reading));
    assert_eq!((outcome.accepted, outcome.over_limit), (2_000, 3_000));
}
