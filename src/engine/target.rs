//! One target: its raw counters made reset-safe, and the tracks they run in.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::model::health::Failure;
use crate::model::phase::Phase;
use crate::model::pod::Pod;
use crate::model::reading::{Backlog, Reading, SeriesReading};
use crate::model::time::Timestamp;

use super::Ingested;
use super::layout::{self, Layout, Layouts, is_sound};
use super::life::Life;
use super::series::Series;
use super::window::{End, Keep, Track};

/// The most series kept for one target. A histogram with twenty routes and ten codes has two hundred.
const SERIES_MAX: usize = 2_000;

/// The most bucket layouts one target may show within the widest window: one, and another after a new version.
const LAYOUTS_PER_TARGET_MAX: usize = 4;

/// Counters that lead each track, before the buckets.
const REQUESTS: usize = 0;
const BUSY_SECONDS: usize = 1;
const LEADING: usize = 2;

/// What is known of one target.
#[derive(Debug)]
pub(super) struct Target {
    /// Since when it is waited for.
    first_seen: Timestamp,
    life: Life,
    /// The pod that it is, where whoever reads wants to know.
    pod: Option<Pod>,
    gone: bool,
    /// When it was told to end, if it still answered then: until that moment it went on as it did.
    answered_until: Option<Timestamp>,
    last_read: Option<Timestamp>,
    last_failure: Option<Failure>,
    series: HashMap<u64, Series>,
    groups: Vec<Group>,
    /// Series that reported no seconds spent: their mean is not known, so neither is the target's.
    lacks_sums: bool,
    /// The newest read left something out, so a series that the next one shows need not be new.
    incomplete: bool,
    in_flight: VecDeque<(Timestamp, f64)>,
    cpu: Option<Cpu>,
    backlogs: Vec<Backlog>,
}

/// CPU seconds used so far, reset-safe as requests are: the newest raw counter, and the sum of its rises.
#[derive(Debug)]
struct Cpu {
    last: f64,
    total: f64,
    track: Track,
}

/// All series of one layout, added up; apart what they counted while the target was cold and while it was warm.
#[derive(Debug)]
struct Group {
    layout: Layout,
    is_cold: bool,
    totals: Vec<f64>,
    track: Track,
}

/// What one target's requests rose by within a window, for one layout.
#[derive(Debug)]
pub(super) struct Rise<'t> {
    /// The layout of the buckets.
    pub(super) layout: &'t Layout,
    /// Whether these requests were answered by a process that had just begun.
    pub(super) is_cold: bool,
    /// Requests.
    pub(super) requests: f64,
    /// Seconds spent on them, where every series says.
    pub(super) busy_s: Option<f64>,
    /// Cumulative buckets.
    pub(super) counts: &'t [f64],
}

/// How a target stands at one instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Standing {
    /// Read lately, and twice within the window.
    Known,
    /// New: it has had no time yet to be read twice.
    Starting,
    /// It should be known by now and is not.
    Unknown,
    /// It has never been ready: nothing of it counts.
    NotReady,
    /// Told to end, and still answering.
    Leaving,
    /// It answers no more, as is expected of it: what it answered is in the window until it is too old.
    Left,
    /// As [`Standing::Left`], and nothing is left of it in the window.
    Past,
}

// === impl Standing ===

impl Standing {
    /// Whether what it answered belongs to what the service answered.
    pub(super) fn counts(self) -> bool {
        matches!(self, Self::Known | Self::Leaving | Self::Left)
    }

    /// Whether its gauges are those of now.
    pub(super) fn answers(self) -> bool {
        matches!(self, Self::Known | Self::Leaving)
    }
}

// === impl Target ===

impl Target {
    /// A target that is first heard of at `now`, in `phase`.
    pub(super) fn new(phase: Phase, now: Timestamp) -> Self {
        Self::begun(Life::new(phase, now), now)
    }

