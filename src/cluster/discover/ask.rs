//! Which pods a selector matches now, asked of whoever holds them: an HPA counts its own.

use std::sync::Arc;

use tokio::sync::oneshot;

use super::Namespace;
use crate::model::selector::Selector;
use crate::shadow::Pods;

/// Most pods that are told of one selector: as many as one object may have as targets.
const PODS_TOLD_MAX: usize = 1_000;

/// A question for the pods of a namespace that a selector matches.
#[derive(Debug)]
pub struct PodsAsked {
    /// The namespace.
    pub namespace: Arc<str>,
    /// What selects them.
    pub selector: Arc<Selector>,
    /// Where the answer goes: `None` where they are not all known, since nobody watches that namespace, its watch is lost,
    /// or there are too many.
    pub answer: oneshot::Sender<Option<Pods>>,
}

impl PodsAsked {
    /// Answers, with what is known of the namespace. Whoever has stopped waiting misses it.
    pub(super) fn answer(self, namespace: Option<&Namespace>) {
        let pods = namespace.and_then(|namespace| namespace.matched(&self.selector));
        let _ = self.answer.send(pods);
    }
}

impl Namespace {
    fn matched(&self, selector: &Selector) -> Option<Pods> {
        if !self.pods.is_synced || self.pods.is_full || self.lost.is_some() {
            return None;
        }
        let matched = self.pods.held.values().filter(|pod| {
            let labels = &pod.template.labels;
            selector.matches(|key| labels.get(key).map(String::as_str))
        });
        let matched: Vec<_> = matched
            .take(PODS_TOLD_MAX + 1)
            .map(|pod| Arc::new(pod.as_counted()))
            .collect();
        (matched.len() <= PODS_TOLD_MAX).then(|| matched.into())
    }
}
