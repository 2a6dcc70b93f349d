//! `explain.taffrail.dev`: its documents, one explanation and all of a namespace, who may read them, and what is told
//! of the HPA controller's reads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use serde_json::{Map, Value, json};
use taffrail::api::explain::{Explained, Explains, MetricRead};
use taffrail::api::{AppState, GROUP_VERSION_PATH, GroupVersion};
use taffrail::engine::snapshot::Metric;
use taffrail::model::time::Timestamp;

use super::discovery::{AGGREGATED, assert_references_resolve};
use super::fixture::{Answer, Api, explained};
use super::guarded::Cluster;
use super::transport::soon;

const PATH: &str = "/apis/explain.taffrail.dev/v1alpha1";
const USERS: &str = "/apis/explain.taffrail.dev/v1alpha1/namespaces/shop/explanations/users";

/// Who runs HPAs.
const HPA_CONTROLLER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// Somebody who knows of `users` and `orders` in `shop`, and keeps what is said and asked.
#[derive(Default)]
struct Witness {
    reads: Mutex<Vec<MetricRead>>,
    asked: Mutex<Vec<Option<Timestamp>>>,
    /// Whether answers wait, and how many do.
    gate: Mutex<(bool, usize)>,
    moved: Condvar,
    /// Lists that nobody waited for any more.
    unwanted: AtomicUsize,
}

impl Witness {
    fn reads(&self) -> Vec<MetricRead> {
        self.reads.lock().unwrap().clone()
    }

    fn set_shut(&self, is_shut: bool) {
        self.gate.lock().unwrap().0 = is_shut;
        self.moved.notify_all();
    }

    fn waiting(&self) -> usize {
        self.gate.lock().unwrap().1
    }

    fn pass(&self) {
        let mut gate = self.gate.lock().unwrap();
        gate.1 += 1;
        while gate.0 {
            gate = self.moved.wait(gate).unwrap();
        }
        gate.1 -= 1;
    }
}

fn about(name: &str) -> Explained {
    let content =
        json!({"facts": {"of": name}, "keptSince": "2026-11-21T10:00:00Z", "partedCount": 0});
    Explained {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        at: Timestamp::from_ms(1_795_256_100_250),
        content: content.as_object().cloned().unwrap_or_else(Map::new),
    }
}

impl Explains for Witness {
    fn read(&self, read: MetricRead) {
        self.reads.lock().unwrap().push(read);
    }

    fn explain(
        &self,
        namespace: &str,
        name: &str,
        at: Option<Timestamp>,
    ) -> Result<Explained, String> {
        self.asked.lock().unwrap().push(at);
        self.pass();
        match (namespace, name) {
            ("shop", "users" | "orders") => Ok(about(name)),
            _ => Err(format!("nothing is known of {namespace}/{name}")),
        }
    }

    fn explain_all(
        &self,
        namespace: &str,
        is_wanted: &dyn Fn() -> bool,
    ) -> (Vec<Explained>, usize) {
        self.pass();
        self.unwanted
            .fetch_add(usize::from(!is_wanted()), Ordering::SeqCst);
        let names: &[&str] = if namespace == "shop" {
            &["orders", "users"]
        } else {
            &[]
        };
        let more = if namespace == "shop" { 3 } else { 0 };
        (names.iter().map(|name| about(name)).collect(), more)
    }
}

async fn start() -> (Api, Arc<Witness>) {
    let witness = Arc::new(Witness::default());
    let explains = Arc::clone(&witness) as Arc<dyn Explains>;
    (Api::explained_by(explains).await, witness)
}

#[tokio::test]
async fn the_group_is_in_every_document() {
    let (api, _) = start().await;
    let resources = api.get(PATH).await.json();
    assert_eq!(resources["groupVersion"], "explain.taffrail.dev/v1alpha1");
    assert_eq!(
        resources["resources"],
        json!([{
            "name": "explanations", "singularName": "explanation", "namespaced": true, "kind": "Explanation",
            "verbs": ["get", "list"],
        }])
    );
    let group = api.get("/apis/explain.taffrail.dev").await.json();
    assert_eq!(group["preferredVersion"]["version"], "v1alpha1");
    let groups = api
        .get_with("/apis", &[("accept", "application/json")])
        .await;
    assert_eq!(groups.json()["groups"][2]["name"], group["name"]);
    let aggregated = api.get_with("/apis", &[("accept", AGGREGATED)]).await.body;
    let aggregated: Value = serde_json::from_str(&aggregated).unwrap();
    let resource = &aggregated["items"][2]["versions"][0]["resources"][0];
    assert_eq!(resource["responseKind"]["kind"], "Explanation");
    assert_eq!(resource["scope"], "Namespaced");
    let paths = api.get("/").await.json();
    assert!(paths["paths"].as_array().unwrap().contains(&json!(PATH)));
}

