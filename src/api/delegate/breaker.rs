//! When the delegate is left alone: a state machine over the time it is given, without a clock of its own.

use std::time::{Duration, Instant};

/// Counts failures in a row; after enough of them it admits nobody for a while, and then one at a time.
#[derive(Debug)]
pub(super) struct Breaker {
    failures_max: u32,
    pause: Duration,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// Everybody is admitted; so many failed since the last answer.
    Closed { failures: u32 },
    /// Nobody is admitted before this instant, and one from then on.
    Open { until: Instant },
}

impl Breaker {
    pub(super) fn new(failures_max: u32, pause: Duration) -> Self {
        Self {
            failures_max,
            pause,
            state: State::Closed { failures: 0 },
        }
    }

    /// Whether a request may be sent now. After the pause that is one; if nothing is ever heard of it, another after
    /// another pause, so that a lost verdict does not leave the delegate alone for ever.
    pub(super) fn admits(&mut self, now: Instant) -> bool {
        match self.state {
            State::Closed { .. } => true,
            State::Open { until } if until <= now => {
                self.state = State::Open {
                    until: now + self.pause,
                };
                true
            }
            State::Open { .. } => false,
        }
    }

    /// An answer came, whatever it said. One that was long under way counts too: it shows that the delegate is there.
    pub(super) fn answered(&mut self) {
        self.state = State::Closed { failures: 0 };
    }

    /// No answer came. Says whether the delegate is left alone from now on.
    pub(super) fn failed(&mut self, now: Instant) -> bool {
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                let is_enough = self.failures_max <= *failures;
                if is_enough {
                    self.state = State::Open {
                        until: now + self.pause,
                    };
                }
                is_enough
            }
            // Requests from before, or the one that tried: the pause runs already.
            State::Open { .. } => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(5);

    fn tripped(now: Instant) -> Breaker {
        let mut breaker = Breaker::new(3, PAUSE);
        for nth in 1..=3 {
            assert!(breaker.admits(now));
            assert_eq!(breaker.failed(now), nth == 3);
        }
        breaker
    }

    #[test]
    fn failures_in_a_row_open_it_and_an_answer_in_between_starts_anew() {
        let now = crate::clock::instant();
        let mut breaker = Breaker::new(3, PAUSE);
        for _ in 0..10 {
            assert!(!breaker.failed(now));
            assert!(!breaker.failed(now));
            breaker.answered();
        }
        assert!(breaker.admits(now));
        assert!(!tripped(now).admits(now));
    }

    #[test]
    fn after_the_pause_one_request_tries_and_the_others_wait_for_its_verdict() {
        let now = crate::clock::instant();
        let mut breaker = tripped(now);
        assert!(!breaker.admits(now + PAUSE - Duration::from_millis(1)));
        let then = now + PAUSE;
        assert!(breaker.admits(then));
        assert!(!breaker.admits(then));
        breaker.answered();
        assert!(breaker.admits(then) && breaker.admits(then));
    }

    #[test]
    fn a_try_that_fails_keeps_it_open_for_another_pause() {
        let now = crate::clock::instant();
        let mut breaker = tripped(now);
        let then = now + PAUSE;
        assert!(breaker.admits(then));
        assert!(breaker.failed(then + Duration::from_secs(1)));
        assert!(!breaker.admits(then + Duration::from_secs(2)));
        assert!(breaker.admits(then + PAUSE));
    }

    #[test]
    fn a_try_that_is_never_heard_of_is_followed_by_another() {
        let now = crate::clock::instant();
        let mut breaker = tripped(now);
        assert!(breaker.admits(now + PAUSE));
        assert!(!breaker.admits(now + PAUSE));
        assert!(breaker.admits(now + 2 * PAUSE));
    }

    #[test]
    fn late_failures_do_not_prolong_the_pause() {
        let now = crate::clock::instant();
        let mut breaker = tripped(now);
        assert!(breaker.failed(now + PAUSE - Duration::from_millis(1)));
        assert!(breaker.admits(now + PAUSE));
    }

    #[test]
    fn a_late_answer_closes_it() {
        let now = crate::clock::instant();
        let mut breaker = tripped(now);
        breaker.answered();
        assert!(breaker.admits(now));
    }
}
