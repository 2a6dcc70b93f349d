//! Facts to an explanation: everything that is told of one sync, in order.

use serde::Serialize;

use super::facts::{Facts, Way};
use super::outlook::Prospect;
use super::reasons::{Hold, Step, Told, holds, value};
use super::warnings::{Warning, WarningId};
use super::whatif::changes;
use super::words::{self, count};

use crate::hpa::Exclusion;

/// Most pods that are named in a sentence.
const NAMED_MAX: usize = 5;

/// Why an HPA has the replicas it has, what would change that, and what else to know.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// The answer in one sentence, without its full stop.
    pub headline: String,
    /// When the replicas were last changed, and by what, where that was seen.
    pub since: Option<String>,
    /// A line for each metric, in the spec's order.
    pub metrics: Vec<MetricLine>,
    /// From the proposals to the replicas, step by step. Empty where no metric decided.
    pub steps: Vec<Step>,
    /// How many pods there are, and which of them count less than others.
    pub pods: Vec<String>,
    /// What would change the replicas.
    pub changes: Vec<Prospect>,
    /// What else to know.
    pub warnings: Vec<Warning>,
}

/// One metric.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricLine {
    /// What it is called in sentences.
    pub label: String,
    /// Whether its proposal won.
    pub won: bool,
    /// Its value as it is compared with the target; `None` where it has none.
    pub value: Option<String>,
    /// Its target.
    pub target: String,
    /// Value over target.
    pub ratio: Option<String>,
    /// What it asks for.
    pub asks: String,
    /// How much is known of the value, and how old it is, where the adapter says so.
    pub known: Option<String>,
    /// Its whole name, with its selector.
    pub source: String,
}

/// What makes one explanation another than the one before, for somebody who watches: not the numbers, but the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cause {
    replicas: i32,
    way: Way,
    winner: Option<usize>,
    holds: Vec<Hold>,
    unread: Vec<bool>,
    /// What keeps the HPA from its target or its pods, in Kubernetes' word.
    refused: Option<String>,
    parted: bool,
    warnings: Vec<WarningId>,
}

impl Explanation {
    /// What there is to tell of `facts`.
    pub fn new(facts: &Facts) -> Self {
        let labels = words::labels(facts);
        let told = Told {
            facts,
            labels: &labels,
        };
        Self {
            headline: told.headline(),
            since: told.since(),
            metrics: told.lines(),
            steps: told.steps(),
            pods: told.pods(),
            changes: told.prospects(changes(facts)),
            warnings: told.warnings(),
        }
    }
}

impl Cause {
    /// The cause of what `facts` have.
    pub fn of(facts: &Facts) -> Self {
        let labels = words::labels(facts);
        let told = Told {
            facts,
            labels: &labels,
        };
        let warnings = told.warnings();
        let real = facts.real.as_ref();
        let refused = real.and_then(|real| real.failure("AbleToScale").or(real.refused_selector()));
        Self {
            refused: refused.map(|condition| condition.reason.clone()),
            replicas: facts.replicas(),
            way: facts.outcome.way,
            winner: facts.outcome.winner,
            holds: holds(facts),
            unread: facts
                .metrics
                .iter()
                .map(|metric| metric.error.is_some())
                .collect(),
            parted: real.is_some_and(|real| real.parted.is_some()),
            warnings: warnings.into_iter().map(|warning| warning.id).collect(),
        }
    }
}

impl Told<'_> {
    fn lines(self) -> Vec<MetricLine> {
        let facts = self.facts;
        let metrics = facts
            .spec
            .metrics
            .iter()
            .zip(&facts.metrics)
            .zip(self.labels);
        let lines = metrics.enumerate().map(|(index, ((spec, metric), label))| {
            let asks = match (metric.proposed_replicas, &metric.error) {
                (Some(_), _) if metric.within_tolerance => "no change".to_owned(),
                (Some(replicas), _) => replicas.max(0).to_string(),
                (None, Some(error)) => error.clone(),
                (None, None) => "was not read".to_owned(),
            };
            let age = metric
                .age
                .map(|age| format!("{:.0} s old", age.as_secs_f64()));
            let known: Vec<String> = metric.state.iter().cloned().chain(age).collect();
            let name = spec.to_string();
            MetricLine {
                label: label.clone(),
                won: facts.outcome.winner == Some(index),
                value: value(spec, metric),
                target: words::target(spec),
                ratio: metric
                    .ratio
                    .map(|ratio| words::ratio(ratio, facts.spec.tolerances())),
                asks,
                known: (!known.is_empty()).then(|| known.join(", ")),
                source: if metric.selector.is_empty() {
                    name
                } else {
                    format!("{name}{{{}}}", metric.selector)
                },
            }
        });
        lines.collect()
    }

    /// How many pods there are, then for each metric those that it does not count as they are.
    fn pods(self) -> Vec<String> {
        let facts = self.facts;
        let of = count(i64::try_from(facts.pods.len()).unwrap_or(i64::MAX), "pod");
        let mut lines = vec![format!("{of}, {} ready", facts.ready_pods())];
        for (label, metric) in self.labels.iter().zip(&facts.metrics) {
            for why in [
                Exclusion::NotReady,
                Exclusion::Starting,
                Exclusion::Missing,
                Exclusion::Leaving,
            ] {
                let pods = metric.excluded.iter().filter(|pod| pod.why == why);
                let names: Vec<&str> = pods.map(|pod| pod.pod.as_str()).collect();
                if !names.is_empty() {
                    lines.push(format!("{label} {} {}", excluded(why), listed(&names)));
                }
            }
        }
        lines
    }
}

/// What becomes of pods that a metric excludes, as what stands between the metric and their names.
fn excluded(why: Exclusion) -> &'static str {
    match why {
        Exclusion::NotReady => "multiplies ready pods only; these are not ready:",
        Exclusion::Starting => {
            "leaves out pods that are starting, and where pods are added takes them for idle:"
        }
        Exclusion::Missing => {
            "has no value of some pods, and takes them for on target where pods are removed and for idle where they are \
             added:"
        }
        Exclusion::Leaving => "leaves out pods that are ending or have failed:",
    }
}

/// Names, as many as fit a sentence.
fn listed(names: &[&str]) -> String {
    let shown = names
        .iter()
        .take(NAMED_MAX)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}
