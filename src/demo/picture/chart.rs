//! One chart in a terminal: a heading that is its legend, a gutter with tick labels, lines in braille dots. Knows
//! where things go, not what they mean.

use ratatui::buffer::Buffer;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Style};
use ratatui::symbols::Marker;
use ratatui::text::Line;
use ratatui::widgets::Widget;
use ratatui::widgets::canvas::{self, Canvas};

use crate::demo::picture::ink::Ink;
use crate::demo::timeline::scale::{Scale, pieces, time_ticks};
use crate::demo::timeline::text;

/// Room for `500 ms` and a space.
const GUTTER: u16 = 7;

/// A braille character is two dots wide and four high.
const DOTS_WIDE: u16 = 2;
const DOTS_HIGH: u16 = 4;

/// Columns that a label of the time axis needs with room on both sides.
const TIME_LABEL: u16 = 9;

/// A chart over `0..=end_s`, drawn back to front.
pub(super) struct Chart<'a> {
    pub(super) heading: Line<'a>,
    pub(super) scale: Scale,
    pub(super) label: fn(f64) -> String,
    pub(super) end_s: f64,
    /// A value whose label stands in the gutter whatever the ticks are.
    pub(super) target: Option<(f64, Style)>,
    pub(super) layers: Vec<Layer>,
    /// Whether the last row names times.
    pub(super) time_axis: bool,
}

/// Something drawn in one colour.
pub(super) struct Layer {
    color: Color,
    shape: Shape,
}

enum Shape {
    /// Lines through points, in places of 0..=1.
    Lines(Vec<Vec<(f64, f64)>>),
    /// Lines, and a texture below them.
    Fill(Vec<Vec<(f64, f64)>>),
    /// A dotted level, at a place of 0..=1.
    Level(f64),
}

/// The dots of a plot.
#[derive(Clone, Copy)]
struct Grid {
    end_s: f64,
    columns: u16,
    rows: u16,
}

impl Layer {
    pub(super) fn lines(
        color: Color,
        scale: &Scale,
        points: impl Iterator<Item = (f64, Option<f64>)>,
    ) -> Self {
        Self {
            color,
            shape: Shape::Lines(placed(scale, points)),
        }
    }

    pub(super) fn fill(
        color: Color,
        scale: &Scale,
        points: impl Iterator<Item = (f64, Option<f64>)>,
    ) -> Self {
        Self {
            color,
            shape: Shape::Fill(placed(scale, points)),
        }
    }

    pub(super) fn level(color: Color, scale: &Scale, value: f64) -> Self {
        Self {
            color,
            shape: Shape::Level(scale.place(value)),
        }
    }
}

impl Widget for Chart<'_> {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let axis_rows = u16::from(self.time_axis);
        let [heading, body, axis] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(0),
            Constraint::Length(axis_rows),
        ])
        .areas(area);
        let columns = Layout::horizontal([Constraint::Length(GUTTER), Constraint::Min(0)]);
        let [gutter, plot] = columns.areas(body);
        if plot.is_empty() {
            return;
        }
        self.gutter(gutter, buffer);
        self.plot(plot, buffer);
        if self.time_axis {
            let [_, times] = columns.areas(axis);
            self.times(times, buffer);
        }
        fitting(self.heading, heading.width).render(heading, buffer);
    }
}

