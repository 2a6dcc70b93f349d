//! What scaling itself costs users: checks 15 and 16.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{LATENCY_RESOLUTION, failed_in, slots};
use crate::judge::Finding;
use crate::judge::context::{Context, SLOT_S};
use crate::judge::draft::{Draft, Limit, Untold, number, seconds};
use crate::judge::window::{enough, latency as shown};
use crate::scenario::assertion::{ColdStartPenalty, FailureClass, ScaleEventErrors};
use crate::steps::Change;

/// The quantile by which young pods are compared with old ones.
const COLD_QUANTILE: f64 = 0.95;

/// 15. Requests that failed near a scale-in or a new backend.
pub(in crate::judge) fn scale_event_errors(
    context: &Context<'_>,
    draft: Draft,
    check: &ScaleEventErrors,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let within_s = check.within.seconds();
    let replicas = &context.service.replicas;
    // A pod that is ready is an endpoint a moment later; where endpoints are not seen, that is as near as it gets.
    let backends = if replicas.endpoints.is_empty() {
        &replicas.ready
    } else {
        &replicas.endpoints
    };
    let ins = context
        .desired()?
        .changes(scope.clone())
        .filter(|change| !change.is_up());
    let adds = backends.changes(scope.clone()).filter(Change::is_up);
    let events: Vec<f64> = ins.chain(adds).map(|change| change.t_s).collect();
    if events.is_empty() {
        return Err(Untold::moot(
            "there was neither a scale-in nor a new backend",
        ));
    }
    let is_near = |second: usize| {
        let start_s = second as f64;
        events
            .iter()
            .any(|t_s| t_s - within_s < start_s + SLOT_S && start_s <= t_s + within_s)
    };
    let near = context.slots(&scope).filter(|second| is_near(*second));
    let failed: u64 = near
        .map(|second| {
            failed_in(
                &context.service.load.slots[second].counts,
                FailureClass::Any,
            )
        })
        .sum();
    let told = format!(
        "{failed} requests failed within {} of {} scale-ins and new backends",
        seconds(within_s),
        events.len()
    );
    Ok(draft
        .over(scope)
        .judged(failed as f64, Limit::AtMost(check.max as f64), told))
}

/// 16. How much slower young pods are than old ones in the same seconds.
pub(in crate::judge) fn cold_start_penalty(
    context: &Context<'_>,
    draft: Draft,
    check: &ColdStartPenalty,
) -> Result<Finding, Untold> {
    let scope = context.scope(&check.scope)?;
    let timeout = context.service.load.timeout;
    let (mut young, mut old) = (BTreeMap::new(), BTreeMap::new());
    for slot in slots(context, &scope)
        .iter()
        .filter(|slot| slot.young().next().is_some())
    {
        let young_here: BTreeMap<Duration, u64> = slot.young().collect();
        for (latency, count) in slot.latencies() {
            let of_young = young_here.get(&latency).copied().unwrap_or(0).min(count);
            *young.entry(latency).or_insert(0) += of_young;
            // Timeouts are among the latencies and are no answers.
            if timeout.is_zero() || latency < timeout {
                *old.entry(latency).or_insert(0) += count - of_young;
            }
        }
    }
    if young.is_empty() {
        return Err(Untold::moot("no pod was young"));
    }
    let [young, old] = [young, old].map(|latencies| quantile_of_answers(&latencies, COLD_QUANTILE));
    let [young_s, old_s] = [young?, old?];
    let ratio = young_s / old_s;
    let told = format!(
        "p95 of young pods was {}, {} times that of the others in the same seconds, {}",
        shown(young_s),
        number(ratio),
        shown(old_s)
    );
    let draft = draft
        .resolution(2.0 * LATENCY_RESOLUTION * ratio)
        .over(scope);
    Ok(draft.judged(ratio, Limit::AtMost(check.max), told))
}

fn quantile_of_answers(latencies: &BTreeMap<Duration, u64>, q: f64) -> Result<f64, Untold> {
    let total: u64 = latencies.values().sum();
    let enough = enough(q);
    if total < enough {
        return Err(too_few(total, enough));
    }
    let rank = (q * total as f64).ceil() as u64;
    let mut below = 0;
    let reached = latencies.iter().find(|(_, count)| {
        below += **count;
        rank <= below
    });
    reached
        .map(|(latency, _)| latency.as_secs_f64())
        .ok_or_else(|| too_few(total, enough))
}

fn too_few(total: u64, enough: u64) -> Untold {
    Untold::unknown(format!(
        "{total} requests are too few for this quantile, which takes {enough}"
    ))
}
