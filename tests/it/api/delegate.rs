//! Metrics that are not ours, read from another adapter: what passes through, what is refused and how, and that the
//! other's failures are not ours. The other adapter is a raw TLS server, so that it can misbehave.

use std::future::pending;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use taffrail::api::delegate::{Delegate, DelegateEvent, DelegateLimits, DelegateSpec};
use taffrail::api::{GROUP_VERSION_PATH, Resource};
use taffrail::clock;
use taffrail::engine::snapshot::Metric;

use super::fixture::{Answer, Api};
use super::transport::soon;
use crate::fixtures::adapter::Adapter;
use crate::fixtures::authority::Authority;
use crate::fixtures::rogue::{self, Rogue};

const JSON: &str = "Content-Type: application/json\r\n";

/// A list that we would write in another way: other spaces, another order, fields of its own.
const LIST: &str = r#"{"items": [{"value":"1500m","metricName":"s0-rabbit","metricLabels":null, "x":"ü"}],"kind":"ExternalMetricValueList"}"#;

/// A metric that only the delegate has, and the start of every path of one.
const METRIC: &str = "s0-rabbit";
const PREFIX: &str = "GET /apis/external.metrics.k8s.io/v1beta1/namespaces";

/// Long enough for a loaded machine, short enough to wait for.
const DEADLINE: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(300);

/// What another adapter is asked with.
struct Setup {
    authority: Authority,
    events: Arc<Mutex<Vec<DelegateEvent>>>,
    limits: DelegateLimits,
    token_file: Option<PathBuf>,
    server_name: Option<&'static str>,
}

impl Setup {
    fn new() -> Self {
        Self {
            authority: Authority::new(),
            events: Arc::default(),
            limits: DelegateLimits::default(),
            token_file: None,
            server_name: None,
        }
    }

    /// An adapter that gives every request this answer, and our API before it.
    async fn answering(&self, answer: Vec<u8>) -> (Rogue, Api) {
        self.with(move |_, _| answer.clone()).await
    }

    async fn with<F>(&self, answer: F) -> (Rogue, Api)
    where
        F: Fn(&str, usize) -> Vec<u8> + Clone + Send + Sync + 'static,
    {
        let tls = self.authority.server("127.0.0.1");
        let other = Rogue::answering_tls(tls, answer).await;
        let api = self.before(other.port, self.authority.ca_file()).await;
        (other, api)
    }

    /// Our API before an adapter on this port.
    async fn before(&self, port: u16, ca_file: PathBuf) -> Api {
        let spec = DelegateSpec {
            url: format!("https://127.0.0.1:{port}").parse().unwrap(),
            ca_file: Some(ca_file),
            token_file: self.token_file.clone(),
            server_name: self.server_name.map(|name| name.try_into().unwrap()),
        };
        let seen = Arc::clone(&self.events);
        let delegate = Delegate::open(spec)
            .unwrap()
            .with_limits(self.limits)
            .observed_by(Arc::new(move |event| seen.lock().unwrap().push(event)));
        Api::delegating_to(delegate).await
    }

    fn results(&self) -> Vec<&'static str> {
        let events = self.events.lock().unwrap();
        events.iter().map(|event| event.result).collect()
    }
}

/// What each request to our API was about, as it is counted.
fn resources(api: &Api) -> Vec<Option<Resource>> {
    let events = api.events();
    events.iter().map(|event| event.resource).collect()
}

/// Asserts a 503 that names the metric and the delegate, but not where it is, and gives its message.
fn failed(answer: &Answer) -> String {
    let message = answer.refused(503, "ServiceUnavailable");
    assert!(message.contains(METRIC), "{message}");
    assert!(message.contains("the delegate"), "{message}");
    assert!(!message.contains("127.0.0.1"), "{message}");
    message
}

/// A connection whose every request is read and none answered, while `hangs`.
async fn answer_or_hang(hangs: &AtomicBool) -> Vec<u8> {
    while hangs.load(Ordering::SeqCst) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    rogue::answer("200 OK", JSON, LIST)
}

