//! The flags of `taffrail-loadtest`, each with its environment variable, and help that teaches by examples. It reads
//! flags and knows nothing of what becomes of them.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use http::header::{HeaderName, HeaderValue};

use super::exit::ExitMap;
use crate::profile::Profile;

/// Examples under the command's help.
const EXAMPLES: &str = "\
Examples:
  taffrail-loadtest run --url http://127.0.0.1:8080/ --profile \"50@30s 50->300@20s 300@1m\" --objective 250ms
  taffrail-loadtest lint scenarios/users.yaml
  taffrail-loadtest run scenarios/users.yaml --html=run.html --junit=run.xml --json=run.json
  taffrail-loadtest report run.json --scenario stricter.yaml --html=again.html

Exit codes:
    0  everything holds
   99  a check or a threshold does not hold
  100  the system was not as the scenario wants it before the first request
  104  the scenario or the flags make no sense, or a report cannot be written; or --strict, and a check can never hold
  105  interrupted; the report is of what was sent until then
  109  a bug of this program
  112  cannot be told: the load was not delivered as planned
  113  cannot be told: something was not seen, or was changed meanwhile
  114  the cluster cannot be reached, or does not allow what is needed
  115  ended for the sake of whoever uses the service
  116  everything holds, but it is worse than --baseline
When several hold, 105 and 109 count first, then 104, 114 and 100, 115, 99, 112 and 113, and 116.";

/// What lint tells, under its help.
const LINT_HELP: &str = "\
Beside what is wrong with a file, it tells of checks that an HPA's rules do not allow to hold:
  impossible  nothing could be so fast, or so many; --strict makes it an error
  racy        it depends on the moment at which the controller looks, so the check fails now and then
  doubtful    it may be meant so

