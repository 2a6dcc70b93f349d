//! Each check of how soon something happened: runs that pass, that fail, and of which it cannot be told.

use serde_json::{Value, json};

use crate::judge::Outcome::{self, Fail, Inconclusive, Pass, Skipped};
use crate::judge::fixture::Fixture;
use crate::recording::{Backend, Gap};

/// Judges the check once for each limit: how it ends, whether only just, and what was found.
fn check(
    run: &Fixture,
    assertion: impl Fn(&str) -> Value,
    cases: &[(&str, Outcome, bool, Option<f64>)],
) {
    for (limit, outcome, marginal, value) in cases {
        let finding = run.finding(assertion(limit));
        let found = (finding.outcome, finding.marginal, finding.value);
        assert_eq!(
            found,
            (*outcome, *marginal, *value),
            "limit {limit}: {}",
            finding.sentence
        );
    }
}

fn high() -> Fixture {
    Fixture::new(300)
        .stage("base", 0.0, 10.0)
        .stage("high", 10.0, 200.0)
        .stage("idle", 200.0, 300.0)
}

#[test]
fn a_metric_tells_within_its_limit_or_not() {
    let assertion =
        |max: &str| json!({"time_to_metric_breach": {"from": "stage(high).start", "max": max}});
    let told = high().metric(&[(0.0, Some(100.0)), (20.0, Some(320.0)), (40.0, Some(400.0))]);
    check(
        &told,
        assertion,
        &[
            ("60s", Pass, false, Some(30.0)),
            ("29s", Pass, true, Some(30.0)),
            ("27s", Fail, false, Some(30.0)),
        ],
    );
    let tight = json!({"time_to_metric_breach": {"from": "stage(high).start", "tolerance": 0.05, "max": "20s"}});
    assert_eq!(
        told.finding(tight).value,
        Some(10.0),
        "320 is 5 % above 300"
    );
    check(
        &high().metric(&[(0.0, Some(100.0))]),
        assertion,
        &[("60s", Fail, false, None)],
    );
    check(&high(), assertion, &[("60s", Inconclusive, false, None)]);
}

#[test]
fn a_metric_that_was_not_read_told_between_two_reads() {
    let assertion = |max: &str| json!({"time_to_metric_breach": {"max": max}});
    let run = high().metric(&[(0.0, Some(100.0)), (20.0, None), (40.0, Some(400.0))]);
    check(
        &run,
        assertion,
        &[
            ("40s", Pass, true, Some(40.0)),
            ("30s", Inconclusive, false, None),
            ("10s", Fail, false, Some(40.0)),
        ],
    );
}

#[test]
fn an_hpa_decides_within_its_limit_or_not() {
    let assertion = |max: &str| json!({"decision_latency": {"max": max}});
    let run = high()
        .metric(&[(0.0, Some(100.0)), (30.0, Some(400.0))])
        .desired(&[(-60.0, 2), (41.0, 4)]);
    check(
        &run,
        assertion,
        &[
            ("15s", Pass, false, Some(11.0)),
            ("10s", Pass, true, Some(11.0)),
            ("5s", Fail, false, Some(11.0)),
        ],
    );
    let idle = high().metric(&[(0.0, Some(100.0))]);
    check(&idle, assertion, &[("15s", Skipped, false, None)]);
    let early = high()
        .metric(&[(0.0, Some(100.0)), (30.0, Some(400.0))])
        .desired(&[(-60.0, 2), (29.0, 4)]);
    check(&early, assertion, &[("15s", Pass, false, Some(0.0))]);
    let lost = high().metric(&[(0.0, Some(100.0)), (20.0, None), (60.0, Some(400.0))]);
    check(&lost, assertion, &[("15s", Inconclusive, false, None)]);
}

