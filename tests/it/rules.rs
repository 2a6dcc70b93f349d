//! The rules of `dashboards/rules`: that promtool finds no fault, that every alert has cases in which it fires, is silent and
//! is resolved, that it can be acted on, and what holds in the live set-up of the boards. Thresholds are not judged here.

mod cases;
mod mixin;
pub(crate) mod runbooks;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::dashboards::findings::{Phase, findings};
use crate::fixtures::objects;
use crate::fixtures::tools::{ROOT, said};

/// Alerts of the kubernetes-mixin on the same ground: who runs Kubernetes has them.
const OTHERS: [&str; 5] = [
    "KubeHpaReplicasMismatch",
    "KubeHpaMaxedOut",
    "KubeAggregatedAPIErrors",
    "KubeAggregatedAPIDown",
    "KubePdbNotEnoughHealthyPods",
];

/// What rules may use: Prometheus has had all of it since 2.30.
const FIELDS: [&str; 6] = ["alert", "annotations", "expr", "for", "labels", "record"];
const FUNCTIONS: [&str; 14] = [
    "absent",
    "and",
    "by",
    "changes",
    "delta",
    "max",
    "min",
    "on",
    "or",
    "rate",
    "sgn",
    "sum",
    "sum_over_time",
    "time",
];
const TEMPLATE_FUNCTIONS: [&str; 2] = ["humanizeDuration", "humanizePercentage"];

/// Which alerts' expressions hold in the live set-up, leaving out for how long: its HPA `exports` is at its maximum, and
/// over its target for as long as it can read its metric.
const HOLD: [(Phase, &[&str]); 3] = [
    (Phase::Well, &["HpaAtMaxOverTarget"]),
    (
        Phase::TargetsLost,
        &[
            "HpaMetricMissing",
            "HpaScalingInactive",
            "TaffrailApiServiceElsewhere",
            "TaffrailDelegateFailing",
            "TaffrailDelegateSlow",
            "TaffrailMetricUnknown",
            "TaffrailNotReady",
            "TaffrailScrapeFailing",
        ],
    ),
    (
        Phase::AdapterLost,
        &["ExternalMetricsAPIUnavailable", "TaffrailDown"],
    ),
];

/// Which may: the HPA `users` goes up and down every few seconds, and whether it has turned often enough, or enough reads
/// have failed, is a matter of how long a phase took. A machine that stands still is slow, and loses targets for a moment.
/// What was lost before a phase may be seen still.
const MAY_HOLD: [(Phase, &[&str]); 3] = [
    (
        Phase::Well,
        &[
            "HpaOscillating",
            "TaffrailLatencyBudgetBurn",
            "TaffrailMetricUnknown",
            "TaffrailScrapeFailing",
        ],
    ),
    (
        Phase::TargetsLost,
        &[
            "HpaAtMaxOverTarget",
            "HpaOscillating",
            "TaffrailErrorBudgetBurn",
            "TaffrailLatencyBudgetBurn",
        ],
    ),
    (
        Phase::AdapterLost,
        &[
            "HpaAtMaxOverTarget",
            "HpaMetricMissing",
            "HpaOscillating",
            "HpaScalingInactive",
            "TaffrailApiServiceElsewhere",
            "TaffrailDelegateFailing",
            "TaffrailDelegateSlow",
            "TaffrailErrorBudgetBurn",
            "TaffrailLatencyBudgetBurn",
            "TaffrailMetricUnknown",
            "TaffrailNotReady",
            "TaffrailScrapeFailing",
        ],
    ),
];

/// An alerting rule.
struct Alert {
    name: String,
    rule: Value,
}

impl Alert {
    fn text<'a>(&'a self, pointer: &str) -> &'a str {
        let text = self.rule.pointer(pointer).and_then(Value::as_str);
        text.unwrap_or_else(|| panic!("{} has no {pointer}", self.name))
    }

    /// The labels it gives to its alerts: several rules of one name differ by them.
    fn labels(&self) -> &serde_json::Map<String, Value> {
        self.rule["labels"].as_object().unwrap()
    }
}

/// A file or folder of `dashboards/`.
fn path(of: &str) -> PathBuf {
    Path::new(ROOT).join("dashboards").join(of)
}

