//! Each metric, each tag, and the two rules that end a run.

use std::collections::BTreeMap;

use super::*;
use crate::measured::{ErrorClass, Measured, RequestMeasured, Slot};
use crate::recording::{About, Generator, SCHEMA_VERSION, Stage};
use crate::scenario::Span;

/// A second with this many answers after 1 ms, 2 ms, and so on, and this many errors without an answer.
fn slot(ok: u64, errors: u64) -> Slot {
    let mut latency = Latencies::default();
    for ms in 1..=ok {
        latency.record(Duration::from_millis(ms));
    }
    let mut counts = Counts::default();
    counts.offered = ok + errors;
    counts.ok = ok;
    for _ in 0..errors {
        counts.count_error(ErrorClass::ServerStatus);
    }
    Slot::new(counts, &latency)
}

/// Services with these seconds; the stage `high` is from 2 s to 4 s of each.
fn recording(services: &[(&str, Vec<Slot>)], key: &str, threshold: &str) -> Recording {
    let longest = services.iter().map(|(_, slots)| slots.len()).max();
    let mut recording = Recording {
        schema_version: SCHEMA_VERSION,
        about: About {
            duration_s: longest.unwrap_or(0) as f64,
            ..About::default()
        },
        scenario: Scenario::default(),
        stages: Vec::new(),
        services: BTreeMap::new(),
        generator: Generator::default(),
        events: Vec::new(),
    };
    for (name, slots) in services {
        recording.stages.push(Stage {
            name: "high".to_owned(),
            load: "main".to_owned(),
            service: (*name).to_owned(),
            start_s: 2.0,
            end_s: 4.0,
        });
        let service = Service {
            load: Measured {
                slots: slots.clone(),
                ..Measured::default()
            },
            ..Service::default()
        };
        recording.services.insert((*name).to_owned(), service);
        recording
            .scenario
            .services
            .insert((*name).to_owned(), crate::scenario::Service::default());
    }
    let threshold = Threshold {
        threshold: threshold.to_owned(),
        abort_on_fail: true,
        delay_abort_eval: Span::from_secs(3),
    };
    recording
        .scenario
        .thresholds
        .insert(key.to_owned(), vec![threshold]);
    recording
}

fn judged(services: &[(&str, Vec<Slot>)], key: &str, threshold: &str) -> Finding {
    judge(&recording(services, key, threshold)).remove(0)
}

#[test]
fn each_metric_is_counted_as_it_is_called() {
    let seconds = vec![
        slot(10, 0),
        slot(10, 0),
        slot(80, 20),
        slot(10, 0),
        slot(10, 0),
    ];
    for (key, threshold, expected) in [
        ("http_req_duration", "min<1000", 1.0),
        ("http_req_duration{stage:high}", "med<1000", 45.0),
        (
            "http_req_duration",
            "avg<1000",
            (4.0 * 55.0 + 3240.0) / 120.0,
        ),
        ("http_req_failed", "rate<1", 20.0 / 140.0),
        ("http_req_failed{stage:high}", "rate<1", 20.0 / 110.0),
        ("http_reqs", "count>1", 140.0),
        ("http_reqs", "rate>1", 28.0),
        ("iterations{stage:high,service:a}", "rate>1", 55.0),
        ("dropped_iterations", "count<1", 0.0),
    ] {
        let finding = judged(&[("a", seconds.clone())], key, threshold);
        let value = finding.value.unwrap();
        assert!(
            (value / expected - 1.0).abs() < 0.002 || value == expected,
            "{finding:?}"
        );
        assert_eq!(finding.outcome, Outcome::Pass, "{finding:?}");
    }
}

#[test]
fn a_failed_request_took_forever_in_a_quantile() {
    let seconds = vec![slot(95, 5)];
    let finding = judged(&[("a", seconds.clone())], "http_req_duration", "p(95)<200");
    assert_eq!(
        (finding.outcome, finding.value.map(f64::round)),
        (Outcome::Pass, Some(95.0))
    );
    let finding = judged(&[("a", seconds)], "http_req_duration", "p(96)<200");
    assert_eq!((finding.outcome, finding.value), (Outcome::Fail, None));
    assert!(
        finding.sentence.contains("5 of 100 failed"),
        "{}",
        finding.sentence
    );
}

#[test]
fn services_count_together_unless_one_is_named() {
    let services = [("a", vec![slot(10, 0)]), ("b", vec![slot(30, 0)])];
    let count = |key: &str| judged(&services, key, "count>1").value;
    assert_eq!(count("http_reqs"), Some(40.0));
    assert_eq!(count("http_reqs{service:b}"), Some(30.0));
    let rate = judged(&services, "http_reqs", "rate>1").value;
    assert_eq!(rate, Some(40.0), "a second of two services is one second");
}

#[test]
fn a_kind_of_request_has_its_own_numbers() {
    let mut recording = recording(
        &[("a", vec![slot(10, 0)])],
        "http_reqs{request:buy}",
        "count>=3",
    );
    assert_eq!(judge(&recording)[0].outcome, Outcome::Inconclusive);
    let mut counts = Counts::default();
    counts.ok = 3;
    counts.offered = 3;
    let buy = RequestMeasured {
        counts,
        ..RequestMeasured::default()
    };
    let load = &mut recording.services.get_mut("a").unwrap().load;
    load.requests.insert("buy".to_owned(), buy);
    let kind = serde_json::json!({
        "name": "buy", "weight": 1, "method": "GET", "path": "/", "headers": {}, "body": null, "expectBody": null
    });
    let played = recording.scenario.services.get_mut("a").unwrap();
    played.requests.push(serde_json::from_value(kind).unwrap());
    assert_eq!(judge(&recording)[0].value, Some(3.0));
}

