//! What came of each candidate, which of them nothing else beats, and which one to take. Violations stand against
//! pod-hours; whoever weighs them otherwise finds the others beside it.

use std::collections::BTreeMap;

use serde::Serialize;

use super::curve::Objective;
use crate::sim::Outcome;

/// The share of the objective's budget of slow requests that a recommendation may use: the rest is for what a simulation
/// does not know.
const BUDGET_USED: f64 = 0.8;

/// The share of the time in which a recommendation may miss the objective.
const VIOLATED: f64 = 0.02;

/// Where no candidate keeps to that, so much more of the time than the best one is as good as it.
const AS_GOOD: f64 = 0.01;

/// Costs that differ by less than this share are the same to whoever pays them.
const AS_CHEAP: f64 = 0.03;

/// What came of one HPA, over all its plays.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Came {
    plays: f64,
    requests: f64,
    bad: f64,
    /// Seconds in which the objective was missed; `None` where requests were too few to tell.
    violated_s: Option<f64>,
    played_s: f64,
    pod_hours: f64,
    oracle_pod_hours: Option<f64>,
    events: f64,
    flaps: f64,
    most: u32,
    at_most_s: f64,
}

/// The same in the figures that people compare: means over the plays.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Figures {
    /// The share of requests that failed or were slower than the objective.
    pub(super) bad_share: f64,
    /// Minutes in which the objective was missed, in one play of all the parts.
    pub(super) violation_minutes: Option<f64>,
    /// Pods times hours in one play.
    pub(super) pod_hours: f64,
    /// The same of one who knows the future.
    pub(super) oracle_pod_hours: Option<f64>,
    /// Changes of the replicas in one play.
    pub(super) scale_events: f64,
    /// Turns within five minutes in one play.
    pub(super) flaps: f64,
    /// The most replicas in any play.
    pub(super) max_replicas: u32,
    /// The share of the time with as many replicas as the HPA allows.
    pub(super) at_max_share: f64,
    /// How long one play is, in seconds.
    pub(super) played_s: f64,
    /// How many plays these are the means of.
    pub(super) plays: u32,
}

// === impl Came ===

impl Came {
    /// What came of one play that lasts `played_s`.
    pub(super) fn of(outcome: &Outcome, played_s: f64) -> Self {
        let requests = outcome.requests as f64;
        Self {
            plays: 1.0,
            requests,
            bad: outcome.bad_share.unwrap_or(0.0) * requests,
            violated_s: outcome.violation_minutes.map(|minutes| minutes * 60.0),
            played_s,
            pod_hours: outcome.pod_hours,
            oracle_pod_hours: outcome.oracle_pod_hours,
            events: outcome.scale_events.map_or(0.0, f64::from),
            flaps: outcome.flaps.map_or(0.0, f64::from),
            most: outcome.max_replicas.unwrap_or(0),
            at_most_s: outcome.seconds_at_max.unwrap_or(0.0),
        }
    }

    /// With another part of the same play.
    pub(super) fn and_part(&self, part: &Self) -> Self {
        Self {
            plays: self.plays.max(part.plays),
            ..self.and(part)
        }
    }

    /// With other plays.
    pub(super) fn and(&self, other: &Self) -> Self {
        let both = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        Self {
            plays: self.plays + other.plays,
            requests: self.requests + other.requests,
            bad: self.bad + other.bad,
            violated_s: both(self.violated_s, other.violated_s),
            played_s: self.played_s + other.played_s,
            pod_hours: self.pod_hours + other.pod_hours,
            oracle_pod_hours: both(self.oracle_pod_hours, other.oracle_pod_hours),
            events: self.events + other.events,
            flaps: self.flaps + other.flaps,
            most: self.most.max(other.most),
            at_most_s: self.at_most_s + other.at_most_s,
        }
    }

