//! Metrics that are not ours, passed through to another external metrics adapter, so that a cluster that already runs
//! one can adopt Taffrail: the group has one provider per cluster, and its APIService can point to one of the two.
//!
//! What a caller may read was decided before, by our own authorization. The other adapter sees our service account and
//! no header of the caller's, since only the front proxy may speak for others. Its failures stay its own: its requests
//! have places and a deadline of their own, and while it does not answer nobody waits for it. Our own metrics never
//! come here.
//!
//! Its metrics are not listed in discovery. The HPA never looks there, names are any path segment in this group, and
//! the documents must not depend on anybody: they are how the aggregator judges our health.

mod breaker;
mod client;
mod failure;
mod flags;
mod standing;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::header::VIA;
use http::{HeaderMap, HeaderValue};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::clock;

use super::GROUP_VERSION_PATH;
use super::status::Status;
use breaker::Breaker;
use client::{Answer, Client};
use failure::Failure;
use standing::{Standing, State};

pub use client::OpenError;
pub use flags::{DelegateArgs, DelegateSpec, DelegateUrl};

/// How we sign requests that we pass on, and know them again when they come back.
const VIA_US: HeaderValue = HeaderValue::from_static("1.1 taffrail");
const PSEUDONYM: &str = "taffrail";

/// What the delegate may cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DelegateLimits {
    /// Its requests whose answers have not left yet; one more is a 503 at once. All requests of an API server may come
    /// over one HTTP/2 connection, which has room for 100 of them: a third of it may be stuck here, the rest is ours.
    pub in_flight: usize,
    /// From the first byte to the last, connecting included; short of the 2 s that a request of ours may take, so that
    /// there is time to say what was wrong.
    pub deadline: Duration,
    /// Failures in a row after which it is left alone. More than a restart of one of its replicas costs.
    pub failures: u32,
    /// For how long, before one request tries again. A third of the HPA's interval, so that no metric misses two
    /// syncs of it after the delegate is back.
    pub pause: Duration,
}

/// What became of one request that was meant for the delegate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct DelegateEvent {
    /// One of a few words: `ok`, `error` for its own errors, or what went wrong.
    pub result: &'static str,
    /// How long it took; absent when it was not asked.
    pub took: Option<Duration>,
}

/// What is told of each such request. It is called on the request's path, so it must be quick.
pub type DelegateObserver = Arc<dyn Fn(DelegateEvent) + Send + Sync>;

/// The other adapter.
pub struct Delegate {
    client: Client,
    limits: DelegateLimits,
    places: Arc<Semaphore>,
    health: Mutex<Health>,
    observer: DelegateObserver,
}

/// What is known of it.
struct Health {
    breaker: Breaker,
    standing: Standing,
}

/// Its answer, which keeps its place until it was sent.
#[derive(Debug)]
pub(super) struct Passed {
    pub(super) answer: Answer,
    pub(super) place: OwnedSemaphorePermit,
}

impl Default for DelegateLimits {
    fn default() -> Self {
        Self {
            in_flight: 32,
            deadline: Duration::from_millis(1500),
            failures: 5,
            pause: Duration::from_secs(5),
        }
    }
}

// === impl Delegate ===

impl Delegate {
    /// The adapter that `spec` names. It is not contacted before it is needed.
    ///
    /// # Errors
    /// When its authorities cannot be read.
    pub fn open(spec: DelegateSpec) -> Result<Self, OpenError> {
        let limits = DelegateLimits::default();
        Ok(Self {
            client: Client::open(spec)?,
            limits,
            places: Arc::new(Semaphore::new(limits.in_flight)),
            health: Mutex::new(Health::new(limits)),
            observer: Arc::new(|_| {}),
        })
    }

    /// The same with other limits.
    #[must_use]
    pub fn with_limits(mut self, limits: DelegateLimits) -> Self {
        self.limits = limits;
        self.places = Arc::new(Semaphore::new(limits.in_flight));
        self.health = Mutex::new(Health::new(limits));
        self
    }

