//! The load on one service: open loop, from a profile, to whatever pods are ready.

use std::net::SocketAddr;

use anyhow::Context;
use taffrail_loadtest::arrivals::Arrivals;
use taffrail_loadtest::engine::{Config, Engine};
use taffrail_loadtest::measured::{Measured, Progress};
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

/// The load generator, running on its own thread: what it measures must not wait for what it measures.
pub(super) struct Load {
    pub(super) progress: mpsc::Receiver<Progress>,
    pub(super) report: oneshot::Receiver<Measured>,
}

impl Load {
    /// Sends `arrivals` to `endpoints` as `config` says.
    pub(super) fn start(
        config: Config,
        arrivals: Arrivals,
        endpoints: watch::Receiver<Vec<SocketAddr>>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        // One message a second: more than a whole run fits.
        let (sender, progress) = mpsc::channel(4096);
        let (done, report) = oneshot::channel();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the load generator's runtime")?;
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let report = runtime.block_on(
                    Engine::new(config)
                        .with_progress(sender)
                        .run(arrivals, endpoints, stop),
                );
                // Nobody waits for it when the demo is on its way out.
                let _ = done.send(report);
            })
            .context("the load generator's thread")?;
        Ok(Self { progress, report })
    }
}
