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
    let right = Right::new("get", GROUP, RESOURCE, namespace);
    let read = ask(cluster, &path, right).await;
    // The adapter's own refusals name the HPA; that of an API server without the adapter cannot.
    read.map_err(|error| match error {
        AskError::NotFound(message) if !message.contains("HorizontalPodAutoscaler") => {
            AskError::NotFound(format!(
                "the cluster has no {GROUP}: is the adapter installed with its APIService, and run without \
                 --no-explanations?"
            ))
        }
        AskError::Failed(RequestError::Refused {
            code: 503, message, ..
        }) => AskError::NotFound(format!(
            "it is not reachable ({}): kubectl get apiservice {VERSION}.{GROUP} says why",
            message.trim()
        )),
        error => error,
    })
}
