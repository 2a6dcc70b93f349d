//! What a RequestMetrics reads: whether the adapter takes it, whether it is of the pods that are scaled, and whether
//! overload shows in it.

use super::target::each_metric;
use crate::config::PodPort;
use crate::config::tree::Node;
use crate::engine::snapshot::Metric as Served;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::Service;
use crate::lint::world::World;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "requestmetrics-invalid",
        severity: Severity::Error,
        title: "A RequestMetrics that the adapter refuses",
        why: "Nothing is read for it, and every HPA on it holds what it has; a previous version stays in force.",
        fix: "mend the field",
        wrong: service!("objective: {quantile: 95, latency: 250ms}"),
        right: service!("objective: {quantile: 0.95, latency: 250ms}"),
        page: None,
        check: requestmetrics_invalid,
    },
    Rule {
        id: "reads-other-pods",
        severity: Severity::Warning,
        title: "The pods that are read are not those that are scaled",
        why: "The HPA adds pods to one workload for the latency of another. That latency does not fall, so it goes to \
              maxReplicas and stays there, while the service that is slow keeps its pods.",
        fix: "let the selector of the RequestMetrics match the labels of the target's pods",
        wrong: documents!(
            right_hpa!(),
            service_of!(
                "selector: {matchLabels: {app: gateway}}, port: http",
                "objective: {quantile: 0.95, latency: 250ms}",
            ),
            deployment!("", right_container!()),
        ),
        right: documents!(
            right_hpa!(),
            service!("objective: {quantile: 0.95, latency: 250ms}"),
            deployment!("", right_container!()),
        ),
        page: None,
        check: reads_other_pods,
    },
    Rule {
        id: "port-unknown",
        severity: Severity::Error,
        title: "No container has a port of the name that is read",
        why: "A port is looked up by its name in each pod. Where no container gives it, no pod is read, and the \
              metric is unknown.",
        fix: "write the name that a container gives to its port, or the number",
        wrong: documents!(
            service_of!("selector: {matchLabels: {app: users}}"),
            deployment!("", right_container!())
        ),
        right: documents!(service!("window: 30s"), deployment!("", right_container!())),
        page: None,
        check: port_unknown,
    },
    Rule {
        id: "in-flight-missing",
        severity: Severity::Note,
        title: "A rate without a gauge of requests in flight counts completions",
        why: "Under overload a pod completes no more than it can, so the rate of completions stops growing just when \
              it should tell of the load. With inFlight the adapter counts arrivals: completions and what piles up.",
        fix: "inFlight: the name of a gauge of requests in flight",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                rate!("type: AverageValue, averageValue: \"50\"")
            ),
            service_of!("selector: {matchLabels: {app: users}}, port: http"),
        ),
        right: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                rate!("type: AverageValue, averageValue: \"50\"")
            ),
            service!("window: 30s"),
        ),
        page: None,
        check: in_flight_missing,
    },
];

fn requestmetrics_invalid(world: &World<'_>, out: &mut Out<'_>) {
    for service in &world.services {
        let Err(problem) = &service.resolved else {
            continue;
        };
        let object = service.known.object;
        // A window that is too short is a finding of its own, with its numbers.
        if problem.message.contains("since a rate needs two reads") {
            continue;
        }
        out.at(
            &service.known,
            place(&object.root, &problem.message),
            problem.message.clone(),
            "the adapter reads nothing for it, and an HPA on it holds the replicas it has",
            "see the message",
        );
    }
}

/// Where a problem stands: messages begin with the field's way, or name an unknown field.
fn place<'n>(root: &'n Node, message: &str) -> &'n Node {
    if let Some(rest) = message.strip_prefix("unknown field ") {
        let name = rest.split([',', ' ']).next().unwrap_or_default();
        return root.find(name).unwrap_or(root);
    }
    let way = message.split([' ', ':']).next().unwrap_or_default();
    root.nearest(way)
}

