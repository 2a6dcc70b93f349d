//! A served snapshot of two services, and a client that trusts its certificate.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use taffrail::api::auth::Guard;
use taffrail::api::delegate::Delegate;
use taffrail::api::explain::Explains;
use taffrail::api::server::{ConnectionCounts, ConnectionLimits, Drained, serve};
use taffrail::api::tls::ServingCert;
use taffrail::api::{
    AppState, Extras, GROUP_VERSION_PATH, GroupVersion, Limits, RequestEvent, router,
};
use taffrail::clock;
use taffrail::engine::Objective;
use taffrail::engine::snapshot::{Coverage, Merged, ServiceView, Snapshot, State};
use taffrail::model::id::ServiceId;
use taffrail::model::time::Timestamp;
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Custom metrics beside external ones.
pub(crate) const CUSTOM: Extras = Extras {
    custom_metrics: true,
    explanations: false,
};

pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// A running API.
pub(crate) struct Api {
    pub(crate) address: SocketAddr,
    pub(crate) state: Arc<AppState>,
    pub(crate) client: reqwest::Client,
    pub(crate) cert: Arc<ServingCert>,
    pub(crate) counts: Arc<ConnectionCounts>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    events: Arc<Mutex<Vec<RequestEvent>>>,
    stop: Option<oneshot::Sender<()>>,
    served: JoinHandle<Drained>,
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) code: u16,
    pub(crate) headers: reqwest::header::HeaderMap,
    pub(crate) body: String,
}

impl Api {
    /// Serves the two services of [`shop`].
    pub(crate) async fn start() -> Self {
        Self::with(
            shop(clock::now()),
            Limits::default(),
            ConnectionLimits::default(),
        )
        .await
    }

    /// Serves `snapshot`.
    pub(crate) async fn of(snapshot: Snapshot) -> Self {
        Self::with(snapshot, Limits::default(), ConnectionLimits::default()).await
    }

    pub(crate) async fn with(
        snapshot: Snapshot,
        limits: Limits,
        connections: ConnectionLimits,
    ) -> Self {
        let cert = ServingCert::self_signed(&["taffrail.shop.svc".to_owned()], clock::now());
        Self::with_cert(snapshot, limits, connections, cert.expect("legal names")).await
    }

    pub(crate) async fn with_cert(
        snapshot: Snapshot,
        limits: Limits,
        connections: ConnectionLimits,
        cert: ServingCert,
    ) -> Self {
        Self::serve(snapshot, limits, connections, cert, |state| state, router).await
    }

    /// Serves `snapshot` as custom metrics as well.
    pub(crate) async fn with_custom_metrics(snapshot: Snapshot) -> Self {
        let cert = ServingCert::self_signed(&[], clock::now()).expect("legal names");
        Self::serve(
            snapshot,
            Limits::default(),
            ConnectionLimits::default(),
            cert,
            |state: AppState| state.serving(GroupVersion::served(CUSTOM)),
            router,
        )
        .await
    }

    /// Serves [`shop`], and explanations.
    pub(crate) async fn explained_by(explains: Arc<dyn Explains>) -> Self {
        let cert = ServingCert::self_signed(&[], clock::now()).expect("legal names");
        Self::serve(
            shop(clock::now()),
            Limits::default(),
            ConnectionLimits::default(),
            cert,
            |state| explained(state, explains),
            router,
        )
        .await
    }

    /// Serves [`shop`] to whom `guard` lets in, custom metrics included, and what `more` makes of that.
    pub(crate) async fn guarded_by(
        guard: Arc<Guard>,
        more: impl FnOnce(AppState) -> AppState,
    ) -> Self {
        let cert = ServingCert::self_signed(&[], clock::now()).expect("legal names");
        let dress = |state: AppState| {
            more(
                state
                    .guarded_by(guard)
                    .serving(GroupVersion::served(CUSTOM)),
            )
        };
        Self::serve(
            shop(clock::now()),
            Limits::default(),
            ConnectionLimits::default(),
            cert,
            dress,
            router,
        )
        .await
    }

