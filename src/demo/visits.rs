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
    running: Option<(Option<Child>, SocketAddr)>,
    note: String,
}

impl Visits {
    /// Starts one on a free loopback port.
    pub(super) async fn start() -> Self {
        match start(None).await {
            Ok((child, address)) => {
                let note = format!(
                    "Each visit is counted in a real Redis server on {address}; its own request rate is read as service visits."
                );
                Self {
                    running: Some((Some(child), address)),
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

    /// Ends the server, as a crash does.
    pub(super) async fn stop(&mut self) {
        if let Some((child, _)) = &mut self.running
            && let Some(mut child) = child.take()
        {
            // It is killed when it is dropped, whatever is said here.
            let _ = child.kill().await;
        }
    }

    /// Starts the server again where it was.
    pub(super) async fn start_again(&mut self) -> Result<(), String> {
        if let Some((child @ None, address)) = &mut self.running {
            *child = Some(start(Some(*address)).await?.0);
        }
        Ok(())
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

/// The sample app's flags for a server at `address`.
pub(super) fn flags(address: SocketAddr) -> [String; 4] {
    let (host, port) = (address.ip().to_string(), address.port().to_string());
    [
        "--redis-host".to_owned(),
        host,
        "--redis-port".to_owned(),
        port,
    ]
}

/// Starts a server at `address`, or at a free one.
async fn start(address: Option<SocketAddr>) -> Result<(Child, SocketAddr), String> {
    let address = match address {
        Some(address) => address,
        None => free_address().map_err(|error| error.to_string())?,
    };
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

/// An address that is free until Redis takes it, or somebody else does: then Redis ends, and the demo goes on without.
fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}
