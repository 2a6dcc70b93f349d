//! What one team may not do to another, and what the adapter itself may not: whose pods an object reads, where it may
//! connect to, who reads its metrics, whose secrets it sees, and every right that the manifests give.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::Request;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use kube::api::Api;
use kube::{Client, ResourceExt};
use serde_json::{Value, json};
use taffrail::clock;

use crate::adapter;
use crate::harness::{Cluster, NODE_ADDRESS, Redis, Table, sample, table, until};
use crate::service::{self, SOON};

/// A Secret is read again every 30 s, a fifth more or less, and its news is a scrape and a status later.
const ROTATED: Duration = Duration::from_secs(75);

/// Some syncs of the HPA controller, and longer than it remembers recommendations here.
const HELD: Duration = Duration::from_secs(12);

/// So many reads miss one of two replicas once in a thousand times.
const READS_OF_ALL: u32 = 10;

/// Who the adapter is.
const ACCOUNT: &str = "system:serviceaccount:taffrail:taffrail";

pub(crate) fn tests() -> Table {
    table!("tenancy";
        an_object_reads_pods_of_its_own_namespace_and_network_only,
        a_reader_sees_the_metrics_of_namespaces_where_it_is_allowed,
        the_adapter_has_exactly_the_rights_it_needs,
        a_rotated_token_is_used_and_a_wrong_one_holds_the_replicas;
        alone:
        only_the_redis_servers_that_the_operator_lists_are_read,
    )
}

async fn an_object_reads_pods_of_its_own_namespace_and_network_only(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let (quiet, busy) = (
        cluster.namespace("quiet").await?,
        cluster.namespace("busy").await?,
    );
    // Of the node's network, and of the same labels.
    let mut spec = sample::pod_spec(&[]);
    spec["hostNetwork"] = true.into();
    let pod = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "of-the-node", "labels": {"app": "web"}},
        "spec": spec,
    });
    cluster.kubectl().apply(&quiet, &pod.to_string()).await?;
    for namespace in [&quiet, &busy] {
        service::run(cluster, namespace, "web", 1).await?;
    }
    let load = service::steady(cluster, &busy, "web", 20.0)?;
    until("the load to be seen", SOON, async || {
        let rate = adapter::read(cluster, &busy, "request_rate", "service=web").await?;
        let rate = rate.map_err(anyhow::Error::msg)?;
        ensure!((16.0..24.0).contains(&rate), "{rate}");
        Ok(())
    })
    .await?;
    // One window more would show what another namespace's pods bring.
    let rate = adapter::read(cluster, &quiet, "request_rate", "service=web").await?;
    assert_eq!(rate, Ok(0.0), "no request came here");
    let wanted = ["PodsFound", "False", "HostNetwork"];
    let said = service::condition(cluster, &quiet, "web", wanted).await?;
    ensure!(
        said.contains("1 of 2") && said.contains("of-the-node"),
        "{said}"
    );
    let in_namespace = format!("--namespace={quiet}");
    let targets = [
        "get",
        "rm/web",
        "--output=jsonpath={.status.targets.summary}",
    ];
    let targets = targets.into_iter().chain([in_namespace.as_str()]);
    assert_eq!(cluster.kubectl().run(targets).await?, "1/1");
    load.stop().await?;
    Ok(())
}

fn backlog(name: &str, address: &str) -> Value {
    json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "RequestMetrics",
        "metadata": {"name": name},
        "spec": {
            "source": {"redis": {"address": address, "backlog": [{"key": "jobs"}]}},
            "interval": "1s",
            "window": "10s",
        },
    })
}

/// What is said of a server that nobody listed.
const UNLISTED: &str = "ask the cluster's operator to list it with --allow-redis";

/// Objects by name, the address each names, and why it may not be read.
const REFUSED: [(&str, &str, &str); 5] = [
    ("unlisted", "10.200.0.10:6379", UNLISTED),
    // Listed, all of these, by an operator who did not think of what else is there.
    (
        "metadata",
        "169.254.169.254:80",
        "it is a link-local address, which is never read",
    ),
    ("loopback", "127.0.0.1:6379", "it is a loopback address"),
    (
        "mapped",
        "[::ffff:127.0.0.1]:6379",
        "it is a loopback address",
    ),
    ("api-server", "10.200.0.1:6443", "it is the API server's"),
];

