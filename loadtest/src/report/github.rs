//! The report for GitHub Actions: Markdown for the summary of a step, and the lines that make annotations. Whoever calls
//! knows from the environment where they go; see
//! <https://docs.github.com/actions/reference/workflow-commands-for-github-actions>.

use std::fmt::Write;

use super::{Report, text};
use crate::judge::Outcome;

/// Rows of the table. A summary may have 1 MiB, and nobody reads so many.
const ROWS_MAX: usize = 200;

/// Lines for annotations of each kind: GitHub shows the first ten of a step.
const ANNOTATIONS_MAX: usize = 10;

/// The verdict and its checks in Markdown, for the file that `GITHUB_STEP_SUMMARY` names.
#[must_use]
pub fn summary(report: &Report<'_>) -> String {
    let verdict = report.verdict;
    let about = &report.recording.about;
    let mut out = String::new();
    let _ = writeln!(
        out,
        "### {} {}: {}\n",
        icon(verdict.outcome),
        cell(&report.recording.scenario.name),
        text::outcome(verdict.outcome)
    );
    let _ = writeln!(out, "{}\n", cell(&verdict.sentence));
    let attempt = if 1 < about.attempt {
        format!(", attempt {}", about.attempt)
    } else {
        String::new()
    };
    let _ = writeln!(
        out,
        "{}: {}, {}{attempt}. {}.\n",
        text::tier(report.recording),
        text::span(about.duration_s),
        seed(report),
        report.tally()
    );
    let ranked = report.ranked();
    if ranked.is_empty() {
        return out;
    }
    out.push_str("| | Check | Found | Wanted | In words |\n|---|---|---|---|---|\n");
    for finding in ranked.iter().take(ROWS_MAX) {
        let marginal = if finding.marginal { " (marginal)" } else { "" };
        let _ = writeln!(
            out,
            "| {} {}{marginal} | {} | {} {} | {} | {} |",
            icon(finding.outcome),
            text::outcome(finding.outcome),
            cell(&report.name_of(finding)),
            cell(&text::value(finding)),
            cell(&text::resolution(finding)),
            cell(&finding.limit),
            cell(&finding.sentence)
        );
    }
    if ROWS_MAX < ranked.len() {
        let _ = writeln!(
            out,
            "\n{} more are in the JSON report.",
            ranked.len() - ROWS_MAX
        );
    }
    out
}

/// A line for each check that failed or could not be told, for standard output where `GITHUB_ACTIONS` is set.
#[must_use]
pub fn annotations(report: &Report<'_>) -> String {
    let mut out = String::new();
    for (outcome, command) in [(Outcome::Fail, "error"), (Outcome::Inconclusive, "warning")] {
        let findings = report
            .verdict
            .findings
            .iter()
            .filter(|finding| finding.outcome == outcome);
        for finding in findings.take(ANNOTATIONS_MAX) {
            let _ = writeln!(
                out,
                "::{command} title={}::{}",
                property(&report.name_of(finding)),
                data(&finding.sentence)
            );
        }
    }
    out
}

fn seed(report: &Report<'_>) -> String {
    format!("seed {}", report.recording.scenario.seed)
}

fn icon(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Pass => "✅",
        Outcome::Fail => "❌",
        Outcome::Inconclusive => "❔",
        Outcome::Skipped => "➖",
    }
}

/// Text from outside that stays one cell of a table, or one paragraph, and says nothing to Markdown or HTML.
fn cell(text: &str) -> String {
    let mut cell = String::with_capacity(text.len());
    for c in text::plain(text).chars() {
        match c {
            '<' => cell.push_str("&lt;"),
            '>' => cell.push_str("&gt;"),
            '&' => cell.push_str("&amp;"),
            // A mention would tell someone, and a link would lead away.
            '@' => cell.push_str("&#64;"),
            '\\' | '|' | '`' | '*' | '_' | '[' | ']' | '~' | '#' | '!' => cell.extend(['\\', c]),
            c => cell.push(c),
        }
    }
    cell
}

/// The message of a command: a line break would end it.
fn data(text: &str) -> String {
    text::plain(text).replace('%', "%25")
}

/// A property of a command, which a colon or a comma would end.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_summary_begins_with_the_verdict_and_what_failed() {
        let (recording, verdict) = (fixture::recording(), fixture::verdict());
        let summary = summary(&Report {
            recording: &recording,
            verdict: &verdict,
        });
        assert!(
            summary.starts_with("### ❌ checkout-step: failed\n\nsomething does not hold"),
            "{summary}"
        );
        let rows: Vec<&str> = summary
            .lines()
            .filter(|line| line.starts_with("| ") && !line.starts_with("| |"))
            .collect();
        assert_eq!(rows.len(), verdict.findings.len());
        assert!(
            rows[0].starts_with(
                r"| ❌ failed | users: slo\_recovery\_time\[high\] | 40 s ± 1 s | &lt;= 30 s |"
            ),
            "{}",
            rows[0]
        );
        assert!(summary.contains("1 failed, 1 inconclusive, 3 passed, 1 skipped"));
    }

    #[test]
    fn each_failure_is_one_error_and_each_doubt_one_warning() {
        let (recording, mut verdict) = (fixture::recording(), fixture::verdict());
        verdict.findings[1].sentence = "100 % bad\n::error::injected".to_owned();
        let lines = annotations(&Report {
            recording: &recording,
            verdict: &verdict,
        });
        let lines: Vec<&str> = lines.lines().collect();
        assert_eq!(
            lines[0],
            "::error title=users%3A slo_recovery_time[high]::100 %25 bad ::error::injected"
        );
        assert!(lines[1].starts_with("::warning title=users%3A metric_accuracy::"));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn text_from_outside_breaks_no_table() {
        let cell = cell("a|b\n<img src=x>@team`x`[l](u)");
        assert_eq!(cell, r"a\|b &lt;img src=x&gt;&#64;team\`x\`\[l\](u)");
    }
}
