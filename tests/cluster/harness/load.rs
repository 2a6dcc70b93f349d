//! Users of a Service: load sent to its ready endpoints as they come and go, which is what a cluster's proxy does. The
//! moments and the report are the load generator's.

use anyhow::Context;
use http::{HeaderValue, Uri};
use taffrail_loadtest::arrivals::{Arrivals, Spacing};
use taffrail_loadtest::discovery::{DiscoveryError, follow_endpoints};
use taffrail_loadtest::engine::{Config, Engine};
use taffrail_loadtest::measured::Measured;
use taffrail_loadtest::profile::Profile;
use taffrail_loadtest::scenario::ObjectName;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Equal runs send at equal moments.
const SEED: u64 = 1;

/// The port of every Service here.
const PORT: u16 = 80;

/// Load under way; dropping it ends it.
pub(crate) struct Load {
    cancel: CancellationToken,
    run: JoinHandle<Measured>,
    endpoints: JoinHandle<Result<(), DiscoveryError>>,
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
        let (sender, receiver) = watch::channel(Vec::new());
        let named = ObjectName {
            namespace: namespace.to_owned(),
            name: service.to_owned(),
        };
        let endpoints = tokio::spawn(follow_endpoints(client, named, PORT, sender));
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
        let measured = (&mut self.run).await.context("sending load")?;
        // It follows them for as long as it is asked, or says at once why it cannot.
        if self.endpoints.is_finished() {
            (&mut self.endpoints)
                .await
                .context("following endpoints")??;
        }
        Ok(measured)
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
