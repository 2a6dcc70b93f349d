//! What objects of a cluster say of themselves: conditions of HPAs, of RequestMetrics and of the APIService, and what the
//! adapter answers now. A file that was written by `kubectl get -o yaml` has them as well.

use crate::config::tree::Node;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::world::{Known, World};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "metric-unknown",
        severity: Severity::Error,
        title: "The HPA cannot read a metric now",
        why: "A metric that is unknown holds scale-in, and where it is the only one the replicas stay as they are. \
              The message is the adapter's, and names the cause.",
        fix: "see the message; kubectl describe requestmetrics says more",
        wrong: hpa_with_status!(
            "ScalingActive, status: \"False\", reason: FailedGetExternalMetric, message: no RequestMetrics"
        ),
        right: hpa_with_status!(
            "ScalingActive, status: \"True\", reason: ValidMetricFound, message: fine"
        ),
        page: None,
        check: metric_unknown,
    },
    Rule {
        id: "hpa-cannot-scale",
        severity: Severity::Error,
        title: "The HPA says that it cannot scale",
        why: "AbleToScale is False where the target cannot be read or written, and ScalingActive is False where its \
              pods are not its own or it was switched off by replicas: 0. Nothing is scaled until that is mended.",
        fix: "see the reason",
        wrong: hpa_with_status!(
            "AbleToScale, status: \"False\", reason: FailedGetScale, message: users not found"
        ),
        right: hpa_with_status!(
            "AbleToScale, status: \"True\", reason: ReadyForNewScale, message: fine"
        ),
        page: None,
        check: hpa_cannot_scale,
    },
    Rule {
        id: "hpa-at-max",
        severity: Severity::Warning,
        title: "The HPA wants more replicas than it may have",
        why: "At maxReplicas nothing answers more load. Either there is more than was planned for, or pods do not \
              help: a latency of something behind the service, or a quantile that no number of pods can reach.",
        fix: "a higher maxReplicas, or look at what is slow behind the service",
        wrong: hpa_with_status!(
            "ScalingLimited, status: \"True\", reason: TooManyReplicas, message: more than the maximum"
        ),
        right: hpa_with_status!(
            "ScalingLimited, status: \"False\", reason: DesiredWithinRange, message: fine"
        ),
        page: None,
        check: hpa_at_max,
    },
    Rule {
        id: "requestmetrics-not-ready",
        severity: Severity::Warning,
        title: "A RequestMetrics says that something is wrong",
        why: "Its conditions are the adapter's own words: which Secret it may not read, which pods it does not reach, \
              which histogram is not there, and whether the bounds can show the objective.",
        fix: "see the message",
        wrong: concat!(
            service!("objective: {quantile: 0.95, latency: 250ms}"),
            "status:\n  conditions:\n",
            "  - {type: ObjectiveResolvable, status: \"False\", reason: NoBound, message: no bound at 250 ms}\n"
        ),
        right: concat!(
            service!("objective: {quantile: 0.95, latency: 250ms}"),
            "status:\n  conditions:\n  - {type: Ready, status: \"True\", reason: Served, message: fine}\n"
        ),
        page: None,
        check: requestmetrics_not_ready,
    },
    Rule {
        id: "adapter-unavailable",
        severity: Severity::Error,
        title: "Nobody answers behind an API of metrics",
        why: "No HPA reads an external metric while its APIService is not available. And while any APIService is not, \
              no namespace of the cluster can be deleted, and every kubectl waits for it.",
        fix: "see the message; look at the adapter's pods and at who may reach their port",
        wrong: apiservice!(
            "v1beta1.external.metrics.k8s.io",
            "namespace: taffrail, name: taffrail",
            "status:\n  conditions:\n  - {type: Available, status: \"False\", reason: MissingEndpoints, message: none}\n"
        ),
        right: apiservice!(
            "v1beta1.external.metrics.k8s.io",
            "namespace: taffrail, name: taffrail",
            "status:\n  conditions:\n  - {type: Available, status: \"True\", reason: Passed, message: fine}\n"
        ),
        page: None,
        check: adapter_unavailable,
    },
];

/// A condition.
struct Condition<'w> {
    kind: &'w str,
    is_true: bool,
    reason: &'w str,
    message: &'w str,
    node: &'w Node,
}

