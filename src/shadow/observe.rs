//! What was seen of a sync to what the HPA observed in it: from our own answers where it read them here, from its
//! status else, and by presumption where neither says. Every presumption that a decision may hang on is named.

use std::collections::BTreeMap;
use std::time::Duration;

use super::seen::Served;
use super::sync::Sync;
use crate::hpa::{
    Answer, Current, MetricSpec, Observation, Phase, Pod, Readiness, ReadyStatus, Reason,
    ResourceTarget, Target, Usage,
};
use crate::model::time::Timestamp;

/// Over how long a pod's usage is taken to be measured: metrics-server's own resolution.
const USAGE_WINDOW: Duration = Duration::from_secs(15);

/// How far the number of replicas that gives a reported average may lie from the number of pods seen: one rollout's
/// surge of the largest Deployments. Farther, the pods seen are the better witness.
const REPLICAS_APART_MAX: i32 = 1_000;

/// A sync as the HPA observed it.
#[derive(Clone, Debug)]
pub(super) struct Observed {
    pub(super) observation: Observation,
    /// What was presumed for it, a clause each.
    pub(super) presumed: Vec<String>,
}

/// What the HPA observed in `sync`; `None` where not even its own replicas are known.
pub(super) fn observe(sync: &Sync) -> Option<Observed> {
    let spec_replicas = sync.current()?;
    let mut presumed = Vec::new();
    let status_replicas = status_replicas(sync, spec_replicas);
    let mut pods: Vec<Pod> = match &sync.pods {
        Some(pods) => pods.iter().map(|pod| Pod::clone(pod)).collect(),
        None => {
            if sync.wanted.spec.metrics.iter().any(counts_pods) {
                presumed.push(format!(
                    "its pods were not seen here, so {status_replicas} ready ones were presumed"
                ));
            }
            ready_pods(status_replicas, sync.at)
        }
    };
    let metrics = sync.wanted.spec.metrics.iter().enumerate();
    let answers = metrics.map(|(index, metric)| {
        let read = sync.reads.get(index).and_then(Option::as_ref);
        match read {
            Some(Ok(served)) => Ok(Answer::Values(served.values_milli.to_vec())),
            Some(Err(message)) => Err(message.to_string()),
            None => {
                let Some(current) = sync.status.metric(index) else {
                    return Err(unread(sync, index));
                };
                Ok(shown(
                    metric,
                    current,
                    status_replicas,
                    is_alone(metric, &sync.wanted.spec.metrics),
                    &mut pods,
                    sync.at,
                    &mut presumed,
                ))
            }
        }
    });
    let answers = answers.collect();
    Some(Observed {
        observation: Observation {
            spec_replicas,
            status_replicas,
            pods,
            answers,
        },
        presumed,
    })
}

/// Why the HPA has no value of a metric, as far as its status says: that of the first that failed is in its condition.
fn unread(sync: &Sync, index: usize) -> String {
    let metrics = &sync.wanted.spec.metrics;
    let is_unread = |index: &usize| {
        let is_read = matches!(sync.reads.get(*index), Some(Some(Ok(_))));
        !is_read && sync.status.metric(*index).is_none()
    };
    let first = (0..metrics.len()).find(is_unread);
    let told = sync.status.failure("ScalingActive").filter(|condition| {
        let of_metric = metrics.get(index).map(Reason::failed);
        first == Some(index)
            && of_metric.is_some_and(|reason| reason.to_string() == condition.reason)
    });
    match told {
        Some(condition) if !condition.message.is_empty() => condition.message.clone(),
        _ => "the HPA could not read it; its events say why".to_owned(),
    }
}

/// The answer that makes the HPA's status show `current`. Metrics that are shares of one request, since an HPA may have a
/// resource twice, have to share one here as well: of that they use so many hundredths.
fn shown(
    metric: &MetricSpec,
    current: Current,
    status_replicas: i32,
    is_alone: bool,
    pods: &mut [Pod],
    at: Timestamp,
    presumed: &mut Vec<String>,
) -> Answer {
    let unseen = |what: &str| {
        let name = metric.name();
        format!("what {what} of {name} was not seen here, only the average in the HPA's status")
    };
    match (metric, current) {
        (MetricSpec::External { .. } | MetricSpec::Object { .. }, Current::Value(total)) => {
            Answer::Values(vec![total])
        }
        (
            MetricSpec::External { .. } | MetricSpec::Object { .. },
            Current::AverageValue(average),
        ) => {
            presumed.push(unseen("the total is"));
            let average = average.unwrap_or(0);
            Answer::Values(vec![average.saturating_mul(i64::from(status_replicas))])
        }
        (
            _,
            Current::Utilization {
                percent,
                average_milli,
            },
        ) => {
            presumed.push(unseen("each pod uses"));
            let (usage, request) = if is_alone {
                usage_and_request(percent, average_milli)
            } else {
                (i64::from(percent), 100)
            };
            for pod in pods.iter_mut() {
                pod.set_request(metric.name(), metric.container(), request);
            }
            Answer::PerPod(each(pods, usage, at))
        }
        (_, Current::AverageValue(average)) => {
            presumed.push(unseen("each pod has"));
            Answer::PerPod(each(pods, average.unwrap_or(0), at))
        }
        // No status of such a metric has a total.
        (_, Current::Value(total)) => Answer::PerPod(each(pods, total, at)),
    }
}

