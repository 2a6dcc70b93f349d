//! Which pods a selector matches now, asked of whoever holds them: an HPA counts its own.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Namespace;
use super::pods::Pods;
use crate::model::selector::Selector;
use crate::shadow;

/// Most pods that are told of one selector: as many as one object may have as targets.
const PODS_TOLD_MAX: usize = 1_000;

/// A question for the pods of a namespace that a selector matches.
#[derive(Debug)]
pub struct PodsAsked {
    /// The namespace.
    pub namespace: Arc<str>,
    /// What selects them.
    pub selector: Arc<Selector>,
    /// Where the answer goes: `None` where they are not all known, since nobody watches that namespace, its watch is
    /// lost, or there are too many.
    pub answer: oneshot::Sender<Option<shadow::Pods>>,
}

impl PodsAsked {
    /// Answers, with what is known of the namespace. Whoever has stopped waiting misses it.
    pub(super) fn answer(self, namespace: Option<&Namespace>) {
        let known = namespace.filter(|namespace| namespace.lost.is_none());
        let pods = known.and_then(|namespace| matched(&namespace.pods, &self.selector));
        let _ = self.answer.send(pods);
    }
}

/// The pods that a selector matches, as HPAs count them, in the order of their names.
pub(super) fn matched(pods: &Pods, selector: &Selector) -> Option<shadow::Pods> {
    if !pods.is_synced || pods.is_full {
        return None;
    }
    let matched = pods.held.values().filter(|pod| {
        let labels = &pod.template.labels;
        selector.matches(|key| labels.get(key).map(String::as_str))
    });
    let matched: Vec<_> = matched
        .take(PODS_TOLD_MAX + 1)
        .map(|pod| Arc::new(pod.as_counted()))
        .collect();
    (matched.len() <= PODS_TOLD_MAX).then(|| matched.into())
}
