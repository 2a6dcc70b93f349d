//! One chart over time, as SVG: gutter with tick labels, plot, hover. The lines are drawn in a box that stretches with
//! the page while strokes and text keep their size, so a chart is as legible on a phone as on a wide screen. Knows
//! scales, paths and labels; not what is drawn. An error is one of the `String` that is written to, which has none.

use std::fmt::{self, Write};

use super::Escaped;
use crate::report::scale::{Scale, pieces, time_ticks};
use crate::report::text;

/// Width of the plot in its own units; it is stretched to the page, so only the resolution of paths depends on it.
const PLOT_WIDTH: f64 = 1000.0;

/// Room above and below the plot, for half the height of the first and the last tick label.
const PAD_PX: f64 = 9.0;

/// Width of the gutter: `1,000/s` and `2.5 s` with room to spare. The style sheet's grid has the same number.
const GUTTER_PX: u32 = 56;

/// Height of the time axis.
const AXIS_PX: u32 = 20;

/// Steps of the time axis: what a phone has room for.
const AXIS_STEPS: u32 = 6;

/// Lanes for the labels of marks that follow close upon each other.
const LANES: usize = 2;

/// Width of the plot on the narrowest page that shows the labels of marks; the style sheet hides them below.
const NARROWEST_PX: f64 = 390.0;

/// At most the width of a bold digit, and the room around a label.
const CHARACTER_PX: f64 = 9.0;
const LABEL_GAP_PX: f64 = 10.0;

/// A point of a line; without a value it is a gap.
pub type Point = (f64, Option<f64>);

/// A rectangle between two moments and two values.
#[derive(Debug, Clone, Copy)]
pub struct Cell {
    /// From, in seconds.
    pub from_s: f64,
    /// To, in seconds.
    pub to_s: f64,
    /// The lower value.
    pub low: f64,
    /// The higher value.
    pub high: f64,
}

/// A chart that is being drawn, back to front.
#[derive(Debug)]
pub struct Chart {
    end_s: f64,
    height_px: u32,
    scale: Scale,
    gutter: String,
    plot: String,
    labels: String,
    /// From which share of the width on each lane is free.
    lanes: [f64; LANES],
}

impl Chart {
    /// An empty chart over `0..=end_s` with its grid; `label` writes a tick.
    pub fn new(
        end_s: f64,
        height_px: u32,
        scale: Scale,
        label: impl Fn(f64) -> String,
    ) -> Result<Self, fmt::Error> {
        let (gutter, plot, labels) = (String::new(), String::new(), String::new());
        let mut chart = Self {
            end_s: end_s.max(f64::MIN_POSITIVE),
            height_px,
            scale,
            gutter,
            plot,
            labels,
            lanes: [f64::NEG_INFINITY; LANES],
        };
        for tick in chart.scale.ticks.clone() {
            let y = chart.y(tick);
            write!(
                chart.plot,
                r#"<path class="grid" d="M0 {y:.1}H{PLOT_WIDTH}"/>"#
            )?;
            let x = GUTTER_PX - 8;
            write!(
                chart.gutter,
                r#"<text class="tick" x="{x}" y="{:.1}">{}</text>"#,
                y + 4.0,
                Escaped(&label(tick))
            )?;
        }
        for tick in time_ticks(chart.end_s, AXIS_STEPS) {
            let x = chart.x(tick);
            write!(
                chart.plot,
                r#"<path class="grid" d="M{x:.1} {PAD_PX}V{:.1}"/>"#,
                chart.floor()
            )?;
        }
        Ok(chart)
    }

    /// Shades a span of time from top to bottom.
    pub fn band(&mut self, class: &str, from_s: f64, to_s: f64, title: &str) -> fmt::Result {
        let height = self.floor() - PAD_PX;
        self.rect(class, (from_s, to_s), (PAD_PX, height), title)
    }

    /// Marks a span of time along the floor.
    pub fn strip(&mut self, class: &str, from_s: f64, to_s: f64, title: &str) -> fmt::Result {
        const STRIP_PX: f64 = 7.0;
        self.rect(
            class,
            (from_s, to_s),
            (self.floor() - STRIP_PX, STRIP_PX),
            title,
        )
    }

    /// A line through `points`, parted at its gaps.
    pub fn line(&mut self, class: &str, points: impl Iterator<Item = Point>) -> fmt::Result {
        let mut d = String::new();
        for piece in pieces(points) {
            self.path(&mut d, &piece)?;
        }
        self.draw(class, &d)
    }

    /// The surface between a line and the floor.
    pub fn area(&mut self, class: &str, points: impl Iterator<Item = Point>) -> fmt::Result {
        let floor = self.floor();
        let mut d = String::new();
        for piece in pieces(points) {
            let (first, last) = (piece[0].0, piece[piece.len() - 1].0);
            self.path(&mut d, &piece)?;
            write!(
                d,
                "L{:.1} {floor:.1}L{:.1} {floor:.1}Z",
                self.x(last),
                self.x(first)
            )?;
        }
        self.draw(class, &d)
    }

