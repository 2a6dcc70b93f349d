//! A chart of one quantity against another, as SVG that stretches with the page while dots and text keep their size. It
//! knows places and labels, and not what they mean.

use std::fmt::{self, Write};

use taffrail_loadtest::report::html::Escaped;
use taffrail_loadtest::report::scale::Scale;

/// Width of the lines' own units; only the resolution of paths depends on it.
const WIDTH: f64 = 1000.0;

/// Room above and below, for half the height of a label.
const PAD_PX: f64 = 9.0;

/// Width of the gutter, as that of the charts over time; the style sheet's grid has the same number.
const GUTTER_PX: u32 = 56;

/// Height of the axis below.
const AXIS_PX: u32 = 20;

/// Radius of a dot, and of one that matters.
const DOT_PX: f64 = 3.5;

/// See [`DOT_PX`].
const DOT_BIG_PX: f64 = 7.0;

/// A chart that is being drawn, back to front. Places are shares of width and height, from the lower left.
#[derive(Debug)]
pub(super) struct Scatter {
    height_px: u32,
    gutter: String,
    plot: String,
    dots: String,
    axis: String,
}

/// A scale, and how its ticks are written.
type Axis<'a> = (&'a Scale, &'a dyn Fn(f64) -> String);

impl Scatter {
    /// An empty chart with its grid.
    pub(super) fn new(
        height_px: u32,
        (across, x_told): Axis<'_>,
        (up, y_told): Axis<'_>,
    ) -> Result<Self, fmt::Error> {
        let mut chart = Self {
            height_px,
            gutter: String::new(),
            plot: String::new(),
            dots: String::new(),
            axis: String::new(),
        };
        for tick in &up.ticks {
            let y = chart.y(up.place(*tick));
            write!(chart.plot, r#"<path class="grid" d="M0 {y:.1}H{WIDTH}"/>"#)?;
            let (x, label) = (GUTTER_PX - 8, y_told(*tick));
            write!(
                chart.gutter,
                r#"<text class="tick" x="{x}" y="{:.1}">{}</text>"#,
                y + 4.0,
                Escaped(&label)
            )?;
        }
        for (n, tick) in across.ticks.iter().enumerate() {
            let x = across.place(*tick);
            let (top, floor) = (PAD_PX, chart.y(0.0));
            write!(
                chart.plot,
                r#"<path class="grid" d="M{:.1} {top}V{floor:.1}"/>"#,
                x * WIDTH
            )?;
            let anchor = match x {
                x if x < 0.04 => "start",
                x if 0.96 < x => "end",
                _ => "middle",
            };
            let odd = if n % 2 == 1 { " odd" } else { "" };
            let label = x_told(*tick);
            write!(
                chart.axis,
                r#"<text class="time{odd}" x="{:.2}%" y="14" text-anchor="{anchor}">{}</text>"#,
                x * 100.0,
                Escaped(&label)
            )?;
        }
        Ok(chart)
    }

    /// A horizontal line, named at its right end.
    pub(super) fn level(&mut self, class: &str, height: f64, name: &str) -> fmt::Result {
        let y = self.y(height);
        write!(
            self.plot,
            r#"<path class="{class}" d="M0 {y:.1}H{WIDTH}"/>"#
        )?;
        write!(
            self.dots,
            r#"<text class="name {class}" x="100%" dx="-6" y="{:.1}">{}</text>"#,
            y - 5.0,
            Escaped(name)
        )
    }

    /// A line through places.
    pub(super) fn line(&mut self, class: &str, places: &[(f64, f64)]) -> fmt::Result {
        let mut d = String::new();
        for (n, (x, y)) in places.iter().enumerate() {
            let command = if n == 0 { 'M' } else { 'L' };
            write!(d, "{command}{:.1} {:.1}", x * WIDTH, self.y(*y))?;
        }
        match d.is_empty() {
            true => Ok(()),
            false => write!(self.plot, r#"<path class="{class}" d="{d}"/>"#),
        }
    }

    /// A dot that says its title when pointed at.
    pub(super) fn dot(&mut self, class: &str, (x, y): (f64, f64), title: &str) -> fmt::Result {
        let radius = if class == "chosen" || class == "present" {
            DOT_BIG_PX
        } else {
            DOT_PX
        };
        write!(
            self.dots,
            r#"<circle class="{class}" cx="{:.2}%" cy="{:.1}" r="{radius}"><title>{}</title></circle>"#,
            x * 100.0,
            self.y(y),
            Escaped(title)
        )
    }

    /// The finished chart with its heading, its keys, which are classes of dots with their names, and its axis. `id` must be
    /// unique on the page; `title` and `description` are its text alternative.
    pub(super) fn finish(
        self,
        out: &mut String,
        id: &str,
        title: &str,
        across: &str,
        keys: &[(&str, &str)],
        description: &str,
    ) -> fmt::Result {
        let Self {
            height_px,
            gutter,
            plot,
            dots,
            axis,
        } = self;
        let (title, description) = (Escaped(title), Escaped(description));
        write!(
            out,
            r#"<section class="panel"><header><h3>{title}</h3><ul class="keys">"#
        )?;
        for (class, name) in keys {
            write!(
                out,
                r#"<li><svg width="16" height="14" aria-hidden="true"><circle class="{class}" cx="8" cy="7" r="5"/></svg>{}</li>"#,
                Escaped(name)
            )?;
        }
        write!(
            out,
            r#"</ul></header><div class="chart scatter"><svg class="gutter" width="{GUTTER_PX}" height="{height_px}" aria-hidden="true">{gutter}</svg><svg class="plot" height="{height_px}" role="img" aria-labelledby="{id}-t {id}-d"><title id="{id}-t">{title}</title><desc id="{id}-d">{description}</desc><svg width="100%" height="{height_px}" viewBox="0 0 {WIDTH} {height_px}" preserveAspectRatio="none">{plot}</svg>{dots}</svg></div>"#
        )?;
        write!(
            out,
            r#"<div class="chart"><svg class="gutter" width="{GUTTER_PX}" height="{AXIS_PX}" aria-hidden="true"></svg><svg class="plot" height="{AXIS_PX}" aria-hidden="true">{axis}</svg></div><p class="across">{}</p></section>"#,
            Escaped(across)
        )?;
        out.write_char('\n')
    }

    fn y(&self, height: f64) -> f64 {
        PAD_PX + (1.0 - height) * (f64::from(self.height_px) - 2.0 * PAD_PX)
    }
}
