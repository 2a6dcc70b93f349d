//! The certificate that replicas share and the election of who writes status, with exactly the rights that the manifests
//! give: whatever is refused here would be refused in every cluster.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use k8s_openapi::ByteString;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};
use kube::api::{Api, DeleteParams, Patch, PatchParams};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::json;
use taffrail::api::tls::ServingCert;
use taffrail::api::{Extras, GroupVersion};
use taffrail::cluster::certificate::{Place, SelfManaged};
use taffrail::cluster::lease::{Candidate, Leadership};
use taffrail::metrics::Metrics;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::harness::{Cluster, Table, table, until};

/// The APIService that the certificate is for.
const APISERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// The group of the users that stand for replicas.
const REPLICAS: &str = "taffrail-replicas";

/// Until RBAC knows a new role.
const ROLE_TIME_MAX: Duration = Duration::from_secs(15);

pub(crate) fn tests() -> Table {
    table!("certificate";
        another_replica_writes_status_after_one_that_stops_or_dies;
        alone:
        replicas_that_race_for_an_empty_secret_show_one_certificate_that_the_apiservice_trusts,
        an_apiservice_that_leads_to_another_adapter_is_left_alone,
        a_secret_that_lost_a_key_is_mended_and_nothing_else_in_it_is_touched,
    )
}

async fn replicas_that_race_for_an_empty_secret_show_one_certificate_that_the_apiservice_trusts(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("certificate").await?;
    prepare(
        cluster,
        &namespace,
        &json!({"namespace": namespace, "name": "taffrail"}),
    )
    .await?;
    let (mut a, mut b) = (
        replica(cluster, &namespace, "replica-a").await?,
        replica(cluster, &namespace, "replica-b").await?,
    );

    let (cert_a, cert_b) = tokio::join!(a.0.start(), b.0.start());

    let bundle = spec(cluster).await?.ca_bundle.context("no caBundle")?.0;
    remove_apiservice(cluster).await?;
    let (cert_a, cert_b) = (Arc::new(cert_a), Arc::new(cert_b));
    let shown = shown(&cert_a, &bundle, &namespace).await?;
    assert_eq!(shown, self::shown(&cert_b, &bundle, &namespace).await?);
    let stored = secret(cluster, &namespace)
        .await?
        .data
        .context("an empty Secret")?;
    assert_eq!(shown, CertificateDer::from_pem_slice(&stored["tls.crt"].0)?);
    assert_eq!(bundle, stored["ca.crt"].0);
    for metrics in [a.1, b.1] {
        assert!(metrics.text().contains(
            r#"taffrail_apiservice_ours{apiservice="v1beta1.external.metrics.k8s.io"} 1"#
        ));
        let reloads = "taffrail_certificate_reloads_total{result=\"success\"} 1";
        assert!(metrics.text().contains(reloads), "{}", metrics.text());
    }
    Ok(())
}

async fn an_apiservice_that_leads_to_another_adapter_is_left_alone(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("foreign").await?;
    let keda = json!({"namespace": namespace, "name": "keda-operator-metrics-apiserver"});
    prepare(cluster, &namespace, &keda).await?;
    let before = spec(cluster).await?;
    let (mut replica, metrics) = replica(cluster, &namespace, "replica-a").await?;

    replica.start().await;

    let after = spec(cluster).await?;
    remove_apiservice(cluster).await?;
    assert_eq!(before, after);
    assert!(
        metrics.text().contains(
            r#"taffrail_apiservice_ours{apiservice="v1beta1.external.metrics.k8s.io"} 0"#
        )
    );
    Ok(())
}

