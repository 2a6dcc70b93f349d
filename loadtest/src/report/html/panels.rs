//! The timelines of one service on one time axis: load, latency, replicas, metrics, requests by pod. Decides what is
//! drawn and in which words it is told; [`svg`](super::svg) knows how.

use std::fmt;
use std::ops::Range;

use super::canvas::Canvas;
use super::series::{Series, of_steps};
use super::svg::{Chart, Point, panel, steps, time_axis};
use super::thin::{means, thinned};
use crate::measured::Measured;
use crate::recording::{Metric, Service};
use crate::report::scale::Scale;
use crate::report::text;
use crate::scenario::Slo;
use crate::steps::Steps;

/// Metrics that are drawn; an HPA has rarely more than two.
const METRICS_MAX: usize = 4;

/// Pods told apart; a screen has no room for the names of more. The rest are one.
const PODS_MAX: usize = 16;

/// Colours of pods; neighbours differ.
const POD_COLOURS: usize = 8;

/// Columns of what is stacked: each pod has a line of its own, and the file stays small.
const STACK_COLUMNS: usize = 400;

/// A name in a legend: its line's class, and the text.
type Key<'a> = (&'a str, String);

/// What is drawn of a service.
#[derive(Debug)]
pub(super) struct Timelines<'a> {
    pub(super) canvas: Canvas<'a>,
    pub(super) series: Series,
    pub(super) service: &'a Service,
    pub(super) slo: Option<&'a Slo>,
}

