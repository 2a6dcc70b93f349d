//! The HPA controller as it is: the real arithmetic, given what its reads would have been answered with. CPU is what
//! metrics-server would say: used between its last two looks at a pod, so a pod that it saw once has none.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::hpa::{
    Answer, Autoscaler, Decision, MetricSpec, Observation, ResourceTarget, Target, Usage,
};
use crate::model::selector::{Operator, Requirement, Selector};
use crate::model::time::Timestamp;

use super::adapter::{Adapter, Answered};
use super::pod::Pod;
use super::{Hpa, NANOS_PER_S, timestamp};

/// How often the controller syncs: its `--horizontal-pod-autoscaler-sync-period`.
pub(super) const SYNC_PERIOD: i64 = crate::hpa::SYNC_PERIOD.as_nanos() as i64;

/// How often metrics-server looks at the pods: its `--metric-resolution`.
pub(super) const CPU_PERIOD: i64 = 15 * NANOS_PER_S;

/// The label by which a metric of pods finds those of a service.
pub(super) const APP_LABEL: &str = "app";

/// An HPA, and the pods' CPU as it can be read.
#[derive(Debug)]
pub(super) struct Scaler {
    namespace: String,
    /// What selects the service's pods.
    pods: Selector,
    selectors: Vec<Selector>,
    hpa: Autoscaler,
    /// CPU seconds of each pod at metrics-server's last look.
    looked: BTreeMap<u32, (i64, f64)>,
    /// What each pod uses, by its name, and what it requests.
    usage: BTreeMap<Arc<str>, (Usage, i64)>,
}

/// One read of a metric, in its target's unit.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Reading {
    pub(super) value: Result<f64, String>,
    /// How old it is, in seconds.
    pub(super) age_s: Option<f64>,
}

impl Scaler {
    pub(super) fn new(hpa: &Hpa, app: &str) -> Self {
        let is_app = Requirement {
            key: APP_LABEL.to_owned(),
            operator: Operator::In(vec![app.to_owned()]),
        };
        Self {
            namespace: hpa.namespace.clone(),
            pods: Selector::new(vec![is_app]),
            selectors: hpa.selectors.clone(),
            hpa: Autoscaler::new(hpa.spec.clone()),
            looked: BTreeMap::new(),
            usage: BTreeMap::new(),
        }
    }

    /// metrics-server looks at the pods, of which `numbers` are the service's.
    pub(super) fn measure(&mut self, pods: &[Pod], numbers: &[u32], now: i64) {
        let before = std::mem::take(&mut self.looked);
        self.usage.clear();
        for number in numbers {
            let pod = &pods[*number as usize];
            self.looked.insert(*number, (now, pod.cpu_s));
            let Some((then, cpu_s)) = before.get(number).copied() else {
                continue;
            };
            let window = Duration::from_nanos((now - then) as u64);
            let milli = ((pod.cpu_s - cpu_s) / window.as_secs_f64() * 1000.0).round() as i64;
            let usage = Usage {
                milli,
                at: timestamp(now),
                window,
            };
            self.usage
                .insert(Arc::clone(&pod.name), (usage, pod.cpu_request_milli));
        }
    }

    /// One sync: reads every metric, and decides.
    pub(super) fn sync(
        &mut self,
        adapter: &Adapter,
        pods: &[Pod],
        numbers: &[u32],
        spec_replicas: u32,
        now: i64,
    ) -> Decision {
        let metrics = self.hpa.spec().metrics.iter().zip(&self.selectors);
        let answers = metrics
            .map(|(metric, selector)| self.answer(adapter, metric, selector, now))
            .collect();
        let active = numbers
            .iter()
            .filter(|number| pods[**number as usize].is_active())
            .count();
        let observed = Observation {
            spec_replicas: i32::try_from(spec_replicas).unwrap_or(i32::MAX),
            status_replicas: i32::try_from(active).unwrap_or(i32::MAX),
            pods: numbers
                .iter()
                .map(|number| pods[*number as usize].observed())
                .collect(),
            answers,
        };
        self.hpa.reconcile(timestamp(now), &observed)
    }

