//! What a cluster gives the adapter: what is wanted, who may ask, the certificate, and where status is written.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tracing::info;

use crate::api::GroupVersion;
use crate::api::auth::{AuthEvent, Guard};
use crate::api::explain::Explains;
use crate::api::tls::ServingCert;
use crate::clock;
use crate::cluster::api_service::Follower;
use crate::cluster::autoscalers;
use crate::cluster::certificate::{Place, SelfManaged};
use crate::cluster::connect::{Cluster, connect};
use crate::cluster::discover::{self, Findings, PodsAsked};
use crate::cluster::lease::Candidate;
use crate::cluster::status;
use crate::config::Service;
use crate::engine::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::source::reach::{Bounds, Pattern, Reach};
use crate::source::secret::SecretStore;

use super::api::Front;
use super::shadow::{NEWS_MAX, QUESTIONS_MAX, Shadow};
use super::{Ground, Tasks};

/// Which cluster, and our place in it. All of it goes without --config.
#[derive(clap::Args, Clone, Debug)]
pub(super) struct ClusterArgs {
    /// Kubeconfig of the cluster; without it the one that this is a pod of
    #[arg(
        long,
        env = "TAFFRAIL_KUBECONFIG",
        value_name = "FILE",
        conflicts_with = "config"
    )]
    kubeconfig: Option<PathBuf>,

    /// Our own namespace; that of the pod or of the kubeconfig's context when not given
    #[arg(long, env = "POD_NAMESPACE", value_name = "NAME")]
    namespace: Option<String>,

    /// What tells this replica from others; made up when not given
    #[arg(long, env = "POD_NAME", value_name = "NAME")]
    replica: Option<String>,

    /// The Service that the APIService leads to, for which the certificate is made
    #[arg(
        long,
        env = "TAFFRAIL_SERVICE_NAME",
        default_value = "taffrail",
        value_name = "NAME"
    )]
    service_name: String,

    /// The domain of the cluster's names
    #[arg(
        long,
        env = "TAFFRAIL_CLUSTER_DOMAIN",
        default_value = "cluster.local",
        value_name = "DOMAIN"
    )]
    cluster_domain: String,

    /// The Secret in which replicas share authority and certificate, when --tls-cert-file names none
    #[arg(
        long,
        env = "TAFFRAIL_CERTIFICATE_SECRET",
        default_value = "taffrail-certificate",
        value_name = "NAME"
    )]
    certificate_secret: String,

    /// The Lease whose holder writes status and events
    #[arg(
        long,
        env = "TAFFRAIL_LEASE",
        default_value = "taffrail",
        value_name = "NAME"
    )]
    lease: String,

    /// Redis servers that RequestMetrics objects may read: redis.shop.svc, *.shop.svc.cluster.local:6379 or 10.0.0.0/8;
    /// several with commas, none when not given
    #[arg(
        long,
        env = "TAFFRAIL_ALLOW_REDIS",
        value_name = "PATTERN",
        value_delimiter = ','
    )]
    allow_redis: Vec<Pattern>,

    /// Do not watch HorizontalPodAutoscalers, and do not serve explain.taffrail.dev, which says why they have the replicas
    /// they have. Delete its APIService first
    #[arg(long, env = "TAFFRAIL_NO_EXPLANATIONS")]
    no_explanations: bool,

    /// Let targets be at loopback addresses: for a cluster whose pods are processes of one machine
    #[arg(long, env = "TAFFRAIL_ALLOW_LOOPBACK")]
    allow_loopback: bool,
}

impl ClusterArgs {
    /// Whether HPAs are watched and explained.
    pub(super) fn explains(&self) -> bool {
        !self.no_explanations
    }
}

/// What the API has without the cluster.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    /// Whether files hold its certificate.
    pub(super) has_certificate: bool,
    /// What it serves.
    pub(super) served: &'static [GroupVersion],
}

/// What the tasks of a cluster are wired to.
pub(super) struct Wires {
    /// Where the services wanted go.
    pub(super) desired: watch::Sender<Arc<Vec<Service>>>,
    /// The newest values, for status.
    pub(super) snapshots: watch::Receiver<Arc<Snapshot>>,
    /// What happened is counted here.
    pub(super) metrics: Arc<Metrics>,
}

