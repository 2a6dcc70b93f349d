//! Selectors: values that no label can have, labels that no series has, services that are not there, and several series
//! where one is meant.

use std::collections::BTreeSet;

use super::target::each_metric;
use crate::config::tree::Node;
use crate::engine::snapshot::Metric as Served;
use crate::lint::objects::Object;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{Metric, Service, Signal};
use crate::lint::world::{Known, World};
use crate::model::selector::{Operator, Requirement, Selector, is_key, is_value};

/// The longest value of a label.
const VALUE_BYTES_MAX: usize = 63;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "selector-impossible",
        severity: Severity::Error,
        title: "A selector that nothing can match",
        why: "A label's value has at most 63 letters, digits, -, _ and ., so a path such as /checkout is none, and \
              the controller gives up before it asks. Taffrail's metrics have the labels service, quantile and key \
              and no others; a quantile is a text from \"0\" to \"1\" or \"mean\". What matches nothing is a 404 at \
              every sync: the HPA cannot scale in, and without another metric not at all.",
        fix: "select what is there; which requests count is chosen by `where` of the RequestMetrics",
        wrong: hpa!(
            "minReplicas: 2",
            "maxReplicas: 10",
            "metrics:",
            cpu!(),
            external!(
                "name: request_latency_ms, selector: {matchLabels: {service: users, quantile: \"95\"}}",
                "type: Value, value: \"250\""
            ),
        ),
        right: right_hpa!(),
        page: None,
        check: selector_impossible,
    },
    Rule {
        id: "selector-matches-nothing",
        severity: Severity::Warning,
        title: "A selector names a service or a key that is not there",
        why: "An HPA reads RequestMetrics of its own namespace only, by their name. One that is not there is a 404 at \
              every sync, which the HPA takes for \"unknown\": it holds the replicas it has.",
        fix: "write the name of a RequestMetrics of this namespace, or apply it",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                cpu!(),
                external!(
                    "name: request_latency_ms, selector: {matchLabels: {service: user, quantile: \"0.95\"}}",
                    "type: Value, value: \"250\""
                ),
            ),
            service!("objective: {quantile: 0.95, latency: 250ms}"),
        ),
        right: documents!(
            right_hpa!(),
            service!("objective: {quantile: 0.95, latency: 250ms}")
        ),
        page: None,
        check: selector_matches_nothing,
    },
    Rule {
        id: "series-summed",
        severity: Severity::Warning,
        title: "The HPA adds up what the selector takes in",
        why: "An HPA adds the items of an external metric: two services, two keys, or, with other adapters, two pods. \
              A sum of latencies is nobody's latency, and a sum of rates scales one service for another's load.",
        fix: "select one series: service=NAME, and for a backlog key=NAME",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                external!(
                    "name: request_rate",
                    "type: AverageValue, averageValue: \"50\""
                ),
            ),
            service!("window: 30s"),
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
        check: series_summed,
    },
    Rule {
        id: "objective-missing",
        severity: Severity::Error,
        title: "A metric that needs an objective, of a service without one",
        why: "slow_request_ratio is the share of requests slower than the objective, and request_latency_ms without a \
              quantile label is the objective's quantile. Without an objective there is nothing to serve: a 404.",
        fix: "write objective: {quantile: 0.95, latency: 250ms} in the RequestMetrics, or select a quantile",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                cpu!(),
                external!(
                    "name: slow_request_ratio, selector: {matchLabels: {service: users}}",
                    "type: Value, value: 50m"
                ),
            ),
            service!("window: 30s"),
        ),
        right: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                cpu!(),
                external!(
                    "name: slow_request_ratio, selector: {matchLabels: {service: users}}",
                    "type: Value, value: 50m"
                ),
            ),
            service!("window: 30s", "objective: {quantile: 0.95, latency: 250ms}"),
        ),
        page: None,
        check: objective_missing,
    },
];

fn selector_impossible(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        if let Some(selector) = metric.selector {
            written(&hpa.known, selector, out);
            match metric.kind {
                "External" => meant(&hpa.known, metric, out),
                "Pods" => of_pods(&hpa.known, metric, out),
                _ => {}
            }
        }
    });
}

