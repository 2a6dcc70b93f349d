//! minReplicas and maxReplicas, and who else sets the replicas.

use super::num;
use crate::config::tree::Node;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::world::{World, labels};

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "min-equals-max",
        severity: Severity::Warning,
        title: "minReplicas and maxReplicas are the same",
        why: "The HPA reads its metrics at every sync and may do nothing with them. Whoever looks at it believes that \
              the service scales.",
        fix: "give it room, or delete the HPA and write replicas",
        wrong: hpa!("minReplicas: 4", "maxReplicas: 4", "metrics:", cpu!()),
        right: hpa!("minReplicas: 4", "maxReplicas: 12", "metrics:", cpu!()),
        page: None,
        check: min_equals_max,
    },
    Rule {
        id: "replicas-set",
        severity: Severity::Warning,
        title: "The manifest of what an HPA scales sets replicas",
        why: "Each apply of the manifest sets the replicas to its number, in the middle of a peak as well, and the \
              HPA needs syncs to bring them back; a GitOps tool does so for ever.",
        fix: "leave replicas out of the manifest",
        wrong: documents!(
            right_hpa!(),
            deployment!("  replicas: 3\n", right_container!())
        ),
        right: documents!(right_hpa!(), deployment!("", right_container!())),
        page: None,
        check: replicas_set,
    },
    Rule {
        id: "two-hpas",
        severity: Severity::Error,
        title: "Two HPAs scale one target",
        why: "Each counts the pods of the other, and the controller refuses to serve either: ScalingActive is False \
              with AmbiguousSelector. Before Kubernetes knew that, both wrote replicas in turn.",
        fix: "one HPA with all metrics: the highest proposal counts",
        wrong: documents!(
            right_hpa!(),
            hpa_of!(
                "autoscaling/v2",
                "{name: users-cpu}",
                "{apiVersion: apps/v1, kind: Deployment, name: users}",
                "minReplicas: 2",
                "maxReplicas: 6",
                "metrics:",
                cpu!(),
            ),
        ),
        right: right_hpa!(),
        page: None,
        check: two_hpas,
    },
    Rule {
        id: "budget-blocks",
        severity: Severity::Warning,
        title: "A PodDisruptionBudget that lets no pod of the fewest go",
        why: "With minAvailable at minReplicas or above, no pod may be evicted while the service is at its fewest: a \
              node that is drained waits for ever, and so does the cluster's upgrade.",
        fix: "maxUnavailable: 1, which fits any number of replicas",
        wrong: documents!(
            right_hpa!(),
            deployment!("", right_container!()),
            concat!(
                "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: users}\nspec:\n",
                "  minAvailable: 2\n  selector: {matchLabels: {app: users}}\n"
            ),
        ),
        right: documents!(
            right_hpa!(),
            deployment!("", right_container!()),
            concat!(
                "apiVersion: policy/v1\nkind: PodDisruptionBudget\nmetadata: {name: users}\nspec:\n",
                "  maxUnavailable: 1\n  selector: {matchLabels: {app: users}}\n"
            ),
        ),
        page: None,
        check: budget_blocks,
    },
];

/// What kubectl remembers of the manifest that was applied.
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn min_equals_max(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Some(max) = hpa.max().filter(|max| *max == hpa.min()) else {
            continue;
        };
        out.at(
            &hpa.known,
            hpa.spec.get("maxReplicas").unwrap_or(hpa.spec),
            format!("minReplicas and maxReplicas are both {max}"),
            format!("whatever its metrics say, there are {max} replicas"),
            format!("maxReplicas: {}", max.saturating_mul(3)),
        );
    }
}

