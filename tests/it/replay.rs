//! Recordings of real HorizontalPodAutoscalers against the model, as `taffrail replay` runs them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser as _;
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

#[test]
fn conditions_count_only_where_a_status_was_recorded() {
    for status in [json!([]), json!([{"t": 0.5, "conditions": {}}])] {
        let dir = changed(|recording| recording["status"] = status);
        let (report, passed) = report(dir.path());
        assert!(passed);
        assert_eq!(report["decisions"], json!({"agree": 62, "total": 62}));
        assert_eq!(report["conditions"], json!({"agree": 0, "total": 0}));
    }
}

/// The error for a file made of `value-double` by `change`, and that nothing else came of it.
fn refused(change: impl FnOnce(&mut Value)) -> String {
    let dir = changed(change);
    let (report, passed) = report(dir.path());
    assert!(!passed);
    assert_eq!(report["files"], 0, "{report}");
    assert_eq!(report["decisions"]["total"], 0, "{report}");
    let error = &report["unreadable"][0]["error"];
    error.as_str().expect("an unreadable file").to_owned()
}

#[test]
fn a_request_that_is_no_quantity_is_refused() {
    let error = refused(|recording| recording["cpu_request"] = json!("zzz"));
    assert!(
        error.starts_with("in cpu_request: `zzz` is not a quantity"),
        "{error}"
    );
}

#[test]
fn a_read_of_a_metric_that_the_hpa_never_had_is_refused() {
    let error = refused(|recording| recording["reads"][1]["metric"] = json!("latency"));
    assert_eq!(
        error,
        "in reads: latency was read at 30.579 s, but the HPA never had such a metric"
    );
}

#[test]
fn an_error_in_a_patch_names_the_patch() {
    let with = |patch: Value| {
        refused(|recording| {
            // The file's order counts for the name, not that of time.
            recording["acted"] = json!([{"t": 40, "scale": 3}, {"t": 20, "hpa": patch}]);
        })
    };
    for (patch, expected) in [
        (
            json!({"maxReplicas": 0}),
            "in acted[1].hpa: maxReplicas: must be a whole number from 1 to 2147483647",
        ),
        (
            json!({"spec": {"minReplicas": 0}}),
            "in acted[1].hpa.spec: minReplicas: must be 1 or more: 0 is for clusters with the feature gate HPAScaleToZero, \
             which is off by default and not followed here",
        ),
        (
            json!("maxReplicas"),
            "in acted[1].hpa: must be an object, such as {\"maxReplicas\": 10}",
        ),
        (
            json!({"spec": [14]}),
            "in acted[1].hpa.spec: must be an object, such as {\"maxReplicas\": 10}",
        ),
    ] {
        assert_eq!(with(patch), expected);
    }
}

#[test]
fn a_file_that_holds_no_object_is_told_what_a_recording_is() {
    for text in ["[]", "", "3", "- hpa: {}"] {
        let dir = changed(|_| ());
        let file = dir.path().join("changed.json");
        fs::write(&file, text).unwrap();
        let (report, _) = report(&file);
        assert_eq!(
            report["unreadable"][0]["error"],
            "not a recording, which is one JSON object with hpa, initial_replicas, reads, pods and replicas",
            "{text}"
        );
    }
}

#[test]
fn an_hpa_and_its_patches_may_be_whole_objects_or_specs() {
    let text = fs::read_to_string(recordings().join("value-limits-change.json")).unwrap();
    let plain: Value = serde_json::from_str(&text).unwrap();
    let whole = |spec: &Value| json!({"kind": "HorizontalPodAutoscaler", "spec": spec});
    for (hpa_is_whole, patches_are_whole) in
        [(false, false), (false, true), (true, false), (true, true)]
    {
        let mut recording = plain.clone();
        if hpa_is_whole {
            recording["hpa"] = whole(&plain["hpa"]);
        }
        if patches_are_whole {
            for act in recording["acted"].as_array_mut().unwrap() {
                act["hpa"] = whole(&act["hpa"]);
            }
        }
        let dir = changed(|changed| *changed = recording);
        let (report, passed) = report(dir.path());
        let forms = (hpa_is_whole, patches_are_whole);
        assert!(passed, "{forms:?}: {report}");
        assert_eq!(report["differences"], json!([]), "{forms:?}");
    }
}

#[test]
fn the_share_that_must_agree_is_a_percentage() {
    #[derive(Debug, clap::Parser)]
    struct Line {
        #[command(flatten)]
        args: Args,
    }
    let parse = |text: &str| {
        let flag = format!("--min-agreement={text}");
        Line::try_parse_from(["replay", &flag, "file.json"])
    };
    for text in ["0", "99.5", "100"] {
        assert_eq!(
            parse(text).unwrap().args.min_agreement,
            text.parse::<f64>().unwrap()
        );
    }
    for text in ["-0.1", "100.1", "NaN", "inf", "most", ""] {
        let error = parse(text).unwrap_err().to_string();
        assert!(
            error.contains("must be a number from 0 to 100, in per cent"),
            "{text}: {error}"
        );
    }
}

#[test]
fn a_replay_of_nothing_has_an_exit_code_of_its_own() {
    let mut out = Vec::new();
    let code = run(&args(Path::new("/nowhere/to/be/found.json")), &mut out).unwrap();
    assert_eq!(code, ExitCode::from(2));
}
