//! Whether what a scenario speaks of is there: services, stages and events. What a check means is not its business, so
//! it looks for `stage(NAME)` and `event(NAME)` wherever a check says them.
//!
//! A name counts also where what it names cannot be read: who wrote a wrong duration into a stage is told of that, and
//! not that the stage is missing. Where not every name can be told, none is called missing.

use std::collections::BTreeSet;

use serde_json::Value as Json;

use super::events::WORDS;
use super::fields::{Fields, Read, check_name};
use super::node::{Node, Value};
use crate::arrivals::plan::{Plan, REPLAYED};
use crate::scenario::{Executor, Scenario};

/// Names that an error lists, of those there are.
const LISTED_MAX: usize = 10;

/// The names of one kind of thing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Known {
    names: BTreeSet<String>,
    /// Whether there may be more, which could not be read.
    unread: bool,
}

/// The names of services, stages and events that checks may speak of.
#[derive(Debug)]
pub(super) struct Names {
    services: Known,
    stages: Known,
    events: Known,
}

impl Known {
    /// What somebody is told who names something of this `kind`, if there is no such thing.
    pub(super) fn missing(&self, kind: &str, name: &str) -> Option<String> {
        if self.unread || self.names.contains(name) {
            return None;
        }
        let known: Vec<&str> = self.names.iter().map(String::as_str).collect();
        let listed = match known.len() {
            0 => "there are none".to_owned(),
            1 => format!("there is {}", known[0]),
            n => format!("there are {}", known[..n.min(LISTED_MAX)].join(", ")),
        };
        let name = name.escape_debug();
        Some(format!("there is no {kind} `{name}`; {listed}"))
    }

    fn add(&mut self, name: Option<String>) {
        match name.filter(|name| check_name(name).is_ok()) {
            Some(name) => drop(self.names.insert(name)),
            None => self.unread = true,
        }
    }
}

/// The services of a file. The only one, which is written at the top, is called as the scenario is.
pub(super) fn services(fields: &mut Fields<'_, '_>) -> Known {
    let mut known = Known::default();
    match fields.node("services").map(|node| &node.value) {
        Some(Value::Map(services)) => {
            services
                .iter()
                .for_each(|(name, _)| known.add(Some(name.clone())));
        }
        Some(_) => known.unread = true,
        None => known.add(fields.node("name").and_then(text)),
    }
    known
}

/// Where something of a service is written: by its name, or at the top.
pub(super) fn service_path<'a>(
    fields: &mut Fields<'_, '_>,
    service: &'a str,
    rest: &[&'a str],
) -> Vec<&'a str> {
    let head: &[&str] = match fields.has("services") {
        true => &["services", service],
        false => &[],
    };
    [head, rest].concat()
}

fn text(node: &Node) -> Option<String> {
    String::read(&node.value).ok()
}

/// Notes names of a whole scenario that nothing has.
pub(super) fn check(scenario: &Scenario, services: &Known, fields: &mut Fields<'_, '_>) {
    for (name, load) in &scenario.scenarios {
        if let Some(message) = services.missing("service", &load.service)
            && !load.service.is_empty()
        {
            let line = fields.line_at(&["scenarios", name, "service"]);
            fields.note(line, &format!("scenarios.{name}.service"), message);
        }
    }
    for (name, service) in &scenario.services {
        let called = service.app.as_ref().and_then(|app| app.calls.as_ref());
        let missing = |calls: &str| services.missing("service", calls);
        if let Some(message) = called.and_then(|calls| missing(&calls.service)) {
            let path = service_path(fields, name, &["app", "calls", "service"]);
            let line = fields.line_at(&path);
            fields.note(line, &path.join("."), message);
        }
    }
    for name in scenario.preconditions.replicas.keys() {
        if let Some(message) = services.missing("service", name) {
            let line = fields.line_at(&["preconditions", "replicas", name]);
            fields.note(line, "preconditions.replicas", message);
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

impl Names {
    pub(super) fn of(scenario: &Scenario, services: Known, fields: &mut Fields<'_, '_>) -> Self {
        Self {
            services,
            stages: stages(scenario, fields),
            events: events(fields),
        }
    }

    /// What is wrong with the names in a check, each once.
    pub(super) fn wrong_in(&self, check: &Json) -> BTreeSet<String> {
        let mut wrong = BTreeSet::new();
        let service = check.get("service").and_then(Json::as_str);
        wrong.extend(service.and_then(|service| self.services.missing("service", service)));
        self.look_into(check, &mut wrong);
        wrong
    }

    fn look_into(&self, value: &Json, wrong: &mut BTreeSet<String>) {
        match value {
            Json::String(text) => self.look_into_text(text, wrong),
            Json::Array(items) => items.iter().for_each(|item| self.look_into(item, wrong)),
            Json::Object(fields) => fields
                .values()
                .for_each(|field| self.look_into(field, wrong)),
            _ => {}
        }
    }

    /// The names in a text such as `stage(high).start`.
    fn look_into_text(&self, text: &str, wrong: &mut BTreeSet<String>) {
        for (word, kind, known) in [
            ("stage(", "stage", &self.stages),
            ("event(", "event", &self.events),
        ] {
            let rests = text.split(word).skip(1);
            let named = rests.filter_map(|rest| Some(rest.split_once(')')?.0.trim()));
            // A name that is none is told by whoever reads the check.
            let named = named.filter(|name| !name.is_empty());
            wrong.extend(named.filter_map(|name| known.missing(kind, name)));
        }
    }
}

/// The stages of all loads.
fn stages(scenario: &Scenario, fields: &mut Fields<'_, '_>) -> Known {
    let mut known = Known::default();
    let loads = match fields.node("scenarios").map(|node| &node.value) {
        Some(Value::Map(loads)) => loads.as_slice(),
        Some(_) => {
            known.unread = true;
            &[]
        }
        None => &[],
    };
    for (name, node) in loads {
        let load = scenario.scenarios.get(name);
        if let Some(Executor::Replay { .. }) = load.map(|load| &load.executor) {
            known.names.insert(REPLAYED.to_owned());
            continue;
        }
        match load.and_then(|load| Plan::new(name, load, 0, None).ok()) {
            Some(plan) => {
                // Names that nobody gave, such as `50/s`, need not be ones that somebody may give.
                let names = plan.stages.into_iter().map(|stage| stage.name);
                known.names.extend(names);
            }
            None => written_stages(node, &mut known),
        }
    }
    known
}

/// The stages of a load that cannot be read. One without a name is called after what it sends, which is not known.
fn written_stages(load: &Node, known: &mut Known) {
    let Some(Value::List(stages)) = load.get("stages").map(|node| &node.value) else {
        known.unread = true;
        return;
    };
    for stage in stages {
        match stage.get("name") {
            Some(name) => known.add(text(name)),
            None => known.unread = true,
        }
    }
}

fn events(fields: &mut Fields<'_, '_>) -> Known {
    let mut known = Known::default();
    match fields.node("events").map(|node| &node.value) {
        Some(Value::List(events)) => events.iter().for_each(|event| known.add(event_name(event))),
        Some(_) => known.unread = true,
        None => {}
    }
    known
}

/// What an event is called, however wrong the rest of it is.
fn event_name(event: &Node) -> Option<String> {
    let named = event.get("name").or(event.get("mark"));
    let word = || WORDS.into_iter().find(|word| event.get(word).is_some());
    named.map_or_else(|| word().map(str::to_owned), text)
}
