//! The worked examples of the HPA's rules by their numbers, and properties that hold for any input.

mod normalization;
mod properties;
mod proposals;

use std::collections::BTreeMap;
use std::time::Duration;

use super::*;

/// The time of a sync, far enough from zero to have a past.
const NOW: Timestamp = Timestamp::from_ms(10_000_000);

/// `ready` pods that are, and `unready` that never were, named `pod-0` and on; all old enough for their CPU to count.
fn pods(ready: usize, unready: usize) -> Vec<Pod> {
    let started = NOW - Duration::from_secs(3600);
    let pod = |index| Pod {
        name: format!("pod-{index}"),
        phase: Phase::Running,
        deleted: false,
        started: Some(started),
        readiness: Some(Readiness {
            status: if index < ready {
                ReadyStatus::True
            } else {
                ReadyStatus::False
            },
            since: started,
        }),
        requests: BTreeMap::new(),
        container_requests: BTreeMap::new(),
    };
    (0..ready + unready).map(pod).collect()
}

/// What `pod-0` and on use.
fn usage(milli: &[i64]) -> Result<Answer, String> {
    let window = Duration::from_secs(30);
    let usage = |(index, milli): (usize, &i64)| {
        (
            format!("pod-{index}"),
            Usage {
                milli: *milli,
                at: NOW,
                window,
            },
        )
    };
    Ok(Answer::PerPod(
        milli.iter().enumerate().map(usage).collect(),
    ))
}

fn values(items: &[i64]) -> Result<Answer, String> {
    Ok(Answer::Values(items.to_vec()))
}

fn external(target: Target) -> MetricSpec {
    MetricSpec::External {
        metric: "m".to_owned(),
        target,
    }
}
