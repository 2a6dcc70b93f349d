//! The values: every one is explained, has a line in the README, is known to the schema with its type, and reaches a flag
//! that the program has. `mistakes` has the wrong ones.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use super::{CHART, cases, refused, rendered};
use crate::fixtures::{objects, tools};

/// One line of the README's table.
struct Row {
    path: String,
    comment: String,
    default: Value,
}

fn file(name: &str) -> String {
    std::fs::read_to_string(Path::new(tools::ROOT).join(CHART).join(name)).unwrap()
}

/// The keys of values.yaml with the comment above each. A key without one is a group, or part of the key above it that
/// has one.
fn rows() -> Vec<Row> {
    let text = file("values.yaml");
    let defaults = &objects::read(&text)[0];
    let mut rows: Vec<Row> = Vec::new();
    // The keys on the way to this line, each with its indentation, and whether it has a line of its own.
    let mut way: Vec<(usize, &str, bool)> = Vec::new();
    let mut comment = String::new();
    for line in text.lines() {
        let bare = line.trim_start();
        if let Some(words) = bare.strip_prefix("# ") {
            comment = format!("{comment} {words}");
            continue;
        }
        let said = std::mem::take(&mut comment);
        let Some((key, _)) = bare.split_once(':').filter(|_| !bare.starts_with("- ")) else {
            continue;
        };
        let depth = line.len() - bare.len();
        way.retain(|(of, ..)| *of < depth);
        let is_part = way.iter().any(|(.., is_row)| *is_row);
        way.push((depth, key, !said.is_empty()));
        if is_part {
            assert!(
                said.is_empty(),
                "{key} is part of what is explained above it"
            );
            continue;
        }
        let path: Vec<&str> = way.iter().map(|(_, key, _)| *key).collect();
        let default = &defaults[path[0]];
        let default = path[1..].iter().fold(default, |value, key| &value[*key]);
        let is_group = default.as_object().is_some_and(|fields| !fields.is_empty());
        if said.is_empty() {
            assert!(is_group, "{} has no comment above it", path.join("."));
        } else {
            rows.push(Row {
                path: path.join("."),
                comment: said.trim().to_owned(),
                default: default.clone(),
            });
        }
    }
    rows
}

#[test]
fn the_readme_has_the_comments_of_the_values_as_a_table() {
    let mut table = String::from("| value | meaning | default |\n|---|---|---|\n");
    for Row {
        path,
        comment,
        default,
    } in rows()
    {
        assert!(comment.ends_with('.'), "{path}: {comment}");
        table += &format!("| `{path}` | {comment} | `{default}` |\n");
    }
    let readme = file("README.md");
    let is_same = readme.ends_with(&format!("\n## Values\n\n{table}"));
    if !is_same {
        let (text, _) = readme
            .split_once("\n## Values\n")
            .expect("a heading Values");
        let mended = std::env::temp_dir().join("taffrail-chart-README.md");
        std::fs::write(&mended, format!("{text}\n## Values\n\n{table}")).unwrap();
        let mended = mended.display();
        panic!("{CHART}/README.md says otherwise than values.yaml: cp {mended} {CHART}/README.md");
    }
}

#[test]
fn every_value_is_used_by_a_template() {
    let mut templates = String::new();
    for directory in ["templates", "templates/tests"] {
        let entries = std::fs::read_dir(Path::new(tools::ROOT).join(CHART).join(directory));
        for entry in entries.unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                templates += &std::fs::read_to_string(entry.path()).unwrap();
            }
        }
    }
    for Row { path, .. } in rows() {
        let last = path.rsplit('.').next().unwrap();
        let is_used = templates.match_indices(last).any(|(at, _)| {
            let ends = |byte: &u8| !byte.is_ascii_alphanumeric();
            templates.as_bytes()[at - 1] == b'.'
                && templates.as_bytes().get(at + last.len()).is_none_or(ends)
        });
        assert!(is_used, "no template reads {path}");
    }
}

#[test]
fn the_schema_is_closed_wherever_it_is_ours() {
    fn walk(schema: &Value, at: &str, seen: &mut u32) {
        if schema["properties"].is_object() {
            assert_eq!(schema["additionalProperties"], false, "{at}");
            *seen += 1;
        }
        for (name, part) in schema.as_object().into_iter().flatten() {
            walk(part, &format!("{at}/{name}"), seen);
        }
    }
    let schema: Value = serde_json::from_str(&file("values.schema.json")).unwrap();
    let mut seen = 0;
    walk(&schema, "", &mut seen);
    assert!(30 < seen, "{seen} groups");
}

