//! Who a number belongs to: a service, and one target of it.

use std::fmt;
use std::sync::Arc;

/// One `RequestMetrics` object: its namespace and name. The name is the `service` label of everything served for it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ServiceId {
    /// The Kubernetes namespace; an HPA reads only its own.
    pub namespace: Arc<str>,
    /// The object's name.
    pub name: Arc<str>,
}

impl ServiceId {
    /// The service `namespace/name`.
    pub fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

impl fmt::Display for ServiceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// One thing that is read for a service: a pod's page or a Redis server.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct TargetId {
    /// The service it is read for. One pod read for two services is two targets.
    pub service: ServiceId,
    /// What tells it apart within the service: a pod's UID, or the address of a static target. Never a secret.
    pub name: Arc<str>,
}

impl TargetId {
    /// The target `name` of `service`.
    pub fn new(service: &ServiceId, name: &str) -> Self {
        Self {
            service: service.clone(),
            name: name.into(),
        }
    }
}

impl fmt::Display for TargetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.service, self.name)
    }
}
