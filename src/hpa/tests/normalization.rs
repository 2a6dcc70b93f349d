//! Examples 52 to 75: what metrics want to what they get, and what happens when they fail.

use super::*;

/// A spec whose one metric can be made to want any number: see [`wanting`].
fn spec(min_replicas: i32, max_replicas: i32, behavior: Option<Behavior>) -> Spec {
    Spec {
        min_replicas,
        max_replicas,
        metrics: vec![external(Target::AverageValue(1000))],
        behavior,
    }
}

/// An observation whose metric wants `wanted`: with no replicas present, no tolerance applies.
fn wanting(spec_replicas: i32, wanted: i32) -> Observation {
    Observation {
        spec_replicas,
        answers: vec![values(&[i64::from(wanted) * 1000])],
        ..Observation::default()
    }
}

fn rules(select: Select, policies: &[(PolicyUnit, i32, u64)]) -> Rules {
    let policy = |&(unit, value, seconds): &(_, _, _)| Policy {
        unit,
        value,
        period: Duration::from_secs(seconds),
    };
    Rules {
        stabilization: Duration::ZERO,
        select,
        policies: policies.iter().map(policy).collect(),
        tolerance: spec::TOLERANCE,
    }
}

fn up(select: Select, policies: &[(PolicyUnit, i32, u64)]) -> Option<Behavior> {
    Some(Behavior {
        scale_up: rules(select, policies),
        ..Behavior::default()
    })
}

fn down(select: Select, policies: &[(PolicyUnit, i32, u64)]) -> Option<Behavior> {
    Some(Behavior {
        scale_down: rules(select, policies),
        ..Behavior::default()
    })
}

fn stabilizing(up_seconds: u64, down_seconds: u64) -> Option<Behavior> {
    let mut behavior = Behavior::default();
    behavior.scale_up.stabilization = Duration::from_secs(up_seconds);
    behavior.scale_down.stabilization = Duration::from_secs(down_seconds);
    Some(behavior)
}

/// A sync of an HPA that has been quiet for an hour, `changed` its replicas a minute ago, and now wants `wanted`.
fn sync(spec: Spec, current: i32, changed: i32, wanted: i32) -> Decision {
    let mut autoscaler = Autoscaler::new(spec);
    autoscaler.decide(NOW - Duration::from_secs(3601), &wanting(current, current));
    autoscaler.scaled(NOW - Duration::from_secs(60), current - changed, current);
    autoscaler.reconcile(NOW, &wanting(current, wanted))
}

/// The reason of a condition.
fn reason(condition: Option<&Condition>) -> Option<Reason> {
    condition.map(|condition| condition.reason)
}

/// Holds what [`sync`] decides, given replicas, those added within the period and those wanted, against an example.
fn assert_cut(number: u32, spec: Spec, given: (i32, i32, i32), desired: i32, limited: Reason) {
    let (current, changed, wanted) = given;
    let decision = sync(spec, current, changed, wanted);
    assert_eq!(decision.desired, desired, "example {number}");
    let condition = decision.conditions.scaling_limited.unwrap();
    assert_eq!(condition.reason, limited, "example {number}");
    let is_cut = limited != Reason::DesiredWithinRange;
    assert_eq!(condition.status, is_cut, "example {number}");
}

#[test]
fn bounds_and_default_rates_cut_what_is_wanted() {
    use Reason::{ScaleUpLimit, TooFewReplicas, TooManyReplicas};
    let empty = || Some(Behavior::default());
    for (number, spec, given, desired, limited) in [
        (52, spec(1, 20, None), (1, 0, 9), 4, ScaleUpLimit),
        (53, spec(1, 20, None), (3, 0, 9), 6, ScaleUpLimit),
        (54, spec(1, 15, None), (10, 0, 30), 15, TooManyReplicas),
        (55, spec(2, 20, None), (4, 0, 0), 2, TooFewReplicas),
        (58, spec(1, 20, empty()), (1, 0, 9), 5, ScaleUpLimit),
        (59, spec(1, 100, empty()), (10, 0, 50), 20, ScaleUpLimit),
    ] {
        assert_cut(number, spec, given, desired, limited);
    }
}