    /// Rectangles of one class, as one shape.
    pub fn cells(&mut self, class: &str, cells: impl Iterator<Item = Cell>) -> fmt::Result {
        let mut d = String::new();
        for cell in cells {
            let [left, right] = [cell.from_s, cell.to_s].map(|t_s| self.x(t_s));
            let [bottom, top] = [cell.low, cell.high].map(|value| self.y(value));
            write!(d, "M{left:.1} {bottom:.1}H{right:.1}V{top:.1}H{left:.1}Z")?;
        }
        self.draw(class, &d)
    }

    /// A horizontal line at `value`, named at its right end.
    pub fn level(&mut self, class: &str, value: f64, name: &str) -> fmt::Result {
        /// Below this the name would leave the chart at the top, so it goes under its line.
        const HEADROOM_PX: f64 = 22.0;
        let y = self.y(value);
        write!(
            self.plot,
            r#"<path class="{class}" d="M0 {y:.1}H{PLOT_WIDTH}"/>"#
        )?;
        let text_y = if y < HEADROOM_PX { y + 14.0 } else { y - 5.0 };
        write!(
            self.labels,
            r#"<text class="name {class}" x="100%" dx="-6" y="{text_y:.1}">{}</text>"#,
            Escaped(name)
        )
    }

    /// A vertical line at `t_s`.
    pub fn mark(&mut self, t_s: f64) -> fmt::Result {
        self.mark_as("mark", t_s)
    }

    /// A vertical line of this class at `t_s`.
    pub fn mark_as(&mut self, class: &str, t_s: f64) -> fmt::Result {
        let x = self.x(t_s);
        write!(
            self.plot,
            r#"<path class="{class}" d="M{x:.1} 0V{}"/>"#,
            self.height_px
        )
    }

    /// A few characters at `t_s`, in the first lane that has room for them; none when no lane has.
    pub fn mark_label(&mut self, t_s: f64, label: &str) -> fmt::Result {
        const LANE_PX: f64 = 14.0;
        let at = self.x(t_s) / PLOT_WIDTH;
        let width = (LABEL_GAP_PX + CHARACTER_PX * label.chars().count() as f64) / NARROWEST_PX;
        // Where a label would leave the chart at the right it stands left of its line.
        let (from, anchor, dx) = match at + width {
            to if to <= 1.0 => (at, "start", 4),
            _ => (at - width, "end", -4),
        };
        let Some(lane) = self.lanes.iter().position(|free_from| *free_from <= from) else {
            return Ok(());
        };
        self.lanes[lane] = from + width;
        let (x, y) = (at * 100.0, PAD_PX + 9.0 + LANE_PX * lane as f64);
        write!(
            self.labels,
            r#"<text class="mark-label" x="{x:.2}%" dx="{dx}" y="{y:.1}" text-anchor="{anchor}">{}</text>"#,
            Escaped(label)
        )
    }

    /// An invisible column per span of time that says its values when pointed at.
    pub fn hover(&mut self, from_s: f64, to_s: f64, title: &str) -> fmt::Result {
        let height = f64::from(self.height_px);
        self.rect("hover", (from_s, to_s), (0.0, height), title)
    }

    /// The finished chart. `id` must be unique on the page; `title` and `description` are its text alternative.
    pub fn finish(self, out: &mut String, id: &str, title: &str, description: &str) -> fmt::Result {
        let Self {
            height_px,
            gutter,
            plot,
            labels,
            ..
        } = self;
        write!(
            out,
            r#"<div class="chart"><svg class="gutter" width="{GUTTER_PX}" height="{height_px}" aria-hidden="true">{gutter}</svg><svg class="plot" height="{height_px}" role="img" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{}</title><desc id="{id}-d">{}</desc><svg width="100%" height="{height_px}" viewBox="0 0 {PLOT_WIDTH} {height_px}" preserveAspectRatio="none">{plot}</svg>{labels}</svg></div>"#,
            Escaped(title),
            Escaped(description)
        )
    }

    fn rect(
        &mut self,
        class: &str,
        (from_s, to_s): (f64, f64),
        (y, height): (f64, f64),
        title: &str,
    ) -> fmt::Result {
        let (x, to) = (self.x(from_s), self.x(to_s));
        let width = (to - x).max(0.0);
        write!(
            self.plot,
            r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{width:.1}" height="{height:.1}"><title>{}</title></rect>"#,
            Escaped(title)
        )
    }

