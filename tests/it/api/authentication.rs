//! Assertions 4, 9, 14, 43 to 57 and 67: who is let in, over real sockets with real certificates.

use std::sync::Arc;
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;
use taffrail::api::auth::{AuthEvent, Guard};
use taffrail::api::{GROUP_VERSION_PATH, OwnMetrics};
use taffrail::clock;

use crate::fixtures::authority::Authority;

use super::control_plane::{ControlPlane, Mood, TOKEN};
use super::fixture::{Answer, Api, client_builder};
use super::guarded::{Cluster, PROXY, TOKENS, entries};
use super::transport::soon;

#[tokio::test]
async fn assertions_4_and_57_the_aggregators_checks_need_no_review() {
    let cluster = Cluster::start().await;
    cluster.plane.be(Mood::Hangs);
    let proxy = cluster.proxy();
    let headers = [
        ("x-remote-user", "system:kube-aggregator"),
        ("x-remote-group", "system:masters"),
    ];
    let checks = (0..5).map(|_| cluster.api.get_by(&proxy, GROUP_VERSION_PATH, &headers));
    for answer in futures_util::future::join_all(checks).await {
        assert_eq!(answer.code, 200, "{answer:?}");
    }
    assert!(cluster.access().is_empty());
}

#[tokio::test]
async fn assertion_9_the_fallback_identity_is_authenticated() {
    let cluster = Cluster::start().await;
    let headers = [("x-remote-user", "system:kube-aggregator")];
    let answer = cluster
        .api
        .get_by(&cluster.proxy(), GROUP_VERSION_PATH, &headers)
        .await;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert_eq!(
        cluster.access(),
        [json!({
            "user": "system:kube-aggregator",
            "groups": ["system:authenticated"],
            "nonResourceAttributes": {"path": GROUP_VERSION_PATH, "verb": "get"},
        })]
    );
}

#[tokio::test]
async fn assertions_12_and_14_nobody_sees_anything_but_health_and_not_even_what_exists() {
    let cluster = Cluster::start().await;
    cluster.plane.be(Mood::Denies);
    for path in ["/livez", "/readyz", "/healthz", "/livez?verbose"] {
        assert_eq!(cluster.api.get(path).await.code, 200, "{path}");
    }
    assert!(cluster.access().is_empty());
    for path in [
        "/",
        "/metrics",
        "/version",
        "/livez/ping",
        "/no/such/path",
        "/apis",
    ] {
        let message = cluster.api.get(path).await.refused(403, "Forbidden");
        assert!(
            message.contains(r#"User "system:anonymous" cannot get path"#),
            "{message}"
        );
    }
    let groups = json!(["system:unauthenticated"]);
    assert!(cluster.access().iter().all(|spec| spec["groups"] == groups));
    assert!(
        cluster.failures().is_empty(),
        "nobody failed to prove anything"
    );
}

/// `/metrics` of its own, as any Kubernetes component has it.
#[tokio::test]
async fn own_metrics_are_for_whoever_may_get_that_path() {
    let page = |reads_in_flight| format!("reads {reads_in_flight}\n# EOF\n");
    let own = OwnMetrics {
        content_type: "application/openmetrics-text",
        page: Box::new(page),
    };
    let cluster = Cluster::dressed(|_| {}, |state| state.telling(own)).await;
    let bearer = format!("Bearer {TOKEN}");
    let token = [("authorization", bearer.as_str())];
    let answer = cluster.api.get_with("/metrics", &token).await;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert_eq!(answer.body, "reads 0\n# EOF\n");
    assert_eq!(
        answer.header("content-type"),
        "application/openmetrics-text"
    );
    let asked = cluster.access();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0]["user"], "system:serviceaccount:shop:reader");
    assert_eq!(
        asked[0]["nonResourceAttributes"],
        json!({"path": "/metrics", "verb": "get"})
    );

    let made_up = [("authorization", "Bearer made-up")];
    let answer = cluster.api.get_with("/metrics", &made_up).await;
    answer.refused(401, "Unauthorized");
    cluster.plane.be(Mood::Denies);
    let jo = cluster.shows(&cluster.clients, "jo");
    let answer = cluster.api.get_by(&jo, "/metrics", &[]).await;
    assert_eq!(
        answer.refused(403, "Forbidden"),
        r#"forbidden: User "jo" cannot get path "/metrics""#
    );
    let forged = [("x-remote-group", "system:masters")];
    let answer = cluster.api.get_with("/metrics", &forged).await;
    let message = answer.refused(403, "Forbidden");
    assert!(message.contains("system:anonymous"), "{message}");
}

