//! The scripts: that shellcheck passes each, and that one which cannot do its work says so.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::fixtures::tools::{self, ROOT};

/// Where nothing is but what every Debian has.
const BARE_PATH: &str = "/usr/bin:/bin";

/// Every script of the repository, by its first line; `need.sh` is a part of others.
fn scripts() -> Vec<String> {
    let mut found = vec![".ci/need.sh".to_owned()];
    for directory in [".ci", "tests", "deploy", "loadtest", "dashboards"] {
        search(Path::new(directory), &mut found);
    }
    found.sort();
    found
}

fn search(directory: &Path, found: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(Path::new(ROOT).join(directory)) else {
        return;
    };
    for entry in entries.flatten() {
        let path = directory.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            search(&path, found);
        } else if let Ok(text) = std::fs::read_to_string(entry.path())
            && text.starts_with("#!")
            && text.lines().next().unwrap().ends_with("sh")
        {
            found.push(path.to_str().unwrap().to_owned());
        }
    }
}

pub(super) fn assert_executable(path: &str) {
    let metadata = std::fs::metadata(Path::new(ROOT).join(path));
    let mode = metadata
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .permissions()
        .mode();
    assert!(mode & 0o111 != 0, "{path} cannot be run");
}

#[test]
fn shellcheck_finds_nothing() {
    let scripts = scripts();
    for known in ["tests/run", "tests/controlplane/build", ".ci/run"] {
        assert!(scripts.iter().any(|script| script == known), "{known}");
    }
    let output = Command::new("shellcheck")
        // A function that only a trap calls is no dead code, whatever it takes it for.
        .args(["--external-sources", "--exclude=SC2317"])
        .args(&scripts)
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", tools::said(&output));
}

#[test]
fn a_script_without_its_program_says_that_it_did_not_run_and_fails_in_a_workflow() {
    for (workflow, code) in [("", 0), ("true", 1)] {
        let output = Command::new(Path::new(ROOT).join(".ci/deny"))
            .env_clear()
            .env("PATH", BARE_PATH)
            .env("GITHUB_ACTIONS", workflow)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(code), "{}", tools::said(&output));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            said.starts_with("not run: deny: it needs cargo-deny: cargo install"),
            "{said}"
        );
    }
}

#[test]
fn t_11_make_has_the_words_that_people_type_and_they_are_calls_of_the_scripts() {
    let makefile = std::fs::read_to_string(Path::new(ROOT).join("Makefile")).unwrap();
    let recipes: Vec<&str> = makefile
        .lines()
        .filter_map(|line| line.strip_prefix('\t'))
        .collect();
    assert_eq!(
        recipes,
        [
            ".ci/run",
            ".ci/test",
            ".ci/image $(TAG)",
            ".ci/image-push $(TAG)"
        ]
    );
    for target in ["check", "test", "build", "push"] {
        assert!(makefile.contains(&format!("\n{target}:\n")), "{target}");
    }
    for recipe in recipes {
        assert_executable(recipe.split(' ').next().unwrap());
    }
}
