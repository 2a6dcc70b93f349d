//! Runs against real servers on loopback, which stall, vanish, refuse and come back.

mod connections;
mod requests;
mod stall;
mod users;
mod witness;

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::arrivals::Spacing;
use crate::measured::{EndpointCounts, ErrorClass};

/// Runs of which the best counts where a busy machine makes all of them worse.
const TRIES: usize = 5;

/// A server whose every answer takes `delay(time since its start)`.
struct Server {
    address: SocketAddr,
    served: Arc<AtomicUsize>,
    stop: CancellationToken,
    stopped: tokio::task::JoinHandle<()>,
}

impl Server {
    async fn start(status: u16, delay: fn(Duration) -> Duration) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (served, stop) = (Arc::new(AtomicUsize::new(0)), CancellationToken::new());
        let stopped = tokio::spawn(serve(
            listener,
            status,
            delay,
            Arc::clone(&served),
            stop.clone(),
        ));
        Self {
            address,
            served,
            stop,
            stopped,
        }
    }

    fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Answers what is under way, closes every connection, and is gone.
    async fn drain(self) {
        self.stop.cancel();
        self.stopped.await.unwrap();
    }
}

async fn serve(
    listener: TcpListener,
    status: u16,
    delay: fn(Duration) -> Duration,
    served: Arc<AtomicUsize>,
    stop: CancellationToken,
) {
    let start = clock::instant();
    let graceful = GracefulShutdown::new();
    while let Some(Ok((stream, _))) = stop.run_until_cancelled(listener.accept()).await {
        let served = Arc::clone(&served);
        let service = service_fn(move |_request: Request<Incoming>| {
            let served = Arc::clone(&served);
            async move {
                let delay = delay(clock::instant() - start);
                // A sleep of zero would still wait for the timer's next millisecond.
                if !delay.is_zero() {
                    tokio::time::sleep(delay).await;
                }
                served.fetch_add(1, Ordering::Relaxed);
                let mut response =
                    Response::new(http_body_util::Full::new(Bytes::from_static(b"ok")));
                *response.status_mut() = StatusCode::from_u16(status).unwrap();
                Ok::<_, Infallible>(response)
            }
        });
        let connection =
            graceful.watch(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move { drop(connection.await) });
    }
    drop(listener);
    graceful.shutdown().await;
}

fn at_once(_: Duration) -> Duration {
    Duration::ZERO
}

/// A second, from 1 s to 2 s after the start, in which nothing is answered.
fn stall(elapsed: Duration) -> Duration {
    let (from, to) = (Duration::from_secs(1), Duration::from_secs(2));
    if from <= elapsed && elapsed < to {
        to - elapsed
    } else {
        Duration::ZERO
    }
}

fn slowly(_: Duration) -> Duration {
    Duration::from_millis(200)
}

fn config() -> Config {
    Config::new(HeaderValue::from_static("test"), Uri::from_static("/"))
}

fn arrivals(profile: &str) -> Arrivals {
    Arrivals::new(&profile.parse().unwrap(), Spacing::Uniform)
}

async fn run(config: Config, profile: &str, endpoints: Vec<SocketAddr>) -> Measured {
    let (_sender, endpoints) = watch::channel(endpoints);
    Engine::new(config)
        .run(arrivals(profile), endpoints, CancellationToken::new())
        .await
}

/// Plays until nothing speaks against a play: a machine that stands still spoils one now and then, a fault spoils all.
async fn best_of_tries(mut play: impl AsyncFnMut() -> Result<(), String>) {
    let mut against = Vec::new();
    for _ in 0..TRIES {
        match play().await {
            Ok(()) => return,
            Err(why) => against.push(why),
        }
    }
    panic!("{against:#?}");
}

