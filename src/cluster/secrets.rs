//! Secrets that objects refer to, read one by one and again, so that a rotated one needs no restart. Each is got by its
//! name: a watch would need `list`, which reads every Secret of a namespace. Only the keys that are named are kept, and
//! no value is ever logged.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use secrecy::SecretString;
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{info, warn};

use super::jitter;
use super::request::{RequestError, within_deadline};
use crate::clock;
use crate::source::secret::{SecretKey, SecretStore, Unreadable};

/// From one reading of a Secret to the next: kubelets take a minute to show a rotated one to pods.
const REFRESH: Duration = Duration::from_secs(30);

/// Between any two readings: twenty a second, of which an API server takes no notice.
const PACE: Duration = Duration::from_millis(50);

/// Secrets read. With more the pace would stretch the refresh beyond a minute. Where more are wanted, namespaces take
/// turns, so that one that wants thousands takes none from another.
const SECRETS_MAX: usize = 1_000;

/// Namespace and name.
type Name = (String, String);

/// The Secrets wanted: the keys of each, and when it is due.
#[derive(Debug, Default)]
struct Schedule {
    wanted: BTreeMap<Name, Wanted>,
}

#[derive(Debug)]
struct Wanted {
    keys: BTreeSet<SecretKey>,
    due: Instant,
}

/// Keeps `store` fresh for the keys in `wanted`, until nobody wants any. Tells `changed` when a secret is found or lost,
/// not when its value changes.
pub async fn run(
    client: Client,
    mut wanted: watch::Receiver<Arc<BTreeSet<SecretKey>>>,
    store: SecretStore,
    changed: watch::Sender<()>,
) {
    let mut schedule = Schedule::default();
    loop {
        let keys = Arc::clone(&wanted.borrow_and_update());
        schedule.want(&keys, clock::instant());
        store.retain(|key| keys.contains(key));
        for key in schedule.left_out(&keys) {
            let why = format!("more than {SECRETS_MAX} Secrets are referred to");
            store.set(key.clone(), Err(Unreadable::NotReached(why)));
        }
        loop {
            let next = schedule.next();
            let wait = next.as_ref().map_or(REFRESH, |(_, due)| {
                due.saturating_duration_since(clock::instant()).max(PACE)
            });
            tokio::select! {
                more = wanted.changed() => match more {
                    Ok(()) => break,
                    Err(_) => return,
                },
                () = sleep(wait) => {}
            }
            let Some((name, _)) = next else { continue };
            let keys = schedule.postpone(&name, clock::instant() + jitter::about(REFRESH));
            if refresh(&client, &name, keys, &store).await {
                changed.send_replace(());
            }
        }
    }
}

impl Schedule {
    /// Takes over what is wanted now. What was not wanted before is due at once.
    fn want(&mut self, keys: &BTreeSet<SecretKey>, now: Instant) {
        let mut by_secret: BTreeMap<Name, BTreeSet<SecretKey>> = BTreeMap::new();
        for key in keys {
            let name = (key.namespace.clone(), key.name.clone());
            by_secret.entry(name).or_default().insert(key.clone());
        }
        let before = std::mem::take(&mut self.wanted);
        for (name, keys) in by_turns(by_secret).take(SECRETS_MAX) {
            let due = before
                .get(&name)
                .filter(|before| keys.is_subset(&before.keys))
                .map_or(now, |before| before.due);
            self.wanted.insert(name, Wanted { keys, due });
        }
    }

    /// The keys that are wanted and not read.
    fn left_out<'k>(&self, keys: &'k BTreeSet<SecretKey>) -> impl Iterator<Item = &'k SecretKey> {
        keys.iter().filter(|key| {
            let name = (key.namespace.clone(), key.name.clone());
            !self.wanted.contains_key(&name)
        })
    }

    /// Which is due first, and when.
    fn next(&self) -> Option<(Name, Instant)> {
        let next = self.wanted.iter().min_by_key(|(_, wanted)| wanted.due)?;
        Some((next.0.clone(), next.1.due))
    }

    /// Puts a reading off to `due`, and says which keys it is for.
    fn postpone(&mut self, name: &Name, due: Instant) -> BTreeSet<SecretKey> {
        match self.wanted.get_mut(name) {
            Some(wanted) => {
                wanted.due = due;
                wanted.keys.clone()
            }
            None => BTreeSet::new(),
        }
    }
}

