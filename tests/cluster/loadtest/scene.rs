//! A service under load with an HPA that reads the adapter, in a namespace of its own, and somebody who watches it.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::{HeaderValue, Uri};
use kube::Client;
use serde_json::{Value, json};
use taffrail_loadtest::arrivals::{Arrivals, Spacing};
use taffrail_loadtest::clock;
use taffrail_loadtest::discovery;
use taffrail_loadtest::engine::{Config, Engine};
use taffrail_loadtest::judge::verdict::{Verdict, judge_all};
use taffrail_loadtest::measured::Measured;
use taffrail_loadtest::observe::{Live, Observed, Observer};
use taffrail_loadtest::recording::{About, Generator, Recording, SCHEMA_VERSION};
use taffrail_loadtest::scenario::{self, ObjectName, Observe, Scenario, Span};
use tokio_util::sync::CancellationToken;

use super::{MANIFESTS, MAX_GAP, SOON};
use crate::adapter;
use crate::harness::{Cluster, sample, until};
use crate::service;

/// Enough for a new pod to get its first requests.
pub(super) const LONGER: Duration = Duration::from_secs(3);

/// A service in a namespace of its own: the app, and where it is wanted its RequestMetrics and HPA.
pub(super) struct Scene<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: String,
}

impl<'a> Scene<'a> {
    /// One ready pod of `web`, which answers far more requests than any load here has.
    pub(super) async fn start(cluster: &'a Cluster, purpose: &str) -> anyhow::Result<Self> {
        let namespace = cluster.namespace(purpose).await?;
        let scene = Self { cluster, namespace };
        let args = ["--workers=8", "--service-time=20ms", "--cpu-share=0.02"];
        scene.apply(&sample::deployment("web", 1, &args)).await?;
        scene.apply(&sample::service("web")).await?;
        service::ready(cluster, &scene.namespace, "web", 1).await?;
        Ok(scene)
    }

    /// The same with an adapter that serves its metrics, and an HPA of this spec on them.
    pub(super) async fn with_hpa(
        cluster: &'a Cluster,
        purpose: &str,
        spec: &Value,
    ) -> anyhow::Result<Self> {
        adapter::installed(cluster).await?;
        let scene = Self::start(cluster, purpose).await?;
        let mut object = service::object("web");
        object["spec"]["window"] = "5s".into();
        scene.apply(&object).await?;
        let mut hpa = json!({
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "web"},
            "spec": spec,
        });
        hpa["spec"]["scaleTargetRef"] =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web"});
        // Once there is something to read, the first thing that the HPA sees is no failure.
        until("the rate to be served", SOON, async || {
            let read = adapter::read(cluster, &scene.namespace, "request_rate", "service=web");
            read.await?.map_err(anyhow::Error::msg)
        })
        .await?;
        scene.apply(&hpa).await?;
        Ok(scene)
    }

    pub(super) async fn apply(&self, object: &Value) -> anyhow::Result<()> {
        let kubectl = self.cluster.kubectl();
        kubectl.apply(&self.namespace, &object.to_string()).await?;
        Ok(())
    }

    pub(super) async fn scale(&self, replicas: u32) -> anyhow::Result<()> {
        let replicas = format!("--replicas={replicas}");
        let namespace = format!("--namespace={}", self.namespace);
        let scale = ["scale", "deployment/web", &replicas, &namespace];
        self.cluster.kubectl().run(scale).await?;
        Ok(())
    }

    pub(super) fn scenario(&self) -> anyhow::Result<Scenario> {
        let target: scenario::Target = serde_json::from_value(json!({
            "url": format!("http://web.{}.svc/", self.namespace),
            "discovery": "endpoints",
            "connections": {
                "perEndpoint": 8, "maxAge": null, "maxAgeJitter": 0.0, "maxRequests": 0,
                "onEndpointAdd": "rebalance", "preconnect": 1,
            },
            "http": {"version": "1.1", "timeout": "5s", "expect": []},
        }))?;
        let observe = Observe {
            hpa: ObjectName {
                namespace: self.namespace.clone(),
                name: "web".to_owned(),
            },
            metric_interval: Span::from_secs(1),
            max_gap: MAX_GAP,
        };
        let service = scenario::Service {
            target: Some(target),
            observe: Some(observe),
            ..scenario::Service::default()
        };
        let mut scenario = Scenario::default();
        scenario.services.insert("web".to_owned(), service);
        scenario.preconditions.quiet = Span::from_secs(1);
        scenario.preconditions.timeout = Span::from(SOON);
        Ok(scenario)
    }

    /// Watches and sends `profile` until `is_seen` says that all was seen, and a little longer, for what follows from it.
    pub(super) async fn run(
        &self,
        client: &Client,
        profile: &str,
        mut is_seen: impl FnMut(&Live) -> bool,
    ) -> anyhow::Result<(Observed, Measured)> {
        let scenario = self.scenario()?;
        let observer = Observer::start(client, &scenario).await?;
        observer.preconditions(&scenario, |_| ()).await?;
        let target = scenario.services["web"].target.as_ref();
        let backends = discovery::start(target.context("no target")?, Some(client)).await?;
        ensure!(backends.how == "endpoints", "{backends:?}");
        let config = Config::new(HeaderValue::from_static("web"), Uri::from_static("/"));
        let arrivals = Arrivals::new(&profile.parse()?, Spacing::Poisson(1));
        let zero = clock::instant();
        let cancel = CancellationToken::new();
        let load = Engine::new(config).run(arrivals, backends.addresses.clone(), cancel.clone());
        let seen = async {
            let seen = until("what the cluster should do", SOON, async || {
                let live = observer.live();
                let live = live.get("web").context("not observed")?;
                ensure!(is_seen(live), "{live:?}");
                Ok(())
            })
            .await;
            tokio::time::sleep(LONGER).await;
            cancel.cancel();
            seen
        };
        let (measured, seen) = tokio::join!(load, seen);
        let observed = observer.finish(zero);
        seen.with_context(|| format!("{:?}", observed.services))?;
        Ok((observed, measured))
    }
}

