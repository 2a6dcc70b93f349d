//! Which reason outweighs which, and what is in doubt when the experiment was not sound.

use serde_json::json;

use super::super::fixture::{Fixture, SERVICE};
use super::*;
use crate::recording::{Ended, Gap};
use crate::scenario::{Span, Threshold};

/// A run of 200 s with the stages `low` and `high`, whose HPA scales in `high`.
fn run(assertions: serde_json::Value) -> Fixture {
    Fixture::new(200)
        .stage("low", 0.0, 100.0)
        .stage("high", 100.0, 200.0)
        .desired(&[(-60.0, 2), (120.0, 4)])
        .ready(&[(-60.0, 2), (130.0, 4)])
        .with(|run| run.scenario.assertions = serde_json::from_value(assertions).unwrap())
}

/// Requests that were sent late between the two seconds.
fn late(from: usize, to: usize) -> impl FnOnce(&mut Recording) {
    move |run| {
        for slot in &mut run.services.get_mut(SERVICE).unwrap().load.slots[from..to] {
            slot.late = 50;
        }
    }
}

fn outcome(verdict: &Verdict, name: &str) -> Outcome {
    let finding = verdict.findings.iter().find(|finding| finding.name == name);
    finding
        .unwrap_or_else(|| panic!("no {name} in {verdict:?}"))
        .outcome
}

fn reason(run: Fixture) -> Reason {
    judge_all(&run.recording(), None).reason
}

#[test]
fn a_sound_run_in_which_all_holds_passes() {
    let verdict = judge_all(&run(json!([{"flap_count": {"max": 0}}])).recording(), None);
    assert_eq!(
        (verdict.outcome, verdict.reason),
        (Outcome::Pass, Reason::Passed),
        "{verdict:#?}"
    );
    assert!(verdict.findings.is_sorted_by_key(|finding| finding.group));
    let json = serde_json::to_value(&verdict).unwrap();
    assert_eq!(json["reason"], "passed");
    assert_eq!(serde_json::from_value::<Verdict>(json).unwrap(), verdict);
}

#[test]
fn a_failed_check_says_which() {
    let verdict = judge_all(
        &run(json!([{"replica_churn": {"max": 1}}])).recording(),
        None,
    );
    assert_eq!(
        (verdict.outcome, verdict.reason),
        (Outcome::Fail, Reason::Failed)
    );
    assert!(
        verdict
            .sentence
            .starts_with("something does not hold: 2 replicas were added"),
        "{}",
        verdict.sentence
    );
}

#[test]
fn what_rests_on_a_load_that_was_not_sent_is_in_doubt() {
    let checks = json!([
        {"scale_events": {"scope": "stage(low)", "max": 0}},
        {"scale_events": {"scope": "stage(high)", "max": 0}},
    ]);
    let verdict = judge_all(&run(checks).with(late(150, 200)).recording(), None);
    assert_eq!(
        outcome(&verdict, "scale_events[low]"),
        Outcome::Pass,
        "that stage was sent"
    );
    assert_eq!(
        outcome(&verdict, "scale_events[high]"),
        Outcome::Inconclusive
    );
    assert_eq!(
        outcome(&verdict, "never_above_max"),
        Outcome::Pass,
        "whatever the load was"
    );
    assert_eq!(
        (verdict.outcome, verdict.reason),
        (Outcome::Inconclusive, Reason::NotDelivered)
    );
    let doubtful = verdict
        .findings
        .iter()
        .find(|finding| finding.name == "scale_events[high]");
    let sentence = &doubtful.unwrap().sentence;
    assert!(
        sentence.contains("It does not count: 75.00 %"),
        "{sentence}"
    );
}

#[test]
fn a_failure_that_does_not_rest_on_the_broken_premise_stays_one() {
    let above = run(json!([]))
        .desired(&[(-60.0, 2), (120.0, 12)])
        .with(late(150, 200));
    assert_eq!(reason(above), Reason::Failed);
    let early = json!([{"scale_events": {"scope": "stage(high)", "max": 0}}]);
    assert_eq!(
        reason(run(early).with(late(0, 50))),
        Reason::Failed,
        "another stage was not sent"
    );
}

#[test]
fn what_nobody_saw_is_in_doubt_and_latency_is_not() {
    let checks = json!([{"replica_churn": {"max": 9}}]);
    let verdict = run(checks).with(|run| {
        run.scenario
            .thresholds
            .insert("http_reqs".into(), vec![threshold("count>0")]);
        let gap = Gap {
            from_s: 50.0,
            to_s: Some(80.0),
            what: "the HPA".into(),
        };
        run.services.get_mut(SERVICE).unwrap().gaps.push(gap);
    });
    let verdict = judge_all(&verdict.recording(), None);
    assert_eq!(outcome(&verdict, "replica_churn"), Outcome::Inconclusive);
    assert_eq!(outcome(&verdict, "http_reqs: count>0"), Outcome::Pass);
    assert_eq!(verdict.reason, Reason::ObservationLost);
}

