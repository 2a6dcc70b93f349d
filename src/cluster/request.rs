//! One request to the API server: how long it may take, and how it failed, in words for a log.

use std::time::Duration;

use crate::model::cause::in_full;

/// The longest a request may take. The API server itself gives up on most after a minute; here each is a small object
/// that comes from its memory, and the next try is seconds away.
pub(super) const DEADLINE: Duration = Duration::from_secs(5);

/// Who writes, as `kubectl get --show-managed-fields` and `kubectl get events` say.
pub(super) const WRITER: &str = "taffrail";

/// Why a request failed.
#[derive(Debug, thiserror::Error)]
pub enum RequestError {
    /// There was no answer.
    #[error("no answer from the API server within {} s", DEADLINE.as_secs())]
    Late,
    /// The API server said no.
    #[error("the API server answers {code} {reason}: {message}")]
    Refused {
        /// The status code.
        code: u16,
        /// Kubernetes' word for it, such as `Conflict`.
        reason: String,
        /// Its explanation.
        message: String,
    },
    /// What was sent or answered is not such an object.
    #[error("the object is not of its kind, and is not shown here")]
    Unreadable,
    /// The request or the answer did not get through.
    #[error("{}", in_full(&**.0))]
    Failed(Box<kube::Error>),
}

impl RequestError {
    /// Whether somebody else wrote the object first.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Self::Refused { code: 409, .. })
    }

    /// Whether there is no such object.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Refused { code: 404, .. })
    }
}

impl From<kube::Error> for RequestError {
    fn from(error: kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::Refused {
                code: status.code,
                reason: status.reason,
                message: status.message,
            },
            error => Self::Failed(Box::new(error)),
        }
    }
}

/// The answer to `request`, within the deadline.
pub(super) async fn within_deadline<T, E: Into<RequestError>>(
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, RequestError> {
    match tokio::time::timeout(DEADLINE, request).await {
        Ok(answer) => answer.map_err(Into::into),
        Err(_) => Err(RequestError::Late),
    }
}
