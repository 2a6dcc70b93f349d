//! Workflow commands: `::error file=..,line=..::..`, which GitHub shows at the line of a pull request.

use crate::lint::check::Verdict;
use crate::lint::objects::Read;
use crate::lint::rule::Severity;

/// A command for each finding and for each file that could not be read.
pub(crate) fn report(read: &Read, verdict: &Verdict) -> String {
    let mut text = String::new();
    // Whoever sees nothing believes that all is well.
    if verdict.checked == 0 {
        let message = super::text::nothing_to_check(verdict);
        text += &format!("::error title=nothing to check::{}\n", data(&message));
    }
    for unread in &read.unread {
        let command = if unread.is_optional {
            "notice"
        } else {
            "error"
        };
        let line = unread
            .line
            .map_or(String::new(), |line| format!(",line={line}"));
        text += &format!(
            "::{command} file={}{line},title=unreadable::{}\n",
            file(&unread.source),
            data(&unread.message)
        );
    }
    for finding in &verdict.findings {
        let command = match finding.rule.severity {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "notice",
        };
        let place = finding.at.map_or(String::new(), |at| {
            let file = file(&read.sources[finding.source].name);
            format!("file={file},line={},col={},", at.line, at.column)
        });
        // What ends with a question needs no stop.
        let stop = if finding.what.ends_with('?') { "" } else { "." };
        let message = format!(
            "{}: {}{stop} Why: {}. Fix: {}",
            finding.object, finding.what, finding.why, finding.fix
        );
        text += &format!(
            "::{command} {place}title={}::{}\n",
            property(finding.rule.id),
            data(&message)
        );
    }
    text
}

/// A file as GitHub names those of a pull request: from the root of the repository, in which it is run.
fn file(name: &str) -> String {
    property(name.strip_prefix("./").unwrap_or(name))
}

/// What may stand after `::`.
fn data(text: &str) -> String {
    text.replace('%', "%25")
        .replace('\r', "%0D")
        .replace('\n', "%0A")
}

/// What may stand in a property.
fn property(text: &str) -> String {
    data(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_end_a_command_is_escaped() {
        assert_eq!(data("10 %\nnext"), "10 %25%0Anext");
        assert_eq!(property("a:b,c"), "a%3Ab%2Cc");
        assert_eq!(property("50%\r\n"), "50%25%0D%0A");
        assert_eq!(file("./deploy/hpa,v2.yaml"), "deploy/hpa%2Cv2.yaml");
    }
}
