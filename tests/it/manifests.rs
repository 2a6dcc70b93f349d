//! The ways to install without Helm: manifests that kubectl applies as they are, and kustomize. The chart is the source
//! of both, so each is held against what the chart renders, byte for byte or object for object.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tempfile::TempDir;

use crate::fixtures::{objects, tools};

/// What the manifests are rendered with in any case, as in deploy/render.
const PLAIN: &str = "namespace.create=true,crds.keep=false,tests.enabled=false";

const HA: &str = "--values=deploy/chart/ci/ha-values.yaml";

/// What the component `delegate` asks.
const DELEGATE: &str = "--set=delegate.url=https://keda-operator-metrics-apiserver.keda.svc,delegate.ca.configMap=delegate-ca";

const MONITORING: &str = "--set=dashboards.enabled=true,metrics.serviceMonitor.enabled=true,\
                          metrics.prometheusRule.enabled=true";

/// Objects by what tells them apart.
type Objects = BTreeMap<String, Value>;

fn by_name(yaml: &str) -> Objects {
    let named = |object: Value| {
        let part = |pointer: &str| {
            let part = object.pointer(pointer).and_then(Value::as_str);
            part.unwrap_or_default().to_owned()
        };
        let namespace = part("/metadata/namespace");
        let name = format!("{} {namespace}/{}", part("/kind"), part("/metadata/name"));
        (name, object)
    };
    objects::read(yaml).into_iter().map(named).collect()
}

fn chart(args: &[&str]) -> Objects {
    let mut all = vec![
        "template",
        "taffrail",
        "deploy/chart",
        "--namespace=taffrail",
        "--set",
        PLAIN,
    ];
    all.extend(args);
    by_name(&tools::stdout("helm", &all))
}

/// What kustomize makes of a directory, without a warning of anything deprecated.
fn kustomized(directory: &Path) -> Objects {
    let output = kustomize(directory);
    let is_silent = output.status.success() && output.stderr.is_empty();
    assert!(
        is_silent,
        "{}: {}",
        directory.display(),
        tools::said(&output)
    );
    by_name(std::str::from_utf8(&output.stdout).unwrap())
}

fn kustomize(directory: &Path) -> Output {
    tools::run("kubectl", &["kustomize", directory.to_str().unwrap()])
}

/// An overlay of the base with these components, in this order.
fn with_components(components: &[&str]) -> TempDir {
    let overlay = tempfile::tempdir().unwrap();
    // Kustomize takes no absolute path.
    let directory = overlay.path().canonicalize().unwrap();
    let up = "../".repeat(directory.components().count() - 1);
    let kustomize = format!("{up}{}/deploy/kustomize", tools::ROOT);
    let listed: Vec<String> = components
        .iter()
        .map(|component| format!("{kustomize}/components/{component}"))
        .collect();
    let kustomization = format!(
        "resources: [{kustomize}/base]\ncomponents: [{}]\n",
        listed.join(", ")
    );
    std::fs::write(directory.join("kustomization.yaml"), kustomization).unwrap();
    overlay
}

fn assert_same(what: &str, kustomized: &Objects, chart: &Objects) {
    let names = |objects: &Objects| objects.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(kustomized), names(chart), "{what}");
    for (name, object) in kustomized {
        let (mut object, mut expected) = (object.clone(), chart[name].clone());
        if object["kind"] == "ConfigMap" {
            // Boards come from a directory on which no version of the chart is written.
            for one in [&mut object, &mut expected] {
                let labels = std::mem::take(&mut one["metadata"]["labels"]);
                assert_eq!(labels["grafana_dashboard"], "1", "{what}: {name}");
            }
        }
        assert_eq!(object, expected, "{what}: {name}");
    }
}

fn below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap().flatten() {
        if entry.path().is_dir() {
            below(&entry.path(), found);
        } else {
            found.push(entry.path());
        }
    }
}

