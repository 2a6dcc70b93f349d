//! What holds for every case of the matrix.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{CHART, Case, case, cases, texts};
use crate::fixtures::{objects, restricted, tools};

/// Kinds that are of the whole cluster.
const CLUSTER_KINDS: [&str; 5] = [
    "APIService",
    "ClusterRole",
    "ClusterRoleBinding",
    "CustomResourceDefinition",
    "Namespace",
];

/// Fields in which an empty map says something: all of them, or this kind of thing.
const MEANT_EMPTY: [&str; 3] = ["namespaceSelector", "selfSigned", "emptyDir"];

/// Fields that are false by default, and which a render that names them makes differ from what API servers keep.
const FALSE_BY_DEFAULT: [&str; 5] = [
    "insecureSkipTLSVerify",
    "hostNetwork",
    "hostPID",
    "hostIPC",
    "immutable",
];

#[test]
fn e_09_and_d_04_the_same_values_give_the_same_bytes_on_every_version_of_kubernetes() {
    for case in cases() {
        let [old, new] = &case.texts;
        // The certificate that Helm makes is the one thing that is random, and only where it is asked for.
        let is_random = case.name == "helm-certificate";
        assert_eq!(old == new, !is_random, "{}", case.name);
    }
}

#[test]
fn every_object_is_there_once_and_in_its_namespace() {
    for case in cases() {
        let home = match case.name.as_str() {
            "foreign-namespace" => "monitoring",
            "kube-system" => "kube-system",
            _ => "taffrail",
        };
        let mut seen = BTreeSet::new();
        for object in &case.objects {
            let kind = object["kind"].as_str().unwrap();
            let name = object["metadata"]["name"].as_str().unwrap();
            let namespace = object["metadata"]["namespace"].as_str();
            let what = format!("{}: {kind} {name} in {namespace:?}", case.name);
            assert!(seen.insert((kind, name, namespace)), "{what} twice");
            let expected = match (kind, name) {
                (kind, _) if CLUSTER_KINDS.contains(&kind) => None,
                (_, "from-yaml" | "taffrail-from-text") => None,
                ("RoleBinding", name) if name.ends_with("-authentication-reader") => {
                    Some("kube-system")
                }
                ("ConfigMap", name) if name.contains("-board-") && case.name == "everything" => {
                    Some("grafana")
                }
                _ => Some(home),
            };
            assert_eq!(namespace, expected, "{what}");
        }
    }
}

#[test]
fn every_object_says_what_it_belongs_to() {
    for case in cases() {
        let name = match case.name.as_str() {
            "name-override" => "latency",
            _ => "taffrail",
        };
        for object in &case.objects {
            let labels = &object["metadata"]["labels"];
            if labels.is_null()
                && object["metadata"]["name"]
                    .as_str()
                    .unwrap()
                    .contains("from-")
            {
                continue;
            }
            let what = objects::names(std::slice::from_ref(object));
            let named = labels["app.kubernetes.io/name"].as_str().unwrap();
            assert!(
                [name, &format!("{name}-check")].contains(&named),
                "{what:?}"
            );
            assert_eq!(labels["app.kubernetes.io/instance"], "taffrail", "{what:?}");
            assert_eq!(
                labels["app.kubernetes.io/version"],
                env!("CARGO_PKG_VERSION"),
                "{what:?}"
            );
            if case.name == "everything" {
                assert_eq!(labels["team"], "platform", "{what:?}");
            }
        }
    }
}

#[test]
fn d_14_and_t_08_nothing_is_null_or_empty_or_false_by_default() {
    for case in cases() {
        for object in &case.objects {
            // Of a definition and a board, each field is meant.
            let kind = object["kind"].as_str().unwrap();
            if kind != "CustomResourceDefinition" {
                let what = objects::names(std::slice::from_ref(object));
                assert_no_noise(object, &format!("{}: {what:?}", case.name));
            }
        }
        for text in &case.texts {
            assert!(!text.contains("<no value>"), "{}", case.name);
        }
    }
}

fn assert_no_noise(value: &Value, at: &str) {
    match value {
        Value::Null => panic!("{at} is null"),
        Value::Object(fields) => {
            for (name, value) in fields {
                let at = format!("{at}.{name}");
                let is_false = FALSE_BY_DEFAULT.contains(&name.as_str()) && *value == false;
                assert!(!is_false, "{at} is false by default");
                let is_empty = value.as_object().is_some_and(serde_json::Map::is_empty)
                    || value.as_array().is_some_and(Vec::is_empty);
                assert!(
                    !is_empty || MEANT_EMPTY.contains(&name.as_str()),
                    "{at} is empty"
                );
                assert_no_noise(value, &at);
            }
        }
        Value::Array(items) => {
            for (at_item, item) in items.iter().enumerate() {
                assert_no_noise(item, &format!("{at}[{at_item}]"));
            }
        }
        _ => {}
    }
}

#[test]
fn v_08_every_pod_is_of_the_restricted_profile_unless_it_is_in_the_nodes_network() {
    for case in cases() {
        let faults = restricted::faults(&case.objects);
        let expected: &[&str] = match case.name.as_str() {
            "host-network" => &["Deployment/taffrail: hostNetwork is true"],
            _ => &[],
        };
        assert_eq!(faults, expected, "{}", case.name);
        assert_eq!(
            restricted::laxities(&case.objects),
            [""; 0],
            "{}",
            case.name
        );
        let enforced =
            case.all("Namespace").into_iter().map(
                |namespace| &namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"],
            );
        for profile in enforced {
            let allowed = if expected.is_empty() {
                "restricted"
            } else {
                "privileged"
            };
            assert_eq!(profile, allowed, "{}", case.name);
        }
    }
}

