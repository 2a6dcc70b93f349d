//! The sample app over real sockets: its page, its secrets, its readiness, its queue, its end, its visits.

use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use super::*;
use crate::page::Page;

const OPEN_METRICS: (&str, &str) = ("accept", "application/openmetrics-text; version=1.0.0");
const LATENCY: &str = "http_request_duration_seconds";

struct Running {
    address: std::net::SocketAddr,
    dials: Arc<Dials>,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<io::Result<()>>,
}

fn quick() -> Config {
    Config {
        service_time: Duration::from_millis(5),
        service_cv: 0.0,
        cpu_share: 0.0,
        ..Config::default()
    }
}

async fn start(config: Config) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let dials = Arc::new(Dials::default());
    let shutdown = async move { drop(stopped.await) };
    let ended = tokio::spawn(run_with(listener, config, Arc::clone(&dials), shutdown));
    Running {
        address,
        dials,
        stop,
        ended,
    }
}

impl Running {
    /// Status, content type and body of one request on a connection of its own.
    async fn get(&self, path: &str, headers: &[(&str, &str)]) -> (u16, String, String) {
        get(self.address, path, headers).await.unwrap()
    }

    async fn page(&self, headers: &[(&str, &str)]) -> Page {
        Page::read(&self.get("/metrics", headers).await.2)
    }
}

async fn get(
    address: std::net::SocketAddr,
    path: &str,
    headers: &[(&str, &str)],
) -> anyhow::Result<(u16, String, String)> {
    let stream = TcpStream::connect(address).await?;
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(async move { drop(connection.await) });
    let mut request = Request::builder().uri(path).header("host", "test");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = sender
        .send_request(request.body(Empty::<Bytes>::new())?)
        .await?;
    let status = response.status().as_u16();
    let content_type = response.headers()[header::CONTENT_TYPE]
        .to_str()?
        .to_owned();
    let body = response.into_body().collect().await?.to_bytes();
    Ok((status, content_type, String::from_utf8(body.to_vec())?))
}

