//! A target's recent counters, and what they rose by within a window.
//!
//! A [`Track`] holds points of several counters that were read at the same instants: requests, seconds spent, and the
//! cumulative buckets. Resets are gone before anything gets here, so each counter only rises. The increase over a
//! window is the one Prometheus' `increase()` yields for the same points.

use std::collections::VecDeque;
use std::time::Duration;

use crate::model::time::Timestamp;

/// The most points a track keeps. A window of ten minutes read every second needs 600.
const POINTS_MAX: usize = 1024;

/// Older than the base window, one point in this share of it is kept: enough to widen the window, and a tenth of the
/// memory of keeping all.
const COARSE_SHARE: u32 = 2;

/// An edge of the window that is nearer than this many mean spacings is reached by the points before it, as it would
/// be by the next one. Source: `extrapolationThreshold` in Prometheus' `promql/functions.go`.
const REACH_SPACINGS: f64 = 1.1;

/// Points of `width` counters, oldest first.
#[derive(Debug)]
pub(super) struct Track {
    width: usize,
    times: VecDeque<Timestamp>,
    /// `width` values for each of `times`, so that a track is two allocations however long it grows.
    values: VecDeque<f64>,
}

/// How the edges of a window were extrapolated; the same for every counter of a track but for the zero point.
#[derive(Clone, Copy, Debug)]
struct Edges {
    sampled_s: f64,
    start_s: f64,
    end_s: f64,
}

/// What may be assumed past the newest point.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// The target lives: it goes on as it did.
    Extrapolated,
    /// The target went on as it did until this instant, when it was told to end: after it, only what was read counts.
    Until(Timestamp),
    /// The target is gone, and nobody told it to end while it answered: it answered nothing after its last point.
    Final,
}

impl Track {
    /// A track of `width` counters, empty.
    pub(super) fn new(width: usize) -> Self {
        Self {
            width,
            times: VecDeque::new(),
            values: VecDeque::new(),
        }
    }

    /// Appends a point, which must be newer than all others, and drops what `keep` no longer needs: everything older
    /// than `keep.widest`, and most of what is older than `keep.base`.
    pub(super) fn push(
        &mut self,
        at: Timestamp,
        values: impl IntoIterator<Item = f64>,
        keep: Keep,
    ) {
        self.times.push_back(at);
        self.values.extend(values);
        self.values.resize(self.times.len() * self.width, 0.0);
        while self
            .times
            .front()
            .is_some_and(|oldest| *oldest < at - keep.widest)
            || POINTS_MAX < self.times.len()
        {
            self.remove(0);
        }
        self.thin(at - keep.base, keep.base / COARSE_SHARE);
    }

    /// Leaves one point per `spacing` among those before `before`. Points arrive one at a time, so at most the second
    /// youngest of them has become superfluous.
    fn thin(&mut self, before: Timestamp, spacing: Duration) {
        let n = self.times.partition_point(|at| *at < before);
        if 3 <= n && self.times[n - 1].since(self.times[n - 3]) <= spacing {
            self.remove(n - 2);
        }
    }

    /// Gives every point other counters: the `i`th becomes what was the `map[i]`th, or zero.
    pub(super) fn rearrange(&mut self, map: &[Option<usize>]) {
        let values = std::mem::take(&mut self.values);
        self.values = (0..self.times.len())
            .flat_map(|point| map.iter().map(move |from| (point, from)))
            .map(|(point, from)| from.map_or(0.0, |from| values[point * self.width + from]))
            .collect();
        self.width = map.len();
    }

    fn remove(&mut self, point: usize) {
        self.times.remove(point);
        self.values
            .drain(point * self.width..(point + 1) * self.width);
    }

    /// Whether nothing rose from its oldest point to its newest.
    pub(super) fn is_flat(&self) -> bool {
        let newest = self.values.len().saturating_sub(self.width);
        let oldest = self.values.iter().take(self.width);
        oldest.eq(self.values.iter().skip(newest))
    }

    /// Whether the window holds two points, which any increase needs.
    pub(super) fn covers(&self, now: Timestamp, window: Duration) -> bool {
        let (first, end) = self.within(now, window);
        first + 2 <= end
    }

    /// How much each counter rose within the window that ends at `now`, written to `increases`; false, and nothing
    /// written, when the window holds fewer than two points.
    ///
    /// The points cover a little less than the window, so the rise between them is extended to its edges: fully where
    /// the gap is less than 1.1 mean spacings, else by half a spacing, and at the start never past the instant where
    /// the counter would have been zero. Source: `extrapolatedRate` in Prometheus' `promql/functions.go`.
    ///
    /// Of a target that is over, the read before the window counts too, and what rose from there to the next one is cut
    /// at the window's start: no further read will come to tell its last requests from the first.
    pub(super) fn increases(
        &self,
        now: Timestamp,
        window: Duration,
        end: End,
        increases: &mut Vec<f64>,
    ) -> bool {
        self.leading_increases(now, window, end, self.width, increases)
    }

