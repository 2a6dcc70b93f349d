//! Limits below, within and above what the rules allow.

use serde_json::json;

use super::*;
use crate::recording::{Policy, PolicyKind, Rules};
use crate::scenario::{Demand, Executor, Load, Pacing, Placing, Service, Stage};

/// From 2 to 10 pods, at most two more a minute, and fewer after five minutes.
fn hpa() -> Autoscaler {
    let two_a_minute = Policy {
        kind: PolicyKind::Pods,
        value: 2,
        period_s: 60.0,
    };
    Autoscaler {
        min_replicas: 2,
        max_replicas: 10,
        sync_period_s: 15.0,
        scale_up: Rules {
            policies: vec![two_a_minute],
            ..Rules::default()
        },
        scale_down: Rules {
            stabilization_s: 300.0,
            ..Rules::default()
        },
        ..Autoscaler::default()
    }
}

/// A load that needs five pods in its stage `high`, of 330 s.
fn scenario(assertion: serde_json::Value) -> Scenario {
    let stage = |name: &str, target, seconds| Stage {
        name: Some(name.to_owned()),
        target,
        duration: Span::from_secs(seconds),
    };
    let load = Load {
        service: "users".into(),
        executor: Executor::RampingArrivalRate {
            start_rate: 10.0,
            stages: vec![
                stage("step", 500.0, 0),
                stage("high", 500.0, 330),
                stage("idle", 10.0, 0),
            ],
        },
        arrivals: Placing::default(),
        max_in_flight: 100,
        graceful_stop: Span::default(),
        start_time: Span::default(),
        pacing: Pacing::default(),
    };
    let service = Service {
        demand: Some(Demand { rps_per_pod: 100.0 }),
        hpa: Some(json!({})),
        ..Service::default()
    };
    Scenario {
        services: [("users".to_owned(), service)].into(),
        scenarios: [("main".to_owned(), load)].into(),
        assertions: serde_json::from_value(assertion).unwrap(),
        ..Scenario::default()
    }
}

fn linted(hpa: Autoscaler, assertion: serde_json::Value) -> Vec<LintFinding> {
    let timing = Timing {
        metric_window_s: Some(30.0),
        scrape_interval_s: Some(5.0),
    };
    let hpas = [("users".to_owned(), hpa)].into();
    let timings = [("users".to_owned(), timing)].into();
    lint(&scenario(vec![assertion].into()), &hpas, &timings)
}

/// What is found of one check, if anything.
fn one(assertion: serde_json::Value) -> Option<(LintId, Severity)> {
    let mut findings = linted(hpa(), assertion);
    assert!(findings.len() <= 1, "{findings:?}");
    findings.pop().map(|finding| (finding.id, finding.severity))
}

const IMPOSSIBLE: Option<(LintId, Severity)> = Some((LintId::TooSoon, Severity::Impossible));
const RACY: Option<(LintId, Severity)> = Some((LintId::TooSoon, Severity::Racy));

#[test]
fn a_first_scale_out_depends_on_the_metric_and_the_sync() {
    let check = |max: &str| {
        one(json!({"time_to_first_scale_out": {"from": "stage(high).start", "max": max}}))
    };
    // A window of 30 s, a scrape of 5 s and a sync of 15 s.
    assert_eq!([check("49s"), check("50s")], [RACY, None]);
    let mut slow = hpa();
    slow.scale_up.stabilization_s = 60.0;
    let found = linted(slow, json!({"time_to_first_scale_out": {"max": "59s"}}));
    assert_eq!(
        (found[0].id, found[0].severity),
        (LintId::TooSoon, Severity::Impossible)
    );
    assert_eq!(
        found[0].sentence,
        "time_to_first_scale_out cannot hold before 60 s have passed"
    );
    assert_eq!(found[0].fix, "allow 110 s or more");
    let later = one(json!({"time_to_first_scale_out": {"from": "first_breach", "max": "1s"}}));
    assert_eq!(later, None, "nobody knows yet when that is");
}

