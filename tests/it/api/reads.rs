//! Assertions 17 to 43: what is read, what is refused, and what is never answered.

use std::time::Duration;

use serde_json::{Value, json};
use taffrail::api::server::ConnectionLimits;
use taffrail::api::{GROUP_VERSION_PATH, Limits, Resource};
use taffrail::clock;
use taffrail::engine::snapshot::{Metric, ServiceView, Snapshot, State};

use super::fixture::{Answer, Api, WINDOW, service, shop};

/// The API of one service `c`, changed by `change`.
async fn of_service(change: impl FnOnce(&mut ServiceView)) -> Api {
    let now = clock::now();
    let mut only = service("shop", "c", 1.0, now);
    change(&mut only);
    Api::of(Snapshot::new(now, vec![only])).await
}

#[tokio::test]
async fn assertion_17_a_rate_of_two_services_is_two_items() {
    let api = Api::start().await;
    let answer = api.read("request_rate").await;
    assert_eq!(answer.values(), [100.0, 50.0]);
    let mut json = answer.json();
    for item in json["items"].as_array_mut().expect("items") {
        item["timestamp"] = Value::from("T");
    }
    let item = |service: &str, value: &str| {
        json!({
            "metricName": "request_rate", "metricLabels": {"service": service},
            "timestamp": "T", "window": 60, "value": value,
        })
    };
    assert_eq!(
        json,
        json!({
            "kind": "ExternalMetricValueList", "apiVersion": "external.metrics.k8s.io/v1beta1", "metadata": {},
            "items": [item("a", "100"), item("b", "50")],
        })
    );
}

#[tokio::test]
async fn assertion_18_a_selector_of_one_service_is_one_item() {
    let api = Api::start().await;
    let answer = api.read("request_rate?labelSelector=service%3Da").await;
    assert_eq!(answer.values(), [100.0]);
}

#[tokio::test]
async fn assertion_19_every_form_of_selector_selects() {
    let api = Api::start().await;
    for (selector, expected) in [
        ("service+in+%28a%2Cb%29", &[100.0, 50.0][..]),
        ("service+notin+%28a%29", &[50.0]),
        ("service%21%3Da", &[50.0]),
        ("service", &[100.0, 50.0]),
        ("x%21%3D1", &[100.0, 50.0]),
        ("service%3D%3Da", &[100.0]),
        ("%21x%2Cservice%3Db", &[50.0]),
    ] {
        let answer = api
            .read(&format!("request_rate?labelSelector={selector}"))
            .await;
        assert_eq!(answer.values(), expected, "{selector}");
    }
    let none = api.read("request_rate?labelSelector=%21service").await;
    none.refused(404, "NotFound");
}

#[tokio::test]
async fn assertion_20_an_empty_selector_selects_everything() {
    let api = Api::start().await;
    for query in [
        "request_rate?labelSelector=",
        "request_rate?",
        "request_rate?labelSelector=++",
    ] {
        assert_eq!(api.read(query).await.values(), [100.0, 50.0], "{query}");
    }
}

#[tokio::test]
async fn assertion_21_a_selector_outside_the_grammar_is_a_400_that_says_where() {
    let api = Api::start().await;
    for (selector, at) in [
        ("service+in+a", "byte 11"),
        ("a%2C", "byte 2"),
        ("%3Dv", "byte 0"),
    ] {
        let answer = api
            .read(&format!("request_rate?labelSelector={selector}"))
            .await;
        let message = answer.refused(400, "BadRequest");
        assert!(message.contains(at), "{message}");
    }
    let undecodable = api.read("request_rate?labelSelector=%zz").await;
    undecodable.refused(400, "BadRequest");
}

#[tokio::test]
async fn assertion_22_an_unknown_metric_is_a_404_that_names_it_and_its_namespace() {
    let api = Api::start().await;
    let message = api.read("no_such_metric").await.refused(404, "NotFound");
    assert!(
        message.contains("no_such_metric") && message.contains("shop"),
        "{message}"
    );
    assert!(
        message.contains("request_latency_ms"),
        "it says what there is: {message}"
    );
}