/// What no selector of Kubernetes can say.
fn written(hpa: &Known<'_>, selector: &Node, out: &mut Out<'_>) {
    let mut refuse = |node: &Node, what: String, fix: &str| {
        let why = "the controller gives up before it asks, and the metric is unknown at every sync";
        out.at(hpa, node, what, why, fix);
    };
    for (key, value) in selector.get("matchLabels").map_or(&[][..], Node::fields) {
        match value.text() {
            _ if !is_key(key) => refuse(
                value,
                format!("no label can be called {key:?}"),
                "a label's key",
            ),
            None => refuse(
                value,
                format!(
                    "{key} is {}, and must be a text",
                    value.scalar().unwrap_or_default()
                ),
                &format!("{key}: \"{}\"", value.scalar().unwrap_or_default()),
            ),
            Some(text) if !is_value(text) => refuse(
                value,
                format!(
                    "no label can have the value {:?}",
                    text.chars().take(80).collect::<String>()
                ),
                &format!(
                    "at most {VALUE_BYTES_MAX} letters, digits, -, _ and ., such as {}",
                    fit(text)
                ),
            ),
            Some(_) => {}
        }
    }
    for expression in selector
        .get("matchExpressions")
        .map_or(&[][..], Node::items)
    {
        let operator = expression
            .get("operator")
            .and_then(Node::text)
            .unwrap_or_default();
        let values = expression.get("values").map_or(&[][..], Node::items);
        let wants_values = matches!(operator, "In" | "NotIn");
        if !matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist") {
            let what = format!("there is no operator {operator:?}");
            refuse(
                expression,
                what,
                "operator: In, NotIn, Exists or DoesNotExist",
            );
        } else if wants_values == values.is_empty() {
            let verb = if wants_values { "needs" } else { "takes no" };
            refuse(
                expression,
                format!("{operator} {verb} values"),
                "values: [NAME]",
            );
        } else if let Some(bad) = values
            .iter()
            .find(|value| !value.text().is_some_and(is_value))
        {
            let what = format!(
                "no label can have the value {:?}",
                bad.scalar().unwrap_or_default()
            );
            refuse(bad, what, "a value of letters, digits, ., - and _");
        }
    }
}

/// A value that a label could have instead.
fn fit(text: &str) -> String {
    let fit: String = text
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.".contains(c) {
                c
            } else {
                '_'
            }
        })
        .take(VALUE_BYTES_MAX)
        .collect();
    fit.trim_matches(|c: char| !c.is_ascii_alphanumeric())
        .to_owned()
}

/// What can be said and matches none of our series.
fn meant(hpa: &Known<'_>, metric: &Metric<'_>, out: &mut Out<'_>) {
    let (Some(served), Some(sent)) = (metric.served(), &metric.sent) else {
        return;
    };
    let unknown = "Taffrail answers 404 at every sync, and the HPA holds";
    let mut allowed: Vec<(&str, BTreeSet<&str>)> = Vec::new();
    for requirement in sent.requirements() {
        let key = requirement.key.as_str();
        let values = match &requirement.operator {
            Operator::In(values) => values.as_slice(),
            Operator::Exists if served.labels().contains(&key) => continue,
            Operator::Exists => &[],
            _ => continue,
        };
        let node = metric.label_node(key);
        if !served.labels().contains(&key) {
            let labels = served.labels().join(" and ");
            let what = format!("{} has no label {key}, only {labels}", metric.name);
            out.at(
                hpa,
                node,
                what,
                unknown,
                format!("where: '{key}=\"...\"'   # in the RequestMetrics"),
            );
            continue;
        }
        if key == "quantile" {
            quantiles(hpa, node, values, out);
        }
        let values: BTreeSet<&str> = values.iter().map(String::as_str).collect();
        if let Some((_, before)) = allowed.iter().find(|(known, _)| *known == key)
            && before.is_disjoint(&values)
        {
            let what = format!("two requirements on {key} that exclude each other");
            out.at(hpa, node, what, unknown, "leave one of them out");
        }
        allowed.push((key, values));
    }
}

