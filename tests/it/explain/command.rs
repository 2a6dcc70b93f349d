//! The command against prepared answers of an API server: what it asks, what it prints, and what it says where something
//! is lacking.

use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use taffrail::hpa::{Autoscaler, Observation, Phase, Pod, Readiness, ReadyStatus};
use taffrail::model::time::Timestamp;
use taffrail::story::Facts;
use taffrail::story::facts::ScaleTarget;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::Command;

use crate::fixtures::api_server::Prepared;

/// Enough for a busy machine.
const SOON: Duration = Duration::from_secs(60);

const HPA: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers/users";
const HPAS: &str = "/apis/autoscaling/v2/namespaces/shop/horizontalpodautoscalers";
const SCALE: &str = "/apis/apps/v1/namespaces/shop/deployments/users/scale";
const PODS: &str = "/api/v1/namespaces/shop/pods";
const EVENTS: &str = "/api/v1/namespaces/shop/events";
const LATENCY: &str = "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/request_latency_ms";
const CPU: &str = "/apis/metrics.k8s.io/v1beta1/namespaces/shop/pods";
const EXPLANATION: &str = "/apis/explain.taffrail.dev/v1alpha1/namespaces/shop/explanations/users";

/// A cluster with the HPA `users` of 4 pods, 3 of them ready, at 347 ms of 250 and 50 % of 70 % CPU.
fn cluster() -> Prepared {
    let api = Prepared::default();
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "users", "namespace": "shop", "creationTimestamp": "2026-11-21T09:00:00Z"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "users"},
            "minReplicas": 2, "maxReplicas": 12, "behavior": {},
            "metrics": [
                {"type": "External", "external": {
                    "metric": {"name": "Request_Latency_ms",
                               "selector": {"matchLabels": {"service": "users", "quantile": "0.95"}}},
                    "target": {"type": "Value", "value": "250"}}},
                {"type": "Resource", "resource": {
                    "name": "cpu", "target": {"type": "Utilization", "averageUtilization": 70}}},
            ],
        },
        "status": {
            "currentReplicas": 4, "desiredReplicas": 4, "lastScaleTime": "2026-11-21T09:58:00Z",
            "conditions": [
                {"type": "AbleToScale", "status": "True", "reason": "ScaleDownStabilized", "message": "recent"},
                {"type": "ScalingLimited", "status": "False", "reason": "DesiredWithinRange", "message": "in range"},
            ],
            "currentMetrics": [
                {"type": "External", "external": {"metric": {"name": "Request_Latency_ms"}, "current": {"value": "300"}}},
                {"type": "Resource", "resource": {"name": "cpu",
                    "current": {"averageUtilization": 48, "averageValue": "240m"}}},
            ],
        },
    });
    api.set(HPAS, json!({"items": [&hpa]}));
    api.set(HPA, hpa);
    api.set("/apis/apps/v1", json!({"resources": [
        {"name": "deployments", "kind": "Deployment"}, {"name": "deployments/scale", "kind": "Scale"}]}));
    api.set(
        SCALE,
        json!({"spec": {"replicas": 4}, "status": {"replicas": 4, "selector": "app=users"}}),
    );
    let pod = |index: usize| {
        let ready = if index < 3 { "True" } else { "False" };
        json!({
            "metadata": {"name": format!("users-{index}")},
            "spec": {"containers": [{"name": "web", "resources": {"requests": {"cpu": "500m"}}}]},
            "status": {"phase": "Running", "startTime": "2026-11-21T09:00:00Z", "conditions": [
                {"type": "Ready", "status": ready, "lastTransitionTime": "2026-11-21T09:00:05Z"}]},
        })
    };
    api.set(
        PODS,
        json!({"metadata": {}, "items": (0..4).map(pod).collect::<Vec<_>>()}),
    );
    let used = |index: usize| {
        json!({"metadata": {"name": format!("users-{index}")}, "timestamp": "2026-11-21T09:59:50Z", "window": "15s",
               "containers": [{"name": "web", "usage": {"cpu": "250m"}}]})
    };
    api.set(CPU, json!({"items": (0..4).map(used).collect::<Vec<_>>()}));
    api.set(LATENCY, json!({"items": [
        {"metricName": "request_latency_ms", "value": "347", "timestamp": "2026-11-21T10:00:00Z"}]}));
    api.set(
        EVENTS,
        json!({"items": [{"type": "Normal", "reason": "SuccessfulRescale", "message": "New size: 4",
        "count": 1, "lastTimestamp": "2026-11-21T09:58:00Z"}]}),
    );
    api
}

