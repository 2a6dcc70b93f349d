//! The events of a file: what is done to the system, in order of time.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::service::{default_app, read_app};
use crate::scenario::{Action, App, Event, Service, Span};

/// Events of a scenario: each is a line in every chart.
const EVENTS_MAX: usize = 1_000;

/// The versions of each service that were rolled out, the present one last.
type Versions = BTreeMap<String, Vec<App>>;

/// Reads the events of a scenario with these services.
pub(super) fn read(
    fields: &mut Fields<'_, '_>,
    services: &BTreeMap<String, Service>,
) -> Vec<Event> {
    let version = |(name, service): (&String, &Service)| {
        let app = service.app.clone().unwrap_or_else(default_app);
        (name.clone(), vec![app])
    };
    let mut versions: Versions = services.iter().map(version).collect();
    let mut before: Option<Span> = None;
    fields.each("events", EVENTS_MAX, |event| {
        let at: Option<Span> = event.need("at");
        if at < before {
            event.wrong(
                "at",
                "is before the event above it; write events in order of time",
            );
        }
        before = at.or(before);
        let until: Option<Span> = event.get("until");
        if until.is_some() && until <= at {
            event.wrong("until", "must be after `at`");
        }
        let (word, action) = action(event, &mut versions)?;
        let mark = event.name("mark");
        let name = event
            .name("name")
            .or(mark)
            .unwrap_or_else(|| word.to_owned());
        Some(Event {
            at: at?,
            until,
            name,
            action,
        })
    })
}

/// What is done, with the name of an event that has none.
fn action(event: &mut Fields<'_, '_>, versions: &mut Versions) -> Option<(&'static str, Action)> {
    let words = [
        "mark",
        "rollout",
        "undo",
        "change",
        "stopRedis",
        "stopMetrics",
    ];
    let written: Vec<&str> = words.into_iter().filter(|word| event.has(word)).collect();
    let [word] = written.as_slice() else {
        let all = words.join(", ");
        event.note(event.line(), "", format!("must have one of {all}"));
        return None;
    };
    let action = match *word {
        "rollout" => event.inside("rollout", |rollout| roll_out(rollout, versions))??,
        "undo" => {
            let service = service(event, "undo", versions)?;
            let before = versions.get_mut(&service)?;
            if before.len() < 2 {
                event.wrong(
                    "undo",
                    format!("there is no rollout of `{service}` to go back from"),
                );
                return None;
            }
            before.pop();
            Action::Undo { service }
        }
        "change" => event.inside("change", |change| {
            let slowdown = change.need::<f64>("slowdown");
            if slowdown.is_some_and(|slowdown| slowdown <= 0.0) {
                change.wrong("slowdown", "must be above zero; 1 is as before");
            }
            let pods = change.get::<u32>("pods");
            if pods == Some(0) {
                change.wrong("pods", "must be 1 at least; without it, all pods are meant");
            }
            Some(Action::Change {
                service: service(change, "service", versions)?,
                slowdown: slowdown?,
                pods,
            })
        })??,
        "stopRedis" => flag(event, "stopRedis", Action::StopRedis)?,
        "stopMetrics" => flag(event, "stopMetrics", Action::StopMetrics)?,
        _ => Action::Mark,
    };
    Some((word, action))
}

fn roll_out(fields: &mut Fields<'_, '_>, versions: &mut Versions) -> Option<Action> {
    let service = service(fields, "service", versions);
    let known = service
        .as_ref()
        .and_then(|service| versions.get_mut(service));
    let present = known.as_ref().and_then(|versions| versions.last());
    let mut next = present.cloned().unwrap_or_else(default_app);
    let number = known.as_ref().map_or(0, |versions| versions.len()) + 1;
    next.version = format!("v{number}");
    let app = fields
        .inside("app", |app| read_app(app, &next))
        .unwrap_or(next);
    known?.push(app.clone());
    Some(Action::Rollout {
        service: service?,
        app: Box::new(app),
    })
}

fn service(
    fields: &mut Fields<'_, '_>,
    field: &'static str,
    versions: &Versions,
) -> Option<String> {
    let name: String = if versions.len() == 1 && !fields.has(field) {
        versions.keys().next()?.clone()
    } else {
        fields.need(field)?
    };
    if !versions.contains_key(&name) {
        fields.wrong(
            field,
            super::names::no_such("service", &name, versions.keys()),
        );
        return None;
    }
    Some(name)
}

fn flag(event: &mut Fields<'_, '_>, field: &'static str, action: Action) -> Option<Action> {
    match event.get(field) {
        Some(true) => Some(action),
        Some(false) => {
            event.wrong(field, "must be true, or not be there");
            None
        }
        None => None,
    }
}
