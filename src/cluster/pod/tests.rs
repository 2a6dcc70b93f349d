//! What is taken from a pod, what it costs, and when it counts as ready.

use serde_json::{Value, json};

use super::*;

/// Bytes that a pod may cost while it is held: 100,000 pods are then below 60 MB.
const BYTES_PER_POD_MAX: u64 = 600;

const T0: &str = "2026-01-01T00:00:00Z";

fn at(seconds: i64) -> Timestamp {
    let t0: k8s_openapi::jiff::Timestamp = T0.parse().unwrap();
    Timestamp::from_ms(t0.as_millisecond() + 1000 * seconds)
}

fn time(seconds: i64) -> String {
    let t0: k8s_openapi::jiff::Timestamp = T0.parse().unwrap();
    (t0 + k8s_openapi::jiff::SignedDuration::from_secs(seconds)).to_string()
}

/// A pod with (condition, status, seconds) for its conditions.
fn pod_json(conditions: &[(&str, &str, i64)]) -> Value {
    let condition = |(kind, status, seconds): &(&str, &str, i64)| json!({"type": kind, "status": status, "lastTransitionTime": time(*seconds), "reason": "x"});
    let conditions: Vec<Value> = conditions.iter().map(condition).collect();
    json!({
        "metadata": {
            "name": "users-5d9f7c8b6-abcde",
            "namespace": "shop",
            "uid": "0f5a8f4e-1111-2222-3333-444455556666",
            "resourceVersion": "7",
            "creationTimestamp": T0,
            "labels": {
                "app.kubernetes.io/name": "users",
                "app.kubernetes.io/instance": "users-production",
                "app.kubernetes.io/version": "1.2.3",
                "pod-template-hash": "5d9f7c8b6",
            },
            "annotations": {"notes": "n".repeat(2000)},
            "managedFields": [{"manager": "kubelet", "fieldsV1": {"f:status": {"f:podIP": {}}}}],
        },
        "spec": {
            "containers": [
                {"name": "app", "ports": [
                    {"name": "http", "containerPort": 8080},
                    {"name": "metrics", "containerPort": 9090, "protocol": "TCP"},
                    {"name": "dns", "containerPort": 53, "protocol": "UDP"},
                    {"containerPort": 1},
                ]},
            ],
            "initContainers": [
                {"name": "proxy", "restartPolicy": "Always", "ports": [{"name": "proxy", "containerPort": 15090}]},
                {"name": "migrate", "ports": [{"name": "migrate", "containerPort": 2}]},
            ],
        },
        "status": {"phase": "Running", "podIP": "10.1.2.3", "conditions": conditions},
    })
}

fn wire(json: Value) -> WirePod {
    serde_json::from_value(json).unwrap()
}

fn pod(json: Value) -> Pod {
    Pod::new(wire(json), None, &mut Templates::default()).unwrap()
}

fn phase(conditions: &[(&str, &str, i64)]) -> Phase {
    pod(pod_json(conditions)).phase()
}

#[test]
fn only_what_is_needed_is_taken() {
    let wire = wire(pod_json(&[]));
    assert!(wire.metadata.managed_fields.is_none() && wire.metadata.annotations.is_none());
    let pod = Pod::new(wire, None, &mut Templates::default()).unwrap();
    assert_eq!(pod.ip, Some("10.1.2.3".parse().unwrap()));
    assert_eq!(pod.created, at(0));
    assert_eq!(pod.revision(), Some("5d9f7c8b6"));
    let ports: Vec<_> = pod.template.ports.iter().collect();
    let expected = [("http", 8080), ("metrics", 9090), ("proxy", 15090)];
    assert!(
        ports
            .into_iter()
            .map(|(name, port)| (name.as_str(), *port))
            .eq(expected)
    );
}

#[test]
fn a_bare_pod_is_read_too() {
    let pod = pod(json!({"metadata": {"name": "a", "uid": "u"}}));
    assert_eq!(
        (pod.ip, pod.phase(), pod.revision()),
        (None, Phase::Starting, None)
    );
    let nameless = wire(json!({"metadata": {}}));
    assert_eq!(Pod::new(nameless, None, &mut Templates::default()), None);
}

#[test]
fn readiness_that_fell_after_the_start_had_risen_before() {
    let ready = |seconds| Phase::Ready { since: at(seconds) };
    for (conditions, expected) in [
        (&[][..], Phase::Starting),
        (&[("Ready", "True", 9)], ready(9)),
        (
            &[("Initialized", "True", 2), ("Ready", "True", 9)],
            ready(9),
        ),
        (
            &[("Initialized", "True", 2), ("Ready", "False", 2)],
            Phase::Starting,
        ),
        (
            &[("Initialized", "True", 2), ("Ready", "False", 3)],
            Phase::Starting,
        ),
        (
            &[("Initialized", "True", 2), ("Ready", "False", 4)],
            ready(2),
        ),
        // While init containers run, Ready is older than Initialized.
        (
            &[("Initialized", "True", 60), ("Ready", "False", 1)],
            Phase::Starting,
        ),
        (
            &[
                ("Initialized", "False", 1),
                ("PodScheduled", "True", 1),
                ("Ready", "False", 1),
            ],
            Phase::Starting,
        ),
        // A node that is lost makes Ready unknown.
        (
            &[("Initialized", "True", 2), ("Ready", "Unknown", 300)],
            ready(2),
        ),
        (&[("Ready", "False", 300)], Phase::Starting),
    ] {
        assert_eq!(phase(conditions), expected, "{conditions:?}");
    }
}

