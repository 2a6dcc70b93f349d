//! `taffrail-sample-app`: the sample app as a process of its own, stopped by SIGTERM or ctrl-c.

use std::net::SocketAddr;

use anyhow::Context;
use clap::Parser;
use taffrail_loadtest::{cli, sample_app};
use tokio::net::TcpListener;

/// Threads that may burn CPU at once; more would not burn more on the small machines this runs on.
const BURNING_THREADS: usize = 4;

/// An HTTP service with finite workers, a heavy-tailed service time and its own metrics
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    /// Address to listen on
    #[arg(long, env = "APP_LISTEN", default_value = "0.0.0.0:8080")]
    listen: SocketAddr,

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
        sample_app::run(listener, args.config, stopped)
            .await
            .context("running the sample app")
    })
}
