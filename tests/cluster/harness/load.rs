//! Users of a Service: load sent to its ready endpoints as they come and go, which is what a cluster's proxy does. The
//! moments and the report are the load generator's.

use std::net::SocketAddr;

use anyhow::Context;
use futures_util::StreamExt;
use http::{HeaderValue, Uri};
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, reflector, watcher};
use taffrail_loadtest::arrivals::{Arrivals, Spacing};
use taffrail_loadtest::engine::{Config, Engine};
use taffrail_loadtest::measured::Measured;
use taffrail_loadtest::profile::Profile;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Equal runs send at equal moments.
const SEED: u64 = 1;

/// Load under way; dropping it ends it.
pub(crate) struct Load {
    cancel: CancellationToken,
    run: JoinHandle<Measured>,
    endpoints: JoinHandle<()>,
}

impl Load {
    /// Sends `GET /` to the Service as `profile` says, at the irregular moments of independent users.
    pub(crate) fn start(
        client: kube::Client,
        namespace: &str,
        service: &str,
        profile: &Profile,
    ) -> anyhow::Result<Self> {
        Self::begin(
            client,
            namespace,
            service,
            Arrivals::new(profile, Spacing::Poisson(SEED)),
        )
    }

    /// The same with even gaps, where what is measured must not vary by itself.
    pub(crate) fn start_even(
        client: kube::Client,
        namespace: &str,
        service: &str,
        profile: &Profile,
    ) -> anyhow::Result<Self> {
        Self::begin(
            client,
            namespace,
            service,
            Arrivals::new(profile, Spacing::Uniform),
        )
    }

    fn begin(
        client: kube::Client,
        namespace: &str,
        service: &str,
        arrivals: Arrivals,
    ) -> anyhow::Result<Self> {
        let slices = Api::<EndpointSlice>::namespaced(client, namespace);
        let (sender, receiver) = watch::channel(Vec::new());
        let of_service = format!("kubernetes.io/service-name={service}");
        let endpoints = tokio::spawn(follow(slices, of_service, sender));
        let host = HeaderValue::from_str(service).context("naming the host")?;
        let engine = Engine::new(Config::new(host, Uri::from_static("/")));
        let cancel = CancellationToken::new();
        let run = tokio::spawn(engine.run(arrivals, receiver, cancel.clone()));
        Ok(Self {
            cancel,
            run,
            endpoints,
        })
    }

    /// Waits until the profile is over, and reports.
    pub(crate) async fn end(mut self) -> anyhow::Result<Measured> {
        (&mut self.run).await.context("sending load")
    }

    /// Sends nothing more, and reports.
    pub(crate) async fn stop(self) -> anyhow::Result<Measured> {
        self.cancel.cancel();
        self.end().await
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.cancel.cancel();
        self.endpoints.abort();
    }
}

/// Keeps `endpoints` equal to the ready ones of the Service.
async fn follow(
    slices: Api<EndpointSlice>,
    of_service: String,
    endpoints: watch::Sender<Vec<SocketAddr>>,
) {
    let (store, writer) = reflector::store();
    let changes = watcher(slices, watcher::Config::default().labels(&of_service));
    let mut changes = reflector(writer, changes.default_backoff()).boxed();
    while changes.next().await.is_some() {
        let ready: Vec<SocketAddr> = store
            .state()
            .iter()
            .flat_map(|slice| ready(slice))
            .collect();
        endpoints.send_if_modified(|before| {
            let changed = *before != ready;
            *before = ready;
            changed
        });
    }
}

/// The addresses of a slice that are ready, with its first port.
pub(crate) fn ready(slice: &EndpointSlice) -> Vec<SocketAddr> {
    let port = slice.ports.iter().flatten().find_map(|port| port.port);
    let Some(port) = port.and_then(|port| u16::try_from(port).ok()) else {
        return Vec::new();
    };
    let endpoints = slice.endpoints.iter().flatten();
    endpoints
        .filter(|endpoint| {
            let conditions = endpoint.conditions.as_ref();
            conditions.and_then(|conditions| conditions.ready) == Some(true)
        })
        .flat_map(|endpoint| &endpoint.addresses)
        .filter_map(|address| Some(SocketAddr::new(address.parse().ok()?, port)))
        .collect()
}
