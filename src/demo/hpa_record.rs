//! What the demo's HPA read, saw and decided, sync by sync, as a recording that `taffrail replay` takes. The recording is
//! made of the syncs alone: what came and went between two of them, an HPA does not see.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::hpa::{Answer, MetricSpec, ReadyStatus};
use crate::model::quantity;
use crate::model::time::Timestamp;

use super::scaler::{Decided, SYNC_PERIOD};

/// A moment just before another one: times of a recording are milliseconds.
const JUST_BEFORE_MS: i64 = 1;

/// The recording so far. Its keys are those that [`crate::replay::recording`] reads; times are in seconds of the HPA's
/// clock.
#[derive(Debug, Serialize)]
pub(super) struct HpaRecord {
    name: String,
    sync_period_seconds: u64,
    hpa: Value,
    initial_replicas: i32,
    cpu_request: String,
    /// The window that the CPU of pods was measured over, once it was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_window_seconds: Option<f64>,
    reads: Vec<Read>,
    pods: Vec<PodLife>,
    replicas: Vec<Replicas>,
    status: Vec<Status>,
}

#[derive(Debug, Serialize)]
struct Read {
    t: f64,
    metric: String,
    /// The items of an external metric as quantities; `null` where it could not be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    value: Option<Option<Vec<String>>>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pods: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
struct PodLife {
    name: String,
    created: f64,
    start: Option<f64>,
    ready: Option<f64>,
    gone: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Replicas {
    t: f64,
    spec: i32,
    status: i32,
}

#[derive(Debug, Serialize)]
struct Status {
    t: f64,
    conditions: BTreeMap<String, (&'static str, String)>,
}

impl HpaRecord {
    /// The recording of the HPA `object`, whose target has `replicas` pods that request so much CPU each.
    pub(super) fn new(object: &Value, replicas: u32, cpu_request_milli: i64) -> Self {
        Self {
            name: "demo".to_owned(),
            sync_period_seconds: SYNC_PERIOD.as_secs(),
            hpa: object.clone(),
            initial_replicas: i32::try_from(replicas).unwrap_or(i32::MAX),
            cpu_request: quantity::from_milli(cpu_request_milli),
            usage_window_seconds: None,
            reads: Vec::new(),
            pods: Vec::new(),
            replicas: Vec::new(),
            status: Vec::new(),
        }
    }

    /// Takes in a sync at `now` of an HPA with these metrics.
    pub(super) fn sync(&mut self, now: Timestamp, metrics: &[MetricSpec], decided: &Decided) {
        let (observed, decision) = (&decided.observed, &decided.decision);
        let t = now.seconds();
        let window = observed.answers.iter().flatten().find_map(usage_window);
        self.usage_window_seconds = self.usage_window_seconds.or(window);
        let answers = metrics.iter().zip(&observed.answers);
        self.reads
            .extend(answers.map(|(metric, answer)| read(t, metric, answer.as_ref().ok())));
        self.see_pods(now, decided);
        let before = (now.ms() - JUST_BEFORE_MS) as f64 / 1000.0;
        self.see_replicas(before, observed.spec_replicas, observed.status_replicas);
        self.see_replicas(t, decision.desired, observed.status_replicas);
        let conditions = decision.conditions.iter().map(|(type_, condition)| {
            let status = if condition.status { "True" } else { "False" };
            (type_.to_owned(), (status, condition.reason.to_string()))
        });
        self.status.push(Status {
            t,
            conditions: conditions.collect(),
        });
    }

    /// A pod that was told to end is there until it has: an HPA counts it among the ready ones until then.
    fn see_pods(&mut self, now: Timestamp, decided: &Decided) {
        let seen = &decided.observed.pods;
        for life in &mut self.pods {
            if life.gone.is_none() && !seen.iter().any(|pod| pod.name == life.name) {
                life.gone = Some(now.seconds());
            }
        }
        for pod in seen {
            let known = self.pods.iter().position(|life| life.name == pod.name);
            let known = known.unwrap_or_else(|| {
                let started = pod.started.map(Timestamp::seconds);
                self.pods.push(PodLife {
                    name: pod.name.clone(),
                    created: started.unwrap_or(now.seconds()),
                    start: started,
                    ready: None,
                    gone: None,
                });
                self.pods.len() - 1
            });
            let readiness = pod.readiness.as_ref();
            if let Some(readiness) =
                readiness.filter(|readiness| readiness.status == ReadyStatus::True)
            {
                self.pods[known].ready = Some(readiness.since.seconds());
            }
        }
    }

