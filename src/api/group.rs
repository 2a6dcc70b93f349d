//! The groups and versions that can be served, and what is the same of all of them: names and paths.

/// A group of metrics in one of its versions.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum GroupVersion {
    /// `external.metrics.k8s.io/v1beta1`.
    External,
    /// `custom.metrics.k8s.io/v1beta2`.
    CustomV1Beta2,
    /// `custom.metrics.k8s.io/v1beta1`, which has other names for some fields.
    CustomV1Beta1,
}

impl GroupVersion {
    /// What is served: external metrics, and custom ones only where that is wanted, since that group may be another
    /// adapter's. Versions of a group stand together, the preferred one first.
    pub fn served(with_custom: bool) -> &'static [Self] {
        const ALL: [GroupVersion; 3] = [
            GroupVersion::External,
            GroupVersion::CustomV1Beta2,
            GroupVersion::CustomV1Beta1,
        ];
        if with_custom { &ALL } else { &ALL[..1] }
    }

    /// The group.
    pub fn group(self) -> &'static str {
        match self {
            Self::External => "external.metrics.k8s.io",
            Self::CustomV1Beta2 | Self::CustomV1Beta1 => "custom.metrics.k8s.io",
        }
    }

    /// The version.
    pub fn version(self) -> &'static str {
        match self {
            Self::CustomV1Beta2 => "v1beta2",
            Self::External | Self::CustomV1Beta1 => "v1beta1",
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
        }
    }

    /// The APIService that leads to it, whose name Kubernetes prescribes: version, then group.
    pub fn api_service(self) -> &'static str {
        match self {
            Self::External => "v1beta1.external.metrics.k8s.io",
            Self::CustomV1Beta2 => "v1beta2.custom.metrics.k8s.io",
            Self::CustomV1Beta1 => "v1beta1.custom.metrics.k8s.io",
        }
    }

    /// The kind of what is answered to a read.
    pub(super) fn list_kind(self) -> &'static str {
        match self {
            Self::External => "ExternalMetricValueList",
            Self::CustomV1Beta2 | Self::CustomV1Beta1 => "MetricValueList",
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

    #[test]
    fn the_names_are_made_of_group_and_version() {
        for one in GroupVersion::served(true) {
            let (group, version) = (one.group(), one.version());
            assert_eq!(one.name(), format!("{group}/{version}"));
            assert_eq!(one.path(), format!("/apis/{group}/{version}"));
            assert_eq!(one.api_service(), format!("{version}.{group}"));
            assert!(one.has(one.path()) && one.has(&format!("{}/namespaces", one.path())));
            assert!(!one.has(&format!("{}0", one.path())));
        }
        assert_eq!(GroupVersion::served(false), [GroupVersion::External]);
    }
}
