//! Closed loops, in which a user asks again when it was answered.

use super::*;
use crate::scenario::file::{default_connections, default_http};
use crate::scenario::{Discovery, Scenario, Target};

async fn play(users: usize, config: Config, endpoint: SocketAddr) -> Measured {
    let load = Load::closed(users, Duration::from_secs(1));
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

#[tokio::test]
async fn users_and_arrivals_of_one_service_are_measured_together() {
    let server = Server::start(200, slowly).await;
    let text = "name: a\nscenarios:
  steady: { profile: 50@2s, arrivals: uniform }
  users: { executor: constant-vus, vus: 3, startTime: 1s, duration: 1s }";
    let scenario = Scenario::read("a.yaml", text, |_| unreachable!("no other file")).unwrap();
    let plans = Plan::all(&scenario, |_| unreachable!("no trace")).unwrap();
    let (progress, mut seconds) = mpsc::channel(16);
    let (_sender, endpoints) = watch::channel(vec![server.address]);
    let config = Config {
        threads: NonZeroUsize::new(2),
        ..config()
    };
    let engine = Engine::new(config).with_progress(progress);
    let load = Load::together(&plans);
    let measured = engine.run(load, endpoints, CancellationToken::new()).await;
    // 100 at their moments, and each of the three asks at most five times within a second at 200 ms an answer.
    let by_users = measured.counts.ok - 100;
    assert!((3..=15).contains(&by_users), "{:?}", measured.counts);
    assert_eq!(server.served() as u64, measured.counts.ok);
    assert_eq!(measured.planned, measured.counts.offered);
    let offered: Vec<u64> = measured
        .slots
        .iter()
        .map(|slot| slot.counts.offered)
        .collect();
    let alone = offered[0];
    assert!((49..=51).contains(&alone), "before the users: {offered:?}");
    let mut told = Vec::new();
    while let Some(second) = seconds.recv().await {
        told.push((second.second, second.counts.offered));
    }
    let expected: Vec<(u64, u64)> = (0..).zip(offered).collect();
    assert_eq!(told, expected, "each second is told once it is over");
}

#[tokio::test]
async fn users_are_not_dropped_for_the_bound_of_an_open_load_beside_them() {
    let server = Server::start(200, slowly).await;
    let text = "name: a\nscenarios:
  steady: { profile: 20@500ms, maxInFlight: 1 }
  users: { executor: constant-vus, vus: 2, duration: 500ms }";
    let scenario = Scenario::read("a.yaml", text, |_| unreachable!("no other file")).unwrap();
    let plans = Plan::all(&scenario, |_| unreachable!("no trace")).unwrap();
    let loads: Vec<_> = scenario.scenarios.values().collect();
    let target = Target {
        url: "http://test/".to_owned(),
        discovery: Discovery::Endpoints,
        connections: default_connections(),
        http: default_http(),
    };
    let config = resolve::config(&scenario.services["a"], &target, &loads, None, 1).unwrap();
    assert_eq!(config.max_in_flight, 3, "one request, and one of each user");
    let (_sender, endpoints) = watch::channel(vec![server.address]);
    let load = Load::together(&plans);
    let measured = Engine::new(config)
        .run(load, endpoints, CancellationToken::new())
        .await;
    assert!(0 < measured.counts.dropped, "{:?}", measured.counts);
    assert!(
        measured.counts.dropped < 10,
        "only the open load is held to it"
    );
}
