//! Why there are the replicas there are: the headline, and the steps from the metrics' proposals to it.

use std::time::Duration;

use serde::Serialize;

use crate::hpa::spec::DOWNSCALE_STABILIZATION;
use crate::hpa::{MetricSpec, Reason, Target};
use crate::model::time::Timestamp;

use super::facts::{ChangeByOthers, Facts, Held, MetricFacts, Past, Real, Stabilization, Way};
use super::words::{self, Unit, count};

/// A step from proposals to replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// `proposals`, `stabilization`, `limits` or `memory`.
    pub name: &'static str,
    /// What it did, with numbers.
    pub text: String,
}

/// What made the replicas another number than the metrics ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Hold {
    /// `minReplicas`.
    Min,
    /// `maxReplicas`.
    Max,
    /// Earlier recommendations.
    Stabilization,
    /// A policy or, without `behavior`, the limit of one sync.
    Rate,
}

/// Facts, and what their metrics are called.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) facts: &'a Facts,
    pub(super) labels: &'a [String],
}

/// What held the replicas in `facts`, the last first. From the HPA's status where nobody remembers its past.
pub(super) fn holds(facts: &Facts) -> Vec<Hold> {
    let limit = |reason: &str| match reason {
        "TooFewReplicas" => Some(Hold::Min),
        "TooManyReplicas" => Some(Hold::Max),
        "ScaleUpLimit" | "ScaleDownLimit" => Some(Hold::Rate),
        _ => None,
    };
    let (limited, stabilized) = if facts.memory.is_some() {
        let limited = facts
            .outcome
            .limited
            .map(|limited| limited.reason.to_string());
        let held = facts
            .outcome
            .stabilized
            .is_some_and(|step| step.reason != Reason::ReadyForNewScale);
        (limited, held)
    } else {
        of_status(facts)
    };
    let limit = beyond_bounds(facts).or_else(|| limited.as_deref().and_then(limit));
    limit
        .into_iter()
        .chain(stabilized.then_some(Hold::Stabilization))
        .collect()
}

/// The reasons of the HPA's own status, where they are in the direction in which the metrics ask now: a status may be a
/// sync old.
fn of_status(facts: &Facts) -> (Option<String>, bool) {
    let winner = facts
        .outcome
        .winner
        .and_then(|winner| facts.metrics.get(winner));
    let asked = winner
        .and_then(|winner| winner.proposed_replicas)
        .unwrap_or(facts.replicas());
    let is_asked_for = |reason: &str| {
        let up = facts.replicas() < asked;
        let down = asked < facts.replicas();
        (up && reason.starts_with("ScaleUp")) || (down && reason.starts_with("ScaleDown"))
    };
    let reason = |kind: &str| {
        let mut conditions = facts.real.iter().flat_map(|real| &real.conditions);
        let condition = conditions.find(|condition| condition.kind == kind)?;
        Some(condition.reason.clone()).filter(|reason| is_asked_for(reason))
    };
    let held = reason("AbleToScale").is_some_and(|reason| reason.ends_with("Stabilized"));
    (reason("ScalingLimited"), held)
}

/// The bound that the replicas are at, if the metrics ask for what is beyond it: then it holds, whatever else does.
fn beyond_bounds(facts: &Facts) -> Option<Hold> {
    let asked = facts
        .metrics
        .get(facts.outcome.winner?)?
        .proposed_replicas?;
    let (replicas, spec) = (facts.replicas(), &facts.spec);
    if replicas == spec.min_replicas && asked < replicas {
        Some(Hold::Min)
    } else if replicas == spec.max_replicas && replicas < asked {
        Some(Hold::Max)
    } else {
        None
    }
}

