//! What an adapter recorded while it ran, to what was seen: a table in CSV, or what Prometheus answers when it is asked
//! for the adapter's own metrics. One sample is one moment; it reads text and fits nothing.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::points::{self, Observed, Point, settled, startups};

/// Samples at most: a month at a step of 15 s.
const SAMPLES_MAX: usize = 200_000;

/// A sample's latency looks back over a window, so samples this long after a change of pods tell of both numbers; in
/// seconds.
const SETTLE_S: f64 = 60.0;

/// The longest time from one sample to the next that a rate holds for, in steps: what is longer is a gap.
const GAP_STEPS: f64 = 3.0;

/// Times above this are not seconds but milliseconds since 1970.
const MS_SINCE: f64 = 1e11;

/// One moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sample {
    t_s: f64,
    rps: Option<f64>,
    pods: Option<f64>,
    desired: Option<f64>,
    quantile_s: Option<f64>,
    mean_s: Option<f64>,
    concurrency: Option<f64>,
    cpu_percent: Option<f64>,
}

/// Samples, and what they say of the objective.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Samples {
    samples: Vec<Sample>,
    /// The quantile that the latencies are, where they say.
    pub(super) quantile: Option<f64>,
    /// The promised latency in seconds, where they say.
    pub(super) objective_s: Option<f64>,
    /// CPU seconds of a request, where they say.
    pub(super) cpu_s: Option<f64>,
    /// The service, where they say.
    pub(super) service: Option<String>,
}

/// Why a file holds no samples.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum SamplesError {
    /// A column that is needed is not there.
    #[error(
        "has no column {0}; write t_seconds,rps,pods,p95_ms and what else of desired,mean_ms,cpu_percent is known"
    )]
    Column(&'static str),
    /// A line is wrong.
    #[error("line {line}: {message}")]
    Line {
        /// Which, from 1.
        line: usize,
        /// What is wrong with it.
        message: String,
    },
    /// Too many.
    #[error("has more than {SAMPLES_MAX} samples; take a longer step")]
    Many,
    /// It is JSON of something else.
    #[error("is no answer of Prometheus to query_range: {0}")]
    Json(String),
    /// It lacks a series.
    #[error("has no series {0}; ask for {{__name__=~\"taffrail_.*\", service=\"NAME\"}}")]
    Series(&'static str),
    /// There are several services.
    #[error("has samples of several services: {0}; choose one with --service")]
    Services(String),
}

// --- CSV.

/// Whether a CSV text is of samples, by its first line; a trace has two columns.
pub(super) fn is_table(text: &str) -> bool {
    header(text).is_some_and(|(_, columns)| columns.iter().any(|column| column == "pods"))
}

fn header(text: &str) -> Option<(usize, Vec<String>)> {
    let (number, line) = rows(text).next()?;
    let columns = cells(line).map(|cell| cell.trim_matches('"').to_lowercase());
    Some((number, columns.collect()))
}

/// The lines that hold something, by number from 1, without comments.
fn rows(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let lines = text.trim_start_matches('\u{feff}').lines().zip(1..);
    let content =
        lines.map(|(line, number)| (number, line.split('#').next().unwrap_or_default().trim()));
    content.filter(|(_, line)| !line.is_empty())
}

fn cells(line: &str) -> impl Iterator<Item = &str> {
    line.split([',', ';', '\t']).map(str::trim)
}

/// Reads a table. Columns may be in any order, unknown ones are passed over, and an empty cell is not known.
pub(super) fn table(text: &str) -> Result<Samples, SamplesError> {
    let (_, columns) = header(text).unwrap_or_default();
    let place = |names: &[&str]| {
        columns
            .iter()
            .position(|column| names.contains(&column.as_str()))
    };
    let time = place(&["t_seconds", "t_s", "time", "timestamp"])
        .ok_or(SamplesError::Column("t_seconds"))?;
    let rps = place(&["rps", "rate", "request_rate"]).ok_or(SamplesError::Column("rps"))?;
    let pods = place(&["pods", "ready"]).ok_or(SamplesError::Column("pods"))?;
    let (latency, quantile, unit) = columns
        .iter()
        .enumerate()
        .find_map(|(place, name)| quantile_column(name).map(|(q, unit)| (place, q, unit)))
        .ok_or(SamplesError::Column("p95_ms"))?;
    let optional = [
        &["desired", "replicas"][..],
        &["mean_ms"],
        &["concurrency"],
        &["cpu_percent"],
    ];
    let [desired, mean, concurrency, cpu] = optional.map(place);
    let mut read = Samples {
        quantile: Some(quantile),
        ..Samples::default()
    };
    for (line, row) in rows(text).skip(1) {
        if SAMPLES_MAX <= read.samples.len() {
            return Err(SamplesError::Many);
        }
        let cells: Vec<&str> = cells(row).collect();
        let number = |place: usize| number(&cells, place, line, &columns);
        let maybe = |place: Option<usize>| place.map_or(Ok(None), number);
        let t_s = moment(cells.get(time).copied().unwrap_or_default()).ok_or_else(|| {
            SamplesError::Line {
                line,
                message: "has no time: write seconds, milliseconds since 1970, or RFC 3339"
                    .to_owned(),
            }
        })?;
        read.samples.push(Sample {
            t_s,
            rps: number(rps)?,
            pods: number(pods)?,
            quantile_s: number(latency)?.map(|latency| latency * unit),
            desired: maybe(desired)?,
            mean_s: maybe(mean)?.map(|ms| ms / 1000.0),
            concurrency: maybe(concurrency)?,
            cpu_percent: maybe(cpu)?,
        });
    }
    Ok(read)
}

/// Quantile and unit in seconds of a column such as `p95_ms` or `p99.9_s`.
fn quantile_column(name: &str) -> Option<(f64, f64)> {
    let (digits, unit) = match name.strip_prefix('p')?.rsplit_once('_')? {
        (digits, "ms") => (digits, 0.001),
        (digits, "s" | "seconds") => (digits, 1.0),
        _ => return None,
    };
    let percent: f64 = digits.parse().ok()?;
    (0.0 < percent && percent < 100.0).then_some((percent / 100.0, unit))
}

fn number(
    cells: &[&str],
    place: usize,
    line: usize,
    columns: &[String],
) -> Result<Option<f64>, SamplesError> {
    let cell = cells.get(place).copied().unwrap_or_default();
    if cell.is_empty() || cell.eq_ignore_ascii_case("nan") {
        return Ok(None);
    }
    let number = cell
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite() && 0.0 <= *number);
    number.map(Some).ok_or_else(|| SamplesError::Line {
        line,
        message: format!(
            "{}: `{}` is not a number at or above zero",
            columns[place],
            cell.escape_debug()
        ),
    })
}

