//! What must be so before the first request: the replicas that are expected, no rollout, and an HPA at rest. A run that
//! begins in the middle of something else measures that. Pure.

use std::time::Duration;

use super::seen::Seen;
use crate::scenario::Span;

/// What was not so in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the preconditions did not hold within {after}: {}", problems.join("; "))]
pub struct Unmet {
    /// How long was waited.
    pub after: Span,
    /// What is not so, a sentence each, with the service's name before it.
    pub problems: Vec<String>,
}

/// What is not so at `t_s`, which is `now` since the Unix epoch. `replicas` is what is declared; the HPA's minimum
/// otherwise.
pub(super) fn problems(
    seen: &Seen,
    replicas: Option<u32>,
    quiet_s: f64,
    t_s: f64,
    now: Duration,
) -> Vec<String> {
    let live = seen.live(t_s);
    let mut problems: Vec<String> = live
        .lost
        .iter()
        .map(|what| format!("the {what} is not observed"))
        .collect();
    let wanted = replicas.or(live.bounds.map(|(min, _)| min));
    let Some(wanted) = wanted else {
        problems.push("the HPA was deleted".to_owned());
        return problems;
    };
    for (what, number) in [("desired", live.desired), ("ready", live.ready)] {
        match number {
            Some(number) if number == wanted => {}
            Some(number) => problems.push(format!("{number} replicas are {what}, not {wanted}")),
            None => problems.push(format!("it is not known how many replicas are {what}")),
        }
    }
    if seen.is_rolling() {
        problems.push("a rollout is under way".to_owned());
    }
    let told_s = seen
        .last_scale()
        .map(|at| now.saturating_sub(at).as_secs_f64());
    let seen_s = seen.last_change_s().map(|at_s| t_s - at_s);
    let rest_s = told_s.into_iter().chain(seen_s).reduce(f64::min);
    if let Some(rest_s) = rest_s.filter(|rest_s| *rest_s < quiet_s) {
        problems.push(format!(
            "the HPA scaled {rest_s:.0} s ago, which must be {quiet_s:.0} s"
        ));
    }
    problems
}
