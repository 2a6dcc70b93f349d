//! `taffrail simulate`: reads a scenario, has [`crate::sim`] play it in virtual time, and judges and reports it as the
//! load generator does a run in a cluster. Everything that touches the world is here: files, the terminal, the clock
//! that says how long it takes.

mod csv;
mod figures;
mod json;
mod playing;
pub(crate) mod resolve;
mod summary;
mod variants;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use taffrail_loadtest::cli::{ExitStatus, outputs};
use taffrail_loadtest::judge::threshold;
use taffrail_loadtest::report::Report;
use taffrail_loadtest::report::html;
use taffrail_loadtest::report::html::compare::{Comparison, Told};
use taffrail_loadtest::report::junit::junit;
use taffrail_loadtest::scenario::file::read_trace;
use taffrail_loadtest::scenario::{Outputs, Scenario};

use self::playing::{Played, Yardsticks};
use self::variants::{Given, Variant};
use crate::sim;

/// Play a scenario in virtual time: how would this service scale, without a cluster, within seconds
///
/// Arrivals, pods, Redis and rollouts are computed; what pods count is fed to the adapter's own engine, and the HPA
/// decides with Kubernetes' arithmetic. The scenario file is that of taffrail-loadtest, and its checks are judged in the
/// same way, so one file drives this, the demo and a cluster. The same file and seed give the same bytes.
///
/// A scenario needs, for each service: `app`, which says how its pods behave; `metrics`, a RequestMetrics document; and
/// `hpa`, a HorizontalPodAutoscaler.
///
/// With `--hpa`, once or several times, the same load is played under each of these HPAs as well, and all are compared:
/// the requests over the objective, the minutes in which it was missed, and the pod-hours against those of an oracle,
/// who knows the load before it comes and has just the pods that meet the objective. A file is for the service that its
/// HPA scales (spec.scaleTargetRef.name), or that has its metadata.name, or the file's name; or for the only one there is.
/// Its column is called as metadata.name, or as the file where that tells less; the scenario's own is `scenario`.
///
/// It always plays to the end: requests that are computed harm nobody, so a scenario's `safety` and a threshold's
/// `abortOnFail` end no simulation, and what they guard against is seen whole.
///
/// Exit codes: 0 every check passed, 99 one failed, 104 the scenario or an HPA cannot be played, 105 interrupted, 112 or
/// 113 inconclusive, 2 a file could not be written. Of several HPAs the worst counts.
#[derive(clap::Args, Clone, Debug)]
#[command(after_long_help = "What two other HPAs would do:
  taffrail simulate loadtest/scenarios/internal.yaml --hpa gentle.yaml --hpa eager.yaml --html report.html

The least that a scenario says, of a trace with the columns t_seconds,rps; the HPA is given with --hpa:
  name: users
  app: { workers: 4, serviceTime: 60ms, startup: 10s }
  metrics:
    source: { pods: { selector: { matchLabels: { app: users } } } }
    objective: { quantile: 0.95, latency: 250ms }
  scenarios: { main: { replay: { file: trace.csv } } }")]
pub struct Args {
    /// The scenario file
    scenario: PathBuf,

    /// A HorizontalPodAutoscaler to compare the scenario's with; may be given several times
    #[arg(long, value_name = "FILE")]
    hpa: Vec<PathBuf>,

    /// Another seed than the scenario's: other moments, the same number of requests
    #[arg(long, value_name = "N")]
    seed: Option<u64>,

    /// Write everything that was seen and found, as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<String>,

    /// Write the report for people: one page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<String>,

    /// Write the findings for a CI server
    #[arg(long, value_name = "FILE")]
    junit: Option<String>,

    /// Write the timeline, a line for each second and service; of several HPAs one after the other
    #[arg(long, value_name = "FILE")]
    csv: Option<String>,

    /// Say nothing while it runs
    #[arg(long)]
    plain: bool,
}

/// Runs the command.
///
/// # Errors
/// When a report could not be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let outputs = Outputs {
        json: args.json.clone(),
        html: args.html.clone(),
        junit: args.junit.clone(),
        ..Outputs::default()
    };
    let variants = match outputs::check(&outputs).and_then(|()| variants(&args)) {
        Ok(variants) => variants,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitStatus::Invalid.into());
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let says = !args.plain && std::io::stderr().is_terminal();
    let playing = tokio::task::spawn_blocking({
        let stop = Arc::clone(&stop);
        move || playing::play(&variants, &stop, says)
    });
    let heard = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let (played, yardsticks, took) = playing.await.context("the simulation ended early")?;
    heard.abort();
    let text = summary::text(&played, &yardsticks) + &summary::took(&played, took);
    // What is written to standard output is for a program, which would not understand the words.
    if [&args.json, &args.html, &args.junit, &args.csv].contains(&&Some(outputs::STDOUT.to_owned()))
    {
        eprint!("{text}");
    } else {
        outputs::say(&text)?;
    }
    let statuses = played
        .iter()
        .map(|played| ExitStatus::from(played.verdict.reason));
    let status = ExitStatus::heaviest(statuses);
    write(&args, played, &yardsticks)?;
    Ok(status.into())
}

/// What is played, with what the flags say otherwise.
fn variants(args: &Args) -> anyhow::Result<Vec<Variant>> {
    let mut scenario = Scenario::load(&args.scenario)?;
    threshold::check(&scenario)?;
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    let beside = args.scenario.parent().unwrap_or(Path::new("."));
    let given = args.hpa.iter().map(|path| {
        let text = std::fs::read_to_string(path);
        let path = path.display().to_string();
        let text = text.with_context(|| format!("reading {path}"))?;
        Ok(Given { path, text })
    });
    let given: Vec<Given> = given.collect::<anyhow::Result<_>>()?;
    let read = |name: &str| read_trace(beside, name);
    let variants = variants::all(&scenario, &given, read)
        .with_context(|| args.scenario.display().to_string())?;
    // All read the same metrics, so what is to be said of one is to be said of each.
    for note in variants.iter().take(1).flat_map(|variant| &variant.notes) {
        eprintln!("note: {note}");
    }
    Ok(variants)
}

/// Writes the files that are wanted.
fn write(args: &Args, mut played: Vec<Played>, yardsticks: &Yardsticks) -> anyhow::Result<()> {
    if let Some(file) = &args.csv {
        outputs::put(file, &csv::timelines(&played))?;
    }
    if let Some(file) = &args.json {
        outputs::put(file, &json::json(&played)?)?;
    }
    if let Some(file) = &args.html {
        outputs::put(file, &page(&played, yardsticks))?;
    }
    if let Some(file) = &args.junit {
        // Suites are told apart by their names.
        if 1 < played.len() {
            for played in &mut played {
                let scenario = &mut played.recording.scenario;
                scenario.name = format!("{} ({})", scenario.name, played.name);
            }
        }
        let reports: Vec<Report<'_>> = played.iter().map(Played::report).collect();
        outputs::put(file, &junit(&reports))?;
    }
    Ok(())
}

/// The page of one run, or of several side by side.
fn page(played: &[Played], yardsticks: &Yardsticks) -> String {
    if let [only] = played {
        return html::html(&only.report());
    }
    let services = yardsticks.0.iter().map(|(name, yardstick)| {
        let told = Told {
            rows: summary::compared(played, name, yardsticks),
            enough: yardstick
                .oracle
                .as_ref()
                .map(sim::Oracle::steps)
                .unwrap_or_default(),
        };
        (name.as_str(), told)
    });
    html::compare::compare(&Comparison {
        runs: played.iter().map(Played::compared).collect(),
        services: services.collect(),
    })
}