fn reads_other_pods(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let (Some(_), Some(name)) = (metric.served(), metric.selected("service")) else {
            continue;
        };
        let (Some(service), Some(workload)) =
            (world.service(hpa.known.object, name), world.target(hpa))
        else {
            continue;
        };
        let Some(selection) = service
            .resolved
            .as_ref()
            .ok()
            .and_then(|object| object.pods.as_ref())
        else {
            continue;
        };
        let selector = selection.selector();
        let has = selector.matches(|key| workload.labels.get(key).map(String::as_str));
        // The same service may stand in several metrics; once is enough.
        let is_first = hpa
            .metrics
            .iter()
            .find(|other| other.selected("service") == Some(name));
        if has
            || workload.labels.is_empty()
            || !is_first.is_some_and(|first| std::ptr::eq(first, metric))
        {
            continue;
        }
        let target = workload.known.object;
        out.at(
            &service.known,
            service.pods().and_then(|pods| pods.get("selector")).unwrap_or(service.spec),
            format!("{selector} are not the pods of {} {}, which HPA {} \
                scales", target.kind, target.name, hpa.known.object.name),
            format!(
                "pods that are added do not change what is read, so the HPA goes to its {} replicas and stays",
                hpa.max().unwrap_or(1)
            ),
            format!("selector: {{matchLabels: {{{}}}}}", spelled(&workload.match_labels)),
        );
    });
}

fn spelled(labels: &std::collections::BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}: {value}"))
        .collect();
    pairs.join(", ")
}

fn port_unknown(world: &World<'_>, out: &mut Out<'_>) {
    for service in &world.services {
        let Some(selection) = service
            .resolved
            .as_ref()
            .ok()
            .and_then(|object| object.pods.as_ref())
        else {
            continue;
        };
        let PodPort::Name(name) = selection.port_wanted() else {
            continue;
        };
        let read = world.workloads.iter().filter(|workload| {
            workload.known.object.may_meet(service.known.object)
                && !workload.labels.is_empty()
                && selection
                    .selector()
                    .matches(|key| workload.labels.get(key).map(String::as_str))
        });
        for workload in read {
            let names: Vec<&str> = workload
                .containers
                .iter()
                .filter_map(|container| container.get("ports"))
                .flat_map(Node::items)
                .filter_map(|port| port.get("name")?.text())
                .collect();
            if names.contains(&name.as_str()) {
                continue;
            }
            let there = match names.as_slice() {
                [] => "none has a name".to_owned(),
                names => format!("there are {}", names.join(", ")),
            };
            let object = workload.known.object;
            out.at(
                &service.known,
                port_node(service),
                format!(
                    "no container of {} {} has a port named {name}; {there}",
                    object.kind, object.name
                ),
                "none of its pods is read, and its metrics are unknown at every sync",
                format!("port: {}", names.first().unwrap_or(&"8080")),
            );
        }
    }
}

fn port_node<'w>(service: &Service<'w>) -> &'w Node {
    let pods = service.pods();
    pods.and_then(|pods| pods.get("port"))
        .or(pods)
        .unwrap_or(service.spec)
}

fn in_flight_missing(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let counts = matches!(
            metric.served(),
            Some(Served::RequestRate | Served::RequestConcurrency)
        );
        let service = metric
            .selected("service")
            .and_then(|name| world.service(hpa.known.object, name));
        let Some((service, pods)) = service
            .filter(|_| counts)
            .and_then(|s| Some((s, s.pods()?)))
        else {
            continue;
        };
        if pods.get("inFlight").is_some() {
            continue;
        }
        out.at(
            &service.known,
            pods,
            format!("HPA {} scales on {}, and no gauge of requests in flight is \
                read", hpa.known.object.name, metric.name),
            "under overload pods complete no more than they can, so the rate stays where it is however many requests \
             arrive",
            "inFlight: http_requests_in_flight",
        );
    });
}
