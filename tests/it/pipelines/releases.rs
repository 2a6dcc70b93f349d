//! Releases, played in a small repository of their own: which version comes next, and what carries it then.

use std::path::Path;
use std::process::{Command, Output};

use tempfile::TempDir;

use crate::fixtures::tools::{self, ROOT};

const CHANGELOG: &str = "# Changelog\n\n## Unreleased\n\nA word.\n\n- One thing.\n";

/// A repository with the scripts, and with as much beside them as carries a version.
struct Repository(TempDir);

impl Repository {
    fn new() -> Self {
        let repository = Self(TempDir::new().unwrap());
        for script in ["need.sh", "version", "release-plan", "release-commit"] {
            let from = Path::new(ROOT).join(".ci").join(script);
            std::fs::create_dir_all(repository.0.path().join(".ci")).unwrap();
            std::fs::copy(from, repository.0.path().join(".ci").join(script)).unwrap();
        }
        let lock = "[[package]]\nname = \"other\"\nversion = \"0.1.0\"\n\n\
            [[package]]\nname = \"taffrail\"\nversion = \"0.1.0\"\n\n\
            [[package]]\nname = \"taffrail-loadtest\"\nversion = \"0.1.0\"\n";
        let manifest = "[workspace.package]\nversion = \"0.1.0\"\n\n[workspace.dependencies]\nother = \"0.1.0\"\n";
        let chart = "apiVersion: v2\nname: taffrail\nversion: 0.1.0\nappVersion: \"0.1.0\"\n";
        let samples = "images:\n- name: taffrail-sample-app\n  newTag: 0.1.0\n- name: redis\n  newTag: 0.1.0-alpine\n";
        let install = "labels: {app.kubernetes.io/version: 0.1.0, helm.sh/chart: taffrail-0.1.0}\n\
            image: taffrail:0.1.0\nother: x:0.1.0\nnear: taffrail:0.1.01\n";
        repository.write("CHANGELOG.md", CHANGELOG);
        repository.write("Cargo.lock", lock);
        repository.write("Cargo.toml", manifest);
        repository.write(
            "README.md",
            "Set the image REGISTRY/taffrail:0.1.0 there.\n",
        );
        repository.write("deploy/chart/Chart.yaml", chart);
        repository.write("deploy/manifests/install.yaml", install);
        repository.write("deploy/samples/hello/kustomization.yaml", samples);
        repository.git(&["init", "--quiet", "--initial-branch", "main"]);
        repository.commit("Begin");
        repository
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.0.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.0.path().join(path)).unwrap()
    }

    fn git(&self, args: &[&str]) -> String {
        let name = [
            "-c",
            "user.name=Somebody",
            "-c",
            "user.email=somebody@example.com",
        ];
        let mut command = self.command("git");
        let output = command.args(name).args(args).output().unwrap();
        assert!(
            output.status.success(),
            "git {args:?}: {}",
            tools::said(&output)
        );
        String::from_utf8(output.stdout).unwrap()
    }

    fn commit(&self, message: &str) {
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "--message", message]);
    }

    fn script(&self, name: &str, args: &[&str]) -> Output {
        let script = self.0.path().join(".ci").join(name);
        self.output(script.to_str().unwrap(), args)
    }

    fn output(&self, program: &str, args: &[&str]) -> Output {
        self.command(program).args(args).output().unwrap()
    }

    /// What a script says, which must succeed.
    fn said(&self, name: &str, args: &[&str]) -> String {
        let output = self.script(name, args);
        assert!(
            output.status.success(),
            "{name} {args:?}: {}",
            tools::said(&output)
        );
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    /// A command in the repository that knows nothing of this machine's own settings.
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.0.path())
            .env("HOME", self.0.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env_remove("GITHUB_OUTPUT")
            .env_remove("GIT_DIR");
        command
    }
}

#[test]
fn t_10_a_merge_releases_the_next_minor_version_and_nothing_twice() {
    let repository = Repository::new();
    assert_eq!(repository.said("version", &["next"]), "0.1.0", "the first");
    repository.said("release-commit", &["0.1.0", "--dry-run"]);
    repository.git(&["switch", "--quiet", "main"]);

    // Its pull request is open: what is under Unreleased there is released already.
    let waits = repository.script("version", &["next"]);
    assert_eq!(String::from_utf8_lossy(&waits.stdout), "");
    assert!(
        tools::said(&waits).contains("merge the pull request of version 0.1.0"),
        "{}",
        tools::said(&waits)
    );

    repository.git(&["merge", "--quiet", "release/0.1.0"]);
    let nothing = repository.script("version", &["next"]);
    assert_eq!(String::from_utf8_lossy(&nothing.stdout), "");
    assert!(
        tools::said(&nothing).contains("nothing under Unreleased"),
        "{}",
        tools::said(&nothing)
    );
    assert_eq!(repository.said("release-plan", &[]), "version=");

    let changelog = repository.read("CHANGELOG.md");
    repository.write(
        "CHANGELOG.md",
        &changelog.replace("## Unreleased\n", "## Unreleased\n\n- Another.\n"),
    );
    repository.commit("Do another thing");
    assert_eq!(repository.said("release-plan", &[]), "version=0.2.0");
    // By number, not by letter.
    repository.git(&["tag", "v0.9.0"]);
    repository.git(&["tag", "v0.10.3"]);
    repository.write(
        "CHANGELOG.md",
        "## Unreleased\n\n- A\n\n## 0.10.3 - 2026-01-01\n\n- B\n",
    );
    assert_eq!(repository.said("version", &["next"]), "0.11.0");
}