/// Asks until `holds`, for ten seconds at most.
async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    let end = clock::instant() + Duration::from_secs(10);
    while !holds().await {
        assert!(clock::instant() < end, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_page_counts_every_request_in_both_formats() {
    let app = start(quick()).await;
    for _ in 0..12 {
        assert_eq!(app.get("/?who=me", &[]).await.0, 200);
    }
    assert_eq!(app.get("/nowhere", &[]).await.0, 404);
    for (headers, content_type) in [
        (&[][..], "text/plain; version=0.0.4; charset=utf-8"),
        (
            &[OPEN_METRICS][..],
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
        ),
    ] {
        assert_eq!(app.get("/metrics", headers).await.1, content_type);
        let page = app.page(headers).await;
        let served = page
            .histogram(
                LATENCY,
                &[("route", "/"), ("method", "GET"), ("code", "200")],
            )
            .unwrap();
        assert_eq!(
            (served.count, served.buckets.last().unwrap().1),
            (12.0, 12.0)
        );
        assert_eq!(
            served.at_most(0.005),
            Some(0.0),
            "no answer can be faster than the service time"
        );
        assert!(
            served.at_most(0.25).is_some() && 0.06 <= served.sum,
            "{served:?}"
        );
        assert!(
            served.buckets.is_sorted_by(|(_, a), (_, b)| a <= b),
            "{served:?}"
        );
        assert_eq!(
            page.histogram(LATENCY, &[("route", "other"), ("code", "404")])
                .unwrap()
                .count,
            1.0
        );
        assert_eq!(page.value("http_requests_in_flight", &[]), Some(0.0));
        assert!(1.6e9 < page.value("process_start_time_seconds", &[]).unwrap());
        assert_eq!(page.value("app_visits_total", &[]), Some(0.0));
    }
}

#[tokio::test]
async fn cpu_is_really_burned_and_counted() {
    let app = start(Config {
        service_time: Duration::from_millis(50),
        cpu_share: 0.5,
        ..quick()
    })
    .await;
    let before = app
        .page(&[])
        .await
        .value("process_cpu_seconds_total", &[])
        .unwrap();
    for _ in 0..20 {
        app.get("/", &[]).await;
    }
    // Half of 20 times 50 ms. Other tests run in this process too, so there is only a lower bound.
    let used = app
        .page(&[])
        .await
        .value("process_cpu_seconds_total", &[])
        .unwrap()
        - before;
    assert!(0.5 <= used, "{used} s");
}

#[tokio::test]
async fn without_the_secrets_only_probes_are_answered() {
    let token = Some("h&u^s@h$".to_owned().into());
    let app = start(Config {
        auth_token: token,
        bearer: Some("psst".to_owned().into()),
        ..quick()
    })
    .await;
    let both = [
        ("X-Auth-Token", "h&u^s@h$"),
        ("Authorization", "Bearer psst"),
    ];
    let wrong: [&[(&str, &str)]; 5] = [
        &[],
        &both[..1],
        &both[1..],
        &[("X-Auth-Token", "h&u^s@h"), both[1]],
        &[both[0], ("Authorization", "psst")],
    ];
    for headers in wrong {
        for path in ["/", "/metrics", "/nowhere"] {
            let (status, _, body) = app.get(path, headers).await;
            assert_eq!(
                (status, body.as_str()),
                (401, "unauthorized\n"),
                "{path} with {headers:?}"
            );
        }
    }
    assert_eq!(
        (
            app.get("/healthz", &[]).await.0,
            app.get("/readyz", &[]).await.0
        ),
        (200, 200)
    );
    assert_eq!(
        (
            app.get("/", &both).await.0,
            app.get("/metrics", &both).await.0
        ),
        (200, 200)
    );
}

#[tokio::test]
async fn the_app_is_ready_after_its_start_up_delay_and_not_before() {
    let delay = Duration::from_millis(400);
    let before = clock::instant();
    let app = start(Config {
        startup_delay: delay,
        ..quick()
    })
    .await;
    assert_eq!(app.get("/readyz", &[]).await.0, 503);
    assert_eq!(
        (app.get("/healthz", &[]).await.0, app.get("/", &[]).await.0),
        (200, 503)
    );
    eventually("ready", || async { app.get("/readyz", &[]).await.0 == 200 }).await;
    assert!(delay <= clock::instant() - before);
    assert_eq!(app.get("/", &[]).await.0, 200);
}

#[tokio::test]
async fn a_full_queue_refuses_and_the_wait_for_a_worker_is_latency() {
    // Long enough that a machine that stands still for a second does not let the first end unseen.
    let service_time = Duration::from_secs(2);
    let app = start(Config {
        workers: 1,
        queue: 1,
        service_time,
        ..quick()
    })
    .await;
    let address = app.address;
    let ask = || tokio::spawn(async move { get(address, "/", &[]).await.unwrap().0 });
    let in_flight = |count: f64| async move {
        let page = Page::read(&get(address, "/metrics", &[]).await.unwrap().2);
        page.value("http_requests_in_flight", &[]) == Some(count)
    };
    let first = ask();
    eventually("one in flight", || in_flight(1.0)).await;
    let second = ask();
    eventually("two in flight", || in_flight(2.0)).await;
    assert_eq!(ask().await.unwrap(), 503);
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (200, 200));
    let page = app.page(&[]).await;
    assert_eq!(page.value("http_requests_refused_total", &[]), Some(1.0));
    let served = page.histogram(LATENCY, &[("code", "200")]).unwrap();
    assert!(
        4.1 <= served.sum,
        "the second waited for the first: {served:?}"
    );
}

#[tokio::test]
async fn what_is_under_way_is_answered_before_the_app_ends() {
    let app = start(Config {
        service_time: Duration::from_secs(2),
        ..quick()
    })
    .await;
    let address = app.address;
    let under_way = tokio::spawn(get(address, "/", &[]));
    eventually("in flight", || async {
        app.page(&[]).await.value("http_requests_in_flight", &[]) == Some(1.0)
    })
    .await;
    app.stop.send(()).unwrap();
    assert_eq!(under_way.await.unwrap().unwrap().0, 200);
    tokio::time::timeout(Duration::from_secs(5), app.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert!(
        get(address, "/healthz", &[]).await.is_err(),
        "nobody listens any more"
    );
}

#[tokio::test]
async fn draining_has_an_end() {
    let hour = Duration::from_secs(3600);
    let app = start(Config {
        service_time: hour,
        drain_timeout: Duration::from_millis(100),
        ..quick()
    })
    .await;
    let stuck = tokio::spawn(get(app.address, "/", &[]));
    eventually("in flight", || async {
        app.page(&[]).await.value("http_requests_in_flight", &[]) == Some(1.0)
    })
    .await;
    app.stop.send(()).unwrap();
    tokio::time::timeout(Duration::from_secs(5), app.ended)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    stuck.abort();
}

#[tokio::test]
async fn a_visit_without_redis_is_answered_and_counted_as_failed() {
    let nobody = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let app = start(Config {
        redis_host: Some("127.0.0.1".to_owned()),
        redis_port: nobody,
        ..quick()
    })
    .await;
    assert_eq!(app.get("/", &[]).await.0, 200);
    let page = app.page(&[]).await;
    assert_eq!(page.value("app_visits_failed_total", &[]), Some(1.0));
    assert_eq!(page.value("app_visits_total", &[]), Some(0.0));
}

/// A real Redis that only knows the user `app` with the password `hush`, killed when dropped.
fn redis(port: u16) -> tokio::process::Child {
    let user = "app on >hush ~visits +incr +get +client +hello +ping +select";
    tokio::process::Command::new("redis-server")
        .args([
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--port",
            &port.to_string(),
        ])
        .args(["--user", "default", "off", "--user"])
        .args(user.split(' '))
        .stdout(std::process::Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .expect("redis-server must be installed; tests/run does that")
}

#[tokio::test]
async fn visits_are_counted_in_redis_also_after_it_was_away() {
    let port = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let mut server = redis(port);
    let app = start(Config {
        redis_host: Some("127.0.0.1".to_owned()),
        redis_port: port,
        redis_username: Some("app".to_owned()),
        redis_password: Some("hush".to_owned().into()),
        ..quick()
    })
    .await;
    let visits = || async { app.page(&[]).await.value("app_visits_total", &[]).unwrap() };
    let visit = || async {
        let before = visits().await;
        assert_eq!(app.get("/", &[]).await.0, 200);
        before < visits().await
    };
    eventually("a visit is counted", visit).await;
    server.kill().await.unwrap();
    eventually("a visit is not counted", || async { !visit().await }).await;
    let _server = redis(port);
    eventually("a visit is counted again", visit).await;
}

const CALLS: &str = "app_downstream_duration_seconds";

/// An app that calls `other` for every request.
async fn caller(other: &Running, timeout: Duration) -> Running {
    let app = start(Config {
        workers: 64,
        downstream: Some("payments".to_owned()),
        downstream_connections: 2,
        downstream_timeout: timeout,
        ..quick()
    })
    .await;
    app.dials
        .obey(&format!("backends {}", other.address))
        .unwrap();
    app
}

#[tokio::test]
async fn every_request_calls_the_downstream_over_kept_connections() {
    let payments = start(quick()).await;
    let app = caller(&payments, Duration::from_secs(30)).await;
    for _ in 0..10 {
        assert_eq!(app.get("/", &[]).await.0, 200);
    }
    let served = payments
        .page(&[])
        .await
        .histogram(LATENCY, &[("code", "200")])
        .unwrap();
    assert_eq!(served.count, 10.0);
    for headers in [&[][..], &[OPEN_METRICS][..]] {
        let calls = app
            .page(headers)
            .await
            .histogram(CALLS, &[("result", "ok")])
            .unwrap();
        assert_eq!((calls.count, 0.05 <= calls.sum), (10.0, true), "{calls:?}");
    }
}

#[tokio::test]
async fn a_name_with_a_port_is_looked_up() {
    let payments = start(quick()).await;
    let app = start(Config {
        downstream: Some(format!("localhost:{}", payments.address.port())),
        downstream_timeout: Duration::from_secs(30),
        ..quick()
    })
    .await;
    eventually("a call is answered", || async {
        app.get("/", &[]).await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn a_call_that_misses_its_deadline_fails_the_request_in_time() {
    let payments = start(quick()).await;
    let app = caller(&payments, Duration::from_millis(300)).await;
    payments.dials.obey("slowdown 1000").unwrap();
    // Two connections and six requests: four wait for a connection in vain, and not longer than the others.
    let address = app.address;
    let asked: Vec<_> = (0..6)
        .map(|_| tokio::spawn(async move { get(address, "/", &[]).await.unwrap().0 }))
        .collect();
    for status in asked {
        assert_eq!(status.await.unwrap(), 503);
    }
    let calls = app
        .page(&[])
        .await
        .histogram(CALLS, &[("result", "timeout")])
        .unwrap();
    assert_eq!((calls.count, 1.8 <= calls.sum), (6.0, true), "{calls:?}");
    // Without a deadline the last would have waited for three times five seconds.
    assert!(calls.sum < 6.0 * 5.0, "{calls:?}");
    payments.dials.obey("slowdown 1").unwrap();
    eventually("a call is answered again", || async {
        app.get("/", &[]).await.0 == 200
    })
    .await;
}

#[tokio::test]
async fn a_downstream_that_is_away_or_fails_is_a_bad_gateway() {
    let failing = Config {
        fail_share: 1.0,
        ..quick()
    };
    let payments = start(failing).await;
    let app = caller(&payments, Duration::from_secs(30)).await;
    assert_eq!(payments.get("/", &[]).await.0, 500);
    assert_eq!(app.get("/", &[]).await.0, 502);
    app.dials.obey("backends").unwrap();
    assert_eq!(app.get("/", &[]).await.0, 502);
    let calls = app
        .page(&[])
        .await
        .histogram(CALLS, &[("result", "failed")])
        .unwrap();
    assert_eq!(calls.count, 2.0);
}

#[tokio::test]
async fn a_bad_version_is_alive_and_never_ready_and_says_which_it_is() {
    let app = start(Config {
        never_ready: true,
        app_version: "v1.2".to_owned(),
        ..quick()
    })
    .await;
    assert_eq!(
        (
            app.get("/healthz", &[]).await.0,
            app.get("/readyz", &[]).await.0
        ),
        (200, 503)
    );
    assert_eq!(app.get("/", &[]).await.0, 503);
    let page = app.page(&[]).await;
    assert_eq!(page.value("app_info", &[("version", "v1.2")]), Some(1.0));
}

#[tokio::test]
async fn a_share_of_the_requests_fails() {
    let app = start(Config {
        fail_share: 0.5,
        ..quick()
    })
    .await;
    let mut failed = 0;
    for _ in 0..100 {
        failed += usize::from(app.get("/", &[]).await.0 == 500);
    }
    assert!((25..75).contains(&failed), "{failed} of 100");
}

#[tokio::test]
async fn an_app_that_is_told_to_be_slower_is_slower_from_then_on() {
    let app = start(quick()).await;
    app.dials.obey("slowdown 40").unwrap();
    let before = clock::instant();
    app.get("/", &[]).await;
    assert!(Duration::from_millis(200) <= clock::instant() - before);
}
