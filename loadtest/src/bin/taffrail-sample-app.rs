//! `taffrail-sample-app`: the sample app as a process of its own, stopped by SIGTERM or ctrl-c.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Parser;
use taffrail_loadtest::{cli, sample_app};
use tokio::io::BufReader;
use tokio::net::TcpListener;

/// Threads that may burn CPU at once; more would not burn more on the small machines this runs on.
const BURNING_THREADS: usize = 4;

/// An HTTP service with finite workers, a heavy-tailed service time and its own metrics
///
/// Answers GET / after its work, /healthz and /readyz for probes, and /metrics in the text
/// formats of Prometheus and OpenMetrics. It writes no file, needs no privilege, and drains on
/// SIGTERM. Flags can be set by the variables beside them, too.
///
/// Some of what it can play:
///   a service behind a token   --auth-token 's&cr^t@$'
///   one that calls another     --downstream payments:8080 --downstream-timeout 200ms
///   one that counts visits     --redis-host redis
///   a version that is bad      --app-version v1.2 --never-ready, or --fail-share 0.5
#[derive(Debug, Parser)]
#[command(version, verbatim_doc_comment)]
struct Args {
    /// Address to listen on
    #[arg(long, env = "APP_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

    /// Take orders as lines on standard input while running: `slowdown 10`, `backends 10.0.0.7:8080 10.0.0.8:8080`
    #[arg(long)]
    orders: bool,

    /// Take the same orders from this file, and again whenever it changes, as a mounted ConfigMap does; may be repeated
    #[arg(long, value_name = "FILE")]
    orders_file: Vec<PathBuf>,

    #[command(flatten)]
    config: sample_app::Config,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    // One thread serves; many of these run side by side on one machine.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .max_blocking_threads(BURNING_THREADS)
        .enable_all()
        .build()
        .context("starting the runtime")?;
    runtime.block_on(async {
        let stopped = cli::stopped().context("listening for SIGTERM")?;
        let listen = args.listen;
        let listener = TcpListener::bind(listen)
            .await
            .with_context(|| format!("listening on {listen}"))?;
        eprintln!(
            "listening on {}",
            listener
                .local_addr()
                .context("reading the address listened on")?
        );
        let dials = Arc::new(sample_app::Dials::default());
        if args.orders {
            let dials = Arc::clone(&dials);
            tokio::spawn(async move { dials.follow(BufReader::new(tokio::io::stdin())).await });
        }
        for file in args.orders_file {
            let dials = Arc::clone(&dials);
            tokio::spawn(async move { dials.follow_file(&file).await });
        }
        let config = args.config.with_files_read().context("reading a secret")?;
        sample_app::run_with(listener, config, dials, stopped)
            .await
            .context("running the sample app")
    })
}
