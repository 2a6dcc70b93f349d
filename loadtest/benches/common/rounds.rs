//! How the tables are measured: CPU time of this thread, long enough to be seen, and the median of several rounds.

use std::hint::black_box;
use std::time::Duration;

use taffrail_loadtest::clock;

/// Rounds of a table: enough for a median that a second run repeats to within a few percent.
pub(crate) const ROUNDS: usize = 15;

/// Least CPU time one thing is run for in a round; a single run often takes less than a clock resolves well.
const SPAN: Duration = Duration::from_millis(20);

/// CPU seconds that one run takes on this thread. Time in which other processes ran here is not among them.
pub(crate) fn cpu_seconds<T>(mut run: impl FnMut() -> T) -> f64 {
    let start = clock::thread_cpu();
    let mut runs = 0.0;
    loop {
        black_box(run());
        runs += 1.0;
        let passed = clock::thread_cpu() - start;
        if SPAN <= passed {
            return passed.as_secs_f64() / runs;
        }
    }
}

/// The middle one.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
