//! Examples 1 to 51: one metric to a proposal.

use super::*;

/// The proposal of `metric` for `spec_replicas` wanted and `status_replicas` present.
fn proposal(
    metric: &MetricSpec,
    tolerances: Tolerances,
    (spec_replicas, status_replicas): (i32, i32),
    pods: Vec<Pod>,
    answer: &Result<Answer, String>,
) -> Result<Proposal, String> {
    let observed = Observation {
        spec_replicas,
        status_replicas,
        pods,
        answers: Vec::new(),
    };
    propose(
        Context {
            now: NOW,
            observed: &observed,
            tolerances,
        },
        metric,
        answer,
    )
}

#[test]
fn a_value_is_multiplied_by_the_ready_pods() {
    let cluster = Tolerances::default();
    let (up_1, down_5, none) = (
        Tolerances {
            up: 0.01,
            ..cluster
        },
        Tolerances {
            down: 0.05,
            ..cluster
        },
        Tolerances { up: 0.0, down: 0.0 },
    );
    // number, replicas, ready, unready, items, target, tolerances, proposal
    for (number, replicas, ready, unready, items, target, tolerances, expected) in [
        (1, 4, 4, 0, &[500][..], 500, cluster, 4),
        (2, 4, 4, 0, &[550], 500, cluster, 4),
        (3, 4, 4, 0, &[551], 500, cluster, 5),
        (4, 4, 4, 0, &[450], 500, cluster, 4),
        (5, 4, 4, 0, &[449], 500, cluster, 4),
        (6, 4, 4, 0, &[750], 500, cluster, 6),
        (7, 10, 5, 5, &[750], 500, cluster, 8),
        (8, 10, 0, 10, &[900], 500, cluster, 0),
        (9, 4, 4, 0, &[2000], 500, cluster, 16),
        (10, 4, 4, 0, &[0], 500, cluster, 0),
        (11, 4, 4, 0, &[300, 300], 500, cluster, 5),
        (12, 4, 4, 0, &[-200], 500, cluster, -1),
        (13, 25, 25, 0, &[560], 500, cluster, 29),
        (14, 3, 1, 2, &[8600], 4400, cluster, 2),
        (15, 3, 3, 0, &[8600], 8888, cluster, 3),
        (16, 5, 5, 0, &[8600], 14334, cluster, 3),
        (17, 3, 3, 0, &[8600], 6666, cluster, 4),
        (18, 4, 4, 0, &[510], 500, up_1, 5),
        (19, 4, 4, 0, &[474], 500, down_5, 4),
        (20, 4, 4, 0, &[501], 500, none, 5),
    ] {
        let metric = external(Target::Value(target));
        let scale = (replicas, replicas);
        let got = proposal(
            &metric,
            tolerances,
            scale,
            pods(ready, unready),
            &values(items),
        )
        .unwrap();
        assert_eq!(got.replicas, expected, "example {number}");
        assert_eq!(
            got.current,
            Current::Value(items.iter().sum()),
            "example {number}"
        );
    }
}

#[test]
fn from_no_replicas_the_ratio_itself_is_the_proposal() {
    for (number, value, target, expected) in [(21, 20_000, 15_000, 2), (22, 1000, 1000, 1)] {
        let metric = MetricSpec::Object {
            metric: "m".to_owned(),
            target: Target::Value(target),
        };
        let got = proposal(
            &metric,
            Tolerances::default(),
            (0, 0),
            Vec::new(),
            &values(&[value]),
        )
        .unwrap();
        assert_eq!(got.replicas, expected, "example {number}");
    }
}

