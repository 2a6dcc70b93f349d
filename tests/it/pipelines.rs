//! The workflows on GitHub, as far as they can be held without it: what they may do, what they call, and that nobody else's
//! code gets in unpinned. The scripts that they call run here as well (`pipelines/scripts.rs`), up to what needs the network.

mod releases;
mod scripts;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use regex::Regex;
use serde_json::Value;

use crate::fixtures::objects;
use crate::fixtures::tools::{self, ROOT};

/// The scripts that publish, and so get the workflow's token; no other does.
const PUBLISHERS: [&str; 6] = [
    "chart-push",
    "github-release",
    "image-index",
    "image-push",
    "release-commit",
    "release-pr",
];

/// A workflow, as text and as YAML.
struct Workflow {
    name: String,
    text: String,
    value: Value,
}

fn workflows() -> Vec<Workflow> {
    let directory = Path::new(ROOT).join(".github/workflows");
    let mut workflows: Vec<Workflow> = std::fs::read_dir(directory)
        .unwrap()
        .map(|entry| {
            let path = entry.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            let value = objects::read(&text).remove(0);
            Workflow { name, text, value }
        })
        .collect();
    workflows.sort_by(|a, b| a.name.cmp(&b.name));
    workflows
}

fn workflow(name: &str) -> Workflow {
    workflows()
        .into_iter()
        .find(|workflow| workflow.name == name)
        .unwrap()
}

impl Workflow {
    fn jobs(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.value["jobs"].as_object().unwrap().iter()
    }

    /// The steps of all jobs.
    fn steps(&self) -> impl Iterator<Item = &Value> {
        self.jobs()
            .filter_map(|(_, job)| job["steps"].as_array())
            .flatten()
    }

    /// The commands of its steps.
    fn commands(&self) -> impl Iterator<Item = &str> {
        self.steps().filter_map(|step| step["run"].as_str())
    }

    /// The actions of its steps, without their commits.
    fn actions(&self) -> impl Iterator<Item = &str> {
        self.steps()
            .filter_map(|step| step["uses"].as_str()?.split('@').next())
    }
}

/// The script that a command calls.
fn script(command: &str) -> &str {
    let words = command
        .strip_prefix(".ci/")
        .unwrap_or_else(|| panic!("no script of .ci/: {command}"));
    words.split(' ').next().unwrap()
}

/// The scripts that `.ci/run` calls.
fn local_steps() -> BTreeSet<String> {
    let run = std::fs::read_to_string(Path::new(ROOT).join(".ci/run")).unwrap();
    let steps = run
        .lines()
        .find_map(|line| line.strip_prefix("for step in "))
        .unwrap();
    steps
        .trim_end_matches("; do")
        .split(' ')
        .map(str::to_owned)
        .collect()
}

#[test]
fn v_05_each_step_is_one_call_of_one_script_that_runs_anywhere() {
    // Arguments are words and variables: an expression of GitHub would be text that a shell then reads.
    let call = Regex::new(r#"^\.ci/[a-z0-9-]+( ([a-z0-9.-]+|"(\$[A-Z]+-?)+"))*$"#).unwrap();
    let mut commands = 0;
    for workflow in workflows() {
        for command in workflow.commands() {
            assert!(call.is_match(command), "{}: {command}", workflow.name);
            scripts::assert_executable(&format!(".ci/{}", script(command)));
            commands += 1;
        }
        for step in workflow.steps() {
            assert!(
                step["run"].is_string() != step["uses"].is_string(),
                "{step}"
            );
            assert!(
                step["shell"].is_null() && step["working-directory"].is_null(),
                "{step}"
            );
        }
    }
    assert!(20 < commands, "{commands}");
}

#[test]
fn v_05_what_a_laptop_runs_the_workflows_run_too() {
    let called: BTreeSet<String> = workflows()
        .iter()
        .flat_map(|workflow| {
            workflow
                .commands()
                .map(|command| script(command).to_owned())
                .collect::<Vec<_>>()
        })
        .collect();
    let local = local_steps();
    for step in ["fmt", "clippy", "test", "doc", "demo"] {
        assert!(local.contains(step), ".ci/run leaves out {step}");
    }
    let missing: Vec<&String> = local.difference(&called).collect();
    assert!(missing.is_empty(), "no workflow calls {missing:?}");
}

#[test]
fn what_cannot_run_without_the_network_is_listed_by_name_and_counted() {
    let list = std::fs::read_to_string(Path::new(ROOT).join(".ci/not-here")).unwrap();
    let listed: BTreeSet<&str> = list
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split(' ').next().unwrap())
        .collect();
    // Those that the tests of this folder run from end to end.
    let mut here = local_steps();
    here.insert("release-plan".to_owned());
    let workflows = workflows();
    let mut elsewhere = BTreeSet::new();
    for workflow in &workflows {
        elsewhere.extend(
            workflow
                .commands()
                .map(script)
                .filter(|script| !here.contains(*script)),
        );
        // Those of GitHub itself only bring files along.
        elsewhere.extend(
            workflow
                .actions()
                .filter(|action| !action.starts_with("actions/") || action.contains("attest")),
        );
    }
    assert_eq!(listed, elsewhere);
}

