//! What comes of a service, where arithmetic says what it must be: of constant loads, of a step, of a pod that is slow,
//! and of what an oracle would have had.

use super::scaling::event;
use super::*;
use crate::sim::{Oracle, Outcome};
use taffrail_loadtest::scenario::{Action, Calls, Demand, Slo};

/// 95 of 100 requests within a quarter of a second.
fn slo() -> Slo {
    Slo {
        quantile: 0.95,
        target: Span::from_millis(250),
        window: Span::from_secs(10),
        max_window: Span::from_secs(60),
    }
}

fn with_slo(mut scenario: Scenario) -> Scenario {
    scenario.slo = Some(slo());
    scenario
}

/// What a pod takes is said, so that nothing is tried out.
fn with_demand(mut scenario: Scenario, rps_per_pod: f64) -> Scenario {
    if let Some(users) = scenario.services.get_mut("users") {
        users.demand = Some(Demand { rps_per_pod });
    }
    with_slo(scenario)
}

fn outcome(plan: &Plan, recording: &Recording) -> Outcome {
    let slo = plan.slo("users");
    let oracle = slo.and_then(|slo| plan.oracle("users", slo));
    Outcome::of(recording, "users", slo, oracle.as_ref()).unwrap()
}

/// A pod for every 60 requests a second.
fn by_rate() -> Hpa {
    let rate = MetricSpec::External {
        metric: "request_rate".to_owned(),
        target: Target::AverageValue(60_000),
    };
    let mut hpa = hpa("users", vec![rate]);
    hpa.selectors = vec![Selector::parse("service=users").unwrap()];
    hpa
}

#[test]
fn a_constant_load_settles_where_a_division_says_and_costs_what_it_says() {
    // 410 requests a second at 60 for a pod: seven pods. At 90 for a pod, five would be enough.
    let scenario = with_demand(scenario(app(), &[("only", 410.0, 360)]), 90.0);
    let plan = super::plan(scenario, vec![source("users", 0)], Some(by_rate())).unwrap();
    let recording = run(&plan);
    let seen = users(&recording);
    assert_eq!(
        (
            seen.replicas.desired.min(120.0..360.0),
            seen.replicas.desired.max(0.0..360.0)
        ),
        (Some(7), Some(7))
    );
    let outcome = outcome(&plan, &recording);
    assert_eq!(outcome.requests, 147_600);
    assert_eq!((outcome.max_replicas, outcome.flaps), (Some(7), Some(0)));
    assert_eq!(
        outcome.oracle_pod_hours,
        Some(0.5),
        "five pods for a tenth of an hour"
    );
    assert_eq!(
        outcome.overshoot.map(|share| (share * 100.0).round()),
        Some(40.0)
    );
    // Two pods until it has scaled out, within two minutes, and seven from then on: 0.7 less five for two minutes.
    assert!((0.53..0.7).contains(&outcome.pod_hours), "{outcome:?}");
    let ratio = outcome.pod_hours / 0.5;
    assert!((outcome.cost_ratio.unwrap() - ratio).abs() < 1e-12);
    assert!((outcome.mean_replicas - outcome.pod_hours * 10.0).abs() < 1e-9);
    assert_eq!(outcome.seconds_at_max, Some(0.0), "ten were allowed");
    let first_s = outcome.first_scale_out_s.unwrap();
    assert!(
        (0.0..60.0).contains(&first_s),
        "needed from the beginning, and after {first_s} s"
    );
}

#[test]
fn a_step_of_four_times_scales_out_within_a_window_a_scrape_and_a_sync() {
    for seed in 1..=3 {
        let stages = [("low", 57.0, 130), ("up", 228.0, 0), ("high", 228.0, 120)];
        let scenario = Scenario {
            seed,
            ..with_demand(scenario(app(), &stages), 60.0)
        };
        let plan = super::plan(scenario, vec![source("users", 0)], Some(by_rate())).unwrap();
        let recording = run(&plan);
        let outcome = outcome(&plan, &recording);
        let first_s = outcome.first_scale_out_s.unwrap();
        assert!(
            0.0 < first_s && first_s <= 30.0 + 5.0 + 15.0,
            "seed {seed}: {first_s} s"
        );
        assert_eq!(
            outcome.max_replicas,
            Some(4),
            "seed {seed}: four times as much"
        );
        assert!(outcome.scale_events <= Some(3), "seed {seed}: {outcome:?}");
    }
}

