//! The work of a request: wait for a worker in a bounded queue, first come first served, then take a service time drawn
//! from a lognormal distribution, of which a share is burned as CPU on a thread that serves nobody else.

use std::hint::black_box;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_distr::{Distribution, LogNormal};
use rand_pcg::Pcg32;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::config::Config;
use crate::clock;

/// A service time is at most this many times the mean: a heavy tail, but one that a test can wait for.
const TAIL_MAX: f64 = 50.0;

/// Additions between two looks at the thread's CPU time, about ten microseconds, so that looking costs little.
const SPIN: u64 = 10_000;

/// The queue is full.
#[derive(Debug)]
pub(super) struct Refused;

/// The workers of one app.
pub(super) struct Workers {
    free: Semaphore,
    waiting: AtomicUsize,
    queue: usize,
    service_time: LogNormal<f64>,
    longest_s: f64,
    cpu_share: f64,
    fail_share: f64,
    rng: Mutex<Pcg32>,
    failing: Mutex<Pcg32>,
}

/// A place in the queue, given back also when the client goes away while waiting.
struct Waiting<'a>(&'a AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Workers {
    /// The workers that `config` describes, or what is wrong with it.
    pub(super) fn new(config: &Config) -> Result<Self, &'static str> {
        if config.workers == 0 || Semaphore::MAX_PERMITS < config.workers {
            return Err("workers must be at least 1");
        }
        if config.service_time.is_zero() {
            return Err("service time must be above zero");
        }
        if !(0.0..=1.0).contains(&config.cpu_share) {
            return Err("cpu share must be between 0 and 1");
        }
        if !(0.0..=1.0).contains(&config.fail_share) {
            return Err("fail share must be between 0 and 1");
        }
        let mean = config.service_time.as_secs_f64();
        let service_time = LogNormal::from_mean_cv(mean, config.service_cv)
            .map_err(|_| "coefficient of variation must be a number of at least zero")?;
        Ok(Self {
            free: Semaphore::new(config.workers),
            waiting: AtomicUsize::new(0),
            queue: config.queue,
            service_time,
            longest_s: mean * TAIL_MAX,
            cpu_share: config.cpu_share,
            fail_share: config.fail_share,
            rng: Mutex::new(Pcg32::seed_from_u64(config.seed)),
            // Draws of its own, so that a share of failures does not change the service times.
            failing: Mutex::new(Pcg32::seed_from_u64(!config.seed)),
        })
    }

    /// Does one request's work, `slowdown` times as slowly as configured, and returns the worker, still held, for what
    /// the caller has left to do. What is slower waits longer; the CPU burned stays the same, since it is something
    /// behind the app that got slow.
    pub(super) async fn work(&self, slowdown: f64) -> Result<SemaphorePermit<'_>, Refused> {
        let worker = self.worker().await?;
        let service_time = self.draw();
        let cpu = service_time.mul_f64(self.cpu_share);
        if !cpu.is_zero() {
            // Burning here would keep this thread from accepting and answering others. The task cannot panic.
            let _ = tokio::task::spawn_blocking(move || burn(cpu)).await;
        }
        tokio::time::sleep(service_time.mul_f64(slowdown).saturating_sub(cpu)).await;
        Ok(worker)
    }

    async fn worker(&self) -> Result<SemaphorePermit<'_>, Refused> {
        // A free worker means that nobody waits, since a worker that becomes free goes to the first who waits.
        if let Ok(worker) = self.free.try_acquire() {
            return Ok(worker);
        }
        let before = self.waiting.fetch_add(1, Ordering::Relaxed);
        let _place = Waiting(&self.waiting);
        if self.queue <= before {
            return Err(Refused);
        }
        self.free.acquire().await.map_err(|_| Refused)
    }

    /// Whether the next request is one of those that fail.
    pub(super) fn fails(&self) -> bool {
        let mut rng = self.failing.lock().unwrap_or_else(PoisonError::into_inner);
        rng.random_bool(self.fail_share)
    }

    fn draw(&self) -> Duration {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        Duration::from_secs_f64(self.service_time.sample(&mut *rng).min(self.longest_s))
    }
}

/// Uses `cpu` of this thread's CPU time, however long that takes on a busy machine.
fn burn(cpu: Duration) {
    let end = clock::thread_cpu() + cpu;
    while clock::thread_cpu() < end {
        black_box((0..SPIN).fold(0u64, |sum, n| black_box(sum ^ n)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn service_times_have_the_mean_the_spread_and_the_seed_asked_for() {
        let config = Config {
            service_time: Duration::from_millis(100),
            service_cv: 1.0,
            ..Config::default()
        };
        let workers = Workers::new(&config).unwrap();
        let times: Vec<f64> = (0..50_000).map(|_| workers.draw().as_secs_f64()).collect();
        let mean = times.iter().sum::<f64>() / times.len() as f64;
        let variance =
            times.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / times.len() as f64;
        assert!((mean / 0.1 - 1.0).abs() < 0.03, "mean {mean} s");
        assert!(
            (variance.sqrt() / mean - 1.0).abs() < 0.1,
            "cv {}",
            variance.sqrt() / mean
        );
        let again = Workers::new(&config).unwrap();
        assert!(
            times
                .iter()
                .take(100)
                .all(|time| again.draw().as_secs_f64() == *time)
        );
    }

    #[test]
    fn burning_uses_the_cpu_time_asked_for() {
        let before = clock::thread_cpu();
        burn(Duration::from_millis(20));
        let used = clock::thread_cpu() - before;
        assert!((20..25).contains(&used.as_millis()), "{used:?}");
    }

    #[test]
    fn nonsense_is_refused_with_a_reason() {
        let cases = [
            (
                Config {
                    workers: 0,
                    ..Config::default()
                },
                "workers",
            ),
            (
                Config {
                    service_time: Duration::ZERO,
                    ..Config::default()
                },
                "service time",
            ),
            (
                Config {
                    cpu_share: 1.5,
                    ..Config::default()
                },
                "cpu share",
            ),
            (
                Config {
                    fail_share: -0.1,
                    ..Config::default()
                },
                "fail share",
            ),
            (
                Config {
                    service_cv: f64::NAN,
                    ..Config::default()
                },
                "coefficient",
            ),
        ];
        for (config, expected) in cases {
            let reason = Workers::new(&config).err().unwrap();
            assert!(reason.contains(expected), "{reason}");
        }
    }
}