#[tokio::test]
async fn assertion_23_a_selector_that_selects_nothing_is_a_404_and_never_a_zero() {
    let api = Api::start().await;
    for query in [
        "request_rate?labelSelector=service%3Dnobody",
        "request_latency_ms?labelSelector=service%3Dnobody",
        "redis_backlog?labelSelector=key%3Dnothing",
    ] {
        api.read(query).await.refused(404, "NotFound");
    }
}

#[tokio::test]
async fn assertion_24_another_namespace_sees_nothing_of_this_one() {
    let now = clock::now();
    let services = vec![
        service("shop", "a", 100.0, now),
        service("bank", "z", 7.0, now),
    ];
    let api = Api::of(Snapshot::new(now, services)).await;
    let read = async |namespace: &str, query: &str| {
        api.get(&format!(
            "{GROUP_VERSION_PATH}/namespaces/{namespace}/request_rate{query}"
        ))
        .await
    };
    assert_eq!(read("shop", "").await.values(), [100.0]);
    assert_eq!(read("bank", "").await.values(), [7.0]);
    read("bank", "?labelSelector=service%3Da")
        .await
        .refused(404, "NotFound");
    let message = read("empty", "").await.refused(404, "NotFound");
    assert!(
        !message.contains("shop") && !message.contains("bank"),
        "{message}"
    );
}

#[tokio::test]
async fn assertion_25_every_item_has_a_value_a_time_in_utc_and_a_window_in_seconds() {
    let api = Api::start().await;
    for metric in Metric::ALL
        .iter()
        .filter(|metric| **metric != Metric::RedisBacklog)
    {
        let answer = api.read(metric.name()).await;
        assert!(answer.values().iter().all(|value| 0.0 <= *value));
        for item in answer.json()["items"].as_array().expect("items") {
            let time = item["timestamp"].as_str().expect("a time");
            assert!(time.ends_with('Z') && time.len() == 20, "{time}");
            let time: jiff::Timestamp = time.parse().expect("RFC 3339");
            assert!(
                (clock::now().ms() - time.as_millisecond()).abs() < 60_000,
                "{time}"
            );
            assert_eq!(item["window"], WINDOW.as_secs(), "{item}");
            assert!(item.get("windowSeconds").is_none(), "{item}");
        }
    }
}

#[tokio::test]
async fn assertion_26_milliseconds_keep_their_fraction() {
    let api = Api::start().await;
    let answer = api
        .read("request_latency_ms?labelSelector=service%3Da")
        .await;
    assert_eq!(answer.json()["items"][0]["value"], "412500m");
    assert_eq!(answer.values(), [412.5]);
}

#[tokio::test]
async fn assertion_27_values_are_rounded_to_thousandths_here_and_not_up_by_the_hpa() {
    let api = of_service(|c| c.in_flight = Some((0.300_000_000_000_000_04, 0.0))).await;
    let answer = api.read("request_concurrency").await;
    assert_eq!(answer.json()["items"][0]["value"], "300m");
}

#[tokio::test]
async fn assertion_28_what_is_no_number_is_absent() {
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let api = of_service(|c| c.in_flight = Some((value, 0.0))).await;
        api.read("request_concurrency")
            .await
            .refused(404, "NotFound");
    }
}

#[tokio::test]
async fn assertion_29_what_no_quantity_can_hold_is_absent_and_nothing_is_negative() {
    let api = of_service(|c| c.in_flight = Some((9.3e15, 0.0))).await;
    let message = api
        .read("request_concurrency")
        .await
        .refused(404, "NotFound");
    assert!(message.contains("Quantity"), "{message}");
    let api = of_service(|c| c.in_flight = Some((-5.0, 0.0))).await;
    let answer = api.read("request_concurrency").await;
    assert!(answer.code == 404 || answer.values() == [0.0], "{answer:?}");
}

