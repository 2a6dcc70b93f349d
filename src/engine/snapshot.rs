//! Every metric at one instant: immutable, shared by all requests until the next one replaces it.
//!
//! Quantiles are computed when they are read, from the merged buckets, so any quantile may be asked for and several
//! services may be asked for at once. What cannot be known is absent, with a sentence that says why; the sentence ends
//! up in the HPA's condition and events, so it names the service and the cause, and no address.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use crate::model::health::{Failure, FailureReason};
use crate::model::id::ServiceId;
use crate::model::selector::Selector;
use crate::model::time::Timestamp;

use super::layout::Layout;
use super::{Objective, enough_requests};

mod latency;
mod pods;
mod value;

pub use latency::Quantile;
pub use pods::{PodItem, PodView, Pods};
pub use value::{Item, Metric, Refusal};

/// Every service at one instant.
#[derive(Debug, Default)]
pub struct Snapshot {
    at: Timestamp,
    namespaces: HashMap<Arc<str>, Namespace>,
}

/// One namespace's services, in the order of their names, and by name: nearly every read names its service.
#[derive(Debug, Default)]
struct Namespace {
    services: Vec<ServiceView>,
    by_name: HashMap<Arc<str>, usize>,
}

/// One service at one instant.
#[derive(Clone, Debug)]
pub struct ServiceView {
    /// Which.
    pub id: ServiceId,
    /// What its users were promised.
    pub objective: Option<Objective>,
    /// When the oldest of the reads behind it was made.
    pub at: Timestamp,
    /// How much of it is known.
    pub state: State,
    /// How many of its targets are.
    pub coverage: Coverage,
    /// The base window, then wider ones while requests are few. Empty when nothing is known of its requests.
    pub windows: Vec<Merged>,
    /// Mean requests in flight over the window, and by how many they rose from its start to its end.
    pub in_flight: Option<(f64, f64)>,
    /// Items waiting.
    pub backlogs: Vec<BacklogView>,
    /// Its pods one by one, where that is wanted.
    pub pods: Vec<PodView>,
}

/// How much is known of a service's requests. The state decides what is served.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum State {
    /// Every target is known.
    Ok,
    /// All targets answer, and there was no request in the window: rate 0, latency 0. That is knowledge.
    NoTraffic,
    /// A few targets are unknown; what is served comes from the others.
    Partial {
        /// Targets that are known.
        known: u32,
        /// Targets that should be.
        of: u32,
    },
    /// Nothing is served. Why, as a clause that follows "because".
    Unknown(String),
}

/// A service's targets, counted by how they stand.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Coverage {
    /// Read lately, and twice within the window.
    pub known: u32,
    /// New, and not read twice yet.
    pub starting: u32,
    /// Should be known and are not.
    pub unknown: u32,
    /// Never ready so far: nothing of them counts, and nothing of them is missing.
    pub not_ready: u32,
    /// Told to end and still answering: they count as the known ones do, and none is missing when it goes silent.
    pub leaving: u32,
    /// Of those that count, how many have just begun: their latencies count only where there are too few others.
    pub cold: u32,
    /// Targets whose newest read failed, by reason.
    pub failures: BTreeMap<FailureReason, u32>,
}

/// What all known targets together answered within one window.
#[derive(Clone, PartialEq, Debug)]
pub struct Merged {
    /// How wide.
    pub window: Duration,
    /// Requests answered, extended to the window's edges.
    pub requests: f64,
    /// Those of them that are in `counts`: all but those of targets that are still cold.
    pub judged: f64,
    /// Seconds spent on them, summed over requests; absent where a target does not say.
    pub busy_s: Option<f64>,
    /// CPU seconds used; absent where a target does not say.
    pub cpu_s: Option<f64>,
    /// Upper bounds in seconds, common to all targets.
    pub bounds: Layout,
    /// Cumulative requests, one for each of `bounds`.
    pub counts: Vec<f64>,
    /// How many different bucket layouts went into it.
    pub layouts: usize,
}

