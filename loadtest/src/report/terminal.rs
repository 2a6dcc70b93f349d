//! The report on a terminal: a line a second where nobody looks but a log, a [picture](live) where somebody does, and the
//! verdict at the end. All of it is text made from what was seen; whoever calls writes it, and knows how wide it may be.

pub mod live;

use std::fmt::Write;

use super::reaction::reactions;
use super::{Report, text};
use crate::judge::Outcome;
use crate::measured::Progress;
use crate::recording::{Event, Recording};

/// Sentences of the summary are broken so that they do not pass this column.
const COLUMNS: usize = 100;

/// One second of a service as one line.
#[must_use]
pub fn second(recording: &Recording, service: &str, progress: &Progress) -> String {
    let t_s = progress.second as f64;
    let counts = &progress.counts;
    let mut words = vec![
        format!("{:>7}", text::moment(t_s)),
        text::plain(service).into_owned(),
        stage(recording, service, t_s)
            .map_or("-".to_owned(), |name| text::plain(name).into_owned()),
        format!("{}/s", text::count(counts.offered)),
        format!("ok {}", text::count(counts.ok)),
    ];
    let lost = [("failed", counts.errors()), ("dropped", counts.dropped)];
    words.extend(
        lost.into_iter()
            .filter(|(_, n)| 0 < *n)
            .map(|(name, n)| format!("{name} {n}")),
    );
    words.push(quantiles(progress));
    words.extend(scaling(recording, service));
    words.join("  ")
}

/// Something that happened as one line.
#[must_use]
pub fn event(event: &Event) -> String {
    let service = event
        .service
        .as_deref()
        .map_or(String::new(), |name| format!("{}: ", text::plain(name)));
    format!(
        "{:>7}  ▸ {service}{}",
        text::moment(event.t_s),
        text::plain(&event.text)
    )
}

/// The verdict, its checks, and how long each scale-out took.
#[must_use]
pub fn summary(report: &Report<'_>) -> String {
    let verdict = report.verdict;
    let mut out = String::new();
    let word = text::outcome(verdict.outcome).to_uppercase();
    let _ = writeln!(
        out,
        "{} {word}  {}",
        text::sign(verdict.outcome),
        text::plain(&report.recording.scenario.name)
    );
    let _ = writeln!(
        out,
        "{}\n{}, {}\n",
        wrapped(&verdict.sentence, 0),
        text::tier(report.recording),
        report.tally()
    );
    checks(&mut out, report);
    scale_outs(&mut out, report);
    out
}

/// The stage that a service is in.
fn stage<'a>(recording: &'a Recording, service: &str, t_s: f64) -> Option<&'a str> {
    let mut stages = recording.stages.iter();
    let now =
        stages.find(|stage| stage.service == service && stage.start_s <= t_s && t_s < stage.end_s);
    now.map(|stage| stage.name.as_str())
}

fn quantiles(progress: &Progress) -> String {
    let ms = |latency: Option<std::time::Duration>| {
        latency.map_or("–".to_owned(), |latency| {
            text::latency(latency.as_secs_f64() * 1e3)
        })
    };
    format!(
        "p50 {}  p95 {}  p99 {}",
        ms(progress.p50),
        ms(progress.p95),
        ms(progress.p99)
    )
}

/// Replicas and metrics as they were seen last; nothing of what was never seen.
fn scaling(recording: &Recording, service: &str) -> Vec<String> {
    let Some(seen) = recording.services.get(service) else {
        return Vec::new();
    };
    let last = |steps: &crate::steps::Steps| {
        let step = steps.steps().last()?;
        Some(step.value.map_or("unknown".to_owned(), |n| n.to_string()))
    };
    let replicas = [
        ("desired", &seen.replicas.desired),
        ("ready", &seen.replicas.ready),
    ];
    let replicas = replicas
        .into_iter()
        .filter_map(|(name, steps)| Some(format!("{name} {}", last(steps)?)));
    let metrics = seen.metrics.iter().filter_map(|metric| {
        let value = metric
            .reads
            .last()?
            .value
            .map_or("nothing".to_owned(), text::number);
        Some(format!(
            "{} {value} of {}",
            text::plain(&metric.name),
            text::number(metric.target)
        ))
    });
    replicas.chain(metrics).collect()
}

fn checks(out: &mut String, report: &Report<'_>) {
    let rows: Vec<[String; 4]> = report
        .ranked()
        .into_iter()
        .map(|finding| {
            let value = [text::value(finding), text::resolution(finding)].join(" ");
            [
                format!(
                    "{} {}",
                    text::sign(finding.outcome),
                    text::outcome(finding.outcome)
                ),
                text::plain(&report.name_of(finding)).into_owned(),
                text::plain(value.trim_end()).into_owned(),
                text::plain(&finding.limit).into_owned(),
            ]
        })
        .collect();
    table(out, &["", "check", "found", "wanted"], &rows);
    let told = report.ranked().into_iter().filter(|finding| {
        finding.marginal || matches!(finding.outcome, Outcome::Fail | Outcome::Inconclusive)
    });
    for finding in told {
        let marginal = if finding.marginal { "(marginal) " } else { "" };
        let name = report.name_of(finding);
        let words = format!("{name}: {marginal}{}", finding.sentence);
        let _ = writeln!(out, "  {}", wrapped(&words, 2));
    }
}

