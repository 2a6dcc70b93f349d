//! What somebody sees who opens a board, as far as its JSON says: the time range, thresholds, words for nothing, and texts
//! that send to other panels.

use std::collections::BTreeSet;

use regex::Regex;

use super::boards;
use super::empty::{EMPTY, NO_FAILURE};
use super::lint::each_panel;

#[test]
fn boards_open_on_what_just_happened_and_follow_it() {
    for board in boards() {
        assert!(board.time.from.starts_with("now-"), "{}", board.name);
        assert_eq!(board.time.to, "now", "{}", board.name);
        assert_eq!(board.refresh, "30s", "{}", board.name);
    }
}

#[test]
fn thresholds_begin_anywhere_and_rise() {
    each_panel(|panel, place| {
        let steps = &panel.field_config["defaults"]["thresholds"]["steps"];
        let Some((first, others)) = steps.as_array().and_then(|steps| steps.split_first()) else {
            return;
        };
        assert!(first["value"].is_null(), "{place}");
        let bounds: Vec<f64> = others
            .iter()
            .map(|step| step["value"].as_f64().expect(&place))
            .collect();
        assert!(bounds.is_sorted(), "{place}: {bounds:?}");
    });
}

/// "No data" reads like a fault.
#[test]
fn a_panel_that_is_empty_when_all_is_well_says_none() {
    let wanted: BTreeSet<&str> = EMPTY
        .iter()
        .filter(|empty| empty.why == NO_FAILURE)
        .map(|empty| empty.place)
        .collect();
    for board in boards() {
        for panel in board.shown() {
            let says = panel.field_config["defaults"]["noValue"].as_str();
            for target in &panel.targets {
                let place = board.place_of(panel, target);
                if wanted.contains(place.as_str()) {
                    assert_eq!(says, Some("none"), "{place}");
                }
            }
        }
    }
}

#[test]
fn what_a_text_sends_to_is_there() {
    // Headings begin with a capital, and values such as "yes" do not.
    let quoted = Regex::new(r#""([A-Z][^"]*)""#).unwrap();
    let boards = boards();
    let named = boards.iter().flat_map(|board| {
        let panels = board.panels.iter().map(|panel| panel.title.as_str());
        panels.chain(board.title.strip_prefix("Taffrail / "))
    });
    let named: BTreeSet<&str> = named.collect();
    let mut sent = 0;
    for panel in boards.iter().flat_map(|board| &board.panels) {
        for found in quoted.captures_iter(&panel.description) {
            assert!(named.contains(&found[1]), "{}: {}", panel.title, &found[0]);
            sent += 1;
        }
    }
    assert!(10 < sent, "{sent}");
}
