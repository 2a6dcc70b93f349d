//! A guarded API with authorities of its own, and the control plane that it asks: what the tests of authentication, of custom
//! metrics and of explanations stand on.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use taffrail::api::auth::{AuthEvent, Guard};
use taffrail::api::{AppState, GROUP_VERSION_PATH};

use crate::fixtures::authority::Authority;

use super::control_plane::ControlPlane;
use super::fixture::{Answer, Api, client_builder};
use super::transport::soon;

pub(super) const ACCESS: &str = "SubjectAccessReview";
pub(super) const TOKENS: &str = "TokenReview";

/// The name of a front proxy's certificate.
pub(super) const PROXY: &str = "front-proxy-client";

/// A guarded API, its authorities, and the control plane that it asks.
pub(super) struct Cluster {
    pub(super) plane: ControlPlane,
    pub(super) front_proxy: Authority,
    pub(super) clients: Authority,
    pub(super) api: Api,
    pub(super) events: Arc<Mutex<Vec<AuthEvent>>>,
}

impl Cluster {
    pub(super) async fn start() -> Self {
        Self::with(|_| {}).await
    }

    /// One whose ConfigMap is changed before it is read.
    pub(super) async fn with(change: impl Fn(&mut BTreeMap<String, String>)) -> Self {
        Self::dressed(change, |state| state).await
    }

    /// One whose API is more than a guarded one.
    pub(super) async fn dressed(
        change: impl Fn(&mut BTreeMap<String, String>),
        dress: impl FnOnce(AppState) -> AppState,
    ) -> Self {
        let (front_proxy, clients) = (Authority::new(), Authority::new());
        let mut entries = entries(&front_proxy.ca_pem(), &clients.ca_pem());
        change(&mut entries);
        let plane = ControlPlane::new(Some(entries));
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let observer = Arc::new(move |event| {
            seen.lock().expect("nobody panics with it").push(event);
        });
        let guard = Arc::new(Guard::new(plane.client(), observer));
        let follower = Arc::clone(&guard);
        tokio::spawn(async move { follower.follow().await });
        let api = Api::guarded_by(guard, dress).await;
        let cluster = Self {
            plane,
            front_proxy,
            clients,
            api,
            events,
        };
        cluster
            .until("it is ready", async |api| {
                api.get("/readyz").await.code == 200
            })
            .await;
        cluster
    }

    /// A client with a certificate of `authority`.
    pub(super) fn shows(&self, authority: &Authority, name: &str) -> reqwest::Client {
        self.presents(authority.client(name).identity())
    }

    pub(super) fn presents(&self, identity: reqwest::Identity) -> reqwest::Client {
        let builder = client_builder(self.api.cert.ca_pem()).identity(identity);
        builder.build().expect("a client")
    }

    pub(super) fn proxy(&self) -> reqwest::Client {
        self.shows(&self.front_proxy, PROXY)
    }

    /// Reads a metric as `client`, who says to be `user`.
    pub(super) async fn read(&self, client: &reqwest::Client, user: &str) -> Answer {
        let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/request_rate");
        self.api
            .get_by(client, &path, &[("x-remote-user", user)])
            .await
    }

    pub(super) fn access(&self) -> Vec<Value> {
        self.plane.reviews(ACCESS)
    }

    pub(super) fn events(&self) -> Vec<AuthEvent> {
        self.events.lock().expect("nobody panics with it").clone()
    }

    pub(super) fn failures(&self) -> Vec<&'static str> {
        let reason = |event| match event {
            AuthEvent::Unauthenticated { reason } => Some(reason),
            AuthEvent::TokenReviewed { .. } | AuthEvent::AccessReviewed { .. } => None,
        };
        self.events().into_iter().filter_map(reason).collect()
    }

    pub(super) async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Api) -> bool) {
        soon(what, async {
            while !holds(&self.api).await {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await;
    }
}

/// The ConfigMap as kubeadm's clusters have it.
pub(super) fn entries(front_proxy: &str, clients: &str) -> BTreeMap<String, String> {
    [
        ("client-ca-file", clients),
        ("requestheader-client-ca-file", front_proxy),
        ("requestheader-allowed-names", r#"["front-proxy-client"]"#),
        ("requestheader-username-headers", r#"["X-Remote-User"]"#),
        ("requestheader-uid-headers", r#"["X-Remote-Uid"]"#),
        ("requestheader-group-headers", r#"["X-Remote-Group"]"#),
        (
            "requestheader-extra-headers-prefix",
            r#"["X-Remote-Extra-"]"#,
        ),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_owned(), value.to_owned()))
    .collect()
}