fn threshold(condition: &str) -> Threshold {
    Threshold {
        threshold: condition.into(),
        abort_on_fail: true,
        delay_abort_eval: Span::default(),
    }
}

#[test]
fn a_run_that_ended_early_says_why() {
    let interrupted =
        || run(json!([{"replica_churn": {"max": 1}}])).with(|run| run.about.interrupted = true);
    assert_eq!(
        reason(interrupted()),
        Reason::Interrupted,
        "a failure in half of a run is none"
    );
    let failing = |run: Fixture| run.failing(0, 40, 10, 100, 90);
    let safety = |run: &mut Recording| run.scenario.safety.max_error_rate = 0.5;
    let why = "90.0 % of the requests to users failed";
    let stopped = failing(interrupted())
        .with(safety)
        .with(|run| run.about.ended = Some(Ended::Safety(why.to_owned())));
    let verdict = judge_all(&stopped.recording(), None);
    assert_eq!(
        (verdict.outcome, verdict.reason),
        (Outcome::Fail, Reason::SafetyStop)
    );
    assert!(verdict.sentence.contains(why), "{}", verdict.sentence);
    let went_on = failing(run(json!([]))).with(safety);
    assert_eq!(reason(went_on), Reason::Passed, "nothing ended it");
    let aborted = interrupted().with(|run| {
        // Answers that came after the end may have mended it; it ended all the same.
        run.scenario
            .thresholds
            .insert("http_reqs".into(), vec![threshold("count<500000")]);
        run.about.ended = Some(Ended::Threshold("too many".to_owned()));
    });
    assert_eq!(reason(aborted), Reason::Failed);
}

#[test]
fn a_system_that_was_not_ready_outweighs_what_failed() {
    let grown = run(json!([{"replica_churn": {"max": 1}}])).ready(&[(-60.0, 3)]);
    assert_eq!(reason(grown), Reason::Preconditions);
}

#[test]
fn a_regression_counts_only_when_all_else_holds() {
    let earlier = run(json!([])).recording();
    let slow = |checks| run(checks).load(0, 200, 100, 200).recording();
    let verdict = judge_all(&slow(json!([])), Some(&earlier));
    assert_eq!(
        (verdict.outcome, verdict.reason),
        (Outcome::Fail, Reason::Regression)
    );
    let failed = judge_all(
        &slow(json!([{"replica_churn": {"max": 1}}])),
        Some(&earlier),
    );
    assert_eq!(failed.reason, Reason::Failed);
    let unsent = run(json!([]))
        .load(0, 200, 100, 200)
        .with(late(150, 200))
        .recording();
    assert_eq!(
        judge_all(&unsent, Some(&earlier)).reason,
        Reason::NotDelivered
    );
}

#[test]
fn reasons_outweigh_each_other_in_one_order() {
    let order = [
        Reason::Passed,
        Reason::Regression,
        Reason::ObservationLost,
        Reason::NotDelivered,
        Reason::Failed,
        Reason::SafetyStop,
        Reason::Preconditions,
        Reason::Interrupted,
    ];
    assert!(order.is_sorted());
}

#[test]
fn so_many_of_the_runs_must_pass() {
    use Reason::{
        Failed, Interrupted, NotDelivered, ObservationLost, Passed, Regression, SafetyStop,
    };
    let series = |reasons: &[Reason], pass: u32| {
        let verdicts: Vec<_> = reasons
            .iter()
            .map(|reason| Verdict {
                findings: Vec::new(),
                outcome: reason.outcome(),
                reason: *reason,
                sentence: String::new(),
            })
            .collect();
        let repeat = Repeat {
            repeat: reasons.len() as u32,
            pass,
        };
        judge_series(&verdicts, repeat)
    };
    for (reasons, pass, expected) in [
        (&[Passed][..], 1, Passed),
        (&[Failed], 1, Failed),
        (&[Passed, Failed, Passed], 2, Passed),
        (&[Passed, Failed, Failed], 2, Failed),
        (&[Passed, Failed, NotDelivered], 2, NotDelivered),
        (&[Failed, Failed, NotDelivered], 2, Failed),
        (&[ObservationLost, NotDelivered, Failed], 2, NotDelivered),
        (&[Passed, Regression], 2, Regression),
        (&[Passed, Passed, SafetyStop], 2, SafetyStop),
        (&[Passed, Passed, Interrupted], 2, Interrupted),
    ] {
        assert_eq!(
            series(reasons, pass).reason,
            expected,
            "{reasons:?}, {pass} of them"
        );
    }
    let told = series(&[Passed, Failed, Passed], 2);
    assert_eq!(
        (told.passed, told.needed, told.runs, told.outcome),
        (2, 2, 3, Outcome::Pass)
    );
}