    /// The same with someone who is told of each request.
    #[must_use]
    pub fn observed_by(mut self, observer: DelegateObserver) -> Self {
        self.observer = observer;
        self
    }

    /// Reads a metric of a namespace; `query` goes with it as it came.
    ///
    /// # Errors
    /// A 503 that says what is wrong with the delegate, but not where it is: this ends up in events that more people
    /// read than may know. A 404 for names that no path of Kubernetes has.
    pub(super) async fn read(
        self: &Arc<Self>,
        namespace: &str,
        metric: &str,
        query: Option<&str>,
    ) -> Result<Passed, Status> {
        let Some(path) = path(namespace, metric, query) else {
            return Err(Status::not_found(format!(
                "{metric:?} in namespace {namespace:?} is no metric: a name is one segment of a path"
            )));
        };
        let unavailable = |failure: &Failure| {
            Status::unavailable(format!(
                "{metric} is not a metric of Taffrail's own, and the delegate {failure}"
            ))
        };
        let place = self.admit().map_err(|failure| {
            self.tell(failure.result(), None);
            unavailable(&failure)
        })?;
        // In a task of its own: when the caller goes away, the verdict on the delegate is still due, and the connection
        // is still good for the next. It lasts no longer than the deadline, and keeps its place until then.
        let delegate = Arc::clone(self);
        let asked = tokio::spawn(async move {
            let answer = delegate.ask(path).await?;
            Ok(Passed { answer, place })
        });
        match asked.await {
            Ok(passed) => passed.map_err(|failure: Failure| unavailable(&failure)),
            Err(error) => {
                tracing::error!(%error, "A request to the delegate panicked");
                Err(Status::internal())
            }
        }
    }

    /// A place, when the delegate may be asked.
    fn admit(&self) -> Result<OwnedSemaphorePermit, Failure> {
        let place = Arc::clone(&self.places)
            .try_acquire_owned()
            .map_err(|_| Failure::Busy)?;
        // After the place: whoever is admitted here may be the one that tries, and must go on to do so.
        self.with_health(|health| {
            if health.breaker.admits(clock::instant()) {
                Ok(place)
            } else {
                Err(Failure::LeftAlone)
            }
        })
    }

    async fn ask(&self, path: String) -> Result<Answer, Failure> {
        let began = clock::instant();
        let asked = timeout(self.limits.deadline, self.client.get(path)).await;
        let outcome = asked.unwrap_or(Err(Failure::Silent));
        let result = match &outcome {
            Ok(answer) if answer.code.is_success() => "ok",
            Ok(_) => "error",
            Err(failure) => failure.result(),
        };
        self.tell(result, Some(began.elapsed()));
        self.judge(&outcome, clock::instant());
        outcome
    }

    /// Notes what an outcome says of the delegate, and logs it when that is news.
    fn judge(&self, outcome: &Result<Answer, Failure>, now: Instant) {
        let failure = outcome.as_ref().err();
        let news = self.with_health(|health| {
            let state = match failure {
                Some(failure) if failure.is_no_answer() => {
                    let left_alone = health.breaker.failed(now);
                    left_alone.then_some(State::Silent)
                }
                Some(Failure::NoToken(_)) => Some(State::Unasked),
                Some(Failure::Refused(_)) => {
                    health.breaker.answered();
                    Some(State::Refuses)
                }
                Some(_) => {
                    health.breaker.answered();
                    None
                }
                None => {
                    health.breaker.answered();
                    Some(State::Answers)
                }
            };
            state.filter(|state| health.standing.is_news(*state, now))
        });
        match news {
            None => {}
            Some(State::Answers) => {
                tracing::info!(delegate = %self.client.url(), "The delegate answers");
            }
            Some(_) => {
                let error = failure.map(Failure::in_full).unwrap_or_default();
                tracing::warn!(delegate = %self.client.url(), %error, "The delegate's metrics cannot be read");
            }
        }
    }

