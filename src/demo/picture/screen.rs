//! What stands where in the live picture: heading and state, four charts, the pods, the last decisions. All of it
//! fits 80 columns by 24 rows; on a larger terminal the charts and the list of decisions grow.

use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::Paragraph;

use crate::demo::picture::ink::{Ink, Role};
use crate::demo::picture::panels::Panels;
use crate::demo::timeline::{Decision, Pod, PodState, Run, summary, text};

/// Below this the charts say nothing any more.
const SMALLEST: (u16, u16) = (60, 16);

/// Columns between the charts on the left and on the right.
const GAP: u16 = 1;

/// Draws the whole picture: `run` as it stands at `now_s` of `total_s` seconds.
pub fn render(frame: &mut Frame<'_>, run: &Run, now_s: f64, total_s: f64, ink: Ink) {
    let area = frame.area();
    if area.width < SMALLEST.0 || area.height < SMALLEST.1 {
        let (columns, rows) = SMALLEST;
        let words = format!(
            "The picture needs {columns} columns and {rows} rows. {}",
            text::moment(now_s)
        );
        return frame.render_widget(
            Paragraph::new(words).wrap(ratatui::widgets::Wrap { trim: true }),
            area,
        );
    }
    // A quarter for the decisions: a heading and two or three of them at 24 rows.
    let decisions_rows = (area.height / 4).clamp(5, 9);
    let [heading, state, charts, pods, decisions] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(1),
        Constraint::Min(0),
        Constraint::Length(1),
        Constraint::Length(decisions_rows),
    ])
    .areas(area);
    let screen = Screen {
        run,
        ink,
        end_s: total_s.max(run.end_s()).max(1.0),
    };
    screen.heading(frame, heading, now_s, total_s);
    frame.render_widget(screen.state(now_s), state);
    screen.charts(frame, charts);
    frame.render_widget(screen.pods(pods.width), pods);
    screen.decisions(frame, decisions);
}

struct Screen<'a> {
    run: &'a Run,
    ink: Ink,
    end_s: f64,
}

