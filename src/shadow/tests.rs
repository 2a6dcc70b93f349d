//! The shadow on made-up reads and statuses, on the recordings of real HPAs, and what it costs.

mod costs;
mod others;
mod recordings;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};

use super::*;
use crate::config::autoscaler;
use crate::hpa::{Phase, Pod, Readiness, ReadyStatus};
use crate::model::time::Timestamp;
use crate::story::facts::ScaleTarget;

const METRIC: &str = "request_latency_ms";
const SELECTOR: &str = "quantile=0.95,service=users";

fn at(seconds: f64) -> Timestamp {
    Timestamp::from_ms((seconds * 1000.0) as i64)
}

/// An HPA of 1 to 10 replicas on a latency of 250, beside CPU where that is wanted.
fn spec(with_cpu: bool) -> Value {
    let cpu = json!({"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}});
    let latency = json!({"type": "External", "external": {
        "metric": {"name": METRIC, "selector": {"matchLabels": {"service": "users", "quantile": "0.95"}}},
        "target": {"type": "Value", "value": "250"},
    }});
    let metrics = if with_cpu {
        vec![cpu, latency]
    } else {
        vec![latency]
    };
    json!({"maxReplicas": 10, "metrics": metrics})
}

fn wanted(spec: &Value) -> Wanted {
    let selectors = autoscaler::selectors(spec).unwrap();
    Wanted {
        target: ScaleTarget {
            kind: "Deployment".to_owned(),
            name: "users".to_owned(),
        },
        spec: autoscaler::from_value(spec).unwrap(),
        selectors: selectors.iter().map(ToString::to_string).collect(),
    }
}

fn object(spec: &Value, status: Status) -> Object {
    Object {
        uid: "one".into(),
        wanted: wanted(spec),
        status,
    }
}

/// A status after a sync that read `latency`.
fn status(current: i32, desired: i32, latency: Option<&str>) -> Status {
    let metrics = match latency {
        Some(value) => json!([{"type": "External", "external": {"current": {"value": value}}}]),
        None => json!([{"type": ""}]),
    };
    let active = if latency.is_some() {
        json!({"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"})
    } else {
        json!({"type": "ScalingActive", "status": "False", "reason": "FailedGetExternalMetric"})
    };
    Status::of(&json!({
        "currentReplicas": current, "desiredReplicas": desired, "currentMetrics": metrics,
        "conditions": [active],
    }))
}

fn read(seconds: f64, latency: Result<i64, &str>) -> Read {
    Read {
        at: at(seconds),
        namespace: "shop".into(),
        metric: METRIC,
        selector: SELECTOR.to_owned(),
        answer: match latency {
            Ok(ms) => Ok(Served {
                values_milli: [ms * 1000].into(),
                oldest: Some(at(seconds - 2.0)),
                state: Some("ok"),
            }),
            Err(message) => Err(message.into()),
        },
    }
}

/// So many pods that have been ready for an hour.
fn pods(count: usize) -> Option<Pods> {
    let pod = |n| {
        Arc::new(Pod {
            name: format!("users-5d8c7f-{n:05}"),
            phase: Phase::Running,
            deleted: false,
            started: Some(at(-3600.0)),
            readiness: Some(Readiness {
                status: ReadyStatus::True,
                since: at(-3590.0),
            }),
            requests: BTreeMap::new(),
            container_requests: BTreeMap::new(),
        })
    };
    Some((0..count).map(pod).collect())
}

fn users() -> Id {
    Id::new("shop", "users")
}

/// A book with one HPA that has not synced yet.
fn book() -> Book {
    let mut book = Book::new(Limits::default());
    let object = object(&spec(false), Status::default());
    book.apply(at(0.0), &users(), object, None);
    book
}

/// One sync: a read, and the status that comes of it where that is another than before.
fn sync(book: &mut Book, seconds: f64, latency: i64, replicas: usize, desired: i32) {
    let id = users();
    book.read(&id, read(seconds, Ok(latency)), pods(replicas));
    let current = i32::try_from(replicas).unwrap();
    let status = status(current, desired, Some(&latency.to_string()));
    let object = object(&spec(false), status);
    book.apply(at(seconds + 0.1), &id, object, pods(replicas));
    book.tick(at(seconds + 6.0));
}

fn newest(book: &Book) -> Known {
    book.explain(&users(), None).unwrap()
}

#[test]
fn a_sync_is_told_with_what_was_served_and_what_was_decided() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    sync(&mut book, 30.0, 500, 2, 4);
    let known = newest(&book);
    assert_eq!(known.agreement, Agreement::Agreed);
    assert_eq!((known.syncs, known.parted), (2, 0));
    let facts = &known.facts;
    assert_eq!(
        (
            facts.at,
            facts.spec_replicas,
            facts.outcome.desired_replicas
        ),
        (at(30.0), 2, 4)
    );
    let metric = &facts.metrics[0];
    assert_eq!(
        (metric.name.as_str(), metric.selector.as_str()),
        (METRIC, SELECTOR)
    );
    assert_eq!(
        (metric.value_milli(), metric.ratio),
        (Some(500_000), Some(2.0))
    );
    assert_eq!(
        (metric.state.as_deref(), metric.age),
        (Some("ok"), Some(Duration::from_secs(2)))
    );
    assert_eq!(facts.history.len(), 1);
    assert_eq!(facts.last_change, None);
    assert_eq!(facts.real.as_ref().unwrap().parted, None);
    // Decided again from what was told, it is the same.
    assert_eq!(facts.again().desired, 4);
}

#[test]
fn a_time_names_the_newest_sync_that_was_not_after_it() {
    let mut book = book();
    for (n, replicas, latency, desired) in [(1, 2, 500, 4), (2, 4, 250, 4), (3, 4, 500, 8)] {
        sync(&mut book, 15.0 * f64::from(n), latency, replicas, desired);
    }
    let of = |seconds: f64| {
        let known = book.explain(&users(), Some(at(seconds)))?;
        Ok(known.facts)
    };
    let facts = of(44.9).unwrap();
    assert_eq!((facts.at, facts.outcome.desired_replicas), (at(30.0), 4));
    assert_eq!(facts.last_change.unwrap().desired_replicas, 4);
    assert_eq!(of(45.0).unwrap().outcome.desired_replicas, 8);
    assert_eq!(of(1e6).unwrap().at, at(45.0));
    let before: Result<_, NotKnown> = of(14.9);
    let (since, oldest) = (at(0.0), at(15.0));
    assert_eq!(before.unwrap_err(), NotKnown::Before { since, oldest });
    let unknown = book.explain(&Id::new("shop", "other"), None);
    assert_eq!(unknown.unwrap_err(), NotKnown::Autoscaler);
    let fresh = self::book().explain(&users(), None);
    assert_eq!(fresh.unwrap_err(), NotKnown::Yet { since: at(0.0) });
}

#[test]
fn a_decision_that_nobody_can_account_for_is_said_and_counted() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    // Twice the target, and yet it adds one pod only.
    sync(&mut book, 30.0, 500, 2, 3);
    let known = newest(&book);
    assert_eq!((known.agreement, known.parted), (Agreement::Parted, 1));
    let said = known.facts.real.clone().unwrap().parted.unwrap();
    assert!(
        said.starts_with("the HPA decided 3, where this arithmetic gives 4: "),
        "{said}"
    );
    // What the HPA left is where the next sync begins.
    sync(&mut book, 45.0, 500, 3, 6);
    assert_eq!(newest(&book).agreement, Agreement::Agreed);
    assert_eq!(newest(&book).facts.history[1].desired_replicas, 3);
    let counts = book.take_counts();
    assert_eq!(counts.decisions, [2, 1, 0, 0, 0]);
    assert_eq!(counts.changes_by_others, 0);
    assert_eq!(book.take_counts(), Counts::default());
}