/// The keys of the schema that values.yaml does not have: parts of what is empty by default, and what a parent chart sets.
#[test]
fn the_schema_knows_no_key_that_the_values_do_not_explain() {
    fn walk(schema: &Value, defaults: &Value, at: &str, found: &mut Vec<String>) {
        for (name, part) in schema["properties"].as_object().into_iter().flatten() {
            let path = format!("{at}{name}");
            match &defaults[name] {
                Value::Null => found.push(path),
                value => walk(part, value, &format!("{path}."), found),
            }
        }
    }
    let schema: Value = serde_json::from_str(&file("values.schema.json")).unwrap();
    let mut found = Vec::new();
    walk(
        &schema,
        &objects::read(&file("values.yaml"))[0],
        "",
        &mut found,
    );
    found.sort();
    let expected = [
        "affinity.nodeAffinity",
        "affinity.podAffinity",
        "affinity.podAntiAffinity",
        "dnsConfig.nameservers",
        "dnsConfig.options",
        "dnsConfig.searches",
        "enabled",
        "global",
        "resources.claims",
        "tls.certManager.issuerRef.group",
        "tls.certManager.issuerRef.kind",
        "tls.certManager.issuerRef.name",
    ];
    assert_eq!(found, expected);
}

#[test]
fn an_older_kubernetes_than_the_chart_is_for_is_refused() {
    let said = refused(&["--kube-version=1.26.15"]);
    assert!(
        said.contains("chart requires kubeVersion: >=1.27.0-0"),
        "{said}"
    );
    rendered(&["--kube-version=1.30.5-gke.1014001"]);
}

#[test]
fn a_chart_that_depends_on_this_one_may_have_globals_and_a_condition() {
    rendered(&["--set=global.imageRegistry=example.com,enabled=true"]);
}

#[test]
fn every_flag_that_the_chart_writes_is_one_of_the_program_with_a_value_it_takes() {
    for case in cases() {
        let pod = case.pod()["containers"][0]["args"].as_array().unwrap();
        let pods = case.all("Pod");
        let check = pods.iter().map(|pod| &pod["spec"]["containers"][0]["args"]);
        let check = check.flat_map(|args| args.as_array()).collect::<Vec<_>>();
        for args in [vec![pod], check].concat() {
            let args = args.iter().map(|arg| arg.as_str().unwrap());
            let args: Vec<String> = args
                .map(|arg| arg.replace("$(POD_IP)", "10.0.0.7"))
                .collect();
            // Flags before --help are judged, and nothing is started.
            let mut program = Command::new(env!("CARGO_BIN_EXE_taffrail"));
            let output = program.args(&args).arg("--help").output().unwrap();
            assert!(
                output.status.success(),
                "{}: {args:?}: {}",
                case.name,
                tools::said(&output)
            );
        }
    }
}

#[test]
fn v_06_dev_and_prod_differ_only_in_how_the_adapter_runs() {
    let of = |name: &str| {
        let values = format!("{CHART}/env/{name}/values.yaml");
        let keys = &objects::read(&file(&format!("env/{name}/values.yaml")))[0];
        let keys: Vec<String> = keys.as_object().unwrap().keys().cloned().collect();
        (
            keys,
            rendered(&["--values", &values, "--set=image.tag=abc"]),
        )
    };
    let ((dev_keys, dev), (prod_keys, prod)) = (of("dev"), of("prod"));
    assert_eq!(dev_keys, prod_keys);
    let differing = |one: &[Value], other: &[Value]| -> Vec<String> {
        let missing = one.iter().filter(|object| !other.contains(object)).cloned();
        objects::names(&missing.collect::<Vec<_>>())
    };
    // One replica has no budget; everything else is the same but for the Deployment, and that has the same image.
    assert_eq!(differing(&dev, &prod), ["Deployment/taffrail"]);
    let mut of_prod = differing(&prod, &dev);
    of_prod.sort();
    assert_eq!(
        of_prod,
        ["Deployment/taffrail", "PodDisruptionBudget/taffrail"]
    );
    for objects in [dev, prod] {
        let deployment = objects::one(&objects, "Deployment", "taffrail");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        assert_eq!(container["image"], "taffrail:abc");
    }
}

#[test]
fn an_image_is_named_by_its_digest_before_its_tag() {
    let image = |set: &str| {
        let objects = rendered(&["--set", set]);
        let deployment = objects::one(&objects, "Deployment", "taffrail");
        let container = &deployment["spec"]["template"]["spec"]["containers"][0];
        container["image"].as_str().unwrap().to_owned()
    };
    let digest = format!("sha256:{}", "a".repeat(64));
    assert_eq!(
        image("image.registry=r.example:5000"),
        concat!("r.example:5000/taffrail:", env!("CARGO_PKG_VERSION"))
    );
    assert_eq!(
        image(&format!(
            "image.repository=a/b,image.tag=v1,image.digest={digest}"
        )),
        format!("a/b@{digest}")
    );
}
