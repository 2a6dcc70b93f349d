//! Page after page of one target to readings.

use super::cursor::Quoted;
use super::declared;
use super::failures::{malformed, not_found, shown};
use super::labels::{Around, BOUND, Bound, RawLabels};
use super::line::{BadLine, Line};
use super::scan::{Event, Kind, Part, Role, Wanted, check_whole, scan};
use super::series::{Gathered, Tally};
use super::{Format, Limits, Want};
use crate::model::health::Failure;
use crate::model::matcher::Matchers;
use crate::model::reading::{Missing, Reading};
use crate::model::unit::Unit;

/// Reads one target's pages, keeping what it learnt of their layout from one to the next.
///
/// After the first page nothing is allocated while pages keep their layout, except to unescape a label that a matcher
/// looks at.
#[derive(Debug)]
pub struct PageReader {
    want: Want,
    limits: Limits,
    /// Absent until the histogram is known: by configuration, or because a page had exactly one.
    wanted: Option<Wanted>,
    histogram: Gathered,
    in_flight: Tally,
    cpu: Tally,
}

/// What a page said of the histogram's family as a whole.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    kind: Option<Kind>,
    /// Any sample line of it, good or bad.
    lines: bool,
}

/// One page being read.
struct Pass<'r, 'p> {
    matchers: &'r Matchers,
    series_max: usize,
    histogram: &'r mut Gathered,
    in_flight: &'r mut Tally,
    cpu: &'r mut Tally,
    seen: Seen,
    /// The labels of the line before, without `le`, and the series they are; `None` if the matchers leave it out.
    /// Nearly every line is of the same series as the one before it.
    before: Option<(Around<'p>, Option<u32>)>,
}

impl PageReader {
    /// A reader that has seen no page yet.
    pub fn new(want: Want, limits: Limits) -> Self {
        let wanted = want.histogram.as_deref().map(|name| want.families(name));
        Self {
            want,
            limits,
            wanted,
            histogram: Gathered::default(),
            in_flight: Tally::default(),
            cpu: Tally::default(),
        }
    }

    /// Reads a page into `out`, which is cleared first and stays empty on failure.
    ///
    /// A histogram that the page declares but has no series of is a success without series: no request came yet.
    /// Which histogram is found by itself depends on this page alone, not on those before it.
    ///
    /// # Errors
    /// When the page as a whole cannot be used: `Malformed` (HTML, JSON, empty, truncated, or not one series
    /// readable although there are some: that is not the same as no requests), `TooLarge` (a limit of
    /// [`Limits`]), `NotFound` (no such histogram; none or several where none was named).
    pub fn read(&mut self, page: &[u8], format: Format, out: &mut Reading) -> Result<(), Failure> {
        out.clear();
        let seen = self.gather(page, format)?;
        let flaw = self.histogram.write(page, seen.kind, out);
        if let Some(flaw) = flaw
            && out.series.is_empty()
        {
            out.clear();
            return Err(malformed(flaw.nothing_left()));
        }
        self.to_seconds(out);
        out.in_flight = self.in_flight.total();
        out.cpu_seconds = self.cpu.total();
        out.missing = Missing {
            in_flight: self.want.in_flight.is_some() && self.in_flight.is_missing(),
            cpu: self.want.cpu.is_some() && self.cpu.is_missing(),
        };
        Ok(())
    }

    /// Bounds and sums in the unit that everybody else counts in.
    fn to_seconds(&self, out: &mut Reading) {
        let name = self.wanted.as_ref().map_or("", Wanted::histogram);
        let unit = self.want.unit.unwrap_or_else(|| unit_of(name));
        if unit == Unit::Seconds {
            return;
        }
        out.bounds
            .iter_mut()
            .for_each(|bound| *bound = unit.seconds(*bound));
        for series in &mut out.series {
            series.sum = series.sum.map(|sum| unit.seconds(sum));
        }
    }

    /// Gathers the wanted lines, after finding out which they are if that is not known or no longer true.
    fn gather(&mut self, page: &[u8], format: Format) -> Result<Seen, Failure> {
        // What was found by itself is looked for again: it must not depend on when a page was first read.
        if self.want.histogram.is_none()
            && let Some(found) = &self.wanted
            && declared::has_another_histogram(page, found.histogram())
        {
            self.wanted = None;
        }
        if let Some(wanted) = self.wanted.take() {
            let seen = self.pass(page, format, &wanted);
            let wanted = self.wanted.insert(wanted);
            let seen = seen?;
            if seen.is_there() {
                return seen.check_kind(wanted.histogram());
            }
            if let Some(name) = &self.want.histogram {
                return Err(declared::missing(page, name));
            }
        }
        check_whole(page, format)?;
        let wanted = self.want.families(&declared::only_histogram(page)?);
        let seen = self.pass(page, format, &wanted);
        self.wanted = Some(wanted);
        seen
    }

    /// The memory held from page to page, by part.
    #[cfg(test)]
    pub(super) fn capacities(&self) -> [usize; 4] {
        self.histogram.capacities()
    }

