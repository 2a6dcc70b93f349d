//! The loads of a file: when requests start. Rates are per `timeUnit` in the file and per second from here on.

use super::fields::{Fields, check_name};
use crate::arrivals::plan::Plan;
use crate::profile::{Profile, STAGES_MAX, Shape};
use crate::scenario::{Executor, Load, Pacing, Placing, Span, Stage};

/// Requests in flight, and users of a closed loop: more than one machine has ports for, to one address.
pub(crate) const IN_FLIGHT_MAX: usize = 100_000;

/// In flight unless a load says otherwise: ten seconds of 1,000 requests per second that nobody answers.
pub(super) const IN_FLIGHT_DEFAULT: usize = 10_000;

/// The executors by their words, those of k6 first.
const EXECUTORS: [(&str, Kind); 6] = [
    ("constant-arrival-rate", Kind::ConstantRate),
    ("ramping-arrival-rate", Kind::Ramp),
    ("constant-vus", Kind::Users),
    ("sine", Kind::Sine),
    ("bursts", Kind::Bursts),
    ("replay", Kind::Replay),
];

#[derive(Clone, Copy)]
enum Kind {
    ConstantRate,
    Ramp,
    Users,
    Sine,
    Bursts,
    Replay,
}

/// Reads a load on `only`, unless it says on which service.
pub(super) fn read(name: &str, only: Option<&str>, fields: &mut Fields<'_, '_>) -> Option<Load> {
    let service = match (fields.name("service"), only) {
        (Some(service), _) => service,
        (None, Some(only)) => only.to_owned(),
        (None, None) => {
            fields.note(
                fields.line(),
                "service",
                "is missing; there are several services",
            );
            String::new()
        }
    };
    let executor = executor(fields);
    let placings = [("poisson", Placing::Poisson), ("uniform", Placing::Uniform)];
    let pacings = [
        ("millisecond", Pacing::Millisecond),
        ("precise", Pacing::Precise),
    ];
    let arrivals = fields.word("arrivals", &placings).unwrap_or_default();
    let max_in_flight = fields.within("maxInFlight", 1..=IN_FLIGHT_MAX, IN_FLIGHT_DEFAULT);
    let graceful_stop = fields.or("gracefulStop", Span::from_secs(30));
    let start_time = fields.or("startTime", Span::default());
    let pacing = fields.word("pacing", &pacings).unwrap_or_default();
    let load = Load {
        service,
        executor: executor?,
        arrivals,
        max_in_flight,
        graceful_stop,
        start_time,
        pacing,
    };
    // A trace is read when it is played; everything else can be tried now.
    if !matches!(load.executor, Executor::Replay { .. })
        && let Err(error) = Plan::new(name, &load, 0, None)
    {
        fields.note(fields.line(), "", error.to_string());
    }
    Some(load)
}

fn executor(fields: &mut Fields<'_, '_>) -> Option<Executor> {
    if let Some(profile) = fields.parsed("profile", |text| {
        text.parse::<Profile>().map_err(|error| error.to_string())
    }) {
        return shorthand(&profile)
            .map_err(|message| fields.wrong("profile", message))
            .ok();
    }
    if fields.has("profile") {
        return None;
    }
    if fields.has("replay") {
        return fields.inside("replay", replay).flatten();
    }
    let kind = if fields.has("executor") {
        fields.word("executor", &EXECUTORS)?
    } else {
        Kind::Ramp
    };
    let per_second = per_second(fields);
    match kind {
        Kind::ConstantRate => {
            let rate = fields.need::<f64>("rate").map(|rate| rate * per_second);
            let duration = fields.need("duration");
            let (start_rate, duration) = (rate?, duration?);
            Some(Executor::RampingArrivalRate {
                start_rate,
                stages: vec![Stage {
                    name: None,
                    target: start_rate,
                    duration,
                }],
            })
        }
        Kind::Ramp => ramp(fields, per_second),
        Kind::Users => {
            let vus = fields.within("vus", 1..=IN_FLIGHT_MAX, 1);
            let duration = fields.need("duration")?;
            Some(Executor::ConstantVus { vus, duration })
        }
        Kind::Sine => {
            let [mean, amplitude] = ["mean", "amplitude"]
                .map(|name| fields.need::<f64>(name).map(|rate| rate * per_second));
            let [period, duration] = ["period", "duration"].map(|name| fields.need(name));
            Some(Executor::Sine {
                mean: mean?,
                amplitude: amplitude?,
                period: period?,
                duration: duration?,
            })
        }
        Kind::Bursts => {
            let [base, burst] = ["base", "burst"]
                .map(|name| fields.need::<f64>(name).map(|rate| rate * per_second));
            let [every, length, duration] =
                ["every", "length", "duration"].map(|name| fields.need(name));
            Some(Executor::Bursts {
                base: base?,
                burst: burst?,
                every: every?,
                length: length?,
                duration: duration?,
            })
        }
        Kind::Replay => replay(fields),
    }
}

