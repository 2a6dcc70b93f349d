//! The traps that charts of such adapters fall into, D-06 and on, as far as a render shows them.

use serde_json::{Value, json};

use super::{case, cases, refused, rendered, texts};
use crate::fixtures::objects;

#[test]
fn d_06_and_v_14_pods_listen_on_the_port_that_private_clusters_let_through() {
    for case in cases() {
        let port = if case.name == "host-network" {
            4443
        } else {
            10250
        };
        let ports = case.pod()["containers"][0]["ports"].as_array().unwrap();
        assert_eq!(ports[0]["name"], "https");
        assert_eq!(ports[0]["containerPort"], port, "{}", case.name);
        assert!(
            case.has_arg(&format!("--listen=$(POD_IP):{port}")),
            "{}",
            case.name
        );
        let target = &case.all("Service")[0]["spec"]["ports"][0]["targetPort"];
        assert_eq!(target, "https", "{}", case.name);
    }
    let said = refused(&["--set=hostNetwork.enabled=true"]);
    assert!(said.contains("10250 is the kubelet's"), "{said}");
}

#[test]
fn the_port_without_tls_is_open_only_where_it_is_asked_for() {
    for case in cases() {
        let is_open = ["everything", "pod-monitor"].contains(&case.name.as_str());
        let ports = case.pod()["containers"][0]["ports"].as_array().unwrap();
        assert_eq!(ports.len() == 2, is_open, "{}", case.name);
        let listens = case
            .args()
            .into_iter()
            .find(|arg| arg.starts_with("--metrics-listen="));
        let expected = match case.name.as_str() {
            // Another process of the node may have the usual port.
            "host-network" => Some("--metrics-listen=127.0.0.1:0"),
            _ => is_open.then_some("--metrics-listen=$(POD_IP):9464"),
        };
        assert_eq!(listens, expected, "{}", case.name);
    }
}

#[test]
fn d_07_critical_pods_are_of_kube_system_or_have_a_quota() {
    for case in cases() {
        let class = case.pod()["priorityClassName"].as_str();
        let expected = match case.name.as_str() {
            "kube-system" | "gke" => Some("system-cluster-critical"),
            "everything" => Some("platform"),
            _ => None,
        };
        assert_eq!(class, expected, "{}", case.name);
        for quota in case.all("ResourceQuota") {
            let scope = &quota["spec"]["scopeSelector"]["matchExpressions"][0];
            assert_eq!(
                texts(&scope["values"]),
                class.into_iter().collect::<Vec<_>>()
            );
        }
    }
    assert_eq!(case("gke").all("ResourceQuota").len(), 1);
    let said = refused(&["--set=resourceQuota.enabled=true"]);
    assert!(said.contains("needs priorityClassName"), "{said}");
}

#[test]
fn d_08_the_apiservice_can_stay_with_another_adapter() {
    let beside = case("beside");
    assert_eq!(beside.all("APIService").len(), 0);
    assert_eq!(beside.all("Pod").len(), 0, "there is nothing to ask of it");
    let objects = rendered(&["--set=apiService.create=false"]);
    let left: Vec<&Value> = objects::of_kind(&objects, "APIService").collect();
    assert_eq!(left.len(), 1, "{left:?}");
    assert_eq!(
        left[0]["spec"]["group"], "explain.taffrail.dev",
        "which nobody else has"
    );
    // What it has no part in, it must not be able to change.
    let role = objects::one(&objects, "ClusterRole", "taffrail");
    let patched = role["rules"].as_array().unwrap().iter().filter(|rule| {
        rule["resources"] == json!(["apiservices"]) && rule["verbs"] == json!(["patch"])
    });
    let names: Vec<Vec<&str>> = patched.map(|rule| texts(&rule["resourceNames"])).collect();
    assert_eq!(names, [["v1alpha1.explain.taffrail.dev"]]);
}

