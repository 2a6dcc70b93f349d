//! What may be put under load: this machine, and services in the namespaces that the scenario allows. A load test of
//! somebody else's system is an attack on it, so everything else must be asked for by name. Pure.

use std::net::{IpAddr, SocketAddr};

use crate::cluster::service::service_of;
use crate::scenario::{Discovery, Scenario, Target};

/// A target that must not be put under load.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Its namespace is not allowed.
    #[error(
        "service {service} of the scenario: {host} is in namespace {namespace}, which is not allowed; add it to \
         safety.allowNamespaces if its users may feel this load"
    )]
    Namespace {
        /// The service's name in the scenario.
        service: String,
        /// The URL's host.
        host: String,
        /// Where it is.
        namespace: String,
    },
    /// It is neither of a cluster nor of this machine.
    #[error(
        "service {service} of the scenario: {host} is neither a service of the cluster (NAME.NAMESPACE.svc) nor this \
         machine; give --allow-external if it is yours"
    )]
    External {
        /// The service's name in the scenario.
        service: String,
        /// The host, or the address that is given for it.
        host: String,
    },
    /// Its HPA is elsewhere.
    #[error(
        "service {service} of the scenario: its HPA is in namespace {namespace}, which is not allowed; add it to \
         safety.allowNamespaces"
    )]
    Hpa {
        /// The service's name in the scenario.
        service: String,
        /// Where it is.
        namespace: String,
    },
}

/// Refuses a scenario with a target that must not be put under load. With `allow_external` hosts outside of the cluster
/// may be; namespaces must be allowed all the same.
///
/// # Errors
/// The first such target, and what allows it.
pub fn check(scenario: &Scenario, allow_external: bool) -> Result<(), Refused> {
    let allowed = &scenario.safety.allow_namespaces;
    for (service, described) in &scenario.services {
        if let Some(observe) = &described.observe
            && !allowed.contains(&observe.hpa.namespace)
        {
            return Err(Refused::Hpa {
                service: service.clone(),
                namespace: observe.hpa.namespace.clone(),
            });
        }
        for host in described.target.iter().flat_map(hosts) {
            match service_of(&host) {
                Some(named) if allowed.contains(&named.namespace) => {}
                Some(named) => {
                    return Err(Refused::Namespace {
                        service: service.clone(),
                        host,
                        namespace: named.namespace,
                    });
                }
                None if allow_external || is_here(&host) => {}
                None => {
                    return Err(Refused::External {
                        service: service.clone(),
                        host,
                    });
                }
            }
        }
    }
    Ok(())
}

/// Where requests really go: the listed addresses, or the URL's host.
fn hosts(target: &Target) -> Vec<String> {
    match &target.discovery {
        Discovery::Addresses(addresses) => addresses.clone(),
        _ => {
            let url: Option<http::Uri> = target.url.parse().ok();
            // What is no URL is nobody's.
            let host = url
                .as_ref()
                .and_then(|url| url.host())
                .unwrap_or(&target.url);
            vec![host.to_owned()]
        }
    }
}

/// Whether a host, or an address with its port, is this machine.
fn is_here(host: &str) -> bool {
    let with_port = host.parse::<SocketAddr>().map(|address| address.ip()).ok();
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let address = with_port.or_else(|| bare.parse::<IpAddr>().ok());
    address.map_or(host == "localhost", |address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::scenario::{ObjectName, Observe, Service, Span};

    fn scenario(url: &str, discovery: &serde_json::Value) -> Scenario {
        let target = json!({
            "url": url,
            "discovery": discovery,
            "connections": {
                "perEndpoint": 1, "maxAge": null, "maxAgeJitter": 0.0, "maxRequests": 0,
                "onEndpointAdd": "rebalance", "preconnect": 0,
            },
            "http": {"version": "1.1", "timeout": "5s", "expect": []},
        });
        let service = Service {
            target: Some(serde_json::from_value(target).unwrap()),
            ..Service::default()
        };
        let mut scenario = Scenario::default();
        scenario.services.insert("users".to_owned(), service);
        scenario.safety.allow_namespaces = vec!["shop".to_owned()];
        scenario
    }

    #[test]
    fn only_this_machine_and_allowed_namespaces_are_loaded() {
        for (url, by_default, with_external) in [
            ("http://users.shop.svc/", true, true),
            ("http://users.shop.svc.cluster.local:8080/buy", true, true),
            ("http://users.prod.svc/", false, false),
            ("http://localhost:8080", true, true),
            ("http://127.3.2.1:80", true, true),
            ("http://[::1]:80/", true, true),
            ("http://10.0.0.1/", false, true),
            ("http://example.com", false, true),
            ("http://localhost.example.com", false, true),
            ("http://users.shop", false, true),
            ("http://localhost@example.com/", false, true),
        ] {
            let scenario = scenario(url, &json!("static"));
            assert_eq!(check(&scenario, false).is_ok(), by_default, "{url}");
            assert_eq!(check(&scenario, true).is_ok(), with_external, "{url}");
        }
    }

    #[test]
    fn addresses_count_and_not_the_host_before_them() {
        let to = |address: &str| scenario("http://localhost/", &json!({"addresses": [address]}));
        assert_eq!(check(&to("127.0.0.1:80"), false), Ok(()));
        let refused = check(&to("10.0.0.1:80"), false).unwrap_err();
        assert!(
            refused.to_string().contains("10.0.0.1:80 is neither"),
            "{refused}"
        );
    }

    #[test]
    fn an_hpa_of_another_namespace_is_refused() {
        let mut scenario = scenario("http://users.shop.svc/", &json!("endpoints"));
        let observe = |namespace: &str| Observe {
            hpa: ObjectName {
                namespace: namespace.to_owned(),
                name: "users".to_owned(),
            },
            metric_interval: Span::from_secs(2),
            max_gap: Span::from_secs(15),
        };
        for (namespace, is_allowed) in [("shop", true), ("prod", false)] {
            let service = scenario.services.get_mut("users").unwrap();
            service.observe = Some(observe(namespace));
            assert_eq!(check(&scenario, true).is_ok(), is_allowed, "{namespace}");
        }
    }
}
