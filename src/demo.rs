//! `taffrail demo`: what Taffrail does, on one machine, without a cluster.
//!
//! Nothing of it is simulated but the cluster itself: pods are processes that answer HTTP and burn CPU, the adapter
//! scrapes them and serves its API over TLS, the load is open-loop, and an HPA loop reads the API over HTTPS every
//! 15 s and decides with Kubernetes' arithmetic. [`fleet`] stands for the Deployment and the kubelet, [`scaler`] for
//! the HPA controller, [`adapter`] is the adapter itself, [`recorder`] puts it all on one clock.

mod adapter;
mod fleet;
mod recorder;
mod scaler;
mod visits;

pub mod picture;
pub mod report;
pub mod timeline;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use http::HeaderValue;
use taffrail_loadtest::arrivals::{Arrivals, Spacing};
use taffrail_loadtest::engine::{Config as LoadConfig, Engine as LoadEngine};
use taffrail_loadtest::profile::Profile;
use taffrail_loadtest::report::Report;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::model::time::Timestamp;

use adapter::Adapter;
use fleet::Fleet;
use picture::Picture;
use picture::plain::{Plain, ending};
use recorder::Recorder;
use scaler::Scaler;
use timeline::{Summary, Verdict};
use visits::Visits;

/// The load, in requests per second: quiet, a rise to what two pods can just not answer in time, a spike, and a fall. 170 s, so that
/// scale-out, recovery and scale-in all fit into three minutes.
const PROFILE: &str = "40@20s 40->190@15s 190@35s 190->330@5s 330@30s 330->40@10s 40@55s";

/// The HPA, as it could be applied to a cluster, but for its scale-in window, which is short enough to be seen.
const HPA_YAML: &str = include_str!("demo/hpa.yaml");

/// How long a request may take: long past the objective, so that a breach is measured and not cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// How long pods and adapter may take to be ready before the clock starts. Debug builds on busy machines take seconds.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The fastest demo: the HPA then syncs every 1.5 s, and a window still holds enough requests for a 0.95-quantile.
const SPEED_MAX: f64 = 10.0;

/// Exit codes, as `--help` lists them.
const EXIT_NOT_HELD: u8 = 1;
const EXIT_INTERRUPTED: u8 = 130;

/// Show latency-based scaling on this machine: real pods, real scraping, the real API, real load
///
/// Starts sample pods as processes, the adapter with its API over TLS, an HPA that reads it every 15 s, and open-loop
/// load that rises, spikes and falls. Shows it live, writes an HTML report, and says what CPU alone would have done.
///
/// Exit codes: 0 the objective held or was restored by scaling, 1 it was not, 2 the demo could not run,
/// 130 interrupted.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Run this many times as fast: the HPA's period, windows and the load's stages are shorter by as much (1 to 10)
    #[arg(long, default_value_t = 1.0, value_parser = speed, env = "TAFFRAIL_DEMO_SPEED")]
    speed: f64,

    /// Where the HTML report goes
    #[arg(long, default_value = "taffrail-demo.html", value_name = "FILE")]
    report: PathBuf,

    /// Print one JSON object, with everything that was recorded, as the last line of standard output
    #[arg(long)]
    json: bool,

    /// Print lines rather than draw, as it does anyway when standard output is no terminal
    #[arg(long)]
    plain: bool,

    /// Seed of the requests' moments: the same seed sends the same requests at the same moments
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// A moment on the demo's clock, which runs `speed` times as fast as the wall's.
#[derive(Clone, Copy, Debug)]
struct Pace {
    start: std::time::Instant,
    speed: f64,
}

impl Pace {
    /// Seconds of wall time since the start.
    fn wall_s(self) -> f64 {
        (clock::instant() - self.start).as_secs_f64()
    }

    /// Now, as the HPA's arithmetic is told: periods and windows of its YAML are in these seconds.
    fn now(self) -> Timestamp {
        Timestamp::from_ms((self.wall_s() * self.speed * 1000.0) as i64)
    }

    /// How long `span` of the HPA's time takes here.
    fn wall(self, span: Duration) -> Duration {
        span.div_f64(self.speed)
    }
}

