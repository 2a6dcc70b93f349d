//! The timeline of each run as a table: a line for each second and service, absent numbers left empty; one run after
//! the other.

use std::borrow::Cow;
use std::fmt::Write;
use std::time::Duration;

use taffrail_loadtest::recording::{Metric, Service};

use super::playing::Played;

/// The columns that every service has; those of its metrics follow in one, as `name=value` pairs.
const HEAD: &str = "t_s,service,hpa,offered,ok,errors,dropped,p50_ms,p95_ms,p99_ms,replicas_desired,replicas_ready,metrics\n";

/// The table.
pub(super) fn timelines(all: &[Played]) -> String {
    let mut text = HEAD.to_owned();
    for played in all {
        let services = &played.recording.services;
        let lengths = services.values().map(|service| service.load.slots.len());
        for second in 0..lengths.max().unwrap_or(0) {
            for (name, service) in services {
                line(&mut text, second, [name, &played.name], service);
            }
        }
    }
    text
}

/// Writing to a `String` cannot fail, so results are dropped.
fn line(text: &mut String, second: usize, [name, hpa]: [&str; 2], service: &Service) {
    let t_s = second as f64;
    let _ = write!(text, "{second},{name},{}", field(hpa));
    match service.load.slots.get(second) {
        Some(slot) => {
            let counts = &slot.counts;
            let _ = write!(
                text,
                ",{},{},{},{}",
                counts.offered,
                counts.ok,
                counts.errors(),
                counts.dropped
            );
            for q in [0.5, 0.95, 0.99] {
                let _ = write!(text, ",{}", slot.quantile(q).map(ms).unwrap_or_default());
            }
        }
        None => *text += ",0,0,0,0,,,",
    }
    for steps in [&service.replicas.desired, &service.replicas.ready] {
        let _ = write!(
            text,
            ",{}",
            steps.at(t_s).map(|n| n.to_string()).unwrap_or_default()
        );
    }
    let metrics: Vec<String> = service
        .metrics
        .iter()
        .filter_map(|metric| read(metric, t_s))
        .collect();
    let _ = writeln!(text, ",{}", metrics.join(" "));
}

/// What was last read of a metric, unless that was nothing.
fn read(metric: &Metric, t_s: f64) -> Option<String> {
    let read = metric.reads[..metric.reads.partition_point(|read| read.t_s <= t_s)].last()?;
    Some(format!("{}={}", metric.name, read.value?))
}

/// A name that people chose, as RFC 4180 has it where it holds what parts fields.
fn field(text: &str) -> Cow<'_, str> {
    if text.contains([',', '"', '\n', '\r']) {
        return format!("\"{}\"", text.replace('"', "\"\"")).into();
    }
    text.into()
}

fn ms(latency: Duration) -> String {
    format!("{:.1}", latency.as_secs_f64() * 1000.0)
}
