//! Annotations that silence rules. What they silence is known when all rules have looked, so the finding is made in
//! [`crate::lint::check`]; here is what is said of it.

use crate::lint::rule::{Rule, Severity};

pub(super) const RULES: &[Rule] = &[Rule {
    id: "ignore-unused",
    severity: Severity::Note,
    title: "An annotation silences a rule that finds nothing",
    why: "The mistake was mended, or the rule's name is misspelt. What is left behind hides the next mistake of its \
          kind.",
    fix: "leave the rule out of taffrail.dev/lint-ignore",
    wrong: hpa_of!(
        "autoscaling/v2",
        "{name: users, annotations: {taffrail.dev/lint-ignore: min-equals-max}}",
        "{apiVersion: apps/v1, kind: Deployment, name: users}",
        "minReplicas: 2",
        "maxReplicas: 10",
    ),
    right: hpa_of!(
        "autoscaling/v2",
        "{name: users, annotations: {taffrail.dev/lint-ignore: min-equals-max}}",
        "{apiVersion: apps/v1, kind: Deployment, name: users}",
        "minReplicas: 4",
        "maxReplicas: 4",
    ),
    page: None,
    check: |_, _| {},
}];
