//! The ready endpoints of a Service, by a watch of its EndpointSlices.

use std::net::SocketAddr;
use std::time::Duration;

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::{Api, Client};
use tokio::sync::watch;
use tokio::time::timeout;

use super::DiscoveryError;
use crate::cluster::rights::{self, Right};
use crate::cluster::service::{SERVICE_LABEL, Selected, Slices};
use crate::cluster::watching::Watch;
use crate::scenario::ObjectName;

/// How long the first list may take, and any other answer before it.
pub(super) const FIRST_MAX: Duration = Duration::from_secs(10);

/// A watch that was silent for this long is begun anew; the endpoints stay meanwhile, since the pods do.
const SILENT_MAX: Duration = Duration::from_secs(30);

/// How the Service's port is told from the other ports of its pods.
pub(super) async fn selected(
    client: &Client,
    service: &ObjectName,
    port: u16,
) -> Result<Selected, DiscoveryError> {
    let name = format!("{}/{}", service.namespace, service.name);
    let failed = |why: String| DiscoveryError::Cluster {
        service: name.clone(),
        why,
    };
    let mut needed: Vec<Right> = Right::all("", "services", &["get"]).collect();
    needed.extend(Right::all(
        "discovery.k8s.io",
        "endpointslices",
        &["list", "watch"],
    ));
    rights::check(client, &service.namespace, needed).await?;
    let services = Api::<Service>::namespaced(client.clone(), &service.namespace);
    match timeout(FIRST_MAX, services.get(&service.name)).await {
        Ok(Ok(service)) => Ok(Selected::new(&service, port)?),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            Err(failed("there is no such service".to_owned()))
        }
        Ok(Err(kube::Error::Api(status))) => {
            Err(failed(format!("the API server answers {}", status.code)))
        }
        Ok(Err(_)) | Err(_) => Err(failed("the API server does not answer".to_owned())),
    }
}

/// Keeps `addresses` equal to the ready endpoints of a Service for a URL's `port`, until nobody listens.
///
/// # Errors
/// When the Service is not there, has no such port, or may not be read.
pub async fn follow(
    client: Client,
    service: ObjectName,
    port: u16,
    addresses: watch::Sender<Vec<SocketAddr>>,
) -> Result<(), DiscoveryError> {
    let selected = selected(&client, &service, port).await?;
    follow_selected(client, service, selected, addresses).await;
    Ok(())
}

pub(super) async fn follow_selected(
    client: Client,
    service: ObjectName,
    selected: Selected,
    addresses: watch::Sender<Vec<SocketAddr>>,
) {
    let slices = Api::<EndpointSlice>::namespaced(client, &service.namespace);
    let labels = format!("{SERVICE_LABEL}={}", service.name);
    let mut watch = Watch::labelled(slices, &labels, SILENT_MAX);
    let mut known = Slices::default();
    // The first list is told also when it is empty: somebody may wait for it.
    let mut is_first = true;
    loop {
        let news = tokio::select! {
            news = watch.next() => news,
            () = addresses.closed() => return,
        };
        if !known.hear(news) {
            continue;
        }
        let ready: Vec<SocketAddr> = selected.ready(known.all()).into_keys().collect();
        addresses.send_if_modified(|before| {
            let changed = *before != ready || is_first;
            *before = ready;
            changed
        });
        is_first = false;
    }
}