/// What the adapter saw: 6 replicas asked for, then 100 ms, which asks for 3.
fn explained(latencies: &[i64]) -> Value {
    let object = json!({
        "minReplicas": 2, "maxReplicas": 12, "behavior": {},
        "metrics": [{"type": "External", "external": {
            "metric": {"name": "request_latency_ms"}, "target": {"type": "Value", "value": "250"}}}],
    });
    let spec = taffrail::config::autoscaler::from_value(&object).unwrap();
    let start = Timestamp::from_rfc3339("2026-11-21T10:00:00Z").unwrap();
    let mut hpa = Autoscaler::new(spec.clone());
    let mut facts = None;
    let mut replicas = 4;
    for (index, latency) in latencies.iter().enumerate() {
        let now = start + index as u32 * Duration::from_secs(15);
        let pod = |index: i32| Pod {
            name: format!("users-{index}"),
            phase: Phase::Running,
            deleted: false,
            started: Some(start - Duration::from_secs(600)),
            readiness: Some(Readiness {
                status: ReadyStatus::True,
                since: start - Duration::from_secs(600),
            }),
            requests: std::collections::BTreeMap::new(),
            container_requests: std::collections::BTreeMap::new(),
        };
        let observed = Observation {
            spec_replicas: replicas,
            status_replicas: replicas,
            pods: (0..replicas).map(pod).collect(),
            answers: vec![Ok(taffrail::hpa::Answer::Values(vec![latency * 1000]))],
        };
        let memory = hpa.memory().clone();
        let decision = hpa.reconcile(now, &observed);
        replicas = decision.desired;
        let target = ScaleTarget {
            kind: "Deployment".to_owned(),
            name: "users".to_owned(),
        };
        let mut of = Facts::new(
            ("shop", "users", target),
            &spec,
            &observed,
            Some(memory),
            &decision,
        );
        of.metrics[0].selector = "quantile=0.95,service=users".to_owned();
        facts = Some(of);
    }
    json!({
        "kind": "Explanation", "apiVersion": "explain.taffrail.dev/v1alpha1",
        "metadata": {"name": "users", "namespace": "shop"},
        "record": {"replica": "taffrail-0", "watchedSince": "2026-11-21T09:00:01Z", "newest": "2026-11-21T10:01:00Z",
                   "syncs": 240, "agreement": "agreed", "presumed": [], "changedByOthers": null},
        "keptSince": "2026-11-21T09:01:00Z",
        "partedCount": 2,
        "facts": facts.unwrap(),
    })
}

/// Runs the command to its end.
async fn explain(kubeconfig: &tempfile::NamedTempFile, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command
        .arg("explain")
        .args(args)
        .arg("--kubeconfig")
        .arg(kubeconfig.path());
    let output = tokio::time::timeout(SOON, command.output()).await;
    output.expect("it ends").unwrap()
}

/// Runs the command, which must succeed; what it prints.
async fn told(kubeconfig: &tempfile::NamedTempFile, args: &[&str]) -> String {
    let output = explain(kubeconfig, args).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{}", text(&output.stderr));
    text(&output.stdout)
}

