//! A real browser for tests of reports: shows a page at several widths, light and dark, and measures what became of it.
//! The tests of the adapter's own reports include this file, too.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command};
use std::thread::sleep;
use std::time::Duration;

/// What Chromium may take; it takes about two seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// The colours a reader prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Colours {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

impl Colours {
    fn flag(self) -> &'static str {
        match self {
            Self::Light => "--blink-settings=preferredColorScheme=1",
            Self::Dark => "--blink-settings=preferredColorScheme=0",
        }
    }
}

/// What is wrong with a page at these widths: it is wider than its window, a box overflows, a label leaves its chart or
/// covers another. Panics when there are not more than `labels` of them at every width, or when the browser's console is
/// not clean.
pub(crate) fn problems(
    page: &str,
    widths_px: &[u32],
    colours: Colours,
    labels: u32,
) -> Vec<String> {
    let seen = run(
        &harness(page, widths_px),
        &["--dump-dom".to_owned()],
        colours,
    );
    let result = between(&seen, "<pre id=\"result\">", "</pre>");
    let (looked, problems): (Vec<&str>, Vec<&str>) = result
        .lines()
        .partition(|line| line.starts_with("looked at"));
    assert_eq!(looked.len(), widths_px.len(), "{seen}");
    let texts = |line: &&str| line.split(' ').nth(2).and_then(|n| n.parse::<u32>().ok());
    assert!(
        looked.iter().filter_map(texts).all(|texts| labels < texts),
        "{result}"
    );
    problems.into_iter().map(str::to_owned).collect()
}

/// The document that a browser has made of `page`, after its scripts have run.
pub(crate) fn browse(page: &str) -> String {
    run(page, &["--dump-dom".to_owned()], Colours::Light)
}

/// A picture of `page` as PNG, of this size.
pub(crate) fn screenshot(page: &str, (width, height): (u32, u32), colours: Colours) -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let picture = dir.path().join("page.png");
    let args = [
        format!("--window-size={width},{height}"),
        format!("--screenshot={}", picture.display()),
    ];
    run(page, &args, colours);
    fs::read(&picture).expect("there is a screenshot")
}

/// A page that shows `page` at several widths and measures what a browser made of it.
fn harness(page: &str, widths_px: &[u32]) -> String {
    let srcdoc = page.replace('&', "&amp;").replace('"', "&quot;");
    let frame = |width| {
        format!(
            "<iframe style=\"width:{width}px;height:900px;border:0\" srcdoc=\"{srcdoc}\"></iframe>"
        )
    };
    let frames: String = widths_px.iter().map(frame).collect();
    format!("<!doctype html><body>{frames}<script>{MEASURE}</script></body>")
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
  for (const box of page.querySelectorAll("h1, h2, h3, p, dd, dt, li, td, .panel, .card, .keys"))
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

/// Runs Chromium over `page` and returns what it printed; all that it keeps goes to a directory of its own.
fn run(page: &str, args: &[String], colours: Colours) -> String {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let dir = dir.path();
    let (file, printed, errors) = (
        dir.join("page.html"),
        dir.join("printed"),
        dir.join("errors"),
    );
    fs::write(&file, page).expect("the page can be written");
    let mut child = chromium(dir, &printed, &errors)
        .arg(colours.flag())
        .args(args)
        .arg(format!("file://{}", file.display()))
        .spawn()
        .unwrap_or_else(|error| {
            panic!("chromium cannot be started ({error}): run tests/run, which installs it")
        });
    wait(&mut child);
    let said = fs::read_to_string(&errors).expect("the log is UTF-8");
    let console: Vec<&str> = said
        .lines()
        .filter(|line| line.contains(":CONSOLE"))
        .collect();
    assert_eq!(console, [""; 0], "the console is clean");
    fs::read_to_string(&printed).expect("the output is UTF-8")
}

fn chromium(dir: &Path, printed: &Path, errors: &Path) -> Command {
    let mut command = Command::new("chromium");
    command
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
        .arg("--enable-logging=stderr")
        .arg(format!("--user-data-dir={}", dir.join("profile").display()))
        .stdout(File::create(printed).expect("the output can be written"))
        .stderr(File::create(errors).expect("the errors can be written"));
    command
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
