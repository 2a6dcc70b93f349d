//! What is asked of an object, and answered for each way it can fail.

use super::super::fixture::{self, at, mk_finding, mk_view};
use super::*;
use crate::cluster::crd::RequestMetricsStatus;
use crate::cluster::discover::Finding;
use std::time::Duration;

/// Status and reason of a condition.
fn condition(status: &RequestMetricsStatus, question: &str) -> (String, String) {
    let condition = full(status, question);
    (condition.status.clone(), condition.reason.clone())
}

fn full<'s>(status: &'s RequestMetricsStatus, question: &str) -> &'s Condition {
    let mut conditions = status.conditions.iter();
    conditions
        .find(|condition| condition.type_ == question)
        .unwrap_or_else(|| panic!("there is no condition {question}"))
}

fn is(status: &str, reason: &str) -> (String, String) {
    (status.to_owned(), reason.to_owned())
}

fn of(finding: &Finding, view: Option<ServiceView>) -> RequestMetricsStatus {
    fixture::status(finding, view, None, at(0))
}

/// A view none of whose three targets can be read.
fn mk_failing(reason: FailureReason) -> ServiceView {
    let mut view = mk_view();
    view.state = State::Unknown("none of its 3 targets can be read".to_owned());
    view.windows.clear();
    view.coverage.known = 0;
    view.coverage.unknown = 3;
    view.coverage.failures = [(reason, 3)].into();
    view
}

#[test]
fn all_is_true_of_a_service_under_load() {
    let status = of(&mk_finding(), Some(mk_view()));
    let questions: Vec<&str> = status
        .conditions
        .iter()
        .map(|condition| {
            assert_eq!(condition.status, "True", "{condition:?}");
            assert_eq!(condition.observed_generation, Some(2));
            condition.type_.as_str()
        })
        .collect();
    assert_eq!(
        questions,
        [
            "SpecValid",
            "SecretsReadable",
            "PodsFound",
            "SourcesReachable",
            "HistogramFound",
            "ObjectiveResolvable",
            "Ready"
        ]
    );
}

#[test]
fn a_condition_keeps_its_time_while_its_status_stays() {
    let first = fixture::status(
        &mk_finding(),
        Some(mk_failing(FailureReason::Timeout)),
        None,
        at(10),
    );
    let other_reason = mk_failing(FailureReason::Refused);
    let second = fixture::status(&mk_finding(), Some(other_reason), Some(&first), at(20));
    let third = fixture::status(&mk_finding(), Some(mk_view()), Some(&second), at(30));
    let since =
        |status: &RequestMetricsStatus| full(status, READY).last_transition_time.0.as_second();
    assert_eq!((since(&first), since(&second), since(&third)), (10, 10, 30));
    let valid = full(&third, "SpecValid").last_transition_time.0.as_second();
    assert_eq!(valid, 10);
}

#[test]
fn a_wrong_spec_is_told_and_blocks_only_where_none_is_in_force() {
    let mut finding = mk_finding();
    finding.problem = Some("spec.window: 3 is no duration".to_owned());
    finding.in_force = Some(1);
    let status = of(&finding, Some(mk_view()));
    assert_eq!(
        condition(&status, "SpecValid"),
        is("False", "PreviousInForce")
    );
    assert_eq!(condition(&status, READY), is("True", "Served"));
    let message = &full(&status, "SpecValid").message;
    assert!(
        message.ends_with("generation 1 stays in force"),
        "{message}"
    );
    finding.in_force = None;
    let status = of(&finding, None);
    assert_eq!(condition(&status, READY), is("False", "Invalid"));
}

#[test]
fn targets_that_fail_are_told_by_their_commonest_reason() {
    for (reason, expected) in [
        (FailureReason::Timeout, "Timeout"),
        (FailureReason::Refused, "Refused"),
        (FailureReason::Unauthorized, "Unauthorized"),
        (FailureReason::Malformed, "Malformed"),
    ] {
        let mut view = mk_failing(reason);
        view.coverage.failures.insert(FailureReason::Status, 1);
        view.coverage.unknown = 4;
        let status = of(&mk_finding(), Some(view));
        assert_eq!(
            condition(&status, "SourcesReachable"),
            is("False", expected)
        );
        assert_eq!(condition(&status, READY), is("False", expected));
        let message = &full(&status, READY).message;
        assert!(
            message.starts_with("4 of 4 targets cannot be read"),
            "{message}"
        );
    }
}

#[test]
fn one_failed_read_of_a_known_target_is_no_news() {
    let mut view = mk_view();
    view.coverage.failures = [(FailureReason::Timeout, 1)].into();
    let status = of(&mk_finding(), Some(view));
    assert_eq!(
        condition(&status, "SourcesReachable"),
        is("True", "AllAnswer")
    );
}