async fn only_the_redis_servers_that_the_operator_lists_are_read(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    let redis = Redis::start(&cluster.logs_dir()).await?;
    redis.set("jobs", "3")?;
    let address = redis.address();
    let listed = format!("{address}:6379,169.254.0.0/16,127.0.0.0/8,{NODE_ADDRESS}:6443");
    let patch = json!({"spec": {"template": {"spec": {"containers": [{
        "name": "taffrail",
        "env": [{"name": "TAFFRAIL_ALLOW_REDIS", "value": listed}],
    }]}}}});
    let namespace = cluster.namespace("redis").await?;
    adapter::changed(cluster, &patch, async || {
        let other_port = format!("{address}:6380");
        let named = [("listed", &*address), ("other-port", &*other_port)];
        let refused = REFUSED.map(|(name, address, _)| (name, address));
        for (name, address) in named.into_iter().chain(refused) {
            let object = backlog(name, address).to_string();
            cluster.kubectl().apply(&namespace, &object).await?;
        }
        is_read(cluster, &namespace, "listed").await?;
        is_refused(cluster, &namespace, "other-port", UNLISTED).await?;
        for (name, _, words) in REFUSED {
            is_refused(cluster, &namespace, name, words).await?;
        }
        Ok(())
    })
    .await?;
    drop(redis);
    Ok(())
}

/// That tenants are told that it is forbidden, and operators why.
async fn is_refused(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    words: &str,
) -> anyhow::Result<()> {
    let wanted = ["SourcesReachable", "False", "Forbidden"];
    let said = service::condition(cluster, namespace, name, wanted).await?;
    ensure!(said.contains("--allow-redis"), "{name}: {said}");
    let selector = format!("service={name}");
    let read = adapter::read(cluster, namespace, "redis_backlog", &selector).await?;
    let said = read.err().with_context(|| format!("{name} is read"))?;
    ensure!(said.contains("forbidden"), "{name}: {said}");
    let replicas = adapter::replicas(cluster).await?;
    let log = |pod: &Pod| cluster.log(adapter::NAMESPACE, &pod.name_any(), "taffrail");
    let object = format!("\"{namespace}/{name}/");
    let is_told = |log: &str| {
        let mut lines = log.lines();
        lines.any(|line| line.contains(&object) && line.contains(words))
    };
    ensure!(
        replicas.iter().map(log).any(|log| is_told(&log)),
        "{name}: not because {words}"
    );
    Ok(())
}

