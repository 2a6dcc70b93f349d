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

/// One sync of one HPA, as served. What is told of it, [`Explanation`](super::Explanation), is served beside and not read
/// here: it follows from the facts.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Document {
    /// What the adapter's replica that answered knows beside it.
    pub record: Record,
    /// The sync.
    pub facts: Facts,
    /// When the oldest sync was that can be asked for with `?at=`.
    pub kept_since: Timestamp,
    /// How many of the kept syncs the real HPA decided otherwise.
    pub parted_count: u64,
}

/// What a replica of the adapter knows of an HPA.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// Which replica: each knows what it saw.
    pub replica: String,
    /// Since when it watches the HPA.
    pub watched_since: Timestamp,
    /// When the newest was.
    pub newest: Timestamp,
    /// How many it keeps.
    pub syncs: usize,
    /// How its own decision stands to the HPA's, in a word.
    pub agreement: String,
    /// What it presumed for the sync, since nobody saw it: a clause each.
    #[serde(default)]
    pub presumed: Vec<String>,
    /// The replicas as somebody else changed them between the sync before and this one.
    #[serde(default)]
    pub changed_by_others: Option<ChangedByOthers>,
}

/// A change of the replicas that is not the HPA's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangedByOthers {
    /// What the HPA had left.
    pub from: i32,
    /// What the next sync found.
    pub to: i32,
}

/// Where the explanation of an HPA is, without a query.
pub fn path(namespace: &str, name: &str) -> String {
    format!("/apis/{GROUP}/{VERSION}/namespaces/{namespace}/{RESOURCE}/{name}")
}
