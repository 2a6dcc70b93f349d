//! Each check of how many replicas there were: runs that pass, that fail, and of which it cannot be told.

use serde_json::{Value, json};

use crate::judge::Outcome::{self, Fail, Inconclusive, Pass, Skipped};
use crate::judge::fixture::{Fixture, SERVICE};
use crate::steps::Steps;

/// Judges the check: how it ends and what was found.
fn check(run: &Fixture, assertion: Value, outcome: Outcome, value: Option<f64>) {
    let finding = run.finding(assertion);
    assert_eq!(
        (finding.outcome, finding.value),
        (outcome, value),
        "{}",
        finding.sentence
    );
}

fn nobody_looked() -> Fixture {
    Fixture::new(300)
        .stage("high", 10.0, 200.0)
        .with(|recording| {
            recording.services.get_mut(SERVICE).unwrap().replicas = Default::default();
        })
}

/// From 2 to 6 by 60 s, and at 4 for good from 100 s on; the stage is from 10 s to 200 s.
fn scaled() -> Fixture {
    let seen = [(-60.0, 2), (40.0, 4), (60.0, 6), (100.0, 4)];
    Fixture::new(300)
        .stage("high", 10.0, 200.0)
        .desired(&seen)
        .ready(&seen)
}

#[test]
fn more_than_the_maximum_is_seen_wherever_it_is() {
    let assertion = || json!({"never_above_max": {}});
    check(&scaled(), assertion(), Pass, Some(6.0));
    check(
        &scaled().desired(&[(-60.0, 2), (50.0, 11)]),
        assertion(),
        Fail,
        Some(11.0),
    );
    let told = scaled().with(|recording| {
        let replicas = &mut recording.services.get_mut(SERVICE).unwrap().replicas;
        replicas.spec = [(-60.0, Some(2)), (50.0, Some(12))]
            .into_iter()
            .collect::<Steps>();
    });
    check(&told, assertion(), Fail, Some(12.0));
    assert!(
        told.finding(assertion())
            .sentence
            .starts_with("the scale target was told 12 pods at most, first at 50 s")
    );
    // The pods above the maximum that a rollout may have are one here.
    check(
        &scaled().ready(&[(-60.0, 2), (50.0, 11)]),
        assertion(),
        Pass,
        Some(11.0),
    );
    check(
        &scaled().ready(&[(-60.0, 2), (50.0, 12)]),
        assertion(),
        Fail,
        Some(12.0),
    );
    check(&nobody_looked(), assertion(), Inconclusive, None);
}

#[test]
fn fewer_than_the_minimum_is_seen() {
    let assertion = || json!({"never_below_min": {}});
    check(&scaled(), assertion(), Pass, Some(2.0));
    check(
        &scaled().desired(&[(-60.0, 2), (50.0, 1)]),
        assertion(),
        Fail,
        Some(1.0),
    );
    check(
        &scaled().ready(&[(-60.0, 2), (50.0, 0)]),
        assertion(),
        Pass,
        Some(2.0),
    );
    check(&nobody_looked(), assertion(), Inconclusive, None);
}

#[test]
fn bounds_are_checked_without_being_asked_and_once() {
    let judged = |run: Fixture| -> Vec<String> {
        crate::judge::judge(&run.recording())
            .into_iter()
            .map(|finding| finding.name)
            .collect()
    };
    assert_eq!(judged(scaled()), ["never_above_max", "never_below_min"]);
    let no_hpa =
        scaled().with(|recording| recording.services.get_mut(SERVICE).unwrap().autoscaler = None);
    assert!(judged(no_hpa).is_empty());
}

#[test]
fn what_nobody_saw_is_said() {
    let finding = scaled()
        .unseen(150.0, 170.0)
        .finding(json!({"never_above_max": {}}));
    assert_eq!(finding.outcome, Pass);
    assert!(
        finding.sentence.contains("(nobody looked for 20 s)"),
        "{}",
        finding.sentence
    );
}

#[test]
fn a_peak_is_between_its_bounds_or_not() {
    let assertion =
        |between: [u32; 2]| json!({"peak_replicas": {"scope": "stage(high)", "between": between}});
    check(&scaled(), assertion([5, 6]), Pass, Some(6.0));
    check(&scaled(), assertion([3, 5]), Fail, Some(6.0));
    check(&scaled(), assertion([7, 9]), Fail, Some(6.0));
    check(&nobody_looked(), assertion([5, 6]), Inconclusive, None);
}

#[test]
fn ready_pods_stay_between_their_bounds_once_settled() {
    let assertion = |settle: &str, between: [u32; 2]| json!({"replicas_within": {"scope": "stage(high)", "settle": settle, "between": between}});
    check(&scaled(), assertion("90s", [3, 5]), Pass, Some(4.0));
    check(&scaled(), assertion("30s", [3, 5]), Fail, Some(6.0));
    check(&scaled(), assertion("30s", [4, 6]), Pass, Some(4.0));
    check(&scaled(), assertion("0s", [4, 6]), Fail, Some(2.0));
    check(&scaled(), assertion("500s", [4, 6]), Inconclusive, None);
    check(
        &nobody_looked(),
        assertion("0s", [4, 6]),
        Inconclusive,
        None,
    );
    let finding = scaled().finding(assertion("30s", [3, 5]));
    assert_eq!(
        (finding.from_s, finding.to_s),
        (Some(60.0), Some(100.0)),
        "{}",
        finding.sentence
    );
}

#[test]
fn an_overshoot_is_above_what_is_right() {
    let assertion = |max: f64| json!({"overshoot_ratio": {"scope": "stage(high)", "max": max}});
    // 4 pods were wanted for the whole last minute, and 6 at most.
    check(&scaled(), assertion(0.6), Pass, Some(0.5));
    check(&scaled(), assertion(0.4), Fail, Some(0.5));
    // 100 requests a second need 5 pods of 20 each.
    let demand = scaled().demand(20.0);
    check(&demand, assertion(0.21), Pass, Some(6.0 / 5.0 - 1.0));
    check(&demand, assertion(0.1), Fail, Some(6.0 / 5.0 - 1.0));
    check(&nobody_looked(), assertion(0.4), Inconclusive, None);
    let needed = json!({"overshoot_ratio": {"against": "needed", "max": 1.0}});
    check(&scaled(), needed, Inconclusive, None);
}

#[test]
fn an_undershoot_is_below_what_was_right_once() {
    let assertion = |max: f64| json!({"undershoot_ratio": {"scope": "stage(high)", "max": max}});
    check(&scaled(), assertion(0.0), Pass, Some(0.0));
    let demand = scaled().demand(20.0);
    check(&demand, assertion(0.25), Pass, Some(1.0 - 4.0 / 5.0));
    check(&demand, assertion(0.1), Fail, Some(1.0 - 4.0 / 5.0));
    check(&scaled().demand(10.0), assertion(0.1), Skipped, None);
    check(&nobody_looked(), assertion(0.1), Inconclusive, None);
}

#[test]
fn settling_ends_when_the_last_number_is_there_for_good() {
    let assertion = |band: u32, max: &str| json!({"settling_time": {"scope": "stage(high)", "band": band, "max": max}});
    check(&scaled(), assertion(0, "90s"), Pass, Some(90.0));
    check(&scaled(), assertion(0, "80s"), Fail, Some(90.0));
    check(&scaled(), assertion(2, "0s"), Pass, Some(0.0));
    check(
        &scaled().unseen(90.0, 120.0),
        assertion(0, "100s"),
        Inconclusive,
        None,
    );
    check(&nobody_looked(), assertion(0, "90s"), Inconclusive, None);
}