fn scale_outs(out: &mut String, report: &Report<'_>) {
    let mut rows = Vec::new();
    for (name, service) in &report.recording.services {
        for reaction in reactions(service, 0.0..report.end_s()) {
            let seconds =
                |seconds: Option<f64>| seconds.map_or("–".to_owned(), |s| text::measure(s, "s"));
            rows.push([
                text::plain(name).into_owned(),
                text::moment(reaction.decision.t_s),
                format!("{} → {}", reaction.decision.from, reaction.decision.to),
                seconds(reaction.deciding_s()),
                seconds(reaction.starting_s()),
                seconds(reaction.serving_s()),
                seconds(reaction.whole_s()),
            ]);
        }
    }
    if !rows.is_empty() {
        out.push('\n');
        let names = [
            "service",
            "decided",
            "replicas",
            "breach→decision",
            "→ready",
            "→first answer",
            "whole",
        ];
        table(out, &names, &rows);
    }
}

/// Rows with columns as wide as their widest cell; nothing without rows.
fn table<const N: usize>(out: &mut String, names: &[&str; N], rows: &[[String; N]]) {
    if rows.is_empty() {
        return;
    }
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.fold(names[column].chars().count(), usize::max)
    };
    let widths: [usize; N] = std::array::from_fn(width);
    let mut line = |cells: [&str; N]| {
        let padded = cells
            .iter()
            .zip(widths)
            .map(|(cell, width)| format!("{cell:<width$}"));
        let _ = writeln!(out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end());
    };
    line(*names);
    for row in rows {
        line(std::array::from_fn(|column| row[column].as_str()));
    }
}

/// Words in lines of at most [`COLUMNS`], all but the first indented.
fn wrapped(words: &str, indent: usize) -> String {
    let mut out = String::new();
    let mut column = indent;
    for word in text::plain(words).split_whitespace() {
        let width = word.chars().count();
        if indent < column && COLUMNS < column + 1 + width {
            let _ = write!(out, "\n{:indent$}", "");
            column = indent;
        }
        if indent < column {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += width;
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::measured::Counts;
    use crate::report::fixture;

    pub(super) fn progress(second: u64) -> Progress {
        let mut counts = Counts::default();
        (counts.offered, counts.ok, counts.dropped) = (600, 595, 5);
        Progress {
            second,
            counts,
            p50: Some(Duration::from_millis(100)),
            p95: Some(Duration::from_millis(800)),
            p99: None,
            in_flight: 90,
        }
    }

    #[test]
    fn a_second_is_one_line_with_stage_latency_and_replicas() {
        let recording = fixture::recording();
        let line = second(&recording, "users", &progress(125));
        assert_eq!(
            line,
            "   2:05  users  high  600/s  ok 595  dropped 5  p50 100 ms  p95 800 ms  p99 –  desired 2  ready 2  \
             request_latency_ms 70.43 of 250"
        );
    }

    #[test]
    fn what_is_named_outside_steers_no_terminal() {
        let (mut recording, mut verdict) = (fixture::recording(), fixture::verdict());
        let hostile = "a\x1b[2J\nb\u{9b}";
        recording.scenario.name = hostile.to_owned();
        recording.stages[1].name = hostile.to_owned();
        recording.events[0].text = hostile.to_owned();
        for finding in &mut verdict.findings {
            (finding.name, finding.sentence, finding.limit, finding.unit) = (
                hostile.into(),
                hostile.into(),
                hostile.into(),
                hostile.into(),
            );
        }
        let report = Report {
            recording: &recording,
            verdict: &verdict,
        };
        let lines = [
            event(&recording.events[0]),
            second(&recording, "orders", &progress(125)),
        ];
        assert!(
            lines
                .iter()
                .all(|line| !line.contains(|c: char| c.is_control())),
            "{lines:?}"
        );
        assert!(!summary(&report).contains(['\x1b', '\u{9b}']));
    }

    #[test]
    fn the_summary_ends_with_a_table_of_checks_and_of_scale_outs() {
        let (recording, verdict) = (fixture::recording(), fixture::verdict());
        let summary = summary(&Report {
            recording: &recording,
            verdict: &verdict,
        });
        let lines: Vec<&str> = summary.lines().collect();
        assert_eq!(lines[0], "✗ FAILED  checkout-step");
        let at = |text: &str| {
            lines
                .iter()
                .position(|line| line.contains(text))
                .unwrap_or_else(|| panic!("{text}: {summary}"))
        };
        let (names, failed) = (lines[at("wanted")], lines[at("✗ failed")]);
        let column = |line: &str, word: &str| {
            line.chars().count() - line[line.find(word).unwrap()..].chars().count()
        };
        assert_eq!(
            column(names, "found"),
            column(failed, "40 s ± 1 s"),
            "{summary}"
        );
        assert!(at("✗ failed") < at("? inconclusive") && at("? inconclusive") < at("✓ passed"));
        assert!(lines[at("2 → 4")].contains("13 s") && at("2 → 4") > at("wanted"));
        assert!(
            lines.iter().all(|line| line.chars().count() <= 110),
            "{summary}"
        );
    }
}