    /// Serves the two services, and asks another adapter for the rest.
    /// Requests may take as long as the delegate may, and more: a loaded machine is no finding.
    pub(crate) async fn delegating_to(delegate: Delegate) -> Self {
        let cert = ServingCert::self_signed(&[], clock::now()).expect("legal names");
        let dress = |state: AppState| state.delegating_to(Arc::new(delegate));
        Self::serve(
            shop(clock::now()),
            Limits {
                deadline: Duration::from_secs(15),
                ..Limits::default()
            },
            ConnectionLimits::default(),
            cert,
            dress,
            router,
        )
        .await
    }

    /// Serves other paths than the API's.
    pub(crate) async fn of_router(router: axum::Router, connections: ConnectionLimits) -> Self {
        let cert = ServingCert::self_signed(&[], clock::now()).expect("legal names");
        Self::serve(
            Snapshot::default(),
            Limits::default(),
            connections,
            cert,
            |state| state,
            |_| router,
        )
        .await
    }

    async fn serve(
        snapshot: Snapshot,
        limits: Limits,
        connections: ConnectionLimits,
        cert: ServingCert,
        dress: impl FnOnce(AppState) -> AppState,
        router: impl FnOnce(Arc<AppState>) -> axum::Router,
    ) -> Self {
        let (snapshots, latest) = watch::channel(Arc::new(snapshot));
        let events = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&events);
        let state = dress(AppState::new(latest).with_limits(limits));
        let state = Arc::new(state.observed_by(Arc::new(move |event| {
            seen.lock().expect("nobody panics with it").push(event);
        })));
        let cert = Arc::new(cert);
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let (stop, stopped) = oneshot::channel::<()>();
        let counts = Arc::new(ConnectionCounts::default());
        let served = tokio::spawn(serve(
            listener,
            cert.server_config(),
            router(Arc::clone(&state)),
            connections,
            Arc::clone(&counts),
            async {
                let _ = stopped.await;
            },
        ));
        Self {
            address,
            state,
            client: client(cert.ca_pem()),
            cert,
            counts,
            snapshots,
            events,
            stop: Some(stop),
            served,
        }
    }

    pub(crate) fn publish(&self, snapshot: Snapshot) {
        self.snapshots.send_replace(Arc::new(snapshot));
    }

    pub(crate) fn events(&self) -> Vec<RequestEvent> {
        self.events.lock().expect("nobody panics with it").clone()
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.address)
    }

    /// GET as the HPA controller asks.
    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.get_with(
            path,
            &[("accept", "application/vnd.kubernetes.protobuf, */*")],
        )
        .await
    }

    pub(crate) async fn get_with(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        self.get_by(&self.client, path, headers).await
    }

    /// GET by somebody.
    pub(crate) async fn get_by(
        &self,
        client: &reqwest::Client,
        path: &str,
        headers: &[(&str, &str)],
    ) -> Answer {
        let request = headers
            .iter()
            .fold(client.get(self.url(path)), |request, (name, value)| {
                request.header(*name, *value)
            });
        Answer::of(request).await
    }

    /// Reads a metric of namespace `shop`, `query` being what follows the metric's name.
    pub(crate) async fn read(&self, query: &str) -> Answer {
        self.get(&format!("{GROUP_VERSION_PATH}/namespaces/shop/{query}"))
            .await
    }

    /// Begins to stop, and gives the end of it.
    pub(crate) fn stop(&mut self) -> &mut JoinHandle<Drained> {
        drop(self.stop.take());
        &mut self.served
    }
}

