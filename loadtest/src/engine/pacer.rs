//! Waiting for a moment. By the runtime's timer, which is exact to a millisecond and costs next to nothing, or by a
//! thread that does nothing but wait and then wakes the thread whose request is due, which is exact to some tens of
//! microseconds. It decides nothing: whoever is woken looks at the clock and sends what is due.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::Duration;

use rustix::thread::{NanosleepRelativeResult, nanosleep, set_current_timer_slack};
use rustix::time::Timespec;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::arrivals::Arrivals;
use crate::clock;

/// The thread looks this often whether it is still wanted.
const SLEEP_MAX: Duration = Duration::from_millis(100);

/// The kernel may wake a thread up to 50 us late to save power; a nanosecond takes that away.
const TIMER_SLACK: Option<NonZeroU64> = NonZeroU64::new(1);

/// What wakes one thread of the load.
#[derive(Debug, Clone, Default)]
pub(super) enum Alarm {
    /// The timer of its runtime.
    #[default]
    Timer,
    /// The pacing thread.
    Pacer(Arc<Notify>),
}

impl Alarm {
    /// Waits until `moment`.
    pub(super) async fn until(&self, moment: Instant) {
        match self {
            Self::Timer => tokio::time::sleep_until(moment).await,
            Self::Pacer(due) => {
                while clock::instant() < moment {
                    // The timer comes to help should the pacing thread be held up longer than a millisecond.
                    tokio::select! {
                        () = due.notified() => {}
                        () = tokio::time::sleep_until(moment) => {}
                    }
                }
            }
        }
    }
}

/// Wakes the threads one after the other, each at the moments of its requests, until `stop`.
pub(super) fn run(
    arrivals: Arrivals,
    start: Instant,
    threads: &[Arc<Notify>],
    stop: &CancellationToken,
) {
    // Without it we are a little late, which the send lag shows.
    let _ = set_current_timer_slack(TIMER_SLACK);
    for (at, due) in arrivals.zip(threads.iter().cycle()) {
        let moment = start + Duration::from_nanos(at);
        loop {
            if stop.is_cancelled() {
                return;
            }
            let left = moment.saturating_duration_since(clock::instant());
            if left.is_zero() {
                break;
            }
            sleep(left.min(SLEEP_MAX));
        }
        due.notify_one();
    }
}

fn sleep(duration: Duration) {
    let request = Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: duration.subsec_nanos().into(),
    };
    // A signal may end it early; the caller looks at the clock anyway.
    let (NanosleepRelativeResult::Ok
    | NanosleepRelativeResult::Interrupted(_)
    | NanosleepRelativeResult::Err(_)) = nanosleep(&request);
}
