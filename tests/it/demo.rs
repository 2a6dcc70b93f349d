//! The commands a newcomer types first: the demo, a replay, completions, help. The demo runs once, whole and faster;
//! its picture and its report are tested where they are made.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// Six times as fast: half a minute, and the HPA still looks every 2.5 s.
const SPEED: &str = "6";

fn taffrail(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_taffrail"));
    command
        .args(args)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn output(args: &[&str]) -> Output {
    taffrail(args).output().unwrap()
}

/// What a run of the demo left behind.
struct Run {
    output: Output,
    id: u32,
    report: String,
    /// What `taffrail replay` says of what its HPA read and decided.
    replay: Output,
}

fn demo() -> Run {
    let dir = TempDir::new().unwrap();
    let [report, recording] = ["report.html", "hpa.json"].map(|name| dir.path().join(name));
    let args = ["demo", "--speed", SPEED, "--json", "--report"];
    let mut command = taffrail(&args);
    command.arg(&report).arg("--hpa-recording").arg(&recording);
    let process = command.spawn().unwrap();
    let id = process.id();
    let output = process.wait_with_output().unwrap();
    let args = ["replay", "--min-agreement", "100", "--json"];
    Run {
        output,
        id,
        report: std::fs::read_to_string(&report).unwrap_or_default(),
        replay: taffrail(&args).arg(&recording).output().unwrap(),
    }
}

/// The processes that `parent` started, by their command lines.
fn children(parent: u32) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let of_parent = processes.filter(|entry| {
        let stat = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        // The parent is the fourth field; the second is a name in parentheses, which may hold anything.
        let parent_id = stat
            .rsplit_once(')')
            .and_then(|(_, rest)| rest.split_whitespace().nth(1)?.parse::<u32>().ok());
        parent_id == Some(parent)
    });
    let command_line = |entry: std::fs::DirEntry| {
        std::fs::read_to_string(entry.path().join("cmdline"))
            .unwrap_or_default()
            .replace('\0', " ")
    };
    of_parent.map(command_line).collect()
}

/// Processes of ours that name `mark`, a port or a path, on their command lines.
fn processes_naming(mark: &str) -> Vec<String> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    let command_lines = processes.filter_map(|entry| {
        let line = std::fs::read_to_string(entry.path().join("cmdline")).ok()?;
        Some(line.replace('\0', " "))
    });
    command_lines.filter(|line| line.contains(mark)).collect()
}

/// How often the demo may be tried. It measures for real, and a machine that stands still for seconds is slow for real.
const TRIES: usize = 3;

#[test]
fn the_demo_scales_out_on_latency_where_cpu_would_not_and_leaves_nothing_behind() {
    let mut said = Vec::new();
    for _ in 0..TRIES {
        let run = demo();
        leaves_nothing_behind(&run);
        is_replayed(&run);
        match held(&run) {
            Ok(()) => return,
            Err(why) => said.push(why),
        }
    }
    panic!("{}", said.join("\n\n"));
}

/// What a run of the demo shows on a machine that does not stand still; else what was otherwise.
fn held(run: &Run) -> Result<(), String> {
    let stdout = String::from_utf8_lossy(&run.output.stdout);
    let last: Value = serde_json::from_str(stdout.lines().last().unwrap_or_default())
        .map_err(|error| format!("{error}: {stdout}"))?;
    let summary = &last["summary"];
    let holds = |what: &str, holds: bool| {
        let stderr = String::from_utf8_lossy(&run.output.stderr);
        holds
            .then_some(())
            .ok_or_else(|| format!("not so: {what}\n{summary}\n{}\n{stderr}", last["decisions"]))
    };
    let number = |name: &str| summary[name].as_f64().unwrap_or_default();
    let peak = |field: &str| {
        let samples = last["samples"].as_array().into_iter().flatten();
        samples
            .filter_map(|sample| sample[field].as_f64())
            .fold(0.0, f64::max)
    };
    let minimum = last["replicas_min"].as_f64().unwrap_or_default();
    let scale_outs = || {
        let decisions = last["decisions"].as_array().into_iter().flatten();
        decisions.filter(|decision| decision["from"].as_u64() < decision["to"].as_u64())
    };

    holds("its exit code is 0", run.output.status.code() == Some(0))?;
    let verdict = summary["verdict"].as_str();
    holds(
        "the objective held",
        matches!(verdict, Some("held" | "recovered")),
    )?;
    holds("it scaled out", minimum < number("replicas_peak"))?;
    let cpu_only = number("cpu_only_replicas_peak");
    holds("CPU alone would not have", (cpu_only - minimum).abs() < 0.5)?;
    // Queues drain on the wall's clock, however fast the HPA's runs: here the run ends within the stabilization window,
    // and before scale-in.
    let within = number("requests_within_objective_ratio");
    holds("most requests were in time", 0.5 < within)?;
    holds("a decision scaled out", scale_outs().next().is_some())?;
    let by_latency = scale_outs().all(|decision| decision["metric"] == "request_latency_ms");
    holds("latency made it scale out", by_latency)?;
    // What the HPA read is what clients saw, in the quiet beginning and at the worst.
    let seen = 250.0 < peak("metric_ms") && 250.0 < peak("p95_ms");
    holds("the HPA read what clients saw", seen)?;
    let rate_share = peak("request_rate") / peak("offered_rps");
    holds(
        "the rate is what was offered",
        0.5 < rate_share && rate_share < 1.5,
    )
}

