//! What the program says of itself, on its second port, as promtool and Prometheus read it.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use taffrail::clock;
use taffrail::engine::snapshot::{BacklogView, Coverage, ServiceView, Snapshot, State};
use taffrail::metrics::{Autoscaler, Metrics};
use taffrail::model::id::ServiceId;
use taffrail::model::time::Timestamp;
use tokio::sync::watch;

use super::{address, document, is_rate_of, read_of, steady_target};
use crate::fixtures::adapter::{Adapter, eventually};
use crate::fixtures::prometheus_server::{PrometheusServer, Series};

/// The page as the older text format has it, which is all that promtool reads: there a counter's family has the name
/// of its series, an info is a gauge, and the end has no mark.
fn as_plain_text(openmetrics: &str) -> String {
    let infos_and_counters: Vec<(&str, &str)> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .filter_map(|(name, kind)| match kind {
            "counter" => Some((name, "_total")),
            "info" => Some((name, "_info")),
            _ => None,
        })
        .collect();
    let line = |line: &str| {
        let mut words: Vec<String> = line.splitn(4, ' ').map(str::to_owned).collect();
        if line.starts_with("# ") && words.len() == 4 {
            let suffix = infos_and_counters
                .iter()
                .find(|(name, _)| *name == words[2])
                .map_or("", |(_, suffix)| suffix);
            words[2].push_str(suffix);
            if words[1] == "TYPE" && words[3] == "info" {
                "gauge".clone_into(&mut words[3]);
            }
        }
        words.join(" ")
    };
    openmetrics
        .lines()
        .filter(|line| *line != "# EOF" && !line.starts_with("# UNIT"))
        .map(|text| line(text) + "\n")
        .collect()
}

/// What promtool has to say against a page.
fn promtool(page: &str) -> String {
    let mut process = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| {
            panic!(
                "cannot start promtool ({error}): run tests/run, which installs what the tests need"
            )
        });
    process
        .stdin
        .take()
        .unwrap()
        .write_all(page.as_bytes())
        .unwrap();
    let output = process.wait_with_output().unwrap();
    String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
}

