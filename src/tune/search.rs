//! Looks for better HPAs: a coarse grid of every signal first, then the neighbours of the best, and the few that remain
//! with other seeds and a slower service. Who plays them is told what and gives back what came of it, in the same
//! order, so that the result does not depend on who was faster.

use std::collections::BTreeMap;

use super::candidate::{Aims, Candidate, Growth, Signal, TOLERANCE_DEFAULT};
use super::curve::Objective;
use super::frontier::{Came, Figures, choose, promising, ranked};

/// Loads that the coarse grid aims at, as shares of what a pod can take, the likeliest first.
const SHARES: [f64; 4] = [0.5, 0.7, 0.3, 0.9];

/// Plays of a search below which only the first half of them is looked at.
const BUDGET_COARSE: usize = 48;

/// Plays of a search for each candidate that becomes a finalist.
const BUDGET_FINALIST: usize = 12;

/// Candidates whose neighbours are looked at in one round.
const LEADERS: usize = 5;

/// Of those, of one signal: a second best signal is looked at, too.
const LEADERS_OF_SIGNAL: usize = 3;

/// Of those, with other rules: rules matter less than targets.
const LEADERS_RULED: usize = 3;

/// Rounds at most: targets are then changed by less than they have digits.
const GENERATIONS_MAX: i32 = 8;

/// By how much targets are changed at first, as a share.
const FIRST_STEP: f64 = 0.2;

/// Candidates that are played with further seeds and a slower service, at most.
const FINALISTS: usize = 6;

/// Of those, of one signal.
const FINALISTS_OF_SIGNAL: usize = 4;

/// Seeds with which finalists are played, the first of which all were.
const SEEDS: u64 = 3;

/// How far the seeds of the confirmation are from those of the search.
const HELD_OUT: u64 = 1_000_003;

/// How much slower the service of the last question is: as after an unlucky release.
pub(super) const SLOWDOWN: f64 = 1.3;

/// Windows that are tried, in seconds.
const WINDOWS_S: [u32; 3] = [15, 30, 60];

/// Reads of a target that a window holds at least: below it `taffrail lint` warns, since one lost read shows.
const READS_MIN: u32 = 4;

/// Stabilizations that are tried, in seconds.
const DOWNS_S: [u32; 4] = [60, 120, 300, 600];

/// Tolerances that are tried, in thousandths.
const TOLERANCES_MILLI: [u32; 3] = [20, 50, TOLERANCE_DEFAULT];

/// Plays of a whole search at least: less would be a coarse grid and nothing else.
pub(super) const BUDGET_MIN: usize = 16;

/// Whose HPA is played.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Who {
    /// The one there is.
    Present,
    /// One that may be better.
    New(Candidate),
}

/// One thing to play.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Job {
    pub(super) who: Who,
    pub(super) seed: u64,
    /// How many times as slow as it is known to be the service is.
    pub(super) slowdown: f64,
    /// Whether all of the traffic is played, and not only the parts that matter.
    pub(super) is_whole: bool,
}

/// What is looked for, and with what.
pub(super) struct Search<'a, P> {
    pub(super) aims: &'a Aims,
    /// How often targets are read, in seconds.
    pub(super) interval_s: u32,
    /// Whether there is an HPA to compare with.
    pub(super) has_present: bool,
    pub(super) seed: u64,
    /// Plays of the search, without the confirmation.
    pub(super) budget: usize,
    /// Plays jobs: what came of each, in their order. The text says what they are for.
    pub(super) play: P,
}

/// A candidate that was played, and what came of it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tried {
    pub(super) candidate: Candidate,
    pub(super) figures: Figures,
}

/// What a search found.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Found {
    /// Everything that was tried, in a fixed order.
    pub(super) tried: Vec<Tried>,
    /// The one to take.
    pub(super) chosen: Tried,
    /// The same on seeds that it was not chosen by.
    pub(super) confirmed: Figures,
    /// What comes of it when the service is slower.
    pub(super) slower: Figures,
    /// The present HPA with the seeds of the finalists, and with those of the confirmation.
    pub(super) present: Option<(Figures, Figures)>,
    /// How many plays it took.
    pub(super) plays: usize,
}

