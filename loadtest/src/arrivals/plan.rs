//! What a load of a scenario sends and when: its curve with its beginning, its stages by name, and its seed. All loads of
//! a scenario are on one clock, so a load with a `startTime` sends nothing before. It reads no files: a trace comes as
//! text.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::trace::{Trace, TraceError};
use super::{Arrivals, Spacing};
use crate::profile::{DURATION_MAX, Profile, ProfileError, Shape, Stage as ProfileStage};
use crate::recording::Stage;
use crate::scenario::{self, Executor, Load, Placing, Scenario};

/// The offset basis of FNV-1a with 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// Its prime.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

/// The name of the only stage of a load that replays a trace.
pub const REPLAYED: &str = "replay";

/// What a load sends and when.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// The load's name in the scenario.
    pub load: String,
    /// The service it is for.
    pub service: String,
    /// Open or closed loop.
    pub schedule: Schedule,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
}

/// How a load decides when to send.
#[derive(Debug, Clone, PartialEq)]
pub enum Schedule {
    /// At moments that are known before.
    Open {
        /// The curve, from the beginning of the scenario.
        profile: Profile,
        /// How moments are placed on it.
        spacing: Spacing,
    },
    /// Whenever one of the users was answered.
    Closed {
        /// How many users.
        users: usize,
        /// When they begin.
        start: Duration,
        /// When they stop asking.
        end: Duration,
    },
}

/// Why a load cannot be planned. The message says the cause, so there is no other source to be told after it.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Its curve is impossible.
    #[error("load `{load}`: {why}")]
    Profile {
        /// Which load.
        load: String,
        /// What is wrong.
        why: ProfileError,
    },
    /// Its trace cannot be replayed.
    #[error("load `{load}`: {file}: {why}")]
    Trace {
        /// Which load.
        load: String,
        /// The trace.
        file: String,
        /// What is wrong.
        why: TraceError,
    },
    /// Its trace could not be read.
    #[error("load `{load}`: reading {file}: {why}")]
    Read {
        /// Which load.
        load: String,
        /// The trace.
        file: String,
        /// Why.
        why: std::io::Error,
    },
}

impl Plan {
    /// The plans of all loads of a scenario, by name; `read` has the text of a trace.
    pub fn all(
        scenario: &Scenario,
        read: impl Fn(&str) -> std::io::Result<String>,
    ) -> Result<Vec<Self>, PlanError> {
        let plan = |(name, load): (&String, &Load)| {
            let trace = match &load.executor {
                Executor::Replay { file, .. } => {
                    Some(read(file).map_err(|why| PlanError::Read {
                        load: name.clone(),
                        file: file.clone(),
                        why,
                    })?)
                }
                _ => None,
            };
            Self::new(name, load, scenario.seed, trace.as_deref())
        };
        scenario.scenarios.iter().map(plan).collect()
    }

    /// The plan of one load of a scenario with this seed. `trace` is the text of its trace, when it replays one.
    pub fn new(name: &str, load: &Load, seed: u64, trace: Option<&str>) -> Result<Self, PlanError> {
        let schedule = schedule(name, load, seed, trace)?;
        Ok(Self {
            load: name.to_owned(),
            service: load.service.clone(),
            stages: stages(name, load, &schedule),
            schedule,
        })
    }

    /// The same `factor` times as fast: everything begins earlier and takes less long, and every rate is as it was, so
    /// there are fewer requests in all.
    ///
    /// # Errors
    /// [`PlanError::Profile`] when `factor` is not a number above zero, or nothing is left of the load.
    pub fn faster(&self, factor: f64) -> Result<Self, PlanError> {
        let impossible = |why| impossible(&self.load, why);
        let shorter = |span: Duration| {
            let shorter = Duration::try_from_secs_f64(span.as_secs_f64() / factor);
            shorter.map_err(|_| impossible(ProfileError::Duration))
        };
        let schedule = match &self.schedule {
            Schedule::Open { profile, spacing } => Schedule::Open {
                profile: profile.faster(factor).map_err(impossible)?,
                spacing: *spacing,
            },
            Schedule::Closed { users, start, end } => Schedule::Closed {
                users: *users,
                start: shorter(*start)?,
                end: shorter(*end)?,
            },
        };
        let stage = |stage: &Stage| Stage {
            start_s: stage.start_s / factor,
            end_s: stage.end_s / factor,
            ..stage.clone()
        };
        Ok(Self {
            load: self.load.clone(),
            service: self.service.clone(),
            schedule,
            stages: self.stages.iter().map(stage).collect(),
        })
    }

