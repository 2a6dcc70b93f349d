//! Recordings of real HorizontalPodAutoscalers against the model, as `taffrail replay` runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde_json::{Value, json};
use taffrail::replay::{Args, run};

/// Decisions in which the model is known to differ, as file and time, each with its reason beside it. There are none:
/// taking the last read of a sync as its time, each edge of a window falls on the right side.
const KNOWN_DIFFERENCES: [(&str, f64); 0] = [];

fn recordings() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/hpa-recordings")
}

fn args(path: &Path) -> Args {
    Args {
        paths: vec![path.to_owned()],
        min_agreement: 99.9,
        json: false,
        verbose: false,
    }
}

/// Runs a replay; its output, and whether it succeeded.
fn replay(args: &Args) -> (String, bool) {
    let mut out = Vec::new();
    let code = run(args, &mut out).expect("a Vec takes all bytes");
    (
        String::from_utf8(out).expect("text"),
        code == ExitCode::SUCCESS,
    )
}

/// Runs a replay of `path` with `--json`.
fn report(path: &Path) -> (Value, bool) {
    let (text, passed) = replay(&Args {
        json: true,
        ..args(path)
    });
    (
        serde_json::from_str(&text).expect("one JSON object"),
        passed,
    )
}

/// In `value-double`, the first decision is 7 and not 6.
fn seven(recording: &mut Value) {
    recording["replicas"][0]["spec"] = json!(7);
    recording["replicas"][1]["spec"] = json!(7);
}

/// A directory with one recording in it, made of `value-double` by `change`.
fn changed(change: impl FnOnce(&mut Value)) -> tempfile::TempDir {
    let text = fs::read_to_string(recordings().join("value-double.json")).expect("a fixture");
    let mut recording = serde_json::from_str(&text).expect("JSON");
    change(&mut recording);
    let dir = tempfile::tempdir().expect("a temporary directory");
    fs::write(dir.path().join("changed.json"), recording.to_string())
        .expect("a writable directory");
    dir
}

#[test]
fn the_model_decides_as_the_real_controller_did() {
    let (report, passed) = report(&recordings());
    let differences: Vec<_> = report["differences"].as_array().unwrap().iter().collect();
    let known = |difference: &&&Value| {
        KNOWN_DIFFERENCES.iter().any(|(file, time)| {
            difference["file"].as_str().unwrap().ends_with(file)
                && difference["time"] == json!(time)
        })
    };
    let unknown: Vec<_> = differences
        .iter()
        .filter(|difference| !known(difference))
        .collect();
    assert!(unknown.is_empty(), "{unknown:#?}");
    assert_eq!(
        differences.len(),
        KNOWN_DIFFERENCES.len(),
        "a known difference is gone: take it off the list"
    );
    assert!(passed);
    assert_eq!(report["files"], 90);
    assert_eq!(report["unreadable"], json!([]));
    assert_eq!(report["decisions"], json!({"agree": 5553, "total": 5553}));
    assert_eq!(report["unread"], json!({"agree": 10, "total": 10}));
    // Somebody scaled within seconds of one sync.
    assert_eq!(report["unclear"], 1);
    assert_eq!(report["conditions"], json!({"agree": 5563, "total": 5563}));
}

#[test]
fn a_decision_that_is_not_the_models_is_shown_with_the_reason() {
    let dir = changed(seven);
    let (text, passed) = replay(&args(dir.path()));
    assert!(!passed);
    let file = dir.path().join("changed.json");
    let expected = format!(
        "{} at 15.538 s: from 3, replicas: the HPA 7, the model 6: \
         external metric value-double--l wants 6 at 2.000 of its target; \
         the metrics want 6 and nothing holds that back; 6 is within bounds and rates\n",
        file.display()
    );
    assert!(text.contains(&expected), "{text}");
    // The next sync begins with what the HPA did, so that it does not differ too: 7 pods to be, 6 there, 12 decided.
    assert!(text.contains("61 of 62 decisions agree"), "{text}");
}

#[test]
fn less_agreement_may_be_enough() {
    let dir = changed(seven);
    let (_, passed) = replay(&Args {
        min_agreement: 98.0,
        ..args(dir.path())
    });
    assert!(passed);
}

#[test]
fn a_file_that_cannot_be_read_is_named_and_the_others_go_on() {
    let dir = changed(|_| ());
    fs::write(
        dir.path().join("cut.json"),
        "{\n  \"hpa\": {},\n  \"reads\": [",
    )
    .unwrap();
    fs::write(
        dir.path().join("no-max.json"),
        json!({"hpa": {"metrics": []}, "initial_replicas": 1, "reads": [], "pods": [], "replicas": []}).to_string(),
    )
    .unwrap();
    let (text, passed) = replay(&args(dir.path()));
    assert!(!passed);
    let cut = dir.path().join("cut.json");
    assert!(
        text.contains(&format!(
            "{}: not a recording: EOF while parsing a list at line 3",
            cut.display()
        )),
        "{text}"
    );
    let no_max = dir.path().join("no-max.json");
    assert!(
        text.contains(&format!(
            "{}: in hpa: maxReplicas: is missing",
            no_max.display()
        )),
        "{text}"
    );
    assert!(text.contains("62 of 62 decisions agree"), "{text}");
}

#[test]
fn a_path_that_is_not_there_is_named() {
    let (text, passed) = replay(&args(Path::new("/nowhere/to/be/found.json")));
    assert!(!passed);
    assert!(
        text.starts_with("/nowhere/to/be/found.json: No such file"),
        "{text}"
    );
}

#[test]
fn every_decision_can_be_listed() {
    let (text, passed) = replay(&Args {
        verbose: true,
        ..args(&recordings().join("value-manual-scale.json"))
    });
    assert!(passed);
    assert_eq!(
        text.lines()
            .filter(|line| line.starts_with("unclear"))
            .count(),
        1,
        "{text}"
    );
    let line = text
        .lines()
        .find(|line| line.contains(" 17.472 s"))
        .unwrap();
    assert!(line.starts_with("agree   "), "{line}");
    assert!(
        line.contains("4 -> 4, model 4: external metric value-manual-scale--l wants 4"),
        "{line}"
    );
}

#[test]
fn what_is_served_may_be_of_any_shape() {
    // Numbers and null items are quantities, a value outside the grammar fails the metric, a name is in lower case.
    for (served, wanted) in [
        (json!(0.5), 6),
        (json!(["250m", null, 0.25]), 6),
        (json!([]), 3),
        (json!(""), 3),
        (json!("1e30"), 3),
        (json!({"odd": 1}), 3),
        (json!("err"), 3),
    ] {
        let dir = changed(|recording| {
            recording["hpa"]["metrics"][0]["external"]["metric"]["name"] = json!("Value-Double--L");
            recording["reads"] =
                json!([{"t": 15.538, "metric": "value-double--l", "value": served}]);
            recording["replicas"] = json!([{"t": 15.653, "spec": wanted, "status": 3}]);
            recording["status"] = json!([]);
        });
        let (report, passed) = report(dir.path());
        assert!(passed, "{served}: {report}");
        assert_eq!(
            report["decisions"],
            json!({"agree": 1, "total": 1}),
            "{served}"
        );
    }
}
