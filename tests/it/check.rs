//! `taffrail check` as its user runs it, against an API server made of prepared answers: what it says, what it asks for,
//! and what it exits with. With a real adapter it runs in `tests/cluster`.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::fixtures::api_server::Prepared;

const EXTERNAL: &str = "/apis/external.metrics.k8s.io/v1beta1";
const EXPLAIN: &str = "/apis/explain.taffrail.dev/v1alpha1";
const OBJECT: &str = "/apis/taffrail.dev/v1alpha1/namespaces/shop/requestmetrics/users";
const LATENCY: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/request_latency_ms";

/// Enough for a busy machine.
const SOON: Duration = Duration::from_secs(60);

fn apiservice(name: &str) -> String {
    format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}")
}

fn leads_to(namespace: &str, service: &str, condition: &Value) -> Value {
    json!({
        "kind": "APIService", "apiVersion": "apiregistration.k8s.io/v1", "metadata": {"name": "any"},
        "spec": {"service": {"namespace": namespace, "name": service}},
        "status": {"conditions": [condition]},
    })
}

fn available() -> Value {
    json!({"type": "Available", "status": "True", "reason": "Passed", "message": "all checks passed"})
}

fn resources(names: &[&str]) -> Value {
    let resources: Vec<Value> = names.iter().map(|name| json!({"name": name})).collect();
    json!({"kind": "APIResourceList", "apiVersion": "v1", "resources": resources})
}

/// A cluster with the adapter, external metrics, explanations, and the service `users`.
fn cluster() -> Prepared {
    let api = Prepared::default();
    api.set("/version", json!({"major": "1", "minor": "36"}));
    let definition = resources(&["requestmetrics", "requestmetrics/status"]);
    api.set("/apis/taffrail.dev/v1alpha1", definition);
    for name in [
        "v1beta1.external.metrics.k8s.io",
        "v1alpha1.explain.taffrail.dev",
    ] {
        let object = leads_to("taffrail", "taffrail", &available());
        api.set(&apiservice(name), object);
    }
    api.set(EXTERNAL, resources(&["request_latency_ms", "request_rate"]));
    api.set(EXPLAIN, resources(&["explanations"]));
    api.set(
        OBJECT,
        json!({"metadata": {"name": "users"}, "status": {
            "state": "ok",
            "values": [{"metric": "request_latency_ms", "labels": {"quantile": "0.95"}, "value": "243", "state": "ok"}],
            "conditions": [{"type": "SourcesReachable", "status": "False", "reason": "Refused", "message": "nobody listens"}],
        }}),
    );
    let items =
        json!([{"metricName": "request_latency_ms", "metricLabels": {}, "value": "243500m"}]);
    api.set(LATENCY, json!({"items": items}));
    api
}

async fn check(api: &Prepared, args: &[&str]) -> Output {
    let kubeconfig = api.serve().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command.arg("check").args(args);
    command.arg("--kubeconfig").arg(kubeconfig.path());
    let output = command.kill_on_drop(true).output();
    tokio::time::timeout(SOON, output).await.unwrap().unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The line of the finding that begins so, and the line behind it.
fn line<'t>(text: &'t str, start: &str) -> (&'t str, &'t str) {
    let mut lines = text.lines().skip_while(|line| !line.starts_with(start));
    let found = lines
        .next()
        .unwrap_or_else(|| panic!("no {start} in\n{text}"));
    (found, lines.next().unwrap_or_default())
}

#[tokio::test]
async fn an_adapter_that_is_installed_passes_and_what_need_not_be_there_is_passed_over() {
    let output = check(&cluster(), &["--service", "users", "-n", "shop"]).await;
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for wanted in [
        "ok       definition requestmetrics.taffrail.dev: served as taffrail.dev/v1alpha1",
        "ok       apiservice v1beta1.external.metrics.k8s.io: available, and leads to Service taffrail/taffrail",
        "ok       discovery external.metrics.k8s.io/v1beta1: lists request_latency_ms and 1 more",
        "skipped  apiservice v1beta1.custom.metrics.k8s.io: there is none, which is right unless the adapter runs with \
         --custom-metrics",
        "ok       discovery explain.taffrail.dev/v1alpha1: lists explanations",
        "ok       service shop/users: request_latency_ms of service=users,quantile=0.95 is 243.5; state ok",
    ] {
        assert!(text.lines().any(|line| line == wanted), "{wanted}\n{text}");
    }
}

