//! The boards' queries against a real Prometheus: that each gives data or is known not to, that legends and tables name labels
//! that are there, and that the numbers are right where the set-up fixes them.

use std::collections::BTreeSet;

use super::board::Panel;
use super::boards;
use super::empty::{self, EMPTY};
use super::findings::{Phase, findings};
use crate::fixtures::prometheus_server::Series;

/// The queries of boards that give data where they should not, or none where they should.
fn surprises(phase: Phase) -> Vec<String> {
    let mut surprises = Vec::new();
    for board in boards() {
        for (place, expr) in board.expressions() {
            let is_empty = findings().answer(phase, &place).is_empty();
            match (is_empty, empty::is_expected(phase, &place, expr).unwrap()) {
                (true, false) => surprises.push(format!("{place} gives nothing: {expr}")),
                (false, true) => surprises.push(format!(
                    "{place} gives data, and should not, since {}: {expr}",
                    empty::why(&place)
                )),
                _ => {}
            }
        }
    }
    surprises
}

#[test]
fn every_query_gives_data_when_all_is_well() {
    let surprises = surprises(Phase::Well);
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn what_boards_show_without_targets_is_known() {
    let surprises = surprises(Phase::TargetsLost);
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn what_boards_show_without_the_adapter_is_known() {
    let surprises = surprises(Phase::AdapterLost);
    assert!(surprises.is_empty(), "{}", surprises.join("\n"));
}

#[test]
fn every_query_gives_data_at_some_time_and_every_listed_one_exists() {
    let places: BTreeSet<String> = boards()
        .iter()
        .flat_map(|board| {
            board
                .expressions()
                .map(|(place, _)| place)
                .collect::<Vec<_>>()
        })
        .collect();
    for listed in EMPTY {
        assert!(
            places.contains(listed.place),
            "there is no {}",
            listed.place
        );
    }
    for place in places {
        let gives = |phase: &Phase| !findings().answer(*phase, &place).is_empty();
        assert!(Phase::ALL.iter().any(gives), "{place} never gives anything");
    }
}

#[test]
fn every_recording_rule_records_something() {
    for (rule, series) in findings().all(Phase::Well) {
        if empty::is_expected(Phase::Well, rule, "") == Some(false) && !rule.contains(": ") {
            assert!(!series.is_empty(), "{rule} records nothing");
        }
    }
}

#[test]
fn every_variable_has_options() {
    for (variable, options) in &findings().options {
        // Nothing here has such a label, as in most clusters: Grafana then chooses nothing, which is what queries ask for.
        let is_empty = variable.ends_with(": cluster");
        assert_eq!(options.is_empty(), is_empty, "{variable}: {options:?}");
    }
}

/// Calls `check` with every panel, and with every series that each of its queries ever gave.
fn each_series(check: impl Fn(&Panel, &str, &str, &Series)) {
    for board in boards() {
        for panel in board.shown() {
            for target in &panel.targets {
                let place = board.place_of(panel, target);
                for series in Phase::ALL
                    .iter()
                    .flat_map(|phase| findings().answer(*phase, &place))
                {
                    check(panel, &target.legend_format, &place, series);
                }
            }
        }
    }
}

/// A name that nobody serves is no metric, and the label is empty.
const NO_METRIC: (&str, &str) = ("adapter: Requests by metric A", "resource");

#[test]
fn legends_name_labels_that_are_there() {
    let label = regex::Regex::new(r"\{\{(\w+)\}\}").unwrap();
    each_series(|_, legend, place, series| {
        for name in label.captures_iter(legend).map(|found| found[1].to_owned()) {
            let is_there = !series.label(&name).is_empty() || (place, &*name) == NO_METRIC;
            assert!(is_there, "{place}: no {name} on {:?}", series.labels);
        }
    });
}

#[test]
fn every_series_of_a_panel_has_a_name_of_its_own() {
    let label = regex::Regex::new(r"\{\{(\w+)\}\}").unwrap();
    for board in boards() {
        for panel in board.shown().filter(|panel| panel.kind != "table") {
            let mut names = BTreeSet::new();
            for target in &panel.targets {
                let place = board.place_of(panel, target);
                for series in findings().answer(Phase::Well, &place) {
                    let name = label
                        .replace_all(&target.legend_format, |found: &regex::Captures<'_>| {
                            series.label(&found[1]).to_owned()
                        });
                    assert!(
                        names.insert(name.to_string()),
                        "{place}: {name} is there twice"
                    );
                }
            }
        }
    }
}

#[test]
fn tables_have_a_column_for_every_label() {
    each_series(|panel, _, place, series| {
        if panel.kind == "table" {
            let columns: BTreeSet<&str> = panel.columns().into_iter().collect();
            let labels: BTreeSet<&str> = series.labels.keys().map(String::as_str).collect();
            assert_eq!(columns, labels, "{place}");
        }
    });
}

/// The one value of a query, or that of its series with this label.
fn value(phase: Phase, place: &str, label: Option<(&str, &str)>) -> f64 {
    let found = findings().answer(phase, place);
    let mut series = found
        .iter()
        .filter(|one| label.is_none_or(|(name, value)| one.label(name) == value));
    let only = series
        .next()
        .unwrap_or_else(|| panic!("{place} has no {label:?}: {found:?}"));
    assert!(
        series.next().is_none(),
        "{place} has more than one: {found:?}"
    );
    only.value()
}

#[test]
fn the_numbers_of_one_hpa_are_those_of_its_story() {
    let well = |place, label| value(Phase::Well, place, label);
    assert_eq!(well("hpa: Scaling active A", None), 1.0);
    assert_eq!(
        value(Phase::TargetsLost, "hpa: Scaling active A", None),
        0.0
    );
    assert_eq!(
        well(
            "hpa: Highest metric ÷ target A",
            Some(("metric_name", "request_latency_ms"))
        ),
        1.12
    );
    let asks = |metric| {
        well(
            "hpa: Replicas each metric asks for A",
            Some(("metric_name", metric)),
        )
    };
    assert_eq!(
        [
            asks("cpu"),
            asks("redis_backlog"),
            asks("request_latency_ms")
        ],
        [3.0, 3.0, 5.0]
    );
    // Of a metric whose target is an average, the HPA has read four times as much as its status says.
    let read = |metric| {
        let place = "hpa: The adapter's value beside the HPA's last read B";
        well(place, Some(("metric_name", metric)))
    };
    assert_eq!(
        [read("redis_backlog"), read("request_latency_ms")],
        [3.0, 280.0]
    );
    let backlog = ("metric", "redis_backlog");
    assert_eq!(
        well(
            "hpa: The adapter's value beside the HPA's last read A",
            Some(backlog)
        ),
        3.0
    );
    assert_eq!(well("hpa: Items waiting A", None), 3.0);
    assert_eq!(
        well("hpa: At the maximum and still over target A", None),
        0.0
    );
    assert_eq!(
        well("hpa: State of the value A", Some(("service", "users"))),
        1.0
    );
    assert_eq!(
        value(
            Phase::TargetsLost,
            "hpa: State of the value A",
            Some(("service", "users"))
        ),
        4.0
    );
    let median = well("hpa: Latency quantiles A", None);
    assert!(0.0 < median && median < 10.0, "{median}");
}

#[test]
fn the_numbers_of_the_fleet_are_those_of_its_story() {
    let well = |place| value(Phase::Well, place, None);
    assert_eq!(well("fleet: HPAs A"), 2.0);
    assert_eq!(well("fleet: At the maximum A"), 1.0);
    assert_eq!(well("fleet: At the maximum, over target A"), 1.0);
    assert_eq!(well("fleet: Not scaling A"), 0.0);
    assert_eq!(well("fleet: Metrics missing A"), 0.0);
    assert_eq!(value(Phase::TargetsLost, "fleet: Not scaling A", None), 2.0);
    assert_eq!(
        value(Phase::TargetsLost, "fleet: Metrics missing A", None),
        3.0
    );
    // `users` swings, `exports` does not.
    assert_eq!(value(Phase::AdapterLost, "fleet: Swinging A", None), 1.0);
}

#[test]
fn the_numbers_of_the_adapter_are_those_of_its_story() {
    let all = [
        ("adapter: Up A", 2.0),
        ("adapter: Ready A", 2.0),
        ("adapter: Failed reads of the API A", 0.0),
    ];
    for (place, expected) in all {
        assert_eq!(value(Phase::Well, place, None), expected, "{place}");
    }
    assert_eq!(
        value(Phase::Well, "adapter: Targets not known A", None),
        0.0
    );
    assert_eq!(value(Phase::AdapterLost, "adapter: Up A", None), 0.0);
    assert_eq!(
        value(Phase::AdapterLost, "adapter: API available A", None),
        0.0
    );
    assert_eq!(
        value(Phase::TargetsLost, "adapter: API available A", None),
        1.0
    );
}
