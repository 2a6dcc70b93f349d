//! Checks as they are written in a file: each reads back as it prints, and what nobody knows is an error.

use super::*;

/// Each check once, as a file has it, with the title that it gets in reports.
const ALL: &[(&str, &str)] = &[
    (
        "time_to_metric_breach: { from: stage(high).start, tolerance: 0.2, max: 30s }",
        "time_to_metric_breach[high]",
    ),
    ("decision_latency: { max: 20s }", "decision_latency"),
    (
        "time_to_first_scale_out: { from: stage(high).start, max: 60s }",
        "time_to_first_scale_out[high]",
    ),
    (
        "time_to_ready: { scope: stage(high), stat: p(50), max: 30s }",
        "time_to_ready[high]",
    ),
    ("time_to_traffic: { max: 5s }", "time_to_traffic"),
    (
        "time_to_replicas: { n: 4, from: stage(high).start, max: 60s }",
        "time_to_replicas[high]",
    ),
    (
        "time_to_scale_in: { from: stage(idle).start, to: 2, max: 480s }",
        "time_to_scale_in[idle]",
    ),
    (
        "no_scale_in_before: { from: stage(idle).start, min: 300s }",
        "no_scale_in_before[idle]",
    ),
    (
        "slo_recovery_time: { from: stage(high).start, hold: 30s, max: 150s }",
        "slo_recovery_time[high]",
    ),
    (
        "slo_violation_seconds: { max: 160 }",
        "slo_violation_seconds",
    ),
    (
        "slo_violation_ratio: { quantile: 99, target: 1s, window: 10s, max_error: 1%, max: 0.1 }",
        "slo_violation_ratio",
    ),
    (
        "error_budget: { target: 300ms, objective: 99.5% }",
        "error_budget",
    ),
    (
        "latency: { stat: p(95), scope: stage(high), settle: 30s, failures: exclude, max: 300ms }",
        "latency[high, p(95)]",
    ),
    (
        "error_rate: { scope: stage(high), class: 5xx, max: 0.001 }",
        "error_rate[high, 5xx]",
    ),
    (
        "scale_event_errors: { within: 5s, max: 0 }",
        "scale_event_errors",
    ),
    ("cold_start_penalty: { max: 1.5 }", "cold_start_penalty"),
    ("never_above_max: {}", "never_above_max"),
    (
        "never_below_min: { scope: stage(high) }",
        "never_below_min[high]",
    ),
    ("peak_replicas: { between: [4, 6] }", "peak_replicas"),
    (
        "replicas_within: { scope: stage(high), settle: 60s, between: [4, 6] }",
        "replicas_within[high]",
    ),
    (
        "overshoot_ratio: { scope: stage(high), max: 0.4 }",
        "overshoot_ratio[high]",
    ),
    (
        "undershoot_ratio: { scope: stage(high), against: settled, max: 0.2 }",
        "undershoot_ratio[high]",
    ),
    (
        "settling_time: { scope: stage(high), band: 1, max: 120s }",
        "settling_time[high]",
    ),
    ("flap_count: { max: 0 }", "flap_count"),
    (
        "scale_events: { direction: down, max: 3 }",
        "scale_events[down]",
    ),
    ("replica_churn: { max: 8 }", "replica_churn"),
    ("churn_excess: { max: 0 }", "churn_excess"),
    (
        "monotonic: { scope: stage(high), direction: up }",
        "monotonic[high, up]",
    ),
    (
        "scale_step: { direction: up, pods: 4, percent: 100, period: 15s }",
        "scale_step[up]",
    ),
    (
        "no_reaction: { scope: stage(blip), after: 60s }",
        "no_reaction[blip]",
    ),
    (
        "fail_safe: { during: event(adapter_down), hold: true }",
        "fail_safe[adapter_down]",
    ),
    ("pod_seconds: { max: 3600 }", "pod_seconds"),
    ("cost: { price_per_pod_hour: 0.04, max: 1 }", "cost"),
    ("pod_seconds_ratio: { max: 1.5 }", "pod_seconds_ratio"),
    (
        "under_provisioning: { accuracy: 0.1, timeshare: 20% }",
        "under_provisioning",
    ),
    ("over_provisioning: { accuracy: 0.5 }", "over_provisioning"),
    (
        "metric_health: { max_age: 5s, max_gap: 10s, max_errors: 0 }",
        "metric_health",
    ),
    (
        "metric_accuracy: { tolerance: 0.2, min: 0.9 }",
        "metric_accuracy",
    ),
    (
        "hpa_conditions: { settle: 30s, max_limited: 60s }",
        "hpa_conditions",
    ),
];

fn read(text: &str) -> Result<Assertion, String> {
    serde_saphyr::from_str(text).map_err(|error| error.to_string())
}

#[test]
fn every_check_reads_back_as_it_is_written() {
    for (text, title) in ALL {
        let assertion = read(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        assert_eq!(assertion.service, None);
        assert_eq!(assertion.check.title(), *title);
        assert!(
            text.starts_with(&format!("{}:", assertion.check.name())),
            "{text}"
        );
        let json = serde_json::to_value(&assertion).unwrap();
        assert_eq!(json.as_object().unwrap().len(), 1, "{json}");
        assert_eq!(
            serde_json::from_value::<Assertion>(json).unwrap(),
            assertion,
            "{text}"
        );
    }
}

#[test]
fn the_schema_knows_every_check() {
    let schema = serde_json::to_string(&schemars::schema_for!(Assertion)).unwrap();
    for (text, _) in ALL {
        let (name, _) = text.split_once(':').unwrap();
        assert!(schema.contains(&format!("\"{name}\"")), "{name}");
    }
}

#[test]
fn a_service_stands_beside_its_check() {
    for text in [
        "{ service: users, flap_count: { max: 0 } }",
        "flap_count: { max: 0 }\nservice: users",
    ] {
        let assertion = read(text).unwrap();
        assert_eq!(assertion.service.as_deref(), Some("users"));
        assert_eq!(assertion.check.name(), "flap_count");
        let json = serde_json::to_value(&assertion).unwrap();
        assert_eq!(
            serde_json::from_value::<Assertion>(json).unwrap(),
            assertion
        );
    }
}

#[test]
fn what_nobody_knows_is_an_error_that_names_it() {
    let cases = [
        ("flapcount: { max: 0 }", "unknown variant `flapcount`"),
        (
            "flap_count: { max: 0, windw: 10s }",
            "unknown field `windw`",
        ),
        ("flap_count: {}", "missing field `max`"),
        (
            "time_to_first_scale_out: { from: stage(high), max: 60s }",
            "write stage(high).start",
        ),
        ("time_to_first_scale_out: { max: soon }", "duration `soon`"),
        ("latency: { stat: p95, max: 1s }", "write p(95)"),
        ("error_rate: { max: 5 }", "write 0.995 or 99.5%"),
        (
            "flap_count: { max: 0 }\nmonotonic: {}",
            "an assertion is one check",
        ),
        ("service: users", "there is no check; write one"),
    ];
    for (text, part) in cases {
        let error = read(text).unwrap_err();
        assert!(error.contains(part), "{text}: {error}");
    }
}
