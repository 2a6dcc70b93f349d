//! A run as a few lines of characters, for where nothing can be drawn: rate, quantile and replicas over time, with the
//! stretch that a finding is about marked below.

use std::ops::Range;

use super::text;
use crate::judge::Finding;
use crate::recording::{Recording, Service};
use crate::steps::Steps;

/// Characters of a line, which with its label fits into 80.
const COLUMNS: usize = 60;

/// From nothing to the most.
const LEVELS: [char; 8] = ['.', ':', '-', '=', '+', '*', '#', '@'];

/// A line of the strip: its name, a value for each column, and their unit.
type Row = (String, Vec<Option<f64>>, &'static str);

/// The strip of the service that a finding is about, in ASCII but for its labels; empty when nothing was recorded.
#[must_use]
pub(super) fn strip(recording: &Recording, finding: &Finding) -> String {
    let service = recording.services.get(&finding.service);
    let Some(service) = service.or_else(|| recording.services.values().next()) else {
        return String::new();
    };
    let end_s = service.load.slots.len() as f64;
    if end_s < 1.0 {
        return String::new();
    }
    let rows = rows(recording, service, end_s);
    let drawn = rows.iter().filter_map(drawn);
    drawn.chain(checked(finding, end_s)).collect()
}

fn rows(recording: &Recording, service: &Service, end_s: f64) -> [Row; 4] {
    let q = recording.scenario.slo.map_or(0.95, |slo| slo.quantile);
    let speed = recording.about.speed();
    let replicas = |steps: &Steps| {
        let most = |range: Range<usize>| steps.max(range.start as f64..range.end as f64);
        columns(end_s, |range| most(range).map(f64::from))
    };
    let rates = columns(end_s, |range| Some(speed * rate(service, range)?));
    let latencies = columns(end_s, |range| quantile_ms(service, range, q));
    let seen = &service.replicas;
    [
        ("rate".to_owned(), rates, "/s"),
        (text::quantile(q), latencies, " ms"),
        ("desired".to_owned(), replicas(&seen.desired), ""),
        ("ready".to_owned(), replicas(&seen.ready), ""),
    ]
}

/// A row as text; `None` where nothing of it is known.
fn drawn((name, values, unit): &Row) -> Option<String> {
    let known = || values.iter().flatten().copied();
    let (least, most) = (known().reduce(f64::min)?, known().fold(0.0, f64::max));
    let levels = values
        .iter()
        .map(|value| value.map_or(' ', |value| level(value, most)));
    let levels: String = levels.collect();
    let (least, most) = (least.round(), most.round());
    Some(format!("{name:>8} |{levels}| {least} to {most}{unit}\n"))
}

/// The mark under what a finding is about.
fn checked(finding: &Finding, end_s: f64) -> Option<String> {
    let from_s = finding.from_s?;
    let to_s = finding.to_s.unwrap_or(from_s);
    let at = |t_s: f64| ((t_s / end_s * COLUMNS as f64) as usize).min(COLUMNS - 1);
    let marked = at(from_s)..=at(to_s);
    let mark = |column| if marked.contains(&column) { '^' } else { ' ' };
    let marks: String = (0..COLUMNS).map(mark).collect();
    let (from, to) = (text::moment(from_s), text::moment(to_s));
    Some(format!("{:>8} |{marks}| {from} to {to}\n", "checked"))
}

fn columns(end_s: f64, value: impl Fn(Range<usize>) -> Option<f64>) -> Vec<Option<f64>> {
    let at = |column: usize| (end_s * column as f64 / COLUMNS as f64) as usize;
    let range = |column: usize| at(column)..at(column + 1).max(at(column) + 1);
    (0..COLUMNS).map(|column| value(range(column))).collect()
}

fn rate(service: &Service, range: Range<usize>) -> Option<f64> {
    let slots = service
        .load
        .slots
        .get(range.start..range.end.min(service.load.slots.len()))?;
    let offered: u64 = slots.iter().map(|slot| slot.counts.offered).sum();
    (!slots.is_empty()).then(|| offered as f64 / slots.len() as f64)
}

fn quantile_ms(service: &Service, range: Range<usize>, q: f64) -> Option<f64> {
    let latency = service.load.latencies_of(range).quantile(q)?;
    Some(latency.as_secs_f64() * 1e3)
}

fn level(value: f64, most: f64) -> char {
    let share = if 0.0 < most { value / most } else { 0.0 };
    let level = (share * (LEVELS.len() - 1) as f64).round() as usize;
    LEVELS[level.min(LEVELS.len() - 1)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn a_step_and_what_it_is_about_can_be_seen() {
        let verdict = fixture::verdict();
        let strip = strip(&fixture::recording(), &verdict.findings[1]);
        let lines: Vec<&str> = strip.lines().collect();
        assert_eq!(lines.len(), 5, "{strip}");
        assert!(
            lines[0].starts_with("    rate |::::::::@@@@@@@@@@@@@@@@@@@@::"),
            "{strip}"
        );
        assert!(
            lines[0].ends_with("| 47 to 603/s") || lines[0].contains(" to 60"),
            "{strip}"
        );
        assert!(
            lines[2].contains("@") && lines[2].ends_with("| 2 to 6"),
            "{strip}"
        );
        assert!(lines[4].starts_with(" checked |        ^^^ "), "{strip}");
        assert!(
            lines
                .iter()
                .all(|line| line.is_ascii() && line.len() <= 100),
            "{strip}"
        );
    }
}
