//! Why a target could not be read.

use std::fmt;

/// The reason of a failed read, coarse enough to be a metric's label.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum FailureReason {
    /// No answer within the deadline, which covers connecting, headers and body.
    Timeout,
    /// Nobody listens at the address, or it cannot be reached or resolved.
    Refused,
    /// The address may not be read: it is of a kind that no target has, or the cluster's operator did not allow it.
    Forbidden,
    /// The connection broke before the answer was whole.
    Disconnected,
    /// TLS failed: an unknown authority, a wrong name, an expired certificate.
    Tls,
    /// The target refused our credentials, or a secret could not be read.
    Unauthorized,
    /// An answer other than 200, or a redirect, which is never followed.
    Status,
    /// A limit was hit: body bytes, line, lines, series, or bytes of a reply.
    TooLarge,
    /// The answer cannot be what was asked for: HTML, a page cut short, a broken line of a wanted family.
    Malformed,
    /// The page lacks the wanted histogram, or has several and none was named; a Redis key is missing or of another type.
    NotFound,
    /// The server answers, but not yet: a Redis that is loading its data, a primary that is down.
    NotReady,
}

impl FailureReason {
    /// Every reason, in the order of this list.
    pub const ALL: [Self; 11] = [
        Self::Timeout,
        Self::Refused,
        Self::Forbidden,
        Self::Disconnected,
        Self::Tls,
        Self::Unauthorized,
        Self::Status,
        Self::TooLarge,
        Self::Malformed,
        Self::NotFound,
        Self::NotReady,
    ];

    /// The label value, as in `taffrail_read_errors_total{reason="timeout"}`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Refused => "refused",
            Self::Forbidden => "forbidden",
            Self::Disconnected => "disconnected",
            Self::Tls => "tls",
            Self::Unauthorized => "unauthorized",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::NotFound => "not_found",
            Self::NotReady => "not_ready",
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A failed read: its reason, and a sentence for a person. The sentence holds no secret and no response body.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Failure {
    /// The reason, for counters.
    pub reason: FailureReason,
    /// What went wrong and what to do about it, without a secret.
    pub message: String,
}

impl Failure {
    /// A failure with a sentence.
    pub fn new(reason: FailureReason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason, self.message)
    }
}

impl std::error::Error for Failure {}
