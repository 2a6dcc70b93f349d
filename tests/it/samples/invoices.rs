//! `invoices` and `payments`: two teams, one of which calls the other.

use serde_json::{Value, json};

use super::{at, container, list, render, text, variable};
use crate::fixtures::objects;

const ENVIRONMENTS: [&str; 2] = ["dev", "prod"];

#[test]
fn p_02_only_invoices_is_reached_from_outside() {
    for environment in ENVIRONMENTS {
        let render = render(&format!("invoices/{environment}"));
        let ingresses: Vec<&Value> = objects::of_kind(&render.objects, "Ingress").collect();
        assert_eq!(ingresses.len(), 1);
        let backend = "/spec/rules/0/http/paths/0/backend/service/name";
        assert_eq!(text(ingresses[0], backend), "invoices");
        assert!(at(ingresses[0], "/spec/tls/0/secretName").is_string());
        for service in objects::of_kind(&render.objects, "Service") {
            assert!(at(service, "/spec/type").is_null(), "ClusterIP is enough");
        }
    }
}

#[test]
fn p_03_payments_is_reached_by_the_pods_of_invoices_in_the_same_environment() {
    for environment in ENVIRONMENTS {
        let render = render(&format!("invoices/{environment}"));
        let policy = render.one("NetworkPolicy", "payments");
        assert_eq!(
            policy["metadata"]["namespace"],
            format!("payments-{environment}")
        );
        let rules: Vec<&Value> = list(policy, "/spec/ingress").collect();
        assert_eq!(rules.len(), 1);
        let peers: Vec<&Value> = list(rules[0], "/from").collect();
        // The second is the adapter, of which p_04 speaks.
        assert_eq!(peers.len(), 2);
        assert_eq!(
            *peers[0],
            json!({
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": format!("invoices-{environment}")}},
                "podSelector": {"matchLabels": {"app.kubernetes.io/name": "invoices"}},
            })
        );
        // And invoices may go there, and to the names of the cluster.
        let policy = render.one("NetworkPolicy", "invoices");
        let to = at(policy, "/spec/egress/1/to/0/namespaceSelector/matchLabels");
        assert_eq!(
            to["kubernetes.io/metadata.name"],
            format!("payments-{environment}")
        );
        assert_eq!(list(policy, "/spec/egress").count(), 2);
    }
}

#[test]
fn p_05_where_payments_is_comes_from_the_environment() {
    for environment in ENVIRONMENTS {
        let render = render(&format!("invoices/{environment}"));
        let app = container(render.one("Deployment", "invoices"));
        let from = at(
            variable(app, "APP_DOWNSTREAM"),
            "/valueFrom/configMapKeyRef",
        );
        let config = render.one("ConfigMap", text(from, "/name"));
        let address = text(&config["data"], &format!("/{}", text(from, "/key")));
        let service = render.one("Service", "payments");
        let (name, namespace) = (
            text(service, "/metadata/name"),
            text(service, "/metadata/namespace"),
        );
        let port = at(service, "/spec/ports/0/port");
        assert_eq!(address, format!("{name}.{namespace}.svc:{port}"));
    }
}

#[test]
fn p_07_each_team_has_a_namespace_and_rights_in_no_other() {
    for environment in ENVIRONMENTS {
        let render = render(&format!("invoices/{environment}"));
        for binding in objects::of_kind(&render.objects, "RoleBinding") {
            let namespace = text(binding, "/metadata/namespace");
            let team = text(binding, "/subjects/0/name");
            assert_eq!(
                format!("{}-{environment}", &team["team-".len()..]),
                namespace
            );
        }
        for kind in ["ClusterRole", "ClusterRoleBinding"] {
            assert_eq!(objects::of_kind(&render.objects, kind).count(), 0);
        }
    }
}
