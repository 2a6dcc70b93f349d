//! What goes out: the linted, packaged chart with the boards and rules of `dashboards/`, its definition, and its notes.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use super::{CHART, case, rendered};
use crate::fixtures::{objects, tools};

/// Where the case monitoring has its runbooks.
const RUNBOOKS: &str = "https://runbooks.example.com/taffrail";

/// The files of a directory of `dashboards/`, by name.
fn shipped(directory: &str, extension: &str) -> Vec<PathBuf> {
    let directory = Path::new(tools::ROOT).join("dashboards").join(directory);
    let entries = std::fs::read_dir(directory).unwrap();
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|of| of == extension));
    files.sort();
    files
}

fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

#[test]
fn the_strictest_lint_passes() {
    let values = format!("{CHART}/ci/everything-values.yaml");
    for args in [
        &["lint", "--strict", CHART][..],
        &["lint", "--strict", CHART, "--values", &values],
    ] {
        let said = tools::stdout("helm", args);
        assert!(said.contains("0 chart(s) failed"), "{said}");
        assert!(!said.contains("WARNING"), "{said}");
    }
}

#[test]
fn the_package_holds_boards_rules_and_definition_and_nothing_of_the_workshop() {
    let directory = tempfile::tempdir().unwrap();
    let destination = directory.path().to_str().unwrap();
    tools::stdout("helm", &["package", CHART, "--destination", destination]);
    let package = directory
        .path()
        .join(concat!("taffrail-", env!("CARGO_PKG_VERSION"), ".tgz"));
    let mut tar = Command::new("tar");
    let listed = tar.arg("-tzf").arg(&package).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let files: Vec<&str> = listed
        .lines()
        .map(|line| line.trim_start_matches("taffrail/"))
        .collect();
    for file in [
        "Chart.yaml",
        "README.md",
        "values.schema.json",
        "crd.yaml",
        "templates/NOTES.txt",
    ] {
        assert!(files.contains(&file), "{file}: {files:?}");
    }
    for board in shipped("boards", "json") {
        assert!(
            files.contains(&&*format!("boards/{}", name(&board))),
            "{files:?}"
        );
    }
    for rules in shipped("rules", "yaml") {
        assert!(
            files.contains(&&*format!("rules/{}", name(&rules))),
            "{files:?}"
        );
    }
    let workshop = |file: &&&str| file.starts_with("ci/") || file.starts_with("env/");
    assert_eq!(files.iter().find(workshop), None);
    // What is in the package renders to what the directory renders to.
    let package = package.to_str().unwrap();
    let monitoring = format!("{CHART}/ci/monitoring-values.yaml");
    let args = [
        "template",
        "taffrail",
        package,
        "--namespace=taffrail",
        "--values",
        &monitoring,
    ];
    let of_package = objects::read(&tools::stdout("helm", &args));
    assert_eq!(of_package, case("monitoring").objects);
}

#[test]
fn every_board_is_a_configmap_with_the_very_text_of_its_file() {
    let case = case("monitoring");
    let boards = shipped("boards", "json");
    assert!(!boards.is_empty());
    assert_eq!(case.all("ConfigMap").len(), boards.len());
    for board in boards {
        let file = name(&board);
        let map = case.one(
            "ConfigMap",
            &format!("taffrail-board-{}", file.trim_end_matches(".json")),
        );
        let text = map["data"][format!("taffrail-{file}")].as_str().unwrap();
        assert_eq!(
            text.trim(),
            std::fs::read_to_string(&board).unwrap().trim(),
            "{file}"
        );
        assert_eq!(map["metadata"]["labels"]["grafana_dashboard"], "1");
        assert_eq!(
            map["metadata"]["annotations"]["grafana_folder"],
            "Autoscaling"
        );
    }
}

#[test]
fn the_prometheus_rule_holds_the_groups_of_the_files_but_for_what_is_left_out() {
    let files = shipped("rules", "yaml");
    let read = |path: &PathBuf| objects::read(&std::fs::read_to_string(path).unwrap()).remove(0);
    let groups: Vec<Value> = files
        .iter()
        .flat_map(|path| read(path)["groups"].as_array().unwrap().clone())
        .collect();
    let rendered_groups = |objects: &[Value]| -> Vec<Value> {
        let rule = objects::of_kind(objects, "PrometheusRule").next();
        rule.map_or_else(Vec::new, |rule| {
            rule["spec"]["groups"].as_array().unwrap().clone()
        })
    };
    let default = rendered_groups(&rendered(&["--set=metrics.prometheusRule.enabled=true"]));
    assert_eq!(default, groups);
    // Whoever is called opens the runbook where the installation says that it is.
    let linked = json!(rendered_groups(&case("monitoring").objects)).to_string();
    assert_eq!(
        linked,
        json!(groups)
            .to_string()
            .replace("dashboards/runbooks.md", RUNBOOKS)
    );
    assert!(linked.contains(RUNBOOKS));
    let mut rules = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().unwrap());
    let alert = rules.find_map(|rule| rule["alert"].as_str()).unwrap();
    let set =
        format!("metrics.prometheusRule.enabled=true,metrics.prometheusRule.disabled={{{alert}}}");
    let without = rendered_groups(&rendered(&["--set", &set]));
    let has = |groups: &[Value]| {
        json!(groups)
            .to_string()
            .contains(&format!("\"alert\":\"{alert}\""))
    };
    assert!(has(&groups) && !has(&without));
}

