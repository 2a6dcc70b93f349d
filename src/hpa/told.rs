//! An HPA as a recording of the load generator tells of it: its rules and metrics in plain numbers, whoever plays the HPA.
//! Nothing is read from it again.

use taffrail_loadtest::recording::{self, MetricKind, PolicyKind};

use super::{
    MetricSpec, Policy, PolicyUnit, ResourceTarget, Rules, SYNC_PERIOD, Select, Spec, Target,
};

/// The HPA of this name and namespace, over a Deployment that says nothing of its rollouts.
pub fn autoscaler(namespace: &str, name: &str, spec: &Spec) -> recording::Autoscaler {
    let behavior = spec.behavior.clone().unwrap_or_default();
    let tolerances = spec.tolerances();
    let replicas = |number: i32| u32::try_from(number).unwrap_or(0);
    recording::Autoscaler {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
        min_replicas: replicas(spec.min_replicas),
        max_replicas: replicas(spec.max_replicas),
        max_surge: surge(replicas(spec.max_replicas)),
        sync_period_s: SYNC_PERIOD.as_secs_f64(),
        tolerance_up: tolerances.up,
        tolerance_down: tolerances.down,
        scale_up: rules(&behavior.scale_up),
        scale_down: rules(&behavior.scale_down),
    }
}

/// How many pods above `replicas` a rollout may have: a Deployment's default, a quarter rounded up.
pub fn surge(replicas: u32) -> u32 {
    replicas.div_ceil(4)
}

/// A metric of an HPA, of which nothing was read yet. `selector` is how it is sent; empty where it has none.
pub fn metric(spec: &MetricSpec, selector: String) -> recording::Metric {
    let units = |milli: i64| milli as f64 / 1000.0;
    let (kind, target, is_average) = match spec {
        MetricSpec::External { target, .. } => match target {
            Target::Value(milli) => (MetricKind::External, units(*milli), false),
            Target::AverageValue(milli) => (MetricKind::External, units(*milli), true),
        },
        MetricSpec::Resource { target, .. } => match target {
            ResourceTarget::Utilization(percent) => {
                (MetricKind::Resource, f64::from(*percent), false)
            }
            ResourceTarget::AverageValue(milli) => (MetricKind::Resource, units(*milli), true),
        },
        MetricSpec::Pods { average_milli, .. } => (MetricKind::Other, units(*average_milli), true),
        MetricSpec::Object { .. } => (MetricKind::Other, 0.0, false),
    };
    recording::Metric {
        name: spec.name().to_owned(),
        selector,
        kind,
        target,
        is_average,
        reads: Vec::new(),
    }
}

fn rules(rules: &Rules) -> recording::Rules {
    let policy = |policy: &Policy| recording::Policy {
        kind: match policy.unit {
            PolicyUnit::Pods => PolicyKind::Pods,
            PolicyUnit::Percent => PolicyKind::Percent,
        },
        value: u32::try_from(policy.value).unwrap_or(0),
        period_s: policy.period.as_secs_f64(),
    };
    recording::Rules {
        stabilization_s: rules.stabilization.as_secs_f64(),
        policies: rules.policies.iter().map(policy).collect(),
        select: match rules.select {
            Select::Max => recording::Select::Max,
            Select::Min => recording::Select::Min,
            Select::Disabled => recording::Select::Disabled,
        },
    }
}
