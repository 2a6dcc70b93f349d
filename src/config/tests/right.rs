//! Documents that are right, and what they mean.

use std::time::Duration;

use super::*;
use crate::engine::Objective;
use crate::source::redis::{
    BacklogRead, Connection, HistogramKey, Measure, RedisSpec, ReportedRead, ServerRead, SumKey,
    Unit,
};
use crate::source::scrape::{Auth, ScrapeSpec};
use crate::source::secret::SecretRef;
use crate::source::tls::{Authorities, IdentityFiles, TlsSpec};

const SECONDS_5: Duration = Duration::from_secs(5);

fn scrapes(text: &str) -> Vec<ScrapeSpec> {
    let only = |source| match source {
        SourceSpec::Scrape(spec) => spec,
        SourceSpec::Redis(spec) => panic!("{spec:?}"),
    };
    service(text).sources.into_iter().map(only).collect()
}

fn scrape(text: &str) -> ScrapeSpec {
    let mut scrapes = scrapes(text);
    assert_eq!(scrapes.len(), 1);
    scrapes.remove(0)
}

fn redis(fields: &[&str]) -> RedisSpec {
    match service(&redis_with(fields)).sources.as_slice() {
        [SourceSpec::Redis(spec)] => spec.clone(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_example_means_what_it_says() {
    let service = service(USERS);
    assert_eq!(
        service.spec,
        ServiceSpec {
            id: users(),
            interval: SECONDS_5,
            window: Duration::from_secs(30),
            objective: Some(Objective {
                quantile: 0.95,
                latency: Duration::from_millis(250),
            }),
            has_requests: true,
        }
    );
    let scrape = scrape(USERS);
    assert_eq!(
        scrape.target.to_string(),
        "shop/users/http://users:8080/metrics"
    );
    assert_eq!(scrape.endpoint.to_string(), "http://users:8080/metrics");
    assert_eq!(
        scrape.want.histogram.as_deref(),
        Some("http_request_duration_seconds")
    );
    assert_eq!(scrape.interval, SECONDS_5);
    assert_eq!(scrape.timeout, Duration::from_secs(4));
    assert!(scrape.headers.is_empty() && scrape.auth.is_none() && !scrape.gzip);
}

#[test]
fn a_document_needs_a_name_and_a_target_only() {
    let service = service(
        "apiVersion: taffrail.dev/v1alpha1\nkind: RequestMetrics\nmetadata: {name: users}\nspec: {source: {pods: {targets: ['users:80']}}}",
    );
    assert_eq!(service.spec.id, ServiceId::new("default", "users"));
    assert_eq!(service.spec.window, Duration::from_secs(30));
    assert_eq!(service.spec.objective, None);
}

#[test]
fn what_kubernetes_adds_to_an_object_is_passed_over() {
    let text = users_with(
        "{name: users, namespace: shop}\n",
        "\n  name: users\n  namespace: shop\n  labels: {team: a}\n  annotations: {limit: .inf}\n  resourceVersion: '7'\nstatus: {conditions: []}\n",
    );
    assert_eq!(service(&text), service(USERS));
}

#[test]
fn window_and_interval_hold_each_other() {
    for (written, window, interval) in [
        ("window: 1m30s", 90.0, 5.0),
        ("window: 1.5s\n  interval: 500ms", 1.5, 0.5),
        ("interval: 20s", 40.0, 20.0),
        ("interval: 5m", 600.0, 300.0),
        ("window: 200ms\n  interval: 100ms", 0.2, 0.1),
        ("window:", 30.0, 5.0),
    ] {
        let spec = service(&users_with("window: 30s", written)).spec;
        assert_eq!(spec.window, Duration::from_secs_f64(window), "{written}");
        assert_eq!(
            spec.interval,
            Duration::from_secs_f64(interval),
            "{written}"
        );
    }
}

#[test]
fn a_target_is_an_address_or_a_url() {
    let text = pods_with(&["scheme: https", "path: stats?x=1"]).replace(
        "targets: [users:8080]",
        "targets: [a:1, b, '[::1]:9', 'http://c:8/own']",
    );
    let scrapes = scrapes(&text);
    let endpoints: Vec<String> = scrapes
        .iter()
        .map(|scrape| scrape.endpoint.to_string())
        .collect();
    assert_eq!(
        endpoints,
        [
            "https://a:1/stats",
            "https://b/stats",
            "https://[::1]:9/stats",
            "http://c:8/own"
        ]
    );
    assert_eq!(scrapes[0].endpoint.path_and_query.as_str(), "/stats?x=1");
}

#[test]
fn every_field_of_pods_reaches_the_scrape() {
    let spec = scrape(&pods_with(&[
        "histogram: h",
        r#"where: 'route!="/healthz"'"#,
        "inFlight: in_flight",
        "cpu: cpu_seconds",
        "timeout: 1s",
        "gzip: true",
        "headers: {X-Auth-Token: {file: /token}, X-Team: {value: '&^@$'}}",
        "bearerToken: {env: TOKEN}",
        "tls: {caFile: /ca, serverName: users, insecureSkipVerify: true, certFile: /crt, keyFile: /key}",
    ]));
    assert_eq!(spec.want.histogram.as_deref(), Some("h"));
    assert_eq!(spec.want.matchers.source(), r#"route!="/healthz""#);
    assert_eq!(spec.want.in_flight.as_deref(), Some("in_flight"));
    assert_eq!(spec.want.cpu.as_deref(), Some("cpu_seconds"));
    assert_eq!(spec.timeout, Duration::from_secs(1));
    assert!(spec.gzip);
    let headers: Vec<(&str, &SecretRef)> = spec
        .headers
        .iter()
        .map(|(name, value)| (name.as_str(), value))
        .collect();
    assert_eq!(
        headers,
        [
            ("x-auth-token", &SecretRef::File("/token".into())),
            ("x-team", &SecretRef::Literal("&^@$".into())),
        ]
    );
    assert_eq!(
        spec.auth,
        Some(Auth::Bearer(SecretRef::Env("TOKEN".into())))
    );
    assert_eq!(
        spec.tls,
        TlsSpec {
            ca: Some(Authorities::File("/ca".into())),
            server_name: Some("users".into()),
            insecure_skip_verify: true,
            identity: Some(IdentityFiles {
                cert_file: "/crt".into(),
                key_file: "/key".into(),
            }),
        }
    );
}

#[test]
fn basic_authentication_has_two_secrets() {
    let spec = scrape(&pods_with(&[
        "basicAuth: {username: {value: joe}, password: {file: /password}}",
    ]));
    assert_eq!(
        spec.auth,
        Some(Auth::Basic {
            username: SecretRef::Literal("joe".into()),
            password: SecretRef::File("/password".into()),
        })
    );
}

#[test]
fn the_address_of_a_redis_server_has_these_forms() {
    for (address, host, port, name) in [
        ("redis:6380", "redis", 6380, "redis://redis:6380"),
        ("redis", "redis", 6379, "redis://redis:6379"),
        ("10.0.0.7:1", "10.0.0.7", 1, "redis://10.0.0.7:1"),
        ("::1", "::1", 6379, "redis://[::1]:6379"),
        ("[::1]", "::1", 6379, "redis://[::1]:6379"),
        ("[::1]:65535", "::1", 65535, "redis://[::1]:65535"),
    ] {
        let spec = redis(&[&format!("address: '{address}'"), "server: {}"]);
        assert_eq!(spec.connection, Connection::new(host, port), "{address}");
        assert_eq!(&*spec.target.name, name);
    }
}

#[test]
fn without_an_address_the_environment_says_where_redis_is() {
    let spec = redis(&["server: {}"]);
    assert_eq!(spec.connection, Connection::from_env().unwrap());
}

#[test]
fn every_field_of_redis_reaches_the_source() {
    let spec = redis(&[
        "address: redis:7",
        "username: {value: reader}",
        "password: {file: /password}",
        "database: 3",
        "tls: {caFile: /ca}",
        "timeout: 2s",
        "reported:",
        "  requests: app:requests",
        "  histogram: {key: app:latency, unit: milliseconds, cumulative: true, buckets: [5, 10.5]}",
        "  sum: app:spent",
        "backlog:",
        "- key: mails",
        "- {key: orders, label: all-orders, measure: length}",
        "- {key: jobs, measure: pending, group: workers}",
        "- {key: events, measure: lag, group: workers}",
        "- {key: waiting, measure: number}",
    ]);
    assert_eq!(
        spec.connection,
        Connection {
            host: "redis".into(),
            port: 7,
            username: Some(SecretRef::Literal("reader".into())),
            password: Some(SecretRef::File("/password".into())),
            db: 3,
            tls: Some(TlsSpec {
                ca: Some(Authorities::File("/ca".into())),
                ..TlsSpec::default()
            }),
        }
    );
    assert_eq!(spec.interval, SECONDS_5);
    assert_eq!(spec.timeout, Duration::from_secs(2));
    assert_eq!(spec.server, None);
    assert_eq!(
        spec.reported,
        Some(ReportedRead {
            requests: Some("app:requests".into()),
            histogram: Some(HistogramKey {
                key: "app:latency".into(),
                unit: Unit::Milliseconds,
                cumulative: true,
                buckets: Some(vec![5.0, 10.5]),
            }),
            sum: Some(SumKey {
                key: "app:spent".into(),
                unit: Unit::Milliseconds,
            }),
        })
    );
    let group = "workers".to_owned();
    let backlog = |key: &str, measure| BacklogRead {
        key: key.to_owned(),
        label: (key == "orders").then(|| "all-orders".to_owned()),
        measure,
    };
    assert_eq!(
        spec.backlog,
        [
            backlog("mails", Measure::Auto),
            backlog("orders", Measure::Length),
            backlog(
                "jobs",
                Measure::Pending {
                    group: group.clone()
                }
            ),
            backlog("events", Measure::Lag { group }),
            backlog("waiting", Measure::Number),
        ]
    );
}

#[test]
fn the_servers_own_requests_are_all_or_some_of_its_commands() {
    let all = redis(&["address: redis", "server: {}"]);
    assert_eq!(all.server, Some(ServerRead { commands: None }));
    let some = redis(&["address: redis", "server: {commands: [get, xread]}"]);
    let commands = Some(vec!["get".to_owned(), "xread".to_owned()]);
    assert_eq!(some.server, Some(ServerRead { commands }));
}

#[test]
fn a_source_of_backlogs_alone_has_no_requests() {
    for (fields, has_requests) in [
        (["address: redis", "backlog: [{key: mails}]"], false),
        (["address: redis", "reported: {requests: n}"], true),
        (["address: redis", "server: {}"], true),
    ] {
        let spec = service(&redis_with(&fields)).spec;
        assert_eq!(spec.has_requests, has_requests, "{fields:?}");
    }
}

#[test]
fn anchors_and_merges_save_writing() {
    let text = pods_with(&[
        "headers: {A: &token {env: TOKEN}, B: *token}",
        "basicAuth: {username: {value: joe}, password: {<<: *token}}",
    ]);
    let spec = scrape(&text);
    assert_eq!(spec.headers[0].1, spec.headers[1].1);
}
