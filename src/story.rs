//! Why an HPA has the replicas it has: from the facts of one sync to sentences with numbers.
//!
//! Pure: whoever watches the HPA, here or in the adapter, gathers the [`Facts`]; what would change a decision is found by
//! deciding again with [`crate::hpa`], not by a second set of formulas.
//!
//! ```text
//! facts --> reasons: headline, steps
//!       --> whatif: changes --> outlook: in words     --> explanation --> text
//!       --> warnings
//! ```

pub mod document;
pub mod explanation;
pub mod facts;
pub mod outlook;
pub mod reasons;
pub mod text;
pub mod warnings;
pub mod whatif;
pub mod words;

#[cfg(test)]
mod tests;

pub use document::Document;
pub use explanation::{Cause, Explanation};
pub use facts::Facts;
pub use text::Text;
pub use whatif::{Change, Stop};
