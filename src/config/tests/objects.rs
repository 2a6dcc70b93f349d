//! Objects as the API server gives them: what they may name, and what only a file may.

use std::net::{IpAddr, Ipv6Addr};

use serde_json::{Value, json};

use super::*;
use crate::model::unit::Unit;
use crate::source::scrape::{Auth, ScrapeSpec};
use crate::source::secret::SecretRef;
use crate::source::tls::Authorities;

/// An object with a source, as the API server gives it: with everything that Kubernetes adds.
fn with_source(source: &Value) -> String {
    json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "RequestMetrics",
        "metadata": {
            "name": "users",
            "namespace": "shop",
            "uid": "6ab1c0de-0000-4000-8000-000000000000",
            "resourceVersion": "7",
            "generation": 1,
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "annotations": {"note": "a \"quoted\" \\ line\nand \u{1F6A2}\ttab", "empty": ""},
            "managedFields": [{"fieldsV1": {"f:spec": {".": {}, "f:source": {"f:pods": {}}}}}],
        },
        "spec": {
            "source": source,
            "window": "30s",
            "interval": "5s",
            "objective": {"quantile": 0.95, "latency": "250ms"},
        },
        "status": {"conditions": [{"type": "Ready", "status": "True"}]},
    })
    .to_string()
}

/// An object that reads pods, with further fields of `spec.source.pods`.
fn with_pods(fields: Value) -> String {
    let mut pods = json!({"selector": {"matchLabels": {"app": "users"}}});
    merge(&mut pods, fields);
    with_source(&json!({ "pods": pods }))
}

fn with_redis(fields: Value) -> String {
    let mut redis = json!({"address": "redis:6379", "server": {}});
    merge(&mut redis, fields);
    with_source(&json!({ "redis": redis }))
}

/// Adds fields, and takes those away that are null.
fn merge(into: &mut Value, fields: Value) {
    let into = into.as_object_mut().unwrap();
    let Value::Object(fields) = fields else {
        panic!("fields are a mapping")
    };
    for (name, value) in fields {
        match value {
            Value::Null => into.remove(&name),
            value => into.insert(name, value),
        };
    }
}

fn pods(fields: Value) -> PodSelection {
    object(&with_pods(fields)).unwrap().pods.unwrap()
}

fn scrape(pods: &PodSelection) -> ScrapeSpec {
    let target = PodSelection::target(&users(), "users-0", "0a1b2c3d-ffff");
    match pods.source(target, IpAddr::from([10, 0, 0, 7]), 8080) {
        SourceSpec::Scrape(spec) => spec,
        SourceSpec::Redis(spec) => panic!("{spec:?}"),
    }
}

fn secret(name: &str, key: &str) -> SecretKey {
    SecretKey {
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        key: key.to_owned(),
    }
}

fn reference(name: &str, key: &str) -> Value {
    json!({"secretKeyRef": {"name": name, "key": key}})
}

/// What is said of an object that is wrong.
fn refusal(text: &str) -> String {
    let problem = object(text).expect_err(text);
    assert_eq!(problem.service, Some(users()), "{text}");
    assert_eq!(problem.line, None);
    problem.message
}

#[test]
fn a_whole_object_is_a_service_and_the_pods_it_selects() {
    let Object { service, pods } = object(&with_pods(json!({}))).unwrap();
    assert_eq!(service.spec.id, users());
    assert_eq!(service.spec.window.as_secs(), 30);
    assert!(service.sources.is_empty() && service.spec.has_requests);
    let pods = pods.unwrap();
    assert_eq!(pods.selector().to_string(), "app=users");
    let spec = scrape(&pods);
    assert_eq!(&*spec.target.name, "users-0/0a1b2c3d");
    assert_eq!(spec.endpoint.to_string(), "http://10.0.0.7:8080/metrics");
    assert_eq!(spec.timeout.as_secs(), 4);
}