#[tokio::test]
async fn the_groups_description_is_whole() {
    let (api, _) = start().await;
    let v2 = api.get("/openapi/v2").await.json();
    assert_references_resolve(&v2, &v2);
    let v3 = api.get("/openapi/v3").await.json();
    let url = v3["paths"][PATH.trim_start_matches('/')]["serverRelativeURL"].as_str();
    let document = api.get(url.unwrap()).await.json();
    assert_references_resolve(&document, &document);
    for document in [&v2, &document] {
        for (path, action) in [
            ("namespaces/{namespace}/explanations", "list"),
            ("namespaces/{namespace}/explanations/{name}", "get"),
        ] {
            let read = &document["paths"][format!("{PATH}/{path}")]["get"];
            assert_eq!(read["x-kubernetes-action"], action, "{path}");
        }
    }
}

#[tokio::test]
async fn an_explanation_is_an_object_of_the_hpas_name() {
    let (api, _) = start().await;
    let object = api.get(USERS).await.json();
    assert_eq!(
        object,
        json!({
            "kind": "Explanation",
            "apiVersion": GroupVersion::Explain.name(),
            "metadata": {"name": "users", "namespace": "shop", "creationTimestamp": "2026-11-21T10:15:00Z"},
            "facts": {"of": "users"},
            "keptSince": "2026-11-21T10:00:00Z",
            "partedCount": 0,
        })
    );
    let list = api
        .get(&format!("{PATH}/namespaces/shop/explanations"))
        .await
        .json();
    assert_eq!(list["kind"], "ExplanationList");
    assert_eq!(list["items"].as_array().unwrap().len(), 2);
    assert_eq!(list["items"][1], object);
    let none = api
        .get(&format!("{PATH}/namespaces/other/explanations"))
        .await
        .json();
    assert_eq!(list["metadata"], json!({"remainingItemCount": 3}));
    assert_eq!(
        (&none["items"], &none["metadata"]),
        (&json!([]), &json!({}))
    );
    // kubectl asks for a table first, and takes an object.
    let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";
    assert_eq!(api.get_with(USERS, &[("accept", table)]).await.code, 200);
    let unknown = api
        .get(&format!("{PATH}/namespaces/shop/explanations/nobody"))
        .await;
    assert_eq!(
        unknown.refused(404, "NotFound"),
        "nothing is known of shop/nobody"
    );
}

#[tokio::test]
async fn a_time_may_be_asked_for_and_a_whole_second_is_all_of_it() {
    let (api, witness) = start().await;
    for (query, ms) in [
        ("", None),
        ("?at=2026-11-21T10:15:00Z", Some(1_795_256_100_999)),
        ("?at=2026-11-21T11:15:00+01:00", Some(1_795_256_100_999)),
        (
            "?at=2026-11-21T11%3A15%3A00%2B01%3A00",
            Some(1_795_256_100_999),
        ),
        (
            "?pretty=true&at=2026-11-21T10:15:00.250Z",
            Some(1_795_256_100_250),
        ),
    ] {
        assert_eq!(
            api.get(&format!("{USERS}{query}")).await.code,
            200,
            "{query}"
        );
        let asked = witness.asked.lock().unwrap().pop().unwrap();
        assert_eq!(asked.map(Timestamp::ms), ms, "{query}");
    }
    for at in ["", "now", "10:15", "1795256100", "%ff"] {
        let message = api
            .get(&format!("{USERS}?at={at}"))
            .await
            .refused(400, "BadRequest");
        assert!(message.contains("RFC 3339"), "{message}");
    }
    let all = format!("{PATH}/namespaces/shop/explanations?at=2026-11-21T10:15:00Z");
    api.get(&all).await.refused(400, "BadRequest");
}

#[tokio::test]
async fn what_cannot_be_done_to_an_explanation_is_refused_as_kubernetes_does() {
    let (api, _) = start().await;
    api.get(&format!("{USERS}?watch=true"))
        .await
        .refused(405, "MethodNotAllowed");
    api.get_with(USERS, &[("accept", "application/yaml")])
        .await
        .refused(406, "NotAcceptable");
    for request in [
        api.client.delete(api.url(USERS)),
        api.client.post(api.url(USERS)),
    ] {
        Answer::of(request).await.refused(405, "MethodNotAllowed");
    }
    for path in [
        format!("{USERS}/status"),
        format!("{PATH}/namespaces/shop/other"),
        format!("{PATH}/namespaces//explanations"),
        format!("{PATH}/namespaces/shop/explanations/"),
    ] {
        let message = api.get(&path).await.refused(404, "NotFound");
        assert!(message.contains("explanations are at"), "{message}");
    }
    // Where nobody watches HPAs there is no such group.
    Api::start().await.get(USERS).await.refused(404, "NotFound");
}