async fn is_read(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<()> {
    let selector = format!("service={name},key=jobs");
    until("the backlog", SOON, async || {
        let read = adapter::read(cluster, namespace, "redis_backlog", &selector).await?;
        ensure!(read == Ok(3.0), "{read:?}");
        Ok(())
    })
    .await
}

async fn a_reader_sees_the_metrics_of_namespaces_where_it_is_allowed(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let (own, other) = (
        cluster.namespace("own").await?,
        cluster.namespace("other").await?,
    );
    for namespace in [&own, &other] {
        service::run(cluster, namespace, "web", 1).await?;
        until("a rate", SOON, async || {
            let rate = adapter::read(cluster, namespace, "request_rate", "service=web").await?;
            rate.map_err(anyhow::Error::msg)
        })
        .await?;
    }
    let in_own = format!("--namespace={own}");
    let bind = [
        "create",
        "rolebinding",
        "metrics",
        "--clusterrole=taffrail-metrics-reader",
        "--user=jane",
        &in_own,
    ];
    cluster.kubectl().run(bind).await?;

    let jane = cluster.client_as("jane", None).await?;
    let read = async |namespace: &str| {
        adapter::read_as(&jane, namespace, "request_rate", "service=web").await
    };
    until("jane to read", SOON, async || {
        let read = read(&own).await?;
        ensure!(read == Ok(0.0), "{read:?}");
        Ok(())
    })
    .await?;
    let refused = read(&other).await?.expect_err("not hers");
    assert_eq!((refused.code, &*refused.reason), (403, "Forbidden"));
    let refused = read("default").await?.expect_err("nobody's");
    assert_eq!(refused.code, 403, "and not what is there: {refused:?}");

    let kubectl = cluster.kubectl_as("jane", None)?;
    let path = |namespace: &str| {
        format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/request_rate")
    };
    let raw = kubectl.try_run(["get", "--raw", &path(&own)]).await?;
    ensure!(raw.success, "{}", raw.stderr);
    let raw = kubectl.try_run(["get", "--raw", &path(&other)]).await?;
    ensure!(raw.stderr.contains("(Forbidden)"), "{}", raw.stderr);
    for (namespace, answer) in [(&own, "yes"), (&other, "no")] {
        let in_namespace = format!("--namespace={namespace}");
        let question = [
            "auth",
            "can-i",
            "list",
            "request_rate.external.metrics.k8s.io",
        ];
        let question = question.into_iter().chain([in_namespace.as_str()]);
        // "no" is also an exit code.
        let said = kubectl.try_run(question).await?.stdout;
        assert_eq!(said.trim(), answer, "{namespace}");
    }
    forged_headers_name_nobody(&jane, &other).await
}

/// The aggregation layer says who asks, and nobody else does.
async fn forged_headers_name_nobody(jane: &Client, namespace: &str) -> anyhow::Result<()> {
    let path = format!("/apis/external.metrics.k8s.io/v1beta1/namespaces/{namespace}/request_rate");
    let forged = Request::get(path)
        .header("x-remote-user", "system:admin")
        .header("x-remote-group", "system:masters")
        .body(Vec::new())?;
    let Err(kube::Error::Api(refused)) = jane.request::<Value>(forged).await else {
        anyhow::bail!("jane is believed to be somebody else");
    };
    assert_eq!(refused.code, 403);
    ensure!(
        refused.message.contains(r#"User "jane""#),
        "{}",
        refused.message
    );
    Ok(())
}

/// Everything the manifests give in a namespace, as the API server resolves it, beyond what everybody has: a line for
/// each verb on each resource.
pub(crate) async fn rights(
    cluster: &Cluster,
    user: &str,
    namespace: &str,
) -> anyhow::Result<BTreeSet<String>> {
    let review = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    });
    let create = [
        "create",
        "--validate=false",
        "--filename=-",
        "--output=json",
        "--as",
        user,
    ];
    let reviewed = cluster
        .kubectl()
        .run_with(create, &review.to_string())
        .await?;
    let reviewed: Value = serde_json::from_str(&reviewed)?;
    let words = |value: &Value| -> Vec<String> {
        let words = value.as_array().into_iter().flatten();
        words.filter_map(Value::as_str).map(str::to_owned).collect()
    };
    let mut rights = BTreeSet::new();
    for rule in reviewed["status"]["resourceRules"]
        .as_array()
        .context("no rules")?
    {
        let mut names = words(&rule["resourceNames"]);
        if names.is_empty() {
            names.push("any".to_owned());
        }
        for verb in words(&rule["verbs"]) {
            for group in words(&rule["apiGroups"]) {
                for resource in words(&rule["resources"]) {
                    let right = names.iter().map(|name| {
                        let dot = if group.is_empty() { "" } else { "." };
                        format!("{verb} {resource}{dot}{group} {name}")
                    });
                    rights.extend(right);
                }
            }
        }
    }
    Ok(rights)
}

/// In every namespace.
const EVERYWHERE: [&str; 18] = [
    "create events.events.k8s.io any",
    "create subjectaccessreviews.authorization.k8s.io any",
    "create tokenreviews.authentication.k8s.io any",
    "get apiservices.apiregistration.k8s.io v1alpha1.explain.taffrail.dev",
    "get apiservices.apiregistration.k8s.io v1beta1.external.metrics.k8s.io",
    "get deployments/scale.apps any",
    "get replicasets/scale.apps any",
    "get statefulsets/scale.apps any",
    "list horizontalpodautoscalers.autoscaling any",
    "list pods any",
    "list requestmetrics.taffrail.dev any",
    "patch apiservices.apiregistration.k8s.io v1alpha1.explain.taffrail.dev",
    "patch apiservices.apiregistration.k8s.io v1beta1.external.metrics.k8s.io",
    "patch events.events.k8s.io any",
    "patch requestmetrics/status.taffrail.dev any",
    "watch horizontalpodautoscalers.autoscaling any",
    "watch pods any",
    "watch requestmetrics.taffrail.dev any",
];

