//! What is told of syncs that are made here, and properties of every number that is told.

mod headlines;
mod properties;
mod prospects;
mod warnings;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::hpa::{
    Answer, Autoscaler, Behavior, MetricSpec, Observation, Phase, Pod, Readiness, ReadyStatus,
    ResourceTarget, Rules, SYNC_PERIOD, Spec, Target, Usage,
};
use crate::model::time::Timestamp;

use super::facts::{ScaleTarget, Way};
use super::*;

/// The time of the first sync, far enough from zero to have a past.
const START: Timestamp = Timestamp::from_ms(1_800_000_000_000);

/// What each pod requests, in thousandths of a CPU.
const REQUEST: i64 = 500;

/// An HPA that is watched from its start on, and what it saw.
#[derive(Clone, Debug)]
struct Watched {
    spec: Spec,
    replicas: i32,
    /// Pods that are not ready, of those there are.
    unready: usize,
    now: Timestamp,
    seen: Vec<(Timestamp, Observation, i32)>,
}

/// What one metric reads.
#[derive(Clone, Copy, Debug)]
enum Read {
    /// A total in thousandths.
    Total(i64),
    /// The same for every pod: per cent of its request.
    Percent(i64),
    /// The same for every pod, in thousandths.
    Each(i64),
    /// Nothing.
    Absent,
}

impl Watched {
    fn new(spec: Spec, replicas: i32) -> Self {
        Self {
            spec,
            replicas,
            unready: 0,
            now: START,
            seen: Vec::new(),
        }
    }

    fn observe(&self, reads: &[Read]) -> Observation {
        let pods: Vec<Pod> = (0..self.replicas.unsigned_abs() as usize)
            .map(|index| pod(index, index + self.unready < self.replicas as usize))
            .collect();
        let answer = |read: &Read| match read {
            Read::Total(milli) => Ok(Answer::Values(vec![*milli])),
            Read::Percent(percent) => Ok(per_pod(&pods, percent * REQUEST / 100, self.now)),
            Read::Each(milli) => Ok(per_pod(&pods, *milli, self.now)),
            Read::Absent => Err("no samples of users".to_owned()),
        };
        Observation {
            spec_replicas: self.replicas,
            status_replicas: self.replicas,
            answers: reads.iter().map(answer).collect(),
            pods,
        }
    }

    /// Syncs, and scales as decided.
    fn sync(&mut self, reads: &[Read]) -> Facts {
        let observed = self.observe(reads);
        let mut autoscaler = self.autoscaler();
        let memory = autoscaler.memory().clone();
        let decision = autoscaler.reconcile(self.now, &observed);
        let target = ScaleTarget {
            kind: "Deployment".to_owned(),
            name: "users".to_owned(),
        };
        let mut facts = Facts::new(
            ("shop", "users", target),
            &self.spec,
            &observed,
            Some(memory),
            &decision,
        );
        for metric in &mut facts.metrics {
            if metric.name == "request_latency_ms" {
                metric.selector = "quantile=0.95,service=users".to_owned();
            }
        }
        self.replicas = decision.desired;
        self.seen.push((self.now, observed, decision.desired));
        self.now = self.now + SYNC_PERIOD;
        facts
    }

    /// The HPA as it is after everything it saw, made anew from that.
    fn autoscaler(&self) -> Autoscaler {
        let mut autoscaler = Autoscaler::new(self.spec.clone());
        for (at, observed, desired) in &self.seen {
            assert_eq!(autoscaler.reconcile(*at, observed).desired, *desired);
        }
        autoscaler
    }
}

fn pod(index: usize, ready: bool) -> Pod {
    let since = START - Duration::from_secs(3600);
    Pod {
        name: format!("users-{index:03}"),
        phase: Phase::Running,
        deleted: false,
        started: Some(since),
        readiness: Some(Readiness {
            status: if ready {
                ReadyStatus::True
            } else {
                ReadyStatus::False
            },
            since: if ready { since } else { START },
        }),
        requests: BTreeMap::from([("cpu".to_owned(), REQUEST)]),
        container_requests: BTreeMap::new(),
    }
}

fn per_pod(pods: &[Pod], milli: i64, at: Timestamp) -> Answer {
    let window = Duration::from_secs(30);
    let usage = pods
        .iter()
        .map(|pod| (pod.name.clone(), Usage { milli, at, window }));
    Answer::PerPod(usage.collect())
}

/// A latency's quantile in milliseconds against 250.
fn latency() -> MetricSpec {
    MetricSpec::External {
        metric: "request_latency_ms".to_owned(),
        target: Target::Value(250_000),
    }
}

/// Requests per second against 80 for each replica.
fn rate() -> MetricSpec {
    MetricSpec::External {
        metric: "request_rate".to_owned(),
        target: Target::AverageValue(80_000),
    }
}

/// CPU against 70 % of the requests.
fn cpu() -> MetricSpec {
    MetricSpec::Resource {
        resource: "cpu".to_owned(),
        container: None,
        target: ResourceTarget::Utilization(70),
    }
}

/// 2 to 12 replicas by these metrics, with the default rules of `behavior`.
fn spec(metrics: &[MetricSpec]) -> Spec {
    Spec {
        min_replicas: 2,
        max_replicas: 12,
        metrics: metrics.to_vec(),
        behavior: Some(Behavior::default()),
    }
}

/// `ms` milliseconds of latency.
fn ms(ms: i64) -> Read {
    Read::Total(ms * 1000)
}

fn headline(facts: &Facts) -> String {
    Explanation::new(facts).headline
}

fn prospects(facts: &Facts) -> Vec<String> {
    let changes = Explanation::new(facts).changes;
    changes.into_iter().map(|change| change.text).collect()
}
