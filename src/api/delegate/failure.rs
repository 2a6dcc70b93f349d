//! Why there is no answer of the delegate: in words for the callers, who may not know where it is, in full for the
//! operator's log, and as one word for metrics.

use std::io;

use http::StatusCode;
use hyper_util::client::legacy;
use rustls::CertificateError;

use crate::model::cause::{chain, in_full};

use super::client::BODY_BYTES_MAX;

/// Why there is no answer, as the end of a sentence about the delegate. It never says where the delegate is.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("was not asked: too many requests to it are under way")]
    Busy,
    #[error("was not asked: it did not answer before, and is tried again in some seconds")]
    LeftAlone,
    #[error("was not asked: our token for it cannot be read")]
    NoToken(String),
    #[error("did not answer in time")]
    Silent,
    #[error("cannot be reached: {why}")]
    Unreachable { why: &'static str, in_full: String },
    #[error("broke off its answer")]
    BrokenOff(String),
    #[error("refused our credentials with status {0}: {hint}", hint = hint(*.0))]
    Refused(StatusCode),
    #[error("answered with a redirect, status {}, which is not followed", .0.as_u16())]
    Redirect(StatusCode),
    #[error("answered with something other than JSON, status {}", .0.as_u16())]
    NotJson(StatusCode),
    #[error("answered with more than {BODY_BYTES_MAX} bytes")]
    TooLarge,
}

// === impl Failure ===

impl Failure {
    /// The word for it in metrics.
    pub(super) fn result(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::LeftAlone => "left_alone",
            Self::NoToken(_) => "no_token",
            Self::Silent => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::BrokenOff(_) => "broken_off",
            Self::Refused(_) => "refused",
            Self::Redirect(_) => "redirect",
            Self::NotJson(_) => "not_json",
            Self::TooLarge => "too_large",
        }
    }

    /// Whether nothing useful came back at all, so that the next request would most likely only wait, too. An answer
    /// that cannot be used is about one metric, and quick.
    pub(super) fn is_no_answer(&self) -> bool {
        matches!(
            self,
            Self::Silent | Self::Unreachable { .. } | Self::BrokenOff(_)
        )
    }

    /// With what only the operator may know.
    pub(super) fn in_full(&self) -> String {
        match self {
            Self::NoToken(in_full)
            | Self::Unreachable { in_full, .. }
            | Self::BrokenOff(in_full) => {
                format!("{self} ({in_full})")
            }
            _ => self.to_string(),
        }
    }

    /// What went wrong between us, when no answer came.
    pub(super) fn of(error: &legacy::Error) -> Self {
        let in_full = in_full(error);
        if error.is_connect() {
            let why = why_not_connected(error);
            Self::Unreachable { why, in_full }
        } else {
            Self::BrokenOff(in_full)
        }
    }
}

/// What the operator has to look at.
fn hint(code: StatusCode) -> &'static str {
    if code == StatusCode::UNAUTHORIZED {
        "it does not accept our token"
    } else {
        "our service account may not read its metrics"
    }
}

/// The reason in our own words: those of the libraries name hosts.
fn why_not_connected(error: &legacy::Error) -> &'static str {
    for cause in chain(error) {
        if let Some(rustls::Error::InvalidCertificate(certificate)) = cause.downcast_ref() {
            return match certificate {
                CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                    "its certificate has expired"
                }
                CertificateError::NotValidForName
                | CertificateError::NotValidForNameContext { .. } => {
                    "its certificate is for another name"
                }
                // Of an authority that was made anew under its old name, the signature is what is wrong.
                CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                    "its certificate is of an authority that we do not trust"
                }
                _ => "its certificate is not valid",
            };
        }
        if let Some(error) = cause.downcast_ref::<io::Error>()
            && error.kind() == io::ErrorKind::ConnectionRefused
        {
            return "it refuses connections";
        }
    }
    "the connection failed"
}