#[test]
fn an_average_value_is_divided_whatever_the_pods_are() {
    // number, wanted and present replicas, items, target, proposal, status
    for (number, scale, items, target, expected, average) in [
        (23, (4, 4), &[400_000][..], 100_000, 4, Some(100_000)),
        (24, (4, 4), &[440_000], 100_000, 4, Some(110_000)),
        (25, (4, 4), &[440_001], 100_000, 5, Some(110_001)),
        (26, (4, 4), &[360_000], 100_000, 4, Some(90_000)),
        (27, (4, 4), &[359_999], 100_000, 4, Some(90_000)),
        (28, (4, 4), &[250_000], 100_000, 3, Some(62_500)),
        (
            29,
            (4, 4),
            &[100_000, 150_000, 250_000],
            100_000,
            5,
            Some(125_000),
        ),
        (30, (4, 5), &[500_000], 100_000, 5, Some(100_000)),
        (31, (4, 5), &[400_000], 100_000, 4, Some(80_000)),
        (32, (4, 4), &[0], 100_000, 0, Some(0)),
        (33, (4, 4), &[-1], 100_000, i32::MAX, Some(i64::MAX)),
        (34, (3, 0), &[250_000], 100_000, 3, None),
        (35, (3, 3), &[1], 100_000, 1, Some(1)),
        (36, (3, 3), &[8600], 2150, 4, Some(2867)),
        (37, (5, 5), &[8600], 2867, 3, Some(1720)),
        (38, (3, 3), &[8600], 2900, 3, Some(2867)),
    ] {
        let metric = external(Target::AverageValue(target));
        let got = proposal(
            &metric,
            Tolerances::default(),
            scale,
            Vec::new(),
            &values(items),
        )
        .unwrap();
        assert_eq!(got.replicas, expected, "example {number}");
        assert_eq!(
            got.current,
            Current::AverageValue(average),
            "example {number}"
        );
    }
}

#[test]
fn an_object_is_judged_as_an_external_metric_is() {
    let (value, average) = (Target::Value, Target::AverageValue);
    for (number, target, milli, scale, ready, unready, expected) in [
        (39, value(15_000), 20_000, (3, 3), 3, 0, 4),
        (40, value(10_000), 50_000, (3, 3), 1, 2, 5),
        (41, average(5000), 20_000, (3, 3), 3, 0, 4),
        (42, average(5000), 20_166, (4, 4), 4, 0, 4),
    ] {
        let metric = MetricSpec::Object {
            metric: "m".to_owned(),
            target,
        };
        let pods = pods(ready, unready);
        let got = proposal(
            &metric,
            Tolerances::default(),
            scale,
            pods,
            &values(&[milli]),
        )
        .unwrap();
        assert_eq!(got.replicas, expected, "example {number}");
    }
}

#[test]
fn pods_without_a_value_are_counted_against_a_change() {
    // number, replicas, ready, unready, values, target, proposal
    for (number, replicas, ready, unready, milli, target, expected) in [
        (43, 3, 3, 0, &[20_000, 10_000, 30_000][..], 15_000, 4),
        (44, 3, 2, 1, &[50_000, 10_000, 30_000], 15_000, 6),
        (45, 4, 4, 0, &[300_000, 300_000, 300_000], 100_000, 9),
        (46, 4, 4, 0, &[20_000, 20_000, 20_000], 100_000, 2),
    ] {
        let metric = MetricSpec::Pods {
            metric: "m".to_owned(),
            average_milli: target,
        };
        let scale = (replicas, replicas);
        let got = proposal(
            &metric,
            Tolerances::default(),
            scale,
            pods(ready, unready),
            &usage(milli),
        )
        .unwrap();
        assert_eq!(got.replicas, expected, "example {number}");
    }
}

#[test]
fn a_pending_pod_takes_its_share_of_what_is_too_much() {
    let metric = MetricSpec::Pods {
        metric: "m".to_owned(),
        average_milli: 100_000,
    };
    let mut pods = pods(4, 0);
    pods[3].phase = Phase::Pending;
    let answer = usage(&[150_000, 150_000, 150_000]);
    let got = proposal(&metric, Tolerances::default(), (4, 4), pods, &answer).unwrap();
    assert_eq!(got.replicas, 5, "example 47");
}

