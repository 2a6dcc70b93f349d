//! The manifests of the pages, taken as a user would take them: objects by `taffrail lint`, values by the chart, scenarios
//! by the load generator. `tests/cluster/documents.rs` gives the same objects to a real API server.

use std::io::Write;
use std::process::{Command, Output, Stdio};

use serde_json::Value;

use super::commands::programs;
use super::page::{self, Block, Page};
use crate::fixtures::{objects, tools};

/// What makes a list of metrics an HPA.
const HPA: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: users}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: users}
  minReplicas: 2
  maxReplicas: 10
  behavior: {scaleUp: {policies: [{type: Percent, value: 100, periodSeconds: 60}]}}
";

/// How many of each there are at least: a reader that finds none would find nothing wrong.
const LEAST: usize = 5;

/// Every block of YAML with these words, and those that are files.
fn blocks(word: Option<&str>) -> Vec<(Page, Block)> {
    let mut found = Vec::new();
    for page in page::documented() {
        for block in page.blocks() {
            let is_meant = match word {
                Some(word) => block.is("yaml", &[word]),
                None => block.is("yaml", &[]) || block.language == "yaml" && block.file().is_some(),
            };
            if is_meant {
                let page = Page::read(&page.path);
                found.push((page, block));
            }
        }
    }
    found
}

fn is_values(block: &Block) -> bool {
    block
        .file()
        .is_some_and(|file| file.ends_with("values.yaml"))
}

fn is_scenario(block: &Block) -> bool {
    block.text.starts_with("apiVersion: loadtest/")
}

fn fed(program: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(programs().join(program))
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child
        .stdin
        .take()
        .unwrap()
        .write_all(input.as_bytes())
        .unwrap();
    child.wait_with_output().unwrap()
}

/// A block as whole objects.
fn whole(block: &Block) -> String {
    match block.text.starts_with("metrics:") {
        false => block.text.clone(),
        true => {
            let mut hpa = String::from(HPA);
            for line in block.text.lines() {
                hpa.push_str(&format!("  {line}\n"));
            }
            hpa
        }
    }
}

/// Whether there is anything among objects that lint knows.
fn is_ours(objects: &[Value]) -> bool {
    let kinds = ["HorizontalPodAutoscaler", "RequestMetrics"];
    objects
        .iter()
        .any(|object| kinds.contains(&object["kind"].as_str().unwrap_or_default()))
}

#[test]
fn every_hpa_and_requestmetrics_of_the_pages_is_without_a_finding() {
    let mut linted = 0;
    for (page, block) in blocks(None) {
        if is_values(&block) || is_scenario(&block) {
            continue;
        }
        let at = format!("{}:{}", page.path, block.line);
        let text = whole(&block);
        let objects = objects::read(&text);
        for object in &objects {
            assert!(
                object["apiVersion"].is_string() && object["kind"].is_string(),
                "{at}: no object: {object}"
            );
        }
        if is_ours(&objects) {
            linted += 1;
            let output = fed("taffrail", &["lint", "--strict", "-"], &text);
            assert!(output.status.success(), "{at}: {}", tools::said(&output));
        }
    }
    assert!(LEAST < linted, "only {linted}");
}

#[test]
fn every_values_file_of_the_pages_renders() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("values.yaml");
    let mut rendered = 0;
    for (page, block) in blocks(None)
        .into_iter()
        .filter(|(_, block)| is_values(block))
    {
        rendered += 1;
        std::fs::write(&file, &block.text).unwrap();
        let args = [
            "template",
            "taffrail",
            "deploy/chart",
            "--namespace=taffrail",
            "--values",
            file.to_str().unwrap(),
        ];
        let output = tools::run("helm", &args);
        assert!(
            output.status.success(),
            "{}:{}: {}",
            page.path,
            block.line,
            tools::said(&output)
        );
        let objects = objects::read(&String::from_utf8(output.stdout).unwrap());
        assert!(
            objects::of_kind(&objects, "Deployment").count() == 1,
            "{:?}",
            objects::names(&objects)
        );
    }
    assert!(LEAST <= rendered, "only {rendered}");
}

#[test]
fn every_scenario_of_the_pages_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let mut checked = 0;
    for (page, block) in blocks(None)
        .into_iter()
        .filter(|(_, block)| is_scenario(block))
    {
        checked += 1;
        let file = folder.path().join("scenario.yaml");
        std::fs::write(&file, &block.text).unwrap();
        let output = Command::new(programs().join("taffrail-loadtest"))
            .args(["lint", "--strict"])
            .arg(&file)
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}:{}: {}",
            page.path,
            block.line,
            tools::said(&output)
        );
    }
    assert!(0 < checked);
}

#[test]
fn f_07_old_forms_are_shown_as_such_and_lint_says_so() {
    let old = blocks(Some("old"));
    assert!(LEAST <= old.len(), "only {}", old.len());
    let mut dead = 0;
    for (page, block) in old {
        let objects = objects::read(&block.text);
        assert!(!objects.is_empty(), "{}:{}", page.path, block.line);
        let version = |object: &Value| object["apiVersion"] == "autoscaling/v2beta1";
        if objects.iter().any(version) {
            dead += 1;
            let output = fed("taffrail", &["lint", "--format=json", "-"], &block.text);
            let said: Value = serde_json::from_slice(&output.stdout).unwrap();
            assert_eq!(said["findings"][0]["rule"], "hpa-old-version", "{said:#}");
        }
    }
    assert_eq!(dead, 1);
}

#[test]
fn what_is_of_other_projects_is_yaml_at_least() {
    let foreign = blocks(Some("foreign"));
    assert!(!foreign.is_empty());
    for (_, block) in foreign {
        assert!(!objects::read(&block.text).is_empty());
    }
}

/// The README's table and the sample, so that a newcomer who copies one has the other.
#[test]
fn the_objects_of_the_readme_are_those_of_the_sample() {
    let readme = Page::read("README.md");
    let section = readme.section("The first HPA");
    let shown = section
        .iter()
        .find(|block| block.is("yaml", &[]))
        .expect("the README shows the objects of the sample");
    let shown = objects::read(&shown.text);
    for (file, kind) in [
        ("requestmetrics.yaml", "RequestMetrics"),
        ("hpa.yaml", "HorizontalPodAutoscaler"),
    ] {
        let path = format!("{}/deploy/samples/users/{file}", tools::ROOT);
        let shipped = objects::read(&std::fs::read_to_string(path).unwrap());
        assert_eq!(
            objects::one(&shown, kind, "users"),
            objects::one(&shipped, kind, "users")
        );
    }
}
