//! `taffrail demo`: what Taffrail does, on one machine, without a cluster.
//!
//! Nothing of it is simulated but the cluster itself: pods are processes that answer HTTP and burn CPU, the adapter
//! scrapes them and serves its API over TLS, the load is open-loop, and an HPA loop reads the API over HTTPS every
//! 15 s and decides with Kubernetes' arithmetic. [`fleet`] stands for the Deployment and the kubelet, [`scaler`] for
//! the HPA controller, [`load`] for the clients; [`adapter`] is the adapter itself, [`recorder`] puts it all on one
//! clock, and [`show`] shows it.

mod adapter;
mod fleet;
mod hpa_record;
mod load;
mod play;
mod reader;
mod recorder;
mod scaler;
mod shadow;
mod show;
mod visits;

pub mod picture;
pub mod report;
pub mod timeline;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use http::HeaderValue;
use taffrail_loadtest::arrivals::{Arrivals, Spacing};
use taffrail_loadtest::engine;
use taffrail_loadtest::measured::{Measured, Progress};
use taffrail_loadtest::profile::Profile;
use taffrail_loadtest::sample_app::Dials;
use taffrail_loadtest::scenario::Outputs;
use tokio::io::BufReader;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::clock;
use crate::config::{self, Service, autoscaler};
use crate::model::time::Timestamp;

use adapter::Adapter;
use fleet::{Fleet, Template};
use hpa_record::HpaRecord;
use load::Load;
use picture::plain::ending;
use recorder::Recorder;
use scaler::{Hpa, Scaler};
use shadow::Shadow;
use show::Show;
use timeline::{Summary, Verdict};
use visits::Visits;

/// The load, in requests per second: quiet, a rise to what two pods can just not answer in time, a spike, and a fall. 165 s, so that
/// scale-out, recovery and scale-in all fit into three minutes.
const PROFILE: &str = "40@15s 40->190@15s 190@25s 190->330@5s 330@20s 330->40@10s 40@75s";

/// The HPA, as it could be applied to a cluster, but for its scale-in window, which is short enough to be seen.
const HPA_YAML: &str = include_str!("demo/hpa.yaml");

/// Where the report goes when nobody says.
const REPORT: &str = "taffrail-demo.html";

/// How often pods are looked after. A kubelet probes once a second; here a start takes four.
const STEP: Duration = Duration::from_millis(100);

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
///
/// With --scenario it plays that file instead, as taffrail-loadtest would in a cluster, and judges its checks. Times are
/// those of the file whatever the speed is; only latencies are the wall's, so a queue that takes a second to drain is
/// told as --speed seconds. Exit codes are then those of taffrail-loadtest: 0 all checks hold, 99 one does not, 100 the
/// system was not ready, 104 the scenario cannot be played, 105 interrupted, 112 and 113 it could not be told, 115 stopped
/// for safety.
#[derive(clap::Args, Clone, Debug)]
pub struct Args {
    /// Run this many times as fast: the HPA's period, windows and the load's stages are shorter by as much (1 to 10)
    #[arg(long, default_value_t = 1.0, value_parser = speed, env = "TAFFRAIL_DEMO_SPEED")]
    speed: f64,

    /// Play this scenario instead: its services as processes, its loads as requests, its events, and judge its checks
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "plain", "seed"])]
    scenario: Option<PathBuf>,

    /// Where a scenario's JSON report goes; from the second attempt on its name gets a number
    #[arg(long, value_name = "FILE", requires = "scenario")]
    recording: Option<PathBuf>,

    /// Where the HTML report goes, whatever a scenario says of it [default: taffrail-demo.html]
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,

    /// Write what the HPA read and decided, as a recording for `taffrail replay`
    #[arg(long, value_name = "FILE", conflicts_with = "scenario")]
    hpa_recording: Option<PathBuf>,

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

/// The HPA's clock, which runs `speed` times as fast as the wall's: periods and windows of its YAML are in its seconds.
#[derive(Clone, Copy, Debug)]
struct Pace {
    start: Instant,
    speed: f64,
}

