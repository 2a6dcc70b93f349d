//! The rules of Grafana's dashboard-linter, and some of our own, over the boards' JSON.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use regex::Regex;

use super::board::{Board, Datasource, Panel};
use super::{boards, names, promql};

/// The units that a panel may have, by Grafana's names. `none` and `short` are for plain numbers.
const UNITS: [&str; 8] = [
    "none",
    "short",
    "s",
    "m",
    "bytes",
    "cps",
    "reqps",
    "percentunit",
];

/// The first schema with what is used here.
const SCHEMA_VERSION: u32 = 39;

/// The width of a board.
const COLUMNS: u32 = 24;

/// A description below this many characters says what the title says.
const DESCRIPTION_MIN: usize = 40;

/// Functions that take a window of their own: what is asked is about that window, whatever the resolution.
const WINDOWED: [&str; 2] = ["changes", "resets"];

/// Calls `check` with every panel that shows something, and where it is.
pub(super) fn each_panel(check: impl Fn(&Panel, String)) {
    for board in boards() {
        for panel in board.shown() {
            check(panel, format!("{}: {}", board.name, panel.title));
        }
    }
}

/// Calls `check` with every expression but those of variables, and where it is.
fn each_expression(check: impl Fn(&str, String)) {
    for board in boards() {
        board
            .expressions()
            .for_each(|(place, expr)| check(expr, place));
    }
}

#[test]
fn everything_asks_the_chosen_data_source() {
    let chosen = Datasource {
        kind: "prometheus".to_owned(),
        uid: "${datasource}".to_owned(),
    };
    for board in boards() {
        let variables = &board.templating.list;
        let datasource = &variables[0];
        assert_eq!(
            [&datasource.name, &datasource.kind, &datasource.label],
            ["datasource", "datasource", "Data source"]
        );
        assert_eq!(datasource.query, "prometheus");
        for variable in variables.iter().filter(|variable| variable.is_query()) {
            assert_eq!(
                variable.datasource.as_ref(),
                Some(&chosen),
                "{}",
                variable.name
            );
        }
        for note in &board.annotations.list {
            assert_eq!(note.datasource, chosen, "{}", note.name);
        }
        for panel in board.shown() {
            assert_eq!(panel.datasource.as_ref(), Some(&chosen), "{}", panel.title);
            for target in &panel.targets {
                assert_eq!(target.datasource, chosen, "{}", panel.title);
            }
        }
    }
}

#[test]
fn every_board_has_job_and_instance_to_choose_several_of() {
    for board in boards() {
        for (name, label) in [("job", "Job"), ("instance", "Instance")] {
            let mut variables = board.templating.list.iter();
            let variable = variables.find(|variable| variable.name == name);
            let variable = variable.unwrap_or_else(|| panic!("{}: no {name}", board.name));
            assert!(variable.is_query() && variable.multi && variable.include_all);
            assert_eq!(variable.label, label);
            // Grafana's linter wants `.+` for both. For the job that would be every job there is, and Kubernetes' own
            // servers have series of the same names: all jobs are those that the variable lists.
            let all = (name == "instance").then_some(".+");
            assert_eq!(variable.all_value.as_deref(), all);
        }
    }
}

#[test]
fn variables_list_labels_and_do_so_again_when_the_time_range_changes() {
    for board in boards() {
        for variable in board.templating.list.iter().filter(|v| v.is_query()) {
            let place = format!("{}: ${}", board.name, variable.name);
            let (selector, label) = variable.label_values().expect(&place);
            assert!(
                label.chars().all(|c| c.is_ascii_lowercase() || c == '_'),
                "{place}"
            );
            // What narrows a choice comes before it.
            let before: Vec<&str> = board
                .templating
                .list
                .iter()
                .map(|other| other.name.as_str())
                .take_while(|name| *name != variable.name)
                .collect();
            for used in used_variables(selector) {
                assert!(before.contains(&used.as_str()), "{place} uses ${used}");
            }
            assert_eq!(variable.refresh, Some(2), "{place}");
        }
    }
}

