//! `taffrail serve`: wiring, start order, readiness, drain.
//!
//! Order matters twice. At the start: configuration and certificate first, since without them nothing useful can run
//! and a person is looking; then the pipeline, then the listeners. At the end the reverse: readiness fails, the API
//! answers what it has, and only then do the sources stop.

use std::io::IsTerminal;
mod own_port;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::api::delegate::{Delegate, DelegateArgs, DelegateEvent};
use crate::api::server::{ConnectionLimits, require_loopback, serve as serve_api};
use crate::api::tls::ServingCert;
use crate::api::{AppState, RequestEvent, router};
use crate::clock;
use crate::config::Service;
use crate::config::reload::{ConfigFile, Reloaded};
use crate::engine::snapshot::{Metric, Snapshot};
use crate::metrics::Metrics;
use crate::pipeline::{self, Wiring};

/// How often the files of configuration and certificate are looked at: soon enough for a person who waits for it, and
/// three small reads cost nothing.
const POLL: Duration = Duration::from_secs(2);

/// What a second signal, from someone who does not want to wait for the drain, ends with.
const EXIT_CUT_SHORT: u8 = 130;

/// Serve external metrics to HorizontalPodAutoscalers
///
/// Reads the targets of the RequestMetrics documents in --config and serves external.metrics.k8s.io over HTTPS. Until
/// clients are authenticated, which needs a cluster, it listens on loopback addresses only.
///
/// Exit codes: 0 stopped by a signal after draining, 2 it could not start or run, 130 stopped by a second signal before
/// the drain was over.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// RequestMetrics documents, YAML; read again whenever the file changes
    #[arg(long, env = "TAFFRAIL_CONFIG", value_name = "FILE")]
    config: PathBuf,

    #[command(flatten)]
    api: ApiArgs,

    /// Address of our own metrics, /metrics, and of /healthz and /readyz without TLS
    #[arg(
        long,
        env = "TAFFRAIL_METRICS_LISTEN",
        default_value = "127.0.0.1:9464",
        value_name = "ADDRESS"
    )]
    metrics_listen: SocketAddr,

    /// How long readiness fails after a signal before the API stops accepting, so that whoever sends requests here has
    /// heard of it. In a cluster 5s to 10s: the endpoints must reach every API server first
    #[arg(
        long,
        env = "TAFFRAIL_DRAIN_DELAY",
        default_value = "1s",
        value_name = "DURATION",
        value_parser = humantime::parse_duration
    )]
    drain_delay: Duration,

    /// What is logged: error, warn, info, debug, or a filter such as taffrail::source=debug
    #[arg(
        long,
        env = "TAFFRAIL_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    log: String,

    /// How it is logged
    #[arg(long, env = "TAFFRAIL_LOG_FORMAT", default_value = "text")]
    log_format: LogFormat,
}

/// Where the API listens and what certificate it shows.
#[derive(clap::Args, Clone, Debug)]
pub struct ApiArgs {
    /// Address of the API, HTTPS
    #[arg(
        long,
        env = "TAFFRAIL_LISTEN",
        default_value = "127.0.0.1:6443",
        value_name = "ADDRESS"
    )]
    listen: SocketAddr,

    /// Certificate chain, PEM; read again when it changes. Without it a self-signed one is made at each start
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

    /// A further name of the self-signed certificate, such as taffrail.monitoring.svc; several with commas
    #[arg(
        long,
        env = "TAFFRAIL_TLS_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "tls_cert_file"
    )]
    tls_name: Vec<String>,

    /// Where the authority of the self-signed certificate is written, PEM, for clients to trust
    #[arg(
        long,
        env = "TAFFRAIL_TLS_CA_OUT",
        value_name = "FILE",
        conflicts_with = "tls_cert_file"
    )]
    tls_ca_out: Option<PathBuf>,

    #[command(flatten)]
    delegate: DelegateArgs,
}

/// How log lines look.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq, Debug)]
enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
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
    state: Arc<AppState>,
}

/// SIGTERM, which Kubernetes sends, and SIGINT, which ctrl-c does.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl ApiArgs {
    /// A self-signed API on a free loopback port.
    pub fn self_signed_on_any_port() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 0)),
            tls_cert_file: None,
            tls_key_file: None,
            tls_name: Vec::new(),
            tls_ca_out: None,
            delegate: DelegateArgs::default(),
        }
    }
}

