//! A real redis-server on an address of its own, as a Service's would be: with it a test makes a metric have any value.

use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use redis::Commands;
use tokio::process::Command;

use super::process::Process;
use super::wait;

/// Where it listens; the operator of the cluster has to allow it.
pub(crate) const ADDRESS: &str = "10.200.0.3";

/// Until it answers.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// A running redis-server, killed when dropped.
pub(crate) struct Redis {
    client: redis::Client,
    _process: Process,
}

impl Redis {
    /// Starts one that keeps nothing, with its log in `logs_dir`.
    pub(crate) async fn start(logs_dir: &Path) -> anyhow::Result<Self> {
        let mut command = Command::new("redis-server");
        command
            .args(["--bind", ADDRESS, "--protected-mode", "no", "--save", ""])
            .current_dir(logs_dir);
        let process = Process::start("redis-server", command, &logs_dir.join("redis-server.log"))
            .context("starting redis-server: is it installed? (tests/run installs it)")?;
        let redis = Self {
            client: redis::Client::open(format!("redis://{ADDRESS}"))?,
            _process: process,
        };
        wait::until("redis-server", START_TIME_MAX, async || {
            Ok(redis.client.get_connection().map(drop)?)
        })
        .await?;
        Ok(redis)
    }

    /// Gives a key this value.
    pub(crate) fn set(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let mut connection = self.client.get_connection()?;
        connection.set::<_, _, ()>(key, value)?;
        Ok(())
    }
}