    /// The moments; `None` of a closed loop.
    #[must_use]
    pub fn arrivals(&self) -> Option<Arrivals> {
        match &self.schedule {
            Schedule::Open { profile, spacing } => Some(Arrivals::new(profile, *spacing)),
            Schedule::Closed { .. } => None,
        }
    }

    /// How many requests; `None` of a closed loop.
    #[must_use]
    pub fn planned(&self) -> Option<u64> {
        match &self.schedule {
            Schedule::Open { profile, .. } => Some(profile.total_requests()),
            Schedule::Closed { .. } => None,
        }
    }

    /// The rate at `t` from the scenario's beginning, in requests per second; `None` of a closed loop.
    #[must_use]
    pub fn rate_at(&self, t: Duration) -> Option<f64> {
        match &self.schedule {
            Schedule::Open { profile, .. } => Some(profile.rate_at(t)),
            Schedule::Closed { .. } => None,
        }
    }

    /// When the load ends, from the scenario's beginning.
    #[must_use]
    pub fn end(&self) -> Duration {
        match &self.schedule {
            Schedule::Open { profile, .. } => profile.duration(),
            Schedule::Closed { end, .. } => *end,
        }
    }
}

/// The seed of a load: the scenario's, mixed with a hash of the load's name (FNV-1a with 64 bits), so that two loads of
/// a scenario do not send at the same moments, and one sends at the same moments whatever the others are called.
#[must_use]
pub fn sub_seed(seed: u64, load: &str) -> u64 {
    let hash = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(FNV_PRIME);
    let bytes = seed.to_le_bytes().into_iter().chain(load.bytes());
    bytes.fold(FNV_BASIS, hash)
}

fn schedule(
    name: &str,
    load: &Load,
    seed: u64,
    trace: Option<&str>,
) -> Result<Schedule, PlanError> {
    let profile = match &load.executor {
        Executor::RampingArrivalRate { start_rate, stages } => {
            let stage = |stage: &scenario::Stage| ProfileStage {
                target: stage.target,
                duration: *stage.duration,
            };
            Profile::new(*start_rate, stages.iter().map(stage).collect())
        }
        Executor::Sine {
            mean,
            amplitude,
            period,
            duration,
        } => Profile::sine(*mean, *amplitude, **period, **duration),
        Executor::Bursts {
            base,
            burst,
            every,
            length,
            duration,
        } => Profile::bursts(*base, *burst, **every, **length, **duration),
        Executor::Replay { file, speed, scale } => {
            let replayed = Trace::read(trace.unwrap_or_default())
                .and_then(|trace| trace.profile(*speed, *scale));
            Ok(replayed.map_err(|why| PlanError::Trace {
                load: name.to_owned(),
                file: file.clone(),
                why,
            })?)
        }
        Executor::ConstantVus { vus, duration } => {
            let start = *load.start_time;
            let end = start
                .checked_add(**duration)
                .filter(|end| *end <= DURATION_MAX);
            return match end {
                Some(end) if !duration.is_zero() => Ok(Schedule::Closed {
                    users: *vus,
                    start,
                    end,
                }),
                Some(_) => Err(impossible(name, ProfileError::Empty)),
                None => Err(impossible(name, ProfileError::Duration)),
            };
        }
    };
    let profile = profile.and_then(|profile| profile.after(*load.start_time));
    let spacing = match load.arrivals {
        Placing::Uniform => Spacing::Uniform,
        Placing::Poisson => Spacing::Poisson(sub_seed(seed, name)),
    };
    match profile {
        Ok(profile) => Ok(Schedule::Open { profile, spacing }),
        Err(why) => Err(impossible(name, why)),
    }
}

fn impossible(load: &str, why: ProfileError) -> PlanError {
    PlanError::Profile {
        load: load.to_owned(),
        why,
    }
}

/// A stage whose place is not known yet: the name that it was given, what it is, and its length in seconds.
type Stretch = (Option<String>, String, f64);

/// The stages that last, and those that have a name. One without is named by what it sends, as `50/s` and
/// `ramp to 600/s`, and the second one so named is `50/s#2`: names stay the same from run to run.
fn stages(name: &str, load: &Load, schedule: &Schedule) -> Vec<Stage> {
    let stretches = stretches(load, schedule);
    let given: BTreeSet<String> = stretches
        .iter()
        .filter_map(|(name, ..)| name.clone())
        .collect();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    let mut name_of = |told: &str| loop {
        let times = times.entry(told.to_owned()).or_default();
        *times += 1;
        let name = match *times {
            1 => told.to_owned(),
            times => format!("{told}#{times}"),
        };
        if !given.contains(&name) {
            return name;
        }
    };
    let mut end_s = load.start_time.seconds();
    let stages = stretches.into_iter().filter_map(|(stage, told, length_s)| {
        let start_s = end_s;
        end_s += length_s;
        if stage.is_none() && length_s <= 0.0 {
            return None;
        }
        Some(Stage {
            name: stage.unwrap_or_else(|| name_of(&told)),
            load: name.to_owned(),
            service: load.service.clone(),
            start_s,
            end_s,
        })
    });
    stages.collect()
}

