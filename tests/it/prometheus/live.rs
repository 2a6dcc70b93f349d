//! Live: sample apps under load, scraped by Prometheus, and by our own adapter beside it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderValue, Uri};
use taffrail::engine::snapshot::Snapshot;
use taffrail::metrics::Metrics;
use taffrail::model::time::Timestamp;
use taffrail::{clock, config, pipeline};
use taffrail_loadtest::arrivals::{Arrivals, Spacing};
use taffrail_loadtest::engine::{Config as LoadConfig, Engine as LoadEngine};
use taffrail_loadtest::profile::Profile;
use taffrail_loadtest::sample_app;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{HISTOGRAM, NAMESPACE, QUANTILES, Series, Windows, value};
use crate::fixtures::prometheus_server::PrometheusServer;

const SERVICE: &str = "live";

/// Scraped once a second, as often as anybody does.
const WINDOWS: Windows = Windows {
    window: Duration::from_secs(6),
    interval: Duration::from_secs(1),
};

/// Some seven hundred requests in the window: twice what the 0.99 quantile needs.
const RATE: f64 = 120.0;

/// Mean service times of the apps.
const SERVICE_TIMES_MS: [u64; 3] = [20, 40, 80];

/// Traffic before the window: no counter is so young that its zero limits how far it is extended.
const HISTORY: Duration = Duration::from_millis(2_500);

/// Within this everything that is going to happen has happened, on a slow machine too.
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);

/// Two adapters that scrape the same targets at other moments share most of a window's requests, but not all.
const PHASE: f64 = 0.1;

/// Sample apps under load.
struct Fleet {
    apps: Vec<App>,
    _endpoints: watch::Sender<Vec<SocketAddr>>,
    _load: DropGuard,
}

struct App {
    address: SocketAddr,
    config: sample_app::Config,
    stop: CancellationToken,
    served: JoinHandle<std::io::Result<()>>,
}

impl Fleet {
    async fn start() -> Self {
        let mut apps = Vec::new();
        for (i, mean_ms) in SERVICE_TIMES_MS.into_iter().enumerate() {
            let config = sample_app::Config {
                // No queueing: on a busy machine it would feed upon itself.
                workers: 256,
                service_time: Duration::from_millis(mean_ms),
                service_cv: 0.5,
                cpu_share: 0.01,
                seed: i as u64,
                ..sample_app::Config::default()
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            apps.push(App::serving(listener, config));
        }
        let addresses = apps.iter().map(|app| app.address).collect();
        let (endpoints, followed) = watch::channel(addresses);
        let profile = Profile::constant(RATE, 2 * PATIENCE).unwrap();
        let arrivals = Arrivals::new(&profile, Spacing::Poisson(1));
        let load = LoadEngine::new(LoadConfig::new(
            HeaderValue::from_static("users.live"),
            Uri::from_static("/"),
        ));
        let stop = CancellationToken::new();
        tokio::spawn(load.run(arrivals, followed, stop.clone()));
        Self {
            apps,
            _endpoints: endpoints,
            _load: stop.drop_guard(),
        }
    }

    fn addresses(&self) -> Vec<SocketAddr> {
        self.apps.iter().map(|app| app.address).collect()
    }

    async fn prometheus(&self) -> PrometheusServer {
        PrometheusServer::scraping(SERVICE, &self.addresses(), WINDOWS.interval).await
    }

    /// Our own adapter on the same targets: its snapshots, for as long as the guard lives.
    fn adapter(&self) -> (watch::Receiver<Arc<Snapshot>>, DropGuard) {
        let targets: Vec<String> = self
            .addresses()
            .iter()
            .map(|address| format!("{:?}", address.to_string()))
            .collect();
        let document = format!(
            "apiVersion: {}\nkind: RequestMetrics\n\
             metadata: {{name: {SERVICE}, namespace: {NAMESPACE}}}\n\
             spec:\n  \
               source: {{pods: {{targets: [{}], histogram: {HISTOGRAM}}}}}\n  \
               window: {}s\n  interval: {}s\n",
            config::API_VERSION,
            targets.join(", "),
            WINDOWS.window.as_secs(),
            WINDOWS.interval.as_secs(),
        );
        let parsed = config::parse(&document);
        assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        let services = parsed.services.into_values().collect();
        // A closed channel of wishes changes nothing: the first ones stay.
        let (_, desired) = watch::channel(Arc::new(services));
        let (publish, snapshots) = watch::channel(Arc::new(Snapshot::default()));
        let wiring = pipeline::Wiring {
            desired,
            snapshots: publish,
            metrics: Arc::new(Metrics::new(snapshots.clone())),
            secrets: taffrail::source::secret::SecretStore::default(),
            reach: taffrail::source::reach::Reach::anywhere(),
        };
        let stop = CancellationToken::new();
        tokio::spawn(pipeline::run(wiring, stop.clone()));
        (snapshots, stop.drop_guard())
    }
}

impl App {
    fn serving(listener: TcpListener, config: sample_app::Config) -> Self {
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        Self {
            address: listener.local_addr().unwrap(),
            served: tokio::spawn(sample_app::run(listener, config.clone(), stopped)),
            config,
            stop,
        }
    }