impl Timelines<'_> {
    /// All timelines of the service and their axis.
    pub(super) fn write(&self, out: &mut String) -> fmt::Result {
        self.load(out, &self.series)?;
        self.latency(out, &self.series)?;
        self.replicas(out, &self.series)?;
        for (i, metric) in self.service.metrics.iter().take(METRICS_MAX).enumerate() {
            self.metric(out, i, metric, &self.series)?;
        }
        self.pods(out)?;
        time_axis(out, self.canvas.end_s)
    }

    fn load(&self, out: &mut String, series: &Series) -> fmt::Result {
        let (most, failed) = (most(&series.intended), most(&series.errors));
        // A quarter more than there was, for the names of the stages.
        let scale = Scale::linear(1.25 * most.max(1.0), 3);
        let mut chart = self
            .canvas
            .chart(130, scale, |v| format!("{}/s", text::number(v)))?;
        violations(&mut chart, series)?;
        chart.area("offered-area", self.thin(&series.intended))?;
        chart.line("offered", self.thin(&series.intended))?;
        chart.line("sent", self.thin(&series.sent))?;
        chart.line("done", self.thin(&series.ok))?;
        let mut keys: Vec<Key<'_>> = vec![
            ("offered", "intended".to_owned()),
            ("sent", "sent".to_owned()),
            ("done", "answered well".to_owned()),
        ];
        if 0.0 < failed {
            let errors = series
                .errors
                .iter()
                .map(|(t_s, n)| (*t_s, n.filter(|n| 0.0 < *n)));
            let errors: Vec<Point> = errors.collect();
            chart.line("errors", self.thin(&errors))?;
            keys.push(("errors", "failed or dropped".to_owned()));
        }
        self.canvas.stage_names(&mut chart)?;
        self.canvas.over(&mut chart, |range| {
            let mean = |line: &[Point]| mean(line, &range).unwrap_or_default();
            format!(
                "intended {:.0}/s, sent {:.0}/s, answered well {:.0}/s, failed or dropped {:.1}/s",
                mean(&series.intended),
                mean(&series.sent),
                mean(&series.ok),
                mean(&series.errors)
            )
        })?;
        let description = format!(
            "Up to {most:.0} requests per second were intended; up to {failed:.0} per second failed or were dropped."
        );
        self.panel(
            out,
            chart,
            "load",
            &format!("Load, requests per second{}", self.as_they_were()),
            &keys,
            &description,
        )
    }

    fn latency(&self, out: &mut String, series: &Series) -> fmt::Result {
        let objective_ms = self.slo.map(|slo| slo.target.seconds() * 1e3);
        // Of all: where requests are few, the highest quantile is known nowhere.
        let highest = series.quantiles.iter().map(|(_, line)| most(line));
        let highest = highest.fold(0.0, f64::max);
        let lowest = series
            .quantiles
            .first()
            .map_or(1.0, |(_, line)| least(line).unwrap_or(1.0));
        // Without an objective the axis turns logarithmic when the spread is such that one would not be seen.
        let scale = Scale::latency(lowest, highest, objective_ms.unwrap_or(2.0 * lowest), 5);
        let title = match scale.log {
            true => "Latency from the moment a request should have started, logarithmic",
            false => "Latency from the moment a request should have started",
        };
        let mut chart = self.canvas.chart(220, scale, text::latency)?;
        violations(&mut chart, series)?;
        if let Some(ms) = objective_ms {
            chart.level("objective", ms, &format!("objective {}", text::latency(ms)))?;
        }
        let mut keys: Vec<Key<'_>> = Vec::new();
        let judged = self.slo.map(|slo| slo.quantile);
        for (q, line) in &series.quantiles {
            let (class, name) = match *q {
                q if Some(q) == judged => ("judged", format!("{} (judged)", text::quantile(q))),
                q if q <= 0.5 => ("p50", text::quantile(q)),
                q => ("p99", text::quantile(q)),
            };
            chart.line(class, self.thin(line))?;
            keys.push((class, name));
        }
        if !series.violations.is_empty() {
            keys.push(("breach", "objective not held".to_owned()));
        }
        self.canvas.over(&mut chart, |range| {
            let words = series.quantiles.iter().filter_map(|(q, line)| {
                let ms = most_in(line, &range)?;
                let words = if ms.is_finite() {
                    text::latency(ms)
                } else {
                    "among failed requests".to_owned()
                };
                Some(format!("{} {words}", text::quantile(*q)))
            });
            let words: Vec<String> = words.collect();
            if words.is_empty() {
                "no answers".to_owned()
            } else {
                words.join(", ")
            }
        })?;
        let seconds: f64 = series
            .violations
            .iter()
            .map(|(from_s, to_s)| to_s - from_s)
            .sum();
        let description = match self.slo {
            Some(slo) => format!(
                "The objective is {}; it did not hold for {}.",
                text::objective(slo.quantile, slo.target.seconds() * 1e3),
                text::span(seconds)
            ),
            None => "There is no objective.".to_owned(),
        };
        self.panel(out, chart, "latency", title, &keys, &description)
    }

    fn replicas(&self, out: &mut String, series: &Series) -> fmt::Result {
        let seen = &self.service.replicas;
        let ready = of_steps(&seen.ready, self.canvas.end_s);
        let lines: [(&str, &str, Vec<Point>); 4] = [
            (
                "wanted",
                "desired by the HPA",
                of_steps(&seen.desired, self.canvas.end_s),
            ),
            (
                "current",
                "current, as the HPA sees it",
                of_steps(&seen.current, self.canvas.end_s),
            ),
            (
                "endpoints",
                "endpoints",
                of_steps(&seen.endpoints, self.canvas.end_s),
            ),
            ("needed", "needed for the load (n*)", series.needed.clone()),
        ];
        let known = |points: &[Point]| points.iter().any(|(_, value)| value.is_some());
        if !lines.iter().any(|(_, _, points)| known(points)) && !known(&ready) {
            return Ok(());
        }
        let bounds = self.service.autoscaler.as_ref();
        let highest = lines
            .iter()
            .map(|(_, _, points)| most(points))
            .fold(most(&ready), f64::max);
        let highest = bounds.map_or(highest, |hpa| highest.max(f64::from(hpa.max_replicas)));
        // One more than was ever there, for the labels of the changes.
        let mut chart =
            self.canvas
                .chart(170, Scale::counts(highest as u32 + 1, 4), text::number)?;
        if let Some(hpa) = bounds {
            let (min, max) = (hpa.min_replicas, hpa.max_replicas);
            chart.level("bound", f64::from(max), &format!("maxReplicas {max}"))?;
            chart.level("bound", f64::from(min), &format!("minReplicas {min}"))?;
        }
        let mut keys: Vec<Key<'_>> = Vec::new();
        if known(&ready) {
            chart.area("ready", steps(ready.into_iter(), self.canvas.end_s))?;
            keys.push(("ready", "ready".to_owned()));
        }
        for (class, name, points) in lines
            .into_iter()
            .rev()
            .filter(|(_, _, points)| known(points))
        {
            chart.line(class, steps(points.into_iter(), self.canvas.end_s))?;
            keys.push((class, name.to_owned()));
        }
        if self.gaps(&mut chart)? {
            keys.push(("absent", "not observed".to_owned()));
        }
        let changes: Vec<_> = seen.desired.changes(0.0..self.canvas.end_s).collect();
        for change in &changes {
            chart.mark_label(change.t_s, &format!("{}→{}", change.from, change.to))?;
        }
        self.canvas.over(&mut chart, |range| {
            let at = |name: &str, steps: &Steps| {
                let n = steps
                    .at(range.start as f64)
                    .map_or("unknown".to_owned(), |n| n.to_string());
                format!("{name} {n}")
            };
            [
                at("desired", &seen.desired),
                at("current", &seen.current),
                at("ready", &seen.ready),
                at("endpoints", &seen.endpoints),
            ]
            .join(", ")
        })?;
        let description = format!("Up to {highest:.0} replicas, in {} changes.", changes.len());
        self.panel(out, chart, "replicas", "Replicas", &keys, &description)
    }

    fn metric(
        &self,
        out: &mut String,
        index: usize,
        metric: &Metric,
        series: &Series,
    ) -> fmt::Result {
        let reads: Vec<Point> = metric
            .reads
            .iter()
            .map(|read| (read.t_s, read.value))
            .collect();
        let highest = most(&reads).max(1.15 * metric.target);
        let mut chart = self
            .canvas
            .chart(140, Scale::linear(highest, 3), text::number)?;
        let average = if metric.is_average { " per pod" } else { "" };
        chart.level(
            "target",
            metric.target,
            &format!("target {}{average}", text::number(metric.target)),
        )?;
        let mut keys: Vec<Key<'_>> = Vec::new();
        // What clients saw has the same unit only where the name says so.
        let judged = self.slo.map_or(0.95, |slo| slo.quantile);
        let clients = series.quantiles.iter().find(|(q, _)| *q == judged);
        if let Some((q, line)) = clients.filter(|_| metric.name.ends_with("_ms")) {
            let within: Vec<Point> = line
                .iter()
                .map(|(t_s, ms)| (*t_s, ms.map(|ms| ms.min(highest))))
                .collect();
            chart.line("p99", self.thin(&within))?;
            keys.push(("p99", format!("{} as clients saw it", text::quantile(*q))));
        }
        chart.line("metric", self.thin(&reads))?;
        keys.insert(0, ("metric", "as the HPA reads it".to_owned()));
        let mut failed = 0;
        for stretch in metric
            .reads
            .chunk_by(|a, b| a.value.is_none() == b.value.is_none())
        {
            let (first, last) = (&stretch[0], &stretch[stretch.len() - 1]);
            if first.value.is_none() {
                failed += stretch.len();
                let why = first.error.as_deref().unwrap_or("no value");
                let words = format!(
                    "nothing read from {} to {}: {}",
                    text::moment(first.t_s),
                    text::moment(last.t_s),
                    why
                );
                chart.strip("absent", first.t_s, last.t_s, &words)?;
            }
        }
        if 0 < failed {
            keys.push(("absent", "nothing read".to_owned()));
        }
        self.canvas
            .over(&mut chart, |range| match most_in(&reads, &range) {
                Some(value) => {
                    format!("{} of {}", text::number(value), text::number(metric.target))
                }
                None => "nothing read".to_owned(),
            })?;
        let description = format!(
            "{} reads, {failed} of them without a value; up to {} with a target of {}.",
            reads.len(),
            text::number(most(&reads)),
            text::number(metric.target)
        );
        let title = format!("Metric {}{average}", metric.name);
        self.panel(
            out,
            chart,
            &format!("metric{index}"),
            &title,
            &keys,
            &description,
        )
    }

    /// Requests of each pod, stacked: whether new pods really share the load.
    fn pods(&self, out: &mut String) -> fmt::Result {
        let names = self.pod_names();
        let mut pods = rates(&self.service.load, names.len(), self.series.speed);
        if pods.is_empty() {
            return Ok(());
        }
        // Each line is the sum of those below it.
        for i in 1..pods.len() {
            let (below, above) = pods.split_at_mut(i);
            for (sum, (_, below)) in above[0].iter_mut().zip(&below[i - 1]) {
                sum.1 = sum.1.zip(*below).map(|(a, b)| a + b);
            }
        }
        let all = pods.last().map_or(0.0, |line| most(line));
        let mut chart = self.canvas.chart(140, Scale::linear(all, 3), |v| {
            format!("{}/s", text::number(v))
        })?;
        let classes: Vec<String> = (0..pods.len())
            .map(|i| format!("pod pod{}", i % POD_COLOURS))
            .collect();
        for (line, class) in pods.iter().zip(&classes).rev() {
            chart.area(
                class,
                means(line, self.canvas.end_s, STACK_COLUMNS).into_iter(),
            )?;
        }
        self.canvas.over(&mut chart, |range| {
            let rates = pods
                .iter()
                .map(|line| mean(line, &range).unwrap_or_default());
            let mut below = 0.0;
            let words = rates.zip(&names).filter_map(|(sum, name)| {
                let rate = sum - std::mem::replace(&mut below, sum);
                (0.5 <= rate).then(|| format!("{name} {rate:.0}/s"))
            });
            words.collect::<Vec<_>>().join(", ")
        })?;
        let keys: Vec<Key<'_>> = classes
            .iter()
            .map(String::as_str)
            .zip(names.iter().cloned())
            .collect();
        let description = format!(
            "{} pods answered requests.",
            self.service.load.endpoints.len()
        );
        self.panel(
            out,
            chart,
            "pods",
            &format!("Requests by pod, per second{}", self.as_they_were()),
            &keys,
            &description,
        )
    }

    /// What a title says of rates where a second on the axis is not one of theirs.
    fn as_they_were(&self) -> String {
        let speed = self.series.speed;
        if speed == 1.0 {
            return String::new();
        }
        format!(" as they were, at {} times the speed", text::number(speed))
    }

    /// The names of the pods in the order of their first request; one name for all that are too many.
    fn pod_names(&self) -> Vec<String> {
        let mut endpoints: Vec<_> = self.service.load.endpoints.iter().collect();
        endpoints.sort_by_key(|(_, counts)| counts.index);
        let name = |address: &std::net::SocketAddr| {
            let known = |key: &str| {
                self.service
                    .backends
                    .get(key)
                    .and_then(|backend| backend.pod.as_deref())
            };
            let pod = known(&address.to_string()).or_else(|| known(&address.ip().to_string()));
            pod.map_or(address.to_string(), str::to_owned)
        };
        let mut names: Vec<String> = endpoints
            .iter()
            .take(PODS_MAX)
            .map(|(address, _)| name(address))
            .collect();
        if PODS_MAX < endpoints.len() {
            names.push(format!("{} others", endpoints.len() - PODS_MAX));
        }
        names
    }

    /// Marks where replicas were not observed; whether that ever was so.
    fn gaps(&self, chart: &mut Chart) -> Result<bool, fmt::Error> {
        for gap in &self.service.gaps {
            let to_s = gap.to_s.unwrap_or(self.canvas.end_s);
            let words = format!(
                "not observed from {} to {}: {}",
                text::moment(gap.from_s),
                text::moment(to_s),
                &gap.what
            );
            chart.strip("absent", gap.from_s, to_s, &words)?;
        }
        Ok(!self.service.gaps.is_empty())
    }

    fn thin(&self, points: &[Point]) -> std::vec::IntoIter<Point> {
        thinned(points, self.canvas.end_s, super::thin::COLUMNS).into_iter()
    }

    fn panel(
        &self,
        out: &mut String,
        chart: Chart,
        name: &str,
        title: &str,
        keys: &[Key<'_>],
        description: &str,
    ) -> fmt::Result {
        let id = format!("{}-{name}", self.canvas.id);
        panel(out, chart, &id, title, keys, description)
    }
}

