//! Assertions 60 to 68, of `custom.metrics.k8s.io`: metrics of pods, services and namespaces, in both versions. 67 is
//! in [`super::authentication`].

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};
use taffrail::api::GroupVersion;
use taffrail::clock;
use taffrail::config;
use taffrail::engine::snapshot::{BacklogView, Load, PodView, ServiceView, Snapshot};
use taffrail::model::pod::Pod;

use super::discovery::{AGGREGATED, assert_references_resolve};
use super::fixture::{Api, CUSTOM, WINDOW, assert_golden, service, shop};

const V1BETA1: &str = "/apis/custom.metrics.k8s.io/v1beta1";
const V1BETA2: &str = "/apis/custom.metrics.k8s.io/v1beta2";

/// A pod that answers `rate` requests a second of 0.4 s.
fn pod(name: &str, app: &str, rate: f64) -> PodView {
    let requests = rate * WINDOW.as_secs_f64();
    PodView {
        pod: Pod {
            name: name.into(),
            labels: Arc::new(BTreeMap::from([("app".to_owned(), app.to_owned())])),
        },
        at: clock::now(),
        load: Load {
            window: WINDOW,
            requests,
            busy_s: Some(requests * 0.4),
            in_flight: None,
        },
    }
}

fn with_pods(name: &str, rate: f64, pods: Vec<PodView>) -> ServiceView {
    let mut service = service("shop", name, rate, clock::now());
    service.pods = pods;
    service
}

/// Services `a`, of two pods `web-1` and `web-2`, and `b`, of the one pod `jobs-1`.
fn pods_of_shop() -> Snapshot {
    let web = vec![pod("web-2", "web", 75.0), pod("web-1", "web", 25.0)];
    let services = vec![
        with_pods("a", 100.0, web),
        with_pods("b", 50.0, vec![pod("jobs-1", "jobs", 50.0)]),
    ];
    Snapshot::new(clock::now(), services)
}

async fn start() -> Api {
    Api::with_custom_metrics(pods_of_shop()).await
}

/// The names of what the items are of, and their values.
async fn read(api: &Api, query: &str) -> Vec<(String, f64)> {
    let answer = api.get(&format!("{V1BETA2}/namespaces/shop/{query}")).await;
    let values = answer.values();
    let json = answer.json();
    let items = json["items"].as_array().expect("items");
    let names = items.iter().map(|item| {
        let name = item["describedObject"]["name"].as_str();
        name.expect("a name").to_owned()
    });
    names.zip(values).collect()
}

async fn refused(api: &Api, query: &str, code: u16, reason: &str) -> String {
    let answer = api.get(&format!("{V1BETA2}/namespaces/shop/{query}")).await;
    answer.refused(code, reason)
}

/// An answer with its times replaced by `T`.
async fn timeless(api: &Api, path: &str) -> Value {
    let mut json = api.get(path).await.json();
    for item in json["items"].as_array_mut().expect("items") {
        assert!(
            item["timestamp"]
                .as_str()
                .is_some_and(|at| at.ends_with('Z'))
        );
        item["timestamp"] = "T".into();
    }
    json
}

#[tokio::test]
async fn assertion_60_a_wildcard_is_one_item_for_each_pod_that_matches() {
    let api = start().await;
    let web = [("web-1".to_owned(), 25.0), ("web-2".to_owned(), 75.0)];
    for name in ["%2A", "*"] {
        let query = format!("pods/{name}/request_rate?labelSelector=app%3Dweb");
        assert_eq!(read(&api, &query).await, web, "{query}");
    }
    let all = read(&api, "pods/*/request_rate").await;
    assert_eq!(all.len(), 3, "an empty selector selects all: {all:?}");
    let busy = read(&api, "pods/*/request_concurrency?labelSelector=app%3Dweb").await;
    assert_eq!(busy[1], ("web-2".to_owned(), 30.0));
}

#[tokio::test]
async fn assertion_61_each_version_has_its_own_names_for_metric_and_window() {
    let api = start().await;
    let read = "namespaces/shop/pods/web-1/request_rate?metricLabelSelector=service%3Da";
    let of = json!({"kind": "Pod", "namespace": "shop", "name": "web-1", "apiVersion": "v1"});
    let selector =
        json!({"matchExpressions": [{"key": "service", "operator": "In", "values": ["a"]}]});
    assert_eq!(
        timeless(&api, &format!("{V1BETA1}/{read}")).await["items"],
        json!([{
            "describedObject": of, "metricName": "request_rate", "selector": selector,
            "timestamp": "T", "window": 60, "value": "25",
        }])
    );
    assert_eq!(
        timeless(&api, &format!("{V1BETA2}/{read}")).await["items"],
        json!([{
            "describedObject": of, "metric": {"name": "request_rate", "selector": selector},
            "timestamp": "T", "windowSeconds": 60, "value": "25",
        }])
    );
}

