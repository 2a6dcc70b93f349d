//! What is scaled: whether it is there, whether its pods are its own, and whether they request what is measured.

use std::collections::BTreeMap;

use super::num;
use super::target::each_metric;
use crate::config::tree::Node;
use crate::lint::objects::Object;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{Hpa, Metric, Signal, Workload};
use crate::lint::world::World;
use crate::model::quantity;

/// What of `apps/v1` has a scale.
const SCALED: [&str; 3] = ["Deployment", "StatefulSet", "ReplicaSet"];

/// Of what pods can use at most, what they should: room for a burst while new ones start.
const WANTED_SHARE: f64 = 0.7;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "requests-missing",
        severity: Severity::Error,
        title: "A utilization without requests",
        why: "Utilization is a share of what the pods request. Where one container of a pod requests nothing, the HPA \
              has no number for the whole pod: FailedGetResourceMetric at every sync.",
        fix: "resources: {requests: {cpu: ...}} for every container, sidecars included, or a ContainerResource metric",
        wrong: documents!(
            right_hpa!(),
            deployment!(
                "",
                "        readinessProbe: {httpGet: {path: /readyz, port: http}}\n"
            )
        ),
        right: documents!(right_hpa!(), deployment!("", right_container!())),
        page: None,
        check: requests_missing,
    },
    Rule {
        id: "utilization-unreachable",
        severity: Severity::Error,
        title: "A utilization that the limit keeps pods from",
        why: "A container never uses more than its limit. Where limit and request are the same, utilization ends at \
              100 %, and a target from 91 % on, with the tolerance of 10 %, is never exceeded.",
        fix: "a lower target, a higher limit, or none",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                "- {type: Resource, resource: {name: cpu, target: {type: Utilization, averageUtilization: 95}}}",
            ),
            deployment!(
                "",
                "        resources: {requests: {cpu: 500m}, limits: {cpu: 500m}}\n        \
                 readinessProbe: {httpGet: {path: /readyz, port: http}}\n"
            ),
        ),
        right: documents!(right_hpa!(), deployment!("", right_container!())),
        page: None,
        check: utilization_unreachable,
    },
    Rule {
        id: "container-unknown",
        severity: Severity::Error,
        title: "A ContainerResource metric of a container that no pod has",
        why: "The HPA finds no such container in any pod: FailedGetContainerResourceMetric at every sync.",
        fix: "write the name of one of the containers",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                cpu_of!("app"),
            ),
            deployment!("", right_container!()),
        ),
        right: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                cpu_of!("users"),
            ),
            deployment!("", right_container!()),
        ),
        page: None,
        check: container_unknown,
    },
    Rule {
        id: "target-missing",
        severity: Severity::Error,
        title: "What the HPA scales is not there",
        why: "The controller cannot read the scale of what does not exist: AbleToScale is False with FailedGetScale, \
              and nothing is ever scaled. Among files it is told where something of nearly that name or of another \
              kind is there.",
        fix: "write kind and name of what is there",
        wrong: documents!(
            hpa_of!(
                "autoscaling/v2",
                "{name: users}",
                "{apiVersion: apps/v1, kind: Deployment, name: user}",
                "minReplicas: 2",
                "maxReplicas: 10",
            ),
            deployment!("", right_container!()),
        ),
        right: documents!(right_hpa!(), deployment!("", right_container!())),
        page: None,
        check: target_missing,
    },
    Rule {
        id: "target-unread",
        severity: Severity::Note,
        title: "What the HPA scales is not among the files, and something that nobody scales is",
        why: "The name may be a slip. And requests, probes, labels and replicas of what is scaled are not checked, as \
              nobody showed it.",
        fix: "write the name of what is there, or lint the target's file as well",
        wrong: documents!(
            hpa_of!(
                "autoscaling/v2",
                "{name: users}",
                "{apiVersion: apps/v1, kind: Deployment, name: accounts}",
                "minReplicas: 2",
                "maxReplicas: 10",
            ),
            deployment!("", right_container!()),
        ),
        right: documents!(right_hpa!(), deployment!("", right_container!())),
        page: None,
        check: target_unread,
    },
    Rule {
        id: "target-api-version",
        severity: Severity::Error,
        title: "The target's apiVersion has no such kind, or the kind has no scale",
        why: "Deployments and StatefulSets are in apps/v1; without an apiVersion, with one that is gone, or with a kind \
              in other letters, the controller finds \"no matches for kind\": FailedGetScale. DaemonSets, Jobs and \
              Pods have no scale at all. The API server takes such an HPA without a word.",
        fix: "apiVersion: apps/v1, kind: Deployment",
        wrong: hpa_of!(
            "autoscaling/v2",
            "{name: users}",
            "{kind: Deployment, name: users}",
            "minReplicas: 2",
            "maxReplicas: 10",
        ),
        right: right_hpa!(),
        page: None,
        check: target_api_version,
    },
    Rule {
        id: "pods-shared",
        severity: Severity::Error,
        title: "The selector of one workload takes in the pods of another",
        why: "The HPA counts the pods that its target's selector selects. With another workload's pods among them, it \
              multiplies by too many, averages over both, and where both have an HPA refuses with AmbiguousSelector.",
        fix: "a label of its own in each workload's selector and template",
        wrong: documents!(
            right_hpa!(),
            deployment!("", right_container!()),
            workload!("users-worker", "app: users, role: worker", "", ""),
        ),
        right: documents!(
            right_hpa!(),
            deployment!("", right_container!()),
            workload!("users-worker", "app: users-worker", "", ""),
        ),
        page: None,
        check: pods_shared,
    },
];