/// What was answered within a window, and what is being answered.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Load {
    /// How wide.
    pub window: Duration,
    /// Requests answered, extended to the window's edges.
    pub requests: f64,
    /// Seconds spent on them, summed over requests; absent where a target does not say.
    pub busy_s: Option<f64>,
    /// Mean requests in flight over the window, and by how many they rose from its start to its end.
    pub in_flight: Option<(f64, f64)>,
}

/// Items waiting under one key.
#[derive(Clone, PartialEq, Debug)]
pub struct BacklogView {
    /// The `key` label.
    pub key: Arc<str>,
    /// How many, or why that is unknown.
    pub items: Result<f64, Failure>,
}

// === impl Snapshot ===

impl Snapshot {
    /// A snapshot of `services` at `at`.
    pub fn new(at: Timestamp, mut services: Vec<ServiceView>) -> Self {
        services.sort_by(|a, b| a.id.cmp(&b.id));
        let mut namespaces: HashMap<Arc<str>, Namespace> = HashMap::new();
        for service in services {
            let namespace = namespaces
                .entry(Arc::clone(&service.id.namespace))
                .or_default();
            namespace
                .by_name
                .insert(Arc::clone(&service.id.name), namespace.services.len());
            namespace.services.push(service);
        }
        Self { at, namespaces }
    }

    /// When it was made. A reader must not serve one that is too old: the HPA trusts any number, however stale.
    pub fn at(&self) -> Timestamp {
        self.at
    }

    /// Every service, in the order of namespace and name.
    pub fn services(&self) -> impl Iterator<Item = &ServiceView> {
        let mut namespaces: Vec<_> = self.namespaces.iter().collect();
        namespaces.sort_by_key(|(name, _)| *name);
        namespaces
            .into_iter()
            .flat_map(|(_, namespace)| &namespace.services)
    }

    /// One service.
    pub fn service(&self, namespace: &str, name: &str) -> Option<&ServiceView> {
        let namespace = self.namespaces.get(namespace)?;
        namespace.services.get(*namespace.by_name.get(name)?)
    }

    /// The items of `metric` in `namespace` that `selector` selects: what one request of the HPA is answered with.
    ///
    /// # Errors
    /// A [`Refusal`] instead of a number that nobody knows: an unknown metric, nothing selected, a value that is
    /// absent, or a question with more than one answer.
    pub fn read(
        &self,
        namespace: &str,
        metric: &str,
        selector: &Selector,
    ) -> Result<Vec<Item>, Refusal> {
        let Some(metric) = Metric::from_name(metric) else {
            return Err(Refusal::unknown_metric(metric, namespace));
        };
        let Some(services) = self.namespaces.get(namespace) else {
            return Err(Refusal::nothing_selected(
                metric,
                namespace,
                "the namespace has no RequestMetrics",
            ));
        };
        value::read(metric, namespace, services.named_by(selector), selector)
    }
}

impl Namespace {
    /// The services that `selector` can select: the one it names, which saves looking at all of them, or all.
    fn named_by(&self, selector: &Selector) -> &[ServiceView] {
        match selector.only("service") {
            Some(name) => self
                .by_name
                .get(name)
                .map_or(&[], |i| &self.services[*i..=*i]),
            None => &self.services,
        }
    }
}

// === impl State ===

impl State {
    /// The state's name in metrics, status and the demo.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::NoTraffic => "no_traffic",
            Self::Partial { .. } => "partial",
            Self::Unknown(_) => "unknown",
        }
    }

    /// The same with no request in the window. A part that is quiet says nothing of the rest, so only a whole can be.
    pub(super) fn without_traffic(self) -> Self {
        if self == Self::Ok {
            Self::NoTraffic
        } else {
            self
        }
    }
}

// === impl Coverage ===

impl Coverage {
    /// All targets.
    pub fn total(&self) -> u32 {
        self.known + self.starting + self.unknown + self.not_ready + self.leaving
    }

    /// Those that count.
    pub(super) fn answering(&self) -> u32 {
        self.known + self.leaving
    }

    /// The failures as `" (2 timeout, 1 refused)"`, or nothing.
    pub fn reasons(&self) -> String {
        if self.failures.is_empty() {
            return String::new();
        }
        let reasons: Vec<String> = self
            .failures
            .iter()
            .map(|(reason, n)| format!("{n} {reason}"))
            .collect();
        format!(" ({})", reasons.join(", "))
    }
}

