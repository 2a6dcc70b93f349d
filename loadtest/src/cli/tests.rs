//! The exit codes, on runs against real sockets and on flags that make no sense.

use tokio::net::TcpListener;

use super::*;
use crate::sample_app;

fn args(flags: &[&str]) -> RunArgs {
    let all = ["taffrail-loadtest", "run"]
        .iter()
        .chain(flags)
        .map(OsString::from);
    parse(all).expect("the flags are well-formed")
}

async fn verdict(flags: &[&str]) -> Verdict {
    let args = args(flags);
    let Ok((config, endpoints, _)) = prepare(&args).await else {
        return Verdict::Invalid;
    };
    let (_sender, endpoints) = watch::channel(endpoints);
    let arrivals = Arrivals::new(&args.profile, Spacing::Uniform);
    let report = Engine::new(config)
        .run(arrivals, endpoints, CancellationToken::new())
        .await;
    judge(&args, &report).0
}

/// The URL of a sample app that lives until the test's runtime ends.
async fn app(config: sample_app::Config) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    tokio::spawn(sample_app::run(listener, config, std::future::pending()));
    url
}

#[tokio::test]
async fn a_server_that_holds_its_objective_passes_and_a_slow_one_fails() {
    let config = sample_app::Config {
        service_time: Duration::from_millis(60),
        service_cv: 0.0,
        workers: 50,
        ..sample_app::Config::default()
    };
    let url = app(config).await;
    let flags = ["--url", &url, "--profile", "50@1s", "--objective"];
    assert_eq!(
        verdict(&[&flags[..], &["1s"]].concat()).await,
        Verdict::Passed
    );
    assert_eq!(
        verdict(&[&flags[..], &["20ms"]].concat()).await,
        Verdict::Failed
    );
}

#[tokio::test]
async fn a_closed_port_and_a_server_that_refuses_everything_fail() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = format!("http://{}/", listener.local_addr().unwrap());
    drop(listener);
    assert_eq!(
        verdict(&["--url", &closed, "--profile", "50@500ms"]).await,
        Verdict::Failed
    );
    let config = sample_app::Config {
        auth_token: Some("hush".to_owned().into()),
        ..sample_app::Config::default()
    };
    let url = app(config).await;
    assert_eq!(
        verdict(&["--url", &url, "--profile", "50@500ms"]).await,
        Verdict::Failed
    );
}

#[tokio::test]
async fn load_that_was_dropped_is_not_delivered() {
    let config = sample_app::Config {
        service_time: Duration::from_millis(100),
        ..sample_app::Config::default()
    };
    let url = app(config).await;
    let flags = ["--url", &url, "--profile", "100@1s", "--max-in-flight", "1"];
    assert_eq!(verdict(&flags).await, Verdict::NotDelivered);
}

#[tokio::test]
async fn flags_that_make_no_sense_are_refused_with_the_flag_named() {
    let cases = [
        (
            vec!["--url", "https://127.0.0.1/"],
            "https is not supported",
        ),
        (vec!["--url", "127.0.0.1"], "must begin with http://"),
        (
            vec!["--url", "http://127.0.0.1/", "--quantile", "95"],
            "--quantile",
        ),
        (
            vec!["--url", "http://127.0.0.1/", "--max-errors", "2"],
            "--max-errors",
        ),
        (
            vec!["--url", "http://127.0.0.1/", "--timeout", "0s"],
            "--timeout",
        ),
        (
            vec!["--url", "http://127.0.0.1/", "--objective", "10s"],
            "--objective",
        ),
        (vec!["--url", "http://me:hush@127.0.0.1/"], "password"),
    ];
    for (flags, expected) in cases {
        let flags = [flags.as_slice(), &["--profile", "1@1s"]].concat();
        let error = prepare(&args(&flags)).await.err().unwrap().to_string();
        assert!(
            error.contains(expected) && !error.contains("hush"),
            "{flags:?}: {error}"
        );
    }
}

#[test]
fn help_is_no_error_and_a_bad_profile_is() {
    let code =
        |flags: &[&str]| format!("{:?}", parse(flags.iter().map(OsString::from)).unwrap_err());
    assert_eq!(
        code(&["taffrail-loadtest", "--help"]),
        format!("{:?}", ExitCode::from(0))
    );
    let bad = [
        "taffrail-loadtest",
        "run",
        "--url",
        "http://127.0.0.1/",
        "--profile",
        "50",
    ];
    assert_eq!(code(&bad), format!("{:?}", ExitCode::from(104)));
}