/// The containers that a metric is of.
fn containers<'w>(metric: &Metric<'w>, workload: &Workload<'w>) -> impl Iterator<Item = &'w Node> {
    let only = metric.container.and_then(Node::text);
    workload.containers.iter().filter(move |container| {
        only.is_none_or(|only| Workload::container_name(container) == only)
    })
}

/// What a container requests of a resource, in units; a limit is a request where no request is said.
fn requested(container: &Node, resource: &str) -> Option<f64> {
    amount(container, "requests", resource).or_else(|| amount(container, "limits", resource))
}

fn amount(container: &Node, field: &str, resource: &str) -> Option<f64> {
    let node = container.at(&["resources", field, resource])?;
    quantity::parse_f64(&node.scalar()?).ok()
}

/// The resource metrics with a utilization, and what they are of.
fn utilizations<'x, 'w>(
    world: &'x World<'w>,
) -> impl Iterator<Item = (&'x Hpa<'w>, &'x Metric<'w>, &'w Node, i64, &'x Workload<'w>)> {
    world.hpas.iter().flat_map(move |hpa| {
        let workload = world.target(hpa);
        hpa.metrics.iter().filter_map(move |metric| {
            let (node, percent) = metric.utilization?;
            matches!(metric.signal, Signal::Cpu | Signal::Memory).then_some(())?;
            Some((hpa, metric, node, percent, workload?))
        })
    })
}

fn requests_missing(world: &World<'_>, out: &mut Out<'_>) {
    for (hpa, metric, _, percent, workload) in utilizations(world) {
        for container in containers(metric, workload) {
            if requested(container, &metric.name).is_some() {
                continue;
            }
            let name = Workload::container_name(container);
            let object = workload.known.object;
            out.at(
                &workload.known,
                container.get("resources").unwrap_or(container),
                format!("the container {name} requests no {}, and HPA {} scales on {percent} % of \
                    it", metric.name, hpa.known.object.name),
                format!(
                    "{percent} % of nothing is nothing: the HPA has no {} of any pod of {} {}, unless a LimitRange \
                     sets a request",
                    metric.name, object.kind, object.name
                ),
                format!("resources: {{requests: {{{}: 100m}}}}", metric.name),
            );
        }
    }
}

fn utilization_unreachable(world: &World<'_>, out: &mut Out<'_>) {
    for (hpa, metric, node, percent, workload) in utilizations(world) {
        let mut requests = 0.0;
        let mut limits = 0.0;
        let mut is_limited = !workload.containers.is_empty();
        for container in containers(metric, workload) {
            let limit = amount(container, "limits", &metric.name);
            is_limited &= limit.is_some();
            limits += limit.unwrap_or_default();
            requests += requested(container, &metric.name).unwrap_or_default();
        }
        if !is_limited || requests <= 0.0 {
            continue;
        }
        let most = limits / requests * 100.0;
        let acts_at = percent as f64 * (1.0 + hpa.tolerance_up());
        if acts_at < most {
            continue;
        }
        out.at(
            &hpa.known,
            node,
            format!(
                "the target is {percent} % of what pods request, and their limits end at {} %",
                num(most.round())
            ),
            format!(
                "the HPA acts above {} %, which no pod can reach: it never adds one",
                num(acts_at)
            ),
            format!("averageUtilization: {}", num((most * WANTED_SHARE).floor())),
        );
    }
}

fn container_unknown(world: &World<'_>, out: &mut Out<'_>) {
    each_metric!(world, |hpa, metric| {
        let (Some(node), Some(workload)) = (metric.container, world.target(hpa)) else {
            continue;
        };
        let names: Vec<&str> = workload
            .containers
            .iter()
            .map(Workload::container_name)
            .collect();
        let name = node.text().unwrap_or_default();
        if names.is_empty() || names.contains(&name) {
            continue;
        }
        out.at(
            &hpa.known,
            node,
            format!(
                "{} {} has no container {name}",
                workload.known.object.kind, workload.known.object.name
            ),
            "the metric is unknown at every sync, and the HPA holds",
            format!("container: {}", names.join(" or ")),
        );
    });
}

/// The kind that this is, however its letters are written.
fn scaled(kind: &str) -> Option<&'static str> {
    SCALED
        .into_iter()
        .find(|known| known.eq_ignore_ascii_case(kind))
}

/// The plural of a kind, as a cluster lists it.
fn plural(kind: &str) -> String {
    format!("{}s", kind.to_ascii_lowercase())
}

