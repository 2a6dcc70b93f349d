//! A recording to the syncs in it: what the HPA saw each time, and what it decided.
//!
//! A sync is a run of reads, each soon after the one before, in which no metric is read more often than the HPA has it.
//! A change of replicas without any reads before it is a sync too: beyond its bounds an HPA acts unread.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use super::recording::{PodLife, Read, Recording, RecordingError, Seconds};
use crate::hpa::sync::{DECISION_DELAY, begins_another};
use crate::hpa::{
    Answer, MetricSpec, Observation, Phase, Pod, Readiness, ReadyStatus, Spec, Usage,
};
use crate::model::quantity::parse_milli;
use crate::model::time::Timestamp;

/// How far apart somebody's act and the change it made may be recorded.
const ACT_DELAY: Duration = Duration::from_secs(1);

/// The window over which recorded usages were measured, where the recording does not say.
const USAGE_WINDOW: Duration = Duration::from_secs(30);

/// One sync of a recorded HPA.
#[derive(Debug)]
pub struct Sync<'a> {
    /// When its first metric was read.
    pub began: Timestamp,
    /// When its last metric was read, and it decided.
    pub at: Timestamp,
    /// Its reads; empty when it needed none.
    pub reads: &'a [Read],
    /// The replicas it left.
    pub decided: Decided,
}

/// What a recorded HPA decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// This many replicas.
    Replicas(i32),
    /// Somebody else changed them in between, so that nobody can tell.
    Unclear,
}

/// A change of the replicas that were wanted.
struct Change {
    at: Timestamp,
    to: i32,
    by_others: bool,
}

impl Decided {
    /// The replicas, where that is known.
    pub fn replicas(self) -> Option<i32> {
        match self {
            Self::Replicas(replicas) => Some(replicas),
            Self::Unclear => None,
        }
    }
}

/// The syncs of `recording` in order, given the `specs` it had.
pub fn syncs<'a>(recording: &'a Recording, specs: &[(Timestamp, Spec)]) -> Vec<Sync<'a>> {
    let mut changes = changes(recording);
    let groups = groups(&recording.reads, specs);
    let mut syncs = Vec::new();
    let begins = |reads: &[Read]| reads.first().map(|read| read.t.timestamp());
    for (index, reads) in groups.iter().enumerate() {
        let (Some(began), Some(last)) = (begins(reads), reads.last()) else {
            continue;
        };
        let at = last.t.timestamp();
        let next = groups.get(index + 1).and_then(|reads| begins(reads));
        let until = next.map_or(at + DECISION_DELAY, |next| next.min(at + DECISION_DELAY));
        let own: Vec<Change> = changes
            .extract_if(.., |change| began <= change.at && change.at < until)
            .collect();
        let (current, _) = recording.replicas_before(began);
        syncs.push(Sync {
            began,
            at,
            reads,
            decided: decided(current, &own),
        });
    }
    let unread = changes.iter().filter(|change| !change.by_others);
    syncs.extend(unread.map(|change| Sync {
        began: change.at,
        at: change.at,
        reads: &[],
        decided: Decided::Replicas(change.to),
    }));
    syncs.sort_by_key(|sync| sync.began);
    syncs
}

/// What was decided, given the changes that followed: the first one, for an HPA scales once a sync.
fn decided(current: i32, changes: &[Change]) -> Decided {
    match changes.first() {
        None => Decided::Replicas(current),
        Some(change) if change.by_others => Decided::Unclear,
        Some(change) => Decided::Replicas(change.to),
    }
}

/// The spec that holds at `t`.
pub fn spec_at(specs: &[(Timestamp, Spec)], t: Timestamp) -> Option<&Spec> {
    specs
        .iter()
        .rfind(|(from, _)| *from <= t)
        .map(|(_, spec)| spec)
}

/// Checks that every metric that was read is one of the `specs`: a misspelt name would look like a metric that failed.
///
/// # Errors
///
/// The first read that is of none.
pub fn check_reads(
    recording: &Recording,
    specs: &[(Timestamp, Spec)],
) -> Result<(), RecordingError> {
    let is_known = |read: &Read| {
        let mut metrics = specs.iter().flat_map(|(_, spec)| &spec.metrics);
        metrics.any(|metric| is_named(metric, &read.metric))
    };
    match recording.reads.iter().find(|read| !is_known(read)) {
        None => Ok(()),
        Some(read) => Err(RecordingError::UnknownMetric {
            metric: read.metric.clone(),
            at: read.t.timestamp(),
        }),
    }
}

