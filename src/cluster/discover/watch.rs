//! One watch, for as long as somebody holds it: what the API server says goes into a channel, and so does that it stopped
//! saying anything. `kube`'s watcher lists, watches, resumes and lists again after a 410; here are the waits between its
//! attempts, and the difference between a hiccup and a loss.

use std::fmt::{self, Debug};
use std::pin::pin;
use std::time::Duration;

use futures_util::StreamExt;
use kube::runtime::watcher::{self, Event, watcher};
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use crate::cluster::connect::WATCH_SECONDS;
use crate::cluster::jitter;

/// The first wait after a failure.
const RETRY_MIN: Duration = Duration::from_millis(500);

/// The longest wait after a failure, so also how long after its return the API server is asked again.
const RETRY_MAX: Duration = Duration::from_secs(10);

/// The wait after a refusal: until somebody changes a role.
const REFUSED_RETRY: Duration = Duration::from_secs(30);

/// A resumed watch that has nothing to say says nothing. After two waits and a connect without another failure it is
/// back.
const BACK_AFTER: Duration = Duration::from_secs(25);

/// What a watch says.
#[derive(Debug)]
pub(in crate::cluster) enum News<K> {
    /// Objects as they are now, or the beginning or end of a complete list.
    Event(Event<K>),
    /// It is lost, or lost for another reason than before. What was known stays.
    Lost(Loss),
    /// It is back.
    Back,
}

/// Why a watch says nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(in crate::cluster) enum Loss {
    /// RBAC does not allow it.
    Forbidden,
    /// The API server does not know the resource.
    Unknown,
    /// It cannot be reached, or answers with an error.
    Away(String),
}

/// Follows a watch and tells `sender`, until nobody listens.
pub(in crate::cluster) async fn follow<K, M>(
    api: Api<K>,
    sender: mpsc::Sender<M>,
    wrap: impl Fn(News<K>) -> M,
) where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut events = pin!(watcher(
        api,
        watcher::Config::default().timeout(WATCH_SECONDS)
    ));
    let mut failures = 0;
    let mut lost = None;
    loop {
        let next = match lost {
            None => Ok(events.next().await),
            Some(_) => timeout(BACK_AFTER, events.next()).await,
        };
        let (news, wait) = match next {
            Err(_) => (Some(News::Back), None),
            Ok(None) => return,
            Ok(Some(Ok(event))) => {
                // The watcher says so before it asks anybody.
                let is_proof = !matches!(event, Event::Init);
                if is_proof && lost.take().is_some() && sender.send(wrap(News::Back)).await.is_err()
                {
                    return;
                }
                if is_proof {
                    failures = 0;
                }
                (Some(News::Event(event)), None)
            }
            Ok(Some(Err(error))) => {
                failures += 1;
                let loss = Loss::of(&error);
                let wait = loss.wait(failures, jitter::share());
                // That a resource version is too old is part of a watch's life: a new list follows.
                let is_news = !is_expired(&error) && lost.as_ref() != Some(&loss);
                let news = is_news.then(|| News::Lost(loss.clone()));
                if is_news {
                    lost = Some(loss);
                }
                (news, Some(wait))
            }
        };
        if matches!(news, Some(News::Back)) {
            lost = None;
            failures = 0;
        }
        if let Some(news) = news
            && sender.send(wrap(news)).await.is_err()
        {
            return;
        }
        if let Some(wait) = wait {
            sleep(wait).await;
        }
    }
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Forbidden => f.write_str("RBAC does not allow it"),
            Self::Unknown => f.write_str("the API server does not know the resource"),
            Self::Away(why) => f.write_str(why),
        }
    }
}

impl Loss {
    fn of(error: &watcher::Error) -> Self {
        let code = match error {
            watcher::Error::InitialListFailed(kube::Error::Api(status))
            | watcher::Error::WatchStartFailed(kube::Error::Api(status))
            | watcher::Error::WatchFailed(kube::Error::Api(status))
            | watcher::Error::WatchError(status) => Some(status.code),
            _ => None,
        };
        match code {
            Some(401 | 403) => Self::Forbidden,
            Some(404) => Self::Unknown,
            // The whole text would differ from attempt to attempt, and each would be news.
            Some(code) => Self::Away(format!("the API server answers {code}")),
            None => Self::Away("the API server cannot be reached".to_owned()),
        }
    }

    /// How long to wait after so many failures in a row: half of it certain, half by `share` (from 0 to 1), so that many
    /// watches do not come back as one.
    fn wait(&self, failures: u32, share: f64) -> Duration {
        let longest = match self {
            Self::Forbidden | Self::Unknown => REFUSED_RETRY,
            Self::Away(_) => RETRY_MAX,
        };
        let whole = longest.min(RETRY_MIN * 2u32.saturating_pow(failures));
        whole.mul_f64((1.0 + share) / 2.0)
    }
}

/// Whether only a resource version was too old.
fn is_expired(error: &watcher::Error) -> bool {
    matches!(error, watcher::Error::WatchError(status) if status.code == 410)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_differ() {
        let away = Loss::Away(String::new());
        assert_eq!(away.wait(0, 1.0), RETRY_MIN);
        assert_eq!(away.wait(1, 0.0), RETRY_MIN);
        for failures in 5..100 {
            assert_eq!(away.wait(failures, 1.0), RETRY_MAX);
            assert_eq!(away.wait(failures, 0.0), RETRY_MAX / 2);
        }
        assert_eq!(Loss::Forbidden.wait(100, 1.0), REFUSED_RETRY);
        assert!(BACK_AFTER > 2 * RETRY_MAX);
    }
}
