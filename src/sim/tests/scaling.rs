//! The HPA in the loop: what a constant load, a step, a stall, an adapter that is gone and the wrong metric come to.

use super::*;
use taffrail_loadtest::recording::EventKind;
use taffrail_loadtest::scenario::{Action, Event};

pub(super) fn event(at_s: u64, until_s: Option<u64>, name: &str, action: Action) -> Event {
    Event {
        at: Span::from_secs(at_s),
        until: until_s.map(Span::from_secs),
        name: name.to_owned(),
        action,
    }
}

#[test]
fn the_same_plan_gives_the_same_recording_and_another_seed_another() {
    let stages = [("low", 50.0, 60), ("rise", 300.0, 60)];
    let json = |seed| {
        let scenario = Scenario {
            seed,
            ..scenario(app(), &stages)
        };
        serde_json::to_string(&run(&scaled(scenario))).unwrap()
    };
    assert!(json(1) == json(1), "the same plan gave other bytes");
    assert!(json(1) != json(2), "the seed made no difference");
}

#[test]
fn a_load_that_fits_moves_nothing() {
    let recording = run(&scaled(scenario(app(), &[("only", 60.0, 600)])));
    let users = users(&recording);
    assert_eq!(users.load.counts.ok, users.load.counts.offered);
    assert_eq!(users.load.counts.offered, 36_000);
    for replicas in [
        &users.replicas.desired,
        &users.replicas.spec,
        &users.replicas.ready,
        &users.replicas.endpoints,
    ] {
        assert_eq!(
            (replicas.min(0.0..600.0), replicas.max(0.0..600.0)),
            (Some(2), Some(2))
        );
    }
    let latency = &users.metrics[1];
    assert_eq!(
        (
            latency.name.as_str(),
            latency.target,
            latency.selector.as_str()
        ),
        ("request_latency_ms", 250.0, "quantile=0.95,service=users")
    );
    let seen: Vec<_> = latency
        .reads
        .iter()
        .filter(|read| 60.0 <= read.t_s)
        .collect();
    assert!(
        260 <= seen.iter().filter(|read| read.value.is_some()).count(),
        "{}",
        seen.len()
    );
    // The buckets are wide there, so the adapter's quantile is somewhere within 100 and 250 ms, as is the true one.
    assert!(
        seen.iter()
            .all(|read| read.value.is_some_and(|ms| (80.0..250.0).contains(&ms)))
    );
    assert!(
        seen.iter()
            .all(|read| read.age_s.is_some_and(|age| (0.0..8.0).contains(&age)))
    );
}

#[test]
fn a_step_scales_out_recovers_and_scales_in() {
    let stages = [
        ("base", 60.0, 120),
        ("step", 400.0, 0),
        ("high", 400.0, 300),
        ("down", 60.0, 0),
        ("low", 60.0, 450),
    ];
    let mut hpa = hpa("users", vec![cpu_metric(), latency_metric()]);
    if let Some(behavior) = &mut hpa.spec.behavior {
        behavior.scale_down.stabilization = Duration::from_secs(300);
    }
    let plan = super::plan(
        scenario(app(), &stages),
        vec![source("users", 0)],
        Some(hpa),
    );
    let recording = run(&plan.unwrap());
    let users = users(&recording);
    let first = users.replicas.desired.changes(0.0..870.0).next().unwrap();
    assert!(
        first.is_up() && (120.0..165.0).contains(&first.t_s),
        "{first:?}"
    );
    let high = users.replicas.ready.at(419.0).unwrap();
    assert!(
        (5..=10).contains(&high),
        "{high} replicas for 400/s of 100/s each"
    );
    assert!(
        p95_ms(users, 360..420) < 250.0,
        "{} ms",
        p95_ms(users, 360..420)
    );
    assert!(1_000.0 < p95_ms(users, 130..140), "the step hurt");
    let late = users.replicas.ready.at(869.0).unwrap();
    assert!(late <= 5 && late < high, "{late} of {high} were left");
    assert_eq!(
        users.replicas.desired.min(120.0..420.0),
        Some(2),
        "nothing goes while the load is high"
    );
    assert_eq!(
        users
            .load
            .counts
            .errors_of(taffrail_loadtest::measured::ErrorClass::Broken),
        0,
        "pods drain"
    );
    let names: Vec<_> = recording
        .stages
        .iter()
        .map(|stage| (stage.name.as_str(), stage.start_s, stage.end_s))
        .collect();
    assert_eq!(names[2], ("high", 120.0, 420.0));
    assert!(
        recording
            .events
            .iter()
            .any(|event| event.kind == EventKind::Scaled && event.text.starts_with("2 to "))
    );
    // Every pod that served has its stretch, and the shares of those that were there all along are alike.
    assert_eq!(users.backends.len(), users.load.endpoints.len());
    assert!(
        users
            .backends
            .values()
            .all(|backend| backend.ready.len() == 1 && backend.pod.is_some())
    );
}

