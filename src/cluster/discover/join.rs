//! Objects and pods to services: who is read for whom, and what is said about the others. Pure: the same objects and pods
//! give the same services, in the same order.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use super::findings::{
    EXAMPLES_MAX, Finding, Findings, LeftOut, PodsFound, REVISIONS_MAX, Revision,
};
use super::objects::{Held, InForce, Objects};
use super::pods::PODS_MAX;
use crate::cluster::pod::Pod;
use crate::config::{PodSelection, Service};
use crate::model::health::Failure;
use crate::model::id::{ServiceId, TargetId};
use crate::model::phase::Phase;
use crate::source::SourceSpec;
use crate::source::secret::SecretKey;

/// Targets of one object: as many as a document of a file may have. The oldest pods count.
pub(super) const TARGETS_MAX: usize = 1_000;

/// What is known of a namespace's pods.
#[derive(Debug, Default)]
pub(super) struct Known<'p> {
    pub(super) pods: Vec<&'p Pod>,
    pub(super) is_synced: bool,
    pub(super) is_full: bool,
    /// Why its watch says nothing.
    pub(super) problem: Option<String>,
}

/// Everything wanted, and everything found.
pub(super) struct Joined {
    pub(super) services: Vec<Service>,
    pub(super) findings: Findings,
}

/// Joins objects and the pods of their namespaces. With `names_pods` a service's targets have their pods' names and
/// labels, for whoever asks for single pods. `secret` says what is wrong with a secret, if anything.
pub(super) fn join(
    objects: &Objects,
    namespaces: &BTreeMap<Arc<str>, Known<'_>>,
    names_pods: bool,
    secret: impl Fn(&SecretKey) -> Option<Failure>,
) -> Joined {
    let owners = owners(namespaces);
    let mut joined = Joined {
        services: Vec::with_capacity(objects.held.len()),
        findings: Findings {
            is_full: objects.is_full,
            ..Findings::default()
        },
    };
    for (id, held) in &objects.held {
        let (service, pods) = match &held.in_force {
            None => (None, None),
            Some(InForce { object, .. }) => match &object.pods {
                None => (Some(object.service.clone()), None),
                Some(selection) => {
                    let known = namespaces.get(&id.namespace);
                    let service = &object.service;
                    let (service, found) = select(service, selection, known, &owners, names_pods);
                    (Some(service), Some(found))
                }
            },
        };
        joined.services.extend(service);
        let finding = finding(held, pods, &secret);
        joined.findings.objects.insert(id.clone(), finding);
    }
    joined
}

fn finding(
    held: &Held,
    pods: Option<PodsFound>,
    secret: impl Fn(&SecretKey) -> Option<Failure>,
) -> Finding {
    let in_force = held.in_force.as_ref();
    let secrets = in_force.map(|in_force| in_force.object.secrets());
    Finding {
        uid: Arc::clone(&held.uid),
        generation: held.generation,
        in_force: in_force.map(|in_force| in_force.generation),
        problem: held.problem.clone(),
        pods,
        secrets: secrets
            .iter()
            .flatten()
            .filter_map(|key| secret(key).map(|failure| failure.message))
            .collect(),
    }
}

/// Who answers at each address. Pods of all namespaces take part: an address that was one tenant's is another's now.
fn owners<'p>(namespaces: &BTreeMap<Arc<str>, Known<'p>>) -> HashMap<IpAddr, &'p Pod> {
    let mut owners: HashMap<IpAddr, &Pod> = HashMap::new();
    for pod in namespaces.values().flat_map(|known| &known.pods) {
        // Pods of a node's network share its address, and none of them owns it.
        let Some(ip) = pod.ip.filter(|_| !pod.template.host_network) else {
            continue;
        };
        let owner = owners.entry(ip).or_insert(pod);
        if pod.outlives(owner) {
            *owner = pod;
        }
    }
    owners
}

