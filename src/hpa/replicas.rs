//! One metric to a number of replicas, as Kubernetes' replica calculator does it.
//!
//! Sums are int64 thousandths, ratios are float64, and each multiplication and rounding stands where the controller has
//! it: a ratio of 1.12 over 25 pods is 29 replicas there, so it is 29 here. Limits and stabilization come later, in
//! [`super::behavior`].

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::observation::{Answer, Observation, Phase, Pod, ReadyStatus, Usage};
use super::spec::{
    CPU_INITIALIZATION_PERIOD, INITIAL_READINESS_DELAY, MetricSpec, ResourceTarget, Target,
    Tolerances,
};
use crate::model::time::Timestamp;

/// What one metric proposes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Proposal {
    /// How many replicas, before any limit. May be negative when the metric is.
    pub replicas: i32,
    /// The metric over its target, as the tolerance judged it: 1 is on target. `None` where nothing was judged.
    pub ratio: Option<f64>,
    /// Whether the ratio is so near 1 that nothing is proposed but what there is.
    pub within_tolerance: bool,
    /// What `currentMetrics` of the status shows.
    pub current: Current,
}

/// The metric's value as the status shows it, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Current {
    /// The total.
    #[serde(rename = "valueMilli")]
    Value(i64),
    /// The total over the replicas; `None` when there are none, for which the HPA shows an arbitrary number.
    #[serde(rename = "averageValueMilli")]
    AverageValue(Option<i64>),
    /// The pods' usage as a share of their requests, and the average usage.
    #[serde(rename = "utilization", rename_all = "camelCase")]
    Utilization {
        /// Per cent, truncated.
        percent: i32,
        /// Average usage per pod in thousandths, truncated.
        average_milli: i64,
    },
}

/// Why a pod has no part, or not its full part, in what a metric proposes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Exclusion {
    /// It is not Running and Ready, and the ratio multiplies the pods that are.
    NotReady,
    /// It is being deleted, or has failed.
    Leaving,
    /// It is Pending, or its CPU is still that of its start: it counts as using nothing where pods are added.
    Starting,
    /// It has no value: it counts as on target where pods are removed, and as using nothing where they are added.
    Missing,
}

/// What every calculation looks at.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The time of the sync.
    pub now: Timestamp,
    /// Scale and pods.
    pub observed: &'a Observation,
    /// How far off 1 a ratio may be.
    pub tolerances: Tolerances,
}

/// The replicas that `metric` proposes, given the `answer` it was read with.
///
/// # Errors
///
/// What made the metric invalid, for a reader.
//= horizontal.go computeReplicasForMetric
pub fn propose<'a>(
    context: Context<'a>,
    metric: &MetricSpec,
    answer: &'a Result<Answer, String>,
) -> Result<Proposal, String> {
    let answer = answer.as_ref().map_err(Clone::clone)?;
    match (metric, answer) {
        (MetricSpec::External { target, .. }, Answer::Values(items)) => {
            external(context, *target, items)
        }
        (MetricSpec::Object { target, .. }, Answer::Values(items)) => match items[..] {
            [value] => object(context, *target, value),
            _ => Err(format!(
                "expected one value of an object, got {}",
                items.len()
            )),
        },
        (MetricSpec::Pods { average_milli, .. }, Answer::PerPod(usage)) => {
            plain(context, "", *average_milli, usage)
        }
        (
            MetricSpec::Resource {
                resource,
                container,
                target,
            },
            Answer::PerPod(usage),
        ) => match target {
            ResourceTarget::Utilization(percent) => {
                utilization(context, (resource, container.as_deref()), *percent, usage)
            }
            ResourceTarget::AverageValue(milli) => plain(context, resource, *milli, usage),
        },
        (_, Answer::Values(_)) => Err("expected a value for each pod, got items".to_owned()),
        (_, Answer::PerPod(_)) => Err("expected items, got a value for each pod".to_owned()),
    }
}

/// The pods that `metric` does not count, or not as they are, by name, given the `answer` it was read with. None where it
/// does not look at pods, or was not read.
pub fn excluded<'a>(
    context: Context<'a>,
    metric: &MetricSpec,
    answer: &'a Result<Answer, String>,
) -> Vec<(&'a str, Exclusion)> {
    let pods = &context.observed.pods;
    let per_pod = |resource: &str, usage: &'a BTreeMap<String, Usage>| {
        Groups::of(context, resource, usage).map_or_else(|_| Vec::new(), |groups| groups.excluded())
    };
    match (metric, answer) {
        (
            MetricSpec::External {
                target: Target::Value(_),
                ..
            }
            | MetricSpec::Object {
                target: Target::Value(_),
                ..
            },
            Ok(_),
        ) => {
            let not_ready = pods.iter().filter(|pod| !pod.is_ready());
            not_ready
                .map(|pod| (pod.name.as_str(), Exclusion::NotReady))
                .collect()
        }
        (MetricSpec::Pods { .. }, Ok(Answer::PerPod(usage))) => per_pod("", usage),
        (MetricSpec::Resource { resource, .. }, Ok(Answer::PerPod(usage))) => {
            per_pod(resource, usage)
        }
        _ => Vec::new(),
    }
}

