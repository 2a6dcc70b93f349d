//! The shadow of an HPA that has CPU alone: what would have been, beside what was.

use std::collections::BTreeMap;

use crate::hpa::{Autoscaler, MetricSpec, Observation, Phase, Pod, Readiness, ReadyStatus, Spec};
use crate::model::time::Timestamp;

use super::scaler::per_pod;

/// The shadow.
pub(super) struct Shadow {
    hpa: Autoscaler,
    cpu_request_milli: i64,
    replicas: u32,
}

impl Shadow {
    /// The shadow of an HPA whose pods request so much CPU.
    pub(super) fn new(spec: &Spec, cpu_request_milli: i64) -> Self {
        let is_resource = |metric: &&MetricSpec| matches!(metric, MetricSpec::Resource { .. });
        let metrics = spec.metrics.iter().filter(is_resource).cloned().collect();
        let replicas = u32::try_from(spec.min_replicas).unwrap_or(1);
        let hpa = Autoscaler::new(Spec {
            metrics,
            ..spec.clone()
        });
        Self {
            hpa,
            cpu_request_milli,
            replicas,
        }
    }

    /// How many pods it would have.
    pub(super) fn replicas(&self) -> u32 {
        self.replicas
    }

    /// One sync. The shadow sees the same CPU demand, spread over the pods it would have. That favours it: with fewer
    /// pods less would be answered, and less CPU be used.
    pub(super) fn sync(&mut self, now: Timestamp, demand_milli: f64) {
        let replicas = self.replicas;
        let share = demand_milli / f64::from(replicas.max(1));
        let used: BTreeMap<String, f64> =
            (0..replicas).map(|i| (format!("pod-{i}"), share)).collect();
        let long_ago = Timestamp::from_ms(-3_600_000);
        let pod = |name: &String| Pod {
            name: name.clone(),
            phase: Phase::Running,
            deleted: false,
            started: Some(long_ago),
            readiness: Some(Readiness {
                status: ReadyStatus::True,
                since: long_ago,
            }),
            requests: [("cpu".to_owned(), self.cpu_request_milli)].into(),
            container_requests: [].into(),
        };
        let observed = Observation {
            spec_replicas: replicas as i32,
            status_replicas: replicas as i32,
            pods: used.keys().map(pod).collect(),
            answers: vec![Ok(per_pod(&used, now))],
        };
        let desired = self.hpa.reconcile(now, &observed).desired;
        self.replicas = u32::try_from(desired).unwrap_or(replicas);
    }
}