impl Chart<'_> {
    /// The target's label first, since it is the one that matters, then the ends, then the ticks that find a free
    /// row.
    fn gutter(&self, area: Rect, buffer: &mut Buffer) {
        let target = self.target.iter().copied();
        let ends = [self.scale.to, self.scale.from].map(|tick| (tick, Ink::soft()));
        let ticks = self.scale.ticks.iter().map(|tick| (*tick, Ink::soft()));
        let mut taken = vec![false; usize::from(area.height)];
        for (value, style) in target.chain(ends).chain(ticks) {
            let row = self.row(value, area.height);
            let near = usize::from(row).saturating_sub(1)..(usize::from(row) + 2).min(taken.len());
            if taken[near].contains(&true) {
                continue;
            }
            taken[usize::from(row)] = true;
            let label = (self.label)(value);
            let text = Line::styled(
                format!("{label:>width$} ", width = usize::from(GUTTER) - 1),
                style,
            );
            text.render(
                Rect {
                    y: area.y + row,
                    height: 1,
                    ..area
                },
                buffer,
            );
        }
    }

    fn plot(&self, area: Rect, buffer: &mut Buffer) {
        let grid = Grid {
            end_s: self.end_s,
            columns: area.width * DOTS_WIDE,
            rows: area.height * DOTS_HIGH,
        };
        Canvas::default()
            .marker(Marker::Braille)
            .x_bounds([0.0, self.end_s])
            .y_bounds([0.0, 1.0])
            .paint(|context| {
                for layer in &self.layers {
                    layer.paint(context, grid);
                }
            })
            .render(area, buffer);
    }

    fn times(&self, area: Rect, buffer: &mut Buffer) {
        let most = u32::from((area.width / TIME_LABEL).max(1));
        for tick in time_ticks(self.end_s, most) {
            let label = text::moment(tick);
            let width = label.len() as u16;
            let column =
                (tick / self.end_s * f64::from(area.width.saturating_sub(1))).round() as u16;
            let x = column
                .saturating_sub(width / 2)
                .min(area.width.saturating_sub(width));
            Line::styled(label, Ink::soft()).render(
                Rect {
                    x: area.x + x,
                    width,
                    ..area
                }
                .intersection(area),
                buffer,
            );
        }
    }

    /// The row of a label, as the canvas places dots.
    fn row(&self, value: f64, rows: u16) -> u16 {
        let dots = rows * DOTS_HIGH;
        let dot = (1.0 - self.scale.place(value)) * f64::from(dots - 1);
        (dot.round() as u16 / DOTS_HIGH).min(rows - 1)
    }
}

impl Layer {
    fn paint(&self, context: &mut canvas::Context<'_>, grid: Grid) {
        match &self.shape {
            Shape::Lines(lines) => lines.iter().for_each(|line| self.line(context, line)),
            Shape::Fill(lines) => {
                for line in lines {
                    context.draw(&canvas::Points {
                        coords: &grid.below(line),
                        color: self.color,
                    });
                    self.line(context, line);
                }
            }
            Shape::Level(place) => {
                let coords: Vec<(f64, f64)> = (0..grid.columns)
                    .step_by(2)
                    .map(|c| (grid.t_s(c), *place))
                    .collect();
                context.draw(&canvas::Points {
                    coords: &coords,
                    color: self.color,
                });
            }
        }
    }

    fn line(&self, context: &mut canvas::Context<'_>, line: &[(f64, f64)]) {
        let color = self.color;
        context.draw(&canvas::Points {
            coords: line,
            color,
        });
        for pair in line.windows(2) {
            context.draw(&canvas::Line::new(
                pair[0].0, pair[0].1, pair[1].0, pair[1].1, color,
            ));
        }
    }
}

impl Grid {
    /// The time of a column of dots, as the canvas places it.
    fn t_s(self, column: u16) -> f64 {
        self.end_s * f64::from(column) / f64::from(self.columns.saturating_sub(1).max(1))
    }

    /// Every second dot of every second column below `line`: a texture that leaves other lines legible, also
    /// without colours.
    fn below(self, line: &[(f64, f64)]) -> Vec<(f64, f64)> {
        let mut dots = Vec::new();
        for column in (0..self.columns).step_by(2) {
            let t_s = self.t_s(column);
            let next = line.partition_point(|(t, _)| *t < t_s);
            let Some((_, top)) = line.get(next).filter(|_| line[0].0 <= t_s) else {
                continue;
            };
            let heights = (0..self.rows)
                .step_by(2)
                .map(|row| f64::from(row) / f64::from(self.rows.max(2) - 1));
            dots.extend(
                heights
                    .take_while(|height| height < top)
                    .map(|height| (t_s, height)),
            );
        }
        dots
    }
}

/// The words of `heading` that fit: the last are left out whole, since half a number is a wrong number.
fn fitting(mut heading: Line<'_>, columns: u16) -> Line<'_> {
    while usize::from(columns) < heading.width() {
        heading.spans.pop();
    }
    heading
}

fn placed(scale: &Scale, points: impl Iterator<Item = (f64, Option<f64>)>) -> Vec<Vec<(f64, f64)>> {
    pieces(points.map(|(t, value)| (t, value.map(|value| scale.place(value)))))
}
