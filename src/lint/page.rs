//! A saved page of metrics, read as the adapter reads it, to say what its histogram can tell.

use crate::exposition::{Format, Limits, PageReader, Want};
use crate::model::health::Failure;
use crate::model::matcher::Matchers;
use crate::model::reading::Reading;

/// A page as a target answered it.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Page {
    bytes: Vec<u8>,
    format: Format,
}

impl Page {
    /// OpenMetrics says so by its last line, which the other format takes for a comment.
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        let is_open_metrics = bytes.trim_ascii_end().ends_with(b"# EOF");
        let format = if is_open_metrics {
            Format::OpenMetrics
        } else {
            Format::Text
        };
        Self { bytes, format }
    }

    /// What the adapter would read of it.
    ///
    /// # Errors
    /// Why it would refuse the page.
    pub(crate) fn read(&self, want: &Want) -> Result<Reading, Failure> {
        let mut reading = Reading::default();
        PageReader::new(want.clone(), Limits::default()).read(
            &self.bytes,
            self.format,
            &mut reading,
        )?;
        Ok(reading)
    }

    /// Requests of the series that matchers leave in; `None` where there is none.
    pub(crate) fn requests(&self, want: &Want, matchers: &str) -> Option<f64> {
        let want = Want {
            matchers: Matchers::parse(matchers).ok()?,
            ..want.clone()
        };
        let reading = self.read(&want).ok()?;
        let counts = reading.series.iter().map(|series| series.count);
        (!reading.series.is_empty()).then(|| counts.sum())
    }
}

/// The finite bounds of a reading in seconds, ascending, each once.
pub(crate) fn finite_bounds(reading: &Reading) -> Vec<f64> {
    let mut bounds: Vec<f64> = reading
        .bounds
        .iter()
        .copied()
        .filter(|bound| bound.is_finite())
        .collect();
    bounds.sort_by(f64::total_cmp);
    bounds.dedup();
    bounds
}
