//! What `taffrail-loadtest` prints: a line per second while it runs, and a summary of each load at the end. Plain text
//! for logs; it decides nothing.

use std::fmt::Write as _;
use std::time::Duration;

use crate::judge::{Finding, Outcome};
use crate::measured::{ErrorClass, Latencies, Measured, Progress};
use crate::recording::Recording;

/// A second of a load. `service` is named where there are several.
pub(super) fn second(service: Option<&str>, progress: &Progress) -> String {
    let Progress {
        second,
        counts,
        p50,
        p95,
        p99,
        in_flight,
    } = progress;
    let (ok, errors, dropped) = (counts.ok, counts.errors(), counts.dropped);
    let [p50, p95, p99] = [p50, p95, p99].map(|latency| millis(*latency));
    let offered = counts.offered;
    let service = service.map(|service| format!("{service:<12}  ")).unwrap_or_default();
    format!(
        "{second:>5} s  {service}offered {offered:>6}  ok {ok:>6}  errors {errors}  dropped {dropped}  \
         p50 {p50}  p95 {p95}  p99 {p99}  in flight {in_flight}"
    )
}

/// What came of a run.
pub(super) fn summary(recording: &Recording, findings: &[Finding], reason: &str) -> String {
    let mut text = String::new();
    for (name, service) in &recording.services {
        if 1 < recording.services.len() {
            let _ = writeln!(text, "service   {name}");
        }
        text += &load(&service.load);
    }
    for note in &recording.generator.notes {
        let _ = writeln!(text, "note      {note}");
    }
    for finding in findings {
        let outcome = match finding.outcome {
            Outcome::Pass => "pass",
            Outcome::Fail => "FAIL",
            Outcome::Inconclusive => "unclear",
            Outcome::Skipped => continue,
        };
        let _ = writeln!(text, "{outcome:<9} {}: {}", finding.name, finding.sentence);
    }
    let _ = write!(text, "verdict   {reason}");
    text
}

fn load(measured: &Measured) -> String {
    let counts = &measured.counts;
    let errors: Vec<String> = ErrorClass::ALL
        .into_iter()
        .filter(|class| 0 < counts.errors_of(*class))
        .map(|class| format!("{} {}", class.as_str(), counts.errors_of(class)))
        .collect();
    let errors = if errors.is_empty() {
        "none".to_owned()
    } else {
        errors.join(", ")
    };
    let mut lines = vec![
        format!(
            "requests  {} offered of {} planned, {} ok, {} dropped, {} unfinished, {} sent late, {} retried",
            counts.offered,
            measured.planned,
            counts.ok,
            counts.dropped,
            counts.unfinished,
            measured.late,
            measured.retried
        ),
        format!("errors    {errors}"),
        quantiles("latency", &measured.latency)
            + "  from the moment each request should have started",
        quantiles("raw", &measured.raw) + "  from the moment it was sent",
        quantiles("send lag", &measured.lag),
    ];
    for (address, endpoint) in &measured.endpoints {
        lines.push(format!(
            "endpoint  {address}  {} ok, {} errors",
            endpoint.ok, endpoint.errors
        ));
    }
    lines.join("\n") + "\n"
}

fn quantiles(name: &str, latencies: &Latencies) -> String {
    let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|q| millis(latencies.quantile(q)));
    format!("{name:<9} p50 {p50}  p95 {p95}  p99 {p99}  max {max}")
}

fn millis(latency: Option<Duration>) -> String {
    latency.map_or_else(
        || "-".to_owned(),
        |latency| format!("{:.1} ms", latency.as_secs_f64() * 1e3),
    )
}
