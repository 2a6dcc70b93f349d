//! How a finding comes about: a value held against its limit, give or take how exactly the value could be told.

use std::fmt;
use std::ops::Range;

use super::{Finding, Group, Outcome};

/// A finding whose outcome is still open.
#[derive(Debug, Clone)]
pub(super) struct Draft {
    finding: Finding,
}

/// What is wanted of a value.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Limit {
    /// This or less.
    AtMost(f64),
    /// This or more.
    AtLeast(f64),
    /// Neither less than the first nor more than the second.
    Between(f64, f64),
}

/// Why nothing can be told.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Untold {
    /// What it takes was not seen: neither a pass nor a failure.
    Unknown(String),
    /// The run gave no occasion for it.
    Moot(String),
}

impl Untold {
    /// What it takes was not seen, because of this.
    pub(super) fn unknown(why: impl Into<String>) -> Self {
        Self::Unknown(why.into())
    }

    /// The run gave no occasion for it, because of this.
    pub(super) fn moot(why: impl Into<String>) -> Self {
        Self::Moot(why.into())
    }
}

impl Limit {
    /// How far `value` is past the limit; at most 0 when it holds.
    fn excess(self, value: f64) -> f64 {
        match self {
            Self::AtMost(max) => value - max,
            Self::AtLeast(min) => min - value,
            Self::Between(min, max) => (min - value).max(value - max),
        }
    }

    /// As it would be written, with the unit.
    fn written(self, unit: &str) -> String {
        match self {
            Self::AtMost(max) => format!("<= {}", amount(max, unit)),
            Self::AtLeast(min) => format!(">= {}", amount(min, unit)),
            Self::Between(min, max) => format!("{} to {}", number(min), amount(max, unit)),
        }
    }

    /// As a sentence ends with it.
    fn told(self, unit: &str) -> String {
        match self {
            Self::AtMost(max) => format!("the limit is {}", amount(max, unit)),
            Self::AtLeast(min) => format!("the least is {}", amount(min, unit)),
            Self::Between(min, max) => {
                format!("wanted are {} to {}", number(min), amount(max, unit))
            }
        }
    }
}

impl Draft {
    pub(super) fn new(name: String, service: String, group: Group) -> Self {
        Self {
            finding: Finding {
                name,
                service,
                group,
                outcome: Outcome::Skipped,
                marginal: false,
                value: None,
                limit: String::new(),
                unit: String::new(),
                resolution: 0.0,
                from_s: None,
                to_s: None,
                sentence: String::new(),
            },
        }
    }

    /// The same for one part of a check that has several limits: `metric_health[high]` becomes `metric_health[high, age]`.
    pub(super) fn part(&self, part: &str) -> Self {
        let mut draft = self.clone();
        draft.finding.name = match self.finding.name.strip_suffix(']') {
            Some(name) => format!("{name}, {part}]"),
            None => format!("{}[{part}]", self.finding.name),
        };
        draft
    }

    /// The unit of the value, the limit and the resolution.
    pub(super) fn unit(mut self, unit: &str) -> Self {
        self.finding.unit = unit.into();
        self
    }

    /// How exactly the value can be told; 0, as at first, is exactly.
    pub(super) fn resolution(mut self, resolution: f64) -> Self {
        self.finding.resolution = resolution;
        self
    }

    /// The stretch that it is about, for a report to mark.
    pub(super) fn over(mut self, range: Range<f64>) -> Self {
        self.finding.from_s = Some(range.start);
        self.finding.to_s = Some(range.end);
        self
    }

    /// Holds `value` against `limit`. Where the limit lies within the resolution of the value, the check passes, but only
    /// just. `told` is the sentence without its limit.
    pub(super) fn judged(mut self, value: f64, limit: Limit, told: impl fmt::Display) -> Finding {
        let resolution = self.finding.resolution;
        let excess = limit.excess(value);
        let passes = excess <= resolution;
        self.finding.value = value.is_finite().then_some(value);
        self.finding.marginal = 0.0 < resolution && passes && excess.abs() <= resolution;
        self.end(
            limit,
            if passes { Outcome::Pass } else { Outcome::Fail },
            told,
        )
    }

    /// It fails, or passes, and there is no value: what was waited for never happened.
    pub(super) fn without_value(
        self,
        limit: Limit,
        outcome: Outcome,
        told: impl fmt::Display,
    ) -> Finding {
        self.end(limit, outcome, told)
    }

