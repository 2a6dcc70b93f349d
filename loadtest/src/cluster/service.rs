//! A Service and its endpoints: which Service a URL's host names, which port of its pods a URL's port means, and which
//! addresses of its EndpointSlices take requests now. Pure.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use k8s_openapi::api::core::v1::Service;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::ResourceExt;

use super::watching::News;
use crate::scenario::ObjectName;

/// What a Service without an address of its own has in its place.
const HEADLESS: &str = "None";

/// What may stand behind `NAME.NAMESPACE.svc`: the domain that clusters have unless they are told otherwise.
const CLUSTER_DOMAIN: &str = ".cluster.local";

/// The label by which a slice names its Service.
pub(crate) const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The Service that a host names: `NAME.NAMESPACE.svc`, with or without the cluster's domain, in letters of either case.
/// Shorter names mean something only within a pod of the right namespace, and other domains are not the cluster's, so
/// they name none here.
#[must_use]
pub fn service_of(host: &str) -> Option<ObjectName> {
    let host = host.to_ascii_lowercase();
    let whole = host.strip_suffix('.').unwrap_or(&host);
    let within = whole.strip_suffix(CLUSTER_DOMAIN).unwrap_or(whole);
    let (name, namespace) = within.strip_suffix(".svc")?.split_once('.')?;
    let is_named = !name.is_empty() && !namespace.is_empty() && !namespace.contains('.');
    is_named.then(|| ObjectName {
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    })
}

/// What tells the endpoints of a Service from the rest of its slices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selected {
    /// The port of the pods.
    port: Port,
    /// The family of addresses; a Service with two has each pod once in both.
    family: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Port {
    /// The port of this name in each slice; a Service's only port may have none.
    Named(String),
    /// This one, since no Service stands between.
    Number(u16),
}

/// Why a Service has no endpoints for a URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoEndpoints {
    /// The port is none of the Service's.
    #[error("service {service} has no port {port}; it has {ports}")]
    NoSuchPort {
        /// As `shop/users`.
        service: String,
        /// The URL's.
        port: u16,
        /// Those there are.
        ports: String,
    },
    /// It is only another name for a host.
    #[error("service {service} is of type ExternalName and has no endpoints; use discovery dns")]
    ExternalName {
        /// As `shop/users`.
        service: String,
    },
}

impl Selected {
    /// What `port` of `service` means to its pods.
    ///
    /// # Errors
    /// When the Service has no such port, or no endpoints at all.
    pub fn new(service: &Service, port: u16) -> Result<Self, NoEndpoints> {
        let name = |object: &Service| {
            let metadata = &object.metadata;
            let namespace = metadata.namespace.as_deref().unwrap_or_default();
            format!(
                "{namespace}/{}",
                metadata.name.as_deref().unwrap_or_default()
            )
        };
        let spec = service.spec.clone().unwrap_or_default();
        if spec.type_.as_deref() == Some("ExternalName") {
            return Err(NoEndpoints::ExternalName {
                service: name(service),
            });
        }
        let ports = spec.ports.unwrap_or_default();
        let found = ports.iter().find(|own| own.port == i32::from(port));
        let is_headless = spec.cluster_ip.as_deref() == Some(HEADLESS);
        let port = match found {
            Some(own) => Port::Named(own.name.clone().unwrap_or_default()),
            None if is_headless => Port::Number(port),
            None => {
                let ports: Vec<String> = ports.iter().map(|own| own.port.to_string()).collect();
                return Err(NoEndpoints::NoSuchPort {
                    service: name(service),
                    port,
                    ports: ports.join(", "),
                });
            }
        };
        Ok(Self {
            port,
            family: spec
                .ip_families
                .and_then(|families| families.into_iter().next()),
        })
    }

