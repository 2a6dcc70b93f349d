//! Several documents in one file: where each begins, and that one does not cost another.

use super::*;

/// A right document of a name, of seven lines.
fn right(name: &str) -> String {
    format!(
        "apiVersion: taffrail.dev/v1alpha1\nkind: RequestMetrics\nmetadata: {{name: {name}}}\nspec:\n  window: 30s\n  source:\n    pods: {{targets: [{name}:80]}}\n"
    )
}

/// As [`right`], and wrong at its fifth line.
fn broken(name: &str) -> String {
    right(name).replace("30s", "30")
}

fn names(text: &str) -> Vec<String> {
    parse(text)
        .services
        .keys()
        .map(|id| id.name.to_string())
        .collect()
}

fn lines(text: &str) -> Vec<u64> {
    parse(text)
        .problems
        .iter()
        .filter_map(|problem| problem.line)
        .collect()
}

#[test]
fn documents_are_told_apart_by_three_dashes_however_they_stand() {
    let (a, b) = (right("a"), right("b"));
    for text in [
        format!("{a}---\n{b}"),
        format!("---\n{a}---\n{b}---\n"),
        format!("{a}---\n{b}---"),
        format!("---\n---\n{a}---\n# nothing\n---\n\n{b}\n"),
        format!("--- # first\n{a}---   \n{b}"),
        format!("{a}...\n---\n{b}...\n"),
        format!("{a}...\n{b}"),
        format!("%YAML 1.2\n---\n{a}...\n%YAML 1.2\n---\n{b}"),
        format!("\u{feff}{a}---\n{b}"),
        format!("# comment\n{a}---\t\n{b}# comment\n"),
    ] {
        assert_eq!(problems(&text), [""; 0], "{text}");
        assert_eq!(names(&text), ["a", "b"], "{text}");
        let windows = text.replace('\n', "\r\n");
        assert_eq!(problems(&windows), [""; 0], "{windows}");
        assert_eq!(names(&windows), ["a", "b"], "{windows}");
    }
}

#[test]
fn what_looks_like_dashes_is_left_alone() {
    // Within a value they are indented or have more beside them; at the end of the file they may be its last bytes.
    for annotations in [
        "  annotations:\n    a: |\n      ---\n      ...\n    b: ---\n",
        "  annotations:\n    a: '--- b'\n    ---c: d\n",
    ] {
        let text = users_with(
            "{name: users, namespace: shop}\n",
            &format!("\n  name: users\n  namespace: shop\n{annotations}"),
        );
        assert_eq!(service(&text), service(USERS), "{text}");
    }
    let last = pods_with(&[]) + "  source2: ---";
    assert_eq!(
        problems(&last),
        [
            "line 10: RequestMetrics shop/users: unknown field source2, expected one of source, window, interval, objective"
        ]
    );
    let header = redis_with(&["server: {}", "password: {value: a---}"]);
    let cut = header.trim_end().trim_end_matches('}').to_owned() + "---}";
    assert_eq!(problems(&cut), [""; 0]);
}

#[test]
fn content_may_follow_the_dashes_on_their_line() {
    let flow = right("b").replace(
        "apiVersion: taffrail.dev/v1alpha1\nkind: RequestMetrics\nmetadata: {name: b}\nspec:\n  window: 30s\n  source:\n    pods: {targets: [b:80]}\n",
        "--- {apiVersion: taffrail.dev/v1alpha1, kind: RequestMetrics, metadata: {name: b}, spec: {source: {pods: {targets: ['b:80']}}}}\n",
    );
    assert_eq!(names(&format!("{}{flow}", right("a"))), ["a", "b"]);
}

#[test]
fn a_file_without_documents_has_no_problems() {
    for text in [
        "",
        "\n",
        "---",
        "---\n---\n",
        "# nothing\n",
        "---\n...\n",
        "%YAML 1.2\n",
    ] {
        assert_eq!(parse(text), Parsed::default(), "{text}");
    }
}

#[test]
fn lines_are_those_of_the_file() {
    let (a, b) = (right("a"), broken("b"));
    for (text, expected) in [
        (format!("{a}---\n{b}"), vec![8 + 5]),
        (format!("---\n{b}"), vec![1 + 5]),
        (
            format!("{a}---\n{b}---\n# c\n{}", broken("c")),
            vec![8 + 5, 8 + 8 + 1 + 5],
        ),
        (format!("{a}...\n\n---\n{b}"), vec![10 + 5]),
        (
            format!("{b}--- # no name\nkind: [\n---\n{}", broken("c")),
            vec![5, 9, 10 + 5],
        ),
    ] {
        assert_eq!(lines(&text), expected, "{text}");
        let windows = text.replace('\n', "\r\n");
        assert_eq!(lines(&windows), expected, "{windows}");
    }
}

#[test]
fn a_broken_document_costs_itself_only() {
    for broken in [
        broken("b"),
        "kind: [\n".to_owned(),
        "\t\n}\n".to_owned(),
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: b}\ndata: {}\n".to_owned(),
    ] {
        let text = format!("{}---\n{broken}---\n{}", right("a"), right("c"));
        assert_eq!(names(&text), ["a", "c"], "{broken}");
        assert_eq!(problems(&text).len(), 1, "{broken}");
    }
}

#[test]
fn of_two_documents_of_one_name_the_first_counts() {
    let second = right("a").replace("30s", "60s");
    let text = format!("{}---\n{}---\n{second}", right("a"), right("b"));
    assert_eq!(
        problems(&text),
        [
            "line 16: RequestMetrics default/a: a second document of this name; the first one counts, rename or remove this one"
        ]
    );
    let parsed = parse(&text);
    let first = &parsed.services[&ServiceId::new("default", "a")];
    assert_eq!(first.spec.window.as_secs(), 30);
    let elsewhere = second.replace("{name: a}", "{name: a, namespace: other}");
    assert_eq!(
        parse(&format!("{}---\n{elsewhere}", right("a")))
            .services
            .len(),
        2
    );
}

#[test]
fn a_file_has_so_many_documents() {
    let text = "---\nx\n".repeat(DOCUMENTS_MAX + 5);
    let problems = parse(&text).problems;
    assert_eq!(problems.len(), DOCUMENTS_MAX + 1);
    let last = &problems[DOCUMENTS_MAX];
    assert_eq!(last.line, Some(2 * DOCUMENTS_MAX as u64 + 1));
    assert_eq!(
        last.message,
        "more than 10000 documents; split the file between several adapters"
    );
}
