//! The report for Prometheus, while a run goes on and of the whole of it: counters of what came of the requests, a
//! histogram around the objective, and everything that is observed as gauges. What was never seen has no sample, and what
//! is unknown now has none either.

mod ended;
#[cfg(test)]
mod tests;
mod written;

use std::time::Duration;

pub use self::ended::openmetrics;
use self::written::Page;
use crate::measured::{Counts, ErrorClass, Latencies};
use crate::recording::{Recording, Service};

/// The content type of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Bounds of the histogram as multiples of the objective, so that the share within it is exact.
const BOUNDS: [f64; 7] = [0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 4.0];

/// What the bounds are multiples of where there is no objective, in seconds.
const OBJECTIVE_DEFAULT_S: f64 = 0.5;

/// Backends that have a series of their own; Prometheus would keep each for as long as it keeps anything.
const BACKENDS_MAX: usize = 500;

/// The page of a run: `recording` as far as it is known. Of a service's load the counts, the latencies and the endpoints
/// are read, and must only ever grow.
#[must_use]
pub fn page(recording: &Recording) -> String {
    let mut page = Page::default();
    families(&mut page, recording);
    page.end()
}

/// What both pages have.
fn families(page: &mut Page, recording: &Recording) {
    requests(page, recording);
    latency(page, recording);
    kinds(page, recording);
    backends(page, recording);
    replicas(page, recording);
    metrics(page, recording);
    generator(page, recording);
}

fn requests(page: &mut Page, recording: &Recording) {
    let loads = || {
        recording
            .services
            .iter()
            .map(|(name, service)| (name, &service.load))
    };
    page.family(
        "requests_offered_total",
        "counter",
        "Requests whose moment has come.",
    );
    for (name, load) in loads() {
        page.sample(
            "requests_offered_total",
            &[("service", name)],
            load.counts.offered,
        );
    }
    page.family(
        "requests_total",
        "counter",
        "Requests that have ended, by how.",
    );
    for (name, load) in loads() {
        for (outcome, count) in ends(&load.counts) {
            page.sample(
                "requests_total",
                &[("service", name), ("outcome", outcome)],
                count,
            );
        }
    }
    page.family(
        "requests_late_total",
        "counter",
        "Requests sent more than 100 ms after their moment.",
    );
    for (name, load) in loads() {
        page.sample("requests_late_total", &[("service", name)], load.late);
    }
}

/// How many requests ended in each way.
fn ends(counts: &Counts) -> impl Iterator<Item = (&'static str, u64)> {
    let ends = [
        ("ok", counts.ok),
        ("dropped", counts.dropped),
        ("unfinished", counts.unfinished),
    ];
    let errors = ErrorClass::ALL.map(|class| (class.as_str(), counts.errors_of(class)));
    ends.into_iter().chain(errors)
}

fn latency(page: &mut Page, recording: &Recording) {
    let objective_s = recording.scenario.slo.map(|slo| slo.target.seconds());
    if let Some(objective_s) = objective_s {
        page.family(
            "objective_seconds",
            "gauge",
            "The latency that the judged quantile must not be above.",
        );
        page.sample("objective_seconds", &[], objective_s);
    }
    let help =
        "Latency of good answers and timeouts, from the moment a request should have started.";
    page.family("latency_seconds", "histogram", help);
    for (name, service) in &recording.services {
        let labels = [("service", name.as_str())];
        let latencies = &service.load.latency;
        histogram(
            page,
            "latency_seconds",
            &labels,
            latencies,
            bounds(recording),
        );
    }
}

/// The same for each kind of request, where there are several and they are told apart.
fn kinds(page: &mut Page, recording: &Recording) {
    let mut kinds = Vec::new();
    for (name, service) in &recording.services {
        for (kind, measured) in &service.load.requests {
            let labels = [("service", name.as_str()), ("request", kind.as_str())];
            kinds.push((labels, measured));
        }
    }
    if kinds.is_empty() {
        return;
    }
    let help = "Requests of a kind that have ended, by how.";
    page.family("kind_requests_total", "counter", help);
    for ([service, kind], measured) in &kinds {
        for (outcome, count) in ends(&measured.counts) {
            let labels = [*service, *kind, ("outcome", outcome)];
            page.sample("kind_requests_total", &labels, count);
        }
    }
    let help = "Latency of the requests of a kind, as of all.";
    page.family("kind_latency_seconds", "histogram", help);
    let bounds = bounds(recording);
    for (labels, measured) in &kinds {
        histogram(
            page,
            "kind_latency_seconds",
            labels,
            &measured.latency,
            bounds,
        );
    }
}

/// The bounds of the histograms, in seconds.
fn bounds(recording: &Recording) -> [f64; BOUNDS.len()] {
    let slo = recording.scenario.slo;
    let objective_s = slo.map_or(OBJECTIVE_DEFAULT_S, |slo| slo.target.seconds());
    BOUNDS.map(|factor| factor * objective_s)
}

