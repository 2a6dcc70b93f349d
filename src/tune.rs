//! `taffrail tune`: from what is known of a service to a better HPA. It learns what a pod takes, plays candidates in
//! virtual time with [`crate::sim`], and says which one to take, why, and how sure that is. Everything that touches the
//! world is here and in `inputs`: files, the terminal, threads and the clock; the rest computes.

mod advice;
mod candidate;
mod curve;
mod fit;
mod frontier;
mod inputs;
mod page;
mod patch;
mod points;
mod recorded;
mod samples;
mod search;
mod summary;
mod traffic;
mod workload;

use std::cell::{Cell, RefCell};
use std::io::{IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use serde_json::Value;
use taffrail_loadtest::arrivals::plan::REPLAYED;
use taffrail_loadtest::cli::{ExitStatus, outputs};

use self::advice::Advice;
use self::candidate::Signal;
use self::frontier::Came;
use self::inputs::Known;
use self::search::{BUDGET_MIN, Job, Search, Who};
use self::traffic::Part;
use self::workload::{Run, Workload};
use crate::clock;
use crate::sim::{self, Oracle, Outcome};

/// Requests of one play, by which long traffic is cut to its parts: a second or so of one core.
const REQUESTS_MAX: f64 = 1_000_000.0;

/// Requests of a play that confirms: all of the traffic, unless that is too much.
const REQUESTS_CONFIRMED_MAX: f64 = 5_000_000.0;

/// How often progress is told.
const PROGRESS_EVERY: Duration = Duration::from_millis(50);

/// Examples, and where samples come from.
const MORE: &str = "\
Files, told apart by what is in them:
  a scenario (YAML)       of taffrail-loadtest: `app` is how pods behave, its loads are the traffic
  a load run (JSON)       as `taffrail-loadtest run --json` writes it; what a pod takes is fitted
  samples (CSV or JSON)   what a running adapter recorded; fitted as well
  a trace (CSV or JSON)   t_seconds,rps: the traffic to tune for, in the place of the others'; as
                          Grafana exports one rate, or as Prometheus answers query_range for it

Samples come from the Prometheus that scrapes the adapter, as it answers; the second part of the
query tells how long pods take to start (write exported_service where service is Prometheus' own):
  curl -G http://PROMETHEUS:9090/api/v1/query_range -o users.json \\
    --data-urlencode 'query=
      {__name__=~\"taffrail_(request_.*|targets|objective_.*)\", service=\"users\"} or
      kube_deployment_spec_replicas{namespace=\"shop\", deployment=\"users\"}' \\
    --data-urlencode start=$(date -d '-1 day' +%s) \\
    --data-urlencode end=$(date +%s) --data-urlencode step=15
or from anywhere else as a table with the columns
  t_seconds  seconds, milliseconds since 1970, or RFC 3339
  rps        sum(rate(http_request_duration_seconds_count{app=\"users\"}[30s]))
  pods       kube_deployment_status_replicas_ready{deployment=\"users\"}
  p95_ms     1000 * histogram_quantile(0.95, sum by (le) (
               rate(http_request_duration_seconds_bucket{app=\"users\"}[30s])))
and, where they are known, mean_ms, cpu_percent (of the request, mean of the pods) and
  desired    kube_deployment_spec_replicas{deployment=\"users\"}: how long pods take to start

Examples:
  taffrail tune loadtest/scenarios/internal.yaml
  taffrail tune run.json day.csv --hpa users-hpa.yaml -o better.yaml --html tune.html
  taffrail tune users.json --hpa users-hpa.yaml
  taffrail tune day.csv --app 'workers: 2, serviceTime: 40ms, startup: 20s' --objective 250ms

Exit codes:
    0  the recommended HPA keeps the objective, on seeds too that it was not chosen by
    2  a file could not be written
   99  no HPA keeps the objective; the recommended one misses it least
  104  the files or flags make no sense
  113  cannot be told: too little was seen of the service; what to measure is said";

/// Find a better HPA: what to scale on, which target, window and behavior, and why
///
/// Learns from a load run or from an adapter's samples what a pod takes within the objective and how long it takes to
/// start, or is told so by a scenario. Then it plays candidates in virtual time, with the adapter's own engine and
/// Kubernetes' arithmetic, and shows violations of the objective against pod-hours, with the HPA to take and its reasons.
/// The same files and seed give the same bytes.
#[derive(clap::Args, Clone, Debug)]
#[command(after_long_help = MORE)]
pub struct Args {
    /// What is known: a scenario, a load run, samples, a trace; see below
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,

    /// The HPA there is: it is compared with, and its bounds and target are kept
    #[arg(long, value_name = "FILE")]
    hpa: Option<PathBuf>,

    /// The latency that users were promised, where the files do not say
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    objective: Option<Duration>,

    /// The share of requests that it was promised for, within 0 and 1
    #[arg(long, value_name = "SHARE")]
    quantile: Option<f64>,

    /// Which service, where the files have several
    #[arg(long, value_name = "NAME")]
    service: Option<String>,

    /// How a pod behaves, in the words of a scenario, in the place of a fit
    #[arg(long, value_name = "APP")]
    app: Option<String>,

    /// How long a pod takes to be ready, where nothing else says
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    startup: Option<Duration>,

    /// What a pod requests of CPU, as 500m: with the adapter's CPU per request it tells how CPU grows with load
    #[arg(long, value_name = "CPU")]
    cpu_request: Option<String>,

    /// Times the traffic, for a day that is still to come
    #[arg(long, value_name = "TIMES", default_value_t = 1.0)]
    scale: f64,

    /// How many plays the search may take
    #[arg(long, value_name = "PLAYS", default_value_t = 100, value_parser = clap::value_parser!(u64).range(BUDGET_MIN as u64..=10_000))]
    budget: u64,

    /// Another seed: other moments of the requests
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,

    /// Write the recommended HPA, for kubectl apply -f or kubectl patch --patch-file; `-` is standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,

    /// Write everything that was found, as JSON; `-` is standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,

    /// Write the report for people: one page that needs nothing else
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,

    /// Say nothing while it works
    #[arg(long)]
    plain: bool,
}

/// Everything that a report may say.
#[derive(Debug)]
struct Told {
    known: Known,
    parts: Vec<Part>,
    found: search::Found,
    advice: Advice,
}

/// Runs the command.
///
/// # Errors
/// When a file could not be written.
pub fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let known = match inputs::read(args) {
        Ok(known) => known,
        Err(inputs::Stop::Unknown(text)) => {
            outputs::say(&text)?;
            return Ok(ExitStatus::ObservationLost.into());
        }
        Err(inputs::Stop::Invalid(error)) => {
            eprintln!("error: {error:#}");
            return Ok(ExitStatus::Invalid.into());
        }
    };
    let progress = Progress::new(!args.plain);
    let found = search(args, &known, &progress);
    progress.end();
    let (parts, found) = match found {
        Ok(found) => found,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitStatus::Invalid.into());
        }
    };
    let advice = Advice::new(&known, &found);
    let told = Told {
        known,
        parts,
        found,
        advice,
    };
    write(args, &told)?;
    Ok(told.advice.status.into())
}

fn write(args: &Args, told: &Told) -> anyhow::Result<()> {
    let to_stdout = |path: &Option<PathBuf>| path.as_deref() == Some(Path::new("-"));
    let text = summary::text(told);
    if to_stdout(&args.json) || to_stdout(&args.output) {
        eprint!("{text}");
    } else {
        outputs::say(&text)?;
    }
    if let Some(path) = &args.output {
        put(path, &patch::yaml(told)?)?;
    }
    if let Some(path) = &args.json {
        let mut json = serde_json::to_string_pretty(&summary::json(told))?;
        json.push('\n');
        put(path, &json)?;
    }
    if let Some(path) = &args.html {
        put(path, &page::html(told))?;
    }
    Ok(())
}

fn put(path: &Path, text: &str) -> anyhow::Result<()> {
    if path == Path::new("-") {
        return outputs::say(text);
    }
    std::fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// What is played of the traffic.
struct Played {
    /// For each candidate.
    parts: Vec<Part>,
    /// To confirm one.
    whole: Vec<Part>,
    /// What one who knows the future would have for each of `whole`.
    oracles: Vec<Option<Oracle>>,
}

impl Played {
    fn new(workload: &Workload, hpa: &Value, window_s: u32) -> anyhow::Result<Self> {
        let traffic = &workload.traffic;
        let parts = match workload.is_one_piece() {
            true => vec![traffic.whole()],
            false => traffic.parts(REQUESTS_MAX),
        };
        let whole = match workload.is_one_piece() || traffic.requests() <= REQUESTS_CONFIRMED_MAX {
            true => vec![traffic.whole()],
            false => parts.clone(),
        };
        let oracle = |part: &Part| {
            let plan = workload.plan(&Run {
                hpa,
                window_s,
                part,
                seed: 0,
                slowdown: 1.0,
            })?;
            anyhow::Ok(
                workload
                    .slo()
                    .and_then(|slo| plan.oracle(&workload.service, slo)),
            )
        };
        Ok(Self {
            oracles: whole.iter().map(oracle).collect::<anyhow::Result<_>>()?,
            parts,
            whole,
        })
    }
}

/// Searches, and says which parts of the traffic were played.
fn search(
    args: &Args,
    known: &Known,
    progress: &Progress,
) -> anyhow::Result<(Vec<Part>, search::Found)> {
    let first = known
        .aims
        .at(Signal::Rate, 1.0)
        .context("no rate is a target for this service")?;
    let played = Played::new(
        &known.workload,
        &known.workload.subject.hpa(&first),
        first.window_s,
    )?;
    let search = Search {
        aims: &known.aims,
        interval_s: known.interval_s,
        has_present: known.present.is_some(),
        seed: args.seed,
        budget: args.budget as usize,
        play: |what: &str, jobs: &[Job]| play(known, &played, jobs, &progress.round(what)),
    };
    let found = search.run()?;
    Ok((played.parts, found))
}

/// Plays jobs on all cores. Each has its place, so what comes of them is in their order whoever is faster.
fn play(
    known: &Known,
    played: &Played,
    jobs: &[Job],
    round: &Round<'_>,
) -> anyhow::Result<Vec<Came>> {
    let threads = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(jobs.len().max(1));
    let next = AtomicUsize::new(0);
    let done = AtomicUsize::new(0);
    let came: Mutex<Vec<Option<anyhow::Result<Came>>>> =
        Mutex::new(jobs.iter().map(|_| None).collect());
    let work = || {
        loop {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(job) = jobs.get(place) else { return };
            let one = play_one(known, job, played);
            came.lock().unwrap_or_else(PoisonError::into_inner)[place] = Some(one);
            done.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        while workers.iter().any(|worker| !worker.is_finished()) {
            round.tell(done.load(Ordering::Relaxed), jobs.len());
            std::thread::sleep(PROGRESS_EVERY);
        }
    });
    round.finish(jobs.len());
    let came = came.into_inner().unwrap_or_else(PoisonError::into_inner);
    came.into_iter()
        .map(|came| came.context("a play ended early")?)
        .collect()
}

/// Plays one candidate on each of the parts.
fn play_one(known: &Known, job: &Job, played: &Played) -> anyhow::Result<Came> {
    let workload = &known.workload;
    let (hpa, window_s) = match (&job.who, &known.present) {
        (Who::New(candidate), _) => (workload.subject.hpa(candidate), candidate.window_s),
        (Who::Present, Some(present)) => (present.clone(), known.aims.window_s),
        (Who::Present, None) => anyhow::bail!("there is no HPA to compare with"),
    };
    let parts = if job.is_whole {
        &played.whole
    } else {
        &played.parts
    };
    let mut all: Option<Came> = None;
    for (number, part) in parts.iter().enumerate() {
        let plan = workload.plan(&Run {
            hpa: &hpa,
            window_s,
            part,
            seed: job.seed,
            slowdown: job.slowdown,
        })?;
        let recording = sim::play(&plan, &mut |_| ControlFlow::Continue(()));
        let oracle = played
            .oracles
            .get(number)
            .filter(|_| job.is_whole)
            .and_then(Option::as_ref);
        let outcome = Outcome::of_stage(
            &recording,
            &workload.service,
            workload.slo(),
            oracle,
            REPLAYED,
        );
        let outcome = outcome.context("the service was not recorded")?;
        let came = Came::of(&outcome, (part.to_s - part.from_s) as f64);
        all = Some(all.map_or(came, |all| all.and_part(&came)));
    }
    all.context("there is no traffic")
}

/// Says on stderr how far the search is: on a terminal on one line, elsewhere a line for each round.
#[derive(Debug)]
struct Progress {
    speaks: bool,
    is_terminal: bool,
    /// Plays of the rounds before this one.
    before: Cell<usize>,
    /// What was written last on the line.
    said: RefCell<String>,
}

/// One round of a search.
struct Round<'p> {
    progress: &'p Progress,
    what: &'p str,
    begun: std::time::Instant,
}

impl Progress {
    fn new(speaks: bool) -> Self {
        Self {
            speaks,
            is_terminal: std::io::stderr().is_terminal(),
            before: Cell::new(0),
            said: RefCell::default(),
        }
    }

    fn round<'p>(&'p self, what: &'p str) -> Round<'p> {
        Round {
            progress: self,
            what,
            begun: clock::instant(),
        }
    }

    /// Puts this in the place of what is on the line.
    fn rewrite(&self, text: &str) {
        let mut said = self.said.borrow_mut();
        if self.speaks && self.is_terminal && *said != text {
            let width = said.chars().count();
            eprint!("\r{:width$}\r{text}", "");
            let _ = std::io::stderr().flush();
            text.clone_into(&mut said);
        }
    }

    /// Clears the line.
    fn end(&self) {
        self.rewrite("");
    }
}

impl Round<'_> {
    fn tell(&self, done: usize, of: usize) {
        let all = self.progress.before.get() + done;
        self.progress.rewrite(&format!(
            "{}: {done} of {of} plays, {all} in all",
            self.what
        ));
    }

    fn finish(&self, of: usize) {
        self.progress.before.set(self.progress.before.get() + of);
        if self.progress.speaks && !self.progress.is_terminal {
            let took = (clock::instant() - self.begun).as_secs_f64();
            eprintln!("{}: {of} plays in {took:.1} s", self.what);
        }
    }
}
