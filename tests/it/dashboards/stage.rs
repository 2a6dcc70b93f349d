//! The set-up that all live tests share: a real Prometheus that scrapes a real adapter, real sample apps under load, and the
//! pages of a cluster; and the two faults it is put through.

use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::time::Duration;

use taffrail_loadtest::sample_app;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use super::findings::shortened;
use super::pages::{self, Fault, NAMESPACE};
use super::{RULES, path};
use crate::fixtures::adapter::Adapter;
use crate::fixtures::prometheus_server::PrometheusServer;
use crate::fixtures::redis_server::RedisServer;
use crate::fixtures::rogue::Rogue;

/// Requests a second that each app gets: enough for quantiles within a few seconds.
const LOAD_PER_SECOND: f64 = 20.0;

/// What a request takes.
const SERVICE_TIME: Duration = Duration::from_millis(20);

/// Between two rounds of reads of the adapter's API.
const READ_PAUSE: Duration = Duration::from_millis(200);

/// What is read of the API: values, and one that is not there.
const READS: [&str; 4] = [
    "request_latency_ms?labelSelector=service%3Dusers",
    "slow_request_ratio?labelSelector=service%3Dusers",
    "redis_backlog?labelSelector=service%3Dexports",
    "request_rate?labelSelector=service%3Dnobody",
];

/// Everything that runs.
pub(super) struct Stage {
    pub(super) prometheus: PrometheusServer,
    adapter: Adapter,
    in_cluster: Option<Rogue>,
    pods: Vec<Pod>,
    redis: Option<RedisServer>,
    fault: Fault,
    reading: AbortOnDropHandle<()>,
    _pages: [Rogue; 3],
    _broken: Rogue,
    _rules: TempDir,
}

/// A sample app under load.
struct Pod {
    address: SocketAddr,
    stop: CancellationToken,
    serving: JoinHandle<std::io::Result<()>>,
    _load: AbortOnDropHandle<()>,
}

impl Stage {
    /// Everything is started, and well.
    pub(super) async fn set() -> Self {
        // Another test of this process may have chosen the provider already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let pods = vec![Pod::start().await, Pod::start().await];
        let redis = RedisServer::start(&[]);
        let pushed = redis::cmd("RPUSH")
            .arg("exports")
            .arg(&[1, 2, 3])
            .query(&mut redis.client());
        let () = pushed.unwrap();
        let broken = pages::broken_app().await;
        let adapter = Adapter::serving(&documents(&pods, redis.port, broken.port)).await;
        let fault = Fault::default();
        let in_cluster = pages::adapter_in_cluster(fault.clone()).await;
        let pages = [
            pages::kube_state_metrics(fault.clone()).await,
            pages::controller_manager(fault.clone()).await,
            pages::api_server(fault.clone()).await,
        ];
        let adapters = [adapter.metrics.port(), in_cluster.port];
        let rules = rules();
        let config = config(&adapters, &pages, &pods, &rules);
        Self {
            prometheus: PrometheusServer::configured(&config).await,
            reading: reading(&adapter),
            adapter,
            in_cluster: Some(in_cluster),
            pods,
            redis: Some(redis),
            fault,
            _pages: pages,
            _broken: broken,
            _rules: rules,
        }
    }

    /// The pages of both adapters.
    pub(super) async fn own_pages(&self) -> [String; 2] {
        let in_cluster = self.in_cluster.as_ref().unwrap();
        let url = format!("http://127.0.0.1:{}/metrics", in_cluster.port);
        let answer = self.adapter.client().get(url).send().await.unwrap();
        let page = answer.text().await.unwrap();
        [self.adapter.get_plain("/metrics").await.body, page]
    }

    /// The pods and Redis are gone; the adapter and the cluster go on.
    pub(super) async fn lose_targets(&mut self) {
        for pod in std::mem::take(&mut self.pods) {
            pod.stop.cancel();
            pod.serving.await.unwrap().unwrap();
        }
        drop(self.redis.take());
        self.fault.values.store(true, Ordering::Relaxed);
    }

    /// The adapter is gone too, both replicas of it.
    pub(super) async fn lose_adapter(&mut self) {
        self.fault.adapter.store(true, Ordering::Relaxed);
        self.reading.abort();
        self.adapter.terminate();
        self.adapter.ended().await;
        drop(self.in_cluster.take());
    }
}

impl Pod {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let config = sample_app::Config {
            service_time: SERVICE_TIME,
            ..sample_app::Config::default()
        };
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        Self {
            address,
            stop,
            serving: tokio::spawn(sample_app::run(listener, config, stopped)),
            _load: load(address),
        }
    }
}

