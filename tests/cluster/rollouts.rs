//! Two services that scale by themselves, `users` and `shifts`, through everything that a deployment does: a new version, a
//! bad one, its undoing, more load on one of the two, and less. The values and the replicas are watched all along: a dip
//! or a rate that nobody has would be in them.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::ensure;
use k8s_openapi::api::apps::v1::Deployment;
use kube::Client;
use kube::api::Api;
use serde_json::{Value, json};
use taffrail::clock;
use taffrail_loadtest::measured::{Counts, ErrorClass};
use tokio::task::JoinHandle;

use crate::adapter;
use crate::harness::{Cluster, Table, table, until};
use crate::service::{self, SOON, WINDOW};

/// Requests a second to each service, evenly spaced: whatever the rate does beyond a few per cent, it does by itself.
const RATE: f64 = 30.0;

/// How far the rate may be off while pods come and go. What must not be seen is far beyond: a pod's share is a third, and
/// a busy machine delays a scrape by some hundred milliseconds of a window of ten seconds.
const OFF: f64 = 0.15;

/// The right number of replicas for [`RATE`], and how many requests a second the HPA gives to one. Three are right from
/// 22 to 33 requests, so a dip or a ghost beyond would move them; and three are neither the least nor the most.
const REPLICAS: i32 = 3;
const PER_REPLICA: u32 = 11;

/// The most the latency may be: what the HPA scales at.
const LATENCY_MS_MAX: f64 = 250.0;

/// Quicker than the sample is, so that the rate alone decides the replicas. The HPA rounds up: a latency at seven eighths
/// of its target holds four replicas at four, and three at three.
const ARGS: [&str; 4] = [
    "--listen=$(POD_IP):8080",
    "--workers=4",
    "--service-time=20ms",
    "--cpu-share=0.05",
];

/// Between two looks: two in each of the adapter's intervals.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// By then whoever sends the requests knows where to: seconds, of which the test waits more before it changes anything.
const SETTLED_S: usize = 10;

const SERVICES: [&str; 2] = ["users", "shifts"];

pub(crate) fn tests() -> Table {
    table!("rollouts";
        versions_good_and_bad_and_load_on_one_move_only_what_they_should,
    )
}

/// What was seen of a service at one moment.
#[derive(Clone, Debug)]
struct Seen {
    at: Instant,
    service: &'static str,
    rate: Result<f64, String>,
    latency: Result<f64, String>,
    /// The replicas wanted of the Deployment.
    replicas: Option<i32>,
}

impl Seen {
    async fn now(client: &Client, namespace: &str, service: &'static str) -> anyhow::Result<Self> {
        let read = async |metric: &str, more: &str| {
            let selector = format!("service={service}{more}");
            let read = adapter::read_as(client, namespace, metric, &selector).await?;
            anyhow::Ok(read.map_err(|refused| refused.message))
        };
        let deployments = Api::<Deployment>::namespaced(client.clone(), namespace);
        let spec = deployments.get(service).await?.spec;
        Ok(Self {
            at: clock::instant(),
            service,
            rate: read("request_rate", "").await?,
            latency: read("request_latency_ms", ",quantile=0.95").await?,
            replicas: spec.replicas,
        })
    }

    fn is_rate_right(&self) -> bool {
        let off = |rate: &f64| (rate / RATE - 1.0).abs();
        self.rate.as_ref().is_ok_and(|rate| off(rate) <= OFF)
    }

    fn is_steady(&self) -> bool {
        let is_fast = |ms: &f64| 0.0 < *ms && *ms <= LATENCY_MS_MAX;
        self.is_rate_right()
            && self.latency.as_ref().is_ok_and(is_fast)
            && self.replicas == Some(REPLICAS)
    }
}

/// Looks at both services until it is dropped.
struct Recorder {
    seen: Arc<Mutex<Vec<Seen>>>,
    looking: JoinHandle<anyhow::Result<()>>,
}

