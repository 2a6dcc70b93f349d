//! A run against an earlier one of the same scenario: whether users were served worse, whether it cost more, whether it
//! took longer to react. Runs differ by chance, so a number counts as worse only when it is past a margin, which is a
//! share of the earlier number and something on top for numbers near zero.

use super::context::Context;
use super::draft::{amount, number};
use super::window::Objective;
use super::{Finding, Group, Outcome};
use crate::recording::{Recording, Tier};
use crate::steps::Change;

/// Why two runs cannot be compared.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaselineError {
    /// Another scenario.
    #[error(
        "the baseline is a run of scenario `{earlier}`, and this is one of `{now}`; give one of the same scenario"
    )]
    Scenario {
        /// The baseline's.
        earlier: String,
        /// This run's.
        now: String,
    },
    /// Other requests.
    #[error(
        "the baseline was run with seed {earlier}, and this with {now}; give one of the same seed"
    )]
    Seed {
        /// The baseline's.
        earlier: u64,
        /// This run's.
        now: u64,
    },
    /// Another load.
    #[error("the loads of `{0}` are not those of the baseline; record a new baseline")]
    Loads(String),
    /// Simulated against real, or the like.
    #[error(
        "the baseline was played in tier {earlier:?}, and this run in {now:?}; give one of the same tier"
    )]
    Tier {
        /// The baseline's.
        earlier: Tier,
        /// This run's.
        now: Tier,
    },
    /// Only a part of a run.
    #[error("the baseline was interrupted; give a run that came to its end")]
    Interrupted,
    /// Only a part of this one.
    #[error("this run was told to stop before its end, so it cannot be compared with a whole one")]
    CutShort,
}

