//! RBAC: exactly what the adapter needs in each mode, and who may read from it.

use serde_json::{Value, json};

use super::{Case, case, cases, rendered, texts};
use crate::fixtures::objects;

/// One right, in a line: `verb group/resource` with the names that it is limited to.
fn rights(role: &Value) -> Vec<String> {
    let mut found = Vec::new();
    for rule in role["rules"].as_array().unwrap() {
        let names = match &rule["resourceNames"] {
            Value::Null => String::new(),
            names => format!(" {}", texts(names).join(",")),
        };
        for verb in texts(&rule["verbs"]) {
            for url in texts(&rule["nonResourceURLs"]) {
                found.push(format!("{verb} {url}"));
            }
            for group in texts(&rule["apiGroups"]) {
                for resource in texts(&rule["resources"]) {
                    found.push(format!("{verb} {group}/{resource}{names}"));
                }
            }
        }
    }
    found.sort();
    found
}

fn cluster_rights(case: &Case) -> Vec<String> {
    rights(
        case.all("ClusterRole")
            .into_iter()
            .find(is_adapters)
            .unwrap(),
    )
}

fn is_adapters(role: &&Value) -> bool {
    matches!(
        role["metadata"]["name"].as_str(),
        Some("taffrail" | "latency-adapter")
    )
}

/// What the default takes, and nothing else: whoever changes a line here changes what a cluster has to grant.
#[test]
fn by_default_the_adapter_may_do_exactly_this() {
    let default = case("default");
    let apis = "v1beta1.external.metrics.k8s.io,v1alpha1.explain.taffrail.dev";
    let mut expected = vec![
        "create events.k8s.io/events".to_owned(),
        "get apps/deployments/scale".to_owned(),
        "get apps/replicasets/scale".to_owned(),
        "get apps/statefulsets/scale".to_owned(),
        "list /pods".to_owned(),
        "list autoscaling/horizontalpodautoscalers".to_owned(),
        "list taffrail.dev/requestmetrics".to_owned(),
        "patch events.k8s.io/events".to_owned(),
        "patch taffrail.dev/requestmetrics/status".to_owned(),
        "watch /pods".to_owned(),
        "watch autoscaling/horizontalpodautoscalers".to_owned(),
        "watch taffrail.dev/requestmetrics".to_owned(),
        format!("get apiregistration.k8s.io/apiservices {apis}"),
        format!("patch apiregistration.k8s.io/apiservices {apis}"),
    ];
    expected.sort();
    assert_eq!(cluster_rights(default), expected);
    assert_eq!(
        rights(default.one("Role", "taffrail")),
        [
            "get /secrets taffrail-certificate",
            "get coordination.k8s.io/leases taffrail",
            "update /secrets taffrail-certificate",
            "update coordination.k8s.io/leases taffrail",
        ]
    );
    let bound: Vec<&Value> = default
        .all("ClusterRoleBinding")
        .into_iter()
        .chain(default.all("RoleBinding"))
        .filter(|binding| binding["subjects"][0]["name"] == "taffrail")
        .map(|binding| &binding["roleRef"]["name"])
        .collect();
    let expected = [
        "taffrail",
        "system:auth-delegator",
        "extension-apiserver-authentication-reader",
        "taffrail",
    ];
    assert_eq!(bound, expected);
}

