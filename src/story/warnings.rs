//! What somebody should know beside the reason: that more pods will not help, that a value is worth little, that the HPA's
//! rules do here what few expect.

use std::time::Duration;

use serde::Serialize;

use crate::hpa::{Answer, MetricSpec, SYNC_PERIOD, Target};

use super::facts::{MetricFacts, Past, Way};
use super::reasons::{Hold, Told, holds, multiplies_ready_pods, span, value};
use super::words::{self, Unit, count};

/// A value older than this is not what there is now: the HPA looks four times in it.
const AGE_MAX: Duration = Duration::from_secs(60);

/// CPU at less than this share of its target has room: more pods add what is not used.
const IDLE_CPU: f64 = 0.5;

/// So many more ready pods should be seen in a latency that pods can help with: half as many again.
const GROWTH: f64 = 1.5;

/// A latency that fell by less than this share has not fallen.
const FALL: f64 = 0.1;

/// How long the pods must have been ready before the latency is judged: a window of a minute holds no older requests.
const SETTLED: Duration = Duration::from_secs(60);

/// A warning.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// What it is about, for a program.
    pub id: WarningId,
    /// As a sentence without its full stop.
    pub text: String,
}

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum WarningId {
    /// The metrics ask for more than `maxReplicas`.
    AtMax,
    /// The latency is over its target while CPU is idle: the time is spent waiting for something else.
    Downstream,
    /// The latency has not fallen though there are many more pods.
    PodsDoNotHelp,
    /// Fewer pods are ready than there are to be, and the ratio multiplies the ready ones alone.
    FewReady,
    /// A metric has no value, so that nothing is removed.
    NoValue,
    /// A value is old.
    OldValue,
    /// Several items of a latency were added up.
    SummedLatency,
}

impl<'a> Told<'a> {
    /// All warnings.
    pub(super) fn warnings(self) -> Vec<Warning> {
        let metrics = 0..self.facts.metrics.len();
        let mut warnings: Vec<Warning> = [self.at_max(), self.no_value()]
            .into_iter()
            .flatten()
            .collect();
        for metric in metrics {
            let each = [
                self.downstream(metric),
                self.pods_do_not_help(metric),
                self.few_ready(metric),
                self.old_value(metric),
                self.summed_latency(metric),
            ];
            warnings.extend(each.into_iter().flatten());
        }
        warnings
    }

    fn at_max(self) -> Option<Warning> {
        let winner = self.facts.outcome.winner?;
        let asked = self.facts.metrics.get(winner)?.proposed_replicas?;
        let max = self.facts.spec.max_replicas;
        (holds(self.facts).first() == Some(&Hold::Max) && max < asked).then(|| Warning {
            id: WarningId::AtMax,
            text: format!(
                "no more pods will come: maxReplicas is {max}, and {} asks for {asked}; raise maxReplicas, or take load away",
                self.name(winner)
            ),
        })
    }

    fn no_value(self) -> Option<Warning> {
        if self.facts.outcome.way != Way::Metrics {
            return None;
        }
        let unread: Vec<String> = self
            .unread()
            .map(|(label, why)| format!("{label} ({why})"))
            .collect();
        (!unread.is_empty()).then(|| Warning {
            id: WarningId::NoValue,
            text: format!(
                "pods are added as usual, but none is removed while there is no value of {}",
                unread.join(" and ")
            ),
        })
    }

    /// A latency over its target, and CPU far below its own.
    fn downstream(self, metric: usize) -> Option<Warning> {
        let (over, _) = self.latency_over(metric)?;
        let metrics = self.facts.spec.metrics.iter().zip(&self.facts.metrics);
        let is_idle = |facts: &MetricFacts| facts.ratio.is_some_and(|ratio| ratio < IDLE_CPU);
        let (cpu, (cpu_spec, cpu_facts)) = metrics
            .enumerate()
            .find(|(_, (spec, facts))| is_cpu(spec) && is_idle(facts))?;
        let used = value(cpu_spec, cpu_facts)?;
        let text = format!(
            "more pods may not help: {} is {over} while {} is at {used} of {}; requests wait for something that pods do not \
             bring, such as a database, another service or a lock",
            self.name(metric),
            self.name(cpu),
            words::target(cpu_spec)
        );
        Some(Warning {
            id: WarningId::Downstream,
            text,
        })
    }