/// Runs the demo.
///
/// # Errors
/// When it cannot run: no port, no process, a report that cannot be written.
pub async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let Args {
        speed,
        report,
        json,
        plain,
        seed,
    } = args;
    let profile: Profile = PROFILE
        .parse::<Profile>()
        .and_then(|profile| profile.faster(speed))
        .context("the demo's load")?;
    let pace = Pace {
        start: clock::instant(),
        speed,
    };
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();

    let visits = Visits::start().await;
    let adapter = Adapter::start(pace, visits.address(), stop.clone()).await?;
    let mut fleet = Fleet::new(pace, visits.address());
    let scaler = Scaler::new(HPA_YAML, adapter.reader()?)?;
    fleet.scale(scaler.replicas_min())?;
    wait_until_ready(&mut fleet, &adapter).await?;

    let pace = Pace {
        start: clock::instant(),
        speed,
    };
    let recorder = Recorder::new(pace, HPA_YAML, scaler.spec(), visits.note());
    let load = Load::start(&profile, seed, &fleet, stop.clone())?;
    let mut show = Show::open(plain, json, profile.duration().as_secs_f64());
    let mut stage = Stage {
        pace,
        fleet,
        adapter,
        scaler,
        recorder,
        visits,
    };
    let interrupted = stage.play(&mut show, load.progress).await?;
    drop(show);
    stop.cancel();
    let load = load
        .report
        .await
        .context("the load generator ended early")?;
    stage.finish(&load, &report, json)?;
    if interrupted {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    let held = matches!(
        Summary::of(stage.recorder.run()).verdict,
        Verdict::Held | Verdict::Recovered
    );
    Ok(if held {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_NOT_HELD)
    })
}

fn speed(text: &str) -> Result<f64, String> {
    let speed: f64 = text
        .parse()
        .map_err(|_| "must be a number such as 3".to_owned())?;
    if (1.0..=SPEED_MAX).contains(&speed) {
        Ok(speed)
    } else {
        Err(format!("must be from 1 to {SPEED_MAX}"))
    }
}

