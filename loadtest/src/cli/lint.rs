//! `taffrail-loadtest lint`: everything that can be wrong with a scenario before anything is sent.

use std::collections::BTreeMap;
use std::path::Path;

use k8s_openapi::api::autoscaling::v2::HorizontalPodAutoscaler;
use serde::Deserialize;

use super::Stop;
use anyhow::Context;

use super::exit::ExitStatus;
use super::flags::LintArgs;
use super::outputs;
use super::run::plans;
use crate::arrivals::plan::Plan;
use crate::judge::lint::{LintFinding, Severity, Timing, lint};
use crate::judge::threshold;
use crate::observe::autoscaler_of;
use crate::scenario::Scenario;

/// Checks each scenario, and says what is wrong with every one of them.
pub(super) fn run(args: &LintArgs) -> Result<ExitStatus, Stop> {
    let statuses = args
        .scenarios
        .iter()
        .map(|path| match one(path, args.strict) {
            Ok(status) => status,
            Err(stop) => {
                eprintln!("{:#}", stop.error);
                stop.status
            }
        });
    Ok(ExitStatus::heaviest(statuses.collect::<Vec<_>>()))
}

fn one(path: &Path, strict: bool) -> Result<ExitStatus, Stop> {
    let scenario = Scenario::load(path).map_err(Stop::invalid)?;
    threshold::check(&scenario)
        .with_context(|| path.display().to_string())
        .map_err(Stop::invalid)?;
    let plans = plans(&scenario, path.parent().unwrap_or(Path::new(".")))?;
    let doubts = doubts(&scenario);
    let mut text = String::new();
    for doubt in &doubts {
        text += &format!("{}: {}; {}\n", path.display(), doubt.sentence, doubt.fix);
    }
    let requests: u64 = plans.iter().filter_map(Plan::planned).sum();
    let end = plans.iter().map(Plan::end).max().unwrap_or_default();
    text += &format!(
        "{}: {requests} requests in {}, {} checks\n",
        path.display(),
        humantime::format_duration(end),
        scenario.assertions.len()
    );
    outputs::say(&text).map_err(Stop::invalid)?;
    let fails = strict && impossible(&doubts);
    Ok(if fails {
        ExitStatus::Invalid
    } else {
        ExitStatus::Passed
    })
}

/// What is doubtful about the checks of a scenario, by the HPAs that it brings itself. Those of a cluster are unknown
/// until they are read.
pub(super) fn doubts(scenario: &Scenario) -> Vec<LintFinding> {
    let autoscaler = |(name, service): (&String, &crate::scenario::Service)| {
        let hpa = HorizontalPodAutoscaler::deserialize(service.hpa.as_ref()?).ok()?;
        Some((name.clone(), autoscaler_of(&hpa)))
    };
    let autoscalers: BTreeMap<_, _> = scenario.services.iter().filter_map(autoscaler).collect();
    lint(scenario, &autoscalers, Timing::default())
}

/// Whether one of the checks can never hold.
pub(super) fn impossible(doubts: &[LintFinding]) -> bool {
    doubts
        .iter()
        .any(|doubt| doubt.severity == Severity::Impossible)
}
