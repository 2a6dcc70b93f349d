//! The verdict over a whole run: every finding, which of them are in doubt because the experiment was not sound there,
//! and the one reason that a command ends with. Of several runs it says whether enough of them passed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::validity::{self, Premise};
use super::{Finding, Group, Outcome, baseline, cut_short, threshold};
use crate::recording::{Ended, Recording};
use crate::scenario::Repeat;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Verdict {
    /// Every check, in the order of reports.
    pub findings: Vec<Finding>,
    /// How the run ended: never [`Outcome::Skipped`].
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
    /// The same in a sentence.
    pub sentence: String,
}

/// Why a run, or several, ended as they did. What is further down outweighs what is above it.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Everything holds.
    Passed,
    /// Everything holds, but it was better once.
    Regression,
    /// Something could not be told, because nobody saw it or somebody changed it.
    ObservationLost,
    /// The load was not what the scenario says.
    NotDelivered,
    /// Something does not hold.
    Failed,
    /// The run was ended for the sake of whoever uses the service.
    SafetyStop,
    /// The system was not ready for a run.
    Preconditions,
    /// The run was told to stop from outside.
    Interrupted,
}

/// What came of several runs of a scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Series {
    /// How many runs passed.
    pub passed: u32,
    /// How many had to.
    pub needed: u32,
    /// How many there were.
    pub runs: u32,
    /// How they ended together.
    pub outcome: Outcome,
    /// Why.
    pub reason: Reason,
}

impl Reason {
    /// How a run with this reason ended.
    #[must_use]
    pub fn outcome(self) -> Outcome {
        match self {
            Self::Passed => Outcome::Pass,
            Self::Failed | Self::SafetyStop | Self::Regression => Outcome::Fail,
            Self::ObservationLost
            | Self::NotDelivered
            | Self::Preconditions
            | Self::Interrupted => Outcome::Inconclusive,
        }
    }

    /// What a finding alone would be the reason for.
    fn of(finding: &Finding) -> Self {
        match (finding.outcome, Premise::of(finding), finding.group) {
            (Outcome::Pass | Outcome::Skipped, ..) => Self::Passed,
            (_, Some(Premise::Preconditions), _) => Self::Preconditions,
            (_, Some(Premise::ObservationGap | Premise::SpecUnchanged), _) => Self::ObservationLost,
            (_, Some(_), _) => Self::NotDelivered,
            (Outcome::Inconclusive, ..) => Self::ObservationLost,
            (Outcome::Fail, _, Group::Baseline) => Self::Regression,
            (Outcome::Fail, ..) => Self::Failed,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "everything holds",
            Self::Regression => "it is worse than the run it is compared with",
            Self::ObservationLost => {
                "it cannot be told, because something was not seen or was changed"
            }
            Self::NotDelivered => {
                "it cannot be told, because the load was not what the scenario says"
            }
            Self::Failed => "something does not hold",
            Self::SafetyStop => "the run was ended for its safety",
            Self::Preconditions => "it cannot be told, because the system was not ready for it",
            Self::Interrupted => "the run was interrupted",
        }
    }
}

/// Judges a run by its scenario, and against an earlier one where there is one.
#[must_use]
pub fn judge_all(recording: &Recording, earlier: Option<&Recording>) -> Verdict {
    let mut findings = super::judge(recording);
    findings.extend(threshold::judge(recording));
    findings.extend(
        earlier
            .into_iter()
            .flat_map(|earlier| baseline::judge(recording, earlier)),
    );
    let mut validity = validity::judge(recording);
    cast_doubt(&mut findings, &mut validity);
    findings.extend(validity);
    findings.extend(cut_short::completion(recording));
    super::distinguish(&mut findings);
    findings.sort_by_key(|finding| finding.group);
    conclude(recording, findings)
}

