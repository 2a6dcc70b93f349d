//! Questions to the API server: whose a token is (`TokenReview`), and whether a user may (`SubjectAccessReview`).
//!
//! What cannot be answered in time is refused. Answers are remembered as [`super::decisions`] says.

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::authorization::v1::{SubjectAccessReview, SubjectAccessReviewSpec};
use kube::api::PostParams;
use kube::{Api, Client};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::clock;

use super::attributes::Attributes;
use super::decisions::{Decisions, Key};
use super::user::User;
use super::{AuthEvent, AuthObserver};

/// For one answer, with waiting for a place and a second try: a token's and an access review together stay below the
/// 2 s that a request may take.
const REVIEW_DEADLINE: Duration = Duration::from_millis(800);

/// Before the second try. A connection that the API server has closed is known to be so only by using it, and a
/// server that has just begun to restart is not back at once.
const RETRY_PAUSE: Duration = Duration::from_millis(50);

/// Reviews at once for users whose identity is known: at a few milliseconds each, thousands a second.
const KNOWN_MAX: usize = 32;

/// Reviews at once for strangers: of tokens, and of what the anonymous may. They have places of their own so that a
/// flood of made-up tokens never holds up the HPA controller.
const STRANGERS_MAX: usize = 8;

/// Both kinds of question.
#[derive(Debug)]
pub(super) struct Reviews {
    tokens: Arc<Desk<TokenReview>>,
    known_tokens: Decisions<Option<User>>,
    access: Arc<Desk<SubjectAccessReview>>,
    known_access: Decisions<Decision>,
    known: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
    observer: Observed,
}

/// Whether somebody may.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Decision {
    pub(super) allowed: bool,
    /// Why not, in the words of the rules; usually empty.
    pub(super) reason: Arc<str>,
}

/// Why there is no answer. The client is told this much; the log says more.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum Unanswered {
    #[error("the API server did not answer a review in time")]
    Late,
    #[error("the API server could not be asked for a review")]
    Failed,
    #[error(
        "the API server does not let the adapter ask for reviews: bind ClusterRole system:auth-delegator to its service \
         account"
    )]
    Forbidden,
}

/// Where one kind of question is asked.
#[derive(Debug)]
struct Desk<K> {
    api: Api<K>,
    kind: &'static str,
    failing: AtomicBool,
}

struct Observed(AuthObserver);

// === impl Reviews ===

impl Reviews {
    pub(super) fn new(client: &Client, observer: AuthObserver) -> Self {
        Self {
            tokens: Arc::new(Desk::new(client, "TokenReview")),
            known_tokens: Decisions::new(),
            access: Arc::new(Desk::new(client, "SubjectAccessReview")),
            known_access: Decisions::new(),
            known: Arc::new(Semaphore::new(KNOWN_MAX)),
            strangers: Arc::new(Semaphore::new(STRANGERS_MAX)),
            observer: Observed(observer),
        }
    }

    /// Whose a token is; `None` when it is nobody's.
    pub(super) async fn whose(&self, token: &str) -> Result<Option<User>, Unanswered> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                token: token.to_owned(),
                ..TokenReviewSpec::default()
            },
            ..TokenReview::default()
        };
        let (desk, places) = (Arc::clone(&self.tokens), Arc::clone(&self.strangers));
        let observer = Arc::clone(&self.observer.0);
        let ask = async move {
            let began = clock::instant();
            let answer = desk.ask(review, &places).await;
            let (code, took) = (code(&answer), began.elapsed());
            observer(AuthEvent::TokenReviewed { code, took });
            let status = answer?.status.unwrap_or_default();
            let user = status.user.map(User::from).unwrap_or_default();
            let is_proven = status.authenticated == Some(true) && !user.name.is_empty();
            Ok(is_proven.then_some(user))
        };
        let key = Key::of(token.as_bytes());
        self.known_tokens.get(key, clock::instant(), ask).await
    }

    /// Whether `user` may do what is `wanted`.
    pub(super) async fn may(
        &self,
        user: &User,
        wanted: &Attributes,
    ) -> Result<Decision, Unanswered> {
        let spec = spec(user, wanted);
        let key = Key::of(&serde_json::to_vec(&spec).map_err(|_| Unanswered::Failed)?);
        let places = if user.is_anonymous() {
            &self.strangers
        } else {
            &self.known
        };
        let (desk, places) = (Arc::clone(&self.access), Arc::clone(places));
        let observer = Arc::clone(&self.observer.0);
        let ask = async move {
            let began = clock::instant();
            let decision = decide(&desk, &places, spec).await;
            let (code, took) = (code(&decision), began.elapsed());
            let result = match &decision {
                Ok(decision) if decision.allowed => "allowed",
                Ok(_) => "denied",
                Err(_) => "failed",
            };
            observer(AuthEvent::AccessReviewed { result, code, took });
            decision
        };
        self.known_access.get(key, clock::instant(), ask).await
    }
}

