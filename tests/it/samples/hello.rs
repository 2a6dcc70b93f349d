//! `hello`: an app behind a token.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};
use taffrail_loadtest::sample_app;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

use super::{SAMPLES, at, container, list, render, text};
use crate::fixtures::{objects, tools};

const ENVIRONMENTS: [&str; 2] = ["hello/dev", "hello/prod"];

/// A token of the kind that gets lost on its way: a shell, a template or a URL would each take other characters of it.
const TOKEN: &str = "T1&eWbYXNWG1w1^YGKDPxAWJ@^et^&kX";

#[test]
fn t_01_the_token_is_a_mounted_file_and_stands_in_no_variable_and_no_argument() {
    for environment in ENVIRONMENTS {
        let deployment = render(environment).one("Deployment", "hello");
        let app = container(deployment);
        let mount = &app["volumeMounts"][0];
        assert_eq!(mount["readOnly"], true);
        let path = format!(
            "--auth-token-file={}/token",
            mount["mountPath"].as_str().unwrap()
        );
        assert!(list(app, "/args").any(|arg| *arg == path), "{app:#}");
        let volume = at(deployment, "/spec/template/spec/volumes/0");
        assert_eq!(volume["secret"], json!({"secretName": "hello-token"}));
        for variable in list(app, "/env") {
            assert!(at(variable, "/valueFrom/secretKeyRef").is_null());
        }
    }
}

#[test]
fn t_03_the_adapter_sends_the_token_as_a_header_and_may_read_that_one_secret() {
    for environment in ENVIRONMENTS {
        let render = render(environment);
        let object = render.one("RequestMetrics", "hello");
        assert_eq!(
            at(object, "/spec/source/pods/headers/X-Auth-Token"),
            &json!({"secretKeyRef": {"name": "hello-token", "key": "token"}})
        );
        let role = render.one("Role", "taffrail-hello-token");
        assert_eq!(
            role["rules"],
            json!([{"apiGroups": [""], "resources": ["secrets"], "resourceNames": ["hello-token"], "verbs": ["get"]}])
        );
        let binding = render.one("RoleBinding", "taffrail-hello-token");
        assert_eq!(
            binding["subjects"],
            json!([{"kind": "ServiceAccount", "name": "taffrail", "namespace": "taffrail"}])
        );
    }
}

/// The bytes of a Secret's key.
fn secret(object: &Value, key: &str) -> Vec<u8> {
    BASE64
        .decode(text(object, &format!("/data/{key}")))
        .unwrap()
}

/// A sample app whose token is in a file with these bytes: its status for a request with this header.
async fn status_with(file: &[u8], header: &str) -> u16 {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, file).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let config = sample_app::Config {
        auth_token_file: Some(token),
        ..sample_app::Config::default()
    };
    let config = config.with_files_read().unwrap();
    let _app = AbortOnDropHandle::new(tokio::spawn(async move {
        let forever = std::future::pending();
        sample_app::run(listener, config, forever).await
    }));
    // Another test of this process may have chosen the provider already.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = client
        .get(format!("http://{address}/metrics"))
        .header("X-Auth-Token", header);
    request.send().await.unwrap().status().as_u16()
}

#[tokio::test]
async fn t_02_a_token_with_every_awkward_character_arrives_as_it_was_written() {
    let made = tools::stdout(
        "kubectl",
        &[
            "create",
            "secret",
            "generic",
            "hello-token",
            &format!("--from-literal=token={TOKEN}"),
            "--dry-run=client",
            "--output=yaml",
        ],
    );
    let made = secret(&objects::read(&made)[0], "token");
    assert_eq!(made, TOKEN.as_bytes());
    assert_eq!(status_with(&made, TOKEN).await, 200);
    assert_eq!(status_with(&made, &TOKEN.replace('&', "")).await, 401);

    // And the one of dev, by way of kustomize.
    let dev = secret(render("hello/dev").one("Secret", "hello-token"), "token");
    let dev_text = String::from_utf8(dev.clone()).unwrap();
    assert!(
        "&^@$".chars().all(|awkward| dev_text.contains(awkward)),
        "{dev_text}"
    );
    assert_eq!(status_with(&dev, &dev_text).await, 200);
}

