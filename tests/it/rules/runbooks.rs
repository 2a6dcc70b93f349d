//! `dashboards/runbooks.md`: every alert leads to a heading there, no heading to nowhere, and what it tells somebody to type
//! at three in the morning exists.

use std::collections::BTreeSet;
use std::process::Command;

use super::{HOLD, alerts, read};
use crate::dashboards::findings::{Phase, findings};
use crate::fixtures::tools::said;

/// What every runbook says.
const PARTS: [&str; 4] = ["Meaning", "Impact", "Diagnosis", "Mitigation"];

/// Places of queries begin so; the alert follows.
const PLACE: &str = "runbook: ";

/// The runbook of an alert that need not hold in the live set-up, whose queries are of what the fault there brings.
const OF_A_FAULT: &str = "TaffrailErrorBudgetBurn";

/// The queries of the runbooks, each with its place.
pub(crate) fn queries() -> Vec<(String, String)> {
    let mut queries = Vec::new();
    for (heading, body) in runbooks() {
        let lines = blocks(&body, "promql").into_iter().flat_map(str::lines);
        let placed = lines.enumerate();
        queries
            .extend(placed.map(|(n, query)| (format!("{PLACE}{heading} {n}"), query.to_owned())));
    }
    queries
}

/// The alert in whose runbook the query of a place is.
pub(crate) fn alert(place: &str) -> Option<&str> {
    Some(place.strip_prefix(PLACE)?.split_once(' ')?.0)
}

/// When the queries of a runbook must give data: when its alert holds, or else when all is well.
pub(crate) fn phase(alert: &str) -> Phase {
    let mut held = HOLD.iter().filter(|(_, alerts)| alerts.contains(&alert));
    match held.next() {
        Some((phase, _)) => *phase,
        None if alert == OF_A_FAULT => Phase::TargetsLost,
        None => Phase::Well,
    }
}

/// The runbooks, each by its heading.
fn runbooks() -> Vec<(String, String)> {
    let text = read("runbooks.md");
    let sections = text.split("\n## ").skip(1);
    sections
        .map(|section| {
            let (heading, body) = section.split_once('\n').unwrap();
            (heading.to_owned(), body.to_owned())
        })
        .collect()
}

/// The blocks of code in a language.
fn blocks<'t>(text: &'t str, language: &str) -> Vec<&'t str> {
    let begin = format!("```{language}\n");
    let blocks = text.split(begin.as_str()).skip(1);
    blocks
        .map(|block| block.split("```").next().unwrap())
        .collect()
}

#[test]
fn every_alert_leads_to_its_runbook_and_every_runbook_has_an_alert() {
    let mut alerted = BTreeSet::new();
    for alert in alerts() {
        let url = alert.text("/annotations/runbook_url").to_owned();
        // A heading's anchor is its text in lower case, where it is one word.
        let anchor = format!("dashboards/runbooks.md#{}", alert.name.to_lowercase());
        assert_eq!(url, anchor);
        alerted.insert(alert.name);
    }
    let headings: BTreeSet<String> = runbooks().into_iter().map(|(heading, _)| heading).collect();
    assert_eq!(headings, alerted);
}

#[test]
fn every_runbook_says_what_it_means_what_it_costs_how_to_look_and_what_to_do() {
    for (heading, body) in runbooks() {
        for part in PARTS {
            let begin = format!("**{part}.**");
            let said = body.split(&begin).nth(1).map(str::trim);
            assert!(
                said.is_some_and(|said| !said.is_empty()),
                "{heading}: {part}"
            );
        }
        assert!(
            body.contains("```sh") || body.contains("```promql"),
            "{heading}"
        );
    }
}

#[test]
fn links_between_runbooks_lead_somewhere() {
    let link = regex::Regex::new(r"\]\(#(\w+)\)").unwrap();
    let text = read("runbooks.md");
    let headings = runbooks();
    for found in link.captures_iter(&text) {
        let mut anchors = headings.iter().map(|(heading, _)| heading.to_lowercase());
        assert!(anchors.any(|anchor| anchor == found[1]), "{}", &found[0]);
    }
}

#[test]
fn every_query_of_a_runbook_gives_data_when_its_alert_calls() {
    let queries = queries();
    assert!(20 < queries.len());
    for (place, query) in queries {
        let phase = phase(alert(&place).unwrap());
        let answer = findings().answer(phase, &place);
        assert!(
            !answer.is_empty(),
            "{place} gives nothing in {phase:?}: {query}"
        );
    }
}

#[test]
fn every_command_of_ours_in_a_runbook_is_one() {
    let text = read("runbooks.md");
    let lines = blocks(&text, "sh").into_iter().flat_map(str::lines);
    let ours: BTreeSet<&str> = lines.filter(|line| line.starts_with("taffrail ")).collect();
    assert!(4 < ours.len(), "{ours:?}");
    for line in ours {
        let line = line.split(" #").next().unwrap();
        let mut words = line.split_whitespace().skip(1);
        let subcommand = words.next().unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_taffrail"))
            .args([subcommand, "--help"])
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {}", said(&output));
        let help = String::from_utf8(output.stdout).unwrap();
        for flag in words.filter(|word| word.starts_with('-')) {
            let is_one = |word: &str| word.trim_end_matches(',') == flag;
            assert!(help.split_whitespace().any(is_one), "{line}: no {flag}");
        }
    }
}
