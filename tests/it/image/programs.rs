//! The programs, static, from the libraries that cargo has built for the tests anyway: only their thin mains are compiled and
//! linked again. To have cargo do it would build every dependency a second time.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::fixtures::tools::{self, ROOT};

/// What cargo has built, by the ids of packages.
struct Built {
    libraries: HashMap<String, PathBuf>,
    binaries: Vec<Value>,
}

/// Links every program into the directory `into`.
pub(super) fn link(into: &Path) {
    std::fs::create_dir_all(into).unwrap();
    let built = build();
    let metadata: Value =
        serde_json::from_str(&cargo(&["metadata", "--format-version=1"])).unwrap();
    for binary in &built.binaries {
        let package = &binary["package_id"];
        let node = elements(&metadata["resolve"]["nodes"])
            .find(|node| node["id"] == *package)
            .unwrap();
        let uses = elements(&node["deps"])
            .map(|dependency| (text(&dependency["name"]), text(&dependency["pkg"])));
        // The library of the package itself is no dependency of it, to cargo.
        let own = text(&node["id"]);
        let own_name = if own.contains("loadtest") {
            "taffrail_loadtest"
        } else {
            "taffrail"
        };
        let externs: Vec<String> = uses
            .chain([(own_name, own)])
            // What only tests use was not built here.
            .filter_map(|(name, id)| Some(format!("{name}={}", built.libraries.get(id)?.display())))
            .collect();
        rustc(binary, &externs, &built, into);
    }
}

fn rustc(binary: &Value, externs: &[String], built: &Built, into: &Path) {
    let name = text(&binary["target"]["name"]);
    let libraries = built.libraries.values().next().unwrap().parent().unwrap();
    let mut command = Command::new("rustc");
    command
        .args([
            "--edition",
            text(&binary["target"]["edition"]),
            "--crate-type",
            "bin",
        ])
        .args([
            "--crate-name",
            &name.replace('-', "_"),
            text(&binary["target"]["src_path"]),
        ])
        .args(["-C", "target-feature=+crt-static", "-C", "strip=symbols"])
        .arg("-L")
        .arg(format!("dependency={}", libraries.display()))
        .arg("-o")
        .arg(into.join(name))
        .env("CARGO_PKG_NAME", name)
        .env("CARGO_PKG_VERSION", env!("CARGO_PKG_VERSION"));
    for library in externs {
        command.args(["--extern", library]);
    }
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        tools::said(&output)
    );
}

/// Has cargo build the programs, which it has done before the tests, and say what it took.
fn build() -> Built {
    let messages = cargo(&["build", "--workspace", "--bins", "--message-format=json"]);
    let mut built = Built {
        libraries: HashMap::new(),
        binaries: Vec::new(),
    };
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).unwrap();
        if message["reason"] != "compiler-artifact" {
            continue;
        }
        if message["target"]["kind"][0] == "bin" {
            built.binaries.push(message);
        } else if let Some(library) = library(&message) {
            let package = text(&message["package_id"]).to_owned();
            // What is built twice was built once more for macros and build scripts, without debug information.
            if message["profile"]["debuginfo"] == 0 {
                built.libraries.entry(package).or_insert(library);
            } else {
                built.libraries.insert(package, library);
            }
        }
    }
    built
}

/// The file of a library or of a macro.
fn library(message: &Value) -> Option<PathBuf> {
    elements(&message["filenames"])
        .map(|file| PathBuf::from(text(file)))
        .find(|file| {
            file.extension()
                .is_some_and(|extension| extension == "rlib" || extension == "so")
        })
}

/// What cargo says of a package to its tests. Build scripts ask for the same names, see another package's, and have what
/// depends on them built anew: now, and when cargo is run again without them.
const TOLD: [&str; 16] = [
    "CARGO_MANIFEST_DIR",
    "CARGO_MANIFEST_PATH",
    "CARGO_PKG_AUTHORS",
    "CARGO_PKG_DESCRIPTION",
    "CARGO_PKG_HOMEPAGE",
    "CARGO_PKG_LICENSE",
    "CARGO_PKG_LICENSE_FILE",
    "CARGO_PKG_NAME",
    "CARGO_PKG_README",
    "CARGO_PKG_REPOSITORY",
    "CARGO_PKG_RUST_VERSION",
    "CARGO_PKG_VERSION",
    "CARGO_PKG_VERSION_MAJOR",
    "CARGO_PKG_VERSION_MINOR",
    "CARGO_PKG_VERSION_PATCH",
    "CARGO_PKG_VERSION_PRE",
];

fn cargo(args: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    for name in TOLD {
        command.env_remove(name);
    }
    let output = command
        .args(args)
        .arg("--locked")
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {args:?}: {}",
        tools::said(&output)
    );
    String::from_utf8(output.stdout).unwrap()
}

fn elements(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().unwrap().iter()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}
