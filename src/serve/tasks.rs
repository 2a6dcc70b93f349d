//! The tasks beside the API and the pipeline: none ends unless told to, and some have something to do when they are.

use std::time::Duration;

use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::warn;

/// Tasks that end when they are told to, each with what it is.
#[derive(Default)]
pub(super) struct Tasks {
    running: JoinSet<&'static str>,
    stop: CancellationToken,
}

impl Tasks {
    /// Tells a task to end; for one that has last words, and so must not be dropped wherever it is.
    pub(super) fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Begins a task that may be dropped wherever it is.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        let stop = self.stop();
        self.spawn_with_last_words(name, async move {
            tokio::select! {
                () = task => {}
                () = stop.cancelled() => {}
            }
        });
    }

    /// Begins a task that ends by itself after [`Tasks::stop`].
    pub(super) fn spawn_with_last_words(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.running.spawn(async move {
            task.await;
            name
        });
    }

    /// The name of the next one that ends, or how it broke down; waits for ever while there is none.
    pub(super) async fn ended(&mut self) -> String {
        match self.running.join_next().await {
            Some(Ok(name)) => name.to_owned(),
            Some(Err(error)) => error.to_string(),
            None => std::future::pending().await,
        }
    }

    /// Tells all of them to end, and hears their last words for as long as `bound`.
    pub(super) async fn end_within(mut self, bound: Duration) {
        self.stop.cancel();
        let all = async { while self.running.join_next().await.is_some() {} };
        if tokio::time::timeout(bound, all).await.is_err() {
            warn!("Tasks were cut short at the end of the drain");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[tokio::test]
    async fn last_words_are_heard_and_whoever_has_none_is_dropped() {
        let mut tasks = Tasks::default();
        let (stop, heard) = (tasks.stop(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&heard);
        tasks.spawn("one that never ends", std::future::pending());
        tasks.spawn_with_last_words("one with last words", async move {
            stop.cancelled().await;
            tokio::task::yield_now().await;
            told.store(true, Ordering::Relaxed);
        });
        tasks.end_within(Duration::from_secs(60)).await;
        assert!(heard.load(Ordering::Relaxed));
    }

    #[tokio::test]
    async fn last_words_have_a_bound() {
        let mut tasks = Tasks::default();
        tasks.spawn_with_last_words("one that never ends", std::future::pending());
        tasks.end_within(Duration::from_millis(1)).await;
    }

    #[tokio::test]
    async fn one_that_ends_by_itself_is_named() {
        let mut tasks = Tasks::default();
        tasks.spawn("one that never ends", std::future::pending());
        tasks.spawn("one with a bug", async {});
        assert_eq!(tasks.ended().await, "one with a bug");
    }
}