    fn answer(
        &self,
        adapter: &Adapter,
        metric: &MetricSpec,
        selector: &Selector,
        now: i64,
    ) -> Result<Answer, String> {
        match metric {
            MetricSpec::External { metric, .. } => {
                let answered = adapter.external(&self.namespace, metric, selector, now)?;
                Ok(Answer::Values(
                    answered.items.into_iter().map(|(_, milli)| milli).collect(),
                ))
            }
            MetricSpec::Pods { metric, .. } => {
                let answered = adapter.of_pods(&self.namespace, metric, &self.pods, now)?;
                Ok(Answer::PerPod(per_pod(&answered, timestamp(now))))
            }
            MetricSpec::Object { .. } => Err("metrics of objects are not simulated".to_owned()),
            MetricSpec::Resource { resource, .. } if resource != "cpu" => {
                Err(format!("{resource} is not simulated"))
            }
            MetricSpec::Resource { .. } if self.usage.is_empty() => {
                Err("no metrics returned from resource metrics API".to_owned())
            }
            MetricSpec::Resource { .. } => {
                let used = self
                    .usage
                    .iter()
                    .map(|(name, (usage, _))| (name.to_string(), *usage));
                Ok(Answer::PerPod(used.collect()))
            }
        }
    }

    /// What whoever watches the run reads of each metric, in the order of the spec; `replicas` are those there are.
    pub(super) fn look(&self, adapter: &Adapter, replicas: u32, now: i64) -> Vec<Reading> {
        let metrics = self.hpa.spec().metrics.iter().zip(&self.selectors);
        metrics
            .map(|(metric, selector)| self.read(adapter, metric, selector, replicas, now))
            .collect()
    }

    fn read(
        &self,
        adapter: &Adapter,
        metric: &MetricSpec,
        selector: &Selector,
        replicas: u32,
        now: i64,
    ) -> Reading {
        let answered = match metric {
            MetricSpec::External { metric, .. } => {
                adapter.external(&self.namespace, metric, selector, now)
            }
            MetricSpec::Pods { metric, .. } => {
                adapter.of_pods(&self.namespace, metric, &self.pods, now)
            }
            _ => return self.read_cpu(metric, now),
        };
        let answered = match answered {
            Ok(answered) => answered,
            Err(said) => {
                return Reading {
                    value: Err(said),
                    age_s: None,
                };
            }
        };
        let total: i64 = answered.items.iter().map(|(_, milli)| milli).sum();
        let over = match metric {
            MetricSpec::External {
                target: Target::AverageValue(_),
                ..
            } => replicas.max(1),
            MetricSpec::Pods { .. } => answered.items.len().max(1) as u32,
            _ => 1,
        };
        Reading {
            value: Ok(total as f64 / 1000.0 / f64::from(over)),
            age_s: Some(answered.age as f64 / NANOS_PER_S as f64),
        }
    }

    /// The mean over the pods that have a usage: per cent of what they request, or cores.
    fn read_cpu(&self, metric: &MetricSpec, now: i64) -> Reading {
        let count = self.usage.len() as f64;
        let used: i64 = self.usage.values().map(|(usage, _)| usage.milli).sum();
        let requested: i64 = self.usage.values().map(|(_, request)| request).sum();
        let value = match metric {
            MetricSpec::Resource {
                resource, target, ..
            } if resource == "cpu" && 0.0 < count => Ok(match target {
                ResourceTarget::Utilization(_) => used as f64 / requested.max(1) as f64 * 100.0,
                ResourceTarget::AverageValue(_) => used as f64 / count / 1000.0,
            }),
            MetricSpec::Resource { resource, .. } if resource == "cpu" => {
                Err("no metrics returned from resource metrics API".to_owned())
            }
            other => Err(format!("{other} is not simulated")),
        };
        let newest = self.usage.values().map(|(usage, _)| usage.at).max();
        let age_s = newest
            .map(|at| timestamp(now).since(at).as_secs_f64())
            .filter(|_| value.is_ok());
        Reading { value, age_s }
    }
}

fn per_pod(answered: &Answered, now: Timestamp) -> BTreeMap<String, Usage> {
    let usage = |milli| Usage {
        milli,
        at: now,
        window: Duration::ZERO,
    };
    let of_pods = answered
        .items
        .iter()
        .filter_map(|(name, milli)| Some((name.as_ref()?.to_string(), usage(*milli))));
    of_pods.collect()
}
