//! Replicas as each place tells them, within the bounds of the HPA.

use std::fmt;

use super::super::series::of_steps;
use super::super::svg::{Chart, Point, steps};
use super::{Key, Timelines, most};
use crate::recording::Replicas;
use crate::report::scale::Scale;
use crate::report::text;
use crate::steps::Steps;

impl Timelines<'_> {
    pub(super) fn replicas(&self, out: &mut String) -> fmt::Result {
        let seen = &self.service.replicas;
        let end_s = self.canvas.end_s;
        let lines: Vec<(&str, &str, Vec<Point>)> = [
            ("ready", "ready", of_steps(&seen.ready, end_s)),
            (
                "needed",
                "needed for the load (n*)",
                self.series.needed.clone(),
            ),
            ("endpoints", "endpoints", of_steps(&seen.endpoints, end_s)),
            (
                "current",
                "current, as the HPA sees it",
                of_steps(&seen.current, end_s),
            ),
            (
                "wanted",
                "desired by the HPA",
                of_steps(&seen.desired, end_s),
            ),
        ]
        .into_iter()
        .filter(|(_, _, points)| points.iter().any(|(_, value)| value.is_some()))
        .collect();
        if lines.is_empty() {
            return Ok(());
        }
        let bounds = self.service.autoscaler.as_ref();
        let highest = lines.iter().map(|(_, _, points)| most(points));
        let highest = highest.fold(
            bounds.map_or(0.0, |hpa| f64::from(hpa.max_replicas)),
            f64::max,
        );
        // One more than was ever there, for the labels of the changes.
        let scale = Scale::counts(highest as u32 + 1, 4);
        let mut chart = self.canvas.chart(170, scale, text::number)?;
        if let Some(hpa) = bounds {
            let (min, max) = (hpa.min_replicas, hpa.max_replicas);
            chart.level("bound", f64::from(max), &format!("maxReplicas {max}"))?;
            chart.level("bound", f64::from(min), &format!("minReplicas {min}"))?;
        }
        let mut keys: Vec<Key<'_>> = Vec::new();
        for (class, name, points) in lines {
            let points = steps(points.into_iter(), end_s);
            match class {
                "ready" => chart.area(class, points)?,
                class => chart.line(class, points)?,
            }
            keys.push((class, name.to_owned()));
        }
        if self.gaps(&mut chart)? {
            keys.push(("absent", "not observed".to_owned()));
        }
        let changes: Vec<_> = seen.desired.changes(0.0..end_s).collect();
        for change in &changes {
            chart.mark_label(change.t_s, &format!("{}→{}", change.from, change.to))?;
        }
        self.canvas
            .over(&mut chart, |range| told(seen, range.start as f64))?;
        let description = format!("Up to {highest:.0} replicas, in {} changes.", changes.len());
        self.panel(out, chart, "replicas", "Replicas", &keys, &description)
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
}

/// The replicas at a moment.
fn told(seen: &Replicas, t_s: f64) -> String {
    let at = |name: &str, steps: &Steps| {
        let n = steps.at(t_s);
        format!(
            "{name} {}",
            n.map_or("unknown".to_owned(), |n| n.to_string())
        )
    };
    [
        at("desired", &seen.desired),
        at("current", &seen.current),
        at("ready", &seen.ready),
        at("endpoints", &seen.endpoints),
    ]
    .join(", ")
}