fn stretches(load: &Load, schedule: &Schedule) -> Vec<Stretch> {
    let begin_s = load.start_time.seconds();
    match (&load.executor, schedule) {
        (Executor::RampingArrivalRate { start_rate, stages }, _) => {
            let mut rate = *start_rate;
            let stretch = |stage: &scenario::Stage| {
                let from = std::mem::replace(&mut rate, stage.target);
                let told = line(from, stage.target);
                (stage.name.clone(), told, stage.duration.seconds())
            };
            stages.iter().map(stretch).collect()
        }
        (Executor::Bursts { .. }, Schedule::Open { profile, .. }) => profile
            .segments()
            .filter(|segment| begin_s <= segment.start.as_secs_f64())
            .map(|segment| (None, shaped(&segment.shape), segment.duration_s()))
            .collect(),
        (executor, Schedule::Open { profile, .. }) => {
            let told = match executor {
                Executor::Sine { mean, .. } => format!("around {mean}/s"),
                _ => REPLAYED.to_owned(),
            };
            vec![(None, told, profile.duration().as_secs_f64() - begin_s)]
        }
        (_, Schedule::Closed { users, start, end }) => {
            vec![(
                None,
                format!("{users} users"),
                (*end - *start).as_secs_f64(),
            )]
        }
    }
}

fn shaped(shape: &Shape) -> String {
    match shape {
        Shape::Line { from, to } => line(*from, *to),
        Shape::Wave { mean, .. } => format!("around {mean}/s"),
    }
}