/// The service with a source and a phase for each pod that is a target.
fn select(
    service: &Service,
    selection: &PodSelection,
    known: Option<&Known<'_>>,
    owners: &HashMap<IpAddr, &Pod>,
    names_pods: bool,
) -> (Service, PodsFound) {
    let mut service = service.clone();
    let Some(known) = known else {
        return (service, PodsFound::default());
    };
    let mut found = PodsFound {
        is_synced: known.is_synced,
        problem: known.problem.clone().or_else(|| {
            let message = || {
                format!("more than {PODS_MAX} pods are in the namespaces read; some of this one are left out")
            };
            known.is_full.then(message)
        }),
        ..PodsFound::default()
    };
    let mut matched: Vec<&Pod> = known
        .pods
        .iter()
        .copied()
        .filter(|pod| selects(selection, pod))
        .collect();
    matched.sort_unstable_by_key(|pod| (pod.created, &pod.uid));
    found.matched = matched.len();
    let mut left_out: Vec<(LeftOut, &Pod)> = Vec::new();
    for pod in matched {
        let target = if service.sources.len() < TARGETS_MAX {
            target(&service.spec.id, selection, pod, owners)
        } else {
            Err(LeftOut::TooMany)
        };
        match target {
            Ok((target, source)) => {
                found.count(pod);
                service.sources.push(source);
                if names_pods {
                    service.pods.insert(target.clone(), pod.identity());
                }
                service.phases.insert(target, pod.phase());
            }
            Err(reason) => {
                *found.left_out.entry(reason).or_default() += 1;
                left_out.push((reason, pod));
            }
        }
    }
    // Stable, so by age within a reason.
    left_out.sort_by_key(|(reason, _)| *reason);
    let examples = left_out.iter().take(EXAMPLES_MAX);
    found.examples = examples
        .map(|(reason, pod)| (pod.name.clone(), *reason))
        .collect();
    found.keep_largest_revisions();
    (service, found)
}

fn selects(selection: &PodSelection, pod: &Pod) -> bool {
    let labels = &pod.template.labels;
    selection
        .selector()
        .matches(|key| labels.get(key).map(String::as_str))
}

/// A pod as a target, or why it is none.
fn target(
    service: &ServiceId,
    selection: &PodSelection,
    pod: &Pod,
    owners: &HashMap<IpAddr, &Pod>,
) -> Result<(TargetId, SourceSpec), LeftOut> {
    if pod.life.is_over {
        return Err(LeftOut::Over);
    }
    if pod.template.host_network {
        return Err(LeftOut::HostNetwork);
    }
    let ip = pod.ip.ok_or(LeftOut::NoAddress)?;
    if owners.get(&ip).is_some_and(|owner| owner.uid != pod.uid) {
        return Err(LeftOut::AddressTaken);
    }
    let named = |name: &str| pod.template.ports.get(name).copied();
    let port = selection.port(named).ok_or(LeftOut::NoPort)?;
    let target = PodSelection::target(service, &pod.name, &pod.uid);
    let source = selection.source(target.clone(), ip, port);
    Ok((target, source))
}

impl PodsFound {
    fn count(&mut self, pod: &Pod) {
        let mut unrevised = Revision::default();
        let revision = match pod.revision() {
            Some(hash) => self.revisions.entry(hash.to_owned()).or_default(),
            None => &mut unrevised,
        };
        match pod.phase() {
            Phase::Starting => {
                self.starting += 1;
                revision.starting += 1;
            }
            Phase::Ready { .. } => {
                self.ready += 1;
                revision.ready += 1;
            }
            Phase::Leaving => {
                self.leaving += 1;
                revision.leaving += 1;
            }
        }
    }

    fn keep_largest_revisions(&mut self) {
        let mut by_size: Vec<_> = std::mem::take(&mut self.revisions).into_iter().collect();
        by_size.sort_by_key(|(_, revision)| Reverse(revision.targets()));
        by_size.truncate(REVISIONS_MAX);
        self.revisions = by_size.into_iter().collect();
    }
}
