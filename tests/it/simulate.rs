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

/// An HPA of `users` on latency, from two replicas to `max`.
fn hpa(name: &str, target_ms: u32, max: u32) -> String {
    format!(
        "metadata: {{name: {name}, namespace: shop}}
spec: {{scaleTargetRef: {{kind: Deployment, name: users}}, minReplicas: 2, maxReplicas: {max}, metrics: [{{type: External, external: \
         {{metric: {{name: request_latency_ms}}, target: {{type: Value, value: {target_ms}}}}}}}]}}
"
    )
}

/// Writes HPAs beside a scenario, and has `--hpa` for each.
fn with_hpas(folder: &Path, hpas: &[(&str, String)]) -> Vec<String> {
    let mut flags = Vec::new();
    for (file, text) in hpas {
        let file = folder.join(file);
        std::fs::write(&file, text).unwrap();
        flags.extend(["--hpa".to_owned(), file.to_str().unwrap().to_owned()]);
    }
    flags
}

fn strs(flags: &[String]) -> Vec<&str> {
    flags.iter().map(String::as_str).collect()
}

#[test]
fn of_several_hpas_the_worst_verdict_is_the_exit_code_and_each_has_a_column() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), &STEP.replace("MAX", "2"));
    let output = simulate(&file, &[]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(99), "{said}");
    assert!(said.contains("FAIL  time_to_first_scale_out"), "{said}");

    let grows = ("grows.yaml", hpa("users", 250, 10));
    let blind = (
        "blind.yaml",
        hpa("users", 250, 10).replace("namespace: shop", "namespace: prod"),
    );
    let flags = with_hpas(folder.path(), &[grows, blind]);
    let output = simulate(&file, &strs(&flags));
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(
        output.status.code(),
        Some(99),
        "the scenario's own fails: {said}"
    );
    let row = |label: &str| {
        let line = said.lines().find(|line| line.starts_with(label));
        let cells = line
            .unwrap_or_else(|| panic!("{label} is not in\n{said}"))
            .to_owned();
        let cells = cells
            .trim_start_matches(label)
            .split("  ")
            .map(str::trim)
            .map(str::to_owned);
        cells.filter(|cell| !cell.is_empty()).collect::<Vec<_>>()
    };
    assert_eq!(row("users"), ["scenario", "grows", "blind"]);
    assert_eq!(row("requests"), ["75,600"; 3]);
    assert_eq!(row("check"), ["scenario", "grows", "blind"]);
    assert_eq!(
        row("time_to_first_scale_out[high]"),
        ["FAIL", "pass", "FAIL"]
    );
    assert_eq!(row("scale events")[0], "0");
    assert!(row("first scale-out after")[0] == "-", "{said}");
    assert!(
        said.contains("Simulated 3 times 5m and 226800 requests in "),
        "{said}"
    );
    let note = "note: blind: the HPA of users never had a value of request_latency_ms: ";
    let notes: Vec<&str> = said
        .lines()
        .filter(|line| line.starts_with("note: "))
        .collect();
    assert!(
        matches!(notes[..], [only] if only.starts_with(note) && only.contains("prod")),
        "{said}"
    );

    let without = STEP.split("    hpa:").next().unwrap().to_owned()
        + "scenarios:"
        + STEP.split("\nscenarios:").nth(1).unwrap();
    let output = simulate(&written(folder.path(), &without), &strs(&flags[..2]));
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(
        output.status.code(),
        Some(0),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn several_hpas_are_compared_in_every_report_with_the_same_bytes_each_time() {
    let folder = tempfile::tempdir().unwrap();
    let file = written(folder.path(), &STEP.replace("MAX", "10"));
    let mut flags = with_hpas(
        folder.path(),
        &[
            ("gentle.yaml", hpa("gentle", 400, 6)),
            ("eager.yaml", hpa("users", 120, 10)),
        ],
    );
    let paths = ["run.json", "run.csv", "run.html", "run.xml"].map(|name| folder.path().join(name));
    for (flag, path) in ["--json", "--csv", "--html", "--junit"].iter().zip(&paths) {
        flags.extend([(*flag).to_owned(), path.to_str().unwrap().to_owned()]);
    }
    let played = || {
        let output = simulate(&file, &strs(&flags));
        assert!(matches!(output.status.code(), Some(0 | 99)), "{output:?}");
        paths
            .each_ref()
            .map(|path| std::fs::read_to_string(path).unwrap())
    };
    let [json, csv, html, junit] = played();
    assert!(
        [&json, &csv, &html, &junit] == played().each_ref(),
        "other bytes the second time"
    );

    let file: Value = serde_json::from_str(&json).unwrap();
    let names = ["scenario", "gentle", "eager"];
    for (nth, name) in names.iter().enumerate() {
        let compared = &file["hpas"][nth];
        assert_eq!(compared["hpa"], *name);
        let run = &file["runs"][nth];
        assert_eq!(run["about"]["facts"]["hpa"], *name);
        let figures = &compared["figures"]["users"];
        assert_eq!(figures, &run["figures"]["users"]);
        assert_eq!(figures["requests"], 75_600);
        assert_eq!(
            figures["oraclePodHours"],
            file["hpas"][0]["figures"]["users"]["oraclePodHours"]
        );
        let ratio =
            figures["podHours"].as_f64().unwrap() / figures["oraclePodHours"].as_f64().unwrap();
        assert!((figures["costRatio"].as_f64().unwrap() - ratio).abs() < 1e-9);
    }
    let most = |nth: usize| {
        file["hpas"][nth]["figures"]["users"]["maxReplicas"]
            .as_u64()
            .unwrap()
    };
    assert!(
        most(1) <= 6 && most(1) <= most(2),
        "{} and {}",
        most(1),
        most(2)
    );

    assert_eq!(csv.lines().count(), 1 + 3 * 300);
    assert!(
        csv.starts_with("t_s,service,hpa,offered,"),
        "{}",
        &csv[..80]
    );
    for (nth, name) in names.iter().enumerate() {
        let line = csv.lines().nth(1 + 300 * nth).unwrap();
        assert!(line.starts_with(&format!("0,users,{name},")), "{line}");
        assert!(html.contains(&format!("<th scope=\"col\">{name}</th>")));
        assert!(junit.contains(&format!("<testsuite name=\"step ({name})\"")));
    }
    assert!(html.contains("times the oracle") && !html.contains("<script"));

    // One run of the file is a report that the load generator's own command could have written.
    let one = folder.path().join("one.json");
    std::fs::write(&one, file["runs"][2].to_string()).unwrap();
    let (recording, _) =
        taffrail_loadtest::report::json::read(&std::fs::read_to_string(&one).unwrap()).unwrap();
    assert_eq!(recording.services["users"].load.counts.offered, 75_600);
}

#[test]
fn a_recorded_trace_drives_a_simulation_at_any_speed() {
    let folder = tempfile::tempdir().unwrap();
    let rates: String = (0..600)
        .map(|t_s| format!("{t_s},{}\n", if t_s < 300 { 60 } else { 240 }))
        .collect();
    std::fs::write(
        folder.path().join("trace.csv"),
        format!("t_seconds,rps\n{rates}"),
    )
    .unwrap();
    let head = STEP.replace("MAX", "10");
    let head = head.split("\nscenarios:").next().unwrap();
    let text = |rest: &str| {
        format!("{head}\nscenarios: {{ main: {{ replay: {{ file: trace.csv{rest} }} }} }}\n")
    };
    let json = folder.path().join("run.json");
    let flags = ["--json", json.to_str().unwrap()];
    for (rest, requests) in [
        ("", 90_000u64),
        (", speed: 2", 45_000),
        (", speed: 2, scale: 0.5", 22_500),
    ] {
        let output = simulate(&written(folder.path(), &text(rest)), &flags);
        assert_eq!(output.status.code(), Some(0), "{output:?}");
        let run: Value = serde_json::from_str(&std::fs::read_to_string(&json).unwrap()).unwrap();
        assert_eq!(
            run["services"]["users"]["load"]["counts"]["offered"], requests,
            "{rest}"
        );
    }
    std::fs::write(
        folder.path().join("trace.csv"),
        "t_seconds,rps\n0,60\n1,many\n",
    )
    .unwrap();
    let output = simulate(&written(folder.path(), &text("")), &[]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(104));
    assert!(
        said.contains("scenario.yaml") && said.contains("trace.csv: line 3: `many`"),
        "{said}"
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
            &(STEP.replace("MAX", "9")
                + "events: [{ at: 9s, change: { slowdown: 4, pods: 0 } }]\n"),
            "scenario.yaml:35: events[0].change.pods: must be 1 at least",
        ),
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
