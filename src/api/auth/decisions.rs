//! Answers of the API server, remembered for a little while, and each question asked once at a time.
//!
//! Questions are told apart by a digest, so what one costs does not depend on how long a requester makes it, and no
//! token is kept. It knows no clock: the time is an argument.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use ring::digest::{SHA256, digest};

use super::review::Unanswered;

/// How long an answer counts, yes or no, from when it was asked for: as long as in Kubernetes' own servers. So long may
/// somebody go on whose rights were taken away.
pub(super) const REMEMBERED: Duration = Duration::from_secs(10);

/// How many answers are kept in each of two generations, together as many as Kubernetes' own servers keep: under a
/// megabyte.
const GENERATION_MAX: usize = 4096;

/// A question's SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(super) struct Key([u8; 32]);

/// Answers `V` by question.
pub(super) struct Decisions<V: Clone> {
    kept: Arc<Mutex<Kept<V>>>,
}

/// When the young generation is full it becomes the old one, and what was old is forgotten. An answer lives for
/// seconds, so which of many goes first hardly matters, and nothing ever has to be searched for.
struct Kept<V: Clone> {
    young: HashMap<Key, Entry<V>>,
    old: HashMap<Key, Entry<V>>,
}

enum Entry<V: Clone> {
    /// Under way as long as somebody waits for it. Were it kept alive here, a question whose askers have all gone would
    /// never be driven to its end, and never asked again.
    Asked(WeakShared<Answer<V>>),
    Known {
        answer: V,
        asked: Instant,
    },
}

type Answer<V> = BoxFuture<'static, Result<V, Unanswered>>;

impl Key {
    /// The key of a question, or of a token.
    pub(super) fn of(question: &[u8]) -> Self {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, question).as_ref());
        Self(key)
    }
}

// === impl Decisions ===

impl<V: Clone + Send + Sync + 'static> Decisions<V> {
    pub(super) fn new() -> Self {
        let kept = Kept {
            young: HashMap::new(),
            old: HashMap::new(),
        };
        Self {
            kept: Arc::new(Mutex::new(kept)),
        }
    }

    /// The answer known at `now`, or the one that somebody is waiting for already, or else that of `ask`.
    ///
    /// # Errors
    /// That of asking; everybody who waited for it gets it, and whoever comes next asks again.
    pub(super) async fn get(
        &self,
        key: Key,
        now: Instant,
        ask: impl Future<Output = Result<V, Unanswered>> + Send + 'static,
    ) -> Result<V, Unanswered> {
        let answer = {
            let mut kept = lock(&self.kept);
            match kept.find(&key, now) {
                Found::Known(answer) => return Ok(answer),
                Found::Asked(answer) => answer,
                Found::Nothing => {
                    let answer = self.asking(key, now, ask);
                    if let Some(asked) = answer.downgrade() {
                        kept.put(key, Entry::Asked(asked));
                    }
                    answer
                }
            }
        };
        answer.await
    }

    fn asking(
        &self,
        key: Key,
        asked: Instant,
        ask: impl Future<Output = Result<V, Unanswered>> + Send + 'static,
    ) -> Shared<Answer<V>> {
        let all = Arc::clone(&self.kept);
        let answer = async move {
            let answer = ask.await;
            let mut kept = lock(&all);
            match &answer {
                Ok(answer) => {
                    let answer = answer.clone();
                    kept.put(key, Entry::Known { answer, asked });
                }
                Err(_) => kept.remove(&key),
            }
            answer
        };
        answer.boxed().shared()
    }
}

impl<V: Clone> fmt::Debug for Decisions<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decisions").finish_non_exhaustive()
    }
}

fn lock<V: Clone>(kept: &Mutex<Kept<V>>) -> MutexGuard<'_, Kept<V>> {
    kept.lock().unwrap_or_else(PoisonError::into_inner)
}

// === impl Kept ===

enum Found<V: Clone> {
    Known(V),
    Asked(Shared<Answer<V>>),
    Nothing,
}

impl<V: Clone> Kept<V> {
    fn find(&self, key: &Key, now: Instant) -> Found<V> {
        match self.young.get(key).or_else(|| self.old.get(key)) {
            Some(Entry::Known { answer, asked })
                if now.saturating_duration_since(*asked) < REMEMBERED =>
            {
                Found::Known(answer.clone())
            }
            Some(Entry::Asked(asked)) => asked.upgrade().map_or(Found::Nothing, Found::Asked),
            Some(Entry::Known { .. }) | None => Found::Nothing,
        }
    }

