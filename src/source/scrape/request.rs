//! The headers of a scrape. Those with secrets are made anew for every scrape, so that a rotated secret is sent without
//! a restart, and are marked sensitive so that nothing prints them.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HOST, USER_AGENT};
use http::{HeaderMap, HeaderName, HeaderValue};
use secrecy::ExposeSecret;

use super::spec::{Auth, ScrapeSpec};
use crate::exposition;
use crate::model::health::{Failure, FailureReason};
use crate::source::secret::{SecretRef, SecretStore};

const AGENT: HeaderValue =
    HeaderValue::from_static(concat!("taffrail/", env!("CARGO_PKG_VERSION")));

/// How long the target has, as Prometheus says it: some exporters gather less when in a hurry.
const TIMEOUT_SECONDS: HeaderName = HeaderName::from_static("x-prometheus-scrape-timeout-seconds");

/// The headers of one scrape.
///
/// # Errors
/// `unauthorized`, naming where the secret is, when one cannot be read or sent; `refused` when the host is no host name.
pub(super) fn headers(spec: &ScrapeSpec, secrets: &SecretStore) -> Result<HeaderMap, Failure> {
    let host = HeaderValue::try_from(spec.endpoint.authority())
        .map_err(|_| Failure::new(FailureReason::Refused, "the host is no host name"))?;
    let coding = if spec.gzip { "gzip" } else { "identity" };
    let timeout = HeaderValue::try_from(spec.timeout.as_secs_f64().to_string())
        .expect("digits and a point fit a header");
    let mut headers = HeaderMap::from_iter([
        (HOST, host),
        (USER_AGENT, AGENT),
        (ACCEPT, HeaderValue::from_static(exposition::ACCEPT)),
        (ACCEPT_ENCODING, HeaderValue::from_static(coding)),
        (TIMEOUT_SECONDS, timeout),
    ]);
    for (name, secret) in &spec.headers {
        let value = secret.read(secrets)?;
        headers.insert(name, sensitive(value.expose_secret(), secret)?);
    }
    match &spec.auth {
        None => {}
        Some(Auth::Bearer(token)) => {
            let value = format!("Bearer {}", token.read(secrets)?.expose_secret());
            headers.insert(AUTHORIZATION, sensitive(&value, token)?);
        }
        Some(Auth::Basic { username, password }) => {
            headers.insert(AUTHORIZATION, basic(username, password, secrets)?);
        }
    }
    Ok(headers)
}

/// RFC 7617: base64 of `user:password`. A colon in the user name would move the boundary.
fn basic(
    username: &SecretRef,
    password: &SecretRef,
    secrets: &SecretStore,
) -> Result<HeaderValue, Failure> {
    let user = username.read(secrets)?;
    if user.expose_secret().contains(':') {
        let message = format!(
            "the user name from {username} holds a colon, which basic authentication cannot send"
        );
        return Err(Failure::new(FailureReason::Unauthorized, message));
    }
    let pair = format!(
        "{}:{}",
        user.expose_secret(),
        password.read(secrets)?.expose_secret()
    );
    sensitive(&format!("Basic {}", BASE64_STANDARD.encode(pair)), password)
}

fn sensitive(value: &str, secret: &SecretRef) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::from_str(value).map_err(|_| {
        let message = format!("the secret from {secret} holds a line end or another control character, which a header cannot carry");
        Failure::new(FailureReason::Unauthorized, message)
    })?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::exposition::Want;
    use crate::model::id::{ServiceId, TargetId};
    use crate::source::scrape::Endpoint;
    use crate::source::secret::SecretKey;

    fn spec() -> ScrapeSpec {
        ScrapeSpec::new(
            TargetId::new(&ServiceId::new("shop", "api"), "pod-1"),
            Endpoint::parse("http://app:8080/metrics").unwrap(),
            Duration::from_secs(1),
            Want::default(),
        )
    }

    fn literal(value: &str) -> SecretRef {
        SecretRef::Literal(value.to_owned())
    }

    #[test]
    fn a_request_says_who_asks_for_what_and_how_long_it_waits() {
        let headers = headers(&spec(), &SecretStore::default()).unwrap();
        assert_eq!(headers[HOST], "app:8080");
        assert_eq!(headers[ACCEPT], exposition::ACCEPT);
        assert_eq!(headers[ACCEPT_ENCODING], "identity");
        assert_eq!(headers[TIMEOUT_SECONDS], "0.8");
        assert!(
            headers[USER_AGENT]
                .to_str()
                .unwrap()
                .starts_with("taffrail/")
        );
        assert!(!headers.contains_key(AUTHORIZATION));
    }

    #[test]
    fn secrets_are_sent_verbatim_and_never_printed() {
        let token = HeaderName::from_static("x-auth-token");
        let mut spec = spec();
        spec.headers = vec![(token.clone(), literal("&^@$"))];
        spec.auth = Some(Auth::Bearer(literal("a.b-c/d+e==")));
        let sent = headers(&spec, &SecretStore::default()).unwrap();
        assert_eq!(sent[&token], "&^@$");
        assert_eq!(sent[AUTHORIZATION], "Bearer a.b-c/d+e==");
        let printed = format!("{sent:?} {spec:?}");
        assert!(!printed.contains("&^@$") && !printed.contains("a.b-c"));
    }

    #[test]
    fn basic_authentication_is_the_pair_in_base64() {
        let none = SecretStore::default();
        // The example of RFC 7617, section 2.
        let value = basic(&literal("Aladdin"), &literal("open sesame"), &none).unwrap();
        assert_eq!(value, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ==");
        let failure = basic(&literal("a:b"), &literal("hush"), &none).unwrap_err();
        assert_eq!(failure.reason, FailureReason::Unauthorized);
    }

    #[test]
    fn a_rotated_kubernetes_secret_is_sent_with_the_next_request() {
        let key = SecretKey {
            namespace: "shop".to_owned(),
            name: "token".to_owned(),
            key: "token".to_owned(),
        };
        let secrets = SecretStore::default();
        let mut spec = spec();
        spec.auth = Some(Auth::Bearer(SecretRef::Kubernetes(key.clone())));
        let unread = headers(&spec, &secrets).unwrap_err();
        assert_eq!(unread.reason, FailureReason::Unauthorized);
        for value in ["old", "new"] {
            secrets.set(key.clone(), Ok(value.into()));
            let sent = headers(&spec, &secrets).unwrap();
            assert_eq!(sent[AUTHORIZATION], format!("Bearer {value}"));
        }
    }

    #[test]
    fn a_secret_with_a_line_end_is_refused_without_showing_it() {
        let mut spec = spec();
        spec.headers = vec![(HeaderName::from_static("x-auth-token"), literal("hu\nsh"))];
        let failure = headers(&spec, &SecretStore::default()).unwrap_err();
        assert_eq!(failure.reason, FailureReason::Unauthorized);
        assert!(failure.message.contains("line end"));
        assert!(!failure.message.contains("hu"));
    }
}
