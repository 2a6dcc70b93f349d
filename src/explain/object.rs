//! The HPA itself: what it is to do, what it says it did, and, where there is none of that name, which there are.

use anyhow::{Context, bail};
use serde_json::Value;

use super::ask::{AskError, Right, ask, encoded};
use crate::cluster::connect::Cluster;
use crate::config::autoscaler;
use crate::hpa::{SYNC_PERIOD, Spec};
use crate::model::time::Timestamp;
use crate::shadow::Status;
use crate::story::facts::{Real, ScaleTarget};

const GROUP: &str = "autoscaling";

const RESOURCE: &str = "horizontalpodautoscalers";

/// Most names that are offered where one is not there.
const OFFERED_MAX: usize = 10;

/// An HPA.
#[derive(Debug)]
pub(super) struct Hpa {
    /// `spec.scaleTargetRef.apiVersion`.
    pub(super) target_api_version: String,
    pub(super) target: ScaleTarget,
    pub(super) spec: Spec,
    /// Each metric's selector as it is sent.
    pub(super) selectors: Vec<String>,
    pub(super) status: Status,
    /// The whole object, for what only some metrics need.
    pub(super) object: Value,
}

/// Reads the HPA of this name.
pub(super) async fn read(cluster: &Cluster, namespace: &str, name: &str) -> anyhow::Result<Hpa> {
    let path = format!(
        "/apis/{GROUP}/v2/namespaces/{}/{RESOURCE}",
        encoded(namespace)
    );
    let right = |verb| Right::new(verb, GROUP, RESOURCE, namespace);
    let read: Result<Value, AskError> = ask(cluster, &format!("{path}/{name}"), right("get")).await;
    match read {
        Ok(object) => hpa(object).with_context(|| format!("hpa/{name} in {namespace}")),
        Err(AskError::NotFound(_)) => {
            let list: Result<Value, AskError> = ask(cluster, &path, right("list")).await;
            bail!("{}", missing(namespace, name, list.ok().as_ref()))
        }
        Err(error) => Err(error.into()),
    }
}

/// That there is no such HPA, and which there are.
fn missing(namespace: &str, name: &str, list: Option<&Value>) -> String {
    let there_is_none =
        format!("there is no HorizontalPodAutoscaler {name} in namespace {namespace}");
    let Some(list) = list else {
        return there_is_none;
    };
    let items = list.get("items").and_then(Value::as_array);
    let names = items.into_iter().flatten().filter_map(|item| {
        let name = item.pointer("/metadata/name")?.as_str()?;
        let target = item
            .pointer("/spec/scaleTargetRef/name")
            .and_then(Value::as_str);
        Some((name.to_owned(), target.unwrap_or_default().to_owned()))
    });
    let names: Vec<(String, String)> = names.collect();
    if names.is_empty() {
        return format!("{there_is_none}, and no other either: name the namespace with -n");
    }
    // Somebody may well name what is scaled.
    if let Some((hpa, _)) = names.iter().find(|(_, target)| target == name) {
        return format!(
            "{there_is_none}, but {hpa} scales {name}: taffrail explain hpa/{hpa} -n {namespace}"
        );
    }
    let offered: Vec<&str> = names
        .iter()
        .map(|(name, _)| name.as_str())
        .take(OFFERED_MAX)
        .collect();
    let more = names.len().saturating_sub(OFFERED_MAX);
    let more = if 0 < more {
        format!(" and {more} more")
    } else {
        String::new()
    };
    format!("{there_is_none}; there are {}{more}", offered.join(", "))
}

fn hpa(object: Value) -> anyhow::Result<Hpa> {
    let spec = autoscaler::from_value(&object)?;
    let mut selectors: Vec<String> = autoscaler::selectors(&object)?
        .iter()
        .map(ToString::to_string)
        .collect();
    selectors.resize(spec.metrics.len(), String::new());
    let text = |key: &str| {
        let text = object
            .pointer(&format!("/spec/scaleTargetRef/{key}"))
            .and_then(Value::as_str);
        text.unwrap_or_default().to_owned()
    };
    Ok(Hpa {
        target_api_version: text("apiVersion"),
        target: ScaleTarget {
            kind: text("kind"),
            name: text("name"),
        },
        spec,
        selectors,
        status: Status::of(object.get("status").unwrap_or(&Value::Null)),
        object,
    })
}

impl Hpa {
    /// Whether somebody who watches it since `since` has seen all its syncs: the first comes a sync period after it was
    /// made.
    pub(super) fn is_watched_since_its_beginning(&self, since: Timestamp) -> bool {
        let made = self
            .object
            .pointer("/metadata/creationTimestamp")
            .and_then(Value::as_str);
        let made = made.and_then(Timestamp::from_rfc3339);
        made.is_some_and(|made| since < made + SYNC_PERIOD)
    }

    /// What its status says; `None` where it has not synced yet.
    pub(super) fn real(&self) -> Option<Real> {
        Some(Real {
            current_replicas: self.status.current?,
            desired_replicas: self.status.desired,
            last_scale_time: self.status.last_scale,
            conditions: self.status.conditions.to_vec(),
            parted: None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_name_that_is_not_there_offers_those_that_are() {
        let list = |names: &[&str]| {
            let item = |name: &&str| json!({"metadata": {"name": name}, "spec": {"scaleTargetRef": {"name": format!("{name}-app")}}});
            json!({"items": names.iter().map(item).collect::<Vec<_>>()})
        };
        let none = "there is no HorizontalPodAutoscaler users in namespace shop";
        for (list, expected) in [
            (None, String::new()),
            (
                Some(list(&[])),
                ", and no other either: name the namespace with -n".to_owned(),
            ),
            (Some(list(&["a", "b"])), "; there are a, b".to_owned()),
        ] {
            assert_eq!(
                missing("shop", "users", list.as_ref()),
                format!("{none}{expected}")
            );
        }
        assert_eq!(
            missing("shop", "a-app", Some(&list(&["a"]))),
            "there is no HorizontalPodAutoscaler a-app in namespace shop, but a scales a-app: taffrail explain hpa/a -n shop"
        );
    }
}
