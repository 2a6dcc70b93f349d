//! What an HPA scales: a Deployment, a StatefulSet, or anything else with a scale. Whatever its kind, it is read as JSON
//! by the fields that these kinds have in common. Pure.

use serde_json::Value;

/// A Deployment's own default.
const SURGE_PERCENT: u32 = 25;

/// What one version of a target says.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Target {
    /// `spec.replicas`; `None` for a kind that keeps it elsewhere.
    pub(super) spec: Option<u32>,
    /// `status.readyReplicas`, which the API leaves out when it is zero.
    pub(super) ready: Option<u32>,
    /// Whether its pods are being replaced by others.
    pub(super) is_rolling: bool,
    /// What its pods are made from.
    pub(super) template: Value,
    surge: Surge,
}

/// How many pods above its spec a rollout may have.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Surge {
    Pods(u32),
    Percent(u32),
}

impl Default for Surge {
    fn default() -> Self {
        Self::Percent(SURGE_PERCENT)
    }
}

impl Target {
    /// Reads an object of this kind.
    pub(super) fn read(kind: &str, object: &Value) -> Self {
        let number = |path: &str| object.pointer(path)?.as_u64()?.try_into().ok();
        let is_of_apps = matches!(kind, "Deployment" | "StatefulSet" | "ReplicaSet");
        let has_ready = is_of_apps || object.pointer("/status/readyReplicas").is_some();
        let ready = number("/status/readyReplicas").unwrap_or_default();
        Self {
            spec: number("/spec/replicas"),
            ready: has_ready.then_some(ready),
            is_rolling: is_rolling(object),
            template: object
                .pointer("/spec/template")
                .cloned()
                .unwrap_or_default(),
            surge: surge(kind, object),
        }
    }

    /// How many pods above its spec there may be, when the spec is at most `max_replicas`.
    pub(super) fn max_surge(&self, max_replicas: u32) -> u32 {
        match self.surge {
            Surge::Pods(pods) => pods,
            Surge::Percent(percent) => max_replicas.saturating_mul(percent).div_ceil(100),
        }
    }
}

fn surge(kind: &str, object: &Value) -> Surge {
    let strategy = object
        .pointer("/spec/strategy/type")
        .and_then(Value::as_str);
    if matches!(kind, "StatefulSet" | "ReplicaSet") || strategy == Some("Recreate") {
        return Surge::Pods(0);
    }
    let surge = object.pointer("/spec/strategy/rollingUpdate/maxSurge");
    let pods = surge
        .and_then(Value::as_u64)
        .and_then(|pods| pods.try_into().ok());
    let percent = surge
        .and_then(Value::as_str)
        .and_then(|text| text.strip_suffix('%'));
    match (pods, percent.and_then(|percent| percent.parse().ok())) {
        (Some(pods), _) => Surge::Pods(pods),
        (None, Some(percent)) => Surge::Percent(percent),
        (None, None) => Surge::default(),
    }
}

/// Whether its controller has not seen its spec yet, or has pods of another revision.
fn is_rolling(object: &Value) -> bool {
    let number = |path: &str| object.pointer(path).and_then(Value::as_u64);
    let text = |path: &str| object.pointer(path).and_then(Value::as_str);
    let is_behind = match (
        number("/metadata/generation"),
        number("/status/observedGeneration"),
    ) {
        (Some(generation), Some(observed)) => observed < generation,
        _ => false,
    };
    let revisions = (
        text("/status/currentRevision"),
        text("/status/updateRevision"),
    );
    let has_two = matches!(revisions, (Some(current), Some(update)) if current != update);
    // The API leaves out a zero; whether a kind counts updated pods at all shows in its having pods and a strategy.
    let updated = number("/status/updatedReplicas");
    let counts = updated.is_some() || object.pointer("/spec/strategy").is_some();
    let replicas = number("/status/replicas").unwrap_or_default();
    is_behind || has_two || (counts && updated.unwrap_or_default() < replicas)
}

/// What changed between two templates, in a sentence.
pub(super) fn change(before: &Value, after: &Value) -> String {
    let (old, new) = (images(before), images(after));
    match old == new {
        true => "the pods' template changed".to_owned(),
        false => format!(
            "the pods' template changed: image {}, was {}",
            new.join(", "),
            old.join(", ")
        ),
    }
}

fn images(template: &Value) -> Vec<&str> {
    let containers = template
        .pointer("/spec/containers")
        .and_then(Value::as_array);
    let images = containers.into_iter().flatten();
    images
        .filter_map(|container| container["image"].as_str())
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn ready_is_zero_where_the_api_leaves_it_out_and_unknown_where_a_kind_has_none() {
        let bare = json!({"spec": {"replicas": 3}, "status": {"replicas": 3}});
        let ready = |kind| Target::read(kind, &bare).ready;
        assert_eq!(
            (ready("Deployment"), ready("StatefulSet")),
            (Some(0), Some(0))
        );
        assert_eq!(ready("Rollout"), None);
        let custom = json!({"status": {"readyReplicas": 2}});
        let custom = Target::read("Rollout", &custom);
        assert_eq!((custom.spec, custom.ready), (None, Some(2)));
    }

    #[test]
    fn surge_is_what_the_strategy_says() {
        let of = |kind: &str, strategy: Value| {
            Target::read(kind, &json!({"spec": {"strategy": strategy}})).max_surge(10)
        };
        assert_eq!(
            of("Deployment", json!({"rollingUpdate": {"maxSurge": 1}})),
            1
        );
        assert_eq!(
            of("Deployment", json!({"rollingUpdate": {"maxSurge": "33%"}})),
            4
        );
        assert_eq!(of("Deployment", json!({})), 3);
        assert_eq!(of("Deployment", json!({"type": "Recreate"})), 0);
        assert_eq!(of("StatefulSet", json!({})), 0);
    }

    #[test]
    fn a_rollout_is_under_way_until_all_pods_are_of_the_new_version() {
        let deployment = |status: Value| {
            let object =
                json!({"metadata": {"generation": 4}, "spec": {"strategy": {}}, "status": status});
            Target::read("Deployment", &object).is_rolling
        };
        assert!(
            deployment(json!({"observedGeneration": 3})),
            "its controller has not looked"
        );
        assert!(deployment(
            json!({"observedGeneration": 4, "replicas": 3, "updatedReplicas": 1})
        ));
        assert!(deployment(json!({"observedGeneration": 4, "replicas": 3})));
        assert!(!deployment(
            json!({"observedGeneration": 4, "replicas": 3, "updatedReplicas": 3})
        ));
        assert!(
            !deployment(json!({"observedGeneration": 4})),
            "no pods at all"
        );
        let set = |current: &str| {
            let status = json!({"currentRevision": current, "updateRevision": "b", "replicas": 2, "updatedReplicas": 2});
            Target::read("StatefulSet", &json!({"status": status})).is_rolling
        };
        assert!(set("a") && !set("b"));
    }

    #[test]
    fn a_new_image_is_named() {
        let template = |image: &str| json!({"spec": {"containers": [{"image": image}]}});
        let said = change(&template("shop:1"), &template("shop:2"));
        assert_eq!(said, "the pods' template changed: image shop:2, was shop:1");
        assert_eq!(
            change(&json!({"a": 1}), &json!({"a": 2})),
            "the pods' template changed"
        );
    }
}