type Played = BTreeMap<Candidate, Came>;

/// Puts figures in order, the best first.
type Order = fn(&[Figures], &Objective) -> Vec<usize>;

impl<P> Search<'_, P>
where
    P: FnMut(&str, &[Job]) -> anyhow::Result<Vec<Came>>,
{
    /// Does all of it.
    pub(super) fn run(mut self) -> anyhow::Result<Found> {
        let mut played = Played::new();
        let mut plays = self.round("coarse grid", &self.coarse(), &mut played)?;
        let finalists = (self.budget / BUDGET_FINALIST).clamp(1, FINALISTS);
        let finals = finalists * SEEDS as usize;
        for generation in 1..=GENERATIONS_MAX {
            let mut next = self.neighbours(&played, generation);
            next.truncate(self.budget.saturating_sub(plays + finals));
            if !next.is_empty() {
                plays += self.round(&format!("refinement {generation}"), &next, &mut played)?;
            }
        }
        let mut advisable = played.clone();
        // A signal that is deaf at low load needs CPU beside it, whatever it came to on this traffic.
        let has_cpu = self.aims.cpu_percent.is_some();
        advisable.retain(|candidate, _| has_cpu || candidate.signal.hears_load());
        let finalists = self.leaders(&advisable, ranked, finalists, FINALISTS_OF_SIGNAL);
        let slower = self.finals(&finalists, &mut played)?;
        plays += finalists.len() * SEEDS as usize;
        let figures: Vec<Figures> = finalists.iter().map(|c| played[c].figures()).collect();
        let order = ranked(&figures, &self.aims.objective);
        let worry = |place: usize| slower[place].misses(&self.aims.objective);
        let place = choose(&figures, &order, &self.aims.objective, worry);
        let Some(place) = place else {
            anyhow::bail!("no signal has a target for this service");
        };
        let chosen = Tried {
            candidate: finalists[place],
            figures: figures[place],
        };
        let (confirmed, present) = self.confirm(chosen.candidate)?;
        let tried = played.iter().map(|(candidate, came)| Tried {
            candidate: *candidate,
            figures: came.figures(),
        });
        Ok(Found {
            tried: tried.collect(),
            chosen,
            confirmed,
            slower: slower[place],
            present,
            plays,
        })
    }

    fn coarse(&self) -> Vec<Candidate> {
        let mut coarse = Vec::new();
        let shares = if self.budget < BUDGET_COARSE {
            SHARES.len() / 2
        } else {
            SHARES.len()
        };
        for share in SHARES.into_iter().take(shares) {
            coarse.extend(
                Signal::ALL
                    .iter()
                    .filter_map(|signal| self.aims.at(*signal, share)),
            );
        }
        coarse.sort_unstable();
        coarse.dedup();
        coarse
    }

    fn round(
        &mut self,
        what: &str,
        candidates: &[Candidate],
        played: &mut Played,
    ) -> anyhow::Result<usize> {
        let jobs: Vec<Job> = candidates
            .iter()
            .map(|candidate| self.job(Who::New(*candidate), 0))
            .collect();
        let came = (self.play)(what, &jobs)?;
        played.extend(candidates.iter().copied().zip(came));
        Ok(candidates.len())
    }

    fn job(&self, who: Who, seed: u64) -> Job {
        Job {
            who,
            seed: self.seed.wrapping_add(seed),
            slowdown: 1.0,
            is_whole: false,
        }
    }

    /// The first of an order of what was played, of each signal a few.
    fn leaders(
        &self,
        played: &Played,
        order: Order,
        count: usize,
        of_signal: usize,
    ) -> Vec<Candidate> {
        let candidates: Vec<Candidate> = played.keys().copied().collect();
        let figures: Vec<Figures> = played.values().map(Came::figures).collect();
        let mut leaders: Vec<Candidate> = Vec::new();
        for place in order(&figures, &self.aims.objective) {
            let candidate = candidates[place];
            let same = leaders
                .iter()
                .filter(|leader| leader.signal == candidate.signal);
            if leaders.len() < count && same.count() < of_signal {
                leaders.push(candidate);
            }
        }
        leaders
    }

    /// What is next to the best and was not played yet: by turns other targets and windows, closer each time, and other
    /// rules.
    fn neighbours(&self, played: &Played, generation: i32) -> Vec<Candidate> {
        let step = 1.0 + FIRST_STEP / f64::from(generation);
        let leaders = self.leaders(played, promising, LEADERS, LEADERS_OF_SIGNAL);
        let mut next: Vec<Candidate> = Vec::new();
        for (place, leader) in leaders.iter().enumerate() {
            let around = match generation % 2 {
                1 => self.targets_around(leader, step),
                _ if place < LEADERS_RULED => rules_around(leader),
                _ => Vec::new(),
            };
            for candidate in around {
                if !played.contains_key(&candidate) && !next.contains(&candidate) {
                    next.push(candidate);
                }
            }
        }
        next
    }

    fn targets_around(&self, leader: &Candidate, step: f64) -> Vec<Candidate> {
        let is_read = |window_s: &u32| READS_MIN * self.interval_s <= *window_s;
        let windows = WINDOWS_S.into_iter().filter(is_read);
        let windows = windows.map(|window_s| {
            let other = Candidate {
                window_s,
                ..*leader
            };
            other.braked()
        });
        let mut around = vec![leader.scaled(step), leader.scaled(1.0 / step)];
        around.extend(leader.twin());
        around.extend(windows);
        around
    }

    /// Plays the finalists with the other seeds, which are added to what came of them, and with a slower service.
    fn finals(
        &mut self,
        finalists: &[Candidate],
        played: &mut Played,
    ) -> anyhow::Result<Vec<Figures>> {
        let mut jobs = Vec::new();
        for candidate in finalists {
            jobs.extend((1..SEEDS).map(|seed| self.job(Who::New(*candidate), seed)));
            jobs.push(Job {
                slowdown: SLOWDOWN,
                ..self.job(Who::New(*candidate), 0)
            });
        }
        let came = (self.play)("finalists", &jobs)?;
        let mut slower = Vec::new();
        for (candidate, came) in finalists.iter().zip(came.chunks(SEEDS as usize)) {
            let Some((last, others)) = came.split_last() else {
                continue;
            };
            if let Some(sum) = played.get_mut(candidate) {
                *sum = others.iter().fold(*sum, |sum, came| sum.and(came));
            }
            slower.push(last.figures());
        }
        Ok(slower)
    }

    /// What comes of the one to take, and of the present one, on seeds that nothing was chosen by.
    fn confirm(
        &mut self,
        chosen: Candidate,
    ) -> anyhow::Result<(Figures, Option<(Figures, Figures)>)> {
        let held_out = |search: &Self, who: Who, seed: u64| Job {
            is_whole: true,
            ..search.job(who, HELD_OUT + seed)
        };
        let mut jobs: Vec<Job> = (0..SEEDS)
            .map(|seed| held_out(self, Who::New(chosen), seed))
            .collect();
        if self.has_present {
            jobs.extend((0..SEEDS).map(|seed| held_out(self, Who::Present, seed)));
            jobs.extend((0..SEEDS).map(|seed| self.job(Who::Present, seed)));
        }
        let came = (self.play)("confirmation on other seeds", &jobs)?;
        let mut figures = came.chunks(SEEDS as usize).map(|came| {
            let sum = came.iter().copied().reduce(|sum, came| sum.and(&came));
            sum.unwrap_or_default().figures()
        });
        let confirmed = figures.next().unwrap_or_else(|| Came::default().figures());
        let (held_out, tuned) = (figures.next(), figures.next());
        Ok((confirmed, tuned.zip(held_out)))
    }
}