/// Runs the adapter until a signal.
///
/// # Errors
/// When it cannot start: a configuration that cannot be read or holds nothing right, a certificate, an address.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        api,
        metrics_listen,
        drain_delay,
        log,
        log_format,
    } = args;
    start_log(&log, log_format)?;
    let mut signals = Signals::listen().context("listening for SIGTERM and SIGINT")?;
    let mut file = ConfigFile::new(&config);
    let first = read_first(&mut file)?;

    let stop = CancellationToken::new();
    let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let metrics = Arc::new(Metrics::new(snapshots.clone()));
    let (desired, wanted) = watch::channel(Arc::new(Vec::new()));
    let stop_api = stop.child_token();
    let mut api = start_api(api, snapshots, Arc::clone(&metrics), stop_api.clone()).await?;
    note_reload(&metrics, file.path(), &first);
    desired.send_replace(Arc::new(first.services));

    let stop_pipeline = CancellationToken::new();
    let wiring = Wiring {
        desired: wanted,
        snapshots: publish,
        metrics: Arc::clone(&metrics),
    };
    let mut heart = tokio::spawn(pipeline::run(wiring, stop_pipeline.clone()));
    let own = TcpListener::bind(metrics_listen).await.with_context(|| {
        format!(
            "listening on --metrics-listen {metrics_listen}; choose another address, or port 0 for any free one"
        )
    })?;
    let own_address = own
        .local_addr()
        .context("the address of --metrics-listen")?;
    let mut others = JoinSet::new();
    others.spawn(follow_config(file, desired, Arc::clone(&metrics)));
    others.spawn(own_port::serve(own, metrics, Arc::clone(&api.state)));
    info!(api = %api.address, metrics = %own_address, "Serving; loopback only, since clients are not authenticated without a cluster.");

    // No part ends unless told to: one that does has a bug, and a restart is better than stale answers.
    tokio::select! {
        () = signals.next() => {}
        ended = &mut heart => anyhow::bail!("the pipeline ended by itself: {ended:?}"),
        ended = &mut api.done => anyhow::bail!("the API ended by itself: {ended:?}"),
        Some(ended) = others.join_next() => {
            anyhow::bail!("the configuration is not followed or our own metrics are not served any more: {ended:?}")
        }
    }
    info!("Draining");
    let drained = async {
        api.state.drain();
        tokio::time::sleep(drain_delay).await;
        stop_api.cancel();
        api.done.await.context("the API's end")?;
        stop_pipeline.cancel();
        heart.await.context("the pipeline's end")
    };
    tokio::select! {
        drained = drained => drained?,
        () = signals.next() => {
            warn!("A second signal: stopped without waiting for the drain");
            return Ok(ExitCode::from(EXIT_CUT_SHORT));
        }
    }
    info!("Stopped");
    Ok(ExitCode::SUCCESS)
}

/// Starts the API: certificate, listener, accept loop.
///
/// # Errors
/// When the certificate cannot be used, or the address is not free, or is one that others can reach.
pub async fn start_api(
    args: ApiArgs,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    metrics: Arc<Metrics>,
    stop: CancellationToken,
) -> anyhow::Result<RunningApi> {
    let ApiArgs {
        listen,
        tls_cert_file,
        tls_key_file,
        tls_name,
        tls_ca_out,
        delegate,
    } = args;
    require_loopback(listen).context("--listen")?;
    let certificate = match (tls_cert_file, tls_key_file) {
        (Some(cert), Some(key)) => ServingCert::from_files(&cert, &key)
            .await
            .context("--tls-cert-file and --tls-key-file")?,
        _ => ServingCert::self_signed(&tls_name, clock::now()).context("--tls-name")?,
    };
    let certificate = Arc::new(certificate);
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
    let state = AppState::new(snapshots).observed_by(Arc::new(move |event: RequestEvent| {
        observe(&observer, event);
    }));
    let state = match open_delegate(delegate, &metrics)? {
        Some(delegate) => state.delegating_to(delegate),
        None => state,
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

/// Writes a file that readers see whole or not at all.
fn write_whole(path: &Path, text: &str) -> std::io::Result<()> {
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    std::fs::write(&beside, text)?;
    std::fs::rename(&beside, path)
}

fn observe(metrics: &Metrics, event: RequestEvent) {
    let RequestEvent {
        resource,
        verb,
        code,
        took,
        age,
    } = event;
    metrics.request(resource.map_or("", Metric::name), verb, code, took, age);
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
        () = certificate.follow(POLL) => {}
        () = tell => {}
    }
}

/// The first look at the configuration: a person is watching, so what is wrong ends the start if nothing is right.
fn read_first(file: &mut ConfigFile) -> anyhow::Result<Reloaded> {
    let path = file.path().to_owned();
    let read = file
        .poll()
        .with_context(|| format!("reading --config {}", path.display()))?;
    let reloaded = read.context("the first read of a file always brings something")?;
    if reloaded.services.is_empty() && !reloaded.problems.is_empty() {
        let problems: Vec<String> = reloaded.problems.iter().map(ToString::to_string).collect();
        anyhow::bail!("{}: {}", path.display(), problems.join("; "));
    }
    Ok(reloaded)
}

/// Looks at the configuration file for as long as the program runs.
async fn follow_config(
    mut file: ConfigFile,
    desired: watch::Sender<Arc<Vec<Service>>>,
    metrics: Arc<Metrics>,
) {
    let mut readable = true;
    loop {
        tokio::time::sleep(POLL).await;
        match file.poll() {
            Ok(None) => {
                if !readable {
                    info!(file = %file.path().display(), "The configuration can be read again, and has not changed");
                }
                readable = true;
            }
            Ok(Some(reloaded)) => {
                readable = true;
                note_reload(&metrics, file.path(), &reloaded);
                desired.send_replace(Arc::new(reloaded.services));
            }
            Err(error) if readable => {
                readable = false;
                metrics.reloaded(false, clock::now());
                error!(file = %file.path().display(), %error, "The configuration cannot be read; the last one stays in force.");
            }
            Err(_) => {}
        }
    }
}

fn note_reload(metrics: &Metrics, path: &Path, reloaded: &Reloaded) {
    metrics.reloaded(reloaded.problems.is_empty(), clock::now());
    for problem in &reloaded.problems {
        error!(file = %path.display(), %problem, "A document is wrong");
    }
    for kept in &reloaded.kept {
        warn!(service = %kept, "Its previous version stays in force");
    }
    info!(file = %path.display(), services = reloaded.services.len(), "Configuration loaded");
}

fn start_log(filter: &str, format: LogFormat) -> anyhow::Result<()> {
    let filter = tracing_subscriber::EnvFilter::try_new(filter).context("--log")?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        // The module's name would be a second `target` beside that of a source.
        .with_target(false)
        .with_writer(std::io::stderr);
    let started = match format {
        LogFormat::Text => log.try_init(),
        LogFormat::Json => log.json().flatten_event(true).try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("starting the log: {error}"))
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Completes at the next one of either.
    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
