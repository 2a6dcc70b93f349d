//! What the adapter knows of an HPA: its sync as the adapter saw it, with all that the HPA remembers.

use super::ask::{AskError, Right, ask, encoded};
use crate::cluster::RequestError;
use crate::cluster::connect::Cluster;
use crate::model::time::Timestamp;
use crate::story::Document;
use crate::story::document::{GROUP, RESOURCE, VERSION, path};

/// The latest sync, or the latest at `at` or before it.
pub(super) async fn read(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    at: Option<Timestamp>,
) -> Result<Document, AskError> {
    let mut path = path(&encoded(namespace), name);
    if let Some(at) = at.and_then(Timestamp::to_rfc3339) {
        path = format!("{path}?at={}", encoded(&at));
    }
    ask(
        cluster,
        &path,
        Right::new("get", GROUP, RESOURCE, namespace),
    )
    .await
}
