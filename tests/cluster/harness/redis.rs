//! A real redis-server on an address of its own, as a Service's would be: with it a test makes a metric have any value.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use redis::Commands;
use tokio::process::Command;

use super::process::Process;
use super::wait;

/// Where all of them listen; the operator of the cluster has to allow it. Pods have other addresses.
pub(crate) const NETWORK: &str = "10.200.0.128/25";

/// The next one's last byte. None is given twice: what one test left must not be read by the next.
static NEXT: AtomicU8 = AtomicU8::new(129);

/// Until it answers.
const START_TIME_MAX: Duration = Duration::from_secs(30);

/// A running redis-server, killed when dropped.
pub(crate) struct Redis {
    address: Ipv4Addr,
    client: redis::Client,
    log: PathBuf,
    process: Option<Process>,
}

impl Redis {
    /// Starts one that keeps nothing, with its log in `logs_dir`.
    pub(crate) async fn start(logs_dir: &Path) -> anyhow::Result<Self> {
        let last = NEXT.fetch_add(1, Ordering::Relaxed);
        ensure!(last < 255, "every address of {NETWORK} was given");
        let address = Ipv4Addr::new(10, 200, 0, last);
        let mut redis = Self {
            address,
            client: redis::Client::open(format!("redis://{address}"))?,
            log: logs_dir.join(format!("redis-server-{last}.log")),
            process: None,
        };
        redis.start_again().await?;
        Ok(redis)
    }

    /// Starts one on the same address that knows nothing of what the former counted.
    pub(crate) async fn start_again(&mut self) -> anyhow::Result<()> {
        let bind = self.address.to_string();
        let mut command = Command::new("redis-server");
        command.args(["--bind", &bind, "--protected-mode", "no", "--save", ""]);
        command.current_dir(self.log.parent().context("logs are in a directory")?);
        let process = Process::start("redis-server", command, &self.log)
            .context("starting redis-server: is it installed? (tests/run installs it)")?;
        self.process = Some(process);
        wait::until("redis-server", START_TIME_MAX, async || {
            Ok(self.client.get_connection().map(drop)?)
        })
        .await
    }

    /// Kills it, as a crash does.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        match self.process.take() {
            Some(mut process) => process.kill().await.map(drop),
            None => Ok(()),
        }
    }

    /// Where it listens, on the usual port.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Gives a key this value.
    pub(crate) fn set(&self, key: &str, value: &str) -> anyhow::Result<()> {
        let mut connection = self.client.get_connection()?;
        connection.set::<_, _, ()>(key, value)?;
        Ok(())
    }
}
