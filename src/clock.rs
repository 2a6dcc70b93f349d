//! The one reader of the clock and of the environment. Everything else takes the time as an argument.

use crate::model::time::Timestamp;

/// The wall clock, now.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the wall clock"
)]
pub fn now() -> Timestamp {
    let since_epoch = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    Timestamp::from_ms(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
}

/// The monotonic clock, for timers and spans at the edge.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the monotonic clock"
)]
pub fn instant() -> std::time::Instant {
    std::time::Instant::now()
}

/// An environment variable; `None` when unset or not UTF-8.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