/// Runs the command, which must fail with 2; its message.
async fn refused(kubeconfig: &tempfile::NamedTempFile, args: &[&str]) -> String {
    let output = explain(kubeconfig, args).await;
    assert_eq!(output.status.code(), Some(2));
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

#[track_caller]
fn has(text: &str, wanted: &str) {
    assert!(text.contains(wanted), "no `{wanted}` in:\n{text}");
}

#[tokio::test]
async fn the_adapters_memory_gives_the_seconds() {
    let api = cluster();
    api.set(EXPLANATION, explained(&[347, 250, 100]));
    let text = told(&api.serve().await, &["hpa/users"]).await;
    // On target is asked for 15 s before, and held for 300.
    has(
        &text,
        "users has 6 replicas because 6 was asked for 15 s before, and scaling down follows the highest of 300 s: 285 s to go",
    );
    has(&text, "scale-in to 3 in 285 s if nothing changes");
    has(&text, "Normal SuccessfulRescale: New size: 4");
    has(
        &text,
        "of 240 syncs kept, the HPA decided 2 otherwise than the arithmetic",
    );
    assert!(
        api.asked().iter().all(|path| !path.starts_with(SCALE)),
        "nothing is read twice"
    );
}

#[tokio::test]
async fn without_the_adapter_everything_is_read_here_and_what_is_not_known_is_said() {
    let api = cluster();
    let text = told(&api.serve().await, &["users", "-n", "shop"]).await;
    has(
        &text,
        "users has 4 replicas, which its next sync may change: p95 347 ms over target 250 ms asked for 5 (ratio 1.39, 3 \
                ready pods); CPU asked for 3",
    );
    has(
        &text,
        "p95 multiplies ready pods only; these are not ready: users-3",
    );
    has(
        &text,
        "one more pod (5) at the next sync, if policies let it: p95 >= 333.334 ms is enough, and it reads 347 ms",
    );
    has(&text, "the adapter does not explain this HPA");
    has(
        &text,
        "the cluster has no explain.taffrail.dev: is the adapter installed",
    );
    has(&text, "AbleToScale=True ScaleDownStabilized");
    let latency = api
        .asked()
        .into_iter()
        .find(|path| path.starts_with(LATENCY))
        .unwrap();
    assert!(
        latency.ends_with("labelSelector=quantile%3D0.95%2Cservice%3Dusers"),
        "{latency}"
    );
}

#[tokio::test]
async fn without_the_adapter_the_status_says_what_holds() {
    let api = cluster();
    api.set(
        LATENCY,
        json!({"items": [{"metricName": "request_latency_ms", "value": "100"}]}),
    );
    let text = told(&api.serve().await, &["users"]).await;
    has(
        &text,
        "users has 4 replicas because earlier recommendations hold it there, as its status says; now CPU 50 % under \
                target 70 % asked for 3 (ratio 0.71); p95 asked for 2",
    );
    has(&text, "once stabilization lets it");
}

#[tokio::test]
async fn json_is_one_object_with_the_facts_and_what_is_told_of_them() {
    let api = cluster();
    api.set(EXPLANATION, explained(&[347]));
    let kubeconfig = api.serve().await;
    let text = told(&kubeconfig, &["users", "-o", "json"]).await;
    let again = told(&kubeconfig, &["users", "-o", "json"]).await;
    // A note tells for how many seconds no sync was seen, which may be one more by now.
    let before_notes = |text: &str| text.split_once(r#""notes""#).unwrap().0.to_owned();
    assert_eq!(before_notes(&text), before_notes(&again), "the same bytes");
    assert_eq!(text.lines().count(), 1);
    let json: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(json["source"], "adapter");
    assert_eq!(json["facts"]["outcome"]["desiredReplicas"], 6);
    assert_eq!(json["facts"]["at"], "2026-11-21T10:00:00Z");
    assert_eq!(json["explanation"]["metrics"][0]["label"], "p95");
    let changes = json["explanation"]["changes"].as_array().unwrap();
    let more = changes
        .iter()
        .find(|change| change["kind"] == "more")
        .unwrap();
    assert_eq!(
        (&more["atLeastMilli"], &more["to"], &more["afterSeconds"]),
        (&json!(375_001), &json!(7), &json!(0))
    );
}

#[tokio::test]
async fn looking_back_asks_the_adapter_for_that_time_and_fails_without_it() {
    let api = cluster();
    let kubeconfig = api.serve().await;
    let at = ["users", "--at", "2026-11-21T10:00:00Z"];
    let error = refused(&kubeconfig, &at).await;
    has(&error, "only the adapter can look back");
    let begins = "what replica taffrail-1 remembers of HorizontalPodAutoscaler shop/users begins at 2026-11-21T10:30:00Z";
    api.refuse(EXPLANATION, 404, begins);
    let error = refused(&kubeconfig, &at).await;
    has(&error, "begins at 2026-11-21T10:30:00Z");
    has(&error, "ask for a later time");
    has(
        &error,
        "the HPA's events until then: SuccessfulRescale, 120 s before: New size: 4",
    );
    api.set(EXPLANATION, explained(&[347]));
    has(
        &told(&kubeconfig, &at).await,
        "its sync at 2026-11-21T10:00:00Z",
    );
    let asked = api
        .asked()
        .into_iter()
        .rfind(|path| path.starts_with(EXPLANATION))
        .unwrap();
    assert!(asked.ends_with("?at=2026-11-21T10%3A00%3A00Z"), "{asked}");
    // Another replica, which a new connection leads to, remembers what the first does not.
    let api = cluster();
    api.set(EXPLANATION, explained(&[347]));
    api.refuse_at_first(EXPLANATION, 404, begins);
    has(
        &told(&api.serve().await, &at).await,
        "its sync at 2026-11-21T10:00:00Z",
    );
}

#[tokio::test]
async fn a_missing_hpa_a_missing_right_and_a_missing_target_say_what_to_do() {
    let api = cluster();
    let kubeconfig = api.serve().await;
    let error = refused(&kubeconfig, &["user"]).await;
    has(
        &error,
        "there is no HorizontalPodAutoscaler user in namespace shop; there are users",
    );

    api.refuse(HPA, 403, "forbidden");
    let error = refused(&kubeconfig, &["users"]).await;
    has(
        &error,
        "you may not get horizontalpodautoscalers of autoscaling in namespace shop",
    );
    has(
        &error,
        "{apiGroups: [\"autoscaling\"], resources: [\"horizontalpodautoscalers\"], verbs: [\"get\"]}",
    );

    let api = cluster();
    api.refuse(SCALE, 404, "deployments.apps \"users\" not found");
    has(
        &refused(&api.serve().await, &["users"]).await,
        "nothing scales Deployment users: the HPA finds no such target (deployments.apps \"users\" not found); make it, or \
         name another in the HPA's spec.scaleTargetRef",
    );
}

#[tokio::test]
async fn what_may_not_be_read_is_taken_from_the_status_and_named() {
    let api = cluster();
    for path in [LATENCY, CPU, EVENTS] {
        api.refuse(path, 403, "forbidden");
    }
    let text = told(&api.serve().await, &["users"]).await;
    has(&text, "p95 300 ms over target 250 ms");
    has(&text, "CPU  48 %");
    has(
        &text,
        "{apiGroups: [\"external.metrics.k8s.io\"], resources: [\"request_latency_ms\"], verbs: [\"list\"]}",
    );
    has(
        &text,
        "{apiGroups: [\"metrics.k8s.io\"], resources: [\"pods\"], verbs: [\"list\"]}",
    );
    has(
        &text,
        "{apiGroups: [\"\"], resources: [\"events\"], verbs: [\"list\"]}",
    );
}

#[tokio::test]
async fn an_absent_metric_is_why_nothing_is_removed() {
    let api = cluster();
    api.refuse(LATENCY, 404, "no samples of users in the last 60 s");
    let text = told(&api.serve().await, &["users"]).await;
    has(
        &text,
        "users has 4 replicas and keeps them: what can be read asks for 3, but nothing is removed while p95 has no value \
                (p95: no samples of users in the last 60 s)",
    );
}

/// The HPA of [`cluster`] with other metrics, and no status of them.
fn with_metrics(api: &Prepared, metrics: &Value) {
    let hpa = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "users", "namespace": "shop"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "users"},
            "minReplicas": 2, "maxReplicas": 12, "metrics": metrics,
        },
        "status": {"currentReplicas": 4, "desiredReplicas": 4},
    });
    api.set(HPA, hpa);
}