impl Recorder {
    fn start(client: Client, namespace: &str) -> Self {
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let (into, namespace) = (Arc::clone(&seen), namespace.to_owned());
        let looking = tokio::spawn(async move {
            loop {
                for service in SERVICES {
                    let now = Seen::now(&client, &namespace, service).await?;
                    into.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(now);
                }
                tokio::time::sleep(LOOK_EVERY).await;
            }
        });
        Self { seen, looking }
    }

    /// What was seen since a moment, which was enough to judge by.
    fn since(&self, began: Instant) -> anyhow::Result<Vec<Seen>> {
        ensure!(!self.looking.is_finished(), "the recording has ended");
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let since: Vec<Seen> = seen
            .iter()
            .filter(|seen| began <= seen.at)
            .cloned()
            .collect();
        // A machine too busy for half of the looks still judges; one that hardly looked does not.
        let expected = began.elapsed().as_secs_f64() / LOOK_EVERY.as_secs_f64();
        ensure!(expected / 4.0 < since.len() as f64, "{} looks", since.len());
        Ok(since)
    }

    /// That a service did not move since a moment.
    fn steady(&self, what: &str, began: Instant, services: &[&str]) -> anyhow::Result<()> {
        for seen in self.since(began)? {
            let at = seen.at - began;
            let is_meant = services.contains(&seen.service);
            ensure!(
                !is_meant || seen.is_steady(),
                "{what}, {at:.1?} in: {seen:?}"
            );
        }
        Ok(())
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.looking.abort();
    }
}

/// The namespace with both samples, whose windows are short and whose HPAs know the right number of replicas.
async fn samples(cluster: &Cluster) -> anyhow::Result<String> {
    let namespace = cluster.namespace("shop").await?;
    let in_namespace = format!("--namespace={namespace}");
    let kubectl = cluster.kubectl();
    let short = json!({"spec": {"window": "10s", "interval": "1s"}}).to_string();
    let base = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/deploy/samples/users-and-shifts/base"
    );
    kubectl.run(["apply", "-k", base, &in_namespace]).await?;
    for name in SERVICES {
        let (app, quick) = (
            format!("deployment/{name}"),
            container(name, &json!({"args": ARGS})),
        );
        let patch = ["patch", &app, "--patch", &quick, &in_namespace];
        kubectl.run(patch).await?;
        let object = format!("rm/{name}");
        let patch = [
            "patch",
            &object,
            "--type=merge",
            "--patch",
            &short,
            &in_namespace,
        ];
        kubectl.run(patch).await?;
        let rate = json!([
            {"op": "replace", "path": "/spec/minReplicas", "value": 2},
            {"op": "add", "path": "/spec/metrics/-", "value": {
                "type": "External",
                "external": {
                    "metric": {"name": "request_rate", "selector": {"matchLabels": {"service": name}}},
                    "target": {"type": "AverageValue", "averageValue": PER_REPLICA.to_string()},
                },
            }},
        ]);
        let (hpa, rate) = (format!("hpa/{name}"), rate.to_string());
        let patch = [
            "patch",
            &hpa,
            "--type=json",
            "--patch",
            &rate,
            &in_namespace,
        ];
        kubectl.run(patch).await?;
    }
    for name in SERVICES {
        service::ready(cluster, &namespace, name, 2).await?;
    }
    Ok(namespace)
}

/// Another version of the sample app, ready so long after its start.
fn version(name: &str, tag: &str, startup_delay: &str) -> String {
    let changes = json!({
        "image": format!("taffrail-sample-app:{tag}"),
        "env": [{"name": "APP_STARTUP_DELAY", "value": startup_delay}],
    });
    container(name, &changes)
}

/// What changes the container of this name.
fn container(name: &str, changes: &Value) -> String {
    let mut container = changes.clone();
    container["name"] = name.into();
    json!({"spec": {"template": {"spec": {"containers": [container]}}}}).to_string()
}

