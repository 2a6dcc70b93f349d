//! What is to be done about the Secret, from its content and the time alone.
//!
//! A rotation of the authority takes three steps, and each waits until the one before it has reached everybody:
//!
//! 1. The new authority is put beside the old one, whose key is forgotten. The serving certificate stays the old one's.
//! 2. Once API servers have trusted the new authority for [`SETTLED`], it issues a serving certificate.
//! 3. Once every certificate that the old authority can have issued has expired, it is dropped. So no bound on how late
//!    a replica reads the Secret is needed: whatever it still serves, it is trusted or past its own end.

use std::fmt;
use std::time::Duration;

use crate::model::time::Timestamp;

use super::content::{Certificate, Leaf, Shared};
use super::issue::{BACKDATED, LEAF_VALID};

/// How long a bundle stands in the APIService before a certificate relies on it. API servers follow their APIServices
/// by watches, within a second; five minutes also cover one that was being restarted.
pub(super) const SETTLED: Duration = Duration::from_mins(5);

/// A serving certificate with less time than this is replaced even if nobody is known to trust the new authority:
/// at its end certainly nobody would accept it. A long weekend, for whoever reads the warnings.
pub(super) const LAST_RESORT: Duration = Duration::from_hours(3 * 24);

/// Names of a serving certificate, others' included. A Service that is renamed needs twice its four.
const NAMES_MAX: usize = 16;

/// What to do, and why.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Decision {
    /// Serve what is there.
    Keep,
    /// Make a new authority, beside the ones that are trusted.
    ReplaceAuthority(Why),
    /// Let the newest authority issue a serving certificate for these names.
    IssueLeaf(Why, Vec<String>),
    /// Trust the newest authority only.
    DropAuthorities,
}

/// The reason for a new certificate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Why {
    Missing,
    OutsideValidity,
    OtherNames,
    Untrusted,
    Due,
    AuthorityReplaced,
    LastResort,
    Unsuitable,
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Missing => "there was none that could be used",
            Self::OutsideValidity => "it had expired, or began in the future",
            Self::OtherNames => "it lacked a name of this Service",
            Self::Untrusted => "none of the authorities had signed it",
            Self::Due => "two thirds of its life were over",
            Self::AuthorityReplaced => "its authority was replaced",
            Self::Unsuitable => "it could not issue a certificate that is of use",
            Self::LastResort => {
                "it was about to expire, though the APIService does not trust the new authority yet"
            }
        })
    }
}

/// Decides for a replica whose Service has `names`. `trusted_for` is how long the newest authority has stood in the
/// APIService's bundle, as far as this replica has seen; `None` while it does not.
pub(super) fn decide(
    shared: &Shared,
    now: Timestamp,
    names: &[String],
    trusted_for: Option<Duration>,
) -> Decision {
    let Some(newest) = shared
        .authorities
        .first()
        .filter(|_| shared.signer.is_some())
    else {
        return Decision::ReplaceAuthority(Why::Missing);
    };
    if !newest.is_valid_at(now) {
        return Decision::ReplaceAuthority(Why::OutsideValidity);
    }
    if newest.rotate_at() <= now {
        return Decision::ReplaceAuthority(Why::Due);
    }
    let Some(leaf) = &shared.leaf else {
        return Decision::IssueLeaf(Why::Missing, names.to_vec());
    };
    match fault(shared, leaf, now, names) {
        Some(Why::OtherNames) => Decision::IssueLeaf(Why::OtherNames, union(names, leaf)),
        Some(why) => Decision::IssueLeaf(why, names.to_vec()),
        None => rotate(shared, newest, &leaf.certificate, now, names, trusted_for),
    }
}

/// Decides about a serving certificate that can be used.
fn rotate(
    shared: &Shared,
    newest: &Certificate,
    leaf: &Certificate,
    now: Timestamp,
    names: &[String],
    trusted_for: Option<Duration>,
) -> Decision {
    let issue = |why| Decision::IssueLeaf(why, names.to_vec());
    if leaf.is_trusted(&shared.authorities[..1], now) {
        let none_is_served = newest.not_before + BACKDATED + LEAF_VALID <= now;
        return match shared.authorities.len() {
            _ if leaf.rotate_at() <= now => issue(Why::Due),
            2.. if none_is_served => Decision::DropAuthorities,
            _ => Decision::Keep,
        };
    }
    if trusted_for.is_some_and(|trusted_for| SETTLED <= trusted_for) {
        return issue(Why::AuthorityReplaced);
    }
    match leaf.not_after.since(now) < LAST_RESORT {
        true => issue(Why::LastResort),
        false => Decision::Keep,
    }
}

/// Why no API server can accept the serving certificate. There is nothing to wait for then.
fn fault(shared: &Shared, leaf: &Leaf, now: Timestamp, names: &[String]) -> Option<Why> {
    let leaf = &leaf.certificate;
    if !leaf.is_valid_at(now) {
        return Some(Why::OutsideValidity);
    }
    if !names.iter().all(|name| leaf.names.contains(name)) {
        return Some(Why::OtherNames);
    }
    match leaf.is_trusted(&shared.authorities, now) {
        true => None,
        false => Some(Why::Untrusted),
    }
}

/// This Service's names and those that the certificate has: while a rename rolls out, replicas of both names share it,
/// and would otherwise replace each other's for ever. The next one due has this Service's names only.
fn union(names: &[String], leaf: &Leaf) -> Vec<String> {
    let mut all = names.to_vec();
    all.extend(
        leaf.certificate
            .names
            .iter()
            .filter(|name| !names.contains(name))
            .cloned(),
    );
    all.truncate(NAMES_MAX.max(names.len()));
    all
}
