//! From a metric's name and a selector to the items of an answer.

use std::sync::Arc;
use std::time::Duration;

use crate::model::selector::{Operator, Requirement, Selector};
use crate::model::time::Timestamp;

use super::latency::{Quantile, latency, slow_share};
use super::{BacklogView, ServiceView, State};

/// What can be read.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Metric {
    /// A quantile of the latency, in milliseconds. Exactly one item, since the HPA adds items up.
    RequestLatencyMs,
    /// Requests per second.
    RequestRate,
    /// Mean requests in flight.
    RequestConcurrency,
    /// The share of requests slower than the objective, 0..=1.
    SlowRequestRatio,
    /// Items waiting under a Redis key.
    RedisBacklog,
}

/// One value of an answer.
#[derive(Clone, PartialEq, Debug)]
pub struct Item {
    /// The series' labels, in the order of their keys.
    pub labels: Vec<(&'static str, Arc<str>)>,
    /// When the oldest read behind it was made.
    pub at: Timestamp,
    /// The window it is of; zero for what is of an instant.
    pub window: Duration,
    /// Finite and at least zero.
    pub value: f64,
}

/// Why there is no answer. Each is a sentence for whoever reads the HPA's events.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such metric, or nothing that the selector selects.
    NotFound(String),
    /// There is such a service, and its value is not known now.
    Absent(String),
    /// The question has more than one answer.
    Ambiguous(String),
}

// === impl Metric ===

impl Metric {
    /// Every metric, in the order of their names.
    pub const ALL: [Self; 5] = [
        Self::RedisBacklog,
        Self::RequestConcurrency,
        Self::RequestLatencyMs,
        Self::RequestRate,
        Self::SlowRequestRatio,
    ];

    /// The name in the URL: lower case, as the HPA asks for nothing else.
    pub fn name(self) -> &'static str {
        match self {
            Self::RequestLatencyMs => "request_latency_ms",
            Self::RequestRate => "request_rate",
            Self::RequestConcurrency => "request_concurrency",
            Self::SlowRequestRatio => "slow_request_ratio",
            Self::RedisBacklog => "redis_backlog",
        }
    }

    /// The metric of a name. The HPA lower-cases what its object says, so case does not matter.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|metric| metric.name().eq_ignore_ascii_case(name))
    }

    /// The labels of its items, sorted; a selector on any other never matches.
    pub fn labels(self) -> &'static [&'static str] {
        match self {
            Self::RequestLatencyMs => &["quantile", "service"],
            Self::RedisBacklog => &["key", "service"],
            _ => &["service"],
        }
    }
}

// === impl Refusal ===

impl Refusal {
    pub(super) fn unknown_metric(name: &str, namespace: &str) -> Self {
        let known: Vec<&str> = Metric::ALL.iter().map(|metric| metric.name()).collect();
        Self::NotFound(format!(
            "there is no metric {name:?} in namespace {namespace}; there are {}",
            known.join(", ")
        ))
    }

    pub(super) fn nothing_selected(metric: Metric, namespace: &str, why: &str) -> Self {
        Self::NotFound(format!(
            "{} in namespace {namespace} selects nothing: {why}",
            metric.name()
        ))
    }

    fn absent(metric: Metric, service: &ServiceView, why: &str) -> Self {
        Self::Absent(format!(
            "{} of service {} is not known, because {why}",
            metric.name(),
            service.id
        ))
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        match self {
            Self::NotFound(message) | Self::Absent(message) | Self::Ambiguous(message) => message,
        }
    }
}

/// Reads `metric` of those of `services` that `selector` selects.
pub(super) fn read(
    metric: Metric,
    namespace: &str,
    services: &[ServiceView],
    selector: &Selector,
) -> Result<Vec<Item>, Refusal> {
    let selected: Vec<&ServiceView> = services
        .iter()
        .filter(|service| selects(selector, metric, service))
        .collect();
    if selected.is_empty() {
        return Err(Refusal::nothing_selected(
            metric,
            namespace,
            "no RequestMetrics of that name and labels",
        ));
    }
    match metric {
        Metric::RequestLatencyMs => {
            read_latency(namespace, &selected, selector).map(|item| vec![item])
        }
        Metric::RedisBacklog => read_backlogs(namespace, &selected, selector),
        Metric::RequestRate => each(metric, &selected, |service| Ok(service.request_rate())),
        Metric::RequestConcurrency => each(metric, &selected, |service| Ok(service.concurrency())),
        Metric::SlowRequestRatio => {
            each(metric, &selected, |service| slow_share(service).map(Some))
        }
    }
}

/// Whether `selector` selects a service; what it says of the metric's other labels is for the items.
pub(super) fn selects(selector: &Selector, metric: Metric, service: &ServiceView) -> bool {
    let is_own = |key: &str| key != "service" && metric.labels().contains(&key);
    let mut of_service = selector
        .requirements()
        .iter()
        .filter(|requirement| !is_own(&requirement.key));
    of_service.all(|requirement| {
        requirement.matches((requirement.key == "service").then_some(service.id.name.as_ref()))
    })
}

/// One item a service. One absent value makes the whole answer absent: the HPA would take the rest for the sum.
fn each(
    metric: Metric,
    services: &[&ServiceView],
    value: impl Fn(&ServiceView) -> Result<Option<f64>, String>,
) -> Result<Vec<Item>, Refusal> {
    let item = |service: &ServiceView| {
        let absent = |why: &str| Refusal::absent(metric, service, why);
        let base = known(metric, service)?;
        let value = value(service)
            .map_err(|why| absent(&why))?
            .filter(|value| value.is_finite());
        let value = value.ok_or_else(|| absent("its targets do not report what it is made of"))?;
        let labels = vec![("service", Arc::clone(&service.id.name))];
        Ok(Item {
            labels,
            at: service.at,
            window: base,
            value: value.max(0.0),
        })
    };
    services.iter().map(|service| item(service)).collect()
}

