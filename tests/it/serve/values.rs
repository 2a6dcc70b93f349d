//! Numbers that go in come out: from apps under load, from pages with known numbers, from Redis; and what is not known
//! is refused with the reason.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::{address, document, is_rate_of, read_of, steady_target};
use crate::fixtures::adapter::{Adapter, App};
use crate::fixtures::redis_server::{RedisServer, run};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn latency_and_rate_of_real_apps_are_served_for_their_service() {
    let time = Duration::from_millis(60);
    let (first, second) = (App::taking(time).await, App::taking(time).await);
    let targets = [first.address.to_string(), second.address.to_string()];
    let adapter = Adapter::serving(&document("users", &targets)).await;
    adapter.ready().await;
    // Nobody has asked yet, and that is known.
    let rate = read_of("request_rate", "service=users");
    assert_eq!(adapter.wait_for_value(&rate, |rate| rate == 0.0).await, 0.0);

    let loads = (first.load(40.0), second.load(20.0));
    adapter
        .wait_for_value(&rate, |rate| 48.0 < rate && rate < 72.0)
        .await;
    // 60 ms lie between the bucket bounds of 50 and 100 ms; a busy machine may add some.
    let median = read_of("request_latency_ms", "service=users,quantile=0.5");
    adapter
        .wait_for_value(&median, |ms| 50.0 < ms && ms <= 100.0)
        .await;
    // Little's law: 60 requests a second of 60 ms each.
    let concurrency = read_of("request_concurrency", "service=users");
    adapter
        .wait_for_value(&concurrency, |n| 2.5 < n && n < 7.0)
        .await;

    loads.0.stop();
    loads.1.stop();
    adapter.wait_for_value(&rate, |rate| rate == 0.0).await;
    adapter.wait_for_value(&median, |ms| ms == 0.0).await;
}

#[tokio::test]
async fn quantiles_and_shares_are_exact_where_the_buckets_allow_it() {
    let (first, second) = (steady_target().await, steady_target().await);
    let targets = [address(&first), address(&second)];
    let adapter = Adapter::serving(&document("users", &targets)).await;
    adapter
        .wait_for_value(&read_of("request_rate", "service=users"), is_rate_of(2))
        .await;
    for (metric, selector, expected) in [
        // 50 of 60 in the bucket from 0 to 100 ms.
        ("request_latency_ms", "service=users,quantile=0.5", 83.333),
        ("request_latency_ms", "service=users,quantile=0.8", 250.0),
        // Without a quantile the objective's: 15 of 20 in the bucket from 250 to 500 ms.
        ("request_latency_ms", "service=users", 437.5),
        ("request_latency_ms", "service=users,quantile=mean", 150.0),
        ("slow_request_ratio", "service=users", 0.2),
    ] {
        let values = adapter.read(&read_of(metric, selector)).await.unwrap();
        assert_eq!(values.len(), 1, "{metric} {selector}");
        assert!(
            (values[0] - expected).abs() < 0.002,
            "{metric} {selector}: {values:?}"
        );
    }
    let answer = adapter
        .get(&read_of("request_rate", "service in (users)"))
        .await
        .json();
    assert_eq!(answer["kind"], "ExternalMetricValueList");
    assert_eq!(answer["items"][0]["metricName"], "request_rate");
    assert_eq!(answer["items"][0]["metricLabels"]["service"], "users");
    assert_eq!(answer["items"][0]["window"], 2);
}

