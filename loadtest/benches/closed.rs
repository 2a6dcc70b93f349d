//! A closed loop for `peers` to measure: `closed ADDRESS USERS SECONDS THREADS` asks `GET /` and prints how many good
//! answers came. It is no benchmark by itself: what it costs is measured from outside, as for the other tools.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::Duration;

use anyhow::{Context, ensure};
use http::{HeaderValue, Uri};
use taffrail_loadtest::engine::{Config, Engine, Load};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|arg| arg != "--bench")
        .collect();
    let [address, users, seconds, threads] = &args[..] else {
        // `cargo bench` runs every benchmark, and gives this one nothing to ask.
        println!("usage: closed ADDRESS USERS SECONDS THREADS");
        return Ok(());
    };
    let address: SocketAddr = address.parse().context("the address")?;
    let users: usize = users.parse().context("the number of users")?;
    let config = Config {
        preconnect: users,
        idle_per_endpoint: users,
        connections_per_endpoint: users,
        threads: Some(
            threads
                .parse::<NonZeroUsize>()
                .context("the number of threads")?,
        ),
        ..Config::new(
            HeaderValue::from_str(&address.to_string())?,
            Uri::from_static("/"),
        )
    };
    let seconds = seconds.parse().context("the number of seconds")?;
    let load = Load::closed(users, Duration::from_secs(seconds));
    let (_endpoints, followed) = watch::channel(vec![address]);
    let measured = Engine::new(config)
        .run(load, followed, CancellationToken::new())
        .await;
    ensure!(measured.counts.errors() == 0, "{:?}", measured.counts);
    println!("{}", measured.counts.ok);
    Ok(())
}
