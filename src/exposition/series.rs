//! The wanted lines of a page, gathered into series and judged.
//!
//! What is refused and what is mended, series by series:
//!
//! - A line that cannot be read costs its whole series on this page, since a histogram that lacks a bucket would be
//!   silently wrong; the next page has it again. If not even the labels can be read, every series that has fewer
//!   buckets than on the page before goes.
//! - A count that is NaN, infinite or negative costs the series. Counts that fall from one bucket to the next stay as
//!   they are: how to mend them is the engine's decision.
//! - Two spellings of one bound (`0.1`, `0.10`) are added, as Prometheus does; the same line twice counts once.
//! - Without a `+Inf` bucket `_count` takes its place; without both, the series is refused.
//! - A sum that is NaN, infinite or negative is no sum.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, DefaultHasher};

use super::failures::too_large;
use super::labels::Bound;
use super::number;
use super::scan::Kind;
use crate::model::health::Failure;
use crate::model::reading::{Reading, SeriesReading};

/// The largest number taken for a count: adding up a page of them stays finite.
const COUNT_MAX: f64 = 1e300;

/// Fixed keys, so that nothing here depends on chance.
type FixedState = BuildHasherDefault<DefaultHasher>;

/// The series of the histogram. Its memory is kept from page to page.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    slots: Vec<Slot>,
    index: HashMap<u64, u32, FixedState>,
    buckets: Vec<Bucket>,
    /// The number of buckets of each series on the last page that could be read entirely, by key.
    layout: Vec<(u64, u32)>,
    bad_lines: u32,
    unattributed: bool,
}

/// The sum of a gauge or a counter over its series.
#[derive(Debug, Default)]
pub(super) struct Tally {
    keys: HashSet<u64, FixedState>,
    sum: f64,
    broken: bool,
    declared: bool,
}

#[derive(Debug)]
struct Slot {
    key: u64,
    count: Option<f64>,
    sum: Option<f64>,
    refused: bool,
}

#[derive(Debug)]
struct Bucket {
    slot: u32,
    bound: f64,
    count: f64,
    /// Where the bound is written in the page, to tell a bucket given twice from a bound spelt in two ways.
    bound_at: usize,
    bound_bytes: usize,
}

/// Why a series is left out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Flaw {
    /// One of its lines could not be read.
    BrokenLine,
    /// A line that could not be attributed was probably its own.
    Unattributed,
    /// It is of a histogram and has no buckets.
    NoBuckets,
    /// Its buckets do not say how many requests there were, and nothing else does.
    NoTotal,
    /// It is of a summary and has no count.
    NoCount,
}