#[tokio::test]
async fn assertion_30_latency_is_one_item_for_any_selector() {
    let api = Api::start().await;
    for selector in [
        "",
        "service",
        "service+in+%28a%2Cb%29",
        "quantile%3D0.5",
        "service%3Da",
        "service%3Da%2Cquantile%3Dmean",
    ] {
        let answer = api
            .read(&format!("request_latency_ms?labelSelector={selector}"))
            .await;
        assert_eq!(answer.values(), [412.5], "{selector}");
    }
    let two = api
        .read("request_latency_ms?labelSelector=quantile+in+%280.5%2C0.9%29")
        .await;
    two.refused(400, "BadRequest");
}

#[tokio::test]
async fn assertion_31_every_answer_says_that_it_is_json() {
    let api = Api::start().await;
    let read = format!("{GROUP_VERSION_PATH}/namespaces/shop");
    for (path, accept, code) in [
        (format!("{read}/request_rate"), "*/*", 200),
        (format!("{read}/request_rate?labelSelector=%2C"), "*/*", 400),
        (format!("{read}/nothing"), "*/*", 404),
        (format!("{read}/request_rate?watch=1"), "*/*", 405),
        (format!("{read}/request_rate"), "text/html", 406),
        (
            format!("{read}/request_rate?{}", "x".repeat(9000)),
            "*/*",
            414,
        ),
        ("/apis".to_owned(), "*/*", 200),
    ] {
        let answer = api.get_with(&path, &[("accept", accept)]).await;
        assert_eq!(
            (answer.code, answer.header("content-type")),
            (code, "application/json")
        );
    }
}

#[tokio::test]
async fn assertions_32_to_35_what_is_accepted_decides_the_answer() {
    let api = Api::start().await;
    let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/request_rate");
    for accept in [
        "application/vnd.kubernetes.protobuf, */*",
        "application/json;as=Table;v=v1;g=meta.k8s.io,application/json",
        "application/json",
    ] {
        let answer = api.get_with(&path, &[("accept", accept)]).await;
        assert_eq!(answer.values(), [100.0, 50.0], "{accept}");
        assert_eq!(answer.json()["kind"], "ExternalMetricValueList", "{accept}");
    }
    for accept in ["application/vnd.kubernetes.protobuf", "text/html"] {
        let answer = api.get_with(&path, &[("accept", accept)]).await;
        answer.refused(406, "NotAcceptable");
    }
}

#[tokio::test]
async fn assertion_36_a_watch_is_a_405() {
    let api = Api::start().await;
    let answer = api.read("request_rate?watch=true").await;
    answer.refused(405, "MethodNotAllowed");
    assert_eq!(api.events()[0].verb, "WATCH");
    assert_eq!(api.read("request_rate?watch=false").await.code, 200);
}

#[tokio::test]
async fn assertion_37_pretty_changes_the_form_and_list_options_nothing() {
    let api = Api::start().await;
    let plain = api.read("request_rate").await;
    let pretty = api.read("request_rate?pretty=true").await;
    assert!(pretty.body.starts_with("{\n  \"kind\""), "{}", pretty.body);
    assert_eq!(pretty.json(), plain.json());
    let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/request_rate");
    let curl = api.get_with(&path, &[("user-agent", "curl/8.14.1")]).await;
    assert_eq!(curl.body, pretty.body);
    let options = api
        .read("request_rate?limit=1&resourceVersion=0&pretty=false")
        .await;
    assert_eq!(options.body, plain.body);
    let fields = api
        .read("request_rate?fieldSelector=metadata.name%3Da")
        .await;
    fields.refused(400, "BadRequest");
}

#[tokio::test]
async fn assertion_38_case_does_not_matter_in_a_metric_and_discovery_is_lower_case() {
    let api = Api::start().await;
    assert_eq!(
        api.read("REQUEST_Rate").await.body,
        api.read("request_rate").await.body
    );
    let listed = api.get(GROUP_VERSION_PATH).await.body;
    for metric in Metric::ALL {
        assert!(listed.contains(&format!("\"{}\"", metric.name().to_lowercase())));
    }
}