/// A number that is compared.
struct Measure {
    name: &'static str,
    unit: &'static str,
    /// What of the earlier number is chance, as a share of it.
    relative: f64,
    /// What is chance on top, in `unit`.
    absolute: f64,
    value: fn(&Context<'_>) -> Option<f64>,
}

/// How long a sync period of the HPA is, in seconds: two equal runs may differ by one in whatever it decides.
const SYNC_S: f64 = 15.0;

/// What is compared, and how much of it is chance. A rarer quantile rests on fewer requests and differs more: with 1,000
/// requests the 0.99-quantile lies among the ten longest.
const MEASURES: [Measure; 8] = [
    Measure {
        name: "p50",
        unit: "ms",
        relative: 0.1,
        absolute: 2.0,
        value: |context| quantile_ms(context, 0.5),
    },
    Measure {
        name: "p95",
        unit: "ms",
        relative: 0.15,
        absolute: 5.0,
        value: |context| quantile_ms(context, 0.95),
    },
    Measure {
        name: "p99",
        unit: "ms",
        relative: 0.25,
        absolute: 10.0,
        value: |context| quantile_ms(context, 0.99),
    },
    // One request in a thousand may meet a pod that is just going away.
    Measure {
        name: "error_rate",
        unit: "",
        relative: 0.2,
        absolute: 0.001,
        value: error_rate,
    },
    Measure {
        name: "slo_violation_seconds",
        unit: "s",
        relative: 0.1,
        absolute: SYNC_S,
        value: violation_s,
    },
    // A pod more or fewer for some sync periods.
    Measure {
        name: "pod_seconds",
        unit: "pod s",
        relative: 0.05,
        absolute: 4.0 * SYNC_S,
        value: pod_seconds,
    },
    Measure {
        name: "first_scale_out",
        unit: "s",
        relative: 0.1,
        absolute: SYNC_S,
        value: first_scale_out_s,
    },
    // Pulling an image is not what is judged, and it varies.
    Measure {
        name: "time_to_ready",
        unit: "s",
        relative: 0.25,
        absolute: 5.0,
        value: time_to_ready_s,
    },
];

/// Whether a run can be compared with an earlier one.
///
/// # Errors
/// When they are not of the same scenario, seed, loads and tier, or one of them did not come to its end.
pub fn check(now: &Recording, earlier: &Recording) -> Result<(), BaselineError> {
    if now.scenario.name != earlier.scenario.name {
        return Err(BaselineError::Scenario {
            earlier: earlier.scenario.name.clone(),
            now: now.scenario.name.clone(),
        });
    }
    if now.scenario.seed != earlier.scenario.seed {
        return Err(BaselineError::Seed {
            earlier: earlier.scenario.seed,
            now: now.scenario.seed,
        });
    }
    if now.scenario.scenarios != earlier.scenario.scenarios {
        return Err(BaselineError::Loads(now.scenario.name.clone()));
    }
    if now.about.tier != earlier.about.tier {
        return Err(BaselineError::Tier {
            earlier: earlier.about.tier,
            now: now.about.tier,
        });
    }
    match (earlier.about.interrupted, now.about.interrupted) {
        (true, _) => Err(BaselineError::Interrupted),
        (_, true) => Err(BaselineError::CutShort),
        (false, false) => Ok(()),
    }
}

/// A finding for each number that both runs have, and one that says why where they cannot be compared.
#[must_use]
pub fn judge(now: &Recording, earlier: &Recording) -> Vec<Finding> {
    if let Err(error) = check(now, earlier) {
        return vec![Finding {
            outcome: Outcome::Inconclusive,
            sentence: error.to_string(),
            ..blank("baseline", "")
        }];
    }
    let names = now.services.keys();
    let pairs =
        names.filter_map(|name| Some((Context::new(now, name)?, Context::new(earlier, name)?)));
    pairs
        .flat_map(|(now, earlier)| {
            let findings = MEASURES
                .iter()
                .filter_map(|measure| compare(measure, &now, &earlier));
            findings.collect::<Vec<_>>()
        })
        .collect()
}

fn compare(measure: &Measure, now: &Context<'_>, earlier: &Context<'_>) -> Option<Finding> {
    let before = (measure.value)(earlier)?;
    let value = (measure.value)(now);
    let limit = before * (1.0 + measure.relative) + measure.absolute;
    let worse = value.is_none_or(|value| limit < value);
    let shown = value.map_or("not to be had".to_owned(), |value| {
        amount(value, measure.unit)
    });
    Some(Finding {
        outcome: if worse { Outcome::Fail } else { Outcome::Pass },
        value,
        limit: format!("<= {}", amount(limit, measure.unit)),
        unit: measure.unit.to_owned(),
        sentence: format!(
            "{} of {} was {shown}, and {} in the earlier run; up to {} may be chance",
            measure.name,
            now.name,
            number(before),
            amount(limit, measure.unit),
        ),
        ..blank(measure.name, now.name)
    })
}

fn blank(name: &str, service: &str) -> Finding {
    Finding::blank(format!("baseline[{name}]"), service, Group::Baseline)
}

fn quantile_ms(context: &Context<'_>, q: f64) -> Option<f64> {
    let load = &context.service.load;
    let latency = load.latencies_of(0..load.slots.len()).quantile(q)?;
    Some(latency.as_secs_f64() * 1e3)
}

fn error_rate(context: &Context<'_>) -> Option<f64> {
    let slots = context.service.load.slots.iter();
    let (ended, errors) = slots.fold((0, 0), |(ended, errors), slot| {
        let failed = slot.counts.errors();
        (ended + slot.counts.ok + failed, errors + failed)
    });
    (0 < ended).then(|| errors as f64 / ended as f64)
}

fn violation_s(context: &Context<'_>) -> Option<f64> {
    let windows = context.windows(Objective::of_scenario(context).ok()?);
    let seconds = windows.seconds(&(0.0..context.end_s()));
    let known: Vec<bool> = seconds
        .filter_map(|second| windows.misses(second))
        .collect();
    (!known.is_empty()).then(|| known.iter().filter(|misses| **misses).count() as f64)
}

fn pod_seconds(context: &Context<'_>) -> Option<f64> {
    let whole = 0.0..context.end_s();
    let (pod_s, known_s) = context.service.replicas.ready.integral(whole.clone());
    // The mean of what was seen stands for what was not.
    (0.0 < known_s).then(|| pod_s / known_s * (whole.end - whole.start))
}

fn first_scale_out(context: &Context<'_>) -> Option<Change> {
    let whole = 0.0..context.end_s();
    context
        .service
        .replicas
        .desired
        .changes(whole)
        .find(Change::is_up)
}

fn first_scale_out_s(context: &Context<'_>) -> Option<f64> {
    first_scale_out(context).map(|change| change.t_s)
}

fn time_to_ready_s(context: &Context<'_>) -> Option<f64> {
    let change = first_scale_out(context)?;
    let ready = &context.service.replicas.ready;
    let there = ready.steps().iter().find(|step| {
        change.t_s <= step.t_s && step.value.is_some_and(|ready| change.to <= ready)
    })?;
    Some(there.t_s - change.t_s)
}

#[cfg(test)]
mod tests {
    use super::super::fixture::Fixture;
    use super::*;

