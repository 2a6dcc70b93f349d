//! The families a page declares, for finding the histogram by itself and for naming it to a person who misspelt it.
//!
//! This is the slow way through a page, taken on the first one and when something is amiss.

use memchr::{memchr, memchr_iter};

use super::cursor::Quoted;
use super::failures::{NAMES_SHOWN, listed, not_found, shown};
use super::line::type_of;
use super::scan::Kind;
use crate::model::health::Failure;

/// Names compared with a misspelt one: the comparison is quadratic in their length, and pages come from strangers.
const COMPARED_MAX: usize = 100;

/// Characters of a name that take part in the comparison; names are shorter.
const COMPARED_CHARS: usize = 100;

/// The suffixes of a histogram's samples, which are easily taken for part of its name.
const SUFFIXES: [&str; 3] = ["_bucket", "_sum", "_count"];

/// Families of runtimes and of metrics libraries, which no service answers requests with. A page may show only these
/// until its first request.
const RUNTIMES: [&str; 6] = ["go_", "process_", "jvm_", "python_", "nodejs_", "promhttp_"];

/// Whether a page has another histogram than `known` that could be meant as well.
pub(super) fn has_another_histogram(page: &[u8], known: &str) -> bool {
    memchr_iter(b'#', page)
        .filter(|&at| begins_a_line(page, at))
        .filter_map(|at| {
            let rest = &page[at..];
            type_of(&rest[..memchr(b'\n', rest).unwrap_or(rest.len())])
        })
        .any(|(name, kind)| {
            kind == Kind::Histogram && !name.is(known) && !is_of_runtime(&name.text())
        })
}

/// Whether only blanks stand before `at` on its line: elsewhere a hash is of an exemplar or a label.
fn begins_a_line(page: &[u8], at: usize) -> bool {
    page[..at]
        .iter()
        .rfind(|&&byte| byte == b'\n' || !byte.is_ascii_whitespace())
        .is_none_or(|&byte| byte == b'\n')
}

fn is_of_runtime(name: &str) -> bool {
    RUNTIMES.iter().any(|prefix| name.starts_with(prefix))
}

/// The one histogram of a page, those of runtimes apart.
///
/// # Errors
/// `NotFound` when there is none or more than one.
pub(super) fn only_histogram(page: &[u8]) -> Result<String, Failure> {
    let (mut names, mut total) = names(page, |kind| kind == Kind::Histogram);
    names.retain(|name| {
        let is_meant = !is_of_runtime(name);
        total -= usize::from(!is_meant);
        is_meant
    });
    match names.as_slice() {
        [] => Err(not_found(
            "the page has no histogram (yet); name a histogram or summary in spec.source.pods.histogram",
        )),
        [only] if total == 1 => Ok(only.clone()),
        _ => Err(not_found(format!(
            "the page has {total} histograms: {}; name one in spec.source.pods.histogram",
            listed(&names, total)
        ))),
    }
}

/// The failure of a page without the family `name`: with the name that was probably meant, or those there are.
pub(super) fn missing(page: &[u8], name: &str) -> Failure {
    let (names, total) = names(page, |kind| matches!(kind, Kind::Histogram | Kind::Summary));
    let hint = match nearest(&names, name) {
        Some(near) => format!("did you mean {}?", shown(near)),
        None if names.is_empty() => "it has none at all (yet)".to_owned(),
        None => format!("it has {}", listed(&names, total)),
    };
    not_found(format!("the page has no histogram {}; {hint}", shown(name)))
}

/// The first few different names of families of a kind, in the order of the page, and how many there are.
fn names(page: &[u8], is_of: impl Fn(Kind) -> bool) -> (Vec<String>, usize) {
    let mut names: Vec<String> = Vec::new();
    let mut beyond = 0;
    let declared = page
        .split(|&byte| byte == b'\n')
        .filter_map(|line| type_of(line.trim_ascii_start()))
        .filter(|&(_, kind)| is_of(kind))
        .map(|(name, _): (Quoted<'_>, Kind)| name);
    for name in declared {
        if names.iter().any(|known| name.is(known)) {
            continue;
        }
        if names.len() < COMPARED_MAX.max(NAMES_SHOWN) {
            names.push(name.text().into_owned());
        } else {
            beyond += 1;
        }
    }
    let total = names.len() + beyond;
    (names, total)
}

/// The name that `name` is a slip of: equal but for a sample's suffix, or at most a quarter of its letters away.
fn nearest<'n>(names: &'n [String], name: &str) -> Option<&'n str> {
    let stem = SUFFIXES
        .iter()
        .find_map(|suffix| name.strip_suffix(suffix))
        .unwrap_or(name);
    names
        .iter()
        .map(|known| (distance(known, stem), known.as_str()))
        .filter(|(distance, _)| *distance <= stem.chars().count() / 4)
        .min()
        .map(|(_, known)| known)
}

/// The Levenshtein distance of the first characters of two names.
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().take(COMPARED_CHARS).collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (i, from) in left.chars().take(COMPARED_CHARS).enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, to) in right.iter().enumerate() {
            let replaced = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_levenshtein() {
        for (left, right, expected) in [
            ("", "", 0),
            ("abc", "abc", 0),
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("flaw", "lawn", 2),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }

    #[test]
    fn another_histogram_is_one_declared_at_the_start_of_a_line() {
        for (page, expected) in [
            ("# TYPE a histogram\n", false),
            ("# TYPE b histogram", true),
            ("# TYPE a histogram\n \t# TYPE b histogram\r\n", true),
            ("#TYPE b histogram\n", true),
            ("# TYPE b counter\n", false),
            ("# TYPE go_gc_pauses_seconds histogram\n", false),
            ("a 1 # TYPE b histogram\n", false),
            ("a{b=\"# TYPE b histogram\"} 1\n", false),
            ("", false),
        ] {
            assert_eq!(
                has_another_histogram(page.as_bytes(), "a"),
                expected,
                "{page}"
            );
        }
    }

    #[test]
    fn a_slip_is_recognised_and_another_word_is_not() {
        let names = ["http_request_duration_seconds", "db_query_seconds"].map(String::from);
        for (written, meant) in [
            ("http_requests_duration_seconds", Some(&names[0])),
            ("http_request_duration_seconds_bucket", Some(&names[0])),
            ("http_request_duration_secs", Some(&names[0])),
            ("db_queries_seconds", Some(&names[1])),
            ("latency", None),
        ] {
            assert_eq!(
                nearest(&names, written),
                meant.map(String::as_str),
                "{written}"
            );
        }
    }
}
