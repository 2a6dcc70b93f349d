//! The report, looked at with a real browser: it loads, nothing leaves the page, and no labels collide at any width.

#[path = "../../loadtest/src/report/html/browser.rs"]
pub(crate) mod browser;

use taffrail::demo::report::html;
use taffrail::demo::timeline::{Decision, Run, Summary, Verdict};

use self::browser::{Colours, browse, problems, screenshot};
use crate::recording::recording;

/// A desktop, a small window, a phone.
pub(crate) const WIDTHS_PX: [u32; 3] = [1280, 600, 340];

/// Every report has more labels than this, even one of nothing.
pub(crate) const LABELS: u32 = 10;

#[test]
fn the_recording_recovers_as_its_report_says() {
    let run = recording();
    let summary = Summary::of(&run);
    assert_eq!(
        (
            summary.verdict,
            summary.replicas_peak,
            summary.replicas_last
        ),
        (Verdict::Recovered, 6, 2)
    );
    let page = html(&run);
    assert!(page.contains("✓ Objective held again"));
    assert!(page.contains(&summary.verdict_sentence));
    assert!(
        page.contains("Measured on one machine with real HTTP") && !page.contains("SIMULATION")
    );
    for decision in &run.decisions {
        assert!(page.contains(&format!("<code>{}</code>", decision.reason)));
        assert!(page.contains(&format!("{} → {}", decision.from, decision.to)));
    }
    assert_eq!(
        page,
        html(&recording()),
        "the same run gives the same bytes"
    );
}

#[test]
fn a_simulation_and_a_failure_say_so() {
    let run = Run {
        simulated: true,
        ..first_90_seconds()
    };
    let page = html(&run);
    assert!(
        page.contains("SIMULATION: time and pods are computed") && !page.contains("Measured on")
    );
    assert!(page.contains("✗ Objective not held"));
}

#[test]
fn the_page_asks_for_nothing_from_elsewhere_and_holds_no_script() {
    for run in [recording(), hostile()] {
        let page = html(&run).to_lowercase();
        for forbidden in [
            "<script", "<link", "<img", "<iframe", "src=", "href", "url(", "@import", "http:",
            "https:", " on",
        ] {
            let found = page
                .match_indices(forbidden)
                .map(|(at, _)| &page[at..(at + 40).min(page.len())]);
            // Words such as " on one machine" are no event handlers.
            let found: Vec<&str> = found
                .filter(|text| forbidden != " on" || is_handler(text))
                .collect();
            assert_eq!(found, [""; 0], "{forbidden}");
        }
    }
}

#[test]
fn text_that_looks_like_html_stays_text() {
    let page = html(&hostile());
    assert!(!page.contains(HOSTILE) && !page.contains("</script>"));
    let seen = browse(&page);
    assert!(
        seen.contains("&lt;script&gt;alert(1)&lt;/script&gt;"),
        "the browser shows it as text"
    );
}

#[test]
fn no_label_leaves_its_chart_or_covers_another_in_a_real_browser() {
    let runs = [
        ("recording", recording()),
        ("log scale", spiked()),
        ("empty", Run::default()),
        ("hostile", hostile()),
        ("a tick at the very end", first_90_seconds()),
    ];
    for (name, run) in runs {
        let page = html(&run);
        for colours in [Colours::Light, Colours::Dark] {
            let found = problems(&page, &WIDTHS_PX, colours, LABELS);
            assert_eq!(found, [""; 0], "{name}, {colours:?}");
        }
    }
}

#[test]
fn the_page_can_be_seen() {
    let png = screenshot(&html(&recording()), (1280, 1900), Colours::Light);
    assert_eq!(
        &png[12..24],
        b"IHDR\0\0\x05\0\0\0\x07\x6c",
        "1280 by 1900 pixels"
    );
    assert!(
        100_000 < png.len(),
        "a page with charts does not compress to {} bytes",
        png.len()
    );
}

/// What is put wherever a recording holds text.
const HOSTILE: &str = r#""'><script>alert(1)</script>&amp;<!--"#;

/// A run whose texts try to break out of the page, and are long.
fn hostile() -> Run {
    let mut run = recording();
    run.title = HOSTILE.to_owned();
    run.hpa_yaml = format!("{HOSTILE} {}", "wide ".repeat(200));
    for event in &mut run.events {
        event.text = format!("{HOSTILE} {}", "long".repeat(100));
    }
    for sample in &mut run.samples {
        sample.metric_state = HOSTILE.to_owned();
    }
    // A decision a second: more labels than there is room for.
    let decision = |t: u32| Decision {
        t_s: f64::from(t),
        from: t,
        to: t + 1,
        reason: format!("{HOSTILE}{}", "Long".repeat(30)),
        message: HOSTILE.to_owned(),
        metric: Some(HOSTILE.to_owned()),
        ..Decision::default()
    };
    run.decisions = (0..160).map(decision).collect();
    run
}

/// The recording, ended while latency is over the objective.
fn first_90_seconds() -> Run {
    let mut run = recording();
    run.samples.truncate(90);
    run.decisions.retain(|decision| decision.t_s < 90.0);
    run
}

/// A run whose latency spikes so far that the axis spans many decades.
fn spiked() -> Run {
    let mut run = recording();
    for sample in &mut run.samples[60..70] {
        (sample.p95_ms, sample.p99_ms) = (Some(45_000.0), Some(60_000.0));
    }
    for sample in &mut run.samples[..20] {
        sample.p50_ms = Some(0.4);
    }
    run
}

/// Whether `text` begins as an attribute ` onclick=` does.
fn is_handler(text: &str) -> bool {
    let name: &str = text
        .trim_start()
        .split(|c: char| !c.is_ascii_alphabetic())
        .next()
        .unwrap_or_default();
    text.trim_start()[name.len()..].starts_with('=')
}