    /// The names of what is worse, and how many numbers were compared.
    fn worse(now: Fixture, earlier: Fixture) -> (Vec<String>, usize) {
        let findings = judge(&now.recording(), &earlier.recording());
        let failed = findings
            .iter()
            .filter(|finding| finding.outcome == Outcome::Fail);
        (
            failed.map(|finding| finding.name.clone()).collect(),
            findings.len(),
        )
    }

    fn scaled(at_s: f64, ready_s: f64) -> Fixture {
        Fixture::new(300)
            .desired(&[(-60.0, 2), (at_s, 4)])
            .ready(&[(-60.0, 2), (ready_s, 4)])
    }

    #[test]
    fn a_run_is_no_worse_than_itself() {
        assert_eq!(worse(scaled(30.0, 40.0), scaled(30.0, 40.0)), (vec![], 8));
    }

    #[test]
    fn chance_is_no_regression() {
        let now = scaled(44.0, 54.0).load(0, 300, 100, 110);
        assert_eq!(worse(now, scaled(30.0, 40.0)).0, Vec::<String>::new());
    }

    #[test]
    fn each_number_past_its_margin_is_a_regression() {
        let names = |names: &[&str]| {
            names
                .iter()
                .map(|name| format!("baseline[{name}]"))
                .collect::<Vec<_>>()
        };
        let slow = scaled(30.0, 40.0).load(0, 300, 100, 130);
        assert_eq!(worse(slow, scaled(30.0, 40.0)).0, names(&["p50", "p95"]));
        let failing = scaled(30.0, 40.0).failing(0, 300, 99, 100, 1);
        assert_eq!(worse(failing, scaled(30.0, 40.0)).0, names(&["error_rate"]));
        let late = scaled(60.0, 90.0);
        assert_eq!(
            worse(late, scaled(30.0, 40.0)).0,
            names(&["first_scale_out", "time_to_ready"])
        );
        let violating = scaled(30.0, 40.0).load(0, 40, 100, 400);
        assert_eq!(
            worse(violating, scaled(30.0, 40.0)).0,
            names(&["p95", "p99", "slo_violation_seconds"])
        );
        let costly = scaled(30.0, 40.0).ready(&[(-60.0, 2), (40.0, 6)]);
        assert_eq!(worse(costly, scaled(30.0, 40.0)).0, names(&["pod_seconds"]));
        let never = scaled(400.0, 400.0);
        assert_eq!(
            worse(never, scaled(30.0, 40.0)).0,
            names(&["first_scale_out", "time_to_ready"])
        );
    }

    #[test]
    fn another_scenario_is_no_baseline() {
        let error = |change: fn(&mut Recording)| {
            let earlier = Fixture::new(60).with(change).recording();
            let now = Fixture::new(60).recording();
            let findings = judge(&now, &earlier);
            assert_eq!(
                (findings.len(), findings[0].outcome),
                (1, Outcome::Inconclusive)
            );
            check(&now, &earlier).unwrap_err()
        };
        let scenario = error(|run| run.scenario.name = "other".into());
        assert!(
            scenario.to_string().contains("scenario `other`"),
            "{scenario}"
        );
        assert_eq!(
            error(|run| run.scenario.seed = 7),
            BaselineError::Seed { earlier: 7, now: 0 }
        );
        assert_eq!(
            error(|run| run.about.interrupted = true),
            BaselineError::Interrupted
        );
        let whole = Fixture::new(60).recording();
        let mut cut_short = whole.clone();
        cut_short.about.interrupted = true;
        assert_eq!(check(&cut_short, &whole), Err(BaselineError::CutShort));
        let tier = error(|run| run.about.tier = Tier::Virtual);
        assert!(matches!(tier, BaselineError::Tier { .. }), "{tier}");
    }
}
