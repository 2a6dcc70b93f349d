//! When a target is read. Each target has its own place on the interval's grid, given by a hash of its identity, so
//! that targets are spread evenly without anything random and without knowing of each other.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

use tokio::time::{Interval, MissedTickBehavior};

use crate::model::id::TargetId;

/// New targets are seen within this time, however long their interval is: a pod that just started, and all pods after
/// a start of ours, should have a first point soon. Long enough that a thousand new targets are still spread.
const FIRST_WITHIN: Duration = Duration::from_secs(1);

/// Waits until `target`'s first read is due, and yields the timer of all further ones. A read that lasts past the next
/// one's time skips it, so there are never two at once and none is made up for.
pub(super) async fn begin(target: &TargetId, interval: Duration) -> Interval {
    let schedule = Schedule::of(target, interval);
    let first = tokio::time::sleep(schedule.first);
    let mut ticks = tokio::time::interval_at(first.deadline() + schedule.to_second, interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    first.await;
    ticks
}

/// When a target's first two scrapes are due; further ones follow an interval after the second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Schedule {
    /// From the loop's start to the first scrape.
    first: Duration,
    /// From the first scrape to the second, which lies on the target's grid. Between half an interval and one and a
    /// half: two scrapes closer than that would make a rate of too short a time.
    to_second: Duration,
}

impl Schedule {
    /// The schedule of one target.
    fn of(target: &TargetId, interval: Duration) -> Self {
        Self::at(share(target), interval)
    }

    /// The schedule of a target whose place on the grid is `share` of an interval, `0 <= share < 1`.
    fn at(share: f64, interval: Duration) -> Self {
        let first = interval.min(FIRST_WITHIN).mul_f64(share);
        let place = interval.mul_f64(share);
        let to_place = place.saturating_sub(first);
        let to_second = if interval / 2 <= to_place {
            to_place
        } else {
            to_place + interval
        };
        Self { first, to_second }
    }
}

/// A target's place, evenly distributed over `0 <= share < 1`. Unlike a `HashMap`'s, this hash has no random seed.
fn share(target: &TargetId) -> f64 {
    let mut hasher = DefaultHasher::new();
    target.hash(&mut hasher);
    // 53 bits are what an f64 holds exactly, so the division cannot round up to 1.
    (hasher.finish() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::id::ServiceId;

    #[test]
    fn a_new_target_is_seen_within_a_second_and_then_keeps_to_its_grid() {
        let interval = Duration::from_secs(16);
        for (share, first_ms, second_ms) in
            [(0.0, 0, 16_000), (0.25, 250, 20_000), (0.75, 750, 12_000)]
        {
            let schedule = Schedule::at(share, interval);
            assert_eq!(schedule.first, Duration::from_millis(first_ms));
            assert_eq!(
                schedule.first + schedule.to_second,
                Duration::from_millis(second_ms)
            );
        }
    }

    #[test]
    fn targets_spread_over_the_interval_and_each_keeps_its_place() {
        let service = ServiceId::new("shop", "api");
        let mut tenths = [0_u32; 10];
        for pod in 0..1000 {
            let target = TargetId::new(&service, &format!("pod-{pod}"));
            assert_eq!(share(&target), share(&target.clone()));
            tenths[(share(&target) * 10.0) as usize] += 1;
        }
        assert!(tenths.iter().all(|n| (60..=140).contains(n)), "{tenths:?}");
    }

    proptest! {
        #[test]
        fn the_second_scrape_is_on_the_grid_and_not_too_close(share in 0.0..1.0, ms in 10_u64..600_000) {
            let interval = Duration::from_millis(ms);
            let schedule = Schedule::at(share, interval);
            prop_assert!(schedule.first < interval.min(FIRST_WITHIN));
            prop_assert!(interval / 2 <= schedule.to_second);
            prop_assert!(schedule.to_second <= interval + interval / 2);
            let off_grid = (schedule.first + schedule.to_second).abs_diff(interval.mul_f64(share));
            prop_assert!(off_grid == Duration::ZERO || off_grid == interval);
        }
    }
}