/// Waits until so much was served, and says how much it is then.
async fn once_served(at_least: usize, served: impl Fn() -> usize) -> usize {
    let deadline = clock::instant() + Duration::from_secs(20);
    while served() < at_least {
        assert!(clock::instant() < deadline, "{} were served", served());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    served()
}

/// A port on which nobody listens.
async fn closed_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stall_is_felt_by_every_request_that_it_delays() {
    // In a run of 4 s, the requests of one second wait 1000 ms down to 0: a quarter of all, evenly. So the
    // 0.95-quantile is 800 ms and the 0.99-quantile 960 ms. A few connections must give the same answer as many.
    let stalled = async |connections| {
        let server = Server::start(200, stall).await;
        let config = Config {
            connections_per_endpoint: connections,
            ..config()
        };
        run(config, "100@4s", vec![server.address]).await
    };
    // A busy machine only ever adds latency: so no run may be below the truth, and the best of a few is close to it.
    let (mut best, mut best_raw) = ([f64::INFINITY; 4], Duration::MAX);
    for _ in 0..TRIES {
        // One after the other: two backlogs at once would delay each other.
        let (few, many) = (stalled(20).await, stalled(400).await);
        assert_eq!((few.counts.ok, many.counts.ok), (400, 400));
        best_raw = best_raw.min(few.raw.quantile(0.95).unwrap());
        let wanted = [
            (&few, 0.95, 0.8),
            (&few, 0.99, 0.96),
            (&many, 0.95, 0.8),
            (&many, 0.99, 0.96),
        ];
        for ((measured, q, truth_s), best) in wanted.into_iter().zip(&mut best) {
            let ratio = measured.latency.quantile(q).unwrap().as_secs_f64() / truth_s;
            assert!(0.98 < ratio, "the {q}-quantile is {ratio} of the truth");
            *best = best.min(ratio);
        }
        // The wait for a connection is not in the raw latency.
        if best.iter().all(|ratio| *ratio < 1.05) && best_raw < Duration::from_millis(400) {
            return;
        }
    }
    panic!("the best quantiles are {best:?} of the truth, the best raw one is {best_raw:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_is_sent_once_and_is_in_its_second() {
    let server = Server::start(200, at_once).await;
    let (progress, mut seconds) = mpsc::channel(16);
    let (_sender, endpoints) = watch::channel(vec![server.address]);
    let engine = Engine::new(config()).with_progress(progress);
    let measured = engine
        .run(
            arrivals("100@1s 300@1s 0@1s 50@1s"),
            endpoints,
            CancellationToken::new(),
        )
        .await;
    assert_eq!(server.served(), 450);
    assert_eq!(measured.planned, 450);
    let offered: Vec<u64> = measured
        .slots
        .iter()
        .map(|slot| slot.counts.offered)
        .collect();
    // A request whose moment is exactly a second's end belongs to the next second.
    assert_eq!(offered, [99, 300, 1, 50]);
    assert_eq!(measured.lag.count(), 450);
    let mut published = Vec::new();
    while let Some(second) = seconds.recv().await {
        published.push((second.second, second.counts.offered));
    }
    assert_eq!(published, [(0, 99), (1, 300), (2, 1), (3, 50)]);
}

#[tokio::test]
async fn threads_share_one_schedule_and_their_records_are_one() {
    let server = Server::start(200, at_once).await;
    let config = Config {
        threads: NonZeroUsize::new(3),
        ..config()
    };
    let measured = run(config, "100@1s 200@1s", vec![server.address]).await;
    assert_eq!((server.served(), measured.counts.ok), (300, 300));
    let offered = measured.slots.iter().map(|slot| slot.counts.offered);
    assert_eq!(offered.collect::<Vec<_>>(), [99, 201]);
    assert_eq!((measured.lag.count(), measured.raw.count()), (300, 300));
    assert_eq!(measured.endpoints[&server.address].ok, 300);
}

#[tokio::test]
async fn a_pacing_thread_is_more_exact_than_the_timer() {
    let server = Server::start(200, at_once).await;
    let lag = async |pacing| {
        let config = Config { pacing, ..config() };
        let measured = run(config, "200@1s", vec![server.address]).await;
        assert_eq!((measured.counts.ok, measured.lag.count()), (200, 200));
        measured.lag.quantile(0.5).unwrap()
    };
    // The timer counts in whole milliseconds and rounds up; a busy machine adds to both.
    let mut lags = Vec::new();
    for _ in 0..TRIES {
        let (timer, pacer) = (lag(Pacing::Millisecond).await, lag(Pacing::Precise).await);
        if pacer < timer {
            return;
        }
        lags.push((timer, pacer));
    }
    panic!("the pacing thread was never more exact: {lags:?}");
}

#[tokio::test]
async fn requests_above_the_bound_in_flight_are_dropped_and_counted() {
    let server = Server::start(200, slowly).await;
    let config = Config {
        max_in_flight: 5,
        ..config()
    };
    best_of_tries(async || {
        let before = server.served();
        let measured = run(config.clone(), "100@1s", vec![server.address]).await;
        let ok = measured.counts.ok;
        assert_eq!(measured.counts.dropped, 100 - ok);
        assert_eq!((server.served() - before) as u64, ok);
        // Five in flight at 200 ms each let about 25 through.
        match ok {
            20..=30 => Ok(()),
            _ => Err(format!("{:?}", measured.counts)),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_comes_gets_its_share_and_one_that_drains_costs_no_error() {
    best_of_tries(async || {
        let (a, b, c) = (
            Server::start(200, at_once).await,
            Server::start(200, at_once).await,
            Server::start(200, at_once).await,
        );
        let (sender, endpoints) = watch::channel(vec![a.address, b.address]);
        let load =
            Engine::new(config()).run(arrivals("400@3s"), endpoints, CancellationToken::new());
        let running = tokio::spawn(load);
        let all = || a.served() + b.served() + c.served();
        let come = once_served(400, all).await;
        sender.send_replace(vec![a.address, b.address, c.address]);
        let gone = once_served(800, all).await;
        sender.send_replace(vec![a.address, c.address]);
        // A pod is stopped a moment after it left the endpoints; what is on its way to it then still arrives.
        once_served((gone + 100).min(1_100), all).await;
        let (address_of_b, served_by_b) = (b.address, Arc::clone(&b.served));
        b.drain().await;
        let measured = running.await.unwrap();
        let ok = |address| {
            measured
                .endpoints
                .get(&address)
                .map_or(0, |counts| counts.ok)
        };
        let ok = [ok(a.address), ok(address_of_b), ok(c.address)];
        let served = [a.served(), served_by_b.load(Ordering::Relaxed), c.served()];
        let is_told = ok == served.map(|served| served as u64);
        let (two, three, two_again) = (come / 2, (gone - come) / 3, (1_200 - gone) / 2);
        let shares = [two + three + two_again, two + three, three + two_again];
        let is_shared = (0..3).all(|index| served[index].abs_diff(shares[index]) <= 40);
        if measured.counts.ok == 1_200 && is_told && is_shared {
            return Ok(());
        }
        Err(format!(
            "served {served:?}, shares {shares:?}, {:?}",
            measured.counts
        ))
    })
    .await;
}

#[tokio::test]
async fn a_refused_connection_is_tried_once_elsewhere() {
    let (server, closed) = (Server::start(200, at_once).await, closed_port().await);
    let measured = run(config(), "100@500ms", vec![server.address, closed]).await;
    assert_eq!((measured.counts.ok, measured.counts.errors()), (50, 0));
    assert!(
        (15..=35).contains(&measured.retried),
        "retried {}",
        measured.retried
    );
    let measured = run(config(), "100@500ms", vec![closed]).await;
    assert_eq!(measured.counts.errors_of(ErrorClass::Connect), 50);
    let EndpointCounts { ok, errors, .. } = measured.endpoints[&closed];
    assert_eq!((ok, errors), (0, 50));
    assert_eq!(measured.latency.count(), 0);
    let measured = run(config(), "100@500ms", Vec::new()).await;
    assert_eq!(measured.counts.errors_of(ErrorClass::NoEndpoint), 50);
}

#[tokio::test]
async fn a_request_that_may_have_been_sent_is_not_sent_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicUsize::new(0));
    let seen = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = [0; 1024];
                if 0 < stream.read(&mut head).await.unwrap_or(0) {
                    seen.fetch_add(1, Ordering::Relaxed);
                    let _ = stream
                        .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf")
                        .await;
                }
            });
        }
    });
    let measured = run(config(), "40@500ms", vec![address]).await;
    assert_eq!(
        measured.counts.errors_of(ErrorClass::Broken),
        20,
        "{:?}",
        measured.counts
    );
    assert_eq!(requests.load(Ordering::Relaxed), 20);
    assert_eq!(measured.retried, 0);
}

