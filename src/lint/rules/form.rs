//! Versions that are gone, metrics that are not said, and names of metrics that cannot be asked for.

use std::collections::BTreeMap;

use super::target::each_metric;
use crate::config::autoscaler::DEFAULT_CPU_PERCENT;
use crate::config::tree::{Content, Node};
use crate::engine::snapshot::Metric as Served;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{Metric, Signal};
use crate::lint::world::{HPA, World};

/// How many letters a name may be off one of ours to be taken for it.
const SLIP_MAX: usize = 4;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "hpa-old-version",
        severity: Severity::Error,
        title: "A version or a kind that Kubernetes does not serve",
        why: "A HorizontalPodAutoscaler is of autoscaling/v2. v2beta1 is gone since Kubernetes 1.25 and v2beta2 since \
              1.26; v2beta1 wrote metricName, metricSelector and targetValue, which v2 does not read. kubectl refuses \
              what no version serves.",
        fix: "write autoscaling/v2, with metric: {name, selector} and target: {type, value}",
        wrong: hpa_of!(
            "autoscaling/v2beta1",
            "{name: users}",
            "{apiVersion: apps/v1, kind: Deployment, name: users}",
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            "- {type: External, external: {metricName: request_latency_ms, targetValue: \"250\"}}",
        ),
        right: right_hpa!(),
        page: None,
        check: hpa_old_version,
    },
    Rule {
        id: "hpa-v1",
        severity: Severity::Note,
        title: "autoscaling/v1 knows CPU alone",
        why: "v1 has no metrics but targetCPUUtilizationPercentage. Whoever edits it through v1 finds external \
              metrics and behavior in an annotation, where a slip is refused by nobody.",
        fix: "write autoscaling/v2",
        wrong: hpa_of!(
            "autoscaling/v1",
            "{name: users}",
            "{apiVersion: apps/v1, kind: Deployment, name: users}",
            "minReplicas: 2",
            "maxReplicas: 10",
            "targetCPUUtilizationPercentage: 70",
        ),
        right: right_hpa!(),
        page: None,
        check: hpa_v1,
    },
    Rule {
        id: "min-zero",
        severity: Severity::Error,
        title: "minReplicas: 0 without pods to measure",
        why: "It needs the feature gate HPAScaleToZero, which is off by default, and a metric that is known without \
              pods. A latency or a rate of no pods is unknown, so a service that went to 0 would stay there.",
        fix: "write minReplicas: 1 or more; for 0, a metric that lives outside of the pods, such as a backlog",
        wrong: hpa!(
            "minReplicas: 0",
            "maxReplicas: 10",
            "metrics:",
            p95!("type: Value, value: \"250\"")
        ),
        right: right_hpa!(),
        page: None,
        check: min_zero,
    },
    Rule {
        id: "metrics-default",
        severity: Severity::Note,
        title: "An HPA without metrics scales on CPU",
        why: "Where no metric is named the API server writes one: CPU at 80 % of the request. A service that waits for \
              others is slow long before that.",
        fix: "name what it scales on, such as request_rate beside CPU",
        wrong: hpa!("minReplicas: 2", "maxReplicas: 10"),
        right: right_hpa!(),
        page: None,
        check: metrics_default,
    },
    Rule {
        id: "resource-unknown",
        severity: Severity::Error,
        title: "A resource that nobody measures",
        why: "The resource metrics API has cpu and memory of pods and nothing else, so any other resource is unknown at \
              every sync: FailedGetResourceMetric.",
        fix: "name: cpu, or an External metric of whoever measures it",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            "- {type: Resource, resource: {name: nvidia.com/gpu, target: {type: AverageValue, averageValue: \"1\"}}}",
        ),
        right: right_hpa!(),
        page: None,
        check: resource_unknown,
    },
    Rule {
        id: "metric-upper-case",
        severity: Severity::Error,
        title: "The name of an external metric has upper-case letters",
        why: "The HPA's client lower-cases the name before it asks, so a metric that is served as p95Latency is asked \
              for as p95latency and never found.",
        fix: "serve and write the name in lower case",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            external!(
                "name: Queue_Length, selector: {matchLabels: {queue: mail}}",
                "type: AverageValue, averageValue: \"30\""
            ),
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            external!(
                "name: queue_length, selector: {matchLabels: {queue: mail}}",
                "type: AverageValue, averageValue: \"30\""
            ),
        ),
        page: None,
        check: metric_upper_case,
    },
    Rule {
        id: "metric-reserved",
        severity: Severity::Error,
        title: "A metric name that means something else in a URL",
        why: "namespaces/NAME/status and namespaces/NAME/finalize are parts of the namespace itself to the API \
              server, so a metric of that name is never asked for. A slash, a percent sign, `.` and `..` are refused.",
        fix: "give the metric another name, of letters, digits, . and _",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            external!(
                "name: status, selector: {matchLabels: {app: users}}",
                "type: AverageValue, averageValue: \"30\""
            ),
        ),
        right: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            external!(
                "name: order_status, selector: {matchLabels: {app: users}}",
                "type: AverageValue, averageValue: \"30\""
            ),
        ),
        page: None,
        check: metric_reserved,
    },
    Rule {
        id: "metric-misspelt",
        severity: Severity::Warning,
        title: "A metric name that is nearly one of Taffrail's",
        why: "An external metric that nobody serves is a 404 at every sync: the HPA cannot scale in, and with no \
              other metric cannot scale at all.",
        fix: "write the name as it is served",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            external!(
                "name: request_latency, selector: {matchLabels: {service: users, quantile: \"0.95\"}}",
                "type: Value, value: \"250\""
            ),
        ),
        right: right_hpa!(),
        page: None,
        check: metric_misspelt,
    },
    Rule {
        id: "metric-twice",
        severity: Severity::Warning,
        title: "One metric stands twice in an HPA",
        why: "The HPA takes the highest proposal, so of two targets for the same series the lower one decides, and \
              the other is a number that somebody will tune in vain.",
        fix: "keep one of them",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            p95!("type: Value, value: \"250\""),
            p95!("type: Value, value: \"400\""),
        ),
        right: right_hpa!(),
        page: None,
        check: metric_twice,
    },
];

