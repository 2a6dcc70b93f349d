//! The groups that the adapter serves, as the API server sees them: whom each APIService leads to, whether it is
//! available, and what answers behind it. External metrics must be there; the other groups may be absent, or another
//! adapter's.

use std::fmt;

use serde_json::Value;

use super::finding::{Finding, names};
use crate::api::GroupVersion;
use crate::cluster::RequestError;
use crate::cluster::connect::Cluster;
use crate::engine::snapshot::Metric;
use crate::story::document::RESOURCE;

/// The Service of an adapter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Adapter {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub service: String,
}

/// An APIService, as far as it could be read.
#[derive(Debug)]
enum Seen {
    /// There is none.
    Absent,
    /// It cannot be read, for want of a right or of an answer.
    Unread(RequestError),
    /// It names no Service: the API server itself answers.
    Local,
    /// It leads to this Service, and is available, or why not: reason and message.
    Leads {
        to: Adapter,
        is_verified: bool,
        available: Result<(), (String, String)>,
    },
}

/// Both sides of a group and version.
struct Side {
    of: GroupVersion,
    seen: Seen,
    discovery: Result<Value, RequestError>,
}

impl fmt::Display for Adapter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.service)
    }
}

/// Looks at every group and version, all at once: each may have to wait for a backend that is away.
pub(super) async fn look(cluster: &Cluster, adapter: Option<&Adapter>) -> Vec<Finding> {
    let sides = GroupVersion::ALL.map(async |of| Side {
        of,
        seen: Seen::of(cluster.get(&object_path(of)).await),
        discovery: cluster.get(of.path()).await,
    });
    let sides = futures_util::future::join_all(sides).await;
    judge_all(&sides, adapter)
}

fn object_path(of: GroupVersion) -> String {
    let name = of.api_service();
    format!("/apis/apiregistration.k8s.io/v1/apiservices/{name}")
}

/// Our own group says whose Service is ours, where nobody said it.
fn judge_all(sides: &[Side], adapter: Option<&Adapter>) -> Vec<Finding> {
    let own = sides.iter().find(|side| side.of == GroupVersion::Explain);
    let ours = adapter.or_else(|| match &own?.seen {
        Seen::Leads { to, .. } => Some(to),
        _ => None,
    });
    sides.iter().flat_map(|side| side.judge(ours)).collect()
}

impl Side {
    fn judge(&self, ours: Option<&Adapter>) -> Vec<Finding> {
        let name = self.of.api_service();
        let skipped = |found: &str| vec![Finding::skipped("apiservice", name, found)];
        let is_needed = self.of == GroupVersion::External;
        match &self.seen {
            Seen::Absent if !is_needed => skipped(self.when_absent()),
            Seen::Leads { to, .. } if self.is_custom() && ours.is_none_or(|ours| to != ours) => {
                skipped(&format!(
                    "it leads to Service {to}, which external metrics have nothing to do with"
                ))
            }
            Seen::Unread(_) if !is_needed && self.discovery.is_err() => {
                skipped("it may not be read, and does not answer")
            }
            Seen::Unread(_) if self.is_custom() && !self.lists_ours() => {
                skipped("it may not be read, and lists no metric of ours")
            }
            _ => vec![self.judge_object(ours), self.judge_discovery()],
        }
    }

    fn is_custom(&self) -> bool {
        matches!(
            self.of,
            GroupVersion::CustomV1Beta1 | GroupVersion::CustomV1Beta2
        )
    }