#[tokio::test]
async fn assertion_61_without_a_selector_the_selector_is_there_and_null() {
    let api = start().await;
    let read = "namespaces/shop/pods/web-1/request_rate";
    let item = &api.get(&format!("{V1BETA1}/{read}")).await.json()["items"][0];
    assert!(
        item.as_object().expect("an item").contains_key("selector") && item["selector"].is_null()
    );
    let item = &api.get(&format!("{V1BETA2}/{read}")).await.json()["items"][0];
    assert_eq!(
        item["metric"],
        json!({"name": "request_rate", "selector": null})
    );
}

#[tokio::test]
async fn assertion_62_kind_and_version_are_those_that_were_asked_for() {
    let api = start().await;
    for (path, version) in [(V1BETA1, "v1beta1"), (V1BETA2, "v1beta2")] {
        for below in [
            "pods/*",
            "pods/web-1",
            "requestmetrics.taffrail.dev/a",
            "metrics",
        ] {
            let json = api
                .get(&format!("{path}/namespaces/shop/{below}/request_rate"))
                .await
                .json();
            assert_eq!(json["kind"], "MetricValueList", "{below}");
            assert_eq!(
                json["apiVersion"],
                format!("custom.metrics.k8s.io/{version}")
            );
            assert_eq!(json["metadata"], json!({}));
        }
    }
}

#[tokio::test]
async fn assertion_63_one_object_is_exactly_one_item_and_an_unknown_one_a_404() {
    let api = start().await;
    let one = |name: &str, value| vec![(name.to_owned(), value)];
    assert_eq!(
        read(&api, "pods/web-2/request_rate").await,
        one("web-2", 75.0)
    );
    let service = "requestmetrics.taffrail.dev";
    assert_eq!(
        read(&api, &format!("{service}/a/request_rate")).await,
        one("a", 100.0)
    );
    assert_eq!(
        read(&api, &format!("{service}/a/request_latency_ms")).await,
        one("a", 412.5)
    );
    assert_eq!(
        read(&api, &format!("{service}/b/slow_request_ratio")).await,
        one("b", 1.0)
    );
    for unknown in [
        "pods/nobody/request_rate",
        "pods/*/request_rate?labelSelector=app%3Dnone",
        "pods/web-1/no_such_metric",
        "requestmetrics.taffrail.dev/nobody/request_rate",
        "ingresses.networking.k8s.io/main/request_rate",
        "pods/web-1",
        "pods//request_rate/",
        "metrics/",
    ] {
        refused(&api, unknown, 404, "NotFound").await;
    }
    for path in [
        format!("{V1BETA2}/nodes/n/request_rate"),
        format!("{V1BETA2}/namespaces/shop"),
    ] {
        let message = api.get(&path).await.refused(404, "NotFound");
        assert!(message.contains("pods/*/METRIC"), "{message}");
    }
    let elsewhere = format!("{V1BETA2}/namespaces/else/pods/web-1/request_rate");
    api.get(&elsewhere).await.refused(404, "NotFound");
}

#[tokio::test]
async fn assertion_64_a_metric_selector_chooses_series_and_a_malformed_one_is_a_400() {
    let api = start().await;
    let pods = "pods/*/request_rate?metricLabelSelector=";
    assert_eq!(
        read(&api, &format!("{pods}service%3Db")).await,
        [("jobs-1".to_owned(), 50.0)]
    );
    assert_eq!(read(&api, &format!("{pods}service%21%3Db")).await.len(), 2);
    refused(&api, &format!("{pods}service%3Dnobody"), 404, "NotFound").await;
    let latency =
        "requestmetrics.taffrail.dev/a/request_latency_ms?metricLabelSelector=quantile%3D";
    let (low, high) = (
        read(&api, &format!("{latency}0.1")).await[0].1,
        read(&api, &format!("{latency}0.9")).await[0].1,
    );
    assert!(low < 412.5 && 412.5 < high, "{low} {high}");
    for read in [pods, "metrics/request_rate?metricLabelSelector=", latency] {
        refused(&api, &format!("{read}in+a%2C"), 400, "BadRequest").await;
    }
    refused(
        &api,
        "pods/*/request_rate?labelSelector=a+b",
        400,
        "BadRequest",
    )
    .await;
    let twice = "pods/*/request_rate?metricLabelSelector=a&metricLabelSelector=b";
    refused(&api, twice, 400, "BadRequest").await;
}

