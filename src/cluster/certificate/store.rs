//! The Secret in the API server: read with the API server's time, and written only over what was read. It speaks to
//! kube's untyped client, since the typed one hides the answer's headers and logs bodies that it cannot read; so errors
//! here never quote one.

use http::HeaderMap;
use http_body_util::{BodyExt, Limited};
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, GetParams, PostParams};
use kube::core::{Request, Status};

use crate::clock;
use crate::cluster::request::RequestError;
use crate::model::time::Timestamp;

/// The largest answer that is read. The API server takes no object above 1.5 MiB.
const ANSWER_BYTES_MAX: usize = 2 * 1024 * 1024;

/// One Secret.
#[derive(Debug)]
pub(super) struct Store {
    secrets: Api<Secret>,
    name: String,
}

// === impl Store ===

impl Store {
    pub(super) fn new(client: Client, namespace: &str, name: &str) -> Self {
        Self {
            secrets: Api::namespaced(client, namespace),
            name: name.to_owned(),
        }
    }

    /// The Secret, and the API server's time.
    pub(super) async fn get(&self) -> Result<(Secret, Timestamp), RequestError> {
        let request = Request::new(self.secrets.resource_url());
        let request = request.get(&self.name, &GetParams::default());
        exchange(self.secrets.clone().into_client(), request).await
    }

    /// Refused with a conflict when the Secret has changed since it was read, by its resource version.
    pub(super) async fn update(&self, secret: &Secret) -> Result<(), RequestError> {
        let content = serde_json::to_vec(secret).map_err(|_| RequestError::Unreadable)?;
        let request = Request::new(self.secrets.resource_url());
        let request = request.replace(&self.name, &PostParams::default(), content);
        exchange(self.secrets.clone().into_client(), request).await?;
        Ok(())
    }
}

/// Sends a request about a Secret. Gives the Secret of the answer, and the API server's time, which is ours where the
/// answer has none.
async fn exchange(
    client: Client,
    request: Result<http::Request<Vec<u8>>, kube::core::request::Error>,
) -> Result<(Secret, Timestamp), RequestError> {
    let request = request.map_err(kube::Error::BuildRequest)?;
    let answer = client.send(request.map(Into::into)).await?;
    let (head, body) = answer.into_parts();
    let body = Limited::new(body, ANSWER_BYTES_MAX).collect().await;
    let body = body.map_err(kube::Error::Service)?.to_bytes();
    if !head.status.is_success() {
        let status: Option<Status> = serde_json::from_slice(&body).ok();
        let (reason, message) = status.map_or_else(Default::default, |s| (s.reason, s.message));
        return Err(RequestError::Refused {
            code: head.status.as_u16(),
            reason,
            message,
        });
    }
    let secret = serde_json::from_slice(&body).map_err(|_| RequestError::Unreadable)?;
    Ok((secret, time_of(&head.headers).unwrap_or_else(clock::now)))
}

/// When an answer was made, by its `Date`.
pub(super) fn time_of(headers: &HeaderMap) -> Option<Timestamp> {
    let date = headers.get(http::header::DATE)?.to_str().ok()?;
    let date = jiff::fmt::rfc2822::parse(date).ok()?;
    Some(Timestamp::from_ms(date.timestamp().as_millisecond()))
}
