//! `taffrail tune` from outside: what it learns from runs and samples of a service that is known, whether what it
//! recommends is better on seeds that it has not seen, and what it says when it cannot tell.

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use taffrail::config::{self, autoscaler};

/// A service whose pods take about 16 requests a second within half a second, and an HPA that keeps far too many.
const WASTEFUL: &str = r"
name: users
seed: 7
app: { workers: 2, serviceTime: 100ms, serviceCv: 0.5, cpuShare: 0.5, cpuRequest: 1000, startup: 15s, drain: 2s }
metrics:
  apiVersion: taffrail.dev/v1alpha1
  kind: RequestMetrics
  metadata: { name: users, namespace: shop }
  spec:
    source: { pods: { selector: { matchLabels: { app: users } }, inFlight: http_requests_in_flight } }
    objective: { quantile: 0.95, latency: 500ms }
hpa:
  apiVersion: autoscaling/v2
  kind: HorizontalPodAutoscaler
  metadata: { name: users, namespace: shop }
  spec:
    scaleTargetRef: { apiVersion: apps/v1, kind: Deployment, name: users }
    minReplicas: 1
    maxReplicas: 20
    metrics:
      - type: External
        external:
          metric: { name: request_rate, selector: { matchLabels: { service: users } } }
          target: { type: AverageValue, averageValue: '2' }
scenarios:
  main: { profile: PROFILE }
";

/// A service that a ramp shows to the full: its pods take 40 requests a second at most.
const MEASURED: &str = r"
name: users
seed: 3
app: { workers: 2, serviceTime: 50ms, serviceCv: 0.5, cpuShare: 0.5, cpuRequest: 1000, startup: 15s, drain: 2s }
metrics:
  spec:
    source: { pods: { selector: { matchLabels: { app: users } }, inFlight: http_requests_in_flight } }
    objective: { quantile: 0.95, latency: 250ms }
hpa:
  metadata: { name: users }
  spec:
    scaleTargetRef: { kind: Deployment, name: users }
    minReplicas: 2
    maxReplicas: 4
    metrics:
      - { type: Resource, resource: { name: cpu, target: { type: Utilization, averageUtilization: 75 } } }
scenarios:
  main: { profile: PROFILE }
";

fn taffrail(command: &str, args: &[&str]) -> Output {
    let mut taffrail = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    taffrail.arg(command).args(args).output().unwrap()
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The recording of a run of [`MEASURED`] with this load.
fn run(folder: &Path, profile: &str) -> PathBuf {
    let scenario = written(
        folder,
        "measured.yaml",
        &MEASURED.replace("PROFILE", profile),
    );
    let run = folder.join("run.json");
    let output = taffrail(
        "simulate",
        &[scenario.to_str().unwrap(), "--json", run.to_str().unwrap()],
    );
    assert!(run.exists(), "{}", said(&output));
    run
}

#[test]
fn an_hpa_that_wastes_pods_becomes_a_better_one_with_reasons_and_a_patch() {
    let folder = tempfile::tempdir().unwrap();
    let wasteful = WASTEFUL.replace("PROFILE", "8@60s 8->40@90s 40@90s 40->12@30s");
    let scenario = written(folder.path(), "users.yaml", &wasteful);
    let [patch, report, page] =
        ["better.yaml", "tune.json", "tune.html"].map(|name| folder.path().join(name));
    let args = [
        scenario.to_str().unwrap(),
        "--budget=48",
        "-o",
        patch.to_str().unwrap(),
        "--json",
        report.to_str().unwrap(),
        "--html",
        page.to_str().unwrap(),
    ];
    let output = taffrail("tune", &args);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    for part in [
        "A pod takes",
        "The frontier",
        "Why",
        "How sure that is",
        "other seeds",
        "coarse grid: 24 plays",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }

    let found = json(&report);
    let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_f64).unwrap();
    let (before, after) = (
        number("/present/confirmed/pod_hours"),
        number("/recommended/confirmed/pod_hours"),
    );
    assert!(
        after < 0.6 * before,
        "{after} pod-hours instead of {before}\n{text}"
    );
    assert!(number("/recommended/confirmed/bad_share") <= 0.05, "{text}");
    assert!(
        found["tried"]
            .as_array()
            .unwrap()
            .iter()
            .any(|tried| tried["is_on_frontier"] == true)
    );

    // The patch is what a cluster takes: the HPA there is, with what changed.
    let patch = std::fs::read_to_string(&patch).unwrap();
    let mut documents = patch.split("\n---\n");
    let hpa = documents.next().unwrap();
    let spec = autoscaler::from_yaml(hpa).unwrap();
    assert_eq!((spec.min_replicas, spec.max_replicas), (1, 20));
    let object = autoscaler::object_from_yaml(hpa).unwrap();
    assert_eq!(object["metadata"]["namespace"], "shop");
    assert_eq!(object["spec"]["scaleTargetRef"]["name"], "users");
    for document in documents {
        let object = autoscaler::object_from_yaml(document).unwrap();
        config::object(&object.to_string()).unwrap();
    }
    let page = std::fs::read_to_string(&page).unwrap();
    for part in [
        "<circle class=\"chosen\"",
        "<circle class=\"present\"",
        "class=\"frontier\"",
        "averageValue",
    ] {
        assert!(page.contains(part), "{part} is not in the report");
    }
    assert!(!page.contains("<script"));
}