impl<'a> Told<'a> {
    /// The one sentence that answers why.
    pub(super) fn headline(self) -> String {
        let facts = self.facts;
        let name = &facts.target.name;
        let has = format!("{name} has {}", count(facts.replicas(), "replica"));
        if let Some(refused) = self.scale_refused() {
            return refused;
        }
        if let Some(parted) = facts.real.as_ref().and_then(|real| real.parted.as_deref()) {
            return format!("{has}: {parted}");
        }
        match (facts.outcome.way, facts.outcome.winner) {
            (Way::Disabled, _) => format!(
                "{has}, which switches autoscaling off until somebody scales it to 1 or more"
            ),
            (Way::AboveMax, _) => format!(
                "{has}, its maxReplicas, because it had {}: no metric is read for that",
                facts.spec_replicas
            ),
            (Way::BelowMin, _) => format!(
                "{has}, its minReplicas, because it had {}: no metric is read for that",
                facts.spec_replicas
            ),
            (Way::Failed, _) | (Way::Metrics, None) => {
                format!("{has} and keeps them: {}", self.failed())
            }
            (Way::Metrics, Some(winner)) => {
                format!("{has}{}{}", self.by_metrics(winner), self.others(winner))
            }
        }
    }

    /// Where the HPA could not read the scale of its target, or not write it: then nothing else matters.
    fn scale_refused(self) -> Option<String> {
        let facts = self.facts;
        let refused = facts.real.as_ref()?.failure("AbleToScale")?;
        let (kind, name) = (&facts.target.kind, &facts.target.name);
        Some(match refused.reason.as_str() {
            "FailedGetScale" => format!(
                "nothing scales {kind} {name}: the HPA cannot read its scale ({}); it had {} when the HPA last could",
                refused.message,
                count(facts.spec_replicas, "replica")
            ),
            "FailedUpdateScale" => {
                let ours = facts.outcome.desired_replicas;
                // Without the adapter nothing is known of what the HPA wanted.
                let gives = match ours == facts.spec_replicas {
                    true => String::new(),
                    false => format!(", where this arithmetic gives {ours}"),
                };
                format!(
                    "{name} has {} and keeps them{gives}: the HPA could not write the scale of {kind} {name} ({})",
                    count(facts.spec_replicas, "replica"),
                    refused.message
                )
            }
            _ => return None,
        })
    }

    /// What nobody can tell without the metrics that failed.
    fn failed(self) -> String {
        let real = self.facts.real.as_ref();
        if let Some(refused) = real.and_then(Real::refused_selector) {
            return format!(
                "the HPA reads no metric, for it cannot tell which pods are its own ({}: {}); give each workload labels and \
                 an HPA of its own",
                refused.reason, refused.message
            );
        }
        let unread: Vec<(&str, &str)> = self.unread().collect();
        let each: Vec<String> = unread
            .iter()
            .map(|(label, why)| format!("{label}: {why}"))
            .collect();
        let each = each.join("; ");
        let proposals = self
            .facts
            .metrics
            .iter()
            .filter_map(|metric| metric.proposed_replicas);
        match proposals.max() {
            Some(highest) => {
                let names: Vec<&str> = unread.iter().map(|(label, _)| *label).collect();
                format!(
                    "what can be read asks for {}, but nothing is removed while {} has no value ({each})",
                    highest.max(0),
                    names.join(" or ")
                )
            }
            None if unread.len() == 1 => format!("its only metric has no value ({each})"),
            None => format!("none of its metrics has a value ({each})"),
        }
    }

    /// The metrics without a proposal though they were to have one, and why.
    pub(super) fn unread(self) -> impl Iterator<Item = (&'a str, &'a str)> {
        let metrics = self.labels.iter().zip(&self.facts.metrics);
        metrics.filter_map(|(label, metric)| Some((label.as_str(), metric.error.as_deref()?)))
    }

    /// The winner's part of the headline.
    fn by_metrics(self, winner: usize) -> String {
        let asked = self.asked(winner);
        match holds(self.facts).first() {
            None if self.facts.memory.is_none() && !self.is_as_asked(winner) => {
                format!(", which its next sync may change: {asked}")
            }
            None => format!(" because {asked}"),
            Some(Hold::Min) => format!(", its minReplicas: {asked}"),
            Some(Hold::Max) => format!(", its maxReplicas: {asked}"),
            Some(Hold::Rate) => format!(", {}: {asked}", self.rate()),
            Some(Hold::Stabilization) => format!(" because {}; now {asked}", self.stabilized()),
        }
    }

