//! Values of Kubernetes Secrets, as they were last read. Whoever watches them writes here, sources read; neither waits
//! for the other. Nothing here asks anybody for a secret.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use secrecy::{ExposeSecret, SecretString};

use super::SecretKey;
use crate::model::health::{Failure, FailureReason};

/// What is known of the Secrets that sources refer to. Clones are one store.
#[derive(Clone, Default)]
pub struct SecretStore {
    held: Arc<RwLock<Held>>,
}

/// Why a Secret that was asked for has no value.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// RBAC does not allow it.
    #[error("the adapter may not get it")]
    Forbidden,
    /// There is no such Secret.
    #[error("there is no such Secret; create it, or correct the name")]
    NoSecret,
    /// The Secret has no such key.
    #[error("the Secret has no such key; add it, or correct the key")]
    NoKey,
    /// The bytes are not UTF-8, so they are neither a token nor PEM.
    #[error("the value is not UTF-8 text")]
    NotText,
    /// The API server could not be asked.
    #[error("it could not be read: {0}")]
    NotReached(String),
}

#[derive(Default)]
struct Held {
    entries: BTreeMap<SecretKey, Entry>,
    /// Never used twice, so that a Secret that went and came back is a changed one.
    versions: u64,
}

struct Entry {
    value: Result<SecretString, Unreadable>,
    version: u64,
}

impl SecretStore {
    /// Takes what was read of a Secret, or why it was not.
    pub fn set(&self, key: SecretKey, value: Result<SecretString, Unreadable>) {
        let mut held = self.write();
        if held
            .entries
            .get(&key)
            .is_some_and(|entry| is_same(&entry.value, &value))
        {
            return;
        }
        held.versions += 1;
        let version = held.versions;
        held.entries.insert(key, Entry { value, version });
    }

    /// The value.
    ///
    /// # Errors
    /// `unauthorized`, naming the Secret and what to do, when it has none or was not read yet.
    pub fn get(&self, key: &SecretKey) -> Result<SecretString, Failure> {
        let problem = match self.read().entries.get(key).map(|entry| &entry.value) {
            Some(Ok(value)) => return Ok(value.clone()),
            Some(Err(Unreadable::Forbidden)) => {
                format!("{}; {}", Unreadable::Forbidden, key.how_to_grant())
            }
            Some(Err(unreadable)) => unreadable.to_string(),
            None => format!("it was not read yet; if this lasts, {}", key.how_to_grant()),
        };
        Err(Failure::new(
            FailureReason::Unauthorized,
            format!("{key}: {problem}"),
        ))
    }

    /// Forgets what is not wanted any more.
    pub fn retain(&self, wanted: impl Fn(&SecretKey) -> bool) {
        self.write().entries.retain(|key, _| wanted(key));
    }

    /// A number that changes whenever the value does; `None` for what was not read yet.
    pub(in crate::source) fn version(&self, key: &SecretKey) -> Option<u64> {
        self.read().entries.get(key).map(|entry| entry.version)
    }

    fn read(&self) -> RwLockReadGuard<'_, Held> {
        self.held.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Held> {
        self.held.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_same(
    left: &Result<SecretString, Unreadable>,
    right: &Result<SecretString, Unreadable>,
) -> bool {
    match (left, right) {
        (Ok(left), Ok(right)) => left.expose_secret() == right.expose_secret(),
        (Err(left), Err(right)) => left == right,
        _ => false,
    }
}

/// Says what is known, never a value.
impl fmt::Debug for SecretStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.read().entries.keys()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token() -> SecretKey {
        SecretKey {
            namespace: "shop".to_owned(),
            name: "users-token".to_owned(),
            key: "token".to_owned(),
        }
    }

    fn failure(store: &SecretStore) -> String {
        let failure = store.get(&token()).unwrap_err();
        assert_eq!(failure.reason, FailureReason::Unauthorized);
        failure.message
    }

    #[test]
    fn clones_are_one_store_and_what_is_not_wanted_is_forgotten() {
        let store = SecretStore::default();
        store.clone().set(token(), Ok("&^@$".into()));
        assert_eq!(store.get(&token()).unwrap().expose_secret(), "&^@$");
        assert!(!format!("{store:?}").contains("&^@$"));
        store.retain(|key| key.name != "users-token");
        assert!(failure(&store).contains("not read yet"));
    }

    #[test]
    fn a_missing_value_says_which_secret_and_what_to_do() {
        let store = SecretStore::default();
        let grant = "kubectl -n shop create role taffrail-users-token --verb=get --resource=secrets \
                     --resource-name=users-token";
        assert!(failure(&store).contains(grant));
        for (unreadable, advice) in [
            (Unreadable::Forbidden, grant),
            (Unreadable::NoSecret, "create it"),
            (Unreadable::NoKey, "correct the key"),
            (Unreadable::NotText, "UTF-8"),
            (Unreadable::NotReached("timeout".to_owned()), "timeout"),
        ] {
            store.set(token(), Err(unreadable));
            let message = failure(&store);
            assert!(
                message.starts_with("secret shop/users-token, key token: "),
                "{message}"
            );
            assert!(message.contains(advice), "{message}");
        }
    }

    #[test]
    fn the_version_changes_with_the_value_and_only_then() {
        let store = SecretStore::default();
        assert_eq!(store.version(&token()), None);
        store.set(token(), Ok("old".into()));
        let old = store.version(&token());
        store.set(token(), Ok("old".into()));
        assert_eq!(store.version(&token()), old);
        store.set(token(), Ok("new".into()));
        assert_ne!(store.version(&token()), old);
        store.retain(|_| false);
        store.set(token(), Ok("old".into()));
        assert_ne!(store.version(&token()), old);
    }
}
