//! The five systems that teams hand around, each played on this machine from its file: pods as processes, the adapter with
//! its API, real requests, real Redis. What must hold stands in the files; here is only that it does, and that a system
//! that scales wrongly is told so.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use taffrail_loadtest::scenario::Scenario;
use tempfile::TempDir;

/// Times as fast as the HPA's own pace: it looks every one and a half seconds.
const SPEED: &str = "10";

/// The exit code of a run in which something did not hold.
pub(crate) const FAILED: i32 = 99;

/// The exit code of a scenario that cannot be played.
const INVALID: i32 = 104;

/// Runs of one scenario, of which one must pass.
pub(crate) const RUNS_MAX: usize = 4;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("loadtest/scenarios")
}

pub(crate) fn play(file: &Path) -> Output {
    play_with(file, &[])
}

fn play_with(file: &Path, flags: &[&str]) -> Output {
    let folder = TempDir::new().unwrap();
    let report = folder.path().join("report.html");
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command
        .args(["demo", "--speed", SPEED, "--scenario"])
        .arg(file)
        .args(flags);
    command.arg("--report").arg(&report);
    let output = command.stdin(Stdio::null()).output().unwrap();
    assert!(report.exists(), "no report: {}", said(&output));
    output
}

pub(crate) fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    format!("{}\n{}", text(&output.stderr), text(&output.stdout))
}

/// One run of a few must pass, because other work on the machine is time that requests wait; a scaling that is wrong
/// passes in none.
fn passes(name: &str) {
    for _ in 0..RUNS_MAX {
        let output = play(&folder().join(name));
        if output.status.code() == Some(0) {
            return;
        }
        eprintln!(
            "{name} ended with {:?}:\n{}",
            output.status.code(),
            said(&output)
        );
    }
    panic!("{name} passed in none of {RUNS_MAX} runs; see above");
}

#[test]
fn every_scenario_is_read_and_says_what_must_hold_of_each_service() {
    let mut read = 0;
    for entry in std::fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let scenario = Scenario::load(&path).unwrap_or_else(|error| panic!("{error}"));
        assert!(!scenario.description.is_empty(), "{}", path.display());
        for (name, service) in &scenario.services {
            assert!(
                service.app.is_some() && service.hpa.is_some() && service.metrics.is_some(),
                "{name}"
            );
            let only = scenario.services.len() == 1;
            let spoken_of =
                |service: &Option<String>| service.as_ref().map_or(only, |of| of == name);
            assert!(
                scenario
                    .assertions
                    .iter()
                    .any(|check| spoken_of(&check.service)),
                "{name}"
            );
        }
        read += 1;
    }
    assert_eq!(read, 5);
}

#[test]
fn what_is_not_played_on_one_machine_is_refused_before_anything_is_started() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("shop.yaml");
    let app = "app: {workers: 1, serviceTime: 10ms}";
    let open = "{executor: ramping-arrival-rate, stages: [{target: 5, duration: 10s}]}";
    for (service, load, rest, expected) in [
        (
            app,
            "{executor: replay, file: day.csv}",
            "",
            "load `main`: reading day.csv: ",
        ),
        ("requests: []", open, "", "has no `app`"),
        (
            "app: {workers: 1}, metrics: {source: {redis: {server: {}}}}",
            open,
            "",
            "service shop: metrics: reads Redis, but no app of the scenario uses it",
        ),
        (
            app,
            open,
            "thresholds: {http_req_fialed: ['rate<0.1']}",
            "http_req_fialed",
        ),
        (
            "app: {workers: 1, serviceTime: 10ms, token: '${env:TAFFRAIL_TEST_IS_NOT_SET}'}",
            open,
            "",
            "TAFFRAIL_TEST_IS_NOT_SET",
        ),
    ] {
        let text = format!(
            "name: shop\nservices: {{shop: {{{service}}}}}\nscenarios: {{main: {load}}}\n{rest}\n"
        );
        std::fs::write(&file, text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
        let output = command
            .args(["demo", "--scenario"])
            .arg(&file)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(INVALID), "{}", said(&output));
        assert!(
            said(&output).contains(expected),
            "{expected} is not in {}",
            said(&output)
        );
    }
}

/// Two open loads, a trace and a closed loop on one service, and one on another, at different times.
const LOADS: &str = "
name: mixed
services:
  shop: { app: { workers: 4, serviceTime: 40ms } }
  other: { app: { workers: 4, serviceTime: 40ms } }
