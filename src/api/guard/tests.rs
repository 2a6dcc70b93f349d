//! The guard with handlers that panic, hang and hold their places.

use std::convert::Infallible;
use std::sync::Mutex;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use axum::Router;
use axum::middleware::from_fn_with_state;
use axum::routing::get;
use http::{HeaderName, StatusCode};
use tokio::sync::watch;
use tower::ServiceExt;

use super::super::{Limits, RequestEvent, Resource};
use super::*;

/// Sends one request through the guard to `routes`.
async fn guarded(routes: Router<Arc<AppState>>, request: Request) -> (Response, RequestEvent) {
    let (_, snapshots) = watch::channel(Arc::default());
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&events);
    let limits = Limits {
        deadline: Duration::from_millis(20),
        ..Limits::default()
    };
    let state = AppState::new(snapshots).with_limits(limits);
    let state = Arc::new(state.observed_by(Arc::new(move |event| {
        seen.lock().expect("nobody panics with it").push(event);
    })));
    let router = routes
        .layer(from_fn_with_state(Arc::clone(&state), guard))
        .with_state(state);
    let response = router.oneshot(request).await.expect("it never fails");
    let event = events.lock().expect("nobody panics with it")[0];
    (response, event)
}

fn request(uri: &str) -> http::request::Builder {
    Request::builder().uri(uri)
}

async fn text(response: Response) -> String {
    let body = response.into_body().collect().await.expect("a whole body");
    String::from_utf8(body.to_bytes().to_vec()).expect("UTF-8")
}

#[tokio::test]
async fn a_panic_costs_its_request_and_is_a_500() {
    async fn panics() -> Response {
        panic!("on purpose")
    }
    let routes = Router::new().route("/", get(panics));
    let request = request("/").body(Body::empty()).expect("a request");
    let (response, event) = guarded(routes, request).await;
    assert_eq!((response.status().as_u16(), event.code), (500, 500));
    assert_eq!(response.headers()["content-type"], "application/json");
    let text = text(response).await;
    assert!(text.contains(r#""reason":"InternalError""#), "{text}");
    assert!(!text.contains("on purpose"), "{text}");
}

#[tokio::test]
async fn a_request_that_takes_too_long_is_a_504_that_asks_for_no_retry_and_says_what_it_waited_for()
{
    async fn asks_the_delegate(request: Request) -> Response {
        let (request, _) = request.into_parts();
        About::of(&request).is_of(Resource::Delegated);
        std::future::pending().await
    }
    let routes = Router::new().route("/", get(asks_the_delegate));
    let request = request("/").body(Body::empty()).expect("a request");
    let (response, event) = guarded(routes, request).await;
    assert_eq!(response.status(), StatusCode::GATEWAY_TIMEOUT);
    assert_eq!(event.resource, Some(Resource::Delegated));
    assert!(!response.headers().contains_key("retry-after"));
    assert!(text(response).await.contains(r#""reason":"Timeout""#));
}

#[tokio::test]
async fn identity_headers_of_anybody_never_reach_a_handler() {
    async fn names(request: Request) -> String {
        let names: Vec<&str> = request.headers().keys().map(HeaderName::as_str).collect();
        names.join(" ")
    }
    let routes = Router::new().route("/", get(names));
    let request = request("/")
        .header("X-Remote-User", "system:admin")
        .header("x-remote-user", "again")
        .header("X-Remote-Group", "system:masters")
        .header(
            "X-Remote-Extra-Authentication.kubernetes.io%2fcredential-Id",
            "1",
        )
        .header("X-Remotely", "stays")
        .body(Body::empty())
        .expect("a request");
    let (response, _) = guarded(routes, request).await;
    assert_eq!(text(response).await, "x-remotely");
}

#[tokio::test]
async fn a_read_with_a_body_and_an_endless_path_are_refused() {
    let routes = || Router::new().fallback(get(|| async { "reached" }));
    let with_body = request("/").body(Body::from("{}")).expect("a request");
    let (response, _) = guarded(routes(), with_body).await;
    assert_eq!(response.status(), StatusCode::PAYLOAD_TOO_LARGE);

    let uri = |bytes: usize| format!("/?{}", "x".repeat(bytes - 1));
    let longest = request(&uri(URI_BYTES_MAX)).body(Body::empty());
    let (response, _) = guarded(routes(), longest.expect("a request")).await;
    assert_eq!(response.status(), StatusCode::OK);
    let too_long = request(&uri(URI_BYTES_MAX + 1)).body(Body::empty());
    let (response, _) = guarded(routes(), too_long.expect("a request")).await;
    assert_eq!(response.status(), StatusCode::URI_TOO_LONG);
}

#[tokio::test]
async fn a_body_that_never_ends_does_not_delay_its_answer_and_is_read_within_its_bounds() {
    let parts = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&parts);
    let endless = futures_util::stream::repeat_with(move || {
        count.fetch_add(1, Ordering::Relaxed);
        Ok::<_, Infallible>(Bytes::from_static(&[0; 1024]))
    });
    let silent = futures_util::stream::pending::<Result<Bytes, Infallible>>();
    let began = clock::instant();
    for body in [Body::from_stream(endless), Body::from_stream(silent)] {
        let routes = Router::new().route("/", get(|| async { "read" }));
        let posted = request("/").method("POST").version(Version::HTTP_2);
        let (response, _) = guarded(routes, posted.body(body).expect("a request")).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
    }
    assert!(began.elapsed() < Limits::default().deadline / 2);
    // The stream is dropped once enough of it was read.
    while 1 < Arc::strong_count(&parts) {
        tokio::task::yield_now().await;
    }
    let read = parts.load(Ordering::Relaxed) * 1024;
    assert!(read <= BODY_BYTES_DISCARDED + 2048, "{read} bytes");
}

#[tokio::test]
async fn people_get_indented_errors_and_programs_get_one_line() {
    for (agent, lines) in [
        ("curl/8.14.1", 2..),
        ("kube-controller-manager/v1.36.2", 1..),
    ] {
        let routes = Router::new().fallback(|| async { Status::internal() });
        let request = request("/").header("User-Agent", agent).body(Body::empty());
        let (response, _) = guarded(routes, request.expect("a request")).await;
        let text = text(response).await;
        assert!(text.ends_with("}\n"));
        assert_eq!(1 < text.lines().count(), 1 < lines.start, "{agent}: {text}");
    }
}

#[test]
fn verbs_are_those_of_kubernetes_request_metrics() {
    let metric = format!("{GROUP_VERSION_PATH}/namespaces/shop/request_rate");
    for (method, uri, expected) in [
        ("GET", metric.clone(), "LIST"),
        ("GET", format!("{metric}?watch=true"), "WATCH"),
        ("GET", GROUP_VERSION_PATH.to_owned(), "GET"),
        ("GET", "/livez".to_owned(), "GET"),
        ("POST", metric, "OTHER"),
    ] {
        let request = request(&uri).method(method).body(Body::empty());
        assert_eq!(
            verb(&request.expect("a request")),
            expected,
            "{method} {uri}"
        );
    }
}