#[test]
fn a_part_of_the_targets_serves_and_says_so() {
    let mut view = mk_view();
    view.state = State::Partial { known: 5, of: 6 };
    (view.coverage.known, view.coverage.unknown) = (5, 1);
    view.coverage.failures = [(FailureReason::Refused, 1)].into();
    let status = of(&mk_finding(), Some(view));
    assert_eq!(condition(&status, READY), is("True", "ServedInPart"));
    assert_eq!(
        condition(&status, "SourcesReachable"),
        is("False", "Refused")
    );
}

#[test]
fn a_page_without_the_histogram_was_reached() {
    let status = of(&mk_finding(), Some(mk_failing(FailureReason::NotFound)));
    assert_eq!(
        condition(&status, "SourcesReachable"),
        is("True", "AllAnswer")
    );
    assert_eq!(
        condition(&status, "HistogramFound"),
        is("False", "HistogramNotFound")
    );
    assert_eq!(condition(&status, READY), is("False", "HistogramNotFound"));
}

#[test]
fn pages_without_buckets_serve_all_but_quantiles() {
    let mut view = mk_view();
    view.windows[0].bounds = Vec::<f64>::new().into();
    view.windows[0].counts.clear();
    let status = of(&mk_finding(), Some(view));
    assert_eq!(
        condition(&status, "HistogramFound"),
        is("False", "NoBuckets")
    );
    assert_eq!(condition(&status, READY), is("True", "ServedInPart"));
}

#[test]
fn no_pods_and_pods_that_cannot_be_read_are_told_apart() {
    let mut finding = mk_finding();
    let set = |finding: &mut Finding, change: fn(&mut PodsFound)| {
        change(finding.pods.as_mut().expect("a source of pods"));
    };
    set(&mut finding, |pods| *pods = PodsFound::default());
    let status = of(&finding, None);
    assert_eq!(condition(&status, "PodsFound"), is("Unknown", "Listing"));
    assert_eq!(condition(&status, READY), is("False", "NotReadYet"));
    set(&mut finding, |pods| pods.is_synced = true);
    assert_eq!(
        condition(&of(&finding, None), "PodsFound"),
        is("False", "NoPods")
    );
    set(&mut finding, |pods| {
        pods.matched = 2;
        pods.left_out = [(LeftOut::NoPort, 1), (LeftOut::NoAddress, 1)].into();
        pods.examples = vec![("users-1".into(), LeftOut::NoPort)];
    });
    let status = of(&finding, None);
    assert_eq!(condition(&status, "PodsFound"), is("False", "PortNotFound"));
    let message = &full(&status, "PodsFound").message;
    assert!(message.starts_with("1 of 2 selected pods cannot be read: pod users-1 "));
    set(&mut finding, |pods| {
        pods.problem = Some("may not list pods".to_owned());
    });
    assert_eq!(
        condition(&of(&finding, None), READY),
        is("False", "CannotWatchPods")
    );
}

#[test]
fn a_missing_secret_comes_before_what_it_causes() {
    let mut finding = mk_finding();
    finding.secrets = vec!["Secret users-token does not exist".to_owned(); 3];
    let status = of(&finding, Some(mk_failing(FailureReason::Unauthorized)));
    assert_eq!(condition(&status, READY), is("False", "SecretMissing"));
    let message = &full(&status, "SecretsReadable").message;
    assert_eq!(message, "Secret users-token does not exist (and 2 more)");
}

#[test]
fn buckets_that_cannot_tell_whether_the_objective_holds_are_told() {
    let with_objective = |ms| {
        let mut view = mk_view();
        let objective = view.objective.as_mut().expect("an objective");
        objective.latency = Duration::from_millis(ms);
        of(&mk_finding(), Some(view))
    };
    let question = "ObjectiveResolvable";
    let status = with_objective(300);
    assert_eq!(condition(&status, question), is("True", "BoundAtObjective"));
    let status = with_objective(200);
    assert_eq!(
        condition(&status, question),
        is("False", "NoBoundAtObjective")
    );
    let message = &full(&status, question).message;
    assert!(
        message.contains("the nearest are 100 ms and 300 ms"),
        "{message}"
    );
    let status = with_objective(50);
    assert!(
        full(&status, question)
            .message
            .contains("the lowest is 100 ms")
    );
    let status = with_objective(700);
    assert_eq!(
        condition(&status, question),
        is("False", "ObjectiveAboveBuckets")
    );
    // It serves nevertheless.
    assert_eq!(condition(&status, READY), is("True", "Served"));
}

#[test]
fn a_redis_source_has_neither_pods_nor_histogram() {
    let mut finding = mk_finding();
    finding.pods = None;
    let status = of(&finding, Some(mk_view()));
    let mut questions = status.conditions.iter().map(|condition| &*condition.type_);
    assert!(!questions.any(|question| question == "PodsFound" || question == "HistogramFound"));
}

#[test]
fn sentences_are_bounded() {
    let mut finding = mk_finding();
    finding.problem = Some("é".repeat(10_000));
    let status = of(&finding, None);
    assert_eq!(
        full(&status, "SpecValid").message.chars().count(),
        MESSAGE_CHARS_MAX
    );
}
