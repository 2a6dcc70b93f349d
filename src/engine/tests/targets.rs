//! Which targets count: those that are new, unknown, stale, gone, or back.

use super::*;

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
    engine.expect(&target, Phase::default(), at(0.0));
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
        let new = TargetId::new(&users(), &format!("new{i}"));
        engine.expect(&new, Phase::default(), at(58.0));
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
fn a_target_that_is_back_is_a_new_one_at_once() {
    let mut engine = mk_engine();
    let target = TargetId::new(&users(), "a");
    run_target(&mut engine, "a", 0.0, 20.0, [1e6; 4], [50.0; 4]);
    engine.forget(&target);
    engine.expect(&target, Phase::default(), at(21.0));
    check_absent(&engine.evaluate(at(21.0)), "read twice");
    run_target(&mut engine, "a", 22.0, 52.0, [5e6; 4], [50.0; 4]);
    check(&engine.evaluate(at(52.0)), "request_rate", 10.0);
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
fn a_service_that_makes_up_bounds_takes_no_layout_from_another() {
    let mut engine = mk_engine();
    let other = ServiceId::new("shop", "other");
    engine.configure([mk_spec(&users()), mk_spec(&other)]);
    let refused = (0..2_000).map(|i| {
        let mut reading = Reading::default();
        let bounds = [1.0 + f64::from(i), INF];
        mk_series(&mut reading, 1, &bounds, &[1.0, 1.0]);
        let target = TargetId::new(&other, &format!("t{i}"));
        let batch = Batch {
            target,
            ..mk_batch_of("", 1.0, reading)
        };
        engine.ingest(&batch).over_limit
    });
    assert!(0 < refused.sum::<u32>(), "the bound was not met");
    let ingested = engine.ingest(&mk_batch("a", 1.0, &[1.0; 4]));
    assert_eq!((ingested.accepted, ingested.over_limit), (1, 0));
}
