//! `spec.behavior`: how fast an HPA may answer, against how fast its signals tell.

use std::time::Duration;

use taffrail_loadtest::judge::lint::growth::grow_s;

use super::{num, secs};
use crate::hpa::{SYNC_PERIOD, Select, told};
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{DEFAULT_WINDOW, Hpa, Metric, Service};
use crate::lint::world::World;

/// A stabilization of scaling up that is longer than this is no smoothing but a delay of every answer.
const UP_WINDOW_MAX_S: i64 = 60;

/// An HPA that needs longer from its fewest to its most replicas is too slow for any peak.
const GROWTH_MAX_S: f64 = 600.0;

/// Looks of the HPA within one window after which it has answered one cause too often.
const LOOKS_MAX: f64 = 2.0;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "down-window-short",
        severity: Severity::Warning,
        title: "Scaling down stabilizes for less than the metric's window",
        why: "The window of a rate or a latency holds requests of its whole length. An HPA that may scale in sooner \
              answers to what it has not yet seen change, removes pods, sees the consequence a window later and adds \
              them again: the replicas saw.",
        fix: "stabilizationWindowSeconds: 300, which is the default, or at least several windows",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                cpu!(),
                p95!("type: Value, value: \"250\""),
                "behavior: {scaleDown: {stabilizationWindowSeconds: 10}}",
            ),
            service!("window: 30s", "objective: {quantile: 0.95, latency: 250ms}"),
        ),
        right: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                cpu!(),
                p95!("type: Value, value: \"250\""),
                "behavior: {scaleDown: {stabilizationWindowSeconds: 300}}",
            ),
            service!("window: 30s", "objective: {quantile: 0.95, latency: 250ms}"),
        ),
        page: None,
        check: down_window_short,
    },
    Rule {
        id: "up-window-long",
        severity: Severity::Warning,
        title: "Scaling up stabilizes for minutes",
        why: "The lowest proposal of the whole stabilization window counts, so nothing happens until every sync of it \
              asked for more. All that time users wait.",
        fix: "leave it out, which is 0, and limit how much is added by policies",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            "behavior: {scaleUp: {stabilizationWindowSeconds: 300}}",
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            "behavior: {scaleUp: {policies: [{type: Percent, value: 100, periodSeconds: 60}]}}",
        ),
        page: None,
        check: up_window_long,
    },
    Rule {
        id: "direction-disabled",
        severity: Severity::Warning,
        title: "One direction of scaling is switched off",
        why: "selectPolicy: Disabled lets replicas go one way only. Without scaling down every peak is kept for ever; \
              without scaling up there is no peak that is answered.",
        fix: "selectPolicy: Max, or Min for a cautious one, with policies",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            "behavior: {scaleDown: {selectPolicy: Disabled}}",
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            "behavior: {scaleDown: {policies: [{type: Percent, value: 10, periodSeconds: 60}]}}",
        ),
        page: None,
        check: direction_disabled,
    },
    Rule {
        id: "growth-slow",
        severity: Severity::Warning,
        title: "From the fewest to the most replicas takes longer than a peak",
        why: "Policies are a budget for each period, whatever the metrics ask for. One of a pod a minute takes as \
              many minutes as there are pods, and a service that is overloaded does not wait.",
        fix: "allow a share, such as 100 % in 60 s, beside a number; the larger counts",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 30",
            "metrics:",
            cpu!(),
            "behavior: {scaleUp: {policies: [{type: Pods, value: 1, periodSeconds: 60}]}}",
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 30",
            "metrics:",
            cpu!(),
            "behavior: {scaleUp: {policies: [{type: Percent, value: 100, periodSeconds: 60}]}}",
        ),
        page: None,
        check: growth_slow,
    },
    Rule {
        id: "up-before-effect",
        severity: Severity::Warning,
        title: "A latency is answered again before the first answer can show",
        why: "The window still holds the slow requests of before when the new pods are already there, so the HPA sees \
              the same ratio at each sync and multiplies again. A latency that is twice its target asks for twice the \
              pods each time.",
        fix: "a scaleUp policy whose period is longer than the window: 100 % in 60 s",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 40",
                "metrics:",
                cpu!(),
                p95!("type: Value, value: \"250\""),
            ),
            service!("window: 1m", "objective: {quantile: 0.95, latency: 250ms}"),
        ),
        right: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 40",
                "metrics:",
                cpu!(),
                p95!("type: Value, value: \"250\""),
                "behavior: {scaleUp: {policies: [{type: Percent, value: 100, periodSeconds: 60}]}}",
            ),
            service!("window: 1m", "objective: {quantile: 0.95, latency: 250ms}"),
        ),
        page: None,
        check: up_before_effect,
    },
];

/// The window of a metric of ours: its service's, or the default where that is unknown; and whose it is.
fn window<'x>(
    world: &'x World<'_>,
    hpa: &Hpa<'_>,
    metric: &Metric<'_>,
) -> Option<(Duration, Option<&'x Service<'x>>)> {
    metric.served()?;
    let name = metric.selected("service").unwrap_or_default();
    let service = world.service(hpa.known.object, name);
    let known = service.and_then(Service::window);
    Some((known.unwrap_or(DEFAULT_WINDOW), service))
}

