//! `users` and `shifts`: two services of one team that scale independently.

use serde_json::{Value, json};

use super::{at, container, list, render, text};
use crate::fixtures::objects;

const SERVICES: [(&str, &str); 2] = [
    ("users", "container1.7shifts"),
    ("shifts", "container2.7shifts"),
];

#[test]
fn f_01_no_service_reads_the_other() {
    for environment in ["dev", "prod"] {
        let render = render(&format!("users-and-shifts/{environment}"));
        for (service, _) in SERVICES {
            let hpa = render.one("HorizontalPodAutoscaler", service);
            for metric in list(hpa, "/spec/metrics").skip(1) {
                let read = text(metric, "/external/metric/selector/matchLabels/service");
                assert_eq!(read, service);
            }
        }
    }
}

#[test]
fn f_02_there_are_one_to_six_replicas_and_two_at_least_in_production() {
    for (environment, min) in [("dev", 1), ("prod", 2)] {
        let render = render(&format!("users-and-shifts/{environment}"));
        for (service, _) in SERVICES {
            let spec = &render.one("HorizontalPodAutoscaler", service)["spec"];
            assert_eq!(
                (&spec["minReplicas"], &spec["maxReplicas"]),
                (&json!(min), &json!(6))
            );
        }
    }
}

#[test]
fn f_07_latency_is_scaled_on_in_the_form_of_today() {
    for environment in ["dev", "prod"] {
        let render = render(&format!("users-and-shifts/{environment}"));
        for hpa in objects::of_kind(&render.objects, "HorizontalPodAutoscaler") {
            assert_eq!(hpa["apiVersion"], "autoscaling/v2");
            let external = at(hpa, "/spec/metrics/1/external");
            assert_eq!(external["target"], json!({"type": "Value", "value": "250"}));
        }
        assert!(!render.text.contains("metricName") && !render.text.contains("targetValue"));
    }
}

#[test]
fn f_08_the_namespace_begins_with_a_digit_and_no_service_does() {
    for environment in ["dev", "prod"] {
        let render = render(&format!("users-and-shifts/{environment}"));
        let namespaces: Vec<&Value> = objects::of_kind(&render.objects, "Namespace").collect();
        assert_eq!(namespaces.len(), 1);
        assert!(super::name(namespaces[0]).starts_with("7shifts"));
        for service in objects::of_kind(&render.objects, "Service") {
            assert!(!super::name(service).starts_with(|first: char| first.is_ascii_digit()));
        }
    }
}

#[test]
fn f_11_each_service_has_its_host_and_a_certificate() {
    for (environment, suffix) in [("dev", "-dev"), ("prod", "")] {
        let render = render(&format!("users-and-shifts/{environment}"));
        for (service, host) in SERVICES {
            let host = format!("{host}{suffix}");
            let ingress = render.one("Ingress", service);
            assert_eq!(text(ingress, "/spec/rules/0/host"), host);
            assert_eq!(text(ingress, "/spec/tls/0/hosts/0"), host);
            let backend = at(ingress, "/spec/rules/0/http/paths/0/backend/service");
            assert_eq!(*backend, json!({"name": service, "port": {"name": "http"}}));
        }
    }
}

#[test]
fn f_12_dev_begins_with_version_1_0() {
    let render = render("users-and-shifts/dev");
    for (service, _) in SERVICES {
        let image = text(container(render.one("Deployment", service)), "/image");
        assert!(image.ends_with(":v1.0"), "{image}");
    }
}
