//! The command line of `taffrail-loadtest`: flags, a line per second while it runs, a summary at the end, and an exit
//! code that tells a failed objective from a load that was not delivered.

use std::ffi::OsString;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use clap::{Args, Parser, Subcommand};
use http::header::{HeaderName, HeaderValue};
use http::{HeaderMap, Uri};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::arrivals::{Arrivals, Spacing};
use crate::engine::{Config, Engine};
use crate::measured::{ErrorClass, Measured, Progress};
use crate::profile::Profile;

/// Share of the load that must have been sent, and in time, for the rest to mean anything.
const DELIVERED_MIN: f64 = 0.99;

/// Seconds of progress that may wait to be printed.
const PROGRESS_CAPACITY: usize = 64;

/// How a run ended, as a process exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Verdict {
    /// Everything that was asked for holds.
    Passed = 0,
    /// The objective was missed, or too many requests failed.
    Failed = 99,
    /// The flags make no sense together.
    Invalid = 104,
    /// The run was interrupted; the report is of what was sent until then.
    Interrupted = 105,
    /// The generator did not send the load as planned, so the figures say little.
    NotDelivered = 112,
}

/// Open-loop load over HTTP, with latency from the moment each request should have started
#[derive(Debug, Parser)]
#[command(name = "taffrail-loadtest", version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a profile of load against a URL
    ///
    /// Exit codes: 0 passed, 99 objective or error limit missed, 104 flags invalid, 105 interrupted,
    /// 112 the load could not be delivered.
    Run(RunArgs),
}

/// Flags of `taffrail-loadtest run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// What to request, such as http://127.0.0.1:8080/
    #[arg(long)]
    url: Uri,

    /// The load: `50@30s` holds 50 requests per second for 30 s, `50->300@20s` ramps within 20 s
    #[arg(long)]
    profile: Profile,

    /// Seed of the moments when --poisson is given: equal seeds send at equal moments
    #[arg(long, default_value_t = 1)]
    seed: u64,

    /// Send at irregular moments, as independent users do, instead of evenly
    #[arg(long)]
    poisson: bool,

    /// Header of every request, such as `X-Auth-Token: value`; may be given several times
    #[arg(long = "header", value_name = "NAME: VALUE", value_parser = read_header)]
    headers: Vec<(HeaderName, HeaderValue)>,

    /// Requests in flight at most; above it they are dropped, and counted
    #[arg(long, default_value_t = 10_000)]
    max_in_flight: usize,

    /// Connections at most to each address of the host; requests above it wait
    #[arg(long, default_value_t = 128)]
    connections: usize,

    /// How long a request may take, from the moment it should have started
    #[arg(long, default_value = "10s", value_parser = humantime::parse_duration)]
    timeout: Duration,

    /// Latency within which the share --quantile of the requests must have a good answer
    #[arg(long, value_parser = humantime::parse_duration)]
    objective: Option<Duration>,

    /// Share of the requests that must be within --objective, between 0 and 1
    #[arg(long, default_value_t = 0.95)]
    quantile: f64,

    /// Share of the requests that may fail, between 0 and 1
    #[arg(long, default_value_t = 0.01)]
    max_errors: f64,

    /// Print the summary as one JSON object
    #[arg(long)]
    json: bool,
}

/// Reads the flags. On an error, or when help was asked for, it has been printed and the exit code is returned.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Result<RunArgs, ExitCode> {
    match Cli::try_parse_from(args) {
        Ok(Cli {
            command: Command::Run(args),
        }) => Ok(args),
        Err(error) => {
            // Help and version are errors to clap, but not to the one who asked for them.
            let verdict = if error.use_stderr() {
                Verdict::Invalid
            } else {
                Verdict::Passed
            };
            let _ = error.print();
            Err(verdict.into())
        }
    }
}

/// Runs, prints a line per second on stderr and the summary on stdout, and returns the exit code.
pub async fn run(args: RunArgs) -> ExitCode {
    let (config, endpoints, stopped) = match prepare(&args).await {
        Ok(prepared) => prepared,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Verdict::Invalid.into();
        }
    };
    let cancel = CancellationToken::new();
    let stopping = cancel.clone();
    tokio::spawn(async move {
        stopped.await;
        stopping.cancel();
    });
    let spacing = if args.poisson {
        Spacing::Poisson(args.seed)
    } else {
        Spacing::Uniform
    };
    let arrivals = Arrivals::new(&args.profile, spacing);
    // The sender stays alive for the run; the addresses of a URL do not change.
    let (_sender, endpoints) = watch::channel(endpoints);
    let (progress, mut seconds) = mpsc::channel(PROGRESS_CAPACITY);
    let printing = tokio::spawn(async move {
        while let Some(second) = seconds.recv().await {
            eprintln!("{}", line(&second));
        }
    });
    let report = Engine::new(config)
        .with_progress(progress)
        .run(arrivals, endpoints, cancel)
        .await;
    // The engine has dropped its sender, so the printer ends; it cannot panic.
    let _ = printing.await;
    let (verdict, reason) = judge(&args, &report);
    println!(
        "{}",
        if args.json {
            json_summary(&args, &report, verdict, &reason)
        } else {
            summary(&report, &reason)
        }
    );
    verdict.into()
}

