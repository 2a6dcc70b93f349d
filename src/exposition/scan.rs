//! The walk over a page: whole-page checks, the prefilter, and an event for each line that matters.
//!
//! A line is looked at closely only if it begins with the name of a wanted family, so most of a page costs one search
//! for its line feed and one comparison. Lines of other families are not validated at all: a broken metric that nobody
//! asked for must not stop the scaling.

use memchr::{memchr_iter, memmem};

use super::failures::{line_too_long, malformed, too_large};
use super::labels::{Known, RawLabels};
use super::line::{self, BadLine, Line, Place, Problem};
use super::text::Text;
use super::{Format, Limits};
use crate::model::health::Failure;

/// What OpenMetrics ends with, so that a reader knows it has the whole.
const END_MARK: &[u8] = b"# EOF";

/// What a wanted family is wanted for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// The request histogram (or summary).
    Histogram,
    /// The gauge of requests in flight.
    InFlight,
    /// The counter of CPU seconds.
    Cpu,
}

/// Which sample of its family a line is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Part {
    /// `_bucket`.
    Bucket,
    /// `_sum`.
    Sum,
    /// `_count`.
    Count,
    /// The one value of a gauge or a counter.
    Value,
}

/// The type a page declares for a family.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// `counter`.
    Counter,
    /// `gauge`.
    Gauge,
    /// `histogram`.
    Histogram,
    /// `summary`.
    Summary,
    /// `gaugehistogram`, whose buckets go down as well.
    GaugeHistogram,
    /// `untyped`, `unknown`, and whatever else: nothing is known.
    Unknown,
}

/// Something of interest on a page.
#[derive(Clone, Copy, Debug)]
pub enum Event<'p> {
    /// The type of a wanted family.
    Type(Role, Kind),
    /// A sample of a wanted family.
    Sample(Line<'p>),
    /// A line of a wanted family that cannot be read.
    Bad(BadLine<'p>),
}

/// The families to look for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    families: Vec<Family>,
}

#[derive(Clone, PartialEq, Eq, Debug)]
struct Family {
    role: Role,
    /// The name up to where its samples differ: that of a counter is without `_total`.
    stem: String,
}

/// Whose sample a line is by its bare name, and where that name ends.
type Named = (Role, Part, usize);

/// One walk over a page: what it is read by, and what is remembered from one wanted line to the next.
struct Walk<'w, 'p> {
    format: Format,
    wanted: &'w Wanted,
    labels_max: usize,
    text: Text<'p>,
    /// The name of the wanted line before with its opening brace, and what it says: most lines of a histogram repeat
    /// it.
    name: Option<(&'p [u8], Named)>,
    /// So do they its labels.
    labels: Known<'p>,
}

impl Wanted {
    /// The families by name.
    pub fn new(histogram: &str, in_flight: Option<&str>, cpu: Option<&str>) -> Self {
        let families = [
            (Role::Histogram, Some(histogram)),
            (Role::InFlight, in_flight),
            (
                Role::Cpu,
                cpu.map(|name| name.strip_suffix("_total").unwrap_or(name)),
            ),
        ];
        Self {
            families: families
                .into_iter()
                .filter_map(|(role, name)| {
                    name.map(|name| Family {
                        role,
                        stem: name.to_owned(),
                    })
                })
                .collect(),
        }
    }

    /// The name of the histogram's family.
    pub fn histogram(&self) -> &str {
        // The constructor puts it first.
        self.families
            .first()
            .map_or("", |family| family.stem.as_str())
    }

    /// The prefilter.
    fn sample_at(&self, line: &[u8]) -> Option<Named> {
        self.families.iter().find_map(|family| {
            let stem = family.stem.as_bytes();
            // Names share their first words more often than their last letter, and one byte is compared without a call.
            if line.get(stem.len().checked_sub(1)?) != stem.last() {
                return None;
            }
            let rest = line.strip_prefix(stem)?;
            let length = rest
                .iter()
                .position(|&byte| !is_name_byte(byte))
                .unwrap_or(rest.len());
            let part = family.role.part(&rest[..length])?;
            Some((family.role, part, family.stem.len() + length))
        })
    }

