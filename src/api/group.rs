//! The groups and versions that can be served, and what is the same of all of them: names and paths.

/// A group in one of its versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupVersion {
    /// `external.metrics.k8s.io/v1beta1`.
    External,
    /// `custom.metrics.k8s.io/v1beta2`.
    CustomV1Beta2,
    /// `custom.metrics.k8s.io/v1beta1`, which has other names for some fields.
    CustomV1Beta1,
    /// `explain.taffrail.dev/v1alpha1`, our own: why HPAs have the replicas they have.
    Explain,
}

/// What is served beside external metrics.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Extras {
    /// Custom metrics, only where that is wanted: that group may be another adapter's.
    pub custom_metrics: bool,
    /// Explanations, where there is a cluster to watch HPAs of.
    pub explanations: bool,
}

impl GroupVersion {
    /// Every one. Versions of a group stand together, the preferred one first.
    pub const ALL: [Self; 4] = [
        Self::External,
        Self::CustomV1Beta2,
        Self::CustomV1Beta1,
        Self::Explain,
    ];

    /// What is served: external metrics, and what else is wanted, in the order of [`GroupVersion::ALL`].
    pub fn served(extras: Extras) -> &'static [Self] {
        const WITHOUT_CUSTOM: [GroupVersion; 2] = [GroupVersion::External, GroupVersion::Explain];
        match (extras.custom_metrics, extras.explanations) {
            (false, false) => &Self::ALL[..1],
            (false, true) => &WITHOUT_CUSTOM,
            (true, false) => &Self::ALL[..3],
            (true, true) => &Self::ALL,
        }
    }

    /// The group.
    pub fn group(self) -> &'static str {
        match self {
            Self::External => "external.metrics.k8s.io",
            Self::CustomV1Beta2 | Self::CustomV1Beta1 => "custom.metrics.k8s.io",
            Self::Explain => "explain.taffrail.dev",
        }
    }

    /// The version.
    pub fn version(self) -> &'static str {
        match self {
            Self::CustomV1Beta2 => "v1beta2",
            Self::External | Self::CustomV1Beta1 => "v1beta1",
            Self::Explain => "v1alpha1",
        }
    }

    /// Both, as objects name them.
    pub fn name(self) -> &'static str {
        let apis = "/apis/";
        &self.path()[apis.len()..]
    }

    /// The path below which it is served.
    pub const fn path(self) -> &'static str {
        match self {
            Self::External => "/apis/external.metrics.k8s.io/v1beta1",
            Self::CustomV1Beta2 => "/apis/custom.metrics.k8s.io/v1beta2",
            Self::CustomV1Beta1 => "/apis/custom.metrics.k8s.io/v1beta1",
            Self::Explain => "/apis/explain.taffrail.dev/v1alpha1",
        }
    }

    /// The APIService that leads to it, whose name Kubernetes prescribes: version, then group.
    pub fn api_service(self) -> &'static str {
        match self {
            Self::External => "v1beta1.external.metrics.k8s.io",
            Self::CustomV1Beta2 => "v1beta2.custom.metrics.k8s.io",
            Self::CustomV1Beta1 => "v1beta1.custom.metrics.k8s.io",
            Self::Explain => "v1alpha1.explain.taffrail.dev",
        }
    }

    /// The kind of what is answered to a read of several.
    pub(super) fn list_kind(self) -> &'static str {
        match self {
            Self::External => "ExternalMetricValueList",
            Self::CustomV1Beta2 | Self::CustomV1Beta1 => "MetricValueList",
            Self::Explain => "ExplanationList",
        }
    }

    /// Whether it is what a request is for.
    pub(super) fn has(self, path: &str) -> bool {
        path.strip_prefix(self.path())
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::story::document;

    #[test]
    fn the_names_are_made_of_group_and_version() {
        for one in GroupVersion::ALL {
            let (group, version) = (one.group(), one.version());
            assert_eq!(one.name(), format!("{group}/{version}"));
            assert_eq!(one.path(), format!("/apis/{group}/{version}"));
            assert_eq!(one.api_service(), format!("{version}.{group}"));
            assert!(one.has(one.path()) && one.has(&format!("{}/namespaces", one.path())));
            assert!(!one.has(&format!("{}0", one.path())));
        }
    }

    #[test]
    fn explanations_are_where_their_readers_look_for_them() {
        let one = GroupVersion::Explain;
        assert_eq!(
            (one.group(), one.version()),
            (document::GROUP, document::VERSION)
        );
        assert_eq!(one.list_kind(), format!("{}List", document::KIND));
    }

    #[test]
    fn what_is_not_wanted_is_not_served() {
        let served = |custom_metrics, explanations| {
            GroupVersion::served(Extras {
                custom_metrics,
                explanations,
            })
        };
        let [external, v1beta2, v1beta1, explain] = GroupVersion::ALL;
        assert_eq!(served(false, false), [external]);
        assert_eq!(served(false, true), [external, explain]);
        assert_eq!(served(true, false), [external, v1beta2, v1beta1]);
        assert_eq!(served(true, true), GroupVersion::ALL);
    }
}