#[test]
fn policies_cut_what_is_added() {
    use PolicyUnit::{Percent, Pods};
    for (number, policies, given, desired) in [
        (
            60,
            &[(Pods, 100, 15), (Percent, 100, 15)][..],
            (10, 0, 500),
            110,
        ),
        (61, &[(Percent, 1, 15)], (3, 0, 1000), 4),
        (62, &[(Pods, 5, 120)], (100, 15, 500), 100),
        (63, &[(Percent, 200, 120)], (100, 15, 500), 255),
    ] {
        let spec = spec(1, 2000, up(Select::Max, policies));
        assert_cut(number, spec, given, desired, Reason::ScaleUpLimit);
    }
}

#[test]
fn a_change_counts_until_its_period_is_over_and_not_in_the_millisecond_that_ends_it() {
    let behavior = up(
        Select::Min,
        &[(PolicyUnit::Pods, 2, 60), (PolicyUnit::Percent, 50, 60)],
    );
    // Of 8 the policies allow 2 more or 4, of the 6 that there were before the change 2 or 3.
    for (ago_ms, desired) in [(59_999, 8), (60_000, 10), (60_001, 10)] {
        let mut autoscaler = Autoscaler::new(spec(1, 100, behavior.clone()));
        autoscaler.decide(NOW - Duration::from_secs(3601), &wanting(6, 6));
        autoscaler.scaled(NOW - Duration::from_millis(ago_ms), 6, 8);
        let decision = autoscaler.decide(NOW, &wanting(8, 50));
        assert_eq!(decision.desired, desired, "{ago_ms} ms ago");
    }
}

#[test]
fn changes_of_both_directions_make_the_start_of_a_period() {
    let behavior = Behavior {
        scale_up: rules(Select::Max, &[(PolicyUnit::Pods, 4, 60)]),
        scale_down: rules(Select::Max, &[(PolicyUnit::Percent, 10, 60)]),
    };
    let mut autoscaler = Autoscaler::new(spec(1, 100, Some(behavior)));
    autoscaler.decide(NOW - Duration::from_secs(3601), &wanting(10, 10));
    autoscaler.scaled(NOW - Duration::from_secs(40), 10, 14);
    autoscaler.scaled(NOW - Duration::from_secs(20), 14, 12);
    // The period began with 10: 12, less 4 added, and 2 that were removed.
    assert_eq!(autoscaler.clone().decide(NOW, &wanting(12, 50)).desired, 14);
    assert_eq!(autoscaler.decide(NOW, &wanting(12, 1)).desired, 9);
}

#[test]
fn a_policy_of_the_largest_number_overflows_and_lets_no_pod_come() {
    let behavior = up(Select::Max, &[(PolicyUnit::Pods, i32::MAX, 15)]);
    assert_cut(
        0,
        spec(1, 100, behavior),
        (3, 0, 50),
        3,
        Reason::ScaleUpLimit,
    );
}

#[test]
fn a_window_of_none_holds_nothing_and_the_longest_holds_an_hour() {
    for (seconds, aim) in [(0, 3), (3600, 8)] {
        let behavior = stabilizing(0, seconds);
        let decision = after(spec(1, 20, behavior), &[(3599, 8, 8), (15, 8, 3)], 8, 3);
        assert_eq!(decision.desired, aim, "{seconds} s");
    }
}

#[test]
fn policies_cut_what_is_removed() {
    use PolicyUnit::{Percent, Pods};
    use Select::{Disabled, Max, Min};
    let two = &[(Pods, 4, 15), (Percent, 50, 15)][..];
    for (number, select, policies, given, desired) in [
        (64, Max, &[(Percent, 10, 15)][..], (5, 0, 1), 4),
        (65, Max, &[(Percent, 50, 120)], (100, -12, 0), 56),
        (66, Max, &[(Percent, 10, 120)], (100, -30, 0), 100),
        (67, Min, two, (20, 0, 1), 16),
        (67, Max, two, (20, 0, 1), 10),
        (68, Disabled, two, (10, 0, 2), 10),
    ] {
        let spec = spec(1, 1000, down(select, policies));
        assert_cut(number, spec, given, desired, Reason::ScaleDownLimit);
    }
    let spec = spec(1, 20, down(Max, two));
    assert_cut(0, spec, (20, 0, 17), 17, Reason::DesiredWithinRange);
}