fn moment(text: &str) -> Option<f64> {
    if let Ok(number) = text.parse::<f64>() {
        let seconds = if MS_SINCE < number {
            number / 1000.0
        } else {
            number
        };
        return number.is_finite().then_some(seconds);
    }
    let timestamp: jiff::Timestamp = text.trim_matches('"').parse().ok()?;
    Some(timestamp.as_millisecond() as f64 / 1000.0)
}

// --- Prometheus.

#[derive(Deserialize)]
struct Answer {
    data: Matrix,
}

#[derive(Deserialize)]
struct Matrix {
    result: Vec<Series>,
}

#[derive(Deserialize)]
struct Series {
    metric: BTreeMap<String, String>,
    values: Vec<(f64, String)>,
}

/// Reads what `/api/v1/query_range` of Prometheus answers for the adapter's own metrics of `service`.
pub(super) fn prometheus(text: &str, service: Option<&str>) -> Result<Samples, SamplesError> {
    let answer: Answer =
        serde_json::from_str(text).map_err(|error| SamplesError::Json(error.to_string()))?;
    let is_ours = |series: &&Series| {
        series
            .metric
            .get("__name__")
            .is_some_and(|name| name.starts_with("taffrail_"))
    };
    let mut services: Vec<&str> = Vec::new();
    for series in answer.data.result.iter().filter(is_ours) {
        services.extend(series.metric.get("service").map(String::as_str));
    }
    services.sort_unstable();
    services.dedup();
    let service = match (service, services.as_slice()) {
        (Some(service), _) => service,
        (None, [only]) => only,
        (None, several) => return Err(SamplesError::Services(several.join(", "))),
    };
    let of = |name: &str, label: Option<(&str, &str)>| {
        let matches = |series: &&Series| {
            let is =
                |label: &str, value: &str| series.metric.get(label).is_none_or(|is| is == value);
            series.metric.get("__name__").is_some_and(|is| is == name)
                && is("service", service)
                && label.is_none_or(|(label, value)| is(label, value))
        };
        means(answer.data.result.iter().filter(matches))
    };
    let rates = of("taffrail_request_rate", None);
    let pods = of("taffrail_targets", Some(("standing", "known")));
    let latencies = of("taffrail_request_latency_seconds", None);
    for (name, series) in [
        ("taffrail_request_rate", &rates),
        ("taffrail_targets", &pods),
        ("taffrail_request_latency_seconds", &latencies),
    ] {
        if series.is_empty() {
            return Err(SamplesError::Series(name));
        }
    }
    let concurrency = of("taffrail_request_concurrency", None);
    let desired = of("kube_horizontalpodautoscaler_status_desired_replicas", None);
    if SAMPLES_MAX < rates.len() {
        return Err(SamplesError::Many);
    }
    let samples = rates.iter().map(|(ms, rps)| Sample {
        t_s: *ms as f64 / 1000.0,
        rps: Some(*rps),
        pods: pods.get(ms).copied(),
        quantile_s: latencies.get(ms).copied(),
        concurrency: concurrency.get(ms).copied(),
        desired: desired.get(ms).copied(),
        ..Sample::default()
    });
    let last = |name: &str| of(name, None).into_values().next_back();
    Ok(Samples {
        samples: samples.collect(),
        quantile: None,
        objective_s: last("taffrail_objective_latency_seconds"),
        cpu_s: last("taffrail_request_cpu_seconds"),
        service: Some(service.to_owned()),
    })
}

