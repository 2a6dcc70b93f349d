//! The adapter as Helm installs it: every render of the chart is what the real API server takes, and the default one runs
//! with exactly its rights, passes its own test, changes its certificate and leaves nothing behind. One installation
//! serves all checks, since it is what takes time.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde_json::{Value, json};

use crate::harness::pki::{Authority, server};
use crate::harness::{Cluster, Table, table, until};
use crate::{adapter, tenancy, uninstall};

const CHART: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/chart");

const IN_NAMESPACE: &str = "--namespace=taffrail";

const EXTERNAL: &str = "v1beta1.external.metrics.k8s.io";

/// Groups whose definitions other projects bring.
const FOREIGN_GROUPS: [&str; 3] = [
    "cert-manager.io/",
    "monitoring.coreos.com/",
    "autoscaling.k8s.io/",
];

/// A whole installation or removal: pods, their grace, and what the controllers do about it.
const DONE: Duration = Duration::from_secs(120);

pub(crate) fn tests() -> Table {
    table!("install";; alone:
        every_render_of_the_chart_is_taken_by_the_api_server,
        d_08_another_adapters_apiservice_stops_the_installation_and_says_what_to_do,
        the_chart_is_installed_tested_upgraded_and_uninstalled,
    )
}

/// Everything that the value files for rendering bring forth, each object once, by strict validation and all of the API
/// server's own rules.
async fn every_render_of_the_chart_is_taken_by_the_api_server(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let helm = cluster.kubectl().helm();
    let mut objects = BTreeSet::new();
    let mut renders = 0;
    for entry in std::fs::read_dir(Path::new(CHART).join("ci"))? {
        let values = entry?.path().display().to_string();
        let render = [
            "template",
            "taffrail",
            CHART,
            IN_NAMESPACE,
            "--values",
            &values,
        ];
        let rendered = helm.run(render).await.context(values.clone())?;
        let documents: Vec<Value> = serde_saphyr::from_multiple(&rendered)?;
        objects.extend(
            documents
                .iter()
                .filter(|one| is_ours_to_try(one))
                .map(Value::to_string),
        );
        renders += 1;
    }
    ensure!(
        10 < renders && 40 < objects.len(),
        "{renders} renders, {} objects",
        objects.len()
    );
    let mut namespaces = BTreeSet::new();
    let mut items = Vec::new();
    for object in &objects {
        let object: Value = serde_json::from_str(object)?;
        namespaces.extend(object["metadata"]["namespace"].as_str().map(str::to_owned));
        items.push(object);
    }
    let kubectl = cluster.kubectl();
    for namespace in &namespaces {
        kubectl
            .apply("default", &namespace_object(namespace))
            .await?;
    }
    let apply = [
        "apply",
        "--server-side",
        "--dry-run=server",
        "--validate=strict",
        "--filename=-",
    ];
    let list = json!({"apiVersion": "v1", "kind": "List", "items": items});
    kubectl.run_with(apply, &list.to_string()).await?;
    namespaces.remove("kube-system");
    let delete = ["delete", "namespace"].into_iter();
    let delete = delete.chain(namespaces.iter().map(String::as_str));
    kubectl.run(delete).await?;
    Ok(())
}

/// Whether this cluster can judge it. A pod is not tried but run: it needs its account to be there.
fn is_ours_to_try(object: &Value) -> bool {
    let version = object["apiVersion"].as_str().unwrap_or_default();
    let is_foreign = FOREIGN_GROUPS
        .iter()
        .any(|group| version.starts_with(group));
    object.is_object() && !is_foreign && object["kind"] != "Pod"
}

fn namespace_object(name: &str) -> String {
    json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}).to_string()
}

async fn d_08_another_adapters_apiservice_stops_the_installation_and_says_what_to_do(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    uninstall::removed(cluster).await?;
    let foreign = json!({
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": EXTERNAL},
        "spec": {"group": "external.metrics.k8s.io", "version": "v1beta1", "insecureSkipTLSVerify": true,
                 "groupPriorityMinimum": 100, "versionPriority": 100,
                 "service": {"namespace": "keda", "name": "keda-operator-metrics-apiserver", "port": 443}},
    });
    let kubectl = cluster.kubectl();
    kubectl.apply("default", &foreign.to_string()).await?;
    let install = [
        "install",
        "taffrail",
        CHART,
        IN_NAMESPACE,
        "--create-namespace",
    ];
    let refused = kubectl.helm().try_run(install).await;
    // While it stands without its Service, no namespace can be deleted.
    kubectl.run(["delete", "apiservice", EXTERNAL]).await?;
    let refused = refused?;
    ensure!(!refused.success, "{}", refused.stdout);
    for said in [
        "leads to Service keda/keda-operator-metrics-apiserver",
        "apiService.create=false",
        "delegate.url=https://keda-operator-metrics-apiserver.keda.svc",
    ] {
        ensure!(
            refused.stderr.contains(said),
            "no {said} in:\n{}",
            refused.stderr
        );
    }
    uninstall::nothing_is_left(cluster).await
}