/// What the HPA saw in `sync`, its pods requesting `request` thousandths of a core each.
pub fn observe(
    recording: &Recording,
    request: Option<i64>,
    spec: &Spec,
    sync: &Sync<'_>,
) -> Observation {
    let (spec_replicas, status_replicas) = recording.replicas_before(sync.began);
    let pods = recording
        .pods
        .iter()
        .filter_map(|life| pod_at(life, request, sync.at));
    Observation {
        spec_replicas,
        status_replicas,
        pods: pods.collect(),
        answers: answers(spec, sync, recording.usage_window().unwrap_or(USAGE_WINDOW)),
    }
}

/// The changes of the wanted replicas, and whose they were.
fn changes(recording: &Recording) -> Vec<Change> {
    let mut current = recording.initial_replicas;
    let mut changes = Vec::new();
    for replicas in &recording.replicas {
        if replicas.spec != current {
            current = replicas.spec;
            let at = replicas.t.timestamp();
            let by_others = recording.acted.iter().any(|act| {
                let acted = act.t.timestamp();
                act.scale == Some(current) && acted.max(at).since(acted.min(at)) <= ACT_DELAY
            });
            changes.push(Change {
                at,
                to: current,
                by_others,
            });
        }
    }
    changes
}

/// The reads, sync by sync.
fn groups<'a>(reads: &'a [Read], specs: &[(Timestamp, Spec)]) -> Vec<&'a [Read]> {
    let mut groups = Vec::new();
    let mut from = 0;
    for (index, read) in reads.iter().enumerate() {
        let group = &reads[from..index];
        let Some(last) = group.last() else { continue };
        let known =
            spec_at(specs, read.t.timestamp()).map_or(0, |spec| times_in(spec, &read.metric));
        let seen = group
            .iter()
            .filter(|earlier| earlier.metric == read.metric)
            .count();
        if begins_another(last.t.timestamp(), read.t.timestamp(), known, seen) {
            groups.push(group);
            from = index;
        }
    }
    groups.push(&reads[from..]);
    groups
}

/// How often an HPA has a metric of this name; with different selectors that may be more than once.
fn times_in(spec: &Spec, name: &str) -> usize {
    spec.metrics
        .iter()
        .filter(|metric| is_named(metric, name))
        .count()
}

/// Whether a read of `name` is of this metric: the HPA asks in lower case.
fn is_named(metric: &MetricSpec, name: &str) -> bool {
    metric.name().eq_ignore_ascii_case(name)
}

/// The pod as it was at `t`, if it was there.
fn pod_at(life: &PodLife, request: Option<i64>, t: Timestamp) -> Option<Pod> {
    let created = life.created.timestamp();
    let gone = life.gone.is_some_and(|gone| gone.timestamp() <= t);
    if gone || t < created {
        return None;
    }
    let reached = |at: Option<Timestamp>| at.filter(|at| *at <= t);
    let started = reached(life.start.map(Seconds::timestamp));
    let ready = reached(life.ready.map(Seconds::timestamp));
    Some(Pod {
        name: life.name.clone(),
        phase: if started.is_some() {
            Phase::Running
        } else {
            Phase::Pending
        },
        deleted: false,
        started,
        readiness: Some(Readiness {
            status: if ready.is_some() {
                ReadyStatus::True
            } else {
                ReadyStatus::False
            },
            since: ready.or(started).unwrap_or(created),
        }),
        requests: request
            .map(|milli| ("cpu".to_owned(), milli))
            .into_iter()
            .collect(),
        container_requests: BTreeMap::new(),
    })
}

/// What the HPA was answered, in the order of its metrics.
/// A read that no metric of `spec` asked for is passed over: just after its spec was patched, an HPA may still read by
/// the one before.
fn answers(spec: &Spec, sync: &Sync<'_>, window: Duration) -> Vec<Result<Answer, String>> {
    let mut unused: Vec<&Read> = sync.reads.iter().collect();
    let answer_for = |metric: &MetricSpec| {
        let found = unused
            .iter()
            .position(|read| is_named(metric, &read.metric));
        let read = unused.remove(found.ok_or("no read of it was recorded")?);
        match metric {
            MetricSpec::External { .. } | MetricSpec::Object { .. } => {
                items(&read.value).map(Answer::Values)
            }
            MetricSpec::Pods { .. } | MetricSpec::Resource { .. } => {
                per_pod(read, window).map(Answer::PerPod)
            }
        }
    };
    spec.metrics.iter().map(answer_for).collect()
}

fn items(value: &Value) -> Result<Vec<i64>, String> {
    match value {
        Value::Null => Err("the metric was not found (404)".to_owned()),
        Value::String(text) if text == "err" => Err("the server failed (500)".to_owned()),
        Value::Array(items) => items.iter().map(milli).collect(),
        item => Ok(vec![milli(item)?]),
    }
}