#[test]
fn a_pod_that_was_ready_stays_so_until_it_is_told_to_end() {
    let mut templates = Templates::default();
    let ready = [("Initialized", "True", 0), ("Ready", "True", 5)];
    let first = Pod::new(wire(pod_json(&ready)), None, &mut templates).unwrap();
    let flapped = [("Initialized", "True", 0), ("Ready", "False", 60)];
    let second = Pod::new(wire(pod_json(&flapped)), Some(&first), &mut templates).unwrap();
    assert_eq!(second.phase(), Phase::Ready { since: at(5) });
    let back = [("Initialized", "True", 0), ("Ready", "True", 90)];
    let third = Pod::new(wire(pod_json(&back)), Some(&second), &mut templates).unwrap();
    assert_eq!(third.phase(), Phase::Ready { since: at(5) });
    let mut leaving = pod_json(&back);
    leaving["metadata"]["deletionTimestamp"] = time(100).into();
    let fourth = Pod::new(wire(leaving.clone()), Some(&third), &mut templates).unwrap();
    assert_eq!(fourth.phase(), Phase::Leaving);
    // Another pod of the same name, as a StatefulSet makes them, begins anew.
    let mut successor = pod_json(&[("Initialized", "True", 0), ("Ready", "False", 0)]);
    successor["metadata"]["uid"] = "another".into();
    let fifth = Pod::new(wire(successor), Some(&fourth), &mut templates).unwrap();
    assert_eq!(fifth.phase(), Phase::Starting);
    // One that was never Ready had no users whose last requests could come.
    leaving["status"]["conditions"] = json!([]);
    assert_eq!(pod(leaving).phase(), Phase::Starting);
}

#[test]
fn of_two_pods_with_one_address_the_living_one_counts() {
    let of = |uid: &str, seconds: i64, phase: &str, is_leaving: bool| {
        let mut json = pod_json(&[]);
        json["metadata"]["uid"] = uid.into();
        json["metadata"]["creationTimestamp"] = time(seconds).into();
        json["status"]["phase"] = phase.into();
        if is_leaving {
            json["metadata"]["deletionTimestamp"] = time(100).into();
        }
        pod(json)
    };
    let old = of("a", 0, "Running", false);
    let new = of("b", 9, "Running", false);
    let leaving = of("c", 99, "Running", true);
    let over = of("d", 99, "Failed", false);
    for (winner, loser) in [
        (&new, &old),
        (&old, &leaving),
        (&leaving, &over),
        (&old, &over),
    ] {
        assert!(winner.outlives(loser) && !loser.outlives(winner));
    }
    assert!(!old.outlives(&old));
}

#[test]
fn templates_without_pods_are_dropped() {
    let mut templates = Templates::default();
    for n in 0..1000 {
        let mut json = pod_json(&[]);
        json["metadata"]["labels"]["version"] = n.to_string().into();
        drop(Pod::new(wire(json), None, &mut templates));
    }
    assert!(templates.known.len() < 40, "{}", templates.known.len());
}

#[test]
fn a_held_pod_costs_little() {
    // Many, so that what other tests of this process allocate meanwhile is a small share of each.
    const PODS: u64 = 100_000;
    let resident_bytes = || {
        let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
        4096 * statm.split(' ').nth(1).unwrap().parse::<u64>().unwrap()
    };
    let mut wires = Vec::new();
    for revision in 0..10 {
        let mut json = pod_json(&[("Ready", "True", 5)]);
        json["metadata"]["labels"]["pod-template-hash"] = format!("5d9f7c8b{revision}").into();
        wires.push(wire(json));
    }
    let mut templates = Templates::default();
    let mut held = BTreeMap::new();
    let before = resident_bytes();
    for n in 0..PODS {
        let mut wire = wires[usize::try_from(n).unwrap() % wires.len()].clone();
        wire.metadata.name = Some(format!("users-5d9f7c8b6-{n:05x}"));
        wire.metadata.uid = Some(format!("0f5a8f4e-1111-2222-3333-{n:012x}"));
        let pod = Pod::new(wire, None, &mut templates).unwrap();
        held.insert(pod.name.clone(), pod);
    }
    let bytes = resident_bytes().saturating_sub(before) / PODS;
    println!("{bytes} bytes a pod");
    assert_eq!(held.len() as u64, PODS);
    assert!(bytes <= BYTES_PER_POD_MAX, "{bytes} bytes a pod");
}
