//! The table holds what it says: every rule finds its own mistake in its wrong example and nothing in its right one.

use std::collections::BTreeSet;

use proptest::prelude::*;

use crate::lint::check::{self, Verdict};
use crate::lint::objects::Read;
use crate::lint::page::Page;
use crate::lint::rule::{self, Rule, Severity};
use crate::lint::world::Beside;

fn lint(text: &str, page: Option<&str>) -> (Read, Verdict) {
    let mut read = Read::default();
    read.add_text("example.yaml", text.to_owned());
    let mut beside = Beside::default();
    if let Some(page) = page {
        beside
            .pages
            .insert("users".to_owned(), Page::new(page.into()));
    }
    let verdict = check::check(&read, &beside);
    (read, verdict)
}

fn found(rule: &Rule, text: &str) -> (Vec<String>, Vec<String>) {
    let (read, verdict) = lint(text, rule.page);
    assert!(read.unread.is_empty(), "{}: {:?}", rule.id, read.unread);
    let said = |finding: &rule::Finding| {
        format!(
            "{} at {:?} {}: {} ({}) -> {}",
            finding.rule.id, finding.at, finding.path, finding.what, finding.why, finding.fix
        )
    };
    let (own, others): (Vec<_>, Vec<_>) = verdict
        .findings
        .iter()
        .partition(|finding| finding.rule.id == rule.id);
    let others = others
        .into_iter()
        .filter(|finding| finding.rule.severity == Severity::Error);
    (
        own.into_iter().map(said).collect(),
        others.map(said).collect(),
    )
}

#[test]
fn every_rule_finds_its_wrong_example_and_not_its_right_one() {
    let mut wrong = Vec::new();
    for rule in rule::all() {
        let (own, _) = found(rule, rule.wrong);
        if own.is_empty() {
            wrong.push(format!("{}: nothing found in\n{}", rule.id, rule.wrong));
        }
        let (own, others) = found(rule, rule.right);
        for said in own.iter().chain(&others) {
            wrong.push(format!("{}: the right example is not: {said}", rule.id));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_finding_has_its_place_and_says_everything() {
    for rule in rule::all() {
        let (_, verdict) = lint(rule.wrong, rule.page);
        for finding in verdict.findings {
            let at = finding
                .at
                .unwrap_or_else(|| panic!("{}: no place", finding.rule.id));
            assert!(0 < at.line && 0 < at.column);
            for part in [&finding.what, &finding.why, &finding.fix] {
                assert!(!part.is_empty(), "{}", finding.rule.id);
                assert!(
                    !part.contains('\n') && !part.ends_with('.'),
                    "{}: {part}",
                    finding.rule.id
                );
            }
        }
    }
}

#[test]
fn the_table_is_in_order() {
    let mut ids = BTreeSet::new();
    for rule in rule::all() {
        assert!(ids.insert(rule.id), "{} stands twice", rule.id);
        let is_kebab = rule
            .id
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b == b'-' || b.is_ascii_digit());
        assert!(is_kebab, "{}", rule.id);
        assert!(
            rule.why.ends_with('.') && !rule.title.ends_with('.') && !rule.fix.ends_with('.'),
            "{}",
            rule.id
        );
    }
    assert!(40 <= ids.len(), "{}", ids.len());
}

proptest! {
    /// Whatever stands in place of a value of an example, and whichever line is missing: no panic.
    #[test]
    fn no_document_is_too_strange(
        rule in 0..rule::all().count(),
        line in 0..20usize,
        value in "(\\PC{0,12}|[0-9]{1,25}|\\{\\}|\\[\\]|null|-1|1e400|a: b)",
        is_gone in any::<bool>(),
    ) {
        let rule = rule::all().nth(rule).unwrap();
        let mut lines: Vec<String> = rule.wrong.lines().map(str::to_owned).collect();
        let index = line % lines.len();
        if is_gone {
            lines.remove(index);
        } else if let Some((name, _)) = lines[index].clone().rsplit_once(": ") {
            lines[index] = format!("{name}: {value}");
        }
        lint(&lines.join("\n"), rule.page);
    }
}
