//! A run as a few lines of characters, for where nothing can be drawn: rate, quantile and replicas over time, with the
//! stretch that a finding is about marked below.

use std::fmt::Write;

use super::text;
use crate::judge::Finding;
use crate::recording::{Recording, Service};

/// Characters of a line, which with its label fits into 80.
const COLUMNS: usize = 60;

/// From nothing to the most.
const LEVELS: [char; 8] = ['.', ':', '-', '=', '+', '*', '#', '@'];

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
    let q = recording.scenario.slo.map_or(0.95, |slo| slo.quantile);
    let ms = |range: std::ops::Range<usize>| quantile_ms(service, range, q);
    let replicas = |steps: &crate::steps::Steps| {
        columns(end_s, |range| {
            steps
                .max(range.start as f64..range.end as f64)
                .map(f64::from)
        })
    };
    let rows = [
        (
            "rate".to_owned(),
            columns(end_s, |range| rate(service, range)),
            "/s",
        ),
        (text::quantile(q), columns(end_s, ms), " ms"),
        (
            "desired".to_owned(),
            replicas(&service.replicas.desired),
            "",
        ),
        ("ready".to_owned(), replicas(&service.replicas.ready), ""),
    ];
    let mut strip = String::new();
    for (name, values, unit) in &rows {
        let known = || values.iter().flatten().copied();
        let (least, most) = (
            known().fold(f64::INFINITY, f64::min),
            known().fold(0.0, f64::max),
        );
        if least.is_infinite() {
            continue;
        }
        let row: String = values
            .iter()
            .map(|value| value.map_or(' ', |value| level(value, most)))
            .collect();
        let (least, most) = (least.round(), most.round());
        let _ = writeln!(strip, "{name:>8} |{row}| {least} to {most}{unit}");
    }
    if let Some(from_s) = finding.from_s {
        let to_s = finding.to_s.unwrap_or(from_s);
        let at = |t_s: f64| ((t_s / end_s * COLUMNS as f64) as usize).min(COLUMNS - 1);
        let row: String = (0..COLUMNS)
            .map(|i| {
                if at(from_s) <= i && i <= at(to_s) {
                    '^'
                } else {
                    ' '
                }
            })
            .collect();
        let _ = writeln!(
            strip,
            "{:>8} |{row}| {} to {}",
            "checked",
            text::moment(from_s),
            text::moment(to_s)
        );
    }
    strip
}

fn columns(end_s: f64, value: impl Fn(std::ops::Range<usize>) -> Option<f64>) -> Vec<Option<f64>> {
    let at = |column: usize| (end_s * column as f64 / COLUMNS as f64) as usize;
    let range = |column: usize| at(column)..at(column + 1).max(at(column) + 1);
    (0..COLUMNS).map(|column| value(range(column))).collect()
}

fn rate(service: &Service, range: std::ops::Range<usize>) -> Option<f64> {
    let slots = service
        .load
        .slots
        .get(range.start..range.end.min(service.load.slots.len()))?;
    let offered: u64 = slots.iter().map(|slot| slot.counts.offered).sum();
    (!slots.is_empty()).then(|| offered as f64 / slots.len() as f64)
}

fn quantile_ms(service: &Service, range: std::ops::Range<usize>, q: f64) -> Option<f64> {
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