#[tokio::test]
async fn the_answer_and_the_question_pass_byte_for_byte_and_other_headers_do_not() {
    let headers = "Content-Type: application/json;charset=utf-8\r\nRetry-After: 30\r\nSet-Cookie: a=b\r\nX-Else: 1\r\n";
    let setup = Setup::new();
    let (other, api) = setup
        .answering(rogue::answer("200 OK", headers, LIST))
        .await;
    let query =
        "labelSelector=env+in+%28a%2Cb%29%2C%21k%2Cscaledobject.keda.sh%2Fname%3Drabbit&x=%zz";
    let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/s0-rabbit%7Cx%2A?{query}");
    let answer = api
        .get_with(
            &path,
            &[
                ("accept", "application/vnd.kubernetes.protobuf, */*"),
                ("authorization", "Bearer the-callers-own"),
                ("x-remote-user", "admin"),
                ("cookie", "a=b"),
            ],
        )
        .await;
    assert_eq!((answer.code, answer.body.as_str()), (200, LIST));
    let kept = "application/json;charset=utf-8";
    assert_eq!(answer.header("content-type"), kept);
    for name in ["retry-after", "set-cookie", "x-else"] {
        assert!(!answer.headers.contains_key(name), "{answer:?}");
    }

    let asked = other.requests().pop().unwrap();
    let first = format!("{PREFIX}/shop/s0-rabbit%7Cx%2A?{query} HTTP/1.1\r\n");
    assert!(asked.starts_with(&first), "{asked}");
    let asked = asked.to_lowercase();
    assert!(
        asked.contains("\r\naccept: application/json\r\n"),
        "{asked}"
    );
    assert!(asked.contains("\r\nvia: 1.1 taffrail\r\n"), "{asked}");
    for foreign in ["authorization", "x-remote", "cookie"] {
        assert!(!asked.contains(foreign), "{asked}");
    }
    assert_eq!(setup.results(), ["ok"]);
}

#[tokio::test]
async fn its_own_errors_pass_through_without_their_retry_after() {
    for (status, code) in [
        ("404 Not Found", 404),
        ("429 Too Many Requests", 429),
        ("500 Internal Server Error", 500),
        ("503 Service Unavailable", 503),
    ] {
        let setup = Setup::new();
        let body = r#"{"kind":"Status","message":"no matching metrics found"}"#;
        let headers = format!("{JSON}Retry-After: 1\r\n");
        let (other, api) = setup.answering(rogue::answer(status, &headers, body)).await;
        // More often than failures are borne: an answer is none.
        for _ in 0..10 {
            let answer = api.read(METRIC).await;
            assert_eq!((answer.code, answer.body.as_str()), (code, body));
            assert!(!answer.headers.contains_key("retry-after"), "{answer:?}");
        }
        assert_eq!(setup.results(), ["error"; 10]);
        assert_eq!(resources(&api), [Some(Resource::Delegated); 10]);
        assert_eq!(other.connections(), 1, "one connection serves them all");
    }
}

#[tokio::test]
async fn what_is_ours_or_wrong_never_reaches_it() {
    let setup = Setup::new();
    let (other, api) = setup.answering(rogue::answer("200 OK", JSON, LIST)).await;
    assert_eq!(api.read("request_rate").await.values(), [100.0, 50.0]);
    assert_eq!(
        api.read("request_rate?labelSelector=service%3Dnobody")
            .await
            .code,
        404
    );
    assert_eq!(api.read("s0-rabbit?watch=true").await.code, 405);
    assert_eq!(api.read("s0-rabbit?fieldSelector=a%3Db").await.code, 400);
    assert_eq!(api.read("a%2Fb").await.code, 404);
    assert_eq!(api.read("%2E%2E%2Fb").await.code, 404);
    let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/{METRIC}");
    let yaml = api.get_with(&path, &[("accept", "application/yaml")]).await;
    assert_eq!(yaml.code, 406);
    let listed = api.get(GROUP_VERSION_PATH).await.body;
    assert!(!listed.contains(METRIC), "{listed}");
    assert_eq!(other.connections(), 0);
    assert_eq!(setup.results().len(), 0);
    // A watch and a field selector of no metric of ours are about nothing.
    let ours = Some(Resource::Own(Metric::RequestRate));
    assert_eq!(resources(&api)[..4], [ours, ours, None, None]);
}