/// Connects to the cluster, and begins among `tasks` what keeps in step with it.
///
/// # Errors
/// When there is no cluster, or its credentials cannot be used.
pub(super) async fn begin(
    args: ClusterArgs,
    offer: Offer,
    wires: Wires,
    tasks: &mut Tasks,
) -> anyhow::Result<Ground> {
    let Wires {
        desired,
        snapshots,
        metrics,
    } = wires;
    let mut cluster = connect(args.kubeconfig.as_deref()).await?;
    if let Some(namespace) = args.namespace {
        cluster.namespace = namespace;
    }
    let Cluster {
        client, namespace, ..
    } = &cluster;
    info!(%namespace, service = args.service_name, "Connected to the cluster");

    let guard = begin_guard(&cluster, &metrics, tasks);
    let place = Place {
        namespace: namespace.clone(),
        service: args.service_name,
        cluster_domain: args.cluster_domain,
        secret: args.certificate_secret,
    };
    let certificate = if offer.has_certificate {
        for one in offer.served {
            let follower = Follower::new(
                client.clone(),
                *one,
                &place.namespace,
                &place.service,
                Arc::clone(&metrics),
            );
            tasks.spawn("following an APIService", follower.follow());
        }
        None
    } else {
        Some(begin_certificate(&cluster, place, offer.served, &metrics, tasks).await)
    };

    let replica = args.replica.unwrap_or_else(nameless_replica);
    let (ask_pods, asked) = mpsc::channel(QUESTIONS_MAX);
    let explains = (!args.no_explanations)
        .then(|| begin_shadow(&cluster, &replica, ask_pods, &metrics, tasks));

    let secrets = SecretStore::default();
    let (findings, found) = watch::channel(Arc::new(Findings::default()));
    let wiring = discover::Wiring {
        client: client.clone(),
        secrets: secrets.clone(),
        services: desired,
        findings,
        metrics: Arc::clone(&metrics),
        names_pods: offer.served.contains(&GroupVersion::CustomV1Beta2),
        asked,
    };
    tasks.spawn_with_last_words("discovery", discover::run(wiring, tasks.stop()));

    let (candidate, leadership) = Candidate::new(
        client.clone(),
        namespace,
        args.lease.clone(),
        replica.clone(),
    );
    let leads = leadership.clone();
    metrics.ask_leadership(args.lease, move || leads.is_leader());
    tasks.spawn_with_last_words("the election", candidate.run(tasks.stop()));
    let wiring = status::Wiring {
        findings: found,
        snapshots,
        leadership,
        metrics,
        instance: replica,
    };
    tasks.spawn_with_last_words(
        "writing status",
        status::run(client.clone(), wiring, tasks.stop()),
    );

    Ok(Ground {
        front: Front::Cluster {
            guard,
            certificate,
            explains,
        },
        secrets,
        reach: Reach::within(Bounds {
            allows_loopback: args.allow_loopback,
            api_server: cluster.api_server,
            redis: args.allow_redis,
        }),
    })
}

/// Whoever watches HPAs and says why they have the replicas they have.
fn begin_shadow(
    cluster: &Cluster,
    replica: &str,
    ask_pods: mpsc::Sender<PodsAsked>,
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> Arc<dyn Explains> {
    let (tell, news) = mpsc::channel(NEWS_MAX);
    let (shadow, keeper) = Shadow::new(replica.to_owned(), Arc::clone(metrics), news, ask_pods);
    let wiring = autoscalers::Wiring {
        client: cluster.client.clone(),
        news: tell,
        metrics: Arc::clone(metrics),
    };
    tasks.spawn_with_last_words("watching HPAs", autoscalers::run(wiring, tasks.stop()));
    tasks.spawn("shadowing HPAs", keeper.run());
    shadow
}

/// Whoever knows who asks, kept in step with the cluster's authorities.
fn begin_guard(cluster: &Cluster, metrics: &Arc<Metrics>, tasks: &mut Tasks) -> Arc<Guard> {
    let observer = Arc::clone(metrics);
    let observe = move |event| match event {
        AuthEvent::Unauthenticated { reason } => observer.unauthenticated(reason),
        AuthEvent::TokenReviewed { code, took } => observer.token_reviewed(code, took),
        AuthEvent::AccessReviewed { result, code, took } => {
            observer.access_reviewed(result, code, took);
        }
    };
    metrics.guarded();
    let guard = Arc::new(Guard::new(cluster.client.clone(), Arc::new(observe)));
    let follow = Arc::clone(&guard);
    tasks.spawn("following the cluster's authorities", async move {
        follow.follow().await;
    });
    guard
}

/// The certificate that replicas share, kept fresh.
async fn begin_certificate(
    cluster: &Cluster,
    place: Place,
    served: &'static [GroupVersion],
    metrics: &Arc<Metrics>,
    tasks: &mut Tasks,
) -> Arc<ServingCert> {
    let mut managed = SelfManaged::new(&cluster.client, place, served, Arc::clone(metrics));
    let certificate = Arc::new(managed.start().await);
    let keep = managed.run(Arc::clone(&certificate), tasks.stop());
    tasks.spawn_with_last_words("keeping the certificate", keep);
    certificate
}

/// A name that no other replica has: outside of a pod there is none to go by.
fn nameless_replica() -> String {
    format!("process-{}-{}", std::process::id(), clock::now().ms())
}