#[test]
fn every_field_of_pods_reaches_the_scrape() {
    let pods = pods(json!({
        "scheme": "https",
        "path": "stats?x=1",
        "histogram": "h",
        "unit": "milliseconds",
        "where": "route!=\"/healthz\"",
        "inFlight": "busy",
        "cpu": "cpu_seconds",
        "timeout": "1s",
        "gzip": true,
        "headers": {"X-Team": {"value": "&^@$"}, "X-Token": reference("users-token", "token")},
        "basicAuth": {"username": {"value": "joe"}, "password": reference("users", "password")},
        "tls": {"serverName": "users", "insecureSkipVerify": true, "ca": reference("users-ca", "ca.crt")},
    }));
    let v6 = IpAddr::from(Ipv6Addr::LOCALHOST);
    let SourceSpec::Scrape(spec) = pods.source(PodSelection::target(&users(), "a", "b"), v6, 9)
    else {
        panic!("a pod is scraped")
    };
    assert_eq!(spec.endpoint.to_string(), "https://[::1]:9/stats");
    assert_eq!(spec.endpoint.path_and_query.as_str(), "/stats?x=1");
    assert_eq!(spec.want.histogram.as_deref(), Some("h"));
    assert_eq!(spec.want.unit, Some(Unit::Milliseconds));
    assert_eq!(spec.want.matchers.source(), "route!=\"/healthz\"");
    assert_eq!(spec.want.in_flight.as_deref(), Some("busy"));
    assert_eq!(spec.want.cpu.as_deref(), Some("cpu_seconds"));
    assert_eq!(spec.timeout.as_secs(), 1);
    assert!(spec.gzip);
    assert_eq!(
        spec.headers
            .iter()
            .map(|(_, value)| value)
            .collect::<Vec<_>>(),
        [
            &SecretRef::Literal("&^@$".to_owned()),
            &SecretRef::Kubernetes(secret("users-token", "token")),
        ]
    );
    assert_eq!(
        spec.auth,
        Some(Auth::Basic {
            username: SecretRef::Literal("joe".to_owned()),
            password: SecretRef::Kubernetes(secret("users", "password")),
        })
    );
    assert_eq!(spec.tls.server_name.as_deref(), Some("users"));
    assert!(spec.tls.insecure_skip_verify);
    assert_eq!(
        spec.tls.ca,
        Some(Authorities::Secret(secret("users-ca", "ca.crt")))
    );
}

#[test]
fn selectors_are_those_of_a_deployment() {
    for (selector, expected) in [
        (
            json!({"matchLabels": {"app": "users", "tier": ""}}),
            "app=users,tier=",
        ),
        (
            json!({"matchExpressions": [
                {"key": "app", "operator": "In", "values": ["b", "a"]},
                {"key": "canary", "operator": "DoesNotExist"},
                {"key": "example.com/team", "operator": "Exists"},
                {"key": "zone", "operator": "NotIn", "values": ["x"]},
            ]}),
            "app in (a,b),!canary,example.com/team,zone!=x",
        ),
    ] {
        let pods = pods(json!({ "selector": selector }));
        assert_eq!(pods.selector().to_string(), expected);
    }
}

