//! `internal`: one chart for every environment.

use serde_json::{Value, json};

use super::{Render, at, chart, chart_args, container, list, render, text, variable};
use crate::fixtures::{objects, tools};

const ENVIRONMENTS: [&str; 2] = ["internal/dev", "internal/prod"];

/// The chart with these values set.
fn with(values: &[&str]) -> Render {
    Render::of("internal/set".to_owned(), chart(values))
}

/// What Helm says when it refuses these values.
fn refused(values: &[&str]) -> String {
    let args = chart_args(values);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let output = tools::run("helm", &args);
    assert!(!output.status.success(), "{values:?} are taken");
    tools::said(&output)
}

#[test]
fn e_01_there_are_three_to_ten_replicas() {
    for environment in ENVIRONMENTS {
        let hpa = &render(environment).one("HorizontalPodAutoscaler", "internal")["spec"];
        assert_eq!(
            (&hpa["minReplicas"], &hpa["maxReplicas"]),
            (&json!(3), &json!(10))
        );
    }
}

#[test]
fn e_02_pods_go_to_different_nodes_and_the_control_plane_is_one_of_them() {
    for environment in ENVIRONMENTS {
        let deployment = render(environment).one("Deployment", "internal");
        let pod = at(deployment, "/spec/template/spec");
        assert_eq!(
            pod["tolerations"],
            json!([{"key": "node-role.kubernetes.io/control-plane", "operator": "Exists", "effect": "NoSchedule"}])
        );
        let preferred =
            "/affinity/podAntiAffinity/preferredDuringSchedulingIgnoredDuringExecution/0";
        assert_eq!(
            text(pod, &format!("{preferred}/podAffinityTerm/topologyKey")),
            "kubernetes.io/hostname"
        );
    }
}

#[test]
fn e_03_what_only_a_container_can_be_told_is_told_to_the_container() {
    for environment in ENVIRONMENTS {
        let deployment = render(environment).one("Deployment", "internal");
        assert_eq!(
            at(deployment, "/spec/template/spec/securityContext"),
            &json!({
                "runAsNonRoot": true, "runAsUser": 1000, "runAsGroup": 1000, "fsGroup": 2000,
                "seccompProfile": {"type": "RuntimeDefault"},
            })
        );
        assert_eq!(
            container(deployment)["securityContext"],
            json!({
                "allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true,
                "capabilities": {"drop": ["ALL"]},
            })
        );
    }
}

#[test]
fn e_04_prod_is_text_however_it_is_set() {
    for (values, expected) in [
        (["--set-string", "prod=false"], "false"),
        (["--set", "prod=false"], "false"),
        (["--set-string", "prod=true"], "true"),
        (["--set", "prod=true"], "true"),
    ] {
        let render = with(&values);
        let app = container(render.one("Deployment", "internal"));
        assert_eq!(variable(app, "PROD")["value"], expected, "{values:?}");
    }
}

