//! An identity, as the cluster's rules know it. It does not say how it was proven.

use std::collections::BTreeMap;

use k8s_openapi::api::authentication::v1::UserInfo;

const AUTHENTICATED: &str = "system:authenticated";
const UNAUTHENTICATED: &str = "system:unauthenticated";
const ANONYMOUS: &str = "system:anonymous";
const MASTERS: &str = "system:masters";

/// The HPA controller, with a service account of its own and as a part of its process, which depends on that one's flag
/// `--use-service-account-credentials`.
const HPA_CONTROLLERS: [&str; 2] = [
    "system:serviceaccount:kube-system:horizontal-pod-autoscaler",
    "system:kube-controller-manager",
];

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct User {
    pub(super) name: String,
    /// Empty when nobody said one.
    pub(super) uid: String,
    pub(super) groups: Vec<String>,
    pub(super) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Whoever brings no proof of anything.
    pub(super) fn anonymous() -> Self {
        Self {
            name: ANONYMOUS.to_owned(),
            groups: vec![UNAUTHENTICATED.to_owned()],
            ..Self::default()
        }
    }

    /// The same in the group of all whose identity was proven. The aggregator's own requests for discovery arrive
    /// without any group, and only this one may read it. A front proxy may also say that the user is nobody.
    #[must_use]
    pub(super) fn authenticated(mut self) -> Self {
        let is_said = |group: &String| group == AUTHENTICATED || group == UNAUTHENTICATED;
        if !self.is_anonymous() && !self.groups.iter().any(is_said) {
            self.groups.push(AUTHENTICATED.to_owned());
        }
        self
    }

    pub(super) fn is_anonymous(&self) -> bool {
        self.name == ANONYMOUS
    }

    /// Whether the user is who runs HPAs.
    pub(super) fn is_hpa_controller(&self) -> bool {
        HPA_CONTROLLERS.contains(&self.name.as_str())
    }

    /// Whether the user may do anything, which no rule can take away. The aggregator checks the API's health as one, so
    /// that these checks never wait for the API server's own answer.
    pub(super) fn is_master(&self) -> bool {
        self.groups.iter().any(|group| group == MASTERS)
    }
}

impl From<UserInfo> for User {
    fn from(info: UserInfo) -> Self {
        Self {
            name: info.username.unwrap_or_default(),
            uid: info.uid.unwrap_or_default(),
            groups: info.groups.unwrap_or_default(),
            extra: info.extra.unwrap_or_default(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_groups(name: &str, groups: &[&str]) -> Vec<String> {
        let user = User {
            name: name.to_owned(),
            groups: groups.iter().map(ToString::to_string).collect(),
            ..User::default()
        };
        user.authenticated().groups
    }

    #[test]
    fn whoever_is_proven_is_authenticated_once_and_nobody_is_not() {
        assert_eq!(
            in_groups("system:kube-aggregator", &[]),
            ["system:authenticated"]
        );
        assert_eq!(in_groups("jo", &["dev"]), ["dev", "system:authenticated"]);
        assert_eq!(
            in_groups("jo", &["system:authenticated", "dev"]),
            ["system:authenticated", "dev"]
        );
        assert_eq!(
            in_groups("system:anonymous", &["system:unauthenticated"]),
            ["system:unauthenticated"]
        );
        assert!(in_groups("system:anonymous", &[]).is_empty());
    }
}
