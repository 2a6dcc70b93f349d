//! What holds for any spec, any observation and any history.

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

fn replicas() -> impl Strategy<Value = i32> {
    prop_oneof![8 => 1..40_i32, 1 => any::<i32>()]
}

fn milli() -> impl Strategy<Value = i64> {
    prop_oneof![8 => 0..3_000_000_i64, 1 => any::<i64>()]
}

fn duration() -> impl Strategy<Value = Duration> {
    (0..400_u64).prop_map(Duration::from_secs)
}

fn rules() -> impl Strategy<Value = Rules> {
    let select = prop_oneof![Just(Select::Max), Just(Select::Min), Just(Select::Disabled)];
    let unit = prop_oneof![Just(PolicyUnit::Pods), Just(PolicyUnit::Percent)];
    let value = prop_oneof![4 => 1..200_i32, 1 => any::<i32>()];
    let policy = (unit, value, duration()).prop_map(|(unit, value, period)| Policy {
        unit,
        value,
        period,
    });
    (duration(), select, vec(policy, 0..3), 0.0..0.5_f64).prop_map(
        |(stabilization, select, policies, tolerance)| Rules {
            stabilization,
            select,
            policies,
            tolerance,
        },
    )
}

fn behavior() -> impl Strategy<Value = Option<Behavior>> {
    proptest::option::of(
        (rules(), rules()).prop_map(|(scale_up, scale_down)| Behavior {
            scale_up,
            scale_down,
        }),
    )
}

fn metric() -> impl Strategy<Value = MetricSpec> {
    prop_oneof![
        milli().prop_map(|milli| external(Target::Value(milli))),
        milli().prop_map(|milli| external(Target::AverageValue(milli))),
        milli().prop_map(|average_milli| MetricSpec::Pods {
            metric: "m".to_owned(),
            average_milli
        }),
        any::<i32>().prop_map(|percent| cpu(ResourceTarget::Utilization(percent))),
        milli().prop_map(|milli| cpu(ResourceTarget::AverageValue(milli))),
    ]
}

fn cpu(target: ResourceTarget) -> MetricSpec {
    MetricSpec::Resource {
        resource: "cpu".to_owned(),
        container: None,
        target,
    }
}

fn spec() -> impl Strategy<Value = Spec> {
    (1..10_i32, 0..40_i32, vec(metric(), 1..4), behavior()).prop_map(
        |(min_replicas, more, metrics, behavior)| Spec {
            min_replicas,
            max_replicas: min_replicas + more,
            metrics,
            behavior,
        },
    )
}

fn answer() -> impl Strategy<Value = Result<Answer, String>> {
    prop_oneof![
        2 => vec(milli(), 0..3).prop_map(|items| values(&items)),
        2 => vec(milli(), 0..5).prop_map(|milli| usage(&milli)),
        1 => Just(Err("503".to_owned())),
    ]
}

fn observation() -> impl Strategy<Value = Observation> {
    let pods = (0..4_usize, 0..4_usize, proptest::option::of(any::<i64>())).prop_map(
        |(ready, unready, request)| {
            let mut pods = pods(ready, unready);
            for pod in &mut pods {
                pod.requests
                    .extend(request.map(|milli| ("cpu".to_owned(), milli)));
            }
            pods
        },
    );
    (replicas(), replicas(), pods, vec(answer(), 0..4)).prop_map(
        |(spec_replicas, status_replicas, pods, answers)| Observation {
            spec_replicas,
            status_replicas,
            pods,
            answers,
        },
    )
}

proptest! {
    #[test]
    fn what_is_decided_keeps_the_bounds(
        spec in spec(),
        syncs in vec((duration(), observation()), 1..12),
    ) {
        let (min, max) = (spec.min_replicas, spec.max_replicas);
        let mut autoscaler = Autoscaler::new(spec);
        let mut now = NOW;
        for (later, observed) in syncs {
            now = now + later;
            let Decision { desired, current, path, .. } = autoscaler.reconcile(now, &observed);
            match path {
                Path::Disabled => prop_assert_eq!(desired, 0),
                _ => prop_assert!(min <= desired && desired <= max, "{} is outside {}..={}", desired, min, max),
            }
            prop_assert_eq!(current, observed.spec_replicas);
        }
    }

    #[test]
    fn nothing_goes_down_while_a_metric_fails(
        spec in spec(),
        syncs in vec((duration(), observation()), 1..12),
    ) {
        let max = spec.max_replicas;
        let metrics = spec.metrics.len();
        let mut autoscaler = Autoscaler::new(spec);
        let mut now = NOW;
        for (later, mut observed) in syncs {
            observed.answers.truncate(metrics - 1);
            now = now + later;
            let Decision { desired, current, .. } = autoscaler.reconcile(now, &observed);
            prop_assert!(current.min(max) <= desired);
        }
    }

    #[test]
    fn a_held_back_direction_stands_still(
        observed in vec((duration(), observation()), 1..8),
        spec in spec(),
    ) {
        let mut behavior = Behavior::default();
        behavior.scale_up.select = Select::Disabled;
        behavior.scale_down.select = Select::Disabled;
        let mut autoscaler = Autoscaler::new(Spec { behavior: Some(behavior), ..spec });
        let mut now = NOW;
        for (later, observed) in observed {
            now = now + later;
            let decision = autoscaler.reconcile(now, &observed);
            if let Path::Metrics { .. } = decision.path {
                prop_assert_eq!(decision.desired, decision.current);
            }
        }
    }

    #[test]
    fn with_every_pod_ready_more_latency_never_means_fewer_replicas(
        replicas in 1..100_i32,
        target in 1..10_000_i64,
        lower in 0..100_000_i64,
        more in 0..100_000_i64,
    ) {
        let ready = usize::try_from(replicas).unwrap();
        let observed = Observation {
            spec_replicas: replicas,
            status_replicas: replicas,
            pods: pods(ready, 0),
            answers: Vec::new(),
        };
        let context = Context { now: NOW, observed: &observed, tolerances: Tolerances::default() };
        let metric = external(Target::Value(target));
        let at = |milli| propose(context, &metric, &values(&[milli])).unwrap().replicas;
        prop_assert!(at(lower) <= at(lower + more));
    }

    #[test]
    fn the_same_history_gives_the_same_decision(
        spec in spec(),
        syncs in vec((duration(), observation()), 1..8),
    ) {
        let mut one = Autoscaler::new(spec);
        let mut other = one.clone();
        let mut now = NOW;
        for (later, observed) in syncs {
            now = now + later;
            let (one, other) = (one.reconcile(now, &observed), other.reconcile(now, &observed));
            // As text, since a ratio may be NaN.
            prop_assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
    }
}
