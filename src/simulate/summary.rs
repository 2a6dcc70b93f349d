//! What a person reads when a simulation has ended: the figures of each service, with a column for each HPA where there
//! are several, and each check in a line.

use std::fmt::Write;
use std::time::Duration;

use taffrail_loadtest::judge::verdict::Verdict;
use taffrail_loadtest::judge::{Finding, Outcome};
use taffrail_loadtest::recording::Metric;
use taffrail_loadtest::report::html::compare::{Compared, Comparison, Row};

use super::figures::{self, Column};
use super::playing::{Played, Yardsticks};

/// The text, which ends with a line break. Writing to a `String` cannot fail, so results are dropped.
pub(super) fn text(all: &[Played], yardsticks: &Yardsticks) -> String {
    let Some(first) = all.first() else {
        return String::new();
    };
    let name = &first.recording.scenario.name;
    let mut text = format!("{name}: a simulation, nothing of it was real\n");
    match all {
        [only] => {
            let columns: Vec<(&str, Column<'_>)> = yardsticks
                .0
                .keys()
                .filter_map(|service| Some((service.as_str(), column(only, service, yardsticks)?)))
                .collect();
            let (names, columns): (Vec<&str>, Vec<Column<'_>>) = columns.into_iter().unzip();
            text.push('\n');
            table(&mut text, "service", &names, &figures::rows(&columns));
            text.push('\n');
            for finding in &only.verdict.findings {
                let (name, sentence) = (&finding.name, &finding.sentence);
                let _ = writeln!(text, "{}  {name}: {sentence}", mark(finding.outcome));
            }
            let _ = writeln!(text, "\n{}", only.verdict.sentence);
        }
        several => {
            let names: Vec<&str> = several.iter().map(|played| played.name.as_str()).collect();
            for service in yardsticks.0.keys() {
                text.push('\n');
                table(
                    &mut text,
                    service,
                    &names,
                    &compared(several, service, yardsticks),
                );
            }
            checks(&mut text, &names, several);
        }
    }
    blind(&mut text, all);
    text
}

/// What an HPA asked for and never had a value of: it was blind to that, as by a wrong name, selector or namespace, and
/// all figures are those of an HPA without it.
fn blind(text: &mut String, all: &[Played]) {
    for played in all {
        let under = match all.len() {
            1 => String::new(),
            _ => format!("{}: ", played.name),
        };
        for (service, seen) in &played.recording.services {
            for metric in &seen.metrics {
                let Some(said) = never_had_a_value(metric) else {
                    continue;
                };
                let name = &metric.name;
                let selected = match metric.selector.as_str() {
                    "" => String::new(),
                    selector => format!("{{{selector}}}"),
                };
                let _ = writeln!(
                    text,
                    "\nnote: {under}the HPA of {service} never had a value of {name}{selected}: {said}"
                );
            }
        }
    }
}

/// What was said at last in the stead of a value, where there was none during the whole load.
fn never_had_a_value(metric: &Metric) -> Option<&str> {
    let mut reads = metric.reads.iter().filter(|read| 0.0 <= read.t_s);
    if reads.clone().any(|read| read.value.is_some()) {
        return None;
    }
    reads.next_back()?.error.as_deref()
}

/// How long it took for how long it was.
pub(super) fn took(all: &[Played], took: Duration) -> String {
    let services = all
        .iter()
        .flat_map(|played| played.recording.services.values());
    let requests: u64 = services.map(|service| service.load.counts.offered).sum();
    let duration_s = all
        .first()
        .map_or(0.0, |played| played.recording.about.duration_s);
    let each = match all.len() {
        1 => String::new(),
        several => format!("{several} times "),
    };
    format!(
        "Simulated {each}{} and {requests} requests in {:.1} s.\n",
        span(duration_s),
        took.as_secs_f64()
    )
}

/// A length of time for people.
pub(super) fn span(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.round().max(0.0) as u64)).to_string()
}

