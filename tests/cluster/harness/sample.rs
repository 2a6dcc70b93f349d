//! The sample app as a Deployment and a Service, as plain JSON, so that a test changes what it is about and applies it.

use serde_json::{Value, json};

/// The port of the sample app, by number and by the name `http`.
pub(crate) const PORT: u16 = 8080;

/// A Deployment of sample apps labelled `app: NAME`, with `args` for each, and a readiness probe every second.
pub(crate) fn deployment(name: &str, replicas: u32, args: &[&str]) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": pod_spec(args)},
        },
    })
}

/// The pod of [`deployment`]. All pods share one network, so each listens on its own address.
pub(crate) fn pod_spec(args: &[&str]) -> Value {
    json!({
        "terminationGracePeriodSeconds": 10,
        "containers": [{
            "name": "app",
            "image": "taffrail-sample-app",
            "args": args,
            "ports": [{"name": "http", "containerPort": PORT}],
            "env": [
                {"name": "POD_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}},
                {"name": "APP_LISTEN", "value": format!("$(POD_IP):{PORT}")},
            ],
            "resources": {"requests": {"cpu": "100m"}},
            "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}, "periodSeconds": 1},
        }],
    })
}

/// A Service of the pods labelled `app: NAME`.
pub(crate) fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name},
        "spec": {"selector": {"app": name}, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]},
    })
}