#[test]
fn e_04_hub_image_tag_env_and_resources_arrive_in_the_pod() {
    let render = with(&[
        "--set=hub=registry.example.com/team",
        "--set=image=app",
        "--set-string=tag=1234567",
        "--set=env.WORKERS=4",
        "--set=env.VERBOSE=true",
        "--set=resources.requests.cpu=250m",
    ]);
    let app = container(render.one("Deployment", "internal"));
    assert_eq!(app["image"], "registry.example.com/team/app:1234567");
    assert_eq!(variable(app, "WORKERS")["value"], "4");
    assert_eq!(variable(app, "VERBOSE")["value"], "true");
    assert_eq!(at(app, "/resources/requests/cpu"), "250m");
    assert_eq!(at(app, "/resources/requests/memory"), "32Mi");
    // As a file of values has them: numbers that are floats, and a text that looks like one.
    let render = with(&[r#"--set-json=env={"LIMIT": 1000000, "SHARE": 0.5, "AGENT": "007"}"#]);
    let app_of_file = container(render.one("Deployment", "internal"));
    for (name, value) in [("LIMIT", "1000000"), ("SHARE", "0.5"), ("AGENT", "007")] {
        assert_eq!(variable(app_of_file, name)["value"], value);
    }
    let defaults = container(super::render("internal/dev").one("Deployment", "internal"));
    let version = env!("CARGO_PKG_VERSION");
    assert_eq!(defaults["image"], format!("taffrail-sample-app:{version}"));
}

#[test]
fn e_04_values_that_are_none_are_refused_and_named() {
    for (value, named) in [
        ("prodd=true", "prodd"),
        ("prod=maybe", "/prod"),
        ("tag=1234567", "/tag"),
        ("tag=", "/tag"),
        ("hub=registry/", "/hub"),
        ("env.PROD=true", "PROD"),
        ("resources.request.cpu=1", "request"),
        ("resources.requests=null", "requests"),
        ("resources.limits.memory=64Mb", "/resources/limits/memory"),
    ] {
        let said = refused(&["--set", value]);
        assert!(said.contains(named), "{value}: {said}");
    }
}

#[test]
fn e_05_prod_is_the_only_difference_between_dev_and_production() {
    let [dev, prod] = ENVIRONMENTS.map(|name| render(name).text.lines());
    let different: Vec<(&str, &str)> = dev
        .clone()
        .zip(prod.clone())
        .filter(|(a, b)| a != b)
        .collect();
    assert_eq!(dev.count(), prod.count());
    assert_eq!(different.len(), 1, "{different:?}");
    assert_eq!(
        (different[0].0.trim(), different[0].1.trim()),
        ("value: \"false\"", "value: \"true\"")
    );
    let apps = ENVIRONMENTS.map(|name| {
        let app = container(render(name).one("Deployment", "internal"));
        variable(app, "PROD")["value"].clone()
    });
    assert_eq!(apps, ["false", "true"]);
}

#[test]
fn e_06_it_is_reached_in_the_cluster_only_and_keeps_nothing() {
    for environment in ENVIRONMENTS {
        let render = render(environment);
        let service = &render.one("Service", "internal")["spec"];
        assert_eq!(service["type"], "ClusterIP");
        assert_eq!(
            service["ports"],
            json!([{"name": "http", "port": 80, "targetPort": "http"}])
        );
        assert_eq!(objects::of_kind(&render.objects, "Ingress").count(), 0);
        let deployment = render.one("Deployment", "internal");
        assert!(at(deployment, "/spec/template/spec/volumes").is_null());
        assert!(container(deployment)["volumeMounts"].is_null());
    }
}

#[test]
fn e_07_two_releases_of_one_cluster_share_no_name() {
    for environment in ENVIRONMENTS {
        for object in &render(environment).objects {
            // A namespace that is written down would be the same for both releases.
            assert!(object["metadata"]["namespace"].is_null(), "{object:#}");
            let kind = text(object, "/kind");
            let of_the_cluster = [
                "Namespace",
                "ClusterRole",
                "ClusterRoleBinding",
                "APIService",
            ];
            assert!(!of_the_cluster.contains(&kind), "{kind}");
        }
    }
}

#[test]
fn e_04_the_chart_says_what_its_values_are() {
    let schema = std::fs::read_to_string(format!(
        "{}/deploy/samples/internal/chart/values.schema.json",
        tools::ROOT
    ));
    let schema: Value = serde_json::from_str(&schema.unwrap()).unwrap();
    let mut named: Vec<&str> = list(&schema, "/required")
        .filter_map(Value::as_str)
        .collect();
    named.sort_unstable();
    assert_eq!(named, ["env", "hub", "image", "prod", "resources", "tag"]);
    for name in named {
        assert!(at(&schema, &format!("/properties/{name}/description")).is_string());
    }
    let said = tools::stdout(
        "helm",
        &["lint", "--strict", "deploy/samples/internal/chart"],
    );
    assert!(
        !said.contains("[WARNING]") && !said.contains("[ERROR]"),
        "{said}"
    );
}