#[test]
fn the_same_files_and_seed_give_the_same_bytes_and_another_seed_does_not() {
    let folder = tempfile::tempdir().unwrap();
    let text = WASTEFUL.replace("PROFILE", "6->12@40s");
    let scenario = written(folder.path(), "users.yaml", &text);
    let tuned = |seed: &str| {
        let args = [
            scenario.to_str().unwrap(),
            "--budget=48",
            "--plain",
            "--json=-",
            "--seed",
            seed,
        ];
        let output = taffrail("tune", &args);
        assert!(!output.stdout.is_empty(), "{}", said(&output));
        (output.stdout, output.stderr)
    };
    let first = tuned("1");
    assert!(first == tuned("1"), "other bytes the second time");
    assert!(first != tuned("2"));
}

#[test]
fn what_a_pod_takes_and_how_long_it_starts_are_found_in_a_run() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), "8@30s 8->150@300s");
    let hpa = written(
        folder.path(),
        "hpa.yaml",
        "{metadata: {name: users}, spec: {scaleTargetRef: {kind: Deployment, name: users}, minReplicas: 1, maxReplicas: 9}}",
    );
    let trace = written(
        folder.path(),
        "day.csv",
        "t_seconds,rps\n0,12\n30,40\n60,40\n",
    );
    let report = folder.path().join("tune.json");
    let args = [&run, &trace].map(|path| path.to_str().unwrap());
    let more = [
        "--hpa",
        hpa.to_str().unwrap(),
        "--json",
        report.to_str().unwrap(),
        "--budget=48",
        "--plain",
    ];
    let output = taffrail("tune", &[&args[..], &more].concat());
    let text = said(&output);
    assert!(report.exists(), "{text}");
    let found = json(&report);
    let number = |pointer: &str| found.pointer(pointer).and_then(Value::as_f64).unwrap();
    // Two workers of 50 ms each take 40/s at most.
    let capacity = number("/pod/capacity_rps");
    assert!((36.0..=44.0).contains(&capacity), "{capacity}\n{text}");
    let startup = number("/pod/fit/startup/seconds");
    assert!((15.0..=16.0).contains(&startup), "{startup}\n{text}");
    // Half of a request's time is CPU, of which a core is requested: 2.5 per cent for each request per second.
    let cpu = number("/pod/fit/cpu_percent");
    assert!((2.2..=2.8).contains(&cpu), "{cpu}\n{text}");
    assert_eq!(
        found["recommended"]["hpa"]["spec"]["maxReplicas"], 9,
        "{text}"
    );
}

