//! An explanation as text for a terminal.

use std::fmt::{self, Write as _};

use super::explanation::{Explanation, MetricLine};
use super::facts::Facts;
use super::reasons::span;
use crate::model::time::Timestamp;

/// What stands before each line of a section.
const INDENT: &str = "  ";

/// An explanation, its facts and when it is read, to be printed.
#[derive(Clone, Copy, Debug)]
pub struct Text<'a> {
    /// What is known.
    pub facts: &'a Facts,
    /// What is told of it.
    pub explanation: &'a Explanation,
    /// The time of the reader, for the facts' age.
    pub now: Timestamp,
}

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            facts, explanation, ..
        } = self;
        writeln!(f, "{}", self.title())?;
        writeln!(f, "\n{}", explanation.headline)?;
        if let Some(since) = &explanation.since {
            writeln!(f, "{since}")?;
        }
        section(f, "Metrics", &self.metrics())?;
        let steps = explanation
            .steps
            .iter()
            .map(|step| format!("{:<14} {}", step.name, step.text));
        section(f, "From proposals to replicas", &steps.collect::<Vec<_>>())?;
        section(f, "Pods", &explanation.pods)?;
        let changes = explanation.changes.iter().map(|change| change.text.clone());
        section(f, "What would change it", &changes.collect::<Vec<_>>())?;
        if let Some(real) = &facts.real {
            let mut lines = vec![format!(
                "current {}, desired {}{}",
                real.current_replicas,
                real.desired_replicas,
                match real.last_scale_time {
                    Some(at) => format!(", last scaled {} before", span(facts.at.since(at))),
                    None => String::new(),
                }
            )];
            lines.extend(real.conditions.iter().map(|condition| {
                format!(
                    "{}={} {}: {}",
                    condition.kind, condition.status, condition.reason, condition.message
                )
            }));
            section(f, "What the HPA's status says", &lines)?;
        }
        let warnings = explanation
            .warnings
            .iter()
            .map(|warning| warning.text.clone());
        section(f, "Warnings", &warnings.collect::<Vec<_>>())
    }
}

impl Text<'_> {
    fn title(&self) -> String {
        let facts = self.facts;
        let at = facts.at.to_rfc3339().unwrap_or_default();
        let age = span(self.now.since(facts.at));
        let when = match facts.memory {
            Some(_) => format!("its sync at {at}, {age} ago"),
            None => format!("as it was seen at {at}"),
        };
        format!(
            "hpa/{} in {}, of {} {}: {when}",
            facts.name, facts.namespace, facts.target.kind, facts.target.name
        )
    }

    /// A table: what is read, its target, their ratio, and what it asks for.
    fn metrics(&self) -> Vec<String> {
        let tolerances = self.facts.spec.tolerances();
        let head = [
            String::new(),
            "value".to_owned(),
            "target".to_owned(),
            "ratio".to_owned(),
            "asks for".to_owned(),
            String::new(),
        ];
        let row = |line: &MetricLine| {
            [
                format!("{} {}", if line.won { "*" } else { " " }, line.label),
                line.value.clone().unwrap_or_else(|| "none".to_owned()),
                line.target.clone(),
                line.ratio.clone().unwrap_or_else(|| "-".to_owned()),
                line.asks.clone(),
                line.known.clone().unwrap_or_default(),
            ]
        };
        let lines = &self.explanation.metrics;
        let rows: Vec<[String; 6]> = std::iter::once(head).chain(lines.iter().map(row)).collect();
        let mut widths = [0; 6];
        for row in &rows {
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = cell.chars().count().max(*width);
            }
        }
        let aligned = rows.iter().map(|row| {
            let mut line = String::new();
            for (cell, width) in row.iter().zip(widths) {
                // Writing to a String cannot fail.
                let _ = write!(line, "{cell:<width$}  ");
            }
            line.trim_end().to_owned()
        });
        let mut aligned: Vec<String> = aligned.collect();
        let sources = lines
            .iter()
            .map(|line| format!("  {}: {}", line.label, line.source));
        aligned.extend(sources);
        aligned.push(format!(
            "  a ratio from {:.2} to {:.2} asks for no change",
            1.0 - tolerances.down,
            1.0 + tolerances.up
        ));
        aligned
    }
}

fn section(f: &mut fmt::Formatter<'_>, title: &str, lines: &[String]) -> fmt::Result {
    if lines.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{title}")?;
    for line in lines {
        writeln!(f, "{INDENT}{line}")?;
    }
    Ok(())
}
