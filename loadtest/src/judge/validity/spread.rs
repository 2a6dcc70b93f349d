//! Whether the requests were spread over all backends. Where they were not, a slow service says nothing of how many pods it
//! has: connections that never move make a working autoscaler look broken.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::super::Finding;
use super::{Premise, blank, outcome, slots_of};
use crate::measured::Slot;
use crate::recording::{Backend, Recording, Service, Stage};

/// A stage longer than this is judged for its spread, by as much of its end.
const SPREAD_WINDOW_S: f64 = 60.0;

/// How long a new backend may take to get its share, in seconds.
const SPREAD_SETTLE_S: f64 = 5.0;

/// What must be left of the window when backends came or went within it, in seconds.
const SPREAD_SECONDS_MIN: f64 = 10.0;

/// Requests per backend, on average, below which chance alone spreads them unevenly: of 50, half is 3.5 standard
/// deviations away.
const SPREAD_REQUESTS_MIN: f64 = 50.0;

/// The share of the mean that every backend must have had.
const SPREAD_MIN: f64 = 0.5;

/// The least index of R. Jain: 1 when all had the same, 1/n when one had all.
const JAIN_MIN: f64 = 0.9;

/// V5. Else the traffic, and not the autoscaler, was at fault.
pub(super) fn backend_spread(recording: &Recording, stage: &Stage) -> Option<Finding> {
    let service = recording.services.get(&stage.service)?;
    let known = service
        .backends
        .values()
        .any(|backend| !backend.ready.is_empty());
    if stage.end_s - stage.start_s <= SPREAD_WINDOW_S || !known {
        return None;
    }
    let mut finding = Finding {
        limit: format!(">= {SPREAD_MIN} of the mean"),
        from_s: Some(stage.start_s),
        to_s: Some(stage.end_s),
        ..blank(Premise::BackendSpread, &stage.name, &stage.service)
    };
    let from_s = steady_since(
        &service.backends,
        stage.end_s - SPREAD_WINDOW_S,
        stage.end_s,
    );
    if stage.end_s - from_s < SPREAD_SECONDS_MIN {
        finding.sentence = format!("backends came or went until the end of {}", stage.name);
        return Some(finding);
    }
    let slots = slots_of(recording, from_s, stage.end_s, &stage.service);
    let counts = requests_of(service, slots, |backend| {
        ready_throughout(backend, from_s, stage.end_s)
    });
    let requests: Vec<f64> = counts.values().map(|count| *count as f64).collect();
    let sum: f64 = requests.iter().sum();
    let mean = sum / requests.len() as f64;
    if requests.len() < 2 || mean < SPREAD_REQUESTS_MIN {
        finding.sentence = format!(
            "{} backends with {sum} requests at the end of {} tell nothing of how they are spread",
            requests.len(),
            stage.name,
        );
        return Some(finding);
    }
    let jain = sum * sum / (requests.len() as f64 * requests.iter().map(|x| x * x).sum::<f64>());
    let (least, fewest) = counts.iter().min_by_key(|(_, count)| **count)?;
    let share = *fewest as f64 / mean;
    finding.value = Some(share);
    finding.outcome = outcome(SPREAD_MIN <= share && JAIN_MIN <= jain);
    finding.sentence = format!(
        "at the end of {} the backend {least} had {fewest} requests, where {} backends had {mean:.0} on average; \
         the index of their evenness is {jain:.2}, and {JAIN_MIN} is wanted",
        stage.name,
        requests.len(),
    );
    Some(finding)
}

/// From when on, after `from_s` and until `to_s`, the ready backends were the same and each had time to get its share.
fn steady_since(backends: &BTreeMap<String, Backend>, from_s: f64, to_s: f64) -> f64 {
    let moments = backends.values().flat_map(|backend| &backend.ready);
    moments
        .flat_map(|gap| [Some(gap.from_s), gap.to_s])
        .flatten()
        .map(|moment_s| moment_s + SPREAD_SETTLE_S)
        .filter(|steady_s| steady_s - SPREAD_SETTLE_S < to_s)
        .fold(from_s, f64::max)
}

fn ready_throughout(backend: &Backend, from_s: f64, to_s: f64) -> bool {
    let covers = |to: Option<f64>| to.is_none_or(|end_s| to_s <= end_s);
    backend
        .ready
        .iter()
        .any(|gap| gap.from_s <= from_s && covers(gap.to_s))
}

/// The requests that each of the chosen backends had in these seconds, none among them.
fn requests_of(
    service: &Service,
    slots: &[Slot],
    chosen: impl Fn(&Backend) -> bool,
) -> BTreeMap<String, u64> {
    let indices = &service.load.endpoints;
    let index = |key: &str| {
        let same =
            |address: &SocketAddr| address.to_string() == key || address.ip().to_string() == key;
        indices
            .iter()
            .find(|(address, _)| same(address))
            .map(|(_, counts)| counts.index)
    };
    let ready = service
        .backends
        .iter()
        .filter(|(_, backend)| chosen(backend));
    ready
        .map(|(key, _)| {
            let index = index(key);
            let of_slot = |slot: &Slot| {
                let mine = slot.endpoints.iter().filter(|one| Some(one.index) == index);
                mine.map(|one| u64::from(one.ok) + u64::from(one.errors))
                    .sum::<u64>()
            };
            (key.clone(), slots.iter().map(of_slot).sum())
        })
        .collect()
}