/// Whatever the machine does: what its HPA decided is what a replay of what it read decides. Its times are those of its
/// own clock, so there is not even the edge of a second that recordings of a cluster have.
fn is_replayed(run: &Run) {
    let said = String::from_utf8_lossy(&run.replay.stdout);
    let stderr = String::from_utf8_lossy(&run.replay.stderr);
    assert_eq!(run.replay.status.code(), Some(0), "{said}\n{stderr}");
    let report: Value = serde_json::from_str(&said).unwrap();
    let tally = |of: &str| ["agree", "total"].map(|field| report[of][field].as_u64().unwrap());
    // 165 s of the HPA's time hold ten syncs; a machine that stands still skips some.
    let [agree, total] = tally("decisions");
    assert!(agree == total && 5 <= total, "{said}");
    let [agree, total] = tally("conditions");
    assert!(agree == total && 5 <= total, "{said}");
}

/// Whatever the machine does: the report is whole and stands alone, and no process is left.
fn leaves_nothing_behind(run: &Run) {
    let report = run.report.to_lowercase();
    assert!(report.starts_with("<!doctype html>"));
    assert!(report.trim_end().ends_with("</html>"));
    for from_elsewhere in [
        "src=\"http",
        "href=\"http",
        "url(http",
        "@import",
        "<link",
        "<script src",
    ] {
        assert!(
            !report.contains(from_elsewhere),
            "the report loads {from_elsewhere}"
        );
    }
    assert_eq!(children(run.id), Vec::<String>::new());
    // The Redis server of the demo has no parent any more if it was left behind; its port is in the first event.
    let stdout = String::from_utf8_lossy(&run.output.stdout);
    let redis = stdout
        .split("Redis server on 127.0.0.1:")
        .nth(1)
        .expect("a Redis server took part");
    let port: String = redis.chars().take_while(char::is_ascii_digit).collect();
    for mark in [format!("127.0.0.1:{port}"), format!("--redis-port {port}")] {
        assert_eq!(processes_naming(&mark), Vec::<String>::new());
    }
}

#[test]
fn without_redis_the_demo_says_how_to_get_it_and_goes_on() {
    let dir = TempDir::new().unwrap();
    let mut process = taffrail(&["demo", "--speed", "10", "--plain", "--report"])
        .arg(dir.path().join("report.html"))
        .env("PATH", "")
        .spawn()
        .unwrap();
    let mut said = String::new();
    let mut lines = BufReader::new(process.stdout.take().unwrap()).lines();
    // Pods are ready and the clock runs when it speaks of load.
    let mut after = 0;
    while let Some(Ok(line)) = lines.next() {
        said += &(line + "\n");
        if said.contains("redis-server") {
            after += 1;
        }
        if 3 <= after {
            break;
        }
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert!(said.contains("redis-server is not installed"), "{said}");
    assert!(said.contains("apt-get install redis-server"), "{said}");
    assert!(3 <= after, "it did not go on: {said}");
}

#[test]
fn the_recordings_are_replayed_and_agree() {
    let run = output(&["replay", "tests/data/hpa-recordings"]);
    let said = String::from_utf8(run.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&run.stderr);
    let agree = said
        .lines()
        .find_map(|line| line.strip_suffix(" decisions agree"))
        .unwrap_or_else(|| panic!("{said}\n{stderr}"));
    let (same, all) = agree.split_once(" of ").unwrap();
    let (same, all): (f64, f64) = (same.parse().unwrap(), all.parse().unwrap());
    assert!(0.0 < all && 0.999 * all <= same, "{agree}");
}

#[test]
fn every_shell_gets_a_completion_script_that_knows_the_subcommands() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let run = output(&["completions", shell]);
        assert!(run.status.success());
        let script = String::from_utf8(run.stdout).unwrap();
        for word in ["taffrail", "serve", "demo", "replay", "metrics-listen"] {
            assert!(script.contains(word), "no {word} for {shell}");
        }
    }
    // Bash itself takes it.
    let script = output(&["completions", "bash"]).stdout;
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("taffrail.bash");
    std::fs::write(&file, script).unwrap();
    let checked = Command::new("bash").arg("-n").arg(&file).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

#[test]
fn help_teaches_every_subcommand_and_each_flag_of_serve_has_its_variable() {
    let top = String::from_utf8(output(&["--help"]).stdout).unwrap();
    for command in ["serve", "demo", "replay", "completions"] {
        assert!(top.contains(command), "{top}");
        let run = output(&[command, "--help"]);
        assert_eq!(run.status.code(), Some(0), "{command} --help");
        assert!(!run.stdout.is_empty());
    }
    assert!(
        !top.contains("demo-pod"),
        "what is no user's business is hidden"
    );

    let serve = String::from_utf8(output(&["serve", "--help"]).stdout).unwrap();
    let flags: BTreeSet<String> = serve
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("--"))
        .map(|flag| {
            flag.trim_matches(|c: char| !c.is_ascii_alphanumeric())
                .to_owned()
        })
        .filter(|flag| flag != "help")
        .collect();
    for flag in [
        "config",
        "listen",
        "metrics-listen",
        "tls-cert-file",
        "tls-key-file",
        "log",
    ] {
        assert!(flags.contains(flag), "{flags:?}");
        let variable = format!("[env: TAFFRAIL_{}=", flag.to_uppercase().replace('-', "_"));
        assert!(serve.contains(&variable), "no {variable} in {serve}");
    }
    assert!(serve.contains("Exit codes"), "{serve}");
}

#[test]
fn a_wrong_command_line_is_a_short_answer_and_exit_code_2() {
    for args in [&["serve"][..], &["demo", "--speed", "99"], &["fly"]] {
        let run = output(args);
        let said = String::from_utf8_lossy(&run.stderr).into_owned();
        assert_eq!(run.status.code(), Some(2), "{args:?}: {said}");
        assert!(
            said.starts_with("error: ") && !said.contains("panicked"),
            "{args:?}: {said}"
        );
    }
}