fn replay(fields: &mut Fields<'_, '_>) -> Option<Executor> {
    let speed = fields.within("speed", 0.001..=100_000.0, 1.0);
    let scale = fields.within("scale", 0.0..=1e6, 1.0);
    let file = fields.need("file")?;
    Some(Executor::Replay { file, speed, scale })
}

/// What a rate of the file is multiplied by; as in k6 it is per `timeUnit`.
fn per_second(fields: &mut Fields<'_, '_>) -> f64 {
    let unit = fields.or("timeUnit", Span::from_secs(1));
    if unit.is_zero() {
        fields.wrong("timeUnit", "must be above zero");
        return 1.0;
    }
    1.0 / unit.seconds()
}

fn ramp(fields: &mut Fields<'_, '_>, per_second: f64) -> Option<Executor> {
    let start_rate = fields.or("startRate", 0.0) * per_second;
    if !fields.has("stages") {
        fields.note(
            fields.line(),
            "",
            "has no load: write `profile: \"50@2m 600@6m\"`, `replay: { file: trace.csv }`, or `stages` with a target and \
             a duration each",
        );
        return None;
    }
    let stages = fields.each("stages", STAGES_MAX, |stage| {
        let name = stage.name("name");
        let target = stage.need::<f64>("target");
        let duration = stage.need("duration");
        Some(Stage {
            name,
            target: target? * per_second,
            duration: duration?,
        })
    });
    // Of a curve that lacks a stage, nothing true can be said.
    let is_whole = fields.count("stages") == Some(stages.len());
    is_whole.then_some(Executor::RampingArrivalRate { start_rate, stages })
}

/// The executor of a shorthand. Its stages have no names of their own.
pub(crate) fn shorthand(profile: &Profile) -> Result<Executor, String> {
    let segments: Vec<_> = profile.segments().collect();
    if let [only] = segments.as_slice()
        && let Shape::Wave {
            mean,
            amplitude,
            period_s,
        } = only.shape
    {
        let period = std::time::Duration::from_secs_f64(period_s).into();
        let duration = only.duration.into();
        return Ok(Executor::Sine {
            mean,
            amplitude,
            period,
            duration,
        });
    }
    let mut stages: Vec<Stage> = Vec::new();
    let mut start_rate = None;
    for segment in &segments {
        let Shape::Line { from, to } = segment.shape else {
            return Err(
                "a swing stands alone: write two loads, the later one with a startTime".to_owned(),
            );
        };
        match stages.last() {
            None => start_rate = Some(from),
            Some(last) if last.target == from => {}
            Some(_) => stages.push(Stage {
                name: None,
                target: from,
                duration: Span::default(),
            }),
        }
        stages.push(Stage {
            name: None,
            target: to,
            duration: segment.duration.into(),
        });
    }
    let start_rate = start_rate.unwrap_or_default();
    Ok(Executor::RampingArrivalRate { start_rate, stages })
}

/// The names of two stages must differ for a check to tell them apart.
pub(super) fn repeated_stage(load: &Load) -> Option<&str> {
    let Executor::RampingArrivalRate { stages, .. } = &load.executor else {
        return None;
    };
    let mut seen = std::collections::BTreeSet::new();
    let mut names = stages.iter().filter_map(|stage| stage.name.as_deref());
    names.find(|name| !seen.insert(*name) && check_name(name).is_ok())
}
