//! The report, looked at with a real browser: it shows what was found, nothing leaves it, and no label covers another at
//! the width of a phone or of a desk, light or dark.

use super::browser::{Colours, browse, problems, screenshot};
use super::*;
use crate::judge::Outcome;
use crate::judge::verdict::Verdict;
use crate::recording::{About, Event, Recording, SCHEMA_VERSION};
use crate::report::{fixture, text};

/// A phone, and a desk.
const WIDTHS_PX: [u32; 2] = [390, 1280];

/// Every report has more labels in its charts than this, even one of nothing.
const LABELS: u32 = 4;

/// What is put wherever a recording holds text.
const HOSTILE: &str = "\"'><script>alert(1)</script>&amp;<!--\x1b[2J\u{202e}";

fn of<'a>(recording: &'a Recording, verdict: &'a Verdict) -> Report<'a> {
    Report { recording, verdict }
}

#[test]
fn every_character_with_a_meaning_in_html_is_escaped() {
    let text = r#"a<b>&"c'é"#;
    assert_eq!(Escaped(text).to_string(), "a&lt;b&gt;&amp;&quot;c&#39;é");
}

#[test]
fn the_verdict_comes_first_and_every_finding_is_told_without_colour() {
    let (recording, verdict) = (fixture::recording(), fixture::verdict());
    let report = of(&recording, &verdict);
    let page = html(&report);
    let at = |text: &str| {
        page.find(text)
            .unwrap_or_else(|| panic!("{text} is missing"))
    };
    assert!(at("✗ Failed") < at("<h2>Checks") && at("<h2>Checks") < at("class=\"chart\""));
    for finding in &verdict.findings {
        let word = format!(
            "{} {}",
            text::sign(finding.outcome),
            text::outcome(finding.outcome)
        );
        assert!(at(&format!("<code>{}</code>", finding.name)) < page.len());
        assert!(
            page.contains(&word) && page.contains(&Escaped(&finding.sentence).to_string()),
            "{}",
            finding.name
        );
    }
    assert!(
        at("slo_recovery_time[high]</code>") < at("time_to_first_scale_out[high]</code>"),
        "failures come first"
    );
    assert!(page.contains("<small>marginal</small>") && page.contains("± 1 s"));
    assert!(page.contains(
        "<td>2 → 4</td><td>13 s</td><td>8 s</td><td>9 s</td><td><strong>22 s</strong></td>"
    ));
    assert_eq!(
        page,
        html(&report),
        "the same recording gives the same bytes"
    );
}

#[test]
fn a_check_links_to_a_mark_in_the_charts_that_the_style_then_shows() {
    let (recording, verdict) = (fixture::recording(), fixture::verdict());
    let page = html(&of(&recording, &verdict));
    let numbers: Vec<&str> = page
        .split("href=\"#f")
        .skip(1)
        .map(|rest| rest.split('"').next().unwrap())
        .collect();
    assert_eq!(
        numbers.len(),
        verdict
            .findings
            .iter()
            .filter(|finding| finding.from_s.is_some())
            .count()
    );
    for number in numbers {
        assert!(page.contains(&format!("id=\"f{number}\"")));
        assert!(page.contains(&format!("#f{number}:target ~ .card .found{number} ")));
        assert!(
            4 < page
                .matches(&format!("class=\"found found{number}\""))
                .count(),
            "a mark in every chart"
        );
    }
}

#[test]
fn what_the_scenario_did_is_drawn_in_every_chart_of_a_service_and_named() {
    let (recording, verdict) = (fixture::recording(), fixture::verdict());
    let page = html(&of(&recording, &verdict));
    // Load, latency, heat, replicas, the metric and the pods; it is an event of one of the two services.
    let charts = page.matches("<path class=\"event\"").count();
    assert_eq!(charts, 6);
    assert_eq!(page.matches("<rect class=\"event\"").count(), charts);
    assert_eq!(page.matches(">adapter_down</text>").count(), 1);
    assert!(page.contains("desired 6, current 6, ready 6, endpoints 6; adapter_down</title>"));
}