fn load(address: SocketAddr) -> AbortOnDropHandle<()> {
    let url = format!("http://{address}/");
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let mut moments = tokio::time::interval(Duration::from_secs_f64(1.0 / LOAD_PER_SECOND));
        loop {
            moments.tick().await;
            // What cannot be sent in a fault is not missed.
            drop(client.get(&url).send().await);
        }
    }))
}

/// Reads of the API, as HPAs make them, for as long as this lives.
fn reading(adapter: &Adapter) -> AbortOnDropHandle<()> {
    let urls = READS.map(|read| {
        let group = "apis/external.metrics.k8s.io/v1beta1";
        format!(
            "https://{}/{group}/namespaces/{NAMESPACE}/{read}",
            adapter.api
        )
    });
    let client = adapter.client();
    AbortOnDropHandle::new(tokio::spawn(async move {
        loop {
            for url in &urls {
                drop(client.get(url).send().await);
            }
            tokio::time::sleep(READ_PAUSE).await;
        }
    }))
}

/// A service of pods with everything that can be said of one, one of items that wait in Redis, and one whose page is broken
/// in one line.
fn documents(pods: &[Pod], redis_port: u16, broken_port: u16) -> String {
    let targets: Vec<String> = pods
        .iter()
        .map(|pod| format!("\"{}\"", pod.address))
        .collect();
    let targets = targets.join(", ");
    format!(
        "apiVersion: taffrail.dev/v1alpha1
kind: RequestMetrics
metadata: {{name: users, namespace: {NAMESPACE}}}
spec:
  source:
    pods:
      targets: [{targets}]
      where: 'route=\"/\"'
      inFlight: http_requests_in_flight
      cpu: process_cpu_seconds_total
  window: 4s
  interval: 1s
  objective: {{quantile: 0.95, latency: 250ms}}
---
apiVersion: taffrail.dev/v1alpha1
kind: RequestMetrics
metadata: {{name: exports, namespace: {NAMESPACE}}}
spec:
  source:
    redis:
      address: 127.0.0.1:{redis_port}
      backlog: [{{key: exports}}]
  window: 4s
  interval: 1s
---
apiVersion: taffrail.dev/v1alpha1
kind: RequestMetrics
metadata: {{name: reports, namespace: {NAMESPACE}}}
spec:
  source: {{pods: {{targets: [\"127.0.0.1:{broken_port}\"]}}}}
  window: 4s
  interval: 1s
"
    )
}

/// The rules of `dashboards/rules/` with shorter windows.
fn rules() -> TempDir {
    let dir = TempDir::new().unwrap();
    for file in RULES {
        let text = std::fs::read_to_string(path("rules").join(file)).unwrap();
        std::fs::write(dir.path().join(file), shortened(&text)).unwrap();
    }
    dir
}

/// Prometheus' configuration. The labels of adapters and of kube-state-metrics win over those of their targets, as in the
/// chart's ServiceMonitor.
fn config(
    adapters: &[u16],
    [kube_state, controllers, api]: &[Rogue; 3],
    pods: &[Pod],
    rules: &TempDir,
) -> String {
    let job = |name: &str, ports: &[u16], labels: &str| {
        let targets: Vec<String> = ports
            .iter()
            .map(|port| format!("'127.0.0.1:{port}'"))
            .collect();
        let targets = targets.join(", ");
        format!(
            "- job_name: {name}
  honor_labels: true
  static_configs:
  - {{targets: [{targets}], labels: {{{labels}}}}}
"
        )
    };
    let pods = pods.iter().enumerate().map(|(n, pod)| {
        let labels = format!("namespace: {NAMESPACE}, pod: users-{n}");
        let job = job(&format!("shop/users-{n}"), &[pod.address.port()], &labels);
        job.replace("honor_labels: true", "honor_labels: false")
    });
    let jobs: String = [
        job(
            "taffrail",
            adapters,
            "namespace: taffrail, service: taffrail",
        ),
        job(
            "kube-state-metrics",
            &[kube_state.port],
            "namespace: monitoring",
        ),
        job(
            "kube-controller-manager",
            &[controllers.port],
            "namespace: kube-system",
        ),
        job("apiserver", &[api.port], "namespace: default"),
    ]
    .into_iter()
    .chain(pods)
    .collect();
    let rules = rules.path().join("*.yaml");
    format!(
        "global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: ['{}']
scrape_configs:
{jobs}",
        rules.display()
    )
}
