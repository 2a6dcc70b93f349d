//! How times, durations, numbers and outcomes are written for people, alike in every report.

use std::borrow::Cow;

use crate::judge::{Finding, Group, Outcome};
use crate::recording::{Recording, Service, Stage, Tier};

/// A moment of a run: `1:05` for 65 seconds, `1:00:05` past an hour.
#[must_use]
pub fn moment(t_s: f64) -> String {
    let t = t_s.max(0.0).round() as u64;
    let (hours, minutes, seconds) = (t / 3600, t / 60 % 60, t % 60);
    if hours == 0 {
        format!("{minutes}:{seconds:02}")
    } else {
        format!("{hours}:{minutes:02}:{seconds:02}")
    }
}

/// A span of time: `48 s`, `3 min 20 s`.
#[must_use]
pub fn span(seconds: f64) -> String {
    let s = seconds.max(0.0).round() as u64;
    match (s / 60, s % 60) {
        (0, s) => format!("{s} s"),
        (m, 0) => format!("{m} min"),
        (m, s) => format!("{m} min {s} s"),
    }
}

/// A latency: `0.8 ms`, `250 ms`, `1.25 s`.
#[must_use]
pub fn latency(ms: f64) -> String {
    if 999.5 <= ms {
        let seconds = format!("{:.2}", ms / 1000.0);
        format!("{} s", trimmed(&seconds))
    } else if 9.95 <= ms {
        format!("{ms:.0} ms")
    } else {
        format!("{} ms", trimmed(&format!("{ms:.1}")))
    }
}

/// A number of things with thousands apart: `12,345`.
#[must_use]
pub fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i != 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A plain number, as on an axis: at most three decimals, thousands apart.
#[must_use]
pub fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    let short = trimmed(&text);
    if short.contains('.') || value < 0.0 {
        short.to_owned()
    } else {
        count(value.round() as u64)
    }
}

/// Replicas with their noun: `1 replica`, `6 replicas`.
#[must_use]
pub fn replicas(n: u32) -> String {
    if n == 1 {
        "1 replica".to_owned()
    } else {
        format!("{n} replicas")
    }
}

/// A share in percent: two decimals, and never `100 %` unless it is all.
#[must_use]
pub fn percent(share: f64) -> String {
    if share < 1.0 && 0.9999 < share {
        return "99.99 %".to_owned();
    }
    format!("{} %", trimmed(&format!("{:.2}", share * 100.0)))
}

/// An objective: `p95 within 250 ms`.
#[must_use]
pub fn objective(quantile: f64, limit_ms: f64) -> String {
    format!("{} within {}", self::quantile(quantile), latency(limit_ms))
}

/// A quantile as people say it: `p95` for 0.95, `p99.9` for 0.999.
#[must_use]
pub fn quantile(quantile: f64) -> String {
    format!("p{}", trimmed(&format!("{:.2}", quantile * 100.0)))
}

/// A value with its unit: `42.5 s`, `1,200 ms`, `3 pods`, `0.98`.
#[must_use]
pub fn measure(value: f64, unit: &str) -> String {
    let sign = if value < 0.0 { "-" } else { "" };
    let magnitude = value.abs();
    // What people compare has three digits that count; a share keeps more, because 0.9996 is not 1.
    let digits = match magnitude {
        m if 100.0 <= m => 0,
        m if 10.0 <= m => 1,
        m if 1.0 <= m => 2,
        _ => 4,
    };
    let short = format!("{magnitude:.digits$}");
    let short = match trimmed(&short).parse() {
        Ok(whole) if 100.0 <= magnitude => count(whole),
        _ => trimmed(&short).to_owned(),
    };
    match unit {
        "" => format!("{sign}{short}"),
        unit => format!("{sign}{short} {unit}"),
    }
}

/// What a check found: its value with its unit, or a dash.
#[must_use]
pub fn value(finding: &Finding) -> String {
    let known = |value| measure(value, &finding.unit);
    finding.value.map_or("–".to_owned(), known)
}

/// How exactly it could be told, as `± 1 s`; empty when it is exact or was not told.
#[must_use]
pub fn resolution(finding: &Finding) -> String {
    if finding.value.is_some() && 0.0 < finding.resolution {
        format!("± {}", measure(finding.resolution, &finding.unit))
    } else {
        String::new()
    }
}

/// The word for how a check ended.
#[must_use]
pub fn outcome(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "passed",
        Outcome::Fail => "failed",
        Outcome::Inconclusive => "inconclusive",
        Outcome::Skipped => "skipped",
    }
}

