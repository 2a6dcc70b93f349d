//! All objects of a run, sorted by what they are, and who belongs to whom. Rules ask here and look at nothing else, so
//! that a rule is a function of the documents.

use std::collections::{BTreeMap, BTreeSet};

use crate::config::tree::Node;

use super::objects::{Object, Read};
use super::page::Page;
use super::view::{Hpa, Service, Workload};

/// The kind of an HPA.
pub(crate) const HPA: &str = "HorizontalPodAutoscaler";

/// An object and its place among all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known<'w> {
    pub(crate) index: usize,
    pub(crate) object: &'w Object,
}

/// What the adapter of a live cluster answered when a metric was read as the HPA reads it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Answer {
    /// The HPA's namespace.
    pub(crate) namespace: String,
    /// The metric's name as the HPA writes it.
    pub(crate) metric: String,
    /// The selector as the controller sends it.
    pub(crate) selector: String,
    /// The items' values, or the code and the message of the refusal.
    pub(crate) outcome: Result<Vec<f64>, String>,
    /// What `Retry-After` said.
    pub(crate) retry_after: Option<String>,
}

/// What is known beside the objects.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    /// Pages of metrics, by the service that they are of.
    pub(crate) pages: BTreeMap<String, Page>,
    /// What the adapter answered.
    pub(crate) answers: Vec<Answer>,
    /// Kinds of which a live cluster showed every object, in lower case and plural.
    pub(crate) complete: Vec<&'static str>,
}

/// Everything that rules know.
#[derive(Debug)]
pub(crate) struct World<'w> {
    pub(crate) hpas: Vec<Hpa<'w>>,
    pub(crate) services: Vec<Service<'w>>,
    pub(crate) workloads: Vec<Workload<'w>>,
    /// PodDisruptionBudgets.
    pub(crate) budgets: Vec<Known<'w>>,
    pub(crate) apiservices: Vec<Known<'w>>,
    /// Istio's VirtualServices, of which retries are known.
    pub(crate) routes: Vec<Known<'w>>,
    /// KEDA's ScaledObjects, each of which becomes an HPA.
    pub(crate) scaled: Vec<Known<'w>>,
    /// VerticalPodAutoscalers.
    pub(crate) verticals: Vec<Known<'w>>,
    /// Services of Kubernetes.
    pub(crate) addresses: Vec<Known<'w>>,
    /// The names of all Services and workloads.
    pub(crate) names: BTreeSet<&'w str>,
    pub(crate) beside: &'w Beside,
}

impl<'w> World<'w> {
    pub(crate) fn new(read: &'w Read, beside: &'w Beside) -> Self {
        let mut world = Self {
            hpas: Vec::new(),
            services: Vec::new(),
            workloads: Vec::new(),
            budgets: Vec::new(),
            apiservices: Vec::new(),
            routes: Vec::new(),
            scaled: Vec::new(),
            verticals: Vec::new(),
            addresses: Vec::new(),
            names: BTreeSet::new(),
            beside,
        };
        for (index, object) in read.objects.iter().enumerate() {
            world.sort(Known { index, object });
        }
        let workloads = world.workloads.iter().map(|workload| workload.known);
        let named = workloads.chain(world.addresses.iter().copied());
        world.names = named.map(|known| known.object.name.as_str()).collect();
        world
    }

    fn sort(&mut self, known: Known<'w>) {
        let Object {
            api_version, kind, ..
        } = known.object;
        let group = api_version.split('/').next().unwrap_or_default();
        match (group, kind.as_str()) {
            // One whose version or kind is misspelt is one all the same, and has a rule that says so.
            ("autoscaling" | "" | "v1" | "v2", kind) if kind.eq_ignore_ascii_case(HPA) => {
                self.hpas.push(Hpa::new(known));
            }
            ("taffrail.dev", "RequestMetrics") => self.services.push(Service::new(known)),
            ("apps" | "extensions", "Deployment" | "StatefulSet" | "ReplicaSet" | "DaemonSet")
            | ("argoproj.io", "Rollout") => self.workloads.push(Workload::new(known)),
            ("policy", "PodDisruptionBudget") => self.budgets.push(known),
            ("apiregistration.k8s.io", "APIService") => self.apiservices.push(known),
            ("networking.istio.io", "VirtualService") => self.routes.push(known),
            ("keda.sh", "ScaledObject") => self.scaled.push(known),
            ("autoscaling.k8s.io", "VerticalPodAutoscaler") => self.verticals.push(known),
            ("v1", "Service") => self.addresses.push(known),
            _ => {}
        }
    }

