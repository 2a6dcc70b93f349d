//! Writes down the life of one HPA in the format that `taffrail replay` reads. It stands between the aggregation layer and
//! the adapter, and passes every request on as it is, so that it sees what the HPA controller is answered and when; what
//! the controller does with it is watched. Times are seconds since its start, of one clock.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures_util::StreamExt;
use http::{HeaderMap, Request, StatusCode};
use hyper::body::Incoming;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::{APIService, APIServiceSpec};
use kube::ResourceExt;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde_json::{Value, json};
use taffrail::clock;
use tokio::task::JoinSet;

use crate::adapter;
use crate::harness::pki::{FRONT_PROXY, client};
use crate::harness::{Cluster, hpa, https, is_ready};

/// Where it listens.
const ADDRESS: &str = "10.200.0.5";

/// Its Service.
const NAME: &str = "recorder";

/// The name in the adapter's certificate, and the port of its pods.
const ADAPTER: &str = "taffrail.taffrail.svc";
const ADAPTER_PORT: u16 = 10250;

const APISERVICE: &str = "v1beta1.external.metrics.k8s.io";

/// Who reads for HPAs. Others read too, and what they read decides nothing.
const CONTROLLER: &str = "system:serviceaccount:kube-system:horizontal-pod-autoscaler";

/// What the adapter may take for an answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

/// Records until its end, which gives the adapter its place back.
pub(super) struct Recorder {
    life: Arc<Kept>,
    /// Where the API server found the adapter, and whom it trusted there.
    former: Value,
    _tasks: [JoinSet<()>; 2],
}

/// What is written down, as the format has it.
struct Kept {
    start: Instant,
    life: Mutex<Life>,
}

#[derive(Default)]
struct Life {
    reads: Vec<Value>,
    pods: BTreeMap<String, Value>,
    replicas: Vec<Value>,
    status: Vec<Value>,
}

/// The way to a replica of the adapter, as the front proxy goes it.
struct Way {
    client: reqwest::Client,
    namespace: String,
}

impl Recorder {
    /// Takes the adapter's place before the aggregation layer, and watches the Deployment and the HPA `name`.
    pub(super) async fn start(
        cluster: &Cluster,
        namespace: &str,
        name: &str,
    ) -> anyhow::Result<Self> {
        let life = Arc::new(Kept {
            start: clock::instant(),
            life: Mutex::default(),
        });
        let watches = watch(cluster, namespace, name, &life);
        let services = Api::<APIService>::all(cluster.admin());
        let former = services.get(APISERVICE).await?.spec.context("no spec")?;
        let way = Arc::new(Way::new(cluster, namespace, &former).await?);
        let written = Arc::clone(&life);
        let served = format!("{NAME}.{namespace}.svc");
        let names = [&*served];
        let serve = https::serve(cluster.pki(), ADDRESS, &names, move |request| {
            let (way, written) = (Arc::clone(&way), Arc::clone(&written));
            async move { way.pass(&written, request).await }
        });
        let serve = serve.await?;
        let kubectl = cluster.kubectl();
        kubectl.apply(namespace, &objects().to_string()).await?;
        let ours = json!({
            "service": {"namespace": namespace, "name": NAME},
            "caBundle": BASE64.encode(cluster.pki().cluster.pem()),
        });
        lead(cluster, &ours).await?;
        let former = serde_json::to_value(former)?;
        Ok(Self {
            former: json!({"service": former["service"], "caBundle": former["caBundle"]}),
            life,
            _tasks: [watches, serve],
        })
    }

    /// Gives the adapter its place back. It would take that itself, but within a minute.
    pub(super) async fn end(self, cluster: &Cluster) -> anyhow::Result<()> {
        lead(cluster, &self.former).await
    }

    /// How many reads were recorded so far.
    pub(super) fn reads(&self) -> usize {
        self.life.lock().reads.len()
    }

