//! `taffrail demo --scenario FILE`: a scenario with real processes, a real adapter, real requests, and a model of the HPA
//! for each service. It conducts; [`part`] is one service on stage, [`witness`] writes down what is seen.
//!
//! With `--speed` everything but the requests is faster: stages, events, the HPA's period and windows, the adapter's
//! windows. Rates and service times stay. The recording is in the scenario's own time, so the same checks serve, with
//! one thing to know: a queue drains on the wall's clock, so what takes it a second here is told as `speed` seconds.

mod ending;
mod part;
mod sending;
mod witness;

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::future::join_all;
use taffrail_loadtest::arrivals::plan::Plan;
use taffrail_loadtest::cli::{ExitStatus, outputs};
use taffrail_loadtest::judge::threshold;
use taffrail_loadtest::judge::verdict::{judge_all, judge_series};
use taffrail_loadtest::measured::Measured;
use taffrail_loadtest::recording::Recording;
use taffrail_loadtest::report::{Report, terminal};
use taffrail_loadtest::scenario::file::read_trace;
use taffrail_loadtest::scenario::{Action, Event, Outputs, Scenario};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;

use crate::clock;

use super::adapter::Adapter;
use super::visits::Visits;
use super::{Interrupt, Pace, REPORT, START_TIMEOUT, scaler};
use part::Part;
use sending::{Sending, Waiting};
use witness::Witness;

/// How often pods are looked after, on the wall's clock: at ten times the speed half a second of the scenario.
const STEP: Duration = Duration::from_millis(50);

/// How often metrics are read where the scenario does not say, in its time.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Two looks are at least so far apart on the wall's clock: each is a request per metric.
const LOOK_PERIOD_MIN: Duration = Duration::from_millis(100);

/// Plays the scenario of `file`, and says what came of it.
pub(super) async fn run(file: &Path, speed: f64, flags: Outputs) -> anyhow::Result<ExitCode> {
    let script = match Script::read(file, speed) {
        Ok(script) => script,
        Err(error) => {
            eprintln!("error: {error:#}");
            return Ok(ExitStatus::Invalid.into());
        }
    };
    let scenario = &script.scenario;
    let mut interrupt = Interrupt::listen().context("listening for signals")?;
    let given = scenario.report.clone();
    let html = flags.html.or(given.html);
    let outputs = Outputs {
        json: flags.json.or(given.json),
        html: Some(html.unwrap_or_else(|| REPORT.to_owned())),
        prometheus: None,
        ..given
    };
    if let Err(error) = outputs::check(&outputs) {
        eprintln!("error: {error:#}");
        return Ok(ExitStatus::Invalid.into());
    }
    let (mut attempts, mut verdicts) = (Vec::new(), Vec::new());
    for attempt in 1..=scenario.run.repeat {
        let recording = play(&script, speed, attempt, &mut interrupt).await?;
        let verdict = judge_all(&recording, None);
        let report = Report {
            recording: &recording,
            verdict: &verdict,
        };
        outputs::say(&terminal::summary(&report))?;
        let interrupted = recording.about.interrupted;
        verdicts.push(verdict.clone());
        attempts.push((recording, verdict));
        outputs::files(&outputs, &attempts)?;
        if interrupted || ending::is_settled(&verdicts, scenario.run) {
            break;
        }
    }
    if let Some(path) = &outputs.html {
        outputs::say(&format!("Report: {path}\n"))?;
    }
    let series = judge_series(&verdicts, scenario.run);
    if 1 < verdicts.len() {
        outputs::say(&format!(
            "{} of {} runs passed.\n",
            series.passed, series.runs
        ))?;
    }
    Ok(ExitStatus::from(series.reason).into())
}

/// Everything that a run takes of its file, known to be playable before anything is started.
struct Script {
    /// With its variables replaced.
    scenario: Scenario,
    /// As it is shown, without secrets.
    shown: Scenario,
    plans: Vec<Plan>,
    sendings: Vec<Sending>,
}

impl Script {
    fn read(file: &Path, speed: f64) -> anyhow::Result<Self> {
        let written = Scenario::load(file)?;
        threshold::check(&written)?;
        let scenario = written.expand(clock::env).context("the scenario")?;
        for name in scenario.services.keys() {
            let checked = Part::check(name, &scenario, speed);
            checked.with_context(|| format!("service {name}"))?;
        }
        let folder = file.parent().unwrap_or(Path::new("."));
        let plans = Plan::all(&scenario, |trace| read_trace(folder, trace))?;
        Ok(Self {
            sendings: Sending::all(&scenario, &plans, speed)?,
            plans,
            shown: written.redacted(),
            scenario,
        })
    }
}