fn per_pod(read: &Read, window: Duration) -> Result<BTreeMap<String, Usage>, String> {
    if read.value.as_str() == Some("err") {
        return Err("the server failed (500)".to_owned());
    }
    if read.pods.is_empty() {
        return Err("no pods were in the answer".to_owned());
    }
    let at = read.t.timestamp();
    let usage = |(name, value): (&String, &Value)| {
        Ok((
            name.clone(),
            Usage {
                milli: milli(value)?,
                at,
                window,
            },
        ))
    };
    read.pods.iter().map(usage).collect()
}

/// A served value as the HPA's decoder reads it: null is 0, a number is a quantity, and a bad one fails the answer.
fn milli(value: &Value) -> Result<i64, String> {
    let text = match value {
        Value::Null => return Ok(0),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    parse_milli(&text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// A recording of an HPA with the external metrics `names`, read at `reads`.
    fn recording(names: &[&str], reads: &[(f64, &str)], more: &Value) -> Recording {
        let metric = |name| {
            json!({"type": "External", "external": {
                "metric": {"name": name}, "target": {"type": "Value", "value": "1"}}})
        };
        let read = |(t, metric): &(f64, &str)| json!({"t": t, "metric": metric, "value": "1"});
        let mut object = json!({
            "hpa": {"maxReplicas": 9, "metrics": names.iter().map(metric).collect::<Vec<_>>()},
            "initial_replicas": 3,
            "reads": reads.iter().map(read).collect::<Vec<_>>(),
            "pods": [],
            "replicas": [],
        });
        object
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        Recording::parse(&object.to_string()).unwrap()
    }

    /// Each sync: when it decided, how many reads it had, and what it decided.
    fn found(recording: &Recording) -> Vec<(i64, usize, Decided)> {
        let specs = recording.specs().unwrap();
        let syncs = syncs(recording, &specs);
        syncs
            .iter()
            .map(|sync| (sync.at.ms(), sync.reads.len(), sync.decided))
            .collect()
    }

    #[test]
    fn reads_are_of_one_sync_until_one_repeats_or_comes_late() {
        use Decided::Replicas;
        let recording = recording(
            &["a", "b"],
            &[
                (15.0, "a"),
                (15.1, "b"),
                (15.2, "a"),
                (20.2, "b"),
                (30.0, "b"),
            ],
            &json!({}),
        );
        assert_eq!(
            found(&recording),
            [
                (15_100, 2, Replicas(3)),
                (15_200, 1, Replicas(3)),
                (20_200, 1, Replicas(3)),
                (30_000, 1, Replicas(3)),
            ]
        );
    }

    #[test]
    fn a_metric_that_the_hpa_has_twice_is_read_twice() {
        let reads = [(15.0, "a"), (15.1, "a"), (30.0, "a"), (30.1, "a")];
        assert_eq!(found(&recording(&["a", "A"], &reads, &json!({}))).len(), 2);
        assert_eq!(found(&recording(&["a"], &reads, &json!({}))).len(), 4);
    }

    #[test]
    fn a_change_is_of_the_sync_before_it_of_others_or_of_the_bounds() {
        use Decided::{Replicas, Unclear};
        let recording = recording(
            &["a"],
            &[(15.0, "a"), (30.0, "a"), (60.0, "a")],
            &json!({
                "replicas": [
                    {"t": 15.2, "spec": 5, "status": 3},
                    {"t": 17.0, "spec": 6, "status": 5},
                    {"t": 33.0, "spec": 2, "status": 6},
                    {"t": 45.0, "spec": 10, "status": 2},
                    {"t": 46.0, "spec": 9, "status": 10},
                ],
                "acted": [
                    {"t": 16.9, "scale": 6},
                    {"t": 33.0, "scale": 2},
                    {"t": 44.5, "scale": 10},
                ],
            }),
        );
        assert_eq!(
            found(&recording),
            [
                (15_000, 1, Replicas(5)),
                (30_000, 1, Unclear),
                (46_000, 0, Replicas(9)),
                (60_000, 1, Replicas(9)),
            ]
        );
    }

    #[test]
    fn a_pod_is_pending_then_running_then_ready_then_gone() {
        let life: PodLife = serde_json::from_value(
            json!({"name": "p", "created": 1, "start": 2, "ready": 5, "gone": 9}),
        )
        .unwrap();
        let at = |seconds: i64| pod_at(&life, Some(100), Timestamp::from_ms(seconds * 1000));
        let state = |seconds| at(seconds).map(|pod| (pod.phase, pod.is_ready()));
        assert_eq!(state(0), None);
        assert_eq!(state(1), Some((Phase::Pending, false)));
        assert_eq!(state(2), Some((Phase::Running, false)));
        assert_eq!(state(5), Some((Phase::Running, true)));
        assert_eq!(state(9), None);
    }
}