fn hpa_old_version(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let object = hpa.known.object;
        let is_spelled = object.kind == HPA;
        let (field, what, fix) = match object.api_version.as_str() {
            "autoscaling/v1" | "autoscaling/v2" if is_spelled => continue,
            "autoscaling/v1" | "autoscaling/v2" => (
                "kind",
                format!("there is no kind {}", object.kind),
                format!("kind: {HPA}"),
            ),
            version => (
                "apiVersion",
                match version {
                    "" => "the apiVersion is missing".to_owned(),
                    "autoscaling/v2beta1" => gone(version, "1.25"),
                    "autoscaling/v2beta2" => gone(version, "1.26"),
                    _ => format!("there is no {HPA} in {version}"),
                },
                "apiVersion: autoscaling/v2".to_owned(),
            ),
        };
        out.at(
            &hpa.known,
            object.root.get(field).unwrap_or(&object.root),
            what,
            "kubectl finds no such kind and applies nothing",
            fix,
        );
    }
}

fn gone(version: &str, since: &str) -> String {
    format!("{version} is not served since Kubernetes {since}")
}

fn hpa_v1(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let object = hpa.known.object;
        if object.api_version == "autoscaling/v1" {
            out.at(
                &hpa.known,
                object.root.get("apiVersion").unwrap_or(&object.root),
                "autoscaling/v1 can name no metric but CPU",
                "a latency cannot be scaled on",
                "apiVersion: autoscaling/v2",
            );
        }
    }
}

fn min_zero(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in world.hpas.iter().filter(|hpa| hpa.min() == 0) {
        // What lives outside of the pods is known without them, and whoever scales on it needs the gate anyway.
        let is_outside = |metric: &Metric<'_>| {
            matches!(metric.kind, "External" | "Object")
                && matches!(
                    metric.signal,
                    Signal::Other | Signal::Served(Served::RedisBacklog)
                )
        };
        if hpa.metrics.iter().any(is_outside) {
            continue;
        }
        let root = &hpa.known.object.root;
        let is_accepted = root.at(&["metadata", "uid"]).is_some();
        let why = if is_accepted {
            "without pods there is no latency that could bring one back"
        } else {
            "it is refused without the gate HPAScaleToZero, and without pods there is no latency that could bring one \
             back"
        };
        let node = hpa.spec.get("minReplicas").unwrap_or(hpa.spec);
        out.at(&hpa.known, node, "minReplicas is 0", why, "minReplicas: 1");
    }
}

