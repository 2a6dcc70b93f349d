//! What must hold: a check, its limit, and which part of the run it looks at.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that must hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Assertion {
    /// The service it is about; `None` for the only one, or the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
}
