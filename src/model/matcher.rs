//! Series matchers of the `where` field: `=`, `!=`, `=~`, `!~`.

/// Matchers that must all hold.
#[derive(Clone, Debug, Default)]
pub struct Matchers {}