impl Screen<'_> {
    fn heading(&self, frame: &mut Frame<'_>, area: Rect, now_s: f64, total_s: f64) {
        let clock = format!("{} of {} ", text::moment(now_s), text::moment(total_s));
        let bar = usize::from((area.width / 5).min(40));
        let done = (now_s / total_s.max(1.0)).clamp(0.0, 1.0) * bar as f64;
        let (done, left) = (done.round() as usize, bar - done.round() as usize);
        let right = Line::from(vec![
            Span::raw(clock),
            Span::styled("━".repeat(done), self.ink.word(Role::Good)),
            Span::styled("─".repeat(left), Ink::soft()),
        ]);
        let [title, progress] =
            Layout::horizontal([Constraint::Min(0), Constraint::Length(right.width() as u16)])
                .areas(area);
        let badge = if self.run.simulated {
            Span::raw("  SIMULATION").bold()
        } else {
            Span::raw("")
        };
        frame.render_widget(
            Line::from(vec![Span::raw(&self.run.title).bold(), badge]),
            title,
        );
        frame.render_widget(right, progress);
    }

    /// How things stand, in a sentence.
    fn state(&self, now_s: f64) -> Line<'static> {
        let Some(sample) = self.run.samples.last() else {
            return Line::styled("Starting ...", Ink::soft());
        };
        let objective = text::objective(self.run.objective.quantile, self.run.objective.latency_ms);
        let breach = summary::breaches(self.run)
            .into_iter()
            .next_back()
            .filter(|breach| breach.to_s.is_none());
        let standing = match breach {
            Some(breach) => {
                let since = text::span(now_s - breach.from_s);
                Span::styled(
                    format!("▲ over the objective ({objective}) for {since}"),
                    self.ink.word(Role::Bad),
                )
            }
            None => Span::styled(
                format!("● within the objective ({objective})"),
                self.ink.word(Role::Good),
            ),
        };
        let state = Span::styled(format!("  metric: {}", sample.metric_state), Ink::soft());
        Line::from(vec![standing, state])
    }

    fn charts(&self, frame: &mut Frame<'_>, area: Rect) {
        let columns = Layout::horizontal([Constraint::Fill(1), Constraint::Fill(1)]).spacing(GAP);
        // The lower charts have one row more: the time axis.
        let upper_rows = area.height.saturating_sub(1) / 2;
        let [upper, lower] =
            Layout::vertical([Constraint::Length(upper_rows), Constraint::Min(0)]).areas(area);
        let [load, latency] = columns.areas(upper);
        let [cpu, replicas] = columns.areas(lower);
        let panels = Panels {
            run: self.run,
            ink: self.ink,
            end_s: self.end_s,
        };
        frame.render_widget(panels.load(), load);
        frame.render_widget(panels.latency(), latency);
        frame.render_widget(panels.cpu(), cpu);
        frame.render_widget(panels.replicas(), replicas);
    }

    /// Each pod as a block with its requests per second, or as many as fit, and how many more there are.
    fn pods(&self, width: u16) -> Line<'static> {
        const MORE: &str = " +999 more";
        let mut line = Line::from(Span::raw("Pods ").bold());
        let Some(sample) = self.run.samples.last() else {
            return line;
        };
        for (i, pod) in sample.pods.iter().enumerate() {
            let words = pod_words(pod);
            if usize::from(width) < line.width() + words.chars().count() + MORE.len() {
                line.push_span(Span::raw(format!(" +{} more", sample.pods.len() - i)));
                break;
            }
            let role = if pod.state == PodState::Ready {
                Role::Good
            } else {
                Role::Offered
            };
            line.push_span(Span::styled(words, self.ink.word(role)));
        }
        line
    }

    /// The last decisions, the newest first; a decision that does not fit whole is left to the report.
    fn decisions(&self, frame: &mut Frame<'_>, area: Rect) {
        let rule = "─".repeat(usize::from(area.width).saturating_sub(20));
        let mut lines = vec![Line::from(vec![
            Span::raw("Decisions of the HPA ").bold(),
            Span::styled(rule, Ink::soft()),
        ])];
        if self.run.decisions.is_empty() {
            lines.push(Line::styled("none yet", Ink::soft()));
        }
        for (i, decision) in self.run.decisions.iter().rev().enumerate() {
            let told = self.decision(decision, usize::from(area.width));
            if i != 0 && usize::from(area.height) < lines.len() + told.len() {
                break;
            }
            lines.extend(told);
        }
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn decision(&self, decision: &Decision, width: usize) -> Vec<Line<'static>> {
        let Decision { from, to, .. } = decision;
        let arrow = if from < to { '▲' } else { '▼' };
        let start = format!("{:>5} {arrow} {from}→{to} ", text::moment(decision.t_s));
        let indent = start.chars().count();
        let words = format!("{}: {}", decision.reason, decision.message);
        let mut rows = wrap(&words, width.saturating_sub(indent)).into_iter();
        let first = rows.next().unwrap_or_default();
        let style: Style = self
            .ink
            .word(if from < to { Role::Target } else { Role::Good });
        let first = Line::from(vec![Span::styled(start, style), Span::raw(first)]);
        let rest = rows.map(|row| Line::raw(format!("{}{row}", " ".repeat(indent))));
        std::iter::once(first).chain(rest).collect()
    }
}

fn pod_words(pod: &Pod) -> String {
    match (pod.state, pod.rps) {
        (PodState::Starting, _) => " □ starting".to_owned(),
        (PodState::Draining, _) => " ◇ draining".to_owned(),
        (PodState::Ready, Some(rps)) => format!(" ■ {rps:.0}/s"),
        (PodState::Ready, None) => " ■".to_owned(),
    }
}

/// `words` in rows of at most `width` characters, broken at spaces; a longer word is broken where it must be.
fn wrap(words: &str, width: usize) -> Vec<String> {
    let width = width.max(1);
    let mut rows: Vec<String> = Vec::new();
    for word in words.split_whitespace() {
        let letters: Vec<char> = word.chars().collect();
        for part in letters.chunks(width) {
            let part: String = part.iter().collect();
            match rows.last_mut() {
                Some(row) if row.chars().count() + 1 + part.chars().count() <= width => {
                    row.push(' ');
                    row.push_str(&part);
                }
                _ => rows.push(part),
            }
        }
    }
    rows
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_broken_at_spaces_and_a_long_one_where_it_must() {
        assert_eq!(wrap("New size: 4; reason", 9), ["New size:", "4; reason"]);
        assert_eq!(wrap("abcdefgh ij", 5), ["abcde", "fgh", "ij"]);
        assert!(wrap("", 5).is_empty());
    }
}
