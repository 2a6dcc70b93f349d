//! Runs the tests: names, filters and lists as `cargo test` has them. A few run side by side, since most of what they do is
//! waiting; those that restart what all share, or change how all of it behaves, have a second cluster afterwards, and there
//! one follows another. A test that fails shows the ends of the logs written meanwhile.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use futures_util::FutureExt;
use libtest_mimic::{Arguments, Failed, Trial};
use taffrail::clock;
use tokio::runtime::{Handle, Runtime};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::cluster::Cluster;
use super::{process, sandbox};

/// No test takes longer; one that does hangs.
const TEST_TIME_MAX: Duration = Duration::from_secs(300);

/// Lines of each log that a failed test shows.
const TAIL_LINES: usize = 15;

/// Tests side by side: enough to use the time that each waits, few enough that two cores keep the deadlines of all.
const AT_ONCE: usize = 5;

/// The exit code of a run that was interrupted, as shells have it.
const INTERRUPTED: i32 = 130;

/// A test: a function of the cluster. It may also panic.
pub(crate) type Test =
    for<'a> fn(&'a Cluster) -> Pin<Box<dyn Future<Output = anyhow::Result<()>> + 'a>>;

/// The tests of one file, by name.
pub(crate) struct Table {
    /// The file's name, which comes before each test's.
    pub(crate) file: &'static str,
    /// Those that others may run beside.
    pub(crate) beside: Vec<(&'static str, Test)>,
    /// Those that have a cluster for themselves.
    pub(crate) alone: Vec<(&'static str, Test)>,
}

/// The tests of one cluster.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Half {
    /// Side by side.
    Beside,
    /// One after another.
    Alone,
}

/// What tests run on.
#[derive(Clone)]
struct Ground {
    runtime: Handle,
    cluster: Arc<Cluster>,
}

impl Half {
    /// Both, in the order in which their clusters start.
    pub(crate) const ALL: [Self; 2] = [Self::Beside, Self::Alone];

    /// As it is handed to the copy of this binary that runs it.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Beside => "beside",
            Self::Alone => "alone",
        }
    }

    /// Its tests of `table`.
    fn of(self, table: &Table) -> &[(&'static str, Test)] {
        match self {
            Self::Beside => &table.beside,
            Self::Alone => &table.alone,
        }
    }

    const fn at_once(self) -> usize {
        match self {
            Self::Beside => AT_ONCE,
            Self::Alone => 1,
        }
    }
}

/// The table of a file's tests: `table!("file"; one_test, another)`, and after `alone:` those that disturb others or
/// would be disturbed.
macro_rules! table {
    ($file:literal; $($test:ident),* $(,)? $(; alone: $($alone:ident),+ $(,)?)?) => {
        $crate::harness::Table {
            file: $file,
            beside: vec![$((stringify!($test), |cluster| Box::pin($test(cluster)))),*],
            alone: vec![$($((stringify!($alone), |cluster| Box::pin($alone(cluster)))),+)?],
        }
    };
}
pub(crate) use table;

/// The whole binary: lists tests, or runs them in namespaces of their own.
pub(crate) fn main(tables: &[Table]) -> ExitCode {
    match run(Arguments::from_args(), tables) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(mut args: Arguments, tables: &[Table]) -> anyhow::Result<ExitCode> {
    // No cluster is needed where no test is chosen: `cargo test name` runs every binary with the name of one test.
    let chosen = Half::ALL
        .into_iter()
        .filter(|half| trials(tables, *half, None).any(|trial| !args.is_filtered_out(&trial)));
    let chosen: Vec<Half> = chosen.collect();
    if args.list || chosen.is_empty() {
        let all = Half::ALL
            .iter()
            .flat_map(|half| trials(tables, *half, None));
        return Ok(libtest_mimic::run(&args, all.collect()).exit_code());
    }
    let (Some(bin_dir), Some(half)) = (sandbox::bin_dir(), sandbox::half()) else {
        return sandbox::enter(&chosen);
    };
    args.test_threads = args.test_threads.or(Some(half.at_once()));
    sandbox::prepare()?;
    if rustls::crypto::ring::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("there is a crypto provider already");
    }
    let runtime = Runtime::new().context("starting the runtime")?;
    let dir = tempfile::Builder::new()
        .prefix("taffrail-cluster-")
        .tempdir()
        .context("making a directory")?;
    let interrupted = CancellationToken::new();
    runtime.spawn(listen(interrupted.clone()));
    let cluster = runtime.block_on(started(&bin_dir, dir.path(), &interrupted))?;
    let cluster = Arc::new(cluster);
    let end = end_when(
        interrupted.clone(),
        Arc::clone(&cluster),
        dir.path().to_owned(),
    );
    let interruption = runtime.spawn(end);

    let on = Ground {
        runtime: runtime.handle().clone(),
        cluster: Arc::clone(&cluster),
    };
    let conclusion = libtest_mimic::run(&args, trials(tables, half, Some(&on)).collect());

    if interrupted.is_cancelled() {
        // It ends the process; the test that failed meanwhile is not the story.
        runtime
            .block_on(interruption)
            .context("ending an interrupted run")?;
        return Ok(ExitCode::FAILURE);
    }
    interruption.abort();
    let stop = clock::instant();
    runtime.block_on(cluster.stop());
    eprintln!("cluster: stopped in {:.1} s", stop.elapsed().as_secs_f64());
    if conclusion.has_failed() {
        eprintln!("cluster: its logs are in {}", dir.keep().display());
    }
    Ok(conclusion.exit_code())
}

