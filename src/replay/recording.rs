//! A recording of one HPA's life as it lies in a file: what it read, the pods there were, and what it did.
//!
//! This is the format alone; [`super::syncs`] finds the decisions in it. Unknown keys are passed over.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use crate::config::autoscaler::{self, SpecError};
use crate::hpa::Spec;
use crate::model::time::Timestamp;

/// One recorded HPA.
#[derive(Debug, Deserialize)]
pub struct Recording {
    /// The HPA's spec as applied.
    pub hpa: Value,
    /// `spec.replicas` before the HPA's first sync.
    pub initial_replicas: i32,
    /// What each pod requests of CPU.
    pub cpu_request: Option<String>,
    /// Each metric that was read.
    pub reads: Vec<Read>,
    /// Each pod that ever was.
    pub pods: Vec<PodLife>,
    /// Each change of the target's replicas.
    pub replicas: Vec<Replicas>,
    /// Each change of the HPA's status.
    #[serde(default)]
    pub status: Vec<Status>,
    /// What others did to the HPA and its target.
    #[serde(default)]
    pub acted: Vec<Act>,
}

/// Seconds since the recording's start; negative before it.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Deserialize)]
pub struct Seconds(f64);

/// A metric that was read.
#[derive(Debug, Deserialize)]
pub struct Read {
    /// When it was answered.
    pub t: Seconds,
    /// The metric's name; `cpu` and `memory` are of `metrics.k8s.io`.
    pub metric: String,
    /// What was served: null for a 404, `"err"` for a 500, a list for several items.
    #[serde(default)]
    pub value: Value,
    /// What was served for each pod.
    #[serde(default)]
    pub pods: BTreeMap<String, Value>,
}

/// A pod's life.
#[derive(Debug, Deserialize)]
pub struct PodLife {
    /// Its name.
    pub name: String,
    /// When it was created.
    pub created: Seconds,
    /// When it started.
    pub start: Option<Seconds>,
    /// When it became ready.
    pub ready: Option<Seconds>,
    /// When it was deleted.
    pub gone: Option<Seconds>,
}

/// The target's replicas from some time on.
#[derive(Debug, Deserialize)]
pub struct Replicas {
    /// From when.
    pub t: Seconds,
    /// How many are wanted.
    pub spec: i32,
    /// How many there are.
    pub status: i32,
}

/// The HPA's status from some time on.
#[derive(Debug, Deserialize)]
pub struct Status {
    /// From when.
    pub t: Seconds,
    /// By type: status and reason.
    #[serde(default)]
    pub conditions: BTreeMap<String, (String, String)>,
}

/// Something that was done from outside.
#[derive(Debug, Deserialize)]
pub struct Act {
    /// When.
    pub t: Seconds,
    /// The replicas that somebody set.
    pub scale: Option<i32>,
    /// What somebody patched the HPA's spec with.
    pub hpa: Option<Value>,
}

// === impl Recording ===

impl Recording {
    /// Reads a recording, and puts each of its lists in order of time.
    ///
    /// # Errors
    ///
    /// Text that is no recording, with line and column.
    pub fn parse(text: &str) -> Result<Self, serde_json::Error> {
        let mut recording: Self = serde_json::from_str(text)?;
        recording.reads.sort_by_key(|read| read.t.timestamp());
        recording
            .replicas
            .sort_by_key(|replicas| replicas.t.timestamp());
        recording.status.sort_by_key(|status| status.t.timestamp());
        recording.acted.sort_by_key(|act| act.t.timestamp());
        Ok(recording)
    }

    /// The spec that holds from each time on; the first from the beginning.
    ///
    /// # Errors
    ///
    /// A spec that no HPA could have.
    pub fn specs(&self) -> Result<Vec<(Timestamp, Spec)>, SpecError> {
        let mut object = self.hpa.clone();
        let mut specs = vec![(
            Timestamp::from_ms(i64::MIN),
            autoscaler::from_value(&object)?,
        )];
        for act in &self.acted {
            if let Some(patch) = &act.hpa {
                merge(&mut object, patch);
                specs.push((act.t.timestamp(), autoscaler::from_value(&object)?));
            }
        }
        Ok(specs)
    }

    /// Wanted and present replicas just before `t`.
    pub fn replicas_before(&self, t: Timestamp) -> (i32, i32) {
        let before = self
            .replicas
            .iter()
            .take_while(|replicas| replicas.t.timestamp() < t);
        before
            .last()
            .map_or((self.initial_replicas, self.initial_replicas), |last| {
                (last.spec, last.status)
            })
    }
}

/// Applies a JSON merge patch (RFC 7386).
fn merge(target: &mut Value, patch: &Value) {
    let (Value::Object(target), Value::Object(patch)) = (&mut *target, patch) else {
        target.clone_from(patch);
        return;
    };
    for (key, value) in patch {
        if value.is_null() {
            target.remove(key);
        } else {
            merge(target.entry(key).or_insert(Value::Null), value);
        }
    }
}

// === impl Seconds ===

impl Seconds {
    /// To the millisecond, which is as fine as recordings are.
    pub fn timestamp(self) -> Timestamp {
        Timestamp::from_ms((self.0 * 1000.0).round() as i64)
    }
}