/// The first of each namespace, then the second of each, and so on.
fn by_turns(
    by_secret: BTreeMap<Name, BTreeSet<SecretKey>>,
) -> impl Iterator<Item = (Name, BTreeSet<SecretKey>)> {
    let mut last = None;
    let mut turn = 0;
    let mut turns: Vec<_> = by_secret
        .into_iter()
        .map(|wanted| {
            let namespace = Some(wanted.0.0.clone());
            turn = if namespace == last { turn + 1 } else { 0 };
            last = namespace;
            (turn, wanted)
        })
        .collect();
    // Stable, so by name within a turn.
    turns.sort_by_key(|(turn, _)| *turn);
    turns.into_iter().map(|(_, wanted)| wanted)
}

/// Reads a Secret. Returns whether a key of it was found or lost.
async fn refresh(
    client: &Client,
    (namespace, name): &Name,
    keys: BTreeSet<SecretKey>,
    store: &SecretStore,
) -> bool {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let got = match within_deadline(api.get_opt(name)).await {
        Ok(Some(secret)) => Ok(secret.data.unwrap_or_default()),
        Ok(None) => Err(Unreadable::NoSecret),
        Err(error) => Err(unreadable(&error)),
    };
    take(keys, got, store)
}

fn take(
    keys: BTreeSet<SecretKey>,
    mut got: Result<BTreeMap<String, ByteString>, Unreadable>,
    store: &SecretStore,
) -> bool {
    let mut is_change = false;
    for key in keys {
        let before = store.get(&key).map(drop);
        // An API server that is away takes nothing from anybody.
        if before.is_ok() && matches!(got, Err(Unreadable::NotReached(_))) {
            continue;
        }
        let value = match &mut got {
            Ok(data) => text(data.remove(&key.key)),
            Err(unreadable) => Err(unreadable.clone()),
        };
        store.set(key.clone(), value);
        let after = store.get(&key).map(drop);
        if before == after {
            continue;
        }
        is_change = true;
        match after {
            Ok(()) => info!(secret = %key, "Secret read"),
            Err(failure) => warn!(secret = %key, error = %failure.message, "Secret cannot be read"),
        }
    }
    is_change
}

/// The value, less one trailing line end, as of a file: `echo` puts one there and no token has one.
fn text(value: Option<ByteString>) -> Result<SecretString, Unreadable> {
    let ByteString(bytes) = value.ok_or(Unreadable::NoKey)?;
    let text = String::from_utf8(bytes).map_err(|_| Unreadable::NotText)?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let value = SecretString::from(line.strip_suffix('\r').unwrap_or(line));
    // The copy with the line end is wiped as well.
    drop(SecretString::from(text));
    Ok(value)
}