    fn begun(life: Life, now: Timestamp) -> Self {
        Self {
            first_seen: now,
            life,
            pod: None,
            gone: false,
            answered_until: None,
            last_read: None,
            last_failure: None,
            series: HashMap::new(),
            groups: Vec::new(),
            lacks_sums: false,
            incomplete: false,
            in_flight: VecDeque::new(),
            cpu: None,
            backlogs: Vec::new(),
        }
    }

    /// Takes in which pod it is; its labels may change.
    pub(super) fn identify(&mut self, pod: Pod) {
        self.pod = Some(pod);
    }

    /// Forgets what was read of it, but not who it is and where it is in its life.
    pub(super) fn begin_anew(&mut self, now: Timestamp) {
        let pod = self.pod.take();
        *self = Self::begun(self.life.as_of(now), now);
        self.pod = pod;
    }

    /// Takes in where it is in its life. When it becomes ready, its newest read is where everything begins: what it
    /// answered before, to probes or to warm up, was no load. A read older than `max_age` cannot tell that from what
    /// came after, so then the next one is.
    pub(super) fn enter(&mut self, phase: Phase, now: Timestamp, max_age: Duration) {
        let had_left = self.life.left().is_some();
        let is_ready_now = self.life.enter(phase, now);
        if !had_left && self.last_failure.is_none() {
            self.answered_until = self.life.left();
        }
        if !is_ready_now {
            return;
        }
        let Some(last) = self.last_read.filter(|last| now - max_age <= *last) else {
            self.begin_anew(now);
            return;
        };
        self.first_seen = now;
        self.groups.clear();
        self.in_flight
            .drain(..self.in_flight.len().saturating_sub(1));
        if let Some(cpu) = &mut self.cpu {
            cpu.total = 0.0;
            cpu.track = begun_track(1, Some(last));
        }
    }

    /// Takes in what was read at `at`.
    pub(super) fn ingest(
        &mut self,
        at: Timestamp,
        reading: &Reading,
        keep: Keep,
        layouts: &mut Layouts,
    ) -> Ingested {
        let mut outcome = Ingested::default();
        // What was read before the target began anew may still have been on its way.
        let since = self.last_read.unwrap_or(self.first_seen);
        if at + keep.base < since {
            // A wall clock that stepped back would make every read late for as long as the step: begin anew instead.
            self.begin_anew(at);
        } else if at < since || self.last_read == Some(at) {
            outcome.out_of_order = 1;
            return outcome;
        }
        self.life.warm_up(self.last_read.unwrap_or(at));
        self.lacks_sums = false;
        for series in &reading.series {
            self.ingest_series(at, reading, series, layouts, &mut outcome);
        }
        self.incomplete = 0 < reading.bad_lines + outcome.refused + outcome.over_limit;
        self.push_totals(at, keep);
        self.series
            .retain(|_, series| at - keep.widest <= series.seen);
        self.ingest_gauges(at, reading, keep);
        (self.last_read, self.last_failure) = (Some(at), None);
        outcome
    }

