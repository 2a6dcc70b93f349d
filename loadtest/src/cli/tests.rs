//! The exit codes, on runs against real sockets and on files and flags that make no sense.

use std::path::PathBuf;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::*;
use crate::sample_app;

/// What the command that these flags give ends with.
async fn code(flags: &[&str]) -> u8 {
    let all = std::iter::once("taffrail-loadtest").chain(flags.iter().copied());
    let Ok(command) = parse(all.map(OsString::from)) else {
        return ExitStatus::Invalid.code();
    };
    let printed = format!("{:?}", run(command).await);
    let matching = |code: &u8| printed == format!("{:?}", ExitCode::from(*code));
    (0..=u8::MAX).find(matching).expect("a code is a byte")
}

/// The URL of a sample app that lives until the test's runtime ends.
async fn app(config: sample_app::Config) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(sample_app::run(listener, config, std::future::pending()));
    url
}

async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}/", listener.local_addr().unwrap())
}

fn slow() -> sample_app::Config {
    sample_app::Config {
        service_time: Duration::from_millis(60),
        service_cv: 0.0,
        workers: 50,
        ..sample_app::Config::default()
    }
}

fn refusing() -> sample_app::Config {
    sample_app::Config {
        auth_token: Some("hush".to_owned().into()),
        ..sample_app::Config::default()
    }
}

/// A file in a directory that lives as long as it.
fn file(name: &str, text: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    (directory, path)
}

/// Whether the command ends with `expected`, or cannot tell because this machine stood still: its best of three.
async fn ends_with(flags: &[&str], expected: u8) -> bool {
    let mut codes = Vec::new();
    for _ in 0..3 {
        codes.push(code(flags).await);
        if codes.last() == Some(&expected) {
            return true;
        }
    }
    codes
        .iter()
        .all(|code| *code == ExitStatus::NotDelivered.code())
}

#[tokio::test]
async fn a_server_that_holds_its_objective_passes_and_a_slow_one_fails() {
    let url = app(slow()).await;
    let flags = ["run", "--url", &url, "--profile", "50@1s", "--objective"];
    assert!(ends_with(&[&flags[..], &["5s"]].concat(), 0).await);
    assert!(ends_with(&[&flags[..], &["20ms"]].concat(), 99).await);
}

#[tokio::test]
async fn a_closed_port_and_a_server_that_refuses_everything_fail() {
    for url in [closed_port().await, app(refusing()).await] {
        let flags = ["run", "--url", &url, "--profile", "50@500ms"];
        assert!(ends_with(&flags, 99).await, "{url}");
        let text = format!("name: a\ntarget: {url}\nscenarios: {{ m: {{ profile: 50@500ms }} }}");
        let (_directory, path) = file("a.yaml", &text);
        let flags = ["run", path.to_str().unwrap()];
        assert!(
            ends_with(&flags, 99).await,
            "a scenario without checks of {url}"
        );
    }
}

#[tokio::test]
async fn load_that_was_dropped_is_not_delivered_unless_that_is_mapped() {
    let config = sample_app::Config {
        service_time: Duration::from_millis(100),
        ..sample_app::Config::default()
    };
    let url = app(config).await;
    let flags = [
        "run",
        "--url",
        &url,
        "--profile",
        "100@1s",
        "--max-in-flight",
        "1",
        "--max-errors",
        "1",
    ];
    assert_eq!(code(&flags).await, 112);
    let mapped = [&flags[..], &["--exit-map", "inconclusive=7"]].concat();
    assert_eq!(code(&mapped).await, 7);
}

#[tokio::test]
async fn a_run_is_judged_again_by_another_scenario_without_traffic() {
    let url = app(slow()).await;
    let text = format!("name: a\ntarget: {url}\nscenarios: {{ m: {{ profile: 50@1s }} }}");
    let (directory, path) = file("a.yaml", &text);
    let json = directory.path().join("out/run.json");
    let json = json.to_str().unwrap();
    let write = format!("--json={json}");
    let flags = ["run", path.to_str().unwrap(), &write];
    assert!(ends_with(&flags, 0).await);
    assert!(ends_with(&["report", json], 0).await);
    let stricter = format!("{text}\nassertions: [{{ latency: {{ stat: p(50), max: 1ms }} }}]");
    let (_other, path) = file("b.yaml", &stricter);
    let again = ["report", json, "--scenario", path.to_str().unwrap()];
    assert!(ends_with(&again, 99).await);
    let (_broken, path) = file("c.json", "{}");
    assert_eq!(code(&["report", path.to_str().unwrap()]).await, 104);
}

