//! Whom the cluster trusts: the ConfigMap `extension-apiserver-authentication`, read once and then immutable, and what a
//! certificate and a request's headers prove under it.
//!
//! The authorities are judged by rustls' own verifier: signatures, validity, purpose, chain. A certificate without an
//! extended key usage is for every purpose (RFC 5280, section 4.2.1.12), as Kubernetes' own servers take it; one that
//! lists purposes must list `clientAuth`.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::{HeaderMap, HeaderName, HeaderValue};
use rustls::RootCertStore;
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{CertificateError, Error};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, UnixTime};
use x509_parser::prelude::{FromDer, X509Certificate};

use super::super::query::unescape;
use super::super::tls::provider;
use super::Refusal;
use super::user::User;

/// One state of the ConfigMap.
#[derive(Debug)]
pub(super) struct Trust {
    front_proxy: Option<FrontProxy>,
    clients: Option<Authority>,
}

/// Why a ConfigMap cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum TrustError {
    /// None of a bundle's certificates is one.
    #[error("{key} holds no usable certificate: {why}")]
    Bundle { key: &'static str, why: String },
    /// A list is not one.
    #[error("{key} is not a JSON array of strings")]
    List { key: &'static str },
    /// A header that HTTP cannot carry.
    #[error("{key} names {name:?}, which is no header's name")]
    Header { key: &'static str, name: String },
}

/// What one certificate is worth under one [`Trust`].
#[derive(Debug)]
pub(super) struct Verdict {
    /// Whether it is a front proxy's; `None` where there is none.
    front_proxy: Result<Option<()>, Refusal>,
    /// The user it is of; `None` where client certificates are not trusted, or it names nobody.
    client: Result<Option<User>, Refusal>,
}

#[derive(Debug)]
struct FrontProxy {
    authority: Authority,
    /// Common names; when there are none, any of the authority's certificates will do.
    names: Vec<String>,
    user_headers: Vec<HeaderName>,
    uid_headers: Vec<HeaderName>,
    group_headers: Vec<HeaderName>,
    /// In lower case, as `http` keeps header names.
    extra_prefixes: Vec<String>,
}

struct Authority(Arc<dyn ClientCertVerifier>);

// === impl Trust ===

impl Trust {
    /// Reads the ConfigMap's entries. Entries that are not there trust nobody.
    ///
    /// # Errors
    /// The first entry that cannot be used.
    pub(super) fn read(entries: &BTreeMap<String, String>) -> Result<Self, TrustError> {
        let front_proxy = match authority(entries, "requestheader-client-ca-file")? {
            None => None,
            Some(authority) => Some(FrontProxy {
                authority,
                names: list(entries, "requestheader-allowed-names")?,
                user_headers: headers(entries, "requestheader-username-headers")?,
                uid_headers: headers(entries, "requestheader-uid-headers")?,
                group_headers: headers(entries, "requestheader-group-headers")?,
                extra_prefixes: list(entries, "requestheader-extra-headers-prefix")?
                    .into_iter()
                    .map(|prefix| prefix.to_ascii_lowercase())
                    // An empty one would make an identity of every header.
                    .filter(|prefix| !prefix.is_empty())
                    .collect(),
            }),
        };
        Ok(Self {
            front_proxy,
            clients: authority(entries, "client-ca-file")?,
        })
    }

    /// Whether there is a front proxy at all; without one the API can only be asked directly.
    pub(super) fn has_front_proxy(&self) -> bool {
        self.front_proxy.is_some()
    }

    /// Whether a header says who asks.
    pub(super) fn is_identity(&self, name: &HeaderName) -> bool {
        self.front_proxy.as_ref().is_some_and(|proxy| {
            let whole = [
                &proxy.user_headers,
                &proxy.uid_headers,
                &proxy.group_headers,
            ];
            whole.into_iter().any(|names| names.contains(name)) || proxy.extra_key(name).is_some()
        })
    }

    /// What the certificate at the head of `chain` is worth at `now`.
    pub(super) fn judge(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Verdict {
        let subject = |chain: &[CertificateDer<'_>]| subject(chain).ok_or(Refusal::BadCertificate);
        let front_proxy = self.front_proxy.as_ref().map(|proxy| {
            proxy.authority.verify(chain, now)?;
            let name = subject(chain)?.name;
            if proxy.names.is_empty() || proxy.names.contains(&name) {
                return Ok(());
            }
            Err(Refusal::NotAFrontProxy)
        });
        let client = self.clients.as_ref().map(|authority| {
            authority.verify(chain, now)?;
            Ok(Some(subject(chain)?).filter(|user| !user.name.is_empty()))
        });
        Verdict {
            front_proxy: front_proxy.transpose(),
            client: client.unwrap_or(Ok(None)),
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// Who asks: whom the front proxy's headers name, or else the certificate's own subject; `None` when the front
    /// proxy names nobody.
    ///
    /// # Errors
    /// Why the certificate proves nothing.
    pub(super) fn user(&self, trust: &Trust, headers: &HeaderMap) -> Result<Option<User>, Refusal> {
        let is_front_proxy = matches!(self.front_proxy, Ok(Some(())));
        if let (true, Some(proxy)) = (is_front_proxy, &trust.front_proxy)
            && let Some(user) = proxy.user(headers)?
        {
            return Ok(Some(user));
        }
        match (&self.client, &self.front_proxy) {
            (Ok(Some(user)), _) => Ok(Some(user.clone())),
            (Err(one), Err(other)) => Err(*one.max(other)),
            (Err(one), _) | (_, Err(one)) => Err(*one),
            (Ok(None), Ok(Some(()))) => Ok(None),
            // Nobody could judge it. It was shown for a reason, so it is not nothing.
            (Ok(None), Ok(None)) => Err(Refusal::UnknownAuthority),
        }
    }
}

// === impl FrontProxy ===

impl FrontProxy {
    /// The user that the headers name, if they name one. They must come from a front proxy.
    fn user(&self, headers: &HeaderMap) -> Result<Option<User>, Refusal> {
        let first = |names: &[HeaderName]| -> Result<String, Refusal> {
            let values = names.iter().filter_map(|name| headers.get(name));
            values
                .map(text)
                .find(|text| text.as_ref() != Ok(&String::new()))
                .unwrap_or_else(|| Ok(String::new()))
        };
        let name = first(&self.user_headers)?;
        if name.is_empty() {
            return Ok(None);
        }
        let groups = self
            .group_headers
            .iter()
            .flat_map(|name| headers.get_all(name))
            .map(text)
            .collect::<Result<_, _>>()?;
        let mut extra = BTreeMap::<_, Vec<_>>::new();
        for (name, value) in headers {
            if let Some(key) = self.extra_key(name) {
                extra.entry(key).or_default().push(text(value)?);
            }
        }
        Ok(Some(User {
            name,
            uid: first(&self.uid_headers)?,
            groups,
            extra,
        }))
    }

    /// What an extra header is about: the rest of its name, which the front proxy percent-encodes because a key may hold
    /// a slash.
    fn extra_key(&self, name: &HeaderName) -> Option<String> {
        let prefixes = self.extra_prefixes.iter();
        let rest = prefixes
            .filter_map(|prefix| name.as_str().strip_prefix(prefix.as_str()))
            .next()?;
        Some(unescape(rest, b'+').unwrap_or_else(|| rest.to_owned()))
    }
}

fn text(value: &HeaderValue) -> Result<String, Refusal> {
    String::from_utf8(value.as_bytes().to_vec()).map_err(|_| Refusal::BadHeader)
}

// === impl Authority ===

impl Authority {
    fn verify(&self, chain: &[CertificateDer<'_>], now: UnixTime) -> Result<(), Refusal> {
        let (end_entity, intermediates) = chain.split_first().ok_or(Refusal::BadCertificate)?;
        let verified = self.0.verify_client_cert(end_entity, intermediates, now);
        verified.map(|_| ()).map_err(|error| refusal(&error))
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority").finish_non_exhaustive()
    }
}

fn refusal(error: &Error) -> Refusal {
    match error {
        // A namesake of an authority, with another key, has not signed it either.
        Error::InvalidCertificate(
            CertificateError::UnknownIssuer | CertificateError::BadSignature,
        ) => Refusal::UnknownAuthority,
        Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        ) => Refusal::NotValidNow,
        Error::InvalidCertificate(
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. },
        ) => Refusal::WrongPurpose,
        _ => Refusal::BadCertificate,
    }
}

/// The user that a certificate names: its common name, in the groups of its organizations. Of several common names the
/// last counts, as in Go's reading of a subject.
fn subject(chain: &[CertificateDer<'_>]) -> Option<User> {
    let (_, cert) = X509Certificate::from_der(chain.first()?).ok()?;
    let subject = cert.subject();
    Some(User {
        name: match subject.iter_common_name().last() {
            None => String::new(),
            Some(name) => name.as_str().ok()?.to_owned(),
        },
        groups: subject
            .iter_organization()
            .map(|group| group.as_str().ok().map(str::to_owned))
            .collect::<Option<_>>()?,
        ..User::default()
    })
}

/// A bundle's authorities. Those that are no certificates are passed over as long as one is left: every API server of
/// the cluster adds its own, and one that errs must not lock out the others.
fn authority(
    entries: &BTreeMap<String, String>,
    key: &'static str,
) -> Result<Option<Authority>, TrustError> {
    let Some(pem) = entries.get(key).filter(|pem| !pem.trim().is_empty()) else {
        return Ok(None);
    };
    let mut roots = RootCertStore::empty();
    let sections = CertificateDer::pem_slice_iter(pem.as_bytes());
    let (_, passed_over) = roots.add_parsable_certificates(sections.filter_map(Result::ok));
    if 0 < passed_over {
        tracing::warn!(key, certificates = passed_over, "Unreadable authorities");
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider());
    match verifier.build() {
        Ok(verifier) => Ok(Some(Authority(verifier))),
        Err(error) => Err(TrustError::Bundle {
            key,
            why: error.to_string(),
        }),
    }
}

fn list(entries: &BTreeMap<String, String>, key: &'static str) -> Result<Vec<String>, TrustError> {
    match entries.get(key).filter(|text| !text.is_empty()) {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str(text).map_err(|_| TrustError::List { key }),
    }
}

fn headers(
    entries: &BTreeMap<String, String>,
    key: &'static str,
) -> Result<Vec<HeaderName>, TrustError> {
    let names = list(entries, key)?.into_iter();
    names
        .map(|name| match HeaderName::from_bytes(name.as_bytes()) {
            Ok(header) => Ok(header),
            Err(_) => Err(TrustError::Header { key, name }),
        })
        .collect()
}

#[cfg(test)]
mod tests;
