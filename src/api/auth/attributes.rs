//! What a request asks for, in the words of the cluster's rules: a verb on a resource of a namespace, or on a path.
//!
//! The reading of a path is Kubernetes' (`k8s.io/apiserver/pkg/endpoints/request`, `RequestInfoFactory`), but for one
//! thing: segments are told apart before they are decoded, as the router does it, so that what is authorized and what is
//! answered can never differ. Selectors are left out: rules that look at them see a request for the whole list and can
//! only be stricter, and one decision serves all selectors of a metric.

use http::Method;
use http::request::Parts;
use k8s_openapi::api::authorization::v1::{NonResourceAttributes, ResourceAttributes};

use super::super::query::{is_watch, unescape};

/// What is to be allowed.
#[derive(Clone, PartialEq, Debug)]
pub(super) enum Attributes {
    Resource(Box<ResourceAttributes>),
    Path(NonResourceAttributes),
}

impl Attributes {
    /// What a request asks for.
    pub(super) fn of(parts: &Parts) -> Self {
        let query = parts.uri.query().unwrap_or_default();
        resource(&parts.method, parts.uri.path(), is_watch(query)).map_or_else(
            || {
                Self::Path(NonResourceAttributes {
                    path: Some(decoded(parts.uri.path())),
                    verb: Some(parts.method.as_str().to_ascii_lowercase()),
                })
            },
            |wanted| Self::Resource(Box::new(wanted)),
        )
    }

    /// That `user` may not, in Kubernetes' own words.
    pub(super) fn forbidden(&self, user: &str, reason: &str) -> String {
        let said = |field: &Option<String>| field.clone().unwrap_or_default();
        let mut message = match self {
            Self::Path(wanted) => {
                let (verb, path) = (said(&wanted.verb), said(&wanted.path));
                format!("forbidden: User {user:?} cannot {verb} path {path:?}")
            }
            Self::Resource(wanted) => {
                let (verb, group) = (said(&wanted.verb), said(&wanted.group));
                let what = [said(&wanted.resource), group.clone()];
                let what = what.map(|part| Some(part).filter(|part| !part.is_empty()));
                let what = what.into_iter().flatten().collect::<Vec<_>>().join(".");
                let name = match &wanted.name {
                    None => String::new(),
                    Some(name) => format!(" {name:?}"),
                };
                let resource = match &wanted.subresource {
                    None => said(&wanted.resource),
                    Some(subresource) => format!("{}/{subresource}", said(&wanted.resource)),
                };
                let scope = match &wanted.namespace {
                    None => "at the cluster scope".to_owned(),
                    Some(namespace) => format!("in the namespace {namespace:?}"),
                };
                format!(
                    "{what}{name} is forbidden: User {user:?} cannot {verb} resource {resource:?} in API group \
                     {group:?} {scope}"
                )
            }
        };
        if !reason.is_empty() {
            message.push_str(": ");
            message.push_str(reason);
        }
        message
    }
}

/// `/apis/GROUP/VERSION/..` or `/api/VERSION/..` with something behind the version; anything else is only a path.
fn resource(method: &Method, path: &str, is_watch: bool) -> Option<ResourceAttributes> {
    let segments: Vec<String> = path.trim_matches('/').split('/').map(decoded).collect();
    let (group, version, rest) = match segments.as_slice() {
        [api, version, rest @ ..] if api == "api" => ("", version, rest),
        [apis, group, version, rest @ ..] if apis == "apis" => (group.as_str(), version, rest),
        _ => return None,
    };
    let (prefix, rest) = match rest {
        [prefix, rest @ ..] if prefix == "watch" || prefix == "proxy" => (Some(prefix), rest),
        rest => (None, rest),
    };
    let (namespace, object) = match rest {
        [] => return None,
        [namespaces, namespace, object @ ..] if namespaces == "namespaces" => {
            // These two are parts of the namespace itself, never a metric in it.
            let is_own = matches!(object, [part, ..] if part == "status" || part == "finalize");
            let is_in_namespace = !object.is_empty() && !is_own;
            (Some(namespace), if is_in_namespace { object } else { rest })
        }
        rest => (None, rest),
    };
    let said = |text: &String| Some(text.clone()).filter(|text| !text.is_empty());
    let name = object.get(1).and_then(said);
    let verb = match (prefix, method) {
        (Some(prefix), _) => prefix,
        (None, &Method::GET | &Method::HEAD) if name.is_some() => "get",
        (None, &Method::GET | &Method::HEAD) if is_watch => "watch",
        (None, &Method::GET | &Method::HEAD) => "list",
        (None, &Method::POST) => "create",
        (None, &Method::PUT) => "update",
        (None, &Method::PATCH) => "patch",
        (None, &Method::DELETE) if name.is_none() => "deletecollection",
        (None, &Method::DELETE) => "delete",
        (None, _) => "",
    };
    Some(ResourceAttributes {
        verb: Some(verb.to_owned()),
        group: Some(group.to_owned()),
        version: said(version),
        namespace: namespace.and_then(said),
        resource: object.first().and_then(said),
        // A prefixed path has none.
        subresource: object.get(2).and_then(said).filter(|_| prefix.is_none()),
        name,
        ..ResourceAttributes::default()
    })
}