    /// Ends it and starts it anew at its address: its counters begin at zero.
    async fn restart(&mut self) {
        self.stop.cancel();
        (&mut self.served).await.unwrap().unwrap();
        let listener = TcpListener::bind(self.address).await.unwrap();
        *self = Self::serving(listener, self.config.clone());
    }
}

/// The newest instant at which Prometheus has everything that a comparison needs; `None` when it has not yet.
///
/// Every target has been read after it, so nothing is still on its way. The window's edges are nearer to the reads
/// than a mean spacing: a read that came late is judged differently (we end the window there), and so is the zero of a
/// young counter by versions of Prometheus.
fn settled(
    stored: &[Series],
    accepts: impl Fn(&[&Series], Timestamp) -> bool,
) -> Option<Timestamp> {
    let counts = counts(stored)?;
    let newest = counts.iter().map(|count| count.samples.last().unwrap().0);
    let newest = newest.min()?;
    let steps = (0..WINDOWS.interval.as_millis() as u64).step_by(10);
    let mut candidates = steps.map(|ms| newest - Duration::from_millis(ms));
    candidates.find(|at| counts.iter().all(|count| is_settled(count, *at)) && accepts(&counts, *at))
}

/// The counters of requests, once all targets have one.
fn counts(stored: &[Series]) -> Option<Vec<&Series>> {
    let counts: Vec<&Series> = stored
        .iter()
        .filter(|series| series.label("__name__").ends_with("_count"))
        .collect();
    (counts.len() == SERVICE_TIMES_MS.len()).then_some(counts)
}

fn is_settled(count: &Series, at: Timestamp) -> bool {
    let start = at - WINDOWS.window;
    let within = |time: &Timestamp| start < *time && *time <= at;
    let times = || count.samples.iter().map(|(time, _)| *time);
    let (Some(first), Some(last)) = (times().find(within), times().rfind(within)) else {
        return false;
    };
    let spacings = times().filter(within).count() as u32 - 1;
    let near = |gap: Duration| gap * spacings <= last.since(first);
    times()
        .next()
        .is_some_and(|oldest| oldest <= start - HISTORY)
        && times().all(|time| time != start)
        && near(first.since(start))
        && near(at.since(last))
}

/// Waits for a settled instant that `accepts`, given the counters of requests that Prometheus has.
async fn settle(
    prometheus: &PrometheusServer,
    accepts: impl Fn(&[&Series], Timestamp) -> bool,
) -> Timestamp {
    let search = async {
        loop {
            let stored = WINDOWS.stored(prometheus, clock::now()).await;
            match settled(&stored, &accepts) {
                Some(at) => return at,
                None => tokio::time::sleep(PAUSE).await,
            }
        }
    };
    tokio::time::timeout(PATIENCE, search)
        .await
        .expect("Prometheus has what is waited for")
}

/// Whether a counter fell between two samples of the window that ends at `at`.
fn fell_within(count: &Series, at: Timestamp) -> bool {
    count.samples.windows(2).any(|pair| {
        let [(before, high), (after, low)] = pair else {
            return false;
        };
        at - WINDOWS.window < *before && *after <= at && low < high
    })
}

/// One test and one fleet for all that is live: a Prometheus takes five seconds to begin, and windows have to fill.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn both_scrape_the_same_targets_under_load_and_agree() {
    let mut fleet = Fleet::start().await;
    let (snapshots, _running) = fleet.adapter();
    let prometheus = fleet.prometheus().await;
    what_prometheus_scraped_yields_its_own_answers(&prometheus).await;
    what_we_scraped_yields_the_same_quantiles(&prometheus, snapshots).await;
    a_restarted_target_counts_as_it_does_for_prometheus(&prometheus, &mut fleet.apps[0]).await;
}

async fn what_prometheus_scraped_yields_its_own_answers(prometheus: &PrometheusServer) {
    let at = settle(prometheus, |_, _| true).await;
    let snapshot = WINDOWS.check_same(prometheus, at).await;
    WINDOWS.check_same_buckets(prometheus, &snapshot).await;
    let rate = value(&snapshot, "request_rate", SERVICE, None, WINDOWS.window).unwrap();
    assert!((RATE / 2.0..RATE * 2.0).contains(&rate), "{rate}");
}

async fn what_we_scraped_yields_the_same_quantiles(
    prometheus: &PrometheusServer,
    mut snapshots: watch::Receiver<Arc<Snapshot>>,
) {
    let mut last = String::new();
    let search = async {
        loop {
            snapshots.changed().await.unwrap();
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            last = disagreements(prometheus, &snapshot).await;
            if last.is_empty() {
                return;
            }
        }
    };
    let agreed = tokio::time::timeout(PATIENCE, search).await;
    assert!(agreed.is_ok(), "{last}");
}

async fn a_restarted_target_counts_as_it_does_for_prometheus(
    prometheus: &PrometheusServer,
    app: &mut App,
) {
    let restarted = app.address.to_string();
    app.restart().await;
    let at = settle(prometheus, |counts, at| {
        counts
            .iter()
            .any(|count| count.label("instance") == restarted && fell_within(count, at))
    })
    .await;
    WINDOWS.check_same(prometheus, at).await;
}

/// Which quantiles of `snapshot` are not, within [`PHASE`], what Prometheus says of the same instant.
async fn disagreements(prometheus: &PrometheusServer, snapshot: &Snapshot) -> String {
    let mut text = String::new();
    for q in QUANTILES {
        let label = q.to_string();
        let metric = "request_latency_ms";
        let ours = value(snapshot, metric, SERVICE, Some(&label), WINDOWS.window);
        let theirs = prometheus.query(&WINDOWS.quantile(q), snapshot.at()).await;
        let theirs = theirs
            .first()
            .map_or(f64::NAN, |answer| 1000.0 * answer.value());
        let agree = ours
            .as_ref()
            .is_ok_and(|ours| (ours - theirs).abs() <= PHASE * theirs);
        if !agree {
            text.push_str(&format!("{q}: ours {ours:?}, theirs {theirs} ms; "));
        }
    }
    text
}
