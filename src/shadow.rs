//! The adapter's own shadow of each HPA that reads its metrics: what the HPA saw, what it should have decided, what it
//! did.
//!
//! Pure, so that one code serves the adapter and the tests on recordings: whoever watches the cluster tells [`Book`]
//! what was read, what the objects say and what time it is, and is told what was decided, now or an hour ago. The
//! arithmetic is [`crate::hpa`]'s, the words are [`crate::story`]'s, and where a sync ends is the rule by which
//! recordings are replayed.
//!
//! ```text
//! reads of our API --\
//! objects, status  ---+--> watched: one sync --> ring: what was seen --> again by hpa --> story::Facts
//! pods            ---/
//! ```
//!
//! What the HPA saw is known exactly where it read it here: the same thousandths, answered to the HPA controller. The
//! rest is what its status says after the sync: CPU, metrics of other adapters, metrics that several HPAs share, and
//! reads that another replica answered. What nobody says is presumed (that every pod uses the average, that pods which nobody lists are ready),
//! and a difference that may come of it is counted apart.

pub mod book;
pub mod ring;
pub mod seen;
pub mod sync;
pub mod watched;

mod observe;
#[cfg(test)]
mod tests;

pub use book::{Book, Counts, Limits};
pub use observe::ready_pods;
pub use ring::{Known, NotKnown};
pub use seen::{Id, Object, Pods, Read, Served, Status, Wanted};
pub use sync::{Agreement, Sync};
