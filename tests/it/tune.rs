//! `taffrail tune` from outside: whether what it recommends is better on seeds that it has not seen, what it writes, and
//! what it says when it cannot tell.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use taffrail::config::{self, autoscaler};

use crate::report::browser::{Colours, problems};
use crate::report::{LABELS, WIDTHS_PX};

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

/// What a file holds.
fn content(file: &Path) -> String {
    std::fs::read_to_string(file).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&content(path)).unwrap()
}

/// What is recommended has none of the mistakes that lint knows. That a latency is noisy at the fewest pods is no mistake
/// here: the noise was played.
fn assert_lint_is_content(patch: &Path) {
    let output = taffrail("lint", &["--format=json", patch.to_str().unwrap()]);
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let mistakes: Vec<&Value> = findings
        .filter(|finding| finding["rule"] != "quantile-noisy")
        .collect();
    assert_eq!(mistakes, [&Value::Null; 0], "{}", content(patch));
    assert_eq!(report["unread"], serde_json::json!([]));
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
    let wasteful = WASTEFUL.replace("PROFILE", "8@20s 8->20@100s 20@20s");
    let scenario = written(folder.path(), "users.yaml", &wasteful);
    let [patch, report, page] =
        ["better.yaml", "tune.json", "tune.html"].map(|name| folder.path().join(name));
    let args = [
        scenario.to_str().unwrap(),
        "--budget=16",
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
        "coarse grid: 12 plays",
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
    let tried = found["tried"].as_array().unwrap().iter();
    let recommended = tried
        .filter(|tried| tried["candidate"] == found["recommended"]["candidate"])
        .map(|tried| &tried["is_on_frontier"]);
    assert_eq!(recommended.collect::<Vec<_>>(), [true], "{text}");
    assert!(!content(&report).contains(": -0.0,"), "no share is that");

    // The patch is what a cluster takes: the HPA there is, with what changed, and nothing that lint would warn of.
    assert_lint_is_content(&patch);
    let patch = content(&patch);
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
    let page = content(&page);
    for part in [
        "<circle class=\"chosen\"",
        "<circle class=\"present\"",
        "class=\"frontier\"",
        "maxReplicas: 20",
    ] {
        assert!(page.contains(part), "{part} is not in the report");
    }
    assert!(!page.contains("<script"));
    let found = problems(&page, &WIDTHS_PX, Colours::Light, LABELS);
    assert_eq!(found, [""; 0]);

    let first = content(&report);
    taffrail("tune", &args);
    assert!(first == content(&report), "other bytes the second time");
}

#[test]
fn a_trace_from_prometheus_is_enough_and_what_it_does_not_tell_is_said() {
    let folder = tempfile::tempdir().unwrap();
    let trace = written(
        folder.path(),
        "day.json",
        r#"{"status": "success", "data": {"resultType": "matrix", "result": [{"metric": {}, "values":
            [[1763719200, "20"], [1763719215, "45"], [1763719230, "NaN"], [1763719245, "30"], [1763719500, "20"], [1763719515, "20"]]}]}}"#,
    );
    let [patch, report] = ["better.yaml", "tune.json"].map(|name| folder.path().join(name));
    let args = [
        trace.to_str().unwrap(),
        "--app=workers: 2, serviceTime: 60ms, startup: 10s",
        "--objective=250ms",
        "--budget=16",
        "--plain",
        "-o",
        patch.to_str().unwrap(),
        "--json",
        report.to_str().unwrap(),
    ];
    let output = taffrail("tune", &args);
    let text = said(&output);
    assert_eq!(output.status.code(), Some(0), "{text}");
    // However its lines are folded.
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [
        "5 min 30 s with",
        "the trace has no line",
        "of other hours nothing is known",
        "cpuShare",
    ] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let tried = json(&report)["tried"].as_array().unwrap().clone();
    assert!(
        !tried.is_empty()
            && tried
                .iter()
                .all(|tried| tried["candidate"]["signal"] != "cpu")
    );
    assert_lint_is_content(&patch);
    assert!(
        !content(&patch).contains("cpu"),
        "nobody said how CPU grows"
    );
}

#[test]
fn a_service_that_was_never_loaded_is_to_be_measured_first() {
    let folder = tempfile::tempdir().unwrap();
    let run = run(folder.path(), "4->12@120s");
    let output = taffrail("tune", &[run.to_str().unwrap(), "--budget=16", "--plain"]);
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
    let files = [
        ("empty.csv", "", "a trace needs two lines at least"),
        (
            "header.csv",
            "t_seconds,rps\n",
            "a trace needs two lines at least",
        ),
        (
            "one.csv",
            "t_seconds,rps\n0,10\n",
            "a trace needs two lines at least",
        ),
        (
            "unknown.csv",
            "0,NaN\n15,\n",
            "a trace needs two lines at least",
        ),
        ("idle.csv", "0,0\n60,0\n", "has no request in it"),
        (
            "back.csv",
            "60,5\n0,5\n",
            "line 2: 0 s is not after the 60 s",
        ),
        (
            "refused.json",
            r#"{"status": "error", "errorType": "bad_data", "error": "parse error"}"#,
            "Prometheus refused the query: parse error",
        ),
        (
            "nothing.json",
            r#"{"status": "success", "data": {"resultType": "matrix", "result": []}}"#,
            "has 0 series, and traffic is one",
        ),
    ];
    for (name, text, expected) in files {
        let file = written(folder.path(), name, text);
        let app = "--app=workers: 2, serviceTime: 40ms";
        let output = taffrail("tune", &[file.to_str().unwrap(), app, "--objective=1s"]);
        let text = said(&output);
        assert_eq!(output.status.code(), Some(104), "{name}: {text}");
        assert!(text.contains(expected), "{expected} is not in\n{text}");
    }
    let service = written(
        folder.path(),
        "service.yaml",
        "apiVersion: v1\nkind: Service\n",
    );
    let cases: [(&[&str], &str); 7] = [
        (
            &[trace, "--hpa", service.to_str().unwrap()],
            "service.yaml: is a Service, and a HorizontalPodAutoscaler is wanted",
        ),
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