    pub(super) fn figures(&self) -> Figures {
        let plays = self.plays.max(1.0);
        Figures {
            bad_share: self.bad / self.requests.max(1.0),
            violation_minutes: self.violated_s.map(|seconds| seconds / 60.0 / plays),
            pod_hours: self.pod_hours / plays,
            oracle_pod_hours: self.oracle_pod_hours.map(|hours| hours / plays),
            scale_events: self.events / plays,
            flaps: self.flaps / plays,
            max_replicas: self.most,
            // A sum of nothing is -0.0, which is no share.
            at_max_share: self.at_most_s / self.played_s.max(1.0) + 0.0,
            played_s: self.played_s / plays,
            plays: self.plays as u32,
        }
    }
}

// === impl Figures ===

impl Figures {
    /// The share of the time in which the objective was missed; 0 where nobody could tell, so that the share of bad
    /// requests alone counts.
    pub(super) fn violated_share(&self) -> f64 {
        self.violation_minutes
            .map_or(0.0, |minutes| minutes * 60.0 / self.played_s.max(1.0))
    }

    /// How far it is from keeping the objective with something to spare: at most 1 when it does.
    pub(super) fn misses(&self, objective: &Objective) -> f64 {
        let bad = self.bad_share / (BUDGET_USED * objective.budget());
        bad.max(self.violated_share() / VIOLATED)
    }

    /// Whether these are no worse than others: as cheap, and missing the objective no more than is allowed or than they do.
    pub(super) fn is_as_good(&self, other: &Self, objective: &Objective) -> bool {
        self.pod_hours <= other.pod_hours
            && self.misses(objective) <= other.misses(objective).max(1.0)
    }
}

/// Which of these nothing beats in both: fewer bad requests and fewer pod-hours. By pod-hours, ascending. What was played
/// more often is beaten by its like alone: figures of one seed may be ahead by chance.
pub(super) fn frontier(all: &[Figures]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| {
        let (a, b) = (&all[*a], &all[*b]);
        a.pod_hours
            .total_cmp(&b.pod_hours)
            .then(a.bad_share.total_cmp(&b.bad_share))
    });
    // The least so far of those that were played so often.
    let mut least: BTreeMap<u32, f64> = BTreeMap::new();
    order.retain(|place| {
        let Figures {
            bad_share, plays, ..
        } = all[*place];
        let is_better = least.range(plays..).all(|(_, least)| bad_share < *least);
        let own = least.entry(plays).or_insert(f64::INFINITY);
        *own = own.min(bad_share);
        is_better
    });
    order
}

/// All of these, the one to take first: the cheapest of those that keep the objective. Where none does, the cheapest of
/// those that miss it hardly more than the best.
pub(super) fn ranked(all: &[Figures], objective: &Objective) -> Vec<usize> {
    let misses = |place: &usize| all[*place].misses(objective);
    let best = (0..all.len())
        .map(|place| misses(&place))
        .fold(f64::INFINITY, f64::min);
    let good_enough = best.max(1.0) + if best <= 1.0 { 0.0 } else { AS_GOOD / VIOLATED };
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| {
        let late = |place: &usize| good_enough < misses(place);
        let within = || all[*a].pod_hours.total_cmp(&all[*b].pod_hours);
        let beyond = || misses(a).total_cmp(&misses(b));
        late(a)
            .cmp(&late(b))
            .then_with(|| if late(a) { beyond() } else { within() })
            .then(a.cmp(b))
    });
    order
}

/// All of these, the most promising first for who looks for better ones next to them: cheap, and missing the objective
/// by little.
pub(super) fn promising(all: &[Figures], objective: &Objective) -> Vec<usize> {
    let price = |place: &usize| all[*place].pod_hours * all[*place].misses(objective).max(1.0);
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|a, b| price(a).total_cmp(&price(b)).then(a.cmp(b)));
    order
}

