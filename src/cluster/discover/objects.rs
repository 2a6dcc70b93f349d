//! The `RequestMetrics` objects as they are held: resolved once, when they arrive. One that is wrong keeps the version
//! that was right, if there was one, as a file's document does.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kube::api::{ApiResource, DynamicObject, GroupVersionKind, TypeMeta};

use crate::cluster::pod::timestamp;
use crate::config::{self, API_VERSION};
use crate::model::id::ServiceId;
use crate::model::time::Timestamp;

/// Objects held: as many as a file may hold documents. Past it the namespace that has most goes without its youngest,
/// whatever order they come in, so that nobody can fill it up for the others.
pub(super) const OBJECTS_MAX: usize = 10_000;

/// The objects by identity, so in a fixed order.
#[derive(Debug, Default)]
pub(super) struct Objects {
    pub(super) held: BTreeMap<ServiceId, Held>,
    /// Whether some are left out.
    pub(super) is_full: bool,
}

/// One object.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Held {
    pub(super) uid: Arc<str>,
    /// The generation last seen.
    pub(super) generation: i64,
    pub(super) created: Timestamp,
    /// The version that counts.
    pub(super) in_force: Option<InForce>,
    /// What is wrong with the version last seen.
    pub(super) problem: Option<String>,
}

/// A version that was right.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct InForce {
    pub(super) generation: i64,
    pub(super) object: config::Object,
}

/// The resource as the API server knows it.
pub(super) fn resource() -> ApiResource {
    let (group, version) = API_VERSION.split_once('/').unwrap_or_default();
    let kind = GroupVersionKind::gvk(group, version, "RequestMetrics");
    ApiResource::from_gvk_with_plural(&kind, "requestmetrics")
}

/// Whose object it is.
pub(super) fn id(object: &DynamicObject) -> Option<ServiceId> {
    let metadata = &object.metadata;
    let (namespace, name) = (metadata.namespace.as_ref()?, metadata.name.as_ref()?);
    Some(ServiceId::new(namespace, name))
}

impl Objects {
    /// Takes an object in its newest version; `previous` are those held before a complete list, where there is one.
    /// Returns whether it may be another than before: most changes of an object are of its status, which is our own
    /// doing, and leave its generation as it was.
    pub(super) fn take(&mut self, object: DynamicObject, previous: Option<&Self>) -> bool {
        let Some(id) = id(&object) else {
            return false;
        };
        let before = previous.unwrap_or(self).held.get(&id);
        if previous.is_none() && before.is_some_and(|before| before.is_of(&object)) {
            return false;
        }
        let held = Held::new(object, before);
        self.held.insert(id, held);
        if OBJECTS_MAX < self.held.len() {
            self.is_full = true;
            let youngest = self.youngest_of_the_most();
            if let Some(youngest) = youngest {
                self.held.remove(&youngest);
            }
        }
        true
    }

    fn youngest_of_the_most(&self) -> Option<ServiceId> {
        let mut sizes: HashMap<&str, usize> = HashMap::new();
        for id in self.held.keys() {
            *sizes.entry(&id.namespace).or_default() += 1;
        }
        let size = |id: &ServiceId| sizes.get(&*id.namespace).copied();
        let most = self
            .held
            .iter()
            .max_by_key(|(id, held)| (size(id), held.created, *id));
        most.map(|(id, _)| id.clone())
    }
}

impl Held {
    /// Whether an object is the one held, with the spec that was read.
    fn is_of(&self, object: &DynamicObject) -> bool {
        let metadata = &object.metadata;
        metadata.uid.as_deref() == Some(&*self.uid) && metadata.generation == Some(self.generation)
    }

    fn new(mut object: DynamicObject, before: Option<&Self>) -> Self {
        object.metadata.managed_fields = None;
        // A list may leave out what all its items are.
        object.types.get_or_insert_with(|| TypeMeta {
            api_version: API_VERSION.to_owned(),
            kind: "RequestMetrics".to_owned(),
        });
        let metadata = &object.metadata;
        let uid: Arc<str> = metadata.uid.as_deref().unwrap_or_default().into();
        let generation = metadata.generation.unwrap_or_default();
        let created = metadata.creation_timestamp.as_ref().map(timestamp);
        let read = serde_json::to_string(&object)
            .map_err(|error| error.to_string())
            .and_then(|text| config::object(&text).map_err(|problem| problem.message));
        let (in_force, problem) = match read {
            Ok(object) => (Some(InForce { generation, object }), None),
            // Deleted and made anew under its name it is another object.
            Err(problem) => {
                let before = before.filter(|before| before.uid == uid);
                (
                    before.and_then(|before| before.in_force.clone()),
                    Some(problem),
                )
            }
        };
        Self {
            uid,
            generation,
            created: created.unwrap_or_default(),
            in_force,
            problem,
        }
    }
}
