//! Each metric of an HPA, read as the HPA reads it. What may not be read here, though the HPA may, is taken from the HPA's
//! status, and that is said.

use serde_json::Value;

use super::ask::{AskError, Right, ask, encoded};
use super::object::Hpa;
use super::pods::{self, each};
use super::scale::{Scale, plural};
use crate::cluster::connect::Cluster;
use crate::hpa::{Answer, Current, MetricSpec, Pod};
use crate::model::quantity::parse_milli;
use crate::model::time::Timestamp;

const EXTERNAL: &str = "external.metrics.k8s.io";

const CUSTOM: &str = "custom.metrics.k8s.io";

/// Over what a metric is read.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) cluster: &'a Cluster,
    pub(super) namespace: &'a str,
    pub(super) hpa: &'a Hpa,
    pub(super) scale: &'a Scale,
    /// Whether the pods are those that there are, and not presumed.
    pub(super) are_pods_seen: bool,
    pub(super) now: Timestamp,
}

/// What a metric was answered.
#[derive(Debug)]
pub(super) struct Read {
    pub(super) answer: Result<Answer, String>,
    /// When the oldest item was made, where that is said.
    pub(super) made: Option<Timestamp>,
    /// What a reader should know of how it was read.
    pub(super) note: Option<String>,
}

impl Ground<'_> {
    /// Reads the metric of this index. Where only its average is known, `pods` are given what explains it.
    pub(super) async fn read(&self, index: usize, pods: &mut [Pod]) -> Read {
        let Some(metric) = self.hpa.spec.metrics.get(index) else {
            return Read::failed("the HPA has no such metric".to_owned());
        };
        let asked = match metric {
            MetricSpec::External { metric, .. } => self.external(index, metric).await,
            MetricSpec::Object { metric, .. } => self.object(index, metric).await,
            // What pods use that are not among those presumed says nothing of these.
            MetricSpec::Pods { .. } | MetricSpec::Resource { .. } if !self.are_pods_seen => {
                return self.as_in_status(index, pods, "its pods could not be listed");
            }
            MetricSpec::Pods { metric, .. } => self.pods(index, metric).await,
            MetricSpec::Resource {
                resource,
                container,
                ..
            } => {
                let (cluster, selector) = (self.cluster, &self.scale.selector);
                let usage = pods::usage(
                    cluster,
                    self.namespace,
                    selector,
                    resource,
                    container.as_deref(),
                );
                usage.await.map(|answer| (answer, None))
            }
        };
        match asked {
            Ok((answer, made)) => Read {
                answer: Ok(answer),
                made,
                note: None,
            },
            Err(AskError::Forbidden(right)) => {
                self.as_in_status(index, pods, &AskError::Forbidden(right).to_string())
            }
            Err(error) => Read::failed(error.to_string()),
        }
    }

    async fn external(
        &self,
        index: usize,
        metric: &str,
    ) -> Result<(Answer, Option<Timestamp>), AskError> {
        // The HPA's client asks in lower case, however the object has it.
        let metric = metric.to_ascii_lowercase();
        let selector = self.selector(index);
        let path = format!(
            "/apis/{EXTERNAL}/v1beta1/namespaces/{}/{}?labelSelector={}",
            encoded(self.namespace),
            encoded(&metric),
            encoded(selector)
        );
        let right = Right::new("list", EXTERNAL, &metric, self.namespace);
        let list: Result<Value, AskError> = ask(self.cluster, &path, right).await;
        let list = list.map_err(|error| plainly(error, EXTERNAL))?;
        Ok((Answer::Values(values(&list)), oldest(&list)))
    }

    async fn object(
        &self,
        index: usize,
        metric: &str,
    ) -> Result<(Answer, Option<Timestamp>), AskError> {
        let field = |key: &str| {
            let path = format!("/spec/metrics/{index}/object/describedObject/{key}");
            self.hpa
                .object
                .pointer(&path)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (version, kind) = (field("apiVersion"), field("kind"));
        let selected = format!("?metricLabelSelector={}", encoded(self.selector(index)));
        // Of a namespace the HPA asks for its own, whichever the object names.
        if kind == "Namespace" && matches!(version, "" | "v1") {
            let of = format!("metrics/{}{selected}", encoded(metric));
            let list = self.custom(&of, "metrics").await?;
            return Ok((Answer::Values(values(&list)), oldest(&list)));
        }
        let plural = plural(self.cluster, self.namespace, version, kind)
            .await
            .map_err(|error| AskError::NotFound(format!("{error:#}")))?;
        let resource = match version.split_once('/') {
            Some((group, _)) => format!("{plural}.{group}"),
            None => plural,
        };
        let name = encoded(field("name"));
        let of = format!("{resource}/{name}/{}{selected}", encoded(metric));
        let list = self.custom(&of, &format!("{resource}/{metric}")).await?;
        Ok((Answer::Values(values(&list)), oldest(&list)))
    }

    async fn pods(
        &self,
        index: usize,
        metric: &str,
    ) -> Result<(Answer, Option<Timestamp>), AskError> {
        let of = format!(
            "pods/%2A/{}?labelSelector={}&metricLabelSelector={}",
            encoded(metric),
            encoded(&self.scale.selector),
            encoded(self.selector(index))
        );
        let list = self.custom(&of, &format!("pods/{metric}")).await?;
        let usage = items(&list).filter_map(|item| {
            let name = item.pointer("/describedObject/name")?.as_str()?;
            let milli = parse_milli(item.get("value")?.as_str()?).ok()?;
            each(&[running(name)], milli, self.now).into_iter().next()
        });
        Ok((Answer::PerPod(usage.collect()), oldest(&list)))
    }

    /// A list of custom metrics, in the newer version or, of an adapter that has only that, the older one.
    async fn custom(&self, of: &str, resource: &str) -> Result<Value, AskError> {
        let namespace = encoded(self.namespace);
        let path = |version: &str| format!("/apis/{CUSTOM}/{version}/namespaces/{namespace}/{of}");
        let right = Right::new("get", CUSTOM, resource, self.namespace);
        let newer = ask(self.cluster, &path("v1beta2"), right.clone()).await;
        let read = match newer {
            Err(AskError::NotFound(why)) if is_unserved(&why) => {
                ask(self.cluster, &path("v1beta1"), right).await
            }
            newer => newer,
        };
        read.map_err(|error| plainly(error, CUSTOM))
    }

    /// What the metric of this index is selected by.
    fn selector(&self, index: usize) -> &str {
        self.hpa.selectors.get(index).map_or("", String::as_str)
    }

    /// What the HPA's status shows of the metric.
    fn as_in_status(&self, index: usize, pods: &mut [Pod], why: &str) -> Read {
        let current = self.hpa.status.metrics.get(index).copied().flatten();
        let metric = self.hpa.spec.metrics.get(index);
        let (Some(current), Some(metric)) = (current, metric) else {
            return Read::failed(why.to_owned());
        };
        let per_pod = matches!(
            metric,
            MetricSpec::Pods { .. } | MetricSpec::Resource { .. }
        );
        let answer = match current {
            Current::Value(total) => Answer::Values(vec![total]),
            Current::AverageValue(average) if per_pod => {
                Answer::PerPod(each(pods, average.unwrap_or(0), self.now))
            }
            Current::AverageValue(average) => {
                let replicas = i64::from(self.scale.status_replicas);
                Answer::Values(vec![average.unwrap_or(0).saturating_mul(replicas)])
            }
            Current::Utilization { percent, .. } => {
                // A usage of so many of a hundred: the share is what counts.
                for pod in pods.iter_mut() {
                    pod.set_request(metric.name(), metric.container(), 100);
                }
                Answer::PerPod(each(pods, i64::from(percent), self.now))
            }
        };
        Read {
            answer: Ok(answer),
            made: None,
            note: Some(format!("{metric} is as the HPA's status shows it: {why}")),
        }
    }
}

