//! Others that scale what an HPA scales: KEDA, which makes an HPA of its own, and VerticalPodAutoscalers, which change what
//! a utilization is a share of.

use crate::config::tree::Node;
use crate::lint::objects::Object;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{Hpa, Workload};
use crate::lint::world::{Known, World};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "keda-beside-hpa",
        severity: Severity::Error,
        title: "A ScaledObject and an HPA scale one target",
        why: "KEDA makes an HPA of each ScaledObject, so the target has two, and the controller serves neither: \
              ScalingActive is False with AmbiguousSelector. Where KEDA's webhook is installed, it refuses the \
              ScaledObject.",
        fix: "one of both: the ScaledObject with the HPA's metrics as triggers, or the HPA with the triggers as metrics",
        wrong: documents!(right_hpa!(), scaled_object!("users")),
        right: documents!(right_hpa!(), scaled_object!("mails")),
        page: None,
        check: keda_beside_hpa,
    },
    Rule {
        id: "vpa-same-resource",
        severity: Severity::Warning,
        title: "A VerticalPodAutoscaler sets the requests that an HPA scales on",
        why: "Utilization is usage by request. A VerticalPodAutoscaler that changes the request moves it without any \
              change of load, the HPA answers with pods, which changes usage, and so on: both are advised against \
              on one resource.",
        fix: "controlledResources: [memory], or an HPA on request_rate, which no request changes",
        wrong: documents!(right_hpa!(), vertical!("")),
        right: documents!(
            right_hpa!(),
            vertical!(
                "  resourcePolicy: {containerPolicies: [{containerName: \"*\", controlledResources: [memory]}]}\n"
            )
        ),
        page: None,
        check: vpa_same_resource,
    },
];

/// What it scales, of a kind that may be left out.
fn target_of<'w>(known: &Known<'w>, field: &str) -> Option<(&'w str, &'w str, &'w Node)> {
    let target = known.object.root.at(&["spec", field])?;
    let kind = target.get("kind").and_then(Node::text);
    let name = target.get("name").and_then(Node::text)?;
    Some((kind.unwrap_or("Deployment"), name, target))
}

/// Whether KEDA scales a workload.
pub(super) fn is_scaled(world: &World<'_>, workload: &Object) -> bool {
    world.scaled.iter().any(|scaled| {
        let target = target_of(scaled, "scaleTargetRef");
        let is_it =
            target.is_some_and(|(kind, name, _)| kind == workload.kind && name == workload.name);
        is_it && scaled.object.may_meet(workload)
    })
}

/// The HPAs over this target, of the same namespace.
fn hpas_of<'x, 'w>(
    world: &'x World<'w>,
    known: &'x Known<'w>,
    target: (&'x str, &'x str),
) -> impl Iterator<Item = &'x Hpa<'w>> {
    world
        .hpas
        .iter()
        .filter(move |hpa| hpa.target() == Some(target) && hpa.known.object.may_meet(known.object))
}

fn keda_beside_hpa(world: &World<'_>, out: &mut Out<'_>) {
    for scaled in &world.scaled {
        let Some((kind, name, node)) = target_of(scaled, "scaleTargetRef") else {
            continue;
        };
        let own = own_hpa(scaled);
        let other = hpas_of(world, scaled, (kind, name)).find(|hpa| hpa.known.object.name != own);
        let Some(hpa) = other else { continue };
        let hpa = &hpa.known.object.name;
        out.at(
            scaled,
            node,
            format!("HPA {hpa} scales {kind} {name} as well"),
            format!("KEDA makes HPA {own} of it, and the controller refuses both: ScalingActive=False, AmbiguousSelector"),
            format!("delete HPA {hpa}, or the ScaledObject, when the other one has what it scales on"),
        );
    }
}

/// The name of the HPA that KEDA makes of a ScaledObject.
fn own_hpa(scaled: &Known<'_>) -> String {
    let said = ["spec", "advanced", "horizontalPodAutoscalerConfig", "name"];
    let said = scaled.object.root.at(&said).and_then(Node::text);
    said.map_or_else(|| format!("keda-hpa-{}", scaled.object.name), str::to_owned)
}

fn vpa_same_resource(world: &World<'_>, out: &mut Out<'_>) {
    for vertical in &world.verticals {
        let root = &vertical.object.root;
        let mode = root.at(&["spec", "updatePolicy", "updateMode"]);
        let mode = mode.and_then(Node::scalar);
        let Some((kind, name, node)) = target_of(vertical, "targetRef") else {
            continue;
        };
        // Without quotes it is `false` to kubectl.
        if matches!(mode.as_deref(), Some("Off" | "false")) {
            continue;
        }
        for hpa in hpas_of(world, vertical, (kind, name)) {
            let same = hpa.metrics.iter().find(|metric| {
                let container = metric.container.and_then(Node::text);
                metric.utilization.is_some()
                    && sets(vertical, world.target(hpa), container, &metric.name)
            });
            let Some(metric) = same else { continue };
            let percent = metric.utilization.map_or(0, |(_, percent)| percent);
            let (hpa, resource) = (&hpa.known.object.name, &metric.name);
            out.at(
                vertical,
                node,
                format!("it sets the {resource} requests of {kind} {name}, and HPA {hpa} scales on {percent} % of them"),
                "a request that is halved looks like twice the load: the HPA doubles the pods, though nobody asked for more",
                format!("controlledResources: all but {resource}, or updateMode: \"Off\""),
            );
        }
    }
}

/// Whether it sets a resource of a container; of any of them, where the metric is of the whole pod.
fn sets(
    vertical: &Known<'_>,
    workload: Option<&Workload<'_>>,
    container: Option<&str>,
    resource: &str,
) -> bool {
    let policies = vertical
        .object
        .root
        .at(&["spec", "resourcePolicy", "containerPolicies"]);
    let policies = policies.map_or(&[][..], Node::items);
    let of = |name: &str| {
        let named = |policy: &&Node| policy.get("containerName").and_then(Node::text) == Some(name);
        policies.iter().find(named)
    };
    let sets_of = |name: &str| {
        let Some(policy) = of(name).or_else(|| of("*")) else {
            return true;
        };
        let is_off = policy.get("mode").and_then(Node::scalar);
        let controlled = policy.get("controlledResources").map(Node::items);
        let is_controlled =
            controlled.is_none_or(|all| all.iter().any(|item| item.text() == Some(resource)));
        !matches!(is_off.as_deref(), Some("Off" | "false")) && is_controlled
    };
    match (container, workload) {
        (Some(name), _) => sets_of(name),
        (None, Some(workload)) => {
            let mut names = workload.containers.iter().map(Workload::container_name);
            names.any(sets_of)
        }
        (None, None) => sets_of("*"),
    }
}
