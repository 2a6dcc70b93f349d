//! A pod by what its cluster's users know it by, where more is known of a target than where it is.

use std::collections::BTreeMap;
use std::sync::Arc;

/// A pod's name and labels. Both are shared: it is copied into every snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pod {
    /// Unique in its namespace at any one time.
    pub name: Arc<str>,
    /// Its labels; pods of one template share them.
    pub labels: Arc<BTreeMap<String, String>>,
}
