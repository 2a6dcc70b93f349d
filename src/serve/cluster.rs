//! What a cluster gives the adapter: what is wanted, who may ask, the certificate, and where status is written.

use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::api::GroupVersion;
use crate::api::auth::{AuthEvent, Guard};
use crate::clock;
use crate::cluster::api_service::Follower;
use crate::cluster::certificate::{Place, SelfManaged};
use crate::cluster::connect::{Cluster, connect};
use crate::cluster::discover::{self, Findings};
use crate::cluster::lease::Candidate;
use crate::cluster::status;
use crate::config::Service;
use crate::engine::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::source::reach::{Bounds, Pattern, Reach};
use crate::source::secret::SecretStore;

use super::api::Front;
use super::{Ground, Others, named};

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

    /// Let targets be at loopback addresses: for a cluster whose pods are processes of one machine
    #[arg(long, env = "TAFFRAIL_ALLOW_LOOPBACK")]
    allow_loopback: bool,
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
    /// Ends the tasks.
    pub(super) stop: CancellationToken,
}

/// Connects to the cluster, and begins among `others` what keeps in step with it.
///
/// # Errors
/// When there is no cluster, or its credentials cannot be used.
pub(super) async fn begin(
    args: ClusterArgs,
    offer: Offer,
    wires: Wires,
    others: &mut Others,
) -> anyhow::Result<Ground> {
    let Wires {
        desired,
        snapshots,
        metrics,
        stop,
    } = wires;
    let Cluster {
        client,
        namespace,
        api_server,
    } = connect(args.kubeconfig.as_deref()).await?;
    let namespace = args.namespace.unwrap_or(namespace);
    info!(%namespace, service = args.service_name, "Connected to the cluster");

    let observer = Arc::clone(&metrics);
    let guard = Arc::new(Guard::new(
        client.clone(),
        Arc::new(move |event| match event {
            AuthEvent::Unauthenticated { reason } => observer.unauthenticated(reason),
            AuthEvent::Reviewed { result } => observer.reviewed(result),
        }),
    ));
    let follow = Arc::clone(&guard);
    others.spawn(named("following the cluster's authorities", async move {
        follow.follow().await;
    }));

    let certificate = if offer.has_certificate {
        for one in offer.served {
            let follower = Follower::new(
                client.clone(),
                *one,
                &namespace,
                &args.service_name,
                Arc::clone(&metrics),
            );
            others.spawn(named("following an APIService", follower.follow()));
        }
        None
    } else {
        let place = Place {
            namespace: namespace.clone(),
            service: args.service_name,
            cluster_domain: args.cluster_domain,
            secret: args.certificate_secret,
        };
        let mut managed = SelfManaged::new(&client, place, offer.served, Arc::clone(&metrics));
        let certificate = Arc::new(managed.start().await);
        let keep = managed.run(Arc::clone(&certificate), stop.clone());
        others.spawn(named("keeping the certificate", keep));
        Some(certificate)
    };

    let secrets = SecretStore::default();
    let (findings, found) = watch::channel(Arc::new(Findings::default()));
    let wiring = discover::Wiring {
        client: client.clone(),
        secrets: secrets.clone(),
        services: desired,
        findings,
        metrics: Arc::clone(&metrics),
        names_pods: offer.served.contains(&GroupVersion::CustomV1Beta2),
    };
    let discovering = discover::run(wiring, stop.clone());
    others.spawn(named("discovery", discovering));

    let replica = args.replica.unwrap_or_else(nameless_replica);
    let (candidate, leadership) =
        Candidate::new(client.clone(), &namespace, args.lease, replica.clone());
    others.spawn(named("the election", candidate.run(stop.clone())));
    let telling = status::Wiring {
        findings: found,
        snapshots,
        leadership,
        metrics,
        instance: replica,
    };
    others.spawn(named("writing status", status::run(client, telling, stop)));

    Ok(Ground {
        front: Front::Cluster { guard, certificate },
        secrets,
        reach: Reach::within(Bounds {
            allows_loopback: args.allow_loopback,
            api_server,
            redis: args.allow_redis,
        }),
    })
}

/// A name that no other replica has: outside of a pod there is none to go by.
fn nameless_replica() -> String {
    format!("process-{}-{}", std::process::id(), clock::now().ms())
}
