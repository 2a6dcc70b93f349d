//! When something happened that was waited for, and between which two looks. Most things are seen by a watch, at once; what
//! happened while nobody saw anything is known to lie between two moments, and then only those two can be judged.

use std::ops::Range;

use super::Finding;
use super::context::Context;
use super::draft::{Draft, Limit, Untold, at, seconds};
use crate::steps::{Span, Steps};

/// Something happened: after `since_s`, or at it, and not after `at_s`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Happened {
    /// The last moment at which it is known not to have happened, or `at_s` itself where it was seen at once.
    pub(super) since_s: f64,
    /// When it was seen.
    pub(super) at_s: f64,
}

/// What was waited for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Waited {
    /// It happened.
    For(Happened),
    /// It was not seen to the end; from this moment on it may have been missed.
    InVain {
        /// The first moment at which nobody looked; `None` when somebody always did.
        unseen_s: Option<f64>,
    },
}

/// A wait that is held against a limit.
#[derive(Debug, Clone)]
pub(super) struct Wait {
    /// When it began, in seconds.
    pub(super) from_s: f64,
    /// What that moment is called: `stage(high).start`.
    pub(super) from: String,
    /// What is waited for, as the subject and verb of a sentence: `the HPA wanted more than 2 pods`.
    pub(super) what: String,
    /// The longest that it may take, in seconds.
    pub(super) max_s: f64,
    /// How exactly a moment is told where all looks came.
    pub(super) resolution_s: f64,
}

/// The first moment within `range` at which a known number is as wanted.
pub(super) fn first(steps: &Steps, range: Range<f64>, wanted: impl Fn(u32) -> bool) -> Waited {
    let mut unseen_s = None;
    for span in steps.spans(range) {
        match span.value {
            Some(value) if wanted(value) => {
                let (since_s, at_s) = (unseen_s.unwrap_or(span.from_s), span.from_s);
                return Waited::For(Happened { since_s, at_s });
            }
            Some(_) => {}
            None => unseen_s = unseen_s.or(Some(span.from_s)),
        }
    }
    Waited::InVain { unseen_s }
}

/// The first moment within `range` from which on the number is as wanted to the end of the range.
pub(super) fn for_good(steps: &Steps, range: Range<f64>, wanted: impl Fn(u32) -> bool) -> Waited {
    let spans: Vec<Span> = steps.spans(range.clone()).collect();
    let is_bad = |span: &&Span| span.value.is_some_and(|value| !wanted(value));
    let since_s = spans
        .iter()
        .rfind(is_bad)
        .map_or(range.start, |span| span.to_s);
    let unseen = spans
        .iter()
        .filter(|span| span.value.is_none() && since_s <= span.from_s);
    let at_s = unseen.clone().next_back().map_or(since_s, |span| span.to_s);
    match at_s < range.end {
        true => Waited::For(Happened { since_s, at_s }),
        false => Waited::InVain {
            unseen_s: unseen.map(|span| span.from_s).next(),
        },
    }
}

impl Wait {
    /// Holds what came of it against the limit.
    pub(super) fn judge(
        &self,
        context: &Context<'_>,
        draft: Draft,
        waited: Waited,
    ) -> Result<Finding, Untold> {
        let draft = draft.unit("s").resolution(self.resolution_s);
        match waited {
            Waited::For(happened) => self.judge_happened(draft, happened),
            Waited::InVain { unseen_s } => self.judge_in_vain(draft, unseen_s, context),
        }
    }

    fn judge_happened(&self, draft: Draft, happened: Happened) -> Result<Finding, Untold> {
        let [earliest, latest] =
            [happened.since_s, happened.at_s].map(|t_s| (t_s - self.from_s).max(0.0));
        // A watch sees at once, and a poll within its interval; anything longer is a gap, over which nobody may guess.
        let is_gap = self.resolution_s < latest - earliest;
        if is_gap && earliest <= self.max_s && self.max_s < latest {
            let what = &self.what;
            let [earliest, latest] = [earliest, latest].map(seconds);
            return Err(Untold::unknown(format!(
                "{what} between {earliest} and {latest} after {}, when nobody looked",
                self.from
            )));
        }
        let told = format!(
            "{} {} after {} {}",
            self.what,
            seconds(latest),
            self.from,
            at(self.from_s)
        );
        let draft = draft.over(self.from_s..happened.at_s.max(self.from_s));
        Ok(draft.judged(latest, Limit::AtMost(self.max_s), told))
    }

    fn judge_in_vain(
        &self,
        draft: Draft,
        unseen_s: Option<f64>,
        context: &Context<'_>,
    ) -> Result<Finding, Untold> {
        let due_s = self.from_s + self.max_s;
        let not = |why: String| {
            Err(Untold::unknown(format!(
                "nobody saw whether {}: {why}",
                self.what
            )))
        };
        if let Some(unseen_s) = unseen_s.filter(|unseen_s| *unseen_s <= due_s) {
            return not(format!(
                "nothing was observed from {} on",
                seconds(unseen_s)
            ));
        }
        let end_s = context.end_s();
        if context.recording.about.interrupted && end_s < due_s {
            return not(format!("the run was told to stop {}", at(end_s)));
        }
        let told = format!(
            "it never came about that {} after {} {}",
            self.what,
            self.from,
            at(self.from_s)
        );
        let draft = draft.over(self.from_s..end_s.max(self.from_s));
        Ok(draft.without_value(Limit::AtMost(self.max_s), super::Outcome::Fail, told))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(seen: &[(f64, Option<u32>)]) -> Steps {
        seen.iter().copied().collect()
    }

    fn happened(since_s: f64, at_s: f64) -> Waited {
        Waited::For(Happened { since_s, at_s })
    }

    #[test]
    fn what_happens_in_sight_has_one_moment() {
        let steps = steps(&[(-1.0, Some(2)), (10.0, Some(4)), (20.0, Some(3))]);
        assert_eq!(first(&steps, 0.0..30.0, |n| 3 < n), happened(10.0, 10.0));
        assert_eq!(first(&steps, 0.0..30.0, |n| n == 2), happened(0.0, 0.0));
        assert_eq!(
            first(&steps, 0.0..9.0, |n| 3 < n),
            Waited::InVain { unseen_s: None }
        );
        assert_eq!(
            for_good(&steps, 0.0..30.0, |n| n <= 3),
            happened(20.0, 20.0)
        );
        assert_eq!(
            for_good(&steps, 0.0..15.0, |n| n <= 3),
            Waited::InVain { unseen_s: None }
        );
    }

    #[test]
    fn what_happens_out_of_sight_lies_between_two_looks() {
        let steps = steps(&[(-1.0, Some(2)), (10.0, None), (15.0, Some(4)), (20.0, None)]);
        assert_eq!(first(&steps, 0.0..30.0, |n| 3 < n), happened(10.0, 15.0));
        let in_vain = Waited::InVain {
            unseen_s: Some(10.0),
        };
        assert_eq!(first(&steps, 0.0..30.0, |n| 9 < n), in_vain);
        assert_eq!(
            for_good(&steps, 0.0..18.0, |n| 4 <= n),
            happened(10.0, 15.0)
        );
        assert_eq!(for_good(&steps, 0.0..30.0, |n| 4 <= n), in_vain);
    }
}
