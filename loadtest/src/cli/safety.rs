//! Whether a target may be loaded at all. A load generator that follows a slip of the pen to somebody else's server is a
//! weapon, so what is neither this machine nor a service of the cluster must be allowed by name. It looks nothing up: a
//! name that is allowed is trusted to be what it says.

use http::Uri;

use crate::scenario::{Discovery, Safety, Scenario, Target};

/// Endings of names that only a cluster's own DNS has.
const CLUSTER_SUFFIXES: [&str; 2] = [".svc", ".svc.cluster.local"];

/// Why a target is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// It is somewhere else.
    #[error(
        "service `{service}`: {host} is neither this machine nor a service of the cluster; \
         give --allow-external if you may load it"
    )]
    External {
        /// The service of the scenario.
        service: String,
        /// The host.
        host: String,
    },
    /// Its namespace is not in the list.
    #[error(
        "service `{service}`: {host} is not in one of the namespaces that safety.allowNamespaces lists ({allowed})"
    )]
    Namespace {
        /// The service of the scenario.
        service: String,
        /// The host.
        host: String,
        /// The list.
        allowed: String,
    },
}

/// Checks the targets of a scenario. `in_cluster` tells whether this runs in a pod, where a bare name is a service of
/// the pod's own namespace, `namespace`.
///
/// # Errors
/// The first target that must not be loaded.
pub fn check(
    scenario: &Scenario,
    allow_external: bool,
    namespace: Option<&str>,
) -> Result<(), Refused> {
    for (name, service) in &scenario.services {
        for host in service.target.iter().flat_map(hosts) {
            let refused = refuse(&host, &scenario.safety, allow_external, namespace);
            match refused {
                None => {}
                Some(Reason::External) => {
                    return Err(Refused::External {
                        service: name.clone(),
                        host,
                    });
                }
                Some(Reason::Namespace) => {
                    return Err(Refused::Namespace {
                        service: name.clone(),
                        host,
                        allowed: scenario.safety.allow_namespaces.join(", "),
                    });
                }
            }
        }
    }
    Ok(())
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    External,
    Namespace,
}

/// The hosts that requests go to: those of written addresses, else the URL's.
fn hosts(target: &Target) -> Vec<String> {
    let host = |address: &String| {
        let (host, _port) = address.rsplit_once(':').unwrap_or((address, ""));
        bare(host)
    };
    match &target.discovery {
        Discovery::Addresses(addresses) => addresses.iter().map(host).collect(),
        _ => {
            let url = target.url.parse::<Uri>().ok();
            vec![bare(url.as_ref().and_then(Uri::host).unwrap_or_default())]
        }
    }
}

/// A host as it is compared: without brackets, a final dot, and capitals.
fn bare(host: &str) -> String {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host.trim_end_matches('.').to_ascii_lowercase()
}

fn refuse(
    host: &str,
    safety: &Safety,
    allow_external: bool,
    own_namespace: Option<&str>,
) -> Option<Reason> {
    if is_loopback(host) {
        return None;
    }
    let Some(namespace) = namespace_of(host, own_namespace) else {
        return (!allow_external).then_some(Reason::External);
    };
    let listed = &safety.allow_namespaces;
    let allowed = listed.is_empty() || listed.iter().any(|allowed| allowed == namespace);
    (!allowed).then_some(Reason::Namespace)
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<std::net::IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => host == "localhost" || host.ends_with(".localhost"),
    }
}

/// The namespace of a cluster's service; `None` for anything else. An address is never one: it says nothing of what is
/// behind it.
fn namespace_of<'h>(host: &'h str, own: Option<&'h str>) -> Option<&'h str> {
    let suffix = CLUSTER_SUFFIXES.iter().find_map(|suffix| host.strip_suffix(suffix));
    if let Some(rest) = suffix {
        // A pod of a headless Service has a name in front of the Service's.
        let (service, namespace) = rest.rsplit_once('.')?;
        return (!service.is_empty() && !namespace.is_empty()).then_some(namespace);
    }
    let is_bare = !host.is_empty() && !host.contains('.') && host.parse::<std::net::IpAddr>().is_err();
    own.filter(|_| is_bare)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(url: &str, flag: bool, own: Option<&str>, allowed: &str) -> Option<String> {
        let text = format!(
            "name: a\ntarget: {{ url: '{url}', discovery: dns }}\nsafety: {{ allowNamespaces: [{allowed}] }}\n\
             scenarios: {{ m: {{ profile: 1@1s }} }}"
        );
        let scenario = Scenario::read("a.yaml", &text, |_| Err(std::io::ErrorKind::NotFound.into()));
        check(&scenario.unwrap(), flag, own).err().map(|refused| refused.to_string())
    }

    #[test]
    fn only_this_machine_and_services_of_the_cluster_are_loaded() {
        let cases = [
            ("http://127.0.0.1:80/", None, true),
            ("http://127.8.9.1/", None, true),
            ("http://[::1]:80/", None, true),
            ("http://[::ffff:127.0.0.1]/", None, true),
            ("http://localhost/", None, true),
            ("http://users.shop.svc:8080/", None, true),
            ("http://users.shop.svc.cluster.local./", None, true),
            ("http://pod-0.users.shop.svc/", None, true),
            ("http://users/", Some("shop"), true),
            ("http://users/", None, false),
            ("http://example.org/", Some("shop"), false),
            ("http://10.0.0.1/", Some("shop"), false),
            ("http://[fd00::1]/", Some("shop"), false),
            ("http://svc.example.org/", None, false),
            ("http://users.svc/", None, false),
            ("http://users.shop.svc.example.org/", None, false),
            ("http://localhost.example.org/", None, false),
            ("http://127.0.0.1.example.org/", None, false),
        ];
        for (url, own, allowed) in cases {
            let refused = refusal(url, false, own, "");
            assert_eq!(refused.is_none(), allowed, "{url}: {refused:?}");
            assert_eq!(refusal(url, true, own, ""), None, "{url} with --allow-external");
        }
    }

    #[test]
    fn a_list_of_namespaces_is_kept_even_with_the_flag() {
        let cases = [
            ("http://users.shop.svc/", "shop, bank", true),
            ("http://users.kube-system.svc/", "shop", false),
            ("http://pod-0.users.kube-system.svc/", "shop", false),
            ("http://users/", "shop", false),
            ("http://127.0.0.1/", "shop", true),
        ];
        for (url, listed, allowed) in cases {
            let refused = refusal(url, true, Some("default"), listed);
            assert_eq!(refused.is_none(), allowed, "{url}: {refused:?}");
        }
    }
}
