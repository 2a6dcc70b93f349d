//! The scripts: that shellcheck passes each, and that one which cannot do its work says so.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tempfile::TempDir;

use crate::fixtures::objects;
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

/// The images that manifests name, without those of others.
fn images(manifests: &str) -> Vec<String> {
    let objects = objects::read(manifests);
    let containers = objects.iter().filter_map(|object| {
        object
            .pointer("/spec/template/spec/containers/0/image")
            .and_then(Value::as_str)
    });
    let mut images: Vec<String> = containers.map(str::to_owned).collect();
    images.sort();
    images.dedup();
    images
}

/// A cluster of kind pulls nothing: what the manifests ask for must be what was loaded into it.
#[test]
fn the_images_of_e2e_are_those_that_the_chart_and_the_sample_ask_for() {
    let script = std::fs::read_to_string(Path::new(ROOT).join(".ci/e2e")).unwrap();
    let loaded = script
        .lines()
        .find_map(|line| line.strip_prefix("images=(")?.strip_suffix(')'))
        .unwrap();
    let version = env!("CARGO_PKG_VERSION");
    let loaded = loaded.replace("$(.ci/version current)", version);
    let loaded: Vec<&str> = loaded.split(' ').map(|it| it.trim_matches('"')).collect();
    let chart = tools::stdout("helm", &["template", "taffrail", "deploy/chart"]);
    let sample = script
        .lines()
        .find_map(|line| line.strip_prefix("kubectl apply -k "))
        .unwrap();
    let asked = [images(&chart), images(&tools::kustomize(sample))].concat();
    assert_eq!(loaded, asked);
}

/// A copy of what releases are made from, and of the scripts that make them.
fn copy() -> TempDir {
    let copy = TempDir::new().unwrap();
    let status = Command::new("cp")
        .args([
            "--recursive",
            "--no-dereference",
            ".ci",
            "deploy",
            "dashboards",
            "CHANGELOG.md",
        ])
        .args(["Cargo.toml", "Cargo.lock"])
        .arg(copy.path())
        .current_dir(ROOT)
        .status();
    assert!(status.unwrap().success());
    copy
}

/// A script of the copy, with the programs of `directory` before all others.
fn run_in(copy: &TempDir, directory: &Path, script: &str, args: &[&str]) -> String {
    let mut command = Command::new(copy.path().join(".ci").join(script));
    command
        .args(args)
        .current_dir(copy.path())
        .env("HOME", copy.path())
        .env("PATH", format!("{}:{BARE_PATH}", directory.display()))
        // An owner may have capitals, a registry has none.
        .env("IMAGE_PREFIX", "ghcr.io/Owner")
        .env("GITHUB_REPOSITORY", "Owner/taffrail");
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{script}: {}",
        tools::said(&output)
    );
    tools::said(&output)
}

#[test]
fn a_chart_that_is_pushed_names_the_images_that_were_pushed_with_it() {
    let copy = copy();
    let helm = tools::program("helm");
    run_in(&copy, helm.parent().unwrap(), "chart-push", &["--dry-run"]);
    let version = env!("CARGO_PKG_VERSION");
    let package = copy
        .path()
        .join(format!("target/chart/taffrail-{version}.tgz"));
    let package = package.to_str().unwrap();
    let rendered = tools::stdout("helm", &["template", "taffrail", package]);
    assert_eq!(
        images(&rendered),
        [format!("ghcr.io/owner/taffrail:{version}")]
    );
    let shown = objects::read(&tools::stdout("helm", &["show", "chart", package])).remove(0);
    let address = "https://github.com/Owner/taffrail";
    assert_eq!(shown["home"], address);
    assert_eq!(shown["sources"], serde_json::json!([address]));
    let listed = shown["annotations"]["artifacthub.io/images"].as_str();
    assert_eq!(
        objects::read(listed.unwrap())[0][0]["image"],
        images(&rendered)[0]
    );
    let readme = tools::stdout("helm", &["show", "readme", package]);
    let runbooks = format!("{address}/blob/v{version}/dashboards/runbooks.md");
    for (value, default) in [
        ("image.registry", "ghcr.io/owner"),
        ("metrics.prometheusRule.runbookBase", runbooks.as_str()),
    ] {
        let row = readme
            .lines()
            .find(|line| line.starts_with(&format!("| `{value}`")));
        let ends = format!("| `\"{default}\"` |");
        assert!(row.unwrap().ends_with(&ends), "{row:?}");
    }
    let with_alerts = "--set=metrics.prometheusRule.enabled=true";
    let rendered = tools::stdout("helm", &["template", "taffrail", package, with_alerts]);
    assert!(
        rendered.contains(&format!("runbook_url: {runbooks}#")),
        "{rendered}"
    );
}

/// What `gh` is asked, when it answers that nothing is there yet, and when it answers that everything is.
#[test]
fn t_10_a_release_that_was_cut_off_can_be_finished() {
    let copy = copy();
    for file in ["chart/taffrail-0.1.0.tgz", "sbom/taffrail.cdx.json"] {
        let file = copy.path().join("target").join(file);
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        std::fs::write(file, "a file").unwrap();
    }
    let stand_in = copy.path().join("bin/gh");
    std::fs::create_dir(stand_in.parent().unwrap()).unwrap();
    let asked = |is_there: bool| {
        let (found, status) = if is_there { (1, 0) } else { (0, 1) };
        let gh = format!(
            "#!/bin/sh\necho \"$*\" >>\"$HOME/asked\"\n\
            case \"$1 $2\" in 'release view') exit {status} ;; 'pr list') echo {found} ;; esac\n"
        );
        std::fs::write(&stand_in, gh).unwrap();
        std::fs::set_permissions(&stand_in, std::fs::Permissions::from_mode(0o755)).unwrap();
        let _ = std::fs::remove_file(copy.path().join("asked"));
        for script in ["github-release", "release-pr"] {
            run_in(&copy, stand_in.parent().unwrap(), script, &["0.1.0"]);
        }
        let asked = std::fs::read_to_string(copy.path().join("asked")).unwrap();
        let words = |line: &str| line.split(' ').take(3).collect::<Vec<_>>().join(" ");
        asked.lines().map(words).collect::<Vec<_>>()
    };
    let first = asked(false);
    assert_eq!(
        first,
        [
            "release view v0.1.0",
            "release create v0.1.0",
            "pr list --head",
            "pr create --base"
        ]
    );
    let again = asked(true);
    assert_eq!(
        again,
        [
            "release view v0.1.0",
            "release upload v0.1.0",
            "pr list --head"
        ]
    );
    let install = std::fs::read_to_string(copy.path().join("target/manifests/install.yaml"));
    assert_eq!(
        images(&install.unwrap()),
        [concat!(
            "ghcr.io/owner/taffrail:",
            env!("CARGO_PKG_VERSION")
        )]
    );
}