#[tokio::test]
async fn assertion_65_a_namespaces_metric_is_one_item_of_kind_namespace() {
    let api = start().await;
    let json = timeless(
        &api,
        &format!("{V1BETA2}/namespaces/shop/metrics/request_rate"),
    )
    .await;
    assert_eq!(
        json["items"],
        json!([{
            "describedObject": {"kind": "Namespace", "name": "shop", "apiVersion": "v1"},
            "metric": {"name": "request_rate", "selector": null},
            "timestamp": "T", "windowSeconds": 60, "value": "150",
        }])
    );
    let latency = read(&api, "metrics/request_latency_ms").await;
    assert_eq!(latency, [("shop".to_owned(), 412.5)], "buckets are merged");
    let message = refused(&api, "metrics/slow_request_ratio", 400, "BadRequest").await;
    assert!(message.contains("select a service"), "{message}");
    let one = "metrics/slow_request_ratio?metricLabelSelector=service%3Da";
    assert_eq!(read(&api, one).await, [("shop".to_owned(), 1.0)]);
}

#[tokio::test]
async fn assertion_66_no_pod_is_there_twice_and_none_that_does_not_match() {
    let (one, other) = (pod("web-1", "web", 5.0), pod("jobs-1", "jobs", 7.0));
    let services = vec![
        with_pods("a", 5.0, vec![one.clone()]),
        with_pods("b", 12.0, vec![one, other]),
    ];
    let api = Api::with_custom_metrics(Snapshot::new(clock::now(), services)).await;
    let message = refused(
        &api,
        "pods/*/request_rate?labelSelector=app%3Dweb",
        400,
        "BadRequest",
    )
    .await;
    assert!(
        message.contains("shop/a and shop/b") && message.contains("service=a"),
        "{message}"
    );
    let chosen = "pods/*/request_rate?labelSelector=app%3Dweb&metricLabelSelector=service%3Db";
    assert_eq!(read(&api, chosen).await, [("web-1".to_owned(), 5.0)]);
    let unshared = "pods/*/request_rate?labelSelector=app%3Djobs";
    assert_eq!(read(&api, unshared).await, [("jobs-1".to_owned(), 7.0)]);
}

#[tokio::test]
async fn assertion_68_discovery_names_resource_and_metric_with_one_scope_for_each_resource() {
    let api = start().await;
    for (path, version) in [(V1BETA1, "v1beta1"), (V1BETA2, "v1beta2")] {
        let list = api.get(path).await.json();
        assert_eq!(
            list["groupVersion"],
            format!("custom.metrics.k8s.io/{version}")
        );
        let resources = list["resources"].as_array().expect("resources");
        let mut scopes: BTreeMap<&str, bool> = BTreeMap::new();
        for resource in resources {
            let name = resource["name"].as_str().expect("a name");
            let (parent, metric) = name.split_once('/').expect("a resource and a metric");
            assert!(!metric.contains('/'), "{name}");
            let namespaced = resource["namespaced"].as_bool().expect("a scope");
            assert_eq!(
                *scopes.entry(parent).or_insert(namespaced),
                namespaced,
                "{name}"
            );
            assert_eq!(resource["kind"], "MetricValueList");
            assert_eq!(resource["verbs"], json!(["get"]));
        }
        assert_eq!(
            scopes,
            BTreeMap::from([
                ("namespaces", false),
                ("pods", true),
                ("requestmetrics.taffrail.dev", true)
            ])
        );
    }
}

#[tokio::test]
async fn both_versions_are_in_every_document_and_v1beta2_is_preferred() {
    let api = start().await;
    let group = api.get("/apis/custom.metrics.k8s.io").await.json();
    assert_eq!(group["preferredVersion"]["version"], "v1beta2");
    let groups = api.get("/apis").await.json();
    assert_eq!(groups["groups"][0]["name"], "external.metrics.k8s.io");
    assert_eq!(groups["groups"][1]["versions"], group["versions"]);
    let aggregated = api.get_with("/apis", &[("accept", AGGREGATED)]).await.body;
    let aggregated: Value = serde_json::from_str(&aggregated).expect("JSON");
    assert_golden("aggregated-custom.json", &aggregated["items"][1]);
    let paths = api.get("/").await.json();
    for path in paths["paths"].as_array().expect("paths") {
        let path = path.as_str().expect("a path");
        assert_eq!(api.get(path).await.code, 200, "{path}");
    }
    let v2 = api.get("/openapi/v2").await.json();
    assert_references_resolve(&v2, &v2);
    let v3 = api.get("/openapi/v3").await.json();
    let documents = v3["paths"].as_object().expect("paths");
    assert_eq!(documents.len(), GroupVersion::served(CUSTOM).len());
    for document in documents.values() {
        let url = document["serverRelativeURL"].as_str().expect("an address");
        let document = api.get(url).await.json();
        assert_references_resolve(&document, &document);
        for path in document["paths"].as_object().expect("paths").keys() {
            assert!(v2["paths"].get(path).is_some(), "{path}");
        }
    }
}

