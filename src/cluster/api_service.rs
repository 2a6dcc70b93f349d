//! An APIService of ours, one for each group and version that is served: whom it leads to, and which authorities the
//! API server trusts there.
//!
//! There is one for a whole cluster, so it may well be another adapter's; then it is left alone and said so. Ours is
//! never created or changed here but for `spec.caBundle`. It is read every minute rather than watched: a `get` of one
//! object needs no right beyond that object's name, and nothing here is in a hurry.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::ByteString;
use k8s_openapi::kube_aggregator::pkg::apis::apiregistration::v1::APIService;
use kube::api::{Api, Patch, PatchParams};
use tracing::{info, warn};

use crate::api::GroupVersion;
use crate::metrics::Metrics;

use super::request::{RequestError, WRITER, within_deadline};

/// How often it is looked at.
pub(super) const INTERVAL: Duration = Duration::from_secs(60);

/// Whom the APIService leads to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// To this adapter's Service.
    Ours,
    /// To this adapter's Service, without verifying it, which excludes a bundle.
    Unverified,
    /// To another Service.
    Foreign {
        /// The Service's namespace.
        namespace: String,
        /// Its name.
        service: String,
    },
    /// To the API server itself.
    Local,
    /// Nowhere: there is no such object.
    Absent,
}

/// The APIService as it was read.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) standing: Standing,
    /// The authorities trusted, PEM.
    pub(super) bundle: Vec<u8>,
    pub(super) resource_version: Option<String>,
}

/// Follows the APIService, and says when it leads elsewhere.
#[derive(Debug)]
pub struct Follower {
    api: Api<APIService>,
    served: GroupVersion,
    namespace: String,
    service: String,
    metrics: Arc<Metrics>,
    /// What was said last: a state is logged when it begins.
    said: Option<Result<Standing, ()>>,
}

// === impl Standing ===

impl Standing {
    fn of(found: Option<&APIService>, namespace: &str, service: &str) -> Self {
        let Some(found) = found else {
            return Self::Absent;
        };
        let Some(spec) = &found.spec else {
            return Self::Local;
        };
        let Some(leads_to) = &spec.service else {
            return Self::Local;
        };
        let (to_namespace, to) = (leads_to.namespace.as_deref(), leads_to.name.as_deref());
        if (to_namespace, to) != (Some(namespace), Some(service)) {
            return Self::Foreign {
                namespace: to_namespace.unwrap_or_default().to_owned(),
                service: to.unwrap_or_default().to_owned(),
            };
        }
        match spec.insecure_skip_tls_verify {
            Some(true) => Self::Unverified,
            _ => Self::Ours,
        }
    }

    /// Whether requests come here.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Ours | Self::Unverified)
    }

    fn say(&self, served: GroupVersion) {
        let apiservice = served.api_service();
        match self {
            Self::Ours => info!(apiservice, "The APIService leads to this adapter"),
            Self::Unverified => warn!(
                apiservice,
                "The APIService leads here with insecureSkipTLSVerify: true, so whoever answers at our address is \
                 believed; remove that field, and the authority is put there in its place"
            ),
            Self::Foreign { namespace, service } => warn!(
                apiservice,
                %namespace,
                %service,
                "The APIService leads to another adapter, so no HPA reads its metrics here, and it is left alone; a \
                 cluster has one adapter of {}: to change over, let the other give it up (KEDA and prometheus-adapter \
                 are the usual owners) and apply ours",
                served.group()
            ),
            Self::Local => warn!(
                apiservice,
                "The APIService names no Service, so no HPA reads its metrics here; apply ours in its place"
            ),
            Self::Absent => warn!(
                apiservice,
                "There is no such APIService, so no HPA can read metrics here; apply the one of the manifests"
            ),
        }
    }
}

// === impl Follower ===

impl Follower {
    /// Of the APIService of `served`, for the adapter behind `service` in `namespace`.
    pub fn new(
        client: kube::Client,
        served: GroupVersion,
        namespace: impl Into<String>,
        service: impl Into<String>,
        metrics: Arc<Metrics>,
    ) -> Self {
        Self {
            api: Api::all(client),
            served,
            namespace: namespace.into(),
            service: service.into(),
            metrics,
            said: None,
        }
    }

