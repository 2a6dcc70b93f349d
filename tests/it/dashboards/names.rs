//! That every name on the boards and in the rules is one that somebody exports, and that everything the adapter exports is
//! looked at by somebody.

use std::collections::BTreeSet;

use super::findings::findings;
use super::pages::{CONTROL_PLANE, KUBE_STATE_METRICS};
use super::{boards, promql, rules};

/// Series of Prometheus itself.
const PROMETHEUS: [&str; 2] = ["ALERTS", "up"];

/// Series of apps: a board asks for the histogram that it is told.
const APPS: [&str; 2] = ["${app_histogram}_bucket", "${app_histogram}_count"];

/// What the adapter says and no board or rule asks for, and why.
const UNUSED: [(&str, &str); 0] = [];

/// Beginnings of the adapter's names. Kubernetes' own servers have some of them too, so that a selector needs the job.
const OWN: [&str; 6] = [
    "taffrail_",
    "apiserver_",
    "metrics_apiserver_",
    "process_",
    "kubernetes_healthcheck",
    "leader_election_",
];

/// Whether a series is one of the adapter's.
pub(super) fn is_own(metric: &str) -> bool {
    OWN.iter().any(|begin| metric.starts_with(begin))
}

/// The name that the parts of a histogram share, or the name itself.
fn family(series: &str) -> &str {
    let part = ["_bucket", "_sum", "_count"]
        .iter()
        .find_map(|part| series.strip_suffix(part));
    part.unwrap_or(series)
}

/// The families on the adapter's pages, a histogram by its own name and a counter with `_total`.
fn exported() -> BTreeSet<String> {
    let mut families = BTreeSet::new();
    for page in &findings().own_pages {
        for line in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
            let (name, kind) = line.split_once(' ').unwrap();
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            families.insert(format!("{name}{suffix}"));
        }
    }
    families
}

/// Every name that a board or a rule asks for, with where.
fn asked() -> Vec<(String, String)> {
    let mut asked = Vec::new();
    let mut ask = |place: &str, expr: &str| {
        for selector in promql::selectors(expr) {
            asked.push((place.to_owned(), selector.metric));
        }
    };
    for board in boards() {
        board
            .expressions()
            .for_each(|(place, expr)| ask(&place, expr));
        for variable in board
            .templating
            .list
            .iter()
            .filter(|variable| variable.is_query())
        {
            let (selector, _) = variable.label_values().unwrap();
            let place = format!("{}: ${}", board.name, variable.name);
            // A name alone is a selector too.
            ask(
                &place,
                &if selector.contains('{') {
                    selector.to_owned()
                } else {
                    format!("{selector}{{}}")
                },
            );
        }
    }
    for rule in rules() {
        ask(&rule.name, &rule.expr);
    }
    asked
}

#[test]
fn every_name_is_one_that_somebody_exports() {
    let exported = exported();
    let recorded: BTreeSet<String> = rules()
        .into_iter()
        .filter(|rule| rule.records)
        .map(|rule| rule.name)
        .collect();
    let known: [&[&str]; 4] = [&KUBE_STATE_METRICS, &CONTROL_PLANE, &PROMETHEUS, &APPS];
    for (place, series) in asked() {
        let is_known = known
            .iter()
            .any(|names| names.contains(&&*series) || names.contains(&family(&series)));
        let is_ours = exported.contains(family(&series)) || recorded.contains(&series);
        assert!(
            is_known || is_ours,
            "{place} asks for {series}, which nobody exports"
        );
    }
}

#[test]
fn everything_the_adapter_says_is_looked_at_or_listed() {
    let asked: BTreeSet<String> = asked()
        .iter()
        .map(|(_, series)| family(series).to_owned())
        .collect();
    let exported = exported();
    let unused: BTreeSet<&str> = exported
        .iter()
        .map(String::as_str)
        .filter(|family| !asked.contains(*family))
        .collect();
    let listed: BTreeSet<&str> = UNUSED.iter().map(|(family, _)| *family).collect();
    assert_eq!(unused, listed);
    // The table of names above would be of no use otherwise.
    assert!(exported.iter().all(|family| is_own(family)), "{exported:?}");
}