static USED: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\$\{?([a-z_]\w*)").unwrap());

/// The names after `$` and in `${}`, but for Grafana's own, and for groups of a regular expression.
fn used_variables(text: &str) -> BTreeSet<String> {
    let names = USED.captures_iter(text).map(|found| found[1].to_owned());
    names.filter(|name| !name.starts_with("__")).collect()
}

#[test]
fn every_variable_is_used_and_every_used_one_exists() {
    for board in boards() {
        let queries = board
            .templating
            .list
            .iter()
            .map(|variable| variable.query.as_str());
        let mut used: BTreeSet<String> = board
            .expressions()
            .map(|(_, expr)| expr)
            .chain(board.panels.iter().map(|panel| panel.title.as_str()))
            .chain(queries)
            .flat_map(used_variables)
            .collect();
        used.insert("datasource".to_owned());
        let names = board
            .templating
            .list
            .iter()
            .map(|variable| variable.name.clone());
        let defined: BTreeSet<String> = names.collect();
        assert_eq!(used, defined, "{}", board.name);
    }
}

#[test]
fn every_panel_says_what_it_means_and_what_to_do() {
    each_panel(|panel, place| {
        assert!(!panel.title.trim().is_empty(), "{place}");
        assert!(DESCRIPTION_MIN <= panel.description.len(), "{place}");
        assert!(panel.description.ends_with('.'), "{place}");
        assert!(
            !panel.description.contains('\n'),
            "{place}: lines are the browser's matter"
        );
    });
    for board in boards() {
        let mut titles = BTreeSet::new();
        for panel in board.shown() {
            let is_first = titles.insert(&panel.title);
            assert!(is_first, "{}: {} is there twice", board.name, panel.title);
        }
        assert!(board.description.ends_with('.') && board.title.starts_with("Taffrail / "));
    }
}

#[test]
fn every_panel_has_a_unit_and_queries() {
    each_panel(|panel, place| {
        let unit = panel.field_config["defaults"]["unit"].as_str();
        assert!(
            unit.is_some_and(|unit| UNITS.contains(&unit)),
            "{place}: {unit:?}"
        );
        let refs: BTreeSet<&str> = panel.targets.iter().map(|t| t.ref_id.as_str()).collect();
        assert!(
            !refs.is_empty() && refs.len() == panel.targets.len(),
            "{place}"
        );
    });
}

#[test]
fn rates_are_over_the_rate_interval_and_other_ranges_are_meant() {
    each_expression(|expr, place| {
        for selector in promql::selectors(expr) {
            let Some(range) = selector.range else {
                continue;
            };
            let function = selector.function.expect(&place);
            let is_windowed = WINDOWED.contains(&function.as_str());
            assert!(
                range == "$__rate_interval" || is_windowed,
                "{place}: {function} over {range}"
            );
        }
    });
}

#[test]
fn counters_become_rates_and_rates_are_added_up() {
    let endings = ["_total", "_bucket", "_count", "_sum"];
    each_expression(|expr, place| {
        for selector in promql::selectors(expr) {
            let is_counter = endings.iter().any(|end| selector.metric.ends_with(end));
            let is_rate = matches!(selector.function.as_deref(), Some("rate" | "increase"));
            assert_eq!(is_counter, is_rate, "{place}: {}", selector.metric);
        }
        let (rates, added_up) = promql::rates(expr);
        assert_eq!(rates, added_up, "{place}: {expr}");
    });
}

#[test]
fn every_selector_keeps_to_its_cluster_and_ours_to_their_job() {
    each_expression(|expr, place| {
        for selector in promql::selectors(expr) {
            let matchers = &selector.matchers;
            assert!(
                matchers.contains(r#"cluster="$cluster""#),
                "{place}: {}",
                selector.metric
            );
            if names::is_own(&selector.metric) {
                assert!(
                    matchers.contains(r#"job=~"$job""#),
                    "{place}: {}",
                    selector.metric
                );
            }
        }
    });
    // A name without braces would be no selector to the tests above, and to Prometheus it would.
    let ours = Regex::new(r"\b((?:taffrail|kube|apiserver|process)_[\w:]+)(\{?)").unwrap();
    each_expression(|expr, place| {
        for found in ours.captures_iter(expr) {
            assert_eq!(&found[2], "{", "{place}: {}", &found[1]);
        }
    });
}

#[test]
fn boards_are_provisioned_and_not_edited() {
    for board in boards() {
        assert!(!board.editable && board.timezone == "utc", "{}", board.name);
        assert!(SCHEMA_VERSION <= board.schema_version, "{}", board.name);
        assert_eq!(board.uid, format!("taffrail-{}", board.name));
        assert!(board.tags.iter().any(|tag| tag == "taffrail"));
    }
}

#[test]
fn panels_have_ids_of_their_own_and_do_not_lie_on_each_other() {
    for Board { name, panels, .. } in boards() {
        let ids: BTreeSet<u32> = panels.iter().map(|panel| panel.id).collect();
        assert_eq!(ids.len(), panels.len(), "{name}");
        let mut taken = BTreeSet::new();
        for Panel {
            title, grid_pos, ..
        } in &panels
        {
            assert!(
                grid_pos.x + grid_pos.w <= COLUMNS,
                "{name}: {title} is too wide"
            );
            for x in grid_pos.x..grid_pos.x + grid_pos.w {
                for y in grid_pos.y..grid_pos.y + grid_pos.h {
                    assert!(
                        taken.insert((x, y)),
                        "{name}: {title} lies on another panel"
                    );
                }
            }
        }
        // A gap is a panel that was taken out, or one of another height than its neighbour.
        let height = panels
            .iter()
            .map(|panel| panel.grid_pos.y + panel.grid_pos.h)
            .max();
        let full = (height.unwrap() * COLUMNS) as usize;
        assert_eq!(taken.len(), full, "{name} has gaps");
    }
}

#[test]
fn each_board_leads_to_all_others_with_what_was_chosen() {
    let boards = boards();
    for board in &boards {
        let others = boards.iter().filter(|other| other.uid != board.uid);
        let wanted: BTreeSet<String> = others.map(|other| format!("/d/{}", other.uid)).collect();
        let links: BTreeSet<String> = board.links.iter().map(|link| link.url.clone()).collect();
        assert_eq!(links, wanted, "{}", board.name);
        assert!(
            board
                .links
                .iter()
                .all(|link| link.include_vars && link.keep_time)
        );
        // What a board does not know it cannot pass on.
        for kept in [
            "datasource",
            "cluster",
            "namespace",
            "hpa",
            "job",
            "instance",
        ] {
            let mut variables = board.templating.list.iter();
            assert!(
                variables.any(|variable| variable.name == kept),
                "{}: {kept}",
                board.name
            );
        }
    }
}
