//! How long the work of a request takes: lognormal, from a mean and a spread, drawn from a seed. The sample app takes
//! these times for real and the simulator in virtual time, so that both play the same service.

use rand::SeedableRng;
use rand_distr::{Distribution, LogNormal};
use rand_pcg::Pcg32;

/// A service time is at most this many times the mean: a heavy tail, but one that a test can wait for.
const TAIL_MAX: f64 = 50.0;

/// Service times, one after another; equal seeds give equal times.
#[derive(Debug, Clone)]
pub struct ServiceTimes {
    distribution: LogNormal<f64>,
    longest_s: f64,
    rng: Pcg32,
}

impl ServiceTimes {
    /// Times with this mean in seconds and this coefficient of variation.
    ///
    /// # Errors
    /// What is wrong with the numbers, as a clause.
    pub fn new(mean_s: f64, cv: f64, seed: u64) -> Result<Self, &'static str> {
        if !(mean_s.is_finite() && 0.0 < mean_s) {
            return Err("service time must be above zero");
        }
        let distribution = LogNormal::from_mean_cv(mean_s, cv)
            .map_err(|_| "coefficient of variation must be a number of at least zero")?;
        Ok(Self {
            distribution,
            longest_s: mean_s * TAIL_MAX,
            rng: Pcg32::seed_from_u64(seed),
        })
    }

    /// The next time, in seconds.
    pub fn draw(&mut self) -> f64 {
        self.distribution.sample(&mut self.rng).min(self.longest_s)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_mean_the_spread_and_the_seed_asked_for() {
        for cv in [0.0, 0.5, 1.0] {
            let mut drawn = ServiceTimes::new(0.1, cv, 7).unwrap();
            let times: Vec<f64> = (0..50_000).map(|_| drawn.draw()).collect();
            let mean = times.iter().sum::<f64>() / times.len() as f64;
            let variance =
                times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / times.len() as f64;
            assert!((mean / 0.1 - 1.0).abs() < 0.03, "mean {mean} s at {cv}");
            assert!(
                (variance.sqrt() / mean - cv).abs() < 0.1,
                "{} at {cv}",
                variance.sqrt() / mean
            );
            let mut again = ServiceTimes::new(0.1, cv, 7).unwrap();
            assert!(times.iter().take(100).all(|time| again.draw() == *time));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        assert!(
            ServiceTimes::new(0.0, 1.0, 1)
                .unwrap_err()
                .contains("service time")
        );
        assert!(
            ServiceTimes::new(f64::NAN, 1.0, 1)
                .unwrap_err()
                .contains("service time")
        );
        assert!(
            ServiceTimes::new(0.1, f64::NAN, 1)
                .unwrap_err()
                .contains("coefficient")
        );
        assert!(
            ServiceTimes::new(0.1, -1.0, 1)
                .unwrap_err()
                .contains("coefficient")
        );
    }
}
