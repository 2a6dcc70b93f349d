//! Each check of whether users were served well: runs that pass, that fail, and of which it cannot be told.

use proptest::prelude::*;
use serde_json::{Value, json};

use crate::judge::Outcome::{self, Fail, Inconclusive, Pass, Skipped};
use crate::judge::fixture::{Fixture, SERVICE};
use crate::measured::Slot;

/// Judges the check once for each limit: how it ends, whether only just, and what was found.
fn check(
    run: &Fixture,
    assertion: impl Fn(Value) -> Value,
    cases: &[(Value, Outcome, bool, Option<f64>)],
) {
    for (limit, outcome, marginal, value) in cases {
        let finding = run.finding(assertion(limit.clone()));
        assert_eq!(
            (finding.outcome, finding.marginal),
            (*outcome, *marginal),
            "{limit}: {}",
            finding.sentence
        );
        let same = match (finding.value, value) {
            (Some(found), Some(value)) => (found - value).abs() <= 0.002 * value.abs(),
            (found, value) => found == *value,
        };
        assert!(
            same,
            "{limit}: {:?}, not {value:?}: {}",
            finding.value, finding.sentence
        );
    }
}

/// Requests are slow from 120 s to 160 s. Windows of 10 s are slow by more than a twentieth from the one that ends at
/// 121 s to the one that ends at 169 s.
fn slow() -> Fixture {
    Fixture::new(300)
        .stage("high", 120.0, 240.0)
        .load(120, 160, 100, 500)
}

fn recovery(hold: &str) -> impl Fn(Value) -> Value {
    let hold = hold.to_owned();
    move |max| json!({"slo_recovery_time": {"from": "stage(high).start", "hold": hold, "max": max}})
}

#[test]
fn latency_recovers_within_its_limit_or_not() {
    check(
        &slow(),
        recovery("30s"),
        &[
            (json!("60s"), Pass, false, Some(50.0)),
            (json!("49s"), Pass, true, Some(50.0)),
            (json!("48s"), Fail, false, Some(50.0)),
        ],
    );
    let finding = slow().finding(recovery("30s")(json!("60s")));
    assert_eq!(
        finding.sentence,
        "p95 was back within 300 ms 50 s after the first breach at 120 s; the limit is 60 s"
    );
    assert_eq!((finding.from_s, finding.to_s), (Some(120.0), Some(170.0)));
}

#[test]
fn latency_that_is_bad_again_has_not_recovered() {
    let again = slow().load(190, 200, 100, 500);
    check(
        &again,
        recovery("10s"),
        &[(json!("60s"), Pass, false, Some(50.0))],
    );
    check(
        &again,
        recovery("30s"),
        &[(json!("60s"), Fail, false, Some(90.0))],
    );
    let to_the_end = slow().load(160, 300, 100, 500);
    check(
        &to_the_end,
        recovery("30s"),
        &[
            (json!("60s"), Fail, false, None),
            (json!("500s"), Fail, false, None),
        ],
    );
    let nearly = slow().load(160, 285, 100, 500);
    check(
        &nearly,
        recovery("30s"),
        &[
            (json!("100s"), Fail, false, None),
            (json!("200s"), Inconclusive, false, None),
        ],
    );
}

#[test]
fn without_a_breach_recovery_takes_no_time() {
    let quiet = Fixture::new(300).stage("high", 120.0, 240.0);
    check(
        &quiet,
        recovery("30s"),
        &[(json!("0s"), Pass, false, Some(0.0))],
    );
    let sparse = Fixture::new(300)
        .stage("high", 120.0, 240.0)
        .load(0, 300, 1, 100);
    check(
        &sparse,
        recovery("30s"),
        &[(json!("60s"), Inconclusive, false, None)],
    );
}

#[test]
fn failed_requests_are_a_breach_unless_they_are_excluded() {
    let failing = Fixture::new(300)
        .stage("high", 120.0, 240.0)
        .failing(120, 160, 90, 100, 10);
    check(
        &failing,
        recovery("30s"),
        &[(json!("60s"), Pass, false, Some(45.0))],
    );
    let mut assertion = recovery("30s")(json!("60s"));
    assertion["slo_recovery_time"]["failures"] = json!("exclude");
    assert_eq!(failing.finding(assertion).value, Some(0.0));
}

