//! As much of PromQL as is needed to say which series an expression asks for and how. Whether it is PromQL at all, the
//! real Prometheus of the live tests says.

use std::sync::LazyLock;

use regex::Regex;

/// A selector: `name{matchers}`, and the range after it, if there is one. Every selector here has braces, since every one
/// names its cluster.
pub(super) struct Selector {
    pub(super) metric: String,
    pub(super) matchers: String,
    pub(super) range: Option<String>,
    /// The function that is called with it alone.
    pub(super) function: Option<String>,
}

static SELECTOR: LazyLock<Regex> = LazyLock::new(|| {
    // A variable may be the first part of a name.
    let name = r"(?:\$\{\w+\})?[a-zA-Z_:][a-zA-Z0-9_:]*";
    let pattern = format!(r"(?:(\w+)\(\s*)?({name})\{{([^{{}}]*)\}}(?:\[([^\]]+)\])?");
    Regex::new(&pattern).unwrap()
});

static RATE: LazyLock<Regex> = LazyLock::new(|| Regex::new(r"\b(?:rate|increase)\s*\(").unwrap());

static AGGREGATED_RATE: LazyLock<Regex> = LazyLock::new(|| {
    let pattern = r"\b(?:sum|max|min|avg)\s*(?:by\s*\([^)]*\)\s*)?\(\s*(?:rate|increase)\s*\(";
    Regex::new(pattern).unwrap()
});

/// Every selector of an expression.
pub(super) fn selectors(expr: &str) -> Vec<Selector> {
    let text = |found: Option<regex::Match<'_>>| found.map(|found| found.as_str().to_owned());
    SELECTOR
        .captures_iter(expr)
        .map(|found| Selector {
            function: text(found.get(1)),
            metric: found[2].to_owned(),
            matchers: found[3].to_owned(),
            range: text(found.get(4)),
        })
        .collect()
}

/// How many rates an expression has, and how many of them are added up.
pub(super) fn rates(expr: &str) -> (usize, usize) {
    let count = |pattern: &Regex| pattern.find_iter(expr).count();
    (count(&RATE), count(&AGGREGATED_RATE))
}

#[test]
fn selectors_are_found_wherever_they_are() {
    let found = selectors(
        r#"sum by (le) (rate(${app}_bucket{a="b"}[$__rate_interval])) / up{} - 2 * (taffrail:x:y5m{c=~"d.+"})"#,
    );
    let names: Vec<&str> = found.iter().map(|one| one.metric.as_str()).collect();
    assert_eq!(names, ["${app}_bucket", "up", "taffrail:x:y5m"]);
    assert_eq!(found[0].range.as_deref(), Some("$__rate_interval"));
    assert_eq!(found[0].function.as_deref(), Some("rate"));
    assert_eq!(
        (found[1].range.is_none(), &*found[2].matchers),
        (true, r#"c=~"d.+""#)
    );
    assert_eq!(rates("sum by (a) (rate(x{}[1m])) + rate(y{}[1m])"), (2, 1));
}