fn rules_around(leader: &Candidate) -> Vec<Candidate> {
    let mut around: Vec<Candidate> = DOWNS_S.map(|down_s| Candidate { down_s, ..*leader }).into();
    around.extend(TOLERANCES_MILLI.map(|tolerance_milli| Candidate {
        tolerance_milli,
        ..*leader
    }));
    let growths =
        [Growth::Free, Growth::DoubleInAMinute].map(|growth| Candidate { growth, ..*leader });
    around.extend(growths.map(Candidate::braked));
    around
}

#[cfg(test)]
mod tests {
    use super::super::curve::{Balancing, Curve};
    use super::*;
    use crate::sim::Outcome;

    fn aims() -> Aims {
        Aims {
            curve: Curve {
                workers: 2,
                service_s: 0.04,
                service_cv: 1.0,
                balancing: Balancing::InTurn,
            },
            objective: Objective {
                quantile: 0.95,
                latency_s: 0.25,
            },
            pods: 5.0,
            limit: 40.0,
            cpu_percent: Some(2.0),
            window_s: 30,
        }
    }

    /// A world in which a rate of 29/s on a pod over a window of 15 s is the best there is.
    fn came(job: &Job) -> Came {
        let (hours, bad) = match job.who {
            Who::Present => (20.0, 0.2),
            Who::New(Candidate {
                signal: Signal::Rate,
                target_milli,
                window_s,
                ..
            }) => {
                let late = if window_s == 15 { 0.0 } else { 0.01 };
                let target = target_milli as f64 / 1000.0;
                (
                    300.0 / target,
                    late + (target - 14.0).max(0.0) / 15.0 * 0.04,
                )
            }
            Who::New(_) => (20.0, 0.0),
        };
        let outcome = Outcome {
            requests: 10_000,
            bad_share: Some(bad * job.slowdown),
            violation_minutes: Some(0.0),
            pod_hours: hours,
            oracle_pod_hours: None,
            cost_ratio: None,
            scale_events: Some(3),
            flaps: Some(0),
            first_scale_out_s: None,
            overshoot: None,
            max_replicas: Some(5),
            mean_replicas: 4.0,
            seconds_at_max: Some(0.0),
        };
        Came::of(&outcome, 3600.0)
    }