#[tokio::test]
async fn assertion_39_paths_that_name_no_metric_of_a_namespace_are_a_404() {
    let api = Api::start().await;
    for path in [
        "/namespaces/shop/a%2Fb",
        "/namespaces/shop/x/y",
        "/request_rate",
        "/namespaces/shop",
        "/namespaces/shop/",
        "/namespaces//request_rate",
        "/namespaces/shop/%ff",
        "/namespaces/shop/request_rate/",
        "/namespaces/..%2Fshop/request_rate",
    ] {
        let answer = api.get(&format!("{GROUP_VERSION_PATH}{path}")).await;
        answer.refused(404, "NotFound");
    }
}

#[test]
fn assertion_40_no_metric_has_a_name_that_kubernetes_cannot_ask_for() {
    for metric in Metric::ALL {
        let name = metric.name();
        assert!(
            name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'),
            "{name}"
        );
        assert!(!["status", "finalize"].contains(&name));
    }
}

#[tokio::test]
async fn assertion_41_what_is_too_old_is_not_served_and_what_is_fresh_again_is() {
    let api = Api::start().await;
    let now = clock::now();
    api.publish(shop(now - Duration::from_secs(11)));
    let message = api
        .read("request_rate")
        .await
        .refused(503, "ServiceUnavailable");
    assert!(message.contains("11 s ago"), "{message}");
    api.read("no_such_metric").await.refused(404, "NotFound");
    api.publish(shop(now));
    assert_eq!(api.read("request_rate").await.values(), [100.0, 50.0]);
    api.publish(Snapshot::default());
    api.read("request_rate")
        .await
        .refused(503, "ServiceUnavailable");
}

