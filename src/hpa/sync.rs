//! Where one sync of an HPA ends and the next begins, as far as it shows from outside: what it reads, and when. One
//! rule for recordings that are replayed and for an HPA that is watched while it runs.

use std::time::Duration;

use crate::model::time::Timestamp;

/// Reads this far apart are not of one sync: syncs are 15 s apart, reads of one sync milliseconds.
pub const READS_APART: Duration = Duration::from_secs(5);

/// How long after its last read a change is still the sync's: the HPA scales at once, with a slow API server in
/// between.
pub const DECISION_DELAY: Duration = Duration::from_secs(5);

/// Whether a read at `at` begins another sync than the one whose last read was at `last`: it comes long after, or is of
/// a metric that the HPA has `had` times and has read `seen` times in that sync already.
pub fn begins_another(last: Timestamp, at: Timestamp, had: usize, seen: usize) -> bool {
    READS_APART <= at.since(last) || had.max(1) <= seen
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sync_reads_each_metric_as_often_as_the_hpa_has_it_and_without_a_pause() {
        let at = |ms| Timestamp::from_ms(ms);
        for (last, now, had, seen, is_other) in [
            (0, 3, 1, 0, false),
            (0, 3, 1, 1, true),
            (0, 3, 2, 1, false),
            (0, 3, 2, 2, true),
            (0, 4_999, 1, 0, false),
            (0, 5_000, 1, 0, true),
            // A metric that the HPA does not have any more is read once all the same.
            (0, 3, 0, 0, false),
            // A clock that stepped back makes no pause.
            (9_000, 3, 1, 0, false),
        ] {
            let answer = begins_another(at(last), at(now), had, seen);
            assert_eq!(answer, is_other, "{last} {now} {had} {seen}");
        }
    }
}