#[test]
fn a_first_scale_out_comes_within_its_limit_or_not() {
    let assertion =
        |max: &str| json!({"time_to_first_scale_out": {"from": "stage(high).start", "max": max}});
    let run = || high().desired(&[(-60.0, 2), (51.0, 4), (80.0, 6)]);
    check(
        &run(),
        assertion,
        &[
            ("60s", Pass, false, Some(41.0)),
            ("41s", Pass, false, Some(41.0)),
            ("40s", Fail, false, Some(41.0)),
        ],
    );
    let finding = run().finding(assertion("60s"));
    assert_eq!(
        finding.sentence,
        "the HPA wanted more than 2 pods 41 s after stage(high).start at 10 s; the limit is 60 s"
    );
    assert_eq!((finding.from_s, finding.to_s), (Some(10.0), Some(51.0)));
    assert_eq!(
        (finding.name.as_str(), finding.unit.as_str()),
        ("time_to_first_scale_out[high]", "s")
    );
    check(&high(), assertion, &[("60s", Fail, false, None)]);
    let gap = run().unseen(30.0, 60.0);
    check(
        &gap,
        assertion,
        &[
            ("50s", Pass, false, Some(50.0)),
            ("40s", Inconclusive, false, None),
            ("15s", Fail, false, Some(50.0)),
        ],
    );
}

#[test]
fn a_run_that_was_told_to_stop_did_not_fail_to_scale() {
    let stopped = high().with(|recording| {
        recording.about.interrupted = true;
        let load = &mut recording.services.get_mut("users").unwrap().load;
        load.interrupted = true;
        load.slots.truncate(40);
    });
    let assertion =
        |max: &str| json!({"time_to_first_scale_out": {"from": "stage(high).start", "max": max}});
    check(
        &stopped,
        assertion,
        &[
            ("60s", Inconclusive, false, None),
            ("20s", Fail, false, None),
        ],
    );
}

#[test]
fn pods_of_a_scale_out_are_ready_within_their_limit_or_not() {
    let run = high().desired(&[(-60.0, 2), (20.0, 4), (50.0, 8)]).ready(&[
        (-60.0, 2),
        (40.0, 4),
        (90.0, 8),
    ]);
    let worst = |max: &str| json!({"time_to_ready": {"max": max}});
    check(
        &run,
        worst,
        &[
            ("40s", Pass, false, Some(40.0)),
            ("30s", Fail, false, Some(40.0)),
        ],
    );
    let median = |max: &str| json!({"time_to_ready": {"stat": "med", "max": max}});
    check(
        &run,
        median,
        &[
            ("30s", Pass, false, Some(20.0)),
            ("10s", Fail, false, Some(20.0)),
        ],
    );
    check(&high(), worst, &[("30s", Skipped, false, None)]);
    let never = high().desired(&[(-60.0, 2), (20.0, 4)]);
    check(
        &never,
        worst,
        &[
            ("30s", Fail, false, None),
            ("300s", Inconclusive, false, None),
        ],
    );
    let taken_back = high().desired(&[(-60.0, 2), (20.0, 4), (35.0, 2)]);
    check(&taken_back, worst, &[("30s", Inconclusive, false, None)]);
    let unseen = high()
        .desired(&[(-60.0, 2), (20.0, 4)])
        .ready(&[(-60.0, 2), (40.0, 4)])
        .unseen(30.0, 60.0);
    check(
        &unseen,
        worst,
        &[
            ("20s", Inconclusive, false, None),
            ("40s", Pass, false, Some(40.0)),
        ],
    );
}

#[test]
fn a_new_pod_has_traffic_within_its_limit_or_not() {
    let with_backend = |first_ok_s: Option<f64>, gone_s: Option<f64>| {
        high().with(move |recording| {
            let service = recording.services.get_mut("users").unwrap();
            let ready = |from_s, to_s| Backend {
                ready: vec![Gap {
                    from_s,
                    to_s,
                    ..Gap::default()
                }],
                ..Backend::default()
            };
            service
                .backends
                .insert("10.0.0.1:80".into(), ready(-60.0, None));
            service
                .backends
                .insert("10.0.0.2:80".into(), ready(40.0, gone_s));
            let counts = service
                .load
                .endpoints
                .entry("10.0.0.2:80".parse().unwrap())
                .or_default();
            counts.first_ok_s = first_ok_s;
        })
    };
    let assertion = |max: &str| json!({"time_to_traffic": {"max": max}});
    let run = with_backend(Some(43.0), None);
    check(
        &run,
        assertion,
        &[
            ("5s", Pass, false, Some(3.0)),
            ("2s", Fail, false, Some(3.0)),
        ],
    );
    let sentence = run.finding(assertion("5s")).sentence;
    assert!(
        sentence.contains("10.0.0.2:80, gave its first answer 3 s after it was ready at 40 s"),
        "{sentence}"
    );
    check(
        &with_backend(None, None),
        assertion,
        &[("5s", Fail, false, None)],
    );
    check(
        &with_backend(None, Some(42.0)),
        assertion,
        &[("5s", Inconclusive, false, None)],
    );
    check(&high(), assertion, &[("5s", Skipped, false, None)]);
}

