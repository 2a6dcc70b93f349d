//! The objects of a scenario's service as a team would apply them: its Deployment and Service from `app`, and its own
//! HPA and RequestMetrics, in the test's namespace and on the wall's clock.

use serde_json::{Value, json};
use taffrail_loadtest::sample_app;
use taffrail_loadtest::scenario::{App, Service};

use super::{SPEED, pace};
use crate::harness::{Redis, sample};

/// Between an endpoint's being gone and SIGTERM: whoever sends requests must have heard of it, on a busy machine too.
const LEAVE_S: u64 = 3;

/// Every object of a service, the HPA last.
pub(super) fn objects(
    name: &str,
    service: &Service,
    app: &App,
    redis: Option<&Redis>,
) -> anyhow::Result<Vec<Value>> {
    let mut hpa = service.hpa.clone().unwrap_or_default();
    pace::shorten_behavior(&mut hpa);
    let replicas = hpa["spec"]["minReplicas"].as_u64().unwrap_or(1);
    let mut objects = vec![
        deployment(name, u32::try_from(replicas)?, app, redis),
        sample::service(name),
    ];
    let metrics = service.metrics.clone().unwrap_or_default();
    let several = metrics["items"].as_array().cloned();
    for mut document in several.unwrap_or_else(|| vec![metrics]) {
        pace::shorten_window(&mut document)?;
        if let (Some(source), Some(redis)) = (document.pointer_mut("/spec/source/redis"), redis) {
            source["address"] = format!("{}:6379", redis.address()).into();
        }
        objects.push(document);
    }
    objects.push(hpa);
    for object in &mut objects {
        // Theirs is that of the scenario.
        if let Some(metadata) = object["metadata"].as_object_mut() {
            metadata.remove("namespace");
        }
    }
    Ok(objects)
}

/// The arguments of a pod.
pub(super) fn args(app: &App, redis: Option<&Redis>) -> Vec<String> {
    let mut args = sample_app::flags(app, SPEED);
    if let Some(redis) = redis.filter(|_| app.redis) {
        args.push(format!("--redis-host={}", redis.address()));
    }
    args
}

fn deployment(name: &str, replicas: u32, app: &App, redis: Option<&Redis>) -> Value {
    let mut deployment = sample::deployment(name, replicas, &[]);
    deployment["spec"]["strategy"] = json!({"rollingUpdate": {"maxUnavailable": 0}});
    let container = &mut deployment["spec"]["template"]["spec"]["containers"][0];
    container["args"] = json!(args(app, redis));
    container["resources"]["requests"]["cpu"] = format!("{}m", app.cpu_request).into();
    container["lifecycle"] = json!({"preStop": {"sleep": {"seconds": LEAVE_S}}});
    if let (Some(token), Some(env)) = (&app.token, container["env"].as_array_mut()) {
        env.push(json!({"name": "APP_AUTH_TOKEN", "value": token}));
    }
    deployment
}
