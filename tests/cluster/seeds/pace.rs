//! The scenario's time and the wall's: what is done is shortened on its way to the cluster, and what was seen is told in
//! the scenario's time. Rates, service times and latencies are the same in both.

use anyhow::{Context, bail};
use serde_json::{Value, json};
use taffrail_loadtest::observe::Observed;
use taffrail_loadtest::recording::{Gap, Service};
use taffrail_loadtest::scenario::{Executor, Load, Span};
use taffrail_loadtest::steps::Steps;

use super::SPEED;

/// The load with its times on the wall's clock.
pub(super) fn faster(load: &Load) -> anyhow::Result<Load> {
    let mut load = load.clone();
    load.start_time = wall(load.start_time);
    let Executor::RampingArrivalRate { stages, .. } = &mut load.executor else {
        bail!("only ramps are played here");
    };
    for stage in stages {
        stage.duration = wall(stage.duration);
    }
    Ok(load)
}

/// A time of the scenario on the wall's clock.
pub(super) fn wall(span: Span) -> Span {
    span.div_f64(SPEED).into()
}

/// Shortens the periods and windows of an HPA, which are whole seconds.
pub(super) fn shorten_behavior(hpa: &mut Value) {
    let Some(behavior) = hpa.pointer_mut("/spec/behavior") else {
        return;
    };
    for direction in ["scaleUp", "scaleDown"] {
        let Some(rules) = behavior.get_mut(direction) else {
            continue;
        };
        shorten(rules, "stabilizationWindowSeconds");
        let policies = rules.get_mut("policies").and_then(Value::as_array_mut);
        for policy in policies.into_iter().flatten() {
            shorten(policy, "periodSeconds");
        }
    }
}

fn shorten(object: &mut Value, field: &str) {
    if let Some(seconds) = object.get(field).and_then(Value::as_f64) {
        object[field] = json!((seconds / SPEED).round().max(1.0) as u64);
    }
}

/// Shortens the window and the interval of a RequestMetrics.
pub(super) fn shorten_window(metrics: &mut Value) -> anyhow::Result<()> {
    for field in ["window", "interval"] {
        let text = metrics["spec"][field].as_str();
        let span: Span = text.with_context(|| format!("spec.{field}"))?.parse()?;
        metrics["spec"][field] = json!(format!("{}s", wall(span).as_secs().max(1)));
    }
    Ok(())
}

/// What was seen, in the scenario's time.
pub(super) fn told(mut observed: Observed) -> Observed {
    observed.services.values_mut().for_each(tell);
    for event in &mut observed.events {
        event.t_s *= SPEED;
        event.until_s = event.until_s.map(|until_s| until_s * SPEED);
    }
    observed
}

fn tell(service: &mut Service) {
    if let Some(autoscaler) = &mut service.autoscaler {
        for rules in [&mut autoscaler.scale_up, &mut autoscaler.scale_down] {
            rules.stabilization_s *= SPEED;
            for policy in &mut rules.policies {
                policy.period_s *= SPEED;
            }
        }
    }
    let replicas = &mut service.replicas;
    for steps in [
        &mut replicas.desired,
        &mut replicas.current,
        &mut replicas.spec,
        &mut replicas.ready,
        &mut replicas.endpoints,
    ] {
        let mut told = Steps::default();
        for step in steps.steps() {
            told.push(step.t_s * SPEED, step.value);
        }
        *steps = told;
    }
    let reads = service
        .metrics
        .iter_mut()
        .flat_map(|metric| &mut metric.reads);
    for read in reads {
        read.t_s *= SPEED;
        read.age_s = read.age_s.map(|age_s| age_s * SPEED);
    }
    let backends = service.backends.values_mut();
    for gap in backends
        .flat_map(|backend| &mut backend.ready)
        .chain(&mut service.gaps)
    {
        tell_gap(gap);
    }
    service
        .conditions
        .iter_mut()
        .for_each(|condition| condition.t_s *= SPEED);
    service
        .spec_changes
        .iter_mut()
        .for_each(|change| change.t_s *= SPEED);
}

fn tell_gap(gap: &mut Gap) {
    gap.from_s *= SPEED;
    gap.to_s = gap.to_s.map(|to_s| to_s * SPEED);
}
