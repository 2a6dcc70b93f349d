//! What the sample app says of itself, in both text formats: written by hand, because both must be exact and the page
//! is short. It counts and prints; it never reads a clock but to time the requests it is told of.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;

use super::downstream::Ended;
use crate::clock;

/// Upper bounds of the latency buckets, in seconds: the usual ones of client libraries, 0.25 among them.
pub const BOUNDS_S: [f64; 11] = [
    0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// The code of a request whose client went away before the answer. It is counted with the time it was given, because
/// leaving out the requests that were given up would make a slow server look fast.
const CLIENT_GONE: u16 = 499;

/// The series that nearly every request is in. It is shown from the start, at zero: a series that appears with its first
/// requests hides them, because a rate is the difference of two reads.
const USUAL: Series = Series {
    route: "/",
    method: "GET",
    code: 200,
};

/// The two ways to print a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    /// Prometheus text format 0.0.4.
    Text,
    /// OpenMetrics text 1.0.
    OpenMetrics,
}

/// The counts of one app.
pub(super) struct Metrics {
    started: Duration,
    version: String,
    calls: Mutex<BTreeMap<Ended, Latency>>,
    latencies: Mutex<BTreeMap<Series, Latency>>,
    in_flight: AtomicU64,
    refused: AtomicU64,
    visits: AtomicU64,
    visits_failed: AtomicU64,
}

/// Labels of a latency histogram: few values each, so few series.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Series {
    route: &'static str,
    method: &'static str,
    code: u16,
}

impl Series {
    fn labels(self) -> String {
        let Self {
            route,
            method,
            code,
        } = self;
        format!("route=\"{route}\",method=\"{method}\",code=\"{code}\"")
    }
}

/// One histogram; a bucket counts what is above the bound before it and at most its own.
#[derive(Default)]
struct Latency {
    buckets: [u64; BOUNDS_S.len() + 1],
    sum_s: f64,
}

impl Latency {
    fn record(&mut self, seconds: f64) {
        self.buckets[BOUNDS_S.partition_point(|bound| *bound < seconds)] += 1;
        self.sum_s += seconds;
    }
}

/// A request under way. It counts itself when it is dropped, answered or not.
pub(super) struct Observed<'a> {
    /// The status of the answer, once there is one.
    pub(super) code: StatusCode,
    metrics: &'a Metrics,
    route: &'static str,
    method: &'static str,
    arrived: Instant,
}