#[tokio::test]
async fn many_who_ask_why_keep_nobody_from_reading_a_metric() {
    let (api, witness) = start().await;
    witness.set_shut(true);
    let held: Vec<_> = (0..4)
        .map(|_| {
            let (client, url) = (api.client.clone(), api.url(USERS));
            tokio::spawn(async move { client.get(url).send().await.map(|answer| answer.status()) })
        })
        .collect();
    soon("four to be held up", async {
        while witness.waiting() < 4 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    api.get(USERS).await.refused(429, "TooManyRequests");
    assert_eq!(
        api.read("request_rate?labelSelector=service%3Da")
            .await
            .values(),
        [100.0]
    );
    witness.set_shut(false);
    for asked in held {
        let _ = asked.await.unwrap();
    }
}

#[tokio::test]
async fn one_list_is_made_at_a_time_and_none_for_somebody_who_is_gone() {
    let (api, witness) = start().await;
    let list = format!("{PATH}/namespaces/shop/explanations");
    witness.set_shut(true);
    let (client, url) = (api.client.clone(), api.url(&list));
    let held = tokio::spawn(async move { client.get(url).send().await });
    soon("a list to be held up", async {
        while witness.waiting() < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    api.get(&list).await.refused(429, "TooManyRequests");
    // At the deadline the request is answered; the thread learns of it when it looks.
    assert_eq!(held.await.unwrap().unwrap().status(), 504);
    witness.set_shut(false);
    soon("the list to be given up", async {
        while witness.unwanted.load(Ordering::SeqCst) < 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    soon("the next list", async {
        while api.get(&list).await.code != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_the_hpa_controller_is_answered_is_told_and_nothing_else() {
    let witness = Arc::new(Witness::default());
    let explains = Arc::clone(&witness) as Arc<dyn Explains>;
    let dress = |state: AppState| explained(state, explains);
    let cluster = Cluster::dressed(|_| {}, dress).await;
    let proxy = cluster.proxy();
    let read = async |user: &str, query: &str| {
        let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/{query}");
        let headers = [("x-remote-user", user)];
        cluster.api.get_by(&proxy, &path, &headers).await.code
    };
    let latency = "request_latency_ms?labelSelector=service%3Da%2Cquantile%3D0.5";
    assert_eq!(read("jo", latency).await, 200);
    assert_eq!(witness.reads(), []);
    assert_eq!(read(HPA_CONTROLLER, latency).await, 200);
    assert_eq!(read(HPA_CONTROLLER, "request_rate").await, 200);
    assert_eq!(
        read(HPA_CONTROLLER, "request_rate?labelSelector=service%3Dnone").await,
        404
    );
    // Not ours, so nobody's HPA is explained by it.
    assert_eq!(read(HPA_CONTROLLER, "queue_length").await, 404);
    let told = witness.reads();
    assert_eq!(told.len(), 3, "{told:?}");
    let [latency, rates, refused] = &told[..] else {
        unreachable!()
    };
    assert_eq!(latency.metric, Metric::RequestLatencyMs);
    assert_eq!(
        (&*latency.namespace, &*latency.selector),
        ("shop", "quantile=0.5,service=a")
    );
    let items = latency.answer.as_ref().unwrap();
    assert_eq!(
        (&*items.values_milli, items.state),
        (&[412_500][..], Some("ok"))
    );
    assert!(items.oldest.is_some());
    let items = rates.answer.as_ref().unwrap();
    assert_eq!(
        (&*items.values_milli, items.state),
        (&[100_000, 50_000][..], None)
    );
    assert!(
        refused
            .answer
            .as_ref()
            .unwrap_err()
            .contains("selects nothing")
    );
}

#[tokio::test]
async fn an_explanation_needs_the_right_to_it() {
    let witness = Arc::new(Witness::default());
    let explains = Arc::clone(&witness) as Arc<dyn Explains>;
    let cluster = Cluster::dressed(|_| {}, |state| explained(state, explains)).await;
    let (proxy, headers) = (cluster.proxy(), [("x-remote-user", "jo")]);
    assert_eq!(cluster.api.get_by(&proxy, USERS, &headers).await.code, 200);
    let all = format!("{PATH}/namespaces/shop/explanations");
    assert_eq!(cluster.api.get_by(&proxy, &all, &headers).await.code, 200);
    let wanted = |asked: &Value| asked["resourceAttributes"].clone();
    let attributes = json!({
        "group": "explain.taffrail.dev", "version": "v1alpha1", "namespace": "shop", "resource": "explanations",
    });
    let (mut one, mut list) = (attributes.clone(), attributes);
    (one["verb"], one["name"]) = (json!("get"), json!("users"));
    list["verb"] = json!("list");
    let asked: Vec<Value> = cluster.access().iter().map(wanted).collect();
    assert_eq!(asked[asked.len() - 2..], [one, list]);
    cluster.plane.be(super::control_plane::Mood::Denies);
    let refused = cluster
        .api
        .get_by(&proxy, USERS, &[("x-remote-user", "eve")])
        .await;
    let message = refused.refused(403, "Forbidden");
    assert!(
        message.contains(r#"cannot get resource "explanations""#),
        "{message}"
    );
}
