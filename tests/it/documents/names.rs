//! What pages name in backticks is there: flags, metrics, paths, values of the chart, and the bounds of the sizing page.

use std::path::Path;

use serde_json::Value;

use super::commands::{Helps, OURS, has_flag};
use super::page::{self, Page};
use crate::fixtures::objects;
use crate::fixtures::tools::{self, ROOT};

/// Flags of other programs that pages name.
const FOREIGN_FLAGS: &[&str] = &[
    // KEDA's operator.
    "--enable-cert-rotation",
    // kube-metrics-adapter.
    "--metrics-ttl",
];

/// What looks like a value of the chart and is none.
const FOREIGN_VALUES: &[&str] = &[
    // prometheus-adapter's.
    "apiService.caBundle",
    "resources.overrides",
    "tls.ca",
    // Keys of a Secret, and an API group.
    "tls.crt",
    "tls.key",
    "metrics.k8s.io",
];

/// Folders whose files pages name.
const FOLDERS: &[&str] = &[
    "src/",
    "tests/",
    "deploy/",
    "dashboards/",
    "loadtest/",
    ".ci/",
    ".github/",
];

/// What a metric's name ends in beside its family's.
const ENDINGS: &[&str] = &["_total", "_bucket", "_sum", "_count", "_info"];

/// Every span of every page that `is_meant`, with where it stands.
fn spans(is_meant: impl Fn(&str) -> bool) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for page in page::all() {
        for (line, span) in page.code_spans() {
            if is_meant(&span) {
                found.push((format!("{}:{line}", page.path), span));
            }
        }
    }
    found
}

/// The file's text, or every file's of a folder below.
fn sources(path: &Path) -> String {
    if path.is_file() {
        return std::fs::read_to_string(path).unwrap_or_default();
    }
    let entries = std::fs::read_dir(path).unwrap().flatten();
    entries.map(|entry| sources(&entry.path())).collect()
}

#[test]
fn every_flag_that_a_page_names_exists() {
    let mut helps = Helps::default();
    let mut all = String::new();
    for program in OURS {
        let top = helps.of(&[program.to_owned()]).unwrap();
        for line in top.lines() {
            let name = line.trim_start().split(' ').next().unwrap_or_default();
            if line.starts_with("  ") && !name.is_empty() && program != "taffrail-sample-app" {
                let of = helps.of(&[program.to_owned(), name.to_owned()]);
                all.push_str(&of.unwrap_or_default());
            }
        }
        all.push_str(&top);
    }
    // Those that pages install with.
    for (program, command) in [("helm", "upgrade"), ("kubectl", "apply")] {
        all.push_str(&tools::stdout(program, &[command, "--help"]));
    }
    let named = spans(|span| span.starts_with("--"));
    assert!(10 < named.len(), "{named:?}");
    for (at, span) in named {
        let flag = span.split([' ', '=']).next().unwrap();
        let is_known = has_flag(&all, flag) || FOREIGN_FLAGS.contains(&flag);
        assert!(is_known, "{at}: no program has {flag}");
    }
}

#[test]
fn every_metric_of_ours_that_a_page_names_exists() {
    let registry = sources(&Path::new(ROOT).join("src/metrics"))
        + &sources(&Path::new(ROOT).join("src/metrics.rs"));
    // With a star it is many.
    let named = spans(|span| span.starts_with("taffrail_") && !span.contains('*'));
    assert!(3 < named.len(), "{named:?}");
    for (at, span) in named {
        let name = span.split('{').next().unwrap();
        let family = ENDINGS
            .iter()
            .find_map(|ending| name.strip_suffix(ending))
            .unwrap_or(name);
        let is_registered = [name, family]
            .iter()
            .any(|name| registry.contains(&format!("\"{name}\"")));
        assert!(is_registered, "{at}: {name} is in no registry");
    }
}

#[test]
fn every_path_that_a_page_names_exists() {
    let named = spans(|span| FOLDERS.iter().any(|folder| span.starts_with(folder)));
    assert!(10 < named.len(), "{named:?}");
    for (at, path) in named {
        // A pattern or a command is more than a path.
        if path.contains(['*', ' ', '{', '<']) {
            continue;
        }
        assert!(Path::new(ROOT).join(&path).exists(), "{at}: no {path}");
    }
}

#[test]
fn every_value_of_the_chart_that_a_page_names_exists() {
    let values = std::fs::read_to_string(Path::new(ROOT).join("deploy/chart/values.yaml")).unwrap();
    let values = objects::read(&values).remove(0);
    let is_path = |span: &str| {
        let mut parts = span.split(['.', ':', '=']);
        let first = parts.next().unwrap_or_default();
        let has_more = span.contains('.')
            && span
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || "._-: =".contains(c));
        has_more && values.get(first).is_some_and(Value::is_object)
    };
    let named: Vec<_> = page::documented()
        .iter()
        .flat_map(|page| {
            let spans = page.code_spans().into_iter();
            let path = page.path.clone();
            spans.map(move |(line, span)| (format!("{path}:{line}"), span))
        })
        .filter(|(_, span)| is_path(span) && !FOREIGN_VALUES.contains(&&**span))
        .collect();
    assert!(10 < named.len(), "{named:?}");
    for (at, span) in named {
        let path = span.split([':', '=']).next().unwrap().trim();
        let mut value = &values;
        for part in path.split('.') {
            // What a map holds that is empty by default is the user's to name.
            if value.as_object().is_some_and(serde_json::Map::is_empty) {
                break;
            }
            value = value
                .get(part)
                .unwrap_or_else(|| panic!("{at}: {path} is no value of the chart"));
        }
    }
}

/// Rows such as: | pods held | 100,000 | `PODS_MAX` in `src/cluster/discover/pods.rs` |
#[test]
fn every_bound_of_the_sizing_page_is_that_of_the_code() {
    let page = Page::read("deploy/docs/sizing.md");
    let mut checked = 0;
    for (line, row) in page.prose() {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, _, bound, name, _] = cells[..] else {
            continue;
        };
        let Some((name, file)) = name.split_once("` in `") else {
            continue;
        };
        let (name, file) = (name.trim_start_matches('`'), file.trim_end_matches('`'));
        let code = sources(&Path::new(ROOT).join(file));
        let shown = number(bound);
        let held = constant(&code, name);
        assert_eq!(Some(shown), held, "sizing.md:{line}: {name} of {file}");
        checked += 1;
    }
    assert!(10 < checked, "only {checked}");
}

/// The number that a cell begins with; a MiB is so many bytes.
fn number(cell: &str) -> u64 {
    let first = cell.split([' ', ';']).next().unwrap();
    let digits: String = first.chars().filter(char::is_ascii_digit).collect();
    let unit = if cell.ends_with("MiB") { 1 << 20 } else { 1 };
    digits.parse::<u64>().unwrap() * unit
}

/// What a constant is, a product of numbers.
fn constant(code: &str, name: &str) -> Option<u64> {
    let (_, rest) = code.split_once(&format!("const {name}: "))?;
    let (_, rest) = rest.split_once(" = ")?;
    let (expression, _) = rest.split_once(';')?;
    let factors = expression.split('*').map(|factor| factor.replace('_', ""));
    factors
        .map(|factor| factor.trim().parse::<u64>().ok())
        .product()
}