#[tokio::test]
async fn a_request_that_a_taffrail_passed_on_is_not_passed_on_again() {
    let setup = Setup::new();
    let (other, api) = setup.answering(rogue::answer("200 OK", JSON, LIST)).await;
    let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/{METRIC}");
    let answer = api.get_with(&path, &[("via", "1.1 taffrail")]).await;
    let message = answer.refused(404, "NotFound");
    assert!(message.contains(METRIC), "{message}");
    assert_eq!(other.connections(), 0);

    // Two real ones behind each other: the second says that there is no such metric, and nobody asks a third time.
    let second = &api;
    let ca = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(ca.path(), second.cert.ca_pem().unwrap()).unwrap();
    let first = setup
        .before(second.address.port(), ca.path().to_owned())
        .await;
    let answer = first.read(METRIC).await;
    assert_eq!(answer.refused(404, "NotFound"), message);
    assert_eq!(other.connections(), 0);
    assert_eq!(setup.results(), ["error"]);
}

#[tokio::test]
async fn the_token_is_sent_and_read_again_when_it_rotates() {
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "first\n").unwrap();
    let setup = Setup {
        token_file: Some(token_file.clone()),
        ..Setup::new()
    };
    let (other, api) = setup.answering(rogue::answer("200 OK", JSON, LIST)).await;
    for token in ["first", "second"] {
        std::fs::write(&token_file, token).unwrap();
        assert_eq!(api.read(METRIC).await.code, 200);
        let asked = other.requests().pop().unwrap();
        assert!(
            asked.contains(&format!("uthorization: Bearer {token}\r\n")),
            "{asked}"
        );
    }
    std::fs::remove_file(&token_file).unwrap();
    let message = failed(&api.read(METRIC).await);
    assert!(message.contains("token"), "{message}");
    assert!(!message.contains("/token"), "no path: {message}");
    assert_eq!(setup.results(), ["ok", "ok", "no_token"]);
}

#[tokio::test]
async fn answers_that_cannot_be_passed_on_say_why() {
    let refused = r#"{"kind":"Status","message":"hush: from the delegate"}"#;
    let huge = vec![b' '; 10 * 1024 * 1024];
    let unsized_huge = [
        b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n",
        &huge[..],
    ]
    .concat();
    let redirect = "Location: https://127.0.0.1:1/\r\nContent-Type: application/json\r\n";
    let cases = [
        (
            rogue::answer("401 Unauthorized", JSON, refused),
            "refused",
            "does not accept our token",
        ),
        (
            rogue::answer("403 Forbidden", JSON, refused),
            "refused",
            "may not read",
        ),
        (rogue::answer("302 Found", redirect, ""), "redirect", "302"),
        (
            rogue::answer(
                "404 Not Found",
                "Content-Type: text/plain\r\n",
                "404 page not found",
            ),
            "not_json",
            "404",
        ),
        (rogue::answer("200 OK", "", LIST), "not_json", "JSON"),
        (rogue::answer("200 OK", JSON, &huge), "too_large", "1048576"),
        (unsized_huge, "too_large", "1048576"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{}"
                .to_vec(),
            "timeout",
            "in time",
        ),
        (
            b"SSH-2.0-OpenSSH\r\n\r\n".to_vec(),
            "broken_off",
            "broke off",
        ),
    ];
    for (answer, result, words) in cases {
        let setup = Setup {
            limits: DelegateLimits {
                deadline: DEADLINE * 4,
                ..DelegateLimits::default()
            },
            ..Setup::new()
        };
        let (_other, api) = setup.answering(answer).await;
        let message = failed(&api.read(METRIC).await);
        assert!(message.contains(words), "{words}: {message}");
        assert!(!message.contains("hush"), "{message}");
        assert_eq!(resources(&api), [Some(Resource::Delegated)]);
        assert_eq!(setup.results(), [result], "{message}");
    }
}

