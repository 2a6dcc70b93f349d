//! What came of each load, as lines of plain text under the verdict. It decides nothing.

use std::fmt::Write as _;
use std::time::Duration;

use crate::measured::{ErrorClass, Latencies, Measured};
use crate::recording::Recording;

/// What came of the loads of a run, and what a reader should know of the generator.
pub(super) fn loads(recording: &Recording) -> String {
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