    fn pass(&mut self, page: &[u8], format: Format, wanted: &Wanted) -> Result<Seen, Failure> {
        self.histogram.clear();
        self.in_flight.clear();
        self.cpu.clear();
        let mut pass = Pass {
            matchers: &self.want.matchers,
            series_max: self.limits.series,
            histogram: &mut self.histogram,
            in_flight: &mut self.in_flight,
            cpu: &mut self.cpu,
            seen: Seen::default(),
            before: None,
        };
        scan(page, format, wanted, &self.limits, |event| pass.take(event))?;
        Ok(pass.seen)
    }
}

impl Want {
    fn families(&self, histogram: &str) -> Wanted {
        Wanted::new(histogram, self.in_flight.as_deref(), self.cpu.as_deref())
    }
}

/// The unit that a histogram's name tells.
fn unit_of(histogram: &str) -> Unit {
    if histogram.ends_with("_milliseconds") || histogram.ends_with("_ms") {
        Unit::Milliseconds
    } else {
        Unit::Seconds
    }
}

impl Seen {
    /// Whether the page knows the family at all. A type that says nothing is no more than a name.
    fn is_there(self) -> bool {
        self.lines || self.kind.is_some_and(|kind| kind != Kind::Unknown)
    }

    /// Refuses a family that cannot be a histogram of requests.
    fn check_kind(self, name: &str) -> Result<Self, Failure> {
        match self.kind {
            None | Some(Kind::Histogram | Kind::Summary | Kind::Unknown) => Ok(self),
            Some(kind @ (Kind::Counter | Kind::Gauge | Kind::GaugeHistogram)) => {
                Err(not_found(format!(
                    "{} is a {} on this page; spec.source.pods.histogram must name a histogram or summary",
                    shown(name),
                    kind.as_str()
                )))
            }
        }
    }
}

impl<'p> Pass<'_, 'p> {
    fn take(&mut self, event: Event<'p>) -> Result<(), Failure> {
        match event {
            Event::Type(Role::Histogram, kind) => {
                // The first declaration holds; a second one contradicts it or is noise.
                if self
                    .seen
                    .kind
                    .replace(self.seen.kind.unwrap_or(kind))
                    .is_some()
                {
                    self.histogram.count_bad_line();
                }
                Ok(())
            }
            Event::Type(Role::InFlight, _) => {
                self.in_flight.declare();
                Ok(())
            }
            Event::Type(Role::Cpu, _) => {
                self.cpu.declare();
                Ok(())
            }
            Event::Sample(line) => self.sample(&line),
            Event::Bad(bad) => self.bad(&bad),
        }
    }

    fn sample(&mut self, line: &Line<'p>) -> Result<(), Failure> {
        let tally = match line.role {
            Role::Histogram => return self.histogram_sample(line),
            Role::InFlight => &mut *self.in_flight,
            Role::Cpu => &mut *self.cpu,
        };
        if !tally.add(line.labels.key(None), line.value, self.series_max)? {
            self.histogram.count_bad_line();
        }
        Ok(())
    }

    fn histogram_sample(&mut self, line: &Line<'p>) -> Result<(), Failure> {
        self.seen.lines = true;
        let (slot, bound) = self.series_of(line.labels)?;
        let Some(slot) = slot else {
            return Ok(());
        };
        match line.part {
            Part::Bucket => self.histogram.bucket(slot, bound, line.value),
            Part::Sum => self.histogram.sum(slot, line.value),
            Part::Count => self.histogram.count(slot, line.value),
            Part::Value => {}
        }
        Ok(())
    }

    fn bad(&mut self, bad: &BadLine<'p>) -> Result<(), Failure> {
        match (bad.role, bad.labels) {
            (Role::Histogram, labels) => {
                self.seen.lines = true;
                let Some(labels) = labels else {
                    self.histogram.refuse_unattributed();
                    return Ok(());
                };
                // A series that the matchers leave out may be as broken as it likes.
                if let (Some(slot), _) = self.series_of(labels)? {
                    self.histogram.refuse(slot);
                }
                return Ok(());
            }
            (Role::InFlight, _) => self.in_flight.refuse(),
            (Role::Cpu, _) => self.cpu.refuse(),
        }
        self.histogram.count_bad_line();
        Ok(())
    }

    /// The series of these labels, if it is wanted, and the bucket's bound with its place in the page.
    fn series_of(
        &mut self,
        labels: RawLabels<'p>,
    ) -> Result<(Option<u32>, Option<Bound<'p>>), Failure> {
        let (around, bound) = (labels.around_bound(), labels.bound());
        if let Some((before, slot)) = self.before
            && before == around
        {
            return Ok((slot, bound));
        }
        let slot = if self
            .matchers
            .matches(|name| labels.get(name).map(Quoted::text))
        {
            let key = labels.key(Some(BOUND));
            Some(self.histogram.slot(key, self.series_max)?)
        } else {
            None
        };
        self.before = Some((around, slot));
        Ok((slot, bound))
    }
}
