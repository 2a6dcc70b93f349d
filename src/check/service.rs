//! One service: whether an HPA could read a metric of it now, and what its object says of itself where it could not.

use serde_json::Value;

use super::finding::Finding;
use crate::cluster::RequestError;
use crate::cluster::connect::Cluster;
use crate::cluster::survey::{self, Answered, Question};
use crate::engine::snapshot::Metric;

/// What is read of a service whose object tells nothing: every service that answers requests has it.
const METRIC: Metric = Metric::RequestRate;

/// Reads the object, and then a metric of it as an HPA would.
pub(super) async fn look(cluster: &Cluster, namespace: &str, name: &str) -> Finding {
    let of = format!("{namespace}/{name}");
    let path = format!("/apis/taffrail.dev/v1alpha1/namespaces/{namespace}/requestmetrics/{name}");
    let object = match cluster.get::<Value>(&path).await {
        Ok(object) => object,
        Err(error) if error.is_not_found() => {
            let found = format!("there is no RequestMetrics {name} in namespace {namespace}");
            return Finding::failed("service", &of, &found)
                .remedied(format!("kubectl get requestmetrics -n {namespace}"));
        }
        // Whoever may not read it may read its metrics all the same.
        Err(RequestError::Refused { code: 403, .. }) => Value::Null,
        Err(error) => return Finding::failed("service", &of, &error.to_string()),
    };
    let question = question(namespace, name, &object);
    let mut asked = survey::ask(&cluster.client, vec![question.clone()]).await;
    match asked.answers.pop() {
        Some((_, answered)) => judge(&of, &question, &object, &answered),
        None => Finding::failed("service", &of, "no answer in time"),
    }
}

/// The first value that the object's status has, or the first it should have.
fn question(namespace: &str, name: &str, object: &Value) -> Question {
    let values = object.pointer("/status/values").and_then(Value::as_array);
    let values = values.map(Vec::as_slice).unwrap_or_default();
    let served = values.iter().find(|value| value.get("value").is_some());
    let chosen = served.or(values.first());
    let metric = chosen.and_then(|value| value.get("metric")?.as_str());
    let labels = chosen.and_then(|value| value.get("labels")?.as_object());
    let mut selector = format!("service={name}");
    for (key, value) in labels.into_iter().flatten() {
        selector += &format!(",{key}={}", value.as_str().unwrap_or_default());
    }
    Question {
        namespace: namespace.to_owned(),
        metric: metric.unwrap_or(METRIC.name()).to_owned(),
        selector,
    }
}

fn judge(of: &str, question: &Question, object: &Value, answered: &Answered) -> Finding {
    let Question {
        namespace,
        metric,
        selector,
    } = question;
    let read = format!("{metric} of {selector}");
    match &answered.outcome {
        Ok(values) => {
            // As the HPA does.
            let sum: f64 = values.iter().sum();
            let state = object.pointer("/status/state").and_then(Value::as_str);
            let state = state.map_or("its state may not be read".to_owned(), |state| {
                format!("state {state}")
            });
            Finding::passed("service", of, &format!("{read} is {sum}; {state}"))
        }
        Err(refusal) if answered.is_forbidden => Finding::failed(
            "service",
            of,
            &format!("{read}: {refusal}"),
        )
        .remedied(format!(
            "a Role in namespace {namespace} that is bound to this account must have: {{apiGroups: \
                 [external.metrics.k8s.io], resources: [{metric}], verbs: [list]}}"
        )),
        Err(refusal) => {
            let describe = object.pointer("/metadata/name").and_then(Value::as_str);
            let describe = describe
                .map(|name| format!("kubectl describe requestmetrics {name} -n {namespace}"));
            let why = first_trouble(object);
            let remedy = [why, describe].into_iter().flatten().collect::<Vec<_>>();
            let finding = Finding::failed("service", of, &format!("{read}: {refusal}"));
            if remedy.is_empty() {
                return finding;
            }
            finding.remedied(remedy.join("; "))
        }
    }
}

/// The first condition that is not true: the ones behind it follow from it.
fn first_trouble(object: &Value) -> Option<String> {
    let conditions = object.pointer("/status/conditions")?.as_array()?;
    let trouble = conditions
        .iter()
        .find(|condition| condition["status"] != "True")?;
    let said = |key: &str| trouble.get(key)?.as_str();
    Some(format!(
        "{} is {} ({}): {}",
        said("type")?,
        said("status")?,
        said("reason")?,
        said("message")?
    ))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_value_that_is_served_is_the_one_that_is_read() {
        let object = json!({"status": {"values": [
            {"metric": "request_rate"},
            {"metric": "request_latency_ms", "labels": {"quantile": "0.95"}, "value": "243"},
        ]}});
        let of = |object: &Value| {
            let Question {
                metric, selector, ..
            } = question("shop", "users", object);
            format!("{metric} {selector}")
        };
        assert_eq!(
            of(&object),
            "request_latency_ms service=users,quantile=0.95"
        );
        assert_eq!(of(&Value::Null), "request_rate service=users");
        let backlog =
            json!({"status": {"values": [{"metric": "redis_backlog", "labels": {"key": "jobs"}}]}});
        assert_eq!(of(&backlog), "redis_backlog service=users,key=jobs");
    }

    #[test]
    fn the_first_condition_that_is_not_true_is_where_to_begin() {
        let condition = |kind: &str, status: &str| json!({"type": kind, "status": status, "reason": "Why", "message": "because"});
        let object = json!({"status": {"conditions": [
            condition("SpecValid", "True"), condition("PodsFound", "False"), condition("Ready", "False"),
        ]}});
        assert_eq!(
            first_trouble(&object).as_deref(),
            Some("PodsFound is False (Why): because")
        );
        assert_eq!(first_trouble(&json!({})), None);
    }
}