fn cpu(percent: i32) -> MetricSpec {
    MetricSpec::Resource {
        resource: "cpu".to_owned(),
        container: None,
        target: ResourceTarget::Utilization(percent),
    }
}

/// As [`pods`], each with a CPU request.
fn pods_requesting(milli: i64, ready: usize, unready: usize) -> Vec<Pod> {
    let mut pods = pods(ready, unready);
    for pod in &mut pods {
        pod.requests.insert("cpu".to_owned(), milli);
    }
    pods
}

#[test]
fn cpu_is_a_share_of_the_requests() {
    // number, request, ready, usage, target in per cent, proposal, utilization
    for (number, request, ready, milli, target, expected, percent) in [
        (48, 2000, 3, &[600, 1000, 1400][..], 30, 5, 50),
        (50, 1000, 5, &[100, 300, 500, 250, 250], 50, 3, 28),
        (51, 1000, 4, &[240, 240], 100, 3, 24),
    ] {
        let replicas = i32::try_from(ready).unwrap();
        let pods = pods_requesting(request, ready, 0);
        let got = proposal(
            &cpu(target),
            Tolerances::default(),
            (replicas, replicas),
            pods,
            &usage(milli),
        )
        .unwrap();
        assert_eq!(got.replicas, expected, "example {number}");
        let average_milli = milli.iter().sum::<i64>() / i64::try_from(milli.len()).unwrap();
        assert_eq!(
            got.current,
            Current::Utilization {
                percent,
                average_milli
            },
            "example {number}"
        );
    }
}

#[test]
fn a_container_is_a_share_of_its_own_request_and_the_pod_of_all() {
    let container = |name: &str, percent| MetricSpec::Resource {
        resource: "cpu".to_owned(),
        container: Some(name.to_owned()),
        target: ResourceTarget::Utilization(percent),
    };
    let mut pods = pods_requesting(1100, 4, 0);
    for pod in &mut pods {
        pod.set_request("cpu", Some("web"), 1000);
        pod.set_request("cpu", Some("log"), 100);
    }
    // metric, what each pod uses of it, proposal, utilization
    for (metric, milli, expected, percent) in [
        (cpu(50), 550, 4, 50),
        (container("web", 50), 450, 4, 45),
        (container("log", 50), 100, 8, 100),
    ] {
        let (cluster, usage) = (Tolerances::default(), usage(&[milli; 4]));
        let got = proposal(&metric, cluster, (4, 4), pods.clone(), &usage).unwrap();
        assert_eq!(got.replicas, expected, "{metric}");
        let average_milli = milli;
        assert_eq!(
            got.current,
            Current::Utilization {
                percent,
                average_milli
            },
            "{metric}"
        );
    }
    pods[3].container_requests.remove("log");
    let (cluster, usage) = (Tolerances::default(), usage(&[100; 4]));
    let error = proposal(&container("log", 50), cluster, (4, 4), pods, &usage).unwrap_err();
    assert!(
        error.starts_with("container log of pod pod-3 requests no cpu"),
        "{error}"
    );
}

#[test]
fn a_share_is_reckoned_in_int64_as_the_controller_does() {
    // 60 TiB of memory in thousandths of a byte, times 100, are more than int64 holds.
    let milli = 60 * (1_i64 << 40) * 1000;
    let mut pods = pods(2, 0);
    for pod in &mut pods {
        pod.set_request("memory", None, milli);
    }
    let memory = MetricSpec::Resource {
        resource: "memory".to_owned(),
        container: None,
        target: ResourceTarget::Utilization(80),
    };
    let got = proposal(
        &memory,
        Tolerances::default(),
        (2, 2),
        pods,
        &usage(&[milli; 2]),
    )
    .unwrap();
    let used = (2 * milli).wrapping_mul(100);
    assert!(used < 0, "it wraps");
    assert_eq!(
        got.current,
        Current::Utilization {
            percent: (used / (2 * milli)) as i32,
            average_milli: milli
        }
    );
}