#[test]
fn a_target_that_cannot_be_scaled_is_the_reason_given_in_the_hpas_own_words() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    for (n, reason, agreement, said) in [
        (
            2,
            "FailedUpdateScale",
            Agreement::Parted,
            "the HPA decided 2, where this arithmetic gives 4: FailedUpdateScale: no",
        ),
        (
            3,
            "FailedGetScale",
            Agreement::Unclear,
            "the HPA decided nothing: FailedGetScale: no",
        ),
    ] {
        let seconds = 15.0 * f64::from(n);
        book.read(&users(), read(seconds, Ok(500)), pods(2));
        let conditions =
            json!([{"type": "AbleToScale", "status": "False", "reason": reason, "message": "no"}]);
        let failed = Status {
            conditions: Status::of(&json!({"conditions": conditions})).conditions,
            ..status(2, 2, Some("500"))
        };
        book.apply(
            at(seconds + 0.1),
            &users(),
            object(&spec(false), failed),
            pods(2),
        );
        let known = newest(&book);
        assert_eq!(known.agreement, agreement);
        let real = known.facts.real.unwrap();
        assert_eq!(
            (real.desired_replicas, real.parted.as_deref()),
            (2, Some(said))
        );
    }
    // Neither is held against what comes next.
    sync(&mut book, 60.0, 500, 2, 4);
    let known = newest(&book);
    assert_eq!(
        (known.agreement, known.changed_by_others),
        (Agreement::Agreed, None)
    );
}

