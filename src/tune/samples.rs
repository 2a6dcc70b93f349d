//! What an adapter recorded while it ran, to what was seen: a table in CSV, or what Prometheus answers when it is asked
//! for the adapter's own metrics. One sample is one moment; it reads text and fits nothing.

mod prometheus;

pub(super) use self::prometheus::{rates, read as prometheus};
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
    /// Prometheus could not answer.
    #[error("Prometheus refused the query: {0}")]
    Refused(String),
    /// It is of no one rate.
    #[error(
        "has {0} series, and traffic is one: ask for it as sum(rate(http_requests_total{{app=\"NAME\"}}[1m])), or for \
         the adapter's, {{__name__=~\"taffrail_.*\", service=\"NAME\"}}"
    )]
    Rates(usize),
    /// There are several services.
    #[error(
        "has samples of several services: {0}; choose one with --service, or ask for one namespace"
    )]
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
            pods: number(pods)?.map(|pods| count(pods, line)).transpose()?,
            quantile_s: number(latency)?.map(|latency| latency * unit),
            desired: maybe(desired)?.map(|pods| count(pods, line)).transpose()?,
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

/// A number of pods that there can be.
fn count(pods: f64, line: usize) -> Result<f64, SamplesError> {
    if pods <= points::PODS_MAX {
        return Ok(pods);
    }
    Err(SamplesError::Line {
        line,
        message: format!(
            "{pods} pods are more than {} and no number of pods",
            points::PODS_MAX
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
                .filter_map(|sample| Some((sample.t_s, of(sample)?)))
                .filter(|(_, pods)| *pods <= points::PODS_MAX)
                .map(|(t_s, pods)| (t_s, pods.round() as u32));
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
    use super::super::curve::Objective;
    use super::super::fit::Fit;
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
            (
                "t_seconds,rps,pods,p95_ms,desired\n0,1,1,1,4000000000\n",
                "line 2: 4000000000 pods are more than 100000",
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

    /// The 0.95-quantile of the time in a line before two workers, in service times, which are exponential and so are
    /// the times between arrivals; `busy` is below 1 and not one half.
    fn p95_of_two_workers(busy: f64) -> f64 {
        let waits = 2.0 * busy * busy / (1.0 + busy);
        let rest = 1.0 - 2.0 * busy;
        let over = |t: f64| (-t).exp() * (1.0 + waits / rest * (1.0 - (-t * rest).exp()));
        let (mut low, mut high) = (0.0, 1000.0);
        for _ in 0..60 {
            let middle = f64::midpoint(low, high);
            match 0.05 < over(middle) {
                true => low = middle,
                false => high = middle,
            }
        }
        low
    }

    #[test]
    fn samples_tell_what_a_pod_takes() {
        let mut text = String::from("t_seconds,rps,pods,p95_ms,mean_ms\n");
        for sample in 0..400 {
            let busy = 0.101 + f64::from(sample % 40) * 0.021;
            let (p95_ms, mean_ms) = (
                200.0 * p95_of_two_workers(busy),
                200.0 / (1.0 - busy * busy),
            );
            text += &format!("{},{},4,{p95_ms},{mean_ms}\n", sample * 15, busy * 40.0);
        }
        let objective = Objective {
            quantile: 0.95,
            latency_s: 1.0,
        };
        let fit = Fit::new(&table(&text).unwrap().observed(None), &objective).unwrap();
        // Two workers of 200 ms.
        assert!((9.0..=11.0).contains(&fit.capacity.value), "{fit:?}");
        assert!(fit.is_sure() && fit.startup.is_none(), "{fit:?}");
    }
}