async fn a_secret_that_lost_a_key_is_mended_and_nothing_else_in_it_is_touched(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("mended").await?;
    prepare(
        cluster,
        &namespace,
        &json!({"namespace": namespace, "name": "taffrail"}),
    )
    .await?;
    let (mut replica, _) = replica(cluster, &namespace, "replica-a").await?;
    replica.start().await;
    let patch = json!({"data": {"tls.key": null}, "stringData": {"note": "ours"}});
    Api::<Secret>::namespaced(cluster.admin(), &namespace)
        .patch(
            "taffrail-tls",
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await?;
    let before = secret(cluster, &namespace)
        .await?
        .data
        .context("an empty Secret")?;

    let cert = Arc::new(replica.start().await);

    let bundle = spec(cluster).await?.ca_bundle.context("no caBundle")?.0;
    remove_apiservice(cluster).await?;
    let after = secret(cluster, &namespace)
        .await?
        .data
        .context("an empty Secret")?;
    assert_eq!(before["ca.crt"], after["ca.crt"], "the authority was sound");
    assert_ne!(before["tls.crt"], after["tls.crt"]);
    assert_eq!(after["note"], ByteString(b"ours".to_vec()));
    shown(&cert, &bundle, &namespace).await?;
    Ok(())
}

async fn another_replica_writes_status_after_one_that_stops_or_dies(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let namespace = cluster.namespace("lease").await?;
    let lease = json!({
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "taffrail"},
    });
    cluster
        .kubectl()
        .apply(&namespace, &lease.to_string())
        .await?;
    let rule = json!({"apiGroups": ["coordination.k8s.io"], "resources": ["leases"],
        "resourceNames": ["taffrail"], "verbs": ["get", "update"]});
    allow(cluster, &namespace, &rule).await?;
    let a = contender(cluster, &namespace, "replica-a").await?;
    let leads = async |who: &Leadership| match who.is_leader() {
        true => Ok(()),
        false => anyhow::bail!("it does not lead"),
    };
    until("the first to lead", ROLE_TIME_MAX, async || {
        leads(&a.leadership).await
    })
    .await?;
    let b = contender(cluster, &namespace, "replica-b").await?;
    let c = contender(cluster, &namespace, "replica-c").await?;

    // In order: the Lease is given back, so nobody waits for its end.
    a.stop.cancel();
    a.task.await?;
    assert!(!a.leadership.is_leader());
    let next = async || leads(&b.leadership).await.or(leads(&c.leadership).await);
    until("another to lead", Duration::from_secs(10), next).await?;
    let (dies, waits) = match b.leadership.is_leader() {
        true => (b, c),
        false => (c, b),
    };
    assert!(!waits.leadership.is_leader());

    dies.task.abort();
    until("the last to lead", Duration::from_secs(40), async || {
        let both = dies.leadership.is_leader() && waits.leadership.is_leader();
        assert!(!both, "two lead at once");
        leads(&waits.leadership).await
    })
    .await?;
    let leases = Api::<Lease>::namespaced(cluster.admin(), &namespace);
    let spec = leases
        .get("taffrail")
        .await?
        .spec
        .context("an empty Lease")?;
    assert_eq!(spec.lease_transitions, Some(3));
    waits.stop.cancel();
    waits.task.await?;
    Ok(())
}

