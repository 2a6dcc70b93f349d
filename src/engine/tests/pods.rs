//! Pods one by one: which of them are in a snapshot, and what is said of each.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::engine::snapshot::Pods;
use crate::model::pod::Pod;

use super::*;

fn pod(name: &str, app: &str) -> Pod {
    Pod {
        name: name.into(),
        labels: Arc::new(BTreeMap::from([("app".to_owned(), app.to_owned())])),
    }
}

/// Makes target `uid` known as a pod.
fn begin(engine: &mut Engine, uid: &str, pod: &Pod, phase: Phase) {
    let target = TargetId::new(&users(), uid);
    engine.expect(&target, phase, at(0.0));
    engine.identify(&target, pod.clone());
}

fn rates(snapshot: &Snapshot, pods: Pods<'_>) -> Result<Vec<(String, f64)>, Refusal> {
    let items = snapshot.read_pods("shop", "request_rate", pods, &Selector::default())?;
    Ok(items
        .into_iter()
        .map(|of| (of.name.to_string(), of.item.value.round()))
        .collect())
}

/// Pods `web-1` and `web-2` with two and four requests a second, and a target that is no pod.
fn two_pods() -> Engine {
    let mut engine = mk_engine();
    let ready = Phase::Ready { since: at(0.0) };
    begin(&mut engine, "u1", &pod("web-1", "web"), ready);
    begin(&mut engine, "u2", &pod("web-2", "canary"), ready);
    run_target(&mut engine, "u1", 0.0, 60.0, [1e3; 4], [10.0; 4]);
    run_target(&mut engine, "u2", 0.0, 60.0, [1e3; 4], [20.0; 4]);
    run_target(&mut engine, "static", 0.0, 60.0, [1e3; 4], [5.0; 4]);
    engine
}

#[test]
fn each_pod_has_the_share_that_it_answers_of_its_service() {
    let snapshot = two_pods().evaluate(at(60.0));
    let all = Selector::default();
    let of_all = rates(&snapshot, Pods::Matching(&all)).unwrap();
    assert_eq!(
        of_all,
        [("web-1".to_owned(), 2.0), ("web-2".to_owned(), 4.0)]
    );
    check(&snapshot, "request_rate", 7.0);
    let canary = selector(&[("app", "canary")]);
    let of_canary = rates(&snapshot, Pods::Matching(&canary)).unwrap();
    assert_eq!(of_canary, [("web-2".to_owned(), 4.0)]);
    assert_eq!(rates(&snapshot, Pods::Named("web-1")).unwrap(), of_all[..1]);
    assert!(rates(&snapshot, Pods::Named("static")).is_err());
}

#[test]
fn seconds_spent_are_a_pods_concurrency_and_its_mean_latency() {
    let snapshot = two_pods().evaluate(at(60.0));
    let read = |metric: &str, labels: &[(&str, &str)]| {
        let pods = Pods::Named("web-2");
        let items = snapshot.read_pods("shop", metric, pods, &selector(labels));
        items.map(|items| (items[0].item.value * 1e6).round() / 1e6)
    };
    assert_eq!(read("request_concurrency", &[]), Ok(0.8));
    assert_eq!(
        read("request_latency_ms", &[("quantile", "mean")]),
        Ok(200.0)
    );
    assert!(matches!(
        read("request_latency_ms", &[]),
        Err(Refusal::Ambiguous(_))
    ));
    assert!(matches!(
        read("slow_request_ratio", &[]),
        Err(Refusal::NotFound(_))
    ));
}

#[test]
fn a_pod_counts_from_its_second_read_until_it_is_silent_or_gone() {
    let mut engine = two_pods();
    begin(&mut engine, "u3", &pod("web-3", "web"), Phase::Starting);
    run_target(&mut engine, "u3", 0.0, 60.0, [1e3; 4], [10.0; 4]);
    let names = |engine: &mut Engine, now: f64| {
        let snapshot = engine.evaluate(at(now));
        let all = Selector::default();
        let rates = rates(&snapshot, Pods::Matching(&all)).unwrap_or_default();
        rates.into_iter().map(|(name, _)| name).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&mut engine, 60.0),
        ["web-1", "web-2"],
        "web-3 was never ready"
    );
    let third = TargetId::new(&users(), "u3");
    engine.expect(&third, Phase::Ready { since: at(60.0) }, at(60.0));
    run_target(&mut engine, "u3", 65.0, 75.0, [1e3; 4], [10.0; 4]);
    run_target(&mut engine, "u2", 65.0, 75.0, [2e3; 4], [20.0; 4]);
    assert_eq!(
        names(&mut engine, 75.0),
        ["web-2", "web-3"],
        "web-1 is silent"
    );
    engine.forget(&TargetId::new(&users(), "u2"));
    assert_eq!(names(&mut engine, 75.0), ["web-3"]);
    assert!(names(&mut engine, 200.0).is_empty());
}

#[test]
fn labels_may_change_and_a_new_beginning_keeps_them() {
    let mut engine = two_pods();
    let target = TargetId::new(&users(), "u1");
    engine.identify(&target, pod("web-1", "blue"));
    engine.begin_anew(&target, at(61.0));
    run_target(&mut engine, "u1", 65.0, 75.0, [1e3; 4], [10.0; 4]);
    let snapshot = engine.evaluate(at(75.0));
    let of = |app: &str| rates(&snapshot, Pods::Matching(&selector(&[("app", app)])));
    assert_eq!(of("blue").unwrap().len(), 1);
    assert!(of("web").is_err());
}
