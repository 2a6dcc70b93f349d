//! `RequestMetrics` objects as the API server takes, refuses, explains and lists them, and what one that only the adapter
//! can refuse costs: nothing but itself.

use std::time::Duration;

use anyhow::{Context, ensure};
use http::Request;
use k8s_openapi::api::core::v1::Pod;
use kube::ResourceExt;
use serde::Deserialize;
use serde_json::{Value, json};
use taffrail::clock;
use taffrail::cluster::crd;

use crate::adapter;
use crate::harness::{Cluster, Table, table, until};
use crate::service::{self, SOON, WINDOW};

/// Until a changed definition counts.
const DEFINED: Duration = Duration::from_secs(30);

/// Requests a second to the service of a test.
const RATE: f64 = 20.0;

pub(crate) fn tests() -> Table {
    table!("objects";
        the_api_server_says_of_each_case_what_is_written_there,
        kubectl_explains_and_lists_them,
        a_change_that_only_the_adapter_refuses_keeps_the_version_in_force;
        alone:
        an_object_stored_before_it_could_be_validated_costs_only_itself,
    )
}

/// One object, and the part that the API server's refusal must contain; none where it is taken.
#[derive(Deserialize)]
struct Case {
    case: String,
    spec: Value,
    api_server: Option<String>,
}

/// What the API server would say of an object with this spec; the message where it refuses.
async fn dry_run(
    cluster: &Cluster,
    namespace: &str,
    spec: &Value,
) -> anyhow::Result<Result<Value, String>> {
    let path = format!(
        "/apis/taffrail.dev/v1alpha1/namespaces/{namespace}/requestmetrics?dryRun=All&fieldValidation=Strict"
    );
    let mut object = service::object("users");
    object["spec"] = spec.clone();
    let request = Request::post(path)
        .header("content-type", "application/json")
        .body(object.to_string().into_bytes())?;
    match cluster.admin().request(request).await {
        Ok(taken) => Ok(Ok(taken)),
        Err(kube::Error::Api(refused)) => Ok(Err(refused.message)),
        Err(error) => Err(error.into()),
    }
}

/// Makes the API server know `definition`, until it refuses a spec that is no spec, or takes it.
async fn define(cluster: &Cluster, definition: &str, refuses: bool) -> anyhow::Result<()> {
    let kubectl = cluster.kubectl();
    // Another test may create it at the same moment.
    until("the definition to be taken", DEFINED, async || {
        kubectl.apply("default", definition).await
    })
    .await?;
    let name = "crd/requestmetrics.taffrail.dev";
    kubectl
        .run(["wait", "--for=condition=Established", name])
        .await?;
    until("the definition to count", DEFINED, async || {
        let answer = dry_run(cluster, "default", &json!("nonsense")).await?;
        ensure!(answer.is_err() == refuses, "{answer:?}");
        Ok(())
    })
    .await
}

