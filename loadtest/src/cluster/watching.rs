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
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::clock;

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

/// A watch that ends sooner than this was ended at once: it is begun anew after the first wait only, so that whatever
/// answers like that, such as a server under strain, is not asked without end. The shortest proof takes longer.
const WATCH_MIN: Duration = Duration::from_millis(500);

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
    /// Nothing is asked before.
    rests_until: Option<Instant>,
}

enum State<K> {
    /// Nothing is known.
    Unlisted,
    /// Everything up to this version is known.
    At(String),
    /// The same, and what comes next is listened to since a moment.
    Listening(
        String,
        BoxStream<'static, kube::Result<WatchEvent<K>>>,
        Instant,
    ),
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
            rests_until: None,
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
            if let Some(until) = self.rests_until {
                sleep_until(until).await;
                self.rests_until = None;
            }
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
                        let listening = State::Listening(version, stream.boxed(), clock::instant());
                        (listening, Some(News::Alive))
                    }
                    Err(failed) => (State::after(version, &failed), Some(failed.news())),
                },
                State::Listening(version, stream, since) => {
                    let since = *since;
                    match timeout(self.proof + ANSWER_MAX, stream.next()).await {
                        // It has ended in order, and begins anew where it was.
                        Ok(None) => {
                            self.rests_until = rest(since);
                            (State::At(std::mem::take(version)), None)
                        }
                        Ok(Some(Ok(event))) => match heard(event, version) {
                            Ok(news) => return news,
                            Err(failed) if failed.is_gone() => {
                                self.rests_until = rest(since);
                                (State::Unlisted, None)
                            }
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

/// When the next watch may begin after one that ends now; `None` when it may at once.
fn rest(since: Instant) -> Option<Instant> {
    let now = clock::instant();
    (now - since < WATCH_MIN).then(|| now + RETRY_MIN)
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

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use k8s_openapi::api::core::v1::ConfigMap;
    use kube::Client;
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    /// What a server says to a request, and whether it then goes on holding the connection without a word.
    struct Answer(u16, &'static str, bool);

    const LIST: &str = r#"{"kind":"List","apiVersion":"v1","metadata":{"resourceVersion":"7"},"items":[{"metadata":{"name":"a"}}]}"#;
    const CHANGE: &str = r#"{"type":"MODIFIED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","resourceVersion":"9"}}}
"#;
    const EXPIRED: &str = r#"{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"old","reason":"Expired","code":410}}
"#;
    const REFUSED: &str = r#"{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no","reason":"Forbidden","code":403}"#;

    /// A server that gives one answer after the other, and notes what it was asked.
    async fn server(answers: Vec<Answer>) -> (Client, Arc<Mutex<Vec<String>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        tokio::spawn(async move {
            let mut held = Vec::new();
            for answer in answers {
                let (stream, _) = listener.accept().await.unwrap();
                held.extend(respond(stream, &answer, &noted).await);
            }
            std::future::pending::<()>().await;
        });
        let url = format!("http://{address}").parse().unwrap();
        let mut config = kube::Config::new(url);
        config.default_retry = false;
        (Client::try_from(config).unwrap(), asked)
    }

    async fn respond(
        stream: TcpStream,
        answer: &Answer,
        asked: &Mutex<Vec<String>>,
    ) -> Option<TcpStream> {
        let mut stream = BufReader::new(stream);
        let mut first = String::new();
        stream.read_line(&mut first).await.unwrap();
        asked.lock().unwrap().push(first);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            stream.read_line(&mut line).await.unwrap();
        }
        let Answer(code, body, holds) = answer;
        let head = format!(
            "HTTP/1.1 {code} -\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n"
        );
        let mut stream = stream.into_inner();
        stream.write_all(head.as_bytes()).await.unwrap();
        stream.write_all(body.as_bytes()).await.unwrap();
        holds.then_some(stream)
    }

    fn watch(client: Client) -> Watch<ConfigMap> {
        Watch::named(Api::namespaced(client, "shop"), "a", Duration::from_secs(3))
    }

    #[tokio::test]
    async fn a_watch_goes_on_where_it_ended_and_says_that_it_lives() {
        let answers = vec![
            Answer(200, LIST, false),
            Answer(200, CHANGE, false),
            Answer(200, "", false),
        ];
        let (client, asked) = server(answers).await;
        let mut watch = watch(client);
        assert!(matches!(watch.next().await, News::All(all) if all.len() == 1));
        assert!(matches!(watch.next().await, News::Alive));
        assert!(matches!(watch.next().await, News::Applied(object) if object.name_any() == "a"));
        assert!(
            matches!(watch.next().await, News::Alive),
            "it has begun anew"
        );
        let asked = asked.lock().unwrap().clone();
        assert!(
            asked[1].contains("resourceVersion=7") && asked[1].contains("timeoutSeconds=1&"),
            "{asked:?}"
        );
        assert!(asked[2].contains("resourceVersion=9"), "{asked:?}");
        assert!(
            asked
                .iter()
                .all(|line| line.contains("fieldSelector=metadata.name%3Da")),
            "{asked:?}"
        );
    }

    #[tokio::test]
    async fn what_the_server_forgot_is_listed_again_and_is_no_failure() {
        let answers = vec![
            Answer(200, LIST, false),
            Answer(200, EXPIRED, false),
            Answer(200, LIST, false),
        ];
        let (client, _) = server(answers).await;
        let mut watch = watch(client);
        assert!(matches!(watch.next().await, News::All(_)));
        let begun = clock::instant();
        assert!(matches!(watch.next().await, News::Alive));
        assert!(matches!(watch.next().await, News::All(_)));
        let took = clock::instant() - begun;
        assert!(RETRY_MIN <= took, "it was listed again after {took:?}");
    }

    #[tokio::test]
    async fn a_server_that_ends_every_watch_at_once_is_not_asked_without_end() {
        let answers = [LIST, "", "", ""].map(|body| Answer(200, body, false));
        let (client, asked) = server(answers.into()).await;
        let mut watch = watch(client);
        let begun = clock::instant();
        assert!(matches!(watch.next().await, News::All(_)));
        for _ in 0..3 {
            assert!(matches!(watch.next().await, News::Alive));
        }
        // Two of them rested; one that lived for longer because the machine stood still took longer than a rest.
        let took = clock::instant() - begun;
        assert!(2 * RETRY_MIN <= took, "three watches within {took:?}");
        assert_eq!(asked.lock().unwrap().len(), 4);
    }

    #[tokio::test]
    async fn a_refusal_and_a_silence_are_failures_that_are_tried_again() {
        let answers = vec![
            Answer(403, REFUSED, false),
            Answer(200, LIST, false),
            Answer(200, "", true),
            Answer(200, "", true),
        ];
        let (client, _) = server(answers).await;
        let mut watch = watch(client);
        assert!(matches!(watch.next().await, News::Failed(why) if why.ends_with("answers 403")));
        assert!(matches!(watch.next().await, News::All(_)));
        assert!(matches!(watch.next().await, News::Alive));
        // It was to end after a second, and neither ends nor says a word.
        let silent = timeout(Duration::from_secs(30), watch.next())
            .await
            .unwrap();
        assert!(matches!(silent, News::Failed(why) if why.ends_with("does not answer")));
        assert!(matches!(watch.next().await, News::Alive));
    }
}
