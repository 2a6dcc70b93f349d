//! The pages of the samples: the commands that need no cluster.

use std::path::Path;
use std::process::Command;

use taffrail_loadtest::scenario::Scenario;

use super::page::commands;
use super::{SAMPLES, render, text};
use crate::fixtures::{objects, restricted, tools};

/// The pages, below `deploy/samples`.
const PAGES: [&str; 6] = [
    "README.md",
    "visits/README.md",
    "hello/README.md",
    "invoices/README.md",
    "internal/README.md",
    "users-and-shifts/README.md",
];

#[test]
fn v_15_the_commands_of_the_pages_run() {
    let tools_dir = tools::program("kubectl");
    let programs = Path::new(env!("CARGO_BIN_EXE_taffrail")).parent();
    let path = format!(
        "{}:{}:/usr/bin:/bin",
        programs.unwrap().display(),
        tools_dir.parent().unwrap().display()
    );
    for page in PAGES {
        let script = commands(&format!("{SAMPLES}/{page}"), "sh");
        assert!(!script.is_empty(), "{page} has no commands");
        let home = tempfile::tempdir().unwrap();
        let script = format!("set -euxo pipefail\n{}", script.replace("/tmp/", "$HOME/"));
        let output = Command::new("bash")
            .args(["-c", &script])
            .current_dir(tools::ROOT)
            .env("PATH", &path)
            .env("HOME", home.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{page}: {}", tools::said(&output));
    }
}

#[test]
fn v_15_every_page_says_how_it_is_deployed_what_must_hold_and_what_differs() {
    for page in &PAGES[1..] {
        let path = format!("{}/{SAMPLES}/{page}", tools::ROOT);
        let text = std::fs::read_to_string(path).unwrap();
        for heading in [
            "## Deploy it",
            "## What must hold",
            "## How dev and production differ",
        ] {
            assert!(text.contains(heading), "{page}: no {heading}");
        }
        assert!(!commands(&format!("{SAMPLES}/{page}"), "sh cluster").is_empty());
    }
}

#[test]
fn e_11_metrics_server_is_stated_as_a_requirement() {
    for page in ["README.md", "internal/README.md"] {
        let text = std::fs::read_to_string(format!("{}/{SAMPLES}/{page}", tools::ROOT)).unwrap();
        assert!(text.contains("metrics-server"), "{page}");
    }
}

#[test]
fn f_07_the_page_translates_every_field_of_the_dead_form() {
    let page = format!("{}/{SAMPLES}/users-and-shifts/README.md", tools::ROOT);
    let text = std::fs::read_to_string(page).unwrap();
    for dead in [
        "autoscaling/v2beta1",
        "metricName",
        "metricSelector",
        "targetValue",
        "targetAverageValue",
        "targetAverageUtilization",
    ] {
        let row = text
            .lines()
            .find(|line| line.starts_with('|') && line.contains(dead));
        assert!(row.is_some(), "{dead} is not translated");
    }
}

#[test]
fn a_load_is_for_the_overlay_of_dev_and_is_taken_where_that_is() {
    for system in ["visits", "hello", "internal", "users-and-shifts"] {
        let load = format!("{SAMPLES}/{system}/load");
        let objects = objects::read(&tools::kustomize(&load));
        let faults = restricted::faults(&objects);
        assert!(faults.is_empty(), "{system}: {faults:#?}");
        let config = objects::one(&objects, "ConfigMap", "taffrail-loadtest");
        let scenario = &objects::read(text(config, "/data/scenario.yaml"))[0];
        let namespace = text(scenario, "/observe/hpa/namespace");
        for object in &objects {
            assert_eq!(text(object, "/metadata/namespace"), namespace, "{system}");
        }
        let dev = render(&format!("{system}/dev"));
        let hpa = dev.one(
            "HorizontalPodAutoscaler",
            text(scenario, "/observe/hpa/name"),
        );
        // The chart's namespace is whoever installs it's to say; the page says the same.
        let of_chart = format!("{system}-dev");
        let expected = hpa["metadata"]["namespace"].as_str().unwrap_or(&of_chart);
        assert_eq!(namespace, expected);
        let file = format!("{}/{load}/scenario.yaml", tools::ROOT);
        Scenario::load(Path::new(&file)).unwrap();
    }
}

#[test]
fn v_08_the_smallest_sample_and_the_load_are_as_closed_as_the_systems() {
    for directory in ["deploy/samples/users", "deploy/loadtest"] {
        let objects = objects::read(&tools::kustomize(directory));
        assert_eq!(restricted::faults(&objects), [""; 0], "{directory}");
        let pods = restricted::pods(&objects);
        assert_eq!(pods.len(), 1, "{directory}");
        for (_, spec) in pods {
            assert_eq!(spec["enableServiceLinks"], false, "{directory}");
            assert_eq!(spec["securityContext"]["runAsGroup"], 65532, "{directory}");
            assert!(!text(&spec["containers"][0], "/image").ends_with(":latest"));
        }
    }
}
