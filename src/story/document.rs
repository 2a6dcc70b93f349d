//! The object in which the adapter serves [`Facts`], and where.
//!
//! `GET /apis/explain.taffrail.dev/v1alpha1/namespaces/NS/explanations/NAME` is the latest sync of the HPA of that name;
//! with `?at=` and an RFC 3339 time, the latest at that time or before it. A 404 says in its message whether no such HPA is
//! known, or its syncs are not kept so far back.

use serde::{Deserialize, Serialize};

use super::facts::Facts;
use crate::model::time::Timestamp;

/// The API group.
pub const GROUP: &str = "explain.taffrail.dev";

/// Its version.
pub const VERSION: &str = "v1alpha1";

/// The name in paths and of permissions. Its objects are named and namespaced as the HPAs are.
pub const RESOURCE: &str = "explanations";

/// The `kind` of the objects.
pub const KIND: &str = "Explanation";

/// One sync of one HPA, as served.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// [`GROUP`]`/`[`VERSION`].
    pub api_version: String,
    /// [`KIND`].
    pub kind: String,
    /// The HPA's namespace and name.
    pub metadata: Metadata,
    /// The sync.
    pub facts: Facts,
    /// When the oldest sync was that can be asked for with `?at=`.
    pub kept_since: Timestamp,
    /// How many of the kept syncs the real HPA decided otherwise.
    pub parted_count: u64,
}

/// Which object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The HPA's namespace.
    pub namespace: String,
    /// The HPA's name.
    pub name: String,
}

impl Document {
    /// `facts` as the adapter serves them.
    pub fn new(facts: Facts, kept_since: Timestamp, parted_count: u64) -> Self {
        Self {
            api_version: format!("{GROUP}/{VERSION}"),
            kind: KIND.to_owned(),
            metadata: Metadata {
                namespace: facts.namespace.clone(),
                name: facts.name.clone(),
            },
            facts,
            kept_since,
            parted_count,
        }
    }
}
