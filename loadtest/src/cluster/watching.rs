//! One watch, as a list and the news after it, with a proof every few seconds that somebody still speaks. What was last
//! seen of a quiet object is true only as long as a change would have been told, and how long ago that was certain is
//! what an observation is worth. `kube`'s own watcher keeps bookmarks and restarts to itself, so its loop is written anew.
//!
//! The proof is the end of the watch: the API server is asked to end it soon, and it is begun anew where it was.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use kube::api::{Api, ListParams, WatchEvent, WatchParams};
use kube::{Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::time::{sleep, timeout};

/// The shortest and the longest time between two proofs: a request every second is no burden for an API server, and a
/// minute is what it takes for a watch that nobody cares for.
const PROOF_MIN: Duration = Duration::from_secs(1);
const PROOF_MAX: Duration = Duration::from_secs(60);

/// Proofs within the gap that is still no gap: one may come late, and one may be lost.
const PROOFS_PER_GAP: u32 = 3;

/// What an answer may take, and the end of a watch beyond its time.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// The first wait after a failure, and the longest: these are few watches, and each second not observed counts.
const RETRY_MIN: Duration = Duration::from_millis(250);
const RETRY_MAX: Duration = Duration::from_secs(2);

/// The API server no longer knows what came after a version, so everything is listed again.
const GONE: u16 = 410;

/// What a watch says. Everything but [`News::Failed`] proves that what was told until now was everything.
#[derive(Debug)]
pub(crate) enum News<K> {
    /// All objects there are.
    All(Vec<K>),
    /// An object that is new or has changed.
    Applied(K),
    /// An object that is gone.
    Deleted(K),
    /// Nothing has changed.
    Alive,
    /// The watch is lost, and tried again.
    Failed(String),
}

/// A watch that goes on for as long as it is asked.
pub(crate) struct Watch<K> {
    api: Api<K>,
    list: ListParams,
    watch: WatchParams,
    proof: Duration,
    state: State<K>,
    failures: u32,
}

enum State<K> {
    /// Nothing is known.
    Unlisted,
    /// Everything up to this version is known.
    At(String),
    /// The same, and what comes next is listened to.
    Listening(String, BoxStream<'static, kube::Result<WatchEvent<K>>>),
}

impl<K> Watch<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    /// The object of this name, which may be missing.
    pub(crate) fn named(api: Api<K>, name: &str, max_gap: Duration) -> Self {
        let fields = format!("metadata.name={name}");
        let (list, watch) = (ListParams::default(), WatchParams::default());
        Self::new(api, list.fields(&fields), watch.fields(&fields), max_gap)
    }

    /// The objects with these labels.
    pub(crate) fn labelled(api: Api<K>, labels: &str, max_gap: Duration) -> Self {
        let (list, watch) = (ListParams::default(), WatchParams::default());
        Self::new(api, list.labels(labels), watch.labels(labels), max_gap)
    }

    fn new(api: Api<K>, list: ListParams, watch: WatchParams, max_gap: Duration) -> Self {
        let proof = (max_gap / PROOFS_PER_GAP).clamp(PROOF_MIN, PROOF_MAX);
        let seconds = u32::try_from(proof.as_secs()).unwrap_or(u32::MAX);
        Self {
            api,
            list,
            watch: watch.timeout(seconds),
            proof,
            state: State::Unlisted,
            failures: 0,
        }
    }

    /// What is said next. After a failure it waits before it asks again.
    pub(crate) async fn next(&mut self) -> News<K> {
        if let Some(doublings) = self.failures.checked_sub(1) {
            sleep(RETRY_MAX.min(RETRY_MIN * 2u32.saturating_pow(doublings))).await;
        }
        let news = self.step().await;
        self.failures = match news {
            News::Failed(_) => self.failures.saturating_add(1),
            _ => 0,
        };
        news
    }

    async fn step(&mut self) -> News<K> {
        loop {
            let (state, news) = match &mut self.state {
                State::Unlisted => match answer(self.api.list(&self.list)).await {
                    Ok(list) => {
                        let version = list.metadata.resource_version.unwrap_or_default();
                        (State::At(version), Some(News::All(list.items)))
                    }
                    Err(failed) => (State::Unlisted, Some(failed.news())),
                },
                State::At(version) => match answer(self.api.watch(&self.watch, version)).await {
                    Ok(stream) => {
                        let version = std::mem::take(version);
                        (State::Listening(version, stream.boxed()), Some(News::Alive))
                    }
                    Err(failed) => (State::after(version, &failed), Some(failed.news())),
                },
                State::Listening(version, stream) => {
                    match timeout(self.proof + ANSWER_MAX, stream.next()).await {
                        // It has ended in order, and begins anew where it was.
                        Ok(None) => (State::At(std::mem::take(version)), None),
                        Ok(Some(Ok(event))) => match heard(event, version) {
                            Ok(news) => return news,
                            Err(failed) if failed.is_gone() => (State::Unlisted, None),
                            Err(failed) => (State::after(version, &failed), Some(failed.news())),
                        },
                        Ok(Some(Err(error))) => {
                            let failed = Failed::from(error);
                            (State::after(version, &failed), Some(failed.news()))
                        }
                        Err(_) => (
                            State::At(std::mem::take(version)),
                            Some(Failed::SILENT.news()),
                        ),
                    }
                }
            };
            self.state = state;
            if let Some(news) = news {
                return news;
            }
        }
    }
}

impl<K> State<K> {
    fn after(version: &mut String, failed: &Failed) -> Self {
        match failed.is_gone() {
            true => Self::Unlisted,
            false => Self::At(std::mem::take(version)),
        }
    }
}

/// What an event says, and the version after it.
fn heard<K: Resource>(event: WatchEvent<K>, version: &mut String) -> Result<News<K>, Failed> {
    let mut note = |object: &K| {
        if let Some(now) = object.resource_version() {
            *version = now;
        }
    };
    Ok(match event {
        WatchEvent::Added(object) | WatchEvent::Modified(object) => {
            note(&object);
            News::Applied(object)
        }
        WatchEvent::Deleted(object) => {
            note(&object);
            News::Deleted(object)
        }
        WatchEvent::Bookmark(bookmark) => {
            *version = bookmark.metadata.resource_version;
            News::Alive
        }
        WatchEvent::Error(status) => return Err(Failed(Some(status.code))),
    })
}

/// Why nothing was heard: a status, or none when there was no answer.
struct Failed(Option<u16>);

impl Failed {
    const SILENT: Self = Self(None);

    fn is_gone(&self) -> bool {
        self.0 == Some(GONE)
    }

    fn news<K>(&self) -> News<K> {
        News::Failed(match self.0 {
            Some(code) => format!("the API server answers {code}"),
            None => "the API server does not answer".to_owned(),
        })
    }
}

impl From<kube::Error> for Failed {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self(Some(status.code)),
            _ => Self::SILENT,
        }
    }
}

async fn answer<T>(request: impl Future<Output = kube::Result<T>>) -> Result<T, Failed> {
    match timeout(ANSWER_MAX, request).await {
        Ok(answer) => answer.map_err(Failed::from),
        Err(_) => Err(Failed::SILENT),
    }
}