#[tokio::test]
async fn a_delegate_that_is_not_who_it_should_be_is_not_asked() {
    let setup = Setup::new();
    let list = |_: &str, _: usize| rogue::answer("200 OK", JSON, LIST);
    for (tls, words) in [
        (
            Authority::new().server("127.0.0.1"),
            "authority that we do not trust",
        ),
        (setup.authority.server("keda.svc"), "for another name"),
        (setup.authority.expired_server("127.0.0.1"), "has expired"),
    ] {
        let other = Rogue::answering_tls(tls, list).await;
        let api = setup.before(other.port, setup.authority.ca_file()).await;
        let message = failed(&api.read(METRIC).await);
        assert!(message.contains(words), "{message}");
        assert_eq!(other.requests().len(), 0);
    }
    let api = setup.before(1, setup.authority.ca_file()).await;
    let message = failed(&api.read(METRIC).await);
    assert!(message.contains("refuses connections"), "{message}");
    assert_eq!(setup.results(), ["unreachable"; 4]);

    let named = Setup {
        server_name: Some("keda.svc"),
        ..setup
    };
    let other = Rogue::answering_tls(named.authority.server("keda.svc"), list).await;
    let api = named.before(other.port, named.authority.ca_file()).await;
    assert_eq!(api.read(METRIC).await.code, 200);
}

#[tokio::test]
async fn an_authority_that_is_replaced_on_disk_is_trusted_without_a_restart() {
    let setup = Setup::new();
    let dir = tempfile::tempdir().unwrap();
    let ca = dir.path().join("ca.pem");
    // A comment makes the lengths differ, whatever the file system's clock.
    std::fs::write(&ca, Authority::new().ca_pem()).unwrap();
    let tls = setup.authority.server("127.0.0.1");
    let other = Rogue::answering_tls(tls, |_, _| rogue::answer("200 OK", JSON, LIST)).await;
    let api = setup.before(other.port, ca.clone()).await;
    failed(&api.read(METRIC).await);
    std::fs::write(&ca, setup.authority.ca_pem() + "# rotated\n").unwrap();
    assert_eq!(api.read(METRIC).await.code, 200);
    // A broken file changes nothing.
    std::fs::write(&ca, "").unwrap();
    assert_eq!(api.read(METRIC).await.code, 200);
    assert_eq!(setup.results(), ["unreachable", "ok", "ok"]);
}

