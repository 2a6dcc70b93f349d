//! A number that changes in steps: replicas, endpoints. What was last seen holds until something else is seen, or until
//! it is known that nothing was seen for too long; then the number is unknown, which is never the same as zero.

use std::ops::Range;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A step function of time. Steps are in order of time, and two neighbours differ.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Steps(Vec<Step>);

/// From a moment on, this is the number.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Step {
    /// Seconds from the first request's moment; below zero for what was seen before.
    pub t_s: f64,
    /// The number from then on; `None` while it is unknown.
    pub value: Option<u32>,
}

/// A change from one known number to another.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// When, in seconds.
    pub t_s: f64,
    /// The number before.
    pub from: u32,
    /// The number after.
    pub to: u32,
}

/// A stretch over which the number holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// From, in seconds.
    pub from_s: f64,
    /// To, in seconds; after `from_s`.
    pub to_s: f64,
    /// The number; `None` while it is unknown.
    pub value: Option<u32>,
}

impl Span {
    /// How long it is, in seconds.
    #[must_use]
    pub fn seconds(&self) -> f64 {
        self.to_s - self.from_s
    }
}

impl Change {
    /// Whether the number grew.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.from < self.to
    }

    /// The change, with its sign.
    #[must_use]
    pub fn delta(&self) -> i64 {
        i64::from(self.to) - i64::from(self.from)
    }
}

impl Steps {
    /// Notes what was seen at `t_s`. What is seen out of order counts as seen when the one before it was.
    pub fn push(&mut self, t_s: f64, value: Option<u32>) {
        let last = self.0.last().copied();
        if last.map(|step| step.value) == Some(value) {
            return;
        }
        let t_s = last.map_or(t_s, |step| t_s.max(step.t_s));
        self.0.push(Step { t_s, value });
    }

    /// The steps, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.0
    }

    /// Whether nothing was ever seen.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number at `t_s`; `None` before the first look and while it is unknown.
    #[must_use]
    pub fn at(&self, t_s: f64) -> Option<u32> {
        let after = self.0.partition_point(|step| step.t_s <= t_s);
        self.0[..after].last().and_then(|step| step.value)
    }

    /// The changes from one known number to another within `range`, in order. A stretch in which the number was unknown
    /// hides when it changed, not that it did: the change counts when the number is known again.
    pub fn changes(&self, range: Range<f64>) -> impl Iterator<Item = Change> {
        let mut known: Option<u32> = None;
        self.0.iter().filter_map(move |step| {
            let to = step.value?;
            let from = known.replace(to)?;
            (from != to && range.contains(&step.t_s)).then_some(Change {
                t_s: step.t_s,
                from,
                to,
            })
        })
    }

    /// The stretches of `range`, in order and without holes; what is before the first look is unknown.
    pub fn spans(&self, range: Range<f64>) -> impl Iterator<Item = Span> {
        let before = Step {
            t_s: f64::NEG_INFINITY,
            value: None,
        };
        let starts = std::iter::once(before).chain(self.0.iter().copied());
        let ends = self.0.iter().map(|step| step.t_s).chain([f64::INFINITY]);
        starts
            .zip(ends)
            .map(move |(step, end_s)| Span {
                from_s: step.t_s.max(range.start),
                to_s: end_s.min(range.end),
                value: step.value,
            })
            .filter(|span| span.from_s < span.to_s)
    }

    /// The largest known number within `range`.
    #[must_use]
    pub fn max(&self, range: Range<f64>) -> Option<u32> {
        self.spans(range).filter_map(|span| span.value).max()
    }

    /// The smallest known number within `range`.
    #[must_use]
    pub fn min(&self, range: Range<f64>) -> Option<u32> {
        self.spans(range).filter_map(|span| span.value).min()
    }

    /// The number integrated over the known part of `range`, and the length of that part in seconds.
    #[must_use]
    pub fn integral(&self, range: Range<f64>) -> (f64, f64) {
        self.spans(range)
            .fold((0.0, 0.0), |(sum, known_s), span| match span.value {
                Some(value) => (
                    sum + f64::from(value) * span.seconds(),
                    known_s + span.seconds(),
                ),
                None => (sum, known_s),
            })
    }
}

impl FromIterator<(f64, Option<u32>)> for Steps {
    fn from_iter<I: IntoIterator<Item = (f64, Option<u32>)>>(seen: I) -> Self {
        let mut steps = Self::default();
        for (t_s, value) in seen {
            steps.push(t_s, value);
        }
        steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps() -> Steps {
        [
            (-5.0, Some(2)),
            (10.0, Some(4)),
            (12.0, Some(4)),
            (20.0, None),
            (30.0, Some(3)),
        ]
        .into_iter()
        .collect()
    }

    #[test]
    fn what_was_last_seen_holds() {
        let at = [-6.0, -5.0, 9.9, 10.0, 19.0, 20.0, 29.0, 30.0, 99.0].map(|t_s| steps().at(t_s));
        let expected = [
            None,
            Some(2),
            Some(2),
            Some(4),
            Some(4),
            None,
            None,
            Some(3),
            Some(3),
        ];
        assert_eq!(at, expected);
        assert_eq!(
            steps().steps().len(),
            4,
            "a look that saw the same is no step"
        );
    }

    #[test]
    fn a_change_behind_a_gap_counts_when_it_is_seen() {
        let changes: Vec<_> = steps()
            .changes(0.0..99.0)
            .map(|c| (c.t_s, c.from, c.to))
            .collect();
        assert_eq!(changes, [(10.0, 2, 4), (30.0, 4, 3)]);
        assert_eq!(steps().changes(0.0..30.0).count(), 1);
    }

    #[test]
    fn the_unknown_adds_nothing_to_an_integral() {
        assert_eq!(
            steps().integral(0.0..40.0),
            (2.0 * 10.0 + 4.0 * 10.0 + 3.0 * 10.0, 30.0)
        );
        assert_eq!(Steps::default().integral(0.0..40.0), (0.0, 0.0));
        let seconds: f64 = steps().spans(-10.0..40.0).map(|span| span.seconds()).sum();
        assert_eq!(seconds, 50.0);
    }

    #[test]
    fn the_extremes_are_of_the_range() {
        assert_eq!(
            (steps().min(0.0..40.0), steps().max(0.0..40.0)),
            (Some(2), Some(4))
        );
        assert_eq!(
            (steps().min(12.0..40.0), steps().max(25.0..29.0)),
            (Some(3), None)
        );
    }
}