/// The mean at each millisecond: two replicas of the adapter say the same, nearly.
fn means<'s>(series: impl Iterator<Item = &'s Series>) -> BTreeMap<i64, f64> {
    let mut sums: BTreeMap<i64, (f64, f64)> = BTreeMap::new();
    for (t_s, value) in series.flat_map(|series| &series.values) {
        if let Some(value) = value.parse().ok().filter(|value: &f64| value.is_finite()) {
            let sum = sums.entry((t_s * 1000.0) as i64).or_default();
            *sum = (sum.0 + value, sum.1 + 1.0);
        }
    }
    sums.into_iter()
        .map(|(ms, (sum, count))| (ms, sum / count))
        .collect()
}

// --- What they show.

impl Samples {
    /// What these samples show. `cpu_request` is what a pod requests, in cores, where the samples do not tell per cent.
    pub(super) fn observed(mut self, cpu_request: Option<f64>) -> Observed {
        self.samples.sort_by(|a, b| a.t_s.total_cmp(&b.t_s));
        self.samples.dedup_by(|a, b| a.t_s <= b.t_s);
        let start_s = self.samples.first().map_or(0.0, |first| first.t_s);
        for sample in &mut self.samples {
            sample.t_s -= start_s;
        }
        let step_s = self.step_s();
        let steps = |of: fn(&Sample) -> Option<f64>| -> Vec<(f64, u32)> {
            let known = self
                .samples
                .iter()
                .filter_map(|sample| Some((sample.t_s, of(sample)?.round() as u32)));
            known.collect()
        };
        let by_request = || Some(self.cpu_s? / cpu_request? * 100.0);
        Observed {
            points: self.points(step_s),
            startups_s: startups(
                &steps(|sample| sample.desired),
                &steps(|sample| sample.pods),
            ),
            startup_resolution_s: step_s,
            cpu_percent: self.cpu_percent().or_else(by_request),
            traffic: self.traffic(step_s),
        }
    }

    /// The usual time from one sample to the next.
    fn step_s(&self) -> f64 {
        let mut steps: Vec<f64> = self
            .samples
            .windows(2)
            .map(|pair| pair[1].t_s - pair[0].t_s)
            .collect();
        steps.sort_by(f64::total_cmp);
        points::quantile(&steps, 0.5).unwrap_or(1.0)
    }

    /// Samples that stand for one number of pods each, by load.
    fn points(&self, step_s: f64) -> Vec<Point> {
        let mut since_s = 0.0;
        let mut before: Option<f64> = None;
        let mut points = Vec::new();
        for sample in &self.samples {
            if before != sample.pods && before.is_some() {
                since_s = sample.t_s;
            }
            before = sample.pods;
            let settles = sample.t_s < since_s + SETTLE_S && 0.0 < since_s;
            let (Some(rps), Some(pods)) = (sample.rps, sample.pods.filter(|pods| 1.0 <= *pods))
            else {
                continue;
            };
            if settles || rps <= 0.0 {
                continue;
            }
            let by_little = || Some(sample.concurrency? / rps);
            points.push(Point {
                load: rps / pods,
                pods,
                requests: rps * step_s,
                quantile_s: sample.quantile_s.filter(|latency_s| 0.0 < *latency_s),
                mean_s: sample
                    .mean_s
                    .or_else(by_little)
                    .filter(|latency_s| 0.0 < *latency_s),
                ..Point::default()
            });
        }
        let typical: Vec<_> = points
            .iter()
            .map(|point| (point.load, point.mean_s.or(point.quantile_s)))
            .collect();
        let kept = points.iter().zip(settled(&typical));
        let kept = kept.filter_map(|(point, is_over)| {
            Some(Point {
                is_over: is_over?,
                ..*point
            })
        });
        points::merged(&kept.collect::<Vec<_>>())
    }

    fn cpu_percent(&self) -> Option<f64> {
        let ratio = |sample: &Sample| Some(sample.cpu_percent? / (sample.rps? / sample.pods?));
        let mut ratios: Vec<f64> = self
            .samples
            .iter()
            .filter_map(ratio)
            .filter(|ratio| ratio.is_finite())
            .collect();
        ratios.sort_by(f64::total_cmp);
        points::quantile(&ratios, 0.5).filter(|ratio| 0.0 < *ratio)
    }

