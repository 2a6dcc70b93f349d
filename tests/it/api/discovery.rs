//! Assertions 1 to 16: discovery, OpenAPI, health, errors of paths and methods.

use std::time::Duration;

use serde_json::Value;
use taffrail::api::{GROUP_VERSION_PATH, GroupVersion};
use taffrail::clock;
use taffrail::engine::snapshot::{Metric, ServiceView, Snapshot, State};
use taffrail::model::time::Timestamp;

use super::fixture::{Answer, Api, assert_golden, service, shop};

pub(super) const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,\
                          application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList";

fn assert_is_resource_list(answer: &Answer) {
    assert_eq!(answer.code, 200, "{answer:?}");
    let json = answer.json();
    assert_eq!(json["kind"], "APIResourceList");
    assert_eq!(json["groupVersion"], GroupVersion::External.name());
    let resources = json["resources"].as_array().expect("resources");
    assert_eq!(resources.len(), Metric::ALL.len());
    for resource in resources {
        assert_eq!(resource["namespaced"], true, "{resource}");
        assert_eq!(resource["verbs"], serde_json::json!(["get"]), "{resource}");
    }
}

/// A service whose targets were read once at most.
fn starting(at: Timestamp) -> ServiceView {
    let mut service = service("shop", "a", 0.0, at);
    service.windows.clear();
    service.state = State::Unknown("none of its 2 targets has been read twice yet".to_owned());
    service.coverage.known = 0;
    service.coverage.starting = 2;
    service
}

#[tokio::test]
async fn assertion_01_discovery_lists_every_metric_as_namespaced_and_gettable() {
    let api = Api::start().await;
    let answer = api.get_with(GROUP_VERSION_PATH, &[]).await;
    assert_is_resource_list(&answer);
    assert_golden("resources.json", &answer.json());
    assert_is_resource_list(&api.get(&format!("{GROUP_VERSION_PATH}/")).await);
}

#[tokio::test]
async fn assertion_02_discovery_is_not_empty_when_nothing_is_known() {
    let api = Api::of(Snapshot::default()).await;
    assert_is_resource_list(&api.get(GROUP_VERSION_PATH).await);
}

#[tokio::test]
async fn assertion_03_discovery_answers_at_once_when_every_source_is_down() {
    let long_ago = clock::now() - Duration::from_secs(3600);
    let api = Api::of(shop(long_ago)).await;
    let began = clock::instant();
    assert_is_resource_list(&api.get(GROUP_VERSION_PATH).await);
    let took = began.elapsed();
    assert!(took < Duration::from_secs(1), "{took:?}");
}

#[tokio::test]
async fn assertion_04_five_availability_checks_at_once_all_succeed() {
    let api = Api::start().await;
    let headers = [
        ("x-remote-user", "system:kube-aggregator"),
        ("x-remote-group", "system:masters"),
    ];
    let check = || api.get_with(GROUP_VERSION_PATH, &headers);
    let answers = tokio::join!(check(), check(), check(), check(), check());
    for answer in <[Answer; 5]>::from(answers) {
        assert_is_resource_list(&answer);
    }
}

#[tokio::test]
async fn assertion_05_aggregated_discovery_is_marked_as_such_and_holds_our_group() {
    let api = Api::start().await;
    let answer = api.get_with("/apis", &[("accept", AGGREGATED)]).await;
    assert_eq!(answer.code, 200);
    let media: Vec<&str> = answer.header("content-type").split(';').collect();
    assert_eq!(media[0], "application/json");
    for parameter in ["g=apidiscovery.k8s.io", "v=v2", "as=APIGroupDiscoveryList"] {
        assert!(media.contains(&parameter), "{media:?}");
    }
    let json: Value = serde_json::from_str(&answer.body).expect("JSON");
    assert_golden("aggregated.json", &json);
}

#[tokio::test]
async fn assertion_06_aggregated_discovery_that_is_known_is_a_304_without_a_body() {
    let api = Api::start().await;
    let first = api.get_with("/apis", &[("accept", AGGREGATED)]).await;
    let etag = first.header("etag");
    assert!(etag.starts_with('"') && etag.ends_with('"'), "{etag}");
    let headers = [("accept", AGGREGATED), ("if-none-match", etag)];
    let second = api.get_with("/apis", &headers).await;
    assert_eq!((second.code, second.body.as_str()), (304, ""));
    let other = [("accept", "application/json"), ("if-none-match", etag)];
    assert_eq!(
        api.get_with("/apis", &other).await.code,
        200,
        "another form has another tag"
    );
}

#[tokio::test]
async fn assertion_07_plain_discovery_lists_the_group() {
    let api = Api::start().await;
    let answer = api
        .get_with("/apis", &[("accept", "application/json")])
        .await;
    assert_golden("groups.json", &answer.json());
}

#[tokio::test]
async fn assertion_08_the_group_names_its_preferred_version() {
    let api = Api::start().await;
    assert_golden(
        "group.json",
        &api.get("/apis/external.metrics.k8s.io").await.json(),
    );
}

#[tokio::test]
async fn assertion_10_openapi_documents_are_valid_and_complete() {
    let api = Api::start().await;
    let v2 = api.get("/openapi/v2").await.json();
    assert_golden("openapi-v2.json", &v2);
    let v3 = api.get("/openapi/v3").await.json();
    let url = &v3["paths"]["apis/external.metrics.k8s.io/v1beta1"]["serverRelativeURL"];
    let group = api.get(url.as_str().expect("an address")).await.json();
    assert_golden("openapi-v3.json", &group);
    for document in [&v2, &group] {
        assert_references_resolve(document, document);
    }
    assert!(v2["swagger"] == "2.0" && group["openapi"] == "3.0.0");
}

