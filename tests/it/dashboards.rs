//! The boards of `dashboards/`: that they are what their sources make, that they keep the rules of Grafana's linter, and
//! that every query on them answers, when all is well and in two faults. No Grafana is started here: what it does with a
//! board is taken from its documentation.

mod board;
mod empty;
pub(crate) mod findings;
mod lint;
mod live;
mod looks;
mod names;
mod pages;
mod promql;
mod stage;

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::fixtures::objects;
use crate::fixtures::tools::{ROOT, said};
use board::Board;

/// The boards, by the names of their files.
const BOARDS: [&str; 4] = ["adapter", "fleet", "hpa", "slo"];

/// The files of `dashboards/rules/`.
const RULES: [&str; 2] = ["alerts.yaml", "recording.yaml"];

/// A file or folder of `dashboards/`.
fn path(of: &str) -> PathBuf {
    Path::new(ROOT).join("dashboards").join(of)
}

fn boards() -> Vec<Board> {
    BOARDS.iter().map(|name| Board::read(name)).collect()
}

/// A rule of `dashboards/rules/`.
struct Rule {
    /// The series that it records, or the alert that it raises.
    name: String,
    records: bool,
    expr: String,
}

fn rules() -> Vec<Rule> {
    let mut rules = Vec::new();
    for file in RULES {
        let text = std::fs::read_to_string(path("rules").join(file)).unwrap();
        for document in objects::read(&text) {
            let groups = document["groups"].as_array().unwrap();
            for rule in groups
                .iter()
                .flat_map(|group| group["rules"].as_array().unwrap())
            {
                let text = |field: &str| rule[field].as_str().map(str::to_owned);
                rules.push(Rule {
                    name: text("record").or_else(|| text("alert")).unwrap(),
                    records: rule.get("record").is_some(),
                    expr: text("expr").unwrap(),
                });
            }
        }
    }
    rules
}

#[test]
fn the_boards_are_what_their_sources_make() {
    let made = tempfile::tempdir().unwrap();
    let output = Command::new("jsonnet")
        .arg("--multi")
        .arg(made.path())
        .arg(path("source/boards.jsonnet"))
        .output()
        .expect("jsonnet, which tests/run installs");
    assert!(output.status.success(), "{}", said(&output));
    let names = |folder: &Path| {
        let mut names: Vec<_> = folder
            .read_dir()
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(made.path()), names(&path("boards")));
    for name in BOARDS {
        let file = format!("{name}.json");
        let new = std::fs::read_to_string(made.path().join(&file)).unwrap();
        let kept = std::fs::read_to_string(path("boards").join(&file)).unwrap();
        assert!(
            new == kept,
            "boards/{file} is not what source/ makes: run jsonnet --multi dashboards/boards dashboards/source/boards.jsonnet"
        );
    }
}
