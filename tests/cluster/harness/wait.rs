//! Waiting for something to become true. A test never sleeps for a guessed time: it polls, and when the deadline passes
//! it says what it waited for and what it saw last.

use std::time::Duration;

use k8s_openapi::api::core::v1::Pod;
use taffrail::clock;

/// Between two looks: short against everything waited for, and still few requests to the API server.
const POLL: Duration = Duration::from_millis(100);

/// Polls until `look` gives a value. What it gives instead, as an error, is what was seen last.
pub(crate) async fn until<T>(
    what: &str,
    time_max: Duration,
    mut look: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let start = clock::instant();
    loop {
        // A look that hangs counts as one that saw nothing.
        let left = time_max.saturating_sub(start.elapsed()).max(POLL);
        let seen = match tokio::time::timeout(left, look()).await {
            Ok(Ok(value)) => return Ok(value),
            Ok(Err(seen)) => seen,
            Err(_) => anyhow::anyhow!("no answer"),
        };
        if time_max <= start.elapsed() {
            anyhow::bail!("waited {time_max:?} for {what}; seen last: {seen:#}");
        }
        tokio::time::sleep(POLL).await;
    }
}

/// Whether a pod's Ready condition is True.
pub(crate) fn is_ready(pod: &Pod) -> bool {
    let conditions = pod
        .status
        .iter()
        .flat_map(|status| status.conditions.iter().flatten());
    conditions
        .filter(|condition| condition.type_ == "Ready")
        .any(|condition| condition.status == "True")
}
