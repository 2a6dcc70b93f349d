//! A file's text to documents, and a document's text to a type, with errors that a person can act on.
//!
//! Knows YAML and nothing of what the documents mean.

use serde::de::DeserializeOwned;
use serde_saphyr::options::{DuplicateKeyPolicy, NonFiniteFloatPolicy};
use serde_saphyr::{Error, Location, MessageFormatter, UserMessageFormatter};

use super::field::{Checked, Wrong, wrong};

/// Mappings and lists within each other: ours have at most seven, the rest is somebody's annotations.
const DEPTH_MAX: usize = 32;

/// Values, names and lists of one document: 1,000 targets on a line each take 1,000.
const NODES_MAX: usize = 50_000;

/// What aliases may add to a document, in values: enough to write headers once for a hundred queues, and a "billion
/// laughs" ends before it is heard.
const REPLAYED_MAX: usize = 10_000;

/// The documents of a file with the line each starts at. They are told apart here, since a YAML parser that fell over
/// the first could not say anything of the second. YAML lets no value hold a line that begins with `---` or `...`.
pub(super) fn documents(text: &str) -> impl Iterator<Item = (u64, &str)> {
    let mut rest = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut line = 1;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (end, next) = first_document(rest);
        let found = (line, &rest[..end]);
        line += rest[..next].matches('\n').count() as u64;
        rest = &rest[next..];
        Some(found)
    })
    .filter(|(_, text)| !is_empty(text))
}

/// Where the first document of a text ends and where the next begins. `---` belongs to the document it begins, since
/// content may follow on its line; `...` belongs to none.
fn first_document(text: &str) -> (usize, usize) {
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        let next = offset + line.len();
        if offset != 0 && after_marker(line, "---").is_some() {
            return (offset, offset);
        }
        if after_marker(line, "...").is_some() {
            return (offset, next);
        }
        offset = next;
    }
    (offset, offset)
}

/// What follows `marker` on a line that begins with it.
fn after_marker<'l>(line: &'l str, marker: &str) -> Option<&'l str> {
    line.strip_prefix(marker)
        .filter(|rest| rest.is_empty() || rest.starts_with(char::is_whitespace))
}

/// Whether there is nothing but comments, and directives for the parser.
fn is_empty(document: &str) -> bool {
    document.lines().all(|line| {
        let content = after_marker(line, "---").unwrap_or(line).trim_start();
        content.is_empty() || content.starts_with(['#', '%'])
    })
}

/// Reads a document, or says at which of its lines it is wrong.
pub(super) fn read<T: DeserializeOwned>(document: &str) -> Checked<T> {
    read_with(document, DuplicateKeyPolicy::Error)
}

/// As [`read`], and takes the first of two fields of one name, for a look at a document that may be wrong.
pub(super) fn read_loosely<T: DeserializeOwned>(document: &str) -> Checked<T> {
    read_with(document, DuplicateKeyPolicy::FirstWins)
}

fn read_with<T: DeserializeOwned>(document: &str, duplicates: DuplicateKeyPolicy) -> Checked<T> {
    let options = serde_saphyr::options! {
        duplicate_keys: duplicates,
        with_snippet: false,
        // A password that begins with an unquoted `!` is a tag to YAML, and would be left out without a word.
        reject_unsupported_tags: true,
        // Only for what is passed over: a number that counts must be one, and says so itself.
        non_finite_float_policy: NonFiniteFloatPolicy::PassThrough,
        budget: serde_saphyr::budget! {
            max_depth: DEPTH_MAX,
            flow_nesting_limit: DEPTH_MAX,
            max_nodes: NODES_MAX,
            max_events: 2 * NODES_MAX,
        },
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: REPLAYED_MAX,
        },
    };
    serde_saphyr::from_str_with_options(document, options)
        .map_err(|error: Error| explain(&error, document))
}

/// The error in the words of somebody who writes a file rather than of somebody who calls a parser. Names fields and
/// never repeats a value, which may be a secret.
fn explain(error: &Error, document: &str) -> Wrong {
    let location = error.location().filter(|location| 0 < location.line());
    let field = || {
        location
            .and_then(|location| field_before(document, location))
            .unwrap_or("this")
    };
    let message = match error {
        Error::AliasError { error, .. } => return explain(error, document),
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown_field(field, expected),
        Error::SerdeMissingField { field, .. } => format!("the field {field} is missing"),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("a second {key}; one field has one value")
        }
        Error::DuplicateMappingKey { key: None, .. } => {
            "a second field of this name; one field has one value".to_owned()
        }
        Error::Unexpected { expected, .. } => {
            format!("{} must be {}", field(), kind(expected))
        }
        Error::InvalidScalar { ty, .. } => format!("{} must be {}", field(), kind(ty)),
        Error::NullIntoString { .. } => format!("{} has no value", field()),
        Error::UnsupportedTag { .. } => {
            format!("{} has a tag; quote a value that begins with !", field())
        }
        Error::UnknownAnchor { .. } => {
            format!(
                "{} is an alias of nothing; quote a value that begins with *",
                field()
            )
        }
        Error::Budget { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => format!(
            "the document has more than {NODES_MAX} values, or {DEPTH_MAX} levels, or {REPLAYED_MAX} values by alias"
        ),
        other => {
            let message = UserMessageFormatter.format_message(other);
            match message.contains("tabs disallowed") {
                true => "indented with a tab; YAML takes spaces only".to_owned(),
                false => message.into_owned(),
            }
        }
    };
    wrong(location.map(|location| location.line()), message)
}

fn unknown_field(field: &str, expected: &[&str]) -> String {
    let expected_here = expected.join(", ");
    if expected.contains(&"secretKeyRef") {
        // Somebody who wrote `{hunter2}` gave a secret where a field's name stands.
        return format!("an unknown field in a secret, expected one of {expected_here}");
    }
    format!("unknown field {field}, expected one of {expected_here}")
}

/// The parser's word for a kind of value in ours.
fn kind(expected: &str) -> String {
    match expected {
        "mapping start" => "a mapping of fields".to_owned(),
        "sequence start" => "a list".to_owned(),
        "string scalar" => "a text".to_owned(),
        "floating point" => "a number".to_owned(),
        "boolean" => "true or false".to_owned(),
        "i64" => "a whole number".to_owned(),
        other => format!("a valid {other}"),
    }
}

/// The name of the field whose value stands at a place: what is before it on its line, up to the colon. Lists and
/// values on a line of their own have none.
fn field_before(document: &str, at: Location) -> Option<&str> {
    let index = |place: u64| usize::try_from(place).ok()?.checked_sub(1);
    let line = document.lines().nth(index(at.line())?)?;
    let (value, _) = line.char_indices().nth(index(at.column())?)?;
    let before = line[..value].trim_end().strip_suffix(':')?;
    // In JSON names have quotes.
    before
        .trim_end_matches('"')
        .rsplit(|c: char| c.is_whitespace() || "{[,'\"".contains(c))
        .next()
        .filter(|name| !name.is_empty())
}