impl Pace {
    /// Now, as the HPA's arithmetic is told.
    fn now(self) -> Timestamp {
        let wall_s = (clock::instant() - self.start).as_secs_f64();
        Timestamp::from_ms((wall_s * self.speed * 1000.0) as i64)
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
        hpa_recording,
        json,
        plain,
        seed,
        scenario,
        recording,
    } = args;
    if let Some(file) = scenario {
        let name = |path: PathBuf| path.to_string_lossy().into_owned();
        let outputs = Outputs {
            json: recording.map(name),
            html: report.map(name),
            ..Outputs::default()
        };
        return play::run(&file, speed, outputs).await;
    }
    let report = report.unwrap_or_else(|| REPORT.into());
    let profile: Profile = PROFILE
        .parse::<Profile>()
        .and_then(|profile| profile.faster(speed))
        .context("the demo's load")?;
    let pace = Pace {
        start: clock::instant(),
        speed,
    };
    can_write(&report, "report")?;
    if let Some(file) = &hpa_recording {
        can_write(file, "hpa-recording")?;
    }
    eprintln!("Starting pods and adapter; the load begins in a few seconds.");
    let mut interrupt = Interrupt::listen().context("listening for signals")?;
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();

    let mut stage = tokio::select! {
        ready = Stage::set(pace, &stop) => ready?,
        () = interrupt.heard() => return Ok(ExitCode::from(EXIT_INTERRUPTED)),
    };
    let load = Load::start(
        load_config()?,
        Arrivals::new(&profile, Spacing::Poisson(seed)),
        stage.fleet.endpoints(),
        stop.clone(),
    )?;
    stage.recorder.begin();
    let mut show = Show::open(plain, json, profile.duration().as_secs_f64());
    let interrupted = stage.play(&mut show, load.progress, &mut interrupt).await?;
    drop(show);
    stop.cancel();
    let load = load
        .report
        .await
        .context("the load generator ended early")?;
    stage.finish(&load, &report, json)?;
    if let Some(file) = &hpa_recording {
        let record = serde_json::to_string(&stage.hpa_record).context("the HPA's recording")?;
        std::fs::write(file, record + "\n")
            .with_context(|| format!("writing the HPA's recording to {}", file.display()))?;
    }
    if interrupted {
        return Ok(ExitCode::from(EXIT_INTERRUPTED));
    }
    let verdict = Summary::of(stage.recorder.run()).verdict;
    Ok(match verdict {
        Verdict::Held | Verdict::Recovered => ExitCode::SUCCESS,
        Verdict::NotHeld | Verdict::Unknown => ExitCode::from(EXIT_NOT_HELD),
    })
}

/// Finds out before three minutes have passed that the file of a flag has no place.
fn can_write(file: &Path, flag: &str) -> anyhow::Result<()> {
    let opened = std::fs::OpenOptions::new()
        .append(true)
        .create(true)
        .open(file);
    opened.map(drop).with_context(|| {
        format!(
            "writing to {}; choose another place with --{flag}",
            file.display()
        )
    })
}

/// Signals that end the demo. They are heard rather than suffered, so that pods and Redis end with it.
struct Interrupt([Signal; 3]);

impl Interrupt {
    fn listen() -> std::io::Result<Self> {
        Ok(Self([
            signal(SignalKind::interrupt())?,
            signal(SignalKind::terminate())?,
            signal(SignalKind::hangup())?,
        ]))
    }

    async fn heard(&mut self) {
        let [interrupt, terminate, hangup] = &mut self.0;
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
            _ = hangup.recv() => {}
        }
    }
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

/// Everything on stage while the clock runs.
struct Stage {
    pace: Pace,
    fleet: Fleet,
    adapter: Adapter,
    scaler: Scaler,
    shadow: Shadow,
    recorder: Recorder,
    hpa_record: HpaRecord,
    visits: Visits,
}

/// What one look at metrics and pods showed.
#[derive(Clone, Debug, Default)]
struct Seen {
    latency_ms: Option<f64>,
    rate: Option<f64>,
    cpu_percent: Option<f64>,
    cpu_only_replicas: u32,
}

