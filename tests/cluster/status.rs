//! What a person sees of an object, from the real API server: the columns, the conditions, the events; and how seldom
//! they are written.

use std::time::Duration;

use anyhow::{Context, ensure};
use futures_util::{StreamExt, TryStreamExt};
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use taffrail::cluster::crd::RequestMetrics;
use taffrail_loadtest::profile::Profile;

use crate::harness::{Cluster, Load, Table, sample, table, until};
use crate::{adapter, service};

/// Enough for processes to start, to be read twice and for a window to fill on a slow machine.
const SOON: Duration = Duration::from_secs(60);

/// How long writes are counted: two of the periods in which numbers may be written.
const COUNTED: Duration = Duration::from_secs(30);

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
    adapter::installed(cluster).await?;
    let right = service::object("web").to_string();
    let mut wrong = service::object("web");
    wrong["metadata"]["name"] = "wrong".into();
    wrong["spec"]["source"]["pods"]["histogram"] = "no_such_seconds".into();
    let wrong = wrong.to_string();
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

    let writes = writes(&objects, COUNTED).await?;
    // Two for each object's numbers, and a state that settles after the start.
    assert!(writes <= 8, "{writes} writes of two objects in {COUNTED:?}");
    assert_eq!(told("web", "Ready").await?, 1);
    load.stop().await?;
    Ok(())
}

/// Counts the writes of the namespace's objects for a while.
async fn writes(objects: &Api<RequestMetrics>, time: Duration) -> anyhow::Result<usize> {
    let version = objects.list(&ListParams::default()).await?.metadata;
    let version = version.resource_version.context("no version")?;
    let mut changes = objects
        .watch(&WatchParams::default(), &version)
        .await?
        .boxed();
    let mut writes = 0;
    let count = async {
        while let Some(change) = changes.try_next().await? {
            writes += usize::from(matches!(change, WatchEvent::Modified(_)));
        }
        anyhow::bail!("the watch ended")
    };
    match tokio::time::timeout(time, count).await {
        Ok(ended) => ended,
        Err(_) => Ok(writes),
    }
}
