//! Everything that an object was while somebody else changed it: a test that says "never" looks at every version, not at
//! the moments when it happens to look.

use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::ensure;
use futures_util::StreamExt;
use kube::Resource;
use kube::api::Api;
use kube::runtime::{WatchStreamExt, watcher};
use serde::de::DeserializeOwned;
use tokio_util::task::AbortOnDropHandle;

use super::wait;

/// Until the object's first version is there.
const FIRST_TIME_MAX: Duration = Duration::from_secs(30);

/// What was seen of an object so far, in order; dropping it ends the watch.
pub(crate) struct Record<T> {
    seen: Arc<Mutex<Vec<T>>>,
    _watch: AbortOnDropHandle<()>,
}

impl<T: Clone + Debug + PartialEq + Send + 'static> Record<T> {
    /// Watches the object `name`, which must be there, and keeps what `look` says of each version where it differs from
    /// the one before. It goes on through an API server's restart.
    pub(crate) async fn start<K>(
        api: Api<K>,
        name: &str,
        look: impl Fn(&K) -> T + Send + 'static,
    ) -> anyhow::Result<Self>
    where
        K: Resource<DynamicType = ()> + Clone + Debug + DeserializeOwned + Send + 'static,
    {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let only = watcher::Config::default().fields(&format!("metadata.name={name}"));
        let mut versions = watcher(api, only)
            .default_backoff()
            .applied_objects()
            .boxed();
        let written = Arc::clone(&seen);
        let watch = tokio::spawn(async move {
            while let Some(version) = versions.next().await {
                // Errors are those of an API server that is away: the watcher tries again.
                let Ok(version) = version else { continue };
                let now = look(&version);
                let mut seen = written.lock().unwrap_or_else(PoisonError::into_inner);
                if seen.last() != Some(&now) {
                    seen.push(now);
                }
            }
        });
        let record = Self {
            seen,
            _watch: AbortOnDropHandle::new(watch),
        };
        wait::until("the first version", FIRST_TIME_MAX, async || {
            ensure!(!record.seen().is_empty(), "nothing was seen of {name}");
            Ok(())
        })
        .await?;
        Ok(record)
    }

    /// What was seen so far.
    pub(crate) fn seen(&self) -> Vec<T> {
        self.seen
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}