    /// The same of the first `counters` counters.
    pub(super) fn leading_increases(
        &self,
        now: Timestamp,
        window: Duration,
        end: End,
        counters: usize,
        increases: &mut Vec<f64>,
    ) -> bool {
        let start = now - window;
        let (mut first, past) = self.within(now, window);
        let mut cut = None;
        if end != End::Extrapolated && 0 < first && first < past {
            let [before, after] = [self.times[first - 1], self.times[first]];
            cut = Some(start.since(before).as_secs_f64() / after.since(before).as_secs_f64());
            first -= 1;
        }
        if past < first + 2 {
            return false;
        }
        let (oldest, newest) = (self.times[first], self.times[past - 1]);
        let sampled_s = newest.since(oldest).as_secs_f64();
        let spacing_s = sampled_s / (past - first - 1) as f64;
        let overdue = spacing_s * REACH_SPACINGS <= now.since(newest).as_secs_f64();
        if overdue && end == End::Extrapolated {
            return self.leading_increases(newest, window, end, counters, increases);
        }
        let edges = Edges {
            sampled_s,
            start_s: match cut {
                Some(_) => 0.0,
                None => reach(oldest.since(start).as_secs_f64(), spacing_s),
            },
            end_s: match end {
                End::Extrapolated => reach(now.since(newest).as_secs_f64(), spacing_s),
                End::Until(last) => reach(last.min(now).since(newest).as_secs_f64(), spacing_s),
                End::Final => 0.0,
            },
        };
        increases.clear();
        let row = |point: usize| self.values.range(point * self.width..).take(counters);
        let ends = row(first).zip(row(past - 1));
        increases.extend(ends.map(|(from, to)| edges.extend(*from, to - from)));
        if let Some(share) = cut {
            let before = row(first).zip(row(first + 1));
            for (increase, (from, to)) in increases.iter_mut().zip(before) {
                *increase -= (to - from) * share;
            }
        }
        true
    }

    /// The points in the window that ends at `now`: from its start, which is not part of it, to `now`, which is.
    fn within(&self, now: Timestamp, window: Duration) -> (usize, usize) {
        let start = now - window;
        (
            self.times.partition_point(|at| *at <= start),
            self.times.partition_point(|at| *at <= now),
        )
    }
}

impl Edges {
    /// The rise `risen` between the points, which began at `from`, extended to the window's edges.
    fn extend(self, from: f64, risen: f64) -> f64 {
        if risen <= 0.0 {
            return 0.0;
        }
        let since_zero_s = self.sampled_s * (from / risen);
        risen * ((self.sampled_s + self.start_s.min(since_zero_s) + self.end_s) / self.sampled_s)
    }
}

/// How far past the outermost point the rise is extended, `gap_s` being the distance to the window's edge.
fn reach(gap_s: f64, spacing_s: f64) -> f64 {
    if gap_s < spacing_s * 1.1 {
        gap_s
    } else {
        spacing_s / 2.0
    }
}

