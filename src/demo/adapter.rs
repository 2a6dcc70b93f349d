//! The adapter, whole: pipeline, sources, API over TLS on a loopback port. Only its configuration comes from here.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::config::{self, Service};
use crate::engine::snapshot::Snapshot;
use crate::metrics::Metrics;
use crate::serve;

use super::scaler::Reader;
use super::{NAMESPACE, Pace, SERVICE};

/// The service's window and interval, in the HPA's time. The window is half the HPA's period: after a scale-out the
/// next look must not see requests from before it, or the HPA scales out twice for one breach.
const WINDOW: Duration = Duration::from_millis(7_500);
const INTERVAL: Duration = Duration::from_millis(1_500);

/// What the demo's users were promised; [`hpa.yaml`](super::HPA_YAML) has the same.
const OBJECTIVE: &str = "{quantile: 0.95, latency: 250ms}";

/// The running adapter.
pub(super) struct Adapter {
    desired: watch::Sender<Arc<Vec<Service>>>,
    snapshots: watch::Receiver<Arc<Snapshot>>,
    address: SocketAddr,
    ca_pem: String,
    pace: Pace,
    redis: Option<SocketAddr>,
    /// The targets last asked for.
    wanted: Option<Vec<SocketAddr>>,
}

impl Adapter {
    /// Starts it without a target.
    pub(super) async fn start(
        pace: Pace,
        redis: Option<SocketAddr>,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        let (desired, wanted) = watch::channel(Arc::new(Vec::new()));
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let metrics = Arc::new(Metrics::new(snapshots.clone()));
        let api = serve::start_api(
            serve::ApiArgs::self_signed_on_any_port(),
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
            pace,
            redis,
            wanted: None,
        })
    }

    /// Reads these pods from now on; no change, no effect.
    pub(super) fn want(&mut self, targets: &[SocketAddr]) {
        if self.wanted.as_deref() == Some(targets) {
            return;
        }
        self.wanted = Some(targets.to_vec());
        let parsed = config::parse(&self.documents(targets));
        debug_assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let services: Vec<Service> = parsed.services.into_values().collect();
        self.desired.send_replace(Arc::new(services));
    }

    /// The `RequestMetrics` documents, as a file for `taffrail serve` would hold them.
    fn documents(&self, targets: &[SocketAddr]) -> String {
        let (window, interval) = (
            self.pace.wall(WINDOW).as_millis(),
            self.pace.wall(INTERVAL).as_millis(),
        );
        let mut text = String::new();
        let mut document = |name: &str, source: &str| {
            text.push_str(&format!(
                "---\napiVersion: {}\nkind: RequestMetrics\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  \
                 source: {source}\n  window: {window}ms\n  interval: {interval}ms\n  objective: {OBJECTIVE}\n",
                config::API_VERSION
            ));
        };
        if !targets.is_empty() {
            let targets: Vec<String> = targets
                .iter()
                .map(|target| format!("\"{target}\""))
                .collect();
            let pods =
                "histogram: http_request_duration_seconds, inFlight: http_requests_in_flight";
            document(
                SERVICE,
                &format!("{{pods: {{targets: [{}], {pods}}}}}", targets.join(", ")),
            );
        }
        if let Some(redis) = self.redis {
            document(
                super::visits::SERVICE,
                &format!("{{redis: {{address: \"{redis}\", server: {{commands: [incr]}}}}}}"),
            );
        }
        text
    }

    /// Whether the HPA would get a latency now.
    pub(super) fn knows_latency(&self) -> bool {
        let snapshot = self.snapshot();
        let service = snapshot.service(NAMESPACE, SERVICE);
        service.is_some_and(|service| service.objective_latency_s().is_some())
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
