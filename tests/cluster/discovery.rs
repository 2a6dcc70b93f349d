//! Discovery against the real API server: pods come and go in time, nothing is forgotten while the API server is away, and
//! what may not be read costs nobody else.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use taffrail::clock;
use taffrail::cluster::crd;
use taffrail::cluster::discover::{self, Finding, Findings, Wiring};
use taffrail::config::Service;
use taffrail::metrics::Metrics;
use taffrail::model::id::ServiceId;
use taffrail::model::phase::Phase;
use taffrail::source::secret::{SecretKey, SecretStore};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::harness::{Cluster, Table, sample, table, until};

/// Enough for a process to start and be seen by everybody on a slow machine.
const SOON: Duration = Duration::from_secs(30);

/// A refused watch, and a Secret, is asked for again within 35 s.
const AFTER_A_GRANT: Duration = Duration::from_secs(60);

/// What a pod's readiness may take to arrive here: the promise is a second, of which the kubelet's own news is no part.
const NEWS: Duration = Duration::from_secs(1);

/// One list and watch of the API server's own, on a machine with other work.
const AFTER_A_RETURN: Duration = Duration::from_secs(20);

pub(crate) fn tests() -> Table {
    table!("discovery";
        a_pod_is_a_target_within_a_second_of_being_ready_and_until_it_is_gone,
        what_may_not_be_read_costs_itself_and_is_read_once_granted;
        alone:
        nothing_is_forgotten_while_the_api_server_is_away,
    )
}

/// A running discovery.
struct Discovery {
    services: watch::Receiver<Arc<Vec<Service>>>,
    findings: watch::Receiver<Arc<Findings>>,
    secrets: SecretStore,
    metrics: Arc<Metrics>,
    _stop: DropGuard,
}

impl Discovery {
    async fn start(cluster: &Cluster, client: kube::Client) -> anyhow::Result<Self> {
        let kubectl = cluster.kubectl();
        kubectl.apply("default", &crd::yaml()?).await?;
        let name = "crd/requestmetrics.taffrail.dev";
        kubectl
            .run(["wait", "--for=condition=Established", name])
            .await?;
        let (send_services, services) = watch::channel(Arc::default());
        let (send_findings, findings) = watch::channel(Arc::default());
        let secrets = SecretStore::default();
        let metrics = Arc::new(Metrics::new(watch::channel(Arc::default()).1));
        let wiring = Wiring {
            names_pods: false,
            client,
            secrets: secrets.clone(),
            services: send_services,
            findings: send_findings,
            metrics: Arc::clone(&metrics),
            // Nobody asks.
            asked: mpsc::channel(1).1,
        };
        let stop = CancellationToken::new();
        tokio::spawn(discover::run(wiring, stop.clone()));
        Ok(Self {
            services,
            findings,
            secrets,
            metrics,
            _stop: stop.drop_guard(),
        })
    }

    /// The phases of a service's targets, in their order.
    fn phases(&self, id: &ServiceId) -> anyhow::Result<Vec<Phase>> {
        let services = self.services.borrow();
        let service = services.iter().find(|service| service.spec.id == *id);
        let service = service.context("no such service")?;
        let phase = |source: &taffrail::source::SourceSpec| service.phases[source.target()];
        Ok(service.sources.iter().map(phase).collect())
    }

    fn finding(&self, id: &ServiceId) -> anyhow::Result<Finding> {
        let findings = self.findings.borrow();
        findings.objects.get(id).cloned().context("no finding")
    }

    /// Waits for so many ready targets.
    async fn ready(&self, id: &ServiceId, targets: usize, within: Duration) -> anyhow::Result<()> {
        until("ready targets", within, async || {
            let phases = self.phases(id)?;
            let is_ready = |phase: &&Phase| matches!(phase, Phase::Ready { .. });
            let ready = phases.iter().filter(is_ready).count();
            ensure!(ready == targets, "{phases:?}");
            Ok(())
        })
        .await
    }
}

