//! Everything that is known of one HPA at one time, and its two forms: text and JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

use super::ask::AskError;
use super::events::{self, Event};
use super::{Args, At, adapter, object, sight};
use crate::clock;
use crate::cluster::connect::Cluster;
use crate::model::time::Timestamp;
use crate::story::document::Record;
use crate::story::facts::Way;
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
        args: &Args,
    ) -> anyhow::Result<Self> {
        let name = args.name.as_str();
        let hpa = object::read(cluster, namespace, name).await?;
        let now = clock::now();
        let at = args.at.map(|at| match at {
            At::Time(time) => time,
            At::Ago(ago) => now - ago,
        });
        let known = match at {
            Some(at) => match adapter::look_back(cluster, namespace, args, at).await {
                Err(error) => return Err(not_remembered(cluster, namespace, name, at, error).await),
                known => known,
            },
            None => adapter::read(cluster, namespace, name, None).await,
        };
        let (source, facts, record, mut notes) = match known {
            Ok(document) => {
                let mut notes = of_record(&document);
                let age = now.since(document.facts.at);
                if at.is_none() && SYNC_AGE_MAX < age && reads_metrics(&document.facts) {
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
    let presumed = record.presumed.clone();
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
    presumed
        .into_iter()
        .chain(agreement)
        .chain(parted)
        .collect()
}

/// Why the sync at `at` cannot be told, and what is known of that time all the same: the HPA's events.
async fn not_remembered(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    at: Timestamp,
    error: AskError,
) -> anyhow::Error {
    let events = events::read(cluster, namespace, name, at).await;
    let tell = |event: Event| {
        let before = at.since(event.at).as_secs();
        format!("{}, {before} s before: {}", event.reason, event.message)
    };
    let events = match events {
        Err(error) => format!("its events are not known: {error}"),
        Ok(events) if events.is_empty() => {
            "the HPA's events do not reach so far back either".to_owned()
        }
        Ok(events) => {
            let told: Vec<String> = events.into_iter().map(tell).collect();
            format!("the HPA's events until then: {}", told.join("; "))
        }
    };
    anyhow::anyhow!("only the adapter can look back, and it does not: {error}; {events}")
}

/// Whether an HPA in this state reads metrics at each sync. One that does not writes nothing new either, so that none of
/// its later syncs can be seen.
fn reads_metrics(facts: &Facts) -> bool {
    let real = facts.real.as_ref();
    let is_off = facts.outcome.way == Way::Disabled;
    let is_refused = real.is_some_and(|real| {
        let unread = real.failure("AbleToScale");
        let is_unread = unread.is_some_and(|condition| condition.reason == "FailedGetScale");
        is_unread || real.refused_selector().is_some()
    });
    !is_off && !is_refused
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
