//! The visit counter: `INCR visits` on one connection to Redis, opened again in the background when it breaks. Redis
//! being away costs a visit its count, never its answer.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, IntoConnectionInfo, RedisConnectionInfo,
};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::config::{Config, Secret};
use super::metrics::Metrics;

/// The key that is counted up.
pub const VISITS_KEY: &str = "visits";

/// How long a visit waits for Redis before it goes uncounted, and how long connecting may take.
const PATIENCE: Duration = Duration::from_millis(250);

/// Between two attempts to connect: soon enough for a demo, and no burden to a server that starts.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);

/// The counter, shared by all requests.
pub(super) struct Visits {
    link: Arc<Link>,
    metrics: Arc<Metrics>,
}

#[derive(Default)]
struct Link {
    connection: Mutex<Option<MultiplexedConnection>>,
    broken: Notify,
}

impl Visits {
    /// Starts connecting to the server of `config`, until `stop`; `None` when it names none.
    pub(super) fn start(
        config: &Config,
        metrics: Arc<Metrics>,
        stop: &CancellationToken,
    ) -> io::Result<Option<Self>> {
        let Some(host) = &config.redis_host else {
            return Ok(None);
        };
        let client = client(host, config).map_err(io::Error::other)?;
        let link = Arc::new(Link::default());
        let (keeping, stop) = (Arc::clone(&link), stop.clone());
        tokio::spawn(async move { stop.run_until_cancelled(keeping.keep(&client)).await });
        Ok(Some(Self { link, metrics }))
    }

    /// Counts one visit, or one that could not be counted.
    pub(super) async fn count(&self) {
        let Some(mut connection) = self.link.get() else {
            self.metrics.count_visit(false);
            return;
        };
        let counted: redis::RedisResult<u64> = redis::cmd("INCR")
            .arg(VISITS_KEY)
            .query_async(&mut connection)
            .await;
        self.metrics.count_visit(counted.is_ok());
        if counted.is_err_and(|error| error.is_unrecoverable_error() || error.is_timeout()) {
            self.link.broken.notify_one();
        }
    }
}

impl Link {
    fn get(&self) -> Option<MultiplexedConnection> {
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn set(&self, connection: Option<MultiplexedConnection>) {
        *self
            .connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = connection;
    }

    /// Opens the connection, and again each time a request finds it broken.
    async fn keep(&self, client: &Client) {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(PATIENCE))
            .set_response_timeout(Some(PATIENCE));
        loop {
            if let Ok(connection) = client
                .get_multiplexed_async_connection_with_config(&config)
                .await
            {
                self.set(Some(connection));
                self.broken.notified().await;
                self.set(None);
            }
            tokio::time::sleep(RECONNECT_PAUSE).await;
        }
    }
}

fn client(host: &str, config: &Config) -> redis::RedisResult<Client> {
    let mut login = RedisConnectionInfo::default();
    if let Some(username) = &config.redis_username {
        login = login.set_username(username);
    }
    if let Some(password) = &config.redis_password {
        login = login.set_password(Secret::expose(password));
    }
    let address = ConnectionAddr::Tcp(host.to_owned(), config.redis_port);
    Client::open(address.into_connection_info()?.set_redis_settings(login))
}