    /// Notes what is wanted and what there is, where it is not what it was.
    fn see_replicas(&mut self, t: f64, spec: i32, status: i32) {
        let last = self.replicas.last();
        let last = last.map_or((self.initial_replicas, self.initial_replicas), |last| {
            (last.spec, last.status)
        });
        if last != (spec, status) {
            self.replicas.push(Replicas { t, spec, status });
        }
    }
}

fn usage_window(answer: &Answer) -> Option<f64> {
    match answer {
        Answer::Values(_) => None,
        Answer::PerPod(pods) => pods.values().next().map(|usage| usage.window.as_secs_f64()),
    }
}

fn read(t: f64, metric: &MetricSpec, answer: Option<&Answer>) -> Read {
    let quantity = |milli: &i64| quantity::from_milli(*milli);
    let mut read = Read {
        t,
        metric: metric.name().to_owned(),
        value: None,
        pods: BTreeMap::new(),
    };
    match answer {
        Some(Answer::Values(items)) => {
            read.value = Some(Some(items.iter().map(quantity).collect()));
        }
        Some(Answer::PerPod(pods)) => {
            let used = pods.iter();
            read.pods = used
                .map(|(name, usage)| (name.clone(), quantity(&usage.milli)))
                .collect();
        }
        None => read.value = Some(None),
    }
    read
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::hpa::{Autoscaler, Observation, Phase, Pod, Readiness};
    use crate::replay::compare::{RecordedConditions, compare};
    use crate::replay::recording::Recording;

    /// A pod that became ready at `ready_s`.
    fn pod(nth: i32, ready_s: i64) -> Pod {
        let at = |s: i64| Timestamp::from_ms(s * 1000);
        Pod {
            name: format!("users-{nth}"),
            phase: Phase::Running,
            deleted: false,
            started: Some(at(ready_s - 4)),
            readiness: Some(Readiness {
                status: ReadyStatus::True,
                since: at(ready_s),
            }),
            requests: [("cpu".to_owned(), 500)].into(),
            container_requests: [].into(),
        }
    }

    /// The first two are old; the others were started by the decision after 30 s, and by the one after 60 s.
    fn ready_at(nth: i32) -> i64 {
        match nth {
            0 | 1 => -60,
            2 | 3 => 40,
            _ => 70,
        }
    }

    #[test]
    fn a_replay_of_what_was_recorded_decides_the_same_for_the_same_reasons() {
        let object = json!({"spec": {"minReplicas": 2, "maxReplicas": 8, "metrics": [{"type": "External", "external": {
            "metric": {"name": "request_latency_ms"}, "target": {"type": "Value", "value": "250"}}}]}});
        let spec = crate::config::autoscaler::from_value(&object).unwrap();
        let mut hpa = Autoscaler::new(spec.clone());
        let mut record = HpaRecord::new(&object, 2, 500);
        let (mut replicas, mut decisions) = (2, Vec::new());
        let milli = [
            Some(100_000),
            Some(600_000),
            None,
            Some(700_000),
            Some(10_000),
        ];
        for (nth, milli) in (0..).zip(milli) {
            let now = Timestamp::from_ms(15_007 * (nth + 1));
            let answer = milli.map(|milli| Answer::Values(vec![milli]));
            let observed = Observation {
                spec_replicas: replicas,
                status_replicas: replicas,
                pods: (0..replicas).map(|nth| pod(nth, ready_at(nth))).collect(),
                answers: vec![answer.ok_or_else(|| "nothing is known".to_owned())],
            };
            let decision = hpa.reconcile(now, &observed);
            replicas = decision.desired;
            decisions.push(decision.desired);
            let decided = Decided {
                replicas: u32::try_from(decision.desired).unwrap(),
                metric: None,
                proposals: Vec::new(),
                observed,
                decision,
            };
            record.sync(now, &spec.metrics, &decided);
        }
        assert!(
            2 < decisions[1] && decisions[1] < decisions[3],
            "{decisions:?}"
        );

        let text = serde_json::to_string(&record).unwrap();
        let verdicts = compare(&Recording::parse(&text).unwrap()).unwrap();
        let replayed: Vec<i32> = verdicts
            .iter()
            .map(|verdict| verdict.decision.desired)
            .collect();
        assert_eq!(replayed, decisions, "{text}");
        for verdict in verdicts {
            assert_eq!(verdict.agrees(), Some(true), "{verdict:?}");
            assert_eq!(verdict.conditions, RecordedConditions::Same, "{verdict:?}");
        }
    }
}
