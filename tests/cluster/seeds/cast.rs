//! The objects of a scenario's service as a team would apply them: its Deployment and Service from `app`, and its own
//! HPA and RequestMetrics, in the test's namespace and on the wall's clock.

use serde_json::{Value, json};
use taffrail_loadtest::sample_app;
use taffrail_loadtest::scenario::{Action, App, Event, Scenario, Service};

use super::{SPEED, orders, pace};
use crate::harness::{Redis, sample};

/// Between an endpoint's being gone and SIGTERM: whoever sends requests must have heard of it, on a busy machine too.
/// That includes pods that call it, which are told by a ConfigMap.
const LEAVE_S: u64 = 5;

/// A service's part in the scenario.
pub(super) struct Role<'a> {
    name: &'a str,
    redis: Option<&'a Redis>,
    /// Whether its pods get orders while they run.
    is_ordered: bool,
}

impl<'a> Role<'a> {
    pub(super) fn of(scenario: &Scenario, name: &'a str, redis: Option<&'a Redis>) -> Self {
        let app = scenario
            .services
            .get(name)
            .and_then(|service| service.app.as_ref());
        let is_changed = |event: &Event| matches!(&event.action, Action::Change { service, .. } if service == name);
        Self {
            name,
            redis: redis.filter(|_| app.is_some_and(|app| app.redis)),
            is_ordered: app.is_some_and(|app| app.calls.is_some())
                || scenario.events.iter().any(is_changed),
        }
    }

    /// Every object of the service, the HPA last. A wrong token is still the right one: an HPA that has never known all
    /// of its metrics wants no number of replicas at all, and nothing could be said of what it does with them.
    pub(super) fn objects(&self, service: &Service, app: &App) -> anyhow::Result<Vec<Value>> {
        let mut hpa = service.hpa.clone().unwrap_or_default();
        pace::shorten_behavior(&mut hpa);
        let replicas = hpa["spec"]["minReplicas"].as_u64().unwrap_or(1);
        let mut objects = vec![
            self.deployment(u32::try_from(replicas)?, app),
            sample::service(self.name),
        ];
        let mut metrics = self.metrics(service)?;
        for document in &mut metrics {
            give_token(document, app);
        }
        objects.extend(metrics);
        objects.push(hpa);
        objects.iter_mut().for_each(leave_namespace);
        Ok(objects)
    }

    /// What tells the adapter how the service is measured.
    pub(super) fn metrics(&self, service: &Service) -> anyhow::Result<Vec<Value>> {
        let metrics = service.metrics.clone().unwrap_or_default();
        let several = metrics["items"].as_array().cloned();
        let mut documents = several.unwrap_or_else(|| vec![metrics]);
        for document in &mut documents {
            pace::shorten_window(document)?;
            let redis = document.pointer_mut("/spec/source/redis");
            if let (Some(source), Some(redis)) = (redis, self.redis) {
                source["address"] = format!("{}:6379", redis.address()).into();
            }
            leave_namespace(document);
        }
        Ok(documents)
    }

    /// The arguments of a pod.
    pub(super) fn args(&self, app: &App) -> Vec<String> {
        let mut args = sample_app::flags(app, SPEED);
        if self.is_ordered {
            args.extend(orders::flags());
        }
        if let Some(redis) = self.redis {
            args.push(format!("--redis-host={}", redis.address()));
        }
        args
    }

    fn deployment(&self, replicas: u32, app: &App) -> Value {
        let mut deployment = sample::deployment(self.name, replicas, &[]);
        deployment["spec"]["strategy"] = json!({"rollingUpdate": {"maxUnavailable": 0}});
        let pod = &mut deployment["spec"]["template"]["spec"];
        if self.is_ordered {
            orders::mount(pod, self.name);
        }
        let container = &mut pod["containers"][0];
        container["args"] = json!(self.args(app));
        container["resources"]["requests"]["cpu"] = format!("{}m", app.cpu_request).into();
        container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": LEAVE_S}}});
        if let (Some(token), Some(env)) = (&app.token, container["env"].as_array_mut()) {
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

/// Lets the adapter scrape with the token that the pods want.
fn give_token(document: &mut Value, app: &App) {
    let token = document.pointer_mut("/spec/source/pods/headers/X-Auth-Token");
    if let (Some(header), Some(token)) = (token, &app.token) {
        *header = json!({"value": token});
    }
}
