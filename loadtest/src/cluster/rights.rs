//! The rights that reading a cluster takes, which of them are missing, and the Role that gives them. The API server is
//! asked what it allows; nothing is tried out.

use std::collections::BTreeMap;
use std::fmt;

use futures_util::future::join_all;
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};

/// The name of a Role that is printed, as in `deploy/loadtest`.
const ROLE: &str = "taffrail-loadtest";

/// To do one thing with one kind of object.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Right {
    /// The API group; empty for the oldest.
    pub group: String,
    /// The resource in the plural, with its subresource: `deployments/scale`.
    pub resource: String,
    /// As `list`.
    pub verb: &'static str,
}

impl Right {
    /// These verbs on a resource.
    pub fn all<'r>(
        group: &'r str,
        resource: &'r str,
        verbs: &'r [&'static str],
    ) -> impl Iterator<Item = Self> + 'r {
        verbs.iter().map(move |verb| Self {
            group: group.to_owned(),
            resource: resource.to_owned(),
            verb,
        })
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)?;
        match self.group.as_str() {
            "" => Ok(()),
            group => write!(f, ".{group}"),
        }
    }
}

/// What somebody may not do, and the Role that changes that.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the API server does not allow these in namespace {namespace}: {}; this Role does, with a RoleBinding to whoever runs this:\n{}",
    list(missing),
    role(namespace, needed)
)]
pub struct Denied {
    /// Where.
    pub namespace: String,
    /// What is missing.
    pub missing: Vec<Right>,
    /// All that is needed.
    pub needed: Vec<Right>,
}

/// Asks the API server whether it allows all of `needed` in `namespace`. Where it does not say, the answer is yes: what
/// is then denied shows when it is done.
///
/// # Errors
/// The rights that are missing.
pub async fn check(client: &Client, namespace: &str, needed: Vec<Right>) -> Result<(), Denied> {
    let answers = join_all(needed.iter().map(|right| may(client, namespace, right))).await;
    let denied = needed.iter().zip(answers).filter(|(_, may)| !may);
    let missing: Vec<Right> = denied.map(|(right, _)| right.clone()).collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(Denied {
        namespace: namespace.to_owned(),
        missing,
        needed,
    })
}

async fn may(client: &Client, namespace: &str, right: &Right) -> bool {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource, Some(subresource.to_owned())),
        None => (right.resource.as_str(), None),
    };
    let review = SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(ResourceAttributes {
                group: Some(right.group.clone()),
                namespace: Some(namespace.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(right.verb.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    };
    let reviews = Api::<SelfSubjectAccessReview>::all(client.clone());
    let answer = reviews.create(&PostParams::default(), &review).await;
    answer.map_or(true, |review| {
        review.status.is_none_or(|status| status.allowed)
    })
}

/// The Role that gives `rights`, as YAML.
#[must_use]
pub fn role(namespace: &str, rights: &[Right]) -> String {
    let mut verbs: BTreeMap<(&str, &str), Vec<&str>> = BTreeMap::new();
    for right in rights {
        let of_resource = verbs.entry((&right.group, &right.resource)).or_default();
        if !of_resource.contains(&right.verb) {
            of_resource.push(right.verb);
        }
    }
    let rules: String = verbs
        .iter()
        .map(|((group, resource), verbs)| {
            let verbs = verbs.join(", ");
            format!("- apiGroups: [\"{group}\"]\n  resources: [{resource}]\n  verbs: [{verbs}]\n")
        })
        .collect();
    format!(
        "apiVersion: rbac.authorization.k8s.io/v1\nkind: Role\n\
         metadata: {{name: {ROLE}, namespace: {namespace}}}\nrules:\n{rules}"
    )
}

fn list(rights: &[Right]) -> String {
    let rights: Vec<String> = rights.iter().map(ToString::to_string).collect();
    rights.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_listed_with_the_role_that_gives_it() {
        let rights =
            |group, resource, verbs| Right::all(group, resource, verbs).collect::<Vec<_>>();
        let mut needed = rights("autoscaling", "horizontalpodautoscalers", &["get", "watch"]);
        needed.extend(rights("", "services", &["get"]));
        let denied = Denied {
            namespace: "shop".to_owned(),
            missing: needed[1..].to_vec(),
            needed,
        };
        let said = denied.to_string();
        let first = said.lines().next().unwrap();
        let missing = "watch horizontalpodautoscalers.autoscaling, get services";
        assert!(
            first.contains(missing) && first.contains("namespace shop"),
            "{first}"
        );
        let yaml = said.split_once('\n').unwrap().1;
        let role: serde_json::Value = serde_saphyr::from_str(yaml).unwrap();
        assert_eq!(role["metadata"]["namespace"], "shop");
        assert_eq!(role["rules"][0]["apiGroups"][0], "");
        assert_eq!(
            role["rules"][1]["verbs"],
            serde_json::json!(["get", "watch"])
        );
    }
}
