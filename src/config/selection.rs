//! The pods that an object selects, and how each of them is read. Which pods there are is the cluster's to say: it asks
//! here for the port and for the source of each.

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use http::HeaderName;
use http::uri::PathAndQuery;

use crate::exposition::Want;
use crate::model::id::{ServiceId, TargetId};
use crate::model::selector::Selector;
use crate::source::SourceSpec;
use crate::source::scrape::{Auth, Endpoint, Scheme, ScrapeSpec};
use crate::source::secret::{SecretKey, SecretRef};
use crate::source::tls::TlsSpec;

/// Characters of a pod's UID in a target's name: enough to tell a StatefulSet's pod from the one before it of the same
/// name, and short enough to read.
const UID_CHARS: usize = 8;

/// Which pods of the object's own namespace are read, and how.
#[derive(Clone, PartialEq, Debug)]
pub struct PodSelection {
    pub(super) selector: Selector,
    pub(super) port: PodPort,
    pub(super) scheme: Scheme,
    pub(super) path_and_query: PathAndQuery,
    pub(super) scraping: Scraping,
}

/// The port that a pod's page is at.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PodPort {
    /// The same for every pod.
    Number(u16),
    /// The name that one of the pod's containers gives it, so a new version may move it.
    Name(String),
}

/// What is the same for every target of a document.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Scraping {
    pub(super) interval: Duration,
    pub(super) timeout: Duration,
    pub(super) want: Want,
    pub(super) headers: Vec<(HeaderName, SecretRef)>,
    pub(super) auth: Option<Auth>,
    pub(super) tls: TlsSpec,
    pub(super) gzip: bool,
}

impl PodSelection {
    /// The target that a pod is for a service: named after the pod, for people, and after its UID, since a
    /// StatefulSet's pod comes back under its name.
    pub fn target(service: &ServiceId, pod_name: &str, uid: &str) -> TargetId {
        let uid: String = uid.chars().take(UID_CHARS).collect();
        TargetId::new(service, &format!("{pod_name}/{uid}"))
    }

    /// The labels that pods must have. It never selects every pod.
    pub fn selector(&self) -> &Selector {
        &self.selector
    }

    /// The port as it was asked for, for messages.
    pub fn port_wanted(&self) -> &PodPort {
        &self.port
    }

    /// The number of a pod's port, `named` giving that of a container's port by its name. `None` when no container has
    /// a port of the name.
    pub fn port(&self, named: impl Fn(&str) -> Option<u16>) -> Option<u16> {
        match &self.port {
            PodPort::Number(number) => Some(*number),
            PodPort::Name(name) => named(name),
        }
    }

    /// How a pod is read. With `https` its certificate must be for `serverName` or, without one, for its address.
    pub fn source(&self, target: TargetId, ip: IpAddr, port: u16) -> SourceSpec {
        let endpoint = Endpoint {
            scheme: self.scheme,
            host: ip.to_string(),
            port,
            path_and_query: self.path_and_query.clone(),
        };
        self.scraping.source(target, endpoint)
    }

    pub(super) fn add_secrets(&self, secrets: &mut BTreeSet<SecretKey>) {
        let Scraping {
            headers, auth, tls, ..
        } = &self.scraping;
        let auth = auth.iter().flat_map(|auth| match auth {
            Auth::Bearer(token) => vec![token],
            Auth::Basic { username, password } => vec![username, password],
        });
        let named = headers.iter().map(|(_, value)| value).chain(auth);
        secrets.extend(named.filter_map(SecretRef::kubernetes).cloned());
        secrets.extend(tls.secret().cloned());
    }
}

impl Scraping {
    pub(super) fn source(&self, target: TargetId, endpoint: Endpoint) -> SourceSpec {
        let Self {
            interval,
            timeout,
            want,
            headers,
            auth,
            tls,
            gzip,
        } = self.clone();
        SourceSpec::Scrape(ScrapeSpec {
            timeout,
            headers,
            auth,
            tls,
            gzip,
            ..ScrapeSpec::new(target, endpoint, interval, want)
        })
    }
}

impl fmt::Display for PodPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => write!(f, "port {number}"),
            Self::Name(name) => write!(f, "a port named {name}"),
        }
    }
}
