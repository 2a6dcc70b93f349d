//! The scales of what HPAs scale: read for their selector alone, a few at a time, and again now and then.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, discovery};
use tokio::task::{self, JoinSet};
use tracing::{info, warn};

use super::super::request::{RequestError, within_deadline};
use crate::clock;
use crate::model::selector::Selector;
use crate::shadow::Id;
use crate::shadow::book::{AUTOSCALERS_MAX, PER_NAMESPACE_MAX};

/// How often a selector that is known is read again: a target may be replaced by one of its name.
const AGAIN: Duration = Duration::from_secs(600);

/// How soon after a failure a scale is tried again: until a role is changed, or the target is there.
const RETRY: Duration = Duration::from_secs(30);

/// Scales read at a time: a cluster of a thousand HPAs is read in half a minute, and nobody is kept from anything.
const AT_ONCE: usize = 4;

/// What an HPA scales.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Target {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) name: String,
}

/// The targets of all HPAs.
pub(super) struct Targets {
    client: Client,
    known: BTreeMap<Id, Known>,
    reading: JoinSet<Result<Selector, ScaleError>>,
    /// What each task reads: [`AT_ONCE`] at most.
    asked: HashMap<task::Id, (Id, Target)>,
}

struct Known {
    target: Target,
    /// When its scale is to be read; `None` while it is being read.
    due: Option<Instant>,
    is_failing: bool,
}

/// Why a selector is not known.
#[derive(Debug, thiserror::Error)]
enum ScaleError {
    #[error("{0}")]
    Request(#[from] RequestError),
    #[error("its scale has no selector that can be read")]
    NoSelector,
    #[error("reading it failed within the adapter: {0}")]
    Task(#[from] task::JoinError),
}

impl Targets {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: BTreeMap::new(),
            reading: JoinSet::new(),
            asked: HashMap::new(),
        }
    }

    /// Takes what an HPA scales: of as many as the book holds, which is told of the same HPAs in the same order.
    pub(super) fn want(&mut self, id: &Id, target: Target) {
        if !self.known.contains_key(id) && !self.has_room(id) {
            return;
        }
        if self
            .known
            .get(id)
            .is_some_and(|known| known.target == target)
        {
            return;
        }
        let known = Known {
            target,
            due: Some(clock::instant()),
            is_failing: false,
        };
        self.known.insert(id.clone(), known);
        self.look();
    }

    fn has_room(&self, id: &Id) -> bool {
        let of_namespace = self.known.range(Id::new(&id.namespace, "")..);
        let of_namespace = of_namespace.take_while(|(other, _)| other.namespace == id.namespace);
        self.known.len() < AUTOSCALERS_MAX && of_namespace.count() < PER_NAMESPACE_MAX
    }

    /// Drops an HPA; whether it was known.
    pub(super) fn forget(&mut self, id: &Id) -> bool {
        self.known.remove(id).is_some()
    }

    /// Drops all but `ids`.
    pub(super) fn retain(&mut self, ids: &BTreeSet<Id>) {
        self.known.retain(|id, _| ids.contains(id));
    }

    /// Begins to read the scales whose turn has come, as many as may be read at a time.
    pub(super) fn look(&mut self) {
        let now = clock::instant();
        let due = self
            .known
            .iter_mut()
            .filter(|(_, known)| known.due.is_some_and(|due| due <= now));
        for (id, known) in due.take(AT_ONCE.saturating_sub(self.reading.len())) {
            known.due = None;
            let (of, target, client) = (id.clone(), known.target.clone(), self.client.clone());
            let asked = (of.clone(), target.clone());
            let task = self
                .reading
                .spawn(async move { selector(client, &of, &target).await });
            self.asked.insert(task.id(), asked);
        }
    }

    /// The next selector that was read.
    pub(super) async fn next(&mut self) -> (Id, Arc<Selector>) {
        loop {
            let Some(read) = self.reading.join_next_with_id().await else {
                std::future::pending::<()>().await;
                continue;
            };
            // One that panics is a failure of its own target, which is tried again, and of no other.
            let (task, selector) = match read {
                Ok(read) => read,
                Err(error) => (error.id(), Err(error.into())),
            };
            let Some((id, target)) = self.asked.remove(&task) else {
                continue;
            };
            let is_known = self.take(&id, &target, selector.as_ref().err());
            self.look();
            if let (true, Ok(selector)) = (is_known, selector) {
                return (id, Arc::new(selector));
            }
        }
    }

    /// Notes when a target is to be read again. Returns whether it is still the HPA's.
    fn take(&mut self, id: &Id, target: &Target, error: Option<&ScaleError>) -> bool {
        let Some(known) = self
            .known
            .get_mut(id)
            .filter(|known| known.target == *target)
        else {
            return false;
        };
        let wait = if error.is_some() { RETRY } else { AGAIN };
        known.due = Some(clock::instant() + wait);
        let Target { kind, name, .. } = target;
        match error {
            Some(error) if !known.is_failing => {
                warn!(
                    autoscaler = %id, %error,
                    "The scale of {kind} {name} cannot be read, so its pods are presumed ready in explanations; \
                     if RBAC is the reason, allow get on its scale subresource"
                );
            }
            None if known.is_failing => {
                info!(autoscaler = %id, "The scale of {kind} {name} can be read now");
            }
            _ => {}
        }
        known.is_failing = error.is_some();
        true
    }
}

async fn selector(client: Client, id: &Id, target: &Target) -> Result<Selector, ScaleError> {
    let (group, version) = target
        .api_version
        .split_once('/')
        .unwrap_or(("", &target.api_version));
    let kind = GroupVersionKind::gvk(group, version, &target.kind);
    // What Kubernetes itself scales has plurals that need not be looked up.
    let resource = match group {
        "" | "apps" => ApiResource::from_gvk(&kind),
        _ => {
            within_deadline(discovery::pinned_kind(&client, &kind))
                .await?
                .0
        }
    };
    let api: Api<DynamicObject> = Api::namespaced_with(client, &id.namespace, &resource);
    let scale = within_deadline(api.get_scale(&target.name)).await?;
    let text = scale.status.and_then(|status| status.selector);
    let text = text
        .filter(|text| !text.is_empty())
        .ok_or(ScaleError::NoSelector)?;
    Selector::parse(&text).map_err(|_| ScaleError::NoSelector)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_that_panics_costs_its_own_target_a_try_and_no_other_anything() {
        let config = kube::Config::new("http://127.0.0.1:9".parse().unwrap());
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut targets = Targets::new(Client::try_from(config).unwrap());
        let (first, second) = (Id::new("shop", "a"), Id::new("shop", "b"));
        let target = Target {
            api_version: "apps/v1".to_owned(),
            kind: "Deployment".to_owned(),
            name: "users".to_owned(),
        };
        for id in [&first, &second] {
            let known = Known {
                target: target.clone(),
                due: None,
                is_failing: false,
            };
            targets.known.insert(id.clone(), known);
        }
        let fails = targets.reading.spawn(async { panic!("this is the test") });
        targets
            .asked
            .insert(fails.id(), (first.clone(), target.clone()));
        while !fails.is_finished() {
            tokio::task::yield_now().await;
        }
        let reads = targets.reading.spawn(async { Ok(Selector::default()) });
        targets.asked.insert(reads.id(), (second.clone(), target));
        assert_eq!(targets.next().await.0, second);
        let first = &targets.known[&first];
        assert!(first.due.is_some() && first.is_failing, "it is tried again");
        assert!(targets.asked.is_empty());
    }
}