#[tokio::test]
async fn a_container_is_held_against_its_own_request_beside_its_pod() {
    let api = cluster();
    let target = json!({"type": "Utilization", "averageUtilization": 50});
    with_metrics(
        &api,
        &json!([
            {"type": "Resource", "resource": {"name": "cpu", "target": target}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "log", "target": target}},
        ]),
    );
    let pod = |index: usize| {
        let container =
            |name: &str, cpu: &str| json!({"name": name, "resources": {"requests": {"cpu": cpu}}});
        json!({
            "metadata": {"name": format!("users-{index}")},
            "spec": {"containers": [container("web", "900m"), container("log", "100m")]},
            "status": {"phase": "Running", "startTime": "2026-11-21T09:00:00Z", "conditions": [
                {"type": "Ready", "status": "True", "lastTransitionTime": "2026-11-21T09:00:05Z"}]},
        })
    };
    let used = |index: usize| {
        let container = |name: &str, cpu: &str| json!({"name": name, "usage": {"cpu": cpu}});
        json!({"metadata": {"name": format!("users-{index}")}, "timestamp": "2026-11-21T09:59:50Z", "window": "15s",
               "containers": [container("web", "410m"), container("log", "90m")]})
    };
    api.set(
        PODS,
        json!({"metadata": {}, "items": (0..4).map(pod).collect::<Vec<_>>()}),
    );
    api.set(CPU, json!({"items": (0..4).map(used).collect::<Vec<_>>()}));
    let kubeconfig = api.serve().await;
    let text = told(&kubeconfig, &["users"]).await;
    has(
        &text,
        "CPU of container log 90 % over target 50 % asked for 8 (ratio 1.80); CPU asked for no change",
    );
    let json = told(&kubeconfig, &["users", "-o", "json"]).await;
    let json: Value = serde_json::from_str(&json).unwrap();
    let pod = &json["facts"]["pods"][0];
    assert_eq!(pod["requestsMilli"]["cpu"], 1000);
    assert_eq!(pod["containerRequestsMilli"]["log"]["cpu"], 100);
}