    fn ingest_series(
        &mut self,
        at: Timestamp,
        reading: &Reading,
        series: &SeriesReading,
        layouts: &mut Layouts,
        outcome: &mut Ingested,
    ) {
        let (bounds, counts) = (reading.bounds_of(series), reading.counts_of(series));
        let numbers_are_sound = counts
            .iter()
            .chain([&series.count])
            .all(|n| n.is_finite() && 0.0 <= *n);
        if !is_sound(bounds) || !numbers_are_sound || !series.sum.is_none_or(f64::is_finite) {
            outcome.refused += 1;
            return;
        }
        let last = self.series.get(&series.key);
        let known = last.is_some();
        // The counters of a process never fall, so another one counts now.
        if last.is_some_and(|last| last.fell_as_a_whole(series.count, counts)) {
            self.life.restart(at);
        }
        if !known && SERIES_MAX <= self.series.len() {
            outcome.over_limit += 1;
            return;
        }
        self.extend_layout(series, bounds, layouts);
        let Some(group) = self.group(bounds, layouts) else {
            outcome.over_limit += 1;
            return;
        };
        outcome.accepted += 1;
        self.lacks_sums |= series.sum.is_none();
        let sum = series.sum.unwrap_or(0.0);
        let is_new = self.last_read.is_none() || !self.incomplete;
        let group = &mut self.groups[group];
        let last = self
            .series
            .entry(series.key)
            .or_insert_with(|| Series::unseen(&group.layout, at));
        if !known && !is_new {
            last.remember(series.count, sum, counts, at);
            return;
        }
        let is_relaid = known && !Arc::ptr_eq(&last.layout, &group.layout);
        if is_relaid && last.count <= series.count {
            // Other bounds, and no sign of a restart: what it counted before was counted under the old ones.
            outcome.relaid += 1;
            *last = Series::unseen(&group.layout, at);
            last.remember(series.count, sum, counts, at);
            return;
        }
        // A series that was not there before counts from zero, and so does one whose process began anew. Whether that
        // adds to a window is for the track to say: a target's very first point is no increase, whatever it holds.
        if known && series.count < last.count {
            if !is_relaid && last.keeps_buckets(counts) {
                // Requests began anew and buckets did not: they are kept apart, and only one of them was reset.
                outcome.inconsistent += 1;
                last.remember(series.count, sum, counts, at);
                return;
            }
            outcome.resets += 1;
            *last = Series::unseen(&group.layout, at);
        }
        group.totals[REQUESTS] += series.count - last.count;
        self.life.answer(series.count - last.count);
        group.totals[BUSY_SECONDS] += (sum - last.sum).max(0.0);
        outcome.inconsistent += u32::from(!last.add_rises(counts, &mut group.totals[LEADING..]));
        last.remember(series.count, sum, counts, at);
    }

    /// Takes over further bounds of a target's only series, as of a hash in Redis whose fields appear with their first
    /// request: until then nothing was counted between its neighbours. Without this the first slow requests would be
    /// seen only once the layout before them has left the window.
    fn extend_layout(&mut self, series: &SeriesReading, bounds: &[f64], layouts: &mut Layouts) {
        let is_only = self.series.len() == 1;
        let Some(last) = self.series.get_mut(&series.key).filter(|_| is_only) else {
            return;
        };
        let old = Arc::clone(&last.layout);
        let is_cold = self.life.is_cold();
        let is_known = self
            .groups
            .iter()
            .any(|group| group.layout.as_ref() == bounds);
        if is_known || series.count < last.count || !layout::extends(bounds, &old) {
            return;
        }
        let group = self
            .groups
            .iter_mut()
            .find(|group| group.is_cold == is_cold && Arc::ptr_eq(&group.layout, &old));
        let (Some(group), Some(layout)) = (group, layouts.intern(bounds)) else {
            return;
        };
        let lower = layout
            .iter()
            .map(|bound| old.partition_point(|b| b <= bound).checked_sub(1));
        let map: Vec<Option<usize>> = (0..LEADING)
            .map(Some)
            .chain(lower.map(|i| i.map(|i| LEADING + i)))
            .collect();
        group.track.rearrange(&map);
        group.totals = map
            .iter()
            .map(|from| from.map_or(0.0, |from| group.totals[from]))
            .collect();
        last.counts = map[LEADING..]
            .iter()
            .map(|from| from.map_or(0.0, |from| last.counts[from - LEADING]))
            .collect();
        group.layout = Arc::clone(&layout);
        last.layout = layout;
    }

    /// The group of a layout, made when it is new. A group that comes late starts at zero at the last read, so that
    /// what its series counted since then is an increase.
    fn group(&mut self, bounds: &[f64], layouts: &mut Layouts) -> Option<usize> {
        let is_cold = self.life.is_cold();
        let is_alike = |group: &&Group| group.is_cold == is_cold;
        if let Some(i) = self
            .groups
            .iter()
            .position(|group| is_alike(&group) && group.layout.as_ref() == bounds)
        {
            return Some(i);
        }
        if LAYOUTS_PER_TARGET_MAX <= self.groups.iter().filter(is_alike).count() {
            self.groups.retain(|group| {
                !is_alike(&group)
                    || self
                        .series
                        .values()
                        .any(|series| Arc::ptr_eq(&series.layout, &group.layout))
            });
        }
        if LAYOUTS_PER_TARGET_MAX <= self.groups.iter().filter(is_alike).count() {
            return None;
        }
        let layout = layouts.intern(bounds)?;
        self.groups.push(self.begun_group(layout));
        Some(self.groups.len() - 1)
    }

