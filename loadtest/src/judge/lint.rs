//! Limits that cannot be met, told before any traffic: from an HPA's own rules and from how long a metric takes. What
//! nothing could be faster than is *impossible*; what depends on the moment at which the controller happens to look is
//! *racy*, and such a check would fail now and then whatever the system does.
//!
//! Two bounds are computed for a check. The earliest is the HPA's rules alone, with every look at the luckiest moment. To
//! the surest, a scrape, the metric's window and a sync period are added.

pub mod growth;
mod hpa;
mod timing;

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::growth::{grow_s, shrink_s};
pub use self::timing::{Timing, timings};
use super::demand;
use super::draft::seconds;
use super::{Group, group_of};
use crate::arrivals::plan::Plan;
use crate::recording::{Autoscaler, Select, Stage};
use crate::scenario::{Anchor, Assertion, Check, Scenario, Scope, Span};

/// How long before a jump of the load its rate is still the former, in seconds.
const JUST_S: f64 = 1e-3;

/// Something about a scenario that should be mended before it is run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LintFinding {
    /// What kind of thing it is, for a machine.
    pub id: LintId,
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub place: Place,
    /// The check that it is about, by its name with its service; `None` when it is about the whole scenario.
    pub assertion: Option<String>,
    /// What is wrong, in a sentence.
    pub sentence: String,
    /// What to do.
    pub fix: String,
}

/// Which part of a scenario something is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// The HPA of this service.
    Hpa(String),
    /// The check of this number in the scenario's list, from 0.
    Assertion(usize),
}

/// What kind of thing a lint is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LintId {
    /// A limit of time is below what the rules allow.
    TooSoon,
    /// A direction that a check waits for is switched off.
    Disabled,
    /// A number of replicas is outside the HPA's bounds.
    OutOfBounds,
    /// The load needs more than the HPA may have.
    DemandAboveMax,
    /// A scale-in is forbidden for longer than the HPA waits.
    ScaleInEarlier,
    /// A stretch is as long as a stabilization window.
    AsLongAsStabilization,
    /// Nobody looks at what a check is about.
    NotObserved,
    /// The bounds of an HPA are the wrong way round.
    Bounds,
    /// An HPA cannot be read.
    Unreadable,
}

/// How bad a lint is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It may be meant so.
    Doubtful,
    /// It holds or not by chance.
    Racy,
    /// It cannot hold.
    Impossible,
}

impl Severity {
    /// Its word in a message.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Doubtful => "doubtful",
            Self::Racy => "racy",
            Self::Impossible => "impossible",
        }
    }
}

/// What a check is looked at with.
struct View<'a> {
    scenario: &'a Scenario,
    name: &'a str,
    hpa: &'a Autoscaler,
    timing: Timing,
    place: Place,
    title: String,
}

/// What is wrong with the checks of a scenario, given the HPAs of its services and how long their metrics take.
#[must_use]
pub fn lint(
    scenario: &Scenario,
    autoscalers: &BTreeMap<String, Autoscaler>,
    timings: &BTreeMap<String, Timing>,
) -> Vec<LintFinding> {
    let of_hpas = autoscalers.iter().flat_map(|(name, autoscaler)| {
        let checks = [
            hpa::reversed(name, autoscaler),
            hpa::declared(scenario, name, autoscaler),
            hpa::above_max(scenario, name, autoscaler),
        ];
        checks.into_iter().flatten()
    });
    let of_checks = scenario.assertions.iter().enumerate();
    let of_checks = of_checks.filter_map(|(index, assertion)| {
        let unseen = not_observed(scenario, index, assertion);
        unseen.or_else(|| {
            let view = view(scenario, autoscalers, timings, index, assertion)?;
            view.look(&assertion.check)
        })
    });
    of_hpas.chain(of_checks).collect()
}

/// The service that a check is about.
fn service_of<'a>(scenario: &'a Scenario, assertion: &'a Assertion) -> Option<&'a String> {
    let first = scenario.services.keys().next();
    assertion.service.as_ref().or(first)
}

fn title(assertion: &Assertion) -> String {
    match &assertion.service {
        Some(name) => format!("{} of {name}", assertion.check.title()),
        None => assertion.check.title(),
    }
}

