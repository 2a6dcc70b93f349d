//! What an HPA scales, as its scale subresource shows it: of a Deployment, a StatefulSet or anything that has one.

use anyhow::{Context, bail};
use serde_json::Value;

use super::ask::{AskError, Right, ask, encoded};
use super::metrics::is_unserved;
use super::object::Hpa;
use crate::cluster::connect::Cluster;

/// The scale of an HPA's target.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Scale {
    pub(super) spec_replicas: i32,
    pub(super) status_replicas: i32,
    /// Which pods it counts, as a query has it.
    pub(super) selector: String,
}

/// Reads the scale.
pub(super) async fn read(cluster: &Cluster, namespace: &str, hpa: &Hpa) -> anyhow::Result<Scale> {
    let (version, kind) = (&hpa.target_api_version, &hpa.target.kind);
    let plural = plural(cluster, namespace, version, kind).await?;
    let name = encoded(&hpa.target.name);
    let path = format!(
        "{}/namespaces/{}/{plural}/{name}/scale",
        root(version),
        encoded(namespace)
    );
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let right = Right::new("get", group, &format!("{plural}/scale"), namespace);
    let scale: Value = match ask(cluster, &path, right).await {
        Err(AskError::NotFound(message)) if is_unserved(&message) => bail!(
            "nothing scales {kind} {}: a {kind} has no scale; name something that has one in the HPA's spec.scaleTargetRef",
            hpa.target.name
        ),
        Err(AskError::NotFound(message)) => bail!(
            "nothing scales {kind} {}: the HPA finds no such target ({message}); make it, or name another in the HPA's \
             spec.scaleTargetRef",
            hpa.target.name
        ),
        read => read.with_context(|| format!("the scale of {kind} {}", hpa.target.name))?,
    };
    of(&scale).with_context(|| {
        format!(
            "its scale has no selector: the HPA cannot tell the pods of {kind} {} without status.selector",
            hpa.target.name
        )
    })
}

/// The name that a kind has in paths.
pub(super) async fn plural(
    cluster: &Cluster,
    namespace: &str,
    version: &str,
    kind: &str,
) -> anyhow::Result<String> {
    // Discovery is open to everybody who is known at all.
    let group = version.split_once('/').map_or("", |(group, _)| group);
    let right = Right::new("get", group, kind, namespace);
    let list: Value = ask(cluster, &root(version), right)
        .await
        .with_context(|| format!("looking for {kind} of {version}"))?;
    let resources = list.get("resources").and_then(Value::as_array);
    let mut names = resources.into_iter().flatten().filter_map(|resource| {
        let is_it = resource.get("kind").and_then(Value::as_str) == Some(kind);
        resource
            .get("name")
            .and_then(Value::as_str)
            .filter(|_| is_it)
    });
    let name = names.find(|name| !name.contains('/'));
    name.map(str::to_owned).with_context(|| {
        format!("the cluster has no kind {kind} in {version}: spec.scaleTargetRef names it")
    })
}

/// Where a group's version is.
fn root(version: &str) -> String {
    if version.contains('/') {
        format!("/apis/{version}")
    } else {
        format!("/api/{version}")
    }
}

/// `None` where it has no selector: an empty one would mean every pod of the namespace.
fn of(scale: &Value) -> Option<Scale> {
    let replicas = |path: &str| {
        let number = scale.pointer(path).and_then(Value::as_i64);
        number
            .and_then(|number| i32::try_from(number).ok())
            .unwrap_or(0)
    };
    let selector = scale.pointer("/status/selector").and_then(Value::as_str);
    let selector = selector.filter(|selector| !selector.is_empty())?;
    Some(Scale {
        spec_replicas: replicas("/spec/replicas"),
        status_replicas: replicas("/status/replicas"),
        selector: selector.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_scale_without_replicas_has_none() {
        let scale = json!({"spec": {}, "status": {"replicas": 3, "selector": "app=users"}});
        let expected = Scale {
            spec_replicas: 0,
            status_replicas: 3,
            selector: "app=users".to_owned(),
        };
        assert_eq!(of(&scale), Some(expected));
    }

    #[test]
    fn a_scale_without_a_selector_is_none_of_every_pod() {
        for status in [
            json!({"replicas": 3}),
            json!({"replicas": 3, "selector": ""}),
        ] {
            assert_eq!(
                of(&json!({"spec": {"replicas": 3}, "status": status})),
                None
            );
        }
    }
}
