//! `taffrail simulate` from outside: what it prints and writes, and how it ends. The scenarios that the load generator
//! comes with are played here, too: each must pass in virtual time as it does anywhere else.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

/// A step that needs more pods, with an HPA that adds them.
const STEP: &str = r"
name: step
seed: 7
services:
  users:
    app: { workers: 4, serviceTime: 40ms, serviceCv: 1, cpuShare: 0.025, startup: 4s, drain: 5s }
    metrics:
      apiVersion: taffrail.dev/v1alpha1
      kind: RequestMetrics
      metadata: { name: users, namespace: shop }
      spec:
        source: { pods: { selector: { matchLabels: { app: users } }, inFlight: http_requests_in_flight } }
        objective: { quantile: 0.95, latency: 250ms }
    hpa:
      metadata: { name: users, namespace: shop }
      spec:
        minReplicas: 2
        maxReplicas: MAX
        metrics:
          - type: External
            external:
              metric: { name: request_latency_ms, selector: { matchLabels: { service: users } } }
              target: { type: Value, value: 250 }
scenarios:
  main:
    startRate: 60
    stages:
      - { name: base, target: 60, duration: 60s }
      - { name: step, target: 300, duration: 0s }
      - { name: high, target: 300, duration: 240s }
slo: { quantile: 95, target: 250ms, window: 10s }
assertions:
  - time_to_first_scale_out: { from: stage(high).start, max: 60s }
  - error_rate: { max: 0.05 }
";

fn simulate(file: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command
        .arg("simulate")
        .arg(file)
        .args(args)
        .output()
        .unwrap()
}

fn written(folder: &Path, text: &str) -> PathBuf {
    let file = folder.join("scenario.yaml");
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn a_scenario_is_played_judged_and_written_the_same_every_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), &STEP.replace("MAX", "10"));
    let [json, csv] = ["run.json", "run.csv"].map(|name| folder.path().join(name));
    let paths = [
        "--json",
        json.to_str().unwrap(),
        "--csv",
        csv.to_str().unwrap(),
    ];
    let output = simulate(&file, &paths);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    for part in [
        "step: a simulation",
        "users",
        "75600",
        "pass  time_to_first_scale_out",
        "Simulated 5m",
    ] {
        assert!(said.contains(part), "{part} is not in\n{said}");
    }
    let first = std::fs::read_to_string(&json).unwrap();
    let run: Value = serde_json::from_str(&first).unwrap();
    assert_eq!(run["about"]["tier"], "virtual");
    assert_eq!(run["verdict"]["outcome"], "pass");
    assert_eq!(
        run["services"]["users"]["load"]["counts"]["offered"],
        75_600
    );
    let table = std::fs::read_to_string(&csv).unwrap();
    assert_eq!(table.lines().count(), 301, "a line for each second");
    assert!(
        table.lines().nth(30).unwrap().starts_with("29,users,"),
        "{table}"
    );
    assert!(
        table
            .lines()
            .nth(200)
            .unwrap()
            .contains("request_latency_ms="),
        "{table}"
    );

    simulate(&file, &paths);
    assert!(
        first == std::fs::read_to_string(&json).unwrap(),
        "other bytes the second time"
    );
}

#[test]
fn an_hpa_that_cannot_grow_fails_the_check_and_one_given_instead_passes_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), &STEP.replace("MAX", "2"));
    let output = simulate(&file, &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(99), "{said}");
    assert!(said.contains("FAIL  time_to_first_scale_out"), "{said}");

    let hpa = folder.path().join("hpa.yaml");
    let yaml = "metadata: {name: other, namespace: shop}\nspec: {maxReplicas: 10, minReplicas: 2, metrics: [{type: External, external: \
                {metric: {name: request_latency_ms}, target: {type: Value, value: 250}}}]}";
    std::fs::write(&hpa, yaml).unwrap();
    let output = simulate(&file, &["--hpa", hpa.to_str().unwrap()]);
    assert_eq!(
        output.status.code(),
        Some(0),
        "{}",
        String::from_utf8_lossy(&output.stdout)
    );
}

#[test]
fn what_is_no_scenario_is_refused_with_its_line() {
    let folder = tempfile::tempdir().unwrap();
    let cases = [
        ("name: a\nseed: many\n", "scenario.yaml:2: seed"),
        (
            "name: a\nscenarios: {main: {profile: '5@10s'}}\n",
            "has no `app`",
        ),
        (
            "name: a\nscenarios: {main: {profile: '5@10s'}}\nthresholds: {http_req_fialed: ['rate<0.1']}\n",
            "http_req_fialed",
        ),
        (&STEP.replace("MAX", "0"), "maxReplicas"),
        (
            &STEP
                .replace("MAX", "9")
                .replace("selector: { matchLabels: { app: users } },", ""),
            "selector is missing",
        ),
    ];
    for (text, expected) in cases {
        let output = simulate(&written(folder.path(), text), &[]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(104), "{said}");
        assert!(said.contains(expected), "{expected} is not in\n{said}");
    }
    let output = simulate(&folder.path().join("none.yaml"), &[]);
    assert_eq!(output.status.code(), Some(104));
}

#[test]
fn the_scenarios_of_the_load_generator_pass_in_virtual_time() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/scenarios");
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.retain(|file| {
        file.extension()
            .is_some_and(|extension| extension == "yaml")
    });
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        for seed in ["1", "2", "3"] {
            let output = simulate(&file, &["--seed", seed]);
            let said = String::from_utf8_lossy(&output.stdout).into_owned()
                + &String::from_utf8_lossy(&output.stderr);
            assert_eq!(
                output.status.code(),
                Some(0),
                "{} with seed {seed}:\n{said}",
                file.display()
            );
        }
    }
}
