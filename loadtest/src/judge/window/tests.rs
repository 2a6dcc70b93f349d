//! Sliding quantiles against their definition, and windows that hold too few requests.

use proptest::prelude::*;

use super::*;
use crate::measured::{Counts, ErrorClass, Latencies};

fn objective(window_s: u64, max_window_s: u64, failures: Failures) -> Objective {
    Objective {
        quantile: 0.9,
        target: Span::from_millis(300),
        window: Span::from_secs(window_s),
        max_window: Span::from_secs(max_window_s),
        failures,
    }
}

fn slot(answers_ms: &[u64], failed: u64) -> Slot {
    let mut latencies = Latencies::default();
    answers_ms
        .iter()
        .for_each(|millis| latencies.record(Duration::from_millis(*millis)));
    let mut counts = Counts::default();
    counts.ok = answers_ms.len() as u64;
    counts.offered = counts.ok + failed;
    (0..failed).for_each(|_| counts.count_error(ErrorClass::ServerStatus));
    Slot::new(counts, &latencies)
}

/// The same from the definition: the shortest window that holds enough, and its quantile by rank.
fn by_definition(
    seconds: &[(Vec<u64>, u64)],
    end: usize,
    objective: Objective,
) -> Option<(usize, f64)> {
    let [window, widest] = [objective.window, objective.max_window].map(whole_seconds);
    let infinite = objective.failures == Failures::Infinite;
    let requests = |start: usize| -> Vec<f64> {
        let of_second = |(answers, failed): &(Vec<u64>, u64)| {
            let failed = if infinite { *failed } else { 0 };
            let answers = answers.iter().map(|millis| *millis as f64 / 1e3);
            answers
                .chain((0..failed).map(|_| f64::INFINITY))
                .collect::<Vec<_>>()
        };
        seconds[start..end].iter().flat_map(of_second).collect()
    };
    let starts = (end.saturating_sub(widest)..=end.saturating_sub(window)).rev();
    let (start, mut requests) = starts
        .map(|start| (start, requests(start)))
        .find(|(_, requests)| enough(objective.quantile) <= requests.len() as u64)?;
    requests.sort_by(f64::total_cmp);
    let rank = (objective.quantile * requests.len() as f64).ceil() as usize;
    Some((start, requests[rank - 1]))
}

proptest! {
    // A second takes a whole histogram to be made, so a few cases are enough.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn sliding_along_a_run_is_as_looking_at_each_window(
        seconds in prop::collection::vec((prop::collection::vec(1..5_000u64, 0..40), 0..8u64), 1..40),
        window in 1..6u64,
        wider in 0..10u64,
        exclude in any::<bool>(),
    ) {
        let failures = if exclude { Failures::Exclude } else { Failures::Infinite };
        let objective = objective(window, window + wider, failures);
        let slots: Vec<Slot> = seconds.iter().map(|(answers, failed)| slot(answers, *failed)).collect();
        let windows = Windows::new(&slots, objective);
        for second in 0..slots.len() {
            let expected = by_definition(&seconds, second + 1, objective);
            let found = windows.of_second(second);
            prop_assert_eq!(found.is_some(), expected.is_some(), "second {}", second);
            let (Some(found), Some((start, quantile_s))) = (found, expected) else { continue };
            prop_assert_eq!(found.start_s, start as f64, "second {}", second);
            let same = found.quantile_s == quantile_s || (found.quantile_s / quantile_s - 1.0).abs() < 0.002;
            prop_assert!(same, "second {}: {} and not {}", second, found.quantile_s, quantile_s);
        }
    }

    #[test]
    fn a_bucket_holds_latencies_within_a_thousandth(micros in 0..u32::MAX) {
        let highest = highest(bucket(Duration::from_micros(u64::from(micros))));
        prop_assert!(u64::from(micros) <= highest);
        prop_assert!(highest as f64 <= f64::from(micros) * 1.001);
        prop_assert_eq!(bucket(Duration::from_micros(highest)), bucket(Duration::from_micros(u64::from(micros))));
    }
}

#[test]
fn the_longest_latency_has_a_bucket() {
    assert!(bucket(Duration::MAX) < BUCKETS);
    assert_eq!(
        bucket(Duration::from_micros(2_047)) + 1,
        bucket(Duration::from_micros(2_048))
    );
}

#[test]
fn ten_requests_must_lie_above_a_quantile() {
    assert_eq!(
        [0.5, 0.9, 0.95, 0.99, 0.999, 1.0].map(enough),
        [20, 100, 200, 1_000, 10_000, 1]
    );
}

#[test]
fn a_window_with_too_few_requests_reaches_further_back_or_is_unknown() {
    let slots: Vec<Slot> = (0..20).map(|_| slot(&[100; 20], 0)).collect();
    let start = |max_window_s| {
        let windows = Windows::new(&slots, objective(2, max_window_s, Failures::Infinite));
        windows.of_second(19).map(|window| window.start_s)
    };
    assert_eq!(start(10), Some(15.0), "a hundred requests are five seconds");
    assert_eq!(start(4), None);
}

#[test]
fn what_is_too_early_for_a_window_is_told_by_the_first_one() {
    let mut slots: Vec<Slot> = (0..8).map(|_| slot(&[100; 20], 0)).collect();
    slots.extend((0..8).map(|_| slot(&[100], 0)));
    let windows = Windows::new(&slots, objective(2, 6, Failures::Infinite));
    let told: Vec<usize> = (0..16)
        .filter(|second| windows.is_told_later(*second))
        .collect();
    assert_eq!(told, (0..9).collect::<Vec<_>>());
    assert_eq!(windows.misses(0), None);
}

#[test]
fn a_breach_begins_with_its_window_but_not_before_what_is_asked_for() {
    let answers = |second| if 10 <= second { 500 } else { 100 };
    let slots: Vec<Slot> = (0..20)
        .map(|second| slot(&[answers(second); 50], 0))
        .collect();
    let windows = Windows::new(&slots, objective(4, 4, Failures::Infinite));
    assert_eq!(windows.first_breach(0.0..20.0), Some((7.0, 10)));
    assert_eq!(windows.first_breach(9.0..20.0), Some((9.0, 10)));
    assert_eq!(windows.first_breach(0.0..10.0), None);
}

#[test]
fn what_cannot_be_told_from_the_target_meets_it() {
    let miss = |millis| {
        let slots = [slot(&[millis; 100], 0)];
        Windows::new(&slots, objective(1, 1, Failures::Infinite)).misses(0)
    };
    assert_eq!(
        [299, 300, 301].map(miss),
        [Some(false), Some(false), Some(true)]
    );
}