impl Read {
    /// A metric without a value.
    pub(super) fn failed(why: String) -> Self {
        Self {
            answer: Err(why),
            made: None,
            note: None,
        }
    }
}

/// Whether this is the API server's word for a group that nobody serves. An adapter's own refusal names the metric.
pub(super) fn is_unserved(message: &str) -> bool {
    message.contains("404 page not found")
        || message.contains("could not find the requested resource")
}

/// That nobody serves a group, where that is all there is to an error.
fn plainly(error: AskError, group: &str) -> AskError {
    match error {
        AskError::NotFound(message) if is_unserved(&message) => AskError::NotFound(format!(
            "nobody serves {group} in this cluster: no adapter has its APIService"
        )),
        error => error,
    }
}

fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.get("items")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// The values of a list, as the HPA reads them: one that is not there is 0.
fn values(list: &Value) -> Vec<i64> {
    let value = |item: &Value| {
        let text = item.get("value").and_then(Value::as_str);
        text.and_then(|text| parse_milli(text).ok()).unwrap_or(0)
    };
    items(list).map(value).collect()
}

fn oldest(list: &Value) -> Option<Timestamp> {
    let made =
        items(list).filter_map(|item| Timestamp::from_rfc3339(item.get("timestamp")?.as_str()?));
    made.min()
}

/// A pod of which nothing is asked but its name.
fn running(name: &str) -> Pod {
    Pod {
        name: name.to_owned(),
        phase: crate::hpa::Phase::Running,
        deleted: false,
        started: None,
        readiness: None,
        requests: [].into(),
        container_requests: [].into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_list_is_read_as_the_hpa_reads_it() {
        let list = json!({"items": [
            {"value": "412500m", "timestamp": "2026-11-21T10:00:05Z"},
            {"value": "2", "timestamp": "2026-11-21T10:00:00Z"},
            {"timestamp": "2026-11-21T10:00:09Z"},
        ]});
        assert_eq!(values(&list), [412_500, 2_000, 0]);
        assert_eq!(
            oldest(&list),
            Timestamp::from_rfc3339("2026-11-21T10:00:00Z")
        );
        assert!(values(&json!({"items": null})).is_empty());
    }
}