/// A future that completes at SIGTERM or ctrl-c.
///
/// # Errors
/// When the signals cannot be listened for.
pub fn stopped() -> io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

impl From<Verdict> for ExitCode {
    fn from(verdict: Verdict) -> Self {
        Self::from(verdict as u8)
    }
}

/// Everything that the flags may get wrong.
async fn prepare(
    args: &RunArgs,
) -> anyhow::Result<(Config, Vec<SocketAddr>, impl Future<Output = ()> + use<>)> {
    ensure!(
        (0.0..=1.0).contains(&args.quantile),
        "--quantile must be between 0 and 1, such as 0.95"
    );
    ensure!(
        (0.0..=1.0).contains(&args.max_errors),
        "--max-errors must be between 0 and 1, such as 0.01"
    );
    ensure!(!args.timeout.is_zero(), "--timeout must be above zero");
    ensure!(
        0 < args.max_in_flight && 0 < args.connections,
        "--max-in-flight and --connections must be at least 1"
    );
    if let Some(objective) = args.objective {
        ensure!(
            objective < args.timeout,
            "--objective must be shorter than --timeout"
        );
    }
    match args.url.scheme_str() {
        Some("http") => {}
        Some("https") => bail!("--url: https is not supported yet, use http"),
        _ => bail!("--url must begin with http://"),
    }
    let authority = args.url.authority().context("--url names no host")?;
    ensure!(
        !authority.as_str().contains('@'),
        "--url must not hold a password; give it by --header"
    );
    let path = args.url.path_and_query().map_or("/", |path| path.as_str());
    let host =
        HeaderValue::from_str(authority.as_str()).context("--url: the host cannot be a header")?;
    let mut config = Config {
        max_in_flight: args.max_in_flight,
        connections_per_endpoint: args.connections,
        timeout: args.timeout,
        seed: args.seed,
        ..Config::new(
            host,
            path.parse()
                .context("--url: the path cannot be requested")?,
        )
    };
    for request in &mut config.requests {
        request.headers = args.headers.iter().cloned().collect::<HeaderMap>();
    }
    let endpoints = resolve(authority.host(), authority.port_u16().unwrap_or(80)).await?;
    Ok((
        config,
        endpoints,
        stopped().context("listening for SIGTERM")?,
    ))
}

/// The addresses of a host; those of IPv4 alone when it has any, since a server on `localhost` often has only that.
async fn resolve(host: &str, port: u16) -> anyhow::Result<Vec<SocketAddr>> {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let found = tokio::net::lookup_host((host, port))
        .await
        .with_context(|| format!("--url: looking up `{host}`"))?;
    let (v4, v6): (Vec<_>, Vec<_>) = found.partition(SocketAddr::is_ipv4);
    let mut addresses = if v4.is_empty() { v6 } else { v4 };
    ensure!(!addresses.is_empty(), "--url: `{host}` has no address");
    addresses.sort_unstable();
    addresses.dedup();
    Ok(addresses)
}

fn read_header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let (name, value) = text.split_once(':').ok_or("write it as `Name: value`")?;
    let name = name
        .trim()
        .parse()
        .map_err(|_| format!("`{name}` is not the name of a header"))?;
    // The value may be a secret, so no message repeats it.
    let mut value = HeaderValue::from_str(value.trim())
        .map_err(|_| "the value holds characters no header may have")?;
    value.set_sensitive(true);
    Ok((name, value))
}

/// Decides, with the reason. Drops are ours or the server's doing, which cannot be told apart, so they do not count
/// against the server; a run that misses its objective among what was sent has failed all the same.
fn judge(args: &RunArgs, report: &Measured) -> (Verdict, String) {
    let counts = &report.counts;
    let sent = counts.offered - counts.dropped;
    let share = |part: u64, whole: u64| {
        if whole == 0 {
            0.0
        } else {
            part as f64 / whole as f64
        }
    };
    if report.interrupted {
        return (
            Verdict::Interrupted,
            format!(
                "interrupted after {} of {} requests",
                counts.offered, report.planned
            ),
        );
    }
    let failed = share(counts.errors(), sent);
    if args.max_errors < failed {
        return (
            Verdict::Failed,
            format!(
                "{} of requests failed, allowed are {}",
                percent(failed),
                percent(args.max_errors)
            ),
        );
    }
    if let Some(objective) = args.objective {
        let within = share(report.within(objective), sent);
        if 0 < sent && within < args.quantile {
            let (within, wanted) = (percent(within), percent(args.quantile));
            return (
                Verdict::Failed,
                format!("{within} of requests within {objective:?}, wanted are {wanted}"),
            );
        }
    }
    match report.share_delivered() {
        Some(delivered) if delivered < DELIVERED_MIN => {
            let (dropped, late) = (counts.dropped, report.late);
            (
                Verdict::NotDelivered,
                format!(
                    "{} of the load was delivered: {dropped} dropped, {late} late",
                    percent(delivered)
                ),
            )
        }
        _ => (Verdict::Passed, "passed".to_owned()),
    }
}