#[tokio::test]
async fn keys_of_a_service_are_added_as_an_hpa_adds_the_items_of_an_external_metric() {
    let backlog = |key: &str, items| BacklogView {
        key: key.into(),
        items: Ok(items),
    };
    let mut queues = service("shop", "queues", 1.0, clock::now());
    queues.backlogs = vec![backlog("mail", 3.0), backlog("orders", 4.0)];
    let api = Api::with_custom_metrics(Snapshot::new(clock::now(), vec![queues])).await;
    let path =
        format!("{V1BETA1}/namespaces/shop/requestmetrics.taffrail.dev/queues/redis_backlog");
    let json = timeless(&api, &path).await;
    assert_eq!(
        json["items"],
        json!([{
            "describedObject": {
                "kind": "RequestMetrics", "namespace": "shop", "name": "queues",
                "apiVersion": config::API_VERSION,
            },
            "metricName": "redis_backlog", "selector": null, "timestamp": "T", "value": "7",
        }]),
        "what is of an instant has no window"
    );
    let one = "requestmetrics.taffrail.dev/queues/redis_backlog?metricLabelSelector=key%3Dmail";
    assert_eq!(read(&api, one).await, [("queues".to_owned(), 3.0)]);
}

#[tokio::test]
async fn of_a_pod_the_mean_latency_is_known_and_what_needs_buckets_is_not() {
    let api = start().await;
    let mean = "pods/web-1/request_latency_ms?metricLabelSelector=quantile%3Dmean";
    assert_eq!(read(&api, mean).await, [("web-1".to_owned(), 400.0)]);
    for asked in [
        "",
        "?metricLabelSelector=quantile%3D0.95",
        "?metricLabelSelector=quantile",
    ] {
        let read = format!("pods/web-1/request_latency_ms{asked}");
        let message = refused(&api, &read, 400, "BadRequest").await;
        assert!(message.contains("quantile=mean"), "{message}");
    }
    for metric in ["slow_request_ratio", "redis_backlog"] {
        let message = refused(&api, &format!("pods/*/{metric}"), 404, "NotFound").await;
        assert!(
            message.contains("requestmetrics.taffrail.dev/NAME"),
            "{message}"
        );
    }
    refused(
        &api,
        "requestmetrics.taffrail.dev/*/request_rate",
        400,
        "BadRequest",
    )
    .await;
    refused(
        &api,
        "pods/*/request_rate?watch=true",
        405,
        "MethodNotAllowed",
    )
    .await;
}

#[tokio::test]
async fn a_pod_that_lacks_what_a_value_is_made_of_is_left_out() {
    let mut dumb = pod("web-2", "web", 5.0);
    dumb.load.busy_s = None;
    let snapshot = |pods| Snapshot::new(clock::now(), vec![with_pods("a", 5.0, pods)]);
    let api =
        Api::with_custom_metrics(snapshot(vec![pod("web-1", "web", 5.0), dumb.clone()])).await;
    let busy = "pods/*/request_concurrency";
    assert_eq!(read(&api, busy).await, [("web-1".to_owned(), 2.0)]);
    api.publish(snapshot(vec![dumb]));
    let message = refused(&api, busy, 404, "NotFound").await;
    assert!(message.contains("do not report"), "{message}");
}

#[tokio::test]
async fn requests_are_told_by_group_and_version() {
    let api = start().await;
    read(&api, "pods/*/request_rate").await;
    api.get(&format!("{V1BETA1}/namespaces/shop/metrics/request_rate"))
        .await;
    api.read("request_rate").await;
    let events = api.events();
    let told: Vec<_> = events
        .iter()
        .map(|event| (event.group, event.verb))
        .collect();
    assert_eq!(
        told,
        [
            (GroupVersion::CustomV1Beta2, "GET"),
            (GroupVersion::CustomV1Beta1, "GET"),
            (GroupVersion::External, "LIST")
        ]
    );
    assert!(
        events
            .iter()
            .all(|event| event.resource.is_some() && event.age.is_some())
    );
}

#[tokio::test]
async fn without_the_flag_nothing_of_the_group_is_there() {
    let api = Api::of(shop(clock::now())).await;
    for path in [
        "/apis/custom.metrics.k8s.io".to_owned(),
        V1BETA1.to_owned(),
        format!("{V1BETA2}/namespaces/shop/metrics/request_rate"),
    ] {
        let message = api.get(&path).await.refused(404, "NotFound");
        assert!(!message.contains("pods"), "{message}");
    }
}