    #[test]
    fn the_best_is_found_within_the_budget_and_confirmed_on_other_seeds() {
        let mut jobs: Vec<Job> = Vec::new();
        let aims = aims();
        let search = Search {
            aims: &aims,
            interval_s: 3,
            has_present: true,
            seed: 1,
            budget: 120,
            play: |_: &str, round: &[Job]| {
                jobs.extend(round);
                Ok(round.iter().map(came).collect())
            },
        };
        let found = search.run().unwrap();
        let chosen = found.chosen.candidate;
        assert_eq!(
            (chosen.signal, chosen.window_s),
            (Signal::Rate, 15),
            "{chosen:?}"
        );
        assert!(
            (27_000..=29_000).contains(&chosen.target_milli),
            "{chosen:?}"
        );
        assert!(
            found.plays <= 120 && found.plays + 9 == jobs.len(),
            "{}",
            found.plays
        );
        let held_out: Vec<&Job> = jobs.iter().filter(|job| job.is_whole).collect();
        assert_eq!(held_out.len(), 6);
        let tuned = |job: &&Job| !job.is_whole && held_out.iter().any(|held| held.seed == job.seed);
        assert_eq!(
            jobs.iter().filter(tuned).count(),
            0,
            "a seed was seen before"
        );
        assert_eq!(found.present.unwrap().1.bad_share, 0.2);
        assert!(found.chosen.figures.bad_share < found.slower.bad_share);
    }
}