#[tokio::test]
async fn each_fault_is_named_with_what_to_do_and_is_a_1() {
    let api = cluster();
    api.refuse("/apis/taffrail.dev/v1alpha1", 404, "not found");
    let name = "v1beta1.external.metrics.k8s.io";
    let unreachable = json!({"type": "Available", "status": "False", "reason": "FailedDiscoveryCheck",
        "message": "failing or missing response from https://10.0.0.7:10250: dial tcp: i/o timeout"});
    api.set(
        &apiservice(name),
        leads_to("taffrail", "taffrail", &unreachable),
    );
    api.refuse(EXTERNAL, 503, "service unavailable");
    api.refuse(LATENCY, 503, "service unavailable");
    let output = check(&api, &["--service=users", "-n=shop"]).await;
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    for (start, remedy) in [
        ("FAILED   definition", "taffrail crd | kubectl apply"),
        ("FAILED   apiservice v1beta1.external", "port 10250"),
        ("FAILED   discovery external", "kubectl describe apiservice"),
        (
            "FAILED   service shop/users",
            "SourcesReachable is False (Refused): nobody listens",
        ),
    ] {
        let (_, below) = line(&text, start);
        assert!(
            below.starts_with("         ") && below.contains(remedy),
            "{start}: {below}\n{text}"
        );
    }
}

#[tokio::test]
async fn another_adapters_apiservice_fails_whether_or_not_the_adapter_is_named() {
    let api = cluster();
    let name = "v1beta1.external.metrics.k8s.io";
    let keda = leads_to("keda", "keda-operator-metrics-apiserver", &available());
    api.set(&apiservice(name), keda);
    api.set(EXTERNAL, resources(&["externalmetrics"]));
    for args in [&[][..], &["--adapter=taffrail/taffrail"]] {
        let output = check(&api, args).await;
        let text = stdout(&output);
        assert_eq!(output.status.code(), Some(1), "{text}");
        let (found, remedy) = line(&text, "FAILED   apiservice");
        let both =
            "leads to Service keda/keda-operator-metrics-apiserver and not to taffrail/taffrail";
        assert!(found.ends_with(both), "{found}");
        assert!(remedy.contains("delegate.url"), "{remedy}");
        line(&text, "FAILED   discovery external");
    }
}

#[tokio::test]
async fn json_is_one_object_and_a_wait_ends_when_the_last_fault_is_gone() {
    let api = cluster();
    api.refuse(EXTERNAL, 503, "service unavailable");
    let healed = api.clone();
    let heal = async move {
        // Not before a first look has seen it.
        while !healed.asked().iter().any(|path| path.starts_with(EXTERNAL)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        healed.set(EXTERNAL, resources(&["request_latency_ms"]));
    };
    let (output, ()) = tokio::join!(check(&api, &["--wait=50s", "-o=json"]), heal);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(
        (&report["version"], &report["passed"]),
        (&json!(1), &json!(true))
    );
    let checks = report["checks"].as_array().unwrap();
    let outcomes: Vec<_> = checks.iter().map(|check| &check["outcome"]).collect();
    assert_eq!(
        outcomes,
        [
            "passed", "passed", "passed", "skipped", "skipped", "passed", "passed"
        ]
    );
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(
        said.matches("waiting: discovery external").count(),
        1,
        "{said}"
    );
}

#[tokio::test]
async fn a_wait_that_is_over_says_what_is_still_wrong() {
    let api = cluster();
    api.refuse(OBJECT, 404, "not found");
    let output = check(&api, &["--wait=1s", "--service=users", "-n=shop"]).await;
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(1), "{text}");
    let (found, remedy) = line(&text, "FAILED   service");
    assert!(
        found.contains("there is no RequestMetrics users in namespace shop"),
        "{found}"
    );
    assert_eq!(remedy.trim(), "kubectl get requestmetrics -n shop");
}

#[tokio::test]
async fn no_answer_at_all_is_a_2_and_no_verdict() {
    let api = cluster();
    api.refuse("/version", 401, "Unauthorized");
    let output = check(&api, &[]).await;
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(stdout(&output), "");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.starts_with("error: asking the API server"), "{said}");
}

/// No right beyond those of every account is needed, and nothing is ever written.
#[tokio::test]
async fn whoever_may_not_read_apiservices_is_told_by_what_answers() {
    let api = cluster();
    for name in [
        "v1beta1.external.metrics.k8s.io",
        "v1alpha1.explain.taffrail.dev",
        "v1beta1.custom.metrics.k8s.io",
        "v1beta2.custom.metrics.k8s.io",
    ] {
        api.refuse(&apiservice(name), 403, "forbidden");
    }
    let output = check(&api, &[]).await;
    let text = stdout(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    line(&text, "skipped  apiservice v1beta1.external");
    line(&text, "ok       discovery external");
}