//= replica_calculator.go GetExternalMetricReplicas, GetExternalPerPodMetricReplicas
fn external(context: Context<'_>, target: Target, items: &[i64]) -> Result<Proposal, String> {
    if items.is_empty() {
        return Err("no metrics returned: the answer has no items".to_owned());
    }
    match target {
        Target::Value(target) => {
            let sum = items
                .iter()
                .fold(0_i64, |sum, item| sum.saturating_add(*item));
            by_ready_pods(context, target, sum)
        }
        Target::AverageValue(target) => {
            let mut sum = 0_i64;
            for item in items {
                // A negative running sum is taken for an overflow, so that one negative item asks for everything.
                match sum.checked_add(*item) {
                    Some(next) if 0 <= next => sum = next,
                    _ => return Ok(overflowed()),
                }
            }
            Ok(by_status_replicas(context, target, sum))
        }
    }
}

//= replica_calculator.go GetObjectMetricReplicas, GetObjectPerPodMetricReplicas
fn object(context: Context<'_>, target: Target, value: i64) -> Result<Proposal, String> {
    match target {
        Target::Value(target) => by_ready_pods(context, target, value),
        Target::AverageValue(target) => Ok(by_status_replicas(context, target, value)),
    }
}

/// The ratio times the ready pods, which may be fewer than the replicas, or none.
//= replica_calculator.go getUsageRatioReplicaCount
fn by_ready_pods(context: Context<'_>, target: i64, total: i64) -> Result<Proposal, String> {
    let observed = context.observed;
    let ratio = total as f64 / target as f64;
    let from_zero = observed.spec_replicas == 0;
    let within_tolerance = !from_zero && context.tolerances.contain(ratio);
    let replicas = if within_tolerance {
        observed.spec_replicas
    } else if from_zero {
        ceil(ratio)
    } else if observed.pods.is_empty() {
        return Err("unable to count ready pods: the selector matches no pods".to_owned());
    } else {
        let ready = observed.pods.iter().filter(|pod| pod.is_ready()).count();
        ceil(ratio * ready as f64)
    };
    Ok(Proposal {
        replicas,
        ratio: Some(ratio),
        within_tolerance,
        current: Current::Value(total),
    })
}

/// The total over the target; pods do not come into it.
fn by_status_replicas(context: Context<'_>, target: i64, total: i64) -> Proposal {
    let count = context.observed.status_replicas;
    let ratio = total as f64 / (target as f64 * f64::from(count));
    let within_tolerance = context.tolerances.contain(ratio);
    let replicas = if within_tolerance {
        count
    } else {
        ceil(total as f64 / target as f64)
    };
    // Go's conversion of an infinity is whatever the processor makes of it.
    let average = (count != 0).then(|| (total as f64 / f64::from(count)).ceil() as i64);
    Proposal {
        replicas,
        ratio: ratio.is_finite().then_some(ratio),
        within_tolerance,
        current: Current::AverageValue(average),
    }
}

/// The proposal when int64 thousandths do not hold the sum.
fn overflowed() -> Proposal {
    Proposal {
        replicas: i32::MAX,
        ratio: None,
        within_tolerance: false,
        current: Current::AverageValue(Some(i64::MAX)),
    }
}

/// Average usage against an amount per pod.
//= replica_calculator.go calcPlainMetricReplicas
fn plain<'a>(
    context: Context<'a>,
    resource: &str,
    target: i64,
    usage: &'a BTreeMap<String, Usage>,
) -> Result<Proposal, String> {
    let groups = Groups::of(context, resource, usage)?;
    let mut milli = groups.measured(usage)?;
    let (ratio, average) = average_ratio(&milli, target);
    let current = Current::AverageValue(Some(average));
    if groups.are_settled(ratio) {
        return Ok(groups.simple(context, ratio, current));
    }
    // Unlike utilization, a ratio of exactly 1 counts as scaling up.
    let missing = if ratio < 1.0 { target } else { 0 };
    milli.extend(groups.missing.iter().map(|name| (*name, missing)));
    groups.fill_unready(&mut milli, ratio);
    let (cautious, _) = average_ratio(&milli, target);
    Ok(adjusted(context, ratio, cautious, milli.len(), current))
}