    fn begun_group(&self, layout: Layout) -> Group {
        let width = LEADING + layout.len();
        Group {
            layout,
            is_cold: self.life.is_cold(),
            totals: vec![0.0; width],
            track: begun_track(width, self.last_read),
        }
    }

    fn push_totals(&mut self, at: Timestamp, keep: Keep) {
        let is_cold = self.life.is_cold();
        self.groups
            .retain(|group| group.is_cold == is_cold || !group.track.is_flat());
        for group in &mut self.groups {
            group.track.push(at, group.totals.iter().copied(), keep);
        }
        // A page without any series yet is still a page: an app that has answered nothing has had no traffic.
        if self.groups.is_empty() {
            let mut group = self.begun_group(Arc::from([]));
            group.track.push(at, group.totals.iter().copied(), keep);
            self.groups.push(group);
        }
    }

    fn ingest_gauges(&mut self, at: Timestamp, reading: &Reading, keep: Keep) {
        if let Some(in_flight) = reading.in_flight.filter(|n| n.is_finite() && 0.0 <= *n) {
            self.in_flight.push_back((at, in_flight));
        }
        while self
            .in_flight
            .front()
            .is_some_and(|(oldest, _)| *oldest <= at - keep.base)
        {
            self.in_flight.pop_front();
        }
        if let Some(cpu_s) = reading.cpu_seconds.filter(|n| n.is_finite() && 0.0 <= *n) {
            let cpu = self.cpu.get_or_insert_with(|| Cpu {
                last: 0.0,
                total: 0.0,
                track: Track::new(1),
            });
            cpu.total += if cpu.last <= cpu_s {
                cpu_s - cpu.last
            } else {
                cpu_s
            };
            cpu.last = cpu_s;
            cpu.track.push(at, [cpu.total], keep);
        }
        self.backlogs.clone_from(&reading.backlogs);
    }

    pub(super) fn fail(&mut self, failure: Failure) {
        self.last_failure = Some(failure);
    }

