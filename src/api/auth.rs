//! Who asks, and whether they may: authentication and authorization as Kubernetes' own extension API servers do them.
//!
//! Behind the aggregation layer a request arrives over the front proxy's certificate with its user in headers; anybody
//! else comes with a client certificate, a bearer token, or nothing. What the API server trusts is read from the
//! ConfigMap `kube-system/extension-apiserver-authentication` and followed, so that a rotated authority needs no
//! restart. Whether the user may is asked of the API server, which alone knows the cluster's rules. Whatever cannot be
//! known is refused. Nothing here knows metrics, and no handler learns who asked.
//!
//! | room | what is in it |
//! |---|---|
//! | [`user`] | an identity |
//! | [`trust`] | the ConfigMap, read: authorities, names and headers; what a certificate and headers prove |
//! | [`follow`] | the watch of that ConfigMap |
//! | [`peer`] | a connection's certificate, taken in the handshake and judged per request |
//! | [`attributes`] | what a request asks for, in the words of the cluster's rules |
//! | [`review`], [`decisions`] | questions to the API server, and their answers for ten seconds |

mod attributes;
mod decisions;
mod follow;
mod peer;
mod review;
mod trust;
mod user;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, HeaderName};
use kube::Client;

use crate::clock;

use super::status::Status;

use attributes::Attributes;
use review::Reviews;
use trust::Trust;
use user::User;

pub(super) use peer::{AnyCertificate, Peer};

/// What anybody may ask, for probes come without identity. Exactly these: the paths of single checks are not among
/// them.
const OPEN_PATHS: [&str; 3] = ["/healthz", "/livez", "/readyz"];

/// Lets requests in, or not.
pub struct Guard {
    client: Client,
    trust: ArcSwapOption<Trust>,
    reviews: Reviews,
    observer: AuthObserver,
}

/// What is told of authentication and authorization, for counters. It is called on the request's path, so it must be
/// quick.
pub type AuthObserver = Arc<dyn Fn(AuthEvent) + Send + Sync>;

/// One thing to count.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AuthEvent {
    /// A request was a 401, or a 500 because a token could not be reviewed.
    Unauthenticated {
        /// Of a fixed set; see [`Refusal::as_str`].
        reason: &'static str,
    },
    /// The API server was asked whose a token is; what is remembered is not asked again.
    TokenReviewed {
        /// The HTTP status, where it answered.
        code: Option<&'static str>,
        /// With waiting for a place, and a second try.
        took: Duration,
    },
    /// The API server was asked whether somebody may do something; what is remembered is not asked again.
    AccessReviewed {
        /// `allowed`, `denied` or `failed`.
        result: &'static str,
        /// The HTTP status, where it answered.
        code: Option<&'static str>,
        /// With waiting for a place, and a second try.
        took: Duration,
    },
}

/// Who may pass, as far as it is told to whoever answers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// The controller that HPAs are run by.
    HpaController,
    /// Anybody else.
    Other,
}

/// Why a request that names somebody is not believed. The order is of precision: when two authorities refuse a
/// certificate, what the one that knows it says is worth more than that the other does not.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Refusal {
    /// No authority that the cluster trusts has signed the certificate.
    UnknownAuthority,
    /// The certificate is broken, or wrongly signed.
    BadCertificate,
    /// It is not valid now.
    NotValidNow,
    /// It is not for clients.
    WrongPurpose,
    /// The front proxy's authority vouches for it, under a name that is not a front proxy's.
    NotAFrontProxy,
    /// An identity header is no text.
    BadHeader,
    /// The API server does not know the token.
    BadToken,
}

// === impl Guard ===

impl Guard {
    /// A guard that asks the API server behind `client`. Until [`Guard::follow`] has read the cluster's authorities it
    /// believes no certificate.
    pub fn new(client: Client, observer: AuthObserver) -> Self {
        Self {
            reviews: Reviews::new(&client, Arc::clone(&observer)),
            client,
            trust: ArcSwapOption::empty(),
            observer,
        }
    }

    /// Keeps the authorities as the cluster has them, for ever.
    pub async fn follow(&self) {
        follow::follow(self.client.clone(), &self.trust).await;
    }

