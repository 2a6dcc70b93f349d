//! The scenario that the flags of `run` give: a file with what the flags say instead, or one load on one URL written as
//! a scenario, so that both are run and judged alike.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, ensure};
use http::Uri;

use super::flags::{OneLoad, OutputArgs, RunArgs};
use crate::profile::Profile;
use crate::scenario::assertion::{ErrorBudget, ErrorRate, FailureClass};
use crate::scenario::file::{
    CONNECTIONS_MAX, IN_FLIGHT_MAX, TIMEOUTS, default_connections, default_http, default_request,
    discovery_of, read_url, shorthand,
};
use crate::scenario::{
    Assertion, Check, Load, Outputs, Pacing, Placing, Request, Scenario, Scope, Service, Share,
    Slo, Span, Target,
};

/// The name of the only load of the flags, and of its service.
const ONLY: &str = "main";

/// A scenario to run, and where the files are that it names.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) scenario: Scenario,
    pub(super) beside: PathBuf,
}

impl Given {
    /// The scenario of the flags.
    pub(super) fn of(args: &RunArgs) -> anyhow::Result<Self> {
        let mut given = match (&args.scenario, &args.one.url, &args.one.profile) {
            (Some(path), ..) => Self {
                scenario: Scenario::load(path)?,
                beside: path.parent().unwrap_or(Path::new(".")).to_owned(),
            },
            (None, Some(url), Some(profile)) => Self {
                scenario: one_load(url, profile, &args.one)?,
                beside: PathBuf::from("."),
            },
            _ => return Err(anyhow!("name a scenario, or give --url and --profile")),
        };
        let scenario = &mut given.scenario;
        scenario.seed = args.seed.unwrap_or(scenario.seed);
        scenario.run.repeat = args.repeat.unwrap_or(scenario.run.repeat);
        scenario.run.pass = match (args.pass, args.repeat) {
            (Some(pass), _) => pass,
            (None, Some(repeat)) => repeat,
            (None, None) => scenario.run.pass,
        };
        ensure!(
            scenario.run.pass <= scenario.run.repeat,
            "--pass {} of --repeat {} runs cannot pass",
            scenario.run.pass,
            scenario.run.repeat
        );
        let allowed = args.allow_namespaces.iter().cloned();
        scenario.safety.allow_namespaces.extend(allowed);
        replace_outputs(&mut scenario.report, &args.outputs);
        if args.prometheus.is_some() {
            scenario.report.prometheus.clone_from(&args.prometheus);
        }
        Ok(given)
    }
}

/// Flags win over the file; a path of the file is relative to where the command runs, as a flag's is.
fn replace_outputs(outputs: &mut Outputs, flags: &OutputArgs) {
    let pairs = [
        (&mut outputs.json, &flags.json),
        (&mut outputs.junit, &flags.junit),
        (&mut outputs.html, &flags.html),
        (&mut outputs.openmetrics, &flags.openmetrics),
    ];
    for (output, flag) in pairs {
        if flag.is_some() {
            output.clone_from(flag);
        }
    }
}

fn one_load(url: &str, profile: &Profile, flags: &OneLoad) -> anyhow::Result<Scenario> {
    let share = |flag: &str, share: f64| {
        Share::new(share).map_err(|_| anyhow!("{flag} must be between 0 and 1, such as 0.95"))
    };
    let quantile = share("--quantile", flags.quantile)?;
    let max_errors = share("--max-errors", flags.max_errors)?;
    let timeout = Span::from(flags.timeout);
    ensure!(
        TIMEOUTS.contains(&timeout),
        "--timeout {timeout} is not between {} and {}",
        TIMEOUTS.start(),
        TIMEOUTS.end()
    );
    ensure!(
        (1..=IN_FLIGHT_MAX).contains(&flags.max_in_flight),
        "--max-in-flight {} is not between 1 and {IN_FLIGHT_MAX}",
        flags.max_in_flight
    );
    ensure!(
        (1..=CONNECTIONS_MAX).contains(&flags.connections),
        "--connections {} is not between 1 and {CONNECTIONS_MAX}",
        flags.connections
    );
    if let Some(objective) = flags.objective {
        ensure!(
            !objective.is_zero() && objective < flags.timeout,
            "--objective must be above zero and shorter than --timeout"
        );
    }
    let url = read_url(url).map_err(|why| anyhow!("--url {why}"))?;
    let parsed: Uri = url.parse().context("--url is no URL")?;
    let budget = flags.objective.map(|objective| {
        Check::ErrorBudget(ErrorBudget {
            scope: Scope::Run,
            target: Some(objective.into()),
            objective: quantile,
        })
    });
    let errors = Check::ErrorRate(ErrorRate {
        scope: Scope::Run,
        class: FailureClass::Any,
        max: max_errors,
    });
    let assertion = |check| Assertion {
        service: None,
        check,
    };
    let executor = shorthand(profile).map_err(|why| anyhow!("--profile: {why}"))?;
    Ok(Scenario {
        name: ONLY.to_owned(),
        description: format!("{profile} on {}", without_query(&url)),
        seed: 1,
        services: BTreeMap::from([(ONLY.to_owned(), service(url, &parsed, flags))]),
        scenarios: BTreeMap::from([(
            ONLY.to_owned(),
            Load {
                service: ONLY.to_owned(),
                executor,
                arrivals: if flags.poisson {
                    Placing::Poisson
                } else {
                    Placing::Uniform
                },
                max_in_flight: flags.max_in_flight,
                graceful_stop: Span::from(flags.timeout),
                start_time: Span::default(),
                pacing: Pacing::Millisecond,
            },
        )]),
        assertions: [Some(errors), budget]
            .into_iter()
            .flatten()
            .map(assertion)
            .collect(),
        slo: flags.objective.map(|objective| Slo {
            quantile: flags.quantile,
            target: objective.into(),
            window: Span::from_secs(10),
            max_window: Span::from_secs(60),
        }),
        ..Scenario::default()
    })
}