#[test]
fn every_action_is_pinned_by_its_commit_and_says_its_version() {
    let pinned = Regex::new(r"^[\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$").unwrap();
    let mut commits: BTreeMap<String, String> = BTreeMap::new();
    for workflow in workflows() {
        let uses = workflow
            .text
            .lines()
            .filter_map(|line| line.trim().trim_start_matches("- ").strip_prefix("uses: "));
        for action in uses {
            if let Some(local) = action.strip_prefix("./") {
                assert!(Path::new(ROOT).join(local).is_file(), "{action}");
                continue;
            }
            assert!(pinned.is_match(action), "{}: {action}", workflow.name);
            let (name, commit) = action.split_once('@').unwrap();
            let first = commits
                .entry(name.to_owned())
                .or_insert_with(|| commit.to_owned());
            assert_eq!(first, commit, "two versions of {name}");
        }
        for (name, job) in workflow.jobs() {
            let image = &job["container"]["image"];
            assert!(
                image.is_null() || image.as_str().unwrap().contains("@sha256:"),
                "{name}: {image}"
            );
        }
    }
    assert!(6 < commits.len(), "{commits:?}");
}

#[test]
fn a_job_may_only_what_it_says_and_only_a_release_may_write() {
    for workflow in workflows() {
        let name = &workflow.name;
        assert_eq!(
            workflow.value["permissions"],
            serde_json::json!({}),
            "{name}"
        );
        assert!(
            workflow.value["concurrency"]["cancel-in-progress"] != Value::Null,
            "{name}"
        );
        // It would run with the base's rights on what a stranger sends.
        assert!(
            !workflow.text.contains("pull_request_target")
                && !workflow.text.contains("workflow_run"),
            "{name}"
        );
        for (job_name, job) in workflow.jobs() {
            let permissions = job["permissions"]
                .as_object()
                .unwrap_or_else(|| panic!("{name}: {job_name} does not say what it may"));
            for (what, level) in permissions {
                let is_read = what == "contents" && level == "read";
                assert!(
                    is_read || name == "release.yml",
                    "{name}: {job_name} may {level} {what}"
                );
            }
            assert!(
                job["uses"].is_string() || job["timeout-minutes"].is_u64(),
                "{name}: {job_name} may hang"
            );
        }
    }
}

#[test]
fn no_credential_stays_in_a_work_tree_and_only_what_publishes_gets_a_secret() {
    for workflow in workflows() {
        for step in workflow.steps() {
            let uses = step["uses"].as_str().unwrap_or_default();
            if uses.starts_with("actions/checkout@") {
                assert_eq!(
                    step["with"]["persist-credentials"], false,
                    "{}",
                    workflow.name
                );
            }
            let secrets = step.to_string().matches("secrets.").count();
            if let Some(publisher) = step["run"]
                .as_str()
                .map(script)
                .filter(|name| PUBLISHERS.contains(name))
            {
                assert_eq!(
                    step["env"]["GITHUB_TOKEN"], "${{ secrets.GITHUB_TOKEN }}",
                    "{publisher}"
                );
                assert_eq!(
                    (workflow.name.as_str(), secrets),
                    ("release.yml", 1),
                    "{publisher}"
                );
            } else {
                assert_eq!(secrets, 0, "{}: {step}", workflow.name);
            }
        }
        let in_steps: usize = workflow
            .steps()
            .map(|step| step.to_string().matches("secrets.").count())
            .sum();
        assert_eq!(
            workflow.text.matches("secrets.").count(),
            in_steps,
            "{}",
            workflow.name
        );
    }
}

