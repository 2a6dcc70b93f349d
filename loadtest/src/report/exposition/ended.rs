//! The page of a run that has ended, in OpenMetrics: the figures of the whole of it and what came of its checks, at the
//! moment of its end. So the runs of a pipeline can be followed over weeks, as one follows a service.

use super::written::Page;
use crate::judge::Outcome;
use crate::report::{Report, text};

/// The page as a file. Where the recording says when the run began, each sample has the moment of its end.
#[must_use]
pub fn openmetrics(report: &Report<'_>) -> String {
    let mut page = Page::openmetrics(ended_s(report));
    super::families(&mut page, report.recording);
    run(&mut page, report);
    checks(&mut page, report);
    page.end()
}

/// When the last answer was there, in seconds since 1970.
fn ended_s(report: &Report<'_>) -> Option<f64> {
    let started: jiff::Timestamp = report.recording.about.started.as_ref()?.parse().ok()?;
    let services = report.recording.services.values();
    let last_s = services
        .map(|service| service.load.elapsed.as_secs_f64())
        .fold(0.0, f64::max);
    Some(started.as_millisecond() as f64 / 1e3 + last_s)
}

fn run(page: &mut Page, report: &Report<'_>) {
    let (recording, outcome) = (report.recording, text::outcome(report.verdict.outcome));
    let (seed, attempt) = (recording.scenario.seed, recording.about.attempt);
    page.family("run_info", "info", "What was run, and how it ended.");
    let labels = [
        ("scenario", recording.scenario.name.as_str()),
        ("seed", &seed.to_string()),
        ("attempt", &attempt.to_string()),
        ("version", &recording.about.version),
        ("outcome", outcome),
    ];
    page.sample("run_info", &labels, 1);
}

fn checks(page: &mut Page, report: &Report<'_>) {
    let findings = &report.verdict.findings;
    page.family(
        "check_holds",
        "gauge",
        "Whether a check holds; nothing where it could not be told.",
    );
    for finding in findings {
        let holds = match finding.outcome {
            Outcome::Pass => 1,
            Outcome::Fail => 0,
            Outcome::Inconclusive | Outcome::Skipped => continue,
        };
        let labels = [
            ("service", finding.service.as_str()),
            ("group", text::group(finding.group)),
            ("check", &finding.name),
        ];
        page.sample("check_holds", &labels, holds);
    }
    page.family("check_value", "gauge", "What a check found, in its unit.");
    for finding in findings {
        let Some(value) = finding.value else { continue };
        let labels = [
            ("service", finding.service.as_str()),
            ("check", &finding.name),
            ("unit", &finding.unit),
        ];
        page.sample("check_value", &labels, value);
    }
}
