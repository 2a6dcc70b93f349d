//! The adapter, whole: pipeline, sources, API over TLS on a loopback port. What it reads comes from whoever plays.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::Service;
use crate::engine::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::serve;

use super::reader::Reader;

/// The running adapter.
pub(super) struct Adapter {
    desired: watch::Sender<Arc<Vec<Service>>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    address: SocketAddr,
    ca_pem: String,
}

impl Adapter {
    /// Starts it without a target.
    pub(super) async fn start(stop: CancellationToken) -> anyhow::Result<Self> {
        let (desired, wanted) = watch::channel(Arc::new(Vec::new()));
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let metrics = Arc::new(Metrics::new(snapshots.clone()));
        let api = serve::start_api(
            serve::ApiArgs::self_signed_on_any_port(),
            serve::Front::Machine,
            snapshots.clone(),
            Arc::clone(&metrics),
            stop.clone(),
        )
        .await?;
        let wiring = crate::pipeline::Wiring {
            desired: wanted,
            snapshots: publish,
            metrics,
            secrets: crate::source::secret::SecretStore::default(),
            reach: crate::source::reach::Reach::anywhere(),
        };
        tokio::spawn(crate::pipeline::run(wiring, stop));
        Ok(Self {
            desired,
            snapshots,
            address: api.address,
            ca_pem: api.ca_pem.unwrap_or_default(),
        })
    }

    /// Reads these services from now on; no change, no effect.
    pub(super) fn want(&self, services: Vec<Service>) {
        self.desired.send_if_modified(|wanted| {
            let changed = **wanted != services;
            if changed {
                *wanted = Arc::new(services);
            }
            changed
        });
    }

    /// The latest snapshot.
    pub(super) fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.snapshots.borrow())
    }

    /// A client of the API that trusts its certificate.
    pub(super) fn reader(&self) -> anyhow::Result<Reader> {
        if self.ca_pem.is_empty() {
            bail!("the adapter has no self-signed certificate to trust");
        }
        Reader::new(self.address, &self.ca_pem).context("a client of the adapter's API")
    }
}