#[test]
fn t_10_a_release_carries_its_version_wherever_ours_stands_and_nowhere_else() {
    let repository = Repository::new();
    repository.said("release-commit", &["0.2.0", "--dry-run"]);
    assert_eq!(
        repository.git(&["branch", "--show-current"]).trim(),
        "release/0.2.0"
    );
    assert_eq!(
        repository.git(&["tag", "--points-at", "HEAD"]).trim(),
        "v0.2.0"
    );
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
    assert_eq!(repository.said("version", &["current"]), "0.2.0");
    assert_eq!(
        repository.said("version", &["notes", "0.2.0"]),
        "A word.\n\n- One thing."
    );
    assert_eq!(repository.said("version", &["notes", "Unreleased"]), "");
    assert!(
        repository
            .read("Cargo.toml")
            .ends_with("other = \"0.1.0\"\n")
    );
    let lock = repository.read("Cargo.lock");
    assert!(
        lock.starts_with("[[package]]\nname = \"other\"\nversion = \"0.1.0\""),
        "{lock}"
    );
    assert_eq!(lock.matches("\"0.2.0\"").count(), 2, "{lock}");
    assert!(
        repository
            .read("deploy/chart/Chart.yaml")
            .ends_with("version: 0.2.0\nappVersion: 0.2.0\n")
    );
    let samples = repository.read("deploy/samples/hello/kustomization.yaml");
    assert!(
        samples.contains("newTag: 0.2.0\n") && samples.contains("0.1.0-alpine"),
        "{samples}"
    );
    let install = repository.read("deploy/manifests/install.yaml");
    let expected = "labels: {app.kubernetes.io/version: 0.2.0, helm.sh/chart: taffrail-0.2.0}\n\
        image: taffrail:0.2.0\nother: x:0.1.0\nnear: taffrail:0.1.01\n";
    assert_eq!(install, expected);
    assert!(
        repository
            .read("README.md")
            .contains("REGISTRY/taffrail:0.2.0")
    );
}

#[test]
fn t_10_no_manifest_of_this_repository_keeps_an_old_version() {
    let repository = Repository::new();
    let old = env!("CARGO_PKG_VERSION");
    repository.write(
        "Cargo.toml",
        &format!("[workspace.package]\nversion = \"{old}\"\n"),
    );
    std::fs::remove_dir_all(repository.0.path().join("deploy")).unwrap();
    let mut copy = Command::new("cp");
    copy.args(["--recursive", "--no-dereference", "deploy", "README.md"]);
    let copied = copy.arg(repository.0.path()).current_dir(ROOT).status();
    assert!(copied.unwrap().success());
    repository.commit("Take what is shipped");
    repository.said("version", &["set", "9.8.7", "2026-11-21"]);
    // As a version, not within an address such as 10.1.0.0.
    let pattern = format!("(^|[^0-9.]){}([^0-9.]|$)", old.replace('.', "\\."));
    let grep = [
        "grep",
        "--extended-regexp",
        &pattern,
        "--",
        "deploy",
        "README.md",
    ];
    let kept = repository.output("git", &grep);
    let kept = String::from_utf8(kept.stdout).unwrap();
    // In a comment it is an example.
    let kept: Vec<&str> = kept
        .lines()
        .filter(|line| {
            !line
                .split(':')
                .nth(1)
                .unwrap()
                .trim_start()
                .starts_with('#')
        })
        .collect();
    assert!(kept.is_empty(), "{kept:#?}");
}

#[test]
fn t_10_a_version_that_is_none_changes_nothing() {
    let repository = Repository::new();
    for args in [
        ["set", "v0.2.0", "2026-11-21"],
        ["set", "0.2.0", "today"],
        ["set", "0.2", "2026-11-21"],
    ] {
        assert_eq!(
            repository.script("version", &args).status.code(),
            Some(2),
            "{args:?}"
        );
    }
    assert_eq!(repository.script("version", &[]).status.code(), Some(2));
    assert_eq!(repository.git(&["status", "--porcelain"]), "");
}

#[test]
fn t_10_the_changelog_of_this_repository_can_be_released() {
    let version = |args: &[&str]| {
        let output = Command::new(Path::new(ROOT).join(".ci/version"))
            .args(args)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", tools::said(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(version(&["current"]).trim(), env!("CARGO_PKG_VERSION"));
    let changelog = std::fs::read_to_string(Path::new(ROOT).join("CHANGELOG.md")).unwrap();
    assert!(changelog.contains("\n## Unreleased\n"));
    for heading in changelog
        .lines()
        .filter_map(|line| line.strip_prefix("## "))
    {
        let name = heading.split(' ').next().unwrap();
        assert!(
            name == "Unreleased" || !version(&["notes", name]).is_empty(),
            "{heading} is empty"
        );
    }
}
