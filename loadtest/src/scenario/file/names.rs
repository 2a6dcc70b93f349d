//! Whether what a scenario speaks of is there: services, stages and events. What a check means is not its business, so
//! it looks for `stage(NAME)` and `event(NAME)` wherever a check says them.

use std::collections::BTreeSet;

use super::fields::Fields;
use crate::arrivals::plan::{Plan, REPLAYED};
use crate::scenario::{Executor, Scenario};

/// Names that an error lists, of those there are.
const LISTED_MAX: usize = 10;

/// What a misspelt name is told.
pub(super) fn no_such<'k>(
    kind: &str,
    name: &str,
    known: impl IntoIterator<Item = &'k String>,
) -> String {
    let known: Vec<&str> = known
        .into_iter()
        .map(String::as_str)
        .take(LISTED_MAX)
        .collect();
    let known = if known.is_empty() {
        "there are none".to_owned()
    } else {
        format!("there are {}", known.join(", "))
    };
    format!("there is no {kind} `{}`; {known}", name.escape_debug())
}

/// Notes names of a whole scenario that nothing has.
pub(super) fn check(scenario: &Scenario, fields: &mut Fields<'_, '_>) {
    let services: BTreeSet<&String> = scenario.services.keys().collect();
    for (name, load) in &scenario.scenarios {
        if !services.contains(&load.service) && !load.service.is_empty() {
            let message = no_such("service", &load.service, services.iter().copied());
            fields.wrong("scenarios", format!("{name}: {message}"));
        }
    }
    for (name, service) in &scenario.services {
        let called = service.app.as_ref().and_then(|app| app.calls.as_ref());
        if let Some(calls) = called.filter(|calls| !services.contains(&calls.service)) {
            let message = no_such("service", &calls.service, services.iter().copied());
            fields.wrong("services", format!("{name}: app.calls: {message}"));
        }
    }
    for name in scenario.preconditions.replicas.keys() {
        if !services.contains(name) {
            let message = no_such("service", name, services.iter().copied());
            fields.wrong("preconditions", format!("replicas: {message}"));
        }
    }
    check_events(scenario, fields);
}

fn check_events(scenario: &Scenario, fields: &mut Fields<'_, '_>) {
    let mut seen = BTreeSet::new();
    for event in &scenario.events {
        if !seen.insert(&event.name) {
            let name = &event.name;
            fields.wrong(
                "events",
                format!("two are named `{name}`; give one another `name`"),
            );
        }
    }
}

/// The names of stages and events that checks may speak of.
#[derive(Debug)]
pub(super) struct Names {
    services: BTreeSet<String>,
    stages: BTreeSet<String>,
    events: BTreeSet<String>,
    /// Whether every stage is known: those of a trace are not before it is read.
    all_stages: bool,
}

impl Names {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let mut stages = BTreeSet::new();
        let mut all_stages = true;
        for (name, load) in &scenario.scenarios {
            if matches!(load.executor, Executor::Replay { .. }) {
                stages.insert(REPLAYED.to_owned());
            } else if let Ok(plan) = Plan::new(name, load, 0, None) {
                stages.extend(plan.stages.into_iter().map(|stage| stage.name));
            } else {
                all_stages = false;
            }
        }
        Self {
            services: scenario.services.keys().cloned().collect(),
            stages,
            events: scenario
                .events
                .iter()
                .map(|event| event.name.clone())
                .collect(),
            all_stages,
        }
    }

    /// What is wrong with the names in a check.
    pub(super) fn wrong_in(&self, check: &serde_json::Value) -> Option<String> {
        let service = check.get("service").and_then(serde_json::Value::as_str);
        if let Some(service) = service.filter(|service| !self.services.contains(*service)) {
            return Some(no_such("service", service, &self.services));
        }
        self.wrong_within(check)
    }

    /// What is wrong with the names in a text such as `stage(high).start`.
    pub(super) fn wrong_in_text(&self, text: &str) -> Option<String> {
        for (word, kind, known) in [
            ("stage(", "stage", &self.stages),
            ("event(", "event", &self.events),
        ] {
            if kind == "stage" && !self.all_stages {
                continue;
            }
            let named = text
                .split(word)
                .skip(1)
                .filter_map(|rest| rest.split_once(')'));
            if let Some((name, _)) = named.into_iter().find(|(name, _)| !known.contains(*name)) {
                return Some(no_such(kind, name, known));
            }
        }
        None
    }

    fn wrong_within(&self, value: &serde_json::Value) -> Option<String> {
        match value {
            serde_json::Value::String(text) => self.wrong_in_text(text),
            serde_json::Value::Array(items) => {
                items.iter().find_map(|item| self.wrong_within(item))
            }
            serde_json::Value::Object(fields) => {
                fields.values().find_map(|field| self.wrong_within(field))
            }
            _ => None,
        }
    }
}
