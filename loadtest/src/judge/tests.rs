//! What holds of all checks together: their order, their names, their cost, and a scenario that cannot be judged.

use serde_json::json;

use super::fixture::{Fixture, SERVICE};
use super::*;

fn with_assertions(fixture: Fixture, assertions: serde_json::Value) -> Recording {
    let assertions = serde_json::from_value(assertions).unwrap();
    fixture
        .with(|recording| recording.scenario.assertions = assertions)
        .recording()
}

#[test]
fn findings_come_in_the_order_of_the_scenario_and_each_has_its_own_name() {
    let recording = with_assertions(
        Fixture::new(100).stage("high", 10.0, 50.0),
        json!([
            {"peak_replicas": {"scope": "stage(high)", "between": [2, 4]}},
            {"peak_replicas": {"between": [2, 4]}},
            {"peak_replicas": {"between": [1, 2]}},
            {"service": SERVICE, "latency": {"stat": "p(99)", "max": "1s"}},
            {"never_above_max": {}},
        ]),
    );
    let names: Vec<String> = judge(&recording)
        .into_iter()
        .map(|finding| finding.name)
        .collect();
    let expected = [
        "never_below_min",
        "peak_replicas[high]",
        "peak_replicas",
        "peak_replicas #2",
        "latency[p(99)]",
        "never_above_max",
    ];
    assert_eq!(
        names, expected,
        "what is asserted is not checked a second time"
    );
}

#[test]
fn a_service_that_was_not_seen_cannot_be_judged() {
    let assertion = json!([{"service": "gone", "peak_replicas": {"between": [2, 4]}}]);
    let findings = judge(&with_assertions(Fixture::new(100), assertion));
    let last = findings.last().unwrap();
    assert_eq!(
        (last.outcome, last.service.as_str()),
        (Outcome::Inconclusive, "gone")
    );
    assert_eq!(last.sentence, "the recording has no service `gone`");
}

#[test]
fn a_verdict_is_the_same_from_a_file() {
    let assertions = json!([
        {"slo_recovery_time": {"hold": "30s", "max": "60s"}},
        {"slo_violation_ratio": {"max": 0.1}},
        {"time_to_first_scale_out": {"max": "60s"}},
    ]);
    let fixture = Fixture::new(300)
        .desired(&[(-60.0, 2), (141.0, 4)])
        .load(120, 160, 100, 500);
    let recording = with_assertions(fixture, assertions);
    let json = serde_json::to_string(&recording).unwrap();
    let again: Recording = serde_json::from_str(&json).unwrap();
    assert_eq!(judge(&again), judge(&recording));
}

/// Six hours, in which each second has its own hundreds of latencies, and a window for every check of latency.
#[test]
fn a_run_of_hours_is_judged_at_once() {
    let mut fixture = Fixture::new(6 * 3600).stage("high", 10_000.0, 15_000.0);
    for start in 0..60u32 {
        let answers: Vec<(u64, u64)> = (1..=200)
            .map(|n| (1, n * (5 + u64::from(start % 7))))
            .collect();
        fixture = fixture.mixed(
            start * 360,
            (start + 1) * 360,
            &answers,
            u64::from(start % 3),
        );
    }
    let recording = with_assertions(
        fixture,
        json!([
            {"slo_recovery_time": {"hold": "30s", "max": "60s"}},
            {"slo_violation_seconds": {"max": 10}},
            {"slo_violation_ratio": {"quantile": 99, "window": "5m", "max": 0.1}},
            {"error_budget": {"objective": "99%"}},
            {"latency": {"scope": "stage(high)"}},
        ]),
    );
    assert_eq!(judge(&recording).len(), 7);
}