    /// Whether the replicas are what a metric asks for.
    fn is_as_asked(self, metric: usize) -> bool {
        let metric = self.facts.metrics.get(metric);
        metric.and_then(|metric| metric.proposed_replicas) == Some(self.facts.replicas())
    }

    /// `p95 347 ms over target 250 ms asked for 6 (ratio 1.39, 4 ready pods)`.
    pub(super) fn asked(self, metric: usize) -> String {
        let (Some(spec), Some(facts), Some(label)) = (
            self.facts.spec.metrics.get(metric),
            self.facts.metrics.get(metric),
            self.labels.get(metric),
        ) else {
            return "no metric".to_owned();
        };
        let value = value(spec, facts).unwrap_or_else(|| "an unknown value".to_owned());
        let target = words::target(spec);
        let side = match facts.ratio {
            _ if facts.within_tolerance => "within tolerance of",
            Some(ratio) if ratio < 1.0 => "under",
            _ => "over",
        };
        let asks = match facts.proposed_replicas {
            _ if facts.within_tolerance => "asked for no change".to_owned(),
            Some(replicas) => format!("asked for {}", replicas.max(0)),
            None => "asked for nothing".to_owned(),
        };
        let mut because: Vec<String> = Vec::new();
        if let Some(ratio) = facts.ratio {
            because.push(format!(
                "ratio {}",
                words::ratio(ratio, self.facts.spec.tolerances())
            ));
        }
        if multiplies_ready_pods(spec) {
            because.push(count(self.facts.ready_pods(), "ready pod"));
        }
        format!(
            "{label} {value} {side} target {target} {asks} ({})",
            because.join(", ")
        )
    }

    /// `; CPU asked for 3`, for each metric but the winner.
    fn others(self, winner: usize) -> String {
        let metrics = self.labels.iter().zip(&self.facts.metrics).enumerate();
        let others = metrics.filter(|(index, _)| *index != winner);
        let each = others.map(|(_, (label, metric))| match metric.proposed_replicas {
            Some(_) if metric.within_tolerance => format!("; {label} asked for no change"),
            Some(replicas) => format!("; {label} asked for {}", replicas.max(0)),
            None => format!("; {label} has no value"),
        });
        each.collect()
    }

    /// Why the rate is what holds.
    fn rate(self) -> String {
        let limited = self
            .facts
            .outcome
            .limited
            .filter(|_| self.facts.memory.is_some());
        match limited {
            Some(limited) if limited.disabled => {
                "as selectPolicy disables that direction".to_owned()
            }
            Some(limited) => match (limited.policy, limited.frees_in) {
                (Some(policy), Some(left)) => format!(
                    "as far as the policy {policy} lets it go for {} more",
                    span(left)
                ),
                (Some(policy), None) => format!("as far as the policy {policy} lets it go at once"),
                (None, _) => "as far as one sync may go: twice what there was, or 4".to_owned(),
            },
            None => "as far as its policies let it go".to_owned(),
        }
    }

    /// Why earlier recommendations are what holds.
    fn stabilized(self) -> String {
        match self
            .facts
            .outcome
            .stabilized
            .filter(|_| self.facts.memory.is_some())
        {
            Some(Stabilization {
                held_by: Some(held),
                reason,
                ..
            }) => self.held(held, reason == Reason::ScaleUpStabilized),
            _ => "earlier recommendations hold it there, as its status says".to_owned(),
        }
    }

    /// `the metrics asked for 6 88 s before, and ...`.
    fn held(self, held: Held, up: bool) -> String {
        let behavior = self.facts.spec.behavior.as_ref();
        let (window, rule) = if up {
            let window = behavior.map(|behavior| behavior.scale_up.stabilization);
            (window.unwrap_or_default(), "scaling up follows the lowest")
        } else {
            let window = behavior.map(|behavior| behavior.scale_down.stabilization);
            (
                window.unwrap_or(DOWNSCALE_STABILIZATION),
                "scaling down follows the highest",
            )
        };
        format!(
            "{} was asked for {} before, and {rule} of {}: {} to go",
            held.replicas,
            span(self.facts.at.since(held.at)),
            span(window),
            span(held.left)
        )
    }