fn line(progress: &Progress) -> String {
    let Progress {
        second,
        counts,
        p50,
        p95,
        p99,
        in_flight,
    } = progress;
    let (ok, errors, dropped) = (counts.ok, counts.errors(), counts.dropped);
    let [p50, p95, p99] = [p50, p95, p99].map(|latency| millis(*latency));
    let offered = counts.offered;
    format!(
        "{second:>5} s  offered {offered:>6}  ok {ok:>6}  errors {errors}  dropped {dropped}  \
         p50 {p50}  p95 {p95}  p99 {p99}  in flight {in_flight}"
    )
}

fn summary(report: &Measured, reason: &str) -> String {
    let counts = &report.counts;
    let errors: Vec<String> = ErrorClass::ALL
        .into_iter()
        .filter(|class| 0 < counts.errors_of(*class))
        .map(|class| format!("{} {}", class.as_str(), counts.errors_of(class)))
        .collect();
    let errors = if errors.is_empty() {
        "none".to_owned()
    } else {
        errors.join(", ")
    };
    let quantiles = |name: &str, latencies: &crate::measured::Latencies| {
        let [p50, p95, p99, max] = [0.5, 0.95, 0.99, 1.0].map(|q| millis(latencies.quantile(q)));
        format!("{name:<9} p50 {p50}  p95 {p95}  p99 {p99}  max {max}")
    };
    let mut lines = vec![
        format!(
            "requests  {} offered of {} planned, {} ok, {} dropped, {} unfinished, {} sent late, {} retried",
            counts.offered,
            report.planned,
            counts.ok,
            counts.dropped,
            counts.unfinished,
            report.late,
            report.retried
        ),
        format!("errors    {errors}"),
        quantiles("latency", &report.latency)
            + "  from the moment each request should have started",
        quantiles("raw", &report.raw) + "  from the moment it was sent",
        quantiles("send lag", &report.lag),
    ];
    for (address, endpoint) in &report.endpoints {
        lines.push(format!(
            "endpoint  {address}  {} ok, {} errors",
            endpoint.ok, endpoint.errors
        ));
    }
    lines.push(format!("verdict   {reason}"));
    lines.join("\n")
}

fn json_summary(args: &RunArgs, report: &Measured, verdict: Verdict, reason: &str) -> String {
    let counts = &report.counts;
    let ms = |latency: Option<Duration>| latency.map(|latency| latency.as_secs_f64() * 1e3);
    let quantiles = |latencies: &crate::measured::Latencies| {
        json!({
            "p50": ms(latencies.quantile(0.5)), "p95": ms(latencies.quantile(0.95)),
            "p99": ms(latencies.quantile(0.99)), "max": ms(latencies.max()), "mean": ms(latencies.mean()),
        })
    };
    let errors: serde_json::Map<String, serde_json::Value> = ErrorClass::ALL
        .iter()
        .map(|class| (class.as_str().to_owned(), counts.errors_of(*class).into()))
        .collect();
    let endpoints: serde_json::Map<String, serde_json::Value> = report
        .endpoints
        .iter()
        .map(|(address, counts)| {
            (
                address.to_string(),
                json!({"ok": counts.ok, "errors": counts.errors}),
            )
        })
        .collect();
    let summary = json!({
        "verdict": verdict as u8, "reason": reason, "profile": args.profile.to_string(), "seed": args.seed,
        "planned": report.planned, "offered": counts.offered, "ok": counts.ok, "dropped": counts.dropped,
        "unfinished": counts.unfinished, "late": report.late, "retried": report.retried, "errors": errors,
        "latency_ms": quantiles(&report.latency), "raw_ms": quantiles(&report.raw), "lag_ms": quantiles(&report.lag),
        "share_within_objective": args.objective.and_then(|objective| report.share_within(objective)),
        "endpoints": endpoints, "elapsed_s": report.elapsed.as_secs_f64(),
    });
    summary.to_string()
}

fn millis(latency: Option<Duration>) -> String {
    latency.map_or_else(
        || "-".to_owned(),
        |latency| format!("{:.1} ms", latency.as_secs_f64() * 1e3),
    )
}

fn percent(share: f64) -> String {
    format!("{:.2} %", share * 100.0)
}

#[cfg(test)]
mod tests;
