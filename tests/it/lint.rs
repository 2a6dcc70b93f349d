//! `taffrail lint` from outside: what it finds and where, what it prints in each format, and how it ends.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

/// Everything wrong at once, with what must be found behind each line.
const BROKEN: &str = include_str!("../data/lint/broken.yaml");

/// One mistake, a warning.
const FIXED: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: users, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: users}
  minReplicas: 4
  maxReplicas: 4
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
";

/// One mistake, an error.
const AVERAGED: &str = "apiVersion: autoscaling/v2
kind: HorizontalPodAutoscaler
metadata: {name: users, namespace: shop}
spec:
  scaleTargetRef: {apiVersion: apps/v1, kind: Deployment, name: users}
  minReplicas: 4
  maxReplicas: 12
  metrics:
  - type: Resource
    resource: {name: cpu, target: {type: Utilization, averageUtilization: 70}}
  - type: External
    external:
      metric: {name: request_latency_ms, selector: {matchLabels: {service: users, quantile: \"0.95\"}}}
      target: {type: AverageValue, averageValue: \"250\"}
";

fn lint(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_taffrail"))
        .arg("lint")
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // One that reads no standard input has closed it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn stdout(output: &Output) -> &str {
    std::str::from_utf8(&output.stdout).unwrap()
}

/// The report as JSON, and how it ended.
fn json(args: &[&str], input: &str) -> (Value, i32) {
    let output = lint(&[&["--format", "json"], args].concat(), input);
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (report, output.status.code().unwrap())
}

fn rules(report: &Value) -> Vec<&str> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings
        .map(|finding| finding["rule"].as_str().unwrap())
        .collect()
}

fn written(folder: &Path, name: &str, text: &str) -> PathBuf {
    let file = folder.join(name);
    std::fs::write(&file, text).unwrap();
    file
}

#[test]
fn a_broken_hpa_is_found_line_by_line_and_nothing_else() {
    let (report, code) = json(&["-"], BROKEN);
    let mut found: Vec<(u64, &str)> = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            (
                finding["line"].as_u64().unwrap(),
                finding["rule"].as_str().unwrap(),
            )
        })
        .collect();
    found.sort_unstable();
    let mut expected: Vec<(u64, &str)> = (1..)
        .zip(BROKEN.lines())
        .filter_map(|(line, text)| Some((line, text.split_once(" #! ")?.1)))
        .flat_map(|(line, ids)| ids.split_whitespace().map(move |id| (line, id)))
        .collect();
    expected.sort_unstable();
    assert_eq!(found, expected, "{report:#}");
    assert_eq!(code, 1);
}

/// What a real API server takes and what it refuses, by the names of the HPAs; tests/cluster/lint.rs asks one.
const REFUSED: &str = include_str!("../data/lint/refused.yaml");

/// The rules that say so.
const OF_THE_SERVER: [&str; 6] = [
    "hpa-invalid",
    "hpa-old-version",
    "hpa-unknown-field",
    "min-zero",
    "name-invalid",
    "selector-impossible",
];

#[test]
fn what_an_api_server_refuses_is_an_error_and_what_it_takes_is_not() {
    let (report, _) = json(&["-"], REFUSED);
    let findings = report["findings"].as_array().unwrap();
    let mut objects = 0;
    for line in REFUSED
        .lines()
        .filter(|line| line.starts_with("metadata: "))
    {
        let name = line.trim_start_matches("metadata: {name: ");
        let name = name.split(',').next().unwrap();
        let name = name.trim_end_matches('}').trim_matches('"');
        let said: Vec<&Value> = findings
            .iter()
            .filter(|finding| {
                let of_it = finding["object"]
                    .as_str()
                    .unwrap()
                    .split_once(' ')
                    .unwrap()
                    .1
                    == name;
                of_it && OF_THE_SERVER.contains(&finding["rule"].as_str().unwrap())
            })
            .collect();
        // What the controller cannot ask for is a mistake that the server takes.
        let is_refused = said
            .iter()
            .any(|finding| !name.starts_with("taken") || finding["rule"] != "selector-impossible");
        assert_eq!(is_refused, !name.starts_with("taken"), "{name}: {said:#?}");
        objects += 1;
    }
    assert_eq!(report["checked"], objects, "one of them is not looked at");
    let misspelt = findings
        .iter()
        .find(|finding| finding["field"] == "metadata.label");
    assert_eq!(misspelt.unwrap()["fix"], "write labels");
}

#[test]
fn what_this_project_ships_is_clean() {
    for folder in ["deploy", "loadtest/scenarios"] {
        let (report, code) = json(&["--strict", folder], "");
        let findings = report["findings"].as_array().unwrap().iter();
        let wrong: Vec<&Value> = findings
            .filter(|finding| finding["severity"] != "note")
            .collect();
        assert_eq!((wrong, code), (Vec::new(), 0), "{folder}");
        let unread = report["unread"].as_array().unwrap().iter();
        let unread: Vec<&str> = unread
            .filter_map(|unread| unread["file"].as_str())
            .collect();
        let is_rendered_first = |file: &&str| file.ends_with("/chart/templates");
        assert!(unread.iter().all(is_rendered_first), "{folder}: {unread:?}");
        assert!(
            5 < report["checked"].as_u64().unwrap(),
            "{folder}: {report:#}"
        );
    }
}

#[test]
fn the_exit_code_says_how_bad_it_is() {
    for (args, input, code) in [
        (&["-"][..], FIXED, 0),
        (&["--strict", "-"], FIXED, 1),
        (&["-"], AVERAGED, 1),
        (&["-"], "kind: [", 2),
        (&["-"], "kind: ConfigMap\n", 2),
        (&["-"], "", 2),
        (&["no/such/file.yaml"], "", 2),
        (&[], "", 2),
        (&["--list"], "", 0),
        (&["--explain", "window-long"], "", 0),
        (&["--explain", "window-longer"], "", 2),
        (&["--page", "users=none.txt", "-"], FIXED, 2),
    ] {
        let output = lint(args, input);
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
    }
}

#[test]
fn a_broken_document_costs_itself_and_is_named_by_its_line() {
    let text = format!("{FIXED}---\nkind: HorizontalPodAutoscaler\nspec: {{]\n---\n{AVERAGED}");
    let (report, code) = json(&["-"], &text);
    assert_eq!(
        rules(&report),
        ["min-equals-max", "object-twice", "quantile-averaged"]
    );
    assert_eq!(report["unread"][0]["file"], "-");
    assert_eq!(report["unread"][0]["line"], 13, "{report:#}");
    assert_eq!(code, 2, "who cannot read all cannot say that all is well");
}

#[test]
fn text_shows_the_line_with_a_mark_and_the_numbers_of_this_hpa() {
    let output = lint(&["-"], AVERAGED);
    let expected = "error[quantile-averaged]: averageValue divides request_latency_ms, a latency, by the number of pods
  --> -:14:36: HorizontalPodAutoscaler shop/users, spec.metrics[1].external.target.averageValue
   |
14 |       target: {type: AverageValue, averageValue: \"250\"}
   |                                    ^^^^^^^^^^^^
   = why: with 4 replicas the HPA takes 250 ms for 62.5 ms, and adds a pod only above 1000 ms
   = fix: target: {type: Value, value: \"250\"}

1 error, 0 warnings, 0 notes in 1 objects
";
    assert_eq!(stdout(&output), expected);
}

#[test]
fn github_gets_a_command_for_each_finding() {
    let output = lint(&["--format", "github", "-"], AVERAGED);
    let said = stdout(&output);
    assert!(
        said.starts_with("::error file=-,line=14,col=36,title=quantile-averaged::HorizontalPodAutoscaler shop/users: "),
        "{said}"
    );
    assert_eq!(said.lines().count(), 1);
}

#[test]
fn an_annotation_silences_a_rule_and_one_too_many_is_told() {
    let annotated = |ids: &str| {
        FIXED.replace(
            "metadata: {name: users,",
            &format!(
                "metadata: {{annotations: {{taffrail.dev/lint-ignore: '{ids}'}}, name: users,"
            ),
        )
    };
    let (report, code) = json(&["--strict", "-"], &annotated("min-equals-max"));
    assert_eq!((rules(&report), code), (Vec::new(), 0));
    assert_eq!(report["silenced"], 1);
    let (report, code) = json(
        &["--strict", "-"],
        &annotated("min-equals-max, quantile-alone,none"),
    );
    assert_eq!(
        (rules(&report), code),
        (vec!["ignore-unused", "ignore-unused"], 0)
    );
    assert_eq!(report["findings"][0]["severity"], "note");
}

#[test]
fn a_directory_is_read_to_its_depth_and_lists_are_taken_apart() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    written(&inner, "hpa.yml", FIXED);
    written(&inner, "notes.txt", "kind: [");
    let item: String = AVERAGED.lines().map(|line| format!("  {line}\n")).collect();
    let list = format!("apiVersion: v1\nkind: List\nitems:\n- {}", &item[2..]);
    written(folder.path(), "list.yaml", &list);
    let (report, code) = json(&[folder.path().to_str().unwrap()], "");
    assert_eq!(
        rules(&report),
        ["min-equals-max", "quantile-averaged"],
        "{report:#}"
    );
    assert_eq!(report["findings"][1]["line"], 17);
    assert_eq!((&report["unread"], code), (&serde_json::json!([]), 1));
}

#[test]
fn a_saved_page_tells_of_the_histogram() {
    let folder = tempfile::tempdir().unwrap();
    let page = "# TYPE http_request_duration_seconds histogram
http_request_duration_seconds_bucket{route=\"/healthz\",le=\"0.1\"} 900
http_request_duration_seconds_bucket{route=\"/healthz\",le=\"0.5\"} 990
http_request_duration_seconds_bucket{route=\"/healthz\",le=\"+Inf\"} 1000
http_request_duration_seconds_sum{route=\"/healthz\"} 90
http_request_duration_seconds_count{route=\"/healthz\"} 1000
";
    let page = format!(
        "users={}",
        written(folder.path(), "metrics.txt", page).display()
    );
    let service = "apiVersion: taffrail.dev/v1alpha1
kind: RequestMetrics
metadata: {name: users}
spec:
  source: {pods: {selector: {matchLabels: {app: users}}, inFlight: in_flight}}
  objective: {quantile: 0.95, latency: 250ms}
";
    let (report, code) = json(&["--page", &page, "-"], service);
    let mut found = rules(&report);
    found.sort_unstable();
    assert_eq!(
        found,
        ["bound-missing", "page-lacks-metric", "probes-counted"],
        "{report:#}"
    );
    let bound = report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|finding| finding["rule"] == "bound-missing");
    let what = bound.unwrap()["what"].as_str().unwrap();
    assert!(what.contains("between the bounds 100 and 500 ms"), "{what}");
    assert_eq!(code, 0);
}

#[test]
fn every_rule_is_listed_and_explained() {
    let list = lint(&["--list"], "");
    let ids: Vec<&str> = stdout(&list)
        .lines()
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert!(40 <= ids.len(), "{ids:?}");
    for id in [ids[0], "quantile-averaged", "bound-missing"] {
        let explained = lint(&["--explain", id], "");
        let said = stdout(&explained);
        for part in [id, "\nFix: ", "\nWrong:\n", "\nRight:\n"] {
            assert!(said.contains(part), "{said}");
        }
    }
}

#[test]
fn what_names_no_namespace_goes_where_its_folder_goes() {
    let deployment = "apiVersion: apps/v1
kind: Deployment
metadata: {name: users}
spec:
  replicas: 3
  selector: {matchLabels: {app: users}}
  template:
    metadata: {labels: {app: users}}
    spec: {containers: [{name: users, resources: {requests: {cpu: 100m}}}]}
";
    let folder = tempfile::tempdir().unwrap();
    for (app, expected) in [("prod/app.yaml", true), ("other/app.yaml", false)] {
        let root = folder.path().join(app.replace('/', "-"));
        for name in ["prod", "other"] {
            std::fs::create_dir_all(root.join(name)).unwrap();
        }
        written(&root, "prod/hpa.yaml", FIXED);
        written(&root, app, deployment);
        let (report, _) = json(&[root.to_str().unwrap()], "");
        assert_eq!(
            rules(&report).contains(&"replicas-set"),
            expected,
            "{report:#}"
        );
    }
}