    /// From the proposals to the replicas, step by step.
    pub(super) fn steps(self) -> Vec<Step> {
        let facts = self.facts;
        let mut steps = Vec::new();
        let mut step = |name, text| steps.push(Step { name, text });
        let Some(winner) = facts.outcome.winner else {
            return steps;
        };
        let label = self.labels.get(winner).map_or("", String::as_str);
        let proposal = facts
            .metrics
            .get(winner)
            .and_then(|metric| metric.proposed_replicas);
        step(
            "proposals",
            format!(
                "the highest proposal wins: {} by {label}",
                proposal.unwrap_or(0).max(0)
            ),
        );
        if facts.memory.is_none() {
            step(
                "memory",
                "what earlier syncs asked for, and what policies have left, is known to the HPA alone".to_owned(),
            );
            return steps;
        }
        if let Some(stabilized) = &facts.outcome.stabilized {
            step(
                "stabilization",
                match stabilized.held_by {
                    _ if stabilized.reason == Reason::ReadyForNewScale => {
                        format!(
                            "{}: no earlier recommendation holds that back",
                            stabilized.to
                        )
                    }
                    _ => format!(
                        "{} in place of {}: {}",
                        stabilized.to,
                        stabilized.from,
                        self.stabilized()
                    ),
                },
            );
        }
        if let Some(limited) = facts.outcome.limited {
            step("limits", limited.to_string());
        }
        steps
    }

    /// Since when there are so many, and why they were changed to it.
    pub(super) fn since(self) -> Option<String> {
        let facts = self.facts;
        let (before, now) = (facts.spec_replicas, facts.replicas());
        let by_others = facts.changed_by_others;
        let others = |at: Timestamp| match by_others.filter(|others| others.at == at) {
            Some(ChangeByOthers { from, to, .. }) => {
                format!(", after somebody else had changed them from {from} to {to}")
            }
            None => String::new(),
        };
        if before != now {
            return Some(format!(
                "this sync changed them from {before} to {now}{}",
                others(facts.at)
            ));
        }
        if let Some(others) = self.changed_by_others() {
            return Some(others);
        }
        let Past {
            at,
            spec_replicas,
            desired_replicas,
            values_milli,
            winner,
            ..
        } = facts.last_change.as_ref()?;
        let ago = span(facts.at.since(*at));
        let read = winner.and_then(|winner| {
            let spec = facts.spec.metrics.get(winner)?;
            let milli = (*values_milli.get(winner)?)?;
            let label = self.labels.get(winner)?;
            Some(format!(
                ", when {label} read {}",
                Unit::of(spec).brief(milli)
            ))
        });
        Some(format!(
            "the last change was from {spec_replicas} to {desired_replicas}, {ago} before{}{}",
            read.unwrap_or_default(),
            others(*at)
        ))
    }

    /// That the last change was not the HPA's, where that is so.
    fn changed_by_others(self) -> Option<String> {
        let facts = self.facts;
        let ChangeByOthers { at, from, to } = facts.changed_by_others?;
        let last = facts.last_change.as_ref();
        let found = if last.is_some_and(|change| at <= change.at) {
            return None;
        } else if at == facts.at {
            "since the sync before".to_owned()
        } else {
            format!("as the sync {} before found", span(facts.at.since(at)))
        };
        Some(format!(
            "somebody else than the HPA changed them from {from} to {to}, {found}"
        ))
    }
}

/// Whether the metric's ratio multiplies the ready pods.
pub(super) fn multiplies_ready_pods(spec: &MetricSpec) -> bool {
    matches!(
        spec,
        MetricSpec::External {
            target: Target::Value(_),
            ..
        } | MetricSpec::Object {
            target: Target::Value(_),
            ..
        }
    )
}

/// The metric's value, in short, as it is compared with its target.
pub(super) fn value(spec: &MetricSpec, facts: &MetricFacts) -> Option<String> {
    Some(Unit::of(spec).brief(facts.value_milli()?))
}

/// A span in whole seconds, rounded up, so that what is said to be over is.
pub(super) fn span(span: Duration) -> String {
    let part = u64::from(0 < span.subsec_nanos());
    let whole = span.as_secs().saturating_add(part);
    format!("{whole} s")
}
