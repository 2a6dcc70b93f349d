//! What a person sees of an object, from the real API server: the columns, the conditions, the events; and how seldom
//! they are written.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams};
use serde_json::{Value, json};
use taffrail::cluster::crd::{self, RequestMetrics};
use taffrail::cluster::lease::Candidate;
use taffrail::cluster::{discover, status};
use taffrail::metrics::Metrics;
use taffrail::pipeline;
use taffrail::source::reach::Reach;
use taffrail::source::secret::SecretStore;
use taffrail_loadtest::profile::Profile;
use tokio::sync::watch;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::{Cluster, Load, Table, sample, table, until};

/// Enough for processes to start, to be read twice and for a window to fill on a slow machine.
const SOON: Duration = Duration::from_secs(60);

/// How long writes are counted: two of the periods in which numbers may be written.
const COUNTED: Duration = Duration::from_secs(30);

/// Who writes.
const USER: &str = "status-writer";

pub(crate) fn tests() -> Table {
    table!("status";
        an_object_shows_its_values_or_what_is_wrong_and_is_written_seldom,
    )
}

async fn an_object_shows_its_values_or_what_is_wrong_and_is_written_seldom(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("status").await?;
    let kubectl = cluster.kubectl();
    let app = sample::deployment("web", 2, &[]).to_string();
    kubectl.apply(&namespace, &app).await?;
    let service = sample::service("web").to_string();
    kubectl.apply(&namespace, &service).await?;
    let (metrics, _stop) = adapter(cluster, &namespace).await?;
    let wrong = object("wrong", "no_such_seconds").to_string();
    let right = object("web", "http_request_duration_seconds").to_string();
    kubectl.apply(&namespace, &right).await?;
    kubectl.apply(&namespace, &wrong).await?;
    let profile = Profile::constant(20.0, Duration::from_secs(300))?;
    let load = Load::start(cluster.admin(), &namespace, "web", &profile)?;

    let in_namespace = format!("--namespace={namespace}");
    until("the columns", SOON, async || {
        let get = [
            "get",
            "requestmetrics",
            "web",
            "--no-headers",
            &in_namespace,
        ];
        let row = kubectl.run(get).await?;
        let columns: Vec<&str> = row.split_whitespace().collect();
        let [name, latency, objective, rate, targets, state, _age] = columns[..] else {
            anyhow::bail!("{row}");
        };
        ensure!(
            (name, objective, targets, state) == ("web", "250ms", "2/2", "ok"),
            "{row}"
        );
        let ms: f64 = latency.strip_suffix("ms").context("no unit")?.parse()?;
        ensure!(0.0 < ms && ms < 10_000.0, "{row}");
        let rate: f64 = rate.parse()?;
        ensure!((16.0..24.0).contains(&rate), "{row}");
        Ok(())
    })
    .await?;

    let objects = Api::<RequestMetrics>::namespaced(cluster.admin(), &namespace);
    until("what is wrong", SOON, async || {
        let status = objects.get("wrong").await?.status.context("no status")?;
        let is = |question: &str, answer: &str, reason: &str| {
            status.conditions.iter().any(|condition| {
                (&*condition.type_, &*condition.status, &*condition.reason)
                    == (question, answer, reason)
            })
        };
        ensure!(
            is("HistogramFound", "False", "HistogramNotFound"),
            "{status:?}"
        );
        ensure!(is("SourcesReachable", "True", "AllAnswer"), "{status:?}");
        ensure!(is("Ready", "False", "HistogramNotFound"), "{status:?}");
        Ok(())
    })
    .await?;
    let events = Api::<Event>::namespaced(cluster.admin(), &namespace);
    let told = async |of: &str, reason: &str| {
        let events = events.list(&ListParams::default()).await?;
        let is_of = |event: &&Event| {
            let regarding = event.regarding.as_ref();
            regarding.and_then(|object| object.name.as_deref()) == Some(of)
                && event.reason.as_deref() == Some(reason)
                && event.reporting_controller.as_deref() == Some("taffrail")
        };
        anyhow::Ok(events.items.iter().filter(is_of).count())
    };
    for (of, reason) in [("web", "Ready"), ("wrong", "HistogramNotFound")] {
        until("an event", SOON, async || {
            ensure!(told(of, reason).await? == 1, "{reason} of {of} is not told");
            Ok(())
        })
        .await?;
    }

    let before = written(&metrics)?;
    tokio::time::sleep(COUNTED).await;
    let writes = written(&metrics)? - before;
    // Two for each object's numbers, and a state that settles after the start.
    assert!(writes <= 8, "{writes} writes of two objects in {COUNTED:?}");
    assert_eq!(told("web", "Ready").await?, 1);
    let text = metrics.text();
    for result in ["failed", "refused"] {
        let series = format!("taffrail_status_writes_total{{result=\"{result}\"}}");
        assert!(!text.contains(&series), "{text}");
    }
    load.stop().await?;
    Ok(())
}

