//! What fails in a run that was told to stop, and what only might have.

use serde_json::{Value, json};

use super::super::fixture::{Fixture, SERVICE};
use super::super::verdict::{Reason, judge_all};
use super::*;

/// A run of 300 s with a stage `high` from 100 s on, in which every second of ten requests fails, and that was told to
/// stop at 120 s.
fn stopped() -> Fixture {
    Fixture::new(300)
        .stage("low", 0.0, 100.0)
        .stage("high", 100.0, 300.0)
        .failing(100, 300, 5, 400, 5)
        .desired(&[(-60.0, 2), (110.0, 4)])
        .ready(&[(-60.0, 2)])
        .demand(25.0)
        .with(stop)
}

fn stop(run: &mut Recording) {
    run.about.interrupted = true;
    let load = &mut run.services.get_mut(SERVICE).unwrap().load;
    load.interrupted = true;
    load.slots.truncate(120);
}

#[test]
fn what_the_rest_of_a_run_could_have_turned_does_not_fail() {
    let high = |check: &str, mut with: Value| {
        with["scope"] = json!("stage(high)");
        json!({ check: with })
    };
    let open = [
        high("peak_replicas", json!({"between": [5, 9]})),
        high(
            "overshoot_ratio",
            json!({"against": "settled", "max": -0.5}),
        ),
        high("settling_time", json!({"max": "1s"})),
        high("slo_violation_ratio", json!({"max": 0.01})),
        high("error_budget", json!({"objective": 0.99})),
        high("error_rate", json!({"max": 0.01})),
        high("latency", json!({"stat": "p(50)", "max": "1ms"})),
        high("pod_seconds_ratio", json!({"max": 0.1})),
        json!({"peak_replicas": {"between": [5, 9]}}),
        json!({"time_to_replicas": {"from": "stage(high).start", "n": 4, "max": "60s"}}),
        json!({"time_to_ready": {"scope": "stage(high)", "max": "60s"}}),
        json!({"no_scale_in_before": {"from": "stage(high).start", "min": "60s"}}),
    ];
    for assertion in open {
        let finding = stopped().finding(assertion);
        assert_eq!(finding.outcome, Outcome::Inconclusive, "{finding:?}");
    }
    let late = stopped().stage("late", 200.0, 300.0);
    let finding =
        late.finding(json!({"peak_replicas": {"scope": "stage(late)", "between": [5, 9]}}));
    assert_eq!(
        (finding.outcome, finding.sentence.as_str()),
        (
            Outcome::Inconclusive,
            "the run was told to stop at 120 s, before stage(late)"
        )
    );
    let finding = stopped().finding(high("peak_replicas", json!({"between": [5, 9]})));
    assert_eq!(
        finding.sentence,
        "the HPA wanted 4 pods at most, first at 110 s; wanted are 5 to 9 pods. It does not count: the run was told to \
         stop at 120 s, before the end of stage(high)"
    );
}

#[test]
fn what_nothing_can_undo_and_what_was_over_fails_all_the_same() {
    let for_good = [
        json!({"peak_replicas": {"between": [1, 3]}}),
        json!({"slo_violation_seconds": {"max": 2}}),
        json!({"scale_events": {"max": 0}}),
        json!({"replicas_within": {"scope": "stage(high)", "between": [3, 9]}}),
        json!({"time_to_replicas": {"from": "stage(high).start", "n": 4, "max": "10s"}}),
        json!({"peak_replicas": {"scope": "stage(low)", "between": [3, 9]}}),
    ];
    for assertion in for_good {
        let finding = stopped().finding(assertion);
        assert_eq!(finding.outcome, Outcome::Fail, "{finding:?}");
    }
    let whole = Fixture::new(300).finding(json!({"peak_replicas": {"between": [5, 9]}}));
    assert_eq!(whole.outcome, Outcome::Fail, "{whole:?}");
}

#[test]
fn a_run_that_did_not_come_to_its_end_says_so_among_its_checks() {
    let of = |run: Fixture| {
        let verdict = judge_all(&run.recording(), None);
        let mut found = verdict.findings.into_iter();
        let found = found.find(|finding| finding.name == "run_completed");
        (
            verdict.reason,
            found.map(|found| (found.outcome, found.sentence)),
        )
    };
    assert_eq!(of(Fixture::new(300)), (Reason::Passed, None));
    let told = "the run was told to stop after 120 s of 300 s".to_owned();
    let stopped_by_hand = (Reason::Interrupted, Some((Outcome::Inconclusive, told)));
    assert_eq!(of(stopped()), stopped_by_hand);
    let safe = stopped().with(|run| run.about.ended = Some(Ended::Safety("too bad".into())));
    let too_bad = Some((Outcome::Fail, "too bad".to_owned()));
    assert_eq!(of(safe), (Reason::SafetyStop, too_bad));
}