    fn sample_named(&self, name: &str) -> Option<(Role, Part)> {
        self.families.iter().find_map(|family| {
            let suffix = name.strip_prefix(family.stem.as_str())?;
            Some((family.role, family.role.part(suffix.as_bytes())?))
        })
    }

    /// A wanted family that a line speaks of, when the line is too broken to say more.
    fn mentioned(&self, line: &[u8]) -> Option<Role> {
        self.families
            .iter()
            .find(|family| memmem::find(line, family.stem.as_bytes()).is_some())
            .map(|family| family.role)
    }
}

impl Role {
    fn part(self, suffix: &[u8]) -> Option<Part> {
        match (self, suffix) {
            (Self::Histogram, b"_bucket") => Some(Part::Bucket),
            (Self::Histogram, b"_sum") => Some(Part::Sum),
            (Self::Histogram, b"_count") => Some(Part::Count),
            (Self::InFlight, b"") | (Self::Cpu, b"" | b"_total") => Some(Part::Value),
            _ => None,
        }
    }
}

impl Kind {
    /// The type by its name on a `# TYPE` line.
    pub(super) fn from_name(name: &str) -> Self {
        match name {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "summary" => Self::Summary,
            "gaugehistogram" => Self::GaugeHistogram,
            _ => Self::Unknown,
        }
    }

    /// The type's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Summary => "summary",
            Self::GaugeHistogram => "gaugehistogram",
            Self::Unknown => "unknown",
        }
    }
}

/// Walks a page and calls `visit` for what is wanted, in the order of the page.
///
/// # Errors
/// When the page cannot be one of metrics or is not whole (`Malformed`), when a limit is hit (`TooLarge`), and whatever
/// `visit` returns. Events may have been visited before: use nothing of them.
pub fn scan<'p>(
    page: &'p [u8],
    format: Format,
    wanted: &Wanted,
    limits: &Limits,
    mut visit: impl FnMut(Event<'p>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    check_whole(page, format)?;
    let mut walk = Walk {
        format,
        wanted,
        labels_max: limits.labels,
        text: Text::of(page),
        name: None,
        labels: Known::default(),
    };
    let (mut start, mut lines) = (0, 0);
    // The last line may lack its line feed (behind `# EOF`): the page's end is then the end of that line.
    for end in memchr_iter(b'\n', page).chain([page.len()]) {
        lines += usize::from(start < page.len());
        if limits.lines < lines {
            return Err(too_large("lines", limits.lines));
        }
        let line = page.get(start..end).unwrap_or_default();
        if limits.line_bytes < line.len() {
            return Err(line_too_long(lines, limits.line_bytes));
        }
        if let Some(event) = walk.event(line, start) {
            if let Event::Bad(bad) = event
                && bad.problem == Problem::TooManyLabels
            {
                return Err(too_large("labels on one line", limits.labels));
            }
            visit(event)?;
        } else if format == Format::OpenMetrics && is_end(line) && end + 1 < page.len() {
            return Err(malformed("the page goes on after its # EOF"));
        }
        start = end + 1;
    }
    Ok(())
}

/// Refuses what is no page of metrics, or not the whole of one.
pub(super) fn check_whole(page: &[u8], format: Format) -> Result<(), Failure> {
    let text = page.trim_ascii();
    match text.first() {
        None => return Err(malformed("the page is empty")),
        Some(b'<') => {
            return Err(malformed("the page is HTML or XML; check port and path"));
        }
        Some(b'[') => return Err(malformed("the page is JSON; check port and path")),
        Some(b'{') if is_json_object(text) => {
            return Err(malformed("the page is JSON; check port and path"));
        }
        Some(_) => {}
    }
    let last = memchr::memrchr(b'\n', text).map_or(text, |at| &text[at + 1..]);
    match format {
        Format::Text if !page.ends_with(b"\n") => Err(malformed(
            "the page was truncated: its last line does not end",
        )),
        Format::OpenMetrics if !is_end(last) => Err(malformed(
            "the page was truncated: OpenMetrics ends with # EOF, and this does not",
        )),
        _ => Ok(()),
    }
}

