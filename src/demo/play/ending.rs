//! When enough runs of a scenario have been played.

use taffrail_loadtest::judge::Outcome;
use taffrail_loadtest::judge::verdict::Verdict;
use taffrail_loadtest::scenario::Repeat;

/// Whether further runs cannot change what the runs come to together.
pub(super) fn is_settled(verdicts: &[Verdict], run: Repeat) -> bool {
    let ran = verdicts.len() as u32;
    let passed = verdicts
        .iter()
        .filter(|verdict| verdict.outcome == Outcome::Pass);
    let passed = passed.count() as u32;
    run.pass <= passed || run.repeat.saturating_sub(ran) < run.pass.saturating_sub(passed)
}

#[cfg(test)]
mod tests {
    use taffrail_loadtest::judge::verdict::Reason;

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