#[test]
fn requests_over_the_objective_and_the_minutes_of_them_are_counted_as_the_checks_do() {
    let slow = Action::Change {
        service: "users".to_owned(),
        slowdown: 10.0,
        pods: None,
    };
    let steady = App {
        service_cv: 0.0,
        ..app()
    };
    let mut scenario = with_slo(scenario(steady, &[("only", 10.0, 600)]));
    scenario.events.push(event(120, Some(240), "slow", slow));
    // With ten pods nobody waits: each request takes 40 ms, and 400 ms in the two minutes.
    let plan = fixed(scenario, 10);
    let recording = run(&plan);
    let outcome = outcome(&plan, &recording);
    assert!(
        (outcome.bad_share.unwrap() - 0.2).abs() < 0.02,
        "{outcome:?}"
    );
    // From where one in twenty of the window was slow to where it is none of them any more: the window is ten seconds,
    // and twenty at this rate, for ten requests must lie above the quantile.
    let minutes = outcome.violation_minutes.unwrap();
    assert!((1.9..2.6).contains(&minutes), "{minutes}");
    assert_eq!(
        (outcome.scale_events, outcome.flaps),
        (None, None),
        "nothing scales it"
    );
    assert_eq!(
        (outcome.seconds_at_max, outcome.first_scale_out_s),
        (None, None)
    );
    assert!((outcome.pod_hours - 10.0 / 6.0).abs() < 1e-9);
    let unjudged = Outcome::of(&recording, "users", None, None).unwrap();
    assert_eq!(
        (unjudged.bad_share, unjudged.violation_minutes),
        (None, None)
    );
    assert_eq!(Outcome::of(&recording, "others", None, None), None);
}

#[test]
fn one_slow_pod_of_four_makes_every_fourth_request_slow_and_more_pods_make_it_fewer() {
    let noisy = |until| {
        let slow = Action::Change {
            service: "users".to_owned(),
            slowdown: 10.0,
            pods: Some(1),
        };
        let steady = App {
            service_cv: 0.0,
            ..app()
        };
        let mut scenario = with_slo(scenario(steady, &[("only", 20.0, 400)]));
        scenario.events.push(event(100, until, "noisy", slow));
        scenario
    };
    let bad_share = |plan: &Plan| {
        let outcome = Outcome::of(&run(plan), "users", plan.slo("users"), None);
        outcome.and_then(|outcome| outcome.bad_share).unwrap()
    };
    // Three quarters of the time, and one of four, or one of ten.
    assert!((bad_share(&fixed(noisy(None), 4)) - 0.1875).abs() < 0.005);
    assert!((bad_share(&fixed(noisy(None), 10)) - 0.075).abs() < 0.005);
    // Half of that time.
    assert!((bad_share(&fixed(noisy(Some(250)), 4)) - 0.09375).abs() < 0.005);
}

/// What a pod takes within the objective, as the oracle of a load of 100,000 a second has it.
fn capacity(app: App, change: impl FnOnce(&mut Scenario)) -> Option<f64> {
    let mut scenario = with_slo(scenario(app, &[("only", 100_000.0, 10)]));
    change(&mut scenario);
    let plan = fixed(scenario, 1);
    let oracle: Option<Oracle> = plan.oracle("users", slo());
    oracle.map(|oracle| 100_000.0 / f64::from(oracle.max_pods()))
}

