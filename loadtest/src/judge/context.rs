//! What every check is judged with: the recording as seen from one service, the moments that anchors stand for, and the
//! windows of latency, which several checks share. It answers or says why there is no answer; it judges nothing.

use std::cell::RefCell;
use std::ops::Range;
use std::rc::Rc;

use super::Group;
use super::draft::{Draft, Untold, at};
use super::window::{Objective, Windows};
use crate::recording::{self, Autoscaler, EventKind, Recording};
use crate::scenario::{self, Anchor, Scope};
use crate::steps::{Change, Steps};

/// How exactly a moment is known that is told in slots.
pub(super) const SLOT_S: f64 = 1.0;

/// A recording as seen from one service.
#[derive(Debug)]
pub(super) struct Context<'a> {
    /// The whole of it.
    pub(super) recording: &'a Recording,
    /// The name of the service.
    pub(super) name: &'a str,
    /// What was seen of the service.
    pub(super) service: &'a recording::Service,
    windows: RefCell<Vec<(Objective, Rc<Windows>)>>,
}

impl<'a> Context<'a> {
    /// The recording as seen from this service; `None` when there is none of that name.
    pub(super) fn new(recording: &'a Recording, name: &str) -> Option<Self> {
        let (name, service) = recording.services.get_key_value(name)?;
        Some(Self {
            recording,
            name,
            service,
            windows: RefCell::default(),
        })
    }

    /// The beginning of a finding about this service.
    pub(super) fn draft(&self, title: impl Into<String>, group: Group) -> Draft {
        Draft::new(title.into(), self.name, group)
    }

