//! One second of a run, small enough to keep every one of a long run: the latencies as pairs of value and count, and the
//! endpoints by number. Seconds merge exactly, so any stretch of a run has true quantiles.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Counts;
#[cfg(test)]
use super::Latencies;
use super::latencies::{Pairs, rank};

/// How many leading bits of a value are kept when an old second is made coarse: below a hundredth of error.
const COARSE_BITS: u32 = 8;

/// The requests that should have started within one second of the run.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    /// How they ended.
    pub counts: Counts,
    /// Those sent more than [`LATE`](super::LATE) after they should have started.
    pub late: u64,
    /// Microseconds and how often, ascending.
    pub(super) latencies: Pairs,
    /// The same of those alone that a young endpoint answered; see [`YOUNG`](super::YOUNG).
    pub(super) young: Pairs,
    /// What each endpoint did with them.
    pub endpoints: Box<[SlotEndpoint]>,
}

/// What one endpoint did with the requests of one second.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SlotEndpoint {
    /// [`EndpointCounts::index`](super::EndpointCounts::index) of the endpoint.
    pub index: u16,
    /// Good answers.
    pub ok: u32,
    /// Failed requests.
    pub errors: u32,
}

impl Slot {
    #[cfg(test)]
    pub(crate) fn new(counts: Counts, latencies: &Latencies) -> Self {
        Self {
            counts,
            latencies: latencies.sparse(),
            ..Self::default()
        }
    }

    /// The latencies and how often each occurred, ascending. Those of timeouts are among them.
    pub fn latencies(&self) -> impl Iterator<Item = (Duration, u64)> {
        durations(&self.latencies)
    }

    /// The latencies of answers by young endpoints and how often each occurred, ascending; see [`YOUNG`](super::YOUNG).
    pub fn young(&self) -> impl Iterator<Item = (Duration, u64)> {
        durations(&self.young)
    }

    /// The `q`-quantile of the latencies; `None` when there are none.
    #[must_use]
    pub fn quantile(&self, q: f64) -> Option<Duration> {
        let total = self.latencies().map(|(_, count)| count).sum();
        let rank = rank(q, total);
        let mut below = 0;
        let reached = self.latencies().find(|(_, count)| {
            below += count;
            rank <= below
        });
        reached.map(|(value, _)| value)
    }

    /// How many pairs it keeps.
    pub(super) fn size(&self) -> usize {
        self.latencies.len() + self.young.len()
    }

    /// Keeps each latency to a hundredth of itself only, which takes a fifth of the memory or less.
    pub(super) fn coarsen(&mut self) {
        for pairs in [&mut self.latencies, &mut self.young] {
            *pairs = coarse(pairs);
        }
    }
}

fn durations(pairs: &[(u32, u32)]) -> impl Iterator<Item = (Duration, u64)> {
    pairs
        .iter()
        .map(|(value, count)| (Duration::from_micros(u64::from(*value)), u64::from(*count)))
}

/// The same values with their last bits set, so that neighbours become one.
fn coarse(pairs: &[(u32, u32)]) -> Pairs {
    let mut merged: Vec<(u32, u32)> = Vec::new();
    for (value, count) in pairs {
        let bits = u32::BITS - value.leading_zeros();
        let value = value | ((1 << bits.saturating_sub(COARSE_BITS)) - 1);
        match merged.last_mut() {
            Some(last) if last.0 == value => last.1 = last.1.saturating_add(*count),
            _ => merged.push((value, *count)),
        }
    }
    merged.into_boxed_slice()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_coarse_second_keeps_its_count_and_its_quantiles_to_a_hundredth() {
        let mut dense = Latencies::default();
        (1..=5_000u64).for_each(|n| dense.record(Duration::from_micros(n * n / 7)));
        let fine = Slot::new(Counts::default(), &dense);
        let mut coarse = fine.clone();
        coarse.coarsen();
        assert!(
            coarse.size() * 3 < fine.size(),
            "{} of {}",
            coarse.size(),
            fine.size()
        );
        assert_eq!(
            coarse.latencies().map(|(_, count)| count).sum::<u64>(),
            5_000
        );
        for q in [0.0, 0.01, 0.5, 0.95, 0.99, 1.0] {
            let [fine, coarse] =
                [&fine, &coarse].map(|slot| slot.quantile(q).unwrap().as_secs_f64());
            assert!(
                fine <= coarse && coarse <= 1.01 * fine,
                "q {q}: {coarse}, was {fine}"
            );
        }
        let once = coarse.clone();
        coarse.coarsen();
        assert_eq!(once, coarse, "a coarse second is not made coarser");
    }
}