/// Every `$ref` of `part` points at something in `document`.
pub(super) fn assert_references_resolve(document: &Value, part: &Value) {
    match part {
        Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(Value::as_str) {
                let pointer = reference.trim_start_matches('#');
                assert!(
                    document.pointer(pointer).is_some(),
                    "{reference} leads nowhere"
                );
            }
            map.values()
                .for_each(|value| assert_references_resolve(document, value));
        }
        Value::Array(values) => {
            values
                .iter()
                .for_each(|value| assert_references_resolve(document, value));
        }
        _ => {}
    }
}

#[tokio::test]
async fn assertion_11_openapi_that_is_known_is_a_304() {
    let api = Api::start().await;
    for path in [
        "/openapi/v2",
        "/openapi/v3",
        "/openapi/v3/apis/external.metrics.k8s.io/v1beta1",
    ] {
        let first = api.get(path).await;
        let etag = format!("\"other\", W/{}", first.header("etag"));
        let second = api.get_with(path, &[("if-none-match", &etag)]).await;
        assert_eq!((second.code, second.body.as_str()), (304, ""), "{path}");
        let changed = api.get_with(path, &[("if-none-match", "\"other\"")]).await;
        assert_eq!(changed.code, 200, "{path}");
    }
}

#[tokio::test]
async fn assertion_12_probes_need_no_identity_and_get_text() {
    let api = Api::start().await;
    for path in [
        "/healthz",
        "/livez",
        "/readyz",
        "/readyz/snapshot",
        "/livez/ping",
    ] {
        let answer = api.get_with(path, &[]).await;
        assert_eq!((answer.code, answer.body.as_str()), (200, "ok"), "{path}");
        assert_eq!(answer.header("content-type"), "text/plain; charset=utf-8");
    }
    let verbose = api.get_with("/readyz?verbose", &[]).await.body;
    assert_eq!(
        verbose,
        "[+]ping ok\n[+]snapshot ok\n[+]windows ok\n[+]authorities ok\n[+]shutdown ok\nreadyz check passed\n"
    );
    api.get("/readyz/nonsense").await.refused(404, "NotFound");
}

#[tokio::test]
async fn assertion_13_not_ready_before_the_first_whole_window_yet_alive() {
    let api = Api::of(Snapshot::default()).await;
    let codes = async || (api.get("/readyz").await.code, api.get("/livez").await.code);
    assert_eq!(codes().await, (500, 200), "no snapshot");
    let now = clock::now();
    api.publish(Snapshot::new(
        now,
        vec![starting(now), service("shop", "b", 1.0, now)],
    ));
    assert_eq!(codes().await, (500, 200), "a service has no window");
    let report = api.get("/readyz").await.body;
    assert!(report.contains("[-]windows failed: 1 services"), "{report}");
    assert_eq!(api.get("/readyz?exclude=windows").await.code, 200);
    api.publish(shop(now));
    assert_eq!(codes().await, (200, 200), "every service is known");
    api.publish(Snapshot::new(now, vec![starting(now)]));
    assert_eq!(
        codes().await,
        (200, 200),
        "a later service takes nothing away"
    );
    api.publish(shop(now - Duration::from_secs(11)));
    assert_eq!(codes().await, (500, 200), "the snapshot is old");
    api.publish(shop(now - Duration::from_secs(61)));
    assert_eq!(codes().await, (500, 500), "the pipeline hangs");
    api.publish(shop(now));
    api.state.drain();
    assert_eq!(codes().await, (500, 200), "shutting down");
    let warned = api.get("/livez?verbose&exclude=nonsense").await.body;
    assert!(
        warned.contains(r#"warn: there is no check "nonsense""#),
        "{warned}"
    );
}

#[tokio::test]
async fn assertion_15_writing_to_a_metric_is_a_405() {
    let api = Api::start().await;
    let url = api.url(&format!(
        "{GROUP_VERSION_PATH}/namespaces/shop/request_rate"
    ));
    for request in [
        api.client.post(&url).body("{}"),
        api.client.put(&url),
        api.client.delete(&url),
        api.client.patch(&url),
    ] {
        let answer = Answer::of(request).await;
        answer.refused(405, "MethodNotAllowed");
        assert!(answer.header("allow").contains("GET"), "{answer:?}");
    }
}

#[tokio::test]
async fn assertion_16_unknown_paths_are_a_404_status() {
    let api = Api::start().await;
    for path in [
        "/apis/custom.metrics.k8s.io/v1beta2",
        "/apis/external.metrics.k8s.io/v2",
        "/nowhere",
        "/metrics",
        "/apis/external.metrics.k8s.io/v1beta1/namespaces//request_rate",
        "/apis/external.metrics.k8s.io/v1beta1/namespaces/shop/",
    ] {
        let message = api.get(path).await.refused(404, "NotFound");
        assert!(message.contains(path), "{message}");
    }
    let posted = Answer::of(api.client.post(api.url("/nowhere"))).await;
    posted.refused(404, "NotFound");
}

#[tokio::test]
async fn the_root_and_the_version_are_answered() {
    let api = Api::start().await;
    let paths = api.get("/").await.json();
    for path in paths["paths"].as_array().expect("paths") {
        let path = path.as_str().expect("a path");
        assert_eq!(api.get(path).await.code, 200, "{path}");
    }
    let version = api.get("/version").await.json();
    assert_eq!(
        version["gitVersion"],
        format!("v{}", env!("CARGO_PKG_VERSION"))
    );
}
