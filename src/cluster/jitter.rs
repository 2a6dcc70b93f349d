//! What keeps many from doing the same at once. It need be neither repeatable nor of quality: no number that is served
//! depends on it.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// From zero up to one, different each time and in each process.
pub(super) fn share() -> f64 {
    let bits = RandomState::new().hash_one(0u8) >> 11;
    bits as f64 / (1u64 << 53) as f64
}

/// A tenth more or less.
pub(super) fn about(duration: Duration) -> Duration {
    duration.mul_f64(0.9 + 0.2 * share())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_differ_and_durations_stay_near() {
        let shares: Vec<f64> = (0..64).map(|_| share()).collect();
        assert!(shares.iter().all(|share| (0.0..1.0).contains(share)));
        assert!(shares.iter().any(|share| *share < 0.5));
        assert!(shares.iter().any(|share| 0.5 <= *share));
        let range = Duration::from_secs(27)..=Duration::from_secs(33);
        assert!((0..64).all(|_| range.contains(&about(Duration::from_secs(30)))));
    }
}
