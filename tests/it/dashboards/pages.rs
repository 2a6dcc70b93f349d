//! Pages that Prometheus scrapes beside the real adapter and the real apps: kube-state-metrics' series by their exact names
//! and labels, the control plane's, and what the adapter says only in a cluster, from its own registry.
//!
//! The story on them: the HPA `users` swings between 4 and 5 replicas, and `exports` is at its maximum and over its target.
//! In a fault the values that come from the adapter are lost, as the HPA controller would have it; the adapter's second
//! replica is not ready, its delegate does not answer, and the APIService leads elsewhere.

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use taffrail::clock;
use taffrail::metrics::{Autoscaler, CONTENT_TYPE, Metrics};
use tokio::sync::watch;

use crate::fixtures::rogue::{Rogue, answer, page};

/// The namespace of everything here.
pub(super) const NAMESPACE: &str = "shop";

/// The HPA whose board is looked at.
pub(super) const HPA: &str = "users";

/// After so many scrapes `users` wants another number of replicas.
const SWING: usize = 3;

/// Every series of kube-state-metrics that boards and rules may use: its documentation lists them (version 2.15).
pub(super) const KUBE_STATE_METRICS: [&str; 13] = [
    "kube_deployment_status_replicas_ready",
    "kube_horizontalpodautoscaler_info",
    "kube_horizontalpodautoscaler_metadata_generation",
    "kube_horizontalpodautoscaler_spec_behavior_scale_down_tolerance",
    "kube_horizontalpodautoscaler_spec_behavior_scale_up_tolerance",
    "kube_horizontalpodautoscaler_spec_max_replicas",
    "kube_horizontalpodautoscaler_spec_min_replicas",
    "kube_horizontalpodautoscaler_spec_target_metric",
    "kube_horizontalpodautoscaler_status_condition",
    "kube_horizontalpodautoscaler_status_current_replicas",
    "kube_horizontalpodautoscaler_status_desired_replicas",
    "kube_horizontalpodautoscaler_status_target_metric",
    "kube_statefulset_status_replicas_ready",
];

/// Every series of the control plane that they may use (Kubernetes 1.27 and later).
pub(super) const CONTROL_PLANE: [&str; 6] = [
    "aggregator_unavailable_apiservice",
    "aggregator_unavailable_apiservice_total",
    "horizontal_pod_autoscaler_controller_metric_computation_duration_seconds",
    "horizontal_pod_autoscaler_controller_metric_computation_total",
    "horizontal_pod_autoscaler_controller_reconciliation_duration_seconds",
    "horizontal_pod_autoscaler_controller_reconciliations_total",
];

/// What is wrong, as the cluster's own components see it.
#[derive(Clone, Default)]
pub(super) struct Fault {
    /// External metrics cannot be read.
    pub(super) values: Arc<AtomicBool>,
    /// The adapter does not answer.
    pub(super) adapter: Arc<AtomicBool>,
}

/// One HPA, as kube-state-metrics has it.
struct Hpa {
    name: &'static str,
    kind: &'static str,
    min: usize,
    max: usize,
    current: usize,
    desired: usize,
    /// Name, type, target and value.
    metrics: Vec<(&'static str, &'static str, f64, f64)>,
}

/// kube-state-metrics.
pub(super) async fn kube_state_metrics(fault: Fault) -> Rogue {
    Rogue::answering(move |_, nth| page(hpas_page(nth, &fault))).await
}

fn hpas(nth: usize) -> [Hpa; 2] {
    [
        Hpa {
            name: HPA,
            kind: "Deployment",
            min: 2,
            max: 10,
            current: 4,
            desired: 4 + nth / SWING % 2,
            metrics: vec![
                ("cpu", "utilization", 70.0, 46.0),
                ("redis_backlog", "average", 1.0, 0.75),
                ("request_latency_ms", "value", 250.0, 280.0),
            ],
        },
        Hpa {
            name: "exports",
            kind: "StatefulSet",
            min: 1,
            max: 3,
            current: 3,
            desired: 3,
            metrics: vec![("redis_backlog", "average", 1.0, 1.4)],
        },
    ]
}

