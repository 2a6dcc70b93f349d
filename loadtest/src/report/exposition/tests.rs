//! The pages as Prometheus itself reads them, and the numbers in them.

use std::io::Write;
use std::process::{Command, Stdio};

use super::*;
use crate::measured::RequestMeasured;
use crate::report::{Report, fixture};

/// What promtool says when it is given this text; panics when it is not content.
fn promtool(args: &[&str], text: &str) -> String {
    let promtool = Command::new("promtool")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = promtool
        .unwrap_or_else(|error| panic!("promtool cannot be started ({error}): run tests/run"));
    let mut stdin = promtool.stdin.take().unwrap();
    stdin.write_all(text.as_bytes()).unwrap();
    drop(stdin);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    said
}

/// A recording with kinds of requests, and a label that must be escaped.
fn rich() -> Recording {
    let mut recording = fixture::recording();
    let service = recording.services.get_mut("users").unwrap();
    service.metrics[0].selector = "a=\"b\\c\"\nd".to_owned();
    for kind in ["list", "buy \"now\""] {
        let measured = RequestMeasured {
            counts: service.load.counts,
            latency: service.load.latency.clone(),
        };
        service.load.requests.insert(kind.to_owned(), measured);
    }
    recording
}

#[test]
fn prometheus_finds_nothing_to_complain_of() {
    let said = promtool(&["check", "metrics"], &page(&rich()));
    assert_eq!(said, "");
}

#[test]
fn prometheus_takes_the_figures_of_a_whole_run_into_its_database() {
    let (recording, verdict) = (rich(), fixture::verdict());
    let text = openmetrics(&Report {
        recording: &recording,
        verdict: &verdict,
    });
    assert!(text.ends_with("\n# EOF\n"));
    let directory = tempfile::tempdir().unwrap();
    let (file, data) = (
        directory.path().join("run.om"),
        directory.path().join("data"),
    );
    std::fs::write(&file, &text).unwrap();
    // Without one promtool reads no database.
    std::fs::create_dir_all(data.join("wal")).unwrap();
    let [file, data] = [&file, &data].map(|path| path.to_str().unwrap());
    promtool(
        &["tsdb", "create-blocks-from", "openmetrics", file, data],
        "",
    );
    let stored = promtool(&["tsdb", "dump", data], "");
    // 12:00:00 on the first of March 2026.
    let at_ms = 1_772_366_400_000_u64;
    let lines = |of: &str| stored.lines().filter(|line| line.contains(of)).count();
    assert_eq!(lines(&format!(" {at_ms}")), stored.lines().count());
    let samples = text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!(stored.lines().count(), samples, "each sample is one");
    for (of, value) in [
        (
            "__name__=\"loadtest_check_holds\", check=\"slo_recovery_time[high]\"",
            0,
        ),
        (
            "__name__=\"loadtest_check_value\", check=\"slo_recovery_time[high]\"",
            40,
        ),
        (
            "__name__=\"loadtest_run_info\", attempt=\"1\", outcome=\"failed\"",
            1,
        ),
    ] {
        let line = stored.lines().find(|line| line.contains(of));
        let line = line.unwrap_or_else(|| panic!("{of}: {stored}"));
        assert!(line.contains(&format!("}} {value} ")), "{line}");
    }
    assert_eq!(lines("check=\"metric_accuracy\""), 0, "nobody could tell");
}

#[test]
fn the_share_within_the_objective_is_exact_and_the_buckets_are_around_it() {
    let recording = fixture::recording();
    let page = page(&recording);
    let load = &recording.services["users"].load;
    let line = |start: &str| {
        page.lines()
            .find(|line| line.starts_with(start))
            .unwrap_or_else(|| panic!("{start}: {page}"))
    };
    let value = |start: &str| {
        line(start)
            .rsplit(' ')
            .next()
            .unwrap()
            .parse::<f64>()
            .unwrap()
    };
    let within = load.latency.count_within(Duration::from_millis(300)) as f64;
    assert_eq!(
        value("loadtest_latency_seconds_bucket{service=\"users\",le=\"0.3\"}"),
        within
    );
    assert_eq!(
        value("loadtest_latency_seconds_count{service=\"users\"}"),
        load.latency.count() as f64
    );
    assert_eq!(
        page.matches("_bucket{service=\"users\"").count(),
        BOUNDS.len() + 1
    );
    assert_eq!(
        value("loadtest_requests_total{service=\"users\",outcome=\"status_5xx\"}"),
        load.counts.errors_of(ErrorClass::ServerStatus) as f64
    );
    assert_eq!(
        value("loadtest_replicas{service=\"users\",place=\"desired\"}"),
        2.0
    );
    assert_eq!(
        value("loadtest_metric_target{service=\"users\",metric=\"request_latency_ms\""),
        250.0
    );
}

#[test]
fn what_is_unknown_has_no_sample() {
    let mut recording = fixture::recording();
    let service = recording.services.get_mut("users").unwrap();
    service.replicas.ready.push(900.0, None);
    service.metrics[0].reads.last_mut().unwrap().value = None;
    let page = page(&recording);
    assert!(!page.contains("loadtest_replicas{service=\"users\",place=\"ready\"}"));
    assert!(!page.contains("loadtest_metric_value{service=\"users\""));
    assert!(page.contains("loadtest_metric_value{service=\"orders\""));
}