/// The directories in `deploy/kustomize/WHERE`, by name.
fn directories(of: &str) -> Vec<String> {
    let path = Path::new(tools::ROOT).join("deploy/kustomize").join(of);
    let entries = std::fs::read_dir(path).unwrap().flatten();
    let mut names: Vec<String> = entries
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn e_09_what_is_rendered_from_the_chart_is_what_the_repository_has() {
    let again = tempfile::tempdir().unwrap();
    let render = Path::new(tools::ROOT).join("deploy/render");
    let rendered = Command::new(render).arg(again.path()).output().unwrap();
    assert!(rendered.status.success(), "{}", tools::said(&rendered));
    assert_eq!(
        tools::said(&rendered).lines().count(),
        1,
        "{}",
        tools::said(&rendered)
    );
    let mut files = Vec::new();
    below(again.path(), &mut files);
    assert!(4 < files.len(), "{files:?}");
    for file in files {
        let kept = file.strip_prefix(again.path()).unwrap();
        let kept = Path::new(tools::ROOT).join("deploy").join(kept);
        let (new, old) = (
            std::fs::read(&file).unwrap(),
            std::fs::read(&kept).unwrap_or_default(),
        );
        let is_same = new == old;
        assert!(
            is_same,
            "{} is not what the chart renders; write it anew: deploy/render",
            kept.display()
        );
    }
}

#[test]
fn each_component_makes_of_the_base_what_the_chart_makes_with_its_value() {
    let cases: [(&[&str], &[&str]); 10] = [
        (&[], &[]),
        (&["ha"], &[HA]),
        (&["cert-manager"], &["--set=tls.mode=cert-manager"]),
        (&["insecure"], &["--set=tls.mode=insecure"]),
        (&["custom-metrics"], &["--set=customMetrics.enabled=true"]),
        (&["delegate"], &[DELEGATE]),
        (&["monitoring"], &[MONITORING]),
        (&["network-policy"], &["--set=networkPolicy.enabled=true"]),
        (
            &["custom-metrics", "insecure"],
            &["--set=customMetrics.enabled=true,tls.mode=insecure"],
        ),
        (
            &[
                "ha",
                "network-policy",
                "custom-metrics",
                "delegate",
                "monitoring",
                "cert-manager",
            ],
            &[
                HA,
                DELEGATE,
                MONITORING,
                "--set=networkPolicy.enabled=true,customMetrics.enabled=true,tls.mode=cert-manager",
            ],
        ),
    ];
    for (components, values) in cases {
        assert_same(
            &components.join(", "),
            &kustomized(with_components(components).path()),
            &chart(values),
        );
    }
    for component in directories("components") {
        let is_tried = cases
            .iter()
            .any(|(components, _)| components.contains(&component.as_str()));
        assert!(is_tried, "nobody tries {component}");
    }
}

/// Of two that change the same objects, the second must find what it changes: nothing may be left out in silence.
#[test]
fn components_in_an_order_that_would_lose_something_are_refused() {
    for components in [
        ["cert-manager", "custom-metrics"],
        ["cert-manager", "monitoring"],
        ["insecure", "custom-metrics"],
    ] {
        let output = kustomize(with_components(&components).path());
        let said = tools::said(&output);
        assert!(!output.status.success(), "{components:?}");
        assert!(said.contains("test"), "{components:?}: {said}");
    }
}

/// Overlays differ in what their names promise and in nothing else.
#[test]
fn f_06_each_overlay_is_the_chart_with_a_handful_of_values() {
    let cases: [(&str, &[&str]); 5] = [
        ("default", &[]),
        ("dev", &["--values=deploy/chart/env/dev/values.yaml"]),
        ("ha", &[HA]),
        ("prod", &[HA, "--set=networkPolicy.enabled=true"]),
        (
            "staging",
            &[HA, "--set=networkPolicy.enabled=true,replicas=2"],
        ),
    ];
    let overlays = Path::new(tools::ROOT).join("deploy/kustomize/overlays");
    for (overlay, values) in cases {
        assert_same(
            overlay,
            &kustomized(&overlays.join(overlay)),
            &chart(values),
        );
    }
    assert_eq!(directories("overlays"), cases.map(|(overlay, _)| overlay));
}

/// An APIService without its backend stands in the way of everything, so it comes when all that its backend needs is there.
#[test]
fn d_15_the_namespace_is_the_first_object_of_a_manifest_and_apiservices_come_behind_the_adapter() {
    for file in ["install.yaml", "ha.yaml"] {
        let path = Path::new(tools::ROOT).join("deploy/manifests").join(file);
        let objects = objects::read(&std::fs::read_to_string(path).unwrap());
        let kinds: Vec<&str> = objects
            .iter()
            .map(|object| object["kind"].as_str().unwrap())
            .collect();
        assert_eq!(kinds[0], "Namespace", "{file}");
        let first = kinds.iter().position(|kind| *kind == "APIService").unwrap();
        // Helm knows no order for a Lease, which the adapter waits for.
        let is_late = |kind: &&str| ["APIService", "Lease"].contains(kind);
        assert!(kinds[first..].iter().all(is_late), "{file}: {kinds:?}");
    }
}
