//! Closed loops, in which a user asks again when it was answered.

use super::*;

async fn play(users: usize, config: Config, endpoint: SocketAddr) -> Measured {
    let load = Load::Closed {
        users,
        duration: Duration::from_secs(1),
    };
    let (_sender, endpoints) = watch::channel(vec![endpoint]);
    let engine = Engine::new(config);
    engine.run(load, endpoints, CancellationToken::new()).await
}

#[tokio::test]
async fn users_ask_again_when_they_are_answered_and_not_before() {
    let server = Server::start(200, slowly).await;
    let config = Config {
        threads: NonZeroUsize::new(2),
        ..config()
    };
    let measured = play(4, config, server.address).await;
    // At 200 ms an answer, nobody asks more than five times within a second.
    assert!(
        (4..=20).contains(&measured.counts.ok),
        "{:?}",
        measured.counts
    );
    assert_eq!(server.served() as u64, measured.counts.ok);
    assert!(measured.closed);
    assert_eq!(measured.planned, measured.counts.offered);
    assert!(Duration::from_millis(199) <= measured.latency.quantile(0.0).unwrap());
}

#[tokio::test]
async fn a_stall_hides_in_a_closed_loop() {
    let server = Server::start(200, stall).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let measured = play(2, config(), server.address).await;
    // Each user met the stall once, whoever would have come meanwhile did not come at all.
    let stalled =
        measured.latency.count() - measured.latency.count_within(Duration::from_millis(100));
    assert!(2 <= stalled, "{stalled} of {}", measured.latency.count());
    assert!(measured.raw.quantile(0.5) <= measured.latency.quantile(0.5));
}

#[tokio::test]
async fn users_without_a_server_do_not_ask_without_end() {
    let closed = closed_port().await;
    let measured = play(2, config(), closed).await;
    let refused = measured.counts.errors_of(ErrorClass::Connect);
    assert_eq!(refused, measured.counts.offered);
    assert!((2..=22).contains(&refused), "{refused}");
}