/// The URL for people: a query may hold a key, and is nothing that tells one load from another.
fn without_query(url: &str) -> &str {
    url.split_once('?').map_or(url, |(before, _)| before)
}

fn service(url: String, parsed: &Uri, flags: &OneLoad) -> Service {
    let path = parsed.path_and_query().map_or("/", |path| path.as_str());
    let mut connections = default_connections();
    connections.per_endpoint = flags.connections;
    connections.preconnect = connections.preconnect.min(flags.connections);
    let mut http = default_http();
    http.timeout = flags.timeout.into();
    Service {
        target: Some(Target {
            discovery: discovery_of(&url),
            connections,
            http,
            url,
        }),
        requests: vec![Request {
            path: path.to_owned(),
            headers: flags.headers.iter().cloned().collect(),
            ..default_request()
        }],
        ..Service::default()
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::super::flags::{Cli, Command};
    use super::*;

    fn given(flags: &[&str]) -> anyhow::Result<Scenario> {
        let always = ["taffrail-loadtest", "run", "--profile", "1@1s"];
        let cli = Cli::try_parse_from(always.iter().chain(flags)).unwrap();
        let Command::Run(args) = cli.command else {
            unreachable!("it runs");
        };
        Given::of(&args).map(|given| given.scenario)
    }

    #[test]
    fn the_description_of_a_load_does_not_show_the_query_of_its_url() {
        let scenario = given(&["--url", "http://127.0.0.1:1/users?key=hush"]).unwrap();
        assert!(
            scenario
                .description
                .ends_with(" on http://127.0.0.1:1/users"),
            "{}",
            scenario.description
        );
        let request = &scenario.services[ONLY].requests[0];
        assert_eq!(request.path, "/users?key=hush", "it is what is sent");
    }

    #[test]
    fn flags_have_the_bounds_of_files() {
        let url = ["--url", "http://127.0.0.1:1/"];
        let with = |flag: &str, value: &str| given(&[&url[..], &[flag, value]].concat());
        for (flag, value) in [
            ("--timeout", "1ms"),
            ("--timeout", "10m"),
            ("--max-in-flight", "100000"),
            ("--connections", "10000"),
        ] {
            with(flag, value).unwrap();
        }
        let cases = [
            (
                "--timeout",
                "999us",
                "--timeout 999us is not between 1ms and 10m",
            ),
            (
                "--timeout",
                "601s",
                "--timeout 10m1s is not between 1ms and 10m",
            ),
            (
                "--max-in-flight",
                "0",
                "--max-in-flight 0 is not between 1 and 100000",
            ),
            (
                "--max-in-flight",
                "100001",
                "--max-in-flight 100001 is not between 1 and 100000",
            ),
            (
                "--connections",
                "0",
                "--connections 0 is not between 1 and 10000",
            ),
            (
                "--connections",
                "10001",
                "--connections 10001 is not between 1 and 10000",
            ),
        ];
        for (flag, value, expected) in cases {
            assert_eq!(with(flag, value).unwrap_err().to_string(), expected);
        }
    }
}
