//! One JSON object. A field is added when there is need of one; none changes its meaning or goes, or `version` does.

use serde::Serialize;

use crate::lint::check::Verdict;
use crate::lint::objects::Read;

/// Of the format.
const VERSION: u32 = 1;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'r> {
    version: u32,
    checked: usize,
    passed_over: usize,
    silenced: usize,
    findings: Vec<Finding<'r>>,
    unread: Vec<Unread<'r>>,
}

#[derive(Serialize)]
struct Finding<'r> {
    rule: &'r str,
    severity: &'r str,
    file: Option<&'r str>,
    line: Option<u64>,
    column: Option<u64>,
    object: &'r str,
    field: &'r str,
    what: &'r str,
    why: &'r str,
    fix: &'r str,
}

#[derive(Serialize)]
struct Unread<'r> {
    file: &'r str,
    line: Option<u64>,
    message: &'r str,
}

/// The report, with a line's end.
///
/// # Errors
/// None that a text can have.
pub(crate) fn report(read: &Read, verdict: &Verdict) -> serde_json::Result<String> {
    let findings = verdict.findings.iter().map(|finding| {
        let source = &read.sources[finding.source];
        Finding {
            rule: finding.rule.id,
            severity: finding.rule.severity.as_str(),
            file: finding.at.map(|_| source.name.as_str()),
            line: finding.at.map(|at| at.line),
            column: finding.at.map(|at| at.column),
            object: &finding.object,
            field: &finding.path,
            what: &finding.what,
            why: &finding.why,
            fix: &finding.fix,
        }
    });
    let unread = read.unread.iter().map(|unread| Unread {
        file: &unread.source,
        line: unread.line,
        message: &unread.message,
    });
    let report = Report {
        version: VERSION,
        checked: verdict.checked,
        passed_over: verdict.passed_over,
        silenced: verdict.silenced,
        findings: findings.collect(),
        unread: unread.collect(),
    };
    let mut text = serde_json::to_string_pretty(&report)?;
    text.push('\n');
    Ok(text)
}
