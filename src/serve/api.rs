//! Starts the API: certificate, listener, accept loop.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::api::auth::Guard;
use crate::api::delegate::{Delegate, DelegateArgs, DelegateEvent};
use crate::api::explain::Explains;
use crate::api::server::{ConnectionLimits, require_loopback, serve as serve_api};
use crate::api::tls::ServingCert;
use crate::api::{AppState, Extras, GroupVersion, OwnMetrics, RequestEvent, Resource, router};
use crate::clock;
use crate::engine::snapshot::Snapshot;
use crate::metrics::{CONTENT_TYPE, Metrics};

use super::POLL;

/// Where the API listens and what certificate it shows.
#[derive(clap::Args, Clone, Debug)]
pub struct ApiArgs {
    /// Address of the API, HTTPS
    #[arg(
        long,
        env = "TAFFRAIL_LISTEN",
        default_value = "127.0.0.1:6443",
        value_name = "ADDRESS",
        value_parser = address
    )]
    listen: SocketAddr,

    /// Certificate chain, PEM; read again when it changes. Without it: in a cluster one that the replicas make, share and
    /// renew by themselves; with --config a self-signed one, made at each start
    #[arg(
        long,
        env = "TAFFRAIL_TLS_CERT_FILE",
        value_name = "FILE",
        requires = "tls_key_file"
    )]
    tls_cert_file: Option<PathBuf>,

    /// The certificate's private key, PEM
    #[arg(
        long,
        env = "TAFFRAIL_TLS_KEY_FILE",
        value_name = "FILE",
        requires = "tls_cert_file"
    )]
    tls_key_file: Option<PathBuf>,

    /// With --config: a further name of the self-signed certificate, such as taffrail.monitoring.svc; several with commas
    #[arg(
        long,
        env = "TAFFRAIL_TLS_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "tls_cert_file"
    )]
    tls_name: Vec<String>,

    /// With --config: where the authority of the self-signed certificate is written, PEM, for clients to trust
    #[arg(
        long,
        env = "TAFFRAIL_TLS_CA_OUT",
        value_name = "FILE",
        conflicts_with = "tls_cert_file"
    )]
    tls_ca_out: Option<PathBuf>,

    /// Serve custom.metrics.k8s.io as well, for Pods and Object metrics of an HPA. A cluster has one adapter of that
    /// group, so not beside another one, such as prometheus-adapter
    #[arg(long, env = "TAFFRAIL_CUSTOM_METRICS")]
    custom_metrics: bool,

    #[command(flatten, next_help_heading = "Beside another adapter")]
    delegate: DelegateArgs,
}

/// Who may reach the API, and over which certificate.
pub enum Front {
    /// Whoever is on this machine: nobody is authenticated, so it listens on loopback only.
    Machine,
    /// Whom the cluster lets in.
    Cluster {
        /// Knows who asks, and whether they may.
        guard: Arc<Guard>,
        /// The certificate that replicas share; absent where files hold one.
        certificate: Option<Arc<ServingCert>>,
        /// Watches HPAs; absent where nobody does.
        explains: Option<Arc<dyn Explains>>,
    },
}

impl Front {
    fn explains(&self) -> bool {
        matches!(
            self,
            Self::Cluster {
                explains: Some(_),
                ..
            }
        )
    }
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Machine => "Machine",
            Self::Cluster { .. } => "Cluster",
        })
    }
}

/// A running API.
#[derive(Debug)]
pub struct RunningApi {
    /// Where it listens.
    pub address: SocketAddr,
    /// The authority to trust, when the certificate is self-signed.
    pub ca_pem: Option<String>,
    /// Ends when the last connection has.
    pub done: JoinHandle<()>,
    pub(super) state: Arc<AppState>,
}

impl ApiArgs {
    /// Whether the certificate comes from files.
    pub(super) fn has_certificate(&self) -> bool {
        self.tls_cert_file.is_some()
    }

    /// What is served, with or without explanations.
    pub(super) fn served(&self, explanations: bool) -> &'static [GroupVersion] {
        GroupVersion::served(Extras {
            custom_metrics: self.custom_metrics,
            explanations,
        })
    }

    /// A self-signed API on a free loopback port.
    pub fn self_signed_on_any_port() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_cert_file: None,
            tls_key_file: None,
            tls_name: Vec::new(),
            tls_ca_out: None,
            custom_metrics: false,
            delegate: DelegateArgs::default(),
        }
    }
}