/// Of single pods there is a mean and no quantile: too few requests each.
fn of_pods(hpa: &Known<'_>, metric: &Metric<'_>, out: &mut Out<'_>) {
    let asked = metric.label_node("quantile");
    let is_quantile = asked.text().is_some_and(|text| text != "mean");
    if metric.served() == Some(Served::RequestLatencyMs) && is_quantile {
        out.at(
            hpa,
            asked,
            "asks for a quantile of single pods",
            "Taffrail knows their mean only, and answers 404 at every sync",
            "quantile: mean   # or the service's quantile, by an External metric",
        );
    }
}

fn quantiles(hpa: &Known<'_>, node: &Node, values: &[String], out: &mut Out<'_>) {
    if 1 < values.len() {
        out.at(
            hpa,
            node,
            format!("selects the quantiles {} at a time", values.join(" and ")),
            "their sum would be no latency, so Taffrail refuses: 404 at every sync",
            format!(
                "quantile: \"{}\"",
                values.first().map_or("0.95", String::as_str)
            ),
        );
    }
    for value in values {
        let number = value.parse::<f64>().ok();
        if value == "mean" || number.is_some_and(|q| (0.0..=1.0).contains(&q)) {
            continue;
        }
        let digits = value.trim_start_matches(['p', 'P']).trim_end_matches('%');
        let meant = digits
            .parse::<f64>()
            .ok()
            .filter(|q| 1.0 < *q && *q < 100.0);
        let meant = meant.map_or(0.95, |per_cent| (per_cent * 1e6).round() / 1e8);
        out.at(
            hpa,
            node,
            format!("{value:?} is no quantile"),
            "a quantile goes from 0 to 1; Taffrail answers 404 at every sync, and the HPA holds",
            format!("quantile: \"{meant}\""),
        );
    }
}

fn selector_matches_nothing(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let (Some(served), Some(name)) = (metric.served(), metric.selected("service")) else {
            continue;
        };
        let object = hpa.known.object;
        if metric.kind != "External" {
            continue;
        }
        if let Some(service) = world.service(object, name) {
            let keys = service.backlog_keys();
            let key = metric
                .selected("key")
                .filter(|_| served == Served::RedisBacklog);
            if let Some(key) = key.filter(|key| !keys.iter().any(|known| known == key)) {
                let near = nearest(keys.iter().map(String::as_str), key);
                out.at(
                    &hpa.known,
                    metric.label_node("key"),
                    format!("RequestMetrics {name} has no backlog {key:?}"),
                    "the backlog is unknown at every sync, and the HPA holds",
                    format!("key: {}", near.unwrap_or("one of its backlogs")),
                );
            }
            continue;
        }
        let others: Vec<&str> = world
            .services_near(object)
            .map(|service| service.known.object.name.as_str())
            .collect();
        let elsewhere = world
            .services
            .iter()
            .find(|service| service.known.object.name == name);
        let (what, fix) = match elsewhere {
            Some(service) => (
                format!(
                    "RequestMetrics {name} is in namespace {}, and an HPA reads its own only",
                    service
                        .known
                        .object
                        .namespace
                        .as_deref()
                        .unwrap_or_default()
                ),
                "put the RequestMetrics into the HPA's namespace".to_owned(),
            ),
            None if others.is_empty() && !world.has_all("requestmetrics") => continue,
            None => (
                format!("there is no RequestMetrics {name}"),
                format!(
                    "service: {}",
                    nearest(others.into_iter(), name).unwrap_or("the name of a RequestMetrics")
                ),
            ),
        };
        let why = "the metric is unknown at every sync: the HPA scales in no more, and with no other metric not at all";
        out.at(&hpa.known, metric.label_node("service"), what, why, fix);
    });
}