    fn tell(&self, result: &'static str, took: Option<Duration>) {
        (self.observer)(DelegateEvent { result, took });
    }

    fn with_health<T>(&self, f: impl FnOnce(&mut Health) -> T) -> T {
        f(&mut self.health.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl fmt::Debug for Delegate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delegate")
            .field("url", self.client.url())
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Health {
    fn new(limits: DelegateLimits) -> Self {
        Self {
            breaker: Breaker::new(limits.failures, limits.pause),
            standing: Standing::default(),
        }
    }
}

/// Whether a Taffrail passed this request on already. Two that are each other's delegate would else send a name that
/// neither knows to and fro.
pub(super) fn was_passed_on(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(VIA).iter();
    lines
        .filter_map(|line| line.to_str().ok())
        .flat_map(|line| line.split(','))
        .any(|hop| hop.split_whitespace().nth(1) == Some(PSEUDONYM))
}

/// The path with query of a read. The segments are encoded anew from what was authorized, so that the delegate cannot
/// read them in another way; `None` for those that a server may take for several segments or for none.
fn path(namespace: &str, metric: &str, query: Option<&str>) -> Option<String> {
    let mut path = format!("{GROUP_VERSION_PATH}/namespaces");
    for segment in [namespace, metric] {
        if segment.is_empty() || segment == "." || segment == ".." || segment.contains('/') {
            return None;
        }
        path.push('/');
        encode(segment, &mut path);
    }
    if let Some(query) = query {
        path.push('?');
        path.push_str(query);
    }
    Some(path)
}

/// Percent-encodes what is not plain in a path; Kubernetes' clients, too, leave `:` and `@` and encode `*`.
fn encode(segment: &str, path: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for byte in segment.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:@".contains(&byte) {
            path.push(char::from(byte));
        } else {
            path.push('%');
            path.push(char::from(DIGITS[usize::from(byte >> 4)]));
            path.push(char::from(DIGITS[usize::from(byte & 15)]));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_encoded_as_they_came_and_the_query_is_left_alone() {
        for (namespace, metric, query, expected) in [
            ("shop", "s0-rabbit", None, "/shop/s0-rabbit"),
            (
                "shop",
                "a|b*c",
                Some("labelSelector=a%3Db+c"),
                "/shop/a%7Cb%2Ac?labelSelector=a%3Db+c",
            ),
            ("shop", "x:y@z~1.5_", Some(""), "/shop/x:y@z~1.5_?"),
            (
                "shop",
                "\u{fc}?#%2F\r\n",
                None,
                "/shop/%C3%BC%3F%23%252F%0D%0A",
            ),
        ] {
            let path = path(namespace, metric, query).unwrap();
            assert_eq!(path, format!("{GROUP_VERSION_PATH}/namespaces{expected}"));
        }
    }

    #[test]
    fn a_name_that_could_lead_to_another_path_is_refused() {
        for (namespace, metric) in [
            ("..", "a"),
            ("shop", ".."),
            ("shop", "."),
            ("shop/../other", "a"),
            ("shop", "a/b"),
            ("shop", ""),
        ] {
            assert_eq!(path(namespace, metric, None), None, "{namespace} {metric}");
        }
    }

    #[test]
    fn a_request_that_a_taffrail_passed_on_is_known_among_other_hops() {
        let via = |lines: &[&'static str]| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(VIA, HeaderValue::from_static(line));
            }
            was_passed_on(&headers)
        };
        assert!(via(&["1.1 taffrail"]));
        assert!(via(&["2.0 proxy, 1.1 taffrail (first)"]));
        assert!(via(&["2.0 proxy", "1.1  taffrail,1.1 other"]));
        assert!(!via(&[]));
        assert!(!via(&["1.1 taffrail-proxy, 1.1 other (taffrail)"]));
        let mut headers = HeaderMap::new();
        headers.insert(VIA, VIA_US);
        assert!(was_passed_on(&headers), "we know our own signature");
    }
}