/// One run, from an empty stage to an empty stage.
async fn play(
    script: &Script,
    speed: f64,
    attempt: u32,
    interrupt: &mut Interrupt,
) -> anyhow::Result<Recording> {
    let pace = Pace {
        start: clock::instant(),
        speed,
    };
    let stop = CancellationToken::new();
    let _stop_on_return = stop.clone().drop_guard();
    let mut stage = Stage::set(&script.scenario, pace, &stop).await?;
    let mut witness = Witness::new(&script.shown, &script.plans, pace, attempt);
    for part in &stage.parts {
        witness.meet(part);
    }
    let waiting = stage.prepare(&script.sendings, &stop).await?;
    let zero = Instant::from_std(clock::instant());
    witness.begin(zero, &waiting);
    let loads = waiting.into_iter().map(|load| load.start(zero)).collect();
    let measured = stage
        .conduct(&script.scenario, loads, &mut witness, interrupt, &stop)
        .await?;
    Ok(witness.finish(measured))
}

/// Everything on stage.
struct Stage {
    pace: Pace,
    parts: Vec<Part>,
    adapter: Adapter,
    visits: Option<Visits>,
    metrics_stopped: bool,
    /// When what was stopped goes on, in the scenario's seconds.
    restarts: Vec<(f64, Action)>,
}

impl Stage {
    /// Starts everything but the load, and waits until pods are ready and the adapter knows their services.
    async fn set(
        scenario: &Scenario,
        pace: Pace,
        stop: &CancellationToken,
    ) -> anyhow::Result<Self> {
        let apps = scenario
            .services
            .values()
            .filter_map(|service| service.app.as_ref());
        let visits = match apps.into_iter().any(|app| app.redis) {
            true => Some(Visits::start().await),
            false => None,
        };
        let redis = visits.as_ref().and_then(Visits::address);
        if let (Some(visits), None) = (&visits, redis) {
            bail!("the scenario needs Redis. {}", visits.note());
        }
        let adapter = Adapter::start(stop.clone()).await?;
        let mut parts = Vec::new();
        for name in scenario.services.keys() {
            let part = Part::new(name, scenario, pace, redis, adapter.reader()?);
            parts.push(part.with_context(|| format!("service {name}"))?);
        }
        let mut stage = Self {
            pace,
            parts,
            adapter,
            visits,
            metrics_stopped: false,
            restarts: Vec::new(),
        };
        for part in &mut stage.parts {
            part.fleet.scale(part.replicas_at_first)?;
        }
        tokio::time::timeout(START_TIMEOUT, stage.wait_until_ready())
            .await
            .context("pods and adapter were not ready in time")??;
        Ok(stage)
    }

    async fn wait_until_ready(&mut self) -> anyhow::Result<()> {
        loop {
            self.step().await?;
            let snapshot = self.adapter.snapshot();
            if self
                .parts
                .iter()
                .all(|part| part.fleet.all_ready() && part.is_known(&snapshot))
            {
                return Ok(());
            }
            tokio::time::sleep(STEP).await;
        }
    }

    /// Looks after all pods, and tells everybody where they are. Says what happened, with the service.
    async fn step(&mut self) -> anyhow::Result<Vec<(String, String)>> {
        let addresses: BTreeMap<String, Vec<std::net::SocketAddr>> = self
            .parts
            .iter()
            .map(|part| (part.name.clone(), part.fleet.targets()))
            .collect();
        let mut events = Vec::new();
        for part in &mut self.parts {
            part.give_orders(&addresses);
        }
        let steps = join_all(self.parts.iter_mut().map(|part| async {
            let told = part.fleet.step().await;
            (part.name.clone(), told)
        }));
        for (name, told) in steps.await {
            events.extend(told?.into_iter().map(|text| (name.clone(), text)));
        }
        let services = match self.metrics_stopped {
            true => Vec::new(),
            false => self.parts.iter().flat_map(Part::measured).collect(),
        };
        self.adapter.want(services);
        Ok(events)
    }

    /// Has the load of each service ready. None starts before the last is, since all are on one clock.
    async fn prepare(
        &self,
        sendings: &[Sending],
        stop: &CancellationToken,
    ) -> anyhow::Result<Vec<Waiting>> {
        let mut preparing = Vec::new();
        for sending in sendings {
            let part = self.parts.iter().find(|part| part.name == sending.service);
            let part = part.with_context(|| format!("there is no service {}", sending.service))?;
            preparing.push(sending.prepare(part.fleet.endpoints(), stop.clone()));
        }
        Ok(join_all(preparing).await)
    }