/// What a stage is called that goes from one rate to another.
fn line(from: f64, to: f64) -> String {
    match from == to {
        true => format!("{to}/s"),
        false => format!("ramp to {to}/s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Pacing, Span};

    fn load(executor: Executor) -> Load {
        Load {
            service: "users".to_owned(),
            executor,
            arrivals: Placing::Poisson,
            max_in_flight: 10,
            graceful_stop: Span::from_secs(1),
            start_time: Span::from_secs(5),
            pacing: Pacing::Millisecond,
        }
    }

    fn ramp() -> Executor {
        let stage = |name: Option<&str>, target, seconds| scenario::Stage {
            name: name.map(str::to_owned),
            target,
            duration: Span::from_secs(seconds),
        };
        Executor::RampingArrivalRate {
            start_rate: 50.0,
            stages: vec![
                stage(Some("base"), 50.0, 10),
                stage(None, 600.0, 0),
                stage(None, 600.0, 20),
                stage(Some("end"), 0.0, 0),
            ],
        }
    }

    #[test]
    fn stages_begin_with_their_load_and_are_named_by_what_they_send() {
        let plan = Plan::new("main", &load(ramp()), 1, None).unwrap();
        let stages: Vec<_> = plan
            .stages
            .iter()
            .map(|stage| (stage.name.as_str(), stage.start_s, stage.end_s))
            .collect();
        assert_eq!(
            stages,
            [
                ("base", 5.0, 15.0),
                ("600/s", 15.0, 35.0),
                ("end", 35.0, 35.0)
            ]
        );
        assert_eq!(plan.planned(), Some(12_500));
        assert_eq!(plan.rate_at(Duration::from_secs(4)), Some(0.0));
        assert_eq!(plan.rate_at(Duration::from_secs(15)), Some(600.0));
        assert_eq!(plan.end(), Duration::from_secs(35));
        assert!(plan.arrivals().unwrap().all(|at| 5_000_000_000 <= at));
    }

    #[test]
    fn no_two_stages_of_a_load_have_the_same_name() {
        let named = |executor| -> Vec<String> {
            let trace = Some("0,10\n60,20\n");
            let plan = Plan::new("main", &load(executor), 1, trace).unwrap();
            plan.stages.into_iter().map(|stage| stage.name).collect()
        };
        let stage = |name: Option<&str>, target| scenario::Stage {
            name: name.map(str::to_owned),
            target,
            duration: Span::from_secs(10),
        };
        let ramping = Executor::RampingArrivalRate {
            start_rate: 0.5,
            stages: vec![
                stage(None, 0.5),
                stage(None, 60.0),
                stage(None, 60.0),
                stage(Some("60/s#2"), 60.0),
                stage(None, 60.0),
            ],
        };
        let expected = ["0.5/s", "ramp to 60/s", "60/s", "60/s#2", "60/s#3"];
        assert_eq!(named(ramping), expected);
        let bursts = Executor::Bursts {
            base: 5.0,
            burst: 50.0,
            every: Span::from_secs(10),
            length: Span::from_secs(2),
            duration: Span::from_secs(20),
        };
        assert_eq!(named(bursts), ["5/s", "50/s", "5/s#2", "50/s#2"]);
        let replay = Executor::Replay {
            file: "day.csv".to_owned(),
            speed: 1.0,
            scale: 1.0,
        };
        assert_eq!(named(replay), [REPLAYED]);
    }

    #[test]
    fn two_loads_of_a_scenario_send_at_different_moments_and_one_always_at_the_same() {
        let moments = |name: &str, seed| {
            let plan = Plan::new(name, &load(ramp()), seed, None).unwrap();
            plan.arrivals().unwrap().collect::<Vec<_>>()
        };
        assert_eq!(moments("main", 1), moments("main", 1));
        assert_ne!(moments("main", 1), moments("other", 1));
        assert_ne!(moments("main", 1), moments("main", 2));
    }

    #[test]
    fn the_seed_of_a_load_is_the_hash_it_is_said_to_be() {
        // Written down once, by another implementation: a change would move every request of every scenario.
        assert_eq!(sub_seed(1, "main"), 0xb672_4b70_0b1f_2821);
    }

    #[test]
    fn a_closed_loop_knows_when_it_ends_and_not_what_it_sends() {
        let users = Executor::ConstantVus {
            vus: 3,
            duration: Span::from_secs(20),
        };
        let plan = Plan::new("main", &load(users), 1, None).unwrap();
        assert_eq!(plan.planned(), None);
        assert_eq!(plan.end(), Duration::from_secs(25));
        assert_eq!((plan.stages[0].start_s, plan.stages[0].end_s), (5.0, 25.0));
    }

    #[test]
    fn a_faster_plan_has_the_same_rates_for_a_shorter_time() {
        let plan = Plan::new("main", &load(ramp()), 1, None).unwrap();
        let faster = plan.faster(10.0).unwrap();
        assert_eq!(faster.planned(), Some(1_250));
        assert_eq!(faster.rate_at(Duration::from_millis(1_500)), Some(600.0));
        assert_eq!(faster.end(), Duration::from_millis(3_500));
        assert_eq!(
            (faster.stages[1].start_s, faster.stages[1].end_s),
            (1.5, 3.5)
        );
        let users = Executor::ConstantVus {
            vus: 3,
            duration: Span::from_secs(20),
        };
        let plan = Plan::new("main", &load(users), 1, None).unwrap();
        let (start, end) = (Duration::from_secs(1), Duration::from_secs(5));
        let schedule = Schedule::Closed {
            users: 3,
            start,
            end,
        };
        assert_eq!(plan.faster(5.0).unwrap().schedule, schedule);
        assert!(plan.faster(0.0).is_err() && plan.faster(f64::NAN).is_err());
    }

    #[test]
    fn an_error_says_its_cause_once() {
        let replay = Executor::Replay {
            file: "day.csv".to_owned(),
            speed: 1.0,
            scale: 1.0,
        };
        for trace in [None, Some("0,10\nx\n"), Some("0,1e9\n1,1\n")] {
            let read = |_: &str| {
                let gone = || std::io::Error::other("it is gone");
                trace.map(str::to_owned).ok_or_else(gone)
            };
            let scenario = Scenario {
                scenarios: [("main".to_owned(), load(replay.clone()))].into(),
                ..Scenario::default()
            };
            let error = Plan::all(&scenario, read).unwrap_err();
            let (said, whole) = (
                error.to_string(),
                format!("{:#}", anyhow::Error::from(error)),
            );
            assert_eq!(said, whole, "the chain tells nothing twice");
            assert!(said.contains("day.csv"), "{said}");
        }
    }

    #[test]
    fn a_trace_is_replayed_as_fast_as_the_load_says() {
        let replay = Executor::Replay {
            file: "day.csv".to_owned(),
            speed: 10.0,
            scale: 2.0,
        };
        let plan = Plan::new("main", &load(replay.clone()), 1, Some("0,10\n60,20\n")).unwrap();
        assert_eq!(plan.end(), Duration::from_secs(5 + 12));
        assert_eq!(plan.planned(), Some(6 * 20 + 6 * 40));
        let error = Plan::new("main", &load(replay), 1, Some("0,10\nx\n")).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("load `main`: day.csv: line 2: "),
            "{message}"
        );
    }
}