fn violations(chart: &mut Chart, series: &Series) -> fmt::Result {
    series.violations.iter().try_for_each(|(from_s, to_s)| {
        let words = format!(
            "objective not held from {} to {}",
            text::moment(*from_s),
            text::moment(*to_s)
        );
        chart.band("breach", *from_s, *to_s, &words)
    })
}

/// The requests that each of `pods` pods ended, per second; what is above the last counts with it.
fn rates(load: &Measured, pods: usize, speed: f64) -> Vec<Vec<Point>> {
    if load.slots.iter().all(|slot| slot.endpoints.is_empty()) || pods == 0 {
        return Vec::new();
    }
    let mut rates = vec![Vec::with_capacity(load.slots.len()); pods];
    for (t_s, slot) in (0u32..).map(|t| f64::from(t) + 0.5).zip(&load.slots) {
        let mut counts = vec![0.0; pods];
        for seen in &slot.endpoints {
            counts[usize::from(seen.index).min(pods - 1)] +=
                f64::from(seen.ok) + f64::from(seen.errors);
        }
        for (line, count) in rates.iter_mut().zip(counts) {
            line.push((t_s, Some(count * speed)));
        }
    }
    rates
}

fn within<'a>(line: &'a [Point], range: &Range<usize>) -> impl Iterator<Item = f64> + 'a {
    let (from_s, to_s) = (range.start as f64, range.end as f64);
    let from = line.partition_point(|(t_s, _)| *t_s < from_s);
    let after = line[from..].iter().take_while(move |(t_s, _)| *t_s < to_s);
    after.filter_map(|(_, value)| *value)
}

fn mean(line: &[Point], range: &Range<usize>) -> Option<f64> {
    let (sum, n) = within(line, range).fold((0.0, 0u32), |(sum, n), value| (sum + value, n + 1));
    (0 < n).then(|| sum / f64::from(n))
}

pub(super) fn most_in(line: &[Point], range: &Range<usize>) -> Option<f64> {
    within(line, range).max_by(f64::total_cmp)
}

/// The highest value that is one: a quantile among failed requests is beyond all values.
pub(super) fn most(line: &[Point]) -> f64 {
    let known = line
        .iter()
        .filter_map(|(_, value)| *value)
        .filter(|value| value.is_finite());
    known.fold(0.0, f64::max)
}

pub(super) fn least(line: &[Point]) -> Option<f64> {
    let above = line
        .iter()
        .filter_map(|(_, value)| *value)
        .filter(|value| 0.0 < *value);
    above.min_by(f64::total_cmp)
}
