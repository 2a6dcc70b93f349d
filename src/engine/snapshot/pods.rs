//! Metrics of single pods, and one value for many items: what an HPA asks `custom.metrics.k8s.io` for.
//!
//! Of a pod only what costs little is known: its requests and the seconds spent on them, no buckets. A pod of which
//! nothing is known is left out rather than refused: an HPA knows which pods there are, and takes a missing one for
//! idle when it would add pods and for busy when it would remove some.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;

use crate::model::pod::Pod;
use crate::model::selector::{Operator, Selector};
use crate::model::time::Timestamp;

use super::value::selects;
use super::{Item, Load, Metric, Refusal, ServiceView, Snapshot};

/// One pod at one instant.
#[derive(Clone, PartialEq, Debug)]
pub struct PodView {
    /// Which.
    pub pod: Pod,
    /// When it was read.
    pub at: Timestamp,
    /// What it answered in the base window.
    pub load: Load,
}

/// Which pods are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Pods<'a> {
    /// The one of this name.
    Named(&'a str),
    /// Those with such labels.
    Matching(&'a Selector),
}

/// A value of a pod.
#[derive(Clone, PartialEq, Debug)]
pub struct PodItem {
    /// The pod's name.
    pub name: Arc<str>,
    /// Its value.
    pub item: Item,
}

impl Metric {
    /// What is known of single pods, in the order of their names.
    pub const OF_PODS: [Self; 3] = [
        Self::RequestConcurrency,
        Self::RequestLatencyMs,
        Self::RequestRate,
    ];

    /// Whether the values of several services or keys make one when they are added.
    fn adds_up(self) -> bool {
        match self {
            Self::RequestRate | Self::RequestConcurrency | Self::RedisBacklog => true,
            Self::RequestLatencyMs | Self::SlowRequestRatio => false,
        }
    }
}

impl Snapshot {
    /// `metric` of those of `pods` that services selected by `series` read, in the order of their names. No name is in
    /// it twice.
    ///
    /// # Errors
    /// A [`Refusal`]: a metric that is not known of single pods, no pod of which anything is known, or one that two
    /// services read.
    pub fn read_pods(
        &self,
        namespace: &str,
        metric: &str,
        pods: Pods<'_>,
        series: &Selector,
    ) -> Result<Vec<PodItem>, Refusal> {
        let Some(metric) = Metric::from_name(metric) else {
            return Err(Refusal::unknown_metric(metric, namespace));
        };
        is_of_pods(metric, series)?;
        let services = self.namespaces.get(namespace);
        let services = services.map_or(&[][..], |services| services.named_by(series));
        let services = services
            .iter()
            .filter(|service| selects(series, metric, service));
        let mut found: BTreeMap<&Arc<str>, (&ServiceView, &PodView)> = BTreeMap::new();
        for service in services {
            for view in service.pods.iter().filter(|view| pods.include(&view.pod)) {
                match found.entry(&view.pod.name) {
                    Entry::Vacant(place) => {
                        place.insert((service, view));
                    }
                    Entry::Occupied(first) => {
                        let (one, other) = (&first.get().0.id, &service.id);
                        return Err(Refusal::Ambiguous(format!(
                            "pod {} is read for RequestMetrics {one} and {other}: select one with the metric's \
                             selector, such as service={}",
                            view.pod.name, one.name
                        )));
                    }
                }
            }
        }
        if found.is_empty() {
            return Err(Refusal::NotFound(format!(
                "{} in namespace {namespace} is known of no such pod: pods must be selected by a RequestMetrics, be \
                 Ready, and have been read twice",
                metric.name()
            )));
        }
        let items: Vec<PodItem> = found
            .into_values()
            .filter_map(|(service, view)| view.item(metric, service))
            .collect();
        if items.is_empty() {
            return Err(Refusal::Absent(format!(
                "{} in namespace {namespace} is not known of any such pod, because they do not report what it is made of",
                metric.name()
            )));
        }
        Ok(items)
    }

    /// The one value of `metric` for all that `selector` selects: items of a rate or a count are added, as an HPA adds
    /// them when it reads an external metric.
    ///
    /// # Errors
    /// As [`Self::read`] has, and when there are several items that cannot be added.
    pub fn read_one(
        &self,
        namespace: &str,
        metric: &str,
        selector: &Selector,
    ) -> Result<Item, Refusal> {
        let items = self.read(namespace, metric, selector)?;
        let adds_up = Metric::from_name(metric).is_some_and(Metric::adds_up);
        let n = items.len();
        items
            .into_iter()
            .reduce(|sum, item| Item {
                labels: Vec::new(),
                at: sum.at.min(item.at),
                window: sum.window.max(item.window),
                value: sum.value + item.value,
            })
            .filter(|_| n == 1 || adds_up)
            .ok_or_else(|| {
                Refusal::Ambiguous(format!(
                    "{metric} in namespace {namespace} has {n} values, which cannot be added: select a service"
                ))
            })
    }
}

/// Whether `metric` is known of single pods, as `series` wants it.
fn is_of_pods(metric: Metric, series: &Selector) -> Result<(), Refusal> {
    if !Metric::OF_PODS.contains(&metric) {
        return Err(Refusal::NotFound(format!(
            "{0} is not known of single pods, only of their service: read requestmetrics.taffrail.dev/NAME/{0}",
            metric.name()
        )));
    }
    let is_mean = |values: &Vec<String>| values.iter().all(|value| value == "mean");
    let asks_for_mean = series
        .requirements()
        .iter()
        .any(|r| r.key == "quantile" && matches!(&r.operator, Operator::In(v) if is_mean(v)));
    if metric == Metric::RequestLatencyMs && !asks_for_mean {
        return Err(Refusal::Ambiguous(
            "request_latency_ms of single pods is known as their mean only: select quantile=mean, or read a quantile \
             of their service: requestmetrics.taffrail.dev/NAME/request_latency_ms"
                .to_owned(),
        ));
    }
    Ok(())
}

impl Pods<'_> {
    fn include(&self, pod: &Pod) -> bool {
        match self {
            Self::Named(name) => *pod.name == **name,
            Self::Matching(selector) => {
                selector.matches(|key| pod.labels.get(key).map(String::as_str))
            }
        }
    }
}

impl PodView {
    fn item(&self, metric: Metric, service: &ServiceView) -> Option<PodItem> {
        let value = match metric {
            Metric::RequestRate => Some(self.load.request_rate()),
            Metric::RequestConcurrency => self.load.concurrency(),
            Metric::RequestLatencyMs => self.load.mean_latency_s().map(|seconds| seconds * 1000.0),
            Metric::SlowRequestRatio | Metric::RedisBacklog => None,
        };
        let value = value.filter(|value| value.is_finite() && 0.0 <= *value)?;
        Some(PodItem {
            name: Arc::clone(&self.pod.name),
            item: Item {
                labels: vec![("service", Arc::clone(&service.id.name))],
                at: self.at,
                window: self.load.window,
                value,
            },
        })
    }
}