/// An object that selects `app: NAME`.
fn object(name: &str) -> Value {
    json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "RequestMetrics",
        "metadata": {"name": name},
        "spec": {"source": {"pods": {"selector": {"matchLabels": {"app": name}}, "port": "http"}}},
    })
}

async fn a_pod_is_a_target_within_a_second_of_being_ready_and_until_it_is_gone(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("discovery").await?;
    let id = ServiceId::new(&namespace, "web");
    let kubectl = cluster.kubectl();
    let discovery = Discovery::start(cluster, cluster.admin()).await?;
    kubectl
        .apply(&namespace, &object("web").to_string())
        .await?;
    until("the service", SOON, async || discovery.phases(&id)).await?;

    let app = sample::deployment("web", 2, &["--startup-delay=2s"]).to_string();
    kubectl.apply(&namespace, &app).await?;
    // Before they are ready they are known, so that their counters are.
    until("starting targets", SOON, async || {
        let phases = discovery.phases(&id)?;
        ensure!(phases == [Phase::Starting; 2], "{phases:?}");
        Ok(())
    })
    .await?;
    let target = format!("--namespace={namespace}");
    let wait = [
        "wait",
        "--for=condition=Ready",
        "pod",
        "--selector=app=web",
        "--timeout=30s",
    ];
    kubectl
        .run(wait.into_iter().chain([target.as_str()]))
        .await?;
    let told = clock::instant();
    discovery.ready(&id, 2, SOON).await?;
    let late = told.elapsed();
    assert!(late <= NEWS, "{late:?} after kubectl knew");
    let found = discovery.finding(&id)?.pods.context("no pods found")?;
    assert_eq!(
        (found.matched, found.ready, found.revisions.len()),
        (2, 2, 1)
    );

    let scale = ["scale", "deployment/web", "--replicas=1"];
    kubectl
        .run(scale.into_iter().chain([target.as_str()]))
        .await?;
    until("one target", SOON, async || {
        let phases = discovery.phases(&id)?;
        ensure!(matches!(phases[..], [Phase::Ready { .. }]), "{phases:?}");
        Ok(())
    })
    .await?;
    kubectl
        .run(["delete", "requestmetrics/web", target.as_str()])
        .await?;
    until("no service", SOON, async || {
        ensure!(discovery.phases(&id).is_err(), "it is there");
        Ok(())
    })
    .await
}

async fn nothing_is_forgotten_while_the_api_server_is_away(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("away").await?;
    let id = ServiceId::new(&namespace, "web");
    let kubectl = cluster.kubectl();
    let discovery = Discovery::start(cluster, cluster.admin()).await?;
    kubectl
        .apply(&namespace, &object("web").to_string())
        .await?;
    let app = sample::deployment("web", 1, &[]).to_string();
    kubectl.apply(&namespace, &app).await?;
    discovery.ready(&id, 1, SOON).await?;

    // Whatever is published from here on is looked at, not only what is there when the test looks.
    let mut published = discovery.services.clone();
    let watched = id.clone();
    let (gap, gaps) = watch::channel(false);
    let looking = tokio::spawn(async move {
        while published.changed().await.is_ok() {
            let services = Arc::clone(&published.borrow_and_update());
            let service = services.iter().find(|service| service.spec.id == watched);
            if service.is_none_or(|service| service.sources.is_empty()) {
                gap.send_replace(true);
            }
        }
    });
    cluster.stop_api_server().await?;
    until("the loss to be said", SOON, async || {
        let found = discovery.finding(&id)?.pods.context("no pods")?;
        found.problem.context("no problem")
    })
    .await?;
    assert!(metrics_say(
        &discovery,
        "taffrail_watch_synced{resource=\"pods\"} 0"
    ));
    cluster.start_api_server().await?;
    let scale = ["scale", "deployment/web", "--replicas=2"];
    let target = format!("--namespace={namespace}");
    kubectl
        .run(scale.into_iter().chain([target.as_str()]))
        .await?;
    discovery.ready(&id, 2, SOON + AFTER_A_RETURN).await?;
    until("the return to be said", SOON, async || {
        let found = discovery.finding(&id)?.pods.context("no pods")?;
        ensure!(found.problem.is_none(), "{found:?}");
        Ok(())
    })
    .await?;
    assert!(!*gaps.borrow(), "a set without the pod was published");
    looking.abort();
    Ok(())
}