#[tokio::test]
async fn assertion_43_many_readers_at_once_are_one_review() {
    let (cluster, answers) = read_at_once().await;
    // On a machine that stands still no review is answered in time: then there is one of its own for who asks again.
    let is_late = |answer: &Answer| answer.code == 500 && answer.body.contains("in time");
    let (cluster, answers) = match answers.iter().any(is_late) {
        true => read_at_once().await,
        false => (cluster, answers),
    };
    for answer in answers {
        assert_eq!(answer.code, 200, "{answer:?}");
    }
    assert_eq!(cluster.access().len(), 1);
    let events = cluster.events();
    let [AuthEvent::AccessReviewed { result, code, .. }] = events[..] else {
        panic!("{events:?}");
    };
    assert_eq!((result, code), ("allowed", Some("201")));
}

/// Many reads by one user, on a cluster of their own.
async fn read_at_once() -> (Cluster, Vec<Answer>) {
    let cluster = Cluster::start().await;
    let proxy = cluster.proxy();
    let reads = (0..200).map(|_| cluster.read(&proxy, "hpa"));
    let answers = futures_util::future::join_all(reads).await;
    (cluster, answers)
}

#[tokio::test]
async fn assertions_44_and_54_the_review_says_all_that_the_front_proxy_says() {
    let cluster = Cluster::start().await;
    let path =
        format!("{GROUP_VERSION_PATH}/namespaces/shop/request_rate?labelSelector=service%3Da");
    let headers = [
        ("x-remote-user", "jo"),
        ("x-remote-group", "dev"),
        ("x-remote-group", "ops"),
        ("x-remote-uid", "u-1"),
        (
            "x-remote-extra-authentication.kubernetes.io%2fcredential-id",
            "JTI=1",
        ),
    ];
    let answer = cluster.api.get_by(&cluster.proxy(), &path, &headers).await;
    assert_eq!(answer.values(), [100.0]);
    assert_eq!(
        cluster.access(),
        [json!({
            "user": "jo",
            "uid": "u-1",
            "groups": ["dev", "ops", "system:authenticated"],
            "extra": {"authentication.kubernetes.io/credential-id": ["JTI=1"]},
            "resourceAttributes": {
                "verb": "list",
                "group": "external.metrics.k8s.io",
                "version": "v1beta1",
                "resource": "request_rate",
                "namespace": "shop",
            },
        })]
    );
}

#[tokio::test]
async fn assertion_67_a_read_of_pods_is_reviewed_as_a_get_of_all_of_them() {
    let cluster = Cluster::start().await;
    let path = "/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop/pods/%2A/request_rate";
    let headers = [("x-remote-user", "jo")];
    let proxy = cluster.proxy();
    let answer = cluster.api.get_by(&proxy, path, &headers).await;
    answer.refused(404, "NotFound");
    assert_eq!(
        cluster.access(),
        [json!({
            "user": "jo",
            "groups": ["system:authenticated"],
            "resourceAttributes": {
                "verb": "get",
                "group": "custom.metrics.k8s.io",
                "version": "v1beta2",
                "resource": "pods",
                "subresource": "request_rate",
                "name": "*",
                "namespace": "shop",
            },
        })]
    );
    cluster.plane.be(Mood::Denies);
    let headers = [("x-remote-user", "jane")];
    let answer = cluster.api.get_by(&proxy, path, &headers).await;
    answer.refused(403, "Forbidden");
}

