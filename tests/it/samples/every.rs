//! What holds of every system in every environment.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{Render, all, at, container, list, name, pods_of, text, text_of};
use crate::fixtures::{objects, restricted};

/// How long the sample app may drain, in seconds: its own default.
const DRAIN_S: u64 = 20;

/// The peer that is the adapter, and nobody else of its namespace.
fn adapter() -> Value {
    json!({
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "taffrail"}},
        "podSelector": {"matchLabels": {"app.kubernetes.io/name": "taffrail"}},
    })
}

/// Whatever runs: Deployments and StatefulSets.
fn workloads(render: &Render) -> impl Iterator<Item = &Value> {
    ["Deployment", "StatefulSet"]
        .into_iter()
        .flat_map(|kind| objects::of_kind(&render.objects, kind))
}

/// The NetworkPolicies that select the pods of a workload by its own labels.
fn policies<'a>(render: &'a Render, workload: &Value) -> Vec<&'a Value> {
    let pods = pods_of(workload).clone();
    let policies = objects::of_kind(&render.objects, "NetworkPolicy");
    policies
        .filter(|policy| *at(policy, "/spec/podSelector/matchLabels") == pods)
        .collect()
}

#[test]
fn v_08_no_pod_asks_for_what_the_restricted_profile_refuses() {
    for render in all() {
        assert!(!restricted::pods(&render.objects).is_empty());
        let faults = restricted::faults(&render.objects);
        assert!(faults.is_empty(), "{}: {faults:#?}", render.name);
    }
}

#[test]
fn v_08_namespaces_enforce_that_profile() {
    for render in all() {
        for namespace in objects::of_kind(&render.objects, "Namespace") {
            let labels = at(namespace, "/metadata/labels");
            assert_eq!(labels["pod-security.kubernetes.io/enforce"], "restricted");
            assert_eq!(labels["pod-security.kubernetes.io/warn"], "restricted");
        }
    }
}