    /// A latency that is over its target, and was as high with far fewer pods.
    fn pods_do_not_help(self, metric: usize) -> Option<Warning> {
        let (_, spec) = self.latency_over(metric)?;
        let facts = self.facts;
        let now = facts.metrics.get(metric)?.value_milli()?;
        let ready = facts.ready_pods();
        let at_now = |past: &&Past| f64::from(past.ready_pods) * GROWTH <= f64::from(ready);
        // The last sync with far fewer pods; since then they came, and have been ready for a while.
        let before = facts.history.iter().rfind(at_now)?;
        let settled = facts.history.iter().rfind(|past| past.ready_pods != ready);
        let settled_for = settled.map(|past| facts.at.since(past.at))?;
        let was = (*before.values_milli.get(metric)?)?;
        let has_fallen = (now as f64) < was as f64 * (1.0 - FALL);
        if before.ready_pods == 0
            || has_fallen
            || settled_for < SETTLED + SYNC_PERIOD
            || self.load_grew(before)
        {
            return None;
        }
        let unit = Unit::of(spec);
        let text = format!(
            "more pods do not help: {} reads {} with {}, and read {} with {} {} before; something behind the pods is the limit",
            self.name(metric),
            unit.brief(now),
            count(ready, "ready pod"),
            unit.brief(was),
            before.ready_pods,
            span(facts.at.since(before.at))
        );
        Some(Warning {
            id: WarningId::PodsDoNotHelp,
            text,
        })
    }

    /// Whether a metric that counts load rose along, which excuses a latency. Unknown where no such metric is read.
    fn load_grew(self, before: &Past) -> bool {
        let metrics = self.facts.spec.metrics.iter().zip(&self.facts.metrics);
        let mut rates = metrics.zip(&before.values_milli);
        rates.any(|((spec, facts), was)| match (facts.read_milli(), was) {
            (Some(now), Some(was)) if Unit::of(spec) == Unit::PerSecond => {
                *was as f64 * (1.0 + FALL) < now as f64
            }
            _ => false,
        })
    }

    fn few_ready(self, metric: usize) -> Option<Warning> {
        let facts = self.facts;
        let spec = facts.spec.metrics.get(metric)?;
        let asked = facts.metrics.get(metric)?.proposed_replicas?;
        let over = facts
            .metrics
            .get(metric)?
            .ratio
            .is_some_and(|ratio| 1.0 < ratio);
        let ready = facts.ready_pods();
        (multiplies_ready_pods(spec) && over && asked < facts.spec_replicas).then(|| Warning {
            id: WarningId::FewReady,
            text: format!(
                "{} is over its target and still asks for fewer, {}: its ratio multiplies ready pods, and {ready} of {} are",
                self.name(metric),
                asked.max(0),
                facts.spec_replicas
            ),
        })
    }

    fn old_value(self, metric: usize) -> Option<Warning> {
        let age = self
            .facts
            .metrics
            .get(metric)?
            .age
            .filter(|age| AGE_MAX < *age)?;
        Some(Warning {
            id: WarningId::OldValue,
            text: format!(
                "{} was read {} before: the HPA takes it for current",
                self.name(metric),
                span(age)
            ),
        })
    }

    fn summed_latency(self, metric: usize) -> Option<Warning> {
        let spec = self.facts.spec.metrics.get(metric)?;
        let Some(Answer::Values(items)) = &self.facts.metrics.get(metric)?.answer else {
            return None;
        };
        (is_latency(spec) && 1 < items.len()).then(|| Warning {
            id: WarningId::SummedLatency,
            text: format!(
                "{} is the sum of {} series, which no latency can be: narrow the selector until one is left",
                self.name(metric),
                items.len()
            ),
        })
    }

    /// A latency that asks for more, and how far it is over.
    fn latency_over(self, metric: usize) -> Option<(String, &'a MetricSpec)> {
        let spec = self.facts.spec.metrics.get(metric)?;
        let facts = self.facts.metrics.get(metric)?;
        let is_over = !facts.within_tolerance && facts.ratio.is_some_and(|ratio| 1.0 < ratio);
        let is_total = matches!(
            spec,
            MetricSpec::External {
                target: Target::Value(_),
                ..
            }
        );
        (is_latency(spec) && is_total && is_over).then_some(())?;
        Some((
            format!(
                "{} over target {}",
                value(spec, facts)?,
                words::target(spec)
            ),
            spec,
        ))
    }

    fn name(&self, metric: usize) -> &str {
        self.labels.get(metric).map_or("", String::as_str)
    }
}

/// Whether the metric is a time: what more pods are meant to bring down.
fn is_latency(spec: &MetricSpec) -> bool {
    matches!(Unit::of(spec), Unit::Milliseconds | Unit::Seconds)
}

fn is_cpu(spec: &MetricSpec) -> bool {
    matches!(spec, MetricSpec::Resource { resource, .. } if resource == "cpu")
}
