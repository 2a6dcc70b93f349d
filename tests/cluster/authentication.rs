//! Who is let in, by the real API server's rules: its front proxy, its ConfigMap, its reviews. The adapter's API runs in
//! this process, as a user with the two roles that such servers are given and nothing else. By assertion: 9, 14, 44 to
//! 57; what needs a control plane that counts and fails on demand is in `tests/it/api/authentication.rs`.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};
use taffrail::api::auth::Guard;
use taffrail::api::server::{ConnectionLimits, serve};
use taffrail::api::tls::ServingCert;
use taffrail::api::{AppState, GROUP_VERSION_PATH, router};
use taffrail::clock;
use taffrail::engine::snapshot::{Coverage, Merged, ServiceView, Snapshot, State};
use taffrail::model::id::ServiceId;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::sync::DropGuard;

use crate::harness::pki::{Authority, FRONT_PROXY, Identity, client};
use crate::harness::{Cluster, NODE_ADDRESS, Table, table, until};

/// Until a changed rule or ConfigMap counts: the API server's own caches, and ten seconds of ours.
const KNOWN_TIME_MAX: Duration = Duration::from_secs(20);

/// What the adapter is allowed, to its last verb.
const ROLES: &str = "
{apiVersion: rbac.authorization.k8s.io/v1, kind: ClusterRoleBinding, metadata: {name: adapter-reviews},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: 'system:auth-delegator'},
 subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: adapter}]}
---
{apiVersion: rbac.authorization.k8s.io/v1, kind: RoleBinding, metadata: {name: adapter-authorities},
 roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: extension-apiserver-authentication-reader},
 subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: adapter}]}
";

pub(crate) fn tests() -> Table {
    table!("authentication";
        assertions_9_and_57_the_aggregators_own_identities_may_discover,
        assertions_14_and_47_a_caller_without_proof_is_nobody_whatever_its_headers_say,
        assertions_48_and_55_a_client_certificate_is_its_own_user,
        assertions_45_49_and_50_a_certificate_that_proves_nothing_is_a_401,
        assertion_53_a_service_accounts_token_is_its_account;
        alone:
        assertions_44_and_54_a_user_behind_the_aggregator_reads_what_rbac_allows,
        assertion_52_a_rotated_authority_counts_without_a_restart,
        assertion_56_nobody_is_let_in_while_the_api_server_is_down,
    )
}

/// The adapter's API, answering with one service `web` of a namespace until it is dropped.
struct Adapter {
    address: SocketAddr,
    ca_pem: String,
    _stop: DropGuard,
}

impl Adapter {
    async fn start(cluster: &Cluster, namespace: &str) -> anyhow::Result<Self> {
        cluster.kubectl().apply("kube-system", ROLES).await?;
        let api_server = cluster.client_as("adapter", None).await?;
        let guard = Arc::new(Guard::new(api_server, Arc::new(|_| {})));
        let stop = CancellationToken::new();
        let (follower, stopped) = (Arc::clone(&guard), stop.clone());
        tokio::spawn(async move { stopped.run_until_cancelled(follower.follow()).await });

        let (_, snapshots) = watch::channel(Arc::new(web(namespace)));
        let state = AppState::new(snapshots).guarded_by(guard);
        let names = [format!("taffrail.{namespace}.svc")];
        let cert = Arc::new(ServingCert::self_signed(&names, clock::now())?);
        // Every address: the aggregator comes to the node's own, which is no loopback address.
        let listener = TcpListener::bind("0.0.0.0:0").await?;
        let address = SocketAddr::from(([127, 0, 0, 1], listener.local_addr()?.port()));
        tokio::spawn(serve(
            listener,
            cert.server_config(),
            router(Arc::new(state)),
            ConnectionLimits::default(),
            Arc::default(),
            stop.clone().cancelled_owned(),
        ));
        let adapter = Self {
            address,
            ca_pem: cert.ca_pem().context("it was made")?.to_owned(),
            _stop: stop.drop_guard(),
        };
        until("the adapter to be ready", KNOWN_TIME_MAX, async || {
            let answer = adapter.get(&adapter.client(None)?, "/readyz", &[]).await?;
            ensure!(answer.0 == 200, "{answer:?}");
            Ok(())
        })
        .await?;
        Ok(adapter)
    }