fn view<'a>(
    scenario: &'a Scenario,
    autoscalers: &'a BTreeMap<String, Autoscaler>,
    timings: &BTreeMap<String, Timing>,
    index: usize,
    assertion: &Assertion,
) -> Option<View<'a>> {
    let name = service_of(scenario, assertion)?;
    let (name, hpa) = autoscalers.get_key_value(name)?;
    Some(View {
        scenario,
        name,
        hpa,
        timing: timings.get(name).copied().unwrap_or_default(),
        place: Place::Assertion(index),
        title: title(assertion),
    })
}

/// A check of replicas or metrics, where nobody looks at them. Where a service is played, its HPA is known anyway.
fn not_observed(scenario: &Scenario, index: usize, assertion: &Assertion) -> Option<LintFinding> {
    let looks = match group_of(&assertion.check) {
        // New backends and their first answers are seen by the load itself.
        Group::Reaction => !matches!(assertion.check, Check::TimeToTraffic(_)),
        Group::Bounds | Group::Stability | Group::Cost | Group::Health => true,
        _ => false,
    };
    let name = service_of(scenario, assertion)?;
    let service = scenario.services.get(name)?;
    let is_played_only = service.hpa.is_some() && service.target.is_none();
    if !looks || service.observe.is_some() || is_played_only {
        return None;
    }
    let title = title(assertion);
    let (severity, sentence) = match service.hpa {
        Some(_) => (
            Severity::Doubtful,
            format!(
                "{title} can be told where {name} is played, and not in a cluster: nobody looks at its HPA there"
            ),
        ),
        None => (
            Severity::Impossible,
            format!("{title} cannot be told: nobody looks at the HPA of {name}"),
        ),
    };
    Some(LintFinding {
        id: LintId::NotObserved,
        severity,
        place: Place::Assertion(index),
        assertion: Some(title),
        sentence,
        fix: format!("write `observe: {{ hpa: {{ namespace: ..., name: {name} }} }}` for {name}"),
    })
}

