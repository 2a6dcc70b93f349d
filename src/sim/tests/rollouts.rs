//! Versions that replace each other under load, as a Deployment does it, and what cannot be played at all.

use super::*;
use crate::sim::PlanError;
use taffrail_loadtest::scenario::{Action, Calls, Event};

fn event(at_s: u64, action: Action) -> Event {
    Event {
        at: Span::from_secs(at_s),
        until: None,
        name: "rollout".to_owned(),
        action,
    }
}

fn rollout(app: App) -> Action {
    Action::Rollout {
        service: "users".to_owned(),
        app: Box::new(app),
    }
}

#[test]
fn a_rollout_replaces_every_pod_and_loses_no_request() {
    let mut scenario = scenario(app(), &[("only", 80.0, 180)]);
    scenario.events.push(event(
        60,
        rollout(App {
            version: "v1.1".to_owned(),
            ..app()
        }),
    ));
    let recording = run(&fixed(scenario, 4));
    let users = users(&recording);
    assert_eq!(
        users.load.counts.ok, users.load.counts.offered,
        "{:?}",
        users.load.counts
    );
    assert_eq!(
        users.replicas.ready.min(0.0..180.0),
        Some(3),
        "one of four may be missing"
    );
    assert_eq!(
        users.replicas.ready.max(0.0..180.0),
        Some(4),
        "and none is too many"
    );
    assert_eq!(users.replicas.ready.at(179.0), Some(4));
    assert_eq!(users.backends.len(), 8);
    let old = users
        .backends
        .values()
        .filter(|backend| backend.ready[0].to_s.is_some());
    assert_eq!(old.count(), 4);
}

#[test]
fn a_version_that_is_never_ready_moves_nothing_and_goes_with_its_undo() {
    let mut scenario = scenario(app(), &[("only", 60.0, 300)]);
    let bad = App {
        startup: None,
        version: "v1.2".to_owned(),
        ..app()
    };
    scenario.events.push(event(60, rollout(bad)));
    scenario.events.push(event(
        240,
        Action::Undo {
            service: "users".to_owned(),
        },
    ));
    let recording = run(&scaled(scenario));
    let users = users(&recording);
    assert_eq!(
        (
            users.replicas.desired.min(0.0..300.0),
            users.replicas.desired.max(0.0..300.0)
        ),
        (Some(2), Some(2))
    );
    assert_eq!(
        users.replicas.ready.min(0.0..300.0),
        Some(2),
        "of two none may be missing"
    );
    assert_eq!(
        users.replicas.current.max(60.0..240.0),
        Some(3),
        "the bad pod is there"
    );
    assert_eq!(users.replicas.current.at(299.0), Some(2));
    assert_eq!(users.load.counts.ok, users.load.counts.offered);
    assert_eq!(users.backends.len(), 2, "it never was an endpoint");
}

#[test]
fn a_pod_that_drains_too_slowly_breaks_what_it_has() {
    let slow = App {
        service_time: Span::from_secs(4),
        service_cv: 0.0,
        drain: Span::from_secs(1),
        ..app()
    };
    let mut scenario = scenario(slow.clone(), &[("only", 0.25, 120)]);
    scenario.events.push(event(60, rollout(slow)));
    let recording = run(&fixed(scenario, 1));
    let counts = users(&recording).load.counts;
    let broken = counts.errors_of(taffrail_loadtest::measured::ErrorClass::Broken);
    assert!((1..=3).contains(&broken), "{counts:?}");
    assert_eq!(counts.ok + broken, counts.offered);
}

#[test]
fn what_cannot_be_played_is_refused_with_a_reason() {
    let good = || scenario(app(), &[("only", 1.0, 10)]);
    let refused = |change: &dyn Fn(&mut Scenario)| {
        let mut scenario = good();
        change(&mut scenario);
        super::plan(scenario, Vec::new(), None)
            .unwrap_err()
            .to_string()
    };
    let set = |scenario: &mut Scenario, change: &dyn Fn(&mut App)| {
        change(
            scenario
                .services
                .get_mut("users")
                .unwrap()
                .app
                .as_mut()
                .unwrap(),
        );
    };
    let calls = |service: &str| {
        Some(Calls {
            service: service.to_owned(),
            connections: 1,
            timeout: Span::from_secs(1),
        })
    };
    let cases: [(String, &str); 8] = [
        (
            refused(&|s| s.services.get_mut("users").unwrap().app = None),
            "has no `app`",
        ),
        (refused(&|s| s.scenarios.clear()), "no load"),
        (
            refused(&|s| s.scenarios.get_mut("main").unwrap().service = "other".to_owned()),
            "load main speaks of service other",
        ),
        (
            refused(&|s| set(s, &|app| app.workers = 0)),
            "workers must be",
        ),
        (
            refused(&|s| set(s, &|app| app.service_cv = f64::NAN)),
            "coefficient",
        ),
        (
            refused(&|s| set(s, &|app| app.calls = calls("users"))),
            "itself",
        ),
        (
            refused(&|s| set(s, &|app| app.calls = calls("nobody"))),
            "does not have",
        ),
        (
            refused(&|s| {
                s.events.push(event(
                    1,
                    Action::Change {
                        service: "users".to_owned(),
                        slowdown: 0.0,
                        pods: None,
                    },
                ));
            }),
            "above zero",
        ),
    ];
    for (said, expected) in cases {
        assert!(said.contains(expected), "{said}");
    }
    let object = MetricSpec::Object {
        metric: "m".to_owned(),
        target: Target::Value(1),
    };
    let error = super::plan(good(), Vec::new(), Some(hpa("users", vec![object])));
    assert!(matches!(error, Err(PlanError::Metric { .. })));
    let mut many = hpa("users", vec![cpu_metric()]);
    many.spec.max_replicas = 20_000;
    let error = super::plan(good(), Vec::new(), Some(many));
    assert_eq!(error.unwrap_err(), PlanError::Replicas("users".to_owned()));
}
