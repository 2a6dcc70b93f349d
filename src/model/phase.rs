//! Where a target is in its life, as its cluster says: what may be expected of it, and what of it counts.

use super::time::Timestamp;

/// Where a target is in its life. A static target, of which nothing is known, counts as ready for ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Phase {
    /// It has never been Ready. It is read, so that its counters are known when it is, but nothing of it counts and
    /// nothing is missing while it cannot be read: a version that never starts moves no value.
    Starting,
    /// It became Ready and has not been told to end. It stays so when readiness probes fail under load: its users'
    /// requests are what the objective is about.
    Ready {
        /// When it became Ready.
        since: Timestamp,
    },
    /// It was told to end. It is read for as long as it answers, since its last requests are its users', and not waited
    /// for.
    Leaving,
}

impl Default for Phase {
    fn default() -> Self {
        Self::Ready {
            since: Timestamp::default(),
        }
    }
}