#[test]
fn a_status_that_says_nothing_new_ends_a_sync_all_the_same() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    book.read(&users(), read(30.0, Ok(250)), pods(2));
    book.tick(at(34.9));
    assert_eq!(newest(&book).syncs, 1, "its status may yet come");
    book.tick(at(35.0));
    assert_eq!(newest(&book).syncs, 2);
    // The next read of the same metric ends it as well, where the controller looks more often.
    book.read(&users(), read(45.0, Ok(250)), pods(2));
    book.read(&users(), read(47.0, Ok(250)), pods(2));
    assert_eq!(newest(&book).facts.at, at(45.0));
}

#[test]
fn a_sync_whose_reads_went_to_another_replica_shows_in_its_status() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    let told = object(&spec(false), status(2, 4, Some("500")));
    book.apply(at(30.2), &users(), told.clone(), pods(2));
    let known = newest(&book);
    assert_eq!(
        (known.facts.at, known.agreement),
        (at(30.2), Agreement::Agreed)
    );
    assert_eq!(known.facts.metrics[0].value_milli(), Some(500_000));
    assert_eq!(
        known.facts.metrics[0].state, None,
        "that is not in a status"
    );
    assert_eq!(known.presumed, Vec::<String>::new());
    // The same object again, as after a watch that was begun anew, is no sync.
    book.apply(at(31.0), &users(), told, pods(2));
    assert_eq!(newest(&book).syncs, 2);
}

#[test]
fn a_metric_that_is_refused_holds_the_replicas_and_is_told_with_the_message() {
    let mut book = book();
    sync(&mut book, 15.0, 500, 2, 4);
    let id = users();
    book.read(&id, read(30.0, Err("none of its targets answers")), pods(4));
    let failed = Status {
        desired: 9,
        ..status(4, 9, None)
    };
    book.apply(at(30.1), &id, object(&spec(false), failed), pods(4));
    let known = newest(&book);
    assert_eq!(known.agreement, Agreement::Agreed);
    assert_eq!(known.facts.outcome.desired_replicas, 4);
    assert_eq!(
        known.facts.metrics[0].error.as_deref(),
        Some("none of its targets answers")
    );
}

#[test]
fn what_the_hpa_remembers_from_before_is_not_held_against_it() {
    let mut book = Book::new(Limits::default());
    let id = users();
    // It had synced before anybody looked, and holds its six for an hour as far as anybody knows.
    let before = object(&spec(false), status(6, 6, Some("250")));
    book.apply(at(0.0), &id, before, pods(6));
    for seconds in [15.0, 320.0] {
        book.read(&id, read(seconds, Ok(100)), pods(6));
        let held = object(&spec(false), status(6, 6, Some("100")));
        book.apply(at(seconds + 0.1), &id, held, pods(6));
        book.tick(at(seconds + 6.0));
    }
    let early = book.explain(&id, Some(at(16.0))).unwrap();
    assert_eq!(
        early.agreement,
        Agreement::Agreed,
        "the first sync stands for what was before"
    );
    assert_eq!(
        newest(&book).agreement,
        Agreement::Parted,
        "by now it should have let go"
    );

    let mut book = Book::new(Limits::default());
    book.apply(
        at(0.0),
        &id,
        object(&spec(false), status(6, 6, Some("250"))),
        pods(6),
    );
    sync(&mut book, 15.0, 500, 6, 8);
    let known = newest(&book);
    assert_eq!(known.agreement, Agreement::PartedEarly);
    assert!(
        known
            .facts
            .real
            .unwrap()
            .parted
            .unwrap()
            .contains("before the adapter watched it")
    );
}

#[test]
fn pods_that_nobody_saw_are_presumed_and_that_is_said() {
    let mut book = book();
    book.read(&users(), read(15.0, Ok(500)), None);
    book.apply(
        at(15.1),
        &users(),
        object(&spec(false), status(2, 4, Some("500"))),
        None,
    );
    let known = newest(&book);
    assert_eq!(known.agreement, Agreement::Agreed);
    assert!(
        known.presumed[0].contains("2 ready ones were presumed"),
        "{:?}",
        known.presumed
    );
    // One of them was not ready, as it turns out.
    book.read(&users(), read(30.0, Ok(500)), None);
    book.apply(
        at(30.1),
        &users(),
        object(&spec(false), status(4, 6, Some("500"))),
        None,
    );
    assert_eq!(newest(&book).agreement, Agreement::PartedUnseen);
}

#[test]
fn a_read_of_a_metric_that_two_hpas_share_is_nobodys_and_the_status_tells() {
    let mut book = Book::new(Limits::default());
    let (first, second) = (Id::new("shop", "a"), Id::new("shop", "b"));
    let settled = || object(&spec(false), status(2, 2, Some("250")));
    book.apply(at(0.0), &first, settled(), None);
    let shared = read(15.0, Ok(250));
    assert_eq!(book.whose(&shared), Some(&first));
    book.apply(at(0.0), &second, settled(), None);
    assert_eq!(book.whose(&shared), None);
    let scaled = object(&spec(false), status(2, 4, Some("500")));
    book.apply(at(15.1), &second, scaled, None);
    let known = book.explain(&second, None).unwrap();
    assert_eq!(known.facts.outcome.desired_replicas, 4);
    assert_eq!(known.facts.metrics[0].value_milli(), Some(500_000));
    let elsewhere = Read {
        namespace: "other".into(),
        ..read(50.0, Ok(1))
    };
    assert_eq!(book.whose(&elsewhere), None);
}

