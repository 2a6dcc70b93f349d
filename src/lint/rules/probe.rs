//! Probes: a pod that is Ready too soon, and one that is not Ready just when it is needed.

use super::num;
use crate::config::tree::Node;
use crate::engine::snapshot::Metric as Served;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::view::{Hpa, Metric, Workload};
use crate::lint::world::World;

/// What Kubernetes takes for `timeoutSeconds`.
const TIMEOUT_S: f64 = 1.0;

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "readiness-missing",
        severity: Severity::Warning,
        title: "Pods are Ready from their first moment",
        why: "Without a readiness or a startup probe a pod gets requests while it still starts. Each scale-out fails some \
              of them, and those that are answered are slow: a latency rises with each pod that is added, and the HPA \
              adds more.",
        fix: "a readinessProbe that passes when the pod can answer",
        wrong: documents!(
            right_hpa!(),
            deployment!("", "        resources: {requests: {cpu: 100m}}\n")
        ),
        right: documents!(right_hpa!(), deployment!("", right_container!())),
        page: None,
        check: readiness_missing,
    },
    Rule {
        id: "probe-gives-up-first",
        severity: Severity::Warning,
        title: "A probe gives up before the HPA acts",
        why: "A probe waits its turn like any request. Where it gives up at a latency that the HPA still accepts, \
              overload makes pods unready or restarts them. A target with value is multiplied by the Ready pods, so \
              the HPA then asks for fewer pods, and with none Ready for the fewest there may be.",
        fix: "a timeoutSeconds of several times the target, and a probe that does no work",
        wrong: documents!(
            hpa!(
                "minReplicas: 2",
                "maxReplicas: 10",
                "metrics:",
                cpu!(),
                p95!("type: Value, value: \"1500\"")
            ),
            deployment!("", right_container!()),
        ),
        right: documents!(right_hpa!(), deployment!("", right_container!())),
        page: None,
        check: probe_gives_up_first,
    },
];

/// The workloads that an HPA with a latency scales.
fn on_latency<'x, 'w>(
    world: &'x World<'w>,
) -> impl Iterator<Item = (&'x Hpa<'w>, &'x Workload<'w>)> {
    world.hpas.iter().filter_map(|hpa| {
        hpa.steep().next()?;
        Some((hpa, world.target(hpa)?))
    })
}

fn readiness_missing(world: &World<'_>, out: &mut Out<'_>) {
    for hpa in &world.hpas {
        let Some(workload) = world.target(hpa) else {
            continue;
        };
        let has_probe = |container: &Node| {
            let mut probes = ["readinessProbe", "startupProbe"].into_iter();
            probes.any(|field| container.get(field).is_some())
        };
        let object = workload.known.object;
        let is_on_latency = hpa.steep().next().is_some();
        // Who works off a backlog gets nothing before it asks; a port is for those who scrape it.
        let has_port = |container: &Node| container.get("ports").is_some();
        let on_backlog = |metric: &Metric<'_>| metric.served() == Some(Served::RedisBacklog);
        let is_worker = hpa.metrics.iter().any(on_backlog);
        let is_asked = is_on_latency || (!is_worker && workload.containers.iter().any(has_port));
        if workload.containers.is_empty() || workload.containers.iter().any(has_probe) || !is_asked
        {
            continue;
        }
        let (pods, name) = (hpa.typical(), &hpa.known.object.name);
        out.at(
            &workload.known,
            &workload.containers[0],
            format!("no container of {} {} has a readinessProbe or a startupProbe", object.kind, object.name),
            match is_on_latency {
                true => format!(
                    "of {pods} pods that HPA {name} adds at once, each answers its first requests while it starts, and \
                     raises the latency it is added for"
                ),
                false => format!(
                    "{pods} pods that HPA {name} adds get requests from their first moment, when they cannot answer yet"
                ),
            },
            "readinessProbe: {httpGet: {path: /readyz, port: http}}",
        );
    }
}

fn probe_gives_up_first(world: &World<'_>, out: &mut Out<'_>) {
    for (hpa, workload) in on_latency(world) {
        let is_ms = |metric: &&crate::lint::view::Metric<'_>| {
            metric.served() == Some(Served::RequestLatencyMs)
        };
        let Some((_, target)) = hpa.steep().find(is_ms).and_then(|metric| metric.value) else {
            continue;
        };
        let acts_at = target * (1.0 + hpa.tolerance_up());
        for container in workload.containers {
            for (field, hurts) in [
                ("readinessProbe", "leave the service"),
                ("livenessProbe", "are restarted"),
            ] {
                // A command may ask for anything, and a connection is taken by the kernel however busy the pod is.
                let Some(probe) = container.get(field).filter(|probe| {
                    probe.get("exec").is_none() && probe.get("tcpSocket").is_none()
                }) else {
                    continue;
                };
                let node = probe.get("timeoutSeconds");
                let timeout = node
                    .and_then(Node::int)
                    .map_or(TIMEOUT_S, |seconds| seconds as f64);
                if acts_at < timeout * 1000.0 {
                    continue;
                }
                out.at(
                    &workload.known,
                    node.unwrap_or(probe),
                    format!("the {field} gives up after {} s, and HPA {} acts above {} \
                        ms", num(timeout), hpa.known.object.name, num(acts_at)),
                    format!("pods {hurts} at a latency at which no pod is added yet, and the others get their \
                        requests"),
                    format!("timeoutSeconds: {}", num((acts_at * 3.0 / 1000.0).ceil())),
                );
            }
        }
    }
}
