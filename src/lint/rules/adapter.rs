//! The APIServices of metrics: a cluster has one adapter for each.

use crate::config::tree::Node;
use crate::lint::rule::{Out, Rule, Severity};
use crate::lint::world::{Known, World};

/// The APIService of external metrics.
const EXTERNAL: &str = "v1beta1.external.metrics.k8s.io";

/// The groups whose versions are meant.
const GROUPS: [&str; 2] = ["external.metrics.k8s.io", "custom.metrics.k8s.io"];

pub(super) const RULES: &[Rule] = &[
    Rule {
        id: "two-adapters",
        severity: Severity::Error,
        title: "Two adapters claim one API of metrics",
        why: "An APIService has one name and leads to one Service. Of two, the one that was applied last wins, and \
              every HPA on the other one's metrics gets 404 from then on.",
        fix: "one adapter owns it; Taffrail reads another one's metrics from it with --delegate",
        wrong: documents!(
            apiservice!(
                "v1beta1.external.metrics.k8s.io",
                "namespace: taffrail, name: taffrail",
                ""
            ),
            apiservice!(
                "v1beta1.external.metrics.k8s.io",
                "namespace: keda, name: keda-operator-metrics-apiserver",
                ""
            )
        ),
        right: apiservice!(
            "v1beta1.external.metrics.k8s.io",
            "namespace: taffrail, name: taffrail",
            ""
        ),
        page: None,
        check: two_adapters,
    },
    Rule {
        id: "adapter-foreign",
        severity: Severity::Warning,
        title: "External metrics are another adapter's, and an HPA reads Taffrail's",
        why: "All external metrics of a cluster are read from the one Service that the APIService names. Another \
              adapter does not know Taffrail's metrics: 404 at every sync.",
        fix: "lead the APIService to Taffrail, and give it --delegate for the other adapter's metrics",
        wrong: documents!(
            right_hpa!(),
            apiservice!(
                "v1beta1.external.metrics.k8s.io",
                "namespace: keda, name: keda-operator-metrics-apiserver",
                ""
            )
        ),
        right: documents!(
            right_hpa!(),
            apiservice!(
                "v1beta1.external.metrics.k8s.io",
                "namespace: taffrail, name: taffrail",
                ""
            )
        ),
        page: None,
        check: adapter_foreign,
    },
    Rule {
        id: "apiservice-name",
        severity: Severity::Error,
        title: "An APIService is not called after its version and group",
        why: "The API server refuses one whose name is not VERSION.GROUP.",
        fix: "name: v1beta1.external.metrics.k8s.io",
        wrong: apiservice!(
            "external.metrics.k8s.io",
            "namespace: taffrail, name: taffrail",
            ""
        ),
        right: apiservice!(
            "v1beta1.external.metrics.k8s.io",
            "namespace: taffrail, name: taffrail",
            ""
        ),
        page: None,
        check: apiservice_name,
    },
    Rule {
        id: "apiservice-unverified",
        severity: Severity::Warning,
        title: "The API server believes whoever answers at the adapter's address",
        why: "With insecureSkipTLSVerify a pod that gets the adapter's address sets the replicas of every HPA in the \
              cluster, and is sent the identity of whoever asks.",
        fix: "leave insecureSkipTLSVerify out; Taffrail puts its authority into caBundle itself",
        wrong: apiservice!(
            "v1beta1.external.metrics.k8s.io",
            "namespace: taffrail, name: taffrail",
            "  insecureSkipTLSVerify: true\n"
        ),
        right: apiservice!(
            "v1beta1.external.metrics.k8s.io",
            "namespace: taffrail, name: taffrail",
            ""
        ),
        page: None,
        check: apiservice_unverified,
    },
];

