//! The timelines of one service on one time axis: load, latency, replicas, metrics, requests by pod. Decides what is
//! drawn and in which words it is told; [`svg`](super::svg) knows how.

mod heat;
mod latency;
mod metric;
mod pods;
mod replicas;

use std::fmt;
use std::ops::Range;

use super::canvas::Canvas;
use super::series::Series;
use super::svg::{Chart, Point, panel, time_axis};
use super::thin::thinned;
use crate::recording::Service;
use crate::report::scale::Scale;
use crate::report::text;
use crate::scenario::Slo;

/// Metrics that are drawn; an HPA has rarely more than two.
const METRICS_MAX: usize = 4;

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
        self.load(out)?;
        self.latency(out)?;
        self.heat(out)?;
        self.replicas(out)?;
        for (i, metric) in self.service.metrics.iter().take(METRICS_MAX).enumerate() {
            self.metric(out, i, metric)?;
        }
        self.pods(out)?;
        time_axis(out, self.canvas.end_s)
    }

    fn load(&self, out: &mut String) -> fmt::Result {
        let series = &self.series;
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

    /// What a title says of rates where a second on the axis is not one of theirs.
    fn as_they_were(&self) -> String {
        let speed = self.series.speed;
        if speed == 1.0 {
            return String::new();
        }
        format!(" as they were, at {} times the speed", text::number(speed))
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
