//! The five systems of `deploy/samples`, as kubectl and Helm render them: each test is one thing that a team or its platform
//! must be able to rely on, and bears the name of its row. What needs a cluster to be seen is in `tests/cluster`.

mod differences;
mod every;
mod hello;
mod internal;
mod invoices;
mod page;
mod pages;
mod users_and_shifts;
mod visits;

use std::sync::OnceLock;

use serde_json::Value;

use crate::fixtures::{objects, tools};

/// Where the systems are.
const SAMPLES: &str = "deploy/samples";

/// The systems that kustomize renders; `internal` is a chart.
const KUSTOMIZED: [&str; 4] = ["visits", "hello", "invoices", "users-and-shifts"];

/// One system for one environment.
struct Render {
    /// As `visits/dev`.
    name: String,
    text: String,
    objects: Vec<Value>,
}

impl Render {
    fn of(name: String, text: String) -> Self {
        let objects = objects::read(&text);
        Self {
            name,
            text,
            objects,
        }
    }

    fn is_production(&self) -> bool {
        self.name.ends_with("/prod")
    }

    /// The Deployments, which all scale.
    fn deployments(&self) -> impl Iterator<Item = &Value> {
        objects::of_kind(&self.objects, "Deployment")
    }

    fn one(&self, kind: &str, name: &str) -> &Value {
        objects::one(&self.objects, kind, name)
    }
}

/// The arguments by which Helm renders `internal` for an environment.
fn chart_args(values: &[&str]) -> Vec<String> {
    let chart = format!("{SAMPLES}/internal/chart");
    let args = ["template", "internal", &chart];
    args.iter()
        .chain(values)
        .map(|arg| (*arg).to_owned())
        .collect()
}

fn chart(values: &[&str]) -> String {
    let args = chart_args(values);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    tools::stdout("helm", &args)
}

fn text_of(system: &str, environment: &str) -> String {
    match system {
        "internal" => {
            let values = format!("{SAMPLES}/internal/env/{environment}.yaml");
            chart(&["--values", &values])
        }
        _ => tools::kustomize(&format!("{SAMPLES}/{system}/overlays/{environment}")),
    }
}

/// Every system for dev and for production, rendered once.
fn all() -> &'static [Render] {
    static ALL: OnceLock<Vec<Render>> = OnceLock::new();
    ALL.get_or_init(|| {
        let systems = KUSTOMIZED.into_iter().chain(["internal"]);
        let both = |system| ["dev", "prod"].map(|environment| (system, environment));
        let render = |(system, environment)| {
            Render::of(
                format!("{system}/{environment}"),
                text_of(system, environment),
            )
        };
        systems.flat_map(both).map(render).collect()
    })
}

/// The render of this name, as `visits/dev`.
fn render(name: &str) -> &'static Render {
    let found = all().iter().find(|render| render.name == name);
    found.unwrap_or_else(|| panic!("no render {name}"))
}

/// What stands at a place; the place is a JSON pointer.
fn at<'a>(value: &'a Value, place: &str) -> &'a Value {
    value.pointer(place).unwrap_or(&Value::Null)
}

fn text<'a>(value: &'a Value, place: &str) -> &'a str {
    at(value, place).as_str().unwrap_or_default()
}

fn list<'a>(value: &'a Value, place: &str) -> impl Iterator<Item = &'a Value> {
    at(value, place).as_array().into_iter().flatten()
}

fn name(object: &Value) -> &str {
    text(object, "/metadata/name")
}

/// The one container of a Deployment or StatefulSet.
fn container(workload: &Value) -> &Value {
    let containers = at(workload, "/spec/template/spec/containers");
    assert_eq!(
        containers.as_array().map(Vec::len),
        Some(1),
        "{}",
        name(workload)
    );
    &containers[0]
}

/// A variable of a container.
fn variable<'a>(container: &'a Value, name: &str) -> &'a Value {
    let found = list(container, "/env").find(|variable| variable["name"] == name);
    found.unwrap_or_else(|| panic!("no variable {name} in {container:#}"))
}

/// The labels by which a Deployment finds its pods.
fn pods_of(workload: &Value) -> &Value {
    at(workload, "/spec/selector/matchLabels")
}
