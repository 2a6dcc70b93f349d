//! Windows, quantiles, value states: what was read becomes what is served.
//!
//! Three verbs: [`Engine::ingest`] takes in a read, [`Engine::forget`] a target that went away, and
//! [`Engine::evaluate`] makes the [`Snapshot`] of an instant. The engine has one owner, knows no clock and cannot
//! fail: it returns what it did and leaves logging and counting to its owner.
//!
//! Rules that are decided here:
//! - Increases are per series and reset-safe, added up per target, and extended to the window's edges as Prometheus
//!   does ([`quantile`] and `window` cite it). Two deliberate differences, both towards the truth: requests that fell
//!   reset their whole histogram while a bucket that falls alone resets nothing, and a series that appears on a target
//!   we already read counts from zero.
//! - Buckets of all targets are added before the quantile, so each target weighs as much as it answers. Where layouts
//!   differ, counts are added on the bounds that all layouts have: a cumulative count is exact on its own bounds.
//! - A forgotten target's requests stay until they leave the window (they were real, and dropping them at once would
//!   make a scale-in look like falling load). Its gauges go at once. Nothing is extrapolated past its last read, but for
//!   the seconds from there until it was told to end, where it could be read until then.
//! - A target that should answer and does not is unknown, and nothing of it is counted.
//! - A target counts from its newest read when it became ready, and until it was told to end or its last read after it;
//!   before and after, nothing is missing without it. One that was never ready moves no value.
//! - The first requests of a process are slow for reasons that more processes do not mend: they are load, but their
//!   latencies count only where there are too few others to judge by.

pub mod layout;
pub mod quantile;
pub mod snapshot;

mod life;
mod merge;
mod series;
mod target;
mod window;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::model::health::{Failure, FailureReason};
use crate::model::id::{ServiceId, TargetId};
use crate::model::phase::Phase;
use crate::model::pod::Pod;
use crate::model::reading::Batch;
use crate::model::time::Timestamp;

use layout::Layouts;
use merge::{Judged, Merger};
use snapshot::{BacklogView, Coverage, Load, Merged, PodView, ServiceView, Snapshot, State};
use target::{Standing, Target};
use window::Keep;

/// The widest window a quantile may be taken over when requests are few. Older requests say nothing of now.
pub const WIDEST_WINDOW: Duration = Duration::from_secs(600);

/// How many requests must lie beyond a quantile for it to be judged: with fewer than three, one slow request is the
/// answer. 60 requests for 0.95, 300 for 0.99.
pub const REQUESTS_BEYOND_QUANTILE: f64 = 3.0;

/// The largest share of targets that may be unknown: with four fifths of the answers the rest is an estimate, with
/// fewer it is a guess, and the HPA would take a partial sum for the whole.
pub const UNKNOWN_SHARE_MAX: f64 = 0.2;

/// The quantile that needs the most requests of those commonly asked for.
const FINEST_QUANTILE: f64 = 0.99;

/// A read is fresh for this many intervals: one scrape may fail without losing the target.
const FRESH_INTERVALS: f64 = 2.5;

/// What is wanted of one service.
#[derive(Clone, PartialEq, Debug)]
pub struct ServiceSpec {
    /// Whose requests these are.
    pub id: ServiceId,
    /// How often its targets are read.
    pub interval: Duration,
    /// The window of rates and quantiles.
    pub window: Duration,
    /// What its users were promised.
    pub objective: Option<Objective>,
    /// Whether its targets report requests; a service may be read for its backlog alone.
    pub has_requests: bool,
}

/// The share `quantile` of requests is answered within `latency`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Objective {
    /// Above 0 and below 1.
    pub quantile: f64,
    /// The promised latency.
    pub latency: Duration,
}

/// What became of one read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Ingested {
    /// Series taken in.
    pub accepted: u32,
    /// Series whose counters fell.
    pub resets: u32,
    /// Series whose buckets contradicted their requests: what cannot be was cut or left out.
    pub inconsistent: u32,
    /// Series whose bucket bounds changed without a restart; they begin a new baseline.
    pub relaid: u32,
    /// Series with a NaN, a negative count, or bounds that do not ascend.
    pub refused: u32,
    /// Series beyond a bound: of series per target, or of bucket layouts.
    pub over_limit: u32,
    /// 1 when the whole read came after a newer one and was dropped.
    pub out_of_order: u32,
    /// 1 when the read was of a service or target that is not wanted (any more).
    pub unwanted: u32,
}

/// Every window of every target of every service.
#[derive(Debug, Default)]
pub struct Engine {
    services: BTreeMap<ServiceId, Service>,
}

