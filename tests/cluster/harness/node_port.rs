//! A Service's port on the node, as the proxy of a real node has it: each connection goes to the next of the ready
//! endpoints, and stays there. With it a pod knows before its start where the service is that it calls, though this
//! cluster has neither DNS nor a proxy.

use std::net::SocketAddr;

use anyhow::Context;
use kube::Client;
use taffrail_loadtest::discovery::follow_endpoints;
use taffrail_loadtest::scenario::ObjectName;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::sandbox::NODE_ADDRESS;

/// The port of every Service here.
const PORT: u16 = 80;

/// A port that is open until it is dropped.
pub(crate) struct NodePort {
    address: SocketAddr,
    _tasks: JoinSet<()>,
}

impl NodePort {
    /// Opens one for a Service that is there; it need not have endpoints yet.
    pub(crate) async fn open(
        client: Client,
        namespace: &str,
        service: &str,
    ) -> anyhow::Result<Self> {
        let named = ObjectName {
            namespace: namespace.to_owned(),
            name: service.to_owned(),
        };
        let listener = TcpListener::bind((NODE_ADDRESS, 0)).await;
        let listener = listener.context("opening a port on the node")?;
        let address = listener.local_addr()?;
        let (sender, endpoints) = watch::channel(Vec::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            if let Err(error) = follow_endpoints(client, named, PORT, sender).await {
                eprintln!("node port: {error}");
            }
        });
        tasks.spawn(serve(listener, endpoints));
        Ok(Self {
            address,
            _tasks: tasks,
        })
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}

/// Hands each connection over, for as long as it is polled. Where there is no endpoint it is closed.
async fn serve(listener: TcpListener, endpoints: watch::Receiver<Vec<SocketAddr>>) {
    let mut connections = JoinSet::new();
    let mut turn = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                turn += 1;
                let endpoint = {
                    let endpoints = endpoints.borrow();
                    endpoints.get(turn % endpoints.len().max(1)).copied()
                };
                if let (Ok((caller, _)), Some(endpoint)) = (accepted, endpoint) {
                    connections.spawn(pass_on(caller, endpoint));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Until one of both hangs up; what broke is theirs to notice.
async fn pass_on(mut caller: TcpStream, endpoint: SocketAddr) {
    let Ok(mut pod) = TcpStream::connect(endpoint).await else {
        return;
    };
    // Small requests and small answers: none waits for another.
    if caller.set_nodelay(true).is_ok() && pod.set_nodelay(true).is_ok() {
        let _ = copy_bidirectional(&mut caller, &mut pod).await;
    }
}