impl View<'_> {
    fn look(&self, check: &Check) -> Option<LintFinding> {
        let up_s = self.hpa.scale_up.stabilization_s;
        match check {
            Check::DecisionLatency(check) => self.too_soon(Some(up_s), 0.0, check.max.seconds()),
            Check::TimeToFirstScaleOut(check) => {
                self.moment_s(&check.from)?;
                let one_more = grow_s(self.hpa, self.begin(), self.begin() + 1);
                self.too_soon(one_more, self.metric_s(), check.max.seconds())
            }
            Check::TimeToReplicas(check) => {
                let from = self.before(self.moment_s(&check.from)?).min(check.n);
                let grown = grow_s(self.hpa, from, check.n);
                let ready = grown.map(|grown_s| grown_s + self.startup_s());
                self.reachable(u32::MAX, check.n)
                    .or_else(|| self.too_soon(ready, self.metric_s(), check.max.seconds()))
            }
            Check::TimeToReady(check) => {
                let startup_s = self.startup_s();
                (check.max.seconds() < startup_s).then(|| self.impossible(startup_s))
            }
            Check::TimeToScaleIn(check) => {
                let moment_s = self.moment_s(&check.from)?;
                self.reachable(check.to, 0)
                    .or_else(|| self.scale_in_too_soon(check.to, moment_s, check.max.seconds()))
            }
            Check::NoScaleInBefore(check) => {
                self.scale_in_earlier(self.moment_s(&check.from)?, check.min.seconds())
            }
            Check::PeakReplicas(check) => self.reachable(check.between[1], check.between[0]),
            Check::ReplicasWithin(check) => self
                .reachable(check.between[1], check.between[0])
                .or_else(|| self.as_long_as(&check.scope, check.settle.seconds())),
            _ => None,
        }
    }

    /// The replicas that a run begins with.
    fn begin(&self) -> u32 {
        let declared = self.scenario.preconditions.replicas.get(self.name);
        declared.copied().unwrap_or(self.hpa.min_replicas)
    }

    /// When a moment is that the scenario itself sets; others are known afterwards.
    fn moment_s(&self, anchor: &Anchor) -> Option<f64> {
        match anchor {
            Anchor::Start => Some(0.0),
            Anchor::StageStart(name) => stage_start_s(self.scenario, self.name, name),
            _ => None,
        }
    }

    /// The most replicas that there may be by then: what the load needed until then, or all where nobody tells.
    fn before(&self, moment_s: f64) -> u32 {
        if moment_s <= 0.0 {
            return self.begin();
        }
        let needed = demand::peak(self.scenario, self.name, moment_s);
        needed.map_or(self.hpa.max_replicas, |needed| {
            needed.clamp(self.begin(), self.hpa.max_replicas.max(self.begin()))
        })
    }

    /// Whether the load, until this moment, needed more than so many replicas: then the HPA still wants more, and its
    /// stabilization has yet to begin.
    fn needed_more(&self, moment_s: f64, replicas: u32) -> bool {
        let needed = demand::at(self.scenario, self.name, moment_s - JUST_S);
        needed.is_some_and(|needed| replicas < needed)
    }

    /// The earliest is one pod fewer from the moment on, if more were needed until then; the surest is all the way down.
    fn scale_in_too_soon(&self, to: u32, moment_s: f64, max_s: f64) -> Option<LintFinding> {
        let most = self.before(moment_s).max(to.saturating_add(1));
        let last = shrink_s(self.hpa, to.saturating_add(1), to);
        let earliest = last.map(|last_s| {
            if self.needed_more(moment_s, to) {
                last_s
            } else {
                0.0
            }
        });
        let way = shrink_s(self.hpa, most, to);
        let rest_s = way
            .zip(earliest)
            .map_or(0.0, |(way_s, earliest_s)| way_s - earliest_s);
        self.too_soon(earliest, self.metric_s() + rest_s, max_s)
    }

    /// What a metric may take to tell of a change.
    fn metric_s(&self) -> f64 {
        let parts = [self.timing.metric_window_s, self.timing.scrape_interval_s];
        parts.into_iter().flatten().sum()
    }

    /// How long a pod takes to be ready, where the scenario tells; nothing can be said elsewhere.
    fn startup_s(&self) -> f64 {
        let app = self
            .scenario
            .services
            .get(self.name)
            .and_then(|service| service.app.as_ref());
        app.and_then(|app| app.startup).map_or(0.0, Span::seconds)
    }

    /// A limit of `max_s` against the earliest moment; `None` for it is never.
    fn too_soon(&self, earliest_s: Option<f64>, metric_s: f64, max_s: f64) -> Option<LintFinding> {
        let Some(earliest_s) = earliest_s else {
            return Some(LintFinding {
                id: LintId::Disabled,
                severity: Severity::Impossible,
                place: self.place.clone(),
                assertion: Some(self.title.clone()),
                sentence: format!(
                    "{} waits for what the rules of the HPA never allow",
                    self.title
                ),
                fix: "allow the HPA to scale that way in its behavior, or leave the check out"
                    .to_owned(),
            });
        };
        let surest_s = earliest_s + metric_s + self.hpa.sync_period_s;
        if max_s < earliest_s {
            return Some(self.impossible(earliest_s));
        }
        (max_s < surest_s).then(|| LintFinding {
            id: LintId::TooSoon,
            severity: Severity::Racy,
            place: self.place.clone(),
            assertion: Some(self.title.clone()),
            sentence: format!(
                "{} has a limit of {}, and whether the HPA makes it depends on when it looks: from {} to {} after the cause",
                self.title,
                seconds(max_s),
                seconds(earliest_s),
                seconds(surest_s),
            ),
            fix: format!("allow {} or more", seconds(surest_s)),
        })
    }

    fn impossible(&self, earliest_s: f64) -> LintFinding {
        let surest_s = earliest_s + self.metric_s() + self.hpa.sync_period_s;
        LintFinding {
            id: LintId::TooSoon,
            severity: Severity::Impossible,
            place: self.place.clone(),
            assertion: Some(self.title.clone()),
            sentence: format!(
                "{} cannot hold before {} have passed",
                self.title,
                seconds(earliest_s)
            ),
            fix: format!("allow {} or more", seconds(surest_s)),
        }
    }

    /// Whether the HPA can have at most `most`, which its minimum may forbid, and at least `fewest`.
    fn reachable(&self, most: u32, fewest: u32) -> Option<LintFinding> {
        let (min, max) = (self.hpa.min_replicas, self.hpa.max_replicas);
        if max < min {
            // That is told of the HPA, and nothing can be in bounds that are none.
            return None;
        }
        let wrong = match (most < min, max < fewest) {
            (true, _) => format!("{most} replicas, which are fewer than the HPA's {min}"),
            (_, true) => format!("{fewest} replicas, which are more than the HPA's {max}"),
            _ => return None,
        };
        Some(LintFinding {
            id: LintId::OutOfBounds,
            severity: Severity::Impossible,
            place: self.place.clone(),
            assertion: Some(self.title.clone()),
            sentence: format!("{} asks for {wrong}", self.title),
            fix: format!("ask for {min} to {max}, or change the HPA's bounds"),
        })
    }

    fn scale_in_earlier(&self, moment_s: f64, min_s: f64) -> Option<LintFinding> {
        let rules = &self.hpa.scale_down;
        let surest_s = rules.stabilization_s + self.metric_s() + self.hpa.sync_period_s;
        if rules.select == Select::Disabled || min_s <= rules.stabilization_s {
            return None;
        }
        let severity = if surest_s < min_s && self.needed_more(moment_s, self.begin()) {
            Severity::Impossible
        } else {
            Severity::Racy
        };
        Some(LintFinding {
            id: LintId::ScaleInEarlier,
            severity,
            place: self.place.clone(),
            assertion: Some(self.title.clone()),
            sentence: format!(
                "{} forbids a scale-in for {}, and the HPA stabilizes for {}",
                self.title,
                seconds(min_s),
                seconds(rules.stabilization_s),
            ),
            fix: format!(
                "ask for {} or less, or stabilize for longer",
                seconds(rules.stabilization_s)
            ),
        })
    }

    /// A stretch as long as a stabilization window: what happens at the end of the one falls into the other by chance.
    fn as_long_as(&self, scope: &Scope, settle_s: f64) -> Option<LintFinding> {
        let length_s = stage_s(self.scenario, scope)?;
        let windows = [
            self.hpa.scale_up.stabilization_s,
            self.hpa.scale_down.stabilization_s,
        ];
        let near = |window_s: &f64| {
            0.0 < *window_s
                && [length_s, length_s - settle_s]
                    .iter()
                    .any(|s| (s - window_s).abs() <= self.hpa.sync_period_s)
        };
        let window_s = windows.into_iter().find(near)?;
        Some(LintFinding {
            id: LintId::AsLongAsStabilization,
            severity: Severity::Racy,
            place: self.place.clone(),
            assertion: Some(self.title.clone()),
            sentence: format!(
                "{} looks at {}, which is as long as the HPA stabilizes, {}: whether it scales within is chance",
                self.title,
                seconds(length_s),
                seconds(window_s),
            ),
            fix: format!(
                "end the stage {} or more before the window does, or after it",
                seconds(2.0 * self.hpa.sync_period_s)
            ),
        })
    }
}

/// When the stage of this name begins on a service, in seconds.
fn stage_start_s(scenario: &Scenario, service: &str, name: &str) -> Option<f64> {
    let mut stages = stages(scenario).filter(|stage| stage.service == service);
    let stage = stages.find(|stage| stage.name == name)?;
    Some(stage.start_s)
}

/// How long the stage of a scope is; `None` for another scope.
fn stage_s(scenario: &Scenario, scope: &Scope) -> Option<f64> {
    let Scope::Stage(name) = scope else {
        return None;
    };
    let stage = stages(scenario).find(|stage| stage.name == *name)?;
    Some(stage.end_s - stage.start_s)
}

/// The stages of all loads, but for those whose trace is not read here.
fn stages(scenario: &Scenario) -> impl Iterator<Item = Stage> {
    let plans = scenario.scenarios.iter();
    let plans = plans.filter_map(|(name, load)| Plan::new(name, load, scenario.seed, None).ok());
    plans.flat_map(|plan| plan.stages)
}

#[cfg(test)]
mod tests;
