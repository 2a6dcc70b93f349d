//! One question to the API server, and what to do where it has no answer: which right is lacking, or who is away.

use serde::de::DeserializeOwned;

use crate::cluster::RequestError;
use crate::cluster::connect::Cluster;

/// What a question needs: RBAC's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Right {
    pub(super) verb: &'static str,
    pub(super) group: String,
    pub(super) resource: String,
    pub(super) namespace: String,
}

/// Why there is no answer. What is behind it is part of each message.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    /// A role is lacking.
    #[error("{}", .0.lacking())]
    Forbidden(Right),
    /// There is nothing of that name, says the API server or who answers for it.
    #[error("{0}")]
    NotFound(String),
    /// Something else is wrong.
    #[error("{0}")]
    Failed(#[from] RequestError),
}

impl Right {
    pub(super) fn new(verb: &'static str, group: &str, resource: &str, namespace: &str) -> Self {
        Self {
            verb,
            group: group.to_owned(),
            resource: resource.to_owned(),
            namespace: namespace.to_owned(),
        }
    }

    /// What is not allowed, and the rule that allows it.
    fn lacking(&self) -> String {
        let Self {
            verb,
            group,
            resource,
            namespace,
        } = self;
        let whole = if group.is_empty() {
            resource.clone()
        } else {
            format!("{resource} of {group}")
        };
        format!(
            "you may not {verb} {whole} in namespace {namespace}; to be allowed, add this rule to a Role there that is bound \
             to you: {{apiGroups: [\"{group}\"], resources: [\"{resource}\"], verbs: [\"{verb}\"]}}"
        )
    }
}

/// What is at `path`, for which `right` is needed.
pub(super) async fn ask<T: DeserializeOwned>(
    cluster: &Cluster,
    path: &str,
    right: Right,
) -> Result<T, AskError> {
    cluster.get(path).await.map_err(|error| match error {
        RequestError::Refused { code: 403, .. } => AskError::Forbidden(right),
        RequestError::Refused {
            code: 404, message, ..
        } => AskError::NotFound(message),
        error => AskError::Failed(error),
    })
}

/// `text` as it stands in a query or as one segment of a path.
pub(super) fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_forbidden_says_which_rule_allows_it() {
        let error = AskError::Forbidden(Right::new("list", "", "pods", "shop"));
        assert_eq!(
            error.to_string(),
            "you may not list pods in namespace shop; to be allowed, add this rule to a Role there that is bound to you: \
             {apiGroups: [\"\"], resources: [\"pods\"], verbs: [\"list\"]}"
        );
    }

    #[test]
    fn a_selector_survives_a_query() {
        assert_eq!(
            encoded("route notin (a,b),!k,q=0.95"),
            "route%20notin%20%28a%2Cb%29%2C%21k%2Cq%3D0.95"
        );
    }
}
