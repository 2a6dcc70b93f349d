//! `taffrail-loadtest run`: everything that may be wrong is found before the first request, then the scenario is played
//! as often as it says, each run is judged and reported, and the runs together give the exit code.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, anyhow};
use kube::Client;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::exit::ExitStatus;
use super::flags::RunArgs;
use super::given::Given;
use super::play::{Play, PlayError};
use super::{Stop, lint, outputs, report, stopped};
use crate::arrivals::plan::Plan;
use crate::clock;
use crate::cluster::connect::connect;
use crate::cluster::safety;
use crate::exposition;
use crate::judge::threshold;
use crate::judge::verdict::{Reason, Verdict, judge_all, judge_series};
use crate::recording::Recording;
use crate::scenario::file::read_trace;
use crate::scenario::{Discovery, Scenario};

/// Everything that a run takes, known to be sound.
#[derive(Debug)]
struct Prepared {
    given: Given,
    expanded: Scenario,
    plans: Vec<Plan>,
    baseline: Option<Recording>,
}

/// Runs the scenario of the flags.
pub(super) async fn run(args: &RunArgs) -> Result<ExitStatus, Stop> {
    let prepared = prepare(args)?;
    let scenario = &prepared.given.scenario;
    let cancel = CancellationToken::new();
    let page = serve_page(scenario, &cancel).await?;
    let cluster = reach_cluster(args, &prepared.expanded).await?;
    let signalled = stopped()
        .context("listening for SIGTERM")
        .map_err(Stop::invalid)?;
    let stopping = cancel.clone();
    tokio::spawn(async move {
        signalled.await;
        stopping.cancel();
    });
    let mut attempts: Vec<(Recording, Verdict)> = Vec::new();
    let mut unwritten = None;
    for attempt in 1..=scenario.run.repeat {
        let play = Play {
            scenario,
            expanded: &prepared.expanded,
            plans: &prepared.plans,
            attempt,
            page: page.clone(),
            // A run that ends for its safety must not end the next one before it began.
            cancel: cancel.child_token(),
        };
        let recording = play.run(cluster.as_ref()).await.map_err(ended)?;
        let verdict = judge_all(&recording, prepared.baseline.as_ref());
        let reason = verdict.reason;
        attempts.push((recording, verdict));
        if let Err(error) = outputs::write(&scenario.report, &attempts) {
            eprintln!("error: {error:#}");
            unwritten = Some(ExitStatus::Invalid);
        }
        if matches!(reason, Reason::Interrupted | Reason::SafetyStop) {
            break;
        }
    }
    let verdicts: Vec<Verdict> = attempts.into_iter().map(|(_, verdict)| verdict).collect();
    cancel.cancel();
    let judged = Some(together(&verdicts, scenario));
    Ok(ExitStatus::heaviest(judged.into_iter().chain(unwritten)))
}

/// Serves the run to Prometheus where the scenario says so, and returns where its page goes.
async fn serve_page(
    scenario: &Scenario,
    stop: &CancellationToken,
) -> Result<Option<watch::Sender<Arc<String>>>, Stop> {
    let Some(address) = &scenario.report.prometheus else {
        return Ok(None);
    };
    // `:9464` is every address of this machine, as elsewhere.
    let listen = match address.strip_prefix(':') {
        Some(port) => format!("0.0.0.0:{port}"),
        None => address.clone(),
    };
    let listener = TcpListener::bind(&listen)
        .await
        .with_context(|| format!("listening on {listen} for Prometheus"))
        .map_err(Stop::invalid)?;
    let (page, pages) = watch::channel(Arc::new(String::new()));
    tokio::spawn(exposition::serve(listener, pages, stop.clone()));
    Ok(Some(page))
}

/// What several runs come to.
fn together(verdicts: &[Verdict], scenario: &Scenario) -> ExitStatus {
    let series = judge_series(verdicts, scenario.run);
    if 1 < series.runs {
        eprintln!(
            "{} of {} runs passed, {} had to",
            series.passed, series.runs, series.needed
        );
    }
    ExitStatus::from(series.reason)
}

/// Everything that files and flags may get wrong.
fn prepare(args: &RunArgs) -> Result<Prepared, Stop> {
    let given = Given::of(args).map_err(Stop::invalid)?;
    let scenario = &given.scenario;
    threshold::check(scenario).map_err(Stop::invalid)?;
    safety::check(scenario, args.allow_external).map_err(Stop::invalid)?;
    outputs::check(&scenario.report).map_err(Stop::invalid)?;
    let plans = plans(scenario, &given.beside)?;
    if plans.iter().all(|plan| plan.planned() == Some(0)) {
        return Err(Stop::invalid(anyhow!(
            "no load of the scenario sends a request"
        )));
    }
    let expanded = scenario.expand(clock::env).map_err(Stop::invalid)?;
    let baseline = args.baseline.as_deref().map(report::read).transpose()?;
    let doubts = lint::doubts(scenario);
    for doubt in &doubts {
        eprintln!("lint: {}", lint::sentence(doubt));
    }
    if args.strict && lint::impossible(&doubts) {
        return Err(Stop::invalid(anyhow!(
            "a check can never hold, and --strict was given"
        )));
    }
    Ok(Prepared {
        expanded,
        plans,
        baseline,
        given,
    })
}

/// The plans of a scenario, with traces that are relative to its file.
pub(super) fn plans(scenario: &Scenario, beside: &Path) -> Result<Vec<Plan>, Stop> {
    Plan::all(scenario, |file| read_trace(beside, file)).map_err(Stop::invalid)
}

/// A client, when the scenario needs one.
async fn reach_cluster(args: &RunArgs, scenario: &Scenario) -> Result<Option<Client>, Stop> {
    let needed = scenario.services.values().any(|service| {
        let watched = |target: &crate::scenario::Target| target.discovery == Discovery::Endpoints;
        service.observe.is_some() || service.target.as_ref().is_some_and(watched)
    });
    if !needed {
        return Ok(None);
    }
    let client = connect(args.kubeconfig.as_deref(), args.context.as_deref()).await;
    client
        .map(Some)
        .map_err(|error| Stop::new(ExitStatus::ClusterUnreachable, error))
}

/// The exit status of a run that came to nothing.
fn ended(error: PlayError) -> Stop {
    let status = match &error {
        PlayError::Discovery(error) if error.is_access() => ExitStatus::ClusterUnreachable,
        PlayError::Observe(error) if error.is_access() => ExitStatus::ClusterUnreachable,
        PlayError::Preconditions(_) => ExitStatus::Preconditions,
        PlayError::Interrupted => ExitStatus::Interrupted,
        PlayError::Discovery(_) | PlayError::Observe(_) | PlayError::Invalid { .. } => {
            ExitStatus::Invalid
        }
    };
    Stop::new(status, error)
}