    /// The APIService's name.
    pub(super) fn name(&self) -> &'static str {
        self.served.api_service()
    }

    /// Looks at it every minute, for ever. For certificates that somebody else makes, and whose authority somebody else
    /// puts into the bundle.
    pub async fn follow(mut self) {
        loop {
            self.read().await;
            tokio::time::sleep(INTERVAL).await;
        }
    }

    /// Whom it leads to now; `None` when that cannot be known. Says so when it changes.
    pub(super) async fn read(&mut self) -> Option<Seen> {
        let apiservice = self.served.api_service();
        let found = match within_deadline(self.api.get_opt(apiservice)).await {
            Ok(found) => found,
            Err(error) => {
                self.metrics.apiservice_is_ours(apiservice, false);
                if self.said.replace(Err(())) != Some(Err(())) {
                    warn!(apiservice, %error, "Cannot read the APIService");
                }
                return None;
            }
        };
        let standing = Standing::of(found.as_ref(), &self.namespace, &self.service);
        let is_ours = standing.is_ours();
        self.metrics.apiservice_is_ours(apiservice, is_ours);
        if self.said.replace(Ok(standing.clone())) != Some(Ok(standing.clone())) {
            standing.say(self.served);
        }
        let found = found.unwrap_or_default();
        Some(Seen {
            standing,
            bundle: found
                .spec
                .and_then(|spec| spec.ca_bundle)
                .map_or_else(Vec::new, |ByteString(pem)| pem),
            resource_version: found.metadata.resource_version,
        })
    }

    /// Lets API servers trust `bundle`, PEM, if the APIService is ours and trusts anything else. Nothing is written
    /// over what changed since it was `seen`, which is a conflict: whoever was quicker may know a newer authority.
    pub(super) async fn trust(&self, seen: &Seen, bundle: &str) -> Result<(), RequestError> {
        if seen.standing != Standing::Ours || seen.bundle == bundle.as_bytes() {
            return Ok(());
        }
        let patch = Patch::Merge(serde_json::json!({
            "metadata": { "resourceVersion": seen.resource_version },
            "spec": { "caBundle": STANDARD.encode(bundle) },
        }));
        let params = PatchParams::apply(WRITER);
        let apiservice = self.served.api_service();
        within_deadline(self.api.patch(apiservice, &params, &patch)).await?;
        info!(apiservice, "The APIService's caBundle is up to date");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leading_to(spec: &serde_json::Value) -> APIService {
        let object = serde_json::json!({
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": { "name": GroupVersion::External.api_service() },
            "spec": spec,
        });
        serde_json::from_value(object).expect("an APIService")
    }

    #[test]
    fn only_a_verified_service_of_our_name_in_our_namespace_is_ours_to_change() {
        let priorities = |mut spec: serde_json::Value| {
            spec["groupPriorityMinimum"] = 100.into();
            spec["versionPriority"] = 100.into();
            leading_to(&spec)
        };
        let foreign = |namespace: &str, service: &str| Standing::Foreign {
            namespace: namespace.to_owned(),
            service: service.to_owned(),
        };
        let cases = [
            (
                serde_json::json!({"service": {"namespace": "monitoring", "name": "taffrail"}}),
                Standing::Ours,
            ),
            (
                serde_json::json!({
                    "service": {"namespace": "monitoring", "name": "taffrail"},
                    "insecureSkipTLSVerify": true,
                }),
                Standing::Unverified,
            ),
            (
                serde_json::json!({"service": {"namespace": "keda", "name": "taffrail"}}),
                foreign("keda", "taffrail"),
            ),
            (
                serde_json::json!({
                    "service": {"namespace": "monitoring", "name": "prometheus-adapter"},
                    "insecureSkipTLSVerify": true,
                }),
                foreign("monitoring", "prometheus-adapter"),
            ),
            (serde_json::json!({}), Standing::Local),
        ];
        for (spec, expected) in cases {
            let found = priorities(spec);
            let standing = Standing::of(Some(&found), "monitoring", "taffrail");
            assert_eq!(standing, expected);
        }
        assert_eq!(
            Standing::of(None, "monitoring", "taffrail"),
            Standing::Absent
        );
    }
}