fn down_window_short(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Some(node) = hpa.behavior("scaleDown", "stabilizationWindowSeconds") else {
            continue;
        };
        let windows = hpa.metrics.iter().filter_map(|metric| {
            let (window, _) = window(world, hpa, metric)?;
            Some((window, metric))
        });
        let Some((longest, metric)) = windows.max_by_key(|(window, _)| *window) else {
            continue;
        };
        let seconds = node.int().unwrap_or_default();
        if longest.as_secs_f64() <= seconds as f64 {
            continue;
        }
        let share = 100.0 - seconds.max(0) as f64 / longest.as_secs_f64() * 100.0;
        out.at(
            &hpa.known,
            node,
            format!("scaling down stabilizes for {seconds} s, and {} is taken over {}", metric.name, secs(longest)),
            format!(
                "{seconds} s after pods went, {} % of the window are requests from before, so the HPA removes more \
                 before it sees",
                num(share.round())
            ),
            "stabilizationWindowSeconds: 300",
        );
    }
}

fn up_window_long(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Some(node) = hpa.behavior("scaleUp", "stabilizationWindowSeconds") else {
            continue;
        };
        let seconds = node.int().unwrap_or_default();
        if seconds <= UP_WINDOW_MAX_S {
            continue;
        }
        out.at(
            &hpa.known,
            node,
            format!("scaling up stabilizes for {seconds} s"),
            format!(
                "the first pod comes {seconds} s after the load, when {} syncs in a row asked for it",
                seconds / SYNC_PERIOD.as_secs() as i64
            ),
            "stabilizationWindowSeconds: 0",
        );
    }
}

fn direction_disabled(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        for (direction, hurts) in [
            ("scaleUp", "whatever the load, no pod is added"),
            (
                "scaleDown",
                "the replicas of the highest peak are paid for until somebody removes them by hand",
            ),
        ] {
            let Some(node) = hpa.behavior(direction, "selectPolicy") else {
                continue;
            };
            if node.text() == Some("Disabled") {
                out.at(
                    &hpa.known,
                    node,
                    format!("{direction} is switched off"),
                    hurts,
                    "selectPolicy: Max",
                );
            }
        }
    }
}

fn growth_slow(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Ok(spec) = &hpa.resolved else { continue };
        let rules = spec.behavior.as_ref().map(|behavior| &behavior.scale_up);
        if rules.is_none_or(|rules| rules.select == Select::Disabled) {
            continue;
        }
        let plain = told::autoscaler("", "", spec);
        let (min, max) = (plain.min_replicas, plain.max_replicas);
        // Policies that take a day and more are beyond what is walked.
        let took = grow_s(&plain, min, max).map(|s| s - plain.scale_up.stabilization_s);
        if took.is_some_and(|s| s <= GROWTH_MAX_S) {
            continue;
        }
        let time = took.map_or("more than a day".to_owned(), |s| {
            format!("{} minutes", num((s / 60.0).ceil()))
        });
        let node = hpa.behavior("scaleUp", "policies");
        out.at(
            &hpa.known,
            node.or(hpa.spec.get("behavior")).unwrap_or(hpa.spec),
            format!("from {min} to {max} replicas takes {time}"),
            "an overload that needs them lasts as long, whatever the metrics ask for",
            "- {type: Percent, value: 100, periodSeconds: 60}",
        );
    }
}

fn up_before_effect(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Ok(spec) = &hpa.resolved else { continue };
        let steep = hpa.steep().filter_map(|metric| {
            let (window, _) = window(world, hpa, metric)?;
            Some((window, metric))
        });
        let Some((window, metric)) = steep.max_by_key(|(window, _)| *window) else {
            continue;
        };
        let looks = window.as_secs_f64() / SYNC_PERIOD.as_secs_f64();
        let plain = told::autoscaler("", "", spec);
        let from = plain.min_replicas;
        let reached = reached(&plain, from, window.as_secs_f64());
        // One look that asks for twice as many, by the larger of both default policies, is what anybody expects.
        let expected = from.saturating_mul(2).max(from.saturating_add(4));
        if looks < LOOKS_MAX || reached <= expected {
            continue;
        }
        let node = hpa
            .behavior("scaleUp", "policies")
            .unwrap_or(metric.target_node());
        out.at(
            &hpa.known,
            node,
            format!(
                "{} is taken over {}, and the HPA looks {} times meanwhile",
                metric.name,
                secs(window),
                num(looks.floor())
            ),
            format!("one moment of overload may take it from {from} to {reached} replicas before the window shows the \
                first new pod"),
            format!(
                "behavior: {{scaleUp: {{policies: [{{type: Percent, value: 100, periodSeconds: {}}}]}}}}",
                num((window.as_secs_f64() * 2.0).clamp(60.0, 1800.0))
            ),
        );
    }
}

/// The most replicas that the rules allow within some seconds.
fn reached(plain: &taffrail_loadtest::recording::Autoscaler, from: u32, seconds: f64) -> u32 {
    let arrives = |to: u32| grow_s(plain, from, to).is_some_and(|s| s < seconds);
    let (mut low, mut high) = (from, plain.max_replicas);
    while low < high {
        let middle = low + (high - low).div_ceil(2);
        if arrives(middle) {
            low = middle;
        } else {
            high = middle - 1;
        }
    }
    low
}