#[test]
fn growth_is_limited_by_the_policies() {
    let check = |n: u32, max: &str| one(json!({"time_to_replicas": {"n": n, "max": max}}));
    // Two pods at once, two after a minute, the last after two.
    assert_eq!(
        [check(7, "119s"), check(7, "120s"), check(7, "170s")],
        [IMPOSSIBLE, RACY, None]
    );
    assert_eq!(
        check(11, "1h"),
        Some((LintId::OutOfBounds, Severity::Impossible))
    );
}

#[test]
fn a_scale_in_waits_for_its_stabilization() {
    let check = |to: u32, max: &str| {
        one(json!({"time_to_scale_in": {"from": "stage(idle).start", "to": to, "max": max}}))
    };
    assert_eq!(
        [check(2, "299s"), check(2, "300s"), check(2, "350s")],
        [IMPOSSIBLE, RACY, None]
    );
    assert_eq!(
        check(1, "1h"),
        Some((LintId::OutOfBounds, Severity::Impossible))
    );
    let mut off = hpa();
    off.scale_down.select = Select::Disabled;
    let found = linted(off, json!({"time_to_scale_in": {"to": 2, "max": "1h"}}));
    assert_eq!(
        (found[0].id, found[0].severity),
        (LintId::Disabled, Severity::Impossible)
    );

    let before =
        |min: &str| one(json!({"no_scale_in_before": {"from": "stage(idle).start", "min": min}}));
    let earlier = |severity| Some((LintId::ScaleInEarlier, severity));
    assert_eq!(before("300s"), None);
    assert_eq!(before("301s"), earlier(Severity::Racy));
    assert_eq!(before("351s"), earlier(Severity::Impossible));
}

#[test]
fn what_the_load_needed_before_is_taken_into_account() {
    let grown = |max: &str| {
        one(json!({"time_to_replicas": {"from": "stage(idle).start", "n": 7, "max": max}}))
    };
    assert_eq!(
        [grown("49s"), grown("50s")],
        [RACY, None],
        "two more than the five that the load needed"
    );
    let shrunk =
        |max: &str| one(json!({"time_to_scale_in": {"from": "start", "to": 2, "max": max}}));
    assert_eq!(
        [shrunk("1s"), shrunk("350s")],
        [RACY, None],
        "nothing more was needed before the start"
    );
    let early = one(json!({"no_scale_in_before": {"from": "start", "min": "1h"}}));
    assert_eq!(early, Some((LintId::ScaleInEarlier, Severity::Racy)));
}

#[test]
fn replicas_outside_the_bounds_are_never_had() {
    let out = Some((LintId::OutOfBounds, Severity::Impossible));
    let peak = |low: u32, high: u32| one(json!({"peak_replicas": {"between": [low, high]}}));
    assert_eq!(
        [peak(2, 10), peak(11, 12), peak(0, 1), peak(0, 99)],
        [None, out, out, None]
    );
}

#[test]
fn a_stretch_as_long_as_a_stabilization_window_is_racy() {
    let within = |settle: &str| {
        one(
            json!({"replicas_within": {"scope": "stage(high)", "settle": settle, "between": [2, 10]}}),
        )
    };
    let racy = Some((LintId::AsLongAsStabilization, Severity::Racy));
    assert_eq!(
        [within("0s"), within("30s"), within("100s")],
        [None, racy, None]
    );
}

#[test]
fn a_load_that_needs_more_than_there_may_be_is_doubtful() {
    let mut small = hpa();
    small.max_replicas = 4;
    let found = linted(small, json!({"flap_count": {"max": 0}}));
    assert_eq!(
        (found[0].id, found[0].severity),
        (LintId::DemandAboveMax, Severity::Doubtful)
    );
    assert_eq!(found[0].assertion, None);
    assert!(
        found[0].sentence.contains("needs 5 replicas at its peak"),
        "{}",
        found[0].sentence
    );
}

#[test]
fn a_service_without_an_hpa_is_not_looked_at() {
    let found = lint(
        &scenario(json!([{"time_to_replicas": {"n": 99, "max": "1s"}}])),
        &BTreeMap::new(),
        &BTreeMap::new(),
    );
    assert_eq!(found, []);
}