#[tokio::test]
async fn timeouts_count_with_the_time_they_took_and_bad_statuses_do_not() {
    let slow = Server::start(200, slowly).await;
    let config_short = Config {
        timeout: Duration::from_millis(100),
        ..config()
    };
    let mut best = Duration::MAX;
    for _ in 0..3 {
        let measured = run(config_short.clone(), "40@500ms", vec![slow.address]).await;
        assert_eq!(measured.counts.errors_of(ErrorClass::Timeout), 20);
        assert_eq!(measured.share_within(Duration::from_secs(1)), Some(0.0));
        best = best.min(measured.latency.quantile(0.5).unwrap());
        if best < Duration::from_millis(150) {
            break;
        }
    }
    assert!((99..150).contains(&best.as_millis()), "{best:?}");

    for (status, class) in [
        (404, ErrorClass::ClientStatus),
        (503, ErrorClass::ServerStatus),
    ] {
        let server = Server::start(status, at_once).await;
        let measured = run(config(), "40@500ms", vec![server.address]).await;
        assert_eq!(
            (measured.counts.errors_of(class), measured.latency.count()),
            (20, 0)
        );
    }
}

#[tokio::test]
async fn an_interrupted_run_ends_soon_and_says_what_was_left_undone() {
    fn never(_: Duration) -> Duration {
        Duration::from_secs(3600)
    }
    let server = Server::start(200, never).await;
    let (_sender, endpoints) = watch::channel(vec![server.address]);
    let cancel = CancellationToken::new();
    let running =
        tokio::spawn(Engine::new(config()).run(arrivals("50@1h"), endpoints, cancel.clone()));
    tokio::time::sleep(Duration::from_millis(500)).await;
    cancel.cancel();
    let measured = tokio::time::timeout(Duration::from_secs(20), running)
        .await
        .unwrap()
        .unwrap();
    assert!(measured.interrupted);
    assert_eq!(measured.planned, 180_000);
    assert!(
        0 < measured.counts.unfinished && measured.counts.unfinished == measured.counts.offered
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thread_that_panics_before_the_clock_starts_ends_the_run() {
    let server = Server::start(200, at_once).await;
    // No moment is that far away, and of the two threads only the first opens a connection beforehand.
    let config = Config {
        threads: NonZeroUsize::new(2),
        preconnect: 1,
        max_age: Some(Duration::MAX),
        ..config()
    };
    let running = tokio::spawn(run(config, "10@1h", vec![server.address]));
    let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
    assert!(ended.expect("the run goes on").unwrap_err().is_panic());
}