/// The name that was probably meant.
fn nearest<'n>(names: impl Iterator<Item = &'n str>, name: &str) -> Option<&'n str> {
    names
        .filter(|known| !known.is_empty())
        .min_by_key(|known| super::form::distance(known, name))
}

fn series_summed(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        if metric.kind != "External" {
            continue;
        }
        let node = metric.selector.or(metric.name_node).unwrap_or(metric.node);
        let Some(served) = metric.served() else {
            if metric.signal == Signal::OthersLatency && metric.selector.is_none() {
                out.at(
                    &hpa.known,
                    node,
                    format!("{} is read without a selector", metric.name),
                    "the HPA adds all its series: two pods at 200 ms are read as 400",
                    "selector: {matchLabels: {...}}   # one series, or a metric that is merged before it is served",
                );
            }
            continue;
        };
        let is_named = metric.selected("service").is_some();
        if let Some(sent) = metric.sent.as_ref().filter(|_| !is_named) {
            let (each, how) = match served {
                Served::RequestLatencyMs => (
                    "Taffrail merges them",
                    "a latency of the requests of all of them",
                ),
                _ => ("the HPA adds them up", "the sum over all of them"),
            };
            let whose = taken_in(world, hpa.known.object, sent);
            out.at(
                &hpa.known,
                node,
                format!("{} is read of {whose}", metric.name),
                format!("{each}, so the HPA scales on {how}"),
                format!(
                    "selector: {{matchLabels: {{service: {}}}}}",
                    hpa.target().map_or("NAME", |(_, name)| name)
                ),
            );
        }
        let keys = metric
            .selected("service")
            .and_then(|name| world.service(hpa.known.object, name))
            .map(Service::backlog_keys)
            .unwrap_or_default();
        let has_key = metric.sent.as_ref().is_some_and(|sent| {
            sent.requirements()
                .iter()
                .any(|requirement| requirement.key == "key")
        });
        if served == Served::RedisBacklog && !has_key && 1 < keys.len() {
            out.at(
                &hpa.known,
                node,
                format!(
                    "redis_backlog is read of {} keys: {}",
                    keys.len(),
                    keys.join(", ")
                ),
                "the HPA adds them up, and one of them that is unknown makes the whole unknown",
                format!(
                    "selector: {{matchLabels: {{service: NAME, key: {}}}}}",
                    keys[0]
                ),
            );
        }
    });
}

/// The services of which a selector takes in several, or all of them.
fn taken_in<'w>(world: &World<'w>, object: &'w Object, sent: &Selector) -> String {
    let wanted: Vec<&Requirement> = sent
        .requirements()
        .iter()
        .filter(|requirement| requirement.key == "service")
        .collect();
    let names: Vec<&str> = world
        .services_near(object)
        .map(|service| service.known.object.name.as_str())
        .filter(|name| wanted.iter().all(|wanted| wanted.matches(Some(name))))
        .collect();
    match names.as_slice() {
        [] | [_] if !wanted.is_empty() => {
            "every RequestMetrics that its selector takes in".to_owned()
        }
        [] | [_] => "every RequestMetrics of the namespace, those to come included".to_owned(),
        names => format!("{} services: {}", names.len(), names.join(", ")),
    }
}

fn objective_missing(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let needs = match metric.served() {
            Some(Served::SlowRequestRatio) => "the share of requests slower than the objective",
            Some(Served::RequestLatencyMs) if metric.selected("quantile").is_none() => {
                "without a quantile label, the objective's quantile"
            }
            _ => continue,
        };
        let service = metric
            .selected("service")
            .and_then(|name| world.service(hpa.known.object, name));
        let Some(service) =
            service.filter(|service| service.resolved.is_ok() && service.objective().is_none())
        else {
            continue;
        };
        out.at(
            &hpa.known,
            metric.name_node.unwrap_or(metric.node),
            format!(
                "RequestMetrics {} has no objective",
                service.known.object.name
            ),
            format!("{} is {needs}: a 404 at every sync", metric.name),
            "objective: {quantile: 0.95, latency: 250ms}   # in the RequestMetrics",
        );
    });
}