#[test]
fn what_a_pod_takes_is_tried_out() {
    // Four workers of 40 ms answer 100 a second at most. Without any spread, lines are short until next to that.
    let steady = App {
        service_cv: 0.0,
        ..app()
    };
    let of_steady = capacity(steady.clone(), |_| {}).unwrap();
    assert!((93.0..=100.0).contains(&of_steady), "{of_steady}");
    let of_spread = capacity(app(), |_| {}).unwrap();
    assert!((80.0..of_steady).contains(&of_spread), "{of_spread}");
    // An answer that takes longer than the objective whatever waits: no number of pods is enough.
    let slow = App {
        service_time: Span::from_millis(300),
        ..steady.clone()
    };
    assert_eq!(capacity(slow, |_| {}), None);
    // One connection to a service that takes 10 ms: 100 a second, of which a line leaves fewer.
    let calls = Calls {
        service: "orders".to_owned(),
        connections: 1,
        timeout: Span::from_secs(1),
    };
    let through_one = App {
        workers: 64,
        service_time: Span::from_millis(1),
        calls: Some(calls),
        ..steady.clone()
    };
    let through_one = capacity(through_one, |scenario| {
        let orders = App {
            service_time: Span::from_millis(10),
            ..steady.clone()
        };
        let orders = scenario::Service {
            app: Some(orders),
            ..scenario::Service::default()
        };
        scenario.services.insert("orders".to_owned(), orders);
    });
    let through_one = through_one.unwrap();
    assert!((80.0..=100.0).contains(&through_one), "{through_one}");
}

#[test]
fn the_oracle_knows_of_a_slower_version_and_of_slow_times_but_not_of_what_pods_do_not_cure() {
    let steady = || App {
        service_cv: 0.0,
        ..app()
    };
    let change = |slowdown, pods| Action::Change {
        service: "users".to_owned(),
        slowdown,
        pods,
    };
    let rollout = |startup| Action::Rollout {
        service: "users".to_owned(),
        app: Box::new(App {
            service_time: Span::from_millis(80),
            startup,
            ..steady()
        }),
    };
    let undo = Action::Undo {
        service: "users".to_owned(),
    };
    let mut scenario = with_slo(scenario(steady(), &[("only", 350.0, 1_400)]));
    for (at_s, until_s, action) in [
        (200, Some(400), change(2.0, None)),
        (400, Some(600), change(2.0, Some(1))),
        (600, Some(800), change(20.0, None)),
        (800, None, rollout(Some(Span::from_secs(4)))),
        (1_000, None, undo),
        (1_200, None, rollout(None)),
    ] {
        scenario.events.push(event(at_s, until_s, "e", action));
    }
    let oracle = fixed(scenario, 1).oracle("users", slo()).unwrap();
    // A pod takes nearly 100 a second, and half of that where everything takes twice as long.
    for (t_s, pods, why) in [
        (100.0, 4, "at first"),
        (300.0, 8, "twice as slow"),
        (500.0, 4, "one pod is slow"),
        (700.0, 4, "too slow for any number"),
        (900.0, 8, "a slow version"),
        (1_100.0, 4, "undone"),
        (1_300.0, 4, "a version that is never ready"),
    ] {
        assert_eq!(oracle.steps().at(t_s), Some(pods), "{why}");
    }
}

#[test]
fn a_called_service_needs_pods_for_who_calls_it() {
    let mut scenario = with_demand(scenario(app(), &[("only", 240.0, 60)]), 80.0);
    let calls = |service: &str| {
        Some(Calls {
            service: service.to_owned(),
            connections: 8,
            timeout: Span::from_secs(1),
        })
    };
    let service = |calls| scenario::Service {
        app: Some(App { calls, ..app() }),
        demand: Some(Demand { rps_per_pod: 50.0 }),
        ..scenario::Service::default()
    };
    scenario.services.insert("orders".to_owned(), service(None));
    let own = load("orders", &[("own", 10.0, 60)]);
    scenario.scenarios.insert("own".to_owned(), own);
    if let Some(app) = scenario
        .services
        .get_mut("users")
        .and_then(|users| users.app.as_mut())
    {
        app.calls = calls("orders");
    }
    let plan = plan(scenario, Vec::new(), None).unwrap();
    let most = |service| plan.oracle(service, slo()).unwrap().max_pods();
    assert_eq!(
        (most("users"), most("orders")),
        (3, 5),
        "of 240, and of 250"
    );
}

#[test]
fn users_who_wait_for_answers_have_no_oracle() {
    let mut scenario = with_demand(scenario(app(), &[("only", 10.0, 60)]), 80.0);
    if let Some(main) = scenario.scenarios.get_mut("main") {
        main.executor = Executor::ConstantVus {
            vus: 3,
            duration: Span::from_secs(60),
        };
    }
    assert_eq!(fixed(scenario, 1).oracle("users", slo()), None);
}
