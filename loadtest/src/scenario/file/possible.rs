//! What can be read of a scenario and still cannot be, whatever the system does: checks that nothing meets, services that
//! wait for themselves. What an HPA's rules allow is not known here; that is for [`crate::judge::lint`].

use std::collections::BTreeMap;

use super::fields::Fields;
use super::names::service_path;
use crate::arrivals::plan::Plan;
use crate::scenario::{Check, Executor, Load, Scenario, Scope, Span};

/// How long the stretches of a run are, as far as that is known before it.
#[derive(Debug)]
pub(super) struct Lengths {
    run: Option<Span>,
    /// By name; the longest of those that share one.
    stages: BTreeMap<String, Span>,
}

impl Lengths {
    /// Those of a scenario whose loads end at `end`.
    pub(super) fn of(scenario: &Scenario, end: Option<Span>) -> Self {
        let mut stages: BTreeMap<String, Span> = BTreeMap::new();
        for plan in scenario.scenarios.iter().filter_map(plan) {
            for stage in plan.stages {
                let length = std::time::Duration::try_from_secs_f64(stage.end_s - stage.start_s);
                let longest = stages.entry(stage.name).or_default();
                *longest = (*longest).max(length.unwrap_or_default().into());
            }
        }
        Self { run: end, stages }
    }

    fn of_scope(&self, scope: &Scope) -> Option<Span> {
        match scope {
            Scope::Run => self.run,
            Scope::Stage(name) => self.stages.get(name).copied(),
            Scope::Event(_) | Scope::Between(..) => None,
        }
    }
}

/// When the last of `written` loads ends; `None` where one could not be read, or is a trace, which is read later.
pub(super) fn end(loads: &BTreeMap<String, Load>, written: Option<usize>) -> Option<Span> {
    if Some(loads.len()) != written {
        return None;
    }
    let ends = loads.iter().map(|load| Some(plan(load)?.end()));
    let ends: Option<Vec<_>> = ends.collect();
    ends?.into_iter().max().map(Span::from)
}

fn plan((name, load): (&String, &Load)) -> Option<Plan> {
    match load.executor {
        Executor::Replay { .. } => None,
        _ => Plan::new(name, load, 0, None).ok(),
    }
}

/// Notes services that, by way of others or not, call themselves.
pub(super) fn check_calls(scenario: &Scenario, fields: &mut Fields<'_, '_>) {
    let called = |name: &str| {
        let app = scenario.services.get(name)?.app.as_ref()?;
        Some(app.calls.as_ref()?.service.as_str())
    };
    for name in scenario.services.keys() {
        let mut way = vec![name.as_str()];
        while let Some(next) = called(way[way.len() - 1]) {
            if next == name {
                // Each of a circle would be told the same; the first of them is.
                if way.iter().any(|other| *other < name.as_str()) {
                    break;
                }
                let message = match way.as_slice() {
                    [_] => "a service cannot wait for itself".to_owned(),
                    way => format!(
                        "{}, {name} wait for each other for ever: each calls the next",
                        way.join(", ")
                    ),
                };
                let path = service_path(fields, name, &["app", "calls", "service"]);
                let line = fields.line_at(&path);
                fields.note(line, &path.join("."), message);
                break;
            }
            if way.contains(&next) {
                break;
            }
            way.push(next);
        }
    }
}

/// What of a check nothing can meet.
pub(super) fn wrong_with(check: &Check, lengths: &Lengths) -> Option<String> {
    let (scope, settle) = match check {
        Check::PeakReplicas(check) => return reversed(check.between),
        Check::ReplicasWithin(check) => {
            if let Some(message) = reversed(check.between) {
                return Some(message);
            }
            (&check.scope, check.settle)
        }
        Check::Latency(check) => (&check.scope, check.settle),
        Check::HpaConditions(check) => (&check.scope, check.settle),
        Check::UnderProvisioning(check) | Check::OverProvisioning(check) => {
            let has_none = check.accuracy.is_none() && check.timeshare.is_none();
            return has_none.then(|| "has no limit; write accuracy or timeshare".to_owned());
        }
        Check::MetricHealth(check) => {
            let has_none =
                check.max_age.is_none() && check.max_gap.is_none() && check.max_errors.is_none();
            return has_none
                .then(|| "has no limit; write max_age, max_gap or max_errors".to_owned());
        }
        Check::ScaleStep(check) => {
            let has_none = check.pods.is_none() && check.percent.is_none();
            return has_none.then(|| "has no limit; write pods or percent".to_owned());
        }
        _ => return None,
    };
    let length = lengths.of_scope(scope)?;
    let whole = match scope {
        Scope::Run => "the run".to_owned(),
        part => part.to_string(),
    };
    (!settle.is_zero() && length <= settle)
        .then(|| format!("settle: {settle} leaves nothing of {whole}, which lasts {length}"))
}

fn reversed([fewest, most]: [u32; 2]) -> Option<String> {
    (most < fewest)
        .then(|| format!("between: [{fewest}, {most}] has no number in it; write the fewest first"))
}
