//! One series: its newest raw counters, and what a read of them says.

use std::sync::Arc;

use crate::model::time::Timestamp;

use super::layout::Layout;

/// A series' newest raw counters, to tell its next rise from a reset.
#[derive(Debug)]
pub(super) struct Series {
    pub(super) layout: Layout,
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) counts: Vec<f64>,
    pub(super) seen: Timestamp,
}

impl Series {
    pub(super) fn unseen(layout: &Layout, seen: Timestamp) -> Self {
        Self {
            layout: Arc::clone(layout),
            count: 0.0,
            sum: 0.0,
            counts: vec![0.0; layout.len()],
            seen,
        }
    }

    pub(super) fn remember(&mut self, count: f64, sum: f64, counts: &[f64], seen: Timestamp) {
        (self.count, self.sum, self.seen) = (count, sum, seen);
        self.counts.clear();
        self.counts.extend_from_slice(counts);
    }

    /// Whether requests began anew, and the buckets, if there are any, with them.
    pub(super) fn fell_as_a_whole(&self, count: f64, counts: &[f64]) -> bool {
        count < self.count && !self.keeps_buckets(counts)
    }

    /// Whether the buckets go on although the requests began anew: one process would have reset them together.
    pub(super) fn keeps_buckets(&self, counts: &[f64]) -> bool {
        let (before, now) = (self.counts.last(), counts.last());
        before
            .zip(now)
            .is_some_and(|(before, now)| 0.0 < *before && before <= now)
    }

    /// Adds what each bucket rose by to `totals`. A bucket cannot fall, nor rise by more than all requests did; one that
    /// does was read at another instant or written wrongly, and is cut to what can be. False when one was.
    pub(super) fn add_rises(&self, counts: &[f64], totals: &mut [f64]) -> bool {
        let rises = || {
            counts
                .iter()
                .zip(&self.counts)
                .map(|(now, before)| now - before)
        };
        let all = rises().next_back().unwrap_or(0.0).max(0.0);
        totals
            .iter_mut()
            .zip(rises())
            .for_each(|(total, rise)| *total += rise.clamp(0.0, all));
        rises().all(|rise| 0.0 <= rise && rise <= all)
    }
}
