//! What is kept and for how long, and what it costs in memory and time.

use super::*;
use crate::model::selector::Selector;
use taffrail_loadtest::clock::thread_cpu;

#[test]
fn the_oldest_syncs_go_first_and_what_follows_from_them_stays() {
    let mut book = book();
    // At first twice the target, so that there is something to remember for five minutes.
    sync(&mut book, 15.0, 500, 4, 8);
    for n in 1..400 {
        let (replicas, desired) = if n < 21 {
            (8, 8)
        } else if n == 21 {
            (8, 4)
        } else {
            (4, 4)
        };
        let latency = if n < 22 { 125 } else { 250 };
        sync(
            &mut book,
            15.0 + 15.0 * f64::from(n),
            latency,
            replicas,
            desired,
        );
    }
    let known = newest(&book);
    assert_eq!(known.syncs, ring::SYNCS_MAX);
    assert_eq!(known.oldest, at(15.0 + 15.0 * 160.0));
    assert_eq!(known.parted, 0);
    let change = known.facts.last_change.unwrap();
    assert_eq!(
        (change.spec_replicas, change.desired_replicas),
        (8, 4),
        "it left the ring long ago"
    );
    assert_eq!(known.facts.history.len(), 40);
    assert_eq!(book.take_counts().decisions[0], 400);
}

#[test]
fn the_limits_hold_and_the_largest_history_pays() {
    // The HPAs themselves take some 5,000.
    const BYTES_MAX: usize = 12_000;
    let mut book = Book::new(Limits {
        autoscalers: 3,
        per_namespace: 2,
        bytes: BYTES_MAX,
    });
    let mut apply = |namespace: &str, name: &str, spec: &Value| {
        let object = object(spec, status(2, 2, Some("250")));
        book.apply(at(0.0), &Id::new(namespace, name), object, None);
    };
    let mut large = spec(false);
    let selector = large.pointer_mut("/metrics/0/external/metric/selector");
    *selector.unwrap() = json!({"matchLabels": {"service": "x".repeat(book::WANTED_BYTES_MAX)}});
    // One of a namespace's own too many leaves room for another namespace; each counts once, however often it is told.
    for (namespace, name, spec) in [
        ("shop", "a", &spec(false)),
        ("shop", "b", &spec(false)),
        ("shop", "c", &spec(false)),
        ("shop", "c", &spec(false)),
        ("till", "large", &large),
        ("till", "a", &spec(false)),
        ("till", "b", &spec(false)),
    ] {
        apply(namespace, name, spec);
    }
    assert_eq!(book.len(), 3);
    let refused = book.explain(&Id::new("shop", "c"), None);
    assert_eq!(refused.unwrap_err(), NotKnown::NoRoom);
    let small = Id::new("shop", "a");
    book.read(&small, read(1.0, Ok(250)), pods(2));
    book.tick(at(10.0));
    for n in 0..100 {
        let seconds = 15.0 * f64::from(n);
        book.read(&Id::new("shop", "b"), read(seconds, Ok(250)), pods(2));
        book.tick(at(seconds + 6.0));
        assert!(book.bytes() <= BYTES_MAX);
    }
    assert!(book.explain(&small, None).is_ok());
    let counts = book.take_counts();
    let refused = [
        counts.refused_autoscalers,
        counts.refused_of_namespace,
        counts.refused_too_large,
    ];
    assert_eq!(refused, [1, 1, 1]);
    assert!(0 < counts.forgotten_syncs);
    assert_eq!(book.syncs() as u64 + counts.forgotten_syncs, 101);
    // One that grows too large is watched no longer, and takes nothing any more.
    let all = ["a", "b"].map(|name| Id::new("shop", name));
    for id in all.iter().chain([&Id::new("till", "a")]) {
        let object = object(&large, status(2, 2, Some("250")));
        book.apply(at(2_000.0), id, object, None);
    }
    assert_eq!((book.len(), book.bytes()), (0, 0));
}

/// An hour of an HPA with a latency that changes each sync and CPU, of `replicas` pods that stay.
fn hour(replicas: usize) -> Book {
    let mut book = Book::new(Limits::default());
    let mut spec = spec(true);
    spec["maxReplicas"] = 1_000.into();
    let selector = Selector::parse("app=users").unwrap();
    book.apply(at(0.0), &users(), object(&spec, Status::default()), None);
    book.select(&users(), Arc::new(selector));
    for n in 1..=240_i32 {
        let seconds = 15.0 * f64::from(n);
        let latency = 240 + i64::from(n % 20);
        book.read(&users(), read(seconds, Ok(latency)), pods(replicas));
        let count = i32::try_from(replicas).unwrap();
        let metrics = json!([
            {"resource": {"current": {"averageUtilization": 65 + n % 5, "averageValue": "65m"}}},
            {"external": {"current": {"value": latency.to_string()}}},
        ]);
        let condition = |kind: &str, reason: &str| {
            let message = "a sentence as long as those that the controller writes into its conditions, more or less";
            json!({"type": kind, "status": "True", "reason": reason, "message": message})
        };
        let status = Status::of(&json!({
            "currentReplicas": count, "desiredReplicas": count, "currentMetrics": metrics,
            "conditions": [
                condition("AbleToScale", "ReadyForNewScale"), condition("ScalingActive", "ValidMetricFound"),
                condition("ScalingLimited", "DesiredWithinRange"),
            ],
        }));
        book.apply(
            at(seconds + 0.1),
            &users(),
            object(&spec, status),
            pods(replicas),
        );
    }
    book
}

#[test]
fn the_memory_of_an_hour_is_as_documented() {
    for (replicas, bytes_max) in [(3, 80_000), (100, 110_000)] {
        let book = hour(replicas);
        let known = newest(&book);
        assert_eq!(
            (known.syncs, known.parted),
            (240, 0),
            "{:?}",
            known.facts.real
        );
        println!("{replicas} pods: {} bytes", book.bytes());
        assert!(
            book.bytes() < bytes_max,
            "{replicas} pods: {} bytes",
            book.bytes()
        );
    }
}

#[test]
fn an_hour_is_decided_again_in_little_time_and_a_sync_taken_in_in_less() {
    // CPU of this thread, and the best of three: a machine that is busy with other things is no finding.
    let runs: Vec<_> = (0..3)
        .map(|_| {
            let began = thread_cpu();
            let book = hour(20);
            let taken_in = (thread_cpu() - began) / 240;
            let began = thread_cpu();
            let known = newest(&book);
            assert_eq!(known.facts.history.len(), 40);
            let decided = thread_cpu() - began;
            let began = thread_cpu();
            let explanation = crate::story::Explanation::new(&known.facts);
            assert!(!explanation.headline.is_empty());
            let told = thread_cpu() - began;
            println!("a sync {taken_in:?}, an hour {decided:?}, in words {told:?}");
            (taken_in, decided)
        })
        .collect();
    // Each figure's own best, which need not be of the same run.
    let taken_in = runs.iter().map(|(taken_in, _)| *taken_in).min().unwrap();
    let decided = runs.iter().map(|(_, decided)| *decided).min().unwrap();
    assert!(taken_in < Duration::from_millis(20), "{taken_in:?}");
    assert!(decided < Duration::from_millis(200), "{decided:?}");
}