impl Format {
    /// The format that a client likes best; the older one when it does not say, and OpenMetrics when it likes both alike.
    pub(super) fn negotiate(accept: Option<&str>) -> Self {
        let (mut text, mut open_metrics) = (0.0, 0.0);
        for range in accept.unwrap_or_default().split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media = parts.next().unwrap_or_default();
            let quality = parts
                .find_map(|part| part.strip_prefix("q="))
                .map_or(1.0, |q| q.parse().unwrap_or(0.0));
            match media {
                "application/openmetrics-text" => open_metrics = f64::max(open_metrics, quality),
                "text/plain" | "text/*" | "*/*" => text = f64::max(text, quality),
                _ => {}
            }
        }
        if 0.0 < open_metrics && text <= open_metrics {
            Self::OpenMetrics
        } else {
            Self::Text
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

impl Metrics {
    /// Nothing counted yet, and the usual series there at zero, by an app of this version that started at `started`
    /// since the Unix epoch.
    pub(super) fn new(started: Duration, version: &str) -> Self {
        Self {
            started,
            version: escaped(version),
            calls: Mutex::default(),
            latencies: Mutex::new(BTreeMap::from([(USUAL, Latency::default())])),
            in_flight: AtomicU64::default(),
            refused: AtomicU64::default(),
            visits: AtomicU64::default(),
            visits_failed: AtomicU64::default(),
        }
    }

    /// A request that has arrived now.
    pub(super) fn observe(&self, route: &'static str, method: &Method) -> Observed<'_> {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        // Methods come from anyone; as labels they would be without bound.
        let known = [
            Method::GET,
            Method::HEAD,
            Method::POST,
            Method::PUT,
            Method::PATCH,
            Method::DELETE,
        ];
        let names = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];
        let method = known
            .iter()
            .zip(names)
            .find(|(known, _)| *known == method)
            .map_or("other", |(_, name)| name);
        let code = StatusCode::from_u16(CLIENT_GONE).unwrap_or(StatusCode::BAD_REQUEST);
        Observed {
            code,
            metrics: self,
            route,
            method,
            arrived: clock::instant(),
        }
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_visit(&self, counted: bool) {
        let counter = if counted {
            &self.visits
        } else {
            &self.visits_failed
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// A call to the downstream that took this long.
    pub(super) fn count_call(&self, ended: Ended, took: Duration) {
        let mut calls = self.calls();
        calls.entry(ended).or_default().record(took.as_secs_f64());
    }

    /// The page, for a process that has used `cpu` so far.
    pub(super) fn page(&self, format: Format, cpu: Duration) -> String {
        let mut page = Printer {
            format,
            text: String::with_capacity(4096),
        };
        page.family(
            "http_request_duration_seconds",
            "histogram",
            "Time from a request's arrival to its answer.",
        );
        for (series, latency) in self.latencies().iter() {
            page.latency("http_request_duration_seconds", &series.labels(), latency);
        }
        let calls = self.calls();
        if !calls.is_empty() {
            page.family(
                "app_downstream_duration_seconds",
                "histogram",
                "Time of calls to the downstream, with the wait for a connection.",
            );
        }
        for (ended, latency) in calls.iter() {
            let labels = format!("result=\"{}\"", ended.as_str());
            page.latency("app_downstream_duration_seconds", &labels, latency);
        }
        drop(calls);
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed) as f64;
        page.gauge(
            "http_requests_in_flight",
            "Requests that are waiting or worked on.",
            count(&self.in_flight),
        );
        page.counter(
            "http_requests_refused",
            "Requests turned away because the queue was full.",
            count(&self.refused),
        );
        page.counter(
            "app_visits",
            "Visits counted in Redis.",
            count(&self.visits),
        );
        page.counter(
            "app_visits_failed",
            "Visits that Redis did not count.",
            count(&self.visits_failed),
        );
        page.counter(
            "process_cpu_seconds",
            "CPU time used, user and system.",
            cpu.as_secs_f64(),
        );
        let started = self.started.as_secs_f64();
        page.gauge(
            "process_start_time_seconds",
            "When the app started, since the Unix epoch.",
            started,
        );
        page.info(
            "app",
            "What runs here.",
            &format!("version=\"{}\"", self.version),
        );
        page.end()
    }

    fn calls(&self) -> MutexGuard<'_, BTreeMap<Ended, Latency>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn latencies(&self) -> MutexGuard<'_, BTreeMap<Series, Latency>> {
        self.latencies
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Observed<'_> {
    fn drop(&mut self) {
        let seconds = (clock::instant() - self.arrived).as_secs_f64();
        let series = Series {
            route: self.route,
            method: self.method,
            code: self.code.as_u16(),
        };
        let mut latencies = self.metrics.latencies();
        latencies.entry(series).or_default().record(seconds);
        self.metrics.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A page as it grows.
struct Printer {
    format: Format,
    text: String,
}

/// Writing to a `String` cannot fail, so the results below are dropped.
impl Printer {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        if self.format == Format::OpenMetrics && name.ends_with("_seconds") {
            let _ = writeln!(self.text, "# UNIT {name} seconds");
        }
    }

    fn gauge(&mut self, name: &str, help: &str, value: f64) {
        self.family(name, "gauge", help);
        let _ = writeln!(self.text, "{name} {value}");
    }

    /// OpenMetrics names the family without `_total`, the older format with it; the sample has it in both.
    fn counter(&mut self, name: &str, help: &str, value: f64) {
        match self.format {
            Format::Text => self.family(&format!("{name}_total"), "counter", help),
            Format::OpenMetrics => self.family(name, "counter", help),
        }
        let _ = writeln!(self.text, "{name}_total {value}");
    }

    /// The older format knows no info, and takes it for a gauge that is 1.
    fn info(&mut self, name: &str, help: &str, labels: &str) {
        match self.format {
            Format::Text => self.family(&format!("{name}_info"), "gauge", help),
            Format::OpenMetrics => self.family(name, "info", help),
        }
        let _ = writeln!(self.text, "{name}_info{{{labels}}} 1");
    }

    fn latency(&mut self, name: &str, labels: &str, latency: &Latency) {
        let mut below = 0;
        for (index, count) in latency.buckets.iter().enumerate() {
            below += count;
            let bound = match (BOUNDS_S.get(index), self.format) {
                (None, _) => "+Inf".to_owned(),
                (Some(bound), Format::Text) => bound.to_string(),
                // OpenMetrics wants bounds to be written as floats: 1.0.
                (Some(bound), Format::OpenMetrics) => format!("{bound:?}"),
            };
            let _ = writeln!(
                self.text,
                "{name}_bucket{{{labels},le=\"{bound}\"}} {below}"
            );
        }
        let _ = writeln!(self.text, "{name}_sum{{{labels}}} {}", latency.sum_s);
        let _ = writeln!(self.text, "{name}_count{{{labels}}} {below}");
    }

    fn end(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

/// A label's value as both formats write it.
fn escaped(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_the_one_the_client_likes_best() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                          application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;q=0.4,\
                          text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        let cases = [
            (None, Format::Text),
            (Some("*/*"), Format::Text),
            (Some("text/plain"), Format::Text),
            (Some("application/openmetrics-text"), Format::OpenMetrics),
            (
                Some("text/plain;q=0.9, application/openmetrics-text;q=0.5"),
                Format::Text,
            ),
            (Some("application/openmetrics-text;q=0"), Format::Text),
            (Some(prometheus), Format::OpenMetrics),
        ];
        for (accept, expected) in cases {
            assert_eq!(Format::negotiate(accept), expected, "{accept:?}");
        }
    }

    #[test]
    fn a_request_that_is_given_up_counts_with_its_time() {
        let metrics = Metrics::new(Duration::ZERO, "v1.0");
        drop(metrics.observe("/", &Method::GET));
        let page = metrics.page(Format::Text, Duration::ZERO);
        let line =
            "http_request_duration_seconds_count{route=\"/\",method=\"GET\",code=\"499\"} 1\n";
        assert!(page.contains(line), "{page}");
        assert!(page.contains("\nhttp_requests_in_flight 0\n"), "{page}");
    }

    #[test]
    fn the_usual_series_is_there_at_zero_before_the_first_request() {
        let metrics = Metrics::new(Duration::ZERO, "v1.0");
        let labels = r#"route="/",method="GET",code="200""#;
        for (format, one_second) in [(Format::Text, "1"), (Format::OpenMetrics, "1.0")] {
            let page = metrics.page(format, Duration::ZERO);
            for line in [
                format!("_bucket{{{labels},le=\"{one_second}\"}} 0\n"),
                format!("_bucket{{{labels},le=\"+Inf\"}} 0\n"),
                format!("_sum{{{labels}}} 0\n"),
                format!("_count{{{labels}}} 0\n"),
            ] {
                assert!(page.contains(&line), "{line} is not in\n{page}");
            }
        }
        metrics.observe("/", &Method::GET).code = StatusCode::OK;
        let page = metrics.page(Format::Text, Duration::ZERO);
        assert!(page.contains(&format!("_count{{{labels}}} 1\n")), "{page}");
        assert_eq!(page.matches("_seconds_count{").count(), 1, "{page}");
        assert!(!page.contains("downstream"), "{page}");
    }

    #[test]
    fn the_formats_differ_in_names_bounds_and_end() {
        let metrics = Metrics::new(Duration::from_millis(1_700_000_000_500), "v1.\"0\"");
        metrics.observe("/", &Method::POST).code = StatusCode::OK;
        metrics.count_visit(true);
        let text = metrics.page(Format::Text, Duration::from_millis(1250));
        for line in [
            "# TYPE process_cpu_seconds_total counter",
            "process_cpu_seconds_total 1.25",
            "app_visits_total 1",
            "# TYPE app_info gauge",
            r#"app_info{version="v1.\"0\""} 1"#,
        ] {
            assert!(
                text.lines().any(|found| found == line),
                "{line} is not in\n{text}"
            );
        }
        assert!(
            text.contains(r#",le="1"} 1"#) && !text.contains("# EOF") && !text.contains("# UNIT"),
            "{text}"
        );
        let open_metrics = metrics.page(Format::OpenMetrics, Duration::from_millis(1250));
        for line in [
            "# TYPE process_cpu_seconds counter",
            "# UNIT process_cpu_seconds seconds",
            "app_visits_total 1",
            "# TYPE app info",
            r#"app_info{version="v1.\"0\""} 1"#,
        ] {
            assert!(
                open_metrics.lines().any(|found| found == line),
                "{line} is not in\n{open_metrics}"
            );
        }
        assert!(
            open_metrics.contains("process_start_time_seconds 1700000000.5\n"),
            "{open_metrics}"
        );
        assert!(
            open_metrics.contains(r#",le="1.0"} 1"#) && open_metrics.ends_with("# EOF\n"),
            "{open_metrics}"
        );
    }
}
