//! `taffrail simulate`: reads a scenario, has [`crate::sim`] play it in virtual time, and judges and reports it as the
//! load generator does a run in a cluster. Everything that touches the world is here: files, the terminal, the clock
//! that says how long it takes.

mod csv;
pub(crate) mod resolve;
mod summary;

use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context;
use taffrail_loadtest::cli::{ExitStatus, outputs};
use taffrail_loadtest::judge::threshold;
use taffrail_loadtest::judge::verdict::judge_all;
use taffrail_loadtest::recording::Recording;
use taffrail_loadtest::scenario::{Outputs, Scenario};

use crate::clock;
use crate::sim::{self, Plan};

/// How long a run takes before it is worth saying how far it is, and how often that is said again.
const PROGRESS_EVERY: Duration = Duration::from_secs(1);

/// Play a scenario in virtual time: how would this service scale, without a cluster, within seconds
///
/// Arrivals, pods, Redis and rollouts are computed; what pods count is fed to the adapter's own engine, and the HPA
/// decides with Kubernetes' arithmetic. The scenario file is that of taffrail-loadtest, and its checks are judged in the
/// same way, so one file drives this, the demo and a cluster. The same file and seed give the same bytes.
///
/// A scenario needs, for each service: `app`, which says how its pods behave; `metrics`, a RequestMetrics document; and
/// `hpa`, a HorizontalPodAutoscaler.
///
/// Exit codes: 0 every check passed, 99 one failed, 104 the scenario cannot be played, 105 interrupted, 112 or 113
/// inconclusive, 115 stopped for safety, 2 a file could not be written.
#[derive(clap::Args, Clone, Debug)]
#[command(
    after_long_help = "What another HPA would do:\n  taffrail simulate loadtest/scenarios/internal.yaml --hpa my-hpa.yaml --html report.html"
)]
pub struct Args {
    /// The scenario file
    scenario: PathBuf,

    /// A HorizontalPodAutoscaler that replaces the scenario's, of the service with its name or of the only one
    #[arg(long, value_name = "FILE")]
    hpa: Option<PathBuf>,

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

    /// Write the timeline, a line for each second and service
    #[arg(long, value_name = "FILE")]
    csv: Option<PathBuf>,

    /// Say nothing while it runs
    #[arg(long)]
    plain: bool,
}

/// Runs the command.
///
/// # Errors
/// When a report could not be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let plan = match plan(&args) {
        Ok(plan) => plan,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitStatus::Invalid.into());
        }
    };
    let stop = Arc::new(AtomicBool::new(false));
    let says = !args.plain && std::io::stderr().is_terminal();
    let playing = tokio::task::spawn_blocking({
        let stop = Arc::clone(&stop);
        move || play(&plan, &stop, says)
    });
    let heard = tokio::spawn(async move {
        if tokio::signal::ctrl_c().await.is_ok() {
            stop.store(true, Ordering::Relaxed);
        }
    });
    let (recording, took) = playing.await.context("the simulation ended early")?;
    heard.abort();
    let verdict = judge_all(&recording, None);
    let status = ExitStatus::from(verdict.reason);
    let to_stdout = args.json.as_deref() == Some("-");
    let mut text = summary::text(&recording, &verdict);
    text += &summary::took(&recording, took);
    if to_stdout {
        eprint!("{text}");
    } else {
        outputs::say(&text)?;
    }
    if let Some(path) = &args.csv {
        put(path, &csv::timeline(&recording))?;
    }
    let outputs = Outputs {
        json: args.json,
        html: args.html,
        junit: args.junit,
        prometheus: None,
    };
    outputs::files(&outputs, &[(recording, verdict)])?;
    Ok(status.into())
}

/// What is played, with what the flags say otherwise.
fn plan(args: &Args) -> anyhow::Result<Plan> {
    let mut scenario = Scenario::load(&args.scenario)?;
    threshold::check(&scenario)?;
    if let Some(seed) = args.seed {
        scenario.seed = seed;
    }
    let beside = args.scenario.parent().unwrap_or(Path::new("."));
    let hpa = match &args.hpa {
        Some(path) => Some(
            std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?,
        ),
        None => None,
    };
    let read = |name: &str| std::fs::read_to_string(beside.join(name));
    resolve::plan(scenario, hpa.as_deref(), read)
        .with_context(|| args.scenario.display().to_string())
}

/// Plays it, and says now and then how far it is; also how long that took.
fn play(plan: &Plan, stop: &AtomicBool, says: bool) -> (Recording, Duration) {
    let begin = clock::instant();
    let mut said = begin;
    let whole_s = plan.duration().as_secs_f64();
    let recording = sim::play(plan, &mut |t_s| {
        let now = clock::instant();
        if says && PROGRESS_EVERY <= now - said {
            said = now;
            eprint!(
                "\rsimulated {:.0} % of {}  ",
                (t_s / whole_s * 100.0).max(0.0),
                summary::span(whole_s)
            );
        }
        if stop.load(Ordering::Relaxed) {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    });
    if said != begin {
        eprint!("\r{:40}\r", "");
    }
    (recording, clock::instant() - begin)
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    let written = if path == Path::new("-") {
        std::io::stdout().write_all(text.as_bytes())
    } else {
        std::fs::write(path, text)
    };
    written.with_context(|| format!("writing {}", path.display()))
}
