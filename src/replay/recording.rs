//! A recording of one HPA's life as it lies in a file: what it read, the pods there were, and what it did.
//!
//! This is the format alone; [`super::syncs`] finds the decisions in it. Unknown keys are passed over. The HPA and each
//! patch of it may be a whole object or its `spec` alone, in any mixture.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use thiserror::Error;

use crate::config::autoscaler::{self, SpecError};
use crate::hpa::Spec;
use crate::model::quantity::{QuantityError, parse_milli};
use crate::model::time::Timestamp;

/// One recorded HPA.
#[derive(Debug, Deserialize)]
pub struct Recording {
    /// The HPA as applied: its spec, or the whole object.
    pub hpa: Value,
    /// `spec.replicas` before the HPA's first sync.
    pub initial_replicas: i32,
    /// What each pod requests of CPU, as a quantity.
    pub cpu_request: Option<String>,
    /// The window that usages of pods were measured over; half a minute where it is not said.
    pub usage_window_seconds: Option<Seconds>,
    /// Each metric that was read.
    pub reads: Vec<Read>,
    /// Each pod that ever was.
    pub pods: Vec<PodLife>,
    /// Each change of the target's replicas.
    pub replicas: Vec<Replicas>,
    /// Each change of the HPA's status.
    #[serde(default)]
    pub status: Vec<Status>,
    /// What others did to the HPA and its target, in any order.
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
    /// What somebody patched the HPA with: its spec, or the whole object.
    pub hpa: Option<Value>,
}

/// Why a file cannot be replayed.
#[derive(Debug, Error)]
pub enum RecordingError {
    /// It does not even begin as a recording does.
    #[error(
        "not a recording, which is one JSON object with hpa, initial_replicas, reads, pods and replicas"
    )]
    NotAnObject,
    /// It is no JSON, or lacks something.
    #[error("not a recording")]
    Syntax(#[from] serde_json::Error),
    /// No HPA could have this spec.
    #[error("in {field}")]
    Spec {
        /// Where it lies, as in `acted[0].hpa.spec`.
        field: String,
        /// What is wrong with it.
        source: SpecError,
    },
    /// A patch is of another kind than what it patches.
    #[error("in {field}: must be an object, such as {{\"maxReplicas\": 10}}")]
    Patch {
        /// Where it lies.
        field: String,
    },
    /// `cpu_request` is no quantity.
    #[error("in cpu_request")]
    CpuRequest(#[from] QuantityError),
    /// A metric was read that the HPA never had.
    #[error("in reads: {metric} was read at {at} s, but the HPA never had such a metric")]
    UnknownMetric {
        /// Its name.
        metric: String,
        /// When it was read.
        at: Timestamp,
    },
}

// === impl Recording ===

impl Recording {
    /// Reads a recording, and puts what it saw in order of time.
    ///
    /// # Errors
    ///
    /// Text that is no recording, with line and column.
    pub fn parse(text: &str) -> Result<Self, RecordingError> {
        // Serde would take a list for the fields in order, and speak of our types.
        if !text.trim_start().starts_with('{') {
            return Err(RecordingError::NotAnObject);
        }
        let mut recording: Self = serde_json::from_str(text)?;
        recording.reads.sort_by_key(|read| read.t.timestamp());
        recording
            .replicas
            .sort_by_key(|replicas| replicas.t.timestamp());
        recording.status.sort_by_key(|status| status.t.timestamp());
        Ok(recording)
    }

    /// The spec that holds from each time on; the first from the beginning.
    ///
    /// # Errors
    ///
    /// A spec that no HPA could have, or a patch that makes it one.
    pub fn specs(&self) -> Result<Vec<(Timestamp, Spec)>, RecordingError> {
        let (object, field) = spec_in(&self.hpa, "hpa".to_owned());
        let mut object = object.clone();
        let mut specs = vec![(Timestamp::from_ms(i64::MIN), resolved(&object, field)?)];
        // An error names the place in the file, so places are noted before the patches are put in order of time.
        let patches = self.acted.iter().enumerate();
        let mut patches: Vec<_> = patches
            .filter_map(|(index, act)| Some((act.t.timestamp(), index, act.hpa.as_ref()?)))
            .collect();
        patches.sort_by_key(|(at, ..)| *at);
        for (at, index, patch) in patches {
            let (patch, field) = spec_in(patch, format!("acted[{index}].hpa"));
            if !patch.is_object() {
                return Err(RecordingError::Patch { field });
            }
            merge(&mut object, patch);
            specs.push((at, resolved(&object, field)?));
        }
        Ok(specs)
    }

    /// The window that usages of pods were measured over, if the recording says it and it is one.
    pub fn usage_window(&self) -> Option<Duration> {
        self.usage_window_seconds
            .and_then(|Seconds(seconds)| Duration::try_from_secs_f64(seconds).ok())
    }

    /// What each pod requests of CPU, in thousandths of a core.
    ///
    /// # Errors
    ///
    /// A `cpu_request` that is no quantity.
    pub fn cpu_request_milli(&self) -> Result<Option<i64>, RecordingError> {
        Ok(self.cpu_request.as_deref().map(parse_milli).transpose()?)
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

/// The spec of an HPA or of a patch, which may be the spec already, and the name of the field it lies in.
fn spec_in(object: &Value, field: String) -> (&Value, String) {
    match object.get("spec").filter(|spec| !spec.is_null()) {
        Some(spec) => (spec, format!("{field}.spec")),
        None => (object, field),
    }
}

fn resolved(object: &Value, field: String) -> Result<Spec, RecordingError> {
    autoscaler::from_value(object).map_err(|source| RecordingError::Spec { field, source })
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
