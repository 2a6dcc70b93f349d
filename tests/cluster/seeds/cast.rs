//! The objects of a scenario's service as a team would apply them: its Deployment and Service from `app`, and its own
//! HPA and RequestMetrics, in the test's namespace and on the wall's clock. Nothing is applied here.

use std::net::SocketAddr;

use serde_json::{Value, json};
use taffrail_loadtest::sample_app;
use taffrail_loadtest::scenario::{Action, App, Event, Scenario, Service};

use super::{SPEED, pace};
use crate::harness::sample;

/// Between an endpoint's being gone and SIGTERM, in seconds: whoever sends requests must have heard of it, on a machine
/// that stands still for a second, too.
const LEAVE_S: u64 = 3;

/// Where a pod has its orders. They come from a ConfigMap with the service's name.
const ORDERS_DIR: &str = "/run/orders";

/// The key of the ConfigMap, and with it the file's name.
const ORDERS: &str = "orders";

/// A service's part in the scenario.
pub(super) struct Role<'a> {
    pub(super) name: &'a str,
    pub(super) service: &'a Service,
    pub(super) app: &'a App,
    /// Where Redis is, for one that uses it.
    pub(super) redis: Option<String>,
    /// Where the service is that it calls.
    pub(super) calls: Option<SocketAddr>,
    /// Whether its pods get orders while they run.
    pub(super) is_ordered: bool,
}

/// Whether something changes the pods of a service while they run.
pub(super) fn is_ordered(scenario: &Scenario, name: &str) -> bool {
    let is_changed =
        |event: &Event| matches!(&event.action, Action::Change { service, .. } if service == name);
    scenario.events.iter().any(is_changed)
}

/// The ConfigMap by which the pods of a service are told to be so many times as slow.
pub(super) fn slow(service: &str, slowdown: f64) -> Value {
    json!({
        "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": {"name": service}, "data": {ORDERS: format!("slowdown {slowdown}\n")},
    })
}

impl Role<'_> {
    /// How many replicas it has before anything happens.
    pub(super) fn replicas(&self) -> u32 {
        let hpa = self.service.hpa.as_ref();
        let replicas = hpa.and_then(|hpa| hpa["spec"]["minReplicas"].as_u64());
        replicas
            .and_then(|replicas| replicas.try_into().ok())
            .unwrap_or(1)
    }

    pub(super) fn hpa(&self) -> Value {
        let mut hpa = self.service.hpa.clone().unwrap_or_default();
        pace::shorten_behavior(&mut hpa);
        leave_namespace(&mut hpa);
        hpa
    }

    /// What tells the adapter how the service is measured, as it stands in the scenario.
    pub(super) fn metrics(&self) -> anyhow::Result<Vec<Value>> {
        let metrics = self.service.metrics.clone().unwrap_or_default();
        let several = metrics["items"].as_array().cloned();
        let mut documents = several.unwrap_or_else(|| vec![metrics]);
        for document in &mut documents {
            pace::shorten_window(document)?;
            let redis = document.pointer_mut("/spec/source/redis");
            if let (Some(source), Some(redis)) = (redis, &self.redis) {
                source["address"] = format!("{redis}:6379").into();
            }
            leave_namespace(document);
        }
        Ok(documents)
    }

    /// The same, but that the adapter scrapes with the token that the pods want.
    pub(super) fn metrics_with_token(&self) -> anyhow::Result<Vec<Value>> {
        let mut documents = self.metrics()?;
        for document in &mut documents {
            let token = document.pointer_mut("/spec/source/pods/headers/X-Auth-Token");
            if let (Some(header), Some(token)) = (token, &self.app.token) {
                *header = json!({"value": token});
            }
        }
        Ok(documents)
    }

    /// The arguments of a pod of this version.
    pub(super) fn args(&self, app: &App) -> Vec<String> {
        let mut args = sample_app::flags(app, SPEED);
        if let Some(calls) = self.calls {
            args.retain(|arg| !arg.starts_with("--downstream="));
            args.push(format!("--downstream={calls}"));
        }
        if let Some(redis) = &self.redis {
            args.push(format!("--redis-host={redis}"));
        }
        if self.is_ordered {
            args.push(format!("--orders-file={ORDERS_DIR}/{ORDERS}"));
        }
        args
    }

    pub(super) fn deployment(&self) -> Value {
        let mut deployment = sample::deployment(self.name, self.replicas(), &[]);
        deployment["spec"]["strategy"] = json!({"rollingUpdate": {"maxUnavailable": 0}});
        let pod = &mut deployment["spec"]["template"]["spec"];
        if self.is_ordered {
            let orders = json!({"name": self.name, "optional": true});
            pod["volumes"] = json!([{"name": ORDERS, "configMap": orders}]);
            pod["containers"][0]["volumeMounts"] =
                json!([{"name": ORDERS, "mountPath": ORDERS_DIR}]);
        }
        let container = &mut pod["containers"][0];
        container["args"] = json!(self.args(self.app));
        container["resources"]["requests"]["cpu"] = format!("{}m", self.app.cpu_request).into();
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": LEAVE_S}}});
        if let (Some(token), Some(env)) = (&self.app.token, container["env"].as_array_mut()) {
            env.push(json!({"name": "APP_AUTH_TOKEN", "value": token}));
        }
        deployment
    }
}

/// In the scenario it is another one.
fn leave_namespace(object: &mut Value) {
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.remove("namespace");
    }
}