#[derive(Debug)]
struct Service {
    spec: ServiceSpec,
    targets: BTreeMap<Arc<str>, Target>,
    /// Its own, so that a service that makes up bounds takes no layout from another.
    layouts: Layouts,
}

/// A target, and how it stands at the moment of which a snapshot is made.
#[derive(Clone, Copy, Debug)]
struct Stood<'t> {
    target: &'t Target,
    standing: Standing,
}

// === impl Engine ===

impl Engine {
    /// Replaces the set of services. One whose spec is unchanged keeps its windows; one whose window or interval
    /// changed keeps its targets' reads as far as the old window went.
    pub fn configure(&mut self, specs: impl IntoIterator<Item = ServiceSpec>) {
        let mut before = std::mem::take(&mut self.services);
        for spec in specs {
            let (targets, layouts) = before
                .remove(&spec.id)
                .map(|service| (service.targets, service.layouts))
                .unwrap_or_default();
            let id = spec.id.clone();
            let service = Service {
                spec,
                targets,
                layouts,
            };
            self.services.insert(id, service);
        }
    }

    /// Says that a target exists and where it is in its life: before it is read for the first time, and whenever that
    /// changes. One that went away and is back is a new one.
    pub fn expect(&mut self, target: &TargetId, phase: Phase, now: Timestamp) {
        let Some(service) = self.services.get_mut(&target.service) else {
            return;
        };
        let max_age = service.spec.max_age();
        match service.targets.get_mut(&target.name) {
            Some(known) if !known.is_gone() => known.enter(phase, now, max_age),
            _ => {
                let new = Target::new(phase, now);
                service.targets.insert(Arc::clone(&target.name), new);
            }
        }
    }

    /// Says which pod a target is. Pods that are known so are in the snapshot one by one.
    pub fn identify(&mut self, target: &TargetId, pod: Pod) {
        let service = self.services.get_mut(&target.service);
        if let Some(known) = service.and_then(|service| service.targets.get_mut(&target.name)) {
            known.identify(pod);
        }
    }

    /// Says that something else is read of a target from `now` on. What it counts then does not continue what it
    /// counted before, so the two must never be subtracted: that would be load nobody had.
    pub fn begin_anew(&mut self, target: &TargetId, now: Timestamp) {
        if let Some(known) = self.target(target, now) {
            known.begin_anew(now);
        }
    }

    /// A target of a service that is wanted; new since `now` if it is not known.
    fn target(&mut self, target: &TargetId, now: Timestamp) -> Option<&mut Target> {
        let targets = &mut self.services.get_mut(&target.service)?.targets;
        let target = targets.entry(Arc::clone(&target.name));
        Some(target.or_insert_with(|| Target::new(Phase::default(), now)))
    }

    /// Takes in one read of one target.
    pub fn ingest(&mut self, batch: &Batch) -> Ingested {
        let Some(service) = self.services.get_mut(&batch.target.service) else {
            return Ingested {
                unwanted: 1,
                ..Ingested::default()
            };
        };
        let keep = service.spec.keep();
        let target = service
            .targets
            .entry(Arc::clone(&batch.target.name))
            .or_insert_with(|| Target::new(Phase::default(), batch.at));
        if target.is_gone() {
            return Ingested {
                unwanted: 1,
                ..Ingested::default()
            };
        }
        target.ingest(batch.at, &batch.reading, keep, &mut service.layouts)
    }

    /// Takes in that a target could not be read.
    pub fn fail(&mut self, target: &TargetId, failure: Failure, now: Timestamp) {
        if let Some(target) = self.target(target, now) {
            target.fail(failure);
        }
    }

    /// Takes in that a target went away. Its requests leave the window as they age; it is not waited for.
    pub fn forget(&mut self, target: &TargetId) {
        let service = self.services.get_mut(&target.service);
        if let Some(target) = service.and_then(|service| service.targets.get_mut(&target.name)) {
            target.leave();
        }
    }

    /// Every metric of every service at `now`.
    pub fn evaluate(&mut self, now: Timestamp) -> Snapshot {
        for service in self.services.values_mut() {
            let keep = service.spec.keep();
            service
                .targets
                .retain(|_, target| !target.is_spent(now, keep));
        }
        let mut merger = Merger::default();
        Snapshot::new(
            now,
            self.services
                .values()
                .map(|service| service.evaluate(now, &mut merger))
                .collect(),
        )
    }
}

// === impl Service ===

