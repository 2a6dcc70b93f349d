//! V-06 and F-06: dev and production differ where that is meant, and nowhere else. Every place where two renders differ is
//! listed here; a new difference is a decision that belongs into this list, and one that is gone leaves it.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Render, render};

/// Where production differs for every Deployment: it is pinned and spread by force.
const HARD: [&str; 4] = [
    "spec.template.spec.containers.0.image",
    "spec.template.spec.affinity.podAntiAffinity",
    "spec.template.spec.topologySpreadConstraints.0",
    "spec.template.spec.topologySpreadConstraints.1",
];

/// Every value of a render by its place, as `Kind/name: field.field`. The namespace's name is in nearly all objects, so it
/// is written as its environment-free part; generated names lose their hash.
fn places(render: &Render) -> BTreeMap<String, String> {
    let (_, environment) = render.name.split_once('/').unwrap();
    let mut found = BTreeMap::new();
    for object in &render.objects {
        let kind = object["kind"].as_str().unwrap();
        let name = without_hash(object["metadata"]["name"].as_str().unwrap());
        let name = name.replace(&format!("-{environment}"), "");
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or_default();
        let namespace = namespace.replace(&format!("-{environment}"), "");
        flatten(
            object,
            &format!("{kind} {namespace}/{name}: "),
            environment,
            &mut found,
        );
    }
    found
}

fn flatten(value: &Value, at: &str, environment: &str, into: &mut BTreeMap<String, String>) {
    let below = |key: &str| match at.ends_with(": ") {
        true => format!("{at}{key}"),
        false => format!("{at}.{key}"),
    };
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (key, value) in fields {
                flatten(value, &below(key), environment, into);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, value) in items.iter().enumerate() {
                flatten(value, &below(&index.to_string()), environment, into);
            }
        }
        Value::String(text) => {
            let text = text.replace(&format!("-{environment}"), "");
            into.insert(at.to_owned(), without_hash(&text).to_owned());
        }
        other => {
            into.insert(at.to_owned(), other.to_string());
        }
    }
}

/// A name without the hash that kustomize appends: ten characters, of which at least one is a digit here.
fn without_hash(name: &str) -> &str {
    match name.rsplit_once('-') {
        Some((stem, hash))
            if hash.len() == 10
                && hash
                    .bytes()
                    .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
                && hash.bytes().any(|byte| byte.is_ascii_digit()) =>
        {
            stem
        }
        _ => name,
    }
}

/// The places where the two renders of a system differ.
fn differences(system: &str) -> BTreeSet<String> {
    let [dev, prod] = ["dev", "prod"].map(|it| places(render(&format!("{system}/{it}"))));
    let all: BTreeSet<&String> = dev.keys().chain(prod.keys()).collect();
    let differs = |place: &&&String| dev.get(**place) != prod.get(**place);
    all.iter()
        .filter(differs)
        .map(|place| (**place).clone())
        .collect()
}

/// That a system differs at the places that begin so and at no other, and that each of them is one.
fn differs_at(system: &str, meant: &[String]) {
    let found = differences(system);
    let is_meant = |place: &String| meant.iter().any(|meant| place.starts_with(meant.as_str()));
    let unmeant: Vec<&String> = found.iter().filter(|place| !is_meant(place)).collect();
    assert!(unmeant.is_empty(), "{system} differs at {unmeant:#?}");
    for meant in meant {
        assert!(
            found.iter().any(|place| place.starts_with(meant.as_str())),
            "{system} does not differ at {meant}"
        );
    }
}

/// What is meant for every Deployment, and what else is meant.
fn meant(deployments: &[&str], more: &[&str]) -> Vec<String> {
    let hard = deployments
        .iter()
        .flat_map(|deployment| HARD.map(|place| format!("Deployment {deployment}: {place}")));
    hard.chain(more.iter().map(|place| (*place).to_owned()))
        .collect()
}

#[test]
fn v_06_visits_keeps_its_count_in_production_and_its_secret_is_made_there() {
    let more = [
        "Secret visits/redis: ",
        "StatefulSet visits/db: spec.template.spec.containers.0.image",
        "StatefulSet visits/db: spec.template.spec.volumes",
        "StatefulSet visits/db: spec.volumeClaimTemplates.0",
    ];
    differs_at("visits", &meant(&["visits/visits"], &more));
}

#[test]
fn v_06_hello_goes_to_spot_nodes_in_production_and_its_secret_is_made_there() {
    let more = [
        "Secret hello/hello-token: ",
        "Ingress hello/hello: spec.rules.0.host",
        "Ingress hello/hello: spec.tls.0.hosts",
        "Deployment hello/hello: spec.template.spec.tolerations",
        "Deployment hello/hello: spec.template.spec.affinity.nodeAffinity",
        "Deployment hello/hello: spec.template.spec.terminationGracePeriodSeconds",
    ];
    differs_at("hello", &meant(&["hello/hello"], &more));
}

#[test]
fn v_06_invoices_and_payments_are_only_pinned_and_spread() {
    differs_at(
        "invoices",
        &meant(&["invoices/invoices", "payments/payments"], &[]),
    );
}

#[test]
fn f_06_users_and_shifts_are_two_at_least_in_production() {
    let more = [
        "HorizontalPodAutoscaler 7shifts/users: spec.minReplicas",
        "HorizontalPodAutoscaler 7shifts/shifts: spec.minReplicas",
    ];
    differs_at(
        "users-and-shifts",
        &meant(&["7shifts/users", "7shifts/shifts"], &more),
    );
}