/// Usage as a share of the requests against a share: of a resource of the whole pod, or of one of its containers.
//= replica_calculator.go GetResourceReplicas
fn utilization<'a>(
    context: Context<'a>,
    (resource, container): (&str, Option<&str>),
    target: i32,
    usage: &'a BTreeMap<String, Usage>,
) -> Result<Proposal, String> {
    let groups = Groups::of(context, resource, usage)?;
    let mut milli = groups.measured(usage)?;
    let requests = requests(context, resource, container)?;
    let (ratio, percent, average_milli) = utilization_ratio(&milli, &requests, target)?;
    let current = Current::Utilization {
        percent,
        average_milli,
    };
    if groups.are_settled(ratio) {
        return Ok(groups.simple(context, ratio, current));
    }
    if ratio < 1.0 {
        let percent = i64::from(target.max(100));
        milli.extend(groups.missing.iter().map(|name| {
            let request = requests.get(name).copied().unwrap_or(0);
            (*name, request.saturating_mul(percent) / 100)
        }));
    } else if 1.0 < ratio {
        milli.extend(groups.missing.iter().map(|name| (*name, 0)));
    }
    groups.fill_unready(&mut milli, ratio);
    let (cautious, ..) = utilization_ratio(&milli, &requests, target)?;
    Ok(adjusted(context, ratio, cautious, milli.len(), current))
}

/// The pods, by what their usage is worth.
struct Groups<'a> {
    /// Pods whose usage counts.
    ready: usize,
    /// Pods that are Pending or, for CPU, still starting.
    unready: BTreeSet<&'a str>,
    /// Pods without usage.
    missing: BTreeSet<&'a str>,
    /// Pods that are leaving.
    ignored: BTreeSet<&'a str>,
}

impl<'a> Groups<'a> {
    /// # Errors
    ///
    /// When there are no pods at all.
    //= replica_calculator.go groupPods
    fn of(
        context: Context<'a>,
        resource: &str,
        usage: &'a BTreeMap<String, Usage>,
    ) -> Result<Self, String> {
        let pods = &context.observed.pods;
        if pods.is_empty() {
            return Err("the selector matches no pods".to_owned());
        }
        let mut groups = Self {
            ready: 0,
            unready: BTreeSet::new(),
            missing: BTreeSet::new(),
            ignored: BTreeSet::new(),
        };
        for pod in pods {
            let name = pod.name.as_str();
            if pod.deleted || pod.phase == Phase::Failed {
                groups.ignored.insert(name);
            } else if pod.phase == Phase::Pending {
                groups.unready.insert(name);
            } else if let Some(usage) = usage.get(name) {
                if resource == "cpu" && is_starting(context.now, pod, usage) {
                    groups.unready.insert(name);
                } else {
                    groups.ready += 1;
                }
            } else {
                groups.missing.insert(name);
            }
        }
        Ok(groups)
    }

    /// The pods that are not simply counted, by name.
    fn excluded(&self) -> Vec<(&'a str, Exclusion)> {
        let each = |names: &BTreeSet<&'a str>, why| {
            let named: Vec<_> = names.iter().map(|name| (*name, why)).collect();
            named
        };
        let mut excluded = each(&self.unready, Exclusion::Starting);
        excluded.extend(each(&self.missing, Exclusion::Missing));
        excluded.extend(each(&self.ignored, Exclusion::Leaving));
        excluded.sort_unstable();
        excluded
    }

    /// The usage that counts.
    ///
    /// # Errors
    ///
    /// When none does.
    fn measured(
        &self,
        usage: &'a BTreeMap<String, Usage>,
    ) -> Result<BTreeMap<&'a str, i64>, String> {
        let measured: BTreeMap<&str, i64> = usage
            .iter()
            .map(|(name, usage)| (name.as_str(), usage.milli))
            .filter(|(name, _)| !self.ignored.contains(name) && !self.unready.contains(name))
            .collect();
        if measured.is_empty() {
            return Err("no usage of any pod that counts: pods may not be ready".to_owned());
        }
        Ok(measured)
    }

    /// Whether every pod that matters was measured, so that the ratio can be used as it is.
    fn are_settled(&self, ratio: f64) -> bool {
        self.missing.is_empty() && !self.hold_back(ratio)
    }

    /// Whether pods that are not ready would take their share of what is too much.
    fn hold_back(&self, ratio: f64) -> bool {
        !self.unready.is_empty() && 1.0 < ratio
    }

    /// When scaling up, counts the pods that are not ready as using nothing yet.
    fn fill_unready(&self, milli: &mut BTreeMap<&'a str, i64>, ratio: f64) {
        if self.hold_back(ratio) {
            milli.extend(self.unready.iter().map(|name| (*name, 0)));
        }
    }

    /// The ratio times the pods that count.
    fn simple(&self, context: Context<'_>, ratio: f64, current: Current) -> Proposal {
        let within_tolerance = context.tolerances.contain(ratio);
        let replicas = if within_tolerance {
            context.observed.spec_replicas
        } else {
            ceil(ratio * self.ready as f64)
        };
        Proposal {
            replicas,
            ratio: Some(ratio),
            within_tolerance,
            current,
        }
    }
}

