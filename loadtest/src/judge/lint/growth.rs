//! How fast an HPA's rules let it go from one number of replicas to another, when it wants to all the time: its own
//! arithmetic of policies, sync period by sync period, as in `calculateScaleUpLimitWithScalingRules` and its counterpart
//! of Kubernetes' controller.

use crate::recording::{Autoscaler, Policy, PolicyKind, Rules, Select};

/// Sync periods after which a way is called endless: a day of the default ones.
const SYNCS_MAX: u32 = 5_760;

/// The least time in seconds from wanting `to` replicas to having been told so, with every look at the luckiest moment;
/// `None` when the rules or the bounds never allow it.
#[must_use]
pub fn grow_s(hpa: &Autoscaler, from: u32, to: u32) -> Option<f64> {
    if hpa.max_replicas < to {
        return None;
    }
    walk_s(&hpa.scale_up, hpa.sync_period_s, from, to)
}

/// The same for fewer replicas.
#[must_use]
pub fn shrink_s(hpa: &Autoscaler, from: u32, to: u32) -> Option<f64> {
    if to < hpa.min_replicas {
        return None;
    }
    walk_s(&hpa.scale_down, hpa.sync_period_s, from, to)
}

fn walk_s(rules: &Rules, sync_s: f64, from: u32, to: u32) -> Option<f64> {
    let up = from < to;
    let mut replicas = from;
    // When how many came or went, in seconds from the first step.
    let mut steps: Vec<(f64, u32)> = Vec::new();
    for sync in 0..SYNCS_MAX {
        if replicas == to {
            break;
        }
        let now_s = f64::from(sync) * sync_s;
        let limit = limit(rules, now_s, replicas, &steps, up)?;
        let next = if up {
            to.min(limit.max(replicas))
        } else {
            to.max(limit.min(replicas))
        };
        if next != replicas {
            steps.push((now_s, next.abs_diff(replicas)));
            replicas = next;
        }
    }
    let last_s = steps.last().map_or(0.0, |(at_s, _)| *at_s);
    (replicas == to).then_some(rules.stabilization_s + last_s)
}

/// How far the policies let it go now; `None` when the direction is switched off.
fn limit(rules: &Rules, now_s: f64, replicas: u32, steps: &[(f64, u32)], up: bool) -> Option<u32> {
    let limits = rules.policies.iter().map(|policy| {
        // A step exactly a period ago does not count any more.
        let recent = steps
            .iter()
            .filter(|(at_s, _)| now_s - policy.period_s < *at_s);
        let done: u32 = recent.map(|(_, count)| *count).sum();
        if up {
            grown(policy, replicas.saturating_sub(done))
        } else {
            shrunk(policy, replicas.saturating_add(done))
        }
    });
    let furthest_is_max = match rules.select {
        Select::Disabled => return None,
        Select::Max => up,
        Select::Min => !up,
    };
    let limit = if furthest_is_max {
        limits.max()
    } else {
        limits.min()
    };
    let unlimited = if up { u32::MAX } else { 0 };
    Some(limit.unwrap_or(unlimited))
}

fn grown(policy: &Policy, start: u32) -> u32 {
    match policy.kind {
        PolicyKind::Pods => start.saturating_add(policy.value),
        PolicyKind::Percent => {
            (f64::from(start) * (1.0 + f64::from(policy.value) / 100.0)).ceil() as u32
        }
    }
}

fn shrunk(policy: &Policy, start: u32) -> u32 {
    match policy.kind {
        PolicyKind::Pods => start.saturating_sub(policy.value),
        PolicyKind::Percent => (f64::from(start) * (1.0 - f64::from(policy.value) / 100.0)) as u32,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy(kind: PolicyKind, value: u32, period_s: f64) -> Policy {
        Policy {
            kind,
            value,
            period_s,
        }
    }

    /// The defaults of Kubernetes: 100 % or 4 pods in 15 s up; 100 % in 15 s after 300 s down.
    fn default() -> Autoscaler {
        Autoscaler {
            min_replicas: 1,
            max_replicas: 100,
            sync_period_s: 15.0,
            scale_up: Rules {
                policies: vec![
                    policy(PolicyKind::Percent, 100, 15.0),
                    policy(PolicyKind::Pods, 4, 15.0),
                ],
                ..Rules::default()
            },
            scale_down: Rules {
                stabilization_s: 300.0,
                policies: vec![policy(PolicyKind::Percent, 100, 15.0)],
                ..Rules::default()
            },
            ..Autoscaler::default()
        }
    }

    #[test]
    fn the_default_rules_double_or_add_four() {
        let hpa = default();
        // 1 -> 5 -> 10 -> 20 -> 40 -> 80
        for (to, seconds) in [
            (1, 0.0),
            (5, 0.0),
            (6, 15.0),
            (10, 15.0),
            (11, 30.0),
            (40, 45.0),
            (80, 60.0),
        ] {
            assert_eq!(grow_s(&hpa, 1, to), Some(seconds), "to {to}");
        }
        assert_eq!(grow_s(&hpa, 1, 101), None, "the HPA has 100 at most");
        assert_eq!(shrink_s(&hpa, 80, 1), Some(300.0));
        assert_eq!(shrink_s(&hpa, 80, 0), None);
    }

    #[test]
    fn a_period_longer_than_a_sync_counts_what_was_done_in_it() {
        let mut hpa = default();
        hpa.scale_up.policies = vec![policy(PolicyKind::Pods, 2, 60.0)];
        assert_eq!(grow_s(&hpa, 1, 3), Some(0.0));
        assert_eq!(grow_s(&hpa, 1, 4), Some(60.0));
        assert_eq!(grow_s(&hpa, 1, 7), Some(120.0));
        hpa.scale_down.policies = vec![policy(PolicyKind::Percent, 10, 60.0)];
        // 10 % of 10 leave 9, of 9 leave 8 (8.1 cut off), of 8 leave 7.
        assert_eq!(shrink_s(&hpa, 10, 7), Some(300.0 + 120.0));
    }

    #[test]
    fn the_policy_that_allows_the_least_can_be_selected() {
        let mut hpa = default();
        hpa.scale_up.select = Select::Min;
        // 1 -> 2 -> 4 -> 8 by percent, then 12 by pods.
        assert_eq!(grow_s(&hpa, 1, 8), Some(30.0));
        assert_eq!(grow_s(&hpa, 1, 12), Some(45.0));
        hpa.scale_up.select = Select::Disabled;
        assert_eq!(grow_s(&hpa, 1, 2), None);
    }

    #[test]
    fn no_policy_is_no_limit_and_stabilization_comes_first() {
        let mut hpa = default();
        hpa.scale_up.policies.clear();
        hpa.scale_up.stabilization_s = 60.0;
        assert_eq!(grow_s(&hpa, 1, 100), Some(60.0));
    }

    #[test]
    fn a_policy_that_allows_nothing_never_arrives() {
        let mut hpa = default();
        hpa.scale_down.policies = vec![policy(PolicyKind::Pods, 0, 60.0)];
        assert_eq!(shrink_s(&hpa, 5, 4), None);
    }
}