fn replicas_set(world: &World<'_>, out: &mut Out<'_>) {
    for workload in &world.workloads {
        let Some(hpa) = world.hpa_of(workload.known.object) else {
            continue;
        };
        let root = &workload.known.object.root;
        // In a cluster there always are replicas; what was applied tells who set them.
        let applied = workload.known.object.annotation(APPLIED);
        let is_applied = || {
            let text = applied.and_then(Node::text)?;
            let manifest: serde_json::Value = serde_json::from_str(text).ok()?;
            manifest.get("spec")?.get("replicas")?.as_i64()
        };
        let is_live = root.get("status").is_some() || root.at(&["metadata", "uid"]).is_some();
        let written = root.at(&["spec", "replicas"]);
        let (node, replicas) = match (is_live, is_applied(), written) {
            (true, Some(replicas), _) => (applied.unwrap_or(root), replicas),
            (false, _, Some(node)) => (node, node.int().unwrap_or_default()),
            _ => continue,
        };
        let max = hpa.max().unwrap_or(replicas);
        let why = if (hpa.min()..=max).contains(&replicas) {
            let taken = max.saturating_sub(replicas);
            format!(
                "an apply while the HPA has {max} replicas takes {taken} of them away at once, {} % of the service",
                num((taken as f64 / max.max(1) as f64 * 100.0).round())
            )
        } else {
            format!(
                "an apply sets it outside of {} to {max}, and the HPA sets it back at its next sync",
                hpa.min()
            )
        };
        out.at(
            &workload.known,
            node,
            format!(
                "replicas: {replicas}, and HPA {} sets them, too",
                hpa.known.object.name
            ),
            why,
            "leave replicas out",
        );
    }
}

fn two_hpas(world: &World<'_>, out: &mut Out<'_>) {
    for (index, hpa) in world.hpas.iter().enumerate() {
        let own = hpa.known.object;
        let first = world.hpas[..index].iter().find(|other| {
            let others = other.known.object;
            other.target().is_some()
                && other.target() == hpa.target()
                && others.may_meet(own)
                && !others.is_same(own)
        });
        let Some(first) = first else { continue };
        let (kind, name) = hpa.target().unwrap_or_default();
        out.at(
            &hpa.known,
            hpa.spec.get("scaleTargetRef").unwrap_or(hpa.spec),
            format!("HPA {} scales {kind} {name} as well", first.known.object.name),
            "the controller refuses both: ScalingActive=False, AmbiguousSelector, and the replicas stay as they are",
            format!("put its metrics into {} and delete {}", first.known.object.name, own.name),
        );
    }
}

fn budget_blocks(world: &World<'_>, out: &mut Out<'_>) {
    for budget in &world.budgets {
        let spec = budget
            .object
            .root
            .get("spec")
            .unwrap_or(&budget.object.root);
        let wanted = labels(spec.at(&["selector", "matchLabels"]));
        let of_pods = world.workloads.iter().filter(|workload| {
            !wanted.is_empty()
                && workload.has_labels(&wanted)
                && workload.known.object.may_meet(budget.object)
        });
        for workload in of_pods {
            let Some(hpa) = world.hpa_of(workload.known.object) else {
                continue;
            };
            let min = hpa.min();
            let Some((node, what)) = blocks(spec, min) else {
                continue;
            };
            out.at(
                budget,
                node,
                format!("{what}, and HPA {} goes down to {min}", hpa.known.object.name),
                format!("at {min} replicas not one pod may be evicted: draining a node of theirs waits for ever"),
                "maxUnavailable: 1   # in place of minAvailable",
            );
        }
    }
}

/// What of a budget lets no pod of `min` go.
fn blocks(spec: &Node, min: i64) -> Option<(&Node, String)> {
    let percent = |node: &Node| -> Option<f64> { node.text()?.strip_suffix('%')?.parse().ok() };
    if let Some(node) = spec.get("minAvailable") {
        // A share is rounded up to whole pods.
        let available = match (node.int(), percent(node)) {
            (Some(pods), _) => pods,
            (None, Some(share)) => (share / 100.0 * min as f64).ceil() as i64,
            _ => return None,
        };
        let what = format!("minAvailable is {}", node.scalar().unwrap_or_default());
        return (min <= available).then_some((node, what));
    }
    let node = spec.get("maxUnavailable")?;
    let is_none = node.int() == Some(0) || percent(node) == Some(0.0);
    is_none.then(|| {
        (
            node,
            format!("maxUnavailable is {}", node.scalar().unwrap_or_default()),
        )
    })
}