    /// The rates; over a gap the rate before it holds.
    fn traffic(&self, step_s: f64) -> Vec<(f64, f64)> {
        let mut traffic: Vec<(f64, f64)> = Vec::new();
        let mut shift_s = 0.0;
        for pair in self.samples.windows(2) {
            let length_s = pair[1].t_s - pair[0].t_s;
            if let Some(rps) = pair[0].rps {
                traffic.push((pair[0].t_s - shift_s, rps));
            }
            shift_s += (length_s - GAP_STEPS * step_s).max(0.0);
        }
        traffic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_by_its_columns() {
        let text = "t_seconds,rps,pods,p99_ms,cpu_percent,colour\n0,10,2,50,20,red\n15,10,2,,20,\n\n30,NaN,2,60,20,x # noon\n";
        assert!(is_table(text) && !is_table("t_seconds,rps\n0,5\n"));
        let read = table(text).unwrap();
        assert_eq!(read.quantile, Some(0.99));
        assert_eq!(read.samples.len(), 3);
        assert_eq!(
            (read.samples[0].quantile_s, read.samples[1].quantile_s),
            (Some(0.05), None)
        );
        assert_eq!(read.samples[2].rps, None);
        let observed = read.observed(None);
        assert_eq!(observed.cpu_percent, Some(4.0));
        assert_eq!(observed.traffic, [(0.0, 10.0), (15.0, 10.0)]);
    }

    #[test]
    fn a_table_that_cannot_be_read_says_what_it_lacks() {
        let cases = [
            ("rps,pods,p95_ms\n1,1,1\n", "has no column t_seconds"),
            ("t_seconds,pods,p95_ms\n1,1,1\n", "has no column rps"),
            ("t_seconds,rps,pods\n1,1,1\n", "has no column p95_ms"),
            (
                "t_seconds,rps,pods,p95_ms\n0,1,1,1\n1,-4,1,1\n",
                "line 3: rps: `-4` is not a number",
            ),
            (
                "t_seconds,rps,pods,p95_ms\nnoon,1,1,1\n",
                "line 2: has no time",
            ),
        ];
        for (text, expected) in cases {
            let error = table(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text:?}: {error}");
        }
    }

    #[test]
    fn times_are_seconds_or_milliseconds_or_rfc_3339() {
        for text in ["1700000000", "1700000000000", "2023-11-14T22:13:20Z"] {
            assert_eq!(moment(text), Some(1.7e9), "{text}");
        }
        assert_eq!(moment("yesterday"), None);
    }

    #[test]
    fn what_prometheus_answers_is_read_and_two_replicas_of_the_adapter_are_one() {
        let series = |name: &str, labels: &str, values: &str| {
            format!(
                r#"{{"metric":{{"__name__":"taffrail_{name}","service":"users"{labels}}},"values":[{values}]}}"#
            )
        };
        let result = [
            series(
                "request_rate",
                r#","instance":"a""#,
                r#"[100,"30"],[115,"30"]"#,
            ),
            series("request_rate", r#","instance":"b""#, r#"[100,"34"]"#),
            series(
                "targets",
                r#","standing":"known""#,
                r#"[100,"2"],[115,"2"]"#,
            ),
            series(
                "targets",
                r#","standing":"unknown""#,
                r#"[100,"0"],[115,"0"]"#,
            ),
            series("request_latency_seconds", "", r#"[100,"0.1"],[115,"NaN"]"#),
            series("objective_latency_seconds", "", r#"[100,"0.25"]"#),
            series("request_concurrency", "", r#"[100,"1.6"]"#),
        ];
        let text = format!(
            r#"{{"status":"success","data":{{"resultType":"matrix","result":[{}]}}}}"#,
            result.join(",")
        );
        let read = prometheus(&text, None).unwrap();
        assert_eq!(
            (read.objective_s, read.service.as_deref()),
            (Some(0.25), Some("users"))
        );
        let first = read.samples[0];
        assert_eq!(
            (first.rps, first.pods, first.quantile_s),
            (Some(32.0), Some(2.0), Some(0.1))
        );
        assert_eq!(read.samples[1].quantile_s, None);
        let points = read.observed(None).points;
        let first = points.iter().find(|point| point.load == 16.0).unwrap();
        assert!(
            (first.mean_s.unwrap() - 0.05).abs() < 1e-9,
            "by Little's law"
        );
        assert!(
            prometheus("{}", None)
                .unwrap_err()
                .to_string()
                .contains("query_range")
        );
        let other = prometheus(&text, Some("shifts")).unwrap_err().to_string();
        assert!(other.contains("no series taffrail_request_rate"), "{other}");
    }
}