/// In its own namespace only.
const AT_HOME: [&str; 4] = [
    "get leases.coordination.k8s.io taffrail",
    "get secrets taffrail-certificate",
    "update leases.coordination.k8s.io taffrail",
    "update secrets taffrail-certificate",
];

/// Where the API server says whom it trusts.
const IN_KUBE_SYSTEM: [&str; 3] = [
    "get configmaps extension-apiserver-authentication",
    "list configmaps extension-apiserver-authentication",
    "watch configmaps extension-apiserver-authentication",
];

/// What people fear of an adapter, in their words.
const NEVER: [&[&str]; 16] = [
    &["get", "secrets", "--all-namespaces"],
    &["list", "secrets", "--namespace=taffrail"],
    &["get", "secrets/other", "--namespace=taffrail"],
    &["get", "secrets/taffrail-certificate", "--namespace=default"],
    &[
        "delete",
        "secrets/taffrail-certificate",
        "--namespace=taffrail",
    ],
    &["get", "pods", "--namespace=default"],
    &["update", "deployments.apps/scale", "--namespace=default"],
    &[
        "patch",
        "horizontalpodautoscalers.autoscaling",
        "--namespace=default",
    ],
    &["create", "pods", "--namespace=taffrail"],
    &["delete", "pods", "--namespace=default"],
    &["list", "configmaps", "--namespace=default"],
    &["list", "nodes"],
    &[
        "patch",
        "apiservices.apiregistration.k8s.io/v1beta1.metrics.k8s.io",
    ],
    &[
        "create",
        "leases.coordination.k8s.io",
        "--namespace=taffrail",
    ],
    &[
        "update",
        "requestmetrics.taffrail.dev",
        "--namespace=default",
    ],
    &["impersonate", "users"],
];

async fn the_adapter_has_exactly_the_rights_it_needs(cluster: &Cluster) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    exactly_these_rights(cluster).await
}

/// Holds an installed adapter to the tables above.
pub(crate) async fn exactly_these_rights(cluster: &Cluster) -> anyhow::Result<()> {
    let table = |lists: &[&[&str]]| -> BTreeSet<String> {
        let lines = lists.iter().copied().flatten();
        lines.map(|line| (*line).to_owned()).collect()
    };
    for (namespace, expected) in [
        ("default", table(&[&EVERYWHERE])),
        (adapter::NAMESPACE, table(&[&EVERYWHERE, &AT_HOME])),
        ("kube-system", table(&[&EVERYWHERE, &IN_KUBE_SYSTEM])),
    ] {
        let nobody = format!("system:serviceaccount:{namespace}:nobody");
        let common = rights(cluster, &nobody, namespace).await?;
        let given = rights(cluster, ACCOUNT, namespace).await?;
        let given: BTreeSet<String> = given.difference(&common).cloned().collect();
        assert_eq!(given, expected, "in {namespace}");
    }
    for question in NEVER {
        let asked = ["auth", "can-i", "--as", ACCOUNT];
        let asked = asked.iter().chain(question);
        let said = cluster.kubectl().try_run(asked).await?.stdout;
        assert_eq!(said.trim(), "no", "{question:?}");
    }
    Ok(())
}

/// Applies the sample, with a token of its own.
async fn hello(cluster: &Cluster) -> anyhow::Result<String> {
    let namespace = cluster.namespace("hello").await?;
    let sample = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/samples/hello/base");
    let kubectl = cluster.kubectl();
    let in_namespace = format!("--namespace={namespace}");
    let create = ["create", "secret", "generic", "hello-token"];
    let token = ["--from-literal=token=&^@$-first", &in_namespace];
    kubectl.run(create.iter().chain(&token)).await?;
    kubectl.run(["apply", "-k", sample, &in_namespace]).await?;
    // Shorter than a service would have it, so that the test is.
    let short = r#"{"spec": {"window": "10s", "interval": "1s"}}"#;
    let patch = ["patch", "rm/hello", "--type=merge", "--patch", short];
    kubectl
        .run(patch.into_iter().chain([in_namespace.as_str()]))
        .await?;
    least(cluster, &namespace, 3).await?;
    service::ready(cluster, &namespace, "hello", 3).await?;
    Ok(namespace)
}