/// Whether no other metric is a share of the same request: the pods' or that of one container.
fn is_alone(metric: &MetricSpec, all: &[MetricSpec]) -> bool {
    let is_same = |other: &&MetricSpec| {
        matches!(other, MetricSpec::Resource { .. })
            && other.name() == metric.name()
            && other.container() == metric.container()
    };
    all.iter().filter(is_same).count() <= 1
}

/// The same usage for every pod that is measured.
fn each(pods: &[Pod], milli: i64, at: Timestamp) -> BTreeMap<String, Usage> {
    let usage = Usage {
        milli,
        at,
        window: USAGE_WINDOW,
    };
    let measured = pods
        .iter()
        .filter(|pod| pod.phase == Phase::Running && !pod.deleted);
    measured.map(|pod| (pod.name.clone(), usage)).collect()
}

/// A usage and a request that make this utilization: the usage reported, where a request goes with it.
fn usage_and_request(percent: i32, average_milli: i64) -> (i64, i64) {
    let percent = i64::from(percent);
    let request = average_milli
        .saturating_mul(100)
        .checked_div(percent)
        .unwrap_or(0);
    let gives = average_milli.saturating_mul(100).checked_div(request);
    if gives == Some(percent) {
        (average_milli, request)
    } else {
        (percent, 100)
    }
}

/// Whether a metric's proposal hangs on which pods there are.
fn counts_pods(metric: &MetricSpec) -> bool {
    match metric {
        MetricSpec::External { target, .. } | MetricSpec::Object { target, .. } => {
            matches!(target, Target::Value(_))
        }
        MetricSpec::Pods { .. } => true,
        MetricSpec::Resource { target, .. } => matches!(
            target,
            ResourceTarget::Utilization(_) | ResourceTarget::AverageValue(_)
        ),
    }
}

/// `status.replicas` of the scale: what the status's own averages say, and else the pods that are there to stay.
fn status_replicas(sync: &Sync, spec_replicas: i32) -> i32 {
    let counted = sync.pods.as_ref().map(|pods| {
        let staying = pods
            .iter()
            .filter(|pod| !pod.deleted && matches!(pod.phase, Phase::Pending | Phase::Running));
        i32::try_from(staying.count()).unwrap_or(i32::MAX)
    });
    // Where the sync is known by its status alone, the pods were looked at after it: those it added or took away are
    // not what it saw.
    let desired = sync.status.desired;
    let (least, most) = (spec_replicas.min(desired), spec_replicas.max(desired));
    let near = counted
        .filter(|counted| *counted < least || most < *counted)
        .unwrap_or(spec_replicas);
    let mut reads = sync.reads.iter().enumerate();
    let told = reads.find_map(|(index, read)| {
        let Some(Ok(Served { values_milli, .. })) = read else {
            return None;
        };
        let Some(Current::AverageValue(Some(average))) = sync.status.metric(index) else {
            return None;
        };
        let total = values_milli
            .iter()
            .try_fold(0_i64, |sum, value| sum.checked_add(*value))?;
        replicas_of_average(total, average, near)
    });
    told.unwrap_or(near)
}

/// The number of replicas nearest to `near` over which `total` is reported as `average`; `None` where none is.
fn replicas_of_average(total: i64, average: i64, near: i32) -> Option<i32> {
    let gives = |replicas: &i32| {
        0 < *replicas && (total as f64 / f64::from(*replicas)).ceil() as i64 == average
    };
    let both = |apart: i32| [near.saturating_add(apart), near.saturating_sub(apart)];
    (0..=REPLICAS_APART_MAX).flat_map(both).find(gives)
}

/// So many pods that nobody saw, and that have been ready for long before `at`.
pub fn ready_pods(count: i32, at: Timestamp) -> Vec<Pod> {
    (0..count).map(|n| ready_pod(n, at)).collect()
}

fn ready_pod(n: i32, at: Timestamp) -> Pod {
    const LONG: Duration = Duration::from_secs(3600);
    Pod {
        name: format!("presumed-{n}"),
        phase: Phase::Running,
        deleted: false,
        started: Some(at - LONG),
        readiness: Some(Readiness {
            status: ReadyStatus::True,
            since: at - LONG,
        }),
        requests: BTreeMap::new(),
        container_requests: BTreeMap::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_replicas_behind_an_average_are_found_near_the_pods_seen() {
        assert_eq!(replicas_of_average(8_600, 2_867, 4), Some(3));
        assert_eq!(replicas_of_average(8_600, 2_867, 3), Some(3));
        // Of no load every number is as good, so the pods seen are believed.
        assert_eq!(replicas_of_average(0, 0, 7), Some(7));
        assert_eq!(replicas_of_average(100, 3_000, 5), None);
    }

    proptest! {
        #[test]
        fn replicas_that_are_found_do_give_the_average(total in 0_i64..1_000_000, replicas in 1_i32..500, off in -5_i32..5) {
            let average = (total as f64 / f64::from(replicas)).ceil() as i64;
            let found = replicas_of_average(total, average, replicas + off);
            let found = found.expect("the true one is near");
            prop_assert_eq!((total as f64 / f64::from(found)).ceil() as i64, average);
            prop_assert!((found - replicas - off).abs() <= off.abs());
        }

        #[test]
        fn a_utilization_is_made_again(percent in 0_i32..2_000, average in 0_i64..100_000, pods in 1_i64..50) {
            let (usage, request) = usage_and_request(percent, average);
            prop_assert_eq!(100 * usage * pods / (request * pods), i64::from(percent));
        }
    }
}
