//! What is played: the scenario with its own HPAs, and once more with each HPA that was given. Which service a file is
//! for, and what the run with it is called, is decided here.

use std::path::Path;

use anyhow::{Context, bail, ensure};
use serde_json::Value;
use taffrail_loadtest::report::html::compare::RUNS_MAX;
use taffrail_loadtest::scenario::Scenario;

use super::resolve;
use crate::config::autoscaler;
use crate::sim::Plan;

/// What the run with the scenario's own HPAs is called.
const OWN: &str = "scenario";

/// A scenario under certain HPAs.
#[derive(Debug)]
pub(super) struct Variant {
    /// What tells it from the others.
    pub(super) name: String,
    pub(super) plan: Plan,
    /// What a reader of it should know.
    pub(super) notes: Vec<String>,
}

/// The text of an HPA's file.
#[derive(Debug)]
pub(super) struct Given {
    /// As it was given.
    pub(super) path: String,
    pub(super) text: String,
}

/// An HPA that was given, and what it is for.
struct Candidate {
    /// What it may be called, the shortest first.
    names: Vec<String>,
    service: String,
    object: Value,
}

/// The variants in the order of reports: the scenario's own where it has an HPA or none is given, then those given.
/// `read` has the text of a trace.
pub(super) fn all(
    scenario: &Scenario,
    given: &[Given],
    read: impl Fn(&str) -> std::io::Result<String>,
) -> anyhow::Result<Vec<Variant>> {
    let has_own = scenario
        .services
        .values()
        .any(|service| service.hpa.is_some());
    let mut variants = Vec::new();
    if has_own || given.is_empty() {
        let (plan, notes) = resolve::plan(scenario.clone(), &read)?;
        variants.push(Variant {
            name: OWN.to_owned(),
            plan,
            notes,
        });
    }
    ensure!(
        variants.len() + given.len() <= RUNS_MAX,
        "{} HPAs are more than can be told apart side by side; give {} at most",
        variants.len() + given.len(),
        RUNS_MAX - variants.len(),
    );
    let candidates = given.iter().map(|file| {
        let candidate = candidate(scenario, file);
        candidate.with_context(|| file.path.clone())
    });
    let candidates: Vec<Candidate> = candidates.collect::<anyhow::Result<_>>()?;
    let names = names(&candidates)?;
    for ((candidate, name), file) in candidates.into_iter().zip(names).zip(given) {
        let mut scenario = scenario.clone();
        if let Some(service) = scenario.services.get_mut(&candidate.service) {
            service.hpa = Some(candidate.object);
        }
        let (plan, notes) = resolve::plan(scenario, &read).with_context(|| file.path.clone())?;
        variants.push(Variant { name, plan, notes });
    }
    Ok(variants)
}

/// The service is the one that the HPA scales by its `scaleTargetRef`, or else that of its name, or of its file's; or the
/// only one that can be meant.
fn candidate(scenario: &Scenario, file: &Given) -> anyhow::Result<Candidate> {
    let object = autoscaler::object_from_yaml(&file.text)?;
    let text = |pointer: &str| {
        let text = object.pointer(pointer).and_then(Value::as_str);
        text.map(str::to_owned)
    };
    let stem = Path::new(&file.path).file_stem();
    let stem = stem.map(|stem| stem.to_string_lossy().into_owned());
    let name = text("/metadata/name");
    let words = [
        text("/spec/scaleTargetRef/name"),
        name.clone(),
        stem.clone(),
    ];
    let mut named = words.into_iter().flatten();
    let of_word = named.find(|word| scenario.services.contains_key(word));
    let Some(service) = of_word.or_else(|| only(scenario)) else {
        let services = scenario.services.keys().map(String::as_str);
        bail!(
            "which service this HPA is for cannot be told: set spec.scaleTargetRef.name, or metadata.name, to one of {}",
            services.collect::<Vec<_>>().join(", ")
        );
    };
    let names = [name, stem, Some(file.path.clone())];
    Ok(Candidate {
        names: names.into_iter().flatten().collect(),
        service,
        object,
    })
}

/// The only service that has an HPA, or else the only one that there is.
fn only(scenario: &Scenario) -> Option<String> {
    let scaled = || {
        let services = scenario.services.iter();
        services.filter(|(_, service)| service.hpa.is_some())
    };
    let mut names: Vec<&String> = scaled().map(|(name, _)| name).collect();
    if names.is_empty() {
        names.extend(scenario.services.keys());
    }
    match names.as_slice() {
        [only] => Some((*only).clone()),
        _ => None,
    }
}