Examples:
  taffrail-loadtest lint scenarios/*.yaml
  taffrail-loadtest lint --strict --hpa deploy/hpa.yaml --metric-window 30s scenarios/users.yaml
  taffrail-loadtest lint --cluster --context staging scenarios/users.yaml

Exit codes: 0 nothing is wrong, 104 something is, 114 the cluster cannot be reached or does not allow what is needed.";

/// Load over HTTP that checks autoscaling, with latency from the moment each request should have started
#[derive(Debug, Parser)]
#[command(name = "taffrail-loadtest", version, after_help = EXAMPLES)]
pub(super) struct Cli {
    #[command(subcommand)]
    pub(super) command: Command,
}

/// What is to be done.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run a scenario, or a profile of load against a URL, and say whether everything holds
    #[command(after_help = EXAMPLES)]
    Run(Box<RunArgs>),
    /// Check scenarios without sending anything: every error of a file at once, with its line
    #[command(after_help = LINT_HELP)]
    Lint(LintArgs),
    /// Judge and draw a recorded run again, without sending anything
    Report(ReportArgs),
    /// Print the JSON Schema of a file
    Schema {
        /// Of which
        #[arg(value_enum)]
        of: SchemaOf,
    },
    /// Print a completion script for a shell
    Completions {
        /// For which shell
        #[arg(value_enum)]
        shell: Shell,
    },
}

/// What there is a schema of.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum SchemaOf {
    /// A scenario with every default filled in, as it is part of a report
    Scenario,
    /// A recorded run, as `run --json=FILE` writes it
    Report,
}

/// Flags of `taffrail-loadtest run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// The scenario to run
    #[arg(required_unless_present = "url")]
    pub scenario: Option<PathBuf>,

    /// One load on one URL, in the place of a scenario.
    #[command(flatten)]
    pub one: OneLoad,

    /// Seed of everything drawn, instead of the scenario's; equal seeds send at equal moments
    #[arg(long, env = "TAFFRAIL_LOADTEST_SEED")]
    pub seed: Option<u64>,

    /// How often to run it, instead of as often as the scenario says
    #[arg(long, env = "TAFFRAIL_LOADTEST_REPEAT", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub repeat: Option<u32>,

    /// How many of the runs must pass
    #[arg(long, env = "TAFFRAIL_LOADTEST_PASS", value_parser = clap::value_parser!(u32).range(1..=100))]
    pub pass: Option<u32>,

    /// Send nothing when a check can never hold
    #[arg(long, env = "TAFFRAIL_LOADTEST_STRICT")]
    pub strict: bool,

    /// A recorded run that this one must not be worse than
    #[arg(long, env = "TAFFRAIL_LOADTEST_BASELINE", value_name = "RUN.json")]
    pub baseline: Option<PathBuf>,

    /// Load hosts that are neither this machine nor services of the cluster
    #[arg(long, env = "TAFFRAIL_LOADTEST_ALLOW_EXTERNAL")]
    pub allow_external: bool,

    /// Load services of this namespace, beside those that the scenario lists; may be given several times
    #[arg(
        long = "allow-namespace",
        env = "TAFFRAIL_LOADTEST_ALLOW_NAMESPACE",
        value_name = "NAMESPACE",
        value_delimiter = ','
    )]
    pub allow_namespaces: Vec<String>,

    /// How it ends.
    #[command(flatten)]
    pub exit: ExitArgs,

    /// The kubeconfig of the cluster
    #[arg(long, env = "TAFFRAIL_LOADTEST_KUBECONFIG")]
    pub kubeconfig: Option<PathBuf>,

    /// The context in it
    #[arg(long, env = "TAFFRAIL_LOADTEST_CONTEXT")]
    pub context: Option<String>,

    /// Serve the run to Prometheus here while it goes on, such as 127.0.0.1:9464
    #[arg(long, env = "TAFFRAIL_LOADTEST_PROMETHEUS", value_name = "ADDRESS")]
    pub prometheus: Option<String>,

    /// Where results go.
    #[command(flatten)]
    pub outputs: OutputArgs,
}

/// Flags that describe one load on one URL, in the place of a scenario.
#[derive(Debug, Args)]
pub struct OneLoad {
    /// What to request, such as http://127.0.0.1:8080/; its query is part of reports, so give a secret in --header
    #[arg(
        long,
        env = "TAFFRAIL_LOADTEST_URL",
        requires = "profile",
        conflicts_with = "scenario"
    )]
    pub url: Option<String>,

    /// The load: `50@30s` holds 50 requests per second for 30 s, `50->300@20s` ramps within 20 s
    #[arg(long, env = "TAFFRAIL_LOADTEST_PROFILE", conflicts_with = "scenario")]
    pub profile: Option<Profile>,

    /// Send at irregular moments, as independent users do, instead of evenly
    #[arg(long, env = "TAFFRAIL_LOADTEST_POISSON", conflicts_with = "scenario")]
    pub poisson: bool,

    /// Header of every request, such as `X-Auth-Token: ${env:TOKEN}`; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = read_header, conflicts_with = "scenario")]
    pub headers: Vec<(String, String)>,

    /// Requests in flight at most; above it they are dropped, and counted
    #[arg(
        long,
        env = "TAFFRAIL_LOADTEST_MAX_IN_FLIGHT",
        default_value_t = 10_000,
        conflicts_with = "scenario"
    )]
    pub max_in_flight: usize,

    /// Connections at most to each address of the host; requests above it wait
    #[arg(
        long,
        env = "TAFFRAIL_LOADTEST_CONNECTIONS",
        default_value_t = 128,
        conflicts_with = "scenario"
    )]
    pub connections: usize,

    /// How long a request may take, from the moment it should have started
    #[arg(long, env = "TAFFRAIL_LOADTEST_TIMEOUT", default_value = "10s", value_parser = humantime::parse_duration, conflicts_with = "scenario")]
    pub timeout: Duration,

    /// Latency within which the share --quantile of the requests must have a good answer
    #[arg(long, env = "TAFFRAIL_LOADTEST_OBJECTIVE", value_parser = humantime::parse_duration, conflicts_with = "scenario")]
    pub objective: Option<Duration>,

    /// Share of the requests that must be within --objective, between 0 and 1
    #[arg(
        long,
        env = "TAFFRAIL_LOADTEST_QUANTILE",
        default_value_t = 0.95,
        conflicts_with = "scenario"
    )]
    pub quantile: f64,

    /// Share of the requests that may fail, between 0 and 1
    #[arg(
        long,
        env = "TAFFRAIL_LOADTEST_MAX_ERRORS",
        default_value_t = 0.01,
        conflicts_with = "scenario"
    )]
    pub max_errors: f64,
}

/// How a command ends.
#[derive(Debug, Clone, Args)]
pub struct ExitArgs {
    /// Other exit codes, such as `inconclusive=0`
    #[arg(
        long,
        env = "TAFFRAIL_LOADTEST_EXIT_MAP",
        value_name = "WORD=CODE,...",
        default_value_t,
        hide_default_value = true
    )]
    pub exit_map: ExitMap,
}

/// Where results go; `-` is standard output.
#[derive(Debug, Clone, Args)]
pub struct OutputArgs {
    /// Write the recording here; without a file, print it in the place of the summary
    #[arg(long, env = "TAFFRAIL_LOADTEST_JSON", value_name = "FILE", num_args = 0..=1, require_equals = true, default_missing_value = "-")]
    pub json: Option<String>,

    /// Write the verdict here, as JUnit XML for CI
    #[arg(long, env = "TAFFRAIL_LOADTEST_JUNIT", value_name = "FILE")]
    pub junit: Option<String>,

    /// Write a page for people here
    #[arg(long, env = "TAFFRAIL_LOADTEST_HTML", value_name = "FILE")]
    pub html: Option<String>,

    /// Write the figures of the whole run here, as OpenMetrics text
    #[arg(long, env = "TAFFRAIL_LOADTEST_OPENMETRICS", value_name = "FILE")]
    pub openmetrics: Option<String>,
}

/// Flags of `taffrail-loadtest lint`.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// The scenarios
    #[arg(required = true)]
    pub scenarios: Vec<PathBuf>,

    /// Fail also when a check can never hold
    #[arg(long, env = "TAFFRAIL_LOADTEST_STRICT")]
    pub strict: bool,

    /// A file with HorizontalPodAutoscalers to check limits against, each for the service that observes it or has its
    /// name; may be given several times
    #[arg(long, env = "TAFFRAIL_LOADTEST_HPA", value_name = "FILE")]
    pub hpa: Vec<PathBuf>,

    /// Check limits against the HPAs of the cluster that the scenarios observe
    #[arg(long, env = "TAFFRAIL_LOADTEST_CLUSTER")]
    pub cluster: bool,

    /// The kubeconfig of the cluster
    #[arg(long, env = "TAFFRAIL_LOADTEST_KUBECONFIG", requires = "cluster")]
    pub kubeconfig: Option<PathBuf>,

    /// The context in it
    #[arg(long, env = "TAFFRAIL_LOADTEST_CONTEXT", requires = "cluster")]
    pub context: Option<String>,

    /// Over how long metrics are taken, where a service's `metrics` do not say; else that of the objective counts
    #[arg(long, env = "TAFFRAIL_LOADTEST_METRIC_WINDOW", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub metric_window: Option<Duration>,

    /// How often pods are scraped, where a service's `metrics` do not say
    #[arg(long, env = "TAFFRAIL_LOADTEST_SCRAPE_INTERVAL", value_name = "DURATION", value_parser = humantime::parse_duration)]
    pub scrape_interval: Option<Duration>,

    /// How often the HPA controller looks, which is its --horizontal-pod-autoscaler-sync-period
    #[arg(long, env = "TAFFRAIL_LOADTEST_SYNC_PERIOD", value_name = "DURATION", default_value = "15s", value_parser = humantime::parse_duration)]
    pub sync_period: Duration,
}

/// Flags of `taffrail-loadtest report`.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The recorded run
    pub recording: PathBuf,

    /// Judge it by this scenario's checks instead of its own
    #[arg(long, env = "TAFFRAIL_LOADTEST_SCENARIO")]
    pub scenario: Option<PathBuf>,

    /// A recorded run that this one must not be worse than
    #[arg(long, env = "TAFFRAIL_LOADTEST_BASELINE", value_name = "RUN.json")]
    pub baseline: Option<PathBuf>,

    /// How it ends.
    #[command(flatten)]
    pub exit: ExitArgs,

    /// Where results go.
    #[command(flatten)]
    pub outputs: OutputArgs,
}

/// A header as a command line has it. The value may be a secret, so no message repeats it.
fn read_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `Name: value`")?;
    let (name, value) = (name.trim(), value.trim());
    name.parse::<HeaderName>()
        .map_err(|_| format!("`{name}` is not the name of a header"))?;
    HeaderValue::from_str(value).map_err(|_| "the value holds characters no header may have")?;
    Ok((name.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_flag_is_sound_and_has_an_environment_variable() {
        let command = Cli::command();
        command.clone().debug_assert();
        for command in command.get_subcommands() {
            let flags = command
                .get_arguments()
                .filter(|flag| flag.get_long().is_some());
            for flag in flags
                .filter(|flag| !["help", "version", "header"].contains(&flag.get_id().as_str()))
            {
                let name = flag.get_long().unwrap_or_default();
                let expected = format!(
                    "TAFFRAIL_LOADTEST_{}",
                    name.to_uppercase().replace('-', "_")
                );
                let env = flag.get_env().and_then(|env| env.to_str());
                let headers = name == "header";
                assert!(
                    headers || env == Some(&expected),
                    "--{name} of {}",
                    command.get_name()
                );
            }
        }
    }

    #[test]
    fn no_message_about_a_header_repeats_its_value() {
        for text in ["hush", "X-Token: hush\u{7}", "X Token: hush"] {
            let error = read_header(text).unwrap_err();
            assert!(!error.contains("hush"), "{error}");
        }
        let read = read_header("X-Token:  hush ").unwrap();
        assert_eq!(read, ("X-Token".to_owned(), "hush".to_owned()));
    }
}