#[test]
fn v_05_images_are_built_and_started_for_both_platforms() {
    for name in ["ci.yml", "release.yml"] {
        let workflow = workflow(name);
        let matrix = &workflow.value["jobs"]["image"]["strategy"]["matrix"]["include"];
        let platforms: Vec<&Value> = matrix
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| &entry["platform"])
            .collect();
        assert_eq!(platforms, ["amd64", "arm64"], "{name}");
    }
}

#[test]
fn t_09_lint_and_tests_come_before_a_release_and_a_critical_finding_fails() {
    let ci = workflow("ci.yml");
    let commands: Vec<&str> = ci.commands().collect();
    for wanted in [
        ".ci/clippy",
        ".ci/test",
        ".ci/deny",
        ".ci/advisories",
        ".ci/sbom",
    ] {
        assert!(commands.contains(&wanted), "{wanted}");
    }
    let scans: Vec<&Value> = ci
        .steps()
        .filter(|step| {
            step["uses"]
                .as_str()
                .is_some_and(|uses| uses.starts_with("anchore/scan-action@"))
        })
        .collect();
    assert_eq!(scans.len(), 3, "one for each image");
    for scan in scans {
        assert_eq!(scan["with"]["severity-cutoff"], "critical");
        assert_eq!(scan["with"]["fail-build"], true);
    }
    // The one job that may fail is about others' code, and nothing waits for it.
    let may_fail: Vec<&String> = ci
        .jobs()
        .filter(|(_, job)| job["continue-on-error"] == true)
        .map(|(name, _)| name)
        .collect();
    assert_eq!(may_fail, ["advisories"]);
    let release = workflow("release.yml");
    assert_eq!(
        release.value["jobs"]["ci"]["uses"],
        "./.github/workflows/ci.yml"
    );
    assert_eq!(release.value["jobs"]["plan"]["needs"], "ci");
}

#[test]
fn t_10_only_main_releases_and_everything_is_built_from_the_tag() {
    let release = workflow("release.yml");
    assert_eq!(
        release.value["on"]["push"]["branches"],
        serde_json::json!(["main"])
    );
    let jobs = &release.value["jobs"];
    assert_eq!(jobs["plan"]["if"], "github.ref == 'refs/heads/main'");
    assert_eq!(jobs["commit"]["if"], "needs.plan.outputs.version");
    for job in ["image", "sbom", "sign", "chart", "publish"] {
        let checkout = &jobs[job]["steps"][0]["with"];
        assert_eq!(
            checkout["ref"], "v${{ needs.plan.outputs.version }}",
            "{job}"
        );
        assert!(jobs[job]["needs"].to_string().contains("plan"), "{job}");
    }
}

#[test]
fn one_version_of_rust_builds_everything_and_it_is_not_older_than_promised() {
    let cargo_toml = std::fs::read_to_string(Path::new(ROOT).join("Cargo.toml")).unwrap();
    let promised = Regex::new(r#"(?m)^rust-version = "1\.(\d+)"$"#).unwrap();
    let promised: u32 = promised.captures(&cargo_toml).unwrap()[1].parse().unwrap();
    let dockerfile =
        std::fs::read_to_string(Path::new(ROOT).join("deploy/image/Dockerfile")).unwrap();
    let sources: String = workflows()
        .into_iter()
        .map(|workflow| workflow.text)
        .chain([dockerfile])
        .collect();
    let version = Regex::new(r"(?:RUSTUP_TOOLCHAIN: |/?\brust:)(\d+\.(\d+)\.\d+)").unwrap();
    let versions: BTreeSet<(String, u32)> = version
        .captures_iter(&sources)
        .map(|found| (found[1].to_owned(), found[2].parse().unwrap()))
        .collect();
    assert_eq!(versions.len(), 1, "{versions:?}");
    assert!(
        versions.iter().all(|(_, minor)| promised <= *minor),
        "{versions:?}"
    );
}

#[test]
fn actionlint_finds_nothing() {
    let output = tools::run("actionlint", &["-no-color"]);
    assert!(output.status.success(), "{}", tools::said(&output));
}