async fn the_chart_is_installed_tested_upgraded_and_uninstalled(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    uninstall::removed(cluster).await?;
    uninstall::gone(cluster, adapter::NAMESPACE).await?;
    let helm = cluster.kubectl().helm();
    let install = [
        "install",
        "taffrail",
        CHART,
        IN_NAMESPACE,
        "--create-namespace",
        "--set=metrics.readers[0].name=prometheus,metrics.readers[0].namespace=taffrail",
        "--wait",
        "--timeout=2m",
    ];
    helm.run(install).await?;
    adapter::available(cluster, EXTERNAL).await?;
    passes_its_test(cluster).await?;
    tenancy::exactly_these_rights(cluster).await?;
    metrics_are_for_whoever_may_get_them(cluster).await?;
    d_01_d_02_the_bundle_is_the_authority_of_the_stored_secret(cluster).await?;
    passes_its_test(cluster).await?;

    helm.run([
        "uninstall",
        "taffrail",
        IN_NAMESPACE,
        "--wait",
        "--timeout=2m",
    ])
    .await?;
    // It keeps the definition, and with it everybody's RequestMetrics, until somebody says otherwise.
    let crd = [
        "delete",
        "customresourcedefinition",
        "requestmetrics.taffrail.dev",
    ];
    cluster.kubectl().run(crd).await?;
    uninstall::gone(cluster, adapter::NAMESPACE).await?;
    uninstall::nothing_is_left(cluster).await
}

/// The Pod of `helm test`, which asks through the API server by its own account.
async fn passes_its_test(cluster: &Cluster) -> anyhow::Result<()> {
    let test = ["test", "taffrail", IN_NAMESPACE, "--timeout=2m"];
    let tested = cluster.kubectl().helm().run(test).await;
    let said = cluster.log(adapter::NAMESPACE, "taffrail-check", "check");
    tested.with_context(|| said.clone())?;
    let available = format!(
        "ok       apiservice {EXTERNAL}: available, and leads to Service taffrail/taffrail"
    );
    ensure!(said.contains(&available), "{said}");
    Ok(())
}

/// `/metrics` of the API's own port: as a ServiceMonitor of the chart reads it, and as nobody else may.
async fn metrics_are_for_whoever_may_get_them(cluster: &Cluster) -> anyhow::Result<()> {
    let kubectl = cluster.kubectl();
    kubectl
        .run(["create", "serviceaccount", "prometheus", IN_NAMESPACE])
        .await?;
    let token = async |account: &str| {
        let token = kubectl
            .run(["create", "token", account, IN_NAMESPACE])
            .await?;
        anyhow::Ok(token.trim().to_owned())
    };
    let secret = [
        "get",
        "secret",
        "taffrail-certificate",
        IN_NAMESPACE,
        "--output=json",
    ];
    let secret: Value = serde_json::from_str(&kubectl.run(secret).await?)?;
    let authority = secret["data"]["ca.crt"].as_str().context("no ca.crt")?;
    let authority = reqwest::Certificate::from_pem(&BASE64.decode(authority)?)?;
    let pods = adapter::replicas(cluster).await?;
    let pod = pods
        .iter()
        .find_map(|pod| pod.status.as_ref()?.pod_ip.clone());
    let address: SocketAddr = format!("{}:10250", pod.context("no address")?).parse()?;
    let client = reqwest::Client::builder()
        .tls_certs_only([authority])
        .resolve("taffrail.taffrail.svc", address)
        .no_proxy()
        .timeout(Duration::from_secs(10))
        .build()?;
    let get = async |token: &str| {
        let page = client
            .get("https://taffrail.taffrail.svc:10250/metrics")
            .bearer_auth(token);
        let page = page.send().await?;
        anyhow::Ok((page.status().as_u16(), page.text().await?))
    };
    let prometheus = token("prometheus").await?;
    until("Prometheus to be let in", DONE, async || {
        let (code, page) = get(&prometheus).await?;
        ensure!(
            code == 200 && page.contains("taffrail_build_info"),
            "{code}: {page}"
        );
        Ok(())
    })
    .await?;
    let (code, page) = get(&token("default").await?).await?;
    ensure!(
        code == 403 && page.contains(r#"cannot get path \"/metrics\""#),
        "{code}: {page}"
    );
    let (code, page) = get("made-up").await?;
    ensure!(code == 401, "{code}: {page}");
    Ok(())
}

/// An upgrade to a certificate from elsewhere, of a chain of two: what API servers get is its root, which is in `ca.crt`,
/// and neither the leaf nor the authority in between, which are in `tls.crt`.
async fn d_01_d_02_the_bundle_is_the_authority_of_the_stored_secret(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let root = Authority::new("platform")?;
    let between = root.below("platform-issuer")?;
    let leaf = between.sign(&server(&["taffrail.taffrail.svc"])?)?;
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/tls",
        "metadata": {"name": "platform-tls"},
        "stringData": {
            "ca.crt": root.pem(),
            "tls.crt": format!("{}{}", leaf.certificate, between.pem()),
            "tls.key": leaf.key,
        },
    });
    let kubectl = cluster.kubectl();
    kubectl
        .apply(adapter::NAMESPACE, &secret.to_string())
        .await?;
    let upgrade = [
        "upgrade",
        "taffrail",
        CHART,
        IN_NAMESPACE,
        "--reuse-values",
        // The replicas own the bundle that they keep, until somebody takes it from them.
        "--force-conflicts",
        "--set=tls.mode=existing-secret,tls.existingSecret.name=platform-tls",
        "--wait",
        "--timeout=2m",
    ];
    kubectl.helm().run(upgrade).await?;
    let get = [
        "get",
        "apiservice",
        EXTERNAL,
        "--output=jsonpath={.spec.caBundle}",
    ];
    let bundle = BASE64.decode(kubectl.run(get).await?)?;
    ensure!(
        bundle == root.pem().as_bytes(),
        "{}",
        String::from_utf8_lossy(&bundle)
    );
    adapter::rolled_out(cluster).await?;
    adapter::available(cluster, EXTERNAL).await
}