fn hpas_page(nth: usize, fault: &Fault) -> String {
    let is_lost = fault.values.load(Ordering::Relaxed);
    let mut page = String::new();
    for hpa in hpas(nth) {
        let (name, kind) = (hpa.name, hpa.kind);
        let of = format!(r#"namespace="{NAMESPACE}",horizontalpodautoscaler="{name}""#);
        let mut gauge = |series: &str, labels: &str, value: f64| {
            let of_hpa = format!("kube_horizontalpodautoscaler_{series}{{{of}{labels}}} {value}");
            page.push_str(&of_hpa);
            page.push('\n');
        };
        let target = format!(
            r#",scaletargetref_api_version="apps/v1",scaletargetref_kind="{kind}",scaletargetref_name="{name}""#
        );
        gauge("info", &target, 1.0);
        gauge("metadata_generation", "", 3.0);
        gauge("spec_min_replicas", "", hpa.min as f64);
        gauge("spec_max_replicas", "", hpa.max as f64);
        gauge("status_current_replicas", "", hpa.current as f64);
        gauge("status_desired_replicas", "", hpa.desired as f64);
        for (metric, kind, target, value) in hpa.metrics {
            let labels = format!(r#",metric_name="{metric}",metric_target_type="{kind}""#);
            gauge("spec_target_metric", &labels, target);
            if metric == "cpu" || !is_lost {
                gauge("status_target_metric", &labels, value);
            }
        }
        let is_at_max = hpa.desired == hpa.max;
        for (condition, holds) in [
            ("AbleToScale", true),
            ("ScalingActive", !is_lost),
            ("ScalingLimited", is_at_max),
        ] {
            for (status, is_it) in [("true", holds), ("false", !holds), ("unknown", false)] {
                let labels = format!(r#",condition="{condition}",status="{status}""#);
                gauge("status_condition", &labels, f64::from(u8::from(is_it)));
            }
        }
        let (series, label) = match kind {
            "Deployment" => ("kube_deployment_status_replicas_ready", "deployment"),
            _ => ("kube_statefulset_status_replicas_ready", "statefulset"),
        };
        let ready = hpa.current;
        writeln!(
            page,
            r#"{series}{{namespace="{NAMESPACE}",{label}="{name}"}} {ready}"#
        )
        .unwrap();
    }
    page
}

/// kube-controller-manager's HPA controller: a sync of each HPA at each scrape.
pub(super) async fn controller_manager(fault: Fault) -> Rogue {
    let controller = "horizontal_pod_autoscaler_controller";
    Rogue::answering(move |_, nth| {
        let is_lost = fault.values.load(Ordering::Relaxed);
        let mut text = String::new();
        // What failed stays counted when it no longer does, and the other way round: here each is told by its own scrapes.
        for (action, error, n) in [
            ("none", "none", nth),
            ("scale_up", "none", nth / SWING),
            ("scale_down", "none", nth / SWING),
            ("none", "internal", if is_lost { nth } else { 0 }),
        ] {
            let labels = format!(r#"action="{action}",error="{error}""#);
            let of_metric = format!(r#"{labels},metric_type="External""#);
            writeln!(text, "{controller}_reconciliations_total{{{labels}}} {n}").unwrap();
            writeln!(
                text,
                "{controller}_metric_computation_total{{{of_metric}}} {n}"
            )
            .unwrap();
            text += &histogram(
                &format!("{controller}_reconciliation_duration_seconds"),
                &labels,
                n,
            );
            let name = format!("{controller}_metric_computation_duration_seconds");
            text += &histogram(&name, &of_metric, n);
        }
        page(text)
    })
    .await
}

/// A histogram of `n` observations near 20 ms.
fn histogram(name: &str, labels: &str, n: usize) -> String {
    let mut text = String::new();
    for (bound, below) in [("0.01", 0), ("0.1", n), ("1", n), ("+Inf", n)] {
        writeln!(text, r#"{name}_bucket{{{labels},le="{bound}"}} {below}"#).unwrap();
    }
    let sum = n as f64 * 0.02;
    writeln!(
        text,
        "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {n}"
    )
    .unwrap();
    text
}

/// kube-apiserver's aggregator.
pub(super) async fn api_server(fault: Fault) -> Rogue {
    Rogue::answering(move |_, nth| {
        let is_gone = fault.adapter.load(Ordering::Relaxed);
        let mut text = String::new();
        for name in [
            "v1beta1.external.metrics.k8s.io",
            "v1alpha1.explain.taffrail.dev",
            "v1.",
        ] {
            let is_ours = name != "v1.";
            let unavailable = u8::from(is_gone && is_ours);
            writeln!(
                text,
                r#"aggregator_unavailable_apiservice{{name="{name}"}} {unavailable}"#
            )
            .unwrap();
        }
        // The aggregator counts from the first time on.
        if is_gone {
            let labels = r#"name="v1beta1.external.metrics.k8s.io",reason="FailedDiscoveryCheck""#;
            writeln!(
                text,
                "aggregator_unavailable_apiservice_total{{{labels}}} {nth}"
            )
            .unwrap();
        }
        page(text)
    })
    .await
}

/// A second replica of the adapter, in a cluster: its registry is real, what is counted in it is told here at each scrape.
pub(super) async fn adapter_in_cluster(fault: Fault) -> Rogue {
    let (_publish, snapshots) = watch::channel(Arc::default());
    let metrics = Arc::new(Metrics::new(snapshots));
    metrics.guarded();
    metrics.ask_leadership("taffrail".to_owned(), || true);
    let is_lost = Arc::clone(&fault.values);
    metrics.ask_readiness(move || {
        let has_values = !is_lost.load(Ordering::Relaxed);
        vec![("snapshot", has_values), ("windows", true)]
    });
    metrics.ask_autoscalers(|| {
        let reads = |name: &str, metrics: &[(&'static str, &str)]| Autoscaler {
            namespace: NAMESPACE.into(),
            name: name.into(),
            last_sync: Some(clock::now()),
            metrics: metrics
                .iter()
                .map(|(metric, of)| (*metric, (*of).to_owned()))
                .collect(),
        };
        let users = [
            ("request_latency_ms", "users"),
            ("redis_backlog", "exports"),
        ];
        vec![
            reads(HPA, &users),
            reads("exports", &[("redis_backlog", "exports")]),
        ]
    });
    let metrics_of = Arc::clone(&metrics);
    Rogue::answering(move |_, _| {
        tell(&metrics_of, fault.values.load(Ordering::Relaxed));
        let media_type = format!("Content-Type: {CONTENT_TYPE}\r\n");
        answer("200 OK", &media_type, metrics_of.text())
    })
    .await
}

/// An app whose page has one line that nobody can read, and is sound otherwise.
pub(super) async fn broken_app() -> Rogue {
    Rogue::answering(|_, nth| {
        let sound = histogram("request_seconds", r#"route="/""#, nth);
        let broken = r#"request_seconds_bucket{route="/report",le="0.1"} many"#;
        page(format!(
            "# TYPE request_seconds histogram\n{sound}{broken}\n"
        ))
    })
    .await
}

fn tell(metrics: &Metrics, is_lost: bool) {
    let took = Duration::from_millis(3);
    let read = |resource, code, took| {
        let group = ("external.metrics.k8s.io", "v1beta1");
        metrics.request(group, resource, "LIST", code, took, None);
    };
    if is_lost {
        let timeout = Duration::from_millis(1500);
        // So many that after few scrapes they are a tenth of all.
        for _ in 0..5 {
            metrics.delegated("timeout", Some(timeout));
            read("delegated", 503, timeout);
            metrics.delegated("left_alone", None);
            read("delegated", 503, took);
        }
        read("request_rate", 503, took);
    } else {
        metrics.delegated("ok", Some(took));
        read("delegated", 200, took);
    }
    metrics.apiservice_is_ours("v1beta1.external.metrics.k8s.io", !is_lost);
    metrics.access_reviewed("allowed", Some("201"), took);
    metrics.token_reviewed(Some("201"), took);
    metrics.unauthenticated("token_not_reviewed");
    metrics.watch_restarted("pods");
    metrics.watch_synced("pods", true);
    metrics.discovered(2, 0, 2);
    metrics.autoscalers_held(2);
    metrics.status_written("written");
    metrics.shadow_decided("agreed", 1);
    metrics.shadow_changed_by_others(1);
    metrics.shadow_dropped("reads", 1);
    metrics.shadow_held(240, 70_000);
}
