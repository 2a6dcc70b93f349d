//! The text of a page, in the format that every Prometheus reads or in that of OpenMetrics. It knows names and labels, and
//! nothing of a run.

use std::fmt::{self, Display, Write};

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
    is_openmetrics: bool,
    /// When the samples were taken, in seconds since 1970; whoever reads the page takes its own time where it is `None`.
    at_s: Option<f64>,
}

impl Page {
    /// A page of OpenMetrics whose samples were taken at this moment.
    pub(super) fn openmetrics(at_s: Option<f64>) -> Self {
        Self {
            is_openmetrics: true,
            at_s,
            ..Self::default()
        }
    }

    /// Begins a family; its samples must follow.
    pub(super) fn family(&mut self, name: &str, kind: &str, help: &str) {
        // There the family of a counter, and of what is always 1, has no suffix.
        let name = match (self.is_openmetrics, kind) {
            (true, "counter") => name.trim_end_matches("_total"),
            (true, "info") => name.trim_end_matches("_info"),
            _ => name,
        };
        let _ = write!(
            self.text,
            "# HELP loadtest_{name} {help}\n# TYPE loadtest_{name} {kind}\n"
        );
    }

    pub(super) fn sample(&mut self, name: &str, labels: &[(&str, &str)], value: impl Display) {
        let _ = write!(self.text, "loadtest_{name}");
        for (i, (name, value)) in labels.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            let _ = write!(self.text, "{before}{name}=\"{}\"", Label(value));
        }
        let after = if labels.is_empty() { "" } else { "}" };
        let _ = write!(self.text, "{after} {value}");
        if let Some(at_s) = self.at_s {
            let _ = write!(self.text, " {at_s:.3}");
        }
        self.text.push('\n');
    }

    /// The whole page.
    pub(super) fn end(mut self) -> String {
        if self.is_openmetrics {
            self.text += "# EOF\n";
        }
        self.text
    }
}

/// A label's value.
struct Label<'a>(&'a str);

impl Display for Label<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| match c {
            '\\' => f.write_str("\\\\"),
            '"' => f.write_str("\\\""),
            '\n' => f.write_str("\\n"),
            c => f.write_char(c),
        })
    }
}