/// Starts the API: certificate, listener, accept loop.
///
/// # Errors
/// When the certificate cannot be used, or the address is not free, or is one that others can reach.
pub async fn start_api(
    args: ApiArgs,
    front: Front,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<RunningApi> {
    let certificate = certificate(&args, &front).await?;
    let served = args.served(front.explains());
    let ApiArgs {
        listen,
        tls_ca_out,
        delegate,
        ..
    } = args;
    let ca_pem = certificate.ca_pem().map(ToOwned::to_owned);
    let listener = TcpListener::bind(listen)
        .await
        .with_context(|| format!("listening on --listen {listen}"))?;
    let address = listener.local_addr().context("the address of --listen")?;
    // Only now: an adapter that finds its address taken must not replace the authority of the one that took it.
    if let (Some(path), Some(pem)) = (&tls_ca_out, &ca_pem) {
        write_whole(path, pem)
            .with_context(|| format!("writing --tls-ca-out {}", path.display()))?;
    }
    let observer = Arc::clone(&metrics);
    let own = Arc::clone(&metrics);
    let state = AppState::new(snapshots)
        .serving(served)
        .telling(OwnMetrics {
            content_type: CONTENT_TYPE,
            page: Box::new(move |reads_in_flight| {
                own.reads_in_flight(reads_in_flight);
                own.text()
            }),
        })
        .observed_by(Arc::new(move |event: RequestEvent| {
            observe(&observer, event);
        }));
    let state = match open_delegate(delegate, &metrics)? {
        Some(delegate) => state.delegating_to(delegate),
        None => state,
    };
    let state = match front {
        Front::Machine => state,
        Front::Cluster {
            guard, explains, ..
        } => {
            let state = state.guarded_by(guard);
            match explains {
                Some(explains) => state.explained_by(explains),
                None => state,
            }
        }
    };
    let state = Arc::new(state);
    let (tls, app) = (certificate.server_config(), router(Arc::clone(&state)));
    tokio::spawn(follow_certificate(
        Arc::clone(&certificate),
        metrics,
        stop.clone(),
    ));
    let done = tokio::spawn(async move {
        let drained = serve_api(
            listener,
            tls,
            app,
            ConnectionLimits::default(),
            Arc::default(),
            stop.cancelled_owned(),
        )
        .await;
        if 0 < drained.cut {
            warn!(
                connections = drained.cut,
                "Connections were cut at the end of the drain"
            );
        }
    });
    Ok(RunningApi {
        address,
        ca_pem,
        done,
        state,
    })
}

/// The certificate of the files that are named, else the one that replicas share, else one made now.
async fn certificate(args: &ApiArgs, front: &Front) -> anyhow::Result<Arc<ServingCert>> {
    if let Front::Machine = front {
        require_loopback(args.listen).context("--listen")?;
    } else if !args.tls_name.is_empty() || args.tls_ca_out.is_some() {
        anyhow::bail!(
            "--tls-name and --tls-ca-out are for a run without a cluster, where the certificate is made at each start; \
             in a cluster the certificate is for --service-name, and its authority is in the APIService"
        );
    }
    let certificate = match (&args.tls_cert_file, &args.tls_key_file, front) {
        (Some(cert), Some(key), _) => ServingCert::from_files(cert, key)
            .await
            .context("--tls-cert-file and --tls-key-file")?,
        (
            _,
            _,
            Front::Cluster {
                certificate: Some(shared),
                ..
            },
        ) => return Ok(Arc::clone(shared)),
        _ => ServingCert::self_signed(&args.tls_name, clock::now()).context("--tls-name")?,
    };
    Ok(Arc::new(certificate))
}

/// The other adapter behind the API, if there is one.
fn open_delegate(
    args: DelegateArgs,
    metrics: &Arc<Metrics>,
) -> anyhow::Result<Option<Arc<Delegate>>> {
    let Some(spec) = args.resolve() else {
        return Ok(None);
    };
    let metrics = Arc::clone(metrics);
    let delegate = Delegate::open(spec)?.observed_by(Arc::new(move |event: DelegateEvent| {
        metrics.delegated(event.result, event.took);
    }));
    Ok(Some(Arc::new(delegate)))
}

/// Writes a file that readers see whole or not at all.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

fn observe(metrics: &Metrics, event: RequestEvent) {
    let RequestEvent {
        group,
        resource,
        verb,
        code,
        took,
        age,
    } = event;
    let resource = resource.map_or("", Resource::name);
    let group = (group.group(), group.version());
    metrics.request(group, resource, verb, code, took, age);
}

/// Keeps the certificate fresh, and its end in the metrics.
async fn follow_certificate(
    certificate: Arc<ServingCert>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) {
    let tell = async {
        loop {
            metrics.certificate(certificate.not_after());
            tokio::time::sleep(POLL).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = certificate.follow(POLL, |is_sound| metrics.certificate_reloaded(is_sound)) => {}
        () = tell => {}
    }
}

/// An address and a port. An IPv6 address may stand without brackets, since a pod's own is written `$(POD_IP):10250`.
pub(super) fn address(text: &str) -> Result<SocketAddr, String> {
    let bare_ipv6 = || {
        let (ip, port) = text.rsplit_once(':')?;
        Some(SocketAddr::new(ip.parse().ok()?, port.parse().ok()?))
    };
    text.parse().ok().or_else(bare_ipv6).ok_or_else(|| {
        "must be an IP address and a port, such as 0.0.0.0:10250 or [::]:10250".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pods_own_address_needs_no_brackets() {
        for (text, is) in [
            ("10.0.0.7:10250", "10.0.0.7:10250"),
            ("[fd00::7]:10250", "[fd00::7]:10250"),
            ("fd00::7:10250", "[fd00::7]:10250"),
            ("[::]:0", "[::]:0"),
        ] {
            assert_eq!(address(text), Ok(is.parse().unwrap()), "{text}");
        }
        for text in [
            "",
            "localhost:1",
            "10.0.0.7",
            "10.0.0.7:99999",
            "$(POD_IP):1",
        ] {
            assert!(address(text).unwrap_err().contains("such as"), "{text}");
        }
    }
}