    /// What the scenario says of the service.
    pub(super) fn spec(&self) -> Option<&'a scenario::Service> {
        self.recording.scenario.services.get(self.name)
    }

    /// What the HPA was told at the beginning.
    pub(super) fn autoscaler(&self) -> Result<&'a Autoscaler, Untold> {
        let autoscaler = self.service.autoscaler.as_ref();
        autoscaler.ok_or_else(|| Untold::unknown("the HPA was not observed"))
    }

    /// `desired`, where it was seen at all.
    pub(super) fn desired(&self) -> Result<&'a Steps, Untold> {
        seen(&self.service.replicas.desired, "the HPA's desired replicas")
    }

    /// `ready`, where it was seen at all.
    pub(super) fn ready(&self) -> Result<&'a Steps, Untold> {
        seen(&self.service.replicas.ready, "the ready replicas")
    }

    /// When the run ended, as [`ended_s`].
    pub(super) fn end_s(&self) -> f64 {
        ended_s(self.recording)
    }

    /// Whether the run was told to stop before the end of what `scope` names.
    pub(super) fn is_cut_short(&self, scope: &Scope) -> bool {
        let reaches_end = || {
            self.scope(scope)
                .is_ok_and(|range| self.end_s() <= range.end)
        };
        self.recording.about.interrupted && reaches_end()
    }

    /// Each change of `desired` within `range`.
    pub(super) fn scale_events(&self, range: Range<f64>) -> Result<Vec<Change>, Untold> {
        Ok(self.desired()?.changes(range).collect())
    }

    /// When `anchor` was, in seconds.
    pub(super) fn anchor(&self, anchor: &Anchor) -> Result<f64, Untold> {
        let whole = 0.0..self.end_s();
        match anchor {
            Anchor::Start => Ok(0.0),
            Anchor::End => Ok(whole.end),
            Anchor::StageStart(name) => Ok(self.stage(name)?.start_s),
            Anchor::StageEnd(name) => Ok(self.stage(name)?.end_s),
            Anchor::Event(name) => Ok(self.event(name)?.t_s),
            Anchor::EventEnd(name) => {
                let until_s = self.event(name)?.until_s;
                until_s.ok_or_else(|| {
                    Untold::unknown(format!(
                        "the recording does not say when event `{name}` ended"
                    ))
                })
            }
            Anchor::FirstBreach => {
                let windows = self.windows(Objective::of_scenario(self)?);
                let breach = windows.first_breach(whole);
                breach
                    .map(|(start_s, _)| start_s)
                    .ok_or_else(|| Untold::moot("the objective of latency was never missed"))
            }
            Anchor::MetricBreach => {
                super::reaction::metric_breach(self, 0.0, None).map(|breach| breach.at_s)
            }
            Anchor::FirstScaleOut => {
                let out = self.desired()?.changes(whole).find(Change::is_up);
                out.map(|change| change.t_s)
                    .ok_or_else(|| Untold::moot("the HPA never scaled out"))
            }
            Anchor::LastScaleEvent => {
                let last = self.desired()?.changes(whole).last();
                last.map(|change| change.t_s)
                    .ok_or_else(|| Untold::moot("the HPA never scaled"))
            }
        }
    }

    /// The stretch that `scope` names, in seconds; not empty, and within the run.
    pub(super) fn scope(&self, scope: &Scope) -> Result<Range<f64>, Untold> {
        let range = match scope {
            Scope::Run => 0.0..self.end_s(),
            Scope::Stage(name) => {
                let stage = self.stage(name)?;
                stage.start_s..stage.end_s
            }
            Scope::Event(name) => {
                let event = self.event(name)?;
                event.t_s..event.until_s.unwrap_or(self.end_s())
            }
            Scope::Between(from, to) => self.anchor(from)?..self.anchor(to)?,
        };
        let range = range.start..range.end.min(self.end_s());
        if range.start < range.end {
            return Ok(range);
        }
        let end_s = self.end_s();
        Err(Untold::unknown(
            match self.recording.about.interrupted && end_s <= range.start {
                true => format!("the run was told to stop {}, before {scope}", at(end_s)),
                false => format!("there is nothing of `{scope}` in the run"),
            },
        ))
    }

    /// The quantiles of this objective over the whole run; computed once.
    pub(super) fn windows(&self, objective: Objective) -> Rc<Windows> {
        let known = self
            .windows
            .borrow()
            .iter()
            .find(|(of, _)| *of == objective)
            .map(|(_, windows)| Rc::clone(windows));
        known.unwrap_or_else(|| {
            let windows = Rc::new(Windows::new(&self.service.load.slots, objective));
            self.windows
                .borrow_mut()
                .push((objective, Rc::clone(&windows)));
            windows
        })
    }

    /// The slots whose requests should have started within `range`.
    pub(super) fn slots(&self, range: &Range<f64>) -> Range<usize> {
        // Saturating casts are meant: what is before the run is its first slot.
        let start = range.start.ceil() as usize;
        start..(range.end.ceil() as usize).clamp(start, self.service.load.slots.len().max(start))
    }

    fn stage(&self, name: &str) -> Result<&'a recording::Stage, Untold> {
        let stage = self.recording.stage(name, self.name);
        stage.ok_or_else(|| Untold::unknown(format!("the run has no stage `{name}`")))
    }

    fn event(&self, name: &str) -> Result<&'a recording::Event, Untold> {
        let mut marks = self
            .recording
            .events
            .iter()
            .filter(|event| event.kind == EventKind::Mark);
        let event = marks.find(|event| event.name == name);
        event.ok_or_else(|| Untold::unknown(format!("the run has no event `{name}`")))
    }
}

/// When a run ended, in seconds: with its loads, or when it was told to stop.
pub(super) fn ended_s(recording: &Recording) -> f64 {
    let about = &recording.about;
    let loads = recording.services.values().map(|service| &service.load);
    let stopped = loads
        .filter(|load| load.interrupted)
        .map(|load| load.slots.len() as f64);
    let stopped = stopped.reduce(f64::max).filter(|_| about.interrupted);
    stopped.map_or(about.duration_s, |stopped| stopped.min(about.duration_s))
}

fn seen<'a>(steps: &'a Steps, what: &str) -> Result<&'a Steps, Untold> {
    match steps.is_empty() {
        true => Err(Untold::unknown(format!("{what} were not observed"))),
        false => Ok(steps),
    }
}