#[tokio::test]
async fn a_single_scrape_yields_nothing_and_nothing_is_ready() {
    let target = steady_target().await;
    // The second read comes after half of this at the earliest, long after this test.
    let slowly = document("users", &[address(&target)])
        .replace("interval: 200ms", "interval: 5m")
        .replace("window: 2s", "window: 10m");
    let adapter = Adapter::serving(&slowly).await;
    adapter
        .wait_for_own(
            r#"taffrail_targets{namespace="shop",service="users",standing="starting"}"#,
            1.0,
        )
        .await;
    let message = adapter
        .wait_for_refusal(&read_of("request_rate", "service=users"), 404, "twice")
        .await;
    assert!(message.contains("shop/users"), "{message}");

    let ready = adapter.get("/readyz").await;
    assert_eq!(ready.code, 500);
    assert!(ready.body.contains("[-]windows failed"), "{}", ready.body);
    assert_eq!(adapter.get_plain("/readyz").await.code, 500);
    // It is alive, and Kubernetes finds its group.
    assert_eq!(adapter.get_plain("/livez").await.code, 200);
    let group = "/apis/external.metrics.k8s.io/v1beta1";
    assert_eq!(adapter.get(group).await.code, 200);
}

#[tokio::test]
async fn a_target_that_is_down_is_named_as_the_cause_but_not_where_it_is() {
    let (target, other) = (steady_target().await, steady_target().await);
    let documents =
        document("users", &[address(&target)]) + &document("invoices", &[address(&other)]);
    let adapter = Adapter::serving(&documents).await;
    let rate = read_of("request_rate", "service=users");
    adapter.wait_for_value(&rate, is_rate_of(1)).await;

    let port = target.port.to_string();
    drop(target);
    let message = adapter
        .wait_for_refusal(&rate, 404, "none of its 1 targets can be read (1 refused)")
        .await;
    assert!(
        !message.contains("127.0.0.1") && !message.contains(&port),
        "{message}"
    );
    // The address is for whoever reads the log.
    let line = adapter.logged(&["Target is down", "shop/users"]).await;
    assert!(line.contains(&port) && line.contains("refused"), "{line}");
    let errors = r#"taffrail_read_errors_total{namespace="shop",service="users",reason="refused"}"#;
    adapter.wait_for_own(errors, 1.0).await;
    // That is one service's trouble.
    adapter
        .wait_for_value(&read_of("request_rate", "service=invoices"), is_rate_of(1))
        .await;
    assert_eq!(adapter.get("/readyz").await.code, 200);
}

#[tokio::test]
async fn requests_and_backlogs_of_a_redis_server_are_served() {
    let redis = RedisServer::start(&[]);
    let mut client = redis.client();
    run(&mut client, "RPUSH jobs 1 2 3 4 5 6 7");
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    let visitor = std::thread::spawn(move || {
        while !stopped.load(Ordering::Relaxed) {
            run(&mut client, "INCR visits");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
    let adapter = Adapter::serving(&format!(
        "apiVersion: taffrail.dev/v1alpha1\n\
         kind: RequestMetrics\n\
         metadata: {{name: visits, namespace: shop}}\n\
         spec:\n  \
           source:\n    \
             redis: {{address: \"127.0.0.1:{}\", server: {{commands: [incr]}}, backlog: [{{key: jobs}}]}}\n  \
           window: 2s\n  \
           interval: 200ms\n",
        redis.port
    ))
    .await;
    let backlog = read_of("redis_backlog", "service=visits,key=jobs");
    adapter.wait_for_value(&backlog, |items| items == 7.0).await;
    // One each 10 ms and what a round trip takes. Without `commands` our own reads of the backlog would count.
    let rate = read_of("request_rate", "service=visits");
    adapter
        .wait_for_value(&rate, |rate| 20.0 < rate && rate < 101.0)
        .await;
    let p99 = read_of("request_latency_ms", "service=visits,quantile=0.99");
    adapter
        .wait_for_value(&p99, |ms| 0.0 < ms && ms < 100.0)
        .await;

    run(&mut redis.client(), "LPOP jobs 3");
    adapter.wait_for_value(&backlog, |items| items == 4.0).await;
    stop.store(true, Ordering::Relaxed);
    visitor.join().unwrap();
    adapter.wait_for_value(&rate, |rate| rate == 0.0).await;
}