    /// Why it does not matter.
    fn when_absent(&self) -> &'static str {
        if self.is_custom() {
            "there is none, which is right unless the adapter runs with --custom-metrics"
        } else {
            "there is none, so explanations are not served, which is right with --no-explanations"
        }
    }

    fn judge_object(&self, ours: Option<&Adapter>) -> Finding {
        let name = self.of.api_service();
        let failed = |found: &str| Finding::failed("apiservice", name, found);
        match &self.seen {
            Seen::Absent => failed("there is none, so no HPA can read external metrics").remedied(
                "install it with the adapter: the chart makes it unless apiService.create is false",
            ),
            Seen::Unread(RequestError::Refused { code: 403, .. }) => Finding::skipped(
                "apiservice",
                name,
                "it may not be read by this account; what answers behind it says enough",
            ),
            Seen::Unread(error) => failed(&error.to_string()),
            Seen::Local => failed("it names no Service, so the API server itself answers")
                .remedied(format!(
                    "delete it and install the adapter's: kubectl delete apiservice {name}"
                )),
            Seen::Leads { to, .. } if ours.is_some_and(|ours| to != ours) => {
                let ours = ours.map(ToString::to_string).unwrap_or_default();
                failed(&format!("it leads to Service {to} and not to {ours}")).remedied(format!(
                    "a cluster has one adapter of {}: make it lead to {ours}, with delegate.url if the other one's metrics are \
                     still needed, or leave it there and check that one",
                    self.of.group()
                ))
            }
            Seen::Leads {
                to,
                available: Err((reason, message)),
                ..
            } => failed(&format!("not available: {reason}: {message}"))
                .remedied(remedy(reason, message, name, to)),
            Seen::Leads {
                to, is_verified, ..
            } => {
                let caveat = if *is_verified {
                    ""
                } else {
                    ", whose certificate is not verified (insecureSkipTLSVerify)"
                };
                let found = format!("available, and leads to Service {to}{caveat}");
                Finding::passed("apiservice", name, &found)
            }
        }
    }

    fn judge_discovery(&self) -> Finding {
        let of = self.of.name();
        let failed = |found: &str| Finding::failed("discovery", of, found);
        let listed = match &self.discovery {
            Ok(document) => names(document),
            Err(error) => {
                let finding = failed(&error.to_string());
                return match error {
                    RequestError::Refused { code: 403, .. } => finding.remedied(
                        "bind this account to ClusterRole system:discovery, as every account is by default",
                    ),
                    _ => finding.remedied(format!(
                        "kubectl describe apiservice {}",
                        self.of.api_service()
                    )),
                };
            }
        };
        if !listed.contains(&self.mark().as_str()) {
            let others = listed.len();
            return failed(&format!(
                "what answers lists {others} resources and not {}: it is another adapter",
                self.mark()
            ))
            .remedied(format!(
                "kubectl get apiservice {} -o yaml",
                self.of.api_service()
            ));
        }
        let found = match listed.len() {
            1 => format!("lists {}", self.mark()),
            all => format!("lists {} and {} more", self.mark(), all - 1),
        };
        Finding::passed("discovery", of, &found)
    }

    fn lists_ours(&self) -> bool {
        let document = self.discovery.as_ref();
        document.is_ok_and(|document| names(document).contains(&self.mark().as_str()))
    }

    /// A resource that nobody else lists.
    fn mark(&self) -> String {
        let metric = Metric::RequestLatencyMs.name();
        match self.of {
            GroupVersion::External => metric.to_owned(),
            GroupVersion::Explain => RESOURCE.to_owned(),
            GroupVersion::CustomV1Beta1 | GroupVersion::CustomV1Beta2 => format!("pods/{metric}"),
        }
    }
}

impl Seen {
    fn of(answer: Result<Value, RequestError>) -> Self {
        let object = match answer {
            Ok(object) => object,
            Err(error) if error.is_not_found() => return Self::Absent,
            Err(error) => return Self::Unread(error),
        };
        let text = |pointer: &str| {
            let value = object.pointer(pointer).and_then(Value::as_str);
            value.unwrap_or_default().to_owned()
        };
        if object.pointer("/spec/service").is_none_or(Value::is_null) {
            return Self::Local;
        }
        let conditions = object
            .pointer("/status/conditions")
            .and_then(Value::as_array);
        let condition = conditions
            .into_iter()
            .flatten()
            .find(|condition| condition["type"] == "Available");
        let said = |key: &str| {
            let value = condition.and_then(|condition| condition.get(key)?.as_str());
            value.unwrap_or_default().to_owned()
        };
        let available = match condition {
            None => Err(("Unknown".to_owned(), "nobody has looked yet".to_owned())),
            Some(condition) if condition["status"] == "True" => Ok(()),
            Some(_) => Err((said("reason"), said("message"))),
        };
        Self::Leads {
            to: Adapter {
                namespace: text("/spec/service/namespace"),
                service: text("/spec/service/name"),
            },
            is_verified: object.pointer("/spec/insecureSkipTLSVerify") != Some(&Value::Bool(true)),
            available,
        }
    }
}

