//! The verdict over a [`Recording`](crate::recording::Recording): each check with its value, its limit, how exactly it
//! could be told, and a sentence. Pure: the same recording gives the same verdict, today and in a year.
//!
//! A check *fails* only on what was seen. Where the experiment itself was not valid, because the load was not delivered
//! or nobody looked, the verdict is *inconclusive*, which is neither.

pub mod threshold;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What came of one check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// The check's name with what tells it from others of its kind, as `slo_recovery_time[high]`. It holds no measured
    /// number, so that a history of runs can follow it.
    pub name: String,
    /// The service it is about; empty when it is about the run.
    pub service: String,
    /// What it belongs to.
    pub group: Group,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the limit lies within the resolution of the value: a pass that might have been none.
    pub marginal: bool,
    /// What was found, in `unit`; `None` when it never happened or could not be told.
    pub value: Option<f64>,
    /// What was wanted, as it would be written: `<= 150 s`, `2 to 4`.
    pub limit: String,
    /// The unit of `value`: `s`, `ms`, `pods`, or empty for a ratio or a count.
    pub unit: String,
    /// How exactly `value` could be told, in `unit`.
    pub resolution: f64,
    /// The stretch of the run that it is about, in seconds, for a report to mark.
    pub from_s: Option<f64>,
    /// Its end.
    pub to_s: Option<f64>,
    /// The whole of it in one sentence for people.
    pub sentence: String,
}

/// What a check belongs to, in the order of reports.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// How soon something happened.
    Reaction,
    /// Whether users were served well.
    Slo,
    /// How many replicas there were.
    Bounds,
    /// How steady they were.
    Stability,
    /// What they cost.
    Cost,
    /// How the metric and the controller did.
    Health,
    /// A threshold in k6's words.
    Threshold,
    /// Whether the experiment itself was sound.
    Validity,
    /// Against an earlier run.
    Baseline,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It holds.
    Pass,
    /// It does not.
    Fail,
    /// It could not be told, because the experiment was not valid there.
    Inconclusive,
    /// It has nothing to say about this run.
    Skipped,
}
