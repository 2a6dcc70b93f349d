//! What the adapter knows of an HPA: its sync as the adapter saw it, with all that the HPA remembers.

use std::collections::BTreeSet;

use super::Args;
use super::ask::{AskError, Right, ask, encoded};
use crate::cluster::RequestError;
use crate::cluster::connect::{Cluster, connect_as_user};
use crate::model::time::Timestamp;
use crate::story::Document;
use crate::story::document::{GROUP, RESOURCE, VERSION, path};

/// How often a sync that one replica does not remember is asked for. An API server stays with the replica that it is
/// connected to, so it is another API server, behind the same address, that may ask another one.
const ASKS: usize = 4;

/// The latest sync at `at` or before it. Where the replica that answers does not remember it, others are tried, as far as
/// new connections lead to them.
pub(super) async fn look_back(
    cluster: &Cluster,
    namespace: &str,
    args: &Args,
    at: Timestamp,
) -> Result<Document, AskError> {
    let mut cluster = cluster.clone();
    // Each replica says since when it remembers, and says so by its name.
    let mut said = BTreeSet::new();
    for ask in 0..ASKS {
        if 0 < ask {
            let another = connect_as_user(args.kubeconfig.as_deref(), args.context.as_deref());
            let Ok(another) = another.await else { break };
            cluster = another;
        }
        match read(&cluster, namespace, &args.name, Some(at)).await {
            Err(AskError::NotFound(message)) if is_of_a_replica(&message) => said.insert(message),
            known => return known,
        };
    }
    let replicas: Vec<String> = said.into_iter().collect();
    Err(AskError::NotFound(format!(
        "{}; ask for a later time (the API server chooses which replica of the adapter answers, and other connections led \
         to no other)",
        replicas.join("; ")
    )))
}

/// Whether a refusal is the adapter's own, which names the HPA, and not that of an API server without it, which cannot.
fn is_of_the_adapter(message: &str) -> bool {
    message.contains("HorizontalPodAutoscaler")
}

/// Whether another replica may know more: then it says by its name what it has seen.
fn is_of_a_replica(message: &str) -> bool {
    is_of_the_adapter(message) && message.contains("replica ")
}

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
    read.map_err(|error| match error {
        AskError::NotFound(message) if !is_of_the_adapter(&message) => {
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