/// Sets the HPA's lower bound.
async fn least(cluster: &Cluster, namespace: &str, replicas: u32) -> anyhow::Result<()> {
    let change = json!({"spec": {"minReplicas": replicas}}).to_string();
    let in_namespace = format!("--namespace={namespace}");
    let patch = ["patch", "hpa/hello", "--patch", &change, &in_namespace];
    cluster.kubectl().run(patch).await?;
    Ok(())
}

async fn token(cluster: &Cluster, namespace: &str, token: &str) -> anyhow::Result<()> {
    let change = json!({"stringData": {"token": token}}).to_string();
    let in_namespace = format!("--namespace={namespace}");
    let patch = [
        "patch",
        "secret/hello-token",
        "--patch",
        &change,
        &in_namespace,
    ];
    cluster.kubectl().run(patch).await?;
    Ok(())
}

/// The replicas wanted, and what the HPA says of the metrics.
async fn scaling(cluster: &Cluster, namespace: &str) -> anyhow::Result<(i32, String)> {
    let hpas = Api::<HorizontalPodAutoscaler>::namespaced(cluster.admin(), namespace);
    let hpa = hpas.get("hello").await?;
    let status = hpa.status.clone().with_context(|| hpa.name_any())?;
    let conditions = status.conditions.into_iter().flatten();
    let said: Vec<String> = conditions
        .filter_map(|condition| condition.message)
        .collect();
    Ok((status.desired_replicas, said.join("; ")))
}

async fn a_rotated_token_is_used_and_a_wrong_one_holds_the_replicas(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = hello(cluster).await?;
    let latency = async || {
        let selector = "service=hello,quantile=0.95";
        adapter::read(cluster, &namespace, "request_latency_ms", selector).await
    };
    until("a latency", ROTATED, async || {
        let read = latency().await?;
        ensure!(read == Ok(0.0), "{read:?}");
        Ok(())
    })
    .await?;

    // The pods have read their token at their start: until they are restarted, the new one is wrong.
    token(cluster, &namespace, "$@^&-rotated").await?;
    let wanted = ["SourcesReachable", "False", "Unauthorized"];
    let said = until("the refusal to be said", ROTATED, async || {
        service::condition(cluster, &namespace, "hello", wanted).await
    })
    .await?;
    ensure!(!said.contains("rotated"), "the token is shown: {said}");
    // Each replica reads the Secret in its own time, and a read goes to any of them.
    until("every replica to refuse", ROTATED, async || {
        for _ in 0..READS_OF_ALL {
            let refused = latency().await?.err().context("it is still read")?;
            ensure!(refused.contains("unauthorized"), "{refused}");
        }
        Ok(())
    })
    .await?;
    // Nobody asks anything of the pods, so the CPU alone would end two of the three.
    least(cluster, &namespace, 1).await?;
    let began = clock::instant();
    while began.elapsed() < HELD {
        let (wanted, said) = scaling(cluster, &namespace).await?;
        ensure!(wanted == 3, "{wanted} wanted: {said}");
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let (_, said) = scaling(cluster, &namespace).await?;
    ensure!(said.contains("request_latency_ms"), "{said}");

    let in_namespace = format!("--namespace={namespace}");
    let restart = ["rollout", "restart", "deployment/hello", &in_namespace];
    cluster.kubectl().run(restart).await?;
    until("a latency", ROTATED, async || {
        let read = latency().await?;
        ensure!(read == Ok(0.0), "{read:?}");
        Ok(())
    })
    .await?;
    // Now that it is known that nobody waits, there is one too many.
    until("fewer replicas", SOON, async || {
        let (wanted, said) = scaling(cluster, &namespace).await?;
        ensure!(wanted == 1, "{wanted} wanted: {said}");
        Ok(())
    })
    .await
}