#[test]
fn seconds_of_violation_are_counted() {
    let assertion = |max| json!({"slo_violation_seconds": {"max": max}});
    check(
        &slow(),
        assertion,
        &[
            (json!(60), Pass, false, Some(49.0)),
            (json!(49), Pass, true, Some(49.0)),
            (json!(40), Fail, false, Some(49.0)),
        ],
    );
    let finding = slow().finding(assertion(json!(40)));
    assert_eq!((finding.from_s, finding.to_s), (Some(120.0), Some(169.0)));
    assert_eq!(
        finding.sentence,
        "49 s of 300 s were not served within 300 ms at p95; the limit is 40 s"
    );
    let in_stage =
        json!({"slo_violation_seconds": {"scope": "stage(high)", "target": "600ms", "max": 0}});
    assert_eq!(slow().finding(in_stage).value, Some(0.0));
    let sparse = Fixture::new(300).load(0, 300, 1, 100);
    check(
        &sparse,
        assertion,
        &[(json!(10), Inconclusive, false, None)],
    );
    let idle = Fixture::new(300).load(100, 300, 0, 100);
    check(&idle, assertion, &[(json!(10), Pass, false, Some(0.0))]);
}

#[test]
fn a_second_without_an_answer_and_one_with_too_many_errors_are_violations() {
    let dead = Fixture::new(300).mixed(100, 101, &[], 3);
    assert_eq!(
        dead.finding(json!({"slo_violation_seconds": {"max": 5}}))
            .value,
        Some(1.0)
    );
    let failing = Fixture::new(300).failing(100, 110, 98, 100, 2);
    let with = |max_error: &str| {
        let assertion = json!({"slo_violation_seconds": {"max_error": max_error, "max": 300}});
        failing.finding(assertion).value
    };
    // Windows hold a thousand requests: more than 1 % of those failed where at least six of the ten seconds are in it.
    assert_eq!((with("3%"), with("1%")), (Some(0.0), Some(9.0)));
}

#[test]
fn the_share_of_violation_is_of_what_could_be_told() {
    let assertion = |max| json!({"slo_violation_ratio": {"max": max}});
    check(
        &slow(),
        assertion,
        &[
            (json!(0.2), Pass, false, Some(49.0 / 300.0)),
            (json!(0.161), Pass, true, Some(49.0 / 300.0)),
            (json!(0.1), Fail, false, Some(49.0 / 300.0)),
        ],
    );
    let sparse = Fixture::new(300).load(0, 300, 1, 100);
    check(
        &sparse,
        assertion,
        &[(json!(0.5), Inconclusive, false, None)],
    );
}

#[test]
fn a_budget_counts_failed_and_slow_requests_alike() {
    let run =
        Fixture::new(100)
            .failing(10, 20, 90, 100, 10)
            .mixed(20, 30, &[(95, 100), (5, 900)], 0);
    let assertion = |objective| json!({"error_budget": {"objective": objective}});
    check(
        &run,
        assertion,
        &[
            (json!("98%"), Pass, false, Some(0.015)),
            (json!("99%"), Fail, false, Some(0.015)),
        ],
    );
    let slower = json!({"error_budget": {"target": "1s", "objective": 0.98}});
    assert_eq!(run.finding(slower).value, Some(0.01));
    let idle = Fixture::new(100).load(0, 100, 0, 100);
    check(&idle, assertion, &[(json!("99%"), Skipped, false, None)]);
}

#[test]
fn a_quantile_of_a_stretch_is_within_its_limit_or_not() {
    let assertion = |max| json!({"latency": {"stat": "p(95)", "scope": "stage(high)", "settle": "30s", "max": max}});
    // 90 s are looked at, of which the first 10 s are slow.
    check(
        &slow(),
        assertion,
        &[
            (json!("600ms"), Pass, false, Some(500.0)),
            (json!("500ms"), Pass, true, Some(500.0)),
            (json!("300ms"), Fail, false, Some(500.0)),
        ],
    );
    let later = json!({"latency": {"scope": "stage(high)", "settle": "40s"}});
    let finding = slow().finding(later);
    assert_eq!(
        (finding.outcome, finding.limit.as_str()),
        (Pass, "<= 300 ms")
    );
    let failing = Fixture::new(300)
        .stage("high", 120.0, 240.0)
        .failing(120, 240, 90, 100, 10);
    check(&failing, assertion, &[(json!("600ms"), Fail, false, None)]);
    let sparse = Fixture::new(300)
        .stage("high", 120.0, 240.0)
        .load(0, 300, 1, 100);
    check(
        &sparse,
        assertion,
        &[(json!("600ms"), Inconclusive, false, None)],
    );
}

