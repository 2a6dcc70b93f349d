//! A run as a picture of a few lines that is drawn over itself: for each service what is offered and answered, the last
//! minute of its latency, and its replicas. It is plain text with the few sequences that every terminal knows, so that
//! what was printed before stays where it is. Whoever draws it tells how wide the terminal is.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use super::{quantiles, scaling, stage};
use crate::measured::Progress;
use crate::recording::Recording;
use crate::report::text;

/// Seconds of latency that are shown.
const HISTORY: usize = 60;

/// Services that are shown; a terminal has no room for more.
const SERVICES_MAX: usize = 6;

/// From nothing to the most.
const LEVELS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// The picture and what it needs of the past.
#[derive(Debug, Clone, Default)]
pub struct Live {
    seconds: BTreeMap<String, VecDeque<Progress>>,
    /// Lines that stand on the terminal now.
    drawn: usize,
}

impl Live {
    /// Takes a second of a service.
    pub fn tell(&mut self, service: &str, progress: Progress) {
        let seconds = self.seconds.entry(service.to_owned()).or_default();
        seconds.push_back(progress);
        if HISTORY < seconds.len() {
            seconds.pop_front();
        }
    }

    /// What to write to draw the picture over the last one. Each line has at most `columns` characters: one that the
    /// terminal broke would not be drawn over.
    #[must_use]
    pub fn redraw(&mut self, recording: &Recording, columns: usize) -> String {
        let frame = self.frame(recording, columns);
        let mut out = self.erase();
        for line in &frame {
            let _ = writeln!(out, "{line}");
        }
        self.drawn = frame.len();
        out
    }

    /// What to write to take the picture away, so that a line can be printed in its place.
    #[must_use]
    pub fn erase(&mut self) -> String {
        match std::mem::take(&mut self.drawn) {
            0 => String::new(),
            // To the first line of the picture, and everything behind it away.
            lines => format!("\x1b[{lines}A\r\x1b[J"),
        }
    }

    /// The lines of the picture.
    #[must_use]
    pub fn frame(&self, recording: &Recording, columns: usize) -> Vec<String> {
        let now_s = self
            .seconds
            .values()
            .filter_map(|seconds| seconds.back())
            .map(|last| last.second + 1)
            .max();
        let (now_s, end_s) = (now_s.unwrap_or(0) as f64, recording.about.duration_s);
        let mut lines = vec![format!(
            "{}  {} of {}  {}",
            text::plain(&recording.scenario.name),
            text::moment(now_s),
            text::moment(end_s),
            bar(now_s / end_s.max(1.0))
        )];
        for (name, seconds) in self.seconds.iter().take(SERVICES_MAX) {
            let Some(last) = seconds.back() else { continue };
            lines.extend(service(recording, name, seconds, last));
        }
        if SERVICES_MAX < self.seconds.len() {
            lines.push(format!(
                "and {} more services",
                self.seconds.len() - SERVICES_MAX
            ));
        }
        let cut = |line: String| line.chars().take(columns).collect();
        lines.into_iter().map(cut).collect()
    }
}

fn service(
    recording: &Recording,
    name: &str,
    seconds: &VecDeque<Progress>,
    last: &Progress,
) -> Vec<String> {
    let counts = &last.counts;
    let stage = stage(recording, name, last.second as f64).unwrap_or("-");
    let limit_ms = recording.scenario.slo.map(|slo| slo.target.seconds() * 1e3);
    let p95_ms = |progress: &Progress| progress.p95.map(|latency| latency.as_secs_f64() * 1e3);
    // A word beside the sign, since not everybody sees colours and not every terminal has them.
    let standing = match (p95_ms(last), limit_ms) {
        (Some(ms), Some(limit)) if limit < ms => format!("  ▲ over {}", text::latency(limit)),
        (_, Some(limit)) => format!("  ● within {}", text::latency(limit)),
        _ => String::new(),
    };
    let mut lines = vec![
        format!(
            "{} [{}]  {}/s  ok {}  failed {}  dropped {}",
            text::plain(name),
            text::plain(stage),
            text::count(counts.offered),
            text::count(counts.ok),
            counts.errors(),
            counts.dropped
        ),
        format!(
            "  {}  {}{standing}",
            sparkline(seconds.iter().map(p95_ms)),
            quantiles(last)
        ),
    ];
    let scaling = scaling(recording, name).join("  ");
    lines.extend((!scaling.is_empty()).then(|| format!("  {scaling}")));
    lines.extend(kinds(recording, name));
    lines
}