/// `namespace/name` of the Service that an APIService leads to.
fn leads_to(apiservice: &Known<'_>) -> Option<String> {
    let service = apiservice.object.root.at(&["spec", "service"])?;
    let part = |name| service.get(name).and_then(Node::text).unwrap_or_default();
    Some(format!("{}/{}", part("namespace"), part("name")))
}

fn place<'w>(apiservice: &Known<'w>) -> &'w Node {
    let root = &apiservice.object.root;
    root.at(&["spec", "service"]).unwrap_or(root)
}

/// Those of metrics.
fn of_metrics<'x, 'w>(world: &'x World<'w>) -> impl Iterator<Item = &'x Known<'w>> {
    world.apiservices.iter().filter(|apiservice| {
        let group = apiservice
            .object
            .root
            .at(&["spec", "group"])
            .and_then(Node::text);
        group.is_some_and(|group| GROUPS.contains(&group))
    })
}

fn two_adapters(world: &World<'_>, out: &mut Out<'_>) {
    let all: Vec<&Known<'_>> = of_metrics(world).collect();
    for (index, apiservice) in all.iter().enumerate() {
        let first = all[..index].iter().find(|other| {
            other.object.name == apiservice.object.name && leads_to(other) != leads_to(apiservice)
        });
        let Some(first) = first else { continue };
        out.at(
            apiservice,
            place(apiservice),
            format!(
                "{} leads to {}, and elsewhere to {}",
                apiservice.object.name,
                leads_to(apiservice).unwrap_or_default(),
                leads_to(first).unwrap_or_default()
            ),
            "whichever is applied last wins, and every HPA on the other one's metrics gets 404 from then on",
            "keep one; Taffrail passes other metrics on with --delegate",
        );
    }
}

fn adapter_foreign(world: &World<'_>, out: &mut Out<'_>) {
    let Some(apiservice) = of_metrics(world).find(|known| known.object.name == EXTERNAL) else {
        return;
    };
    let Some(to) = leads_to(apiservice).filter(|to| !to.contains("taffrail")) else {
        return;
    };
    let is_there = of_metrics(world).any(|known| {
        known.object.name == EXTERNAL && leads_to(known).is_some_and(|to| to.contains("taffrail"))
    });
    let readers = world
        .hpas
        .iter()
        .filter(|hpa| {
            hpa.metrics
                .iter()
                .any(|metric| metric.kind == "External" && metric.served().is_some())
        })
        .count();
    if is_there || readers == 0 {
        return;
    }
    out.at(
        apiservice,
        place(apiservice),
        format!("external metrics are read from {to}, and {readers} HPAs read Taffrail's"),
        "unless that is Taffrail by another name, their metrics are unknown at every sync",
        "service: {namespace: taffrail, name: taffrail}",
    );
}

fn apiservice_name(world: &World<'_>, out: &mut Out<'_>) {
    for apiservice in of_metrics(world) {
        let spec = |name| {
            apiservice
                .object
                .root
                .at(&["spec", name])
                .and_then(Node::text)
                .unwrap_or_default()
        };
        let wanted = format!("{}.{}", spec("version"), spec("group"));
        if apiservice.object.name == wanted {
            continue;
        }
        let root = &apiservice.object.root;
        out.at(
            apiservice,
            root.at(&["metadata", "name"]).unwrap_or(root),
            format!(
                "the APIService of {wanted} is called {:?}",
                apiservice.object.name
            ),
            "the API server refuses it, and no HPA can read an external metric",
            format!("name: {wanted}"),
        );
    }
}

fn apiservice_unverified(world: &World<'_>, out: &mut Out<'_>) {
    for apiservice in of_metrics(world) {
        let Some(node) = apiservice
            .object
            .root
            .at(&["spec", "insecureSkipTLSVerify"])
        else {
            continue;
        };
        if node.is_true() {
            out.at(
                apiservice,
                node,
                "the adapter's certificate is not verified",
                "whoever answers at its address sets the replicas of every HPA on external metrics",
                "leave it out",
            );
        }
    }
}
