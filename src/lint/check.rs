//! All rules over all objects, and what annotations silence of it.

use std::collections::BTreeSet;

use crate::config::tree::Node;

use super::objects::{Object, Read};
use super::rule::{self, Finding, Found, Out};
use super::world::{Beside, Known, World};

/// The annotation that silences rules for its object.
pub(crate) const IGNORE: &str = "taffrail.dev/lint-ignore";

/// The rule of annotations that silence nothing.
const UNUSED: &str = "ignore-unused";

/// What was found.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// By source, place and rule.
    pub(crate) findings: Vec<Finding>,
    /// Objects of kinds that rules look at.
    pub(crate) checked: usize,
    /// Objects of other kinds.
    pub(crate) passed_over: usize,
    /// Findings that annotations silence.
    pub(crate) silenced: usize,
}

/// Looks for every mistake.
pub(crate) fn check(read: &Read, beside: &Beside) -> Verdict {
    let world = World::new(read, beside);
    let mut found = Vec::new();
    for rule in rule::all() {
        (rule.check)(
            &world,
            &mut Out {
                rule,
                findings: &mut found,
            },
        );
    }
    let all = found.len();
    let mut used = BTreeSet::new();
    found.retain(|found| {
        let is_silenced =
            ignored(&read.objects[found.object]).any(|id| id == found.finding.rule.id);
        if is_silenced {
            used.insert((found.object, found.finding.rule.id));
        }
        !is_silenced
    });
    let silenced = all - found.len();
    add_unused(read, &used, &mut found);
    let mut findings: Vec<Finding> = found.into_iter().map(|found| found.finding).collect();
    // Stable, so that findings of one place keep the order of the rules.
    findings.sort_by(|a, b| (a.source, a.at, &a.object).cmp(&(b.source, b.at, &b.object)));
    Verdict {
        findings,
        checked: world.checked(),
        passed_over: read.objects.len().saturating_sub(world.checked()),
        silenced,
    }
}

/// The rules that an object's annotation names.
fn ignored(object: &Object) -> impl Iterator<Item = &str> {
    let text = object
        .annotation(IGNORE)
        .and_then(Node::text)
        .unwrap_or_default();
    text.split(',').map(str::trim).filter(|id| !id.is_empty())
}

/// An annotation that silences nothing is a leftover, and one that names no rule a slip.
fn add_unused(read: &Read, used: &BTreeSet<(usize, &str)>, found: &mut Vec<Found>) {
    let Some(rule) = rule::by_id(UNUSED) else {
        return;
    };
    for (index, object) in read.objects.iter().enumerate() {
        let Some(node) = object.annotation(IGNORE) else {
            continue;
        };
        if ignored(object).any(|id| id == UNUSED) {
            continue;
        }
        for id in ignored(object).filter(|id| !used.contains(&(index, *id))) {
            let what = match rule::by_id(id) {
                Some(_) => format!("{IGNORE} names {id}, which finds nothing here"),
                None => format!("{IGNORE} names {id}, and there is no such rule"),
            };
            let why = "whoever reads it believes that there is a reason for it; the next mistake of that kind is not \
                told";
            let mut out = Out {
                rule,
                findings: found,
            };
            out.at(
                &Known { index, object },
                node,
                what,
                why,
                format!("leave {id} out"),
            );
        }
    }
}