#[test]
fn errors_are_counted_by_class() {
    let run = Fixture::new(100).failing(10, 20, 90, 100, 10);
    let of = |class: &'static str| move |max| json!({"error_rate": {"class": class, "max": max}});
    check(
        &run,
        of("any"),
        &[
            (json!(0.02), Pass, false, Some(0.01)),
            (json!(0.001), Fail, false, Some(0.01)),
        ],
    );
    check(&run, of("5xx"), &[(json!(0.02), Pass, false, Some(0.01))]);
    check(&run, of("timeout"), &[(json!(0), Pass, false, Some(0.0))]);
    let idle = Fixture::new(100).load(0, 100, 0, 100);
    check(&idle, of("any"), &[(json!(0), Skipped, false, None)]);
}

#[test]
fn errors_near_scale_events_are_counted() {
    let assertion = |max| json!({"scale_event_errors": {"within": "3s", "max": max}});
    let run = Fixture::new(300)
        .desired(&[(-60.0, 4), (100.0, 2)])
        .ready(&[(-60.0, 4), (101.0, 2), (200.0, 3)])
        .failing(90, 91, 90, 100, 50)
        .failing(98, 100, 90, 100, 5)
        .failing(203, 205, 90, 100, 7);
    // The scale-in has 5 in each of two seconds near it, the new pod 7 in the one that begins 3 s after it.
    check(
        &run,
        assertion,
        &[
            (json!(17), Pass, false, Some(17.0)),
            (json!(16), Fail, false, Some(17.0)),
        ],
    );
    check(
        &Fixture::new(100),
        assertion,
        &[(json!(0), Skipped, false, None)],
    );
}

#[test]
fn young_pods_are_compared_with_old_ones_in_the_same_seconds() {
    let with_young = |seconds: usize, young_ms: u64| {
        let run = Fixture::new(300).mixed(50, 150, &[(50, 100), (50, young_ms)], 0);
        run.with(move |recording| {
            let load = &mut recording.services.get_mut(SERVICE).unwrap().load;
            for slot in &mut load.slots[50..50 + seconds] {
                let mut json = serde_json::to_value(&*slot).unwrap();
                let pairs = json["latencies"].as_array().unwrap();
                json["young"] = json!([pairs.last().unwrap()]);
                *slot = serde_json::from_value::<Slot>(json).unwrap();
            }
        })
    };
    let assertion = |max| json!({"cold_start_penalty": {"max": max}});
    check(
        &with_young(30, 250),
        assertion,
        &[
            (json!(3), Pass, false, Some(2.5)),
            (json!(2.5), Pass, true, Some(2.5)),
            (json!(2), Fail, false, Some(2.5)),
        ],
    );
    check(
        &with_young(2, 250),
        assertion,
        &[(json!(3), Inconclusive, false, None)],
    );
    check(
        &Fixture::new(100),
        assertion,
        &[(json!(3), Skipped, false, None)],
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn recovery_takes_no_time_exactly_when_no_second_is_violated(
        stretches in prop::collection::vec((0..200u32, 0..30u32, prop::sample::select(vec![100u64, 299, 400])), 0..3),
        looser_s in 0..300u32,
    ) {
        let mut run = Fixture::new(200).stage("high", 0.0, 200.0);
        for (from, length, latency_ms) in stretches {
            run = run.load(from, (from + length).min(200), 100, latency_ms);
        }
        let violated = run.finding(json!({"slo_violation_seconds": {"max": 0}})).value;
        let recovered = |max_s: u32| run.finding(recovery("5s")(json!(format!("{max_s}s"))));
        prop_assert_eq!(recovered(300).value == Some(0.0), violated == Some(0.0));
        let was_pass = recovered(40).outcome == Pass;
        prop_assert!(!was_pass || recovered(40 + looser_s).outcome == Pass);
    }
}