impl Service {
    fn evaluate(&self, now: Timestamp, merger: &mut Merger) -> ServiceView {
        let targets = self.stood(now);
        let coverage = coverage(&targets);
        let state = self.state(&coverage);
        let windows = match state {
            State::Unknown(_) => Vec::new(),
            _ if !self.spec.has_requests => Vec::new(),
            _ => self.windows(&targets, now, merger),
        };
        ServiceView {
            id: self.spec.id.clone(),
            objective: self.spec.objective,
            at: self.oldest_fresh_read(now).unwrap_or(now),
            state: if windows.first().is_some_and(|base| base.requests <= 0.0) {
                state.without_traffic()
            } else {
                state
            },
            in_flight: self.in_flight(&targets, now),
            windows,
            backlogs: self.backlogs(now),
            pods: self.pods(&targets, now),
            coverage,
        }
    }

    /// Its targets as they stand at `now`: told once, since all that is made of them asks.
    fn stood(&self, now: Timestamp) -> Vec<Stood<'_>> {
        let (window, max_age) = (self.spec.window, self.spec.max_age());
        let targets = self.targets.values();
        targets
            .map(|target| Stood {
                target,
                standing: target.standing(now, window, max_age),
            })
            .collect()
    }

    fn state(&self, coverage: &Coverage) -> State {
        let known = coverage.answering();
        let settled = known + coverage.unknown;
        if known == 0 {
            return State::Unknown(self.why_unknown(coverage));
        }
        let unknown_share = f64::from(coverage.unknown) / f64::from(settled);
        if UNKNOWN_SHARE_MAX < unknown_share {
            let why = format!(
                "{} of {settled} targets cannot be read{}",
                coverage.unknown,
                coverage.reasons()
            );
            return State::Unknown(why);
        }
        if 0 < coverage.unknown {
            State::Partial { known, of: settled }
        } else {
            State::Ok
        }
    }

    /// Why not one target is known. The sentence goes into the HPA's events: reasons, but no addresses.
    fn why_unknown(&self, coverage: &Coverage) -> String {
        let total = coverage.starting + coverage.unknown;
        if total == 0 && 0 < coverage.not_ready {
            let pods = coverage.not_ready;
            return format!("none of its {pods} pods has become ready yet");
        }
        if total == 0 {
            return "it has no targets".to_owned();
        }
        if !coverage.failures.is_empty() {
            return format!(
                "none of its {total} targets can be read{}",
                coverage.reasons()
            );
        }
        if 0 < coverage.starting {
            return format!(
                "none of its {total} targets has been read twice yet, which a rate needs"
            );
        }
        format!(
            "nothing was read from its {total} targets for {}",
            humantime::format_duration(self.spec.max_age())
        )
    }

    /// The windows in which only warm targets are judged, or, where those answered too few requests for the objective,
    /// as after all were replaced at once, the windows in which the cold ones are judged as well.
    fn windows(&self, targets: &[Stood<'_>], now: Timestamp, merger: &mut Merger) -> Vec<Merged> {
        let warm = self.windows_of(Judged::Warm, targets, now, merger);
        let is_enough = warm.last().is_some_and(|widest| {
            let q = self
                .spec
                .objective
                .map_or(FINEST_QUANTILE, |objective| objective.quantile);
            widest.requests <= widest.judged || enough_requests(widest.judged, q)
        });
        if is_enough {
            warm
        } else {
            self.windows_of(Judged::All, targets, now, merger)
        }
    }

    /// The base window, then wider ones for as long as requests are too few for some quantile people ask for.
    fn windows_of(
        &self,
        judged: Judged,
        targets: &[Stood<'_>],
        now: Timestamp,
        merger: &mut Merger,
    ) -> Vec<Merged> {
        let mut windows = Vec::with_capacity(1);
        let mut window = self.spec.window;
        loop {
            let counting = targets.iter().filter(|stood| stood.standing.counts());
            let merged = merger.merge(now, window, judged, counting.map(|stood| stood.target));
            let settled =
                enough_requests(merged.judged, self.finest_quantile()) || merged.requests <= 0.0;
            windows.push(merged);
            if settled || WIDEST_WINDOW <= window {
                return windows;
            }
            window = (window * 2).min(WIDEST_WINDOW);
        }
    }

    /// The quantile that needs the most requests of those commonly asked for.
    fn finest_quantile(&self) -> f64 {
        self.spec.objective.map_or(FINEST_QUANTILE, |objective| {
            objective.quantile.max(FINEST_QUANTILE)
        })
    }

    /// Mean requests in flight over the window and their rise, where every target that counts has the gauge.
    fn in_flight(&self, targets: &[Stood<'_>], now: Timestamp) -> Option<(f64, f64)> {
        let (mut mean, mut rise, mut count) = (0.0, 0.0, 0);
        for target in answering(targets) {
            let (n, change) = target.in_flight(now, self.spec.window)?;
            (mean, rise, count) = (mean + n, rise + change, count + 1);
        }
        (0 < count).then_some((mean, rise))
    }

    fn backlogs(&self, now: Timestamp) -> Vec<BacklogView> {
        let stale = || {
            Failure::new(
                FailureReason::Timeout,
                "its Redis server has not answered lately",
            )
        };
        let mut views: Vec<BacklogView> = Vec::new();
        for target in self.counting() {
            let fresh = target.is_fresh(now, self.spec.max_age());
            for backlog in target.backlogs() {
                let items = if fresh {
                    backlog.items.clone()
                } else {
                    Err(target.last_failure().cloned().unwrap_or_else(stale))
                };
                views.push(BacklogView {
                    key: Arc::clone(&backlog.key),
                    items,
                });
            }
        }
        views
    }

    /// What each pod answers, of those that answer now. One of which nothing is known is missing: what to make of that
    /// is for the reader to say, who knows which pods there are.
    fn pods(&self, targets: &[Stood<'_>], now: Timestamp) -> Vec<PodView> {
        let mut scratch = Vec::new();
        let window = self.spec.window;
        let view = |target: &Target| {
            let pod = target.pod()?;
            let at = target.last_read()?;
            let (requests, busy_s) = target.answered(now, window, &mut scratch);
            Some(PodView {
                pod: pod.clone(),
                at,
                load: Load {
                    window,
                    requests,
                    busy_s,
                    in_flight: target.in_flight(now, window),
                },
            })
        };
        answering(targets).filter_map(view).collect()
    }

    /// The age of the snapshot's oldest part: the earliest of the fresh targets' newest reads.
    fn oldest_fresh_read(&self, now: Timestamp) -> Option<Timestamp> {
        let fresh = self
            .counting()
            .filter(|target| target.is_fresh(now, self.spec.max_age()));
        fresh.filter_map(Target::last_read).min()
    }

    fn live(&self) -> impl Iterator<Item = &Target> {
        self.targets.values().filter(|target| !target.is_gone())
    }

    /// The live ones that have been ready.
    fn counting(&self) -> impl Iterator<Item = &Target> {
        self.live().filter(|target| target.counts())
    }
}

// === impl ServiceSpec ===

impl ServiceSpec {
    /// How old a target's newest read may be before the target counts as unknown.
    pub fn max_age(&self) -> Duration {
        self.interval.mul_f64(FRESH_INTERVALS)
    }

    fn keep(&self) -> Keep {
        Keep {
            base: self.window,
            widest: WIDEST_WINDOW.max(self.window),
        }
    }
}

fn coverage(targets: &[Stood<'_>]) -> Coverage {
    let mut coverage = Coverage::default();
    for Stood { target, standing } in live(targets) {
        match standing {
            Standing::Known => coverage.known += 1,
            Standing::Starting => coverage.starting += 1,
            Standing::Unknown => coverage.unknown += 1,
            Standing::NotReady => coverage.not_ready += 1,
            Standing::Leaving => coverage.leaving += 1,
            Standing::Left | Standing::Past => {}
        }
        coverage.cold += u32::from(standing.answers() && target.is_cold());
        let is_waited_for = matches!(
            standing,
            Standing::Known | Standing::Starting | Standing::Unknown
        );
        if let Some(failure) = target.last_failure().filter(|_| is_waited_for) {
            *coverage.failures.entry(failure.reason).or_insert(0) += 1;
        }
    }
    coverage
}

/// Those that have not gone away.
fn live<'s, 't>(targets: &'s [Stood<'t>]) -> impl Iterator<Item = &'s Stood<'t>> {
    targets.iter().filter(|stood| !stood.target.is_gone())
}

/// Those whose gauges are those of now.
fn answering<'t>(targets: &[Stood<'t>]) -> impl Iterator<Item = &'t Target> {
    let answers = |stood: &&Stood<'_>| stood.standing.answers();
    live(targets).filter(answers).map(|stood| stood.target)
}

/// Whether `requests` are enough to judge the quantile `q`: see [`REQUESTS_BEYOND_QUANTILE`].
pub(crate) fn enough_requests(requests: f64, q: f64) -> bool {
    REQUESTS_BEYOND_QUANTILE <= requests * (1.0 - q) * (1.0 + f64::EPSILON)
}