/// A replica in the election.
struct Contender {
    leadership: Leadership,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

async fn contender(cluster: &Cluster, namespace: &str, user: &str) -> anyhow::Result<Contender> {
    let client = cluster.client_as(user, Some(REPLICAS)).await?;
    let (candidate, leadership) = Candidate::new(client, namespace, "taffrail", user);
    let stop = CancellationToken::new();
    Ok(Contender {
        leadership,
        task: tokio::spawn(candidate.run(stop.clone())),
        stop,
    })
}

async fn replica(
    cluster: &Cluster,
    namespace: &str,
    user: &str,
) -> anyhow::Result<(SelfManaged, Arc<Metrics>)> {
    let client = cluster.client_as(user, Some(REPLICAS)).await?;
    let (_, snapshots) = watch::channel(Arc::default());
    let metrics = Arc::new(Metrics::new(snapshots));
    let place = Place {
        namespace: namespace.to_owned(),
        service: "taffrail".to_owned(),
        cluster_domain: "cluster.local".to_owned(),
        secret: "taffrail-tls".to_owned(),
    };
    let secrets = Api::<Secret>::namespaced(client.clone(), namespace);
    let apiservices = Api::<APIService>::all(client.clone());
    until("the roles to be known", ROLE_TIME_MAX, async || {
        secrets.get("taffrail-tls").await?;
        apiservices.get(APISERVICE).await?;
        Ok(())
    })
    .await?;
    Ok((
        SelfManaged::new(
            &client,
            place,
            GroupVersion::served(Extras::default()),
            Arc::clone(&metrics),
        ),
        metrics,
    ))
}

/// The empty Secret, an APIService that leads to `service`, and the rights of the manifests.
async fn prepare(
    cluster: &Cluster,
    namespace: &str,
    service: &serde_json::Value,
) -> anyhow::Result<()> {
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {"name": "taffrail-tls"},
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": APISERVICE},
            "spec": {
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": service,
            },
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": "taffrail-apiservice"},
            "rules": [{"apiGroups": ["apiregistration.k8s.io"], "resources": ["apiservices"],
                "resourceNames": [APISERVICE], "verbs": ["get", "patch"]}],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "taffrail-apiservice"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole",
                "name": "taffrail-apiservice"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": REPLICAS}],
        },
    ]});
    cluster
        .kubectl()
        .apply(namespace, &objects.to_string())
        .await?;
    let rule = json!({"apiGroups": [""], "resources": ["secrets"],
        "resourceNames": ["taffrail-tls"], "verbs": ["get", "update"]});
    allow(cluster, namespace, &rule).await
}

/// Lets the replicas do in `namespace` what `rule` says, and nothing else.
async fn allow(cluster: &Cluster, namespace: &str, rule: &serde_json::Value) -> anyhow::Result<()> {
    let objects = json!({"apiVersion": "v1", "kind": "List", "items": [
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "Role",
            "metadata": {"name": "taffrail"},
            "rules": [rule],
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "RoleBinding",
            "metadata": {"name": "taffrail"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "taffrail"},
            "subjects": [{"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": REPLICAS}],
        },
    ]});
    cluster
        .kubectl()
        .apply(namespace, &objects.to_string())
        .await?;
    Ok(())
}

async fn spec(cluster: &Cluster) -> anyhow::Result<APIServiceSpec> {
    let found = Api::<APIService>::all(cluster.admin())
        .get(APISERVICE)
        .await?;
    found.spec.context("an APIService without a spec")
}

/// While it leads to nobody who answers, no namespace can be deleted.
async fn remove_apiservice(cluster: &Cluster) -> anyhow::Result<()> {
    let apiservices = Api::<APIService>::all(cluster.admin());
    apiservices
        .delete(APISERVICE, &DeleteParams::default())
        .await?;
    Ok(())
}

async fn secret(cluster: &Cluster, namespace: &str) -> anyhow::Result<Secret> {
    Ok(Api::namespaced(cluster.admin(), namespace)
        .get("taffrail-tls")
        .await?)
}

/// The certificate that `cert` shows to a client that trusts `bundle` and asks for the name that API servers ask for.
async fn shown(
    cert: &Arc<ServingCert>,
    bundle: &[u8],
    namespace: &str,
) -> anyhow::Result<CertificateDer<'static>> {
    let mut roots = rustls::RootCertStore::empty();
    for authority in CertificateDer::pem_slice_iter(bundle) {
        roots.add(authority?)?;
    }
    let config = rustls::ClientConfig::builder()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let acceptor = tokio_rustls::TlsAcceptor::from(cert.server_config());
    let name = ServerName::try_from(format!("taffrail.{namespace}.svc"))?;
    let (client, server) = tokio::io::duplex(64 * 1024);
    let (client, _server) =
        tokio::try_join!(connector.connect(name, client), acceptor.accept(server))?;
    let (_, connection) = client.get_ref();
    let chain = connection.peer_certificates().context("no certificate")?;
    Ok(chain[0].clone().into_owned())
}
