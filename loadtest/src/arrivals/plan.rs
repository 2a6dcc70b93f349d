//! What a load of a scenario sends and when: its curve with its beginning, its stages by name, and its seed. All loads of
//! a scenario are on one clock, so a load with a `startTime` sends nothing before. It reads no files: a trace comes as
//! text.

use std::time::Duration;

use super::trace::{Trace, TraceError};
use super::{Arrivals, Spacing};
use crate::profile::{Profile, ProfileError, Stage as ProfileStage};
use crate::recording::Stage;
use crate::scenario::{Executor, Load, Placing, Scenario};

/// The offset basis of FNV-1a with 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// Its prime.
const FNV_PRIME: u64 = 0x0000_0100_0000_01b3;

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

/// Why a load cannot be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Its curve is impossible.
    #[error("load `{load}`: {source}")]
    Profile {
        /// Which load.
        load: String,
        /// What is wrong.
        source: ProfileError,
    },
    /// Its trace cannot be replayed.
    #[error("load `{load}`: {file}: {source}")]
    Trace {
        /// Which load.
        load: String,
        /// The trace.
        file: String,
        /// What is wrong.
        source: TraceError,
    },
    /// Its trace could not be read.
    #[error("load `{load}`: reading {file}: {source}")]
    Read {
        /// Which load.
        load: String,
        /// The trace.
        file: String,
        /// Why.
        source: std::io::Error,
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
                Executor::Replay { file, .. } => Some(read(file).map_err(|source| PlanError::Read {
                    load: name.clone(),
                    file: file.clone(),
                    source,
                })?),
                _ => None,
            };
            Self::new(name, load, scenario.seed, trace.as_deref())
        };
        scenario.scenarios.iter().map(plan).collect()
    }

    /// The plan of one load of a scenario with this seed. `trace` is the text of its trace, when it replays one.
    pub fn new(name: &str, load: &Load, seed: u64, trace: Option<&str>) -> Result<Self, PlanError> {
        let impossible = |source| PlanError::Profile {
            load: name.to_owned(),
            source,
        };
        let start = *load.start_time;
        let profile = match curve(&load.executor, trace) {
            Ok(Some(profile)) => profile.after(start).map_err(impossible)?,
            Ok(None) => return Ok(Self::closed(name, load)),
            Err(CurveError::Profile(source)) => return Err(impossible(source)),
            Err(CurveError::Trace { file, source }) => {
                return Err(PlanError::Trace {
                    load: name.to_owned(),
                    file,
                    source,
                });
            }
        };
        let spacing = match load.arrivals {
            Placing::Uniform => Spacing::Uniform,
            Placing::Poisson => Spacing::Poisson(sub_seed(seed, name)),
        };
        let mut plan = Self {
            load: name.to_owned(),
            service: load.service.clone(),
            stages: Vec::new(),
            schedule: Schedule::Open { profile, spacing },
        };
        plan.stages = plan.stages_of(load);
        Ok(plan)
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

    fn closed(name: &str, load: &Load) -> Self {
        let Executor::ConstantVus { vus, duration } = load.executor else {
            unreachable!("every other executor has a curve");
        };
        let (start, end) = (*load.start_time, *load.start_time + *duration);
        Self {
            load: name.to_owned(),
            service: load.service.clone(),
            stages: vec![],
            schedule: Schedule::Closed {
                users: vus,
                start,
                end,
            },
        }
    }
}
