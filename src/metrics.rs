//! What Taffrail says of itself.
//!
//! Names are those of the ecosystem where it has some (`apiserver_request_total`,
//! `metrics_apiserver_metric_freshness_seconds`, `process_*`), so that existing dashboards work. Labels come from fixed
//! sets, from configured services, or from the HPAs that are watched, never from a request.

mod asked;
mod auth;
mod collect;
mod files;
mod process;
mod shadow;

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use tokio::sync::watch;

use crate::engine::Ingested;
use crate::engine::snapshot::Snapshot;
use crate::model::health::FailureReason;
use crate::model::id::{ServiceId, TargetId};
use crate::model::reading::Batch;

pub use self::asked::Autoscaler;

/// The media type of [`Metrics::text`].
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything counted.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Family<Request, Counter>,
    request_seconds: Family<Read, Histogram, Seconds>,
    reads_in_flight: Gauge,
    freshness: Family<Group, Histogram, Freshness>,
    read_seconds: Family<Service, Histogram, Seconds>,
    read_errors: Family<Failed, Counter>,
    bad_lines: Family<Service, Counter>,
    series: Family<Outcome, Counter>,
    auth: auth::Auth,
    delegate_requests: Family<Verdict, Counter>,
    delegate_seconds: Histogram,
    files: files::Files,
    apiservice_ours: Family<ApiService, Gauge>,
    watch_restarts: Family<Resource, Counter>,
    watch_synced: Family<Resource, Gauge>,
    held: Family<Resource, Gauge>,
    wrong: Family<Resource, Gauge>,
    status_writes: Family<Verdict, Counter>,
    shadow: shadow::Shadow,
    asked: Arc<asked::Asked>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Request {
    group: &'static str,
    version: &'static str,
    resource: &'static str,
    verb: &'static str,
    code: u16,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Read {
    resource: &'static str,
    verb: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Group {
    group: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Service {
    namespace: Arc<str>,
    service: Arc<str>,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Failed {
    namespace: Arc<str>,
    service: Arc<str>,
    reason: Reason,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Reason(FailureReason);

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Unauthenticated {
    reason: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Verdict {
    result: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct ApiService {
    apiservice: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Resource {
    resource: &'static str,
}

#[derive(Clone, PartialEq, Eq, Hash, Debug, EncodeLabelSet)]
struct Build {
    version: &'static str,
}

/// From a tenth of a millisecond, which a read from memory takes, to the 10 s that nothing here may last.
#[derive(Clone, Debug)]
struct Seconds;

impl MetricConstructor<Histogram> for Seconds {
    fn new_metric(&self) -> Histogram {
        Histogram::new([
            0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0,
        ])
    }
}

/// The buckets of custom-metrics-apiserver, so that both can be drawn on one panel.
#[derive(Clone, Debug)]
struct Freshness;

impl MetricConstructor<Histogram> for Freshness {
    fn new_metric(&self) -> Histogram {
        Histogram::new(exponential_buckets(1.0, 1.364, 20))
    }
}

impl EncodeLabelValue for Reason {
    fn encode(&self, encoder: &mut LabelValueEncoder) -> Result<(), std::fmt::Error> {
        EncodeLabelValue::encode(&self.0.as_str(), encoder)
    }
}

impl Metrics {
    /// Metrics of a process that serves `snapshots`.
    pub fn new(snapshots: watch::Receiver<Arc<Snapshot>>) -> Self {
        let mut metrics = Self {
            registry: Registry::default(),
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(Seconds),
            reads_in_flight: Gauge::default(),
            freshness: Family::new_with_constructor(Freshness),
            read_seconds: Family::new_with_constructor(Seconds),
            read_errors: Family::default(),
            bad_lines: Family::default(),
            series: Family::default(),
            auth: auth::Auth::default(),
            delegate_requests: Family::default(),
            delegate_seconds: Seconds.new_metric(),
            files: files::Files::default(),
            apiservice_ours: Family::default(),
            watch_restarts: Family::default(),
            watch_synced: Family::default(),
            held: Family::default(),
            wrong: Family::default(),
            status_writes: Family::default(),
            shadow: shadow::Shadow::default(),
            asked: Arc::default(),
        };
        metrics.register(snapshots);
        metrics
    }

    fn register(&mut self, snapshots: watch::Receiver<Arc<Snapshot>>) {
        self.register_api();
        self.register_reads();
        self.files.register(&mut self.registry);
        self.auth.register(&mut self.registry);
        self.register_cluster();
        self.shadow.register(&mut self.registry);
        let r = &mut self.registry;
        r.register_collector(Box::new(collect::Services::new(snapshots)));
        r.register_collector(Box::new(asked::Collected(Arc::clone(&self.asked))));
        r.register_collector(Box::new(process::Process));
        let build = Build {
            version: env!("CARGO_PKG_VERSION"),
        };
        r.register("taffrail_build", "What is running", Info::new(build));
    }

    fn register_api(&mut self) {
        let r = &mut self.registry;
        r.register(
            "apiserver_request",
            "Requests to the API",
            self.requests.clone(),
        );
        r.register(
            "apiserver_request_duration_seconds",
            "Time to answer a request",
            self.request_seconds.clone(),
        );
        // Kubernetes' own servers tell reads from changes by this label, and dashboards sum by it.
        let read_only = ("request_kind".into(), "readOnly".into());
        r.sub_registry_with_label(read_only).register(
            "apiserver_current_inflight_requests",
            "Reads whose answers have not left yet",
            self.reads_in_flight.clone(),
        );
        let help = "Age of the oldest read behind a served value";
        r.register(
            "metrics_apiserver_metric_freshness_seconds",
            help,
            self.freshness.clone(),
        );
        r.register(
            "taffrail_delegate_requests",
            "Reads of metrics that are not ours, by what the delegate made of them",
            self.delegate_requests.clone(),
        );
        r.register(
            "taffrail_delegate_request_duration_seconds",
            "Time the delegate took",
            self.delegate_seconds.clone(),
        );
    }

    fn register_reads(&mut self) {
        let r = &mut self.registry;
        r.register(
            "taffrail_read_duration_seconds",
            "Time to read a target once",
            self.read_seconds.clone(),
        );
        r.register(
            "taffrail_read_errors",
            "Failed reads of targets",
            self.read_errors.clone(),
        );
        r.register(
            "taffrail_bad_lines",
            "Lines of wanted families that could not be read",
            self.bad_lines.clone(),
        );
        r.register(
            "taffrail_series",
            "Series read, by what became of them",
            self.series.clone(),
        );
    }

    fn register_cluster(&mut self) {
        let r = &mut self.registry;
        r.register(
            "taffrail_apiservice_ours",
            "1 while the APIService is known to lead to this adapter",
            self.apiservice_ours.clone(),
        );
        r.register(
            "taffrail_watch_restarts",
            "Complete lists after the first, by resource",
            self.watch_restarts.clone(),
        );
        r.register(
            "taffrail_watch_synced",
            "1 while what is known of the resource is complete and watched",
            self.watch_synced.clone(),
        );
        r.register(
            "taffrail_objects_held",
            "Objects of the cluster that are held, by resource",
            self.held.clone(),
        );
        r.register(
            "taffrail_objects_wrong",
            "Objects whose newest version is wrong, so that an earlier one or none is in force, by resource",
            self.wrong.clone(),
        );
        r.register(
            "taffrail_status_writes",
            "Attempts to write the status of a RequestMetrics object",
            self.status_writes.clone(),
        );
    }

    /// A target was read.
    pub fn read(&self, batch: &Batch, outcome: Ingested) {
        let service = Service::of(&batch.target);
        self.read_seconds
            .get_or_create(&service)
            .observe(batch.took.as_secs_f64());
        if 0 < batch.reading.bad_lines {
            self.bad_lines
                .get_or_create(&service)
                .inc_by(u64::from(batch.reading.bad_lines));
        }
        let outcomes = [
            ("accepted", outcome.accepted),
            ("reset", outcome.resets),
            ("inconsistent", outcome.inconsistent),
            ("relaid", outcome.relaid),
            ("refused", outcome.refused),
            ("over_limit", outcome.over_limit),
        ];
        for (outcome, n) in outcomes {
            self.series
                .get_or_create(&Outcome { outcome })
                .inc_by(u64::from(n));
        }
    }

    /// A target could not be read.
    pub fn failed(&self, target: &TargetId, took: Duration, reason: FailureReason) {
        let Service { namespace, service } = Service::of(target);
        self.read_errors
            .get_or_create(&Failed {
                namespace,
                service,
                reason: Reason(reason),
            })
            .inc();
        self.read_seconds
            .get_or_create(&Service::of(target))
            .observe(took.as_secs_f64());
    }

    /// A request was answered. `group` and `version` are of a fixed set. `resource` is a metric's name, `delegated` for
    /// what the delegate was asked, or empty: a name that nobody serves is no label.
    pub fn request(
        &self,
        (group, version): (&'static str, &'static str),
        resource: &'static str,
        verb: &'static str,
        code: u16,
        took: Duration,
        age: Option<Duration>,
    ) {
        self.requests
            .get_or_create(&Request {
                group,
                version,
                resource,
                verb,
                code,
            })
            .inc();
        self.request_seconds
            .get_or_create(&Read { resource, verb })
            .observe(took.as_secs_f64());
        if let Some(age) = age {
            self.freshness
                .get_or_create(&Group { group })
                .observe(age.as_secs_f64());
        }
    }

    /// A metric that is not ours was asked for. `took` is absent when the delegate was not asked.
    pub fn delegated(&self, result: &'static str, took: Option<Duration>) {
        self.delegate_requests
            .get_or_create(&Verdict { result })
            .inc();
        if let Some(took) = took {
            self.delegate_seconds.observe(took.as_secs_f64());
        }
    }

    /// How many reads have an answer that has not left yet. To be told before [`Metrics::text`].
    pub fn reads_in_flight(&self, reads: usize) {
        self.reads_in_flight
            .set(i64::try_from(reads).unwrap_or(i64::MAX));
    }

    /// Whether the APIService of that name leads here.
    pub fn apiservice_is_ours(&self, apiservice: &'static str, is_ours: bool) {
        self.apiservice_ours
            .get_or_create(&ApiService { apiservice })
            .set(i64::from(is_ours));
    }

    /// A watch began with a complete list again.
    pub fn watch_restarted(&self, resource: &'static str) {
        self.watch_restarts
            .get_or_create(&Resource { resource })
            .inc();
    }

    /// Whether what is known of a resource is complete and watched.
    pub fn watch_synced(&self, resource: &'static str, is_synced: bool) {
        self.watch_synced
            .get_or_create(&Resource { resource })
            .set(i64::from(is_synced));
    }

    /// How much of the cluster is held, and how many of the objects are wrong.
    pub fn discovered(&self, objects: usize, wrong: usize, pods: usize) {
        for (resource, held) in [("requestmetrics", objects), ("pods", pods)] {
            self.held
                .get_or_create(&Resource { resource })
                .set(i64::try_from(held).unwrap_or(i64::MAX));
        }
        self.wrong
            .get_or_create(&Resource {
                resource: "requestmetrics",
            })
            .set(i64::try_from(wrong).unwrap_or(i64::MAX));
    }

    /// The status of an object was written, or why not.
    pub fn status_written(&self, result: &'static str) {
        self.status_writes.get_or_create(&Verdict { result }).inc();
    }

    /// How many HPAs are held.
    pub fn autoscalers_held(&self, autoscalers: usize) {
        self.held
            .get_or_create(&Resource {
                resource: "horizontalpodautoscalers",
            })
            .set(i64::try_from(autoscalers).unwrap_or(i64::MAX));
    }

    /// A service is gone, and its series with it.
    pub fn forget(&self, id: &ServiceId) {
        let service = Service {
            namespace: Arc::clone(&id.namespace),
            service: Arc::clone(&id.name),
        };
        self.read_seconds.remove(&service);
        self.bad_lines.remove(&service);
        for reason in FailureReason::ALL.map(Reason) {
            let Service { namespace, service } = service.clone();
            self.read_errors.remove(&Failed {
                namespace,
                service,
                reason,
            });
        }
    }

    /// Everything as OpenMetrics text.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a string fails only when an encoder does, and ours do not.
        encode(&mut text, &self.registry).unwrap_or_default();
        text
    }
}

impl Verdict {
    fn of(is_success: bool) -> Self {
        let result = if is_success { "success" } else { "failure" };
        Self { result }
    }
}

impl Service {
    fn of(target: &TargetId) -> Self {
        Self {
            namespace: Arc::clone(&target.service.namespace),
            service: Arc::clone(&target.service.name),
        }
    }
}