#[test]
fn two_metrics_of_one_resource_do_not_overwrite_each_other() {
    let cpu = |container: &str, percent: i32| {
        json!({"type": "ContainerResource", "containerResource": {
            "name": "cpu", "container": container,
            "target": {"type": "Utilization", "averageUtilization": percent},
        }})
    };
    let spec = json!({"maxReplicas": 10, "metrics": [cpu("web", 50), cpu("log", 50)]});
    let of = |percent: i32, average: &str| json!({"containerResource": {"current": {"averageUtilization": percent, "averageValue": average}}});
    let status = |web: i32, desired: i32| {
        Status::of(&json!({
            "currentReplicas": 2, "desiredReplicas": desired,
            // Of 500 and of 50 thousandths of a core.
            "currentMetrics": [of(web, "500m"), of(20, "10m")],
        }))
    };
    let mut book = Book::new(Limits::default());
    book.apply(at(0.0), &users(), object(&spec, status(50, 2)), pods(2));
    book.apply(at(15.0), &users(), object(&spec, status(100, 4)), pods(2));
    let known = newest(&book);
    assert_eq!(known.agreement, Agreement::Agreed);
    let values = known
        .facts
        .metrics
        .iter()
        .map(crate::story::facts::MetricFacts::value_milli);
    assert_eq!(values.collect::<Vec<_>>(), [Some(100_000), Some(20_000)]);
    // Each is a share of its own container's request.
    let pod = &known.facts.pods[0];
    let request = |container| pod.request("cpu", Some(container));
    assert_eq!((request("web"), request("log")), (Some(500), Some(50)));
}

#[test]
fn an_hpa_that_cannot_tell_its_pods_is_explained_in_its_own_words() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    let refused = Status::of(&json!({
        "currentReplicas": 2, "desiredReplicas": 2, "currentMetrics": null,
        "conditions": [{"type": "ScalingActive", "status": "False", "reason": "AmbiguousSelector",
                        "message": "pods by selector app=users are controlled by multiple HPAs: [shop/a shop/users]"}],
    }));
    book.apply(at(30.0), &users(), object(&spec(false), refused), pods(2));
    let known = newest(&book);
    assert_eq!(known.agreement, Agreement::Agreed);
    assert_eq!(
        crate::story::Explanation::new(&known.facts).headline,
        "users has 2 replicas and keeps them: the HPA reads no metric, for it cannot tell which pods are its own \
         (AmbiguousSelector: pods by selector app=users are controlled by multiple HPAs: [shop/a shop/users]); give each \
         workload labels and an HPA of its own"
    );
}

#[test]
fn a_metric_that_is_not_ours_fails_for_the_reason_that_the_status_gives() {
    let mut book = Book::new(Limits::default());
    book.apply(
        at(0.0),
        &users(),
        object(&spec(true), Status::default()),
        None,
    );
    book.read(&users(), read(15.0, Ok(100)), pods(2));
    let failed = Status::of(&json!({
        "currentReplicas": 2, "desiredReplicas": 2,
        "currentMetrics": [{"type": ""}, {"type": "External", "external": {"current": {"value": "100"}}}],
        "conditions": [{"type": "ScalingActive", "status": "False", "reason": "FailedGetResourceMetric",
                        "message": "unable to fetch metrics from resource metrics API"}],
    }));
    book.apply(at(15.1), &users(), object(&spec(true), failed), pods(2));
    let known = newest(&book);
    assert_eq!(known.agreement, Agreement::Agreed);
    let why = known.facts.metrics[0].error.as_deref();
    assert_eq!(
        why,
        Some("unable to fetch metrics from resource metrics API")
    );
}

#[test]
fn another_hpa_of_the_same_name_begins_anew_and_one_that_is_gone_is_forgotten() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    let with_a_sync = book.bytes();
    let another = Object {
        uid: "two".into(),
        ..object(&spec(false), Status::default())
    };
    book.apply(at(20.0), &users(), another, None);
    assert_eq!((book.syncs(), book.len()), (0, 1));
    assert!(0 < book.bytes() && book.bytes() < with_a_sync);
    sync(&mut book, 35.0, 250, 2, 2);
    book.retain(&[Id::new("shop", "other")].into());
    assert_eq!((book.syncs(), book.bytes(), book.len()), (0, 0, 0));
}
