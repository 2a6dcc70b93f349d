//! The sentences of a page that cannot be used. Names out of the page are shortened and printable; values never appear.

use std::fmt::Write as _;

use crate::model::health::{Failure, FailureReason};

/// Names listed in one message: enough to recognise one's own page by, and still one line of a log.
pub(super) const NAMES_SHOWN: usize = 5;

/// Characters of one name in a message: longer than any sensible name, shorter than a terminal's line.
const NAME_CHARS_SHOWN: usize = 100;

pub(super) fn malformed(what: &str) -> Failure {
    Failure::new(FailureReason::Malformed, what)
}

pub(super) fn too_large(what: &str, limit: usize) -> Failure {
    Failure::new(
        FailureReason::TooLarge,
        format!("the page has more than {limit} {what}"),
    )
}

pub(super) fn line_too_long(line: usize, limit: usize) -> Failure {
    Failure::new(
        FailureReason::TooLarge,
        format!("line {line} of the page has more than {limit} bytes"),
    )
}

pub(super) fn not_found(message: impl Into<String>) -> Failure {
    Failure::new(FailureReason::NotFound, message)
}

/// A name out of the page, fit for a message.
pub(super) fn shown(name: &str) -> String {
    name.chars()
        .take(NAME_CHARS_SHOWN)
        .map(|char| if char.is_control() { '?' } else { char })
        .collect()
}

/// `a, b, c and 2 more`.
pub(super) fn listed(names: &[String], total: usize) -> String {
    let mut list = names
        .iter()
        .take(NAMES_SHOWN)
        .map(|name| shown(name))
        .collect::<Vec<_>>()
        .join(", ");
    let more = total.saturating_sub(NAMES_SHOWN);
    if 0 < more {
        // Writing to a String cannot fail.
        let _ = write!(list, " and {more} more");
    }
    list
}