    /// It went away: what it answered stays in the window until it is too old, and nothing is expected of it.
    pub(super) fn leave(&mut self) {
        self.gone = true;
        self.in_flight.clear();
        self.backlogs.clear();
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// A target that left is of no use once its last read is older than the base window, or if it never counted.
    pub(super) fn is_spent(&self, now: Timestamp, keep: Keep) -> bool {
        self.gone && (!self.life.counts() || self.is_past(now, keep.base))
    }

    fn is_past(&self, now: Timestamp, window: Duration) -> bool {
        self.last_read.is_none_or(|last| last <= now - window)
    }

    /// Whether it has been ready.
    pub(super) fn counts(&self) -> bool {
        self.life.counts()
    }

    /// Whether its newest latencies are those of a process that has just begun.
    pub(super) fn is_cold(&self) -> bool {
        self.life.is_cold()
    }

    pub(super) fn pod(&self) -> Option<&Pod> {
        self.pod.as_ref()
    }

    pub(super) fn last_read(&self) -> Option<Timestamp> {
        self.last_read
    }

    pub(super) fn last_failure(&self) -> Option<&Failure> {
        self.last_failure.as_ref()
    }

    pub(super) fn backlogs(&self) -> &[Backlog] {
        &self.backlogs
    }

    /// How it stands at `now`; `max_age` is how old a read may be, and how long a new target may take.
    pub(super) fn standing(&self, now: Timestamp, window: Duration, max_age: Duration) -> Standing {
        if !self.life.counts() {
            return Standing::NotReady;
        }
        let is_known = self.is_fresh(now, max_age)
            && self
                .groups
                .iter()
                .any(|group| group.track.covers(now, window));
        if self.gone || self.life.left().is_some() {
            return match (is_known, self.is_past(now, window)) {
                (true, _) if !self.gone && self.last_failure.is_none() => Standing::Leaving,
                (_, false) => Standing::Left,
                (_, true) => Standing::Past,
            };
        }
        if is_known {
            return Standing::Known;
        }
        if now - max_age <= self.first_seen {
            Standing::Starting
        } else {
            Standing::Unknown
        }
    }

    /// Whether its newest read is no older than `max_age`: enough for a gauge, which needs no second read.
    pub(super) fn is_fresh(&self, now: Timestamp, max_age: Duration) -> bool {
        self.last_read.is_some_and(|last| now - max_age <= last)
    }

    /// Calls `each` with the rise of every layout within the window that ends at `now`.
    pub(super) fn rises(
        &self,
        now: Timestamp,
        window: Duration,
        scratch: &mut Vec<f64>,
        mut each: impl FnMut(Rise<'_>),
    ) {
        for group in &self.groups {
            let end = self.end_of(group);
            if group.track.increases(now, window, end, scratch) {
                each(Rise {
                    layout: &group.layout,
                    is_cold: group.is_cold,
                    requests: scratch[REQUESTS],
                    busy_s: (!self.lacks_sums).then_some(scratch[BUSY_SECONDS]),
                    counts: &scratch[LEADING..],
                });
            }
        }
    }

    /// Requests answered within the window that ends at `now`, and the seconds spent on them where every series says.
    pub(super) fn answered(
        &self,
        now: Timestamp,
        window: Duration,
        scratch: &mut Vec<f64>,
    ) -> (f64, Option<f64>) {
        let (mut requests, mut busy_s) = (0.0, 0.0);
        for group in &self.groups {
            let end = self.end_of(group);
            let track = &group.track;
            if track.leading_increases(now, window, end, LEADING, scratch) {
                requests += scratch[REQUESTS];
                busy_s += scratch[BUSY_SECONDS];
            }
        }
        (requests, (!self.lacks_sums).then_some(busy_s))
    }

    /// CPU seconds used within the window that ends at `now`; `None` when the target does not report them.
    pub(super) fn cpu_s(
        &self,
        now: Timestamp,
        window: Duration,
        scratch: &mut Vec<f64>,
    ) -> Option<f64> {
        let track = &self.cpu.as_ref()?.track;
        let is_known = track.increases(now, window, self.end(), scratch);
        Some(if is_known { scratch[0] } else { 0.0 })
    }

    /// While it was cold or warm, and is so no longer, its requests are counted in another group.
    fn end_of(&self, group: &Group) -> End {
        if group.is_cold == self.life.is_cold() {
            self.end()
        } else {
            End::Final
        }
    }

    /// One that could not be read any more before it was told to end may have answered nothing for long. Of one that
    /// could, only the last few seconds before it was told are not known, and they were like those before: leaving
    /// them out would show each step of a rollout as a dip.
    fn end(&self) -> End {
        match (self.life.left(), self.answered_until) {
            (_, Some(left)) => End::Until(left),
            (Some(_), None) => End::Final,
            (None, None) if self.gone => End::Final,
            (None, None) => End::Extrapolated,
        }
    }

    /// The mean number of requests in flight within the window, and how much it rose from its start to its end.
    pub(super) fn in_flight(&self, now: Timestamp, window: Duration) -> Option<(f64, f64)> {
        let within = || {
            self.in_flight
                .iter()
                .filter(|(at, _)| now - window < *at)
                .map(|(_, n)| *n)
        };
        let (first, last) = (within().next()?, within().next_back()?);
        Some((
            within().sum::<f64>() / within().count() as f64,
            last - first,
        ))
    }
}

/// A track that begins at zero with the read before its first, where there was one.
fn begun_track(width: usize, last_read: Option<Timestamp>) -> Track {
    let mut track = Track::new(width);
    if let Some(last) = last_read {
        let keep = Keep {
            base: Duration::MAX,
            widest: Duration::MAX,
        };
        track.push(last, std::iter::repeat_n(0.0, width), keep);
    }
    track
}