/// A name for each: that of the object where no other has it, or else the file's, or else its path. Files that are
/// compared are often versions of one object, which have its name all of them.
fn names(candidates: &[Candidate]) -> anyhow::Result<Vec<String>> {
    let is_taken = |name: &String, by: usize| {
        let mut others = candidates.iter().enumerate().filter(|(nth, _)| *nth != by);
        name == OWN || others.any(|(_, other)| other.names.contains(name))
    };
    let name = |(nth, candidate): (usize, &Candidate)| {
        let mut names = candidate.names.iter();
        // The service's own name tells nothing.
        let free = names.find(|name| **name != candidate.service && !is_taken(name, nth));
        free.cloned().with_context(|| {
            let path = candidate.names.last().map_or("", String::as_str);
            format!("{path} is given twice")
        })
    };
    candidates.iter().enumerate().map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVICE: &str = "{ app: { workers: 4, serviceTime: 10ms } }";

    fn scenario(services: &[&str], hpa_of: &[&str]) -> Scenario {
        let mut text = "name: shop\nservices:\n".to_owned();
        for name in services {
            let hpa = if hpa_of.contains(name) {
                ", hpa: { spec: { maxReplicas: 3 } } }"
            } else {
                " }"
            };
            text += &format!("  {name}: {}{hpa}\n", SERVICE.strip_suffix(" }").unwrap());
        }
        text += &format!(
            "scenarios: {{ main: {{ service: {}, profile: 20@5s }} }}\n",
            services[0]
        );
        let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        Scenario::read("shop.yaml", &text, none).unwrap()
    }

    fn given(path: &str, head: &str) -> Given {
        Given {
            path: path.to_owned(),
            text: format!("{head}\nspec: {{ maxReplicas: 7 }}"),
        }
    }

    fn played(scenario: &Scenario, given: &[Given]) -> Result<Vec<String>, String> {
        let none = |_: &str| Err(std::io::ErrorKind::NotFound.into());
        let variants = all(scenario, given, none).map_err(|error| format!("{error:#}"))?;
        Ok(variants.into_iter().map(|variant| variant.name).collect())
    }

    #[test]
    fn a_run_is_called_as_its_object_or_else_as_its_file() {
        let one = scenario(&["users"], &["users"]);
        let cases = [
            (vec![], vec!["scenario"]),
            (
                vec![given("a/slow.yaml", "metadata: {name: gentle}")],
                vec!["scenario", "gentle"],
            ),
            (
                vec![given("a/slow.yaml", "metadata: {name: users}")],
                vec!["scenario", "slow"],
            ),
            (
                vec![given("scenario.yaml", "")],
                vec!["scenario", "scenario.yaml"],
            ),
            (
                vec![
                    given("a/slow.yaml", "metadata: {name: x}"),
                    given("a/fast.yaml", "metadata: {name: x}"),
                ],
                vec!["scenario", "slow", "fast"],
            ),
            (
                vec![given("a/hpa.yaml", ""), given("b/hpa.yaml", "")],
                vec!["scenario", "a/hpa.yaml", "b/hpa.yaml"],
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(played(&one, &given).unwrap(), expected);
        }
        let twice = [given("a.yaml", ""), given("a.yaml", "")];
        assert_eq!(played(&one, &twice).unwrap_err(), "a.yaml is given twice");
        let many: Vec<Given> = (0..8).map(|n| given(&format!("{n}.yaml"), "")).collect();
        assert!(played(&one, &many).unwrap_err().contains("give 7 at most"));
    }

    #[test]
    fn a_scenario_without_an_hpa_has_no_column_beside_those_given() {
        let none = scenario(&["users"], &[]);
        assert_eq!(played(&none, &[]).unwrap(), ["scenario"]);
        let names = played(&none, &[given("a.yaml", ""), given("b.yaml", "")]);
        assert_eq!(names.unwrap(), ["a", "b"]);
    }

    #[test]
    fn the_service_is_told_by_the_target_the_name_the_file_or_by_being_the_only_one() {
        let shop = scenario(&["orders", "users"], &["orders", "users"]);
        let service = |scenario: &Scenario, path, head| {
            candidate(scenario, &given(path, head)).map(|candidate| candidate.service)
        };
        let scales = "spec: { scaleTargetRef: { name: users } }";
        let text = Given {
            path: "orders.yaml".to_owned(),
            text: format!("metadata: {{ name: orders }}\n{scales}"),
        };
        assert_eq!(candidate(&shop, &text).unwrap().service, "users");
        assert_eq!(
            service(&shop, "x.yaml", "metadata: {name: orders}").unwrap(),
            "orders"
        );
        assert_eq!(
            service(&shop, "users.yaml", "metadata: {name: x}").unwrap(),
            "users"
        );
        let error = service(&shop, "x.yaml", "").unwrap_err().to_string();
        assert!(error.ends_with("to one of orders, users"), "{error}");
        let one_scaled = scenario(&["orders", "users"], &["users"]);
        assert_eq!(service(&one_scaled, "x.yaml", "").unwrap(), "users");
    }
}
