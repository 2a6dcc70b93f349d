//! Holds that schema and resolver know the same fields and agree on objects. What the API server says of the same
//! objects is for the tests that run one.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::*;
use crate::config;

/// Fields of a document that an object must not have, so that the schema lacks them.
const FILE_ONLY: [&str; 6] = ["targets", "file", "env", "caFile", "certFile", "keyFile"];

/// A source that is known and not read yet: the schema gets it with the first release that reads it.
const NOT_YET: &str = "prometheus";

/// One object, and what is said of it; nothing where it is good.
#[derive(Deserialize)]
struct Case {
    case: String,
    spec: Value,
    api_server: Option<String>,
    adapter: Option<String>,
}

fn object(spec: &Value) -> String {
    json!({
        "apiVersion": "taffrail.dev/v1alpha1",
        "kind": "RequestMetrics",
        "metadata": {"name": "users", "namespace": "shop"},
        "spec": spec,
    })
    .to_string()
}

fn schema() -> Value {
    let definition = serde_json::to_value(definition().unwrap()).unwrap();
    definition["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn the_file_in_deploy_is_the_definition() {
    assert!(
        yaml().unwrap() == include_str!("../../../deploy/chart/crd.yaml"),
        "deploy/chart/crd.yaml is not what is printed; write it anew: cargo run -- crd > deploy/chart/crd.yaml && deploy/render"
    );
}

#[test]
fn the_adapter_says_of_each_case_what_is_written_there() {
    let cases = include_str!("../../../tests/data/request-metrics/cases.json");
    let cases: Vec<Case> = serde_json::from_str(cases).unwrap();
    for Case {
        case,
        spec,
        api_server,
        adapter,
    } in &cases
    {
        match (config::object(&object(spec)), adapter) {
            (Ok(_), None) => {}
            (Err(problem), Some(said)) => {
                assert!(problem.message.contains(said), "{case}: {problem}");
            }
            (Ok(_), Some(_)) => panic!("{case}: taken"),
            (Err(problem), None) => panic!("{case}: {problem}"),
        }
        // Whoever reads a good object with these types reads all of it.
        if api_server.is_none() && adapter.is_none() {
            let read: RequestMetricsSpec = serde_json::from_value(spec.clone()).unwrap();
            let written = serde_json::to_value(&read).unwrap();
            assert!(includes(&written, spec), "{case}: {written}");
            assert!(config::object(&object(&written)).is_ok(), "{case}");
        }
    }
    assert!(cases.iter().any(|case| case.api_server.is_some()));
}

/// Whether everything of `part` is in `whole`, where defaults are filled in.
fn includes(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => part
            .iter()
            .all(|(name, part)| whole.get(name).is_some_and(|whole| includes(whole, part))),
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len()
                && whole
                    .iter()
                    .zip(part)
                    .all(|(whole, part)| includes(whole, part))
        }
        (Value::Number(whole), Value::Number(part)) => whole.as_f64() == part.as_f64(),
        _ => whole == part,
    }
}

/// Asks the adapter, place by place, which fields it knows: it lists them when it meets one it does not know.
#[test]
fn the_schema_and_the_adapter_know_the_same_fields() {
    let schema = schema();
    let mut places = 0;
    visit(&schema["properties"]["spec"], &mut Vec::new(), &mut places);
    assert!(20 < places, "only {places} places were looked at");
}

/// A step from a field to what is in it.
#[derive(Clone, Debug)]
enum Step {
    Field(String),
    /// Into a list's only item.
    Item,
}

fn visit(schema: &Value, path: &mut Vec<Step>, places: &mut usize) {
    if let Some(fields) = schema["properties"].as_object() {
        *places += 1;
        compare(fields, path);
        for (name, inner) in fields {
            path.push(Step::Field(name.clone()));
            visit(inner, path, places);
            path.pop();
        }
    }
    for (inner, step) in [
        (&schema["items"], Step::Item),
        (&schema["additionalProperties"], Step::Field("x".to_owned())),
    ] {
        if inner.is_object() {
            path.push(step);
            visit(inner, path, places);
            path.pop();
        }
    }
}

fn compare(fields: &Map<String, Value>, path: &[Step]) {
    let mut spec = json!({"bogus": 1});
    for step in path.iter().rev() {
        spec = match step {
            Step::Field(name) => json!({ name: spec }),
            Step::Item => json!([spec]),
        };
    }
    let message = config::object(&object(&spec)).unwrap_err().message;
    let known = message
        .split_once("expected one of ")
        .unwrap_or_else(|| panic!("{path:?}: {message}"))
        .1;
    let known: BTreeSet<&str> = known
        .split(", ")
        .filter(|name| !FILE_ONLY.contains(name) && *name != NOT_YET)
        .collect();
    let ours: BTreeSet<&str> = fields.keys().map(String::as_str).collect();
    assert_eq!(ours, known, "{path:?}");
}

#[test]
fn every_text_and_list_of_the_spec_is_bounded_and_every_field_is_explained() {
    fn check(schema: &Value, path: &str) {
        let bound = match schema["type"].as_str() {
            Some("string") if schema["enum"].is_null() => "maxLength",
            Some("array") => "maxItems",
            Some("object") if schema["additionalProperties"].is_object() => "maxProperties",
            _ => "",
        };
        assert!(
            bound.is_empty() || schema[bound].is_u64(),
            "{path}: no {bound}"
        );
        for (name, inner) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{path}.{name}");
            assert!(inner["description"].is_string(), "{path}: no description");
            check(inner, &path);
        }
        for inner in ["items", "additionalProperties"] {
            if schema[inner].is_object() {
                check(&schema[inner], &format!("{path}[]"));
            }
        }
    }
    check(&schema()["properties"]["spec"], "spec");
}

#[test]
fn the_defaults_are_the_adapters_own() {
    let written = json!({"source": {"pods": {"selector": {"matchLabels": {"app": "users"}}}}});
    let filled: RequestMetricsSpec = serde_json::from_value(written.clone()).unwrap();
    let filled = serde_json::to_value(filled).unwrap();
    assert_eq!(filled["window"], "30s");
    assert_eq!(
        config::object(&object(&filled)),
        config::object(&object(&written))
    );
}