#[test]
fn a_selector_that_selects_everything_or_cannot_be_is_refused() {
    let expression = |operator: &str, values: &[&str]| json!({"matchExpressions": [{"key": "app", "operator": operator, "values": values}]});
    for (selector, expected) in [
        (json!({}), "is empty and would select every pod"),
        (
            json!({"matchLabels": {}, "matchExpressions": []}),
            "is empty",
        ),
        (Value::Null, "selector is missing"),
        (
            json!({"matchLabels": {"app,": "users"}}),
            "no pod can have the label \"app,\"",
        ),
        (
            json!({"matchLabels": {"app": "us ers"}}),
            "with the value \"us ers\"",
        ),
        (expression("In", &[]), "In of the label app needs values"),
        (
            expression("Exists", &["a"]),
            "Exists of the label app takes no values",
        ),
        (
            expression("Gt", &["1"]),
            "operator is \"Gt\" and must be In, NotIn, Exists or DoesNotExist",
        ),
        (
            expression("In", &["-"]),
            "no label can have the value \"-\"",
        ),
        (json!({"matchLabel": {}}), "unknown field matchLabel"),
    ] {
        let said = refusal(&with_pods(json!({ "selector": selector })));
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_port_is_a_number_or_a_name_and_metrics_when_not_given() {
    let named = |name: &str| (name == "metrics").then_some(9100);
    assert_eq!(pods(json!({})).port(named), Some(9100));
    assert_eq!(pods(json!({"port": 8080})).port(named), Some(8080));
    let web = pods(json!({"port": "web"}));
    assert_eq!(web.port(named), None);
    assert_eq!(web.port_wanted().to_string(), "a port named web");
    for (port, expected) in [
        (json!(0), "port is 0 and must be from 1 to 65535"),
        (json!(65536), "port is 65536 and must be from 1 to 65535"),
        (json!("8080"), "write a number without quotes"),
        (json!("Metrics"), "and must be a number, or a name of"),
        (json!("a--b"), "and must be a number, or a name of"),
        (
            json!("a-name-of-16-chr"),
            "and must be a number, or a name of",
        ),
        (json!(true), "the number or the name of a port"),
    ] {
        let said = refusal(&with_pods(json!({ "port": port })));
        assert!(said.contains(expected), "{port}: {said}");
    }
}

#[test]
fn an_object_names_nothing_of_the_adapters_own() {
    let secret = "an object cannot name files or variables of the adapter; use secretKeyRef";
    let tls = "an object cannot name files of the adapter; use ca: {secretKeyRef: {name, key}}";
    for (text, expected) in [
        (
            with_pods(json!({"targets": ["10.0.0.1:80"]})),
            "targets is for a file",
        ),
        (
            with_pods(json!({"headers": {"X-A": {"file": "/etc/shadow"}}})),
            secret,
        ),
        (with_pods(json!({"bearerToken": {"env": "TOKEN"}})), secret),
        (with_pods(json!({"tls": {"caFile": "/ca"}})), tls),
        (
            with_pods(json!({"tls": {"certFile": "/crt", "keyFile": "/key"}})),
            tls,
        ),
        (
            with_redis(json!({"password": {"file": "/password"}})),
            secret,
        ),
        (
            with_redis(json!({"address": null})),
            "spec.source.redis.address is missing",
        ),
        (with_redis(json!({"tls": {"caFile": "/ca"}})), tls),
    ] {
        let said = refusal(&text);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_file_names_nothing_of_a_cluster() {
    for (field, expected) in [
        (
            "tls: {ca: {secretKeyRef: {name: a, key: b}}}",
            "spec.source.pods.tls.ca needs a cluster; use caFile",
        ),
        (
            "bearerToken: {secretKeyRef: {name: a, key: b}}",
            "secretKeyRef needs a cluster; use file or env",
        ),
    ] {
        let said = problems(&pods_with(&[field]));
        assert_eq!(said.len(), 1);
        assert!(said[0].contains(expected), "{said:?}");
    }
}

#[test]
fn a_secret_has_one_place_and_a_name_that_is_one() {
    let header = |value: Value| refusal(&with_pods(json!({"headers": {"X-A": value}})));
    let both = json!({"value": "a", "secretKeyRef": {"name": "a", "key": "b"}});
    for value in [json!({}), both] {
        assert!(header(value).contains("needs exactly one of secretKeyRef and value"));
    }
    for name in ["", "A", "a/b", "../pods", "a..b", "a?x=y"] {
        let said = header(reference(name, "key"));
        assert!(
            said.contains("must be the name of a Secret"),
            "{name}: {said}"
        );
    }
    for key in ["", "a/b", "a b"] {
        let said = header(reference("name", key));
        assert!(said.contains("must be a key of a Secret"), "{key}: {said}");
    }
}

#[test]
fn an_object_lists_its_secrets_and_they_are_bounded() {
    let redis = object(&with_redis(json!({
        "username": {"value": "reader"},
        "password": reference("redis", "password"),
        "tls": {"ca": reference("redis", "ca.crt")},
    })))
    .unwrap();
    assert!(redis.pods.is_none());
    assert_eq!(
        redis.secrets().into_iter().collect::<Vec<_>>(),
        [secret("redis", "ca.crt"), secret("redis", "password")]
    );
    let headers = |count: usize| -> Value {
        (0..count)
            .map(|n| (format!("X-{n}"), reference("tokens", &n.to_string())))
            .collect()
    };
    let most = object(&with_pods(json!({"headers": headers(SECRETS_MAX)}))).unwrap();
    assert_eq!(most.secrets().len(), SECRETS_MAX);
    let said = refusal(&with_pods(json!({"headers": headers(SECRETS_MAX + 1)})));
    assert_eq!(
        said,
        "the spec refers to 17 keys of Secrets, at most 16 are read"
    );
}

#[test]
fn a_field_of_an_object_is_named_although_it_stands_in_quotes() {
    let said = refusal(&with_pods(json!({"gzip": "maybe"})));
    assert_eq!(said, "gzip must be true or false");
    let said = object("{\"apiVersion\":").unwrap_err();
    assert_eq!((said.line, said.service), (None, None));
}
