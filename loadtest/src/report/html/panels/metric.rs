//! A metric of the HPA against its target, and against what clients saw.

use std::fmt;

use super::super::svg::{Chart, Point};
use super::{Key, Timelines, most, most_in};
use crate::recording::Metric;
use crate::report::scale::Scale;
use crate::report::text;

impl Timelines<'_> {
    pub(super) fn metric(&self, out: &mut String, index: usize, metric: &Metric) -> fmt::Result {
        let reads = metric.reads.iter();
        let reads: Vec<Point> = reads.map(|read| (read.t_s, read.value)).collect();
        let highest = most(&reads).max(1.15 * metric.target);
        let scale = Scale::linear(highest, 3);
        let mut chart = self.canvas.chart(140, scale, text::number)?;
        let average = if metric.is_average { " per pod" } else { "" };
        let target = text::number(metric.target);
        chart.level(
            "target",
            metric.target,
            &format!("target {target}{average}"),
        )?;
        let mut keys: Vec<Key<'_>> = vec![("metric", "as the HPA reads it".to_owned())];
        keys.extend(self.clients(&mut chart, metric, highest)?);
        chart.line("metric", self.thin(&reads))?;
        let failed = unread(&mut chart, metric)?;
        if 0 < failed {
            keys.push(("absent", "nothing read".to_owned()));
        }
        self.canvas
            .over(&mut chart, |range| match most_in(&reads, &range) {
                Some(value) => format!("{} of {target}", text::number(value)),
                None => "nothing read".to_owned(),
            })?;
        let description = format!(
            "{} reads, {failed} of them without a value; up to {} with a target of {target}.",
            reads.len(),
            text::number(most(&reads)),
        );
        let title = format!("Metric {}{average}", metric.name);
        let id = format!("metric{index}");
        self.panel(out, chart, &id, &title, &keys, &description)
    }

    /// Draws the judged quantile as clients saw it, and names it. It has the metric's unit only where the name says so.
    fn clients(
        &self,
        chart: &mut Chart,
        metric: &Metric,
        highest: f64,
    ) -> Result<Option<Key<'static>>, fmt::Error> {
        let judged = self.slo.map_or(0.95, |slo| slo.quantile);
        let mut quantiles = self.series.quantiles.iter();
        let clients = quantiles.find(|(q, _)| *q == judged);
        let Some((q, line)) = clients.filter(|_| metric.name.ends_with("_ms")) else {
            return Ok(None);
        };
        let within = |(t_s, ms): &Point| (*t_s, ms.map(|ms| ms.min(highest)));
        let within: Vec<Point> = line.iter().map(within).collect();
        chart.line("p99", self.thin(&within))?;
        let name = format!("{} as clients saw it", text::quantile(*q));
        Ok(Some(("p99", name)))
    }
}

/// Marks where reads had no value; how many had none.
fn unread(chart: &mut Chart, metric: &Metric) -> Result<usize, fmt::Error> {
    let mut failed = 0;
    let reads = &metric.reads;
    for stretch in reads.chunk_by(|a, b| a.value.is_none() == b.value.is_none()) {
        let (first, last) = (&stretch[0], &stretch[stretch.len() - 1]);
        if first.value.is_some() {
            continue;
        }
        failed += stretch.len();
        let words = format!(
            "nothing read from {} to {}: {}",
            text::moment(first.t_s),
            text::moment(last.t_s),
            first.error.as_deref().unwrap_or("no value")
        );
        chart.strip("absent", first.t_s, last.t_s, &words)?;
    }
    Ok(failed)
}
