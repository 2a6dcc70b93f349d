//! Latency and the share of slow requests, from merged buckets.

use std::time::Duration;

use crate::engine::layout::{self, Layout};
use crate::engine::quantile::{histogram_quantile, share_at_most};

use super::{Merged, ServiceView};

/// What is asked of a latency.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Quantile {
    /// The quantile, within 0..=1.
    Of(f64),
    /// The mean, which needs no buckets: all that a summary or an old Redis server can tell.
    Mean,
}

/// A latency, and the window it is of.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct Latency {
    pub(super) seconds: f64,
    pub(super) window: Duration,
}

impl Quantile {
    /// Reads a label value: `0.95`, `1`, or `mean`.
    pub fn from_label(label: &str) -> Option<Self> {
        if label == "mean" {
            return Some(Self::Mean);
        }
        // Label values that f64 would take and people would not: "inf", "1e-1", "+0.5".
        let is_plain = label.bytes().all(|b| b.is_ascii_digit() || b == b'.');
        let q: f64 = label.parse().ok().filter(|_| is_plain)?;
        (0.0..=1.0).contains(&q).then_some(Self::Of(q))
    }
}

/// The latency of the requests of `services` together, each service weighing as much as it answers per second.
///
/// # Errors
/// Why it is not known, as a clause that follows "because".
pub(super) fn latency(services: &[&ServiceView], quantile: Quantile) -> Result<Latency, String> {
    let q = match quantile {
        Quantile::Of(q) => q,
        Quantile::Mean => 0.0,
    };
    let windows: Vec<&Merged> = services
        .iter()
        .filter_map(|service| service.window_for(q))
        .collect();
    let window = windows
        .iter()
        .map(|merged| merged.window)
        .max()
        .unwrap_or_default();
    let answered = |merged: &Merged| match quantile {
        Quantile::Of(_) => merged.judged,
        Quantile::Mean => merged.requests,
    };
    if windows.iter().all(|merged| answered(merged) <= 0.0) {
        return Ok(Latency {
            seconds: 0.0,
            window,
        });
    }
    let seconds = match quantile {
        Quantile::Mean => mean(&windows)?,
        Quantile::Of(q) => of_buckets(&windows, q)?,
    };
    Ok(Latency { seconds, window })
}

fn mean(windows: &[&Merged]) -> Result<f64, String> {
    let rate = |merged: &Merged, total: f64| total / merged.window.as_secs_f64();
    let busy: Option<f64> = windows
        .iter()
        .map(|merged| Some(rate(merged, merged.busy_s?)))
        .sum();
    let busy = busy.ok_or("its targets report no sum of latencies")?;
    Ok(busy
        / windows
            .iter()
            .map(|merged| rate(merged, merged.requests))
            .sum::<f64>())
}

fn of_buckets(windows: &[&Merged], q: f64) -> Result<f64, String> {
    let with_requests = || windows.iter().filter(|merged| 0.0 < merged.judged);
    if let [only] = windows {
        return histogram_quantile(q, &only.bounds, &only.counts)
            .ok_or_else(|| why_no_quantile(only, q));
    }
    let layouts: Vec<Layout> = with_requests()
        .map(|merged| merged.bounds.clone())
        .collect();
    let bounds = layout::common(&layouts);
    let mut counts = vec![0.0; bounds.len()];
    for merged in with_requests() {
        let per_second: Vec<f64> = merged
            .counts
            .iter()
            .map(|count| count / merged.window.as_secs_f64())
            .collect();
        layout::add_counts(&merged.bounds, &per_second, &bounds, &mut counts);
    }
    histogram_quantile(q, &bounds, &counts).ok_or_else(|| match bounds.len() {
        0 | 1 => "the services have no bucket bounds in common: select one".to_owned(),
        _ => undefined(q),
    })
}

fn why_no_quantile(merged: &Merged, q: f64) -> String {
    match (merged.bounds.len(), merged.layouts) {
        (2.., _) => undefined(q),
        (_, 2..) => "its requests were counted in different bucket layouts without a common bound, or partly without buckets"
                .to_owned(),
        _ => "its targets report no latency buckets, so there is only quantile=mean".to_owned(),
    }
}

/// Only the 0-quantile can be missing where there are buckets: with the lowest one empty it is 0/0, in Prometheus too.
fn undefined(q: f64) -> String {
    format!("the {q}-quantile of its buckets is not defined while the lowest one is empty")
}

/// The share of requests slower than the objective in the base window.
///
/// # Errors
/// Why it is not known, as a clause that follows "because".
pub(super) fn slow_share(service: &ServiceView) -> Result<f64, String> {
    let objective = service
        .objective
        .ok_or("its RequestMetrics has no objective")?;
    let base = service.base().ok_or("nothing is known of its requests")?;
    if base.judged <= 0.0 {
        return Ok(0.0);
    }
    let share = share_at_most(objective.latency.as_secs_f64(), &base.bounds, &base.counts);
    share
        .map(|(fast, _)| (1.0 - fast).clamp(0.0, 1.0))
        .ok_or_else(|| why_no_quantile(base, objective.quantile))
}