#[test]
fn d_10_api_servers_reach_the_port_from_everywhere_or_from_where_they_are() {
    let policy = &case("pod-monitor").all("NetworkPolicy")[0]["spec"];
    assert_eq!(policy["policyTypes"], json!(["Ingress"]));
    let any = &policy["ingress"][0];
    assert_eq!(any["ports"][0]["port"], 10250);
    assert!(any["from"].is_null(), "an API server is no pod: {any}");
    // Prometheus alone reaches the port that asks nobody who they are.
    let plain = &policy["ingress"][1];
    assert_eq!(plain["ports"][0]["port"], 9464);
    let monitoring = json!({"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}});
    assert_eq!(plain["from"], json!([monitoring]));

    let policy = &case("everything").all("NetworkPolicy")[0]["spec"];
    let block = json!({"ipBlock": {"cidr": "10.0.0.0/28"}});
    assert_eq!(policy["ingress"][0]["from"], json!([block, monitoring]));
    let egress = policy["egress"].as_array().unwrap();
    let ports = |rule: &Value| -> Vec<u64> {
        let ports = rule["ports"].as_array().into_iter().flatten();
        ports.map(|port| port["port"].as_u64().unwrap()).collect()
    };
    let all: Vec<Vec<u64>> = egress.iter().map(ports).collect();
    assert_eq!(all, [vec![53, 53], vec![443, 6443], vec![], vec![6379]]);
    assert_eq!(egress[1]["to"], json!([block]));
    assert_eq!(egress[2]["to"], json!([{"namespaceSelector": {}}]));
}

#[test]
fn d_12_nothing_but_the_deployment_says_how_many_replicas_there_are() {
    for case in cases() {
        assert_eq!(
            case.all("HorizontalPodAutoscaler").len(),
            0,
            "{}",
            case.name
        );
        assert!(
            case.all("Deployment")[0]["spec"]["replicas"].is_u64(),
            "{}",
            case.name
        );
    }
}

#[test]
fn d_13_a_budget_is_only_for_more_than_one_replica() {
    for case in cases() {
        let replicas = case.all("Deployment")[0]["spec"]["replicas"]
            .as_u64()
            .unwrap();
        let budgets = case.all("PodDisruptionBudget");
        assert_eq!(budgets.len(), usize::from(1 < replicas), "{}", case.name);
        for budget in budgets {
            assert_eq!(budget["spec"]["maxUnavailable"], 1);
            assert_eq!(budget["spec"]["unhealthyPodEvictionPolicy"], "AlwaysAllow");
        }
    }
    assert_eq!(case("insecure").all("PodDisruptionBudget").len(), 0);
}

#[test]
fn d_16_what_is_not_ours_is_asked_of_the_delegate_which_lets_our_account_read() {
    let case = case("delegate");
    for arg in [
        "--delegate=https://keda-operator-metrics-apiserver.keda.svc",
        "--delegate-ca-file=/etc/taffrail/delegate-ca/ca.crt",
        "--delegate-token-file=/etc/taffrail/delegate-token/token",
    ] {
        assert!(case.has_arg(arg), "{:?}", case.args());
    }
    let volumes = case.pod()["volumes"].as_array().unwrap();
    assert_eq!(volumes[0]["configMap"]["name"], "keda-ca");
    assert_eq!(
        volumes[1]["projected"]["sources"][0]["serviceAccountToken"]["audience"],
        "keda"
    );
    let binding = case.one("ClusterRoleBinding", "taffrail-delegate");
    assert_eq!(binding["roleRef"]["name"], "taffrail-metrics-reader");
    assert_eq!(binding["subjects"][0]["name"], "taffrail");
    for (set, said) in [
        ("delegate.tokenAudience=keda", "delegate needs its url"),
        ("delegate.url=http://keda", "/delegate/url"),
        (
            "delegate.url=https://keda,delegate.ca.secret=a,delegate.ca.configMap=b",
            "exclude each other",
        ),
    ] {
        let refusal = refused(&["--set", set]);
        assert!(refusal.contains(said), "{set}: {refusal}");
    }
}

#[test]
fn v_07_an_update_never_has_fewer_ready_pods_and_ends_gracefully() {
    let default = case("default");
    let strategy = &default.all("Deployment")[0]["spec"]["strategy"];
    assert_eq!(
        strategy["rollingUpdate"],
        json!({"maxUnavailable": 0, "maxSurge": 1})
    );
    let container = &default.pod()["containers"][0];
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"] {
        assert_eq!(container[probe]["httpGet"]["scheme"], "HTTPS", "{probe}");
    }
    assert_eq!(container["readinessProbe"]["httpGet"]["path"], "/readyz");
    assert!(default.has_arg("--drain-delay=5s"));
    assert_eq!(default.pod()["terminationGracePeriodSeconds"], 30);
    let objects = rendered(&["--set=updateStrategy.type=Recreate"]);
    let recreate = &objects::one(&objects, "Deployment", "taffrail")["spec"]["strategy"];
    assert_eq!(
        recreate,
        &json!({"type": "Recreate"}),
        "API servers refuse rollingUpdate beside it"
    );
}

#[test]
fn v_09_and_v_11_pods_prefer_other_nodes_and_zones_and_in_the_case_ha_must_have_other_nodes() {
    let spread = |name: &str| -> Vec<(String, String)> {
        let constraints = case(name).pod()["topologySpreadConstraints"]
            .as_array()
            .unwrap();
        let of = |constraint: &Value| {
            assert!(
                constraint["labelSelector"]["matchLabels"].is_object(),
                "{constraint}"
            );
            let text = |field: &str| constraint[field].as_str().unwrap().to_owned();
            (text("topologyKey"), text("whenUnsatisfiable"))
        };
        constraints.iter().map(of).collect()
    };
    let pair = |key: &str, how: &str| (key.to_owned(), how.to_owned());
    let zone = pair("topology.kubernetes.io/zone", "ScheduleAnyway");
    let soft = [
        pair("kubernetes.io/hostname", "ScheduleAnyway"),
        zone.clone(),
    ];
    assert_eq!(spread("default"), soft);
    assert_eq!(
        spread("ha"),
        [pair("kubernetes.io/hostname", "DoNotSchedule"), zone]
    );
    // Two nodes alone would else take the three: the skew is counted over the nodes that there are.
    let hosts = &case("ha").pod()["topologySpreadConstraints"][0];
    assert_eq!(hosts["minDomains"], 3);
    assert_eq!(case("ha").all("Deployment")[0]["spec"]["replicas"], 3);
}
