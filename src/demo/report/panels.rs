//! The four timelines of the report on their one time axis: load, latency, CPU, replicas. Decides what is drawn and
//! in which words it is told; [`svg`](taffrail_loadtest::report::html::svg) knows how.

use std::fmt;

use taffrail_loadtest::report::html::svg::{Chart, Point, panel, steps, time_axis};

use crate::demo::timeline::scale::Scale;
use crate::demo::timeline::{Recorded, Run, Sample, Summary, text};

/// The most samples drawn: more than a screen has columns, and a simulated day still gives a file that opens at once.
const POINTS_MAX: usize = 1200;

/// All four timelines and their axis.
pub(super) fn write(out: &mut String, run: &Run, summary: &Summary) -> fmt::Result {
    let drawn = Drawn {
        run,
        summary,
        samples: thinned(run),
        end_s: run.end_s(),
    };
    drawn.load(out)?;
    drawn.latency(out)?;
    drawn.cpu(out)?;
    drawn.replicas(out)?;
    time_axis(out, drawn.end_s)
}

struct Drawn<'a> {
    run: &'a Run,
    summary: &'a Summary,
    /// The samples that are drawn, each with the end of its time.
    samples: Vec<(&'a Sample, f64)>,
    end_s: f64,
}

impl Drawn<'_> {
    fn load(&self, out: &mut String) -> fmt::Result {
        let (offered, done) = (
            self.most(|s| Some(s.offered_rps)),
            self.most(|s| Some(s.done_rps)),
        );
        let errors = self.most(|s| Some(s.error_rps));
        let max = offered.max(done).max(errors);
        let mut chart = Chart::new(self.end_s, 130, Scale::linear(max, 3), |v| {
            format!("{}/s", text::number(v))
        })?;
        let mut keys = vec![
            ("offered", "offered".to_owned()),
            ("done", "answered".to_owned()),
        ];
        chart.area("offered-area", self.line(|s| Some(s.offered_rps)))?;
        chart.line("offered", self.line(|s| Some(s.offered_rps)))?;
        chart.line("done", self.line(|s| Some(s.done_rps)))?;
        if 0.0 < errors {
            chart.line(
                "errors",
                self.line(|s| (0.0 < s.error_rps).then_some(s.error_rps)),
            )?;
            keys.push(("errors", "failed".to_owned()));
        }
        self.marks(&mut chart)?;
        self.hover(&mut chart, |s| {
            let failed = if 0.0 < s.error_rps {
                format!(", failed {:.0}/s", s.error_rps)
            } else {
                String::new()
            };
            format!(
                "offered {:.0}/s, answered {:.0}/s{failed}",
                s.offered_rps, s.done_rps
            )
        })?;
        let description = format!(
            "Up to {offered:.0} requests per second were offered and up to {done:.0} answered."
        );
        panel(
            out,
            chart,
            "load",
            "Load, requests per second",
            &keys,
            &description,
        )
    }

    fn latency(&self, out: &mut String) -> fmt::Result {
        let objective_ms = self.run.objective.latency_ms;
        let max = [
            self.most(|s| s.p99_ms),
            self.most(|s| s.p95_ms),
            self.most(|s| s.metric_ms),
        ];
        let max = max.into_iter().fold(0.0, f64::max);
        let scale = Scale::latency(self.least_ms(), max, objective_ms, 5);
        let title = if scale.log {
            "Latency as clients saw it, logarithmic"
        } else {
            "Latency as clients saw it"
        };
        let mut chart = Chart::new(self.end_s, 230, scale, text::latency)?;
        for breach in &self.summary.breaches {
            let to_s = breach.to_s.unwrap_or(self.end_s);
            let title = format!(
                "over the objective from {} to {}",
                text::moment(breach.from_s),
                text::moment(to_s)
            );
            chart.band("breach", breach.from_s, to_s, &title)?;
        }
        let absent = self.absent(&mut chart)?;
        let name = format!("objective {}", text::latency(objective_ms));
        chart.level("objective", objective_ms, &name)?;
        let judged = self.run.judged();
        let mut keys = Vec::new();
        for (quantile, class) in [
            (Recorded::P50, "p50"),
            (Recorded::P95, "p95"),
            (Recorded::P99, "p99"),
        ] {
            let name = quantile.name();
            let (class, name) = match class {
                _ if quantile == judged => ("judged", format!("{name} (judged)")),
                class => (class, name.to_owned()),
            };
            chart.line(class, self.line(|s| quantile.of(s)))?;
            keys.push((class, name));
        }
        chart.line("metric", self.line(|s| s.metric_ms))?;
        keys.push(("metric", "what the HPA reads".to_owned()));
        if absent {
            keys.push(("absent", "the HPA reads nothing".to_owned()));
        }
        if !self.summary.breaches.is_empty() {
            keys.push(("breach", "breach".to_owned()));
        }
        self.marks(&mut chart)?;
        self.hover(&mut chart, latency_words)?;
        let description = format!(
            "{} reached {} against an objective of {}. {}",
            judged.name(),
            text::latency(self.most(|s| self.run.judged_ms(s))),
            text::latency(objective_ms),
            match self.summary.breaches.len() {
                0 => "The objective was not breached.".to_owned(),
                1 => "There was 1 breach.".to_owned(),
                n => format!("There were {n} breaches."),
            }
        );
        panel(out, chart, "latency", title, &keys, &description)
    }

    fn cpu(&self, out: &mut String) -> fmt::Result {
        let target = f64::from(self.run.cpu_target_percent);
        let peak = self.most(|s| s.cpu_utilization_percent);
        let scale = Scale::linear(peak.max(1.15 * target).max(100.0), 2);
        let mut chart = Chart::new(self.end_s, 110, scale, |v| format!("{} %", text::number(v)))?;
        chart.level("target", target, &format!("HPA target {target:.0} %"))?;
        chart.area("cpu-area", self.line(|s| s.cpu_utilization_percent))?;
        chart.line("cpu", self.line(|s| s.cpu_utilization_percent))?;
        self.marks(&mut chart)?;
        self.hover(&mut chart, |s| match s.cpu_utilization_percent {
            Some(percent) => format!("CPU {percent:.0} % of the request"),
            None => "CPU not known".to_owned(),
        })?;
        let description =
            format!("CPU reached {peak:.0} % of the request; the HPA's target is {target:.0} %.");
        let keys = [("cpu", "mean of the ready pods".to_owned())];
        panel(
            out,
            chart,
            "cpu",
            "CPU, percent of the request",
            &keys,
            &description,
        )
    }

    fn replicas(&self, out: &mut String) -> fmt::Result {
        let wanted = |s: &Sample| Some(f64::from(s.replicas_spec));
        let ready = |s: &Sample| Some(f64::from(s.replicas_ready));
        let cpu_only = |s: &Sample| s.cpu_only_replicas.map(f64::from);
        let most = self
            .most(wanted)
            .max(self.most(ready))
            .max(self.most(cpu_only));
        // One more than was ever there, for the labels of the decisions.
        let scale = Scale::counts(most as u32 + 1, 4);
        let mut chart = Chart::new(self.end_s, 150, scale, text::number)?;
        chart.area("ready", steps(self.line(ready), self.end_s))?;
        chart.line("wanted", steps(self.line(wanted), self.end_s))?;
        chart.line("cpu-only", steps(self.line(cpu_only), self.end_s))?;
        self.marks(&mut chart)?;
        self.mark_labels(&mut chart)?;
        self.hover(&mut chart, |s| {
            let cpu = s
                .cpu_only_replicas
                .map_or(String::new(), |n| format!(", CPU alone would ask for {n}"));
            format!(
                "wanted {}, ready {}{cpu}",
                s.replicas_spec, s.replicas_ready
            )
        })?;
        let mut keys = vec![
            ("wanted", "wanted by the HPA".to_owned()),
            ("ready", "ready".to_owned()),
        ];
        if self.summary.cpu_only_replicas_peak.is_some() {
            keys.push(("cpu-only", "what CPU alone would have asked for".to_owned()));
        }
        let description = format!(
            "From {} to {} and then {}, in {} decisions.",
            self.summary.replicas_first,
            self.summary.replicas_peak,
            self.summary.replicas_last,
            self.summary.decisions_total
        );
        panel(out, chart, "replicas", "Replicas", &keys, &description)
    }

    /// Marks where the metric was absent, with its state; whether it ever was.
    fn absent(&self, chart: &mut Chart) -> Result<bool, fmt::Error> {
        let absences = self.samples.chunk_by(|(a, _), (b, _)| {
            a.metric_ms.is_none() == b.metric_ms.is_none() && a.metric_state == b.metric_state
        });
        let mut any = false;
        for absence in absences.filter(|chunk| chunk[0].0.metric_ms.is_none()) {
            let ((first, _), (_, to_s)) = (absence[0], absence[absence.len() - 1]);
            let (from, to) = (text::moment(first.t_s), text::moment(to_s));
            let title = format!(
                "the metric is absent from {from} to {to}: {}",
                first.metric_state
            );
            chart.strip("absent", first.t_s, to_s, &title)?;
            any = true;
        }
        Ok(any)
    }

    fn marks(&self, chart: &mut Chart) -> fmt::Result {
        self.run
            .decisions
            .iter()
            .try_for_each(|decision| chart.mark(decision.t_s))
    }

    /// Labels each decision for which there is room; the table has them all.
    fn mark_labels(&self, chart: &mut Chart) -> fmt::Result {
        self.run.decisions.iter().try_for_each(|decision| {
            chart.mark_label(decision.t_s, &format!("{}→{}", decision.from, decision.to))
        })
    }

    fn hover(&self, chart: &mut Chart, words: impl Fn(&Sample) -> String) -> fmt::Result {
        self.samples.iter().try_for_each(|(sample, to_s)| {
            chart.hover(
                sample.t_s,
                *to_s,
                &format!("{}: {}", text::moment(sample.t_s), words(sample)),
            )
        })
    }

    fn line(&self, value: impl Fn(&Sample) -> Option<f64>) -> impl Iterator<Item = Point> {
        self.samples
            .iter()
            .map(move |(sample, _)| (sample.t_s, value(sample)))
    }

    fn most(&self, value: impl Fn(&Sample) -> Option<f64>) -> f64 {
        self.samples
            .iter()
            .filter_map(|(sample, _)| value(sample))
            .fold(0.0, f64::max)
    }

    /// The least latency above zero, for the floor of a logarithmic axis.
    fn least_ms(&self) -> f64 {
        let values = self
            .samples
            .iter()
            .flat_map(|(sample, _)| [sample.p50_ms, sample.p95_ms, sample.metric_ms]);
        values
            .flatten()
            .filter(|ms| 0.0 < *ms)
            .fold(self.run.objective.latency_ms, f64::min)
    }
}