/// Syncs some seconds before [`NOW`], each given as (seconds, replicas, wanted), and then one at it.
fn after(spec: Spec, past: &[(u64, i32, i32)], current: i32, wanted: i32) -> Decision {
    let mut autoscaler = Autoscaler::new(spec);
    for (seconds, current, wanted) in past {
        autoscaler.decide(
            NOW - Duration::from_secs(*seconds),
            &wanting(*current, *wanted),
        );
    }
    autoscaler.decide(NOW, &wanting(current, wanted))
}

#[test]
fn earlier_recommendations_hold_a_change_back() {
    use Reason::{ReadyForNewScale, ScaleDownStabilized, ScaleUpStabilized};
    // number, spec, past, replicas, wanted, aim, reason
    for (number, spec, past, current, wanted, aim, able) in [
        (
            56,
            spec(1, 20, None),
            &[(120, 3, 4), (60, 4, 5)][..],
            5,
            3,
            5,
            ScaleDownStabilized,
        ),
        (
            57,
            spec(1, 20, None),
            &[(600, 9, 10), (540, 10, 9)],
            9,
            3,
            3,
            ReadyForNewScale,
        ),
        (
            69,
            spec(1, 20, stabilizing(300, 300)),
            &[(120, 4, 4), (60, 4, 5)],
            1,
            7,
            4,
            ScaleUpStabilized,
        ),
        (
            70,
            spec(1, 20, stabilizing(300, 300)),
            &[(120, 3, 3)],
            2,
            1,
            2,
            ScaleDownStabilized,
        ),
    ] {
        let decision = after(spec, past, current, wanted);
        let Path::Metrics { stabilized, .. } = decision.path else {
            panic!("example {number} reads metrics")
        };
        assert_eq!(
            (stabilized.to, stabilized.reason),
            (aim, able),
            "example {number}"
        );
    }
}

#[test]
fn a_hold_says_what_holds_and_for_how_long() {
    let decision = after(
        spec(1, 20, None),
        &[(200, 5, 8), (120, 8, 8), (60, 8, 5)],
        8,
        3,
    );
    let Path::Metrics { stabilized, .. } = decision.path else {
        panic!("metrics decide")
    };
    let (rec, left) = stabilized.held_by.unwrap();
    assert_eq!((rec.replicas, rec.at), (8, NOW - Duration::from_secs(120)));
    assert_eq!(left, Duration::from_secs(180));
    assert_eq!(
        decision.conditions.able_to_scale.unwrap().message,
        "the metrics want 3, but wanted 8 within the window: 8 for 180 s more unless they change"
    );
}

#[test]
fn a_rate_says_which_policy_cuts_and_when_it_frees_up() {
    let behavior = up(Select::Max, &[(PolicyUnit::Pods, 5, 120)]);
    let decision = sync(spec(1, 1000, behavior), 100, 15, 500);
    let Path::Metrics { limited, .. } = decision.path else {
        panic!("metrics decide")
    };
    assert_eq!(limited.policy.unwrap().value, 5);
    assert_eq!(limited.frees_in, Some(Duration::from_secs(60)));
    assert_eq!(
        limited.to_string(),
        "held at 100 by the policy 5 pods in 120 s, which frees up in 60 s"
    );
}

#[test]
fn a_direction_that_is_disabled_is_said_to_be() {
    let two = [(PolicyUnit::Pods, 4, 15)];
    for (behavior, wanted, message) in [
        (
            down(Select::Disabled, &two),
            2,
            "held at 10: selectPolicy disables scaling down",
        ),
        (
            up(Select::Disabled, &two),
            15,
            "held at 10: selectPolicy disables scaling up",
        ),
        (None, 50, "held at 20, as far as one sync may go"),
    ] {
        let decision = sync(spec(1, 100, behavior), 10, 0, wanted);
        let condition = decision.conditions.scaling_limited.unwrap();
        assert_eq!(condition.message, message);
    }
}

#[test]
fn the_first_sync_holds_the_replicas_it_finds() {
    let mut autoscaler = Autoscaler::new(spec(1, 20, None));
    assert_eq!(autoscaler.reconcile(NOW, &wanting(9, 2)).desired, 9);
    let later = NOW + Duration::from_secs(300);
    assert_eq!(
        autoscaler.reconcile(later, &wanting(9, 2)).desired,
        9,
        "at the window's very end"
    );
    let later = NOW + Duration::from_millis(300_001);
    assert_eq!(autoscaler.reconcile(later, &wanting(9, 2)).desired, 2);
}