/// The kinds of requests, where there are several, with what came of each since the run began.
fn kinds(recording: &Recording, name: &str) -> Option<String> {
    let kinds = &recording.services.get(name)?.load.requests;
    let told = kinds.iter().map(|(kind, measured)| {
        let p95 = measured.latency.quantile(0.95);
        let p95 = p95.map_or("–".to_owned(), |p95| {
            text::latency(p95.as_secs_f64() * 1e3)
        });
        let failed = match measured.counts.failed() {
            0 => String::new(),
            failed => format!(" failed {}", text::count(failed)),
        };
        format!("{} p95 {p95}{failed}", text::plain(kind))
    });
    let told: Vec<String> = told.collect();
    (!told.is_empty()).then(|| format!("  so far: {}", told.join("  ")))
}

/// Values against their highest; what is not known is a space.
fn sparkline(values: impl Iterator<Item = Option<f64>> + Clone) -> String {
    let most = values.clone().flatten().fold(0.0, f64::max);
    let level = |value: f64| {
        let share = if 0.0 < most { value / most } else { 0.0 };
        LEVELS[((share * (LEVELS.len() - 1) as f64).round() as usize).min(LEVELS.len() - 1)]
    };
    values.map(|value| value.map_or(' ', level)).collect()
}

fn bar(share: f64) -> String {
    const WIDTH: usize = 20;
    let full = ((share.clamp(0.0, 1.0) * WIDTH as f64) as usize).min(WIDTH);
    format!("{}{}", "█".repeat(full), "░".repeat(WIDTH - full))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::tests::progress;
    use super::*;
    use crate::measured::{ErrorClass, RequestMeasured};
    use crate::report::fixture;

    /// What stands on a terminal with endless lines that knows the sequences of the picture.
    fn shown(written: &str) -> Vec<String> {
        let mut lines = vec![String::new()];
        let mut rest = written;
        while let Some(c) = rest.chars().next() {
            if let Some(sequence) = rest.strip_prefix("\x1b[") {
                let end = sequence.find(|c: char| c.is_ascii_alphabetic()).unwrap();
                match &sequence[end..=end] {
                    "A" => {
                        let up: usize = sequence[..end].parse().unwrap();
                        lines.truncate(lines.len() - up);
                    }
                    "J" => *lines.last_mut().unwrap() = String::new(),
                    other => panic!("{other}"),
                }
                rest = &sequence[end + 1..];
                continue;
            }
            match c {
                '\n' => lines.push(String::new()),
                '\r' => {}
                c => lines.last_mut().unwrap().push(c),
            }
            rest = &rest[c.len_utf8()..];
        }
        lines
    }

    #[test]
    fn the_picture_is_drawn_over_itself_and_a_line_stays_above_it() {
        let recording = fixture::recording();
        let mut live = Live::default();
        live.tell("users", progress(124));
        let mut written = live.redraw(&recording, 80);
        written += &live.erase();
        written += "an event\n";
        live.tell("users", progress(125));
        written += &live.redraw(&recording, 80);
        live.tell("orders", progress(125));
        written += &live.redraw(&recording, 80);
        let lines = shown(&written);
        assert_eq!(lines[0], "an event");
        assert!(
            lines[1].starts_with("checkout-step  2:06 of 15:00  ██░"),
            "{lines:?}"
        );
        assert!(
            lines[2].starts_with("orders [high]  600/s  ok 595")
                && lines[5].starts_with("users [high]"),
            "{lines:?}"
        );
        assert!(
            lines[6].contains("██") && lines[6].contains("▲ over 300 ms"),
            "{lines:?}"
        );
        assert!(lines[7].contains("desired 2  ready 2"));
        assert_eq!(
            lines.len(),
            9,
            "nothing is left of the former picture: {lines:?}"
        );
    }

    #[test]
    fn kinds_of_requests_are_told_apart() {
        let mut recording = fixture::recording();
        let load = &mut recording.services.get_mut("users").unwrap().load;
        for (kind, ms) in [("list", 20), ("buy", 900)] {
            let mut measured = RequestMeasured::default();
            measured.latency.record(Duration::from_millis(ms));
            load.requests.insert(kind.to_owned(), measured);
        }
        let buy = load.requests.get_mut("buy").unwrap();
        buy.counts.count_error(ErrorClass::Timeout);
        let mut live = Live::default();
        live.tell("users", progress(125));
        let frame = live.frame(&recording, 80);
        assert_eq!(
            frame.last().unwrap(),
            "  so far: buy p95 900 ms failed 1  list p95 20 ms"
        );
    }

    #[test]
    fn no_line_is_wider_than_the_terminal_and_no_past_is_endless() {
        let recording = fixture::recording();
        let mut live = Live::default();
        for second in 0..500 {
            (0..9).for_each(|service| live.tell(&format!("service-{service}"), progress(second)));
        }
        let frame = live.frame(&recording, 40);
        assert!(frame.iter().all(|line| line.chars().count() <= 40));
        assert_eq!(
            frame.len(),
            1 + 2 * SERVICES_MAX + 1,
            "nobody looked at a cluster"
        );
        assert_eq!(live.seconds["service-1"].len(), HISTORY);
    }
}
