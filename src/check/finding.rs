//! What was found, a line each: as it should be, not, or passed over; and where it is not, what to do.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// Of the JSON. A field is added when there is need of one; none changes its meaning or goes, or this does.
const VERSION: u32 = 1;

/// The longest part of a text that somebody else wrote: enough for the aggregator's complaint with an address in it.
const FOUND_CHARS_MAX: usize = 500;

/// How something stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
enum Outcome {
    /// As it should be.
    Passed,
    /// It cannot be seen, or need not be there.
    Skipped,
    /// Not as it should be.
    Failed,
}

/// One thing that was looked at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Finding {
    check: &'static str,
    of: String,
    outcome: Outcome,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
}

/// All of them, in the order in which one depends on another.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
}

#[derive(Serialize)]
struct Document<'r> {
    version: u32,
    passed: bool,
    checks: &'r [Finding],
}

// === impl Finding ===

impl Finding {
    pub(super) fn passed(check: &'static str, of: &str, found: &str) -> Self {
        Self::new(check, of, Outcome::Passed, found)
    }

    pub(super) fn skipped(check: &'static str, of: &str, found: &str) -> Self {
        Self::new(check, of, Outcome::Skipped, found)
    }

    pub(super) fn failed(check: &'static str, of: &str, found: &str) -> Self {
        Self::new(check, of, Outcome::Failed, found)
    }

    fn new(check: &'static str, of: &str, outcome: Outcome, found: &str) -> Self {
        Self {
            check,
            of: of.to_owned(),
            outcome,
            found: one_line(found),
            remedy: None,
        }
    }

    /// The same, with what to do about it.
    pub(super) fn remedied(mut self, remedy: impl Into<String>) -> Self {
        self.remedy = Some(one_line(&remedy.into()));
        self
    }

    pub(super) fn is_failure(&self) -> bool {
        self.outcome == Outcome::Failed
    }
}

// === impl Report ===

impl Report {
    pub(super) fn passed(&self) -> bool {
        !self.findings.iter().any(Finding::is_failure)
    }

    /// What is not as it should be, in a line; empty where nothing is.
    pub(super) fn failures(&self) -> String {
        let failed = self.findings.iter().filter(|finding| finding.is_failure());
        let lines: Vec<String> = failed
            .map(
                |Finding {
                     check, of, found, ..
                 }| format!("{check} {of}: {found}"),
            )
            .collect();
        lines.join("; ")
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let mut text = String::new();
        for Finding {
            check,
            of,
            outcome,
            found,
            remedy,
        } in &self.findings
        {
            let outcome = match outcome {
                Outcome::Passed => "ok",
                Outcome::Skipped => "skipped",
                Outcome::Failed => "FAILED",
            };
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{outcome:<8} {check} {of}: {found}");
            if let Some(remedy) = remedy {
                let _ = writeln!(text, "         {remedy}");
            }
        }
        text
    }

    /// For programs: one object and a line's end.
    ///
    /// # Errors
    /// None that a text can have.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        let document = Document {
            version: VERSION,
            passed: self.passed(),
            checks: &self.findings,
        };
        serde_json::to_string(&document).map(|json| json + "\n")
    }
}

/// The resources that a discovery document lists.
pub(super) fn names(document: &Value) -> Vec<&str> {
    let resources = document.get("resources").and_then(Value::as_array);
    resources
        .into_iter()
        .flatten()
        .filter_map(|resource| resource.get("name")?.as_str())
        .collect()
}

/// The beginning of a text, on one line.
fn one_line(text: &str) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(FOUND_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_a_line_each_and_what_to_do_below() {
        let report = Report {
            findings: vec![
                Finding::passed("definition", "a", "served"),
                Finding::skipped("apiservice", "b", "there is none"),
                Finding::failed("discovery", "c", "two\n  lines").remedied("kubectl get pods"),
            ],
        };
        assert_eq!(
            report.text(),
            "ok       definition a: served\n\
             skipped  apiservice b: there is none\n\
             FAILED   discovery c: two lines\n         kubectl get pods\n"
        );
        assert_eq!(report.failures(), "discovery c: two lines");
        assert!(!report.passed());
        let json: Value = serde_json::from_str(&report.json().unwrap()).unwrap();
        assert_eq!(json["passed"], false);
        assert_eq!(json["checks"][2]["remedy"], "kubectl get pods");
        assert!(json["checks"][0].get("remedy").is_none());
    }

    #[test]
    fn a_long_complaint_is_cut() {
        let finding = Finding::failed("discovery", "c", &"é".repeat(FOUND_CHARS_MAX + 1));
        assert_eq!(finding.found.chars().count(), FOUND_CHARS_MAX + 3);
    }
}
