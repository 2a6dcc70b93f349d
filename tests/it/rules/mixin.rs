//! `dashboards/mixin.libsonnet`, evaluated by jsonnet: with its defaults it is what the plain files say, and its
//! configuration reaches every rule.

use std::collections::BTreeSet;
use std::process::Command;

use serde_json::Value;

use super::{check, path, read};
use crate::fixtures::objects;
use crate::fixtures::tools::said;

/// What jsonnet makes of an expression in which `mixin` is ours.
fn evaluated(expression: &str) -> Value {
    let code = format!("local mixin = import 'mixin.libsonnet'; {expression}");
    let output = Command::new("jsonnet")
        .current_dir(path(""))
        .args(["-e", &code])
        .output()
        .expect("jsonnet, which tests/run installs");
    assert!(output.status.success(), "{expression}: {}", said(&output));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn the_mixin_is_what_the_plain_files_say() {
    for (field, file) in [
        ("prometheusRules", "rules/recording.yaml"),
        ("prometheusAlerts", "rules/alerts.yaml"),
    ] {
        let plain = objects::read(&read(file));
        assert_eq!(evaluated(&format!("mixin.{field}")), plain[0], "{file}");
    }
}

#[test]
fn the_mixin_has_every_board() {
    let made = evaluated("mixin.grafanaDashboards");
    let made = made.as_object().unwrap();
    let folder = path("boards").read_dir().unwrap();
    let names = folder.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut boards = BTreeSet::new();
    for name in names {
        let board: Value = serde_json::from_str(&read(&format!("boards/{name}"))).unwrap();
        assert_eq!(made[&format!("taffrail-{name}")], board, "{name}");
        boards.insert(format!("taffrail-{name}"));
    }
    assert_eq!(made.keys().cloned().collect::<BTreeSet<_>>(), boards);
}

#[test]
fn the_configuration_of_the_mixin_reaches_every_rule() {
    let config = "{_config+:: {
        taffrailSelector: 'job=~\"team/taffrail\"',
        kubeStateMetricsSelector: 'job=\"ksm\"',
        apiServiceSelector: 'name=~\"v1beta1[.]external[.].*\"',
        clusterLabel: 'region',
        runbookBase: 'https://runbooks.example/taffrail',
    }}";
    let folder = tempfile::tempdir().unwrap();
    let mut files = Vec::new();
    for field in ["prometheusRules", "prometheusAlerts"] {
        let text = evaluated(&format!("(mixin + {config}).{field}")).to_string();
        for default in [
            r#"job=\"taffrail\""#,
            "kube-state-metrics",
            "(cluster,",
            "$labels.cluster",
            "dashboards/",
        ] {
            assert!(!text.contains(default), "{field} has {default} still");
        }
        let file = folder.path().join(field);
        std::fs::write(&file, text).unwrap();
        files.push(file);
    }
    check(&[&files[0], &files[1]]);
}
