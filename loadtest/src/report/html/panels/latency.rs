//! Latency as quantiles over time, against the objective.

use std::fmt;
use std::ops::Range;

use super::super::svg::Point;
use super::{Key, Timelines, least, most, most_in, violations};
use crate::report::scale::Scale;
use crate::report::text;

/// So much higher is the axis where events are named above the lines.
const ROOM_FOR_NAMES: f64 = 1.3;

/// So far above the objective the axis ends then, since its own name is at the right end of its line.
const ROOM_OVER_OBJECTIVE: f64 = 1.6;

impl Timelines<'_> {
    pub(super) fn latency(&self, out: &mut String) -> fmt::Result {
        let series = &self.series;
        let objective_ms = self.slo.map(|slo| slo.target.seconds() * 1e3);
        let scale = self.latency_scale(objective_ms);
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
        for (q, line) in &series.quantiles {
            let (class, name) = self.quantile_key(*q);
            chart.line(class, self.thin(line))?;
            keys.push((class, name));
        }
        if !series.violations.is_empty() {
            keys.push(("breach", "objective not held".to_owned()));
        }
        self.canvas.event_names(&mut chart)?;
        self.canvas
            .over(&mut chart, |range| told(&series.quantiles, &range))?;
        let description = self.latency_description();
        self.panel(out, chart, "latency", title, &keys, &description)
    }

    fn latency_scale(&self, objective_ms: Option<f64>) -> Scale {
        // Of all: where requests are few, the highest quantile is known nowhere.
        let lines = self.series.quantiles.iter().map(|(_, line)| line);
        let mut highest = lines.map(|line| most(line)).fold(0.0, f64::max);
        let lowest = self.series.quantiles.first();
        let lowest = lowest.and_then(|(_, line)| least(line)).unwrap_or(1.0);
        if !self.canvas.events.is_empty() {
            highest *= ROOM_FOR_NAMES;
            highest = highest.max(ROOM_OVER_OBJECTIVE * objective_ms.unwrap_or(0.0));
        }
        // Without an objective the axis turns logarithmic when the spread is such that one would not be seen.
        Scale::latency(lowest, highest, objective_ms.unwrap_or(2.0 * lowest), 5)
    }

    /// The class of a quantile's line, and its name.
    fn quantile_key(&self, q: f64) -> (&'static str, String) {
        match q {
            q if Some(q) == self.slo.map(|slo| slo.quantile) => {
                ("judged", format!("{} (judged)", text::quantile(q)))
            }
            q if q <= 0.5 => ("p50", text::quantile(q)),
            q => ("p99", text::quantile(q)),
        }
    }

    fn latency_description(&self) -> String {
        let Some(slo) = self.slo else {
            return "There is no objective.".to_owned();
        };
        let stretches = self.series.violations.iter();
        let seconds: f64 = stretches.map(|(from_s, to_s)| to_s - from_s).sum();
        format!(
            "The objective is {}; it did not hold for {}.",
            text::objective(slo.quantile, slo.target.seconds() * 1e3),
            text::span(seconds)
        )
    }
}

/// The quantiles of a stretch of seconds.
fn told(quantiles: &[(f64, Vec<Point>)], range: &Range<usize>) -> String {
    let words = quantiles.iter().filter_map(|(q, line)| {
        let ms = most_in(line, range)?;
        let words = match ms.is_finite() {
            true => text::latency(ms),
            false => "among failed requests".to_owned(),
        };
        Some(format!("{} {words}", text::quantile(*q)))
    });
    let words: Vec<String> = words.collect();
    match words.is_empty() {
        true => "no answers".to_owned(),
        false => words.join(", "),
    }
}