/// Starts the cluster, unless it is interrupted meanwhile: dropping what is under way kills its processes.
async fn started(
    bin_dir: &Path,
    dir: &Path,
    interrupted: &CancellationToken,
) -> anyhow::Result<Cluster> {
    let start = clock::instant();
    let cluster = tokio::select! {
        cluster = Cluster::start(bin_dir, dir) => cluster?,
        () = interrupted.cancelled() => anyhow::bail!("interrupted"),
    };
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("cluster: started in {seconds:.1} s");
    Ok(cluster)
}

/// Once interrupted, stops the cluster and ends this process.
async fn end_when(interrupted: CancellationToken, cluster: Arc<Cluster>, dir: PathBuf) {
    interrupted.cancelled().await;
    eprintln!("cluster: interrupted, stopping");
    cluster.stop().await;
    // What is left lies in the machine's temporary directory.
    let _ = std::fs::remove_dir_all(dir);
    std::process::exit(INTERRUPTED);
}

/// Interrupts at ctrl-c, at SIGTERM, and when the process that started us is gone.
async fn listen(interrupted: CancellationToken) {
    let parent = interrupted.clone();
    sandbox::watch_parent(move || parent.cancel());
    // The first process of a namespace ignores the signals that it has no handler for.
    let (Ok(mut int), Ok(mut term)) = (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) else {
        eprintln!("cluster: cannot listen for signals");
        return;
    };
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
    }
    interrupted.cancel();
}

/// The tests of a half; without ground to run on, their names.
fn trials(tables: &[Table], half: Half, on: Option<&Ground>) -> impl Iterator<Item = Trial> {
    tables.iter().flat_map(move |table| {
        half.of(table).iter().map(move |(name, test)| {
            let (on, test) = (on.cloned(), *test);
            let name = format!("{}::{name}", table.file);
            let told = name.clone();
            Trial::test(name, move || match on {
                Some(ground) => ground.runtime.block_on(ground.run(&told, test)),
                None => Ok(()),
            })
        })
    })
}

impl Ground {
    async fn run(&self, name: &str, test: Test) -> Result<(), Failed> {
        let start = clock::instant();
        let result = run_one(test, &self.cluster.for_test()).await;
        eprintln!(
            "cluster: {name} took {:.1} s",
            start.elapsed().as_secs_f64()
        );
        result
    }
}

async fn run_one(test: Test, cluster: &Cluster) -> Result<(), Failed> {
    let start = now();
    let run = AssertUnwindSafe(tokio::time::timeout(TEST_TIME_MAX, test(cluster)));
    let result = match run.catch_unwind().await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(anyhow::anyhow!("not done after {TEST_TIME_MAX:?}")),
        Err(panic) => Err(anyhow::anyhow!("{}", message(&*panic))),
    };
    let logs = match &result {
        Ok(()) => String::new(),
        Err(_) => logs_since(start, &cluster.logs_dir()),
    };
    let tidied = cluster.tidy().await.context("after the test");
    result
        .and(tidied)
        .map_err(|error| Failed::from(format!("{error:#}{logs}")))
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("the test panicked")
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(u64::try_from(clock::now().ms()).unwrap_or_default())
}

/// The ends of the logs written since a moment.
fn logs_since(start: SystemTime, dir: &Path) -> String {
    let mut written: Vec<_> = std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(Result::ok)
        .filter(|entry| {
            let changed = entry.metadata().and_then(|metadata| metadata.modified());
            changed.is_ok_and(|changed| start <= changed)
        })
        .map(|entry| entry.path())
        .collect();
    written.sort();
    written
        .iter()
        .map(|log| {
            format!(
                "\n--- {}\n{}",
                log.display(),
                process::tail(log, TAIL_LINES)
            )
        })
        .collect()
}