/// What to do about an APIService that is not available, by the aggregator's reasons.
fn remedy(reason: &str, message: &str, name: &str, to: &Adapter) -> String {
    let Adapter { namespace, service } = to;
    match reason {
        "ServiceNotFound" => format!(
            "install the adapter in namespace {namespace}, or take the APIService away, without whose Service no namespace can \
             be deleted: kubectl delete apiservice {name}"
        ),
        "EndpointsNotFound" | "MissingEndpoints" => format!(
            "no pod of it is ready; see why: kubectl describe pods -n {namespace}, kubectl logs -n {namespace} \
             deployment/{service}"
        ),
        "ServicePortError" => format!(
            "its port is none of the Service's; compare: kubectl get service {service} -n {namespace} -o yaml"
        ),
        "FailedDiscoveryCheck" if message.contains("x509") || message.contains("certificate") => {
            format!(
                "API servers do not trust the certificate: caBundle of the APIService must be of the authority that signed it; \
                 the adapter says what it did: kubectl logs -n {namespace} deployment/{service}"
            )
        }
        "FailedDiscoveryCheck" => format!(
            "API servers must reach the pods themselves, on port 10250 unless another was chosen: look at the firewall of the \
             control plane, at NetworkPolicies, and at kubectl logs -n {namespace} deployment/{service}"
        ),
        _ => format!("kubectl describe apiservice {name}"),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn adapter(namespace: &str) -> Adapter {
        Adapter {
            namespace: namespace.to_owned(),
            service: "taffrail".to_owned(),
        }
    }

    fn leads(namespace: &str) -> Seen {
        Seen::of(Ok(json!({
            "spec": {"service": {"namespace": namespace, "name": "taffrail"}},
            "status": {"conditions": [{"type": "Available", "status": "True"}]},
        })))
    }

    fn side(of: GroupVersion, seen: Seen, resources: &[&str]) -> Side {
        let names: Vec<Value> = resources.iter().map(|name| json!({"name": name})).collect();
        Side {
            of,
            seen,
            discovery: Ok(json!({"resources": names})),
        }
    }

    fn fails(side: &Side, ours: Option<&Adapter>) -> bool {
        side.judge(ours).iter().any(Finding::is_failure)
    }

    #[test]
    fn external_metrics_must_lead_to_the_adapter_and_other_groups_need_not() {
        let [external, custom, _, explain] = GroupVersion::ALL;
        let ours = adapter("taffrail");
        let cases = [
            (external, leads("taffrail"), "request_latency_ms", false),
            (external, leads("keda"), "request_latency_ms", true),
            (external, leads("taffrail"), "externalmetrics", true),
            (external, Seen::Absent, "", true),
            (external, Seen::Local, "", true),
            (custom, Seen::Absent, "", false),
            (custom, leads("monitoring"), "pods/anything", false),
            (custom, leads("taffrail"), "pods/request_latency_ms", false),
            (custom, leads("taffrail"), "pods/anything", true),
            (explain, Seen::Absent, "", false),
            (explain, leads("taffrail"), "explanations", false),
            (explain, leads("elsewhere"), "explanations", true),
        ];
        for (of, seen, resource, expected) in cases {
            let told = format!("{of:?} {seen:?} {resource}");
            let side = side(of, seen, &[resource]);
            assert_eq!(fails(&side, Some(&ours)), expected, "{told}");
        }
    }

    #[test]
    fn our_own_group_says_which_service_is_ours() {
        let [external, _, _, explain] = GroupVersion::ALL;
        let sides = |namespace| {
            [
                side(external, leads(namespace), &["request_latency_ms"]),
                side(explain, leads("taffrail"), &["explanations"]),
            ]
        };
        let failures = |sides: &[Side]| {
            let findings = judge_all(sides, None);
            findings
                .iter()
                .filter(|finding| finding.is_failure())
                .count()
        };
        assert_eq!(failures(&sides("taffrail")), 0);
        assert_eq!(failures(&sides("keda")), 1);
    }

    #[test]
    fn without_the_right_to_read_an_apiservice_the_answer_behind_it_decides() {
        let forbidden = || {
            Seen::Unread(RequestError::Refused {
                code: 403,
                reason: "Forbidden".to_owned(),
                message: String::new(),
            })
        };
        let [external, custom, ..] = GroupVersion::ALL;
        let ours = side(external, forbidden(), &["request_latency_ms"]);
        assert!(!fails(&ours, None));
        let foreign = side(external, forbidden(), &["externalmetrics"]);
        assert!(fails(&foreign, None));
        let custom = side(custom, forbidden(), &["pods/anything"]);
        assert!(!fails(&custom, None));
    }

    #[test]
    fn each_reason_of_the_aggregator_has_its_remedy() {
        let ours = adapter("monitoring");
        for (reason, message, expected) in [
            ("ServiceNotFound", "", "kubectl delete apiservice v1"),
            (
                "MissingEndpoints",
                "",
                "kubectl describe pods -n monitoring",
            ),
            (
                "ServicePortError",
                "",
                "kubectl get service taffrail -n monitoring",
            ),
            (
                "FailedDiscoveryCheck",
                "x509: unknown authority",
                "caBundle",
            ),
            ("FailedDiscoveryCheck", "i/o timeout", "10250"),
            ("Other", "", "kubectl describe apiservice v1"),
        ] {
            let remedy = remedy(reason, message, "v1", &ours);
            assert!(remedy.contains(expected), "{reason}: {remedy}");
        }
    }
}