#[test]
fn a_monitor_verifies_the_adapter_and_keeps_its_labels() {
    let monitor = case("monitoring").one("ServiceMonitor", "taffrail");
    assert_eq!(monitor["metadata"]["labels"]["release"], "monitoring");
    let endpoint = &monitor["spec"]["endpoints"][0];
    assert_eq!(
        (&endpoint["scheme"], &endpoint["path"]),
        (&json!("https"), &json!("/metrics"))
    );
    let expected = json!({
        "ca": {"secret": {"name": "taffrail-certificate", "key": "ca.crt"}},
        "serverName": "taffrail.taffrail.svc",
    });
    assert_eq!(endpoint["tlsConfig"], expected);
    assert_eq!(
        endpoint["honorLabels"], true,
        "namespace is that of the HPA, not of the adapter"
    );
    assert_eq!(
        endpoint["relabelings"][0],
        json!({"targetLabel": "job", "replacement": "taffrail"})
    );
    let everything = case("everything").one("ServiceMonitor", "taffrail");
    let ca = &everything["spec"]["endpoints"][0]["tlsConfig"]["ca"]["secret"];
    assert_eq!(ca["name"], "taffrail-tls", "that of cert-manager");
    let pods = &case("pod-monitor").one("PodMonitor", "taffrail")["spec"]["podMetricsEndpoints"][0];
    assert_eq!(
        (&pods["port"], &pods["honorLabels"]),
        (&json!("metrics"), &json!(true))
    );
}

#[test]
fn the_definition_is_that_of_the_program_and_stays_when_the_release_goes() {
    let printed = Command::new(env!("CARGO_BIN_EXE_taffrail"))
        .arg("crd")
        .output()
        .unwrap();
    let printed = objects::read(&String::from_utf8(printed.stdout).unwrap()).remove(0);
    let definition = case("default").one("CustomResourceDefinition", "requestmetrics.taffrail.dev");
    let is_same = with_plain_numbers(&definition["spec"]) == with_plain_numbers(&printed["spec"]);
    assert!(
        is_same,
        "deploy/chart/crd.yaml must be what `taffrail crd` prints"
    );
    let keep = |definition: &Value| {
        definition["metadata"]["annotations"]["helm.sh/resource-policy"].clone()
    };
    assert_eq!(keep(definition), "keep");
    let objects = rendered(&["--set=crds.keep=false"]);
    assert!(
        keep(objects::one(
            &objects,
            "CustomResourceDefinition",
            "requestmetrics.taffrail.dev"
        ))
        .is_null()
    );
    assert_eq!(
        objects::of_kind(
            &rendered(&["--set=crds.install=false"]),
            "CustomResourceDefinition"
        )
        .count(),
        0
    );
}

/// Helm writes 0 for what was read as 0.0.
fn with_plain_numbers(value: &Value) -> Value {
    match value {
        Value::Number(number) => json!(number.as_f64()),
        Value::Array(items) => items.iter().map(with_plain_numbers).collect(),
        Value::Object(fields) => {
            let plain = fields
                .iter()
                .map(|(name, value)| (name.clone(), with_plain_numbers(value)));
            Value::Object(plain.collect())
        }
        other => other.clone(),
    }
}

#[test]
fn chart_and_program_are_of_one_version_and_one_changelog() {
    let chart =
        std::fs::read_to_string(Path::new(tools::ROOT).join(CHART).join("Chart.yaml")).unwrap();
    let chart = objects::read(&chart).remove(0);
    assert_eq!(chart["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(chart["appVersion"], env!("CARGO_PKG_VERSION"));
    let changelog = std::fs::read_to_string(Path::new(tools::ROOT).join("CHANGELOG.md")).unwrap();
    let annotation = |name: &str| {
        let text = chart["annotations"][format!("artifacthub.io/{name}")].as_str();
        objects::read(text.unwrap()).remove(0)
    };
    let image = &case("default").pod()["containers"][0]["image"];
    assert_eq!(annotation("images")[0]["image"], *image);
    let definition = &case("default").all("CustomResourceDefinition")[0];
    let listed = &annotation("crds")[0];
    assert_eq!(listed["name"], definition["metadata"]["name"]);
    assert_eq!(listed["kind"], definition["spec"]["names"]["kind"]);
    assert_eq!(listed["version"], definition["spec"]["versions"][0]["name"]);
    let changes = chart["annotations"]["artifacthub.io/changes"]
        .as_str()
        .unwrap();
    for change in objects::read(changes)[0].as_array().unwrap() {
        let description = change["description"].as_str().unwrap();
        assert!(
            changelog.contains(description),
            "CHANGELOG.md does not say: {description}"
        );
    }
}

#[test]
fn the_notes_prove_the_installation_and_warn_where_it_matters() {
    let notes = |set: &str| {
        let args = [
            "install",
            "taffrail",
            CHART,
            "--namespace=taffrail",
            "--dry-run=client",
            "--set",
            set,
        ];
        let said = tools::stdout("helm", &args);
        said.split_once("NOTES:").expect("notes").1.to_owned()
    };
    let default = notes("replicas=2");
    for command in [
        "kubectl wait --for=condition=Available apiservice/v1beta1.external.metrics.k8s.io",
        "kubectl get --raw /apis/external.metrics.k8s.io/v1beta1",
        "helm test taffrail -n taffrail",
    ] {
        assert!(default.contains(command), "{default}");
    }
    assert!(
        !default.contains("demos") && !default.contains("one replica"),
        "{default}"
    );
    let laxest = notes("replicas=1,tls.mode=insecure,priorityClassName=system-node-critical");
    for warning in [
        "For demos only",
        "With one replica",
        "resourceQuota.enabled",
    ] {
        assert!(laxest.contains(warning), "{laxest}");
    }
    let beside = notes("apiService.create=false");
    assert!(
        beside.contains("Another adapter keeps v1beta1.external.metrics.k8s.io"),
        "{beside}"
    );
    assert!(!beside.contains("helm test"), "{beside}");
}
