//! The cases of `dashboards/tests`: promtool runs them, and no alert lacks one of the three it needs.

use std::thread;

use serde_json::Value;

use super::{Alert, alerts, path, promtool, read};
use crate::fixtures::objects;

/// What one look at an alert expects: when, and the labels of the alerts that fire then.
struct Look {
    expected: Vec<Value>,
}

/// The files of cases.
fn files() -> Vec<String> {
    let folder = path("tests").read_dir().unwrap();
    let names = folder.map(|file| file.unwrap().file_name().into_string().unwrap());
    let mut files: Vec<String> = names.map(|name| format!("tests/{name}")).collect();
    files.sort();
    files
}

/// The looks at the alerts of a name, test by test, each in the order of time.
fn looks(alert: &str) -> Vec<Vec<Look>> {
    let mut looks = Vec::new();
    for file in files() {
        for document in objects::read(&read(&file)) {
            for test in document["tests"].as_array().unwrap() {
                let all = test["alert_rule_test"].as_array().into_iter().flatten();
                let of_alert = all.filter(|look| look["alertname"] == alert);
                looks.push(of_alert.map(Look::of).collect());
            }
        }
    }
    looks.retain(|looks: &Vec<Look>| !looks.is_empty());
    looks
}

impl Look {
    fn of(look: &Value) -> Self {
        let expected = look["exp_alerts"].as_array().cloned();
        Self {
            expected: expected.unwrap_or_default(),
        }
    }

    /// Whether this very rule fires.
    fn fires(&self, rule: &Alert) -> bool {
        self.expected.iter().any(|alert| {
            let given = &alert["exp_labels"];
            rule.labels()
                .iter()
                .all(|(label, value)| given[label] == *value)
        })
    }
}

#[test]
fn promtool_sees_every_case_come_out_as_it_says() {
    thread::scope(|scope| {
        for file in files() {
            scope.spawn(move || promtool(&["test", "rules", path(&file).to_str().unwrap()]));
        }
    });
}

#[test]
fn every_alert_fires_is_silent_and_is_resolved_in_some_case() {
    for alert in alerts() {
        let name = format!("{} {:?}", alert.name, alert.labels());
        let tests = looks(&alert.name);
        let fires = |look: &Look| look.fires(&alert);
        assert!(tests.iter().flatten().any(fires), "{name} never fires");
        let is_silent = |looks: &Vec<Look>| !looks.iter().any(fires);
        assert!(tests.iter().any(is_silent), "{name} is never silent");
        let is_resolved = |looks: &Vec<Look>| {
            let after = looks.iter().skip_while(|look| !fires(look));
            after
                .skip_while(|look| fires(look))
                .any(|look| !fires(look))
        };
        assert!(tests.iter().any(is_resolved), "{name} is never resolved");
    }
}

#[test]
fn no_case_is_of_an_alert_that_is_not_there() {
    let names: Vec<String> = alerts().into_iter().map(|alert| alert.name).collect();
    for file in files() {
        for document in objects::read(&read(&file)) {
            // Without the order an alert reads what was recorded now or a moment ago, as it happens.
            assert_eq!(document["group_eval_order"][0], "taffrail.rules", "{file}");
            let tests = document["tests"].as_array().unwrap();
            let looks = tests
                .iter()
                .filter_map(|test| test["alert_rule_test"].as_array());
            for look in looks.flatten() {
                let name = look["alertname"].as_str().unwrap();
                assert!(names.iter().any(|known| known == name), "{file}: {name}");
            }
        }
    }
}