#[tokio::test]
async fn assertions_45_49_and_50_a_certificate_that_proves_nothing_is_a_401() {
    let cluster = Cluster::start().await;
    let stranger = Authority::new();
    let expired = cluster.front_proxy.client_with(PROXY, |params| {
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    });
    let expired = expired.identity();
    let of_a_server = cluster.front_proxy.client_with(PROXY, |params| {
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    });
    let of_a_server = of_a_server.identity();
    for (identity, reason) in [
        (
            cluster.front_proxy.client("other").identity(),
            "not_a_front_proxy",
        ),
        (stranger.client(PROXY).identity(), "unknown_authority"),
        (expired, "not_valid_now"),
        (of_a_server, "wrong_purpose"),
    ] {
        let client = cluster.presents(identity);
        let answer = cluster.read(&client, "system:admin").await;
        answer.refused(401, "Unauthorized");
        assert_eq!(cluster.failures().last(), Some(&reason), "{answer:?}");
        let unknown = cluster.api.get_by(&client, "/no/such/path", &[]).await;
        unknown.refused(401, "Unauthorized");
    }
    assert!(cluster.access().is_empty(), "nobody was asked about");
}

#[tokio::test]
async fn assertion_46_without_allowed_names_any_certificate_of_the_authority_is_a_front_proxy() {
    let cluster = Cluster::with(|entries| {
        entries.insert("requestheader-allowed-names".to_owned(), "[]".to_owned());
    })
    .await;
    let other = cluster.shows(&cluster.front_proxy, "other");
    assert_eq!(cluster.read(&other, "jo").await.code, 200);
    assert_eq!(cluster.access()[0]["user"], "jo");
}

