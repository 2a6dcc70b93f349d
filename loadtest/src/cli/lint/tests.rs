//! What `lint` says, with file and line.

use clap::Parser;

use super::super::flags::{Cli, Command};
use super::*;

/// A service of two to ten replicas, at most two more a minute, whose metric takes 18 s.
const USERS: &str = r#"name: users
app: { workers: 2 }
demand: { rpsPerPod: 100 }
hpa:
  spec:
    scaleTargetRef: { kind: Deployment, name: users }
    minReplicas: 2
    maxReplicas: 10
    behavior:
      scaleUp: { policies: [{ type: Pods, value: 2, periodSeconds: 60 }] }
metrics: { spec: { window: 15s, interval: 3s } }
scenarios: { m: { startRate: 500, stages: [{ name: high, target: 500, duration: 300s }] } }
assertions:
"#;

/// The line of the first check of [`USERS`].
const FIRST: usize = 14;

struct Linted {
    said: String,
    status: ExitStatus,
    folder: String,
}

/// What `lint` says of a scenario; `{}` in the flags is the folder of the files.
async fn linted(scenario: &str, files: &[(&str, &str)], flags: &[&str]) -> Linted {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("users.yaml");
    std::fs::write(&path, scenario).unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    let folder = folder.path().display().to_string();
    let flags: Vec<String> = flags
        .iter()
        .map(|flag| flag.replace("{}", &folder))
        .collect();
    let head = ["taffrail-loadtest", "lint"].map(str::to_owned);
    let tail = [path.display().to_string()];
    let cli = Cli::parse_from([&head[..], &flags, &tail].concat());
    let Command::Lint(args) = cli.command else {
        unreachable!("it is lint that was asked for");
    };
    let mut given = Given::new();
    for path in &args.hpa {
        given.extend(read(path).unwrap());
    }
    let (said, status) = match one(&path, &args, &given, None).await {
        Ok(done) => done,
        Err(stop) => (format!("{:#}", stop.error), stop.status),
    };
    let said = said.replace(&format!("{folder}/"), "");
    Linted {
        said,
        status,
        folder,
    }
}

/// The lines that are said of checks of [`USERS`], without the summary.
async fn of_checks(checks: &[&str], flags: &[&str]) -> (Vec<String>, ExitStatus) {
    let checks: String = checks
        .iter()
        .map(|check| format!("  - {check}\n"))
        .collect();
    let linted = linted(&format!("{USERS}{checks}"), &[], flags).await;
    let mut lines: Vec<String> = linted.said.lines().map(str::to_owned).collect();
    let summary = lines.pop().unwrap();
    assert!(
        summary.starts_with("users.yaml: 150000 requests in 5m"),
        "{summary}"
    );
    (lines, linted.status)
}

#[tokio::test]
async fn limits_that_cannot_be_met_are_told_with_file_and_line() {
    let (said, status) = of_checks(
        &[
            "error_rate: { max: 0.01 }",
            "time_to_replicas: { n: 4, from: stage(high).start, max: 20s }",
            "time_to_replicas: { n: 6, from: stage(high).start, max: 50s }",
            "peak_replicas: { between: [2, 12] }",
            "peak_replicas: { between: [11, 12] }",
            "replicas_within: { scope: stage(high), settle: 0s, between: [2, 10] }",
        ],
        &[],
    )
    .await;
    assert_eq!(
        said,
        [
            format!(
                "users.yaml:{}: racy: time_to_replicas[high] has a limit of 20 s, and whether the HPA makes it depends \
                 on when it looks: from 0 s to 33 s after the cause; allow 33 s or more",
                FIRST + 1
            ),
            format!(
                "users.yaml:{}: impossible: time_to_replicas[high] cannot hold before 60 s have passed; allow 93 s or more",
                FIRST + 2
            ),
            format!(
                "users.yaml:{}: impossible: peak_replicas asks for 11 replicas, which are more than the HPA's 10; \
                 ask for 2 to 10, or change the HPA's bounds",
                FIRST + 4
            ),
            format!(
                "users.yaml:{}: racy: replicas_within[high] looks at 300 s, which is as long as the HPA stabilizes, 300 s: \
                 whether it scales within is chance; end the stage 30 s or more before the window does, or after it",
                FIRST + 5
            ),
        ]
    );
    assert_eq!(status, ExitStatus::Passed);
}