/// The rows of a service, with a column for each run.
pub(super) fn compared(all: &[Played], service: &str, yardsticks: &Yardsticks) -> Vec<Row> {
    let columns = all
        .iter()
        .filter_map(|played| column(played, service, yardsticks));
    figures::rows(&columns.collect::<Vec<_>>())
}

fn column<'a>(played: &'a Played, service: &str, yardsticks: &Yardsticks) -> Option<Column<'a>> {
    Some(Column {
        service: played.recording.services.get(service)?,
        outcome: played.outcomes.get(service)?,
        slo: yardsticks.0.get(service)?.slo,
        duration_s: played.recording.about.duration_s,
    })
}

/// How each check ended under each HPA, and in words what did not hold.
fn checks(text: &mut String, names: &[&str], all: &[Played]) {
    let comparison = Comparison {
        runs: all.iter().map(Played::compared).collect(),
        services: Default::default(),
    };
    let several = all.iter().any(|played| 1 < played.recording.services.len());
    let found = |run: &Compared<'_>, (service, name): (&str, &str)| {
        let mut findings = run.report.verdict.findings.iter();
        let is_it = |finding: &&Finding| {
            (finding.service.as_str(), finding.name.as_str()) == (service, name)
        };
        findings
            .find(is_it)
            .map_or("", |finding| mark(finding.outcome))
            .to_owned()
    };
    let rows = comparison.check_names().into_iter().map(|(service, name)| {
        let label = match several && !service.is_empty() {
            true => format!("{service}: {name}"),
            false => name.to_owned(),
        };
        (
            label,
            comparison
                .runs
                .iter()
                .map(|run| found(run, (service, name)))
                .collect(),
        )
    });
    let rows: Vec<(String, Vec<String>)> = rows.collect();
    if !rows.is_empty() {
        text.push('\n');
        lines(text, "check", names, &rows);
    }
    for played in all {
        let _ = writeln!(text, "\n{}: {}", played.name, played.verdict.sentence);
        for finding in unheld(&played.verdict) {
            let (name, sentence) = (&finding.name, &finding.sentence);
            let _ = writeln!(text, "  {}  {name}: {sentence}", mark(finding.outcome));
        }
    }
}

fn unheld(verdict: &Verdict) -> impl Iterator<Item = &Finding> {
    let findings = verdict.findings.iter();
    findings.filter(|finding| matches!(finding.outcome, Outcome::Fail | Outcome::Inconclusive))
}

fn table(text: &mut String, corner: &str, names: &[&str], rows: &[Row]) {
    let rows = rows.iter().map(|row| {
        let cells = row.cells.iter().map(|cell| match cell.text.as_str() {
            "" => "-".to_owned(),
            text => text.to_owned(),
        });
        (row.label.clone(), cells.collect())
    });
    lines(text, corner, names, &rows.collect::<Vec<_>>());
}

/// Columns as wide as their widest cell; labels to the left, what they are of to the right.
fn lines(text: &mut String, corner: &str, names: &[&str], rows: &[(String, Vec<String>)]) {
    let width = |text: &str| text.chars().count();
    let first = rows
        .iter()
        .map(|(label, _)| width(label))
        .max()
        .unwrap_or(0);
    let first = first.max(width(corner));
    let widths: Vec<usize> = names
        .iter()
        .enumerate()
        .map(|(nth, name)| {
            let cells = rows.iter().filter_map(|(_, cells)| cells.get(nth));
            let widest = cells.map(|cell| width(cell)).max();
            widest.unwrap_or(0).max(width(name))
        })
        .collect();
    let mut line = |label: &str, cells: &mut dyn Iterator<Item = &str>| {
        let _ = write!(text, "{label:first$}");
        for (cell, width) in cells.zip(&widths) {
            let _ = write!(text, "  {cell:>width$}");
        }
        text.push('\n');
    };
    line(corner, &mut names.iter().copied());
    for (label, cells) in rows {
        line(label, &mut cells.iter().map(String::as_str));
    }
}

fn mark(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "FAIL",
        Outcome::Inconclusive => "????",
        Outcome::Skipped => "skip",
    }
}
