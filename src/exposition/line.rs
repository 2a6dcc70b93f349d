//! One line of a wanted family, read strictly: labels, value, timestamp, exemplar; and the `# TYPE` comment.
//!
//! Blanks are taken more freely than the two formats demand, in both of them: any spaces and tabs between tokens, and
//! a carriage return at the end. Everything else is as Prometheus has it.

use std::str;

use super::Format;
use super::cursor::{Cursor, Quoted};
use super::labels::{self, Block, Known, RawLabels};
use super::number;
use super::scan::{Kind, Part, Role};

/// A sample of a wanted family.
#[derive(Clone, Copy, Debug)]
pub struct Line<'p> {
    /// Which family it is of.
    pub role: Role,
    /// Which of the family's samples it is.
    pub part: Part,
    /// Its labels.
    pub labels: RawLabels<'p>,
    /// Its value; NaN and infinities included.
    pub value: f64,
    /// Its own time in milliseconds, which is checked to be one and not used further.
    pub timestamp_ms: Option<i64>,
}

/// A line of a wanted family that could not be read.
#[derive(Clone, Copy, Debug)]
pub struct BadLine<'p> {
    /// Which family it is of.
    pub role: Role,
    /// Its labels, if those at least could be read: then it is known whose sample is missing.
    pub labels: Option<RawLabels<'p>>,
    /// What is wrong with it.
    pub problem: Problem,
}

/// What can be wrong with a line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Problem {
    /// Bytes that are not UTF-8.
    NotUtf8,
    /// Two metric names.
    Name,
    /// Braces, quotes, commas or label names are not as they should be.
    Labels,
    /// A label stands there twice.
    RepeatedLabel,
    /// More labels than the limit; this one costs the page.
    TooManyLabels,
    /// No value, or one that is not a number.
    Value,
    /// A timestamp that is none, or something else after the value.
    Timestamp,
    /// An exemplar that is not well formed.
    Exemplar,
}

/// Where a line lies, and by which rules it is read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place<'p> {
    pub(super) line: &'p str,
    /// Where the line begins in the page.
    pub(super) at: usize,
    pub(super) format: Format,
    pub(super) labels_max: usize,
}

impl<'p> Place<'p> {
    /// The labels whose opening brace is at `open`.
    pub(super) fn block(self, open: usize) -> Result<Block<'p>, Problem> {
        labels::block(self.line, open, self.at, self.labels_max)
    }
}

/// A value and the time after it.
pub(super) type Numbers = (f64, Option<i64>);

/// The labels that begin at `after_name`, and where they end; without braces there are none.
pub(super) fn labels_of<'p>(
    place: Place<'p>,
    after_name: usize,
    known: &mut Known<'p>,
) -> Result<(RawLabels<'p>, usize), Problem> {
    let mut cursor = Cursor::new(place.line, after_name);
    let blank = cursor.blank();
    match cursor.peek() {
        Some(b'{') => {
            if let Some(found) = known.labels(place.line, cursor.at(), place.at) {
                return Ok(found);
            }
            let block = place.block(cursor.at())?;
            *known = block.known;
            match block.name {
                Some(_) => Err(Problem::Name),
                None => Ok((block.labels, block.end)),
            }
        }
        Some(_) if !blank => Err(Problem::Labels),
        _ => Ok((RawLabels::none(), cursor.at())),
    }
}

/// Value, timestamp and exemplar, which begin at `after_labels`.
pub(super) fn numbers(place: Place<'_>, after_labels: usize) -> Result<Numbers, Problem> {
    let mut cursor = Cursor::new(place.line, after_labels);
    cursor.blank();
    let value = number::value(cursor.word()).ok_or(Problem::Value)?;
    cursor.blank();
    let timestamp_ms = match cursor.peek() {
        None => return Ok((value, None)),
        Some(b'#') => None,
        Some(_) => {
            Some(number::timestamp_ms(cursor.word(), place.format).ok_or(Problem::Timestamp)?)
        }
    };
    cursor.blank();
    match (cursor.peek(), place.format) {
        (None, _) => Ok((value, timestamp_ms)),
        (Some(_), Format::Text) => Err(Problem::Timestamp),
        (Some(_), Format::OpenMetrics) => {
            exemplar(place, cursor).ok_or(Problem::Exemplar)?;
            Ok((value, timestamp_ms))
        }
    }
}

/// `# {trace_id="x"} 0.2 1700000000.5`: nobody uses it, but a line that ends otherwise is not whole.
fn exemplar(place: Place<'_>, mut cursor: Cursor<'_>) -> Option<()> {
    if !cursor.eat(b'#') || !cursor.blank() || cursor.peek() != Some(b'{') {
        return None;
    }
    let block = place.block(cursor.at()).ok()?;
    let mut cursor = Cursor::new(place.line, block.end);
    cursor.blank();
    number::value(cursor.word())?;
    cursor.blank();
    if cursor.peek().is_some() {
        number::timestamp_ms(cursor.word(), place.format)?;
        cursor.blank();
    }
    (block.name.is_none() && cursor.peek().is_none()).then_some(())
}

/// The family and its type, if the line is a `# TYPE` comment.
pub(super) fn type_of(line: &[u8]) -> Option<(Quoted<'_>, Kind)> {
    let comment = line.strip_prefix(b"#")?.trim_ascii_start();
    let rest = comment.strip_prefix(b"TYPE")?;
    let rest = str::from_utf8(rest).ok()?.trim_ascii_end();
    let mut cursor = Cursor::new(rest, 0);
    if !cursor.blank() {
        return None;
    }
    let name = match cursor.peek()? {
        b'"' => cursor.quoted()?,
        _ => Quoted::bare(cursor.word()),
    };
    cursor.blank();
    Some((name, Kind::from_name(cursor.word())))
}