async fn the_api_server_says_of_each_case_what_is_written_there(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    define(cluster, &crd::yaml()?, true).await?;
    let cases = include_str!("../data/request-metrics/cases.json");
    let mut cases: Vec<Case> = serde_json::from_str(cases)?;
    let mut unknown = service::object("users")["spec"].clone();
    unknown["objective"]["percentile"] = json!(0.95);
    let mut of_a_file = service::object("users")["spec"].clone();
    of_a_file["source"]["pods"]["targets"] = json!(["10.0.0.1:8080"]);
    for (spec, field) in [
        (unknown, "spec.objective.percentile"),
        (of_a_file, "spec.source.pods.targets"),
    ] {
        cases.push(Case {
            case: format!("{field} is no field"),
            spec,
            api_server: Some(format!("unknown field \"{field}\"")),
        });
    }
    let mut wrong = Vec::new();
    for Case {
        case,
        spec,
        api_server,
    } in &cases
    {
        match (dry_run(cluster, "default", spec).await?, api_server) {
            (Ok(_), None) => {}
            (Err(said), Some(part)) if said.contains(part) => {}
            (said, part) => wrong.push(format!("{case}: {said:?}, not {part:?}")),
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

async fn kubectl_explains_and_lists_them(cluster: &Cluster) -> anyhow::Result<()> {
    define(cluster, &crd::yaml()?, true).await?;
    let namespace = cluster.namespace("listed").await?;
    let kubectl = cluster.kubectl();
    let explained = ["explain", "requestmetrics.spec.source.pods"];
    let explained = kubectl.run(explained).await?;
    for field in ["selector", "histogram", "where", "inFlight", "headers"] {
        let line = format!("  {field}\t<");
        let (_, after) = explained
            .split_once(&line)
            .with_context(|| format!("{field} is not explained:\n{explained}"))?;
        let sentence = after.lines().nth(1).unwrap_or_default().trim();
        ensure!(
            !sentence.is_empty(),
            "{field} has no sentence:\n{explained}"
        );
    }
    let object = service::object("users").to_string();
    kubectl.apply(&namespace, &object).await?;
    let in_namespace = format!("--namespace={namespace}");
    let columns = async |args: &[&str]| {
        let get = ["get", "rm", &in_namespace];
        let list = kubectl.run(get.iter().chain(args)).await?;
        let mut rows = list.lines().map(str::to_owned);
        let (head, row) = (rows.next(), rows.next());
        anyhow::Ok((head.unwrap_or_default(), row.unwrap_or_default()))
    };
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let (head, row) = columns(&[]).await?;
    assert_eq!(words(&head), "NAME LATENCY OBJECTIVE RPS TARGETS STATE AGE");
    // What an adapter that runs for another test says of it comes in between.
    let words_of = |row: &str| format!("{} ", words(row));
    assert!(words_of(&row).contains(" 250ms "), "{row}");
    let (head, row) = columns(&["--output=wide"]).await?;
    assert_eq!(
        words(&head),
        "NAME LATENCY OBJECTIVE RPS TARGETS STATE AGE QUANTILE WINDOW MESSAGE"
    );
    assert!(words_of(&row).contains(" 0.95 10s "), "{row}");
    Ok(())
}

async fn a_change_that_only_the_adapter_refuses_keeps_the_version_in_force(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = cluster.namespace("changed").await?;
    service::run(cluster, &namespace, "web", 1).await?;
    let load = service::steady(cluster, &namespace, "web", RATE)?;
    served(cluster, &namespace).await?;

    let bad = json!({"spec": {"source": {"pods": {"where": "route>"}}}}).to_string();
    let in_namespace = format!("--namespace={namespace}");
    let patch = ["patch", "rm/web", "--type=merge", &in_namespace, "--patch"];
    let kubectl = cluster.kubectl();
    kubectl.run(patch.iter().chain([&bad.as_str()])).await?;
    let wanted = ["SpecValid", "False", "PreviousInForce"];
    let said = service::condition(cluster, &namespace, "web", wanted).await?;
    ensure!(said.contains("spec.source.pods.where"), "{said}");
    ensure!(said.ends_with("generation 1 stays in force"), "{said}");
    // Longer than a window, so that what is read is of the time after the change.
    let began = clock::instant();
    while began.elapsed() < WINDOW + WINDOW / 4 {
        rate(cluster, &namespace).await?;
        tokio::time::sleep(Duration::from_millis(250)).await;
    }

    let good = json!({"spec": {"source": {"pods": {"where": "route=\"nowhere\""}}}}).to_string();
    kubectl.run(patch.iter().chain([&good.as_str()])).await?;
    let wanted = ["SpecValid", "True", "Valid"];
    service::condition(cluster, &namespace, "web", wanted).await?;
    load.stop().await?;
    Ok(())
}

/// The rate of the service's requests, which must be that of the load, about.
async fn rate(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    let read = adapter::read(cluster, namespace, "request_rate", "service=web").await?;
    let rate = read.map_err(anyhow::Error::msg)?;
    ensure!((0.75 * RATE..1.25 * RATE).contains(&rate), "{rate}");
    Ok(())
}

/// Waits until the load is in the window.
async fn served(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    until("the rate of the load", SOON, async || {
        rate(cluster, namespace).await
    })
    .await
}

async fn an_object_stored_before_it_could_be_validated_costs_only_itself(
    cluster: &Cluster,
) -> anyhow::Result<()> {
    adapter::installed(cluster).await?;
    let namespace = cluster.namespace("stored").await?;
    let strict = crd::yaml()?;
    define(cluster, &lax()?, false).await?;
    let stored = store(cluster, &namespace).await;
    // Every other test wants the schema, whatever became of this.
    define(cluster, &strict, true).await?;
    stored?;

    service::run(cluster, &namespace, "web", 1).await?;
    let load = service::steady(cluster, &namespace, "web", RATE)?;
    served(cluster, &namespace).await?;
    // As it is for a replica that has just started, whose first list has them.
    let restart = ["rollout", "restart", "deployment/taffrail"];
    let kubectl = cluster.kubectl();
    kubectl
        .run(restart.iter().chain(&["--namespace=taffrail"]))
        .await?;
    adapter::rolled_out(cluster).await?;
    served(cluster, &namespace).await?;
    let replicas = adapter::replicas(cluster).await?;
    let is_told = |name: &str| {
        let object = format!("\"RequestMetrics is wrong\",\"service\":\"{namespace}/{name}\"");
        let log = |pod: &Pod| cluster.log(adapter::NAMESPACE, &pod.name_any(), "taffrail");
        replicas.iter().all(|pod| log(pod).contains(&object))
    };
    for (name, _) in BAD {
        let selector = format!("service={name}");
        let read = adapter::read(cluster, &namespace, "request_rate", &selector).await?;
        ensure!(read.is_err(), "{name}: {read:?}");
        ensure!(is_told(name), "nobody is told of {name}");
    }
    load.stop().await?;
    Ok(())
}

/// What no schema has seen: specs that are none, each in its way.
const BAD: [(&str, &str); 4] = [
    ("no-object", r#""nonsense""#),
    ("no-source", r#"{"window": "10s"}"#),
    (
        "a-number",
        r#"{"source": {"pods": {"selector": 7, "port": {}}}, "interval": 1e300}"#,
    ),
    ("nothing", "null"),
];

async fn store(cluster: &Cluster, namespace: &str) -> anyhow::Result<()> {
    for (name, spec) in BAD {
        let mut object = service::object(name);
        object["spec"] = serde_json::from_str(spec)?;
        cluster
            .kubectl()
            .apply(namespace, &object.to_string())
            .await?;
    }
    Ok(())
}

/// The definition without a schema.
fn lax() -> anyhow::Result<String> {
    let mut definition = serde_json::to_value(crd::definition()?)?;
    for version in definition["spec"]["versions"]
        .as_array_mut()
        .context("no versions")?
    {
        version["schema"]["openAPIV3Schema"] =
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    }
    Ok(definition.to_string())
}
