//! Puts together what the threads of a load tell, once a second and at the end, and passes it on to whoever watches.

use std::time::Duration;

use tokio::sync::{mpsc, watch};

use super::core::Told;
use crate::measured::recorder::Recorder;
use crate::measured::{Measured, Progress, SoFar};

/// Everything that was told so far.
#[derive(Debug)]
pub(super) struct Gathering {
    recorder: Recorder,
    threads: Vec<Far>,
    /// The second that was last passed on.
    passed: u64,
    progress: Option<mpsc::Sender<Progress>>,
    so_far: Option<watch::Sender<SoFar>>,
    /// Whether each second is told with it.
    pub(super) tell_seconds: bool,
}

/// How far a thread is.
#[derive(Debug, Clone, Copy, Default)]
struct Far {
    second: u64,
    upcoming: u64,
    in_flight: u64,
}

impl Far {
    const DONE: Self = Self {
        second: u64::MAX,
        upcoming: u64::MAX,
        in_flight: 0,
    };
}

impl Gathering {
    pub(super) fn new(
        recorder: Recorder,
        threads: usize,
        progress: Option<mpsc::Sender<Progress>>,
        so_far: Option<watch::Sender<SoFar>>,
    ) -> Self {
        Self {
            recorder,
            threads: vec![Far::default(); threads],
            passed: 0,
            progress,
            so_far,
            tell_seconds: false,
        }
    }

    /// Takes in what thread `index` tells.
    pub(super) fn hear(&mut self, index: usize, told: Told) {
        self.threads[index] = match told {
            Told::Ready => return,
            Told::Second(second, part) => {
                let far = Far {
                    second,
                    upcoming: part.upcoming,
                    in_flight: part.in_flight,
                };
                self.recorder.absorb(part);
                far
            }
            Told::Done(mut recorder) => {
                self.recorder.absorb(recorder.take_part());
                self.recorder.absorb_totals(&recorder);
                Far::DONE
            }
        };
        self.pass_on();
    }

    /// What was measured, when all threads are done.
    pub(super) fn finish(mut self, elapsed: Duration, interrupted: bool) -> Measured {
        self.tell_so_far();
        let (measured, rest) = self.recorder.finish(elapsed, interrupted);
        send(self.progress.as_ref(), rest);
        measured
    }

    /// Passes on the seconds that every thread has told.
    fn pass_on(&mut self) {
        let threads = || self.threads.iter();
        let second = threads().map(|far| far.second).min().unwrap_or(u64::MAX);
        if second == u64::MAX || second <= self.passed {
            return;
        }
        self.passed = second;
        let upcoming = threads().map(|far| far.upcoming).min().unwrap_or(u64::MAX);
        let in_flight = threads().map(|far| far.in_flight).sum();
        self.recorder.expect(upcoming, in_flight);
        let published = self.recorder.advance(second);
        send(self.progress.as_ref(), published);
        self.tell_so_far();
    }

    fn tell_so_far(&mut self) {
        if let Some(so_far) = &self.so_far {
            let mut known = self.recorder.so_far();
            if self.tell_seconds {
                known.slots = self.recorder.published();
            }
            so_far.send_replace(known);
        }
    }
}

fn send(progress: Option<&mpsc::Sender<Progress>>, seconds: impl IntoIterator<Item = Progress>) {
    let Some(progress) = progress else { return };
    for second in seconds {
        // A reader that is slow or gone must not hold up the run; what was measured has every second anyway.
        let _ = progress.try_send(second);
    }
}
