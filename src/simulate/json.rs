//! What programs read: a run as the load generator writes it, with the figures of its services beside; several runs as
//! a list of these under the names of their HPAs. Each of them alone is a report that `taffrail-loadtest report` draws.

use std::collections::BTreeMap;

use serde::Serialize;
use taffrail_loadtest::judge::verdict::Verdict;
use taffrail_loadtest::recording::Recording;

use super::playing::Played;
use crate::sim::Outcome;

/// The version of the form of several runs. It grows when a reader of the former version would misread what it finds.
const SCHEMA_VERSION: u32 = 1;

#[derive(Serialize)]
struct Run<'a> {
    #[serde(flatten)]
    recording: &'a Recording,
    verdict: &'a Verdict,
    /// By service.
    figures: &'a BTreeMap<String, Outcome>,
}

#[derive(Serialize)]
struct Comparison<'a> {
    comparison_version: u32,
    scenario: &'a str,
    /// The figures first, so that who reads on need not take in the runs.
    hpas: Vec<Compared<'a>>,
    runs: Vec<Run<'a>>,
}

#[derive(Serialize)]
struct Compared<'a> {
    hpa: &'a str,
    verdict: &'a str,
    sentence: &'a str,
    figures: &'a BTreeMap<String, Outcome>,
}

/// The runs as JSON, with a line break at its end.
///
/// # Errors
/// None that is known: all that it holds has a form in JSON.
pub(super) fn json(all: &[Played]) -> serde_json::Result<String> {
    let mut json = match all {
        [only] => serde_json::to_string(&run(only))?,
        several => serde_json::to_string(&Comparison {
            comparison_version: SCHEMA_VERSION,
            scenario: several
                .first()
                .map_or("", |played| &played.recording.scenario.name),
            hpas: several.iter().map(compared).collect(),
            runs: several.iter().map(run).collect(),
        })?,
    };
    json.push('\n');
    Ok(json)
}

fn run(played: &Played) -> Run<'_> {
    Run {
        recording: &played.recording,
        verdict: &played.verdict,
        figures: &played.outcomes,
    }
}

fn compared(played: &Played) -> Compared<'_> {
    Compared {
        hpa: &played.name,
        verdict: taffrail_loadtest::report::text::outcome(played.verdict.outcome),
        sentence: &played.verdict.sentence,
        figures: &played.outcomes,
    }
}