/// The base window of a service whose requests are known.
fn known(metric: Metric, service: &ServiceView) -> Result<Duration, Refusal> {
    if let State::Unknown(why) = &service.state {
        return Err(Refusal::absent(metric, service, why));
    }
    let base = service
        .base()
        .ok_or_else(|| Refusal::absent(metric, service, "its source reads no requests"))?;
    Ok(base.window)
}

fn read_latency(
    namespace: &str,
    services: &[&ServiceView],
    selector: &Selector,
) -> Result<Item, Refusal> {
    let metric = Metric::RequestLatencyMs;
    let label = quantile_asked_for(services, selector)?;
    if !selector
        .requirements()
        .iter()
        .filter(|r| r.key == "quantile")
        .all(|r| r.matches(Some(&label)))
    {
        return Err(Refusal::nothing_selected(
            metric,
            namespace,
            "its items have the label quantile, and no item has what was asked",
        ));
    }
    let Some(quantile) = Quantile::from_label(&label) else {
        return Err(Refusal::nothing_selected(
            metric,
            namespace,
            "quantile must be a number from 0 to 1, such as 0.95, or mean",
        ));
    };
    for service in services {
        known(metric, service)?;
    }
    let latency =
        latency(services, quantile).map_err(|why| Refusal::absent(metric, services[0], &why))?;
    let value = latency.seconds * 1000.0;
    if !value.is_finite() || value < 0.0 {
        return Err(Refusal::absent(
            metric,
            services[0],
            "its buckets yield no usable number",
        ));
    }
    let mut labels = vec![("quantile", label)];
    if let [service] = services {
        labels.push(("service", Arc::clone(&service.id.name)));
    }
    let at = services
        .iter()
        .map(|service| service.at)
        .min()
        .unwrap_or_default();
    Ok(Item {
        labels,
        at,
        window: latency.window,
        value,
    })
}

/// The quantile's label: the one the selector names, else the objectives'.
fn quantile_asked_for(services: &[&ServiceView], selector: &Selector) -> Result<Arc<str>, Refusal> {
    let ambiguous = |why: String| {
        Err(Refusal::Ambiguous(format!(
            "request_latency_ms has one value at a time: {why}"
        )))
    };
    for requirement in selector
        .requirements()
        .iter()
        .filter(|requirement| requirement.key == "quantile")
    {
        match &requirement.operator {
            Operator::In(values) if values.len() == 1 => return Ok(values[0].as_str().into()),
            Operator::In(values) => {
                return ambiguous(format!("select one quantile of {}", values.join(", ")));
            }
            _ => {}
        }
    }
    let mut objectives: Vec<f64> = Vec::new();
    for service in services {
        let Some(objective) = service.objective else {
            return ambiguous(format!(
                "select a quantile, since RequestMetrics {} has no objective",
                service.id
            ));
        };
        objectives.push(objective.quantile);
    }
    objectives.dedup();
    match objectives.as_slice() {
        [q] => Ok(q.to_string().into()),
        _ => ambiguous(format!(
            "select a quantile, since the {} services have different objectives",
            services.len()
        )),
    }
}

fn read_backlogs(
    namespace: &str,
    services: &[&ServiceView],
    selector: &Selector,
) -> Result<Vec<Item>, Refusal> {
    let metric = Metric::RedisBacklog;
    let of_key: Vec<&Requirement> = selector
        .requirements()
        .iter()
        .filter(|r| r.key == "key")
        .collect();
    let selected: Vec<(&ServiceView, &BacklogView)> = services
        .iter()
        .flat_map(|service| service.backlogs.iter().map(|backlog| (*service, backlog)))
        .filter(|(_, backlog)| of_key.iter().all(|r| r.matches(Some(&backlog.key))))
        .collect();
    // One absent item makes the whole answer absent, so whoever reads several should know how to read the others.
    let advice = if 1 < selected.len() {
        "; the other keys can be read one by one: select a key"
    } else {
        ""
    };
    let item = |(service, backlog): &(&ServiceView, &BacklogView)| {
        let absent = |why: &str| {
            let why = format!("key {}: {why}{advice}", backlog.key);
            Refusal::absent(metric, service, &why)
        };
        // The sentence is about the key alone: what fails with an address fails for the whole target, not here.
        let value = backlog
            .items
            .as_ref()
            .map_err(|failure| absent(&failure.message))?;
        let value = Some(*value)
            .filter(|items| items.is_finite() && 0.0 <= *items)
            .ok_or_else(|| absent("not a count"))?;
        let labels = vec![
            ("key", Arc::clone(&backlog.key)),
            ("service", Arc::clone(&service.id.name)),
        ];
        Ok(Item {
            labels,
            at: service.at,
            window: Duration::ZERO,
            value,
        })
    };
    if !selected.is_empty() {
        return selected.iter().map(item).collect();
    }
    match services.iter().find_map(|service| service.unread_backlog()) {
        Some((service, why)) => Err(Refusal::absent(metric, service, &why)),
        None => Err(Refusal::nothing_selected(
            metric,
            namespace,
            "no such key is read",
        )),
    }
}

impl ServiceView {
    /// A service none of whose backlogs were read, and why: its Redis server may be down from the start.
    fn unread_backlog(&self) -> Option<(&Self, String)> {
        let unread =
            self.backlogs.is_empty() && self.coverage.known == 0 && 0 < self.coverage.total();
        unread.then(|| {
            (
                self,
                format!(
                    "nothing was read from its targets{}",
                    self.coverage.reasons()
                ),
            )
        })
    }
}