/// Whether what begins with a brace is JSON, and not a sample whose name is quoted: `{"my.metric"} 1`.
fn is_json_object(text: &[u8]) -> bool {
    let inner = text.get(1..).unwrap_or_default().trim_ascii_start();
    match inner.split_first() {
        None | Some((b'}', _)) => true,
        Some((b'"', rest)) => memchr::memchr(b'"', rest)
            .and_then(|close| rest.get(close + 1..))
            .is_some_and(|after| after.trim_ascii_start().starts_with(b":")),
        Some(_) => false,
    }
}

fn is_end(line: &[u8]) -> bool {
    line.strip_suffix(b"\r").unwrap_or(line) == END_MARK
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b':'
}

impl<'p> Walk<'_, 'p> {
    /// What the line at `line_at` says, `None` when nobody asked.
    fn event(&mut self, line: &'p [u8], line_at: usize) -> Option<Event<'p>> {
        let trimmed = match line.first()? {
            b' ' | b'\t' => line.trim_ascii_start(),
            _ => line,
        };
        let named = match trimmed.first()? {
            b'#' => return type_event(trimmed, self.wanted),
            b'{' => None,
            _ => Some(self.named(trimmed)?),
        };
        // From here on the line is wanted, or one of the rare ones whose name is within the braces.
        let sample = trimmed.strip_suffix(b"\r").unwrap_or(trimmed);
        let at = line_at + line.len() - trimmed.len();
        let Some(text) = self.text.get(at, at + sample.len()) else {
            let role = match named {
                Some((role, ..)) => role,
                None => self.wanted.mentioned(sample)?,
            };
            return Some(bad(role, None, Problem::NotUtf8));
        };
        let place = Place {
            line: text,
            at,
            format: self.format,
            labels_max: self.labels_max,
        };
        let Some((role, part, name_end)) = named else {
            return quoted_event(place, self.wanted);
        };
        Some(match line::labels_of(place, name_end, &mut self.labels) {
            Ok((labels, end)) => sample_event(place, role, part, labels, end),
            Err(problem) => bad(role, None, problem),
        })
    }

    /// Whose sample the line is, `None` when it is of a family nobody wants.
    fn named(&mut self, line: &'p [u8]) -> Option<Named> {
        if let Some((name, named)) = self.name
            && line.starts_with(name)
        {
            return Some(named);
        }
        let named = self.wanted.sample_at(line)?;
        let (.., name_end) = named;
        if line.get(name_end) == Some(&b'{') {
            self.name = Some((&line[..=name_end], named));
        }
        Some(named)
    }
}

/// What a line says whose name is a quoted string within the braces.
fn quoted_event<'p>(place: Place<'p>, wanted: &Wanted) -> Option<Event<'p>> {
    match place.block(0) {
        Ok(block) => {
            let (role, part) = wanted.sample_named(&block.name?.text())?;
            Some(sample_event(place, role, part, block.labels, block.end))
        }
        Err(problem) => {
            let role = wanted.mentioned(place.line.as_bytes())?;
            Some(bad(role, None, problem))
        }
    }
}

/// The sample whose numbers begin at `end`.
fn sample_event<'p>(
    place: Place<'p>,
    role: Role,
    part: Part,
    labels: RawLabels<'p>,
    end: usize,
) -> Event<'p> {
    match line::numbers(place, end) {
        Ok((value, timestamp_ms)) => Event::Sample(Line {
            role,
            part,
            labels,
            value,
            timestamp_ms,
        }),
        Err(problem) => bad(role, Some(labels), problem),
    }
}

fn bad(role: Role, labels: Option<RawLabels<'_>>, problem: Problem) -> Event<'_> {
    Event::Bad(BadLine {
        role,
        labels,
        problem,
    })
}

fn type_event<'p>(line: &'p [u8], wanted: &Wanted) -> Option<Event<'p>> {
    let (name, kind) = line::type_of(line)?;
    wanted
        .families
        .iter()
        .find(|family| {
            // The text format declares a counter by its sample's name, OpenMetrics without the suffix.
            name.is(&family.stem)
                || family.role == Role::Cpu
                    && name.text().strip_suffix("_total") == Some(family.stem.as_str())
        })
        .map(|family| Event::Type(family.role, kind))
}
