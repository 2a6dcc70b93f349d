//! The report for Prometheus while a run goes on: counters of what came of the requests, a histogram around the objective,
//! and everything that is observed as gauges. What was never seen has no sample, and what is unknown now has none either.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use crate::measured::{ErrorClass, Latencies};
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
    let mut page = Page(String::new());
    requests(&mut page, recording);
    latency(&mut page, recording);
    backends(&mut page, recording);
    replicas(&mut page, recording);
    metrics(&mut page, recording);
    generator(&mut page, recording);
    page.0
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
        let counts = &load.counts;
        let ends = [
            ("ok", counts.ok),
            ("dropped", counts.dropped),
            ("unfinished", counts.unfinished),
        ];
        let errors = ErrorClass::ALL.map(|class| (class.as_str(), counts.errors_of(class)));
        for (outcome, count) in ends.into_iter().chain(errors) {
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
    let bounds = BOUNDS.map(|factor| factor * objective_s.unwrap_or(OBJECTIVE_DEFAULT_S));
    let help =
        "Latency of good answers and timeouts, from the moment a request should have started.";
    page.family("latency_seconds", "histogram", help);
    for (name, service) in &recording.services {
        histogram(page, name, &service.load.latency, bounds);
    }
}

fn histogram(page: &mut Page, service: &str, latencies: &Latencies, bounds: [f64; BOUNDS.len()]) {
    for bound in bounds {
        let within = latencies.count_within(Duration::from_secs_f64(bound));
        page.sample(
            "latency_seconds_bucket",
            &[("service", service), ("le", &bound.to_string())],
            within,
        );
    }
    let count = latencies.count();
    page.sample(
        "latency_seconds_bucket",
        &[("service", service), ("le", "+Inf")],
        count,
    );
    let mean_s = latencies.mean().unwrap_or_default().as_secs_f64();
    page.sample(
        "latency_seconds_sum",
        &[("service", service)],
        mean_s * count as f64,
    );
    page.sample("latency_seconds_count", &[("service", service)], count);
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

/// A page that is being written.
struct Page(String);

impl Page {
    /// Begins a family; its samples must follow.
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(
            self.0,
            "# HELP loadtest_{name} {help}\n# TYPE loadtest_{name} {kind}\n"
        );
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.0, "loadtest_{name}");
        for (i, (name, value)) in labels.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            let _ = write!(self.0, "{before}{name}=\"{}\"", Label(value));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = writeln!(self.0, "{after} {value}");
    }
}

/// A label's value.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::process::{Command, Stdio};

    use super::*;
    use crate::report::fixture;

    #[test]
    fn prometheus_finds_nothing_to_complain_of() {
        let mut recording = fixture::recording();
        recording.services.get_mut("users").unwrap().metrics[0].selector =
            "a=\"b\\c\"\nd".to_owned();
        let promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn();
        let mut promtool = promtool
            .unwrap_or_else(|error| panic!("promtool cannot be started ({error}): run tests/run"));
        promtool
            .stdin
            .take()
            .unwrap()
            .write_all(page(&recording).as_bytes())
            .unwrap();
        let output = promtool.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned()
            + &String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }

    #[test]
    fn the_share_within_the_objective_is_exact_and_the_buckets_are_around_it() {
        let recording = fixture::recording();
        let page = page(&recording);
        let load = &recording.services["users"].load;
        let line = |start: &str| {
            page.lines()
                .find(|line| line.starts_with(start))
                .unwrap_or_else(|| panic!("{start}: {page}"))
        };
        let value = |start: &str| {
            line(start)
                .rsplit(' ')
                .next()
                .unwrap()
                .parse::<f64>()
                .unwrap()
        };
        let within = load.latency.count_within(Duration::from_millis(300)) as f64;
        assert_eq!(
            value("loadtest_latency_seconds_bucket{service=\"users\",le=\"0.3\"}"),
            within
        );
        assert_eq!(
            value("loadtest_latency_seconds_count{service=\"users\"}"),
            load.latency.count() as f64
        );
        assert_eq!(
            page.matches("_bucket{service=\"users\"").count(),
            BOUNDS.len() + 1
        );
        assert_eq!(
            value("loadtest_requests_total{service=\"users\",outcome=\"status_5xx\"}"),
            load.counts.errors_of(ErrorClass::ServerStatus) as f64
        );
        assert_eq!(
            value("loadtest_replicas{service=\"users\",place=\"desired\"}"),
            2.0
        );
        assert_eq!(
            value("loadtest_metric_target{service=\"users\",metric=\"request_latency_ms\""),
            250.0
        );
    }

    #[test]
    fn what_is_unknown_has_no_sample() {
        let mut recording = fixture::recording();
        let service = recording.services.get_mut("users").unwrap();
        service.replicas.ready.push(900.0, None);
        service.metrics[0].reads.last_mut().unwrap().value = None;
        let page = page(&recording);
        assert!(!page.contains("loadtest_replicas{service=\"users\",place=\"ready\"}"));
        assert!(!page.contains("loadtest_metric_value{service=\"users\""));
        assert!(page.contains("loadtest_metric_value{service=\"orders\""));
    }
}