/// A right object but for its histogram, if that is not there.
fn object(name: &str, histogram: &str) -> Value {
    json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "RequestMetrics",
        "metadata": {"name": name},
        "spec": {
            "source": {"pods": {
                "selector": {"matchLabels": {"app": "web"}},
                "port": "http",
                "histogram": histogram,
            }},
            "interval": "1s",
            "window": "10s",
            "objective": {"quantile": 0.95, "latency": "250ms"},
        },
    })
}

/// Everything between the objects and their status. What writes may do nothing else.
async fn adapter(cluster: &Cluster, namespace: &str) -> anyhow::Result<(Arc<Metrics>, DropGuard)> {
    let kubectl = cluster.kubectl();
    kubectl.apply("default", &crd::yaml()?).await?;
    let name = "crd/requestmetrics.taffrail.dev";
    kubectl
        .run(["wait", "--for=condition=Established", name])
        .await?;
    kubectl
        .apply(namespace, &rights(namespace).to_string())
        .await?;
    let stop = CancellationToken::new();
    let (send_services, desired) = watch::channel(Arc::default());
    let (send_findings, findings) = watch::channel(Arc::default());
    let (send_snapshots, snapshots) = watch::channel(Arc::default());
    let metrics = Arc::new(Metrics::new(snapshots.clone()));
    let secrets = SecretStore::default();
    let discovery = discover::Wiring {
        client: cluster.admin(),
        secrets: secrets.clone(),
        services: send_services,
        findings: send_findings,
        metrics: Arc::clone(&metrics),
    };
    tokio::spawn(discover::run(discovery, stop.clone()));
    let wiring = pipeline::Wiring {
        desired,
        snapshots: send_snapshots,
        metrics: Arc::clone(&metrics),
        secrets,
        reach: Reach::anywhere(),
    };
    tokio::spawn(pipeline::run(wiring, stop.clone()));
    let (candidate, leadership) = Candidate::new(cluster.admin(), namespace, "taffrail", USER);
    tokio::spawn(candidate.run(stop.clone()));
    let wiring = status::Wiring {
        findings,
        snapshots,
        leadership,
        metrics: Arc::clone(&metrics),
        instance: USER.to_owned(),
    };
    let client = cluster.client_as(USER, None).await?;
    tokio::spawn(status::run(client, wiring, stop.clone()));
    Ok((metrics, stop.drop_guard()))
}

/// The Lease, and the rights of whoever writes statuses and events.
fn rights(namespace: &str) -> Value {
    let name = format!("taffrail-status-{namespace}");
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "coordination.k8s.io/v1",
            "kind": "Lease",
            "metadata": {"name": "taffrail"},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": name},
            "rules": [
                {"apiGroups": ["taffrail.dev"], "resources": ["requestmetrics"], "verbs": ["list"]},
                {"apiGroups": ["taffrail.dev"], "resources": ["requestmetrics/status"], "verbs": ["patch"]},
                {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create", "patch"]},
            ],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": name},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}],
        },
    ]})
}

/// Statuses written so far.
fn written(metrics: &Metrics) -> anyhow::Result<u64> {
    let text = metrics.text();
    let mut lines = text.lines();
    let count = lines
        .find_map(|line| line.strip_prefix("taffrail_status_writes_total{result=\"written\"} "));
    Ok(count.context("nothing was written")?.parse()?)
}