async fn versions_good_and_bad_and_load_on_one_move_only_what_they_should(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = samples(cluster).await?;
    let in_namespace = format!("--namespace={namespace}");
    let kubectl = cluster.kubectl();
    let deployment = async |command: &[&str]| {
        kubectl
            .run(command.iter().chain([&in_namespace.as_str()]))
            .await
    };
    let users = service::steady(cluster, &namespace, "users", RATE)?;
    let shifts = service::steady(cluster, &namespace, "shifts", RATE)?;
    for name in SERVICES {
        until("the right number of replicas", 2 * SOON, async || {
            let seen = Seen::now(&cluster.admin(), &namespace, name).await?;
            ensure!(seen.is_steady(), "{seen:?}");
            Ok(())
        })
        .await?;
        service::ready(cluster, &namespace, name, REPLICAS).await?;
    }
    let recorder = Recorder::start(cluster.admin(), &namespace);
    let rolled_out = ["rollout", "status", "deployment/users", "--timeout=60s"];

    let began = clock::instant();
    let good = version("users", "v1.1", "3s");
    deployment(&["patch", "deployment/users", "--patch", &good]).await?;
    deployment(&rolled_out).await?;
    tokio::time::sleep(WINDOW).await;
    recorder.steady("v1.1", began, &SERVICES)?;

    let began = clock::instant();
    let bad = version("users", "v1.2", "1h");
    deployment(&["patch", "deployment/users", "--patch", &bad]).await?;
    until("a pod of v1.2 that is not ready", SOON, async || {
        let status = service::deployment(cluster, &namespace, "users")
            .await?
            .status;
        let status = status.unwrap_or_default();
        let seen = (status.updated_replicas, status.unavailable_replicas);
        ensure!(seen == (Some(1), Some(1)), "{seen:?}");
        Ok(())
    })
    .await?;
    tokio::time::sleep(WINDOW).await;
    let starting = [
        "get",
        "rm/users",
        "--output=jsonpath={.status.targets.starting}",
    ];
    until("the pod to be told of", SOON, async || {
        let told = deployment(&starting).await?;
        ensure!(told == "1", "{told} starting");
        Ok(())
    })
    .await?;
    deployment(&["rollout", "undo", "deployment/users"]).await?;
    deployment(&rolled_out).await?;
    tokio::time::sleep(WINDOW).await;
    recorder.steady("v1.2 and back", began, &SERVICES)?;

    let began = clock::instant();
    // A tenth more than twice the rate: twice would be within the tolerance of five replicas, if the HPA passes by them.
    let more = service::steady(cluster, &namespace, "users", 1.1 * RATE)?;
    service::ready(cluster, &namespace, "users", 2 * REPLICAS).await?;
    recorder.steady("more load on users", began, &["shifts"])?;
    more.stop().await?;
    until("the right number of replicas", SOON, async || {
        let seen = Seen::now(&cluster.admin(), &namespace, "users").await?;
        ensure!(seen.is_steady(), "{seen:?}");
        Ok(())
    })
    .await?;
    // The pods that go have had half of the requests of the window before: gone too early they leave a dip, too late a
    // ghost.
    let scaled_in = clock::instant();
    service::ready(cluster, &namespace, "users", REPLICAS).await?;
    tokio::time::sleep(WINDOW + WINDOW / 2).await;
    recorder.steady("scaled in", scaled_in, &["users"])?;
    recorder.steady("users scaled out and in", began, &["shifts"])?;

    // And nobody who asked has noticed a version, nor a pod that went. A machine that stood still may have made somebody
    // wait for too long, which is no pod's doing.
    for (name, load) in [("users", users), ("shifts", shifts)] {
        let measured = load.stop().await?;
        let settled = measured.slots.iter().skip(SETTLED_S);
        let failed = |counts: &Counts| counts.errors() - counts.errors_of(ErrorClass::Timeout);
        let failed: u64 = settled.map(|slot| failed(&slot.counts)).sum();
        let counts = &measured.counts;
        ensure!(
            0 < counts.ok && failed == 0,
            "{name}: {failed} of {counts:?}"
        );
    }
    Ok(())
}
