//! The rises of many targets made one: requests, seconds and buckets added up.

use std::sync::Arc;
use std::time::Duration;

use crate::model::time::Timestamp;

use super::UNKNOWN_SHARE_MAX;
use super::layout::{self, Layout};
use super::snapshot::Merged;
use super::target::Target;

/// Adds up targets, keeping its buffers from one service to the next.
#[derive(Debug, Default)]
pub(super) struct Merger {
    scratch: Vec<f64>,
    /// One sum for each layout: adding within a layout first makes mixed layouts cost nothing per target.
    sums: Vec<Sum>,
}

/// Whose latencies count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Judged {
    /// Those of processes that have warmed up.
    Warm,
    /// All there are.
    All,
}

#[derive(Debug)]
struct Sum {
    layout: Layout,
    requests: f64,
    counts: Vec<f64>,
}

impl Merger {
    /// What `targets` answered within the window that ends at `now`.
    pub(super) fn merge<'t>(
        &mut self,
        now: Timestamp,
        window: Duration,
        judged: Judged,
        targets: impl Iterator<Item = &'t Target>,
    ) -> Merged {
        let (mut requests, mut busy_s, mut cpu_s) = (0.0, Some(0.0), Some(0.0));
        let mut judged_requests = 0.0;
        self.sums.clear();
        for target in targets {
            let sums = &mut self.sums;
            target.rises(now, window, &mut self.scratch, |rise| {
                requests += rise.requests;
                busy_s = busy_s.zip(rise.busy_s).map(|(total, more)| total + more);
                if judged == Judged::All || !rise.is_cold {
                    judged_requests += rise.requests;
                    add(sums, rise.layout, rise.requests, rise.counts);
                }
            });
            let used_s = target.cpu_s(now, window, &mut self.scratch);
            cpu_s = cpu_s.zip(used_s).map(|(total, more)| total + more);
        }
        self.sums.retain(|sum| 0.0 < sum.requests);
        let (bounds, counts) = self.join();
        Merged {
            window,
            requests,
            judged: judged_requests,
            busy_s,
            cpu_s,
            bounds,
            counts,
            layouts: self.sums.len(),
        }
    }

    /// The sums of all layouts on the bounds they share. Requests without buckets are left out while they are no
    /// larger a share than targets may be unknown; with more of them there is no quantile.
    fn join(&self) -> (Layout, Vec<f64>) {
        let total: f64 = self.sums.iter().map(|sum| sum.requests).sum();
        let is_bucketed = |sum: &&Sum| !sum.layout.is_empty();
        let bucketed: f64 = self
            .sums
            .iter()
            .filter(is_bucketed)
            .map(|sum| sum.requests)
            .sum();
        let is_enough = (1.0 - UNKNOWN_SHARE_MAX) * total <= bucketed;
        let joined = || {
            self.sums
                .iter()
                .filter(|sum| !is_enough || is_bucketed(sum))
        };
        let layouts: Vec<Layout> = joined().map(|sum| Arc::clone(&sum.layout)).collect();
        let bounds = layout::common(&layouts);
        let mut counts = vec![0.0; bounds.len()];
        for sum in joined() {
            layout::add_counts(&sum.layout, &sum.counts, &bounds, &mut counts);
        }
        (bounds, counts)
    }
}

fn add(sums: &mut Vec<Sum>, layout: &Layout, requests: f64, counts: &[f64]) {
    match sums.iter_mut().find(|sum| Arc::ptr_eq(&sum.layout, layout)) {
        Some(sum) => {
            sum.requests += requests;
            sum.counts
                .iter_mut()
                .zip(counts)
                .for_each(|(total, more)| *total += more);
        }
        None => sums.push(Sum {
            layout: Arc::clone(layout),
            requests,
            counts: counts.to_vec(),
        }),
    }
}