/// Whether a pod is starting, so that its CPU says nothing of its load.
//= replica_calculator.go groupPods
fn is_starting(now: Timestamp, pod: &Pod, usage: &Usage) -> bool {
    let (Some(started), Some(readiness)) = (pod.started, pod.readiness) else {
        return true;
    };
    // Readiness that is unknown, since the node is lost, is not false: such a pod has started.
    let unready = readiness.status == ReadyStatus::False;
    if now < started + CPU_INITIALIZATION_PERIOD {
        // A window that began before the pod was ready holds work of starting.
        unready || usage.at < readiness.since + usage.window
    } else {
        // An old pod that is not ready counts, unless it never was.
        unready && readiness.since < started + INITIAL_READINESS_DELAY
    }
}

/// Each pod's request, or that of one of its containers. One pod without is enough for none to be known.
//= replica_calculator.go calculateRequests
fn requests<'a>(
    context: Context<'a>,
    resource: &str,
    container: Option<&str>,
) -> Result<BTreeMap<&'a str, i64>, String> {
    let of_pod = |pod: &'a Pod| {
        let request = pod.request(resource, container).ok_or_else(|| {
            let part = container.map_or_else(String::new, |name| format!("container {name} of "));
            format!(
                "{part}pod {} requests no {resource}: utilization is a share of the request",
                pod.name
            )
        })?;
        Ok((pod.name.as_str(), request))
    };
    context.observed.pods.iter().map(of_pod).collect()
}

/// The average usage over `target`, and the average, truncated. `usage` is not empty.
//= metrics/utilization.go GetMetricUsageRatio
fn average_ratio(usage: &BTreeMap<&str, i64>, target: i64) -> (f64, i64) {
    let total = usage
        .values()
        .fold(0_i64, |sum, milli| sum.saturating_add(*milli));
    let count = i64::try_from(usage.len()).unwrap_or(i64::MAX).max(1);
    let average = total / count;
    (average as f64 / target as f64, average)
}

/// Usage over requests in whole per cent over `target`; that per cent; and the average usage.
//= metrics/utilization.go GetResourceUtilizationRatio
fn utilization_ratio(
    usage: &BTreeMap<&str, i64>,
    requests: &BTreeMap<&str, i64>,
    target: i32,
) -> Result<(f64, i32, i64), String> {
    let (mut used, mut requested, mut count) = (0_i64, 0_i64, 0_i64);
    for (name, milli) in usage {
        if let Some(request) = requests.get(name) {
            used = used.saturating_add(*milli);
            requested = requested.saturating_add(*request);
            count += 1;
        }
    }
    if requested == 0 {
        return Err(
            "the usage read belongs to none of the pods, or they request nothing".to_owned(),
        );
    }
    // In int64 as there: of 92 TB and more, in thousandths of a byte, the product wraps.
    let percent = used.wrapping_mul(100).wrapping_div(requested) as i32;
    Ok((
        f64::from(percent) / f64::from(target),
        percent,
        used / count,
    ))
}

/// The proposal from a ratio in which missing and unready pods were counted cautiously: none where it is near 1, where
/// caution turned the direction, or where the number of pods would.
//= replica_calculator.go GetResourceReplicas, calcPlainMetricReplicas
fn adjusted(
    context: Context<'_>,
    measured: f64,
    cautious: f64,
    pods: usize,
    current: Current,
) -> Proposal {
    let spec_replicas = context.observed.spec_replicas;
    let within_tolerance = context.tolerances.contain(cautious);
    let turned = (measured < 1.0 && 1.0 < cautious) || (1.0 < measured && cautious < 1.0);
    let replicas = ceil(cautious * pods as f64);
    let against = (cautious < 1.0 && spec_replicas < replicas)
        || (1.0 < cautious && replicas < spec_replicas);
    let replicas = if within_tolerance || turned || against {
        spec_replicas
    } else {
        replicas
    };
    Proposal {
        replicas,
        ratio: Some(cautious),
        within_tolerance,
        current,
    }
}

/// Rounded up to a replica count; what does not fit is capped.
fn ceil(replicas: f64) -> i32 {
    replicas.ceil() as i32
}