/// How long points are kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Keep {
    /// The window that is always asked for; all points in it are kept.
    pub(super) base: Duration,
    /// The widest window that may be asked for.
    pub(super) widest: Duration,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEEP: Keep = Keep {
        base: Duration::from_secs(30),
        widest: Duration::from_secs(600),
    };

    fn track(points: &[(i64, f64)]) -> Track {
        let mut track = Track::new(1);
        for (at_s, value) in points {
            track.push(Timestamp::from_ms(at_s * 1000), [*value], KEEP);
        }
        track
    }

    #[track_caller]
    fn check(points: &[(i64, f64)], now_s: i64, end: End, expect: Option<f64>) {
        let mut increases = Vec::new();
        let found = track(points).increases(
            Timestamp::from_ms(now_s * 1000),
            KEEP.base,
            end,
            &mut increases,
        );
        match expect {
            Some(expect) => assert!(
                found && (increases[0] - expect).abs() < 1e-9,
                "{increases:?} is not {expect}"
            ),
            None => assert!(!found),
        }
    }

    #[test]
    fn two_points_are_needed_and_one_yields_nothing() {
        check(&[], 30, End::Extrapolated, None);
        check(&[(20, 100.0)], 30, End::Extrapolated, None);
        check(&[(0, 50.0), (20, 100.0)], 30, End::Extrapolated, None);
    }

    #[test]
    fn the_rise_between_the_points_is_extended_to_the_edges() {
        // Points at 5, 10 .. 30 of the window 0..30: 25 s sampled, 5 s missing at the start.
        let points: Vec<_> = (1..=6).map(|i| (i * 5, 1000.0 + 50.0 * i as f64)).collect();
        check(&points, 30, End::Extrapolated, Some(300.0));
        check(&points, 32, End::Extrapolated, Some(300.0));
    }

    #[test]
    fn a_far_edge_is_approached_by_half_a_spacing_only() {
        // Sampled 10..20, spacing 5: 10 s to the start, of which 2.5 s are taken.
        let points = [(10, 1000.0), (15, 1050.0), (20, 1100.0)];
        check(&points, 20, End::Extrapolated, Some(125.0));
    }

    #[test]
    fn an_overdue_point_does_not_read_as_less_load() {
        let points: Vec<_> = (1..=12)
            .map(|i| (i * 5, 1000.0 + 50.0 * i as f64))
            .collect();
        for now_s in [60, 64, 66, 70, 72] {
            check(&points, now_s, End::Extrapolated, Some(300.0));
        }
    }

    #[test]
    fn a_young_counter_is_not_extended_past_its_zero() {
        // It rose by 100 in 10 s from 10, so it was zero one second before its first point.
        check(
            &[(4, 10.0), (14, 110.0)],
            14,
            End::Extrapolated,
            Some(110.0),
        );
    }

    #[test]
    fn a_target_that_is_gone_adds_nothing_after_its_last_point() {
        let points: Vec<_> = (1..=6).map(|i| (i * 5, 1000.0 + 50.0 * i as f64)).collect();
        check(&points, 30, End::Final, Some(300.0));
        // The window is 10..40: of that, what was read up to 30.
        check(&points, 40, End::Final, Some(200.0));
        check(&points, 43, End::Final, Some(170.0));
        // One read is left in the window, and the one before it says how much of its rise was before.
        check(&points, 56, End::Final, Some(40.0));
        check(&points, 60, End::Final, None);
    }

    #[test]
    fn a_target_that_was_told_to_end_goes_on_until_then_and_no_further() {
        let points: Vec<_> = (1..=6).map(|i| (i * 5, 1000.0 + 50.0 * i as f64)).collect();
        // The window is 4..34, so 25 s are sampled, 1 s is missing at the start, and 2 s are taken at the end.
        check(
            &points,
            34,
            End::Until(Timestamp::from_ms(32_000)),
            Some(280.0),
        );
        check(
            &points,
            34,
            End::Until(Timestamp::from_ms(29_000)),
            Some(260.0),
        );
        // It is overdue, and yet it ages.
        check(
            &points,
            40,
            End::Until(Timestamp::from_ms(32_000)),
            Some(220.0),
        );
    }

    #[test]
    fn a_widened_window_still_finds_its_points_after_thinning() {
        let points: Vec<_> = (0..=120)
            .map(|i| (i * 5, 10_000.0 + 10.0 * i as f64))
            .collect();
        let track = track(&points);
        assert!(track.times.len() < 60, "{} points kept", track.times.len());
        let mut increases = Vec::new();
        let now = Timestamp::from_ms(600_000);
        assert!(track.increases(
            now,
            Duration::from_secs(480),
            End::Extrapolated,
            &mut increases
        ));
        assert!((increases[0] / 960.0 - 1.0).abs() < 0.03, "{increases:?}");
    }

    proptest! {
        #[test]
        fn a_track_stays_within_its_bound_and_its_window(
            gaps_ms in prop::collection::vec(1i64..20_000, 1..3000), width in 1usize..4,
        ) {
            let mut track = Track::new(width);
            let mut at = Timestamp::from_ms(0);
            for gap_ms in gaps_ms {
                at = at + Duration::from_millis(gap_ms as u64);
                track.push(at, vec![at.seconds(); width], KEEP);
                prop_assert!(track.times.len() <= POINTS_MAX);
                prop_assert_eq!(track.values.len(), track.times.len() * width);
                prop_assert!(at - KEEP.widest <= track.times[0]);
            }
        }

        #[test]
        fn a_steady_counter_yields_its_rate(rate in 0.1f64..1000.0, interval_ms in 100i64..9_000, phase_ms in 0i64..9_000) {
            let mut track = Track::new(1);
            let start = 1_000_000_000;
            let mut at_ms = start;
            while at_ms <= start + 60_000 + phase_ms {
                track.push(Timestamp::from_ms(at_ms), [at_ms as f64 / 1000.0 * rate], KEEP);
                at_ms += interval_ms;
            }
            let mut increases = Vec::new();
            let now = Timestamp::from_ms(start + 60_000 + phase_ms);
            prop_assert!(track.increases(now, KEEP.base, End::Extrapolated, &mut increases));
            prop_assert!((increases[0] / 30.0 / rate - 1.0).abs() < 1e-6, "{} for {}", increases[0] / 30.0, rate);
        }
    }
}
