//! A page of metrics to a reading.
//!
//! ```text
//! page --> scan --------> line -----> reader ------> Reading
//!          (prefilter:    (labels,    (groups series,
//!           wanted lines)  numbers)    judges them)
//! ```
//!
//! [`scan`] walks the page byte-wise and looks closely only at lines of the wanted families; those it reads strictly and
//! without copying. [`PageReader`] groups them into histograms and refuses what would be silently wrong: a page cut
//! short costs the page, a series with a broken line costs that series, a broken line of a family nobody asked for
//! costs nothing. Times in the page are checked but never used: a scrape's time is when its answer was complete.

mod cursor;
mod declared;
mod failures;
mod labels;
mod line;
mod number;
mod reader;
mod scan;
mod series;
mod text;

#[cfg(test)]
mod oracle;
#[cfg(test)]
mod pages;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

pub use self::cursor::Quoted;
pub use self::labels::{Label, Labels, RawLabels};
pub use self::line::{BadLine, Line, Problem};
pub use self::reader::PageReader;
pub use self::scan::{Event, Kind, Part, Role, Wanted, scan};

use crate::model::health::{Failure, FailureReason};
use crate::model::matcher::Matchers;
use crate::model::unit::Unit;

/// The `Accept` header of a scrape: OpenMetrics first, since only its `# EOF` proves a page whole.
///
/// `escaping=underscores` asks for names as a person sees them with `curl`, so that what was copied from there into
/// `histogram:` is what we are answered; a target that sends quoted UTF-8 names all the same is read, too. Protobuf is
/// not offered, and `*/*` is for targets that know but one format.
pub const ACCEPT: &str = "application/openmetrics-text;version=1.0.0;escaping=underscores;q=0.6,\
                          text/plain;version=0.0.4;escaping=underscores;q=0.4,*/*;q=0.1";

/// The text formats a target may answer in.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus text 0.0.4.
    Text,
    /// OpenMetrics 1.0 text.
    OpenMetrics,
}

/// What a page is read for.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Want {
    /// The request histogram's family name; `None` finds it when the page has exactly one.
    pub histogram: Option<String>,
    /// Which of the histogram's series count. They do not apply to the two fields below: the labels of a gauge are
    /// rarely those of the histogram, and an absent label would silently leave everything out.
    pub matchers: Matchers,
    /// A gauge of requests in flight.
    pub in_flight: Option<String>,
    /// A counter of CPU seconds, with or without its `_total`.
    pub cpu: Option<String>,
    /// The unit of the histogram's bounds and sum. `None` goes by its name: milliseconds for one that ends in
    /// `_milliseconds` or `_ms`, as nothing else can be meant by that, and seconds for every other.
    pub unit: Option<Unit>,
}

/// Bounds of what one page may hold. Beyond any of them the page is refused as too large, never read in part.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of one line.
    pub line_bytes: usize,
    /// Lines of one page.
    pub lines: usize,
    /// Series of wanted families that pass the matchers.
    pub series: usize,
    /// Labels of one wanted line.
    pub labels: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // The longest honest line seen is a few KiB, of a label that holds a URL.
            line_bytes: 64 * 1024,
            // Twenty times a page that is already too long to be scraped every few seconds.
            lines: 200_000,
            // 2,000 histograms of 20 buckets take about 2 MB; a service with more labels them by user or by URL.
            series: 2_000,
            // Prometheus' users rarely pass 20; this bounds the search for a label named twice.
            labels: 64,
        }
    }
}

impl Format {
    /// The format that a `Content-Type` header announces. Without one a page is text, as it was before there were two.
    /// An unknown type is text as well: many apps announce nothing apt, and the page is checked in any case.
    ///
    /// # Errors
    /// `Malformed` for what is certainly no page of metrics, or one that was not asked for: HTML, JSON, XML, protobuf.
    pub fn from_content_type(content_type: Option<&str>) -> Result<Self, Failure> {
        let media = content_type
            .unwrap_or_default()
            .split(';')
            .next()
            .unwrap_or_default()
            .trim()
            .to_ascii_lowercase();
        let foreign = ["html", "json", "xml", "protobuf"]
            .into_iter()
            .find(|word| media.contains(word));
        match foreign {
            Some(word) => Err(Failure::new(
                FailureReason::Malformed,
                format!("the answer is {word}, not a page of metrics; check port and path"),
            )),
            None if media == "application/openmetrics-text" => Ok(Self::OpenMetrics),
            None => Ok(Self::Text),
        }
    }
}

#[cfg(test)]
mod format_tests {
    use super::*;

    #[test]
    fn a_content_type_names_the_format() {
        for (content_type, expected) in [
            (None, Some(Format::Text)),
            (
                Some("text/plain; version=0.0.4; charset=utf-8"),
                Some(Format::Text),
            ),
            (Some("application/octet-stream"), Some(Format::Text)),
            (
                Some("application/openmetrics-text; version=1.0.0; charset=utf-8"),
                Some(Format::OpenMetrics),
            ),
            (
                Some("Application/OpenMetrics-Text"),
                Some(Format::OpenMetrics),
            ),
            (Some("text/html; charset=utf-8"), None),
            (Some("application/json"), None),
            (
                Some("application/vnd.google.protobuf; encoding=delimited"),
                None,
            ),
        ] {
            let format = Format::from_content_type(content_type);
            assert_eq!(format.as_ref().ok(), expected.as_ref(), "{content_type:?}");
            assert!(format.is_ok() || format.unwrap_err().reason == FailureReason::Malformed);
        }
        for format in ACCEPT.split(',').filter(|format| !format.starts_with('*')) {
            assert!(Format::from_content_type(Some(format)).is_ok());
        }
    }
}
