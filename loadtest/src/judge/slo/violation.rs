//! Seconds in which users were not served well: checks 10 and 11.

use std::ops::Range;

use super::failed_in;
use crate::judge::Finding;
use crate::judge::context::{Context, SLOT_S};
use crate::judge::draft::{Draft, Limit, Untold, amount, number, seconds};
use crate::judge::window::{Objective, Windows, latency as shown};
use crate::measured::Slot;
use crate::scenario::Share;
use crate::scenario::assertion::{FailureClass, SloViolation};

/// 10. Seconds in which the objective was missed.
pub(in crate::judge) fn violation_seconds(
    context: &Context<'_>,
    draft: Draft,
    check: &SloViolation,
) -> Result<Finding, Untold> {
    let (scope, objective) = violation_terms(context, check)?;
    let seen = Violations::count(context, &scope, objective, check.max_error);
    let draft = draft.unit("s").resolution(SLOT_S).over(seen.marked(&scope));
    let most = seen.bad + seen.unknown;
    if (seen.bad as f64) <= check.max && check.max < most as f64 {
        return Err(seen.untold());
    }
    Ok(draft.judged(
        seen.bad as f64,
        Limit::AtMost(check.max),
        seen.told(objective),
    ))
}

/// 11. The same as a share of the seconds that could be told.
pub(in crate::judge) fn violation_ratio(
    context: &Context<'_>,
    draft: Draft,
    check: &SloViolation,
) -> Result<Finding, Untold> {
    let (scope, objective) = violation_terms(context, check)?;
    let seen = Violations::count(context, &scope, objective, check.max_error);
    let known = seen.good + seen.bad;
    let all = (known + seen.unknown) as f64;
    let [least, most] = [seen.bad, seen.bad + seen.unknown].map(|bad| bad as f64 / all);
    if known == 0 || (least <= check.max && check.max < most) {
        return Err(seen.untold());
    }
    let draft = draft
        .resolution(SLOT_S / known as f64)
        .over(seen.marked(&scope));
    let ratio = seen.bad as f64 / known as f64;
    let told = format!("{}, {} of them", seen.told(objective), number(ratio));
    Ok(draft.judged(ratio, Limit::AtMost(check.max), told))
}

/// Seconds by how the objective was met in them.
#[derive(Debug, Default)]
struct Violations {
    good: usize,
    bad: usize,
    unknown: usize,
    /// The longest stretch of bad seconds.
    longest: Range<usize>,
}

impl Violations {
    fn count(
        context: &Context<'_>,
        scope: &Range<f64>,
        objective: Objective,
        max_error: Option<Share>,
    ) -> Self {
        let windows = context.windows(objective);
        let mut seen = Self::default();
        let mut current = 0..0;
        for second in windows.seconds(scope) {
            let slot = &context.service.load.slots[second];
            match is_violated(&windows, slot, second, max_error) {
                Some(true) => {
                    let start = if current.end == second {
                        current.start
                    } else {
                        second
                    };
                    current = start..second + 1;
                    if seen.longest.len() < current.len() {
                        seen.longest = current.clone();
                    }
                    seen.bad += 1;
                }
                Some(false) => seen.good += 1,
                None => seen.unknown += 1,
            }
        }
        seen
    }

    /// What a report marks: the longest stretch, or all that was looked at.
    fn marked(&self, scope: &Range<f64>) -> Range<f64> {
        match self.longest.is_empty() {
            true => scope.clone(),
            false => self.longest.start as f64..self.longest.end as f64,
        }
    }

    fn told(&self, objective: Objective) -> String {
        format!(
            "{} of {} were not served within {} at {}",
            amount(self.bad as f64, "s"),
            amount((self.good + self.bad) as f64, "s"),
            shown(objective.target.seconds()),
            objective.word()
        )
    }

    fn untold(&self) -> Untold {
        Untold::unknown(format!(
            "{} missed the objective, and {} had too few requests to tell",
            seconds(self.bad as f64),
            seconds(self.unknown as f64)
        ))
    }
}

/// Whether users were not served well in a second; `None` where that is unknown. Where nobody asked, nobody was not.
pub(super) fn is_violated(
    windows: &Windows,
    slot: &Slot,
    second: usize,
    max_error: Option<Share>,
) -> Option<bool> {
    if 0 < slot.counts.offered
        && slot.counts.ok == 0
        && 0 < failed_in(&slot.counts, FailureClass::Any)
    {
        return Some(true);
    }
    if let Some(window) = windows.of_second(second) {
        let too_many = max_error.is_some_and(|max| max.get() < window.failed_share);
        return Some(too_many || windows.misses(second) == Some(true));
    }
    // The first requests of a run are too few for a window of their own; the first one that can be told holds them.
    (slot.counts.offered == 0 || windows.is_told_later(second)).then_some(false)
}

fn violation_terms(
    context: &Context<'_>,
    check: &SloViolation,
) -> Result<(Range<f64>, Objective), Untold> {
    let objective = Objective::new(context, check)?;
    Ok((context.scope(&check.scope)?, objective))
}