impl Answer {
    pub(crate) async fn of(request: reqwest::RequestBuilder) -> Self {
        let response = request.send().await.expect("an answer");
        Self {
            code: response.status().as_u16(),
            headers: response.headers().clone(),
            body: response.text().await.expect("a whole body"),
        }
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        let value = self
            .headers
            .get(name)
            .unwrap_or_else(|| panic!("no {name}: {self:?}"));
        value.to_str().expect("text")
    }

    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), "application/json", "{self:?}");
        assert!(self.body.ends_with('\n'), "{self:?}");
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The items' values, added up as the HPA does.
    pub(crate) fn values(&self) -> Vec<f64> {
        assert_eq!(self.code, 200, "{self:?}");
        let json = self.json();
        let items = json["items"].as_array().expect("items");
        items.iter().map(|item| quantity(&item["value"])).collect()
    }

    /// Asserts a `Status` of this code and reason that asks for no retry, and gives its message.
    pub(crate) fn refused(&self, code: u16, reason: &str) -> String {
        let json = self.json();
        assert_eq!(self.code, code, "{self:?}");
        assert_eq!(json["kind"], "Status");
        assert_eq!(json["apiVersion"], "v1");
        assert_eq!(json["status"], "Failure");
        assert_eq!(json["reason"], reason, "{self:?}");
        assert_eq!(json["code"], code);
        assert!(!self.headers.contains_key("retry-after"), "{self:?}");
        json["message"].as_str().expect("a message").to_owned()
    }
}

/// The same API, with every group.
pub(crate) fn explained(state: AppState, explains: Arc<dyn Explains>) -> AppState {
    let extras = Extras {
        explanations: true,
        ..CUSTOM
    };
    state
        .explained_by(explains)
        .serving(GroupVersion::served(extras))
}

/// A client that trusts the authority `ca_pem` alone; no proxy of the environment is in between.
pub(crate) fn client(ca_pem: Option<&str>) -> reqwest::Client {
    client_builder(ca_pem).build().expect("a client")
}

pub(crate) fn client_builder(ca_pem: Option<&str>) -> reqwest::ClientBuilder {
    install_crypto();
    let authorities =
        ca_pem.map(|pem| reqwest::Certificate::from_pem(pem.as_bytes()).expect("a certificate"));
    reqwest::Client::builder()
        .tls_certs_only(authorities)
        .no_proxy()
        .timeout(Duration::from_secs(20))
}

/// reqwest takes the process's provider. Another test may have set it first.
pub(crate) fn install_crypto() {
    let _ = rustls::crypto::ring::default_provider().install_default();
}

/// A Quantity as a number, as far as this API writes them: whole numbers and thousandths.
fn quantity(value: &Value) -> f64 {
    let text = value.as_str().expect("a string");
    match text.strip_suffix('m') {
        Some(milli) => milli.parse::<f64>().expect("digits") / 1000.0,
        None => text.parse().expect("digits"),
    }
}

/// Services `a` and `b` of namespace `shop`: 100 and 50 requests per second, both with a median latency of 412.5 ms.
pub(crate) fn shop(at: Timestamp) -> Snapshot {
    Snapshot::new(
        at,
        vec![
            service("shop", "a", 100.0, at),
            service("shop", "b", 50.0, at),
        ],
    )
}

/// A service whose requests all took from 400 to 425 ms, so that half of them took at most 412.5 ms.
pub(crate) fn service(namespace: &str, name: &str, rate: f64, at: Timestamp) -> ServiceView {
    let requests = rate * WINDOW.as_secs_f64();
    ServiceView {
        id: ServiceId::new(namespace, name),
        objective: Some(Objective {
            quantile: 0.5,
            latency: Duration::from_millis(400),
        }),
        at,
        state: State::Ok,
        coverage: Coverage {
            known: 1,
            ..Coverage::default()
        },
        windows: vec![Merged {
            window: WINDOW,
            requests,
            judged: requests,
            busy_s: Some(requests * 0.4125),
            cpu_s: None,
            bounds: [0.4, 0.425, f64::INFINITY].into(),
            counts: vec![0.0, requests, requests],
            layouts: 1,
        }],
        in_flight: None,
        backlogs: Vec::new(),
        pods: Vec::new(),
    }
}

/// Asserts that `actual` is the document in `tests/data/api/NAME`, in which VERSION stands for the program's version.
pub(crate) fn assert_golden(name: &str, actual: &Value) {
    let path = format!("{}/tests/data/api/{name}", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"));
    let golden = golden.replace("VERSION", env!("CARGO_PKG_VERSION"));
    let expected: Value = serde_json::from_str(&golden).expect("JSON");
    assert_eq!(
        *actual,
        expected,
        "{path} differs from:\n{}",
        serde_json::to_string_pretty(actual).expect("JSON")
    );
}