#[test]
fn the_cpu_of_a_pod_that_was_never_ready_does_not_count() {
    let mut pods = pods_requesting(2000, 2, 1);
    // The pods are ready in order, so the first of the example is the last here.
    pods.reverse();
    let answer = usage(&[1000, 1400, 600]);
    let got = proposal(&cpu(30), Tolerances::default(), (3, 3), pods, &answer).unwrap();
    assert_eq!(got.replicas, 4, "example 49");
}

#[test]
fn a_young_pod_counts_once_a_window_lies_after_its_readiness() {
    let started = NOW - Duration::from_secs(100);
    for (ready_for, counts) in [(29, false), (30, true), (31, true)] {
        let mut pods = pods_requesting(1000, 2, 0);
        pods[1].started = Some(started);
        pods[1].readiness = Some(Readiness {
            status: ReadyStatus::True,
            since: NOW - Duration::from_secs(ready_for),
        });
        let answer = usage(&[500, 1500]);
        let got = proposal(&cpu(50), Tolerances::default(), (2, 2), pods, &answer).unwrap();
        // With the young pod 100 % of 50 %; without it 50 % of 50 %, which is on target.
        assert_eq!(
            got.replicas,
            if counts { 4 } else { 2 },
            "ready for {ready_for} s"
        );
    }
}

#[test]
fn an_old_pod_that_was_ready_once_counts_and_one_that_never_was_does_not() {
    for (unready_after, counts) in [(29, false), (30, true), (1000, true)] {
        let mut pods = pods_requesting(1000, 1, 1);
        let started = pods[1].started.unwrap();
        pods[1].readiness = Some(Readiness {
            status: ReadyStatus::False,
            since: started + Duration::from_secs(unready_after),
        });
        let answer = usage(&[500, 1500]);
        let got = proposal(&cpu(50), Tolerances::default(), (2, 2), pods, &answer).unwrap();
        assert_eq!(
            got.replicas,
            if counts { 4 } else { 2 },
            "unready after {unready_after} s"
        );
    }
}

#[test]
fn the_cpu_of_a_pod_on_a_lost_node_counts_as_if_it_were_ready() {
    let old = NOW - Duration::from_secs(3600);
    let young = NOW - Duration::from_secs(100);
    let just_now = NOW - Duration::from_secs(29);
    // started, Ready since, whether False counts, whether Unknown counts
    for (started, since, falsely, unknown) in [
        (old, old, false, true),
        (old, just_now, true, true),
        (young, young, false, true),
        // A window that began before the condition changed says nothing, whatever it changed to.
        (young, just_now, false, false),
    ] {
        for (status, counts) in [
            (ReadyStatus::False, falsely),
            (ReadyStatus::Unknown, unknown),
        ] {
            let mut pods = pods_requesting(1000, 2, 0);
            pods[1].started = Some(started);
            pods[1].readiness = Some(Readiness { status, since });
            let answer = usage(&[500, 1500]);
            let got = proposal(&cpu(50), Tolerances::default(), (2, 2), pods, &answer).unwrap();
            assert_eq!(
                got.replicas,
                if counts { 4 } else { 2 },
                "{status:?} since {since}, started {started}"
            );
        }
    }
}

#[test]
fn a_pod_without_a_ready_condition_is_starting() {
    let mut pods = pods_requesting(1000, 2, 0);
    pods[1].readiness = None;
    let answer = usage(&[500, 1500]);
    let got = proposal(&cpu(50), Tolerances::default(), (2, 2), pods, &answer).unwrap();
    assert_eq!(got.replicas, 2);
}