#[tokio::test]
async fn assertion_41_a_service_that_nobody_knows_is_a_404_that_says_why() {
    let api = of_service(|c| {
        c.windows.clear();
        c.state = State::Unknown("none of its 3 targets can be read (3 timeout)".to_owned());
    })
    .await;
    for metric in ["request_rate", "request_latency_ms"] {
        let message = api.read(metric).await.refused(404, "NotFound");
        assert!(
            message.contains("3 timeout") && message.contains("shop/c"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn assertion_42_a_pipeline_that_hangs_makes_no_read_wait() {
    let api = Api::of(shop(clock::now() - Duration::from_secs(3600))).await;
    api.read("request_rate")
        .await
        .refused(503, "ServiceUnavailable");
    let took = api.events()[0].took;
    assert!(took < Limits::default().deadline / 2, "{took:?}");
}

#[tokio::test]
async fn assertion_43_two_hundred_reads_at_once_are_each_answered_in_milliseconds() {
    let api = Api::start().await;
    let reads = (0..200).map(|_| api.read("request_latency_ms?labelSelector=service%3Da"));
    for answer in futures_util::future::join_all(reads).await {
        assert_eq!(answer.values(), [412.5]);
    }
    let mut took: Vec<Duration> = api.events().iter().map(|event| event.took).collect();
    took.sort();
    assert_eq!(took.len(), 200);
    assert!(took[197] < Duration::from_millis(50), "p99 {:?}", took[197]);
}

#[tokio::test]
async fn every_request_is_reported_with_its_metric_and_age() {
    let now = clock::now();
    let old = now - Duration::from_secs(4);
    let services = vec![
        service("shop", "a", 1.0, now),
        service("shop", "b", 1.0, old),
    ];
    let api = Api::of(Snapshot::new(now, services)).await;
    api.read("request_rate").await;
    api.read("no_such_metric").await;
    api.read("request_rate?labelSelector=%2C").await;
    api.get(GROUP_VERSION_PATH).await;
    let events = api.events();
    let rate = Some(Resource::Own(Metric::RequestRate));
    let seen: Vec<_> = events
        .iter()
        .map(|e| (e.resource, e.verb, e.code))
        .collect();
    assert_eq!(
        seen,
        [
            (rate, "LIST", 200),
            (None, "LIST", 404),
            (rate, "LIST", 400),
            (None, "GET", 200)
        ]
    );
    let age = events[0].age.expect("it has items");
    assert!(
        Duration::from_secs(4) <= age && age < Duration::from_secs(60),
        "{age:?}"
    );
    assert_eq!(events[1].age, None);
}

#[tokio::test]
async fn reads_beyond_the_limit_are_a_429_while_discovery_and_health_still_answer() {
    let limits = Limits {
        reads_in_flight: 0,
        ..Limits::default()
    };
    let api = Api::with(shop(clock::now()), limits, ConnectionLimits::default()).await;
    api.read("request_rate")
        .await
        .refused(429, "TooManyRequests");
    for path in ["/livez", "/readyz", "/apis", GROUP_VERSION_PATH] {
        assert_eq!(api.get(path).await.code, 200, "{path}");
    }
}

#[tokio::test]
async fn a_read_counts_as_in_flight_until_its_answer_was_sent() {
    use tower::ServiceExt;

    let (_keep, snapshots) = tokio::sync::watch::channel(shop(clock::now()).into());
    let limits = Limits {
        reads_in_flight: 2,
        ..Limits::default()
    };
    let state = std::sync::Arc::new(taffrail::api::AppState::new(snapshots).with_limits(limits));
    let router = taffrail::api::router(state.clone());
    let read = async || {
        let uri = format!("{GROUP_VERSION_PATH}/namespaces/shop/request_rate");
        let request = http::Request::get(uri).body(axum::body::Body::empty());
        let answer = router.clone().oneshot(request.expect("a request")).await;
        answer.expect("it never fails")
    };
    let (first, _second) = (read().await, read().await);
    assert_eq!(state.reads_in_flight(), 2);
    assert_eq!(read().await.status(), 429);
    drop(first);
    assert_eq!(state.reads_in_flight(), 1);
    assert_eq!(read().await.status(), 200);
}

/// What a real control plane sent, header by header.
#[tokio::test]
async fn requests_recorded_from_a_real_control_plane_are_answered() {
    let recorded = include_str!("../../data/api/kube-requests.jsonl");
    let now = clock::now();
    let api = Api::of(Snapshot::new(
        now,
        vec![service("default", "web", 1.0, now)],
    ))
    .await;
    for line in recorded.lines() {
        let request: Value = serde_json::from_str(line).expect("JSON");
        let path = request["path"].as_str().expect("a path");
        // The recording asked another adapter, whose metric was in seconds and whose series had routes.
        let path = path.replace("request_latency_seconds", "request_latency_ms");
        let headers = request["headers"].as_object().expect("headers");
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .filter(|(name, _)| *name != "Host")
            .map(|(name, value)| (name.as_str(), value.as_str().expect("text")))
            .collect();
        let answer = api.get_with(&path, &headers).await;
        assert_eq!(answer.code, 200, "{path}: {answer:?}");
        assert_is_what_was_asked_for(&path, &answer);
    }
}

fn assert_is_what_was_asked_for(path: &str, answer: &Answer) {
    let json: Value = serde_json::from_str(&answer.body).expect("JSON");
    match path {
        GROUP_VERSION_PATH => assert_eq!(json["kind"], "APIResourceList"),
        "/apis" => assert_eq!(json["kind"], "APIGroupDiscoveryList"),
        "/openapi/v2" => assert_eq!(json["swagger"], "2.0"),
        "/openapi/v3" => assert!(json["paths"].is_object()),
        read => {
            assert!(
                read.contains("/namespaces/default/request_latency_ms?"),
                "{read}"
            );
            assert_eq!(answer.values().len(), 1);
            assert_eq!(json["items"][0]["metricLabels"]["quantile"], "0.95");
        }
    }
}