    /// A client that goes past the aggregator.
    fn client(&self, identity: Option<&Identity>) -> anyhow::Result<reqwest::Client> {
        let authority = reqwest::Certificate::from_pem(self.ca_pem.as_bytes())?;
        let mut builder = reqwest::Client::builder()
            .tls_certs_only([authority])
            .no_proxy()
            .timeout(Duration::from_secs(10));
        if let Some(Identity { certificate, key }) = identity {
            let pem = format!("{certificate}{key}");
            builder = builder.identity(reqwest::Identity::from_pem(pem.as_bytes())?);
        }
        Ok(builder.build()?)
    }

    /// The code and the body.
    async fn get(
        &self,
        client: &reqwest::Client,
        path: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<(u16, Value)> {
        let mut request = client.get(format!("https://{}{path}", self.address));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let answer = request.send().await?;
        let code = answer.status().as_u16();
        let body = answer.text().await?;
        Ok((
            code,
            serde_json::from_str(&body).unwrap_or(Value::String(body)),
        ))
    }

    /// As `client` asks, until it is answered with `code`.
    async fn until(
        &self,
        code: u16,
        client: &reqwest::Client,
        path: &str,
        headers: &[(&str, &str)],
    ) -> anyhow::Result<Value> {
        let what = format!("{path} to be a {code}");
        until(&what, KNOWN_TIME_MAX, async || {
            let (seen, body) = self.get(client, path, headers).await?;
            ensure!(seen == code, "{seen}: {body}");
            Ok(body)
        })
        .await
    }
}

fn web(namespace: &str) -> Snapshot {
    let at = clock::now();
    let window = Duration::from_secs(60);
    let view = ServiceView {
        id: ServiceId::new(namespace, "web"),
        objective: None,
        // Read for as long as a test takes.
        at: at + Duration::from_secs(600),
        state: State::Ok,
        coverage: Coverage {
            known: 1,
            ..Coverage::default()
        },
        windows: vec![Merged {
            window,
            requests: 6000.0,
            judged: 6000.0,
            busy_s: None,
            cpu_s: None,
            bounds: [f64::INFINITY].into(),
            counts: vec![6000.0],
            layouts: 1,
        }],
        in_flight: None,
        backlogs: Vec::new(),
        pods: Vec::new(),
    };
    Snapshot::new(at + Duration::from_secs(600), vec![view])
}

fn read(namespace: &str) -> String {
    format!("{GROUP_VERSION_PATH}/namespaces/{namespace}/request_rate")
}

/// Lets `subject` read the metrics of a namespace.
async fn allow(cluster: &Cluster, namespace: &str, subject: &str) -> anyhow::Result<()> {
    let kubectl = cluster.kubectl();
    let manifest = json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": {"name": "metrics"},
         "rules": [{"apiGroups": ["external.metrics.k8s.io"], "resources": ["request_rate"], "verbs": ["list"]}]},
    ]});
    kubectl.apply(namespace, &manifest.to_string()).await?;
    let binding = [
        "create",
        "rolebinding",
        "metrics",
        "--role=metrics",
        "--namespace",
        namespace,
    ];
    kubectl.run(binding.into_iter().chain([subject])).await?;
    Ok(())
}

async fn assertions_44_and_54_a_user_behind_the_aggregator_reads_what_rbac_allows(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("aggregated").await?;
    let adapter = Adapter::start(cluster, &namespace).await?;
    allow(cluster, &namespace, "--group=readers").await?;
    let manifest = aggregated(&adapter, &namespace);
    cluster.kubectl().apply(&namespace, &manifest).await?;
    let result = behind_the_aggregator(cluster, &namespace).await;
    // While it stands without its server, no namespace can be deleted.
    let name = "v1beta1.external.metrics.k8s.io";
    cluster
        .kubectl()
        .run(["delete", "apiservice", name])
        .await?;
    result
}

async fn behind_the_aggregator(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let jane = cluster.kubectl_as("jane", Some("readers"))?;
    let path = read(namespace);
    let items = until("jane to read", KNOWN_TIME_MAX, async || {
        let list: Value = serde_json::from_str(&jane.run(["get", "--raw", &path]).await?)?;
        Ok(list["items"].clone())
    })
    .await?;
    ensure!(items[0]["value"] == "100", "{items}");
    let joe = cluster.kubectl_as("joe", None)?;
    let refused = joe.try_run(["get", "--raw", &path]).await?;
    ensure!(
        !refused.success && refused.stderr.contains("forbidden"),
        "{}",
        refused.stderr
    );
    Ok(())
}