#[test]
fn a_pod_of_unknown_readiness_is_not_ready_for_latency() {
    let mut pods = pods(3, 0);
    pods[2].readiness = Some(Readiness {
        status: ReadyStatus::Unknown,
        since: NOW,
    });
    let latency = external(Target::Value(500));
    let answer = values(&[1000]);
    let got = proposal(&latency, Tolerances::default(), (3, 3), pods, &answer).unwrap();
    assert_eq!(got.replicas, 4, "2 ready pods at 2 times the target");
}

#[test]
fn a_pod_that_leaves_is_not_counted_for_cpu_but_is_for_latency() {
    let mut pods = pods_requesting(1000, 3, 0);
    pods[2].deleted = true;
    let answer = usage(&[1000, 1000, 0]);
    let got = proposal(
        &cpu(50),
        Tolerances::default(),
        (3, 3),
        pods.clone(),
        &answer,
    )
    .unwrap();
    assert_eq!(got.replicas, 4);
    let latency = external(Target::Value(500));
    let got = proposal(
        &latency,
        Tolerances::default(),
        (3, 3),
        pods,
        &values(&[1000]),
    )
    .unwrap();
    assert_eq!(got.replicas, 6);
}

#[test]
fn a_failed_pod_is_counted_by_neither() {
    let mut pods = pods_requesting(1000, 3, 0);
    pods[2].phase = Phase::Failed;
    let scale = (3, 3);
    let cluster = Tolerances::default();
    let answer = usage(&[1000, 1000, 1000]);
    let got = proposal(&cpu(50), cluster, scale, pods.clone(), &answer).unwrap();
    assert_eq!(got.replicas, 4);
    let latency = external(Target::Value(500));
    let got = proposal(&latency, cluster, scale, pods, &values(&[1000])).unwrap();
    assert_eq!(got.replicas, 4);
}

#[test]
fn caution_about_missing_pods_never_turns_the_direction() {
    // replicas, pods, usage in thousandths of 1.0, target in per cent
    for (replicas, ready, milli, target) in [
        // 40 % of 50 %, and 70 % of 50 % with the missing at what they request: not 6.
        (4, 4, &[400, 400][..], 50),
        // 60 % of 100 %, and 68 % of five pods, of which two are surplus: not 4.
        (3, 5, &[600, 600, 600, 600], 100),
    ] {
        let pods = pods_requesting(1000, ready, 0);
        let scale = (replicas, replicas);
        let cluster = Tolerances::default();
        let got = proposal(&cpu(target), cluster, scale, pods, &usage(milli)).unwrap();
        assert_eq!(got.replicas, replicas);
        assert!(!got.within_tolerance);
    }
}

#[test]
fn a_metric_without_data_is_an_error_and_not_zero() {
    let value = external(Target::Value(500));
    for (metric, pods, answer, error) in [
        (
            &value,
            pods(1, 0),
            values(&[]),
            "no metrics returned: the answer has no items",
        ),
        (
            &value,
            Vec::new(),
            values(&[900]),
            "unable to count ready pods: the selector matches no pods",
        ),
        (&value, pods(1, 0), Err("503".to_owned()), "503"),
        (
            &value,
            pods(1, 0),
            usage(&[1]),
            "expected items, got a value for each pod",
        ),
        (
            &cpu(50),
            Vec::new(),
            usage(&[1]),
            "the selector matches no pods",
        ),
        (
            &cpu(50),
            pods(1, 0),
            usage(&[]),
            "no usage of any pod that counts: pods may not be ready",
        ),
        (
            &cpu(50),
            pods(1, 0),
            usage(&[1]),
            "pod pod-0 requests no cpu: utilization is a share of the request",
        ),
        (
            &cpu(50),
            pods(1, 0),
            values(&[1]),
            "expected a value for each pod, got items",
        ),
    ] {
        let got = proposal(metric, Tolerances::default(), (1, 1), pods, &answer);
        assert_eq!(got, Err(error.to_owned()));
    }
}
