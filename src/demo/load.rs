//! The load: open loop, from a profile, to whatever pods are ready.

use std::time::Duration;

use anyhow::Context;
use http::HeaderValue;
use taffrail_loadtest::arrivals::{Arrivals, Spacing};
use taffrail_loadtest::engine::{Config, Engine};
use taffrail_loadtest::measured::{Measured, Progress};
use taffrail_loadtest::profile::Profile;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::fleet::Fleet;

/// How long a request may take: long past the objective, so that a breach is measured and not cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// The load generator, running on its own thread: what it measures must not wait for what it measures.
pub(super) struct Load {
    pub(super) progress: mpsc::Receiver<Progress>,
    pub(super) report: oneshot::Receiver<Measured>,
}

impl Load {
    pub(super) fn start(
        profile: &Profile,
        seed: u64,
        fleet: &Fleet,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        // One message a second: more than a whole run fits.
        let (sender, progress) = mpsc::channel(4096);
        let (done, report) = oneshot::channel();
        let mut config = Config::new(
            HeaderValue::from_static("users.demo"),
            "/".parse().context("the demo's path")?,
        );
        config.timeout = REQUEST_TIMEOUT;
        let arrivals = Arrivals::new(profile, Spacing::Poisson(seed));
        let endpoints = fleet.endpoints();
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
