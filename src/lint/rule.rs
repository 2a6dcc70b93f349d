//! What a rule is and what it finds, and the one table of all rules: help, `--list`, `--explain`, the checks and their
//! tests are made of it.

use std::fmt;

use crate::config::tree::{Node, Position};

use super::objects::Object;
use super::rules;
use super::world::World;

/// How bad it is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Severity {
    /// Worth knowing; nothing is wrong.
    Note,
    /// It hurts sooner or later.
    Warning,
    /// It cannot work as it is.
    Error,
}

/// One kind of mistake.
pub(crate) struct Rule {
    /// Its name, which never changes: it is in people's annotations and scripts.
    pub(crate) id: &'static str,
    /// How bad it is.
    pub(crate) severity: Severity,
    /// What is wrong, in a line.
    pub(crate) title: &'static str,
    /// Why that hurts, in sentences.
    pub(crate) why: &'static str,
    /// What to do.
    pub(crate) fix: &'static str,
    /// Documents in which it finds something.
    pub(crate) wrong: &'static str,
    /// The same, mended.
    pub(crate) right: &'static str,
    /// A page of metrics that goes with the examples, as `--page users=FILE`.
    pub(crate) page: Option<&'static str>,
    /// Looks for it.
    pub(crate) check: fn(&World<'_>, &mut Out<'_>),
}

/// One mistake that was found.
#[derive(Clone, Debug)]
pub(crate) struct Finding {
    /// Of which kind.
    pub(crate) rule: &'static Rule,
    /// The source's index.
    pub(crate) source: usize,
    /// Where in it.
    pub(crate) at: Option<Position>,
    /// The object, such as `HorizontalPodAutoscaler shop/users`.
    pub(crate) object: String,
    /// The field, such as `spec.metrics[0].external.target`.
    pub(crate) path: String,
    /// What is wrong.
    pub(crate) what: String,
    /// Why it hurts, in this case's numbers.
    pub(crate) why: String,
    /// What to write instead.
    pub(crate) fix: String,
}

/// Where a rule puts what it finds.
pub(crate) struct Out<'o> {
    pub(crate) rule: &'static Rule,
    pub(crate) findings: &'o mut Vec<Found>,
}

/// A finding, and the object whose annotation may silence it.
#[derive(Clone, Debug)]
pub(crate) struct Found {
    /// What was found.
    pub(crate) finding: Finding,
    /// The object's place among all objects.
    pub(crate) object: usize,
}

/// Findings of one rule, at most: a thousand alike teach nobody more than the first did.
const FINDINGS_MAX: usize = 1_000;

/// Every rule, in the order in which they are listed.
pub(crate) fn all() -> impl Iterator<Item = &'static Rule> {
    rules::ALL.iter().flat_map(|subject| subject.iter())
}

/// The rule of a name.
pub(crate) fn by_id(id: &str) -> Option<&'static Rule> {
    all().find(|rule| rule.id == id)
}

/// Whether one of `findings` is as bad as that.
pub(crate) fn has(findings: &[Finding], severity: Severity) -> bool {
    findings
        .iter()
        .any(|finding| finding.rule.severity == severity)
}

// === impl Severity ===

impl Severity {
    /// Its name, in every format.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

// === impl Out ===

impl Out<'_> {
    /// Something is wrong at `node`, which is a part of `object`.
    pub(crate) fn at(
        &mut self,
        object: &super::world::Known<'_>,
        node: &Node,
        what: impl Into<String>,
        why: impl Into<String>,
        fix: impl Into<String>,
    ) {
        let so_far = self.findings.iter();
        let own = so_far.filter(|found| found.finding.rule.id == self.rule.id);
        if FINDINGS_MAX <= own.count() {
            return;
        }
        let Object {
            source, kind, root, ..
        } = object.object;
        self.findings.push(Found {
            object: object.index,
            finding: Finding {
                rule: self.rule,
                source: *source,
                at: node.at,
                object: format!("{kind} {}", object.object.id()),
                path: root.path_to(node).unwrap_or_default(),
                what: what.into(),
                why: why.into(),
                fix: fix.into(),
            },
        });
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rule")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Out<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Out")
            .field("rule", &self.rule)
            .finish_non_exhaustive()
    }
}