fn metrics_say(discovery: &Discovery, line: &str) -> bool {
    discovery.metrics.text().lines().any(|said| said == line)
}

async fn what_may_not_be_read_costs_itself_and_is_read_once_granted(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let kubectl = cluster.kubectl();
    let (open, dark) = (
        cluster.namespace("open").await?,
        cluster.namespace("dark").await?,
    );
    let objects = ["create", "clusterrole", "objects-only", "--verb=list,watch"];
    kubectl
        .run(
            objects
                .into_iter()
                .chain(["--resource=requestmetrics.taffrail.dev"]),
        )
        .await?;
    let bind = [
        "create",
        "clusterrolebinding",
        "objects-only",
        "--clusterrole=objects-only",
    ];
    kubectl
        .run(bind.into_iter().chain(["--user=finder"]))
        .await?;
    let client = cluster.client_as("finder", None).await?;
    let discovery = Discovery::start(cluster, client).await?;
    let grant = async |namespace: &str, role: &str, rule: &[&str]| {
        let target = format!("--namespace={namespace}");
        let create = ["create", "role", role]
            .into_iter()
            .chain(rule.iter().copied());
        kubectl.run(create.chain([target.as_str()])).await?;
        let chosen = format!("--role={role}");
        let bind = [
            "create",
            "rolebinding",
            role,
            &chosen,
            "--user=finder",
            &target,
        ];
        kubectl.run(bind).await
    };
    let pods = ["--verb=list,watch", "--resource=pods"];
    grant(&open, "taffrail-pods", &pods).await?;
    for namespace in [&open, &dark] {
        let mut object = object("web");
        object["spec"]["source"]["pods"]["bearerToken"] =
            json!({"secretKeyRef": {"name": "web-token", "key": "token"}});
        kubectl.apply(namespace, &object.to_string()).await?;
        let app = sample::deployment("web", 1, &[]).to_string();
        kubectl.apply(namespace, &app).await?;
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "web-token"},
            "stringData": {"token": "&^@$", "other": "hush"},
        });
        kubectl.apply(namespace, &secret.to_string()).await?;
    }
    let (in_open, in_dark) = (ServiceId::new(&open, "web"), ServiceId::new(&dark, "web"));
    discovery.ready(&in_open, 1, AFTER_A_GRANT).await?;
    until("the refusals to be said", AFTER_A_GRANT, async || {
        let finding = discovery.finding(&in_dark)?;
        let problem = finding
            .pods
            .and_then(|pods| pods.problem)
            .context("no problem")?;
        ensure!(
            problem.contains(&format!("kubectl -n {dark} create role")),
            "{problem}"
        );
        let secret = finding.secrets.first().context("the secret is there")?;
        ensure!(secret.contains("--resource-name=web-token"), "{secret}");
        Ok(())
    })
    .await?;

    grant(&dark, "taffrail-pods", &pods).await?;
    let secret = [
        "--verb=get",
        "--resource=secrets",
        "--resource-name=web-token",
    ];
    grant(&dark, "taffrail-web-token", &secret).await?;
    discovery.ready(&in_dark, 1, AFTER_A_GRANT).await?;
    let token = SecretKey {
        namespace: dark.clone(),
        name: "web-token".to_owned(),
        key: "token".to_owned(),
    };
    until("the secret", AFTER_A_GRANT, async || {
        let finding = discovery.finding(&in_dark)?;
        ensure!(finding.secrets.is_empty(), "{:?}", finding.secrets);
        Ok(())
    })
    .await?;
    assert_eq!(discovery.secrets.get(&token)?.expose_secret(), "&^@$");
    let other = SecretKey {
        key: "other".to_owned(),
        ..token
    };
    assert!(
        discovery.secrets.get(&other).is_err(),
        "a key that nobody named is kept"
    );
    Ok(())
}