impl Gathered {
    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.index.clear();
        self.buckets.clear();
        self.bad_lines = 0;
        self.unattributed = false;
    }

    /// The slot of the series with `key`, a new one if need be.
    pub(super) fn slot(&mut self, key: u64, series_max: usize) -> Result<u32, Failure> {
        if let Some(slot) = self.index.get(&key) {
            return Ok(*slot);
        }
        let slot = u32::try_from(self.slots.len()).unwrap_or(u32::MAX);
        if series_max <= self.slots.len() {
            return Err(too_large("series of the histogram", series_max));
        }
        self.index.insert(key, slot);
        self.slots.push(Slot {
            key,
            count: None,
            sum: None,
            refused: false,
        });
        Ok(slot)
    }

    #[cfg(test)]
    pub(super) fn capacities(&self) -> [usize; 4] {
        [
            self.slots.capacity(),
            self.index.capacity(),
            self.buckets.capacity(),
            self.layout.capacity(),
        ]
    }

    /// Takes a bucket, whose bound is missing if it has no `le`.
    pub(super) fn bucket(&mut self, slot: u32, bound: Option<Bound<'_>>, count: f64) {
        let parsed = bound.and_then(|written| {
            number::value(written.text)
                .filter(|bound| f64::NEG_INFINITY < *bound)
                .map(|bound| (bound, written.at, written.text.len()))
        });
        match parsed {
            Some((bound, bound_at, bound_bytes)) if is_count(count) => self.buckets.push(Bucket {
                slot,
                bound,
                count,
                bound_at,
                bound_bytes,
            }),
            _ => self.refuse(slot),
        }
    }

    /// Takes a `_count`.
    pub(super) fn count(&mut self, slot: u32, count: f64) {
        if !is_count(count) {
            return self.refuse(slot);
        }
        let slot = &mut self.slots[slot as usize];
        if slot.count.is_some() {
            self.count_bad_line();
        } else {
            slot.count = Some(count);
        }
    }

    /// Takes a `_sum`.
    pub(super) fn sum(&mut self, slot: u32, sum: f64) {
        let slot = &mut self.slots[slot as usize];
        if slot.sum.is_some() {
            self.count_bad_line();
        } else {
            slot.sum = Some(sum);
        }
    }

    /// Refuses a series for a line of its own.
    pub(super) fn refuse(&mut self, slot: u32) {
        self.slots[slot as usize].refused = true;
        self.count_bad_line();
    }

    /// Notes a line that could be of any series.
    pub(super) fn refuse_unattributed(&mut self) {
        self.unattributed = true;
        self.count_bad_line();
    }

    pub(super) fn count_bad_line(&mut self) {
        self.bad_lines = self.bad_lines.saturating_add(1);
    }

    /// Judges what was gathered from `page` and writes it to `out`. Series come in the order of their first lines.
    /// Returns why the first of those left out is, if any is.
    pub(super) fn write(
        &mut self,
        page: &[u8],
        kind: Option<Kind>,
        out: &mut Reading,
    ) -> Option<Flaw> {
        let has_buckets = match kind {
            Some(Kind::Histogram) => true,
            Some(Kind::Summary) => false,
            _ => !self.buckets.is_empty(),
        };
        self.sort_buckets(page);
        if self.unattributed {
            self.layout.sort_unstable();
        }
        let mut rest = self.buckets.as_slice();
        let mut bad_lines = self.bad_lines;
        let mut first_flaw = None;
        for (nth, slot) in self.slots.iter().enumerate() {
            let length = rest.partition_point(|bucket| bucket.slot as usize <= nth);
            let (own, others) = rest.split_at(length);
            rest = others;
            let first = out.bounds.len();
            let verdict = if slot.refused {
                Err(Flaw::BrokenLine)
            } else if has_buckets {
                bad_lines = bad_lines.saturating_add(write_buckets(own, page, out));
                self.complete(slot, first, out)
            } else {
                bad_lines = bad_lines.saturating_add(u32::try_from(own.len()).unwrap_or(u32::MAX));
                slot.count.ok_or(Flaw::NoCount)
            };
            match verdict {
                Ok(count) => out.series.push(SeriesReading {
                    key: slot.key,
                    first_bucket: u32::try_from(first).unwrap_or(u32::MAX),
                    n_buckets: u32::try_from(out.bounds.len() - first).unwrap_or(u32::MAX),
                    count,
                    sum: slot.sum.filter(|sum| is_count(*sum)),
                }),
                Err(flaw) => {
                    out.bounds.truncate(first);
                    out.counts.truncate(first);
                    bad_lines = bad_lines.saturating_add(u32::from(!flaw.is_of_a_line()));
                    first_flaw = first_flaw.or(Some(flaw));
                }
            }
        }
        out.bad_lines = out.bad_lines.saturating_add(bad_lines);
        if !self.unattributed {
            self.layout.clear();
            self.layout.extend(
                out.series
                    .iter()
                    .map(|series| (series.key, series.n_buckets)),
            );
        }
        first_flaw.or(self.unattributed.then_some(Flaw::Unattributed))
    }

    /// Sees to it that the buckets from `first` on are a whole histogram, and returns its count.
    fn complete(&self, slot: &Slot, first: usize, out: &mut Reading) -> Result<f64, Flaw> {
        if out.bounds.len() == first {
            return Err(Flaw::NoBuckets);
        }
        if out.bounds.last() != Some(&f64::INFINITY) {
            let count = slot.count.ok_or(Flaw::NoTotal)?;
            out.bounds.push(f64::INFINITY);
            out.counts.push(count);
        }
        let n_buckets = out.bounds.len() - first;
        if self.unattributed && n_buckets < self.buckets_before(slot.key) {
            return Err(Flaw::Unattributed);
        }
        slot.count
            .or(out.counts.last().copied())
            .ok_or(Flaw::NoTotal)
    }

    fn buckets_before(&self, key: u64) -> usize {
        self.layout
            .binary_search_by_key(&key, |(key, _)| *key)
            .map_or(0, |at| self.layout[at].1 as usize)
    }

    fn sort_buckets(&mut self, page: &[u8]) {
        let ordered = self.buckets.is_sorted_by(|left, right| {
            left.slot < right.slot || (left.slot == right.slot && left.bound < right.bound)
        });
        if !ordered {
            self.buckets.sort_unstable_by(|left, right| {
                (left.slot.cmp(&right.slot))
                    .then(left.bound.total_cmp(&right.bound))
                    .then_with(|| left.written(page).cmp(right.written(page)))
                    .then(left.bound_at.cmp(&right.bound_at))
            });
        }
    }
}

