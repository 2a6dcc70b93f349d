//! How the playing of a scenario ends: its findings as lines, and the exit codes of the load generator.

use taffrail_loadtest::judge::verdict::{Reason, Verdict};
use taffrail_loadtest::judge::{Finding, Outcome};
use taffrail_loadtest::scenario::Repeat;

/// The scenario is no scenario.
pub(super) const INVALID: u8 = 104;

/// The exit code of a run, or of several together: those of `taffrail-loadtest`.
pub(super) fn code(reason: Reason) -> u8 {
    match reason {
        Reason::Passed => 0,
        Reason::Failed => 99,
        Reason::Preconditions => 100,
        Reason::Interrupted => 105,
        Reason::NotDelivered => 112,
        Reason::ObservationLost => 113,
        Reason::SafetyStop => 115,
        Reason::Regression => 116,
    }
}

/// Whether further runs cannot change what the runs come to together.
pub(super) fn is_settled(verdicts: &[Verdict], run: Repeat) -> bool {
    let ran = verdicts.len() as u32;
    let passed = verdicts
        .iter()
        .filter(|verdict| verdict.outcome == Outcome::Pass);
    let passed = passed.count() as u32;
    run.pass <= passed || run.repeat.saturating_sub(ran) < run.pass.saturating_sub(passed)
}

/// Says what was found, a line for each check, and how it ended.
pub(super) fn tell(verdict: &Verdict) {
    for finding in &verdict.findings {
        println!("{}", line(finding));
    }
    println!("{}", verdict.sentence);
}

fn line(finding: &Finding) -> String {
    let word = match finding.outcome {
        Outcome::Pass if finding.marginal => "pass, marginal",
        Outcome::Pass => "pass",
        Outcome::Fail => "FAIL",
        Outcome::Inconclusive => "inconclusive",
        Outcome::Skipped => "skipped",
    };
    let service = match finding.service.as_str() {
        "" => String::new(),
        service => format!("{service}: "),
    };
    format!("{word:<14} {service}{}: {}", finding.name, finding.sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(outcome: Outcome) -> Verdict {
        Verdict {
            findings: Vec::new(),
            outcome,
            reason: Reason::Passed,
            sentence: String::new(),
        }
    }

    #[test]
    fn a_series_ends_as_soon_as_it_is_known_how() {
        use Outcome::{Fail, Inconclusive, Pass};
        let run = Repeat { repeat: 3, pass: 2 };
        let cases: [(&[Outcome], bool); 6] = [
            (&[Pass], false),
            (&[Pass, Pass], true),
            (&[Fail], false),
            (&[Fail, Inconclusive], true),
            (&[Fail, Pass], false),
            (&[Fail, Pass, Pass], true),
        ];
        for (outcomes, expected) in cases {
            let verdicts: Vec<Verdict> = outcomes.iter().copied().map(verdict).collect();
            assert_eq!(is_settled(&verdicts, run), expected, "{outcomes:?}");
        }
    }
}