#[test]
fn a_stall_shows_in_latency_and_in_nothing_that_cpu_could_tell() {
    let stages = [("only", 60.0, 400)];
    let slow = || {
        let mut scenario = scenario(app(), &stages);
        let change = |slowdown| Action::Change {
            service: "users".to_owned(),
            slowdown,
            pods: None,
        };
        scenario.events.push(event(120, None, "slow", change(6.0)));
        scenario.events.push(event(240, None, "well", change(1.0)));
        scenario
    };
    let recording = run(&scaled(slow()));
    let with_latency = users(&recording).replicas.desired.max(0.0..400.0).unwrap();
    assert!(3 < with_latency, "{with_latency}");
    assert_eq!(
        recording
            .events
            .iter()
            .filter(|event| event.kind == EventKind::Mark)
            .count(),
        2
    );

    let cpu_only = hpa("users", vec![cpu_metric()]);
    let plan = super::plan(slow(), vec![source("users", 0)], Some(cpu_only)).unwrap();
    let recording = run(&plan);
    let users = users(&recording);
    assert_eq!(
        users.replicas.desired.max(0.0..400.0),
        Some(2),
        "pods that wait burn nothing"
    );
    assert!(1_000.0 < p95_ms(users, 150..240));
    let cpu: Vec<f64> = users.metrics[0]
        .reads
        .iter()
        .filter(|read| 40.0 < read.t_s)
        .filter_map(|read| read.value)
        .collect();
    // 30 requests a second and pod, a millisecond of CPU each, of half a core.
    assert!(
        cpu.iter().all(|percent| (2.0..15.0).contains(percent)),
        "{cpu:?}"
    );
}

#[test]
fn replicas_stay_while_the_adapter_is_gone() {
    let mut scenario = scenario(
        app(),
        &[("high", 350.0, 240), ("low", 20.0, 0), ("idle", 20.0, 300)],
    );
    scenario
        .events
        .push(event(230, Some(400), "down", Action::StopMetrics));
    let recording = run(&scaled(scenario));
    let users = users(&recording);
    let held = users.replicas.desired.at(229.0).unwrap();
    assert!(3 < held);
    assert_eq!(
        users.replicas.desired.min(230.0..400.0),
        Some(held),
        "{:?}",
        users.replicas.desired
    );
    let said = users
        .conditions
        .iter()
        .find(|condition| condition.reason == "FailedGetExternalMetric" && 230.0 < condition.t_s);
    assert_eq!(
        said.map(|condition| (condition.type_.as_str(), condition.status)),
        Some(("ScalingActive", Some(false)))
    );
    let missed = users.metrics[1]
        .reads
        .iter()
        .filter(|read| (235.0..400.0).contains(&read.t_s));
    assert!(
        missed.clone().count() > 80
            && missed
                .clone()
                .all(|read| read.value.is_none() && read.error.is_some())
    );
    assert_eq!(
        users.replicas.desired.at(539.0),
        Some(2),
        "it goes on when the adapter is back"
    );
}

#[test]
fn visits_are_counted_in_redis_and_scale_by_what_it_says() {
    let app = App {
        redis: true,
        ..app()
    };
    let mut scenario = scenario(app, &[("only", 60.0, 240)]);
    scenario
        .events
        .push(event(120, Some(180), "stop", Action::StopRedis));
    let rate = MetricSpec::External {
        metric: "request_rate".to_owned(),
        target: Target::AverageValue(25_000),
    };
    let mut by_rate = hpa("users", vec![rate]);
    by_rate.selectors = vec![Selector::parse("service=visits").unwrap()];
    let mut redis = source("visits", 0);
    redis.of = Of::Redis;
    redis.spec.objective = None;
    let plan = super::plan(scenario, vec![redis], Some(by_rate)).unwrap();
    let recording = run(&plan);
    let users = users(&recording);
    assert_eq!(
        users.load.counts.ok, users.load.counts.offered,
        "visits are answered without Redis"
    );
    // 60 a second, 25 for each replica.
    assert_eq!(users.replicas.desired.at(119.0), Some(3));
    let reads = &users.metrics[0].reads;
    let near = |t_s: f64| reads.iter().find(|read| t_s <= read.t_s).unwrap();
    assert!(
        (near(100.0).value.unwrap() - 20.0).abs() < 2.0,
        "{:?}",
        near(100.0)
    );
    assert_eq!(near(160.0).value, None);
    assert_eq!(users.replicas.desired.min(119.0..180.0), Some(3));
}

#[test]
fn an_hpa_on_cpu_settles_where_the_formula_says() {
    // 95 requests a second burn 20 ms each, which is 1.9 cores; a pod may use 0.7 of its half a core, so 5.4 are needed.
    let burns = App {
        cpu_share: 0.5,
        service_cv: 0.0,
        ..app()
    };
    let plan = super::plan(
        scenario(burns, &[("only", 95.0, 180)]),
        Vec::new(),
        Some(hpa("users", vec![cpu_metric()])),
    );
    let recording = run(&plan.unwrap());
    let desired = &users(&recording).replicas.desired;
    assert_eq!(
        (desired.at(179.0), desired.max(0.0..180.0)),
        (Some(6), Some(6))
    );
}

#[test]
fn an_hpa_on_pods_metrics_reads_them_one_by_one() {
    let per_pod = MetricSpec::Pods {
        metric: "request_rate".to_owned(),
        average_milli: 20_000,
    };
    let plan = super::plan(
        scenario(app(), &[("only", 100.0, 180)]),
        vec![source("users", 0)],
        Some(hpa("users", vec![per_pod])),
    );
    let recording = run(&plan.unwrap());
    assert_eq!(users(&recording).replicas.desired.at(179.0), Some(5));
}

#[test]
fn the_run_ends_when_its_watcher_says_so() {
    let plan = scaled(scenario(app(), &[("only", 60.0, 600)]));
    let recording = play(&plan, &mut |t_s| {
        if t_s < 100.0 {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    });
    let load = &users(&recording).load;
    assert!(recording.about.interrupted && load.interrupted);
    assert!(
        (5_900..7_000).contains(&load.counts.offered),
        "{:?}",
        load.counts
    );
    assert_eq!(load.counts.pending(), 0);
}