/// Waits until the first pods are ready and the adapter knows a latency.
async fn wait_until_ready(fleet: &mut Fleet, adapter: &Adapter) -> anyhow::Result<()> {
    let ready = async {
        loop {
            fleet.step().await?;
            adapter.want(&fleet.targets());
            if fleet.all_ready() && adapter.knows_latency() {
                return anyhow::Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(START_TIMEOUT, ready)
        .await
        .context("pods and adapter were not ready in time")?
}

/// The load generator, running on its own thread: what it measures must not wait for what it measures.
struct Load {
    progress: mpsc::Receiver<taffrail_loadtest::report::Progress>,
    report: tokio::sync::oneshot::Receiver<Report>,
}

impl Load {
    fn start(
        profile: &Profile,
        seed: u64,
        fleet: &Fleet,
        stop: CancellationToken,
    ) -> anyhow::Result<Self> {
        // One message a second: more than a whole run fits.
        let (sender, progress) = mpsc::channel(4096);
        let (done, report) = tokio::sync::oneshot::channel();
        let mut config = LoadConfig::new(
            HeaderValue::from_static("users.demo"),
            "/".parse().context("the demo's path")?,
        );
        config.timeout = REQUEST_TIMEOUT;
        let arrivals = Arrivals::new(profile, Spacing::Poisson(seed));
        let endpoints = fleet.endpoints();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the load generator's runtime")?;
        std::thread::Builder::new()
            .name("load".to_owned())
            .spawn(move || {
                let report = runtime.block_on(
                    LoadEngine::new(config)
                        .with_progress(sender)
                        .run(arrivals, endpoints, stop),
                );
                // Nobody waits for it when the demo is on its way out.
                let _ = done.send(report);
            })
            .context("the load generator's thread")?;
        Ok(Self { progress, report })
    }
}

/// Everything on stage while the clock runs.
struct Stage {
    pace: Pace,
    fleet: Fleet,
    adapter: Adapter,
    scaler: Scaler,
    recorder: Recorder,
    visits: Visits,
}

impl Stage {
    /// Runs until the load has ended; true when a person ended it before.
    async fn play(
        &mut self,
        show: &mut Show,
        mut progress: mpsc::Receiver<taffrail_loadtest::report::Progress>,
    ) -> anyhow::Result<bool> {
        let sync = self.pace.wall(scaler::SYNC_PERIOD);
        let mut syncs =
            tokio::time::interval_at(tokio::time::Instant::from_std(self.pace.start + sync), sync);
        let mut seconds = tokio::time::interval_at(
            tokio::time::Instant::from_std(self.pace.start),
            Duration::from_secs(1),
        );
        let mut steps = tokio::time::interval(Duration::from_millis(100));
        for timer in [&mut syncs, &mut seconds, &mut steps] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        let interrupt = tokio::signal::ctrl_c();
        tokio::pin!(interrupt);
        loop {
            tokio::select! {
                _ = &mut interrupt => return Ok(true),
                _ = seconds.tick() => {
                    let seen = self.scaler.look(&self.fleet).await;
                    self.recorder.second(seen, &self.fleet, self.visits.rate(self.adapter.snapshot().as_ref()));
                    show.draw(&self.recorder, self.pace.wall_s());
                }
                _ = syncs.tick() => {
                    let decided = self.scaler.sync(self.pace.now(), &self.fleet).await;
                    self.recorder.decided(&decided);
                    self.fleet.scale(decided.replicas)?;
                }
                _ = steps.tick() => {
                    for event in self.fleet.step().await? {
                        self.recorder.event(event);
                    }
                    self.adapter.want(&self.fleet.targets());
                }
                second = progress.recv() => match second {
                    Some(second) => self.recorder.load(&second),
                    None => return Ok(false),
                },
            }
        }
    }

    /// The report, the summary, and the JSON line.
    fn finish(&mut self, load: &Report, path: &PathBuf, json: bool) -> anyhow::Result<()> {
        self.recorder.finish(load);
        let run = self.recorder.run();
        let html = report::html(run);
        std::fs::write(path, html).with_context(|| {
            format!(
                "writing the report to {}; choose another place with --report",
                path.display()
            )
        })?;
        let say = |line: &str| {
            if json {
                eprintln!("{line}")
            } else {
                println!("{line}")
            }
        };
        say("");
        ending(&Summary::of(run)).iter().for_each(|line| say(line));
        say(&format!("\nReport: {}", path.display()));
        if json {
            println!("{}", run.to_json());
        }
        Ok(())
    }
}

/// Where the demo is shown: a live picture on a terminal, lines elsewhere.
enum Show {
    Picture { picture: Picture, total_s: f64 },
    Lines { plain: Plain, to_stderr: bool },
}

impl Show {
    fn open(plain: bool, json: bool, total_s: f64) -> Self {
        if !plain && !json && std::io::stdout().is_terminal() {
            if let Ok(picture) = Picture::open() {
                return Self::Picture { picture, total_s };
            }
        }
        Self::Lines {
            plain: Plain::new(5.0),
            to_stderr: json,
        }
    }

    fn draw(&mut self, recorder: &Recorder, now_s: f64) {
        match self {
            // A terminal that went away must not end the run.
            Self::Picture { picture, total_s } => picture
                .draw(recorder.run(), now_s, *total_s)
                .unwrap_or_default(),
            Self::Lines { plain, to_stderr } => {
                for line in plain.lines(recorder.run(), now_s) {
                    if *to_stderr {
                        eprintln!("{line}")
                    } else {
                        println!("{line}")
                    }
                }
            }
        }
    }
}

/// The arguments of a pod: hidden, since people have `taffrail-sample-app` for that.
#[derive(clap::Args, Clone, Debug)]
pub struct PodArgs {
    #[command(flatten)]
    config: taffrail_loadtest::sample_app::Config,
}

/// Is a pod: serves the sample app on a free port, says which on standard output, and ends when standard input does,
/// so that no pod outlives the demo however that ends.
///
/// # Errors
/// When no port is free or the configuration makes no sense.
pub async fn pod(args: PodArgs) -> anyhow::Result<ExitCode> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .context("a free port on loopback")?;
    println!("{}", listener.local_addr().context("the port")?);
    let parent_gone = async {
        let (mut stdin, mut sink) = (tokio::io::stdin(), tokio::io::sink());
        // Its end and its failure mean the same.
        let _ = tokio::io::copy(&mut stdin, &mut sink).await;
    };
    taffrail_loadtest::sample_app::run(listener, args.config, parent_gone)
        .await
        .context("the pod")?;
    Ok(ExitCode::SUCCESS)
}

/// The namespace and name of the demo's service.
const NAMESPACE: &str = "demo";
const SERVICE: &str = "users";

/// The latest snapshot, as the recorder looks at it.
type Latest = Arc<crate::engine::snapshot::Snapshot>;
