//! The visit counter: a real Redis server when `redis-server` is installed, else a line that says how to get one.

use std::net::{SocketAddr, TcpListener};
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

use crate::engine::snapshot::Snapshot;

use super::NAMESPACE;

/// The service that stands for the Redis server's own requests.
pub(super) const SERVICE: &str = "visits";

/// How long Redis may take to listen.
const START_TIMEOUT: Duration = Duration::from_secs(10);

/// The Redis server, if there is one. It ends with this value.
pub(super) struct Visits {
    running: Option<(Child, SocketAddr)>,
    note: String,
}

impl Visits {
    /// Starts one on a free loopback port.
    pub(super) async fn start() -> Self {
        match start().await {
            Ok((child, address)) => {
                let note = format!(
                    "Each visit is counted in a real Redis server on {address}; its own request rate is read as service visits."
                );
                Self {
                    running: Some((child, address)),
                    note,
                }
            }
            Err(why) => Self {
                running: None,
                note: format!("Visits are not counted in Redis: {why}."),
            },
        }
    }

    pub(super) fn address(&self) -> Option<SocketAddr> {
        self.running.as_ref().map(|(_, address)| *address)
    }

    /// What there is to say of it when the demo starts.
    pub(super) fn note(&self) -> &str {
        &self.note
    }

    /// Visits per second, as the adapter reads them from Redis.
    pub(super) fn rate(&self, snapshot: &Snapshot) -> Option<f64> {
        self.running.as_ref()?;
        snapshot.service(NAMESPACE, SERVICE)?.request_rate()
    }
}

async fn start() -> Result<(Child, SocketAddr), String> {
    // The port is free until Redis takes it, or somebody else does: then Redis ends, and the demo goes on without.
    let listener = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    drop(listener);
    let mut child = Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
            "--daemonize",
            "no",
        ])
        .args(["--port", &address.port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|_| {
            "redis-server is not installed; on Debian: apt-get install redis-server".to_owned()
        })?;
    let listens = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(START_TIMEOUT, listens)
        .await
        .map_err(|_| "redis-server did not start".to_owned())?;
    // Somebody else may have taken the port, and it is them who listens.
    if !matches!(child.try_wait(), Ok(None)) {
        return Err("redis-server ended by itself".to_owned());
    }
    Ok((child, address))
}
