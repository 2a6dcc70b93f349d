//! The events of a file: what is done to the system, in order of time.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::names::Known;
use super::node::Node;
use super::service::{default_app, read_app};
use crate::scenario::{Action, App, Event, Service, Span};

/// Events of a scenario: each is a line in every chart.
const EVENTS_MAX: usize = 1_000;

/// How many times as slow a service becomes at most: as much as the sample app takes as an order.
const SLOWDOWN_MAX: f64 = 1_000.0;

/// What may be done; an event without a name is called by it.
pub(super) const WORDS: [&str; 6] = [
    "mark",
    "rollout",
    "undo",
    "change",
    "stopRedis",
    "stopMetrics",
];

/// What events may speak of, and what the ones before have made of it.
struct Stage<'k> {
    services: &'k Known,
    /// The versions of each service that were rolled out, the present one last.
    versions: BTreeMap<String, Vec<App>>,
    /// Whether a rollout could not be read, so that nobody knows what there is to go back from.
    unread: bool,
}

/// Reads the events of a scenario with these services, whose loads end at `end` where that is known.
pub(super) fn read(
    fields: &mut Fields<'_, '_>,
    services: &BTreeMap<String, Service>,
    known: &Known,
    end: Option<Span>,
) -> Vec<Event> {
    let version = |(name, service): (&String, &Service)| {
        let app = service.app.clone().unwrap_or_else(default_app);
        (name.clone(), vec![app])
    };
    let mut stage = Stage {
        services: known,
        versions: services.iter().map(version).collect(),
        unread: false,
    };
    let mut before = Span::default();
    fields.each("events", EVENTS_MAX, |event| {
        let at: Option<Span> = event.need("at");
        if at.is_some_and(|at| at < before) {
            event.wrong(
                "at",
                "is before the event above it; write events in order of time",
            );
        }
        if let (Some(at), Some(end)) = (at, end)
            && end < at
        {
            let message = format!("{at} is after the end of the loads, {end}: it never happens");
            event.wrong("at", message);
        }
        before = at.unwrap_or(before);
        let until: Option<Span> = event.get("until");
        if until.is_some() && until <= at {
            event.wrong("until", "must be after `at`");
        }
        let mark = event.name("mark");
        let name = event.name("name").or(mark);
        let (word, action) = action(event, &mut stage)?;
        Some(Event {
            at: at?,
            until,
            name: name.unwrap_or_else(|| word.to_owned()),
            action,
        })
    })
}

/// What is done, with the name of an event that has none.
fn action(event: &mut Fields<'_, '_>, stage: &mut Stage<'_>) -> Option<(&'static str, Action)> {
    // Each is asked for, so that none is unknown, also where there are two.
    let written: Vec<&str> = WORDS.into_iter().filter(|word| event.has(word)).collect();
    let [word] = written.as_slice() else {
        let all = WORDS.join(", ");
        let found = match written.as_slice() {
            [] => String::new(),
            several => format!("; it has {}", several.join(" and ")),
        };
        event.note(event.line(), "", format!("must have one of {all}{found}"));
        stage.unread |= written.contains(&"rollout");
        return None;
    };
    let action = match *word {
        "rollout" => {
            let rollout = event.inside("rollout", |rollout| roll_out(rollout, stage));
            stage.unread |= !matches!(rollout, Some(Some(_)));
            rollout??
        }
        "undo" => {
            let service = service(event, "undo", stage)?;
            let before = stage.versions.get_mut(&service)?;
            if before.len() < 2 && !stage.unread {
                event.wrong(
                    "undo",
                    format!("there is no rollout of `{service}` to go back from"),
                );
                return None;
            }
            before.truncate(before.len().saturating_sub(1).max(1));
            Action::Undo { service }
        }
        "change" => event.inside("change", |change| {
            let slowdown = change.need::<f64>("slowdown");
            if slowdown.is_some_and(|slowdown| !(0.0 < slowdown && slowdown <= SLOWDOWN_MAX)) {
                let message =
                    format!("must be above zero and {SLOWDOWN_MAX} at most; 1 is as before");
                change.wrong("slowdown", message);
            }
            let pods = change.get::<u32>("pods");
            if pods == Some(0) {
                change.wrong("pods", "must be 1 at least; without it, all pods are meant");
            }
            Some(Action::Change {
                service: service(change, "service", stage)?,
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

fn roll_out(fields: &mut Fields<'_, '_>, stage: &mut Stage<'_>) -> Option<Action> {
    let service = service(fields, "service", stage);
    let known = service
        .as_ref()
        .and_then(|service| stage.versions.get_mut(service));
    let present = known.as_ref().and_then(|versions| versions.last());
    let mut next = present.cloned().unwrap_or_else(default_app);
    let number = known.as_ref().map_or(0, |versions| versions.len()) + 1;
    next.version = format!("v{number}");
    let app = fields
        .inside("app", |app| read_app(app, &next))
        .unwrap_or(next);
    let says_calls = |app: &Node| app.get("calls").is_some();
    if let Some(calls) = &app.calls
        && fields.node("app").is_some_and(says_calls)
    {
        let own = service.as_ref() == Some(&calls.service);
        let itself = || "a service cannot wait for itself".to_owned();
        let missing = stage.services.missing("service", &calls.service);
        if let Some(message) = missing.or_else(|| own.then(itself)) {
            let line = fields.line_at(&["app", "calls", "service"]);
            fields.note(line, "app.calls.service", message);
        }
    }
    known?.push(app.clone());
    Some(Action::Rollout {
        service: service?,
        app: Box::new(app),
    })
}

fn service(fields: &mut Fields<'_, '_>, field: &'static str, stage: &Stage<'_>) -> Option<String> {
    let name: String = if stage.versions.len() == 1 && !fields.has(field) {
        stage.versions.keys().next()?.clone()
    } else {
        fields.need(field)?
    };
    if let Some(message) = stage.services.missing("service", &name) {
        fields.wrong(field, message);
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
