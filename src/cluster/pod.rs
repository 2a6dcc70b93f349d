//! A pod as far as anybody here asks: who it is, where, which labels and ports it has, and where it is in its life. The
//! wire type names only the fields that are needed, so the rest of a pod (some 12 KB) is never decoded; what is held is
//! smaller still, since pods of one template share what the template gave them.

use std::collections::{BTreeMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::hpa;
use crate::model::phase::Phase;
use crate::model::pod;
use crate::model::time::Timestamp;

pub(super) use self::wire::{WirePod, timestamp};

mod wire;

#[cfg(test)]
mod tests;

/// A pod that was never Ready has been told so when it was initialized, by the same node: its clock may have ticked in
/// between, and the API's times are whole seconds. A Ready condition that fell later than that had risen before.
const READY_FELL_AFTER: Duration = Duration::from_secs(1);

/// One pod.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Pod {
    /// Its name, unique in its namespace at any one time.
    pub name: Box<str>,
    /// Its identity for ever.
    pub uid: Box<str>,
    /// What it has in common with its siblings.
    pub template: Arc<Template>,
    /// Its address, as soon as it has one.
    pub ip: Option<IpAddr>,
    /// When it was created.
    pub created: Timestamp,
    /// Where it is in its life.
    pub life: Life,
    /// What an HPA sees of it.
    pub counted: Counted,
}

/// What an HPA counts a pod by, which changes more often than what a source goes by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Counted {
    /// `status.phase`.
    pub phase: hpa::Phase,
    /// `status.startTime`.
    pub started: Option<Timestamp>,
    /// Its `Ready` condition.
    pub readiness: Option<hpa::Readiness>,
}

/// What a pod has from its template.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub(super) struct Template {
    /// Its labels.
    pub labels: Arc<BTreeMap<String, String>>,
    /// The TCP ports that containers name, sidecars included.
    pub ports: BTreeMap<String, u16>,
    /// Whether its address is its node's.
    pub host_network: bool,
}

/// Where a pod is in its life. Whether it was Ready is remembered: what it was once counts until it is gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Life {
    /// When it first became Ready, as far as is known.
    pub ready_since: Option<Timestamp>,
    /// Whether it was told to end.
    pub is_leaving: bool,
    /// Whether all its containers have ended for good.
    pub is_over: bool,
}

/// The templates of the pods held. Those that no pod has any more are dropped now and then.
#[derive(Debug, Default)]
pub(super) struct Templates {
    known: HashSet<Arc<Template>>,
    /// How many there were after the last clearance.
    kept: usize,
}

impl Pod {
    /// Takes from a watched pod what is needed, with `previous` as what was held under its name. `None` for a pod
    /// without a name, which no API server sends.
    pub(super) fn new(
        wire: WirePod,
        previous: Option<&Self>,
        templates: &mut Templates,
    ) -> Option<Self> {
        let WirePod {
            mut metadata,
            spec,
            status,
        } = wire;
        let name = metadata.name.take()?;
        let uid = metadata.uid.take()?;
        let remembered = previous
            .filter(|previous| *previous.uid == *uid)
            .and_then(|previous| previous.life.ready_since);
        let life = Life {
            ready_since: remembered.or_else(|| status.ready_since()),
            is_leaving: metadata.deletion_timestamp.is_some(),
            is_over: matches!(status.phase.as_deref(), Some("Succeeded" | "Failed")),
        };
        let created = metadata.creation_timestamp.as_ref().map(wire::timestamp);
        let template = Template {
            ports: spec.ports(),
            host_network: spec.host_network,
            labels: Arc::new(metadata.labels.take().unwrap_or_default()),
        };
        Some(Self {
            name: name.into(),
            uid: uid.into(),
            template: templates.share(template),
            ip: status.pod_ip.as_deref().and_then(|ip| ip.parse().ok()),
            created: created.unwrap_or_default(),
            life,
            counted: status.counted(),
        })
    }

    /// Whether whoever reads it has nothing to do about it in place of `other`.
    pub(super) fn is_read_as(&self, other: &Self) -> bool {
        let Self {
            name,
            uid,
            template,
            ip,
            created,
            life,
            counted: _,
        } = self;
        (name, uid, template) == (&other.name, &other.uid, &other.template)
            && (ip, created, life) == (&other.ip, &other.created, &other.life)
    }

    /// The pod as an HPA sees it.
    pub(super) fn as_counted(&self) -> hpa::Pod {
        let Counted {
            phase,
            started,
            readiness,
        } = self.counted;
        hpa::Pod {
            name: self.name.to_string(),
            phase,
            deleted: self.life.is_leaving,
            started,
            readiness,
            // Of its containers only the ports are held.
            requests: BTreeMap::new(),
            container_requests: BTreeMap::new(),
        }
    }

    /// Its phase as a target. One that was told to end before it was ever Ready has no users to wait for.
    pub(super) fn phase(&self) -> Phase {
        match self.life {
            Life {
                ready_since: None, ..
            } => Phase::Starting,
            Life {
                is_leaving: true, ..
            } => Phase::Leaving,
            Life {
                ready_since: Some(since),
                ..
            } => Phase::Ready { since },
        }
    }

    /// What clients know it by.
    pub(super) fn identity(&self) -> pod::Pod {
        pod::Pod {
            name: (*self.name).into(),
            labels: Arc::clone(&self.template.labels),
        }
    }

    /// The hash of its Deployment's revision, where it is of one.
    pub(super) fn revision(&self) -> Option<&str> {
        let hash = self.template.labels.get("pod-template-hash");
        hash.map(String::as_str)
    }

    /// Whether it, rather than another pod that the API shows with the same address, is what answers there: an address
    /// is given anew as soon as its last owner's containers are gone, which the API hears of later.
    pub(super) fn outlives(&self, other: &Self) -> bool {
        let rank = |pod: &Self| {
            let is_leaving = pod.life.is_leaving;
            (!pod.life.is_over, !is_leaving, pod.created)
        };
        (rank(other), &other.uid) < (rank(self), &self.uid)
    }
}

impl Templates {
    /// The one copy of a template.
    fn share(&mut self, template: Template) -> Arc<Template> {
        if let Some(known) = self.known.get(&template) {
            return Arc::clone(known);
        }
        // Twice as many as were in use last time: clearing costs each pod a constant share.
        if 2 * self.kept.max(16) < self.known.len() {
            self.known.retain(|known| 1 < Arc::strong_count(known));
            self.kept = self.known.len();
        }
        let template = Arc::new(template);
        self.known.insert(Arc::clone(&template));
        template
    }
}
