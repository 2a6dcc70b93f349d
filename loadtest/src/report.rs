//! Reports of a recording and its verdict: for people, for CI, for programs. All are pure functions to text; whoever calls
//! them writes the files, and has redacted the scenario. They show what was seen and found, and decide nothing.

pub mod exposition;
pub mod github;
pub mod html;
pub mod json;
pub mod junit;
pub mod reaction;
pub mod scale;
mod strip;
pub mod terminal;
pub mod text;

#[cfg(test)]
pub(crate) mod fixture;

use std::borrow::Cow;

use crate::judge::verdict::Verdict;
use crate::judge::{Finding, Outcome};
use crate::recording::Recording;

/// What a report is of.
#[derive(Debug, Clone, Copy)]
pub struct Report<'a> {
    /// What was seen. Its scenario holds no secret any more.
    pub recording: &'a Recording,
    /// What was found.
    pub verdict: &'a Verdict,
}

impl<'a> Report<'a> {
    /// The findings, those that need a look first: failed, inconclusive, passed, skipped; each kind by its group.
    #[must_use]
    pub fn ranked(&self) -> Vec<&'a Finding> {
        let mut findings: Vec<&Finding> = self.verdict.findings.iter().collect();
        findings.sort_by_key(|finding| (rank(finding.outcome), finding.group));
        findings
    }

    /// What a check is called: its name, after that of its service where there are several. No two of a run are called
    /// alike.
    #[must_use]
    pub fn name_of<'f>(&self, finding: &'f Finding) -> Cow<'f, str> {
        if finding.service.is_empty() || self.recording.services.len() < 2 {
            return Cow::Borrowed(&finding.name);
        }
        Cow::Owned(format!("{}: {}", finding.service, finding.name))
    }

    /// How many ended so.
    #[must_use]
    pub fn count(&self, outcome: Outcome) -> usize {
        let ended = |finding: &&Finding| finding.outcome == outcome;
        self.verdict.findings.iter().filter(ended).count()
    }

    /// How many ended in each way, as `1 failed, 12 passed`; ways in which none ended are left out.
    #[must_use]
    pub fn tally(&self) -> String {
        let counted = ORDER
            .map(|outcome| (self.count(outcome), outcome))
            .into_iter()
            .filter(|(count, _)| 0 < *count)
            .map(|(count, outcome)| format!("{count} {}", text::outcome(outcome)));
        let counted: Vec<String> = counted.collect();
        if counted.is_empty() {
            return "nothing was checked".to_owned();
        }
        counted.join(", ")
    }

    /// From the first intended request to the end of what is shown, in seconds.
    #[must_use]
    pub fn end_s(&self) -> f64 {
        let stages = self.recording.stages.iter().map(|stage| stage.end_s);
        let slots = self.recording.services.values();
        let slots = slots.map(|service| service.load.slots.len() as f64);
        let seconds = self
            .recording
            .generator
            .seconds
            .iter()
            .map(|second| second.t_s);
        let ends = stages.chain(slots).chain(seconds);
        ends.fold(self.recording.about.duration_s, f64::max)
            .max(1.0)
    }
}

/// The order of what needs a look.
const ORDER: [Outcome; 4] = [
    Outcome::Fail,
    Outcome::Inconclusive,
    Outcome::Pass,
    Outcome::Skipped,
];

fn rank(outcome: Outcome) -> usize {
    ORDER
        .iter()
        .position(|other| *other == outcome)
        .unwrap_or(ORDER.len())
}