/// The objects that make the API server pass the group's requests on.
fn aggregated(adapter: &Adapter, namespace: &str) -> String {
    let port = adapter.address.port();
    let bundle = base64(adapter.ca_pem.as_bytes());
    json!({"apiVersion": "v1", "kind": "List", "items": [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "taffrail"},
         "spec": {"ports": [{"name": "https", "port": 443, "targetPort": port}]}},
        {"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
         "metadata": {"name": "taffrail-1", "labels": {"kubernetes.io/service-name": "taffrail"}},
         "ports": [{"name": "https", "port": port, "protocol": "TCP"}],
         "endpoints": [{"addresses": [NODE_ADDRESS], "conditions": {"ready": true}}]},
        {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
         "metadata": {"name": "v1beta1.external.metrics.k8s.io"},
         "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "caBundle": bundle,
                  "groupPriorityMinimum": 100, "versionPriority": 100,
                  "service": {"name": "taffrail", "namespace": namespace, "port": 443}}},
    ]})
    .to_string()
}

fn base64(bytes: &[u8]) -> Value {
    let bytes = k8s_openapi::ByteString(bytes.to_vec());
    serde_json::to_value(bytes).unwrap_or_default()
}

async fn assertions_9_and_57_the_aggregators_own_identities_may_discover(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let adapter = Adapter::start(cluster, "none").await?;
    let proxy = cluster.pki().front_proxy.sign(&client(FRONT_PROXY, None))?;
    let proxy = adapter.client(Some(&proxy))?;
    let fallback = [("x-remote-user", "system:kube-aggregator")];
    let (code, body) = adapter.get(&proxy, GROUP_VERSION_PATH, &fallback).await?;
    ensure!(code == 200, "{code}: {body}");
    // Nobody else's rules allow a master everything.
    let master = [
        ("x-remote-user", "any"),
        ("x-remote-group", "system:masters"),
    ];
    let (code, body) = adapter.get(&proxy, "/no/such/path", &master).await?;
    ensure!(code == 404, "{code}: {body}");
    Ok(())
}

async fn assertions_14_and_47_a_caller_without_proof_is_nobody_whatever_its_headers_say(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let adapter = Adapter::start(cluster, "shop").await?;
    let nobody = adapter.client(None)?;
    let forged = [
        ("x-remote-user", "system:admin"),
        ("x-remote-group", "system:masters"),
    ];
    for path in [
        read("shop").as_str(),
        "/metrics",
        "/no/such/path",
        "/readyz/ping",
    ] {
        let (code, body) = adapter.get(&nobody, path, &forged).await?;
        ensure!(
            (code, &body["reason"]) == (403, &json!("Forbidden")),
            "{path}: {body}"
        );
        let message = body["message"].as_str().unwrap_or_default();
        ensure!(
            message.contains(r#"User "system:anonymous" cannot"#),
            "{message}"
        );
    }
    // What the rules give to everybody is given here too.
    let (code, body) = adapter.get(&nobody, "/version", &forged).await?;
    ensure!(code == 200, "{code}: {body}");
    Ok(())
}

async fn assertions_48_and_55_a_client_certificate_is_its_own_user(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("direct").await?;
    let adapter = Adapter::start(cluster, &namespace).await?;
    let jane = cluster.pki().cluster.sign(&client("jane", Some("dev")))?;
    let jane = adapter.client(Some(&jane))?;
    let forged = [
        ("x-remote-user", "system:admin"),
        ("x-remote-group", "system:masters"),
    ];
    let (code, body) = adapter.get(&jane, &read(&namespace), &forged).await?;
    ensure!(code == 403, "{code}: {body}");
    let expected = format!(
        "request_rate.external.metrics.k8s.io is forbidden: User \"jane\" cannot list resource \"request_rate\" in API \
         group \"external.metrics.k8s.io\" in the namespace \"{namespace}\""
    );
    ensure!(body["message"] == json!(expected), "{body}");
    allow(cluster, &namespace, "--group=dev").await?;
    let list = adapter
        .until(200, &jane, &read(&namespace), &forged)
        .await?;
    ensure!(list["items"][0]["value"] == "100", "{list}");
    let (code, _) = adapter.get(&jane, &read("kube-system"), &[]).await?;
    ensure!(code == 403, "another namespace: {code}");
    cluster
        .kubectl()
        .run([
            "delete",
            "rolebinding",
            "metrics",
            "--namespace",
            &namespace,
        ])
        .await?;
    adapter.until(403, &jane, &read(&namespace), &[]).await?;
    Ok(())
}

async fn assertions_45_49_and_50_a_certificate_that_proves_nothing_is_a_401(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let adapter = Adapter::start(cluster, "none").await?;
    let pki = cluster.pki();
    let mut expired = client(FRONT_PROXY, None);
    expired.not_before = rcgen::date_time_ymd(2020, 1, 1);
    expired.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let mut of_a_server = client(FRONT_PROXY, None);
    of_a_server.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ServerAuth];
    for (what, identity) in [
        (
            "a name not allowed",
            pki.front_proxy.sign(&client("other", None))?,
        ),
        (
            "a namesake authority",
            Authority::new("front-proxy-ca")?.sign(&client(FRONT_PROXY, None))?,
        ),
        ("expired", pki.front_proxy.sign(&expired)?),
        ("of a server", pki.front_proxy.sign(&of_a_server)?),
    ] {
        let client = adapter.client(Some(&identity))?;
        let master = [
            ("x-remote-user", "any"),
            ("x-remote-group", "system:masters"),
        ];
        let (code, body) = adapter.get(&client, GROUP_VERSION_PATH, &master).await?;
        ensure!(
            (code, &body["kind"]) == (401, &json!("Status")),
            "{what}: {code}: {body}"
        );
    }
    Ok(())
}

