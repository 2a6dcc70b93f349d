//! What pods are told while they run, in a ConfigMap that they have mounted: that they are slow, and where the service is
//! that they call, since this cluster has neither DNS nor a proxy.

use std::time::Duration;

use anyhow::Context;
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use taffrail_loadtest::discovery;
use taffrail_loadtest::scenario::Scenario;

use crate::harness::Cluster;

/// From an order to its being followed: the node looks at ConfigMaps every two seconds, a pod at its files twice a second.
pub(super) const HEARD: Duration = Duration::from_secs(5);

/// The order to be slow.
pub(super) const SLOWDOWN: &str = "slowdown";

/// The order on where the other service is.
const BACKENDS: &str = "backends";

/// Where a pod has its orders, each kind in a file of its own.
const DIR: &str = "/run/orders";

/// The flags of a pod that takes orders.
pub(super) fn flags() -> [String; 2] {
    [SLOWDOWN, BACKENDS].map(|kind| format!("--orders-file={DIR}/{kind}"))
}

/// Lets a service's pods see its orders. There need not be any yet.
pub(super) fn mount(pod: &mut Value, service: &str) {
    let orders = json!({"name": service, "optional": true});
    pod["volumes"] = json!([{"name": "orders", "configMap": orders}]);
    pod["containers"][0]["volumeMounts"] = json!([{"name": "orders", "mountPath": DIR}]);
}

/// Gives an order of this kind to all pods of a service, those to come too.
pub(super) async fn give(
    cluster: &Cluster,
    namespace: &str,
    service: &str,
    kind: &str,
    order: &str,
) -> anyhow::Result<()> {
    // Applied by a manager for each kind, so that one does not take away what another says.
    let manager = format!("--field-manager={kind}");
    let object = json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": service}, "data": {kind: order},
    });
    let apply = [
        "apply",
        "--server-side",
        &manager,
        "--namespace",
        namespace,
        "--filename",
        "-",
    ];
    cluster
        .kubectl()
        .run_with(apply, &object.to_string())
        .await?;
    Ok(())
}

/// Tells every service that calls another where that is, until it is dropped.
pub(super) async fn tell_backends(
    cluster: &Cluster,
    namespace: &str,
    scenario: &Scenario,
) -> anyhow::Result<std::convert::Infallible> {
    let calls = scenario.services.iter().filter_map(|(name, service)| {
        let calls = service.app.as_ref()?.calls.as_ref()?;
        Some((
            name,
            scenario.services.get(&calls.service)?.target.as_ref()?,
        ))
    });
    let told = calls.map(async |(caller, target)| -> anyhow::Result<()> {
        let mut backends = discovery::start(target, Some(&cluster.admin())).await?;
        loop {
            let mut order = BACKENDS.to_owned();
            for address in backends.addresses.borrow_and_update().iter() {
                order += &format!(" {address}");
            }
            give(cluster, namespace, caller, BACKENDS, &(order + "\n")).await?;
            backends
                .addresses
                .changed()
                .await
                .context("nobody looks for backends")?;
        }
    });
    try_join_all(told).await?;
    // Where nobody calls anybody there is nothing to tell, ever.
    std::future::pending().await
}
