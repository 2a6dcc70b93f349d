//! The scales of what HPAs scale: read for their selector alone, a few at a time, and again now and then.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kube::api::{ApiResource, DynamicObject, GroupVersionKind};
use kube::{Api, Client, discovery};
use tokio::task::JoinSet;
use tracing::{info, warn};

use super::super::request::{RequestError, within_deadline};
use crate::clock;
use crate::model::selector::Selector;
use crate::shadow::{AUTOSCALERS_MAX, Id};

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
    reading: JoinSet<(Id, Target, Result<Selector, ScaleError>)>,
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
}

impl Targets {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            known: BTreeMap::new(),
            reading: JoinSet::new(),
        }
    }

    /// Takes what an HPA scales: of as many as the book holds, which is told of the same HPAs in the same order.
    pub(super) fn want(&mut self, id: &Id, target: Target) {
        if AUTOSCALERS_MAX <= self.known.len() && !self.known.contains_key(id) {
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
            let (id, target, client) = (id.clone(), known.target.clone(), self.client.clone());
            self.reading.spawn(async move {
                let selector = selector(client, &id, &target).await;
                (id, target, selector)
            });
        }
    }

    /// The next selector that was read.
    pub(super) async fn next(&mut self) -> (Id, Arc<Selector>) {
        loop {
            let Some(read) = self.reading.join_next().await else {
                std::future::pending::<()>().await;
                continue;
            };
            let Ok((id, target, selector)) = read else {
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