async fn assertion_52_a_rotated_authority_counts_without_a_restart(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let adapter = Adapter::start(cluster, "none").await?;
    let next = Authority::new("front-proxy-ca")?;
    let proxy = adapter.client(Some(&next.sign(&client(FRONT_PROXY, None))?))?;
    let master = [
        ("x-remote-user", "any"),
        ("x-remote-group", "system:masters"),
    ];
    adapter
        .until(401, &proxy, GROUP_VERSION_PATH, &master)
        .await?;
    // The API server adds its own authority again, and leaves those of others.
    let both = format!("{}{}", cluster.pki().front_proxy.pem(), next.pem());
    trust(cluster, &both).await?;
    adapter
        .until(200, &proxy, GROUP_VERSION_PATH, &master)
        .await?;
    trust(cluster, cluster.pki().front_proxy.pem()).await?;
    adapter
        .until(401, &proxy, GROUP_VERSION_PATH, &master)
        .await?;
    Ok(())
}

async fn trust(cluster: &Cluster, bundle: &str) -> anyhow::Result<()> {
    let maps = Api::<ConfigMap>::namespaced(cluster.admin(), "kube-system");
    let patch = Patch::Merge(json!({"data": {"requestheader-client-ca-file": bundle}}));
    let name = "extension-apiserver-authentication";
    maps.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

async fn assertion_53_a_service_accounts_token_is_its_account(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("tokens").await?;
    let adapter = Adapter::start(cluster, &namespace).await?;
    let account = format!("--serviceaccount={namespace}:default");
    allow(cluster, &namespace, &account).await?;
    let token = ["create", "token", "default", "--namespace", &namespace];
    let token = cluster.kubectl().run(token).await?;
    let bearer = format!("Bearer {}", token.trim());
    let nobody = adapter.client(None)?;
    let good = [("authorization", bearer.as_str())];
    adapter
        .until(200, &nobody, &read(&namespace), &good)
        .await?;
    let bad = [("authorization", "Bearer made-up")];
    let (code, body) = adapter.get(&nobody, &read(&namespace), &bad).await?;
    ensure!(code == 401, "{code}: {body}");
    Ok(())
}

async fn assertion_56_nobody_is_let_in_while_the_api_server_is_down(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let adapter = Adapter::start(cluster, "none").await?;
    let proxy = cluster.pki().front_proxy.sign(&client(FRONT_PROXY, None))?;
    let proxy = adapter.client(Some(&proxy))?;
    let jane = [("x-remote-user", "jane")];
    cluster.stop_api_server().await?;
    let began = clock::instant();
    let while_down = adapter.get(&proxy, GROUP_VERSION_PATH, &jane).await;
    let took = began.elapsed();
    let master = [
        ("x-remote-user", "any"),
        ("x-remote-group", "system:masters"),
    ];
    let of_a_master = adapter.get(&proxy, GROUP_VERSION_PATH, &master).await;
    cluster.start_api_server().await?;
    let (code, body) = while_down?;
    ensure!(code == 500, "{code}: {body}");
    ensure!(took < Duration::from_secs(2), "{took:?}");
    ensure!(of_a_master?.0 == 200, "a master needs no review");
    adapter
        .until(200, &proxy, GROUP_VERSION_PATH, &jane)
        .await?;
    Ok(())
}
