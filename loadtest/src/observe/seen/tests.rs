//! Pieces as a cluster tells them, and what a recording then holds.

use serde_json::{Value, json};

use super::*;

fn hpa(max: u32, desired: u32, conditions: &Value) -> HorizontalPodAutoscaler {
    let cpu = json!({"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}});
    let seen = json!({"name": "cpu", "current": {"averageUtilization": 10 * desired}});
    let object = json!({
        "metadata": {"name": "users", "namespace": "shop"},
        "spec": {
            "minReplicas": 1, "maxReplicas": max,
            "scaleTargetRef": {"kind": "Deployment", "name": "users"},
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
        "status": {
            "desiredReplicas": desired, "currentReplicas": 1, "conditions": conditions,
            "currentMetrics": [{"type": "Resource", "resource": seen}],
        },
    });
    serde_json::from_value(object).unwrap()
}

fn active(status: &str, reason: &str) -> Value {
    json!([{"type": "ScalingActive", "status": status, "reason": reason, "message": "m"}])
}

fn deployment(replicas: u32, image: &str) -> Target {
    let object = json!({
        "spec": {"replicas": replicas, "template": {"spec": {"containers": [{"image": image}]}}},
        "status": {"readyReplicas": replicas},
    });
    Target::read("Deployment", &object)
}

fn endpoints(hosts: &[u8]) -> BTreeMap<SocketAddr, Option<String>> {
    let address = |host: u8| SocketAddr::from(([10, 0, 0, host], 80));
    hosts
        .iter()
        .map(|host| (address(*host), Some(format!("users-{host}"))))
        .collect()
}

/// An HPA of 1 to 4 and a Deployment of one, seen at 0 s, with a gap from 15 s on.
fn seen() -> Seen {
    let first = hpa(4, 1, &active("True", "ValidMetricFound"));
    let metrics = autoscaler::metrics(&first.spec);
    let name = "HorizontalPodAutoscaler shop/users".to_owned();
    let mut seen = Seen::new(15.0, name, "Deployment shop/users".to_owned(), metrics);
    seen.expect_endpoints();
    for watched in [Watched::Hpa, Watched::Target, Watched::Endpoints] {
        seen.heard(watched, 0.0);
    }
    seen.hpa(0.0, &first);
    seen.target(0.0, deployment(1, "shop:1"));
    seen.endpoints(0.0, &endpoints(&[1]));
    seen
}

#[test]
fn a_zero_is_what_an_hpa_wants_only_where_there_may_be_none() {
    let wanted = |reason: &str, min: Option<i32>| {
        let mut hpa = hpa(4, 0, &active("False", reason));
        hpa.spec.min_replicas = min;
        autoscaler::desired(&hpa)
    };
    assert_eq!(wanted("FailedGetExternalMetric", Some(1)), None);
    assert_eq!(wanted("FailedGetExternalMetric", None), None);
    assert_eq!(wanted("FailedGetExternalMetric", Some(0)), Some(0));
    assert_eq!(wanted("ScalingDisabled", Some(1)), Some(0));
}

#[test]
fn times_count_from_the_first_request() {
    let mut seen = seen();
    seen.heard(Watched::Hpa, 12.0);
    seen.hpa(12.0, &hpa(4, 3, &active("True", "ValidMetricFound")));
    seen.read(
        0,
        Read {
            t_s: 13.0,
            value: None,
            age_s: None,
            error: Some("gone".to_owned()),
        },
    );
    let (service, events, notes) = seen.finish(10.0, 14.0);
    let desired: Vec<_> = service
        .replicas
        .desired
        .steps()
        .iter()
        .map(|step| (step.t_s, step.value))
        .collect();
    assert_eq!(desired, [(-10.0, Some(1)), (2.0, Some(3))]);
    let reads: Vec<_> = service.metrics[0]
        .reads
        .iter()
        .map(|read| (read.t_s, read.value))
        .collect();
    assert_eq!(reads, [(-10.0, Some(10.0)), (2.0, Some(30.0)), (3.0, None)]);
    let scaled = events
        .iter()
        .find(|event| event.kind == EventKind::Scaled)
        .unwrap();
    assert_eq!(
        (scaled.t_s, &*scaled.text),
        (2.0, "the HPA wants 3 replicas, 1 before")
    );
    assert_eq!((service.gaps.len(), notes.len()), (0, 0));
    let spec = service.autoscaler.unwrap();
    assert_eq!((spec.max_replicas, spec.max_surge), (4, 1));
}

#[test]
fn a_silent_watch_leaves_a_gap_in_which_its_numbers_are_unknown() {
    let mut seen = seen();
    seen.heard(Watched::Target, 10.0);
    seen.failed(Watched::Target, "the API server answers 500".to_owned());
    assert_eq!(seen.live(26.0).ready, None);
    assert_eq!(seen.live(24.0).ready, Some(1));
    seen.heard(Watched::Target, 30.0);
    assert_eq!(
        seen.live(30.0).ready,
        Some(1),
        "nothing was missed, and it is as it was"
    );
    for watched in [Watched::Hpa, Watched::Endpoints] {
        for t_s in [15.0, 30.0] {
            seen.heard(watched, t_s);
        }
    }
    let (service, ..) = seen.finish(0.0, 40.0);
    let ready = [9.0, 11.0, 29.0, 30.0].map(|t_s| service.replicas.ready.at(t_s));
    assert_eq!(ready, [Some(1), None, None, Some(1)]);
    assert_eq!(service.replicas.desired.at(20.0), Some(1));
    let what = "scale target: the API server answers 500".to_owned();
    assert_eq!(
        service.gaps,
        [Gap {
            from_s: 10.0,
            to_s: Some(30.0),
            what
        }]
    );
}

#[test]
fn a_watch_that_is_lost_at_the_end_leaves_an_open_gap() {
    let mut seen = seen();
    seen.heard(Watched::Hpa, 99.0);
    seen.heard(Watched::Target, 99.0);
    let (service, ..) = seen.finish(0.0, 100.0);
    assert_eq!(service.replicas.endpoints.at(50.0), None);
    let open: Vec<_> = service
        .gaps
        .iter()
        .filter(|gap| gap.to_s.is_none())
        .collect();
    assert_eq!(open.len(), 1);
    assert_eq!((&*open[0].what, open[0].from_s), ("endpoints", 0.0));
}

#[test]
fn an_object_that_is_gone_is_unknown_and_not_zero() {
    let mut seen = seen();
    seen.hpa_gone(5.0);
    seen.target_gone(6.0);
    let live = seen.live(7.0);
    assert_eq!((live.desired, live.spec, live.ready), (None, None, None));
    let (service, ..) = seen.finish(0.0, 8.0);
    let objects: Vec<_> = service
        .spec_changes
        .iter()
        .map(|change| (&*change.object, &*change.text))
        .collect();
    let expected = [
        ("HorizontalPodAutoscaler shop/users", "it was deleted"),
        ("Deployment shop/users", "it was deleted"),
    ];
    assert_eq!(objects, expected);
}

#[test]
fn an_hpa_that_nobody_has_looked_at_wants_nothing_yet() {
    let mut seen = seen();
    seen.hpa(1.0, &hpa(4, 0, &Value::Null));
    assert_eq!(seen.live(1.0).desired, None);
    assert_eq!(seen.service.metrics[0].reads.len(), 1);
}

#[test]
fn specs_that_change_under_load_are_told_and_the_first_one_counts() {
    let mut seen = seen();
    let conditions = active("True", "ValidMetricFound");
    seen.hpa(2.0, &hpa(6, 1, &conditions));
    seen.hpa(12.0, &hpa(8, 1, &conditions));
    seen.target(13.0, deployment(1, "shop:2"));
    let (service, ..) = seen.finish(10.0, 14.0);
    assert_eq!(
        service.autoscaler.unwrap().max_replicas,
        6,
        "that of the first request's moment"
    );
    let texts: Vec<_> = service
        .spec_changes
        .iter()
        .map(|change| (change.t_s, &*change.text))
        .collect();
    let expected = [
        (2.0, "maxReplicas is 8, was 6"),
        (3.0, "the pods' template changed: image shop:2, was shop:1"),
    ];
    assert_eq!(texts, expected);
}

#[test]
fn backends_have_their_pods_and_when_they_took_requests() {
    let mut seen = seen();
    seen.endpoints(5.0, &endpoints(&[1, 2]));
    seen.endpoints(6.0, &endpoints(&[2]));
    seen.endpoints(9.0, &endpoints(&[1, 2]));
    let (service, events, _) = seen.finish(0.0, 10.0);
    let backend = &service.backends["10.0.0.1:80"];
    assert_eq!(backend.pod.as_deref(), Some("users-1"));
    let stretches: Vec<_> = backend
        .ready
        .iter()
        .map(|stretch| (stretch.from_s, stretch.to_s))
        .collect();
    assert_eq!(stretches, [(0.0, Some(6.0)), (9.0, None)]);
    let counts: Vec<_> = service
        .replicas
        .endpoints
        .steps()
        .iter()
        .map(|step| step.value)
        .collect();
    assert_eq!(counts, [Some(1), Some(2), Some(1), Some(2)]);
    let told = events.iter().find(|event| event.t_s == 6.0).unwrap();
    assert_eq!(told.text, "users-1 (10.0.0.1:80) takes no more requests");
}

#[test]
fn a_condition_counts_once_until_it_changes() {
    let mut seen = seen();
    for (t_s, status, reason) in [
        (1.0, "True", "ValidMetricFound"),
        (2.0, "False", "FailedGetExternalMetric"),
        (3.0, "False", "FailedGetExternalMetric"),
        (4.0, "Unknown", "Other"),
    ] {
        seen.hpa(t_s, &hpa(4, 1, &active(status, reason)));
    }
    let (service, ..) = seen.finish(0.0, 5.0);
    let told: Vec<_> = service
        .conditions
        .iter()
        .map(|told| (told.t_s, told.status))
        .collect();
    assert_eq!(told, [(0.0, Some(true)), (2.0, Some(false)), (4.0, None)]);
}

#[test]
fn what_is_too_much_is_left_out_and_said() {
    let mut seen = seen();
    for _ in 0..=READS_MAX {
        seen.read(
            0,
            Read {
                t_s: 1.0,
                value: None,
                age_s: None,
                error: Some("e".repeat(999)),
            },
        );
    }
    let (service, _, notes) = seen.finish(0.0, 2.0);
    assert_eq!(service.metrics[0].reads.len(), READS_MAX);
    let longest = service.metrics[0]
        .reads
        .iter()
        .filter_map(|read| read.error.as_ref())
        .map(String::len);
    assert_eq!(longest.max(), Some(TEXT_MAX + "...".len()));
    assert_eq!(
        notes,
        ["some reads of a metric were left out, since there were too many"]
    );
}