fn histogram(
    page: &mut Page,
    name: &str,
    labels: &[(&str, &str)],
    latencies: &Latencies,
    bounds: [f64; BOUNDS.len()],
) {
    let count = latencies.count();
    let within = bounds.map(|bound| {
        // As OpenMetrics writes a number: `1.0` and not `1`.
        let within = latencies.count_within(Duration::from_secs_f64(bound));
        (format!("{bound:?}"), within)
    });
    for (bound, within) in within.into_iter().chain([("+Inf".to_owned(), count)]) {
        let labels = [labels, &[("le", bound.as_str())]].concat();
        page.sample(&format!("{name}_bucket"), &labels, within);
    }
    let mean_s = latencies.mean().unwrap_or_default().as_secs_f64();
    page.sample(&format!("{name}_sum"), labels, mean_s * count as f64);
    page.sample(&format!("{name}_count"), labels, count);
}

fn backends(page: &mut Page, recording: &Recording) {
    page.family(
        "backend_requests_total",
        "counter",
        "Requests that a backend answered, or was the last to be tried for.",
    );
    for (name, service) in &recording.services {
        for (address, counts) in service.load.endpoints.iter().take(BACKENDS_MAX) {
            let backend = address.to_string();
            for (outcome, count) in [("ok", counts.ok), ("error", counts.errors)] {
                let labels = [
                    ("service", name.as_str()),
                    ("backend", &backend),
                    ("outcome", outcome),
                ];
                page.sample("backend_requests_total", &labels, count);
            }
        }
    }
}

fn replicas(page: &mut Page, recording: &Recording) {
    page.family(
        "replicas",
        "gauge",
        "Replicas, by the place that tells them.",
    );
    for (name, service) in &recording.services {
        let seen = &service.replicas;
        let places = [
            ("desired", &seen.desired),
            ("current", &seen.current),
            ("spec", &seen.spec),
            ("ready", &seen.ready),
            ("endpoints", &seen.endpoints),
        ];
        for (place, steps) in places {
            if let Some(n) = steps.steps().last().and_then(|step| step.value) {
                page.sample("replicas", &[("service", name), ("place", place)], n);
            }
        }
    }
    page.family("replicas_limit", "gauge", "The bounds of the HPA.");
    for (name, service) in &recording.services {
        if let Some(hpa) = &service.autoscaler {
            page.sample(
                "replicas_limit",
                &[("service", name), ("bound", "min")],
                hpa.min_replicas,
            );
            page.sample(
                "replicas_limit",
                &[("service", name), ("bound", "max")],
                hpa.max_replicas,
            );
        }
    }
}

fn metrics(page: &mut Page, recording: &Recording) {
    let each =
        |page: &mut Page, name: &str, value: fn(&crate::recording::Metric) -> Option<f64>| {
            for (service, seen) in &recording.services {
                for (metric, labels) in labelled(service, seen) {
                    if let Some(value) = value(metric) {
                        page.sample(name, &labels, value);
                    }
                }
            }
        };
    page.family(
        "metric_value",
        "gauge",
        "What the HPA reads, in the target's unit.",
    );
    each(page, "metric_value", |metric| metric.reads.last()?.value);
    page.family("metric_target", "gauge", "What the HPA wants it to be.");
    each(page, "metric_target", |metric| Some(metric.target));
    page.family(
        "metric_age_seconds",
        "gauge",
        "How old the value was when it was read.",
    );
    each(page, "metric_age_seconds", |metric| {
        metric.reads.last()?.age_s
    });
}

/// The metrics of a service with their labels; the selector tells those of one name apart.
fn labelled<'a>(
    service: &'a str,
    seen: &'a Service,
) -> impl Iterator<Item = (&'a crate::recording::Metric, [(&'static str, &'a str); 3])> {
    seen.metrics.iter().map(move |metric| {
        let labels = [
            ("service", service),
            ("metric", metric.name.as_str()),
            ("selector", metric.selector.as_str()),
        ];
        (metric, labels)
    })
}

fn generator(page: &mut Page, recording: &Recording) {
    let generator = &recording.generator;
    page.family(
        "generator_cpu_limit_cores",
        "gauge",
        "CPU that the generator may use.",
    );
    page.sample("generator_cpu_limit_cores", &[], generator.cores);
    let Some(last) = generator.seconds.last() else {
        return;
    };
    page.family(
        "generator_cpu_cores",
        "gauge",
        "CPU that the generator used in the last second.",
    );
    page.sample("generator_cpu_cores", &[], last.cpu);
    page.family(
        "generator_in_flight_requests",
        "gauge",
        "Requests in flight.",
    );
    page.sample("generator_in_flight_requests", &[], last.in_flight);
    page.family(
        "run_elapsed_seconds",
        "gauge",
        "Time since the first request was due.",
    );
    page.sample("run_elapsed_seconds", &[], last.t_s);
}
