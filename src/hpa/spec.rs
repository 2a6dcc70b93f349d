//! What an `autoscaling/v2` HorizontalPodAutoscaler asks for, resolved: defaults filled in, quantities in thousandths.
//!
//! Reading it from an object is [`crate::config::autoscaler`]'s work; here any value is taken as it is. In JSON, fields
//! are called as in an HPA, and thousandths end in `Milli`.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::model::time::seconds;

/// Cluster-wide tolerance (`--horizontal-pod-autoscaler-tolerance`), in both directions.
pub const TOLERANCE: f64 = 0.1;

/// Cluster-wide window for scaling down (`--horizontal-pod-autoscaler-downscale-stabilization`).
pub const DOWNSCALE_STABILIZATION: Duration = Duration::from_secs(300);

/// Readiness of a pod younger than this decides whether its CPU counts
/// (`--horizontal-pod-autoscaler-cpu-initialization-period`).
pub const CPU_INITIALIZATION_PERIOD: Duration = Duration::from_secs(300);

/// A pod that became unready within this time of its start was never ready
/// (`--horizontal-pod-autoscaler-initial-readiness-delay`).
pub const INITIAL_READINESS_DELAY: Duration = Duration::from_secs(30);

/// The default period of a policy.
const POLICY_PERIOD: Duration = Duration::from_secs(15);

/// The resolved spec of an HPA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    /// Fewest replicas; 1 where the object says nothing.
    pub min_replicas: i32,
    /// Most replicas.
    pub max_replicas: i32,
    /// What is read each sync, in this order.
    pub metrics: Vec<MetricSpec>,
    /// Rates and windows. `None` is not the same as the defaults: without `behavior` older rules hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Behavior>,
}

/// One metric and its target; amounts in thousandths of the metric's unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum MetricSpec {
    /// A metric of `external.metrics.k8s.io`.
    External {
        /// Name of the metric.
        metric: String,
        /// What its items' sum is compared with.
        target: Target,
    },
    /// A metric of one object, from `custom.metrics.k8s.io`.
    Object {
        /// Name of the metric.
        metric: String,
        /// What its value is compared with.
        target: Target,
    },
    /// A metric of each pod, from `custom.metrics.k8s.io`.
    Pods {
        /// Name of the metric.
        metric: String,
        /// What its average over the pods is compared with, in thousandths.
        average_milli: i64,
    },
    /// CPU or memory of each pod, from `metrics.k8s.io`.
    Resource {
        /// `cpu` or `memory`.
        resource: String,
        /// The one container meant, for a `ContainerResource`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        container: Option<String>,
        /// What the pods' usage is compared with.
        target: ResourceTarget,
    },
}

/// A target in thousandths of the metric's unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Target {
    /// For the total: replicas are multiplied by the ratio.
    #[serde(rename = "valueMilli")]
    Value(i64),
    /// For each replica: replicas are the total over this.
    #[serde(rename = "averageValueMilli")]
    AverageValue(i64),
}

/// A target for a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ResourceTarget {
    /// Per cent of what the pods request.
    #[serde(rename = "utilizationPercent")]
    Utilization(i32),
    /// Thousandths per pod.
    #[serde(rename = "averageValueMilli")]
    AverageValue(i64),
}

/// Rates and windows for each direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Behavior {
    /// For adding pods.
    pub scale_up: Rules,
    /// For removing pods.
    pub scale_down: Rules,
}

/// What `behavior` says for one direction.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rules {
    /// Over which time the most cautious recommendation wins.
    #[serde(rename = "stabilizationWindowSeconds", with = "seconds")]
    pub stabilization: Duration,
    /// Which policy counts.
    #[serde(rename = "selectPolicy")]
    pub select: Select,
    /// How many pods may come or go.
    pub policies: Vec<Policy>,
    /// How far the ratio may be off 1 in this direction without anything happening.
    pub tolerance: f64,
}

/// Which of several policies counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Select {
    /// The one that allows the largest change.
    Max,
    /// The one that allows the smallest change.
    Min,
    /// None: no change in this direction.
    Disabled,
}

/// At most so much change in a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// In what `value` counts.
    #[serde(rename = "type")]
    pub unit: PolicyUnit,
    /// How much.
    pub value: i32,
    /// In what time.
    #[serde(rename = "periodSeconds", with = "seconds")]
    pub period: Duration,
}