#[test]
fn names_hold_together() {
    for case in cases() {
        let deployment = case.all("Deployment")[0];
        let selector = &deployment["spec"]["selector"]["matchLabels"];
        let labels = &deployment["spec"]["template"]["metadata"]["labels"];
        assert!(is_within(selector, labels), "{}", case.name);
        let service = case.all("Service")[0];
        assert_eq!(&service["spec"]["selector"], selector, "{}", case.name);
        // The Pod of the test is no replica: the Service must not send it requests.
        for pod in case.all("Pod") {
            assert!(
                !is_within(selector, &pod["metadata"]["labels"]),
                "{}",
                case.name
            );
        }
        assert_names_of_others(case, deployment, service);
    }
}

fn is_within(selector: &Value, labels: &Value) -> bool {
    let mut wanted = selector.as_object().unwrap().iter();
    wanted.all(|(key, value)| labels[key] == *value)
}

/// What names the Deployment, the Service and the account names those that there are.
fn assert_names_of_others(case: &Case, deployment: &Value, service: &Value) {
    let selector = &deployment["spec"]["selector"]["matchLabels"];
    let account = &case.pod()["serviceAccountName"];
    case.one("ServiceAccount", account.as_str().unwrap());
    let name = service["metadata"]["name"].as_str().unwrap();
    let namespace = &service["metadata"]["namespace"];
    assert!(
        case.has_arg(&format!("--service-name={name}")),
        "{}",
        case.name
    );
    for api_service in case.all("APIService") {
        let leads_to = &api_service["spec"]["service"];
        assert_eq!(leads_to["name"], name, "{}", case.name);
        assert_eq!(&leads_to["namespace"], namespace, "{}", case.name);
    }
    for kind in ["PodDisruptionBudget", "ServiceMonitor", "PodMonitor"] {
        for object in case.all(kind) {
            assert_eq!(
                &object["spec"]["selector"]["matchLabels"], selector,
                "{kind}"
            );
        }
    }
    for policy in case.all("NetworkPolicy") {
        assert_eq!(&policy["spec"]["podSelector"]["matchLabels"], selector);
    }
    let lease = format!("--lease={name}");
    assert!(case.has_arg(&lease), "{}", case.name);
    case.one("Lease", name);
}

#[test]
fn a_release_of_another_name_has_names_of_its_own() {
    let args = ["template", "blue", CHART, "--namespace", "scaling"];
    let objects = objects::read(&tools::stdout("helm", &args));
    let default = case("default");
    let of_cluster = |objects: &[Value]| -> BTreeSet<String> {
        let names = objects.iter().filter(|object| {
            matches!(
                object["kind"].as_str(),
                Some("ClusterRole" | "ClusterRoleBinding")
            )
        });
        names
            .map(|object| object["metadata"]["name"].to_string())
            .collect()
    };
    let (ours, theirs) = (of_cluster(&default.objects), of_cluster(&objects));
    assert_eq!(ours.len(), theirs.len());
    assert!(ours.is_disjoint(&theirs), "{theirs:?}");
    assert!(texts(&objects::one(&objects, "Deployment", "blue-taffrail")["spec"]["template"]["spec"]
        ["containers"][0]["args"])
    .contains(&"--service-name=blue-taffrail"));
}

/// What a YAML parser takes for a number or a truth, what a Service may not be called, and as long as Helm allows.
#[test]
fn a_release_of_any_name_that_helm_takes_gives_names_that_kubernetes_takes() {
    let long = "r".repeat(53);
    for (release, service) in [
        ("123", "taffrail"),
        ("1e5", "taffrail"),
        ("true", "true-taffrail"),
        ("blue.green", "blue-green-taffrail"),
        (&long, &long),
    ] {
        let everything = format!("{CHART}/ci/everything-values.yaml");
        let mut args = vec!["template", release, CHART, "--namespace=123", "--values"];
        args.push(&everything);
        if service == "taffrail" {
            args.push("--set=fullnameOverride=taffrail");
        }
        let objects = objects::read(&tools::stdout("helm", &args));
        for object in &objects {
            let kind = object["kind"].as_str().unwrap();
            if !["CustomResourceDefinition", "ConfigMap"].contains(&kind) {
                assert_names_are_texts(object, &format!("{release}: {kind}"));
                let instance = &object["metadata"]["labels"]["app.kubernetes.io/instance"];
                assert_eq!(instance, release, "{kind}");
            }
        }
        for kind in ["Service", "Deployment"] {
            let found = objects::one(&objects, kind, service);
            assert_eq!(found["metadata"]["namespace"], "123");
        }
    }
}

fn assert_names_are_texts(value: &Value, at: &str) {
    const NAMES: [&str; 4] = ["name", "namespace", "serviceName", "secretName"];
    for (field, value) in value.as_object().into_iter().flatten() {
        let at = format!("{at}.{field}");
        let is_scalar = !value.is_object() && !value.is_array();
        let is_name = NAMES.contains(&field.as_str()) || field.starts_with("app.kubernetes.io/");
        assert!(
            !(is_name && is_scalar) || value.is_string(),
            "{at} is {value}"
        );
        assert_names_are_texts(value, &at);
    }
    for (item, value) in value.as_array().into_iter().flatten().enumerate() {
        assert_names_are_texts(value, &format!("{at}[{item}]"));
    }
}
