//! The report, looked at with a real browser: it loads, nothing leaves the page, and no labels collide at any width.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

use taffrail::demo::report::html;
use taffrail::demo::timeline::{Decision, Run, Summary, Verdict};

use crate::recording::recording;

/// A desktop, a small window, a phone.
const WIDTHS_PX: [u32; 3] = [1280, 600, 340];

/// What Chromium may take; it takes about two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

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
        let seen = browse(&harness(&html(&run)));
        let result = between(&seen, "<pre id=\"result\">", "</pre>");
        assert_eq!(
            result
                .lines()
                .filter(|line| line.starts_with("looked at"))
                .count(),
            WIDTHS_PX.len(),
            "{seen}"
        );
        let problems: Vec<&str> = result
            .lines()
            .filter(|line| !line.starts_with("looked at"))
            .collect();
        assert_eq!(problems, [""; 0], "{name}");
        let texts = |line: &str| line.split(' ').nth(2).and_then(|n| n.parse::<u32>().ok());
        assert!(
            result.lines().filter_map(texts).all(|texts| 10 < texts),
            "{name}: {result}"
        );
    }
}

#[test]
fn the_page_can_be_seen() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let (page, picture) = (
        dir.path().join("report.html"),
        dir.path().join("report.png"),
    );
    fs::write(&page, html(&recording())).expect("the report can be written");
    let args = [
        "--window-size=1280,1900".to_owned(),
        format!("--screenshot={}", picture.display()),
    ];
    chromium(dir.path(), &args, &page);
    let png = fs::read(&picture).expect("there is a screenshot");
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

/// A page that shows `report` at several widths and measures what a browser made of it.
fn harness(report: &str) -> String {
    let srcdoc = report.replace('&', "&amp;").replace('"', "&quot;");
    let frames = WIDTHS_PX.map(|width| {
        format!(
            "<iframe style=\"width:{width}px;height:900px;border:0\" srcdoc=\"{srcdoc}\"></iframe>"
        )
    });
    format!(
        "<!doctype html><body>{}<script>{MEASURE}</script></body>",
        frames.concat()
    )
}

/// Measures each frame: the page no wider than its window, boxes not overflowing, labels within their chart and apart.
const MEASURE: &str = r##"
const lines = [];
const meet = (a, b) => a.left < b.right + 3 && b.left < a.right + 3 && a.top + 1 < b.bottom && b.top + 1 < a.bottom;
function measure(frame) {
  const page = frame.contentDocument, say = text => lines.push(frame.clientWidth + " px: " + text);
  for (const details of page.querySelectorAll("details")) details.open = true;
  if (page.documentElement.scrollWidth > page.documentElement.clientWidth)
    say("the page is " + page.documentElement.scrollWidth + " px wide");
  for (const box of page.querySelectorAll("h1, p, dd, dt, li, td, .panel, .card, .keys"))
    if (box.scrollWidth > box.clientWidth + 1 && box.clientWidth > 0)
      say(box.tagName + "." + box.className + " overflows: " + box.textContent.slice(0, 60));
  let texts = 0;
  for (const chart of page.querySelectorAll(".chart > svg")) {
    const edge = chart.getBoundingClientRect();
    const labels = [...chart.querySelectorAll("text")].filter(label => label.getClientRects().length > 0);
    const boxes = labels.map(label => label.getBoundingClientRect());
    texts += boxes.length;
    boxes.forEach((box, i) => {
      const name = labels[i].getAttribute("class") + " " + labels[i].textContent;
      if (box.left < edge.left - 1 || edge.right + 1 < box.right || box.top < edge.top - 1 || edge.bottom + 1 < box.bottom)
        say(name + " leaves its chart");
      boxes.slice(i + 1).forEach((other, j) => { if (meet(box, other)) say(name + " covers " + labels[i + 1 + j].textContent); });
    });
  }
  lines.push("looked at " + texts + " labels");
}
onload = () => {
  for (const frame of document.querySelectorAll("iframe")) measure(frame);
  const result = document.createElement("pre");
  result.id = "result";
  result.textContent = lines.join("\n");
  document.body.replaceChildren(result);
};
"##;

/// The document that a browser has made of `page`, after its scripts have run.
fn browse(page: &str) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let file = dir.path().join("page.html");
    fs::write(&file, page).expect("the page can be written");
    chromium(dir.path(), &["--dump-dom".to_owned()], &file)
}

/// Runs Chromium over `page` and returns what it printed; all that it keeps goes to `dir`.
fn chromium(dir: &Path, args: &[String], page: &Path) -> String {
    let printed = dir.join("printed");
    let output = File::create(&printed).expect("the output can be written");
    let errors = File::create(dir.join("errors")).expect("the errors can be written");
    let spawned = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
        ])
        .args([
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
            "--hide-scrollbars",
        ])
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .args(args)
        .arg(format!("file://{}", page.display()))
        .stdout(output)
        .stderr(errors)
        .spawn();
    let mut child = spawned.unwrap_or_else(|error| {
        panic!("chromium cannot be started ({error}): run tests/run, which installs it")
    });
    wait(&mut child);
    fs::read_to_string(&printed).expect("the output is UTF-8")
}

fn wait(child: &mut Child) {
    const STEP: Duration = Duration::from_millis(50);
    for _ in 0..PATIENCE.as_millis() / STEP.as_millis() {
        if let Some(status) = child.try_wait().expect("our own child can be waited for") {
            assert!(status.success(), "chromium ended with {status}");
            return;
        }
        sleep(STEP);
    }
    child.kill().expect("our own child can be ended");
    panic!("chromium took longer than {PATIENCE:?}");
}

fn between<'a>(text: &'a str, from: &str, to: &str) -> &'a str {
    let start = text.find(from).map(|at| at + from.len());
    let rest = &text[start.unwrap_or_else(|| panic!("{from} is missing in {text}"))..];
    &rest[..rest.find(to).unwrap_or(rest.len())]
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