scenarios:
  day: { service: shop, executor: replay, file: day.csv, startTime: 10s }
  early: { service: shop, profile: 40@20s }
  late: { service: shop, profile: 20@20s, startTime: 20s }
  other: { service: other, profile: 30@40s }
  users: { service: shop, executor: constant-vus, vus: 3, startTime: 10s, duration: 20s }
assertions:
  - { service: shop, error_rate: { max: 0 } }
  - { service: other, error_rate: { max: 0 } }
";

#[test]
fn loads_of_every_kind_are_played_together_here_as_in_virtual_time() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("mixed.yaml");
    std::fs::write(&file, LOADS).unwrap();
    std::fs::write(folder.path().join("day.csv"), "0,10\n10,50\n20,10\n").unwrap();
    let json = folder.path().join("run.json");
    let output = (0..RUNS_MAX)
        .map(|_| play_with(&file, &["--recording", json.to_str().unwrap()]))
        .find(|output| output.status.code() == Some(0))
        .expect("it passed in none of a few runs");
    let recorded = || -> Value { serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap() };
    let here = recorded();
    let simulated = Command::new(env!("CARGO_BIN_EXE_taffrail"))
        .arg("simulate")
        .arg(&file)
        .arg("--json")
        .arg(&json)
        .output()
        .unwrap();
    assert_eq!(simulated.status.code(), Some(0), "{}", said(&simulated));
    let there = recorded();
    assert_eq!(
        here["stages"], there["stages"],
        "both are on the scenario's clock"
    );
    let offered = |run: &Value, service: &str| {
        let counts = &run["services"][service]["load"]["counts"];
        counts["offered"].as_u64().unwrap()
    };
    // Ten times as fast, a tenth of the requests is sent.
    assert_eq!(
        (offered(&here, "other"), offered(&there, "other")),
        (120, 1_200)
    );
    let (open_here, open_there) = (80 + 40 + 70, 800 + 400 + 700);
    let users = [
        offered(&here, "shop") - open_here,
        offered(&there, "shop") - open_there,
    ];
    // Within 2 s of the wall, three users who wait 40 ms and more for each answer; within 20 s of virtual time.
    assert!(
        (3..=250).contains(&users[0]),
        "{users:?}, {}",
        said(&output)
    );
    assert!((150..=2_500).contains(&users[1]), "{users:?}");
}

#[test]
fn a_run_ends_early_when_its_safety_or_a_threshold_says_so() {
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("refused.yaml");
    for (rule, code) in [
        ("safety: { maxErrorRate: 0.1, for: 5s }", 115),
        (
            "thresholds: { http_req_failed: [{ threshold: 'rate<0.1', abortOnFail: true }] }",
            FAILED,
        ),
    ] {
        // Nobody sends the token. Without an end it would take six minutes.
        let text = format!(
            "name: refused\napp: {{ workers: 1, token: hush }}\nscenarios: {{ main: {{ profile: 20@1h }} }}\n{rule}\n"
        );
        std::fs::write(&file, text).unwrap();
        let output = play(&file);
        assert_eq!(
            output.status.code(),
            Some(code),
            "{rule}: {}",
            said(&output)
        );
        assert!(
            said(&output).contains("ending the run: "),
            "{}",
            said(&output)
        );
    }
}

#[test]
fn visits_scales_on_latency_and_on_what_redis_counts_and_holds_while_redis_is_away() {
    passes("visits.yaml");
}

#[test]
fn hello_is_scraped_with_its_token_and_is_not_scaled_with_a_wrong_one() {
    passes("hello.yaml");
}

#[test]
fn slow_payments_do_not_drive_invoices_to_its_maximum() {
    passes("invoices.yaml");
}

#[test]
fn internal_stays_between_three_and_ten() {
    passes("internal.yaml");
}

#[test]
fn a_bad_rollout_of_users_moves_nothing_and_shifts_is_left_alone() {
    passes("users-and-shifts.yaml");
}

#[test]
fn a_service_that_may_not_grow_as_it_must_is_told_so() {
    let text = std::fs::read_to_string(folder().join("internal.yaml")).unwrap();
    let broken = text.replace("maxReplicas: 10", "maxReplicas: 3");
    assert_ne!(text, broken);
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("internal.yaml");
    std::fs::write(&file, broken).unwrap();
    let failed = (0..RUNS_MAX).any(|_| {
        let output = play(&file);
        assert_ne!(output.status.code(), Some(0), "{}", said(&output));
        output.status.code() == Some(FAILED)
    });
    assert!(failed, "it could be told in none of {RUNS_MAX} runs");
}
