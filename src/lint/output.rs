//! Findings as text for people, as workflow commands for GitHub, and as JSON for programs. The same findings give the
//! same bytes.

pub(super) mod github;
pub(super) mod json;
pub(super) mod text;

use super::rule::{Finding, Severity};

/// How many findings are errors, warnings and notes.
fn counts(findings: &[Finding]) -> [(Severity, usize); 3] {
    [Severity::Error, Severity::Warning, Severity::Note].map(|severity| {
        let of_it = findings
            .iter()
            .filter(|finding| finding.rule.severity == severity);
        (severity, of_it.count())
    })
}