#[test]
fn so_many_pods_are_ready_within_the_limit_or_not() {
    let assertion =
        |max: &str| json!({"time_to_replicas": {"n": 4, "from": "stage(high).start", "max": max}});
    let run = || high().ready(&[(-60.0, 2), (40.0, 3), (70.0, 4)]);
    check(
        &run(),
        assertion,
        &[
            ("60s", Pass, false, Some(60.0)),
            ("59s", Fail, false, Some(60.0)),
        ],
    );
    check(
        &run().unseen(60.0, 90.0),
        assertion,
        &[("70s", Inconclusive, false, None)],
    );
    check(&high(), assertion, &[("60s", Fail, false, None)]);
}

#[test]
fn a_scale_in_counts_when_it_is_for_good() {
    let assertion =
        |max: &str| json!({"time_to_scale_in": {"to": 2, "from": "stage(idle).start", "max": max}});
    let run = || high().desired(&[(-60.0, 2), (20.0, 6), (210.0, 2), (230.0, 3), (250.0, 2)]);
    check(
        &run(),
        assertion,
        &[
            ("50s", Pass, false, Some(50.0)),
            ("49s", Fail, false, Some(50.0)),
        ],
    );
    let until = json!({"time_to_scale_in": {"to": 3, "from": "stage(idle).start", "until": "end", "max": "10s"}});
    assert_eq!(run().finding(until).value, Some(10.0));
    check(
        &run().unseen(240.0, 280.0),
        assertion,
        &[
            ("80s", Pass, false, Some(80.0)),
            ("60s", Inconclusive, false, None),
            ("30s", Fail, false, Some(80.0)),
        ],
    );
    check(
        &high().desired(&[(-60.0, 6)]),
        assertion,
        &[("60s", Fail, false, None)],
    );
}

#[test]
fn a_scale_in_before_its_time_is_seen() {
    let assertion =
        |min: &str| json!({"no_scale_in_before": {"from": "stage(high).start", "min": min}});
    let run = || high().desired(&[(-60.0, 2), (20.0, 6), (110.0, 4)]);
    check(
        &run(),
        assertion,
        &[
            ("100s", Pass, false, Some(100.0)),
            ("101s", Fail, false, Some(100.0)),
        ],
    );
    check(
        &high(),
        assertion,
        &[
            ("100s", Pass, false, None),
            ("400s", Inconclusive, false, None),
        ],
    );
    check(
        &run().unseen(40.0, 60.0),
        assertion,
        &[
            ("90s", Inconclusive, false, None),
            ("120s", Fail, false, Some(100.0)),
        ],
    );
}

#[test]
fn moments_are_found_or_said_to_be_missing() {
    let run = high()
        .metric(&[(0.0, Some(100.0)), (30.0, Some(400.0))])
        .desired(&[(-60.0, 2), (41.0, 4), (150.0, 6)])
        .event("rollout", 100.0, Some(120.0))
        .load(60, 100, 100, 500);
    let found = |from: &str| {
        run.finding(json!({"time_to_replicas": {"n": 1, "from": from, "max": "1s"}}))
            .from_s
    };
    let moments = [
        ("start", 0.0),
        ("stage(high).end", 200.0),
        ("metric_breach", 30.0),
        ("first_scale_out", 41.0),
        ("last_scale_event", 150.0),
        ("event(rollout)", 100.0),
        ("event(rollout).end", 120.0),
        // The window that ends at 61 s is the first with more than a twentieth of slow answers, and ten seconds long.
        ("first_breach", 51.0),
    ];
    for (from, t_s) in moments {
        assert_eq!(found(from), Some(t_s), "{from}");
    }
    let quiet = |from: &str| {
        high()
            .finding(json!({"time_to_replicas": {"n": 1, "from": from, "max": "1s"}}))
            .outcome
    };
    for from in ["first_breach", "first_scale_out", "last_scale_event"] {
        assert_eq!(quiet(from), Skipped, "{from}");
    }
    for from in ["stage(gone).start", "event(gone)", "metric_breach"] {
        assert_eq!(quiet(from), Inconclusive, "{from}");
    }
}