/// A sign for the same, for a quick eye. It never stands without the word.
#[must_use]
pub fn sign(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "✓",
        Outcome::Fail => "✗",
        Outcome::Inconclusive => "?",
        Outcome::Skipped => "–",
    }
}

/// The word for what a check belongs to.
#[must_use]
pub fn group(group: Group) -> &'static str {
    match group {
        Group::Reaction => "reaction",
        Group::Slo => "slo",
        Group::Bounds => "bounds",
        Group::Stability => "stability",
        Group::Cost => "cost",
        Group::Health => "health",
        Group::Threshold => "threshold",
        Group::Validity => "validity",
        Group::Baseline => "baseline",
    }
}

/// Where a scenario was played, and how real that is.
#[must_use]
pub fn tier(recording: &Recording) -> &'static str {
    let has_autoscaler = |service: &Service| service.autoscaler.is_some();
    match recording.about.tier {
        Tier::Virtual => "SIMULATION: time, pods and requests are computed, nothing was measured",
        Tier::Local => "Measured on one machine, with a model of the HPA",
        Tier::Cluster if recording.services.values().any(has_autoscaler) => {
            "Measured in a cluster, with its own HPA controller"
        }
        Tier::Cluster => "Measured on a server that runs, without a look at an HPA",
    }
}

/// The name of a stage, with its load's where that differs from its service's.
#[must_use]
pub fn stage(stage: &Stage) -> Cow<'_, str> {
    if stage.load == stage.service || stage.load.is_empty() {
        return Cow::Borrowed(&stage.name);
    }
    Cow::Owned(format!("{} ({})", stage.name, stage.load))
}

/// Text from outside without what would steer a terminal or break a line: control characters, and those that turn the
/// direction of text, are shown as `\u{fffd}`; a line break is a space.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    if !text.contains(is_unsafe) {
        return Cow::Borrowed(text);
    }
    let safe = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_unsafe(c) => char::REPLACEMENT_CHARACTER,
        c => c,
    };
    Cow::Owned(text.chars().map(safe).collect())
}

/// Whether a character is a control or turns the direction of text.
pub(crate) fn is_unsafe(c: char) -> bool {
    let turns =
        matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    c.is_control() || turns
}

/// A decimal fraction without the zeros that say nothing.
fn trimmed(decimal: &str) -> &str {
    if decimal.contains('.') {
        decimal.trim_end_matches('0').trim_end_matches('.')
    } else {
        decimal
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_people_write_them() {
        assert_eq!(
            [moment(0.0), moment(65.4), moment(3605.0)],
            ["0:00", "1:05", "1:00:05"]
        );
        assert_eq!(
            [span(48.2), span(60.0), span(200.0)],
            ["48 s", "1 min", "3 min 20 s"]
        );
        assert_eq!(
            [
                latency(0.84),
                latency(9.0),
                latency(250.4),
                latency(999.6),
                latency(1250.0),
                latency(30_000.0)
            ],
            ["0.8 ms", "9 ms", "250 ms", "1 s", "1.25 s", "30 s"]
        );
        assert_eq!(
            [count(0), count(999), count(1000), count(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!(
            [number(0.1 + 0.2), number(1500.0), number(2.5)],
            ["0.3", "1,500", "2.5"]
        );
        assert_eq!(
            [replicas(1), replicas(0), replicas(6)],
            ["1 replica", "0 replicas", "6 replicas"]
        );
        assert_eq!(
            [
                percent(1.0),
                percent(0.999_999),
                percent(0.9),
                percent(0.123_45)
            ],
            ["100 %", "99.99 %", "90 %", "12.35 %"]
        );
        assert_eq!(objective(0.999, 80.0), "p99.9 within 80 ms");
    }

    #[test]
    fn a_value_has_the_digits_that_count_and_its_unit() {
        let measured = [
            (42.46, "s"),
            (0.99961, ""),
            (1234.4, "ms"),
            (3.0, "pods"),
            (-2.5, "s"),
            (0.0, "s"),
        ]
        .map(|(value, unit)| measure(value, unit));
        assert_eq!(
            measured,
            ["42.5 s", "0.9996", "1,234 ms", "3 pods", "-2.5 s", "0 s"]
        );
    }

    #[test]
    fn text_from_outside_steers_no_terminal() {
        assert_eq!(plain("pod-1 ist schön"), "pod-1 ist schön");
        assert_eq!(
            plain("a\x1b[2Jb\nc\u{202e}d\u{9b}e"),
            "a\u{fffd}[2Jb c\u{fffd}d\u{fffd}e"
        );
    }
}