// === impl Load ===

impl Load {
    /// Requests per second. With an in-flight gauge these are arrivals, which rise under overload when completions
    /// cannot: what was completed, and by how much more was in flight at the window's end than at its start.
    pub fn request_rate(&self) -> f64 {
        let waiting = self.in_flight.map_or(0.0, |(_, rise)| rise);
        ((self.requests + waiting) / self.window.as_secs_f64()).max(0.0)
    }

    /// Mean requests in flight: the gauge, or by Little's law the seconds spent per second.
    pub fn concurrency(&self) -> Option<f64> {
        let by_little = || Some(self.busy_s? / self.window.as_secs_f64());
        self.in_flight.map(|(mean, _)| mean).or_else(by_little)
    }

    /// The mean latency in seconds; zero without requests, as nobody waited.
    pub fn mean_latency_s(&self) -> Option<f64> {
        if self.requests <= 0.0 {
            return Some(0.0);
        }
        Some(self.busy_s? / self.requests)
    }
}

// === impl ServiceView ===

impl ServiceView {
    /// The base window.
    pub fn base(&self) -> Option<&Merged> {
        self.windows.first()
    }

    /// The narrowest window with enough requests for the quantile `q`, else the widest there is.
    pub fn window_for(&self, q: f64) -> Option<&Merged> {
        self.windows
            .iter()
            .find(|merged| enough_requests(merged.judged, q))
            .or(self.windows.last())
    }

    /// Requests per second: see [`Load::request_rate`].
    pub fn request_rate(&self) -> Option<f64> {
        Some(self.load()?.request_rate())
    }

    /// Mean requests in flight: see [`Load::concurrency`].
    pub fn concurrency(&self) -> Option<f64> {
        match self.load() {
            Some(load) => load.concurrency(),
            None => self.in_flight.map(|(mean, _)| mean),
        }
    }

    /// The load of all its targets within the base window.
    fn load(&self) -> Option<Load> {
        let base = self.base()?;
        Some(Load {
            window: base.window,
            requests: base.requests,
            busy_s: base.busy_s,
            in_flight: self.in_flight,
        })
    }

    /// CPU seconds per request over the base window: what a new version may need more of. Whatever else the process
    /// does counts as well, so it says little of a service with few requests.
    pub fn cpu_per_request_s(&self) -> Option<f64> {
        let base = self.base().filter(|base| 0.0 < base.requests)?;
        Some(base.cpu_s? / base.requests)
    }

    /// The latency at the objective's quantile, in seconds, where it is known.
    pub fn objective_latency_s(&self) -> Option<f64> {
        self.latency_s(self.objective?.quantile)
    }

    /// The latency at the quantile `q`, within 0..=1, in seconds, where it is known.
    pub fn latency_s(&self, q: f64) -> Option<f64> {
        self.base()?;
        let latency = latency::latency(&[self], Quantile::Of(q)).ok()?;
        Some(latency.seconds)
    }

    /// What an HPA that selects this service alone gets of `metric`, in the metric's unit: the sum of the items, as it adds
    /// them up. `None` where the read is refused.
    pub fn value(&self, metric: Metric) -> Option<f64> {
        let namespace = &self.id.namespace;
        let this = std::slice::from_ref(self);
        let items = value::read(metric, namespace, this, &Selector::default()).ok()?;
        Some(items.iter().map(|item| item.value).sum())
    }

    /// The nearest bucket bounds below and above the objective, when no bound lies on it: the slow share is then
    /// an estimate. `None` when it is exact, or when there is nothing to say.
    pub fn missing_bound(&self) -> Option<(Option<f64>, Option<f64>)> {
        let latency = self.objective?.latency.as_secs_f64();
        let bounds = &self.base()?.bounds;
        if bounds.is_empty() || bounds.contains(&latency) {
            return None;
        }
        let above = bounds
            .iter()
            .copied()
            .find(|bound| latency < *bound && bound.is_finite());
        Some((
            bounds.iter().copied().rfind(|bound| *bound < latency),
            above,
        ))
    }
}