    /// How many objects are of a kind that rules look at.
    pub(crate) fn checked(&self) -> usize {
        self.hpas.len()
            + self.services.len()
            + self.workloads.len()
            + self.budgets.len()
            + self.apiservices.len()
            + self.routes.len()
            + self.scaled.len()
            + self.verticals.len()
            + self.addresses.len()
    }

    /// The RequestMetrics of a name that `object` can read: of its own namespace, before one that says none, and of its
    /// own file before others.
    pub(crate) fn service(&self, object: &Object, name: &str) -> Option<&Service<'w>> {
        let of_name = |service: &&Service<'w>| {
            service.known.object.name == name && service.known.object.may_meet(object)
        };
        best(object, self.services.iter().filter(of_name), |service| {
            service.known.object
        })
    }

    /// The RequestMetrics that an HPA may read.
    pub(crate) fn services_near(&self, object: &'w Object) -> impl Iterator<Item = &Service<'w>> {
        let near = |service: &&Service<'w>| service.known.object.may_meet(object);
        self.services.iter().filter(near)
    }

    /// What an HPA scales.
    pub(crate) fn target(&self, hpa: &Hpa<'w>) -> Option<&Workload<'w>> {
        let (kind, name) = hpa.target()?;
        let is_it = |workload: &&Workload<'w>| {
            let object = workload.known.object;
            object.kind == kind && object.name == name && object.may_meet(hpa.known.object)
        };
        let of_name = self.workloads.iter().filter(is_it);
        best(hpa.known.object, of_name, |workload| workload.known.object)
    }

    /// The HPA that scales a workload; that of its own namespace and file where there are several.
    pub(crate) fn hpa_of(&self, workload: &Object) -> Option<&Hpa<'w>> {
        best(workload, self.hpas_of(workload), |hpa| hpa.known.object)
    }

    /// The HPAs that scale a workload.
    pub(crate) fn hpas_of(&self, workload: &Object) -> impl Iterator<Item = &Hpa<'w>> {
        self.hpas.iter().filter(|hpa| {
            hpa.target() == Some((workload.kind.as_str(), workload.name.as_str()))
                && hpa.known.object.may_meet(workload)
        })
    }

    /// Whether every object of a kind is known, so that one that is missing does not exist.
    pub(crate) fn has_all(&self, kind: &str) -> bool {
        self.beside.complete.contains(&kind)
    }

    /// What the adapter answered to an HPA's metric.
    pub(crate) fn answer(&self, object: &Object, metric: &str, selector: &str) -> Option<&Answer> {
        self.beside.answers.iter().find(|answer| {
            Some(&answer.namespace) == object.namespace.as_ref()
                && answer.metric == metric
                && answer.selector == selector
        })
    }
}

/// The one that surely is meant: of the same namespace, then of the same file.
fn best<'b, T>(
    near: &Object,
    of_name: impl Iterator<Item = &'b T>,
    object: impl Fn(&T) -> &Object,
) -> Option<&'b T> {
    of_name.min_by_key(|found| {
        let found = object(found);
        (
            found.namespace != near.namespace,
            found.source != near.source,
        )
    })
}

/// The labels of a mapping.
pub(crate) fn labels(node: Option<&Node>) -> BTreeMap<String, String> {
    let fields = node.map_or(&[][..], Node::fields);
    fields
        .iter()
        .filter_map(|(key, value)| Some((key.clone(), value.scalar()?)))
        .collect()
}