    /// All of it as one document, of an HPA with this spec.
    pub(super) fn document(&self, spec: &Value) -> Value {
        let life = self.life.lock();
        let first = life.replicas.first();
        json!({
            "hpa": spec,
            "initial_replicas": first.map_or(&Value::Null, |first| &first["spec"]),
            "reads": life.reads,
            "pods": life.pods.values().collect::<Vec<_>>(),
            "replicas": life.replicas,
            "status": life.status,
            "acted": [],
        })
    }
}

impl Kept {
    fn t(&self) -> f64 {
        self.start.elapsed().as_secs_f64()
    }

    fn lock(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn deployment(&self, deployment: &Deployment) {
        let status = deployment.status.as_ref();
        let status = status.and_then(|status| status.replicas).unwrap_or(0);
        let seen = json!({"t": self.t(), "spec": hpa::replicas(deployment), "status": status});
        let mut life = self.lock();
        let differs =
            |last: &Value| last["spec"] != seen["spec"] || last["status"] != seen["status"];
        if life.replicas.last().is_none_or(differs) {
            life.replicas.push(seen);
        }
    }

    fn pod(&self, pod: &Pod, is_gone: bool) {
        let t = self.t();
        let name = pod.name_any();
        let mut life = self.lock();
        let seen = life.pods.entry(name.clone()).or_insert_with(
            || json!({"name": name, "created": t, "start": null, "ready": null, "gone": null}),
        );
        let has_started = pod
            .status
            .as_ref()
            .is_some_and(|status| status.start_time.is_some());
        for (what, is_so) in [
            ("start", has_started),
            ("ready", is_ready(pod)),
            // The controller counts a pod that is on its way out no more.
            ("gone", is_gone || pod.metadata.deletion_timestamp.is_some()),
        ] {
            if is_so && seen[what].is_null() {
                seen[what] = json!(t);
            }
        }
    }

    fn hpa(&self, hpa: &HorizontalPodAutoscaler) {
        let Some(status) = &hpa.status else { return };
        let told = status.conditions.iter().flatten();
        let told: BTreeMap<_, _> = told
            .map(|told| (&told.type_, (&told.status, &told.reason)))
            .collect();
        let seen = json!({"t": self.t(), "current": status.current_replicas,
            "desired": status.desired_replicas, "conditions": told});
        self.lock().status.push(seen);
    }
}

impl Way {
    async fn new(
        cluster: &Cluster,
        namespace: &str,
        adapter: &APIServiceSpec,
    ) -> anyhow::Result<Self> {
        let authority = adapter.ca_bundle.as_ref();
        let authority = authority.context("the adapter has published no authority")?;
        let pods = adapter::replicas(cluster).await?;
        let pod = pods.iter().find(|pod| is_ready(pod));
        let address = pod.and_then(|pod| pod.status.as_ref()?.pod_ip.as_ref());
        let address = address.context("no adapter is ready")?.parse()?;
        let identity = cluster.pki().front_proxy.sign(&client(FRONT_PROXY, None))?;
        let identity = format!("{}{}", identity.certificate, identity.key);
        let client = reqwest::Client::builder()
            .tls_certs_only([reqwest::Certificate::from_pem(&authority.0)?])
            .identity(reqwest::Identity::from_pem(identity.as_bytes())?)
            .resolve(ADAPTER, SocketAddr::new(address, ADAPTER_PORT))
            .no_proxy()
            .timeout(ANSWER_TIME_MAX)
            .build()?;
        Ok(Self {
            client,
            namespace: namespace.to_owned(),
        })
    }

    /// Asks the adapter what we are asked, and notes what the HPA controller reads of the namespace.
    async fn pass(&self, kept: &Kept, request: Request<Incoming>) -> (StatusCode, Value) {
        let (code, body) = match self.answer(&request).await {
            Ok(answer) => answer,
            Err(error) => (
                StatusCode::BAD_GATEWAY,
                json!({"message": format!("{error:#}")}),
            ),
        };
        let prefix = format!("/namespaces/{}/", self.namespace);
        let metric = request.uri().path().rsplit_once(&prefix);
        if let Some((_, metric)) = metric
            && is_controllers(request.headers())
        {
            let value = match code {
                StatusCode::OK => values(&body),
                StatusCode::NOT_FOUND => Value::Null,
                _ => json!("err"),
            };
            let read = json!({"t": kept.t(), "metric": metric, "value": value});
            kept.lock().reads.push(read);
        }
        (code, body)
    }