fn conditions<'w>(known: &Known<'w>) -> impl Iterator<Item = Condition<'w>> {
    let all = known.object.root.at(&["status", "conditions"]);
    all.map_or(&[][..], Node::items).iter().filter_map(|node| {
        let text = |name| node.get(name).and_then(Node::text);
        let status = text("status")?;
        // Unknown is no news.
        matches!(status, "True" | "False").then_some(())?;
        Some(Condition {
            kind: text("type")?,
            is_true: status == "True",
            reason: text("reason").unwrap_or_default(),
            message: text("message").unwrap_or_default(),
            node,
        })
    })
}

fn metric_unknown(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let mut is_said = false;
        for metric in hpa
            .metrics
            .iter()
            .filter(|metric| metric.kind == "External")
        {
            let selector = metric
                .sent
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            let Some(answer) = world.answer(hpa.known.object, &metric.name, &selector) else {
                continue;
            };
            let Err(message) = &answer.outcome else {
                continue;
            };
            is_said = true;
            let waits = answer.retry_after.as_ref().map_or(String::new(), |seconds| {
                format!("; Retry-After: {seconds} makes one of the controller's five workers wait that long, ten \
                    times over")
            });
            out.at(
                &hpa.known,
                metric.name_node.unwrap_or(metric.node),
                format!("{} is not known now: {message}", metric.name),
                format!("the HPA cannot scale in, and holds where it has no other metric{waits}"),
                "see the message",
            );
        }
        let failed = conditions(&hpa.known).find(|condition| {
            condition.kind == "ScalingActive"
                && !condition.is_true
                && condition.reason.starts_with("FailedGet")
        });
        if let Some(condition) = failed.filter(|_| !is_said) {
            out.at(
                &hpa.known,
                condition.node,
                format!("{}: {}", condition.reason, condition.message),
                "the HPA cannot scale in, and holds where it has no other metric",
                "see the message",
            );
        }
    }
}

fn hpa_cannot_scale(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        for condition in conditions(&hpa.known).filter(|condition| !condition.is_true) {
            let is_metric =
                condition.reason.starts_with("FailedGet") && condition.kind == "ScalingActive";
            if is_metric || !matches!(condition.kind, "AbleToScale" | "ScalingActive") {
                continue;
            }
            let fix = match condition.reason {
                "AmbiguousSelector" => "labels of its own for each workload, and one HPA for each",
                "ScalingDisabled" => {
                    "kubectl scale --replicas=1: an HPA leaves a target with 0 alone"
                }
                _ => "see the message",
            };
            out.at(
                &hpa.known,
                condition.node,
                format!(
                    "{} is False, {}: {}",
                    condition.kind, condition.reason, condition.message
                ),
                "nothing is scaled until that is mended",
                fix,
            );
        }
    }
}

fn hpa_at_max(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let limited = conditions(&hpa.known).find(|condition| {
            condition.kind == "ScalingLimited"
                && condition.is_true
                && condition.reason == "TooManyReplicas"
        });
        let Some(condition) = limited else { continue };
        let max = hpa.max().unwrap_or_default();
        out.at(
            &hpa.known,
            hpa.spec.get("maxReplicas").unwrap_or(condition.node),
            format!("the HPA is at its {max} replicas and wants more"),
            "users get what that many pods can do, whatever they wait",
            format!("maxReplicas: {}", max.saturating_mul(2)),
        );
    }
}

fn requestmetrics_not_ready(world: &World<'_>, out: &mut Out<'_>) {
    for service in &world.services {
        let wrong: Vec<Condition<'_>> = conditions(&service.known)
            .filter(|condition| !condition.is_true)
            .collect();
        let is_alone = wrong.len() == 1;
        // Ready repeats the first of the others.
        for condition in wrong
            .iter()
            .filter(|condition| is_alone || condition.kind != "Ready")
        {
            out.at(
                &service.known,
                condition.node,
                format!("{} is False, {}", condition.kind, condition.reason),
                condition.message,
                "see the message",
            );
        }
    }
}

fn adapter_unavailable(world: &World<'_>, out: &mut Out<'_>) {
    for apiservice in &world.apiservices {
        let gone = conditions(apiservice)
            .find(|condition| condition.kind == "Available" && !condition.is_true);
        let Some(condition) = gone.filter(|_| apiservice.object.name.ends_with("metrics.k8s.io"))
        else {
            continue;
        };
        out.at(
            apiservice,
            condition.node,
            format!(
                "{} is not available, {}: {}",
                apiservice.object.name, condition.reason, condition.message
            ),
            "no HPA reads from it, and no namespace of the cluster can be deleted",
            "kubectl describe apiservice says since when; look at the adapter's pods",
        );
    }
}