    fn put(&mut self, key: Key, entry: Entry<V>) {
        if GENERATION_MAX <= self.young.len() && !self.young.contains_key(&key) {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key, entry);
    }

    fn remove(&mut self, key: &Key) {
        self.young.remove(key);
        self.old.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::{join_all, ready};
    use tokio::sync::oneshot;

    use super::*;
    use crate::clock;

    fn key(n: usize) -> Key {
        Key::of(&n.to_le_bytes())
    }

    /// The answer when `answer` would be given, were it asked.
    async fn get(
        decisions: &Decisions<u32>,
        n: usize,
        now: Instant,
        answer: Result<u32, Unanswered>,
    ) -> Result<u32, Unanswered> {
        decisions.get(key(n), now, ready(answer)).await
    }

    #[tokio::test]
    async fn an_answer_counts_for_ten_seconds_and_then_is_asked_again() {
        let decisions = Decisions::new();
        let start = clock::instant();
        let after = |s| start + Duration::from_millis(s);
        assert_eq!(get(&decisions, 1, start, Ok(1)).await, Ok(1));
        assert_eq!(get(&decisions, 1, after(9_999), Ok(2)).await, Ok(1));
        assert_eq!(get(&decisions, 2, after(9_999), Ok(3)).await, Ok(3));
        assert_eq!(get(&decisions, 1, after(10_000), Ok(4)).await, Ok(4));
        assert_eq!(get(&decisions, 1, after(19_999), Ok(5)).await, Ok(4));
    }

    #[tokio::test]
    async fn a_failure_is_not_remembered() {
        let decisions = Decisions::new();
        let now = clock::instant();
        let failed = get(&decisions, 1, now, Err(Unanswered::Late)).await;
        assert_eq!(failed, Err(Unanswered::Late));
        assert_eq!(get(&decisions, 1, now, Ok(1)).await, Ok(1));
    }

    #[tokio::test]
    async fn a_question_is_asked_once_however_many_wait_for_it() {
        let decisions = Decisions::new();
        let now = clock::instant();
        let asked = Arc::new(AtomicUsize::new(0));
        let waiting = (0..100).map(|_| {
            let asked = Arc::clone(&asked);
            decisions.get(key(1), now, async move {
                asked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok(7)
            })
        });
        assert_eq!(join_all(waiting).await, vec![Ok(7); 100]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
    }

    #[tokio::test]
    async fn who_asked_first_may_go_and_the_others_still_get_their_answer() {
        let decisions = Decisions::new();
        let now = clock::instant();
        let (answer, answered) = oneshot::channel();
        let ask = async { answered.await.map_err(|_| Unanswered::Failed) };
        let mut first = Box::pin(decisions.get(key(1), now, ask));
        assert!((&mut first).now_or_never().is_none(), "it waits");
        let mut second = Box::pin(get(&decisions, 1, now, Ok(9)));
        assert!((&mut second).now_or_never().is_none(), "it waits too");
        drop(first);
        answer.send(8).expect("somebody waits");
        assert_eq!(second.await, Ok(8));
    }

    #[tokio::test]
    async fn a_question_whose_askers_have_all_gone_is_asked_anew() {
        let decisions = Decisions::new();
        let now = clock::instant();
        let endless = std::future::pending::<Result<u32, Unanswered>>();
        let mut first = Box::pin(decisions.get(key(1), now, endless));
        assert!((&mut first).now_or_never().is_none(), "it waits");
        drop(first);
        assert_eq!(get(&decisions, 1, now, Ok(9)).await, Ok(9));
    }

    #[tokio::test]
    async fn what_is_kept_is_bounded_and_the_latest_is_kept() {
        let decisions = Decisions::new();
        let now = clock::instant();
        for n in 0..3 * GENERATION_MAX {
            assert_eq!(get(&decisions, n, now, Ok(0)).await, Ok(0));
        }
        let entries = {
            let kept = lock(&decisions.kept);
            kept.young.len() + kept.old.len()
        };
        assert!(entries <= 2 * GENERATION_MAX, "{entries}");
        let latest = 3 * GENERATION_MAX - 1;
        assert_eq!(get(&decisions, latest, now, Ok(1)).await, Ok(0));
        assert_eq!(get(&decisions, 0, now, Ok(1)).await, Ok(1), "forgotten");
    }
}