/// Why the API server gave none, in words that hold nothing it said.
fn unreadable(error: &RequestError) -> Unreadable {
    match error {
        RequestError::Refused { code, .. } => match code {
            401 | 403 => Unreadable::Forbidden,
            404 => Unreadable::NoSecret,
            code => Unreadable::NotReached(format!("the API server answers {code}")),
        },
        RequestError::Late => Unreadable::NotReached(error.to_string()),
        _ => Unreadable::NotReached("the API server cannot be reached".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn key(name: &str, key: &str) -> SecretKey {
        SecretKey {
            namespace: "shop".to_owned(),
            name: name.to_owned(),
            key: key.to_owned(),
        }
    }

    fn data(pairs: &[(&str, &[u8])]) -> Result<BTreeMap<String, ByteString>, Unreadable> {
        let pair = |(key, value): &(&str, &[u8])| ((*key).to_owned(), ByteString(value.to_vec()));
        Ok(pairs.iter().map(pair).collect())
    }

    #[test]
    fn only_named_keys_are_kept_and_each_fails_for_itself() {
        let store = SecretStore::default();
        let keys = ["token", "none", "binary"].map(|name| key("users", name));
        let got = data(&[
            ("token", b"&^@$\n"),
            ("other", b"hush"),
            ("binary", &[0xff]),
        ]);
        assert!(take(keys.clone().into(), got, &store));
        assert_eq!(store.get(&keys[0]).unwrap().expose_secret(), "&^@$");
        let why = |key| store.get(key).unwrap_err().message;
        assert!(why(&keys[1]).contains("no such key"));
        assert!(why(&keys[2]).contains("UTF-8"));
        assert!(why(&key("users", "other")).contains("not read yet"));
    }

    #[test]
    fn a_rotated_value_is_no_news_and_a_lost_one_is() {
        let store = SecretStore::default();
        let token = key("users", "token");
        let keys = || BTreeSet::from([token.clone()]);
        assert!(take(keys(), data(&[("token", b"old")]), &store));
        assert!(!take(keys(), data(&[("token", b"new")]), &store));
        assert_eq!(store.get(&token).unwrap().expose_secret(), "new");
        let away = || {
            Err(Unreadable::NotReached(
                "the API server cannot be reached".into(),
            ))
        };
        assert!(!take(keys(), away(), &store));
        assert_eq!(store.get(&token).unwrap().expose_secret(), "new");
        assert!(take(keys(), Err(Unreadable::Forbidden), &store));
        let failure = store.get(&token).unwrap_err().message;
        assert!(failure.contains("create role"), "{failure}");
        assert!(take(keys(), away(), &store));
    }

    #[test]
    fn a_new_secret_is_due_at_once_and_an_old_one_when_it_was() {
        let now = clock::instant();
        let later = now + REFRESH;
        let mut schedule = Schedule::default();
        let (a, b) = (key("a", "x"), key("b", "x"));
        schedule.want(&BTreeSet::from([a.clone()]), now);
        assert_eq!(
            schedule.postpone(&("shop".into(), "a".into()), later).len(),
            1
        );
        schedule.want(&BTreeSet::from([a.clone(), b.clone()]), now);
        assert_eq!(schedule.next().unwrap(), (("shop".into(), "b".into()), now));
        schedule.postpone(&("shop".into(), "b".into()), later + REFRESH);
        assert_eq!(
            schedule.next().unwrap(),
            (("shop".into(), "a".into()), later)
        );
        // A further key of a Secret does not wait for its next turn.
        schedule.want(&BTreeSet::from([a, key("a", "y"), b]), now);
        assert_eq!(schedule.next().unwrap(), (("shop".into(), "a".into()), now));
        schedule.want(&BTreeSet::new(), now);
        assert!(schedule.next().is_none());
    }

    #[test]
    fn more_secrets_than_the_bound_are_left_out() {
        let keys: BTreeSet<_> = (0..=SECRETS_MAX)
            .map(|n| key(&format!("s{n:05}"), "x"))
            .collect();
        let mut schedule = Schedule::default();
        schedule.want(&keys, clock::instant());
        let left_out: Vec<_> = schedule.left_out(&keys).collect();
        assert_eq!(left_out, [keys.last().unwrap()]);
    }

    #[test]
    fn a_namespace_that_wants_too_many_secrets_takes_none_from_another() {
        let greedy = (0..2 * SECRETS_MAX).map(|n| SecretKey {
            namespace: "a".to_owned(),
            ..key(&format!("s{n:05}"), "x")
        });
        let keys: BTreeSet<_> = greedy.chain([key("token", "token")]).collect();
        let mut schedule = Schedule::default();
        schedule.want(&keys, clock::instant());
        assert_eq!(schedule.wanted.len(), SECRETS_MAX);
        assert!(schedule.left_out(&keys).all(|key| key.namespace == "a"));
        assert!(
            schedule
                .wanted
                .contains_key(&("shop".into(), "token".into()))
        );
    }
}