#[test]
fn a_failing_metric_holds_replicas_but_never_lowers_them() {
    let two = Spec {
        metrics: vec![external(Target::AverageValue(1000)), cpu_average()],
        ..spec(1, 20, None)
    };
    let failed = || Err("503".to_owned());
    // number, first and second answer, decided, ScalingActive
    for (number, first, second, desired, active) in [
        (71, values(&[8000]), failed(), 8, Reason::ValidMetricFound),
        (72, values(&[5000]), failed(), 5, Reason::ValidMetricFound),
        (
            73,
            values(&[3000]),
            failed(),
            5,
            Reason::FailedGetResourceMetric,
        ),
        (74, failed(), failed(), 5, Reason::FailedGetExternalMetric),
        (
            75,
            values(&[3000]),
            usage(&[0; 5]),
            3,
            Reason::ValidMetricFound,
        ),
    ] {
        let mut autoscaler = Autoscaler::new(two.clone());
        autoscaler.decide(NOW - Duration::from_secs(3600), &wanting(5, 5));
        let observed = Observation {
            answers: vec![first, second],
            pods: pods(5, 0),
            ..wanting(5, 0)
        };
        let decision = autoscaler.reconcile(NOW, &observed);
        assert_eq!(decision.desired, desired, "example {number}");
        let condition = decision.conditions.scaling_active.unwrap();
        assert_eq!(condition.reason, active, "example {number}");
        assert_eq!(
            condition.status,
            active == Reason::ValidMetricFound,
            "example {number}"
        );
    }
}

fn cpu_average() -> MetricSpec {
    MetricSpec::Resource {
        resource: "cpu".to_owned(),
        container: None,
        target: ResourceTarget::AverageValue(1000),
    }
}

#[test]
fn outside_its_bounds_an_hpa_acts_without_metrics() {
    for (current, desired, path) in [(21, 20, Path::AboveMax), (1, 2, Path::BelowMin)] {
        let decision = Autoscaler::new(spec(2, 20, None)).reconcile(NOW, &wanting(current, 7));
        assert_eq!((decision.desired, decision.path), (desired, path));
        assert_eq!(
            reason(decision.conditions.able_to_scale.as_ref()),
            Some(Reason::SucceededRescale)
        );
        assert_eq!(decision.conditions.scaling_active, None);
    }
}

#[test]
fn a_target_without_replicas_stays_switched_off() {
    let decision = Autoscaler::new(spec(2, 20, None)).reconcile(NOW, &wanting(0, 7));
    assert_eq!((decision.desired, decision.path), (0, Path::Disabled));
    assert_eq!(
        reason(decision.conditions.scaling_active.as_ref()),
        Some(Reason::ScalingDisabled)
    );
}

#[test]
fn a_condition_stays_until_a_sync_says_otherwise() {
    let mut autoscaler = Autoscaler::new(spec(1, 20, None));
    autoscaler.reconcile(NOW, &wanting(4, 30));
    let failed = Observation {
        answers: vec![Err("503".to_owned())],
        ..wanting(8, 0)
    };
    let conditions = autoscaler
        .reconcile(NOW + Duration::from_secs(15), &failed)
        .conditions;
    assert_eq!(
        reason(conditions.able_to_scale.as_ref()),
        Some(Reason::SucceededGetScale)
    );
    assert_eq!(
        reason(conditions.scaling_active.as_ref()),
        Some(Reason::FailedGetExternalMetric)
    );
    assert_eq!(
        reason(conditions.scaling_limited.as_ref()),
        Some(Reason::ScaleUpLimit)
    );
}

#[test]
fn of_equal_proposals_the_first_wins() {
    let two = Spec {
        metrics: vec![external(Target::AverageValue(1000)); 2],
        ..spec(1, 20, None)
    };
    for (wanted, expected) in [([3, 3], 0), ([3, 4], 1), ([4, 3], 0), ([0, 0], 1)] {
        let answers = wanted.map(|wanted| values(&[wanted * 1000])).to_vec();
        let decision = Autoscaler::new(two.clone()).reconcile(
            NOW,
            &Observation {
                answers,
                ..wanting(3, 0)
            },
        );
        let Path::Metrics { winner, .. } = decision.path else {
            panic!("metrics decide")
        };
        assert_eq!(winner, expected, "{wanted:?}");
    }
}