fn metrics_default(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in world.hpas.iter().filter(|hpa| hpa.is_v2()) {
        let written = hpa.spec.get("metrics");
        // What is no list is refused, which is a finding of its own.
        if written.is_some_and(|node| node.content != Content::List(Vec::new())) {
            continue;
        }
        out.at(
            &hpa.known,
            written.unwrap_or(hpa.spec),
            "names no metric",
            format!(
                "the API server fills in CPU at {DEFAULT_CPU_PERCENT} %: what users wait for moves no pod"
            ),
            "metrics: what users feel, such as request_rate, beside cpu",
        );
    }
}

fn resource_unknown(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let is_resource = matches!(metric.kind, "Resource" | "ContainerResource");
        if !is_resource || matches!(metric.name.as_str(), "" | "cpu" | "memory") {
            continue;
        }
        out.at(
            &hpa.known,
            metric.name_node.unwrap_or(metric.node),
            format!("nobody measures {} of pods", metric.name),
            "it is unknown at every sync, and the HPA holds",
            "name: cpu",
        );
    });
}

fn metric_upper_case(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let lower = metric.name.to_ascii_lowercase();
        if metric.kind != "External" || lower == metric.name {
            continue;
        }
        let why = match metric.served() {
            Some(_) => {
                "the HPA asks for it in lower case; Taffrail answers all the same, and a search for the name finds \
                 one of two spellings"
            }
            None => {
                "the HPA asks for it in lower case, which its adapter does not know: a 404 at every sync"
            }
        };
        out.at(
            &hpa.known,
            metric.name_node.unwrap_or(metric.node),
            format!("the metric's name {} has upper-case letters", metric.name),
            why,
            format!("name: {lower}"),
        );
    });
}

fn metric_reserved(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let name = metric.name.as_str();
        let is_refused = matches!(name, "." | "..") || name.contains(['/', '%']);
        let is_taken = matches!(name.to_ascii_lowercase().as_str(), "status" | "finalize");
        if metric.kind != "External" || !(is_refused || is_taken) {
            continue;
        }
        let why = if is_taken {
            "the API server takes the URL for a part of the namespace, and no adapter is ever asked"
        } else {
            "the API server refuses an HPA with it"
        };
        out.at(
            &hpa.known,
            metric.name_node.unwrap_or(metric.node),
            format!("no external metric can be called {name:?}"),
            why,
            "name: another name, of letters, digits, . and _",
        );
    });
}

fn metric_misspelt(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let is_known = metric.served().is_some() || metric.name.is_empty();
        if is_known || metric.kind != "External" {
            continue;
        }
        let name = metric.name.to_ascii_lowercase();
        let near = Served::ALL
            .map(Served::name)
            .into_iter()
            .map(|known| (distance(known, &name), known))
            .min();
        let asks_for_service = metric.selected("service").is_some();
        let Some((_, meant)) =
            near.filter(|(far, _)| *far <= SLIP_MAX && (asks_for_service || *far <= 2))
        else {
            continue;
        };
        out.at(
            &hpa.known,
            metric.name_node.unwrap_or(metric.node),
            format!("{} is not served; is {meant} meant?", metric.name),
            "a metric that nobody serves is a 404 at every sync, and the HPA cannot scale in",
            format!("name: {meant}"),
        );
    });
}

/// The letters that differ: those to be left out, put in or changed.
pub(super) fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(64).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().take(64).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

fn metric_twice(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let mut first: BTreeMap<String, String> = BTreeMap::new();
        for metric in &hpa.metrics {
            let sent = metric.sent.as_ref().map(ToString::to_string);
            let container = metric.container.and_then(|node| node.text());
            let of_object =
                matches!(metric.signal, Signal::Cpu | Signal::Memory) || metric.kind == "External";
            if !of_object || metric.name.is_empty() {
                continue;
            }
            let target = metric.target.map_or(String::new(), |node| {
                let amount = node
                    .get("value")
                    .or(node.get("averageValue"))
                    .or(node.get("averageUtilization"));
                amount.and_then(Node::scalar).unwrap_or_default()
            });
            let series = format!("{} {} {sent:?} {container:?}", metric.kind, metric.name);
            if let Some(before) = first.insert(series, target.clone()) {
                out.at(
                    &hpa.known,
                    metric.node,
                    format!("{} stands here a second time, with the target {target} after {before}", metric.name),
                    "the HPA takes the higher of both proposals, so one of the two targets never counts",
                    "leave one of them out",
                );
            }
        }
    }
}