    /// The endpoints that take requests, with the names of their pods: ready and not terminating. A condition that is
    /// not given counts as good, as the API defines it.
    #[must_use]
    pub fn ready<'s>(
        &self,
        slices: impl IntoIterator<Item = &'s EndpointSlice>,
    ) -> BTreeMap<SocketAddr, Option<String>> {
        let mut ready = BTreeMap::new();
        for slice in slices {
            let is_wanted = self
                .family
                .as_ref()
                .is_none_or(|family| *family == slice.address_type);
            let Some(port) = self.port_in(slice).filter(|_| is_wanted) else {
                continue;
            };
            for endpoint in slice.endpoints.iter().flatten() {
                let conditions = endpoint.conditions.clone().unwrap_or_default();
                if conditions.ready == Some(false) || conditions.terminating == Some(true) {
                    continue;
                }
                let pod = endpoint.target_ref.as_ref();
                let pod = pod.filter(|target| target.kind.as_deref() == Some("Pod"));
                let pod = pod.and_then(|target| target.name.clone());
                let addresses = endpoint.addresses.iter();
                ready.extend(
                    addresses
                        .filter_map(|address| address.parse::<IpAddr>().ok())
                        .map(|address| (SocketAddr::new(address, port), pod.clone())),
                );
            }
        }
        ready
    }

    fn port_in(&self, slice: &EndpointSlice) -> Option<u16> {
        match &self.port {
            Port::Number(port) => Some(*port),
            Port::Named(name) => {
                let mut ports = slice.ports.iter().flatten();
                let found = ports.find(|port| port.name.as_deref().unwrap_or_default() == name)?;
                u16::try_from(found.port?).ok()
            }
        }
    }
}

/// The slices of a Service, by name.
#[derive(Debug, Default)]
pub(crate) struct Slices(BTreeMap<String, EndpointSlice>);