fn latency_words(sample: &Sample) -> String {
    let quantiles = [Recorded::P50, Recorded::P95, Recorded::P99]
        .into_iter()
        .filter_map(|quantile| {
            let ms = quantile.of(sample)?;
            Some(format!("{} {}", quantile.name(), text::latency(ms)))
        });
    let mut words: Vec<String> = quantiles.collect();
    if words.is_empty() {
        words.push("no answers".to_owned());
    }
    let state = &sample.metric_state;
    words.push(match sample.metric_ms {
        Some(ms) => format!("the HPA reads {} ({state})", text::latency(ms)),
        None => format!("the HPA reads nothing ({state})"),
    });
    words.join(", ")
}

/// At most [`POINTS_MAX`] samples. Of samples that share a point the one with the highest judged latency is drawn, so
/// that no spike is hidden.
fn thinned(run: &Run) -> Vec<(&Sample, f64)> {
    let samples: Vec<(&Sample, f64)> = run
        .spans()
        .map(|(sample, span_s)| (sample, sample.t_s + span_s))
        .collect();
    let share = samples.len().div_ceil(POINTS_MAX).max(1);
    let worst = |chunk: &[(&'_ Sample, f64)]| {
        let latency = |i: &usize| run.judged_ms(chunk[*i].0).unwrap_or(0.0);
        (0..chunk.len())
            .max_by(|a, b| latency(a).total_cmp(&latency(b)))
            .unwrap_or(0)
    };
    samples
        .chunks(share)
        .map(|chunk| (chunk[worst(chunk)].0, chunk[chunk.len() - 1].1))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::demo::timeline::Objective;

    #[test]
    fn a_long_run_is_thinned_and_keeps_its_spike() {
        let sample = |t: u32| Sample {
            t_s: f64::from(t),
            p95_ms: Some(if t == 54_321 { 9000.0 } else { 90.0 }),
            ..Sample::default()
        };
        let run = Run {
            samples: (0..86_400).map(sample).collect(),
            objective: Objective {
                quantile: 0.95,
                latency_ms: 250.0,
            },
            ..Run::default()
        };
        let drawn = thinned(&run);
        assert!(drawn.len() <= POINTS_MAX);
        assert_eq!(
            drawn
                .iter()
                .filter(|(sample, _)| sample.p95_ms == Some(9000.0))
                .count(),
            1
        );
        assert_eq!(drawn.last().map(|(_, to_s)| *to_s), Some(86_400.0));
    }
}