#[tokio::test]
async fn every_promised_series_is_there_and_promtool_finds_no_fault() {
    let (target, down) = (steady_target().await, "127.0.0.1:1".to_owned());
    let documents = document("users", &[address(&target)]) + &document("invoices", &[down]);
    let adapter = Adapter::serving(&documents).await;
    let rate = read_of("request_rate", "service=users");
    adapter.wait_for_value(&rate, is_rate_of(1)).await;
    adapter.get("/namespaces/shop/no_such_metric").await;
    let refused =
        r#"taffrail_read_errors_total{namespace="shop",service="invoices",reason="refused"}"#;
    adapter.wait_for_own(refused, 1.0).await;

    let page = adapter.get_plain("/metrics").await.body;
    let api = r#"group="external.metrics.k8s.io",version="v1beta1""#;
    for series in [
        &format!(
            r#"apiserver_request_total{{{api},resource="request_rate",verb="LIST",code="200"}}"#
        ),
        &format!(r#"apiserver_request_total{{{api},resource="",verb="LIST",code="404"}}"#),
        r#"apiserver_request_duration_seconds_bucket{le="0.001",resource="request_rate",verb="LIST"}"#,
        r#"apiserver_current_inflight_requests{request_kind="readOnly"} 0"#,
        r#"metrics_apiserver_metric_freshness_seconds_bucket{le="1.0",group="external.metrics.k8s.io"}"#,
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_virtual_memory_bytes ",
        "process_open_fds ",
        "process_max_fds ",
        "process_start_time_seconds ",
        refused,
        r#"taffrail_build_info{version="#,
        r#"taffrail_config_reloads_total{result="success"} 1"#,
        r#"taffrail_config_reloads_total{result="failure"} 0"#,
        "taffrail_config_last_reload_successful 1",
        "taffrail_config_last_reload_success_timestamp_seconds ",
        "taffrail_certificate_not_after_timestamp_seconds ",
        r#"taffrail_read_duration_seconds_count{namespace="shop",service="users"}"#,
        r#"taffrail_series_total{outcome="accepted"}"#,
        r#"taffrail_request_rate{namespace="shop",service="users"}"#,
        r#"taffrail_request_latency_seconds{namespace="shop",service="users"} 0.437"#,
        r#"taffrail_objective_latency_seconds{namespace="shop",service="users"} 0.25"#,
        r#"taffrail_metric_age_seconds{namespace="shop",service="users"}"#,
        r#"taffrail_service_state{namespace="shop",service="users",state="ok"} 1"#,
        r#"taffrail_objective_quantile{namespace="shop",service="users"} 0.95"#,
        r#"taffrail_metric_value{namespace="shop",service="users",metric="request_concurrency"}"#,
        r#"taffrail_metric_value{namespace="shop",service="users",metric="request_latency_ms"} 437"#,
        r#"taffrail_metric_value{namespace="shop",service="users",metric="request_rate"}"#,
        r#"taffrail_metric_value{namespace="shop",service="users",metric="slow_request_ratio"}"#,
        r#"taffrail_request_latency_quantile_seconds{namespace="shop",service="users",q="0.5"} 0.083"#,
        r#"taffrail_request_latency_quantile_seconds{namespace="shop",service="users",q="0.95"} 0.437"#,
        r#"kubernetes_healthcheck{name="snapshot",type="readyz"} 1"#,
        r#"kubernetes_healthcheck{name="shutdown",type="readyz"} 1"#,
        r#"taffrail_targets{namespace="shop",service="users",standing="known"} 1"#,
        r#"taffrail_targets{namespace="shop",service="users",standing="not_ready"} 0"#,
        r#"taffrail_targets{namespace="shop",service="users",standing="leaving"} 0"#,
        r#"taffrail_cold_targets{namespace="shop",service="users"} 0"#,
    ] {
        assert!(
            page.lines().any(|line| line.starts_with(series)),
            "no {series} in\n{page}"
        );
    }
    // The API has the same page: without a cluster both are for this machine alone.
    let behind_tls = adapter.get("/metrics").await;
    assert_eq!(behind_tls.code, 200, "{behind_tls:?}");
    assert!(behind_tls.body.contains("taffrail_build_info"));
    // What nobody knows has no value, nor has what is not read, and what only a cluster has.
    for absent in [
        r#"taffrail_request_rate{namespace="shop",service="invoices"}"#,
        r#"taffrail_metric_value{namespace="shop",service="invoices""#,
        r#"taffrail_request_latency_quantile_seconds{namespace="shop",service="invoices""#,
        r#"metric="redis_backlog""#,
        "leader_election_master_status",
        "taffrail_autoscaler",
        "taffrail_objects_wrong{",
        "taffrail_authorization_reviews_total{",
    ] {
        assert!(!page.contains(absent), "{absent} in\n{page}");
    }
    let objections = promtool(&as_plain_text(&page));
    assert_eq!(objections, "", "\n{page}");
}

#[test]
fn what_only_a_cluster_or_a_delegate_brings_is_counted_without_fault() {
    let (_publish, snapshots) = watch::channel(Arc::default());
    let metrics = Metrics::new(snapshots);
    metrics.unauthenticated("token_not_reviewed");
    metrics.guarded();
    metrics.access_reviewed("denied", Some("201"), Duration::from_millis(3));
    metrics.token_reviewed(None, Duration::from_millis(800));
    metrics.ask_leadership("taffrail".to_owned(), || true);
    metrics.ask_autoscalers(|| {
        vec![Autoscaler {
            namespace: "shop".into(),
            name: "web".into(),
            last_sync: Some(Timestamp::from_ms(1_700_000_000_500)),
            metrics: vec![
                ("request_latency_ms", "users".to_owned()),
                ("request_rate", String::new()),
            ],
        }]
    });
    metrics.delegated("ok", Some(Duration::from_millis(2)));
    metrics.delegated("left_alone", None);
    metrics.certificate_reloaded(true);
    metrics.apiservice_is_ours("v1beta1.external.metrics.k8s.io", true);
    metrics.watch_restarted("pods");
    metrics.watch_synced("pods", true);
    metrics.discovered(2, 1, 30);
    metrics.status_written("written");
    metrics.shadow_decided("parted", 2);
    metrics.shadow_changed_by_others(1);
    metrics.shadow_dropped("reads", 3);
    metrics.shadow_held(240, 70_000);
    metrics.autoscalers_held(1);

    let page = metrics.text();
    for series in [
        r#"taffrail_authentication_failures_total{reason="token_not_reviewed"} 1"#,
        r#"taffrail_authorization_reviews_total{result="denied"} 1"#,
        r#"taffrail_authorization_reviews_total{result="failed"} 0"#,
        r#"apiserver_delegated_authz_request_duration_seconds_count{code="201"} 1"#,
        r#"apiserver_delegated_authn_request_duration_seconds_count{code="<error>"} 1"#,
        r#"leader_election_master_status{name="taffrail"} 1"#,
        r#"taffrail_autoscaler_metric_info{namespace="shop",horizontalpodautoscaler="web",metric="request_latency_ms",service="users"} 1"#,
        r#"taffrail_autoscaler_metric_info{namespace="shop",horizontalpodautoscaler="web",metric="request_rate",service=""} 1"#,
        r#"taffrail_autoscaler_last_sync_timestamp_seconds{namespace="shop",horizontalpodautoscaler="web"} 1700000000.5"#,
        r#"taffrail_delegate_requests_total{result="ok"} 1"#,
        r#"taffrail_delegate_requests_total{result="left_alone"} 1"#,
        "taffrail_delegate_request_duration_seconds_count 1",
        r#"taffrail_certificate_reloads_total{result="success"} 1"#,
        r#"taffrail_apiservice_ours{apiservice="v1beta1.external.metrics.k8s.io"} 1"#,
        r#"taffrail_watch_restarts_total{resource="pods"} 1"#,
        r#"taffrail_watch_synced{resource="pods"} 1"#,
        r#"taffrail_objects_held{resource="requestmetrics"} 2"#,
        r#"taffrail_objects_held{resource="pods"} 30"#,
        r#"taffrail_objects_wrong{resource="requestmetrics"} 1"#,
        r#"taffrail_status_writes_total{result="written"} 1"#,
        r#"taffrail_shadow_decisions_total{outcome="parted"} 2"#,
        "taffrail_shadow_changes_by_others_total 1",
        r#"taffrail_shadow_dropped_total{what="reads"} 3"#,
        "taffrail_shadow_syncs 240",
        "taffrail_shadow_bytes 70000",
        r#"taffrail_objects_held{resource="horizontalpodautoscalers"} 1"#,
    ] {
        assert!(
            page.lines().any(|line| line == series),
            "no {series} in\n{page}"
        );
    }
    // A certificate that was not read yet does not expire in 1970.
    assert!(!page.contains("taffrail_certificate_not_after_timestamp_seconds"));
    let objections = promtool(&as_plain_text(&page));
    assert_eq!(objections, "", "\n{page}");
}

#[test]
fn backlogs_are_told_one_by_one_and_as_the_sum_an_hpa_adds_up() {
    let backlog = |key: &str, items| BacklogView {
        key: key.into(),
        items: Ok(items),
    };
    let view = ServiceView {
        id: ServiceId::new("shop", "jobs"),
        objective: None,
        at: clock::now(),
        state: State::Ok,
        coverage: Coverage::default(),
        windows: Vec::new(),
        in_flight: None,
        backlogs: vec![backlog("mail", 3.0), backlog("print", 4.0)],
        pods: Vec::new(),
    };
    let snapshot = Snapshot::new(clock::now(), vec![view]);
    let (_publish, snapshots) = watch::channel(Arc::new(snapshot));
    let page = Metrics::new(snapshots).text();
    for series in [
        r#"taffrail_backlog_items{namespace="shop",service="jobs",key="mail"} 3.0"#,
        r#"taffrail_backlog_items{namespace="shop",service="jobs",key="print"} 4.0"#,
        r#"taffrail_metric_value{namespace="shop",service="jobs",metric="redis_backlog"} 7.0"#,
        r#"taffrail_metric_age_seconds{namespace="shop",service="jobs"} 0"#,
    ] {
        assert!(
            page.lines().any(|line| line.starts_with(series)),
            "no {series} in\n{page}"
        );
    }
}

#[tokio::test]
async fn a_real_prometheus_reads_them() {
    let target = steady_target().await;
    let adapter = Adapter::serving(&document("users", &[address(&target)])).await;
    let second = Duration::from_secs(1);
    let prometheus = PrometheusServer::scraping("taffrail", &[adapter.metrics], second).await;
    adapter
        .wait_for_value(&read_of("request_rate", "service=users"), is_rate_of(1))
        .await;
    let query = async |promql: &str| {
        let series = prometheus.query(promql, clock::now()).await;
        series.first().map(Series::value)
    };
    let mut last = None;
    let seen = eventually(async || {
        let up = query("up").await;
        // The label of the target goes first; ours is kept beside it.
        let rate = query(r#"taffrail_request_rate{exported_service="users"}"#).await;
        let reads = r#"apiserver_request_total{resource="request_rate",code="200"}"#;
        let reads = query(reads).await;
        last = Some((up, rate, reads));
        (up == Some(1.0) && is_rate_of(1)(rate?) && 1.0 <= reads?).then_some(())
    });
    assert!(seen.await.is_some(), "{last:?}");
}

#[tokio::test]
async fn the_series_of_a_removed_service_vanish() {
    let target = steady_target().await;
    let down = "127.0.0.1:1".to_owned();
    let documents = document("users", &[address(&target)]) + &document("invoices", &[down]);
    let adapter = Adapter::serving(&documents).await;
    let errors =
        r#"taffrail_read_errors_total{namespace="shop",service="invoices",reason="refused"}"#;
    adapter.wait_for_own(errors, 1.0).await;

    adapter.configure(&document("users", &[address(&target)]));
    let gone = eventually(async || {
        let page = adapter.get_plain("/metrics").await.body;
        (!page.contains("invoices")).then_some(page)
    });
    assert!(gone.await.expect("no trace of it").contains("users"));
}

#[tokio::test]
async fn custom_metrics_are_served_where_they_are_wanted_and_counted_apart() {
    let target = steady_target().await;
    let documents = document("users", &[address(&target)]);
    let adapter = Adapter::serving_with(&documents, &["--custom-metrics"]).await;
    let rate = read_of("request_rate", "service=users");
    adapter.wait_for_value(&rate, is_rate_of(1)).await;
    let group = "/apis/custom.metrics.k8s.io/v1beta2";
    let of_service = "requestmetrics.taffrail.dev/users/request_rate";
    let path = format!("{group}/namespaces/shop/{of_service}");
    let answer = adapter.get(&path).await;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert!(answer.body.contains(r#""kind":"MetricValueList""#));
    let counted = r#"apiserver_request_total{group="custom.metrics.k8s.io",version="v1beta2",resource="request_rate",verb="GET",code="200"}"#;
    adapter.wait_for_own(counted, 1.0).await;
}