/// Of those that are as good and nearly as cheap as the first of `ranked`, the one with the least `worry`.
pub(super) fn choose(
    all: &[Figures],
    ranked: &[usize],
    objective: &Objective,
    worry: impl Fn(usize) -> f64,
) -> Option<usize> {
    let first = &all[*ranked.first()?];
    let is_alike = |place: &&usize| {
        let figures = &all[**place];
        figures.pod_hours <= first.pod_hours * (1.0 + AS_CHEAP)
            && figures.misses(objective) <= first.misses(objective).max(1.0)
    };
    let alike = ranked.iter().filter(is_alike);
    alike
        .copied()
        .min_by(|a, b| worry(*a).total_cmp(&worry(*b)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECTIVE: Objective = Objective {
        quantile: 0.95,
        latency_s: 0.25,
    };

    fn figures(pod_hours: f64, bad_share: f64) -> Figures {
        Came {
            plays: 1.0,
            requests: 1000.0,
            bad: 1000.0 * bad_share,
            violated_s: Some(0.0),
            played_s: 3600.0,
            pod_hours,
            ..Came::default()
        }
        .figures()
    }

    #[test]
    fn nothing_beats_what_is_on_the_frontier() {
        let all = [
            (3.0, 0.10),
            (4.0, 0.02),
            (5.0, 0.03),
            (6.0, 0.01),
            (6.0, 0.02),
            (7.0, 0.01),
        ];
        let all = all.map(|(hours, bad)| figures(hours, bad));
        assert_eq!(frontier(&all), [0, 1, 3]);
        assert!(frontier(&[]).is_empty());
        let thrice = Figures {
            plays: 3,
            ..figures(4.0, 0.03)
        };
        let dearer = Figures {
            plays: 3,
            ..figures(4.5, 0.035)
        };
        let all = [figures(4.0, 0.02), thrice, dearer, figures(4.1, 0.025)];
        assert_eq!(frontier(&all), [0, 1], "one seed beats one seed alone");
    }

    #[test]
    fn the_cheapest_that_keeps_the_objective_is_first() {
        let all = [(3.0, 0.10), (4.0, 0.041), (5.0, 0.03), (6.0, 0.01)]
            .map(|(hours, bad)| figures(hours, bad));
        // 4 % of the 5 % that may be slow is what a recommendation may use.
        assert_eq!(ranked(&all, &OBJECTIVE), [2, 3, 1, 0]);
        assert!(all[2].misses(&OBJECTIVE) <= 1.0 && 1.0 < all[1].misses(&OBJECTIVE));
    }

    #[test]
    fn where_nothing_keeps_it_the_best_come_first() {
        let all = [(3.0, 0.9), (9.0, 0.30), (5.0, 0.31), (6.0, 0.8)]
            .map(|(hours, bad)| figures(hours, bad));
        assert_eq!(ranked(&all, &OBJECTIVE), [2, 1, 3, 0]);
    }

    #[test]
    fn of_what_costs_the_same_the_least_worry_is_taken() {
        let all = [(5.0, 0.03), (5.1, 0.01), (6.0, 0.01)].map(|(hours, bad)| figures(hours, bad));
        let ranked = ranked(&all, &OBJECTIVE);
        assert_eq!(
            choose(&all, &ranked, &OBJECTIVE, |place| -(place as f64)),
            Some(1)
        );
        assert_eq!(
            choose(&all, &ranked, &OBJECTIVE, |place| place as f64),
            Some(0)
        );
        assert_eq!(choose(&[], &[], &OBJECTIVE, |_| 0.0), None);
    }

    #[test]
    fn parts_of_a_play_are_one_play_and_others_are_averaged() {
        let [a, b] = [2.0, 4.0].map(|pod_hours| Came {
            plays: 1.0,
            requests: 100.0,
            bad: pod_hours,
            violated_s: Some(60.0),
            played_s: 600.0,
            pod_hours,
            most: pod_hours as u32,
            ..Came::default()
        });
        let play = a.and_part(&b).figures();
        assert_eq!(
            (play.plays, play.pod_hours, play.violation_minutes),
            (1, 6.0, Some(2.0))
        );
        let plays = a.and(&b).figures();
        assert_eq!(
            (plays.plays, plays.pod_hours, plays.violation_minutes),
            (2, 3.0, Some(1.0))
        );
        assert_eq!(
            (plays.bad_share, plays.max_replicas, plays.played_s),
            (0.03, 4, 600.0)
        );
    }
}