#[test]
fn a_service_that_was_never_loaded_is_to_be_measured_first() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), "4->12@120s");
    let output = taffrail("tune", &[run.to_str().unwrap(), "--budget=48", "--plain"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(113), "{text}");
    assert!(
        text.contains("is not known") && text.contains("taffrail-loadtest run --url"),
        "{text}"
    );

    let short = written(
        folder.path(),
        "short.csv",
        "t_seconds,rps,pods,p95_ms\n0,10,2,30\n15,10,2,31\n30,11,2,30\n",
    );
    let output = taffrail("tune", &[short.to_str().unwrap(), "--objective", "100ms"]);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(113), "{text}");
    assert!(
        text.contains("too little was seen") && text.contains("--profile"),
        "{text}"
    );
}

/// The 0.95-quantile of the time in a line before two workers, in service times, which are exponential and so are the
/// times between arrivals; `busy` is below 1 and not one half.
fn p95_of_two_workers(busy: f64) -> f64 {
    let waits = 2.0 * busy * busy / (1.0 + busy);
    let rest = 1.0 - 2.0 * busy;
    let over = |t: f64| (-t).exp() * (1.0 + waits / rest * (1.0 - (-t * rest).exp()));
    let (mut low, mut high) = (0.0, 1000.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if 0.05 < over(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

#[test]
fn samples_of_an_adapter_tell_what_a_pod_takes() {
    let folder = tempfile::tempdir().unwrap();
    let mut table = String::from("t_seconds,rps,pods,p95_ms,mean_ms\n");
    for sample in 0..400 {
        let busy = 0.101 + f64::from(sample % 40) * 0.021;
        let (p95_ms, mean_ms) = (
            200.0 * p95_of_two_workers(busy),
            200.0 / (1.0 - busy * busy),
        );
        let _ = writeln!(
            table,
            "{},{},4,{p95_ms},{mean_ms}",
            sample * 15,
            busy * 10.0 * 4.0
        );
    }
    let samples = written(folder.path(), "users.csv", &table);
    let trace = written(
        folder.path(),
        "day.csv",
        "t_seconds,rps\n0,12\n30,20\n60,20\n",
    );
    let report = folder.path().join("tune.json");
    let files = [&samples, &trace].map(|path| path.to_str().unwrap());
    let more = [
        "--objective=1s",
        "--startup=10s",
        "--budget=48",
        "--plain",
        "--json",
        report.to_str().unwrap(),
    ];
    let output = taffrail("tune", &[&files[..], &more].concat());
    let text = said(&output);
    assert!(report.exists(), "{text}");
    let capacity = json(&report)
        .pointer("/pod/capacity_rps")
        .and_then(Value::as_f64)
        .unwrap();
    assert!((9.0..=11.0).contains(&capacity), "{capacity}\n{text}");
    assert!(
        text.contains("cpu_percent"),
        "what nobody recorded is asked for\n{text}"
    );
}

#[test]
fn what_makes_no_sense_is_refused_and_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let trace = written(folder.path(), "day.csv", "t_seconds,rps\n0,60\n40,150\n");
    let trace = trace.to_str().unwrap();
    let scenario = written(
        folder.path(),
        "users.yaml",
        &WASTEFUL.replace("PROFILE", "5@10s"),
    );
    let scenario = scenario.to_str().unwrap();
    let cases: [(&[&str], &str); 6] = [
        (
            &[trace],
            "a trace says what is asked, and nothing of what a pod takes",
        ),
        (
            &[trace, "--app", "workers: 2, serviceTime: 40ms"],
            "add --objective",
        ),
        (
            &[
                trace,
                "--app",
                "workers: 2, serviceTime: soon",
                "--objective",
                "1s",
            ],
            "serviceTime",
        ),
        (
            &[
                trace,
                "--app",
                "workers: 2, serviceTime: 1s",
                "--objective",
                "1s",
            ],
            "even without any load",
        ),
        (&[scenario, "--service", "shifts"], "has no service shifts"),
        (&[scenario, scenario], "second file of its kind"),
    ];
    for (args, expected) in cases {
        let output = taffrail("tune", args);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(104), "{args:?}: {text}");
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
}
