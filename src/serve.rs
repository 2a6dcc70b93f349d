//! `taffrail serve`: wiring, start order, readiness, drain.
//!
//! Order matters twice. At the start: configuration and certificate first, since without them nothing useful can run
//! and a person is looking; then the pipeline, then the listeners. At the end the reverse: readiness fails, the API
//! answers what it has, and only then do the sources stop.

mod api;
mod cluster;
mod files;
mod log;
mod own_port;
mod shadow;
mod signals;
mod tasks;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::engine::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::pipeline::{self, Wiring};
use crate::source::reach::Reach;
use crate::source::secret::SecretStore;

pub use self::api::{ApiArgs, Front, RunningApi, start_api};
use self::cluster::{ClusterArgs, Offer, Wires};
use self::log::{LogFormat, start_log};
use self::signals::Signals;
use self::tasks::Tasks;

/// How often the files of configuration and certificate are looked at: soon enough for a person who waits for it, and
/// three small reads cost nothing. A mounted Secret changes by a symbolic link, which watches of files miss.
const POLL: Duration = Duration::from_secs(2);

/// How long the last words of the tasks may take at the end: one gives the Lease back, which is two small requests.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// What a second signal, from someone who does not want to wait for the drain, ends with.
const EXIT_CUT_SHORT: u8 = 130;

/// Serve external metrics to HorizontalPodAutoscalers
///
/// Reads the pods and Redis servers of the cluster's RequestMetrics objects and serves external.metrics.k8s.io over HTTPS
/// behind the aggregation layer: in a pod, or with --kubeconfig. With --config it reads RequestMetrics documents of a file
/// instead, needs no cluster, and listens on loopback addresses only, since nobody is authenticated.
///
/// Exit codes: 0 stopped by a signal after draining, 2 it could not start or run, 130 stopped by a second signal before
/// the drain was over.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// RequestMetrics documents, YAML, in place of a cluster; read again whenever the file changes
    #[arg(long, env = "TAFFRAIL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,

    /// Address of our own metrics, /metrics, and of /healthz and /readyz without TLS or authentication. The API has them, too;
    /// there, in a cluster, /metrics is for whoever may get that path: {nonResourceURLs: [/metrics], verbs: [get]}
    #[arg(
        long,
        env = "TAFFRAIL_METRICS_LISTEN",
        default_value = "127.0.0.1:9464",
        value_name = "ADDRESS",
        value_parser = api::address
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

    #[command(flatten, next_help_heading = "The API")]
    api: ApiArgs,

    #[command(flatten, next_help_heading = "In a cluster")]
    cluster: ClusterArgs,
}

/// What the adapter stands on: a file of this machine, or a cluster.
struct Ground {
    front: Front,
    secrets: SecretStore,
    reach: Reach,
}

/// What runs until it is told to end: one part after the other, each by a word of its own.
struct Adapter {
    api: RunningApi,
    stop_api: CancellationToken,
    pipeline: JoinHandle<()>,
    stop_pipeline: CancellationToken,
    tasks: Tasks,
}

/// Runs the adapter until a signal.
///
/// # Errors
/// When it cannot start: a configuration that cannot be read or holds nothing right, no cluster, a certificate, an
/// address. When a part of it ends by itself.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    start_log(&args.log, args.log_format)?;
    let drain_delay = args.drain_delay;
    let mut signals = Signals::listen().context("listening for SIGTERM and SIGINT")?;
    // A cluster that does not answer is waited for, by whoever is not told to stop.
    let mut adapter = tokio::select! {
        adapter = Adapter::start(args) => adapter?,
        () = signals.next() => return Ok(ExitCode::SUCCESS),
    };
    // No part ends unless told to: one that does has a bug, and a restart is better than stale answers.
    tokio::select! {
        () = signals.next() => {}
        ended = adapter.ended() => anyhow::bail!("{ended}"),
    }
    info!("Draining");
    tokio::select! {
        drained = adapter.drain(drain_delay) => drained?,
        () = signals.next() => {
            warn!("A second signal: stopped without waiting for the drain");
            return Ok(ExitCode::from(EXIT_CUT_SHORT));
        }
    }
    info!("Stopped");
    Ok(ExitCode::SUCCESS)
}

// === impl Adapter ===

impl Adapter {
    async fn start(args: Args) -> anyhow::Result<Self> {
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let metrics = Arc::new(Metrics::new(snapshots.clone()));
        let (desired, wanted) = watch::channel(Arc::new(Vec::new()));
        let mut tasks = Tasks::default();
        let is_in_cluster = args.config.is_none();
        let ground = match &args.config {
            Some(path) => files::begin(path, desired, &metrics, &mut tasks)?,
            None => {
                let wires = Wires {
                    desired,
                    snapshots: snapshots.clone(),
                    metrics: Arc::clone(&metrics),
                };
                let offer = Offer {
                    has_certificate: args.api.has_certificate(),
                    served: args.api.served(args.cluster.explains()),
                };
                cluster::begin(args.cluster, offer, wires, &mut tasks).await?
            }
        };
        let stop_api = CancellationToken::new();
        let api = start_api(
            args.api,
            ground.front,
            snapshots,
            Arc::clone(&metrics),
            stop_api.clone(),
        )
        .await?;

        let state = Arc::downgrade(&api.state);
        metrics.ask_readiness(move || {
            let state = state.upgrade();
            state.map_or_else(Vec::new, |state| state.readiness())
        });

        let stop_pipeline = CancellationToken::new();
        let wiring = Wiring {
            desired: wanted,
            snapshots: publish,
            metrics,
            secrets: ground.secrets,
            reach: ground.reach,
        };
        let pipeline = tokio::spawn(when_wanted(wiring, stop_pipeline.clone()));
        let listen = args.metrics_listen;
        let own = TcpListener::bind(listen).await.with_context(|| {
            format!(
                "listening on --metrics-listen {listen}; choose another address, or port 0 for any free one"
            )
        })?;
        let own_address = own
            .local_addr()
            .context("the address of --metrics-listen")?;
        let own_port = own_port::serve(own, Arc::clone(&api.state));
        tasks.spawn("serving our own metrics", own_port);
        info!(api = %api.address, metrics = %own_address, is_in_cluster, "Serving");
        Ok(Self {
            api,
            stop_api,
            pipeline,
            stop_pipeline,
            tasks,
        })
    }

    /// Which part has ended by itself, once one has.
    async fn ended(&mut self) -> String {
        tokio::select! {
            ended = &mut self.pipeline => format!("the pipeline ended by itself: {ended:?}"),
            ended = &mut self.api.done => format!("the API ended by itself: {ended:?}"),
            ended = self.tasks.ended() => format!("a task ended by itself: {ended}"),
        }
    }

    /// Ends it in the order in which nobody misses anything.
    async fn drain(self, delay: Duration) -> anyhow::Result<()> {
        self.api.state.drain();
        tokio::time::sleep(delay).await;
        self.stop_api.cancel();
        self.api.done.await.context("the API's end")?;
        self.tasks.end_within(LAST_WORDS).await;
        self.stop_pipeline.cancel();
        self.pipeline.await.context("the pipeline's end")
    }
}

/// Runs the pipeline once something is wanted, be it nothing at all: before, there is nothing to be said of any service,
/// and a replica that says so in place of one that knows would be worse than none.
async fn when_wanted(mut wiring: Wiring, stop: CancellationToken) {
    tokio::select! {
        _ = wiring.desired.changed() => pipeline::run(wiring, stop).await,
        () = stop.cancelled() => {}
    }
}
