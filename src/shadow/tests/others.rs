//! Who changed the replicas: the HPA, seen or unseen, or somebody else.

use super::*;

#[test]
fn what_somebody_else_scaled_is_told_apart_from_what_the_hpa_decided() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    sync(&mut book, 30.0, 250, 6, 6);
    let known = newest(&book);
    assert_eq!(known.changed_by_others, Some(2));
    assert_eq!(known.agreement, Agreement::Agreed);
    assert_eq!(book.take_counts().changes_by_others, 1);
}

#[test]
fn what_an_hpa_does_while_the_watch_is_lost_is_not_judged() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    book.lose();
    book.read(&users(), read(30.0, Ok(500)), pods(2));
    book.tick(at(36.0));
    let known = newest(&book);
    assert_eq!((known.agreement, known.parted), (Agreement::Unclear, 0));
    let said = known.facts.real.unwrap().parted.unwrap();
    assert!(said.contains("not being seen"), "{said}");
    // It has scaled meanwhile: that was nobody else, and what it remembers is not known.
    book.see_again(at(40.0));
    sync(&mut book, 45.0, 250, 4, 4);
    let known = newest(&book);
    assert_eq!(
        (known.agreement, known.changed_by_others),
        (Agreement::Agreed, None)
    );
    sync(&mut book, 60.0, 100, 4, 2);
    assert_eq!(newest(&book).agreement, Agreement::PartedEarly);
}

#[test]
fn what_the_hpa_did_itself_while_nobody_looked_was_nobody_else() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    book.lose();
    book.see_again(at(60.0));
    let scaled = Status::of(&json!({
        "currentReplicas": 4, "desiredReplicas": 4, "lastScaleTime": "2026-11-21T10:00:00Z",
        "currentMetrics": [{"type": "External", "external": {"current": {"value": "250"}}}],
        "conditions": [{"type": "ScalingActive", "status": "True", "reason": "ValidMetricFound"}],
    }));
    book.read(&users(), read(75.0, Ok(250)), pods(4));
    book.apply(at(75.1), &users(), object(&spec(false), scaled), pods(4));
    book.tick(at(81.0));
    let known = newest(&book);
    assert_eq!(known.facts.spec_replicas, 4);
    assert_eq!(
        (known.changed_by_others, known.facts.changed_by_others),
        (None, None)
    );
}

#[test]
fn what_somebody_else_changed_is_remembered_beside_what_the_hpa_did() {
    let mut book = book();
    sync(&mut book, 15.0, 250, 2, 2);
    let since = |book: &Book| crate::story::Explanation::new(&newest(book).facts).since;
    sync(&mut book, 30.0, 250, 3, 3);
    let found = "somebody else than the HPA changed them from 2 to 3, ";
    assert_eq!(since(&book), Some(format!("{found}since the sync before")));
    sync(&mut book, 45.0, 250, 3, 3);
    assert_eq!(
        since(&book),
        Some(format!("{found}as the sync 15 s before found"))
    );
    // Now by hand to 5, which at 500 is 10 at once.
    sync(&mut book, 60.0, 500, 5, 10);
    let after = "after somebody else had changed them from 3 to 5";
    assert_eq!(
        since(&book),
        Some(format!("this sync changed them from 5 to 10, {after}"))
    );
    sync(&mut book, 75.0, 250, 10, 10);
    let last = "the last change was from 5 to 10, 15 s before, when p95 read 500 ms";
    assert_eq!(since(&book), Some(format!("{last}, {after}")));
}