/// A part of a path as text. What is no text is left as it stands: no handler takes it for anything either.
fn decoded(part: &str) -> String {
    unescape(part, b'+').unwrap_or_else(|| part.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUP_VERSION: &str = "/apis/external.metrics.k8s.io/v1beta1";

    fn of(method: &str, uri: &str) -> Attributes {
        let request = http::Request::builder().method(method).uri(uri);
        Attributes::of(&request.body(()).expect("a request").into_parts().0)
    }

    /// `verb group version namespace resource subresource name`, with `-` for what is absent.
    fn words(method: &str, uri: &str) -> String {
        let say = |field: Option<String>| field.unwrap_or_else(|| "-".to_owned());
        match of(method, uri) {
            Attributes::Path(wanted) => format!("{} {}", say(wanted.verb), say(wanted.path)),
            Attributes::Resource(wanted) => [
                wanted.verb,
                wanted.group,
                wanted.version,
                wanted.namespace,
                wanted.resource,
                wanted.subresource,
                wanted.name,
            ]
            .map(say)
            .join(" "),
        }
    }

    #[test]
    fn assertion_54_a_read_lists_the_metric_in_its_namespace() {
        let metric = format!("{GROUP_VERSION}/namespaces/shop/http_rps");
        let group = "external.metrics.k8s.io v1beta1 shop http_rps - -";
        for (method, uri, verb) in [
            ("GET", metric.clone(), "list"),
            ("HEAD", metric.clone(), "list"),
            ("GET", format!("{metric}?labelSelector=route%3Da"), "list"),
            ("GET", format!("{metric}?watch=true"), "watch"),
            ("GET", format!("{metric}?watch=false"), "list"),
            ("GET", format!("{metric}/"), "list"),
            ("POST", metric.clone(), "create"),
            ("DELETE", metric, "deletecollection"),
        ] {
            assert_eq!(
                words(method, &uri),
                format!("{verb} {group}"),
                "{method} {uri}"
            );
        }
    }

    #[test]
    fn assertion_67_a_custom_metric_is_a_subresource_of_what_it_is_of() {
        let (path, group) = (
            "/apis/custom.metrics.k8s.io/v1beta2/namespaces/shop",
            "get custom.metrics.k8s.io v1beta2 shop",
        );
        for (of, expected) in [
            ("pods/%2A/rps?labelSelector=app%3Dweb", "pods rps *"),
            ("pods/*/rps?watch=true", "pods rps *"),
            ("pods/web-1/rps", "pods rps web-1"),
            (
                "requestmetrics.taffrail.dev/web/rps",
                "requestmetrics.taffrail.dev rps web",
            ),
            ("metrics/rps", "metrics - rps"),
        ] {
            let uri = format!("{path}/{of}");
            assert_eq!(words("GET", &uri), format!("{group} {expected}"), "{of}");
        }
    }

    #[test]
    fn other_paths_are_read_as_kubernetes_reads_them() {
        for (uri, expected) in [
            ("/", "get /"),
            ("/version", "get /version"),
            ("/livez/ping", "get /livez/ping"),
            ("/apis", "get /apis"),
            (
                "/apis/external.metrics.k8s.io",
                "get /apis/external.metrics.k8s.io",
            ),
            (GROUP_VERSION, &format!("get {GROUP_VERSION}")),
            ("/api/v1/pods", "list  v1 - pods - -"),
            ("/apis/g/v/namespaces", "list g v - namespaces - -"),
            (
                "/apis/g/v/namespaces/shop",
                "get g v shop namespaces - shop",
            ),
            (
                "/apis/g/v/namespaces/shop/status",
                "get g v shop namespaces status shop",
            ),
            (
                "/apis/g/v/namespaces/shop/pods/a/log",
                "get g v shop pods log a",
            ),
            ("/apis/g/v/nodes/n", "get g v - nodes - n"),
            ("/apis/g/v/watch/namespaces/shop/m", "watch g v shop m - -"),
        ] {
            assert_eq!(words("GET", uri), expected, "{uri}");
        }
    }

    #[test]
    fn an_encoded_slash_never_moves_a_read_to_another_namespace() {
        for (segments, expected) in [
            ("shop/a%2Fb", "list g v shop a/b - -"),
            ("shop%2Fx/m", "list g v shop/x m - -"),
            ("%73hop/%6d", "list g v shop m - -"),
            ("shop/a+b", "list g v shop a+b - -"),
            ("shop/%ff", "list g v shop %ff - -"),
        ] {
            let uri = format!("/apis/g/v/namespaces/{segments}");
            assert_eq!(words("GET", &uri), expected, "{uri}");
        }
    }

    #[test]
    fn a_refusal_names_user_verb_resource_group_and_namespace() {
        let read = of("GET", &format!("{GROUP_VERSION}/namespaces/shop/http_rps"));
        assert_eq!(
            read.forbidden("jo", ""),
            r#"http_rps.external.metrics.k8s.io is forbidden: User "jo" cannot list resource "http_rps" in API group "external.metrics.k8s.io" in the namespace "shop""#
        );
        assert_eq!(
            of("GET", "/version").forbidden("system:anonymous", "no"),
            r#"forbidden: User "system:anonymous" cannot get path "/version": no"#
        );
        assert_eq!(
            of("GET", "/apis/g/v/nodes/n/log").forbidden("jo", ""),
            r#"nodes.g "n" is forbidden: User "jo" cannot get resource "nodes/log" in API group "g" at the cluster scope"#
        );
    }
}