#[test]
fn d_09_apiservices_and_secrets_are_only_ever_named_ones() {
    for case in cases() {
        for role in [case.all("ClusterRole"), case.all("Role")].concat() {
            for rule in role["rules"].as_array().unwrap() {
                let resources = texts(&rule["resources"]);
                let is_guarded = ["apiservices", "secrets", "leases"]
                    .iter()
                    .any(|guarded| resources.contains(guarded));
                if is_guarded {
                    assert!(
                        !texts(&rule["resourceNames"]).is_empty(),
                        "{}: {rule}",
                        case.name
                    );
                    for verb in texts(&rule["verbs"]) {
                        assert!(["get", "update", "patch"].contains(&verb), "{rule}");
                    }
                }
                assert!(
                    !texts(&rule["verbs"]).contains(&"*"),
                    "{}: {rule}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn d_09_rights_of_a_certificate_go_only_to_the_mode_that_needs_them() {
    for case in cases() {
        let may = |what: &str| {
            cluster_rights(case)
                .iter()
                .any(|right| right.starts_with(what))
        };
        let own = rights(case.all("Role").into_iter().find(is_adapters).unwrap());
        let reads_secret = own.iter().any(|right| right.contains("/secrets"));
        let mode = match case.name.as_str() {
            "insecure" => "insecure",
            "cert-manager"
            | "cert-manager-issuer"
            | "everything"
            | "existing-secret"
            | "existing-secret-injected"
            | "helm-certificate" => "files",
            _ => "self-signed",
        };
        let writes_bundles = may("patch apiregistration.k8s.io/apiservices");
        assert_eq!(reads_secret, mode != "files", "{}", case.name);
        // Where no APIService is ours, there is none to write to.
        let has_own = !case.all("APIService").is_empty();
        assert_eq!(
            writes_bundles,
            mode == "self-signed" && has_own,
            "{}",
            case.name
        );
        let has_files = case
            .args()
            .iter()
            .any(|arg| arg.starts_with("--tls-cert-file="));
        assert_eq!(has_files, mode == "files", "{}", case.name);
    }
}

#[test]
fn without_explanations_hpas_are_not_read() {
    let beside = case("beside");
    assert!(beside.has_arg("--no-explanations"));
    let all = cluster_rights(beside);
    assert!(
        !all.iter().any(|right| right.contains("autoscaling")),
        "{all:?}"
    );
    assert!(!all.iter().any(|right| right.contains("scale")), "{all:?}");
    assert!(!beside.texts[1].contains("explain.taffrail.dev"));
}

#[test]
fn scales_of_other_kinds_are_read_where_they_are_named() {
    let all = cluster_rights(case("everything"));
    assert!(
        all.contains(&"get argoproj.io/rollouts/scale".to_owned()),
        "{all:?}"
    );
    // Of the core group, whose name is empty.
    let set = "explanations.scaleTargets[0].apiGroup=,explanations.scaleTargets[0].resource=replicationcontrollers";
    let objects = rendered(&["--set", set]);
    let all = rights(objects::one(&objects, "ClusterRole", "taffrail"));
    assert!(
        all.contains(&"get /replicationcontrollers/scale".to_owned()),
        "{all:?}"
    );
}

#[test]
fn d_11_readers_may_get_and_list_every_metric() {
    for case in cases() {
        let is_reader = |role: &&Value| {
            let name = role["metadata"]["name"].as_str().unwrap();
            name.ends_with("-metrics-reader")
                && role["rules"][0]["apiGroups"] == json!(["external.metrics.k8s.io"])
        };
        let roles = case.all("ClusterRole");
        let reader = roles.into_iter().find(is_reader).unwrap();
        let expected = [
            "get external.metrics.k8s.io/*",
            "list external.metrics.k8s.io/*",
        ];
        assert_eq!(rights(reader), expected, "{}", case.name);
        let name = &reader["metadata"]["name"];
        let bindings = case.all("ClusterRoleBinding");
        let hpa = bindings.iter().find(|binding| {
            binding["roleRef"]["name"] == *name
                && binding["subjects"][0]["name"] == "horizontal-pod-autoscaler"
        });
        assert_eq!(hpa.is_some(), case.name != "beside", "{}", case.name);
    }
}

#[test]
fn custom_metrics_come_with_their_apiservices_and_their_readers() {
    let on = case("custom-metrics");
    assert!(on.has_arg("--custom-metrics"));
    assert_eq!(
        rights(on.one("ClusterRole", "taffrail-custom-metrics-reader")),
        ["get custom.metrics.k8s.io/*"]
    );
    let priority = |version: &str| {
        let name = format!("{version}.custom.metrics.k8s.io");
        on.one("APIService", &name)["spec"]["versionPriority"]
            .as_u64()
            .unwrap()
    };
    assert!(
        priority("v1beta1") < priority("v1beta2"),
        "an HPA reads the higher one"
    );
    for other in ["default", "ha", "monitoring"] {
        assert!(!case(other).texts[1].contains("custom.metrics"), "{other}");
        assert!(!case(other).has_arg("--custom-metrics"), "{other}");
    }
}

#[test]
fn own_metrics_are_read_by_whom_they_are_granted_to() {
    let case = case("monitoring");
    let name = "taffrail-own-metrics-reader";
    assert_eq!(rights(case.one("ClusterRole", name)), ["get /metrics"]);
    let binding = case.one("ClusterRoleBinding", name);
    let expected =
        json!([{"kind": "ServiceAccount", "name": "prometheus", "namespace": "monitoring"}]);
    assert_eq!(binding["subjects"], expected);
}

#[test]
fn the_test_pod_may_look_at_the_apiservices_and_nothing_else() {
    let case = case("custom-metrics");
    let names = "v1beta1.external.metrics.k8s.io,v1alpha1.explain.taffrail.dev,\
        v1beta1.custom.metrics.k8s.io,v1beta2.custom.metrics.k8s.io";
    assert_eq!(
        rights(case.one("ClusterRole", "taffrail-check")),
        [format!("get apiregistration.k8s.io/apiservices {names}")]
    );
    let pod = case.one("Pod", "taffrail-check");
    assert_eq!(pod["spec"]["serviceAccountName"], "taffrail-check");
    assert_eq!(pod["spec"]["restartPolicy"], "Never");
    for object in &case.objects {
        if object["metadata"]["name"] == "taffrail-check" {
            assert_eq!(
                object["metadata"]["annotations"]["helm.sh/hook"], "test",
                "{object}"
            );
        }
    }
}

#[test]
fn without_rbac_and_an_account_nothing_is_granted_and_the_named_account_is_used() {
    let objects = rendered(&[
        "--set=rbac.create=false,serviceAccount.create=false,serviceAccount.name=platform",
    ]);
    let kinds: Vec<&str> = objects
        .iter()
        .map(|object| object["kind"].as_str().unwrap())
        .collect();
    for kind in ["Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding"] {
        assert!(!kinds.contains(&kind), "{kinds:?}");
    }
    let accounts: Vec<Value> = objects::of_kind(&objects, "ServiceAccount")
        .cloned()
        .collect();
    assert_eq!(
        objects::names(&accounts),
        ["ServiceAccount/taffrail-check"],
        "of helm test alone"
    );
    let deployment = objects::one(&objects, "Deployment", "taffrail");
    assert_eq!(
        deployment["spec"]["template"]["spec"]["serviceAccountName"],
        "platform"
    );
}