#[test]
fn what_cannot_be_told_neither_passes_nor_fails() {
    let seconds = vec![slot(0, 0); 5];
    for (key, threshold, expected) in [
        ("http_req_duration", "p(95)<1", Outcome::Skipped),
        ("http_req_failed", "rate<1", Outcome::Skipped),
        ("http_reqs", "count<1", Outcome::Pass),
        ("http_reqs{stage:low}", "count<1", Outcome::Inconclusive),
        ("http_reqs{service:z}", "count<1", Outcome::Inconclusive),
        ("http_requests", "count<1", Outcome::Inconclusive),
    ] {
        let finding = judged(&[("a", seconds.clone())], key, threshold);
        assert_eq!(finding.outcome, expected, "{finding:?}");
    }
}

#[test]
fn a_limit_within_the_resolution_is_marginal() {
    let marginal = |limit| {
        let finding = judged(&[("a", vec![slot(1000, 0)])], "http_req_duration", limit);
        (finding.outcome, finding.marginal)
    };
    assert_eq!(marginal("max<1001"), (Outcome::Pass, true));
    assert_eq!(marginal("max<1100"), (Outcome::Pass, false));
    assert_eq!(marginal("max<900"), (Outcome::Fail, false));
}

#[test]
fn a_threshold_ends_a_run_when_its_delay_is_over() {
    let seconds = vec![
        slot(10, 10),
        slot(10, 10),
        slot(10, 0),
        slot(10, 0),
        slot(1000, 0),
    ];
    let recording = recording(&[("a", seconds)], "http_req_failed", "rate<0.2");
    assert_eq!(
        aborts(&recording, 2.9),
        None,
        "it is not looked at before 3 s"
    );
    let why = aborts(&recording, 3.0).unwrap();
    assert!(why.contains("rate<0.2 does not hold"), "{why}");
    assert_eq!(aborts(&recording, 5.0), None);
}

#[test]
fn the_safety_rule_needs_its_whole_span() {
    let mut good_then_bad = recording(
        &[(
            "a",
            vec![slot(20, 0), slot(0, 20), slot(0, 20), slot(5, 15)],
        )],
        "http_reqs",
        "count>0",
    );
    good_then_bad.scenario.safety.max_error_rate = 0.8;
    good_then_bad.scenario.safety.for_ = Span::from_secs(2);
    assert_eq!(
        safety_stop(&good_then_bad, 1.0),
        None,
        "the span is not over"
    );
    assert_eq!(
        safety_stop(&good_then_bad, 2.0),
        None,
        "half is not more than 80 %"
    );
    let why = safety_stop(&good_then_bad, 3.0).unwrap();
    assert!(
        why.contains("100.0 % of the requests to a failed in the 2s before 3 s"),
        "{why}"
    );
    good_then_bad.scenario.safety.max_error_rate = 1.0;
    assert_eq!(safety_stop(&good_then_bad, 3.0), None, "1 never stops");

    let mut idle = recording(&[("a", vec![slot(0, 0); 3])], "http_reqs", "count>0");
    idle.scenario.safety.max_error_rate = 0.1;
    idle.scenario.safety.for_ = Span::from_secs(2);
    assert_eq!(safety_stop(&idle, 2.0), None, "no request failed");
}

#[test]
fn a_rate_is_that_at_which_requests_came_however_fast_time_ran() {
    let mut recording = recording(&[("users", vec![slot(10, 0); 4])], "http_reqs", "rate>50");
    assert_eq!(judge(&recording)[0].value, Some(10.0));
    let facts = &mut recording.about.facts;
    facts.insert(About::SPEED.to_owned(), "10".to_owned());
    let finding = &judge(&recording)[0];
    assert_eq!(
        (finding.outcome, finding.value),
        (Outcome::Pass, Some(100.0))
    );
}

#[test]
fn what_the_rest_of_a_run_could_have_turned_is_no_failure_of_a_run_that_was_told_to_stop() {
    for (key, condition, expected) in [
        ("http_reqs", "count>100", Outcome::Inconclusive),
        ("http_reqs", "count<10", Outcome::Fail),
        ("http_reqs", "rate>9", Outcome::Pass),
        ("http_req_failed", "rate<0.1", Outcome::Inconclusive),
        ("http_req_failed{stage:high}", "rate<0.1", Outcome::Fail),
    ] {
        let mut recording = recording(&[("users", vec![slot(5, 5); 6])], key, condition);
        recording.about.duration_s = 60.0;
        recording.about.interrupted = true;
        let load = &mut recording.services.get_mut("users").unwrap().load;
        load.interrupted = true;
        let of_a_run = |recording: &Recording| judge(recording).remove(0);
        assert_eq!(
            of_a_run(&recording).outcome == Outcome::Fail,
            expected != Outcome::Pass,
            "one that ends a run is judged by what was seen"
        );
        let mut thresholds = recording.scenario.thresholds.values_mut().flatten();
        thresholds.next().unwrap().abort_on_fail = false;
        let finding = of_a_run(&recording);
        assert_eq!(finding.outcome, expected, "{}", finding.sentence);
    }
}
