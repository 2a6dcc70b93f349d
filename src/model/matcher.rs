//! Series matchers of the `where` field: `=`, `!=`, `=~`, `!~`.

/// Matchers that must all hold.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Matchers {}
