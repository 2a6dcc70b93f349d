//! Lines and workers against the textbook: M/M/1, M/D/1 and M/M/c have closed forms for the mean wait.

use super::*;

/// Erlang's C: the chance that a request has to wait, of `workers` at an offered load of `erlangs`.
fn chance_to_wait(workers: u32, erlangs: f64) -> f64 {
    // Erlang's B by its recurrence, and C from B (Erlang 1917).
    let blocked = (1..=workers).fold(1.0, |b, n| erlangs * b / (f64::from(n) + erlangs * b));
    let rho = erlangs / f64::from(workers);
    blocked / (1.0 - rho + rho * blocked)
}

/// The mean wait by the formula of Pollaczek and Khinchine, which for several workers is the approximation of Lee and
/// Longton; exact for one worker.
fn mean_wait_s(workers: u32, rate: f64, service_s: f64, cv: f64) -> f64 {
    let erlangs = rate * service_s;
    let exponential = chance_to_wait(workers, erlangs) * service_s / (f64::from(workers) - erlangs);
    exponential * f64::midpoint(1.0, cv * cv)
}

/// What a run of `seconds` at `rate` says the mean wait is.
fn simulated_wait_s(workers: usize, rate: f64, cv: f64, seconds: u64) -> f64 {
    let app = App {
        workers,
        queue: 100_000,
        service_cv: cv,
        ..app()
    };
    let recording = run(&fixed(scenario(app, &[("only", rate, seconds)]), 1));
    let load = &users(&recording).load;
    assert_eq!(load.counts.ok, load.counts.offered, "nothing fails");
    load.latency.mean().unwrap().as_secs_f64() - 0.040
}

#[test]
fn the_mean_wait_is_that_of_the_textbook() {
    for (workers, rate, cv, seconds) in [
        (1, 15.0, 0.0, 1_500),
        (1, 12.5, 1.0, 2_000),
        (4, 60.0, 0.0, 500),
        (4, 70.0, 1.0, 500),
    ] {
        let expected = mean_wait_s(workers, rate, 0.040, cv);
        let found = simulated_wait_s(workers as usize, rate, cv, seconds);
        // Several workers with times that are not exponential have no exact form: the approximation is good to a tenth.
        let slack = if workers == 1 { 0.06 } else { 0.15 };
        assert!(
            (found / expected - 1.0).abs() < slack,
            "{workers} workers, {rate}/s, cv {cv}: {found} s, by the book {expected} s"
        );
    }
}

#[test]
fn requests_beyond_the_line_are_refused_and_a_pod_answers_no_more_than_it_can() {
    let app = App { queue: 10, ..app() };
    let recording = run(&fixed(scenario(app, &[("only", 200.0, 100)]), 1));
    let load = &users(&recording).load;
    let answered = load.counts.ok as f64 / 100.0;
    assert!((90.0..101.0).contains(&answered), "{answered}/s of 100/s");
    assert_eq!(load.counts.ok + load.counts.errors(), load.counts.offered);
    assert_eq!(
        load.counts
            .errors_of(taffrail_loadtest::measured::ErrorClass::ServerStatus),
        load.counts.errors()
    );
}

#[test]
fn requests_that_nobody_waits_for_any_more_free_their_workers() {
    // A hundred times as slow: every request takes 4 s and is given up after 10.
    let app = App {
        service_time: Span::from_secs(4),
        service_cv: 0.0,
        queue: 100_000,
        ..app()
    };
    let recording = run(&fixed(scenario(app, &[("only", 10.0, 100)]), 1));
    let load = &users(&recording).load;
    assert_eq!(load.counts.offered, 1_000);
    // One a second is done; who waits longer than 6 s before a worker is free is given up while it works.
    assert!(load.counts.ok < 120, "{:?}", load.counts);
    assert_eq!(
        load.counts.ok
            + load
                .counts
                .errors_of(taffrail_loadtest::measured::ErrorClass::Timeout),
        1_000
    );
    assert!(load.latency.max().unwrap() <= Duration::from_millis(10_010));
}

#[test]
fn a_closed_loop_keeps_its_users_busy_and_no_more() {
    let app = App {
        service_cv: 0.0,
        ..app()
    };
    let mut scenario = scenario(app, &[("only", 1.0, 100)]);
    let load = scenario.scenarios.get_mut("main").unwrap();
    load.executor = Executor::ConstantVus {
        vus: 8,
        duration: Span::from_secs(100),
    };
    let recording = run(&fixed(scenario, 1));
    // Eight users of four workers: each answer takes 80 ms, so a hundred are given a second.
    let load = &users(&recording).load;
    assert!(
        (9_950..=10_010).contains(&load.counts.ok),
        "{:?}",
        load.counts
    );
    let mean = load.latency.mean().unwrap();
    assert!((0.079..0.081).contains(&mean.as_secs_f64()), "{mean:?}");
}

#[test]
fn a_slow_service_fails_its_caller_at_the_deadline_and_not_before() {
    let caller = App {
        calls: Some(scenario::Calls {
            service: "payments".to_owned(),
            connections: 2,
            timeout: Span::from_millis(500),
        }),
        service_cv: 0.0,
        ..app()
    };
    let payments = |ms| App {
        service_time: Span::from_millis(ms),
        service_cv: 0.0,
        ..app()
    };
    for (ms, fails) in [(50, false), (700, true)] {
        let mut scenario = scenario(caller.clone(), &[("only", 5.0, 60)]);
        let service = scenario::Service {
            app: Some(payments(ms)),
            ..scenario::Service::default()
        };
        scenario.services.insert("payments".to_owned(), service);
        let recording = run(&fixed(scenario, 1));
        let load = &users(&recording).load;
        let failed = load
            .counts
            .errors_of(taffrail_loadtest::measured::ErrorClass::ServerStatus);
        assert_eq!(
            failed,
            if fails { load.counts.offered } else { 0 },
            "{ms} ms: {:?}",
            load.counts
        );
        if !fails {
            let mean = load.latency.mean().unwrap().as_secs_f64();
            assert!((0.090..0.095).contains(&mean), "{mean}");
        }
        assert_eq!(
            recording.services["payments"].load.counts.offered, 0,
            "clients ask only users"
        );
    }
}

#[test]
fn a_called_service_that_is_full_answers_no_more_however_many_pods_call_it() {
    for replicas in [2, 8] {
        let caller = App {
            calls: Some(scenario::Calls {
                service: "orders".to_owned(),
                connections: 64,
                timeout: Span::from_secs(1),
            }),
            workers: 64,
            ..app()
        };
        let orders = scenario::Service {
            app: Some(App { queue: 10, ..app() }),
            ..scenario::Service::default()
        };
        let mut scenario = scenario(caller, &[("only", 150.0, 60)]);
        scenario.services.insert("orders".to_owned(), orders);
        scenario
            .preconditions
            .replicas
            .insert("orders".to_owned(), 1);
        let recording = run(&fixed(scenario, replicas));
        // The one pod of orders answers a hundred a second and refuses the rest, whoever asks.
        let answered = users(&recording).load.counts.ok as f64 / 60.0;
        assert!(
            (95.0..102.0).contains(&answered),
            "{answered}/s through {replicas} pods"
        );
    }
}
