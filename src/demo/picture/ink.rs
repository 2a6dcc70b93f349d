//! The styles of the picture: the terminal's own sixteen colours, so that it fits any theme, or none of them. Nothing
//! is told by colour alone.

use ratatui::style::{Color, Style};

/// With which styles to draw.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ink {
    /// In colour.
    Colour,
    /// In the terminal's own foreground, with bold and dim only.
    Plain,
}

/// What is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Load that is offered, pods that are not ready: the background of a chart.
    Offered,
    /// What is answered; latency within the objective; pods that are ready.
    Good,
    /// Latency over the objective, failures.
    Bad,
    /// What the HPA reads.
    Metric,
    /// A target: of latency, of CPU.
    Target,
    /// CPU, and what it alone would have asked for.
    Cpu,
    /// What the HPA wants.
    Wanted,
}

impl Ink {
    /// The colour of a line; the terminal's foreground without colours.
    pub(super) fn color(self, role: Role) -> Color {
        if self == Self::Plain {
            return Color::Reset;
        }
        match role {
            Role::Offered => Color::DarkGray,
            Role::Good => Color::Cyan,
            Role::Bad => Color::LightRed,
            Role::Metric => Color::LightMagenta,
            Role::Target => Color::Yellow,
            Role::Cpu => Color::Green,
            Role::Wanted => Color::Reset,
        }
    }

    /// A word about what is drawn in that colour.
    pub(super) fn word(self, role: Role) -> Style {
        match role {
            Role::Offered => Style::new().dim(),
            role => Style::new().fg(self.color(role)).bold(),
        }
    }

    /// Words that step back.
    pub(super) fn soft() -> Style {
        Style::new().dim()
    }
}
