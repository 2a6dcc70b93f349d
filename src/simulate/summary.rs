//! What a person reads when a simulation has ended: each service in a few numbers, each check in a line.

use std::fmt::Write;
use std::time::Duration;

use taffrail_loadtest::judge::verdict::Verdict;
use taffrail_loadtest::judge::{Finding, Outcome};
use taffrail_loadtest::recording::{Recording, Service};

/// The text, which ends with a line break. Writing to a `String` cannot fail, so results are dropped.
pub(super) fn text(recording: &Recording, verdict: &Verdict) -> String {
    let mut text = format!(
        "{}: a simulation, nothing of it was real\n\n",
        recording.scenario.name
    );
    let head = [
        "service",
        "requests",
        "failed",
        "p50",
        "p95",
        "p99",
        "replicas",
        "pod-hours",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let seconds = 0.0..recording.about.duration_s;
    for (name, service) in &recording.services {
        rows.push(row(name, service, seconds.clone()));
    }
    table(&mut text, &rows);
    text.push('\n');
    for finding in &verdict.findings {
        let _ = writeln!(
            text,
            "{}  {}: {}",
            mark(finding),
            finding.name,
            finding.sentence
        );
    }
    let _ = writeln!(text, "\n{}", verdict.sentence);
    text
}

/// How long it took for how long it was.
pub(super) fn took(recording: &Recording, took: Duration) -> String {
    let requests: u64 = recording
        .services
        .values()
        .map(|service| service.load.counts.offered)
        .sum();
    let whole = span(recording.about.duration_s);
    format!(
        "Simulated {whole} and {requests} requests in {:.1} s.\n",
        took.as_secs_f64()
    )
}

/// A length of time for people.
pub(super) fn span(seconds: f64) -> String {
    humantime::format_duration(Duration::from_secs(seconds.round().max(0.0) as u64)).to_string()
}

fn row(name: &str, service: &Service, seconds: std::ops::Range<f64>) -> Vec<String> {
    let load = &service.load;
    let quantile = |q| {
        let latency = load.latency.quantile(q);
        latency.map_or_else(
            || "-".to_owned(),
            |latency| format!("{:.0} ms", latency.as_secs_f64() * 1000.0),
        )
    };
    let ready = &service.replicas.ready;
    let replicas = match (ready.min(seconds.clone()), ready.max(seconds.clone())) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        _ => "-".to_owned(),
    };
    let (pod_seconds, _) = ready.integral(seconds);
    vec![
        name.to_owned(),
        load.counts.offered.to_string(),
        (load.counts.errors() + load.counts.dropped).to_string(),
        quantile(0.5),
        quantile(0.95),
        quantile(0.99),
        replicas,
        format!("{:.2}", pod_seconds / 3600.0),
    ]
}

/// Columns as wide as their widest cell; numbers to the right, names to the left.
fn table(text: &mut String, rows: &[Vec<String>]) {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| {
        rows.iter()
            .filter_map(|row| row.get(column))
            .map(|cell| cell.chars().count())
            .max()
    };
    let widths: Vec<usize> = (0..columns).filter_map(width).collect();
    for row in rows {
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = match column {
                0 => write!(text, "{cell:width$}"),
                _ => write!(text, "  {cell:>width$}"),
            };
        }
        text.push('\n');
    }
}

fn mark(finding: &Finding) -> &'static str {
    match finding.outcome {
        Outcome::Pass => "pass",
        Outcome::Fail => "FAIL",
        Outcome::Inconclusive => "????",
        Outcome::Skipped => "skip",
    }
}