/// In what a policy counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum PolicyUnit {
    /// Pods.
    Pods,
    /// Per cent of the replicas at the period's start.
    Percent,
}

// === impl Spec ===

impl Spec {
    /// How far below and above 1 a ratio may be: per direction, from `behavior` or the cluster's default.
    pub fn tolerances(&self) -> Tolerances {
        match &self.behavior {
            Some(behavior) => Tolerances {
                down: behavior.scale_down.tolerance,
                up: behavior.scale_up.tolerance,
            },
            None => Tolerances::default(),
        }
    }

    /// How far back a decision may look: the longest of its windows and periods.
    pub fn memory(&self) -> Duration {
        let Some(Behavior {
            scale_up,
            scale_down,
        }) = &self.behavior
        else {
            return DOWNSCALE_STABILIZATION;
        };
        let of_rules = |rules: &Rules| {
            let periods = rules.policies.iter().map(|policy| policy.period);
            periods.fold(rules.stabilization, Duration::max)
        };
        of_rules(scale_up).max(of_rules(scale_down))
    }
}

/// How far below and above 1 a ratio may be without anything happening.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tolerances {
    /// Below 1.
    pub down: f64,
    /// Above 1.
    pub up: f64,
}

impl Default for Tolerances {
    fn default() -> Self {
        Self {
            down: TOLERANCE,
            up: TOLERANCE,
        }
    }
}

impl Tolerances {
    /// Whether `ratio` asks for no change; the bounds are inclusive.
    //= replica_calculator.go Tolerances.isWithin
    pub fn contain(&self, ratio: f64) -> bool {
        1.0 - self.down <= ratio && ratio <= 1.0 + self.up
    }
}

// === impl MetricSpec ===

impl MetricSpec {
    /// The metric's or the resource's name.
    pub fn name(&self) -> &str {
        match self {
            Self::External { metric, .. }
            | Self::Object { metric, .. }
            | Self::Pods { metric, .. } => metric,
            Self::Resource { resource, .. } => resource,
        }
    }

    /// The one container that a resource's metric means; `None` for a whole pod's, and for what is no resource.
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Resource { container, .. } => container.as_deref(),
            _ => None,
        }
    }
}

/// As in "the replica count comes from ...".
impl fmt::Display for MetricSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::External { metric, .. } => write!(f, "external metric {metric}"),
            Self::Object { metric, .. } => write!(f, "object metric {metric}"),
            Self::Pods { metric, .. } => write!(f, "pods metric {metric}"),
            Self::Resource {
                resource,
                container: None,
                ..
            } => write!(f, "resource {resource}"),
            Self::Resource {
                resource,
                container: Some(container),
                ..
            } => {
                write!(f, "resource {resource} of container {container}")
            }
        }
    }
}

// === impl Rules ===

impl Rules {
    /// What `scaleUp` means where nothing is said: no window, and the larger of 4 pods and 100 % in 15 s.
    //= pkg/apis/autoscaling/v2/defaults.go GenerateHPAScaleUpRules
    pub fn scale_up() -> Self {
        Self {
            stabilization: Duration::ZERO,
            select: Select::Max,
            policies: vec![
                Policy {
                    unit: PolicyUnit::Pods,
                    value: 4,
                    period: POLICY_PERIOD,
                },
                Policy {
                    unit: PolicyUnit::Percent,
                    value: 100,
                    period: POLICY_PERIOD,
                },
            ],
            tolerance: TOLERANCE,
        }
    }

    /// What `scaleDown` means where nothing is said: the cluster's window, then any number of pods.
    //= pkg/apis/autoscaling/v2/defaults.go GenerateHPAScaleDownRules
    pub fn scale_down() -> Self {
        Self {
            stabilization: DOWNSCALE_STABILIZATION,
            select: Select::Max,
            policies: vec![Policy {
                unit: PolicyUnit::Percent,
                value: 100,
                period: POLICY_PERIOD,
            }],
            tolerance: TOLERANCE,
        }
    }
}

impl Default for Behavior {
    /// `behavior: {}`.
    fn default() -> Self {
        Self {
            scale_up: Rules::scale_up(),
            scale_down: Rules::scale_down(),
        }
    }
}

/// As in "at most ...".
impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = match self.unit {
            PolicyUnit::Pods => "pods",
            PolicyUnit::Percent => "%",
        };
        write!(f, "{} {unit} in {} s", self.value, self.period.as_secs())
    }
}
