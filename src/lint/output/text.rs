//! For people: each finding with its line and a mark below it, then how many there are. Also the list of rules, and all
//! about one of them.

use super::counts;
use crate::config::tree::Position;
use crate::lint::check::Verdict;
use crate::lint::objects::Read;
use crate::lint::rule::{self, Finding, Rule, Severity};

/// The widest line that is shown: longer ones are somebody's JSON on one line.
const LINE_CHARS_MAX: usize = 160;

/// Where text is bent in `--explain`.
const WIDTH: usize = 100;

const BOLD: &str = "1";
const BLUE: &str = "1;34";

/// The findings, and a line that says how many there are.
pub(crate) fn report(read: &Read, verdict: &Verdict, colours: bool) -> String {
    let paint = Paint { colours };
    let mut text = String::new();
    for unread in &read.unread {
        let line = unread.line.map_or(String::new(), |line| format!(":{line}"));
        let (word, colour) = if unread.is_optional {
            ("not read", "1;33")
        } else {
            ("unreadable", "1;31")
        };
        text += &format!(
            "{}: {}{line}: {}\n\n",
            paint.in_colour(word, colour),
            unread.source,
            unread.message
        );
    }
    for finding in &verdict.findings {
        text += &one(read, finding, paint);
    }
    text += &summary(verdict);
    text
}

fn one(read: &Read, finding: &Finding, paint: Paint) -> String {
    let Finding {
        rule,
        at,
        object,
        path,
        what,
        why,
        fix,
        ..
    } = finding;
    let source = &read.sources[finding.source];
    let head = format!("{}[{}]", rule.severity, rule.id);
    let mut text = format!(
        "{}{}\n",
        paint.in_colour(&head, colour(rule.severity)),
        paint.in_colour(&format!(": {what}"), BOLD)
    );
    let path = match path.as_str() {
        "" => String::new(),
        path => format!(", {path}"),
    };
    let (place, margin) = match at {
        Some(Position { line, column }) => (
            format!("{}:{line}:{column}", source.name),
            line.to_string().len(),
        ),
        None => (source.name.clone(), 1),
    };
    let blank = " ".repeat(margin);
    text += &format!(
        "{blank}{} {place}: {object}{path}\n",
        paint.in_colour("-->", BLUE)
    );
    let bar = paint.in_colour("|", BLUE);
    if let Some(at) = at
        && let Some((shown, before, marked)) = excerpt(&source.text, *at)
    {
        let number = paint.in_colour(&at.line.to_string(), BLUE);
        let mark = paint.in_colour(&"^".repeat(marked), colour(rule.severity));
        text += &format!(
            "{blank} {bar}\n{number} {bar} {shown}\n{blank} {bar} {}{mark}\n",
            " ".repeat(before)
        );
    }
    let equals = paint.in_colour("=", BLUE);
    text += &format!("{blank} {equals} why: {why}\n{blank} {equals} fix: {fix}\n\n");
    text
}

/// The line of a place, how many characters are before the place, and how many are the field's name.
fn excerpt(text: &str, at: Position) -> Option<(String, usize, usize)> {
    let index = |place: u64| usize::try_from(place).ok()?.checked_sub(1);
    let line = text.lines().nth(index(at.line)?)?;
    let line: Vec<char> = line
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    let before = index(at.column)?;
    let rest = line.get(before..).unwrap_or_default();
    let is_of_name = |c: &&char| c.is_alphanumeric() || "-_./\"'".contains(**c);
    let marked = rest.iter().take_while(is_of_name).count().max(1);
    // A place far to the right is brought to the left.
    let from = if LINE_CHARS_MAX < before + marked {
        before.saturating_sub(LINE_CHARS_MAX / 2)
    } else {
        0
    };
    let shown: String = line.iter().skip(from).take(LINE_CHARS_MAX).collect();
    Some((
        shown.trim_end().to_owned(),
        before - from,
        marked.min(LINE_CHARS_MAX),
    ))
}

/// What is said where no object is of a kind that rules look at.
pub(super) fn nothing_to_check(verdict: &Verdict) -> String {
    format!(
        "nothing to check: no HorizontalPodAutoscaler, RequestMetrics or what belongs to them among {} objects",
        verdict.passed_over
    )
}

/// How much was found, in one line.
fn summary(verdict: &Verdict) -> String {
    let Verdict {
        findings,
        checked,
        passed_over,
        silenced,
    } = verdict;
    if *checked == 0 {
        return nothing_to_check(verdict) + "\n";
    }
    let counted: Vec<String> = counts(findings)
        .into_iter()
        .map(|(severity, n)| format!("{n} {severity}{}", if n == 1 { "" } else { "s" }))
        .collect();
    let mut text = format!("{} in {checked} objects", counted.join(", "));
    if 0 < *passed_over {
        text += &format!("; {passed_over} of other kinds passed over");
    }
    if 0 < *silenced {
        text += &format!("; {silenced} silenced by annotations");
    }
    text.push('\n');
    text
}

/// Every rule in a line.
pub(crate) fn list() -> String {
    let width = rule::all()
        .map(|rule| rule.id.len())
        .max()
        .unwrap_or_default();
    let line = |rule: &Rule| format!("{:width$}  {:7}  {}\n", rule.id, rule.severity, rule.title);
    let mut text: String = rule::all().map(line).collect();
    text += "\ntaffrail lint --explain RULE says why, and shows the mistake and its remedy.\n";
    text
}

/// All about a rule.
pub(crate) fn explain(rule: &Rule) -> String {
    let mut text = format!("{}[{}]: {}\n\n", rule.severity, rule.id, rule.title);
    text += &format!("{}\n\nFix: {}\n", folded(rule.why), folded(rule.fix));
    for (title, example) in [("Wrong", rule.wrong), ("Right", rule.right)] {
        text += &format!("\n{title}:\n\n");
        for line in example.lines() {
            text += &format!("    {line}\n");
        }
    }
    if let Some(page) = rule.page {
        text += "\nWith this page (--page users=FILE):\n\n";
        for line in page.lines() {
            text += &format!("    {line}\n");
        }
    }
    text
}

/// Words in lines.
fn folded(text: &str) -> String {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.len() - 1;
        if lines[last].is_empty() {
            lines[last].push_str(word);
        } else if lines[last].chars().count() + 1 + word.chars().count() <= WIDTH {
            lines[last].push(' ');
            lines[last].push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines.join("\n")
}

fn colour(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "1;31",
        Severity::Warning => "1;33",
        Severity::Note => "1;36",
    }
}

/// Whether there are colours.
#[derive(Clone, Copy)]
struct Paint {
    colours: bool,
}

impl Paint {
    fn in_colour(self, text: &str, colour: &str) -> String {
        if self.colours {
            format!("\x1b[{colour}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }
}
