//! What an HPA sees when one thing is otherwise: another value of one metric, fewer pods, pods that are all ready.

use std::collections::BTreeMap;

use super::{LONG_AGO, Next};
use crate::hpa::replicas::{Context, excluded};
use crate::hpa::{
    Answer, Exclusion, MetricSpec, Observation, Phase, Pod, Readiness, ReadyStatus, ResourceTarget,
    Target,
};
use crate::model::time::Timestamp;

impl Next<'_> {
    /// What a metric reads now: its total, its average, or its per cent.
    pub(super) fn value(&self, metric: usize) -> Option<i64> {
        let milli = self.facts.metrics.get(metric)?.read_milli()?;
        Some(match self.facts.spec.metrics.get(metric)? {
            MetricSpec::Resource {
                target: ResourceTarget::Utilization(_),
                ..
            } => milli / 1000,
            _ => milli,
        })
    }

    /// What a metric would read if it were on its target.
    pub(super) fn target(&self, metric: usize) -> Option<i64> {
        Some(match self.facts.spec.metrics.get(metric)? {
            MetricSpec::External { target, .. } | MetricSpec::Object { target, .. } => match target
            {
                Target::Value(milli) => *milli,
                Target::AverageValue(milli) => milli.saturating_mul(i64::from(self.desired)),
            },
            MetricSpec::Pods { average_milli, .. } => *average_milli,
            MetricSpec::Resource { target, .. } => match target {
                ResourceTarget::Utilization(percent) => i64::from(*percent),
                ResourceTarget::AverageValue(milli) => *milli,
            },
        })
    }

    /// A value of this metric in thousandths.
    pub(super) fn as_milli(&self, metric: usize, value: i64) -> i64 {
        match self.facts.spec.metrics.get(metric) {
            Some(MetricSpec::Resource {
                target: ResourceTarget::Utilization(_),
                ..
            }) => value.saturating_mul(1000),
            _ => value,
        }
    }

    /// What the HPA sees when this metric reads `value`, every pod having its share.
    pub(super) fn reading(&self, metric: usize, value: i64) -> Option<Observation> {
        let spec = self.facts.spec.metrics.get(metric)?;
        let answer = match (spec, self.observed.answers.get(metric)?.as_ref().ok()?) {
            (_, Answer::Values(_)) => Answer::Values(vec![value]),
            (
                MetricSpec::Resource {
                    target: ResourceTarget::Utilization(_),
                    ..
                },
                Answer::PerPod(_),
            ) => self.utilization(metric, value)?,
            (_, Answer::PerPod(usage)) => {
                let mut usage = usage.clone();
                usage.values_mut().for_each(|usage| usage.milli = value);
                Answer::PerPod(usage)
            }
        };
        let mut observed = self.observed.clone();
        observed.answers[metric] = Ok(answer);
        Some(observed)
    }

    /// Usages of the pods that count which together are `percent` of their requests.
    fn utilization(&self, metric: usize, percent: i64) -> Option<Answer> {
        let spec = self.facts.spec.metrics.get(metric)?;
        let answer = self.observed.answers.get(metric)?;
        let Ok(Answer::PerPod(usage)) = answer else {
            return None;
        };
        let context = Context {
            now: self.facts.at,
            observed: &self.observed,
            tolerances: self.facts.spec.tolerances(),
        };
        let excluded = excluded(context, spec, answer);
        let counts = |name: &str| {
            let mut others = excluded.iter();
            !others.any(|(pod, why)| *pod == name && *why != Exclusion::Missing)
        };
        let mut usage = usage.clone();
        let mut requested = 0_i64;
        // The share is that of the sum, or its rounding would add up over the pods.
        let share = |requested: i64| {
            let hundredths = i128::from(requested) * i128::from(percent);
            i64::try_from((hundredths + 99).div_euclid(100)).unwrap_or(i64::MAX)
        };
        for pod in self.observed.pods.iter().filter(|pod| counts(&pod.name)) {
            let request = pod.request(spec.name(), spec.container());
            if let (Some(usage), Some(request)) = (usage.get_mut(&pod.name), request) {
                let before = share(requested);
                requested = requested.saturating_add(request);
                usage.milli = share(requested).saturating_sub(before);
            }
        }
        Some(Answer::PerPod(usage))
    }
}

/// Takes `count` pods away, with what they use: those that are not ready first, then the youngest.
pub(super) fn drop_pods(observed: &mut Observation, count: usize) {
    observed
        .pods
        .sort_by_key(|pod| (!pod.is_ready(), pod.started, pod.name.clone()));
    let kept = observed.pods.len().saturating_sub(count);
    for pod in observed.pods.split_off(kept) {
        for answer in observed.answers.iter_mut().flatten() {
            if let Answer::PerPod(usage) = answer {
                usage.remove(&pod.name);
            }
        }
    }
}

/// A pod that is ready and has been for long.
pub(super) fn ready_pod(index: usize, now: Timestamp) -> Pod {
    let since = now - LONG_AGO;
    Pod {
        name: format!("pod-{index}"),
        phase: Phase::Running,
        deleted: false,
        started: Some(since),
        readiness: Some(Readiness {
            status: ReadyStatus::True,
            since,
        }),
        requests: BTreeMap::new(),
        container_requests: BTreeMap::new(),
    }
}
