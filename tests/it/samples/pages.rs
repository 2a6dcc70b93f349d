//! The pages of the samples: the commands that need no cluster.

use std::path::Path;
use std::process::Command;

use super::SAMPLES;
use super::page::commands;
use crate::fixtures::tools;

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