#[tokio::test]
async fn a_metric_of_an_object_is_read_as_the_caller_and_where_nobody_serves_it_that_is_said() {
    let api = cluster();
    let metric = json!([{"type": "Object", "object": {
        "describedObject": {"apiVersion": "v1", "kind": "Namespace", "name": "shop"},
        "metric": {"name": "orders", "selector": {"matchLabels": {"kind": "paid"}}},
        "target": {"type": "Value", "value": "10"},
    }}]);
    with_metrics(&api, &metric);
    let kubeconfig = api.serve().await;
    has(
        &told(&kubeconfig, &["users"]).await,
        "its only metric has no value (orders: nobody serves custom.metrics.k8s.io in this cluster",
    );
    // An adapter that has the older version alone.
    const ORDERS: &str = "/apis/custom.metrics.k8s.io/v1beta1/namespaces/shop/metrics/orders";
    api.set(
        ORDERS,
        json!({"items": [{"metricName": "orders", "value": "20"}]}),
    );
    has(
        &told(&kubeconfig, &["users"]).await,
        "orders 20 over target 10 asked for 6 (ratio 2.00, 3 ready pods)",
    );
    let asked = api
        .asked()
        .into_iter()
        .rfind(|path| path.starts_with(ORDERS));
    assert_eq!(
        asked,
        Some(format!("{ORDERS}?metricLabelSelector=kind%3Dpaid"))
    );
    api.refuse(ORDERS, 403, "forbidden");
    has(
        &told(&kubeconfig, &["users"]).await,
        "{apiGroups: [\"custom.metrics.k8s.io\"], resources: [\"metrics\"], verbs: [\"get\"]}",
    );
}