/// Makes findings inconclusive that rest on a premise that does not hold in their stretch of the run. Requests sent late
/// are no reason to doubt a run in which nothing seemed too slow.
fn cast_doubt(findings: &mut [Finding], validity: &mut [Finding]) {
    for broken in validity
        .iter_mut()
        .filter(|premise| premise.outcome == Outcome::Inconclusive)
    {
        let Some(premise) = Premise::of(broken) else {
            continue;
        };
        let told = |finding: &&mut Finding| {
            matches!(finding.outcome, Outcome::Pass | Outcome::Fail)
                && premise.carries(finding)
                && concerns(broken, finding)
        };
        let mut doubted = 0;
        for finding in findings.iter_mut().filter(told) {
            finding.outcome = Outcome::Inconclusive;
            finding.sentence += &format!(". It does not count: {}", broken.sentence);
            doubted += 1;
        }
        if premise == Premise::SendLag && doubted == 0 {
            broken.outcome = Outcome::Skipped;
            broken.sentence += "; sent late, requests only seem slower, and none seemed too slow";
        }
    }
}

/// Whether two findings speak of the same service and share some time. One without a service or an end speaks of all.
fn concerns(broken: &Finding, finding: &Finding) -> bool {
    let same = |a: &str, b: &str| a.is_empty() || b.is_empty() || a == b;
    let before = |from: Option<f64>, to: Option<f64>| match (from, to) {
        (Some(from), Some(to)) => from < to,
        _ => true,
    };
    same(&broken.service, &finding.service)
        && before(broken.from_s, finding.to_s)
        && before(finding.from_s, broken.to_s)
}

fn conclude(recording: &Recording, findings: Vec<Finding>) -> Verdict {
    let ended = recording.about.ended.as_ref();
    let interrupted = recording.about.interrupted && ended.is_none();
    let worst = findings
        .iter()
        .map(Reason::of)
        .max()
        .unwrap_or(Reason::Passed);
    let reason = [
        Some(worst),
        ended.map(|ended| match ended {
            Ended::Safety(_) => Reason::SafetyStop,
            Ended::Threshold(_) => Reason::Failed,
        }),
        interrupted.then_some(Reason::Interrupted),
    ];
    let reason = reason.into_iter().flatten().max().unwrap_or(worst);
    let decisive = findings
        .iter()
        .find(|finding| Reason::of(finding) == reason);
    let several = 1 < recording.services.len();
    let told = |finding: &Finding| match several && !finding.service.is_empty() {
        true => format!("{}: {}", finding.service, finding.sentence),
        false => finding.sentence.clone(),
    };
    let why = match (reason, ended, decisive) {
        (Reason::SafetyStop, Some(Ended::Safety(why)), _)
        | (Reason::Failed, Some(Ended::Threshold(why)), _) => Some(why.clone()),
        (Reason::Passed | Reason::Interrupted, ..) => None,
        (.., decisive) => decisive.map(told),
    };
    let sentence = match why {
        Some(why) => format!("{}: {why}", reason.as_str()),
        None => reason.as_str().to_owned(),
    };
    Verdict {
        outcome: reason.outcome(),
        findings,
        reason,
        sentence,
    }
}

/// Judges the runs of a scenario together: so many of them must pass.
///
/// A run that ended for its safety, or that was interrupted, is never outvoted. Where too few passed, the series fails
/// only when it would have failed with every inconclusive run passed.
#[must_use]
pub fn judge_series(verdicts: &[Verdict], repeat: Repeat) -> Series {
    let reasons: Vec<Reason> = verdicts.iter().map(|verdict| verdict.reason).collect();
    let count = |outcome| {
        reasons
            .iter()
            .filter(|reason| reason.outcome() == outcome)
            .count() as u32
    };
    let worst = |outcome| {
        reasons
            .iter()
            .copied()
            .filter(|reason| reason.outcome() == outcome)
            .max()
    };
    let (passed, untold) = (count(Outcome::Pass), count(Outcome::Inconclusive));
    let ended = [Reason::Interrupted, Reason::SafetyStop]
        .into_iter()
        .find(|reason| reasons.contains(reason));
    let reason = match ended {
        Some(reason) => reason,
        None if repeat.pass <= passed => Reason::Passed,
        None if repeat.pass <= passed + untold => {
            worst(Outcome::Inconclusive).unwrap_or(Reason::Failed)
        }
        None => worst(Outcome::Fail).unwrap_or(Reason::Failed),
    };
    Series {
        passed,
        needed: repeat.pass,
        runs: reasons.len() as u32,
        outcome: reason.outcome(),
        reason,
    }
}

#[cfg(test)]
mod tests;