fn target_missing(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Some((kind, name)) = hpa.target() else {
            continue;
        };
        // A kind in other letters is another finding.
        let is_misspelt = scaled(kind).is_some_and(|scaled| scaled != kind);
        if is_misspelt || world.target(hpa).is_some() {
            continue;
        }
        let node = hpa.spec.get("scaleTargetRef").unwrap_or(hpa.spec);
        let fix = match meant(world, hpa, kind, name) {
            Some(object) => format!(
                "scaleTargetRef: {{apiVersion: {}, kind: {}, name: {}}}",
                object.api_version, object.kind, object.name
            ),
            None if world.has_all(&plural(kind)) => {
                "the kind and the name of what is to be scaled".to_owned()
            }
            None => continue,
        };
        out.at(
            &hpa.known,
            node,
            format!("there is no {kind} {name}"),
            "AbleToScale is False with FailedGetScale at every sync, and nothing is scaled",
            fix,
        );
    }
}

/// What was probably meant by a target that is not there: something of its name, or of nearly that name and without
/// an HPA.
fn meant<'w>(world: &World<'w>, hpa: &Hpa<'_>, kind: &str, name: &str) -> Option<&'w Object> {
    let workloads = world.workloads.iter().map(|workload| workload.known.object);
    let mut near = workloads.filter(|object| object.may_meet(hpa.known.object));
    near.find(|object| {
        let is_slip = object.kind == kind
            && super::form::distance(&object.name, name) <= 2
            && name.len() > 3
            && world.hpa_of(object).is_none();
        is_slip || object.name == name
    })
}

fn target_unread(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Some((kind, name)) = hpa.target().filter(|(kind, _)| SCALED.contains(kind)) else {
            continue;
        };
        let is_told = world.target(hpa).is_some()
            || world.has_all(&plural(kind))
            || meant(world, hpa, kind, name).is_some();
        if is_told {
            continue;
        }
        let workloads = world.workloads.iter().map(|workload| workload.known.object);
        let mut unscaled = workloads.filter(|object| {
            object.kind == kind
                && object.may_meet(hpa.known.object)
                && world.hpa_of(object).is_none()
                && !super::beside::is_scaled(world, object)
        });
        let Some(other) = unscaled.next() else {
            continue;
        };
        out.at(
            &hpa.known,
            hpa.spec.get("scaleTargetRef").unwrap_or(hpa.spec),
            format!("there is no {kind} {name} here, and nobody scales {} {}", other.kind, other.name),
            "if the name is a slip, nothing is scaled; if not, the target's requests, probes and replicas were not seen",
            format!("name: {}, or the file of {name} beside these", other.name),
        );
    }
}

fn target_api_version(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Some((kind, name)) = hpa.target() else {
            continue;
        };
        let target = hpa.spec.get("scaleTargetRef").unwrap_or(hpa.spec);
        let version = target.get("apiVersion").and_then(Node::text);
        let written = version.unwrap_or_default();
        let (field, what, fix) = match (kind, scaled(kind)) {
            ("DaemonSet", _) => (
                "kind",
                "a DaemonSet has a pod on each node and no scale".to_owned(),
                "kind: Deployment".to_owned(),
            ),
            ("Job" | "CronJob" | "Pod", _) => (
                "kind",
                format!("a {kind} has no scale"),
                "kind: Deployment".to_owned(),
            ),
            (_, Some(scaled)) if scaled != kind => (
                "kind",
                format!("there is no kind {kind}"),
                format!("kind: {scaled}"),
            ),
            (_, Some(_)) if written != "apps/v1" => (
                "apiVersion",
                match written {
                    "" => format!("the apiVersion of {kind} {name} is missing"),
                    written => format!("there is no {kind} in {written}"),
                },
                "apiVersion: apps/v1".to_owned(),
            ),
            _ => continue,
        };
        out.at(
            &hpa.known,
            target.get(field).unwrap_or(target),
            what,
            "the controller finds nothing to scale: FailedGetScale at every sync",
            fix,
        );
    }
}

fn pods_shared(world: &World<'_>, out: &mut Out<'_>) {
    for workload in &world.workloads {
        let own = workload.known.object;
        let Some(hpa) = world.hpa_of(own) else {
            continue;
        };
        let other = world.workloads.iter().find(|other| {
            let others = other.known.object;
            others.may_meet(own)
                && (others.kind != own.kind || others.name != own.name)
                && others.kind != "ReplicaSet"
                && !workload.match_labels.is_empty()
                && other.has_labels(&workload.match_labels)
        });
        let Some(other) = other else { continue };
        let others = other.known.object;
        let has_expressions = own
            .root
            .at(&["spec", "selector", "matchExpressions"])
            .is_some();
        if has_expressions {
            continue;
        }
        let node = own.root.at(&["spec", "selector"]).unwrap_or(&own.root);
        out.at(
            &workload.known,
            node,
            format!("{} also selects the pods of {} {}", spelled(&workload.match_labels), others.kind, others.name),
            format!(
                "HPA {} counts them as its own: a ratio of 1.5 over {} pods, of which half are another's, adds twice \
                 as many as are needed",
                hpa.known.object.name,
                hpa.typical().saturating_mul(2)
            ),
            format!("matchLabels: {{app: {}}}   # and the same in the template", own.name),
        );
    }
}

fn spelled(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}