fn read(of: &str) -> String {
    let path = path(of);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The one group of a file of rules, of this name.
fn group(file: &str, name: &str) -> Vec<Value> {
    let documents = objects::read(&read(file));
    let [document] = &documents[..] else {
        panic!("{file} is {} documents", documents.len());
    };
    let groups = document["groups"].as_array().unwrap();
    let [group] = &groups[..] else {
        panic!("{file} has {} groups", groups.len());
    };
    assert_eq!(group["name"], name);
    group["rules"].as_array().unwrap().clone()
}

fn recordings() -> Vec<Value> {
    group("rules/recording.yaml", "taffrail.rules")
}

fn alerts() -> Vec<Alert> {
    let rules = group("rules/alerts.yaml", "taffrail.alerts");
    let alert = |rule: Value| Alert {
        name: rule["alert"].as_str().unwrap().to_owned(),
        rule,
    };
    rules.into_iter().map(alert).collect()
}

/// Runs promtool, which must be content.
fn promtool(args: &[&str]) -> Output {
    let output = Command::new("promtool").args(args).output();
    let output = output.expect("promtool, which tests/run installs");
    assert!(output.status.success(), "{args:?}: {}", said(&output));
    output
}

/// Has promtool look at rules with every lint it has.
fn check(files: &[&Path]) {
    let files = files.iter().map(|file| file.to_str().unwrap());
    let args = ["check", "rules", "--lint=all", "--lint-fatal"];
    promtool(&args.into_iter().chain(files).collect::<Vec<_>>());
}

#[test]
fn promtool_finds_no_fault_in_the_rules() {
    check(&[&path("rules/recording.yaml"), &path("rules/alerts.yaml")]);
}

#[test]
fn every_series_recorded_is_named_by_its_level_its_metric_and_the_operation() {
    for rule in recordings() {
        let name = rule["record"].as_str().unwrap();
        let parts: Vec<&str> = name.split(':').collect();
        assert!(
            parts.len() == 3 && parts.iter().all(|part| !part.is_empty()),
            "{name} is not level:metric:operation"
        );
        assert!(name.starts_with("cluster_"), "{name} names its level");
    }
}

#[test]
fn every_aggregation_and_every_match_keeps_the_cluster() {
    let grouped = regex::Regex::new(r"\b(?:sum|min|max|avg|count)\b([^(]*\(\w*)").unwrap();
    let matched = regex::Regex::new(r"\b(?:on|ignoring) \((\w*)").unwrap();
    let rules = recordings();
    let alerts = alerts();
    let all = rules.iter().chain(alerts.iter().map(|alert| &alert.rule));
    for rule in all {
        let expr = rule["expr"].as_str().unwrap();
        for found in grouped.captures_iter(expr) {
            assert_eq!(&found[1], " by (cluster", "{expr}");
        }
        for found in matched.captures_iter(expr) {
            assert_eq!(&found[1], "cluster", "{expr}");
        }
    }
}

#[test]
fn every_alert_waits_has_a_severity_and_says_what_is_the_matter() {
    for alert in alerts() {
        let name = &alert.name;
        assert!(!alert.text("/for").is_empty());
        let severity = alert.text("/labels/severity");
        assert!(
            ["critical", "warning", "info"].contains(&severity),
            "{name}: {severity}"
        );
        let summary = alert.text("/annotations/summary");
        assert!(!summary.contains("{{"), "{name} groups by its summary");
        let description = alert.text("/annotations/description");
        assert!(description.contains("{{"), "{name} says of what");
        for text in [summary, description] {
            assert!(text.ends_with('.'), "{name}: {text} is a sentence");
        }
        let is_ours = ["Taffrail", "Hpa", "ExternalMetrics"]
            .iter()
            .any(|begin| name.starts_with(begin));
        assert!(is_ours && !OTHERS.contains(&name.as_str()), "{name}");
    }
}

#[test]
fn rules_need_nothing_that_an_older_prometheus_does_not_have() {
    let called = regex::Regex::new(r"\b([a-z_]+)\s*\(").unwrap();
    let piped = regex::Regex::new(r"\|\s*(\w+)").unwrap();
    let in_braces = regex::Regex::new(r"\{[^}]*\}").unwrap();
    for file in ["rules/recording.yaml", "rules/alerts.yaml"] {
        for document in objects::read(&read(file)) {
            for group in document["groups"].as_array().unwrap() {
                let fields: BTreeSet<&String> = group.as_object().unwrap().keys().collect();
                assert_eq!(
                    fields.len(),
                    2,
                    "{file}: {fields:?} are more than name and rules"
                );
            }
        }
    }
    let alerts = alerts();
    for rule in recordings()
        .iter()
        .chain(alerts.iter().map(|alert| &alert.rule))
    {
        let mut fields = rule.as_object().unwrap().keys();
        assert!(
            fields.all(|field| FIELDS.contains(&field.as_str())),
            "{rule}"
        );
        let expr = in_braces.replace_all(rule["expr"].as_str().unwrap(), "");
        for found in called.captures_iter(&expr) {
            assert!(FUNCTIONS.contains(&&found[1]), "{}: {expr}", &found[1]);
        }
    }
    for alert in alerts {
        for found in piped.captures_iter(alert.text("/annotations/description")) {
            assert!(TEMPLATE_FUNCTIONS.contains(&&found[1]), "{}", &found[0]);
        }
    }
}

#[test]
fn rules_of_one_alert_differ_by_their_labels() {
    let alerts = alerts();
    for (nth, alert) in alerts.iter().enumerate() {
        let same = alerts[..nth]
            .iter()
            .find(|other| other.name == alert.name && other.labels() == alert.labels());
        assert!(same.is_none(), "{} is there twice", alert.name);
    }
}

#[test]
fn what_alerts_say_of_the_live_set_up_is_known() {
    let names: BTreeSet<String> = alerts().into_iter().map(|alert| alert.name).collect();
    for ((phase, must), (_, may)) in HOLD.into_iter().zip(MAY_HOLD) {
        // Of several rules of a name the first is looked at.
        let holds = |name: &&String| !findings().answer(phase, name).is_empty();
        let held: BTreeSet<&str> = names.iter().filter(holds).map(String::as_str).collect();
        let must = BTreeSet::from_iter(must.iter().copied());
        let may = BTreeSet::from_iter(may.iter().copied());
        let missing: Vec<_> = must.difference(&held).collect();
        let surplus: Vec<_> = held
            .iter()
            .filter(|name| !must.contains(**name) && !may.contains(**name))
            .collect();
        assert!(missing.is_empty(), "{phase:?}: {missing:?} do not hold");
        assert!(surplus.is_empty(), "{phase:?}: {surplus:?} hold");
    }
}