    fn draw(&mut self, class: &str, d: &str) -> fmt::Result {
        if d.is_empty() {
            return Ok(());
        }
        write!(self.plot, r#"<path class="{class}" d="{d}"/>"#)
    }

    fn path(&self, d: &mut String, piece: &[(f64, f64)]) -> fmt::Result {
        for (i, (t, value)) in piece.iter().enumerate() {
            let command = if i == 0 { 'M' } else { 'L' };
            write!(d, "{command}{:.1} {:.1}", self.x(*t), self.y(*value))?;
        }
        // A lone point is a line of no length, which round line ends make a dot.
        if piece.len() == 1 {
            d.write_str("h0")
        } else {
            Ok(())
        }
    }

    fn x(&self, t_s: f64) -> f64 {
        (t_s / self.end_s).clamp(0.0, 1.0) * PLOT_WIDTH
    }

    fn y(&self, value: f64) -> f64 {
        PAD_PX + (1.0 - self.scale.place(value)) * (self.floor() - PAD_PX)
    }

    fn floor(&self) -> f64 {
        f64::from(self.height_px) - PAD_PX
    }
}

/// The time axis that charts above it share.
pub fn time_axis(out: &mut String, end_s: f64) -> fmt::Result {
    write!(
        out,
        r#"<div class="chart"><svg class="gutter" width="{GUTTER_PX}" height="{AXIS_PX}" aria-hidden="true"></svg><svg class="plot" height="{AXIS_PX}" aria-hidden="true">"#
    )?;
    let end_s = end_s.max(f64::MIN_POSITIVE);
    for (i, tick) in time_ticks(end_s, AXIS_STEPS).into_iter().enumerate() {
        let share = tick / end_s;
        // On a phone every second label goes.
        let odd = if i % 2 == 1 { " odd" } else { "" };
        let anchor = match share {
            0.0 => "start",
            share if 0.96 < share => "end",
            _ => "middle",
        };
        let x = share * 100.0;
        write!(
            out,
            r#"<text class="time{odd}" x="{x:.2}%" y="14" text-anchor="{anchor}">{}</text>"#,
            text::moment(tick)
        )?;
    }
    out.write_str("</svg></div>")
}

/// A chart with its heading and the names of its lines: the class of each, and its name. `id` and `description` as in
/// [`Chart::finish`].
pub fn panel(
    out: &mut String,
    chart: Chart,
    id: &str,
    title: &str,
    keys: &[(&str, String)],
    description: &str,
) -> fmt::Result {
    write!(
        out,
        r#"<section class="panel"><header><h3>{}</h3><ul class="keys">"#,
        Escaped(title)
    )?;
    for (class, name) in keys {
        write!(
            out,
            r#"<li><svg width="20" height="10" aria-hidden="true"><path class="{class}" d="M1 5H19"/></svg>{}</li>"#,
            Escaped(name)
        )?;
    }
    out.write_str("</ul></header>")?;
    chart.finish(out, id, title, description)?;
    out.write_str("</section>\n")
}

/// A line that keeps each value until the next one, as replicas do; the last value holds until `end_s`.
pub fn steps(points: impl Iterator<Item = Point>, end_s: f64) -> impl Iterator<Item = Point> {
    let mut steps = Vec::new();
    let mut before: Point = (0.0, None);
    for (t, value) in points {
        if before.1.is_some() && before.1 != value {
            steps.push((t, before.1));
        }
        steps.push((t, value));
        before = (t, value);
    }
    if before.1.is_some() && before.0 < end_s {
        steps.push((end_s, before.1));
    }
    steps.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_line_goes_sideways_and_then_up_and_holds_to_the_end() {
        let points = [
            (0.0, Some(1.0)),
            (1.0, Some(1.0)),
            (2.0, Some(4.0)),
            (3.0, None),
            (4.0, Some(2.0)),
        ];
        let corners: Vec<Point> = steps(points.into_iter(), 5.0).collect();
        let expected = [
            (0.0, Some(1.0)),
            (1.0, Some(1.0)),
            (2.0, Some(1.0)),
            (2.0, Some(4.0)),
            (3.0, Some(4.0)),
            (3.0, None),
            (4.0, Some(2.0)),
            (5.0, Some(2.0)),
        ];
        assert_eq!(corners, expected);
    }

    #[test]
    fn a_line_is_parted_at_its_gap_and_a_lone_point_is_a_dot() {
        let mut chart = Chart::new(10.0, 118, Scale::linear(10.0, 2), text::number)
            .expect("a String takes all");
        chart.plot.clear();
        let points = [
            (0.0, Some(0.0)),
            (5.0, Some(10.0)),
            (6.0, None),
            (10.0, Some(5.0)),
        ];
        chart
            .line("p95", points.into_iter())
            .expect("a String takes all");
        assert_eq!(
            chart.plot,
            r#"<path class="p95" d="M0.0 109.0L500.0 9.0M1000.0 59.0h0"/>"#
        );
    }
}