#[tokio::test]
async fn an_hpa_that_shares_its_pods_with_another_reads_nothing() {
    let api = cluster();
    with_metrics(&api, &json!([]));
    let mut hpa = api.answer_at(HPA);
    hpa["status"]["conditions"] = json!([{"type": "ScalingActive", "status": "False", "reason": "AmbiguousSelector",
        "message": "pods by selector app=users are controlled by multiple HPAs: [shop/other shop/users]"}]);
    api.set(HPA, hpa);
    let text = told(&api.serve().await, &["users"]).await;
    has(
        &text,
        "users has 4 replicas and keeps them: the HPA reads no metric, for it cannot tell which pods are its own \
         (AmbiguousSelector: pods by selector app=users are controlled by multiple HPAs: [shop/other shop/users])",
    );
    assert!(api.asked().iter().all(|path| !path.starts_with(CPU)));
}

#[tokio::test]
async fn a_target_switched_off_is_told_so_and_nobody_wonders_why_it_is_silent() {
    let api = cluster();
    let mut off = explained(&[347]);
    off["facts"]["specReplicas"] = 0.into();
    off["facts"]["outcome"] = json!({"desiredReplicas": 0, "way": "disabled", "conditions": []});
    api.set(EXPLANATION, off);
    let text = told(&api.serve().await, &["users"]).await;
    has(
        &text,
        "users has 0 replicas, which switches autoscaling off until somebody scales it to 1 or more",
    );
    assert!(!text.contains("has seen no sync"), "{text}");
}

#[tokio::test]
async fn an_api_server_that_is_away_is_an_error() {
    let file = {
        // Nobody listens at the address any more.
        let api = Prepared::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let file = api.serve().await;
        let text = std::fs::read_to_string(file.path()).unwrap();
        let mut config: Value = serde_json::from_str(&text).unwrap();
        config["clusters"][0]["cluster"]["server"] = format!("http://{address}").into();
        std::fs::write(file.path(), config.to_string()).unwrap();
        file
    };
    let error = refused(&file, &["users"]).await;
    assert!(error.starts_with("error: "), "{error}");
}

#[tokio::test]
async fn a_watch_speaks_when_the_reason_is_another() {
    let api = cluster();
    api.set(EXPLANATION, explained(&[347]));
    let kubeconfig = api.serve().await;
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command
        .args([
            "explain",
            "users",
            "--watch",
            "--every=1s",
            "-o",
            "json",
            "--kubeconfig",
        ])
        .arg(kubeconfig.path());
    let mut child = command
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = async || -> Value {
        let line = tokio::time::timeout(SOON, lines.next_line())
            .await
            .expect("a line");
        serde_json::from_str(&line.unwrap().unwrap()).unwrap()
    };
    assert_eq!(next().await["facts"]["outcome"]["desiredReplicas"], 6);
    // The same reason in other numbers says nothing; stabilization is another.
    api.set(EXPLANATION, explained(&[348]));
    let looks = || {
        api.asked()
            .iter()
            .filter(|path| path.starts_with(EXPLANATION))
            .count()
    };
    let before = looks();
    while looks() < before + 2 {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    api.set(EXPLANATION, explained(&[347, 250, 100]));
    let held = next().await;
    assert_eq!(
        held["facts"]["outcome"]["stabilized"]["reason"],
        "ScaleDownStabilized"
    );
}
