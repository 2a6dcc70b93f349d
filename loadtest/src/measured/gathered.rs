//! The latencies of one second while its requests are under way: a list for as long as it is short, as most are, and a
//! histogram above that. Either way the same comes of it; the list takes a hundredth of the memory and of the time.

use std::time::Duration;

use super::Latencies;
use super::latencies::{Pairs, grouped};

/// Latencies in a list: above this, sorting them costs more than going through a histogram's buckets.
const LISTED_MAX: usize = 4_096;

/// The latencies of one second.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// As the histogram would tell them, in microseconds and in no order.
    listed: Vec<u32>,
    /// All that did not fit into the list.
    counted: Option<Box<Latencies>>,
}

impl Gathered {
    pub(super) fn record(&mut self, latency: Duration) {
        if LISTED_MAX <= self.listed.len() {
            self.count_listed();
        }
        match &mut self.counted {
            Some(counted) => counted.record(latency),
            None => self.listed.push(grouped(latency)),
        }
    }

    /// Adds all of `other`.
    pub(super) fn add(&mut self, other: &Self) {
        for micros in &other.listed {
            self.record(Duration::from_micros(u64::from(*micros)));
        }
        if let Some(others) = &other.counted {
            self.count_listed();
            self.counted.get_or_insert_default().add(others);
        }
    }

    /// Adds all of them to a histogram.
    pub(super) fn add_to(&self, sum: &mut Latencies) {
        for micros in &self.listed {
            sum.record(Duration::from_micros(u64::from(*micros)));
        }
        if let Some(counted) = &self.counted {
            sum.add(counted);
        }
    }

    /// Microseconds and how often, ascending.
    pub(super) fn sparse(&self) -> Pairs {
        if let Some(counted) = &self.counted {
            return counted.sparse();
        }
        let mut sorted = self.listed.clone();
        sorted.sort_unstable();
        let equal = || sorted.chunk_by(|a, b| a == b);
        let mut pairs = Vec::with_capacity(equal().count());
        pairs.extend(equal().map(|equal| (equal[0], equal.len() as u32)));
        pairs.into_boxed_slice()
    }

    /// Forgets all of them, and keeps the list's memory.
    pub(super) fn clear(&mut self) {
        self.listed.clear();
        self.counted = None;
    }

    fn count_listed(&mut self) {
        let counted = self.counted.get_or_insert_default();
        for micros in self.listed.drain(..) {
            counted.record(Duration::from_micros(u64::from(micros)));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Latencies of all sizes, from nothing to beyond what is told apart.
    fn micros() -> impl Strategy<Value = u64> {
        (0u32..42).prop_flat_map(|bits| 0..1u64 << bits)
    }

    proptest! {
        #[test]
        fn a_list_tells_what_a_histogram_does(all in proptest::collection::vec(micros(), 0..200), at in 0usize..200) {
            let mut expected = Latencies::default();
            let (mut first, mut second) = (Gathered::default(), Gathered::default());
            for (nth, micros) in all.iter().enumerate() {
                let latency = Duration::from_micros(*micros);
                expected.record(latency);
                if nth < at { first.record(latency) } else { second.record(latency) }
            }
            first.add(&second);
            prop_assert_eq!(first.sparse(), expected.sparse());
            let mut sum = Latencies::default();
            first.add_to(&mut sum);
            prop_assert_eq!(&sum, &expected);
            let mut of_pairs = Latencies::default();
            of_pairs.add_pairs(&first.sparse());
            prop_assert_eq!(of_pairs, expected);
        }
    }

    #[test]
    fn a_busy_second_is_counted_rather_than_listed() {
        let mut expected = Latencies::default();
        let (mut first, mut second) = (Gathered::default(), Gathered::default());
        for nth in 0..3 * LISTED_MAX as u64 {
            let latency = Duration::from_micros(nth * nth % 70_000_000);
            expected.record(latency);
            if nth % 3 == 0 {
                second.record(latency);
            } else {
                first.record(latency);
            }
        }
        assert!(first.counted.is_some() && first.listed.is_empty());
        assert!(second.counted.is_none());
        second.add(&first);
        first.add(&Gathered::default());
        assert_eq!(second.sparse(), expected.sparse());
    }
}