#[tokio::test]
async fn a_flood_of_reads_that_hang_leaves_our_own_untouched() {
    let setup = Setup {
        // Places are held until all of the flood has come, and the breaker does not let go of them.
        limits: DelegateLimits {
            deadline: Duration::from_secs(6),
            failures: u32::MAX,
            ..DelegateLimits::default()
        },
        ..Setup::new()
    };
    let listening = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listening.local_addr().unwrap().port();
    // Accepts, and never says a word.
    let _hanging = tokio_util::task::AbortOnDropHandle::new(tokio::spawn(async move {
        let mut kept = Vec::new();
        while let Ok((stream, _)) = listening.accept().await {
            kept.push(stream);
        }
        pending::<()>().await;
    }));
    let api = Arc::new(setup.before(port, setup.authority.ca_file()).await);
    let in_flight = setup.limits.in_flight;

    let flood = tokio::task::JoinSet::from_iter((0..200).map(|_| {
        let api = Arc::clone(&api);
        async move { api.read(METRIC).await }
    }));
    soon("places to be taken", async {
        while setup.results().len() < 200 - in_flight {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let began = clock::instant();
    let mut own = 0;
    while own < 50 {
        assert_eq!(api.read("request_rate").await.values(), [100.0, 50.0]);
        own += 1;
    }
    assert_eq!(
        api.state.reads_in_flight(),
        0,
        "the delegate takes none of our places"
    );
    assert!(
        began.elapsed() < setup.limits.deadline / 2,
        "{:?}",
        began.elapsed()
    );

    let answers = soon("the flood's answers", flood.join_all()).await;
    let said = |words: &str| {
        answers
            .iter()
            .filter(|answer| failed(answer).contains(words))
            .count()
    };
    assert_eq!(said("too many requests"), 200 - in_flight);
    assert_eq!(said("in time"), in_flight);
}

#[tokio::test]
async fn a_delegate_that_hangs_is_left_alone_and_asked_again_when_it_is_back() {
    let setup = Setup {
        limits: DelegateLimits {
            deadline: DEADLINE,
            failures: 2,
            pause: PAUSE,
            ..DelegateLimits::default()
        },
        ..Setup::new()
    };
    let hangs = Arc::new(AtomicBool::new(true));
    let hanging = Arc::clone(&hangs);
    let other = Rogue::serving_tls(setup.authority.server("127.0.0.1"), move |mut peer| {
        let hangs = Arc::clone(&hanging);
        async move {
            while peer.request().await.is_some() {
                let answer = answer_or_hang(&hangs).await;
                if !peer.write(&answer).await {
                    return;
                }
            }
        }
    })
    .await;
    let api = setup.before(other.port, setup.authority.ca_file()).await;
    for _ in 0..2 {
        assert!(failed(&api.read(METRIC).await).contains("did not answer in time"));
    }
    let asked = other.requests().len();
    let began = clock::instant();
    let message = failed(&api.read(METRIC).await);
    assert!(message.contains("was not asked"), "{message}");
    assert!(
        began.elapsed() < DEADLINE,
        "nobody waits: {:?}",
        began.elapsed()
    );
    assert_eq!(other.requests().len(), asked);

    hangs.store(false, Ordering::SeqCst);
    let back = soon("the delegate's return", async {
        loop {
            let answer = api.read(METRIC).await;
            if answer.code == 200 {
                break answer;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await;
    assert_eq!(back.body, LIST);
    for _ in 0..5 {
        assert_eq!(api.read(METRIC).await.code, 200);
    }
    let results = setup.results();
    assert_eq!(results[..3], ["timeout", "timeout", "left_alone"]);
    assert!(results.ends_with(&["ok"; 6]), "{results:?}");
}

#[tokio::test]
async fn a_caller_that_goes_away_leaves_a_verdict_and_gives_its_place_back() {
    let setup = Setup {
        limits: DelegateLimits {
            deadline: DEADLINE,
            in_flight: 1,
            ..DelegateLimits::default()
        },
        ..Setup::new()
    };
    let other = Rogue::serving_tls(setup.authority.server("127.0.0.1"), |mut peer| async move {
        peer.request().await;
        pending::<()>().await;
    })
    .await;
    let api = setup.before(other.port, setup.authority.ca_file()).await;
    let path = format!("{GROUP_VERSION_PATH}/namespaces/shop/{METRIC}");
    let impatient = api.client.get(api.url(&path)).timeout(DEADLINE / 4);
    assert!(impatient.send().await.unwrap_err().is_timeout());
    soon("the verdict", async {
        while setup.results().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    assert_eq!(setup.results(), ["timeout"]);
    assert!(
        failed(&api.read(METRIC).await).contains("in time"),
        "its place is free again"
    );
}

#[tokio::test]
async fn the_program_asks_the_delegate_of_its_flags_and_counts_it() {
    let authority = Authority::new();
    let tls = authority.server("keda.svc");
    let other = Rogue::answering_tls(tls, |_, _| rogue::answer("200 OK", JSON, LIST)).await;
    let dir = tempfile::tempdir().unwrap();
    let token_file = dir.path().join("token");
    std::fs::write(&token_file, "hush").unwrap();
    let (url, ca) = (
        format!("https://127.0.0.1:{}", other.port),
        authority.ca_file(),
    );
    let path = format!("/namespaces/shop/{METRIC}");
    let flags = [
        "--delegate",
        &url,
        "--delegate-ca-file",
        ca.to_str().unwrap(),
        "--delegate-token-file",
        token_file.to_str().unwrap(),
        "--delegate-server-name",
        "keda.svc",
    ];
    let adapter = Adapter::serving_with("", &flags).await;
    let answer = adapter.get(&path).await;
    assert_eq!((answer.code, answer.body.as_str()), (200, LIST));
    assert!(other.requests()[0].contains("Bearer hush"));
    for (series, value) in [
        (r#"taffrail_delegate_requests_total{result="ok"}"#, 1.0),
        ("taffrail_delegate_request_duration_seconds_count", 1.0),
        (
            r#"apiserver_request_total{group="external.metrics.k8s.io",version="v1beta1",resource="delegated",verb="LIST",code="200"}"#,
            1.0,
        ),
        (
            r#"apiserver_request_duration_seconds_count{resource="delegated",verb="LIST"}"#,
            1.0,
        ),
    ] {
        assert_eq!(adapter.own(series).await, Some(value), "{series}");
    }
    adapter.logged(&["The delegate answers"]).await;
    assert!(!adapter.log().contains("hush"));
}