    /// Runs until the loads have ended, or a person or the scenario ends it before.
    async fn conduct(
        &mut self,
        scenario: &Scenario,
        loads: JoinSet<(String, Measured)>,
        witness: &mut Witness,
        interrupt: &mut Interrupt,
        stop: &CancellationToken,
    ) -> anyhow::Result<BTreeMap<String, Measured>> {
        let observed = scenario
            .services
            .values()
            .filter_map(|service| service.observe.as_ref());
        let look_every = observed.map(|observe| *observe.metric_interval).min();
        let look_every = self
            .pace
            .wall(look_every.unwrap_or(LOOK_EVERY))
            .max(LOOK_PERIOD_MIN);
        let sync = self.pace.wall(scaler::SYNC_PERIOD);
        let start = Instant::from_std(clock::instant());
        let mut syncs = tokio::time::interval_at(start + sync, sync);
        let mut looks = tokio::time::interval_at(start, look_every);
        let mut steps = tokio::time::interval_at(start, STEP);
        for timer in [&mut syncs, &mut looks, &mut steps] {
            timer.set_missed_tick_behavior(MissedTickBehavior::Skip);
        }
        let mut script = scenario.events.iter().peekable();
        let mut ended = std::pin::pin!(loads.join_all());
        let measured = loop {
            tokio::select! {
                () = interrupt.heard() => {
                    witness.interrupted();
                    stop.cancel();
                }
                measured = &mut ended => break measured,
                _ = syncs.tick() => self.sync(witness).await?,
                _ = looks.tick() => {
                    self.look(witness).await;
                    if witness.must_end() {
                        stop.cancel();
                    }
                }
                _ = steps.tick() => {
                    let now_s = witness.now_s();
                    while let Some(event) = script.next_if(|event| event.at.seconds() <= now_s) {
                        self.act(event, witness).await?;
                    }
                    self.go_on(now_s).await?;
                    for (service, text) in self.step().await? {
                        witness.endpoint(&service, text);
                    }
                    for part in &self.parts {
                        witness.see(part);
                    }
                }
            }
        };
        Ok(measured.into_iter().collect())
    }

    /// One sync of every HPA.
    async fn sync(&mut self, witness: &mut Witness) -> anyhow::Result<()> {
        let now = self.pace.now();
        for part in &mut self.parts {
            let Some(scaler) = &mut part.scaler else {
                continue;
            };
            let decided = scaler.sync(now, &part.fleet).await;
            part.fleet.scale(decided.replicas)?;
            witness.decided(&part.name, &decided);
        }
        Ok(())
    }

    async fn look(&mut self, witness: &mut Witness) {
        for part in &mut self.parts {
            if let Some(scaler) = &mut part.scaler {
                let looks = scaler.look(&part.fleet).await;
                witness.looked(&part.name, &looks);
            }
        }
    }

    /// Does what the scenario says for this moment.
    async fn act(&mut self, event: &Event, witness: &mut Witness) -> anyhow::Result<()> {
        witness.event(event);
        if let Some(until) = event.until {
            self.restarts.push((until.seconds(), event.action.clone()));
        }
        match &event.action {
            Action::Mark => {}
            Action::Rollout { service, app } => self.part(service)?.roll_out(app)?,
            Action::Undo { service } => self.part(service)?.undo()?,
            Action::Change {
                service,
                slowdown,
                pods,
            } => self.part(service)?.slow_down(*slowdown, *pods),
            Action::StopRedis => {
                if let Some(visits) = &mut self.visits {
                    visits.stop().await;
                }
            }
            Action::StopMetrics => self.metrics_stopped = true,
        }
        Ok(())
    }

    /// Ends what lasts until now.
    async fn go_on(&mut self, now_s: f64) -> anyhow::Result<()> {
        let due = |(until_s, _): &mut (f64, Action)| *until_s <= now_s;
        let over: Vec<_> = self.restarts.extract_if(.., due).collect();
        for (_, action) in over {
            match &action {
                Action::Change { service, pods, .. } => {
                    self.part(service)?.slow_down(1.0, *pods);
                }
                Action::StopMetrics => self.metrics_stopped = false,
                Action::StopRedis => {
                    if let Some(visits) = &mut self.visits {
                        let started = visits.start_again().await;
                        started.map_err(|why| anyhow::anyhow!("starting Redis again: {why}"))?;
                    }
                }
                Action::Mark | Action::Rollout { .. } | Action::Undo { .. } => {}
            }
        }
        Ok(())
    }

    fn part(&mut self, name: &str) -> anyhow::Result<&mut Part> {
        let part = self.parts.iter_mut().find(|part| part.name == name);
        part.with_context(|| format!("there is no service {name}"))
    }
}