    /// Whether the authorities were read once. Until then nobody behind the aggregation layer can be let in.
    pub fn is_ready(&self) -> bool {
        self.trust.load().is_some()
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// 401 for whoever is not who they say, 403 for whoever may not, 500 when the API server could not be asked.
    pub(super) async fn admit(&self, parts: &Parts) -> Result<Asker, Status> {
        if OPEN_PATHS.contains(&parts.uri.path()) {
            return Ok(Asker::Other);
        }
        let user = self.identify(parts).await?;
        if user.is_master() {
            return Ok(Asker::Other);
        }
        let wanted = Attributes::of(parts);
        let decision = self.reviews.may(&user, &wanted).await.map_err(|error| {
            Status::unreviewed(format!("cannot authorize user {:?}: {error}", user.name))
        })?;
        if decision.allowed {
            return Ok(if user.is_hpa_controller() {
                Asker::HpaController
            } else {
                Asker::Other
            });
        }
        Err(Status::forbidden(
            wanted.forbidden(&user.name, &decision.reason),
        ))
    }

    /// Removes everything that says who asks, so that no handler can believe it or pass it on.
    pub(super) fn drop_identity(&self, headers: &mut HeaderMap) {
        if let Some(trust) = self.trust.load().as_deref() {
            remove(headers, |name| trust.is_identity(name));
        }
        drop_identity(headers);
    }

    /// Who asks. The first proof counts; a refused proof counts only when there is no other, and then it is not
    /// forgotten: whoever fails to prove something is not let in as nobody.
    async fn identify(&self, parts: &Parts) -> Result<User, Status> {
        let refusal = match self.by_certificate(parts) {
            Ok(Some(user)) => return Ok(user.authenticated()),
            Ok(None) => None,
            Err(refusal) => Some(refusal),
        };
        let Some(token) = bearer(&parts.headers) else {
            return refusal.map_or_else(
                || Ok(User::anonymous()),
                |refusal| Err(self.refuse(refusal)),
            );
        };
        match self.reviews.whose(token).await {
            Ok(Some(user)) => Ok(user.authenticated()),
            Ok(None) => Err(self.refuse(Refusal::BadToken)),
            Err(error) => {
                let reason = "token_not_reviewed";
                (self.observer)(AuthEvent::Unauthenticated { reason });
                let message = format!("cannot authenticate the bearer token: {error}");
                Err(Status::unreviewed(message))
            }
        }
    }

    fn by_certificate(&self, parts: &Parts) -> Result<Option<User>, Refusal> {
        let Some(peer) = parts.extensions.get::<Arc<Peer>>() else {
            return Ok(None);
        };
        if !peer.has_certificate() {
            return Ok(None);
        }
        let Some(trust) = self.trust.load_full() else {
            return Err(Refusal::UnknownAuthority);
        };
        let verdict = peer.judged_by(&trust, clock::instant());
        verdict.user(&trust, &parts.headers)
    }

    fn refuse(&self, refusal: Refusal) -> Status {
        let reason = refusal.as_str();
        (self.observer)(AuthEvent::Unauthenticated { reason });
        tracing::debug!(reason, "Unauthenticated");
        Status::unauthorized(refusal.to_string())
    }
}

impl fmt::Debug for Guard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Guard")
            .field("is_ready", &self.is_ready())
            .finish_non_exhaustive()
    }
}

// === impl Refusal ===

impl Refusal {
    /// As a metric's label.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownAuthority => "unknown_authority",
            Self::BadCertificate => "bad_certificate",
            Self::NotValidNow => "not_valid_now",
            Self::WrongPurpose => "wrong_purpose",
            Self::NotAFrontProxy => "not_a_front_proxy",
            Self::BadHeader => "bad_header",
            Self::BadToken => "bad_token",
        }
    }
}

/// As the client reads it, who knows its own certificate.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::UnknownAuthority => "no trusted authority has signed the client certificate",
            Self::BadCertificate => "the client certificate cannot be verified",
            Self::NotValidNow => "the client certificate is not valid now",
            Self::WrongPurpose => "the client certificate is not for client authentication",
            Self::NotAFrontProxy => "the client certificate's name is not that of a front proxy",
            Self::BadHeader => "an identity header is not UTF-8",
            Self::BadToken => "the bearer token is not valid",
        })
    }
}

/// Removes what the front proxy usually sets, and tokens. Enough where nobody is authenticated.
pub(super) fn drop_identity(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    remove(headers, |name| name.as_str().starts_with("x-remote-"));
}

fn remove(headers: &mut HeaderMap, is_removed: impl Fn(&HeaderName) -> bool) {
    let names: Vec<_> = headers.keys().filter(|n| is_removed(n)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// The token of an `Authorization: Bearer` header; any other scheme is nobody's.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut words = headers.get(AUTHORIZATION)?.to_str().ok()?.split(' ');
    let scheme = words.next()?;
    let token = words.find(|word| !word.is_empty())?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bearer_token_is_one() {
        let of = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().expect("a header value"));
            bearer(&headers).map(str::to_owned)
        };
        for value in ["Bearer abc.def", "bearer abc.def", "BEARER  abc.def more"] {
            assert_eq!(of(value).as_deref(), Some("abc.def"), "{value}");
        }
        for value in ["Basic YTpi", "Bearer", "Bearer ", "abc.def"] {
            assert_eq!(of(value), None, "{value}");
        }
    }

    #[tokio::test]
    async fn headers_with_names_of_the_config_map_are_dropped_like_the_usual_ones() {
        let unused = tower::service_fn(async |_: http::Request<kube::client::Body>| {
            Err::<http::Response<axum::body::Body>, _>(std::io::Error::other("unused"))
        });
        let guard = Guard::new(Client::new(unused, "default"), Arc::new(|_| {}));
        let authority = rcgen::generate_simple_self_signed(vec!["ca".to_owned()]);
        let entries = [
            (
                "requestheader-client-ca-file",
                authority.expect("a legal name").cert.pem(),
            ),
            ("requestheader-username-headers", r#"["X-Jo"]"#.to_owned()),
        ];
        let entries = entries.map(|(key, value)| (key.to_owned(), value));
        let trust = Trust::read(&entries.into()).expect("a legal ConfigMap");
        guard.trust.store(Some(Arc::new(trust)));
        let mut headers = HeaderMap::new();
        for name in ["x-jo", "x-remote-user", "authorization", "accept"] {
            headers.append(name, "a".parse().expect("a value"));
            headers.append(name, "b".parse().expect("a value"));
        }
        guard.drop_identity(&mut headers);
        let left: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(left, ["accept"]);
    }

    #[test]
    fn the_authority_that_knows_a_certificate_is_the_one_whose_words_count() {
        let said = [Refusal::UnknownAuthority, Refusal::NotValidNow];
        assert_eq!(said.into_iter().max(), Some(Refusal::NotValidNow));
    }
}