impl Debug for Observed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Observed").finish_non_exhaustive()
    }
}

fn spec(user: &User, wanted: &Attributes) -> SubjectAccessReviewSpec {
    let mut spec = SubjectAccessReviewSpec {
        user: Some(user.name.clone()),
        uid: Some(user.uid.clone()).filter(|uid| !uid.is_empty()),
        groups: Some(user.groups.clone()),
        extra: Some(user.extra.clone()).filter(|extra| !extra.is_empty()),
        ..SubjectAccessReviewSpec::default()
    };
    match wanted.clone() {
        Attributes::Resource(attributes) => spec.resource_attributes = Some(*attributes),
        Attributes::Path(attributes) => spec.non_resource_attributes = Some(attributes),
    }
    spec
}

/// The HTTP status of an answer, as far as it is told apart here.
fn code<T>(answer: &Result<T, Unanswered>) -> Option<&'static str> {
    match answer {
        // Reviews are created.
        Ok(_) => Some("201"),
        Err(Unanswered::Forbidden) => Some("403"),
        Err(Unanswered::Failed | Unanswered::Late) => None,
    }
}

async fn decide(
    desk: &Desk<SubjectAccessReview>,
    places: &Semaphore,
    spec: SubjectAccessReviewSpec,
) -> Result<Decision, Unanswered> {
    let review = SubjectAccessReview {
        spec,
        ..SubjectAccessReview::default()
    };
    let status = desk.ask(review, places).await?.status.unwrap_or_default();
    Ok(Decision {
        // One authorizer may deny what no other can then allow.
        allowed: status.allowed && status.denied != Some(true),
        reason: status.reason.unwrap_or_default().into(),
    })
}

// === impl Desk ===

impl<K> Desk<K>
where
    K: kube::Resource<DynamicType = (), Scope = kube::core::ClusterResourceScope>
        + Serialize
        + DeserializeOwned
        + Clone
        + Debug,
{
    fn new(client: &Client, kind: &'static str) -> Self {
        Self {
            api: Api::all(client.clone()),
            kind,
            failing: AtomicBool::new(false),
        }
    }

    /// The review with its status. Says in the log when asking begins to fail, and when it no longer does.
    async fn ask(&self, review: K, places: &Semaphore) -> Result<K, Unanswered> {
        let asked = timeout(REVIEW_DEADLINE, async {
            let _place = places.acquire().await;
            self.twice(&review).await
        });
        let (why, error) = match asked.await {
            Ok(Ok(review)) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(review = self.kind, "Reviews are answered again");
                }
                return Ok(review);
            }
            Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
                (Unanswered::Forbidden, status.to_string())
            }
            Ok(Err(error)) => (Unanswered::Failed, error.to_string()),
            Err(_) => (Unanswered::Late, format!("after {REVIEW_DEADLINE:?}")),
        };
        if !self.failing.swap(true, Ordering::Relaxed) {
            tracing::warn!(review = self.kind, error, "{why}");
        }
        Err(why)
    }

    async fn twice(&self, review: &K) -> Result<K, kube::Error> {
        let once = || self.api.create(&POST, review);
        match once().await {
            Err(error) if may_pass(&error) => {
                tokio::time::sleep(RETRY_PAUSE).await;
                once().await
            }
            answer => answer,
        }
    }
}

static POST: std::sync::LazyLock<PostParams> = std::sync::LazyLock::new(PostParams::default);

/// Whether the same question may fare better: the connection broke, or the server is overloaded or on its way out.
fn may_pass(error: &kube::Error) -> bool {
    match error {
        kube::Error::Api(status) => status.code == 429 || 500 <= status.code,
        kube::Error::HyperError(_) | kube::Error::Service(_) => true,
        _ => false,
    }
}
