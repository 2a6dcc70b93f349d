//! What must be so before the first request: the replicas that are expected, no rollout, and an HPA at rest. A run that
//! begins in the middle of something else measures that. Pure.

use std::time::Duration;

use super::seen::Seen;
use crate::scenario::Span;

/// What was not so in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the preconditions did not hold within {after}: {}", problems.join("; "))]
pub struct Unmet {
    /// How long was waited.
    pub after: Span,
    /// What is not so, a sentence each, with the service's name before it.
    pub problems: Vec<String>,
}

/// What is not so at `t_s`, which is `now` since the Unix epoch. `replicas` is what is declared; the HPA's minimum
/// otherwise.
pub(super) fn problems(
    seen: &Seen,
    replicas: Option<u32>,
    quiet_s: f64,
    t_s: f64,
    now: Duration,
) -> Vec<String> {
    let live = seen.live(t_s);
    let mut problems: Vec<String> = live
        .lost
        .iter()
        .map(|what| format!("the {what} is not observed"))
        .collect();
    let wanted = replicas.or(live.bounds.map(|(min, _)| min));
    let Some(wanted) = wanted else {
        problems.push("the HPA was deleted".to_owned());
        return problems;
    };
    for (what, number) in [("desired", live.desired), ("ready", live.ready)] {
        match number {
            Some(number) if number == wanted => {}
            Some(number) => problems.push(format!("{number} replicas are {what}, not {wanted}")),
            None => problems.push(format!("it is not known how many replicas are {what}")),
        }
    }
    // Who waits for a number that never comes must be told why.
    if live.desired != Some(wanted)
        && let Some(why) = seen.inactive()
    {
        problems.push(format!("the HPA does not scale: {why}"));
    }
    if seen.is_rolling() {
        problems.push("a rollout is under way".to_owned());
    }
    let told_s = seen
        .last_scale()
        .map(|at| now.saturating_sub(at).as_secs_f64());
    let seen_s = seen.last_change_s().map(|at_s| t_s - at_s);
    let rest_s = told_s.into_iter().chain(seen_s).reduce(f64::min);
    if let Some(rest_s) = rest_s.filter(|rest_s| *rest_s < quiet_s) {
        problems.push(format!(
            "the HPA scaled {rest_s:.0} s ago, which must be {quiet_s:.0} s"
        ));
    }
    problems
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::autoscaler;
    use super::super::seen::Watched;
    use super::super::target::Target;
    use super::*;

    /// The HPA's word is that it scaled at 1,000 s since the epoch; the observation began at 1,100 s.
    fn seen(desired: u32, ready: u32, updated: u32) -> Seen {
        let hpa = json!({
            "metadata": {"name": "users", "namespace": "shop"},
            "spec": {"minReplicas": 2, "maxReplicas": 9,
                "scaleTargetRef": {"kind": "Deployment", "name": "users"}},
            "status": {"desiredReplicas": desired, "currentReplicas": desired, "conditions": [],
                "lastScaleTime": "1970-01-01T00:16:40Z"},
        });
        let hpa: k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler =
            serde_json::from_value(hpa).unwrap();
        let target = json!({
            "spec": {"replicas": desired, "strategy": {}},
            "status": {"replicas": desired, "readyReplicas": ready, "updatedReplicas": updated},
        });
        let metrics = autoscaler::metrics(&hpa.spec);
        let mut seen = Seen::new(15.0, "HPA".to_owned(), "target".to_owned(), metrics);
        seen.heard(Watched::Hpa, 0.0);
        seen.heard(Watched::Target, 0.0);
        seen.hpa(0.0, &hpa);
        seen.target(0.0, Target::read("Deployment", &target));
        seen
    }

    fn at(seen: &Seen, replicas: Option<u32>, quiet_s: f64, t_s: u64) -> Vec<String> {
        let now = Duration::from_secs(1_100 + t_s);
        problems(seen, replicas, quiet_s, t_s as f64, now)
    }

    #[test]
    fn an_hpa_at_rest_at_its_minimum_is_ready() {
        assert_eq!(at(&seen(2, 2, 2), None, 60.0, 1), Vec::<String>::new());
        assert_eq!(at(&seen(5, 5, 5), Some(5), 60.0, 1), Vec::<String>::new());
    }

    #[test]
    fn each_thing_that_is_not_so_is_told() {
        let told = at(&seen(3, 1, 2), None, 300.0, 1).join("\n");
        for expected in [
            "3 replicas are desired, not 2",
            "1 replicas are ready, not 2",
            "a rollout is under way",
            "the HPA scaled 101 s ago, which must be 300 s",
        ] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        let silent = at(&seen(2, 2, 2), None, 60.0, 20).join("\n");
        assert!(
            silent.contains("the scale target is not observed"),
            "{silent}"
        );
    }

    #[test]
    fn an_hpa_that_cannot_read_its_metric_wants_nothing_and_says_why() {
        let mut seen = seen(2, 2, 2);
        let hpa = json!({
            "metadata": {}, "spec": {"maxReplicas": 9,
                "scaleTargetRef": {"kind": "Deployment", "name": "users"}},
            "status": {"desiredReplicas": 0, "currentReplicas": 2, "conditions": [
                {"type": "ScalingActive", "status": "False", "reason": "FailedGetExternalMetric",
                    "message": "no value: 2 unauthorized"},
            ]},
        });
        seen.hpa(1.0, &serde_json::from_value(hpa).unwrap());
        assert_eq!(
            at(&seen, Some(2), 0.0, 2),
            [
                "it is not known how many replicas are desired",
                "the HPA does not scale: FailedGetExternalMetric, no value: 2 unauthorized",
            ]
        );
    }

    #[test]
    fn a_change_before_our_eyes_counts_whatever_the_servers_clock_says() {
        let mut seen = seen(2, 2, 2);
        for (t_s, desired) in [(5.0, 3), (6.0, 2)] {
            let hpa = json!({
                "metadata": {}, "spec": {"minReplicas": 2, "maxReplicas": 9,
                    "scaleTargetRef": {"kind": "Deployment", "name": "users"}},
                "status": {"desiredReplicas": desired, "currentReplicas": 2, "conditions": []},
            });
            seen.hpa(t_s, &serde_json::from_value(hpa).unwrap());
        }
        assert_eq!(
            at(&seen, None, 60.0, 10),
            ["the HPA scaled 4 s ago, which must be 60 s"]
        );
        assert_eq!(at(&seen, None, 4.0, 10), Vec::<String>::new());
    }
}