#[tokio::test]
async fn a_recording_that_is_judged_again_gives_the_bytes_of_its_run() {
    let url = app(slow()).await;
    let text = format!(
        "name: a\ntarget: {url}\nscenarios: {{ m: {{ profile: '50@1s 50->90@1s' }} }}\n\
         slo: {{ quantile: 95, target: 250ms }}\nassertions: [{{ latency: {{ stat: p(50), max: 1ms }} }}]"
    );
    let (directory, path) = file("a.yaml", &text);
    let forms = ["json", "html", "junit", "openmetrics"];
    let place = |run: &str, form: &str| directory.path().join(run).join(form);
    let flags = |run: &str| forms.map(|form| format!("--{form}={}", place(run, form).display()));
    let of = |run: &str, given: &[&str]| {
        let flags = flags(run);
        let all: Vec<String> = given.iter().map(ToString::to_string).chain(flags).collect();
        all
    };
    for (run, given) in [
        ("own", ["run", path.to_str().unwrap()]),
        ("again", ["report", place("own", "json").to_str().unwrap()]),
    ] {
        let flags = of(run, &given);
        code(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await;
    }
    for form in forms {
        let [own, again] = ["own", "again"].map(|run| std::fs::read(place(run, form)).unwrap());
        assert!(own == again, "{form} differs");
        assert!(!own.is_empty());
    }
}

#[tokio::test]
async fn a_report_that_cannot_be_written_ends_before_the_first_request() {
    let url = closed_port().await;
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let taken = format!("--prometheus={}", taken.local_addr().unwrap());
    let (_directory, path) = file("file", "");
    let below = format!("--html={}/run.html", path.display());
    let same = ["--html=-", "--junit=-"];
    for flags in [&[taken.as_str()][..], &[below.as_str()], &same] {
        let run = ["run", "--url", &url, "--profile", "1@1h"];
        let all = [&run, flags].concat();
        let ended = tokio::time::timeout(Duration::from_secs(60), code(&all));
        assert_eq!(
            ended.await.expect("it goes on for an hour"),
            104,
            "{flags:?}"
        );
    }
    assert_eq!(
        code(&["report", "run.json", "--prometheus", ":9464"]).await,
        104,
        "nothing goes on that could be served"
    );
}

#[tokio::test]
async fn two_services_are_loaded_beside_each_other() {
    let [one, other] = [app(slow()).await, app(slow()).await];
    let text = format!(
        "name: a\nservices: {{ users: {{ target: {one} }}, shifts: {{ target: {other} }} }}
scenarios:
  early: {{ service: users, profile: 40@1s }}
  late: {{ service: users, profile: 40@1s, startTime: 1s }}
  other: {{ service: shifts, profile: 30@1s }}"
    );
    let (directory, path) = file("a.yaml", &text);
    let json = directory.path().join("run.json");
    let write = format!("--json={}", json.display());
    code(&["run", path.to_str().unwrap(), &write]).await;
    let recording = report::read(&json).unwrap();
    assert_eq!(recording.services["users"].load.counts.offered, 80);
    assert_eq!(recording.services["shifts"].load.counts.offered, 30);
    let stages: Vec<_> = recording
        .stages
        .iter()
        .map(|stage| (stage.load.as_str(), stage.start_s))
        .collect();
    assert_eq!(stages, [("early", 0.0), ("other", 0.0), ("late", 1.0)]);
    assert!(!recording.generator.seconds.is_empty());
    assert_eq!(recording.generator.discovery["users"], "static");
}

#[tokio::test]
async fn files_and_flags_that_make_no_sense_end_before_the_first_request() {
    let local = "http://127.0.0.1:1/";
    let cases: [&[&str]; 10] = [
        &["run"],
        &["run", "--url", local],
        &["run", "--url", local, "--profile", "50"],
        &["run", "--url", "ftp://127.0.0.1", "--profile", "1@1s"],
        &[
            "run",
            "--url",
            "http://me:hush@127.0.0.1/",
            "--profile",
            "1@1s",
        ],
        &[
            "run",
            "--url",
            local,
            "--profile",
            "1@1s",
            "--quantile",
            "95",
        ],
        &[
            "run",
            "--url",
            local,
            "--profile",
            "1@1s",
            "--timeout",
            "0s",
        ],
        &[
            "run",
            "--url",
            local,
            "--profile",
            "1@1s",
            "--objective",
            "10s",
        ],
        &["run", "--url", "http://192.0.2.1/", "--profile", "1@1s"],
        &["run", "no-such-file.yaml"],
    ];
    for flags in cases {
        assert_eq!(code(flags).await, 104, "{flags:?}");
    }
}

#[tokio::test]
async fn a_variable_that_is_not_set_is_an_error_before_the_first_request() {
    let url = app(slow()).await;
    let header = "X-Token: ${env:TAFFRAIL_LOADTEST_NO_SUCH_VARIABLE}";
    assert_eq!(
        code(&[
            "run",
            "--url",
            &url,
            "--profile",
            "1@1s",
            "--header",
            header
        ])
        .await,
        104
    );
}

#[tokio::test]
async fn lint_tells_good_files_from_bad_ones() {
    let (_good, good) = file("a.yaml", "name: a\nscenarios: { m: { profile: 5@1s } }");
    let (_bad, bad) = file("b.yaml", "name: b\nscenarios: { m: { profile: 5 } }");
    let (good, bad) = (good.to_str().unwrap(), bad.to_str().unwrap());
    assert_eq!(code(&["lint", good]).await, 0);
    assert_eq!(code(&["lint", good, bad]).await, 104);
}

#[tokio::test]
async fn help_schemas_and_completions_are_no_errors() {
    let help = parse(["taffrail-loadtest", "--help"].map(OsString::from)).unwrap_err();
    assert_eq!(format!("{help:?}"), format!("{:?}", ExitCode::SUCCESS));
    assert_eq!(code(&["schema", "report"]).await, 0);
    assert_eq!(code(&["completions", "bash"]).await, 0);
}

#[tokio::test]
async fn a_threshold_that_aborts_ends_the_run_before_its_time() {
    let url = app(refusing()).await;
    let text = format!(
        "name: a\ntarget: {url}\nscenarios: {{ m: {{ profile: 20@1h }} }}
thresholds:
  http_req_failed: [{{ threshold: 'rate<0.1', abortOnFail: true, delayAbortEval: 1s }}]"
    );
    let (_directory, path) = file("a.yaml", &text);
    let flags = ["run", path.to_str().unwrap()];
    let ended = tokio::time::timeout(Duration::from_secs(60), ends_with(&flags, 99)).await;
    assert!(ended.expect("it goes on for an hour"));
}