/// What the checks say of what was seen of `web`. There are no stages, since what is said of replicas does not depend on
/// whether a busy machine sent every request in time.
pub(super) fn judged(
    observed: Observed,
    load: Measured,
    checks: &Value,
) -> anyhow::Result<Verdict> {
    let mut services = observed.services;
    let elapsed = load.elapsed;
    services.get_mut("web").context("not observed")?.load = load;
    let recording = Recording {
        schema_version: SCHEMA_VERSION,
        about: About {
            duration_s: elapsed.as_secs_f64(),
            ..About::default()
        },
        scenario: Scenario {
            assertions: serde_json::from_value(checks.clone())?,
            ..Scenario::default()
        },
        stages: Vec::new(),
        services,
        generator: Generator::default(),
        events: observed.events,
    };
    Ok(judge_all(&recording, None))
}

/// A rate of five a second for each pod, and no policy but the API's own. The window is short so that tests are.
pub(super) fn by_rate(max_replicas: u32, behavior: &Value) -> Value {
    json!({
        "minReplicas": 1,
        "maxReplicas": max_replicas,
        "behavior": behavior,
        "metrics": [{"type": "External", "external": {
            "metric": {"name": "request_rate", "selector": {"matchLabels": {"service": "web"}}},
            "target": {"type": "AverageValue", "averageValue": "5"},
        }}],
    })
}

/// Somebody who may do in the scene's namespace what the manifests allow, and nothing else.
pub(super) async fn checker(scene: &Scene<'_>) -> anyhow::Result<Client> {
    let rbac = std::fs::read_to_string(format!("{MANIFESTS}/rbac.yaml"))?;
    let mut documents = rbac.split("\n---\n");
    let role = documents.find(|document| document.contains("kind: Role\n"));
    let role = role.context("the manifests have no Role")?;
    scene
        .cluster
        .kubectl()
        .apply(&scene.namespace, role)
        .await?;
    let user = format!("checker-of-{}", scene.namespace);
    let subject = json!({"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user});
    bind(scene, &subject).await?;
    scene.cluster.client_as(&user, None).await
}

/// Gives the Role `taffrail-loadtest` to somebody.
pub(super) async fn bind(scene: &Scene<'_>, subject: &Value) -> anyhow::Result<()> {
    let binding = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": {"name": "checker"},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "taffrail-loadtest"},
        "subjects": [subject],
    });
    scene.apply(&binding).await
}
