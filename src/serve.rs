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
mod signals;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
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

/// How often the files of configuration and certificate are looked at: soon enough for a person who waits for it, and
/// three small reads cost nothing.
const POLL: Duration = Duration::from_secs(2);

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

    #[command(flatten)]
    api: ApiArgs,

    #[command(flatten, next_help_heading = "In a cluster")]
    cluster: ClusterArgs,

    /// Address of our own metrics, /metrics, and of /healthz and /readyz without TLS
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
}

/// What the adapter stands on: a file of this machine, or a cluster.
struct Ground {
    front: Front,
    secrets: SecretStore,
    reach: Reach,
}

/// Tasks that do not end unless told to, each with what it is.
type Others = JoinSet<&'static str>;

/// Runs the adapter until a signal.
///
/// # Errors
/// When it cannot start: a configuration that cannot be read or holds nothing right, no cluster, a certificate, an
/// address.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        config,
        api,
        cluster,
        metrics_listen,
        drain_delay,
        log,
        log_format,
    } = args;
    start_log(&log, log_format)?;
    let mut signals = Signals::listen().context("listening for SIGTERM and SIGINT")?;
    let stop = CancellationToken::new();
    let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
    let metrics = Arc::new(Metrics::new(snapshots.clone()));
    let (desired, wanted) = watch::channel(Arc::new(Vec::new()));
    let mut others = Others::new();
    let ground = match &config {
        Some(path) => files::begin(path, desired, &metrics, &mut others)?,
        None => {
            let wires = Wires {
                desired,
                snapshots: snapshots.clone(),
                metrics: Arc::clone(&metrics),
                stop: stop.clone(),
            };
            let offer = Offer {
                has_certificate: api.has_certificate(),
                served: api.served(),
            };
            // A cluster that does not answer is waited for, by whoever is not told to stop.
            tokio::select! {
                ground = cluster::begin(cluster, offer, wires, &mut others) => ground?,
                () = signals.next() => return Ok(ExitCode::SUCCESS),
            }
        }
    };
    let Ground {
        front,
        secrets,
        reach,
    } = ground;
    let stop_api = CancellationToken::new();
    let metrics_of_api = Arc::clone(&metrics);
    let mut api = start_api(api, front, snapshots, metrics_of_api, stop_api.clone()).await?;

    let stop_pipeline = CancellationToken::new();
    let wiring = Wiring {
        desired: wanted,
        snapshots: publish,
        metrics: Arc::clone(&metrics),
        secrets,
        reach,
    };
    let mut heart = tokio::spawn(when_wanted(wiring, stop_pipeline.clone()));
    let own = TcpListener::bind(metrics_listen).await.with_context(|| {
        format!(
            "listening on --metrics-listen {metrics_listen}; choose another address, or port 0 for any free one"
        )
    })?;
    let own_address = own
        .local_addr()
        .context("the address of --metrics-listen")?;
    let own_port = own_port::serve(own, metrics, Arc::clone(&api.state));
    others.spawn(named("serving our own metrics", own_port));
    info!(api = %api.address, metrics = %own_address, is_in_cluster = config.is_none(), "Serving");

    // No part ends unless told to: one that does has a bug, and a restart is better than stale answers.
    tokio::select! {
        () = signals.next() => {}
        ended = &mut heart => anyhow::bail!("the pipeline ended by itself: {ended:?}"),
        ended = &mut api.done => anyhow::bail!("the API ended by itself: {ended:?}"),
        Some(ended) = others.join_next() => anyhow::bail!("a task ended by itself: {ended:?}"),
    }
    info!("Draining");
    let drained = async {
        api.state.drain();
        tokio::time::sleep(drain_delay).await;
        stop_api.cancel();
        api.done.await.context("the API's end")?;
        stop.cancel();
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

/// Runs the pipeline once something is wanted, be it nothing at all: before, there is nothing to be said of any service,
/// and a replica that says so in place of one that knows would be worse than none.
async fn when_wanted(mut wiring: Wiring, stop: CancellationToken) {
    tokio::select! {
        _ = wiring.desired.changed() => pipeline::run(wiring, stop).await,
        () = stop.cancelled() => {}
    }
}

/// A task that says what it was when it ends.
async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    name
}
