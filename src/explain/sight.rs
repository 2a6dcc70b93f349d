//! The facts of an HPA without the adapter: what it would see now, and no memory of what it saw.

use super::metrics::{Ground, Read};
use super::object::Hpa;
use super::{pods, scale};
use crate::cluster::connect::Cluster;
use crate::hpa::{Autoscaler, Observation};
use crate::model::time::Timestamp;
use crate::shadow::ready_pods;
use crate::story::Facts;
use crate::story::facts::Real;

/// What is to be seen, and what to know of how it was.
pub(super) async fn look(
    cluster: &Cluster,
    namespace: &str,
    name: &str,
    hpa: &Hpa,
    now: Timestamp,
) -> anyhow::Result<(Facts, Vec<String>)> {
    let scale = scale::read(cluster, namespace, hpa).await?;
    let mut notes = Vec::new();
    let listed = pods::list(cluster, namespace, &scale.selector, &hpa.spec).await;
    let are_pods_seen = listed.is_ok();
    let mut pods = listed.unwrap_or_else(|error| {
        let count = scale.status_replicas;
        notes.push(format!(
            "which pods are ready is not known, so {count} ready ones were presumed: {error}"
        ));
        ready_pods(count, now)
    });
    let ground = Ground {
        cluster,
        namespace,
        hpa,
        scale: &scale,
        are_pods_seen,
        now,
    };
    let real = hpa.real();
    let refused = real.as_ref().and_then(Real::refused_selector);
    let mut reads = Vec::with_capacity(hpa.spec.metrics.len());
    for index in 0..hpa.spec.metrics.len() {
        reads.push(match refused {
            // Whatever could be read here: the HPA reads nothing.
            Some(why) => Read::failed(format!("{}: {}", why.reason, why.message)),
            None => ground.read(index, &mut pods).await,
        });
    }
    let observed = Observation {
        spec_replicas: scale.spec_replicas,
        status_replicas: scale.status_replicas,
        pods,
        answers: reads.iter().map(|read| read.answer.clone()).collect(),
    };
    let decision = Autoscaler::new(hpa.spec.clone()).decide(now, &observed);
    let whose = (namespace, name, hpa.target.clone());
    let mut facts = Facts::new(whose, &hpa.spec, &observed, None, &decision);
    facts.real = real;
    for ((metric, read), selector) in facts.metrics.iter_mut().zip(&mut reads).zip(&hpa.selectors) {
        metric.selector.clone_from(selector);
        metric.age = read.made.map(|made| now.since(made));
        notes.extend(read.note.take());
    }
    Ok((facts, notes))
}