#[tokio::test]
async fn assertion_47_headers_without_a_certificate_are_nobodys() {
    let cluster = Cluster::start().await;
    cluster.plane.be(Mood::Denies);
    let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/request_rate");
    let forged = [
        ("x-remote-user", "system:admin"),
        ("X-Remote-Group", "system:masters"),
    ];
    let message = cluster
        .api
        .get_with(&path, &forged)
        .await
        .refused(403, "Forbidden");
    assert!(
        message.contains(r#"User "system:anonymous" cannot list"#),
        "{message}"
    );
    assert_eq!(
        cluster.access()[0]["groups"],
        json!(["system:unauthenticated"])
    );
}

#[tokio::test]
async fn assertion_48_a_client_certificate_is_its_own_user() {
    let cluster = Cluster::start().await;
    let jo = cluster.shows(&cluster.clients, "jo");
    let forged = [
        ("x-remote-user", "system:admin"),
        ("x-remote-group", "system:masters"),
    ];
    let answer = cluster.api.get_by(&jo, GROUP_VERSION_PATH, &forged).await;
    assert_eq!(answer.code, 200, "{answer:?}");
    let spec = &cluster.access()[0];
    assert_eq!(
        (&spec["user"], &spec["groups"]),
        (&json!("jo"), &json!(["system:authenticated"]))
    );
}

#[tokio::test]
async fn assertion_51_header_names_are_those_of_the_config_map() {
    let cluster = Cluster::with(|entries| {
        let names = r#"["X-First", "X-Second"]"#.to_owned();
        entries.insert("requestheader-username-headers".to_owned(), names);
    })
    .await;
    let headers = [
        ("x-first", ""),
        ("x-second", "jo"),
        ("x-remote-user", "system:admin"),
    ];
    let answer = cluster
        .api
        .get_by(&cluster.proxy(), GROUP_VERSION_PATH, &headers)
        .await;
    assert_eq!(answer.code, 200, "{answer:?}");
    assert_eq!(cluster.access()[0]["user"], "jo");
}

#[tokio::test]
async fn assertion_52_a_rotated_authority_counts_at_once_also_on_open_connections() {
    let cluster = Cluster::start().await;
    let next = Authority::new();
    let (old_proxy, new_proxy) = (cluster.proxy(), cluster.shows(&next, PROXY));
    assert_eq!(cluster.read(&old_proxy, "jo").await.code, 200);
    assert_eq!(cluster.read(&new_proxy, "jo").await.code, 401);
    let (old, new, clients) = (
        cluster.front_proxy.ca_pem(),
        next.ca_pem(),
        cluster.clients.ca_pem(),
    );

    cluster
        .plane
        .configure(entries(&format!("{old}{new}"), &clients));
    cluster
        .until("the new one is trusted", async |_| {
            cluster.read(&new_proxy, "jo").await.code == 200
        })
        .await;
    assert_eq!(cluster.read(&old_proxy, "jo").await.code, 200);

    cluster.plane.configure(entries("nonsense", &clients));
    cluster.plane.configure(entries(&new, &clients));
    cluster
        .until("the old one is not", async |_| {
            cluster.read(&old_proxy, "jo").await.code == 401
        })
        .await;
    assert_eq!(cluster.read(&new_proxy, "jo").await.code, 200);
}

#[tokio::test]
async fn assertion_53_a_token_is_reviewed_once_in_ten_seconds_and_a_bad_one_is_a_401() {
    let cluster = Cluster::start().await;
    let bearer = format!("Bearer {TOKEN}");
    for _ in 0..2 {
        let headers = [("authorization", bearer.as_str())];
        let answer = cluster.api.get_with(GROUP_VERSION_PATH, &headers).await;
        assert_eq!(answer.code, 200, "{answer:?}");
    }
    assert_eq!(cluster.plane.reviews(TOKENS), [json!({"token": TOKEN})]);
    let spec = &cluster.access()[0];
    assert_eq!(spec["user"], "system:serviceaccount:shop:reader");
    assert_eq!(spec["uid"], "7");
    assert_eq!(
        spec["groups"],
        json!(["system:serviceaccounts", "system:authenticated"])
    );
    for _ in 0..2 {
        let headers = [("authorization", "Bearer made-up")];
        let answer = cluster.api.get_with(GROUP_VERSION_PATH, &headers).await;
        let message = answer.refused(401, "Unauthorized");
        assert!(!message.contains("made-up"), "{message}");
    }
    assert_eq!(cluster.plane.reviews(TOKENS).len(), 2);
    assert_eq!(cluster.failures(), ["bad_token", "bad_token"]);
}

#[tokio::test]
async fn a_token_proves_what_a_foreign_certificate_does_not() {
    let cluster = Cluster::start().await;
    let stranger = cluster.shows(&Authority::new(), "stranger");
    let bearer = format!("Bearer {TOKEN}");
    let headers = [("authorization", bearer.as_str())];
    let answer = cluster
        .api
        .get_by(&stranger, GROUP_VERSION_PATH, &headers)
        .await;
    assert_eq!(answer.code, 200, "{answer:?}");
}

#[tokio::test]
async fn assertion_55_who_may_not_is_told_what_and_it_is_remembered() {
    let cluster = Cluster::start().await;
    cluster.plane.be(Mood::Denies);
    let proxy = cluster.proxy();
    let message = cluster.read(&proxy, "jo").await.refused(403, "Forbidden");
    assert_eq!(
        message,
        r#"request_rate.external.metrics.k8s.io is forbidden: User "jo" cannot list resource "request_rate" in API group "external.metrics.k8s.io" in the namespace "shop""#
    );
    cluster.plane.be(Mood::Allows);
    cluster.read(&proxy, "jo").await.refused(403, "Forbidden");
    assert_eq!(
        cluster.read(&proxy, "jane").await.code,
        200,
        "somebody else"
    );
    cluster.plane.be(Mood::Denies);
    assert_eq!(cluster.read(&proxy, "jane").await.code, 200);
    assert_eq!(cluster.access().len(), 2);
}

#[tokio::test]
async fn assertion_56_an_api_server_that_cannot_be_asked_lets_nobody_in_and_in_time() {
    let cluster = Cluster::start().await;
    let proxy = cluster.proxy();
    for (mood, user) in [
        (Mood::Fails(503), "a"),
        (Mood::Fails(403), "b"),
        (Mood::Hangs, "c"),
    ] {
        cluster.plane.be(mood);
        let began = clock::instant();
        let message = cluster
            .read(&proxy, user)
            .await
            .refused(500, "InternalError");
        assert!(message.contains("cannot authorize user"), "{message}");
        assert!(!message.contains("on purpose"), "{message}");
        assert!(
            began.elapsed() < Duration::from_secs(2),
            "{:?}",
            began.elapsed()
        );
    }
    cluster.plane.be(Mood::Hangs);
    let headers = [("authorization", "Bearer any")];
    let answer = cluster.api.get_with(GROUP_VERSION_PATH, &headers).await;
    let message = answer.refused(500, "InternalError");
    assert!(message.contains("cannot authenticate"), "{message}");
    assert_eq!(cluster.failures(), ["token_not_reviewed"]);

    cluster.plane.be(Mood::Allows);
    assert_eq!(
        cluster.read(&proxy, "a").await.code,
        200,
        "a failure is not remembered"
    );
}

#[tokio::test]
async fn one_failed_review_is_tried_again_before_anybody_notices() {
    let cluster = Cluster::start().await;
    cluster.plane.be(Mood::FailsOnce);
    assert_eq!(cluster.read(&cluster.proxy(), "jo").await.code, 200);
    assert_eq!(cluster.access().len(), 2);
}

#[tokio::test]
async fn a_flood_of_strangers_holds_up_nobody_else() {
    let cluster = Cluster::start().await;
    let proxy = cluster.proxy();
    cluster.plane.be(Mood::Hangs);
    let flood = (0..100).map(|n| {
        let client = cluster.api.client.clone();
        let url = cluster.api.url(&format!("/path/{n}"));
        tokio::spawn(async move { client.get(url).send().await })
    });
    let flood: Vec<_> = flood.collect();
    cluster
        .until("strangers wait", async |_| 8 <= cluster.access().len())
        .await;
    cluster.plane.be(Mood::Allows);
    let began = clock::instant();
    assert_eq!(cluster.read(&proxy, "hpa").await.code, 200);
    assert!(
        began.elapsed() < Duration::from_millis(500),
        "{:?}",
        began.elapsed()
    );
    for stranger in flood {
        stranger.abort();
    }
}

#[tokio::test]
async fn it_is_not_ready_before_it_knows_whom_to_trust() {
    let plane = ControlPlane::new(None);
    let guard = Arc::new(Guard::new(plane.client(), Arc::new(|_| {})));
    let follower = Arc::clone(&guard);
    tokio::spawn(async move { follower.follow().await });
    let api = Api::guarded_by(guard, |state| state).await;
    assert_eq!(api.get("/livez").await.code, 200);
    let answer = api.get("/readyz").await;
    assert_eq!(answer.code, 500);
    assert!(
        answer.body.contains("[-]authorities failed"),
        "{}",
        answer.body
    );
    let authority = Authority::new();
    let builder = client_builder(api.cert.ca_pem()).identity(authority.client(PROXY).identity());
    let proxy = builder.build().expect("a client");
    let early = api
        .get_by(&proxy, "/apis", &[("x-remote-user", "jo")])
        .await;
    early.refused(401, "Unauthorized");

    plane.configure(entries(&authority.ca_pem(), ""));
    soon("it is ready", async {
        while api.get("/readyz").await.code != 200 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let answer = api
        .get_by(&proxy, "/apis", &[("x-remote-user", "jo")])
        .await;
    assert_eq!(answer.code, 200, "{answer:?}");
}
