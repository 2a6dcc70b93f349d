//! Why an HPA has the replicas it has: from the facts of one sync to sentences with numbers.
//!
//! Pure: whoever watches the HPA, here or in the adapter, gathers the [`Facts`]; what would change a decision is found by
//! deciding again with [`crate::hpa`], not by a second set of formulas.

pub mod document;
pub mod facts;

pub use document::Document;
pub use facts::Facts;
