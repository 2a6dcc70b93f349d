//! What `deploy/` ships, rendered by the tools that users render it with.

use std::path::Path;

use serde_json::Value;

use crate::fixtures::{objects, tools};

/// The directories below `directory` that hold a kustomization. A component is none, since it needs something to change.
fn kustomizations(directory: &Path, found: &mut Vec<String>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.file_name() == "components" {
            continue;
        }
        if entry.path().is_dir() {
            kustomizations(&entry.path(), found);
        } else if entry.file_name() == "kustomization.yaml" {
            found.push(directory.to_str().unwrap().to_owned());
        }
    }
}

#[test]
fn every_kustomization_builds_and_names_each_object_once() {
    let mut directories = Vec::new();
    kustomizations(&Path::new(tools::ROOT).join("deploy"), &mut directories);
    assert!(3 < directories.len(), "{directories:?}");
    for directory in directories {
        let objects = objects::read(&tools::kustomize(&directory));
        // Two namespaces of one kustomization may have the same name each.
        let name = |object: &Value| {
            let metadata = &object["metadata"];
            format!(
                "{} {} {}",
                object["kind"], metadata["namespace"], metadata["name"]
            )
        };
        let mut names: Vec<String> = objects.iter().map(name).collect();
        let all = names.len();
        names.sort();
        names.dedup();
        assert_eq!(names.len(), all, "{directory}: {names:?}");
    }
}