#[tokio::test]
async fn what_can_never_hold_is_an_error_when_it_is_asked_to_be() {
    let impossible = &["time_to_replicas: { n: 12, max: 1h }"];
    let racy = &["time_to_first_scale_out: { max: 20s }"];
    assert_eq!(
        of_checks(impossible, &["--strict"]).await.1,
        ExitStatus::Invalid
    );
    assert_eq!(of_checks(impossible, &[]).await.1, ExitStatus::Passed);
    assert_eq!(of_checks(racy, &["--strict"]).await.1, ExitStatus::Passed);
}

#[tokio::test]
async fn flags_say_what_the_scenario_does_not() {
    let check = ["time_to_first_scale_out: { max: 34s }"];
    assert_eq!(
        of_checks(&check, &[]).await.0.len(),
        0,
        "15 s, 3 s and 15 s"
    );
    let said = of_checks(&check, &["--sync-period", "30s"]).await.0;
    assert!(
        said[0].contains("from 0 s to 48 s after the cause"),
        "{said:?}"
    );
    let window = ["--metric-window", "1m"];
    assert_eq!(
        of_checks(&check, &window).await.0.len(),
        0,
        "the scenario says 15 s"
    );
    let unsaid = USERS.replace("metrics: { spec: { window: 15s, interval: 3s } }\n", "");
    let scenario = format!("{unsaid}  - {}\n", check[0]);
    let said = linted(&scenario, &[], &window).await.said;
    assert!(said.starts_with("users.yaml:13: racy: "), "{said}");
    assert!(said.contains("from 0 s to 75 s"), "{said}");
}

#[tokio::test]
async fn an_hpa_of_a_file_takes_the_place_of_the_scenarios() {
    let file = "kind: Deployment\nmetadata: { name: users }\n---\nkind: HorizontalPodAutoscaler\nmetadata: { name: users }\n\
                spec: { scaleTargetRef: { kind: Deployment, name: users }, minReplicas: 2, maxReplicas: 4 }\n";
    let flags = ["--hpa", "{}/hpa.yaml"];
    let scenario = format!("{USERS}  - peak_replicas: {{ between: [5, 9] }}\n");
    let said = linted(&scenario, &[("hpa.yaml", file)], &flags).await.said;
    let expected = [
        "users.yaml:5: doubtful: the load on users needs 5 replicas at its peak, and its HPA has 4 at most; \
         set maxReplicas to 5 or more, or lower the load",
        "users.yaml:14: impossible: peak_replicas asks for 5 replicas, which are more than the HPA's 4; \
         ask for 2 to 4, or change the HPA's bounds",
    ];
    assert_eq!(said.lines().take(2).collect::<Vec<_>>(), expected);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("none.yaml");
    std::fs::write(&path, "name: shop\nspec: {}\n---\nkind: Deployment\n").unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.contains("there is no HorizontalPodAutoscaler in it"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_wrong_with_an_hpa_or_unobserved_is_told_where_it_stands() {
    let wrong = USERS.replace("minReplicas: 2", "minReplicas: 20");
    let said = linted(&format!("{wrong}  - error_rate: {{ max: 1 }}\n"), &[], &[])
        .await
        .said;
    assert!(
        said.starts_with(
            "users.yaml:5: impossible: the HPA of users has minReplicas 20 above maxReplicas 10"
        ),
        "{said}"
    );
    let unreadable = USERS.replace("maxReplicas: 10", "maxReplicas: many");
    let said = linted(
        &format!("{unreadable}  - error_rate: {{ max: 1 }}\n"),
        &[],
        &[],
    )
    .await
    .said;
    assert!(
        said.starts_with("users.yaml:5: impossible: the HPA of users cannot be read: "),
        "{said}"
    );
    let met = "name: users
target: http://users.shop.svc/
scenarios: { m: { profile: 5@60s } }
assertions:
  - flap_count: { max: 0 }
";
    let said = linted(met, &[], &[]).await.said;
    assert!(
        said.starts_with(
            "users.yaml:5: impossible: flap_count cannot be told: nobody looks at the HPA of users; \
             write `observe: { hpa: { namespace: ..., name: users } }` for users"
        ),
        "{said}"
    );
}

#[tokio::test]
async fn a_trace_that_cannot_be_read_is_told_once_and_by_the_scenarios_name() {
    let scenario = "name: users\nscenarios: { m: { executor: replay, file: day.csv } }\n";
    let Linted {
        said,
        status,
        folder,
    } = linted(scenario, &[("day.csv", "0,10\nx\n")], &[]).await;
    assert_eq!(
        said,
        "users.yaml: load `m`: day.csv: line 2: `x` is not a number at or above zero"
    );
    assert_eq!(status, ExitStatus::Invalid);
    assert!(!said.contains(&folder));
}
