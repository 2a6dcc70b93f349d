//! Everything that is known of one HPA at one time, and its two forms: text and JSON.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

use super::events::{self, Event};
use super::{At, adapter, object, sight};
use crate::clock;
use crate::cluster::connect::Cluster;
use crate::model::time::Timestamp;
use crate::story::document::Record;
use crate::story::{Document, Explanation, Facts, Text};

/// A sync older than this is not the latest any more: two more should have come since.
const SYNC_AGE_MAX: Duration = Duration::from_secs(45);

/// What is printed.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    /// Who saw it.
    source: Source,
    pub(super) facts: Facts,
    explanation: Explanation,
    /// What the adapter knows beside it.
    record: Option<Record>,
    events: Vec<Event>,
    /// What to know of how all this was read.
    notes: Vec<String>,
}

/// Who saw what is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
enum Source {
    /// The adapter, sync by sync.
    Adapter,
    /// This command, once.
    Here,
}

impl Report {
    /// Reads it all.
    ///
    /// # Errors
    /// What could not be read that nothing can be said without, and what to do about it.
    pub(super) async fn read(
        cluster: &Cluster,
        namespace: &str,
        name: &str,
        at: Option<At>,
    ) -> anyhow::Result<Self> {
        let hpa = object::read(cluster, namespace, name).await?;
        let now = clock::now();
        let at = at.map(|at| match at {
            At::Time(time) => time,
            At::Ago(ago) => now - ago,
        });
        let known = adapter::read(cluster, namespace, name, at).await;
        let (source, facts, record, mut notes) = match known {
            Ok(document) => {
                let mut notes = of_record(&document);
                let age = now.since(document.facts.at);
                if at.is_none() && SYNC_AGE_MAX < age {
                    notes.insert(0, silent(age));
                }
                if !hpa.is_watched_since_its_beginning(document.record.watched_since) {
                    notes.extend(unknown_past(&document.record, &document.facts));
                }
                (
                    Source::Adapter,
                    document.facts,
                    Some(document.record),
                    notes,
                )
            }
            Err(error) if at.is_some() => {
                return Err(error).context("only the adapter can look back, and it does not");
            }
            Err(error) => {
                let (facts, mut notes) = sight::look(cluster, namespace, name, &hpa, now).await?;
                notes.insert(0, format!(
                    "the adapter does not explain this HPA, so how long stabilization and policies hold is known only as far \
                     as the HPA's status tells: {error}"
                ));
                (Source::Here, facts, None, notes)
            }
        };
        let until = if at.is_some() { facts.at } else { now };
        let events = match events::read(cluster, namespace, name, until).await {
            Ok(events) => events,
            Err(error) => {
                notes.push(format!("its events are not known: {error}"));
                Vec::new()
            }
        };
        Ok(Self {
            source,
            explanation: Explanation::new(&facts),
            facts,
            record,
            events,
            notes,
        })
    }

    /// For people, at `now`.
    pub(super) fn text(&self, now: Timestamp) -> String {
        let mut text = Text {
            facts: &self.facts,
            explanation: &self.explanation,
            now,
        }
        .to_string();
        let event = |event: &Event| {
            let Event {
                at,
                count,
                kind,
                reason,
                message,
            } = event;
            let ago = now.since(*at).as_secs();
            let times = if 1 < *count {
                format!(" ({count} times)")
            } else {
                String::new()
            };
            format!("{ago} s ago{times}: {kind} {reason}: {message}")
        };
        section(&mut text, "Events", self.events.iter().map(event));
        section(&mut text, "Notes", self.notes.iter().cloned());
        text
    }
}

fn section(text: &mut String, title: &str, lines: impl Iterator<Item = String>) {
    for (index, line) in lines.enumerate() {
        if index == 0 {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "\n{title}");
        }
        let _ = writeln!(text, "  {line}");
    }
}

/// What to know of what the adapter says.
fn of_record(document: &Document) -> Vec<String> {
    let Document {
        record,
        facts,
        parted_count,
        ..
    } = document;
    let change = record.changed_by_others.map(|change| {
        format!(
            "somebody else than the HPA changed the replicas from {} to {} before this sync",
            change.from, change.to
        )
    });
    let presumed = record.presumed.iter().cloned();
    let agreed = facts
        .real
        .as_ref()
        .is_some_and(|real| real.parted.is_none());
    let agreement = agreed.then(|| "what the HPA did is what the arithmetic gives".to_owned());
    let parted = (0 < *parted_count).then(|| {
        format!(
            "of {} syncs kept, the HPA decided {parted_count} otherwise than the arithmetic",
            record.syncs
        )
    });
    change
        .into_iter()
        .chain(presumed)
        .chain(agreement)
        .chain(parted)
        .collect()
}

/// That the adapter has not seen the HPA look for so long.
fn silent(age: Duration) -> String {
    format!(
        "the adapter has seen no sync of this HPA for {} s: the HPA controller may be away, its reads may not reach the \
         adapter, or other HPAs read the same metrics and its status has nothing new to say",
        age.as_secs()
    )
}

/// That the HPA may remember what was before the adapter watched it.
fn unknown_past(record: &Record, facts: &Facts) -> Option<String> {
    let watched = facts.at.since(record.watched_since);
    (watched < facts.spec.memory()).then(|| {
        format!(
            "the adapter had watched this HPA for {} s only: what the HPA remembered from before is not known",
            watched.as_secs()
        )
    })
}