impl Slices {
    /// Takes what a watch says; whether it may have changed anything.
    pub(crate) fn hear(&mut self, news: News<EndpointSlice>) -> bool {
        let named = |slice: EndpointSlice| (slice.name_any(), slice);
        match news {
            News::All(slices) => self.0 = slices.into_iter().map(named).collect(),
            News::Applied(slice) => self.0.extend([named(slice)]),
            News::Deleted(slice) => {
                self.0.remove(&slice.name_any());
            }
            News::Alive | News::Failed(_) => return false,
        }
        true
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &EndpointSlice> {
        self.0.values()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn service(spec: &Value) -> Service {
        let object = json!({"metadata": {"name": "users", "namespace": "shop"}, "spec": spec});
        serde_json::from_value(object).unwrap()
    }

    fn slice(family: &str, ports: &Value, endpoints: &Value) -> EndpointSlice {
        let object = json!({"addressType": family, "ports": ports, "endpoints": endpoints});
        serde_json::from_value(object).unwrap()
    }

    fn addresses(selected: &Selected, slices: &[EndpointSlice]) -> Vec<String> {
        let ready = selected.ready(slices);
        ready.keys().map(ToString::to_string).collect()
    }

    #[test]
    fn only_a_whole_name_names_a_service() {
        for host in [
            "users.shop.svc",
            "users.shop.svc.cluster.local",
            "users.shop.svc.",
            "users.shop.svc.cluster.local.",
            "Users.Shop.SVC.Cluster.Local",
        ] {
            let named = service_of(host).unwrap();
            assert_eq!(
                (&*named.namespace, &*named.name),
                ("shop", "users"),
                "{host}"
            );
        }
        for host in [
            "users",
            "users.shop",
            "example.com",
            "10.0.0.1",
            "a.b.c.svc",
            ".shop.svc",
            "users..svc",
            "users.shop.svc..",
            "users.shop.svc.evil.com",
            "users.shop.svc.cluster.local.evil.com",
            "users.shop.cluster.local",
            "",
        ] {
            assert_eq!(service_of(host), None, "{host}");
        }
    }

    #[test]
    fn a_port_is_resolved_by_its_name_in_each_slice() {
        let of_two = service(&json!({"clusterIP": "10.1.2.3", "ports": [
            {"name": "http", "port": 80, "targetPort": "web"},
            {"name": "admin", "port": 9000, "targetPort": 9001},
        ]}));
        // Pods of two versions may give one name different numbers.
        let old = slice(
            "IPv4",
            &json!([{"name": "admin", "port": 9001}, {"name": "http", "port": 8080}]),
            &json!([{"addresses": ["10.0.0.1"]}]),
        );
        let new = slice(
            "IPv4",
            &json!([{"name": "http", "port": 8081}]),
            &json!([{"addresses": ["10.0.0.2"]}]),
        );
        let slices = [old, new];
        let http = Selected::new(&of_two, 80).unwrap();
        assert_eq!(
            addresses(&http, &slices),
            ["10.0.0.1:8080", "10.0.0.2:8081"]
        );
        let admin = Selected::new(&of_two, 9000).unwrap();
        assert_eq!(addresses(&admin, &slices), ["10.0.0.1:9001"]);
        let said = Selected::new(&of_two, 8080).unwrap_err().to_string();
        assert_eq!(said, "service shop/users has no port 8080; it has 80, 9000");
    }

    #[test]
    fn a_headless_service_stands_in_no_ports_way() {
        let headless = service(&json!({"clusterIP": "None", "ports": [{"port": 80}]}));
        let ports = json!([{"port": 8080}]);
        let slices = [slice("IPv4", &ports, &json!([{"addresses": ["10.0.0.1"]}]))];
        let unnamed = Selected::new(&headless, 80).unwrap();
        assert_eq!(addresses(&unnamed, &slices), ["10.0.0.1:8080"]);
        let own = Selected::new(&headless, 7000).unwrap();
        assert_eq!(addresses(&own, &slices), ["10.0.0.1:7000"]);
        let external = service(&json!({"type": "ExternalName", "externalName": "example.com"}));
        let said = Selected::new(&external, 80).unwrap_err().to_string();
        assert!(said.contains("ExternalName"), "{said}");
    }

    #[test]
    fn endpoints_that_are_unready_or_on_their_way_out_take_no_requests() {
        let plain = service(&json!({"ports": [{"port": 80}]}));
        let endpoints = json!([
            {"addresses": ["10.0.0.1"], "conditions": {"ready": true},
             "targetRef": {"kind": "Pod", "name": "users-1"}},
            {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
            {"addresses": ["10.0.0.3"], "conditions": {"ready": true, "terminating": true}},
            {"addresses": ["10.0.0.4"], "conditions": {}},
            {"addresses": ["no-address.example"]},
        ]);
        let slices = [slice("IPv4", &json!([{"port": 8080}]), &endpoints)];
        let ready = Selected::new(&plain, 80).unwrap().ready(&slices);
        let pods: Vec<_> = ready
            .iter()
            .map(|(address, pod)| (address.to_string(), pod.as_deref()))
            .collect();
        let expected = [
            ("10.0.0.1:8080".to_owned(), Some("users-1")),
            ("10.0.0.4:8080".to_owned(), None),
        ];
        assert_eq!(pods, expected);
    }

    #[test]
    fn a_pod_with_two_families_of_addresses_is_one_endpoint() {
        let ports = json!([{"port": 8080}]);
        let slices = [
            slice("IPv4", &ports, &json!([{"addresses": ["10.0.0.1"]}])),
            slice("IPv6", &ports, &json!([{"addresses": ["fd00::1"]}])),
        ];
        let families = |families: &[&str]| {
            let object = service(&json!({"ipFamilies": families, "ports": [{"port": 80}]}));
            addresses(&Selected::new(&object, 80).unwrap(), &slices)
        };
        assert_eq!(families(&["IPv4", "IPv6"]), ["10.0.0.1:8080"]);
        assert_eq!(families(&["IPv6"]), ["[fd00::1]:8080"]);
    }
}
