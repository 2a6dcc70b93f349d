//! Plays every variant, as many at once as there are cores, and says now and then how far they are. The order in which
//! they end makes no difference to what comes of them.

use std::collections::BTreeMap;
use std::num::NonZero;
use std::ops::ControlFlow;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use taffrail_loadtest::judge::verdict::{Verdict, judge_all};
use taffrail_loadtest::recording::Recording;
use taffrail_loadtest::report::Report;
use taffrail_loadtest::report::html::compare::Compared;
use taffrail_loadtest::scenario::Slo;

use super::summary;
use super::variants::Variant;
use crate::clock;
use crate::sim::{self, Oracle, Outcome};

/// How long it takes before it is worth saying how far it is, and how often that is said again.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// A variant that was played.
#[derive(Debug)]
pub(super) struct Played {
    pub(super) name: String,
    pub(super) recording: Recording,
    pub(super) verdict: Verdict,
    /// What came of each service.
    pub(super) outcomes: BTreeMap<String, Outcome>,
}

/// What the services are held against, alike for all variants.
#[derive(Debug, Default)]
pub(super) struct Yardsticks(pub(super) BTreeMap<String, Yardstick>);

/// What a service is held against.
#[derive(Debug, Default)]
pub(super) struct Yardstick {
    pub(super) slo: Option<Slo>,
    /// `None` where nothing tells what would be enough, and for a service that nothing scales.
    pub(super) oracle: Option<Oracle>,
}

/// How far all are, told to a person.
struct Progress<'a> {
    /// Of each, in thousandths.
    parts: Vec<AtomicU64>,
    whole_s: f64,
    begin: Instant,
    said: Mutex<Option<Instant>>,
    stop: &'a AtomicBool,
    says: bool,
}

impl Yardsticks {
    /// Of a service that any variant scales, all that can be told.
    pub(super) fn of(variants: &[Variant]) -> Self {
        let mut yardsticks = BTreeMap::new();
        let Some(first) = variants.first() else {
            return Self::default();
        };
        for service in first.plan.services() {
            let slo = first.plan.slo(service);
            let is_scaled = variants
                .iter()
                .any(|variant| variant.plan.scaled().any(|scaled| scaled == service));
            let oracle = slo.filter(|_| is_scaled);
            let oracle = oracle.and_then(|slo| first.plan.oracle(service, slo));
            yardsticks.insert(service.to_owned(), Yardstick { slo, oracle });
        }
        Self(yardsticks)
    }
}

/// Plays them, and says how long it took.
pub(super) fn play(
    variants: &[Variant],
    stop: &AtomicBool,
    says: bool,
) -> (Vec<Played>, Yardsticks, Duration) {
    let begin = clock::instant();
    let whole_s = variants
        .first()
        .map_or(0.0, |variant| variant.plan.duration().as_secs_f64());
    let progress = Progress {
        parts: variants.iter().map(|_| AtomicU64::new(0)).collect(),
        whole_s,
        begin,
        said: Mutex::new(None),
        stop,
        says,
    };
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let recordings: Vec<Mutex<Option<Recording>>> =
        variants.iter().map(|_| Mutex::default()).collect();
    let work = || {
        loop {
            let nth = next.fetch_add(1, Ordering::Relaxed);
            let Some((variant, place)) = variants.get(nth).zip(recordings.get(nth)) else {
                return;
            };
            let recording = sim::play(&variant.plan, &mut |t_s| progress.heard(nth, t_s));
            if let Ok(mut place) = place.lock() {
                *place = Some(recording);
            }
        }
    };
    let yardsticks = thread::scope(|scope| {
        for _ in 1..cores.min(variants.len()) {
            scope.spawn(work);
        }
        work();
        Yardsticks::of(variants)
    });
    progress.end();
    let played = variants
        .iter()
        .zip(recordings)
        .filter_map(|(variant, place)| {
            let mut recording = place.into_inner().ok()??;
            if 1 < variants.len() {
                let facts = &mut recording.about.facts;
                facts.insert("hpa".to_owned(), variant.name.clone());
            }
            Some(judged(variant, recording, &yardsticks))
        });
    let played = played.collect();
    (played, yardsticks, clock::instant() - begin)
}

fn judged(variant: &Variant, recording: Recording, yardsticks: &Yardsticks) -> Played {
    let verdict = judge_all(&recording, None);
    let outcomes = yardsticks.0.iter().filter_map(|(service, yardstick)| {
        let outcome = Outcome::of(
            &recording,
            service,
            yardstick.slo,
            yardstick.oracle.as_ref(),
        );
        Some((service.clone(), outcome?))
    });
    let outcomes = outcomes.collect();
    Played {
        name: variant.name.clone(),
        recording,
        verdict,
        outcomes,
    }
}

impl Played {
    pub(super) fn report(&self) -> Report<'_> {
        Report {
            recording: &self.recording,
            verdict: &self.verdict,
        }
    }

    pub(super) fn compared(&self) -> Compared<'_> {
        Compared {
            name: &self.name,
            report: self.report(),
        }
    }
}

impl Progress<'_> {
    /// One is at `t_s`; whether it should go on.
    fn heard(&self, nth: usize, t_s: f64) -> ControlFlow<()> {
        if self.stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        if self.says {
            let share = (t_s / self.whole_s).clamp(0.0, 1.0);
            self.parts[nth].store((share * 1000.0) as u64, Ordering::Relaxed);
            self.say();
        }
        ControlFlow::Continue(())
    }

    fn say(&self) {
        let now = clock::instant();
        // Who finds it taken has nothing to add.
        let Ok(mut said) = self.said.try_lock() else {
            return;
        };
        if now - said.unwrap_or(self.begin) < PROGRESS_EVERY {
            return;
        }
        *said = Some(now);
        let parts = self.parts.iter().map(|part| part.load(Ordering::Relaxed));
        let share = parts.sum::<u64>() as f64 / (10 * self.parts.len()) as f64;
        let each = match self.parts.len() {
            1 => String::new(),
            several => format!("{several} times "),
        };
        let whole = summary::span(self.whole_s);
        eprint!("\rsimulated {share:.0} % of {each}{whole}  ");
    }

    fn end(&self) {
        if self.said.lock().is_ok_and(|said| said.is_some()) {
            eprint!("\r{:60}\r", "");
        }
    }
}