impl Flaw {
    /// Whether it comes from a line that is counted as bad already; otherwise the series itself counts as one.
    fn is_of_a_line(self) -> bool {
        matches!(self, Self::BrokenLine | Self::Unattributed)
    }

    /// The sentence for a page of which no series is left, this being the flaw of the first.
    pub(super) fn nothing_left(self) -> &'static str {
        match self {
            Self::BrokenLine => {
                "no series of the histogram could be read: the first has a broken line"
            }
            Self::Unattributed => {
                "no series of the histogram could be read: a line has broken labels"
            }
            Self::NoBuckets => "no series of the histogram could be read: the first has no _bucket",
            Self::NoTotal => {
                "no series of the histogram could be read: the first has neither a +Inf bucket nor a _count"
            }
            Self::NoCount => "no series of the summary could be read: the first has no _count",
        }
    }
}

impl Bucket {
    fn written<'p>(&self, page: &'p [u8]) -> &'p [u8] {
        page.get(self.bound_at..self.bound_at + self.bound_bytes)
            .unwrap_or_default()
    }
}

impl Tally {
    pub(super) fn clear(&mut self) {
        self.keys.clear();
        self.sum = 0.0;
        self.broken = false;
        self.declared = false;
    }

    /// Adds the series with `key`; false when it was there already, which changes nothing.
    pub(super) fn add(&mut self, key: u64, value: f64, series_max: usize) -> Result<bool, Failure> {
        if !self.keys.insert(key) {
            return Ok(false);
        }
        if series_max < self.keys.len() {
            return Err(too_large("series of a gauge or counter", series_max));
        }
        self.sum += value;
        Ok(true)
    }

    /// Notes a line that could not be read: part of a sum must not be given as the whole.
    pub(super) fn refuse(&mut self) {
        self.broken = true;
    }

    /// Notes that the page has its type.
    pub(super) fn declare(&mut self) {
        self.declared = true;
    }

    /// Whether the page has no line of it, not even a broken one or its type.
    pub(super) fn is_missing(&self) -> bool {
        self.keys.is_empty() && !self.broken && !self.declared
    }

    /// The sum; `None` if there is no series, if one could not be read, or if it comes to NaN, an infinity or less
    /// than nothing.
    pub(super) fn total(&self) -> Option<f64> {
        (!self.keys.is_empty() && !self.broken && is_count(self.sum)).then_some(self.sum)
    }
}

/// Writes the buckets of one series, sorted as they are, and says how many stood there twice.
fn write_buckets(own: &[Bucket], page: &[u8], out: &mut Reading) -> u32 {
    let mut repeated: u32 = 0;
    let mut previous: Option<&Bucket> = None;
    for bucket in own {
        match (previous, out.counts.last_mut()) {
            (Some(before), Some(count)) if before.bound == bucket.bound => {
                if before.written(page) == bucket.written(page) {
                    repeated = repeated.saturating_add(1);
                } else {
                    *count += bucket.count;
                }
            }
            _ => {
                out.bounds.push(bucket.bound);
                out.counts.push(bucket.count);
            }
        }
        previous = Some(bucket);
    }
    repeated
}

/// Whether a number can be a count: not negative and not beyond all bounds; NaN is neither.
fn is_count(value: f64) -> bool {
    (0.0..=COUNT_MAX).contains(&value)
}