#[test]
fn no_system_has_a_mistake_that_lint_knows() {
    for render in all() {
        let mut lint = Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args(["lint", "--strict", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = lint.stdin.take().unwrap();
        input.write_all(render.text.as_bytes()).unwrap();
        drop(input);
        let output = lint.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{}:\n{said}", render.name);
        assert!(said.contains(" 0 notes"), "{}:\n{said}", render.name);
    }
}

#[test]
fn e_09_rendering_twice_gives_the_same_bytes() {
    for render in all() {
        let (system, environment) = render.name.split_once('/').unwrap();
        assert!(
            text_of(system, environment) == render.text,
            "{} differs",
            render.name
        );
    }
}

#[test]
fn d_12_nobody_sets_replicas_that_an_hpa_sets() {
    for render in all() {
        for deployment in render.deployments() {
            let hpa = render.one("HorizontalPodAutoscaler", name(deployment));
            assert_eq!(text(hpa, "/spec/scaleTargetRef/name"), name(deployment));
            assert!(at(deployment, "/spec/replicas").is_null());
        }
    }
}

#[test]
fn t_08_no_field_is_null_so_that_nothing_drifts() {
    fn nulls(value: &Value) -> usize {
        match value {
            Value::Null => 1,
            Value::Array(items) => items.iter().map(nulls).sum(),
            Value::Object(fields) => fields.values().map(nulls).sum(),
            _ => 0,
        }
    }
    for render in all() {
        let of_all: usize = render.objects.iter().map(nulls).sum();
        assert_eq!(of_all, 0, "{}", render.name);
    }
}

#[test]
fn d_13_a_drained_node_waits_for_nobody_for_ever() {
    for render in all() {
        for deployment in render.deployments() {
            let spec = &render.one("PodDisruptionBudget", name(deployment))["spec"];
            assert_eq!(
                *spec,
                json!({
                    "maxUnavailable": 1,
                    "unhealthyPodEvictionPolicy": "AlwaysAllow",
                    "selector": {"matchLabels": pods_of(deployment)},
                }),
                "{}",
                render.name
            );
        }
    }
}

#[test]
fn v_07_an_update_takes_no_pod_before_the_next_is_ready_and_none_in_the_middle_of_a_request() {
    for render in all() {
        for deployment in render.deployments() {
            let update = at(deployment, "/spec/strategy/rollingUpdate");
            assert_eq!(*update, json!({"maxUnavailable": 0, "maxSurge": 1}));
            let container = container(deployment);
            let pause = at(container, "/lifecycle/preStop/sleep/seconds");
            let pause = pause.as_u64().unwrap();
            let grace = at(
                deployment,
                "/spec/template/spec/terminationGracePeriodSeconds",
            );
            assert!(
                0 < pause && pause + DRAIN_S <= grace.as_u64().unwrap(),
                "{}",
                render.name
            );
        }
    }
}

#[test]
fn f_04_every_container_has_time_to_start_and_says_when_it_is_ready() {
    for render in all() {
        for workload in workloads(render) {
            let container = container(workload);
            for probe in ["startupProbe", "readinessProbe", "livenessProbe"] {
                assert!(
                    container[probe].is_object(),
                    "{} {}: no {probe}",
                    render.name,
                    name(workload)
                );
            }
            let seconds = |field: &str| at(container, field).as_u64().unwrap_or(10);
            let start =
                seconds("/startupProbe/periodSeconds") * seconds("/startupProbe/failureThreshold");
            assert!(60 <= start, "{}: {start} s to start", render.name);
            // To be restarted does not mend what an app depends on, nor its being too small.
            if workload["kind"] == "Deployment" {
                let path = |probe: &str| text(container, &format!("/{probe}/httpGet/path"));
                assert_eq!(path("livenessProbe"), "/healthz");
                assert_eq!(path("readinessProbe"), "/readyz");
            }
        }
    }
}

#[test]
fn p_06_pods_have_requests_a_bound_on_memory_and_the_common_labels() {
    for render in all() {
        for workload in workloads(render) {
            let resources = &container(workload)["resources"];
            for place in ["/requests/cpu", "/requests/memory", "/limits/memory"] {
                assert!(at(resources, place).is_string(), "{}: {place}", render.name);
            }
            // A pod that is throttled is slow, which an HPA on latency takes for load.
            assert!(at(resources, "/limits/cpu").is_null(), "{}", render.name);
            let labels = at(workload, "/spec/template/metadata/labels");
            for label in ["app.kubernetes.io/name", "app.kubernetes.io/part-of"] {
                assert!(labels[label].is_string(), "{}: {label}", render.name);
            }
        }
    }
}

#[test]
fn t_06_every_hpa_reads_cpu_and_a_latency_and_is_not_alone_with_either() {
    for render in all() {
        for deployment in render.deployments() {
            let hpa = render.one("HorizontalPodAutoscaler", name(deployment));
            assert_eq!(hpa["apiVersion"], "autoscaling/v2");
            let metrics: Vec<&Value> = list(hpa, "/spec/metrics").collect();
            assert_eq!(
                *metrics[0],
                json!({"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70},
                }})
            );
            let latency = &metrics[1]["external"];
            assert_eq!(latency["metric"]["name"], "request_latency_ms");
            let service = text(latency, "/metric/selector/matchLabels/service");
            let object = render.one("RequestMetrics", service);
            let selected = at(object, "/spec/source/pods/selector/matchLabels");
            assert_eq!(selected, pods_of(deployment), "{}", render.name);
        }
    }
}

#[test]
fn p_04_the_adapter_may_enter_where_it_reads_and_at_no_other_port() {
    for render in all() {
        for deployment in render.deployments() {
            let policies = policies(render, deployment);
            let metrics = render.one("RequestMetrics", name(deployment));
            let port = at(metrics, "/spec/source/pods/port");
            let rules = policies
                .iter()
                .flat_map(|policy| list(policy, "/spec/ingress"));
            let admits = |rule: &&Value| list(rule, "/from").any(|peer| *peer == adapter());
            let admitted: Vec<&Value> = rules.filter(admits).collect();
            assert_eq!(admitted.len(), 1, "{} {}", render.name, name(deployment));
            let ports = json!([{"protocol": "TCP", "port": port}]);
            assert_eq!(admitted[0]["ports"], ports, "{}", render.name);
        }
    }
}

#[test]
fn p_03_whatever_runs_is_closed_but_for_those_whom_it_names() {
    for render in all() {
        for workload in workloads(render) {
            let policies = policies(render, workload);
            assert!(!policies.is_empty(), "{} {}", render.name, name(workload));
            for policy in policies {
                let closed = at(policy, "/spec/policyTypes");
                assert_eq!(*closed, json!(["Ingress", "Egress"]), "{}", render.name);
                for rule in list(policy, "/spec/ingress") {
                    assert_ne!(list(rule, "/from").count(), 0, "a rule for everybody");
                    assert_ne!(list(rule, "/ports").count(), 0, "a rule for every port");
                }
            }
        }
        for namespace in objects::of_kind(&render.objects, "Namespace") {
            let closed = objects::of_kind(&render.objects, "NetworkPolicy").find(|policy| {
                name(policy) == "closed"
                    && policy["metadata"]["namespace"] == namespace["metadata"]["name"]
            });
            assert_eq!(at(closed.unwrap(), "/spec/podSelector"), &json!({}));
        }
    }
}

/// ingress-nginx refuses the second Ingress of a host and path, and a certificate is for the hosts that it is asked for.
#[test]
fn f_06_all_systems_and_environments_fit_into_one_cluster() {
    let mut taken = BTreeSet::new();
    for render in all() {
        for ingress in objects::of_kind(&render.objects, "Ingress") {
            let certified: Vec<&Value> = list(ingress, "/spec/tls")
                .flat_map(|tls| list(tls, "/hosts"))
                .collect();
            for rule in list(ingress, "/spec/rules") {
                assert!(certified.contains(&&rule["host"]), "{}", render.name);
                for path in list(rule, "/http/paths") {
                    let place = (text(rule, "/host"), text(path, "/path"));
                    assert!(taken.insert(place), "{}: {place:?} is taken", render.name);
                }
            }
        }
        for namespace in objects::of_kind(&render.objects, "Namespace") {
            let place = (name(namespace), "namespace");
            assert!(taken.insert(place), "{}: {place:?} is taken", render.name);
        }
    }
    // Four Ingresses and five namespaces, for dev and for production.
    assert_eq!(taken.len(), 18, "{taken:?}");
}

#[test]
fn f_05_developers_deploy_and_roll_back_and_nothing_else() {
    for render in all() {
        for role in objects::of_kind(&render.objects, "Role").filter(|it| name(it) == "deployer") {
            assert_eq!(
                role["rules"],
                json!([
                    {"apiGroups": ["apps"], "resources": ["deployments"],
                     "verbs": ["get", "list", "watch", "patch", "update"]},
                    {"apiGroups": ["apps"], "resources": ["replicasets"],
                     "verbs": ["get", "list", "watch"]},
                ]),
                "{}",
                render.name
            );
        }
    }
}

#[test]
fn p_07_each_namespace_has_a_team_that_reads_its_metrics_and_changes_none() {
    for render in all() {
        let mut teams = BTreeSet::new();
        let bindings = objects::of_kind(&render.objects, "RoleBinding");
        for binding in bindings.filter(|it| text(it, "/roleRef/name") == "scaling-reader") {
            let namespace = text(binding, "/metadata/namespace");
            let subjects: Vec<&Value> = list(binding, "/subjects").collect();
            assert_eq!(subjects.len(), 1);
            let team = text(subjects[0], "/name");
            assert!(team.starts_with("team-"), "{}: {team}", render.name);
            assert!(teams.insert(team), "{team} has two namespaces");
            let mut roles = objects::of_kind(&render.objects, "Role");
            let is_it = |role: &&Value| {
                name(role) == "scaling-reader" && text(role, "/metadata/namespace") == namespace
            };
            let role = roles.find(is_it).unwrap();
            let rules: Vec<&Value> = list(role, "/rules").collect();
            let read = rules
                .iter()
                .find(|rule| text(rule, "/apiGroups/0") == "external.metrics.k8s.io");
            // A read is a `list` on the metric's name.
            assert_eq!(read.unwrap()["resources"], json!(["*"]));
            let verbs = rules.iter().flat_map(|rule| list(rule, "/verbs"));
            for verb in verbs {
                let reads = ["get", "list", "watch"];
                assert!(reads.contains(&verb.as_str().unwrap()), "{verb}");
            }
        }
        let namespaces = objects::of_kind(&render.objects, "Namespace").count();
        // Helm makes no object for its namespace.
        assert_eq!(teams.len(), namespaces.max(1), "{}", render.name);
    }
}

#[test]
fn e_08_no_secret_stands_in_a_pod_and_no_pod_has_a_token_of_the_cluster() {
    for render in all() {
        for workload in workloads(render) {
            let pod = at(workload, "/spec/template/spec");
            assert_eq!(pod["automountServiceAccountToken"], false);
            assert_eq!(pod["enableServiceLinks"], false);
            for variable in list(container(workload), "/env") {
                let is_secret = ["PASSWORD", "USERNAME", "TOKEN", "SECRET", "KEY"]
                    .iter()
                    .any(|word| text(variable, "/name").contains(word));
                assert!(
                    !is_secret || variable["value"].is_null(),
                    "{}: {variable}",
                    render.name
                );
            }
        }
        if render.is_production() {
            assert_eq!(objects::of_kind(&render.objects, "Secret").count(), 0);
        }
    }
}

#[test]
fn v_14_no_priority_is_claimed_that_a_cluster_refuses() {
    for render in all() {
        for (pod, spec) in restricted::pods(&render.objects) {
            assert!(spec["priorityClassName"].is_null(), "{} {pod}", render.name);
            assert!(spec["hostNetwork"].is_null(), "{} {pod}", render.name);
        }
    }
}

#[test]
fn v_09_nodes_are_shared_in_dev_and_not_in_production() {
    for render in all() {
        for deployment in render.deployments() {
            let affinity = at(deployment, "/spec/template/spec/affinity/podAntiAffinity");
            let (soft, hard) = (
                at(
                    affinity,
                    "/preferredDuringSchedulingIgnoredDuringExecution/0/podAffinityTerm",
                ),
                at(
                    affinity,
                    "/requiredDuringSchedulingIgnoredDuringExecution/0",
                ),
            );
            // The one chart is the same in both but for PROD.
            let is_hard = render.is_production() && render.name != "internal/prod";
            let (term, other) = if is_hard { (hard, soft) } else { (soft, hard) };
            assert_eq!(
                term["topologyKey"], "kubernetes.io/hostname",
                "{}",
                render.name
            );
            assert_eq!(at(term, "/labelSelector/matchLabels"), pods_of(deployment));
            assert!(other.is_null(), "{}: {affinity:#}", render.name);
        }
    }
}

#[test]
fn v_10_no_replica_is_left_pending_for_want_of_a_zone_or_a_region() {
    for render in all() {
        for deployment in render.deployments() {
            let hard = "/spec/template/spec/affinity/podAntiAffinity/requiredDuringSchedulingIgnoredDuringExecution";
            for term in list(deployment, hard) {
                assert_eq!(
                    term["topologyKey"], "kubernetes.io/hostname",
                    "{}",
                    render.name
                );
            }
        }
    }
}

#[test]
fn v_11_zones_and_regions_get_equal_shares() {
    for render in all() {
        let is_chart = render.name.starts_with("internal/");
        let wanted = match render.is_production() && !is_chart {
            true => "DoNotSchedule",
            false => "ScheduleAnyway",
        };
        for deployment in render.deployments() {
            let spread = "/spec/template/spec/topologySpreadConstraints";
            let mut keys = Vec::new();
            for constraint in list(deployment, spread) {
                keys.push(text(constraint, "/topologyKey"));
                assert_eq!(constraint["maxSkew"], 1);
                assert_eq!(constraint["whenUnsatisfiable"], wanted, "{}", render.name);
                assert_eq!(constraint["matchLabelKeys"], json!(["pod-template-hash"]));
                assert_eq!(
                    at(constraint, "/labelSelector/matchLabels"),
                    pods_of(deployment)
                );
            }
            let both = [
                "topology.kubernetes.io/zone",
                "topology.kubernetes.io/region",
            ];
            let wanted = if is_chart { &both[..1] } else { &both[..] };
            assert_eq!(keys, wanted, "{}", render.name);
        }
    }
}

#[test]
fn f_12_production_runs_what_a_digest_names() {
    for render in all() {
        for workload in workloads(render) {
            let image = text(container(workload), "/image");
            let is_pinned = image.contains("@sha256:");
            let is_meant = render.is_production() && !render.name.starts_with("internal/");
            assert_eq!(is_pinned, is_meant, "{}: {image}", render.name);
            assert!(is_pinned || image.contains(':'), "{image} floats");
        }
    }
}
