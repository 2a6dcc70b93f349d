//! One connection per server, shared by all targets read from it. A slot is empty while its connection is in use: a read
//! that is cancelled halfway takes the connection down with it, and the next read opens another.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::link::Link;
use super::spec::Connection;
use crate::model::health::{Failure, FailureReason};
use crate::source::reach::Reach;
use crate::source::secret::SecretStore;

/// Servers read at once. Each is a socket; the process must keep descriptors for its API and its scrapes.
const CONNECTIONS_MAX: usize = 512;

/// The connections of a process. A Sentinel or a Cluster would be one more kind of slot: an address that is asked for.
pub struct Pool {
    /// Values of Kubernetes Secrets.
    pub(super) secrets: SecretStore,
    /// Who may be connected to.
    pub(super) reach: Reach,
    slots: Mutex<HashMap<Connection, Weak<Slot>>>,
}

/// The place of one server's connection: locked for a whole read, so reads of one server come one after another.
pub(super) type Slot = tokio::sync::Mutex<Option<Link>>;

impl Pool {
    /// An empty pool; Kubernetes Secrets are taken from `secrets`.
    pub fn new(secrets: SecretStore) -> Self {
        Self {
            secrets,
            reach: Reach::anywhere(),
            slots: Mutex::default(),
        }
    }

    /// The same, connecting only to whom `reach` allows.
    #[must_use]
    pub fn within(self, reach: Reach) -> Self {
        Self { reach, ..self }
    }

    /// The slot of a server. It lives as long as a target holds it.
    ///
    /// # Errors
    /// `too_large` when too many servers are read already.
    pub(super) fn slot(&self, connection: &Connection) -> Result<Arc<Slot>, Failure> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = slots.get(connection).and_then(Weak::upgrade) {
            return Ok(slot);
        }
        slots.retain(|_, slot| 0 < slot.strong_count());
        if CONNECTIONS_MAX <= slots.len() {
            return Err(Failure::new(
                FailureReason::TooLarge,
                format!("{CONNECTIONS_MAX} Redis servers are read already"),
            ));
        }
        let slot = Arc::new(Slot::default());
        slots.insert(connection.clone(), Arc::downgrade(&slot));
        Ok(slot)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_connections_share_a_slot_until_the_last_target_goes() {
        let pool = Pool::new(SecretStore::default());
        let server = Connection::new("db", 6379);
        let first = pool.slot(&server).unwrap();
        let second = pool.slot(&server).unwrap();
        assert!(Arc::ptr_eq(&first, &second));
        let other = Connection { db: 1, ..server };
        assert!(!Arc::ptr_eq(&first, &pool.slot(&other).unwrap()));
        drop((first, second));
        let _third = pool.slot(&Connection::new("db2", 6379)).unwrap();
        assert_eq!(pool.slots.lock().unwrap().len(), 1);
    }

    #[test]
    fn more_servers_than_the_bound_are_refused_until_one_goes() {
        let pool = Pool::new(SecretStore::default());
        let slot_of = |port: usize| pool.slot(&Connection::new("db", port as u16));
        let mut held: Vec<_> = (0..CONNECTIONS_MAX)
            .map(|port| slot_of(port).unwrap())
            .collect();
        let failure = slot_of(CONNECTIONS_MAX).err().unwrap();
        assert_eq!(failure.reason, FailureReason::TooLarge);
        held.pop();
        assert!(slot_of(CONNECTIONS_MAX).is_ok());
    }
}
