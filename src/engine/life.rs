//! A target's life: from when on it counts, from when on its latencies do, and when it was told to end.
//!
//! The cluster says where a target is ([`Phase`]); how warm it is can only be seen from what it answers. What either
//! means for counters and windows is [`super::target`]'s matter.

use std::time::Duration;

use crate::model::phase::Phase;
use crate::model::time::Timestamp;

/// A process is cold for its first requests: they compile its code, fill its caches and open its connections. As many
/// as a 0.95 quantile is judged by, so that these slow ones alone could have been the whole answer.
const COLD_REQUESTS: f64 = 60.0;

/// A quiet process would be cold for hours, and what it does not use it need not warm up: a minute after its start the
/// few requests that it gets are the ones its users will go on to see.
const COLD_FOR: Duration = Duration::from_secs(60);

/// Where a target is in its life. Phases that no target goes through, such as from leaving back to ready, are ignored.
#[derive(Clone, Copy, Debug)]
pub(super) struct Life {
    /// It has been Ready once.
    counts: bool,
    /// When it was told to end.
    left: Option<Timestamp>,
    warmth: Warmth,
}

#[derive(Clone, Copy, Debug)]
enum Warmth {
    /// Nothing is known of its start, and of its restarts nothing is assumed.
    Unjudged,
    Warm,
    Cold {
        since: Timestamp,
        answered: f64,
    },
}

impl Life {
    /// The life of a target that is first heard of at `now`, in `phase`.
    pub(super) fn new(phase: Phase, now: Timestamp) -> Self {
        let mut life = Self {
            counts: false,
            left: None,
            warmth: Warmth::Unjudged,
        };
        match phase {
            Phase::Starting => {}
            Phase::Ready { since } => life.begin(since, now),
            Phase::Leaving => (life.counts, life.left) = (true, Some(now)),
        }
        life
    }

    /// Takes in where it is at `now`; true when it has just become ready.
    pub(super) fn enter(&mut self, phase: Phase, now: Timestamp) -> bool {
        match phase {
            Phase::Ready { since } if !self.counts && self.left.is_none() => {
                self.begin(since, now);
                return true;
            }
            // One that was never ready stays one that does not count: nobody was sent to it.
            Phase::Leaving => {
                self.left.get_or_insert(now);
            }
            Phase::Ready { .. } | Phase::Starting => {}
        }
        false
    }

    fn begin(&mut self, since: Timestamp, now: Timestamp) {
        self.counts = true;
        if since != Timestamp::default() {
            self.chill(since.min(now));
        }
    }

    fn chill(&mut self, since: Timestamp) {
        self.warmth = Warmth::Cold {
            since,
            answered: 0.0,
        };
    }

    /// Its process began anew at about `at`, and with it all that it had warmed up.
    pub(super) fn restart(&mut self, at: Timestamp) {
        if !matches!(self.warmth, Warmth::Unjudged) {
            self.chill(at);
        }
    }

    /// It answered so many more requests.
    pub(super) fn answer(&mut self, requests: f64) {
        if let Warmth::Cold { answered, .. } = &mut self.warmth {
            *answered += requests;
        }
    }

    /// Takes it for warm when, by `at`, it has answered enough or long enough.
    pub(super) fn warm_up(&mut self, at: Timestamp) {
        if let Warmth::Cold { since, answered } = self.warmth
            && (COLD_REQUESTS <= answered || since + COLD_FOR <= at)
        {
            self.warmth = Warmth::Warm;
        }
    }

    /// The same life under a clock that says `now`, which may be earlier than all before.
    pub(super) fn as_of(mut self, now: Timestamp) -> Self {
        if let Warmth::Cold { since, .. } = &mut self.warmth {
            *since = now.min(*since);
        }
        self.left = self.left.map(|left| left.min(now));
        self
    }

    /// Whether it has been ready: before that, nothing of it counts and nothing is expected of it.
    pub(super) fn counts(&self) -> bool {
        self.counts
    }

    /// When it was told to end.
    pub(super) fn left(&self) -> Option<Timestamp> {
        self.left
    }

    /// Whether its latencies are those of a process that has just begun.
    pub(super) fn is_cold(&self) -> bool {
        matches!(self.warmth, Warmth::Cold { .. })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_ms(seconds * 1000)
    }

    #[test]
    fn warm_is_who_answered_enough_or_long_enough() {
        let ready = Life::new(Phase::Ready { since: at(100) }, at(100));
        for (answered, by, is_cold) in [
            (0.0, 159, true),
            (59.0, 105, true),
            (60.0, 105, false),
            (0.0, 160, false),
        ] {
            let mut life = ready;
            life.answer(answered);
            life.warm_up(at(by));
            assert_eq!(life.is_cold(), is_cold, "{answered} by {by}");
        }
    }

    #[test]
    fn a_restart_makes_cold_again_but_not_a_target_of_which_no_start_is_known() {
        let mut pod = Life::new(Phase::Ready { since: at(100) }, at(900));
        pod.warm_up(at(900));
        assert!(!pod.is_cold());
        pod.restart(at(1000));
        pod.warm_up(at(1059));
        assert!(pod.is_cold());
        pod.warm_up(at(1060));
        assert!(!pod.is_cold());

        let mut host = Life::new(Phase::default(), at(900));
        host.restart(at(1000));
        assert!(!host.is_cold());
    }

    #[test]
    fn a_node_whose_clock_is_ahead_does_not_keep_its_pods_cold() {
        let mut life = Life::new(Phase::Ready { since: at(9_000) }, at(100));
        life.warm_up(at(160));
        assert!(!life.is_cold());
    }

    #[test]
    fn only_who_was_ready_counts_and_there_is_no_way_back() {
        let mut life = Life::new(Phase::Starting, at(0));
        assert!(!life.enter(Phase::Leaving, at(1)));
        assert!(!life.enter(Phase::Ready { since: at(2) }, at(2)));
        assert!(!life.counts());

        let mut life = Life::new(Phase::Starting, at(0));
        assert!(life.enter(Phase::Ready { since: at(2) }, at(2)));
        assert!(!life.enter(Phase::Starting, at(3)));
        assert!(life.counts() && life.left().is_none());
        life.enter(Phase::Leaving, at(4));
        life.enter(Phase::Ready { since: at(5) }, at(5));
        assert_eq!(life.left(), Some(at(4)));
    }
}