    /// It cannot be told.
    pub(super) fn untold(mut self, untold: Untold) -> Finding {
        let (outcome, why) = match untold {
            Untold::Unknown(why) => (Outcome::Inconclusive, why),
            Untold::Moot(why) => (Outcome::Skipped, why),
        };
        self.finding.outcome = outcome;
        self.finding.sentence = why;
        self.finding
    }

    fn end(mut self, limit: Limit, outcome: Outcome, told: impl fmt::Display) -> Finding {
        self.finding.outcome = outcome;
        self.finding.limit = limit.written(&self.finding.unit);
        self.finding.sentence = format!("{told}; {}", limit.told(&self.finding.unit));
        self.finding
    }
}

/// A number for people: three significant digits or all before the point, without zeros at its end.
pub(super) fn number(value: f64) -> String {
    let decimals = match value.abs() {
        large if 100.0 <= large => 1,
        middle if 1.0 <= middle => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').into(),
        false => text,
    }
}

/// A number with its unit, if it has one.
pub(super) fn amount(value: f64, unit: &str) -> String {
    match unit {
        "" => number(value),
        unit => format!("{} {unit}", number(value)),
    }
}

/// Seconds for people.
pub(super) fn seconds(value: f64) -> String {
    amount(value, "s")
}

/// A moment of the run for people.
pub(super) fn at(t_s: f64) -> String {
    format!("at {}", seconds(t_s))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn judged(value: f64, limit: Limit, resolution: f64) -> Finding {
        let draft = Draft::new("x".into(), String::new(), Group::Slo);
        draft
            .unit("s")
            .resolution(resolution)
            .judged(value, limit, "it took a while")
    }

    #[test]
    fn a_limit_within_the_resolution_is_a_pass_that_might_be_none() {
        use Outcome::{Fail, Pass};
        let cases = [
            (148.0, Limit::AtMost(150.0), 1.0, Pass, false),
            (149.5, Limit::AtMost(150.0), 1.0, Pass, true),
            (151.0, Limit::AtMost(150.0), 1.0, Pass, true),
            (151.1, Limit::AtMost(150.0), 1.0, Fail, false),
            (0.0, Limit::AtMost(0.0), 0.0, Pass, false),
            (299.5, Limit::AtLeast(300.0), 1.0, Pass, true),
            (298.0, Limit::AtLeast(300.0), 1.0, Fail, false),
            (3.0, Limit::Between(2.0, 4.0), 0.0, Pass, false),
            (5.0, Limit::Between(2.0, 4.0), 0.0, Fail, false),
            (1.0, Limit::Between(2.0, 4.0), 0.0, Fail, false),
            (f64::INFINITY, Limit::AtMost(150.0), 1.0, Fail, false),
        ];
        for (value, limit, resolution, outcome, marginal) in cases {
            let finding = judged(value, limit, resolution);
            assert_eq!(
                (finding.outcome, finding.marginal),
                (outcome, marginal),
                "{value} {limit:?}"
            );
        }
    }

    #[test]
    fn a_finding_says_what_was_wanted() {
        let finding = judged(171.0, Limit::AtMost(150.0), 1.0);
        assert_eq!(finding.sentence, "it took a while; the limit is 150 s");
        assert_eq!(
            (finding.limit.as_str(), finding.value),
            ("<= 150 s", Some(171.0))
        );
        assert_eq!(judged(1.0, Limit::Between(2.0, 4.0), 0.0).limit, "2 to 4 s");
        assert_eq!(
            judged(f64::INFINITY, Limit::AtMost(1.0), 0.0).value,
            None,
            "JSON has no infinity"
        );
    }

    #[test]
    fn numbers_are_short() {
        let texts = [150.0, 41.25, 0.98765, 1234.56, 0.00004, 7.1].map(number);
        assert_eq!(texts, ["150", "41.25", "0.9877", "1234.6", "0", "7.1"]);
    }

    proptest! {
        #[test]
        fn a_looser_limit_never_turns_a_pass_into_a_failure(
            value in -1e6..1e6f64, limit in -1e6..1e6f64, looser in 0.0..1e6f64, resolution in 0.0..100.0f64,
        ) {
            let passes = |limit| judged(value, limit, resolution).outcome == Outcome::Pass;
            prop_assert!(!passes(Limit::AtMost(limit)) || passes(Limit::AtMost(limit + looser)));
            prop_assert!(!passes(Limit::AtLeast(limit)) || passes(Limit::AtLeast(limit - looser)));
        }
    }
}