#[test]
fn t_05_the_ingress_has_the_host_the_path_the_class_and_a_certificate() {
    for (environment, host) in [
        ("hello/dev", "dev.example.com"),
        ("hello/prod", "example.com"),
    ] {
        let render = render(environment);
        let ingress = render.one("Ingress", "hello");
        assert_eq!(text(ingress, "/spec/ingressClassName"), "nginx");
        let rule = at(ingress, "/spec/rules/0");
        assert_eq!(rule["host"], host);
        assert_eq!(text(rule, "/http/paths/0/path"), "/app");
        assert_eq!(
            at(ingress, "/spec/tls"),
            &json!([{"hosts": [host], "secretName": "hello-tls"}])
        );
        let service = render.one("Service", "hello");
        let backend = at(rule, "/http/paths/0/backend/service");
        assert_eq!(backend["name"], service["metadata"]["name"]);
        let port = at(service, "/spec/ports/0");
        assert_eq!(port["port"], 80);
        assert_eq!(at(backend, "/port/name"), &port["name"]);
    }
}

#[test]
fn t_07_a_rollout_scales_as_the_deployment_does_and_its_canary_can_be_read_alone() {
    let objects = objects::read(&tools::kustomize(&format!(
        "{SAMPLES}/hello/overlays/rollout"
    )));
    let prod = render("hello/prod");
    let deployment = prod.one("Deployment", "hello");
    let rollout = objects::one(&objects, "Rollout", "hello");
    assert_eq!(rollout["apiVersion"], "argoproj.io/v1alpha1");
    assert_eq!(
        at(rollout, "/spec/selector"),
        at(deployment, "/spec/selector")
    );
    // The label by which the controller tells versions apart is another one than a Deployment's.
    let template = at(deployment, "/spec/template").to_string();
    assert_eq!(
        at(rollout, "/spec/template").to_string(),
        template.replace("\"pod-template-hash\"", "\"rollouts-pod-template-hash\"")
    );
    assert!(at(rollout, "/spec/replicas").is_null());
    assert_eq!(objects::of_kind(&objects, "Deployment").count(), 0);
    let hpa = objects::one(&objects, "HorizontalPodAutoscaler", "hello");
    assert_eq!(
        at(hpa, "/spec/scaleTargetRef"),
        &json!({"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "name": "hello"})
    );
    let metrics = at(
        prod.one("HorizontalPodAutoscaler", "hello"),
        "/spec/metrics",
    );
    assert_eq!(at(hpa, "/spec/metrics"), metrics);

    let canary = at(rollout, "/spec/strategy/canary");
    assert_eq!(canary["maxUnavailable"], 0);
    let labels = at(canary, "/canaryMetadata/labels").as_object().unwrap();
    let alone = objects::one(&objects, "RequestMetrics", "hello-canary");
    let selector = at(alone, "/spec/source/pods/selector/matchLabels");
    for (label, value) in labels {
        assert_eq!(&selector[label], value);
        assert_ne!(at(canary, "/stableMetadata/labels").get(label), Some(value));
    }
}

#[test]
fn t_12_production_runs_on_spot_nodes_and_may_run_on_others() {
    let deployment = render("hello/prod").one("Deployment", "hello");
    let pod = at(deployment, "/spec/template/spec");
    let tolerated: Vec<&str> = list(pod, "/tolerations")
        .map(|toleration| text(toleration, "/key"))
        .collect();
    let affinity = at(pod, "/affinity/nodeAffinity");
    assert!(
        affinity["requiredDuringSchedulingIgnoredDuringExecution"].is_null(),
        "no spot node must not mean no node"
    );
    let preferred: Vec<&str> = list(affinity, "/preferredDuringSchedulingIgnoredDuringExecution")
        .map(|term| text(term, "/preference/matchExpressions/0/key"))
        .collect();
    for key in &tolerated {
        assert!(preferred.contains(key), "{key} is tolerated, not preferred");
    }
    assert_eq!(tolerated.len(), 2);
    // The shortest notice is GKE's.
    let grace = at(pod, "/terminationGracePeriodSeconds").as_u64();
    assert!(grace.is_some_and(|grace| grace <= 25), "{grace:?}");
}