    async fn answer(&self, request: &Request<Incoming>) -> anyhow::Result<(StatusCode, Value)> {
        let path = request.uri().path_and_query().context("no path")?;
        let url = format!("https://{ADAPTER}:{ADAPTER_PORT}{path}");
        let mut asked = self.client.get(url);
        for (name, value) in request.headers() {
            if name.as_str().starts_with("x-remote-") {
                asked = asked.header(name, value);
            }
        }
        let answer = asked.send().await?;
        Ok((answer.status(), answer.json().await?))
    }
}

fn is_controllers(headers: &HeaderMap) -> bool {
    let user = headers.get("x-remote-user");
    user.is_some_and(|user| user == CONTROLLER)
}

/// The values of a list: one as itself, several as a list.
fn values(body: &Value) -> Value {
    let items = body["items"].as_array();
    let mut values: Vec<Value> = items
        .into_iter()
        .flatten()
        .map(|item| item["value"].clone())
        .collect();
    match values.len() {
        1 => values.remove(0),
        _ => Value::Array(values),
    }
}

/// Tells the API server where the metrics are and whom to trust there, and waits until it believes that.
async fn lead(cluster: &Cluster, to: &Value) -> anyhow::Result<()> {
    let patch = json!({"spec": to}).to_string();
    let service = format!("apiservice/{APISERVICE}");
    let patch = ["patch", &service, "--type=merge", "--patch", &patch];
    cluster.kubectl().run(patch).await?;
    adapter::available(cluster, APISERVICE).await
}

/// Watches what the controller sees and does.
fn watch(cluster: &Cluster, namespace: &str, name: &str, kept: &Arc<Kept>) -> JoinSet<()> {
    let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let of_app = watcher::Config::default().labels(&format!("app={name}"));
    let mut tasks = JoinSet::new();
    let deployments = Api::<Deployment>::namespaced(cluster.admin(), namespace);
    let mut deployments = watcher(deployments, only.clone())
        .default_backoff()
        .applied_objects()
        .boxed();
    let written = Arc::clone(kept);
    tasks.spawn(async move {
        while let Some(seen) = deployments.next().await {
            seen.iter().for_each(|seen| written.deployment(seen));
        }
    });
    let hpas = Api::<HorizontalPodAutoscaler>::namespaced(cluster.admin(), namespace);
    let mut hpas = watcher(hpas, only)
        .default_backoff()
        .applied_objects()
        .boxed();
    let written = Arc::clone(kept);
    tasks.spawn(async move {
        while let Some(seen) = hpas.next().await {
            seen.iter().for_each(|seen| written.hpa(seen));
        }
    });
    let pods = Api::<Pod>::namespaced(cluster.admin(), namespace);
    let mut pods = watcher(pods, of_app).default_backoff().boxed();
    let written = Arc::clone(kept);
    tasks.spawn(async move {
        while let Some(seen) = pods.next().await {
            match seen {
                Ok(watcher::Event::Apply(pod) | watcher::Event::InitApply(pod)) => {
                    written.pod(&pod, false);
                }
                Ok(watcher::Event::Delete(pod)) => written.pod(&pod, true),
                // Errors are those of an API server that is away: the watcher tries again.
                Ok(watcher::Event::Init | watcher::Event::InitDone) | Err(_) => {}
            }
        }
    });
    tasks
}

/// A Service whose address is given by hand.
fn objects() -> Value {
    let service = json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": NAME},
        "spec": {"ports": [{"name": "https", "port": 443}]},
    });
    let endpoints = json!({
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": NAME, "labels": {"kubernetes.io/service-name": NAME}},
        "addressType": "IPv4",
        "ports": [{"name": "https", "port": 443}],
        "endpoints": [{"addresses": [ADDRESS], "conditions": {"ready": true}}],
    });
    json!({"apiVersion": "v1", "kind": "List", "items": [service, endpoints]})
}