impl Stage {
    /// Starts everything but the load, and waits until the first pods are ready and the adapter knows a latency.
    async fn set(pace: Pace, stop: &CancellationToken) -> anyhow::Result<Self> {
        let visits = Visits::start().await;
        let adapter = Adapter::start(stop.clone()).await?;
        let object = autoscaler::object_from_yaml(HPA_YAML).context("the demo's HPA")?;
        let hpa = Hpa::read(&object, SERVICE).context("the demo's HPA")?;
        let replicas_min = hpa.replicas_min();
        let scaler = Scaler::new(hpa, adapter.reader()?);
        let mut stage = Self {
            pace,
            fleet: Fleet::new(pace, SERVICE, template(pace, visits.address())),
            shadow: Shadow::new(scaler.spec(), CPU_REQUEST_MILLI),
            recorder: Recorder::new(pace, HPA_YAML, scaler.spec(), visits.note()),
            hpa_record: HpaRecord::new(&object, replicas_min, CPU_REQUEST_MILLI),
            adapter,
            scaler,
            visits,
        };
        stage.fleet.scale(replicas_min)?;
        let ready = stage.wait_until_ready();
        tokio::time::timeout(START_TIMEOUT, ready)
            .await
            .context("pods and adapter were not ready in time")??;
        Ok(stage)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        loop {
            self.fleet.step().await?;
            self.adapter.want(self.services());
            if self.fleet.all_ready() && self.knows_latency() {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What the adapter reads: the ready pods, and Redis.
    fn services(&self) -> Vec<Service> {
        let text = documents(self.pace, &self.fleet.targets(), self.visits.address());
        let parsed = config::parse(&text);
        debug_assert!(parsed.problems.is_empty(), "{:?}", parsed.problems);
        parsed.services.into_values().collect()
    }

    /// Whether the HPA would get a latency now.
    fn knows_latency(&self) -> bool {
        let snapshot = self.adapter.snapshot();
        let service = snapshot.service(NAMESPACE, SERVICE);
        service.is_some_and(|service| service.objective_latency_s().is_some())
    }

    /// What the HPA and its shadow could see now.
    async fn look(&mut self) -> Seen {
        let looks = self.scaler.look(&self.fleet).await;
        let selector = format!("service={SERVICE}");
        let rate = self.scaler.read("request_rate", &selector).await.value;
        let named = self.scaler.spec().metrics.iter().zip(looks);
        let values: BTreeMap<&str, Option<f64>> = named
            .map(|(metric, look)| (metric.name(), look.value))
            .collect();
        let value = |name: &str| values.get(name).copied().flatten();
        Seen {
            latency_ms: value("request_latency_ms"),
            rate,
            cpu_percent: value("cpu"),
            cpu_only_replicas: self.shadow.replicas(),
        }
    }

    /// Runs until the load has ended; true when a person ended it before.
    async fn play(
        &mut self,
        show: &mut Show,
        mut progress: mpsc::Receiver<Progress>,
        interrupt: &mut Interrupt,
    ) -> anyhow::Result<bool> {
        let start = tokio::time::Instant::from_std(self.recorder.start());
        let sync = self.pace.wall(scaler::SYNC_PERIOD);
        let mut syncs = tokio::time::interval_at(start + sync, sync);
        let mut seconds = tokio::time::interval_at(start, Duration::from_secs(1));
        let mut steps = tokio::time::interval(STEP);
        for timer in [&mut syncs, &mut seconds, &mut steps] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        loop {
            tokio::select! {
                () = interrupt.heard() => return Ok(true),
                _ = seconds.tick() => {
                    let seen = self.look().await;
                    self.recorder.second(&seen, &self.fleet, self.visits.rate(self.adapter.snapshot().as_ref()));
                    show.draw(&self.recorder);
                }
                _ = syncs.tick() => {
                    let (now, demand) = (self.pace.now(), self.scaler.cpu_milli(&self.fleet));
                    let decided = self.scaler.sync(now, &self.fleet).await;
                    self.shadow.sync(now, demand);
                    self.recorder.decided(&decided);
                    self.hpa_record.sync(now, &self.scaler.spec().metrics, &decided);
                    self.fleet.scale(decided.replicas)?;
                }
                _ = steps.tick() => {
                    for event in self.fleet.step().await? {
                        self.recorder.event(event);
                    }
                    self.adapter.want(self.services());
                }
                second = progress.recv() => match second {
                    Some(second) => self.recorder.load(&second),
                    None => return Ok(false),
                },
            }
        }
    }

    /// The report, the summary, and the JSON line.
    fn finish(&mut self, load: &Measured, path: &Path, json: bool) -> anyhow::Result<()> {
        self.recorder.finish(load);
        let run = self.recorder.run();
        let written = std::fs::write(path, report::html(run));
        let say = |line: &str| {
            if json {
                eprintln!("{line}");
            } else {
                println!("{line}");
            }
        };
        say("");
        for line in ending(&Summary::of(run)) {
            say(&line);
        }
        say(&format!("\nReport: {}", path.display()));
        if json {
            println!("{}", run.to_json());
        }
        written.with_context(|| format!("writing the report to {}", path.display()))
    }
}

/// The arguments of a pod: hidden, since people have `taffrail-sample-app` for that.
#[derive(clap::Args, Clone, Debug)]
pub struct PodArgs {
    #[command(flatten)]
    config: taffrail_loadtest::sample_app::Config,
}

/// Is a pod: serves the sample app on a free port, says which on standard output, takes orders on standard input, and
/// ends when that does, so that no pod outlives the demo however that ends.
///
/// # Errors
/// When no port is free or the configuration makes no sense.
pub async fn pod(args: PodArgs) -> anyhow::Result<ExitCode> {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .context("a free port on loopback")?;
    println!("{}", listener.local_addr().context("the port")?);
    let dials = Arc::new(Dials::default());
    let orders = Arc::clone(&dials);
    let parent_gone = async move { orders.follow(BufReader::new(tokio::io::stdin())).await };
    taffrail_loadtest::sample_app::run_with(listener, args.config, dials, parent_gone)
        .await
        .context("the pod")?;
    Ok(ExitCode::SUCCESS)
}

/// The namespace and name of the demo's service.
const NAMESPACE: &str = "demo";
const SERVICE: &str = "users";

/// The CPU each pod requests, in thousandths of a core. Ample, as people set it: that is why CPU says little of latency.
const CPU_REQUEST_MILLI: i64 = 500;

/// How long a pod's start takes after its process is up, in the HPA's time: caches to fill, connections to open.
const STARTUP: Duration = Duration::from_secs(4);

/// How long a pod that was taken out may go on answering what it has, on the wall's clock.
const DRAIN: Duration = Duration::from_secs(2);

/// What the sample app does: four workers that wait 40 ms for each request on average, with a heavy tail, and burn
/// one millisecond of CPU. So a pod answers 100 requests a second at most, and then uses a tenth of a core.
const APP: &str = "--workers 4 --service-time 40ms --service-cv 1.0 --cpu-share 0.025";

/// The demo's pods.
fn template(pace: Pace, redis: Option<SocketAddr>) -> Template {
    let mut args: Vec<String> = APP.split(' ').map(str::to_owned).collect();
    let startup = format!("{}ms", pace.wall(STARTUP).as_millis());
    args.extend(["--startup-delay".to_owned(), startup]);
    args.extend(redis.into_iter().flat_map(visits::flags));
    Template {
        args,
        env: Vec::new(),
        cpu_request_milli: CPU_REQUEST_MILLI,
        drain: DRAIN,
    }
}

/// How long a request may take: long past the objective, so that a breach is measured and not cut off.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

fn load_config() -> anyhow::Result<engine::Config> {
    let path = "/".parse().context("the demo's path")?;
    let mut config = engine::Config::new(HeaderValue::from_static("users.demo"), path);
    config.timeout = REQUEST_TIMEOUT;
    Ok(config)
}

/// The service's window and interval, in the HPA's time. The window is half the HPA's period: after a scale-out the
/// next look must not see requests from before it, or the HPA scales out twice for one breach.
const WINDOW: Duration = Duration::from_millis(7_500);
const INTERVAL: Duration = Duration::from_millis(1_500);

/// What the demo's users were promised; [`HPA_YAML`] has the same.
const OBJECTIVE: &str = "{quantile: 0.95, latency: 250ms}";

/// The `RequestMetrics` documents, as a file for `taffrail serve` would hold them.
fn documents(pace: Pace, targets: &[SocketAddr], redis: Option<SocketAddr>) -> String {
    let (window, interval) = (
        pace.wall(WINDOW).as_millis(),
        pace.wall(INTERVAL).as_millis(),
    );
    let mut text = String::new();
    let mut document = |name: &str, source: &str| {
        text.push_str(&format!(
            "---\napiVersion: {}\nkind: RequestMetrics\nmetadata: {{name: {name}, namespace: {NAMESPACE}}}\nspec:\n  \
             source: {source}\n  window: {window}ms\n  interval: {interval}ms\n  objective: {OBJECTIVE}\n",
            config::API_VERSION
        ));
    };
    if !targets.is_empty() {
        let targets: Vec<String> = targets
            .iter()
            .map(|target| format!("\"{target}\""))
            .collect();
        let pods = "histogram: http_request_duration_seconds, inFlight: http_requests_in_flight";
        document(
            SERVICE,
            &format!("{{pods: {{targets: [{}], {pods}}}}}", targets.join(", ")),
        );
    }
    if let Some(redis) = redis {
        document(
            visits::SERVICE,
            &format!("{{redis: {{address: \"{redis}\", server: {{commands: [incr]}}}}}}"),
        );
    }
    text
}
