//! A token bucket: how much may be sent to the API server, however much there is to say.

use std::time::{Duration, Instant};

/// Tokens that come back over time.
#[derive(Clone, Debug)]
pub(super) struct Bucket {
    per_second: f64,
    most: f64,
    tokens: f64,
    filled_at: Option<Instant>,
}

impl Bucket {
    /// A full bucket of `burst` tokens, into which `per_second` come.
    pub(super) fn new(per_second: f64, burst: u32) -> Self {
        Self {
            per_second,
            most: f64::from(burst),
            tokens: f64::from(burst),
            filled_at: None,
        }
    }

    /// Takes up to `wanted` tokens, and says how many.
    pub(super) fn take(&mut self, wanted: usize, now: Instant) -> usize {
        let since = self.filled_at.map_or(Duration::ZERO, |filled_at| {
            now.saturating_duration_since(filled_at)
        });
        self.filled_at = Some(now);
        self.tokens = (self.tokens + since.as_secs_f64() * self.per_second).min(self.most);
        // Truncated: half a token buys nothing.
        let taken = wanted.min(self.tokens as usize);
        self.tokens -= taken as f64;
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_was_not_used_is_kept_up_to_the_burst() {
        let start = crate::clock::instant();
        let mut bucket = Bucket::new(2.0, 4);
        assert_eq!(bucket.take(10, start), 4);
        assert_eq!(bucket.take(10, start), 0);
        assert_eq!(bucket.take(10, start + Duration::from_millis(500)), 1);
        assert_eq!(bucket.take(10, start + Duration::from_secs(3_600)), 4);
    }

    proptest! {
        #[test]
        fn no_span_sees_more_than_its_rate_and_one_burst(
            asked in proptest::collection::vec((0u64..2_000, 0usize..20), 1..100),
        ) {
            let start = crate::clock::instant();
            let mut bucket = Bucket::new(5.0, 10);
            let mut taken = Vec::new();
            let mut now = 0;
            for (wait_ms, wanted) in asked {
                now += wait_ms;
                taken.push((now, bucket.take(wanted, start + Duration::from_millis(now))));
            }
            for (i, (from, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (until, n) in &taken[i..] {
                    sum += n;
                    let bound = 10.0 + 5.0 * (until - from) as f64 / 1000.0;
                    prop_assert!(sum as f64 <= bound + 1e-6);
                }
            }
        }
    }
}