#[test]
fn the_generators_limits_are_those_that_checks_hold_it_to() {
    let (mut recording, verdict) = (fixture::recording(), fixture::verdict());
    let facts = &mut recording.about.facts;
    facts.insert(About::SPEED.to_owned(), "10".to_owned());
    let users = recording.services.get_mut("users").unwrap();
    users.load.slots[5].late = 3;
    let page = html(&of(&recording, &verdict));
    assert!(page.contains("at most 1.6 of 2<"));
    assert!(
        page.contains("late 30/s, dropped 0/s"),
        "three in a tenth of a second"
    );
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere_and_holds_no_script() {
    let (recording, verdict) = hostile();
    let page = html(&of(&recording, &verdict));
    let raw = page.find(['\x1b', '\u{202e}']);
    assert_eq!(
        raw.map(|at| page[..at].lines().next_back()),
        None,
        "what steers a terminal is shown as it is"
    );
    assert!(!page.contains(HOSTILE));
    let page = page.to_lowercase();
    for forbidden in [
        "<script", "<link", "<img", "<iframe", "src=", "url(", "@import", "http:", "https:",
        "style=\"",
    ] {
        assert_eq!(page.matches(forbidden).count(), 0, "{forbidden}");
    }
    assert_eq!(
        page.matches("href=").count(),
        page.matches("href=\"#").count(),
        "links stay on the page"
    );
    assert!(
        browse(&page).contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "the browser shows it as text"
    );
}

#[test]
fn nothing_is_cut_and_nothing_covers_another_on_a_phone_and_on_a_desk_light_and_dark() {
    let verdict = fixture::verdict();
    let empty = Recording {
        schema_version: SCHEMA_VERSION,
        about: About::default(),
        scenario: crate::scenario::Scenario::default(),
        stages: Vec::new(),
        services: std::collections::BTreeMap::new(),
        generator: crate::recording::Generator::default(),
        events: Vec::new(),
    };
    let (evil, evil_verdict) = hostile();
    let rich = fixture::recording();
    let mut nothing = fixture::verdict();
    nothing.findings.clear();
    let pages = [
        ("rich", &rich, &verdict),
        ("hostile", &evil, &evil_verdict),
        ("empty", &empty, &nothing),
    ];
    for (name, recording, verdict) in pages {
        let page = html(&of(recording, verdict));
        for colours in [Colours::Light, Colours::Dark] {
            assert_eq!(
                problems(&page, &WIDTHS_PX, colours, LABELS),
                [""; 0],
                "{name}, {colours:?}"
            );
        }
    }
}

#[test]
fn light_and_dark_look_different_and_neither_is_blank() {
    let (recording, verdict) = (fixture::recording(), fixture::verdict());
    let page = html(&of(&recording, &verdict));
    let [light, dark] =
        [Colours::Light, Colours::Dark].map(|colours| screenshot(&page, (1280, 1900), colours));
    for png in [&light, &dark] {
        assert_eq!(
            &png[12..24],
            b"IHDR\0\0\x05\0\0\0\x07\x6c",
            "1280 by 1900 pixels"
        );
        assert!(
            60_000 < png.len(),
            "a page with charts does not compress to {} bytes",
            png.len()
        );
    }
    assert_ne!(light, dark);
}

#[test]
fn six_hours_are_less_than_two_megabytes() {
    let recording = fixture::recording_of(6 * 3600);
    let verdict = fixture::verdict();
    let page = html(&of(&recording, &verdict));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    assert!(
        500_000 < page.len(),
        "it is drawn in full: {} bytes",
        page.len()
    );
}

/// A recording whose texts try to break out of the page, and are long; many pods, many changes.
fn hostile() -> (Recording, Verdict) {
    let mut recording = fixture::recording();
    let long = format!("{HOSTILE} {}", "long".repeat(60));
    recording.scenario.name = HOSTILE.to_owned();
    recording.scenario.description = long.clone();
    recording
        .about
        .facts
        .insert(HOSTILE.to_owned(), long.clone());
    recording.generator.notes.push(long.clone());
    for stage in &mut recording.stages {
        stage.name = long.clone();
    }
    for service in recording.services.values_mut() {
        service.metrics[0].name = long.clone();
        service.replicas.desired = (0..120u32)
            .map(|t| (f64::from(t) * 7.0, Some(t % 9)))
            .collect();
        for backend in service.backends.values_mut() {
            backend.pod = Some(long.clone());
        }
        for read in service.metrics[0]
            .reads
            .iter_mut()
            .filter(|read| read.value.is_none())
        {
            read.error = Some(long.clone());
        }
    }
    let service = recording.services.remove("orders").unwrap();
    recording.services.insert(HOSTILE.to_owned(), service);
    let event = Event {
        text: long.clone(),
        ..recording.events[0].clone()
    };
    recording.events.resize(400, event);
    let mut verdict = fixture::verdict();
    verdict.sentence = long.clone();
    for finding in &mut verdict.findings {
        finding.name = format!("{HOSTILE}{}", "x".repeat(80));
        finding.limit = long.clone();
        finding.unit = HOSTILE.to_owned();
        finding.sentence = long.clone();
        finding.outcome = Outcome::Fail;
    }
    (recording, verdict)
}

#[test]
fn several_runs_side_by_side_are_a_page_as_sound_as_that_of_one() {
    use super::compare::{Cell, Compared, Comparison, Row, Told, compare};
    let (recording, verdict) = hostile();
    let report = of(&recording, &verdict);
    let cell = |text: &str, is_best| Cell {
        text: text.to_owned(),
        is_best,
    };
    let row = |label: &str, cells: [Cell; 3]| Row {
        label: label.to_owned(),
        cells: cells.into(),
    };
    let told = Told {
        rows: vec![
            row(
                "pod-hours",
                [cell("1.25", true), cell("2.5", false), cell("", false)],
            ),
            row(
                HOSTILE,
                [cell("1", false), cell(HOSTILE, false), cell("1", false)],
            ),
        ],
        enough: recording
            .services
            .values()
            .next()
            .unwrap()
            .replicas
            .ready
            .clone(),
    };
    let names = [
        "scenario",
        "gentle-with-a-rather-long-name-of-its-own",
        HOSTILE,
    ];
    let comparison = Comparison {
        runs: names.map(|name| Compared { name, report }).into(),
        services: recording
            .services
            .keys()
            .map(|name| (name.as_str(), told.clone()))
            .collect(),
    };
    let page = compare(&comparison);
    assert!(!page.contains(HOSTILE) && !page.to_lowercase().contains("<script"));
    assert!(page.contains("<td><strong>1.25</strong></td><td>2.5</td><td>–</td>"));
    assert_eq!(
        page,
        compare(&comparison),
        "the same runs give the same bytes"
    );
    for colours in [Colours::Light, Colours::Dark] {
        let problems = problems(&page, &WIDTHS_PX, colours, LABELS);
        assert_eq!(problems, [""; 0], "{colours:?}");
    }
}
