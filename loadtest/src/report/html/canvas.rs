//! What all timelines of a block have in common: the time axis, shaded stages, the lines of scale events, the marks of
//! findings, and columns that say their values when pointed at.

use std::fmt;
use std::ops::Range;

use super::svg::Chart;
use crate::judge::Finding;
use crate::recording::{Event, EventKind, Recording, Stage};
use crate::report::scale::Scale;
use crate::report::text;

/// Columns that say their values: as narrow as a finger or a pointer can tell apart.
const HOVER_COLUMNS: usize = 200;

/// The longest name of a stage or an event that stands in a chart; the tables have it whole.
const NAME_MAX: usize = 18;

/// How wide the mark of a mere moment is, as a share of the run.
const MOMENT_SHARE: f64 = 1.0 / 300.0;

/// The common part of a block of timelines.
#[derive(Debug)]
pub(super) struct Canvas<'a> {
    /// Unique on the page.
    pub(super) id: String,
    /// The end of the time axis, in seconds.
    pub(super) end_s: f64,
    /// The stages of what the block is about.
    pub(super) stages: Vec<&'a Stage>,
    /// When it was scaled.
    pub(super) scaled_s: Vec<f64>,
    /// What the scenario did, or its user marked.
    pub(super) events: Vec<&'a Event>,
    /// The findings that mark a stretch, each with its number on the page.
    pub(super) findings: Vec<(usize, &'a Finding)>,
}

impl Canvas<'_> {
    /// A chart with its stages shaded.
    pub(super) fn chart(
        &self,
        height_px: u32,
        scale: Scale,
        label: impl Fn(f64) -> String,
    ) -> Result<Chart, fmt::Error> {
        let mut chart = Chart::new(self.end_s, height_px, scale, label)?;
        // Every second one, so that neighbours differ.
        for stage in self.stages.iter().skip(1).step_by(2) {
            chart.band("stage", stage.start_s, stage.end_s, &stage.name)?;
        }
        for (event, until_s) in self.lasting() {
            chart.band("event", event.t_s, until_s, &event.name)?;
        }
        Ok(chart)
    }

    /// Names the stages at their beginnings, where there is room.
    pub(super) fn stage_names(&self, chart: &mut Chart) -> fmt::Result {
        self.stages
            .iter()
            .try_for_each(|stage| chart.mark_label(stage.start_s.max(0.0), &short(&stage.name)))
    }

    /// Names the events at their beginnings, where there is room.
    pub(super) fn event_names(&self, chart: &mut Chart) -> fmt::Result {
        self.events
            .iter()
            .try_for_each(|event| chart.mark_label(event.t_s.max(0.0), &short(&event.name)))
    }

    /// The events that last, with their ends.
    fn lasting(&self) -> impl Iterator<Item = (&Event, f64)> {
        let events = self.events.iter();
        events.filter_map(|event| Some((*event, event.until_s?)))
    }

    /// What lies over the lines: scale events, events of the scenario, marks of findings, and the words that `words` has
    /// for a stretch of seconds.
    pub(super) fn over(
        &self,
        chart: &mut Chart,
        words: impl Fn(Range<usize>) -> String,
    ) -> fmt::Result {
        self.scaled_s.iter().try_for_each(|t_s| chart.mark(*t_s))?;
        for event in &self.events {
            chart.mark_as("event", event.t_s)?;
        }
        for (number, finding) in &self.findings {
            if let Some((from_s, to_s)) = self.marked(finding) {
                chart.band(&format!("found found{number}"), from_s, to_s, &finding.name)?;
            }
        }
        let seconds = self.end_s.ceil() as usize;
        let width = seconds.div_ceil(HOVER_COLUMNS).max(1);
        (0..seconds).step_by(width).try_for_each(|from| {
            let to = (from + width).min(seconds);
            let moment = text::moment(from as f64);
            chart.hover(
                from as f64,
                to as f64,
                &format!("{moment}: {}{}", words(from..to), self.meanwhile(from..to)),
            )
        })
    }

    /// The events of a stretch of seconds, as the end of what is said of it.
    fn meanwhile(&self, seconds: Range<usize>) -> String {
        let (from_s, to_s) = (seconds.start as f64, seconds.end as f64);
        let is_then =
            |event: &&&Event| event.t_s < to_s && from_s <= event.until_s.unwrap_or(event.t_s);
        let names = self.events.iter().filter(is_then);
        names.map(|event| format!("; {}", event.name)).collect()
    }

    /// The stretch that a finding marks; a moment is widened until it can be seen.
    fn marked(&self, finding: &Finding) -> Option<(f64, f64)> {
        let from_s = finding.from_s?.clamp(0.0, self.end_s);
        let to_s = finding.to_s.unwrap_or(from_s).clamp(from_s, self.end_s);
        let least_s = self.end_s * MOMENT_SHARE;
        let from_s = from_s.min(self.end_s - least_s);
        Some((from_s, to_s.max(from_s + least_s)))
    }
}

/// What the scenario did to a service or to all, or its user marked.
pub(super) fn marks<'a>(recording: &'a Recording, service: &str) -> Vec<&'a Event> {
    let concerns = |event: &&Event| {
        let of_others = event.service.as_ref().is_some_and(|other| other != service);
        event.kind == EventKind::Mark && !of_others
    };
    recording.events.iter().filter(concerns).collect()
}

/// A name that is not too long for a chart.
fn short(name: &str) -> String {
    match name.char_indices().nth(NAME_MAX) {
        Some((at, _)) => format!("{}…", &name[..at]),
        None => name.to_owned(),
    }
}