#[test]
fn a_check_of_replicas_needs_somebody_who_looks_at_them() {
    let mut scenario = scenario(json!([
        {"flap_count": {"max": 0}},
        {"error_rate": {"max": 0.01}},
        {"pod_seconds": {"max": 100}},
        {"time_to_traffic": {"max": "5s"}},
    ]));
    let found = |scenario: &Scenario| -> Vec<_> {
        let findings = lint(scenario, &BTreeMap::new(), &BTreeMap::new());
        assert!(findings.iter().all(|one| one.id == LintId::NotObserved));
        findings
            .into_iter()
            .map(|one| (one.place, one.severity))
            .collect()
    };
    let both = |severity| [0, 2].map(|index| (Place::Assertion(index), severity));
    assert_eq!(
        found(&scenario),
        [],
        "it is played, and no cluster is named"
    );
    let users = |scenario: &mut Scenario| scenario.services.remove("users").unwrap();
    let played = users(&mut scenario);
    let met = Service {
        target: Some(crate::scenario::Target {
            url: "http://users.shop.svc/".to_owned(),
            discovery: crate::scenario::Discovery::Endpoints,
            connections: crate::scenario::file::default_connections(),
            http: crate::scenario::file::default_http(),
        }),
        ..played
    };
    scenario.services.insert("users".to_owned(), met.clone());
    assert_eq!(found(&scenario), both(Severity::Doubtful));
    let alone = Service { hpa: None, ..met };
    scenario.services.insert("users".to_owned(), alone.clone());
    assert_eq!(found(&scenario), both(Severity::Impossible));
    let observed = Service {
        observe: Some(crate::scenario::Observe {
            hpa: crate::scenario::ObjectName::default(),
            metric_interval: Span::from_secs(2),
            max_gap: Span::from_secs(15),
        }),
        ..alone
    };
    scenario.services.insert("users".to_owned(), observed);
    assert_eq!(found(&scenario), []);
}

#[test]
fn bounds_that_are_the_wrong_way_round_and_replicas_outside_of_them_are_told() {
    let mut wrong = hpa();
    (wrong.min_replicas, wrong.max_replicas) = (8, 6);
    let found = linted(wrong, json!({"peak_replicas": {"between": [7, 9]}}));
    assert_eq!(found.len(), 1, "{found:?}");
    assert_eq!(
        (found[0].id, &found[0].place),
        (LintId::Bounds, &Place::Hpa("users".to_owned()))
    );
    let mut declaring = scenario(json!([]));
    declaring
        .preconditions
        .replicas
        .insert("users".to_owned(), 11);
    let hpas = [("users".to_owned(), hpa())].into();
    let found = lint(&declaring, &hpas, &BTreeMap::new());
    assert_eq!(
        found[0].sentence,
        "11 replicas of users are wanted before the first request, and its HPA has 2 to 10"
    );
}

#[test]
fn a_metric_takes_as_long_as_its_document_says() {
    let with = |metrics: serde_json::Value| {
        let mut scenario = scenario(json!([]));
        let users = scenario.services.get_mut("users").unwrap();
        users.metrics = Some(metrics);
        scenario
    };
    let given = Timing {
        metric_window_s: Some(60.0),
        scrape_interval_s: Some(10.0),
    };
    let of = |scenario: &Scenario| timings(scenario, given)["users"];
    for metrics in [
        json!({"spec": {"window": "15s", "interval": "3s"}}),
        json!({"window": "15s", "interval": "3s"}),
        json!({"items": [{"spec": {"window": "5s"}}, {"spec": {"window": "15s", "interval": "3s"}}]}),
    ] {
        let said = Timing {
            metric_window_s: Some(15.0),
            scrape_interval_s: Some(3.0),
        };
        assert_eq!(of(&with(metrics.clone())), said, "{metrics}");
    }
    assert_eq!(of(&with(json!({"spec": {}}))), given);
    let mut scenario = scenario(json!([]));
    scenario.slo = Some(crate::scenario::Slo {
        quantile: 0.95,
        target: Span::from_millis(250),
        window: Span::from_secs(20),
        max_window: Span::from_secs(60),
    });
    let timing = timings(&scenario, Timing::default())["users"];
    assert_eq!(timing.metric_window_s, Some(20.0));
}
